//! The synchroniser token, for scripts of the application: `GET /.vestibule/api/csrf`.

use http::{Response, StatusCode};

use crate::enforce::authorize::{AnswerCookies, authorize};
use crate::enforce::body::AnswerBody;
use crate::enforce::lookup::COOKIE_LIMIT;
use crate::enforce::respond::{self, Refusal};
use crate::policy::route_policy::{Access, RoutePolicy};
use crate::policy::verdict::{Reason, Verdict};
use crate::portal::Visit;
use crate::session::csrf_token;

/// Gives the token of the session, and where it is to be sent. Only to pages of the same origin: browsers show it to no
/// other, and none is made for them either.
pub async fn give(visit: &Visit<'_>, cookies: &mut AnswerCookies) -> Result<Response<AnswerBody>, Refusal> {
    let Some(names) = &visit.snapshot.csrf_token else { return Err(Refusal::NoPage) };
    visit.only_same_origin()?;
    // Decided on like a request for the application.
    let route = RoutePolicy::new(Access::Optional, Vec::new());
    let authorized = authorize(visit.shared, visit.tenant, &route, visit.facts, &visit.parts.headers, visit.now);
    let authorized = authorized.await.map_err(|_| Refusal::Store)?;
    if let Some(exceeded) = authorized.too_many {
        return Err(Refusal::TooMany(COOKIE_LIMIT, *exceeded));
    }
    *cookies = authorized.cookies;
    let is_allowed = matches!(authorized.verdict, Verdict::Allow(_));
    let Some(live) = authorized.live.filter(|_| is_allowed) else {
        return Err(Refusal::Unauthenticated(Reason::NoSession));
    };
    let token = csrf_token::token(live.seed(), &visit.shared.random);
    let answer = serde_json::json!({ "token": token, "header": names.header.as_str(), "field": names.field });
    Ok(respond::json(StatusCode::OK, &answer.to_string()))
}
