//! The binary as it is shipped: its commands, what they print, how they end, and the operator's listeners.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};

use tempfile::TempDir;

use super::harness::process::{Process, address_after, plain, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, Scripted, Version, eventually, reference, users};

/// A folder with a configuration in front of `upstream`, and the tests' users.
pub(super) fn folder(upstream: SocketAddr, more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        r#"
[server]
listen = ["127.0.0.1:0"]
workers = 2
drain_timeout = "20s"
[[server.certificate]]
cert = "certs/dev.crt"
key = "certs/dev.key"
generate = true
[admin]
listen = "unix:{}/admin.sock"
metrics = "127.0.0.1:0"
[login.local]
users = "users.toml"
[[upstream]]
name = "app"
servers = ["http://{upstream}"]
[[route]]
path = "/"
upstream = "app"
[[route]]
path = "/public"
upstream = "app"
access = "public"
{more}
"#,
        folder.path().display()
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

pub(super) fn signed_in(address: SocketAddr, who: (&str, &str)) -> Client {
    let client = Client::new(address);
    let answer = client.sign_in(who, "/");
    assert_eq!(answer.status, 303, "{}", answer.text());
    client
}

#[test]
fn check_says_that_a_configuration_is_good() {
    let folder = folder(([127, 0, 0, 1], 9).into(), "");
    let checked = run(folder.path(), &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    assert_eq!(checked.stdout, "gateway.toml: good: 2 routes to 1 upstream\n");
    assert!(!folder.path().join("certs").exists(), "nothing was started");
}

const BAD: &str = r#"[server]
listen = ["127.0.0.1:8443", "127.0.0.1:8443"]
trusted_proxies = ["0.0.0.0/0"]
worker = 2
[[server.certificate]]
cert = "c.crt"
key = "c.key"
generate = true
[session.store]
kind = "redis"
url = "redis://127.0.0.1"
[session.cookie]
domain = "example.test"
[session.lifetime]
idle = 30
[limits]
per_session = "many"
[[upstream]]
name = "app"
servers = ["http://127.0.0.1:3000"]
[[route]]
path = "/a"
upstream = "ap"
access = "public"
[[route]]
path = "/b"
upstream = "app"
access = "public"
[[route]]
path = "/b"
upstream = "app"
access = "optional"
[[route]]
path = "/.vestibule/x"
upstream = "app"
access = "public"
[[route]]
path = "/private"
upstream = "app"
"#;

const BAD_SHOWN: &str = r#"bad.toml:2:29: this address is written twice, first in line 2
    2 | listen = ["127.0.0.1:8443", "127.0.0.1:8443"]
      |                             ^^^^^^^^^^^^^^^^ keep one of them

bad.toml:3:20: "0.0.0.0/0" trusts everybody, so every client could claim to be another
    3 | trusted_proxies = ["0.0.0.0/0"]
      |                    ^^^^^^^^^^^ write the networks of your own proxies, like "10.0.0.0/8"

bad.toml:4:1: there is no key "worker" in [server]
    4 | worker = 2
      | ^^^^^^ did you mean "workers"?

bad.toml:10:8: sessions cannot be kept in "redis" yet
   10 | kind = "redis"
      |        ^^^^^^^ write kind = "disk", which is one machine's

bad.toml:11:1: "url" does not exist in this version yet
   11 | url = "redis://127.0.0.1"
      | ^^^ remove this line: sessions are kept in memory and in a file

bad.toml:13:10: a cookie named __Host-… belongs to one host
   13 | domain = "example.test"
      |          ^^^^^^^^^^^^^^ give it a name that begins with __Secure-, or remove this line

bad.toml:15:8: "idle" must be a duration, and this is a number
   15 | idle = 30
      |        ^^ write a number and a unit in quotes, like "90s", "30m", "12h" or "7d"

bad.toml:17:15: "many" is not a rate
   17 | per_session = "many"
      |               ^^^^^^ write a number, a slash and s, m or h, like "100/s" or "10/m", or "off"

bad.toml:23:12: there is no upstream named "ap"
   23 | upstream = "ap"
      |            ^^^^ did you mean "app"?

bad.toml:30:8: there are two routes for "/b" on the same host
   30 | path = "/b"
      |        ^^^^ keep one of them

bad.toml:34:8: "/.vestibule/x" belongs to the gateway's own pages
   34 | path = "/.vestibule/x"
      |        ^^^^^^^^^^^^^^^ choose another path

bad.toml:38:8: this route asks for login, and nobody can sign in
   38 | path = "/private"
      |        ^^^^^^^^^^ write access = "public" for everybody, or add at the end of the file:
        [login.local]
        users = "users.toml"

12 mistakes in bad.toml
"#;

#[test]
fn check_and_serve_show_all_mistakes_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("bad.toml"), BAD).expect("written");
    for command in ["check", "serve"] {
        let checked = run(folder.path(), &[command, "--config", "bad.toml"], "");
        assert_eq!((checked.code(), checked.stdout.as_str()), (Some(1), ""));
        assert_eq!(checked.stderr, BAD_SHOWN);
    }
}

