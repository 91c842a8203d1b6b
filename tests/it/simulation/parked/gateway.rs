//! Gateways without sockets, and what browsers send them: the way of a form from where it is challenged to where it is sent,
//! by the functions of `enforce` and `portal` that a request goes through.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use http_body_util::{BodyExt, Full};
use vestibule::app;
use vestibule::base::clock::{Clock, ManualClock, Timestamp};
use vestibule::base::deadline::Deadlines;
use vestibule::base::random::Random;
use vestibule::enforce::authorize::authorize;
use vestibule::enforce::body::{AnswerBody, ClientBody, Incoming};
use vestibule::enforce::establish::{self, SignedIn};
use vestibule::enforce::lookup::current_session;
use vestibule::enforce::parking::{self, Again, Challenged, Outcome, ParkingSettings, PostId};
use vestibule::enforce::refusal::Refusal;
use vestibule::enforce::shared::Shared;
use vestibule::enforce::snapshot::Snapshot;
use vestibule::login::attempt::Return;
use vestibule::policy::facts::Facts;
use vestibule::policy::navigation::Navigation;
use vestibule::policy::route_policy::RoutePolicy;
use vestibule::policy::verdict::Verdict;
use vestibule::portal::Visit;
use vestibule::portal::parked::{self, Confirmed, Step};
use vestibule::session::handle::SessionHandle;
use vestibule::session::kv::{Entry, Expected, KvStore, Space};
use vestibule::session::store::StoreError;
use vestibule::store::memory::MemoryStore;
use vestibule::store::memory_kv::MemoryKv;

use super::super::rules::{Answer, Compared, Config, Entry as Somebody, HOSTS, Limits, Rules, Shield};
use super::super::world::{self, finish, turn};
use super::super::{plans, value_of};
use super::Form;
use super::model::{FRESH, IDLE};
use crate::harness::START;

/// A store of values that lets everyone wait once before each operation, so that requests can overtake each other.
#[derive(Default)]
struct Turnstile(MemoryKv);

impl KvStore for Turnstile {
    fn get(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        let name = name.to_owned();
        Box::pin(turn().then(move |()| async move { self.0.get(space, &name, now).await }))
    }

    fn put_if(
        &self,
        space: Space,
        name: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        let name = name.to_owned();
        Box::pin(
            turn().then(move |()| async move { self.0.put_if(space, &name, expected, value, expires_at, now).await }),
        )
    }

    fn delete(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        let name = name.to_owned();
        Box::pin(turn().then(move |()| async move { self.0.delete(space, &name, now).await }))
    }

    fn list(
        &self,
        space: Space,
        prefix: &str,
        most: usize,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let prefix = prefix.to_owned();
        Box::pin(turn().then(move |()| async move { self.0.list(space, &prefix, most, now).await }))
    }

    fn expire(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(turn().then(move |()| self.0.expire(now)))
    }
}

/// The cookies that a browser has of one host.
#[derive(Clone, Debug, Default)]
pub struct Jar {
    pub session: Option<String>,
    pub login: Option<String>,
}

