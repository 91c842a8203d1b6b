//! The connections of one worker to one upstream. Nothing of it is shared with other workers.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;

/// Default for `upstream.connect_timeout`: a server in the same building answers in milliseconds, one across an ocean
/// in a third of a second; three tries of TCP fit in between.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Default for `upstream.first_byte_timeout`: what nginx, Apache and most applications' own servers allow.
pub const DEFAULT_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);

/// Default for `upstream.max_connections`: over all workers; more than most old applications can serve at once.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// How many idle connections a worker keeps to one server. More are closed after use.
const MAX_IDLE: usize = 128;

/// The largest head of an answer that is read, in bytes.
const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// How much of an answer is read at once at most, in bytes: a page with its pictures inlined comes in one read.
const READ_BUFFER: usize = 256 * 1024;

/// How many header fields an answer may have.
const MAX_ANSWER_HEADERS: usize = 128;

/// One upstream as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// The name routes call it by.
    pub name: Box<str>,
    /// `host:port` of each server; they take turns.
    pub servers: Vec<Box<str>>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long an answer may take to begin.
    pub first_byte_timeout: Duration,
    /// How many connections there may be, over all workers.
    pub max_connections: usize,
}

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
        source: hyper::Error,
    },
    /// It wants to speak another protocol, which nobody asked for.
    #[error("{server}: it switches protocols unasked")]
    Switched {
        /// Which server.
        server: Box<str>,
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
            Self::Exchange { .. } | Self::Switched { .. } => "upstream_broken",
            Self::Exhausted => "upstream_exhausted",
        }
    }
}

/// The connections of one worker to the servers of one upstream.
pub struct Pool<B> {
    settings: UpstreamSettings,
    servers: Vec<RefCell<Vec<SendRequest<B>>>>,
    turn: Cell<usize>,
    open: Cell<usize>,
    /// This worker's part of `max_connections`.
    most: usize,
}

/// A connection in use. Dropped, it goes back to its pool if it can be used again.
pub struct Connection<B> {
    pool: Rc<Pool<B>>,
    server: usize,
    sender: Option<SendRequest<B>>,
    is_new: bool,
}

impl<B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static> Pool<B> {
    /// A pool for one of `workers` workers.
    pub fn new(settings: UpstreamSettings, workers: usize) -> Rc<Self> {
        let most = settings.max_connections.div_ceil(workers.max(1));
        let servers = settings.servers.iter().map(|_| RefCell::default()).collect();
        Rc::new(Self { settings, servers, turn: Cell::new(0), open: Cell::new(0), most })
    }

    /// What it was made from.
    pub const fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// A connection: an idle one, or a new one. `deadline` is left at some time in the past or future.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn connection(
        self: &Rc<Self>,
        deadline: &Deadline,
        connect_by: Timestamp,
    ) -> Result<Connection<B>, UpstreamError> {
        let server = self.turn.get();
        self.turn.set((server + 1) % self.servers.len().max(1));
        if let Some(sender) = self.idle(server) {
            return Ok(Connection { pool: Rc::clone(self), server, sender: Some(sender), is_new: false });
        }
        if self.open.get() >= self.most {
            // Only connections in use are used up: an idle one to another server does as well.
            let other = (0..self.servers.len()).find_map(|other| Some((other, self.idle(other)?)));
            let (server, sender) = other.ok_or(UpstreamError::Exhausted)?;
            return Ok(Connection { pool: Rc::clone(self), server, sender: Some(sender), is_new: false });
        }
        deadline.move_to(Some(connect_by));
        let opened = deadline.limit(Box::pin(self.connect(server))).await;
        let name = || self.settings.servers.get(server).cloned().unwrap_or_default();
        match opened {
            Ok(Ok(sender)) => Ok(Connection { pool: Rc::clone(self), server, sender: Some(sender), is_new: true }),
            Ok(Err(source)) => Err(UpstreamError::Connect { server: name(), source }),
            Err(_) => Err(UpstreamError::ConnectTimeout { server: name() }),
        }
    }

    /// The idle connection that was used last: the likeliest to be still open.
    fn idle(&self, server: usize) -> Option<SendRequest<B>> {
        let mut idle = self.servers.get(server)?.borrow_mut();
        let mut busy = Vec::new();
        let mut found = None;
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                found = Some(sender);
                break;
            }
            if !sender.is_closed() {
                busy.push(sender);
            }
        }
        idle.append(&mut busy);
        found
    }

    async fn connect(self: &Rc<Self>, server: usize) -> io::Result<SendRequest<B>> {
        let address = self.settings.servers.get(server).ok_or(io::ErrorKind::NotFound)?;
        let counted = Counted::new(Rc::clone(self));
        let stream = TcpStream::connect(&**address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            // One piece, written by one plain call: most requests have no body.
            .writev(false)
            .max_buf_size(READ_BUFFER)
            .max_header_size(MAX_ANSWER_HEAD)
            .max_headers(MAX_ANSWER_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            // How it ended is told to the request that used it.
            let _ = connection.await;
            drop(counted);
        });
        Ok(sender)
    }
}

/// Counts an open connection for as long as it is one.
struct Counted<B>(Rc<Pool<B>>);

impl<B> Counted<B> {
    fn new(pool: Rc<Pool<B>>) -> Self {
        pool.open.set(pool.open.get() + 1);
        Self(pool)
    }
}

impl<B> Drop for Counted<B> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl<B> Connection<B> {
    /// Whether no request has used it before: then its failure is not that it was closed while idle.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// What sends on it.
    pub const fn sender(&mut self) -> Option<&mut SendRequest<B>> {
        self.sender.as_mut()
    }

    /// Which server it leads to.
    pub fn server(&self) -> Box<str> {
        self.pool.settings.servers.get(self.server).cloned().unwrap_or_default()
    }
}

impl<B> Drop for Connection<B> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender.take()
            && let Some(place) = self.pool.servers.get(self.server)
        {
            let mut idle = place.borrow_mut();
            if !sender.is_closed() && idle.len() < MAX_IDLE {
                idle.push(sender);
            }
        }
    }
}
