//! Several servers, and servers by TLS and by Unix socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::harness::{ALICE, Answer, BOB, Client, Gateway, Line, Scripted, Setup, advance_until, eventually, nobody};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that says its name to everything but `/public/held`, for which it waits until it is told.
struct Named {
    server: Scripted,
    go_on: Sender<()>,
}

fn named(name: &'static str) -> Named {
    let (go_on, goes_on) = channel();
    let goes_on = Mutex::new(goes_on);
    let server = Scripted::start(move |mut line: Line| {
        while let Some(request) = line.request() {
            if request.contains("/held") {
                let _ = goes_on.lock().expect("a gate").recv();
            }
            line.say(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()));
        }
    });
    Named { server, go_on }
}

/// A gateway in front of these, with more keys of the upstream.
fn in_front_of(servers: &[&Named], keys: &str, workers: usize) -> Gateway {
    let mut setup = Setup::new().unlimited();
    setup.servers = Some(servers.iter().map(|named| named.server.url()).collect());
    setup.upstream = keys.to_owned();
    setup.workers = workers;
    setup.start()
}

fn in_background(client: Client, target: &'static str) -> JoinHandle<Answer> {
    std::thread::spawn(move || client.get(target).send())
}

#[test]
fn each_has_its_turn() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let gateway = in_front_of(&[&a, &b, &c], "", 1);
    let said: String = (0..6).map(|_| gateway.client().get("/public").send().text()).collect();
    assert_eq!(said, "abcabc");
}

#[test]
fn a_server_that_is_not_there_is_passed_over() {
    let there = named("there");
    let mut setup = Setup::new().unlimited();
    let (address, _nobody) = nobody();
    setup.servers = Some(vec![format!("http://{address}"), there.server.url()]);
    setup.workers = 1;
    let gateway = setup.start();
    for method in [Method::GET, Method::POST, Method::GET, Method::POST, Method::PUT, Method::POST] {
        let answer = gateway.client().request(method, "/public").body("once").send();
        assert_eq!((answer.status, answer.text().as_str()), (200, "there"));
    }
    assert_eq!(there.server.received().len(), 6, "each is sent once");
}

#[test]
fn a_server_that_is_back_is_used_again() {
    let there = named("there");
    let (address, nobody) = nobody();
    let mut setup = Setup::new().unlimited();
    setup.servers = Some(vec![format!("http://{address}"), there.server.url()]);
    setup.workers = 1;
    let gateway = setup.start();
    for _ in 0..10 {
        assert_eq!(gateway.client().get("/public").send().text(), "there");
    }
    nobody.listen(16).expect("it listens now");
    let back = TcpListener::from(nobody);
    back.set_nonblocking(true).expect("set");
    for _ in 0..10 {
        assert_eq!(gateway.client().get("/public").send().text(), "there");
    }
    assert!(back.accept().is_err(), "it was left alone");
    back.set_nonblocking(false).expect("set");
    let answers = std::thread::spawn(move || {
        for mut stream in back.incoming().flatten().take(1) {
            let mut read = [0; 4096];
            let _ = stream.read(&mut read);
            let _ = stream.write_all(OK.as_bytes());
        }
    });
    gateway.advance(10);
    let said: Vec<String> = (0..2).map(|_| gateway.client().get("/public").send().text()).collect();
    assert!(said.contains(&"ok".to_owned()), "{said:?}");
    answers.join().expect("it was asked");
}

#[test]
fn when_none_is_there_it_is_a_bad_gateway() {
    let mut setup = Setup::new();
    let all: Vec<_> = (0..3).map(|_| nobody()).collect();
    setup.servers = Some(all.iter().map(|(address, _)| format!("http://{address}")).collect());
    let gateway = setup.start();
    for _ in 0..12 {
        let answer = gateway.client().get("/public").send();
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (502, Some("upstream")));
    }
    gateway.log.wait_for(&["reason=upstream_connect"]);
}

#[test]
fn the_least_busy_is_asked() {
    let (a, b) = (named("a"), named("b"));
    let gateway = in_front_of(&[&a, &b], "balance = \"least_requests\"", 2);
    let held = in_background(gateway.client(), "/public/held");
    let asked = || a.server.received().len() + b.server.received().len();
    eventually("one is asked", || asked() == 1);
    let (busy, free) = if a.server.received().is_empty() { (&b, "a") } else { (&a, "b") };
    for _ in 0..5 {
        assert_eq!(gateway.client().get("/public").send().text(), free);
    }
    busy.go_on.send(()).expect("it waits");
    assert_eq!(held.join().expect("an answer").status, 200);
    let said: Vec<String> = (0..8).map(|_| gateway.client().get("/public").send().text()).collect();
    assert!(said.contains(&"a".to_owned()) && said.contains(&"b".to_owned()), "equals take turns: {said:?}");
}

