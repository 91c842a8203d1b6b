//! A session store that fails, panics, or never answers: never forwarded as signed in, and the process goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use http::Method;
use vestibule::base::clock::Timestamp;
use vestibule::session::concurrency::{Concurrency, Limit};
use vestibule::session::handle::SessionHandle;
use vestibule::session::live::Live;
use vestibule::session::principal::Principal;
use vestibule::session::record::{EndReason, Owner, Person, Record};
use vestibule::session::store::{Created, Lookup, Page, SessionStore, StoreError};
use vestibule::session::tenant::ByTenant;
use vestibule::session::timeouts::{Lifetimes, Over};
use vestibule::store::memory::MemoryStore;

use super::harness::process::run;
use super::harness::{
    ALICE, BOB, Client, Gateway, Raw, Setup, USER_AGENT, Version, advance_until, eventually, hidden, users,
};

/// What a faulty store does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Answers, but not at once.
    Slow,
    Fails,
    Panics,
    Hangs,
}

/// A store in memory, with a fault that a test switches on, in look-ups or in everything that writes.
struct Faulty {
    inner: Arc<MemoryStore>,
    lookups: Mutex<Fault>,
    writes: Mutex<Fault>,
    was_asked: AtomicBool,
}

impl Faulty {
    fn new() -> Arc<Self> {
        let (lookups, writes) = (Mutex::new(Fault::None), Mutex::new(Fault::None));
        Arc::new(Self { inner: Arc::default(), lookups, writes, was_asked: AtomicBool::new(false) })
    }

    fn set_lookups(&self, fault: Fault) {
        *self.lookups.lock().expect("not poisoned") = fault;
        self.was_asked.store(false, Ordering::SeqCst);
    }

    fn set_writes(&self, fault: Fault) {
        *self.writes.lock().expect("not poisoned") = fault;
    }

    /// What becomes of a write that `inner` would do.
    fn write<'a, T: Send + 'a>(
        &self,
        inner: BoxFuture<'a, Result<T, StoreError>>,
    ) -> BoxFuture<'a, Result<T, StoreError>> {
        let fault = *self.writes.lock().expect("not poisoned");
        Box::pin(async move {
            match fault {
                Fault::None => inner.await,
                Fault::Slow => {
                    tokio::task::yield_now().await;
                    inner.await
                }
                Fault::Fails => Err(StoreError("the disk is full".to_owned())),
                Fault::Panics => panic!("the store panics on purpose"),
                Fault::Hangs => std::future::pending().await,
            }
        })
    }
}

impl SessionStore for Faulty {
    fn lookup(&self, handle: SessionHandle) -> Lookup {
        let fault = *self.lookups.lock().expect("not poisoned");
        self.was_asked.store(true, Ordering::SeqCst);
        match fault {
            Fault::None => self.inner.lookup(handle),
            Fault::Slow => {
                let inner = Arc::clone(&self.inner);
                Lookup::Later(Box::pin(async move {
                    tokio::task::yield_now().await;
                    match inner.lookup(handle) {
                        Lookup::Hit(live) => Ok(Some(live)),
                        Lookup::Miss => Ok(None),
                        Lookup::Later(later) => later.await,
                    }
                }))
            }
            Fault::Fails => Lookup::Later(Box::pin(async { Err(StoreError("connection refused".to_owned())) })),
            Fault::Panics => panic!("the store panics on purpose"),
            Fault::Hangs => Lookup::Later(Box::pin(std::future::pending())),
        }
    }

