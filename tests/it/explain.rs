//! `vestibule explain`: what would be decided, check by check, by the code that decides; and nothing happens by it.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use vestibule::enforce::explain::CHECKS;

use super::harness::process::{Ended, Process, run};
use super::harness::{ALICE, Application, BOB, Client, Gateway, Setup, USER_AGENT, top, users};

/// A configuration whose lines are known by their numbers.
const CONFIG: &str = r#"[server]
listen = ["127.0.0.1:0"]
[[server.certificate]]
cert = "c.crt"
key = "c.key"
generate = true
[session.lifetime]
idle = "20m"
[session.binding.ip]
mode = "exact"
answer = "log"
[roles.admin]
idle = "10m"
[login.local]
users = "users.toml"
[[upstream]]
name = "shop"
servers = ["http://127.0.0.1:9"]
[[route]]
path = "/"
upstream = "shop"
[[route]]
host = "*.example.test"
path = "/admin"
upstream = "shop"
roles = ["admin", "ops"]
max_auth_age = "5m"
[[route]]
path = "/visit"
upstream = "shop"
access = "anonymous"
"#;

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("gateway.toml"), CONFIG).expect("written");
    fs::write(folder.path().join("users.toml"), users()).expect("written");
    folder
}

fn explain(folder: &Path, request: &str, more: &[&str]) -> Ended {
    run(folder, &[&["explain", "--request", request], more].concat(), "")
}

/// What is explained, for people.
fn told(folder: &Path, request: &str, more: &[&str]) -> String {
    let ended = explain(folder, request, more);
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{ended:?}");
    ended.stdout
}

/// The same, for programs.
fn seen(folder: &Path, request: &str, more: &[&str]) -> Value {
    serde_json::from_str(&told(folder, request, &[more, &["--json"]].concat())).expect("JSON")
}

/// What a check found, if it was made.
fn step_found<'a>(explanation: &'a Value, check: &str) -> Option<&'a str> {
    let steps = explanation["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["check"] == check)?["found"].as_str()
}

