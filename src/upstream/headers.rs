//! What is taken out of a message and put into it on its way through (RFC 9110 section 7.6).

use std::fmt::Write;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::base::net::TrustedProxies;
use crate::policy::client_address::{ForwardedHeader, is_forwarded};

/// How many names in `Connection` are followed; a client that sends more gets the rest forwarded as they are.
const MAX_CONNECTION_NAMES: usize = 32;

/// Whether a field is for one connection only, whatever `Connection` names.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Takes out what is for one connection only, and what `also` names, in one pass: nearly always there is nothing.
pub fn remove_hop_by_hop(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let mut found: Vec<HeaderName> = Vec::new();
    let mut has_connection = false;
    for name in headers.keys() {
        let text = name.as_str();
        if is_hop_by_hop(text) || also(text) {
            has_connection |= *name == header::CONNECTION;
            found.push(name.clone());
        }
    }
    if has_connection {
        let named = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // What frames the message and says where it goes is never one hop's own affair.
            .filter(|name| {
                !matches!(*name, header::HOST | header::CONTENT_LENGTH | header::COOKIE | header::SET_COOKIE)
            });
        found.extend(named.take(MAX_CONNECTION_NAMES));
    }
    for name in found {
        headers.remove(name);
    }
}

/// Says that trailers are welcome: for one hop only, so it is said anew for the next (RFC 9110 section 10.1.4). Some
/// servers send them to nobody else.
pub fn say_takes_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("TE"));
}

/// Headers by which proxies tell applications where a request really comes from or goes to. Whoever is no trusted proxy has
/// nothing to say here: an application that believes one of them answers for another path, host or client than the one
/// that was decided on. In lower case, underscores for whatever is no letter or digit.
const PROXYS_WORDS: &[&str] = &[
    "cf_connecting_ip",
    "client_ip",
    "cluster_client_ip",
    "fastly_client_ip",
    "front_end_https",
    "true_client_ip",
    "x_arr_ssl",
    "x_client_ip",
    "x_cluster_client_ip",
    "x_forwarded",
    "x_host",
    "x_http_host_override",
    "x_original_forwarded_for",
    "x_original_host",
    "x_original_uri",
    "x_originating_ip",
    "x_remote_addr",
    "x_remote_ip",
    "x_scheme",
    "x_url_scheme",
];

/// Beginnings of such headers.
const PROXYS_PREFIXES: &[&str] = &["x_forwarded_", "x_ssl_", "x_client_cert", "x_envoy_", "ssl_client_"];

/// What makes some applications serve another path than the one that was asked for and decided on. Whoever says it.
const OTHER_PATHS: &[&str] = &["x_original_url", "x_rewrite_url"];

/// Whether a field is a proxy's word, in whatever spelling a CGI would take for it, and not one that a trusted proxy says:
/// of the two families of headers it has `written` one, and clients' own of the other went through it. `Proxy` is nobody's: CGI makes `HTTP_PROXY` of it, which steers the application's own requests (CVE-2016-5385 and its kin).
pub fn is_a_proxys_word(name: &str, written: Option<ForwardedHeader>) -> bool {
    // Most names begin with another letter.
    if !matches!(name.as_bytes().first(), Some(b'c' | b'f' | b'p' | b's' | b't' | b'x')) {
        return false;
    }
    let folded = || name.bytes().map(|byte| if byte.is_ascii_alphanumeric() { byte } else { b'_' });
    let begins = |prefix: &&str| name.len() >= prefix.len() && folded().take(prefix.len()).eq(prefix.bytes());
    let is = |known: &&str| name.len() == known.len() && folded().eq(known.bytes());
    if name == "proxy" || OTHER_PATHS.iter().any(is) {
        return true;
    }
    match written {
        None => PROXYS_PREFIXES.iter().any(begins) || PROXYS_WORDS.iter().any(is),
        Some(ForwardedHeader::XForwardedFor) => false,
        Some(ForwardedHeader::Forwarded) => begins(&"x_forwarded_"),
    }
}

