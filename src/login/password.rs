//! Checking passwords, off the data path: a few threads, a bounded queue, and the same work whatever is wrong.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::base::secret::Secret;
use crate::login::users::{Users, dummy_phc, verify_password};
use crate::session::principal::Principal;

/// How many sign-ins may wait for a thread. One takes a few hundredths of a second, so the last waits about a second;
/// beyond that people are told to try again rather than left waiting.
pub const MAX_WAITING: usize = 64;

/// The longest name and password that are looked at, in bytes; a longer one is wrong.
pub const MAX_INPUT: usize = 1024;

/// As many sign-ins are being checked or waiting as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

struct Job {
    users: Arc<Users>,
    name: String,
    password: Secret<String>,
    answer: oneshot::Sender<Option<Principal>>,
}

/// The threads that check passwords.
#[derive(Clone)]
pub struct PasswordPool(SyncSender<Job>);

impl PasswordPool {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel::<Job>(MAX_WAITING);
        let jobs = Arc::new(Mutex::new(jobs));
        for at in 0..threads.max(1) {
            let jobs = Arc::clone(&jobs);
            std::thread::Builder::new().name(format!("password-{at}")).spawn(move || work(&jobs))?;
        }
        // Made once now, so that the first unknown name does not take longer than the second.
        dummy_phc();
        Ok(Self(queue))
    }

    /// Who signs in with this name and password; `None` whatever is wrong with them, in the same time.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn check(
        &self,
        users: Arc<Users>,
        name: String,
        password: Secret<String>,
    ) -> Result<Option<Principal>, Busy> {
        let (answer, answered) = oneshot::channel();
        match self.0.try_send(Job { users, name, password, answer }) {
            Ok(()) => answered.await.map_err(|_| Busy),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // Whoever asked may be gone by now.
        if !job.answer.is_closed() {
            // A panic must not take the thread away from those who come after.
            let checked = std::panic::catch_unwind(|| check(&job.users, &job.name, job.password.expose()));
            let _ = job.answer.send(checked.unwrap_or_default());
        }
    }
}

fn check(users: &Users, name: &str, password: &str) -> Option<Principal> {
    let user = users.get(name);
    let fits = name.len() <= MAX_INPUT && password.len() <= MAX_INPUT;
    let tried = if fits { password } else { "" };
    // A disabled person, an unknown one and a wrong password cost one verification each.
    let is_right = verify_password(user.map_or(dummy_phc(), |user| &user.password), tried);
    let user = user.filter(|user| fits && is_right && !user.disabled)?;
    Some(user.principal())
}
