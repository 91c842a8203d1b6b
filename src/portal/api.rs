//! What a page of the application may ask of the session it runs in, so that it can warn its person before the end.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::base::clock::Timestamp;
use crate::enforce::authorize::{AnswerCookies, Authorized, authorize, look};
use crate::enforce::body::AnswerBody;
use crate::enforce::lookup::COOKIE_LIMIT;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::policy::verdict::{Reason, Verdict};
use crate::portal::Visit;
use crate::session::level;
use crate::session::live::Live;
use crate::session::record::EndReason;

/// Says how the session is. To look is no activity: a page that asks every minute keeps nobody signed in.
pub(super) async fn show(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_same_origin()?;
    let looked = look(visit.shared, visit.tenant, visit.facts, &visit.parts.headers, visit.now).await;
    answer(visit, cookies, looked.map_err(|_| Refusal::Store)?)
}

/// Counts as activity, and says the same: for who has been asked whether they are still there.
pub(super) async fn extend(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_same_origin()?;
    let route = RoutePolicy::new(Access::Authenticated, Vec::new());
    let authorized = authorize(visit.shared, visit.tenant, &route, visit.facts, &visit.parts.headers, visit.now);
    answer(visit, cookies, authorized.await.map_err(|_| Refusal::Store)?)
}

fn answer(
    visit: &Visit<'_>,
    cookies: &mut AnswerCookies,
    authorized: Authorized,
) -> Result<Response<AnswerBody>, Refusal> {
    if let Some(exceeded) = authorized.too_many {
        return Err(Refusal::TooMany(COOKIE_LIMIT, *exceeded));
    }
    *cookies = authorized.cookies;
    let reason = match authorized.verdict {
        Verdict::Allow(_) => Reason::NoSession,
        Verdict::Challenge(reason) | Verdict::Deny(reason) => reason,
        Verdict::AllowWithNewSession(_) => Reason::NoSession,
    };
    match authorized.live.filter(|live| live.principal().is_some() && reason == Reason::NoSession) {
        Some(live) => Ok(respond::json(StatusCode::OK, &shown(visit, &live).to_string())),
        // Programs ask, also where a browser shows the answer.
        None => Ok(respond::refused(&Refusal::Unauthenticated(reason), None)),
    }
}

fn shown(visit: &Visit<'_>, live: &Live) -> Value {
    let (view, rules) = (live.view(), &visit.tenant.rules);
    let principal = view.principal.map(|principal| &**principal);
    let limits = rules.lifetimes.of(principal, view.is_remembered);
    let until = |at: Timestamp| json!({ "at": at.to_string(), "in_seconds": at.since(visit.now).as_secs() });
    let (idle, absolute) = (view.active_at.plus(limits.idle), view.authenticated_at.plus(limits.absolute));
    let is_by_age = absolute <= idle;
    let mut ends = until(if is_by_age { absolute } else { idle });
    ends["by"] = if is_by_age { EndReason::Absolute.name() } else { rules.lifetimes.idle_name(true) }.into();
    let roles = principal.map_or("", |principal| &*principal.roles).split(',').filter(|role| !role.is_empty());
    json!({
        "user": principal.map(|principal| &*principal.user),
        "email": principal.and_then(|principal| principal.email.as_deref()),
        "roles": roles.collect::<Vec<_>>(),
        "authenticated_at": view.authenticated_at.to_string(),
        "active_at": view.active_at.to_string(),
        "idle_seconds": visit.now.since(view.active_at).as_secs(),
        "ends": ends,
        "idle": until(idle),
        "absolute": until(absolute),
        "level": level::highest(&rules.levels, &view, visit.now).map(|level| &*level.name),
        "remembered": view.is_remembered && principal.is_some_and(|principal| rules.lifetimes.remembers(principal)),
        "locked": view.is_locked,
    })
}
