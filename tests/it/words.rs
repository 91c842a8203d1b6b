//! What is said when somebody wrote, typed or pointed at the wrong thing, and that nothing is lost by it.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::binary::signed_in;
use super::durable::{limit_files, serve_within_limits};
use super::harness::process::{Ended, Process, address_after, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, eventually};

fn folder(upstream: SocketAddr, more: &str) -> TempDir {
    super::binary::folder(upstream, &format!("[limits]\nlogin = \"off\"\n{more}"))
}

fn nobody_there(more: &str) -> TempDir {
    folder(([127, 0, 0, 1], 9).into(), more)
}

fn call(folder: &Path, line: &str) -> Ended {
    run(folder, &line.split(' ').collect::<Vec<_>>(), "")
}

/// What a command says that does not do what it was asked for.
fn refused(folder: &Path, line: &str) -> String {
    let ended = call(folder, line);
    assert_eq!((ended.code(), &*ended.stdout), (Some(1), ""), "{line}: {ended:?}");
    ended.stderr
}

/// Starts a gateway whose files may not grow at all, and waits for its end.
fn serve_where_nothing_can_be_written(folder: &Path) -> Ended {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" serve"])
        .arg(vestibule(folder, &[]).get_program())
        .current_dir(folder)
        .stdin(Stdio::null());
    Process::start(&mut command).wait()
}

#[test]
fn a_first_start_on_a_full_disk_leaves_nothing_that_is_in_the_way_of_the_next() {
    let folder = nobody_there("");
    // The certificate is there, so that the keys are the first that is made.
    assert_eq!(Process::serve(folder.path()).stop("TERM").code(), Some(0));
    for name in ["sessions.keys", "sessions.redb"] {
        fs::remove_file(folder.path().join(name)).expect("it was made");
    }
    let count = || fs::read_dir(folder.path()).expect("a folder").count();
    let before = count();
    let ended = serve_where_nothing_can_be_written(folder.path());
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the keys ./sessions.keys cannot be made"), "{}", ended.stderr);
    assert_eq!(count(), before, "nothing was left");
    assert_eq!(Process::serve(folder.path()).stop("TERM").code(), Some(0));
}

#[test]
fn an_empty_file_of_keys_is_given_one_by_the_command_that_is_named() {
    let folder = nobody_there("");
    let keys = folder.path().join("sessions.keys");
    fs::write(&keys, "").expect("written");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).expect("a mode");
    let said = refused(folder.path(), "check");
    assert!(said.contains("vestibule keygen --into ./sessions.keys"), "{said}");
    let made = call(folder.path(), "keygen --into sessions.keys");
    assert_eq!((made.code(), &*made.stdout), (Some(0), "sessions.keys: made, with one key\n"), "{made:?}");
    assert_eq!(Process::serve(folder.path()).stop("TERM").code(), Some(0));
}

#[test]
fn no_log_is_written_into_a_file_of_the_gateways() {
    let folder = nobody_there("[log]\naccess = \"a.log\"\n");
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    let check = |lines: &str| {
        fs::write(&config, text.replace("access = \"a.log\"", lines)).expect("written");
        call(folder.path(), "check")
    };
    symlink("sessions.redb", folder.path().join("link.log")).expect("a link");
    let own = [
        ("sessions.redb", "the session store"),
        ("./certs/../sessions.redb", "the session store"),
        ("link.log", "the session store"),
        ("sessions.keys", "the keys of the session store"),
        ("users.toml", "a file that the gateway reads"),
        ("gateway.toml", "a file that the gateway reads"),
        ("certs/dev.crt", "a certificate"),
        ("certs/dev.key", "the key of a certificate"),
        ("admin.sock", "the admin socket"),
    ];
    fs::create_dir(folder.path().join("certs")).expect("a folder");
    let look = |when: &str| {
        for (path, what) in own {
            for key in ["access", "audit"] {
                let ended = check(&format!("{key} = \"{path}\""));
                assert_eq!(ended.code(), Some(1), "{when}: {key} = {path}: {ended:?}");
                let is_said =
                    ended.stderr.contains(what) || path == "admin.sock" && ended.stderr.contains("is no file");
                assert!(is_said && ended.stderr.contains("gateway.toml:"), "{when}: {path}: {}", ended.stderr);
                assert!(ended.stderr.contains(&format!("{key} = ")), "the line: {}", ended.stderr);
            }
        }
        for both in ["access = \"a.log\"\naudit = \"a.log\"", "access = \"a.log\"\naudit = \"./a.log\""] {
            let ended = check(both);
            assert_eq!(ended.code(), Some(1), "{when}: {both}: {ended:?}");
            assert!(ended.stderr.contains("the access log is written there"), "{}", ended.stderr);
        }
    };
    look("before the first start");
    assert_eq!(check("access = \"a.log\"").code(), Some(0));
    let gateway = Process::serve(folder.path());
    look("while it runs");
    assert_eq!(check("access = \"a.log\"").code(), Some(0));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    fs::hard_link(folder.path().join("sessions.redb"), folder.path().join("hard.log")).expect("a link");
    let ended = check("access = \"hard.log\"");
    assert_eq!(ended.code(), Some(1), "another name of the store: {ended:?}");
    for fine in ["access = \"/dev/null\"\naudit = \"/dev/null\"", "access = \"off\"", "audit = \"b.log\""] {
        let ended = check(fine);
        assert_eq!(ended.code(), Some(0), "{fine}: {ended:?}");
    }
}