#[test]
fn a_broken_or_missing_file_is_said_to_be_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = run(folder.path(), &["serve"], "");
    assert_eq!(missing.code(), Some(1));
    assert_eq!(
        missing.stderr,
        "gateway.toml: the file cannot be read: No such file or directory (os error 2)\n      = name another file with \
         --config\n\n1 mistake in gateway.toml\n"
    );
    fs::write(folder.path().join("gateway.toml"), "[server]\nlisten = [\"127.0.0.1:8443\"\n").expect("written");
    let broken = run(folder.path(), &["check"], "");
    assert_eq!(broken.code(), Some(1));
    assert!(broken.stderr.contains("this list is not closed"), "{}", broken.stderr);
    let wrong = run(folder.path(), &["chekc"], "");
    assert_eq!(wrong.code(), Some(2), "a wrong command line is told apart from a wrong file");
    assert!(wrong.stderr.contains("check"), "{}", wrong.stderr);
}

#[test]
fn the_reference_configuration_works() {
    let application = Application::start();
    let folder = tempfile::tempdir().expect("a folder");
    let text = reference()
        .replace("127.0.0.1:8443", "127.0.0.1:0")
        .replace("127.0.0.1:9901", "127.0.0.1:0")
        .replace("unix:/run", &format!("unix:{}", folder.path().display()))
        .replace("127.0.0.1:3000", &application.address().to_string());
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    let added = run(folder.path(), &["user", "add", "alice", "--roles", "admin", "--password-stdin"], ALICE.1);
    assert_eq!(added.code(), Some(0), "{}", added.stderr);
    let gateway = Process::serve(folder.path());
    let alice = signed_in(gateway.address(), ALICE);
    for path in ["/", "/admin/users"] {
        assert_eq!(alice.visit(path).send().status, 200);
        assert_eq!(application.last().header("x-forwarded-user"), Some("alice"));
    }
    let mode = |name: &str| fs::metadata(folder.path().join(name)).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode("certs/dev.key"), mode("users.toml")), (0o600, 0o600));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

/// An application that answers when the test says so.
struct Patient {
    address: SocketAddr,
    received: Receiver<String>,
    release: Sender<()>,
}

impl Patient {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let ((receive, received), (release, released)) = (channel(), channel::<()>());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut reader = BufReader::new(stream);
                let mut head = String::new();
                while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
                if receive.send(head).is_err() || released.recv().is_err() {
                    return;
                }
                let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        Self { address, received, release }
    }
}

