//! Sessions in memory, for tests and until they must outlive the process.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::{DashMap, Entry};
use futures_core::future::BoxFuture;

use crate::base::clock::Timestamp;
use crate::session::concurrency::{Concurrency, Limit};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Owner, Person, Record};
use crate::session::store::{Created, Lookup, Page, SessionStore, StoreError};
use crate::session::tenant::ByTenant;
use crate::session::timeouts::{Lifetimes, Over, REMEMBER_ENDED};

/// Many small parts, because an insert that makes a part grow stops everyone on that part: with this many, for 5 ms
/// at four million sessions instead of 65.
const SHARDS: usize = 1024;

/// Hashes a handle by taking eight of its bytes: they are random already, and strangers cannot choose them. The first of
/// them say which part of the map it is in, so that handles in their order, as a file has them, fill one part after the
/// other: each part stays in the processor's cache meanwhile.
#[derive(Default)]
struct HandleHasher(u64);

/// How many of the highest bits of a hash the map keeps for itself, before those that say the part.
const TAG_BITS: u32 = 7;

impl Hasher for HandleHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_be_bytes(*first).rotate_right(TAG_BITS);
        }
    }

    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The sessions of one owner that have not ended. Nearly everyone has one, which then needs no allocation of its own.
enum Handles {
    One(SessionHandle),
    #[expect(clippy::box_collection, reason = "a pointer is smaller than a vector, and the entries are many")]
    Several(Box<Vec<SessionHandle>>),
}

impl Handles {
    fn all(&self) -> &[SessionHandle] {
        match self {
            Self::One(handle) => std::slice::from_ref(handle),
            Self::Several(handles) => handles,
        }
    }

    fn add(&mut self, handle: SessionHandle) {
        match self {
            Self::One(first) => *self = Self::Several(Box::new(vec![*first, handle])),
            Self::Several(handles) => handles.push(handle),
        }
    }

    /// Takes one away and says whether that was the last.
    fn remove(&mut self, handle: SessionHandle) -> bool {
        match self {
            Self::One(only) => *only == handle,
            Self::Several(handles) => {
                handles.retain(|other| *other != handle);
                if let [only] = handles[..] {
                    *self = Self::One(only);
                    return false;
                }
                handles.is_empty()
            }
        }
    }
}

/// The store.
pub struct MemoryStore {
    sessions: DashMap<SessionHandle, Arc<Live>, BuildHasherDefault<HandleHasher>>,
    /// The sessions of an owner that have not ended. Locked before `sessions`, never after.
    by_owner: DashMap<Owner, Handles>,
    active: AtomicUsize,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::with_room_for(0, 0)
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// The sessions that it ended, and why, or locked.
    pub(super) over: Vec<(SessionHandle, Over)>,
    /// Those that it has forgotten.
    pub(super) forgotten: Vec<SessionHandle>,
}

impl MemoryStore {
    /// An empty store that need not grow before it has so many sessions of so many owners.
    pub(super) fn with_room_for(sessions: usize, owners: usize) -> Self {
        let hasher = BuildHasherDefault::default();
        Self {
            sessions: DashMap::with_capacity_and_hasher_and_shard_amount(sessions, hasher, SHARDS),
            by_owner: DashMap::with_capacity_and_shard_amount(owners, SHARDS),
            active: AtomicUsize::new(0),
        }
    }

    /// Takes in a session that was there before. If it has not ended, [`Self::restore_owner`] is still to be told.
    pub(super) fn restore(&self, record: Record) {
        self.sessions.insert(record.handle, Arc::new(Live::new(record)));
    }

    /// Notes whose these sessions are, once for all of them: a look at the map of owners for each session would take a
    /// tenth of a second for a million.
    pub(super) fn restore_owner(&self, owner: Owner, handles: Vec<SessionHandle>) {
        self.active.fetch_add(handles.len(), Ordering::Relaxed);
        match self.by_owner.entry(owner) {
            Entry::Occupied(mut there) => handles.into_iter().for_each(|handle| there.get_mut().add(handle)),
            Entry::Vacant(place) => match handles[..] {
                [] => {}
                [only] => drop(place.insert(Handles::One(only))),
                [_, _, ..] => drop(place.insert(Handles::Several(Box::new(handles)))),
            },
        }
    }

    pub(super) fn get(&self, handle: SessionHandle) -> Option<Arc<Live>> {
        self.sessions.get(&handle).map(|live| Arc::clone(&live))
    }

