//! What `vestibule check` accepts starts: the store, the keys, the logs and the operator's socket are looked at as a start
//! would open them, by the user who would, in the same words, and nothing is changed by it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use super::harness::process::{Ended, Process, run, vestibule};
use super::harness::{ALICE, Application, BOB, Client, users};

/// A folder with a configuration, with more keys of `[server]` and more tables.
fn folder(application: &Application, server: &str, tables: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nworkers = 2\n{server}\n[[server.certificate]]\ncert = \"c.crt\"\nkey = \
         \"c.key\"\ngenerate = true\n[login.local]\nusers = \"users.toml\"\n[[upstream]]\nname = \"app\"\nservers = \
         [\"http://{}\"]\n[[route]]\npath = \"/\"\nupstream = \"app\"\n{tables}\n",
        application.address()
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

/// What a file is, its mode and its user's number, when it was changed, and what is in it.
type About = (u64, [u32; 2], [i64; 2], Vec<u8>);

/// Every file below a folder.
fn everything(folder: &Path) -> BTreeMap<PathBuf, About> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let about = fs::symlink_metadata(&path).expect("there");
        if about.is_dir() {
            all.extend(everything(&path));
        }
        let content = if about.is_file() { fs::read(&path).expect("read") } else { Vec::new() };
        all.insert(path, (about.ino(), [about.mode(), about.uid()], [about.mtime(), about.mtime_nsec()], content));
    }
    all
}

pub(super) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
}

/// The gateway's binary as somebody who is not root, and may do less. Everything else in the folder is for everybody.
pub(super) fn as_nobody(folder: &Path, command: &str) -> Command {
    let plain = vestibule(folder, &[command]);
    if !geteuid().is_root() {
        return plain;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(plain.get_program()).arg(command);
    wrapped.current_dir(folder);
    wrapped
}

pub(super) fn end(mut command: Command) -> Ended {
    Process::start(command.stdin(Stdio::null())).wait()
}

/// What check accepts: it says only that, and changes nothing.
fn accepted_by(folder: &Path, make: &dyn Fn(&str) -> Command) -> String {
    let before = everything(folder);
    let checked = end(make("check"));
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""), "{}", checked.stdout);
    assert!(everything(folder) == before, "something was changed");
    checked.stdout
}

fn accepted(folder: &Path) -> String {
    accepted_by(folder, &|command| vestibule(folder, &[command]))
}

/// What check refuses: it changes nothing, and the start ends with the very same words.
fn refused_by(folder: &Path, what: &str, make: &dyn Fn(&str) -> Command) -> String {
    let before = everything(folder);
    let checked = end(make("check"));
    assert_eq!((checked.code(), checked.stdout.as_str()), (Some(1), ""), "{what}: {}", checked.stderr);
    assert!(everything(folder) == before, "{what}: something was changed");
    let served = end(make("serve"));
    assert_eq!(served.code(), Some(1), "{what}");
    assert!(served.stderr.ends_with(&checked.stderr), "{what}:\n{}\nand the start:\n{}", checked.stderr, served.stderr);
    assert!(!checked.stderr.contains("panicked"), "{what}: {}", checked.stderr);
    checked.stderr
}

fn refused(folder: &Path, what: &str) -> String {
    refused_by(folder, what, &|command| vestibule(folder, &[command]))
}

/// A gateway that has been there, and has somebody's session in its store.
fn used(folder: &Path, signal: &str) -> Client {
    let gateway = Process::serve(folder);
    let client = Client::new(gateway.address());
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    gateway.stop(signal);
    client
}

#[test]
fn a_store_that_is_not_there_yet_is_made_by_the_start_alone() {
    let application = Application::start();
    let folder = folder(&application, "", "");
    assert_eq!(accepted(folder.path()), "gateway.toml: good: 1 route to 1 upstream\n");
    assert!(!folder.path().join("sessions.redb").exists() && !folder.path().join("sessions.keys").exists());
    Process::serve(folder.path()).stop("TERM");
    assert_eq!(accepted(folder.path()), "gateway.toml: good: 1 route to 1 upstream\n");
}

