//! Asking for the configuration to be read again, for those who cannot do it themselves: the operator's API is floors below
//! what reads it.

use std::sync::OnceLock;

use tokio::sync::{mpsc, oneshot};

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
}

/// Somebody who waits for what comes of it.
pub type Asker = oneshot::Sender<Outcome>;

/// The way to whoever reads the configuration again, if anybody does.
#[derive(Debug, Default)]
pub struct Reloads(OnceLock<mpsc::Sender<Asker>>);

impl Reloads {
    /// Those who ask from now on; `None` when somebody attends to them already.
    pub fn attend(&self) -> Option<mpsc::Receiver<Asker>> {
        let (asks, asked) = mpsc::channel(MAX_WAITING);
        self.0.set(asks).is_ok().then_some(asked)
    }

    /// Has the configuration read again, and waits for what comes of it.
    ///
    /// # Errors
    /// Why the one in force stays.
    pub async fn ask(&self) -> Outcome {
        let (asker, outcome) = oneshot::channel();
        let Some(asks) = self.0.get() else {
            return Err("this gateway was not started from a file that could be read again".to_owned());
        };
        let gone = || Err("the configuration could not be read again: the gateway stops, or failed at it".to_owned());
        match asks.send(asker).await {
            Ok(()) => outcome.await.unwrap_or_else(|_| gone()),
            Err(_) => gone(),
        }
    }

    /// Has it read again, and waits for nothing. When many wait already, one of their readings is meant as well.
    pub fn ask_for(&self) {
        if let Some(asks) = self.0.get() {
            let _ = asks.try_send(oneshot::channel().0);
        }
    }
}