#[test]
fn sigterm_lets_the_request_under_way_finish() {
    let application = Patient::start();
    let folder = folder(application.address, "");
    let mut gateway = Process::serve(folder.path());
    let (address, metrics) = (gateway.address(), gateway.metrics());
    let client = signed_in(address, ALICE);
    let ready = || plain(TcpStream::connect(metrics).expect("connected"), "GET", "/ready");
    assert_eq!(ready(), (200, "ready\n".to_owned()));
    let under_way = std::thread::spawn(move || client.get("/slow").send());
    let head = application.received.recv().expect("the request arrives");
    assert!(head.starts_with("GET /slow HTTP/1.1\r\n"), "{head}");
    gateway.signal("TERM");
    eventually("no new connections are taken", || TcpStream::connect(address).is_err());
    assert_eq!(ready(), (503, "not ready\n".to_owned()));
    assert!(!gateway.has_ended());
    application.release.send(()).expect("it waits");
    let answer = under_way.join().expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "done"));
    let ended = gateway.wait();
    assert_eq!(ended.code(), Some(0));
    assert!(ended.stderr.contains("stopping: no new connections"), "{}", ended.stderr);
    assert!(ended.stderr.trim_end().ends_with("stopped"), "{}", ended.stderr);
    let line = ended.stdout.lines().find(|line| line.contains("/slow")).expect("an access log line");
    assert!(line.contains(" 200 "), "{line}");
    assert!(!folder.path().join("admin.sock").exists(), "the socket is taken away");
}

