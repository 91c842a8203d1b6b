//! The configuration read again while the gateway runs: new requests have the new one, and nobody is disturbed who is not
//! meant. Users who are taken away, or have another password or other rights, notice at once.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use vestibule::base::random::Random;
use vestibule::enforce::establish::{self, Place, SignedIn};
use vestibule::enforce::reloads::{Cause, Outcome, Reloaded};
use vestibule::enforce::snapshot::Snapshot;
use vestibule::login::users::hash_password;
use vestibule::session::binding::TlsFingerprint;
use vestibule::session::record::EndReason;
use vestibule::upstream::group::Upstream;

use super::harness::process::{Process, plain, run};
use super::harness::{
    ALICE, Application, BOB, Client, Gateway, Line, Raw, Scripted, Setup, Stream, USER_AGENT, Version, advance_until,
    eventually, users,
};

fn config(gateway: &Gateway) -> PathBuf {
    gateway.folder.path().join("gateway.toml")
}

/// Writes something else in a file.
fn edit(file: &std::path::Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("a file");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    fs::write(file, text.replacen(from, to, 1)).expect("written");
}

/// Has the configuration read again.
fn ask(gateway: &Gateway) -> Outcome {
    gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()))
}

fn reload(gateway: &Gateway) -> Reloaded {
    ask(gateway).unwrap_or_else(|words| panic!("refused: {words}"))
}

fn snapshot(gateway: &Gateway) -> Arc<Snapshot> {
    gateway.running().shared.snapshot.load_full()
}

fn version(gateway: &Gateway) -> u64 {
    snapshot(gateway).version
}

fn users_file(gateway: &Gateway) -> PathBuf {
    gateway.folder.path().join("users.toml")
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.running().shared.render_metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |number| number.parse().expect("a number"))
}

/// Opens the endless answer and reads its first piece.
fn streaming<'a>(client: &'a Client, path: &str) -> Stream<'a> {
    let (answer, mut stream) = client.get(path).open();
    assert_eq!(answer.status, 200);
    assert!(stream.next().is_some_and(|piece| piece.is_ok()));
    stream
}

fn is_cut(stream: &mut Stream<'_>) -> bool {
    (0..50).any(|_| matches!(stream.next(), Some(Err(_))))
}

/// What a session that ended says to its person.
fn assert_ended(client: &Client, reason: EndReason) {
    let answer = client.get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some(reason.name())));
    let led = client.visit("/").send();
    assert_eq!(led.status, 302);
    assert!(client.visit(led.header("location")).send().text().contains(reason.sentence()));
}

#[test]
fn what_is_asked_for_is_taken_by_the_next_request_and_counted() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    assert_eq!(client.get("/shop").send().status, 200);
    edit(
        &config(&gateway),
        "roles = [\"admin\"]",
        "roles = [\"admin\"]\n[[route]]\npath = \"/shop\"\nroles = [\"x\"]\nupstream = \"app\"",
    );
    assert_eq!(reload(&gateway), Reloaded { version: 2, ..Reloaded::default() });
    assert_eq!(client.get("/shop").send().status, 403);
    assert_eq!(client.get("/").send().status, 200);
    assert_eq!(metric(&gateway, "vestibule_reloads_total{reason=\"taken\"}"), 1);
    gateway.log.wait_for(&["configuration.reloaded", "version_2"]);
}

#[test]
fn a_bad_file_is_refused_in_the_words_of_check_and_the_one_before_stays() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let good = fs::read_to_string(config(&gateway)).expect("a file");
    let folder = gateway.folder.path();
    let break_it: [&dyn Fn(); 5] = [
        &|| edit(&config(&gateway), "upstream = \"app\"", "upstrem = \"app\""),
        &|| fs::write(config(&gateway), &good[..good.find("upstream = ").expect("a route") + 9]).expect("written"),
        &|| fs::remove_file(config(&gateway)).expect("removed"),
        &|| fs::remove_file(users_file(&gateway)).expect("removed"),
        &|| edit(&users_file(&gateway), "name = \"alice\"", "name = \"al,ice\""),
    ];
    for (at, break_it) in break_it.iter().enumerate() {
        break_it();
        let path = config(&gateway);
        let checked = run(folder, &["check", "--config", path.to_str().expect("text")], "");
        assert_eq!(ask(&gateway), Err(checked.stderr.trim_end_matches('\n').to_owned()), "{at}");
        assert_eq!((checked.code(), version(&gateway)), (Some(1), 1), "{at}");
        assert_eq!(client.get("/").send().status, 200, "{at}");
        assert_eq!(client.get("/admin").send().status, 200, "{at}");
        fs::write(config(&gateway), &good).expect("written");
        fs::write(users_file(&gateway), users()).expect("written");
    }
    assert_eq!(metric(&gateway, "vestibule_reloads_total{reason=\"refused\"}"), 5);
    gateway.log.wait_for(&["configuration.refused"]);
    assert_eq!(reload(&gateway).version, 2, "whole again");
}

