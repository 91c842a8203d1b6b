//! Asking somebody to sign in: a redirect for a person who is going somewhere, 401 for everything else.

use http::{Method, Response, StatusCode};

use crate::base::clock::Timestamp;
use crate::enforce::body::AnswerBody;
use crate::enforce::respond::{self, Refusal};
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::{PREFIX, Snapshot};
use crate::login::attempt::Return;
use crate::policy::return_to::ReturnTo;
use crate::policy::verdict::Reason;

/// The answer to a request that somebody must sign in for. `target` is the path and query they wanted.
pub fn challenge(
    shared: &Shared,
    snapshot: &Snapshot,
    reason: Reason,
    method: &Method,
    target: &str,
    is_navigation: bool,
    now: Timestamp,
) -> Response<AnswerBody> {
    if !is_navigation {
        return respond::refused(&Refusal::Unauthenticated(reason), false);
    }
    // A form that was posted cannot be fetched again, so its person arrives at the start page.
    let to = if *method == Method::GET { ReturnTo::new(target) } else { None };
    let back =
        Return { to: to.unwrap_or_else(ReturnTo::start), notice: reason.notice().unwrap_or_default().to_owned() };
    let link = snapshot.attempts.link(&shared.random, &back, now);
    let status = if *method == Method::GET { StatusCode::FOUND } else { StatusCode::SEE_OTHER };
    respond::redirect(status, &format!("{PREFIX}login?return={link}"))
}
