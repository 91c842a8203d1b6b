//! Servers are asked how they are, and passed over when they are not well.

use std::fs;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use super::harness::process::{Process, plain};
use super::harness::{Gateway, Line, Scripted, Setup, advance_until, eventually, nobody, users};

/// A server that says its name, and how it is: with a status, or, where that is zero, not at all.
struct Server {
    server: Scripted,
    status: Arc<AtomicU16>,
    checks: Arc<AtomicUsize>,
    go_on: Sender<()>,
}

fn server(name: &'static str) -> Server {
    let (status, checks) = (Arc::new(AtomicU16::new(200)), Arc::new(AtomicUsize::new(0)));
    let (go_on, goes_on) = channel();
    let (goes_on, says, counts) = (Mutex::new(goes_on), Arc::clone(&status), Arc::clone(&checks));
    let server = Scripted::start(move |mut line: Line| {
        while let Some(request) = line.request() {
            if request.contains("/held") {
                let _ = goes_on.lock().expect("a gate").recv();
            }
            let status = if request.starts_with("GET /health") {
                counts.fetch_add(1, Ordering::SeqCst);
                says.load(Ordering::SeqCst)
            } else {
                200
            };
            if status == 0 {
                line.wait_for_close();
                return;
            }
            line.say(format!("HTTP/1.1 {status} X\r\nx: y\r\ncontent-length: {}\r\n\r\n{name}", name.len()));
        }
    });
    Server { server, status, checks, go_on }
}

impl Server {
    fn is(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn checks(&self) -> usize {
        self.checks.load(Ordering::SeqCst)
    }
}

fn in_front_of(servers: &[&Server], keys: &str, health: &str) -> Gateway {
    let mut setup = Setup::new().unlimited();
    setup.servers = Some(servers.iter().map(|server| server.server.url()).collect());
    setup.upstream = format!("{keys}\n[upstream.health]\npath = \"/health?full=1\"\n{health}");
    setup.workers = 1;
    setup.start()
}

/// Whether a server fails its checks, as far as requests are concerned.
fn fails(gateway: &Gateway, server: usize) -> bool {
    gateway.running().shared.snapshot.load().upstreams[0].fails(server)
}

/// A number of a server from the metrics.
fn metric(gateway: &Gateway, name: &str, server: &Server) -> Option<u64> {
    let address = server.server.url().replace("http://", "");
    let begin = format!("vestibule_{name}{{upstream=\"app\",server=\"{address}\"}} ");
    let text = gateway.running().shared.render_metrics();
    text.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok())
}

fn failures(gateway: &Gateway, server: &Server) -> u64 {
    metric(gateway, "health_check_failures_total", server).unwrap_or(0)
}

fn said(gateway: &Gateway, times: usize) -> String {
    let mut said: Vec<String> = (0..times).map(|_| gateway.client().get("/public").send().text()).collect();
    said.sort();
    said.concat()
}

#[test]
fn a_server_that_is_not_well_is_passed_over_until_it_is() {
    let (a, b) = (server("a"), server("b"));
    // Time is moved on while checks are under way, which is none of their servers' doing.
    let gateway = in_front_of(&[&a, &b], "", "timeout = \"1h\"");
    eventually("both are asked at once", || {
        [&a, &b].iter().all(|server| metric(&gateway, "upstream_healthy", server) == Some(1))
    });
    assert_eq!((a.checks(), b.checks()), (1, 1));
    assert_eq!(said(&gateway, 4), "aabb");
    a.is(500);
    for failed in 1..=3 {
        advance_until(&gateway, "another check fails", || failures(&gateway, &a) == failed);
        assert_eq!(fails(&gateway, 0), failed == 3, "after {failed}");
    }
    eventually("it is told", || metric(&gateway, "upstream_healthy", &a) == Some(0));
    assert_eq!(said(&gateway, 4), "bbbb");
    assert_eq!((failures(&gateway, &b), metric(&gateway, "upstream_healthy", &b)), (0, Some(1)));
    // Well, and then not: that is not twice in a row.
    let before = a.checks();
    a.is(399);
    advance_until(&gateway, "a check is passed", || a.checks() == before + 1);
    a.is(400);
    let failed = failures(&gateway, &a);
    advance_until(&gateway, "another fails", || failures(&gateway, &a) > failed);
    assert!(fails(&gateway, 0));
    let before = a.checks();
    a.is(204);
    advance_until(&gateway, "it is well again", || !fails(&gateway, 0));
    assert!(a.checks() >= before + 2, "two in a row are needed");
    assert_eq!(said(&gateway, 4), "aabb");
    eventually("it is told", || metric(&gateway, "upstream_healthy", &a) == Some(1));
}

