//! The connections of one worker to one upstream. Nothing of it is shared with other workers.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;
use crate::upstream::http1::Broken;
use crate::upstream::http1::link::{Counted, Link};

/// Default for `upstream.connect_timeout`: a server in the same building answers in milliseconds, one across an ocean
/// in a third of a second; three tries of TCP fit in between.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Default for `upstream.first_byte_timeout`: what nginx, Apache and most applications' own servers allow.
pub const DEFAULT_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(60);

/// Default for `upstream.max_connections`: over all workers; more than most old applications can serve at once.
pub const DEFAULT_MAX_CONNECTIONS: usize = 1024;

/// How many idle connections a worker keeps to one server. More are closed after use.
const MAX_IDLE: usize = 128;

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
#[derive(Debug)]
pub struct Pool {
    settings: UpstreamSettings,
    /// The idle connections to each server.
    #[expect(clippy::vec_box, reason = "a connection goes from exchange to exchange and is never moved itself")]
    idle: Vec<RefCell<Vec<Box<Link>>>>,
    turn: Cell<usize>,
    open: Rc<Cell<usize>>,
    /// This worker's part of `max_connections`.
    most: usize,
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

impl Pool {
    /// A pool for one of `workers` workers.
    pub fn new(settings: UpstreamSettings, workers: usize) -> Rc<Self> {
        let most = settings.max_connections.div_ceil(workers.max(1));
        let idle = settings.servers.iter().map(|_| RefCell::default()).collect();
        Rc::new(Self { settings, idle, turn: Cell::new(0), open: Rc::default(), most })
    }

    /// What it was made from.
    pub const fn settings(&self) -> &UpstreamSettings {
        &self.settings
    }

    /// The server's name, as configured.
    pub fn server(&self, server: usize) -> Box<str> {
        self.settings.servers.get(server).cloned().unwrap_or_default()
    }

    /// A connection: an idle one if `may_be_used`, or else a new one. `deadline` is left at some time in the past or
    /// future.
    ///
    /// # Errors
    /// When none can be had.
    pub async fn connection(
        &self,
        deadline: &Deadline,
        connect_by: Timestamp,
        may_be_used: bool,
    ) -> Result<Connection, UpstreamError> {
        let server = self.turn.get();
        self.turn.set((server + 1) % self.settings.servers.len().max(1));
        if may_be_used && let Some(link) = self.take_idle(server) {
            return Ok(Connection { link, server, is_used: true });
        }
        if self.open.get() >= self.most {
            // Only connections in use are used up: an idle one to another server does as well.
            let other = (0..self.idle.len()).find_map(|other| Some((other, self.take_idle(other)?)));
            let (server, link) = other.ok_or(UpstreamError::Exhausted)?;
            return Ok(Connection { link, server, is_used: true });
        }
        deadline.move_to(Some(connect_by));
        match deadline.limit(Box::pin(self.connect(server))).await {
            Ok(Ok(link)) => Ok(Connection { link, server, is_used: false }),
            Ok(Err(source)) => Err(UpstreamError::Connect { server: self.server(server), source }),
            Err(_) => Err(UpstreamError::ConnectTimeout { server: self.server(server) }),
        }
    }

    /// The idle connection that was used last: the likeliest to be still open.
    fn take_idle(&self, server: usize) -> Option<Box<Link>> {
        let mut idle = self.idle.get(server)?.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(|link| link.is_quiet())
    }

    async fn connect(&self, server: usize) -> io::Result<Box<Link>> {
        let address = self.settings.servers.get(server).ok_or(io::ErrorKind::NotFound)?;
        let counted = Counted::new(&self.open);
        Link::new(TcpStream::connect(&**address).await?, counted)
    }

    /// Takes back a connection that can be used again.
    pub fn keep(&self, server: usize, link: Box<Link>) {
        if let Some(idle) = self.idle.get(server) {
            let mut idle = idle.borrow_mut();
            if idle.len() < MAX_IDLE {
                idle.push(link);
            }
        }
    }

    /// Closes the idle connections that their servers have closed, and frees what memory the others do not need. To be
    /// called now and then.
    pub fn tidy(&self) {
        for idle in &self.idle {
            let mut idle = idle.borrow_mut();
            idle.retain(|link| link.is_quiet());
            idle.iter_mut().for_each(|link| link.rest());
        }
    }
}
