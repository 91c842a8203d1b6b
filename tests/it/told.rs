//! What the operator is told when something is not as it should be: by `status`, by the commands, by the logs.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule::enforce::reloads::Cause;

use super::binary::signed_in;
use super::durable::{limit_files, serve_within_limits};
use super::harness::process::{Ended, Process, run};
use super::harness::{ALICE, Application, BOB, Client, advance_until, eventually, users};

/// A folder with a configuration, and an admin socket.
fn folder(upstream: SocketAddr, more: &str) -> TempDir {
    super::binary::folder(upstream, &format!("[limits]\nlogin = \"off\"\n{more}"))
}

fn call(folder: &Path, line: &str) -> Ended {
    run(folder, &line.split(' ').collect::<Vec<_>>(), "")
}

fn good(ended: Ended) -> String {
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

fn edit(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("a file");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    fs::write(file, text.replacen(from, to, 1)).expect("written");
}

fn json_of(folder: &Path, line: &str) -> Value {
    serde_json::from_str(&good(call(folder, line))).expect("JSON")
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("a mode");
}

/// A gateway whose disk takes nothing any more, with a session of Alice and two of Bob.
fn with_a_full_disk(application: &Application) -> (TempDir, Process, [Client; 3]) {
    let folder = folder(application.address(), "");
    let gateway = serve_within_limits(folder.path());
    let clients = [ALICE, BOB, BOB].map(|who| signed_in(gateway.address(), who));
    limit_files(&gateway, "4096");
    assert_eq!(Client::new(gateway.address()).sign_in(ALICE, "/").status, 503);
    (folder, gateway, clients)
}

#[test]
fn status_says_that_the_disk_takes_nothing_since_when_why_and_what_to_do() {
    let application = Application::start();
    let (folder, gateway, _clients) = with_a_full_disk(&application);
    gateway.stderr.wait_for(&["the session store", "cannot be written to: "]);
    let logged = gateway.stderr.text();
    let logged = logged.lines().find(|line| line.contains("cannot be written to")).expect("a line");
    let words = &logged[logged.find("the session store").expect("words")..];
    let shown = good(call(folder.path(), "status"));
    assert!(shown.contains("store          disk: CANNOT BE WRITTEN TO, see below\n"), "{shown}");
    assert!(shown.contains(&format!("\n{words}\n")), "{words} in:\n{shown}");
    assert!(shown.contains("\nThis has been so since 20") && shown.contains("Make room on its disk"), "{shown}");
    let failed = json_of(folder.path(), "status --json")["store_failed"].clone();
    assert_eq!((&failed["reason"], &failed["written_again_since"]), (&json!(words), &Value::Null));
    assert!(failed["since"].as_str().is_some_and(|since| since.ends_with('Z')) && failed["since_seconds"].is_u64());
    assert!(failed["help"].as_str().is_some_and(|help| help.contains("every second")), "{failed}");
    // Each time that it can be written to again, and then not.
    for _ in 0..3 {
        limit_files(&gateway, "unlimited");
        eventually("people sign in", || Client::new(gateway.address()).sign_in(ALICE, "/").status == 303);
        let failed = json_of(folder.path(), "status --json")["store_failed"].clone();
        assert!(failed["written_again_since"].is_string(), "{failed}");
        let shown = good(call(folder.path(), "status"));
        assert!(shown.contains("It can be written to again since 20"), "{shown}");
        limit_files(&gateway, "4096");
        eventually("nobody signs in", || Client::new(gateway.address()).sign_in(ALICE, "/").status == 503);
    }
    let said = gateway.stderr.text();
    assert_eq!(said.matches("cannot be written to").count(), 1, "one line, and not one a second:\n{said}");
    assert!(!said.contains("can be written to again"), "it has not held:\n{said}");
    // Written on its way out.
    limit_files(&gateway, "unlimited");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn sessions_that_end_while_the_disk_is_full_have_ended_and_that_is_said() {
    let application = Application::start();
    let (folder, gateway, [alice, bob, other]) = with_a_full_disk(&application);
    let listed = json_of(folder.path(), "sessions list --user alice --json");
    let handle = listed[0]["handle"].as_str().expect("a handle").to_owned();
    let ended = call(folder.path(), &format!("sessions end {handle}"));
    assert_eq!((ended.code(), &*ended.stdout), (Some(3), "Ended 1 session.\n"), "{ended:?}");
    assert!(ended.stderr.starts_with("this holds now, and is not on the disk yet: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("tried again every second"), "{}", ended.stderr);
    assert!(ended.stderr.contains("would bring 1 session back"), "{}", ended.stderr);
    assert_eq!(alice.get("/").send().json()["reason"], "revoked");
    let again = call(folder.path(), &format!("sessions end {handle}"));
    assert_eq!(
        (again.code(), &*again.stdout, &again.stderr),
        (Some(3), "1 session had ended before.\n", &ended.stderr),
        "that it has ended already would sound as if all was well"
    );
    let ended = call(folder.path(), "sessions end --user bob --json");
    assert_eq!(ended.code(), Some(3), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&said["ended"], &said["unwritten"]), (&json!(2), &json!(2)));
    assert!(said["error"].as_str().is_some_and(|error| error.contains("not on the disk yet")), "{said}");
    assert!([&bob, &other].iter().all(|client| client.get("/").send().json()["reason"] == "revoked"));
    // The log has them as any other that ends, with whose they were.
    gateway.stdout.wait_for(&["audit session.ended", &handle, "user=alice", "reason=revoked"]);
    gateway.stdout.wait_for(&["audit admin.ended", "user=bob", "count=2"]);
    let count = gateway.stdout.text().lines().filter(|line| line.contains("audit session.ended")).count();
    assert_eq!(count, 3);
    limit_files(&gateway, "unlimited");
    eventually("people sign in", || Client::new(gateway.address()).sign_in(ALICE, "/").status == 303);
    let (_one, _two) = (signed_in(gateway.address(), ALICE), signed_in(gateway.address(), BOB));
    limit_files(&gateway, "4096");
    eventually("nobody signs in", || Client::new(gateway.address()).sign_in(ALICE, "/").status == 503);
    let ended = call(folder.path(), "sessions end --all --yes");
    assert_eq!((ended.code(), &*ended.stdout), (Some(3), "Ended 3 sessions.\n"), "{ended:?}");
    assert_eq!(json_of(folder.path(), "status --json")["sessions"]["active"], 0);
    limit_files(&gateway, "unlimited");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn status_says_that_the_file_on_disk_is_not_the_one_in_force() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    let config = folder.path().join("gateway.toml");
    assert_eq!(json_of(folder.path(), "status --json")["configuration_refused"], Value::Null);
    edit(&config, "[server]", "[sever]");
    let (refused, checked) = (call(folder.path(), "reload"), call(folder.path(), "check"));
    assert_eq!((refused.code(), &refused.stderr), (Some(1), &checked.stderr));
    let words = checked.stderr.trim_end_matches('\n');
    let told = json_of(folder.path(), "status --json")["configuration_refused"].clone();
    assert_eq!(told["reason"], json!(words));
    assert!(told["since"].is_string() && told["since_seconds"].is_u64(), "{told}");
    assert!(told["help"].as_str().is_some_and(|help| help.contains("read again by itself")), "{told}");
    let shown = good(call(folder.path(), "status"));
    assert!(shown.contains("configuration  version 1, loaded 20") && shown.contains("REFUSED, see below\n"), "{shown}");
    assert!(shown.contains("the one of before is still in force:\n"), "{shown}");
    for line in words.lines().filter(|line| !line.is_empty()) {
        assert!(shown.lines().any(|found| found.trim_end() == format!("    {line}").trim_end()), "{line} in:\n{shown}");
    }
    // It is worse by now, and is refused since then all the same.
    edit(&config, "[sever]", "[severe]");
    eventually("the newest words", || {
        let newest = json_of(folder.path(), "status --json")["configuration_refused"].clone();
        assert_eq!(newest["since"], told["since"]);
        newest["reason"].as_str().is_some_and(|words| words.contains("[severe]"))
    });
    edit(&config, "[severe]", "[server]");
    eventually("it is taken", || json_of(folder.path(), "status --json")["configuration_refused"] == Value::Null);
    assert!(!good(call(folder.path(), "status")).contains("REFUSED"));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn users_that_are_taken_while_the_rest_is_refused_are_told_as_what_they_are() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    let (config, file) = (folder.path().join("gateway.toml"), folder.path().join("users.toml"));
    edit(&config, "[server]", "[sever]");
    gateway.stderr.wait_for(&["cannot be used; the one before stays in force"]);
    edit(&file, "name = \"bob\"", "disabled = true\nname = \"bob\"");
    gateway.stderr.wait_for(&[
        "WARN",
        "the users in",
        "users.toml",
        "were taken (version 2)",
        "is still the one of before",
    ]);
    gateway.stdout.wait_for(&["audit users.reloaded", "reason=version_2", "by=file:"]);
    edit(&file, "name = \"alice\"", "disabled = true\nname = \"alice\"");
    let asked = call(folder.path(), "reload");
    assert_eq!(asked.code(), Some(1));
    assert!(asked.stderr.contains("[sever]"), "{}", asked.stderr);
    // Whoever is quicker, the one who asks or the one who looks.
    eventually("hers as well", || gateway.stderr.text().contains("were taken (version 3)"));
    let (said, audited) = (gateway.stderr.text(), gateway.stdout.text());
    assert!(!said.contains("is in force (version"), "{said}");
    assert!(!audited.contains("configuration.reloaded"), "{audited}");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn who_asks_by_hand_is_told_that_the_users_were_taken() {
    let gateway = super::harness::Setup::new().start();
    edit(&gateway.folder.path().join("gateway.toml"), "[server]", "[sever]");
    edit(&gateway.folder.path().join("users.toml"), "name = \"bob\"", "disabled = true\nname = \"bob\"");
    let words = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal())).expect_err("it is refused");
    assert!(words.contains("[sever]"), "{words}");
    assert!(words.ends_with("users.toml have changed and were taken all the same"), "{words}");
}

#[test]
fn the_audit_log_says_who_had_the_configuration_read_again() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    let config = folder.path().join("gateway.toml");
    gateway.signal("HUP");
    gateway.stdout.wait_for(&["audit configuration.reloaded", "reason=version_2", "by=SIGHUP"]);
    gateway.stderr.wait_for(&["the configuration was read again, on SIGHUP, and is in force (version 2)"]);
    good(call(folder.path(), "reload"));
    let uid = fs::metadata(&config).map(|found| std::os::unix::fs::MetadataExt::uid(&found)).expect("a file");
    gateway.stdout.wait_for(&["audit configuration.reloaded", "reason=version_3", &format!("by=admin:uid={uid}")]);
    edit(&config, "access = \"public\"", "access = \"optional\"");
    gateway.stdout.wait_for(&["audit configuration.reloaded", "reason=version_4", "by=file:", "gateway.toml"]);
    gateway.stderr.wait_for(&["read again, because gateway.toml has changed, and is in force (version 4)"]);
    edit(&folder.path().join("users.toml"), "name = \"bob\"", "disabled = true\nname = \"bob\"");
    gateway.stdout.wait_for(&["audit configuration.reloaded", "reason=version_5", "by=file:", "users.toml"]);
    edit(&config, "[server]", "[sever]");
    gateway.stdout.wait_for(&["audit configuration.refused", "by=file:", "gateway.toml"]);
    gateway.signal("HUP");
    gateway.stdout.wait_for(&["audit configuration.refused", "by=SIGHUP"]);
    assert_eq!(call(folder.path(), "reload").code(), Some(1));
    gateway.stdout.wait_for(&["audit configuration.refused", &format!("by=admin:uid={uid}")]);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_secret_that_others_may_read_is_none() {
    let folder = folder(([127, 0, 0, 1], 9).into(), "[keys]\nsecrets = [\"file:own.keys\"]");
    let keys = folder.path().join("own.keys");
    let key = good(call(folder.path(), "keygen"));
    fs::write(&keys, &key).expect("written");
    for mode in [0o644, 0o604, 0o602, 0o606] {
        set_mode(&keys, mode);
        let checked = call(folder.path(), "check");
        assert_eq!(checked.code(), Some(1), "{mode:o}");
        let said = format!("own.keys can be read or changed by others (mode {mode:04o})");
        assert!(checked.stderr.contains(&said) && checked.stderr.contains("chmod 600"), "{}", checked.stderr);
        assert!(!checked.stderr.contains(key.trim()), "it is not shown");
        assert_eq!(call(folder.path(), "serve").code(), Some(1), "{mode:o}");
    }
    for mode in [0o600, 0o400] {
        set_mode(&keys, mode);
        good(call(folder.path(), "check"));
    }
    // The group of a file that is root's may read it: so administrators hand secrets to services.
    if fs::metadata(&keys).map(|found| std::os::unix::fs::MetadataExt::uid(&found)).expect("a file") != 0 {
        return;
    }
    set_mode(&keys, 0o640);
    good(call(folder.path(), "check"));
    let made = call(folder.path(), "keygen --into own.keys");
    assert_eq!(made.code(), Some(0), "{}", made.stderr);
    assert_eq!(fs::metadata(&keys).expect("a file").permissions().mode() & 0o777, 0o640, "whoever could read it can");
    for (owner, mode) in [(0, 0o660), (1234, 0o640)] {
        chown(&keys, Some(owner), Some(1234)).expect("given away");
        set_mode(&keys, mode);
        assert_eq!(call(folder.path(), "check").code(), Some(1), "{owner} {mode:o}");
    }
}

/// What an editor leaves for a moment that empties a file before it writes it.
#[test]
fn an_emptied_users_file_signs_nobody_out() {
    let gateway = super::harness::Setup::new().start();
    let file = gateway.folder.path().join("users.toml");
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let ask = || gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    let fine = || [&alice, &bob].iter().all(|client| client.get("/").send().status == 200);
    for empty in ["", "# nobody\n"] {
        fs::write(&file, empty).expect("written");
        let words = ask().expect_err("it is refused");
        assert!(words.contains("users.toml") && words.contains("nobody is in it any more"), "{words}");
        assert!(words.contains("user disable") && words.contains("restart the gateway"), "{words}");
        assert!(fine());
    }
    (0..20).for_each(|_| gateway.advance(1));
    assert!(fine(), "nor by itself");
    // Nor when the configuration is refused for something else.
    edit(&gateway.folder.path().join("gateway.toml"), "[server]", "[sever]");
    fs::write(&file, " ").expect("written");
    assert!(ask().is_err());
    (0..20).for_each(|_| gateway.advance(1));
    assert!(fine());
    edit(&gateway.folder.path().join("gateway.toml"), "[sever]", "[server]");
    // Written to its end, it is taken as ever.
    let hers = users().find("[[user]]\nname = \"bob\"").expect("bob");
    fs::write(&file, &users()[..hers]).expect("written");
    advance_until(&gateway, "he is out", || gateway.sessions_of("bob").is_empty());
    assert_eq!(bob.get("/").send().status, 401);
    assert_eq!(alice.get("/").send().status, 200);
}

#[test]
fn one_whose_users_file_was_empty_from_the_beginning_goes_on() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    fs::write(folder.path().join("users.toml"), "").expect("written");
    let gateway = Process::serve(folder.path());
    assert_eq!(good(call(folder.path(), "reload")), "read again, and in force (version 2)\n");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    gateway.stderr.wait_for(&["is in force (version 3)"]);
    let _alice = signed_in(gateway.address(), ALICE);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    // And a restart takes one that was emptied.
    fs::write(folder.path().join("users.toml"), "").expect("written");
    let gateway = Process::serve(folder.path());
    gateway.stderr.wait_for(&["sessions ended: 1"]);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn commands_say_what_was_wrong_with_what_they_were_given() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("keys")).expect("a folder");
    let refused = call(folder.path(), "keygen --into keys");
    assert_eq!(refused.code(), Some(1));
    assert_eq!(refused.stderr, "keys is a folder; write the path of a file in it, like keys/sessions.keys\n");
    let refused = call(folder.path(), "sessions list --limit 0");
    assert_eq!(refused.code(), Some(2));
    assert!(refused.stderr.contains("write a number from 1 on"), "{}", refused.stderr);
    good(call(folder.path(), "man --folder new/pages"));
    assert!(fs::read_dir(folder.path().join("new/pages")).expect("a folder").count() > 10);
}

