//! The login and logout pages: what they tell, whom they obey, and where they lead.

use http::Method;

use super::harness::{ALICE, Answer, BOB, CAROL, Client, Setup, Version, hidden};

const LOGIN: &str = "/.vestibule/login";
const LOGOUT: &str = "/.vestibule/logout";

fn attempt(client: &Client) -> String {
    hidden(&client.visit(LOGIN).send(), "attempt")
}

fn post(client: &Client, (name, password): (&str, &str), attempt: &str) -> Answer {
    client.post_form(LOGIN, &[("username", name), ("password", password), ("attempt", attempt)]).send()
}

/// A page without what differs from one showing to the next.
fn without_token(page: &Answer, name: &str) -> String {
    page.text().replace(&hidden(page, "attempt"), "TOKEN").replace(&format!("value=\"{name}\""), "value=\"NAME\"")
}

#[test]
fn every_failure_reads_the_same() {
    let gateway = Setup::new().extra("[limits]\nlogin = \"off\"\n").start();
    let client = gateway.client();
    let token = attempt(&client);
    let long = "x".repeat(2_000);
    let reference = post(&client, (ALICE.0, "a guess"), &token);
    assert_eq!(reference.status, 401);
    assert!(reference.text().contains("The user name or the password is not right."));
    for (name, password) in [
        ("nobody", "a guess"),
        ("nobody", ALICE.1),
        (CAROL.0, CAROL.1),
        (CAROL.0, "a guess"),
        (BOB.0, ALICE.1),
        (ALICE.0, ""),
        (ALICE.0, &long),
        (ALICE.0, "correct horse battery "),
        (ALICE.0, "Correct horse battery"),
        ("ALICE", ALICE.1),
        ("alice ", ALICE.1),
        ("alice\0", ALICE.1),
        ("alice\r\nSet-Cookie: x=y", ALICE.1),
        ("\u{430}lice", ALICE.1),
    ] {
        let answer = post(&client, (name, password), &token);
        assert_eq!((answer.status, client.session().as_str()), (401, ""), "{name} {password}");
        let mut headers = answer.headers.clone();
        for varying in ["date", "content-length", "x-request-id"] {
            headers.remove(varying);
        }
        assert!(headers.iter().all(|(name, value)| reference.headers.get(name) == Some(value)), "{headers:?}");
        if name.chars().all(char::is_alphanumeric) {
            assert_eq!(without_token(&answer, name), without_token(&reference, ALICE.0), "{name}");
        }
    }
    let empty = post(&client, ("", ""), &token);
    assert_eq!((empty.status, client.session().as_str()), (401, ""));
    assert_eq!(post(&client, ALICE, &token).status, 303, "and the form is still good");
    gateway.log.wait_for(&["audit login.failed", "user=alice"]);
    let log = gateway.log.text();
    assert!(!log.contains("nobody") && !log.contains("guess"), "unknown names are often passwords: {log}");
}

#[test]
fn who_takes_json_is_told_of_a_failure_in_json() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let token = attempt(&client);
    let ask = |name: &str, password: &str| {
        let fields = [("username", name), ("password", password), ("attempt", &token)];
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = client.request(Method::POST, "/.vestibule/login").header("accept", "application/json");
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    let told = ask(ALICE.0, "a guess");
    assert_eq!((told.status, told.json()["reason"].as_str()), (401, Some("wrong_password")));
    assert_eq!(ask("nobody", "a guess").text(), told.text());
    assert_eq!(ask(CAROL.0, CAROL.1).text(), told.text());
    assert_eq!(client.session(), "");
    assert_eq!(ask(ALICE.0, ALICE.1).status, 303);
    assert_eq!(client.get("/").send().status, 200);
}

#[test]
fn the_name_comes_back_escaped_and_the_password_not_at_all() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    let token = attempt(&client);
    let answer = post(&client, ("\"><script>alert(1)</script>", "hunter2hunter2"), &token);
    assert!(!answer.text().contains("<script") && !answer.text().contains("hunter2"));
    assert!(answer.text().contains("&#60;script&#62;"));
}

