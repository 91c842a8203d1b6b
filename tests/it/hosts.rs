//! Which host a request is for: one reading for certificate, route and application.

use super::harness::{Gateway, Hello, Raw, Setup, Version};

/// Routes that tell hosts apart by their status: `a.test` is public, `*.wild.test` too, everything else asks for login.
fn started() -> Gateway {
    let mut setup = Setup::new();
    setup.routes = [("a.test", "public"), ("*.wild.test", "public"), ("*", "authenticated")]
        .map(|(host, access)| {
            format!("[[route]]\nhost = \"{host}\"\npath = \"/\"\nupstream = \"app\"\naccess = \"{access}\"\n")
        })
        .concat();
    setup.certificates = vec![vec!["first.test"], vec!["a.test", "also.test"], vec!["*.wild.test", "wild.test"]];
    setup.start()
}

fn connected(gateway: &Gateway, sni: Option<&str>) -> Raw {
    Raw::shaking(gateway.address, Hello { sni, ..Hello::default() }).expect("a handshake")
}

/// The status of a request with these lines after the request line, on a connection of its own.
fn ask(gateway: &Gateway, sni: Option<&str>, target: &str, headers: &str) -> u16 {
    let request = format!("GET {target} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    connected(gateway, sni).ask(request).expect("an answer").status
}

#[test]
fn a_host_is_the_same_in_any_case_with_a_dot_or_a_port() {
    let gateway = started();
    for host in ["a.test", "A.TEST", "a.Test.", "a.test:8443", "A.test.:443", "a.test:", "a.test:65535"] {
        assert_eq!(ask(&gateway, Some("a.test"), "/", &format!("Host: {host}\r\n")), 200, "{host}");
        let received = gateway.application.last();
        assert_eq!(received.header("host"), Some(host));
        assert_eq!(received.header("x-forwarded-host"), Some(host));
    }
    for host in ["x.wild.test", "X.WILD.test.:8443"] {
        assert_eq!(ask(&gateway, Some("x.wild.test"), "/", &format!("Host: {host}\r\n")), 200, "{host}");
    }
}

#[test]
fn a_request_that_names_no_host_or_several_or_nonsense_is_refused() {
    let gateway = started();
    for headers in [
        "",
        "Host:\r\n",
        "Host: \r\n",
        "Host: a.test\r\nHost: a.test\r\n",
        "Host: a.test\r\nHost: b.test\r\n",
        "Host: a.test\r\nhOsT: first.test\r\n",
        "Host: a.test, first.test\r\n",
        "Host: a.test first.test\r\n",
        "Host: a.test/x\r\n",
        "Host: a.test?x\r\n",
        "Host: a.test#x\r\n",
        "Host: user@a.test\r\n",
        "Host: a.test:80:80\r\n",
        "Host: a.test:x\r\n",
        "Host: a.test:65536\r\n",
        "Host: a.test:+80\r\n",
        "Host: a.test..\r\n",
        "Host: .\r\n",
        "Host: [::1\r\n",
        "Host: a.te\x7fst\r\n",
        "Host: a%2etest\r\n",
        "Host: \u{e4}.test\r\n",
        "Host: https://a.test\r\n",
    ] {
        for sni in [Some("a.test"), None] {
            let status = ask(&gateway, sni, "/", headers);
            // Two dots at the end leave a host that no route and no certificate knows.
            let allowed: &[u16] = if headers.contains("..") { &[400, 401, 421] } else { &[400] };
            assert!(allowed.contains(&status), "{headers:?}: {status}");
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn an_absolute_target_must_name_the_same_host_as_the_host_header() {
    let gateway = started();
    for (target, host, status) in [
        ("https://a.test/", "a.test", 200),
        ("https://A.test/", "a.TEST", 200),
        ("https://a.test:8443/", "a.test:8443", 200),
        ("https://a.test/", "also.test", 400),
        ("https://also.test/", "a.test", 400),
        ("https://a.test:8443/", "a.test", 400),
        ("https://a.test.evil.test/", "a.test", 400),
        ("https://a.test@also.test/", "a.test", 400),
        ("https://also.test/", "also.test", 401),
    ] {
        gateway.application.forget();
        assert_eq!(ask(&gateway, Some("a.test"), target, &format!("Host: {host}\r\n")), status, "{target} {host}");
        if status != 200 {
            gateway.application.assert_untouched();
        }
    }
    // RFC 9112 section 3.2 wants a Host header with every request; the target alone says as much.
    assert_eq!(ask(&gateway, Some("a.test"), "https://a.test/", ""), 200);
    assert_eq!(gateway.application.last().header("host"), Some("a.test"));
}

#[test]
fn over_http_2_the_authority_and_a_host_header_must_agree() {
    let gateway = started();
    let mut client = gateway.client().speaking(Version::H2);
    client.host = "a.test".to_owned();
    client.sni = "a.test".to_owned();
    let authority = client.authority();
    assert_eq!(client.get("/").send().status, 200);
    assert_eq!(gateway.application.last().header("host"), Some(authority.as_str()));
    assert_eq!(client.get("/").header("host", &authority).send().status, 200);
    assert_eq!(gateway.application.last().header("host"), Some(authority.as_str()));
    gateway.application.forget();
    for host in ["also.test", "a.test", "", "first.test"] {
        assert_eq!(client.get("/").header("host", host).send().status, 400, "{host}");
    }
    assert_eq!(client.get("/").header("host", &authority).header("host", "also.test").send().status, 400);
    gateway.application.assert_untouched();
}

#[test]
fn a_connection_serves_only_the_hosts_its_certificate_is_for() {
    let gateway = started();
    for (sni, host, status) in [
        (Some("a.test"), "a.test", 200),
        (Some("also.test"), "a.test", 200),
        (Some("also.test"), "also.test", 401),
        (Some("a.test"), "first.test", 421),
        (Some("a.test"), "x.wild.test", 421),
        (Some("x.wild.test"), "x.wild.test", 200),
        (Some("x.wild.test"), "y.wild.test", 200),
        (Some("x.wild.test"), "wild.test", 401),
        (Some("x.wild.test"), "y.x.wild.test", 421),
        (Some("x.wild.test"), "a.test", 421),
        (Some("unknown.test"), "unknown.test", 401),
        (Some("unknown.test"), "first.test", 401),
        (Some("unknown.test"), "a.test", 421),
        (Some("first.test"), "127.0.0.1", 421),
        // Without a name in the handshake there is nothing to compare.
        (None, "a.test", 200),
        (None, "unknown.test", 401),
    ] {
        gateway.application.forget();
        assert_eq!(ask(&gateway, sni, "/", &format!("Host: {host}\r\n")), status, "{sni:?} {host}");
        if status != 200 {
            gateway.application.assert_untouched();
        }
    }
}

#[test]
fn a_misdirected_request_is_told_apart_on_a_connection_that_is_used_again() {
    let gateway = started();
    let mut connection = connected(&gateway, Some("a.test"));
    for (host, status) in [("a.test", 200), ("first.test", 421), ("also.test", 401), ("a.test", 200)] {
        let answer = connection.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect("an answer");
        assert_eq!(answer.status, status, "{host}");
    }
    assert_eq!(gateway.application.received().len(), 2);
}

#[test]
fn the_named_host_chooses_the_certificate() {
    let gateway = started();
    for (sni, name) in [
        (Some("a.test"), "a.test"),
        (Some("A.TEST"), "a.test"),
        (Some("also.test"), "a.test"),
        (Some("x.wild.test"), "wild.test"),
        (Some("first.test"), "first.test"),
        (Some("unknown.test"), "first.test"),
        (Some("y.x.wild.test"), "first.test"),
        (None, "first.test"),
    ] {
        let shown = connected(&gateway, sni).certificate();
        let shown = webpki::EndEntityCert::try_from(&shown).expect("a certificate");
        assert!(shown.valid_dns_names().any(|other| other == name), "{sni:?}");
    }
}