#[test]
fn a_foreign_file_in_the_stores_place_is_called_one() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    // There are keys already.
    assert_eq!(Process::serve(folder.path()).stop("TERM").code(), Some(0));
    for foreign in [b"<html>".repeat(1000), vec![0; 8192], b"short".to_vec()] {
        fs::write(folder.path().join("sessions.redb"), foreign).expect("written");
        let ended = call(folder.path(), "serve");
        assert_eq!(ended.code(), Some(1));
        assert!(ended.stderr.contains("it is no session store of vestibule's"), "{}", ended.stderr);
        assert!(ended.stderr.contains("Write another \"path\" in [session.store]"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("magic") && !ended.stderr.contains("redb database"), "{}", ended.stderr);
    }
}

#[test]
fn what_takes_a_restart_is_in_status_until_the_restart() {
    let application = Application::start();
    let folder = super::binary::folder(application.address(), "");
    let config = folder.path().join("gateway.toml");
    for (file, token) in [("one.token", "1"), ("other.token", "2")] {
        fs::write(folder.path().join(file), token.repeat(32)).expect("written");
        set_mode(&folder.path().join(file), 0o600);
    }
    let socket = format!("listen = \"unix:{}/admin.sock\"", folder.path().display());
    edit(&config, &socket, "listen = \"127.0.0.1:0\"\ntoken = \"file:one.token\"");
    let gateway = Process::serve(folder.path());
    gateway.stderr.wait_for(&["listening to the operator on http://"]);
    let admin = super::harness::process::address_after(&gateway.stderr.text(), "the operator on http://");
    let ask = |line: &str| {
        let line = format!("{line} --admin {admin} --token file:{}", folder.path().join("one.token").display());
        good(call(folder.path(), &line))
    };
    let takes_restart = || {
        let status: Value = serde_json::from_str(&ask("status --json")).expect("JSON");
        status["takes_restart"].clone()
    };
    assert_eq!(takes_restart(), json!([]));
    edit(&config, "file:one.token", "file:other.token");
    edit(&config, "workers = 2", "workers = 1");
    let said = ask("reload");
    assert!(said.contains("server.workers, admin.token") && !said.contains("admin.listen"), "{said}");
    for _ in 0..2 {
        assert_eq!(takes_restart(), json!(["server.workers", "admin.token"]));
        assert!(ask("status").contains("takes a restart: server.workers, admin.token\n"), "{}", ask("status"));
        // Neither what is refused nor users alone make it forgotten, nor a reading that changes nothing.
        edit(&config, "[server]", "[sever]");
        gateway.stderr.wait_for(&["cannot be used; the one before stays in force"]);
        edit(&folder.path().join("users.toml"), "name = \"bob\"", "disabled = true\nname = \"bob\"");
        eventually("the users were taken", || gateway.stdout.text().contains("audit users.reloaded"));
        assert_eq!(takes_restart(), json!(["server.workers", "admin.token"]));
        edit(&config, "[sever]", "[server]");
        ask("reload");
        edit(&folder.path().join("users.toml"), "disabled = true\n", "");
        ask("reload");
    }
    // As it was, it takes none.
    edit(&config, "file:other.token", "file:one.token");
    edit(&config, "workers = 1", "workers = 2");
    ask("reload");
    assert_eq!(takes_restart(), json!([]));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_standard_output_that_is_full_is_an_ordinary_error() {
    let folder = folder(([127, 0, 0, 1], 9).into(), "");
    for command in
        ["keygen", "keygen --into new.keys", "check", "man", "completions bash", "user list --users users.toml"]
    {
        for both in [false, true] {
            let line = format!("\"$0\" {command} >/dev/full{}", if both { " 2>/dev/full" } else { "" });
            let program = super::harness::process::vestibule(folder.path(), &[]).get_program().to_owned();
            let mut shell = std::process::Command::new("sh");
            let ended = Process::start(shell.args(["-c", &line]).arg(program).current_dir(folder.path())).wait();
            assert_eq!(ended.code(), Some(1), "{command}: {}", ended.stderr);
            assert!(!ended.stderr.contains("panicked"), "{command}: {}", ended.stderr);
            assert!(
                both || ended.stderr.ends_with("No space left on device (os error 28)\n"),
                "{command}: {}",
                ended.stderr
            );
        }
    }
}

#[test]
fn the_metrics_are_given_to_nobody_who_calls_them_by_another_name() {
    let gateway = super::harness::Setup::new().extra("[admin]\nmetrics = \"127.0.0.1:0\"").start();
    let address = gateway.running().metrics_address.expect("metrics");
    let ask = |head: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(address).expect("connected");
        stream.write_all(format!("GET /metrics HTTP/1.{head}\r\n\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    for host in ["localhost", "127.0.0.1", "127.0.0.1:9901", "[::1]:9901", &address.to_string()] {
        assert!(ask(&format!("1\r\nHost: {host}")).starts_with("HTTP/1.1 200 "), "{host}");
    }
    // Health checks of old speak so, and no browser does.
    assert!(ask("0").starts_with("HTTP/1.0 200 "));
    for head in
        ["1\r\nHost: evil.test", "0\r\nHost: evil.test", "1\r\nHost: localhost\r\nHost: evil.test", "1\r\nHost:"]
    {
        let answer = ask(head);
        assert!(answer[8..].starts_with(" 421 ") && !answer.contains("vestibule_"), "{head}: {answer}");
    }
}
