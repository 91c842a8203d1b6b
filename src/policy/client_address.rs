//! Who the client is when trusted proxies stand in front (RFC 7239 section 7.4 and the older `X-Forwarded-For`).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// The client's address: the peer, or, while that is a trusted proxy, whom it says it speaks for, from right to left. A
/// part that is not an address ends the walk at the last proxy that was believed, an empty one too: a proxy that has no
/// address to add may write just that, and what stands on its left may be anybody's.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies, written: ForwardedHeader) -> IpAddr {
    let mut client = canonical(peer);
    if trusted.is_empty() || !trusted.trusts(client) {
        return client;
    }
    let name = match written {
        ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    let values = headers.get_all(name).iter().rev();
    for element in values.flat_map(|value| FromRight { rest: Some(value.as_bytes()), written }).take(MAX_HOPS) {
        let address = match written {
            ForwardedHeader::XForwardedFor => node_address(element.trim_ascii()),
            ForwardedHeader::Forwarded => forwarded_for(element).flatten().and_then(|node| node_address(&node)),
        };
        let Some(address) = address else { break };
        client = canonical(address);
        if !trusted.trusts(client) {
            break;
        }
    }
    client
}

/// Whether a line of `Forwarded` is written as it must be, so that who reads it from the left finds the same elements
/// as who reads it from the right.
pub fn is_forwarded(line: &[u8]) -> bool {
    FromRight { rest: Some(line), written: ForwardedHeader::Forwarded }.all(|element| forwarded_for(element).is_some())
}

/// The elements of a line from right to left, as bytes: what a client wrote on the left, be it no text at all or a
/// quote that is left open, must not change how that is read which proxies added on the right.
struct FromRight<'a> {
    rest: Option<&'a [u8]>,
    written: ForwardedHeader,
}

impl<'a> Iterator for FromRight<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let line = self.rest.take()?;
        let comma = match self.written {
            ForwardedHeader::XForwardedFor => line.iter().rposition(|byte| *byte == b','),
            ForwardedHeader::Forwarded => last_unquoted_comma(line),
        };
        let Some(comma) = comma else { return Some(line) };
        self.rest = Some(&line[..comma]);
        Some(&line[comma + 1..])
    }
}

/// The last comma that is not in a quoted string (RFC 9110 section 5.6.4). A proxy quotes what clients write, like the
/// host they ask for, which may well have a comma.
pub(in crate::policy) fn last_unquoted_comma(line: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        match byte {
            // Within a string, a quote behind an odd number of backslashes is one of its characters.
            b'"' => {
                let backslashes = line[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                is_quoted = !is_quoted || backslashes % 2 == 1;
            }
            b',' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// The `for` parameter of one element of `Forwarded` (RFC 7239 section 4), without quotes, if it has one. `None` when
/// the element is not written as it must be, or has several: they may not occur more than once, and readers differ on
/// which counts.
fn forwarded_for(element: &[u8]) -> Option<Option<Cow<'_, [u8]>>> {
    let mut found = None;
    let mut rest = element.trim_ascii();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b";") {
            rest = after.trim_ascii_start();
            continue;
        }
        let equals = rest.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii_start());
        if !is_token(name) {
            return None;
        }
        let (value, after) = parameter_value(value)?;
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
        rest = after.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b";") {
            return None;
        }
    }
    Some(found)
}

/// A value and what follows it: a quoted string, or everything up to a semicolon. More than RFC 7239 allows without
/// quotes is taken without them: many proxies leave them away around ports and IPv6 addresses.
fn parameter_value(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(mut quoted) = bytes.strip_prefix(b"\"") else {
        let end = bytes.iter().position(|byte| *byte == b';').unwrap_or(bytes.len());
        let value = bytes[..end].trim_ascii_end();
        let is_plain = !value.iter().any(|byte| matches!(byte, b'"' | b'\\'));
        return is_plain.then_some((Cow::Borrowed(value), &bytes[end..]));
    };
    let mut value = Vec::new();
    loop {
        match quoted {
            [b'"', after @ ..] => return Some((Cow::Owned(value), after)),
            [b'\\', byte, after @ ..] | [byte, after @ ..] => {
                value.push(*byte);
                quoted = after;
            }
            [] => return None,
        }
    }
}

/// Whether it is a word as names are (RFC 9110 section 5.6.2).
fn is_token(name: &[u8]) -> bool {
    let is_of_one = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(is_of_one)
}

/// An address with or without a port (RFC 7239 section 6); obfuscated and unknown nodes are none.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = str::from_utf8(node).ok()?;
    if let Ok(address) = node.parse() {
        return Some(address);
    }
    let (address, port) = match node.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (address.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let colon = node.find(':')?;
            (node[..colon].parse::<Ipv4Addr>().ok()?.into(), &node[colon..])
        }
    };
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(address)
}

