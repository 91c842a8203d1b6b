//! What is kept of forms, over several tabs and people: who is asked for their password once more and who is not, what
//! somebody sees of theirs, and what they are told when nothing could be kept.

use http::Method;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Request, Setup, Version, hidden};
use super::parked::{LUNCH, URLENCODED, all_kept, count, decide, kept, post, post_text, sign_in, told};

const LIST: &str = "/.vestibule/parked";

/// Follows where somebody is led who must sign in, and gives what they are shown there.
fn login_page(client: &Client, led: &Answer) -> Answer {
    assert!(matches!(led.status, 302 | 303), "{}", led.text());
    client.visit(led.header("location")).send()
}

/// The addresses that the list leads to.
fn listed(page: &Answer) -> Vec<String> {
    assert_eq!(page.status, 200, "{}", page.text());
    let text = page.text();
    let links = text.split("href=\"/.vestibule/parked/").skip(1).map(|rest| rest.split('"').next().expect("an end"));
    links.map(|id| format!("{LIST}/{id}")).collect()
}

fn discard<'a>(client: &'a Client, page: &Answer, path: &str) -> Request<'a> {
    let id = path.rsplit('/').next().expect("an id");
    client.post_form(LIST, &[("token", &*hidden(page, "token")), ("discard", id)])
}

#[test]
fn a_form_of_plain_text_is_kept_and_sent_as_it_was() {
    let gateway = Setup::new().start();
    let body: &[u8] =
        b"name=J\xfcrgen\r\nnote=line 1\r\nline=2\r\nno sign\r\npassword=hunter2\r\nmore of it\r\nempty=\r\n";
    for kind in ["text/plain", "Text/Plain; charset=ISO-8859-1"] {
        let client = gateway.signed_in(ALICE);
        gateway.advance(LUNCH);
        gateway.application.forget();
        let (path, page) = kept(&client, post(&client, "/save/echo", kind, body));
        let text = page.text();
        for part in ["J\u{fffd}rgen", "line 1", "no sign", "entered, not shown here"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("more of it"), "{text}");
        assert_eq!(&*decide(&client, &path, &page, "send").send().body, body);
        assert_eq!(gateway.application.last().header("content-type"), Some(kind));
        gateway.revoke("alice");
    }
}

#[test]
fn what_cannot_be_kept_is_said_before_the_password_is_asked_for() {
    let late = |setup: Setup| {
        let gateway = setup.start();
        let client = gateway.signed_in(ALICE);
        gateway.advance(LUNCH);
        (gateway, client)
    };
    let small = "[session.parked_posts]\nmax_size = \"1KiB\"\nper_user = 1";
    let (gateway, client) = late(Setup::new().extra(small));
    let send = |kind: &str, body: &str| told(&client, &post(&client, "/save", kind, body.to_owned()).send());
    assert!(send(URLENCODED, &"a".repeat(1025)).contains("was not carried out. It is too large to be kept here"));
    for kind in ["application/json", "multipart/mixed; boundary=x", "text/html"] {
        let words = send(kind, "a");
        assert!(
            words.contains("was not carried out") && words.contains("not a form that can be kept"),
            "{kind}: {words}"
        );
    }
    assert!(send(URLENCODED, "a=1").contains("is kept for you"));
    assert!(send(URLENCODED, "a=2").contains("other things that you sent are being kept already"));
    assert_eq!(count(&gateway, "other_kind"), 3);
    gateway.log.wait_for(&["audit post.not_parked", "user=alice", "reason=other_kind"]);
    // Where nothing is kept at all.
    let (_gateway, client) = late(Setup::new().extra("[session.parked_posts]\nkeep = \"off\""));
    let words = told(&client, &post_text(&client, "/save", "a=1").send());
    assert!(words.ends_with("What you sent was not carried out: sign in, then send it again."), "{words}");
}

