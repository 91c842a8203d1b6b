//! One worker: a thread with everything it needs for itself. Only the session map is shared on the way of a request.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::clock::{Clock, Timestamp};
use crate::base::deadline::Deadlines;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::Snapshot;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::WorkerCounters;
use crate::observe::timings::RouteTimes;
use crate::rewrite::compress::Places;
use crate::route::table::Route;
use crate::upstream::pool::Pool;

/// How often idle connections to the applications are looked at: one that its server has closed holds a descriptor here.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// Times and bounds of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of a request may take.
    pub header: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How many connections this worker serves at once.
    pub most: usize,
    /// How many connections one address may have open, over all workers.
    pub per_address: usize,
    /// How many bytes a second a body must bring while it is waited for, if any.
    pub body_rate: Option<NonZeroU32>,
}

/// One worker.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The deadlines of requests under way.
    pub deadlines: Rc<Deadlines>,
    /// The deadlines of connections.
    pub connection_deadlines: Rc<Deadlines>,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// Its part of the access log, if there is one.
    pub access: Option<AccessLog>,
    /// Times and bounds of its connections.
    pub limits: ConnectionLimits,
    /// How many connections it serves now.
    pub connections: Cell<usize>,
    /// Told when a connection is closed.
    pub closed: Notify,
    /// When the operator was last told that a connection was refused before its handshake.
    pub refusal_told: Cell<Option<Timestamp>>,
    /// Its places for answers that are compressed.
    pub compressors: Places,
    is_stopping: Cell<bool>,
    current: RefCell<Rc<Current>>,
}

/// The configuration as this worker uses it.
pub struct Current {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// This worker's connections to each upstream.
    pub pools: Vec<Rc<Pool>>,
    /// What this worker measures of its routes.
    pub times: Arc<RouteTimes>,
}

impl Worker {
    /// One worker.
    pub fn new(shared: Arc<Shared>, access: Option<AccessLog>, limits: ConnectionLimits) -> Rc<Self> {
        let (counters, now) = (shared.metrics.worker(), shared.clock.now());
        let deadlines = Deadlines::new(now);
        let current = RefCell::new(Rc::new(Current::new(shared.snapshot.load_full(), &shared, &deadlines)));
        Rc::new(Self {
            shared,
            deadlines,
            connection_deadlines: Deadlines::new(now),
            counters,
            access,
            limits,
            connections: Cell::new(0),
            closed: Notify::new(),
            refusal_told: Cell::new(None),
            compressors: Places::default(),
            is_stopping: Cell::new(false),
            current,
        })
    }

    /// The configuration in force. Counting it is this worker's own affair: no other core sees the count.
    pub fn current(&self) -> Rc<Current> {
        let newest = self.shared.snapshot.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&newest, &current.snapshot) {
            *current = Rc::new(Current::new(Arc::clone(&newest), &self.shared, &self.deadlines));
        }
        Rc::clone(&current)
    }

    /// Whether it has been told to stop.
    pub const fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Tells every connection to end when what is under way on it is done.
    pub fn stop(&self) {
        self.is_stopping.set(true);
        self.connection_deadlines.pass_all();
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Waits until no connection is left.
    pub async fn all_closed(&self) {
        while self.connections.get() > 0 {
            self.closed.notified().await;
        }
    }

    /// Keeps the idle connections to the applications tidy, for as long as the worker runs.
    pub async fn tidy_pools(self: Rc<Self>) {
        loop {
            self.clock().sleep(TIDY_EVERY).await;
            self.current.borrow().pools.iter().for_each(|pool| pool.tidy());
        }
    }

    /// Counts a request against the limit of its address.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn admit(&self, snapshot: &Snapshot, client: IpAddr) -> Result<(), crate::limit::rate::Exceeded> {
        snapshot.limits.per_address.as_ref().map_or(Ok(()), |limit| limit.admit(client))
    }
}

impl Current {
    fn new(snapshot: Arc<Snapshot>, shared: &Shared, deadlines: &Rc<Deadlines>) -> Self {
        let name = |route: &Route| match route.path.as_str() {
            "" => format!("{}/", route.host),
            path => format!("{}{path}", route.host),
        };
        let times = shared.metrics.times(snapshot.routes.routes().iter().map(name));
        let pools =
            snapshot.upstreams.iter().map(|upstream| Pool::new(Arc::clone(upstream), Rc::clone(deadlines))).collect();
        Self { snapshot, pools, times }
    }
}
