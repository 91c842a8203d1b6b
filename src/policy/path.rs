//! The path of a request, read once, so that policy and application cannot read it differently.
//!
//! Whatever two servers are known to read differently is refused: dot segments in any spelling, encoded separators,
//! control characters, double encodings, overlong UTF-8. What is left is matched in its decoded form, a segment at a
//! time and without `;parameters`, as the most lenient application would read it; repeated slashes are merged, both
//! for matching and in what is forwarded.

use std::borrow::Cow;

/// The longest path and query that is read, in bytes: what common servers take in a request line.
pub const MAX_LENGTH: usize = 8 * 1024;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathFault {
    /// It does not begin with a slash.
    NoSlash,
    /// It is longer than [`MAX_LENGTH`].
    TooLong,
    /// It holds a backslash, a control character, or a byte that is not ASCII, as such.
    ForbiddenByte,
    /// A percent sign without two hexadecimal digits.
    BadEncoding,
    /// A slash, backslash or control character, percent-encoded.
    EncodedSeparator,
    /// A percent sign that is itself encoded and hides a dot or a separator.
    DoubleEncoding,
    /// UTF-8 for an ASCII character in more bytes than it needs.
    Overlong,
    /// A segment that is `.` or `..`.
    DotSegment,
}

impl PathFault {
    /// What the client is told.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NoSlash => "The path of the request does not begin with a slash.",
            Self::TooLong => "The address of the request is too long.",
            Self::ForbiddenByte => "The path of the request has a character that must be percent-encoded.",
            Self::BadEncoding => "The path of the request has a percent sign without two hexadecimal digits.",
            Self::EncodedSeparator => "The path of the request has an encoded slash, backslash or control character.",
            Self::DoubleEncoding => "The path of the request is encoded twice.",
            Self::Overlong => "The path of the request is not valid UTF-8.",
            Self::DotSegment => "The path of the request has a \".\" or \"..\" segment.",
        }
    }
}

/// A path in its two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath<'request> {
    /// What policy matches: decoded, without parameters, slashes merged.
    pub matched: Cow<'request, [u8]>,
    /// What the application is sent: as it came, slashes merged.
    pub forwarded: Cow<'request, str>,
}

impl<'request> RequestPath<'request> {
    /// What the application is sent, when that is not what came.
    pub fn changed(&self) -> Option<String> {
        match &self.forwarded {
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path.clone()),
        }
    }

    /// Reads a path without its query.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(raw: &'request str) -> Result<Self, PathFault> {
        let bytes = raw.as_bytes();
        if bytes.first() != Some(&b'/') {
            return Err(PathFault::NoSlash);
        }
        if bytes.len() > MAX_LENGTH {
            return Err(PathFault::TooLong);
        }
        if is_plain(bytes) {
            return Ok(Self { matched: Cow::Borrowed(bytes), forwarded: Cow::Borrowed(raw) });
        }
        Self::read_slowly(raw)
    }

    fn read_slowly(raw: &'request str) -> Result<Self, PathFault> {
        let mut matched = Vec::with_capacity(raw.len());
        for segment in raw.split('/').skip(1) {
            let decoded = decode(segment.as_bytes())?;
            let named = decoded.split(|byte| *byte == b';').next().unwrap_or_default();
            if named == b"." || named == b".." {
                return Err(PathFault::DotSegment);
            }
            // A segment of nothing but parameters is empty to who ignores them, so it merges like a repeated slash.
            if !named.is_empty() {
                matched.push(b'/');
                matched.extend_from_slice(named);
            }
        }
        if matched.is_empty() || raw.ends_with('/') {
            matched.push(b'/');
        }
        let forwarded = if raw.contains("//") { Cow::Owned(merge_slashes(raw)) } else { Cow::Borrowed(raw) };
        Ok(Self { matched: Cow::Owned(matched), forwarded })
    }
}

/// Whether both forms are the bytes as they came: nearly every request.
fn is_plain(bytes: &[u8]) -> bool {
    let mut after_slash = false;
    for byte in bytes {
        match byte {
            b'/' if after_slash => return false,
            b'/' => after_slash = true,
            b'.' if after_slash => return false,
            b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b'='
            | b':'
            | b'@' => after_slash = false,
            _ => return false,
        }
    }
    true
}

fn merge_slashes(raw: &str) -> String {
    let mut merged = String::with_capacity(raw.len());
    for character in raw.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

fn decode(segment: &[u8]) -> Result<Vec<u8>, PathFault> {
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (pair, after) = rest.split_first_chunk::<2>().ok_or(PathFault::BadEncoding)?;
                let value = hex_pair(*pair).ok_or(PathFault::BadEncoding)?;
                rest = after;
                if matches!(value, b'/' | b'\\' | 0..=0x1f | 0x7f) {
                    return Err(PathFault::EncodedSeparator);
                }
                if value == b'%' && hides_separator(rest) {
                    return Err(PathFault::DoubleEncoding);
                }
                decoded.push(value);
            }
            b'\\' | 0..=0x20 | 0x7f.. => return Err(PathFault::ForbiddenByte),
            _ => decoded.push(byte),
        }
    }
    if has_overlong(&decoded) { Err(PathFault::Overlong) } else { Ok(decoded) }
}

