//! How long sessions last for people with certain roles, and on routes that ask for more.

use std::time::Duration;

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
    assert!((0..3).all(|_| hers.next().is_some_and(|piece| piece.is_ok())), "not before");
    gateway.advance(1);
    assert!((0..100).any(|_| matches!(hers.next(), Some(Err(_)))), "it is cut");
    assert!((0..3).all(|_| his.next().is_some_and(|piece| piece.is_ok())), "his goes on");
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
