//! The servers of one upstream as all workers see them: which are out of order, and how many connections there are.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_rustls::TlsConnector;

use crate::base::clock::Timestamp;
use crate::base::stamp::Seen;
use crate::session::handle::SessionHandle;
use crate::upstream::places::{Places, TakenPlace, Waiting};
use crate::upstream::settings::{Balance, Protocol, UpstreamSettings};
use crate::upstream::tls::{self, HTTP_1, HTTP_2};

/// How often in a row no connection can be made to a server before it is left alone for a while.
const MAX_FAILURES: u32 = 3;

/// For how long: what HAProxy and nginx wait, roughly.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// One upstream, shared by all workers.
pub struct Upstream {
    /// What it was made from.
    pub settings: UpstreamSettings,
    /// How TLS is spoken to its servers, if it is, for HTTP/1.1.
    pub tls: Option<TlsConnector>,
    /// For HTTP/2.
    pub tls_of_http_2: Option<TlsConnector>,
    /// The files that TLS was set up from, as they were before.
    files: Vec<Seen>,
    servers: Vec<Server>,
    places: Places,
}

/// What is known of a server.
#[derive(Default)]
struct Server {
    /// How often in a row it could not be reached.
    failures: AtomicU32,
    /// Until when it is left alone, in milliseconds.
    back_at: AtomicU64,
    /// Whether it fails its health checks.
    fails: AtomicBool,
    /// Whether it was ever asked how it is.
    is_watched: AtomicBool,
    /// How many requests are under way; counted only when somebody asks.
    under_way: AtomicUsize,
    /// Since when it is as it is, and why; written when that changes.
    known: Mutex<Option<Known>>,
}

#[derive(Clone)]
struct Known {
    since: Timestamp,
    why: Box<str>,
}

/// How a server is, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether requests go to it as to any other.
    pub is_healthy: bool,
    /// Whether it is asked how it is. If not, it is only known from requests.
    pub is_checked: bool,
    /// Since when, if it ever changed or was asked.
    pub since: Option<Timestamp>,
    /// What was wrong with it, while it is.
    pub why: Option<Box<str>>,
}

/// What is known of a server that requests do not get to.
const UNREACHABLE: &str = "cannot be reached, or hangs up without an answer";

impl Server {
    fn note(&self, since: Timestamp, why: &str) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known { since, why: why.into() });
    }
}

