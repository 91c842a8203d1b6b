//! Levels: routes that open some time after sign-in, and close for who was away.

use http::Method;
use serde_json::json;
use vestibule::enforce::reloads::Cause;

use super::harness::{ALICE, BOB, Client, Gateway, Setup, Version};

const LEVELS: &str = "[[session.level]]\nname = \"known\"\nafter = \"5m\"\n[[session.level]]\nname = \"established\"\n\
                      after = \"1h\"\nidle = \"10m\"";

fn leveled() -> Setup {
    let mut setup = Setup::new().extra(LEVELS).extra("[session.rotation]\nevery = \"off\"");
    for (path, level) in
        [("/known", "known"), ("/old", "established"), ("/admin/old", "established\"\nroles = [\"admin")]
    {
        setup.routes += &format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\nlevel = \"{level}\"\n");
        setup.routes = setup.routes.replace("roles = [\"admin\"\n", "roles = [\"admin\"]\n");
    }
    setup
}

/// What a client is told: the level that the application is, or why not.
fn told(client: &Client, gateway: &Gateway, path: &str) -> String {
    gateway.application.forget();
    let answer = client.get(path).send();
    match answer.status {
        200 => gateway.application.last().header("x-session-level").unwrap_or("none").to_owned(),
        401 | 403 => {
            gateway.application.assert_untouched();
            answer.json()["reason"].as_str().expect("a reason").to_owned()
        }
        status => panic!("{status}: {}", answer.text()),
    }
}

#[test]
fn a_route_opens_when_its_level_is_reached_and_closes_for_who_was_away() {
    let gateway = leveled().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let told = |path| told(&client, &gateway, path);
        assert_eq!((&*told("/"), &*told("/known")), ("none", "level_not_reached"));
        gateway.advance(299);
        assert_eq!(told("/known"), "level_not_reached");
        gateway.advance(1);
        assert_eq!((&*told("/"), &*told("/known"), &*told("/old")), ("known", "known", "level_not_reached"));
        for _ in 0..6 {
            gateway.advance(550);
            assert_eq!(told("/"), told("/known"));
        }
        assert_eq!((&*told("/"), &*told("/known"), &*told("/old")), ("established", "established", "established"));
        gateway.advance(600);
        assert_eq!((&*told("/old"), &*told("/"), &*told("/known")), ("level_lost", "known", "known"));
        assert_eq!(told("/old"), "level_lost", "for good: whoever came back may be somebody else");
        gateway.revoke("alice");
    }
    gateway.log.wait_for(&[" 403 ", "reason=level_not_reached", "user=alice"]);
    gateway.log.wait_for(&[" 403 ", "reason=level_lost"]);
}

#[test]
fn people_are_told_how_long_to_wait_or_to_sign_in_again() {
    let gateway = leveled().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(60);
    let answer = client.visit("/known").send();
    let page = answer.text();
    assert_eq!((answer.status, answer.header("retry-after"), answer.header("cache-control")), (403, "240", "no-store"));
    for words in ["Not open to you yet", "opens some time after you have signed in", "Wait 4 minutes, then try again."]
    {
        assert!(page.contains(words), "{words} in {page}");
    }
    assert!(!page.contains("Sign out"), "{page}");
    let answer = client.get("/known").send();
    assert_eq!((&answer.json()["error"], &answer.json()["reason"]), (&json!("forbidden"), &json!("level_not_reached")));
    assert_eq!(answer.header("retry-after"), "240");
    gateway.advance(20 * 60);
    let answer = client.visit("/old").send();
    let page = answer.text();
    assert_eq!((answer.status, answer.header("retry-after")), (403, ""));
    for words in ["Not open to you any more", "You were away", "sign in again. It opens 1 hour after that.", "Sign out"]
    {
        assert!(page.contains(words), "{words} in {page}");
    }
}

#[test]
fn nobody_says_their_own_level_and_roles_are_asked_for_first() {
    let gateway = leveled().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    for name in ["x-session-level", "X_Session_Level", "x.session-level"] {
        for path in ["/", "/optional", "/public"] {
            assert_eq!(alice.get(path).header(name, "established").send().status, 200);
            let last = gateway.application.last();
            assert!(!last.headers.iter().any(|(_, value)| value.as_bytes() == b"established"), "{name} {path}");
        }
    }
    assert_eq!(bob.get("/admin/old").send().json()["reason"], "missing_role");
    assert_eq!(alice.get("/admin/old").send().json()["reason"], "level_not_reached");
    assert_eq!(gateway.client().request(Method::GET, "/known").send().json()["reason"], "no_session");
}

#[test]
fn it_is_sent_where_the_identity_table_says() {
    let own = "[identity]\npreset = \"none\"\n[identity.headers]\nX-Trust = \"{user}:{level}\"\nX-How = \"{level}\"";
    let gateway = leveled().extra(own).start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(client.get("/").send().status, 200);
    let last = gateway.application.last();
    assert_eq!((last.header("x-trust"), last.header("x-how")), (Some("alice:"), None));
    gateway.advance(300);
    assert_eq!(client.get("/").header("x-how", "established").send().status, 200);
    let last = gateway.application.last();
    assert_eq!((last.header("x-trust"), last.header("x-how")), (Some("alice:known"), Some("known")));
    assert_eq!(last.header("x-session-level"), None);
    let said = client.get("/.vestibule/api/session").send().json();
    assert_eq!(said["level"], "known");
}

#[test]
fn a_reload_holds_for_the_sessions_that_are_there_and_a_new_session_begins_below() {
    let gateway = leveled().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(300);
    assert_eq!(told(&client, &gateway, "/known"), "known");
    let file = gateway.folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&file).expect("a file").replace("after = \"5m\"", "after = \"6m\"");
    std::fs::write(&file, text).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
    assert_eq!(told(&client, &gateway, "/known"), "level_not_reached");
    assert_eq!(told(&client, &gateway, "/"), "none");
    gateway.advance(60);
    assert_eq!(told(&client, &gateway, "/known"), "known");
    gateway.revoke("alice");
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    assert_eq!(told(&client, &gateway, "/known"), "level_not_reached");
}

#[test]
fn a_restart_takes_no_level_from_whoever_was_not_away() {
    let mut gateway = leveled().start();
    let (here, away) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    for at in 0..8 {
        gateway.advance(500);
        assert_eq!(here.get("/").send().status, 200);
        assert!(at % 2 == 0 || away.get("/").send().status == 200);
    }
    assert_eq!((&*told(&here, &gateway, "/"), &*told(&away, &gateway, "/")), ("established", "known"));
    let cookies = [here.session(), away.session()];
    gateway.restart();
    let [here, away] = cookies.map(|cookie| {
        let client = gateway.client();
        client.set_session(&cookie);
        client
    });
    assert_eq!((&*told(&here, &gateway, "/"), &*told(&away, &gateway, "/old")), ("established", "level_lost"));
}