#[test]
fn the_second_tab_goes_on_without_the_password() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (first, second) = (post_text(&client, "/a", "a=1").send(), post_text(&client, "/b/echo", "b=2").send());
    let page = client.visit("/c?x").send();
    // Both tabs stand at the login page, which says how to go on from another.
    let waiting = login_page(&client, &second);
    assert!(hidden(&waiting, "attempt").len() > 20);
    let (_, link) = waiting
        .text()
        .split_once("class=\"quiet\" href=\"")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .expect("a link");
    let link = link.split('"').next().expect("its end").to_owned();
    gateway.advance(2);
    assert!(client.visit(&link).send().text().contains("name=\"password\""), "nobody has signed in yet");
    gateway.advance(2);
    let to = sign_in(&client, &first, ALICE).header("location").to_owned();
    assert!(client.visit(&to).send().text().contains("POST <bdi>/a</bdi>"));
    // The second is loaded again, or follows its link.
    for link in [second.header("location"), &*link] {
        let on = client.visit(link).send();
        assert_eq!(on.status, 303, "{}", on.text());
        let to = on.header("location");
        let question = client.visit(to).send();
        assert!(question.text().contains("POST <bdi>/b/echo</bdi>"), "{}", question.text());
    }
    // So does one that only wanted to see a page.
    let on = client.visit(page.header("location")).send();
    assert_eq!((on.status, on.header("location")), (303, "/c?x"));
    let to = client.visit(&link).send().header("location").to_owned();
    let question = client.visit(&to).send();
    let path = to.split('?').next().expect("a path");
    assert_eq!(&*decide(&client, path, &question, "send").send().body, b"b=2");
}

#[test]
fn only_who_has_proved_it_since_goes_on() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/pay\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    // Whoever is asked for their password again although they are signed in has not proved it since.
    gateway.advance(5 * 60);
    let led = post_text(&client, "/pay", "a=1").send();
    assert!(login_page(&client, &led).text().contains("name=\"password\""));
    let copy = gateway.client();
    copy.set_session(&client.session());
    assert!(copy.visit(led.header("location")).send().text().contains("name=\"password\""), "another browser");
    // Nor has somebody else, nor somebody who has left again.
    let ended = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (form, page) = (post_text(&ended, "/save", "a=1").send(), ended.visit("/private?of=alice").send());
    gateway.advance(1);
    ended.sign_in_at("/.vestibule/login", BOB);
    for led in [&form, &page] {
        let shown = login_page(&ended, led);
        assert!(shown.status == 200 && shown.text().contains("name=\"password\""), "{}", shown.text());
    }
    ended.sign_in_at("/.vestibule/login", ALICE);
    assert_eq!(login_page(&ended, &page).header("location"), "/private?of=alice");
    assert_eq!(ended.post_form("/.vestibule/logout", &[]).send().status, 200);
    assert!(login_page(&ended, &page).text().contains("name=\"password\""));
    // Signed in since, and locked or ended meanwhile: asked, and not sent round in circles.
    ended.sign_in_at("/.vestibule/login", ALICE);
    gateway.advance(LUNCH);
    assert!(login_page(&ended, &page).text().contains("name=\"password\""));
}

#[test]
fn somebody_else_is_led_to_nowhere_of_theirs() {
    for lock in ["", "[session.lifetime]\non_idle = \"lock\""] {
        let gateway = Setup::new().extra(lock).start();
        for request in ["page", "form"] {
            let client = gateway.signed_in(ALICE);
            gateway.advance(LUNCH);
            let led = match request {
                "page" => client.visit("/private?of=alice").send(),
                _ => post_text(&client, "/private/save", "a=1").send(),
            };
            let page = login_page(&client, &led);
            // Also not after a wrong password.
            let send = |password| {
                let fields = [("username", BOB.0), ("password", password), ("attempt", &*hidden(&page, "attempt"))];
                client.post_form("/.vestibule/login", &fields).send()
            };
            assert_eq!(send("wrong").status, 401);
            let answer = send(BOB.1);
            assert_eq!((answer.status, answer.header("location")), (303, "/"), "{request} {lock}");
            gateway.revoke("alice");
        }
    }
    // Of who had no session, nobody was there before.
    let gateway = Setup::new().start();
    assert_eq!(gateway.client().sign_in(BOB, "/page?x").header("location"), "/page?x");
}

#[test]
fn somebody_else_who_must_choose_is_led_to_nowhere_of_theirs_either() {
    let gateway = Setup::new().extra("[session.concurrency]\nmax_sessions = 1\nwhen_full = \"ask\"").start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let _elsewhere = gateway.signed_in(BOB);
    let page = login_page(&client, &client.visit("/private?of=alice").send());
    let fields = [("username", BOB.0), ("password", BOB.1), ("attempt", &*hidden(&page, "attempt"))];
    let asked = client.post_form("/.vestibule/login", &fields).send();
    let (choice, end) = (hidden(&asked, "choice"), gateway.sessions_of("bob")[0].handle().to_string());
    let answer = client.post_form("/.vestibule/login/choose", &[("choice", &*choice), ("end", &*end)]).send();
    assert_eq!((answer.status, answer.header("location")), (303, "/"), "{}", answer.text());
}

