//! Wrong passwords for one name: what slows down whoever guesses, and does not shut out whose name it is.
//!
//! Counted are tries whose password was wrong, by the name as it was typed, whether anybody has it or not: nothing here
//! tells a name that exists from one that does not. Of a name's allowance the tries from one network take a fifth at
//! the most, so whoever guesses from one place leaves room for its owner in another. When guesses come from everywhere,
//! strangers have to wait; a browser in which somebody has signed in by this name before is no stranger (OWASP's
//! "device cookies"), and has an allowance of its own, which a thief of the cookie cannot exceed either.
//!
//! A try is counted before the password is looked at and given back when it was right. Otherwise as many as are looked
//! at at once would slip through together.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::base::clock::Clock;
use crate::base::net::{self, DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6};
use crate::base::units::Rate;
use crate::limit::keyed::MAX_OTHERS;
use crate::limit::rate::{Exceeded, PerKey};
use crate::session::tenant::TenantId;

/// Default for `limits.wrong_passwords`: with the burst not more than a hundred in any hour, which is what OWASP ASVS
/// 4.0 (2.2.1) asks for.
pub const DEFAULT_WRONG_PASSWORDS: &str = "50/h";

/// Which part of a name's allowance one network may use up.
const SHARE_OF_A_NETWORK: u32 = 5;

/// What tells a browser from others that somebody signed in with before.
pub type DeviceId = [u8; 16];

/// Counts wrong passwords.
pub struct WrongPasswords {
    names: PerKey,
    networks: PerKey,
    devices: PerKey,
    hasher: RandomState,
}

/// A try that has been counted.
#[derive(Debug)]
#[must_use]
pub struct Counted(By);

#[derive(Debug)]
enum By {
    Device(u64),
    Stranger { name: u64, network: u64 },
}

impl WrongPasswords {
    /// At most `rate` for each name.
    pub fn new(rate: Rate, clock: Clock) -> Self {
        let part = |count: NonZeroU32| NonZeroU32::new(count.get() / SHARE_OF_A_NETWORK).unwrap_or(NonZeroU32::MIN);
        let share = Rate { count: part(rate.count), per: rate.per, burst: part(rate.burst) };
        let keys = |rate| PerKey::new(rate, clock.clone(), MAX_OTHERS);
        Self { names: keys(rate), networks: keys(share), devices: keys(rate), hasher: RandomState::new() }
    }

    /// Counts a try to sign in as `name` of `tenant` from `address`, in a browser that is known by `device` to have done so before.
    ///
    /// # Errors
    /// [`Exceeded`] when there were too many wrong passwords; the password is not to be looked at then.
    pub fn admit(
        &self,
        tenant: TenantId,
        name: &str,
        address: IpAddr,
        device: Option<DeviceId>,
    ) -> Result<Counted, Exceeded> {
        if let Some(device) = device {
            let device = self.hasher.hash_one(device);
            if self.devices.admit(device).is_ok() {
                return Ok(Counted(By::Device(device)));
            }
        }
        let network = net::prefix(address, DEFAULT_PREFIX_V4, DEFAULT_PREFIX_V6);
        let (name, network) = (self.hasher.hash_one((tenant, name)), self.hasher.hash_one((tenant, name, network)));
        self.networks.admit(network)?;
        self.names.admit(name).inspect_err(|_| self.networks.give_back(network))?;
        Ok(Counted(By::Stranger { name, network }))
    }

    /// Takes a try back: its password was right, or was not looked at.
    pub fn give_back(&self, counted: Counted) {
        match counted.0 {
            By::Device(device) => self.devices.give_back(device),
            By::Stranger { name, network } => {
                self.names.give_back(name);
                self.networks.give_back(network);
            }
        }
    }

    /// What it counts by.
    pub const fn keys(&self) -> [&PerKey; 3] {
        [&self.names, &self.networks, &self.devices]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::{ManualClock, Timestamp};
    use crate::base::units;

    fn limit() -> (ManualClock, WrongPasswords) {
        let time = ManualClock::at(Timestamp::from_millis(1_763_000_000_000));
        let rate = units::rate("10/h").expect("a rate").expect("not off");
        (time.clone(), WrongPasswords::new(rate, Clock::Manual(time)))
    }

    fn ip(at: u8) -> IpAddr {
        IpAddr::from([192, 0, at, 1])
    }

    #[test]
    fn one_network_does_not_use_up_what_strangers_have() {
        let (time, limit) = limit();
        let wrong = |name: &str, at| limit.admit(TenantId::DEFAULT, name, ip(at), None).is_ok();
        assert_eq!((0..50).filter(|_| wrong("alice", 1)).count(), 2);
        assert!(wrong("bob", 1), "another name");
        assert!(
            limit.admit(TenantId::DEFAULT, "alice", IpAddr::from([192, 0, 1, 200]), None).is_err(),
            "the same network"
        );
        assert_eq!((0..50).filter(|at| wrong("alice", 2 + at % 40)).count(), 8, "all others together");
        assert!(!wrong("alice", 200));
        assert!(
            limit.admit(TenantId::DEFAULT, "alice", ip(1), Some([7; 16])).is_ok(),
            "who is no stranger is not kept out"
        );
        time.advance(Duration::from_secs(360));
        assert!(wrong("alice", 200) && !wrong("alice", 201));
    }

    #[test]
    fn a_right_password_costs_nothing() {
        let (_, limit) = limit();
        for at in 0..50 {
            let device = (at % 2 == 0).then_some([7; 16]);
            let counted = limit.admit(TenantId::DEFAULT, "alice", ip(1), device).expect("room");
            limit.give_back(counted);
        }
        assert_eq!((0..50).filter(|at| limit.admit(TenantId::DEFAULT, "alice", ip(*at), None).is_ok()).count(), 10);
    }

    #[test]
    fn a_device_has_its_allowance_and_then_that_of_strangers() {
        let (_, limit) = limit();
        let wrong = |device| {
            (0..50).filter(|_| limit.admit(TenantId::DEFAULT, "alice", ip(1), Some([device; 16])).is_ok()).count()
        };
        assert_eq!((wrong(1), wrong(2)), (12, 10));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let (time, limit) = limit();
        let names = 2 * MAX_OTHERS;
        let admitted =
            (0..names).filter(|at| limit.admit(TenantId::DEFAULT, &at.to_string(), ip(1), None).is_ok()).count();
        assert!(admitted < MAX_OTHERS + 16 * 1024, "{admitted}");
        for keys in limit.keys() {
            assert!(keys.remembered() <= MAX_OTHERS && keys.bytes() < 4 << 20, "{} bytes", keys.bytes());
        }
        time.advance(Duration::from_secs(7200));
        limit.keys().into_iter().for_each(PerKey::sweep);
        assert_eq!(limit.keys().map(PerKey::remembered), [0; 3]);
    }
}
