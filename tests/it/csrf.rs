//! What other sites make people's browsers ask for: forms, scripts and WebSockets of theirs, first seen to work, then
//! stopped; what of it the operator is told; and the synchroniser token.

use http::Method;
use vestibule::config::Plan;
use vestibule::enforce::reloads::Cause;
use vestibule::reader::Document;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Setup, Version, note_secret};
use super::http2::HEADERS;
use super::websockets::{Echo, STATUS_200, open, over_http_2_for};

const BOTH: [Version; 2] = [Version::H1, Version::H2];

/// As an application has it that is embedded elsewhere: then the cookie comes with everything.
const ANYWHERE: &str = "[session.cookie]\nsame_site = \"None\"\n";

const OFF: &str = "[csrf]\nmode = \"off\"\n";
const REPORT: &str = "[csrf]\nmode = \"report\"\n";

/// How browsers say that a form is another site's: one of today, one without Fetch Metadata, one that says little.
const FOREIGN: [&[(&str, &str)]; 5] = [
    &[
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
        ("origin", EVIL),
    ],
    &[("sec-fetch-site", "same-site"), ("origin", "https://neighbour.localhost")],
    &[("origin", EVIL)],
    &[("origin", "null")],
    &[("referer", "https://evil.test/pay-me")],
];

const EVIL: &str = "https://evil.test";

fn own(client: &Client) -> String {
    format!("https://{}", client.authority())
}

/// Posts a form with these headers, and nothing else that says where it is from.
fn post(client: &Client, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let form = client.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
    let form = headers.iter().fold(form, |form, (name, value)| form.header(name, value));
    form.without_origin().body(body.to_owned()).send()
}

fn reason(answer: &Answer) -> String {
    assert_eq!(answer.json()["error"], "forbidden", "{}", answer.text());
    answer.json()["reason"].as_str().expect("a reason").to_owned()
}

/// A number of the metrics.
fn counted(gateway: &Gateway, reason: &str, answer: &str) -> u64 {
    let text = gateway.running().shared.render_metrics();
    let line = format!("vestibule_cross_site_total{{reason=\"{reason}\",answer=\"{answer}\"}} ");
    let found = text.lines().find_map(|found| found.strip_prefix(&line));
    found.unwrap_or_else(|| panic!("{line} is not in:\n{text}")).parse().expect("a number")
}

#[test]
fn a_form_of_another_site_is_carried_out_without_the_shield_and_not_with_it() {
    for mode in [OFF, ""] {
        let gateway = Setup::new().extra(ANYWHERE).extra(mode).start();
        for version in BOTH {
            let alice = gateway.signed_in(ALICE).speaking(version);
            for headers in FOREIGN {
                gateway.application.forget();
                let answer = post(&alice, "/transfer", headers, "to=mallory&amount=1000");
                if mode == OFF {
                    let received = gateway.application.last();
                    assert_eq!(
                        (answer.status, received.header("x-forwarded-user")),
                        (200, Some("alice")),
                        "the attack"
                    );
                    assert_eq!(&*received.body, b"to=mallory&amount=1000");
                } else {
                    assert_eq!(answer.status, 403, "{headers:?}");
                    gateway.application.assert_untouched();
                }
            }
            assert_eq!(alice.get("/").send().status, 200, "it costs her nothing");
        }
    }
}

#[test]
fn what_may_change_something_is_shielded_by_whatever_name() {
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    let from = |method: &str, site: &str| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        alice.request(method, "/x").header("sec-fetch-site", site).header("origin", EVIL).send().status
    };
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "MOVE", "get", "POST2"] {
        gateway.application.forget();
        assert_eq!(from(method, "cross-site"), 403, "{method}");
        gateway.application.assert_untouched();
        assert_eq!(from(method, "same-origin"), 200, "{method}");
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(from(method, "cross-site"), 200, "{method}: people follow links");
    }
    assert_eq!(from("TRACE", "cross-site"), 405);
}

