//! Nobody loses what they have filled in: a form that meets an ended session is kept, shown to its person, and sent once.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use http::Method;
use vestibule::app::{self, Parts};
use vestibule::base::clock::{Clock, Timestamp};
use vestibule::base::random::Random;
use vestibule::config::Plan;
use vestibule::enforce::reloads::Cause;
use vestibule::reader::Document;
use vestibule::session::kv::{Entry, Expected, KvStore, Space};
use vestibule::session::store::StoreError;

use super::harness::{
    ALICE, Answer, BOB, Client, Gateway, Line, Request, Scripted, Setup, Version, advance_until, hidden, nobody,
};

pub(super) const URLENCODED: &str = "application/x-www-form-urlencoded";

/// Half an hour and a second: longer than a session may be idle.
pub(super) const LUNCH: u64 = 30 * 60 + 1;

/// A form as a browser sends it from a page of the application.
pub(super) fn post<'a>(client: &'a Client, target: &str, kind: &str, body: impl Into<bytes::Bytes>) -> Request<'a> {
    let origin = format!("https://{}", client.authority());
    client
        .request(Method::POST, target)
        .navigating()
        .header("origin", &origin)
        .header("referer", &format!("{origin}/orders/form?of=7"))
        .header("content-type", kind)
        .body(body)
}

/// A short one.
pub(super) fn post_text<'a>(client: &'a Client, target: &str, body: &str) -> Request<'a> {
    post(client, target, URLENCODED, body.to_owned())
}

/// Goes where somebody is led who must sign in, does so, and gives the answer.
pub(super) fn sign_in(client: &Client, led: &Answer, (name, password): (&str, &str)) -> Answer {
    assert_eq!(led.status, 303, "{}", led.text());
    let page = client.visit(led.header("location")).send();
    let fields = [("username", name), ("password", password), ("attempt", &*hidden(&page, "attempt"))];
    let answer = client.post_form("/.vestibule/login", &fields).send();
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer
}

/// What the login page says to who is led there.
pub(super) fn told(client: &Client, led: &Answer) -> String {
    assert_eq!(led.status, 303, "{}", led.text());
    let text = client.visit(led.header("location")).send().text();
    text.split_once("role=\"status\">")
        .and_then(|(_, rest)| rest.split_once('<'))
        .map_or("", |(words, _)| words)
        .to_owned()
}

/// Sends a form, signs in again, and gives the page of what was kept, with its address.
pub(super) fn kept(client: &Client, request: Request<'_>) -> (String, Answer) {
    let led = request.send();
    let to = sign_in(client, &led, ALICE).header("location").to_owned();
    assert!(to.starts_with("/.vestibule/parked/"), "{to}");
    let page = client.visit(&to).send();
    assert_eq!(page.status, 200, "{}", page.text());
    (to.split('?').next().expect("a path").to_owned(), page)
}

/// Says what is to become of it.
pub(super) fn decide<'a>(client: &'a Client, path: &str, page: &Answer, what: &str) -> Request<'a> {
    client.post_form(path, &[("token", &*hidden(page, "token")), ("do", what)])
}

pub(super) fn count(gateway: &Gateway, what: &str) -> u64 {
    let text = gateway.running().shared.render_metrics();
    let line = format!("vestibule_parked_posts_total{{reason=\"{what}\"}} ");
    let found = text.lines().find_map(|found| found.strip_prefix(&line));
    found.unwrap_or_else(|| panic!("no {what} in {text}")).parse().expect("a number")
}

/// How many are kept, of all people.
pub(super) fn all_kept(gateway: &Gateway) -> usize {
    let shared = &gateway.running().shared;
    gateway.block_on(shared.values.list(Space::Parked, "", 1000, shared.clock.now())).expect("the store works").len()
}

