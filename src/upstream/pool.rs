//! The connections of one worker to one upstream. Nothing of it is shared with other workers.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::base::deadline::{Deadline, Deadlines};
use crate::session::handle::SessionHandle;
use crate::upstream::group::Upstream;
use crate::upstream::http1::Broken;
use crate::upstream::http1::link::Link;
use crate::upstream::http2::Shared;
use crate::upstream::places::TakenPlace;
use crate::upstream::reach::{has_name, look_up, reach};
use crate::upstream::settings::{Balance, Protocol};

/// How many servers are tried for one request.
const MAX_TRIED: usize = 3;

/// How many idle connections a worker keeps to one server. More are closed after use.
const MAX_IDLE: usize = 128;

/// How long the last known address of a server is used while its name cannot be looked up.
const DOUBTFUL: Duration = Duration::from_secs(5);

/// Until when what needs no looking up is known.
const FOR_EVER: Timestamp = Timestamp::from_millis(u64::MAX);

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
    /// The connections to each server that carry many requests at once.
    shared: Vec<Sharing>,
    /// Where each server was found when its name was last looked up.
    found: Vec<RefCell<Option<Found>>>,
    turn: Cell<usize>,
    deadlines: Rc<Deadlines>,
    is_former: Cell<bool>,
}

/// The connections to one server that carry many requests at once.
#[derive(Default)]
struct Sharing {
    all: RefCell<Vec<Rc<Shared>>>,
    /// Held by whoever makes one: the others wait for it, instead of making as many as they are.
    making: tokio::sync::Mutex<()>,
}

/// Where a server was found.
struct Found {
    addresses: Vec<SocketAddr>,
    until: Timestamp,
}

/// One connection, by what is spoken on it.
#[derive(Debug)]
pub enum Line {
    /// HTTP/1.1, for one request at a time.
    Http1(Box<Link>),
    /// HTTP/2, for many.
    Http2(Rc<Shared>),
}

/// A connection to use.
#[derive(Debug)]
pub struct Connection {
    /// The connection.
    pub line: Line,
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
    /// Whether it is for a WebSocket.
    pub is_websocket: bool,
    /// When it is wanted.
    pub now: Timestamp,
}

impl Pool {
    /// No connections yet.
    pub fn new(upstream: Arc<Upstream>, deadlines: Rc<Deadlines>) -> Rc<Self> {
        let servers = &upstream.settings.servers;
        let (idle, found) = (
            servers.iter().map(|_| RefCell::default()).collect(),
            servers.iter().map(|_| RefCell::default()).collect(),
        );
        let shared = servers.iter().map(|_| Sharing::default()).collect();
        Rc::new(Self { upstream, idle, shared, found, turn: Cell::new(0), deadlines, is_former: Cell::new(false) })
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
            if let Some(line) = self.at_hand(server, wanted) {
                return Ok(Connection { line, server, is_used: true });
            }
            let Some(sharing) = self.shared.get(server).filter(|_| self.is_http_2(wanted)) else {
                match self.new_line(deadline, server, wanted).await? {
                    Ok(connection) => return Ok(connection),
                    Err(error) => last = Some(error),
                }
                continue;
            };
            deadline.move_to(Some(wanted.now.plus(self.upstream.settings.connect_timeout)));
            let Ok(_making) = deadline.limit(Box::pin(sharing.making.lock())).await else {
                last = Some(UpstreamError::ConnectTimeout { server: self.server(server) });
                continue;
            };
            if let Some(line) = self.at_hand(server, wanted) {
                return Ok(Connection { line, server, is_used: true });
            }
            match self.new_line(deadline, server, wanted).await? {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(UpstreamError::Exhausted))
    }

    /// Whether HTTP/2 is spoken for such a request.
    fn is_http_2(&self, wanted: Wanted) -> bool {
        self.upstream.settings.protocol == Protocol::Http2 && !wanted.is_websocket
    }

    /// A new connection to a server, or an old one to another where there may be no more.
    ///
    /// # Errors
    /// When there may be no more and none can be had; within, why this server could not be reached.
    async fn new_line(
        &self,
        deadline: &Deadline,
        server: usize,
        wanted: Wanted,
    ) -> Result<Result<Connection, UpstreamError>, UpstreamError> {
        let place = match self.upstream.place() {
            Some(place) => place,
            None if self.is_http_2(wanted) && self.least_busy(server).is_some() => {
                let line = self.least_busy(server).map(Line::Http2).ok_or(UpstreamError::Exhausted)?;
                return Ok(Ok(Connection { line, server, is_used: true }));
            }
            // Only connections in use are used up: an idle one to another server does as well, or makes room.
            None => match self.any_idle() {
                Some(other) if self.upstream.settings.balance != Balance::Sticky && !self.is_http_2(wanted) => {
                    return Ok(Ok(other));
                }
                other => {
                    drop(other);
                    self.place(deadline, wanted.now).await?
                }
            },
        };
        // Its own time, whatever was waited for or tried before.
        deadline.move_to(Some(self.deadlines.recent().plus(self.upstream.settings.connect_timeout)));
        let error = match deadline.limit(Box::pin(self.connect(server, self.is_http_2(wanted), place))).await {
            Ok(Ok(line)) => return Ok(Ok(Connection { line, server, is_used: false })),
            Ok(Err(source)) => UpstreamError::Connect { server: self.server(server), source },
            Err(_) => {
                self.doubt(server);
                UpstreamError::ConnectTimeout { server: self.server(server) }
            }
        };
        self.upstream.not_reached(server, wanted.now);
        Ok(Err(error))
    }

