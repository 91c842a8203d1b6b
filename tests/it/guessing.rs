//! Guessing: passwords for one name, and cookies. It is slowed down and reported, and shuts out nobody whose own it is.

use super::harness::{ALICE, Answer, BOB, CAROL, Client, Gateway, Setup, Version, hidden};
use super::limits::assert_limited;

const LOGIN: &str = "/.vestibule/login";
const DEVICE: &str = "__Host-device";

/// Behind a proxy, so that requests come from any address; nothing but `limits` is limited.
fn behind_a_proxy(limits: &str) -> Gateway {
    let off = "per_session = \"off\"\nper_address = \"off\"\nlogin = \"off\"\n";
    let mut setup = Setup::new().extra(&format!("[limits]\n{off}{limits}\n"));
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    setup.start()
}

/// Tries to sign in, with a form of its own, from an address.
fn try_from(client: &Client, (name, password): (&str, &str), address: &str) -> Answer {
    let attempt = hidden(&client.visit(LOGIN).send(), "attempt");
    let fields = [("username", name), ("password", password), ("attempt", &*attempt)];
    client.post_form(LOGIN, &fields).header("x-forwarded-for", address).send()
}

/// A page without what differs from one showing to the next.
fn without_token(page: &Answer) -> String {
    page.text().replace(&hidden(page, "attempt"), "TOKEN")
}

#[test]
fn one_who_guesses_leaves_room_for_the_owner_elsewhere() {
    let gateway = behind_a_proxy("wrong_passwords = \"10/h\"");
    let attacker = gateway.client();
    let wrong = |address: &str| try_from(&attacker, (ALICE.0, "a guess"), address);
    assert_eq!([1, 2].map(|at| wrong(&format!("203.0.113.{at}")).status), [401, 401]);
    let refused = wrong("203.0.113.3");
    assert_limited_sign_in(&refused, 1800);
    assert_limited_sign_in(&try_from(&attacker, ALICE, "203.0.113.4"), 1800);
    gateway.log.wait_for(&["audit login.refused", "user=alice", "reason=account_limit"]);
    // Her own browser, which is new, in another network.
    let alice = gateway.client();
    assert_eq!(try_from(&alice, ALICE, "198.51.100.1").status, 303);
    // From the same network, other people.
    assert_eq!(try_from(&gateway.client(), BOB, "203.0.113.3").status, 303);
    // A site's IPv6 addresses are one network.
    let from_v6 = [1, 2, 3].map(|at| wrong(&format!("2001:db8::{at:x}:0:0:0:1")).status);
    assert_eq!(from_v6, [401, 401, 429]);
    gateway.advance(1800);
    assert_eq!(wrong("203.0.113.9").status, 401);
}

fn assert_limited_sign_in(answer: &Answer, longest_wait: u64) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=longest_wait).contains(&wait), "{wait}");
    assert!(answer.text().contains("There were many wrong passwords for this name"), "{}", answer.text());
    assert_eq!(answer.header("ratelimit"), format!("\"account_limit\";r=0;t={wait}"));
    assert!(answer.set_cookies().is_empty());
}