#[test]
fn a_request_that_never_ends_is_cut_when_its_time_is_over() {
    let application = Patient::start();
    let folder = folder(application.address, "");
    let file = folder.path().join("gateway.toml");
    let text =
        fs::read_to_string(&file).expect("a file").replace("drain_timeout = \"20s\"", "drain_timeout = \"300ms\"");
    fs::write(&file, text).expect("written");
    let gateway = Process::serve(folder.path());
    let client = Client::new(gateway.address());
    let mut stream = client.connect_raw();
    stream.write_all(b"GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    application.received.recv().expect("the request arrives");
    let ended = gateway.stop("TERM");
    assert_eq!(ended.code(), Some(0));
    assert!(ended.stderr.contains("connections cut because they were not done in time: 1"), "{}", ended.stderr);
}

#[test]
fn sighup_ends_nothing() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    gateway.signal("HUP");
    gateway.stderr.wait_for(&["is in force (version 2)"]);
    signed_in(gateway.address(), ALICE);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn ctrl_c_stops_too_and_twice_at_once() {
    let application = Patient::start();
    let folder = folder(application.address, "");
    assert_eq!(Process::serve(folder.path()).stop("INT").code(), Some(0));
    let gateway = Process::serve(folder.path());
    let client = Client::new(gateway.address());
    let mut stream = client.connect_raw();
    stream.write_all(b"GET /public HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    application.received.recv().expect("the request arrives");
    gateway.signal("INT");
    gateway.stderr.wait_for(&["stopping"]);
    let ended = gateway.stop("INT");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.ends_with("stopped at once: a second signal came\n"), "{}", ended.stderr);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let application = Application::start();
    let first_folder = folder(application.address(), "");
    let gateway = Process::serve(first_folder.path());
    let address = gateway.address();
    let second_folder = folder(application.address(), "");
    let file = second_folder.path().join("gateway.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace("listen = [\"127.0.0.1:0\"]", &format!("listen = [\"{address}\"]")))
        .expect("written");
    let second = run(second_folder.path(), &["serve"], "");
    assert_eq!(second.code(), Some(1));
    assert_eq!(second.stderr, format!("cannot listen on {address}: another process does\n"));
    assert!(!second_folder.path().join("admin.sock").exists());
    let demo = run(second_folder.path(), &["demo", "--listen", &address.to_string()], "");
    assert_eq!(demo.code(), Some(1));
    assert!(demo.stderr.contains("another process does\nwrite --listen 127.0.0.1:PORT"), "{}", demo.stderr);
    assert_eq!(signed_in(address, ALICE).get("/").send().status, 200, "the first goes on");
}

#[test]
fn an_operator_sees_and_ends_sessions_by_the_socket() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    let socket = folder.path().join("admin.sock");
    let found = fs::symlink_metadata(&socket).expect("the socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    let ask = |method: &str, target: &str| {
        let (status, body) = plain(UnixStream::connect(&socket).expect("connected"), method, target);
        (status, serde_json::from_str::<serde_json::Value>(&body).unwrap_or(body.into()))
    };
    let (alice, other_alice) = (signed_in(gateway.address(), ALICE), signed_in(gateway.address(), ALICE));
    let bob = signed_in(gateway.address(), BOB);
    let (status, listed) = ask("GET", "/sessions?user=alice");
    assert_eq!((status, listed.as_array().map(Vec::len)), (200, Some(2)));
    assert!(!listed.to_string().contains(&alice.session()));
    let (status, listed) = ask("GET", "/sessions?user=bob");
    let handle = listed[0]["handle"].as_str().expect("a handle").to_owned();
    assert_eq!((status, &listed[0]["roles"], &listed[0]["address"]), (200, &"staff".into(), &"127.0.0.1".into()));
    assert_eq!(ask("GET", &format!("/sessions/{handle}")).1["user"], "bob");
    // A stream that is open is cut, and the next request finds no session.
    let (answer, mut stream) = bob.get("/stream").open();
    assert_eq!(answer.status, 200);
    assert!(stream.next().expect("a piece").is_ok());
    assert_eq!(ask("DELETE", &format!("/sessions/{handle}")), (200, serde_json::json!({ "ended": 1 })));
    while let Some(Ok(_)) = stream.next() {}
    let refused = bob.get("/").send();
    assert_eq!((refused.status, refused.json()["reason"].as_str()), (401, Some("revoked")));
    assert_eq!(ask("DELETE", &format!("/sessions/{handle}")).0, 404);
    assert_eq!(ask("GET", &format!("/sessions/{handle}")).1["ended"]["reason"], "revoked");
    assert_eq!(ask("DELETE", "/sessions?user=alice"), (200, serde_json::json!({ "ended": 2 })));
    for client in [alice, other_alice] {
        assert_eq!(client.get("/").send().json()["reason"], "revoked");
    }
    for (method, target, status) in [
        ("GET", "/sessions", 200),
        ("DELETE", "/sessions", 400),
        ("DELETE", "/sessions?usr=bob", 400),
        ("DELETE", "/sessions?user=bob&state=ended", 400),
        ("DELETE", "/sessions?user=bob&all=true", 400),
        ("DELETE", "/sessions?user=", 400),
        ("DELETE", "/sessions?all=yes", 400),
        ("GET", "/sessions?adress=::1", 400),
        ("GET", "/sessions?limit=0", 400),
        ("GET", "/sessions?older=soon", 400),
        ("POST", "/status", 405),
        ("GET", "/sessions/nonsense", 400),
        ("GET", "/sessions/AAAAAAAAAAAAAAAAAAAAAA", 404),
        ("POST", "/sessions?user=alice", 405),
        ("GET", "/elsewhere", 404),
        ("GET", "/ping", 200),
    ] {
        assert_eq!(ask(method, target).0, status, "{method} {target}");
    }
    // A second gateway does not take the socket away; one that follows a killed one does.
    let second = run(folder.path(), &["serve"], "");
    assert_eq!(second.code(), Some(1));
    assert!(second.stderr.contains("admin.sock: another gateway answers there"), "{}", second.stderr);
    assert_eq!(gateway.stop("KILL").code(), None);
    assert!(socket.exists());
    let next = Process::serve(folder.path());
    assert_eq!(ask("GET", "/ping").0, 200);
    assert_eq!(next.stop("TERM").code(), Some(0));
    fs::write(&socket, "a file of somebody's").expect("written");
    let refused = run(folder.path(), &["serve"], "");
    assert!(refused.stderr.contains("there is another file at"), "{}", refused.stderr);
    assert!(socket.exists());
}

