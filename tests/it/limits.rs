//! Too much is answered 429 with when to come back, and hurts nobody else.

use vestibule::base::random::Random;
use vestibule::session::binding::Bound;
use vestibule::session::record::Record;

use super::harness::{ALICE, Answer, BOB, Client, START, Setup, Version, hidden};

pub(super) fn assert_limited(answer: &Answer, reason: &str, longest_wait: u64) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=longest_wait).contains(&wait), "{wait}");
    // draft-ietf-httpapi-ratelimit-headers: which limit, what it allows, what is left.
    let (policy, left) = (answer.header("ratelimit-policy"), answer.header("ratelimit"));
    assert!(policy.starts_with(&format!("\"{reason}\";q=")), "{policy}");
    let (rate, at_once) = (format!("\"{reason}\";r=0;t={wait}"), format!("\"{reason}\";r=0"));
    assert_eq!(left, if policy.contains(";w=") { rate } else { at_once });
    assert_eq!(answer.header("cache-control"), "no-store");
    if answer.header("content-type") == "application/json" {
        let json = answer.json();
        assert_eq!((json["error"].as_str(), json["reason"].as_str()), (Some("too_many_requests"), Some(reason)));
    } else {
        assert!(answer.header("content-type").starts_with("text/html"));
        assert!(answer.text().contains("One moment, please"), "{}", answer.text());
    }
}

pub(super) fn login(client: &Client, (name, password): (&str, &str), attempt: &str) -> Answer {
    client.post_form("/.vestibule/login", &[("username", name), ("password", password), ("attempt", attempt)]).send()
}

#[test]
fn a_session_has_its_rate_and_others_have_theirs() {
    let gateway = Setup::new().extra("[limits]\nper_session = \"5/s\"\n").start();
    let (busy, other) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    gateway.application.forget();
    for _ in 0..5 {
        assert_eq!(busy.get("/").send().status, 200);
    }
    assert_limited(&busy.get("/").send(), "session_limit", 1);
    assert_limited(&busy.visit("/").send(), "session_limit", 1);
    assert_eq!(gateway.application.received().len(), 5, "what is refused does not arrive");
    assert_eq!(other.get("/").send().status, 200);
    assert_eq!(busy.get("/public").send().status, 200, "the cookie of a public route is not read");
    gateway.clock.advance(std::time::Duration::from_millis(200));
    assert_eq!(busy.get("/").send().status, 200);
    assert_limited(&busy.get("/").send(), "session_limit", 1);
    gateway.advance(1);
    for _ in 0..5 {
        assert_eq!(busy.get("/").send().status, 200);
    }
    assert_eq!(busy.post_form("/.vestibule/logout", &[]).send().status, 200, "one can always sign out");
}

#[test]
fn copies_of_one_cookie_share_one_rate_over_all_workers() {
    let gateway = Setup::new().extra("[limits]\nper_session = \"5/s\"\n").start();
    let client = gateway.signed_in(ALICE);
    let passed = (0..20)
        .filter(|at| {
            let version = if at % 2 == 0 { Version::H1 } else { Version::H2 };
            let copy = gateway.client().speaking(version);
            copy.set_session(&client.session());
            copy.get("/").send().status == 200
        })
        .count();
    assert_eq!(passed, 5);
}

#[test]
fn an_address_has_its_rate_whatever_it_asks_for() {
    let mut setup = Setup::new().extra("[limits]\nper_address = \"10/s\"\n");
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    let gateway = setup.start();
    let client = gateway.client();
    let from = |address: &str, path: &str| client.get(path).header("x-forwarded-for", address).send();
    for path in ["/public", "/", "/.vestibule/login", "/.vestibule/nothing", "/public"].iter().cycle().take(10) {
        assert_ne!(from("203.0.113.7", path).status, 429);
    }
    gateway.application.forget();
    for path in ["/public", "/", "/.vestibule/login"] {
        assert_limited(&from("203.0.113.7", path), "address_limit", 1);
        assert_limited(&client.visit(path).header("x-forwarded-for", "203.0.113.7").send(), "address_limit", 1);
    }
    gateway.application.assert_untouched();
    assert_eq!(from("203.0.113.8", "/public").status, 200);
    gateway.advance(1);
    assert_eq!(from("203.0.113.7", "/public").status, 200);
    // A whole IPv6 network that one customer is given is one address.
    let statuses: Vec<u16> = (0..12).map(|at| from(&format!("2001:db8::{at:x}:1"), "/public").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 10, "{statuses:?}");
    // Whom nobody trusts cannot choose its address.
    let gateway = Setup::new().extra("[limits]\nper_address = \"10/s\"\n").start();
    let client = gateway.client();
    let from = |at: u32| client.get("/public").header("x-forwarded-for", &format!("203.0.113.{at}")).send().status;
    assert_eq!((0..12).map(from).filter(|status| *status == 200).count(), 10);
}

