//! Where somebody sees the sessions they have, and ends them. Ending asks for a recent proof of who they are: an application
//! under the same origin can send a form in their name, and somebody may sit at a screen that was left signed in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::base::deadline::Deadline;
use crate::enforce::authorize::{AnswerCookies, authorize};
use crate::enforce::body::{AnswerBody, ClientBody};
use crate::enforce::lookup::COOKIE_LIMIT;
use crate::enforce::pages::{MessagePage, SessionsPage};
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, is_for_person};
use crate::enforce::snapshot::PREFIX;
use crate::login::attempt::Return;
use crate::observe::metrics::Metrics;
use crate::policy::return_to::ReturnTo;
use crate::policy::route_policy::{Access, Recency, RoutePolicy};
use crate::policy::verdict::{Reason, Verdict};
use crate::portal::listing::{Listed, MOST, lasting, of_owner};
use crate::portal::{Visit, form, parked};
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::record::EndReason;

/// How long after somebody has proved who they are they may end sessions: long enough to look through the list, and too
/// short for whoever finds the screen later. Between the 2 and 5 minutes that OWASP's cheat sheet gives what is worth most.
pub const PROOF_VALID: Duration = Duration::from_secs(5 * 60);

/// Ends all sessions but this one.
const OTHERS: &str = "others";

/// Ends all sessions.
const ALL: &str = "all";

/// Who comes, with their session.
enum Visitor {
    Known(Arc<Live>),
    /// They are asked to sign in, or told why not.
    Other(Box<Response<AnswerBody>>),
}

/// Shows them.
pub async fn show(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_navigation()?;
    match visitor(visit, cookies, None).await? {
        Visitor::Known(live) => page(visit, &live, None).await,
        Visitor::Other(answer) => Ok(*answer),
    }
}

/// The same for programs.
pub async fn list(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_same_origin()?;
    let this = match visitor(visit, cookies, None).await? {
        Visitor::Known(live) => live,
        Visitor::Other(answer) => return Ok(*answer),
    };
    let all = lasting(visit, &this.owner(), Some(this.handle()), visit.now).await?;
    let sessions: Vec<Value> = all.iter().take(MOST).map(|live| in_json(live, &this)).collect();
    Ok(respond::json(StatusCode::OK, &json!({ "count": all.len(), "sessions": sessions }).to_string()))
}

fn in_json(live: &Live, this: &Live) -> Value {
    json!({
        "handle": live.handle().to_string(),
        "device": live.device().to_string(),
        "address": live.view().bound.address.to_string(),
        "authenticated_at": live.authenticated_at().to_string(),
        "active_at": live.active_at().to_string(),
        "current": live.handle() == this.handle(),
    })
}

/// Ends what is asked for: one by its handle, all others, or all.
pub async fn take(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
    cookies: &mut AnswerCookies,
) -> Result<Response<AnswerBody>, Refusal> {
    visit.only_navigation()?;
    visit.only_same_origin()?;
    let recency = Recency { max_auth_age: Some(PROOF_VALID), ..Recency::default() };
    let this = match visitor(visit, cookies, Some(recency)).await? {
        Visitor::Known(live) => live,
        Visitor::Other(answer) => return Ok(*answer),
    };
    let [end] = form::read(visit, body, deadline, ["end"]).await?;
    let (end, own) = (end.ok_or(Refusal::BadForm)?, this.handle());
    // Whatever is not theirs is not there, whether it is somebody else's or nobody's.
    let all = visit.shared.asked("list", visit.shared.store.list(this.owner())).await.map_err(|_| Refusal::Store)?;
    let all = all.iter().map(|live| live.handle());
    let is_own = end == ALL || end.parse() == Ok(own);
    let ended: Vec<SessionHandle> = match &*end {
        ALL | OTHERS => all.filter(|handle| *handle != own).collect(),
        one => all.filter(|handle| *handle != own && one.parse() == Ok(*handle)).collect(),
    };
    let mut count = end_all(visit, ended, EndReason::EndedElsewhere).await?;
    if !is_own {
        return if is_for_person(&visit.parts.headers) {
            page(visit, &this, Some(&what_ended(count))).await
        } else {
            Ok(respond::json(StatusCode::OK, &json!({ "ended": count }).to_string()))
        };
    }
    // This one last: whoever could not be helped with the others can try again.
    count += end_all(visit, vec![own], EndReason::Logout).await?;
    *cookies = AnswerCookies::default();
    cookies.extend(visit.tenant.cookie.delete());
    Ok(signed_out(visit, &end, count))
}

