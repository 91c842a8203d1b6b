//! The connections of one worker to one upstream. Nothing of it is shared with other workers.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;

use crate::base::clock::Timestamp;
use crate::base::deadline::{Deadline, Deadlines};
use crate::session::handle::SessionHandle;
use crate::upstream::group::Upstream;
use crate::upstream::http1::Broken;
use crate::upstream::http1::link::{Link, Stream};
use crate::upstream::settings::{Balance, ServerAddress};

/// How many servers are tried for one request.
const MAX_TRIED: usize = 3;

/// How many idle connections a worker keeps to one server. More are closed after use.
const MAX_IDLE: usize = 128;

/// The upstream failed us.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No connection could be made.
    #[error("{server}: cannot connect: {source}")]
    Connect {
        /// Which server.
        server: Box<str>,
        /// Why.
        source: io::Error,
    },
    /// No connection was made in time.
    #[error("{server}: no connection in time")]
    ConnectTimeout {
        /// Which server.
        server: Box<str>,
    },
    /// The answer did not begin in time.
    #[error("{server}: no answer in time")]
    FirstByteTimeout {
        /// Which server.
        server: Box<str>,
    },
    /// The connection broke, or what came is not HTTP.
    #[error("{server}: {source}")]
    Exchange {
        /// Which server.
        server: Box<str>,
        /// What happened.
        source: Broken,
    },
    /// As many connections are in use as there may be.
    #[error("all connections to it are in use")]
    Exhausted,
}

impl UpstreamError {
    /// The name used in logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "upstream_connect",
            Self::ConnectTimeout { .. } => "upstream_connect_timeout",
            Self::FirstByteTimeout { .. } => "upstream_timeout",
            Self::Exchange { .. } => "upstream_broken",
            Self::Exhausted => "upstream_exhausted",
        }
    }
}

/// The connections of one worker to the servers of one upstream.
pub struct Pool {
    upstream: Arc<Upstream>,
    /// The idle connections to each server.
    #[expect(clippy::vec_box, reason = "a connection goes from exchange to exchange and is never moved itself")]
    idle: Vec<RefCell<Vec<Box<Link>>>>,
    turn: Cell<usize>,
    deadlines: Rc<Deadlines>,
}

/// A connection to use.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub link: Box<Link>,
    /// Which of the upstream's servers it leads to.
    pub server: usize,
    /// Whether a request has used it before: then it may have been closed meanwhile.
    pub is_used: bool,
}

/// For which request a connection is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Whose request it is.
    pub session: Option<SessionHandle>,
    /// Whether one will do that has been used before.
    pub may_be_used: bool,
    /// When it is wanted.
    pub now: Timestamp,
}

impl Pool {
    /// No connections yet.
    pub fn new(upstream: Arc<Upstream>, deadlines: Rc<Deadlines>) -> Rc<Self> {
        let idle = upstream.settings.servers.iter().map(|_| RefCell::default()).collect();
        Rc::new(Self { upstream, idle, turn: Cell::new(0), deadlines })
    }

    /// The deadlines of its worker.
    pub const fn deadlines(&self) -> &Rc<Deadlines> {
        &self.deadlines
    }

    /// The upstream.
    pub const fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The server's name, as configured.
    pub fn server(&self, server: usize) -> Box<str> {
        self.upstream.settings.servers.get(server).map(ToString::to_string).unwrap_or_default().into()
    }

