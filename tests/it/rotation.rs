//! The session's secret changes every quarter of an hour, nobody loses a session over it, and a copy of an old one
//! gives a thief away.

use vestibule::base::random::Random;
use vestibule::crypto::key_file;

use super::harness::{ALICE, Answer, Client, Gateway, Setup, Version};

const QUARTER: u64 = 15 * 60;

/// The session cookie that an answer hands out, if it does.
fn offered(answer: &Answer) -> Option<String> {
    let cookies = answer.set_cookies();
    assert!(cookies.len() <= 1, "{cookies:?}");
    let value = cookies.first()?.strip_prefix("__Host-session=").expect("ours").split(';').next();
    value.map(str::to_owned)
}

/// A client that has only this cookie.
fn holder(gateway: &Gateway, cookie: &str) -> Client {
    let client = gateway.client();
    client.set_session(cookie);
    client
}

/// Asks for `/` with one cookie, and gives what is offered in its place.
fn offer(gateway: &Gateway, cookie: &str) -> Option<String> {
    let answer = holder(gateway, cookie).get("/").send();
    assert_eq!(answer.status, 200, "{}", answer.text());
    offered(&answer)
}

fn assert_refused(gateway: &Gateway, cookie: &str, reason: &str) {
    let answer = holder(gateway, cookie).get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some(reason)));
}

fn rotations(gateway: &Gateway) -> usize {
    gateway.log.text().lines().filter(|line| line.contains("audit session.rotated")).count()
}

#[test]
fn nothing_is_offered_before_it_is_due() {
    let gateway = Setup::new().start();
    let cookie = gateway.signed_in(ALICE).session();
    assert_eq!(offer(&gateway, &cookie), None);
    gateway.advance(QUARTER - 1);
    assert_eq!(offer(&gateway, &cookie), None);
    gateway.advance(1);
    assert!(offer(&gateway, &cookie).is_some());
}

#[test]
fn every_parallel_request_is_offered_the_same_successor() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let first = client.session();
    gateway.advance(QUARTER);
    let answers = client.together((0..20).map(|_| client.get("/")).collect());
    let offers: Vec<String> = answers.iter().map(|answer| offered(answer).expect("an offer")).collect();
    // Each is sealed anew, and each is the same generation: whichever the browser keeps, the others stay good.
    for offer in &offers {
        assert_eq!(holder(&gateway, offer).get("/").send().status, 200);
    }
    gateway.log.wait_for(&["audit session.rotated"]);
    gateway.advance(120);
    for offer in &offers {
        assert_eq!(holder(&gateway, offer).get("/").send().status, 200);
    }
    assert_eq!(rotations(&gateway), 1, "{}", gateway.log.text());
    assert_ne!(offers[0], first);
}

#[test]
fn many_first_uses_of_the_successor_at_once_are_one_rotation() {
    for version in [Version::H1, Version::H2] {
        let gateway = Setup::new().start();
        let client = gateway.signed_in(ALICE).speaking(version);
        gateway.advance(QUARTER);
        assert!(offered(&client.get("/").send()).is_some());
        let answers = client.together((0..20).map(|_| client.get("/")).collect());
        assert!(answers.iter().all(|answer| answer.status == 200 && offered(answer).is_none()));
        gateway.log.wait_for(&["audit session.rotated"]);
        assert_eq!(rotations(&gateway), 1);
    }
}

#[test]
fn an_answer_that_got_lost_costs_nothing() {
    let gateway = Setup::new().start();
    let cookie = gateway.signed_in(ALICE).session();
    for _ in 0..5 {
        gateway.advance(QUARTER);
        assert!(offer(&gateway, &cookie).is_some(), "it is offered again and again");
    }
    let kept = offer(&gateway, &cookie).expect("an offer");
    assert_eq!(offer(&gateway, &kept), None);
    assert_eq!(offer(&gateway, &cookie), None, "and the former is good for a minute");
}

#[test]
fn a_person_who_works_all_day_is_rotated_all_day() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let mut seen = vec![client.session()];
    for _ in 0..40 {
        gateway.advance(QUARTER);
        assert_eq!(client.visit("/").send().status, 200);
        assert!(!seen.contains(&client.session()));
        seen.push(client.session());
        assert_eq!(client.visit("/").send().status, 200);
    }
    let (newest, older) = seen.split_last().expect("some");
    for version in [Version::H1, Version::H2] {
        assert_eq!(holder(&gateway, newest).speaking(version).get("/").send().status, 200);
    }
    assert_refused(&gateway, &older[older.len() / 2], "reuse");
}