#[test]
fn what_is_asked_is_nobodys_request() {
    let a = server("a");
    let gateway = in_front_of(&[&a], "", "");
    let b = server("b");
    let other = in_front_of(&[&b], "", "host = \"app.internal\"");
    eventually("they are asked", || a.checks() + b.checks() == 2);
    for (server, host) in [(&a, a.server.url().replace("http://", "")), (&b, "app.internal".to_owned())] {
        let expected = format!(
            "GET /health?full=1 HTTP/1.1\r\nhost: {host}\r\nuser-agent: vestibule (health check)\r\naccept: \
             */*\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(server.server.received(), [expected]);
    }
    assert!(
        !gateway.log.text().contains("/health") && !other.log.text().contains("/health"),
        "and no request in the log"
    );
}

#[test]
fn when_none_is_well_all_are_asked_all_the_same() {
    let (a, b) = (server("a"), server("b"));
    let gateway = in_front_of(&[&a, &b], "", "unhealthy_after = 1\nhealthy_after = 1");
    a.is(503);
    b.is(503);
    advance_until(&gateway, "both fail", || fails(&gateway, 0) && fails(&gateway, 1));
    assert_eq!(said(&gateway, 4), "aabb");
    b.is(200);
    advance_until(&gateway, "one is well", || !fails(&gateway, 1));
    assert_eq!(said(&gateway, 4), "bbbb");
}

#[test]
fn every_balance_passes_over_what_fails() {
    for balance in ["round_robin", "least_requests", "sticky"] {
        let (a, b) = (server("a"), server("b"));
        let gateway = in_front_of(&[&a, &b], &format!("balance = \"{balance}\""), "unhealthy_after = 1");
        b.is(404);
        advance_until(&gateway, "it fails", || fails(&gateway, 1));
        assert_eq!(said(&gateway, 6), "aaaaaa", "{balance}");
    }
}

#[test]
fn who_does_not_answer_in_time_fails_and_keeps_no_other_waiting() {
    let (a, b) = (server("a"), server("b"));
    let gateway = in_front_of(&[&a, &b], "", "every = \"60s\"\ntimeout = \"30s\"\nunhealthy_after = 1");
    eventually("both are well", || {
        [&a, &b].iter().all(|server| metric(&gateway, "upstream_healthy", server) == Some(1))
    });
    a.is(0);
    advance_until(&gateway, "it is asked", || a.checks() == 2);
    let asked_at = gateway.clock.now();
    let others = b.checks();
    advance_until(&gateway, "the other goes on", || b.checks() > others || fails(&gateway, 0));
    advance_until(&gateway, "it fails", || fails(&gateway, 0));
    assert!(gateway.clock.now().since(asked_at).as_secs() >= 29);
    // One that is not there fails as well, and one that hangs up.
    let (address, _nobody) = nobody();
    for server in [format!("http://{address}"), Scripted::saying("").url(), Scripted::saying("SSH-2.0-x\r\n").url()] {
        let mut setup = Setup::new();
        setup.servers = Some(vec![server.clone()]);
        setup.upstream = "[upstream.health]\npath = \"/health\"".to_owned();
        let gateway = setup.start();
        advance_until(&gateway, &server, || fails(&gateway, 0));
    }
}

#[test]
fn it_is_asked_when_all_its_connections_are_in_use() {
    let a = server("a");
    let gateway = in_front_of(&[&a], "max_connections = 1\nmax_waiting = 0", "");
    let client = gateway.client();
    let held = std::thread::spawn(move || client.get("/public/held").send());
    eventually("the server is busy", || a.server.received().iter().any(|request| request.contains("/held")));
    let before = a.checks();
    advance_until(&gateway, "it is asked again", || a.checks() >= before + 3);
    assert_eq!((failures(&gateway, &a), held.is_finished()), (0, false));
    assert_eq!(gateway.client().get("/public").send().status, 503, "there is one connection, and it is in use");
    a.go_on.send(()).expect("it waits");
    assert_eq!(held.join().expect("an answer").status, 200);
}

#[test]
fn a_panic_in_a_check_is_not_its_end() {
    let a = server("a");
    let gateway = in_front_of(&[&a], "", "every = \"1s\"");
    for good in (0..6).cycle().take(60) {
        gateway.clock.break_after(good);
        gateway.advance(1);
        eventually("a task is hit", || {
            gateway.clock.advance(std::time::Duration::from_millis(100));
            gateway.clock.has_broken()
        });
        gateway.clock.mend();
    }
    let before = a.checks();
    advance_until(&gateway, "it is asked again", || a.checks() > before + 2);
}

#[test]
fn each_change_is_told_once_with_its_reason() {
    let a = server("a");
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \
         \"c.key\"\ngenerate = true\n[admin]\nmetrics = \"127.0.0.1:0\"\n[login.local]\nusers = \
         \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = [\"{}\"]\n[upstream.health]\npath = \"/health\"\nevery = \
         \"20ms\"\n[[route]]\npath = \"/\"\nupstream = \"app\"\n",
        a.server.url()
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    let process = Process::serve(folder.path());
    let address = a.server.url().replace("http://", "");
    let many_more = || {
        let before = a.checks();
        eventually("it is asked some more", || a.checks() >= before + 10);
    };
    many_more();
    a.is(503);
    let words = [
        "WARN",
        &format!("app: {address}: fails its health check, and is asked all the same: none is well: it answers 503"),
    ];
    process.stderr.wait_for(&words);
    many_more();
    let metrics = plain(std::net::TcpStream::connect(process.metrics()).expect("connected"), "GET", "/metrics").1;
    let state = format!("vestibule_upstream_healthy{{upstream=\"app\",server=\"{address}\"}} 0");
    assert!(metrics.contains(&state), "{metrics}");
    a.is(200);
    process.stderr.wait_for(&["INFO", &format!("app: {address}: passes its health check again")]);
    many_more();
    let told = process.stop("TERM").stderr;
    assert_eq!(told.matches("health check").count(), 2, "{told}");
}

#[test]
fn a_server_that_speaks_http_2_is_asked_by_it() {
    let app = super::http2_upstreams::App::start(100, None);
    let gateway = app.gateway("[upstream.health]\npath = \"/well/page\"\nevery = \"10s\"\n");
    let seen = app.last();
    assert_eq!((seen.head.uri.path(), seen.head.version), ("/well/page", http::Version::HTTP_2));
    assert_eq!(seen.head.headers["user-agent"], "vestibule (health check)");
    assert!(!fails(&gateway, 0));
}
