//! Asking for the configuration to be read again, for those who cannot do it themselves: the operator's API is floors below
//! what reads it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::sync::{mpsc, oneshot};

use crate::base::clock::Timestamp;

/// How many may have asked and not been attended to. One reading does for all who asked before it began.
const MAX_WAITING: usize = 16;

/// What came of a reading: the configuration in force, or why it stays the one it was, in the words of `check`.
pub type Outcome = Result<Reloaded, String>;

/// A configuration that has come into force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Which one it is.
    pub version: u64,
    /// The keys that are other than those the gateway was started with, and take a restart.
    pub takes_restart: Vec<&'static str>,
    /// How many sessions ended because their users may not go on.
    pub ended: usize,
    /// How many have other rights.
    pub changed: usize,
    /// How many of both hold here and could not be written down yet: a restart before that would bring the former back.
    pub unwritten: usize,
    /// What is to be said when it asks for more connections than the process may have files open.
    pub too_few_files: Option<String>,
    /// What is to be said when the key that sealed until now is not among the keys any more.
    pub key_gone: Option<String>,
}

/// Why the configuration is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who asked, or which file has changed, as the audit log has it.
    pub by: String,
    /// The same for people: goes on from "the configuration was read again, ".
    pub words: String,
    /// Where they are.
    pub client: Option<IpAddr>,
}

impl Cause {
    /// Somebody has sent the process SIGHUP.
    pub fn signal() -> Self {
        Self { by: "SIGHUP".to_owned(), words: "on SIGHUP".to_owned(), client: None }
    }

    /// An operator has asked, whom the audit log calls this.
    pub fn operator(by: String, client: Option<IpAddr>) -> Self {
        let words = format!("asked for by {by}");
        Self { by, words, client }
    }

    /// This file has changed.
    pub fn changed(file: &Path) -> Self {
        let file = file.display();
        Self { by: format!("file:{file}"), words: format!("because {file} has changed"), client: None }
    }

    /// What was no good is tried again.
    pub fn another_try() -> Self {
        Self { by: "retry".to_owned(), words: "to try once more".to_owned(), client: None }
    }

    /// Both: one reading does for all who asked before it began.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        if self.by == other.by {
            return self;
        }
        let (by, words) = (format!("{},{}", self.by, other.by), format!("{} and {}", self.words, other.words));
        Self { by, words, client: self.client.or(other.client) }
    }
}

/// Somebody who waits for what comes of it.
#[derive(Debug)]
pub struct Asker {
    /// Who it is.
    pub cause: Cause,
    /// Where they hear of it.
    pub outcome: oneshot::Sender<Outcome>,
}

/// A configuration on disk that is not the one in force, because something is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Since when that is so.
    pub since: Timestamp,
    /// What is wrong with it as it was last read, in the words of `check`.
    pub words: String,
}

/// The way to whoever reads the configuration again, if anybody does.
#[derive(Debug, Default)]
pub struct Reloads {
    asks: OnceLock<mpsc::Sender<Asker>>,
    refused: Mutex<Option<Refused>>,
    takes_restart: Mutex<Vec<&'static str>>,
}

impl Reloads {
    /// Those who ask from now on; `None` when somebody attends to them already.
    pub fn attend(&self) -> Option<mpsc::Receiver<Asker>> {
        let (asks, asked) = mpsc::channel(MAX_WAITING);
        self.asks.set(asks).is_ok().then_some(asked)
    }

    /// Has the configuration read again, and waits for what comes of it.
    ///
    /// # Errors
    /// Why the one in force stays.
    pub async fn ask(&self, cause: Cause) -> Outcome {
        let (asker, outcome) = oneshot::channel();
        let Some(asks) = self.asks.get() else {
            return Err("this gateway was not started from a file that could be read again".to_owned());
        };
        let gone = || Err("the configuration could not be read again: the gateway stops, or failed at it".to_owned());
        match asks.send(Asker { cause, outcome: asker }).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }

    /// Has it read again, and waits for nothing. When many wait already, one of their readings is meant as well.
    pub fn ask_for(&self, cause: Cause) {
        if let Some(asks) = self.asks.get() {
            let _ = asks.try_send(Asker { cause, outcome: oneshot::channel().0 });
        }
    }

    /// The keys that have changed since the start and take a restart.
    pub fn takes_restart(&self) -> Vec<&'static str> {
        self.takes_restart.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes which these are in the configuration that has come into force.
    pub fn note_takes_restart(&self, keys: &[&'static str]) {
        *self.takes_restart.lock().unwrap_or_else(PoisonError::into_inner) = keys.to_vec();
    }

    /// What is on disk and not in force, if that is so.
    pub fn refused(&self) -> Option<Refused> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that what is on disk is not in force, and why. It is so since the first of several in a row.
    pub fn note_refused(&self, now: Timestamp, words: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let since = refused.as_ref().map_or(now, |before| before.since);
        *refused = Some(Refused { since, words: words.to_owned() });
    }

    /// Notes that what is on disk is in force.
    pub fn note_taken(&self) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
