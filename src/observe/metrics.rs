//! Numbers for Prometheus. What every request counts is kept by each worker for itself and added up when asked for;
//! what happens rarely is counted in one place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::observe::process;
use crate::observe::timings::{CLASSES, Collected, RouteTimes, Timings, add, class};

/// One label: why, or how.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Labelled {
    /// The reason or outcome.
    pub reason: &'static str,
}

/// Two labels: what differed, and what followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// What differed.
    pub reason: &'static str,
    /// What followed from it, or would have.
    pub answer: &'static str,
}

/// What happened at which tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfTenant {
    /// The tenant.
    pub tenant: &'static str,
    /// What happened, by its name in the audit log.
    pub event: &'static str,
}

/// Which server of which upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfServer {
    /// The upstream's name.
    pub upstream: String,
    /// The server's address.
    pub server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusClass {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    /// Its name.
    pub operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// What became of a TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// It was made from the beginning.
    Full,
    /// It took up where an earlier connection had been.
    Resumed,
    /// It was not completed, in time or at all.
    Failed,
}

const HANDSHAKES: [&str; 3] = ["full", "resumed", "failed"];

/// The upper bounds of the buckets of what the store takes, in seconds: from what a disk takes that keeps up to what
/// nobody waits for any longer.
const STORE_BOUNDS: [f64; 11] = [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

/// What one worker counts, in words that nobody else writes.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    by_class: [AtomicU64; CLASSES.len()],
    handshakes: [AtomicU64; HANDSHAKES.len()],
    opened: AtomicU64,
    closed: AtomicU64,
    /// Whether it has shown itself since that was last asked.
    has_moved: AtomicBool,
}

impl WorkerCounters {
    /// Notes that the worker works.
    pub fn beat(&self) {
        self.has_moved.store(true, Ordering::Relaxed);
    }

    /// Counts an answer.
    pub fn answered(&self, status: u16) {
        add(&self.by_class[class(status)], 1);
    }

    /// Counts a handshake.
    pub fn shaken_hands(&self, handshake: Handshake) {
        let place = match handshake {
            Handshake::Full => 0,
            Handshake::Resumed => 1,
            Handshake::Failed => 2,
        };
        add(&self.handshakes[place], 1);
    }

    /// Counts a connection in.
    pub fn opened(&self) {
        add(&self.opened, 1);
    }

    /// Counts a connection out.
    pub fn closed(&self) {
        add(&self.closed, 1);
    }
}

/// What is told beside the [`Metrics`], and known elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Sessions that have not ended.
    pub sessions: usize,
    /// Streams that end with their session.
    pub streams: usize,
    /// Whether the session store can be written to.
    pub is_store_writable: bool,
    /// Failures of the session store that nobody waited for.
    pub store_errors: u64,
    /// Pieces of log that were lost.
    pub log_lost: u64,
    /// Which configuration is in force, counted from 1.
    pub snapshot_version: u64,
    /// When that one was loaded, in milliseconds since 1970.
    pub snapshot_loaded_at: u64,
    /// When the gateway started, in the same.
    pub started_at: u64,
}

/// All of the gateway's numbers.
#[derive(Default)]
pub struct Metrics {
    /// Sessions begun, by `user` or `anonymous`.
    pub sessions_created: Family<Labelled, Counter>,
    /// Sessions ended, by reason.
    pub sessions_ended: Family<Labelled, Counter>,
    /// Sessions locked because nothing happened.
    pub sessions_locked: Counter,
    /// Secrets replaced by their successor.
    pub rotations: Counter,
    /// Sign-ins, by outcome.
    pub logins: Family<Labelled, Counter>,
    /// Requests that somebody must sign in for, or prove again who they are, by reason.
    pub challenges: Family<Labelled, Counter>,
    /// Forms that met an ended session, by what became of them.
    pub parked_posts: Family<Labelled, Counter>,
    /// Requests refused by a limit, by which.
    pub limited: Family<Labelled, Counter>,
    /// Cookies that opened to nothing or to no session, by reason.
    pub bad_cookies: Family<Labelled, Counter>,
    /// Sessions that were used from elsewhere and went on, by what differed.
    pub binding_mismatches: Family<Answered, Counter>,
    /// Requests that other sites caused, by what tells them, and what followed.
    pub cross_site: Family<Answered, Counter>,
    /// What the audit log says of tenants other than the default one, by tenant and event: as many of both as there are
    /// tenants and events.
    pub tenant_events: Family<OfTenant, Counter>,
    /// Failures of the session store that were waited for.
    pub store_errors: Counter,
    store_times: StoreTimes,
    /// Failures of the upstreams, by kind.
    pub upstream_errors: Family<Labelled, Counter>,
    /// Whether servers that are asked are well, 1 or 0.
    pub upstream_healthy: Family<OfServer, Gauge>,
    /// Health checks that failed.
    pub health_check_failures: Family<OfServer, Counter>,
    /// Readings of the configuration while the gateway runs, by what came of them.
    pub reloads: Family<Labelled, Counter>,
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    timings: Arc<Mutex<Timings>>,
}

