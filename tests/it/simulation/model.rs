//! The naive model: plain lists and plain rules, written from the specification and not from the code.

use std::net::IpAddr;

/// What a binding difference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Log,
    StepUp,
    End,
}

/// How something is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Not,
    Exactly,
    Roughly,
}

/// The rules of one run. Times are milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub idle: u64,
    pub absolute: u64,
    /// What who asks to be remembered has in place of these two, where that is offered.
    pub offered: Option<(u64, u64)>,
    /// Whether `root` is not remembered.
    pub forgets_root: bool,
    /// Whether what is idle is locked.
    pub locks: bool,
    /// How old a session is that has reached the level that some requests ask for, and by what pause it has lost it.
    pub level: (u64, Option<u64>),
    pub every: Option<u64>,
    pub grace: u64,
    pub address: (Compared, Answer),
    pub agent: (Compared, Answer),
    /// How many sessions one person may have, and whether the least recently used one ends for another.
    pub max: Option<(usize, bool)>,
    /// How many `root` may have, if that is less.
    pub max_of_root: Option<usize>,
    /// Whether the store has to be waited for when a session is looked up.
    pub lookup_waits: bool,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: &'static str,
    pub agent: &'static str,
}

/// A session as the model knows it.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: Option<&'static str>,
    pub made: u64,
    pub active: u64,
    pub place: Place,
    pub generation: u32,
    pub since: u64,
    pub ended: Option<(&'static str, u64)>,
    pub forgotten: bool,
    pub remembered: bool,
    pub locked: bool,
    /// The longest time without activity, in milliseconds, begun seconds as whole.
    pub pause: u64,
}

/// A cookie as the model knows it.
#[derive(Clone, Copy, Debug)]
pub enum Cookie {
    /// Opens to nothing.
    Garbage,
    /// Was sealed here.
    Sealed { session: usize, generation: u32, day: u64, is_proven: bool },
}

/// What a route asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Public,
    Optional,
    Anonymous,
    User,
    Admin,
    Level,
}

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Request {
    pub now: u64,
    pub asks: Asks,
    pub place: Place,
    pub cookies: Vec<Cookie>,
}

/// What a request is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    Nobody,
    Stranger(usize),
    User(usize),
    New,
    Ask(&'static str),
    Deny,
}

/// What came of a request, and what its answer will say in `Set-Cookie` if that still holds when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub said: Said,
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
    pub sessions: Vec<Session>,
    /// What the sessions are called: of several that were begun and used at once, the lowest goes first.
    pub names: Vec<[u8; 16]>,
}

impl Model {
    /// A session begins.
    pub fn begin(&mut self, user: Option<&'static str>, remembered: bool, place: Place, now: u64) -> usize {
        self.sessions.push(Session {
            user,
            made: now,
            active: now,
            place,
            generation: 0,
            since: now,
            ended: None,
            forgotten: false,
            remembered,
            locked: false,
            pause: 0,
        });
        self.sessions.len() - 1
    }