#[test]
fn the_former_is_good_for_a_minute_and_then_ends_the_session_for_thief_and_owner() {
    let gateway = Setup::new().start();
    let former = gateway.signed_in(ALICE).session();
    gateway.advance(QUARTER);
    let current = offer(&gateway, &former).expect("an offer");
    assert_eq!(offer(&gateway, &current), None);
    gateway.advance(59);
    assert_eq!(offer(&gateway, &former), None, "a browser that restored its cookies");
    assert!(gateway.sessions_of("alice").len() == 1);
    gateway.advance(1);
    gateway.application.forget();
    assert_refused(&gateway, &former, "reuse");
    assert_refused(&gateway, &current, "reuse");
    gateway.application.assert_untouched();
    assert!(gateway.sessions_of("alice").is_empty());
    gateway.log.wait_for(&["audit session.ended", "client=127.0.0.1", "session=", "reason=reuse"]);
    // The owner is told in words, and can go on after signing in.
    let owner = holder(&gateway, &current);
    let led = owner.visit("/work").send();
    assert_eq!(led.status, 302);
    let page = owner.visit(led.header("location")).send();
    assert!(page.text().contains("an outdated copy of your session was used"), "{}", page.text());
    assert_eq!(owner.sign_in(ALICE, "/work").header("location"), "/work");
    assert_eq!(owner.get("/work").send().status, 200);
    assert_refused(&gateway, &former, "reuse");
}

#[test]
fn a_generation_older_than_the_former_is_theft_at_once() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let oldest = client.session();
    for _ in 0..2 {
        gateway.advance(QUARTER);
        assert!(offered(&client.get("/").send()).is_some());
        assert_eq!(client.get("/").send().status, 200);
    }
    assert_refused(&gateway, &oldest, "reuse");
    let answer = client.get("/").send();
    assert_eq!((answer.status, answer.json()["reason"].as_str()), (401, Some("reuse")));
}

#[test]
fn a_thief_who_rotates_first_is_noticed_when_the_owner_comes_back() {
    let gateway = Setup::new().start();
    let owner = gateway.signed_in(ALICE);
    let thief = holder(&gateway, &owner.session());
    gateway.advance(QUARTER);
    assert!(offered(&thief.get("/").send()).is_some());
    assert_eq!(thief.get("/").send().status, 200);
    gateway.advance(60);
    assert_eq!(owner.get("/").send().json()["reason"], "reuse");
    assert_eq!(thief.get("/").send().json()["reason"], "reuse");
}

#[test]
fn theft_is_noticed_on_every_route_that_reads_the_cookie() {
    for path in ["/optional", "/anonymous", "/admin"] {
        let gateway = Setup::new().start();
        let owner = gateway.signed_in(ALICE);
        let stolen = owner.session();
        gateway.advance(QUARTER);
        assert!(offered(&owner.get("/").send()).is_some());
        assert_eq!(owner.get("/").send().status, 200);
        gateway.advance(60);
        gateway.application.forget();
        let status = holder(&gateway, &stolen).get(path).send().status;
        assert_eq!(status, if path == "/admin" { 401 } else { 200 }, "where anybody may pass, as nobody");
        assert!(gateway.application.received().iter().all(|request| request.header("x-forwarded-user").is_none()));
        assert_eq!(owner.get("/").send().json()["reason"], "reuse", "{path}");
    }
}

#[test]
fn an_old_slow_answer_does_not_overwrite_a_newer_cookie() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    let first = client.session();
    // Nothing newer has been used: the slow answer carries the offer.
    gateway.advance(QUARTER);
    let slow = holder(&gateway, &first);
    let answer = std::thread::scope(|scope| {
        let slow = scope.spawn(move || slow.get("/gate").send());
        super::harness::eventually("it arrived", || gateway.application.received().len() == 1);
        gateway.application.open_gate();
        slow.join().expect("an answer")
    });
    assert_eq!(answer.text(), "through the gate");
    assert!(offered(&answer).is_some());
    // The successor is used while the slow answer is still on its way: it carries nothing.
    gateway.application.forget();
    let slow = holder(&gateway, &first);
    let answer = std::thread::scope(|scope| {
        let slow = scope.spawn(move || slow.get("/gate").send());
        super::harness::eventually("it arrived", || gateway.application.received().len() == 1);
        assert!(offered(&client.get("/").send()).is_some());
        assert_eq!(client.get("/").send().status, 200);
        gateway.application.open_gate();
        slow.join().expect("an answer")
    });
    assert_eq!((answer.text().as_str(), answer.set_cookies().len()), ("through the gate", 0));
}

