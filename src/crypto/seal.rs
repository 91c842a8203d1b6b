//! Sealing: authenticated encryption of what leaves the process, in one envelope.
//!
//! ```text
//! version (1) ‖ key id (4) ‖ day (4, big-endian) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//! The head up to the nonce is part of the associated data, together with what the caller adds.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use arc_swap::ArcSwap;

use crate::base::random::Random;
use crate::base::secret::Secret;
use crate::crypto::keyring::{KeyId, KeyRing, Purpose};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 4 + 4;
const NONCE: usize = 12;
const TAG: usize = 16;

/// How much longer an envelope is than what it holds, in bytes.
pub const OVERHEAD: usize = HEAD + NONCE + TAG;

/// How many derived keys are remembered: a key a day for a month of remembered sessions, under a few ring keys.
const MAX_REMEMBERED_KEYS: usize = 128;

/// One AES-256-GCM key.
pub struct SealingKey(Aes256Gcm);

impl SealingKey {
    /// The cipher under `key`.
    pub fn new(key: Secret<[u8; 32]>) -> Self {
        Self(Aes256Gcm::new(key.expose().into()))
    }

    /// `nonce ‖ ciphertext ‖ tag`. A nonce is used once: take it from [`Random`].
    pub fn seal(&self, nonce: [u8; NONCE], associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(NONCE + plain.len() + TAG);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        match self.0.encrypt_inout_detached(&Nonce::from(nonce), associated, (&mut sealed[NONCE..]).into()) {
            Ok(tag) => sealed.extend_from_slice(&tag),
            // Only a text beyond GCM's 64 GiB fails. Nothing is returned rather than something readable.
            Err(_) => sealed.clear(),
        }
        sealed
    }

    /// Opens `nonce ‖ ciphertext ‖ tag` in place; `None` when it is not, to the bit, what this key sealed.
    pub fn open<'sealed>(&self, associated: &[u8], sealed: &'sealed mut [u8]) -> Option<&'sealed [u8]> {
        if sealed.len() < NONCE + TAG {
            return None;
        }
        let (nonce, rest) = sealed.split_at_mut(NONCE);
        let (text, tag) = rest.split_at_mut(rest.len() - TAG);
        let nonce: [u8; NONCE] = (*nonce).try_into().ok()?;
        let tag: [u8; TAG] = (*tag).try_into().ok()?;
        self.0.decrypt_inout_detached(&Nonce::from(nonce), associated, (&mut *text).into(), &Tag::from(tag)).ok()?;
        Some(text)
    }
}

struct DayKey {
    id: KeyId,
    day: u32,
    key: SealingKey,
}

/// Seals and opens envelopes for one purpose and tenant, under a key a day. Cheap to open: derived keys are kept.
pub struct Sealer {
    ring: Arc<KeyRing>,
    purpose: Purpose,
    tenant: Box<str>,
    keys: ArcSwap<Vec<Arc<DayKey>>>,
}

impl Sealer {
    /// A sealer over `ring` for `purpose` and `tenant`.
    pub fn new(ring: Arc<KeyRing>, purpose: Purpose, tenant: &str) -> Self {
        Self { ring, purpose, tenant: tenant.into(), keys: ArcSwap::default() }
    }

    /// Seals `plain` under the key of `day`; `associated` must be given again to open it.
    pub fn seal(&self, random: &Random, day: u32, associated: &[u8], plain: &[u8]) -> Vec<u8> {
        let id = self.ring.active();
        let mut envelope = head(id, day).to_vec();
        // The active key is always in its own ring; an empty envelope opens nowhere.
        if let Some(key) = self.key(id, day) {
            envelope.extend(key.key.seal(random.bytes(), &with_head(&head(id, day), associated), plain));
        }
        envelope
    }

    /// Opens an envelope in place; `None` when it was not sealed here, for this, on one of `days`. The days are looked
    /// at before any key is derived, so that a stranger cannot make the gateway derive keys.
    pub fn open<'sealed>(
        &self,
        days: RangeInclusive<u32>,
        associated: &[u8],
        envelope: &'sealed mut [u8],
    ) -> Option<&'sealed [u8]> {
        let (head_bytes, sealed) = envelope.split_first_chunk_mut::<HEAD>()?;
        let [version, id @ .., d0, d1, d2, d3] = *head_bytes;
        let day = u32::from_be_bytes([d0, d1, d2, d3]);
        if version != VERSION || !days.contains(&day) {
            return None;
        }
        let key = self.key(id, day)?;
        key.key.open(&with_head(head_bytes, associated), sealed)
    }

    fn key(&self, id: KeyId, day: u32) -> Option<Arc<DayKey>> {
        let known = self.keys.load();
        if let Some(key) = known.iter().find(|key| key.day == day && key.id == id) {
            return Some(Arc::clone(key));
        }
        let key = self.ring.derive(id, self.purpose, &self.tenant, &day.to_be_bytes())?;
        let key = Arc::new(DayKey { id, day, key });
        self.keys.rcu(|known| {
            // The newest first: it is the one nearly every request needs.
            std::iter::once(&key).chain(known.iter()).take(MAX_REMEMBERED_KEYS).cloned().collect::<Vec<_>>()
        });
        Some(key)
    }
}

