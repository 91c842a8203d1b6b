//! Every page of ours shows whose it is, by the host it was asked for at, and nothing of anybody else; and what somebody
//! tells a help desk of an error is in the log.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use sha2::{Digest as _, Sha256};
use vestibule::enforce::reloads::Cause;

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Scripted, Setup, Version, advance_until, hidden, nobody};

const ACME: &str = "acme.example.test";
const GLOBEX: &str = "globex.example.test";

/// Longer than a session may be idle.
const LUNCH: u64 = 30 * 60 + 1;

/// What is seen of somebody.
struct Own {
    host: &'static str,
    title: &'static str,
    note: &'static str,
    color: &'static str,
    /// What is drawn in the logo.
    drawn: &'static str,
}

const ALL: [Own; 3] = [
    Own { host: ACME, title: "Acme Rockets", note: "Acme helps: 4711", color: "#2356b3", drawn: "M1 1h8" },
    Own { host: GLOBEX, title: "Globex", note: "Ask Hank, 2nd floor", color: "#ffd400", drawn: "M2 2h7" },
    Own { host: "localhost", title: "The operator", note: "Call the operator", color: "#7a1fa2", drawn: "M3 3h6" },
];

fn svg(drawn: &str) -> String {
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 10 10\"><path d=\"{drawn}\"/></svg>")
}

impl Own {
    fn keys(&self, logo: &str) -> String {
        format!("title = {:?}\nnote = {:?}\ncolor = {:?}\nlogo = {logo:?}\n", self.title, self.note, self.color)
    }

    /// How often it is seen on a page, by each of its marks.
    fn seen_in(&self, text: &str) -> [usize; 4] {
        let logo = STANDARD.encode(svg(self.drawn));
        [self.title, self.note, &format!("--accent:{};", self.color), &logo].map(|mark| text.matches(mark).count())
    }
}

/// Two tenants and the default one, each with a look; `/app` leads to the application, `/down` to one that is not there.
fn setup(down: &str) -> Setup {
    let [acme, globex, operator] = &ALL;
    let tenant = |own: &Own, name: &str| {
        format!(
            "[[tenant]]\nname = \"{name}\"\nhosts = [\"{}\"]\n[tenant.login.local]\nusers = \"users.toml\"\n\
             [tenant.portal]\n{}",
            own.host,
            own.keys(&format!("{name}.svg"))
        )
    };
    let extra = [
        format!("[[upstream]]\nname = \"down\"\nservers = [\"http://{down}\"]\n"),
        "[[route]]\npath = \"/down\"\nupstream = \"down\"\naccess = \"public\"\n".to_owned(),
        "[limits]\nper_address = \"100/m\"\nlogin = \"off\"\nwrong_passwords = \"off\"\n".to_owned(),
        "[session.concurrency]\nmax_sessions = 1\nwhen_full = \"ask\"\n".to_owned(),
        format!("[portal]\n{}", operator.keys("operator.svg")),
        tenant(acme, "acme"),
        tenant(globex, "globex"),
    ];
    let files = [("acme.svg", acme), ("globex.svg", globex), ("operator.svg", operator)];
    let setup = Setup {
        certificates: vec![vec!["localhost", ACME, GLOBEX]],
        files: files.map(|(name, own)| (name, svg(own.drawn))).into(),
        ..Setup::new()
    };
    let mut setup = setup.extra(&extra.concat());
    setup.routes = setup.routes.replacen("path = \"/\"", "path = \"/app\"", 1);
    setup
}

fn at(gateway: &Gateway, host: &str, version: Version) -> Client {
    let mut client = gateway.client().speaking(version);
    (client.host, client.sni) = (host.to_owned(), host.to_owned());
    client
}

fn log_in(client: &Client, (name, password): (&str, &str)) -> Answer {
    let page = client.visit("/.vestibule/login").send();
    let fields = [("username", name), ("password", password), ("attempt", &*hidden(&page, "attempt"))];
    client.post_form("/.vestibule/login", &fields).send()
}

