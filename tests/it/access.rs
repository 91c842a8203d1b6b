//! Who may pass which route, and what everybody else is answered.

use http::Method;

use super::harness::{ALICE, Answer, BOB, Client, Received, Setup, Version};

const IDENTITY: [&str; 4] = ["x-forwarded-user", "x-forwarded-email", "x-forwarded-groups", "x-forwarded-roles"];

fn assert_says_nobody(received: &Received) {
    for name in IDENTITY {
        assert_eq!(received.header(name), None);
    }
}

/// Claims to be somebody in every header that an application might believe.
fn claiming<'a>(client: &'a Client, path: &str) -> super::harness::Request<'a> {
    let names = IDENTITY.into_iter().chain(["x_forwarded_user", "X-Forwarded_User", "remote-user", "remote_user"]);
    names.fold(client.get(path), |request, name| request.header(name, "root").header(name, "admin"))
}

#[test]
fn nobody_is_whom_they_claim_to_be() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let (stranger, alice) = (gateway.client().speaking(version), gateway.signed_in(ALICE).speaking(version));
        for path in ["/public", "/optional", "/anonymous"] {
            assert_eq!(claiming(&stranger, path).send().status, 200);
            let received = gateway.application.last();
            assert!(!received.mentions("root") && !received.mentions("admin"), "{path}: {received:?}");
        }
        assert_eq!(claiming(&alice, "/").send().status, 200);
        let received = gateway.application.last();
        assert_eq!(received.header("x-forwarded-user"), Some("alice"));
        assert_eq!(received.header("x-forwarded-roles"), Some("admin"));
        assert!(!received.mentions("root"), "{received:?}");
        gateway.application.forget();
        assert_eq!(claiming(&stranger, "/admin").send().status, 401);
        gateway.application.assert_untouched();
    }
}

#[test]
fn a_public_route_does_not_read_the_cookie() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let live = gateway.sessions_of("alice").remove(0);
    let before = live.active_at();
    gateway.advance(20 * 60);
    let answer = client.get("/public").send();
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 0), "also no successor, though one is due");
    assert_says_nobody(&gateway.application.last());
    assert_eq!(live.active_at(), before, "it is no activity");
    gateway.advance(10 * 60);
    assert_eq!(client.get("/").send().json()["reason"], "idle");
    // A cookie that would end its session elsewhere is not looked at here.
    let client = gateway.signed_in(BOB);
    assert_eq!(client.get("/public").without("user-agent").send().status, 200);
    assert_eq!(client.get("/").send().status, 200);
    let stranger = gateway.client();
    let answer = stranger.visit("/public").send();
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 0));
    stranger.set_session("junk");
    assert_eq!(stranger.get("/public").send().status, 200);
    assert!(!gateway.application.last().mentions("junk"));
}

#[test]
fn an_optional_route_says_who_is_signed_in_if_anybody_is() {
    let gateway = Setup::new().start();
    let stranger = gateway.client();
    let answer = stranger.visit("/optional").send();
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 0));
    assert_says_nobody(&gateway.application.last());
    let client = gateway.signed_in(ALICE);
    assert_eq!(client.get("/optional").send().status, 200);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
    gateway.advance(20 * 60);
    assert_eq!(client.get("/optional").send().set_cookies().len(), 1, "a successor is offered here too");
    assert_eq!(client.get("/optional").send().status, 200);
    gateway.advance(20 * 60);
    assert_eq!(client.get("/").send().status, 200, "it is activity");
    assert_eq!(client.get("/").send().status, 200);
    gateway.advance(30 * 60);
    for _ in 0..2 {
        let answer = client.get("/optional").send();
        assert_eq!(answer.status, 200, "whoever was signed in passes as nobody");
        assert_says_nobody(&gateway.application.last());
    }
    for junk in ["junk", ""] {
        stranger.set_session(junk);
        assert_eq!(stranger.get("/optional").send().status, 200);
        assert_says_nobody(&gateway.application.last());
    }
}

