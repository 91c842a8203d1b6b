//! Where somebody sees the sessions they have, and ends them.

use vestibule::session::handle::SessionHandle;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Setup, Version, hidden};

const PAGE: &str = "/.vestibule/sessions";
const API: &str = "/.vestibule/api/sessions";

/// Both stores, each with another HTTP.
const WAYS: [(&str, Version); 2] = [("disk", Version::H1), ("memory", Version::H2)];

fn start(store: &str) -> Gateway {
    Setup::new().unlimited().extra(&format!("[session.store]\nkind = \"{store}\"")).start()
}

fn signed_in(gateway: &Gateway, version: Version, agent: &str) -> Client {
    let mut client = gateway.client().speaking(version);
    client.user_agent = agent.to_owned();
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    client
}

const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1";
const LAPTOP: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const HOSTILE: &str = "\"><script>alert(1)</script> Firefox/1.0 X11";

fn refused(client: &Client) -> Option<String> {
    let answer = client.get("/").send();
    match answer.status {
        200 => None,
        401 => Some(answer.json()["reason"].as_str().expect("a reason").to_owned()),
        status => panic!("{status}: {}", answer.text()),
    }
}

fn end(client: &Client, what: &str) -> Answer {
    client.post_form(PAGE, &[("end", what)]).send()
}

/// The sessions that somebody is told of by the API, theirs first.
fn listed(client: &Client) -> Vec<serde_json::Value> {
    let answer = client.get(API).send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["sessions"].as_array().expect("a list").clone()
}

fn handle(client: &Client) -> String {
    let own = listed(client).into_iter().find(|session| session["current"] == true).expect("theirs");
    own["handle"].as_str().expect("a handle").to_owned()
}

#[test]
fn a_person_sees_their_own_sessions_and_nobody_elses() {
    for (store, version) in WAYS {
        let gateway = start(store);
        let phone = signed_in(&gateway, version, PHONE);
        gateway.advance(2 * 3600 - 1500);
        let hostile = signed_in(&gateway, version, HOSTILE);
        gateway.advance(1500);
        let laptop = signed_in(&gateway, version, LAPTOP);
        let mut bob = gateway.client();
        bob.user_agent = "Mozilla/5.0 (Windows NT 10.0) Chrome/130.0 Safari/537.36".to_owned();
        assert_eq!(bob.sign_in(BOB, "/").status, 303);
        let answer = laptop.visit(PAGE).send();
        let text = answer.text();
        assert!(answer.status == 200 && answer.header("cache-control").contains("no-store"), "{text}");
        for words in ["Your sessions", "<bdi>alice</bdi>", "127.0.0.1", "25 minutes ago", "just now"] {
            assert!(text.contains(words), "{words} is not in {text}");
        }
        assert!(!text.contains("Windows") && !text.contains("<script"), "{text}");
        // The phone's is over by its limits, although nobody may have swept it yet.
        assert!(!text.contains("iOS"), "{text}");
        assert_eq!(text.matches("This browser").count(), 1);
        assert!(text.find("This browser") < text.find("25 minutes ago"), "this one comes first");
        let said = listed(&laptop);
        assert_eq!(said.len(), 2);
        assert_eq!((&said[0]["current"], &said[1]["current"]), (&true.into(), &false.into()));
        assert_eq!((&said[0]["device"], &said[0]["address"]), (&"Firefox on Linux".into(), &"127.0.0.1".into()));
        assert_eq!(said[1]["handle"], handle(&hostile));
        let known: Vec<&String> = said[0].as_object().expect("an object").keys().collect();
        assert_eq!(known, ["active_at", "address", "authenticated_at", "current", "device", "handle"]);
        assert_eq!(refused(&phone).as_deref(), Some("idle"));
        // The page is found from where one signs out.
        assert!(laptop.visit("/.vestibule/logout").send().text().contains("href=\"/.vestibule/sessions\""));
    }
}

