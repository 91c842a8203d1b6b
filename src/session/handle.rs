//! The public name of a session.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::base::random::Random;

/// How many characters a handle has when shown.
pub const SHOWN_LENGTH: usize = 22;

/// Names a session: 128 random bits, public, safe in logs, URLs and admin pages, and the key under which every store
/// keeps the record. Whoever knows it can name the session but not use it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionHandle([u8; 16]);

impl SessionHandle {
    /// A new handle.
    pub fn random(random: &Random) -> Self {
        Self(random.bytes())
    }

    /// A handle from its bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The handle's bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SessionHandle {
    /// 22 characters of base64url (RFC 4648 section 5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = [0; SHOWN_LENGTH];
        let length = URL_SAFE_NO_PAD.encode_slice(self.0, &mut shown).unwrap_or(0);
        f.write_str(std::str::from_utf8(&shown[..length]).unwrap_or_default())
    }
}

impl fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionHandle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let is_like_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            if text.len() == SHOWN_LENGTH && text.bytes().all(is_like_one) {
                // What is behind the 128th bit is nought.
                format!("\"{text}\" is not a session handle: no gateway makes one that ends so; copy it once more")
            } else {
                format!("\"{text}\" is not a session handle; it has {SHOWN_LENGTH} letters, digits, - and _")
            }
        };
        if text.len() != SHOWN_LENGTH {
            return Err(wrong());
        }
        // The engine's slice decoding wants room for its own estimate, which is rounded up.
        let mut bytes = [0; 18];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) => bytes.first_chunk().map(|bytes| Self(*bytes)).ok_or_else(wrong),
            Ok(_) | Err(_) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_reads_itself() {
        let handle = SessionHandle::random(&Random::seeded(3));
        assert_eq!(handle.to_string().len(), SHOWN_LENGTH);
        assert_eq!(handle.to_string().parse(), Ok(handle));
        for wrong in ["", "short", "AAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAAA"] {
            assert!(wrong.parse::<SessionHandle>().is_err(), "{wrong}");
        }
    }
}
