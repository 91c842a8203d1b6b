//! Levels: what a session is worth by its age, and loses when nothing happens for too long. Who has just stolen a password
//! has a session like everybody else's, but a new one.

use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Timestamp;
use crate::session::live::SessionView;

/// One of them. They are written from the lowest to the highest: who has reached one has reached those before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// What routes and the application call it.
    pub name: Box<str>,
    /// How long after sign-in it is reached.
    pub after: Duration,
    /// The time without a request by which it is lost, until they sign in again.
    pub idle: Option<Duration>,
}

/// Why a session has not reached a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// It is too new, and has reached it after this.
    TooNew(Duration),
    /// Nothing happened for too long. A new one reaches it this long after sign-in.
    WasAway(Duration),
}

impl Level {
    /// Why a session has not reached it, if it has not. A clock that went back makes no session older.
    pub fn missing(&self, session: &SessionView<'_>, now: Timestamp) -> Option<Shortfall> {
        let pause = now.since(session.active_at).max(session.longest_pause);
        if self.idle.is_some_and(|idle| pause >= idle) {
            return Some(Shortfall::WasAway(self.after));
        }
        let wait = self.after.saturating_sub(now.since(session.authenticated_at));
        (!wait.is_zero()).then_some(Shortfall::TooNew(wait))
    }

    /// Whether somebody may have reached it who has not reached `other`.
    pub fn asks_less_than(&self, other: &Self) -> bool {
        self.after < other.after || other.idle.is_some_and(|idle| self.idle.is_none_or(|own| own > idle))
    }
}

/// The highest of `levels` that a session has reached.
pub fn highest<'a>(levels: &'a [Arc<Level>], session: &SessionView<'_>, now: Timestamp) -> Option<&'a Arc<Level>> {
    levels.iter().rev().find(|level| level.missing(session, now).is_none())
}

impl Shortfall {
    /// The name used in logs, traces and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooNew(_) => "level_not_reached",
            Self::WasAway(_) => "level_lost",
        }
    }

    /// What the person is told, in short.
    pub const fn title(self) -> &'static str {
        match self {
            Self::TooNew(_) => "Not open to you yet",
            Self::WasAway(_) => "Not open to you any more",
        }
    }

    /// The same, and why.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::TooNew(_) => "This page opens some time after you have signed in.",
            Self::WasAway(_) => "You were away for a while since you signed in, so this page is closed to you.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::session::binding::Bound;
    use crate::session::live::Live;
    use crate::session::record::Record;

    #[test]
    fn a_level_is_reached_by_age_and_lost_by_a_pause() {
        let start = Timestamp::from_millis(1_763_000_000_000);
        let at = |secs: u64| start.plus(Duration::from_secs(secs));
        let bound = Bound::of("192.0.2.1".parse().expect("an address"), b"agent");
        let live = Live::new(Record::new(&Random::seeded(1), None, bound, start));
        let level = |name: &str, after, idle: Option<u64>| {
            let (after, idle) = (Duration::from_secs(after), idle.map(Duration::from_secs));
            Arc::new(Level { name: name.into(), after, idle })
        };
        let levels = [level("known", 10, None), level("established", 100, Some(60))];
        let found = |secs| highest(&levels, &live.view(), at(secs)).map(|level| level.name.to_string());
        assert_eq!((found(9), found(10).as_deref()), (None, Some("known")));
        let why = |secs| levels[1].missing(&live.view(), at(secs));
        assert_eq!(why(40), Some(Shortfall::TooNew(Duration::from_secs(60))));
        live.note_activity(at(59));
        live.note_activity(at(99));
        assert_eq!(found(100).as_deref(), Some("established"));
        assert_eq!(why(159), Some(Shortfall::WasAway(Duration::from_secs(100))));
        live.note_activity(at(159));
        assert_eq!(found(160).as_deref(), Some("known"), "whoever came back may be somebody else");
        assert!(levels[0].asks_less_than(&levels[1]) && !levels[1].asks_less_than(&levels[0]));
        assert!(!levels[1].asks_less_than(&levels[1]));
    }
}
