//! The path that policy sees is the path that the application is sent, or the request is refused.

use super::harness::{ALICE, BOB, Gateway, Raw, Setup, USER_AGENT, Version};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// 400 for everybody.
    Bad,
    /// As `/admin`: for those with the role.
    Admin,
    /// As `/`: for those who are signed in.
    SignedIn,
    /// As `/public`.
    Public,
}
use Fate::{Admin, Bad, Public, SignedIn};

/// Sends a request line as it is. `session` is a cookie's value, or empty.
fn send(gateway: &Gateway, line: &[u8], session: &str) -> u16 {
    let mut bytes = line.to_vec();
    let rest = format!(
        " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\nCookie: \
         __Host-session={session}\r\n\r\n"
    );
    bytes.extend_from_slice(rest.as_bytes());
    let answer = Raw::to(gateway.address).ask(bytes);
    answer.map_or(0, |answer| answer.status)
}

/// Asserts what becomes of a request for nobody, for Bob who is no administrator, and for Alice who is.
fn assert_fate(gateway: &Gateway, sessions: &[String; 3], line: &[u8], fate: Fate, forwarded: &str) {
    let shown = String::from_utf8_lossy(line).into_owned();
    let expected = match fate {
        Bad => [400, 400, 400],
        Admin => [401, 403, 200],
        SignedIn => [401, 200, 200],
        Public => [200, 200, 200],
    };
    for ((who, session), expected) in ["nobody", "Bob", "Alice"].iter().zip(sessions).zip(expected) {
        gateway.application.forget();
        assert_eq!(send(gateway, line, session), expected, "{shown} by {who}");
        if expected == 200 {
            assert_eq!(gateway.application.last().uri.to_string(), forwarded, "{shown} by {who}");
        } else {
            gateway.application.assert_untouched();
        }
    }
}

fn started() -> (Gateway, [String; 3]) {
    let gateway = Setup::new().unlimited().start();
    let session = |who| gateway.signed_in(who).session();
    let sessions = [String::new(), session(BOB), session(ALICE)];
    (gateway, sessions)
}

#[test]
fn nothing_in_a_query_or_a_fragment_changes_the_route() {
    let (gateway, sessions) = started();
    for (target, fate, forwarded) in [
        ("/admin?x=/public", Admin, "/admin?x=/public"),
        ("/admin?/public/", Admin, "/admin?/public/"),
        ("/admin?", Admin, "/admin?"),
        ("/admin?x=/../public", Admin, "/admin?x=/../public"),
        ("/admin/?/../public", Admin, "/admin/?/../public"),
        ("/public?next=/admin", Public, "/public?next=/admin"),
        ("/public?/../admin", Public, "/public?/../admin"),
        ("/admin#/public", Bad, ""),
        ("/admin/#/../public", Bad, ""),
        ("/public#/../admin", Bad, ""),
        ("/public%23/../admin", Bad, ""),
        ("/public%23/admin", SignedIn, "/public%23/admin"),
        ("/admin%3f/public", SignedIn, "/admin%3f/public"),
        ("/public%3f/../admin", Bad, ""),
        ("/x?/public", SignedIn, "/x?/public"),
    ] {
        assert_fate(&gateway, &sessions, format!("GET {target}").as_bytes(), fate, forwarded);
    }
}

