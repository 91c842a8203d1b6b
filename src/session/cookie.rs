//! The session cookie (RFC 6265bis): where the session's secret travels, sealed.

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroize;

use crate::base::clock::Timestamp;
use crate::base::random::Random;
use crate::base::secret::Secret;
use crate::crypto::keyring::{KeyRing, Purpose};
use crate::crypto::seal::{OVERHEAD, Sealer};
use crate::session::handle::SessionHandle;
use crate::session::timeouts::REMEMBER_ENDED;

/// Handle, generation and proof.
const PLAIN: usize = 16 + 4 + 32;
const ENVELOPE: usize = PLAIN + OVERHEAD;
/// How long the cookie's value is, in characters of base64url without padding.
pub const VALUE_LENGTH: usize = (ENVELOPE * 8).div_ceil(6);

/// How many cookies of our name are tried in one request. More of them are nobody's accident.
pub const MAX_CANDIDATES: usize = 4;

/// What takes a cookie away from a browser, of whatever age it is.
const AWAY: &str = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";

/// When a browser sends the cookie along with a request that another site caused (RFC 6265bis section 5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// With links only: the default, because people arrive from mails and portals.
    Lax,
    /// Always.
    None,
}

impl SameSite {
    const fn name(self) -> &'static str {
        match self {
            Self::Strict => "Strict",
            Self::Lax => "Lax",
            Self::None => "None",
        }
    }
}

/// The cookie's name and attributes. `Secure` and `HttpOnly` are not among them: they are always set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSettings {
    /// Its name: `__Host-session` by default, so that no other host of the domain can set it (section 4.1.3.2).
    pub name: Box<str>,
    /// The domain it is shared across; `None` is this host only.
    pub domain: Option<Box<str>>,
    /// The path below which it is sent.
    pub path: Box<str>,
    /// Whether it comes with requests that another site caused.
    pub same_site: SameSite,
}

impl Default for CookieSettings {
    fn default() -> Self {
        Self { name: "__Host-session".into(), domain: None, path: "/".into(), same_site: SameSite::Lax }
    }
}

/// What a session cookie says: the secret of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieSecret {
    /// Which session.
    pub handle: SessionHandle,
    /// How often its secret has been rotated.
    pub generation: u32,
    /// The proof that this generation was really given out.
    pub proof: Secret<[u8; 32]>,
}

/// Writes and reads the session cookie of one tenant.
pub struct SessionCookie {
    settings: CookieSettings,
    sealer: Sealer,
    associated: Vec<u8>,
    attributes: String,
    /// How many days back a cookie may have been sealed: no session is older than its absolute limit, and it is remembered
    /// for a while why it ended.
    days: u32,
}

impl SessionCookie {
    /// The cookie of `tenant` whose sessions last at most `absolute`.
    pub fn new(settings: CookieSettings, ring: Arc<KeyRing>, tenant: &str, absolute: Duration) -> Self {
        let associated = [settings.name.as_bytes(), &[0], tenant.as_bytes()].concat();
        let mut attributes =
            format!("; Path={}; Secure; HttpOnly; SameSite={}", settings.path, settings.same_site.name());
        if let Some(domain) = &settings.domain {
            let _ = write!(attributes, "; Domain={domain}");
        }
        let known_for = absolute.saturating_add(REMEMBER_ENDED);
        let days = u32::try_from(known_for.as_secs() / 86_400 + 1).unwrap_or(u32::MAX);
        let sealer = Sealer::new(ring, Purpose::SessionCookie, tenant);
        Self { settings, sealer, associated, attributes, days }
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// A `Set-Cookie` value that hands out `secret`, for as long as the browser is open.
    pub fn set(&self, random: &Random, secret: &CookieSecret, now: Timestamp) -> Option<HeaderValue> {
        HeaderValue::try_from(self.handing_out(random, secret, now)).ok()
    }

    /// The same, kept by the browser for as long as the session may last, `span` from now. That is a courtesy to it: what
    /// ends the session is decided here. Browsers of before 2014 know only `Expires`, and all others go by `Max-Age`.
    pub fn set_for(
        &self,
        random: &Random,
        secret: &CookieSecret,
        now: Timestamp,
        span: Duration,
    ) -> Option<HeaderValue> {
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(now.plus(span).as_secs());
        let (value, until) = (self.handing_out(random, secret, now), httpdate::fmt_http_date(until));
        HeaderValue::try_from(format!("{value}; Max-Age={}; Expires={until}", span.as_secs())).ok()
    }

    fn handing_out(&self, random: &Random, secret: &CookieSecret, now: Timestamp) -> String {
        let mut plain = [0; PLAIN];
        plain[..16].copy_from_slice(secret.handle.as_bytes());
        plain[16..20].copy_from_slice(&secret.generation.to_be_bytes());
        plain[20..].copy_from_slice(secret.proof.expose());
        let envelope = self.sealer.seal(random, now.day(), &self.associated, &plain);
        plain.zeroize();
        format!("{}={}{}", self.settings.name, URL_SAFE_NO_PAD.encode(envelope), self.attributes)
    }

    /// A `Set-Cookie` value that deletes the cookie: the same attributes, or the browser would keep it.
    pub fn delete(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("{}={}{AWAY}", self.settings.name, self.attributes)).ok()
    }

