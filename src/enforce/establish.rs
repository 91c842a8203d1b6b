//! Sessions begin and end here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use crate::base::clock::Timestamp;
use crate::base::secret::Secret;
use crate::enforce::people;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::MAX_ANONYMOUS_PER_ADDRESS;
use crate::enforce::tenant::Tenant;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;
use crate::policy::facts::Facts;
use crate::session::binding::{Bound, TlsFingerprint};
use crate::session::concurrency::{Limit, WhenFull};
use crate::session::cookie::CookieSecret;
use crate::session::device::Device;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::principal::Principal;
use crate::session::record::{EndReason, Record};
use crate::session::rotation::proof;
use crate::session::store::{Created, StoreError};

/// Where a new session is made from.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Its user agent.
    pub user_agent: &'a [u8],
    /// The fingerprint of its TLS.
    pub tls: TlsFingerprint,
}

impl<'a> Place<'a> {
    /// Where a request comes from.
    pub const fn of(facts: &Facts<'a>) -> Self {
        Self { client: facts.client, user_agent: facts.user_agent, tls: facts.tls }
    }
}

/// A new session and the cookie that opens it.
pub struct Established {
    /// The session.
    pub live: Arc<Live>,
    /// The `Set-Cookie` value.
    pub cookie: HeaderValue,
}

/// What came of signing in.
pub enum SignedIn {
    /// Somebody is signed in.
    Yes(Established),
    /// They have as many sessions as they may have, which is so many, and what happens then is not that one ends by itself.
    Full(usize),
    /// The session that was to be made has been made before.
    Before,
}

/// What somebody has chosen who had as many sessions as they may have.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    /// What their session is called: a choice makes one session and no second one.
    pub session: SessionHandle,
    /// What ends for it.
    pub ends: Option<SessionHandle>,
}

/// Signs somebody in: a new record with a handle and a seed of its own, and the session that the browser had before,
/// anonymous or not, is dead at once. Nothing that was planted in it survives.
///
/// `remember` is whether they asked to be remembered. Who was not asked, and has only proved again who they are, is
/// remembered as before.
///
/// # Errors
/// When the store fails; then nobody is signed in.
#[expect(clippy::too_many_arguments, reason = "what is known of who signs in, each used once")]
pub async fn sign_in(
    shared: &Shared,
    tenant: &Tenant,
    principal: Principal,
    remember: Option<bool>,
    place: Place<'_>,
    before: Option<Arc<Live>>,
    chosen: Option<Chosen>,
    now: Timestamp,
) -> Result<SignedIn, StoreError> {
    let is_same = |before: &&Arc<Live>| before.principal().is_some_and(|known| known.user == principal.user);
    let as_before = || before.as_ref().filter(is_same).is_some_and(|before| before.is_remembered());
    let is_remembered = remember.unwrap_or_else(as_before) && tenant.rules.lifetimes.remembers(&principal);
    let max = tenant.rules.concurrency.as_ref().and_then(|concurrency| concurrency.of(&principal));
    let limit = max.map(|max| limit(tenant, max, before.as_deref(), chosen));
    let name = chosen.map(|chosen| chosen.session);
    let established = match create(shared, tenant, Some((principal, is_remembered)), name, place, limit, now).await? {
        Made::Session(established) => established,
        Made::Full => return Ok(SignedIn::Full(max.unwrap_or_default())),
        Made::Before => return Ok(SignedIn::Before),
    };
    // Only now: who cannot be given a new session keeps the one they have.
    if let Some(before) = before
        && let Err(error) = shared.end_session(before.handle(), EndReason::Replaced, Some(place.client), now).await
    {
        // Nobody will have its cookie.
        let _ = shared.end_session(established.live.handle(), EndReason::Replaced, Some(place.client), now).await;
        return Err(error);
    }
    people::catch_up(shared, tenant, &established.live).await?;
    Ok(SignedIn::Yes(established))
}

/// What leaves room for another session of somebody who may have `max`. The one that this browser had of theirs makes way
/// for it in the same step, or they would be kept out by themselves.
fn limit(tenant: &Tenant, max: usize, before: Option<&Live>, chosen: Option<Chosen>) -> Limit {
    // What is somebody else's is none of this person's sessions, and makes no room.
    let before = before.map(|live| (live.handle(), EndReason::Replaced));
    let chosen = chosen.and_then(|chosen| chosen.ends).map(|handle| (handle, EndReason::Displaced));
    let when_full = tenant.rules.concurrency.as_ref().map_or(WhenFull::Refuse, |concurrency| concurrency.when_full);
    Limit {
        max,
        ends_oldest: when_full == WhenFull::EndOldest,
        making_way: before.into_iter().chain(chosen).collect(),
        lifetimes: Some(tenant.rules.lifetimes.clone()),
    }
}

