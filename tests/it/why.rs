//! Whoever's session has ended is told why, in words that they can act on, for a day: by the login page, however they come
//! to it, and by the answer that a script gets; after a restart as well.

use std::time::Duration;

use vestibule::app::{self, Parts, Running};
use vestibule::base::clock::Clock;
use vestibule::config::Plan;
use vestibule::enforce::reloads::Cause;
use vestibule::session::binding::Factor;
use vestibule::session::record::EndReason;
use vestibule::session::timeouts::REMEMBER_ENDED;

use super::harness::{ALICE, Client, Gateway, Log, Setup, tls_config};

/// How a session comes to end for a reason.
type BringAbout = fn(&Gateway, &Client);

/// Every reason that there is, each with what brings it about.
const WAYS: &[(EndReason, BringAbout)] = &[
    (EndReason::Logout, |_, client| {
        let session = client.session();
        assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
        // Another tab's request was under way.
        client.set_session(&session);
    }),
    (EndReason::Replaced, |_, client| {
        let session = client.session();
        let page = client.visit("/.vestibule/login").send();
        let attempt = super::harness::hidden(&page, "attempt");
        let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*attempt)];
        assert_eq!(client.post_form("/.vestibule/login", &fields).send().status, 303);
        client.set_session(&session);
    }),
    (EndReason::Idle, |gateway, _| gateway.advance(31 * 60)),
    (EndReason::Absolute, |gateway, client| {
        for _ in 0..12 * 4 {
            gateway.advance(15 * 60);
            client.get("/").send();
        }
    }),
    (EndReason::Reuse, |gateway, client| {
        let copy = client.session();
        for _ in 0..2 {
            gateway.advance(16 * 60);
            client.get("/").send();
            client.get("/").send();
        }
        client.set_session(&copy);
        client.get("/").send();
    }),
    (EndReason::Binding(Factor::Address), |gateway, client| {
        assert_eq!(used(gateway, client, |_| {}, "198.51.100.7"), 401);
    }),
    (EndReason::Binding(Factor::UserAgent), |gateway, client| {
        assert_eq!(used(gateway, client, |thief| thief.user_agent = "curl/8".to_owned(), "127.0.0.1"), 401);
    }),
    (EndReason::Binding(Factor::Tls), |gateway, client| {
        let script = |thief: &mut Client| {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.cipher_suites.reverse();
            thief.tls = Some(tls_config(provider, rustls::ALL_VERSIONS));
        };
        assert_eq!(used(gateway, client, script, "127.0.0.1"), 401);
    }),
    (EndReason::Revoked, |gateway, _| gateway.revoke("alice")),
    (EndReason::AccountDisabled, |gateway, _| {
        change_users(gateway, "name = \"alice\"", "name = \"alice\"\ndisabled = true");
    }),
    (EndReason::Displaced, |gateway, client| {
        // The one that was used least recently makes room.
        for _ in 0..3 {
            gateway.advance(2);
            gateway.signed_in(ALICE);
        }
        assert_eq!(client.get("/").send().status, 401);
    }),
    (EndReason::EndedElsewhere, |gateway, _| {
        // What the page of one's own sessions does is tried where that page is.
        let shared = &gateway.running().shared;
        let handle = gateway.sessions_of("alice")[0].handle();
        let ended = shared.end_session(handle, EndReason::EndedElsewhere, None, shared.clock.now());
        assert!(gateway.block_on(ended).expect("the store works"));
    }),
    (EndReason::PasswordChanged, |gateway, _| {
        let file = gateway.folder.path().join("users.toml");
        let users = std::fs::read_to_string(file).expect("users");
        let hash = |at: usize| users.split("password = \"").nth(at).and_then(|rest| rest.split('"').next());
        change_users(gateway, hash(1).expect("Alice's"), hash(2).expect("Bob's"));
    }),
];

/// Uses the session of `client` as somebody else.
fn used(gateway: &Gateway, client: &Client, change: impl FnOnce(&mut Client), address: &str) -> u16 {
    let mut thief = gateway.client();
    change(&mut thief);
    thief.set_session(&client.session());
    thief.get("/").header("x-forwarded-for", address).send().status
}

fn change_users(gateway: &Gateway, from: &str, to: &str) {
    let file = gateway.folder.path().join("users.toml");
    let text = std::fs::read_to_string(&file).expect("users");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
}

fn bound() -> Setup {
    let mut setup = Setup::new()
        .extra("[session.concurrency]\nmax_sessions = 3\n[session.binding.ip]\nmode = \"exact\"\n[session.binding.tls]\nmode = \"exact\"\nanswer = \"end\"\n");
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    // Who comes through a proxy has no TLS of their own, and is told by the address that is in the header.
    setup
}

/// A page as text without tags and with its entities read.
fn words(page: &str) -> String {
    page.replace("&#39;", "'").replace("&quot;", "\"")
}

/// The ways in which somebody is told, each with the name of it.
fn told(client: &Client) -> Vec<(&'static str, String)> {
    let answer = client.get("/").send();
    assert_eq!(answer.status, 401, "{}", answer.text());
    let said = answer.json();
    let led = client.visit("/").send();
    assert_eq!(led.status, 302);
    vec![
        ("a script, by name", said["reason"].as_str().unwrap_or_default().to_owned()),
        ("a script, in words", said["message"].as_str().unwrap_or_default().to_owned()),
        ("the login page", words(&client.visit(led.header("location")).send().text())),
        // As a script leads its person there, by what the 401 says.
        ("the login page by its own address", words(&client.visit("/.vestibule/login").send().text())),
    ]
}