    fn create(&self, record: Record, limit: Option<Limit>) -> BoxFuture<'_, Result<Created, StoreError>> {
        self.write(self.inner.create(record, limit))
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
        expected_version: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.write(self.inner.change_principal(handle, principal, expected_version))
    }

    fn users(&self) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        self.inner.users()
    }

    fn rotate(
        &self,
        handle: SessionHandle,
        generation: u32,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.write(self.inner.rotate(handle, generation, now))
    }

    fn revoke(
        &self,
        handle: SessionHandle,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.write(self.inner.revoke(handle, reason, now))
    }

    fn revoke_all(
        &self,
        owner: Owner,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        self.write(self.inner.revoke_all(owner, reason, now))
    }

    fn list(&self, owner: Owner) -> BoxFuture<'_, Result<Vec<Arc<Live>>, StoreError>> {
        self.inner.list(owner)
    }

    fn page(&self, after: Option<SessionHandle>, most: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.inner.page(after, most)
    }

    fn sweep(
        &self,
        lifetimes: ByTenant<Lifetimes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(SessionHandle, Over)>, StoreError>> {
        self.inner.sweep(lifetimes, now)
    }

    fn end_above(
        &self,
        allowed: ByTenant<Option<Arc<Concurrency>>>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        self.inner.end_above(allowed, now)
    }

    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn active(&self) -> usize {
        self.inner.active()
    }
}

fn started() -> (Gateway, Arc<Faulty>) {
    started_with("")
}

fn started_with(extra: &str) -> (Gateway, Arc<Faulty>) {
    let store = Faulty::new();
    let mut setup = Setup::new().unlimited().extra(extra);
    setup.store = Some(Arc::clone(&store) as Arc<dyn SessionStore>);
    (setup.start(), store)
}

/// Routes that read the cookie.
const ROUTES: [&str; 4] = ["/", "/optional", "/anonymous", "/admin"];

/// Asserts that a request with a session is refused on every route that reads the cookie, and forwarded on none.
fn assert_refused_everywhere(gateway: &Gateway, client: &Client, status: u16, reason: &str) {
    gateway.application.forget();
    for target in ROUTES {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            let answer = client.request(method.clone(), target).send();
            assert_eq!((answer.status, &answer.json()["reason"]), (status, &reason.into()), "{method} {target}");
            assert!(answer.set_cookies().is_empty(), "{method} {target}");
        }
        let page = client.visit(target).send();
        assert_eq!((page.status, page.header("content-type")), (status, "text/html; charset=utf-8"), "{target}");
    }
    gateway.application.assert_untouched();
    assert_eq!(client.get("/public").send().status, 200, "a public route reads no cookie");
    assert_eq!(gateway.client().get("/optional").send().status, 200, "without a cookie no store is asked");
    assert_eq!(gateway.application.last().header("x-forwarded-user"), None);
}

#[test]
fn a_store_that_answers_later_answers_the_same() {
    for version in [Version::H1, Version::H2] {
        let (gateway, store) = started();
        store.set_writes(Fault::Slow);
        store.set_lookups(Fault::Slow);
        let client = gateway.signed_in(ALICE).speaking(version);
        assert_eq!(client.get("/admin").send().status, 200);
        assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
        assert_eq!(gateway.signed_in(BOB).get("/admin").send().status, 403);
        assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
    }
}

#[test]
fn a_failing_store_refuses_everybody_who_brings_a_session() {
    for version in [Version::H1, Version::H2] {
        let (gateway, store) = started();
        let client = gateway.signed_in(ALICE).speaking(version);
        store.set_lookups(Fault::Fails);
        assert_refused_everywhere(&gateway, &client, 503, "store_unavailable");
        assert_eq!(client.get("/").send().header("retry-after"), "2");
        gateway.log.wait_for(&["audit", "store.failed", "reason=\"connection refused\""]);
        store.set_lookups(Fault::None);
        assert_eq!(client.get("/").send().status, 200, "nobody was signed out by it");
        assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
    }
}

#[test]
fn a_panic_in_the_store_is_one_requests_alone() {
    for version in [Version::H1, Version::H2] {
        let (gateway, store) = started();
        let client = gateway.signed_in(ALICE).speaking(version);
        store.set_lookups(Fault::Panics);
        assert_refused_everywhere(&gateway, &client, 500, "internal_error");
        store.set_lookups(Fault::None);
        assert_eq!(client.get("/").send().status, 200);
        gateway.log.wait_for(&["internal_error", "500"]);
    }
}

