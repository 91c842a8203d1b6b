//! What is written, what comes of it, and what is said.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::base::random::Random;

/// Reads every kind of key once, roughly as the gateway does.
fn read(document: &Document) {
    let root = document.root();
    root.one_of("profile", &[("asvs-l2", 1), ("nist-aal2", 2)]);
    let server = root.section_or_empty("server");
    server.require("listen", "listen = [\"127.0.0.1:8443\"]").parsed_list("listen", address);
    server.integer("workers", 1_u16..=1024);
    server.size("max_header");
    server.bool("proxy_protocol");
    for certificate in server.sections("certificate") {
        certificate.require("cert", "cert = \"certs/dev.crt\"").path_to("cert");
    }
    let session = root.section_or_empty("session");
    let lifetime = session.section_or_empty("lifetime");
    lifetime.duration("idle");
    lifetime.duration("absolute");
    if let Some(store) = session.section("store") {
        match store.one_of("kind", &[("disk", 0), ("redis", 1)]) {
            Some(0) => drop(store.unused(&["url"]).path_to("path")),
            Some(_) => drop(store.unused(&["path"]).str("url")),
            None => drop(store.know(&["path", "url"])),
        }
    }
    root.section_or_empty("limits").rate("per_session");
    for (_, role) in root.named_sections("roles") {
        role.duration("idle");
    }
    for route in root.sections("route") {
        route.require("path", "path = \"/admin\"").str("path");
        route.str("upstream");
        route.one_of("access", &[("public", 0), ("optional", 1), ("authenticated", 2)]);
        route.strings("roles");
    }
    root.section_or_empty("identity").string_map("headers");
    root.section_or_empty("keys").secret("current");
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not an address; write an address and a port, like \"127.0.0.1:8443\""))
}

const WHOLE: &str = r#"# A comment with ünïcode.
profile = "asvs-l2"
[server]
listen = ["127.0.0.1:8443", "[::1]:8443"]
workers = 4
max_header = "64KiB"
proxy_protocol = true
[[server.certificate]]
cert = "certs/dev.crt"
[session.lifetime]
idle = "30m"
absolute = '12h'
[session.store]
kind = "disk"
path = "sessions.redb"
[limits]
per_session = "off"
[roles.admin]
idle = "10m"
[roles."a.b"]
[[route]]
path = "/admin"
upstream = "app"
access = "authenticated"
roles = [
  "admin",
  "staff",
]
[[route]]
path = "/"
[identity.headers]
X-User = "name"
X-Mail = """email"""
[keys]
current = "env:PATH"
"#;

/// The first mistakes without the count, each without its help line's padding.
fn mistakes(source: &str) -> Mistakes {
    let document = Document::parse("gateway.toml", source);
    read(&document);
    document.finish().expect_err(source)
}

fn shown(source: &str) -> String {
    mistakes(source).to_string()
}

/// `line:column: message / help` of every mistake.
fn told(source: &str) -> Vec<String> {
    let mistakes = mistakes(source);
    let tell = |mistake: &Mistake| {
        let (line, column) = mistakes.position(mistake).unwrap_or_default();
        format!("{line}:{column}: {} / {}", mistake.message, mistake.help.as_deref().unwrap_or_default())
    };
    mistakes.list().iter().map(tell).collect()
}