/// What came of a request for the application.
pub enum Came {
    /// It reached it.
    Passed,
    Denied,
    /// Its person must sign in, for this reason.
    Asked(&'static str, Outcome),
}

/// What came of a request for the page of what is kept.
pub enum Page {
    Answer(u16, String),
    Send(Box<Confirmed>),
    Refused,
}

/// One gateway.
#[derive(Clone)]
pub struct Gateway {
    pub shared: Arc<Shared>,
    pub snapshot: Arc<Snapshot>,
    pub clock: ManualClock,
    rules: Rules,
    deadlines: Rc<Deadlines>,
}

/// Gateways of one store, with clocks that are late by so many milliseconds.
pub fn gateways(
    rules: &Rules,
    config: &Config,
    settings: ParkingSettings,
    late: &[u64],
    seed: u64,
) -> (Vec<Gateway>, Arc<dyn KvStore>) {
    let (store, values) = (Arc::new(MemoryStore::default()), Arc::new(Turnstile::default()));
    let mut plan = plans::plan(rules, config);
    plan.session.parked_posts = Some(settings);
    let one = |(at, late): (usize, &u64)| {
        let clock = ManualClock::at(Timestamp::from_millis(START.as_millis() - late));
        let parts = app::Parts {
            clock: Clock::Manual(clock.clone()),
            random: Random::seeded(seed + ((at as u64) << 32)),
            store: Some(Arc::clone(&store) as _),
            values: Some(Arc::clone(&values) as _),
            log: Box::new(std::io::sink()),
        };
        let shared = Arc::new(app::share(&plan, parts).expect("it starts"));
        let (snapshot, deadlines) = (shared.snapshot.load_full(), Deadlines::new(clock.now()));
        Gateway { shared, snapshot, clock, rules: *rules, deadlines }
    };
    (late.iter().enumerate().map(one).collect(), values)
}

fn head(method: Method, target: &str, host: &str, jar: &Jar, more: &[(&str, &str)]) -> Parts {
    let mut cookies = Vec::new();
    cookies.extend(jar.session.as_ref().map(|value| format!("__Host-session={value}")));
    cookies.extend(jar.login.as_ref().map(|value| format!("__Host-login={value}")));
    let mut request = http::Request::builder().method(method).uri(target).header("host", host);
    request = request.header("user-agent", "Firefox/140").header("accept", "text/html");
    if !cookies.is_empty() {
        request = request.header("cookie", cookies.join("; "));
    }
    for (name, value) in more {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn client() -> std::net::IpAddr {
    [192, 0, 2, 1].into()
}

impl Gateway {
    /// The time there.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Time goes on.
    pub fn advance(&self, span: Duration) {
        self.clock.advance(span);
    }

    fn route(&self, form: &Form) -> RoutePolicy {
        plans::route(&self.rules, form.asks, None)
    }

    /// The head of a form as its browser sends it.
    fn parts(&self, form: &Form, jar: &Jar) -> Parts {
        let own = format!("https://{}", HOSTS[form.host]);
        let (page, length) = (format!("{own}/form"), form.content.len().to_string());
        let mut says = vec![("content-type", form.kind), ("content-length", &*length)];
        if form.navigates {
            says.extend([("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]);
        } else {
            says.push(("x-requested-with", "XMLHttpRequest"));
        }
        says.extend(match form.is_own {
            Some(true) => vec![("sec-fetch-site", "same-origin"), ("origin", &*own), ("referer", &*page)],
            Some(false) => vec![("sec-fetch-site", "cross-site"), ("origin", "https://evil.test")],
            None => Vec::new(),
        });
        head(Method::POST, &form.target, HOSTS[form.host], jar, &says)
    }

    /// A form arrives.
    pub async fn post(self, form: Form, mut jar: Jar) -> (Came, Jar) {
        let parts = self.parts(&form, &jar);
        (self.ask(&form, parts, &mut jar).await, jar)
    }

    /// As `server::handle` does: it is decided on, and what its person must sign in for is kept meanwhile.
    async fn ask(&self, form: &Form, parts: Parts, jar: &mut Jar) -> Came {
        let now = self.now();
        let tenant = world::at_host(&self.snapshot, form.host);
        let facts = Facts::read(&parts, client()).expect("a good request");
        let route = self.route(form);
        let authorized = authorize(&self.shared, tenant, &route, &facts, &parts.headers, now).await.expect("it works");
        let mut cookies = authorized.cookies;
        let came = match authorized.verdict {
            Verdict::Allow(_) => Came::Passed,
            Verdict::Deny(_) => Came::Denied,
            Verdict::AllowWithNewSession(_) => panic!("no route is for strangers"),
            Verdict::Challenge(reason) => {
                let live = authorized.live.as_deref();
                let asked = Challenged { parts: &parts, facts: &facts, route: &route, live, reason, now };
                let mut outcome = Outcome::NoForm;
                if Navigation::of(&facts) != Navigation::None {
                    let mut body = body(form.content.clone());
                    let parked =
                        parking::park(&self.shared, tenant, &asked, Some(&mut body), &self.deadlines, &mut cookies);
                    outcome = parked.await;
                }
                Came::Asked(reason.name(), outcome)
            }
        };
        let mut headers = HeaderMap::new();
        cookies.write(&self.shared, tenant, &mut headers);
        for set in headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().expect("text");
            if set.starts_with("__Host-login=") {
                jar.login = Some(value_of(set).to_owned());
            }
        }
        came
    }

    /// Somebody signs in; with `kept`, from the page that their form led to. The session, and where they go on.
    pub fn sign_in(
        &self,
        user: &str,
        host: usize,
        jar: &mut Jar,
        kept: Option<(&str, PostId)>,
    ) -> (SessionHandle, String) {
        let (now, tenant) = (self.now(), world::at_host(&self.snapshot, host));
        let parts = head(Method::GET, "/.vestibule/login", HOSTS[host], jar, &[]);
        let before = finish(current_session(&self.shared, tenant, &parts.headers, client(), now)).expect("it works");
        let facts = facts_of(&parts);
        let (principal, place) = (world::principal(user, false, 0), establish::Place::of(&facts));
        let made = establish::sign_in(&self.shared, tenant, principal, None, place, before, None, now);
        let SignedIn::Yes(made) = finish(made).expect("it works") else { panic!("nobody is limited") };
        jar.session = Some(value_of(made.cookie.to_str().expect("text")).to_owned());
        let visit = Visit { shared: &self.shared, snapshot: &self.snapshot, tenant, facts: &facts, parts: &parts, now };
        let whose = kept.map(|(owner, _)| parked::owner(&visit, owner));
        let kept = kept.map(|(_, id)| id.bytes());
        let back = Return { whose, kept, ..Return::default() };
        let back = back.for_owner(parked::owner(&visit, user));
        (made.live.handle(), parked::way_on(&visit, &back))
    }

    /// The page of what is kept is asked for.
    pub async fn show(self, id: String, host: usize, jar: Jar) -> Page {
        self.page(Method::GET, &id, host, &jar, &[], String::new()).await
    }

    /// Somebody says on it what is to become of it.
    pub async fn say(self, id: String, host: usize, jar: Jar, token: String, what: &'static str, is_own: bool) -> Page {
        let own = format!("https://{}", HOSTS[host]);
        let says = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", if is_own { "same-origin" } else { "cross-site" }),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("origin", &own),
        ];
        self.page(Method::POST, &id, host, &jar, &says, format!("token={token}&do={what}")).await
    }

    async fn page(
        &self,
        method: Method,
        id: &str,
        host: usize,
        jar: &Jar,
        says: &[(&str, &str)],
        content: String,
    ) -> Page {
        let parts = head(method, &format!("/.vestibule/parked/{id}"), HOSTS[host], jar, says);
        let (facts, tenant, now) = (facts_of(&parts), world::at_host(&self.snapshot, host), self.now());
        let visit = Visit { shared: &self.shared, snapshot: &self.snapshot, tenant, facts: &facts, parts: &parts, now };
        let (mut body, deadline) = (body(content.into()), self.deadlines.set(None));
        match parked::answer(&visit, id.as_bytes(), &mut body, &deadline).await {
            Ok(Step::Send(confirmed)) => Page::Send(confirmed),
            Ok(Step::Answer(answer)) => {
                let (head, body) = answer.into_parts();
                let AnswerBody::Own(body) = body else { panic!("a page of ours") };
                let bytes = finish(body.collect()).expect("it is there").to_bytes();
                Page::Answer(head.status.as_u16(), String::from_utf8_lossy(&bytes).into_owned())
            }
            Err(Refusal::Forbidden(_)) => Page::Refused,
            Err(_) => panic!("nothing else is wrong with it"),
        }
    }

    /// What was confirmed goes its way, as `server::own_page` sends it: decided on anew, and kept again where it cannot
    /// have arrived.
    pub fn send(&self, confirmed: &Confirmed, form: &Form, jar: &mut Jar, is_reached: bool) -> (Came, bool) {
        assert_eq!(confirmed.posted.content, form.content, "it is as it was");
        assert_eq!(
            (&*confirmed.posted.target, confirmed.posted.content_type.as_bytes()),
            (&*form.target, form.kind.as_bytes())
        );
        let mut parts = self.parts(form, jar);
        let again: Again = confirmed.again();
        let _none = parts.extensions.insert(again);
        let came = finish(self.ask(form, parts, jar));
        let is_unsent = matches!(came, Came::Denied) || (matches!(came, Came::Passed) && !is_reached);
        let tenant = world::at_host(&self.snapshot, form.host);
        (came, is_unsent && finish(confirmed.put_back(&self.shared, tenant, self.now())))
    }
}

fn body(content: Bytes) -> ClientBody {
    ClientBody::new(Incoming::Kept(Full::new(content)), None)
}

fn facts_of(parts: &Parts) -> Facts<'_> {
    Facts::read(parts, client()).expect("a good request")
}

/// Nothing but what matters here.
pub fn rules(shield: Shield) -> Rules {
    Rules {
        level: (0, None),
        fresh: (None, None, Some(FRESH)),
        shield,
        every: None,
        grace: 0,
        address: (Compared::Not, Answer::Log),
        agent: (Compared::Not, Answer::Log),
        lookup_waits: false,
    }
}

/// Every tenant, with the same people and the same limits.
pub fn config(locks: bool) -> Config {
    let absolute = 30 * 86_400_000;
    let limits = Limits {
        idle: IDLE,
        absolute,
        offered: None,
        of_admins: None,
        forgets_admins: false,
        locks,
        max: None,
        max_of_admins: None,
    };
    let users = [Some(Somebody { is_admin: false, password: 0 }); 3];
    Config { limits: [Some(limits); 3], users: [users; 3] }
}
