//! The session cookie under attack: altered, copied, doubled, foreign. Nothing but the cookie of a session that lasts
//! is ever forwarded as signed in, and the application neither sees nor sets ours.

use std::fmt::Write;

use http::Method;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Setup, Version};

const NAME: &str = "__Host-session";

/// Sends requests for `/` with these `Cookie` values over one connection, and gives the status of each.
fn statuses(client: &Client, cookies: &[Vec<u8>]) -> Vec<String> {
    let mut bytes = Vec::new();
    for cookie in cookies {
        bytes.extend_from_slice(format!("GET / HTTP/1.1\r\nHost: {}\r\nCookie: ", client.authority()).as_bytes());
        bytes.extend_from_slice(cookie);
        bytes.extend_from_slice(b"\r\n\r\n");
    }
    let last = format!("GET /public HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", client.authority());
    bytes.extend_from_slice(last.as_bytes());
    let read = client.raw(&bytes);
    let mut found: Vec<String> = read.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect();
    assert_eq!(found.pop().as_deref(), Some("200"), "the connection survived all of them");
    found
}

/// Sends `GET /` with several cookies in one header.
fn with_cookies(client: &Client, cookies: &[&str]) -> Answer {
    client.get("/").without_cookies().header("cookie", &cookies.join("; ")).send()
}

fn named(value: &str) -> String {
    format!("{NAME}={value}")
}

fn unlimited() -> Gateway {
    Setup::new().extra("[limits]\nper_address = \"off\"\nper_session = \"off\"\nbad_cookies = \"off\"\n").start()
}

#[test]
fn no_single_bit_of_the_cookie_can_be_flipped() {
    let gateway = unlimited();
    let client = gateway.signed_in(ALICE);
    let value = client.session();
    let mut altered = Vec::new();
    for at in 0..value.len() {
        for bit in 0..8 {
            let mut bytes = value.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // What HTTP itself forbids in a header never gets as far.
            if bytes[at] > b' ' && bytes[at] != 0x7f {
                altered.push([named("").as_bytes(), &bytes].concat());
            }
        }
    }
    assert!(altered.len() > 600);
    let statuses = statuses(&client, &altered);
    assert_eq!(statuses.len(), altered.len());
    for (status, cookie) in statuses.iter().zip(&altered) {
        assert_eq!(status, "401", "{}", String::from_utf8_lossy(cookie));
    }
    assert!(gateway.application.received().iter().all(|request| request.uri == "/public"));
    assert_eq!(client.get("/").send().status, 200, "the session itself is unharmed");
}

#[test]
fn malformed_cookies_are_refused_and_the_connection_goes_on() {
    let gateway = unlimited();
    let client = gateway.signed_in(ALICE);
    let value = client.session();
    let half = value.len() / 2;
    let mut malformed: Vec<Vec<u8>> = (0..value.len()).map(|length| named(&value[..length]).into_bytes()).collect();
    malformed.extend(
        [
            format!("{value}A"),
            format!("{value}="),
            format!("\"{value}\""),
            format!("{value},{value}"),
            format!("{} {}", &value[..half], &value[half..]),
            value.to_lowercase(),
            value.to_uppercase(),
            value.chars().rev().collect(),
            "A".repeat(value.len()),
            "A".repeat(20_000),
            "%41".repeat(50),
            "{}".to_owned(),
            "=".to_owned(),
            "==".to_owned(),
        ]
        .map(|text| named(&text).into_bytes()),
    );
    malformed.push([b"__Host-session=\xff\xfe\xc3".as_slice(), &[0xe9; 100]].concat());
    malformed.push([b"\xff\xff=\xff; __Host-session=".as_slice(), &vec![0x80; value.len()]].concat());
    malformed.extend([&b""[..], b"=", b";", b";;;;=;=;", b"__Host-session", b"__Host-session;"].map(<[u8]>::to_vec));
    malformed.push(b"a=b;".repeat(5_000));
    let statuses = statuses(&client, &malformed);
    assert_eq!(statuses.len(), malformed.len());
    for (status, cookie) in statuses.iter().zip(&malformed) {
        assert_eq!(status, "401", "{}", String::from_utf8_lossy(cookie));
    }
    assert!(gateway.application.received().iter().all(|request| request.uri == "/public"));
    gateway.log.wait_for(&["audit cookie.refused", "reason=invalid_cookie"]);
}

#[test]
fn a_head_of_100_kilobytes_is_refused_and_the_gateway_goes_on() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let huge = "x".repeat(100 * 1024);
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nCookie: {NAME}={}; a={huge}\r\n\r\n",
        client.authority(),
        client.session()
    );
    let answer = client.raw(request.as_bytes());
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    gateway.application.assert_untouched();
    let second = client.speaking(Version::H2);
    let answer = second.get("/").header("x-padding", &huge[..60 * 1024]).send();
    assert_eq!(answer.status, 431);
    gateway.application.assert_untouched();
    assert_eq!(second.get("/").send().status, 200);
}

