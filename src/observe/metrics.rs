//! Numbers for Prometheus. What every request counts is kept by each worker for itself and added up when asked for;
//! what happens rarely is counted in one place.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

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

const CLASSES: [&str; 6] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What one worker counts.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    by_class: [AtomicU64; CLASSES.len()],
    connections: AtomicU64,
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
        let class = usize::from(status / 100);
        let place = self.by_class.get(class).unwrap_or(&self.by_class[0]);
        place.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection in.
    pub fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection out.
    pub fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All of the gateway's numbers.
#[derive(Default)]
pub struct Metrics {
    /// Sessions begun, by `user` or `anonymous`.
    pub sessions_created: Family<Labelled, Counter>,
    /// Sessions ended, by reason.
    pub sessions_ended: Family<Labelled, Counter>,
    /// Secrets replaced by their successor.
    pub rotations: Counter,
    /// Sign-ins, by outcome.
    pub logins: Family<Labelled, Counter>,
    /// Requests refused by a limit, by which.
    pub limited: Family<Labelled, Counter>,
    /// Cookies that opened to nothing or to no session, by reason.
    pub bad_cookies: Family<Labelled, Counter>,
    /// Sessions that were used from elsewhere and went on, by what differed.
    pub binding_mismatches: Family<Answered, Counter>,
    /// Failures of the session store.
    pub store_errors: Counter,
    /// Failures of the upstreams, by kind.
    pub upstream_errors: Family<Labelled, Counter>,
    /// Whether servers that are asked are well, 1 or 0.
    pub upstream_healthy: Family<OfServer, Gauge>,
    /// Health checks that failed.
    pub health_check_failures: Family<OfServer, Counter>,
    /// Readings of the configuration while the gateway runs, by what came of them.
    pub reloads: Family<Labelled, Counter>,
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
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

    /// Counts one under a label.
    pub fn count(family: &Family<Labelled, Counter>, reason: &'static str) {
        family.get_or_create(&Labelled { reason }).inc();
    }

    /// Everything, in the OpenMetrics text format. `active` sessions and `lost` log pieces are known elsewhere.
    pub fn render(&self, active: usize, lost: u64) -> String {
        let mut registry = Registry::with_prefix("vestibule");
        let requests = Family::<StatusClass, Counter>::default();
        let connections = Gauge::<i64>::default();
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            connections.inc_by(worker.connections.load(Ordering::Relaxed) as i64);
            for (status, count) in CLASSES.iter().zip(&worker.by_class) {
                requests.get_or_create(&StatusClass { status }).inc_by(count.load(Ordering::Relaxed));
            }
        }
        let sessions = Gauge::<i64>::default();
        sessions.set(active as i64);
        let log_lost = Counter::<u64>::default();
        log_lost.inc_by(lost);
        registry.register("requests", "Requests answered, by class of status", requests);
        registry.register("connections", "Client connections open now", connections);
        registry.register("sessions_active", "Sessions that have not ended", sessions);
        registry.register("sessions_created", "Sessions begun", self.sessions_created.clone());
        registry.register("sessions_ended", "Sessions ended, by reason", self.sessions_ended.clone());
        registry.register("session_rotations", "Session secrets replaced by their successor", self.rotations.clone());
        registry.register("logins", "Sign-ins, by outcome", self.logins.clone());
        registry.register("limited", "Requests refused by a limit", self.limited.clone());
        registry.register("bad_cookies", "Cookies that open to no session, by reason", self.bad_cookies.clone());
        registry.register("binding_mismatches", "Sessions used from elsewhere", self.binding_mismatches.clone());
        registry.register("store_errors", "Failures of the session store", self.store_errors.clone());
        registry.register("upstream_errors", "Failures of the upstreams", self.upstream_errors.clone());
        registry.register(
            "upstream_healthy",
            "Whether a server passes its health checks",
            self.upstream_healthy.clone(),
        );
        registry.register("health_check_failures", "Health checks that failed", self.health_check_failures.clone());
        registry.register("reloads", "The configuration read again, by what came of it", self.reloads.clone());
        registry.register("log_lost", "Pieces of log lost because the writer was behind or could not write", log_lost);
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_workers_up() {
        let metrics = Metrics::default();
        let (one, two) = (metrics.worker(), metrics.worker());
        one.answered(200);
        two.answered(204);
        two.answered(999);
        two.opened();
        Metrics::count(&metrics.sessions_ended, "idle");
        let text = metrics.render(7, 0);
        for line in [
            "vestibule_requests_total{status=\"2xx\"} 2",
            "vestibule_requests_total{status=\"other\"} 1",
            "vestibule_connections 1",
            "vestibule_sessions_active 7",
            "vestibule_sessions_ended_total{reason=\"idle\"} 1",
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