#[test]
fn a_login_leads_back_only_to_paths_of_this_host() {
    let gateway = Setup::new().extra("[limits]\nlogin = \"off\"\n").start();
    // What a stranger writes into the link is not believed.
    for target in [
        "https://evil.test/",
        "//evil.test/",
        "/%5Cevil.test",
        "%2F%2Fevil.test",
        "/%09/evil.test",
        "https:evil.test",
        "javascript:alert(1)",
        "@evil.test",
        "/work",
        "",
        "%0D%0ALocation:%20https://evil.test",
    ] {
        let client = gateway.client();
        for link in [
            format!("{LOGIN}?return={target}"),
            format!("{LOGIN}?return={target}&return=x"),
            format!("{LOGIN}?{target}"),
        ] {
            let page = client.visit(&link).send();
            assert_eq!(page.status, 200, "{link}");
            assert!(!page.text().contains("evil"), "{link}");
            let answer = post(&client, ALICE, &hidden(&page, "attempt"));
            assert_eq!((answer.status, answer.header("location")), (303, "/"), "{link}");
        }
    }
    // What a link of a foreign page leads to comes back as a path of ours, or is refused, or is forgotten.
    for (target, leads_to) in [
        ("/work?u=https://evil.test/&x=%0d%0a", "/work?u=https://evil.test/&x=%0d%0a"),
        ("/;@evil.test", "/;@evil.test"),
        ("/@evil.test", "/@evil.test"),
        ("//evil.test/", "/"),
        ("//evil.test/%2e", ""),
        ("///evil.test", "/"),
        ("/.evil.test", "/.evil.test"),
        ("/%5cevil.test", ""),
        ("/%09/evil.test", ""),
        ("/%0d%0aLocation:https://evil.test", ""),
        ("/..;/evil.test", ""),
        ("/%2f/evil.test", ""),
    ] {
        let client = gateway.client();
        let led = client.visit(target).send();
        if leads_to.is_empty() {
            assert_eq!(led.status, 400, "{target}");
            continue;
        }
        assert_eq!(led.status, 302, "{target}");
        assert!(led.header("location").starts_with("/.vestibule/login?return="));
        let page = client.visit(led.header("location")).send();
        let answer = post(&client, ALICE, &hidden(&page, "attempt"));
        assert_eq!((answer.status, answer.header("location")), (303, leads_to), "{target}");
    }
    // In absolute form, with another host: refused before any login page is made.
    let client = gateway.client();
    let absolute = format!(
        "GET https://evil.test/ HTTP/1.1\r\nHost: {}\r\nAccept: text/html\r\nConnection: close\r\n\r\n",
        client.authority()
    );
    assert!(client.raw(absolute.as_bytes()).starts_with("HTTP/1.1 400"));
    let doubled =
        format!("GET / HTTP/1.1\r\nHost: {}\r\nHost: evil.test\r\nConnection: close\r\n\r\n", client.authority());
    assert!(client.raw(doubled.as_bytes()).starts_with("HTTP/1.1 400"));
}

#[test]
fn a_very_long_way_back_is_forgotten_and_a_day_old_link_too() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    assert_eq!(client.sign_in(ALICE, &format!("/{}", "a".repeat(2_047))).header("location").len(), 2_048);
    let client = gateway.client();
    assert_eq!(client.sign_in(ALICE, &format!("/{}", "a".repeat(2_048))).header("location"), "/");
    let client = gateway.client();
    let link = client.visit("/work").send().header("location").to_owned();
    gateway.advance(24 * 3600);
    let page = client.visit(&link).send();
    assert_eq!(post(&client, ALICE, &hidden(&page, "attempt")).header("location"), "/");
}

