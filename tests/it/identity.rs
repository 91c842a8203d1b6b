//! Who is signed in and who is connected: told to the application by the gateway, and by nobody else.

use http::Method;

use super::harness::{ALICE, Client, Gateway, Raw, Scripted, Setup, Version};

/// Every header that some preset sends, that peers send, or that says who is connected.
const NAMES: [&str; 30] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-roles",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "x-remote-user",
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-access-token",
    "x-authentik-username",
    "x-authentik-email",
    "x-authentik-groups",
    "x-authentik-entitlements",
    "x-authentik-name",
    "x-authentik-uid",
    "x-app-login",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-session-level",
];

/// Spellings that CGI makes one variable of.
fn spellings(name: &str) -> Vec<String> {
    let first_only = |with: &str| name.replacen('-', with, 1);
    let last_only = match name.rsplit_once('-') {
        Some((before, after)) => format!("{before}_{after}"),
        None => name.to_owned(),
    };
    let alternating = |(at, letter): (usize, char)| if at % 2 == 0 { letter.to_ascii_uppercase() } else { letter };
    vec![
        name.to_owned(),
        name.to_uppercase(),
        name.chars().enumerate().map(alternating).collect(),
        name.replace('-', "_"),
        name.replace('-', ".").to_uppercase(),
        name.replace('-', "~"),
        first_only("_"),
        first_only("."),
        last_only,
    ]
}

fn gateway() -> Gateway {
    Setup::new().unlimited().extra("[identity.headers]\n\"X-App-Login\" = \"{user}\"").start()
}

/// What CGI would make of everything that the application received.
fn cgi(gateway: &Gateway) -> Vec<(String, String)> {
    let fold = |byte: char| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { '_' };
    let received = gateway.application.last();
    let headers = received.headers.iter();
    headers
        .map(|(name, value)| {
            (name.as_str().chars().map(fold).collect(), String::from_utf8_lossy(value.as_bytes()).into())
        })
        .collect()
}

/// The one value that a CGI application sees of a variable.
fn only(gateway: &Gateway, variable: &str) -> Option<String> {
    let seen = cgi(gateway);
    let values: Vec<&String> = seen.iter().filter(|(name, _)| name == variable).map(|(_, value)| value).collect();
    assert!(values.len() < 2, "{variable} comes more than once: {seen:?}");
    values.first().map(|value| (*value).clone())
}

fn attack(client: &Client, method: &Method, target: &str, spelling: usize) {
    let mut request = client.request(method.clone(), target);
    for name in NAMES {
        let name = &spellings(name)[spelling];
        request = request.header(name, "mallory").header(name, "mallory-again");
    }
    request.send();
}

#[test]
fn no_spelling_of_an_identity_header_gets_through_on_any_route() {
    let gateway = gateway();
    let (nobody, alice) = (gateway.client(), gateway.signed_in(ALICE));
    let anonymous = gateway.client();
    assert_eq!(anonymous.get("/anonymous").send().status, 200);
    for spelling in 0..spellings("x-y").len() {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST] {
            for (client, target, user) in [
                (&nobody, "/public", None),
                (&nobody, "/public/status-404", None),
                (&nobody, "/optional", None),
                (&nobody, "/anonymous", None),
                (&anonymous, "/anonymous", None),
                (&alice, "/public", None),
                (&alice, "/optional", Some("alice")),
                (&alice, "/anonymous", Some("alice")),
                (&alice, "/", Some("alice")),
                (&alice, "/admin/status-404", Some("alice")),
            ] {
                gateway.application.forget();
                attack(client, &method, target, spelling);
                let what = format!("{method} {target} in spelling {spelling}");
                let received = gateway.application.last();
                assert_eq!(received.method, method);
                assert!(!received.mentions("mallory"), "{what}: {received:?}");
                assert_eq!(only(&gateway, "X_FORWARDED_USER").as_deref(), user, "{what}");
                assert_eq!(only(&gateway, "X_APP_LOGIN").as_deref(), user, "{what}");
                assert_eq!(only(&gateway, "X_REAL_IP").as_deref(), Some("127.0.0.1"), "{what}");
            }
        }
    }
}

#[test]
fn spoofed_headers_are_deleted_over_http_2_too() {
    let gateway = gateway();
    let client = gateway.signed_in(ALICE).speaking(Version::H2);
    for spelling in 0..spellings("x-y").len() {
        attack(&client, &Method::GET, "/", spelling);
        assert!(!gateway.application.last().mentions("mallory"), "{:?}", cgi(&gateway));
        assert_eq!(only(&gateway, "X_FORWARDED_USER").as_deref(), Some("alice"));
    }
}