#[test]
fn a_cookie_of_another_gateway_opens_nothing() {
    let (ours, theirs) = (Setup::new().start(), Setup::new().start());
    let foreign = theirs.signed_in(ALICE);
    let client = ours.client();
    client.set_session(&foreign.session());
    let answer = client.get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("invalid_cookie")));
    assert_eq!(client.visit("/").send().status, 302);
    ours.application.assert_untouched();
    let answer = client.sign_in(ALICE, "/");
    assert_eq!(answer.status, 303, "a new login heals it");
    assert_eq!(client.get("/").send().status, 200);
    assert_eq!(foreign.get("/").send().status, 200);
}

#[test]
fn a_cookie_is_worth_nothing_after_signing_out_wherever_it_is_replayed() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let stolen = client.session();
    assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
    for version in [Version::H1, Version::H2] {
        let thief = gateway.client().speaking(version);
        for path in ["/", "/admin", "/optional", "/anonymous"] {
            thief.set_session(&stolen);
            gateway.application.forget();
            let answer = thief.get(path).send();
            match path {
                "/" | "/admin" => assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("logout"))),
                _ => assert_eq!(gateway.application.last().header("x-forwarded-user"), None),
            }
        }
    }
    gateway.advance(25 * 3600);
    let thief = gateway.client();
    thief.set_session(&stolen);
    assert_eq!(thief.get("/").send().status, 401, "also when the end itself is forgotten");
}

#[test]
fn one_live_cookie_beside_junk_is_used_in_either_order() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let live = named(&client.session());
    let ended = {
        let other = gateway.signed_in(BOB);
        let value = other.session();
        assert_eq!(other.post_form("/.vestibule/logout", &[]).send().status, 200);
        named(&value)
    };
    let truncated = live[..live.len() - 1].to_owned();
    for junk in [&*named("junk"), &*named(""), &truncated, &ended] {
        for cookies in [[&*live, junk], [junk, &*live]] {
            let answer = with_cookies(&client, &cookies);
            assert_eq!(answer.status, 200, "{cookies:?}");
            assert_eq!(gateway.application.last().header("x-forwarded-user"), Some("alice"));
            let received = gateway.application.last();
            assert!(!received.mentions("session") && !received.mentions("junk"), "{received:?}");
        }
    }
    assert_eq!(with_cookies(&client, &[&live, &live]).status, 200, "the same cookie twice is one session");
}

#[test]
fn of_two_live_sessions_none_is_used_and_a_new_login_heals_it() {
    let gateway = Setup::new().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let both = [named(&alice.session()), named(&bob.session())];
    for cookies in [[&*both[0], &*both[1]], [&*both[1], &*both[0]]] {
        let answer = with_cookies(&alice, &cookies);
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("several_sessions")));
        assert!(
            answer.set_cookies()[0].starts_with("__Host-session=; ") && answer.set_cookies()[0].contains("Max-Age=0")
        );
        // Routes for everybody pass it on as nobody.
        let answer = alice.get("/optional").without_cookies().header("cookie", &cookies.join("; ")).send();
        assert_eq!(answer.status, 200);
        assert_eq!(gateway.application.last().header("x-forwarded-user"), None);
    }
    // A browser with two: what it is told to delete it deletes, and then it can sign in.
    let browser = gateway.client();
    let led = browser.visit("/work").without_cookies().header("cookie", &both.join("; ")).send();
    assert_eq!((led.status, browser.session().as_str()), (302, ""));
    let page = browser.visit(led.header("location")).send();
    assert!(page.text().contains("more than one session"), "{}", page.text());
    assert_eq!(browser.sign_in(ALICE, "/work").header("location"), "/work");
    assert_eq!(browser.visit("/work").send().status, 200);
    // Even one that keeps the two for ever gets in with a third in their place.
    let stubborn = gateway.client();
    assert_eq!(stubborn.sign_in(BOB, "/").status, 303);
    let cookies = [named("junk"), named("more junk"), named(&stubborn.session())];
    assert_eq!(with_cookies(&stubborn, &[&cookies[0], &cookies[1], &cookies[2]]).status, 200);
}

#[test]
fn more_cookies_than_any_accident_makes_cost_little_and_open_nothing() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let mut many = String::new();
    for at in 0..900 {
        let _ = write!(many, "{NAME}=junk{at}; ");
    }
    let answer =
        client.get("/").without_cookies().header("cookie", &format!("{many}{NAME}={}", client.session())).send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("invalid_cookie")));
    gateway.application.assert_untouched();
}

#[test]
fn a_near_miss_of_the_name_is_not_our_cookie() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let value = client.session();
    for name in [
        "__host-session",
        "__HOST-SESSION",
        "__Host-Session",
        "__Host-session ",
        " __Host-session2",
        "x__Host-session",
        "__Secure-session",
        "session",
        "\"__Host-session\"",
        "$__Host-session",
        "",
    ] {
        let answer = with_cookies(&client, &[&format!("{name}={value}")]);
        let reason = answer.json()["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status, reason.as_str()), (401, "no_session"), "{name:?}");
        // Nor can it push the real one out.
        for cookies in [[format!("{name}=planted"), named(&value)], [named(&value), format!("{name}=planted")]] {
            assert_eq!(with_cookies(&client, &[&cookies[0], &cookies[1]]).status, 200, "{cookies:?}");
        }
    }
}