/// Whether it is a port, or what stands for one that is not told.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(hidden) => {
            !hidden.is_empty() && hidden.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn find_bytes(peer: &str, name: &'static str, values: &[&[u8]], written: ForwardedHeader) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).expect("a value"));
        }
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]);
        client_address(peer.parse().expect("an address"), &headers, &trusted, written).to_string()
    }

    fn find(peer: &str, name: &'static str, values: &[&'static str], written: ForwardedHeader) -> String {
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        find_bytes(peer, name, &values, written)
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

    #[test]
    fn what_a_client_writes_on_the_left_does_not_change_what_proxies_wrote_on_the_right() {
        for left in
            [&b"\xff\xfe"[..], b"caf\xc3\xa9", b"\"", b"for=\"", b"for=6.6.6.6;x=\"", b"\\", b",,;=", b"for=\"\\"]
        {
            for (name, right, written) in [
                ("x-forwarded-for", &b"198.51.100.7"[..], ForwardedHeader::XForwardedFor),
                ("forwarded", b"for=198.51.100.7", ForwardedHeader::Forwarded),
                ("forwarded", b"for=198.51.100.7;host=\"a,b;c\"", ForwardedHeader::Forwarded),
            ] {
                let shown = String::from_utf8_lossy(left);
                let joined = [left, b", ", right].concat();
                assert_eq!(find_bytes("10.0.0.1", name, &[&joined], written), "198.51.100.7", "{shown} in one line");
                assert_eq!(find_bytes("10.0.0.1", name, &[left, right], written), "198.51.100.7", "{shown} in two");
            }
        }
    }

    #[test]
    fn what_is_quoted_parts_nothing() {
        let forwarded = |value| find("10.0.0.1", "forwarded", &[value], ForwardedHeader::Forwarded);
        for spoof in [
            // A proxy that says which host was asked for says what the client wrote: all of these may be in Host.
            r#"for=198.51.100.7;host="evil,for=6.6.6.6;x=""#,
            r#"for=198.51.100.7;host="evil;for=6.6.6.6;x=";proto=https"#,
            r#"host="evil;for=6.6.6.6;x=";for=198.51.100.7"#,
            r#"host="evil,for=6.6.6.6,";for=198.51.100.7"#,
            r#"for=198.51.100.7;host="evil\",for=6.6.6.6;x=\"""#,
            r#"for=198.51.100.7;host="evil\\""#,
            r#"for=6.6.6.6;x="\\", for=198.51.100.7;host="\"\\\"""#,
            r#"for="198.51.100.7";host="a" , for="10.0.0.2" ;host=",""#,
        ] {
            assert_eq!(forwarded(spoof), "198.51.100.7", "{spoof}");
        }
    }

    #[test]
    fn reads_nodes_as_rfc_7239_writes_them() {
        let forwarded = |value| find("10.0.0.1", "forwarded", &[value], ForwardedHeader::Forwarded);
        for (value, expected) in [
            (r#"for="198.51.100.7:4711""#, "198.51.100.7"),
            (r#"for="198.51.100.7:_gazonk""#, "198.51.100.7"),
            (r#"for="198.51.100.7:99999""#, "198.51.100.7"),
            (r#"for="[2001:db8::1]""#, "2001:db8::1"),
            (r#"for="[2001:db8::1]:_a.b-C""#, "2001:db8::1"),
            (r#"For="[2001:DB8::1]:80"; proto=http;by=203.0.113.43"#, "2001:db8::1"),
            (r#"for="\1\98.51.100.7""#, "198.51.100.7"),
            (r#"for="[::ffff:198.51.100.7]""#, "198.51.100.7"),
            (";for=198.51.100.7;;proto=https;", "198.51.100.7"),
            // What is none, or more than one, is not believed, and nothing on its left either.
            (r#"for=6.6.6.6, for="_hidden""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="unknown:80""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="198.51.100.7:""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="198.51.100.7:123456""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="198.51.100.7:_""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="198.51.100.7:+80""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="[198.51.100.7]""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="[2001:db8::1""#, "10.0.0.1"),
            (r#"for=6.6.6.6, for="[2001:db8::1]x""#, "10.0.0.1"),
            ("for=6.6.6.6, for=198.51.100.7;for=198.51.100.8", "10.0.0.1"),
            ("for=6.6.6.6, for=198.51.100.7;FOR=198.51.100.7", "10.0.0.1"),
            (r#"for=6.6.6.6, for="198.51.100.7"x"#, "10.0.0.1"),
            (r#"for=6.6.6.6, for=198.51.100.7;host="#, "198.51.100.7"),
            (r#"for=6.6.6.6, for=198.51.100.7;host"#, "10.0.0.1"),
            ("for=6.6.6.6, ", "10.0.0.1"),
            ("for=6.6.6.6, 198.51.100.7", "10.0.0.1"),
        ] {
            assert_eq!(forwarded(value), expected, "{value}");
        }
    }

    #[test]
    fn no_more_hops_are_followed_than_there_may_be() {
        let hops =
            |count: usize| ["198.51.100.7"].into_iter().chain(vec!["10.0.0.2"; count]).collect::<Vec<_>>().join(", ");
        for (count, expected) in [(MAX_HOPS - 1, "198.51.100.7"), (MAX_HOPS, "10.0.0.2")] {
            let value = hops(count);
            let found = find_bytes("10.0.0.1", "x-forwarded-for", &[value.as_bytes()], ForwardedHeader::XForwardedFor);
            assert_eq!(found, expected, "{count}");
        }
    }
}