#[test]
fn guessing_passwords_is_slowed_down_and_the_right_one_waits_too() {
    let gateway = Setup::new().extra("[limits]\nlogin = \"3/m\"\n").start();
    let client = gateway.client();
    let attempt = hidden(&client.visit("/.vestibule/login").send(), "attempt");
    for _ in 0..3 {
        assert_eq!(login(&client, (ALICE.0, "a guess"), &attempt).status, 401);
    }
    assert_limited(&login(&client, ALICE, &attempt), "login_limit", 20);
    let by_script = client.request(http::Method::POST, "/.vestibule/login").body("username=alice&password=x");
    assert_limited(&by_script.header("content-type", "application/x-www-form-urlencoded").send(), "login_limit", 20);
    // Another form, another browser: still the same address.
    let other = gateway.client();
    let form = hidden(&other.visit("/.vestibule/login").send(), "attempt");
    assert_limited(&login(&other, BOB, &form), "login_limit", 20);
    gateway.log.wait_for(&["audit login.refused", "client=127.0.0.1", "reason=login_limit"]);
    gateway.advance(20);
    assert_eq!(login(&client, ALICE, &attempt).status, 303);
    assert_limited(&login(&other, BOB, &form), "login_limit", 20);
}

#[test]
fn a_burst_is_what_may_come_at_once() {
    let gateway = Setup::new().extra("[limits]\nper_session = \"5/s burst 8\"\n").start();
    let client = gateway.signed_in(ALICE);
    let passed = || (0..20).filter(|_| client.get("/").send().status == 200).count();
    assert_eq!(passed(), 8);
    assert_eq!(client.get("/").send().header("ratelimit-policy"), "\"session_limit\";q=5;w=1");
    gateway.advance(1);
    assert_eq!(passed(), 5);
    gateway.advance(10);
    assert_eq!(passed(), 8);
    // Only what is refused says so.
    gateway.advance(10);
    let answer = client.get("/").send();
    assert_eq!((answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")), (200, "", ""));
}

#[test]
fn a_person_has_one_rate_in_all_their_sessions() {
    let gateway = Setup::new().extra("[limits]\nper_user = \"6/m\"\n").start();
    let (one, two, other) = (gateway.signed_in(ALICE), gateway.signed_in(ALICE), gateway.signed_in(BOB));
    gateway.application.forget();
    for client in [&one, &two].iter().cycle().take(6) {
        assert_eq!(client.get("/").send().status, 200);
    }
    for client in [&one, &two, &gateway.signed_in(ALICE)] {
        assert_limited(&client.get("/").send(), "user_limit", 10);
        assert_limited(&client.visit("/").send(), "user_limit", 10);
        assert_eq!(client.get("/public").send().status, 200, "where nobody is anybody nobody is counted");
    }
    assert_eq!(other.get("/").send().status, 200);
    assert_eq!(gateway.application.received().iter().filter(|request| request.uri == "/").count(), 7);
    gateway.advance(10);
    assert_eq!((two.get("/").send().status, one.get("/").send().status), (200, 429));
    assert_eq!(one.post_form("/.vestibule/logout", &[]).send().status, 200, "one can always sign out");
}

#[test]
fn a_session_has_so_many_requests_under_way_and_no_more() {
    let gateway = Setup::new().extra("[limits]\nparallel = 3\n").start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let other = gateway.signed_in(BOB).speaking(version);
        let mut held: Vec<_> = (0..3).map(|_| client.get("/stream").open()).collect();
        assert!(held.iter().all(|(answer, _)| answer.status == 200));
        let refused = client.get("/").send();
        assert_limited(&refused, "parallel_limit", 1);
        assert_eq!(refused.header("ratelimit-policy"), "\"parallel_limit\";q=3;qu=\"concurrent-requests\"");
        assert_eq!(other.get("/").send().status, 200);
        assert_eq!(client.get("/public").send().status, 200);
        // One that its client leaves makes room, however it ends.
        drop(held.pop());
        super::harness::advance_until(&gateway, "there is room", || client.get("/").send().status == 200);
        // What is done leaves nothing behind.
        for path in ["/", "/echo", "/status-404", "/close", "/cached"].iter().cycle().take(25) {
            assert_ne!(client.get(path).send().status, 429, "{path}");
            assert_ne!(client.request(http::Method::HEAD, path).send().status, 429, "{path}");
        }
        drop(held);
        super::harness::advance_until(&gateway, "nothing is under way", || {
            let sessions = gateway.sessions_of("alice");
            sessions.iter().all(|live| live.under_way().load(std::sync::atomic::Ordering::Relaxed) == 0)
        });
        gateway.revoke("alice");
    }
}

#[test]
fn a_websocket_is_under_way_for_as_long_as_it_is_open() {
    use super::websockets::{Echo, open};
    let echo = Echo::start();
    let gateway = Setup::new().extra("[limits]\nparallel = 2\n").in_front_of(&echo.server).start();
    let client = gateway.signed_in(ALICE);
    let (first, second) = (open(&client, "/socket", &[]).expect("open"), open(&client, "/socket", &[]).expect("open"));
    assert_eq!(open(&client, "/socket", &[]).err(), Some(429));
    drop(first);
    super::harness::eventually("there is room", || open(&client, "/socket", &[]).is_ok());
    drop(second);
}

/// A route of everybody and one for who is signed in, each with a limit, beside one without.
fn limited_routes() -> super::harness::Gateway {
    let mut setup = Setup::new();
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    setup.routes += r#"
        [[route]]
        path = "/report"
        upstream = "app"
        limit = "3/m"
        [[route]]
        path = "/public/search"
        upstream = "app"
        access = "optional"
        limit = "2/m burst 4"
    "#;
    setup.start()
}

#[test]
fn a_route_has_its_rate_for_each_person() {
    let gateway = limited_routes();
    let (one, two, other) = (gateway.signed_in(ALICE), gateway.signed_in(ALICE), gateway.signed_in(BOB));
    for client in [&one, &two, &one] {
        assert_eq!(client.get("/report/7").send().status, 200);
    }
    gateway.application.forget();
    for client in [&one, &two] {
        let refused = client.get("/report/8").send();
        assert_limited(&refused, "route_limit", 20);
        assert_eq!(refused.header("ratelimit-policy"), "\"route_limit\";q=3;w=60");
        assert_limited(&client.visit("/report").send(), "route_limit", 20);
    }
    gateway.application.assert_untouched();
    for path in ["/", "/reports", "/public/search"] {
        assert_eq!(one.get(path).send().status, 200, "{path} is another route");
    }
    assert_eq!(other.get("/report").send().status, 200, "from the same address");
    assert_eq!(gateway.client().get("/report").send().status, 401, "who may not pass is not counted");
    gateway.advance(20);
    assert_eq!((two.get("/report").send().status, one.get("/report").send().status), (200, 429));
}

#[test]
fn a_route_has_its_rate_for_each_stranger_by_address() {
    let gateway = limited_routes();
    let client = gateway.client();
    let from = |address: &str| client.get("/public/search").header("x-forwarded-for", address).send();
    for _ in 0..4 {
        assert_eq!(from("203.0.113.7").status, 200);
    }
    assert_limited(&from("203.0.113.7"), "route_limit", 30);
    assert_eq!(from("203.0.113.8").status, 200);
    let site: Vec<u16> = (0..6).map(|at| from(&format!("2001:db8::{at:x}:1")).status).collect();
    assert_eq!(site, [200, 200, 200, 200, 429, 429], "a site's addresses are one");
    assert_eq!(from("2001:db8:0:1::1").status, 200);
    let here = gateway.signed_in(ALICE);
    let signed_in = here.get("/public/search").header("x-forwarded-for", "203.0.113.7").send();
    assert_eq!(signed_in.status, 200, "who is signed in is no stranger");
}

#[test]
fn a_sites_ipv6_addresses_try_signing_in_together() {
    let mut setup = Setup::new().extra("[limits]\nlogin = \"3/m\"\n");
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    let gateway = setup.start();
    let client = gateway.client();
    let attempt = hidden(&client.visit("/.vestibule/login").send(), "attempt");
    let from = |address: &str| {
        let fields = [("username", "alice"), ("password", "a guess"), ("attempt", &*attempt)];
        client.post_form("/.vestibule/login", &fields).header("x-forwarded-for", address).send().status
    };
    assert_eq!([1, 2, 3, 4].map(|at| from(&format!("2001:db8::{at}"))), [401, 401, 401, 429]);
    assert_eq!(from("2001:db8:0:1::1"), 401);
}

/// Many sign-ins at once, all of them new guesses, while somebody works.
fn flood(extra: &str) -> (Vec<Answer>, usize) {
    let limits =
        format!("[limits]\nper_session = \"off\"\nper_address = \"off\"\nwrong_passwords = \"off\"\n{extra}\n");
    let gateway = Setup::new().extra(&limits).start();
    let worker = gateway.signed_in(ALICE);
    let attacker = gateway.client();
    let attempt = hidden(&attacker.visit("/.vestibule/login").send(), "attempt");
    let (answers, worked) = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let attacker = attacker;
            let requests = (0..120).map(|at| {
                let fields = [("username", "alice"), ("password", &*format!("guess {at}")), ("attempt", &*attempt)];
                attacker.post_form("/.vestibule/login", &fields)
            });
            attacker.together(requests.collect())
        });
        let mut worked = 0;
        while !flooding.is_finished() {
            assert_eq!(worker.get("/").send().status, 200);
            worked += 1;
        }
        (flooding.join().expect("it went on"), worked)
    });
    assert_eq!(worker.get("/").send().status, 200);
    gateway.advance(60);
    assert_eq!(gateway.signed_in(BOB).get("/").send().status, 200, "afterwards people can sign in again");
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    (answers, worked)
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[test]
fn a_login_flood_is_refused_and_whoever_works_goes_on_working() {
    let (answers, _) = flood("");
    assert!(count(&answers, 429) > 0 && count(&answers, 401) >= 10, "{answers:?}");
    assert_eq!(count(&answers, 429) + count(&answers, 401), answers.len());
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        assert_limited(answer, "login_limit", 3);
    }
}

