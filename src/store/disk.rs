//! Sessions on disk: the memory map, and behind it a file from which it is filled at the next start.
//!
//! Requests are served from memory alone. Sign-in, rotation and revocation are on the disk before they are answered;
//! activity is written behind, so that a crash makes a session seem idle for a little longer than it was. While the disk
//! refuses writes, live sessions go on, ended ones stay ended, and what was to be written is tried again; only new
//! sessions are refused, because a restart would lose them. Sessions of strangers are not written: there is nothing in
//! them yet that anybody would miss.

mod file;
mod health;
mod identity;
mod leftovers;
mod restore;
mod sealing;
mod untouched;
mod values;
mod writer;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;

use crate::base::clock::{Clock, Timestamp};
use crate::base::random::Random;
use crate::crypto::keyring::KeyRing;
use crate::session::concurrency::{Concurrency, Limit};
use crate::session::handle::SessionHandle;
use crate::session::kv::{Entry, Expected, KvStore, Space, check};
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Owner, Person, Record};
use crate::session::store::{Created, Lookup, Page, SessionStore, StoreError, Trouble};
use crate::session::tenant::{ByTenant, TenantId};
use crate::session::timeouts::{Lifetimes, Over};
use crate::store::disk::file::{Seen, SessionFile};
use crate::store::disk::restore::{Restored, read_through, restore};
use crate::store::disk::sealing::Sealing;
use crate::store::disk::values::{Answer, What, Wish};
use crate::store::disk::writer::Writer;
use crate::store::memory::MemoryStore;

/// How often activity of one session is written at the most.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// The same as a part of the idle limit, if that is more: a twentieth is lost in a crash, and nobody notices.
const TOUCH_PART: u32 = 20;

/// How many sessions are sealed anew in one commit.
const RESEALED_AT_ONCE: usize = 1024;

/// What a disk store is opened with.
pub struct DiskSettings {
    /// The file.
    pub path: PathBuf,
    /// The keys that records are sealed under.
    pub ring: Arc<KeyRing>,
    /// What they are sealed for beside their keys. Of every tenant whose sessions are in it: whoever may open the file may
    /// open all of it, and whose a session is stands in its record.
    pub tenant: Box<str>,
    /// The shortest idle limit, of which the loss of activity in a crash is a part.
    pub idle: Duration,
    /// Where nonces come from.
    pub random: Random,
    /// By which writing is tried again.
    pub clock: Clock,
    /// Who may have sessions, and what is known of them: a session of just such a person shares it, so that a start with a
    /// million of them takes a quarter less of memory, and whoever has others is told.
    pub known: Known,
}

/// People by tenant and name.
pub type Known = HashMap<TenantId, HashMap<Box<str>, Arc<Principal>>>;

/// What opening a disk store comes to.
pub struct Opened {
    /// The store.
    pub store: DiskStore,
    /// Whether its file was made, because there was none.
    pub is_new: bool,
    /// The people whose sessions, some of them at least, are not as [`DiskSettings::known`] has them: they are not in it
    /// any more, have other rights or another password.
    pub unlike: Vec<Person>,
}

/// What was found of a store that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is none yet, and it could be made.
    ToBeMade,
    /// Another process has it open.
    InUse,
    /// One that can be opened, with keys that open all that is in it.
    Good,
}

/// The store.
pub struct DiskStore {
    memory: Arc<MemoryStore>,
    sealing: Arc<Sealing>,
    writer: Writer,
    /// In milliseconds.
    touch_every: AtomicU64,
}

impl DiskStore {
    /// Opens the file, making it if there is none, and fills memory from it.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what to do. No session has been changed then.
    pub fn open(settings: DiskSettings) -> Result<Opened, String> {
        let DiskSettings { path, ring, tenant, idle, random, clock, known } = settings;
        let (mut file, is_new) = SessionFile::open(&path)?;
        let sealing = Sealing::new(ring, &tenant, random);
        let Restored { memory, unlike } = restore(&mut file, &path, &sealing, known)?;
        let (memory, sealing) = (Arc::new(memory), Arc::new(sealing));
        let writer = Writer::start(&path, file, &memory, &sealing, clock)?;
        let store = Self { memory, sealing, writer, touch_every: AtomicU64::new(touch_every(idle)) };
        Ok(Opened { store, is_new, unlike })
    }