/// Gives a stranger a session; `None` when their address has [`MAX_ANONYMOUS_PER_ADDRESS`].
///
/// # Errors
/// When the store fails.
pub async fn anonymous(
    shared: &Shared,
    tenant: &Tenant,
    place: Place<'_>,
    now: Timestamp,
) -> Result<Option<Established>, StoreError> {
    let limit = Limit::counting(MAX_ANONYMOUS_PER_ADDRESS);
    Ok(match create(shared, tenant, None, None, place, Some(limit), now).await? {
        Made::Session(established) => Some(established),
        Made::Full | Made::Before => None,
    })
}

/// What came of making a session.
enum Made {
    Session(Established),
    Full,
    Before,
}

async fn create(
    shared: &Shared,
    tenant: &Tenant,
    who: Option<(Principal, bool)>,
    name: Option<SessionHandle>,
    place: Place<'_>,
    limit: Option<Limit>,
    now: Timestamp,
) -> Result<Made, StoreError> {
    let bound = Bound { tls: place.tls, ..Bound::of(place.client, place.user_agent) };
    let (principal, is_remembered) = who.map_or((None, false), |(principal, asked)| (Some(principal), asked));
    let mut record = Record {
        device: Device::of(place.user_agent),
        tenant: tenant.id,
        is_remembered,
        ..Record::new(&shared.random, principal.map(Arc::new), bound, now)
    };
    record.handle = name.unwrap_or(record.handle);
    let live = match made(shared, record, limit).await? {
        Created::Session { live, ended } => {
            shared.note_ended(&ended, Some(place.client));
            live
        }
        Created::Full => return Ok(Made::Full),
        Created::Taken => return Ok(Made::Before),
    };
    let kind = if live.principal().is_some() { "user" } else { "anonymous" };
    Metrics::count(&shared.metrics.sessions_created, kind);
    let (handle, user) = (live.handle(), live.principal().map(|principal| &*principal.user));
    let (client, session, reason) = (Some(place.client), Some(&handle as _), Some(kind));
    let fields = AuditFields { client, session, user, tenant: tenant.id.told(), reason, ..AuditFields::default() };
    shared.audit(AuditEvent::SessionCreated, fields);
    let generation = live.rotation().generation;
    let cookie = cookie(shared, tenant, &live, generation, now)
        .ok_or_else(|| StoreError("the session cookie could not be written".to_owned()))?;
    Ok(Made::Session(Established { live, cookie }))
}

/// Asks the store. What has ended for a session that then could not be kept is over all the same, and so are its streams.
async fn made(shared: &Shared, record: Record, limit: Option<Limit>) -> Result<Created, StoreError> {
    let held = match &limit {
        Some(limit) if !limit.only_counts() => shared.asked("list", shared.store.list(record.owner())).await?,
        Some(_) | None => Vec::new(),
    };
    let created = shared.asked("create", shared.store.create(record, limit)).await;
    if created.is_err() {
        let over = held.iter().filter_map(|live| live.ended().map(|(why, _)| (live.handle(), why)));
        shared.note_ended(&over.collect::<Vec<_>>(), None);
    }
    created
}

/// The `Set-Cookie` value of one generation of a session.
pub fn cookie(shared: &Shared, tenant: &Tenant, live: &Live, generation: u32, now: Timestamp) -> Option<HeaderValue> {
    let proof = Secret::new(proof(live.seed(), generation));
    let secret = CookieSecret { handle: live.handle(), generation, proof };
    match kept_for(tenant, live, now) {
        Some(span) => tenant.cookie.set_for(&shared.random, &secret, now, span),
        None => tenant.cookie.set(&shared.random, &secret, now),
    }
}

/// For how long a browser is to keep the cookie of somebody who is remembered, by the rules and the roles of this moment:
/// whoever is not any more has one that goes when the browser is closed.
fn kept_for(tenant: &Tenant, live: &Live, now: Timestamp) -> Option<Duration> {
    let principal = live.principal().filter(|_| live.is_remembered())?;
    let lifetimes = &tenant.rules.lifetimes;
    let until = live.authenticated_at().plus(lifetimes.of(Some(principal), true).absolute);
    lifetimes.remembers(principal).then(|| until.since(now))
}