/// The step of a check.
fn step<'a>(explanation: &'a Value, check: &str) -> &'a Value {
    let steps = explanation["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["check"] == check).unwrap_or_else(|| panic!("no {check} in {explanation:#}"))
}

const GOLDEN: &str = r#"GET https://a.example.test/admin/users
by alice, with the role admin; signed in 3h ago, last active 4m ago, from 192.0.2.7
  taken to be so: the browser is the one that signed in
  taken to be so: it speaks TLS as it did then
  taken to be so: its cookie is the current one

route       /admin on *.example.test, which leads to "shop"
              gateway.toml:23  host = "*.example.test"
              gateway.toml:24  path = "/admin"
              gateway.toml:25  upstream = "shop"
access      authenticated
              default  access = "authenticated"
csrf        changes nothing: by GET; nothing is said of where it is from
              default  csrf.mode = "enforce"
session     found
revoked     no
generation  current, a successor is due: number 0, since 3h
              default  session.rotation.every = "15m"
              default  session.rotation.grace = "1m"
lifetime    within its limits: last active 4m ago, of 10m at the most; signed in 3h ago, of 12h at the most
              gateway.toml:8   session.lifetime.idle = "20m"
              default          session.lifetime.absolute = "12h"
              gateway.toml:13  roles.admin.idle = "10m"
binding     ip
              gateway.toml:10  session.binding.ip.mode = "exact"
              gateway.toml:11  session.binding.ip.answer = "log"
roles       has one: the route asks for one of admin, ops; alice has admin
              gateway.toml:26  roles = ["admin", "ops"]
recency     max_auth_age: by GET; signed in 3h ago, longest pause since then 4m
              gateway.toml:27  max_auth_age = "5m"

They are asked to sign in (max_auth_age).
They are told: Please enter your password again: what you want to do asks for it if you signed in some time ago.
A person who goes there gets 302, to the login page; a script gets 401 and the reason as JSON.
"#;

#[test]
fn it_is_told_check_by_check_with_the_lines_behind() {
    let folder = folder();
    let more =
        ["--user", "alice", "--age", "3h", "--idle", "4m", "--address", "198.51.100.1", "--signed-in-at", "192.0.2.7"];
    let shown = told(folder.path(), "GET https://A.example.test:8443//admin;x/%75sers", &more);
    assert_eq!(shown, GOLDEN);
}

#[test]
fn each_kind_of_outcome_is_told() {
    let folder = folder();
    let told = |request: &str, more: &[&str]| told(folder.path(), request, more);
    for (request, more, words) in [
        ("https://x.test/", &[][..], "They are asked to sign in (no_session).\nA person who goes there gets 302, to"),
        ("POST https://x.test/", &[], "A person who goes there gets 303, to the login page; a script gets 401"),
        (
            "https://x.test/",
            &["--user", "bob"],
            "It may pass: \"shop\" is asked, and told who it is:\n  x-forwarded-user: bob\n",
        ),
        ("https://x.test/visit", &[], "It may pass, with a stranger's session that is made for it: \"shop\" is asked."),
        (
            "https://a.example.test/admin",
            &["--user", "bob"],
            "roles       has none of them: the route asks for one of admin, ops; bob has staff\n              gateway.toml:26  roles",
        ),
        (
            "https://a.example.test/admin",
            &["--user", "bob"],
            "The request is refused (missing_role).\nA person who goes there gets 403",
        ),
        (
            "https://x.test/a/../b",
            &[],
            "The request is refused before anything is decided.\nThey are told: The path of",
        ),
        (
            "POST https://x.test:8443/",
            &["--user", "bob"],
            "To explain one from a page of this site, add:\n  --header 'Origin: https://x.test:8443'",
        ),
        (
            "POST https://x.test:8443/",
            &["--user", "bob", "--header", "Origin: https://x.test:8443"],
            "It may pass: \"shop\" is asked",
        ),
        ("https://x.test/.vestibule/login", &[], "This is one of the gateway's own pages"),
        ("https://x.test/", &["--user", "alice", "--idle", "10m"], "The session ends by it (idle)."),
        ("https://x.test/", &["--user", "bob", "--idle", "10m"], "It may pass: "),
        (
            "https://x.test/",
            &["--user", "bob", "--age", "11h59m"],
            "signed in 11h 59m ago, of 12h at the most\n              gateway.toml:8  session.lifetime.idle = \"20m\"",
        ),
        ("https://x.test/", &["--user", "carol"], "revoked            it has ended: account_disabled, 0s ago"),
        (
            "https://x.test/",
            &["--user", "bob", "--signed-in-with", USER_AGENT, "--header", "User-Agent: curl/8"],
            "binding            user_agent\n                     default  session.binding.user_agent.mode = \"family\"\n                     \
             default  session.binding.user_agent.answer = \"end\"\n",
        ),
    ] {
        let shown = told(request, more);
        assert!(shown.contains(words), "{request} {more:?}: {words} is not in:\n{shown}");
    }
    fs::write(folder.path().join("gateway.toml"), CONFIG.replace("path = \"/\"", "path = \"/shop\"")).expect("written");
    let shown = told("https://x.test/other", &[]);
    assert!(shown.contains("route  none\n\nThe request is refused: no route leads anywhere (no_route).\n"), "{shown}");
    assert!(shown.contains("A person who goes there gets 404"), "{shown}");
}

#[test]
fn what_cannot_be_explained_says_what_to_write() {
    let folder = folder();
    let refused = |request: &str, more: &[&str]| {
        let ended = explain(folder.path(), request, more);
        assert_eq!((ended.code(), &*ended.stdout), (Some(1), ""), "{ended:?}");
        ended.stderr
    };
    for (request, more, words) in [
        ("nothing", &[][..], "write one like 'GET https://app.example.com/path'"),
        ("GET http://x.test/", &[], "only leads to https://"),
        ("https://x.test/", &["--user", "alcie"], "there is no user \"alcie\" in users.toml; did you mean \"alice\"?"),
        ("https://x.test/", &["--header", "Cookie: a=b"], "--session or --user"),
        ("https://x.test/", &["--header", "Origin"], "write one like 'Origin: https://app.example.com'"),
        ("https://x.test/", &["--user", "bob", "--age", "1m", "--idle", "2m"], "nobody is idle for longer (2m)"),
        ("https://x.test/", &["--user", "bob", "--signed-in-with", "x"], "--header 'User-Agent: …'"),
        ("https://x.test/", &["--session", "DvlvGhxp-vIHxZVhHGYxzw"], "has no \"listen\" in [admin]"),
    ] {
        let said = refused(request, more);
        assert!(said.contains(words), "{request} {more:?}: {words} is not in: {said}");
    }
    assert_eq!(explain(folder.path(), "https://x.test/", &["--age", "1m"]).code(), Some(2), "whose?");
    fs::write(folder.path().join("gateway.toml"), CONFIG.replace("idle", "idel")).expect("written");
    assert!(refused("https://x.test/", &[]).contains("did you mean \"idle\"?"));
}

/// The names of the checks that the pure core tells of, as its source has them.
fn names_in_traces() -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(top().join("src/policy/check")).expect("a folder").collect();
    files.extend(fs::read_dir(top().join("src/policy")).expect("a folder"));
    let mut names = Vec::new();
    for file in files.into_iter().map(|entry| entry.expect("an entry").path()) {
        if file.is_dir() || file.ends_with("trace.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a source file");
        for call in text.split("trace.step(").skip(1).map(str::trim_start) {
            let name = call.strip_prefix('"').and_then(|rest| rest.split_once('"'));
            let (name, _) = name.unwrap_or_else(|| panic!("{}: a step whose name is no text", file.display()));
            names.push(name.to_owned());
        }
    }
    names
}