#[test]
fn files_are_taken_when_they_change_and_what_was_refused_is_tried_again() {
    let gateway = Setup::new().start();
    edit(&config(&gateway), "access = \"public\"", "access = \"authenticated\"");
    advance_until(&gateway, "it is seen", || version(&gateway) == 2);
    assert_eq!(gateway.client().get("/public").send().status, 401);
    edit(&config(&gateway), "users = \"users.toml\"", "users = \"others.toml\"");
    let refused = || metric(&gateway, "vestibule_reloads_total{reason=\"refused\"}");
    advance_until(&gateway, "it is refused", || refused() == 1);
    (0..40).for_each(|_| gateway.advance(1));
    // The file that it names comes to be there.
    let both = users().replace("\"bob\"", "\"bobby\"");
    fs::write(gateway.folder.path().join("others.toml"), both).expect("written");
    advance_until(&gateway, "it is taken", || version(&gateway) == 3);
    assert!(snapshot(&gateway).default.users.as_ref().is_some_and(|users| users.get("bobby").is_some()));
    assert_eq!(refused(), 1, "told once");
    // Put in its place in one step, and by a link, as Kubernetes does.
    let (next, link) = (gateway.folder.path().join("next.toml"), gateway.folder.path().join("others.toml"));
    fs::write(&next, users()).expect("written");
    fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink(&next, &link).expect("linked");
    advance_until(&gateway, "it is taken", || version(&gateway) == 4);
    (0..20).for_each(|_| gateway.advance(1));
    assert_eq!(version(&gateway), 4, "nothing has changed");
}

/// A users file that is half written is one in which many people are not.
#[test]
fn a_file_that_is_being_written_signs_nobody_out() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(BOB);
    let whole = users();
    for at in 0..60 {
        let half = &whole[..whole.find("[[user]]\nname = \"bob\"").expect("bob")];
        fs::write(users_file(&gateway), if at % 2 == 0 { half } else { whole }).expect("written");
        // One look, which may come late.
        gateway.clock.advance(vestibule::reload::LOOK_EVERY);
        assert_eq!(client.get("/").send().status, 200, "{at}");
    }
    fs::write(users_file(&gateway), &whole[..whole.find("[[user]]\nname = \"bob\"").expect("bob")]).expect("written");
    advance_until(&gateway, "he is gone in earnest", || gateway.sessions_of("bob").is_empty());
    assert_ended(&client, EndReason::AccountDisabled);
}

