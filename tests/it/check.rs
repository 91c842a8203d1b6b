//! What `vestibule check` finds: everything that would stop `serve`, as far as it can be known without starting, all of
//! it at once, and in words that say what to do.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

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

gateway.toml:11:12: "127.0.0.1" does not begin with http://, https:// or unix:
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
fn the_proxy_protocol_needs_proxies_that_speak_it() {
    let with = |lines: &str| GOOD.replace("[[server.certificate]]", &format!("{lines}\n[[server.certificate]]"));
    let expected = r#"gateway.toml:3:18: only trusted proxies may connect by the PROXY protocol, and there are none, so nobody could
    3 | proxy_protocol = true
      |                  ^^^^ add trusted_proxies = ["10.0.0.7"]: the addresses of your proxies

1 mistake in gateway.toml
"#;
    assert_eq!(told(&with("proxy_protocol = true")), expected);
    let shown = told(&with("proxy_protocol = true\ntrusted_proxies = []"));
    assert!(shown.contains("so nobody could") && shown.contains("\n1 mistake in"), "{shown}");
    let shown = told(&with("proxy_protocol = true\ntrusted_proxies = [\"my-proxy\"]"));
    assert!(shown.contains("\"my-proxy\" is not a network") && shown.contains("\n1 mistake in"), "{shown}");
    for lines in ["proxy_protocol = true\ntrusted_proxies = [\"192.0.2.7\"]", "proxy_protocol = false"] {
        let folder = folder(&with(lines));
        let checked = run(folder.path(), &["check"], "");
        assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""), "{lines}");
    }
}

#[test]
fn trusting_everybody_is_refused_however_it_is_written() {
    let told = |list: &str| {
        told(&GOOD.replace("[[server.certificate]]", &format!("trusted_proxies = {list}\n[[server.certificate]]")))
    };
    for list in [
        r#"["0.0.0.0/0"]"#,
        r#"["::/0"]"#,
        r#"["::ffff:0.0.0.0/96"]"#,
        r#"["0.0.0.0/1", "128.0.0.0/1"]"#,
        r#"["10.0.0.0/8", "8000::/1", "::/1"]"#,
        r#"["0.0.0.0/1", "::ffff:128.0.0.0/97"]"#,
    ] {
        let shown = told(list);
        assert!(shown.contains("every client could claim to be another"), "{list}: {shown}");
        assert!(shown.ends_with("\n1 mistake in gateway.toml\n"), "{list}: {shown}");
    }
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
    // A table that is only there because of another has no header to put the line below.
    text = GOOD.replace("[server]\nlisten = [\"127.0.0.1:8443\"]\n", "");
    fs::write(&file, &text).expect("written");
    let shown = told_in(folder.path());
    assert!(shown.contains("^ add at the end of the file:\n        [server]\n        listen = "), "{shown}");
    fs::write(&file, text + &lines_to_add(&shown)).expect("written");
    let checked = run(folder.path(), &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    // The application's name is as it is written, whatever that is.
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
    let more = r#"idle = "10m"
[session.lifetime]
on_idle = "lock"
[session.store]
kind = "redis"
url = "redis://127.0.0.1"
[session.remember_me]
idle = "7d"
[session.rotation]
every = "off"
[csrf]
mode = "enforce"
[roles.admin]
idle = "10m"
remember_me = false
[login.oidc]
issuer = "https://login.example.test"
[login.locale]
"#;
    let expected = r#"gateway.toml:20:8: sessions cannot be kept in "redis" yet
   20 | kind = "redis"
      |        ^^^^^^^ write kind = "disk", which is one machine's

gateway.toml:21:1: "url" does not exist in this version yet
   21 | url = "redis://127.0.0.1"
      | ^^^ remove this line: sessions are kept in memory and in a file

gateway.toml:31:8: [login.oidc] does not exist in this version yet
   31 | [login.oidc]
      |        ^^^^ remove this table: people sign in with a password, by [login.local]

gateway.toml:33:8: there is no table [login.locale]
   33 | [login.locale]
      |        ^^^^^^ did you mean [login.local]?

4 mistakes in gateway.toml
"#;
    assert_eq!(told(&format!("profile = \"none\"\n{GOOD}{more}")), expected);
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

/// Writes a certificate for `a.test` and its key as `NAME.crt` and `NAME.key`, and gives both as PEM.
fn made(folder: &Path, name: &str) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
    let both = [made.cert.pem(), made.signing_key.serialize_pem()];
    for (text, ending) in both.iter().zip(["crt", "key"]) {
        fs::write(folder.join(format!("{name}.{ending}")), text).expect("written");
    }
    both
}

/// [`GOOD`] with these certificates: the path of each, of its key, and more lines.
fn with_certificates(all: &[(&str, &str, &str)]) -> String {
    let (start, rest) = GOOD.split_once("[[server.certificate]]\n").expect("a certificate");
    let (_, rest) = rest.split_once("generate = true\n").expect("a certificate");
    let one = |(cert, key, more): &(&str, &str, &str)| {
        format!("[[server.certificate]]\ncert = \"{cert}\"\nkey = \"{key}\"\n{more}")
    };
    format!("{start}worker = 2\n{}{rest}", all.iter().map(one).collect::<String>())
}

#[test]
fn every_certificate_and_key_is_loaded() {
    let folder = folder("");
    let path = folder.path();
    let ([a_cert, a_key], [b_cert, _]) = (made(path, "a"), made(path, "b"));
    fs::write(path.join("chain.crt"), b_cert + &a_cert).expect("written");
    fs::write(path.join("both.pem"), a_key.clone() + &a_cert).expect("written");
    fs::write(path.join("cut.crt"), &a_cert[..a_cert.len() / 2]).expect("written");
    fs::write(path.join("cut.key"), &a_key[..a_key.len() / 2]).expect("written");
    fs::write(path.join("locked.key"), a_key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")).expect("written");
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(path.join("noise.crt"), noise).expect("written");
    fs::write(path.join("noise.key"), noise.replace("CERTIFICATE", "PRIVATE KEY")).expect("written");
    fs::create_dir(path.join("folder")).expect("a folder");
    let generate = "generate = true\n";
    let text = with_certificates(&[
        ("none.crt", "none.key", ""),
        ("folder", "users.toml/a.key", ""),
        ("a.crt", "b.key", ""),
        ("a.key", "a.crt", ""),
        ("users.toml", "gateway.toml", ""),
        ("chain.crt", "a.key", ""),
        ("cut.crt", "cut.key", ""),
        ("noise.crt", "a.key", ""),
        ("a.crt", "noise.key", ""),
        ("a.crt", "locked.key", ""),
        ("a.crt", "none.key", generate),
        ("none.crt", "a.key", generate),
        ("none.pem", "none.pem", generate),
        ("none/deep.crt", "a.crt/deep.key", generate),
        ("one.crt", "one.key", generate),
        ("other.crt", "one.key", generate),
        ("both.pem", "both.pem", ""),
        ("a.crt", "a.key", generate),
        ("none/new.crt", "none/new.key", generate),
    ]);
    fs::write(path.join("gateway.toml"), text).expect("written");
    assert_eq!(told_in(path), CERTIFICATES_SHOWN);
    assert!(!path.join("none").exists() && !path.join("one.key").exists(), "a check makes nothing");
    // What can be made is no mistake, and is made by `serve`.
    fs::write(path.join("gateway.toml"), GOOD.replace(":8443", ":0").replace("a.", "new/a.")).expect("written");
    let checked = run(path, &["check"], "");
    assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""));
    assert!(!path.join("new").exists(), "a check makes nothing");
    assert_eq!(Process::serve(path).stop("TERM").code(), Some(0));
    assert!(path.join("new/a.crt").exists() && path.join("new/a.key").exists());
    assert_eq!(run(path, &["check"], "").code(), Some(0));
}

