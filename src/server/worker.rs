//! One worker: a thread with everything it needs for itself. Only the session map is shared on the way of a request.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::clock::{Clock, Timestamp};
use crate::base::deadline::Deadlines;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::Snapshot;
use crate::limit::connections::ConnectionLimits;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::WorkerCounters;
use crate::observe::timings::RouteTimes;
use crate::rewrite::compress::Places;
use crate::route::table::Route;
use crate::upstream::group::Upstream;
use crate::upstream::pool::Pool;

/// How often idle connections to the applications are looked at: one that its server has closed holds a descriptor here.
const TIDY_EVERY: Duration = Duration::from_secs(1);

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
    pub limits: Cell<ConnectionLimits>,
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
    pub fn new(shared: Arc<Shared>, access: Option<AccessLog>) -> Rc<Self> {
        let (counters, now) = (shared.metrics.worker(), shared.clock.now());
        let deadlines = Deadlines::new(now);
        let current = Rc::new(Current::new(shared.snapshot.load_full(), &[], &shared, &deadlines));
        let limits = Cell::new(current.snapshot.connections);
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
            current: RefCell::new(current),
        })
    }

    /// The configuration in force. Counting it is this worker's own affair: no other core sees the count.
    pub fn current(&self) -> Rc<Current> {
        let newest = self.shared.snapshot.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&newest, &current.snapshot) {
            let next = Current::new(Arc::clone(&newest), &current.pools, &self.shared, &self.deadlines);
            let former = current.pools.iter().filter(|pool| !next.pools.iter().any(|kept| Rc::ptr_eq(kept, pool)));
            former.for_each(|pool| pool.retire());
            *current = Rc::new(next);
            self.limits.set(newest.connections);
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

    /// Keeps the idle connections to the applications tidy, for as long as the worker runs. A worker that nobody asks for
    /// anything also lets go of a former configuration here.
    pub async fn tidy_pools(self: Rc<Self>) {
        loop {
            self.clock().sleep(TIDY_EVERY).await;
            self.current().pools.iter().for_each(|pool| pool.tidy());
        }
    }

    /// Counts a request against the limit of its address.
    ///
    /// # Errors
    /// When it is one too many.
    pub fn admit(&self, snapshot: &Snapshot, client: IpAddr) -> Result<(), crate::limit::rate::Exceeded> {
        snapshot.default.limits.per_address.as_ref().map_or(Ok(()), |limit| limit.admit(client))
    }
}

impl Current {
    /// The configuration as it is used from now on; upstreams that it has in common with the one before keep their `pools`.
    fn new(snapshot: Arc<Snapshot>, pools: &[Rc<Pool>], shared: &Shared, deadlines: &Rc<Deadlines>) -> Self {
        let name = |route: &Route| match route.path.as_str() {
            "" => format!("{}/", route.host),
            path => format!("{}{path}", route.host),
        };
        let times = shared.metrics.times(snapshot.routes.routes().iter().map(name));
        let of = |upstream: &Arc<Upstream>| match pools.iter().find(|pool| Arc::ptr_eq(pool.upstream(), upstream)) {
            Some(pool) => Rc::clone(pool),
            None => Pool::new(Arc::clone(upstream), Rc::clone(deadlines)),
        };
        let pools = snapshot.upstreams.iter().map(of).collect();
        Self { snapshot, pools, times }
    }
}