/// Sends what `request` makes again and again, while the clock panics at its first reading, its second, and so on: in the
/// code of the server, of enforcement, of our pages, of the way to the application and back. Gives the status that came of
/// each, `None` where the connection ended without one.
fn with_a_panic_at_every_reading(gateway: &Gateway, request: impl Fn() -> String) -> Vec<Option<u16>> {
    let mut outcomes = Vec::new();
    loop {
        let mut connection = Raw::to(gateway.address);
        let request = request();
        gateway.clock.break_after(outcomes.len() as u32);
        connection.send(request);
        let outcome = connection.answer().map(|answer| answer.status);
        if !gateway.clock.mend() {
            assert!(outcome.is_some_and(|status| status < 400), "without a panic it goes well: {outcome:?}");
            return outcomes;
        }
        outcomes.push(outcome);
        assert_eq!(gateway.client().get("/public").send().status, 200, "after {outcomes:?}");
        assert!(outcomes.len() < 50, "{outcomes:?}");
    }
}

#[test]
fn a_panic_anywhere_is_one_requests_alone_and_signs_nobody_in() {
    let gateway = Setup::new().unlimited().start();
    let alice = gateway.signed_in(ALICE);
    let head =
        |line: &str, more: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\n{more}");
    let post = |path: &str, more: &str, body: &str| {
        let more = format!("{more}Origin: https://localhost\r\n");
        head(&format!("POST {path}"), &format!("{more}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    let cookie = format!("Cookie: {}\r\n", alice.cookies());
    // An upload is watched on its way, and a session made, by the clock; the others read it only before and after.
    for (request, reads_inside) in [
        (head("GET /public", "\r\n"), false),
        (post("/public", "", "some"), true),
        (head("GET /", &format!("{cookie}\r\n")), false),
        (post("/", &cookie, "some"), true),
        (head("GET /anonymous", "\r\n"), true),
        (head("GET /.vestibule/login", "\r\n"), false),
    ] {
        let outcomes = with_a_panic_at_every_reading(&gateway, || request.clone());
        assert!(outcomes.len() > 1, "{request}: {outcomes:?}");
        assert_eq!(outcomes.contains(&Some(500)), reads_inside, "{request}: {outcomes:?}");
    }
    let signing_in = with_a_panic_at_every_reading(&gateway, || {
        let client = gateway.client();
        let page = client.visit("/.vestibule/login").send();
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("username", BOB.0), ("password", BOB.1), ("attempt", &hidden(&page, "attempt"))])
            .finish();
        let more = "Content-Type: application/x-www-form-urlencoded\r\n";
        post("/.vestibule/login", &format!("{more}Cookie: {}\r\n", client.cookies()), &body)
    });
    assert!(signing_in.contains(&Some(500)) && !signing_in.contains(&Some(303)), "{signing_in:?}");
    assert_eq!(gateway.client().visit("/").send().status, 302);
    assert_eq!(alice.get("/").send().status, 200, "and hers lives on");
}

#[test]
fn a_panic_in_the_background_takes_no_time_out_with_it() {
    let mut setup = Setup::new().unlimited();
    setup.workers = 1;
    let gateway = setup.start();
    let alice = gateway.signed_in(ALICE);
    // Five tasks wait for the clock, and each reads it when it moves: one after the other is hit, whoever comes first.
    for good in (0..5).cycle().take(50) {
        gateway.clock.break_after(good);
        gateway.advance(1);
        eventually("one of them is hit", || gateway.clock.has_broken());
        gateway.clock.mend();
    }
    let _nothing = Raw::to(gateway.address);
    let mut stream = alice.get("/stream").open().1;
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    assert_eq!(gateway.connections(), 2);
    advance_until(&gateway, "a connection without a request is cut", || gateway.connections() == 1);
    gateway.advance(30 * 60);
    advance_until(&gateway, "the stream of an idle session ends", || gateway.open_streams() == 0);
    assert!(std::iter::from_fn(|| stream.next()).any(|piece| piece.is_err()));
    advance_until(&gateway, "what has expired is swept", || gateway.running().shared.store.active() == 0);
    assert_eq!(gateway.client().get("/public").send().status, 200);
}

#[test]
fn a_store_that_never_answers_is_given_up() {
    let (gateway, store) = started();
    let client = gateway.signed_in(ALICE);
    gateway.application.forget();
    store.set_lookups(Fault::Hangs);
    for target in ROUTES {
        store.set_lookups(Fault::Hangs);
        let asker = gateway.client();
        asker.set_session(&client.session());
        let asked = std::thread::spawn(move || asker.get(target).send());
        super::harness::eventually("the store is asked", || store.was_asked.load(Ordering::SeqCst));
        assert_eq!(gateway.client().get("/.vestibule/nowhere").send().status, 404, "others are served meanwhile");
        advance_until(&gateway, "an answer", || asked.is_finished());
        let answer = asked.join().expect("an answer");
        assert_eq!((answer.status, &answer.json()["reason"]), (503, &"store_unavailable".into()), "{target}");
    }
    gateway.application.assert_untouched();
    gateway.log.wait_for(&["audit", "store.failed", "reason=\"no answer in time\""]);
}

#[test]
fn nobody_is_signed_in_when_their_session_cannot_be_kept() {
    for (fault, status) in [(Fault::Fails, 503), (Fault::Panics, 500)] {
        let (gateway, store) = started();
        store.set_writes(fault);
        let client = gateway.client();
        let answer = client.sign_in(ALICE, "/");
        assert_eq!(answer.status, status, "{fault:?}");
        assert_eq!(client.session(), "");
        let stranger = gateway.client().get("/anonymous").send();
        assert_eq!((stranger.status, stranger.set_cookies().len()), (status, 0));
        gateway.application.assert_untouched();
        store.set_writes(Fault::None);
        assert_eq!(client.sign_in(ALICE, "/").status, 303, "once it works again, so does signing in");
    }
}

#[test]
fn whoever_has_users_read_again_is_told_what_could_not_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let (gateway, store) =
        started_with(&format!("[admin]\nlisten = \"unix:{}\"", folder.path().join("admin.sock").display()));
    let [alice, bob, again] = [ALICE, BOB, BOB].map(|who| gateway.signed_in(who));
    store.set_writes(Fault::Fails);
    let other = users()
        .replace("roles = [\"admin\"]", "roles = [\"boss\"]")
        .replace("name = \"bob\"", "name = \"bob\"\ndisabled = true");
    std::fs::write(gateway.folder.path().join("users.toml"), other).expect("written");
    let reload = |arguments: &[&str]| {
        let ended = run(gateway.folder.path(), &[&["reload"], arguments].concat(), "");
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
        ended.stdout
    };
    let said: serde_json::Value = serde_json::from_str(&reload(&["--json"])).expect("JSON");
    assert_eq!((&said["unwritten"], &said["ended"], &said["changed"]), (&3.into(), &0.into(), &0.into()), "{said}");
    let said = reload(&[]);
    assert!(said.contains("the session store cannot be written to: for 3 sessions of users"), "{said}");
    store.set_writes(Fault::None);
    let said = reload(&[]);
    assert!(said.contains("sessions ended: 2, with other rights: 1") && !said.contains("cannot be written"), "{said}");
    assert_eq!([&bob, &again].map(|client| client.get("/").send().status), [401, 401]);
    assert_eq!(alice.get("/").send().status, 200);
    assert_eq!(gateway.application.last().header("x-forwarded-roles"), Some("boss"));
}