#[test]
fn an_anonymous_route_gives_a_stranger_one_session() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let stranger = gateway.client().speaking(version);
        let first = stranger.visit("/anonymous/shop").send();
        assert_eq!((first.status, first.set_cookies().len()), (200, 1));
        assert_says_nobody(&gateway.application.last());
        assert!(!gateway.application.last().mentions("__Host-"));
        let cookie = stranger.session();
        for _ in 0..3 {
            let answer = stranger.get("/anonymous").send();
            assert_eq!((answer.status, answer.set_cookies().len()), (200, 0));
            assert_says_nobody(&gateway.application.last());
        }
        assert_eq!(stranger.session(), cookie);
        // It opens nothing that asks for somebody, and the optional route sees nobody.
        assert_eq!(stranger.get("/optional").send().status, 200);
        assert_says_nobody(&gateway.application.last());
        gateway.application.forget();
        for path in ["/", "/admin"] {
            let answer = stranger.get(path).send();
            assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("anonymous")));
        }
        gateway.application.assert_untouched();
    }
    assert_eq!(gateway.running().shared.store.active(), 2);
    let client = gateway.signed_in(ALICE);
    let answer = client.get("/anonymous").send();
    assert_eq!((answer.status, answer.set_cookies().len()), (200, 0));
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
}

#[test]
fn an_anonymous_session_ends_when_nothing_happens_and_another_begins() {
    let gateway = Setup::new().start();
    let stranger = gateway.client();
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    let first = stranger.session();
    gateway.advance(30 * 60);
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    assert_ne!(stranger.session(), first);
    super::harness::eventually("only the new one is left", || gateway.running().shared.store.active() == 1);
}

#[test]
fn one_of_the_roles_is_needed_and_no_other_helps() {
    let mut setup = Setup::new();
    setup.routes = r#"
        [[route]]
        path = "/"
        upstream = "app"
        [[route]]
        path = "/admin"
        upstream = "app"
        roles = ["admin"]
        [[route]]
        path = "/both"
        upstream = "app"
        roles = ["admin", "staff"]
        [[route]]
        path = "/none"
        upstream = "app"
        roles = ["auditor"]
        [[route]]
        path = "/admin/help"
        upstream = "app"
        access = "public"
    "#
    .to_owned();
    let gateway = setup.start();
    let (alice, bob, stranger) = (gateway.signed_in(ALICE), gateway.signed_in(BOB), gateway.client());
    for (path, for_alice, for_bob, for_nobody) in [
        ("/", 200, 200, 401),
        ("/admin", 200, 403, 401),
        ("/admin/", 200, 403, 401),
        ("/admin/users?x=/admin/help", 200, 403, 401),
        ("//admin", 200, 403, 401),
        ("/admin;v=1/users", 200, 403, 401),
        ("/%61dmin", 200, 403, 401),
        ("/;x/admin", 200, 403, 401),
        ("/admin/help", 200, 200, 200),
        ("/admin/helpless", 200, 403, 401),
        ("/administrators", 200, 200, 401),
        ("/both", 200, 200, 401),
        ("/none", 403, 403, 401),
        ("/admin/help/../users", 400, 400, 400),
        ("/admin/help/%2e%2e/users", 400, 400, 400),
        ("/admin/help/..;/users", 400, 400, 400),
        ("/admin%2fusers", 400, 400, 400),
        ("/%2561dmin", 200, 200, 401),
    ] {
        for (client, expected) in [(&alice, for_alice), (&bob, for_bob), (&stranger, for_nobody)] {
            gateway.application.forget();
            let answer = client.get(path).send();
            assert_eq!(answer.status, expected, "{path}");
            if expected == 200 {
                assert_eq!(gateway.application.received().len(), 1);
            } else {
                gateway.application.assert_untouched();
                assert_eq!(answer.header("x-application"), "", "nothing of the application comes along");
            }
        }
    }
    let refused = bob.get("/admin").send();
    assert_eq!(
        (refused.json()["error"].as_str(), refused.json()["reason"].as_str()),
        (Some("forbidden"), Some("missing_role"))
    );
}

/// A request's method and headers, and the status that it is answered with without a session.
type Asked<'a> = (&'a Method, &'a [(&'a str, &'a str)], u16);