/// What is known of the client's side of a request.
#[derive(Clone, Copy, Debug)]
pub struct ClientSide<'a> {
    /// Who is connected to us.
    pub peer: IpAddr,
    /// Whether the peer may say for whom it speaks, if it is trusted.
    pub may_forward: bool,
    /// Who the client is, once trusted proxies have been believed.
    pub client: IpAddr,
    /// The host as asked for, with its port.
    pub authority: &'a str,
}

/// What trusted proxies had said, taken before everything of that name is deleted.
#[derive(Debug, Default)]
pub struct Believed {
    forwarded_for: Option<HeaderValue>,
    forwarded: Option<HeaderValue>,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
    port: Option<HeaderValue>,
}

impl Believed {
    /// What `peer` says of those it speaks for: nothing, unless it is trusted, and then only in the headers that it
    /// writes. The others are whatever the client sent through it.
    pub fn from(headers: &HeaderMap, peer: IpAddr, trusted: &TrustedProxies, written: ForwardedHeader) -> Self {
        if trusted.is_empty() || !trusted.trusts(peer) {
            return Self::default();
        }
        if written == ForwardedHeader::Forwarded {
            // The application reads the chain from the left, where a client may have begun it with an open quote.
            let forwarded = joined(headers, &header::FORWARDED).filter(|chain| is_forwarded(chain.as_bytes()));
            return Self { forwarded, ..Self::default() };
        }
        // The last line of each: a proxy that adds its own leaves the client's before it.
        let one = |name: &'static str| headers.get_all(name).iter().next_back().cloned();
        let proto = one("x-forwarded-proto").filter(|proto| matches!(proto.as_bytes(), b"http" | b"https"));
        Self {
            forwarded_for: joined(headers, &HeaderName::from_static("x-forwarded-for")),
            forwarded: None,
            proto,
            host: one("x-forwarded-host"),
            port: one("x-forwarded-port"),
        }
    }
}

/// The values of a list field as one.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let mut all = first.as_bytes().to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_bytes(&all).ok()
}

/// What the gateway says of the client when no proxy is believed: the same for every request of a connection to one
/// host, so it is written once.
#[derive(Clone, Debug)]
pub struct ClientFields {
    authority: Box<str>,
    values: [(HeaderName, HeaderValue); 6],
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

impl ClientFields {
    /// Says who the client is, in every form applications read: `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`,
    /// `X-Real-IP`, and `Forwarded` (RFC 7239). `None` when the host cannot be written in a field.
    pub fn new(side: ClientSide<'_>, believed: &Believed) -> Option<Self> {
        let written = |text: String| HeaderValue::try_from(text).ok();
        let shown =
            |value: &Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok()).map(str::to_owned);
        let forwarded_for = match shown(&believed.forwarded_for) {
            Some(earlier) => format!("{earlier}, {}", side.peer),
            None => side.client.to_string(),
        };
        let proto = believed.proto.clone().unwrap_or(HeaderValue::from_static("https"));
        // Without a chain to continue, the client stands for all that is between us.
        let (mut forwarded, node) = match shown(&believed.forwarded) {
            Some(earlier) => (format!("{earlier}, "), side.peer),
            None => (String::new(), side.client),
        };
        // Writing into a string does not fail.
        let _ = match node {
            IpAddr::V4(address) => write!(forwarded, "for={address}"),
            IpAddr::V6(address) => write!(forwarded, "for=\"[{address}]\""),
        };
        let _ = write!(forwarded, ";host=\"{}\";proto={}", side.authority, proto.to_str().unwrap_or("https"));
        let host = believed.host.clone().or_else(|| written(side.authority.to_owned()))?;
        let port = believed.port.clone().unwrap_or_else(|| HeaderValue::from(port_of(side.authority)));
        let values = [
            (X_FORWARDED_FOR, written(forwarded_for)?),
            (X_FORWARDED_PROTO, proto),
            (X_FORWARDED_HOST, host),
            (X_FORWARDED_PORT, port),
            (X_REAL_IP, written(side.client.to_string())?),
            (header::FORWARDED, written(forwarded)?),
        ];
        Some(Self { authority: side.authority.into(), values })
    }