#[test]
fn every_spelling_of_a_path_is_judged_as_the_application_reads_it() {
    let (gateway, sessions) = started();
    for (target, fate, forwarded) in [
        ("/admin", Admin, "/admin"),
        ("/admin/", Admin, "/admin/"),
        ("//admin", Admin, "/admin"),
        ("///admin//users", Admin, "/admin/users"),
        ("/%61dmin", Admin, "/%61dmin"),
        ("/%61%64%6d%69%6E/x", Admin, "/%61%64%6d%69%6E/x"),
        ("/admin;x=/public", Admin, "/admin;x=/public"),
        ("/admin;public", Admin, "/admin;public"),
        ("/admin%3Bx", Admin, "/admin%3Bx"),
        ("/;/admin", Admin, "/;/admin"),
        ("/;public/admin", Admin, "/;public/admin"),
        ("/;/;/admin", Admin, "/;/;/admin"),
        ("/public/;/x", Public, "/public/;/x"),
        ("/administrators", SignedIn, "/administrators"),
        ("/publicity", SignedIn, "/publicity"),
        ("/Public", SignedIn, "/Public"),
        ("/public.", SignedIn, "/public."),
        ("/public%20", SignedIn, "/public%20"),
        ("/public/%C3%A9", Public, "/public/%C3%A9"),
        ("/x/public", SignedIn, "/x/public"),
        ("//localhost/public", SignedIn, "/localhost/public"),
        ("https://localhost/admin", Admin, "/admin"),
        ("http://localhost/admin?x", Admin, "/admin?x"),
        ("https://localhost//admin", Admin, "/admin"),
        ("https://LOCALHOST/public", Public, "/public"),
        ("https://localhost", SignedIn, "/"),
        ("https://localhost?/public", SignedIn, "/?/public"),
    ] {
        assert_fate(&gateway, &sessions, format!("GET {target}").as_bytes(), fate, forwarded);
    }
}

#[test]
fn what_two_servers_read_differently_is_refused() {
    let (gateway, sessions) = started();
    let targets: &[&[u8]] = &[
        b"/public/../admin",
        b"/public/..",
        b"/public/.",
        b"/./admin",
        b"/public/./x",
        b"/public/..;/admin",
        b"/public/..;x=y/admin",
        b"/public/.;/admin",
        b"/public/%2e%2e/admin",
        b"/public/%2E./admin",
        b"/public/.%2e/admin",
        b"/%2e/admin",
        b"/public/..%3b/admin",
        b"/public/%2e%2e%3Bx/admin",
        b"/public%2f..%2fadmin",
        b"/public%2Fadmin",
        b"/public%2fadmin",
        b"/public%5cadmin",
        b"/public%5C..%5Cadmin",
        b"/public\\admin",
        b"/public\\..\\admin",
        b"\\admin",
        b"/public/..\\admin",
        b"/public%252fadmin",
        b"/public/%252e%252e/admin",
        b"/public%25252fadmin",
        b"/public%255cadmin",
        b"/public%253b/admin",
        b"/public%00/admin",
        b"/public/%00",
        b"/admin%00.css",
        b"/public%0d%0aX-Forwarded-User:%20alice",
        b"/public%0a",
        b"/public%09",
        b"/public%7f",
        b"/public/%2500",
        b"/public/%c0%ae%c0%ae/admin",
        b"/public%c0%afadmin",
        b"/public%e0%80%afadmin",
        b"/public%f0%80%80%afadmin",
        b"/public/%u002e%u002e/admin",
        b"/public%u002fadmin",
        b"/public/%",
        b"/public/%2",
        b"/public/%zz",
        b"/public/\xc3\xa9",
        b"/public/\xff",
        b"/public/\x00",
        b"/public/\x01",
        b"/public/\x7f",
        b"/public /admin",
        b"/public\t/admin",
        b"public",
        b"admin",
        b"./admin",
        b"*",
        b"",
        b"?x",
        b"#/public",
        b"localhost/admin",
        b"localhost:443",
        b"https://localhost/public/../admin",
        b"https://localhost/public%2fadmin",
        b"https://evil.test/public",
        b"https://localhost:1/public",
        b"https://user@localhost/public",
        b"https:///public",
        b"file:///public",
        b"https:/public",
    ];
    for target in targets {
        assert_fate(&gateway, &sessions, &[b"GET ", *target].concat(), Bad, "");
    }
    for line in ["OPTIONS *", "CONNECT localhost:443", "CONNECT /public", "CONNECT https://localhost/public", "GET"] {
        assert_fate(&gateway, &sessions, line.as_bytes(), Bad, "");
    }
}

/// A path as the most obliging application would read it: decoded until nothing is left to decode, parameters dropped,
/// backslashes turned, dots followed, whatever comes after a NUL forgotten.
fn obligingly(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..4 {
        bytes = percent_encoding::percent_decode(&bytes).collect();
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split('\0').next().unwrap_or_default().split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            named => segments.push(named),
        }
    }
    format!("/{}", segments.join("/"))
}

