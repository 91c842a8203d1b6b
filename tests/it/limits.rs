//! Too much is answered 429 with when to come back, and hurts nobody else.

use vestibule::base::random::Random;
use vestibule::session::binding::Bound;
use vestibule::session::record::Record;

use super::harness::{ALICE, Answer, BOB, Client, START, Setup, Version, hidden};

fn assert_limited(answer: &Answer, reason: &str, longest_wait: u64) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=longest_wait).contains(&wait), "{wait}");
    assert_eq!(answer.header("cache-control"), "no-store");
    if answer.header("content-type") == "application/json" {
        let json = answer.json();
        assert_eq!((json["error"].as_str(), json["reason"].as_str()), (Some("too_many_requests"), Some(reason)));
    } else {
        assert!(answer.header("content-type").starts_with("text/html"));
        assert!(answer.text().contains("One moment, please"), "{}", answer.text());
    }
}

fn login(client: &Client, (name, password): (&str, &str), attempt: &str) -> Answer {
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

/// Many sign-ins at once, all of them new guesses, while somebody works.
fn flood(extra: &str) -> (Vec<Answer>, usize) {
    let limits = format!("[limits]\nper_session = \"off\"\nper_address = \"off\"\n{extra}\n");
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
    let gateway =
        Setup::new().extra("[limits]\nper_session = \"off\"\nper_address = \"off\"\nlogin = \"off\"\n").start();
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
