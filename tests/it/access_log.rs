//! One line for every request, that says whose it was and how it ended.

use super::harness::{ALICE, BOB, Scripted, Setup, Version, advance_until, eventually};

#[test]
fn a_refused_request_is_logged_with_its_session_and_its_person() {
    let gateway = Setup::new().start();
    let bob = gateway.signed_in(BOB);
    let handle = gateway.sessions_of("bob")[0].handle().to_string();
    assert_eq!(bob.get("/admin/secret").send().status, 403);
    gateway.log.wait_for(&["/admin/secret", " 403 ", &handle, "bob", "missing_role"]);
    gateway.revoke("bob");
    assert_eq!(bob.get("/after").send().status, 401);
    gateway.log.wait_for(&["/after", " 401 ", &handle, "bob", "revoked"]);
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let server = Scripted::saying("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\ncut");
    let gateway = Setup::new().in_front_of(&server).start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        if let Ok((_, mut body)) = client.get("/public/cut").try_open() {
            while body.next().is_some_and(|piece| piece.is_ok()) {}
        }
        gateway.log.wait_for(&["/public/cut", " 200 ", "reason=upstream_broken"]);
    }
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    let mut stream = alice.get("/stream").open().1;
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    gateway.revoke("alice");
    gateway.log.wait_for(&["/stream", " 200 ", "reason=session_ended"]);
    let stranger = gateway.client();
    let mut stream = stranger.get("/public/stream").open().1;
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    drop(stream);
    drop(stranger);
    advance_until(&gateway, "it is noticed", || gateway.log.text().lines().any(|line| line.contains("/public/stream")));
    gateway.log.wait_for(&["/public/stream", " 200 ", "reason=client_left"]);
    let whole = gateway.client().get("/public/whole").send();
    assert_eq!(whole.status, 200);
    gateway.log.wait_for(&["/public/whole", " 200 "]);
    assert!(!gateway.log.text().lines().any(|line| line.contains("/public/whole") && line.contains("reason=")));
}

#[test]
fn what_is_cut_when_the_gateway_stops_has_its_line_too() {
    let mut setup = Setup::new();
    setup.server = "drain_timeout = \"2s\"".to_owned();
    let mut gateway = setup.start();
    let clients = [gateway.client(), gateway.client().speaking(Version::H2)];
    let mut streams: Vec<_> = clients.iter().map(|client| client.get("/public/stream").open().1).collect();
    for stream in &mut streams {
        assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    }
    gateway.running().stop();
    advance_until(&gateway, "they are cut", || gateway.connections() == 0);
    gateway.stop();
    let log = gateway.log.clone();
    eventually("both have a line", || log.text().lines().filter(|line| line.contains("/public/stream")).count() == 2);
}
