//! The logs: where they go, what ties them together, and what is never in them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::harness::process::{Process, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, Gateway, Setup, Version, eventually, note_secret, users};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// A folder with a configuration in front of `application`, with this `[log]`.
fn folder(application: &Application, log: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\n\
         generate = true\n[admin]\nmetrics = \"127.0.0.1:0\"\n[login.local]\nusers = \"users.toml\"\n[[upstream]]\n\
         name = \"app\"\nservers = [\"http://{}\"]\n[[route]]\npath = \"/\"\nupstream = \"app\"\n[[route]]\n\
         path = \"/public\"\nupstream = \"app\"\naccess = \"public\"\n[log]\n{log}\n",
        application.address()
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

/// Waits until a file has a line with all of `words`.
fn wait_for(file: &Path, words: &[&str]) {
    eventually(&format!("a line with {words:?} in {}", file.display()), || {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| words.iter().all(|word| line.contains(word)))
    });
}

#[test]
fn access_and_audit_log_go_where_each_is_told() {
    let application = Application::start();
    let folder = folder(&application, "access = \"access.log\"\naudit = \"audit.log\"\nformat = \"json\"");
    let [access, audit] = ["access.log", "audit.log"].map(|name| folder.path().join(name));
    fs::write(&audit, "{\"event\":\"of an earlier run\"}\n").expect("written");
    let gateway = Process::serve(folder.path());
    let alice = Client::new(gateway.address());
    assert_eq!(alice.sign_in(ALICE, "/").status, 303);
    assert_eq!(alice.get("/seen").send().status, 200);
    wait_for(&access, &["/seen"]);
    let ended = gateway.stop("TERM");
    assert_eq!(ended.stdout, "", "nothing is left for standard output");
    let lines = |file: &Path| -> Vec<Value> {
        let text = fs::read_to_string(file).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (access_lines, audit_lines) = (lines(&access), lines(&audit));
    assert!(access_lines.iter().all(|line| line["log"] == "access") && access_lines.len() == 4, "{access_lines:?}");
    assert_eq!(audit_lines[0]["event"], "of an earlier run", "a log that is there is written on");
    assert!(audit_lines[1..].iter().all(|line| line["log"] == "audit") && audit_lines.len() == 3, "{audit_lines:?}");
    let mode = fs::metadata(&access).expect("a log").permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "nobody else reads it: {mode:o}");
}

#[test]
fn without_an_access_log_there_is_the_audit_log() {
    let gateway = Setup::new().extra("[log]\naccess = \"off\"").start();
    gateway.signed_in(ALICE);
    gateway.log.wait_for(&["login.succeeded", "request_id="]);
    drop(gateway);
    let mut gateway = Setup::new().extra("[log]\naccess = \"access.log\"").start();
    gateway.signed_in(ALICE);
    gateway.stop();
    assert!(gateway.log.text().lines().all(|line| line.contains(" audit ")), "{}", gateway.log.text());
    let access = fs::read_to_string(gateway.folder.path().join("access.log")).expect("a log");
    assert!(access.lines().count() == 3 && access.lines().all(|line| line.contains(" access ")), "{access}");
}

#[test]
fn sighup_opens_the_files_again() {
    let application = Application::start();
    let folder = folder(&application, "access = \"logs/access.log\"\naudit = \"logs/audit.log\"");
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).expect("a folder");
    let gateway = Process::serve(folder.path());
    let client = Client::new(gateway.address());
    client.get("/public/one").send();
    let log = logs.join("access.log");
    wait_for(&log, &["/public/one"]);
    let renamed = logs.join("access.log.1");
    fs::rename(&log, &renamed).expect("renamed");
    client.get("/public/two").send();
    wait_for(&renamed, &["/public/two"]);
    gateway.signal("HUP");
    eventually("a new file", || log.exists());
    client.get("/public/three").send();
    wait_for(&log, &["/public/three"]);
    let old = fs::read_to_string(&renamed).expect("a log");
    assert_eq!(old.lines().count(), 2, "{old}");
    // Where it cannot be made, the old one is written on, and that is told.
    let away = folder.path().join("away");
    fs::rename(&logs, &away).expect("renamed");
    gateway.signal("HUP");
    gateway.stderr.wait_for(&["ERROR", "access.log cannot be opened again"]);
    client.get("/public/four").send();
    wait_for(&away.join("access.log"), &["/public/four"]);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_full_disk_stops_no_request_and_is_told_once() {
    let application = Application::start();
    let folder = folder(&application, "access = \"/dev/full\"\naudit = \"/dev/full\"");
    let gateway = Process::serve(folder.path());
    let client = Client::new(gateway.address());
    for _ in 0..3 {
        assert_eq!(client.sign_in(ALICE, "/").status, 303);
        assert_eq!(client.get("/").send().status, 200);
        client.post_form("/.vestibule/logout", &[]).send();
    }
    gateway.stderr.wait_for(&["ERROR", "/dev/full cannot be written", "No space left"]);
    let metrics = || {
        let stream = std::net::TcpStream::connect(gateway.metrics()).expect("connected");
        super::harness::process::plain(stream, "GET", "/metrics").1
    };
    eventually("what is lost is counted", || {
        let metrics = metrics();
        let lost = metrics.lines().find_map(|line| line.strip_prefix("vestibule_log_lost_total "));
        lost.is_some_and(|lost| lost.parse::<u64>().is_ok_and(|lost| lost >= 9))
    });
    let ended = gateway.stop("TERM");
    assert_eq!(ended.code(), Some(0));
    assert_eq!(ended.stderr.matches("cannot be written").count(), 1, "{}", ended.stderr);
}

