//! How many sessions one person may have at once: who is let in, what ends for it, and what they are told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};

use vestibule::base::clock::Timestamp;
use vestibule::base::random::Random;
use vestibule::base::units;
use vestibule::config::Plan;
use vestibule::enforce::reloads::{Cause, Reloaded};
use vestibule::reader::Document;
use vestibule::session::binding::Bound;
use vestibule::session::concurrency::Limit;
use vestibule::session::handle::SessionHandle;
use vestibule::session::live::Live;
use vestibule::session::principal::Principal;
use vestibule::session::record::{EndReason, Owner, Record};
use vestibule::session::tenant::TenantId;
use vestibule::session::timeouts::Lifetimes;

use super::harness::{
    ALICE, Answer, BOB, Client, Gateway, START, Scripted, Setup, Version, advance_until, eventually, hidden,
};

const STORES: [&str; 2] = ["disk", "memory"];

const BROWSERS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0",
    "<script>alert(1)</script>",
];

fn limited(store: &str, keys: &str) -> Setup {
    Setup::new().unlimited().extra(&format!("[session.store]\nkind = \"{store}\"\n[session.concurrency]\n{keys}"))
}

/// A browser of its own.
fn browser(gateway: &Gateway, at: usize) -> Client {
    let mut client = gateway.client().speaking(if at.is_multiple_of(2) { Version::H1 } else { Version::H2 });
    client.user_agent = BROWSERS[at % BROWSERS.len()].to_owned();
    client
}

/// Signs in on the login page, whether or not somebody is signed in there.
fn log_in(client: &Client, (name, password): (&str, &str)) -> Answer {
    let page = client.visit("/.vestibule/login").send();
    let fields = [("username", name), ("password", password), ("attempt", &*hidden(&page, "attempt"))];
    client.post_form("/.vestibule/login", &fields).send()
}

/// So many browsers in which she has signed in, one minute after the other.
fn signed_in(gateway: &Gateway, count: usize) -> Vec<Client> {
    let sign_in = |at| {
        gateway.advance(60);
        let client = browser(gateway, at);
        assert_eq!(log_in(&client, ALICE).status, 303);
        client
    };
    (0..count).map(sign_in).collect()
}

/// Why a client is refused; nothing when it is not.
fn refused(client: &Client) -> Option<String> {
    let answer = client.get("/").send();
    match answer.status {
        200 => None,
        401 => Some(answer.json()["reason"].as_str().expect("a reason").to_owned()),
        status => panic!("{status}: {}", answer.text()),
    }
}

fn counted(gateway: &Gateway, line: &str) -> bool {
    gateway.running().shared.render_metrics().contains(&format!("\nvestibule_{line}\n"))
}

fn change(gateway: &Gateway, file: &str, from: &str, to: &str) -> Reloaded {
    let file = gateway.folder.path().join(file);
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(text.contains(from), "{from} is not in:\n{text}");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
    let outcome = gateway.block_on(gateway.running().shared.reloads.ask(Cause::signal()));
    outcome.unwrap_or_else(|words| panic!("refused: {words}"))
}

/// Who signs in, by what they have: a session began two hours ago (a), one hour ago (b), or half an hour ago (c), and was
/// last used so long ago. Half an hour is the limit of all of them.
const SIGN_IN: &str = "
| has                     | may have | had in this browser | refuse     | end_oldest     |
| ----------------------- | -------- | ------------------- | ---------- | -------------- |
|                         | 1        |                     | in         | in             |
| a 1m                    | 1        |                     | full       | in, ends a     |
| a 1m                    | 1        | a                   | in, ends a | in, ends a     |
| a 1m                    | 2        |                     | in         | in             |
| a 1m                    | 2        | a                   | in, ends a | in, ends a     |
| a 5m, b 1m, c 3m        | 4        |                     | in         | in             |
| a 5m, b 1m, c 3m        | 3        |                     | full       | in, ends a     |
| a 1m, b 5m, c 3m        | 3        |                     | full       | in, ends b     |
| a 3m, b 3m, c 3m        | 3        |                     | full       | in, ends a     |
| a 5m, b 1m, c 3m        | 3        | b                   | in, ends b | in, ends b     |
| a 5m, b 1m, c 3m        | 2        |                     | full       | in, ends a c   |
| a 5m, b 1m, c 3m        | 2        | b                   | full       | in, ends b a   |
| a 5m, b 1m, c 3m        | 1        |                     | full       | in, ends a c b |
| a 29m59s, b 1m          | 2        |                     | full       | in, ends a     |
| a 30m, b 1m             | 2        |                     | in, ends a | in, ends a     |
| a 30m, b 1m             | 3        |                     | in, ends a | in, ends a     |
| a 30m, b 1m             | 1        |                     | full       | in, ends a b   |
| a 30m, b 1m             | 1        | b                   | in, ends a b | in, ends a b |
| a ended, b 1m           | 2        |                     | in         | in             |
| a ended, b 1m           | 2        | a                   | in         | in             |
| a ended, b 1m           | 1        |                     | full       | in, ends b     |
| a 1m, b ended           | 1        | b                   | full       | in, ends a     |
";