/// Every kind of page of ours, with the status that it has.
fn pages(gateway: &Gateway, host: &str, version: Version) -> Vec<(&'static str, u16, Answer)> {
    let new = || at(gateway, host, version);
    let (stranger, alice, bob) = (new(), new(), new());
    let mut pages = vec![
        ("login", 200, stranger.visit("/.vestibule/login").send()),
        ("wrong password", 401, log_in(&stranger, (ALICE.0, "wrong"))),
    ];
    let fields = [("username", "a"), ("password", "b"), ("attempt", "c")];
    pages.push(("stale login", 400, stranger.post_form("/.vestibule/login", &fields).send()));
    pages.push(("not a form", 400, stranger.post_form("/.vestibule/login", &[]).send()));
    pages.push(("no such page of ours", 404, stranger.visit("/.vestibule/nothing").send()));
    pages.push(("no such method", 405, stranger.request(Method::PUT, "/.vestibule/login").navigating().send()));
    pages.push(("no route", 404, stranger.visit("/elsewhere").send()));
    pages.push(("two readings", 400, stranger.visit("/app/%252e%252e/x").send()));
    pages.push(("application down", 502, stranger.visit("/down").send()));
    let foreign = stranger.post_form("/app", &[("a", "b")]).without("origin").header("origin", "https://evil.test");
    pages.push(("another site's form", 403, foreign.header("sec-fetch-site", "cross-site").send()));
    assert_eq!((log_in(&alice, ALICE).status, log_in(&bob, BOB).status), (303, 303));
    pages.push(("role missing", 403, bob.visit("/admin").send()));
    pages.push(("sign out?", 200, bob.visit("/.vestibule/logout").send()));
    pages.push(("which session ends", 200, log_in(&new(), BOB)));
    pages.push(("sessions", 200, bob.visit("/.vestibule/sessions").send()));
    pages.push(("signed out", 200, bob.post_form("/.vestibule/logout", &[]).send()));
    pages.push(("nothing kept", 404, alice.visit("/.vestibule/parked/nothing").send()));
    gateway.advance(LUNCH);
    let led = alice.post_form("/app/save", &[("order", "7")]).send();
    let page = alice.visit(led.header("location")).send();
    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*hidden(&page, "attempt"))];
    let to = alice.post_form("/.vestibule/login", &fields).send().header("location").to_owned();
    pages.push(("ended", 200, page));
    pages.push(("kept form", 200, alice.visit(&to).send()));
    pages.push(("what is kept", 200, alice.visit("/.vestibule/parked").send()));
    pages.push(("signed out everywhere", 200, alice.post_form("/.vestibule/sessions", &[("end", "all")]).send()));
    let refused = (0..200).map(|_| stranger.visit("/elsewhere").send()).find(|answer| answer.status == 429);
    pages.push(("too many", 429, refused.expect("a limit")));
    gateway.advance(60);
    pages
}

#[test]
fn every_page_shows_its_own_look_and_nothing_of_anothers() {
    let (address, _held) = nobody();
    let gateway = setup(&address.to_string()).start();
    for version in [Version::H1, Version::H2] {
        for own in &ALL {
            for (what, status, answer) in pages(&gateway, own.host, version) {
                let text = answer.text();
                assert_eq!(answer.status, status, "{what} at {}: {text}", own.host);
                let [title, note, color, logo] = own.seen_in(&text);
                // Whoever asks too much, or is not counted yet, is not given a picture on top.
                let has_logo = usize::from(!["too many", "two readings"].contains(&what));
                assert!(title >= 2 && color >= 1 && logo == has_logo, "{what} at {}: {text}", own.host);
                let is_for_help = status >= 400 || ["login", "ended"].contains(&what);
                assert_eq!(note, usize::from(is_for_help), "{what} at {}: {text}", own.host);
                for other in ALL.iter().filter(|other| other.host != own.host) {
                    assert_eq!(other.seen_in(&text), [0; 4], "{what} at {} of {}: {text}", own.host, other.host);
                }
                assert_allows_its_style_and_no_more(what, &answer);
            }
        }
    }
}