    /// Which sessions of a user end, and why, for another one that takes the place of `before`; `None` when it may not
    /// begin.
    pub fn room(&self, user: &str, before: Option<usize>, now: u64) -> Option<Vec<(usize, &'static str)>> {
        let before = before.filter(|at| self.sessions[*at].user == Some(user));
        let mut ends: Vec<_> = before.into_iter().map(|at| (at, "replaced")).collect();
        let Some((max, ends_oldest)) = self.rules.max else { return Some(ends) };
        let max = self.rules.max_of_root.filter(|_| user == "root").map_or(max, |less| less.min(max));
        let mut others: Vec<usize> = self.lasting(user).filter(|at| Some(*at) != before).collect();
        others.retain(|at| match self.over(&self.sessions[*at], now).filter(|why| *why != "locked") {
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
            let used = |at: &usize| (self.sessions[*at].active, self.sessions[*at].made);
            let least = others.iter().map(used).min().expect("at least one");
            let oldest: Vec<usize> = others.iter().copied().filter(|at| used(at) == least).collect();
            let chosen = oldest.into_iter().min_by_key(|at| self.names[*at]).expect("one");
            others.retain(|at| *at != chosen);
            ends.push((chosen, "displaced"));
        }
        Some(ends)
    }

    /// A session ends, once. Of a stranger's nothing is kept.
    pub fn end(&mut self, at: usize, why: &'static str, now: u64) {
        let session = &mut self.sessions[at];
        if session.ended.is_none() && !session.forgotten {
            session.ended = Some((why, now));
            session.forgotten = session.user.is_none();
        }
    }

    /// What is over ends, and what ended a day ago is forgotten.
    pub fn sweep(&mut self, now: u64) {
        for at in 0..self.sessions.len() {
            match self.sessions[at].ended {
                Some((_, ended)) if now >= ended + DAY => self.sessions[at].forgotten = true,
                Some(_) => {}
                None => match self.over(&self.sessions[at], now) {
                    Some("locked") => self.sessions[at].locked = true,
                    Some(why) => self.end(at, why, now),
                    None => {}
                },
            }
        }
    }

    /// The sessions of a user that last.
    pub fn lasting<'a>(&'a self, user: &'a str) -> impl Iterator<Item = usize> + 'a {
        let of_user = |session: &Session| session.user == Some(user) && session.ended.is_none();
        self.sessions.iter().enumerate().filter(move |(_, session)| of_user(session)).map(|(at, _)| at)
    }

    /// How many sessions last.
    pub fn count(&self) -> usize {
        self.sessions.iter().filter(|session| session.ended.is_none()).count()
    }

    /// The session that our own pages see: whatever its limits, if it has not ended.
    pub fn current(&self, cookies: &[Cookie], now: u64) -> Option<usize> {
        self.find(cookies, now).ok().map(|(at, _)| at).filter(|at| self.sessions[*at].ended.is_none())
    }

    /// Whether a successor is still one.
    pub fn is_pending(&self, (at, generation): (usize, u32)) -> bool {
        self.sessions[at].ended.is_none() && self.sessions[at].generation + 1 == generation
    }

    /// The next step of a request: to where it waits for the store, or to its end.
    pub fn step(&mut self, request: &Request, stage: &mut Stage) -> Option<Outcome> {
        match stage.clone() {
            Stage::Arrived | Stage::LookingUp if request.asks == Asks::Public => Some(plain(Said::Nobody)),
            Stage::Arrived if self.rules.lookup_waits && request.cookies.iter().any(|c| self.opens(c, request.now)) => {
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
                    session.generation = generation;
                    // Where the clock is late that may be before there was a session, which it then begins with.
                    session.since = request.now.max(session.made);
                }
                let is_current = session.ended.is_none() && session.generation == generation;
                Some(if is_current { outcome } else { plain(Said::Ask("unknown_session")) })
            }
        }
    }

    fn decide(&mut self, request: &Request, stage: &mut Stage) -> Option<Outcome> {
        let several = request.cookies.len() > 1;
        let (at, shown) = match self.find(&request.cookies, request.now) {
            Ok(found) => found,
            Err(why) => return Some(Outcome { deletes: several, ..plain(without(request.asks, why)) }),
        };
        match self.judge(&self.sessions[at], shown, request) {
            Judged::Refused { why, ends, locks } => {
                self.sessions[at].locked |= locks;
                let outcome = plain(without(request.asks, why));
                if !ends {
                    return Some(outcome);
                }
                *stage = Stage::Ending(at, why, outcome);
                None
            }
            Judged::Usable { offer, commit } => {
                let said = match (self.sessions[at].user, request.asks) {
                    (Some(user), Asks::Admin) if user != "root" => return Some(plain(Said::Deny)),
                    (Some(_), Asks::Level) if !self.is_of_level(&self.sessions[at], request.now) => {
                        return Some(plain(Said::Deny));
                    }
                    (Some(_), _) => Said::User(at),
                    (None, Asks::User | Asks::Admin | Asks::Level) => return Some(plain(Said::Ask("anonymous"))),
                    (None, _) => Said::Stranger(at),
                };
                if request.now >= self.sessions[at].active + 1000 {
                    let session = &mut self.sessions[at];
                    session.pause = session.pause.max(request.now - session.active);
                    session.active = request.now;
                }
                let outcome = Outcome { said, offer: offer.map(|offer| (at, offer)), deletes: false };
                if let Some(commit) = commit {
                    *stage = Stage::Committing(at, commit, outcome);
                    return None;
                }
                Some(outcome)
            }
        }
    }

    /// The one session that the cookies open; of several, one that lasts, if there is only one.
    fn find(&self, cookies: &[Cookie], now: u64) -> Result<(usize, u32), &'static str> {
        let opened: Vec<_> = cookies.iter().map(|cookie| self.open(cookie, now)).collect();
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

