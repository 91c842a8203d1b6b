//! What a request says of itself, read once and checked, before any decision.

use std::borrow::Cow;
use std::net::IpAddr;

use http::request::Parts;
use http::{HeaderMap, Method, header};

use crate::policy::client_address::ForwardedHeader;
use crate::policy::path::{PathFault, RequestPath};
use crate::session::binding::TlsFingerprint;

/// The longest host name that is read (RFC 1035 section 2.3.4).
pub const MAX_HOST: usize = 253;

/// What decisions are made from.
#[derive(Clone, Debug)]
pub struct Facts<'request> {
    /// The method.
    pub method: &'request Method,
    /// The host that was asked for: lower case, no port, no trailing dot.
    pub host: Cow<'request, str>,
    /// The host as it was written, with its port: what origins are compared with and the application is told.
    pub authority: &'request str,
    /// The path.
    pub path: RequestPath<'request>,
    /// The client's address.
    pub client: IpAddr,
    /// The user agent, empty when there is none.
    pub user_agent: &'request [u8],
    /// The fingerprint of the TLS that it came by.
    pub tls: TlsFingerprint,
    /// Its headers, for what only some requests are asked.
    pub headers: &'request HeaderMap,
    /// In which header the proxy that passed it on says how its client named us, where that proxy is trusted.
    pub forwarded: Option<ForwardedHeader>,
    /// Whether it asks for a WebSocket.
    pub is_websocket: bool,
    /// The synchroniser token in its form, where that was looked for.
    pub form_token: Option<&'request str>,
}

/// Why a request is refused before any decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Its path.
    Path(PathFault),
    /// It names no host, several, or something that is no host.
    Host,
    /// The host in its target is not the one in its `Host` header.
    HostsDiffer,
    /// Its target is for proxies that tunnel (`CONNECT`, `*`).
    Target,
    /// Its body is coded in a way that only the client understands (RFC 9112 section 6.1).
    TransferCoding,
    /// It asks for a WebSocket and has a body, which would then be its first frames.
    UpgradeWithBody,
}

impl BadRequest {
    /// What the client is told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Path(fault) => fault.sentence(),
            Self::Host => "The request must name exactly one valid host.",
            Self::HostsDiffer => "The host in the request's target is not the one in its Host header.",
            Self::Target => "This is not a request that a web application can answer.",
            Self::TransferCoding => "The request's body has a transfer coding that is not understood here.",
            Self::UpgradeWithBody => "A request for a WebSocket must not have a body.",
        }
    }
}

impl<'request> Facts<'request> {
    /// Reads the facts of a request whose client has been determined. What the connection knows is not in the request:
    /// its TLS is left unknown, and no proxy is trusted.
    ///
    /// # Errors
    /// What makes the request one that must not be decided on.
    pub fn read(parts: &'request Parts, client: IpAddr) -> Result<Self, BadRequest> {
        if parts.method == Method::CONNECT {
            return Err(BadRequest::Target);
        }
        let authority = authority(parts)?;
        let path = RequestPath::read(parts.uri.path()).map_err(BadRequest::Path)?;
        let user_agent = parts.headers.get(header::USER_AGENT).map_or(&[][..], |value| value.as_bytes());
        let (host, tls) = (host_name(authority)?, TlsFingerprint::UNKNOWN);
        Ok(Self {
            method: &parts.method,
            host,
            authority,
            path,
            client,
            user_agent,
            tls,
            headers: &parts.headers,
            forwarded: None,
            is_websocket: false,
            form_token: None,
        })
    }
}

/// The host that a request names, as [`Facts::host`] has it: for what is to be known of one that is refused.
///
/// # Errors
/// What is wrong with it.
pub fn host(parts: &Parts) -> Result<Cow<'_, str>, BadRequest> {
    authority(parts).and_then(host_name)
}