#[test]
fn who_is_let_in_and_what_ends_for_it() {
    let now = START;
    let ago = |text: &str| {
        Timestamp::from_millis(now.as_millis() - units::duration(text).expect("a duration").as_millis() as u64)
    };
    let random = Random::seeded(1);
    for row in SIGN_IN.lines().skip(3) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [has, max, this, refuse, end_oldest] = cells[..] else { panic!("{row}") };
        let held: Vec<_> = has
            .split(", ")
            .filter(|one| !one.is_empty())
            .map(|one| {
                let (name, used) = one.split_once(' ').expect("a time");
                let began = ago(match name {
                    "a" => "2h",
                    "b" => "1h",
                    _ => "30m",
                });
                let principal = Some(Arc::new(Principal::new("alice", None, &[], &[])));
                let bound = Bound::of(std::net::Ipv4Addr::LOCALHOST.into(), b"");
                let live = Live::new(Record::new(&random, principal, bound, began));
                if used == "ended" {
                    live.end(EndReason::Logout, now);
                } else {
                    live.note_activity(ago(used));
                }
                (name, Arc::new(live))
            })
            .collect();
        let name_of = |handle| held.iter().find(|(_, live)| live.handle() == handle).map_or("?", |(name, _)| name);
        let sessions: Vec<_> = held.iter().map(|(_, live)| Arc::clone(live)).collect();
        let before = held.iter().find(|(name, _)| *name == this).map(|(_, live)| (live.handle(), EndReason::Replaced));
        for (ends_oldest, expected) in [(false, refuse), (true, end_oldest)] {
            let (max, making_way) = (max.parse().expect("a number"), before.into_iter().collect());
            let limit = Limit { max, ends_oldest, making_way, lifetimes: Some(Lifetimes::default()) };
            let said = limit.room(&sessions, now).map_or("full".to_owned(), |ends| {
                let names: Vec<&str> = ends.iter().map(|(handle, _)| name_of(*handle)).collect();
                if names.is_empty() { "in".to_owned() } else { format!("in, ends {}", names.join(" ")) }
            });
            assert_eq!(said, expected, "{row}");
        }
    }
}

#[test]
fn the_session_used_least_recently_ends_and_is_told_why() {
    for store in STORES {
        let gateway = limited(store, "").start();
        let all = signed_in(&gateway, 3);
        let bob = gateway.signed_in(BOB);
        let (answer, mut stream) = all[1].get("/stream").open();
        assert!(answer.status == 200 && stream.next().is_some_and(|piece| piece.is_ok()));
        gateway.advance(60);
        assert_eq!((refused(&all[0]), refused(&all[2])), (None, None));
        // The first was used since, and the second was not: what a stream brings is no activity.
        let fourth = browser(&gateway, 3);
        assert_eq!(log_in(&fourth, ALICE).status, 303);
        assert!((0..100).any(|_| matches!(stream.next(), Some(Err(_)))), "its stream is cut");
        drop(stream);
        assert_eq!(refused(&all[1]).as_deref(), Some("displaced"));
        let led = all[1].visit("/").send();
        let page = all[1].visit(led.header("location")).send().text();
        assert!(page.contains("only so many sessions at once"), "{page}");
        for client in [&all[0], &all[2], &fourth, &bob] {
            assert_eq!(refused(client), None);
        }
        assert_eq!(gateway.sessions_of("alice").len(), 3);
        gateway.log.wait_for(&["audit session.ended", "user=alice", "reason=displaced"]);
        assert!(counted(&gateway, "sessions_ended_total{reason=\"displaced\"} 1"));
    }
}

