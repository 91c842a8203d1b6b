//! What chance decides: rules, who shows which cookie from where, how much time passes, what is forged, what is configured.

use std::sync::Arc;
use std::time::Duration;

use vestibule::base::random::Random;
use vestibule::base::secret::Secret;
use vestibule::crypto::keyring::KeyRing;
use vestibule::session::cookie::{CookieSecret, CookieSettings, SessionCookie};
use vestibule::session::rotation::proof;

use super::model::{Asks, Cookie, Head, Place, Sent};
use super::rules::{Answer, Compared, Config, Entry, Limits, Rules, Shield, TENANTS, USERS};
use super::{MOST_NODES, Run, value_of, world};
use crate::harness::Dice;

const ADDRESSES: [&str; 6] =
    ["192.0.2.1", "192.0.2.200", "198.51.100.7", "2001:db8:0:1::5", "2001:db8:0:ff::6", "2001:db8:0:100::5"];

const AGENTS: [&str; 4] = ["Chrome/130.0.1 (X11; Linux x86_64)", "Chrome/131.2 (X11; Linux x86_64)", "Firefox/140", ""];

impl Run {
    /// A cookie that was never handed out: altered, of another gateway, without proof. One of a later generation, as after
    /// rotations that the store has lost. And one that another tenant's keys sealed, as after a mistake of ours.
    pub fn forge(&mut self) {
        let (value, cookie) = self.some_cookie();
        let Cookie::Sealed { session, generation, .. } = cookie else { return };
        let (snapshot, now) = (Arc::clone(self.world.snapshot()), self.world.now());
        let handle = self.handles[session];
        let random = Random::seeded(self.dice.next());
        let mut secret = CookieSecret { handle, generation, proof: Secret::new(random.bytes()) };
        let kind = self.dice.below(5);
        let own = self.model.sessions[session].tenant;
        let tenant = if kind == 4 { (own + 1 + self.dice.below(2)) % TENANTS.len() } else { own };
        let Some(cookie_of) = world::tenant(&snapshot, tenant).map(|tenant| &tenant.cookie) else { return };
        let millis = now.as_millis();
        self.tell(format!("cookie {} is forged: {kind} from {cookie:?}", self.cookies.len()));
        match kind {
            0 => {
                let at = self.dice.below(value.len());
                let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
                let altered = format!("{}{other}{}", &value[..at], &value[at + 1..]);
                self.cookies.push((altered, Cookie::Garbage));
            }
            1 => {
                let ring = KeyRing::ephemeral(&random).into();
                let foreign = SessionCookie::new(CookieSettings::default(), ring, "default", Duration::from_secs(9));
                let set = foreign.set(&random, &secret, now).expect("a cookie");
                self.cookies.push((value_of(set.to_str().expect("text")).to_owned(), Cookie::Garbage));
            }
            2 => {
                let set = cookie_of.set(&random, &secret, now).expect("a cookie");
                self.keep(set.to_str().expect("text"), (session, generation), tenant, millis, false);
            }
            _ => {
                let Some(live) = self.world.find(handle) else { return };
                secret.generation += if kind == 4 { 0 } else { 2 + self.dice.below(3) as u32 };
                secret.proof = Secret::new(proof(live.seed(), secret.generation));
                let set = cookie_of.set(&random, &secret, now).expect("a cookie");
                self.keep(set.to_str().expect("text"), (session, secret.generation), tenant, millis, true);
            }
        }
    }

    /// Time goes on: a moment, a while, to about some limit of a session, or for days.
    pub fn advance(&mut self) {
        let now = self.now();
        let lasting: Vec<_> = self.model.sessions.iter().filter(|session| session.ended.is_none()).collect();
        let rules = self.model.rules;
        let millis = match self.dice.below(100) {
            0..45 => self.dice.below(1500) as u64,
            45..55 => self.dice.below(60_000) as u64,
            55..99 if !lasting.is_empty() => {
                let session = lasting[self.dice.below(lasting.len())];
                let limits = self.model.configs[self.world.here()].limits(session.tenant);
                let (idle, absolute) = limits.of(session.remembered, session.is_admin);
                let limit = match self.dice.below(100) {
                    0..12 => session.active + idle,
                    12..18 => session.made + absolute,
                    18..24 => session.made + rules.fresh.2.unwrap_or(idle),
                    24..40 => session.since + rules.grace,
                    _ => session.since + rules.every.unwrap_or(rules.grace),
                };
                (limit + self.dice.below(3) as u64).saturating_sub(now + 1)
            }
            99.. => 86_400_000 + self.dice.below(86_400_000) as u64,
            _ => self.dice.below(10_000) as u64,
        };
        self.world.advance(Duration::from_millis(millis));
        self.tell(format!("{millis} ms have passed"));
    }