#[test]
fn a_form_that_meets_an_ended_session_is_sent_once_and_as_it_was() {
    let gateway = Setup::new().start();
    let body: &[u8] = b"a=%00%FF&b=+%2b&text=two%0D%0Alines&raw=\xff\x01 \n&&=;&d&a=again";
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(LUNCH);
        gateway.application.forget();
        let kind = "application/x-www-form-urlencoded; charset=ISO-8859-1";
        let request = post(&client, "/orders/echo?x=%2F&y", kind, body).header("accept-language", "fr");
        let led = request.send();
        let words = told(&client, &led);
        assert_eq!(
            words,
            "You were signed out because nothing happened for a while. To go on, please sign in again. What you sent is kept \
             for you. Once you have signed in, you can look at it and send it."
        );
        let to = sign_in(&client, &led, ALICE).header("location").to_owned();
        gateway.advance(100);
        let page = client.visit(&to).send();
        let text = page.text();
        for part in [
            "POST <bdi>/orders/echo?x=%2F&#38;y</bdi>",
            "two\r\nlines",
            "\u{fffd}\u{fffd}",
            "2 minutes ago",
            "14 minutes",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.contains(&client.authority()) && page.header("cache-control") == "no-store");
        gateway.application.assert_untouched();
        let path = to.split('?').next().expect("a path");
        // Sent to its own address, so that what is relative in the answer leads where it should.
        let (_, action) = text.split_once("formaction=\"").expect("a button");
        let action = action.split('"').next().expect("an address").replace("&#38;", "&");
        assert!(action.starts_with("/orders/echo?x=%2F&y&.vestibule-parked="), "{action}");
        let answer = decide(&client, &action, &page, "send").header("accept-language", "de").send();
        assert_eq!((answer.status, &*answer.body), (200, body));
        assert_eq!(answer.header("x-application"), "yes");
        let all = gateway.application.received();
        assert_eq!(all.len(), 1, "{all:?}");
        let got = &all[0];
        assert_eq!(
            (&got.method, got.uri.to_string(), &*got.body),
            (&Method::POST, "/orders/echo?x=%2F&y".to_owned(), body)
        );
        assert_eq!(got.header("content-type"), Some(kind));
        assert_eq!(got.header("content-length"), Some(&*body.len().to_string()));
        assert_eq!(got.header("x-forwarded-user"), Some("alice"));
        assert_eq!(got.header("accept-language"), Some("de"), "as it is now");
        let origin = format!("https://{}", client.authority());
        assert_eq!(got.header("origin"), Some(&*origin));
        assert_eq!(got.header("referer"), Some(&*format!("{origin}/orders/form?of=7")));
        assert!(!got.mentions("__Host-session"));
        // A reload of the answer, and the way back.
        assert_eq!(decide(&client, &action, &page, "send").send().status, 404);
        assert_eq!(decide(&client, path, &page, "send").send().status, 404);
        assert_eq!(client.visit(path).send().status, 404);
        assert_eq!(gateway.application.received().len(), 1);
        gateway.revoke("alice");
    }
    gateway.log.wait_for(&["audit post.parked", "user=alice", "path=/orders/echo"]);
    gateway.log.wait_for(&["audit post.sent", "user=alice", "path=/orders/echo"]);
    assert_eq!((count(&gateway, "parked"), count(&gateway, "sent"), all_kept(&gateway)), (2, 2, 0));
}

#[test]
fn a_form_with_a_file_is_sent_as_it_was() {
    let gateway = Setup::new().start();
    let file: Vec<u8> = (0..300_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let head = b"--xYz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nfor you\r\n--xYz\r\nContent-Disposition: form-data; \
                 name=\"scan\"; filename=\"caf\xc3\xa9.pdf\"\r\nContent-Type: application/pdf\r\n\r\n";
    let body = [&head[..], &file, b"\r\n--xYz--\r\n"].concat();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(LUNCH);
        gateway.application.forget();
        let request = post(&client, "/upload", "multipart/form-data; boundary=xYz", body.clone());
        let (path, page) = kept(&client, request);
        let text = page.text();
        for part in ["for you", "File <bdi>caf\u{e9}.pdf</bdi>", "(293 KiB)"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(decide(&client, &path, &page, "send").send().status, 200);
        let all = gateway.application.received();
        assert_eq!(all.len(), 1);
        assert!(*all[0].body == *body, "to the byte");
        assert_eq!(all[0].header("content-type"), Some("multipart/form-data; boundary=xYz"));
        gateway.revoke("alice");
    }
}

#[test]
fn a_form_that_asks_for_the_password_again_is_kept_too() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/pay\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(5 * 60);
    gateway.application.forget();
    let (path, page) = kept(&client, post_text(&client, "/pay", "amount=12"));
    // Whoever thinks about it for too long is asked once more, and nothing is lost.
    gateway.advance(5 * 60);
    let led = decide(&client, &path, &page, "send").send();
    gateway.application.assert_untouched();
    assert_eq!(all_kept(&gateway), 1);
    let to = sign_in(&client, &led, ALICE).header("location").to_owned();
    assert_eq!(to.split('?').next(), Some(&*path), "it is the same, and for as long");
    let page = client.visit(&to).send();
    assert!(page.text().contains("5 minutes ago") && page.text().contains("another 10 minutes"), "{}", page.text());
    assert_eq!(decide(&client, &path, &page, "send").send().status, 200);
    let all = gateway.application.received();
    assert_eq!((all.len(), &*all[0].body), (1, &b"amount=12"[..]));
}

