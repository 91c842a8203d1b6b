//! Times and bounds of client connections, and how many of them one address has open.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;

use crate::base::net;

/// Times and bounds of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long the head of a request may take.
    pub header: Duration,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How many connections each worker serves at once.
    pub most: usize,
    /// How many connections one address may have open, over all workers.
    pub per_address: usize,
    /// How many bytes a second a body must bring while it is waited for, if any.
    pub body_rate: Option<NonZeroU32>,
    /// How long what is under way may go on when the gateway stops.
    pub drain: Duration,
}

/// The open connections of each address, over all workers. An IPv6 address counts by its /64. Clones share it; nothing
/// is remembered of addresses that have none open.
#[derive(Clone, Debug, Default)]
pub struct OpenConnections(Arc<DashMap<IpAddr, usize>>);

/// An open connection; counted until it is dropped.
#[derive(Debug)]
pub struct Counted {
    all: OpenConnections,
    address: IpAddr,
}

impl OpenConnections {
    /// Counts one more of `address`; `None` when it has `most` already.
    pub fn open(&self, address: IpAddr, most: usize) -> Option<Counted> {
        let address = net::limit_key(address);
        let mut count = self.0.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Counted { all: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.0.remove_if_mut(&self.address, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn counts_each_address_and_forgets_it() {
        let all = OpenConnections::default();
        let held: Vec<_> = (0..3).map(|_| all.open(ip("192.0.2.1"), 3).expect("room")).collect();
        assert!(all.open(ip("192.0.2.1"), 3).is_none() && all.open(ip("::ffff:192.0.2.1"), 3).is_none());
        let other = all.open(ip("192.0.2.2"), 3).expect("room");
        let site = all.open(ip("2001:db8::1"), 1).expect("room");
        assert!(all.open(ip("2001:db8::2"), 1).is_none());
        drop(held);
        assert!(all.open(ip("192.0.2.1"), 1).is_some());
        drop((other, site));
        assert!(all.0.is_empty());
    }
}
