//! One request, from its head to its answer. Reads as a table of contents; never fails outward.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, Version, header};
use hyper::body::{Body, Incoming};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::base::clock::Timestamp;
use crate::enforce::authorize::{AnswerCookies, Authorized, authorize};
use crate::enforce::body::{AnswerBody, Switched};
use crate::enforce::challenge::challenge;
use crate::enforce::establish::{self, Place};
use crate::enforce::lease::{Lease, Leased};
use crate::enforce::respond::{self, Refusal, is_for_person};
use crate::enforce::snapshot::Snapshot;
use crate::observe::metrics::Metrics;
use crate::policy::client_address::client_address;
use crate::policy::facts::{BadRequest, Facts, is_navigation};
use crate::policy::verdict::{Grant, Verdict};
use crate::portal::{self, Visit};
use crate::route::table::Route;
use crate::server::conn::ConnInfo;
use crate::server::finish::{Finish, FinishedBody, Noted};
use crate::server::http::Activity;
use crate::server::tunnel::Tunnel;
use crate::server::worker::{Current, Worker};
use crate::session::live::Live;
use crate::upstream::forward::{Way, forward, rewrite};
use crate::upstream::headers::ClientSide;
use crate::upstream::upload::Upload;
use crate::upstream::websocket;
use std::sync::Arc;

