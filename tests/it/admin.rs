//! Seeing and ending sessions as the operator: by the API on both of its listeners, and by the commands.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::base::random::Random;
use vestibule::session::binding::Bound;
use vestibule::session::principal::Principal;
use vestibule::session::record::Record;
use vestibule::session::rotation::proof;
use vestibule::session::store::SessionStore;
use vestibule::store::memory::MemoryStore;

use super::harness::process::{Ended, Process, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, Gateway, START, Setup, eventually, nobody, patiently, users};

const TOKEN: &str = "correct-horse-battery-staple-0123456789";

/// A gateway in this process with an admin socket.
struct Operated {
    gateway: Gateway,
    socket: PathBuf,
    _folder: TempDir,
}

fn operated(change: impl FnOnce(Setup) -> Setup) -> Operated {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let extra = format!("[admin]\nlisten = \"unix:{}\"", socket.display());
    let gateway = change(Setup::new().extra(&extra)).start();
    Operated { gateway, socket, _folder: folder }
}

/// An answer of the API.
struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Where a `Link` leads on.
    fn next(&self) -> Option<String> {
        let link = self.head.lines().find_map(|line| line.strip_prefix("link: <"))?;
        Some(link.strip_suffix(">; rel=\"next\"").expect("one link").to_owned())
    }
}

/// One request with these fields.
fn say(mut stream: impl Read + Write, method: &str, target: &str, fields: &str) -> Said {
    write!(stream, "{method} {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    Said { status: head[9..12].parse().expect("a status"), head: head.to_owned(), body: body.to_owned() }
}

impl Operated {
    fn say(&self, method: &str, target: &str) -> Said {
        say(UnixStream::connect(&self.socket).expect("connected"), method, target, "Host: x\r\n")
    }

    /// What is asked for, when all is well.
    fn see(&self, target: &str) -> Value {
        let said = self.say("GET", target);
        assert_eq!(said.status, 200, "{target}: {}", said.body);
        said.json()
    }

    /// Whose sessions these are.
    fn users_of(&self, target: &str) -> Vec<String> {
        let mut users: Vec<String> = self
            .see(target)
            .as_array()
            .expect("a list")
            .iter()
            .map(|session| session["user"].as_str().unwrap_or("-").to_owned())
            .collect();
        users.sort();
        users
    }
}

fn handle_of(gateway: &Gateway, user: &str) -> String {
    gateway.sessions_of(user)[0].handle().to_string()
}

#[test]
fn sessions_are_found_by_user_address_age_and_whether_they_last() {
    let operated = operated(|mut setup| {
        setup.server = "trusted_proxies = [\"127.0.0.1\"]".to_owned();
        setup
    });
    let gateway = &operated.gateway;
    let visit = |address: &str| {
        let client = gateway.client();
        client.get("/anonymous").header("x-forwarded-for", address).send();
        client
    };
    gateway.signed_in(ALICE);
    gateway.advance(600);
    let bob = gateway.signed_in(BOB);
    let _strangers = [visit("192.0.2.7"), visit("192.0.2.8"), visit("2001:db8::1")];
    gateway.advance(60);
    for (query, expected) in [
        ("", &["-", "-", "-", "alice", "bob"][..]),
        ("?user=alice", &["alice"]),
        ("?user=alic", &[]),
        ("?address=127.0.0.1", &["alice", "bob"]),
        ("?address=192.0.2.7", &["-"]),
        ("?address=192.0.2.0/24", &["-", "-"]),
        ("?address=2001:db8::/32", &["-"]),
        ("?address=::ffff:192.0.2.7", &["-"]),
        ("?older=11m", &["alice"]),
        ("?older=1m", &["-", "-", "-", "alice", "bob"]),
        ("?newer=10m", &["-", "-", "-", "bob"]),
        ("?newer=10m&address=127.0.0.0/8", &["bob"]),
        ("?user=bob&older=2m", &[]),
        ("?state=ended", &[]),
        ("?state=all&user=bob", &["bob"]),
    ] {
        assert_eq!(operated.users_of(&format!("/sessions{query}")), expected, "{query}");
    }
    bob.post_form("/.vestibule/logout", &[]).header("x-forwarded-for", "127.0.0.1").send();
    assert_eq!(operated.users_of("/sessions?user=bob"), [""; 0]);
    assert_eq!(operated.users_of("/sessions?user=bob&state=all"), ["bob"]);
    let ended = operated.see("/sessions?state=ended");
    assert_eq!((&ended[0]["user"], &ended[0]["ended"]["reason"]), (&json!("bob"), &json!("logout")));
    // Whatever is not understood must not show everything.
    for (target, why) in [
        ("/sessions?adress=::1", "\"adress\" is not understood here; what is: tenant, user, address, older,"),
        ("/sessions?address=here", "address: \"here\" is no address"),
        ("/sessions?older=30", "older: \"30\" is not a duration"),
        ("/sessions?limit=1001", "limit: write a number from 1 to 1000"),
        ("/sessions?state=over", "state: write active, ended or all"),
        ("/sessions?user=a&user=b", "\"user\" is given twice"),
        ("/sessions?after=x", "after: \"x\" is not a session handle"),
        ("/status?x", "\"x\" is not understood here; what is: nothing"),
    ] {
        let said = operated.say("GET", target);
        assert_eq!(said.status, 400, "{target}");
        assert!(said.json()["error"].as_str().is_some_and(|error| error.contains(why)), "{target}: {}", said.body);
    }
}

/// A secret in the forms in which it could stand in a text.
fn forms(secret: &[u8]) -> Vec<String> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = serde_json::to_string(secret).expect("JSON");
    let numbers = numbers.trim_matches(['[', ']']).to_owned();
    let base64 = |text: String| text.trim_end_matches('=').to_owned();
    vec![hex.to_uppercase(), hex, numbers, base64(STANDARD.encode(secret)), base64(URL_SAFE.encode(secret))]
}

