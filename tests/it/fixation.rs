//! Nothing that was planted before signing in survives it, and nobody can be signed in as somebody else.

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Setup, hidden};

/// Opens the login page and gives the token of its form.
fn form_of(client: &Client, target: &str) -> String {
    let led = client.visit(target).send();
    assert_eq!(led.status, 302, "{}", led.text());
    hidden(&client.visit(led.header("location")).send(), "attempt")
}

fn post(client: &Client, (name, password): (&str, &str), attempt: &str) -> Answer {
    client.post_form("/.vestibule/login", &[("username", name), ("password", password), ("attempt", attempt)]).send()
}

fn holder(gateway: &Gateway, cookie: &str) -> Client {
    let client = gateway.client();
    client.set_session(cookie);
    client
}

#[test]
fn an_anonymous_session_ends_at_login_and_a_new_one_begins() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    assert_eq!(client.get("/anonymous").send().status, 200);
    let before = client.session();
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    assert_ne!(client.session(), before);
    assert_eq!(gateway.running().shared.store.active(), 1, "the anonymous session is gone at once");
    let answer = holder(&gateway, &before).get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("unknown_session")));
    gateway.log.wait_for(&["audit session.ended", "reason=replaced"]);
    assert_eq!(client.get("/").send().status, 200);
}

#[test]
fn a_cookie_that_an_attacker_planted_opens_nothing_after_the_victim_signed_in() {
    let gateway = Setup::new().start();
    let attacker = gateway.client();
    assert_eq!(attacker.get("/anonymous").send().status, 200);
    let planted = attacker.session();
    let victim = holder(&gateway, &planted);
    assert_eq!(victim.sign_in(ALICE, "/").status, 303);
    gateway.application.forget();
    for path in ["/", "/admin", "/optional", "/anonymous"] {
        holder(&gateway, &planted).get(path).send();
        assert!(
            gateway.application.received().iter().all(|request| request.header("x-forwarded-user").is_none()),
            "{path}"
        );
    }
    assert_eq!(holder(&gateway, &planted).get("/").send().status, 401);
    assert_eq!(victim.get("/").send().status, 200);
}

#[test]
fn a_failed_login_does_not_touch_the_session_there_is() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let before = client.session();
    let page = client.visit("/.vestibule/login").send();
    let answer = post(&client, (BOB.0, "not his password"), &hidden(&page, "attempt"));
    assert_eq!((answer.status, answer.set_cookies().len()), (401, 0));
    assert_eq!(client.session(), before);
    assert_eq!(client.get("/").send().status, 200);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
}

#[test]
fn signing_in_as_somebody_else_ends_the_session_before() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let alices = client.session();
    let page = client.visit("/.vestibule/login").send();
    assert_eq!(post(&client, BOB, &hidden(&page, "attempt")).status, 303);
    assert_eq!(client.get("/").send().status, 200);
    assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("bob"));
    assert!(gateway.sessions_of("alice").is_empty());
    let answer = holder(&gateway, &alices).get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("replaced")));
}

#[test]
fn signing_in_again_gives_a_new_handle_and_ends_the_old() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let (cookie, handle) = (client.session(), gateway.sessions_of("alice")[0].handle());
    let page = client.visit("/.vestibule/login").send();
    assert_eq!(post(&client, ALICE, &hidden(&page, "attempt")).status, 303);
    let sessions = gateway.sessions_of("alice");
    assert_eq!(sessions.len(), 1);
    assert_ne!(sessions[0].handle(), handle);
    assert_eq!(holder(&gateway, &cookie).get("/").send().json()["reason"], "replaced");
}

#[test]
fn a_person_may_be_signed_in_in_two_browsers() {
    let gateway = Setup::new().start();
    let (one, two) = (gateway.signed_in(ALICE), gateway.signed_in(ALICE));
    assert_eq!(gateway.sessions_of("alice").len(), 2);
    assert_eq!((one.get("/").send().status, two.get("/").send().status), (200, 200));
    assert_eq!(one.post_form("/.vestibule/logout", &[]).send().status, 200);
    assert_eq!((one.get("/").send().status, two.get("/").send().status), (401, 200));
}

/// Login CSRF: the attacker's own form, filled in with the attacker's own password, sent by the victim's browser.
#[test]
fn the_form_of_one_browser_does_not_work_in_another() {
    let gateway = Setup::new().start();
    let attacker = gateway.client();
    let token = form_of(&attacker, "/");
    let fresh = gateway.client();
    let visited = gateway.client();
    form_of(&visited, "/");
    for victim in [&fresh, &visited] {
        let answer = post(victim, BOB, &token);
        assert_eq!((answer.status, victim.session().as_str()), (400, ""));
        assert!(answer.text().contains("in another window"), "{}", answer.text());
    }
    // A guess of the tie does not help either.
    visited.jar.borrow_mut().insert("__Host-login".to_owned(), "A".repeat(22));
    assert_eq!(post(&visited, BOB, &token).status, 400);
    assert!(gateway.sessions_of("bob").is_empty());
    assert_eq!(post(&attacker, BOB, &token).status, 303, "where it was asked for it works");
}

