//! The composition root: from a plan to a running gateway.

mod background;
pub(crate) mod files;
mod keys;
pub(crate) mod look;
mod memory;
mod tenants;

use std::io::Write;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::{self, LocalOptions};
use tokio::sync::watch;

use crate::admin::guard::Guard;
use crate::admin::listen::{self, Door, Place};
pub(crate) use crate::app::background::{Checkers, keep_up};
pub(crate) use crate::app::keys::{Moment, key_ring};
use crate::base::clock::Clock;
use crate::base::random::Random;
use crate::base::units;
use crate::config::Plan;
use crate::config::StoreKind;
use crate::config::{CertificatePlan, Hsts};
use crate::crypto::keyring::KeyRing;
use crate::enforce::lease::Leases;
use crate::enforce::parking::ParkingLot;
use crate::enforce::people::{self, Followed};
use crate::enforce::reloads::Reloads;
use crate::enforce::shared::{self, Shared};
use crate::enforce::snapshot::Snapshot;
use crate::limit::connections::{ConnectionLimits, OpenConnections};
use crate::limit::rate::PerAddress;
use crate::login::password::PasswordPool;
use crate::observe::access_log::{AccessLog, FLUSH_EVERY};
use crate::observe::audit::AuditLog;
use crate::observe::sink::Logs;
use crate::route::table::RouteTable;
use crate::server::challenges::Challenges;
use crate::server::listener::{self, Scheme};
use crate::server::plain::PlainHttp;
use crate::server::renewal::Renewal;
use crate::server::sockets::{self, Sockets};
use crate::server::tls::Tls;
use crate::server::worker::Worker;
use crate::session::kv::KvStore;
use crate::session::record::Person;
use crate::session::store::SessionStore;
use crate::session::tenant::DEFAULT_TENANT;
use crate::store::disk::{DiskSettings, DiskStore, Opened};
use crate::store::memory::MemoryStore;
use crate::store::memory_kv::MemoryKv;
use crate::upstream::forward::Rewriting;
use crate::upstream::group::Upstream;

/// How long the background may take to end: it only waits, so it ends at once.
const BACKGROUND_END: Duration = Duration::from_secs(1);

/// The people whose restored sessions are unlike what the users file says of them, where the store has compared the two.
type Unlike = Option<Vec<Person>>;

/// Where sessions are kept, and what is kept beside them, and whose sessions are to be looked at.
type Stores = (Arc<dyn SessionStore>, Arc<dyn KvStore>, Unlike);

/// What a gateway is given from outside.
pub struct Parts {
    /// The time.
    pub clock: Clock,
    /// Randomness.
    pub random: Random,
    /// A store to use instead of the configured one.
    pub store: Option<Arc<dyn SessionStore>>,
    /// And one for what is kept beside sessions; in memory without.
    pub values: Option<Arc<dyn KvStore>>,
    /// Standard output, where access and audit log go unless they are written to files.
    pub log: Box<dyn Write + Send>,
}

impl Default for Parts {
    fn default() -> Self {
        let log = Box::new(std::io::stdout());
        Self { clock: Clock::System, random: Random::System, store: None, values: None, log }
    }
}

/// A running gateway.
pub struct Running {
    /// Where it listens, in the order of the configuration.
    pub addresses: Vec<SocketAddr>,
    /// Where it redirects from plain HTTP, in the order of the configuration.
    pub redirect_addresses: Vec<SocketAddr>,
    /// Where the metrics are.
    pub metrics_address: Option<SocketAddr>,
    /// Where the operator is listened to, if that is an address.
    pub admin_address: Option<SocketAddr>,
    /// What its workers share.
    pub shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    background: Option<runtime::Runtime>,
    kit: Option<Kit>,
}

/// What reading the configuration again works with.
pub(crate) struct Kit {
    /// What its workers share.
    pub(crate) shared: Arc<Shared>,
    /// Its certificates.
    pub(crate) renewal: Arc<Renewal>,
    /// What asks servers how they are.
    pub(crate) checkers: Checkers,
    /// What it was started with.
    pub(crate) plan: Plan,
    /// Where that is done.
    pub(crate) runtime: runtime::Handle,
}

/// Starts a gateway on sockets of its own. When it returns, every listener is open.
///
/// # Errors
/// A sentence that says what could not be had.
pub fn start(plan: &Plan, parts: Parts) -> Result<Running, String> {
    start_on(plan.server.open_sockets(Vec::new())?, plan, parts)
}