    /// A connection: an idle one if that will do, or else a new one, to the server whose turn it is, or, when that
    /// cannot be reached, to the next. `deadline` is left at some time in the past or future.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn connection(&self, deadline: &Deadline, wanted: Wanted) -> Result<Connection, UpstreamError> {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let mut last = None;
        for server in self.upstream.order(turn, wanted.session, wanted.now).take(MAX_TRIED) {
            if wanted.may_be_used
                && let Some(link) = self.take_idle(server)
            {
                return Ok(Connection { link, server, is_used: true });
            }
            let place = match self.upstream.place() {
                Some(place) => place,
                // Only connections in use are used up: an idle one to another server does as well, or makes room.
                None => match self.any_idle() {
                    Some(other) if self.upstream.settings.balance != Balance::Sticky => return Ok(other),
                    other => {
                        drop(other);
                        self.place(deadline, wanted.now).await?
                    }
                },
            };
            deadline.move_to(Some(wanted.now.plus(self.upstream.settings.connect_timeout)));
            let error = match deadline.limit(Box::pin(connect(&self.upstream, server))).await {
                Ok(Ok(stream)) => {
                    self.upstream.reached(server);
                    return Ok(Connection { link: Link::new(stream, place), server, is_used: false });
                }
                Ok(Err(source)) => UpstreamError::Connect { server: self.server(server), source },
                Err(_) => UpstreamError::ConnectTimeout { server: self.server(server) },
            };
            self.upstream.not_reached(server, wanted.now);
            last = Some(error);
        }
        Err(last.unwrap_or(UpstreamError::Exhausted))
    }

    /// A place for one more connection, waited for as long as connecting may take.
    async fn place(&self, deadline: &Deadline, now: Timestamp) -> Result<OwnedSemaphorePermit, UpstreamError> {
        deadline.move_to(Some(now.plus(self.upstream.settings.connect_timeout)));
        let waited = deadline.limit(Box::pin(self.upstream.wait_for_place())).await;
        waited.ok().flatten().ok_or(UpstreamError::Exhausted)
    }

    /// The idle connection that was used last: the likeliest to be still open.
    fn take_idle(&self, server: usize) -> Option<Box<Link>> {
        let mut idle = self.idle.get(server)?.borrow_mut();
        let now = self.deadlines.recent();
        std::iter::from_fn(|| idle.pop()).find_map(|mut link| (link.is_fresh(now) && link.is_quiet()).then_some(link))
    }

    fn any_idle(&self) -> Option<Connection> {
        let found = (0..self.idle.len()).find_map(|server| Some((server, self.take_idle(server)?)));
        found.map(|(server, link)| Connection { link, server, is_used: true })
    }

    /// Takes back a connection that can be used again.
    pub fn keep(&self, server: usize, mut link: Box<Link>) {
        link.rested_at = self.deadlines.recent();
        // Its place is for whoever waits: they may be on another core, and want another server.
        if self.upstream.waiting() > 0 {
            return;
        }
        if let Some(idle) = self.idle.get(server) {
            let mut idle = idle.borrow_mut();
            if idle.len() < MAX_IDLE {
                idle.push(link);
            }
        }
    }

    /// Closes the idle connections that their servers have closed, or whose places others wait for, and frees what memory
    /// the rest do not need. To be called now and then.
    pub fn tidy(&self) {
        for idle in &self.idle {
            let mut idle = idle.borrow_mut();
            if self.upstream.waiting() > 0 {
                idle.clear();
            }
            let now = self.deadlines.recent();
            idle.retain_mut(|link| link.is_fresh(now) && link.is_quiet());
            idle.iter_mut().for_each(|link| link.rest());
        }
    }
}

/// A new connection to a server.
pub(super) async fn connect(upstream: &Upstream, server: usize) -> io::Result<Stream> {
    let settings = &upstream.settings;
    let tcp = async |address: &str| {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true).map(|()| stream)
    };
    match settings.servers.get(server).ok_or(io::ErrorKind::NotFound)? {
        ServerAddress::Tcp(address) => tcp(address).await.map(Stream::Tcp),
        ServerAddress::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        ServerAddress::Tls(address) => {
            let name = settings.tls.server_name.as_deref().unwrap_or_else(|| host_of(address));
            let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            let connector = upstream.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
            let stream = connector.connect(name, tcp(address).await?).await?;
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}

/// The host in `host:port`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
