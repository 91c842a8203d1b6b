//! Signing out. A GET only asks; a POST from our own origin ends the session.

use http::{Response, StatusCode};

use crate::enforce::authorize::{AnswerCookies, authorize};
use crate::enforce::body::AnswerBody;
use crate::enforce::framed;
use crate::enforce::lookup::{COOKIE_LIMIT, known_session};
use crate::enforce::pages::{LogoutPage, MessagePage};
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, is_for_person};
use crate::enforce::snapshot::PREFIX;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::policy::verdict::Verdict;
use crate::portal::Visit;
use crate::session::record::EndReason;

/// Asks whether the person means it.
pub async fn ask(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_navigation()?;
    // Decided on like a request for the application: a cookie that is refused there names nobody here.
    let route = RoutePolicy::new(Access::Optional, Vec::new());
    let authorized = authorize(visit.shared, visit.tenant, &route, visit.facts, &visit.parts.headers, visit.now);
    let authorized = authorized.await.map_err(|_| Refusal::Store)?;
    if let Some(exceeded) = authorized.too_many {
        return Err(Refusal::TooMany(COOKIE_LIMIT, *exceeded));
    }
    *cookies = authorized.cookies;
    let user = match &authorized.verdict {
        Verdict::Allow(grant) => grant.principal().map_or("", |principal| &principal.user),
        Verdict::AllowWithNewSession(_) | Verdict::Challenge(_) | Verdict::Deny(_) => "",
    };
    let (action, sessions) = (format!("{PREFIX}logout"), format!("{PREFIX}sessions"));
    let page = LogoutPage { look: &visit.tenant.look, username: user, action: &action, sessions: &sessions };
    Ok(respond::html(StatusCode::OK, page.render()))
}

/// Ends the session. Whoever has none is signed out already.
pub async fn take(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_same_origin()?;
    let (shared, now) = (visit.shared, visit.now);
    // Also one that has ended: the store says whether that will outlive the process.
    let known = known_session(shared, visit.tenant, &visit.parts.headers, visit.facts.client, now);
    let live = known.await.map_err(|_| Refusal::Store)?;
    if let Some(live) = live {
        let ended = shared.end_session(live.handle(), EndReason::Logout, Some(visit.facts.client), now).await;
        ended.map_err(|_| Refusal::Unwritten)?;
    }
    if let Some(cookie) = visit.tenant.cookie.delete() {
        cookies.push(cookie);
    }
    let mut response = if is_for_person(&visit.parts.headers) {
        respond::message(MessagePage::signed_out(&visit.tenant.look, &format!("{PREFIX}login")))
    } else {
        respond::json(StatusCode::OK, "{\"signed_out\":true}")
    };
    // An application may have its form for it in a frame.
    framed::show_in_frame(&mut response, &visit.parts.headers);
    respond::forget_pages(&mut response);
    Ok(response)
}