/// What a request says of itself, and what it is answered without a session.
fn answered(client: &Client, method: &Method, headers: &[(&str, &str)]) -> (u16, Answer) {
    let request = client.request(method.clone(), "/work?x=1");
    let answer = headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send();
    (answer.status, answer)
}

#[test]
fn people_are_led_to_the_login_page_and_programs_are_told() {
    let gateway = Setup::new().start();
    let navigation = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    let html = [("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")];
    let matrix: &[Asked<'_>] = &[
        (&Method::GET, &navigation, 302),
        (&Method::HEAD, &navigation, 303),
        (&Method::POST, &navigation, 303),
        (&Method::PUT, &navigation, 303),
        (&Method::GET, &html, 302),
        (&Method::GET, &[("accept", "application/xhtml+xml")], 302),
        (&Method::GET, &[("accept", "TEXT/HTML ;q=1")], 302),
        (&Method::POST, &html, 401),
        (&Method::HEAD, &html, 401),
        (&Method::GET, &[], 401),
        (&Method::POST, &[], 401),
        (&Method::GET, &[("accept", "*/*")], 401),
        (&Method::GET, &[("accept", "application/json")], 401),
        (&Method::GET, &[("accept", "text/html-not")], 401),
        (&Method::GET, &[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], 401),
        (&Method::GET, &[("accept", "text/html"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")], 401),
        (&Method::GET, &[("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], 401),
        (&Method::GET, &[("accept", "text/html"), ("sec-fetch-mode", "navigate")], 401),
        (&Method::GET, &[("accept", "text/html"), ("sec-fetch-dest", "document")], 401),
        (&Method::GET, &[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")], 401),
        (&Method::OPTIONS, &[("origin", "https://evil.test"), ("access-control-request-method", "PUT")], 401),
        (&Method::DELETE, &[("sec-fetch-mode", "cors")], 401),
    ];
    for version in [Version::H1, Version::H2] {
        for cookie in ["", "junk"] {
            let client = gateway.client().speaking(version);
            if !cookie.is_empty() {
                client.set_session(cookie);
            }
            for (method, headers, expected) in matrix {
                let (status, answer) = answered(&client, method, headers);
                assert_eq!(status, *expected, "{method} {headers:?}");
                assert_eq!(answer.header("cache-control"), "no-store");
                if status == 401 {
                    assert_eq!((answer.header("location"), answer.header("content-type")), ("", "application/json"));
                    assert!(answer.header("www-authenticate").starts_with("Cookie "));
                    if *method != Method::HEAD {
                        let json = answer.json();
                        assert_eq!(json["error"], "unauthenticated");
                        assert_eq!(json["login"], "/.vestibule/login");
                    }
                } else {
                    assert!(answer.header("location").starts_with("/.vestibule/login?return="));
                    assert!(!answer.header("location").contains("work"), "the way back is sealed");
                }
            }
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn only_a_get_leads_back_to_where_it_went() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let led = client.post_form("/work", &[("a", "b")]).send();
    assert_eq!(led.status, 303);
    let page = client.visit(led.header("location")).send();
    let fields =
        [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*super::harness::hidden(&page, "attempt"))];
    let answer = client.post_form("/.vestibule/login", &fields).send();
    assert_eq!((answer.status, answer.header("location")), (303, "/"));
    gateway.application.assert_untouched();
}

#[test]
fn a_session_that_ended_says_why_on_every_kind_of_answer() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.revoke("alice");
    gateway.application.forget();
    assert_eq!(client.get("/").send().json()["reason"], "revoked");
    let page = client.visit(client.visit("/").send().header("location")).send();
    assert!(page.text().contains("ended by an administrator"), "{}", page.text());
    gateway.application.assert_untouched();
    gateway.log.wait_for(&["audit session.ended", "reason=revoked"]);
    gateway.log.wait_for(&["access", " 401 ", "reason=revoked"]);
    // The word goes away once it was said: a wrong password is what is told next.
    let token = super::harness::hidden(&page, "attempt");
    let fields = [("username", "alice"), ("password", "a guess"), ("attempt", &*token)];
    let next = client.post_form("/.vestibule/login", &fields).send();
    assert!(next.status == 401 && !next.text().contains("administrator"));
}