#[test]
fn a_session_stays_with_its_server() {
    let (a, b, c) = (named("a"), named("b"), named("c"));
    let gateway = in_front_of(&[&a, &b, &c], "balance = \"sticky\"", 2);
    let mut homes = std::collections::BTreeSet::new();
    for who in [ALICE, BOB].into_iter().cycle().take(12) {
        let client = gateway.signed_in(who);
        let home = client.get("/").send().text();
        for _ in 0..5 {
            assert_eq!(client.get("/").send().text(), home);
        }
        homes.insert(home);
    }
    assert!(homes.len() > 1, "and others with others: {homes:?}");
    let strangers: std::collections::BTreeSet<_> =
        (0..12).map(|_| gateway.client().get("/public").send().text()).collect();
    assert!(strangers.len() > 1);
}

#[test]
fn who_comes_when_all_connections_are_in_use_waits() {
    let one = named("one");
    // Two workers, of whom each may have the connection.
    let gateway = in_front_of(&[&one], "max_connections = 1\nmax_waiting = 2", 2);
    let held = in_background(gateway.client(), "/public/held");
    eventually("the server is asked", || one.server.received().len() == 1);
    let waiting: Vec<_> = (0..6).map(|_| in_background(gateway.client(), "/public")).collect();
    eventually("two wait and the others are told to come back", || {
        waiting.iter().filter(|waiting| waiting.is_finished()).count() == 4
    });
    one.go_on.send(()).expect("it waits");
    assert_eq!(held.join().expect("an answer").status, 200);
    let answers: Vec<Answer> = waiting.into_iter().map(|waiting| waiting.join().expect("an answer")).collect();
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((of(200), of(503)), (2, 4));
    let refused = answers.iter().find(|answer| answer.status == 503).expect("one");
    assert_eq!((refused.json()["reason"].as_str(), refused.header("retry-after")), (Some("upstream"), "2"));
    assert_eq!(one.server.received().len(), 3);
}

#[test]
fn who_waits_too_long_is_told_to_come_back() {
    let one = named("one");
    let gateway = in_front_of(&[&one], "max_connections = 1", 1);
    let held = in_background(gateway.client(), "/public/held");
    eventually("the server is asked", || one.server.received().len() == 1);
    let waiting = in_background(gateway.client(), "/public");
    advance_until(&gateway, "it has waited long enough", || waiting.is_finished());
    assert_eq!(waiting.join().expect("an answer").status, 503);
    one.go_on.send(()).expect("it waits");
    assert_eq!(held.join().expect("an answer").status, 200);
    eventually("served again", || gateway.client().get("/public").send().status == 200);
}

#[test]
fn an_idle_connection_of_another_worker_makes_room() {
    let one = named("one");
    let gateway = in_front_of(&[&one], "max_connections = 1", 2);
    // Whichever worker has it, the other may want it: both are asked sooner or later.
    for _ in 0..20 {
        let asked = in_background(gateway.client(), "/public");
        eventually("it is answered", || {
            // Idle connections are looked at once a second.
            gateway.clock.advance(Duration::from_millis(100));
            asked.is_finished()
        });
        assert_eq!(asked.join().expect("an answer").status, 200);
    }
}

#[test]
fn a_unix_socket_is_a_server_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut read = [0; 4096];
            while stream.read(&mut read).is_ok_and(|length| length > 0) {
                let _ = stream.write_all(OK.as_bytes());
            }
        }
    });
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("unix:{}", path.display())]);
    setup.workers = 1;
    let gateway = setup.start();
    for _ in 0..5 {
        assert_eq!(gateway.client().get("/public").send().text(), "ok");
    }
    std::fs::remove_file(&path).expect("removed");
    let gone = (0..3).map(|_| gateway.client().get("/public").send().status).collect::<Vec<_>>();
    assert!(gone.iter().all(|status| matches!(status, 200 | 502)), "{gone:?}");
}

/// A CA, and what it has signed, in files.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("written");
        for name in ["app.internal", "client"] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
            let cert = params.signed_by(&key, &ca).expect("signed");
            std::fs::write(folder.path().join(format!("{name}.crt")), cert.pem()).expect("written");
            std::fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).expect("a CA")).expect("added");
        roots
    }

    /// A server for `app.internal`; says what it is asked, once a connection it has made.
    fn server(&self, asks_for_client: bool) -> (SocketAddr, Receiver<()>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.expect("a provider");
        let verifier = || {
            let roots = Arc::new(self.roots());
            WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().expect("a verifier")
        };
        let builder =
            if asks_for_client { builder.with_client_cert_verifier(verifier()) } else { builder.with_no_client_auth() };
        let cert = vec![CertificateDer::from_pem_file(self.path("app.internal.crt")).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(self.path("app.internal.key")).expect("a key");
        let config = Arc::new(builder.with_single_cert(cert, key).expect("a configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (connected, connections) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
                let (mut stream, connected) = (StreamOwned::new(tls, stream), connected.clone());
                std::thread::spawn(move || {
                    let mut read = [0; 4096];
                    let mut is_first = true;
                    while stream.read(&mut read).is_ok_and(|length| length > 0) {
                        if std::mem::take(&mut is_first) {
                            let _ = connected.send(());
                        }
                        let _ = stream.write_all(OK.as_bytes()).and_then(|()| stream.flush());
                    }
                });
            }
        });
        (address, connections)
    }
}