#[test]
fn a_stream_that_says_nothing_is_cut_at_once_as_well() {
    for store in STORES {
        let server = Scripted::start(|mut line| {
            while line.request().is_some() {
                line.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n");
                line.wait_for_close();
            }
        });
        let gateway = limited(store, "max_sessions = 1").in_front_of(&server).start();
        let (first, second) = (gateway.signed_in(ALICE), browser(&gateway, 1));
        let (answer, mut stream) = first.get("/events").open();
        assert!(answer.status == 200 && stream.next().is_some_and(|piece| piece.is_ok()));
        assert_eq!(log_in(&second, ALICE).status, 303);
        assert!(matches!(stream.next(), Some(Err(_))), "nobody waits for the next piece to notice");
    }
}

#[test]
fn who_signs_in_again_in_the_same_browser_takes_their_own_place() {
    for (store, when_full) in STORES.into_iter().zip(["refuse", "end_oldest"]).chain([("disk", "ask")]) {
        let gateway = limited(store, &format!("max_sessions = 2\nwhen_full = \"{when_full}\"")).start();
        let all = signed_in(&gateway, 2);
        for client in &all {
            let before = client.session();
            assert_eq!(log_in(client, ALICE).status, 303, "{when_full}");
            assert_eq!((refused(&all[0]), refused(&all[1])), (None, None));
            let copy = browser(&gateway, 0);
            copy.set_session(&before);
            assert_eq!(refused(&copy).as_deref(), Some("replaced"));
        }
        assert_eq!(gateway.sessions_of("alice").len(), 2);
        // Somebody else who signs in there ends the session that was there, and is counted by themselves.
        assert_eq!(log_in(&all[0], BOB).status, 303);
        assert_eq!((gateway.sessions_of("alice").len(), gateway.sessions_of("bob").len()), (1, 1));
    }
}

#[test]
fn who_is_refused_is_told_so_after_the_right_password_only() {
    for (store, version) in STORES.into_iter().zip([Version::H1, Version::H2]) {
        let gateway = limited(store, "max_sessions = 2\nwhen_full = \"refuse\"").start();
        let all = signed_in(&gateway, 2);
        let third = browser(&gateway, 3).speaking(version);
        let wrong = log_in(&third, ("alice", "not her password"));
        assert!(wrong.status == 401 && !wrong.text().contains("sessions at a time"), "{}", wrong.text());
        let full = log_in(&third, ALICE);
        assert!(full.status == 409 && full.text().contains("only 2 sessions at a time are allowed"), "{}", full.text());
        assert!(third.session().is_empty() && gateway.sessions_of("alice").len() == 2);
        gateway.log.wait_for(&["audit login.refused", "user=alice", "reason=max_sessions", "answer=refuse"]);
        assert!(counted(&gateway, "logins_total{reason=\"full\"} 1"));
        // A program is told the same.
        let page = third.visit("/.vestibule/login").send();
        let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*hidden(&page, "attempt"))];
        let post = third.post_form("/.vestibule/login", &fields);
        let said = post.without("sec-fetch-mode").without("sec-fetch-dest").without("accept").send();
        assert_eq!((said.status, &said.json()["reason"]), (409, &"max_sessions".into()));
        // In another browser somebody else keeps the session that they have.
        assert_eq!(log_in(&third, BOB).status, 303);
        assert_eq!(log_in(&third, ALICE).status, 409);
        assert_eq!((gateway.sessions_of("bob").len(), refused(&third)), (1, None));
        assert_eq!(all[0].post_form("/.vestibule/logout", &[]).send().status, 200);
        assert_eq!(log_in(&third, ALICE).status, 303);
        assert_eq!((refused(&all[1]), gateway.sessions_of("alice").len()), (None, 2));
    }
}

#[test]
fn a_session_that_is_over_keeps_nobody_out() {
    for store in STORES {
        let gateway = limited(store, "max_sessions = 1\nwhen_full = \"refuse\"").start();
        let before = gateway.signed_in(ALICE);
        gateway.advance(30 * 60);
        let client = browser(&gateway, 1);
        assert_eq!(log_in(&client, ALICE).status, 303);
        assert_eq!((refused(&before).as_deref(), refused(&client)), (Some("idle"), None));
    }
}