#[test]
fn a_log_that_cannot_be_written_is_a_mistake() {
    let application = Application::start();
    for (log, said) in [
        ("access = \"nowhere/access.log\"", "there is no folder"),
        ("audit = \"nowhere/audit.log\"", "mkdir -p"),
        ("access = \".\"", "is a folder"),
        ("access = \"pipe\"", "is no file"),
        ("access = true", "write \"stdout\", the path of a file, or \"off\""),
        ("audit = \"off\"", "events of security are always written"),
        ("access = \"\"", "the path is empty"),
        ("request_id = \"a b\"", "is not a header name"),
        ("request_id = \"Cookie\"", "has another meaning"),
        ("request_id = \"X-Forwarded-User\"", "has another meaning"),
    ] {
        let folder = folder(&application, log);
        let made = Command::new("mkfifo").arg(folder.path().join("pipe")).status();
        assert!(made.expect("coreutils").success());
        for command in ["check", "serve"] {
            let refused = run(folder.path(), &[command], "");
            assert_eq!(refused.code(), Some(1), "{log}");
            assert!(refused.stderr.contains(said), "{log}: {}", refused.stderr);
            assert!(refused.stderr.contains("1 mistake in"), "{log}: {}", refused.stderr);
        }
    }
    let folder = folder(&application, "access = \"access.log\"");
    assert_eq!(run(folder.path(), &["check"], "").code(), Some(0));
    assert!(!folder.path().join("access.log").exists(), "looking makes nothing");
}

/// Who may write where is nothing to root.
#[test]
fn a_folder_of_somebody_else_is_a_mistake() {
    let application = Application::start();
    let folder = folder(&application, "access = \"logs/access.log\"");
    fs::create_dir(folder.path().join("logs")).expect("a folder");
    let closed = |mode| fs::set_permissions(folder.path().join("logs"), fs::Permissions::from_mode(mode)).expect("set");
    closed(0o555);
    let is_root = fs::write(folder.path().join("logs/tried"), "").is_ok();
    let mut check = vestibule(folder.path(), &["check"]);
    if is_root {
        fs::remove_file(folder.path().join("logs/tried")).expect("removed");
        // Everything else is there for everybody.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        let program = check.get_program().to_owned();
        check = Command::new("setpriv");
        check.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).arg("check");
        check.current_dir(folder.path());
    }
    let refused = Process::start(check.stdin(std::process::Stdio::null())).wait();
    closed(0o755);
    assert_eq!(refused.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("this user may not write in the folder"), "{}", refused.stderr);
}

/// The id that the last request had, as the application was told.
fn told(gateway: &Gateway) -> String {
    gateway.application.last().header("x-request-id").expect("an id").to_owned()
}

#[test]
fn every_line_of_a_request_has_its_id_and_so_have_application_and_client() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        let answer = client.get("/public/made").send();
        let id = told(&gateway);
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(answer.header("x-request-id"), id);
        gateway.log.wait_for(&["/public/made", &format!("request_id={id}")]);
        client.get("/public/made").send();
        assert_ne!(told(&gateway), id, "each has its own");
        // One that is fit to be written is taken from anybody.
        let own = "3e1d9a6c-41c8-4d6b-a2a5-5ee9b5b4f6b1";
        let answer = client.get("/public/taken").header("x-request-id", own).send();
        assert_eq!((answer.header("x-request-id"), &*told(&gateway)), (own, own));
        gateway.log.wait_for(&["/public/taken", &format!("request_id={own}")]);
        for unfit in ["a b", "a\"b", "", "<script>", &"x".repeat(65)] {
            let answer = client.get("/public/unfit").header("x-request-id", unfit).send();
            let id = told(&gateway);
            assert!(id.len() == 32 && answer.header("x-request-id") == id, "{unfit}: {id}");
        }
        client.get("/public/twice").header("x-request-id", "a").header("x-request-id", "b").send();
        let ids: Vec<_> = gateway.application.last().headers.get_all("x-request-id").iter().cloned().collect();
        assert!(ids.len() == 1 && ids[0].len() == 32, "{ids:?}");
    }
    // What never reaches the application has one too.
    let answer = gateway.client().get("/").send();
    assert_eq!(answer.status, 401);
    gateway.log.wait_for(&[" 401 ", &format!("request_id={}", answer.header("x-request-id"))]);
    let bob = gateway.client();
    let answer = bob.sign_in(BOB, "/");
    let id = format!("request_id={}", answer.header("x-request-id"));
    gateway.log.wait_for(&["/.vestibule/login", " access ", &id]);
    for event in ["login.succeeded", "session.created"] {
        gateway.log.wait_for(&[" audit ", event, &id]);
    }
    // What an operator ends is no request's.
    gateway.revoke("bob");
    gateway.log.wait_for(&["session.ended", "revoked"]);
    assert!(!gateway.log.text().lines().any(|line| line.contains("session.ended") && line.contains("request_id=")));
}