#[test]
fn the_cookie_is_found_in_any_of_several_headers() {
    let gateway = Setup::new().start();
    let value = gateway.signed_in(ALICE).session();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        let crumbs =
            client.get("/").header("cookie", "a=1").header("cookie", &named(&value)).header("cookie", "b=2; c=3");
        assert_eq!(crumbs.send().status, 200);
        let received = gateway.application.last();
        assert_eq!(received.header("cookie"), Some("a=1; b=2; c=3"), "joined, and without ours");
        assert_eq!(received.header("x-forwarded-user"), Some("alice"));
        let tight = client.get("/").header("cookie", &format!("a=1;{NAME}={value};b=2"));
        assert_eq!(tight.send().status, 200);
        assert_eq!(gateway.application.last().header("cookie"), Some("a=1; b=2"));
        // Two sessions in two headers are two sessions.
        let other = gateway.signed_in(BOB).session();
        let both = client.get("/").header("cookie", &named(&value)).header("cookie", &named(&other)).send();
        assert_eq!((both.status, both.json()["reason"].as_str()), (401, Some("several_sessions")));
    }
}

#[test]
fn the_application_neither_sets_nor_deletes_nor_sees_our_cookies() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let before = client.jar.borrow().clone();
        for path in ["/cookies", "/public/cookies", "/optional/cookies", "/anonymous/cookies", "/admin/cookies"] {
            let answer = client.get(path).send();
            assert_eq!((answer.status, answer.text().as_str()), (200, "cookies"));
            assert_eq!(answer.set_cookies(), ["JSESSIONID=app; Path=/"], "{path}");
            assert_eq!(answer.header("clear-site-data"), "");
            let received = gateway.application.last();
            assert!(!received.mentions("__Host-") && !received.mentions(&client.session()), "{path}");
        }
        assert_eq!(client.session(), before[NAME]);
        assert_eq!(client.jar.borrow()["__Host-login"], before["__Host-login"]);
        assert_eq!(client.get("/").send().status, 200);
        assert_eq!(gateway.application.last().header("cookie"), Some("JSESSIONID=app"), "its own cookie it does see");
    }
}

#[test]
fn a_near_miss_of_our_name_does_not_reach_the_application_either() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    for path in ["/", "/public", "/optional", "/anonymous"] {
        let request = client.get(path).header("cookie", "__host-SESSION=x; app=1; __HOST-login=y; __Host-session = z");
        assert_eq!(request.send().status, 200);
        assert_eq!(gateway.application.last().header("cookie"), Some("app=1"), "{path}");
    }
}

/// Every `Set-Cookie` of ours must have exactly these attributes.
fn assert_is_guarded(answer: &Answer, name: &str) {
    let cookies = answer.set_cookies();
    let ours: Vec<_> = cookies.iter().filter(|cookie| cookie.starts_with(&format!("{name}="))).collect();
    assert_eq!(ours.len(), 1, "{cookies:?}");
    let mut attributes: Vec<&str> = ours[0].split("; ").skip(1).collect();
    attributes.retain(|part| !part.starts_with("Max-Age=") && !part.starts_with("Expires="));
    attributes.sort_unstable();
    assert_eq!(attributes, ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.headers.get_all("cache-control").iter().count(), 1);
}

#[test]
fn our_cookies_are_guarded_and_kept_by_no_cache() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        assert_is_guarded(&client.visit("/.vestibule/login").send(), "__Host-login");
        let login = client.sign_in(ALICE, "/");
        assert_is_guarded(&login, NAME);
        // Rotation is due: an answer of the application that everybody may keep carries the cookie, so nobody may.
        gateway.advance(15 * 60);
        let answer = client.get("/cached").send();
        assert_eq!(answer.text(), "cached");
        assert_is_guarded(&answer, NAME);
        let plain = client.get("/cached").send();
        assert_eq!((plain.set_cookies().len(), plain.header("cache-control")), (0, "public, max-age=3600"));
        assert_is_guarded(&client.post_form("/.vestibule/logout", &[]).send(), NAME);
        assert_is_guarded(&client.get("/anonymous/cached").send(), NAME);
    }
}

#[test]
fn the_cookie_is_the_same_length_for_everybody_and_says_nothing() {
    let gateway = Setup::new().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let stranger = gateway.client();
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    assert_eq!(alice.session().len(), bob.session().len());
    assert_eq!(alice.session().len(), stranger.session().len());
    let handle = gateway.sessions_of("alice")[0].handle().to_string();
    assert!(!alice.session().contains(&handle));
}

#[test]
fn a_cookie_of_our_login_page_is_no_session() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    assert_eq!(client.visit("/.vestibule/login").send().status, 200);
    let login = client.jar.borrow()["__Host-login"].clone();
    client.set_session(&login);
    assert_eq!(client.request(Method::GET, "/").send().status, 401);
    gateway.application.assert_untouched();
}
