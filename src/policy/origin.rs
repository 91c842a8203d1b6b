//! Where a request came from, in the words of the browser that made it: the one judgement of the CSRF shield and of our
//! own pages.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::policy::client_address::{ForwardedHeader, last_unquoted_comma};
use crate::policy::facts::Facts;

/// What a browser says of the site that caused a request (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How much of a foreign origin is kept for a log, in bytes: a host name, with what stands around it.
const MAX_CLAIMED: usize = 300;

/// Where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A page of the same origin, or the person themselves.
    Own,
    /// Somewhere else; also where what is said of it is said twice, or cannot be read.
    Elsewhere,
    /// It says nothing of it: no browser of this decade made it.
    Unsaid,
}

/// Whether a method may change something (RFC 9110 section 9.2.1): every one that is not known to change nothing.
pub fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// Where a request came from, judged by the first of `Sec-Fetch-Site`, `Origin` and `Referer` that is present.
///
/// `Sec-Fetch-Site: none` is the person's own doing, as when a browser that was started again sends a form once more: no
/// page can cause it. `same-site` is another host of the domain, which may be anybody's.
pub fn source(facts: &Facts<'_>) -> Source {
    let is_own = if facts.headers.contains_key(SEC_FETCH_SITE) {
        matches!(only(facts.headers, &SEC_FETCH_SITE), Some(b"same-origin" | b"none"))
    } else if facts.headers.contains_key(header::ORIGIN) {
        is_own_origin(facts)
    } else if facts.headers.contains_key(header::REFERER) {
        let origin = only(facts.headers, &header::REFERER).and_then(origin_of_address);
        origin.is_some_and(|origin| is_own(facts, origin))
    } else {
        return Source::Unsaid;
    };
    if is_own { Source::Own } else { Source::Elsewhere }
}

/// Whether the one `Origin` of a request is where it goes, or one of `others`: what a WebSocket must show, since no other
/// rule of browsers keeps a foreign page from opening one (RFC 6455 section 10.2).
pub fn is_own_origin_or(facts: &Facts<'_>, others: &[Box<str>]) -> bool {
    let origin = only(facts.headers, &header::ORIGIN).unwrap_or_default();
    is_own_origin(facts) || others.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(origin))
}

/// What a request says of where it came from, for a log: its `Origin`, or that of its `Referer`, whose path and query are
/// nobody's to write down.
pub fn claimed(headers: &HeaderMap) -> Option<String> {
    let referer = || headers.get(header::REFERER).and_then(|value| origin_of_address(value.as_bytes()));
    let origin = headers.get(header::ORIGIN).map(HeaderValue::as_bytes).or_else(referer)?;
    Some(String::from_utf8_lossy(&origin[..origin.len().min(MAX_CLAIMED)]).into_owned())
}

/// Reads an origin as browsers write it (RFC 6454 section 6.2), for a list of them: without a port where that is the
/// scheme's.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn read(text: &str) -> Result<Box<str>, String> {
    let wrong = || format!("\"{text}\" is not an origin; write one like \"https://app.example.test\"");
    let lower = text.to_ascii_lowercase();
    let (scheme, host) = lower.split_once("://").ok_or_else(wrong)?;
    let is_scheme =
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    let Some((name, port)) = split(host.as_bytes(), 0).filter(|_| is_scheme && host.bytes().all(is_host)) else {
        return Err(wrong());
    };
    let name = String::from_utf8_lossy(name);
    let standard = match scheme {
        "https" | "wss" => 443,
        "http" | "ws" => 80,
        _ => 0,
    };
    let written =
        if port == 0 || port == standard { format!("{scheme}://{name}") } else { format!("{scheme}://{name}:{port}") };
    Ok(written.into())
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then(|| first.as_bytes())
}

fn is_own_origin(facts: &Facts<'_>) -> bool {
    only(facts.headers, &header::ORIGIN).is_some_and(|origin| is_own(facts, origin))
}

/// An address up to its path (RFC 3986 section 3).
fn origin_of_address(address: &[u8]) -> Option<&[u8]> {
    let scheme = address.windows(3).position(|bytes| bytes == b"://")? + 3;
    let end = address[scheme..].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    Some(&address[..end.map_or(address.len(), |end| scheme + end)])
}

/// Whether an origin is the one that the request goes to: scheme, host and port.
fn is_own(facts: &Facts<'_>, origin: &[u8]) -> bool {
    let own = Own::of(facts);
    let rest = match own.is_https {
        true => origin.strip_prefix(b"https://"),
        false => origin.strip_prefix(b"http://"),
    };
    let found = rest.and_then(|rest| split(rest, own.standard_port()));
    found.is_some_and(|(host, port)| host.eq_ignore_ascii_case(own.host) && port == own.port)
}

/// The origin that a request goes to.
struct Own<'a> {
    is_https: bool,
    host: &'a [u8],
    port: u16,
}