#[test]
fn the_offer_of_a_session_that_was_ended_meanwhile_is_not_handed_out() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(ALICE);
    gateway.advance(QUARTER);
    let slow = holder(&gateway, &client.session());
    let answer = std::thread::scope(|scope| {
        let slow = scope.spawn(move || slow.get("/gate").send());
        super::harness::eventually("it arrived", || gateway.application.received().len() == 1);
        assert_eq!(client.post_form("/.vestibule/logout", &[]).send().status, 200);
        gateway.application.open_gate();
        slow.join().expect("an answer")
    });
    assert_eq!((answer.status, answer.set_cookies().len()), (401, 0));
    assert!(!answer.text().contains("gate"));
}

#[test]
fn a_request_that_may_not_pass_rotates_nothing() {
    let gateway = Setup::new().start();
    let client = gateway.signed_in(super::harness::BOB);
    gateway.advance(QUARTER);
    let refused = client.get("/admin").send();
    assert_eq!((refused.status, refused.set_cookies().len()), (403, 0));
    let public = client.get("/public").send();
    assert_eq!((public.status, public.set_cookies().len()), (200, 0));
    assert!(offered(&client.get("/").send()).is_some());
}

#[test]
fn anonymous_sessions_rotate_too() {
    let gateway = Setup::new().start();
    let stranger = gateway.client();
    let first = offered(&stranger.get("/anonymous").send()).expect("a session");
    gateway.advance(QUARTER);
    assert!(offered(&stranger.get("/anonymous").send()).is_some());
    assert_eq!(offered(&stranger.get("/anonymous").send()), None);
    gateway.advance(60);
    let replayed = holder(&gateway, &first).get("/anonymous").send();
    assert!(offered(&replayed).is_some(), "the copy is given a session of its own");
    assert!(offered(&stranger.get("/anonymous").send()).is_some(), "and the copied one is over");
}

#[test]
fn rotation_can_be_tuned_and_turned_off() {
    let gateway = Setup::new().extra("[session.rotation]\nevery = \"off\"\n").start();
    let cookie = gateway.signed_in(ALICE).session();
    for _ in 0..30 {
        gateway.advance(20 * 60);
        assert_eq!(offer(&gateway, &cookie), None);
    }
    let gateway = Setup::new().extra("[session.rotation]\nevery = \"1m\"\ngrace = \"5s\"\n").start();
    let former = gateway.signed_in(ALICE).session();
    gateway.advance(60);
    let current = offer(&gateway, &former).expect("an offer");
    assert_eq!(offer(&gateway, &current), None);
    gateway.advance(4);
    assert_eq!(offer(&gateway, &former), None);
    gateway.advance(1);
    assert_refused(&gateway, &former, "reuse");
}

/// A full disk holds back what is written, and a crash loses it: the next gateway reads a session as it was before the
/// rotations. Whoever has the newest secret goes on, and a copy of what came before it still gives a thief away.
#[test]
fn rotations_that_the_store_has_lost_cost_nobody_their_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = folder.path().join("keys");
    key_file::make(&keys, &Random::System).expect("written");
    let shared_keys = || Setup::new().extra(&format!("[keys]\nsecrets = [\"file:{}\"]", keys.display()));
    let gateway = shared_keys().start();
    let client = gateway.signed_in(ALICE);
    let (first, before) = (client.session(), gateway.sessions_of("alice")[0].record());
    for _ in 0..3 {
        gateway.advance(QUARTER);
        assert_eq!(client.get("/").send().status, 200);
    }
    let last = client.session();
    drop(gateway);
    let next = shared_keys().start();
    next.block_on(next.running().shared.store.create(before, None)).expect("kept");
    next.advance(1);
    assert_eq!(holder(&next, &last).get("/").send().status, 200);
    assert_eq!(next.sessions_of("alice")[0].rotation().generation, 2);
    assert_refused(&next, &first, "reuse");
    assert_refused(&next, &last, "reuse");
}