#[test]
fn a_key_that_is_gone_after_a_reload_is_told_and_what_is_stored_stays() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let keys = folder.path().join("sessions.keys");
    let gateway = Process::serve(folder.path());
    let alice = signed_in(gateway.address(), ALICE);
    let old = fs::read_to_string(&keys).expect("keys");
    let new = call(folder.path(), "keygen").stdout;
    // In place, as the shell's > does it.
    fs::write(&keys, &new).expect("written");
    let reloaded = call(folder.path(), "reload");
    let said = "the key that sealed until now is not among the keys any more";
    gateway.stderr.wait_for(&["WARN", said, "put it back behind the new one"]);
    assert_eq!(reloaded.code(), Some(0), "{reloaded:?}");
    assert_eq!(alice.get("/").send().status, 401, "her cookie is none");
    // Whoever asked is told, unless the file had been seen to change before; asking once more says nothing new.
    assert_eq!(gateway.stderr.text().matches(said).count(), 1);
    // It is put back, and she is there again: her session was kept, under the new key.
    fs::write(&keys, format!("{new}{old}")).expect("written");
    assert_eq!(call(folder.path(), "reload").code(), Some(0));
    eventually("she is there again", || alice.get("/").send().status == 200);
    // A new key in front of the others is what should be done, and nothing is said of it.
    assert_eq!(call(folder.path(), "keygen --into sessions.keys").code(), Some(0));
    assert_eq!(call(folder.path(), "reload").code(), Some(0));
    assert_eq!(gateway.stderr.text().matches(said).count(), 1);
    assert_eq!(alice.get("/").send().status, 200);
    // And of one that is gone for good the sessions on the disk are not: they were sealed anew.
    fs::write(&keys, &new).expect("written");
    assert_eq!(call(folder.path(), "reload").code(), Some(0));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    let gateway = Process::serve(folder.path());
    let listed = call(folder.path(), "sessions list --user alice");
    assert!(listed.stdout.contains("alice"), "{listed:?}");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_stop_on_a_full_disk_says_what_is_not_on_it() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = serve_within_limits(folder.path());
    let [_alice, bob, _other] = [ALICE, BOB, BOB].map(|who| signed_in(gateway.address(), who));
    limit_files(&gateway, "4096");
    assert_eq!(Client::new(gateway.address()).sign_in(ALICE, "/").status, 503);
    let first = call(folder.path(), "sessions end --user alice");
    assert_eq!((first.code(), &*first.stdout), (Some(3), "Ended 1 session.\n"), "{first:?}");
    // Asked again, by name and by handle.
    let again = call(folder.path(), "sessions end --user alice");
    assert_eq!((again.code(), &again.stderr), (Some(3), &first.stderr), "{again:?}");
    let listed = call(folder.path(), "sessions list --user bob --json");
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let handle = listed[0]["handle"].as_str().expect("a handle");
    let first = call(folder.path(), &format!("sessions end {handle}"));
    let again = call(folder.path(), &format!("sessions end {handle}"));
    assert_eq!((first.code(), first.stdout.as_str()), (Some(3), "Ended 1 session.\n"), "{first:?}");
    assert_eq!((again.code(), &again.stderr), (Some(3), &first.stderr), "{again:?}");
    assert!(again.stdout.contains("ended before"), "{again:?}");
    drop(bob);
    let ended = gateway.stop("TERM");
    let line = ended.stderr.lines().find(|line| line.contains("ERROR") && line.contains("not on the disk"));
    let line = line.unwrap_or_else(|| panic!("no such line:\n{}", ended.stderr));
    assert!(line.contains("ends of sessions among them: 2 ("), "{line}");
    // What is on the disk is not told of.
    let gateway = Process::serve(folder.path());
    let ended = gateway.stop("TERM");
    assert!(!ended.stderr.contains("ERROR"), "{}", ended.stderr);
}