#[test]
fn metrics_move() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    let metrics = gateway.metrics();
    assert!(metrics.ip().is_loopback());
    let ask = |method: &str, target: &str| plain(TcpStream::connect(metrics).expect("connected"), method, target);
    assert_eq!(ask("GET", "/ping"), (200, "pong\n".to_owned()));
    assert_eq!(ask("GET", "/ready"), (200, "ready\n".to_owned()));
    assert_eq!((ask("GET", "/sessions?user=alice").0, ask("POST", "/metrics").0), (404, 405));
    let value = |name: &str| {
        let (status, text) = ask("GET", "/metrics");
        assert_eq!(status, 200);
        assert!(text.ends_with("# EOF\n"), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned));
        line.map_or(0.0, |value| value.parse::<f64>().expect("a number"))
    };
    assert_eq!(value("vestibule_sessions_active"), 0.0);
    let alice = signed_in(gateway.address(), ALICE);
    let before = value("vestibule_requests_total{status=\"2xx\"}");
    for _ in 0..3 {
        assert_eq!(alice.get("/").send().status, 200);
    }
    assert_eq!(value("vestibule_requests_total{status=\"2xx\"}"), before + 3.0);
    assert_eq!(value("vestibule_sessions_active"), 1.0);
    assert_eq!(value("vestibule_sessions_created_total{reason=\"user\"}"), 1.0);
    assert_eq!(value("vestibule_logins_total{reason=\"succeeded\"}"), 1.0);
    alice.post_form("/.vestibule/logout", &[]).send();
    assert_eq!(value("vestibule_sessions_active"), 0.0);
    assert_eq!(value("vestibule_sessions_ended_total{reason=\"logout\"}"), 1.0);
    assert_eq!(Client::new(gateway.address()).get("/").send().status, 401);
    assert!(value("vestibule_requests_total{status=\"4xx\"}") >= 1.0);
}

#[test]
fn an_answer_that_breaks_off_is_told_with_its_application_and_its_server() {
    let server = Scripted::saying("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2000\r\n\r\ncut");
    let more = "[[route]]\npath = \"/shorter\"\nupstream = \"app\"\naccess = \"public\"\ncompress = [\"gzip\"]";
    let folder = folder(server.address(), more);
    let gateway = Process::serve(folder.path());
    for path in ["/public", "/shorter"] {
        for version in [Version::H1, Version::H2] {
            let client = Client::new(gateway.address()).speaking(version);
            if let Ok((_, mut body)) = client.get(path).header("accept-encoding", "gzip").try_open() {
                while body.next().is_some_and(|piece| piece.is_ok()) {}
            }
        }
    }
    let told = format!("upstream_broken: an answer broke off: app: {}: it hung up in the middle", server.address());
    eventually("all four are told", || gateway.stderr.text().matches(&told).count() == 4);
}

