//! The key ring: one active key and retired ones that still open what they sealed.
//!
//! No ring key ever meets a message. Each use has its own key, derived by purpose, tenant and day, so that none comes
//! near the 2^32 messages after which random 96-bit nonces are no longer safe (NIST SP 800-38D section 8.3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base::random::Random;
use crate::base::secret::Secret;
use crate::crypto::seal::SealingKey;

/// The longest ring: more retired keys than this were forgotten, not kept.
pub const MAX_KEYS: usize = 16;

/// What a derived key is for. A thing sealed for one purpose never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The session cookie.
    SessionCookie,
    /// The cookie that ties a login form to the browser that asked for it.
    LoginCookie,
    /// The cookie of a browser that somebody has signed in with before.
    Device,
    /// Tokens that travel through a browser: login attempts and return targets.
    Token,
    /// Session records as a store keeps them.
    Record,
    /// Named values as a store keeps them.
    Value,
    /// Forms that met an ended session.
    Parked,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::SessionCookie => "session-cookie",
            Self::LoginCookie => "login-cookie",
            Self::Device => "device",
            Self::Token => "token",
            Self::Record => "record",
            Self::Value => "value",
            Self::Parked => "parked",
        }
    }
}

/// Names a ring key inside what it sealed: the first bytes of a hash of the key, which say nothing about the key.
pub type KeyId = [u8; 4];

#[derive(Clone)]
struct RingKey {
    id: KeyId,
    /// What the extraction from the key comes to, made once (RFC 5869 section 2.2).
    extracted: Hkdf<Sha256>,
}

impl std::fmt::Debug for RingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RingKey({})", shown(self.id))
    }
}

/// A key's id as people are shown it.
pub fn shown(id: KeyId) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

/// A new key as it is written: 43 characters of base64url.
pub fn new_key(random: &Random) -> Zeroizing<String> {
    let key = Zeroizing::new(random.bytes::<32>());
    Zeroizing::new(URL_SAFE_NO_PAD.encode(*key))
}

/// The lines that say something, with their numbers.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let trimmed = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    trimmed.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Whether there is anything in it that [`parse_keys`] reads.
pub fn has_any(text: &str) -> bool {
    lines(text).next().is_some()
}

/// Reads keys, a line each, the active one first; empty lines and those that begin with `#` are left out.
///
/// # Errors
/// A sentence that says which line is no key, and repeats nothing of it.
pub fn parse_keys(text: &str) -> Result<Vec<Secret<[u8; 32]>>, String> {
    let mut keys = Vec::new();
    for (at, line) in lines(text) {
        let mut bytes = Zeroizing::new([0; 33]);
        let key = match URL_SAFE_NO_PAD.decode_slice(line, &mut *bytes) {
            Ok(32) if line.len() == 43 => bytes.first_chunk().copied(),
            Ok(_) | Err(_) => None,
        };
        let key = key.ok_or_else(|| format!("line {at} is no key; \"vestibule keygen\" makes one"))?;
        keys.push(Secret::new(key));
    }
    if keys.is_empty() {
        return Err("there is no key in it; \"vestibule keygen\" makes one".to_owned());
    }
    if keys.len() > MAX_KEYS {
        return Err(format!("there are more than {MAX_KEYS} keys in it; take the oldest away"));
    }
    Ok(keys)
}

/// The keys everything else is derived from; the first one seals, all of them open.
#[derive(Debug)]
pub struct KeyRing(Vec<RingKey>);

impl KeyRing {
    /// A ring of the given 256-bit keys, the active one first. At most [`MAX_KEYS`] are kept.
    pub fn new(active: Secret<[u8; 32]>, retired: impl IntoIterator<Item = Secret<[u8; 32]>>) -> Self {
        let keys = std::iter::once(active).chain(retired).take(MAX_KEYS);
        Self(
            keys.map(|secret| {
                let mut hash = Sha256::new();
                hash.update(b"vestibule key id");
                hash.update(secret.expose());
                let digest = hash.finalize();
                let extracted = Hkdf::<Sha256>::new(Some(b"vestibule v1"), secret.expose());
                RingKey { id: [digest[0], digest[1], digest[2], digest[3]], extracted }
            })
            .collect(),
        )
    }

