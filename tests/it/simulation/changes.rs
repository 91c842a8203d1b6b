//! What happens beside requests: people sign in and out, sessions end, gateways are told another configuration.

use std::sync::Arc;

use vestibule::enforce::establish::{self, Chosen, SignedIn};
use vestibule::enforce::lookup::current_session;
use vestibule::enforce::snapshot::Snapshot;
use vestibule::policy::verdict::Verdict;
use vestibule::session::handle::SessionHandle;
use vestibule::session::live::Live;
use vestibule::session::record::{EndReason, Owner};

use super::model::{Asks, Cookie, Head, Request, Sent, Session};
use super::rules::{Config, Entry, TENANTS, USERS};
use super::world::{self, finish};
use super::{Run, chance};

const ASKS: [Asks; 8] =
    [Asks::Public, Asks::Optional, Asks::Anonymous, Asks::User, Asks::Admin, Asks::Level, Asks::Fresh, Asks::Token];

impl Run {
    pub fn sign_in(&mut self) {
        let (user, with_cookie) = (self.dice.pick(&USERS), self.dice.percent(30) && !self.cookies.is_empty());
        let presented: Vec<_> = with_cookie.then(|| self.some_cookie()).into_iter().collect();
        let head =
            Head { place: self.some_place(None), ..self.some_head(presented.first().map(|(_, cookie)| *cookie)) };
        let asked = self.dice.pick(&[None, Some(true), Some(true), Some(false)]);
        // A request has one configuration from its beginning to its end, also where another comes into force meanwhile.
        let newest = self.model.configs[self.world.here()];
        let by_former = self.dice.percent(20) && self.world.former().is_some();
        let snapshot = Arc::clone(self.world.former().filter(|_| by_former).unwrap_or(self.world.snapshot()));
        let config = if by_former { self.former[self.world.here()] } else { newest };
        let request = self.ask(head, &presented, config);
        let tenant = request.tenant();
        let Some(Entry { is_admin, password }) = config.user(tenant, user) else {
            return self.count("nobody of that name");
        };
        let name = TENANTS[tenant];
        let before = self.current(&request, &presented, &snapshot);
        let chosen = self.dice.percent(15).then(|| self.dice.below(self.handles.len().max(1)));
        let chosen = chosen.filter(|at| *at < self.handles.len());
        self.tell(format!(
            "{user} of {name} signs in at gateway {} with {presented:?}, which is {before:?}, remember: {asked:?}, \
             former: {by_former}, chosen: {chosen:?}, {:?}",
            self.world.here(),
            head.place
        ));
        let (shared, now) = (Arc::clone(self.world.shared()), self.world.now());
        let live = before.and_then(|at| self.world.find(self.handles[at]));
        let choice =
            chosen.map(|at| Chosen { session: SessionHandle::random(&shared.random), ends: Some(self.handles[at]) });
        let known = before.map(|at| &self.model.sessions[at]).filter(|before| before.user == Some(user));
        let (was_remembered, was_locked) = known.map_or((false, false), |before| (before.remembered, before.locked));
        let limits = config.limits(tenant);
        let wants = asked.unwrap_or(was_remembered) && limits.offered.is_some();
        let is_forgotten = limits.forgets_admins && is_admin;
        let remembered = wants && !is_forgotten;
        let ends = self.model.room(&config, (tenant, user, is_admin), before, chosen, self.now());
        let made = finish(establish::sign_in(
            &shared,
            world::at_host(&snapshot, head.host),
            world::principal(user, is_admin, password),
            asked,
            world::from(head.place),
            live,
            choice,
            now,
        ));
        let made = match (made.expect("memory works"), &ends) {
            (SignedIn::Yes(made), Some(_)) => made,
            (SignedIn::Full(_), None) => return self.count("full"),
            (SignedIn::Yes(_) | SignedIn::Full(_) | SignedIn::Before, _) => panic!("{user} has {ends:?}"),
        };
        let ends = ends.unwrap_or_default();
        for (what, happened) in [
            ("remembered", remembered && asked.is_some()),
            ("remembered as before", remembered && asked.is_none()),
            ("not remembered: an admin", wants && is_forgotten),
            ("unlocked", was_locked),
            ("signed in by the configuration before", by_former),
            ("chosen", chosen.is_some_and(|at| ends.contains(&(at, "displaced")))),
            (
                "same name elsewhere",
                (0..TENANTS.len()).any(|at| at != tenant && self.model.lasting(at, user).count() > 0),
            ),
        ] {
            if happened {
                self.count(what);
            }
        }
        for (at, why) in ends {
            self.count(format!("made way: {why}"));
            self.model.end(at, why, self.now());
        }
        if let Some(before) = before {
            self.model.end(before, "replaced", self.now());
        }
        assert!(!self.handles.contains(&made.live.handle()), "a new session has a new name");
        let session = self.begin(&made.live, Some((user, Entry { is_admin, password })), remembered, &request);
        let most = limits.most(is_admin).unwrap_or(usize::MAX);
        assert!(self.held(tenant, user).len() <= most, "{user} of {name} has too many");
        let set = made.cookie.to_str().expect("text").to_owned();
        assert_eq!(self.read_cookie(&set, self.now(), &request, &snapshot), Some((session, 0)));
        self.keep(&set, (session, 0), tenant, self.now(), true);
        if by_former {
            match self.model.follow_one(&newest, session, now.as_millis()) {
                Some("ended") => self.count("who signed in may not any more"),
                Some(_) => self.count("who signed in has other rights"),
                None => {}
            }
        }
    }