/// Starts a gateway on these sockets, which are those of the plan.
///
/// # Errors
/// A sentence that says what could not be had.
pub fn start_on(sockets: Sockets, plan: &Plan, parts: Parts) -> Result<Running, String> {
    memory::without_huge_pages();
    for remark in plan.remarks() {
        tracing::warn!("{remark}");
    }
    let workers = plan.server.workers_here();
    let certificates = plan.server.certificates.iter().map(CertificatePlan::files);
    let renewal = Arc::new(Renewal::load(certificates, parts.clock.now())?);
    let metrics_listener = plan.admin.metrics.map(|address| sockets::bind(address, 1)).transpose()?;
    let (door, admin_address) = open_door(plan.admin.listen.as_ref())?;
    // Where another gateway runs already, nothing of its is touched.
    let (shared, unlike) = share_with_store(plan, parts)?;
    let shared = Arc::new(shared);
    let Sockets { https: mut listeners, http: mut plain_listeners } = sockets;
    let (addresses, redirect_addresses) = (sockets::addresses_of(&listeners), sockets::addresses_of(&plain_listeners));
    let metrics_listener = metrics_listener.and_then(|mut listeners| listeners.pop());
    let metrics_address = metrics_listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let (background, checkers) = background::start(&shared, &renewal, metrics_listener, door)?;
    admit_known(&background, &shared, unlike)?;
    let challenges = plan.server.acme_challenges.clone();
    let challenges = challenges.map(|folder| Challenges::new(folder, background.handle().clone()));
    let plain = Arc::new(PlainHttp::new(addresses.first().map_or(0, SocketAddr::port), challenges));
    let (stop, stopped) = watch::channel(false);
    let mut threads = Vec::new();
    for at in 0..workers {
        let start = WorkerStart {
            shared: Arc::clone(&shared),
            https: listeners.iter_mut().filter_map(Vec::pop).collect(),
            tls: Arc::clone(renewal.in_use()),
            http: plain_listeners.iter_mut().filter_map(Vec::pop).collect(),
            plain: Arc::clone(&plain),
            access: shared.logs.access.clone().map(|sink| AccessLog::new(plan.log.format, sink)),
            stopped: stopped.clone(),
        };
        let thread = std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || start.run());
        threads.push(thread.map_err(|error| format!("a worker thread cannot be started: {error}"))?);
    }
    shared.is_ready.store(true, Ordering::Relaxed);
    let runtime = background.handle().clone();
    let kit = Some(Kit { shared: Arc::clone(&shared), renewal, checkers, plan: plan.clone(), runtime });
    let (workers, background) = (threads, Some(background));
    Ok(Running {
        addresses,
        redirect_addresses,
        metrics_address,
        admin_address,
        shared,
        stop,
        workers,
        background,
        kit,
    })
}