/// A request under way to a server.
pub struct UnderWay {
    upstream: Arc<Upstream>,
    server: usize,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(server) = self.upstream.servers.get(self.server) {
            server.under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Upstream {
    /// An upstream whose servers are all believed to work.
    ///
    /// # Errors
    /// What is wrong with the files that TLS needs.
    pub fn new(settings: UpstreamSettings) -> Result<Arc<Self>, String> {
        let places = Places::new(settings.max_connections);
        Self::with(settings, places)
    }

    fn with(settings: UpstreamSettings, places: Places) -> Result<Arc<Self>, String> {
        let files = if settings.has_tls() { settings.tls.files().map(Seen::now).collect() } else { Vec::new() };
        let tls = |protocol| {
            let made = settings.has_tls().then(|| tls::connector(&settings.tls, protocol));
            made.transpose().map_err(|fault| fault.message)
        };
        let (tls, tls_of_http_2) = (tls(HTTP_1)?, tls(HTTP_2)?);
        let servers = settings.servers.iter().map(|_| Server::default()).collect();
        Ok(Arc::new(Self { settings, tls, tls_of_http_2, files, servers, places }))
    }

    /// What becomes of one of the `former` upstreams by these settings: itself, with its connections and all that is known
    /// of its servers, when nothing has changed; otherwise a new one, that knows of each server what the former of its name
    /// did. Connections of the former are let go when what is under way on them is done. Until then they count here, if any
    /// server is the same and HTTP/1.1 is spoken. [`Upstream::bound`] is for when it comes into force.
    ///
    /// # Errors
    /// As [`Upstream::new`].
    pub fn renew(former: &[Arc<Self>], settings: UpstreamSettings) -> Result<Arc<Self>, String> {
        let Some(former) = former.iter().find(|former| former.settings.name == settings.name) else {
            return Self::new(settings);
        };
        if former.settings == settings && former.files.iter().all(Seen::is_as_it_was) {
            return Ok(Arc::clone(former));
        }
        // Where every server is another, it is another application, which shall not wait for the former's visitors to leave.
        // Nor shall all people wait for one stream to end, as they might where each worker has one connection for them all.
        let is_same = settings.servers.iter().any(|server| former.settings.servers.contains(server));
        let is_http_2 = [former.settings.protocol, settings.protocol].contains(&Protocol::Http2);
        let places = if is_same && !is_http_2 { former.places.clone() } else { Places::new(settings.max_connections) };
        let new = Self::with(settings, places)?;
        // What nobody asks any more would never be found well again.
        let is_asked = former.settings.health.is_some() && new.settings.health.is_some();
        for (address, server) in new.settings.servers.iter().zip(&new.servers) {
            let known = former.settings.servers.iter().zip(&former.servers).find(|(known, _)| *known == address);
            let Some((_, known)) = known else { continue };
            server.fails.store(is_asked && known.fails.load(Ordering::Relaxed), Ordering::Relaxed);
            server.failures.store(known.failures.load(Ordering::Relaxed), Ordering::Relaxed);
            server.back_at.store(known.back_at.load(Ordering::Relaxed), Ordering::Relaxed);
            let condition = known.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
            *server.known.lock().unwrap_or_else(PoisonError::into_inner) = condition;
        }
        Ok(new)
    }

    /// The servers in the order in which they should be tried for a request: those that work first. `turn` counts a
    /// worker's requests.
    pub fn order(&self, turn: usize, session: Option<SessionHandle>, now: Timestamp) -> Order<'_> {
        let count = self.servers.len().max(1);
        let first = match (self.settings.balance, session) {
            _ if count == 1 => 0,
            (Balance::LeastRequests, _) => self.least_busy(turn, now),
            (Balance::Sticky, Some(session)) => self.chosen_by(session, now),
            (Balance::RoundRobin, _) | (Balance::Sticky, None) => turn % count,
        };
        Order { upstream: self, first, at: 0, now }
    }

    fn works(&self, server: usize, now: Timestamp) -> bool {
        self.servers.get(server).is_some_and(|server| {
            !server.fails.load(Ordering::Relaxed) && server.back_at.load(Ordering::Relaxed) <= now.as_millis()
        })
    }

    /// Whether a server fails its health checks.
    pub fn fails(&self, server: usize) -> bool {
        self.servers.get(server).is_some_and(|server| server.fails.load(Ordering::Relaxed))
    }

    /// Whether all of them do.
    pub fn all_fail(&self) -> bool {
        (0..self.servers.len()).all(|server| self.fails(server))
    }

    /// Notes that a server fails its health checks, and why, or passes them: one that fails is passed over for as long as
    /// another works.
    pub fn set_checked(&self, server: usize, now: Timestamp, failure: Option<&str>) {
        if let Some(server) = self.servers.get(server) {
            server.fails.store(failure.is_some(), Ordering::Relaxed);
            server.note(now, failure.unwrap_or_default());
        }
    }

    /// How a server is, for people to look at.
    pub fn condition(&self, server: usize) -> Option<Condition> {
        let server = self.servers.get(server)?;
        let known = server.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_healthy =
            !server.fails.load(Ordering::Relaxed) && server.failures.load(Ordering::Relaxed) < MAX_FAILURES;
        let is_checked = self.settings.health.is_some();
        let why = known.as_ref().filter(|_| !is_healthy).map(|known| known.why.clone());
        Some(Condition { is_healthy, is_checked, since: known.map(|known| known.since), why })
    }

    /// How many connections to its servers are open or being made, those of its former settings included.
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    /// Has as many places as its settings say: to be called when they come into force.
    pub fn bound(&self) {
        self.places.resize(self.settings.max_connections);
    }

    /// Whether a server has been asked before how it is; from now on it has.
    pub fn is_watched(&self, server: usize) -> bool {
        self.servers.get(server).is_some_and(|server| server.is_watched.swap(true, Ordering::Relaxed))
    }

    fn least_busy(&self, turn: usize, now: Timestamp) -> usize {
        let count = self.servers.len();
        let busy = |at: &usize| self.servers.get(*at).map_or(0, |server| server.under_way.load(Ordering::Relaxed));
        // Beginning with another each time, so that equals take turns.
        let all = (0..count).map(|at| (turn + at) % count);
        all.min_by_key(|at| (!self.works(*at, now), busy(at))).unwrap_or(0)
    }

    /// The server with the highest number for this session: when one fails, only its own sessions move.
    fn chosen_by(&self, session: SessionHandle, now: Timestamp) -> usize {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let all = self.settings.servers.iter().enumerate();
        let number =
            |(at, server): (usize, &_)| (self.works(at, now), hasher.hash_one((session, format!("{server}"))), at);
        all.map(number).max().map_or(0, |(.., at)| at)
    }

    /// Notes that a request is under way to a server, if anybody wants to know.
    pub fn begin(self: &Arc<Self>, server: usize) -> Option<UnderWay> {
        if self.settings.balance != Balance::LeastRequests {
            return None;
        }
        self.servers.get(server)?.under_way.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay { upstream: Arc::clone(self), server })
    }

