//! The one thread that writes the file of the disk store. What several requests wait for at once is written in one
//! commit (group commit), so that a crowd that signs in costs a few of them. What nobody waits for is gathered, and
//! written along, or by itself once a second: a commit costs more than what is in it.
//!
//! What is asked for is only that the state of a session be written, and its state is read from memory when its turn
//! comes. So nothing can be written in the wrong order, and what could not be written is simply asked for again.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::base::clock::{Clock, Timestamp};
use crate::session::handle::SessionHandle;
use crate::session::store::{StoreError, Trouble};
use crate::store::disk::file::{Failure, Row, SessionFile};
use crate::store::disk::health::{HOLDS_AFTER, Health};
use crate::store::disk::sealing::Sealing;
use crate::store::disk::values::{Answer, Wish};
use crate::store::memory::MemoryStore;

/// How much is written in one commit at the most: a few megabytes.
const MAX_BATCH: usize = 8192;

/// How much that nobody waits for may be gathered, 16 bytes each. The disk has then stood still for long; no more is
/// taken, and asked for again with the session's next activity.
const MAX_GATHERED: usize = 1 << 20;

/// How long it is gathered, and how long the file may have been away, while nothing is written, before that is told.
const GATHER_FOR: Duration = Duration::from_secs(1);

/// How long after a failure it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What to do about a store that cannot be written to.
const MAKE_ROOM: &str = "Make room on its disk, or put right what else it says: it is tried again every second, and \
                         nothing needs a restart.";

/// What to do about one that is not at its place any more.
const PUT_BACK: &str = "Put that very file back (mv; a copy is another file): it is taken up again within a second, and \
                        nothing was lost. If it is gone, restart the gateway: it reads what is there then, or makes a new \
                        store, and everybody signs in again.";

/// How often it is looked whether that time has passed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Somebody to be told when it is written.
type Told = oneshot::Sender<Result<(), StoreError>>;

/// Somebody to be told what came of a wish.
type Answered = oneshot::Sender<Result<Answer, StoreError>>;

enum Ask {
    Write(SessionHandle, Told),
    Value(Wish, Answered),
    /// Write everything, and end.
    Close,
}

/// Asks the thread to write.
pub(super) struct Writer {
    asks: Sender<Ask>,
    gathered: Arc<Mutex<Vec<SessionHandle>>>,
    health: Health,
    failures_behind: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// A sentence, when the system gives no thread.
    pub(super) fn start(
        path: &Path,
        file: SessionFile,
        memory: &Arc<MemoryStore>,
        sealing: &Arc<Sealing>,
        clock: Clock,
    ) -> Result<Self, String> {
        let (asks, asked) = channel();
        let (gathered, health) = (Arc::default(), Health::default());
        let failures_behind = Arc::<AtomicU64>::default();
        let work = Work {
            path: path.display().to_string(),
            file,
            memory: Arc::clone(memory),
            sealing: Arc::clone(sealing),
            clock,
            gathered: Arc::clone(&gathered),
            behind: HashSet::new(),
            failed_at: None,
            health: health.clone(),
            failures_behind: Arc::clone(&failures_behind),
        };
        let thread = std::thread::Builder::new().name("session-store".to_owned());
        let thread = thread.spawn(move || work.run(&asked)).map_err(|error| format!("no thread to write: {error}"))?;
        Ok(Self { asks, gathered, health, failures_behind, thread: Mutex::new(Some(thread)) })
    }

    /// What is wrong with writing, if something is.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.health.trouble()
    }

    /// How often writing failed that nobody waited for.
    pub(super) fn failures_behind(&self) -> u64 {
        self.failures_behind.load(Ordering::Relaxed)
    }

    /// Lets a session be written with others. Wakes nobody.
    pub(super) fn behind(&self, handle: SessionHandle) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        if gathered.len() < MAX_GATHERED {
            gathered.push(handle);
        }
    }

    /// Waits until the session as it is now is on the disk.
    ///
    /// # Errors
    /// When it could not be written. It is tried again, whoever waits for it or not.
    pub(super) async fn written(&self, handle: SessionHandle) -> Result<(), StoreError> {
        let (told, written) = oneshot::channel();
        // When the thread has ended, whoever waits is told by the channel.
        let _ = self.asks.send(Ask::Write(handle, told));
        written.await.unwrap_or_else(|_| Err(StoreError("it is closed".to_owned())))
    }

    /// Does what is asked of the named values.
    ///
    /// # Errors
    /// When the file cannot be used, and what the wish itself comes to.
    pub(super) async fn value(&self, wish: Wish) -> Result<Answer, StoreError> {
        let (answered, answer) = oneshot::channel();
        let _ = self.asks.send(Ask::Value(wish, answered));
        answer.await.unwrap_or_else(|_| Err(StoreError("it is closed".to_owned())))
    }

    /// Writes what is behind, and closes the file.
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = self.asks.send(Ask::Close);
            let _ = thread.join();
        }
    }
}

