//! Requests for our own pages; and one that was kept, sent on its way again as any other.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Method, Response, header};
use http_body_util::Full;
use tokio::task::{JoinHandle, spawn_local};

use crate::base::clock::Timestamp;
use crate::enforce::authorize::AnswerCookies;
use crate::enforce::body::{AnswerBody, ClientBody, Incoming};
use crate::enforce::pages::look::Look;
use crate::enforce::parking::AskedToSignIn;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::{self, Unsent, is_for_person};
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::Snapshot;
use crate::enforce::tenant::Tenant;
use crate::observe::correlation;
use crate::policy::facts::{self, Facts};
use crate::portal::parked::{self, Confirmed, Step};
use crate::portal::{self, Visit};
use crate::server::conn::ConnInfo;
use crate::server::finish::Noted;
use crate::server::handle::{self, refused_in_passing};
use crate::server::http::Aside;
use crate::server::worker::{Current, Worker};
use crate::session::csrf_token;
use crate::session::handle::SessionHandle;
use crate::session::store::Lookup;
use crate::session::tenant::TenantId;
use crate::upstream::forward::Given;

/// The page that is asked for.
pub(super) async fn answer(
    worker: &Rc<Worker>,
    current: &Current,
    tenant: &Tenant,
    facts: &Facts<'_>,
    parts: &Parts,
    body: &mut Option<ClientBody>,
    now: Timestamp,
) -> Result<Step, Refusal> {
    let visit = Visit { shared: &worker.shared, snapshot: &current.snapshot, tenant, facts, parts, now };
    let deadline = worker.deadlines.set(None);
    let mut cookies = AnswerCookies::default();
    let body = body.as_mut().ok_or(Refusal::Internal)?;
    let page = match parked::id(&visit) {
        Some(id) => match Box::pin(parked::answer(&visit, id, body, &deadline)).await? {
            Step::Answer(page) => page,
            Step::Send(kept) => return Ok(Step::Send(kept)),
        },
        None => portal::answer(&visit, body, &deadline, &mut cookies).await?,
    };
    let mut response = page;
    cookies.write(&worker.shared, tenant, response.headers_mut());
    if response.headers().contains_key(header::SET_COOKIE) {
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Cookie"));
    }
    Ok(Step::Answer(response))
}

/// How the page looks that a person is shown who is refused; none where it is no person. It is the look of the tenant that
/// was found, or of whose host is named where it did not come to that. Who names none, or several, sees the default one.
pub(super) fn person<'a>(snapshot: &'a Snapshot, found: Option<TenantId>, parts: &Parts) -> Option<&'a Look> {
    if !is_for_person(&parts.headers) {
        return None;
    }
    let found = found.and_then(|id| snapshot.tenant_named(id));
    let tenant = found.or_else(|| Some(snapshot.tenant(&facts::host(parts).ok()?)));
    Some(&tenant.unwrap_or(&snapshot.default).look)
}

/// Sends a form that was kept, by the way of every request: it is decided on anew, counted, and forwarded as whoever is
/// signed in now. What has certainly not reached the application is kept again, also when its person does not wait for it.
#[expect(clippy::too_many_arguments, reason = "what is known of a request, each used on its way")]
pub(super) async fn send(
    worker: &Rc<Worker>,
    current: &Current,
    tenant: &Tenant,
    conn: &ConnInfo,
    kept: Box<Confirmed>,
    parts: &mut Parts,
    body: &mut Option<ClientBody>,
    now: Timestamp,
    noted: &RefCell<Noted>,
    aside: &Aside,
) -> Result<Response<AnswerBody>, Refusal> {
    let mut sending = Sending::new(worker, current, tenant, kept);
    let kept = Rc::clone(&sending.kept);
    restore(parts, &kept)?;
    parts.extensions.insert(sending.given.clone());
    give_token(&worker.shared, current, kept.session(), parts).await;
    *body = Some(ClientBody::new(Incoming::Kept(Full::new(kept.posted.content.clone())), None));
    let answering = handle::answer(worker, current, conn, parts, body, false, now, noted, aside);
    let answered: Result<Response<AnswerBody>, Refusal> = Box::pin(answering).await;
    let mut response = match answered {
        Ok(response) => response,
        Err(refusal) if refusal.is_before_sending() || !sending.given.is() => {
            refused_in_passing(worker, tenant, &refusal, parts, noted)
        }
        Err(refusal) => {
            sending.is_sent();
            return Err(refusal);
        }
    };
    if response.extensions().get::<AskedToSignIn>().is_some() {
        // It is kept again already, or has been said not to be.
        sending.is_settled = true;
    } else if response.extensions().get::<Unsent>().is_some() || !sending.given.is() {
        if sending.put_back().await.is_ok_and(|is_kept| is_kept) {
            respond::say_kept(&mut response, &tenant.look, &kept.page());
        }
    } else {
        sending.is_sent();
    }
    Ok(response)
}

