//! Randomness as an injected value. Every handle, seed, nonce and key comes from here.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Where random bytes come from: a cryptographically secure generator in both cases (ChaCha, RFC 8439's cipher).
#[derive(Clone, Debug)]
pub enum Random {
    /// A generator a thread, seeded and re-seeded by the operating system.
    System,
    /// One generator from a given seed, so that a simulation can be played again. For tests.
    Seeded(Arc<Mutex<StdRng>>),
}

impl Random {
    /// A generator whose output is fixed by `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::System => rand::rng().fill_bytes(&mut bytes),
            Self::Seeded(generator) => {
                generator.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_the_output_and_the_system_never_repeats() {
        assert_eq!(Random::seeded(7).bytes::<32>(), Random::seeded(7).bytes::<32>());
        assert_ne!(Random::System.bytes::<32>(), Random::System.bytes::<32>());
    }
}