#[test]
fn a_posted_form_must_have_each_field_once() {
    let gateway = Setup::new().extra("[limits]\nlogin = \"off\"\n").start();
    let client = gateway.client();
    let token = attempt(&client);
    let right = format!("username=alice&password=correct+horse+battery&attempt={token}");
    let form = |body: String| client.post_form(LOGIN, &[]).body(body);
    for body in [
        String::new(),
        "username=alice".to_owned(),
        format!("password=correct+horse+battery&attempt={token}"),
        format!("username=alice&attempt={token}"),
        format!("{right}&username=bob"),
        format!("username=bob&{right}"),
        format!("{right}&password=x"),
        format!("{right}&attempt={token}"),
        format!("attempt=&{right}"),
        right.replace('&', ";"),
        format!("{{\"username\":\"alice\",\"password\":\"{}\"}}", ALICE.1),
    ] {
        let answer = form(body.clone()).send();
        assert_eq!((answer.status, client.session().as_str()), (400, ""), "{body}");
        assert!(answer.text().contains("The form could not be read."), "{}", answer.text());
    }
    for kind in
        ["text/plain", "application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded2", ""]
    {
        let answer = form(right.clone()).without("content-type").header("content-type", kind).send();
        assert_eq!((answer.status, client.session().as_str()), (400, ""), "{kind}");
    }
    assert_eq!(form(right.clone()).without("content-type").send().status, 400);
    for version in [Version::H1, Version::H2] {
        let mut other = gateway.client().speaking(version);
        other.host = client.host.clone();
        let token = attempt(&other);
        let fields =
            [("username", ALICE.0), ("password", ALICE.1), ("attempt", &token), ("padding", &"x".repeat(17 * 1024))];
        let answer = other.post_form(LOGIN, &fields).send();
        assert_eq!((answer.status, other.session().as_str()), (413, ""));
        assert_eq!(post(&other, ALICE, &token).status, 303);
    }
    let answer = form(format!("{right}&remember=1&unknown=2")).send();
    assert_eq!(answer.status, 303, "what it does not know it does not mind");
    gateway.application.assert_untouched();
}

#[test]
fn a_form_that_never_ends_is_given_up() {
    use std::io::{Read, Write};
    let gateway = Setup::new().start();
    let client = gateway.client();
    let mut stream = client.connect_raw();
    let head = format!(
        "POST {LOGIN} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: \
         1000\r\n\r\nusername=alice&pass",
        client.authority()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    stream.flush().expect("sent");
    let reader = std::thread::spawn(move || {
        let mut read = [0; 12];
        stream.read_exact(&mut read).map(|()| String::from_utf8_lossy(&read).into_owned())
    });
    super::harness::eventually("it is given up", || {
        gateway.advance(5);
        reader.is_finished()
    });
    assert_eq!(reader.join().expect("no panic").expect("an answer"), "HTTP/1.1 400");
}

#[test]
fn scripts_of_the_application_cannot_read_the_login_page() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    for (mode, destination) in [
        ("cors", "empty"),
        ("same-origin", "empty"),
        ("no-cors", "script"),
        ("navigate", "iframe"),
        ("navigate", "object"),
    ] {
        for page in [LOGIN, LOGOUT] {
            let request = client.get(page).header("sec-fetch-mode", mode).header("sec-fetch-dest", destination);
            let answer = request.header("sec-fetch-site", "same-origin").send();
            assert_eq!(answer.status, 403, "{mode} {destination}");
            assert!(answer.set_cookies().is_empty() && !answer.text().contains("attempt"));
        }
    }
}

#[test]
fn a_get_signs_nobody_out() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.signed_in(ALICE).speaking(version);
        let page = client.visit(LOGOUT).send();
        assert_eq!((page.status, page.set_cookies().len()), (200, 0));
        assert!(page.text().contains("<bdi>alice</bdi>") && page.text().contains("<form method=\"post\""));
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(client.request(method, "/.vestibule/logout?confirm=yes").send().status, 200);
        }
        for method in [Method::DELETE, Method::PUT, Method::OPTIONS, Method::PATCH] {
            assert_eq!(client.request(method, LOGOUT).send().status, 405);
        }
        assert_eq!(client.get("/").send().status, 200);
    }
}

