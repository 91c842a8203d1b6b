//! Who may come in by an address: whoever knows the token, and calls it by a name of its own.
//!
//! Any page can make a browser on this machine ask a loopback address, and by a name of the page's own that leads there (DNS
//! rebinding) it could even read the answer. Such a request has the page's name as its host, and no token.

use std::net::IpAddr;

use http::{HeaderMap, Request, header};
use subtle::ConstantTimeEq;

use crate::base::net::canonical;
use crate::base::secret::Secret;

/// The shortest token, in characters: 128 bits, when they are hexadecimal digits.
pub const MIN_TOKEN_CHARS: usize = 32;

/// Whether `token` can be one.
///
/// # Errors
/// What is wrong with it. Nothing of it is in that.
pub fn check_token(token: &str) -> Result<(), String> {
    let length = token.chars().count();
    if length < MIN_TOKEN_CHARS {
        return Err(format!("this token has {length} characters, and could be guessed"));
    }
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("this token has characters that cannot be sent in a header".to_owned())
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who may open the Unix socket.
    Socket {
        /// The user their process runs as, if the system says so.
        uid: Option<u32>,
    },
    /// Somebody who knows the token.
    Token {
        /// Where they are.
        from: IpAddr,
    },
}

impl Caller {
    /// As the audit log names them.
    pub fn name(self) -> String {
        match self {
            Self::Socket { uid: Some(uid) } => format!("admin:uid={uid}"),
            Self::Socket { uid: None } => "admin:socket".to_owned(),
            Self::Token { .. } => "admin:token".to_owned(),
        }
    }

    /// Where they are.
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Socket { .. } => None,
            Self::Token { from } => Some(from),
        }
    }
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// They called us by a name that is not ours.
    Host,
    /// They do not know the token.
    Token,
}

impl Refused {
    /// The name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Token => "token",
        }
    }
}

/// What is asked of whoever comes.
pub struct Guard {
    token: Secret<String>,
    names: Names,
}

/// By which names an address may be called: those of loopback, and others in lower case.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Box<str>>);

impl Guard {
    /// Asks for `token`, and for one of `hosts` (lower case) or a name of loopback.
    pub const fn new(token: Secret<String>, hosts: Vec<Box<str>>) -> Self {
        Self { token, names: Names(hosts) }
    }

    /// Whether a request may come in.
    ///
    /// # Errors
    /// Why not.
    pub fn admit<B>(&self, request: &Request<B>) -> Result<(), Refused> {
        if !self.names.are_called_by(request) {
            return Err(Refused::Host);
        }
        let given = only(request.headers(), header::AUTHORIZATION).and_then(|given| {
            let (scheme, token) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_ascii().as_bytes())
        });
        let is_right = given.is_some_and(|given| bool::from(given.ct_eq(self.token.expose().as_bytes())));
        if is_right { Ok(()) } else { Err(Refused::Token) }
    }
}

impl Names {
    /// Whether a request calls nobody: no browser leaves that out, and old health checks do.
    pub(crate) fn is_called_nothing<B>(request: &Request<B>) -> bool {
        !request.headers().contains_key(header::HOST) && request.uri().authority().is_none()
    }

    /// Whether a request calls one of them.
    pub(crate) fn are_called_by<B>(&self, request: &Request<B>) -> bool {
        let Some(named) = only(request.headers(), header::HOST) else { return false };
        // What the target names, if it does, is what counts (RFC 9112 section 3.2.2), so both are looked at.
        [Some(named), request.uri().authority().map(http::uri::Authority::as_str)].into_iter().flatten().all(|named| {
            let host = without_port(named);
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            let is_loopback = address.map_or(host.eq_ignore_ascii_case("localhost"), |it| canonical(it).is_loopback());
            is_loopback || self.0.iter().any(|known| known.eq_ignore_ascii_case(host))
        })
    }
}

/// The one value of a field; none when there are several.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

fn without_port(named: &str) -> &str {
    match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains("::") => host,
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && host.ends_with(']') => host,
        Some(_) | None => named,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn asked(hosts: &[&str], authorization: &[&str]) -> Result<(), Refused> {
        let mut request = Request::get("/status");
        for host in hosts {
            request = request.header("host", *host);
        }
        for value in authorization {
            request = request.header("authorization", *value);
        }
        let guard = Guard::new(Secret::new(TOKEN.to_owned()), vec!["admin.example.test".into()]);
        guard.admit(&request.body(()).expect("a request"))
    }

    #[test]
    fn only_the_token_lets_in_and_only_by_a_name_of_ours() {
        let right = format!("Bearer {TOKEN}");
        for host in [
            "localhost",
            "LOCALHOST:9902",
            "127.0.0.1:9902",
            "127.8.8.8",
            "[::1]",
            "[::1]:9902",
            "[::ffff:127.0.0.1]:1",
            "admin.example.test:9902",
            "Admin.Example.Test",
        ] {
            assert_eq!(asked(&[host], &[&right]), Ok(()), "{host}");
            assert_eq!(asked(&[host], &[]), Err(Refused::Token), "{host}");
        }
        for host in [
            "evil.test",
            "evil.test:9902",
            "localhost.evil.test",
            "evil.test:localhost",
            "192.0.2.1:9902",
            "[::2]:9902",
            "127.0.0.1.evil.test",
            "localhost@evil.test",
            "",
        ] {
            assert_eq!(asked(&[host], &[&right]), Err(Refused::Host), "{host}");
        }
        assert_eq!(asked(&[], &[&right]), Err(Refused::Host), "without a host");
        assert_eq!(asked(&["localhost", "evil.test"], &[&right]), Err(Refused::Host), "with two");
        let longer = format!("{right}0");
        for wrong in ["", "Bearer", "Bearer ", TOKEN, &right[..right.len() - 1], &longer, "Basic Og==", "Bearer x"] {
            assert_eq!(asked(&["localhost"], &[wrong]), Err(Refused::Token), "{wrong}");
        }
        assert_eq!(asked(&["localhost"], &[&right, &right]), Err(Refused::Token), "with two");
        assert_eq!(asked(&["localhost"], &[&format!("bearer {TOKEN}")]), Ok(()), "schemes have no case");
    }

    #[test]
    fn a_token_is_long_and_can_be_sent() {
        assert_eq!(check_token(TOKEN), Ok(()));
        assert!(check_token(&TOKEN[1..]).is_err_and(|why| why.contains("31 characters")));
        assert!(check_token(&TOKEN.replace('0', " ")).is_err());
        assert!(check_token(&TOKEN.replace('0', "é")).is_err());
    }
}
