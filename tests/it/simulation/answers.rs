//! Answers are sent, and what the store has is compared with what the model has.

use http::{HeaderMap, header};
use vestibule::base::clock::Timestamp;
use vestibule::enforce::snapshot::Snapshot;
use vestibule::session::handle::SessionHandle;
use vestibule::session::principal::Principal;
use vestibule::session::record::Owner;

use super::model::{self, Cookie, Request, Session};
use super::world::{self, finish};
use super::{Run, Unsent, value_of};

impl Run {
    pub fn send_one(&mut self) {
        if !self.unsent.is_empty() {
            let at = self.dice.below(self.unsent.len());
            self.send(at);
        }
    }

    /// The head of an answer is sent; whoever receives its cookies may never use them.
    pub fn send(&mut self, at: usize) {
        let Unsent { number, request, snapshot, cookies, outcome, made } = self.unsent.swap_remove(at);
        let mut head = HeaderMap::new();
        cookies.write(self.world.shared(), world::at_host(&snapshot, request.head.host), &mut head);
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
            if self.model.rules.every.is_none() {
                self.count("offered for other rights");
            }
            expected.extend(is_pending.then_some(Some(offer)));
        }
        self.tell(format!("answer {number} is sent with {expected:?}"));
        // A stranger's was sealed when their session was made, an offer now.
        let sealed = made.map_or(self.now(), |session| self.model.sessions[session].made);
        let found: Vec<_> = sent.iter().map(|set| self.read_cookie(set, sealed, &request, &snapshot)).collect();
        assert_eq!(found, expected, "the cookies of answer {number}");
        assert_eq!(head.contains_key(header::CACHE_CONTROL), !expected.is_empty(), "answer {number} is not kept");
        if outcome.deletes {
            self.count("strays deleted");
        }
        for (set, secret) in sent.iter().zip(found) {
            if let Some((session, generation)) = secret {
                self.keep(set, (session, generation), request.tenant(), sealed, true);
            }
        }
    }

    /// What a `Set-Cookie` value hands out; `None` deletes. A browser keeps it for as long as who is remembered is, by the
    /// roles and rules of the moment, and otherwise until it is closed.
    pub fn read_cookie(
        &mut self,
        set: &str,
        sealed: u64,
        request: &Request,
        snapshot: &Snapshot,
    ) -> Option<(usize, u32)> {
        let value = value_of(set);
        if value.is_empty() {
            assert!(set.contains("Max-Age=0"), "{set}");
            return None;
        }
        let cookie = &world::at_host(snapshot, request.head.host).cookie;
        let secret = cookie.open(value.as_bytes(), Timestamp::from_millis(sealed)).expect("it opens");
        let at = self.handles.iter().position(|known| *known == secret.handle).expect("known");
        let session = &self.model.sessions[at];
        let limits = request.config.limits(request.tenant());
        let is_kept = session.remembered && limits.remembers(session.is_admin);
        let is_kept_no_more = session.remembered && !is_kept;
        let until = session.made + limits.of(true, session.is_admin).1;
        let expected = is_kept.then(|| format!("; Max-Age={};", until.saturating_sub(sealed) / 1000));
        let found = set
            .find("; Max-Age=")
            .map(|from| format!("{};", set[from..].split(';').take(2).collect::<Vec<_>>().join(";")));
        assert_eq!(found, expected, "how long the cookie of session {at} is kept");
        if is_kept {
            self.count("kept by the browser");
        } else if is_kept_no_more {
            self.count("kept no more");
        }
        Some((at, secret.generation))
    }

    pub fn keep(&mut self, set: &str, of: (usize, u32), tenant: usize, sealed: u64, is_proven: bool) {
        let (day, (session, generation)) = (sealed / 86_400_000, of);
        self.cookies.push((value_of(set).to_owned(), Cookie::Sealed { tenant, session, generation, day, is_proven }));
    }

    /// Everything the store knows is what the model knows.
    pub fn compare_all(&self) {
        for (at, (session, handle)) in self.model.sessions.iter().zip(&self.handles).enumerate() {
            let Some(live) = self.world.find(*handle) else {
                assert!(session.forgotten, "session {at} was forgotten");
                continue;
            };
            let ended = live.ended().map(|(why, when)| (why.name(), when.as_millis()));
            let rotation = live.rotation();
            let pause = live.view().longest_pause.as_millis() as u64;
            let marks = (live.is_remembered(), live.is_locked(), pause, rotation.must_renew);
            let active = live.active_at().as_millis();
            let found = (ended, active, rotation.generation, rotation.presented_at.as_millis(), marks);
            let marks = (session.remembered, session.locked, session.pause, session.renew);
            let expected = (session.ended, session.active, session.generation, session.since, marks);
            assert_eq!((found, session.forgotten), (expected, false), "session {at}");
            let principal = live.principal().map(|principal| (**principal).clone());
            assert_eq!(
                principal,
                session.user.map(|_| self.principal_of(at, session.is_admin)),
                "whose session {at} is"
            );
            assert_eq!(live.tenant(), world::tenant_id(session.tenant), "session {at}");
        }
        for (tenant, user) in model::people() {
            assert_eq!(self.held(tenant, user), self.expected(tenant, user), "the sessions of {user} at {tenant}");
        }
    }

    /// Somebody's sessions that last, as the store has them.
    pub fn held(&self, tenant: usize, user: &str) -> Vec<SessionHandle> {
        let owner = Owner::user(world::tenant_id(tenant), user);
        let list = finish(self.world.shared().store.list(owner)).expect("memory works");
        let mut found: Vec<_> = list.iter().map(|live| live.handle()).collect();
        found.sort_unstable();
        found
    }

    fn expected(&self, tenant: usize, user: &str) -> Vec<SessionHandle> {
        let mut expected: Vec<_> = self.model.lasting(tenant, user).map(|at| self.handles[at]).collect();
        expected.sort_unstable();
        expected
    }

    pub fn principal_of(&self, at: usize, is_admin: bool) -> Principal {
        let Session { user, password, .. } = self.model.sessions[at];
        world::principal(user.expect("a user's session"), is_admin, password)
    }
}
