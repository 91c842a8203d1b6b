//! Forms that meet a session which is over, or asks for the password again: kept, sealed, until their person has signed in
//! and says what is to become of them. Bounded in size, number and time, and only for people who are known: a stranger's
//! would be a way to fill the store.
//!
//! One belongs to a person and to the browser that sent it, so that whoever has a copy of an old cookie cannot lay a form
//! in front of its owner to be sent in their name.

mod challenged;
mod kept;
mod outcome;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadlines;
use crate::crypto::keyring::{KeyRing, Purpose};
use crate::crypto::seal::Sealer;
use crate::enforce::authorize::AnswerCookies;
use crate::enforce::body::ClientBody;
use crate::enforce::form::{Unread, whole};
use crate::enforce::shared::Shared;
use crate::enforce::tenant::Tenant;
use crate::login::attempt::Browser;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::policy::facts::{Expectation, Facts, expectation};
use crate::policy::navigation::FormKind;
use crate::session::kv::{Expected, Space};
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::store::StoreError;
use std::rc::Rc;

pub use challenged::Challenged;
use challenged::{is_from_here, lacks_token, owner};
pub use kept::{PostId, Posted, owner_of};
use kept::{name_of, weight_of};
pub use outcome::{NotKept, Outcome};

/// Default for `session.parked_posts.max_size`, in bytes: a form with a long text or a scanned page in it.
pub const DEFAULT_MAX_SIZE: u64 = 1 << 20;

/// Default for `session.parked_posts.per_user`: a few tabs that were open over lunch.
pub const DEFAULT_PER_USER: usize = 5;

/// Default for `session.parked_posts.total`, in bytes: thousands of ordinary forms, and a part of a disk that nobody misses.
pub const DEFAULT_TOTAL: u64 = 64 << 20;

/// Default for `session.parked_posts.keep`: who has just sent a form is there, and signs in now or not at all.
pub const DEFAULT_KEEP: Duration = Duration::from_secs(15 * 60);

/// How long a form may take to arrive: [`DEFAULT_MAX_SIZE`] by a line that carries 10 kB a second.
const READ_TIMEOUT: Duration = Duration::from_secs(105);

/// How many forms are read at once, of all people: each is in memory until it is whole.
const MAX_AT_ONCE: usize = 64;

/// How many of one person are listed for them: more than anybody looks through, and than is usual to let them have.
const MOST_LISTED: usize = 100;

/// How often it is looked for what has ended while there is something: longer than its time it cannot be asked for anyway.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkingSettings {
    /// The largest body, in bytes.
    pub max_size: u64,
    /// How many one person may have.
    pub per_user: usize,
    /// How many bytes all of them may take.
    pub total: u64,
    /// How long each is kept.
    pub keep: Duration,
}

/// The forms of one tenant.
pub struct Parking {
    settings: ParkingSettings,
    sealer: Sealer,
    tenant: Box<str>,
}

/// What is under way. It outlives configurations.
#[derive(Default)]
pub struct ParkingLot {
    /// How many forms of whom are being read.
    being_read: Mutex<HashMap<[u8; 16], usize>>,
    /// Counting what is there and putting one more are one step.
    counting: tokio::sync::Mutex<()>,
    /// When it is to be looked for what has ended, in milliseconds; from the beginning, since a store outlives us.
    expire_at: AtomicU64,
}

/// Goes with the head of a form that was kept and is sent now, should its person be asked for their password once more: it
/// is then kept as it was, under the same name and for no longer.
#[derive(Clone, Debug)]
pub struct Again {
    /// Whose it is.
    pub user: Box<str>,
    /// What it was called.
    pub id: PostId,
    /// What it is.
    pub posted: Posted,
}

/// What a list shows of a form that is kept.
#[derive(Debug)]
pub struct Listed {
    /// What it is called.
    pub id: PostId,
    /// When it was sent.
    pub at: Timestamp,
    /// The path and query it was sent to.
    pub target: String,
    /// How long its content is, in bytes.
    pub size: usize,
}

/// What marks the answer to a form whose person must sign in for it.
#[derive(Clone, Copy, Debug)]
pub struct AskedToSignIn;