#[test]
fn reads_what_is_right() {
    let document = Document::parse("conf/gateway.toml", &WHOLE.replace('\n', "\r\n"));
    read(&document);
    document.finish().expect("no mistakes");
    assert!(document.is_whole());
    let root = document.root();
    let server = root.section("server").expect("a section");
    let listen = server.parsed_list("listen", address).expect("a list");
    assert_eq!(listen[1].value, "[::1]:8443".parse().expect("an address"));
    assert_eq!(&document.source[listen[1].span.clone()], "\"[::1]:8443\"");
    assert_eq!(server.integer("workers", 1..=8_usize), Some(4));
    assert_eq!(server.size("max_header"), Some(65_536));
    assert_eq!(server.bool("proxy_protocol"), Some(true));
    assert_eq!(server.sections("certificate")[0].path_to("cert"), Some(PathBuf::from("conf/certs/dev.crt")));
    let lifetime = root.section_or_empty("session").section_or_empty("lifetime");
    assert_eq!(lifetime.duration("idle"), Some(Duration::from_secs(1800)));
    assert_eq!(lifetime.duration("absent"), None);
    assert_eq!(root.section_or_empty("limits").rate("per_session"), Some(None));
    let roles: Vec<String> = root.named_sections("roles").into_iter().map(|(name, _)| name.value).collect();
    assert_eq!(roles, ["admin", "a.b"]);
    let headers = root.section_or_empty("identity").string_map("headers");
    assert_eq!((headers[1].0.value.as_str(), headers[1].1.value.as_str()), ("X-Mail", "email"));
    let secret = root.section_or_empty("keys").secret("current").expect("a secret");
    assert_eq!(Some(secret.expose().clone()), std::env::var("PATH").ok());
}

#[test]
fn keys_asked_for_and_keys_written_are_known() {
    let document = Document::parse("gateway.toml", WHOLE);
    read(&document);
    let known = document.known_keys();
    for key in ["profile", "server.listen", "server.certificate[].cert", "session.lifetime.idle", "roles.*.idle"] {
        assert!(known.contains(key), "{key} in {known:?}");
    }
    assert!(known.contains("route[].path") && known.contains("identity.headers.*") && !known.contains("roles.admin"));
    let written = document.written_keys();
    assert_eq!(known.difference(&written).collect::<Vec<_>>(), ["session.store.url"]);
    assert!(written.is_subset(&known));
}

#[test]
fn shows_several_mistakes_at_once() {
    let source = "[server]\nlisten = [\"here\"]\nworker = 2\n\n[session.lifetime]\nidle = \"30\"\nabsolute = 12\n";
    let expected = r#"gateway.toml:2:11: "here" is not an address
    2 | listen = ["here"]
      |           ^^^^^^ write an address and a port, like "127.0.0.1:8443"

gateway.toml:3:1: there is no key "worker" in [server]
    3 | worker = 2
      | ^^^^^^ did you mean "workers"?

gateway.toml:6:8: "30" is not a duration
    6 | idle = "30"
      |        ^^^^ write a number and a unit, like "90s", "30m", "12h" or "7d"

gateway.toml:7:12: "absolute" must be a duration, and this is a number
    7 | absolute = 12
      |            ^^ write a number and a unit in quotes, like "90s", "30m", "12h" or "7d"

4 mistakes in gateway.toml"#;
    assert_eq!(shown(source), expected);
}

#[test]
fn says_which_key_or_table_was_probably_meant() {
    let source = "profil = 1\n[server]\nlisten = []\n[sesion.lifetime]\n[session]\nidle = \"30m\"\n[limits]\nprofile = \"x\"\n\
                  [lifetime]\n[session.store]\nkind = \"redis\"\npath = \"x\"\n[[route]]\npath = \"/\"\nzzz = 1\n[route.deep]\n";
    let expected = [
        "1:1: there is no key \"profil\" at the top of the file / did you mean \"profile\"?",
        "4:2: there is no table [sesion] / did you mean [session]?",
        "6:1: there is no key \"idle\" in [session] / \"idle\" belongs in [session.lifetime]",
        "8:1: there is no key \"profile\" in [limits] / \"profile\" belongs at the top of the file, before any [table]",
        "9:2: there is no table [lifetime] / did you mean [session.lifetime]?",
        "12:1: \"path\" has no effect here / remove it",
        "15:1: there is no key \"zzz\" in [[route]] / it can have \"access\", \"path\", \"roles\" and \"upstream\"",
        "16:8: there is no table [route.deep] / it can have \"access\", \"path\", \"roles\" and \"upstream\"",
    ];
    assert_eq!(told(source), expected);
    let source = "[server]\nlisten = []\n[[routes]]\n[listen]\n[certificate]\n[role.x]\n";
    let expected = [
        "3:3: there is no table [[routes]] / did you mean [[route]]?",
        "4:2: there is no table [listen] / it can have \"identity\", \"keys\", \"limits\", \"profile\", \"roles\", \"route\", \
         \"server\" and \"session\"",
        "5:2: there is no table [certificate] / did you mean [[server.certificate]]?",
        "6:2: there is no table [role] / did you mean [roles]?",
    ];
    assert_eq!(told(source), expected);
    assert_eq!(nearest("per-sesion", ["per_session", "per_address"]), Some("per_session"));
    assert_eq!(nearest("x", ["path", "url"]), None);
}

