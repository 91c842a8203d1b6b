//! The seeded simulation of forms that meet a session which is over: who is shown what was kept, and what is sent.
//!
//! What is real: the decision, what keeps a form and finds it again, the page that asks what is to become of it, the store of
//! values, at up to two gateways whose clocks differ. What is random: people of several tenants and their browsers, forms of
//! all sizes and kinds from the application's own pages and from elsewhere, sessions that end or are locked or too old for
//! where the form goes, thieves with a copy of a cookie, words of one page said on another, several who send at once,
//! applications that cannot be reached, and time.
//!
//! Whatever comes up: a form reaches the application once at the most, never after its time, only for the person who sent it
//! and from the browser they sent it from, and only on their word; what the shield refuses is not kept; and there are never
//! more than the bounds say.

mod gateway;
mod model;
mod words;

use std::collections::BTreeMap;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vestibule::base::clock::Timestamp;
use vestibule::enforce::parking::{NotKept, Outcome, ParkingSettings};
use vestibule::session::handle::SessionHandle;
use vestibule::session::kv::{KvStore, Space};
use vestibule::session::record::EndReason;

use super::requests::Asks;
use super::rules::{Shield, TENANTS, USERS};
use super::world::{self, finish};
use super::{Told, are_many, seeds};
use crate::harness::Dice;
use gateway::{Came, Gateway, Jar, config, gateways, rules};
use model::{FRESH, IDLE, Kept, Model, Said, Session};

/// Which seeds are played where nothing else is said, and how many operations each.
const SEEDS: Range<u64> = 0..1200;
const STEPS: usize = 60;

/// Browsers; each has cookies of each host.
const BROWSERS: usize = 3;

const MUST_HAPPEN: [&str; 37] = [
    "post: passed",
    "post: denied",
    "post: asked no_session",
    "post: asked logout",
    "post: asked idle",
    "post: asked locked",
    "post: asked max_auth_age",
    "post: asked revoked",
    "post: asked account_disabled",
    "kept",
    "not kept: stranger",
    "not kept: too_large",
    "not kept: too_many",
    "not kept: full",
    "not kept: other_kind",
    "no form to be kept",
    "another site's, not kept",
    "led to what is kept",
    "somebody else is not led there",
    "shown",
    "not shown: another user",
    "not shown: another browser",
    "not shown: another host",
    "not shown: its time is over",
    "not shown: gone",
    "not shown: nobody is signed in",
    "sent",
    "sent after a race",
    "discarded",
    "another page's word",
    "another session's word",
    "another site's word",
    "kept again: denied",
    "kept again: not reached",
    "kept again: asked for the password once more",
    "too late to be kept again",
    "cleaned up",
];

#[test]
fn what_is_kept_of_forms_agrees_with_the_naive_model() {
    let (mut seen, seeds) = (BTreeMap::new(), seeds(SEEDS));
    seeds.clone().for_each(|seed| Run::new(seed).play(&mut seen));
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty() || !are_many(&seeds), "never came up: {missing:?}; what did: {seen:?}");
}

/// A form as a browser sends it.
#[derive(Clone, Debug)]
pub struct Form {
    pub number: usize,
    pub host: usize,
    pub asks: Asks,
    pub target: String,
    pub kind: &'static str,
    pub content: Bytes,
    pub navigates: bool,
    /// Whether a page of the application sent it; `None` where that is not said.
    pub is_own: Option<bool>,
}

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, host, asks, kind, content, navigates, is_own, .. } = self;
        let length = content.len();
        write!(
            f,
            "form {number} to host {host} ({asks:?}), {length} bytes of {kind}, navigates: {navigates}, own: {is_own:?}"
        )
    }
}

/// A request that others may overtake.
type Flight<T> = Pin<Box<dyn Future<Output = T>>>;