    /// Whether these are the fields of a request for `authority`.
    pub fn fit(&self, authority: &str) -> bool {
        *self.authority == *authority
    }

    /// Writes them.
    pub fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.values {
            headers.insert(name, value.clone());
        }
    }
}

/// The port that the client asked for: behind a mapping of ports, not the one we listen on.
fn port_of(authority: &str) -> u16 {
    let after = authority.rsplit_once(':').map(|(_, port)| port);
    after.and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT)
}

/// What `https` means without a port (RFC 9110 section 4.2.2).
const DEFAULT_PORT: u16 = 443;

/// Takes cookies of these names out of a request; names are compared without regard to letter case, so that no
/// application sees a near miss either. Several `Cookie` fields, as HTTP/2 has them, become one (RFC 9113 8.2.3).
pub fn remove_cookies(headers: &mut HeaderMap, names: &[impl AsRef<str>]) {
    let mut values = headers.get_all(header::COOKIE).iter();
    let Some(first) = values.next() else { return };
    let is_single = values.next().is_none();
    let is_ours = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        names.iter().any(|ours| name.eq_ignore_ascii_case(ours.as_ref().as_bytes()))
    };
    if is_single && !first.as_bytes().split(|byte| *byte == b';').any(is_ours) {
        return;
    }
    let mut kept: Vec<u8> = Vec::with_capacity(first.len());
    for value in headers.get_all(header::COOKIE) {
        for pair in value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii) {
            if pair.is_empty() || is_ours(pair) {
                continue;
            }
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    match HeaderValue::try_from(kept) {
        Ok(kept) if !kept.is_empty() => {
            headers.insert(header::COOKIE, kept);
        }
        Ok(_) | Err(_) => {
            headers.remove(header::COOKIE);
        }
    }
}

/// Whether a field of an answer is one that only the gateway may say: it clears what a browser keeps, or binds sessions to
/// devices.
pub(super) fn is_for_the_gateway_to_say(name: &str) -> bool {
    matches!(name, "clear-site-data" | "secure-session-registration" | "secure-session-challenge")
}

