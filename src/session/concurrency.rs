//! How many sessions a person may have at once, and which of them make room for another.
//!
//! The oldest is the one that was used least recently, not the one that began first: the session that somebody began in
//! the morning and works in all day is the last that they want to lose, and the one that was left open somewhere is the
//! one to go. Spring Security and Keycloak choose the same way; NIST SP 800-53 (AC-10) asks for a limit and leaves the
//! choice open. What this does not stop: a thief who keeps a stolen session busy stays, and it is the owner who is signed
//! out elsewhere, and told so.

use std::sync::Arc;

use crate::base::clock::Timestamp;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::EndReason;
use crate::session::timeouts::Lifetimes;

/// Default for `session.concurrency.max_sessions`: a computer, a telephone, and one more.
pub const DEFAULT_MAX: usize = 3;

/// The most that can be asked for: they are looked at one by one while others who sign in as the same person wait.
pub const MOST: usize = 1000;

/// What happens when somebody signs in who has all the sessions they may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// They are told so, and not signed in.
    Refuse,
    /// The session that was used least recently ends: the default, since nobody is then kept out by a browser that they
    /// cannot reach any more.
    #[default]
    EndOldest,
    /// They choose which one ends.
    Ask,
}

impl WhenFull {
    /// The name used in configuration and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::EndOldest => "end_oldest",
            Self::Ask => "ask",
        }
    }
}

/// How many sessions people may have at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// What holds for everybody.
    pub all: Option<usize>,
    /// What is less for people with certain roles.
    pub roles: Arc<[(Box<str>, usize)]>,
    /// What happens to who signs in and has as many.
    pub when_full: WhenFull,
}

impl Concurrency {
    /// How many sessions this person may have: of all that hold for them, the fewest. `None` is as many as they like.
    pub fn of(&self, principal: &Principal) -> Option<usize> {
        let by_role = self.roles.iter().filter(|(role, _)| principal.has_role(role)).map(|(_, max)| *max);
        self.all.into_iter().chain(by_role).min()
    }

    /// The fewest that anybody is limited to: who has no more is nobody to look at.
    pub fn fewest(&self) -> usize {
        self.all.into_iter().chain(self.roles.iter().map(|(_, max)| *max)).min().unwrap_or(usize::MAX)
    }

    /// Which of one person's sessions end, so that they have no more than they may, by their roles of this moment.
    pub fn above(&self, held: &[Arc<Live>]) -> Vec<SessionHandle> {
        let max = held.iter().filter_map(|live| live.principal()).filter_map(|principal| self.of(principal)).min();
        let lasting: Vec<_> = held.iter().filter(|live| live.ended().is_none()).collect();
        let above = max.map_or(0, |max| lasting.len().saturating_sub(max));
        least_recent(lasting, above).collect()
    }
}

/// What a store keeps to when it adds a session, in one step with adding it.
#[derive(Clone, Debug, Default)]
pub struct Limit {
    /// How many lasting sessions the owner may have, the new one among them.
    pub max: usize,
    /// Whether those used least recently end where there would be more. Otherwise nothing ends then, and nothing is added.
    pub ends_oldest: bool,
    /// Sessions of the owner that end for the new one, and why: they do not count. The one that the same browser had
    /// before, and one that its person has chosen.
    pub making_way: Vec<(SessionHandle, EndReason)>,
    /// Whoever is over by these ends as well, and does not count: nobody is kept out by a session that is only still to be
    /// swept. `None` counts everything that has not ended.
    pub lifetimes: Option<Lifetimes>,
}

impl Limit {
    /// A limit that refuses what is more, and looks at nothing but how many there are.
    pub fn counting(max: usize) -> Self {
        Self { max, ..Self::default() }
    }

    /// Whether nothing of a session but that it is there makes a difference.
    pub const fn only_counts(&self) -> bool {
        !self.ends_oldest && self.making_way.is_empty() && self.lifetimes.is_none()
    }

    /// Which of the owner's sessions end for a new one, and why; `None` when there is no room for it.
    pub fn room(&self, held: &[Arc<Live>], now: Timestamp) -> Option<Vec<(SessionHandle, EndReason)>> {
        let (mut ends, mut stay) = (Vec::new(), Vec::new());
        for live in held.iter().filter(|live| live.ended().is_none()) {
            let chosen = self.making_way.iter().find(|(handle, _)| *handle == live.handle()).map(|(_, why)| *why);
            match chosen.or_else(|| self.lifetimes.as_ref()?.ends(live, now)) {
                Some(why) => ends.push((live.handle(), why)),
                None => stay.push(live),
            }
        }
        let above = (stay.len() + 1).saturating_sub(self.max);
        if above > 0 && (!self.ends_oldest || above > stay.len()) {
            return None;
        }
        ends.extend(least_recent(stay, above).map(|handle| (handle, EndReason::Displaced)));
        Some(ends)
    }
}

