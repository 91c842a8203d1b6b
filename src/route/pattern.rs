//! What a route matches: a host and a path prefix of whole segments.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a path has that is not written as it is (RFC 3986 section 3.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The host part of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Every host: `"*"`.
    Any,
    /// Every host below a domain, the domain itself not among them: `"*.example.test"`, kept with its dot.
    Below(Box<str>),
    /// One host.
    Exact(Box<str>),
}

impl HostPattern {
    /// Reads a host pattern.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && !name.ends_with('.')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        };
        let is_v6 = lower
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
        match lower.strip_prefix('*') {
            Some("") => Ok(Self::Any),
            Some(rest) if rest.strip_prefix('.').is_some_and(is_name) => Ok(Self::Below(rest.into())),
            None if is_name(&lower) || is_v6 => Ok(Self::Exact(lower.into())),
            Some(_) | None => Err(format!(
                "\"{text}\" is not a host; write a name without a port like \"app.example.test\", \"*.example.test\", or \"*\""
            )),
        }
    }
}

impl HostPattern {
    /// Whether every host that it matches is one of `wide` too, and not the other way round.
    pub fn is_below(&self, wide: &Self) -> bool {
        match (self, wide) {
            (Self::Below(_) | Self::Exact(_), Self::Any) => true,
            (Self::Below(own) | Self::Exact(own), Self::Below(wide)) => {
                own.len() > wide.len() && own.ends_with(&**wide)
            }
            (Self::Any, _) | (_, Self::Exact(_)) => false,
        }
    }
}

impl Display for HostPattern {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => formatter.write_str("*"),
            Self::Below(domain) => write!(formatter, "*{domain}"),
            Self::Exact(name) => formatter.write_str(name),
        }
    }
}

/// A path prefix of whole segments: `/admin` is `/admin` and all below it, and not `/administrator`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(Box<str>);

impl PathPrefix {
    /// Reads a prefix; a slash at the end says nothing.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("\"{text}\" {why}; write whole segments as a person reads them, like \"/\" or \"/admin\"")
        };
        if !text.starts_with('/') {
            return Err(wrong("does not begin with a slash"));
        }
        if text.bytes().any(|byte| {
            matches!(byte, b'*' | b'?' | b'#' | b'%' | b';' | b'\\' | b'{' | b'}' | b'^' | b'|')
                || byte <= b' '
                || byte == 0x7f
        }) {
            return Err(wrong("has a character that no prefix has (there are no patterns and no regular expressions)"));
        }
        let trimmed = text.trim_end_matches('/');
        if trimmed.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(wrong("has an empty or a dot segment"));
        }
        Ok(Self(trimmed.into()))
    }

    /// The prefix without a slash at its end: empty for the whole host.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The prefix as a person writes it.
    pub fn shown(&self) -> Cow<'_, str> {
        if self.0.is_empty() { Cow::Borrowed("/") } else { Cow::Borrowed(&self.0) }
    }

    /// The prefix as it stands in a request.
    pub fn encoded(&self) -> String {
        utf8_percent_encode(&self.0, ENCODED).to_string()
    }

    /// Whether every path that begins with `other` begins with this.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// How many segments it has.
    pub fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts() {
        assert_eq!(HostPattern::parse("*"), Ok(HostPattern::Any));
        assert_eq!(HostPattern::parse("App.Example.test"), Ok(HostPattern::Exact("app.example.test".into())));
        assert_eq!(HostPattern::parse("*.example.test"), Ok(HostPattern::Below(".example.test".into())));
        assert_eq!(HostPattern::parse("[::1]"), Ok(HostPattern::Exact("[::1]".into())));
        for wrong in ["", "*a", "*.", "a.*", "a:80", "https://a", "a/b", ".a", "a.", "**"] {
            assert!(HostPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_prefixes() {
        for (text, prefix, depth) in [("/", "", 0), ("/a", "/a", 1), ("/a/", "/a", 1), ("/a/b.c", "/a/b.c", 2)] {
            let parsed = PathPrefix::parse(text).expect(text);
            assert_eq!((parsed.as_str(), parsed.depth()), (prefix, depth), "{text}");
        }
        for wrong in ["", "a", "/a*", "/a/../b", "//a", "/a//b", "/a?b", "/a%20", "/a b", "/a;b", "^/a", "/(a|b)"] {
            assert!(PathPrefix::parse(wrong).is_err(), "{wrong}");
        }
    }
}