#[test]
fn guesses_from_everywhere_do_not_shut_out_a_browser_that_is_known() {
    let gateway = behind_a_proxy("wrong_passwords = \"10/h\"");
    let alice = gateway.client();
    let signed_in = try_from(&alice, ALICE, "198.51.100.1");
    let device = signed_in.set_cookies().into_iter().find(|cookie| cookie.starts_with(DEVICE)).expect("a cookie");
    for part in ["Path=/", "Secure", "HttpOnly", "SameSite=Strict", "Max-Age=34560000"] {
        assert!(device.split("; ").any(|attribute| attribute == part), "{device}");
    }
    let stranger = gateway.client();
    let mut at = 0;
    let mut guess = || {
        at += 1;
        try_from(&stranger, (ALICE.0, "a guess"), &format!("203.0.{at}.1")).status
    };
    let statuses: Vec<u16> = (0..30).map(|_| guess()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10, "{statuses:?}");
    assert_limited_sign_in(&try_from(&stranger, ALICE, "192.0.2.1"), 360);
    // Signed out or not, in another network or not, the next month or not: this browser is hers.
    assert_eq!(alice.get("/").send().status, 200, "her session goes on");
    alice.post_form("/.vestibule/logout", &[]).send();
    assert_eq!(try_from(&alice, ALICE, "192.0.2.1").status, 303);
    gateway.advance(300 * 86_400);
    (0..30).for_each(|_| _ = guess());
    assert_eq!(try_from(&stranger, ALICE, "192.0.2.1").status, 429);
    let answer = try_from(&alice, ALICE, "192.0.2.1");
    assert_eq!(answer.status, 303);
    assert_eq!(answer.set_cookies().iter().filter(|cookie| cookie.starts_with(DEVICE)).count(), 1, "from now on again");
    // Nobody else gains by it.
    let bob = gateway.client();
    assert_eq!(try_from(&bob, BOB, "192.0.2.1").status, 303);
    assert_eq!(try_from(&bob, (ALICE.0, "a guess"), "192.0.2.1").status, 429, "it is his, for his name");
    for forged in ["", "A", &"A".repeat(71), &bob.jar.borrow()[DEVICE]] {
        stranger.jar.borrow_mut().insert(DEVICE.to_owned(), forged.to_owned());
        assert_eq!(try_from(&stranger, ALICE, "192.0.2.1").status, 429, "{forged}");
    }
    assert_eq!(try_from(&gateway.client(), BOB, "192.0.2.1").status, 303, "other names are not concerned");
}

#[test]
fn who_steals_the_cookie_of_a_browser_guesses_no_faster_for_long() {
    let gateway = behind_a_proxy("wrong_passwords = \"5/h\"");
    let alice = gateway.client();
    assert_eq!(try_from(&alice, ALICE, "198.51.100.1").status, 303);
    let thief = gateway.client();
    thief.jar.borrow_mut().insert(DEVICE.to_owned(), alice.jar.borrow()[DEVICE].clone());
    let statuses: Vec<u16> =
        (0..30).map(|at| try_from(&thief, (ALICE.0, "a guess"), &format!("203.0.{at}.1")).status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10, "its own and those of strangers");
    let other = gateway.signed_in(BOB);
    assert_eq!(other.get("/").send().status, 200);
}

#[test]
fn right_passwords_are_not_counted() {
    let gateway = behind_a_proxy("wrong_passwords = \"5/h\"");
    for _ in 0..12 {
        assert_eq!(try_from(&gateway.client(), ALICE, "203.0.113.1").status, 303);
    }
    assert_eq!(try_from(&gateway.client(), (ALICE.0, "a guess"), "203.0.113.1").status, 401);
}

/// Many at once are no way around: each counts before its password is looked at.
#[test]
fn as_many_at_once_as_there_may_be_and_no_more() {
    let gateway = behind_a_proxy("wrong_passwords = \"25/h\"");
    let attacker = gateway.client();
    let attempt = hidden(&attacker.visit(LOGIN).send(), "attempt");
    let guess = |at: usize| {
        let fields = [("username", "alice"), ("password", &*format!("guess {at}")), ("attempt", &*attempt)];
        attacker.post_form(LOGIN, &fields)
    };
    let answers = attacker.together((0..40).map(guess).collect());
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(401), count(429)), (5, 35), "a fifth, because they come from one network");
}

#[test]
fn no_answer_tells_whether_there_is_such_a_name() {
    let gateway = behind_a_proxy("wrong_passwords = \"10/h\"");
    let tell = |name: &str| {
        let client = gateway.client();
        let mut told = Vec::new();
        for at in 0..13 {
            let answer = try_from(&client, (name, "a guess"), &format!("203.0.{}.1", at % 12));
            let text = match answer.status {
                401 => without_token(&answer),
                _ => answer.text().replace(answer.header("x-request-id"), "ID"),
            };
            let mut headers = answer.headers.clone();
            for varying in ["date", "x-request-id"] {
                headers.remove(varying);
            }
            headers.remove("content-length");
            headers.remove("set-cookie");
            told.push((answer.status, text.replace(&format!("value=\"{name}\""), "NAME"), format!("{headers:?}")));
        }
        told
    };
    let known = tell(ALICE.0);
    assert_eq!(known.iter().filter(|(status, ..)| *status == 429).count(), 3);
    assert_eq!((tell("nobody"), tell(CAROL.0)), (known.clone(), known));
    let log = gateway.log.text();
    assert!(!log.contains("nobody"), "unknown names are often passwords: {log}");
}