#[test]
fn where_no_store_can_be_made_is_told() {
    let application = Application::start();
    for path in ["nowhere/sessions.redb", "users.toml/sessions.redb", "link.redb"] {
        for keys in ["", "[keys]\nsecrets = [\"file:keys\"]"] {
            let folder = folder(&application, "", &format!("[session.store]\npath = \"{path}\"\n{keys}"));
            std::os::unix::fs::symlink("nowhere", folder.path().join("link.redb")).expect("a link");
            run(folder.path(), &["keygen", "--into", "keys"], "");
            let said = refused(folder.path(), path);
            assert!(said.contains(&format!("the session store {path} cannot be used: ")), "{said}");
            assert!(path != "nowhere/sessions.redb" || said.contains("there is no such folder; make it"), "{said}");
            assert!(path != "users.toml/sessions.redb" || said.contains("what should be its folder is none"), "{said}");
        }
    }
    let folder = folder(&application, "", "[session.store]\npath = \"store\"\n[keys]\nsecrets = [\"file:keys\"]");
    fs::create_dir(folder.path().join("store")).expect("a folder");
    run(folder.path(), &["keygen", "--into", "keys"], "");
    assert!(refused(folder.path(), "a folder in its place").contains("Is a directory"));
}

/// Who may write where is nothing to root.
#[test]
fn what_this_user_may_not_write_is_told() {
    let application = Application::start();
    let with_store = |path: &str| {
        let tables = format!("[session.store]\npath = \"{path}\"\n[admin]\nlisten = \"unix:FOLDER/run/admin.sock\"");
        let folder = folder(&application, "", &tables);
        let config = folder.path().join("gateway.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(&config, text.replace("FOLDER", &folder.path().display().to_string())).expect("written");
        for name in ["store", "run"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            mode(&folder.path().join(name), 0o777);
        }
        mode(folder.path(), 0o777);
        folder
    };
    let told = |prepare: &dyn Fn(&Path)| {
        let folder = with_store("store/sessions.redb");
        prepare(folder.path());
        let said = refused_by(folder.path(), "as nobody", &|command| as_nobody(folder.path(), command));
        ["store", "run", "."].iter().for_each(|name| mode(&folder.path().join(name), 0o755));
        said
    };
    let said = told(&|folder| mode(&folder.join("store"), 0o555));
    assert!(said.contains("the session store store/sessions.redb cannot be used: this user may not"), "{said}");
    let said = told(&|folder| mode(&folder.join("run"), 0o555));
    assert!(said.contains("cannot open the admin socket") && said.contains("this user may not write there"), "{said}");
    let said = told(&|folder| mode(folder, 0o555));
    assert!(
        said.contains("this user may not write in the folder") && said.contains("where this is to be made"),
        "{said}"
    );
    assert!(said.contains("2 mistakes in gateway.toml"), "certificate and key: {said}");
    // All that is wrong at once, in the start's order.
    let folder = with_store("store/sessions.redb");
    ["store", "run"].iter().for_each(|name| mode(&folder.path().join(name), 0o555));
    let said = end(as_nobody(folder.path(), "check")).stderr;
    assert!(said.contains("the admin socket") && said.contains("\nthe session store"), "{said}");
    ["store", "run"].iter().for_each(|name| mode(&folder.path().join(name), 0o755));
    let folder = with_store("store/sessions.redb");
    accepted_by(folder.path(), &|command| as_nobody(folder.path(), command));
}

/// The gateway's binary where nothing can be written in `sub`: its file system is read-only.
fn where_it_is_read_only(folder: &Path, sub: &str, command: &str) -> Command {
    let program = vestibule(folder, &[]).get_program().to_owned();
    let line = format!("mount --bind {sub} {sub} && mount -o remount,ro,bind {sub} && exec \"$0\" {command}");
    let mut wrapped = Command::new("unshare");
    wrapped.args(["--map-root-user", "--mount", "sh", "-c", &line]).arg(program).current_dir(folder);
    wrapped
}

#[test]
fn a_file_system_that_is_read_only_is_told() {
    let application = Application::start();
    let tables = "[session.store]\npath = \"sub/sessions.redb\"";
    let folder = folder(&application, "", tables);
    fs::create_dir(folder.path().join("sub")).expect("a folder");
    let tried = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).status().expect("util-linux");
    if !tried.success() {
        return assert!(!geteuid().is_root(), "root may have mounts of its own, unless it is a container's");
    }
    let told = |what| refused_by(folder.path(), what, &|command| where_it_is_read_only(folder.path(), "sub", command));
    let said = told("none yet");
    assert!(said.contains("sub/sessions.redb cannot be used: its file system is read-only"), "{said}");
    used(folder.path(), "TERM");
    let said = told("one that is there");
    assert!(said.contains("sub/sessions.redb cannot be used: its file system is read-only"), "{said}");
    assert!(accepted(folder.path()).contains("good"));
    for (log, said) in [("access = \"sub/new.log\"", "nothing can be made in"), ("audit = \"sub/old.log\"", "written")]
    {
        let config = folder.path().join("gateway.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(folder.path().join("sub/old.log"), "").expect("written");
        fs::write(&config, format!("{text}\n[log]\n{log}\n")).expect("written");
        let told = told(log);
        assert!(told.contains(said) && told.contains("Read-only file system"), "{log}: {told}");
        fs::write(&config, text).expect("written");
    }
}

#[test]
fn a_store_that_is_no_good_is_told_and_stays_as_it_is() {
    let application = Application::start();
    let folder = folder(&application, "", "");
    used(folder.path(), "TERM");
    let (store, keys) = (folder.path().join("sessions.redb"), folder.path().join("sessions.keys"));
    let good = (fs::read(&store).expect("the store"), fs::read(&keys).expect("the keys"));
    for (what, bytes, said) in [
        ("an empty file", Vec::new(), "it is empty"),
        ("a foreign file", b"<html>".repeat(1000), "it is no session store of vestibule's"),
        ("half a file", good.0[..good.0.len() / 2].to_vec(), "cannot be used as the session store"),
        ("a torn head", [&[0; 64], &good.0[64..]].concat(), "cannot be used as the session store"),
    ] {
        fs::write(&store, &bytes).expect("written");
        let told = refused(folder.path(), what);
        assert!(told.contains(said) && told.contains("everybody signs in again"), "{what}: {told}");
        assert!(fs::read(&store).expect("the store") == bytes, "{what} was changed");
    }
    fs::write(&store, &good.0).expect("written");
    accepted(folder.path());
    fs::remove_file(&keys).expect("removed");
    assert!(refused(folder.path(), "no keys").contains("its keys ./sessions.keys are not"));
    let other = run(folder.path(), &["keygen"], "").stdout;
    fs::write(&keys, &other).expect("written");
    mode(&keys, 0o640);
    assert!(refused(folder.path(), "keys that others may read").contains("chmod 600 ./sessions.keys"));
    mode(&keys, 0o600);
    assert!(refused(folder.path(), "other keys").contains("has sessions that its keys do not open"));
    fs::write(&keys, "no key\n").expect("written");
    assert!(refused(folder.path(), "no keys in it").contains("line 1 is no key"));
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(folder.path().join("configured"), &other).expect("written");
    mode(&folder.path().join("configured"), 0o600);
    fs::write(&config, format!("{text}\n[keys]\nsecrets = [\"file:configured\"]\n")).expect("written");
    assert!(refused(folder.path(), "other keys that are configured").contains("its keys do not open"));
    fs::write(folder.path().join("configured"), [other.as_bytes(), &good.1].concat()).expect("written");
    assert_eq!(accepted(folder.path()), "gateway.toml: good: 1 route to 1 upstream\n");
}

#[test]
fn a_store_that_a_killed_gateway_left_behind_is_good_and_is_not_mended() {
    let application = Application::start();
    let folder = folder(&application, "", "");
    for _ in 0..3 {
        let alice = used(folder.path(), "KILL");
        assert_eq!(accepted(folder.path()), "gateway.toml: good: 1 route to 1 upstream\n");
        let next = Process::serve(folder.path());
        let client = Client::new(next.address());
        client.set_session(&alice.session());
        assert_eq!(client.get("/").send().status, 200);
    }
}

#[test]
fn beside_a_running_gateway_check_is_no_mistake_and_disturbs_nobody() {
    let application = Application::start();
    let folder = folder(&application, "", "");
    let config = folder.path().join("gateway.toml");
    let socket = folder.path().join("admin.sock");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, format!("{text}[admin]\nlisten = \"unix:{}\"\n", socket.display())).expect("written");
    let gateway = Process::serve(folder.path());
    let alice = Client::new(gateway.address());
    assert_eq!(alice.sign_in(ALICE, "/").status, 303);
    let expected = "gateway.toml: good: 1 route to 1 upstream\nthe session store ./sessions.redb is in use by another \
                    process, as it is while a gateway runs: what is in it was not looked at\n";
    for _ in 0..5 {
        assert_eq!(accepted(folder.path()), expected);
        assert_eq!(alice.get("/").send().status, 200);
    }
    // The keys are looked at all the same: a reload would read them.
    let keys = folder.path().join("sessions.keys");
    mode(&keys, 0o644);
    let checked = run(folder.path(), &["check"], "");
    assert!(checked.code() == Some(1) && checked.stderr.contains("chmod 600"), "{}", checked.stderr);
    mode(&keys, 0o600);
    assert!(run(folder.path(), &["reload"], "").stdout.contains("in force"));
    assert_eq!(Client::new(gateway.address()).sign_in(BOB, "/").status, 303, "it can still write");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    assert_eq!(accepted(folder.path()), "gateway.toml: good: 1 route to 1 upstream\n");
}