#[test]
fn says_what_is_expected_and_what_was_found() {
    let source = "route = 3\nroles = [\"a\"]\n[server]\nlisten = \"127.0.0.1:1\"\nworkers = \"4\"\nmax_header = 64\n\
                  proxy_protocol = \"true\"\n[server.certificate]\n[limits]\nper_session = true\n[[session]]\n\
                  [identity.headers]\nX-User = 1\n";
    let expected = [
        "1:9: \"route\" must be a list of tables, and this is a number / write [[route]] on a line of its own, once for each",
        "2:9: \"roles\" must be a table, and this is a list / write [roles] on a line of its own, and its keys below",
        "4:10: \"listen\" must be a list of texts, and this is a text / write [\"127.0.0.1:1\"]",
        "5:11: \"workers\" must be a whole number, and this is a text / write it without quotes",
        "6:14: \"max_header\" must be a size, and this is a number / write a number and a unit in quotes, like \"512B\", \
         \"64KiB\" or \"10MiB\"",
        "7:18: \"proxy_protocol\" must be true or false, and this is a text / write true without quotes",
        "8:1: \"certificate\" must be a list of tables, and this is a table / write [[server.certificate]], with double \
         brackets",
        "10:15: \"per_session\" must be a rate, and this is true or false / write it in quotes, like \"100/s\", \"10/m\" or \
         \"off\"",
        "11:1: \"session\" must be a table, and this is a list of tables / write [session] once, with single brackets",
        "13:10: \"X-User\" must be a text, and this is a number / write \"1\"",
    ];
    assert_eq!(told(source), expected);
    let source = "[server]\nlisten = [1]\nworkers = 5000\n[[route]]\naccess = \"publc\"\n";
    let expected = [
        "2:11: \"listen\" must be a list of texts, and this is a number / write \"1\"",
        "3:11: 5000 is out of range / write a whole number from 1 to 1024",
        "4:1: \"path\" is missing in [[route]] / add path = \"/admin\"",
        "5:10: \"access\" cannot be \"publc\" / did you mean \"public\"? It can be \"public\", \"optional\" or \
         \"authenticated\"",
    ];
    assert_eq!(told(source), expected);
    let expected = "gateway.toml: \"listen\" is missing in [server]\n      = add at the end of the file:\n        [server]\n        \
                    listen = [\"127.0.0.1:8443\"]\n\n1 mistake in gateway.toml";
    assert_eq!(shown(""), expected);
}

