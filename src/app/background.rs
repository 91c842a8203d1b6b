//! The small runtime beside the workers: sweeps, health checks, files that are looked at, and the operator's listeners.

use std::net::TcpListener as StdListener;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::task::JoinHandle;

use crate::admin::listen::{self, Door};
use crate::admin::metrics;
use crate::base::clock::Clock;
use crate::enforce::shared::Shared;
use crate::observe::metrics::{Metrics, OfServer};
use crate::server::renewal::{self, Renewal};
use crate::upstream::group::Upstream;
use crate::upstream::health;

/// How often sessions that are over are ended and forgotten. Each request checks its own session anyway.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// How often sessions with open streams are looked at: a stream outlives its session by this much at the most.
const SWEEP_STREAMS_EVERY: Duration = Duration::from_millis(500);

/// The small runtime beside the workers: sweeps, health checks and the operator's listeners.
///
/// # Errors
/// A sentence that says what could not be had.
pub(super) fn start(
    shared: &Arc<Shared>,
    renewal: &Arc<Renewal>,
    metrics_listener: Option<StdListener>,
    door: Option<Door>,
) -> Result<(runtime::Runtime, Checkers), String> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(|error| format!("the background runtime cannot be started: {error}"))?;
    let _entered = runtime.enter();
    let (sweeping, sweeping_streams, forgetting) = (Arc::clone(shared), Arc::clone(shared), Arc::clone(shared));
    runtime.spawn(keep_up("sweeping sessions", move || sweep(Arc::clone(&sweeping))));
    runtime.spawn(keep_up("ending streams", move || sweep_streams(Arc::clone(&sweeping_streams))));
    runtime.spawn(keep_up("forgetting forms", move || forget_parked(Arc::clone(&forgetting))));
    let mut checkers = Checkers { shared: Arc::clone(shared), runtime: runtime.handle().clone(), running: Vec::new() };
    let _none_before = checkers.watch(&shared.snapshot.load_full().upstreams);
    let (clock, renewal) = (shared.clock.clone(), Arc::clone(renewal));
    runtime.spawn(keep_up("reading certificates again", move || renew(clock.clone(), Arc::clone(&renewal))));
    if let Some(listener) = metrics_listener {
        let listener = TcpListener::from_std(listener).map_err(|error| format!("cannot listen: {error}"))?;
        runtime.spawn(metrics::serve(Arc::clone(shared), listener));
    }
    if let Some(door) = door {
        let shared = Arc::clone(shared);
        runtime.spawn(async move {
            if let Err(error) = listen::serve(shared, door).await {
                tracing::error!("the operator cannot be listened to: {error}");
            }
        });
    }
    Ok((runtime, checkers))
}

/// What asks the servers of every upstream that says so how they are, each by itself: one that does not answer keeps no
/// other waiting.
pub(crate) struct Checkers {
    shared: Arc<Shared>,
    runtime: runtime::Handle,
    /// Of each upstream, one a server.
    running: Vec<(Arc<Upstream>, Vec<JoinHandle<()>>)>,
}

impl Checkers {
    /// Asks the servers of these upstreams from now on. Those that were asked before go on being asked as they were. What
    /// asked those of others is handed out, to be waited for by [`Retired::stop`].
    pub(crate) fn watch(&mut self, upstreams: &[Arc<Upstream>]) -> Retired {
        let mut retired = Vec::new();
        let stays = |upstream: &Arc<Upstream>| upstreams.iter().any(|other| Arc::ptr_eq(other, upstream));
        for (upstream, tasks) in std::mem::take(&mut self.running) {
            let place = if stays(&upstream) { &mut self.running } else { &mut retired };
            place.push((upstream, tasks));
        }
        for upstream in upstreams {
            if !self.running.iter().any(|(known, _)| Arc::ptr_eq(known, upstream)) {
                let tasks = (0..upstream.settings.servers.len()).map(|server| self.spawn(upstream, server));
                self.running.push((Arc::clone(upstream), tasks.collect()));
            }
        }
        let all = self.running.iter().flat_map(|(upstream, _)| health::labels(upstream)).collect();
        Retired { retired, all }
    }

    fn spawn(&self, upstream: &Arc<Upstream>, server: usize) -> JoinHandle<()> {
        let (shared, upstream) = (Arc::clone(&self.shared), Arc::clone(upstream));
        let watch = move || {
            let (shared, upstream) = (Arc::clone(&shared), Arc::clone(&upstream));
            async move { health::watch(&upstream, server, &shared.clock, &shared.metrics).await }
        };
        self.runtime.spawn(keep_up("checking a server's health", watch))
    }
}

/// What asked servers that nobody is to be asked about any more.
#[must_use = "it goes on asking until it is stopped"]
pub(crate) struct Retired {
    retired: Vec<(Arc<Upstream>, Vec<JoinHandle<()>>)>,
    /// The servers that are asked now.
    all: Vec<OfServer>,
}

impl Retired {
    /// Stops it, and forgets what was counted of servers that are not asked any more.
    pub(crate) async fn stop(self, metrics: &Metrics) {
        for (upstream, tasks) in self.retired {
            for task in tasks {
                task.abort();
                // It may be about to say something of its server.
                let _ = task.await;
            }
            for label in health::labels(&upstream).filter(|label| !self.all.contains(label)) {
                metrics.upstream_healthy.remove(&label);
                metrics.health_check_failures.remove(&label);
            }
        }
    }
}

/// Runs what must go on for as long as the gateway does. A panic in it is told, and it begins again: without its sweeps and
/// time-outs a gateway would go on and let in whom it should not.
pub(crate) async fn keep_up<F: Future<Output = ()>>(what: &'static str, begin: impl Fn() -> F) {
    while AssertUnwindSafe(begin()).catch_unwind().await.is_err() {
        tracing::error!("{what} failed, and begins again");
    }
}

async fn sweep(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(SWEEP_EVERY).await;
        shared.sweep(shared.clock.now()).await;
    }
}

/// Forgets forms that nobody came back for. By itself: it waits for the disk, and the end of sessions must not.
async fn forget_parked(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(SWEEP_EVERY).await;
        shared.parking.expire(&shared, shared.clock.now()).await;
    }
}

async fn sweep_streams(shared: Arc<Shared>) {
    loop {
        shared.clock.sleep(SWEEP_STREAMS_EVERY).await;
        shared.sweep_streams(shared.clock.now()).await;
    }
}

/// Reads certificates again when their files have changed.
async fn renew(clock: Clock, renewal: Arc<Renewal>) {
    loop {
        clock.sleep(renewal::LOOK_EVERY).await;
        let (renewal, now) = (Arc::clone(&renewal), clock.now());
        // A file may be waited for, and what else goes on in the background is not to wait with it.
        if let Err(failed) = tokio::task::spawn_blocking(move || renewal.look(now)).await
            && let Ok(panic) = failed.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