    fn open(&self, cookie: &Cookie, now: u64) -> Result<(usize, u32), &'static str> {
        match *cookie {
            Cookie::Sealed { session, generation, is_proven, .. } if self.opens(cookie, now) => {
                match (self.sessions[session].forgotten, is_proven) {
                    (true, _) => Err("unknown_session"),
                    (false, false) => Err("invalid_proof"),
                    (false, true) => Ok((session, generation)),
                }
            }
            Cookie::Sealed { .. } | Cookie::Garbage => Err("invalid_cookie"),
        }
    }

    fn longest(&self) -> u64 {
        self.rules.offered.map_or(0, |(_, absolute)| absolute).max(self.rules.absolute)
    }

    /// No session is older than its absolute limit, and what ended is known for a day more, so no cookie need be older than
    /// that.
    fn opens(&self, cookie: &Cookie, now: u64) -> bool {
        matches!(cookie, Cookie::Sealed { day, .. } if now / DAY <= day + (self.longest() + DAY) / DAY + 1)
    }

    fn judge(&self, session: &Session, shown: u32, request: &Request) -> Judged {
        let refused = |why, ends| Judged::Refused { why, ends, locks: false };
        let now = request.now;
        if let Some((why, _)) = session.ended {
            return refused(why, false);
        }
        let is_former = shown + 1 == session.generation && now < session.since + self.rules.grace;
        if shown < session.generation && !is_former {
            return refused("reuse", true);
        }
        let over = self.over(session, now);
        if let Some(why) = over.filter(|why| *why != "locked") {
            return refused(why, true);
        }
        let address = same_address(session.place.address, request.place.address, self.rules.address.0);
        let agent = same_agent(session.place.agent, request.place.agent, self.rules.agent.0);
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
        let is_settled = session.generation == 0 || now >= session.since + self.rules.grace.max(60_000);
        let is_due = is_old || (session.remembered && !self.is_kept(session) && is_settled);
        Judged::Usable {
            offer: (shown == session.generation && is_due).then_some(shown + 1),
            commit: (shown > session.generation).then_some(shown),
        }
    }

    fn is_of_level(&self, session: &Session, now: u64) -> bool {
        let (after, idle) = self.rules.level;
        let pause = now.saturating_sub(session.active).max(session.pause);
        now.saturating_sub(session.made) >= after && idle.is_none_or(|idle| pause < idle)
    }

    /// Whether somebody who asked to be remembered is.
    fn is_kept(&self, session: &Session) -> bool {
        self.rules.offered.is_some() && !(self.rules.forgets_root && session.user == Some("root"))
    }

    /// How long a session may be idle, and last.
    pub fn limits(&self, session: &Session) -> (u64, u64) {
        match self.rules.offered {
            Some(offered) if session.remembered && self.is_kept(session) => offered,
            Some(_) | None => (self.rules.idle, self.rules.absolute),
        }
    }

    fn over(&self, session: &Session, now: u64) -> Option<&'static str> {
        let (idle, absolute) = self.limits(session);
        if now >= session.made + absolute {
            Some("absolute")
        } else if session.locked || now >= session.active + idle {
            Some(if self.rules.locks && session.user.is_some() { "locked" } else { "idle" })
        } else {
            None
        }
    }
}

const fn plain(said: Said) -> Outcome {
    Outcome { said, offer: None, deletes: false }
}

const fn without(asks: Asks, why: &'static str) -> Said {
    match asks {
        Asks::Public | Asks::Optional => Said::Nobody,
        Asks::Anonymous if matches!(why.as_bytes(), b"locked") => Said::Nobody,
        Asks::Anonymous => Said::New,
        Asks::User | Asks::Admin | Asks::Level => Said::Ask(why),
    }
}

fn same_address(one: &str, other: &str, compared: Compared) -> bool {
    let bytes = |text: &str| match text.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(address) => (address.octets().to_vec(), 3),
        IpAddr::V6(address) => (address.octets().to_vec(), 7),
    };
    let ((one, rough), (other, _)) = (bytes(one), bytes(other));
    match compared {
        Compared::Not => true,
        Compared::Exactly => one == other,
        Compared::Roughly => one.len() == other.len() && one[..rough] == other[..rough],
    }
}

fn same_agent(one: &str, other: &str, compared: Compared) -> bool {
    let letters = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.' || c == '_', "");
    match compared {
        Compared::Not => true,
        Compared::Exactly => one == other,
        Compared::Roughly => letters(one) == letters(other),
    }
}