/// A form on its way, which no store has. Dropped before it is known what has become of it, since its person has left or
/// something has gone wrong, it is kept again, unless a server may have it: nothing is sent twice.
struct Sending {
    worker: Rc<Worker>,
    snapshot: Arc<Snapshot>,
    tenant: TenantId,
    kept: Rc<Confirmed>,
    given: Given,
    id: Option<HeaderValue>,
    is_settled: bool,
}

impl Sending {
    fn new(worker: &Rc<Worker>, current: &Current, tenant: &Tenant, kept: Box<Confirmed>) -> Self {
        let (worker, snapshot) = (Rc::clone(worker), Arc::clone(&current.snapshot));
        let (kept, given, id) = (Rc::from(kept), Given::default(), correlation::current());
        Self { worker, snapshot, tenant: tenant.id, kept, given, id, is_settled: false }
    }

    /// It has arrived, as far as can be known.
    fn is_sent(&mut self) {
        self.is_settled = true;
        correlation::within(&mut self.id, || self.kept.note_sent(&self.worker.shared));
    }

    /// Keeps it again, whether or not anybody waits for that.
    fn put_back(&mut self) -> JoinHandle<bool> {
        self.is_settled = true;
        let (worker, snapshot, kept) = (Rc::clone(&self.worker), Arc::clone(&self.snapshot), Rc::clone(&self.kept));
        let tenant = self.tenant;
        spawn_local(correlation::of(self.id.clone(), async move {
            let Some(tenant) = snapshot.tenant_named(tenant) else { return false };
            kept.put_back(&worker.shared, tenant, worker.clock().now()).await
        }))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        if self.given.is() {
            self.is_sent();
        } else {
            drop(self.put_back());
        }
    }
}

/// Gives a form the token of the session that it is sent with, where routes ask for one: it was taken out when the form was
/// kept, and was of a session that is over. That its person wants it sent, they have said on a page of ours.
async fn give_token(shared: &Shared, current: &Current, session: SessionHandle, parts: &mut Parts) {
    let Some(names) = &current.snapshot.csrf_token else { return };
    let live = match shared.store.lookup(session) {
        Lookup::Hit(live) => Some(live),
        Lookup::Miss => None,
        // Where the store fails, the request is refused for that.
        Lookup::Later(later) => shared.asked("lookup", later).await.ok().flatten(),
    };
    let token = live.and_then(|live| HeaderValue::try_from(csrf_token::token(live.seed(), &shared.random)).ok());
    if let Some(token) = token {
        parts.headers.insert(&names.header, token);
    }
}

/// Makes the head of a confirmation that of the form: what says whose browser it is stays, and what says what is sent is as
/// it was.
fn restore(parts: &mut Parts, kept: &Confirmed) -> Result<(), Refusal> {
    let target: PathAndQuery = kept.posted.target.parse().map_err(|_| Refusal::Internal)?;
    if portal::is_ours(target.path().as_bytes()) {
        return Err(Refusal::Internal);
    }
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target);
    parts.uri = Uri::from_parts(uri).map_err(|_| Refusal::Internal)?;
    parts.method = Method::POST;
    for name in OF_THE_BODY {
        parts.headers.remove(name);
    }
    for (name, value) in kept.posted.headers() {
        match value {
            Some(value) => drop(parts.headers.insert(name, value.clone())),
            None => drop(parts.headers.remove(name)),
        }
    }
    let length = Bytes::len(&kept.posted.content);
    parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    parts.extensions.insert(kept.again());
    Ok(())
}

/// What a request says of its body, beside what is kept of it.
const OF_THE_BODY: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::TRANSFER_ENCODING,
    header::EXPECT,
    header::TE,
    header::TRAILER,
];
