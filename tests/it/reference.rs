//! `gateway.toml`, the reference: every key the code knows is in it, with the default the code has.

use std::collections::BTreeSet;
use std::path::Path;

use vestibule::base::random::Random;
use vestibule::config::Plan;
use vestibule::crypto::keyring;
use vestibule::reader::Document;

use x509_ocsp::CertStatus;

use super::harness::{ocsp, reference, users};

/// What a configuration must have; the rest is defaults. `[admin]` has none that could be left away.
const MINIMAL: &str = r#"
    [server]
    listen = ["127.0.0.1:8443"]
    [[server.certificate]]
    cert = "certs/dev.crt"
    key = "certs/dev.key"
    generate = true
    [admin]
    listen = "unix:/run/vestibule.sock"
    metrics = "127.0.0.1:9901"
    [login.local]
    users = "users.toml"
    [[upstream]]
    name = "app"
    servers = ["http://127.0.0.1:3000"]
    [[route]]
    path = "/"
    upstream = "app"
    [[route]]
    path = "/admin"
    upstream = "app"
    roles = ["admin"]
"#;

/// The key of a line that is a commented out `key = value`.
fn commented_key(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
    let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    is_key.then_some(key)
}

/// The reference with its commented out keys and tables written out: all of them, or those only that show a default.
fn written_out(only_defaults: bool) -> String {
    written_out_of(&reference(), only_defaults)
}

fn written_out_of(text: &str, only_defaults: bool) -> String {
    let (mut says_none, mut is_in_comment) = (false, false);
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_in_comment = false;
        }
        if line.starts_with("# [") && !only_defaults {
            lines.push(line["# ".len()..].to_owned());
            continue;
        }
        // The keys of a table that is not there are nobody's.
        is_in_comment |= line.starts_with("# [");
        if is_in_comment {
            continue;
        }
        let key = commented_key(line);
        match key {
            Some(_) if !(only_defaults && says_none) => lines.push(line["# ".len()..].to_owned()),
            Some(_) | None => lines.push(line.to_owned()),
        }
        // The comment above a key, of one or several lines, says whether it has a default.
        let is_words = line.starts_with("# ") && key.is_none();
        says_none = is_words && (says_none || line.contains("None by default"));
    }
    lines.join("\n")
}

fn write_secret(file: &Path, secret: &str) {
    std::fs::write(file, secret).expect("written");
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a mode");
}

/// What `text` comes to in a folder of its own.
fn with<T>(text: &str, read: impl FnOnce(&Document) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("users.toml"), users()).expect("written");
    let key = keyring::new_key(&Random::System);
    write_secret(&folder.path().join("sessions.keys"), &key);
    let logo = "<svg xmlns=\"http://www.w3.org/2000/svg\"></svg>";
    std::fs::write(folder.path().join("logo.svg"), logo).expect("written");
    let made = rcgen::generate_simple_self_signed(vec!["app.internal".to_owned()]).expect("a certificate");
    for (name, content) in
        [("ca.pem", made.cert.pem()), ("client.crt", made.cert.pem()), ("client.key", made.signing_key.serialize_pem())]
    {
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    read(&Document::parse(folder.path().join("gateway.toml"), text))
}

/// Makes a certificate with its key and an OCSP response, under the reference's names.
fn signed(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let response = ocsp::response(made.cert.der(), CertStatus::good(), None);
    std::fs::create_dir(folder).expect("a folder");
    std::fs::write(folder.join("dev.crt"), made.cert.pem()).expect("written");
    std::fs::write(folder.join("dev.key"), made.signing_key.serialize_pem()).expect("written");
    std::fs::write(folder.join("dev.ocsp"), response).expect("written");
}

/// A plan as text, without the folder it was read in and without the users and the files that were read, which are none of
/// its keys.
fn shown(text: &str) -> String {
    with(text, |document| {
        let mut plan = Plan::of(document).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        plan.users = None;
        plan.files = Vec::new();
        format!("{plan:#?}").replace(&document.folder().display().to_string(), "")
    })
}