    /// Looks at the file as [`DiskStore::open`] would open it, and changes nothing.
    ///
    /// # Errors
    /// As [`DiskStore::open`].
    pub fn look(path: &Path, ring: Arc<KeyRing>, tenant: &str) -> Result<Found, String> {
        let look = || match SessionFile::look(path)? {
            Seen::ToBeMade => Ok(Found::ToBeMade),
            Seen::InUse => Ok(Found::InUse),
            Seen::File(mut file) => {
                let sealing = Sealing::new(ring, tenant, Random::System);
                read_through(&mut file, path, &sealing).map(|()| Found::Good)
            }
        };
        // If somebody has come between, what was read is half of one thing and half of another.
        look().or_else(|said| if file::is_in_use(path) { Ok(Found::InUse) } else { Err(said) })
    }

    /// Whether writing works, as far as is known.
    fn can_be_written(&self) -> Result<(), StoreError> {
        match self.writer.trouble().filter(|trouble| trouble.works_since.is_none()) {
            Some(trouble) => Err(StoreError(trouble.words)),
            None => Ok(()),
        }
    }

    /// Whether activity at `now` is to be written. Each session has moments of its own at which it is, so that they do
    /// not all come at once, and no session has to remember when it last was.
    fn is_to_be_written(&self, handle: SessionHandle, before: Timestamp, now: Timestamp) -> bool {
        let every = self.touch_every.load(Ordering::Relaxed).max(1);
        let [first, second, ..] = *handle.as_bytes();
        let shift = every * u64::from(u16::from_be_bytes([first, second])) / (1 << 16);
        let turn = |at: Timestamp| at.as_millis().saturating_add(shift) / every;
        turn(before) != turn(now)
    }
}

/// Whether another process has the file open as its store.
pub fn is_in_use(path: &Path) -> bool {
    file::is_in_use(path)
}

/// Whether a file could be made there that is not there yet.
///
/// # Errors
/// A sentence that says why not.
pub fn can_be_made(path: &Path) -> Result<(), String> {
    file::can_be_made(path)
}

/// Whether a file that is there can be told to be no store although there are no keys to open it.
///
/// # Errors
/// A sentence that says so.
pub fn can_be_one(path: &Path) -> Result<(), String> {
    file::can_be_one(path)
}

/// The shortest idle limit that anybody may have.
fn shortest_idle(lifetimes: &ByTenant<Lifetimes>) -> Duration {
    lifetimes.all().map(Lifetimes::shortest_idle).min().unwrap_or_default()
}

fn touch_every(idle: Duration) -> u64 {
    TOUCH_EVERY.max(idle / TOUCH_PART).as_millis() as u64
}

/// What a wish came to, when it is what such a wish comes to.
macro_rules! the {
    ($kind:ident of $answer:expr) => {{
        let Answer::$kind(what) = $answer? else {
            return Err(StoreError("another answer than the one asked for".to_owned()));
        };
        Ok::<_, StoreError>(what)
    }};
}

impl SessionStore for DiskStore {
    fn lookup(&self, handle: SessionHandle) -> Lookup {
        self.memory.lookup(handle)
    }