struct StoreTimes(Family<Operation, Histogram, fn() -> Histogram>);

impl Default for StoreTimes {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(STORE_BOUNDS)))
    }
}

impl Metrics {
    /// Counters for one more worker.
    pub fn worker(&self) -> Arc<WorkerCounters> {
        let counters = Arc::new(WorkerCounters::default());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// Whether every worker has shown itself since this was last asked.
    pub fn have_all_moved(&self) -> bool {
        let workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        // Every one is asked, so that none of them is taken for one that has moved later.
        workers.iter().filter(|worker| !worker.has_moved.swap(false, Ordering::Relaxed)).count() == 0
    }

    /// One worker's words for the times of these routes.
    pub fn times(&self, routes: impl Iterator<Item = String>) -> Arc<RouteTimes> {
        self.timings.lock().unwrap_or_else(PoisonError::into_inner).begin(routes)
    }

    /// Notes how long the session store took for what was waited for.
    pub fn store_took(&self, operation: &'static str, took: Duration) {
        self.store_times.0.get_or_create(&Operation { operation }).observe(took.as_secs_f64());
    }

    /// Lets what may happen be seen as something that has not happened yet: a rate begins at zero.
    pub fn expect(family: &Family<Labelled, Counter>, reasons: impl IntoIterator<Item = &'static str>) {
        reasons.into_iter().for_each(|reason| drop(family.get_or_create(&Labelled { reason })));
    }

    /// Counts one under a label.
    pub fn count(family: &Family<Labelled, Counter>, reason: &'static str) {
        family.get_or_create(&Labelled { reason }).inc();
    }

    /// Everything, in the OpenMetrics text format.
    pub fn render(&self, elsewhere: &Elsewhere) -> String {
        let mut registry = Registry::with_prefix("vestibule");
        self.register_workers(&mut registry);
        self.register_sessions(&mut registry, elsewhere);
        self.register_upstreams(&mut registry);
        register_gateway(&mut registry, elsewhere);
        let mut of_process = Registry::default();
        process::register(&mut of_process, elsewhere.started_at);
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ = text::encode_registry(&mut out, &registry);
        let _ = text::encode_registry(&mut out, &of_process);
        let _ = text::encode_eof(&mut out);
        out
    }

    fn register_workers(&self, registry: &mut Registry) {
        let requests = Family::<StatusClass, Counter>::default();
        let handshakes = Family::<Outcome, Counter>::default();
        let (mut opened, mut closed) = (0_u64, 0_u64);
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // In this order, so that none is seen closed that was not seen open.
            closed += worker.closed.load(Ordering::Relaxed);
            opened += worker.opened.load(Ordering::Relaxed);
            for (status, count) in CLASSES.iter().zip(&worker.by_class) {
                requests.get_or_create(&StatusClass { status }).inc_by(count.load(Ordering::Relaxed));
            }
            for (outcome, count) in HANDSHAKES.iter().zip(&worker.handshakes) {
                handshakes.get_or_create(&Outcome { outcome }).inc_by(count.load(Ordering::Relaxed));
            }
        }
        registry.register("requests", "Requests answered, by class of status", requests);
        registry.register_collector(Box::new(Collected(Arc::clone(&self.timings))));
        registry.register("connections", "Client connections open now", gauge(opened.saturating_sub(closed)));
        registry.register("tls_handshakes", "TLS handshakes with clients, by outcome", handshakes);
    }