#[test]
fn nobody_else_sees_it_and_nobody_learns_that_it_is_there() {
    let mut setup = Setup::new();
    setup.certificates = vec![vec!["localhost", "other.test"]];
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    gateway.application.forget();
    let led = post_text(&client, "/save", "diary=dear").send();
    // Somebody else signs in where she was, and is led to nowhere of hers.
    assert_eq!(sign_in(&client, &led, BOB).header("location"), "/");
    assert_eq!(all_kept(&gateway), 1, "it stays for its owner");
    let name = gateway.block_on(async {
        let shared = &gateway.running().shared;
        shared.values.list(Space::Parked, "", 1, shared.clock.now()).await.expect("the store works")
    });
    let id = name[0].split_once('/').expect("a name").1.to_owned();
    let (path, no_path) = (format!("/.vestibule/parked/{id}"), format!("/.vestibule/parked/{}", "A".repeat(27)));
    let (there, nowhere) = (client.visit(&path).send(), client.visit(&no_path).send());
    assert_eq!((there.status, nowhere.status), (404, 404));
    // But for what each says of itself.
    let shown = |page: &Answer| page.text().replace(page.header("x-request-id"), "");
    assert_eq!(shown(&there), shown(&nowhere), "one is like the other");
    let sizes: Vec<_> = ["content-length", "set-cookie"].iter().map(|name| there.header(name).len()).collect();
    assert_eq!(sizes, ["content-length", "set-cookie"].map(|name| nowhere.header(name).len()));
    for do_what in ["send", "discard"] {
        let answer = client.post_form(&path, &[("token", "x"), ("do", do_what)]).send();
        assert_eq!(answer.status, 404);
    }
    // Nor does who is not signed in, who is led to sign in for either.
    let stranger = gateway.client();
    for path in [&path, &no_path] {
        let answer = stranger.visit(path).send();
        assert_eq!(answer.status, 302);
        assert!(answer.header("location").starts_with("/.vestibule/login?return="));
        assert_eq!(stranger.post_form(path, &[("token", "x"), ("do", "send")]).send().status, 303);
    }
    // Nor the same person elsewhere: who has a copy of an old cookie cannot lay a form in front of its owner.
    let elsewhere = gateway.signed_in(ALICE);
    assert_eq!(elsewhere.visit(&path).send().status, 404);
    // Nor by another name of the host, nor a script of the application.
    assert_eq!(sign_in(&client, &led, ALICE).header("location").split('?').next(), Some(&*path));
    assert_eq!(client.visit(&path).header("host", "other.test").send().status, 404);
    assert_eq!(client.get(&path).header("sec-fetch-mode", "cors").send().status, 403);
    assert_eq!(client.visit(&path).send().status, 200);
    gateway.application.assert_untouched();
}

#[test]
fn of_two_who_send_it_at_once_one_does() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE).speaking(Version::H2);
    for round in 0..10 {
        gateway.advance(LUNCH);
        gateway.application.forget();
        let (path, page) = kept(&client, post_text(&client, "/save", &format!("round={round}")));
        let answers = client.together((0..4).map(|_| decide(&client, &path, &page, "send")).collect());
        let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 404, 404, 404]);
        assert_eq!(gateway.application.received().len(), 1);
    }
}

/// Two people at one browser, so that nothing but whose it is keeps them apart.
#[test]
fn a_store_that_mixes_names_up_shows_nobody_what_is_somebody_elses() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let hers = post_text(&client, "/save", "a=hers").send();
    assert_eq!(sign_in(&client, &hers, BOB).header("location"), "/", "somebody else is not led to it");
    gateway.revoke("bob");
    let his = post_text(&client, "/save", "a=his").send();
    let to = sign_in(&client, &his, BOB).header("location").to_owned();
    assert!(client.visit(&to).send().text().contains("his"));
    let shared = &gateway.running().shared;
    let (values, now) = (&shared.values, shared.clock.now());
    let names = gateway.block_on(values.list(Space::Parked, "", 10, now)).expect("it works");
    let entry =
        |name: &String| gateway.block_on(values.get(Space::Parked, name, now)).expect("it works").expect("there");
    let [first, second] = [&names[0], &names[1]].map(entry);
    for (name, Entry { value, expires_at, .. }) in names.iter().zip([second, first]) {
        let put = values.put_if(Space::Parked, name, Expected::Whatever, value, expires_at, now);
        assert!(gateway.block_on(put).expect("it works").is_some());
    }
    let answer = client.visit(&to).send();
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(!answer.text().contains("hers"));
}