#[test]
fn what_comes_from_the_applications_own_pages_passes() {
    let gateway = Setup::new().start();
    for version in BOTH {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let own = own(&alice);
        let page = format!("{own}/form?of=7");
        for headers in [
            &[("sec-fetch-site", "same-origin"), ("origin", &*own)][..],
            // A browser that was started again sends a form once more; it is the person's own doing.
            &[("sec-fetch-site", "none")],
            &[("origin", &*own)],
            &[("origin", &*own), ("referer", "https://evil.test/")],
            &[("referer", &*page)],
        ] {
            for path in ["/x", "/optional/x", "/anonymous/x", "/public/x", "/admin/x"] {
                assert_eq!(post(&alice, path, headers, "a=b").status, 200, "{path} {headers:?}");
            }
        }
        let port = format!("{own}0");
        for headers in [
            &[("origin", "https://localhost")][..],
            &[("origin", &*own.replace("https", "http"))],
            &[("origin", &*port)],
            &[("origin", &*own), ("origin", &*own)],
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "sideways"), ("origin", &*own)],
            &[("origin", ""), ("referer", &*page)],
        ] {
            for path in ["/x", "/optional/x", "/anonymous/x", "/admin/x"] {
                assert_eq!(post(&alice, path, headers, "a=b").status, 403, "{path} {headers:?}");
            }
            assert_eq!(post(&alice, "/public/x", headers, "a=b").status, 200, "nobody's rights count there");
        }
    }
}

#[test]
fn who_says_nothing_of_where_it_is_from_may_have_no_session() {
    let gateway = Setup::new().start();
    for version in BOTH {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let junk = gateway.client().speaking(version);
        junk.set_session("junk");
        for (client, path) in [(&alice, "/x"), (&alice, "/optional/x"), (&junk, "/x"), (&junk, "/anonymous/x")] {
            let answer = post(client, path, &[], "a=b");
            assert_eq!((answer.status, reason(&answer).as_str()), (403, "no_origin"), "{path}");
            let message = answer.json()["message"].as_str().expect("words").to_owned();
            assert!(message.contains("Send an Origin header with this site's own origin"), "{message}");
        }
        let program = gateway.client().speaking(version);
        let answers = ["/x", "/optional/x", "/anonymous/x", "/public/x"].map(|path| {
            let program = gateway.client().speaking(version);
            post(&program, path, &[], "a=b").status
        });
        assert_eq!(answers, [401, 200, 200, 200]);
        assert_eq!(post(&program, "/x", &[("origin", EVIL)], "a=b").status, 403, "who says so is believed");
    }
}

/// Everything of an answer but what is never the same twice.
fn without_id(answer: &Answer) -> (u16, String, Vec<String>) {
    let fields = answer.headers.iter().filter(|(name, _)| !["x-request-id", "date"].contains(&name.as_str()));
    let text = answer.text().replace(answer.header("x-request-id"), "");
    (answer.status, text, fields.map(|field| format!("{field:?}")).collect())
}