#[test]
fn one_session_is_shown_in_full_and_never_its_secret() {
    let operated = operated(|setup| setup);
    let gateway = &operated.gateway;
    let client = gateway.signed_in(ALICE);
    gateway.advance(900);
    // Offered a successor, so that there is a second secret.
    let first = client.session();
    client.get("/").send();
    let live = gateway.sessions_of("alice").pop().expect("a session");
    let handle = live.handle().to_string();
    let (_answer, mut stream) = client.get("/stream").open();
    assert!(stream.next().expect("a piece").is_ok());
    eventually("the stream waits", || gateway.open_streams() == 1);
    gateway.advance(240);
    let shown = operated.see(&format!("/sessions/{handle}"));
    let expected = json!({
        "handle": handle,
        "kind": "user",
        "tenant": "default",
        "user": "alice",
        "email": "alice@example.test",
        "roles": "admin",
        "groups": "staff,night",
        "authenticated_at": START.to_string(),
        "age_seconds": 1140,
        "active_at": START.plus(std::time::Duration::from_secs(900)).to_string(),
        "idle_seconds": 240,
        "address": "127.0.0.1",
        "user_agent": {
            "hash": format!("{:016x}", live.record().bound.agent),
            "family_hash": format!("{:016x}", live.record().bound.agent_family),
        },
        "generation": live.rotation().generation,
        "device": "Firefox on Linux",
        "remembered": false,
        "locked": false,
        "generation_since": live.rotation().presented_at.to_string(),
        "tls_fingerprint": live.record().bound.tls.shown(),
        "open_streams": 1,
        "ends": {
            "at": START.plus(std::time::Duration::from_secs(900 + 1800)).to_string(),
            "in_seconds": 1560,
            "by": "idle",
        },
        "ended": null,
    });
    assert_eq!(shown, expected);
    assert!(shown["tls_fingerprint"].as_str().is_some_and(|hash| hash.len() == 8), "{shown}");
    let in_short = operated.see("/sessions");
    for key in in_short[0].as_object().expect("an object").keys() {
        assert_eq!(in_short[0][key], shown[key], "{key} is the same in the list");
    }
    assert_eq!(operated.say("DELETE", &format!("/sessions/{handle}")).status, 200);
    let ended = operated.see(&format!("/sessions/{handle}"));
    assert_eq!((&ended["ended"]["reason"], &ended["ends"]), (&json!("revoked"), &Value::Null));

    let mut secrets = forms(live.seed().expose());
    for generation in 0..3 {
        secrets.extend(forms(&proof(live.seed(), generation)));
    }
    for cookie in [&first, &client.session()] {
        secrets.extend([cookie.clone(), cookie[..cookie.len() / 2].to_owned(), cookie[cookie.len() / 2..].to_owned()]);
    }
    let all = ["/sessions?state=all", "/sessions", "/status", "/users", "/upstreams", "/metrics"].map(str::to_owned);
    for target in all.into_iter().chain([format!("/sessions/{handle}")]) {
        let said = operated.say("GET", &target);
        for secret in &secrets {
            assert!(!said.body.contains(secret) && !said.head.contains(secret), "{target} tells a secret");
        }
        assert!(!said.body.contains("argon2"), "{target} tells a password's hash");
    }
    for secret in &secrets {
        assert!(!gateway.log.text().contains(secret), "the log tells a secret");
    }
}

