//! How long sessions last for people with certain roles, and on routes that ask for more.

use std::time::Duration;

use http::Method;
use vestibule::enforce::reloads::{Cause, Reloaded};

use super::harness::{ALICE, BOB, Client, Gateway, Setup, Version, eventually};

const ROLES: &str = "[roles.admin]\nidle = \"10m\"\nabsolute = \"1h\"\n[roles.night]\nidle = \"20m\"";

/// Why a client that is no browser on its way somewhere is refused; nothing when it is not.
fn refused(client: &Client, path: &str) -> Option<String> {
    let answer = client.get(path).send();
    match answer.status {
        200 => None,
        401 => Some(answer.json()["reason"].as_str().expect("a reason").to_owned()),
        status => panic!("{status}: {}", answer.text()),
    }
}

/// Writes something else in the file of users, or in the configuration, and has it read again.
fn change(gateway: &Gateway, file: &str, from: &str, to: &str) -> Reloaded {
    let file = gateway.folder.path().join(file);
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
    let outcome = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    outcome.unwrap_or_else(|words| panic!("refused: {words}"))
}

#[test]
fn a_role_makes_a_session_end_sooner_and_nobody_elses() {
    let gateway = Setup::new().extra(ROLES).start();
    for version in [Version::H1, Version::H2] {
        let (alice, bob) = (gateway.signed_in(ALICE).speaking(version), gateway.signed_in(BOB).speaking(version));
        gateway.advance(9 * 60 + 59);
        assert_eq!((refused(&alice, "/admin"), refused(&bob, "/")), (None, None), "it is activity");
        gateway.advance(10 * 60);
        assert_eq!(refused(&bob, "/"), None);
        assert_eq!(refused(&alice, "/").as_deref(), Some("idle"));
        assert_eq!(refused(&alice, "/").as_deref(), Some("idle"), "for good");
        gateway.log.wait_for(&["audit session.ended", "reason=idle", "user=alice"]);
        assert!(alice.visit("/").send().header("location").starts_with("/.vestibule/login"));
    }
}

#[test]
fn a_role_bounds_the_whole_of_a_session_too() {
    let gateway = Setup::new().extra(ROLES).extra("[session.rotation]\nevery = \"off\"").start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    for _ in 0..7 {
        gateway.advance(8 * 60 + 30);
        assert_eq!((refused(&alice, "/"), refused(&bob, "/")), (None, None));
    }
    gateway.advance(30);
    assert_eq!((refused(&alice, "/").as_deref(), refused(&bob, "/")), (Some("absolute"), None));
}

#[test]
fn what_is_over_by_its_role_ends_without_a_request_and_its_streams_with_it() {
    let mut setup = Setup::new().extra(ROLES);
    setup.upstream = "idle_timeout = \"24h\"".to_owned();
    let gateway = setup.start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let open = |client| {
        let (answer, mut stream) = Client::get(client, "/stream").open();
        assert_eq!(answer.status, 200);
        assert!(stream.next().is_some_and(|piece| piece.is_ok()));
        stream
    };
    let (mut hers, mut his) = (open(&alice), open(&bob));
    gateway.advance(10 * 60 - 1);
    assert!(gateway.application.goes_on(&mut hers), "not before");
    gateway.advance(1);
    assert!((0..100).any(|_| matches!(hers.next(), Some(Err(_)))), "it is cut");
    assert!(gateway.application.goes_on(&mut his), "his goes on");
    drop((hers, his));
    // Without a stream it is found by the sweep of the store.
    let again = gateway.signed_in(ALICE);
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    gateway.advance(10 * 60);
    eventually("it ends", || {
        gateway.clock.advance(Duration::from_secs(1));
        gateway.sessions_of("alice").is_empty()
    });
    assert_eq!(refused(&again, "/").as_deref(), Some("idle"));
    assert_eq!(gateway.sessions_of("bob").len(), 1);
}

#[test]
fn roles_count_as_they_are_now() {
    let gateway = Setup::new().extra(ROLES).start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    gateway.advance(5 * 60);
    assert_eq!((refused(&alice, "/"), refused(&bob, "/")), (None, None));
    let changed = change(&gateway, "users.toml", "roles = [\"admin\"]", "roles = [\"ops\"]");
    assert_eq!((changed.changed, changed.ended), (1, 0));
    gateway.advance(15 * 60);
    assert_eq!((refused(&alice, "/"), refused(&bob, "/")), (None, None), "she is no admin any more");
    change(&gateway, "users.toml", "roles = [\"ops\"]", "roles = [\"ops\", \"night\", \"admin\"]");
    gateway.advance(10 * 60);
    assert_eq!((refused(&alice, "/").as_deref(), refused(&bob, "/")), (Some("idle"), None));
}