#[test]
fn a_form_that_meets_a_locked_session_is_kept() {
    let gateway = Setup::new().extra("[session.lifetime]\non_idle = \"lock\"").start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(LUNCH);
        gateway.application.forget();
        let led = post_text(&client, "/save/echo", "a=kept").send();
        let words = told(&client, &led);
        assert!(words.starts_with("Your session was locked") && words.contains("is kept for you"), "{words}");
        assert!(gateway.sessions_of("alice")[0].is_locked());
        // A second one, while it is locked.
        assert_eq!(post_text(&client, "/save/echo", "a=second").send().status, 303);
        assert_eq!(all_kept(&gateway), 2);
        let to = sign_in(&client, &led, ALICE).header("location").to_owned();
        let page = client.visit(&to).send();
        let path = to.split('?').next().expect("a path");
        gateway.application.assert_untouched();
        assert_eq!(&*decide(&client, path, &page, "send").send().body, b"a=kept");
        assert_eq!(gateway.application.received().len(), 1);
        // And one that is kept waits behind the lock, too.
        gateway.advance(LUNCH / 4);
        let rest = listed(&client.visit(LIST).send());
        assert_eq!(rest.len(), 1);
        assert_eq!(client.visit(&rest[0]).send().status, 200);
        assert_eq!(discard(&client, &client.visit(LIST).send(), &rest[0]).send().status, 303);
        gateway.revoke("alice");
    }
    assert_eq!(all_kept(&gateway), 0);
}

#[test]
fn somebody_sees_what_is_kept_of_theirs_and_throws_it_away() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    assert!(client.visit(LIST).send().text().contains("Nothing is kept"));
    assert!(!client.visit("/.vestibule/sessions").send().text().contains(LIST), "there is nothing to see");
    gateway.advance(LUNCH);
    let first = post_text(&client, "/save?secret=1", "a=1").send();
    gateway.advance(120);
    assert_eq!(post_text(&client, "/upload", &"x".repeat(3000)).send().status, 303);
    sign_in(&client, &first, ALICE);
    assert!(client.visit("/.vestibule/sessions").send().text().contains(&format!("href=\"{LIST}\"")));
    let page = client.visit(LIST).send();
    let text = page.text();
    for part in ["2 minutes ago", "/upload", "3 KiB", "13 minutes", "15 minutes"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("secret=1") && page.header("cache-control") == "no-store");
    let all = listed(&page);
    assert_eq!(all.len(), 2);
    for path in &all {
        assert_eq!(client.visit(path).send().status, 200, "{path}");
    }
    // Only by its person's own word, and on that very page.
    let token = hidden(&page, "token");
    let id = all[0].rsplit('/').next().expect("an id");
    let fields = [("token", &*token), ("discard", id)];
    let foreign = client.post_form(LIST, &fields).without("sec-fetch-site").header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.send().status, 403);
    assert_eq!(
        client.post_form(LIST, &fields).without("sec-fetch-mode").header("sec-fetch-mode", "cors").send().status,
        403
    );
    for wrong in ["", "x", &*hidden(&client.visit(&all[0]).send(), "token")] {
        assert_eq!(client.post_form(LIST, &[("token", wrong), ("discard", id)]).send().header("location"), LIST);
    }
    assert_eq!(client.post_form(LIST, &[("token", &*token)]).send().status, 400);
    assert_eq!(client.request(Method::PUT, LIST).send().status, 405);
    assert_eq!(all_kept(&gateway), 2);
    for (left, path) in [(1, &all[0]), (0, &all[1]), (0, &all[1])] {
        let answer = discard(&client, &page, path).send();
        assert_eq!((answer.status, answer.header("location"), all_kept(&gateway)), (303, LIST, left));
    }
    assert_eq!(count(&gateway, "discarded"), 2);
    gateway.log.wait_for(&["audit post.discarded", "user=alice", "path=/upload"]);
    assert_eq!(client.request(Method::HEAD, LIST).navigating().send().body.len(), 0);
}