#[test]
fn another_site_does_not_learn_whether_somebody_is_signed_in() {
    let gateway = Setup::new().start();
    let (alice, ended, stranger) = (gateway.signed_in(ALICE), gateway.client(), gateway.client());
    let forged = gateway.client();
    let old = gateway.signed_in(BOB);
    gateway.revoke("bob");
    ended.set_session(&old.session());
    forged.set_session("junk");
    for headers in FOREIGN {
        for path in ["/x", "/optional/x", "/anonymous/x", "/admin/x"] {
            let answers =
                [&alice, &ended, &stranger, &forged].map(|client| without_id(&post(client, path, headers, "")));
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{path}: {answers:#?}");
            assert_eq!((answers[0].0, answers[0].2.iter().any(|field| field.contains("set-cookie"))), (403, false));
        }
    }
}

#[test]
fn a_person_is_told_what_happened_and_a_script_by_name() {
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    let page = post(&alice, "/x", FOREIGN[0], "");
    assert!(page.text().contains("sent from another website") && page.text().contains("open this site by itself"));
    assert!(!page.text().contains("Sign out") && page.text().contains("Error 403"), "{}", page.text());
    let own = own(&alice);
    let script = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"), ("origin", EVIL)];
    let answer = post(&alice, "/x", &script, "");
    assert_eq!((reason(&answer).as_str(), answer.header("content-type")), ("cross_site", "application/json"));
    assert_eq!(reason(&post(&alice, "/.vestibule/logout", &script, "")), "cross_site", "the same judgement");
    assert_eq!(reason(&post(&alice, "/.vestibule/logout", &[], "")), "no_origin");
    assert_eq!(post(&alice, "/.vestibule/logout", &[("origin", &own)], "").status, 200);
    gateway.log.wait_for(&["POST", "/x", "403", "cross_site"]);
    gateway.log.wait_for(&["audit request.cross_site", "user=alice", "reason=cross_site", "answer=refused", EVIL]);
}

#[test]
fn a_websocket_of_another_site_opens_without_the_shield_and_not_with_it() {
    for mode in [OFF, ""] {
        let echo = Echo::start();
        let mut setup = Setup::new().unlimited().in_front_of(&echo.server).extra(ANYWHERE).extra(mode);
        setup.routes += "[[route]]\npath = \"/embedded\"\nupstream = \"app\"\nwebsocket_origins = [\"https://Portal.test:443\"]\n\
             [[route]]\npath = \"/hook\"\nupstream = \"app\"\ncsrf = \"off\"\n";
        let gateway = setup.start();
        let alice = gateway.signed_in(ALICE);
        let status = |path: &str, origin: &str| open(&alice, path, &[("origin", origin)]).map(drop).err();
        if mode == OFF {
            assert_eq!(status("/socket", EVIL), None, "the attack");
            assert_eq!(over_http_2_from(&gateway, &alice, "/socket", Some(EVIL)), Some(STATUS_200), "the attack");
            continue;
        }
        for origin in [EVIL, "null", "https://localhost", "https://portal.test", ""] {
            // A webhook's route takes what other sites send, and no WebSockets of theirs.
            for path in ["/socket", "/optional/socket", "/anonymous/socket", "/hook/socket"] {
                assert_eq!(status(path, origin), Some(403), "{path} {origin}");
            }
        }
        assert_eq!(status("/socket", &own(&alice)), None);
        assert_eq!(status("/public/socket", EVIL), None, "nobody's rights count there");
        assert_eq!(status("/embedded/socket", "https://portal.test"), None, "it is listed");
        assert_eq!(status("/embedded/socket", &own(&alice)), None, "beside the route's own");
        assert_eq!(status("/embedded/socket", "https://portal.test:8443"), Some(403));
        let by_h2 = |path, origin| over_http_2_from(&gateway, &alice, path, origin);
        assert_eq!(by_h2("/socket", Some("https://localhost")), Some(STATUS_200));
        assert_eq!(by_h2("/embedded/socket", Some("https://portal.test")), Some(STATUS_200));
        for origin in [Some(EVIL), Some("null"), None] {
            assert_ne!(by_h2("/socket", origin), Some(STATUS_200), "{origin:?}");
        }
        gateway.log.wait_for(&["audit request.cross_site", "reason=websocket_origin", "answer=refused"]);
        assert!(counted(&gateway, "websocket_origin", "refused") > 15);
    }
}

/// The first byte of what answers who asks for a WebSocket by HTTP/2 for a page of this origin.
fn over_http_2_from(gateway: &Gateway, client: &Client, path: &str, origin: Option<&str>) -> Option<u8> {
    let mut connection = over_http_2_for(gateway, path, &client.cookies(), origin);
    connection.next_of(HEADERS).payload.first().copied()
}

#[test]
fn behind_a_proxy_the_origin_is_the_one_that_the_browser_asked_for() {
    for (forwarded, headers) in [
        ("x-forwarded-for", [("x-forwarded-host", "shop.test:444"), ("x-forwarded-proto", "https")]),
        ("forwarded", [("forwarded", "for=192.0.2.1;host=\"shop.test:444\";proto=https"), ("x-y", "z")]),
    ] {
        for trusted in [true, false] {
            let mut setup = Setup::new();
            let proxies = if trusted { "trusted_proxies = [\"127.0.0.1/32\"]\n" } else { "" };
            setup.server = format!("{proxies}forwarded_header = \"{forwarded}\"");
            let gateway = setup.start();
            let alice = gateway.signed_in(ALICE);
            let from = |origin: &str| post(&alice, "/x", &[&headers[..], &[("origin", origin)]].concat(), "").status;
            assert_eq!(from("https://shop.test:444"), if trusted { 200 } else { 403 }, "{forwarded}");
            assert_eq!(from(&own(&alice)), if trusted { 403 } else { 200 }, "{forwarded}");
            assert_eq!(from(EVIL), 403);
        }
    }
}

/// Some routes of their own opinion.
fn opinions() -> Setup {
    let mut setup = Setup::new();
    for (path, more) in [
        ("/hook", "csrf = \"off\""),
        ("/tried", "csrf = \"report\""),
        ("/strict", "csrf = \"enforce\""),
        ("/public/strict", "access = \"public\"\ncsrf = \"enforce\""),
    ] {
        setup.routes += &format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\n{more}\n");
    }
    setup
}

#[test]
fn a_route_may_have_its_own_opinion() {
    let foreign = [("sec-fetch-site", "cross-site"), ("origin", EVIL)];
    for (mode, expected) in [
        ("", [403, 200, 200, 403, 200, 403]),
        (REPORT, [200, 200, 200, 403, 200, 403]),
        (OFF, [200, 200, 200, 403, 200, 403]),
    ] {
        let gateway = opinions().extra(mode).start();
        let alice = gateway.signed_in(ALICE);
        let paths = ["/x", "/hook", "/tried", "/strict", "/public/x", "/public/strict"];
        assert_eq!(paths.map(|path| post(&alice, path, &foreign, "").status), expected, "{mode}");
        let nobody = gateway.client();
        assert_eq!(post(&nobody, "/public/strict", &[], "").status, 200, "a program has nobody's rights");
        let tried = if mode == REPORT { 2 } else { 1 };
        assert_eq!(counted(&gateway, "cross_site", "reported"), tried, "{mode}");
    }
}

#[test]
fn what_would_be_refused_is_reported_and_passes() {
    let gateway = Setup::new().extra(REPORT).start();
    let alice = gateway.signed_in(ALICE);
    assert_eq!(post(&alice, "/x", &[("referer", "https://evil.test/page?secret=1")], "").status, 200);
    gateway.log.wait_for(&["audit request.cross_site", "user=alice", "reason=cross_site", "answer=reported", EVIL]);
    assert!(!gateway.log.text().contains("secret=1"), "no log has a query");
    assert_eq!(post(&alice, "/x", &[], "").status, 200);
    gateway.log.wait_for(&["audit request.cross_site", "reason=no_origin", "answer=reported"]);
    let outcomes = ["cross_site", "no_origin", "websocket_origin", "csrf_token"];
    assert_eq!(outcomes.map(|reason| counted(&gateway, reason, "reported")), [1, 1, 0, 0]);
    assert_eq!(outcomes.map(|reason| counted(&gateway, reason, "refused")), [0; 4]);
    // A stranger's is reported as well, and asked to sign in as before.
    assert_eq!(post(&gateway.client(), "/x", &[("origin", EVIL)], "").status, 401);
    assert_eq!(counted(&gateway, "cross_site", "reported"), 2);
    let config = gateway.folder.path().join("gateway.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    std::fs::write(&config, text.replace(REPORT, "")).expect("written");
    let _ = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect("it is taken");
    assert_eq!(post(&alice, "/x", &[], "").status, 403, "a reload holds at once");
}

#[test]
fn many_are_counted_and_few_are_written_down() {
    let gateway = Setup::new().unlimited().start();
    let alice = gateway.signed_in(ALICE);
    for _ in 0..40 {
        assert_eq!(post(&alice, "/x", &[("origin", &"https://evil.test/\t\"é".repeat(99))], "").status, 403);
    }
    assert_eq!(counted(&gateway, "cross_site", "refused"), 40);
    let lines = || gateway.log.text().lines().filter(|line| line.contains("request.cross_site")).count();
    super::harness::eventually("they are written", || lines() >= 10);
    assert_eq!(lines(), 10);
    gateway.advance(60);
    post(&alice, "/x", &[("origin", EVIL)], "");
    super::harness::eventually("there is room for one more", || lines() == 11);
    assert!(gateway.log.text().lines().all(|line| line.len() < 2000));
}

/// Routes that ask for a token.
fn tokens() -> Setup {
    let mut setup = Setup::new();
    for (path, more) in
        [("/pay", ""), ("/anonymous/pay", "access = \"anonymous\""), ("/optional/pay", "access = \"optional\"")]
    {
        setup.routes += &format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\ncsrf = \"token\"\n{more}\n");
    }
    setup
}

/// What the application was told of the token, on a page of no special route.
fn told(gateway: &Gateway, client: &Client, path: &str) -> String {
    assert_eq!(client.get(path).send().status, 200);
    let token = gateway.application.last().header("x-vestibule-csrf").expect("a token").to_owned();
    note_secret(&token);
    token
}

#[test]
fn a_token_is_handed_out_checked_and_taken_out() {
    let gateway = tokens().start();
    for version in BOTH {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let own = own(&alice);
        let from_own = [("origin", &*own)];
        let token = told(&gateway, &alice, "/form");
        assert_ne!(token, told(&gateway, &alice, "/form"), "no two pages have the same");
        gateway.application.forget();
        for body in ["a=1", "", "vestibule_csrf=", "vestibule_csrf=x&a=1", "a=vestibule_csrf"] {
            let answer = post(&alice, "/pay/echo", &from_own, body);
            assert_eq!((answer.status, reason(&answer).as_str()), (403, "csrf_token"), "{body}");
        }
        let twice = format!("vestibule_csrf={token}&vestibule_csrf={token}");
        assert_eq!(post(&alice, "/pay/echo", &from_own, &twice).status, 403);
        gateway.application.assert_untouched();
        for (body, seen) in [
            (format!("a=1&vestibule_csrf={token}&b=%20+"), "a=1&b=%20+"),
            (format!("vestibule_csrf={token}&a=1"), "a=1"),
            (format!("vestibule%5Fcsrf={token}"), ""),
        ] {
            let answer = post(&alice, "/pay/echo", &from_own, &body);
            assert_eq!((answer.status, &*answer.text()), (200, seen), "{body}");
            let received = gateway.application.last();
            assert_eq!(
                (&*received.body, received.header("content-length")),
                (seen.as_bytes(), Some(&*seen.len().to_string()))
            );
            assert_eq!(received.header("x-forwarded-user"), Some("alice"));
        }
        let with_header = [("origin", &*own), ("x-vestibule-csrf", &token)];
        let answer = post(&alice, "/pay/echo", &with_header, "a=1");
        assert_eq!((answer.status, &*answer.text()), (200, "a=1"));
        assert_ne!(gateway.application.last().header("x-vestibule-csrf"), Some(&*token), "its own is taken out");
        let doubled = [&with_header[..], &with_header[1..]].concat();
        assert_eq!(post(&alice, "/pay/echo", &doubled, "a=1").status, 403, "twice");
        assert_eq!(
            post(&alice, "/pay/echo", &[("origin", EVIL), with_header[1]], "a=1").status,
            403,
            "and from elsewhere"
        );
        assert_eq!(alice.get("/pay/x").send().status, 200, "what changes nothing needs none");
        assert_eq!(post(&alice, "/x", &from_own, "a=1").status, 200, "nor do other routes");
    }
}

#[test]
fn a_token_is_of_one_session_and_outlives_its_rotations() {
    let gateway = tokens().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let (hers, his) = (told(&gateway, &alice, "/"), told(&gateway, &bob, "/"));
    let pay = |client: &Client, token: &str| {
        let own = own(client);
        post(client, "/pay/x", &[("origin", &*own)], &format!("vestibule_csrf={token}")).status
    };
    assert_eq!([pay(&alice, &hers), pay(&bob, &his), pay(&alice, &his), pay(&bob, &hers)], [200, 200, 403, 403]);
    for _ in 0..2 {
        let before = alice.session();
        gateway.advance(16 * 60);
        assert_eq!(alice.get("/").send().status, 200);
        assert_ne!(alice.session(), before, "its secret has rotated");
        assert_eq!(pay(&alice, &hers), 200, "the page that was open goes on");
    }
    let again = gateway.signed_in(ALICE);
    assert_eq!(pay(&again, &hers), 403, "another session of the same person");
    // Who is not signed in is asked to sign in; nobody says that the token is wrong.
    let stranger = gateway.client();
    assert_eq!((pay(&stranger, &hers), pay(&stranger, "")), (401, 401));
}

#[test]
fn a_stranger_with_a_session_needs_its_token_and_one_without_has_none_to_misuse() {
    let gateway = tokens().start();
    let stranger = gateway.client();
    let own = own(&stranger);
    let post =
        |path, token: &str| post(&stranger, path, &[("origin", &*own)], &format!("vestibule_csrf={token}")).status;
    assert_eq!((post("/optional/pay", ""), post("/anonymous/pay", "")), (200, 200));
    let token = told(&gateway, &stranger, "/anonymous");
    assert_eq!((post("/anonymous/pay", ""), post("/anonymous/pay", &token)), (403, 200));
}

#[test]
fn a_form_that_is_not_read_needs_the_header() {
    let gateway = tokens().start();
    let alice = gateway.signed_in(ALICE);
    let (own, token) = (own(&alice), told(&gateway, &alice, "/"));
    let multipart =
        format!("--x\r\ncontent-disposition: form-data; name=\"vestibule_csrf\"\r\n\r\n{token}\r\n--x--\r\n");
    let large = format!("vestibule_csrf={token}&a={}", "x".repeat(64 * 1024));
    for (kind, body) in [("multipart/form-data; boundary=x", &multipart), ("application/x-www-form-urlencoded", &large)]
    {
        let send = |header: Option<&str>| {
            let form = alice.request(Method::POST, "/pay/echo").header("content-type", kind).header("origin", &own);
            let form = header.into_iter().fold(form, |form, token| form.header("x-vestibule-csrf", token));
            form.body(body.clone()).send()
        };
        assert_eq!(reason(&send(None)), "csrf_token", "{kind}");
        let answer = send(Some(&token));
        assert_eq!((answer.status, answer.text() == *body), (200, true), "{kind}: it is left as it is");
    }
}

#[test]
fn what_a_client_calls_the_token_reaches_nobody() {
    let gateway = tokens().start();
    let alice = gateway.signed_in(ALICE);
    for name in ["x-vestibule-csrf", "X_Vestibule_CSRF", "x.vestibule.csrf"] {
        for path in ["/public/x", "/optional/x", "/x"] {
            assert_eq!(alice.get(path).header(name, "planted").send().status, 200);
            assert!(!gateway.application.last().mentions("planted"), "{name} on {path}");
        }
    }
    assert_eq!(alice.get("/public/x").send().status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-csrf"), None, "the session is not looked at there");
    // Where no route asks for a token, the name is the application's.
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    assert_eq!(alice.get("/x").header("x-vestibule-csrf", "its own").send().status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-csrf"), Some("its own"));
    assert_eq!(alice.get("/.vestibule/api/csrf").header("sec-fetch-site", "same-origin").send().status, 404);
}

#[test]
fn a_token_in_a_form_reaches_no_application_that_did_not_ask_for_it_either() {
    let mut setup = tokens();
    for (path, more) in [("/hook", "csrf = \"off\""), ("/tried", "csrf = \"report\"")] {
        setup.routes += &format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\n{more}\n");
    }
    let gateway = setup.start();
    let alice = gateway.signed_in(ALICE);
    let (own, token) = (own(&alice), told(&gateway, &alice, "/form"));
    let sent = |client: &Client, path: &str, token: &str| {
        let form = format!("a=1&vestibule_csrf={token}&b=%20+");
        assert_eq!(post(client, path, &[("origin", &*own)], &form).status, 200, "{path}");
        let last = gateway.application.last();
        let length = last.header("content-length").expect("a length").to_owned();
        assert_eq!(length, last.body.len().to_string(), "{path}");
        String::from_utf8_lossy(&last.body).into_owned()
    };
    for path in ["/x", "/optional/x", "/anonymous/x", "/hook", "/tried"] {
        for token in [&*token, "not-a-token"] {
            assert_eq!(sent(&alice, path, token), "a=1&b=%20+", "{path}");
        }
        let header = [("origin", &*own), ("x-vestibule-csrf", &*token)];
        assert_eq!(post(&alice, path, &header, &format!("vestibule_csrf={token}&a=1")).status, 200);
        assert_eq!(gateway.application.last().body, "a=1", "{path}, with the header as well");
    }
    // Where the cookie is not read, nor is the form; and a stranger has no token that could be in one.
    assert!(sent(&alice, "/public/x", &token).contains(&token));
    assert!(sent(&gateway.client(), "/optional/x", "x").contains("vestibule_csrf=x"));
    // Where no route asks for a token, the name is the application's.
    let gateway = Setup::new().start();
    let alice = gateway.signed_in(ALICE);
    assert_eq!(post(&alice, "/x", &[("origin", &*self::own(&alice))], "vestibule_csrf=x").status, 200);
    assert_eq!(gateway.application.last().body, "vestibule_csrf=x");
}

#[test]
fn scripts_are_given_the_token_and_only_the_applications_own() {
    let gateway = tokens().extra("[csrf]\ntoken_header = \"X-Its-Token\"\ntoken_field = \"its_token\"").start();
    for version in BOTH {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let ask = |client: &Client, headers: &[(&str, &str)]| {
            let request = client.get("/.vestibule/api/csrf");
            headers.iter().fold(request, |request, (name, value)| request.header(name, value)).send()
        };
        let same = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
        let answer = ask(&alice, &same);
        let given = answer.json();
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert_eq!((&given["header"], &given["field"]), (&"x-its-token".into(), &"its_token".into()));
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
        let token = given["token"].as_str().expect("a token");
        note_secret(token);
        let own = own(&alice);
        for (headers, body) in [
            (vec![("origin", &*own), ("x-its-token", token)], String::new()),
            (vec![("origin", &*own)], format!("its_token={token}")),
        ] {
            assert_eq!(post(&alice, "/pay/x", &headers, &body).status, 200);
        }
        assert_eq!(ask(&alice, &[]).status, 200, "a program's own cookie");
        for headers in FOREIGN {
            let answer = ask(&alice, headers);
            assert!(answer.status == 403 && !answer.text().contains("token\""), "{headers:?}: {}", answer.text());
        }
        let stranger = gateway.client().speaking(version);
        assert_eq!((ask(&stranger, &same).status, ask(&stranger, FOREIGN[0]).status), (401, 403));
        assert_eq!(alice.request(Method::POST, "/.vestibule/api/csrf").send().status, 405);
    }
}

/// As `api/session` tells them apart.
#[test]
fn scripts_without_a_token_are_told_why() {
    let gateway = tokens().extra("[session.lifetime]\nidle = \"10m\"\non_idle = \"lock\"\n").start();
    let asked = |client: &Client, path: &str| client.get(path).header("sec-fetch-site", "same-origin").send();
    for version in BOTH {
        let (locked, ended, junk) = (gateway.signed_in(ALICE), gateway.signed_in(BOB), gateway.client());
        gateway.revoke("bob");
        junk.set_session("junk");
        gateway.advance(10 * 60);
        let (nobody, stranger) = (gateway.client(), gateway.client().speaking(version));
        assert_eq!(stranger.get("/anonymous/x").send().status, 200);
        for (client, expected) in
            [(locked, "locked"), (ended, "revoked"), (junk, "invalid_cookie"), (nobody, "no_session")]
        {
            let client = client.speaking(version);
            for path in ["/.vestibule/api/session", "/.vestibule/api/csrf"] {
                let answer = asked(&client, path);
                assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some(expected)), "{path}");
            }
        }
        assert_eq!(asked(&stranger, "/.vestibule/api/csrf").status, 200, "a stranger's session has a token too");
    }
}

#[test]
fn a_token_that_is_only_tried_out_is_reported() {
    let gateway = tokens().extra(REPORT).start();
    let alice = gateway.signed_in(ALICE);
    let own = own(&alice);
    assert_eq!(post(&alice, "/pay/x", &[("origin", &*own)], "a=1").status, 200);
    assert_eq!(counted(&gateway, "csrf_token", "reported"), 1);
    let body = format!("a=1&vestibule_csrf={}", told(&gateway, &alice, "/"));
    assert_eq!(post(&alice, "/pay/echo", &[("origin", &*own)], &body).text(), "a=1");
    assert_eq!(counted(&gateway, "csrf_token", "reported"), 1);
}

#[test]
fn what_is_left_of_a_form_without_its_token_is_what_was_written() {
    let gateway = tokens().start();
    let alice = gateway.signed_in(ALICE);
    let own = own(&alice);
    let token = format!("vestibule_csrf={}", told(&gateway, &alice, "/"));
    for (before, after) in
        [("&a=1&T", "&a=1"), ("&&a=1&T&", "&&a=1&"), ("T&a=1", "a=1"), ("T&&a=1", "&a=1"), ("&T", "")]
    {
        let answer = post(&alice, "/pay/echo", &[("origin", &*own)], &before.replace('T', &token));
        assert_eq!((answer.status, &*answer.text()), (200, after), "{before}");
    }
}

#[test]
fn a_form_that_does_not_come_is_not_waited_for_and_a_strangers_is_not_read() {
    use super::harness::Raw;
    let gateway = tokens().start();
    let alice = gateway.signed_in(ALICE);
    let head = |cookies: &str| {
        format!(
            "POST /pay/x HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nUser-Agent: {}\r\nCookie: {cookies}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\na=1&",
            super::harness::USER_AGENT
        )
    };
    let mut stranger = Raw::to(gateway.address);
    assert_eq!(stranger.ask(head("__Host-session=junk")).expect("an answer").status, 401, "at once");
    let mut slow = Raw::to(gateway.address);
    slow.send(head(&alice.cookies()));
    super::harness::eventually("it is waited for", || gateway.connections() == 2);
    let mut answer = None;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| slow.answer());
        super::harness::advance_until(&gateway, "it is given up", || waiting.is_finished());
        answer = waiting.join().expect("an answer");
    });
    assert_eq!(answer.expect("an answer").status, 408);
    gateway.application.assert_untouched();
}

