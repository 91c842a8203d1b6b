//! To be remembered: a session that lasts for weeks, for who asks for it, where it is offered.

use std::time::Duration;

use vestibule::enforce::reloads::Cause;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Setup, Version, eventually, hidden};

const OFFERED: &str = "[session.remember_me]\n";
const DAY: u64 = 86_400;

/// Signs in, and ticks the box or does not.
fn sign_in(client: &Client, (name, password): (&str, &str), remember: bool) -> Answer {
    let page = client.visit("/.vestibule/login").send();
    assert!(page.text().contains("name=\"remember\""), "{}", page.text());
    let attempt = hidden(&page, "attempt");
    let mut fields =
        vec![("username", name), ("password", password), ("attempt", &*attempt), ("remember_offered", "1")];
    if remember {
        fields.push(("remember", "1"));
    }
    let answer = client.post_form("/.vestibule/login", &fields).send();
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer
}

fn remembered(gateway: &Gateway, who: (&str, &str)) -> Client {
    let client = gateway.client();
    sign_in(&client, who, true);
    client
}

/// The attributes of the session cookie that an answer hands out.
fn attributes(answer: &Answer) -> String {
    let set = answer.set_cookies().into_iter().find(|cookie| cookie.starts_with("__Host-session=")).expect("a cookie");
    set.split_once("; ").expect("attributes").1.to_owned()
}

fn refused(client: &Client, path: &str) -> Option<String> {
    let answer = client.get(path).send();
    match answer.status {
        200 => None,
        401 => Some(answer.json()["reason"].as_str().expect("a reason").to_owned()),
        status => panic!("{status}: {}", answer.text()),
    }
}

/// Writes something else in a file and has it read again.
fn change(gateway: &Gateway, file: &str, from: &str, to: &str) {
    let file = gateway.folder.path().join(file);
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
    let outcome = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    outcome.unwrap_or_else(|words| panic!("refused: {words}"));
}

const GUARDED: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

#[test]
fn it_is_offered_only_where_the_table_exists() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let page = client.visit("/.vestibule/login").send();
    assert!(!page.text().contains("remember"), "{}", page.text());
    let attempt = hidden(&page, "attempt");
    let fields = [
        ("username", ALICE.0),
        ("password", ALICE.1),
        ("attempt", &*attempt),
        ("remember_offered", "1"),
        ("remember", "1"),
    ];
    let answer = client.post_form("/.vestibule/login", &fields).send();
    assert_eq!((answer.status, &*attributes(&answer)), (303, GUARDED), "who asks all the same is not");
    gateway.advance(30 * 60);
    assert_eq!(refused(&client, "/").as_deref(), Some("idle"));
    let offering = Setup::new().extra(OFFERED).start();
    let page = offering.client().visit("/.vestibule/login").send().text();
    assert!(page.contains("Stay signed in on this device") && page.contains("For up to 30 days."), "{page}");
}

#[test]
fn who_asks_for_it_lasts_for_weeks_and_nobody_else() {
    let gateway = Setup::new().extra(OFFERED).extra("[session.rotation]\nevery = \"off\"").start();
    for version in [Version::H1, Version::H2] {
        let (asked, not) = (gateway.client().speaking(version), gateway.client().speaking(version));
        let until = attributes(&sign_in(&asked, ALICE, true));
        assert!(until.starts_with(&format!("{GUARDED}; Max-Age=2592000; Expires=")), "{until}");
        assert_eq!(attributes(&sign_in(&not, BOB, false)), GUARDED, "it goes with the browser");
        gateway.advance(30 * 60);
        assert_eq!((refused(&asked, "/"), refused(&not, "/").as_deref()), (None, Some("idle")));
        for _ in 0..4 {
            gateway.advance(7 * DAY - 1);
            assert_eq!(refused(&asked, "/"), None);
        }
        gateway.advance(2 * DAY - 30 * 60 + 4);
        assert_eq!(refused(&asked, "/").as_deref(), Some("absolute"));
        let again = gateway.client().speaking(version);
        sign_in(&again, ALICE, true);
        gateway.advance(7 * DAY);
        assert_eq!(refused(&again, "/").as_deref(), Some("idle"));
    }
}

