//! Time as an injected value: the gateway never asks the operating system for the time anywhere else.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch.
///
/// Wall-clock time, because a session's times outlive a process and are compared by several machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A time from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// Whole days since the Unix epoch (UTC).
    pub const fn day(self) -> u32 {
        (self.0 / 86_400_000) as u32
    }

    /// This time and `span` more; saturates, so that "never" can be written as a very long span.
    pub const fn plus(self, span: Duration) -> Self {
        let millis = span.as_millis();
        if millis > u64::MAX as u128 { Self(u64::MAX) } else { Self(self.0.saturating_add(millis as u64)) }
    }

    /// The time from `earlier` to this one; zero when `earlier` is the later one (clocks of two machines differ).
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds, as the logs show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(i64::from(self.day()));
        let in_day = self.0 % 86_400_000;
        let (hour, minute, second, milli) =
            (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

/// The Gregorian date of a day counted from 1970-01-01, by the usual shift of the year's start to March.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The operating system's clock.
    System,
    /// A clock that only moves when a test moves it. Not compiled into the shipped binary.
    #[cfg(feature = "manual-clock")]
    Manual(ManualClock),
}

impl Clock {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            // A clock set before 1970 reads as the epoch: every session is then in the future and none expires early.
            Self::System => {
                Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis() as u64))
            }
            #[cfg(feature = "manual-clock")]
            Self::Manual(clock) => clock.now(),
        }
    }

    /// Begins to measure how long something takes, finer than [`Timestamp`]s tell.
    pub fn stopwatch(&self) -> Stopwatch {
        match self {
            Self::System => Stopwatch::System(Instant::now()),
            #[cfg(feature = "manual-clock")]
            Self::Manual(clock) => Stopwatch::Manual(clock.clone(), clock.shown()),
        }
    }

    /// Waits for `span` to pass on this clock.
    pub async fn sleep(&self, span: Duration) {
        match self {
            Self::System => tokio::time::sleep(span).await,
            #[cfg(feature = "manual-clock")]
            Self::Manual(clock) => clock.sleep(span).await,
        }
    }
}

/// Measures how long something takes.
#[derive(Clone, Debug)]
pub enum Stopwatch {
    /// By the operating system's clock.
    System(Instant),
    /// By a clock that is moved by hand.
    #[cfg(feature = "manual-clock")]
    Manual(ManualClock, Timestamp),
}

impl Stopwatch {
    /// The time since it was begun.
    pub fn elapsed(&self) -> Duration {
        match self {
            Self::System(begun) => begun.elapsed(),
            #[cfg(feature = "manual-clock")]
            Self::Manual(clock, begun) => clock.shown().since(*begun),
        }
    }
}

#[cfg(feature = "manual-clock")]
pub use manual::ManualClock;

#[cfg(feature = "manual-clock")]
mod manual {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::Timestamp;

    /// A clock that stands still until [`ManualClock::advance`] is called. Clones share the same time.
    #[derive(Clone, Debug)]
    pub struct ManualClock(Arc<Shared>);

    #[derive(Debug)]
    struct Shared {
        now: AtomicU64,
        moved: Notify,
        /// How many more readings are good, if it is to break at all.
        good: AtomicI64,
    }

    impl ManualClock {
        /// A clock that stands at `now`.
        pub fn at(now: Timestamp) -> Self {
            Self(Arc::new(Shared {
                now: AtomicU64::new(now.as_millis()),
                moved: Notify::new(),
                good: AtomicI64::new(-1),
            }))
        }

        /// The time this clock shows.
        pub fn now(&self) -> Timestamp {
            let left = self.0.good.load(Ordering::SeqCst);
            if left >= 0 {
                self.0.good.fetch_sub(1, Ordering::SeqCst);
                assert!(left > 0, "the clock breaks, as it was told");
            }
            self.shown()
        }

        /// The same, by a look that does not count: it never breaks.
        pub(super) fn shown(&self) -> Timestamp {
            Timestamp::from_millis(self.0.now.load(Ordering::SeqCst))
        }

        /// Lets the clock panic once, after `good` more readings: a fault in whatever code reads it then.
        pub fn break_after(&self, good: u32) {
            self.0.good.store(good.into(), Ordering::SeqCst);
        }

        /// Whether it has broken, or was never to.
        pub fn has_broken(&self) -> bool {
            self.0.good.load(Ordering::SeqCst) < 0
        }

        /// Makes it whole again; whether it had broken.
        pub fn mend(&self) -> bool {
            self.0.good.swap(-1, Ordering::SeqCst) < 0
        }

        /// Moves the clock forward and wakes everyone whose wait is over.
        pub fn advance(&self, span: Duration) {
            self.0.now.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
            self.0.moved.notify_waiters();
        }

        /// Waits until the clock has been moved by `span`.
        pub async fn sleep(&self, span: Duration) {
            let deadline = self.now().plus(span);
            loop {
                let moved = self.0.moved.notified();
                tokio::pin!(moved);
                // Registered before the time is read, so that a move in between is not missed.
                moved.as_mut().enable();
                if self.now() >= deadline {
                    return;
                }
                moved.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_dates_as_rfc_3339() {
        for (millis, shown) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), shown);
        }
    }

    #[test]
    fn spans_saturate_instead_of_wrapping() {
        let now = Timestamp::from_millis(5);
        assert_eq!(now.plus(Duration::MAX), Timestamp::from_millis(u64::MAX));
        assert_eq!(now.since(Timestamp::from_millis(9)), Duration::ZERO);
    }
}