#[test]
fn every_check_has_its_row() {
    let names = names_in_traces();
    assert!(names.len() >= 9, "{names:?}");
    for name in &names {
        let has_row = CHECKS.iter().any(|check| check.name == name);
        assert!(has_row, "the check \"{name}\" has no row in src/enforce/explain/checks.rs");
    }
    for check in CHECKS {
        assert!(names.iter().any(|name| name == check.name), "nothing tells of a check \"{}\"", check.name);
    }
}

/// What the admin API explains of a gateway in this process.
fn of_gateway(gateway: &Gateway, folder: &Path, request: &str, session: &str) -> Value {
    let place = format!("unix:{}", folder.join("admin.sock").display());
    let more = ["--admin", &place, "--session", session];
    seen(gateway.folder.path(), request, &more)
}

#[test]
fn it_says_what_the_gateway_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("admin.sock");
    let mut setup =
        Setup::new().extra(&format!("[admin]\nlisten = \"unix:{}\"\n[roles.admin]\nidle = \"10m\"", socket.display()));
    setup.routes += "[[route]]\npath = \"/fresh\"\nupstream = \"app\"\nmax_auth_age = \"5m\"\n";
    let gateway = setup.unlimited().start();
    let paths = ["/", "/public", "/optional", "/anonymous", "/admin", "/fresh", "/admin;x/y", "/a/../b", "/%2e"];
    for minutes in [0, 6, 11, 45] {
        for (who, path) in [ALICE, BOB].into_iter().flat_map(|who| paths.map(|path| (who, path))) {
            // A session to which nothing has happened since.
            let client = gateway.signed_in(who);
            let handle = gateway.sessions_of(who.0)[0].handle().to_string();
            gateway.advance(minutes * 60);
            let explained = of_gateway(&gateway, folder.path(), &format!("https://localhost{path}"), &handle);
            let what = format!("{minutes} {} {path}: {explained:#}", who.0);
            let script = client.get(path).send();
            // A sweep may have ended it before anybody asked.
            let has_ended = gateway.sessions_of(who.0).is_empty();
            let is_told = explained["ends"].is_string() || step_found(&explained, "revoked") == Some("it has ended");
            assert!(has_ended || !is_told, "{what}");
            assert!(!has_ended || minutes > 10, "{what}");
            match explained["status"].as_object() {
                None => assert_eq!(script.status, 200, "{what}"),
                Some(statuses) => {
                    assert_eq!(statuses["script"], script.status, "{what}");
                    assert_eq!(explained["reason"], script.json()["reason"], "{what}");
                    assert_eq!(statuses["navigation"], client.visit(path).send().status, "{what}");
                }
            }
            gateway.revoke(who.0);
        }
    }
}

#[test]
fn the_application_is_told_what_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let extra = format!("[admin]\nlisten = \"unix:{}\"", folder.path().join("admin.sock").display());
    let gateway = Setup::new().extra(&extra).start();
    let client = gateway.signed_in(ALICE);
    let handle = gateway.sessions_of("alice")[0].handle().to_string();
    let explained = of_gateway(&gateway, folder.path(), "GET https://localhost/admin", &handle);
    client.get("/admin").send();
    let received = gateway.application.last();
    let headers = explained["headers"].as_array().expect("headers");
    assert_eq!(headers.len(), 4);
    for header in headers {
        let (name, value) = (header[0].as_str().expect("a name"), header[1].as_str());
        assert_eq!(received.header(name), value, "{name}");
    }
}

