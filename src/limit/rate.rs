//! Rates: so many requests in so much time, by the generic cell rate algorithm (crate `governor`).

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::base::clock::Clock;
use crate::base::net;
use crate::base::units::Rate;
use crate::session::live::Live;

/// Default for `limits.per_session`: no page of any application asks for a hundred things a second for long, and a
/// script that copies a whole application does.
pub const DEFAULT_PER_SESSION: &str = "100/s";

/// Default for `limits.per_address`: a whole office may sit behind one address, so this only stops floods.
pub const DEFAULT_PER_ADDRESS: &str = "1000/s";

/// Default for `limits.login`: tries a minute from one address; nobody mistypes faster for long.
pub const DEFAULT_LOGIN: &str = "20/m";

/// Too much; worth another try after this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// When there is room again.
    pub retry_after: Duration,
}

/// The gateway's clock as `governor` wants it.
struct LimiterClock(Clock);

impl governor::clock::Clock for LimiterClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now().as_millis().saturating_mul(1_000_000))
    }
}

/// Keeps the state of each session's limit in the session: eight bytes and no further look-up.
struct InSession;

impl StateStore for InSession {
    type Key = Arc<Live>;

    fn measure_and_replace<T, F, E>(&self, live: &Arc<Live>, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let word = live.allowance();
        let mut seen = word.load(Ordering::Acquire);
        loop {
            let (outcome, next) = decide((seen != 0).then(|| Nanos::from(seen)))?;
            match word.compare_exchange_weak(seen, next.as_u64(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(outcome),
                Err(now) => seen = now,
            }
        }
    }
}

/// A limit on each session.
pub struct PerSession(RateLimiter<Arc<Live>, InSession, LimiterClock, NoOpMiddleware<Nanos>>);

impl PerSession {
    /// At most `rate` for each session.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        Self(RateLimiter::new(quota(rate), InSession, LimiterClock(clock)))
    }

    /// Counts one request.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many; it is then not counted.
    pub fn admit(&self, live: &Arc<Live>) -> Result<(), Exceeded> {
        self.0.check_key(live).map_err(|until| exceeded(until.wait_time_from(self.0.clock().now())))
    }
}

/// A limit on each client address.
pub struct PerAddress(RateLimiter<IpAddr, DashMapStateStore<IpAddr>, LimiterClock, NoOpMiddleware<Nanos>>);

impl PerAddress {
    /// At most `rate` for each address; an IPv6 address counts by its /64.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        Self(RateLimiter::new(quota(rate), DashMapStateStore::default(), LimiterClock(clock)))
    }

    /// Counts one event.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many; it is then not counted.
    pub fn admit(&self, address: IpAddr) -> Result<(), Exceeded> {
        self.0.check_key(&net::limit_key(address)).map_err(|until| exceeded(until.wait_time_from(self.0.clock().now())))
    }

    /// Forgets the addresses that have their whole allowance again.
    pub fn sweep(&self) {
        self.0.retain_recent();
    }

    /// How many addresses are remembered.
    pub fn remembered(&self) -> usize {
        self.0.len()
    }
}

/// `rate.count` at once, and one more every `rate.per / rate.count`.
fn quota(rate: Rate) -> Quota {
    let each = rate.per / rate.count.get();
    let fallback = Quota::per_second(NonZeroU32::MAX);
    Quota::with_period(each).map_or(fallback, |quota| quota.allow_burst(rate.count))
}

fn exceeded(wait: Duration) -> Exceeded {
    Exceeded { retry_after: wait }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::{ManualClock, Timestamp};
    use crate::base::random::Random;
    use crate::base::units;
    use crate::session::binding::Bound;
    use crate::session::record::Record;

    fn rate(text: &str) -> Rate {
        units::rate(text).expect("a rate").expect("not off")
    }

    #[test]
    fn a_session_has_its_burst_and_then_its_pace() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let limit = PerSession::new(rate("10/s"), Clock::Manual(time.clone()));
        let live = |seed| {
            let bound = Bound::of(IpAddr::from([192, 0, 2, 1]), b"");
            Arc::new(Live::new(Record::new(&Random::seeded(seed), None, bound, time.now())))
        };
        let (busy, other) = (live(1), live(2));
        let admitted = (0..100).filter(|_| limit.admit(&busy).is_ok()).count();
        assert_eq!(admitted, 10);
        let refused = limit.admit(&busy).expect_err("the burst is used up");
        assert!(refused.retry_after <= Duration::from_millis(100) && !refused.retry_after.is_zero());
        assert_eq!(limit.admit(&other), Ok(()));
        time.advance(Duration::from_millis(300));
        assert_eq!((0..100).filter(|_| limit.admit(&busy).is_ok()).count(), 3);
    }

    #[test]
    fn addresses_are_counted_apart_and_forgotten() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let limit = PerAddress::new(rate("2/m"), Clock::Manual(time.clone()));
        let admit = |text: &str| limit.admit(text.parse().expect("an address")).is_ok();
        assert!(admit("192.0.2.1") && admit("192.0.2.1") && !admit("192.0.2.1") && admit("192.0.2.2"));
        assert!(admit("2001:db8::1") && admit("2001:db8::2") && !admit("2001:db8::3") && admit("2001:db8:0:1::1"));
        assert_eq!(limit.remembered(), 4);
        time.advance(Duration::from_secs(121));
        limit.sweep();
        assert_eq!(limit.remembered(), 0);
        assert!(admit("192.0.2.1"));
    }
}
