//! How long a session lasts.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::EndReason;
use crate::session::tenant::ByTenant;

/// Default for `session.lifetime.idle`: the upper end of what OWASP's session cheat sheet names for low-value
/// applications (15 to 30 minutes), and half of what NIST SP 800-63B-4 allows at AAL2.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(30 * 60);

/// Default for `session.lifetime.absolute`: one working day with its margins; the bound of NIST's AAL3.
pub const DEFAULT_ABSOLUTE: Duration = Duration::from_secs(12 * 3600);

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleLifetime {
    /// The role.
    pub role: Box<str>,
    /// From the last activity, at most this.
    pub idle: Option<Duration>,
    /// From authentication, at most this.
    pub absolute: Option<Duration>,
}

/// How long everybody's sessions last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// What holds for all of them: no session has longer limits.
    pub all: Lifetime,
    /// What is less for people with certain roles.
    pub roles: Arc<[RoleLifetime]>,
}

impl Lifetimes {
    /// `all` for everybody, and less for people with certain roles.
    pub fn new(all: Lifetime, roles: impl IntoIterator<Item = RoleLifetime>) -> Self {
        Self { all, roles: roles.into_iter().collect() }
    }

    /// The limits of a session of `principal`, a stranger's without one: of all that hold for them, the tightest. Where no
    /// role has limits, nobody's roles are looked at.
    pub fn of(&self, principal: Option<&Principal>) -> Lifetime {
        match principal {
            Some(principal) if !self.roles.is_empty() => self.tightest(|role| principal.has_role(role)),
            Some(_) | None => self.all,
        }
    }

    /// Why a session is over at `now`, by the roles that its person has then; `None` while it lasts.
    pub fn over(&self, live: &Live, now: Timestamp) -> Option<EndReason> {
        let limits = self.of(live.principal().map(|principal| &**principal));
        limits.over(live.authenticated_at(), live.active_at(), now)
    }

    /// The shortest idle limit that anybody may have.
    pub fn shortest_idle(&self) -> Duration {
        self.tightest(|_| true).idle
    }

    fn tightest(&self, counts: impl Fn(&str) -> bool) -> Lifetime {
        self.roles.iter().filter(|limits| counts(&limits.role)).fold(self.all, |so_far, limits| Lifetime {
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
        let role = |role: &str, idle, absolute| RoleLifetime { role: role.into(), idle, absolute };
        let admin = role("admin", Some(minutes(10)), None);
        let night = role("night", Some(minutes(20)), Some(minutes(60)));
        // The configuration refuses one like this; here it loosens nothing.
        let loose = role("loose", Some(minutes(90)), Some(minutes(9000)));
        let lifetimes = Lifetimes::new(all, [admin, night, loose]);
        let of = |roles: &[&str]| {
            let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
            let Lifetime { idle, absolute } = lifetimes.of(Some(&Principal::new("a", None, &[], &roles)));
            (idle.as_secs() / 60, absolute.as_secs() / 60)
        };
        assert_eq!(of(&[]), (30, 600));
        assert_eq!(of(&["staff", "administrator", "Admin"]), (30, 600), "a role is a whole word");
        assert_eq!(of(&["admin"]), (10, 600));
        assert_eq!(of(&["night", "staff"]), (20, 60));
        assert_eq!(of(&["night", "admin"]), (10, 60));
        assert_eq!(of(&["loose"]), (30, 600));
        assert_eq!(lifetimes.of(None), all, "a stranger has no role");
        assert_eq!((lifetimes.shortest_idle(), Lifetimes::from(all).shortest_idle()), (minutes(10), minutes(30)));
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