/// Says which connection it is asked on, and counts them.
fn counting() -> (Scripted, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&count);
    let server = Scripted::start(move |mut line: Line| {
        counts.fetch_add(1, Ordering::SeqCst);
        while line.request().is_some() {
            line.say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    (server, count)
}

#[test]
fn sessions_limits_connections_and_upstreams_are_carried_over() {
    let (server, connections) = counting();
    let mut setup = Setup::new().in_front_of(&server).extra("[limits]\nper_address = \"30/m\"\nper_session = \"20/m\"");
    setup.workers = 1;
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    let mut alive = Raw::shaking(gateway.address, super::harness::Hello::default()).expect("shaken");
    let get = format!("GET /public HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {USER_AGENT}\r\n\r\n");
    assert_eq!(alive.ask(&get).expect("an answer").status, 200);
    let (used, before) = (connections.load(Ordering::SeqCst), snapshot(&gateway));
    let mut answered = 0;
    for _ in 0..10 {
        edit(&config(&gateway), "path = \"/admin\"", "path = \"/admin\"\n# once more");
        reload(&gateway);
        answered += usize::from(client.get("/").send().status == 200);
        assert_eq!(alive.ask(&get).expect("an answer").status, 200, "the connection of a client stays");
    }
    assert_eq!(answered, 10);
    assert_eq!(connections.load(Ordering::SeqCst), used, "and so do those to applications");
    assert!(Arc::ptr_eq(&before.upstreams[0], &snapshot(&gateway).upstreams[0]));
    // 24 of 30 are used up, sign-in among them.
    let rest = (0..20).filter(|_| gateway.client().get("/public").send().status == 200).count();
    assert!(rest <= 7, "{rest} more were let in");
    // Another rate begins anew, and shuts nobody out for what was.
    gateway.advance(3600 * 24 * 3);
    edit(&config(&gateway), "30/m", "40/m");
    edit(&config(&gateway), "20/m", "25/m");
    reload(&gateway);
    let client = gateway.signed_in(ALICE);
    assert_eq!((0..20).filter(|_| client.get("/").send().status == 200).count(), 20);
    edit(&config(&gateway), "25/m", "26/m");
    reload(&gateway);
    gateway.advance(60);
    assert_eq!((0..20).filter(|_| client.get("/").send().status == 200).count(), 20);
}

#[test]
fn what_is_known_of_servers_stays_and_only_those_that_are_configured_are_asked() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let server = |name: &'static str, status: u16| {
        let asked = Arc::clone(&asked);
        Scripted::start(move |mut line: Line| {
            while let Some(request) = line.request() {
                let is_check = request.starts_with("GET /health");
                if is_check {
                    asked.lock().expect("a list").push(name);
                }
                let status = if is_check { status } else { 200 };
                line.say(format!("HTTP/1.1 {status} X\r\ncontent-length: 1\r\n\r\n{name}"));
            }
        })
    };
    let (a, b, c) = (server("a", 500), server("b", 200), server("c", 200));
    let mut setup = Setup::new().unlimited();
    setup.servers = Some(vec![a.url(), b.url()]);
    setup.upstream = "[upstream.health]\npath = \"/health\"\nunhealthy_after = 1".to_owned();
    let gateway = setup.start();
    eventually("a is not well", || snapshot(&gateway).upstreams[0].fails(0));
    let said = || (0..6).map(|_| gateway.client().get("/public").send().text()).collect::<String>();
    assert_eq!(said(), "bbbbbb");
    let times = |name| asked.lock().expect("a list").iter().filter(|asked| **asked == name).count();
    reload(&gateway);
    assert!(snapshot(&gateway).upstreams[0].fails(0) && said() == "bbbbbb");
    assert_eq!(times("a"), 1, "and is not asked again because of it");
    // With a setting changed it is another upstream of the same servers.
    let before = snapshot(&gateway);
    edit(&config(&gateway), "name = \"app\"", "name = \"app\"\nfirst_byte_timeout = \"59s\"");
    reload(&gateway);
    assert!(!Arc::ptr_eq(&before.upstreams[0], &snapshot(&gateway).upstreams[0]));
    assert_eq!(said(), "bbbbbb", "a request does not have to find out anew");
    let servers = format!("{:?}", [a.url(), b.url()]);
    edit(&config(&gateway), &servers, &format!("{:?}", [c.url()]));
    reload(&gateway);
    eventually("the new one is asked at once", || times("c") == 1);
    assert_eq!(said(), "cccccc");
    let (of_a, of_b) = (times("a"), times("b"));
    advance_until(&gateway, "it is asked on", || times("c") == 3);
    assert_eq!((times("a"), times("b")), (of_a, of_b), "and the others are not any more");
    let text = gateway.running().shared.render_metrics();
    let known: Vec<&str> = text.lines().filter(|line| line.starts_with("vestibule_upstream_healthy{")).collect();
    assert_eq!(known.len(), 1, "{known:?}");
    eventually("nobody holds the former", || {
        gateway.advance(1);
        Arc::strong_count(&before.upstreams[0]) == 1
    });
}

#[test]
fn whoever_is_taken_away_or_disabled_is_out_at_once_and_nobody_else() {
    let gateway = Setup::new().start();
    for (version, hers_before) in [(Version::H1, 0), (Version::H2, 1)] {
        let (alice, bob) = (gateway.signed_in(ALICE).speaking(version), gateway.signed_in(BOB).speaking(version));
        let elsewhere = gateway.signed_in(ALICE);
        let (mut hers, mut his) = (streaming(&alice, "/stream"), streaming(&bob, "/stream"));
        edit(&users_file(&gateway), "name = \"alice\"", "disabled = true\nname = \"alice\"");
        assert_eq!(reload(&gateway).ended, 2 + hers_before);
        assert!(is_cut(&mut hers));
        assert_ended(&alice, EndReason::AccountDisabled);
        assert_ended(&elsewhere, EndReason::AccountDisabled);
        assert_eq!(alice.sign_in(ALICE, "/").status, 401);
        assert!(gateway.application.goes_on(&mut his), "his goes on");
        gateway.log.wait_for(&["session.ended", "account_disabled"]);
        drop(his);
        edit(&users_file(&gateway), "name = \"bob\"", "name = \"robert\"");
        assert_eq!(reload(&gateway).ended, 1);
        assert_ended(&bob, EndReason::AccountDisabled);
        fs::write(users_file(&gateway), users()).expect("written");
        assert_eq!(reload(&gateway).ended, 0);
        assert_eq!(alice.sign_in(ALICE, "/").status, 303, "they may come back");
    }
}