    fn register_sessions(&self, registry: &mut Registry, elsewhere: &Elsewhere) {
        let ended = "Sessions ended, by reason; \"reuse\" is a cookie that had been replaced and came again";
        let streams = "Streams and WebSockets that wait and end with their session";
        registry.register("sessions_active", "Sessions that have not ended", gauge(elsewhere.sessions as u64));
        registry.register("sessions_created", "Sessions begun", self.sessions_created.clone());
        registry.register("sessions_ended", ended, self.sessions_ended.clone());
        registry.register("sessions_locked", "Sessions locked when they were idle", self.sessions_locked.clone());
        registry.register("session_rotations", "Session secrets replaced by their successor", self.rotations.clone());
        registry.register("session_streams", streams, gauge(elsewhere.streams as u64));
        registry.register("logins", "Sign-ins, by outcome", self.logins.clone());
        registry.register("challenges", "Requests that ask for sign-in, by reason", self.challenges.clone());
        let parked = "Forms that met an ended session, by what became of them";
        registry.register("parked_posts", parked, self.parked_posts.clone());
        registry.register("limited", "Requests refused by a limit", self.limited.clone());
        registry.register("bad_cookies", "Cookies that open to no session, by reason", self.bad_cookies.clone());
        registry.register("binding_mismatches", "Sessions used from elsewhere", self.binding_mismatches.clone());
        registry.register("cross_site", "Requests that another site caused, or would have", self.cross_site.clone());
        let of_tenants = "What the audit log says of tenants other than the default one, by tenant and event";
        registry.register("tenant_events", of_tenants, self.tenant_events.clone());
        let (writable, errors) = (gauge(u64::from(elsewhere.is_store_writable)), Counter::<u64>::default());
        errors.inc_by(self.store_errors.get() + elsewhere.store_errors);
        let can_be =
            "Whether the session store can be written to; while not (0), live sessions go on and nobody can sign in";
        registry.register("store_writable", can_be, writable);
        registry.register("store_errors", "Failures of the session store, what it tries again included", errors);
        registry.register_with_unit(
            "store_operation_duration",
            "How long the session store took for what is waited for",
            Unit::Seconds,
            self.store_times.0.clone(),
        );
    }

    fn register_upstreams(&self, registry: &mut Registry) {
        let healthy = "Whether a server passes its health checks";
        registry.register("upstream_errors", "Failures of the upstreams", self.upstream_errors.clone());
        registry.register("upstream_healthy", healthy, self.upstream_healthy.clone());
        registry.register("health_check_failures", "Health checks that failed", self.health_check_failures.clone());
        registry.register("reloads", "The configuration read again, by what came of it", self.reloads.clone());
    }
}

fn register_gateway(registry: &mut Registry, elsewhere: &Elsewhere) {
    let lost = Counter::<u64>::default();
    lost.inc_by(elsewhere.log_lost);
    registry.register("log_lost", "Pieces of log lost because the writer was behind or could not write", lost);
    let version = "Which configuration is in force, counted from 1 since the start";
    registry.register("snapshot_version", version, gauge(elsewhere.snapshot_version));
    let loaded_at = Gauge::<f64, AtomicU64>::default();
    loaded_at.set(elsewhere.snapshot_loaded_at as f64 / 1000.0);
    registry.register_with_unit(
        "snapshot_loaded_timestamp",
        "When it was loaded, since 1970",
        Unit::Seconds,
        loaded_at,
    );
    registry.register("build", "This gateway", Info::new(Build { version: env!("CARGO_PKG_VERSION") }));
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::<i64>::default();
    gauge.set(value as i64);
    gauge
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::timings::Destination;

    #[test]
    fn adds_the_workers_up() {
        let metrics = Metrics::default();
        let (one, two) = (metrics.worker(), metrics.worker());
        one.answered(200);
        two.answered(204);
        two.answered(999);
        two.opened();
        Metrics::count(&metrics.sessions_ended, "idle");
        one.shaken_hands(Handshake::Resumed);
        metrics.store_took("create", Duration::from_millis(3));
        metrics.times(["*/".to_owned()].into_iter()).ended(Destination::Route(0), 200, Duration::from_millis(7));
        let text = metrics.render(&Elsewhere { sessions: 7, ..Elsewhere::default() });
        for line in [
            "vestibule_requests_total{status=\"2xx\"} 2",
            "vestibule_requests_total{status=\"other\"} 1",
            "vestibule_connections 1",
            "vestibule_sessions_active 7",
            "vestibule_sessions_ended_total{reason=\"idle\"} 1",
            "vestibule_tls_handshakes_total{outcome=\"resumed\"} 1",
            "vestibule_store_operation_duration_seconds_bucket{le=\"0.0025\",operation=\"create\"} 0",
            "vestibule_store_operation_duration_seconds_bucket{le=\"0.005\",operation=\"create\"} 1",
            "# TYPE vestibule_request_duration_seconds histogram",
            "vestibule_request_duration_seconds_sum{route=\"*/\",status=\"2xx\"} 0.007",
            "vestibule_request_duration_seconds_bucket{le=\"0.005\",route=\"*/\",status=\"2xx\"} 0",
            "vestibule_request_duration_seconds_bucket{le=\"+Inf\",route=\"*/\",status=\"2xx\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn a_worker_that_stands_still_is_noticed() {
        let metrics = Metrics::default();
        let (one, two) = (metrics.worker(), metrics.worker());
        assert!(!metrics.have_all_moved());
        one.beat();
        two.beat();
        assert!(metrics.have_all_moved());
        one.beat();
        assert!(!metrics.have_all_moved(), "the other has not");
        two.beat();
        assert!(!metrics.have_all_moved(), "now the first has not");
    }
}
