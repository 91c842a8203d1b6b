//! The seeded simulation: random operations on the real session logic and on a naive model, compared after each step.
//!
//! What is real: `enforce` (authorisation, sign-in, logout, sweep, what follows from other users), the decision, the sealed
//! cookie, the memory store, the configuration that is made of a plan, the clock that a test moves. What is random: people
//! who sign in and out, strangers, every cookie that was ever handed out (current ones, pending successors, former and older
//! ones, altered and forged ones, several at once, those of one tenant at another), other addresses and browsers, requests
//! that other sites cause, requests that wait for the store while others overtake them, answers that are late or lost,
//! revocations, sweeps, and time, preferably to a millisecond before and after some limit. All of this at up to three
//! gateways that have one store and clocks that differ, each of which is told another configuration now and then: people
//! come, go, change their password, get and lose a role; tenants come and go; lifetimes and limits get tighter and looser.
//!
//! What happens to forms that meet a session which is over has a simulation of its own: [`parked`].
//!
//! A failure prints its seed and all that happened. To play it again, or more than usual, say which seeds:
//! `SIMULATION_SEEDS=17..18`.

mod answers;
mod chance;
mod changes;
mod model;
mod parked;

mod plans;
mod requests;
mod rules;
mod threads;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use vestibule::base::clock::Timestamp;
use vestibule::enforce::authorize::{AnswerCookies, Authorized};
use vestibule::enforce::establish;
use vestibule::enforce::snapshot::Snapshot;
use vestibule::policy::verdict::{Subject, Verdict};
use vestibule::session::csrf_token;
use vestibule::session::handle::SessionHandle;
use vestibule::session::store::SessionStore;

use chance::{lateness, rules};
use model::{Asks, Cookie, Head, Model, Outcome, Request, Said, Session, Stage};
use rules::{Config, Shield};
use world::{Flight, World, finish};

use crate::harness::Dice;

/// Which seeds are played where nothing else is said, and how many operations each.
const SEEDS: Range<u64> = 0..1200;
const STEPS: usize = 70;

/// How many gateways have one store, at the most.
const MOST_NODES: usize = 3;

/// What must have come up in all the runs together, or they show less than they claim.
const MUST_HAPPEN: [&str; 76] = [
    "allowed nobody",
    "allowed stranger",
    "allowed user",
    "new session",
    "denied: missing_role",
    "denied: level_not_reached",
    "denied: level_lost",
    "denied: cross_site",
    "denied: no_origin",
    "denied: websocket_origin",
    "denied: csrf_token",
    "of a level",
    "fresh",
    "with its token",
    "another site, only reported",
    "at another tenant: invalid_cookie",
    "at another tenant: unknown_session",
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
    "asked: account_disabled",
    "asked: password_changed",
    "asked: max_auth_age",
    "asked: route_idle",
    "asked: route_absolute",
    "remembered",
    "remembered as before",
    "not remembered: an admin",
    "kept by the browser",
    "kept no more",
    "unlocked",
    "asked: reuse",
    "asked: revoked",
    "asked: displaced",
    "full",
    "chosen",
    "made way: replaced",
    "made way: displaced",
    "made way: idle",
    "made way: absolute",
    "above what they may have",
    "asked: binding_ip",
    "asked: binding_user_agent",
    "asked: other_ip",
    "asked: other_user_agent",
    "offered",
    "offered for other rights",
    "offer withheld",
    "offered again",
    "committed",
    "committed by two",
    "overtaken",
    "strays deleted",
    "used before it was made",
    "used before its last activity",
    "presented before it was made",
    "nobody of that name",
    "signed in by the configuration before",
    "who signed in may not any more",
    "who signed in has other rights",
    "reload: ended",
    "reload: other rights",
    "reload: lost a role",
    "reload: a tenant goes",
    "reload: a tenant comes",
    "reload: tighter",
    "reload: looser",
    "same name elsewhere",
];

/// The seeds to be played.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(said) = std::env::var("SIMULATION_SEEDS") else { return usual };
    let read = || {
        let (from, to) = said.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    read().unwrap_or_else(|| panic!("SIMULATION_SEEDS is a range like 0..10000, not \"{said}\""))
}

/// Whether these are enough to say that something never comes up.
fn are_many(seeds: &Range<u64>) -> bool {
    seeds.end.saturating_sub(seeds.start) >= 1000
}