/// The one host that a request names (RFC 9112 section 3.2): in its target, in its `Host` header, or the same in both.
fn authority(parts: &Parts) -> Result<&str, BadRequest> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.to_str().map_err(|_| BadRequest::Host)?),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(BadRequest::Host),
    };
    match (parts.uri.authority().map(http::uri::Authority::as_str), host) {
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => Err(BadRequest::HostsDiffer),
        (Some(only), _) | (None, Some(only)) => Ok(only),
        (None, None) => Err(BadRequest::Host),
    }
}

/// The name in an authority, as routes are matched with.
fn host_name(authority: &str) -> Result<Cow<'_, str>, BadRequest> {
    let name = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(BadRequest::Host)?;
            let is_address = address.parse::<std::net::Ipv6Addr>().is_ok();
            if !is_address || !(after.is_empty() || is_port(after)) {
                return Err(BadRequest::Host);
            }
            &authority[..address.len() + 2]
        }
        None => {
            let (name, port) = authority.find(':').map_or((authority, ""), |at| authority.split_at(at));
            let name = name.strip_suffix('.').unwrap_or(name);
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            // An application may take "a.test.." for "a.test", which may be somebody else's.
            let has_empty_label = name.starts_with('.') || name.ends_with('.') || name.contains("..");
            let port_is_good = port.is_empty() || is_port(port);
            if name.is_empty()
                || name.len() > MAX_HOST
                || has_empty_label
                || !port_is_good
                || !name.bytes().all(is_name)
            {
                return Err(BadRequest::Host);
            }
            name
        }
    };
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Ok(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Ok(Cow::Borrowed(name))
    }
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| {
        digits.len() <= 5
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits.is_empty() || digits.parse::<u16>().is_ok())
    })
}

/// Whether the client names HTML among what it takes.
pub fn wants_html(headers: &HeaderMap) -> bool {
    headers.get_all(header::ACCEPT).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|part| {
            let kind = part.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            kind.eq_ignore_ascii_case(b"text/html") || kind.eq_ignore_ascii_case(b"application/xhtml+xml")
        })
    })
}

/// What a request expects of whoever answers it (RFC 9110 section 10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Nothing in particular.
    Nothing,
    /// To be told to go on before it sends its body.
    Continue,
    /// Something else, which nobody here knows, and nobody is told of.
    Unknown,
}

/// What a request expects. What is written in quotes is no name that anybody knows, so commas in them do not matter.
pub fn expectation(headers: &HeaderMap) -> Expectation {
    let mut expected = Expectation::Nothing;
    for value in headers.get_all(header::EXPECT) {
        for member in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if member.eq_ignore_ascii_case(b"100-continue") {
                expected = Expectation::Continue;
            } else if !member.is_empty() {
                return Expectation::Unknown;
            }
        }
    }
    expected
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn host(target: &str, headers: &[(&str, &str)]) -> Result<String, BadRequest> {
        let parts = parts(target, headers);
        Facts::read(&parts, IpAddr::from([127, 0, 0, 1])).map(|facts| facts.host.into_owned())
    }

    #[test]
    fn one_host_in_one_form() {
        assert_eq!(host("/", &[("host", "App.Example.Test.:8443")]).as_deref(), Ok("app.example.test"));
        assert_eq!(host("/", &[("host", "[::1]:8443")]).as_deref(), Ok("[::1]"));
        assert_eq!(host("https://a.test/", &[]).as_deref(), Ok("a.test"));
        assert_eq!(host("https://A.test/", &[("host", "a.test")]).as_deref(), Ok("a.test"));
        assert_eq!(host("https://a.test/", &[("host", "b.test")]), Err(BadRequest::HostsDiffer));
        assert_eq!(host("/", &[("host", "a.test"), ("host", "a.test")]), Err(BadRequest::Host));
        for wrong in [
            "",
            ".",
            "a.test..",
            ".a.test",
            "a..test",
            "a b",
            "a.test:80:80",
            "a.test:x",
            "a.test:99999",
            "user@a.test",
            "[::1",
            "[x]",
            "a/b",
            "a,b",
        ] {
            assert_eq!(host("/", &[("host", wrong)]), Err(BadRequest::Host), "{wrong}");
        }
        assert_eq!(host("/", &[]), Err(BadRequest::Host));
    }
}
