//! What outlives the process: restarts, `kill -9` at any moment, and a disk that fills up. The client keeps a log of what
//! it was promised, and holds the next gateway to it.

use std::fs;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use super::harness::process::{Process, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, Dice, patiently, users};

/// How often a gateway is killed under load; `KILLS` says another number.
const KILLS: usize = 20;

/// How often it is killed in this run.
pub(super) fn kills() -> usize {
    std::env::var("KILLS").map_or(KILLS, |kills| kills.parse().expect("a number"))
}

/// A folder with a configuration whose sessions are kept where they are by default.
pub(super) fn folder(application: &Application) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \"c.key\"\n\
         generate = true\n[limits]\nper_session = \"off\"\nper_address = \"off\"\nlogin = \"off\"\n[login.local]\nusers = \
         \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = [\"http://{}\"]\n[[route]]\npath = \"/\"\nupstream = \
         \"app\"\n",
        application.address()
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

fn signed_in(address: SocketAddr, who: (&str, &str)) -> Client {
    let client = Client::new(address);
    assert_eq!(client.sign_in(who, "/").status, 303);
    client
}

/// What a session's cookie is good for at a gateway: the status, and why not.
fn tried(address: SocketAddr, session: &str) -> (u16, String) {
    let client = Client::new(address);
    client.set_session(session);
    let answer = client.get("/").send();
    let why = if answer.status == 401 {
        answer.json()["reason"].as_str().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    (answer.status, why)
}

#[test]
fn a_restart_signs_nobody_out_and_brings_nobody_back() {
    let application = Application::start();
    let folder = folder(&application);
    let gateway = Process::serve(folder.path());
    let (alice, bob) = (signed_in(gateway.address(), ALICE), signed_in(gateway.address(), BOB));
    assert!(bob.post_form("/.vestibule/logout", &[]).send().status < 400);
    let (alice, bob) = (alice.session(), bob.session());
    let mut gateway = gateway;
    for signal in ["TERM", "KILL", "KILL", "TERM"] {
        gateway.stop(signal);
        gateway = Process::serve(folder.path());
        let address = gateway.address();
        assert_eq!(tried(address, &alice).0, 200, "after {signal}");
        assert_eq!(tried(address, &bob).0, 401, "after {signal}");
    }
    // The first start made what the later ones found, and nobody else may read it.
    for name in ["sessions.redb", "sessions.keys"] {
        let about = fs::metadata(folder.path().join(name)).expect("it is there");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_new_key_is_taken_up_and_the_former_one_can_go() {
    let application = Application::start();
    let folder = folder(&application);
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, format!("{text}[admin]\nlisten = \"unix:{}\"\n", folder.path().join("a.sock").display()))
        .expect("written");
    let gateway = Process::serve(folder.path());
    let alice = signed_in(gateway.address(), ALICE);
    let keys = folder.path().join("sessions.keys");
    let said = |arguments: &[&str]| {
        let ended = run(folder.path(), arguments, "");
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        ended.stdout
    };
    assert!(said(&["keygen", "--into", "sessions.keys"]).contains("a new key stands in front of 1 other"));
    assert!(said(&["reload"]).contains("in force (version"));
    assert_eq!(said(&["sessions", "reseal"]), "1 session sealed anew\n");
    assert_eq!(tried(gateway.address(), &alice.session()).0, 200, "what the former key sealed opens");
    let bob = signed_in(gateway.address(), BOB).session();
    gateway.stop("TERM");
    // Without the former key: the store opens, and so do the cookies that were sealed since.
    let text = fs::read_to_string(&keys).expect("the keys");
    let newest: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).take(1).collect();
    fs::write(&keys, newest.concat()).expect("written");
    let next = Process::serve(folder.path());
    assert_eq!(tried(next.address(), &bob).0, 200);
    assert_eq!(tried(next.address(), &alice.session()), (401, "invalid_cookie".to_owned()));
}

/// What one gateway promised: the cookies of people it signed in, and whether it signed them out again.
#[derive(Default)]
struct Promised {
    signed_in: Mutex<Vec<String>>,
    signed_out: Mutex<Vec<String>>,
    count: AtomicUsize,
}

impl Promised {
    /// Signs people in and out until the gateway is gone, and keeps what was promised.
    fn ask(&self, address: SocketAddr, mut dice: Dice) {
        // A request that finds nobody there, or is cut off, was promised nothing.
        while let Ok(Some(client)) = catch_unwind(AssertUnwindSafe(|| {
            let client = Client::new(address);
            (client.sign_in(if dice.below(2) == 0 { ALICE } else { BOB }, "/").status == 303).then_some(client)
        })) {
            let session = client.session();
            let leaves = dice.below(2) == 0;
            if !leaves {
                self.signed_in.lock().expect("no panic").push(session);
                self.count.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            // What becomes of one whose signing out was not answered, nobody knows.
            let asked = catch_unwind(AssertUnwindSafe(|| client.post_form("/.vestibule/logout", &[]).send().status));
            match asked {
                Ok(..400) => {
                    self.signed_out.lock().expect("no panic").push(session);
                    self.count.fetch_add(1, Ordering::SeqCst);
                }
                Ok(status) => panic!("signing out was answered {status}"),
                Err(_) => return,
            }
        }
    }

    /// Holds a gateway to it.
    fn hold(&self, address: SocketAddr, what: &str) {
        for session in self.signed_in.lock().expect("no panic").iter() {
            assert_eq!(tried(address, session), (200, String::new()), "{what}: a session was lost");
        }
        for session in self.signed_out.lock().expect("no panic").iter() {
            assert_eq!(tried(address, session).0, 401, "{what}: one that had ended came back");
        }
    }
}

#[test]
fn killed_at_any_moment_it_has_kept_what_it_promised() {
    let application = Application::start();
    let folder = folder(&application);
    let all = Promised::default();
    let mut dice = Dice(20_261_129);
    for kill in 0..kills() {
        let gateway = Process::serve(folder.path());
        let address = gateway.address();
        let now = Promised::default();
        let most = 1 + dice.below(8);
        std::thread::scope(|scope| {
            for at in 0..4 {
                let now = &now;
                scope.spawn(move || now.ask(address, Dice(kill as u64 * 4 + at)));
            }
            patiently("it has promised something", || now.count.load(Ordering::SeqCst) >= most);
            gateway.stop("KILL");
        });
        let next = Process::serve(folder.path());
        now.hold(next.address(), &format!("kill {kill}"));
        for (of_all, of_now) in [(&all.signed_in, &now.signed_in), (&all.signed_out, &now.signed_out)] {
            of_all.lock().expect("no panic").append(&mut of_now.lock().expect("no panic"));
        }
        next.stop(if kill % 2 == 0 { "KILL" } else { "TERM" });
    }
    let last = Process::serve(folder.path());
    all.hold(last.address(), "in the end");
}

/// Sets how large files of a process may become, as a full disk would.
pub(super) fn limit_files(process: &Process, bytes: &str) {
    let limit = format!("--fsize={bytes}:unlimited");
    let status = Command::new("prlimit").args(["--pid", &process.id().to_string(), &limit]).status();
    assert!(status.expect("prlimit, of util-linux").success());
}

/// A gateway that is told by an error, and not killed, when its files may not grow.
pub(super) fn serve_within_limits(folder: &Path) -> Process {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; exec \"$0\" serve"])
        .arg(vestibule(folder, &[]).get_program())
        .current_dir(folder);
    let process = Process::start(&mut command);
    process.stderr.wait_for(&["sessions are kept in"]);
    process
}