    /// `Set-Cookie` values that delete the other cookies of our name: from every narrower path and wider domain from
    /// which a browser would send them with a request for `host` and `path`, but not from the place that ours has.
    /// Bounded to the first eight levels of each. None for `__Host-` names: browsers keep no second one.
    pub fn delete_strays(&self, host: &str, path: &str) -> Vec<HeaderValue> {
        if self.settings.name.starts_with("__Host-") {
            return Vec::new();
        }
        let levels = path.bytes().enumerate().filter(|(at, byte)| *at > 0 && *byte == b'/').map(|(at, _)| &path[..at]);
        let mut paths: Vec<&str> = ["/"].into_iter().chain(levels.take(6)).chain([path]).collect();
        paths.dedup();
        let mut domains = vec![None];
        if let Some(shared) = &self.settings.domain {
            let wider =
                host.match_indices('.').map(|(at, _)| &host[at + 1..]).filter(|name| name.len() >= shared.len());
            domains.extend([host].into_iter().chain(wider.take(6)).map(Some));
        }
        let mut deletions = Vec::new();
        for path in &paths {
            for domain in &domains {
                if *path == &*self.settings.path && *domain == self.settings.domain.as_deref() {
                    continue;
                }
                let domain = domain.map_or(String::new(), |domain| format!("; Domain={domain}"));
                let text = format!("{}=; Path={path}; Secure; HttpOnly{domain}{AWAY}", self.settings.name);
                deletions.extend(HeaderValue::try_from(text));
            }
        }
        deletions
    }

    /// The values of our cookie in a request, in the order they came; names are compared to the letter.
    pub fn candidates<'request>(&'request self, headers: &'request HeaderMap) -> impl Iterator<Item = &'request [u8]> {
        let pairs = headers.get_all(header::COOKIE).into_iter().flat_map(|value| pairs(value.as_bytes()));
        pairs.filter_map(|pair| {
            let value = pair.trim_ascii_start().strip_prefix(self.settings.name.as_bytes())?;
            value.strip_prefix(b"=").map(<[u8]>::trim_ascii_end)
        })
    }