#[test]
fn with_the_limit_off_no_browser_is_marked() {
    let gateway = behind_a_proxy("wrong_passwords = \"off\"");
    let client = gateway.client();
    for _ in 0..60 {
        assert_eq!(try_from(&client, (ALICE.0, "a guess"), "203.0.113.1").status, 401);
    }
    assert_eq!(try_from(&client, ALICE, "203.0.113.1").status, 303);
    assert!(!client.jar.borrow().contains_key(DEVICE));
}

#[test]
fn the_cookie_of_a_known_browser_is_ours_alone() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        assert!(client.jar.borrow().contains_key(DEVICE));
        client.get("/").header("cookie", "app=1").send();
        assert_eq!(gateway.application.last().header("cookie"), Some("app=1"));
    }
}

/// A cookie that nobody was given.
fn forged(at: usize) -> String {
    format!("__Host-session={at:A>139}")
}

fn bring(client: &Client, path: &str, cookie: &str, address: &str) -> Answer {
    client.get(path).without_cookies().header("cookie", cookie).header("x-forwarded-for", address).send()
}

fn metric(gateway: &Gateway, line: &str) -> u64 {
    let text = gateway.running().shared.render_metrics();
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.map_or(0, |count| count.parse().expect("a number"))
}

#[test]
fn who_tries_out_cookies_is_refused_counted_and_reported_once() {
    let gateway = behind_a_proxy("bad_cookies = \"10/m\"");
    let client = gateway.client();
    let guess = |at: usize, address: &str| bring(&client, "/", &forged(at), address);
    let statuses: Vec<u16> = (0..50).map(|at| guess(at, "203.0.113.7").status).collect();
    assert!(statuses[..10].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses[10..].iter().all(|status| *status == 429), "{statuses:?}");
    assert_limited(&guess(20, "203.0.113.7"), "cookie_limit", 6);
    assert_limited(&bring(&client, "/optional", &forged(51), "203.0.113.7"), "cookie_limit", 6);
    assert_limited(&bring(&client, "/anonymous", &forged(52), "203.0.113.7"), "cookie_limit", 6);
    gateway.application.assert_untouched();
    assert_eq!(metric(&gateway, "vestibule_bad_cookies_total{reason=\"invalid_cookie\"}"), 53);
    assert_eq!(metric(&gateway, "vestibule_limited_total{reason=\"cookie_limit\"}"), 43);
    gateway.log.wait_for(&["audit cookies.guessed", "client=203.0.113.7", "reason=invalid_cookie"]);
    let told = |event: &str| gateway.log.text().matches(event).count();
    assert_eq!((told("audit cookies.guessed"), told("audit cookie.refused")), (1, 10));
    // The rest goes on: whoever comes without one, whoever has a good one, whoever has another address.
    let from_there = |path: &str| client.get(path).header("x-forwarded-for", "203.0.113.7").send().status;
    assert_eq!((from_there("/"), from_there("/public"), from_there("/optional")), (401, 200, 200));
    assert_eq!(try_from(&client, ALICE, "203.0.113.7").status, 303);
    assert_eq!(from_there("/"), 200);
    assert_eq!(guess(60, "203.0.113.8").status, 401);
    // It comes back slowly, and is told of again after a while.
    gateway.advance(6);
    assert_eq!([60, 61].map(|at| guess(at, "203.0.113.7").status), [401, 429]);
    assert_eq!(told("audit cookies.guessed"), 1);
    gateway.advance(600);
    (70..90).for_each(|at| _ = guess(at, "203.0.113.7"));
    super::harness::eventually("it is told again", || told("audit cookies.guessed") == 2);
}