/// What the thread works with.
struct Work {
    path: String,
    file: SessionFile,
    memory: Arc<MemoryStore>,
    sealing: Arc<Sealing>,
    clock: Clock,
    gathered: Arc<Mutex<Vec<SessionHandle>>>,
    /// What is to be written.
    behind: HashSet<SessionHandle>,
    /// When it last failed, until it succeeds.
    failed_at: Option<Timestamp>,
    health: Health,
    failures_behind: Arc<AtomicU64>,
}

impl Work {
    fn run(mut self, asked: &Receiver<Ask>) {
        let mut told = Vec::new();
        let (mut wishes, mut answered) = (Vec::new(), Vec::new());
        loop {
            let first = asked.recv_timeout(if self.failed_at.is_some() { LOOK_EVERY } else { GATHER_FOR });
            let mut is_over = matches!(first, Err(RecvTimeoutError::Disconnected));
            for ask in first.into_iter().chain(asked.try_iter().take(MAX_BATCH - 1)) {
                match ask {
                    Ask::Write(handle, who) => {
                        self.behind.insert(handle);
                        told.push(who);
                    }
                    Ask::Value(wish, who) => {
                        wishes.push(wish);
                        answered.push(who);
                    }
                    Ask::Close => is_over = true,
                }
            }
            self.behind.extend(std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner)));
            let may_try = is_over || self.failed_at.is_none_or(|failed| self.clock.now() >= failed.plus(RETRY_AFTER));
            let outcome =
                if may_try { self.write(&wishes) } else { Err(StoreError("it cannot be written to".to_owned())) };
            wishes.clear();
            if self.failed_at.is_none() && self.health.is_over(|| self.clock.now()) {
                tracing::warn!(
                    "the session store {} can be written to again, and has been for {} s; nothing was lost",
                    self.path,
                    HOLDS_AFTER.as_secs()
                );
            }
            let failure = outcome.as_ref().err().cloned();
            if failure.is_some() && may_try && told.is_empty() && answered.is_empty() {
                self.failures_behind.fetch_add(1, Ordering::Relaxed);
            }
            told.drain(..).for_each(|who| drop(who.send(failure.clone().map_or(Ok(()), Err))));
            let mut answers = outcome.unwrap_or_default().into_iter();
            for who in answered.drain(..) {
                let failed = || Err(failure.clone().unwrap_or_else(|| StoreError("no answer".to_owned())));
                let _ = who.send(answers.next().unwrap_or_else(failed));
            }
            if is_over {
                if let Some(error) = &failure {
                    self.tell_what_is_lost(error);
                }
                return;
            }
        }
    }

    /// Writes everything that is behind, and does what is asked.
    fn write(&mut self, wishes: &[Wish]) -> Result<Vec<Result<Answer, StoreError>>, StoreError> {
        let is_idle = self.behind.is_empty() && wishes.is_empty() && self.failed_at.is_none();
        let written = if is_idle {
            // So that it is told before somebody wants to sign in.
            self.file.is_in_place().map(|()| Vec::new())
        } else {
            let rows: Vec<Row> = self.behind.iter().map(|handle| (*handle, self.state(*handle))).collect();
            self.file.write(&rows, wishes, &self.sealing)
        };
        match written {
            Ok(answers) => {
                self.behind.clear();
                if self.failed_at.take().is_some() {
                    self.health.succeeded(self.clock.now());
                }
                Ok(answers)
            }
            Err(Failure { words: error, is_away }) => {
                let (now, path) = (self.clock.now(), &self.path);
                let words = format!(
                    "the session store {path} cannot be written to: {error}. Live sessions go on; nobody can sign in \
                     until it can"
                );
                let help = if is_away { PUT_BACK } else { MAKE_ROOM };
                if self.health.failed(now, &words, help) {
                    // What to do about a disk that is full, whoever reads this knows.
                    let help = if is_away { format!(". {help}") } else { String::new() };
                    tracing::error!("{words}{help}");
                }
                self.failed_at = Some(now);
                Err(StoreError(error))
            }
        }
    }

    /// Says what is not on the disk although it was tried to the last: it is gone with the process.
    fn tell_what_is_lost(&self, error: &StoreError) {
        // Sessions of strangers are not written, and what memory has forgotten was over, or was never begun.
        let known = self.behind.iter().filter_map(|handle| self.memory.get(*handle));
        let changed: Vec<_> = known.filter(|live| live.principal().is_some()).collect();
        let (count, ends) = (changed.len(), changed.iter().filter(|live| live.ended().is_some()).count());
        if count > 0 {
            tracing::error!(
                "the session store {} cannot be written to, and what became of sessions is not on the disk and is lost with \
                 this stop: changes: {count}, ends of sessions among them: {ends} ({}). Sessions that were ended go on after \
                 the next start, for as long as their time lasts: end them again then, with vestibule sessions end",
                self.path,
                error.0
            );
        }
    }

    /// The row of a session as it is now; `None` when there is to be none.
    fn state(&self, handle: SessionHandle) -> Option<Vec<u8>> {
        let live = self.memory.get(handle).filter(|live| live.principal().is_some())?;
        Some(self.sealing.seal(&live.record()))
    }
}