#[test]
fn it_is_accepted_as_it_stands() {
    with(&reference(), |document| Plan::of(document).map(drop).unwrap_or_else(|mistakes| panic!("{mistakes}")));
}

#[test]
fn it_shows_every_key_that_the_code_knows() {
    // A cookie's domain needs another kind of name, and a CA a server that is spoken to by TLS.
    let text = written_out(false).replace("\"__Host-session\"", "\"__Secure-session\"");
    let text = text.replace("servers = [\"http://", "servers = [\"https://");
    // A folder that every machine has.
    // A token is for an address.
    let text = text.replace("\"unix:/run/vestibule.sock\"", "\"127.0.0.1:9902\"");
    let text = text.replace("\"/var/lib/acme/.well-known/acme-challenge\"", "\"/\"");
    with(&text, |document| {
        signed(&document.folder().join("certs"));
        write_secret(&document.folder().join("admin.token"), &"0123456789abcdef".repeat(4));
        let _ = Plan::of(document).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let written = document.written_keys();
        let missing: BTreeSet<String> = document.known_keys().difference(&written).cloned().collect();
        assert!(missing.is_empty(), "keys that gateway.toml does not show: {missing:?}");
    });
}

#[test]
fn what_it_shows_as_defaults_are_the_codes_defaults() {
    let written_out_text = written_out(true);
    let (minimal, reference, written_out) = (shown(MINIMAL), shown(&reference()), shown(&written_out_text));
    similar(&minimal, &reference);
    similar(&minimal, &written_out);
    // How long a prefix is matters only to whoever compares one.
    let with_prefix = shown(&written_out_text.replacen("mode = \"off\"", "mode = \"prefix\"", 1));
    similar(&shown(&format!("{MINIMAL}[session.binding.ip]\nmode = \"prefix\"")), &with_prefix);
}

#[test]
fn what_it_shows_as_defaults_of_a_table_that_can_be_left_out_are_the_codes_defaults() {
    let path = "path = \"/health\"";
    let text = reference().replace("# [upstream.health]", "[upstream.health]").replace(&format!("# {path}"), path);
    let table = format!("servers = [\"http://127.0.0.1:3000\"]\n[upstream.health]\n{path}\n");
    let with_health = MINIMAL.replace("servers = [\"http://127.0.0.1:3000\"]", &table);
    similar(&shown(&with_health), &shown(&written_out_of(&text, true)));
}

#[test]
fn what_it_shows_of_concurrency_is_what_an_empty_table_means() {
    let table = "[session.concurrency]\n";
    let keys = "max_sessions = 3\nwhen_full = \"end_oldest\"\n";
    let reference = reference();
    let (_, shown_there) = reference.split_once(&format!("# {table}")).expect("the table");
    assert!(keys.lines().all(|key| shown_there.lines().take(6).any(|line| line == format!("# {key}"))));
    similar(&shown(&format!("{MINIMAL}{table}")), &shown(&format!("{MINIMAL}{table}{keys}")));
}

#[test]
fn every_key_has_its_reason_above_it() {
    let text = reference();
    let lines: Vec<&str> = text.lines().collect();
    let mut explained: BTreeSet<&str> = BTreeSet::new();
    for pair in lines.windows(2) {
        let [above, line] = pair else { unreachable!("windows of two") };
        let active = line.split_once(" = ").map(|(key, _)| key).filter(|key| !key.starts_with('#'));
        let Some(key) = commented_key(line).or(active) else { continue };
        if above.starts_with("# ") && commented_key(above).is_none() {
            explained.insert(key);
        } else {
            // The second of two routes only repeats what the first has explained.
            assert!(explained.contains(key), "nothing says why above: {line}");
        }
    }
    assert!(lines.iter().all(|line| line.chars().count() <= 120), "a line of gateway.toml is too long");
}

/// As `assert_eq!`, but shows only the lines that differ.
fn similar(code: &str, reference: &str) {
    let differing: Vec<_> = code.lines().zip(reference.lines()).filter(|(code, shown)| code != shown).collect();
    assert!(differing.is_empty(), "the code's default and the reference's: {differing:#?}");
    assert_eq!(code.lines().count(), reference.lines().count());
}