#[test]
fn a_reload_holds_for_the_sessions_that_are_there() {
    let gateway = Setup::new().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    gateway.advance(10 * 60);
    change(&gateway, "gateway.toml", "[login.local]", &format!("{ROLES}\n[login.local]"));
    assert_eq!((refused(&alice, "/").as_deref(), refused(&bob, "/")), (Some("idle"), None));
    let alice = gateway.signed_in(ALICE);
    gateway.advance(9 * 60);
    change(&gateway, "gateway.toml", ROLES, "");
    gateway.advance(9 * 60);
    assert_eq!(refused(&alice, "/"), None);
}

/// Beside the usual routes, some that ask for what is recent.
fn strict() -> Setup {
    let mut setup = Setup::new();
    for (path, keys) in [
        ("/away", "idle = \"10m\""),
        ("/vault", "absolute = \"1h\""),
        ("/fresh", "max_auth_age = \"5m\""),
        ("/form", "max_auth_age = \"5m\"\nmax_auth_age_methods = [\"POST\", \"PUT\"]"),
        ("/rights", "max_auth_age = \"5m\"\nroles = [\"admin\"]"),
    ] {
        setup.routes += &format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\n{keys}\n");
    }
    setup
}

#[test]
fn who_was_away_for_too_long_for_a_route_is_asked_again_there_and_nowhere_else() {
    let gateway = strict().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(10 * 60 - 1);
        assert_eq!(refused(&client, "/away"), None);
        gateway.advance(10 * 60);
        let session = gateway.sessions_of("alice")[0].handle();
        gateway.application.forget();
        assert_eq!(refused(&client, "/away").as_deref(), Some("route_idle"));
        gateway.application.assert_untouched();
        assert_eq!(refused(&client, "/"), None, "the session goes on");
        assert_eq!(refused(&client, "/vault"), None);
        assert_eq!(refused(&client, "/away").as_deref(), Some("route_idle"), "whoever came back may be somebody else");
        assert_eq!(gateway.sessions_of("alice")[0].handle(), session);
        let answer = client.sign_in(ALICE, "/away/here?x=1");
        assert_eq!((answer.status, answer.header("location")), (303, "/away/here?x=1"));
        assert_eq!(refused(&client, "/away"), None);
        gateway.revoke("alice");
    }
    gateway.log.wait_for(&[" 401 ", "reason=route_idle"]);
    let counted = gateway.running().shared.render_metrics();
    for line in ["{reason=\"route_idle\"} 6", "{reason=\"max_auth_age\"} 0"] {
        assert!(counted.contains(&format!("\nvestibule_challenges_total{line}\n")), "{line} in:\n{counted}");
    }
}

#[test]
fn a_session_that_is_too_old_for_a_route_goes_on_elsewhere() {
    let gateway = strict().start();
    let client = gateway.signed_in(ALICE);
    for _ in 0..4 {
        gateway.advance(15 * 60 - 1);
        assert_eq!((refused(&client, "/vault"), refused(&client, "/")), (None, None));
        assert_eq!(refused(&client, "/").as_deref(), None, "its successor is presented");
    }
    gateway.advance(4);
    assert_eq!(refused(&client, "/vault").as_deref(), Some("route_absolute"));
    assert_eq!(refused(&client, "/"), None);
    let led = client.visit("/vault").send();
    let page = client.visit(led.header("location")).send().text();
    assert!(page.contains("You signed in some time ago."), "{page}");
    assert_eq!(client.sign_in(ALICE, "/vault").status, 303);
    assert_eq!(refused(&client, "/vault"), None);
}