#[test]
fn another_password_ends_the_sessions_that_the_former_began() {
    let gateway = Setup::new().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    let before = users().split('"').nth(3).expect("a hash").to_owned();
    let hash = hash_password("another horse battery", Random::System.bytes()).expect("a hash");
    edit(&users_file(&gateway), &before, &hash);
    let reloaded = reload(&gateway);
    assert_eq!((reloaded.ended, reloaded.changed), (1, 0));
    assert_ended(&alice, EndReason::PasswordChanged);
    assert_eq!(bob.get("/").send().status, 200);
    assert_eq!(gateway.client().sign_in((ALICE.0, "another horse battery"), "/").status, 303);
}

#[test]
fn other_rights_hold_at_once_in_sessions_that_are_there() {
    let gateway = Setup::new().start();
    for version in [Version::H1, Version::H2] {
        let (alice, bob) = (gateway.signed_in(ALICE).speaking(version), gateway.signed_in(BOB).speaking(version));
        let mut stream = streaming(&bob, "/stream");
        let mut hers = streaming(&alice, "/stream");
        assert_eq!(bob.get("/admin").send().status, 403);
        let text = users().replace("\"staff\"]\ngroups", "\"staff\", \"admin\"]\ngroups").replace("bob@", "robert@");
        fs::write(users_file(&gateway), text).expect("written");
        let reloaded = reload(&gateway);
        assert_eq!((reloaded.ended, reloaded.changed), (0, 1), "carol has no session, alice no other rights");
        assert!(is_cut(&mut stream), "its application was told of other rights");
        assert!(gateway.application.goes_on(&mut hers));
        drop((stream, hers));
        let (his, handle) = (bob.session(), gateway.sessions_of("bob")[0].handle());
        assert_eq!(bob.get("/admin").send().status, 200);
        let last = gateway.application.last();
        assert_eq!(last.header("x-forwarded-roles"), Some("staff,admin"));
        assert_eq!(last.header("x-forwarded-email"), Some("robert@example.test"));
        assert_ne!(bob.session(), his, "it has another secret");
        assert_eq!(gateway.sessions_of("bob")[0].handle(), handle, "the session is the same");
        // A stream that begins now is ended as any other.
        let mut stream = streaming(&bob, "/stream");
        fs::write(users_file(&gateway), users()).expect("written");
        assert_eq!(reload(&gateway).changed, 1);
        assert!(is_cut(&mut stream));
        assert_eq!(bob.get("/admin").send().status, 403, "and taken away they are gone");
        let mut stream = streaming(&bob, "/stream");
        gateway.revoke("bob");
        assert!(is_cut(&mut stream));
        advance_until(&gateway, "no stream is left behind", || gateway.open_streams() == 0);
    }
    gateway.log.wait_for(&["session.changed", "user=bob"]);
}

/// Rights that change with every reload are only kept so often; then the session ends.
#[test]
fn a_session_whose_rights_change_without_end_ends() {
    let gateway = Setup::new().start();
    let bob = gateway.signed_in(BOB);
    for at in 1..=vestibule::session::live::MAX_CHANGES + 1 {
        assert_eq!(bob.get("/").send().status, 200, "{at}");
        let text = users().replace("bob@", &format!("bob{at}@"));
        fs::write(users_file(&gateway), text).expect("written");
        reload(&gateway);
    }
    assert_ended(&bob, EndReason::Revoked);
}

#[test]
fn a_request_under_way_is_answered_by_the_rules_it_came_under() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let other = gateway.client();
            other.get("/public/gate").send().status
        });
        eventually("it is under way", || {
            gateway.application.received().iter().any(|seen| seen.uri.path() == "/public/gate")
        });
        edit(&config(&gateway), "access = \"public\"", "access = \"authenticated\"");
        edit(&config(&gateway), "name = \"app\"", "name = \"app\"\nidle_timeout = \"299s\"");
        reload(&gateway);
        assert_eq!(gateway.client().get("/public").send().status, 401);
        assert_eq!(client.get("/").send().status, 200);
        gateway.application.open_gate();
        assert_eq!(waiting.join().expect("an answer"), 200);
    });
}

