//! The second contract of stores: what outlives a request and is no session, as parked forms, factors and changed
//! passwords. Small values by name, each sealed before it leaves the process, each with a version and an end.
//!
//! The one suite that tests it is `store::kv_contract`.

use futures_core::future::BoxFuture;

use crate::base::clock::Timestamp;
use crate::session::store::StoreError;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 256;

/// The largest value, in bytes: a form with a document in it.
pub const MAX_VALUE: usize = 16 << 20;

/// What a value is for. Each is a space of names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Forms that met an ended session.
    Parked,
    /// What a person has chosen.
    Preferences,
    /// Second factors.
    Factors,
    /// Passwords that were changed since the users file was written.
    Passwords,
    /// Attempts to sign in that must not be made twice.
    Attempts,
}

impl Space {
    /// Every space.
    pub const ALL: [Self; 5] = [Self::Parked, Self::Preferences, Self::Factors, Self::Passwords, Self::Attempts];

    /// Its name in a store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::Preferences => "preferences",
            Self::Factors => "factors",
            Self::Passwords => "passwords",
            Self::Attempts => "attempts",
        }
    }
}

/// A value and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Vec<u8>,
    /// Raised with every change, beginning with 1.
    pub version: u64,
    /// From when on it is no more, if ever.
    pub expires_at: Option<Timestamp>,
}

/// What must be there for a value to be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: it must be the first.
    Nothing,
    /// A value of this version.
    Version(u64),
    /// Whatever is there.
    Whatever,
}

/// A store of named values. Every operation is durable, as far as the store is, when its future is done. A value whose
/// end has come by the caller's `now` is not there, whether it has been cleaned up or not.
pub trait KvStore: Send + Sync {
    /// What is there.
    fn get(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<Option<Entry>, StoreError>>;

    /// Puts a value if what is expected is there. The new version, or `None` when something else was there.
    ///
    /// # Errors
    /// When the store fails, or the name or the value is longer than [`MAX_NAME`] or [`MAX_VALUE`].
    fn put_if(
        &self,
        space: Space,
        name: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<u64>, StoreError>>;

    /// Takes a value away; whether it was there.
    fn delete(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// The names that begin with `prefix`, in order, at most so many.
    fn list(
        &self,
        space: Space,
        prefix: &str,
        most: usize,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>>;

    /// Forgets what has ended; how much that was.
    fn expire(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>>;
}

/// Checks what no store takes.
///
/// # Errors
/// A sentence that says what is too long.
pub fn check(name: &str, value: &[u8]) -> Result<(), StoreError> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(StoreError(format!("a name must have from 1 to {MAX_NAME} bytes")));
    }
    if value.len() > MAX_VALUE {
        return Err(StoreError(format!("a value has at most {MAX_VALUE} bytes")));
    }
    Ok(())
}