/// Answers one request.
pub async fn handle(
    worker: Rc<Worker>,
    conn: Rc<ConnInfo>,
    activity: Activity,
    mut request: Request<Incoming>,
) -> Result<Response<FinishedBody>, Infallible> {
    let now = worker.clock().now();
    let connect = websocket_of_http_2(&mut request);
    let (mut parts, body) = request.into_parts();
    if connect.is_some() {
        websocket::translate_connect(&mut parts, &worker.shared.random);
    }
    let finish = Finish::begin(&worker, activity, &parts, conn.peer.ip(), now);
    let is_person = is_for_person(&parts.method, &parts.headers);
    let is_h2 = parts.version == Version::HTTP_2;
    let is_head = parts.method == Method::HEAD;
    // What is expected, and refused, is not sent.
    let may_be_sending = is_h2 && !body.is_end_stream() && !parts.headers.contains_key(header::EXPECT);
    let mut body = Some(body);
    let noted = &finish.noted;
    // A panic is this request's alone, and reads as a fault of ours: never as a permission.
    let answered =
        AssertUnwindSafe(answer(&worker, &conn, parts, &mut body, connect.is_some(), now, noted)).catch_unwind().await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => {
            noted.borrow_mut().reason = Some(refusal.name());
            count(&worker, &refusal);
            let mut response = respond::refused(&refusal, is_person);
            if matches!(refusal, Refusal::Malformed(_)) && !is_h2 {
                // Whoever sends such a request may mean something else by what follows it, too.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
        Err(_) => {
            noted.borrow_mut().reason = Some(Refusal::Internal.name());
            respond::refused(&Refusal::Internal, is_person)
        }
    };
    if let Some(switched) = response.body_mut().take_switched() {
        return Ok(switch(worker, finish, response, switched, connect));
    }
    if let Some(unread) = body.filter(|body| may_be_sending && !body.is_end_stream()) {
        let deadline = worker.deadlines.set(Some(now.plus(DISCARDING)));
        response.body_mut().end_after(unread, deadline);
    }
    if is_head {
        AnswerBody::leave_out(&mut response);
    }
    Ok(finish.answer(response))
}

/// The stream that an extended CONNECT of HTTP/2 asks to be made a WebSocket (RFC 8441).
fn websocket_of_http_2(request: &mut Request<Incoming>) -> Option<OnUpgrade> {
    let is_one = request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    is_one.then(|| hyper::upgrade::on(request))
}

/// The answer that makes a connection, or a stream of one, a WebSocket, which runs from then on.
fn switch(
    worker: Rc<Worker>,
    finish: Finish,
    response: Response<AnswerBody>,
    switched: Box<Switched>,
    connect: Option<OnUpgrade>,
) -> Response<FinishedBody> {
    let (mut head, body) = response.into_parts();
    match connect {
        None => {
            websocket::say_upgrade(&mut head.headers);
            let (response, rest, activity) = finish.switch(Response::from_parts(head, body));
            if let Some(activity) = activity {
                activity.hand_over(Tunnel::new(worker, switched, rest, None));
            }
            response
        }
        Some(stream) => {
            websocket::translate_consent(&mut head.status, &mut head.headers);
            let (response, rest, activity) = finish.switch(Response::from_parts(head, body));
            let tunnel = Tunnel::new(worker, switched, rest, activity);
            tokio::task::spawn_local(async move {
                // The stream may be gone before it is one.
                if let Ok(stream) = stream.await {
                    tunnel.run(TokioIo::new(stream), Bytes::new()).await;
                }
            });
            response
        }
    }
}

/// How long the body of a request that is refused may still come.
const DISCARDING: std::time::Duration = std::time::Duration::from_secs(5);

async fn answer(
    worker: &Rc<Worker>,
    conn: &ConnInfo,
    parts: Parts,
    body: &mut Option<Incoming>,
    is_connect: bool,
    now: Timestamp,
    noted: &RefCell<Noted>,
) -> Result<Response<AnswerBody>, Refusal> {
    let current = worker.current();
    let (shared, snapshot) = (&worker.shared, &*current.snapshot);
    let client = client_of(conn, &parts, snapshot);
    noted.borrow_mut().client = Some(client);
    let is_websocket = is_connect || asks_for_websocket(&parts, body.as_ref())?;
    let facts = Facts::read(&parts, client).map_err(Refusal::Malformed)?;
    if !conn.serves(&facts.host) {
        return Err(Refusal::Misdirected);
    }
    worker.admit(snapshot, client).map_err(|full| Refusal::TooMany("address_limit", full.retry_after))?;
    if portal::is_ours(&facts.path.matched) {
        // Boxed like everything rare here, so that the future of an ordinary request stays small: it is moved about.
        return Box::pin(own_page(worker, &current, &facts, &parts, body, now)).await;
    }
    let route = snapshot.routes.find(&facts.host, &facts.path.matched).ok_or(Refusal::NoRoute)?;
    let authorized = authorize(shared, snapshot, &route.policy, &facts, &parts.headers, now);
    let Authorized { verdict, live, mut cookies } = authorized.await.map_err(|_| Refusal::Store)?;
    let (grant, live) = match verdict {
        Verdict::Allow(grant) => (grant, live),
        Verdict::AllowWithNewSession(grant) => {
            let place = Place { client, user_agent: facts.user_agent };
            let made =
                Box::pin(establish::anonymous(shared, snapshot, place, now)).await.map_err(|_| Refusal::Store)?;
            let made = made.ok_or(Refusal::TooMany("anonymous_sessions", ANONYMOUS_RETRY))?;
            cookies.push(made.cookie);
            (grant, Some(made.live))
        }
        Verdict::Challenge(reason) => {
            noted.borrow_mut().reason = Some(reason.name());
            let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
            let navigates = is_navigation(&parts.method, &parts.headers);
            let mut response = challenge(shared, snapshot, reason, &parts.method, target, navigates, now);
            cookies.write(shared, snapshot, response.headers_mut());
            return Ok(response);
        }
        Verdict::Deny(reason) => {
            let is_person = is_for_person(&parts.method, &parts.headers);
            let mut response = refused_in_passing(worker, &Refusal::Forbidden(reason), is_person, noted);
            cookies.write(shared, snapshot, response.headers_mut());
            return Ok(response);
        }
    };
    noted.borrow_mut().subject(grant.subject());
    if let (Some(live), Some(limit)) = (&live, &snapshot.limits.per_session) {
        limit.admit(live).map_err(|full| Refusal::TooMany("session_limit", full.retry_after))?;
    }
    let changed_path = facts.path.changed();
    let authority = facts.authority.to_owned();
    let sent = Sent { now, client, authority, changed_path, route, is_websocket };
    let is_person = is_for_person(&parts.method, &parts.headers);
    let passed = pass(worker, &current, conn, grant, live, parts, body, sent).await;
    let mut response = match passed {
        // The session that was made for it is kept by its client all the same.
        Err(refusal) if !cookies.is_empty() => refused_in_passing(worker, &refusal, is_person, noted),
        passed => passed?,
    };
    cookies.write(shared, snapshot, response.headers_mut());
    Ok(response)
}

/// Whose a request is.
fn client_of(conn: &ConnInfo, parts: &Parts, snapshot: &Snapshot) -> IpAddr {
    let peer = conn.peer.ip();
    if !conn.may_forward {
        return peer;
    }
    client_address(peer, &parts.headers, &snapshot.rewriting.trusted, snapshot.forwarded_header)
}

/// Whether an HTTP/1.1 request asks for a WebSocket.
fn asks_for_websocket(parts: &Parts, body: Option<&Incoming>) -> Result<bool, Refusal> {
    let has_body = body.is_some_and(|body| !body.is_end_stream());
    websocket::is_asked_for(parts, has_body).map_err(|_| Refusal::Malformed(BadRequest::UpgradeWithBody))
}

/// The answer to a refusal that still has cookies to hand out.
fn refused_in_passing(
    worker: &Worker,
    refusal: &Refusal,
    is_person: bool,
    noted: &RefCell<Noted>,
) -> Response<AnswerBody> {
    noted.borrow_mut().reason = Some(refusal.name());
    count(worker, refusal);
    respond::refused(refusal, is_person)
}

/// How long a stranger is asked to wait when their address has all the sessions it may have.
const ANONYMOUS_RETRY: std::time::Duration = std::time::Duration::from_secs(60);

/// What the request's facts say of how it is sent on, once its head is taken apart.
struct Sent<'a> {
    now: Timestamp,
    client: IpAddr,
    authority: String,
    changed_path: Option<String>,
    route: &'a Route,
    is_websocket: bool,
}