#[test]
fn a_name_that_is_markup_is_text() {
    let gateway = start("memory");
    let file = gateway.folder.path().join("users.toml");
    let users = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, users.replace("name = \"alice\"", "name = \"<b>&'alice\"")).expect("written");
    let cause = vestibule::enforce::reloads::Cause::signal();
    gateway.block_on(gateway.running().shared.reloads.ask(cause)).expect("taken");
    let client = gateway.client();
    assert_eq!(client.sign_in(("<b>&'alice", ALICE.1), "/").status, 303);
    let text = client.visit(PAGE).send().text();
    assert!(text.contains("&#60;b&#62;&#38;&#39;alice") && !text.contains("<b>"), "{text}");
}

#[test]
fn one_session_all_others_or_all_of_them_end_at_once() {
    for (store, version) in WAYS {
        let gateway = start(store);
        let here = signed_in(&gateway, version, LAPTOP);
        let others: Vec<_> = (0..3).map(|_| signed_in(&gateway, version, PHONE)).collect();
        let bob = gateway.signed_in(BOB);
        let (answer, mut stream) = others[0].get("/stream").open();
        assert!(answer.status == 200 && stream.next().is_some_and(|piece| piece.is_ok()));
        let done = end(&here, &handle(&others[0]));
        assert!(done.status == 200 && done.text().contains("The session has ended."), "{}", done.text());
        assert!((0..100).any(|_| matches!(stream.next(), Some(Err(_)))), "its stream is cut");
        drop(stream);
        assert_eq!(refused(&others[0]).as_deref(), Some("ended_elsewhere"));
        let led = others[0].visit("/").send();
        let told = others[0].visit(led.header("location")).send().text();
        assert!(told.contains("you ended this session from another one"), "{told}");
        assert_eq!((refused(&here), refused(&others[1])), (None, None));
        gateway.log.wait_for(&["audit session.ended", "user=alice", "reason=ended_elsewhere"]);

        let done = end(&here, "others");
        assert!(done.text().contains("2 sessions have ended."), "{}", done.text());
        assert!(others.iter().all(|client| refused(client).as_deref() == Some("ended_elsewhere")));
        assert_eq!((refused(&here), refused(&bob), gateway.sessions_of("alice").len()), (None, None, 1));
        assert!(end(&here, "others").text().contains("There was nothing to end any more."));

        let other = signed_in(&gateway, version, PHONE);
        let cookie = here.session();
        let done = end(&here, "all");
        assert!(done.status == 200 && done.text().contains("All your sessions have ended"), "{}", done.text());
        assert_eq!((done.header("clear-site-data"), here.session()), ("\"cache\"", String::new()));
        here.set_session(&cookie);
        assert_eq!((refused(&here).as_deref(), refused(&other).as_deref()), (Some("logout"), Some("ended_elsewhere")));
        assert_eq!((refused(&bob), gateway.sessions_of("alice").len()), (None, 0));

        let alone = signed_in(&gateway, version, LAPTOP);
        let done = end(&alone, &handle(&alone));
        assert!(done.text().contains("You are signed out") && alone.session().is_empty(), "{}", done.text());
    }
}