    /// Opens a cookie's value; `None` when it was not sealed here, for this cookie and tenant, in the time that any
    /// session can have lasted, and is remembered after it has ended.
    pub fn open(&self, value: &[u8], now: Timestamp) -> Option<CookieSecret> {
        // The length is looked at before anything is decoded.
        if value.len() != VALUE_LENGTH {
            return None;
        }
        let mut envelope = [0; VALUE_LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(value, &mut envelope).ok()?;
        let plain = self.sealer.open(self.valid_days(now), &self.associated, envelope.get_mut(..length)?)?;
        let (handle, rest) = plain.split_first_chunk()?;
        let (generation, proof) = rest.split_first_chunk()?;
        let secret = CookieSecret {
            handle: SessionHandle::from_bytes(*handle),
            generation: u32::from_be_bytes(*generation),
            proof: Secret::new(proof.try_into().ok()?),
        };
        envelope.zeroize();
        Some(secret)
    }

    fn valid_days(&self, now: Timestamp) -> RangeInclusive<u32> {
        // A day ahead, for a node of a cluster whose clock is a little late.
        now.day().saturating_sub(self.days)..=now.day() + 1
    }
}

/// The parts of a `Cookie` header. Applications fill it with kilobytes, so they are not looked at byte by byte.
fn pairs(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(header);
    std::iter::from_fn(move || {
        let left = rest?;
        let end = memchr::memchr(b';', left);
        rest = end.map(|at| &left[at + 1..]);
        Some(&left[..end.unwrap_or(left.len())])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    fn cookie_for(name: &str, tenant: &str) -> SessionCookie {
        let settings = CookieSettings { name: name.into(), ..CookieSettings::default() };
        let ring = Arc::new(KeyRing::new(Secret::new([1; 32]), []));
        SessionCookie::new(settings, ring, tenant, Duration::from_secs(12 * 3600))
    }

    fn secret() -> CookieSecret {
        CookieSecret { handle: SessionHandle::from_bytes([7; 16]), generation: 3, proof: Secret::new([9; 32]) }
    }

    fn value_of(header: &HeaderValue) -> String {
        let text = header.to_str().expect("text");
        let (_, rest) = text.split_once('=').expect("a value");
        rest.split(';').next().expect("a value").to_owned()
    }

    #[test]
    fn carries_the_secret_and_the_attributes() {
        let cookie = cookie_for("__Host-session", "default");
        let header = cookie.set(&Random::seeded(1), &secret(), NOW).expect("a header");
        let text = header.to_str().expect("text");
        assert!(
            text.starts_with("__Host-session=") && text.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"),
            "{text}"
        );
        assert_eq!(value_of(&header).len(), VALUE_LENGTH);
        assert!(text.len() < 4096);
        assert_eq!(cookie.open(value_of(&header).as_bytes(), NOW), Some(secret()));
        let deletion = cookie.delete().expect("a header");
        let away = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        assert_eq!(deletion, format!("__Host-session=; Path=/; Secure; HttpOnly; SameSite=Lax; {away}"));
    }

    #[test]
    fn one_that_is_kept_says_for_how_long_in_both_ways() {
        let cookie = cookie_for("__Host-session", "default");
        let span = Duration::from_secs(30 * 86_400);
        let header = cookie.set_for(&Random::seeded(1), &secret(), NOW, span).expect("a header");
        let (_, attributes) = header.to_str().expect("text").split_once("; ").expect("attributes");
        let until = "Max-Age=2592000; Expires=Sat, 13 Dec 2025 02:13:20 GMT";
        assert_eq!(attributes, format!("Path=/; Secure; HttpOnly; SameSite=Lax; {until}"));
        assert_eq!(cookie.open(value_of(&header).as_bytes(), NOW), Some(secret()));
    }

    #[test]
    fn is_worthless_elsewhere_and_after_its_days() {
        let cookie = cookie_for("__Host-session", "default");
        let value = value_of(&cookie.set(&Random::seeded(1), &secret(), NOW).expect("a header"));
        assert_eq!(cookie_for("__Host-other", "default").open(value.as_bytes(), NOW), None);
        assert_eq!(cookie_for("__Host-session", "other").open(value.as_bytes(), NOW), None);
        let days = |days: u64| NOW.plus(Duration::from_secs(days * 86_400));
        assert_eq!(cookie.open(value.as_bytes(), days(2)), Some(secret()), "its session may be remembered");
        assert_eq!(cookie.open(value.as_bytes(), days(3)), None);
        for wrong in
            ["", "AAAA", &value[1..], &format!("{value}A"), &value.replace(&value[4..5], "!"), &value.to_uppercase()]
        {
            assert_eq!(cookie.open(wrong.as_bytes(), NOW), None, "{wrong}");
        }
    }

    #[test]
    fn finds_every_cookie_of_its_exact_name() {
        let cookie = cookie_for("__Host-session", "default");
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("a=1; __Host-session=one;__Host-session=two ; __host-session=no"),
        );
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("__Host-session2=no; x__Host-session=no; __Host-session=three"),
        );
        headers.append(header::COOKIE, HeaderValue::from_bytes(b"\xff\xfe=1;;=; __Host-session").expect("a value"));
        assert_eq!(cookie.candidates(&headers).collect::<Vec<_>>(), [b"one".as_slice(), b"two", b"three"]);
    }

    #[test]
    fn strays_of_a_shared_cookie_are_deleted_where_they_can_be() {
        let settings = CookieSettings {
            name: "__Secure-session".into(),
            domain: Some("example.test".into()),
            ..CookieSettings::default()
        };
        let ring = Arc::new(KeyRing::new(Secret::new([1; 32]), []));
        let cookie = SessionCookie::new(settings, ring, "default", Duration::from_secs(60));
        let all = cookie.delete_strays("a.app.example.test", "/one/two/three");
        let has = |text: &str| all.iter().any(|value| *value == format!("{text}{AWAY}"));
        assert!(!has("__Secure-session=; Path=/; Secure; HttpOnly; Domain=example.test"), "that is ours");
        assert!(has("__Secure-session=; Path=/; Secure; HttpOnly; Domain=app.example.test"));
        assert!(has("__Secure-session=; Path=/one/two; Secure; HttpOnly; Domain=app.example.test"));
        assert!(has("__Secure-session=; Path=/one; Secure; HttpOnly"));
        assert!(!all.iter().any(|value| value.to_str().is_ok_and(|text| text.contains("Domain=test;"))));
        assert!(all.len() <= 90, "{}", all.len());
    }
}