const fn head(id: KeyId, day: u32) -> [u8; HEAD] {
    let day = day.to_be_bytes();
    [VERSION, id[0], id[1], id[2], id[3], day[0], day[1], day[2], day[3]]
}

/// Room for the head and the usual associated data (a cookie name and a tenant) without an allocation.
struct Associated {
    inline: [u8; 128],
    length: usize,
    heap: Vec<u8>,
}

impl std::ops::Deref for Associated {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.heap.is_empty() { &self.inline[..self.length] } else { &self.heap }
    }
}

fn with_head(head: &[u8; HEAD], associated: &[u8]) -> Associated {
    let length = HEAD + associated.len();
    let mut joined = Associated { inline: [0; 128], length, heap: Vec::new() };
    if length <= joined.inline.len() {
        joined.inline[..HEAD].copy_from_slice(head);
        joined.inline[HEAD..length].copy_from_slice(associated);
    } else {
        joined.heap = [head.as_slice(), associated].concat();
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(key: u8, purpose: Purpose) -> Sealer {
        Sealer::new(Arc::new(KeyRing::new(Secret::new([key; 32]), [])), purpose, "default")
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_that_differs_in_one_bit() {
        let sealer = sealer(1, Purpose::Token);
        let sealed = sealer.seal(&Random::seeded(1), 20_000, b"name", b"the text");
        assert_eq!(sealer.open(20_000..=20_000, b"name", &mut sealed.clone()), Some(b"the text".as_slice()));
        assert_eq!(sealed.len(), OVERHEAD + 8);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(sealer.open(0..=u32::MAX, b"name", &mut forged), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(sealer.open(0..=u32::MAX, b"name", &mut sealed[..length].to_vec()), None, "cut at {length}");
        }
        assert_eq!(sealer.open(20_000..=20_000, b"other", &mut sealed.clone()), None);
    }

    #[test]
    fn a_day_out_of_range_is_refused_before_a_key_is_derived() {
        let sealer = sealer(1, Purpose::Token);
        let mut sealed = sealer.seal(&Random::seeded(1), 20_000, b"", b"x");
        sealer.keys.store(Arc::default());
        assert_eq!(sealer.open(20_001..=20_002, b"", &mut sealed), None);
        assert!(sealer.keys.load().is_empty());
    }

    #[test]
    fn another_purpose_or_ring_opens_nothing() {
        let sealed = sealer(1, Purpose::Token).seal(&Random::seeded(1), 1, b"", b"x");
        assert_eq!(sealer(1, Purpose::SessionCookie).open(0..=9, b"", &mut sealed.clone()), None);
        assert_eq!(sealer(2, Purpose::Token).open(0..=9, b"", &mut sealed.clone()), None);
    }

    #[test]
    fn a_retired_key_still_opens_and_the_remembered_keys_are_bounded() {
        let old = sealer(1, Purpose::Token).seal(&Random::seeded(1), 1, b"", b"x");
        let ring = KeyRing::new(Secret::new([2; 32]), [Secret::new([1; 32])]);
        let sealer = Sealer::new(Arc::new(ring), Purpose::Token, "default");
        assert_eq!(sealer.open(0..=9, b"", &mut old.clone()), Some(b"x".as_slice()));
        for day in 0..1000 {
            let mut sealed = sealer.seal(&Random::seeded(1), day, b"", b"y");
            assert!(sealer.open(day..=day, b"", &mut sealed).is_some());
        }
        assert_eq!(sealer.keys.load().len(), MAX_REMEMBERED_KEYS);
    }

    #[test]
    fn long_associated_data_is_all_counted() {
        let sealer = sealer(1, Purpose::Token);
        let (long, mut other) = (vec![7; 500], vec![7; 500]);
        other[499] = 8;
        let sealed = sealer.seal(&Random::seeded(1), 1, &long, b"x");
        assert!(sealer.open(1..=1, &long, &mut sealed.clone()).is_some());
        assert!(sealer.open(1..=1, &other, &mut sealed.clone()).is_none());
    }
}