#[test]
fn nobody_elses_session_is_there() {
    for (store, version) in WAYS {
        let gateway = start(store);
        let (alice, bob) = (signed_in(&gateway, version, LAPTOP), gateway.signed_in(BOB));
        let his = handle(&bob);
        let nobodys = SessionHandle::from_bytes([7; 16]).to_string();
        let answers = [his, nobodys, "nonsense".to_owned()].map(|what| {
            let page = end(&alice, &what);
            let post = alice.post_form(PAGE, &[("end", &what)]);
            let said = post.without("sec-fetch-mode").without("sec-fetch-dest").without("accept").send();
            assert_eq!(said.json(), serde_json::json!({ "ended": 0 }));
            (page.status, page.text())
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert_eq!((refused(&alice), refused(&bob)), (None, None));
        assert_eq!(alice.post_form(PAGE, &[("begin", "all")]).send().status, 400);
        assert_eq!(alice.request(http::Method::DELETE, PAGE).send().status, 405);
        assert_eq!(alice.request(http::Method::POST, API).send().status, 405);
    }
}

#[test]
fn ending_asks_for_a_recent_proof_and_leads_back() {
    for (store, version) in WAYS {
        let gateway = start(store);
        let (here, other) = (signed_in(&gateway, version, LAPTOP), signed_in(&gateway, version, PHONE));
        gateway.advance(5 * 60 - 1);
        let third = signed_in(&gateway, version, PHONE);
        assert!(end(&here, &handle(&third)).text().contains("The session has ended."));
        gateway.advance(1);
        for what in [&*handle(&other), "others", "all"] {
            let led = end(&here, what);
            assert_eq!(led.status, 303, "{}", led.text());
            let page = here.visit(led.header("location")).send();
            assert!(page.text().contains("Please enter your password again"), "{}", page.text());
            assert_eq!((refused(&here), refused(&other)), (None, None));
        }
        let post = here.post_form(PAGE, &[("end", "all")]);
        let said = post.without("sec-fetch-mode").without("sec-fetch-dest").without("accept").send();
        assert_eq!((said.status, &said.json()["reason"]), (401, &"max_auth_age".into()));
        assert_eq!(here.visit(PAGE).send().status, 200, "it can be looked at");
        let led = end(&here, "others");
        let page = here.visit(led.header("location")).send();
        let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*hidden(&page, "attempt"))];
        let back = here.post_form("/.vestibule/login", &fields).send();
        assert_eq!((back.status, back.header("location")), (303, PAGE));
        assert_eq!(refused(&other), None, "what was asked for before is asked for again");
        assert!(end(&here, "others").text().contains("The session has ended."));
        assert_eq!(refused(&other).as_deref(), Some("ended_elsewhere"));
    }
}

#[test]
fn other_sites_and_scripts_end_and_see_nothing() {
    let gateway = start("disk");
    let (here, other) = (signed_in(&gateway, Version::H1, LAPTOP), signed_in(&gateway, Version::H2, PHONE));
    let post = || here.post_form(PAGE, &[("end", "all")]);
    for (origin, site) in
        [("https://evil.test", "cross-site"), ("https://other.localhost", "same-site"), ("null", "cross-site")]
    {
        let foreign = post().without("origin").without("sec-fetch-site");
        let answer = foreign.header("origin", origin).header("sec-fetch-site", site).send();
        assert_eq!(answer.status, 403, "{origin}");
    }
    for (mode, dest) in [("cors", "empty"), ("same-origin", "empty"), ("navigate", "iframe"), ("no-cors", "script")] {
        let by_script = |request: super::harness::Request<'_>| {
            let request = request.without("sec-fetch-mode").without("sec-fetch-dest");
            request.header("sec-fetch-mode", mode).header("sec-fetch-dest", dest).send().status
        };
        assert_eq!((by_script(post()), by_script(here.visit(PAGE))), (403, 403), "{mode} {dest}");
    }
    assert_eq!((refused(&here), refused(&other)), (None, None));
    // What a program of the same origin may read is read by no other site.
    assert_eq!(here.get(API).header("sec-fetch-site", "same-origin").send().status, 200);
    assert_eq!(here.get(API).header("sec-fetch-site", "cross-site").send().status, 403);
}

#[test]
fn who_is_not_signed_in_is_led_to_the_login_page_and_back() {
    let gateway = start("disk");
    let client = gateway.client();
    let led = client.visit(PAGE).send();
    assert_eq!(led.status, 303);
    let page = client.visit(led.header("location")).send();
    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*hidden(&page, "attempt"))];
    assert_eq!(client.post_form("/.vestibule/login", &fields).send().header("location"), PAGE);
    let stranger = gateway.client();
    assert_eq!(stranger.get(API).send().status, 401);
    assert_eq!(end(&stranger, "all").status, 303);
    assert_eq!(stranger.get("/anonymous").send().status, 200);
    assert_eq!(stranger.get(API).send().json()["reason"], "anonymous");
    assert_eq!(gateway.sessions_of("alice").len(), 1);
    // A copy of the cookie in another browser sees nothing, and is the end of it.
    let mut thief = gateway.client();
    thief.user_agent = "another browser".to_owned();
    thief.set_session(&client.session());
    assert_eq!(thief.get(API).send().json()["reason"], "binding_user_agent");
    assert!(gateway.sessions_of("alice").is_empty());
}