    pub(super) fn add(&self, record: Record, limit: Option<&Limit>) -> Created {
        let (owner, handle, has_ended) = (record.owner(), record.handle, record.ended.is_some());
        let now = record.authenticated_at;
        let live = Arc::new(Live::new(record));
        if has_ended {
            self.sessions.insert(handle, Arc::clone(&live));
            return Created::Session { live, ended: Vec::new() };
        }
        // Counted before anyone else can find and end it, so that the count never goes below zero.
        match self.by_owner.entry(owner) {
            Entry::Occupied(_) | Entry::Vacant(_) if self.sessions.contains_key(&handle) => Created::Taken,
            Entry::Occupied(mut handles) => {
                let handles = handles.get_mut();
                let ends = limit.map_or(Some(Vec::new()), |limit| self.room(handles, limit, now));
                let Some(ends) = ends else { return Created::Full };
                // What makes way ends before the new one is there.
                let ended: Vec<_> = ends.into_iter().filter(|(old, why)| self.end_held(*old, *why, now)).collect();
                let is_last = ended.iter().fold(false, |_, (old, _)| handles.remove(*old));
                self.active.fetch_add(1, Ordering::Relaxed);
                if is_last {
                    *handles = Handles::One(handle);
                } else {
                    handles.add(handle);
                }
                self.sessions.insert(handle, Arc::clone(&live));
                Created::Session { live, ended }
            }
            Entry::Vacant(place) => {
                if limit.is_some_and(|limit| limit.max == 0) {
                    return Created::Full;
                }
                self.active.fetch_add(1, Ordering::Relaxed);
                let _inserted = place.insert(Handles::One(handle));
                self.sessions.insert(handle, Arc::clone(&live));
                Created::Session { live, ended: Vec::new() }
            }
        }
    }

    /// Which of an owner's sessions end for a new one; `None` when there is no room for it.
    fn room(&self, handles: &Handles, limit: &Limit, now: Timestamp) -> Option<Vec<(SessionHandle, EndReason)>> {
        if limit.only_counts() {
            return (handles.all().len() < limit.max).then(Vec::new);
        }
        limit.room(&self.held(handles), now)
    }

    fn held(&self, handles: &Handles) -> Vec<Arc<Live>> {
        handles.all().iter().filter_map(|handle| self.get(*handle)).collect()
    }

    /// Ends a session of a person whose handles the caller holds, who takes it out of them; whether this call ended it.
    fn end_held(&self, handle: SessionHandle, reason: EndReason, now: Timestamp) -> bool {
        let is_ended = self.get(handle).is_some_and(|live| live.end(reason, now));
        if is_ended {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        is_ended
    }

    /// Ends what people have above what they may. Whoever has no more than the fewest is not looked at.
    pub(super) fn end_above_now(
        &self,
        allowed: &ByTenant<Option<Arc<Concurrency>>>,
        now: Timestamp,
    ) -> Vec<SessionHandle> {
        let limit_of = |owner: &Owner| match owner {
            Owner::User(person) => allowed.of(person.tenant).as_ref(),
            Owner::Address(_) => None,
        };
        let is_many = |owner: &Owner, count| limit_of(owner).is_some_and(|allowed| count > allowed.fewest());
        let many = self.by_owner.iter().filter(|owner| is_many(owner.key(), owner.value().all().len()));
        let many: Vec<Owner> = many.map(|owner| owner.key().clone()).collect();
        let mut ended = Vec::new();
        for owner in many {
            let Some(allowed) = limit_of(&owner) else { continue };
            self.by_owner.remove_if_mut(&owner, |_, handles| {
                let above = allowed.above(&self.held(handles)).into_iter();
                let above: Vec<_> = above.filter(|old| self.end_held(*old, EndReason::Displaced, now)).collect();
                let is_last = above.iter().fold(false, |_, old| handles.remove(*old));
                ended.extend(above);
                is_last
            });
        }
        ended
    }

    pub(super) fn end(&self, handle: SessionHandle, reason: EndReason, now: Timestamp) -> bool {
        let ended = self.sessions.get(&handle).filter(|live| live.end(reason, now)).map(|live| Arc::clone(&live));
        let Some(live) = ended else { return false };
        self.active.fetch_sub(1, Ordering::Relaxed);
        self.by_owner.remove_if_mut(&live.owner(), |_, handles| handles.remove(handle));
        if live.principal().is_none() {
            self.sessions.remove(&handle);
        }
        true
    }

    pub(super) fn change(&self, handle: SessionHandle, principal: Arc<Principal>, expected_version: u64) -> bool {
        self.sessions.get(&handle).is_some_and(|live| live.change_principal(principal, expected_version))
    }

    fn people(&self) -> Vec<Person> {
        let person = |owner: &Owner| match owner {
            Owner::User(person) => Some(person.clone()),
            Owner::Address(_) => None,
        };
        self.by_owner.iter().filter_map(|handles| person(handles.key())).collect()
    }

    pub(super) fn make_current(&self, handle: SessionHandle, generation: u32, now: Timestamp) -> bool {
        self.sessions.get(&handle).is_some_and(|live| {
            live.commit_rotation(generation, now)
                || (live.rotation().generation == generation && live.ended().is_none())
        })
    }

    fn handles_of(&self, owner: &Owner) -> Vec<SessionHandle> {
        self.by_owner.get(owner).map(|handles| handles.all().to_vec()).unwrap_or_default()
    }

    /// The handles of all sessions there are, ended ones included.
    pub(super) fn handles(&self) -> Vec<SessionHandle> {
        self.sessions.iter().map(|session| *session.key()).collect()
    }

    /// Ends every session of an owner; which these were.
    pub(super) fn end_all(&self, owner: &Owner, reason: EndReason, now: Timestamp) -> Vec<SessionHandle> {
        self.handles_of(owner).into_iter().filter(|handle| self.end(*handle, reason, now)).collect()
    }

    /// Takes a session away that nobody can have used yet.
    pub(super) fn take_back(&self, live: &Live) {
        if self.end(live.handle(), EndReason::Revoked, live.authenticated_at()) {
            self.sessions.remove(&live.handle());
        }
    }

    /// The `most` sessions with the lowest handles behind `after`. Every handle is looked at once, and nothing else of a
    /// session, which takes some nanoseconds each; one part of the map is held at a time, and what is kept meanwhile is
    /// `most` handles twice.
    pub fn page_now(&self, after: Option<SessionHandle>, most: usize) -> Page {
        let most = most.max(1);
        let mut lowest: Vec<SessionHandle> = Vec::new();
        // Whatever is not below it is none of them any more.
        let mut bound: Option<SessionHandle> = None;
        for session in &self.sessions {
            let handle = *session.key();
            if after.is_some_and(|after| handle <= after) || bound.is_some_and(|bound| handle >= bound) {
                continue;
            }
            lowest.push(handle);
            if lowest.len() >= most.saturating_mul(2) {
                bound = Some(*lowest.select_nth_unstable(most).1);
                lowest.truncate(most);
            }
        }
        lowest.sort_unstable();
        let next = if bound.is_some() || lowest.len() > most { lowest.get(most - 1).copied() } else { None };
        lowest.truncate(most);
        // One that was forgotten in the meantime leaves a gap.
        Page { sessions: lowest.into_iter().filter_map(|handle| self.get(handle)).collect(), next }
    }

    pub(super) fn sweep_now(&self, lifetimes: &ByTenant<Lifetimes>, now: Timestamp) -> Swept {
        let mut swept = Swept::default();
        for live in &self.sessions {
            let view = live.view();
            match view.ended {
                Some((_, at)) if now >= at.plus(REMEMBER_ENDED) => swept.forgotten.push(view.handle),
                Some(_) => {}
                None => {
                    swept.over.extend(lifetimes.of(view.tenant).over(&view, now).map(|over| (view.handle, over)));
                }
            }
        }
        for handle in &swept.forgotten {
            self.sessions.remove(handle);
        }
        swept.over.retain(|(handle, over)| match over {
            Over::End(reason) => self.end(*handle, *reason, now),
            Over::Lock(_) => self.get(*handle).is_some_and(|live| live.lock()),
        });
        swept
    }
}

impl SessionStore for MemoryStore {
    fn lookup(&self, handle: SessionHandle) -> Lookup {
        self.get(handle).map_or(Lookup::Miss, Lookup::Hit)
    }