impl<'a> Own<'a> {
    /// As the browser named it: by its `Host`, and TLS, which everything here comes by; or, where the proxy that passed it
    /// on is trusted, by what that says of them in the headers that it writes. Of several words the last counts, which is
    /// the proxy's own.
    fn of(facts: &Facts<'a>) -> Self {
        let (proto, host, port) = match facts.forwarded {
            None => (None, None, None),
            Some(ForwardedHeader::XForwardedFor) => {
                let last = |name: &'static str| {
                    let value = facts.headers.get_all(name).iter().next_back()?.as_bytes();
                    value.rsplit(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
                };
                (last("x-forwarded-proto"), last("x-forwarded-host"), last("x-forwarded-port"))
            }
            Some(ForwardedHeader::Forwarded) => {
                let line = facts.headers.get_all(header::FORWARDED).iter().next_back();
                let element = line.map_or(&[][..], |line| last_element(line.as_bytes()));
                (parameter(element, b"proto"), parameter(element, b"host"), None)
            }
        };
        let mut own =
            Self { is_https: proto.is_none_or(|proto| !proto.eq_ignore_ascii_case(b"http")), host: &[], port: 0 };
        let standard = own.standard_port();
        let said = port.and_then(number).unwrap_or(standard);
        // The port that is written with the host is the browser's word; what a proxy says by itself is for where none is.
        let authority = host.filter(|host| split(host, said).is_some()).unwrap_or(facts.authority.as_bytes());
        (own.host, own.port) = split(authority, said).unwrap_or((authority, said));
        own
    }

    const fn standard_port(&self) -> u16 {
        if self.is_https { 443 } else { 80 }
    }
}

/// Host and port; `standard` where there is none.
fn split(authority: &[u8], standard: u16) -> Option<(&[u8], u16)> {
    let bracket = authority.iter().rposition(|byte| *byte == b']').unwrap_or(0);
    let Some(colon) = authority[bracket..].iter().position(|byte| *byte == b':').map(|at| bracket + at) else {
        return (!authority.is_empty()).then_some((authority, standard));
    };
    let (host, port) = (&authority[..colon], &authority[colon + 1..]);
    let port = if port.is_empty() { Some(standard) } else { number(port) };
    port.filter(|_| !host.is_empty()).map(|port| (host, port))
}

fn number(text: &[u8]) -> Option<u16> {
    let is_number = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number).and_then(|text| text.parse().ok())
}

/// The last element of a line of `Forwarded` (RFC 7239 section 4): what the proxy before us wrote.
fn last_element(line: &[u8]) -> &[u8] {
    last_unquoted_comma(line).map_or(line, |comma| &line[comma + 1..])
}