    /// A cookie that somebody has: mostly the newest of a session that lasts, as its owner would.
    pub fn some_cookie(&mut self) -> (String, Cookie) {
        let count = self.cookies.len();
        let recent = count.saturating_sub(6);
        let at = match self.dice.below(10) {
            0..6 => {
                let of = self.dice.below(self.handles.len().min(4));
                let wanted = self.handles.len() - 1 - of;
                let is_of = |cookie: &Cookie| matches!(cookie, Cookie::Sealed { session, .. } if *session == wanted);
                self.cookies.iter().rposition(|(_, cookie)| is_of(cookie)).unwrap_or(count - 1)
            }
            6..8 => recent + self.dice.below(count - recent),
            _ => self.dice.below(count),
        };
        self.cookies[at].clone()
    }

    /// What somebody asks for: mostly where their session is one, from where it was made, and by pages of the application.
    pub fn some_head(&mut self, cookie: Option<Cookie>) -> Head {
        let usual = match cookie {
            Some(Cookie::Sealed { session, .. }) => Some(session),
            Some(Cookie::Garbage) | None => None,
        };
        let tenants = self.tenants;
        let at_home = usual.map(|session| self.model.sessions[session].tenant).filter(|_| self.dice.percent(90));
        let host = at_home.unwrap_or_else(|| self.dice.below(tenants));
        let asks = self.dice.pick(&[
            Asks::User,
            Asks::User,
            Asks::User,
            Asks::Admin,
            Asks::Level,
            Asks::Fresh,
            Asks::Token,
            Asks::Optional,
            Asks::Anonymous,
            Asks::Public,
        ]);
        let sent = match self.dice.below(100) {
            0..50 => Sent::Read,
            50..70 => Sent::Own,
            70..76 => Sent::OwnOld,
            76..82 => Sent::Socket,
            _ => self.dice.pick(&[
                Sent::ReadElsewhere,
                Sent::Elsewhere,
                Sent::Elsewhere,
                Sent::Sibling,
                Sent::Unsaid,
                Sent::SocketElsewhere,
            ]),
        };
        let other = self.handles.len().checked_sub(1).filter(|_| self.dice.percent(20));
        let token = other.map(|most| self.dice.below(most + 1)).or(usual).filter(|_| self.dice.percent(80));
        Head { host, asks, sent, place: self.some_place(cookie), token }
    }

    /// Where somebody is: mostly where the session of their cookie was made.
    pub fn some_place(&mut self, cookie: Option<Cookie>) -> Place {
        let usual = match cookie {
            Some(Cookie::Sealed { session, .. }) => Some(self.model.sessions[session].place),
            Some(Cookie::Garbage) | None => None,
        };
        let elsewhere = Place { address: self.dice.pick(&ADDRESSES), agent: self.dice.pick(&AGENTS) };
        match usual {
            Some(usual) if self.dice.percent(90) => usual,
            Some(usual) if self.dice.percent(50) => Place { address: elsewhere.address, ..usual },
            Some(_) | None => elsewhere,
        }
    }
}

/// By how many milliseconds the clock of each gateway is late: seconds, as of machines that ask for the time, or minutes.
pub fn lateness(dice: &mut Dice) -> Vec<u64> {
    let most = dice.pick(&[1, 2_000, 2_000, 120_000]);
    (0..=dice.below(MOST_NODES)).map(|_| dice.below(most) as u64).collect()
}

