//! Addresses: who the client is, and which networks are trusted.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// How many bits of an IPv4 address count as "the same place" by default: the smallest block that is routed on the
/// internet, which a phone keeps while it moves between the addresses of one provider's pool.
pub const DEFAULT_PREFIX_V4: u8 = 24;

/// How many bits of an IPv6 address count as "the same place" by default: what one site is given (RFC 6177); the
/// lower half of an address changes by itself (RFC 8981).
pub const DEFAULT_PREFIX_V6: u8 = 56;

/// How many bits of an IPv6 address identify one client for a limit: whoever has an address has at least a /64.
pub const LIMIT_PREFIX_V6: u8 = 64;

/// An IPv4 address that came in through an IPv6 socket (RFC 4291 section 2.5.5.2) is the IPv4 address.
pub const fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// `address` with only its first `v4` or `v6` bits kept.
pub fn prefix(address: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match canonical(address) {
        IpAddr::V4(v4_address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4_address) & mask).into())
        }
        IpAddr::V6(v6_address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6_address) & mask))
        }
    }
}

/// What a limit counts as one client: the whole IPv4 address, or the /64 of an IPv6 address.
pub fn limit_key(address: IpAddr) -> IpAddr {
    prefix(address, 32, LIMIT_PREFIX_V6)
}

/// [`limit_key`] as one word, which limits on a million addresses keep in half the room. An IPv4 address has the lower half
/// to itself: no client's IPv6 address begins with 32 zero bits (RFC 4291 section 2.5).
pub fn limit_word(address: IpAddr) -> u64 {
    match limit_key(address) {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => (u128::from(address) >> 64) as u64,
    }
}

/// The proxies whose `X-Forwarded-For`, `Forwarded` and PROXY protocol headers are believed. Empty by default: nobody
/// is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Trusts the addresses in `networks`.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether `address` may say for whom it speaks.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = canonical(address);
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn keeps_the_prefix_and_nothing_else() {
        assert_eq!(prefix(ip("192.0.2.77"), 24, 56), ip("192.0.2.0"));
        assert_eq!(prefix(ip("192.0.2.77"), 32, 56), ip("192.0.2.77"));
        assert_eq!(prefix(ip("192.0.2.77"), 0, 0), ip("0.0.0.0"));
        assert_eq!(prefix(ip("::ffff:192.0.2.77"), 24, 56), ip("192.0.2.0"));
        assert_eq!(prefix(ip("2001:db8:1:2ff:3::4"), 24, 56), ip("2001:db8:1:200::"));
        assert_eq!(prefix(ip("2001:db8::1"), 0, 0), ip("::"));
    }

    #[test]
    fn a_limit_counts_a_site_as_one() {
        assert_eq!(limit_word(ip("2001:db8::1")), limit_word(ip("2001:db8::ffff:1")));
        assert_ne!(limit_word(ip("2001:db8::1")), limit_word(ip("2001:db8:0:1::1")));
        assert_eq!(limit_word(ip("192.0.2.1")), limit_word(ip("::ffff:192.0.2.1")));
        assert_ne!(limit_word(ip("192.0.2.1")), limit_word(ip("192.0.2.2")));
    }

    #[test]
    fn trusts_only_what_is_listed() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        assert!(trusted.trusts(ip("10.1.2.3")));
        assert!(trusted.trusts(ip("::ffff:10.1.2.3")));
        assert!(!trusted.trusts(ip("11.1.2.3")));
        assert!(!TrustedProxies::default().trusts(ip("127.0.0.1")));
    }
}
