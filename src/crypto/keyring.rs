//! The key ring: one active key and retired ones that still open what they sealed.
//!
//! No ring key ever meets a message. Each use has its own key, derived by purpose, tenant and day, so that none comes
//! near the 2^32 messages after which random 96-bit nonces are no longer safe (NIST SP 800-38D section 8.3).

use hkdf::Hkdf;
use sha2::{Digest, Sha256};

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
    /// Tokens that travel through a browser: login attempts and return targets.
    Token,
    /// Session records as a store keeps them.
    Record,
}

impl Purpose {
    const fn label(self) -> &'static str {
        match self {
            Self::SessionCookie => "session-cookie",
            Self::LoginCookie => "login-cookie",
            Self::Token => "token",
            Self::Record => "record",
        }
    }
}

/// Names a ring key inside what it sealed: the first bytes of a hash of the key, which say nothing about the key.
pub type KeyId = [u8; 4];

#[derive(Debug)]
struct RingKey {
    id: KeyId,
    secret: Secret<[u8; 32]>,
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
                RingKey { id: [digest[0], digest[1], digest[2], digest[3]], secret }
            })
            .collect(),
        )
    }

    /// A ring of one new key, for stores that do not outlive the process either.
    pub fn ephemeral(random: &Random) -> Self {
        Self::new(Secret::new(random.bytes()), [])
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
        Hkdf::<Sha256>::new(Some(b"vestibule v1"), key.secret.expose())
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
    fn shows_no_key_material() {
        let shown = format!("{:?}", KeyRing::new(Secret::new([0xab; 32]), []));
        assert!(!shown.contains("171") && !shown.contains("ab, ab"), "{shown}");
    }
}
