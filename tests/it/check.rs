//! What `vestibule check` finds: everything that would stop `serve`, as far as it can be known without starting, all of
//! it at once, and in words that say what to do.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;

use super::harness::process::{Process, plain, run};
use super::harness::users;

/// A configuration without a mistake, for each test to make some.
const GOOD: &str = r#"[server]
listen = ["127.0.0.1:8443"]
[[server.certificate]]
cert = "a.crt"
key = "a.key"
generate = true
[login.local]
users = "users.toml"
[[upstream]]
name = "app"
servers = ["http://127.0.0.1:3000"]
[[route]]
path = "/"
upstream = "app"
"#;

/// A folder with the tests' users and this configuration.
fn folder(configuration: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    fs::write(folder.path().join("gateway.toml"), configuration).expect("written");
    folder
}

/// What `check` finds wrong in a folder. `serve` finds the same, and neither makes a file.
fn told_in(folder: &Path) -> String {
    let files = || fs::read_dir(folder).expect("a folder").count();
    let before = files();
    let checked = run(folder, &["check"], "");
    assert_eq!((checked.code(), checked.stdout.as_str()), (Some(1), ""), "{}", checked.stderr);
    let served = run(folder, &["serve"], "");
    assert_eq!((served.code(), served.stderr.as_str()), (Some(1), checked.stderr.as_str()));
    assert_eq!(files(), before, "nothing was started");
    checked.stderr
}

/// As [`told_in`], for this configuration beside the tests' users.
fn told(configuration: &str) -> String {
    told_in(folder(configuration).path())
}

#[test]
fn a_bad_entry_of_a_list_is_one_mistake_and_not_an_empty_list_too() {
    let text = GOOD.replace("127.0.0.1:8443", "8443").replace("http://127.0.0.1:3000", "127.0.0.1");
    let expected = r#"gateway.toml:2:11: "8443" is not an address with a port
    2 | listen = ["8443"]
      |           ^^^^^^ write one like "127.0.0.1:8443", "0.0.0.0:443" or "[::]:443"

gateway.toml:11:12: "127.0.0.1" does not begin with http://
   11 | servers = ["127.0.0.1"]
      |            ^^^^^^^^^^^ write a scheme, a host and a port, like "http://127.0.0.1:3000"

2 mistakes in gateway.toml
"#;
    assert_eq!(told(&text), expected);
    let text = GOOD.replace("[\"127.0.0.1:8443\"]", "[]").replace("[\"http://127.0.0.1:3000\"]", "[]");
    let shown = told(&text);
    assert!(shown.contains("there is no address to listen on") && shown.contains("there is no server"), "{shown}");
    assert!(shown.ends_with("\n2 mistakes in gateway.toml\n"), "{shown}");
}

#[test]
fn an_upstream_with_a_mistake_in_it_is_there_for_its_routes() {
    let shown = told(&GOOD.replace("servers =", "server ="));
    assert!(shown.contains("\"servers\" is missing in [[upstream]]"), "{shown}");
    assert!(shown.contains("did you mean \"servers\"?"), "{shown}");
    assert!(!shown.contains("there is no upstream"), "{shown}");
    for (line, said) in [("name = \"app\"\n", "\"name\" is missing"), ("[[upstream]]\n", "[[upstream]] is missing")] {
        let shown = told(&GOOD.replace(line, ""));
        assert!(shown.contains(said) && !shown.contains("there is no upstream"), "{shown}");
    }
    let shown = told(&GOOD.replace("upstream = \"app\"", "upstream = \"ap\""));
    assert!(shown.contains("there is no upstream named \"ap\""), "{shown}");
}

