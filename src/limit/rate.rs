//! Rates: so many requests in so much time, by the generic cell rate algorithm (crate `governor`).

use std::hash::{BuildHasher, Hash, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use crate::base::clock::Clock;
use crate::base::net;
use crate::base::units::Rate;
use crate::limit::keyed::{Bounded, MAX_ADDRESSES, MAX_OTHERS, measure};
use crate::session::live::Live;
use crate::session::tenant::TenantId;

/// Default for `limits.per_session`: no page of any application asks for a hundred things a second for long, and a
/// script that copies a whole application does.
pub const DEFAULT_PER_SESSION: &str = "100/s";

/// Default for `limits.per_address`: a whole office may sit behind one address, so this only stops floods.
pub const DEFAULT_PER_ADDRESS: &str = "1000/s";

/// Default for `limits.per_user`: sessions have their limit, and who has several of them works in several places.
pub const DEFAULT_PER_USER: &str = "off";

/// Default for `limits.login`: tries a minute from one address; nobody mistypes faster for long.
pub const DEFAULT_LOGIN: &str = "20/m";

/// Too much; worth another try after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// When there is room again.
    pub retry_after: Duration,
    /// How much there may be.
    pub allowed: Allowed,
}

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// So many in so much time.
    Rate(Rate),
    /// So many requests at once.
    Requests(u32),
    /// So many sessions at once.
    Sessions(u32),
}

/// The gateway's clock as `governor` wants it.
struct LimiterClock(Clock);

impl governor::clock::Clock for LimiterClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.now().as_millis().saturating_mul(1_000_000))
    }
}

type Limiter<K, S> = RateLimiter<K, S, LimiterClock, NoOpMiddleware<Nanos>>;

/// Counts one event of `key`.
fn admit<S: StateStore<Key: Clone + Eq + Hash>>(
    limiter: &Limiter<S::Key, S>,
    rate: Rate,
    key: &S::Key,
) -> Result<(), Exceeded> {
    limiter.check_key(key).map_err(|until| Exceeded {
        retry_after: until.wait_time_from(limiter.clock().now()),
        allowed: Allowed::Rate(rate),
    })
}

/// Keeps the state of each session's limit in the session: eight bytes and no further look-up.
struct InSession {
    /// When the limit began to count. A session outlives it, so what it keeps does not count from there.
    start: Nanos,
}

impl StateStore for InSession {
    type Key = Arc<Live>;

    fn measure_and_replace<T, F, E>(&self, live: &Arc<Live>, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        measure(live.allowance(), |seen| {
            let (outcome, next) = decide(seen.map(|seen| seen.saturating_sub(self.start)))?;
            Ok((outcome, next + self.start))
        })
    }
}

/// A limit on each session.
pub struct PerSession {
    limiter: Limiter<Arc<Live>, InSession>,
    rate: Rate,
}

impl PerSession {
    /// At most `rate` for each session.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let clock = LimiterClock(clock);
        let state = InSession { start: clock.now() };
        Self { limiter: RateLimiter::new(quota(rate), state, clock), rate }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many; it is then not counted.
    pub fn admit(&self, live: &Arc<Live>) -> Result<(), Exceeded> {
        admit(&self.limiter, self.rate, live)
    }
}

/// A limit on each of many that a word tells apart.
pub struct PerKey {
    limiter: Limiter<u64, Bounded>,
    words: Bounded,
    rate: Rate,
}

impl PerKey {
    /// At most `rate` for each; `most` are told apart.
    pub fn new(rate: Rate, clock: Clock, most: usize) -> Self {
        let words = Bounded::new(most);
        Self { limiter: RateLimiter::new(quota(rate), words.clone(), LimiterClock(clock)), words, rate }
    }

    /// Counts one event of `key`.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many; it is then not counted.
    pub fn admit(&self, key: u64) -> Result<(), Exceeded> {
        admit(&self.limiter, self.rate, &key)
    }

    /// As [`PerKey::admit`], for whom it is enough to know whether: when there is room again takes another look at the
    /// clock.
    pub fn is_admitted(&self, key: u64) -> bool {
        self.limiter.check_key(&key).is_ok()
    }

    /// Takes back that an event of `key` was counted.
    pub fn give_back(&self, key: u64) {
        let each = u64::try_from(each(self.rate).as_nanos()).unwrap_or(u64::MAX);
        self.words.with(key, |word| {
            // Whatever it was, it is less by one now: nothing is lost to whoever counts at the same time.
            let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |seen| Some(seen.saturating_sub(each)));
        });
    }

    /// Forgets those that have their whole allowance again.
    pub fn sweep(&self) {
        self.limiter.retain_recent();
    }

    /// How many are remembered.
    pub fn remembered(&self) -> usize {
        self.words.known()
    }

    /// About how much memory that takes.
    pub fn bytes(&self) -> usize {
        self.words.bytes()
    }
}

/// A limit on each client address; an IPv6 address counts by its /64.
pub struct PerAddress(PerKey);

impl PerAddress {
    /// At most `rate` for each address.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        Self(PerKey::new(rate, clock, MAX_ADDRESSES))
    }

    /// Counts one event.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many; it is then not counted.
    pub fn admit(&self, address: IpAddr) -> Result<(), Exceeded> {
        self.0.admit(net::limit_word(address))
    }

    /// Counts one event at a tenant, apart from those at others.
    ///
    /// # Errors
    /// As [`PerAddress::admit`].
    pub fn admit_at(&self, tenant: TenantId, address: IpAddr) -> Result<(), Exceeded> {
        self.0.admit(net::limit_word(address) ^ tenant.salt())
    }

    /// What it counts by.
    pub const fn keys(&self) -> &PerKey {
        &self.0
    }
}