    /// Notes that a server has answered.
    pub fn reached(&self, server: usize) {
        if let Some(server) = self.servers.get(server)
            && server.failures.load(Ordering::Relaxed) > 0
        {
            if server.failures.swap(0, Ordering::Relaxed) >= MAX_FAILURES {
                // When that was is not known without a look at the clock, which is not worth it.
                *server.known.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            server.back_at.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that a server could not be reached, or hung up without an answer.
    pub fn not_reached(&self, server: usize, now: Timestamp) {
        let (Some(state), Some(address)) = (self.servers.get(server), self.settings.servers.get(server)) else {
            return;
        };
        let failures = state.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let name = &self.settings.name;
        if failures == MAX_FAILURES {
            state.note(now, UNREACHABLE);
        }
        if failures == 1 && self.servers.len() > 1 {
            tracing::warn!("{name}: {address}: {UNREACHABLE}");
        }
        if failures >= MAX_FAILURES && self.servers.len() > 1 {
            if failures == MAX_FAILURES {
                tracing::warn!(
                    "{name}: {address}: is left alone for {} s, as long as others answer",
                    LEFT_ALONE.as_secs()
                );
            }
            state.back_at.store(now.plus(LEFT_ALONE).as_millis(), Ordering::Relaxed);
        }
    }

    /// A place for one more connection, if there is one.
    pub fn place(&self) -> Option<TakenPlace> {
        self.places.take()
    }

    /// Waits for a place; `None` when too many wait already.
    pub async fn wait_for_place(&self) -> Option<TakenPlace> {
        self.places.wait(self.settings.max_waiting).await
    }

    /// Counts a request that waits, until it is dropped; `None` when too many wait already.
    pub fn queue(&self) -> Option<Waiting<'_>> {
        self.places.queue(self.settings.max_waiting)
    }

    /// How many requests wait for a place.
    pub fn waiting(&self) -> usize {
        self.places.waiting()
    }
}

/// The servers in the order in which they should be tried.
pub struct Order<'a> {
    upstream: &'a Upstream,
    first: usize,
    /// Once round for those that work, once more for the others.
    at: usize,
    now: Timestamp,
}

impl Iterator for Order<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let count = self.upstream.servers.len();
        while self.at < 2 * count {
            let (server, is_second_round) = ((self.first + self.at) % count, self.at >= count);
            self.at += 1;
            if self.upstream.works(server, self.now) != is_second_round {
                return Some(server);
            }
        }
        None
    }
}