/// So many of these sessions, those used least recently; of several last used at once, the one that began first.
fn least_recent(mut among: Vec<&Arc<Live>>, count: usize) -> impl Iterator<Item = SessionHandle> {
    if count > 0 {
        among.sort_by_cached_key(|live| (live.active_at(), live.authenticated_at(), live.handle()));
    }
    among.into_iter().take(count).map(|live| live.handle())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::random::Random;
    use crate::session::binding::Bound;
    use crate::session::record::Record;
    use crate::session::timeouts::Lifetime;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn of_all_that_holds_for_somebody_the_fewest_counts() {
        let roles: Arc<[(Box<str>, usize)]> = [("admin".into(), 1), ("night".into(), 2)].into();
        let of = |all, roles_of: &[&str]| {
            let roles_of: Vec<String> = roles_of.iter().map(|role| (*role).to_owned()).collect();
            let allowed = Concurrency { all, roles: Arc::clone(&roles), when_full: WhenFull::default() };
            allowed.of(&Principal::new("a", None, &[], &roles_of))
        };
        assert_eq!((of(None, &[]), of(None, &["staff", "Admin"])), (None, None));
        assert_eq!(
            (of(Some(3), &[]), of(Some(3), &["night"]), of(Some(3), &["night", "admin"])),
            (Some(3), Some(2), Some(1))
        );
        assert_eq!((of(None, &["admin"]), of(Some(1), &["night"])), (Some(1), Some(1)));
        let nobody = Concurrency { all: None, roles: Arc::default(), when_full: WhenFull::Ask };
        assert_eq!(nobody.fewest(), usize::MAX);
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 2048,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..Default::default()
        })]

        /// However many there are, what is left leaves room for one; nothing ends that need not; what stays was used more
        /// recently than what is displaced; and a stricter limit lets in nobody whom a looser one keeps out.
        #[test]
        fn room_is_made_for_one_and_no_more(
            held in proptest::collection::vec((0..1000_u64, 0..1000_u64, any::<bool>(), any::<bool>()), 0..9),
            max in 0..6_usize,
            ends_oldest in any::<bool>(),
        ) {
            let (random, now) = (Random::seeded(1), at(1000));
            let lifetimes = Lifetimes::from(Lifetime { idle: std::time::Duration::from_millis(500), absolute: std::time::Duration::from_millis(900) });
            let mut making_way = Vec::new();
            let held: Vec<_> = held.into_iter().map(|(begun, used, makes_way, has_ended)| {
                let principal = Some(Arc::new(Principal::new("a", None, &[], &[])));
                let bound = Bound::of(std::net::Ipv4Addr::LOCALHOST.into(), b"");
                let live = Live::new(Record::new(&random, principal, bound, at(begun)));
                live.note_activity(at(used));
                if has_ended && makes_way {
                    live.end(EndReason::Logout, now);
                }
                if makes_way {
                    making_way.push((live.handle(), EndReason::Replaced));
                }
                Arc::new(live)
            }).collect();
            let limit = Limit { max, ends_oldest, making_way, lifetimes: Some(lifetimes.clone()) };
            let is_free = |live: &Arc<Live>| {
                live.ended().is_some() || lifetimes.ends(live, now).is_some() || limit.making_way.iter().any(|(handle, _)| *handle == live.handle())
            };
            let in_the_way = held.iter().filter(|live| !is_free(live)).count();
            let ends = limit.room(&held, now);
            prop_assert_eq!(ends.is_some(), in_the_way < max || (ends_oldest && max > 0));
            let stricter = Limit { max: max.saturating_sub(1), ..limit.clone() }.room(&held, now);
            prop_assert!(stricter.is_none() || ends.is_some());
            let Some(ends) = ends else { return Ok(()) };
            let ending = |live: &&Arc<Live>| ends.iter().find(|(handle, _)| *handle == live.handle()).map(|(_, why)| *why);
            let left: Vec<_> = held.iter().filter(|live| live.ended().is_none() && ending(live).is_none()).collect();
            prop_assert!(left.len() < max);
            let displaced: Vec<_> = held.iter().filter(|live| ending(live) == Some(EndReason::Displaced)).collect();
            prop_assert_eq!(displaced.len(), (in_the_way + 1).saturating_sub(max));
            prop_assert!(displaced.iter().all(|live| !is_free(live)));
            prop_assert!(displaced.iter().all(|gone| left.iter().all(|stays| gone.active_at() <= stays.active_at())));
            prop_assert_eq!(ends.len() + left.len() + held.iter().filter(|live| live.ended().is_some()).count(), held.len());
        }
    }
}
