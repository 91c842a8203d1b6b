//! What holds of every judgement of where a request came from, whatever its headers say.

use std::net::IpAddr;

use http::{HeaderValue, Request};
use vestibule::policy::client_address::ForwardedHeader;
use vestibule::policy::facts::Facts;
use vestibule::policy::origin::{self, Source};

const HOST: &str = "app.test:8443";
const OWN: &str = "https://app.test:8443";
const EVIL: &str = "https://evil.test";

/// Checks it for a request that has the lines of `data` in one header or another.
pub(crate) fn check(data: &[u8]) {
    let lines: Vec<&[u8]> =
        data.split(|byte| *byte == b'\n').filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();
    let of = |name| lines.iter().map(|line| (name, *line)).collect::<Vec<_>>();

    // Nothing but the whole of our own origin, once, is our own.
    let is_ours = |origin: &[u8]| origin.starts_with(b"https://") && origin.eq_ignore_ascii_case(OWN.as_bytes());
    let is_own = lines.len() == 1 && is_ours(lines[0]);
    let is_alike = lines.len() == 1 && is_the_same_port_written_otherwise(lines[0]);
    if !is_alike && !lines.is_empty() {
        assert_eq!(judged(None, &of("origin")), if is_own { Source::Own } else { Source::Elsewhere });
    }
    // Fetch Metadata counts before everything else, and has four words of which two are our own.
    let site = [of("sec-fetch-site"), vec![("origin", OWN.as_bytes())]].concat();
    let says_own = lines.is_empty() || lines == [b"same-origin"] || lines == [b"none"];
    assert_eq!(judged(None, &site) == Source::Own, says_own);
    // What leads elsewhere does not begin as an address of ours does, to its path.
    if let ([line], Source::Own) = (&lines[..], judged(None, &of("referer"))) {
        let scheme = b"https://".len();
        let end = line.iter().skip(scheme).position(|byte| b"/?#".contains(byte)).map_or(line.len(), |at| scheme + at);
        assert!(is_ours(&line[..end]) || is_the_same_port_written_otherwise(&line[..end]));
    }
    assert!(lines.is_empty() || judged(None, &of("referer")) != Source::Unsaid);

    // Whatever a client has sent through it, the trusted proxy's own word stands on its right, and counts.
    for (written, name, word) in [
        (ForwardedHeader::XForwardedFor, "x-forwarded-host", "app.test:8443"),
        (ForwardedHeader::Forwarded, "forwarded", "for=192.0.2.1;host=\"app.test:8443\";proto=https"),
    ] {
        let joined = [lines.last().copied().unwrap_or_default(), b", ", word.as_bytes()].concat();
        let before = lines.len().saturating_sub(1);
        let apart = [of(name), vec![(name, word.as_bytes())]].concat();
        let together = [of(name)[..before].to_vec(), vec![(name, &joined[..])]].concat();
        for fields in [apart, together] {
            let with = |origin: &'static str| [fields.clone(), vec![("origin", origin.as_bytes())]].concat();
            assert_eq!(judged(Some(written), &with(OWN)), Source::Own, "{name}");
            assert_eq!(judged(Some(written), &with(EVIL)), Source::Elsewhere, "{name}");
        }
        // From who is not trusted, it says nothing.
        let stranger = [of(name), vec![("origin", OWN.as_bytes())]].concat();
        assert_eq!(judged(None, &stranger), Source::Own, "{name}");
    }

    // What a list of origins takes is written as browsers write it, and is then the same.
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(read) = origin::read(text)
    {
        assert_eq!(origin::read(&read).as_ref(), Ok(&read));
        assert!(!read.ends_with('/') && !read.contains(char::is_whitespace));
    }
}

/// Leading zeros do not make another port.
fn is_the_same_port_written_otherwise(origin: &[u8]) -> bool {
    let port = origin.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    origin.len() > OWN.len() && port.starts_with(b"0") && port.iter().all(u8::is_ascii_digit)
}

fn judged(forwarded: Option<ForwardedHeader>, headers: &[(&str, &[u8])]) -> Source {
    let mut request = Request::post("/").header("host", HOST);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value).expect("it was one before"));
    }
    let parts = request.body(()).expect("a request").into_parts().0;
    let facts = Facts::read(&parts, IpAddr::from([127, 0, 0, 1])).expect("a good request");
    origin::source(&Facts { forwarded, ..facts })
}