#[test]
fn one_all_of_a_person_and_all_sessions_are_ended_and_the_log_says_by_whom() {
    let operated = operated(|setup| setup);
    let gateway = &operated.gateway;
    let uid = fs::metadata(&operated.socket).map(|found| std::os::unix::fs::MetadataExt::uid(&found)).expect("a file");
    let by = format!("by=admin:uid={uid}");
    let ends = |target: &str, count: usize, words: &[&str]| {
        let said = operated.say("DELETE", target);
        assert_eq!((said.status, said.json()), (200, json!({ "ended": count })), "{target}");
        let count = format!("count={count}");
        let all: Vec<&str> = ["audit admin.ended", &by, &count].into_iter().chain(words.iter().copied()).collect();
        gateway.log.wait_for(&all);
    };
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let handle = handle_of(gateway, "alice");
    ends(&format!("/sessions/{handle}"), 1, &["reason=one", &format!("session={handle}")]);
    assert_eq!(operated.say("DELETE", &format!("/sessions/{handle}")).status, 404);
    gateway.log.wait_for(&["audit admin.ended", "count=0", "reason=one"]);
    assert_eq!(alice.get("/").send().json()["reason"], "revoked");
    assert_eq!(bob.get("/").send().status, 200);
    let alices: Vec<Client> = (0..3).map(|_| gateway.signed_in(ALICE)).collect();
    ends("/sessions?user=alice", 3, &["reason=user", "user=alice"]);
    assert!(alices.iter().all(|client| client.get("/").send().status == 401));
    assert_eq!(bob.get("/").send().status, 200);
    // Everybody, strangers and open streams included.
    let stranger = gateway.client();
    stranger.get("/anonymous").send();
    let cookie = stranger.session();
    gateway.signed_in(ALICE);
    let (_answer, mut stream) = bob.get("/stream").open();
    assert!(stream.next().expect("a piece").is_ok());
    ends("/sessions?all=true", 3, &["reason=all"]);
    while let Some(Ok(_)) = stream.next() {}
    assert_eq!(bob.get("/").send().json()["reason"], "revoked");
    stranger.get("/anonymous").send();
    assert_ne!(stranger.session(), cookie);
    assert_eq!(operated.see("/status")["sessions"]["active"], 1, "the stranger's new one");
    ends("/sessions?user=nobody", 0, &["reason=user"]);
}

#[test]
fn what_the_operator_does_is_noted_for_programs_as_well() {
    let operated = operated(|setup| setup.extra("[log]\nformat = \"json\""));
    operated.gateway.signed_in(ALICE);
    assert_eq!(operated.say("DELETE", "/sessions?user=alice").status, 200);
    operated.gateway.log.wait_for(&["admin.ended"]);
    let log = operated.gateway.log.text();
    let line: Value =
        serde_json::from_str(log.lines().find(|line| line.contains("admin.ended")).expect("a line")).expect("JSON");
    assert!(line["by"].as_str().is_some_and(|by| by.starts_with("admin:uid=")), "{line}");
    assert_eq!((&line["event"], &line["user"], &line["count"]), (&json!("admin.ended"), &json!("alice"), &json!(1)));
}