#[test]
fn a_role_allows_fewer_and_needs_no_table() {
    let roles = "[roles.admin]\nmax_sessions = 1\n[roles.night]\nmax_sessions = 2";
    for (store, all) in STORES.into_iter().zip(["", "[session.concurrency]\nmax_sessions = 3"]) {
        let kind = format!("[session.store]\nkind = \"{store}\"");
        let gateway = Setup::new().unlimited().extra(&kind).extra(all).extra(roles).start();
        let hers = signed_in(&gateway, 2);
        assert_eq!((refused(&hers[0]).as_deref(), refused(&hers[1])), (Some("displaced"), None));
        for at in 0..4 {
            assert_eq!(log_in(&browser(&gateway, at), BOB).status, 303);
        }
        assert_eq!(gateway.sessions_of("bob").len(), if all.is_empty() { 4 } else { 3 });
    }
}

#[test]
fn what_a_reload_and_a_new_role_allow_holds_for_the_sessions_that_are_there() {
    for when_full in ["end_oldest", "refuse"] {
        let gateway = limited("disk", &format!("max_sessions = 4\nwhen_full = \"{when_full}\"")).start();
        let all = signed_in(&gateway, 4);
        gateway.advance(60);
        assert_eq!(refused(&all[0]), None);
        change(&gateway, "gateway.toml", "max_sessions = 4", "max_sessions = 3");
        advance_until(&gateway, "one is too many", || gateway.sessions_of("alice").len() == 3);
        assert_eq!((refused(&all[0]), refused(&all[1]).as_deref()), (None, Some("displaced")));
        // She is given a role that may have one.
        change(&gateway, "gateway.toml", "[login.local]", "[roles.night]\nmax_sessions = 1\n[login.local]");
        change(&gateway, "users.toml", "roles = [\"admin\"]", "roles = [\"admin\", \"night\"]");
        advance_until(&gateway, "two are", || gateway.sessions_of("alice").len() == 1);
        assert_eq!((refused(&all[0]), refused(&all[2]).as_deref()), (None, Some("displaced")));
        gateway.log.wait_for(&["audit session.ended", "user=alice", "reason=displaced"]);
    }
}

/// Fifty browsers post the right password at once, while somebody looks at her sessions all the time. How many were
/// signed in.
fn race(gateway: &Gateway) -> usize {
    const RACING: usize = 50;
    let (is_over, start) = (AtomicBool::new(false), Barrier::new(RACING));
    let (signed_in, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let most = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (shared, mut most) = (&gateway.running().shared, 0);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            while !is_over.load(Ordering::SeqCst) {
                let owner = Owner::user(TenantId::DEFAULT, "alice");
                let held = runtime.block_on(shared.store.list(owner)).expect("the store works");
                most = most.max(held.len());
                looks.fetch_add(1, Ordering::Relaxed);
            }
            most
        });
        let racing: Vec<_> = (0..RACING)
            .map(|at| {
                let (start, signed_in) = (&start, &signed_in);
                scope.spawn(move || {
                    let client = browser(gateway, at);
                    let page = client.visit("/.vestibule/login").send();
                    let attempt = hidden(&page, "attempt");
                    start.wait();
                    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*attempt)];
                    let answer = client.post_form("/.vestibule/login", &fields).send();
                    match answer.status {
                        303 => signed_in.fetch_add(1, Ordering::SeqCst),
                        409 => 0,
                        status => panic!("{status}: {}", answer.text()),
                    };
                })
            })
            .collect();
        racing.into_iter().for_each(|thread| thread.join().expect("no panic"));
        is_over.store(true, Ordering::SeqCst);
        watcher.join().expect("no panic")
    });
    // On a busy machine it has its turn less often than it would like; usually it is thousands of times.
    assert!(looks.load(Ordering::Relaxed) >= RACING, "it was looked at");
    assert!(most <= 3, "{most} sessions at once");
    assert_eq!(gateway.sessions_of("alice").len(), 3);
    signed_in.load(Ordering::SeqCst)
}

