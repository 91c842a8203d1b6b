//! Seeing and ending sessions, by HTTP over a Unix socket that only its owner may open.
//!
//! `GET /sessions?user=NAME`, `GET /sessions/HANDLE`, `DELETE /sessions/HANDLE`, `DELETE /sessions?user=NAME`,
//! `POST /reload`, and `/ping`, `/ready`, `/metrics`. A session's secret is nowhere in it.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use crate::admin::metrics::{self, CONNECTION_TIME, PAUSE, text};
use crate::admin::reload;
use crate::enforce::shared::Shared;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::record::{EndReason, Owner};
use crate::session::store::Lookup;

/// How many connections are served at once.
const MAX_CONNECTIONS: usize = 16;

/// How many connections may wait to be accepted: as many as the standard library takes.
const BACKLOG: i32 = 128;

/// The longest path of a Unix socket that Linux takes, in bytes (`sun_path`, unix(7), without the zero at its end).
pub const MAX_SOCKET_PATH: usize = 107;

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
pub fn bind(path: &Path) -> io::Result<AdminSocket> {
    if let Ok(known) = fs::symlink_metadata(path) {
        if !known.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is another file of that name"));
        }
        if UnixStream::connect(path).is_ok() {
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

/// Serves the socket for as long as it is run.
///
/// # Errors
/// When the socket cannot be used.
pub async fn serve(shared: Arc<Shared>, socket: AdminSocket) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            shared.clock.sleep(PAUSE).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&shared, &request).await) }
            });
            let mut http = http1::Builder::new();
            let connection = http.keep_alive(false).header_read_timeout(None);
            tokio::select! {
                _ = connection.serve_connection(TokioIo::new(stream), service) => {}
                () = shared.clock.sleep(CONNECTION_TIME) => {}
            }
            drop(place);
        });
    }
}

async fn answer<B>(shared: &Shared, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let user = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "user").map(|(_, value)| value);
    let owner = user.map(|user| Owner::User(user.into()));
    let method = request.method();
    match (path, path.strip_prefix("/sessions/").map(str::parse::<SessionHandle>), owner) {
        ("/sessions", _, Some(owner)) if *method == Method::GET => match shared.asked(shared.store.list(owner)).await {
            Ok(sessions) => ok(&sessions.iter().map(|live| shown(live)).collect()),
            Err(error) => wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        },
        ("/sessions", _, Some(owner)) if *method == Method::DELETE => {
            match shared.end_all_sessions(owner, EndReason::Revoked, shared.clock.now()).await {
                Ok(count) => ok(&json!({ "ended": count })),
                Err(error) => wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
            }
        }
        ("/reload", ..) => reload::answer(shared, method).await,
        ("/sessions", _, None) => wrong(StatusCode::BAD_REQUEST, "say whose: /sessions?user=NAME"),
        (_, Some(Err(message)), _) => wrong(StatusCode::BAD_REQUEST, &message),
        (_, Some(Ok(handle)), _) if *method == Method::GET => one(shared, handle).await,
        (_, Some(Ok(handle)), _) if *method == Method::DELETE => {
            match shared.end_session(handle, EndReason::Revoked, None, shared.clock.now()).await {
                Ok(true) => ok(&json!({ "ended": 1 })),
                Ok(false) => wrong(StatusCode::NOT_FOUND, "there is no such session, or it has ended already"),
                Err(error) => wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
            }
        }
        ("/sessions", ..) | (_, Some(_), _) => wrong(StatusCode::METHOD_NOT_ALLOWED, "write GET or DELETE"),
        _ => metrics::answer(shared, request),
    }
}

async fn one(shared: &Shared, handle: SessionHandle) -> Response<Full<Bytes>> {
    let found = match shared.store.lookup(handle) {
        Lookup::Hit(live) => Ok(Some(live)),
        Lookup::Miss => Ok(None),
        Lookup::Later(later) => shared.asked(later).await,
    };
    match found {
        Ok(Some(live)) => ok(&shown(&live)),
        Ok(None) => wrong(StatusCode::NOT_FOUND, "there is no such session"),
        Err(error) => wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn shown(live: &Live) -> Value {
    let view = live.view();
    json!({
        "handle": view.handle.to_string(),
        "user": view.principal.map(|principal| &*principal.user),
        "roles": view.principal.map(|principal| &*principal.roles),
        "authenticated_at": view.authenticated_at.to_string(),
        "active_at": view.active_at.to_string(),
        "generation": view.rotation.generation,
        "address": view.bound.address.to_string(),
        "ended": view.ended.map(|(reason, at)| json!({ "reason": reason.name(), "at": at.to_string() })),
    })
}

fn ok(value: &Value) -> Response<Full<Bytes>> {
    text(StatusCode::OK, format!("{value}\n"), "application/json")
}

fn wrong(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    text(status, format!("{}\n", json!({ "error": message })), "application/json")
}