/// The policy of a page, by which its style is taken and nothing is fetched.
fn assert_allows_its_style_and_no_more(what: &str, answer: &Answer) {
    let (text, policy) = (answer.text(), answer.header("content-security-policy"));
    let (_, style) = text.split_once("<style>").expect("a style sheet");
    let hash = STANDARD.encode(Sha256::digest(style.split("</style>").next().expect("an end")));
    let forms = if what == "kept form" { "'self' https:" } else { "'self'" };
    let expected = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{hash}'; form-action {forms}; frame-ancestors 'none'; \
         base-uri 'none'"
    );
    assert_eq!(policy, expected, "{what}");
    assert!(!text.contains("<script") && !text.contains(" style="), "{what}");
}

/// Who names no host, several, or one that the connection is not for, is at nobody's in particular.
#[test]
fn a_host_that_is_not_known_for_certain_is_no_tenants() {
    let (address, _held) = nobody();
    let gateway = setup(&address.to_string()).start();
    let [acme, globex, operator] = &ALL;
    let raw = |head: &str| {
        let head =
            format!("{head}\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nConnection: close\r\n\r\n");
        at(&gateway, ACME, Version::H1).raw(head.as_bytes())
    };
    for (head, status, whose) in [
        (format!("GET / HTTP/1.1\r\nHost: {ACME}\r\nHost: {GLOBEX}"), "400", operator),
        (format!("GET https://{ACME}/ HTTP/1.1\r\nHost: {GLOBEX}"), "400", operator),
        ("GET / HTTP/1.1\r\nHost: elsewhere.test".to_owned(), "421", operator),
        (format!("GET /%252e%252e/x HTTP/1.1\r\nHost: {GLOBEX}:443"), "400", globex),
        ("GET /%252e%252e/x HTTP/1.1\r\nHost: ACME.example.TEST".to_owned(), "400", acme),
    ] {
        let text = raw(&head);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {text}");
        for own in &ALL {
            let [title, _, color, logo] = own.seen_in(&text);
            let expected = [own.host == whose.host; 2];
            assert_eq!(([title > 0, color > 0], logo), (expected, 0), "{head}: {}", own.host);
        }
    }
}

#[test]
fn what_a_tenant_does_not_say_is_as_for_all_and_nothing_can_be_said() {
    let (address, _held) = nobody();
    let mut setup = setup(&address.to_string());
    setup.extra = setup.extra.replace("title = \"Globex\"\n", "").replace("color = \"#ffd400\"\n", "");
    setup.extra = setup.extra.replace("note = \"Acme helps: 4711\"\n", "note = \"\"\n");
    setup.extra =
        setup.extra.replace("logo = \"acme.svg\"\n", "logo = \"\"\n").replace("color = \"#2356b3\"", "color = \"\"");
    let gateway = setup.start();
    let [acme, globex, operator] = &ALL;
    let login = |own: &Own| at(&gateway, own.host, Version::H1).visit("/.vestibule/login").send();
    let text = login(globex).text();
    assert_eq!((operator.seen_in(&text), globex.seen_in(&text)), ([3, 0, 2, 0], [0, 1, 0, 1]), "{text}");
    let page = login(acme);
    assert_eq!((operator.seen_in(&page.text()), acme.seen_in(&page.text())), ([0; 4], [2, 0, 0, 0]), "{}", page.text());
    assert!(page.text().contains("class=\"door\"") && !page.header("content-security-policy").contains("img-src"));
}