fn assert_told(client: &Client, reason: EndReason, when: &str) {
    for (how, text) in told(client) {
        let is_said = text == reason.name() || text.contains(reason.sentence());
        assert!(is_said, "{} {when}, {how}: {text}", reason.name());
    }
}

/// Starts another gateway where one was, at the same time.
fn start_again(gateway: &mut Gateway) -> (Running, Client) {
    gateway.stop();
    let plan = Plan::load(&gateway.folder.path().join("gateway.toml")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let clock = Clock::Manual(gateway.clock.clone());
    let parts = Parts { clock, log: Box::new(Log::default()), ..Parts::default() };
    let running = app::start(&plan, parts).expect("it starts");
    let client = Client::new(running.addresses[0]);
    (running, client)
}

#[test]
fn there_is_a_way_to_each_reason() {
    for reason in EndReason::ALL {
        assert!(WAYS.iter().any(|(known, _)| *known == reason), "{} is not tried", reason.name());
    }
}

#[test]
fn every_reason_says_what_to_do() {
    for reason in EndReason::ALL {
        let sentence = reason.sentence();
        let advice = ["lease sign in", "can sign in", "or sign in", "ask whoever runs"];
        assert!(advice.iter().any(|words| sentence.contains(words)), "{}: {sentence}", reason.name());
    }
}

#[test]
fn every_reason_reaches_its_person_for_a_day_and_over_a_restart() {
    for (reason, bring_about) in WAYS {
        let is_tls = *reason == EndReason::Binding(Factor::Tls);
        let mut gateway = if is_tls {
            Setup::new().extra("[session.binding.tls]\nmode = \"exact\"\nanswer = \"end\"").start()
        } else {
            bound().start()
        };
        let client = gateway.signed_in(ALICE);
        bring_about(&gateway, &client);
        // Where a request finds it out, that is one that comes from where it should.
        assert_told(&client, *reason, "at once");
        let ended = gateway.clock.now();
        gateway.clock.advance(REMEMBER_ENDED - Duration::from_secs(120));
        assert_told(&client, *reason, "nearly a day later");
        let session = client.session();
        let (running, mut client) = start_again(&mut gateway);
        client.user_agent = super::harness::USER_AGENT.to_owned();
        client.set_session(&session);
        assert_told(&client, *reason, "after a restart");
        gateway.clock.advance(Duration::from_secs(180));
        super::harness::eventually("it is forgotten", || {
            gateway.clock.advance(Duration::from_secs(1));
            told(&client).iter().all(|(_, text)| !text.contains(reason.sentence()) && text != reason.name())
        });
        assert!(gateway.clock.now().since(ended) < REMEMBER_ENDED + Duration::from_secs(600), "not for longer");
        running.stop();
        gateway.advance(3600);
        running.wait();
    }
}

#[test]
fn who_signs_in_at_the_end_of_a_day_is_told_why_the_next_night() {
    // Sealed before midnight, ended after noon, and come back after the midnight that follows.
    let gateway = Setup::new().extra("[session.rotation]\nevery = \"off\"").start();
    let day = 86_400_000;
    let to_midnight = (day - gateway.clock.now().as_millis() % day) / 1000;
    gateway.advance(to_midnight - 60);
    let client = gateway.signed_in(ALICE);
    for _ in 0..12 * 3 {
        gateway.advance(20 * 60);
        client.get("/").send();
    }
    assert_told(&client, EndReason::Absolute, "at once");
    gateway.advance(23 * 3600);
    assert_told(&client, EndReason::Absolute, "the next night");
}

#[test]
fn nobody_is_told_of_the_end_of_a_session_that_they_have_no_proof_of() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.revoke("alice");
    let stranger = gateway.client();
    let page = stranger.visit("/.vestibule/login").send().text();
    assert!(!page.contains(EndReason::Revoked.sentence()), "{page}");
    let session = client.session();
    let (before, rest) = session.split_at(session.len() / 2);
    let other = if rest.starts_with('A') { "B" } else { "A" };
    stranger.set_session(&format!("{before}{other}{}", &rest[1..]));
    let page = stranger.visit("/.vestibule/login").send().text();
    assert!(!page.contains(EndReason::Revoked.sentence()), "{page}");
    assert_eq!(client.visit("/.vestibule/login").send().status, 200);
}

/// Browsers show what they keep without asking anybody. Who is led to sign in because their session is over is told to keep
/// nothing of it; nobody else's is cleared, and no script's.
#[test]
fn what_a_browser_keeps_goes_when_its_person_is_told_that_their_session_is_over() {
    let lock = "[session.lifetime]\non_idle = \"lock\"";
    let mut setup = Setup::new().extra(lock);
    setup.routes += "[[route]]\npath = \"/vault\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.start();
    let cleared = |client: &Client, path: &str| {
        let led = client.visit(path).send();
        assert_eq!(led.status, 302, "{}", led.text());
        led.header("clear-site-data").to_owned()
    };
    let client = gateway.signed_in(ALICE);
    assert_eq!(client.visit("/").send().header("clear-site-data"), "");
    gateway.advance(5 * 60);
    assert_eq!(cleared(&client, "/vault"), "", "only their password is asked for");
    gateway.advance(30 * 60);
    assert_eq!(cleared(&client, "/"), "\"cache\"", "locked");
    gateway.revoke("alice");
    assert_eq!(cleared(&client, "/"), "\"cache\"", "ended");
    let script = client.get("/").send();
    assert_eq!((script.status, script.header("clear-site-data")), (401, ""), "a script may ask every second");
    let stranger = gateway.client();
    assert_eq!(cleared(&stranger, "/"), "", "who comes for the first time has seen nothing");
    stranger.set_session("junk");
    assert_eq!(cleared(&stranger, "/"), "");
}
