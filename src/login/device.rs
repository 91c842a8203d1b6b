//! The cookie of a browser in which somebody has signed in before (OWASP calls it a device cookie).
//!
//! Whoever guesses passwords for a name makes strangers wait, and its owner is not to be one of them. The cookie is
//! sealed for one name, without the name being in it, and gives nobody any rights but that of trying a password.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

use crate::base::clock::Timestamp;
use crate::base::random::Random;
use crate::crypto::keyring::{KeyRing, Purpose};
use crate::crypto::seal::{OVERHEAD, Sealer};

/// The cookie's name. Its prefix keeps other hosts of the domain from setting it.
pub const COOKIE: &str = "__Host-device";

/// How long a browser is known after its last sign-in: somebody who is needed once a year.
pub const KNOWN_FOR: Duration = Duration::from_secs(400 * DAY);

const DAY: u64 = 86_400;

/// What tells browsers apart, so that each has an allowance of its own.
pub type Id = [u8; 16];

const ENVELOPE: usize = size_of::<Id>() + OVERHEAD;
const VALUE_LENGTH: usize = (ENVELOPE * 8).div_ceil(6);

/// Makes and reads the device cookies of one tenant.
pub struct Devices {
    sealer: Sealer,
}

impl Devices {
    /// The cookies of `tenant`.
    pub fn new(ring: Arc<KeyRing>, tenant: &str) -> Self {
        Self { sealer: Sealer::new(ring, Purpose::Device, tenant) }
    }

    /// A `Set-Cookie` value for a browser in which `name` has signed in.
    pub fn set(&self, random: &Random, name: &str, now: Timestamp) -> Option<HeaderValue> {
        let id: Id = random.bytes();
        let value = URL_SAFE_NO_PAD.encode(self.sealer.seal(random, now.day(), name.as_bytes(), &id));
        // Strict: only our own login form is to bring it.
        let age = KNOWN_FOR.as_secs();
        let text = format!("{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={age}");
        HeaderValue::try_from(text).ok()
    }

    /// The browser that a request comes from, if `name` has signed in there; the first cookie of our name counts.
    pub fn read(&self, headers: &HeaderMap, name: &str, now: Timestamp) -> Option<Id> {
        let pairs =
            headers.get_all(header::COOKIE).into_iter().flat_map(|value| value.as_bytes().split(|b| *b == b';'));
        let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="));
        let value = values.next().filter(|value| value.len() == VALUE_LENGTH)?;
        let mut envelope = URL_SAFE_NO_PAD.decode(value).ok()?;
        // A day ahead, for a node of a cluster whose clock is a little late.
        let days = now.day().saturating_sub((KNOWN_FOR.as_secs() / DAY) as u32)..=now.day() + 1;
        self.sealer.open(days, name.as_bytes(), &mut envelope)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_763_000_000_000);

    #[test]
    fn is_good_for_one_name_and_its_time() {
        let random = Random::seeded(1);
        let devices = Devices::new(Arc::new(KeyRing::ephemeral(&random)), "default");
        let set = devices.set(&random, "alice", NOW).expect("a header");
        let text = set.to_str().expect("text");
        assert!(text.ends_with("; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=34560000"), "{text}");
        let pair = text.split(';').next().expect("a pair");
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; {pair}; c=d").parse().expect("a header"));
        let id = devices.read(&headers, "alice", NOW).expect("it is known");
        assert_eq!(devices.read(&headers, "alice", NOW.plus(KNOWN_FOR)), Some(id));
        assert_eq!(devices.read(&headers, "alice", NOW.plus(KNOWN_FOR + Duration::from_secs(2 * DAY))), None);
        for other in ["bob", "", "Alice", "alice\0"] {
            assert_eq!(devices.read(&headers, other, NOW), None, "{other}");
        }
        let others = Devices::new(Arc::new(KeyRing::ephemeral(&random)), "default");
        assert_eq!(others.read(&headers, "alice", NOW), None);
        let again = devices.set(&random, "alice", NOW).expect("a header");
        headers.insert(
            header::COOKIE,
            again.to_str().expect("text").split(';').next().unwrap_or_default().parse().expect("a header"),
        );
        assert_ne!(devices.read(&headers, "alice", NOW), Some(id), "each browser is one of its own");
        assert_eq!(devices.read(&HeaderMap::new(), "alice", NOW), None);
    }
}
