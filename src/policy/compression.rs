//! Whether the answer to a request may be compressed, and how. Pure.
//!
//! How long a compressed page is tells whether what a request put into it is also elsewhere in it. So a site that makes a
//! person's browser ask for pages with its guesses in them, and sees how much comes back, learns a secret of that page
//! letter by letter, TLS or not (BREACH). What it needs are the person's cookies or password on requests of its making.
//! Therefore an answer is compressed only when its request carried neither, or when the browser vouches that the site's
//! own page made it (`Sec-Fetch-Site: same-origin`, which no script can set). `X-Api-Key` and other headers of an
//! application's own are no such credentials: no browser adds them to another site's requests by itself, so that site would
//! have to know them, and what they open it could then read anyway. What a request proves by its address alone
//! cannot be seen here: a page that tells secrets to a network must not be on a route that compresses.

use http::{HeaderMap, HeaderName, header};

/// A way to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// Its name in `Accept-Encoding`, `Content-Encoding` and the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    fn is_called(self, name: &str) -> bool {
        // RFC 9110 section 8.4.1.3.
        let is_old_name = self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip");
        is_old_name || name.eq_ignore_ascii_case(self.name())
    }
}

/// What a request lets be done to its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing at all: a part was asked for, or nothing that is changed.
    Untouched,
    /// It goes out as it is. The answer to another request need not.
    Not,
    /// It may be compressed.
    By(Coding),
}

/// What may be done to the answer to a request with these fields, as its client sent them. Of `codings` the one that the
/// client likes best is taken, of several the first.
pub fn of_answer(codings: &[Coding], headers: &HeaderMap) -> Compression {
    if codings.is_empty() || headers.contains_key(header::RANGE) || forbids_transform(headers) {
        return Compression::Untouched;
    }
    if !is_safe(headers) {
        return Compression::Not;
    }
    negotiated(codings, headers).map_or(Compression::Not, Compression::By)
}

/// Whether no other site can have made the request with a person's credentials.
fn is_safe(headers: &HeaderMap) -> bool {
    let mut site = headers.get_all(&SEC_FETCH_SITE).iter();
    let is_own = site.next().is_some_and(|site| site == "same-origin") && site.next().is_none();
    is_own || !(headers.contains_key(header::COOKIE) || headers.contains_key(header::AUTHORIZATION))
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a message asks to be left as it is (RFC 9111 sections 5.2.1.6 and 5.2.2.6).
pub fn forbids_transform(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

/// What RFC 9110 section 12.5.3 makes of `Accept-Encoding`. Without it anything may be sent, but who does not ask for it
/// may not be able to read it.
fn negotiated(codings: &[Coding], headers: &HeaderMap) -> Option<Coding> {
    let mut weights = [None; Coding::ALL.len()];
    let (mut any, mut identity) = (None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for member in value.to_str().ok()?.split(',') {
            let (name, weight) = weighed(member)?;
            let known = Coding::ALL.iter().position(|coding| coding.is_called(name));
            let place = match known.and_then(|at| weights.get_mut(at)) {
                Some(place) => place,
                None if name == "*" => &mut any,
                None if name.eq_ignore_ascii_case("identity") => &mut identity,
                None => continue,
            };
            // Said twice, the lesser counts.
            *place = Some(place.map_or(weight, |earlier: u16| earlier.min(weight)));
        }
    }
    let weight = |coding: Coding| {
        let at = Coding::ALL.iter().position(|known| *known == coding);
        at.and_then(|at| weights.get(at).copied().flatten()).or(any).unwrap_or(0)
    };
    let most = codings.iter().map(|coding| weight(*coding)).max().unwrap_or(0);
    let best = codings.iter().copied().find(|coding| weight(*coding) == most);
    best.filter(|_| most > 0 && identity.is_none_or(|identity| most >= identity))
}

/// A member of a list with its weight in thousandths; `None` when the weight is none.
fn weighed(member: &str) -> Option<(&str, u16)> {
    let (name, parameters) = member.split_once(';').unwrap_or((member, ""));
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some((name.trim(), 1000));
    }
    let text = parameters.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match whole {
        "0" => Some((name.trim(), part)),
        "1" if part == 0 => Some((name.trim(), 1000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_client_chooses_and_of_equals_the_route() {
        use Coding::{Brotli, Gzip, Zstd};
        let all = [Zstd, Brotli, Gzip];
        for (codings, accepted, expected) in [
            (&all[..], "gzip, deflate, br, zstd", Some(Zstd)),
            (&[Gzip, Zstd][..], "zstd, gzip", Some(Gzip)),
            (&all, "gzip;q=1.0, br;q=0.999, zstd;q=0", Some(Gzip)),
            (&all, "GZIP ; Q=0.5", Some(Gzip)),
            (&all, "x-gzip", Some(Gzip)),
            (&all, "*", Some(Zstd)),
            (&all, "zstd;q=0, *;q=0.5", Some(Brotli)),
            (&all, "*;q=0", None),
            (&all, "gzip;q=0", None),
            (&all, "gzip;q=0.000", None),
            (&all, "gzip, gzip;q=0", None),
            (&all, "gzip;q=0.5, identity", None),
            (&all, "gzip;q=0.5, identity;q=0.5", Some(Gzip)),
            (&all, "gzip, identity;q=0", Some(Gzip)),
            (&all, "identity", None),
            (&all, "deflate, compress", None),
            (&all, "", None),
            (&all, "gzip;q=2", None),
            (&all, "gzip;q=1.001", None),
            (&all, "gzip;q=0.1234", None),
            (&all, "gzip;q=-1", None),
            (&all, "gzip;level=9", None),
            (&[Brotli], "gzip", None),
        ] {
            let expected = expected.map_or(Compression::Not, Compression::By);
            assert_eq!(of_answer(codings, &map(&[("accept-encoding", accepted)])), expected, "{accepted}");
        }
        let twice = map(&[("accept-encoding", "br;q=0.1"), ("accept-encoding", "gzip")]);
        assert_eq!(of_answer(&all, &twice), Compression::By(Gzip));
        assert_eq!(of_answer(&all, &map(&[])), Compression::Not);
        assert_eq!(of_answer(&[], &map(&[("accept-encoding", "gzip")])), Compression::Untouched);
        for (name, value) in [("range", "bytes=0-1"), ("cache-control", "max-age=0, No-Transform")] {
            let fields = map(&[("accept-encoding", "gzip"), (name, value)]);
            assert_eq!(of_answer(&all, &fields), Compression::Untouched, "{name}");
        }
    }

    #[test]
    fn what_another_site_can_have_asked_for_is_not_compressed() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let mut headers = map(fields);
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            of_answer(&[Coding::Gzip], &headers) == Compression::By(Coding::Gzip)
        };
        assert!(of(&[]));
        assert!(of(&[("sec-fetch-site", "cross-site")]));
        assert!(of(&[("x-api-key", "secret"), ("sec-fetch-site", "cross-site")]), "no browser adds it by itself");
        for credentials in [("cookie", "a=b"), ("cookie", ""), ("authorization", "Basic YTpi")] {
            assert!(of(&[credentials, ("sec-fetch-site", "same-origin")]));
            assert!(!of(&[credentials]));
            for site in ["cross-site", "same-site", "none", "", "Same-Origin", "same-origin, cross-site"] {
                assert!(!of(&[credentials, ("sec-fetch-site", site)]), "{site}");
            }
            assert!(!of(&[credentials, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")]));
        }
    }
}
