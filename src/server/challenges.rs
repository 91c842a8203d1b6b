//! Answers to ACME's http-01 challenges (RFC 8555 section 8.3): files that an ACME client leaves in a folder.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Below which path a certificate authority asks.
const PLACE: &str = "/.well-known/acme-challenge/";

/// The longest token, in bytes: RFC 8555 asks for 128 bits at least, which are 22, and authorities write 43.
const MAX_TOKEN: usize = 128;

/// The largest answer, in bytes. It is the token, a full stop, and a hash in 43 bytes (RFC 8555 section 8.1).
const MAX_ANSWER: u64 = 4096;

/// How many files are read at once: an authority asks from a handful of places, and everybody else asks in vain.
const MOST_AT_ONCE: usize = 4;

/// The answers there are.
#[derive(Debug)]
pub struct Challenges {
    folder: PathBuf,
    /// Files are read by its threads: a disk that hangs holds up no worker.
    background: Handle,
    places: Arc<Semaphore>,
    /// Whether the operator knows that files cannot be read. Told once, since every stranger can ask.
    was_told: AtomicBool,
}

/// The token in the path of a request, when it asks for an answer to a challenge. It need not be a good one.
pub fn token(path: &str) -> Option<&str> {
    path.strip_prefix(PLACE)
}

impl Challenges {
    /// Those in `folder`, read by the threads of `background`.
    pub fn new(folder: PathBuf, background: Handle) -> Self {
        Self { folder, background, places: Arc::new(Semaphore::new(MOST_AT_ONCE)), was_told: AtomicBool::new(false) }
    }

    /// The answer for `token`, if there is one.
    pub async fn find(&self, token: &str) -> Option<Vec<u8>> {
        if !is_token(token) {
            return None;
        }
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let file = self.folder.join(token);
        let reading = self.background.spawn_blocking(move || {
            let read = read(&file);
            // The place is taken for as long as the thread is, also when nobody waits for it any more.
            drop(place);
            read
        });
        match reading.await.ok()? {
            Ok(answer) => answer,
            Err(error) => {
                if !self.was_told.swap(true, Ordering::Relaxed) {
                    tracing::warn!("ACME challenges in {} cannot be read: {error}", self.folder.display());
                }
                None
            }
        }
    }
}

/// Base64url and nothing else (RFC 8555 section 8.3): no full stop and no slash, so it names a file in the folder.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Reads a small regular file. Not what a link leads to: whoever may write into the folder need not be somebody who may
/// read what the gateway may.
fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    // Without a wait for somebody who writes, as opening a pipe would be.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(file);
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A link, and a socket.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !opened.metadata()?.is_file() {
        return Ok(None);
    }
    let mut answer = Vec::new();
    opened.take(MAX_ANSWER + 1).read_to_end(&mut answer)?;
    Ok(Some(answer).filter(|answer| answer.len() as u64 <= MAX_ANSWER))
}