    fn create(&self, record: Record, limit: Option<Limit>) -> BoxFuture<'_, Result<Created, StoreError>> {
        Box::pin(async move {
            let is_kept = record.principal.is_some();
            if is_kept && limit.is_some() {
                // Nothing ends for a session that is known not to come about: an end cannot be taken back.
                self.can_be_written()?;
            }
            let created = self.memory.add(record, limit.as_ref());
            if let (true, Created::Session { live, ended }) = (is_kept, &created) {
                // In this order: of what a crash leaves half written, there is never one too many.
                let all = ended.iter().map(|(handle, _)| *handle).chain([live.handle()]);
                let written = futures_util::future::try_join_all(all.map(|handle| self.writer.written(handle)));
                if let Err(error) = written.await {
                    // Nobody has its cookie yet.
                    self.memory.take_back(live);
                    return Err(error);
                }
            }
            Ok(created)
        })
    }

    fn touch(&self, live: &Arc<Live>, now: Timestamp) {
        let before = live.active_at();
        live.note_activity(now);
        if live.principal().is_some() && self.is_to_be_written(live.handle(), before, now) {
            self.writer.behind(live.handle());
        }
    }

    fn lock(&self, live: &Arc<Live>) -> bool {
        let is_done = live.lock();
        if is_done {
            self.writer.behind(live.handle());
        }
        is_done
    }

    fn change_principal(
        &self,
        handle: SessionHandle,
        principal: Arc<Principal>,
        expected_version: u64,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let is_done = self.memory.change(handle, principal, expected_version);
            if is_done {
                self.writer.written(handle).await?;
            }
            Ok(is_done)
        })
    }

    fn users(&self) -> BoxFuture<'_, Result<Vec<Person>, StoreError>> {
        self.memory.users()
    }

    fn use_keys(&self, ring: Arc<KeyRing>) -> BoxFuture<'_, Result<(), StoreError>> {
        // Until everything is sealed anew, what the former keys have sealed must still open.
        let former = self.sealing.ring.load_full();
        self.sealing.ring.store(Arc::new(ring.before(&former)));
        Box::pin(async move {
            self.reseal().await?;
            self.sealing.ring.store(ring);
            Ok(())
        })
    }

    fn rotate(
        &self,
        handle: SessionHandle,
        generation: u32,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let is_current = self.memory.make_current(handle, generation, now);
            if is_current {
                // A session goes on that cannot be written: were the file read again as it was, its client would present
                // a generation that is later than the file's, which is taken.
                let _ = self.writer.written(handle).await;
            }
            Ok(is_current)
        })
    }

    fn revoke(
        &self,
        handle: SessionHandle,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let ended = self.memory.end(handle, reason, now);
            // Also one that has ended before: that may not have been written yet, and who asks again is told so again.
            if ended || self.memory.get(handle).is_some() {
                self.writer.written(handle).await?;
            }
            Ok(ended)
        })
    }

    fn revoke_all(
        &self,
        owner: Owner,
        reason: EndReason,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        Box::pin(async move {
            let ended = self.memory.end_all(&owner, reason, now);
            let written = ended.iter().map(|handle| self.writer.written(*handle));
            futures_util::future::try_join_all(written).await?;
            Ok(ended)
        })
    }

    fn list(&self, owner: Owner) -> BoxFuture<'_, Result<Vec<Arc<Live>>, StoreError>> {
        self.memory.list(owner)
    }

    fn page(&self, after: Option<SessionHandle>, most: usize) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.memory.page(after, most)
    }

    fn sweep(
        &self,
        lifetimes: ByTenant<Lifetimes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<(SessionHandle, Over)>, StoreError>> {
        Box::pin(async move {
            self.touch_every.store(touch_every(shortest_idle(&lifetimes)), Ordering::Relaxed);
            let swept = self.memory.sweep_now(&lifetimes, now);
            // Time ends or locks them again, should this not be written in time.
            let over = swept.over.iter().map(|(handle, _)| *handle);
            over.chain(swept.forgotten).for_each(|handle| self.writer.behind(handle));
            Ok(swept.over)
        })
    }

    fn end_above(
        &self,
        allowed: ByTenant<Option<Arc<Concurrency>>>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<SessionHandle>, StoreError>> {
        Box::pin(async move {
            let ended = self.memory.end_above_now(&allowed, now);
            // The next sweep ends them again, should this not be written in time.
            ended.iter().for_each(|handle| self.writer.behind(*handle));
            Ok(ended)
        })
    }

    fn active(&self) -> usize {
        self.memory.active()
    }

    fn trouble(&self) -> Option<Trouble> {
        self.writer.trouble()
    }

    fn failures_behind(&self) -> u64 {
        self.writer.failures_behind()
    }

    fn kind(&self) -> &'static str {
        "disk"
    }

    fn reseal(&self) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let handles = self.memory.handles();
            // In parts, so that others who wait for the disk come in between.
            for part in handles.chunks(RESEALED_AT_ONCE) {
                let written = part.iter().map(|handle| self.writer.written(*handle));
                futures_util::future::try_join_all(written).await?;
            }
            let wish = Wish { what: What::Reseal, now: Timestamp::default() };
            let _values: usize = the!(Count of self.writer.value(wish).await)?;
            Ok(handles.len())
        })
    }

    fn close(&self) {
        self.writer.close();
    }
}

impl KvStore for DiskStore {
    fn get(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<Option<Entry>, StoreError>> {
        let what = What::Get(space, name.to_owned());
        Box::pin(async move { the!(Found of self.writer.value(Wish { what, now }).await) })
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
        let checked = check(name, &value);
        let what = What::Put { space, name: name.to_owned(), expected, value, expires_at };
        Box::pin(async move {
            checked?;
            the!(Version of self.writer.value(Wish { what, now }).await)
        })
    }

    fn delete(&self, space: Space, name: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, StoreError>> {
        let what = What::Delete(space, name.to_owned());
        Box::pin(async move { the!(WasThere of self.writer.value(Wish { what, now }).await) })
    }

    fn list(
        &self,
        space: Space,
        prefix: &str,
        most: usize,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let what = What::List { space, prefix: prefix.to_owned(), most };
        Box::pin(async move { the!(Names of self.writer.value(Wish { what, now }).await) })
    }

    fn expire(&self, now: Timestamp) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move { the!(Count of self.writer.value(Wish { what: What::Expire, now }).await) })
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