fn hex_pair([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Whether what follows an encoded percent sign is, however often it is decoded, a dot, a separator, the semicolon
/// that begins parameters, or a control character.
fn hides_separator(mut after: &[u8]) -> bool {
    while let Some(rest) = after.strip_prefix(b"25") {
        after = rest;
    }
    after
        .first_chunk::<2>()
        .and_then(|pair| hex_pair(*pair))
        .is_some_and(|value| matches!(value, b'.' | b'/' | b'\\' | b';' | 0..=0x1f | 0x7f))
}

/// Lenient decoders have read `C0 AE` as a dot and `C0 AF` as a slash.
fn has_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, [0xc0 | 0xc1, 0x80..=0xbf] | [0xe0, 0x80..=0x9f] | [0xf0, 0x80..=0x8f]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(raw: &str) -> Result<String, PathFault> {
        RequestPath::read(raw).map(|path| String::from_utf8_lossy(&path.matched).into_owned())
    }

    #[test]
    fn reads_paths_as_the_most_lenient_application_would() {
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b.html", "/a/b.html"),
            ("/a/", "/a/"),
            ("/%61dmin", "/admin"),
            ("/admin;jsessionid=1/x;y", "/admin/x"),
            ("/admin%3bx/y", "/admin/y"),
            ("//admin", "/admin"),
            ("/a///b//", "/a/b/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/100%25", "/100%"),
            ("/100%2541", "/100%41"),
            ("/caf%C3%A9", "/café"),
            ("/;x", "/"),
            ("/;/admin", "/admin"),
            ("//;x//admin;y/;z/", "/admin/"),
        ] {
            assert_eq!(matched(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn refuses_what_two_servers_read_differently() {
        for (raw, fault) in [
            ("", PathFault::NoSlash),
            ("*", PathFault::NoSlash),
            ("/a/../b", PathFault::DotSegment),
            ("/..", PathFault::DotSegment),
            ("/./a", PathFault::DotSegment),
            ("/a/..;x=y/b", PathFault::DotSegment),
            ("/a/%2e%2E/b", PathFault::DotSegment),
            ("/a/.%2e/b", PathFault::DotSegment),
            ("/a/..%3b/b", PathFault::DotSegment),
            ("/a%2fb", PathFault::EncodedSeparator),
            ("/a%2Fb", PathFault::EncodedSeparator),
            ("/a%5cb", PathFault::EncodedSeparator),
            ("/a%00", PathFault::EncodedSeparator),
            ("/a%0d%0aX:y", PathFault::EncodedSeparator),
            ("/a%252fb", PathFault::DoubleEncoding),
            ("/a%25252Fb", PathFault::DoubleEncoding),
            ("/%252e%252e/b", PathFault::DoubleEncoding),
            ("/a%253bb", PathFault::DoubleEncoding),
            ("/a%", PathFault::BadEncoding),
            ("/a%2", PathFault::BadEncoding),
            ("/a%u002e", PathFault::BadEncoding),
            ("/a\\b", PathFault::ForbiddenByte),
            ("/caf\u{e9}", PathFault::ForbiddenByte),
            ("/%c0%ae%c0%ae/x", PathFault::Overlong),
            ("/%e0%80%af", PathFault::Overlong),
        ] {
            assert_eq!(matched(raw), Err(fault), "{raw}");
        }
        assert_eq!(matched(&format!("/{}", "a".repeat(MAX_LENGTH))), Err(PathFault::TooLong));
    }

    #[test]
    fn forwards_what_came_with_slashes_merged() {
        let forwarded = |raw| RequestPath::read(raw).map(|path| path.forwarded.into_owned());
        assert_eq!(forwarded("/%7Ea;b/c").as_deref(), Ok("/%7Ea;b/c"));
        assert_eq!(forwarded("//a//b").as_deref(), Ok("/a/b"));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 4096,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..Default::default()
        })]

        /// Reading the forwarded form again changes nothing: whoever stands behind reads the same path.
        #[test]
        fn what_is_forwarded_reads_the_same_again(raw in "/[a-z./;%0-9A-Fé\\\\]{0,24}") {
            if let Ok(path) = RequestPath::read(&raw) {
                let again = RequestPath::read(&path.forwarded).expect("it was accepted once");
                proptest::prop_assert_eq!(&again.matched, &path.matched);
                proptest::prop_assert!(!path.matched.windows(2).any(|pair| pair == b"//"));
                proptest::prop_assert!(!path.matched.split(|b| *b == b'/').any(|part| part == b".." || part == b"."));
            }
        }
    }
}
