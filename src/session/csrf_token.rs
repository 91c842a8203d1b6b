//! The synchroniser token of a session: what a page of the application has, and another site's page cannot know.
//!
//! It is derived from the session's seed, so nothing is stored, and not from the generation of its secret: a page that
//! is open over a rotation goes on. A session that takes the place of another has another seed, and other tokens.
//!
//! Each token that is given out looks different: of a secret that is the same in every page, an application that
//! compresses its pages could give away a letter at a time (BREACH).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::base::random::Random;
use crate::base::secret::Secret;

/// What the seed is used for here. No proof of a generation is derived from as many bytes.
const PURPOSE: &[u8] = b"vestibule synchroniser token 1";

/// How many bytes a mask has, and what it hides.
const HALF: usize = 32;

/// How long a token is, in characters.
pub const LENGTH: usize = (2 * HALF * 4).div_ceil(3);

/// A token of the session with this seed.
pub fn token(seed: &Secret<[u8; 32]>, random: &Random) -> String {
    let (mask, hidden): ([u8; HALF], _) = (random.bytes(), derived(seed));
    let mut both = [0; 2 * HALF];
    for (at, (mask, hidden)) in mask.into_iter().zip(hidden).enumerate() {
        (both[at], both[HALF + at]) = (mask, mask ^ hidden);
    }
    URL_SAFE_NO_PAD.encode(both)
}

/// Whether `presented` is a token of the session with this seed; takes the same time whatever differs.
pub fn is_of(seed: &Secret<[u8; 32]>, presented: &[u8]) -> bool {
    let mut both = [0; 2 * HALF];
    // The length is looked at before anything is decoded.
    if presented.len() != LENGTH || URL_SAFE_NO_PAD.decode_slice(presented, &mut both).is_err() {
        return false;
    }
    let found: [u8; HALF] = std::array::from_fn(|at| both[at] ^ both[HALF + at]);
    derived(seed).ct_eq(&found).into()
}

fn derived(seed: &Secret<[u8; 32]>) -> [u8; HALF] {
    // HMAC takes keys of any length, so this cannot fail; were it to, the token would be no other session's.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(seed.expose()) else { return *seed.expose() };
    mac.update(PURPOSE);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::rotation::proof;

    #[test]
    fn a_token_is_one_sessions_and_never_the_same_twice() {
        let (seed, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
        let (one, two) = (token(&seed, &Random::System), token(&seed, &Random::System));
        assert_eq!(one.len(), LENGTH);
        assert_ne!(one, two);
        assert!(is_of(&seed, one.as_bytes()) && is_of(&seed, two.as_bytes()));
        assert!(!is_of(&other, one.as_bytes()));
        let mut altered = one.clone().into_bytes();
        altered[3] = if altered[3] == b'A' { b'B' } else { b'A' };
        let mixed = [&one.as_bytes()[..LENGTH / 2], &two.as_bytes()[LENGTH / 2..]].concat();
        for wrong in [&altered[..], &mixed, b"", &one.as_bytes()[1..], &[b'A'; LENGTH], &[b'*'; LENGTH]] {
            assert!(!is_of(&seed, wrong), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn it_tells_nothing_of_what_opens_the_session() {
        let seed = Secret::new([1; 32]);
        assert!((0..100).all(|generation| proof(&seed, generation) != derived(&seed)));
        assert_ne!(derived(&seed), *seed.expose());
    }
}
