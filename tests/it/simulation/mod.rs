//! The seeded simulation: random operations on the real session logic and on a naive model, compared after each step.
//!
//! What is real: `enforce` (authorisation, sign-in, logout, sweep), the decision, the sealed cookie, the memory store,
//! the clock that a test moves. What is random: people who sign in and out, strangers, every cookie that was ever handed
//! out (current ones, pending successors, former and older ones, altered and forged ones, several at once), other
//! addresses and browsers, requests that wait for the store while others overtake them, answers that are late or lost,
//! revocations, sweeps, and time, preferably to a millisecond before and after some limit. All of this at up to three
//! gateways that have one store and clocks that differ.
//!
//! A failure prints its seed and all that happened. To play it again, write the seed into [`REPLAY`].

mod chance;
mod model;
mod threads;
mod world;

use std::collections::BTreeMap;

use http::{HeaderMap, header};
use vestibule::enforce::authorize::{AnswerCookies, Authorized};
use vestibule::enforce::establish::{self, SignedIn};
use vestibule::enforce::lookup::current_session;
use vestibule::policy::verdict::{Subject, Verdict};
use vestibule::session::handle::SessionHandle;
use vestibule::session::record::{EndReason, Owner};
use vestibule::session::store::SessionStore;
use vestibule::session::tenant::TenantId;

use chance::{lateness, rules};
use model::{Asks, Cookie, Model, Outcome, Place, Request, Said, Session, Stage};
use world::{Flight, World, finish};

use crate::harness::Dice;

/// The seed to play again; `None` plays them all.
const REPLAY: Option<u64> = None;

/// How many seeds are played, and how many operations each.
const SEEDS: u64 = 1000;
const STEPS: usize = 60;

/// How many gateways have one store, at the most.
const MOST_NODES: usize = 3;

/// Users; `root` has the role that some requests ask for.
const USERS: [&str; 3] = ["alice", "bob", "root"];

/// What must have come up in all the runs together, or they show less than they claim.
const MUST_HAPPEN: [&str; 44] = [
    "allowed nobody",
    "allowed stranger",
    "allowed user",
    "new session",
    "denied",
    "denied: too low a level",
    "of a level",
    "asked: no_session",
    "asked: invalid_cookie",
    "asked: invalid_proof",
    "asked: unknown_session",
    "asked: several_sessions",
    "asked: anonymous",
    "asked: logout",
    "asked: replaced",
    "asked: idle",
    "asked: absolute",
    "asked: locked",
    "remembered",
    "remembered as before",
    "not remembered: root",
    "unlocked",
    "asked: reuse",
    "asked: revoked",
    "asked: displaced",
    "full",
    "made way: replaced",
    "made way: displaced",
    "made way: idle",
    "made way: absolute",
    "asked: binding_ip",
    "asked: binding_user_agent",
    "asked: other_ip",
    "asked: other_user_agent",
    "offered",
    "offer withheld",
    "offered again",
    "committed",
    "committed by two",
    "overtaken",
    "strays deleted",
    "used before it was made",
    "used before its last activity",
    "presented before it was made",
];

#[test]
fn the_sessions_agree_with_the_naive_model() {
    let mut seen = BTreeMap::new();
    if let Some(seed) = REPLAY {
        return Run::new(seed).play(&mut seen);
    }
    (0..SEEDS).for_each(|seed| Run::new(seed).play(&mut seen));
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty(), "never came up: {missing:?}; what did: {seen:?}");
}

/// What happened, told when it ends badly.
struct Told {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} (write it into REPLAY):\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

/// A request under way, in both worlds.
struct UnderWay {
    number: usize,
    real: Flight,
    request: Request,
    stage: Stage,
}

/// An answer that has not been sent.
struct Unsent {
    number: usize,
    cookies: AnswerCookies,
    outcome: Outcome,
    made: Option<usize>,
}