#[test]
fn the_sessions_agree_with_the_naive_model() {
    let (mut seen, seeds) = (BTreeMap::new(), seeds(SEEDS));
    seeds.clone().for_each(|seed| Run::new(seed).play(&mut seen));
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty() || !are_many(&seeds), "never came up: {missing:?}; what did: {seen:?}");
}

/// What happened, told when it ends badly.
struct Told {
    seed: u64,
    lines: Vec<String>,
}

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, lines } = self;
            eprintln!("play it again with SIMULATION_SEEDS={seed}..{}:\n{}", *seed + 1, lines.join("\n"));
        }
    }
}

/// A request under way, in both worlds.
struct UnderWay {
    number: usize,
    real: Flight,
    request: Request,
    stage: Stage,
    snapshot: Arc<Snapshot>,
}

/// An answer that has not been sent.
struct Unsent {
    number: usize,
    request: Request,
    snapshot: Arc<Snapshot>,
    cookies: AnswerCookies,
    outcome: Outcome,
    made: Option<usize>,
}

struct Run {
    dice: Dice,
    told: Told,
    world: World,
    model: Model,
    /// What each gateway was told before that.
    former: Vec<Config>,
    /// How many tenants there may be.
    tenants: usize,
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
        let (config, tenants) = chance::config(&mut dice);
        let late = lateness(&mut dice);
        let told = Told { seed, lines: vec![format!("{rules:?}, {config:?}, clocks late by {late:?} ms")] };
        Self {
            dice,
            told,
            world: World::new(&rules, &config, &late, seed),
            model: Model { rules, configs: vec![config; late.len()], sessions: Vec::new(), names: Vec::new() },
            former: vec![config; late.len()],
            tenants,
            handles: Vec::new(),
            cookies: Vec::new(),
            under_way: Vec::new(),
            unsent: Vec::new(),
            requests: 0,
            seen: BTreeMap::new(),
        }
    }

    fn play(mut self, seen: &mut BTreeMap<String, usize>) {
        while self.handles.is_empty() {
            self.sign_in();
        }
        for step in 0..STEPS {
            self.world.go_to(self.dice.below(MOST_NODES));
            match self.dice.below(100) {
                0..40 => self.request(),
                40..57 => self.go_on(),
                57..64 => self.send_one(),
                64..79 => self.advance(),
                79..86 => self.sign_in(),
                86..88 => self.log_out(),
                88..89 => self.revoke(),
                89..90 => self.revoke_all(),
                90..92 => self.sweep(),
                92..96 => self.forge(),
                96.. => self.reload(),
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
        let head = self.some_head(presented.first().map(|(_, cookie)| *cookie));
        let values: Vec<String> = presented.iter().map(|(value, _)| value.clone()).collect();
        let cookies: Vec<_> = presented.iter().map(|(_, cookie)| *cookie).collect();
        if number_of_cookies == 1 && self.under_way.len() < 6 && self.dice.percent(15) {
            // A page asks for several things at once, and not all of the same gateway.
            let flight = self.arrive(head, &cookies, &values);
            self.under_way.push(flight);
            self.world.go_to(self.dice.below(MOST_NODES));
        }
        let mut flight = self.arrive(head, &cookies, &values);
        if number_of_cookies > 1 {
            // The store is asked once for each cookie, which the model does not follow: nobody overtakes these.
            let real = finish(&mut flight.real);
            let expected = (0..3).find_map(|_| self.model.step(&flight.request, &mut flight.stage));
            self.arrived(&flight, real.expect("memory works"), expected.expect("it ends"));
        } else if self.under_way.len() < 6 && self.dice.percent(40) {
            self.under_way.push(flight);
        } else {
            while let Some(again) = self.step(flight) {
                flight = again;
            }
        }
    }

    fn arrive(&mut self, head: Head, cookies: &[Cookie], values: &[String]) -> UnderWay {
        self.requests += 1;
        let (number, snapshot) = (self.requests, Arc::clone(self.world.snapshot()));
        let config = self.model.configs[self.world.here()];
        let request = Request { now: self.now(), head, cookies: cookies.to_vec(), config };
        self.tell(format!("request {number} at gateway {}: {head:?} with {cookies:?}", self.world.here()));
        let live = head.token.and_then(|of| self.world.find(self.handles[of]));
        let token = live.map(|live| csrf_token::token(live.seed(), &self.world.shared().random));
        let real = self.world.request(&head, values, token.as_deref());
        UnderWay { number, real, request, stage: Stage::Arrived, snapshot }
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
        self.arrived(&flight, real.expect("memory works"), expected);
        None
    }

    /// A request has been decided on.
    fn arrived(&mut self, flight: &UnderWay, real: Authorized, expected: Outcome) {
        let UnderWay { number, request, snapshot, .. } = flight;
        let session = |handle: &SessionHandle| self.handles.iter().position(|known| known == handle).expect("known");
        let said = match &real.verdict {
            Verdict::Allow(grant) => match grant.subject() {
                Subject::Nobody => Said::Nobody,
                Subject::Anonymous(handle) => Said::Stranger(session(handle)),
                Subject::User(handle, principal) => {
                    let at = session(handle);
                    let as_decided = self.principal_of(at, expected.is_admin);
                    assert_eq!(**principal, as_decided, "request {number} passes as");
                    Said::User(at)
                }
            },
            Verdict::AllowWithNewSession(_) => Said::New,
            Verdict::Challenge(reason) => Said::Ask(reason.name()),
            Verdict::Deny(reason) => Said::Deny(reason.name()),
        };
        assert_eq!(said, expected.said, "request {number}");
        let level = match &real.verdict {
            Verdict::Allow(grant) | Verdict::AllowWithNewSession(grant) => grant.level(),
            Verdict::Challenge(_) | Verdict::Deny(_) => None,
        };
        assert_eq!(level.is_some(), expected.has_level, "the level that request {number} is told to have");
        self.check_laws(request, said);
        let mut cookies = real.cookies;
        let mut made = None;
        if said == Said::New {
            let tenant = world::at_host(snapshot, request.head.host);
            let (from, now) = (world::from(request.head.place), Timestamp::from_millis(request.now));
            let new = finish(establish::anonymous(self.world.shared(), tenant, from, now)).expect("memory works");
            let new = new.expect("nowhere near the limit");
            cookies.push(new.cookie);
            made = Some(self.begin(&new.live, None, false, request));
        }
        let (number, request, snapshot) = (*number, request.clone(), Arc::clone(snapshot));
        self.unsent.push(Unsent { number, request, snapshot, cookies, outcome: expected, made });
        if self.dice.percent(60) {
            self.send(self.unsent.len() - 1);
        }
    }

    /// What holds whatever the model says, and what came up.
    fn check_laws(&mut self, request: &Request, said: Said) {
        let Head { asks, sent, .. } = request.head;
        let (tenant, shield) = (request.tenant(), self.model.rules.shield);
        let passes_as = match said {
            Said::User(at) | Said::Stranger(at) => Some(at),
            Said::Nobody | Said::New | Said::Ask(_) | Said::Deny(_) => None,
        };
        let is_foreign = matches!(sent, model::Sent::Elsewhere | model::Sent::Sibling | model::Sent::SocketElsewhere);
        if asks != Asks::Public && is_foreign && shield == Shield::Enforce {
            assert!(matches!(said, Said::Deny(_)), "another site reaches the application");
        }
        if let Some(at) = passes_as {
            let session = &self.model.sessions[at];
            assert_eq!(session.tenant, tenant, "a session opens something at another tenant");
            assert_eq!(
                session.ended.filter(|(_, when)| request.now > *when),
                None,
                "one that has ended opens something"
            );
            // At a gateway whose clock is later than that of another.
            let (made, active) = (session.made, session.active);
            if request.now < made {
                self.count("used before it was made");
            } else if request.now < active {
                self.count("used before its last activity");
            }
        }
        if let (Some(Cookie::Sealed { session, .. }), Said::Ask(why)) = (request.cookies.first(), said)
            && self.model.sessions[*session].tenant != tenant
            && request.cookies.len() == 1
        {
            self.count(format!("at another tenant: {why}"));
        }
        self.count(match said {
            Said::Nobody => "allowed nobody".to_owned(),
            Said::Stranger(_) => "allowed stranger".to_owned(),
            Said::User(_) => "allowed user".to_owned(),
            Said::New => "new session".to_owned(),
            Said::Ask(why) => format!("asked: {why}"),
            Said::Deny(why) => format!("denied: {why}"),
        });
        match (said, asks) {
            (Said::User(_), Asks::Level) => self.count("of a level"),
            (Said::User(_), Asks::Fresh) if sent.changes() => self.count("fresh"),
            (Said::User(_), Asks::Token) if sent.changes() && shield == Shield::Enforce => self.count("with its token"),
            (Said::User(_), _) if is_foreign && shield == Shield::Report => self.count("another site, only reported"),
            _ => {}
        }
    }
}

fn value_of(set: &str) -> &str {
    set.split(['=', ';']).nth(1).unwrap_or_default()
}
