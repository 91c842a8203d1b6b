//! The gateway as a service of its machine: what it tells systemd and is given by it, whose rights it has, how many files
//! it may open.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{User, geteuid, mkfifo};

use super::harness::process::{Process, run, vestibule};
use super::harness::{ALICE, Application, Client, eventually, users};

/// A folder with a configuration that listens on `address`, with more keys of `[server]`.
fn folder(application: &Application, address: &str, server: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        "[server]\nlisten = [\"{address}\"]\nworkers = 2\n{server}\n[[server.certificate]]\ncert = \"certs/c.crt\"\n\
         key = \"certs/c.key\"\ngenerate = true\n[admin]\nlisten = \"unix:{}/admin.sock\"\n[login.local]\n\
         users = \"users.toml\"\n[log]\naccess = \"access.log\"\n[[upstream]]\nname = \"app\"\nservers = [\"http://{}\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"app\"\n[[route]]\npath = \"/public\"\nupstream = \"app\"\n\
         access = \"public\"\n",
        folder.path().display(),
        application.address()
    );
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

fn start(command: &mut Command) -> Process {
    Process::start(command.stdin(Stdio::null()))
}

/// Waits for what the gateway says next, but for what it says again and again.
fn next(heard: &UnixDatagram) -> String {
    let mut bytes = [0; 256];
    loop {
        let length = heard.recv(&mut bytes).expect("a word in time");
        let word = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if word != "WATCHDOG=1" {
            return word;
        }
    }
}