const CERTIFICATES_SHOWN: &str = r#"gateway.toml:3:1: there is no key "worker" in [server]
    3 | worker = 2
      | ^^^^^^ did you mean "workers"?

gateway.toml:5:8: the file none.crt does not exist
    5 | cert = "none.crt"
      |        ^^^^^^^^^^ write the path of a PEM file, or generate = true for a self-signed certificate

gateway.toml:6:7: the file none.key does not exist
    6 | key = "none.key"
      |       ^^^^^^^^^^ write the path of a PEM file

gateway.toml:8:8: folder cannot be read: Is a directory (os error 21)
    8 | cert = "folder"
      |        ^^^^^^^^ write the path of a PEM file, or generate = true for a self-signed certificate

gateway.toml:9:7: users.toml/a.key cannot be read: Not a directory (os error 20)
    9 | key = "users.toml/a.key"
      |       ^^^^^^^^^^^^^^^^^^ write the path of a PEM file

gateway.toml:12:7: the key b.key does not belong to the certificate a.crt
   12 | key = "b.key"
      |       ^^^^^^^ write the key that the certificate was made with

gateway.toml:14:8: a.key holds a private key and no certificate
   14 | cert = "a.key"
      |        ^^^^^^^ write the certificate's path here

gateway.toml:15:7: a.crt holds a certificate and no private key
   15 | key = "a.crt"
      |       ^^^^^^^ write the private key's path here

gateway.toml:17:8: there is no certificate in users.toml
   17 | cert = "users.toml"
      |        ^^^^^^^^^^^^ it must be PEM, with the server's own certificate first

gateway.toml:18:7: there is no private key in gateway.toml
   18 | key = "gateway.toml"
      |       ^^^^^^^^^^^^^^ it must be PEM, without a passphrase

gateway.toml:20:8: the server's own certificate is not the first in chain.crt
   20 | cert = "chain.crt"
      |        ^^^^^^^^^^^ move it to the beginning of that file

gateway.toml:23:8: cut.crt is damaged: a part of it has no end, or is not Base64
   23 | cert = "cut.crt"
      |        ^^^^^^^^^ copy the file here again

gateway.toml:24:7: cut.key is damaged: a part of it has no end, or is not Base64
   24 | key = "cut.key"
      |       ^^^^^^^^^ copy the file here again

gateway.toml:26:8: the first certificate in noise.crt cannot be read
   26 | cert = "noise.crt"
      |        ^^^^^^^^^^^ copy the file here again

gateway.toml:30:7: the private key in noise.key cannot be used
   30 | key = "noise.key"
      |       ^^^^^^^^^^^ use an RSA key of 2048 to 8192 bits, an ECDSA or an Ed25519 key

gateway.toml:33:7: the key in locked.key is locked, and nobody is there to type its passphrase
   33 | key = "locked.key"
      |       ^^^^^^^^^^^^ write a key without one, made by: openssl pkey -in locked.key -out FILE

gateway.toml:36:7: there is no key none.key, but a certificate a.crt
   36 | key = "none.key"
      |       ^^^^^^^^^^ write the path of its key, or have both made anew after: mv a.crt a.crt.old

gateway.toml:39:8: there is no certificate none.crt, but a key a.key
   39 | cert = "none.crt"
      |        ^^^^^^^^^^ write the path of its certificate, or have both made anew after: mv a.key a.key.old

gateway.toml:44:7: a certificate that is made needs another file for its key
   44 | key = "none.pem"
      |       ^^^^^^^^^^ write another path

gateway.toml:48:7: a.crt is not a folder, so nothing can be made in it
   48 | key = "a.crt/deep.key"
      |       ^^^^^^^^^^^^^^^^ write another path

gateway.toml:56:7: this file is made for another certificate
   56 | key = "one.key"
      |       ^^^^^^^^^ write another path

21 mistakes in gateway.toml
"#;

#[test]
fn the_users_file_is_checked_with_the_configuration() {
    let folder = folder(&GOOD.replace("upstream = \"app\"", "upstrem = \"app\""));
    let text =
        "[[user]]\nname = \"alice\"\nrole = [\"admin\"]\npassword = \"secret\"\n[[user]]\nname = \"bob smith\"\n";
    fs::write(folder.path().join("users.toml"), text).expect("written");
    let expected = r#"gateway.toml:12:1: "upstream" is missing in [[route]]
   12 | [[route]]
      | ^^^^^^^^^ add upstream = "app"

gateway.toml:14:1: there is no key "upstrem" in [[route]]
   14 | upstrem = "app"
      | ^^^^^^^ did you mean "upstream"?

users.toml:3:1: there is no key "role" in [[user]]
    3 | role = …
      | ^^^^ did you mean "roles"?

users.toml:4:12: this is not a password hash
    4 | password = …
      |            ^ set the password with: vestibule user passwd alice --users users.toml

users.toml:5:1: "password" is missing in [[user]]
    5 | [[user]]
      | ^^^^^^^^ set the password with: vestibule user passwd NAME --users users.toml

users.toml:6:8: a user's name cannot contain ' ', because it travels in a header
    6 | name = "bob smith"
      |        ^^^^^^^^^^^ write visible ASCII characters other than comma, semicolon and double quote

2 mistakes in gateway.toml
4 mistakes in users.toml
"#;
    assert_eq!(told_in(folder.path()), expected);
    let listed = run(folder.path(), &["user", "list"], "");
    assert_eq!(listed.code(), Some(1));
    assert!(
        expected.contains(&listed.stderr[..listed.stderr.find("\n\n4 mistakes").expect("a count")]),
        "{}",
        listed.stderr
    );
}