#[test]
fn a_disk_that_fills_up_loses_nobody() {
    let application = Application::start();
    let folder = folder(&application);
    let gateway = serve_within_limits(folder.path());
    let address = gateway.address();
    let (alice, bob) = (signed_in(address, ALICE), signed_in(address, BOB));
    let (before, later) = (signed_in(address, ALICE), signed_in(address, BOB));
    limit_files(&gateway, "4096");
    // Who signs in is told to come back, and gets no session that a restart would lose.
    let refused = Client::new(address);
    let answer = refused.sign_in(ALICE, "/");
    assert_eq!((answer.status, refused.session()), (503, String::new()), "{}", answer.text());
    gateway.stderr.wait_for(&["cannot be written to"]);
    // Live sessions go on, and whoever leaves has left, even if that is not on the disk yet.
    for _ in 0..3 {
        assert_eq!((alice.get("/").send().status, bob.get("/").send().status), (200, 200));
    }
    later.post_form("/.vestibule/logout", &[]).send();
    assert_eq!(tried(address, &later.session()).0, 401);
    limit_files(&gateway, "unlimited");
    // Whoever signs in is written together with all that waited.
    patiently("people can sign in again", || Client::new(address).sign_in(ALICE, "/").status == 303);
    let sessions = [&alice, &bob, &before].map(Client::session);
    let left = later.session();
    gateway.stop("KILL");
    let next = Process::serve(folder.path());
    for session in sessions {
        assert_eq!(tried(next.address(), &session).0, 200);
    }
    assert_eq!(tried(next.address(), &left).0, 401, "what could not be written was written later");
}

