//! The naive model: plain lists and plain rules, written from the specification and not from the code.

pub use super::requests::{Asks, Cookie, Head, Place, Request, Sent};
use super::rules::{Answer, Config, Rules, Shield, same_address, same_agent};

/// A session as the model knows it.
#[derive(Clone, Debug)]
pub struct Session {
    pub tenant: usize,
    pub user: Option<&'static str>,
    pub is_admin: bool,
    pub password: u8,
    pub made: u64,
    pub active: u64,
    pub place: Place,
    pub generation: u32,
    pub since: u64,
    /// Its person may do other things than when its secret was handed out.
    pub renew: bool,
    pub ended: Option<(&'static str, u64)>,
    pub forgotten: bool,
    pub remembered: bool,
    pub locked: bool,
    /// The longest time without activity.
    pub pause: u64,
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nobody,
    Stranger(usize),
    User(usize),
    New,
    Ask(&'static str),
    Deny(&'static str),
}

/// What came of a request, and what its answer will say in `Set-Cookie` if that still holds when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub said: Said,
    /// Whether somebody passes with the rights of an admin: those of the moment that it was decided in.
    pub is_admin: bool,
    /// Whether the application is told that somebody has reached the level; a stranger never has.
    pub has_level: bool,
    pub offer: Option<(usize, u32)>,
    pub deletes: bool,
}

/// Where a request stands.
#[derive(Clone, Debug)]
pub enum Stage {
    Arrived,
    LookingUp,
    Ending(usize, &'static str, Outcome),
    Committing(usize, u32, Outcome),
}

/// What one session is good for, for one request.
enum Judged {
    Usable { offer: Option<u32>, commit: Option<u32> },
    Refused { why: &'static str, ends: bool, locks: bool },
}

const DAY: u64 = 86_400_000;

/// All sessions there ever were.
pub struct Model {
    pub rules: Rules,
    /// What each gateway was told last.
    pub configs: Vec<Config>,
    pub sessions: Vec<Session>,
    /// What the sessions are called: of several that were begun and used at once, the lowest goes first.
    pub names: Vec<[u8; 16]>,
}

impl Model {
    /// A session begins.
    pub fn begin(&mut self, session: Session) -> usize {
        self.sessions.push(session);
        self.sessions.len() - 1
    }

    /// Which sessions of a person end, and why, for another one that takes the place of `before`, or of one that they have
    /// chosen; `None` when it may not begin.
    pub fn room(
        &self,
        config: &Config,
        (tenant, user, is_admin): (usize, &str, bool),
        before: Option<usize>,
        chosen: Option<usize>,
        now: u64,
    ) -> Option<Vec<(usize, &'static str)>> {
        let all: Vec<usize> = self.lasting(tenant, user).collect();
        let before = before.filter(|at| all.contains(at));
        let mut ends: Vec<_> = before.into_iter().map(|at| (at, "replaced")).collect();
        let limits = config.limits(tenant);
        let (Some(max), Some((_, ends_oldest))) = (limits.most(is_admin), limits.max) else { return Some(ends) };
        let chosen = chosen.filter(|at| all.contains(at) && Some(*at) != before);
        ends.extend(chosen.map(|at| (at, "displaced")));
        let mut others: Vec<usize> = all.into_iter().filter(|at| Some(*at) != before && Some(*at) != chosen).collect();
        others.retain(|at| match self.over(config, &self.sessions[*at], now).filter(|why| *why != "locked") {
            Some(why) => {
                ends.push((*at, why));
                false
            }
            None => true,
        });
        while others.len() >= max {
            if !ends_oldest {
                return None;
            }
            let oldest = self.least_recent(&others);
            others.retain(|at| *at != oldest);
            ends.push((oldest, "displaced"));
        }
        Some(ends)
    }

    fn least_recent(&self, among: &[usize]) -> usize {
        let used = |at: &usize| (self.sessions[*at].active, self.sessions[*at].made);
        let least = among.iter().map(used).min().expect("at least one");
        among.iter().copied().filter(|at| used(at) == least).min_by_key(|at| self.names[*at]).expect("one")
    }

    /// A session ends, once. Of a stranger's nothing is kept.
    pub fn end(&mut self, at: usize, why: &'static str, now: u64) {
        let session = &mut self.sessions[at];
        if session.ended.is_none() && !session.forgotten {
            session.ended = Some((why, now));
            session.forgotten = session.user.is_none();
        }
    }

    /// What is over ends, what ended a day ago is forgotten, and nobody keeps more than they may have.
    pub fn sweep(&mut self, config: &Config, now: u64) -> usize {
        for at in 0..self.sessions.len() {
            match self.sessions[at].ended {
                Some((_, ended)) if now >= ended + DAY => self.sessions[at].forgotten = true,
                Some(_) => {}
                None => match self.over(config, &self.sessions[at], now) {
                    Some("locked") => self.sessions[at].locked = true,
                    Some(why) => self.end(at, why, now),
                    None => {}
                },
            }
        }
        let mut displaced = 0;
        for (tenant, user) in people() {
            let mut all: Vec<usize> = self.lasting(tenant, user).collect();
            let is_admin = all.iter().any(|at| self.sessions[*at].is_admin);
            while config.limits(tenant).most(is_admin).is_some_and(|most| all.len() > most) {
                let oldest = self.least_recent(&all);
                all.retain(|at| *at != oldest);
                self.end(oldest, "displaced", now);
                displaced += 1;
            }
        }
        displaced
    }

    /// Sessions follow the users: how many end, and how many have other rights.
    pub fn follow(&mut self, config: &Config, now: u64) -> (usize, usize) {
        let all = people().flat_map(|(tenant, user)| self.lasting(tenant, user).collect::<Vec<_>>());
        let came: Vec<_> = all.collect::<Vec<_>>().into_iter().map(|at| self.follow_one(config, at, now)).collect();
        let count = |wanted| came.iter().filter(|came| **came == Some(wanted)).count();
        (count("ended"), count("changed"))
    }

    /// The same of one of them.
    pub fn follow_one(&mut self, config: &Config, at: usize, now: u64) -> Option<&'static str> {
        let session = &mut self.sessions[at];
        let (why, came) = match config.user(session.tenant, session.user?) {
            _ if config.limits[session.tenant].is_none() => ("revoked", "ended"),
            None => ("account_disabled", "ended"),
            Some(entry) if entry.password != session.password => ("password_changed", "ended"),
            Some(entry) if entry.is_admin != session.is_admin => {
                (session.is_admin, session.renew) = (entry.is_admin, true);
                return Some("changed");
            }
            Some(_) => return None,
        };
        self.end(at, why, now);
        Some(came)
    }

    /// The sessions of somebody that last.
    pub fn lasting<'a>(&'a self, tenant: usize, user: &'a str) -> impl Iterator<Item = usize> + 'a {
        let is_theirs = move |session: &Session| session.tenant == tenant && session.user == Some(user);
        let all = self.sessions.iter().enumerate();
        all.filter(move |(_, session)| is_theirs(session) && session.ended.is_none()).map(|(at, _)| at)
    }

    /// How many sessions last.
    pub fn count(&self) -> usize {
        self.sessions.iter().filter(|session| session.ended.is_none()).count()
    }

    /// The session that our own pages see: whatever its limits, if it has not ended.
    pub fn current(&self, request: &Request) -> Option<usize> {
        self.find(request).ok().map(|(at, _)| at).filter(|at| self.sessions[*at].ended.is_none())
    }

    /// Whether a successor is still one.
    pub fn is_pending(&self, (at, generation): (usize, u32)) -> bool {
        self.sessions[at].ended.is_none() && self.sessions[at].generation + 1 == generation
    }

    /// The next step of a request: to where it waits for the store, or to its end.
    pub fn step(&mut self, request: &Request, stage: &mut Stage) -> Option<Outcome> {
        let waits = || self.rules.lookup_waits && request.cookies.iter().any(|cookie| opens(cookie, request));
        match stage.clone() {
            Stage::Arrived | Stage::LookingUp if request.head.asks == Asks::Public => Some(plain(Said::Nobody)),
            Stage::Arrived if waits() => {
                *stage = Stage::LookingUp;
                None
            }
            Stage::Arrived | Stage::LookingUp => self.decide(request, stage),
            Stage::Ending(at, why, outcome) => {
                self.end(at, why, request.now);
                Some(outcome)
            }
            Stage::Committing(at, generation, outcome) => {
                let session = &mut self.sessions[at];
                if session.ended.is_none() && session.generation < generation {
                    (session.generation, session.renew) = (generation, false);
                    // Where the clock is late that may be before there was a session, which it then begins with.
                    session.since = request.now.max(session.made);
                }
                let is_current = session.ended.is_none() && session.generation == generation;
                Some(if is_current { outcome } else { plain(Said::Ask("unknown_session")) })
            }
        }
    }

    fn decide(&mut self, request: &Request, stage: &mut Stage) -> Option<Outcome> {
        let found = self.find(request);
        // Whatever follows of it, browsers get rid of what is no good beside others.
        let deletes = request.cookies.len() > 1 && found.is_err();
        let asks = request.head.asks;
        let is_shielded = self.rules.shield == Shield::Enforce;
        if let Some(why) = request.head.sent.foreign(!request.cookies.is_empty()).filter(|_| is_shielded) {
            return Some(Outcome { deletes, ..plain(Said::Deny(why)) });
        }
        let (at, shown) = match found {
            Ok(found) => found,
            Err(why) => return Some(Outcome { deletes, ..plain(without(asks, why)) }),
        };
        match self.judge(&self.sessions[at], shown, request) {
            Judged::Refused { why, ends, locks } => {
                self.sessions[at].locked |= locks;
                let outcome = plain(without(asks, why));
                if !ends {
                    return Some(outcome);
                }
                *stage = Stage::Ending(at, why, outcome);
                None
            }
            Judged::Usable { offer, commit } => {
                if let Some(refusal) = self.refusal(at, request) {
                    return Some(plain(refusal));
                }
                let is_user = self.sessions[at].user.is_some();
                let said = if is_user { Said::User(at) } else { Said::Stranger(at) };
                let is_admin = self.sessions[at].is_admin;
                let has_level = is_user && self.lacks_level(&self.sessions[at], request.now).is_none();
                let outcome = Outcome { is_admin, has_level, offer: offer.map(|offer| (at, offer)), ..plain(said) };
                if request.now >= self.sessions[at].active + 1000 {
                    let session = &mut self.sessions[at];
                    session.pause = session.pause.max(request.now - session.active);
                    session.active = request.now;
                }
                if let Some(commit) = commit {
                    *stage = Stage::Committing(at, commit, outcome);
                    return None;
                }
                Some(outcome)
            }
        }
    }

    /// Why somebody with a good session may not pass.
    fn refusal(&self, at: usize, Request { head, now, .. }: &Request) -> Option<Said> {
        let session = &self.sessions[at];
        let needs_user = !matches!(head.asks, Asks::Public | Asks::Optional | Asks::Anonymous);
        if session.user.is_none() {
            return needs_user.then_some(Said::Ask("anonymous"));
        }
        let lacks_token = head.sent.changes() && head.token != Some(at) && self.rules.shield == Shield::Enforce;
        let (age, pause) = (now.saturating_sub(session.made), self.pause(session, *now));
        match head.asks {
            Asks::Admin if !session.is_admin => Some(Said::Deny("missing_role")),
            Asks::Token if lacks_token => Some(Said::Deny("csrf_token")),
            Asks::Level => self.lacks_level(session, *now).map(Said::Deny),
            Asks::Fresh => match self.rules.fresh {
                (_, Some(absolute), _) if age >= absolute => Some(Said::Ask("route_absolute")),
                (Some(idle), ..) if pause >= idle => Some(Said::Ask("route_idle")),
                (.., Some(proof)) if age >= proof && head.sent.changes() => Some(Said::Ask("max_auth_age")),
                _ => None,
            },
            Asks::Public | Asks::Optional | Asks::Anonymous | Asks::User | Asks::Admin | Asks::Token => None,
        }
    }

    fn lacks_level(&self, session: &Session, now: u64) -> Option<&'static str> {
        let (after, idle) = self.rules.level;
        if idle.is_some_and(|idle| self.pause(session, now) >= idle) {
            return Some("level_lost");
        }
        (now.saturating_sub(session.made) < after).then_some("level_not_reached")
    }

    fn pause(&self, session: &Session, now: u64) -> u64 {
        now.saturating_sub(session.active).max(session.pause)
    }

    /// The one session that the cookies open; of several, one that lasts, if there is only one.
    fn find(&self, request: &Request) -> Result<(usize, u32), &'static str> {
        let opened: Vec<_> = request.cookies.iter().map(|cookie| self.open(cookie, request)).collect();
        match opened.as_slice() {
            [] => return Err("no_session"),
            [only] => return *only,
            _ => {}
        }
        let opened: Vec<(usize, u32)> = opened.into_iter().flatten().collect();
        let newest = |at| opened.iter().filter(|other| other.0 == at).map(|other| other.1).max().unwrap_or(0);
        let mut lasting: Vec<usize> =
            opened.iter().map(|(at, _)| *at).filter(|at| self.sessions[*at].ended.is_none()).collect();
        lasting.sort_unstable();
        lasting.dedup();
        match (lasting.as_slice(), opened.first()) {
            ([only], _) => Ok((*only, newest(*only))),
            ([], Some((first, _))) => Ok((*first, newest(*first))),
            ([], None) => Err("invalid_cookie"),
            _ => Err("several_sessions"),
        }
    }

    fn open(&self, cookie: &Cookie, request: &Request) -> Result<(usize, u32), &'static str> {
        match *cookie {
            Cookie::Sealed { session, generation, is_proven, .. } if opens(cookie, request) => {
                let is_unknown = self.sessions[session].forgotten || self.sessions[session].tenant != request.tenant();
                match (is_unknown, is_proven) {
                    (true, _) => Err("unknown_session"),
                    (false, false) => Err("invalid_proof"),
                    (false, true) => Ok((session, generation)),
                }
            }
            Cookie::Sealed { .. } | Cookie::Garbage => Err("invalid_cookie"),
        }
    }

