//! Seeing and ending sessions. All of them are walked through in slices, so that nobody waits for it, however many there are.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::admin::api::{ok, private, wrong};
use crate::admin::guard::Caller;
use crate::admin::metrics::text;
use crate::admin::query::{Query, State, Wanted};
use crate::base::clock::Timestamp;
use crate::enforce::shared::{Ended, Shared};
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::record::{EndReason, Owner};
use crate::session::store::{Lookup, StoreError};
use crate::session::tenant::TenantId;
use crate::session::timeouts::{Lifetimes, Over};

/// The most sessions in one answer: half a megabyte.
pub const MOST: usize = 1000;

/// How many sessions are taken from the store at once to be looked at: some milliseconds of one thread in the background.
const SLICE: usize = 16 * 1024;

/// How many sessions are ended at once, so that a store that writes them down can do so together.
const AT_ONCE: usize = 64;

/// How long before the disk is known to fail what it fails at may have happened: what is gathered waits for a second.
const FAILS_WITHIN: Duration = Duration::from_secs(2);

/// The sessions that are asked for, and where to go on if these are not all.
pub(super) async fn list(shared: &Shared, query: &Query<'_>, wanted: &Wanted) -> Response<Full<Bytes>> {
    let now = shared.clock.now();
    let found = match &wanted.user {
        // The store knows whose sessions last.
        Some(user) if wanted.state == State::Active => match only_tenant(shared, wanted.tenant) {
            Some(tenant) => of_user(shared, tenant, user, wanted, now).await,
            None => walk(shared, wanted, now).await,
        },
        Some(_) | None => walk(shared, wanted, now).await,
    };
    let (found, next) = match found {
        Ok(found) => found,
        Err(error) => return unavailable(&error),
    };
    let lifetimes = shared.snapshot.load().lifetimes();
    let mut response = ok(&found.iter().map(|live| in_short(lifetimes.of(live.tenant()), live, now)).collect());
    if let Some(next) = next {
        let link = format!("<{}>; rel=\"next\"", query.next("/sessions", next));
        response.headers_mut().extend(HeaderValue::from_str(&link).ok().map(|link| (header::LINK, link)));
    }
    response
}

/// The tenant that is meant, where that is only one: it is said, or there are no others.
fn only_tenant(shared: &Shared, said: Option<TenantId>) -> Option<TenantId> {
    said.or_else(|| shared.snapshot.load().tenants.is_none().then_some(TenantId::DEFAULT))
}

type Found = (Vec<Arc<Live>>, Option<SessionHandle>);

