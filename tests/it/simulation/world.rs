//! The real thing, without sockets: `enforce` over the memory store, every wait of which can be held up.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, Method};
use vestibule::app;
use vestibule::base::clock::{Clock, ManualClock, Timestamp};
use vestibule::base::random::Random;
use vestibule::enforce::authorize::{Authorized, authorize};
use vestibule::enforce::establish;
use vestibule::enforce::people::{self, Followed};
use vestibule::enforce::shared::Shared;
use vestibule::enforce::snapshot::Snapshot;
use vestibule::enforce::tenant::Tenant;
use vestibule::policy::decide::{Presented, decide};
use vestibule::policy::facts::Facts;
use vestibule::policy::trace::NoTrace;
use vestibule::policy::verdict::Verdict;
use vestibule::session::binding::TlsFingerprint;
use vestibule::session::concurrency::{Concurrency, Limit};
use vestibule::session::handle::SessionHandle;
use vestibule::session::live::Live;
use vestibule::session::principal::Principal;
use vestibule::session::record::{EndReason, Owner, Person, Record};
use vestibule::session::store::{Created, Lookup, Page, SessionStore, StoreError};
use vestibule::session::tenant::{ByTenant, TenantId};
use vestibule::session::timeouts::{Lifetimes, Over};
use vestibule::store::memory::MemoryStore;

use super::model::{Head, Place, Sent};
use super::plans;
use super::rules::{Config, HOSTS, Rules, TENANTS};
use crate::harness::START;

/// A memory store that lets everyone wait once before each operation, so that requests can overtake each other.
pub struct Turnstile {
    inner: Arc<MemoryStore>,
    lookup_waits: bool,
}

pub async fn turn() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
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
    /// The configuration before.
    former: Option<Arc<Snapshot>>,
    clock: ManualClock,
    turnstile: Arc<Turnstile>,
}

/// Gateways with one store, each with a clock of its own. What happens, happens at one of them.
pub struct World {
    rules: Rules,
    nodes: Vec<Node>,
    here: usize,
    pub store: Arc<MemoryStore>,
}

impl World {
    /// A gateway with these rules for each of `late`, the clock of which is late by so many milliseconds; handles, seeds
    /// and nonces are fixed by `seed`.
    pub fn new(rules: &Rules, config: &Config, late: &[u64], seed: u64) -> Self {
        let store = Arc::new(MemoryStore::default());
        let node = |(at, late): (usize, &u64)| {
            let clock = ManualClock::at(Timestamp::from_millis(START.as_millis() - late));
            let turnstile = Arc::new(Turnstile { inner: Arc::clone(&store), lookup_waits: rules.lookup_waits });
            let shared = Arc::new(share(rules, config, &clock, seed + ((at as u64) << 32), &turnstile));
            Node { snapshot: shared.snapshot.load_full(), former: None, shared, clock, turnstile }
        };
        Self { rules: *rules, nodes: late.iter().enumerate().map(node).collect(), here: 0, store }
    }

    /// What happens next, happens at this one.
    pub fn go_to(&mut self, node: usize) {
        self.here = node % self.nodes.len();
    }

    /// Which of them that is.
    pub const fn here(&self) -> usize {
        self.here
    }

