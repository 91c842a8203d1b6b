//! Sessions begin and end here.

use std::net::IpAddr;
use std::sync::Arc;

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
use crate::session::cookie::CookieSecret;
use crate::session::device::Device;
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

/// Signs somebody in: a new record with a handle and a seed of its own, and the session that the browser had before,
/// anonymous or not, is dead at once. Nothing that was planted in it survives.
///
/// # Errors
/// When the store fails; then nobody is signed in.
pub async fn sign_in(
    shared: &Shared,
    tenant: &Tenant,
    principal: Principal,
    place: Place<'_>,
    before: Option<Arc<Live>>,
    now: Timestamp,
) -> Result<Established, StoreError> {
    let created = create(shared, tenant, Some(principal), place, None, now).await?;
    let established =
        created.ok_or_else(|| StoreError("the store refused a session that no limit applies to".to_owned()))?;
    // Only now: who cannot be given a new session keeps the one they have.
    if let Some(before) = before
        && let Err(error) = shared.end_session(before.handle(), EndReason::Replaced, Some(place.client), now).await
    {
        // Nobody will have its cookie.
        let _ = shared.end_session(established.live.handle(), EndReason::Replaced, Some(place.client), now).await;
        return Err(error);
    }
    people::catch_up(shared, tenant, &established.live).await?;
    Ok(established)
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
    create(shared, tenant, None, place, Some(MAX_ANONYMOUS_PER_ADDRESS), now).await
}

async fn create(
    shared: &Shared,
    tenant: &Tenant,
    principal: Option<Principal>,
    place: Place<'_>,
    most: Option<usize>,
    now: Timestamp,
) -> Result<Option<Established>, StoreError> {
    let bound = Bound { tls: place.tls, ..Bound::of(place.client, place.user_agent) };
    let record = Record {
        device: Device::of(place.user_agent),
        tenant: tenant.id,
        ..Record::new(&shared.random, principal.map(Arc::new), bound, now)
    };
    let live = match shared.asked("create", shared.store.create(record, most)).await? {
        Created::Session(live) => live,
        Created::Full => return Ok(None),
    };
    let kind = if live.principal().is_some() { "user" } else { "anonymous" };
    Metrics::count(&shared.metrics.sessions_created, kind);
    let (handle, user) = (live.handle(), live.principal().map(|principal| &*principal.user));
    let (client, session, reason) = (Some(place.client), Some(&handle as _), Some(kind));
    let fields = AuditFields { client, session, user, reason, ..AuditFields::default() };
    shared.audit(AuditEvent::SessionCreated, fields);
    let generation = live.rotation().generation;
    let cookie = cookie(shared, tenant, &live, generation, now)
        .ok_or_else(|| StoreError("the session cookie could not be written".to_owned()))?;
    Ok(Some(Established { live, cookie }))
}

/// The `Set-Cookie` value of one generation of a session.
pub fn cookie(shared: &Shared, tenant: &Tenant, live: &Live, generation: u32, now: Timestamp) -> Option<HeaderValue> {
    let proof = Secret::new(proof(live.seed(), generation));
    tenant.cookie.set(&shared.random, &CookieSecret { handle: live.handle(), generation, proof }, now)
}