#[test]
fn a_login_flood_from_everywhere_fills_a_bounded_queue_and_no_more() {
    let (answers, worked) = flood("login = \"off\"");
    assert!(count(&answers, 503) > 0, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
    assert_eq!(count(&answers, 503) + count(&answers, 401), answers.len());
    assert!(worked > 1, "while passwords are checked, other requests are answered");
    for answer in answers.iter().filter(|answer| answer.status == 503) {
        assert!(answer.text().contains("Many people are signing in") && !answer.header("retry-after").is_empty());
        assert!(answer.set_cookies().is_empty());
    }
}

#[test]
fn limits_can_be_off() {
    let gateway = Setup::new().unlimited().start();
    let client = gateway.signed_in(ALICE);
    let answers = client.together((0..150).map(|_| client.get("/")).collect());
    assert!(answers.iter().all(|answer| answer.status == 200));
    let attempt = hidden(&client.visit("/.vestibule/login").send(), "attempt");
    for _ in 0..25 {
        assert_eq!(login(&client, (ALICE.0, "a guess"), &attempt).status, 401);
    }
}

#[test]
fn by_default_a_session_may_do_a_hundred_things_a_second() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let answers = client.together((0..120).map(|_| client.get("/")).collect());
    assert_eq!((count(&answers, 200), count(&answers, 429)), (100, 20));
}

