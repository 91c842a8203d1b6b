//! Floor 5: our own pages, all below one reserved prefix.

mod api;
pub mod csrf;
mod enter;
mod form;
mod listing;
pub mod login;
pub mod logout;
pub mod parked;
pub mod sessions;

use http::request::Parts;
use http::{Method, Response};

pub use crate::enforce::snapshot::is_ours;

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadline;
use crate::enforce::authorize::AnswerCookies;
use crate::enforce::body::{AnswerBody, ClientBody};
use crate::enforce::cross_site;
use crate::enforce::refusal::Refusal;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::{PREFIX, Snapshot};
use crate::enforce::tenant::Tenant;
use crate::policy::check::csrf as shield;
use crate::policy::facts::Facts;
use crate::policy::navigation::Navigation;
use crate::policy::origin::{self, Source};
use crate::policy::verdict::Reason;

/// A request for one of our pages.
pub struct Visit<'a> {
    /// What all workers share.
    pub shared: &'a Shared,
    /// The configuration it is answered by.
    pub snapshot: &'a Snapshot,
    /// Whose host it came by.
    pub tenant: &'a Tenant,
    /// What it says of itself.
    pub facts: &'a Facts<'a>,
    /// Its head.
    pub parts: &'a Parts,
    /// When it came.
    pub now: Timestamp,
}

/// Answers a request for one of our pages. `deadline` bounds how long a posted form may take.
///
/// # Errors
/// Why it is refused.
pub async fn answer(
    visit: &Visit<'_>,
    body: &mut ClientBody,
    deadline: &Deadline,
    cookies: &mut AnswerCookies,
) -> Result<Response<AnswerBody>, Refusal> {
    let page = visit.facts.path.matched.strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
    match (page, visit.facts.method) {
        (b"login", &Method::GET | &Method::HEAD) => login::show(visit, cookies).await,
        (b"login", &Method::POST) => login::take(visit, body, deadline, cookies).await,
        (b"logout", &Method::GET | &Method::HEAD) => logout::ask(visit, cookies).await,
        (b"logout", &Method::POST) => logout::take(visit, cookies).await,
        (b"login/choose", &Method::POST) => enter::choose(visit, body, deadline, cookies).await,
        // Whoever goes back to it, or loads it anew, begins again.
        (b"login/choose", &Method::GET | &Method::HEAD) => login::show(visit, cookies).await,
        (b"sessions", &Method::GET | &Method::HEAD) => sessions::show(visit, cookies).await,
        (b"sessions", &Method::POST) => sessions::take(visit, body, deadline, cookies).await,
        (b"api/csrf", &Method::GET | &Method::HEAD) => csrf::give(visit, cookies).await,
        (b"api/sessions", &Method::GET | &Method::HEAD) => sessions::list(visit, cookies).await,
        (b"parked", &Method::GET | &Method::HEAD) => parked::list::show(visit).await,
        (b"parked", &Method::POST) => parked::list::take(visit, body, deadline).await,
        (b"login" | b"login/choose" | b"logout" | b"sessions" | b"parked", _) => {
            Err(Refusal::Method("GET, HEAD, POST"))
        }
        (b"api/session", &Method::GET | &Method::HEAD) => api::show(visit, cookies).await,
        (b"api/session/extend", &Method::POST) => api::extend(visit, cookies).await,
        (b"api/session/extend", _) => Err(Refusal::Method("POST")),
        (b"api/csrf" | b"api/session" | b"api/sessions", _) => Err(Refusal::Method("GET, HEAD")),
        _ => Err(Refusal::NoPage),
    }
}

impl Visit<'_> {
    /// Refuses what a script of the application made: under its origin our pages are for people who go there.
    fn only_navigation(&self) -> Result<(), Refusal> {
        match Navigation::to_own_page(&self.parts.headers) {
            Navigation::Window => Ok(()),
            // Whoever follows a link there is shown the way; what is sent there is refused.
            Navigation::Frame if !origin::is_unsafe(self.facts.method) => Err(Refusal::InFrame),
            Navigation::Frame | Navigation::None if origin::source(self.facts) == Source::Elsewhere => {
                Err(Refusal::CrossSite)
            }
            Navigation::Frame | Navigation::None => Err(Refusal::NoNavigation),
        }
    }

    /// Refuses what a page of another origin caused, by the judgement that shields applications.
    fn only_same_origin(&self) -> Result<(), Refusal> {
        // What changes nothing shows nobody anything but who asks: browsers see to that.
        let has_cookie =
            origin::is_unsafe(self.facts.method) && self.tenant.cookie.candidates(&self.parts.headers).next().is_some();
        let Some(found) = shield::judge(self.facts, has_cookie).0 else { return Ok(()) };
        cross_site::note(self.shared, found, cross_site::ANSWERS[0], self.facts, None);
        Err(Refusal::Forbidden(Reason::CrossSite(found)))
    }
}