#[test]
fn every_successor_is_kept_as_long_and_signing_out_takes_it_away() {
    let gateway = Setup::new().extra(OFFERED).start();
    let client = remembered(&gateway, ALICE);
    gateway.advance(3 * DAY);
    let rotated = attributes(&client.get("/").send());
    assert!(rotated.starts_with(&format!("{GUARDED}; Max-Age={}; Expires=", 27 * DAY)), "{rotated}");
    assert_eq!(refused(&client, "/"), None, "the successor is good");
    let gone = attributes(&client.post_form("/.vestibule/logout", &[]).send());
    assert_eq!(gone, format!("{GUARDED}; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
}

#[test]
fn a_role_that_forbids_it_makes_an_ordinary_session() {
    let roles = "[roles.admin]\nremember_me = false";
    let gateway = Setup::new().extra(OFFERED).extra(roles).start();
    let page = gateway.client().visit("/.vestibule/login").send().text();
    assert!(page.contains("For up to 30 days, if your account allows it."), "{page}");
    let (alice, bob) = (gateway.client(), gateway.client());
    assert_eq!(attributes(&sign_in(&alice, ALICE, true)), GUARDED);
    assert!(attributes(&sign_in(&bob, BOB, true)).contains("Max-Age"));
    gateway.advance(30 * 60);
    assert_eq!((refused(&alice, "/").as_deref(), refused(&bob, "/")), (Some("idle"), None));
}

#[test]
fn a_role_that_is_given_later_forbids_it_from_then_on() {
    let gateway = Setup::new().extra(OFFERED).extra("[roles.auditor]\nremember_me = false").start();
    let (alice, bob) = (remembered(&gateway, ALICE), remembered(&gateway, BOB));
    gateway.advance(10 * 60);
    assert_eq!((refused(&alice, "/"), refused(&bob, "/")), (None, None));
    change(&gateway, "users.toml", "roles = [\"admin\"]", "roles = [\"admin\", \"auditor\"]");
    gateway.advance(15 * 60);
    let rotated = alice.get("/").send();
    assert_eq!((rotated.status, &*attributes(&rotated)), (200, GUARDED), "its successor goes with the browser");
    gateway.advance(30 * 60);
    assert_eq!((refused(&alice, "/").as_deref(), refused(&bob, "/")), (Some("idle"), None));
}

#[test]
fn roles_and_routes_tighten_it() {
    let mut setup = Setup::new().extra(OFFERED).extra("[roles.admin]\nidle = \"2d\"\nabsolute = \"3d\"");
    setup.routes += "[[route]]\npath = \"/fresh\"\nupstream = \"app\"\nmax_auth_age = \"1d\"\n";
    let gateway = setup.start();
    let (alice, bob) = (gateway.client(), remembered(&gateway, BOB));
    assert!(
        attributes(&sign_in(&alice, ALICE, true)).contains(&format!("Max-Age={};", 3 * DAY)),
        "no longer than it lasts"
    );
    gateway.advance(2 * DAY - 1);
    assert_eq!((refused(&alice, "/"), refused(&bob, "/")), (None, None));
    assert_eq!(refused(&bob, "/fresh").as_deref(), Some("max_auth_age"));
    gateway.advance(DAY + 1);
    assert_eq!((refused(&alice, "/").as_deref(), refused(&bob, "/")), (Some("absolute"), None));
}

#[test]
fn who_proves_again_who_they_are_is_remembered_as_before_unless_they_choose_anew() {
    let mut setup = Setup::new().extra(OFFERED);
    setup.routes += "[[route]]\npath = \"/fresh\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.start();
    let client = remembered(&gateway, ALICE);
    gateway.advance(DAY);
    let led = client.visit("/fresh").send();
    let page = client.visit(led.header("location")).send();
    assert!(page.text().contains("name=\"remember\" type=\"checkbox\" value=\"1\" checked"), "{}", page.text());
    let prove = |page: &Answer, more: &[(&str, &str)]| {
        let attempt = hidden(page, "attempt");
        let fields = [&[("username", ALICE.0), ("password", ALICE.1), ("attempt", &*attempt)], more].concat();
        let answer = client.post_form("/.vestibule/login", &fields).send();
        assert_eq!(answer.status, 303);
        attributes(&answer)
    };
    assert!(prove(&page, &[]).contains("Max-Age=2592000;"), "who was not asked is not forgotten");
    let page = client.visit("/.vestibule/login").send();
    assert!(page.text().contains("value=\"1\" checked"), "whoever is signed in finds it as it is: {}", page.text());
    assert!(prove(&page, &[("remember_offered", "1"), ("remember", "1")]).contains("Max-Age=2592000;"));
    assert_eq!(prove(&page, &[("remember_offered", "1")]), GUARDED, "they chose anew");
    assert_eq!(prove(&page, &[]), GUARDED);
    // Somebody else is not remembered because she was.
    sign_in(&client, ALICE, true);
    assert_eq!(attributes(&sign_in(&client, BOB, false)), GUARDED);
}

#[test]
fn what_was_ticked_stays_ticked_after_a_wrong_password() {
    let gateway = Setup::new().extra(OFFERED).start();
    let client = gateway.client();
    for (ticked, shown) in [("1", true), ("0", false), ("yes", false)] {
        let attempt = hidden(&client.visit("/.vestibule/login").send(), "attempt");
        let fields = [
            ("username", ALICE.0),
            ("password", "wrong"),
            ("attempt", &*attempt),
            ("remember_offered", "1"),
            ("remember", ticked),
        ];
        let page = client.post_form("/.vestibule/login", &fields).send();
        assert_eq!((page.status, page.text().contains("value=\"1\" checked")), (401, shown), "{ticked}");
    }
}

#[test]
fn a_reload_holds_for_those_who_are_remembered() {
    let gateway = Setup::new().extra(OFFERED).start();
    let (alice, bob) = (remembered(&gateway, ALICE), remembered(&gateway, BOB));
    gateway.advance(2 * DAY);
    assert_eq!((refused(&alice, "/"), refused(&bob, "/")), (None, None));
    change(&gateway, "gateway.toml", OFFERED, "[session.remember_me]\nidle = \"1d\"\n");
    gateway.advance(DAY - 1);
    assert_eq!(refused(&alice, "/"), None);
    gateway.advance(1);
    assert_eq!(refused(&bob, "/").as_deref(), Some("idle"));
    change(&gateway, "gateway.toml", "[session.remember_me]\nidle = \"1d\"\n", "");
    assert_eq!(refused(&alice, "/").as_deref(), Some("absolute"), "it is offered no more");
}

#[test]
fn a_restart_forgets_nobody_who_is_remembered() {
    let mut gateway = Setup::new().extra(OFFERED).start();
    let before = remembered(&gateway, ALICE);
    gateway.advance(5 * DAY);
    assert_eq!(refused(&before, "/"), None);
    assert_eq!(refused(&before, "/"), None, "its successor is presented");
    gateway.restart();
    gateway.advance(6 * DAY);
    let client = gateway.client();
    client.set_session(&before.session());
    assert_eq!(refused(&client, "/"), None);
    assert!(gateway.sessions_of("alice")[0].is_remembered());
    eventually("it is swept when it has been idle for a week", || {
        gateway.clock.advance(Duration::from_secs(DAY));
        gateway.sessions_of("alice").is_empty()
    });
}

/// What a browser would keep when it is closed is replaced at the next request, once nobody is remembered any more: also where
/// the secret is not changed now and then.
#[test]
fn once_it_is_offered_no_more_the_cookie_is_one_that_goes_with_the_browser() {
    for every in ["15m", "off"] {
        let rotation = format!("[session.rotation]\nevery = \"{every}\"\n");
        let gateway = Setup::new().extra(OFFERED).extra(&rotation).start();
        let (kept, other) = (remembered(&gateway, ALICE), gateway.client());
        sign_in(&other, BOB, false);
        gateway.advance(120);
        let quiet = kept.get("/").send();
        assert!(quiet.set_cookies().is_empty(), "nothing is due: {:?}", quiet.set_cookies());
        change(&gateway, "gateway.toml", OFFERED, "");
        let next = kept.get("/").send();
        assert_eq!((next.status, &*attributes(&next)), (200, GUARDED), "it goes with the browser");
        assert!(other.get("/").send().set_cookies().is_empty(), "who was not remembered has one like that");
        // And it is good. A moment later nothing is due.
        assert!(kept.get("/").send().set_cookies().is_empty());
        // One that was offered before, and is only presented now, is replaced a minute later.
        gateway.advance(61);
        assert_eq!(attributes(&kept.get("/").send()), GUARDED);
        gateway.advance(29 * 60);
        assert_eq!(refused(&kept, "/"), None);
        gateway.advance(30 * 60);
        assert_eq!(refused(&kept, "/").as_deref(), Some("idle"), "it has become one like any");
    }
}

/// Parallel requests, and no grace period: nobody is taken for a thief because of it.
#[test]
fn what_is_under_way_then_is_nobodys_theft() {
    let gateway = Setup::new().extra(OFFERED).extra("[session.rotation]\ngrace = \"0s\"\n").start();
    let client = remembered(&gateway, ALICE);
    gateway.advance(120);
    change(&gateway, "gateway.toml", OFFERED, "");
    let requests = (0..8).map(|at| client.get(&format!("/{at}"))).collect();
    assert!(client.together(requests).iter().all(|answer| answer.status == 200));
    for _ in 0..8 {
        gateway.advance(5);
        assert_eq!(refused(&client, "/"), None);
    }
}