/// Ends these. All of them are tried, whatever becomes of one.
async fn end_all(visit: &Visit<'_>, handles: Vec<SessionHandle>, reason: EndReason) -> Result<usize, Refusal> {
    let (shared, client) = (visit.shared, Some(visit.facts.client));
    let ends = handles.into_iter().map(|handle| shared.end_session(handle, reason, client, visit.now));
    let ended: Result<Vec<bool>, _> = join_all(ends).await.into_iter().collect();
    let ended = ended.map_err(|_| Refusal::Unwritten)?;
    Ok(ended.into_iter().filter(|ended| *ended).count())
}

fn what_ended(count: usize) -> String {
    match count {
        0 => "There was nothing to end any more.".to_owned(),
        1 => "The session has ended. Whoever uses it has to sign in again.".to_owned(),
        _ => format!("{count} sessions have ended. Whoever uses one of them has to sign in again."),
    }
}

fn signed_out(visit: &Visit<'_>, end: &str, count: usize) -> Response<AnswerBody> {
    let mut response = if is_for_person(&visit.parts.headers) {
        let (look, login) = (&visit.tenant.look, format!("{PREFIX}login"));
        let plain = MessagePage::signed_out(look, &login);
        let everywhere =
            MessagePage { message: "All your sessions have ended, on this device and on others.", ..plain };
        let page = if end == ALL { everywhere } else { MessagePage::signed_out(look, &login) };
        respond::message(page)
    } else {
        respond::json(StatusCode::OK, &json!({ "signed_out": true, "ended": count }).to_string())
    };
    respond::forget_pages(&mut response);
    response
}

/// The page.
async fn page(visit: &Visit<'_>, this: &Live, notice: Option<&str>) -> Result<Response<AnswerBody>, Refusal> {
    let Listed { rows, left_out } = of_owner(visit, &this.owner(), Some(this.handle()), visit.now).await?;
    let username = this.principal().map_or("", |principal| &*principal.user);
    // The store that fails is no reason not to show the page.
    let is_kept = parked::list::is_any(visit, username).await;
    let page = SessionsPage {
        look: &visit.tenant.look,
        username,
        action: &format!("{PREFIX}sessions"),
        sessions: &rows,
        left_out,
        notice,
        kept: if is_kept { parked::list::PAGE } else { "" },
    };
    Ok(respond::html(StatusCode::OK, page.render()))
}

/// Decides on who comes like on a request for the application that asks for somebody, and, with `recency`, for their recent
/// proof.
async fn visitor(visit: &Visit<'_>, cookies: &mut AnswerCookies, recency: Option<Recency>) -> Result<Visitor, Refusal> {
    let (shared, tenant) = (visit.shared, visit.tenant);
    let route = RoutePolicy { recency: recency.map(Box::new), ..RoutePolicy::new(Access::Authenticated, Vec::new()) };
    let authorized = authorize(shared, tenant, &route, visit.facts, &visit.parts.headers, visit.now);
    let authorized = authorized.await.map_err(|_| Refusal::Store)?;
    if let Some(exceeded) = authorized.too_many {
        return Err(Refusal::TooMany(COOKIE_LIMIT, *exceeded));
    }
    *cookies = authorized.cookies;
    match (authorized.verdict, authorized.live) {
        (Verdict::Allow(_), Some(live)) => Ok(Visitor::Known(live)),
        (Verdict::Allow(_) | Verdict::AllowWithNewSession(_), _) => Err(Refusal::Internal),
        (Verdict::Challenge(reason), _) => Ok(Visitor::Other(Box::new(led_to_login(visit, reason)))),
        (Verdict::Deny(reason), _) => Err(Refusal::Forbidden(reason)),
    }
}

/// To the login page, and from there back to this one: what was posted is to be asked for again.
fn led_to_login(visit: &Visit<'_>, reason: Reason) -> Response<AnswerBody> {
    Metrics::count(&visit.shared.metrics.challenges, reason.name());
    if !is_for_person(&visit.parts.headers) {
        return respond::refused(&Refusal::Unauthenticated(reason), None);
    }
    let to = ReturnTo::new(&format!("{PREFIX}sessions")).unwrap_or_else(ReturnTo::start);
    let back = Return { to, notice: reason.notice().unwrap_or_default().into_owned(), ..Return::default() };
    let link = visit.tenant.attempts.link(&visit.shared.random, &back, visit.now);
    respond::redirect(StatusCode::SEE_OTHER, &format!("{PREFIX}login?return={link}"))
}
