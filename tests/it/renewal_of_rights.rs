//! Other roles renew the secret of a session: whoever has the one from before has nothing of them.

use vestibule::enforce::reloads::Cause;

use super::harness::process::run;
use super::harness::{ALICE, BOB, Client, Gateway, Setup, Version, advance_until};

const NEVER_ROTATES: &str = "[session.rotation]\nevery = \"off\"";

/// Gives alice other roles in the file of users, and has it read.
fn give(gateway: &Gateway, before: &str, roles: &str) {
    let file = gateway.folder.path().join("users.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.contains(before), "{text}");
    std::fs::write(&file, text.replacen(before, roles, 1)).expect("written");
    let outcome = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    assert_eq!(outcome.expect("taken").changed, 1);
}

fn status(gateway: &Gateway, session: &str, path: &str) -> u16 {
    let client = gateway.client();
    client.set_session(session);
    client.get(path).send().status
}

#[test]
fn the_next_answer_hands_out_another_secret_also_where_none_rotates() {
    let gateway = Setup::new().extra(NEVER_ROTATES).start();
    let mut roles = "roles = [\"admin\"]".to_owned();
    for version in [Version::H1, Version::H2] {
        let (alice, bob) = (gateway.signed_in(ALICE).speaking(version), gateway.signed_in(BOB).speaking(version));
        let before = alice.session();
        let next = format!("roles = [\"admin\", \"{version:?}\"]");
        give(&gateway, &roles, &next);
        roles = next;
        let handle = gateway.sessions_of("alice")[0].handle();
        // All parallel requests are offered the same.
        for _ in 0..2 {
            let copy = gateway.client();
            copy.set_session(&before);
            let answer = copy.get("/").send();
            assert_eq!((answer.status, answer.set_cookies().len()), (200, 1));
        }
        let answer = alice.get("/admin").send();
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 1), "hers too");
        assert_eq!(bob.get("/").send().set_cookies().len(), 0, "nobody else's");
        assert_ne!(alice.session(), before);
        let answer = alice.get("/").send();
        assert_eq!((answer.status, answer.set_cookies().len()), (200, 0), "once");
        assert_eq!(gateway.sessions_of("alice")[0].handle(), handle);
        gateway.advance(59);
        assert_eq!(status(&gateway, &before, "/"), 200, "what is under way goes on");
        gateway.advance(1);
        assert_eq!(alice.get("/").send().status, 200);
        assert_eq!(status(&gateway, &before, "/"), 401);
        gateway.log.wait_for(&["session.ended", "reason=reuse", "user=alice"]);
        gateway.revoke("bob");
    }
}

#[test]
fn a_request_with_the_former_secret_is_not_taken_for_a_theft() {
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    gateway.advance(15 * 60);
    let former = alice.session();
    assert_eq!(alice.get("/").send().set_cookies().len(), 1, "it rotates");
    assert_eq!(alice.get("/").send().set_cookies().len(), 0);
    give(&gateway, "roles = [\"admin\"]", "roles = [\"ops\"]");
    gateway.advance(59);
    assert_eq!(alice.get("/").send().set_cookies().len(), 0, "another one now would make the former a copy");
    assert_eq!(status(&gateway, &former, "/"), 200);
    gateway.advance(1);
    assert_eq!(alice.get("/").send().set_cookies().len(), 1);
    assert_eq!(alice.get("/").send().status, 200);
}

#[test]
fn a_restart_forgets_no_renewal() {
    let mut gateway = Setup::new().extra(NEVER_ROTATES).start();
    let alice = gateway.signed_in(ALICE);
    give(&gateway, "roles = [\"admin\"]", "roles = [\"admin\", \"ops\"]");
    gateway.restart();
    let again = moved(&gateway, &alice);
    assert_eq!(again.get("/").send().set_cookies().len(), 1);
    assert_eq!(again.get("/").send().set_cookies().len(), 0);
    gateway.restart();
    assert_eq!(moved(&gateway, &again).get("/").send().set_cookies().len(), 0, "nor that it was done");
    // What changes while nothing runs.
    let file = gateway.folder.path().join("users.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    gateway.stop();
    std::fs::write(&file, text.replacen("\"ops\"", "\"night\"", 1)).expect("written");
    gateway.restart();
    gateway.advance(60);
    assert_eq!(moved(&gateway, &again).get("/").send().set_cookies().len(), 1);
}

fn moved(gateway: &Gateway, client: &Client) -> Client {
    let again = gateway.client();
    again.set_session(&client.session());
    again
}

/// By the command that is there for it, in front of a gateway that runs.
#[test]
fn the_operators_command_changes_what_somebody_may_and_renews_their_secret() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(BOB);
    let before = client.session();
    assert_eq!(client.get("/admin").send().status, 403);
    let done = run(gateway.folder.path(), &["user", "roles", "bob", "admin,staff"], "");
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let may = || gateway.sessions_of("bob")[0].principal().is_some_and(|principal| principal.has_role("admin"));
    advance_until(&gateway, "he may", may);
    assert_eq!(client.get("/admin").send().status, 200);
    assert_ne!(client.session(), before, "the secret is another");
    assert_eq!(run(gateway.folder.path(), &["user", "roles", "bob", "--none"], "").code(), Some(0));
    advance_until(&gateway, "he may no more", || !may());
    assert_eq!(client.get("/admin").send().status, 403);
}