/// Their password was checked by the users of the moment before.
#[test]
fn whoever_signs_in_just_then_is_held_against_the_newest_users() {
    let gateway = Setup::new().start();
    let sign_in = |before: &Snapshot, name: &str| {
        let shared = &gateway.running().shared;
        let principal = before.default.users.as_ref().and_then(|users| users.get(name)).expect("a user").principal();
        let client = "127.0.0.1".parse().expect("an address");
        let place = Place { client, user_agent: USER_AGENT.as_bytes(), tls: TlsFingerprint::UNKNOWN };
        let done = establish::sign_in(shared, &before.default, principal, None, place, None, None, shared.clock.now());
        match gateway.block_on(done).expect("the store works") {
            SignedIn::Yes(made) => made.live,
            SignedIn::Full(_) | SignedIn::Before => panic!("nobody is limited"),
        }
    };
    let before = snapshot(&gateway);
    assert_eq!(sign_in(&before, "bob").ended(), None);
    edit(&users_file(&gateway), "name = \"alice\"", "disabled = true\nname = \"alice\"");
    edit(&users_file(&gateway), "[\"staff\"]", "[\"boss\"]");
    reload(&gateway);
    let reason = |live: &vestibule::session::live::Live| live.ended().map(|(reason, _)| reason);
    assert_eq!(reason(&sign_in(&before, "alice")), Some(EndReason::AccountDisabled));
    let bob = sign_in(&before, "bob");
    assert!(bob.ended().is_none() && bob.principal().is_some_and(|principal| principal.has_role("boss")));
    let hash = hash_password("staple staple staple", Random::System.bytes()).expect("a hash");
    let text = fs::read_to_string(users_file(&gateway)).expect("a file");
    let his = text.split("[[user]]").nth(2).and_then(|user| user.split('"').nth(3)).expect("a hash").to_owned();
    edit(&users_file(&gateway), &his, &hash);
    let before = snapshot(&gateway);
    reload(&gateway);
    assert_eq!(reason(&sign_in(&before, "bob")), Some(EndReason::PasswordChanged));
}

#[test]
fn users_are_taken_also_while_another_file_is_no_good() {
    let gateway = Setup::new().start();
    let (alice, bob) = (gateway.signed_in(ALICE), gateway.signed_in(BOB));
    edit(&config(&gateway), "[server]", "[sever]");
    edit(&users_file(&gateway), "name = \"alice\"", "disabled = true\nname = \"alice\"");
    advance_until(&gateway, "she is out", || gateway.sessions_of("alice").is_empty());
    assert_ended(&alice, EndReason::AccountDisabled);
    assert_eq!(bob.get("/").send().status, 200);
    assert_eq!(bob.get("/admin").send().status, 403, "the rest is as it was");
    assert!(ask(&gateway).is_err_and(|words| words.contains("[sever]")));
    edit(&users_file(&gateway), "name = \"bob\"", "disabled = 7\nname = \"bob\"");
    assert!(ask(&gateway).is_err_and(|words| words.contains("disabled")));
    (0..10).for_each(|_| gateway.advance(1));
    assert_eq!(bob.get("/").send().status, 200, "and a bad users file is not taken");
    edit(&users_file(&gateway), "disabled = 7", "disabled = true");
    advance_until(&gateway, "he is out", || gateway.sessions_of("bob").is_empty());
    assert_eq!(bob.get("/").send().status, 401);
}

#[test]
fn what_takes_a_restart_is_named_and_keeps_nothing_else_from_being_taken() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    edit(&config(&gateway), "127.0.0.1:0", "127.0.0.2:0");
    edit(&config(&gateway), "workers = 2", "workers = 3\nhsts = \"1d\"");
    let extra = "[session.store]\nkind = \"memory\"\n[log]\naccess = \"off\"\n[portal]\ntitle = \"Anew\"\n[[route]]";
    edit(&config(&gateway), "[[route]]", extra);
    for _ in 0..2 {
        let reloaded = reload(&gateway);
        assert_eq!(reloaded.takes_restart, ["server.listen", "server.workers", "session.store", "log.access"]);
        let answer = client.get("/").send();
        assert_eq!((answer.status, answer.header("strict-transport-security")), (200, "max-age=86400"));
    }
    assert!(gateway.client().visit("/.vestibule/login").send().text().contains("Anew"));
}

