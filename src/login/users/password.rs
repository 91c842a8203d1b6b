//! Passwords and their hashes.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};

/// The fewest characters of a password. NIST SP 800-63B-4 (section 3.1.1.2) asks for 15 when the password is the only
/// factor, and for 8 when it is one of two. It is 8 here, because a file of users cannot tell which of them will have a
/// second factor; whoever runs without one should ask people for 15.
///
/// There are no rules about kinds of characters, as the same section demands: they make passwords worse.
pub const MIN_PASSWORD_CHARS: usize = 8;

/// The most bytes of a password: far above any that is typed or generated, so that nobody sends us a book to hash.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// The memory of a hash of ours, in KiB. With [`TIME`] and [`LANES`] it is the minimum that the OWASP password storage
/// cheat sheet recommends for Argon2id: 19 MiB, two passes, one lane.
pub const MEMORY_KIB: u32 = 19_456;

/// The passes of a hash of ours.
pub const TIME: u32 = 2;

/// The lanes of a hash of ours.
pub const LANES: u32 = 1;

/// The fewest bytes of a salt and of a hash: below, two people share one, or one is found by trying.
const MIN_SALT_AND_HASH_BYTES: usize = 16;

/// [`MEMORY_KIB`], [`TIME`] and [`LANES`] as they stand in a hash, with a salt, and 32 zero bytes where the hash would be.
const DUMMY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Fewer than [`MIN_PASSWORD_CHARS`] characters.
    #[error("the password is too short; it needs at least {MIN_PASSWORD_CHARS} characters")]
    TooShort,
    /// More than [`MAX_PASSWORD_BYTES`] bytes.
    #[error("the password is too long; it may have {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// The machine has no memory left for it.
    #[error("the password could not be hashed; {MEMORY_KIB} KiB of memory are needed")]
    NotHashed,
}

/// Whether a password may be set.
///
/// # Errors
/// [`PasswordError::TooShort`] or [`PasswordError::TooLong`].
pub fn check_password(password: &str) -> Result<(), PasswordError> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(PasswordError::TooLong);
    }
    if password.chars().count() < MIN_PASSWORD_CHARS { Err(PasswordError::TooShort) } else { Ok(()) }
}

/// Hashes a password with Argon2id, into a PHC string. Takes some ten milliseconds and [`MEMORY_KIB`] of memory.
///
/// `salt` is fresh for every hash.
///
/// # Errors
/// What [`check_password`] refuses, and [`PasswordError::NotHashed`].
pub fn hash_password(password: &str, salt: [u8; 16]) -> Result<String, PasswordError> {
    check_password(password)?;
    let params = Params::new(MEMORY_KIB, TIME, LANES, None).map_err(|_| PasswordError::NotHashed)?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash =
        hasher.hash_password_with_salt(password.as_bytes(), &salt).map_err(|_| PasswordError::NotHashed)?;
    Ok(hash.to_string())
}

/// Whether `password` is the one `phc` was made from. Takes as long as the hash asks for, whatever the answer; the hashes
/// are compared in constant time. A hash that [`check_phc`] refuses is nobody's.
pub fn verify_password(phc: &str, password: &str) -> bool {
    if password.len() > MAX_PASSWORD_BYTES || check_phc(phc).is_err() {
        return false;
    }
    PasswordHash::new(phc).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// A hash of the usual cost that no password is known for: it is verified in place of an unknown user's, so that the time
/// of the answer does not tell who exists.
pub const fn dummy_phc() -> &'static str {
    DUMMY
}

