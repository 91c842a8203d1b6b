//! What holds of every client's address that is found, whatever stands in the headers.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use vestibule::base::net::TrustedProxies;
use vestibule::policy::client_address::{ForwardedHeader, client_address, is_forwarded};

const PROXY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const CLIENT: &str = "198.51.100.7";

/// What proxies write of [`CLIENT`].
const WRITTEN: [(ForwardedHeader, &[&str]); 2] = [
    (ForwardedHeader::XForwardedFor, &["198.51.100.7", "198.51.100.7:4711", " 198.51.100.7 "]),
    (
        ForwardedHeader::Forwarded,
        &[
            "for=198.51.100.7",
            "For=\"198.51.100.7:4711\";proto=https",
            "for=198.51.100.7;host=\"evil,for=6.6.6.6;x=\"",
            "host=\"\\\"\\\\\";for=198.51.100.7",
        ],
    ),
];

/// Checks it for a request whose header has the lines of `data`.
pub(crate) fn check(data: &[u8]) {
    let lines: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();
    let (client, trusted) = (CLIENT.parse::<IpAddr>().expect("an address"), trusted());
    for (written, elements) in WRITTEN {
        let find = |peer, lines: &[&[u8]]| client_address(peer, &headers(written, lines), &trusted, written);
        let found = find(PROXY, &lines);

        // Nobody is believed who is not trusted.
        assert_eq!(find(STRANGER, &lines), STRANGER, "a stranger");
        let all = headers(written, &lines);
        assert_eq!(client_address(PROXY, &all, &TrustedProxies::default(), written), PROXY, "nobody is trusted");
        // Nor in the header that is not the proxies'.
        let other = match written {
            ForwardedHeader::XForwardedFor => ForwardedHeader::Forwarded,
            ForwardedHeader::Forwarded => ForwardedHeader::XForwardedFor,
        };
        assert_eq!(client_address(PROXY, &all, &trusted, other), PROXY, "the other header");

        for element in elements {
            // Whatever the client has sent, the proxy's own word stands on its right, and counts.
            let mut added = lines.clone();
            added.push(element.as_bytes());
            assert_eq!(find(PROXY, &added), client, "{element} in a line of its own");
            let joined = [lines.last().copied().unwrap_or_default(), b", ", element.as_bytes()].concat();
            let last = added.len().saturating_sub(2);
            added.truncate(last);
            added.push(&joined);
            assert_eq!(find(PROXY, &added), client, "{element} in the last line");
        }

        // Where a line is written as it must be, reading it from the left finds the same elements.
        let mut parted: Vec<&[u8]> = Vec::new();
        for line in &lines {
            let elements = elements_from_left(line, written);
            assert!(
                elements.is_some() || !is_forwarded(line),
                "what is said to be well-formed is so from the left, too"
            );
            parted.extend(elements.unwrap_or_else(|| vec![line]));
        }
        assert_eq!(find(PROXY, &parted), found, "one element a line");
    }
}

/// The elements of a line; `None` when a quoted string has no end or there is an escape outside of one.
fn elements_from_left(line: &[u8], written: ForwardedHeader) -> Option<Vec<&[u8]>> {
    let (mut elements, mut begin, mut is_quoted, mut at) = (Vec::new(), 0, false, 0);
    while at < line.len() {
        match line[at] {
            b'\\' if written == ForwardedHeader::Forwarded && is_quoted => at += 1,
            b'\\' if written == ForwardedHeader::Forwarded => return None,
            b'"' if written == ForwardedHeader::Forwarded => is_quoted = !is_quoted,
            b',' if !is_quoted => {
                elements.push(&line[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    elements.push(&line[begin..]);
    (!is_quoted && at == line.len()).then_some(elements)
}

fn headers(written: ForwardedHeader, lines: &[&[u8]]) -> HeaderMap {
    let name = match written {
        ForwardedHeader::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
        ForwardedHeader::Forwarded => header::FORWARDED,
    };
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(&name, HeaderValue::from_bytes(line).expect("it was one before"));
    }
    headers
}

fn trusted() -> TrustedProxies {
    TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")])
}