#[test]
fn fifty_logins_at_once_are_never_four_sessions() {
    for store in STORES {
        let gateway = limited(store, "max_sessions = 3\nwhen_full = \"end_oldest\"").start();
        assert_eq!(race(&gateway), 50, "each was signed in for a while");
        eventually("each end is told", || counted(&gateway, "sessions_ended_total{reason=\"displaced\"} 47"));
    }
}

#[test]
fn of_fifty_logins_at_once_three_are_let_in_where_others_are_refused() {
    for store in STORES {
        let gateway = limited(store, "max_sessions = 3\nwhen_full = \"refuse\"").start();
        assert_eq!(race(&gateway), 3);
        assert!(counted(&gateway, "logins_total{reason=\"full\"} 47"));
    }
}

/// Signing in takes the time of a password, and one after the other is let through to the store. Those who choose have
/// proved theirs before, and really come at once.
#[test]
fn of_fifty_who_choose_at_once_three_find_room() {
    for store in STORES {
        let gateway = limited(store, "max_sessions = 3\nwhen_full = \"ask\"").start();
        let all = signed_in(&gateway, 3);
        let racing: Vec<_> = (0..50).map(|at| browser(&gateway, at)).collect();
        let racing: Vec<_> = racing.iter().map(|client| (client, asked(&log_in(client, ALICE)))).collect();
        let shared = &gateway.running().shared;
        let owner = || Owner::user(TenantId::DEFAULT, "alice");
        let ended = shared.end_all_sessions(owner(), EndReason::Revoked, shared.clock.now());
        assert_eq!(gateway.block_on(ended), Ok(3));
        let (is_over, start) = (AtomicBool::new(false), Barrier::new(racing.len()));
        let (most, statuses) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                let held = || runtime.block_on(shared.store.list(owner())).expect("the store works").len();
                let mut most = 0;
                while !is_over.load(Ordering::SeqCst) {
                    most = most.max(held());
                    std::thread::yield_now();
                }
                most
            });
            let choosing = racing.into_iter().map(|(client, choice)| {
                let (start, jar) = (&start, client.cookies());
                let (mut own, agent) = (gateway.client().speaking(client.version), client.user_agent.clone());
                scope.spawn(move || {
                    own.user_agent = agent;
                    start.wait();
                    let post = own.post_form("/.vestibule/login/choose", &[("choice", &choice), ("end", "")]);
                    post.header("cookie", &jar).send().status
                })
            });
            let choosing: Vec<_> = choosing.collect();
            let statuses: Vec<u16> = choosing.into_iter().map(|thread| thread.join().expect("no panic")).collect();
            is_over.store(true, Ordering::SeqCst);
            (watcher.join().expect("no panic"), statuses)
        });
        let count = |status| statuses.iter().filter(|said| **said == status).count();
        assert_eq!((count(303), count(200)), (3, 47), "{statuses:?}");
        assert_eq!((most, gateway.sessions_of("alice").len()), (3, 3));
        assert!(all.iter().all(|client| refused(client).as_deref() == Some("revoked")));
    }
}

/// Posts what somebody chose.
fn choose(client: &Client, choice: &str, end: &str) -> Answer {
    client.post_form("/.vestibule/login/choose", &[("choice", choice), ("end", end)]).send()
}

fn asked(answer: &Answer) -> String {
    assert!(answer.status == 200 && answer.text().contains("Which session shall end?"), "{}", answer.text());
    hidden(answer, "choice")
}

fn handle(gateway: &Gateway, client: &Client) -> String {
    let snapshot = gateway.running().shared.snapshot.load_full();
    let opened = snapshot.default.cookie.open(client.session().as_bytes(), gateway.running().shared.clock.now());
    opened.expect("a session").handle.to_string()
}