#[test]
fn a_disk_that_takes_nothing_is_not_called_a_check_that_fails() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = serve_within_limits(folder.path());
    let alice = signed_in(gateway.address(), ALICE);
    limit_files(&gateway, "4096");
    let login = Client::new(gateway.address()).sign_in(ALICE, "/");
    let logout = alice.post_form("/.vestibule/logout", &[]).send();
    for (what, answer) in [("login", login), ("logout", logout)] {
        assert_eq!(answer.status, 503, "{what}");
        let text = answer.text();
        assert!(text.contains("cannot be written down right now"), "{what}: {text}");
        assert!(!text.contains("cannot be checked"), "{what}: {text}");
    }
    gateway.stop("KILL");
}

#[test]
fn who_has_the_wrong_token_is_told_that_it_is_the_wrong_one() {
    let folder = nobody_there("");
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    let place = text.lines().find(|line| line.starts_with("listen = \"unix:")).expect("a line");
    fs::write(&config, text.replace(place, "listen = \"127.0.0.1:0\"\ntoken = \"file:token\"")).expect("written");
    for (name, letter) in [("token", "a"), ("wrong", "b")] {
        fs::write(folder.path().join(name), letter.repeat(40)).expect("written");
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let gateway = Process::serve(folder.path());
    let admin = address_after(&gateway.stderr.text(), "listening to the operator on http://");
    let said = refused(folder.path(), &format!("status --admin {admin} --token file:wrong"));
    assert!(said.contains("is not the gateway's") && !said.contains("Bearer"), "{said}");
    assert_eq!(call(folder.path(), &format!("status --admin {admin} --token file:token")).code(), Some(0));
    let said = refused(folder.path(), &format!("status --admin {admin} --token env:NOPE_AND_NEVER"));
    assert!(said.contains("NOPE_AND_NEVER is not set") && !said.contains("where the gateway starts"), "{said}");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn commands_about_sessions_say_what_was_wrong_with_what_they_were_given() {
    let application = Application::start();
    let folder = folder(application.address(), "");
    let gateway = Process::serve(folder.path());
    let _alice = signed_in(gateway.address(), ALICE);
    let nobody = run(folder.path(), &["sessions", "end", "--user", ""], "");
    assert_eq!(nobody.code(), Some(2), "{nobody:?}");
    assert!(!nobody.stderr.contains("/sessions?") && nobody.stderr.contains("empty"), "{nobody:?}");
    let typo = call(folder.path(), "sessions end --user alcie");
    assert_eq!((typo.code(), &*typo.stdout), (Some(0), "Nobody by the name of \"alcie\" has a session.\n"), "{typo:?}");
    let handle = "z".repeat(22);
    let shown = call(folder.path(), &format!("sessions show {handle}"));
    assert_eq!(shown.code(), Some(2), "{shown:?}");
    assert!(!shown.stderr.contains("it has 22 letters") && shown.stderr.contains("no gateway"), "{shown:?}");
    let short = call(folder.path(), "sessions show abc");
    assert!(short.stderr.contains("22 letters"), "{short:?}");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn files_that_are_not_what_they_should_be_are_called_what_they_are() {
    let folder = nobody_there("[session.store]\npath = \"users.toml\"\n");
    let said = refused(folder.path(), "check");
    assert!(said.contains("is no session store of vestibule's") && !said.contains("users.keys"), "{said}");
    let users = refused(folder.path(), "user disable bob --users nofile.toml");
    assert!(users.contains("nofile.toml") && users.contains("cannot be read"), "{users}");
    assert!(!folder.path().join(".nofile.toml.lock").exists(), "nothing is made for it");
    let add = "user add bob --users nofolder/u.toml --password-stdin";
    let ended = run(folder.path(), &add.split(' ').collect::<Vec<_>>(), "a good password\n");
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("there is no folder nofolder") && !ended.stderr.contains("lock"), "{}", ended.stderr);
    assert!(ended.stderr.contains("mkdir -p nofolder"), "{}", ended.stderr);
}

#[test]
fn who_may_not_read_the_users_is_told_what_to_do() {
    let folder = nobody_there("");
    super::beforehand::mode(folder.path(), 0o777);
    super::beforehand::mode(&folder.path().join("users.toml"), 0o000);
    let said = super::beforehand::end(super::beforehand::as_nobody(folder.path(), "check")).stderr;
    assert!(said.contains("users.toml") && said.contains("Permission denied"), "{said}");
    assert!(said.contains("let the user that this runs as read it"), "{said}");
}