#[test]
fn the_password_is_asked_for_again_and_the_person_goes_on_where_they_were() {
    let gateway = strict().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(5 * 60 - 1);
        assert_eq!(refused(&client, "/fresh"), None);
        gateway.advance(1);
        gateway.application.forget();
        let answer = client.get("/fresh").send();
        let said = answer.json();
        assert_eq!(
            (answer.status, &said["error"], &said["reason"]),
            (401, &"unauthenticated".into(), &"max_auth_age".into())
        );
        assert!(
            said["message"].as_str().is_some_and(|message| message.starts_with("Please enter your password again"))
        );
        assert!(answer.header("www-authenticate").starts_with("Cookie "));
        let led = client.visit("/fresh/step?of=7").send();
        assert_eq!((led.status, led.set_cookies().len()), (302, 0));
        gateway.application.assert_untouched();
        let page = client.visit(led.header("location")).send();
        assert!(page.text().contains("Please enter your password again"), "{}", page.text());
        assert_eq!(super::harness::hidden(&page, "username\" type=\"text"), "alice");

        // Who has only her cookie, or only the link, is not told her name.
        let mut thief = gateway.client();
        thief.user_agent = "another browser".to_owned();
        assert!(!thief.visit(led.header("location")).send().text().contains("alice"));
        thief.set_session(&client.session());
        assert!(!thief.visit(led.header("location")).send().text().contains("alice"));

        let (before, cookie) = (gateway.sessions_of("alice")[0].handle(), client.session());
        let attempt = super::harness::hidden(&page, "attempt");
        let post = |password| {
            let fields = [("username", "alice"), ("password", password), ("attempt", &*attempt)];
            client.post_form("/.vestibule/login", &fields).send()
        };
        assert_eq!(post("wrong").status, 401);
        assert_eq!(refused(&client, "/"), None, "the session is still there");
        let answer = post(ALICE.1);
        assert_eq!((answer.status, answer.header("location")), (303, "/fresh/step?of=7"));
        assert_eq!(refused(&client, "/fresh"), None);
        let after = gateway.sessions_of("alice");
        assert!(after.len() == 1 && after[0].handle() != before, "it has a new name");
        let copy = gateway.client();
        copy.set_session(&cookie);
        assert_eq!(refused(&copy, "/").as_deref(), Some("replaced"));
        gateway.log.wait_for(&["audit login.succeeded", "user=alice", "reason=again"]);
        gateway.revoke("alice");
    }
    gateway.log.wait_for(&[" 302 ", "reason=max_auth_age"]);
}

#[test]
fn somebody_else_who_signs_in_there_has_a_session_of_their_own() {
    let gateway = strict().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(5 * 60);
    assert_eq!(client.sign_in(BOB, "/fresh").status, 303);
    assert_eq!(refused(&client, "/fresh"), None);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("bob"));
    assert!(gateway.sessions_of("alice").is_empty());
    assert!(!gateway.log.text().contains("reason=again"));
}

#[test]
fn only_some_methods_may_ask_for_the_password() {
    let gateway = strict().extra("[session.parked_posts]\nkeep = \"off\"").start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(5 * 60);
    assert_eq!(refused(&client, "/form"), None);
    gateway.application.forget();
    for method in [Method::POST, Method::PUT] {
        assert_eq!(client.request(method, "/form").send().json()["reason"], "max_auth_age");
    }
    gateway.application.assert_untouched();
    assert_eq!(client.request(Method::DELETE, "/form").send().status, 200);
    assert_eq!(client.request(Method::HEAD, "/fresh").send().status, 401);
    // A form that is not kept cannot be fetched again: its person comes back to where they filled it in.
    let page = format!("https://{}/form/new?of=7", client.authority());
    for (referer, back) in [(&*page, "/form/new?of=7"), ("https://evil.test/", "/")] {
        let led = client.post_form("/form/send", &[("amount", "1")]).header("referer", referer).send();
        assert_eq!(led.status, 303);
        let shown = client.visit(led.header("location")).send();
        let attempt = super::harness::hidden(&shown, "attempt");
        let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*attempt)];
        assert_eq!(client.post_form("/.vestibule/login", &fields).send().header("location"), back);
        assert_eq!(client.request(Method::POST, "/form").send().status, 200);
        gateway.advance(5 * 60);
    }
}

#[test]
fn nobody_is_asked_for_their_password_to_be_told_that_they_may_not() {
    let gateway = strict().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    gateway.advance(5 * 60);
    assert_eq!(bob.get("/rights").send().status, 403);
    assert_eq!(refused(&alice, "/rights").as_deref(), Some("max_auth_age"));
}

#[test]
fn a_reload_asks_for_what_is_recent_at_once() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(5 * 60);
    assert_eq!(refused(&client, "/admin"), None);
    change(&gateway, "gateway.toml", "roles = [\"admin\"]", "roles = [\"admin\"]\nmax_auth_age = \"5m\"");
    assert_eq!(refused(&client, "/admin").as_deref(), Some("max_auth_age"));
    assert_eq!(refused(&client, "/"), None);
}