#[test]
fn a_check_while_gateways_come_and_go_finds_nothing_wrong() {
    let application = Application::start();
    let folder = folder(&application, "", "");
    used(folder.path(), "KILL");
    let (is_over, checks) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let checked = run(folder.path(), &["check"], "");
                    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for signal in ["TERM", "KILL", "KILL", "TERM", "KILL", "TERM"] {
            used(folder.path(), signal);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(checks.into_inner() > 6);
}

#[test]
fn root_looks_as_the_user_that_the_gateway_will_be() {
    let application = Application::start();
    let tables = "[admin]\nlisten = \"unix:FOLDER/run/admin.sock\"\n[log]\naccess = \"log/access.log\"\n[session.store]\n\
                  path = \"store/sessions.redb\"";
    let folder = || {
        let folder = folder(&application, "user = \"nobody\"", tables);
        let config = folder.path().join("gateway.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(&config, text.replace("FOLDER", &folder.path().display().to_string())).expect("written");
        for name in ["run", "log", "store", "."] {
            let path = folder.path().join(name);
            fs::create_dir_all(&path).expect("a folder");
            mode(&path, 0o777);
        }
        folder
    };
    if !geteuid().is_root() {
        let folder = folder();
        let said = accepted(folder.path());
        assert!(said.contains("good as far as this user can look") && said.contains("run this as root"), "{said}");
        return;
    }
    let as_other = folder();
    let said = accepted_by(as_other.path(), &|command| {
        let plain = vestibule(as_other.path(), &[command]);
        let mut other = Command::new("setpriv");
        other.args(["--reuid=1", "--regid=1", "--clear-groups"]).arg(plain.get_program()).arg(command);
        other.current_dir(as_other.path());
        other
    });
    assert!(said.starts_with("gateway.toml: good as far as this user can look: 1 route to 1 upstream\n"), "{said}");
    assert!(said.contains("not looked at: what \"nobody\"") && said.contains("run this as root"), "{said}");

    let nobody = User::from_name("nobody").expect("looked up").expect("there");
    let told = |prepare: &dyn Fn(&Path)| {
        let folder = folder();
        prepare(folder.path());
        refused(folder.path(), "as nobody")
    };
    let said = told(&|folder| mode(&folder.join("store"), 0o755));
    assert!(said.contains("the session store store/sessions.redb cannot be used: this user may not"), "{said}");
    let said = told(&|folder| mode(&folder.join("run"), 0o755));
    assert!(said.contains("cannot open the admin socket") && said.contains("this user may not write there"), "{said}");
    let said = told(&|folder| mode(&folder.join("log"), 0o755));
    assert!(said.contains("as the user \"nobody\":") && said.contains("may not write in the folder"), "{said}");
    let said = told(&|folder| mode(&folder.join("users.toml"), 0o600));
    assert!(said.contains("as the user \"nobody\":") && said.contains("users.toml"), "{said}");
    let said = told(&|folder| mode(folder, 0o755));
    assert!(said.contains("as the user \"nobody\":") && said.contains("where this is to be made"), "{said}");

    // What root's own gateway has left behind is root's.
    let folder = folder();
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, text.replace("user = \"nobody\"", "")).expect("written");
    used(folder.path(), "TERM");
    fs::write(&config, &text).expect("written");
    let owned = |name: &str| chown(folder.path().join(name), Some(nobody.uid.as_raw()), None).expect("its owner");
    let said = refused(folder.path(), "root's log");
    assert!(said.contains("log/access.log cannot be written"), "{said}");
    owned("log/access.log");
    let said = refused(folder.path(), "root's certificate");
    assert!(said.contains("as the user \"nobody\":") && said.contains("c.key cannot be read"), "{said}");
    owned("c.key");
    let said = refused(folder.path(), "root's keys");
    assert!(said.contains("the keys in store/sessions.keys cannot be read"), "{said}");
    owned("store/sessions.keys");
    let said = refused(folder.path(), "root's store");
    assert!(said.contains("store/sessions.redb cannot be used: this user may not read and write it"), "{said}");
    owned("store/sessions.redb");
    assert_eq!(accepted(folder.path()), "gateway.toml: good: 1 route to 1 upstream\n");
    let gateway = Process::serve(folder.path());
    assert!(accepted(folder.path()).contains("in use by another process"), "root looks beside it");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn an_address_that_this_machine_does_not_have_is_told() {
    let application = Application::start();
    for (from, to) in [
        ("listen = [\"127.0.0.1:0\"]", "listen = [\"127.0.0.1:0\", \"192.0.2.1:8443\"]"),
        ("workers = 2", "workers = 2\nredirect = [\"192.0.2.1:8443\"]"),
    ] {
        let folder = folder(&application, "", "");
        let config = folder.path().join("gateway.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        fs::write(&config, text.replace(from, to)).expect("written");
        let said = end(vestibule(folder.path(), &["check"])).stderr;
        assert!(said.starts_with("cannot listen on 192.0.2.1:8443: Cannot assign requested address"), "{said}");
        assert!(end(vestibule(folder.path(), &["serve"])).stderr.ends_with(&said), "{said}");
    }
}

#[test]
fn a_port_that_this_user_may_not_have_is_told_and_may_be_given_by_the_start() {
    let application = Application::start();
    let folder = folder(&application, "redirect = [\"127.0.0.1:80\"]", "");
    mode(folder.path(), 0o777);
    let first: u16 = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .expect("Linux has it")
        .trim()
        .parse()
        .expect("a number");
    let said = accepted_by(folder.path(), &|command| as_nobody(folder.path(), command));
    let told = "this user may not listen on port 80: a start needs the capability CAP_NET_BIND_SERVICE";
    assert_eq!(said.contains(told), first > 80, "{said}");
    let served = (first > 80).then(|| end(as_nobody(folder.path(), "serve")).stderr);
    assert!(served.is_none_or(|said| said.contains("need the capability CAP_NET_BIND_SERVICE")));
    if geteuid().is_root() {
        assert!(!accepted(folder.path()).contains("may not listen"), "root may");
    }
}

#[test]
fn another_process_at_the_admin_socket_is_told() {
    let application = Application::start();
    let folder = folder(&application, "", "[admin]\nlisten = \"unix:FOLDER/admin.sock\"");
    let config = folder.path().join("gateway.toml");
    let text = fs::read_to_string(&config).expect("the configuration");
    fs::write(&config, text.replace("FOLDER", &folder.path().display().to_string())).expect("written");
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("admin.sock")).expect("a socket");
    let said = accepted(folder.path());
    assert!(
        said.contains("another process answers at the admin socket") && said.contains("before this can start"),
        "{said}"
    );
    drop(listener);
    assert_eq!(
        accepted(folder.path()),
        "gateway.toml: good: 1 route to 1 upstream\n",
        "what is left of it is replaced"
    );
}

#[test]
fn where_the_kernel_shows_what_it_has_nothing_can_be_made() {
    let application = Application::start();
    let folder = folder(&application, "", "[session.store]\npath = \"/proc/x\"");
    for command in ["check", "serve"] {
        let said = end(vestibule(folder.path(), &[command]));
        assert_eq!(said.code(), Some(1), "{command}: {}", said.stdout);
        assert!(said.stderr.contains("the session store /proc/x cannot be used"), "{command}: {}", said.stderr);
    }
}