#[test]
fn another_site_signs_nobody_out() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let own = format!("https://{}", client.authority());
    let out = || client.request(Method::POST, LOGOUT);
    for request in [
        out().header("sec-fetch-site", "cross-site"),
        out().header("sec-fetch-site", "same-site"),
        out().header("sec-fetch-site", "cross-site").header("origin", &own),
        out().header("origin", "https://evil.test"),
        out().header("origin", "null"),
        out().header("referer", "https://evil.test/"),
    ] {
        let answer = request.send();
        assert_eq!((answer.status, answer.set_cookies().len()), (403, 0), "{}", answer.text());
    }
    assert_eq!(client.get("/").send().status, 200);
    let answer = out().header("origin", &own).send();
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"signed_out\":true}\n"));
    assert_eq!(answer.header("clear-site-data"), "\"cache\"");
    assert_eq!((client.session().as_str(), client.get("/").send().status), ("", 401));
}

#[test]
fn signing_out_without_a_session_is_no_error() {
    let gateway = Setup::new().start();
    let client = gateway.client();
    for _ in 0..2 {
        let answer = client.post_form(LOGOUT, &[]).send();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("You are signed out"), "{}", answer.text());
    }
    client.set_session("junk");
    assert_eq!(client.post_form(LOGOUT, &[]).send().status, 200);
    assert_eq!(client.session(), "", "the junk is deleted");
    assert_eq!(client.visit(LOGOUT).send().status, 200);
}

#[test]
fn the_logout_page_names_nobody_to_who_cannot_use_the_session() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let stolen = client.session();
    let mut thief = gateway.client();
    thief.user_agent = "curl/8".to_owned();
    thief.set_session(&stolen);
    let page = thief.visit(LOGOUT).send();
    assert!(page.status == 200 && !page.text().contains("alice"), "{}", page.text());
    let idle = gateway.signed_in(BOB);
    gateway.advance(30 * 60);
    let page = idle.visit(LOGOUT).send();
    assert!(page.status == 200 && !page.text().contains("bob"), "{}", page.text());
}

#[test]
fn other_methods_are_told_which_ones_work() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        for page in [LOGIN, LOGOUT] {
            for method in [Method::DELETE, Method::PUT, Method::PATCH, Method::OPTIONS, Method::TRACE] {
                let answer = client.request(method.clone(), page).send();
                assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD, POST"), "{method}");
            }
        }
        let get = client.visit(LOGIN).send();
        let head = client.request(Method::HEAD, LOGIN).send();
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-type"), get.header("content-type"));
        for page in ["/.vestibule", "/.vestibule/", "/.vestibule/x", "/.vestibule/login/", "/.vestibule/login/x"] {
            assert_eq!(client.visit(page).send().status, 404, "{page}");
        }
    }
    gateway.application.assert_untouched();
}

#[test]
fn our_pages_hold_no_script_and_allow_none() {
    let gateway = Setup::new().extra("[limits]\nper_session = \"1/m\"\n").start();
    let (stranger, client) = (gateway.client(), gateway.signed_in(BOB));
    let token = attempt(&stranger);
    let pages = [
        stranger.visit(LOGIN).send(),
        post(&stranger, (ALICE.0, "a guess"), &token),
        post(&stranger, ALICE, "stale"),
        stranger.visit(LOGOUT).send(),
        stranger.post_form(LOGOUT, &[]).send(),
        stranger.visit("/.vestibule/nothing").send(),
        stranger.visit("/%2e%2e").send(),
        client.visit(LOGOUT).send(),
        client.visit("/admin").send(),
        {
            client.visit("/").send();
            client.visit("/").send()
        },
    ];
    let statuses: Vec<u16> = pages.iter().map(|page| page.status).collect();
    assert_eq!(statuses, [200, 401, 400, 200, 200, 404, 400, 200, 403, 429]);
    for page in pages {
        let text = page.text();
        for word in ["<script", "javascript:", " onload", " onclick", " src=", "<link", "@import", "url("] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        let policy = page.header("content-security-policy");
        for part in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"));
        assert_eq!(page.header("x-frame-options"), "DENY");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    }
}