pub fn rules(dice: &mut Dice) -> Rules {
    let answers = [Answer::Log, Answer::StepUp, Answer::End];
    let compared = [Compared::Not, Compared::Not, Compared::Exactly, Compared::Roughly];
    let every = dice.pick(&[None, Some(10_000), Some(10_000), Some(40_000), Some(900_000)]);
    let recent = [None, Some(20_000), Some(90_000), Some(600_000)];
    Rules {
        level: (dice.pick(&[0, 5_000, 60_000]), dice.pick(&[None, Some(10_000), Some(60_000)])),
        fresh: (dice.pick(&recent), dice.pick(&[None, None, Some(900_000)]), dice.pick(&recent)),
        shield: dice.pick(&[Shield::Enforce, Shield::Enforce, Shield::Report, Shield::Off]),
        every,
        grace: dice.pick(&[0, 5_000, 9_999]),
        address: (dice.pick(&compared), dice.pick(&answers)),
        agent: (dice.pick(&compared), dice.pick(&answers)),
        lookup_waits: dice.percent(50),
    }
}

pub fn limits(dice: &mut Dice) -> Limits {
    let idle = dice.pick(&[60_000, 300_000, 1_800_000]);
    let absolute = dice.pick(&[idle, 7_200_000, 43_200_000]);
    Limits {
        idle,
        absolute,
        offered: dice.pick(&[None, Some((idle * 2, absolute * 3)), Some((43_200_000, 2_592_000_000))]),
        of_admins: dice.pick(&[None, None, Some((idle / 2, absolute)), Some((idle, absolute / 2))]),
        forgets_admins: dice.percent(50),
        locks: dice.percent(40),
        max: dice.pick(&[None, Some((1, true)), Some((2, true)), Some((2, false)), Some((3, true)), Some((3, false))]),
        max_of_admins: dice.pick(&[None, Some(1), Some(2)]),
    }
}

/// What the gateways of a run begin with, and with how many tenants.
pub fn config(dice: &mut Dice) -> (Config, usize) {
    let tenants = 1 + dice.below(TENANTS.len());
    let all = [0, 1, 2].map(|tenant| limits_where(dice, tenant < tenants));
    let users = [0, 1, 2]
        .map(|_| USERS.map(|name| Some(Entry { is_admin: name == "root", password: 0 }).filter(|_| dice.percent(93))));
    (Config { limits: all, users }, tenants)
}

fn limits_where(dice: &mut Dice, is_there: bool) -> Option<Limits> {
    let own = limits(dice);
    is_there.then_some(own)
}

/// A configuration that is a little different, and what is.
pub fn other(dice: &mut Dice, before: &Config, tenants: usize) -> (Config, &'static str) {
    let (mut config, tenant) = (*before, dice.below(tenants));
    let entry = &mut config.users[tenant][dice.below(USERS.len())];
    let nobody = Entry { is_admin: false, password: 0 };
    let what = match dice.below(100) {
        0..40 => {
            let entry = entry.get_or_insert(nobody);
            entry.is_admin = !entry.is_admin;
            "roles"
        }
        40..48 => {
            let entry = entry.get_or_insert(nobody);
            entry.password = (entry.password + 1) % 3;
            "a password"
        }
        48..56 => {
            *entry = if entry.is_some() { None } else { Some(nobody) };
            "somebody comes or goes"
        }
        56..80 => {
            let own = config.limits[tenant].get_or_insert_with(|| limits(dice));
            let (tightens, factor) = (dice.percent(50), dice.pick(&[2, 10]));
            let changed = |limit: u64| if tightens { (limit / factor).max(1_000) } else { limit * factor };
            (own.idle, own.absolute) = (changed(own.idle), changed(own.absolute));
            own.offered = own.offered.map(|(idle, absolute)| (changed(idle), changed(absolute)));
            if tightens { "tighter" } else { "looser" }
        }
        80..88 => {
            config.limits[tenant] = Some(limits(dice));
            "other limits"
        }
        _ if tenant > 0 => match config.limits[tenant].take() {
            Some(_) => "a tenant goes",
            None => {
                config.limits[tenant] = Some(limits(dice));
                "a tenant comes"
            }
        },
        _ => "nothing",
    };
    (config, what)
}