/// Whether `phc` is a hash we verify: Argon2id, version 19, with the costs of ours.
///
/// # Errors
/// A sentence that says what to do instead.
pub fn check_phc(phc: &str) -> Result<(), String> {
    const INSTEAD: &str = "set the password with \"vestibule user passwd\"";
    let hash = PasswordHash::new(phc).map_err(|_| format!("this is not a password hash; {INSTEAD}"))?;
    let algorithm = hash.algorithm.as_str();
    if algorithm != "argon2id" {
        return Err(format!("the hash is {algorithm}, and only argon2id is accepted; {INSTEAD}"));
    }
    if hash.version != Some(19) {
        return Err(format!("the hash is not of Argon2's version 19; {INSTEAD}"));
    }
    let long_enough = |bytes: Option<usize>| bytes.is_some_and(|bytes| bytes >= MIN_SALT_AND_HASH_BYTES);
    if !long_enough(hash.salt.as_ref().map(|salt| salt.len()))
        || !long_enough(hash.hash.as_ref().map(|hash| hash.len()))
    {
        return Err(format!("the salt and the hash need {MIN_SALT_AND_HASH_BYTES} bytes each; {INSTEAD}"));
    }
    let params = Params::try_from(&hash).map_err(|_| format!("the costs of the hash cannot be read; {INSTEAD}"))?;
    let (memory, time, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    // One cost for everybody: a hash that takes longer or shorter would tell by its time who is known here.
    if (memory, time, lanes) != (MEMORY_KIB, TIME, LANES) {
        return Err(format!(
            "the hash has the costs m={memory},t={time},p={lanes}, and only m={MEMORY_KIB},t={TIME},p={LANES} is accepted, \
             so that no name is told from another by the time it takes; {INSTEAD}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_opens_to_its_password_only() {
        let hash = hash_password("correct horse", [7; 16]).expect("a hash");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_eq!(check_phc(&hash), Ok(()));
        assert!(verify_password(&hash, "correct horse"));
        assert!(!verify_password(&hash, "correct horsf"));
        assert!(!verify_password(&hash, ""));
        assert_ne!(hash, hash_password("correct horse", [8; 16]).expect("a hash"));
    }

    #[test]
    fn the_dummy_costs_the_same_and_opens_to_nothing() {
        let real = hash_password("correct horse", [7; 16]).expect("a hash");
        let shape = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!((shape(dummy_phc()), dummy_phc().len()), (shape(&real), real.len()));
        assert_eq!(check_phc(dummy_phc()), Ok(()));
        assert!(!verify_password(dummy_phc(), "correct horse"));
    }

    #[test]
    fn a_password_has_a_shortest_and_a_longest_form() {
        assert_eq!(check_password("äöüäöüä"), Err(PasswordError::TooShort));
        assert_eq!(check_password("äöüäöüäö"), Ok(()));
        assert_eq!(check_password(&"x".repeat(MAX_PASSWORD_BYTES)), Ok(()));
        assert_eq!(check_password(&"x".repeat(MAX_PASSWORD_BYTES + 1)), Err(PasswordError::TooLong));
        assert_eq!(hash_password("short", [0; 16]), Err(PasswordError::TooShort));
    }

    #[test]
    fn a_hash_is_refused_when_it_is_weak_costly_or_none() {
        for (from, to, part) in [
            ("argon2id", "argon2i", "argon2i, and only"),
            ("argon2id", "scrypt", "scrypt, and only"),
            ("v=19", "v=16", "version 19"),
            ("v=19$", "", "version 19"),
            ("m=19456", "m=19455", "m=19455"),
            ("m=19456", "m=262144", "m=262144"),
            ("t=2", "t=3", "t=3"),
            ("p=1", "p=2", "p=2"),
            ("p=1", "q=1", "costs"),
            ("$AAAAAAAAAAAAAAAAAAAAAA$", "$AAAAAAAAAAA$", "16 bytes"),
            ("$argon2id", "hunter2", "not a password hash"),
        ] {
            let refused = check_phc(&DUMMY.replacen(from, to, 1)).expect_err(to);
            assert!(refused.contains(part) && refused.contains("user passwd"), "{to}: {refused}");
        }
        let huge = DUMMY.replace("m=19456", "m=4294967295");
        assert!(!verify_password(&huge, "correct horse"));
    }
}
