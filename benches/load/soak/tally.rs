//! What all visitors have done so far, and what went wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many complaints are kept: the first say it all.
const MOST_COMPLAINTS: usize = 10;

/// What a visitor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    SignIn,
    WrongPassword,
    Small,
    Large,
    Upload,
    WebSocket,
    BreakOff,
    BadCookie,
    Anonymous,
    SignOut,
    Leave,
    ComeBackTooLate,
}

/// All of them, with their names in the report.
pub(super) const DEEDS: [(Deed, &str); 12] = [
    (Deed::SignIn, "sign-ins by the form"),
    (Deed::WrongPassword, "wrong passwords, refused"),
    (Deed::Small, "files of 1 KiB"),
    (Deed::Large, "files of 64 KiB"),
    (Deed::Upload, "uploads of 256 KiB"),
    (Deed::WebSocket, "WebSockets opened, used and closed"),
    (Deed::BreakOff, "transfers and handshakes broken off"),
    (Deed::BadCookie, "cookies that are no good, refused"),
    (Deed::Anonymous, "requests without a session, led to the login page or refused"),
    (Deed::SignOut, "sign-outs, after which the cookie was refused"),
    (Deed::Leave, "sessions left to the idle limit"),
    (Deed::ComeBackTooLate, "of these tried again afterwards, and refused"),
];

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    failed: AtomicU64,
    deeds: [AtomicU64; DEEDS.len()],
    complaints: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts a request.
    pub(super) fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what a visitor did, and went as it should.
    pub(super) fn did(&self, deed: Deed) {
        if let Some(count) = self.deeds.get(deed as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts something that went wrong.
    pub(super) fn complain(&self, complaint: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.len() < MOST_COMPLAINTS {
            eprintln!("wrong: {complaint}");
            complaints.push(complaint);
        }
    }

    /// Requests so far.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// How much went wrong so far.
    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How often this was done.
    pub(super) fn count(&self, deed: Deed) -> u64 {
        self.deeds.get(deed as usize).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// An error if anything went wrong, or something was never done.
    pub(super) fn verdict(&self) -> Result<(), String> {
        if self.failed() > 0 {
            let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(format!("{} things went wrong; the first:\n  {}", self.failed(), complaints.join("\n  ")));
        }
        match DEEDS.iter().find(|(deed, _)| self.count(*deed) == 0) {
            Some((_, name)) => Err(format!("not one of these: {name}")),
            None => Ok(()),
        }
    }
}