#[test]
fn lifetimes_and_bounds_of_connections_hold_for_what_is_there() {
    let mut setup = Setup::new();
    setup.workers = 1;
    let gateway = setup.start();
    let client = gateway.signed_in(ALICE);
    edit(&config(&gateway), "[login.local]", "[session.lifetime]\nidle = \"2m\"\n[login.local]");
    edit(&config(&gateway), "workers = 1", "workers = 1\nmax_connections_per_address = 2");
    reload(&gateway);
    gateway.advance(110);
    assert_eq!(client.get("/").send().status, 200);
    let mut held: Vec<_> = (0..2).map(|_| gateway.client().connect_raw()).collect();
    held.iter_mut().for_each(|held| drop(held.conn.complete_io(&mut held.sock)));
    let mut third = gateway.client().connect_raw();
    assert!(third.conn.complete_io(&mut third.sock).is_err(), "one too many");
    drop((held, third));
    eventually("they are gone", || gateway.connections() == 0);
    gateway.advance(125);
    assert_ended(&client, EndReason::Idle);
}

#[test]
fn certificates_come_and_go() {
    let mut setup = Setup::new();
    setup.certificates = vec![vec!["first.test"]];
    let gateway = setup.start();
    let shown = || {
        let hello = super::harness::Hello { sni: Some("b.test"), ..super::harness::Hello::default() };
        Raw::shaking(gateway.address, hello).expect("a handshake").certificate()
    };
    let first = shown();
    let made = rcgen::generate_simple_self_signed(["b.test".to_owned()]).expect("a certificate");
    fs::write(gateway.folder.path().join("b.crt"), made.cert.pem()).expect("written");
    fs::write(gateway.folder.path().join("b.key"), made.signing_key.serialize_pem()).expect("written");
    let table = "[[server.certificate]]\ncert = \"b.crt\"\nkey = \"b.key\"\n[login.local]";
    edit(&config(&gateway), "[login.local]", table);
    reload(&gateway);
    assert_eq!(&shown(), made.cert.der());
    edit(&config(&gateway), table, "[login.local]");
    reload(&gateway);
    assert_eq!(shown(), first);
}