/// Takes out of an application's answer what is for one connection only and what only the gateway may say: our cookies
/// in any letter case, nameless cookies that a browser could take for them (RFC 6265bis section 5.7),
/// `Clear-Site-Data`, and the fields of device-bound sessions.
pub fn guard_answer(headers: &mut HeaderMap, names: &[impl AsRef<str>]) {
    remove_hop_by_hop(headers, is_for_the_gateway_to_say);
    if !headers.contains_key(header::SET_COOKIE) {
        return;
    }
    let fakes = |value: &HeaderValue| {
        let pair = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        let (name, rest) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()),
            None => (&[][..], pair.trim_ascii()),
        };
        // A cookie without a name is sent as its bare value, so the value must not begin like one of ours.
        let begins_like =
            |ours: &str| rest.get(..ours.len()).is_some_and(|start| start.eq_ignore_ascii_case(ours.as_bytes()));
        names
            .iter()
            .map(AsRef::as_ref)
            .any(|ours| if name.is_empty() { begins_like(ours) } else { name.eq_ignore_ascii_case(ours.as_bytes()) })
    };
    if headers.get_all(header::SET_COOKIE).iter().any(fakes) {
        let kept: Vec<HeaderValue> =
            headers.get_all(header::SET_COOKIE).iter().filter(|value| !fakes(value)).cloned().collect();
        headers.remove(header::SET_COOKIE);
        for value in kept {
            headers.append(header::SET_COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["__Host-session", "__Host-login"];

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut all: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
        all.sort();
        all
    }

    #[test]
    fn takes_out_what_is_for_one_hop() {
        let mut headers = map(&[
            ("connection", "close, X-Own, cookie,host, not a name"),
            ("x-own", "1"),
            ("host", "a.test"),
            ("cookie", "a=b"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-connection", "close"),
            ("accept", "*/*"),
        ]);
        remove_hop_by_hop(&mut headers, |_| false);
        assert_eq!(shown(&headers), ["accept: */*", "cookie: a=b", "host: a.test"]);
    }

    #[test]
    fn our_cookies_stay_here_and_the_applications_pass() {
        for (cookies, kept) in [
            (&["a=1; __Host-session=x; b=2"][..], Some("a=1; b=2")),
            (&["__Host-session=x"], None),
            (&["__host-SESSION=x; a=1"], Some("a=1")),
            (&["__Host-session; a=1"], Some("a=1")),
            (&["a=1;  b=\"x y\""], Some("a=1;  b=\"x y\"")),
            (&["a=1", "__Host-login=x", "b=2; c"], Some("a=1; b=2; c")),
            (&["__Host-session2=x"], Some("__Host-session2=x")),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::COOKIE, HeaderValue::from_static(cookie));
            }
            remove_cookies(&mut headers, NAMES);
            assert_eq!(headers.get(header::COOKIE).map(|value| value.to_str().expect("text")), kept, "{cookies:?}");
            assert!(headers.get_all(header::COOKIE).iter().count() <= 1);
        }
    }

    #[test]
    fn an_application_cannot_set_our_cookies() {
        let mut headers = map(&[
            ("set-cookie", "JSESSIONID=1; Path=/"),
            ("set-cookie", "__Host-session=evil; Path=/; Secure"),
            ("set-cookie", "__HOST-SESSION=evil"),
            ("set-cookie", " __Host-login = evil"),
            ("set-cookie", "=__Host-session=evil"),
            ("set-cookie", "__Host-session"),
            ("set-cookie", "=plain"),
            ("clear-site-data", "\"cookies\""),
            ("secure-session-registration", "(ES256)"),
        ]);
        guard_answer(&mut headers, NAMES);
        assert_eq!(shown(&headers), ["set-cookie: =plain", "set-cookie: JSESSIONID=1; Path=/"]);
    }

    #[test]
    fn says_who_the_client_is_and_believes_only_trusted_proxies() {
        let side = ClientSide {
            peer: IpAddr::from([192, 0, 2, 1]),
            may_forward: true,
            client: IpAddr::from([192, 0, 2, 1]),
            authority: "app.test:8443",
        };
        let claimed =
            map(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "http"), ("forwarded", "for=1.1.1.1")]);
        let trusted = TrustedProxies::new(vec!["192.0.2.0/24".parse().expect("a network")]);
        let mut headers = HeaderMap::new();
        let nobody = Believed::from(&claimed, side.peer, &TrustedProxies::default(), ForwardedHeader::XForwardedFor);
        ClientFields::new(side, &nobody).expect("fields").write(&mut headers);
        assert_eq!(
            shown(&headers),
            [
                "forwarded: for=192.0.2.1;host=\"app.test:8443\";proto=https",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: app.test:8443",
                "x-forwarded-port: 8443",
                "x-forwarded-proto: https",
                "x-real-ip: 192.0.2.1"
            ]
        );
        let behind = ClientSide { client: IpAddr::from([1, 1, 1, 1]), ..side };
        let write = |written| {
            let mut headers = HeaderMap::new();
            let believed = Believed::from(&claimed, side.peer, &trusted, written);
            ClientFields::new(behind, &believed).expect("fields").write(&mut headers);
            headers
        };
        let headers = write(ForwardedHeader::XForwardedFor);
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 192.0.2.1");
        assert_eq!(headers["x-real-ip"], "1.1.1.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["forwarded"], "for=1.1.1.1;host=\"app.test:8443\";proto=http");
        let headers = write(ForwardedHeader::Forwarded);
        assert_eq!(headers["forwarded"], "for=1.1.1.1, for=192.0.2.1;host=\"app.test:8443\";proto=https");
        assert_eq!(headers["x-forwarded-for"], "1.1.1.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
    }
}