fn by_tls(address: SocketAddr, keys: &[(&str, &Path)], server_name: &str) -> Gateway {
    let mut setup = Setup::new();
    setup.servers = Some(vec![format!("https://{address}")]);
    setup.workers = 1;
    setup.upstream = format!("server_name = \"{server_name}\"\n");
    for (key, path) in keys {
        setup.upstream += &format!("{key} = \"{}\"\n", path.display());
    }
    setup.start()
}

#[test]
fn a_server_is_spoken_to_by_tls_and_its_certificate_checked() {
    let authority = Authority::new();
    let (address, connections) = authority.server(false);
    let gateway = by_tls(address, &[("ca", &authority.path("ca.pem"))], "app.internal");
    for _ in 0..5 {
        assert_eq!(gateway.client().get("/public").send().text(), "ok");
    }
    assert_eq!(connections.try_iter().count(), 1, "one connection for all");
    let stranger = Authority::new();
    for (ca, name) in [(stranger.path("ca.pem"), "app.internal"), (authority.path("ca.pem"), "other.internal")] {
        let gateway = by_tls(address, &[("ca", &ca)], name);
        let answer = gateway.client().get("/public").send();
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (502, Some("upstream")), "{name}");
    }
    assert_eq!(connections.try_iter().count(), 0, "it is told nothing");
}

#[test]
fn a_server_is_asked_how_it_is_the_way_it_is_reached() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (address, _connections) = authority.server(true);
    let started = |ca: &Authority, url: String| {
        let path = |authority: &Authority, name| authority.path(name).display().to_string();
        let (ca, cert, key) = (path(ca, "ca.pem"), path(&authority, "client.crt"), path(&authority, "client.key"));
        let mut setup = Setup::new();
        setup.upstream = "[upstream.health]\npath = \"/\"\nunhealthy_after = 1".to_owned();
        if url.starts_with("https://") {
            let tls = format!("ca = \"{ca}\"\nclient_cert = \"{cert}\"\nclient_key = \"{key}\"");
            setup.upstream = format!("server_name = \"app.internal\"\n{tls}\n{}", setup.upstream);
        }
        setup.servers = Some(vec![url]);
        setup.start()
    };
    let told = |gateway: &Gateway| {
        let text = gateway.running().shared.render_metrics();
        let line = text.lines().find(|line| line.starts_with("vestibule_upstream_healthy{"));
        line.and_then(|line| line.rsplit_once(' ')).map(|(_, state)| state.to_owned())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut read = [0; 4096];
            let _ = stream.read(&mut read).and_then(|_| stream.write_all(OK.as_bytes()));
        }
    });
    let https = format!("https://{address}");
    for (ca, url, state) in [
        (&authority, https.clone(), "1"),
        (&stranger, https, "0"),
        (&authority, format!("unix:{}", path.display()), "1"),
    ] {
        let gateway = started(ca, url);
        eventually("it is asked", || told(&gateway).is_some());
        assert_eq!(told(&gateway).as_deref(), Some(state));
    }
}

#[test]
fn a_server_that_asks_who_we_are_is_shown_it() {
    let authority = Authority::new();
    let (address, _connections) = authority.server(true);
    let (ca, cert, key) = (authority.path("ca.pem"), authority.path("client.crt"), authority.path("client.key"));
    let gateway = by_tls(address, &[("ca", &ca), ("client_cert", &cert), ("client_key", &key)], "app.internal");
    assert_eq!(gateway.client().get("/public").send().text(), "ok");
    let gateway = by_tls(address, &[("ca", &ca)], "app.internal");
    assert_eq!(gateway.client().get("/public").send().status, 502);
}

#[test]
fn a_name_is_looked_up_again_and_an_address_is_not() {
    for (host, connections) in [("localhost", 2), ("127.0.0.1", 1)] {
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let server = Scripted::start(move |mut line| {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            while line.request().is_some() {
                line.say(OK);
            }
        });
        let mut setup = Setup::new();
        setup.servers = Some(vec![server.url().replace("127.0.0.1", host)]);
        setup.upstream = "resolve_every = \"20s\"".to_owned();
        setup.workers = 1;
        let gateway = setup.start();
        // Never idle for as long as that.
        for _ in 0..5 {
            assert_eq!(gateway.client().get("/public").send().status, 200);
            gateway.advance(5);
        }
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), connections, "{host}");
    }
}

#[test]
fn a_server_that_hangs_up_on_everybody_is_left_alone() {
    let (good, broken) = (named("good"), Scripted::start(drop));
    let mut setup = Setup::new().unlimited();
    setup.servers = Some(vec![good.server.url(), broken.url()]);
    (setup.upstream, setup.workers) = ("balance = \"least_requests\"".to_owned(), 1);
    let gateway = setup.start();
    let answers: Vec<u16> = (0..40).map(|_| gateway.client().get("/public").send().status).collect();
    let broken = answers.iter().filter(|status| **status == 502).count();
    assert!((1..=3).contains(&broken), "{answers:?}");
}
