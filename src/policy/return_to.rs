//! Where a person goes after signing in: only ever to a path of the host they are on.

/// The longest return target, in bytes; a longer one is dropped and the person arrives at the start page.
pub const MAX_LENGTH: usize = 2048;

/// A path and query of this very host, safe as the value of `Location`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(Box<str>);

impl ReturnTo {
    /// The start page.
    pub fn start() -> Self {
        Self("/".into())
    }

    /// Takes a path and query; `None` for anything that some browser could read as another place.
    pub fn new(target: &str) -> Option<Self> {
        let second = target.as_bytes().get(1);
        let begins_well = target.starts_with('/') && !matches!(second, Some(b'/' | b'\\'));
        // Browsers drop tabs and line breaks, and read a backslash as a slash.
        let has_strange = target.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\');
        (begins_well && !has_strange && target.len() <= MAX_LENGTH).then(|| Self(target.into()))
    }

    /// The path and query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_on_this_host() {
        for good in ["/", "/a/b?c=d&e=%2F", "/a//b", "/x?u=https://other.test/", "/@x", "/;x"] {
            assert_eq!(ReturnTo::new(good).expect(good).as_str(), good);
        }
        for bad in [
            "",
            "a",
            "//evil.test",
            "/\\evil.test",
            "/\t/evil.test",
            "/a\r\nSet-Cookie: x",
            "https://evil.test",
            "https:evil.test",
            "javascript:alert(1)",
            "\\\\evil.test",
            "/a b",
            "/é",
            " /a",
            "@evil.test",
        ] {
            assert_eq!(ReturnTo::new(bad), None, "{bad:?}");
        }
        assert_eq!(ReturnTo::new(&format!("/{}", "a".repeat(MAX_LENGTH))), None);
    }
}