struct Run {
    dice: Dice,
    told: Told,
    world: World,
    model: Model,
    /// The real names of the model's sessions.
    handles: Vec<SessionHandle>,
    /// Every cookie there ever was, with what the model knows of it.
    cookies: Vec<(String, Cookie)>,
    under_way: Vec<UnderWay>,
    unsent: Vec<Unsent>,
    requests: usize,
    seen: BTreeMap<String, usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let rules = rules(&mut dice);
        let late = lateness(&mut dice);
        let told = Told { seed, lines: vec![format!("{rules:?}, clocks late by {late:?} ms")] };
        Self {
            dice,
            told,
            world: World::new(&rules, &late, seed),
            model: Model { rules, sessions: Vec::new(), names: Vec::new() },
            handles: Vec::new(),
            cookies: Vec::new(),
            under_way: Vec::new(),
            unsent: Vec::new(),
            requests: 0,
            seen: BTreeMap::new(),
        }
    }

    fn play(mut self, seen: &mut BTreeMap<String, usize>) {
        self.sign_in();
        for step in 0..STEPS {
            self.world.go_to(self.dice.below(MOST_NODES));
            match self.dice.below(100) {
                0..40 => self.request(),
                40..58 => self.go_on(),
                58..66 => self.send_one(),
                66..82 => self.advance(),
                82..88 => self.sign_in(),
                88..91 => self.log_out(),
                91..92 => self.revoke(),
                92..93 => self.revoke_all(),
                93..95 => self.sweep(),
                95.. => self.forge(),
            }
            assert_eq!(self.world.store.active(), self.model.count(), "sessions that last");
            if step % 8 == 0 {
                self.compare_all();
            }
        }
        self.compare_all();
        for (what, count) in &self.seen {
            *seen.entry(what.clone()).or_default() += count;
        }
    }

    fn tell(&mut self, what: String) {
        self.told.lines.push(format!("{:>12} {what}", self.now()));
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    fn now(&self) -> u64 {
        self.world.now().as_millis()
    }

    fn request(&mut self) {
        let number_of_cookies = match self.dice.below(100) {
            0..6 => 0,
            6..88 => 1,
            88..95 => 2,
            _ => self.dice.below(2) + 3,
        };
        let presented: Vec<_> = (0..number_of_cookies).map(|_| self.some_cookie()).collect();
        let place = self.some_place(presented.first().map(|(_, cookie)| *cookie));
        let asks = self.dice.pick(&[
            Asks::User,
            Asks::User,
            Asks::User,
            Asks::Admin,
            Asks::Level,
            Asks::Optional,
            Asks::Anonymous,
            Asks::Public,
        ]);
        let values: Vec<String> = presented.iter().map(|(value, _)| value.clone()).collect();
        let cookies = presented.iter().map(|(_, cookie)| *cookie).collect();
        let request = Request { now: self.now(), asks, place, cookies };
        if number_of_cookies == 1 && self.under_way.len() < 6 && self.dice.percent(15) {
            // A page asks for several things at once, and not all of the same gateway.
            let flight = self.arrive(&request, &values);
            self.under_way.push(flight);
            self.world.go_to(self.dice.below(MOST_NODES));
        }
        let request = Request { now: self.now(), ..request };
        let mut flight = self.arrive(&request, &values);
        if number_of_cookies > 1 {
            // The store is asked once for each cookie, which the model does not follow: nobody overtakes these.
            let real = finish(flight.real);
            let expected = (0..3).find_map(|_| self.model.step(&flight.request, &mut flight.stage));
            self.arrived(flight.number, &request, real.expect("memory works"), expected.expect("it ends"));
        } else if self.under_way.len() < 6 && self.dice.percent(40) {
            self.under_way.push(flight);
        } else {
            while let Some(again) = self.step(flight) {
                flight = again;
            }
        }
    }

    fn arrive(&mut self, request: &Request, values: &[String]) -> UnderWay {
        self.requests += 1;
        let number = self.requests;
        self.tell(format!("request {number}: {request:?}"));
        let real = self.world.request(request.asks, request.place, values);
        UnderWay { number, real, request: request.clone(), stage: Stage::Arrived }
    }

    fn go_on(&mut self) {
        if !self.under_way.is_empty() {
            let at = self.dice.below(self.under_way.len());
            let flight = self.under_way.swap_remove(at);
            if let Some(again) = self.step(flight) {
                self.under_way.push(again);
            }
        }
    }

    /// A request goes on to its next wait in both worlds.
    fn step(&mut self, mut flight: UnderWay) -> Option<UnderWay> {
        let number = flight.number;
        let before = flight.stage.clone();
        let real = world::poll(flight.real.as_mut());
        let expected = self.model.step(&flight.request, &mut flight.stage);
        self.tell(format!("request {number} goes on: {before:?} -> {:?}, {expected:?}", flight.stage));
        assert_eq!(real.is_some(), expected.is_some(), "request {number} is done");
        let (Some(real), Some(expected)) = (real, expected) else { return Some(flight) };
        if let Stage::Committing(session, generation, _) = flight.stage {
            let kept = matches!(expected.said, Said::User(_) | Said::Stranger(_));
            let Session { made, since, .. } = self.model.sessions[session];
            let is_first = since == flight.request.now.max(made);
            if flight.request.now < made {
                self.count("presented before it was made");
            }
            let what = if !kept {
                "overtaken"
            } else if is_first {
                "committed"
            } else {
                "committed by two"
            };
            self.tell(format!("generation {generation} of session {session}: {what}"));
            self.count(what);
        }
        self.arrived(number, &flight.request, real.expect("memory works"), expected);
        None
    }

    /// A request has been decided on.
    fn arrived(&mut self, number: usize, request: &Request, real: Authorized, expected: Outcome) {
        let session = |handle: &SessionHandle| self.handles.iter().position(|known| known == handle).expect("known");
        let said = match &real.verdict {
            Verdict::Allow(grant) => match grant.subject() {
                Subject::Nobody => Said::Nobody,
                Subject::Anonymous(handle) => Said::Stranger(session(handle)),
                Subject::User(handle, principal) => {
                    let at = session(handle);
                    let expected = self.model.sessions[at].user.expect("a user's session");
                    assert_eq!(**principal, world::principal(expected), "request {number} passes as");
                    Said::User(at)
                }
            },
            Verdict::AllowWithNewSession(_) => Said::New,
            Verdict::Challenge(reason) => Said::Ask(reason.name()),
            Verdict::Deny(_) => Said::Deny,
        };
        assert_eq!(said, expected.said, "request {number}");
        if let (Said::User(_), Asks::Level) = (said, request.asks) {
            self.count("of a level");
        }
        self.count(match said {
            Said::Nobody => "allowed nobody".to_owned(),
            Said::Stranger(_) => "allowed stranger".to_owned(),
            Said::User(_) => "allowed user".to_owned(),
            Said::New => "new session".to_owned(),
            Said::Ask(why) => format!("asked: {why}"),
            Said::Deny if request.asks == Asks::Level => "denied: too low a level".to_owned(),
            Said::Deny => "denied".to_owned(),
        });
        if let Said::User(at) | Said::Stranger(at) = said {
            // At a gateway whose clock is later than that of another.
            if request.now < self.model.sessions[at].made {
                self.count("used before it was made");
            } else if request.now < self.model.sessions[at].active {
                self.count("used before its last activity");
            }
        }
        let mut cookies = real.cookies;
        let mut made = None;
        if said == Said::New {
            let (shared, snapshot) = (self.world.shared(), self.world.snapshot());
            let now = vestibule_time(request.now);
            let from = world::from(request.place);
            let new = finish(establish::anonymous(shared, &snapshot.default, from, now)).expect("memory works");
            let new = new.expect("nowhere near the limit");
            cookies.push(new.cookie);
            self.handles.push(new.live.handle());
            self.model.names.push(*new.live.handle().as_bytes());
            made = Some(self.model.begin(None, false, request.place, request.now));
        }
        self.unsent.push(Unsent { number, cookies, outcome: expected, made });
        if self.dice.percent(60) {
            self.send(self.unsent.len() - 1);
        }
    }

    fn send_one(&mut self) {
        if !self.unsent.is_empty() {
            let at = self.dice.below(self.unsent.len());
            self.send(at);
        }
    }

    /// The head of an answer is sent; whoever receives its cookies may never use them.
    fn send(&mut self, at: usize) {
        let Unsent { number, cookies, outcome, made } = self.unsent.swap_remove(at);
        let mut head = HeaderMap::new();
        cookies.write(self.world.shared(), &self.world.snapshot().default, &mut head);
        let sent: Vec<String> =
            head.get_all(header::SET_COOKIE).iter().map(|set| set.to_str().expect("text").to_owned()).collect();
        let mut expected = Vec::new();
        expected.extend(outcome.deletes.then_some(None));
        expected.extend(made.map(|session| Some((session, 0))));
        if let Some(offer) = outcome.offer {
            let is_pending = self.model.is_pending(offer);
            let again = |(_, cookie): &(_, Cookie)| matches!(cookie, Cookie::Sealed { session, generation, .. } if (*session, *generation) == offer);
            let is_new = !self.cookies.iter().any(again);
            self.count(if !is_pending {
                "offer withheld"
            } else if is_new {
                "offered"
            } else {
                "offered again"
            });
            expected.extend(is_pending.then_some(Some(offer)));
        }
        self.tell(format!("answer {number} is sent with {expected:?}"));
        // A stranger's was sealed when their session was made, an offer now.
        let sealed = made.map_or(self.now(), |session| self.model.sessions[session].made);
        let found: Vec<_> = sent.iter().map(|set| self.read_cookie(set, sealed)).collect();
        assert_eq!(found, expected, "the cookies of answer {number}");
        assert_eq!(head.contains_key(header::CACHE_CONTROL), !expected.is_empty(), "answer {number} is not kept");
        if outcome.deletes {
            self.count("strays deleted");
        }
        for (set, secret) in sent.iter().zip(found) {
            if let Some((session, generation)) = secret {
                self.keep(set, session, generation, sealed, true);
            }
        }
    }

    /// What a `Set-Cookie` value hands out; `None` deletes.
    fn read_cookie(&self, set: &str, sealed: u64) -> Option<(usize, u32)> {
        let value = value_of(set);
        if value.is_empty() {
            assert!(set.contains("Max-Age=0"), "{set}");
            return None;
        }
        let secret =
            self.world.snapshot().default.cookie.open(value.as_bytes(), vestibule_time(sealed)).expect("it opens");
        let session = self.handles.iter().position(|known| *known == secret.handle).expect("known");
        Some((session, secret.generation))
    }

    fn keep(&mut self, set: &str, session: usize, generation: u32, sealed: u64, is_proven: bool) {
        let day = sealed / 86_400_000;
        self.cookies.push((value_of(set).to_owned(), Cookie::Sealed { session, generation, day, is_proven }));
    }

    fn sign_in(&mut self) {
        let (user, with_cookie) = (self.dice.pick(&USERS), self.dice.percent(30) && !self.cookies.is_empty());
        let presented: Vec<_> = with_cookie.then(|| self.some_cookie()).into_iter().collect();
        let place = self.some_place(None);
        let asked = self.dice.pick(&[None, Some(true), Some(true), Some(false)]);
        self.tell(format!("{user} signs in from {place:?} with {presented:?}, remember: {asked:?}"));
        let before = self.current(place, &presented);
        let (shared, snapshot, now) = (self.world.shared(), self.world.snapshot(), self.world.now());
        let live = before.and_then(|at| self.world.find(self.handles[at]));
        let from = world::from(place);
        let known = before.map(|at| &self.model.sessions[at]).filter(|before| before.user == Some(user));
        let (was_remembered, was_locked) = known.map_or((false, false), |before| (before.remembered, before.locked));
        let rules = self.model.rules;
        let is_root = rules.forgets_root && user == "root";
        let wants = asked.unwrap_or(was_remembered) && rules.offered.is_some();
        let remembered = wants && !is_root;
        let made =
            finish(establish::sign_in(shared, &snapshot.default, world::principal(user), asked, from, live, None, now));
        let ends = self.model.room(user, before, self.now());
        let made = match (made.expect("memory works"), &ends) {
            (SignedIn::Yes(made), Some(_)) => made,
            (SignedIn::Full(_), None) => return self.count("full"),
            (SignedIn::Yes(_) | SignedIn::Full(_) | SignedIn::Before, _) => panic!("{user} has {ends:?}"),
        };
        for (what, happened) in [
            ("remembered", remembered && asked.is_some()),
            ("remembered as before", remembered && asked.is_none()),
            ("not remembered: root", wants && is_root),
            ("unlocked", was_locked),
        ] {
            if happened {
                self.count(what);
            }
        }
        for (at, why) in ends.into_iter().flatten() {
            self.count(format!("made way: {why}"));
            self.model.end(at, why, self.now());
        }
        if let Some(before) = before {
            self.model.end(before, "replaced", self.now());
        }
        let session = self.model.begin(Some(user), remembered, place, self.now());
        assert!(!self.handles.contains(&made.live.handle()), "a new session has a new name");
        self.handles.push(made.live.handle());
        self.model.names.push(*made.live.handle().as_bytes());
        let set = made.cookie.to_str().expect("text").to_owned();
        assert_eq!(self.read_cookie(&set, self.now()), Some((session, 0)));
        assert_eq!(set.contains("; Max-Age="), remembered, "{set}");
        self.keep(&set, session, 0, self.now(), true);
    }

    /// The session that our own pages see, the same in both worlds.
    fn current(&self, place: Place, presented: &[(String, Cookie)]) -> Option<usize> {
        let values: Vec<String> = presented.iter().map(|(value, _)| value.clone()).collect();
        let cookies: Vec<Cookie> = presented.iter().map(|(_, cookie)| *cookie).collect();
        let (shared, snapshot) = (self.world.shared(), self.world.snapshot());
        let headers = world::headers(place, &values);
        let current = current_session(shared, &snapshot.default, &headers, world::address(place), self.world.now());
        let live = finish(current).expect("memory works");
        let expected = self.model.current(&cookies, self.now());
        assert_eq!(live.map(|live| live.handle()), expected.map(|at| self.handles[at]), "the current session");
        expected
    }

    fn log_out(&mut self) {
        let presented = [self.some_cookie()];
        let place = self.some_place(None);
        self.tell(format!("logout with {:?}", presented[0].1));
        if let Some(at) = self.current(place, &presented) {
            self.end(at, EndReason::Logout);
        }
    }

    fn revoke(&mut self) {
        let at = self.dice.below(self.handles.len());
        self.tell(format!("session {at} is revoked"));
        self.end(at, EndReason::Revoked);
    }

    fn end(&mut self, at: usize, why: EndReason) {
        let lasts = self.model.sessions[at].ended.is_none();
        let (shared, now) = (self.world.shared(), self.world.now());
        let ended = finish(shared.end_session(self.handles[at], why, None, now)).expect("memory works");
        assert_eq!(ended, lasts, "session {at} ends now");
        self.model.end(at, why.name(), self.now());
    }

    fn revoke_all(&mut self) {
        let user = self.dice.pick(&USERS);
        self.tell(format!("all sessions of {user} are revoked"));
        let all: Vec<usize> = self.model.lasting(user).collect();
        let (shared, now) = (self.world.shared(), self.world.now());
        let ended = finish(shared.end_all_sessions(Owner::user(TenantId::DEFAULT, user), EndReason::Revoked, now));
        assert_eq!(ended, Ok(all.len()), "sessions that ended");
        all.into_iter().for_each(|at| self.model.end(at, "revoked", now.as_millis()));
    }

    fn sweep(&mut self) {
        self.tell("sweep".to_owned());
        finish(self.world.shared().sweep(self.world.now()));
        self.model.sweep(self.now());
    }

    /// Everything the store knows is what the model knows.
    fn compare_all(&self) {
        for (at, (session, handle)) in self.model.sessions.iter().zip(&self.handles).enumerate() {
            let Some(live) = self.world.find(*handle) else {
                assert!(session.forgotten, "session {at} was forgotten");
                continue;
            };
            let ended = live.ended().map(|(why, when)| (why.name(), when.as_millis()));
            let rotation = live.rotation();
            let pause = live.view().longest_pause.as_millis() as u64;
            let marks = (live.is_remembered(), live.is_locked(), pause);
            let active = live.active_at().as_millis();
            let found = (ended, active, rotation.generation, rotation.presented_at.as_millis(), marks);
            let marks = (session.remembered, session.locked, session.pause);
            let expected = (session.ended, session.active, session.generation, session.since, marks);
            assert_eq!((found, session.forgotten), (expected, false), "session {at}");
        }
        for user in USERS {
            let list =
                finish(self.world.shared().store.list(Owner::user(TenantId::DEFAULT, user))).expect("memory works");
            let mut found: Vec<_> = list.iter().map(|live| live.handle()).collect();
            let mut expected: Vec<_> = self.model.lasting(user).map(|at| self.handles[at]).collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "the sessions of {user}");
            let most = self.model.rules.max.map_or(usize::MAX, |(max, _)| max);
            let of_root = self.model.rules.max_of_root.filter(|_| user == "root" && most < usize::MAX);
            assert!(found.len() <= of_root.map_or(most, |max| max.min(most)), "{user} has too many");
        }
    }
}

const fn vestibule_time(millis: u64) -> vestibule::base::clock::Timestamp {
    vestibule::base::clock::Timestamp::from_millis(millis)
}

fn value_of(set: &str) -> &str {
    set.split(['=', ';']).nth(1).unwrap_or_default()
}