/// Keeps a form that somebody must sign in for, if it is one and may be kept. To be asked of who is going somewhere.
pub async fn park(
    shared: &Shared,
    tenant: &Tenant,
    post: &Challenged<'_>,
    body: Option<&mut ClientBody>,
    deadlines: &Rc<Deadlines>,
    cookies: &mut AnswerCookies,
) -> Outcome {
    let Some(body) = body.filter(|_| post.parts.method == Method::POST && is_from_here(post.facts)) else {
        return Outcome::NoForm;
    };
    let owner = owner(post.live, post.reason);
    let kept = match (&tenant.parking, post.parts.extensions.get::<Again>(), owner) {
        (None, ..) => Err(NotKept::Off),
        (Some(parking), Some(again), _) => parking.keep_again(shared, again, post.now).await,
        (Some(_), None, _) if FormKind::of(&post.parts.headers).is_none() => Err(NotKept::OtherKind),
        (Some(_), None, Some(_)) if lacks_token(post) => Err(NotKept::Token),
        (Some(parking), None, Some(owner)) => parking.keep(shared, owner, post, body, deadlines, cookies).await,
        (Some(_), None, None) => Err(NotKept::Stranger),
    };
    let (event, outcome) = match kept {
        Ok(kept) => (AuditEvent::PostParked, Outcome::Kept(kept)),
        Err(why) => (AuditEvent::PostNotParked, Outcome::NotKept(why)),
    };
    let reason = kept.err().map(NotKept::name);
    Metrics::count(&shared.metrics.parked_posts, reason.unwrap_or("parked"));
    // A stranger's is nothing that happened to a session.
    if let Some(owner) = owner {
        note(shared, event, &owner.user, post.facts, post.live, reason, post.parts.uri.path());
    }
    outcome
}

/// Writes down what became of the form that somebody sent to `path`.
pub fn note(
    shared: &Shared,
    event: AuditEvent,
    user: &str,
    facts: &Facts<'_>,
    live: Option<&Live>,
    reason: Option<&str>,
    path: &str,
) {
    let (client, user, path) = (Some(facts.client), Some(user), Some(path));
    let (handle, tenant) = (live.map(Live::handle), live.and_then(|live| live.tenant().told()));
    let session = handle.as_ref().map(|handle| -> &dyn std::fmt::Display { handle });
    shared.audit(event, AuditFields { client, session, user, tenant, reason, path, ..AuditFields::default() });
}

impl Parking {
    /// What `tenant` keeps, sealed under `ring`.
    pub fn new(settings: ParkingSettings, ring: Arc<KeyRing>, tenant: &str) -> Self {
        Self { settings, sealer: Sealer::new(ring, Purpose::Parked, tenant), tenant: tenant.into() }
    }

    /// How long something is kept.
    pub const fn keep_for(&self) -> Duration {
        self.settings.keep
    }

