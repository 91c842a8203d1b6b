//! Named values in memory, for tests and until they must outlive the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_core::future::BoxFuture;

use crate::base::clock::Timestamp;
use crate::session::kv::{Entry, Expected, KvStore, Space, check};
use crate::session::store::StoreError;

/// The store.
#[derive(Default)]
pub struct MemoryKv(Mutex<BTreeMap<(Space, String), Entry>>);

impl MemoryKv {
    fn all(&self) -> MutexGuard<'_, BTreeMap<(Space, String), Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an entry is there at `now`.
pub(super) fn lasts(entry: &Entry, now: Timestamp) -> bool {
    entry.expires_at.is_none_or(|ends| now < ends)
}

/// The version that a value gets which is put where this entry is, if it may be.
pub(super) fn next_version(there: Option<&Entry>, expected: Expected) -> Option<u64> {
    let may = match (there, expected) {
        (_, Expected::Whatever) | (None, Expected::Nothing) => true,
        (Some(entry), Expected::Version(version)) => entry.version == version,
        (Some(_), Expected::Nothing) | (None, Expected::Version(_)) => false,
    };
    may.then(|| there.map_or(0, |entry| entry.version) + 1)
}

impl KvStore for MemoryKv {
    fn get(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        let found = self.all().get(&(space, name.to_owned())).filter(|entry| lasts(entry, now)).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn put_if(
        &self,
        space: Space,
        name: &str,
        expected: Expected,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Option<u64>, StoreError>> {
        let put = check(name, &value).map(|()| {
            let (mut all, key) = (self.all(), (space, name.to_owned()));
            let version = next_version(all.get(&key).filter(|entry| lasts(entry, now)), expected)?;
            all.insert(key, Entry { value, version, expires_at });
            Some(version)
        });
        Box::pin(std::future::ready(put))
    }

    fn delete(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        let was_there = self.all().remove(&(space, name.to_owned())).is_some_and(|entry| lasts(&entry, now));
        Box::pin(std::future::ready(Ok(was_there)))
    }

    fn list(
        &self,
        space: Space,
        prefix: &str,
        most: usize,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let all = self.all();
        let names = all
            .range((space, prefix.to_owned())..)
            .take_while(|((of, name), _)| *of == space && name.starts_with(prefix))
            .filter(|(_, entry)| lasts(entry, now))
            .take(most)
            .map(|((_, name), _)| name.clone())
            .collect();
        Box::pin(std::future::ready(Ok(names)))
    }

    fn expire(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        let mut all = self.all();
        let before = all.len();
        all.retain(|_, entry| lasts(entry, now));
        Box::pin(std::future::ready(Ok(before - all.len())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::kv_contract;

    #[test]
    fn keeps_the_contract() {
        kv_contract::suite(|| Arc::new(MemoryKv::default()));
    }
}
