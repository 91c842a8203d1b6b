//! The synchroniser token, for scripts of the application: `GET /.vestibule/api/csrf`.

use http::{Response, StatusCode};

use crate::enforce::authorize::{AnswerCookies, Authorized, authorize};
use crate::enforce::body::AnswerBody;
use crate::enforce::lookup::COOKIE_LIMIT;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond;
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::policy::verdict::{Reason, Verdict};
use crate::portal::Visit;
use crate::session::csrf_token;

/// Gives the token of the session, and where it is to be sent. Only to pages of the same origin: browsers show it to no
/// other, and none is made for them either.
pub async fn give(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    let Some(names) = &visit.snapshot.csrf_token else { return Err(Refusal::NoPage) };
    visit.only_same_origin()?;
    // Decided on like a request for the application: a stranger's session has a token too.
    let mut authorized = authorized(visit, Access::Authenticated).await?;
    if matches!(authorized.verdict, Verdict::Challenge(Reason::Anonymous)) {
        authorized = self::authorized(visit, Access::Optional).await?;
    }
    if let Some(exceeded) = authorized.too_many {
        return Err(Refusal::TooMany(COOKIE_LIMIT, *exceeded));
    }
    *cookies = authorized.cookies;
    let reason = match authorized.verdict {
        Verdict::Allow(_) | Verdict::AllowWithNewSession(_) => None,
        Verdict::Challenge(reason) | Verdict::Deny(reason) => Some(reason),
    };
    let Some(live) = authorized.live.filter(|_| reason.is_none()) else {
        return Err(Refusal::Unauthenticated(reason.unwrap_or(Reason::NoSession)));
    };
    let token = csrf_token::token(live.seed(), &visit.shared.random);
    let answer = serde_json::json!({ "token": token, "header": names.header.as_str(), "field": names.field });
    Ok(respond::json(StatusCode::OK, &answer.to_string()))
}

async fn authorized(visit: &Visit<'_>, access: Access) -> Result<Authorized, Refusal> {
    let route = RoutePolicy::new(access, Vec::new());
    let authorized = authorize(visit.shared, visit.tenant, &route, visit.facts, &visit.parts.headers, visit.now);
    authorized.await.map_err(|_| Refusal::Store)
}
