//! The store's file taken away while the gateway runs: moved, removed, or another in its place. What would be written then
//! is on no disk that the next start reads, so nobody is promised anything by it. And the sizes of files that a system limits.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::binary::signed_in;
use super::durable::limit_files;
use super::harness::process::{Process, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, eventually};

fn folder(application: &Application) -> TempDir {
    super::binary::folder(application.address(), "[limits]\nlogin = \"off\"")
}

fn status(folder: &Path) -> Value {
    let ended = run(folder, &["status", "--json"], "");
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    serde_json::from_str(&ended.stdout).expect("JSON")
}

fn metric(folder: &Path, name: &str) -> u64 {
    let mut stream = std::os::unix::net::UnixStream::connect(folder.join("admin.sock")).expect("connected");
    let (_, text) = super::harness::process::plain(&mut stream, "GET", "/metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("vestibule_{name} ")));
    value.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().expect("a number")
}

fn login(gateway: &Process) -> u16 {
    Client::new(gateway.address()).sign_in(BOB, "/").status
}

/// Takes the store away, and gives back how it is put back.
type Deed = fn(&Path);

#[test]
fn a_store_that_was_taken_away_is_noticed_and_nobody_is_promised_anything() {
    let application = Application::start();
    let moved: Deed = |folder| fs::rename(folder.join("sessions.redb"), folder.join("gone.redb")).expect("moved");
    let removed: Deed = |folder| fs::remove_file(folder.join("sessions.redb")).expect("removed");
    let replaced: Deed = |folder| {
        fs::copy(folder.join("sessions.redb"), folder.join("other.redb")).expect("copied");
        fs::rename(folder.join("sessions.redb"), folder.join("gone.redb")).expect("moved");
        fs::rename(folder.join("other.redb"), folder.join("sessions.redb")).expect("moved");
    };
    for (take, words, can_come_back) in [
        (moved, "no file is at its place any more", true),
        (removed, "no file is at its place any more", false),
        (replaced, "another file is in its place", true),
    ] {
        let folder = folder(&application);
        let gateway = Process::serve(folder.path());
        let alice = signed_in(gateway.address(), ALICE);
        take(folder.path());
        // At once, not after somebody has been promised something.
        assert_eq!(login(&gateway), 503, "{words}");
        assert_eq!(alice.get("/").send().status, 200, "live sessions go on");
        gateway.stderr.wait_for(&["ERROR", "sessions.redb", words]);
        let failed = status(folder.path())["store_failed"].clone();
        assert!(failed["reason"].as_str().is_some_and(|said| said.contains(words)), "{failed}");
        let help = failed["help"].as_str().expect("help");
        assert!(help.contains("taken up again") && help.contains("everybody signs in again"), "{help}");
        let shown = run(folder.path(), &["status"], "").stdout;
        assert!(shown.contains("CANNOT BE WRITTEN TO") && shown.contains(words), "{shown}");
        if can_come_back {
            fs::rename(folder.path().join("gone.redb"), folder.path().join("sessions.redb")).expect("put back");
            eventually("people sign in again", || login(&gateway) == 303);
            let bob = signed_in(gateway.address(), BOB);
            let address = {
                gateway.stop("KILL");
                Process::serve(folder.path())
            };
            for client in [&alice, &bob] {
                let again = Client::new(address.address());
                again.set_session(&client.session());
                assert_eq!(again.get("/").send().status, 200, "what was acknowledged is there");
            }
            assert_eq!(address.stop("TERM").code(), Some(0));
        } else {
            gateway.stop("KILL");
            let next = Process::serve(folder.path());
            assert_eq!(login(&next), 303, "a new store was made");
        }
    }
}

#[test]
fn a_store_that_was_taken_away_is_noticed_while_nobody_comes() {
    let application = Application::start();
    let folder = folder(&application);
    let gateway = Process::serve(folder.path());
    assert_eq!(metric(folder.path(), "store_writable"), 1);
    fs::rename(folder.path().join("sessions.redb"), folder.path().join("gone.redb")).expect("moved");
    gateway.stderr.wait_for(&["no file is at its place any more"]);
    assert_eq!(metric(folder.path(), "store_writable"), 0);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn keys_that_vanish_under_a_running_gateway_are_asked_back_and_nobody_is_told_to_move_the_store() {
    let application = Application::start();
    let folder = folder(&application);
    let gateway = Process::serve(folder.path());
    let keys = folder.path().join("sessions.keys");
    let text = fs::read(&keys).expect("the keys");
    fs::remove_file(&keys).expect("removed");
    let said = run(folder.path(), &["reload"], "");
    assert_eq!(said.code(), Some(1));
    assert!(said.stderr.contains("sessions.keys") && said.stderr.contains("put them back"), "{}", said.stderr);
    assert!(!said.stderr.contains("move the store away"), "{}", said.stderr);
    assert!(said.stderr.contains("goes on with those it has"), "{}", said.stderr);
    let refused = status(folder.path())["configuration_refused"]["reason"].clone();
    assert!(refused.as_str().is_some_and(|said| !said.contains("move the store away")), "{refused}");
    fs::write(&keys, text).expect("written");
    fs::set_permissions(&keys, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    assert_eq!(run(folder.path(), &["reload"], "").code(), Some(0));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    // At the start it is another matter.
    fs::remove_file(&keys).expect("removed");
    assert!(run(folder.path(), &["serve"], "").stderr.contains("move the store away"));
}

#[test]
fn a_limit_on_the_size_of_files_is_a_full_disk_and_no_end() {
    let application = Application::start();
    let folder = folder(&application);
    // As a service manager starts it: nothing ignores the signal for it.
    let gateway = Process::serve(folder.path());
    let alice = signed_in(gateway.address(), ALICE);
    assert_eq!((metric(folder.path(), "store_writable"), metric(folder.path(), "store_errors_total")), (1, 0));
    limit_files(&gateway, "4096");
    assert_eq!(login(&gateway), 503);
    assert_eq!(alice.get("/").send().status, 200);
    assert_eq!(metric(folder.path(), "store_writable"), 0);
    // What is tried again by itself is counted as well.
    let counted = metric(folder.path(), "store_errors_total");
    assert!(counted > 0);
    eventually("another try", || metric(folder.path(), "store_errors_total") > counted);
    limit_files(&gateway, "unlimited");
    eventually("people sign in again", || login(&gateway) == 303);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn what_a_start_has_left_half_made_is_gone_after_the_next() {
    let application = Application::start();
    let folder = folder(&application);
    let at = |name: &str| folder.path().join(name);
    for name in ["sessions.new-1", "sessions.new-4194304", "sessions.new-x", "sessions.new-", "other.new-1"] {
        fs::write(at(name), "half").expect("written");
    }
    // No start that is killed: it ends with words, and leaves nothing.
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 8; exec \"$0\" serve"]).arg(vestibule(folder.path(), &[]).get_program());
    let ended = Process::start(limited.current_dir(folder.path()).stdin(Stdio::null())).wait();
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("the session store"), "{}", ended.stderr);
    let gateway = Process::serve(folder.path());
    assert!(!at("sessions.new-1").exists() && !at("sessions.new-4194304").exists());
    assert!(["sessions.new-x", "sessions.new-", "other.new-1"].iter().all(|name| at(name).exists()), "others' files");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    let left = fs::read_dir(folder.path()).expect("a folder");
    let left = left.filter(|entry| entry.as_ref().expect("an entry").file_name().to_string_lossy().contains(".new-"));
    assert_eq!(left.count(), 3);
}
