//! What is counted and measured: of each thing that happens, the number that moves.

use std::io::Write as _;
use std::net::TcpStream;

use rustls::HandshakeKind;

use super::harness::{ALICE, BOB, Gateway, Setup, Version, advance_until, ask_twice, eventually};

const OTHER_AGENT: &str = "Mozilla/5.0 (Macintosh) Safari/605.1";

/// A number by its name and labels; zero if it is not there.
fn value(gateway: &Gateway, name: &str) -> f64 {
    let text = gateway.running().shared.render_metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("vestibule_{name} ")).map(str::to_owned));
    line.map_or(0.0, |value| value.parse().expect("a number"))
}

#[test]
fn what_happens_to_sessions_is_counted_and_stands_at_zero_before() {
    let gateway = Setup::new()
        .extra("[session.binding.ip]\nmode = \"off\"\n[session.binding.user_agent]\nmode = \"exact\"\nanswer = \"log\"")
        .extra("[limits]\nper_session = \"5/h\"\nlogin = \"8/h\"")
        .start();
    let text = gateway.running().shared.render_metrics();
    for series in [
        "sessions_created_total{reason=\"user\"}",
        "sessions_ended_total{reason=\"reuse\"}",
        "logins_total{reason=\"failed\"}",
        "limited_total{reason=\"session_limit\"}",
        "session_rotations_total",
        "store_errors_total",
        "session_streams",
    ] {
        assert!(text.contains(&format!("\nvestibule_{series} 0\n")), "{series} in:\n{text}");
    }
    // Sign-ins by outcome.
    let alice = gateway.signed_in(ALICE);
    gateway.client().sign_in((ALICE.0, "not her password"), "/");
    let stale = [("username", ALICE.0), ("password", ALICE.1), ("attempt", "x")];
    assert_eq!(gateway.client().post_form("/.vestibule/login", &stale).navigating().send().status, 400);
    for (outcome, count) in [("succeeded", 1.0), ("failed", 1.0), ("stale", 1.0), ("refused", 0.0)] {
        assert_eq!(value(&gateway, &format!("logins_total{{reason=\"{outcome}\"}}")), count, "{outcome}");
    }
    // Another browser, which is only noted here.
    let mut other = gateway.client();
    other.user_agent = OTHER_AGENT.to_owned();
    other.set_session(&alice.session());
    assert_eq!(other.get("/").send().status, 200);
    assert_eq!(value(&gateway, "binding_mismatches_total{reason=\"user_agent\",answer=\"log\"}"), 1.0);
    // A rotation, and a cookie of before it.
    let former = alice.session();
    gateway.advance(900);
    alice.get("/").send();
    assert_eq!(alice.get("/").send().status, 200);
    assert_eq!(value(&gateway, "session_rotations_total"), 1.0);
    gateway.advance(60);
    let thief = gateway.client();
    thief.set_session(&former);
    assert_eq!(thief.get("/").send().json()["reason"], "reuse");
    assert_eq!(value(&gateway, "sessions_ended_total{reason=\"reuse\"}"), 1.0);
    // Too much.
    let bob = gateway.signed_in(BOB);
    let refused = (0..6).filter(|_| bob.get("/").send().status == 429).count();
    assert_eq!((refused as f64, refused), (value(&gateway, "limited_total{reason=\"session_limit\"}"), 1));
    let full =
        (0..20).any(|_| gateway.client().post_form("/.vestibule/login", &stale).navigating().send().status == 429);
    assert!(full && value(&gateway, "logins_total{reason=\"refused\"}") == 1.0);
    assert_eq!(value(&gateway, "limited_total{reason=\"login_limit\"}"), 1.0);
    assert_eq!((value(&gateway, "sessions_active"), value(&gateway, "snapshot_version")), (1.0, 1.0));
    // The store is asked for what is waited for, and for nothing that a request finds by itself.
    let asked = |operation: &str| {
        value(&gateway, &format!("store_operation_duration_seconds_count{{operation=\"{operation}\"}}"))
    };
    assert_eq!((asked("create"), asked("rotate"), asked("revoke"), asked("lookup")), (2.0, 1.0, 1.0, 0.0));
}

#[test]
fn requests_are_timed_by_route_and_class_of_status() {
    let gateway = Setup::new().start();
    let count = |route: &str, status: &str| {
        value(&gateway, &format!("request_duration_seconds_count{{route=\"{route}\",status=\"{status}\"}}"))
    };
    let sum =
        |route: &str| value(&gateway, &format!("request_duration_seconds_sum{{route=\"{route}\",status=\"2xx\"}}"));
    for version in [Version::H1, Version::H2] {
        let before =
            (count("*/public", "2xx"), count("*/", "4xx"), count("(own pages)", "4xx"), count("(none)", "4xx"));
        let client = gateway.client().speaking(version);
        assert_eq!(client.get("/public/x/y?z").send().status, 200);
        assert_eq!(client.get("/x").send().status, 401);
        assert_eq!(client.get("/.vestibule/nothing").send().status, 404);
        assert_eq!(client.get("/a%2f..%2fb").send().status, 400);
        let after = (before.0 + 1.0, before.1 + 1.0, before.2 + 1.0, before.3 + 1.0);
        eventually("all four have ended", || {
            (count("*/public", "2xx"), count("*/", "4xx"), count("(own pages)", "4xx"), count("(none)", "4xx")) == after
        });
    }
    // Until the last byte has been handed over.
    assert_eq!(sum("*/optional"), 0.0);
    let client = gateway.client();
    let (answer, mut stream) = client.get("/optional/stream").open();
    assert_eq!(answer.status, 200);
    assert!(stream.next().expect("a piece").is_ok());
    assert_eq!(count("*/optional", "2xx"), 0.0);
    gateway.advance(3);
    drop(stream);
    advance_until(&gateway, "the gateway notices", || count("*/optional", "2xx") == 1.0);
    assert!(sum("*/optional") >= 3.0, "{}", sum("*/optional"));
    let below = value(&gateway, "request_duration_seconds_bucket{le=\"2.5\",route=\"*/optional\",status=\"2xx\"}");
    let all = value(&gateway, "request_duration_seconds_bucket{le=\"+Inf\",route=\"*/optional\",status=\"2xx\"}");
    assert_eq!((below, all), (0.0, 1.0));
}

#[test]
fn handshakes_are_counted_by_what_became_of_them_and_streams_while_they_are_open() {
    let gateway = Setup::new().start();
    let handshakes = |outcome: &str| value(&gateway, &format!("tls_handshakes_total{{outcome=\"{outcome}\"}}"));
    let client = gateway.client();
    client.get("/public").send();
    let full = handshakes("full");
    assert!(full >= 1.0 && handshakes("failed") == 0.0);
    let mut plain = TcpStream::connect(gateway.address).expect("connected");
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    eventually("it is not TLS", || handshakes("failed") == 1.0);
    assert_eq!(ask_twice(gateway.address), [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]);
    assert_eq!((handshakes("full"), handshakes("resumed")), (full + 1.0, 1.0));
    let alice = gateway.signed_in(ALICE);
    let (_answer, mut stream) = alice.get("/stream").open();
    assert!(stream.next().expect("a piece").is_ok());
    eventually("it is open", || value(&gateway, "session_streams") == 1.0);
    gateway.revoke("alice");
    eventually("it has ended", || value(&gateway, "session_streams") == 0.0);
}