#[test]
fn who_is_asked_chooses_what_ends_and_goes_on_where_they_were_going() {
    for store in STORES {
        let gateway = limited(store, "max_sessions = 3\nwhen_full = \"ask\"").start();
        let all = signed_in(&gateway, 3);
        gateway.advance(2 * 3600);
        assert_eq!((0..3).map(|at| log_in(&all[at], ALICE).status).collect::<Vec<_>>(), [303; 3]);
        gateway.advance(5 * 60);
        assert_eq!(refused(&all[0]), None);
        for version in [Version::H1, Version::H2] {
            let client = browser(&gateway, 3).speaking(version);
            let page = client.sign_in(ALICE, "/papers?x=1");
            let choice = asked(&page);
            let text = page.text();
            for words in ["only 3 sessions", "Firefox on Linux", "Safari on iOS", "Edge on Windows", "127.0.0.1"] {
                assert!(text.contains(words), "{words} is not in {text}");
            }
            assert!(text.contains("5 minutes ago") && text.contains("just now"), "{text}");
            assert!(client.session().is_empty() && gateway.sessions_of("alice").len() == 3, "nobody is signed in yet");
            assert!(!client.get("/").send().headers.contains_key("x-forwarded-user"));
            let end = handle(&gateway, &all[1]);
            let done = choose(&client, &choice, &end);
            assert_eq!((done.status, done.header("location")), (303, "/papers?x=1"), "{}", done.text());
            assert_eq!((refused(&client), refused(&all[1]).as_deref()), (None, Some("displaced")));
            assert_eq!(gateway.sessions_of("alice").len(), 3);
            // Once is enough: what she sends again, as by a second click, makes no second session.
            let again = choose(&client, &choice, &handle(&gateway, &all[2]));
            assert!(again.status == 400 && again.text().contains("open for too long"), "{}", again.text());
            assert_eq!((refused(&all[2]), gateway.sessions_of("alice").len()), (None, 3));
            assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
            assert_eq!(choose(&client, &choice, &end).status, 400, "nor when it has ended");
            let back = log_in(&all[1], ALICE);
            assert_eq!(back.status, 303);
        }
        gateway.log.wait_for(&["audit login.refused", "reason=max_sessions", "answer=ask"]);
        gateway.log.wait_for(&["audit login.succeeded", "user=alice"]);
    }
}

#[test]
fn a_choice_is_worth_nothing_to_anybody_else_later_or_after_a_change() {
    let gateway = limited("disk", "max_sessions = 1\nwhen_full = \"ask\"").start();
    let first = signed_in(&gateway, 1).remove(0);
    let end = handle(&gateway, &first);
    let is_worthless = |client: &Client, choice: &str| {
        let answer = choose(client, choice, &end);
        assert!(answer.status == 400 && client.session().is_empty(), "{}", answer.text());
        assert_eq!(refused(&first), None);
    };
    let (client, thief) = (browser(&gateway, 1), browser(&gateway, 1));
    let choice = asked(&log_in(&client, ALICE));
    thief.visit("/.vestibule/login").send();
    is_worthless(&thief, &choice);
    let (start, rest) = choice.split_at(choice.len() / 2);
    let other = if rest.starts_with('A') { "B" } else { "A" };
    is_worthless(&client, &format!("{start}{other}{}", &rest[1..]));
    is_worthless(&client, "");
    // Nor may another site send it.
    let fields = [("choice", &*choice), ("end", &*end)];
    let elsewhere = client.post_form("/.vestibule/login/choose", &fields).without("origin").without("sec-fetch-site");
    let elsewhere = elsewhere.header("origin", "https://evil.test").header("sec-fetch-site", "cross-site").send();
    assert_eq!((elsewhere.status, refused(&first)), (403, None));
    assert_eq!(client.post_form("/.vestibule/login/choose", &[("end", &end)]).send().status, 400);
    // It is no form, and a form is no choice.
    let fields = [("username", ALICE.0), ("password", ALICE.1), ("attempt", &*choice)];
    assert_eq!(client.post_form("/.vestibule/login", &fields).send().status, 400);
    is_worthless(&client, &hidden(&client.visit("/.vestibule/login").send(), "attempt"));
    gateway.advance(5 * 60);
    is_worthless(&client, &choice);
    // While she chooses, she is given another password, or may not sign in any more.
    let users = std::fs::read_to_string(gateway.folder.path().join("users.toml")).expect("a file");
    let password =
        |of: usize| users.split("password = \"").nth(of).and_then(|rest| rest.split('"').next()).expect("one");
    let choice = asked(&log_in(&client, ALICE));
    change(&gateway, "users.toml", password(1), password(2));
    let answer = choose(&client, &choice, &end);
    assert!(answer.status == 400 && client.session().is_empty(), "{}", answer.text());
    change(&gateway, "users.toml", password(2), password(1));
    let first = signed_in(&gateway, 1).remove(0);
    let choice = asked(&log_in(&client, ALICE));
    change(&gateway, "users.toml", "roles = [\"admin\"]", "roles = [\"admin\"]\ndisabled = true");
    assert_eq!(choose(&client, &choice, &handle(&gateway, &first)).status, 400);
    assert!(gateway.sessions_of("alice").is_empty());
}