#[test]
fn users_upstreams_and_status_are_as_they_are() {
    let (dead, _held) = nobody();
    let operated = operated(|mut setup| {
        setup.servers = Some(vec![format!("http://{dead}")]);
        setup
    });
    let gateway = &operated.gateway;
    let users = operated.see("/users");
    let carol = json!({ "name": "carol", "email": "carol@example.test", "roles": ["staff"], "groups": ["staff", "night"], "disabled": true });
    assert_eq!((users.as_array().map(Vec::len), &users[2]), (Some(3), &carol));
    let server = |status: &Value| status["upstreams"][0]["servers"][0].clone();
    gateway.signed_in(BOB);
    gateway.advance(90);
    let status = operated.see("/status");
    assert_eq!(
        server(&status),
        json!({ "server": dead.to_string(), "healthy": true, "checked": false, "since": null, "since_seconds": null, "reason": null })
    );
    for _ in 0..3 {
        assert_eq!(gateway.client().get("/public").send().status, 502);
    }
    gateway.advance(30);
    let status = operated.see("/status");
    let server = server(&status);
    assert_eq!((&server["healthy"], &server["since_seconds"]), (&json!(false), &json!(30)));
    assert_eq!(server["reason"], "cannot be reached, or hangs up without an answer");
    assert_eq!(operated.see("/upstreams"), status["upstreams"]);
    let status: Vec<String> = ["version", "uptime_seconds", "ready", "snapshot", "sessions", "store", "started_at"]
        .iter()
        .map(|key| status[key].to_string())
        .collect();
    let loaded = format!("{{\"age_seconds\":120,\"loaded_at\":\"{START}\",\"version\":1}}");
    let started = format!("\"{START}\"");
    let version = format!("\"{}\"", env!("CARGO_PKG_VERSION"));
    let sessions = "{\"active\":1,\"open_streams\":0}";
    assert_eq!(status, [&*version, "120", "true", &loaded, sessions, "\"disk\"", &started]);
}

/// Makes very many sessions, of people whom nobody asks the users file about any more.
fn crowd(store: &MemoryStore, count: usize) {
    let random = Random::seeded(7);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for at in 0..count {
            let principal = Principal::new(&format!("user{at}"), None, &[], &["staff".to_owned()]);
            let bound =
                Bound::of(format!("10.0.{}.{}", at / 256 % 256, at % 256).parse().expect("an address"), b"agent");
            store.create(Record::new(&random, Some(Arc::new(principal)), bound, START), None).await.expect("it works");
        }
    });
}