#[test]
fn nothing_happens_to_a_session_that_is_explained_and_nothing_secret_is_told() {
    let application = Application::start();
    let folder = super::binary::folder(application.address(), "[session.lifetime]\nidle = \"30m\"\n");
    let gateway = Process::serve(folder.path());
    let alice = super::binary::signed_in(gateway.address(), ALICE);
    let listed = run(folder.path(), &["sessions", "list", "--json"], "").stdout;
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let handle = listed[0]["handle"].as_str().expect("a handle").to_owned();
    let show = || -> Value {
        serde_json::from_str(&run(folder.path(), &["sessions", "show", &handle, "--json"], "").stdout).expect("JSON")
    };
    let (before, log) = (show(), gateway.stdout.text());
    let session = ["--session", &handle];
    let line = step(&seen(folder.path(), "https://localhost/x", &session), "lifetime")["lines"][0].clone();
    assert_eq!(line["text"], "idle = \"30m\"");
    let at = line["at"].as_str().and_then(|at| at.strip_prefix("gateway.toml:")).expect("a line").to_owned();
    let text = fs::read_to_string(folder.path().join("gateway.toml")).expect("a file");
    assert_eq!(text.lines().nth(at.parse::<usize>().expect("a number") - 1), Some("idle = \"30m\""));
    // Also a request that would end it, from elsewhere: it is only asked about.
    let browser = ["--session", &handle, "--header", "User-Agent: curl/8", "--address", "192.0.2.1"];
    let explained = seen(folder.path(), "https://localhost/x", &browser);
    assert_eq!((&explained["verdict"], &explained["ends"]), (&"sign_in".into(), &"binding_user_agent".into()));
    let after = show();
    for key in ["active_at", "generation", "generation_since", "ended", "authenticated_at"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(alice.get("/x").send().status, 200, "it goes on");
    assert!(!log.contains("session.ended") && !gateway.stdout.text().contains("binding"), "nothing is noted");
    let whole = told(folder.path(), "https://localhost/x", &["--session", &handle, "--json"]);
    assert!(!whole.contains(&alice.session()) && !whole.contains("seed") && !whole.contains("proof"), "{whole}");
    // The lines are those in force, also while the file on disk is refused.
    fs::write(folder.path().join("gateway.toml"), format!("\n\nlisten = 1\n{text}")).expect("written");
    let place = format!("unix:{}/admin.sock", folder.path().display());
    let explained = seen(folder.path(), "https://localhost/x", &["--session", &handle, "--admin", &place]);
    assert_eq!(step(&explained, "lifetime")["lines"][0], line);
    let unknown = explain(folder.path(), "https://localhost/", &["--admin", &place, "--session", &"A".repeat(22)]);
    assert_eq!((unknown.code(), &*unknown.stderr), (Some(1), "there is no such session\n"));
    fs::write(folder.path().join("gateway.toml"), text).expect("written");
    assert_eq!(gateway.stop("TERM").code(), Some(0));
}

#[test]
fn a_session_that_has_ended_says_why_and_when() {
    let folder = tempfile::tempdir().expect("a folder");
    let extra = format!("[admin]\nlisten = \"unix:{}\"", folder.path().join("admin.sock").display());
    let gateway = Setup::new().extra(&extra).start();
    let _client: Client = gateway.signed_in(BOB);
    let handle = gateway.sessions_of("bob")[0].handle().to_string();
    gateway.revoke("bob");
    gateway.advance(90 * 60);
    let explained = of_gateway(&gateway, folder.path(), "https://localhost/", &handle);
    assert_eq!(explained["reason"], "revoked");
    assert_eq!(step(&explained, "revoked")["from"], "revoked, 1h 30m ago");
}

#[test]
fn at_a_tenant_it_is_the_tenants_people_and_limits_that_count() {
    let folder = folder();
    let tenant = "[[tenant]]\nname = \"acme\"\nhosts = [\"*.acme.test\"]\n[tenant.session.lifetime]\nidle = \"5m\"\n\
                  [tenant.login.local]\nusers = \"acme.toml\"\n";
    fs::write(folder.path().join("gateway.toml"), format!("{CONFIG}{tenant}")).expect("written");
    let carol = users().split("[[user]]").nth(1).expect("somebody").replace("\"alice\"", "\"dora\"");
    fs::write(folder.path().join("acme.toml"), format!("[[user]]{carol}")).expect("written");
    let (there, here) = ("GET https://shop.acme.test/", "GET https://shop.test/");
    let by = |name: &str, request: &str| explain(folder.path(), request, &["--user", name, "--idle", "6m"]);
    assert!(by("dora", there).stdout.contains("They are asked to sign in (idle)"), "{:?}", by("dora", there));
    assert!(by("alice", here).stdout.contains("It may pass"), "{:?}", by("alice", here));
    assert!(by("dora", here).stderr.contains("there is no user \"dora\" in users.toml"), "{:?}", by("dora", here));
    let nobody = by("alice", there).stderr;
    assert!(
        nobody.contains("there is no user \"alice\" in acme.toml, where the users of the tenant \"acme\" are"),
        "{nobody}"
    );
}

/// Whose line it is that counts: the tenant's where it is tighter, the one at the top where that is.
#[test]
fn at_a_tenant_the_lines_are_those_that_count() {
    let folder = folder();
    let acme = fs::read_to_string(folder.path().join("users.toml")).expect("users");
    fs::write(folder.path().join("acme.toml"), acme).expect("written");
    let lines = |top: &str, own: &str, user: &str| {
        let tenant = format!(
            "[[tenant]]\nname = \"globex\"\nhosts = [\"globex.test\"]\n[tenant.login.local]\nusers = \"acme.toml\"\n\
             [[tenant]]\nname = \"acme\"\nhosts = [\"*.acme.test\"]\n[tenant.login.local]\nusers = \"acme.toml\"\n{own}\n"
        );
        let text = format!("{CONFIG}{top}\n{tenant}");
        fs::write(folder.path().join("gateway.toml"), &text).expect("written");
        let explained = seen(folder.path(), "GET https://shop.acme.test/", &["--user", user]);
        let lines = step(&explained, "lifetime")["lines"].as_array().expect("lines").clone();
        let told = lines.iter().map(|line| {
            let key = line["key"].as_str().expect("a key");
            if let Some(at) = line["at"].as_str() {
                let number: usize = at.strip_prefix("gateway.toml:").expect("a line").parse().expect("a number");
                let written = text.lines().nth(number - 1).expect("it is there");
                assert_eq!(Some(written), line["text"].as_str(), "the line that is named");
            }
            format!("{key} {}", line["text"].as_str().and_then(|text| text.split_once(" = ")).expect("a value").1)
        });
        let host = step(&explained, "host");
        assert_eq!(host["found"], "the tenant \"acme\"'s");
        assert_eq!(host["lines"][0]["text"], "hosts = [\"*.acme.test\"]");
        told.collect::<Vec<_>>()
    };
    let own = |table: &str, keys: &str| format!("[tenant.{table}]\n{keys}\n");
    let (idle, absolute) = ("session.lifetime.idle \"20m\"", "session.lifetime.absolute \"12h\"");
    let admin = "roles.admin.idle \"10m\"";
    assert_eq!(lines("", "", "bob"), [idle, absolute], "nothing is the tenant's");
    assert_eq!(lines("", "", "alice"), [idle, absolute, admin]);
    let shorter = own("session.lifetime", "idle = \"15m\"\nabsolute = \"2h\"");
    let [own_idle, own_absolute] =
        ["tenant[1].session.lifetime.idle \"15m\"", "tenant[1].session.lifetime.absolute \"2h\""];
    assert_eq!(lines("", &shorter, "bob"), [own_idle, own_absolute]);
    assert_eq!(lines("", &own("session.lifetime", "absolute = \"2h\""), "bob"), [idle, own_absolute]);
    assert_eq!(
        lines("", &own("session.lifetime", "absolute = \"15m\""), "bob"),
        ["tenant[1].session.lifetime.absolute \"15m\""],
        "it is what the idle limit comes to as well"
    );
    // Of a role that both say something of, the tighter.
    let roles = |limit: &str| [&*shorter, &*own("roles.admin", &format!("idle = \"{limit}\""))].concat();
    assert_eq!(lines("", &roles("5m"), "alice"), [own_idle, own_absolute, "tenant[1].roles.admin.idle \"5m\""]);
    assert_eq!(lines("", &roles("12m"), "alice"), [own_idle, own_absolute, admin]);
    assert_eq!(lines("", &roles("5m"), "bob"), [own_idle, own_absolute], "she has the role");
    // For people, without its number in the file.
    let shown = told(folder.path(), "GET https://shop.acme.test/", &["--user", "bob"]);
    assert!(
        shown.contains("host        the tenant \"acme\"'s\n") || shown.contains("the tenant \"acme\"'s\n"),
        "{shown}"
    );
    assert!(shown.contains("  tenant.session.lifetime.idle = \"15m\"\n") && !shown.contains("tenant[1]"), "{shown}");
}

/// Of a session that is remembered, by the running gateway.
#[test]
fn of_who_is_remembered_the_lines_are_those_that_make_them_so() {
    use super::tenants::{ACME, ALICE_OF_ACME, at, edit, reload, setup, tenant};
    let folder = tempfile::tempdir().expect("a folder");
    let top =
        format!("[admin]\nlisten = \"unix:{}\"\n[session.remember_me]\n", folder.path().join("admin.sock").display());
    let own = "[tenant.session.remember_me]\nidle = \"2d\"\n";
    let gateway = setup(own, "", "").extra(&top).start();
    let client = at(&gateway, ACME);
    let attempt = super::harness::hidden(&client.visit("/.vestibule/login").send(), "attempt");
    let (name, password) = ALICE_OF_ACME;
    let fields = [
        ("username", name),
        ("password", password),
        ("attempt", &*attempt),
        ("remember_offered", "1"),
        ("remember", "1"),
    ];
    assert_eq!(client.post_form("/.vestibule/login", &fields).send().status, 303);
    let handle = gateway.sessions_at(tenant("acme"), "alice")[0].handle().to_string();
    let keys = || {
        let explained = of_gateway(&gateway, folder.path(), &format!("https://{ACME}/"), &handle);
        let lines = step(&explained, "lifetime")["lines"].as_array().expect("lines").clone();
        lines.iter().map(|line| line["key"].as_str().expect("a key").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(), ["tenant[0].session.remember_me.idle", "session.remember_me.absolute"]);
    let roles = "[tenant.roles.admin]\nremember_me = false\n";
    edit(&gateway, "gateway.toml", |text| text.replacen(own, &format!("{own}{roles}"), 1));
    reload(&gateway);
    let of_all = ["session.lifetime.idle", "session.lifetime.absolute"];
    assert_eq!(keys(), [&of_all[..], &["tenant[0].roles.admin.remember_me"]].concat());
    edit(&gateway, "gateway.toml", |text| {
        text.replacen(&format!("{own}{roles}"), "[tenant.session.remember_me]\noffered = false\n", 1)
    });
    reload(&gateway);
    assert_eq!(keys(), [&of_all[..], &["tenant[0].session.remember_me.offered"]].concat());
}

#[test]
fn a_websocket_of_another_site_is_explained_as_it_is_refused() {
    let folder = folder();
    let upgrade = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let with = |origin: &str| {
        let headers = upgrade.iter().copied().chain([origin]).flat_map(|header| ["--header", header]);
        let more: Vec<&str> = ["--user", "alice"].into_iter().chain(headers).collect();
        told(folder.path(), "GET https://x.test/", &more)
    };
    let refused = with("Origin: https://evil.test");
    assert!(refused.contains("a WebSocket of another origin") && refused.contains("(websocket_origin)"), "{refused}");
    assert!(with("Origin: https://x.test").contains("It may pass"), "{}", with("Origin: https://x.test"));
}

#[test]
fn what_is_said_of_a_user_is_said_of_no_session_and_may_be_that_they_are_remembered() {
    let folder = folder();
    let handle = "DvlvGhxp-vIHxZVhHGYxzw";
    for more in [["--idle", "5m"], ["--age", "5m"], ["--signed-in-at", "192.0.2.1"], ["--signed-in-with", "x"]] {
        let ended = explain(folder.path(), "https://localhost/", &[&["--session", handle], &more[..]].concat());
        assert_eq!(ended.code(), Some(2), "{more:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("cannot be used with"), "{more:?}: {}", ended.stderr);
    }
    fs::write(folder.path().join("gateway.toml"), format!("{CONFIG}[session.remember_me]\n")).expect("written");
    let away = ["--user", "bob", "--age", "2d", "--idle", "1d"];
    assert_eq!(seen(folder.path(), "https://localhost/", &away)["verdict"], "sign_in");
    let asked = [&away[..], &["--remembered"]].concat();
    assert_eq!(seen(folder.path(), "https://localhost/", &asked)["verdict"], "allow");
}