#[test]
fn says_what_is_not_toml_and_reads_the_rest() {
    let source = "[server]\nlisten = [\"a\"\nworkers = many\n[server]\nworkers: 3\n[limits\nper_session = \"1/s\"\nfoo = 1\n\
                  [session.lifetime]\nidle = 30m\nidle = \"1h\"\nabsolute = \"12h\nabsolutely = 1\n[route]\npath = \"c:\\win\"\n";
    let expected = [
        "2:10: this list is not closed / close it with \"]\"",
        "3:11: many needs quotes / write \"many\"",
        "4:2: [server] is there twice / put its keys below line 1, where it is first",
        "5:10: a colon does not set a value / write key = value",
        "6:8: this header is not closed / close it with \"]\"",
        "10:8: 30m needs quotes / write \"30m\"",
        "11:1: \"idle\" is set twice / it is set in line 10 already",
        "12:16: this text is not closed / close it with \"",
        "13:1: there is no key \"absolutely\" in [session.lifetime] / did you mean \"absolute\"?",
        "14:1: \"route\" must be a list of tables, and this is a table / write [[route]], with double brackets",
        "15:12: this is not an escape / write \\\\ for a backslash, or put the text in single quotes",
    ];
    assert_eq!(told(source), expected);
    for (source, expected) in [
        ("a\n", "1:2: this line sets nothing / write key = value, or # before a comment"),
        ("a =\n", "1:4: the value is missing / write one after \"=\""),
        ("a = yes\n", "1:5: yes is not a value / write true"),
        ("a = True\n", "1:5: True is not true or false / write true"),
        ("a = 127.0.0.1:80\n", "1:5: 127.0.0.1:80 is not a number / for a text, write \"127.0.0.1:80\""),
        ("a = [1\n 2\n]\n", "2:2: a comma is missing here / write a comma between two values"),
        ("a = {b = 1\nc = 2\n", "1:5: this table in braces is not closed / close it with \"}\""),
        (
            "a = \"\"\"x\ny\n\n[b]\nc = 1\n",
            "1:5: this text is not closed / close it with three quotes, as it was opened",
        ),
        ("a = '1' 2\n", "1:9: the line goes on after its value / begin a new line, or write # before a comment"),
        (
            "a = 1\na.b = 2\n",
            "2:1: \"a\" has a value already and cannot be a table too / keep either the value or the table",
        ),
        ("[[a]]\n[a]\n", "2:2: [a] stands for one of several / write [[a]], with double brackets"),
        ("[a]\n[[a]]\n", "2:3: [[a]] is a single table already / line 1 must be [[a]] too, or this a [a]"),
        ("a = 1\rb = 2\n", "1:7: a carriage return stands alone here / end lines with a line feed"),
        ("a = \"\u{7}\"\n", "1:6: a control character is in this text / write it as an escape, like \"\\u0007\""),
    ] {
        let told = told(source);
        assert!(told.iter().any(|one| one == expected), "{source}\n{told:#?}");
    }
}

#[test]
fn never_shows_a_secret() {
    for source in [
        "[keys]\ncurrent = \"hunter2\"\n",
        "[keys]\ncurrent = 'env:hunter2 '\n",
        "[keys]\ncurrent = hunter2\n",
        "[keys]\ncurrent: hunter2\n",
        "[keys]\ncurrent = \"hunter2\n",
        "[keys]\ncurrent = \"hunter2\" \"hunter2\"\n",
        "[keys]\ncurrent = \"\"\"\nhunter2\n",
        "[keys]\ncurrent = [\"hunter2\"]\n",
        "[keys]\ncurrent = \"env:PATH\"\ncurrent = \"hunter2\"\n",
        "[keys]\nother = \"hunter2\"\n",
        "[keys.current]\na = \"hunter2\"\n",
        "[keys]\ncurent = \"hunter2\"\n",
        "curent = \"hunter2\"\n",
        "current = \"hunter2\"\n",
        "keys = { current = \"hunter2\", x = 1 }\n",
        "keys = { current = \"hunter2\" x = 1 }\n",
    ] {
        let shown = shown(source);
        assert!(!shown.contains("hunter2"), "{source}\n{shown}");
    }
    let expected = "gateway.toml:2:11: \"current\" must not hold the secret itself\n    2 | current = … # x\n      |           ^ \
                    write \"env:NAME\", \"file:PATH\" or \"credential:NAME\" (systemd's), which say where the secret is\n";
    assert!(shown("[keys]\ncurrent = \"hunter2\" # x\n").starts_with(expected));
}

fn set_mode(file: &Path, mode: u32) {
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
}