#[test]
fn mistakes_are_told_with_what_to_write_instead() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("users.toml"), super::harness::users()).expect("written");
    let read = |csrf: &str, route: &str| {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:0\"]\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\ngenerate = true\n\
             [login.local]\nusers = \"users.toml\"\n[csrf]\n{csrf}\n[[upstream]]\nname = \"app\"\n\
             servers = [\"http://127.0.0.1:3000\"]\n[[route]]\npath = \"/\"\nupstream = \"app\"\n{route}\n"
        );
        let document = Document::parse(folder.path().join("gateway.toml"), &text);
        Plan::of(&document).map(drop).map_err(|mistakes| mistakes.to_string())
    };
    for good in ["", "csrf = \"off\"", "csrf = \"token\"", "websocket_origins = [\"http://a.test:3000\"]"] {
        assert_eq!(read("mode = \"report\"", good), Ok(()), "{good}");
    }
    for (csrf, route, words) in [
        ("mode = \"on\"", "", "enforce"),
        ("mode = true", "", "enforce"),
        ("report_only = true", "", "report_only"),
        ("token_header = \"Cookie\"", "", "begins with x-"),
        ("token_header = \"Origin\"", "", "begins with x-"),
        ("token_header = \"X-Forwarded-User\"", "", "another meaning"),
        ("token_header = \"x y\"", "", "begins with x-"),
        ("token_field = \"a&b\"", "", "is not a field's name"),
        ("token_header = \"X-Request-Id\"", "csrf = \"token\"", "the id of a request"),
        ("", "csrf = \"on\"", "token"),
        ("", "csrf = \"token\"\naccess = \"public\"", "no session that a token could be of"),
        ("mode = \"off\"", "csrf = \"off\"\nwebsocket_origins = [\"https://a.test\"]", "is not looked at"),
        ("", "access = \"public\"\nwebsocket_origins = [\"https://a.test\"]", "is not looked at"),
        ("", "websocket_origins = [\"a.test\"]", "is not an origin"),
        ("", "websocket_origins = [\"https://a.test/\"]", "is not an origin"),
        (
            "",
            "[[route]]\npath = \"/admin\"\nupstream = \"app\"\n[[route]]\npath = \"/hook\"\nupstream = \"app\"\ncsrf = \"off\"\nprefix_rewrite = \"/\"",
            "lets other sites in",
        ),
    ] {
        let mistakes = read(csrf, route).expect_err(route).to_lowercase();
        assert!(mistakes.contains(words), "{csrf} {route}: {mistakes}");
    }
}
