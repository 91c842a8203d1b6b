//! The real thing, without sockets: `enforce` over the memory store, every wait of which can be held up.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, Request};
use tempfile::TempDir;
use vestibule::app;
use vestibule::base::clock::{Clock, ManualClock, Timestamp};
use vestibule::base::random::Random;
use vestibule::config::Plan;
use vestibule::crypto::key_file;
use vestibule::enforce::authorize::{Authorized, authorize};
use vestibule::enforce::establish;
use vestibule::enforce::shared::Shared;
use vestibule::enforce::snapshot::Snapshot;
use vestibule::policy::facts::Facts;
use vestibule::policy::route_policy::{Access, RoutePolicy, SessionRules};
use vestibule::reader::Document;
use vestibule::session::binding::{AddressMode, AgentMode, Answer, BindingRules, TlsFingerprint};
use vestibule::session::concurrency::{Concurrency, Limit, WhenFull};
use vestibule::session::handle::SessionHandle;
use vestibule::session::level::Level;
use vestibule::session::live::Live;
use vestibule::session::principal::Principal;
use vestibule::session::record::{EndReason, Owner, Person, Record};
use vestibule::session::rotation::RotationRule;
use vestibule::session::store::{Created, Lookup, Page, SessionStore, StoreError};
use vestibule::session::tenant::ByTenant;
use vestibule::session::timeouts::{Lifetime, Lifetimes, OnIdle, Over, RoleLifetime};
use vestibule::store::memory::MemoryStore;

use super::model::{self, Asks, Compared, Place, Rules};
use crate::harness::START;

/// A memory store that lets everyone wait once before each operation, so that requests can overtake each other.
pub struct Turnstile {
    inner: Arc<MemoryStore>,
    lookup_waits: bool,
}

async fn turn() {
    let mut has_waited = false;
    poll_fn(|_| if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl SessionStore for Turnstile {
    fn lookup(&self, handle: SessionHandle) -> Lookup {
        if !self.lookup_waits {
            return self.inner.lookup(handle);
        }
        let inner = Arc::clone(&self.inner);
        Lookup::Later(Box::pin(async move {
            turn().await;
            Ok(match inner.lookup(handle) {
                Lookup::Hit(live) => Some(live),
                Lookup::Miss | Lookup::Later(_) => None,
            })
        }))
    }

    fn create(&self, record: Record, limit: Option<Limit>) -> BoxFuture<'_, Result<Created, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.create(record, limit)))
    }

    fn touch(&self, live: &Arc<Live>, now: Timestamp) {
        self.inner.touch(live, now);
    }

    fn lock(&self, live: &Arc<Live>) -> bool {
        self.inner.lock(live)
    }

    fn change_principal(
        &self,
        handle: SessionHandle,
        principal: Arc<Principal>,
        expected: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.change_principal(handle, principal, expected)))
    }

    fn users(&self) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.users()))
    }

    fn rotate(&self, handle: SessionHandle, to: u32, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.rotate(handle, to, now)))
    }

    fn revoke(&self, handle: SessionHandle, why: EndReason, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.revoke(handle, why, now)))
    }

    fn revoke_all(
        &self,
        owner: Owner,
        why: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.revoke_all(owner, why, now)))
    }

    fn list(&self, owner: Owner) -> BoxFuture<'_, Result<Vec<Arc<Live>>, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.list(owner)))
    }

    fn page(&self, after: Option<SessionHandle>, most: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.inner.page(after, most)
    }

    fn sweep(
        &self,
        lifetimes: ByTenant<Lifetimes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(SessionHandle, Over)>, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.sweep(lifetimes, now)))
    }

    fn end_above(
        &self,
        allowed: ByTenant<Option<Arc<Concurrency>>>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        Box::pin(turn().then(move |()| self.inner.end_above(allowed, now)))
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn active(&self) -> usize {
        self.inner.active()
    }
}

/// A request under way.
pub type Flight = Pin<Box<dyn Future<Output = Result<Authorized, StoreError>>>>;