#[test]
fn a_hundred_thousand_sessions_are_listed_and_ended_page_by_page_while_requests_go_on() {
    const COUNT: usize = 100_000;
    let store = Arc::new(MemoryStore::default());
    let operated = operated(|mut setup| {
        setup.store = Some(Arc::clone(&store) as Arc<dyn SessionStore>);
        setup
    });
    crowd(&store, COUNT);
    let gateway = &operated.gateway;
    let bob = gateway.signed_in(BOB);
    let (mut handles, mut next) = (BTreeSet::new(), Some("/sessions".to_owned()));
    // That a walk finds every one of them, and each once, is the contract's to show; here it is over HTTP.
    for _ in 0..10 {
        let said = operated.say("GET", &next.expect("there are more"));
        let page = said.json();
        let page = page.as_array().expect("a list");
        assert!(page.len() == 1000 && said.body.len() < 1_000_000, "{} sessions in one answer", page.len());
        handles.extend(page.iter().map(|session| session["handle"].as_str().expect("a handle").to_owned()));
        next = said.next();
        assert_eq!(bob.get("/").send().status, 200);
    }
    assert_eq!(handles.len(), 10_000);
    assert!(operated.say("GET", "/metrics").body.contains("\nvestibule_sessions_active 100001\n"));
    // A filter that nearly nobody fits goes through all of them for one answer, and its pages keep it.
    let said = operated.say("GET", "/sessions?address=10.0.7.7&limit=1&state=all");
    assert_eq!(said.json()[0]["address"], "10.0.7.7");
    let next = said.next().expect("one more");
    assert!(next.starts_with("/sessions?address=10.0.7.7&limit=1&state=all&after="), "{next}");
    let more = operated.say("GET", &next);
    assert_eq!((&more.json()[0]["address"], more.next()), (&json!("10.0.7.7"), None));
    // Whoever asks for the end of all of them and hangs up has asked for it.
    let mut stream = UnixStream::connect(&operated.socket).expect("connected");
    stream.write_all(b"DELETE /sessions?all=true HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    eventually("it has begun", || gateway.running().shared.store.active() <= COUNT);
    drop(stream);
    patiently("all of them are ended", || gateway.running().shared.store.active() == 0);
    gateway.log.wait_for(&["audit admin.ended", "reason=all", "count=100001"]);
}

/// A folder for the binary, with an admin listener.
fn folder(upstream: SocketAddr, admin: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let admin = admin.replace("FOLDER", folder.path().to_str().expect("text"));
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 1\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\ngenerate = true\n\
         [admin]\n{admin}\n[login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = [\"http://{upstream}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"app\"\n"
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    write_secret(&folder.path().join("admin.token"), &format!("{TOKEN}\n"));
    set_mode(&folder.path().join("users.toml"), 0o600);
    folder
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
}

fn write_secret(file: &Path, secret: &str) {
    fs::write(file, secret).expect("written");
    set_mode(file, 0o600);
}

fn signed_in(process: &Process, who: (&str, &str)) -> Client {
    let client = Client::new(process.address());
    assert_eq!(client.sign_in(who, "/").status, 303);
    client
}

fn good(ended: Ended) -> String {
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

#[test]
fn the_commands_see_and_end_sessions_by_the_socket_that_the_configuration_names() {
    let application = Application::start();
    let folder = folder(application.address(), "listen = \"unix:FOLDER/admin.sock\"");
    let gateway = Process::serve(folder.path());
    let call = |line: &str| run(folder.path(), &line.split(' ').collect::<Vec<_>>(), "");
    assert_eq!(good(call("sessions list")), "There are no such sessions.\n");
    let (alice, bob) = (signed_in(&gateway, ALICE), signed_in(&gateway, BOB));
    let _more = [signed_in(&gateway, ALICE), signed_in(&gateway, ALICE)];
    let listed = good(call("sessions list"));
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["HANDLE", "USER", "ADDRESS", "BEGUN", "ACTIVE", "ROLES"]);
    assert_eq!((lines.len(), lines.iter().filter(|line| line[1] == "alice" && line[7] == "admin").count()), (5, 3));
    assert!(!listed.contains(&alice.session()) && !listed.contains(&bob.session()));
    let listed: Value = serde_json::from_str(&good(call("sessions list --user bob --json"))).expect("JSON");
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["user"]), (Some(1), &json!("bob")));
    let handle = listed[0]["handle"].as_str().expect("a handle");
    let shown = good(call(&format!("sessions show {handle}")));
    for line in [&format!("handle        {handle}"), "user          bob", "email         bob@example.test"] {
        assert!(shown.lines().any(|found| found == line), "{line} in:\n{shown}");
    }
    assert!(shown.contains(" by idle, if nothing happens\n"), "{shown}");
    assert!(shown.lines().any(|line| line.starts_with("tls           fingerprint ")), "{shown}");
    let as_json: Value = serde_json::from_str(&good(call(&format!("sessions show {handle} --json")))).expect("JSON");
    assert_eq!((&as_json["roles"], &as_json["kind"]), (&json!("staff"), &json!("user")));
    assert!(!as_json.to_string().contains(&bob.session()) && !shown.contains(&bob.session()));

    let limited = call("sessions list --limit 2");
    assert_eq!((limited.code(), limited.stdout.lines().count()), (Some(0), 3));
    assert_eq!(limited.stderr, "There are more than these 2: write a filter, or a higher --limit.\n");
    for (filter, count) in
        [("--address 127.0.0.0/8", 4), ("--address 10.0.0.0/8", 0), ("--older 1h", 0), ("--newer 1h", 4)]
    {
        let listed: Value = serde_json::from_str(&good(call(&format!("sessions list --json {filter}")))).expect("JSON");
        assert_eq!(listed.as_array().map(Vec::len), Some(count), "{filter}");
    }

    assert_eq!(good(call(&format!("sessions end {handle}"))), "Ended 1 session.\n");
    assert_eq!(bob.get("/").send().json()["reason"], "revoked");
    let again = call(&format!("sessions end {handle}"));
    assert_eq!((again.code(), &*again.stderr), (Some(1), "there is no such session, or it has ended already\n"));
    let ended = good(call("sessions list --ended"));
    assert!(ended.contains("ENDED BY") && ended.contains(handle) && ended.contains("revoked"), "{ended}");
    assert!(good(call(&format!("sessions show {handle}"))).contains(", by revoked\n"));
    assert_eq!(good(call("sessions end --user alice --json")), "{\n  \"ended\": 3\n}\n");
    let _again = [signed_in(&gateway, ALICE), signed_in(&gateway, BOB)];
    let asked = call("sessions end --all");
    assert_eq!((asked.code(), &*asked.stdout), (Some(1), ""));
    assert_eq!(asked.stderr, "this would sign everybody out; write --yes if that is what you want\n");
    assert_eq!(good(call("sessions end --all --yes")), "Ended 2 sessions.\n");
    gateway.stdout.wait_for(&["audit admin.ended", "reason=all", "count=2"]);
    for wrong in ["sessions end", "sessions end --all --user x", "sessions end nonsense", "sessions list --older soon"]
    {
        assert_eq!(call(wrong).code(), Some(2), "{wrong}");
    }
    // A handle may begin with what options begin with.
    let dashed = call("sessions end -AAAAAAAAAAAAAAAAAAAAA");
    assert_eq!((dashed.code(), &*dashed.stderr), (Some(1), "there is no such session, or it has ended already\n"));
    let explicit = format!("unix:{}/admin.sock", folder.path().display());
    let elsewhere = tempfile::tempdir().expect("a folder");
    assert!(good(run(elsewhere.path(), &["status", "--admin", &explicit], "")).contains("ready"));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    let gone = call("sessions list");
    assert_eq!(gone.code(), Some(1));
    assert!(gone.stderr.ends_with("admin.sock; is it running?\n"), "{}", gone.stderr);
}

#[test]
fn status_is_shown_to_people_and_to_programs() {
    let application = Application::start();
    let folder = folder(application.address(), "listen = \"unix:FOLDER/admin.sock\"");
    let gateway = Process::serve(folder.path());
    let alice = signed_in(&gateway, ALICE);
    assert_eq!(alice.get("/").send().status, 200);
    let shown = good(run(folder.path(), &["status"], ""));
    let lines: Vec<&str> = shown.lines().collect();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(lines[0], format!("vestibule      {version}, ready"));
    assert!(lines[1].starts_with("running        ") && lines[1].ends_with(" UTC"), "{shown}");
    assert!(lines[2].starts_with("configuration  version 1, loaded 20"), "{shown}");
    assert_eq!(lines[3..5], ["sessions       1 active, 0 open streams", "store          disk"]);
    let words: Vec<&str> = lines[7].split_whitespace().collect();
    let address = application.address().to_string();
    assert_eq!((words[0], words[2..5].join(" ")), ("app", "of 1024 ".to_owned() + &address));
    assert!(lines[7].contains("not checked"), "{shown}");
    let status: Value = serde_json::from_str(&good(run(folder.path(), &["status", "--json"], ""))).expect("JSON");
    assert_eq!((&status["ready"], &status["snapshot"]["version"]), (&json!(true), &json!(1)));
    // The configuration may have grown a mistake since: whoever looks at the gateway that runs need not care.
    let file = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&file).expect("a file");
    fs::write(&file, text.replace("[[route]]", "[[rout]]").replace("users.toml", "gone.toml")).expect("written");
    assert!(good(run(folder.path(), &["status"], "")).contains("ready"));
    fs::write(&file, text.replace("listen = \"unix", "lisen = \"unix")).expect("written");
    let wrong = run(folder.path(), &["status"], "");
    assert_eq!(wrong.code(), Some(1));
    assert!(wrong.stderr.contains("did you mean \"listen\"?"), "{}", wrong.stderr);
    fs::write(&file, "[server]\n").expect("written");
    let none = run(folder.path(), &["status"], "");
    assert!(none.stderr.starts_with("gateway.toml has no \"listen\" in [admin]"), "{}", none.stderr);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

fn admin_address(process: &Process) -> SocketAddr {
    super::harness::process::address_after(&process.stderr.text(), "listening to the operator on http://")
}

#[test]
fn an_address_asks_for_the_token_and_for_a_name_of_its_own() {
    let application = Application::start();
    let admin = "listen = \"127.0.0.1:0\"\ntoken = \"file:admin.token\"\nhosts = [\"Admin.Example.Test\"]";
    let folder = folder(application.address(), admin);
    let gateway = Process::serve(folder.path());
    let address = admin_address(&gateway);
    signed_in(&gateway, ALICE);
    let ask = |target: &str, fields: &str| say(TcpStream::connect(address).expect("connected"), "GET", target, fields);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for host in [address.to_string(), "localhost".to_owned(), "admin.example.test:9902".to_owned()] {
        let said = ask("/sessions", &format!("Host: {host}\r\n{bearer}"));
        assert_eq!((said.status, said.json().as_array().map(Vec::len)), (200, Some(1)), "{host}");
        assert!(said.head.contains("cache-control: no-store"), "{}", said.head);
    }
    // Everything asks for it, what the metrics' listener gives away included.
    for target in ["/sessions", "/status", "/users", "/metrics", "/ping", "/elsewhere"] {
        let host = format!("Host: {address}\r\n");
        let said = ask(target, &host);
        assert_eq!(said.status, 401, "{target}");
        assert!(said.head.contains("www-authenticate: Bearer"), "{}", said.head);
        assert_eq!(ask(target, &format!("{host}{}", bearer.replace(TOKEN, &TOKEN[1..]))).status, 401, "{target}");
        assert_eq!(ask(target, &format!("{host}{}", bearer.replace("Bearer", "Basic"))).status, 401, "{target}");
        for name in ["evil.test", "localhost.evil.test", "192.0.2.1"] {
            assert_eq!(ask(target, &format!("Host: {name}\r\n{bearer}")).status, 421, "{target} as {name}");
        }
        let absolute = ask(&format!("http://evil.test{target}"), &format!("{host}{bearer}"));
        assert_eq!(absolute.status, 421, "{target}");
    }
    gateway.stdout.wait_for(&["audit admin.refused", "client=127.0.0.1", "reason=token"]);
    gateway.stdout.wait_for(&["audit admin.refused", "reason=host"]);
    assert!(!gateway.stdout.text().contains(TOKEN) && !gateway.stderr.text().contains(TOKEN));

    let place = address.to_string();
    let call = |arguments: &[&str]| run(folder.path(), &[arguments, &["--admin", &place]].concat(), "");
    assert!(good(call(&["status", "--token", "file:admin.token"])).contains("1 active"));
    let from_environment =
        vestibule(folder.path(), &["sessions", "end", "--user", "alice", "--admin", &place, "--token", "env:TOKEN"])
            .env("TOKEN", TOKEN)
            .output()
            .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&from_environment.stdout), "Ended 1 session.\n");
    gateway.stdout.wait_for(&["audit admin.ended", "client=127.0.0.1", "user=alice", "by=admin:token", "count=1"]);
    for (arguments, why) in [
        (&["status"][..], "an address asks for a token; write where it is: --token file:PATH or --token env:NAME\n"),
        (&["status", "--token", TOKEN], "this must not be the secret itself: write \"env:NAME\""),
        (&["status", "--token", "file:users.toml"], "the token has characters that cannot be sent in a header\n"),
        (&["status", "--token", "file:gone"], "the secret's file ./gone cannot be read"),
    ] {
        let failed = call(arguments);
        assert_eq!(failed.code(), Some(1), "{arguments:?}");
        assert!(failed.stderr.starts_with(why) && !failed.stderr.contains(TOKEN), "{arguments:?}: {}", failed.stderr);
    }
    write_secret(&folder.path().join("other.token"), &TOKEN.replace('0', "1"));
    let refused = call(&["status", "--token", "file:other.token"]);
    assert!(refused.stderr.contains("the token is not the gateway's"), "{}", refused.stderr);
    let abroad = run(folder.path(), &["status", "--admin", "192.0.2.1:9902", "--token", "file:admin.token"], "");
    assert!(abroad.stderr.contains("is on another machine"), "{}", abroad.stderr);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn the_configurations_own_address_and_token_are_used() {
    let application = Application::start();
    // The port is only known when it was free a moment ago.
    for _ in 0..5 {
        let (address, held) = nobody();
        drop(held);
        let admin = format!("listen = \"{address}\"\ntoken = \"file:admin.token\"");
        let folder = folder(application.address(), &admin);
        let mut gateway = Process::start(&mut vestibule(folder.path(), &["serve"]));
        eventually("it listens, or ends because somebody else does", || {
            gateway.stderr.text().contains("sessions are kept in") || gateway.has_ended()
        });
        if gateway.has_ended() {
            continue;
        }
        assert!(good(run(folder.path(), &["status"], "")).contains("0 active"));
        assert_eq!(gateway.stop("TERM").code(), Some(0));
        return;
    }
    panic!("it found no port to listen on");
}