#[test]
fn whoever_is_disabled_while_the_disk_is_full_is_out_on_every_device() {
    let application = Application::start();
    let folder = folder(&application);
    let gateway = serve_within_limits(folder.path());
    let address = gateway.address();
    let devices: Vec<Client> = (0..4).map(|_| signed_in(address, BOB)).collect();
    limit_files(&gateway, "4096");
    assert_eq!(Client::new(address).sign_in(ALICE, "/").status, 503);
    assert_eq!(run(folder.path(), &["user", "disable", "bob", "--users", "users.toml"], "").code(), Some(0));
    gateway.stderr.wait_for(&["for 4 sessions of theirs this could not be written down: it holds"]);
    assert!(devices.iter().all(|client| tried(address, &client.session()).0 == 401), "none of them is let in");
    limit_files(&gateway, "unlimited");
    patiently("people can sign in again", || Client::new(address).sign_in(ALICE, "/").status == 303);
    gateway.stop("KILL");
    let next = Process::serve(folder.path());
    for client in devices {
        assert_eq!(tried(next.address(), &client.session()).0, 401);
    }
}

/// While nobody looks, the users file changes: the next start finds out, as a reload would have.
#[test]
fn users_who_changed_while_it_was_stopped_are_treated_as_by_a_reload() {
    let application = Application::start();
    let folder = folder(&application);
    for (signal, other) in [("TERM", "another horse battery"), ("KILL", "a third horse battery")] {
        fs::write(folder.path().join("users.toml"), users()).expect("written");
        let gateway = Process::serve(folder.path());
        let (alice, elsewhere) = (signed_in(gateway.address(), ALICE), signed_in(gateway.address(), ALICE));
        let bob = signed_in(gateway.address(), BOB);
        gateway.stop(signal);
        let set = run(folder.path(), &["user", "passwd", "alice", "--users", "users.toml", "--password-stdin"], other);
        assert_eq!(set.code(), Some(0), "{}", set.stderr);
        let next = Process::serve(folder.path());
        next.stderr.wait_for(&["sessions ended: 2, with other rights: 0"]);
        let address = next.address();
        for hers in [&alice, &elsewhere] {
            assert_eq!(tried(address, &hers.session()), (401, "password_changed".to_owned()));
        }
        assert_eq!(tried(address, &bob.session()).0, 200);
        let hers = signed_in(address, (ALICE.0, other)).session();
        // What ended then stays ended, and what was begun with the new password lasts.
        next.stop(signal);
        let last = Process::serve(folder.path());
        assert_eq!(tried(last.address(), &alice.session()).0, 401);
        assert_eq!(tried(last.address(), &hers).0, 200);
        assert_eq!(tried(last.address(), &bob.session()).0, 200);
        last.stop("TERM");
    }
}

#[test]
fn what_is_wrong_with_the_store_is_said_at_once_and_nothing_is_replaced() {
    let application = Application::start();
    let folder = folder(&application);
    let (store, keys) = (folder.path().join("sessions.redb"), folder.path().join("sessions.keys"));
    let first = Process::serve(folder.path());
    let alice = signed_in(first.address(), ALICE).session();
    let refusal = |what: &str| {
        let ended = run(folder.path(), &["serve"], "");
        assert_eq!(ended.code(), Some(1), "{what}");
        assert!(!ended.stderr.contains("panicked"), "{what}: {}", ended.stderr);
        ended.stderr
    };
    assert!(refusal("a second process").contains("in use by another process"));
    first.stop("TERM");
    let good = (fs::read(&store).expect("the store"), fs::read(&keys).expect("the keys"));
    for (what, bytes, said) in [
        ("an empty file", Vec::new(), "it is empty"),
        ("a foreign file", b"<html>".repeat(1000), "cannot be used as the session store"),
        ("half a file", good.0[..good.0.len() / 2].to_vec(), "cannot be used as the session store"),
    ] {
        fs::write(&store, &bytes).expect("written");
        let said_of_it = refusal(what);
        assert!(said_of_it.contains(said) && said_of_it.contains("everybody signs in again"), "{what}: {said_of_it}");
        assert_eq!(fs::read(&store).expect("the store"), bytes, "{what} was changed");
    }
    fs::write(&store, &good.0).expect("written");
    fs::remove_file(&keys).expect("removed");
    assert!(refusal("no keys").contains("its keys ./sessions.keys are not"));
    assert!(!keys.exists(), "no new keys for an old store");
    let other = run(folder.path(), &["keygen"], "").stdout;
    fs::write(&keys, &other).expect("written");
    assert!(refusal("keys that others may read").contains("chmod 600"));
    Command::new("chmod").arg("600").arg(&keys).status().expect("chmod");
    assert!(refusal("other keys").contains("put back the key"));
    // Both, the other in front: rotation of keys.
    fs::write(&keys, [other.as_bytes(), &good.1].concat()).expect("written");
    let last = Process::serve(folder.path());
    assert_eq!(tried(last.address(), &alice).0, 200);
}