    async fn keep(
        &self,
        shared: &Shared,
        owner: &Principal,
        post: &Challenged<'_>,
        body: &mut ClientBody,
        deadlines: &Rc<Deadlines>,
        cookies: &mut AnswerCookies,
    ) -> Result<PostId, NotKept> {
        let length = post.parts.headers.get(header::CONTENT_LENGTH);
        let length: Option<u64> = length.and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length| length > self.settings.max_size) {
            return Err(NotKept::TooLarge);
        }
        // Browsers do not wait to be told to go on.
        if expectation(&post.parts.headers) != Expectation::Nothing {
            return Err(NotKept::Broken);
        }
        let by = owner_of(&self.tenant, &owner.user);
        let _reading = shared.parking.begin(by, self.settings.per_user)?;
        let content = self.read(body, deadlines, post.now).await?;
        let browser = Browser::of(&post.parts.headers).unwrap_or_else(|| {
            let browser = Browser::random(&shared.random);
            cookies.extend(browser.set());
            browser
        });
        let posted = Posted::new(post.parts, post.facts.authority, browser, post.now, content);
        let posted = posted.ok_or(NotKept::Broken)?;
        let plain = posted.encoded();
        let id = PostId::new(&shared.random, weight_of(plain.len()));
        let sealed = self.seal(shared, &owner.user, id, &plain, post.now);
        let _one = shared.parking.counting.lock().await;
        self.admit(shared, by, id, post.now).await?;
        let ends = post.now.plus(self.settings.keep);
        let put = self.put(shared, by, id, sealed, ends, post.now).await;
        if put.map_err(|_| NotKept::Store)? { Ok(id) } else { Err(NotKept::Store) }
    }

    async fn keep_again(&self, shared: &Shared, again: &Again, now: Timestamp) -> Result<PostId, NotKept> {
        let put = self.put_back(shared, &again.user, again.id, &again.posted, now).await;
        if put == Ok(true) { Ok(again.id) } else { Err(NotKept::Store) }
    }

    async fn read(&self, body: &mut ClientBody, deadlines: &Rc<Deadlines>, now: Timestamp) -> Result<Bytes, NotKept> {
        let most = usize::try_from(self.settings.max_size).unwrap_or(usize::MAX);
        let content = whole(body, most, &deadlines.set(None), now.plus(READ_TIMEOUT)).await;
        content.map_err(|why| match why {
            Unread::TooLarge => NotKept::TooLarge,
            Unread::Broken | Unread::Slow => NotKept::Broken,
        })
    }

    fn seal(&self, shared: &Shared, user: &str, id: PostId, plain: &[u8], now: Timestamp) -> Vec<u8> {
        self.sealer.seal(&shared.random, now.day(), &self.associated(user, id), plain)
    }

    /// What a sealed form is tied to, so that a store which mixes names up opens nobody else's.
    fn associated(&self, user: &str, id: PostId) -> Vec<u8> {
        let length = (self.tenant.len() as u64).to_be_bytes();
        [&length, self.tenant.as_bytes(), &id.bytes()[..], user.as_bytes()].concat()
    }

    /// Whether there is room for one more. What each takes is in its name.
    async fn admit(&self, shared: &Shared, by: [u8; 16], id: PostId, now: Timestamp) -> Result<(), NotKept> {
        // None takes less than one of these, so there are never more.
        let most = usize::try_from(self.settings.total / kept::GRAIN).unwrap_or(usize::MAX).saturating_add(1);
        let names = shared.asked("kv_list", shared.values.list(Space::Parked, "", most, now)).await;
        let names = names.map_err(|_| NotKept::Store)?;
        let own = names.iter().filter(|name| name.starts_with(&*name_of(by, None))).count();
        if own >= self.settings.per_user {
            return Err(NotKept::TooMany);
        }
        let taken: u64 = names.iter().filter_map(|name| PostId::in_name(name)).map(PostId::bytes_taken).sum();
        if taken + id.bytes_taken() > self.settings.total { Err(NotKept::Full) } else { Ok(()) }
    }

    /// Puts it where nothing is; whether nothing was.
    async fn put(
        &self,
        shared: &Shared,
        by: [u8; 16],
        id: PostId,
        sealed: Vec<u8>,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let name = name_of(by, Some(id));
        let put = shared.values.put_if(Space::Parked, &name, Expected::Nothing, sealed, Some(ends), now);
        let put = shared.asked("kv_put", put).await?.is_some();
        shared.parking.expire_at.fetch_min(ends.as_millis(), Ordering::Relaxed);
        Ok(put)
    }

    /// What is kept for `user` by this name, if it was sent from this browser to this host.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(
        &self,
        shared: &Shared,
        user: &str,
        id: PostId,
        browser: Option<Browser>,
        authority: &str,
        now: Timestamp,
    ) -> Result<Option<Posted>, StoreError> {
        let name = name_of(owner_of(&self.tenant, user), Some(id));
        let found = shared.asked("kv_get", shared.values.get(Space::Parked, &name, now)).await?;
        let Some(mut entry) = found else { return Ok(None) };
        // Nothing is kept for longer than a day.
        let days = now.day().saturating_sub(2)..=now.day() + 1;
        let plain = self.sealer.open(days, &self.associated(user, id), &mut entry.value);
        let posted = plain.and_then(Posted::decoded);
        Ok(posted.filter(|posted| posted.is_from(browser) && posted.authority.eq_ignore_ascii_case(authority)))
    }

    /// Whether anything is kept for `user` that was sent from this browser to this host.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn has_any(
        &self,
        shared: &Shared,
        user: &str,
        browser: Option<Browser>,
        authority: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        for id in self.named(shared, user, now).await? {
            if self.find(shared, user, id, browser, authority, now).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What is kept for `user`, from whatever browser, as names tell it.
    async fn named(&self, shared: &Shared, user: &str, now: Timestamp) -> Result<Vec<PostId>, StoreError> {
        let own = name_of(owner_of(&self.tenant, user), None);
        let names = shared.asked("kv_list", shared.values.list(Space::Parked, &own, MOST_LISTED, now)).await?;
        Ok(names.iter().filter_map(|name| PostId::in_name(name)).collect())
    }

    /// All that is kept for `user` and was sent from this browser to this host, the oldest first. The content of no more
    /// than one is in memory at a time.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn all(
        &self,
        shared: &Shared,
        user: &str,
        browser: Option<Browser>,
        authority: &str,
        now: Timestamp,
    ) -> Result<Vec<Listed>, StoreError> {
        let ids = self.named(shared, user, now).await?;
        let mut all = Vec::with_capacity(ids.len());
        for id in ids {
            let found = self.find(shared, user, id, browser, authority, now).await?;
            all.extend(found.map(|Posted { at, target, content, .. }| Listed { id, at, target, size: content.len() }));
        }
        all.sort_by_key(|listed| (listed.at, listed.id.bytes()));
        Ok(all)
    }

    /// Takes it away; whether it was there. Of all who ask at once, one is told that it was.
    ///
    /// # Errors
    /// When the store fails. It may be gone or not.
    pub async fn take(&self, shared: &Shared, user: &str, id: PostId, now: Timestamp) -> Result<bool, StoreError> {
        let name = name_of(owner_of(&self.tenant, user), Some(id));
        shared.asked("kv_delete", shared.values.delete(Space::Parked, &name, now)).await
    }

    /// Puts back what was taken and has certainly not been sent, until its time is over; whether that is so.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_back(
        &self,
        shared: &Shared,
        user: &str,
        id: PostId,
        posted: &Posted,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let ends = posted.at.plus(self.settings.keep);
        if now >= ends {
            return Ok(false);
        }
        let sealed = self.seal(shared, user, id, &posted.encoded(), now);
        // What is there by its name is itself: somebody has put it back already.
        self.put(shared, owner_of(&self.tenant, user), id, sealed, ends, now).await?;
        Ok(true)
    }
}