#[test]
fn a_secret_is_read_from_a_file_beside_the_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
        set_mode(&folder.path().join(name), 0o600);
    };
    write("good", b"  top secret\r\n");
    write("empty", b"\n");
    write("large", &[b'x'; secret::MAX_SECRET_BYTES + 1]);
    write("bytes", &[0xff]);
    write("gateway.toml", b"a = 'file:good'\nb = 'file:empty'\nc = 'file:large'\nd = 'file:bytes'\ne = 'file:none'\nf = 'env:NO_SUCH_1'\n");
    let document = Document::load(&folder.path().join("gateway.toml"), 1 << 20, "").expect("a document");
    let root = document.root();
    assert_eq!(root.secret("a").map(|secret| secret.expose().clone()).as_deref(), Some("  top secret"));
    assert!(["b", "c", "d", "e", "f"].iter().all(|key| root.secret(key).is_none()));
    let shown = document.finish().expect_err("mistakes").to_string();
    for part in [
        "empty is empty",
        "large is larger than 64 KiB",
        "bytes is not UTF-8",
        "none cannot be read",
        "variable NO_SUCH_1 is not set",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_one_mistake() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.toml");
    let load = || Document::load(&path, 1 << 20, "make one").err().expect("a mistake").to_string();
    assert!(load().contains("the file cannot be read: No such file") && load().contains("= make one\n"));
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).expect("a file");
    assert!(load().contains("the file is larger than 1 MiB"));
    std::fs::write(&path, b"a = 1\nb = \"\xc3\xa4\xff\"\n").expect("a file");
    assert!(
        load()
            .contains("gateway.toml:2:7: this byte is not UTF-8 text\n    2 | b = \"ä\u{fffd}\"\n      |       ^ save")
    );
    std::fs::write(&path, b"\xef\xbb\xbfa = 1\n").expect("a file");
    let document = Document::load(&path, 1 << 20, "").expect("a document");
    assert_eq!(document.root().integer("a", 0..=1_u8), Some(1));
}

#[test]
fn later_checks_can_point_at_a_value() {
    let document = Document::parse("g", "[[route]]\nupstream = \"ap\"\n");
    let route = &document.root().sections("route")[0];
    let upstream = route.located("upstream").expect("a name");
    route.mistake(&upstream.span, "there is no upstream \"ap\"", "did you mean \"app\"?");
    route.mistake_at("path", "no path", "");
    let shown = document.finish().expect_err("mistakes").to_string();
    assert!(
        shown.starts_with("g:1:1: no path\n    1 | [[route]]\n      | ^^^^^^^^^\n\ng:2:12: there is no upstream"),
        "{shown}"
    );
}

/// Whatever is done to the file, reading it ends, and ends in values or in mistakes that can be shown.
#[test]
fn survives_any_mutilation() {
    const PIECES: [&str; 24] = [
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ",",
        "\n",
        "\r",
        "#",
        ".",
        "\u{0}",
        "ü",
        "\u{1f600}",
        "\t",
        "1e9",
        "[server]\n",
        "[[route]]\n",
        "a.b.c=1\n",
        "\\",
        "\u{feff}",
    ];
    let random = Random::seeded(11);
    let pick = |below: usize| u32::from_le_bytes(random.bytes()) as usize % below.max(1);
    let mut wrong = 0;
    for _ in 0..1500 {
        let mut chars: Vec<char> = WHOLE.chars().collect();
        for _ in 0..=pick(4) {
            let at = pick(chars.len());
            let until = (at + pick(12)).min(chars.len());
            let piece: Vec<char> = match pick(3) {
                0 => Vec::new(),
                1 => PIECES[pick(PIECES.len())].chars().collect(),
                _ => chars[pick(until)..until].to_vec(),
            };
            chars.splice(at..until, piece);
        }
        let source: String = chars.into_iter().collect();
        let document = Document::parse("gateway.toml", &source);
        read(&document);
        if let Err(mistakes) = document.finish() {
            wrong += 1;
            let shown = mistakes.to_string();
            assert!(!mistakes.list().is_empty() && shown.contains(" in gateway.toml"), "{source}\n{shown}");
            for mistake in mistakes.list() {
                let inside = mistake.span.as_ref().is_none_or(|span| span.end <= source.len());
                assert!(inside && !mistake.message.is_empty(), "{source}\n{shown}");
            }
        }
        assert_eq!(document.is_whole(), source.parse::<toml::Table>().is_ok(), "{source}");
    }
    assert!(wrong > 1000, "{wrong}");
}
