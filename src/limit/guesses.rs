//! Guessing sessions: cookies that open to nothing, or to no session, counted by the address they come from.
//!
//! The value of a cookie counts once: a browser that comes back after its session is forgotten asks for fifty pictures
//! with the same one. Whoever sends many different ones tries them out. Nothing that comes without a bad cookie is
//! counted or refused here, so others behind the same address go on.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::clock::Clock;
use crate::base::net;
use crate::base::units::Rate;
use crate::limit::keyed::{MAX_ADDRESSES, MAX_OTHERS};
use crate::limit::rate::{Exceeded, PerKey};

/// Default for `limits.bad_cookies`: an office whose sessions are all gone at once sends a few dozen in a minute; who is
/// beyond that has a cookie taken away and comes again without. A guess has one chance in 2^128 or less, so this is not
/// what keeps guesses from being right: it keeps them from costing much, and from going unseen.
pub const DEFAULT_BAD_COOKIES: &str = "60/m";

/// How often the audit log is told of one address that goes on guessing.
pub const REPORT_EVERY: Duration = Duration::from_secs(600);

/// How many bad values are known again: half a megabyte. A value that others have displaced counts once more.
const REMEMBERED: usize = 1 << 16;

/// What a bad cookie is, to who counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// This value has been counted.
    Again,
    /// A new one, and there is room for it.
    New,
    /// One too many.
    TooMany {
        /// When there is room again.
        exceeded: Exceeded,
        /// Whether this is to be reported: the first time in [`REPORT_EVERY`].
        report: bool,
    },
}

/// Counts bad cookies by address.
pub struct CookieGuesses {
    addresses: PerKey,
    reports: PerKey,
    values: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl CookieGuesses {
    /// At most `rate` different ones from each address.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let report = Rate { count: NonZeroU32::MIN, per: REPORT_EVERY, burst: NonZeroU32::MIN };
        Self {
            addresses: PerKey::new(rate, clock.clone(), MAX_ADDRESSES),
            reports: PerKey::new(report, clock, MAX_OTHERS),
            values: std::iter::repeat_with(AtomicU64::default).take(REMEMBERED).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Counts a cookie from `address` that is no good.
    pub fn count(&self, address: IpAddr, value: &[u8]) -> Guess {
        let address = net::limit_word(address);
        let hash = self.hasher.hash_one((address, value));
        let place = &self.values[hash as usize % REMEMBERED];
        if place.load(Ordering::Relaxed) == hash {
            return Guess::Again;
        }
        match self.addresses.admit(address) {
            Ok(()) => {
                place.store(hash, Ordering::Relaxed);
                Guess::New
            }
            // It is not remembered: tried a second time, it is refused a second time.
            Err(exceeded) => Guess::TooMany { exceeded, report: self.reports.is_admitted(address) },
        }
    }

    /// What it counts by.
    pub const fn keys(&self) -> [&PerKey; 2] {
        [&self.addresses, &self.reports]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Timestamp};
    use crate::base::units;

    #[test]
    fn different_values_of_one_address_are_counted_and_reported_once() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let rate = units::rate("3/m").expect("a rate").expect("not off");
        let guesses = CookieGuesses::new(rate, Clock::Manual(time.clone()));
        let (here, there) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let count = |address, value: u64| guesses.count(address, &value.to_be_bytes());
        for value in 0..3 {
            assert_eq!(count(here, value), Guess::New);
            for _ in 0..50 {
                assert_eq!(count(here, value), Guess::Again);
            }
        }
        let is_told = |guess| match guess {
            Guess::TooMany { report, .. } => report,
            Guess::Again | Guess::New => panic!("{guess:?}"),
        };
        assert!(is_told(count(here, 3)));
        assert!((3..50).all(|value| !is_told(count(here, value))), "also of what was refused before");
        assert_eq!(count(here, 0), Guess::Again);
        assert_eq!(count(there, 3), Guess::New, "others are counted apart");
        time.advance(Duration::from_secs(20));
        assert_eq!(count(here, 3), Guess::New);
        assert!(!is_told(count(here, 4)));
        time.advance(REPORT_EVERY);
        assert!((4..7).all(|value| count(here, value) == Guess::New));
        assert!(is_told(count(here, 7)));
    }

    /// A flood of values displaces what is remembered, and nothing is let through for it.
    #[test]
    fn a_million_values_take_no_more_room_and_are_not_let_through() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let rate = units::rate("60/m").expect("a rate").expect("not off");
        let guesses = CookieGuesses::new(rate, Clock::Manual(time));
        let here = IpAddr::from([192, 0, 2, 1]);
        let new = (0..1_000_000_u64).filter(|value| guesses.count(here, &value.to_be_bytes()) == Guess::New).count();
        assert_eq!(new, 60);
        assert_eq!(guesses.keys().map(PerKey::remembered), [1, 1]);
    }
}
