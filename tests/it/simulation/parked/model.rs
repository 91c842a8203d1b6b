//! What is expected of forms that meet a session which is over: written from the specification and not from the code.

use vestibule::enforce::parking::{NotKept, ParkingSettings, PostId};

use super::super::requests::Asks;
use super::super::rules::Shield;
use super::Form;

/// How long a session may be idle here, and how recent a password some routes ask for. Milliseconds.
pub const IDLE: u64 = 300_000;
pub const FRESH: u64 = 60_000;

/// A session as the model knows it.
#[derive(Clone, Debug)]
pub struct Session {
    pub host: usize,
    pub user: &'static str,
    pub made: u64,
    pub active: u64,
    pub ended: Option<&'static str>,
    pub locked: bool,
}

/// A form that was kept once.
#[derive(Clone, Debug)]
pub struct Kept {
    pub name: String,
    /// The same, as the way to the login page remembers it.
    pub id: PostId,
    pub form: Form,
    pub user: &'static str,
    /// The browser that it came from.
    pub login: String,
    pub ends: u64,
    /// How many bytes it is counted as.
    pub weight: u64,
    /// Whether the store has it, be it that its time is over.
    pub is_stored: bool,
    pub sent: usize,
    /// The words to say so that it is sent, each with the session that was shown it.
    pub tokens: Vec<(String, usize)>,
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Passed,
    Denied,
    Asked(&'static str),
}

pub struct Model {
    pub shield: Shield,
    pub locks: bool,
    pub settings: ParkingSettings,
    pub sessions: Vec<Session>,
    pub kept: Vec<Kept>,
}

impl Model {
    /// Whether somebody may use their session; nothing happens to it.
    pub fn is_usable(&self, at: usize, now: u64) -> bool {
        let session = &self.sessions[at];
        session.ended.is_none() && !session.locked && now < session.active + IDLE
    }

    /// What a form is told that comes with this session, if with one, and what happens to the session.
    pub fn ask(&mut self, form: &Form, session: Option<usize>, now: u64) -> Said {
        let is_foreign = form.is_own == Some(false) || (form.is_own.is_none() && session.is_some());
        if is_foreign && self.shield == Shield::Enforce {
            return Said::Denied;
        }
        let Some(at) = session else { return Said::Asked("no_session") };
        if self.sessions[at].ended.is_none() && !self.is_usable(at, now) {
            if self.locks {
                self.sessions[at].locked = true;
                return Said::Asked("locked");
            }
            self.sessions[at].ended = Some("idle");
        }
        let session = &mut self.sessions[at];
        if let Some(why) = session.ended {
            return Said::Asked(why);
        }
        // None of them is an admin.
        if form.asks == Asks::Admin {
            return Said::Denied;
        }
        if form.asks == Asks::Fresh && now.saturating_sub(session.made) >= FRESH {
            return Said::Asked("max_auth_age");
        }
        if now >= session.active + 1000 {
            session.active = now;
        }
        Said::Passed
    }

    /// Whether a form that is told this is one to keep, and the reason for which it is then not kept all the same, as far as
    /// that does not depend on what else is kept.
    pub fn is_to_be_kept(&self, form: &Form, why: &str) -> Option<Result<(), NotKept>> {
        if !(form.navigates && form.is_own == Some(true)) {
            return None;
        }
        let kinds = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
        if !kinds.iter().any(|kind| form.kind.starts_with(kind)) {
            return Some(Err(NotKept::OtherKind));
        }
        Some(if matches!(why, "no_session" | "account_disabled") {
            Err(NotKept::Stranger)
        } else if form.content.len() as u64 > self.settings.max_size {
            Err(NotKept::TooLarge)
        } else {
            Ok(())
        })
    }

    /// What is kept at a moment.
    pub fn lasting(&self, now: u64) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(move |kept| kept.is_stored && now < kept.ends)
    }

    /// How many of somebody's are kept.
    pub fn count_of(&self, (host, user): (usize, &str), now: u64) -> usize {
        self.lasting(now).filter(|kept| (kept.form.host, kept.user) == (host, user)).count()
    }

    /// How much is kept of everybody's.
    pub fn taken(&self, now: u64) -> u64 {
        self.lasting(now).map(|kept| kept.weight).sum()
    }

    /// Whether this is there for whoever comes with this session from this browser.
    pub fn is_there_for(&self, at: usize, host: usize, session: usize, login: Option<&str>, now: u64) -> bool {
        let (kept, session) = (&self.kept[at], &self.sessions[session]);
        let is_theirs = (kept.form.host, kept.user) == (host, session.user) && session.host == host;
        kept.is_stored && now < kept.ends && is_theirs && login == Some(&*kept.login)
    }
}