#[test]
fn a_sites_ipv6_addresses_try_out_cookies_together() {
    let gateway = behind_a_proxy("bad_cookies = \"4/m\"");
    let client = gateway.client();
    let statuses: Vec<u16> =
        (0..6).map(|at| bring(&client, "/", &forged(at), &format!("2001:db8::{at:x}:1")).status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429]);
}

#[test]
fn several_guesses_in_one_request_are_several() {
    let gateway = behind_a_proxy("bad_cookies = \"6/m\"");
    let client = gateway.signed_in(ALICE);
    let good = format!("__Host-session={}", client.session());
    let three = |at: usize| format!("{}; {}; {}; {good}", forged(at), forged(at + 1), forged(at + 2));
    for at in [0, 3, 6, 9] {
        assert_eq!(bring(&client, "/", &three(at), "203.0.113.7").status, 200, "who has a good one is not refused");
    }
    assert_limited(&bring(&client, "/", &forged(20), "203.0.113.7"), "cookie_limit", 10);
    gateway.log.wait_for(&["audit cookies.guessed", "client=203.0.113.7"]);
}

#[test]
fn guesses_at_our_own_pages_count_too() {
    let gateway = behind_a_proxy("bad_cookies = \"4/m\"");
    let client = gateway.client();
    let bring = |at: usize| {
        let request = client.post_form("/.vestibule/logout", &[]).without_cookies();
        request.header("cookie", &forged(at)).header("x-forwarded-for", "203.0.113.7").send().status
    };
    assert_eq!([0, 1, 2, 3, 4, 5].map(bring), [200; 6], "one can always sign out");
    assert_eq!(self::bring(&client, "/", &forged(9), "203.0.113.7").status, 429);
    let ask = client.visit("/.vestibule/logout").without_cookies().header("cookie", &forged(10));
    assert_eq!(ask.header("x-forwarded-for", "203.0.113.7").send().status, 429);
}

#[test]
fn a_page_with_fifty_pictures_and_a_stale_cookie_is_one() {
    let gateway = behind_a_proxy("bad_cookies = \"3/m\"");
    // A visitor whose session is forgotten.
    let visitor = gateway.client();
    assert_eq!(visitor.get("/anonymous").send().status, 200);
    gateway.advance(1800);
    super::harness::eventually("it is swept", || gateway.running().shared.store.active() == 0);
    let stale = format!("__Host-session={}", visitor.session());
    let pictures = (0..50).map(|at| visitor.get(&format!("/{at}.png")).without_cookies().header("cookie", &stale));
    let answers = visitor.together(pictures.collect());
    assert!(answers.iter().all(|answer| answer.status == 401), "{answers:?}");
    assert_eq!(metric(&gateway, "vestibule_bad_cookies_total{reason=\"unknown_session\"}"), 50);
    assert_eq!(visitor.visit("/").send().status, 302);
    assert_eq!(try_from(&visitor, ALICE, "127.0.0.1").status, 303);
    assert_eq!(visitor.get("/").send().status, 200);
    assert!(!gateway.log.text().contains("audit cookie"), "nobody has forged anything");
}

/// The sessions of a whole office are gone at once, as after a restart without a store that lasts.
#[test]
fn an_office_whose_sessions_are_all_gone_signs_in_again() {
    let before = behind_a_proxy("");
    let gateway = behind_a_proxy("bad_cookies = \"5/m\"");
    for at in 0..20 {
        let person = gateway.client();
        let former = before.client();
        assert_eq!(former.get("/anonymous").send().status, 200);
        person.set_session(&former.session());
        let page = person.visit("/").header("x-forwarded-for", "203.0.113.7").send();
        if at < 5 {
            assert_eq!(page.status, 302);
        } else {
            assert_limited(&page, "cookie_limit", 12);
            assert_eq!(person.session(), "", "the cookie is taken back");
            let again = person.visit("/").header("x-forwarded-for", "203.0.113.7").send();
            assert_eq!(again.status, 302, "and all is well with the next request");
        }
    }
}