    fn judge(&self, session: &Session, shown: u32, request: &Request) -> Judged {
        let refused = |why, ends| Judged::Refused { why, ends, locks: false };
        let (now, place) = (request.now, request.head.place);
        if let Some((why, _)) = session.ended {
            return refused(why, false);
        }
        let in_grace = now < session.since + self.rules.grace;
        if shown < session.generation && !(shown + 1 == session.generation && in_grace) {
            return refused("reuse", true);
        }
        let over = self.over(&request.config, session, now);
        if let Some(why) = over.filter(|why| *why != "locked") {
            return refused(why, true);
        }
        let address = same_address(session.place.address, place.address, self.rules.address.0);
        let agent = same_agent(session.place.agent, place.agent, self.rules.agent.0);
        let answers = [(!address, self.rules.address.1, "ip"), (!agent, self.rules.agent.1, "user_agent")];
        let worst = answers.into_iter().filter(|(differs, ..)| *differs).max_by_key(|(_, answer, _)| *answer);
        match worst {
            Some((_, Answer::End, "ip")) => return refused("binding_ip", true),
            Some((_, Answer::End, _)) => return refused("binding_user_agent", true),
            Some((_, Answer::StepUp, "ip")) => return refused("other_ip", false),
            Some((_, Answer::StepUp, _)) => return refused("other_user_agent", false),
            Some((_, Answer::Log, _)) | None => {}
        }
        if let Some(why) = over {
            return Judged::Refused { why, ends: false, locks: true };
        }
        let is_old = self.rules.every.is_some_and(|every| now >= session.since + every);
        let has_settled = session.generation == 0 || !in_grace;
        // What a browser keeps when it is closed, and is not to keep any more. Each time in a minute at the soonest.
        let is_kept = request.config.limits(session.tenant).remembers(session.is_admin);
        let is_settled = session.generation == 0 || now >= session.since + self.rules.grace.max(60_000);
        let is_due = is_old || (session.renew && has_settled) || (session.remembered && !is_kept && is_settled);
        Judged::Usable {
            offer: (shown == session.generation && is_due).then_some(shown + 1),
            commit: (shown > session.generation).then_some(shown),
        }
    }