async fn of_user(
    shared: &Shared,
    tenant: TenantId,
    user: &str,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Found, StoreError> {
    let mut found = shared.asked("list", shared.store.list(Owner::user(tenant, user))).await?;
    found.retain(|live| wanted.after.is_none_or(|after| live.handle() > after) && wanted.fits(&live.view(), now));
    found.sort_unstable_by_key(|live| live.handle());
    let next = if found.len() > wanted.limit { found.get(wanted.limit - 1).map(|live| live.handle()) } else { None };
    found.truncate(wanted.limit);
    Ok((found, next))
}

async fn walk(shared: &Shared, wanted: &Wanted, now: Timestamp) -> Result<Found, StoreError> {
    let (mut found, mut after) = (Vec::new(), wanted.after);
    // As many as are wanted, if all fit, and one to see whether there are more; then faster through what does not fit.
    let mut slice = wanted.limit + 1;
    loop {
        let page = shared.asked("page", shared.store.page(after, slice)).await?;
        slice = SLICE;
        for live in page.sessions {
            if !wanted.fits(&live.view(), now) {
                continue;
            }
            if found.len() == wanted.limit {
                // There is one more at least.
                let next = found.last().map(|live: &Arc<Live>| live.handle());
                return Ok((found, next));
            }
            found.push(live);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok((found, None)),
        }
        // Whatever else goes on in the background has its turn.
        tokio::task::yield_now().await;
    }
}

/// One session in full.
pub(super) async fn show(shared: &Shared, handle: SessionHandle) -> Response<Full<Bytes>> {
    let found = match shared.store.lookup(handle) {
        Lookup::Hit(live) => Ok(Some(live)),
        Lookup::Miss => Ok(None),
        Lookup::Later(later) => shared.asked("lookup", later).await,
    };
    match found {
        Ok(Some(live)) => ok(&in_full(shared, &live)),
        Ok(None) => wrong(StatusCode::NOT_FOUND, "there is no such session"),
        Err(error) => unavailable(&error),
    }
}

/// Ends one session.
pub(super) async fn end_one(shared: &Shared, handle: SessionHandle, caller: Caller) -> Response<Full<Bytes>> {
    let ended = shared.end_here(handle, EndReason::Revoked, caller.address(), shared.clock.now()).await;
    let fields = AuditFields { session: Some(&handle), reason: Some("one"), ..AuditFields::default() };
    note(shared, caller, ended.count, fields);
    match ended {
        Ended { count: 0, failure: None } => {
            wrong(StatusCode::NOT_FOUND, "there is no such session, or it has ended already")
        }
        // It has ended before, and that is still not on the disk.
        Ended { count: 0, failure: Some(_) } => {
            let has_ended = matches!(shared.store.lookup(handle), Lookup::Hit(live) if live.ended().is_some());
            told(shared, &ended, usize::from(has_ended))
        }
        Ended { .. } => told(shared, &ended, ended.count),
    }
}

/// Ends every session of a person. Where there are several tenants it must be said of which: another person of the same
/// name is not to be signed out by an oversight.
pub(super) async fn end_of_user(
    shared: &Shared,
    tenant: Option<TenantId>,
    user: &str,
    caller: Caller,
) -> Response<Full<Bytes>> {
    let Some(tenant) = only_tenant(shared, tenant) else {
        let message = "there are several tenants: say whose user it is with tenant=NAME (--tenant NAME), \"default\" for a host \
                       of no tenant";
        return wrong(StatusCode::BAD_REQUEST, message);
    };
    let owner = Owner::user(tenant, user);
    let ended = shared.end_all_here(owner, EndReason::Revoked, shared.clock.now()).await;
    let fields =
        AuditFields { user: Some(user), tenant: tenant.told(), reason: Some("user"), ..AuditFields::default() };
    note(shared, caller, ended.count, fields);
    let (ended, unwritten) = with_those_before(shared, ended, Some(tenant), Some(user)).await;
    told(shared, &ended, unwritten)
}

/// What is told of ends that are not on the disk. Where nothing was ended because all had ended before, that may not be on
/// it yet, and who asks again is told so again.
async fn with_those_before(
    shared: &Shared,
    ended: Ended,
    tenant: Option<TenantId>,
    user: Option<&str>,
) -> (Ended, usize) {
    let fails = shared.store.trouble().filter(|trouble| trouble.works_since.is_none());
    let (0, None, Some(trouble)) = (ended.count, &ended.failure, fails) else {
        let unwritten = ended.count;
        return (ended, unwritten);
    };
    let (mut before, mut after) = (Vec::new(), None);
    loop {
        let Ok(page) = shared.asked("page", shared.store.page(after, SLICE)).await else { return (ended, 0) };
        let is_meant = |live: &Live| {
            tenant.is_none_or(|tenant| live.tenant() == tenant)
                && user.is_none_or(|user| live.principal().is_some_and(|principal| *principal.user == *user))
                && live.ended().is_some_and(|(_, at)| at.plus(FAILS_WITHIN) >= trouble.since)
        };
        before.extend(page.sessions.iter().filter(|live| is_meant(live)).map(|live| live.handle()));
        tokio::task::yield_now().await;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let Some(one) = before.first() else { return (ended, 0) };
    // All that is behind is written at once, or nothing is.
    let written = shared.asked("revoke", shared.store.revoke(*one, EndReason::Revoked, shared.clock.now())).await;
    (Ended { count: 0, failure: written.err() }, before.len())
}

/// Ends every session that is there when it begins, or of those the ones of a tenant.
pub(super) async fn end_all(shared: &Shared, tenant: Option<TenantId>, caller: Caller) -> Response<Full<Bytes>> {
    let (mut all, mut unwritten) = (Ended::default(), 0);
    let walked = end_page_by_page(shared, tenant, caller, &mut all, &mut unwritten).await;
    let count = all.count;
    let of = tenant.and_then(TenantId::told);
    note(shared, caller, count, AuditFields { tenant: of, reason: Some("all"), ..AuditFields::default() });
    match walked {
        Ok(()) if count == 0 => {
            let (all, unwritten) = with_those_before(shared, all, tenant, None).await;
            told(shared, &all, unwritten)
        }
        Ok(()) => told(shared, &all, unwritten),
        Err(error) => wrong(StatusCode::SERVICE_UNAVAILABLE, &format!("{error}; {count} were ended before that")),
    }
}

/// Adds up what comes of it. What could not be written down has ended all the same, and the others are to end as well;
/// only when one does not end, neither do those of the pages behind it.
async fn end_page_by_page(
    shared: &Shared,
    tenant: Option<TenantId>,
    caller: Caller,
    all: &mut Ended,
    unwritten: &mut usize,
) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = shared.asked("page", shared.store.page(after, SLICE)).await?;
        let is_meant = |live: &&Arc<Live>| live.ended().is_none() && tenant.is_none_or(|own| live.tenant() == own);
        let lasting = page.sessions.iter().filter(is_meant).map(|live| live.handle());
        let ends = lasting.map(|handle| {
            let now = shared.clock.now();
            shared.end_here(handle, EndReason::Revoked, caller.address(), now)
        });
        // Collected, since a borrowing iterator is more than the compiler can follow here.
        let mut ends = stream::iter(ends.collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut failure = None;
        while let Some(ended) = ends.next().await {
            all.count += ended.count;
            match ended {
                Ended { count: _, failure: None } => {}
                Ended { count: 0, failure: Some(error) } => failure = Some(error),
                Ended { count, failure: Some(error) } => {
                    *unwritten += count;
                    all.failure = Some(error);
                }
            }
            if all.count.is_multiple_of(AT_ONCE) {
                tokio::task::yield_now().await;
            }
        }
        match (failure, page.next) {
            (Some(error), _) => return Err(error),
            (None, Some(next)) => after = Some(next),
            (None, None) => return Ok(()),
        }
    }
}

/// Seals everything stored anew under the active key. It takes its time with many sessions, and nobody waits for it.
pub(super) async fn reseal(shared: &Shared, caller: Caller) -> Response<Full<Bytes>> {
    let (by, resealed) = (caller.name(), shared.store.reseal().await);
    let count = resealed.as_ref().ok().copied();
    let reason = resealed.is_err().then_some("failed");
    let fields = AuditFields { client: caller.address(), by: Some(&by), count, reason, ..AuditFields::default() };
    shared.audit(AuditEvent::AdminResealed, fields);
    match resealed {
        Ok(count) => ok(&json!({ "resealed": count })),
        Err(error) => unavailable(&error),
    }
}

/// Notes what the operator did.
fn note(shared: &Shared, caller: Caller, count: usize, fields: AuditFields<'_>) {
    let by = caller.name();
    let fields = AuditFields { client: caller.address(), by: Some(&by), count: Some(count), ..fields };
    shared.audit(AuditEvent::AdminEnded, fields);
}

fn in_short(lifetimes: &Lifetimes, live: &Live, now: Timestamp) -> Value {
    let view = live.view();
    let is_locked = view.ended.is_none() && matches!(lifetimes.over(&view, now), Some(Over::Lock(_)));
    json!({
        "handle": view.handle.to_string(),
        "tenant": view.tenant.name(),
        "user": view.principal.map(|principal| &*principal.user),
        "roles": view.principal.map(|principal| &*principal.roles),
        "authenticated_at": view.authenticated_at.to_string(),
        "age_seconds": now.since(view.authenticated_at).as_secs(),
        "active_at": view.active_at.to_string(),
        "idle_seconds": now.since(view.active_at).as_secs(),
        "generation": view.rotation.generation,
        "address": view.bound.address.to_string(),
        "locked": is_locked,
        "ended": view.ended.map(|(reason, at)| json!({ "reason": reason.name(), "at": at.to_string() })),
    })
}

/// Everything that may be known of a session: neither its seed nor a proof, nor what they could be made of.
fn in_full(shared: &Shared, live: &Live) -> Value {
    let (view, now) = (live.view(), shared.clock.now());
    let lifetimes = shared.snapshot.load().lifetimes().of(view.tenant).clone();
    let lifetime = lifetimes.of(view.principal.map(|principal| &**principal), view.is_remembered);
    let mut all = in_short(&lifetimes, live, now);
    let (absolute, idle) = (view.authenticated_at.plus(lifetime.absolute), view.active_at.plus(lifetime.idle));
    let (at, by) = if absolute <= idle || all["locked"] == true {
        (absolute, EndReason::Absolute.name())
    } else {
        (idle, lifetimes.idle_name(view.principal.is_some()))
    };
    let ends = json!({ "at": at.to_string(), "in_seconds": at.since(now).as_secs(), "by": by });
    let ends = if view.ended.is_some() { Value::Null } else { ends };
    all["kind"] = if view.principal.is_some() { "user" } else { "anonymous" }.into();
    all["email"] = view.principal.and_then(|principal| principal.email.as_deref()).into();
    all["groups"] = view.principal.map(|principal| &*principal.groups).into();
    all["generation_since"] = view.rotation.presented_at.to_string().into();
    all["remembered"] = view.is_remembered.into();
    all["device"] = live.device().to_string().into();
    // It is only remembered as these, the second without its numbers.
    all["user_agent"] = json!({
        "hash": format!("{:016x}", view.bound.agent),
        "family_hash": format!("{:016x}", view.bound.agent_family),
    });
    // None where a proxy ended its TLS, or it is older than fingerprints.
    all["tls_fingerprint"] = view.bound.tls.shown().into();
    all["open_streams"] = shared.leases.open_of(view.handle).into();
    all["ends"] = ends;
    all
}

/// What came of ending sessions, of which `unwritten` are not on the disk yet if the store failed.
fn told(shared: &Shared, Ended { count, failure }: &Ended, unwritten: usize) -> Response<Full<Bytes>> {
    let Some(error) = failure else { return ok(&json!({ "ended": count })) };
    if unwritten == 0 {
        return unavailable(error);
    }
    let why = shared.store.trouble().map_or_else(|| error.to_string(), |trouble| trouble.words);
    let sessions = if unwritten == 1 { "1 session".to_owned() } else { format!("{unwritten} sessions") };
    let message = format!(
        "this holds now, and is not on the disk yet: {why}. Writing is tried again every second; until it succeeds, a restart \
         or a crash would bring {sessions} back"
    );
    let said = json!({ "ended": count, "unwritten": unwritten, "error": message });
    private(text(StatusCode::SERVICE_UNAVAILABLE, format!("{said}\n"), "application/json"))
}

fn unavailable(error: &StoreError) -> Response<Full<Bytes>> {
    wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}