#[test]
fn an_id_named_away_comes_all_the_same() {
    let gateway = Setup::new().start();
    let request = gateway.client();
    request.get("/public/x").header("connection", "x-request-id").header("x-request-id", "abc").send();
    assert_eq!(told(&gateway), "abc");
}

#[test]
fn the_header_of_the_id_can_have_another_name_or_none() {
    let gateway = Setup::new().extra("[log]\nrequest_id = \"Request-Id\"").start();
    let answer =
        gateway.client().get("/public/x").header("request-id", "abc").header("x-request-id", "of its own").send();
    assert_eq!(answer.header("request-id"), "abc");
    let received = gateway.application.last();
    assert_eq!((received.header("request-id"), received.header("x-request-id")), (Some("abc"), Some("of its own")));
    gateway.log.wait_for(&["/public/x", "request_id=abc"]);
    let gateway = Setup::new().extra("[log]\nrequest_id = \"off\"").start();
    let answer = gateway.client().get("/public/x").header("x-request-id", "of its own").send();
    assert!(!answer.headers.contains_key("x-request-id"));
    assert_eq!(gateway.application.last().header("x-request-id"), Some("of its own"), "passed on like any other");
    gateway.client().get("/public/y").send();
    assert_eq!(gateway.application.last().header("x-request-id"), None);
    gateway.log.wait_for(&["/public/y"]);
    assert!(!gateway.log.text().contains("request_id"), "{}", gateway.log.text());
}

#[test]
fn a_trace_goes_through_and_is_in_the_log() {
    let gateway = Setup::new().start();
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let state = "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7";
    for version in [Version::H1, Version::H2] {
        let client = gateway.client().speaking(version);
        let path = format!("/public/traced-{version:?}");
        client.get(&path).header("traceparent", &parent).header("tracestate", state).send();
        let received = gateway.application.last();
        assert_eq!((received.header("traceparent"), received.header("tracestate")), (Some(&*parent), Some(state)));
        gateway.log.wait_for(&[&path, &format!("trace_id={TRACE}")]);
        // What is none is not the log's, and the application's to judge.
        client.get("/public/untraced").header("traceparent", "00-nothing").send();
        assert_eq!(gateway.application.last().header("traceparent"), Some("00-nothing"));
        gateway.log.wait_for(&["/public/untraced"]);
    }
    assert!(!gateway.log.text().lines().any(|line| line.contains("untraced") && line.contains("trace_id")));
}

/// Wherever a client puts its own secrets, and whatever becomes of the request, no log has them. The harness looks for
/// them, when the gateway ends, in everything that it wrote.
#[test]
fn a_secret_is_in_no_log_wherever_it_stands() {
    for format in ["text", "json"] {
        let gateway = Setup::new().extra(&format!("[log]\nformat = \"{format}\"")).start();
        let alice = gateway.signed_in(ALICE);
        let session = alice.session();
        let token = format!("tok-{session}");
        note_secret(&token);
        note_secret("0123456789ABCDEF0123456789ABCDEF");
        for version in [Version::H1, Version::H2] {
            let client = gateway.client().speaking(version);
            for path in ["/public/a", "/", "/nowhere", "/.vestibule/login", "/.vestibule/nothing"] {
                let query = format!("{path}?token={token}&session={session}");
                client.get(&query).header("authorization", &format!("Bearer {token}")).send();
                client.get(&query).navigating().header("x-request-id", &session).send();
                client.get(path).header("cookie", &format!("__Host-session={token}")).send();
                client.get(path).header("referer", &format!("https://x.test/?{token}")).send();
                client.get(path).header("user-agent", &token).header("traceparent", &session).send();
                client.get(&format!("{path};jsessionid=0123456789ABCDEF0123456789ABCDEF")).send();
                client.get(&format!("{path}%3bjsessionid=0123456789ABCDEF0123456789ABCDEF")).send();
                client.post_form(path, &[("username", &session), ("password", &token), ("attempt", &session)]).send();
            }
        }
        // People type their password where their name belongs.
        let page = gateway.client();
        page.sign_in((ALICE.1, "alice alice alice alice"), "/");
        gateway.log.wait_for(&["login.failed"]);
    }
}
