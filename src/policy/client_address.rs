//! Who the client is when trusted proxies stand in front (RFC 7239 section 7.4 and the older `X-Forwarded-For`).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use crate::base::net::{TrustedProxies, canonical};

/// Which header the trusted proxies write. One, not both: a client can send the one that they do not overwrite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: the default, because nearly every proxy writes it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How many addresses are looked at from the right before the last one counts as the client.
pub const MAX_HOPS: usize = 32;

/// The client's address: the peer, or, while that is a trusted proxy, whom it says it speaks for, from right to left.
/// A part that is not an address ends the walk at the last proxy that was believed.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies, written: ForwardedHeader) -> IpAddr {
    let mut client = canonical(peer);
    if trusted.is_empty() || !trusted.trusts(client) {
        return client;
    }
    let name = match written {
        ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    for element in values.iter().rev().flat_map(|value| value.rsplit(',')).take(MAX_HOPS) {
        let node = match written {
            ForwardedHeader::XForwardedFor => Some(element.trim()),
            ForwardedHeader::Forwarded => forwarded_for(element),
        };
        let Some(address) = node.and_then(node_address) else { break };
        client = canonical(address);
        if !trusted.trusts(client) {
            break;
        }
    }
    client
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value);
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })
}

/// An address with or without a port; obfuscated and unknown nodes are none.
fn node_address(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse::<IpAddr>() {
        return Some(address);
    }
    if let Ok(address) = node.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    node.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn find(peer: &str, name: &'static str, values: &[&'static str], written: ForwardedHeader) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        client_address(peer.parse().expect("an address"), &headers, &trusted, written).to_string()
    }

    #[test]
    fn believes_trusted_proxies_from_right_to_left() {
        let find =
            |peer, values: &[&'static str]| find(peer, "x-forwarded-for", values, ForwardedHeader::XForwardedFor);
        assert_eq!(find("192.0.2.9", &["203.0.113.1"]), "192.0.2.9");
        assert_eq!(find("10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(find("10.0.0.1", &["1.1.1.1, 203.0.113.1, 10.0.0.2"]), "203.0.113.1");
        assert_eq!(find("10.0.0.1", &["1.1.1.1", "203.0.113.1"]), "203.0.113.1");
        assert_eq!(find("10.0.0.1", &["203.0.113.1, junk"]), "10.0.0.1");
        assert_eq!(find("10.0.0.1", &["203.0.113.1, junk, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(find("10.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(find("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(find("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn reads_forwarded_when_told_to_and_only_then() {
        let forwarded = |values: &[&'static str]| find("10.0.0.1", "forwarded", values, ForwardedHeader::Forwarded);
        assert_eq!(forwarded(&["for=1.1.1.1, For=\"[2001:db8::1]:4711\";proto=https"]), "2001:db8::1");
        assert_eq!(forwarded(&["for=203.0.113.1;by=10.0.0.9"]), "203.0.113.1");
        assert_eq!(forwarded(&["for=unknown"]), "10.0.0.1");
        assert_eq!(forwarded(&["by=1.2.3.4"]), "10.0.0.1");
        assert_eq!(find("10.0.0.1", "forwarded", &["for=1.1.1.1"], ForwardedHeader::XForwardedFor), "10.0.0.1");
    }
}