    /// A session is there, in both worlds.
    pub fn begin(
        &mut self,
        live: &Live,
        user: Option<(&'static str, Entry)>,
        remembered: bool,
        request: &Request,
    ) -> usize {
        self.handles.push(live.handle());
        self.model.names.push(*live.handle().as_bytes());
        let (made, tenant, place) = (request.now, request.tenant(), request.head.place);
        let entry = user.map_or(Entry { is_admin: false, password: 0 }, |(_, entry)| entry);
        self.model.begin(Session {
            tenant,
            user: user.map(|(name, _)| name),
            is_admin: entry.is_admin,
            password: entry.password,
            made,
            active: made,
            place,
            generation: 0,
            since: made,
            renew: false,
            ended: None,
            forgotten: false,
            remembered,
            locked: false,
            pause: 0,
        })
    }

    fn ask(&self, head: Head, presented: &[(String, Cookie)], config: Config) -> Request {
        Request { now: self.now(), head, cookies: presented.iter().map(|(_, cookie)| *cookie).collect(), config }
    }

    /// The session that our own pages see, the same in both worlds.
    fn current(&self, request: &Request, presented: &[(String, Cookie)], snapshot: &Snapshot) -> Option<usize> {
        let values: Vec<String> = presented.iter().map(|(value, _)| value.clone()).collect();
        let (head, now) = (&request.head, self.world.now());
        let (headers, client) = (world::headers(head, &values), world::address(head.place));
        let tenant = world::at_host(snapshot, head.host);
        let live = finish(current_session(self.world.shared(), tenant, &headers, client, now)).expect("memory works");
        let expected = self.model.current(request);
        assert_eq!(live.map(|live| live.handle()), expected.map(|at| self.handles[at]), "the current session");
        expected
    }

    pub fn log_out(&mut self) {
        let presented = [self.some_cookie()];
        let head = self.some_head(Some(presented[0].1));
        self.tell(format!("logout at {} with {:?}", head.host, presented[0].1));
        let request = self.ask(head, &presented, self.model.configs[self.world.here()]);
        if let Some(at) = self.current(&request, &presented, self.world.snapshot()) {
            self.end(at, EndReason::Logout);
        }
    }

    pub fn revoke(&mut self) {
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

    pub fn revoke_all(&mut self) {
        let (tenant, user) = (self.dice.below(TENANTS.len()), self.dice.pick(&USERS));
        self.tell(format!("all sessions of {user} of {} are revoked", TENANTS[tenant]));
        let all: Vec<usize> = self.model.lasting(tenant, user).collect();
        let (shared, now) = (self.world.shared(), self.world.now());
        let owner = Owner::user(world::tenant_id(tenant), user);
        let ended = finish(shared.end_all_sessions(owner, EndReason::Revoked, now));
        assert_eq!(ended, Ok(all.len()), "sessions that ended");
        all.into_iter().for_each(|at| self.model.end(at, "revoked", now.as_millis()));
    }

    pub fn sweep(&mut self) {
        let here = self.world.here();
        self.tell(format!("sweep at gateway {here}"));
        finish(self.world.shared().sweep(self.world.now()));
        let (config, now) = (self.model.configs[here], self.now());
        if self.model.sweep(&config, now) > 0 {
            self.count("above what they may have");
        }
    }

    /// A gateway is told another configuration, or all of them are.
    pub fn reload(&mut self) {
        let before = self.model.configs[self.world.here()];
        let (config, what) = chance::other(&mut self.dice, &before, self.tenants);
        self.count(format!("reload: {what}"));
        let (here, is_for_all) = (self.world.here(), self.dice.percent(60));
        for node in 0..self.world.nodes() {
            if node == here || is_for_all {
                self.world.go_to(node);
                self.reload_here(config);
            }
        }
        self.world.go_to(here);
    }

    fn reload_here(&mut self, config: Config) {
        let (here, now) = (self.world.here(), self.now());
        self.tell(format!("gateway {here} has {config:?}"));
        let losers = self.losers(&config);
        let all = losers.iter().flat_map(|at| ASKS.map(|asks| (*at, asks)));
        let denied: Vec<_> = all.filter(|of| matches!(self.would_be_told(*of), Some(Verdict::Deny(_)))).collect();
        self.former[here] = std::mem::replace(&mut self.model.configs[here], config);
        let followed = self.world.reload(&config);
        let (ended, changed) = self.model.follow(&config, now);
        assert_eq!((followed.ended, followed.changed, followed.failed), (ended, changed, 0), "who is followed");
        let gained = denied.into_iter().find(|of| self.would_be_told(*of).is_none());
        assert_eq!(gained, None, "somebody may do more with a role less");
        for (what, count) in
            [("reload: ended", ended), ("reload: other rights", changed), ("reload: lost a role", losers.len())]
        {
            if count > 0 {
                self.count(what);
            }
        }
    }

    /// The sessions of those who only lose a role by this.
    fn losers(&self, config: &Config) -> Vec<usize> {
        let before = self.model.configs[self.world.here()];
        let all = self.model.sessions.iter().enumerate().filter(|(_, session)| session.ended.is_none());
        let loses = |session: &Session| {
            let Some(name) = session.user.filter(|_| session.is_admin) else { return false };
            let same_limits = before.limits == config.limits;
            let stays = |entry: Entry| !entry.is_admin && entry.password == session.password;
            same_limits && config.user(session.tenant, name).is_some_and(stays)
        };
        all.filter(|(_, session)| loses(session)).map(|(at, _)| at).collect()
    }

    /// What somebody would be told at this moment, if not let through.
    fn would_be_told(&self, (at, asks): (usize, Asks)) -> Option<Verdict> {
        let session = &self.model.sessions[at];
        let head = Head { host: session.tenant, asks, sent: Sent::Own, place: session.place, token: None };
        self.world.would_be_told(&head, &self.world.find(self.handles[at]).expect("it lasts"))
    }
}