    fn create(&self, record: Record, limit: Option<Limit>) -> BoxFuture<'_, Result<Created, StoreError>> {
        Box::pin(async move { Ok(self.add(record, limit.as_ref())) })
    }

    fn touch(&self, live: &Arc<Live>, now: Timestamp) {
        live.note_activity(now);
    }

    fn lock(&self, live: &Arc<Live>) -> bool {
        live.lock()
    }

    fn change_principal(
        &self,
        handle: SessionHandle,
        principal: Arc<Principal>,
        expected_version: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.change(handle, principal, expected_version)) })
    }

    fn users(&self) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        Box::pin(async move { Ok(self.people()) })
    }

    fn rotate(
        &self,
        handle: SessionHandle,
        generation: u32,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.make_current(handle, generation, now)) })
    }

    fn revoke(
        &self,
        handle: SessionHandle,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.end(handle, reason, now)) })
    }

    fn revoke_all(
        &self,
        owner: Owner,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        Box::pin(async move { Ok(self.end_all(&owner, reason, now)) })
    }

    fn list(&self, owner: Owner) -> BoxFuture<'_, Result<Vec<Arc<Live>>, StoreError>> {
        Box::pin(async move {
            let found = self.handles_of(&owner).into_iter().filter_map(|handle| self.get(handle));
            Ok(found.filter(|live| live.ended().is_none()).collect())
        })
    }

    fn page(&self, after: Option<SessionHandle>, most: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move { Ok(self.page_now(after, most)) })
    }

    fn sweep(
        &self,
        lifetimes: ByTenant<Lifetimes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(SessionHandle, Over)>, StoreError>> {
        Box::pin(async move { Ok(self.sweep_now(&lifetimes, now).over) })
    }

    fn end_above(
        &self,
        allowed: ByTenant<Option<Arc<Concurrency>>>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        Box::pin(async move { Ok(self.end_above_now(&allowed, now)) })
    }

    fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn kind(&self) -> &'static str {
        "memory"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn keeps_the_contract() {
        contract::suite(|| Arc::new(MemoryStore::default()));
    }
}
