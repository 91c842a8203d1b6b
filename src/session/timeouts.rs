//! How long a session lasts.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::session::live::Live;
use crate::session::live::SessionView;
use crate::session::principal::Principal;
use crate::session::record::EndReason;
use crate::session::tenant::ByTenant;

/// Default for `session.lifetime.idle`: the upper end of what OWASP's session cheat sheet names for low-value
/// applications (15 to 30 minutes), and half of what NIST SP 800-63B-4 allows at AAL2.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(30 * 60);

/// Default for `session.lifetime.absolute`: one working day with its margins; the bound of NIST's AAL3.
pub const DEFAULT_ABSOLUTE: Duration = Duration::from_secs(12 * 3600);

/// Default for `session.remember_me.idle`: somebody who comes once a week stays signed in.
pub const DEFAULT_REMEMBERED_IDLE: Duration = Duration::from_secs(7 * 86_400);

/// Default for `session.remember_me.absolute`: the bound of NIST SP 800-63B-4 at AAL1, and what ASVS 5.0 (7.3.2) calls for
/// at its lowest level.
pub const DEFAULT_REMEMBERED_ABSOLUTE: Duration = Duration::from_secs(30 * 86_400);
/// How long a session that has ended is remembered, so that its person can be told why: whoever left in the evening comes
/// back the next day. Strangers' sessions are forgotten at once.
pub const REMEMBER_ENDED: Duration = Duration::from_secs(24 * 3600);

/// Activity closer than this to the last one noted is not noted again: parallel requests of one session then do not
/// fight for one cache line. A session may so end this much early, never late.
pub const ACTIVITY_GRAIN: Duration = Duration::from_secs(1);

/// The two limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// From the last activity.
    pub idle: Duration,
    /// From authentication.
    pub absolute: Duration,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self { idle: DEFAULT_IDLE, absolute: DEFAULT_ABSOLUTE }
    }
}

impl Lifetime {
    /// Why a session with these times is over at `now`; `None` while it lasts. A limit is the first moment at which
    /// the session is over.
    pub fn over(&self, authenticated_at: Timestamp, active_at: Timestamp, now: Timestamp) -> Option<EndReason> {
        if now >= authenticated_at.plus(self.absolute) {
            Some(EndReason::Absolute)
        } else if now >= active_at.plus(self.idle) {
            Some(EndReason::Idle)
        } else {
            None
        }
    }
}

/// How long the sessions of people with a certain role last, where it says something of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleLifetime {
    /// The role.
    pub role: Box<str>,
    /// From the last activity, at most this.
    pub idle: Option<Duration>,
    /// From authentication, at most this.
    pub absolute: Option<Duration>,
    /// Whether they are not remembered, also where they asked for it.
    pub forbids_remembering: bool,
}

/// What becomes of a person's session that was idle for too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnIdle {
    /// It ends.
    #[default]
    End,
    /// It is locked until they prove again who they are, or it has reached its absolute limit.
    Lock,
}

/// What the limits of a session say of it once one of them is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It ends.
    End(EndReason),
    /// It is locked, because nothing happened for this long.
    Lock(Duration),
}

/// How long everybody's sessions last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// What holds for all of them, but for those that are remembered.
    pub all: Lifetime,
    /// What holds in place of it for sessions whose person asked to be remembered, where that is offered.
    pub remembered: Option<Lifetime>,
    /// What becomes of those that are idle for too long.
    pub on_idle: OnIdle,
    /// What is less for people with certain roles.
    pub roles: Arc<[RoleLifetime]>,
}

impl Lifetimes {
    /// `all` for everybody, and less for people with certain roles.
    pub fn new(all: Lifetime, roles: impl IntoIterator<Item = RoleLifetime>) -> Self {
        Self { all, remembered: None, on_idle: OnIdle::End, roles: roles.into_iter().collect() }
    }