#[test]
fn what_the_confirmation_says_of_its_own_body_is_not_said_of_the_form() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/orders/echo", "a=1"));
    let confirmed = decide(&client, &path, &page, "send").header("content-encoding", "identity").send();
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let last = gateway.application.last();
    assert_eq!((last.header("content-encoding"), last.header("content-length")), (None, Some("3")));
}

#[test]
fn only_the_person_s_own_word_sends_it() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/save", "a=1"));
    gateway.application.forget();
    let token = hidden(&page, "token");
    let fields = [("token", &*token), ("do", "send")];
    // Another site, in each of the ways that browsers say so.
    for (name, value) in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.test")]
    {
        let request = client.post_form(&path, &fields).without("sec-fetch-site").without("origin").header(name, value);
        assert_eq!(request.send().status, 403, "{name}: {value}");
    }
    // A script of the application's own.
    let request = client.post_form(&path, &fields).without("sec-fetch-mode").header("sec-fetch-mode", "cors");
    assert_eq!(request.send().status, 403);
    // Without what the page has in it, or with that of another page or session.
    let (other, other_page) = kept(&client, {
        gateway.advance(LUNCH);
        post_text(&client, "/save", "b=2")
    });
    for wrong in ["", "x", &*token] {
        let answer = client.post_form(&other, &[("token", wrong), ("do", "send")]).send();
        assert_eq!((answer.status, answer.header("location")), (303, &*other), "{wrong}");
    }
    for answer in [
        client.post_form(&other, &[("token", &*hidden(&other_page, "token"))]).send(),
        client.post_form(&other, &[("do", "maybe")]).send(),
    ] {
        assert_eq!(answer.status, 400);
    }
    assert_eq!(client.request(Method::PUT, &other).send().status, 405);
    gateway.application.assert_untouched();
    assert_eq!(all_kept(&gateway), 1, "the first one's time is over");
}

#[test]
fn an_address_that_could_be_read_as_another_place_is_not_sent_to_from_the_page() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    gateway.application.forget();
    let (path, page) = kept(&client, post_text(&client, "//evil.test/save", "a=1"));
    assert!(page.text().contains(&format!("formaction=\"{path}\"")), "{}", page.text());
    assert_eq!(decide(&client, &path, &page, "send").send().status, 200);
    let sent = gateway.application.last();
    // As an application is sent it anyway.
    assert_eq!(post_text(&client, "//evil.test/save", "a=1").send().status, 200);
    assert_eq!((sent.uri, sent.body), (gateway.application.last().uri, gateway.application.last().body));
    // The ending of an address says nothing by itself.
    for target in [
        "/save?.vestibule-parked=",
        "/save?x.vestibule-parked=AAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "/save?a&.vestibule-parked=AAA",
    ] {
        assert_eq!(post_text(&client, target, "a=1").send().status, 200, "{target}");
        assert_eq!(gateway.application.last().uri.to_string(), target);
    }
    let answer = post_text(&client, "/save?.vestibule-parked=AAAAAAAAAAAAAAAAAAAAAAAAAAA", "do=send&token=x").send();
    assert_eq!(answer.status, 404);
}

#[test]
fn what_is_thrown_away_is_gone_and_its_person_is_back_where_they_were() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    gateway.application.forget();
    let (path, page) = kept(&client, post_text(&client, "/save;v=1?secret=7", "a=1"));
    let answer = decide(&client, &path, &page, "discard").send();
    assert_eq!((answer.status, answer.header("location")), (303, "/orders/form?of=7"));
    assert_eq!(client.visit(&path).send().status, 404);
    assert_eq!(decide(&client, &path, &page, "send").send().status, 404);
    gateway.application.assert_untouched();
    gateway.log.wait_for(&["audit post.discarded", "user=alice", "path=/save;*"]);
    assert!(!gateway.log.text().contains("secret=7"));
    assert_eq!((count(&gateway, "discarded"), all_kept(&gateway)), (1, 0));
}