#[test]
fn users_are_managed_by_commands_that_the_gateway_understands() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    fs::remove_file(folder.path().join("users.toml")).expect("removed");
    let user = |arguments: &[&str], input: &str| {
        let arguments: Vec<&str> = ["user"].iter().chain(arguments).copied().collect();
        run(folder.path(), &arguments, input)
    };
    let sign_in = |password: &str| {
        let gateway = Process::serve(folder.path());
        let status = Client::new(gateway.address()).sign_in(("dora", password), "/").status;
        assert_eq!(gateway.stop("TERM").code(), Some(0));
        status
    };
    let more = ["--roles", "admin,staff", "--groups", "night", "--email", "dora@example.test", "--password-stdin"];
    let add: Vec<&str> = ["add", "dora"].into_iter().chain(more).collect();
    let added = user(&add, "the first password\n");
    assert_eq!(added.code(), Some(0), "{}", added.stderr);
    assert!(added.stdout.starts_with("Added \"dora\" to users.toml."), "{}", added.stdout);
    let stored = fs::read_to_string(folder.path().join("users.toml")).expect("the users file");
    assert!(stored.contains("$argon2id$") && !stored.contains("the first password"));
    assert_eq!(sign_in("the first password"), 303);
    let again = user(&add, "another password\n");
    assert_eq!((again.code(), again.stdout.as_str()), (Some(1), ""));
    assert!(again.stderr.contains("\"dora\""), "{}", again.stderr);
    assert_eq!(user(&["passwd", "dora", "--password-stdin"], "the second password\n").code(), Some(0));
    assert_eq!(sign_in("the first password"), 401);
    assert_eq!(sign_in("the second password"), 303);
    assert_eq!(user(&["disable", "dora"], "").code(), Some(0));
    assert_eq!(sign_in("the second password"), 401);
    let listed = user(&["list"], "");
    assert_eq!(
        listed.stdout,
        "NAME  EMAIL              ROLES        GROUPS  STATE\n\
         dora  dora@example.test  admin,staff  night   disabled\n"
    );
    assert_eq!(user(&["enable", "dora"], "").code(), Some(0));
    let listed: serde_json::Value = serde_json::from_str(&user(&["list", "--json"], "").stdout).expect("JSON");
    let dora = serde_json::json!({
        "name": "dora", "email": "dora@example.test", "roles": ["admin", "staff"], "groups": ["night"],
        "disabled": false
    });
    assert_eq!(listed, serde_json::json!([dora]));
    assert_eq!(sign_in("the second password"), 303);
    for (arguments, input, said) in [
        (&["disable", "dorra"][..], "", "dora"),
        (&["passwd", "nobody", "--password-stdin"], "a long password\n", "nobody"),
        (&["add", "erik", "--password-stdin"], "\n", "password"),
        (&["add", "erik"], "a password on a pipe\n", "--password-stdin"),
    ] {
        let refused = user(arguments, input);
        assert_eq!((refused.code(), refused.stdout.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(refused.stderr.contains(said), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(user(&["add", "two words", "--password-stdin"], "a password\n").code(), Some(2));
}

/// Starts the demo with its temporary files in `folder`.
fn demo(folder: &Path, more: &[&str]) -> Process {
    let arguments: Vec<&str> = ["demo", "--listen", "127.0.0.1:0"].iter().chain(more).copied().collect();
    let process = Process::start(vestibule(folder, &arguments).env("TMPDIR", folder).stdin(Stdio::null()));
    process.stdout.wait_for(&["Ctrl-C ends it"]);
    process
}

/// The password that the demo has printed for `user`.
fn printed_password(text: &str, user: &str) -> String {
    let line = text.lines().find(|line| line.contains(&format!("User {user} "))).expect("the user's line");
    let (_, after) = line.split_once("password ").expect("a password");
    after.split_whitespace().next().expect("a password").to_owned()
}

#[test]
fn the_demo_lets_the_printed_users_in_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = demo(folder.path(), &[]);
    let said = process.stdout.text();
    let address = address_after(&said, "https://");
    let [alice, bob] = ["alice", "bob"].map(|user| signed_in(address, (user, &printed_password(&said, user))));
    let page = alice.visit("/headers").send();
    assert_eq!(page.status, 200);
    let shown = page.text();
    assert!(shown.contains("x-forwarded-user") && shown.contains("alice") && !shown.contains(&alice.session()));
    assert_eq!((alice.visit("/admin").send().status, bob.visit("/admin").send().status), (200, 403));
    let stranger = Client::new(address);
    assert_eq!((stranger.visit("/public").send().status, stranger.get("/").send().status), (200, 401));
    assert_eq!(stranger.sign_in(("alice", "not the password"), "/").status, 401);
    let made: Vec<_> = fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry")).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].metadata().expect("a folder").permissions().mode() & 0o777, 0o700);
    let ended = process.stop("INT");
    assert_eq!(ended.code(), Some(0));
    let left: Vec<_> = fs::read_dir(folder.path()).expect("a folder").collect();
    assert!(left.is_empty(), "{left:?}");
    let refused = run(folder.path(), &["demo", "--listen", "0.0.0.0:0"], "");
    assert_eq!(refused.code(), Some(1));
    assert!(refused.stderr.contains("can be reached from other machines"), "{}", refused.stderr);
}

#[test]
fn the_demo_stands_in_front_of_ones_own_application() {
    let application = Application::start();
    let folder = tempfile::tempdir().expect("a folder");
    let process = demo(folder.path(), &["--upstream", &format!("http://{}", application.address())]);
    let said = process.stdout.text();
    let bob = signed_in(address_after(&said, "https://"), ("bob", &printed_password(&said, "bob")));
    assert_eq!(bob.get("/anything").send().text(), "hello from the application");
    assert_eq!(application.last().header("x-forwarded-user"), Some("bob"));
    assert_eq!(process.stop("TERM").code(), Some(0));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