    /// The limits of a session of `principal`, a stranger's without one, who asked to be remembered or did not: of all that
    /// hold for them, the tightest. Where no role has limits, nobody's roles are looked at.
    pub fn of(&self, principal: Option<&Principal>, asked: bool) -> Lifetime {
        let base = if asked { self.kept(principal).unwrap_or(self.all) } else { self.all };
        match principal {
            Some(principal) if !self.roles.is_empty() => self.tightest(base, |role| principal.has_role(role)),
            Some(_) | None => base,
        }
    }

    /// Why a session has to end at `now`; `None` while it lasts, be it locked.
    pub fn ends(&self, live: &Live, now: Timestamp) -> Option<EndReason> {
        match self.over(&live.view(), now) {
            Some(Over::End(reason)) => Some(reason),
            Some(Over::Lock(_)) | None => None,
        }
    }

    /// What is to become of a session at `now`; `None` while it is within its limits. One that was locked stays so, whatever
    /// its limits have become. A stranger has no password to be asked for: theirs ends.
    pub fn over(&self, session: &SessionView<'_>, now: Timestamp) -> Option<Over> {
        let limits = self.of(session.principal.map(|principal| &**principal), session.is_remembered);
        let idle = || match self.on_idle {
            OnIdle::Lock if session.principal.is_some() => Over::Lock(limits.idle),
            OnIdle::Lock | OnIdle::End => Over::End(EndReason::Idle),
        };
        match limits.over(session.authenticated_at, session.active_at, now) {
            Some(EndReason::Idle) => Some(idle()),
            Some(reason) => Some(Over::End(reason)),
            None => session.is_locked.then(idle),
        }
    }

    /// What follows from being idle for too long, by the name of the reason that somebody, or a stranger, is then given.
    pub const fn idle_name(&self, is_somebody: bool) -> &'static str {
        match self.on_idle {
            OnIdle::Lock if is_somebody => "locked",
            OnIdle::Lock | OnIdle::End => EndReason::Idle.name(),
        }
    }

    /// Whether somebody who asks for it is remembered: it is offered, and none of their roles forbids it.
    pub fn remembers(&self, principal: &Principal) -> bool {
        self.kept(Some(principal)).is_some()
    }

    fn kept(&self, principal: Option<&Principal>) -> Option<Lifetime> {
        let forbids = |limits: &RoleLifetime| {
            limits.forbids_remembering && principal.is_some_and(|principal| principal.has_role(&limits.role))
        };
        self.remembered.filter(|_| !self.roles.iter().any(forbids))
    }

    /// The shortest idle limit that anybody may have.
    pub fn shortest_idle(&self) -> Duration {
        self.tightest(self.all, |_| true).idle
    }

    /// The longest limits that anybody may have: no session lasts longer, and no cookie is older.
    pub fn longest(&self) -> Lifetime {
        let remembered = self.remembered.unwrap_or(self.all);
        Lifetime { idle: remembered.idle.max(self.all.idle), absolute: remembered.absolute.max(self.all.absolute) }
    }

    fn tightest(&self, base: Lifetime, counts: impl Fn(&str) -> bool) -> Lifetime {
        self.roles.iter().filter(|limits| counts(&limits.role)).fold(base, |so_far, limits| Lifetime {
            idle: limits.idle.map_or(so_far.idle, |idle| idle.min(so_far.idle)),
            absolute: limits.absolute.map_or(so_far.absolute, |absolute| absolute.min(so_far.absolute)),
        })
    }
}

impl From<Lifetimes> for ByTenant<Lifetimes> {
    /// The same at every tenant.
    fn from(everywhere: Lifetimes) -> Self {
        Self::new(everywhere, [])
    }
}

impl From<Lifetime> for ByTenant<Lifetimes> {
    fn from(everywhere: Lifetime) -> Self {
        Lifetimes::from(everywhere).into()
    }
}