#[test]
fn what_is_too_large_is_not_kept_and_its_person_is_told() {
    let gateway = Setup::new().extra("[session.parked_posts]\nmax_size = \"2KiB\"").start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(LUNCH);
        gateway.application.forget();
        let led = post_text(&client, "/save", &"a".repeat(2049)).send();
        let words = told(&client, &led);
        assert!(words.ends_with("It is too large to be kept here: sign in, then send it again."), "{words}");
        assert_eq!(sign_in(&client, &led, ALICE).header("location"), "/orders/form?of=7");
        gateway.advance(LUNCH);
        let (_, page) = kept(&client, post_text(&client, "/save", &"a".repeat(2048)));
        assert!(page.text().contains("and 928 more characters") || page.text().contains("left empty"));
        gateway.application.assert_untouched();
        gateway.revoke("alice");
    }
    // Who does not say how much it is, is stopped when it is too much.
    let client = gateway.signed_in(ALICE);
    gateway.revoke("alice");
    let head = format!(
        "POST /save HTTP/1.1\r\nHost: {0}\r\nOrigin: https://{0}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Sec-Fetch-Site: same-origin\r\nContent-Type: {URLENCODED}\r\nUser-Agent: {1}\r\nCookie: {2}\r\nConnection: close\r\n",
        client.authority(),
        client.user_agent,
        client.cookies()
    );
    let chunks = format!("400\r\n{}\r\n", "a".repeat(1024));
    let answer =
        client.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.repeat(3)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert_eq!(count(&gateway, "too_large"), 3);
    let answer =
        client.raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.repeat(2)).as_bytes());
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert_eq!(count(&gateway, "parked"), 3);
    gateway.log.wait_for(&["audit post.not_parked", "user=alice", "reason=too_large"]);
}

#[test]
fn what_comes_too_slowly_is_not_waited_for() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.revoke("alice");
    let head = format!(
        "POST /save HTTP/1.1\r\nHost: {0}\r\nOrigin: https://{0}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
         Content-Type: {URLENCODED}\r\nUser-Agent: {1}\r\nCookie: {2}\r\nContent-Length: 100\r\n\r\nhalf=",
        client.authority(),
        client.user_agent,
        client.cookies()
    );
    let mut stream = client.connect_raw();
    std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
    advance_until(&gateway, "it is given up", || count(&gateway, "broken") == 1);
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 303");
    assert_eq!(all_kept(&gateway), 0);
}

#[test]
fn there_are_only_so_many_of_one_person_and_only_so_much_of_all() {
    let bounds = "[session.parked_posts]\nmax_size = \"1KiB\"\nper_user = 2\ntotal = \"6KiB\"";
    let gateway = Setup::new().extra(bounds).start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    gateway.advance(LUNCH);
    let body = format!("a={}", "b".repeat(1000));
    let send = |client: &Client| told(client, &post_text(client, "/save", &body).send());
    for _ in 0..2 {
        assert!(send(&alice).contains("is kept for you"));
    }
    assert!(send(&alice).contains("other things that you sent are being kept already"));
    // Each of these takes two thousand bytes with what it needs, so that there is room for one more.
    assert!(send(&bob).contains("is kept for you"));
    assert!(send(&bob).contains("could not be kept just now"));
    assert_eq!(["parked", "too_many", "full"].map(|what| count(&gateway, what)), [3, 1, 1]);
    // As their time goes by, there is room again.
    gateway.advance(15 * 60);
    assert!(send(&alice).contains("is kept for you"));
}

#[test]
fn at_once_there_are_no_more_than_may_be() {
    let gateway = Setup::new().extra("[session.parked_posts]\nper_user = 3").unlimited().start();
    let client = gateway.signed_in(ALICE).speaking(Version::H2);
    gateway.advance(LUNCH);
    let answers = client.together((0..30).map(|at| post_text(&client, "/save", &format!("a={at}"))).collect());
    assert!(answers.iter().all(|answer| answer.status == 303));
    assert_eq!(all_kept(&gateway) as u64, count(&gateway, "parked"));
    assert!((1..=3).contains(&all_kept(&gateway)), "{}", all_kept(&gateway));
    assert_eq!(count(&gateway, "too_many"), 30 - count(&gateway, "parked"));
}

#[test]
fn when_its_time_is_over_its_person_is_told_and_nothing_is_left() {
    let gateway = Setup::new().start();
    let swept = || {
        let text = gateway.running().shared.render_metrics();
        let line = text.lines().find_map(|line| {
            line.strip_prefix("vestibule_store_operation_duration_seconds_count{operation=\"kv_expire\"} ")
        });
        line.map_or(0, |count| count.parse::<u64>().expect("a number"))
    };
    advance_until(&gateway, "a store may have something in it at a start", || swept() == 1);
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let led = post_text(&client, "/save", "a=1").send();
    gateway.advance(14 * 60);
    assert_eq!(swept(), 1, "nobody looks for what has not ended");
    gateway.advance(60);
    let to = sign_in(&client, &led, ALICE).header("location").to_owned();
    let page = client.visit(&to).send();
    assert_eq!(page.status, 404);
    for part in ["Nothing is kept here", "for 15 minutes", "href=\"/orders/form?of=7\""] {
        assert!(page.text().contains(part), "{part} in {}", page.text());
    }
    advance_until(&gateway, "what has ended is forgotten", || swept() == 2);
    let shared = &gateway.running().shared;
    assert_eq!(gateway.block_on(shared.values.expire(shared.clock.now())), Ok(0), "it was the sweep's to do");
}