/// One gateway.
struct Node {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    clock: ManualClock,
}

/// Gateways with one store, each with a clock of its own. What happens, happens at one of them.
pub struct World {
    nodes: Vec<Node>,
    here: usize,
    pub store: Arc<MemoryStore>,
}

impl World {
    /// A gateway with these rules for each of `late`, the clock of which is late by so many milliseconds; handles, seeds
    /// and nonces are fixed by `seed`.
    pub fn new(rules: &Rules, late: &[u64], seed: u64) -> Self {
        let store = Arc::new(MemoryStore::default());
        let node = |(at, late): (usize, &u64)| Node::new(rules, *late, seed + ((at as u64) << 32), Arc::clone(&store));
        Self { nodes: late.iter().enumerate().map(node).collect(), here: 0, store }
    }

    /// What happens next, happens at this one.
    pub fn go_to(&mut self, node: usize) {
        self.here = node % self.nodes.len();
    }

    /// What is shared there.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.nodes[self.here].shared
    }

    /// The configuration there.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.nodes[self.here].snapshot
    }

    /// The time there.
    pub fn now(&self) -> Timestamp {
        self.nodes[self.here].clock.now()
    }

    /// Time goes on, everywhere.
    pub fn advance(&self, span: Duration) {
        self.nodes.iter().for_each(|node| node.clock.advance(span));
    }

    /// A request arrives now; nothing of it is done yet.
    pub fn request(&self, asks: Asks, place: Place, cookies: &[String]) -> Flight {
        let (shared, snapshot, now) = (Arc::clone(self.shared()), Arc::clone(self.snapshot()), self.now());
        let levels = &snapshot.default.rules.levels;
        let (parts, route) = (parts(place, cookies), route(asks, levels.first()));
        Box::pin(async move {
            let facts = Facts::read(&parts, address(place)).expect("a good request");
            authorize(&shared, &snapshot.default, &route, &facts, &parts.headers, now).await
        })
    }

    /// The session of this handle, as the store has it.
    pub fn find(&self, handle: SessionHandle) -> Option<Arc<Live>> {
        match self.store.lookup(handle) {
            Lookup::Hit(live) => Some(live),
            Lookup::Miss | Lookup::Later(_) => None,
        }
    }
}

/// The keys of all of them.
fn keys() -> String {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        key_file::make(&folder.path().join("keys"), &Random::seeded(1)).expect("written");
        folder
    });
    format!("[keys]\nsecrets = [\"file:{}\"]\n", folder.path().join("keys").display())
}

impl Node {
    fn new(rules: &Rules, late: u64, seed: u64, store: Arc<MemoryStore>) -> Self {
        let text = keys()
            + "[server]\nlisten = [\"127.0.0.1:0\"]\n[[server.certificate]]\ncert = \"c\"\nkey = \"k\"\ngenerate = true\n[session.store]\nkind = \"memory\"\n\
                    [[upstream]]\nname = \"app\"\nservers = [\"http://127.0.0.1:1\"]\n\
                    [[route]]\npath = \"/\"\nupstream = \"app\"\naccess = \"public\"\n";
        let mut plan =
            Plan::of(&Document::parse("gateway.toml", &text)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        plan.session.rules = session_rules(rules);
        let clock = ManualClock::at(Timestamp::from_millis(START.as_millis() - late));
        let parts = app::Parts {
            clock: Clock::Manual(clock.clone()),
            random: Random::seeded(seed),
            store: Some(Arc::new(Turnstile { inner: store, lookup_waits: rules.lookup_waits })),
            values: None,
            log: Box::new(std::io::sink()),
        };
        let shared = Arc::new(app::share(&plan, parts).expect("it starts"));
        let snapshot = shared.snapshot.load_full();
        Self { shared, snapshot, clock }
    }
}

/// Goes on with something until it has to wait, or is done.
pub fn poll<T>(future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// Goes on with something until it is done.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    (0..100).find_map(|_| poll(future.as_mut())).expect("it ends some time")
}

/// The headers of a request.
pub fn headers(place: Place, cookies: &[String]) -> HeaderMap {
    parts(place, cookies).headers
}

/// The client's address.
pub fn address(place: Place) -> IpAddr {
    place.address.parse().expect("an address")
}

/// Where a session is made from.
pub fn from(place: Place) -> establish::Place<'static> {
    establish::Place { client: address(place), user_agent: place.agent.as_bytes(), tls: TlsFingerprint::UNKNOWN }
}

