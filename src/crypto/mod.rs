//! Floor 1: what is sealed and under which key. AES-256-GCM (NIST SP 800-38D) and HKDF-SHA-256 (RFC 5869), nothing else.

pub mod key_file;
pub mod keyring;
pub mod seal;