impl ParkingLot {
    /// Notes that a form is being read, until what is returned is dropped; or of whom there are too many.
    fn begin(&self, by: [u8; 16], most: usize) -> Result<Reading<'_>, NotKept> {
        let mut all = self.being_read.lock().unwrap_or_else(PoisonError::into_inner);
        let has = all.get(&by).copied().unwrap_or_default();
        if has >= most {
            return Err(NotKept::TooMany);
        }
        if all.values().sum::<usize>() >= MAX_AT_ONCE {
            return Err(NotKept::Full);
        }
        all.insert(by, has + 1);
        Ok(Reading { lot: self, by })
    }

    /// Forgets what has ended. A store that nobody has put anything in is not asked.
    pub async fn expire(&self, shared: &Shared, now: Timestamp) {
        if now.as_millis() < self.expire_at.load(Ordering::Relaxed) {
            return;
        }
        // What is put from here on says by itself when it is to be looked for.
        self.expire_at.store(u64::MAX, Ordering::Relaxed);
        // Nobody waits for this, so it may take as long as it takes.
        let expired = shared.measured("kv_expire", shared.values.expire(now)).await;
        let left = shared.measured("kv_list", shared.values.list(Space::Parked, "", 1, now)).await;
        if expired.is_err() || left.is_ok_and(|left| !left.is_empty()) {
            self.expire_at.fetch_min(now.plus(EXPIRE_EVERY).as_millis(), Ordering::Relaxed);
        }
    }
}

/// A form that is being read.
struct Reading<'a> {
    lot: &'a ParkingLot,
    by: [u8; 16],
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut all = self.lot.being_read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(has) = all.get_mut(&self.by) {
            *has -= 1;
            if *has == 0 {
                all.remove(&self.by);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_read_at_once_of_one_person_and_of_all() {
        let (lot, person) = (ParkingLot::default(), |number: u8| [number; 16]);
        let first = lot.begin(person(0), 2);
        let second = lot.begin(person(0), 2);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(lot.begin(person(0), 2).err(), Some(NotKept::TooMany));
        let others: Vec<_> = (1..MAX_AT_ONCE as u8 - 1).map(|number| lot.begin(person(number), 2)).collect();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(lot.begin(person(200), 2).err(), Some(NotKept::Full), "of all");
        drop(first);
        assert!(lot.begin(person(0), 2).is_ok(), "what has been read makes room");
        drop((second, others));
        assert!(lot.being_read.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}