#[test]
fn a_restart_loses_nothing_and_the_file_shows_nothing() {
    let mut gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let secret = "the merger with Nobody Ltd is off";
    gateway.advance(LUNCH);
    let led = post_text(&client, "/save", &format!("memo={secret}")).send();
    let listen = gateway.address.to_string();
    gateway.stop();
    let mut read = 0;
    for entry in std::fs::read_dir(gateway.folder.path()).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        read += bytes.len();
        for part in [secret, "merger", "memo=", "/save", "/orders/form"] {
            assert!(memchr::memmem::find(&bytes, part.as_bytes()).is_none(), "{part} is in the clear");
        }
    }
    assert!(read > 1000, "the store was looked at");
    let config = gateway.folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration").replace("127.0.0.1:0", &listen);
    std::fs::write(&config, text).expect("written");
    let plan = Plan::load(&config).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let parts = Parts {
        clock: Clock::Manual(gateway.clock.clone()),
        random: Random::System,
        log: Box::new(std::io::sink()),
        ..Parts::default()
    };
    let again = app::start(&plan, parts).expect("it starts again");
    gateway.application.forget();
    let to = sign_in(&client, &led, ALICE).header("location").to_owned();
    let page = client.visit(&to).send();
    assert!(page.text().contains(secret), "{}", page.text());
    assert_eq!(decide(&client, to.split('?').next().expect("a path"), &page, "send").send().status, 200);
    assert_eq!(gateway.application.received().len(), 1);
    again.stop();
    gateway.clock.advance(std::time::Duration::from_secs(3600));
    again.wait();
}

#[test]
fn what_another_site_sends_is_not_kept() {
    let shielded = Setup::new().start();
    // Nor where nothing else keeps it out.
    let gateway = Setup::new().extra("[csrf]\nmode = \"off\"").start();
    let (client, stopped) = (gateway.signed_in(ALICE), shielded.signed_in(ALICE));
    gateway.advance(LUNCH);
    shielded.advance(LUNCH);
    let plain_of = |client| {
        let post = post_text(client, "/save", "a=1").without("sec-fetch-site").without("origin").without("referer");
        post.without_origin()
    };
    let plain = || plain_of(&client);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("referer", "https://evil.test/"),
        ("x-nothing", "is said"),
    ] {
        assert_eq!(plain_of(&stopped).header(name, value).send().status, 403, "{name}: {value}");
        let led = plain().header(name, value).send();
        assert!(!told(&client, &led).contains("kept"), "{name}: {value}");
        assert_eq!(sign_in(&gateway.client(), &led, BOB).header("location"), "/", "{name}: {value}");
    }
    // Nor what is no form, or no person's.
    for (kind, status) in [("application/json", 303), ("text/html", 303), ("multipart/mixed; boundary=x", 303)] {
        assert_eq!(post(&client, "/save", kind, "a=1").send().status, status);
    }
    let fetched = client.request(Method::POST, "/save").header("content-type", URLENCODED).body("a=1");
    assert_eq!(fetched.send().status, 401);
    assert_eq!((all_kept(&gateway), count(&gateway, "parked")), (0, 0));
    assert_eq!((all_kept(&shielded), count(&shielded, "parked")), (0, 0));
}

#[test]
fn a_form_with_a_token_is_sent_with_that_of_the_new_session() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/pay\"\nupstream = \"app\"\ncsrf = \"token\"\n";
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(client.get("/form").send().status, 200);
    let token = gateway.application.last().header("x-vestibule-csrf").expect("a token").to_owned();
    let elsewhere = gateway.signed_in(ALICE);
    assert_eq!(elsewhere.get("/form").send().status, 200);
    let others = gateway.application.last().header("x-vestibule-csrf").expect("a token").to_owned();
    gateway.advance(LUNCH);
    // What would have been refused while the session lasted is not kept now that it is over.
    for wrong in ["a=1".to_owned(), "vestibule_csrf=x&a=1".to_owned(), format!("vestibule_csrf={others}&a=1")] {
        let led = post_text(&client, "/pay", &wrong).send();
        assert!(told(&client, &led).contains("not sent from a page that was opened in your session"), "{wrong}");
    }
    assert_eq!((all_kept(&gateway), count(&gateway, "csrf_token")), (0, 3));
    let (path, page) = kept(&client, post_text(&client, "/pay", &format!("a=1&vestibule_csrf={token}&b=2")));
    assert!(!page.text().contains(&token), "it is no word of the person's");
    gateway.application.forget();
    assert_eq!(decide(&client, &path, &page, "send").send().status, 200);
    let received = gateway.application.last();
    assert_eq!((received.uri.path(), &*received.body), ("/pay", &b"a=1&b=2"[..]));
    assert_eq!(gateway.application.received().len(), 1);
}