    /// A connection that is there already, if that will do.
    fn at_hand(&self, server: usize, wanted: Wanted) -> Option<Line> {
        if !wanted.may_be_used {
            return None;
        }
        if !self.is_http_2(wanted) {
            return self.take_idle(server).map(Line::Http1);
        }
        let (all, now) = (self.shared.get(server)?.all.borrow(), self.deadlines.recent());
        all.iter().find(|shared| shared.has_room(now)).map(|shared| Line::Http2(Rc::clone(shared)))
    }

    /// The connection to a server with the fewest requests under way: on it, one more waits for its turn.
    fn least_busy(&self, server: usize) -> Option<Rc<Shared>> {
        let all = self.shared.get(server)?.all.borrow();
        all.iter().filter(|shared| shared.is_open()).min_by_key(|shared| shared.under_way()).cloned()
    }

    /// A place for one more connection, waited for as long as connecting may take.
    async fn place(&self, deadline: &Deadline, now: Timestamp) -> Result<TakenPlace, UpstreamError> {
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
        found.map(|(server, link)| Connection { line: Line::Http1(link), server, is_used: true })
    }

    /// Connects to a server, and takes up `place` for as long as the connection is.
    async fn connect(&self, server: usize, is_http_2: bool, place: TakenPlace) -> io::Result<Line> {
        let (addresses, known_until) = self.addresses(server).await?;
        let stream = match reach(&self.upstream, server, &addresses, is_http_2).await {
            Ok(stream) => stream,
            Err(error) => {
                self.doubt(server);
                return Err(error);
            }
        };
        if !is_http_2 {
            return Ok(Line::Http1(Link::new(stream, known_until, place)));
        }
        let shared = Shared::begin(stream, place, &self.deadlines, known_until).await.map_err(io::Error::other)?;
        if let Some(sharing) = self.shared.get(server).filter(|_| !self.is_former.get()) {
            sharing.all.borrow_mut().push(Rc::clone(&shared));
        }
        Ok(Line::Http2(shared))
    }

    /// Lets the name of a server be looked up again: it may have moved.
    fn doubt(&self, server: usize) {
        if let Some(found) = self.found.get(server)
            && let Some(found) = found.borrow_mut().as_mut()
        {
            found.until = Timestamp::default();
        }
    }

    /// Where a server is, looked up if that was not done lately, and until when that counts.
    async fn addresses(&self, server: usize) -> io::Result<(Vec<SocketAddr>, Timestamp)> {
        let settings = &self.upstream.settings;
        let address = settings.servers.get(server).ok_or(io::ErrorKind::NotFound)?;
        if !has_name(address) {
            return Ok((look_up(address).await?, FOR_EVER));
        }
        let (now, found) = (self.deadlines.recent(), self.found.get(server).ok_or(io::ErrorKind::NotFound)?);
        if let Some(found) = found.borrow().as_ref().filter(|found| now < found.until) {
            return Ok((found.addresses.clone(), found.until));
        }
        let known = found.borrow().as_ref().map(|found| found.addresses.clone());
        let (addresses, until) = match (look_up(address).await, known) {
            (Ok(addresses), _) => (addresses, now.plus(settings.resolve_every)),
            // Whoever knows names is out of order: most servers are where they were.
            (Err(_), Some(addresses)) => (addresses, now.plus(DOUBTFUL)),
            (Err(error), None) => return Err(error),
        };
        found.replace(Some(Found { addresses: addresses.clone(), until }));
        Ok((addresses, until))
    }

    /// Lets go of what is idle, and keeps nothing from now on: the configuration has changed, and only requests that are
    /// under way still know of it. It may be long until the last of them is done.
    pub fn retire(&self) {
        self.is_former.set(true);
        self.idle.iter().for_each(|idle| idle.borrow_mut().clear());
        self.shared.iter().for_each(|sharing| sharing.all.borrow_mut().clear());
    }

    /// Takes back a connection that can be used again.
    pub fn keep(&self, server: usize, mut link: Box<Link>) {
        link.rested_at = self.deadlines.recent();
        // Its place is for whoever waits: they may be on another core, and want another server.
        if self.upstream.waiting() > 0 || self.is_former.get() {
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
        for sharing in &self.shared {
            let now = self.deadlines.recent();
            // Those with requests under way are held by them, too, and end when these are done.
            let is_needed = |shared: &Shared| shared.under_way() > 0 || self.upstream.waiting() == 0;
            sharing.all.borrow_mut().retain(|shared| shared.is_fresh(now) && is_needed(shared));
        }
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
