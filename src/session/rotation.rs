//! Periodic rotation of the session's secret, in two phases.
//!
//! When a rotation is due, answers carry a cookie of the next generation. Every parallel request is offered the same
//! successor, because its proof is derived. It replaces the current generation only when a request presents it, so an
//! answer that gets lost costs nobody their session. From then on the former generation is good for the grace period,
//! and later use of it, or of any older one, is a copied cookie.
//!
//! The same happens when the roles or groups of a session's person change, also where periodic rotation is off: whoever had
//! the secret before has nothing of what it can do from then on. It is the secret that is renewed, in the next answer; the
//! handle stays, because it is a public name that opens nothing, and a new record would take a session away from requests
//! that are under way. Sign-in and a renewed proof of who somebody is do make a new record.
//!
//! And it happens to a session whose person was remembered and is not any more, by their roles or by the configuration: what
//! their browser keeps when it is closed is replaced by what it does not keep. That is so every minute for what is left of
//! such a session, which is a day's work at the most: which cookie a browser has got is not known here, and one that was
//! offered before the change, and is presented after it, is one to keep.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::base::clock::Timestamp;
use crate::base::secret::Secret;

/// Default for `session.rotation.every`: a stolen cookie is noticed within minutes of its owner's next request, and
/// the cost is one `Set-Cookie` in a quarter of an hour.
pub const DEFAULT_EVERY: Duration = Duration::from_secs(15 * 60);

/// Default for `session.rotation.grace`: requests under way, and browsers that restore the cookies of a moment ago.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(60);

/// When the secret changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationRule {
    /// How old a generation may get before a successor is offered; `None` turns periodic rotation off.
    pub every: Option<Duration>,
    /// How long the former generation stays good after its successor was first presented.
    pub grace: Duration,
}

impl Default for RotationRule {
    fn default() -> Self {
        Self { every: Some(DEFAULT_EVERY), grace: DEFAULT_GRACE }
    }
}

/// Where a session's rotation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The newest generation that a request has presented.
    pub generation: u32,
    /// When it was first presented.
    pub presented_at: Timestamp,
    /// Whether a successor is due whatever its age, because its person's rights have changed.
    pub must_renew: bool,
}

/// How a presented generation relates to where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The current one, and young enough.
    Current,
    /// The current one, and old enough for a successor to be offered.
    Due,
    /// A later one, presented for the first time: it becomes the current one. Its proof is ours, so it was given out; it
    /// is the successor, but where a full disk or a crash lost the rotations in between.
    Successor,
    /// The one before the current one, within its grace.
    Former,
    /// An older one, or the former one after its grace: a copied cookie.
    Reused,
}

impl Rotation {
    /// Judges a presented generation.
    pub fn standing(self, presented: u32, rule: &RotationRule, now: Timestamp) -> Standing {
        let Some(ahead) = presented.checked_sub(self.generation) else {
            let former = presented.checked_add(1) == Some(self.generation);
            let in_grace = now < self.presented_at.plus(rule.grace);
            return if former && in_grace { Standing::Former } else { Standing::Reused };
        };
        match ahead {
            0 if self.must_renew && self.is_settled(rule.grace, now) => Standing::Due,
            0 if rule.every.is_some_and(|every| now >= self.presented_at.plus(every)) => Standing::Due,
            0 => Standing::Current,
            1.. => Standing::Successor,
        }
    }
}

impl Rotation {
    /// Whether nobody has the former generation any more who came by it honestly, `grace` after its successor was presented. A
    /// successor sooner than that would make it a copied cookie, which a request under way may have.
    pub fn is_settled(self, grace: Duration, now: Timestamp) -> bool {
        self.generation == 0 || now >= self.presented_at.plus(grace)
    }
}

/// The proof of one generation: HMAC-SHA-256 (RFC 2104) under the record's seed.
pub fn proof(seed: &Secret<[u8; 32]>, generation: u32) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail; were it to, the proof would match no cookie of another seed.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(seed.expose()) else { return *seed.expose() };
    mac.update(&generation.to_be_bytes());
    mac.finalize().into_bytes().into()
}

/// Whether `presented` is the proof of `generation`; takes the same time whatever differs.
pub fn proves(seed: &Secret<[u8; 32]>, generation: u32, presented: &[u8; 32]) -> bool {
    proof(seed, generation).ct_eq(presented).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_generation_has_its_standing() {
        let rule = RotationRule { every: Some(Duration::from_secs(900)), grace: Duration::from_secs(60) };
        let state = Rotation { generation: 5, presented_at: Timestamp::from_millis(1_000_000), must_renew: false };
        let after = |secs| state.presented_at.plus(Duration::from_secs(secs));
        for (presented, secs, standing) in [
            (5, 0, Standing::Current),
            (5, 899, Standing::Current),
            (5, 900, Standing::Due),
            (6, 0, Standing::Successor),
            (4, 59, Standing::Former),
            (4, 60, Standing::Reused),
            (3, 0, Standing::Reused),
            (0, 0, Standing::Reused),
            (7, 0, Standing::Successor),
            (u32::MAX, 0, Standing::Successor),
        ] {
            assert_eq!(state.standing(presented, &rule, after(secs)), standing, "{presented} after {secs} s");
        }
        let never = RotationRule { every: None, ..rule };
        assert_eq!(state.standing(5, &never, after(1_000_000)), Standing::Current);
        let changed = Rotation { must_renew: true, ..state };
        for (presented, secs, standing) in [
            (5, 0, Standing::Current),
            (5, 59, Standing::Current),
            (5, 60, Standing::Due),
            (4, 59, Standing::Former),
            (6, 0, Standing::Successor),
        ] {
            assert_eq!(changed.standing(presented, &never, after(secs)), standing, "{presented} after {secs} s");
        }
        assert_eq!(
            Rotation { generation: 0, ..changed }.standing(0, &never, after(0)),
            Standing::Due,
            "it has no former"
        );
    }

    #[test]
    fn a_proof_holds_for_one_seed_and_generation() {
        let (seed, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        assert!(proves(&seed, 7, &proof(&seed, 7)));
        assert!(!proves(&seed, 8, &proof(&seed, 7)));
        assert!(!proves(&other, 7, &proof(&seed, 7)));
        assert_ne!(proof(&seed, 0), *seed.expose());
    }
}