fn told(folder: &Path, admin: &str) -> String {
    let file = folder.join("gateway.toml");
    let text = fs::read_to_string(&file).expect("a file");
    let (before, after) = text.split_once("[admin]\n").expect("a table");
    let (_, after) = after.split_once("\n[login.local]").expect("a table");
    fs::write(&file, format!("{before}[admin]\n{admin}\n[login.local]{after}")).expect("written");
    let checked = run(folder, &["check"], "");
    assert_eq!(checked.code(), Some(1), "{admin}: {checked:?}");
    checked.stderr
}

#[test]
fn an_address_without_a_good_token_or_that_others_reach_is_no_configuration() {
    let folder = folder(([127, 0, 0, 1], 9).into(), "");
    write_secret(&folder.path().join("short.token"), &TOKEN[..31]);
    let good_token = "\ntoken = \"file:admin.token\"";
    for (admin, why, help) in [
        (
            "listen = \"0.0.0.0:9902\"\ntoken = \"file:admin.token\"",
            "can be reached from other machines",
            "loopback address",
        ),
        (
            "listen = \"[::]:9902\"\ntoken = \"file:admin.token\"",
            "can be reached from other machines",
            "come to it by SSH",
        ),
        ("listen = \"127.0.0.1:9902\"", "without a \"token\"", "openssl rand -hex 32"),
        (
            "listen = \"127.0.0.1:9902\"\ntoken = \"file:short.token\"",
            "has 31 characters, and could be guessed",
            "needs 32",
        ),
        ("listen = \"127.0.0.1:9902\"\ntoken = \"file:users.toml\"", "cannot be sent in a header", "visible ASCII"),
        (
            "listen = \"127.0.0.1:9902\"\ntoken = \"file:gone\"",
            "gone cannot be read",
            "from the configuration's folder",
        ),
        (
            "listen = \"unix:/run/x\"\ntoken = \"file:admin.token\"",
            "\"token\" means nothing to a Unix socket",
            "remove",
        ),
        ("listen = \"unix:/run/x\"\nhosts = [\"a.test\"]", "\"hosts\" means nothing to a Unix socket", "remove"),
        ("listen = \"localhost\"", "neither a Unix socket nor an address", "loopback address with a port"),
    ] {
        let shown = told(folder.path(), admin);
        assert!(shown.contains(why) && shown.contains(help), "{admin}:\n{shown}");
        assert!(shown.contains("\n1 mistake in") || shown.matches("gateway.toml:").count() == 1, "{admin}:\n{shown}");
    }
    let secret = told(folder.path(), &format!("listen = \"127.0.0.1:9902\"\ntoken = \"{TOKEN}\""));
    assert!(secret.contains("\"token\" must not hold the secret itself") && !secret.contains("horse"), "{secret}");
    let secret = told(folder.path(), &format!("listen = \"unix:/run/x\"\ntoken = \"{TOKEN}\""));
    assert!(!secret.contains("horse"), "{secret}");
    let hosts = told(folder.path(), &format!("listen = \"127.0.0.1:9902\"{good_token}\nhosts = [\"a.test:80\"]"));
    assert!(hosts.contains("\"a.test:80\" is not a host"), "{hosts}");
    let twice = told(folder.path(), &format!("listen = \"127.0.0.1:9902\"{good_token}\nmetrics = \"127.0.0.1:9902\""));
    assert!(twice.contains("takes this address already"), "{twice}");
}
