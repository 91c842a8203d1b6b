//! What is kept of what somebody has sent, as they see it: all of it, each to be looked at or thrown away.
//!
//! Only what was sent from the browser that asks, to the host that it asks: as of each by itself, of nothing else is it
//! told that it is there.

use http::{Response, StatusCode};

use crate::base::deadline::Deadline;
use crate::enforce::authorize::recognised_session;
use crate::enforce::body::{AnswerBody, ClientBody};
use crate::enforce::pages::{KeptPage, KeptRow};
use crate::enforce::parking::PostId;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond;
use crate::login::attempt::Browser;
use crate::policy::return_to::ReturnTo;
use crate::portal::{Visit, form};

use super::{By, fields, page_of, path_of, sign_in, span};

/// Where it is.
pub(in crate::portal) const PAGE: &str = "/.vestibule/parked";

/// Whether anything is kept for `user` that they would see there. Where the store fails, that is not known, and not told.
pub(in crate::portal) async fn is_any(visit: &Visit<'_>, user: &str) -> bool {
    let Some(parking) = &visit.tenant.parking else { return false };
    let browser = Browser::of(&visit.parts.headers);
    let any = parking.has_any(visit.shared, user, browser, visit.facts.authority, visit.now).await;
    any.is_ok_and(|any| any)
}

/// Shows it.
pub(in crate::portal) async fn show(visit: &Visit<'_>) -> Result<Response<AnswerBody>, Refusal> {
    let parking = visit.tenant.parking.as_ref().ok_or(Refusal::NoPage)?;
    visit.only_navigation()?;
    let own = path()?;
    let who = recognised_session(visit.shared, visit.tenant, visit.facts, &visit.parts.headers, visit.now).await;
    let Some((session, principal)) = who.map_err(|_| Refusal::Store)? else { return Ok(sign_in(visit, own)) };
    let browser = Browser::of(&visit.parts.headers);
    let all = parking.all(visit.shared, &principal.user, browser, visit.facts.authority, visit.now).await;
    let rows: Vec<KeptRow> = all
        .map_err(|_| Refusal::Store)?
        .iter()
        .map(|listed| KeptRow {
            id: listed.id.to_string(),
            page: page_of(listed.id),
            path: fields::shortened(path_of(&listed.target)).into_owned(),
            sent_ago: span(visit.now.since(listed.at)),
            sent_at: listed.at.to_string(),
            left: span(listed.at.plus(parking.keep_for()).since(visit.now)),
            size: fields::size(listed.size),
        })
        .collect();
    let page = KeptPage {
        look: &visit.tenant.look,
        action: PAGE,
        token: &visit.tenant.attempts.page(&visit.shared.random, session, &own, visit.now),
        rows: &rows,
        keep: &span(parking.keep_for()),
    };
    Ok(respond::html(StatusCode::OK, page.render()))
}

/// Throws one away, and shows what is left.
pub(in crate::portal) async fn take(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
) -> Result<Response<AnswerBody>, Refusal> {
    let parking = visit.tenant.parking.as_ref().ok_or(Refusal::NoPage)?;
    visit.only_navigation()?;
    visit.only_same_origin()?;
    let own = path()?;
    let (shared, tenant, now) = (visit.shared, visit.tenant, visit.now);
    let who = recognised_session(shared, tenant, visit.facts, &visit.parts.headers, now).await;
    let Some((session, principal)) = who.map_err(|_| Refusal::Store)? else { return Ok(sign_in(visit, own)) };
    let [token, id] = form::read(visit, body, deadline, ["token", "discard"]).await?;
    let id = id.ok_or(Refusal::BadForm)?;
    let led_back = || respond::redirect(StatusCode::SEE_OTHER, PAGE);
    // They have signed in again since, or left it open for hours: they are shown what there is.
    if !tenant.attempts.is_of_page(&token.unwrap_or_default(), session, &own, now) {
        return Ok(led_back());
    }
    let Some(id) = PostId::read(id.as_bytes()) else { return Ok(led_back()) };
    let (user, browser) = (&principal.user, Browser::of(&visit.parts.headers));
    let found = parking.find(shared, user, id, browser, visit.facts.authority, now).await;
    let Some(posted) = found.map_err(|_| Refusal::Store)? else { return Ok(led_back()) };
    if parking.take(shared, user, id, now).await.map_err(|_| Refusal::Unwritten)? {
        By::new(visit, user, session).note_discarded(shared, &posted);
    }
    Ok(led_back())
}

fn path() -> Result<ReturnTo, Refusal> {
    ReturnTo::new(PAGE).ok_or(Refusal::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::snapshot::PREFIX;

    #[test]
    fn the_page_is_one_of_ours() {
        assert_eq!(PAGE, format!("{PREFIX}parked"));
    }
}
