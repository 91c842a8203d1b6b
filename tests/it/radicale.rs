//! A real application that nobody changed for us: Radicale, a calendar server that believes the header
//! `X-Remote-User`, and answers HTTP/1.0.

use std::fs;
use std::process::{Command, Stdio};

use http::Method;
use tempfile::TempDir;

use super::harness::process::Server;
use super::harness::{ALICE, BOB, Client, Gateway, Setup, Version};

/// Radicale with its data in a folder of its own.
struct Radicale {
    server: Server,
    data: TempDir,
}

impl Radicale {
    fn start() -> Self {
        let is_installed = Command::new("radicale").arg("--version").stdout(Stdio::null()).status().is_ok();
        assert!(is_installed, "radicale is not installed; tests/run installs it, or: apt-get install radicale");
        let data = tempfile::tempdir().expect("a folder");
        let server = Server::start(|address| {
            let mut command = Command::new("radicale");
            command
                .args(["--config", "", "--hosts", &address.to_string(), "--auth-type", "http_x_remote_user"])
                .args(["--rights-type", "owner_only", "--storage-filesystem-folder"])
                .arg(data.path());
            command
        });
        Self { server, data }
    }

    /// The gateway in front of it.
    fn gateway(&self) -> Gateway {
        let mut setup = Setup::new().extra(
            r#"
            [identity]
            preset = "none"
            [identity.headers]
            X-Remote-User = "{user}"
            "#,
        );
        setup.routes = "[[route]]\npath = \"/\"\nupstream = \"app\"\n".to_owned();
        setup.servers = Some(vec![self.server.url()]);
        setup.start()
    }

    /// Whether it keeps nothing for anybody.
    fn is_empty(&self) -> bool {
        let Ok(people) = fs::read_dir(self.data.path().join("collection-root")) else { return true };
        people.filter_map(Result::ok).all(|entry| entry.file_name().to_string_lossy().starts_with('.'))
    }
}

const CALENDAR: &str = "/alice/office/";
const EVENT: &str = "/alice/office/launch.ics";
const EVENT_BODY: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//vestibule//tests//EN\r\nBEGIN:VEVENT\r\n\
                          UID:launch\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260102T100000Z\r\n\
                          DTEND:20260102T110000Z\r\nSUMMARY:Launch of the new crane\r\nEND:VEVENT\r\n\
                          END:VCALENDAR\r\n";
const FIND: &str = r#"<?xml version="1.0"?>
<propfind xmlns="DAV:"><prop><current-user-principal/><displayname/><getetag/></prop></propfind>"#;
const REPORT: &str = r#"<?xml version="1.0"?>
<C:calendar-query xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav">
<prop><getetag/><C:calendar-data/></prop>
<C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"/></C:comp-filter></C:filter>
</C:calendar-query>"#;

fn method(name: &str) -> Method {
    name.parse().expect("a method")
}

fn make_calendar(client: &Client) -> u16 {
    client.request(method("MKCALENDAR"), CALENDAR).send().status
}

#[test]
fn nobody_reaches_it_without_signing_in() {
    let radicale = Radicale::start();
    let gateway = radicale.gateway();
    let stranger = gateway.client();
    let led = stranger.visit("/.web/").send();
    assert_eq!(led.status, 302);
    assert!(led.header("location").starts_with("/.vestibule/login?"));
    for claimed in [None, Some("X-Remote-User"), Some("x_remote_user"), Some("X.Remote.User")] {
        let requests = [
            stranger.request(method("MKCALENDAR"), CALENDAR),
            stranger.request(Method::PUT, EVENT).body(EVENT_BODY),
            stranger.request(method("PROPFIND"), "/alice/").body(FIND),
        ];
        for request in requests {
            let request = if let Some(name) = claimed { request.header(name, "alice") } else { request };
            assert_eq!(request.send().status, 401, "{claimed:?}");
        }
    }
    assert!(radicale.is_empty());
}

#[test]
fn a_calendar_is_kept_through_the_gateway() {
    let radicale = Radicale::start();
    let gateway = radicale.gateway();
    for version in [Version::H1, Version::H2] {
        let alice = gateway.signed_in(ALICE).speaking(version);
        let who = alice.request(method("PROPFIND"), "/").header("depth", "0").body(FIND).send();
        assert_eq!(who.status, 207, "{}", who.text());
        assert!(who.text().contains("/alice/"), "it knows her: {}", who.text());
        assert_eq!(make_calendar(&alice), 201);
        let put = alice.request(Method::PUT, EVENT).header("content-type", "text/calendar").body(EVENT_BODY).send();
        assert_eq!(put.status, 201, "{}", put.text());
        let got = alice.get(EVENT).send();
        assert_eq!((got.status, got.header("etag")), (200, put.header("etag")));
        assert!(got.text().contains("SUMMARY:Launch of the new crane"), "{}", got.text());
        assert!(!radicale.is_empty());
        let listed = alice.request(method("PROPFIND"), CALENDAR).header("depth", "1").body(FIND).send();
        assert_eq!(listed.status, 207);
        assert!(listed.text().contains(EVENT), "{}", listed.text());
        let report = alice.request(method("REPORT"), CALENDAR).header("depth", "1").body(REPORT).send();
        assert_eq!(report.status, 207, "{}", report.text());
        assert!(report.text().contains("SUMMARY:Launch of the new crane"), "{}", report.text());
        let web = alice.visit("/.web/").send();
        assert_eq!(web.status, 200);
        assert!(web.header("content-type").starts_with("text/html"), "{:?}", web.headers);
        assert_eq!(alice.request(Method::DELETE, CALENDAR).send().status, 200);
        assert_eq!(alice.get(EVENT).send().status, 404);
    }
}

#[test]
fn nobody_is_somebody_else_by_saying_so() {
    let radicale = Radicale::start();
    let gateway = radicale.gateway();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    assert_eq!(make_calendar(&alice), 201);
    assert_eq!(alice.request(Method::PUT, EVENT).body(EVENT_BODY).send().status, 201);
    let own = bob.request(method("PROPFIND"), "/bob/").header("depth", "0").body(FIND).send();
    assert_eq!(own.status, 207, "what is his is open to him: {}", own.text());
    for claimed in ["accept", "X-Remote-User", "x_remote_user", "X.Remote-User", "x-remote_user"] {
        let bob = |name: &str, target: &str| bob.request(method(name), target).header(claimed, "alice");
        let refused = [
            bob("GET", EVENT).send(),
            bob("PUT", EVENT).body(EVENT_BODY).send(),
            bob("DELETE", CALENDAR).send(),
            bob("PROPFIND", CALENDAR).header("depth", "1").body(FIND).send(),
            bob("REPORT", CALENDAR).header("depth", "1").body(REPORT).send(),
        ];
        for answer in refused {
            assert!([401, 403].contains(&answer.status), "{claimed}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("Launch"), "{}", answer.text());
        }
        let who = bob("PROPFIND", "/").header("depth", "0").body(FIND).send();
        assert!(who.text().contains("/bob/") && !who.text().contains("/alice/"), "{claimed}: {}", who.text());
    }
    // Not even by naming the gateway's header in Connection, which would take it away on the next hop.
    let told = bob.request(method("PROPFIND"), "/").header("connection", "X-Remote-User").header("depth", "0");
    assert!(told.body(FIND).send().text().contains("/bob/"));
    assert_eq!(alice.get(EVENT).send().status, 200);
    // Whoever signed out is nobody again.
    assert_eq!(alice.post_form("/.vestibule/logout", &[]).send().status, 200);
    assert_eq!(alice.get(EVENT).header("X-Remote-User", "alice").send().status, 401);
}