    /// How many there are.
    pub const fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// What is shared there.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.nodes[self.here].shared
    }

    /// The configuration there.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.nodes[self.here].snapshot
    }

    /// The one before, as a request may still have that came before the reload.
    pub fn former(&self) -> Option<&Arc<Snapshot>> {
        self.nodes[self.here].former.as_ref()
    }

    /// Another configuration comes into force there, as a reload has it.
    pub fn reload(&mut self, config: &Config) -> Followed {
        let node = &mut self.nodes[self.here];
        let made = share(&self.rules, config, &node.clock, 0, &node.turnstile).snapshot.load_full();
        node.former = Some(std::mem::replace(&mut node.snapshot, Arc::clone(&made)));
        node.shared.snapshot.store(made);
        finish(people::follow(&node.shared, node.clock.now())).expect("memory works")
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
    pub fn request(&self, head: &Head, cookies: &[String], token: Option<&str>) -> Flight {
        let (shared, snapshot, now) = (Arc::clone(self.shared()), Arc::clone(self.snapshot()), self.now());
        let (parts, head, rules) = (parts(head, cookies, token), *head, self.rules);
        Box::pin(async move {
            let tenant = at_host(&snapshot, head.host);
            let route = plans::route(&rules, head.asks, tenant.rules.levels.first());
            authorize(&shared, tenant, &route, &facts(&parts, &head), &parts.headers, now).await
        })
    }

    /// What would be said of a request with the present secret of a session, if it came now: `None` when it would pass.
    pub fn would_be_told(&self, head: &Head, live: &Live) -> Option<Verdict> {
        let (parts, tenant) = (parts(head, &["whatever".to_owned()], None), at_host(self.snapshot(), head.host));
        let route = plans::route(&self.rules, head.asks, tenant.rules.levels.first());
        let presented = Presented::Session { session: live.view(), generation: live.rotation().generation };
        let now = self.now();
        let verdict = decide(&tenant.rules, &route, presented, &facts(&parts, head), now, &mut NoTrace).verdict;
        (!matches!(verdict, Verdict::Allow(_))).then_some(verdict)
    }

    /// The session of this handle, as the store has it.
    pub fn find(&self, handle: SessionHandle) -> Option<Arc<Live>> {
        match self.store.lookup(handle) {
            Lookup::Hit(live) => Some(live),
            Lookup::Miss | Lookup::Later(_) => None,
        }
    }
}

fn share(rules: &Rules, config: &Config, clock: &ManualClock, seed: u64, store: &Arc<Turnstile>) -> Shared {
    let parts = app::Parts {
        clock: Clock::Manual(clock.clone()),
        random: Random::seeded(seed),
        store: Some(Arc::clone(store) as Arc<dyn SessionStore>),
        values: None,
        log: Box::new(std::io::sink()),
    };
    app::share(&plans::plan(rules, config), parts).expect("it starts")
}

/// Whose a host is.
pub fn at_host(snapshot: &Snapshot, host: usize) -> &Tenant {
    snapshot.tenant(HOSTS[host])
}

/// A tenant by its place, if it is configured.
pub fn tenant(snapshot: &Snapshot, tenant: usize) -> Option<&Tenant> {
    snapshot.tenant_named(tenant_id(tenant))
}

/// What a tenant is called.
pub fn tenant_id(tenant: usize) -> TenantId {
    TenantId::of(TENANTS[tenant]).expect("room")
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
pub fn headers(head: &Head, cookies: &[String]) -> HeaderMap {
    parts(head, cookies, None).headers
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
pub fn principal(user: &str, is_admin: bool, password: u8) -> Principal {
    plans::user(user, is_admin, password).principal()
}

fn parts(head: &Head, cookies: &[String], token: Option<&str>) -> Parts {
    let method = if head.sent.changes() { Method::POST } else { Method::GET };
    let host = HOSTS[head.host];
    let own = format!("https://{host}");
    let says: &[(&str, &str)] = match head.sent {
        Sent::Read | Sent::Unsaid => &[],
        Sent::ReadElsewhere => &[("sec-fetch-site", "cross-site")],
        Sent::Own => &[("sec-fetch-site", "same-origin"), ("origin", &own)],
        Sent::OwnOld => &[("referer", &format!("{own}/form"))],
        Sent::Elsewhere => &[("sec-fetch-site", "cross-site"), ("origin", &own)],
        Sent::Sibling => &[("sec-fetch-site", "same-site"), ("origin", "https://wiki.example.test")],
        Sent::Socket => &[("origin", &own)],
        Sent::SocketElsewhere => &[("origin", "https://evil.test")],
    };
    let mut request = http::Request::builder().method(method).uri("/");
    request = request.header("host", host).header("user-agent", head.place.agent);
    for (name, value) in says {
        request = request.header(*name, *value);
    }
    if !cookies.is_empty() {
        let pairs: Vec<String> = cookies.iter().map(|value| format!("__Host-session={value}")).collect();
        request = request.header("cookie", pairs.join("; "));
    }
    if let Some(token) = token {
        request = request.header(plans::TOKEN_HEADER, token);
    }
    request.body(()).expect("a request").into_parts().0
}

fn facts<'a>(parts: &'a Parts, head: &Head) -> Facts<'a> {
    let is_websocket = matches!(head.sent, Sent::Socket | Sent::SocketElsewhere);
    Facts { is_websocket, ..Facts::read(parts, address(head.place)).expect("a good request") }
}
