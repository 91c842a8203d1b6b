//! A session is bound to how its browser speaks TLS, where that is asked for.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{HandshakeKind, version};

use super::harness::{ALICE, Answer, Client, Gateway, Setup, Version, tls_config};

const EXACT: &str = "[session.binding.tls]\nmode = \"exact\"\n";

/// A client with the same cookies and the same words in its requests that does TLS in another way.
fn doing(gateway: &Gateway, client: &Client, change: impl FnOnce(&mut CryptoProvider)) -> Client {
    let (mut other, mut provider) = (gateway.client(), aws_lc_rs::default_provider());
    change(&mut provider);
    other.tls = Some(tls_config(provider, rustls::ALL_VERSIONS));
    other.set_session(&client.session());
    other
}

/// A script, for instance, that says to be the browser.
fn by_other_suites(gateway: &Gateway, client: &Client) -> Client {
    doing(gateway, client, |provider| provider.cipher_suites.reverse())
}

fn reason(answer: &Answer) -> String {
    assert_eq!(answer.status, 401, "{}", answer.text());
    answer.json()["reason"].as_str().unwrap_or_default().to_owned()
}

/// How many sessions the metrics say were used from elsewhere, by what differed and what followed.
fn counted(gateway: &Gateway) -> Vec<String> {
    let text = gateway.running().shared.render_metrics();
    let lines = text.lines().filter_map(|line| line.strip_prefix("vestibule_binding_mismatches_total"));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

fn reports(gateway: &Gateway) -> usize {
    gateway.log.text().lines().filter(|line| line.contains("audit binding.mismatch")).count()
}

#[test]
fn is_not_compared_unless_asked() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(by_other_suites(&gateway, &client).get("/").send().status, 200);
    assert_eq!((counted(&gateway), reports(&gateway)), (Vec::new(), 0));
}

#[test]
fn end_ends_the_session_and_says_why() {
    let gateway = Setup::new().extra(&format!("{EXACT}answer = \"end\"")).start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(client.get("/").send().status, 200);
    gateway.application.forget();
    assert_eq!(reason(&by_other_suites(&gateway, &client).get("/").send()), "binding_tls");
    assert_eq!(reason(&client.get("/").send()), "binding_tls", "the session is over for everybody");
    gateway.application.assert_untouched();
    gateway.log.wait_for(&["audit session.ended", "reason=binding_tls"]);
    let page = client.visit(client.visit("/").send().header("location")).send();
    assert!(page.text().contains("your browser connects in another way"), "{}", page.text());
}

#[test]
fn other_groups_are_another_browser_too() {
    let gateway = Setup::new().extra(&format!("{EXACT}answer = \"end\"")).start();
    let client = gateway.signed_in(ALICE);
    let other = doing(&gateway, &client, |provider| {
        provider.kx_groups.pop();
    });
    assert_eq!(reason(&other.get("/").send()), "binding_tls");
}

/// The default answer.
#[test]
fn step_up_asks_for_the_password_again_and_the_person_goes_on_where_they_were() {
    let gateway = Setup::new().extra(EXACT).start();
    let client = gateway.signed_in(ALICE);
    gateway.application.forget();
    let other = by_other_suites(&gateway, &client);
    assert_eq!(reason(&other.get("/").send()), "other_tls");
    let led = other.visit("/work?page=2").send();
    assert_eq!((led.status, led.set_cookies().len()), (302, 0));
    let page = other.visit(led.header("location")).send();
    assert!(page.text().contains("Your browser connects in another way"), "{}", page.text());
    gateway.application.assert_untouched();
    assert_eq!(client.get("/").send().status, 200, "where it was made it goes on");
    gateway.log.wait_for(&["audit binding.mismatch", "user=alice", "reason=tls", "answer=step_up"]);
    assert_eq!((counted(&gateway).len(), reports(&gateway)), (1, 1));
    let before = client.session();
    assert_eq!(other.sign_in(ALICE, "/work?page=2").header("location"), "/work?page=2");
    assert_ne!(other.session(), before);
    assert_eq!(other.get("/work?page=2").send().status, 200);
    assert_eq!(gateway.sessions_of("alice").len(), 1);
}