#[test]
fn systemd_is_told_when_it_begins_reads_again_and_ends() {
    let application = Application::start();
    let folder = folder(&application, "127.0.0.1:0", "");
    let path = folder.path().join("notify.sock");
    let name = format!("vestibule-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).expect("a name");
    for (heard, place) in [
        (UnixDatagram::bind(&path).expect("a socket"), path.display().to_string()),
        (UnixDatagram::bind_addr(&address).expect("a socket"), format!("@{name}")),
    ] {
        heard.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        let gateway = start(vestibule(folder.path(), &["serve"]).env("NOTIFY_SOCKET", place));
        assert_eq!(next(&heard), "READY=1");
        gateway.stderr.wait_for(&["listening on"]);
        assert_eq!(Client::new(gateway.address()).get("/public").send().status, 200, "it is ready");
        gateway.signal("HUP");
        assert_eq!((next(&heard), next(&heard)), ("RELOADING=1".to_owned(), "READY=1".to_owned()));
        gateway.signal("TERM");
        assert_eq!(next(&heard), "STOPPING=1");
        assert_eq!(gateway.wait().code(), Some(0));
    }
}

/// Whoever rotates logs may do so at any moment.
#[test]
fn a_hangup_while_it_starts_does_not_end_it() {
    let application = Application::start();
    let folder = folder(&application, "127.0.0.1:0", "");
    let (config, whole) = (folder.path().join("gateway.toml"), folder.path().join("whole.toml"));
    fs::rename(&config, &whole).expect("renamed");
    mkfifo(&config, Mode::S_IRWXU).expect("a pipe");
    let gateway = start(&mut vestibule(folder.path(), &["serve"]));
    // Opened when the gateway has opened it too. Then it reads, and comes no further.
    let mut pipe = fs::OpenOptions::new().write(true).open(&config).expect("it is read");
    gateway.signal("HUP");
    let text = fs::read(&whole).expect("the configuration");
    fs::rename(&whole, &config).expect("renamed");
    pipe.write_all(&text).expect("it still reads");
    drop(pipe);
    gateway.stderr.wait_for(&["listening on"]);
    gateway.stderr.wait_for(&["SIGHUP: log files are opened again"]);
    assert_eq!(Client::new(gateway.address()).get("/public").send().status, 200);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn systemd_hears_that_it_goes_on_if_it_asks() {
    let application = Application::start();
    let folder = folder(&application, "127.0.0.1:0", "");
    let path = folder.path().join("notify.sock");
    let heard = UnixDatagram::bind(&path).expect("a socket");
    heard.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    let mut command = vestibule(folder.path(), &["serve"]);
    let gateway = start(command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000"));
    let mut bytes = [0; 64];
    let mut hear = || {
        let length = heard.recv(&mut bytes).expect("a word in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(hear(), "READY=1");
    assert_eq!([hear(), hear(), hear()], ["WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    // What is meant for another process is not for this one.
    let mut command = vestibule(folder.path(), &["serve"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    let _ = fs::remove_file(&path);
    let heard = UnixDatagram::bind(&path).expect("a socket");
    let gateway = start(&mut command);
    gateway.stderr.wait_for(&["listening on"]);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(0));
    heard.set_nonblocking(true).expect("set");
    let mut all = Vec::new();
    while let Ok(length) = heard.recv(&mut bytes) {
        all.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    assert_eq!(all, ["READY=1", "STOPPING=1"]);
}

#[test]
fn a_place_that_nobody_listens_at_is_no_reason_to_stand_still() {
    let application = Application::start();
    let folder = folder(&application, "127.0.0.1:0", "");
    for place in ["/nowhere/notify.sock", "not a place", "@"] {
        let gateway = start(vestibule(folder.path(), &["serve"]).env("NOTIFY_SOCKET", place));
        gateway.stderr.wait_for(&["listening on"]);
        assert_eq!(gateway.stop("TERM").code(), Some(0), "{place}");
    }
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address")
}

/// The gateway as systemd starts it when somebody comes to one of these addresses.
fn activated(folder: &Path, addresses: &[SocketAddr]) -> Process {
    let serve = vestibule(folder, &["serve"]);
    let mut command = Command::new("systemd-socket-activate");
    for address in addresses {
        command.arg("--listen").arg(address.to_string());
    }
    command.arg(serve.get_program()).args(serve.get_args()).current_dir(folder);
    let process = start(&mut command);
    process.stderr.wait_for(&["Listening on"]);
    process
}

#[test]
fn systemd_holds_the_port_open_for_it() {
    let application = Application::start();
    let address = free();
    let folder = folder(&application, &address.to_string(), "");
    let gateway = activated(folder.path(), &[address]);
    // Nothing is there but the socket until somebody comes; who comes then is answered.
    assert!(!gateway.stderr.text().contains("listening on https"), "{}", gateway.stderr.text());
    let alice = Client::new(address);
    assert_eq!(alice.sign_in(ALICE, "/").status, 303);
    for _ in 0..10 {
        assert_eq!(alice.get("/").send().status, 200);
    }
    assert_eq!(gateway.address(), address);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_socket_that_nothing_is_configured_for_is_a_mistake() {
    let application = Application::start();
    let (address, other) = (free(), free());
    let folder = folder(&application, &address.to_string(), "");
    let gateway = activated(folder.path(), &[address, other]);
    let _ = std::net::TcpStream::connect(address).and_then(|mut stream| stream.read(&mut [0]));
    let ended = gateway.wait();
    assert_eq!(ended.code(), Some(1));
    let said = format!("a socket on {other} was passed to the gateway, and the configuration does not listen there");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
}

/// The lines of /proc/…/status of every thread of a process, by their name.
fn of_threads(process: &Process, name: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.id())).expect("threads");
    let of_one = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the line");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    tasks.map(|task| of_one(task.expect("a thread"))).collect()
}

/// A port that only root may open, unless somebody has it.
fn privileged() -> SocketAddr {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = (700..1024).rev().find(is_free).expect("a free port below 1024");
    ([127, 0, 0, 1], port).into()
}

#[test]
fn root_is_nobody_once_the_ports_are_open() {
    let application = Application::start();
    let nobody = User::from_name("nobody").expect("looked up").expect("there");
    if !geteuid().is_root() {
        let folder = folder(&application, "127.0.0.1:0", "user = \"nobody\"");
        let refused = run(folder.path(), &["serve"], "");
        assert!(refused.stderr.contains("only root can become \"nobody\""), "{}", refused.stderr);
        return;
    }
    let address = privileged();
    let folder = folder(&application, &address.to_string(), "user = \"nobody\"");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("set");
    let gateway = start(&mut vestibule(folder.path(), &["serve"]));
    gateway.stderr.wait_for(&["listening on"]);
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    let threads = of_threads(&gateway, "Uid:");
    assert!(threads.len() > 3 && threads.iter().all(|ids| *ids == format!("{uid} {uid} {uid} {uid}")), "{threads:?}");
    assert!(of_threads(&gateway, "Gid:").iter().all(|ids| *ids == format!("{gid} {gid} {gid} {gid}")));
    assert!(of_threads(&gateway, "Groups:").iter().all(|groups| *groups == gid.to_string()));
    for rights in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:"] {
        let of_threads = of_threads(&gateway, rights);
        assert!(of_threads.iter().all(|rights| rights.chars().all(|digit| digit == '0')), "{rights} {of_threads:?}");
    }
    assert!(of_threads(&gateway, "NoNewPrivs:").iter().all(|barred| barred == "1"), "no program gives it any");
    // What it made is its own to use: the certificate, the log, the socket.
    for name in ["certs/c.key", "access.log", "admin.sock"] {
        assert_eq!(fs::metadata(folder.path().join(name)).expect("a file").uid(), uid, "{name}");
    }
    let client = Client::new(address);
    assert_eq!(client.sign_in(ALICE, "/").status, 303);
    fs::rename(folder.path().join("access.log"), folder.path().join("access.log.1")).expect("renamed");
    gateway.signal("HUP");
    eventually("a new file", || folder.path().join("access.log").exists());
    assert!(!gateway.stderr.text().contains("running as root"));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
    assert!(!folder.path().join("admin.sock").exists());
}

#[test]
fn what_that_user_may_not_read_or_write_is_said_at_once() {
    let application = Application::start();
    if !geteuid().is_root() {
        return assert!(!geteuid().is_root(), "who is not root cannot become anybody");
    }
    let serve = |prepare: &dyn Fn(&Path)| {
        let folder = folder(&application, "127.0.0.1:0", "user = \"nobody\"");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("set");
        prepare(folder.path());
        let ended = run(folder.path(), &["serve"], "");
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        ended.stderr
    };
    let closed = |name: &'static str| {
        move |folder: &Path| {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).expect("set");
        }
    };
    for name in ["gateway.toml", "users.toml"] {
        let said = serve(&closed(name));
        assert!(said.contains("as the user \"nobody\":") && said.contains("Permission denied"), "{name}: {said}");
    }
    let said = serve(&|folder| {
        fs::write(folder.join("access.log"), "").expect("written");
        closed("access.log")(folder);
    });
    assert!(said.contains("access.log cannot be written"), "{said}");
}

#[test]
fn a_user_that_cannot_be_is_a_mistake() {
    let application = Application::start();
    for (user, said) in [("no-such-user", "useradd --system no-such-user"), ("root", "has all rights")] {
        let folder = folder(&application, "127.0.0.1:0", &format!("user = \"{user}\""));
        let refused = run(folder.path(), &["check"], "");
        assert_eq!(refused.code(), Some(1));
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    let folder = folder(&application, "127.0.0.1:0", "");
    let gateway = start(&mut vestibule(folder.path(), &["serve"]));
    gateway.stderr.wait_for(&["listening on"]);
    assert_eq!(gateway.stderr.text().contains("running as root"), geteuid().is_root());
    assert!(of_threads(&gateway, "NoNewPrivs:").iter().all(|barred| barred == "1"), "whoever it runs as");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

/// The gateway with these limits of open files, soft and hard.
fn limited(folder: &Path, soft: u32, hard: u32) -> Process {
    let serve = vestibule(folder, &["serve"]);
    let line = format!("ulimit -Sn {soft}; ulimit -Hn {hard}; exec \"$0\" serve");
    let mut command = Command::new("sh");
    command.arg("-c").arg(line).arg(serve.get_program()).current_dir(folder);
    let process = start(&mut command);
    process.stderr.wait_for(&["listening on"]);
    process
}

#[test]
fn it_opens_as_many_files_as_it_may_and_says_when_they_are_too_few() {
    let application = Application::start();
    let folder = folder(&application, "127.0.0.1:0", "max_connections = 300");
    let gateway = limited(folder.path(), 256, 1700);
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.id())).expect("its limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("the line");
    assert_eq!(files.split_whitespace().filter(|word| *word == "1700").count(), 2, "{files}");
    let ended = gateway.stop("TERM");
    assert!(!ended.stderr.contains("files may be open"), "{}", ended.stderr);
    let gateway = limited(folder.path(), 256, 1500);
    gateway.stderr.wait_for(&["WARN", "only 1500 files may be open", "LimitNOFILE=1580", "less as max_connections"]);
    gateway
        .stderr
        .wait_for(&["1580 are needed: 300 for connections of clients, 1024 for those to applications, 256 for"]);
    assert_eq!(Client::new(gateway.address()).get("/public").send().status, 200);
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_reload_that_asks_for_more_connections_than_files_says_so() {
    let application = Application::start();
    let folder = folder(&application, "127.0.0.1:0", "max_connections = 300");
    let config = folder.path().join("gateway.toml");
    let gateway = limited(folder.path(), 256, 1700);
    let text = fs::read_to_string(&config).expect("the configuration");
    let ask_for = |connections: u32| {
        let line = format!("max_connections = {connections}");
        fs::write(&config, text.replace("max_connections = 300", &line)).expect("written");
        let ended = run(folder.path(), &["reload"], "");
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
        assert!(ended.stdout.contains("in force"), "{}", ended.stdout);
        ended.stdout
    };
    let said = ask_for(1_000);
    for words in ["only 1700 files may be open", "LimitNOFILE=2280", "1000 for connections of clients"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    gateway.stderr.wait_for(&["WARN", "only 1700 files may be open"]);
    // It is told once, and not for what was there before or is less.
    assert!(!ask_for(1_000).contains("files may be open") && !ask_for(900).contains("files may be open"));
    // What may be had is had, whatever has become of it since the start.
    let lowered = Command::new("prlimit").args(["--pid", &gateway.id().to_string(), "--nofile=256:1700"]).status();
    assert!(lowered.expect("prlimit, of util-linux").success());
    assert!(ask_for(1_100).contains("only 1700 files may be open"));
    let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.id())).expect("its limits");
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("the line");
    assert_eq!(files.split_whitespace().filter(|word| *word == "1700").count(), 2, "{files}");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}