#[test]
fn a_logout_that_cannot_be_kept_is_not_said_to_have_happened() {
    let (gateway, store) = started();
    let client = gateway.signed_in(ALICE);
    store.set_writes(Fault::Fails);
    let answer = client.post_form("/.vestibule/logout", &[]).send();
    assert_eq!(answer.status, 503);
    assert!(answer.set_cookies().is_empty(), "the cookie is still needed to try again");
    gateway.log.wait_for(&["audit", "store.failed", "reason=\"the disk is full\""]);
    store.set_writes(Fault::None);
    assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
    assert_eq!(client.get("/").send().status, 401);
}

#[test]
fn who_cannot_be_given_another_session_keeps_the_one_they_have() {
    let (gateway, store) = started();
    let client = gateway.signed_in(ALICE);
    let former = client.session();
    let sign_in = || {
        let attempt = hidden(&client.visit("/.vestibule/login").send(), "attempt");
        let fields = [("username", BOB.0), ("password", BOB.1), ("attempt", &attempt)];
        client.post_form("/.vestibule/login", &fields).send().status
    };
    store.set_writes(Fault::Fails);
    assert_eq!((sign_in(), client.session()), (503, former.clone()));
    assert_eq!(client.get("/").send().status, 200);
    store.set_writes(Fault::None);
    assert_eq!(sign_in(), 303);
    assert_ne!(client.session(), former);
    client.set_session(&former);
    assert_eq!(client.get("/").send().status, 401, "it is dead at once");
}