/// Sends a permitted request to its application, for as long as its session lasts.
#[expect(clippy::too_many_arguments, reason = "a request's parts, each used once, at the end of its way")]
async fn pass(
    worker: &Rc<Worker>,
    current: &Current,
    conn: &ConnInfo,
    grant: Grant,
    live: Option<Arc<Live>>,
    mut parts: Parts,
    body: &mut Option<Incoming>,
    sent: Sent<'_>,
) -> Result<Response<AnswerBody>, Refusal> {
    let pool = current.pools.get(sent.route.upstream).ok_or(Refusal::Internal)?;
    let rewriting = &current.snapshot.rewriting;
    let (peer, may_forward) = (conn.peer.ip(), conn.may_forward);
    let side = ClientSide { peer, may_forward, client: sent.client, authority: &sent.authority };
    rewrite(&grant, &mut parts, sent.changed_path, side, rewriting, &conn.known_fields);
    if sent.is_websocket {
        websocket::say_upgrade(&mut parts.headers);
    }
    let lease = || live.as_ref().map(|live| Lease::new(worker.shared.leases.clone(), Arc::clone(live)));
    let way = Way { pool, deadlines: &worker.deadlines, now: sent.now, is_websocket: sent.is_websocket };
    let body = body.take().ok_or(Refusal::Internal)?;
    let body = Upload::new(Leased::new(body, lease()), worker.clock());
    let answered = forward(&grant, parts, body, way, &rewriting.cookies).await;
    if let Some((reason, _)) = live.as_ref().and_then(|live| live.ended()) {
        // It ended while the application was thinking: its answer is for nobody. Or while something was uploaded: that
        // was cut off here, and is no fault of the application's.
        return Err(Refusal::Unauthenticated(crate::policy::verdict::Reason::Ended(reason)));
    }
    let response = answered?;
    Ok(response.map(|mut body| match body.take_switched() {
        None => AnswerBody::Upstream(Leased::new(body, lease())),
        Some(link) => {
            let silence = sent.route.websocket_timeout;
            AnswerBody::Switched(Some(Box::new(Switched { link, lease: lease(), silence })))
        }
    }))
}

async fn own_page(
    worker: &Rc<Worker>,
    current: &Current,
    facts: &Facts<'_>,
    parts: &Parts,
    body: &mut Option<Incoming>,
    now: Timestamp,
) -> Result<Response<AnswerBody>, Refusal> {
    let visit = Visit { shared: &worker.shared, snapshot: &current.snapshot, facts, parts, now };
    let deadline = worker.deadlines.set(None);
    let mut cookies = AnswerCookies::default();
    let body = body.as_mut().ok_or(Refusal::Internal)?;
    let mut response = portal::answer(&visit, body, &deadline, &mut cookies).await?;
    cookies.write(&worker.shared, &current.snapshot, response.headers_mut());
    if response.headers().contains_key(header::SET_COOKIE) {
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Cookie"));
    }
    Ok(response)
}

fn count(worker: &Worker, refusal: &Refusal) {
    let metrics = &worker.shared.metrics;
    match refusal {
        Refusal::TooMany(what, _) => Metrics::count(&metrics.limited, what),
        Refusal::Upstream(error) => {
            Metrics::count(&metrics.upstream_errors, error.name());
            tracing::warn!("{}: {error}", error.name());
        }
        Refusal::Malformed(_)
        | Refusal::Misdirected
        | Refusal::NoRoute
        | Refusal::NoPage
        | Refusal::Method(_)
        | Refusal::TooLarge
        | Refusal::BadForm
        | Refusal::CrossSite
        | Refusal::Unauthenticated(_)
        | Refusal::Forbidden(_)
        | Refusal::LoginBusy
        | Refusal::Store
        | Refusal::BrokenUpload
        | Refusal::Internal => {}
    }
}