/// The proof: a hundred times under load.
#[test]
fn a_hundred_reloads_under_load_fail_no_request_lose_no_session_and_leave_nothing_behind() {
    let setup = Setup::new().unlimited().extra("[[upstream]]\nname = \"other\"\nservers = [\"http://127.0.0.1:9\"]");
    let gateway = setup.start();
    let over = AtomicBool::new(false);
    let clients: Vec<Mutex<Client>> =
        [(ALICE, Version::H1), (ALICE, Version::H2), (BOB, Version::H1), (BOB, Version::H2)]
            .map(|(who, version)| Mutex::new(gateway.signed_in(who).speaking(version)))
            .into();
    let (mut snapshots, mut upstreams): (Vec<Weak<Snapshot>>, Vec<Weak<Upstream>>) = (Vec::new(), Vec::new());
    let sent = AtomicUsize::new(0);
    let mut resident = 0;
    std::thread::scope(|scope| {
        for client in &clients {
            let (over, sent) = (&over, &sent);
            scope.spawn(move || {
                let client = client.lock().expect("a client");
                while !over.load(Ordering::SeqCst) {
                    let answer = client.get("/page").send();
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    sent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let watched = gateway.signed_in(BOB);
        let mut stream = streaming(&watched, "/stream");
        for at in 0..100 {
            let before = sent.load(Ordering::SeqCst);
            let text = fs::read_to_string(config(&gateway)).expect("a file");
            // Every other time the upstream that is used is another one.
            let (used, unused) =
                (format!("idle_timeout = \"{}s\"", 100 + at / 2), format!("max_waiting = {}", 10 + at));
            let text: String = text
                .lines()
                .filter(|line| !line.starts_with("idle_timeout") && !line.starts_with("max_waiting"))
                .map(|line| format!("{line}\n"))
                .collect();
            let text = text.replace("name = \"app\"\n", &format!("name = \"app\"\n{used}\n"));
            let text = text.replace("name = \"other\"\n", &format!("name = \"other\"\n{unused}\n"));
            fs::write(config(&gateway), text).expect("written");
            let reloaded = reload(&gateway);
            assert_eq!((reloaded.version, reloaded.ended, reloaded.changed), (at + 2, 0, 0));
            let now = snapshot(&gateway);
            snapshots.push(Arc::downgrade(&now));
            upstreams.extend(now.upstreams.iter().map(Arc::downgrade));
            if at == 30 {
                resident = memory();
            }
            eventually("requests go on", || sent.load(Ordering::SeqCst) > before);
        }
        assert!(gateway.application.goes_on(&mut stream), "a stream goes on all the while");
        over.store(true, Ordering::SeqCst);
    });
    assert!(sent.load(Ordering::SeqCst) > 300, "{sent:?} requests");
    // Sessions are those of the beginning, and of the stream.
    assert_eq!(gateway.sessions_of("alice").len() + gateway.sessions_of("bob").len(), 5);
    // Once more when nobody asks for anything: idle workers let go of what was, too.
    edit(&config(&gateway), "name = \"app\"", "name = \"app\"\nfirst_byte_timeout = \"59s\"");
    assert_eq!(reload(&gateway).version, 102);
    let alive = || {
        gateway.advance(1);
        let snapshots = snapshots.iter().filter(|weak| weak.strong_count() > 0).count();
        let upstreams: std::collections::HashSet<_> =
            upstreams.iter().filter(|weak| weak.strong_count() > 0).map(Weak::as_ptr).collect();
        (snapshots, upstreams.len())
    };
    eventually("nothing of what was is left but an upstream that stays", || alive() == (0, 1));
    let grown = memory().saturating_sub(resident);
    assert!(grown < 24 << 20, "{grown} bytes more after seventy reloads");
}

/// What this process holds in memory, in bytes.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number") * 4096
}

#[test]
fn two_at_once_come_one_after_the_other_and_one_while_it_stops_harms_nobody() {
    let mut gateway = Setup::new().start();
    let shared = Arc::clone(&gateway.running().shared);
    let many = gateway
        .block_on(async { futures_util::future::join_all((0..30).map(|_| shared.reloads.ask(Cause::signal()))).await });
    let versions: Vec<u64> = many.into_iter().map(|outcome| outcome.expect("it is good").version).collect();
    assert!(versions.iter().all(|version| (2..=31).contains(version)), "{versions:?}");
    assert_eq!(versions.iter().max().copied(), Some(version(&gateway)), "each was taken");
    std::thread::scope(|scope| {
        let shared = &shared;
        scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            while runtime.block_on(shared.reloads.ask(Cause::signal())).is_ok() {}
        });
        gateway.stop();
    });
}

/// A folder for the binary.
fn folder(application: &Application) -> tempfile::TempDir {
    super::binary::folder(application.address(), "[limits]\nper_session = \"off\"\n")
}

#[test]
fn the_binary_takes_what_it_is_signalled_and_what_changes() {
    let application = Application::start();
    let folder = folder(&application);
    let process = Process::serve(folder.path());
    let client = super::binary::signed_in(process.address(), ALICE);
    let config = folder.path().join("gateway.toml");
    edit(&config, "access = \"public\"", "access = \"authenticated\"");
    process.signal("HUP");
    process.stderr.wait_for(&["is in force (version 2)"]);
    assert_eq!(Client::new(process.address()).get("/public").send().status, 401);
    // Nothing but the command that is there for it.
    let done = run(folder.path(), &["user", "disable", "alice"], "");
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let since = std::time::Instant::now();
    // An answer under way at that moment is broken off, so there may be none.
    eventually("she is out", || client.get("/").try_open().is_ok_and(|(answer, _)| answer.status == 401));
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    assert_ended(&client, EndReason::AccountDisabled);
    let metrics = || plain(TcpStream::connect(process.metrics()).expect("connected"), "GET", "/metrics").1;
    let counted = "vestibule_sessions_ended_total{reason=\"account_disabled\"} 1";
    eventually("it is counted", || metrics().contains(counted));
    edit(&config, "access = \"authenticated\"", "access = \"optional\"");
    let taken = run(folder.path(), &["reload"], "");
    assert_eq!(taken.code(), Some(0), "{}", taken.stderr);
    assert_eq!(taken.stdout, "read again, and in force (version 4)\n");
    edit(&config, "[server]", "[sever]");
    let (refused, checked) = (run(folder.path(), &["reload"], ""), run(folder.path(), &["check"], ""));
    assert_eq!((refused.code(), refused.stderr), (Some(1), checked.stderr));
    process.stderr.wait_for(&["[sever]"]);
    let ended = process.stop("TERM");
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn a_new_key_seals_and_the_former_open_until_they_are_taken_away() {
    let application = Application::start();
    let folder = folder(&application);
    let process = Process::serve(folder.path());
    let keys = folder.path().join("sessions.keys");
    let (old, idle) =
        (super::binary::signed_in(process.address(), ALICE), super::binary::signed_in(process.address(), BOB));
    let key_of = |client: &Client| client.session()[..6].to_owned();
    assert_eq!(run(folder.path(), &["keygen", "--into", "sessions.keys"], "").code(), Some(0));
    process.stderr.wait_for(&["is in force (version 2)"]);
    assert_eq!(old.get("/").send().status, 200);
    let new = super::binary::signed_in(process.address(), ALICE);
    assert_ne!(key_of(&new), key_of(&old), "sealed under another key");
    // Everything was sealed under the new one, so that the old one is not needed any more to read the store.
    let text = fs::read_to_string(&keys).expect("keys");
    let newest: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).take(1).collect();
    fs::write(&keys, newest.concat() + "\n").expect("written");
    process.stderr.wait_for(&["is in force (version 3)"]);
    assert_eq!((new.get("/").send().status, old.get("/").send().status), (200, 401));
    drop(idle);
    assert_eq!(process.stop("TERM").code(), Some(0));
    let process = Process::serve(folder.path());
    process.stderr.wait_for(&["live ones: 3"]);
    // Keys that are gone are no reason to make others while sessions are there.
    fs::remove_file(&keys).expect("removed");
    process.stderr.wait_for(&["cannot be used; the one before stays in force"]);
    assert_eq!(process.stop("TERM").code(), Some(0));
}

#[test]
fn sessions_that_are_restored_are_those_of_the_users_of_now() {
    let application = Application::start();
    let folder = folder(&application);
    let process = Process::serve(folder.path());
    let (alice, bob) =
        (super::binary::signed_in(process.address(), ALICE), super::binary::signed_in(process.address(), BOB));
    assert_eq!(process.stop("TERM").code(), Some(0));
    assert_eq!(run(folder.path(), &["user", "disable", "alice"], "").code(), Some(0));
    edit(&folder.path().join("users.toml"), "roles = [\"staff\"]", "roles = [\"boss\"]");
    let process = Process::serve(folder.path());
    let at = |client: &Client| {
        let other = Client::new(process.address());
        other.set_session(&client.session());
        other
    };
    assert_ended(&at(&alice), EndReason::AccountDisabled);
    assert_eq!(at(&bob).get("/").send().status, 200);
    assert_eq!(application.last().header("x-forwarded-roles"), Some("boss"));
    process.stderr.wait_for(&["sessions ended: 1, with other rights: 1"]);
    assert_eq!(process.stop("TERM").code(), Some(0));
}

/// How many connections the application has, as the operator is told.
fn to_application(gateway: &Gateway) -> usize {
    snapshot(gateway).upstreams[0].connections()
}

#[test]
fn an_upstream_that_changes_gets_no_more_connections_than_it_may_have() {
    let mut setup = Setup::new().unlimited();
    setup.upstream = "max_connections = 3\nmax_waiting = 0\nidle_timeout = \"1h\"".to_owned();
    let gateway = setup.start();
    let clients = [gateway.signed_in(ALICE), gateway.signed_in(BOB)];
    let streams: Vec<_> = clients.iter().map(|client| streaming(client, "/stream")).collect();
    assert_eq!(gateway.client().get("/public").send().status, 200);
    for (version, every) in [(2, "2h"), (3, "3h"), (4, "1h")] {
        edit(&config(&gateway), "idle_timeout = ", &format!("idle_timeout = \"{every}\" # "));
        assert_eq!(reload(&gateway).version, version);
        // What is idle is let go of, and its place is given to the next.
        advance_until(&gateway, "the former connections are closed", || to_application(&gateway) == 2);
        let third = gateway.client();
        let held = streaming(&third, "/public/stream");
        assert_eq!(to_application(&gateway), 3);
        assert_eq!(gateway.client().get("/public").send().status, 503, "two streams are from before, and one from now");
        drop(held);
        drop(third);
        advance_until(&gateway, "it has ended", || to_application(&gateway) == 2);
    }
    edit(&config(&gateway), "max_connections = 3", "max_connections = 1");
    reload(&gateway);
    assert_eq!(gateway.client().get("/public").send().status, 503, "there are two, and one may be");
    edit(&config(&gateway), "max_connections = 1", "max_connections = 4");
    reload(&gateway);
    assert_eq!(gateway.client().get("/public").send().status, 200);
    edit(&config(&gateway), "max_connections = 4", "max_connections = 2");
    reload(&gateway);
    // Another server is another application: its people wait for nobody's streams elsewhere.
    let other = Application::start();
    let text = fs::read_to_string(config(&gateway)).expect("a file");
    let moved = text.replace(&gateway.application.address().to_string(), &other.address().to_string());
    fs::write(config(&gateway), moved).expect("written");
    reload(&gateway);
    assert_eq!(gateway.client().get("/public").send().status, 200);
    drop(streams);
}