#[test]
fn nothing_ends_for_a_sign_in_that_cannot_be_kept_however_full_it_is() {
    for when_full in ["end_oldest", "ask", "refuse"] {
        let limit = format!("[session.concurrency]\nmax_sessions = 1\nwhen_full = \"{when_full}\"");
        let (gateway, store) = started_with(&limit);
        let alice = gateway.signed_in(ALICE);
        let page = alice.visit("/.vestibule/login").send();
        let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*hidden(&page, "attempt"))];
        let other = gateway.client();
        let others_page = other.visit("/.vestibule/login").send();
        let others = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*hidden(&others_page, "attempt"))];
        for fault in [Fault::Fails, Fault::Panics] {
            store.set_writes(fault);
            for answer in [
                alice.post_form("/.vestibule/login", &fields).send(),
                other.post_form("/.vestibule/login", &others).send(),
            ] {
                assert!(answer.status >= 500 && !answer.headers.contains_key("location"), "{when_full}");
                assert!(answer.set_cookies().iter().all(|cookie| !cookie.contains("session")));
            }
        }
        store.set_writes(Fault::None);
        assert_eq!((alice.get("/").send().status, gateway.sessions_of("alice").len()), (200, 1), "{when_full}");
    }
}

#[test]
fn a_session_that_must_end_is_refused_also_when_its_end_cannot_be_kept() {
    let (gateway, store) = started_with("[session.binding.user_agent]\nmode = \"exact\"\nanswer = \"end\"");
    let client = gateway.signed_in(ALICE);
    let mut thief = gateway.client();
    thief.user_agent = "curl/8".to_owned();
    thief.set_session(&client.session());
    gateway.application.forget();
    store.set_writes(Fault::Fails);
    for target in ROUTES {
        assert_eq!(thief.get(target).send().status, 503, "{target}");
    }
    gateway.application.assert_untouched();
    store.set_writes(Fault::None);
    assert_eq!(thief.get("/").send().status, 401);
    assert_eq!(client.get("/").send().status, 401, "and now it is over for everybody");
}

#[test]
fn a_rotation_that_cannot_be_kept_refuses_the_request() {
    let (gateway, store) = started();
    let client = gateway.signed_in(ALICE);
    let former = client.session();
    gateway.advance(16 * 60);
    assert_eq!(client.get("/").send().status, 200);
    assert_ne!(client.session(), former, "a successor was offered");
    gateway.application.forget();
    store.set_writes(Fault::Fails);
    assert_eq!(client.get("/").send().status, 503);
    gateway.application.assert_untouched();
    store.set_writes(Fault::None);
    assert_eq!(client.get("/").send().status, 200, "the successor is still good");
}

#[test]
fn a_store_that_never_answers_lets_nobody_in_by_the_login_page_either() {
    let (gateway, store) = started();
    let client = gateway.client();
    let page = client.visit(client.visit("/").send().header("location")).send();
    let attempt = hidden(&page, "attempt");
    store.set_writes(Fault::Hangs);
    let asked = std::thread::spawn(move || {
        let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &attempt)];
        client.post_form("/.vestibule/login", &fields).send()
    });
    advance_until(&gateway, "an answer", || asked.is_finished());
    let answer = asked.join().expect("an answer");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.set_cookies().iter().all(|cookie| !cookie.starts_with("__Host-session")));
}