#[test]
fn no_mixture_of_tricks_leads_a_stranger_to_a_page_that_asks_for_a_role() {
    let (gateway, sessions) = started();
    let separators = [
        "/",
        "//",
        "/./",
        "/;/",
        "/%2e/",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%252f",
        "%25252F",
        "/..;/",
        "/%2e%2e/",
        "/../",
        "/%252e%252e/",
        "/.%00/",
        "%00/",
        "%3b/",
        "/%3b/",
        ";/",
        ";x=/",
        "#/",
        "%23/",
        "/.;/",
        "%u002f",
        "%c0%af",
        "/%c0%ae%c0%ae/",
        "%20/",
        "/x/../",
        "/x//..//",
    ];
    let mut arrived = 0;
    for separator in separators {
        for target in [
            format!("{separator}admin"),
            format!("{separator}admin/public"),
            format!("/public{separator}admin"),
            format!("/public{separator}..{separator}admin"),
            format!("/public/..{separator}admin"),
            format!("/public{separator}../admin"),
            format!("/admin{separator}public"),
            format!("/admin{separator}../public"),
            format!("/x{separator}../admin/y"),
        ] {
            for (session, allowed) in sessions[..2].iter().zip([&[200, 400, 401][..], &[200, 400, 403]]) {
                gateway.application.forget();
                let status = send(&gateway, format!("GET {target}").as_bytes(), session);
                assert!(allowed.contains(&status), "{target}: {status}");
                for received in gateway.application.received() {
                    let read = obligingly(received.uri.path());
                    let is_admin = read == "/admin" || read.starts_with("/admin/");
                    let is_public = read == "/public" || read.starts_with("/public/");
                    assert!(!is_admin, "{target} arrived as {}", received.uri);
                    assert!(is_public || !session.is_empty(), "{target} arrived as {} for nobody", received.uri);
                    arrived += 1;
                }
            }
        }
    }
    assert!(arrived > 10, "the test means nothing when nothing arrives");
}

#[test]
fn the_same_holds_over_http_2() {
    let gateway = Setup::new().start();
    let client = gateway.client().speaking(Version::H2);
    for target in ["/public/../admin", "/public/%2e%2e/admin", "/public%2fadmin", "/public/..;/admin", "/%252e/x"] {
        assert_eq!(client.get(target).send().status, 400, "{target}");
    }
    for target in ["//admin", "/;/admin", "/%61dmin", "/admin;x", "/admin?x=/public"] {
        assert_eq!(client.get(target).send().status, 401, "{target}");
    }
    gateway.application.assert_untouched();
    assert_eq!(client.get("/public//x").send().status, 200);
    assert_eq!(gateway.application.last().uri, "/public/x");
}

#[test]
fn our_own_pages_cannot_be_reached_by_detours_nor_taken_over() {
    let (gateway, sessions) = started();
    gateway.application.forget();
    for target in
        ["/.vestibule/sessions-of-others", "//.vestibule//nowhere", "/%2evestibule/nowhere", "/.vestibule;x/y"]
    {
        for session in &sessions {
            assert_eq!(send(&gateway, format!("GET {target}").as_bytes(), session), 404, "{target}");
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn a_path_that_is_too_long_is_refused_and_one_that_is_not_goes_through() {
    let (gateway, sessions) = started();
    let long = format!("/public/{}", "a".repeat(8000));
    assert_fate(&gateway, &sessions, format!("GET {long}").as_bytes(), Public, &long);
    let too_long = format!("GET /public/{}", "a".repeat(8 * 1024));
    assert_eq!(send(&gateway, too_long.as_bytes(), ""), 400);
    let far_too_long = format!("GET /public/{}", "a".repeat(40 * 1024));
    gateway.application.forget();
    assert!(matches!(send(&gateway, far_too_long.as_bytes(), ""), 400 | 414 | 431));
    gateway.application.assert_untouched();
}