    fn over(&self, config: &Config, session: &Session, now: u64) -> Option<&'static str> {
        let limits = config.limits(session.tenant);
        let (idle, absolute) = limits.of(session.remembered, session.is_admin);
        if now >= session.made + absolute {
            Some("absolute")
        } else if session.locked || now >= session.active + idle {
            Some(if limits.locks && session.user.is_some() { "locked" } else { "idle" })
        } else {
            None
        }
    }
}

/// Everybody there may be.
pub fn people() -> impl Iterator<Item = (usize, &'static str)> {
    (0..super::rules::TENANTS.len()).flat_map(|tenant| super::rules::USERS.map(|user| (tenant, user)))
}

/// What is sealed for one tenant is nothing at another. No session is older than its absolute limit, and what ended is known
/// for a day more, so no cookie need be older than that.
fn opens(cookie: &Cookie, request: &Request) -> bool {
    let tenant = request.tenant();
    let days = (request.config.limits(tenant).longest() + DAY) / DAY + 1;
    matches!(cookie, Cookie::Sealed { tenant: of, day, .. } if *of == tenant && request.now / DAY <= day + days)
}

const fn plain(said: Said) -> Outcome {
    Outcome { said, is_admin: false, has_level: false, offer: None, deletes: false }
}

const fn without(asks: Asks, why: &'static str) -> Said {
    match asks {
        Asks::Public | Asks::Optional => Said::Nobody,
        Asks::Anonymous if matches!(why.as_bytes(), b"locked") => Said::Nobody,
        Asks::Anonymous => Said::New,
        Asks::User | Asks::Admin | Asks::Level | Asks::Fresh | Asks::Token => Said::Ask(why),
    }
}