#[test]
fn nothing_of_anybody_else_ends_and_who_finds_the_place_taken_is_asked_again() {
    for store in STORES {
        let gateway = limited(store, "max_sessions = 2\nwhen_full = \"ask\"").start();
        let all = signed_in(&gateway, 2);
        let bob = gateway.signed_in(BOB);
        let (client, quicker) = (browser(&gateway, 2), browser(&gateway, 3));
        for end in
            [handle(&gateway, &bob), SessionHandle::from_bytes([0; 16]).to_string(), "others".into(), String::new()]
        {
            let again = choose(&client, &asked(&log_in(&client, ALICE)), &end);
            asked(&again);
            assert_eq!((refused(&bob), refused(&all[0]), refused(&all[1])), (None, None, None));
        }
        // Both choose the same one: it makes room for one of them.
        let (mine, theirs) = (asked(&log_in(&client, ALICE)), asked(&log_in(&quicker, ALICE)));
        let end = handle(&gateway, &all[0]);
        assert_eq!(choose(&quicker, &theirs, &end).status, 303);
        let again = choose(&client, &mine, &end);
        let choice = asked(&again);
        assert!(client.session().is_empty() && gateway.sessions_of("alice").len() == 2);
        assert_eq!(refused(&all[1]), None);
        assert_eq!(choose(&client, &choice, &handle(&gateway, &all[1])).status, 303);
        assert_eq!((refused(&client), refused(&quicker)), (None, None));
        // Where there is room by now, nothing need end for it.
        let choice = asked(&log_in(&all[0], ALICE));
        let ended = gateway
            .sessions_of("alice")
            .into_iter()
            .find(|live| live.handle().to_string() == handle(&gateway, &client));
        let (shared, now) = (&gateway.running().shared, gateway.running().shared.clock.now());
        let ended = ended.expect("hers").handle();
        gateway.block_on(shared.end_session(ended, EndReason::Logout, None, now)).expect("the store works");
        assert_eq!(choose(&all[0], &choice, &ended.to_string()).status, 303);
        assert_eq!((refused(&quicker), gateway.sessions_of("alice").len()), (None, 2));
        // Whoever loads the page anew begins again.
        assert!(client.visit("/.vestibule/login/choose").send().text().contains("name=\"attempt\""));
    }
}

#[test]
fn without_a_limit_nobody_is_counted() {
    let gateway = Setup::new().unlimited().start();
    let all = signed_in(&gateway, 8);
    assert!(all.iter().all(|client| refused(client).is_none()));
    assert_eq!(gateway.sessions_of("alice").len(), 8);
}

#[test]
fn mistakes_are_told_with_what_to_write_instead() {
    let mistakes = |keys: &str| {
        let text = format!("{}\n{keys}", "[server]\nlisten = [\"127.0.0.1:0\"]");
        Plan::of(&Document::parse("gateway.toml", &text)).expect_err("it is not whole").to_string()
    };
    for (keys, message, help) in [
        (
            "[session.concurrency]\nmax_sessions = 2\n[roles.admin]\nmax_sessions = 3",
            "nobody has more sessions than that, so this would never count",
            "write at most 2, which [session.concurrency] says, or more there",
        ),
        (
            "[session.concurrency]\n[roles.admin]\nmax_sessions = 4",
            "nobody has more sessions than that",
            "write at most 3, which [session.concurrency] says",
        ),
        ("[session.concurrency]\nmax_sessions = 0", "0 is out of range", "write a whole number from 1 to 1000"),
        ("[roles.admin]\nmax_sessions = 1001", "1001 is out of range", "write a whole number from 1 to 1000"),
        ("[session.concurrency]\nmax_sessions = \"3\"", "whole number", "write it without quotes"),
        ("[session.concurrency]\nwhen_full = \"end_newest\"", "\"end_newest\"", "\"end_oldest\""),
        ("[session.concurrency]\nmax_session = 3", "max_session", "did you mean \"max_sessions\"?"),
    ] {
        let told = mistakes(keys);
        assert!(told.contains(message) && told.contains(help), "{keys}: {told}");
    }
}
