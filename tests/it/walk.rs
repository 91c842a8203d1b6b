//! The whole way of a person, from the first link to signing out.

use super::harness::{ALICE, BOB, Setup, Version};

#[test]
fn a_person_signs_in_works_and_signs_out() {
    for version in [Version::H1, Version::H2] {
        let gateway = Setup::new().start();
        let client = gateway.client().speaking(version);
        let answer = client.sign_in(ALICE, "/reports?month=5");
        assert_eq!((answer.status, answer.header("location")), (303, "/reports?month=5"));
        gateway.application.assert_untouched();
        let page = client.visit(answer.header("location")).send();
        assert_eq!((page.status, page.text().as_str()), (200, "hello from the application"));
        let received = gateway.application.last();
        assert_eq!(received.uri, "/reports?month=5");
        assert_eq!(received.header("x-forwarded-user"), Some("alice"));
        assert_eq!(received.header("x-forwarded-email"), Some("alice@example.test"));
        assert_eq!(received.header("x-forwarded-groups"), Some("staff,night"));
        assert_eq!(received.header("x-forwarded-roles"), Some("admin"));
        assert!(!received.mentions(&client.session()) && !received.mentions("__Host-"));
        let cookie = client.session();
        let out = client.post_form("/.vestibule/logout", &[]).send();
        assert_eq!(out.status, 200);
        assert_eq!(client.session(), "", "the cookie was deleted");
        gateway.application.forget();
        client.set_session(&cookie);
        let again = client.get("/").send();
        assert_eq!((again.status, again.json()["reason"].as_str()), (401, Some("logout")));
        gateway.application.assert_untouched();
    }
}

#[test]
fn roles_decide_who_gets_in() {
    let gateway = Setup::new().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    assert_eq!(alice.visit("/admin/users").send().status, 200);
    gateway.application.forget();
    let refused = bob.visit("/admin/users").send();
    assert_eq!(refused.status, 403);
    assert!(refused.header("content-type").starts_with("text/html"));
    assert_eq!(bob.get("/admin").send().json()["error"], "forbidden");
    gateway.application.assert_untouched();
    assert_eq!(bob.visit("/administrators").send().status, 200);
}

#[test]
fn idle_and_absolute_limits_end_a_session() {
    let gateway = Setup::new().start();
    let idle = gateway.signed_in(ALICE);
    gateway.advance(30 * 60 - 1);
    assert_eq!(idle.get("/").send().status, 200);
    gateway.advance(30 * 60);
    let answer = idle.get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("idle")));
    let busy = gateway.signed_in(BOB);
    for _ in 0..36 {
        assert_eq!(busy.get("/").send().status, 200);
        gateway.advance(20 * 60);
    }
    let answer = busy.get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("absolute")));
}