#[test]
fn nothing_is_kept_of_strangers() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let led = post_text(&client, "/save", "a=1").send();
    assert!(told(&client, &led).starts_with("What you sent was not carried out, and could not be kept. Sign in first"));
    client.set_session("forged");
    assert_eq!(post_text(&client, "/save", "a=1").send().status, 303);
    // Nor of those who are let in without a name, or may not sign in any more.
    let anonymous = gateway.client();
    anonymous.visit("/anonymous").send();
    assert_eq!(post_text(&anonymous, "/save", "a=1").send().status, 303);
    assert_eq!((all_kept(&gateway), count(&gateway, "stranger")), (0, 3));
    let bob = gateway.signed_in(BOB);
    let file = gateway.folder.path().join("users.toml");
    let users =
        std::fs::read_to_string(&file).expect("users").replace("name = \"bob\"", "name = \"bob\"\ndisabled = true");
    std::fs::write(&file, users).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
    assert_eq!(post_text(&bob, "/save", "a=1").send().status, 303);
    assert_eq!((all_kept(&gateway), count(&gateway, "stranger")), (0, 4));
}

#[test]
fn what_was_entered_is_shown_and_does_nothing() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let hostile = "\"><script>alert(1)</script><img src=x onerror=alert(2)>' onx='";
    let body = form_urlencoded::Serializer::new(String::new())
        .append_pair(hostile, hostile)
        .append_pair("New_Password", "do not show me")
        .append_pair("\u{202e}evil", "\u{202e}txt.exe")
        .finish();
    let (path, page) = kept(&client, post_text(&client, "/save?q='onx=%3Cscript%3E", &body));
    let text = page.text();
    assert!(!text.contains("<script") && !text.contains("<img") && !text.contains("do not show me"), "{text}");
    assert!(text.contains("&#60;script&#62;alert(1)") && text.contains("entered, not shown here"), "{text}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(policy.contains("form-action 'self' https:;"), "an application may lead on to another site");
    let head = client.request(Method::HEAD, &path).navigating().send();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(all_kept(&gateway), 1);
}

#[test]
fn it_is_decided_on_anew_and_kept_until_it_has_been_sent() {
    let mut setup = Setup::new();
    setup.routes += "[[route]]\npath = \"/limited\"\nupstream = \"app\"\nlimit = \"1/m\"\n";
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    gateway.application.forget();
    let (path, page) = kept(&client, post_text(&client, "/admin/save", "a=1"));
    // She is no admin any more.
    let file = gateway.folder.path().join("users.toml");
    let users = std::fs::read_to_string(&file).expect("users");
    std::fs::write(&file, users.replace("roles = [\"admin\"]", "roles = [\"ops\"]")).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
    let answer = decide(&client, &path, &page, "send").send();
    assert_eq!(answer.status, 403);
    for part in ["This page is not open to you", "is still kept", &*format!("href=\"{path}\"")] {
        assert!(answer.text().contains(part), "{part} in {}", answer.text());
    }
    gateway.application.assert_untouched();
    std::fs::write(&file, users).expect("written");
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("taken");
    assert_eq!(decide(&client, &path, &client.visit(&path).send(), "send").send().status, 200);
    // Too much at once.
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/limited", "a=2"));
    assert_eq!(client.get("/limited").send().status, 200);
    gateway.application.forget();
    let answer = decide(&client, &path, &page, "send").send();
    assert!(
        answer.status == 429 && !answer.header("retry-after").is_empty() && answer.text().contains("is still kept")
    );
    gateway.application.assert_untouched();
    gateway.advance(60);
    assert_eq!(decide(&client, &path, &page, "send").send().status, 200);
    assert_eq!(&*gateway.application.last().body, b"a=2");
    assert_eq!((count(&gateway, "put_back"), count(&gateway, "sent"), all_kept(&gateway)), (2, 2, 0));
    gateway.log.wait_for(&["audit post.parked", "reason=not_sent"]);
}

