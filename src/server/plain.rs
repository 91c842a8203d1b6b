//! Plain HTTP: ACME challenges are answered, every other request is sent to the same place by https, and that is all.
//!
//! What would answer more is out of reach here: an application is only asked with a
//! [`Grant`](crate::policy::verdict::Grant), which only a decision makes, and nothing here decides, reads a cookie or
//! sets one. Each connection carries one request, so what follows a request's head, its body above all, is never read
//! as anything.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::base::clock::Timestamp;
use crate::enforce::body::AnswerBody;
use crate::enforce::refusal::Refusal;
use crate::enforce::respond;
use crate::observe::correlation;
use crate::policy::client_address::client_address;
use crate::policy::facts::Facts;
use crate::server::challenges::{self, Challenges};
use crate::server::finish::{Finish, FinishedBody, Noted};
use crate::server::handle::count;
use crate::server::http::Activity;
use crate::server::own_page;
use crate::server::worker::Worker;

/// The port that `https` means when none is written (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// How long reading the answer to a challenge may take. An authority waits for about as long, and asks again.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What there is without TLS.
#[derive(Debug)]
pub struct PlainHttp {
    /// What follows the host where https is: nothing, or a colon and its port.
    after_host: Box<str>,
    challenges: Option<Challenges>,
}

impl PlainHttp {
    /// Redirects to https on `port`, and answers to challenges, if there are any.
    pub fn new(port: u16, challenges: Option<Challenges>) -> Self {
        let after_host = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
        Self { after_host: after_host.into(), challenges }
    }
}

/// Answers one request.
pub async fn handle(
    worker: Rc<Worker>,
    plain: Arc<PlainHttp>,
    peer: IpAddr,
    activity: Activity,
    request: Request<Incoming>,
) -> Result<Response<FinishedBody>, Infallible> {
    let now = worker.clock().now();
    // What the body says is nobody's business on this side of TLS.
    let (parts, _) = request.into_parts();
    let finish = Finish::begin(&worker, activity, &parts, peer, now);
    let current = worker.current();
    let id_name = current.snapshot.request_id.as_ref();
    let mut id = id_name.map(|name| correlation::request_id(&parts.headers, name, &worker.shared.random));
    finish.note_id(id.as_ref());
    let answered = AssertUnwindSafe(answer(&worker, &plain, &parts, peer, now, &finish.noted)).catch_unwind().await;
    let mut response = answered.unwrap_or(Err(Refusal::Internal)).unwrap_or_else(|refusal| {
        finish.noted.borrow_mut().reason = Some(refusal.name());
        count(&worker, &refusal);
        let person = own_page::person(&current.snapshot, None, &parts);
        correlation::within(&mut id, || respond::refused(&refusal, person))
    });
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let (Some(name), Some(id)) = (id_name, id) {
        response.headers_mut().insert(name, id);
    }
    if parts.method == Method::HEAD {
        AnswerBody::leave_out(&mut response);
    }
    Ok(finish.answer(response))
}

async fn answer(
    worker: &Worker,
    plain: &PlainHttp,
    parts: &Parts,
    peer: IpAddr,
    now: Timestamp,
    noted: &RefCell<Noted>,
) -> Result<Response<AnswerBody>, Refusal> {
    let current = worker.current();
    let snapshot = &*current.snapshot;
    let client = client_address(peer, &parts.headers, &snapshot.rewriting.trusted, snapshot.forwarded_header);
    noted.borrow_mut().client = Some(client);
    let facts = Facts::read(parts, client).map_err(Refusal::Malformed)?;
    worker.admit(snapshot, client).map_err(|exceeded| Refusal::TooMany("address_limit", exceeded))?;
    let token = challenges::token(parts.uri.path()).filter(|_| matches!(parts.method, Method::GET | Method::HEAD));
    // For any host: whoever has left an answer there has asked for a certificate, and need not have written a route yet.
    if let (Some(challenges), Some(token)) = (&plain.challenges, token) {
        noted.borrow_mut().reason = Some("acme_challenge");
        let deadline = worker.deadlines.set(Some(now.plus(READ_TIMEOUT)));
        let found = deadline.limit(challenges.find(token)).await.map_err(|_| Refusal::Internal)?;
        return found.map(respond::octets).ok_or(Refusal::NoPage);
    }
    // A host that no route is for is answered as it is by https: nothing is known of it here, also not where it is.
    if !snapshot.routes.is_for(&facts.host) {
        return Err(Refusal::NoRoute);
    }
    noted.borrow_mut().reason = Some("https_redirect");
    Ok(plain.redirect(&facts, parts))
}

impl PlainHttp {
    /// Sends a request to the same place by https. 308 keeps its method and its body (RFC 9110 section 15.4.9). Browsers
    /// would keep a 308 for ever; `no-store` lets the operator change their mind, and HSTS is for those who will not.
    fn redirect(&self, facts: &Facts<'_>, parts: &Parts) -> Response<AnswerBody> {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let place = format!("https://{}{}{target}", facts.host, self.after_host);
        respond::redirect(StatusCode::PERMANENT_REDIRECT, &place)
    }
}
