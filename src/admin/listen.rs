//! Where the operator is listened to: a Unix socket that only its owner may open, or a loopback address.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admin::api;
use crate::admin::guard::{Caller, Guard};
use crate::admin::metrics::{CONNECTION_TIME, PAUSE};
use crate::base::place;
use crate::base::secret::Secret;
use crate::enforce::shared::Shared;

/// How many connections are served at once.
const MAX_CONNECTIONS: usize = 16;

/// How many connections may wait to be accepted: as many as the standard library takes.
const BACKLOG: i32 = 128;

/// The longest path of a Unix socket that Linux takes, in bytes (`sun_path`, unix(7), without the zero at its end).
pub const MAX_SOCKET_PATH: usize = 107;

/// Where the operator is to be listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Unix socket.
    Unix(PathBuf),
    /// A loopback address.
    Tcp {
        /// The address.
        address: SocketAddr,
        /// What whoever comes has to know.
        token: Secret<String>,
        /// By which names it may be called, beside those of loopback; in lower case.
        hosts: Vec<Box<str>>,
    },
}

/// Where the operator is listened to.
pub enum Door {
    /// A Unix socket.
    Unix(AdminSocket),
    /// A loopback address, and what is asked of whoever comes there.
    Tcp(StdTcpListener, Guard),
}

/// A socket that is removed when dropped.
pub struct AdminSocket {
    listener: StdListener,
    path: PathBuf,
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // It may have been taken away already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Opens the socket, mode 0600. One that a killed gateway left behind is replaced; one that answers is not.
///
/// # Errors
/// When it cannot be made, or another gateway answers there.
fn bind(path: &Path) -> io::Result<AdminSocket> {
    if let Ok(known) = fs::symlink_metadata(path) {
        if !known.file_type().is_socket() {
            return Err(another_file());
        }
        if StdStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway answers there"));
        }
        fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Nobody can connect to a socket that does not listen, so nobody else can before its mode is set.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(AdminSocket { listener: socket.into(), path: path.to_owned() })
}

fn another_file() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "there is another file of that name")
}

/// Opens the socket as [`Door`].
///
/// # Errors
/// A sentence that says why it cannot be, and what to do.
pub fn open(path: &Path) -> Result<Door, String> {
    bind(path).map(Door::Unix).map_err(|error| cannot_open(path, &error))
}

/// What [`open`] would find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Nobody.
    Free,
    /// A process that answers.
    Answered,
}

/// Whether [`open`] could open it, without doing so. A gateway that answers there is none in the way: it may be the one
/// whose next configuration this is.
///
/// # Errors
/// As [`open`].
pub fn can_be_opened(path: &Path) -> Result<Opening, String> {
    let can = match fs::symlink_metadata(path) {
        Ok(known) if !known.file_type().is_socket() => Err(another_file()),
        Ok(_) if StdStream::connect(path).is_ok() => Ok(Opening::Answered),
        Ok(_) | Err(_) => place::can_make_in(place::folder_of(path)).map(|()| Opening::Free),
    };
    can.map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &io::Error) -> String {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let why = if error.kind() == PermissionDenied {
        "this user may not write there; write another path as \"listen\" in [admin]".to_owned()
    } else if error.kind() == NotFound {
        "there is no such folder; make it, or write another path as \"listen\" in [admin]".to_owned()
    } else {
        error.to_string()
    };
    format!("cannot open the admin socket {}: {why}", path.display())
}

/// Serves the operator for as long as it is run.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(shared: Arc<Shared>, door: Door) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    match door {
        // Kept to the end, since the file goes with it.
        Door::Unix(socket) => {
            let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let Ok((stream, _)) = listener.accept().await else {
                    shared.clock.sleep(PAUSE).await;
                    continue;
                };
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                tokio::spawn(connection(Arc::clone(&shared), stream, Caller::Socket { uid }, None, place));
            }
        }
        Door::Tcp(listener, guard) => {
            let (listener, guard) = (TcpListener::from_std(listener)?, Arc::new(guard));
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let Ok((stream, peer)) = listener.accept().await else {
                    shared.clock.sleep(PAUSE).await;
                    continue;
                };
                let (caller, guard) = (Caller::Token { from: peer.ip() }, Some(Arc::clone(&guard)));
                tokio::spawn(connection(Arc::clone(&shared), stream, caller, guard, place));
            }
        }
    }
    Ok(())
}

/// Serves one request.
async fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    shared: Arc<Shared>,
    stream: S,
    caller: Caller,
    guard: Option<Arc<Guard>>,
    place: OwnedSemaphorePermit,
) {
    let is_at_work = AtomicBool::new(false);
    let service = service_fn(|request| {
        let (shared, guard, is_at_work) = (&shared, &guard, &is_at_work);
        async move {
            if let Some(guard) = guard
                && let Err(refusal) = guard.admit(&request)
            {
                return Ok(api::refused(shared, caller, refusal));
            }
            is_at_work.store(true, Ordering::Relaxed);
            let answer = api::answer(shared, &request, caller).await;
            is_at_work.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    let connection = http.keep_alive(false).header_read_timeout(None);
    let patience = async {
        loop {
            shared.clock.sleep(CONNECTION_TIME).await;
            // To end very many sessions may take a while, and that is not its client's fault.
            if !is_at_work.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    tokio::select! {
        _ = connection.serve_connection(TokioIo::new(stream), service) => {}
        () = patience => {}
    }
    drop(place);
}