/// A parameter of an element, without quotes. What has backslashes in it is no host and no scheme.
fn parameter<'a>(element: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    element.split(|byte| *byte == b';').find_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        let unquoted = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
        name.eq_ignore_ascii_case(wanted).then(|| unquoted.unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use http::Request;

    use super::*;

    /// Where a request with these headers came from that was sent to `host`, through a proxy that writes `forwarded`.
    fn judged(host: &str, forwarded: Option<ForwardedHeader>, headers: &[(&str, &str)]) -> Source {
        let mut request = Request::post("/").header("host", host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).expect("a request").into_parts().0;
        let client = IpAddr::from([127, 0, 0, 1]);
        source(&Facts { forwarded, ..Facts::read(&parts, client).expect("a good request") })
    }

    #[test]
    fn the_first_header_that_is_present_decides() {
        let judged = |headers: &[(&str, &str)]| judged("a.test:8443", None, headers);
        assert_eq!(judged(&[("sec-fetch-site", "same-origin"), ("origin", "https://evil.test")]), Source::Own);
        assert_eq!(judged(&[("sec-fetch-site", "none"), ("origin", "null")]), Source::Own);
        for site in ["same-site", "cross-site", "", "Same-Origin", "same-origin, same-origin", "same-origin;x", "x"] {
            let headers = [("sec-fetch-site", site), ("origin", "https://a.test:8443")];
            assert_eq!(judged(&headers), Source::Elsewhere, "{site}");
        }
        assert_eq!(judged(&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none")]), Source::Elsewhere);
        for origin in ["https://a.test:8443", "https://A.TEST:8443"] {
            assert_eq!(judged(&[("origin", origin), ("referer", "https://evil.test/")]), Source::Own, "{origin}");
        }
        for origin in [
            "https://a.test",
            "https://a.test:443",
            "http://a.test:8443",
            "null",
            "",
            "https://a.test:8443.evil.test",
            "https://a.test:8443/",
            "https://a.test:8443@evil.test",
            "https://a.test:8443 https://evil.test",
            "https://a.test:8443, https://a.test:8443",
            "https://a.test.:8443",
            "https://a.test:08443x",
            "wss://a.test:8443",
            "a.test:8443",
        ] {
            let headers = [("origin", origin), ("referer", "https://a.test:8443/")];
            assert_eq!(judged(&headers), Source::Elsewhere, "{origin}");
        }
        let own = ("origin", "https://a.test:8443");
        assert_eq!(judged(&[own, own]), Source::Elsewhere, "twice the same is twice");
        for referer in ["https://a.test:8443/x?y", "https://a.test:8443", "https://a.test:8443?x"] {
            assert_eq!(judged(&[("referer", referer)]), Source::Own, "{referer}");
        }
        for referer in [
            "https://a.test:8443@evil.test/",
            "https://evil.test/https://a.test:8443/",
            "https://a.test:8443\\@evil.test/",
            "http://a.test:8443/",
            "/x",
            "",
        ] {
            assert_eq!(judged(&[("referer", referer)]), Source::Elsewhere, "{referer}");
        }
        assert_eq!(judged(&[]), Source::Unsaid);
        assert_eq!(judged(&[("host-x", "a.test")]), Source::Unsaid);
    }

    #[test]
    fn a_port_that_is_the_schemes_need_not_be_written() {
        for (host, origin) in [
            ("a.test", "https://a.test"),
            ("a.test:443", "https://a.test"),
            ("a.test", "https://a.test:443"),
            ("A.test", "https://a.test"),
            ("[::1]:8443", "https://[::1]:8443"),
            ("[::1]", "https://[::1]"),
            ("127.0.0.1:8443", "https://127.0.0.1:8443"),
        ] {
            assert_eq!(judged(host, None, &[("origin", origin)]), Source::Own, "{host} {origin}");
        }
        for (host, origin) in [
            ("a.test", "https://a.test:80"),
            ("a.test:80", "https://a.test"),
            ("[::1]:8443", "https://[::1]"),
            ("[::1]", "https://[::1]:8443"),
            ("[::1]", "https://[::2]"),
        ] {
            assert_eq!(judged(host, None, &[("origin", origin)]), Source::Elsewhere, "{host} {origin}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_how_the_browser_named_us() {
        let (x, rfc) = (Some(ForwardedHeader::XForwardedFor), Some(ForwardedHeader::Forwarded));
        let inner = "inner:8443";
        for (forwarded, headers, origin) in [
            (x, &[("x-forwarded-host", "a.test")][..], "https://a.test"),
            (x, &[("x-forwarded-host", "evil.test, a.test")], "https://a.test"),
            (x, &[("x-forwarded-host", "evil.test"), ("x-forwarded-host", "a.test")], "https://a.test"),
            (x, &[("x-forwarded-host", "a.test:444"), ("x-forwarded-port", "443")], "https://a.test:444"),
            (x, &[("x-forwarded-host", "a.test"), ("x-forwarded-port", "444")], "https://a.test:444"),
            (x, &[("x-forwarded-host", "a.test"), ("x-forwarded-proto", "http")], "http://a.test"),
            (x, &[("x-forwarded-proto", "https")], "https://inner:8443"),
            (rfc, &[("forwarded", "for=192.0.2.1;host=a.test;proto=https")], "https://a.test"),
            (rfc, &[("forwarded", "host=evil.test, for=x; Host=\"a.test:444\"")], "https://a.test:444"),
            (rfc, &[("forwarded", "for=x;proto=http;host=\"a.test\"")], "http://a.test"),
            // The word of the header that it does not write is anybody's.
            (rfc, &[("x-forwarded-host", "evil.test")], "https://inner:8443"),
            (x, &[("forwarded", "host=evil.test")], "https://inner:8443"),
            (None, &[("x-forwarded-host", "evil.test"), ("forwarded", "host=evil.test")], "https://inner:8443"),
        ] {
            let with = |origin| [headers, &[("origin", origin)]].concat();
            assert_eq!(judged(inner, forwarded, &with(origin)), Source::Own, "{headers:?}");
            assert_eq!(judged(inner, forwarded, &with("https://evil.test")), Source::Elsewhere, "{headers:?}");
        }
        assert_eq!(
            judged("a.test", x, &[("x-forwarded-port", "8443"), ("origin", "https://a.test:8443")]),
            Source::Own
        );
    }

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for (text, read_as) in [
            ("https://App.test", "https://app.test"),
            ("https://app.test:443", "https://app.test"),
            ("http://app.test:80", "http://app.test"),
            ("https://app.test:8443", "https://app.test:8443"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(read_as));
        }
        for wrong in [
            "",
            "null",
            "*",
            "app.test",
            "https://",
            "https://app.test/",
            "https://a.test:x",
            "https://a b",
            "://a",
            "https://*.test",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_logged_of_it_has_no_path_and_an_end() {
        let claimed = |name, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            claimed(&headers)
        };
        assert_eq!(claimed("referer", "https://evil.test/secret?token=1").as_deref(), Some("https://evil.test"));
        assert_eq!(claimed("origin", &"x".repeat(5000)).map(|text| text.len()), Some(MAX_CLAIMED));
        assert_eq!((claimed("referer", "about:blank"), claimed("host", "a.test")), (None, None));
    }
}