/// Who a request is counted as where people and strangers are counted alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client<'a> {
    /// Who is signed in, by tenant and name, in all of their sessions.
    User(TenantId, &'a str),
    /// Everybody else by address.
    Address(IpAddr),
}

/// A limit on each client.
pub struct PerClient {
    keys: PerKey,
    hasher: RandomState,
}

impl PerClient {
    /// At most `rate` for each.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        Self { keys: PerKey::new(rate, clock, MAX_OTHERS), hasher: RandomState::new() }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many; it is then not counted.
    pub fn admit(&self, client: Client<'_>) -> Result<(), Exceeded> {
        self.keys.admit(match client {
            Client::User(tenant, name) => self.hasher.hash_one((tenant, name)),
            Client::Address(address) => self.hasher.hash_one(net::limit_word(address)),
        })
    }

    /// What it counts by.
    pub const fn keys(&self) -> &PerKey {
        &self.keys
    }
}

/// How long one more takes to be allowed.
fn each(rate: Rate) -> Duration {
    rate.per / rate.count.get()
}

/// `rate.burst` at once, and one more every `rate.per / rate.count`.
fn quota(rate: Rate) -> Quota {
    let fallback = Quota::per_second(NonZeroU32::MAX);
    Quota::with_period(each(rate)).map_or(fallback, |quota| quota.allow_burst(rate.burst))
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
        assert_eq!(limit.keys().remembered(), 4);
        time.advance(Duration::from_secs(121));
        limit.keys().sweep();
        assert_eq!(limit.keys().remembered(), 0);
        assert!(admit("192.0.2.1"));
    }

    #[test]
    fn a_burst_is_more_at_once_and_not_more_in_the_long_run() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let limit = PerKey::new(rate("10/s burst 30"), Clock::Manual(time.clone()), 8);
        let admitted = || (0..100).filter(|_| limit.admit(1).is_ok()).count();
        assert_eq!(admitted(), 30);
        time.advance(Duration::from_secs(1));
        assert_eq!(admitted(), 10);
        time.advance(Duration::from_secs(60));
        assert_eq!(admitted(), 30);
        let small = PerKey::new(rate("10/s burst 1"), Clock::Manual(time.clone()), 8);
        assert!(small.admit(1).is_ok() && small.admit(1).is_err());
        time.advance(Duration::from_millis(100));
        assert!(small.admit(1).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_used_again_and_never_becomes_more() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let limit = PerKey::new(rate("3/m"), Clock::Manual(time.clone()), 8);
        for _ in 0..50 {
            assert!(limit.admit(1).is_ok());
            limit.give_back(1);
        }
        limit.give_back(1);
        limit.give_back(2);
        for key in [1, 2] {
            assert_eq!((0..9).filter(|_| limit.admit(key).is_ok()).count(), 3, "{key}");
        }
        limit.give_back(1);
        assert_eq!((0..9).filter(|_| limit.admit(1).is_ok()).count(), 1);
    }

    #[test]
    fn a_session_is_counted_on_when_its_limit_is_made_again() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let bound = Bound::of(IpAddr::from([192, 0, 2, 1]), b"");
        let live = Arc::new(Live::new(Record::new(&Random::seeded(1), None, bound, time.now())));
        let admitted = |limit: &PerSession| (0..100).filter(|_| limit.admit(&live).is_ok()).count();
        let former = PerSession::new(rate("10/s"), Clock::Manual(time.clone()));
        time.advance(Duration::from_secs(3 * 86_400));
        assert_eq!(admitted(&former), 10);
        let next = PerSession::new(rate("10/s"), Clock::Manual(time.clone()));
        assert_eq!(admitted(&next), 0, "it has nothing anew");
        time.advance(Duration::from_secs(1));
        assert_eq!(admitted(&next), 10, "and is not shut out for as long as the former lasted");
    }

    /// Twice as many addresses as a limit tells apart.
    #[test]
    fn a_million_addresses_and_more_stay_within_a_bound_and_all_are_limited() {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let limit = PerAddress::new(rate("2/m"), Clock::Manual(time.clone()));
        let address = |at: u32| if at.is_multiple_of(2) { v4(at) } else { v6(at) };
        let known = MAX_ADDRESSES as u32;
        let admitted = |range: std::ops::Range<u32>| range.filter(|at| limit.admit(address(*at)).is_ok()).count();
        assert_eq!(admitted(0..known), MAX_ADDRESSES);
        let full = limit.keys().bytes();
        assert_eq!(limit.keys().remembered(), MAX_ADDRESSES);
        let strangers = admitted(known..2 * known);
        assert!((500..=2 * 1024).contains(&strangers), "strangers share what there is: {strangers}");
        assert_eq!((limit.keys().remembered(), limit.keys().bytes()), (MAX_ADDRESSES, full));
        assert!(full < 48 << 20, "{full} bytes");
        assert_eq!(admitted(0..1000), 1000, "who was known is counted apart from them");
        assert_eq!(admitted(0..1000), 0);
        time.advance(Duration::from_secs(121));
        limit.keys().sweep();
        assert_eq!(limit.keys().remembered(), 0);
        assert!(limit.keys().bytes() < 1 << 20, "{} bytes", limit.keys().bytes());
        assert_eq!(admitted(known..known + 1000), 1000);
    }

    fn v4(at: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + at).to_be_bytes())
    }

    fn v6(at: u32) -> IpAddr {
        IpAddr::from(((0x2001_0db8_u128 << 96) + (u128::from(at) << 64) + 1).to_be_bytes())
    }
}