#[test]
fn whether_anything_is_kept_is_known_by_the_first_that_is_found() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let led = post_text(&client, "/save", "a=1").send();
    for _ in 0..2 {
        assert_eq!(post_text(&client, "/save", "a=1").send().status, 303);
    }
    sign_in(&client, &led, ALICE);
    let opened = || {
        let text = gateway.running().shared.render_metrics();
        let line = "vestibule_store_operation_duration_seconds_count{operation=\"kv_get\"} ";
        let found = text.lines().find_map(|found| found.strip_prefix(line));
        found.map_or(0, |count| count.parse::<u64>().expect("a number"))
    };
    let before = opened();
    assert!(client.visit("/.vestibule/sessions").send().text().contains(&format!("href=\"{LIST}\"")));
    assert_eq!(opened() - before, 1);
    assert_eq!(listed(&client.visit(LIST).send()).len(), 3);
    assert_eq!(opened() - before, 4);
}

#[test]
fn nobody_else_sees_the_list() {
    let mut setup = Setup::new();
    setup.certificates = vec![vec!["localhost", "other.test"]];
    let gateway: Gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let led = post_text(&client, "/save", "a=1").send();
    sign_in(&client, &led, ALICE);
    let page = client.visit(LIST).send();
    let all = listed(&page);
    assert_eq!(all.len(), 1);
    // The same person elsewhere, somebody else, and another host.
    let (elsewhere, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    for other in [&elsewhere, &bob] {
        let seen = other.visit(LIST).send();
        assert!(listed(&seen).is_empty() && seen.text().contains("Nothing is kept"));
        assert!(!other.visit("/.vestibule/sessions").send().text().contains(LIST));
        // Whoever has a page of their own throws nothing of hers away.
        assert_eq!(discard(other, &page, &all[0]).send().status, 303);
    }
    assert!(listed(&client.visit(LIST).header("host", "other.test").send()).is_empty());
    assert_eq!(client.get(LIST).header("sec-fetch-mode", "cors").send().status, 403);
    let stranger = gateway.client().visit(LIST).send();
    assert!(stranger.status == 302 && stranger.header("location").starts_with("/.vestibule/login?return="));
    assert_eq!((all_kept(&gateway), count(&gateway, "discarded")), (1, 0));
    // Somebody else in the same browser.
    client.sign_in_at("/.vestibule/login", BOB);
    assert!(listed(&client.visit(LIST).send()).is_empty());
    let off = Setup::new().extra("[session.parked_posts]\nkeep = \"off\"").start();
    assert_eq!(off.signed_in(ALICE).visit(LIST).send().status, 404);
}

#[test]
fn a_wrong_password_does_not_unsay_that_something_is_kept() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let kept = post_text(&client, "/save", "a=1").send();
    let read = client.visit("/read").send();
    for (led, is_kept) in [(&kept, true), (&read, false)] {
        let page = login_page(&client, led);
        let fields = [("username", ALICE.0), ("password", "wrong"), ("attempt", &*hidden(&page, "attempt"))];
        let again = client.post_form("/.vestibule/login", &fields).send();
        assert_eq!(again.status, 401);
        assert_eq!(again.text().contains("What you sent is still kept for you."), is_kept, "{}", again.text());
        assert_eq!(again.text().matches("role=\"status\"").count(), usize::from(is_kept));
    }
}

#[test]
fn the_second_tab_goes_on_without_the_password_after_a_wrong_one_too() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (first, second) = (post_text(&client, "/a", "a=1").send(), post_text(&client, "/b/echo", "b=2").send());
    let waiting = login_page(&client, &second);
    gateway.advance(2);
    sign_in(&client, &first, ALICE);
    gateway.advance(2);
    // In the second tab the password is typed all the same, and wrong.
    let fields = [("username", ALICE.0), ("password", "wrong"), ("attempt", &*hidden(&waiting, "attempt"))];
    let again = client.post_form("/.vestibule/login", &fields).send();
    assert_eq!(again.status, 401);
    let text = again.text();
    let link = text.split_once("class=\"quiet\" href=\"").expect("a link").1.split('"').next().expect("its end");
    let on = client.visit(link).send();
    assert_eq!(on.status, 303, "{}", on.text());
    let question = client.visit(on.header("location")).send();
    assert!(question.text().contains("POST <bdi>/b/echo</bdi>"), "{}", question.text());
}