#[test]
fn what_a_client_names_in_connection_cannot_take_our_words_away() {
    let gateway = gateway();
    let client = gateway.signed_in(ALICE);
    client.jar.borrow_mut().insert("theme".to_owned(), "dark".to_owned());
    let ours = "X-Forwarded-User, x-forwarded-roles, X-App-Login, Cookie, Host, Content-Length, Forwarded, \
                X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Real-IP, Authorization-Hint";
    for connection in [format!("close, {ours}"), format!("keep-alive, {ours}"), ours.replace(", ", ",")] {
        let answer = client
            .request(Method::POST, "/echo")
            .header("connection", &connection)
            .header("x-forwarded-user", "mallory")
            .header("authorization-hint", "for one hop only")
            .body("hello")
            .send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        let received = gateway.application.last();
        assert_eq!(received.header("x-forwarded-user"), Some("alice"), "{received:?}");
        assert_eq!(received.header("x-forwarded-roles"), Some("admin"));
        assert_eq!(received.header("x-app-login"), Some("alice"));
        assert_eq!(received.header("cookie"), Some("theme=dark"));
        assert_eq!(received.header("host"), Some(client.authority().as_str()));
        assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(received.header("x-forwarded-proto"), Some("https"));
        assert_eq!(received.header("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(received.header("authorization-hint"), None, "what is for one hop goes no further");
        assert_eq!(received.header("connection"), None);
    }
}

#[test]
fn trailers_cannot_bring_identity_in_behind_the_body() {
    let server = Scripted::start(|mut line| {
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let answer = Raw::to(gateway.address).ask(
        "POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-Forwarded-User, \
         X_Forwarded_Roles, X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Forwarded-User: mallory\r\nX_Forwarded_Roles: \
         mallory\r\nCookie: user=mallory\r\nAuthorization: mallory\r\nX-Forwarded-For: mallory\r\nHost: \
         mallory\r\nContent-Length: 7\r\nX-Original-URL: /mallory\r\nX-Sum: 42\r\n\r\n",
    );
    assert_eq!(answer.expect("an answer").status, 200);
    let received = server.received().join("\n");
    assert!(received.ends_with("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"), "{received}");
    assert!(received.contains("trailer: X-Sum\r\n"), "what does not follow is not announced: {received}");
    for (announced, expected) in [
        ("Trailer: X-Forwarded-User\r\nTrailer: cookie ,,Content-Type\r\n", &[][..]),
        ("Trailer: X-Sum ,,\r\nTrailer: x-more\r\n", &["X-Sum ,,", "x-more"]),
        ("Trailer: X-Sum ,Cookie,x_more\r\nTrailer: Transfer-Encoding, ETag\r\n", &["X-Sum, x_more", "ETag"]),
    ] {
        let head = "POST /public HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked";
        let answer = Raw::to(gateway.address).ask(format!("{head}\r\n{announced}\r\n1\r\nx\r\n0\r\n\r\n"));
        assert_eq!(answer.expect("an answer").status, 200);
        let received = server.received().pop().expect("it arrived");
        let passed: Vec<_> = received.lines().filter_map(|line| line.strip_prefix("trailer: ")).collect();
        assert_eq!(passed, expected, "{announced}");
    }
}

#[test]
fn presets_and_own_names_say_who_is_signed_in() {
    let own = "[identity.headers]\n\"X-App-Login\" = \"{user}\"\n\"X-App-Rights\" = \"{roles;}/{groups|}\"";
    let none = format!("[identity]\npreset = \"none\"\n{own}");
    for (configuration, expected) in [
        (
            "[identity]\npreset = \"x-forwarded\"",
            &[
                ("X_FORWARDED_USER", "alice"),
                ("X_FORWARDED_EMAIL", "alice@example.test"),
                ("X_FORWARDED_GROUPS", "staff,night"),
                ("X_FORWARDED_ROLES", "admin"),
            ][..],
        ),
        (
            "[identity]\npreset = \"remote-user\"",
            &[
                ("REMOTE_USER", "alice"),
                ("REMOTE_EMAIL", "alice@example.test"),
                ("REMOTE_GROUPS", "staff,night"),
                ("REMOTE_NAME", "alice"),
            ],
        ),
        (
            "[identity]\npreset = \"x-auth-request\"",
            &[
                ("X_AUTH_REQUEST_USER", "alice"),
                ("X_AUTH_REQUEST_EMAIL", "alice@example.test"),
                ("X_AUTH_REQUEST_GROUPS", "staff,night"),
            ],
        ),
        (
            "[identity]\npreset = \"authentik\"",
            &[
                ("X_AUTHENTIK_USERNAME", "alice"),
                ("X_AUTHENTIK_EMAIL", "alice@example.test"),
                ("X_AUTHENTIK_GROUPS", "staff|night"),
            ],
        ),
        (&none, &[("X_APP_LOGIN", "alice"), ("X_APP_RIGHTS", "admin/staff|night")]),
    ] {
        let gateway = Setup::new().unlimited().extra(configuration).start();
        let client = gateway.signed_in(ALICE);
        for spelling in 0..spellings("x-y").len() {
            attack(&client, &Method::GET, "/", spelling);
            for (name, value) in expected {
                assert_eq!(only(&gateway, name).as_deref(), Some(*value), "{configuration}: {name}");
            }
            let says = |value: &str| value.contains("alice") || value.contains("night");
            let told = cgi(&gateway).iter().filter(|(_, value)| says(value)).count();
            let expected = expected.iter().filter(|(_, value)| says(value)).count();
            assert_eq!(told, expected, "{configuration}: {:?}", cgi(&gateway));
        }
    }
}

#[test]
fn a_stranger_is_not_believed_about_where_they_come_from() {
    let gateway = gateway();
    let client = gateway.client();
    let spoofed = [
        ("x-forwarded-for", "192.0.2.66"),
        ("x-forwarded-for", "192.0.2.67"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "80"),
        ("x-real-ip", "192.0.2.66"),
        ("forwarded", "for=192.0.2.66;host=evil.test;proto=http"),
    ];
    let request = spoofed.iter().fold(client.get("/public"), |request, (name, value)| request.header(name, value));
    assert_eq!(request.send().status, 200);
    let received = gateway.application.last();
    let authority = client.authority();
    let port = gateway.address.port().to_string();
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert_eq!(received.header("x-forwarded-host"), Some(authority.as_str()));
    assert_eq!(received.header("x-forwarded-port"), Some(port.as_str()));
    assert_eq!(received.header("x-real-ip"), Some("127.0.0.1"));
    let forwarded = format!("for=127.0.0.1;host=\"{authority}\";proto=https");
    assert_eq!(received.header("forwarded"), Some(forwarded.as_str()));
    assert_eq!(received.header("host"), Some(authority.as_str()));
}

#[test]
fn what_only_a_proxy_may_say_is_not_passed_on_from_anybody_else() {
    let of_proxies = [
        "x-forwarded",
        "x-forwarded-prefix",
        "X_Forwarded_Prefix",
        "x-forwarded-uri",
        "x-forwarded.method",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-forwarded-scheme",
        "x-client-ip",
        "true-client-ip",
        "x-cluster-client-ip",
        "cf-connecting-ip",
        "front-end-https",
    ];
    // Some applications serve this path instead of the one that was asked for, and that was decided on.
    let of_nobody = ["x-original-url", "x-rewrite-url", "X_Original_URL"];
    let writes_forwarded = "trusted_proxies = [\"127.0.0.1\"]\nforwarded_header = \"forwarded\"";
    // A proxy that writes `Forwarded` lets its clients' own `X-Forwarded-*` through.
    let of_no_such_proxy = of_proxies
        .iter()
        .filter(|name| name.to_lowercase().replace(['_', '.'], "-").starts_with("x-forwarded-"))
        .count();
    for (server, believed) in [
        ("", 0),
        ("trusted_proxies = [\"127.0.0.1\"]", of_proxies.len()),
        (writes_forwarded, of_proxies.len() - of_no_such_proxy),
    ] {
        let mut setup = Setup::new();
        setup.server = server.to_owned();
        let gateway = setup.start();
        for version in [Version::H1, Version::H2] {
            let client = gateway.client().speaking(version);
            let names = of_proxies.iter().chain(&of_nobody);
            let request = names.fold(client.get("/public"), |request, name| request.header(name, "/mallory"));
            assert_eq!(request.header("x-forwardedness", "kept").send().status, 200);
            let received = gateway.application.last();
            let passed = |name: &&&str| received.headers.get(name.to_lowercase()).is_some();
            assert_eq!(of_proxies.iter().filter(passed).count(), believed, "{server}: {received:?}");
            assert_eq!(of_nobody.iter().filter(passed).count(), 0, "{received:?}");
            assert_eq!(received.header("x-forwardedness"), Some("kept"));
        }
    }
}

/// What the application is told of the client when `sent` comes from a trusted proxy at 127.0.0.1.
fn through_a_proxy(kind: &str, sent: &[(&str, &str)]) -> (String, String, String) {
    let mut setup = Setup::new();
    setup.server = format!("trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\nforwarded_header = \"{kind}\"");
    let gateway = setup.start();
    let client = gateway.client();
    let request = sent.iter().fold(client.get("/public"), |request, (name, value)| request.header(name, value));
    assert_eq!(request.send().status, 200);
    let received = gateway.application.last();
    let header = |name| received.header(name).unwrap_or_default().replace(&client.authority(), "HOST");
    (header("x-real-ip"), header("x-forwarded-for"), header("forwarded"))
}

#[test]
fn a_trusted_proxy_is_believed_from_right_to_left() {
    let chain = "203.0.113.66, 198.51.100.7, 10.0.0.2";
    let (real_ip, forwarded_for, _) = through_a_proxy("x-forwarded-for", &[("x-forwarded-for", chain)]);
    assert_eq!(real_ip, "198.51.100.7");
    assert_eq!(forwarded_for, format!("{chain}, 127.0.0.1"));
    let several = [("x-forwarded-for", "203.0.113.66"), ("x-forwarded-for", "198.51.100.7")];
    assert_eq!(through_a_proxy("x-forwarded-for", &several).0, "198.51.100.7");
    for nonsense in ["198.51.100.7, unknown", "198.51.100.7,", "198.51.100.7, 10.0.0.2 10.0.0.3", ""] {
        let (real_ip, ..) = through_a_proxy("x-forwarded-for", &[("x-forwarded-for", nonsense)]);
        assert_eq!(real_ip, "127.0.0.1", "{nonsense:?}");
    }
    let chain = "for=203.0.113.66, For=\"198.51.100.7:4711\";proto=https, for=10.0.0.2";
    let (real_ip, _, forwarded) = through_a_proxy("forwarded", &[("forwarded", chain)]);
    assert_eq!(real_ip, "198.51.100.7");
    assert_eq!(forwarded, format!("{chain}, for=127.0.0.1;host=\"HOST\";proto=https"));
}

#[test]
fn of_a_trusted_proxy_only_the_header_that_it_writes_is_believed() {
    let spoofed = "for=203.0.113.66;host=evil.test";
    let sent = [("x-forwarded-for", "198.51.100.7"), ("forwarded", spoofed)];
    let (real_ip, forwarded_for, forwarded) = through_a_proxy("x-forwarded-for", &sent);
    assert_eq!((real_ip.as_str(), forwarded_for.as_str()), ("198.51.100.7", "198.51.100.7, 127.0.0.1"));
    assert_eq!(forwarded, "for=198.51.100.7;host=\"HOST\";proto=https", "the client's own word went through the proxy");
    let sent = [("forwarded", "for=198.51.100.7"), ("x-forwarded-for", "203.0.113.66")];
    let (real_ip, forwarded_for, forwarded) = through_a_proxy("forwarded", &sent);
    assert_eq!((real_ip.as_str(), forwarded_for.as_str()), ("198.51.100.7", "198.51.100.7"));
    assert_eq!(forwarded, "for=198.51.100.7, for=127.0.0.1;host=\"HOST\";proto=https");
}

#[test]
fn a_chain_that_reads_differently_from_the_left_goes_no_further() {
    for begun in ["for=\"", "for=6.6.6.6;x=\"", "\\", "for=\"6.6.6.6\"x", "\"a=b", "a\"=b", "a=b\\"] {
        let (real_ip, _, forwarded) =
            through_a_proxy("forwarded", &[("forwarded", &format!("{begun}, for=198.51.100.7"))]);
        assert_eq!(real_ip, "198.51.100.7", "{begun}");
        assert_eq!(forwarded, "for=198.51.100.7;host=\"HOST\";proto=https", "{begun}");
    }
    for whole in ["by=203.0.113.43, for=198.51.100.7", "for=\"_a,b;\\\"\", for=198.51.100.7", ", for=198.51.100.7"] {
        let (_, _, forwarded) = through_a_proxy("forwarded", &[("forwarded", whole)]);
        assert_eq!(forwarded, format!("{whole}, for=127.0.0.1;host=\"HOST\";proto=https"));
    }
}

#[test]
fn a_line_that_a_proxy_adds_counts_and_not_the_clients_before_it() {
    let mut setup = Setup::new();
    setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    let gateway = setup.start();
    let client = gateway.client();
    let of_the_client = [("x-forwarded-proto", "http"), ("x-forwarded-host", "evil.test"), ("x-forwarded-port", "80")];
    let added = [("x-forwarded-proto", "https"), ("x-forwarded-host", "app.test"), ("x-forwarded-port", "443")];
    let lines = of_the_client.iter().chain(&added);
    let request = lines.fold(client.get("/public"), |request, (name, value)| request.header(name, value));
    assert_eq!(request.send().status, 200);
    for (name, value) in added {
        assert_eq!(gateway.application.last().header(name), Some(value));
    }
}

#[test]
fn our_cookies_stay_here_and_the_applications_own_arrive() {
    let gateway = gateway();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let ours = client.session();
        let near_misses = format!("__host-SESSION={ours}; a=1;__Host-login={ours};  b=2");
        for target in ["/", "/optional", "/public", "/anonymous", "/public/status-404"] {
            gateway.application.forget();
            client.get(target).header("cookie", &near_misses).header("cookie", "JSESSIONID=app; c=x=y").send();
            let received = gateway.application.last();
            let cookies = received.header("cookie").expect("the application's cookies");
            assert_eq!(cookies, "a=1; b=2; JSESSIONID=app; c=x=y", "{version:?} {target}");
            assert!(!received.mentions(&ours) && !received.mentions("__Host-"), "{version:?} {target}: {received:?}");
        }
        client.get("/").send();
        assert_eq!(gateway.application.last().header("cookie"), None, "nothing is left of it");
    }
}

#[test]
fn an_answer_cannot_set_or_fake_our_cookies() {
    let gateway = gateway();
    let client = gateway.signed_in(ALICE);
    let ours = client.session();
    for target in ["/cookies", "/public/cookies", "/optional/cookies"] {
        let answer = client.get(target).send();
        assert_eq!(answer.set_cookies(), ["JSESSIONID=app; Path=/"], "{target}");
        assert_eq!(answer.header("clear-site-data"), "");
    }
    assert_eq!(client.session(), ours);
}

#[test]
fn what_only_a_proxy_may_say_is_heard_from_a_trusted_one_alone() {
    let words = [
        "X_Original_Uri",
        "X-Forwarded-Prefix",
        "X-Forwarded-Uri",
        "X-Forwarded-Path",
        "X-Forwarded-Scheme",
        "X-Forwarded-Ssl",
        "X-Forwarded-Server",
        "X_Forwarded_Anything",
        "X-Forwarded-Client-Cert",
        "X-SSL-Client-CN",
        "SSL-Client-Verify",
        "True-Client-IP",
        "X-Client-IP",
        "Client-IP",
        "CF-Connecting-IP",
        "X-Host",
        "X-HTTP-Host-Override",
        "Front-End-Https",
        "X-Envoy-Original-Path",
    ];
    let mut trusting = Setup::new();
    trusting.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
    for (setup, is_heard) in [(Setup::new(), false), (trusting, true)] {
        let gateway = setup.unlimited().start();
        for version in [Version::H1, Version::H2] {
            for target in ["/public", "/optional", "/anonymous"] {
                gateway.application.forget();
                let client = gateway.client().speaking(version);
                let request = words.iter().fold(client.get(target), |request, word| request.header(word, "evil"));
                let request = request.header("X-Original-URL", "/admin").header("X_Rewrite_URL", "/admin");
                request.header("Proxy", "http://evil.test").header("X-Formatted", "fine").send();
                let received = gateway.application.last();
                let heard = words.iter().filter(|word| received.headers.contains_key(**word)).count();
                assert_eq!(heard, if is_heard { words.len() } else { 0 }, "{target} {received:?}");
                // Nobody may steer the application to another path, or its own requests to a proxy.
                assert!(received.headers.keys().all(|name| !name.as_str().contains("rewrite")), "{received:?}");
                assert_eq!(received.header("x-original-url"), None);
                assert_eq!((received.header("proxy"), received.header("x-formatted")), (None, Some("fine")));
            }
        }
    }
}