/// Who signs in under this name.
pub fn principal(user: &str) -> Principal {
    let role = if user == "root" { "admin" } else { "staff" };
    Principal::new(user, None, &[], &[role.to_owned()])
}

fn parts(place: Place, cookies: &[String]) -> Parts {
    let pairs: Vec<String> = cookies.iter().map(|value| format!("__Host-session={value}")).collect();
    let mut request = Request::get("/").header("host", "app.example.test").header("user-agent", place.agent);
    if !pairs.is_empty() {
        request = request.header("cookie", pairs.join("; "));
    }
    request.body(()).expect("a request").into_parts().0
}

fn route(asks: Asks, level: Option<&Arc<Level>>) -> RoutePolicy {
    let access = match asks {
        Asks::Public => Access::Public,
        Asks::Optional => Access::Optional,
        Asks::Anonymous => Access::Anonymous,
        Asks::User | Asks::Admin | Asks::Level => Access::Authenticated,
    };
    let roles = if asks == Asks::Admin { vec!["ops".into(), "admin".into()] } else { Vec::new() };
    let level = level.filter(|_| asks == Asks::Level).cloned();
    RoutePolicy { level, ..RoutePolicy::new(access, roles) }
}

fn level(rules: &Rules) -> Arc<Level> {
    let (after, idle) = rules.level;
    let (after, idle) = (Duration::from_millis(after), idle.map(Duration::from_millis));
    Arc::new(Level { name: "established".into(), after, idle })
}

fn lifetimes(rules: &Rules) -> Lifetimes {
    let pair =
        |(idle, absolute)| Lifetime { idle: Duration::from_millis(idle), absolute: Duration::from_millis(absolute) };
    let of_root =
        RoleLifetime { role: "admin".into(), forbids_remembering: rules.forgets_root, ..RoleLifetime::default() };
    Lifetimes {
        remembered: rules.offered.map(pair),
        on_idle: if rules.locks { OnIdle::Lock } else { OnIdle::End },
        ..Lifetimes::new(pair((rules.idle, rules.absolute)), [of_root])
    }
}

fn session_rules(rules: &Rules) -> SessionRules {
    let answer = |answer| match answer {
        model::Answer::Log => Answer::Log,
        model::Answer::StepUp => Answer::StepUp,
        model::Answer::End => Answer::End,
    };
    let binding = BindingRules {
        address: match rules.address.0 {
            Compared::Not => AddressMode::Off,
            Compared::Exactly => AddressMode::Exact,
            Compared::Roughly => AddressMode::Prefix { v4: 24, v6: 56 },
        },
        address_answer: answer(rules.address.1),
        agent: match rules.agent.0 {
            Compared::Not => AgentMode::Off,
            Compared::Exactly => AgentMode::Exact,
            Compared::Roughly => AgentMode::Family,
        },
        agent_answer: answer(rules.agent.1),
        ..BindingRules::default()
    };
    SessionRules {
        lifetimes: lifetimes(rules),
        levels: [level(rules)].into(),
        rotation: RotationRule {
            every: rules.every.map(Duration::from_millis),
            grace: Duration::from_millis(rules.grace),
        },
        binding,
        concurrency: rules.max.map(|(max, ends_oldest)| {
            let when_full = if ends_oldest { WhenFull::EndOldest } else { WhenFull::Refuse };
            let roles = rules.max_of_root.map(|max| ("admin".into(), max)).into_iter().collect();
            Arc::new(Concurrency { all: Some(max), roles, when_full })
        }),
        ..SessionRules::default()
    }
}