/// Ends the restored sessions of whoever is not among the users any more or has another password, and gives the others
/// the rights they have now. It looks at the sessions of those `unlike` the users, or of everybody.
fn admit_known(background: &runtime::Runtime, shared: &Shared, unlike: Unlike) -> Result<(), String> {
    let now = shared.clock.now();
    let followed = background.block_on(async {
        match unlike {
            Some(people) => Ok(people::follow_these(shared, people, now).await),
            None => people::follow(shared, now).await,
        }
    });
    match followed {
        Ok(Followed { ended: 0, changed: 0, failed: 0 }) => Ok(()),
        Ok(Followed { ended, changed, failed: 0 }) => {
            tracing::info!(
                "users changed while the gateway was not running: sessions ended: {ended}, with other rights: \
                 {changed}"
            );
            Ok(())
        }
        Ok(_) => Err("sessions of users that have changed cannot be ended: the session store fails".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl Running {
    /// What reading the configuration again works with: given once, to whoever does that.
    pub(crate) const fn kit(&mut self) -> Option<Kit> {
        self.kit.take()
    }

    /// Tells it to stop: no new connections, and what is under way may go on for the drain time-out.
    pub fn stop(&self) {
        self.shared.is_ready.store(false, Ordering::Relaxed);
        // Nobody is listening any more when every worker has stopped by itself.
        let _ = self.stop.send(true);
    }

    /// Has the log files opened again by their names, after somebody has renamed them.
    pub fn reopen_logs(&self) {
        self.shared.logs.reopen();
    }

    /// Whether every worker has done something since this was last asked: one that has not for seconds is stuck.
    pub fn have_all_moved(&self) -> bool {
        self.shared.metrics.have_all_moved()
    }

    /// Waits until it has stopped, and everything is written down.
    pub fn wait(mut self) {
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
        if let Some(background) = self.background.take() {
            // Waited for, so that the admin socket is gone when the process is.
            background.shutdown_timeout(BACKGROUND_END);
        }
        self.shared.store.close();
        self.shared.logs.close();
    }
}

/// Everything a worker's thread begins with.
struct WorkerStart {
    shared: Arc<Shared>,
    https: Vec<StdListener>,
    tls: Arc<ArcSwap<Tls>>,
    http: Vec<StdListener>,
    plain: Arc<PlainHttp>,
    access: Option<AccessLog>,
    stopped: watch::Receiver<bool>,
}

impl WorkerStart {
    fn run(self) {
        let built = runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match built {
            Ok(runtime) => {
                let worker = runtime.block_on(self.serve());
                // What was still under way ends here, and each of it has its line.
                drop(runtime);
                if let Some(access) = &worker.access {
                    access.flush();
                }
            }
            Err(error) => tracing::error!("a worker cannot start: {error}"),
        }
    }

    async fn serve(self) -> Rc<Worker> {
        let Self { shared, https, tls, http, plain, access, mut stopped } = self;
        let worker = Worker::new(shared, access);
        for deadlines in [&worker.deadlines, &worker.connection_deadlines] {
            let (deadlines, clock) = (Rc::clone(deadlines), worker.clock().clone());
            let watch = move || Rc::clone(&deadlines).watch(clock.clone());
            tokio::task::spawn_local(keep_up("watching time-outs", watch));
        }
        let (tidying, flushing) = (Rc::clone(&worker), Rc::clone(&worker));
        let tidy = move || Rc::clone(&tidying).tidy_pools();
        tokio::task::spawn_local(keep_up("looking after idle connections to applications", tidy));
        tokio::task::spawn_local(keep_up("writing the access log", move || beat(Rc::clone(&flushing))));
        let mut accepting = Vec::new();
        let https = https.into_iter().map(|listener| (listener, Scheme::Https(Arc::clone(&tls))));
        let http = http.into_iter().map(|listener| (listener, Scheme::Http(Arc::clone(&plain))));
        for (listener, scheme) in https.chain(http) {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    let (listener, worker) = (Rc::new(listener), Rc::clone(&worker));
                    let accept = move || listener::accept_all(Rc::clone(&worker), Rc::clone(&listener), scheme.clone());
                    accepting.push(tokio::task::spawn_local(keep_up("accepting connections", accept)));
                }
                Err(error) => tracing::error!("a worker cannot listen: {error}"),
            }
        }
        // The sender is gone only together with the gateway.
        let _ = stopped.wait_for(|stop| *stop).await;
        accepting.iter().for_each(tokio::task::JoinHandle::abort);
        for task in accepting {
            let _ = task.await;
        }
        worker.stop();
        tokio::select! {
            () = worker.all_closed() => {}
            () = worker.clock().sleep(worker.limits.get().drain) => {
                tracing::warn!("connections cut because they were not done in time: {}", worker.connections.get());
            }
        }
        worker
    }
}

/// Hands a worker's log lines over now and then, and shows by it that the worker works.
async fn beat(worker: Rc<Worker>) {
    loop {
        // Real time, also in tests: whoever reads the log waits in real time.
        tokio::time::sleep(FLUSH_EVERY).await;
        worker.counters.beat();
        if let Some(access) = &worker.access {
            access.flush();
        }
    }
}

/// Opens where the operator is listened to, and says at which address that is, if it is one.
fn open_door(place: Option<&Place>) -> Result<(Option<Door>, Option<SocketAddr>), String> {
    match place {
        None => Ok((None, None)),
        Some(Place::Unix(path)) => Ok((Some(listen::open(path)?), None)),
        Some(Place::Tcp { address, token, hosts }) => {
            let listener = sockets::bind(*address, 1)?.pop().ok_or("the operator cannot be listened to")?;
            let bound = listener.local_addr().ok();
            Ok((Some(Door::Tcp(listener, Guard::new(token.clone(), hosts.clone()))), bound))
        }
    }
}

/// What all workers and the background share: a whole gateway but for its sockets, which is what is measured and
/// simulated beside the real one.
///
/// # Errors
/// A sentence that says which thread could not be started, or what is wrong with the session store or its keys.
pub fn share(plan: &Plan, parts: Parts) -> Result<Shared, String> {
    share_with_store(plan, parts).map(|(shared, _)| shared)
}

/// The same, and whose sessions are to be looked at before anybody is served.
fn share_with_store(plan: &Plan, parts: Parts) -> Result<(Shared, Unlike), String> {
    let thread = |error: std::io::Error| format!("a thread cannot be started: {error}");
    let ring = Arc::new(key_ring(plan, &parts.random, Moment::Start)?);
    let (store, values, unlike) = match parts.store {
        Some(store) => (store, Arc::new(MemoryKv::default()) as Arc<dyn KvStore>, None),
        None => open_store(plan, &ring, &parts.random, &parts.clock)?,
    };
    let values = parts.values.unwrap_or(values);
    let logs = Logs::open(plan.log.access.as_ref(), &plan.log.audit, parts.log)?;
    // Half of the cores, so that a crowd that signs in leaves the rest to those who are.
    let hashing = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    let started_at = parts.clock.now();
    let cross_site_reports = units::rate(shared::CROSS_SITE_REPORTS)?;
    let cross_site_reports = cross_site_reports.map(|rate| PerAddress::new(rate, parts.clock.clone()));
    let shared = Shared {
        connections: OpenConnections::default(),
        snapshot: ArcSwap::from_pointee(snapshot(plan, &ring, &parts.clock, None)?),
        store,
        values,
        parking: ParkingLot::default(),
        leases: Leases::default(),
        passwords: PasswordPool::start(hashing).map_err(thread)?,
        clock: parts.clock,
        random: parts.random,
        metrics: shared::metrics(),
        audit: AuditLog::new(plan.log.format, logs.audit.clone()),
        logs,
        is_ready: AtomicBool::new(false),
        started_at,
        reloads: Reloads::default(),
        cross_site_reports: cross_site_reports.ok_or("the bound of reports is no rate")?,
    };
    Ok((shared, unlike))
}

/// The configured stores.
fn open_store(plan: &Plan, ring: &Arc<KeyRing>, random: &Random, clock: &Clock) -> Result<Stores, String> {
    let path = match &plan.session.store {
        StoreKind::Memory => {
            return Ok((Arc::new(MemoryStore::default()), Arc::new(MemoryKv::default()), Some(Vec::new())));
        }
        StoreKind::Disk(path) => path.clone(),
    };
    let Opened { store, is_new, unlike } = DiskStore::open(DiskSettings {
        path: path.clone(),
        ring: Arc::clone(ring),
        tenant: DEFAULT_TENANT.into(),
        idle: shortest_idle(plan),
        random: random.clone(),
        clock: clock.clone(),
        known: tenants::known(plan),
    })?;
    if is_new {
        // Where there was one, everybody has been signed out by this.
        tracing::warn!("there was no session store, and a new one was made: {}", path.display());
    }
    let store = Arc::new(store);
    Ok((Arc::clone(&store) as _, store, Some(unlike)))
}

/// The snapshot of a plan. What is alive in the one `before`, and what its plan has in common with this one, is carried
/// over.
///
/// # Errors
/// A sentence that says what is wrong with a file that the plan names.
pub(crate) fn snapshot(
    plan: &Plan,
    ring: &Arc<KeyRing>,
    clock: &Clock,
    before: Option<(&Plan, &Snapshot)>,
) -> Result<Snapshot, String> {
    let former = before.map_or(&[][..], |(_, snapshot)| &snapshot.upstreams);
    let default = tenants::default(plan, ring, clock, before);
    Ok(Snapshot {
        version: before.map_or(1, |(_, snapshot)| snapshot.version + 1),
        loaded_at: clock.now(),
        ring: Arc::clone(ring),
        connections: connection_limits(plan),
        routes: RouteTable::new(plan.routes.clone()),
        tenants: tenants::others(plan, ring, &default, clock, before)?,
        default: Arc::new(default),
        proxy_protocol: plan.server.proxy_protocol,
        forwarded_header: plan.server.forwarded_header,
        rewriting: Rewriting {
            identity: Arc::new(plan.identity.clone()),
            trusted: plan.server.trusted_proxies.clone(),
            forwarded_header: plan.server.forwarded_header,
            cookies: tenants::cookie_names(plan),
        },
        upstreams: plan.upstreams.iter().map(|own| Upstream::renew(former, own.clone())).collect::<Result<_, _>>()?,
        request_id: plan.log.request_id.clone(),
        strict_transport_security: plan.server.hsts.map(Hsts::header),
        csrf_token: plan.csrf_token.clone(),
        written: plan.written.clone(),
    })
}

/// The shortest idle limit that anybody may have.
fn shortest_idle(plan: &Plan) -> Duration {
    let of_tenants = plan.tenants.iter().map(|tenant| tenant.rules.lifetimes.shortest_idle());
    of_tenants.fold(plan.session.rules.lifetimes.shortest_idle(), Duration::min)
}

fn connection_limits(plan: &Plan) -> ConnectionLimits {
    ConnectionLimits {
        handshake: plan.server.handshake_timeout,
        header: plan.server.header_timeout,
        keep_alive: plan.server.keep_alive_timeout,
        most: plan.server.max_connections.div_ceil(plan.server.workers_here()),
        per_address: plan.server.max_connections_per_address,
        body_rate: NonZeroU32::new(plan.server.min_body_rate),
        drain: plan.server.drain_timeout,
    }
}