#[test]
fn a_look_that_changes_is_taken_while_the_gateway_runs() {
    let (address, _held) = nobody();
    let gateway = setup(&address.to_string()).start();
    let [acme, globex, _] = &ALL;
    let client = at(&gateway, ACME, Version::H1);
    let page = || client.visit("/.vestibule/login").send().text();
    let config = gateway.folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("a file");
    fs::write(&config, text.replace(acme.title, "Acme Anvils").replace(acme.color, "#b32356")).expect("written");
    let ask = || gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    ask().expect("taken");
    assert!(page().contains("Acme Anvils") && page().contains("--accent:#b32356;"), "{}", page());
    // The picture by itself, too, as soon as it is another.
    let logo = gateway.folder.path().join("acme.svg");
    let is_there = |drawn: &str| page().contains(&STANDARD.encode(svg(drawn)));
    assert!(is_there(acme.drawn));
    fs::write(&logo, svg("M4 4h5 anew")).expect("written");
    advance_until(&gateway, "the new one is shown", || is_there("M4 4h5 anew"));
    // What is no picture is not taken, and is told.
    fs::write(&logo, "GIF89a").expect("written");
    let words = ask().expect_err("refused");
    assert!(words.contains("acme.svg is a GIF picture, and a logo is SVG or PNG"), "{words}");
    assert!(is_there("M4 4h5 anew") && globex.seen_in(&page()) == [0; 4]);
}

/// The id that a page says.
fn said(page: &Answer) -> Option<String> {
    let text = page.text();
    let (_, after) = text.split_once("mention request <code><bdi>")?;
    after.split_once("</bdi>").map(|(id, _)| id.to_owned())
}

#[test]
fn the_request_that_an_error_page_names_is_the_one_in_the_log() {
    let (address, _held) = nobody();
    let gateway = setup(&address.to_string()).start();
    for version in [Version::H1, Version::H2] {
        for (what, status, page) in pages(&gateway, ACME, version) {
            // Whoever has mistyped their password need not report it.
            let is_form = ["wrong password", "stale login"].contains(&what);
            let id = said(&page);
            assert_eq!(id.is_some(), status >= 400 && !is_form, "{what}: {}", page.text());
            let Some(id) = id else { continue };
            assert!(id.len() == 32 && page.header("x-request-id") == id, "{what}: {id}");
            gateway.log.wait_for(&[&id, &format!(" {status} ")]);
        }
        let chosen = at(&gateway, ACME, version).visit("/elsewhere").header("x-request-id", "help-me-1").send();
        assert_eq!(said(&chosen).as_deref(), Some("help-me-1"));
    }
    // A program reads it in the head.
    let answer = at(&gateway, ACME, Version::H1).get("/elsewhere").send();
    assert!(answer.json()["error"] == "no_route" && !answer.header("x-request-id").is_empty());
    let off = setup(&address.to_string()).extra("[log]\nrequest_id = \"off\"").start();
    let page = at(&off, ACME, Version::H1).visit("/elsewhere").send();
    assert_eq!((page.status, said(&page)), (404, None));
}

#[test]
fn what_went_wrong_half_way_is_named_as_well() {
    let server = Scripted::start(|mut line| {
        line.request();
        line.say("HTTP/1.1 nonsense\r\n\r\n");
    });
    let gateway = Setup::new().in_front_of(&server).start();
    let page = gateway.client().visit("/public/broken").send();
    let id = said(&page).expect("an id");
    assert_eq!((page.status, page.header("x-request-id")), (502, &*id));
    gateway.log.wait_for(&[&id, " 502 "]);
}

/// Where no route is for an address, none is for `/` either; our own pages are on every host.
#[test]
fn who_is_lost_is_led_to_the_front_page_where_there_is_one() {
    let mut setup = Setup::new();
    setup.routes = setup.routes.replacen("path = \"/\"", "path = \"/app\"", 1);
    let gateway = setup.start();
    let page = |path: &str| {
        let page = gateway.client().visit(path).send();
        assert_eq!(page.status, 404);
        page.text()
    };
    let link = "<a class=\"button\" href=\"/\" target=\"_top\">Go to the front page</a>";
    let text = page("/.vestibule/nothing");
    assert!(text.contains("start again from the front page") && text.contains(link), "{text}");
    for path in ["/", "/elsewhere"] {
        assert!(!page(path).contains("front page") && page(path).contains("Check it for typing mistakes."), "{path}");
    }
}