#[test]
fn one_address_has_at_most_a_thousand_anonymous_sessions() {
    let gateway = Setup::new().start();
    let store = std::sync::Arc::clone(&gateway.running().shared.store);
    let here = std::net::IpAddr::from([127, 0, 0, 1]);
    gateway.block_on(async {
        for _ in 0..999 {
            let record = Record::new(&Random::System, None, Bound::of(here, b"a flood"), START);
            let _created = store.create(record, None).await.expect("the store works");
        }
    });
    let client = gateway.client();
    assert_eq!(client.get("/anonymous").send().status, 200);
    gateway.application.forget();
    let stranger = gateway.client();
    assert_limited(&stranger.get("/anonymous").send(), "anonymous_sessions", 60);
    assert_limited(&stranger.visit("/anonymous").send(), "anonymous_sessions", 60);
    assert_eq!(stranger.session(), "");
    gateway.application.assert_untouched();
    assert_eq!(client.get("/anonymous").send().status, 200, "who has a session keeps it");
    assert_eq!(stranger.get("/optional").send().status, 200);
    assert_eq!(gateway.signed_in(ALICE).get("/anonymous").send().status, 200, "who signs in is no stranger");
    // The flood's sessions end by themselves.
    gateway.advance(30 * 60);
    super::harness::eventually("the sessions are swept", || gateway.running().shared.store.active() == 0);
    assert_eq!(stranger.get("/anonymous").send().status, 200);
}