    /// A ring of one new key, for stores that do not outlive the process either.
    pub fn ephemeral(random: &Random) -> Self {
        Self::new(Secret::new(random.bytes()), [])
    }

    /// These keys, and behind them those of `former` that are not among them: more than [`MAX_KEYS`] while one ring takes
    /// the place of the other.
    pub fn before(&self, former: &Self) -> Self {
        let others = former.0.iter().filter(|key| self.ids().all(|id| id != key.id));
        Self(self.0.iter().chain(others).cloned().collect())
    }

    /// The ids of all keys, the active one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|key| key.id)
    }

    /// The id of the key that seals.
    pub fn active(&self) -> KeyId {
        self.0.first().map_or([0; 4], |key| key.id)
    }

    /// The key that `id` names, for one purpose, tenant and context (a day, or a record's handle); `None` when the
    /// ring does not hold it.
    pub fn derive(&self, id: KeyId, purpose: Purpose, tenant: &str, context: &[u8]) -> Option<SealingKey> {
        let key = self.0.iter().find(|key| key.id == id)?;
        let mut derived = [0; 32];
        let tenant_length = (tenant.len() as u64).to_be_bytes();
        // Lengths are written before what varies, so that no two inputs run together to the same bytes.
        key.extracted
            .expand_multi_info(
                &[purpose.label().as_bytes(), &[0], &tenant_length, tenant.as_bytes(), context],
                &mut derived,
            )
            .ok()?;
        Some(SealingKey::new(Secret::new(derived)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purpose_tenant_context_and_key_each_make_another_key() {
        let one = KeyRing::new(Secret::new([1; 32]), [Secret::new([2; 32])]);
        let sealed = |purpose, tenant: &str, context: &[u8], id| {
            one.derive(id, purpose, tenant, context).expect("a key of the ring").seal([0; 12], b"", b"same text")
        };
        let (first, second) = (one.0[0].id, one.0[1].id);
        let all = [
            sealed(Purpose::SessionCookie, "a", b"1", first),
            sealed(Purpose::Token, "a", b"1", first),
            sealed(Purpose::SessionCookie, "b", b"1", first),
            sealed(Purpose::SessionCookie, "a", b"2", first),
            sealed(Purpose::SessionCookie, "a1", b"", first),
            sealed(Purpose::SessionCookie, "a", b"1", second),
        ];
        for (at, text) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(text), "two derivations agree");
        }
    }

    #[test]
    fn knows_only_its_own_keys() {
        let ring = KeyRing::new(Secret::new([1; 32]), []);
        assert!(ring.derive(KeyRing::new(Secret::new([9; 32]), []).active(), Purpose::Token, "", b"").is_none());
        assert!(ring.derive(ring.active(), Purpose::Token, "", b"").is_some());
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let (new, old) = (new_key(&Random::seeded(1)), new_key(&Random::seeded(2)));
        let keys = parse_keys(&format!("# rotated in May\n{}\r\n\n{}\n", *new, *old)).expect("two keys");
        let ring = KeyRing::new(keys[0].clone(), keys[1..].iter().cloned());
        assert_eq!(ring.ids().count(), 2);
        assert_eq!(ring.active(), KeyRing::new(parse_keys(&new).expect("a key")[0].clone(), []).active());
        for (wrong, why) in [
            (String::new(), "no key in it"),
            ("# nothing\n".to_owned(), "no key in it"),
            (format!("{}\nshort\n", *new), "line 2"),
            (format!("{}A", *new), "line 1"),
            (format!("{}\n", *new).repeat(MAX_KEYS + 1), "more than"),
        ] {
            let error = parse_keys(&wrong).expect_err("no keys");
            assert!(error.contains(why) && !error.contains(&**new), "{error}");
        }
    }

    #[test]
    fn shows_no_key_material() {
        let shown = format!("{:?}", KeyRing::new(Secret::new([0xab; 32]), []));
        assert!(!shown.contains("171") && !shown.contains("ab, ab"), "{shown}");
    }
}