impl From<Lifetime> for Lifetimes {
    fn from(all: Lifetime) -> Self {
        Self::new(all, [])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_persons_roles_each_limit_is_the_tightest() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let all = Lifetime { idle: minutes(30), absolute: minutes(600) };
        let role =
            |role: &str, idle, absolute| RoleLifetime { role: role.into(), idle, absolute, ..Default::default() };
        let admin = role("admin", Some(minutes(10)), None);
        let night = role("night", Some(minutes(20)), Some(minutes(60)));
        // The configuration refuses one like this; here it loosens nothing.
        let loose = role("loose", Some(minutes(90)), Some(minutes(9000)));
        let lifetimes = Lifetimes::new(all, [admin, night, loose]);
        let of = |roles: &[&str]| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let Lifetime { idle, absolute } = lifetimes.of(Some(&Principal::new("a", None, &[], &roles)), false);
            (idle.as_secs() / 60, absolute.as_secs() / 60)
        };
        assert_eq!(of(&[]), (30, 600));
        assert_eq!(of(&["staff", "administrator", "Admin"]), (30, 600), "a role is a whole word");
        assert_eq!(of(&["admin"]), (10, 600));
        assert_eq!(of(&["night", "staff"]), (20, 60));
        assert_eq!(of(&["night", "admin"]), (10, 60));
        assert_eq!(of(&["loose"]), (30, 600));
        assert_eq!(lifetimes.of(None, false), all, "a stranger has no role");
        assert_eq!((lifetimes.shortest_idle(), Lifetimes::from(all).shortest_idle()), (minutes(10), minutes(30)));
    }

    #[test]
    fn who_is_remembered_has_other_limits_unless_a_role_says_less() {
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let all = Lifetime { idle: hours(1), absolute: hours(12) };
        let role = |role: &str, idle, forbids_remembering| RoleLifetime {
            role: role.into(),
            idle,
            absolute: None,
            forbids_remembering,
        };
        let roles =
            [role("admin", None, true), role("night", Some(hours(20)), false), role("quick", Some(hours(2)), true)];
        let offered = Some(Lifetime { idle: hours(168), absolute: hours(720) });
        let lifetimes = Lifetimes { remembered: offered, ..Lifetimes::new(all, roles) };
        let of = |roles: &[&str], asked| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let principal = Principal::new("a", None, &[], &roles);
            let Lifetime { idle, absolute } = lifetimes.of(Some(&principal), asked);
            (idle.as_secs() / 3600, absolute.as_secs() / 3600, lifetimes.remembers(&principal))
        };
        assert_eq!((of(&[], false), of(&[], true)), ((1, 12, true), (168, 720, true)));
        assert_eq!(of(&["night"], true), (20, 720, true), "a role tightens");
        assert_eq!(of(&["night", "admin"], true), (1, 12, false), "a role forbids it");
        assert_eq!(of(&["quick"], true), (1, 12, false));
        assert_eq!((lifetimes.shortest_idle(), lifetimes.longest().absolute), (hours(1), hours(720)));
        let not_offered = Lifetimes { remembered: None, ..lifetimes.clone() };
        assert_eq!(not_offered.of(None, true), all, "who was remembered when it was offered is not any more");
        assert_eq!(not_offered.longest(), all);
    }

    #[test]
    fn ends_at_the_limit_and_not_a_millisecond_before() {
        let limits = Lifetime { idle: Duration::from_millis(10), absolute: Duration::from_millis(25) };
        let at = Timestamp::from_millis;
        assert_eq!(limits.over(at(100), at(100), at(109)), None);
        assert_eq!(limits.over(at(100), at(100), at(110)), Some(EndReason::Idle));
        assert_eq!(limits.over(at(100), at(120), at(124)), None);
        assert_eq!(limits.over(at(100), at(120), at(125)), Some(EndReason::Absolute));
        // A clock that went back ends nothing.
        assert_eq!(limits.over(at(100), at(100), at(50)), None);
    }
}