/// The lines that are to be added, as they are shown: with spaces before them, which TOML does not mind.
fn lines_to_add(shown: &str) -> String {
    let added = shown.lines().filter(|line| line.starts_with("        ") && !line.trim().is_empty());
    added.flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn what_is_to_be_added_can_be_pasted() {
    let expected = r#"gateway.toml: "listen" is missing in [server]
      = add at the end of the file:
        [server]
        listen = ["127.0.0.1:8443"]

gateway.toml: there is no certificate, and the gateway only speaks TLS
      = add at the end of the file, for a self-signed one:
        [[server.certificate]]
        cert = "certs/dev.crt"
        key = "certs/dev.key"
        generate = true

gateway.toml: [[upstream]] is missing
      = add at the end of the file:
        [[upstream]]
        name = "app"
        servers = ["http://127.0.0.1:3000"]

gateway.toml: [[route]] is missing
      = add at the end of the file:
        [[route]]
        path = "/"
        upstream = "app"

4 mistakes in gateway.toml
"#;
    let folder = folder("");
    let shown = told_in(folder.path());
    assert_eq!(shown, expected);
    let file = folder.path().join("gateway.toml");
    let mut text = lines_to_add(&shown);
    fs::write(&file, &text).expect("written");
    let expected = r#"gateway.toml:11:16: this route asks for login, and nobody can sign in
   11 |         path = "/"
      |                ^^^ write access = "public" for everybody, or add at the end of the file:
        [login.local]
        users = "users.toml"

1 mistake in gateway.toml
"#;
    let shown = told_in(folder.path());
    assert_eq!(shown, expected);
    text += &lines_to_add(&shown);
    fs::write(&file, &text).expect("written");
    let checked = run(folder.path(), &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    // What is missing belongs to the application's name as it is written, whatever that is.
    text = GOOD.replace("upstream = \"app\"", r#"upstream = "a \"b\" \\ c""#);
    fs::write(&file, &text).expect("written");
    let shown = told_in(folder.path());
    assert!(shown.contains("add at the end of the file:\n        [[upstream]]\n"), "{shown}");
    fs::write(&file, text + &lines_to_add(&shown)).expect("written");
    let checked = run(folder.path(), &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
}

#[test]
fn what_is_to_come_is_told_from_what_is_misspelt() {
    let more = r#"max_auth_age = "5m"
[session.lifetime]
on_idle = "lock"
[session.store]
kind = "disk"
path = "sessions.redb"
[session.remember_me]
idle = "7d"
[[session.level]]
name = "established"
[csrf]
mode = "enforce"
[[tenant]]
name = "acme"
[roles.admin]
idle = "10m"
[roles.staff]
idle = "20m"
[login.oidc]
issuer = "https://login.example.test"
[login.locale]
"#;
    let expected = r#"gateway.toml:1:1: "profile" does not exist in this version yet
    1 | profile = "asvs-l2"
      | ^^^^^^^ remove this line

gateway.toml:16:1: "max_auth_age" does not exist in this version yet
   16 | max_auth_age = "5m"
      | ^^^^^^^^^^^^ remove this line

gateway.toml:18:1: "on_idle" does not exist in this version yet
   18 | on_idle = "lock"
      | ^^^^^^^ remove this line: a session that is idle for too long ends

gateway.toml:20:8: sessions cannot be kept in "disk" yet
   20 | kind = "disk"
      |        ^^^^^^ write kind = "memory", and know that a restart signs everybody out

gateway.toml:21:1: "path" does not exist in this version yet
   21 | path = "sessions.redb"
      | ^^^^ remove this line: sessions are kept in memory

gateway.toml:22:10: [session.remember_me] does not exist in this version yet
   22 | [session.remember_me]
      |          ^^^^^^^^^^^ remove this table: [session.lifetime] holds for everybody

gateway.toml:24:11: [[session.level]] does not exist in this version yet
   24 | [[session.level]]
      |           ^^^^^ remove this table

gateway.toml:26:2: [csrf] does not exist in this version yet
   26 | [csrf]
      |  ^^^^ remove this table: what keeps other sites' forms out is same_site in [session.cookie]

gateway.toml:28:3: [[tenant]] does not exist in this version yet
   28 | [[tenant]]
      |   ^^^^^^ remove this table: each tenant needs a gateway of its own

gateway.toml:30:2: [roles] does not exist in this version yet
   30 | [roles.admin]
      |  ^^^^^ remove every [roles.NAME]: [session.lifetime] holds for everybody

gateway.toml:34:8: [login.oidc] does not exist in this version yet
   34 | [login.oidc]
      |        ^^^^ remove this table: people sign in with a password, by [login.local]

gateway.toml:36:8: there is no table [login.locale]
   36 | [login.locale]
      |        ^^^^^^ did you mean [login.local]?

12 mistakes in gateway.toml
"#;
    assert_eq!(told(&format!("profile = \"asvs-l2\"\n{GOOD}{more}")), expected);
}

#[test]
fn an_address_that_is_needed_twice_is_told_with_the_line_that_takes_it() {
    let listen = r#"[
    "127.0.0.1:8443",
    "127.0.0.1:8443",
    "0.0.0.0:8443",
    "[::1]:8443",
    "[::]:8444",
    "127.0.0.1:8445",
    "[::ffff:127.0.0.1]:8445",
    "127.0.0.1:8444",
    "127.0.0.1:0",
    "127.0.0.1:0",
]"#;
    let text = GOOD.replace("[\"127.0.0.1:8443\"]", listen) + "[admin]\nmetrics = \"127.0.0.1:8444\"\n";
    let expected = r#"gateway.toml:4:5: this address is written twice, first in line 3
    4 |     "127.0.0.1:8443",
      |     ^^^^^^^^^^^^^^^^ keep one of them

gateway.toml:5:5: this takes the port on every address, and line 3 takes it on one of them
    5 |     "0.0.0.0:8443",
      |     ^^^^^^^^^^^^^^ keep one of them, or write another port

gateway.toml:9:5: this address is written twice, first in line 8
    9 |     "[::ffff:127.0.0.1]:8445",
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^ keep one of them

gateway.toml:10:5: line 7 takes this port on every address
   10 |     "127.0.0.1:8444",
      |     ^^^^^^^^^^^^^^^^ keep one of them, or write another port

gateway.toml:27:11: line 7 takes this port on every address
   27 | metrics = "127.0.0.1:8444"
      |           ^^^^^^^^^^^^^^^^ write another port

5 mistakes in gateway.toml
"#;
    assert_eq!(told(&text), expected);
    let text = GOOD.to_owned() + "[admin]\nmetrics = \"127.0.0.1:8443\"\n";
    let expected = r#"gateway.toml:16:11: line 2 takes this address already
   16 | metrics = "127.0.0.1:8443"
      |           ^^^^^^^^^^^^^^^^ write another port

1 mistake in gateway.toml
"#;
    assert_eq!(told(&text), expected);
}

#[test]
fn the_admin_sockets_place_must_be_there() {
    let text = format!("{GOOD}[admin]\nlisten = \"unix:PATH\"\n");
    let folder = folder("");
    let (file, shown) = (folder.path().join("gateway.toml"), folder.path().display().to_string());
    let told = |path: &str| {
        fs::write(&file, text.replace("PATH", path)).expect("written");
        told_in(folder.path())
    };
    let said = |path: &str, message: &str, help: &str| {
        let told = told(path);
        assert!(told.starts_with(&format!("gateway.toml:16:10: {message}\n")), "{told}");
        assert!(told.contains(&format!(" {help}\n")) && told.ends_with("\n1 mistake in gateway.toml\n"), "{told}");
    };
    said(
        &format!("{shown}/run/deep/admin.sock"),
        &format!("there is no folder {shown}/run/deep"),
        &format!("write another path, or make it with: mkdir -p {shown}/run/deep"),
    );
    said(
        &format!("{shown}/gateway.toml/admin.sock"),
        &format!("{shown}/gateway.toml is not a folder"),
        "write another path, like \"unix:/run/vestibule.sock\"",
    );
    said(
        &format!("{shown}/users.toml"),
        &format!("there is another file at {shown}/users.toml"),
        "write another path, or take that file away",
    );
    said("/run/", "\"unix:/run/\" is not a Unix socket", "write its whole path, like \"unix:/run/vestibule.sock\"");
    // What the system takes is 107 bytes, whatever the folder is.
    let longest = format!("{shown}/{}", "x".repeat(106 - shown.len()));
    said(
        &format!("{longest}x"),
        "this path has 108 bytes, and the path of a Unix socket can have 107",
        "write a shorter one, like \"unix:/run/vestibule.sock\"",
    );
    fs::write(&file, text.replace("PATH", &longest).replace(":8443", ":0")).expect("written");
    let checked = run(folder.path(), &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    let gateway = Process::serve(folder.path());
    assert_eq!(plain(UnixStream::connect(&longest).expect("connected"), "GET", "/ping").0, 200);
    // A gateway that runs is none of the mistakes of the next one.
    assert_eq!(run(folder.path(), &["check"], "").code(), Some(0));
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}