#[test]
fn log_reports_once_and_goes_on() {
    let gateway = Setup::new().extra(&format!("{EXACT}answer = \"log\"")).start();
    let client = gateway.signed_in(ALICE);
    let other = by_other_suites(&gateway, &client);
    for _ in 0..5 {
        assert_eq!(other.get("/").send().status, 200);
    }
    gateway.log.wait_for(&["audit binding.mismatch", "session=", "user=alice", "reason=tls", "answer=log"]);
    assert_eq!(counted(&gateway), ["{reason=\"tls\",answer=\"log\"} 1"]);
    assert_eq!(reports(&gateway), 1);
}

#[test]
fn another_http_and_a_resumed_connection_are_the_same_browser() {
    let gateway = Setup::new().extra(&format!("{EXACT}answer = \"end\"")).start();
    for versions in [rustls::ALL_VERSIONS, &[&version::TLS12]] {
        let mut client = gateway.client();
        client.tls = Some(tls_config(aws_lc_rs::default_provider(), versions));
        assert_eq!(client.sign_in(ALICE, "/").status, 303);
        assert_eq!(client.handshake.get(), Some(HandshakeKind::Resumed));
        for version in [Version::H1, Version::H2] {
            client.version = version;
            assert_eq!(client.get("/").send().status, 200, "{version:?}");
            assert_eq!(client.handshake.get(), Some(HandshakeKind::Resumed));
        }
        // The browser was closed and opened again: it resumes nothing.
        client.tls = Some(tls_config(aws_lc_rs::default_provider(), versions));
        assert_eq!(client.get("/").send().status, 200);
        assert_eq!(client.handshake.get(), Some(HandshakeKind::Full));
    }
}

#[test]
fn who_comes_through_a_trusted_proxy_has_no_fingerprint() {
    let mut setup = Setup::new().extra(&format!("{EXACT}answer = \"end\""));
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    // The proxy was updated, or is another one of several.
    assert_eq!(by_other_suites(&gateway, &client).get("/").send().status, 200);
    assert_eq!(client.get("/").send().status, 200);
}

#[test]
fn a_proxy_that_relays_tls_leaves_it_as_it_is() {
    let mut setup = Setup::new().extra(&format!("{EXACT}answer = \"end\""));
    setup.server = "trusted_proxies = [\"127.0.0.1\"]\nproxy_protocol = true".to_owned();
    let gateway = setup.start();
    let mut client = gateway.client();
    client.before = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n".to_vec();
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    assert_eq!(client.get("/").send().status, 200);
    let mut other = by_other_suites(&gateway, &client);
    other.before.clone_from(&client.before);
    assert_eq!(reason(&other.get("/").send()), "binding_tls");
}

#[test]
fn anonymous_sessions_are_bound_too() {
    let gateway = Setup::new().extra(&format!("{EXACT}answer = \"end\"")).start();
    let stranger = gateway.client();
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    let planted = stranger.session();
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    assert_eq!(stranger.session(), planted);
    let thief = by_other_suites(&gateway, &stranger);
    assert_eq!(thief.get("/anonymous").send().status, 200);
    assert_ne!(thief.session(), planted, "the thief is given a session of its own");
}

#[test]
fn shadow_mode_reports_what_would_have_happened_once_a_session_and_does_nothing() {
    let shadow = "[session.binding]\nshadow = true\n";
    let gateway = Setup::new().extra(&format!("{shadow}{EXACT}")).start();
    let client = gateway.signed_in(ALICE);
    let mut other = by_other_suites(&gateway, &client);
    other.user_agent = "curl/8.5.0".to_owned();
    for _ in 0..5 {
        assert_eq!(other.get("/").send().status, 200);
    }
    gateway.log.wait_for(&["audit binding.mismatch", "user=alice", "reason=user_agent", "answer=would_end"]);
    gateway.log.wait_for(&["audit binding.mismatch", "user=alice", "reason=tls", "answer=would_step_up"]);
    assert_eq!(
        counted(&gateway),
        ["{reason=\"tls\",answer=\"would_step_up\"} 1", "{reason=\"user_agent\",answer=\"would_end\"} 1"]
    );
    assert_eq!(reports(&gateway), 2);
    // Of another session by itself.
    let next = gateway.signed_in(ALICE);
    assert_eq!(by_other_suites(&gateway, &next).get("/").send().status, 200);
    assert_eq!(counted(&gateway)[0], "{reason=\"tls\",answer=\"would_step_up\"} 2");
    assert_eq!(gateway.sessions_of("alice").len(), 2, "none of them has ended");
}