#[test]
fn a_users_file_that_is_not_there_is_told_with_how_to_make_it() {
    let folder = folder(&GOOD.replace("users.toml", "my people/users.toml"));
    let expected = r#"gateway.toml:8:9: the users file my people/users.toml does not exist
    8 | users = "my people/users.toml"
      |         ^^^^^^^^^^^^^^^^^^^^^^ make it with: mkdir -p 'my people' && vestibule user add NAME --users 'my people/users.toml' --roles admin

1 mistake in gateway.toml
"#;
    assert_eq!(told_in(folder.path()), expected);
    // What is proposed can be pasted into a shell, and is enough.
    let (_, command) = expected.split_once("make it with: ").expect("a command");
    let command = command.lines().next().expect("a line").replace("NAME", "alice");
    let program = Path::new(env!("CARGO_BIN_EXE_vestibule")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").expect("a path"));
    let line = format!("echo a long password | {{ {command} --password-stdin; }}");
    let done = Process::start(
        Command::new("sh").args(["-c", &line]).current_dir(folder.path()).env("PATH", path).stdin(Stdio::null()),
    )
    .wait();
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert_eq!(run(folder.path(), &["check"], "").code(), Some(0));
    // A folder is no users file.
    fs::remove_file(folder.path().join("my people/users.toml")).expect("removed");
    fs::create_dir_all(folder.path().join("my people/users.toml")).expect("a folder");
    let expected = r#"gateway.toml:8:9: my people/users.toml: the file cannot be read: Is a directory (os error 21)
    8 | users = "my people/users.toml"
      |         ^^^^^^^^^^^^^^^^^^^^^^ write the path of a users file, as "vestibule user add" makes it

1 mistake in gateway.toml
"#;
    assert_eq!(told_in(folder.path()), expected);
}

#[test]
fn a_password_written_by_hand_is_made_good_by_the_command_that_is_named() {
    let folder = folder(GOOD);
    fs::write(folder.path().join("users.toml"), "[[user]]\nname = \"alice\"\npassword = \"secret\"\n")
        .expect("written");
    let shown = told_in(folder.path());
    let (_, command) = shown.split_once("set the password with: vestibule ").expect("a command");
    let command: Vec<&str> = command.lines().next().expect("a line").split(' ').chain(["--password-stdin"]).collect();
    let done = run(folder.path(), &command, "a long password\n");
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    assert_eq!(run(folder.path(), &["check"], "").code(), Some(0));
}

#[test]
fn what_tls_to_servers_needs_is_looked_at() {
    let by_tls = GOOD.replace("http://127.0.0.1:3000", "https://127.0.0.1:3000");
    let with = |keys: &str| by_tls.replace("[[route]]", &format!("{keys}\n[[route]]"));
    let folder = folder(&by_tls);
    for name in ["client", "other"] {
        made(folder.path(), name);
    }
    let expect = |configuration: &str, words: &[&str]| {
        fs::write(folder.path().join("gateway.toml"), configuration).expect("written");
        let shown = told_in(folder.path());
        assert!(words.iter().all(|words| shown.contains(words)), "{words:?} in\n{shown}");
        assert!(shown.ends_with("1 mistake in gateway.toml\n"), "{shown}");
    };
    expect(&by_tls, &["11:11: a server with https:// needs a \"ca\"", "add ca = \"ca.pem\""]);
    expect(&with("ca = \"nowhere.pem\""), &["nowhere.pem: the certificates cannot be read: No such file"]);
    expect(
        &with("ca = \"users.toml\""),
        &["users.toml: there is no certificate in it", "write the path of a PEM file"],
    );
    let ca = "ca = \"client.crt\"\n";
    expect(&with(&format!("{ca}client_cert = \"client.crt\"")), &["there is no \"client_key\" to it"]);
    expect(&with(&format!("{ca}client_key = \"client.key\"")), &["there is no \"client_cert\" to it"]);
    let both = |key: &str| format!("{ca}client_cert = \"client.crt\"\nclient_key = \"{key}\"");
    expect(&with(&both("other.key")), &["14:14:", "it cannot be used with"]);
    expect(&with(&both("users.toml")), &["users.toml: the private key cannot be read: there is none in it"]);
    expect(&with(&format!("{ca}server_name = \"a b\"")), &["\"a b\" is not the name of a host"]);
    expect(&GOOD.replace("[[route]]", &format!("{ca}[[route]]")), &["no server of this upstream is spoken to by TLS"]);
    expect(&GOOD.replace("http://127.0.0.1:3000", "unix:app.sock"), &["write its whole path"]);
    fs::write(folder.path().join("gateway.toml"), with(&both("client.key"))).expect("written");
    assert_eq!(run(folder.path(), &["check"], "").code(), Some(0));
}

#[test]
fn what_one_host_leaves_open_is_told() {
    let with = |routes: &str| GOOD.replace("path = \"/\"\nupstream = \"app\"", routes);
    let route = |keys: &str| format!("[[route]]\nupstream = \"app\"\n{keys}\n");
    let admin = "path = \"/admin\"\nupstream = \"app\"\nroles = [\"admin\"]\n".to_owned();
    let open = |host: &str| route(&format!("host = \"{host}\"\npath = \"/\"\naccess = \"public\""));
    let hole = told(&with(&(admin.clone() + &open("a.test"))));
    let words = [
        "on \"a.test\", \"/admin\" is open to more people than the route of \"*\" allows",
        "add one with host = \"a.test\" and path = \"/admin\"",
        "1 mistake in gateway.toml",
    ];
    assert!(words.iter().all(|words| hole.contains(words)), "{hole}");
    // A role is asked for elsewhere, and any role, or another one, here.
    for less in ["", "roles = [\"staff\"]", "roles = [\"admin\", \"staff\"]", "access = \"optional\""] {
        let narrow = route(&format!("host = \"*.a.test\"\npath = \"/\"\n{less}"));
        assert!(told(&with(&(admin.clone() + &narrow))).contains("\"*.a.test\""), "{less}");
    }
    let good = [
        open("a.test") + &route("host = \"a.test\"\npath = \"/admin\"\naccess = \"public\""),
        open("a.test") + &route("host = \"a.test\"\npath = \"/admin\"\nroles = [\"admin\"]"),
        route("host = \"a.test\"\npath = \"/\"\nroles = [\"admin\"]"),
        route("host = \"a.test\"\npath = \"/administration\"\naccess = \"public\""),
        route("path = \"/\"\naccess = \"public\""),
    ];
    for routes in good {
        let folder = folder(&with(&(admin.clone() + &routes)));
        let checked = run(folder.path(), &["check"], "");
        assert_eq!(checked.code(), Some(0), "{routes}: {}", checked.stderr);
    }
}

#[test]
fn an_address_to_redirect_from_is_one_that_nothing_else_takes() {
    let text = GOOD.replace("[\"127.0.0.1:8443\"]", "[\"127.0.0.1:8443\"]\nredirect = [\"0.0.0.0:8443\", \"80\"]");
    let expected = r#"gateway.toml:3:13: this takes the port on every address, and line 2 takes it on one of them
    3 | redirect = ["0.0.0.0:8443", "80"]
      |             ^^^^^^^^^^^^^^ keep one of them, or write another port

gateway.toml:3:29: "80" is not an address with a port
    3 | redirect = ["0.0.0.0:8443", "80"]
      |                             ^^^^ write one like "127.0.0.1:8443", "0.0.0.0:443" or "[::]:443"

2 mistakes in gateway.toml
"#;
    assert_eq!(told(&text), expected);
    let text = GOOD.replace("[\"127.0.0.1:8443\"]", "[\"127.0.0.1:8443\"]\nredirect = [\"127.0.0.1:8080\"]");
    let shown = told(&format!("{text}[admin]\nmetrics = \"127.0.0.1:8080\"\n"));
    assert!(shown.contains("line 3 takes this address already"), "{shown}");
}

#[test]
fn a_folder_of_acme_challenges_is_there_and_can_be_asked_for() {
    let with = |lines: &str| GOOD.replace("[\"127.0.0.1:8443\"]", &format!("[\"127.0.0.1:8443\"]\n{lines}"));
    let expected = r#"gateway.toml:3:19: challenges are asked for by plain HTTP, and there is no address for it
    3 | acme_challenges = "my acme"
      |                   ^^^^^^^^^ add redirect = ["0.0.0.0:80"]

gateway.toml:3:19: there is no folder my acme
    3 | acme_challenges = "my acme"
      |                   ^^^^^^^^^ write another path, or make it with: mkdir -p 'my acme'

2 mistakes in gateway.toml
"#;
    assert_eq!(told(&with("acme_challenges = \"my acme\"")), expected);
    let shown = told(&with("acme_challenges = \"users.toml\"\nredirect = [\"127.0.0.1:8080\"]"));
    assert!(shown.contains("users.toml is not a folder"), "{shown}");
    let folder = folder(&with("acme_challenges = \"my acme\"\nredirect = [\"127.0.0.1:8080\"]"));
    fs::create_dir(folder.path().join("my acme")).expect("a folder");
    assert_eq!(run(folder.path(), &["check"], "").code(), Some(0));
}

#[test]
fn a_policy_of_strict_transport_security_is_one_that_browsers_take() {
    let with = |lines: &str| GOOD.replace("[\"127.0.0.1:8443\"]", &format!("[\"127.0.0.1:8443\"]\n{lines}"));
    let expected = r#"gateway.toml:3:8: browsers carry no policy with them that lasts for less than a year
    3 | hsts = "364d"
      |        ^^^^^^ write hsts = "365d" or more, or remove hsts_preload

gateway.toml:4:16: browsers carry no policy with them that leaves out the hosts below
    4 | hsts_preload = true
      |                ^^^^ add hsts_subdomains = true, or remove this line

2 mistakes in gateway.toml
"#;
    assert_eq!(told(&with("hsts = \"364d\"\nhsts_preload = true")), expected);
    for (lines, said) in [
        ("hsts_subdomains = true", "this says nothing while hsts is \"off\""),
        ("hsts = \"1500ms\"", "\"1500ms\" is no whole number of seconds"),
        ("hsts = \"on\"", "\"on\" is not a duration"),
        ("hsts = \"on\"\nhsts_preload = true", "\"on\" is not a duration"),
    ] {
        let shown = told(&with(lines));
        assert!(shown.contains(said) && shown.ends_with("\n1 mistake in gateway.toml\n"), "{shown}");
    }
}

#[test]
fn a_route_changes_what_there_is_to_change() {
    let with = |lines: &str| format!("{GOOD}{lines}\n");
    let expected = r#"gateway.toml:15:19: there is nothing to change: the application sees the host and the paths that its clients see
   15 | rewrite_cookies = true
      |                   ^^^^ add host_rewrite or prefix_rewrite, or remove this line

1 mistake in gateway.toml
"#;
    assert_eq!(told(&with("rewrite_cookies = true")), expected);
    let with_app = |lines: &str| with(lines).replace("path = \"/\"", "path = \"/app\"");
    for (text, said) in [
        (with("prefix_rewrite = \"/\""), "\"/\" is the path of the route, so nothing is changed"),
        (with_app("prefix_rewrite = \"/app/\""), "\"/app\" is the path of the route, so nothing is changed"),
        (with("prefix_rewrite = \"x\""), "\"x\" does not begin with a slash"),
        (with("prefix_rewrite = \"/a/../b\""), "has an empty or a dot segment"),
        (with("prefix_rewrite = \"/a%2e\""), "has a character that no prefix has"),
        (with("host_rewrite = \"http://app\""), "\"http://app\" is not a host; write one like"),
        (with("host_rewrite = \"\""), "\"\" is not a host"),
        (with("host_rewrite = \"me@app\""), "is not a host"),
        (with("host_rewrite = \"app:\""), "is not a host"),
        (with("host_rewrite = \"app:0\""), "is not a host"),
        (with("host_rewrite = \"app:99999\""), "is not a host"),
        (with("host_rewrite = \"app:+8\""), "is not a host"),
        (with("host_rewrite = \"*.app\""), "is not a host"),
        (with("host_rewrite = \"app/x\""), "is not a host"),
        (with("rewrite_location = \"yes\""), "\"rewrite_location\" must be true or false"),
    ] {
        let shown = told(&text).replace("\n      |                ", " ");
        let has_it = said.split("; ").all(|words| shown.contains(words));
        assert!(has_it && shown.ends_with("\n1 mistake in gateway.toml\n"), "{said} in\n{shown}");
    }
    for lines in [
        "rewrite_location = true",
        "host_rewrite = \"App.internal:8080\"\nrewrite_cookies = true",
        "host_rewrite = \"[::1]:8080\"",
        "prefix_rewrite = \"/x\"\nrewrite_cookies = true",
    ] {
        let checked = run(folder(&with(lines)).path(), &["check"], "");
        assert_eq!(checked.code(), Some(0), "{lines}: {}", checked.stderr);
    }
}

#[test]
fn a_prefix_that_leads_around_another_route_is_told() {
    let with = |routes: &[String]| GOOD.replace("[[route]]\npath = \"/\"\nupstream = \"app\"\n", &routes.concat());
    let route = |path: &str, keys: &str| format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\n{keys}\n");
    let (public, strips) = ("access = \"public\"", "prefix_rewrite = \"/\"");
    let open = route("/open", &format!("{public}\n{strips}"));
    let admin = route("/admin", "roles = [\"admin\"]");
    let expected = r#"gateway.toml:16:18: "/open/admin" is then what "/admin" is, and open to more people than that route allows
   16 | prefix_rewrite = "/"
      |                  ^^^ add a route with path = "/open/admin" that asks for the same, or choose another prefix

1 mistake in gateway.toml
"#;
    assert_eq!(told(&with(&[open.clone(), admin.clone()])), expected);
    // Also when the part that is guarded has another name outside, or is all of the application.
    let named = route("/staff", "roles = [\"admin\"]\nprefix_rewrite = \"/admin/x\"");
    assert!(told(&with(&[open.clone(), named])).contains("\"/open/admin/x\" is then what \"/staff\" is"));
    let hidden = route("/manage", "roles = [\"admin\"]\nprefix_rewrite = \"/admin\"");
    assert!(told(&with(&[route("/", ""), hidden.clone()])).contains("\"/admin\" is then what \"/manage\" is"));
    let whole = route("/", "");
    assert!(told(&with(&[whole.clone(), open.clone()])).contains("\"/open\" is then what \"/\" is"));
    let host = route("/", &format!("{public}\nprefix_rewrite = \"/a\"\nhost = \"a.test\""));
    assert!(told(&with(&[host, route("/a/b", "")])).contains("\"/b\" is then what \"/a/b\" is"));
    for good in [
        vec![open.clone(), admin.clone(), route("/open/admin", "roles = [\"admin\"]\nprefix_rewrite = \"/admin\"")],
        vec![route("/open", &format!("{public}\nprefix_rewrite = \"/static\"")), admin.clone(), whole],
        vec![route("/open", &format!("{strips}\nroles = [\"admin\"]")), admin.clone()],
        vec![route("/", ""), admin, hidden],
    ] {
        let checked = run(folder(&with(&good)).path(), &["check"], "");
        assert_eq!(checked.code(), Some(0), "{good:?}: {}", checked.stderr);
    }
}

#[test]
fn a_coding_to_compress_with_is_one_that_is_known() {
    let expected = r#"gateway.toml:15:21: "deflate" is no coding that is known here
   15 | compress = ["gzip", "deflate", "gzip"]
      |                     ^^^^^^^^^ write "zstd", "br" or "gzip"

gateway.toml:15:32: "gzip" is there already
   15 | compress = ["gzip", "deflate", "gzip"]
      |                                ^^^^^^ write each once, the best first

2 mistakes in gateway.toml
"#;
    assert_eq!(told(&format!("{GOOD}compress = [\"gzip\", \"deflate\", \"gzip\"]\n")), expected);
    assert!(told(&format!("{GOOD}compress = true\n")).contains("\"compress\" must be a list of texts"));
}

#[test]
fn what_is_meant_by_a_value_of_another_type_is_told() {
    let in_route = |line: &str| format!("{GOOD}{line}\n");
    let in_server = |line: &str| GOOD.replace("[[server.certificate]]", &format!("{line}\n[[server.certificate]]"));
    let expected = r#"gateway.toml:15:12: "compress" must be a list of texts, and this is a text
   15 | compress = "on"
      |            ^^^^ write ["zstd", "br", "gzip"], or [] for none

1 mistake in gateway.toml
"#;
    assert_eq!(told(&in_route("compress = \"on\"")), expected);
    for (text, help) in [
        (in_route("compress = \"gzip\""), "^ write [\"gzip\"]\n"),
        (in_route("compress = \"deflate\""), "^ write [\"zstd\", \"br\", \"gzip\"], or [] for none\n"),
        (in_route("compress = true"), "^ write [\"zstd\", \"br\", \"gzip\"], or [] for none\n"),
        (in_route("compress = 1"), "^ write [\"zstd\", \"br\", \"gzip\"], or [] for none\n"),
        (in_route("compress = \"Off\""), "^ write []\n"),
        (in_route("compress = \"\""), "^ write []\n"),
        (in_route("compress = false"), "^ write []\n"),
        (in_server("min_body_rate = \"off\""), "^ write 0\n"),
        (in_server("min_body_rate = \"None\""), "^ write 0\n"),
        (in_server("min_body_rate = false"), "^ write 0\n"),
        (in_server("min_body_rate = \"300\""), "^ write it without quotes\n"),
        (in_server("min_body_rate = \"1KiB\""), "^ write a whole number from 1 to 1000000000, or 0 for none\n"),
        (in_server("min_body_rate = -1"), "^ write a whole number from 1 to 1000000000, or 0 for none\n"),
        (in_route("rewrite_location = \"yes\""), "^ write true without quotes\n"),
        (in_route("rewrite_location = \"True\""), "^ write true without quotes\n"),
        (in_route("rewrite_location = \"off\""), "^ write false without quotes\n"),
        (in_route("rewrite_location = 1"), "^ write true\n"),
        (in_route("rewrite_location = 0"), "^ write false\n"),
        (in_route("rewrite_location = \"maybe\""), "^ write true or false without quotes\n"),
        (in_route("rewrite_location = 2"), "^ write true or false\n"),
        (in_route("rewrite_location = []"), "^ write true or false\n"),
    ] {
        let shown = told(&text);
        assert!(shown.contains(help) && shown.ends_with("\n1 mistake in gateway.toml\n"), "{help} in\n{shown}");
    }
}

#[test]
fn every_worker_has_a_connection_of_its_own_where_http_2_is_spoken() {
    let with = |workers: &str, servers: &str, keys: &str| {
        let text = GOOD.replace("[[server.certificate]]", &format!("{workers}\n[[server.certificate]]"));
        text.replace("servers = [\"http://127.0.0.1:3000\"]", &format!("servers = [{servers}]\n{keys}"))
    };
    let (one, two) = (r#""http://127.0.0.1:3000""#, r#""http://127.0.0.1:3000", "http://127.0.0.1:3001""#);
    let expected = r#"gateway.toml:14:19: 3 connections do not suffice: of the 4 workers, each needs one of its own for HTTP/2
   14 | max_connections = 3
      |                   ^ write 4 or more, or workers = 3 in [server]

1 mistake in gateway.toml
"#;
    assert_eq!(told(&with("workers = 4", one, "protocol = \"h2\"\nmax_connections = 3")), expected);
    let expected = r#"gateway.toml:14:19: 7 connections do not suffice: of the 4 workers, each needs one of its own for HTTP/2 to each of the 2 servers
   14 | max_connections = 7
      |                   ^ write 8 or more, or workers = 3 in [server]

1 mistake in gateway.toml
"#;
    assert_eq!(told(&with("workers = 4", two, "protocol = \"h2\"\nmax_connections = 7")), expected);
    // Where the number of workers is not written, it is this machine's.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let shown = told(&with("", two, "protocol = \"h2\"\nmax_connections = 1"));
    let (said, help) = (format!("of the {cores} workers of this machine, each needs"), 2 * cores);
    let is_one = cores == 1;
    assert!(if is_one { shown.contains("the one worker of this machine") } else { shown.contains(&said) }, "{shown}");
    assert!(shown.contains(&format!("^ write {help} or more\n")), "{shown}");
    // And what is not written of the connections is said of the upstream.
    let many: Vec<String> = (1..=1025).map(|port| format!("\"http://127.0.0.1:{port}\"")).collect();
    let shown = told(&with("workers = 1", &many.join(", "), "protocol = \"h2\""));
    assert!(shown.contains("1024 connections do not suffice") && shown.contains("max_connections = 1025"), "{shown}");
    // A number of workers that is wrong is one mistake.
    let shown = told(&with("workers = 0", one, "protocol = \"h2\"\nmax_connections = 1"));
    assert!(shown.contains("0 is out of range") && shown.contains("\n1 mistake in"), "{shown}");
    for (workers, servers, keys) in [
        ("workers = 4", one, "protocol = \"h2\"\nmax_connections = 4"),
        ("workers = 4", two, "protocol = \"h2\"\nmax_connections = 8"),
        ("workers = 1", one, "protocol = \"h2\"\nmax_connections = 1"),
        ("workers = 4", two, "max_connections = 1"),
        ("", two, "protocol = \"h2\""),
    ] {
        let checked = run(folder(&with(workers, servers, keys)).path(), &["check"], "");
        assert_eq!(checked.code(), Some(0), "{workers} {keys}: {}", checked.stderr);
    }
}

#[test]
fn a_health_check_is_told_all_it_needs() {
    let with = |lines: &str| GOOD.replace("[[route]]", &format!("[upstream.health]\n{lines}\n[[route]]"));
    let expected = r#"gateway.toml:12:1: "path" is missing in [upstream.health]
   12 | [upstream.health]
      | ^^^^^^^^^^^^^^^^^ add path = "/health"

gateway.toml:13:9: zero would leave no time at all
   13 | every = "0s"
      |         ^^^^ write a time like "10s"

2 mistakes in gateway.toml
"#;
    assert_eq!(told(&with("every = \"0s\"")), expected);
    for (lines, said) in [
        ("path = \"health\"", "\"health\" is not a path"),
        ("path = \"/a b\"", "\"/a b\" is not a path"),
        ("path = \"/a#b\"", "\"/a#b\" is not a path"),
        ("path = \"http://127.0.0.1/\"", "is not a path"),
        ("path = \"/\"\ntimeout = \"0ms\"", "zero would leave no time at all"),
        ("path = \"/\"\nunhealthy_after = 0", "0 is out of range"),
        ("path = \"/\"\nhealthy_after = 1001", "1001 is out of range"),
        ("path = \"/\"\nhost = \"http://a\"", "\"http://a\" is not a host"),
        ("path = \"/\"\nevry = \"1s\"", "did you mean \"every\"?"),
    ] {
        let shown = told(&with(lines));
        assert!(shown.contains(said) && shown.ends_with("\n1 mistake in gateway.toml\n"), "{said} in\n{shown}");
    }
    let checked = run(folder(&with("path = \"/health?full=1\"\nhost = \"app.internal:81\"")).path(), &["check"], "");
    assert_eq!(checked.code(), Some(0), "{}", checked.stderr);
}

#[test]
fn limits_say_what_to_write_instead() {
    let limits = "[limits]\nper_session = \"100/s burst\"\nper_user = \"1/h burst 48\"\nparallel = 0\nlogn = \"off\"\n";
    let shown = told(&format!("{GOOD}limit = \"10/m 20\"\n{limits}"));
    for words in [
        "\"100/s burst\" says no burst",
        "write how many may come at once after the rate, like \"100/s burst 200\"",
        "the burst of \"1/h burst 48\" takes more than a day to be there again",
        "write at most 24",
        "write a whole number from 1 to 1000000",
        "did you mean \"login\"?",
        "\"10/m 20\" says no burst",
    ] {
        assert!(shown.contains(words), "{words} is not in:\n{shown}");
    }
}

#[test]
fn a_role_only_gets_less() {
    let more = r#"[session.lifetime]
idle = "20m"
[roles.admin]
idle = "30m"
absolute = "13h"
[roles.staff]
idle = "5s"
absolute = "12h"
[roles.night]
idle = "15m"
absolute = "12m"
[roles."a,b"]
idel = "10m"
"#;
    let shown = told(&format!("{GOOD}{more}"));
    for words in [
        "every session ends after \"20m\" without a request, or sooner, so this would never count",
        "write at most \"20m\", which [session.lifetime] says, or more there",
        "every session ends \"12h\" after sign-in, or sooner, so this would never count",
        "write at most \"12h\", which [session.lifetime] says, or more there",
        "people would be asked to sign in between two clicks",
        "the idle limit is longer than the absolute one, so it would never count",
        "\"a,b\"",
        "there is no key \"idel\" in [roles.NAME]",
        "\n6 mistakes in gateway.toml\n",
    ] {
        assert!(shown.contains(words), "{words} is not in:\n{shown}");
    }
}

#[test]
fn what_a_route_asks_to_be_recent_makes_sense() {
    let route = |path: &str, keys: &str| format!("[[route]]\npath = \"{path}\"\nupstream = \"app\"\n{keys}\n");
    let more = [
        route("/a", "access = \"public\"\nidle = \"5m\"\nabsolute = \"1h\"\nmax_auth_age = \"5m\""),
        route("/b", "max_auth_age = \"5m\"\nmax_auth_age_methods = [\"post\", \"GET\"]"),
        route("/c", "max_auth_age_methods = [\"POST\"]"),
        route("/d", "max_auth_age = \"5m\"\nmax_auth_age_methods = []"),
        route("/e", "idle = \"31m\"\nabsolute = \"5s\"\nmax_auth_age = \"13h\""),
    ];
    let shown = told(&format!("{GOOD}{}", more.concat()));
    for words in [
        "who is let in by access = \"public\" need not have signed in",
        "\"post\" is not a method",
        "write one in capitals, like \"POST\"",
        "\"max_auth_age\" is not set, so these methods ask for nothing",
        "no method is named, so nothing asks for the password",
        "write at most \"30m\", which [session.lifetime] says, or more there",
        "nobody is signed in for longer, so this would never count",
        "people would be asked to sign in between two clicks",
    ] {
        assert!(shown.contains(words), "{words} is not in:\n{shown}");
    }
}

#[test]
fn a_way_around_a_fresh_proof_is_told() {
    let hosts = format!(
        "{GOOD}{}{}",
        "[[route]]\npath = \"/pay\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n",
        "[[route]]\nhost = \"a.test\"\npath = \"/\"\nupstream = \"app\"\n"
    );
    let shown = told(&hosts);
    let words = "on \"a.test\", \"/pay\" asks less for the password again than the route of \"*\" does";
    assert!(shown.contains(words), "{shown}");
    let detour = format!(
        "{GOOD}{}{}",
        "[[route]]\npath = \"/pay\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n",
        "[[route]]\npath = \"/x\"\nupstream = \"app\"\nprefix_rewrite = \"/\"\n"
    );
    let shown = told(&detour);
    let words = "\"/x/pay\" is then what \"/pay\" is, and asks less for the password again than that route does";
    assert!(shown.contains(words), "{shown}");
}

#[test]
fn who_is_remembered_is_remembered_for_longer() {
    let told = |more: &str| told(&format!("{GOOD}{more}"));
    let shorter = told("[session.lifetime]\nidle = \"2h\"\n[session.remember_me]\nidle = \"1h\"\n");
    assert!(
        shorter.contains("who asks to be remembered would be signed out sooner than who does not (idle)"),
        "{shorter}"
    );
    assert!(shorter.contains("write at least idle = \"2h\", as [session.lifetime] has it"), "{shorter}");
    let never = told("[session.remember_me]\nidle = \"60d\"\n");
    assert!(never.contains("the idle limit is longer than the absolute one"), "{never}");
    let endless = told("[session.remember_me]\nabsolute = \"500d\"\n");
    assert!(endless.contains("browsers keep no cookie for so long"), "{endless}");
    let loose = told("[session.remember_me]\n[roles.admin]\nidle = \"8d\"\n");
    assert!(loose.contains("write at most \"7d\", which [session.remember_me] says"), "{loose}");
    let forbidden = told("[session.remember_me]\n[roles.admin]\nremember_me = false\nidle = \"1d\"\n");
    assert!(forbidden.contains("write at most \"30m\""), "{forbidden}");
}

#[test]
fn levels_are_in_their_order_and_can_be_reached() {
    let told = |more: &str| told(&format!("{GOOD}{more}"));
    let level = |name: &str, more: &str| format!("[[session.level]]\nname = \"{name}\"\n{more}\n");
    let missing = told("level = \"establshed\"\n[[session.level]]\nname = \"established\"\nafter = \"5m\"\n");
    assert!(
        missing.contains("there is no level named \"establshed\"") && missing.contains("did you mean \"established\"?")
    );
    assert!(told("level = \"a\"\n").contains("add [[session.level]] with this name"));
    for (levels, said) in [
        (level("a", ""), "after"),
        (level("a b", "after = \"5m\""), "is no name of a level"),
        (level("a", "after = \"12h\""), "nobody would ever reach this level"),
        (level("a", "after = \"5m\"\nidle = \"31m\""), "no session is idle for \"31m\""),
        (level("a", "after = \"5m\"") + &level("a", "after = \"6m\""), "there are two levels named \"a\""),
        (
            level("a", "after = \"5m\"") + &level("b", "after = \"5m\""),
            "\"b\" is reached and lost with \"a\" before it",
        ),
        (level("a", "after = \"5m\"") + &level("b", "after = \"4m\""), "\"b\" is reached sooner than \"a\""),
        (level("a", "after = \"5m\"") + &level("b", "after = \"4m\""), "write after = \"5m\" or more, or move it"),
        (
            level("a", "after = \"5m\"\nidle = \"5m\"") + &level("b", "after = \"6m\""),
            "\"b\" outlasts a pause by which \"a\" is lost",
        ),
        (
            level("a", "after = \"5m\"\nidle = \"5m\"") + &level("b", "after = \"6m\"\nidle = \"6m\""),
            "write idle = \"5m\" or less",
        ),
    ] {
        let words = told(&levels);
        assert!(words.contains(said), "{said} in:\n{words}");
    }
    // Each of these is higher than the one before: it need not be later and shorter.
    for higher in ["after = \"6m\"", "after = \"5m\"\nidle = \"20m\"", "after = \"6m\"\nidle = \"20m\""] {
        let folder = folder(&format!("{GOOD}{}{}", level("a", "after = \"5m\""), level("b", higher)));
        let checked = run(folder.path(), &["check"], "");
        assert_eq!((checked.code(), checked.stderr.as_str()), (Some(0), ""), "{higher}");
    }
    // Two of one name are not asked about by both.
    let twice = [level("fresh", "after = \"5m\""), level("fresh", "after = \"6m\"")].concat();
    let words = told(&format!("level = \"other\"\n{twice}"));
    assert!(words.contains("write \"fresh\", or add [[session.level]]"), "{words}");
    let of_route = |keys: &str| told(&format!("{keys}\n{}", level("a", "after = \"5m\"")));
    let never = of_route("level = \"a\"\nmax_auth_age = \"5m\"");
    assert!(never.contains("the password would be asked for before \"a\" is reached, so nobody could pass"), "{never}");
    assert!(of_route("level = \"a\"\naccess = \"optional\"").contains("need not have signed in"));
}

/// A tenant that is beside it changes nothing of what is told of a mistake in another table.
#[test]
fn with_a_tenant_a_mistake_at_the_top_is_told_once() {
    let tenant = "[[tenant]]\nname = \"acme\"\nhosts = [\"acme.test\"]\n[tenant.login.local]\nusers = \"users.toml\"\n\
                  [tenant.session.lifetime]\nidle = \"10m\"\nabsolute = \"1h\"\n[tenant.session.cookie]\nsame_site = \
                  \"Strict\"\n[tenant.roles.admin]\nidle = \"5m\"\n";
    for top in [
        "[session.lifetime]\nidle = \"5s\"",
        "[session.lifetime]\nidle = \"45m\"\nabsolute = \"30m\"",
        "[session.lifetime]\nabsolute = \"500d\"",
        "[session.lifetime]\nidle = \"30\"",
        "[session.remember_me]\nidle = \"20m\"",
        "[session.cookie]\nname = \"session\"",
        "[session.cookie]\npath = \"/x\"",
        "[session.cookie]\nname = \"__Host-x\"\ndomain = \"other.test\"",
        "[session.store]\nkind = \"disc\"",
        "[session.concurrency]\nmax_sessions = 0",
        "[roles.\"a b\"]\nidle = \"5m\"",
        "[limits]\nlogin = \"20\"",
        "[[session.level]]\nname = \"a b\"\nafter = \"5m\"",
    ] {
        let shown = told(&format!("{GOOD}{top}\n{tenant}"));
        assert_eq!(shown, told(&format!("{GOOD}{top}\n")), "{top}");
        assert!(shown.ends_with("\n1 mistake in gateway.toml\n"), "{top}: {shown}");
    }
    // Nor is a users file that both name.
    let folder = folder(&format!("{GOOD}{tenant}"));
    fs::write(folder.path().join("users.toml"), "[[user]]\nname = \"a\"\npasword = \"b\"\n").expect("written");
    let shown = told_in(folder.path());
    assert!(shown.ends_with("\n2 mistakes in users.toml\n") && shown.matches("pasword").count() == 2, "{shown}");
}

/// One mistake hides no other: what stands beside it is read all the same.
#[test]
fn a_bad_name_of_the_cookie_hides_nothing_else() {
    let text = GOOD.replace("upstream = \"app\"\n", "upstream = \"app\"\nlevel = \"frehs\"\nidle = \"2h\"\n");
    let more = "[session.cookie]\nname = \"session\"\n[session.lifetime]\nidle = \"2h\"\n[[session.level]]\nname = \"fresh\"\n\
                after = \"5m\"\n";
    let shown = told(&format!("profile = \"nist-aal2\"\n{text}{more}"));
    for words in ["did you mean \"fresh\"?", "allows at most \"1h\"", "\"session\" can be set by", "\n3 mistakes in"] {
        assert!(shown.contains(words), "{words} is not in:\n{shown}");
    }
}

#[test]
fn the_header_of_the_level_is_its_own() {
    for name in ["X-Session-Level", "x_session_level", "X-SESSION-LEVEL"] {
        let shown = told(&format!("{GOOD}[identity.headers]\n{name} = \"{{user}}\"\n"));
        assert!(shown.contains("tells the level of the session"), "{shown}");
        assert!(shown.contains("write \"{level}\" or choose another name"), "{shown}");
    }
    for line in ["X-Session-Level = \"{level}\"", "X-Session-Level = \"level {level}\"", "X-Level = \"{user}\""] {
        let folder = folder(&format!("{GOOD}[identity.headers]\n{line}\n"));
        assert_eq!(run(folder.path(), &["check"], "").code(), Some(0), "{line}");
    }
}

#[test]
fn what_pages_cannot_show_is_told_with_what_to_write() {
    let long = "é".repeat(201);
    let portal = format!("[portal]\ntitle = \"a\\nb\"\nnote = \"{long}\"\ncolor = \"blue\"\nlogo = \"logo.svg\"\n");
    let tenant = "[[tenant]]\nname = \"acme\"\nhosts = [\"acme.test\"]\n[tenant.login.local]\nusers = \"users.toml\"\n\
                  [tenant.portal]\ncolor = \"2356b3\"\nlogo = \"photo.svg\"\nlogos = \"a.svg\"\n";
    let folder = folder(&format!("{GOOD}{portal}{tenant}"));
    fs::write(folder.path().join("photo.svg"), b"\xff\xd8\xff\xe0").expect("written");
    let text = told_in(folder.path());
    for words in [
        "gateway.toml:16:9: the title has more than 80 characters or a line break",
        "^ write a short name",
        "gateway.toml:17:8: the note has more than 200 characters or a line break",
        "^ write one line, like \"Help desk: extension 4711\"",
        "gateway.toml:18:9: \"blue\" is not a colour",
        "^^^^^^ write red, green and blue as # and six digits, like \"#2356b3\"",
        "gateway.toml:19:8: the file logo.svg does not exist",
        "^ write the path of an SVG or PNG, or remove this line",
        "gateway.toml:26:9: \"2356b3\" is not a colour",
        "gateway.toml:27:8: the file photo.svg is a JPEG picture, and a logo is SVG or PNG",
        "^ save it as SVG or PNG",
        "^ did you mean \"logo\"?",
        "7 mistakes in gateway.toml",
    ] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    fs::write(folder.path().join("photo.svg"), vec![b' '; 65 * 1024]).expect("written");
    fs::create_dir(folder.path().join("logo.svg")).expect("a folder");
    let text = told_in(folder.path());
    for words in ["photo.svg is larger than 64 KiB", "^ make it smaller: ", "the file logo.svg is no plain file"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
}