struct Run {
    dice: Dice,
    told: Told,
    gateways: Vec<Gateway>,
    values: Arc<dyn KvStore>,
    model: Model,
    handles: Vec<SessionHandle>,
    /// By browser and host: its cookies, and which session they open.
    jars: Vec<[(Jar, Option<usize>); 3]>,
    tenants: usize,
    forms: usize,
    seen: BTreeMap<String, usize>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let shield = dice.pick(&[Shield::Enforce, Shield::Report, Shield::Off]);
        let locks = dice.percent(40);
        let settings = ParkingSettings {
            max_size: 2048,
            per_user: 1 + dice.below(3),
            total: dice.pick(&[4096, 6144, 1 << 20]),
            keep: Duration::from_millis(dice.pick(&[90_000, 240_000, 600_000])),
        };
        let most = dice.pick(&[1, 5_000]);
        let late: Vec<u64> = (0..=dice.below(2)).map(|_| dice.below(most) as u64).collect();
        let (gateways, values) = gateways(&rules(shield), &config(locks), settings, &late, seed);
        Self {
            dice,
            told: Told { seed, lines: vec![format!("{shield:?}, locks: {locks}, {settings:?}, late by {late:?} ms")] },
            gateways,
            values,
            model: Model { shield, locks, settings, sessions: Vec::new(), kept: Vec::new() },
            handles: Vec::new(),
            jars: (0..BROWSERS).map(|_| Default::default()).collect(),
            tenants: 2,
            forms: 0,
            seen: BTreeMap::new(),
        }
    }

    fn play(mut self, seen: &mut BTreeMap<String, usize>) {
        for _ in 0..STEPS {
            match self.dice.below(100) {
                0..22 => self.post(),
                22..34 => self.sign_in(None),
                34..42 => self.go_on(),
                42..60 => self.show(),
                60..76 => self.say(),
                76..80 => self.race_of_words(),
                80..83 => self.race_of_posts(),
                83..93 => self.advance(),
                93..96 => self.end(),
                96..98 => self.steal(),
                98.. => self.clean_up(),
            }
            self.check();
        }
        for (what, count) in &self.seen {
            *seen.entry(what.clone()).or_default() += count;
        }
    }

    fn tell(&mut self, what: String) {
        self.told.lines.push(format!("{:>12} {what}", self.gateways[0].now().as_millis()));
    }

    fn count(&mut self, what: impl Into<String>) {
        *self.seen.entry(what.into()).or_default() += 1;
    }

    fn here(&mut self) -> Gateway {
        let at = self.dice.below(self.gateways.len());
        self.gateways[at].clone()
    }

    fn somewhere(&mut self) -> (usize, usize) {
        (self.dice.below(BROWSERS), self.dice.below(self.tenants))
    }

    fn form(&mut self, host: usize) -> Form {
        self.forms += 1;
        let number = self.forms;
        let length = self.dice.pick(&[20, 900, 1500, 2048, 2049, 4000]);
        let content = format!("what=m{number}m&rest={}", "x".repeat(length)).as_bytes()[..length].to_vec();
        let kind = self.dice.pick(&[
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded",
            "application/x-www-form-urlencoded; charset=utf-8",
            "multipart/form-data; boundary=b",
            "text/plain",
            "application/json",
        ]);
        Form {
            number,
            host,
            asks: self.dice.pick(&[Asks::User, Asks::User, Asks::User, Asks::Fresh, Asks::Fresh, Asks::Admin]),
            target: format!("/orders/{number}"),
            kind,
            content: content.into(),
            navigates: self.dice.percent(90),
            is_own: self.dice.pick(&[Some(true), Some(true), Some(true), Some(true), Some(true), Some(false), None]),
        }
    }

    fn post(&mut self) {
        let (browser, host) = self.somewhere();
        let (form, gateway) = (self.form(host), self.here());
        let (jar, session) = self.jars[browser][host].clone();
        let now = gateway.now().as_millis();
        self.tell(format!("browser {browser} posts {form} with session {session:?} at {now}"));
        let (came, jar) = finish(gateway.post(form.clone(), jar));
        let expected = self.model.ask(&form, session, now);
        self.came(&came, expected);
        self.jars[browser][host].0 = jar.clone();
        if let Came::Asked(why, outcome) = came {
            self.parked(&form, session, &jar, why, outcome, now);
        }
    }

    fn came(&mut self, came: &Came, expected: Said) {
        let said = match came {
            Came::Passed => Said::Passed,
            Came::Denied => Said::Denied,
            Came::Asked(why, _) => Said::Asked(why),
        };
        assert_eq!(said, expected, "what is said of a form");
        self.count(match said {
            Said::Passed => "post: passed".to_owned(),
            Said::Denied => "post: denied".to_owned(),
            Said::Asked(why) => format!("post: asked {why}"),
        });
    }

    /// What became of a form whose person must sign in for it.
    fn parked(&mut self, form: &Form, session: Option<usize>, jar: &Jar, why: &str, outcome: Outcome, now: u64) {
        self.tell(format!("form {}: {why}, {outcome:?}", form.number));
        let expected = self.model.is_to_be_kept(form, why);
        let user = session.map(|at| self.model.sessions[at].user);
        let whose = user.map(|user| (form.host, user));
        let (size, settings) = (form.content.len() as u64, self.model.settings);
        match (outcome, expected) {
            (Outcome::NoForm, None) if form.is_own == Some(true) => self.count("no form to be kept"),
            (Outcome::NoForm, None) => self.count("another site's, not kept"),
            (Outcome::NotKept(why), Some(Err(expected))) => {
                assert_eq!(why, expected, "why form {} is not kept", form.number);
                self.count(format!("not kept: {}", why.name()));
            }
            (Outcome::NotKept(why @ NotKept::TooMany), Some(Ok(()))) => {
                let has = self.model.count_of(whose.expect("somebody"), now);
                assert!(has >= settings.per_user, "{has} are too many");
                self.count(format!("not kept: {}", why.name()));
            }
            (Outcome::NotKept(why @ NotKept::Full), Some(Ok(()))) => {
                // What is written down beside the content, and begun kilobytes.
                let most = self.model.taken(now) + size + 2048;
                assert!(most > settings.total, "{most} bytes are too much");
                self.count(format!("not kept: {}", why.name()));
            }
            (Outcome::Kept(id), Some(Ok(()))) => {
                let user = user.expect("somebody");
                let weight = u64::from(u32::from_be_bytes(*id.bytes().last_chunk().expect("four"))) * 1024;
                assert!(weight >= size, "{weight} bytes for {size}");
                let name = id.to_string();
                assert!(self.model.kept.iter().all(|other| other.name != name), "it has a name of its own");
                let ends = now + settings.keep.as_millis() as u64;
                let (login, form) = (jar.login.clone().expect("a browser"), form.clone());
                let (is_stored, sent, tokens) = (true, 0, Vec::new());
                self.model.kept.push(Kept { name, id, form, user, login, ends, weight, is_stored, sent, tokens });
                self.count("kept");
            }
            (outcome, expected) => panic!("form {} is {outcome:?} instead of {expected:?}", form.number),
        }
    }

    fn sign_in(&mut self, kept: Option<usize>) {
        let (browser, host) = match kept {
            Some(at) => (self.browser_of(at), self.model.kept[at].form.host),
            None => self.somewhere(),
        };
        let of_kept = kept.filter(|_| self.dice.percent(75)).map(|at| self.model.kept[at].user);
        let user = of_kept.unwrap_or_else(|| self.dice.pick(&USERS[..2]));
        let gateway = self.here();
        let name = kept.map(|at| (self.model.kept[at].user, self.model.kept[at].id));
        let (jar, before) = &mut self.jars[browser][host];
        let (handle, way) = gateway.sign_in(user, host, jar, name);
        if let Some(before) = before.filter(|at| self.model.sessions[*at].ended.is_none()) {
            self.model.sessions[before].ended = Some("replaced");
        }
        let now = gateway.now().as_millis();
        let session = Session { host, user, made: now, active: now, ended: None, locked: false };
        self.model.sessions.push(session);
        self.handles.push(handle);
        *before = Some(self.model.sessions.len() - 1);
        self.tell(format!("{user} signs in at host {host} in browser {browser}, and goes on to {way}"));
        let Some(kept) = kept.map(|at| &self.model.kept[at]) else { return assert_eq!(way, "/") };
        let is_theirs = kept.user == user;
        assert_eq!(way.starts_with(&format!("/.vestibule/parked/{}", kept.name)), is_theirs, "{way}");
        self.count(if is_theirs { "led to what is kept" } else { "somebody else is not led there" });
    }

    /// Somebody signs in by the page that their form led to.
    fn go_on(&mut self) {
        let stored: Vec<_> = (0..self.model.kept.len()).filter(|at| self.model.kept[*at].is_stored).collect();
        if !stored.is_empty() {
            let at = stored[self.dice.below(stored.len())];
            self.sign_in(Some(at));
        }
    }

    /// The browser that something came from, if there still is one.
    fn browser_of(&self, at: usize) -> usize {
        let (host, login) = (self.model.kept[at].form.host, &self.model.kept[at].login);
        self.jars.iter().position(|jars| jars[host].0.login.as_ref() == Some(login)).unwrap_or(0)
    }

    /// Something that is or was kept, and from where somebody asks for it: mostly from where it came.
    fn some_kept(&mut self) -> Option<(usize, usize, usize)> {
        let count = self.model.kept.len();
        if count == 0 {
            return None;
        }
        let recent = count.saturating_sub(4);
        let at = if self.dice.percent(80) { recent + self.dice.below(count - recent) } else { self.dice.below(count) };
        let (browser, host) = (self.browser_of(at), self.model.kept[at].form.host);
        let (other, elsewhere) = self.somewhere();
        Some((
            at,
            if self.dice.percent(85) { browser } else { other },
            if self.dice.percent(92) { host } else { elsewhere },
        ))
    }

    /// Whether it is there for who asks, and if not, why not.
    fn is_there(&self, at: usize, browser: usize, host: usize, now: u64) -> Result<usize, &'static str> {
        let (jar, session) = &self.jars[browser][host];
        let Some(session) = session.filter(|session| self.model.is_usable(*session, now)) else {
            return Err("nobody is signed in");
        };
        if self.model.is_there_for(at, host, session, jar.login.as_deref(), now) {
            return Ok(session);
        }
        let kept = &self.model.kept[at];
        Err(match () {
            () if kept.form.host != host => "another host",
            () if now >= kept.ends => "its time is over",
            () if !kept.is_stored => "gone",
            () if kept.user != self.model.sessions[session].user => "another user",
            () => "another browser",
        })
    }

    /// Several forms of one browser at once, at one gateway: the bounds hold.
    fn race_of_posts(&mut self) {
        let (browser, host) = self.somewhere();
        let (jar, session) = self.jars[browser][host].clone();
        let gateway = self.here();
        let now = gateway.now().as_millis();
        let count = 2 + self.dice.below(4);
        let forms: Vec<Form> = (0..count).map(|_| Form { is_own: Some(true), ..self.form(host) }).collect();
        self.tell(format!("browser {browser} posts {count} forms at once with session {session:?}"));
        let fly = |form: &Form| -> Flight<_> { Box::pin(gateway.clone().post(form.clone(), jar.clone())) };
        let mut flights: Vec<(Form, Flight<(Came, Jar)>)> =
            forms.iter().map(|form| (form.clone(), fly(form))).collect();
        while !flights.is_empty() {
            let next = self.dice.below(flights.len());
            let Some((came, jar)) = world::poll(flights[next].1.as_mut()) else { continue };
            let (form, _) = flights.swap_remove(next);
            let expected = self.model.ask(&form, session, now);
            self.came(&came, expected);
            self.jars[browser][host].0 = jar.clone();
            match came {
                // While others are being read.
                Came::Asked(_, Outcome::NotKept(NotKept::TooMany)) => self.count("not kept: too_many"),
                Came::Asked(_, Outcome::NotKept(NotKept::Full)) => self.count("not kept: full"),
                Came::Asked(why, outcome) => self.parked(&form, session, &jar, why, outcome, now),
                Came::Passed | Came::Denied => {}
            }
            self.check();
        }
    }

    fn advance(&mut self) {
        let ends = self.model.kept.iter().rev().take(3).map(|kept| kept.ends).collect::<Vec<_>>();
        let now = self.gateways[0].now().as_millis();
        let millis = match self.dice.below(100) {
            0..35 => self.dice.below(20_000) as u64,
            35..60 => IDLE + self.dice.below(3) as u64 - 1,
            60..75 => FRESH,
            _ if ends.is_empty() => 1,
            _ => (ends[self.dice.below(ends.len())] + self.dice.below(3) as u64).saturating_sub(now + 1),
        };
        self.gateways.iter().for_each(|gateway| gateway.advance(Duration::from_millis(millis)));
        self.tell(format!("{millis} ms have passed"));
    }

    fn end(&mut self) {
        if self.handles.is_empty() {
            return;
        }
        let at = self.handles.len() - 1 - self.dice.below(self.handles.len().min(4));
        let why = self.dice.pick(&[EndReason::Logout, EndReason::Revoked, EndReason::AccountDisabled]);
        self.tell(format!("session {at} ends: {}", why.name()));
        let gateway = self.here();
        let ended = finish(gateway.shared.end_session(self.handles[at], why, None, gateway.now())).expect("it works");
        let session = &mut self.model.sessions[at];
        assert_eq!(ended, session.ended.is_none());
        session.ended = session.ended.or(Some(why.name()));
    }

    /// Somebody copies cookies into another browser: that of the session, or that of the login page.
    fn steal(&mut self) {
        let ((from, host), to) = (self.somewhere(), self.dice.below(BROWSERS));
        let (jar, session) = self.jars[from][host].clone();
        self.tell(format!("browser {to} has copies of browser {from} for host {host}"));
        if self.dice.percent(60) {
            (self.jars[to][host].0.session, self.jars[to][host].1) = (jar.session, session);
        } else {
            self.jars[to][host].0.login = jar.login;
        }
    }

    fn clean_up(&mut self) {
        let gateway = self.here();
        let now = gateway.now();
        self.tell("what is over is cleaned up".to_owned());
        finish(gateway.shared.parking.expire(&gateway.shared, now));
        let stored = self.stored();
        let mut gone = 0;
        for kept in self.model.kept.iter_mut().filter(|kept| kept.is_stored && now.as_millis() >= kept.ends) {
            kept.is_stored = stored.contains(&kept.name);
            gone += usize::from(!kept.is_stored);
        }
        if gone > 0 {
            self.count("cleaned up");
        }
    }

    /// What the store has, whatever the time.
    fn stored(&self) -> Vec<String> {
        let early = Timestamp::from_millis(0);
        let names = finish(self.values.list(Space::Parked, "", 10_000, early)).expect("it works");
        names.iter().map(|name| name.split_once('/').expect("an owner and a name").1.to_owned()).collect()
    }

    /// The store has what it should, and no more than it may.
    fn check(&self) {
        let mut expected: Vec<_> =
            self.model.kept.iter().filter(|kept| kept.is_stored).map(|kept| kept.name.clone()).collect();
        let mut found = self.stored();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "what is kept");
        let latest = self.gateways.iter().map(|gateway| gateway.now().as_millis()).max().expect("one");
        for (host, user) in (0..TENANTS.len()).flat_map(|host| USERS.map(|user| (host, user))) {
            let count = self.model.count_of((host, user), latest);
            assert!(count <= self.model.settings.per_user, "{user} of host {host} has {count}");
        }
        assert!(self.model.taken(latest) <= self.model.settings.total, "together they are too much");
    }
}