#[test]
fn the_page_that_a_wrong_form_leads_to_works_itself() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let page = post(&client, BOB, "");
    assert_eq!(page.status, 400);
    assert_eq!(post(&client, BOB, &hidden(&page, "attempt")).status, 303);
}

#[test]
fn a_form_left_open_for_two_hours_is_stale() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let token = form_of(&client, "/work");
    gateway.advance(2 * 3600 - 1);
    assert_eq!(post(&client, ALICE, &token).header("location"), "/work");
    let client = gateway.client();
    let token = form_of(&client, "/work");
    gateway.advance(2 * 3600);
    let stale = post(&client, ALICE, &token);
    assert_eq!((stale.status, client.session().as_str()), (400, ""));
    assert!(stale.text().contains("open for too long"));
    assert_eq!(post(&client, ALICE, &hidden(&stale, "attempt")).status, 303);
}

#[test]
fn altered_and_foreign_forms_are_refused() {
    let (gateway, other) = (Setup::new().start(), Setup::new().start());
    let client = gateway.client();
    let token = form_of(&client, "/");
    let foreign = {
        let stranger = other.client();
        *stranger.jar.borrow_mut() = client.jar.borrow().clone();
        form_of(&stranger, "/")
    };
    let link = client.visit("/").send().header("location").split_once('=').expect("a token").1.to_owned();
    let (first, last) = token.split_at(token.len() - 1);
    let altered = format!("{first}{}", if last == "A" { "B" } else { "A" });
    for wrong in [&*altered, first, &foreign, &link, "", "x", &"A".repeat(5_000)] {
        let answer = post(&client, ALICE, wrong);
        assert_eq!((answer.status, client.session().as_str()), (400, ""), "{wrong}");
    }
    assert_eq!(post(&client, ALICE, &token).status, 303);
}

#[test]
fn a_login_that_another_site_posts_is_refused() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let token = form_of(&client, "/");
    let body = format!("username={}&password={}&attempt={token}", BOB.0, BOB.1.replace(' ', "+"));
    let form = || {
        let request = client.request(http::Method::POST, "/.vestibule/login").body(body.clone());
        request.header("content-type", "application/x-www-form-urlencoded")
    };
    let own = format!("https://{}", client.authority());
    let refused = [
        form().header("sec-fetch-site", "cross-site"),
        form().header("sec-fetch-site", "same-site").header("origin", &own),
        form().header("origin", "https://evil.test"),
        form().header("origin", "null"),
        form().header("origin", &own.replace("https", "http")),
        form().header("origin", &format!("{own}.evil.test")),
        form().header("origin", ""),
        form().header("origin", "https://localhost"),
        form().header("referer", "https://evil.test/.vestibule/login"),
        form().header("referer", &format!("{own}@evil.test/")),
        form()
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "iframe"),
    ];
    for request in refused {
        let answer = request.send();
        assert_eq!((answer.status, client.session().as_str()), (403, ""), "{}", answer.text());
        assert_eq!(answer.json()["reason"], "cross_site");
    }
    // A script of the application, under the same origin.
    let script = form().header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "cors");
    let answer = script.header("sec-fetch-dest", "empty").send();
    assert_eq!((answer.status, client.session().as_str()), (403, ""), "{}", answer.text());
    assert_eq!(answer.json()["reason"], "not_navigation");
    // A frame of the application's own, whose person is told so.
    let framed = form().header("sec-fetch-site", "same-origin").header("sec-fetch-mode", "navigate");
    let answer = framed.header("sec-fetch-dest", "iframe").send();
    assert_eq!((answer.status, client.session().as_str()), (403, ""), "{}", answer.text());
    assert!(
        answer.text().contains("This was not carried out") && !answer.text().contains("<form"),
        "{}",
        answer.text()
    );
    assert!(gateway.sessions_of("bob").is_empty());
    let by_hand = form().without_origin().send();
    assert_eq!(by_hand.status, 303, "who says nothing of an origin is no browser: {}", by_hand.text());
}

#[test]
fn two_tabs_with_a_form_each_both_work() {
    let gateway = Setup::new().start();
    let browser = gateway.client();
    let (one, two) = (form_of(&browser, "/one"), form_of(&browser, "/two"));
    assert_eq!(post(&browser, ALICE, &one).header("location"), "/one");
    let first = browser.session();
    assert_eq!(post(&browser, ALICE, &two).header("location"), "/two");
    assert_eq!(gateway.sessions_of("alice").len(), 1, "the second took the place of the first");
    assert_eq!(browser.get("/two").send().status, 200);
    assert_eq!(holder(&gateway, &first).get("/").send().status, 401);
    // A tab whose login page was opened before the other signed in.
    let browser = gateway.client();
    let (early, late) = (form_of(&browser, "/early"), form_of(&browser, "/late"));
    assert_eq!(post(&browser, BOB, &late).header("location"), "/late");
    assert_eq!(post(&browser, BOB, &early).header("location"), "/early");
}