#[test]
fn what_cannot_have_arrived_is_kept_and_what_may_have_is_not() {
    let (address, _refuses) = nobody();
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("http://{address}")]);
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/save", "a=1"));
    let answer = decide(&client, &path, &page, "send").send();
    assert!(answer.status == 502 && answer.text().contains("is still kept"), "{}", answer.text());
    assert_eq!(all_kept(&gateway), 1);
    // Its time is the same as before.
    gateway.advance(15 * 60);
    assert_eq!(client.visit(&path).send().status, 404);

    let breaks = Scripted::start(|mut line: Line| drop(line.request()));
    let gateway = Setup::new().in_front_of(&breaks).start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/save", "a=1"));
    let answer = decide(&client, &path, &page, "send").send();
    assert!(answer.status == 502 && answer.text().contains("check first whether it was saved"), "{}", answer.text());
    assert_eq!((client.visit(&path).send().status, all_kept(&gateway)), (404, 0));
    assert_eq!(breaks.received().len(), 1);
    // The same when there is another cookie to be handed out.
    let quick = "[session.rotation]\nevery = \"10s\"\ngrace = \"5s\"";
    let gateway = Setup::new().extra(quick).in_front_of(&breaks).start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let (path, page) = kept(&client, post_text(&client, "/save", "a=1"));
    gateway.advance(11);
    let answer = decide(&client, &path, &page, "send").send();
    assert_eq!((answer.status, answer.set_cookies().len(), all_kept(&gateway)), (502, 1, 0));
    assert_eq!((count(&gateway, "sent"), count(&gateway, "put_back")), (1, 0));
}

/// A store that has had enough.
struct Fails;

impl KvStore for Fails {
    fn get(&self, _: Space, _: &str, _: Timestamp) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        failed()
    }

    fn put_if(
        &self,
        _: Space,
        _: &str,
        _: Expected,
        _: Vec<u8>,
        _: Option<Timestamp>,
        _: Timestamp,
    ) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        failed()
    }

    fn delete(&self, _: Space, _: &str, _: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        failed()
    }

    fn list(&self, _: Space, _: &str, _: usize, _: Timestamp) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        failed()
    }

    fn expire(&self, _: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        failed()
    }
}

fn failed<T: Send + 'static>() -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(std::future::ready(Err(StoreError("no room".to_owned()))))
}

#[test]
fn a_store_that_fails_keeps_nothing_and_nobody_from_signing_in() {
    let mut setup = Setup::new();
    setup.values = Some(Arc::new(Fails));
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let led = post_text(&client, "/save", "a=1").send();
    assert!(told(&client, &led).contains("could not be kept just now"));
    assert_eq!(sign_in(&client, &led, ALICE).header("location"), "/orders/form?of=7");
    assert_eq!(client.visit(&format!("/.vestibule/parked/{}", "A".repeat(27))).send().status, 503);
    assert_eq!(count(&gateway, "store_failed"), 1);
}

#[test]
fn it_can_be_switched_off() {
    let gateway = Setup::new().extra("[session.parked_posts]\nkeep = \"off\"").start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(LUNCH);
    let led = post_text(&client, "/save", "a=1").send();
    assert_eq!(
        told(&client, &led),
        "You were signed out because nothing happened for a while. To go on, please sign in again. What you sent was not carried \
         out: sign in, then send it again."
    );
    assert_eq!(sign_in(&client, &led, ALICE).header("location"), "/orders/form?of=7");
    assert_eq!(client.visit(&format!("/.vestibule/parked/{}", "A".repeat(27))).send().status, 404);
    assert_eq!(all_kept(&gateway), 0);
}

#[test]
fn mistakes_in_its_bounds_are_told() {
    let mistakes = |keys: &str| {
        let text = format!("[session.parked_posts]\n{keys}");
        Plan::of(&Document::parse("gateway.toml", &text)).expect_err("it lacks the rest anyway").to_string()
    };
    for (keys, words) in [
        ("max_size = \"512B\"", "a form has from 1 KiB to 15 MiB"),
        ("max_size = \"16MiB\"", "a form has from 1 KiB to 15 MiB"),
        ("total = \"1MiB\"", "write a total that is at least twice max_size"),
        ("total = \"17GiB\"", "write at most \"16GiB\""),
        ("keep = \"30s\"", "write a time between \"1m\" and \"24h\", or \"off\""),
        ("keep = \"25h\"", "forms are kept from one minute to one day"),
        ("per_user = 0", "per_user"),
        ("keep = \"off\"\nper_user = 2", "per_user"),
        ("max_sise = \"1MiB\"", "max_size"),
    ] {
        let told = mistakes(keys);
        assert!(told.contains(words), "{keys}: {told}");
    }
}
