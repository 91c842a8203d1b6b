//! A value that must not be printed and is wiped from memory when dropped.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Key material, a password or a proof. `Debug` shows nothing of it; [`Secret::expose`] is the only way in, so that
/// every use can be found by searching for that word.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Whether others than those it is for may read or change a file with a secret in it: anybody but its owner, or, where that
/// is root, but its group too, which is how administrators hand a secret to a service. `OpenSSH` and `PostgreSQL` ask for as
/// much of their keys.
pub fn is_exposed(about: &Metadata) -> bool {
    about.mode() & if about.uid() == 0 { 0o037 } else { 0o077 } != 0
}
