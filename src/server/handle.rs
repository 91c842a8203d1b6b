//! One request, from its head to its answer. Reads as a table of contents; never fails outward.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, Version, header};
use http_body::Body;

use crate::base::clock::Timestamp;
use crate::enforce::admit::admit;
use crate::enforce::authorize::{AnswerCookies, Authorized, authorize, why_over};
use crate::enforce::body::{AnswerBody, ClientBody, Incoming, Switched};
use crate::enforce::challenge::challenge;
use crate::enforce::establish::{self, Established, Place};
use crate::enforce::form_token;
use crate::enforce::framed;
use crate::enforce::lease::{Lease, Leased};
use crate::enforce::lookup::COOKIE_LIMIT;
use crate::enforce::parking::{self, AskedToSignIn, Challenged, Outcome};
use crate::enforce::refusal::Refusal;
use crate::enforce::respond::is_for_person;
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::MAX_ANONYMOUS_PER_ADDRESS;
use crate::enforce::tenant::Tenant;
use crate::limit::parallel::UnderWay;
use crate::limit::rate::{Allowed, Exceeded};
use crate::observe::correlation;
use crate::observe::metrics::Metrics;
use crate::observe::timings::Destination;
use crate::policy::compression;
use crate::policy::facts::{BadRequest, Expectation, Facts, expectation};
use crate::policy::navigation::Navigation;
use crate::policy::verdict::{Grant, Verdict};
use crate::portal;
use crate::portal::parked::{self, Step};
use crate::rewrite::eligible::prepare;
use crate::route::table::Route;
use crate::server::conn::ConnInfo;
use crate::server::facts::{client_of, facts_of};
use crate::server::finish::{Finish, FinishedBody, Noted};
use crate::server::http::{Activity, Aside, AsideOf};
use crate::server::own_page;
use crate::server::tunnel::Tunnel;
use crate::server::worker::{Current, Worker};
use crate::session::csrf_token;
use crate::session::live::Live;
use crate::upstream::forward::{Way, forward, rewrite};
use crate::upstream::headers::ClientSide;
use crate::upstream::http1::Broken;
use crate::upstream::pool::{Pool, UpstreamError};
use crate::upstream::rewriting::{self, Asked};
use crate::upstream::upload::{Upload, discard};
use crate::upstream::websocket;
use std::sync::Arc;

/// Answers one request.
pub async fn handle(
    worker: Rc<Worker>,
    conn: Rc<ConnInfo>,
    activity: Activity,
    mut parts: Parts,
    body: Incoming,
    aside: AsideOf<'_>,
) -> Result<Response<FinishedBody>, Infallible> {
    let now = worker.clock().now();
    let is_connect = is_websocket_of_http_2(&parts);
    if is_connect {
        websocket::translate_connect(&mut parts, &worker.shared.random);
    }
    let finish = Finish::begin(&worker, activity, &parts, conn.peer.ip(), now);
    let is_h2 = parts.version == Version::HTTP_2;
    let is_head = parts.method == Method::HEAD;
    let current = Rc::clone(&finish.current);
    let id_name = current.snapshot.request_id.as_ref();
    let mut id = id_name.map(|name| correlation::request_id(&parts.headers, name, &worker.shared.random));
    finish.note_id(id.as_ref());
    // Who waits to be told to go on, and is refused, sends nothing.
    let may_be_sending = expectation(&parts.headers) != Expectation::Continue;
    let at_work = (!body.is_end_stream()).then(|| finish.beside()).flatten();
    let mut body = Some(ClientBody::new(body, at_work));
    let noted = &finish.noted;
    let answering = answer(&worker, &current, &conn, &mut parts, &mut body, is_connect, now, noted, &aside);
    let answered = caught(pin!(answering), &mut id).await;
    let person = || own_page::person(&current.snapshot, noted.borrow().tenant, &parts);
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => {
            noted.borrow_mut().reason = Some(refusal.name());
            count(&worker, &refusal);
            let mut response = correlation::within(&mut id, || framed::refused_to(&refusal, person(), &parts));
            if matches!(refusal, Refusal::Malformed(_) | Refusal::Expectation | Refusal::SlowUpload) && !is_h2 {
                // Whoever sends such a request may mean something else by what follows it, too: of a body that depends
                // on what was expected, nobody knows whether it comes. And who is slow is not waited for any longer.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                finish.closes();
                body = None;
            }
            response
        }
        Err(_) => {
            noted.borrow_mut().reason = Some(Refusal::Internal.name());
            correlation::within(&mut id, || framed::refused_to(&Refusal::Internal, person(), &parts))
        }
    };
    if let (Some(name), Some(id)) = (id_name, id) {
        response.headers_mut().insert(name, id);
    }
    if let Some(policy) = &current.snapshot.strict_transport_security {
        // In place of the application's own: of several, browsers take the first (RFC 6797 section 8.1).
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, policy.clone());
    }
    if let Some(switched) = response.body_mut().take_switched() {
        return Ok(switch(worker, finish, response, switched, is_connect, &aside));
    }
    if let Some(unread) = body.filter(|body| may_be_sending && !body.is_end_stream()) {
        let deadline = worker.deadlines.set(Some(now.plus(DISCARDING)));
        tokio::task::spawn_local(discard(unread, deadline));
    }
    if is_head {
        AnswerBody::leave_out(&mut response);
    }
    Ok(finish.answer(response))
}

/// What comes of answering, whose lines all have the request's id. A panic is this request's alone, and reads as a fault of
/// ours: never as a permission.
async fn caught<T>(
    mut answering: Pin<&mut impl Future<Output = T>>,
    id: &mut Option<HeaderValue>,
) -> std::thread::Result<T> {
    poll_fn(|context| {
        let poll = AssertUnwindSafe(|| answering.as_mut().poll(context));
        match correlation::within(id, || catch_unwind(poll)) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

/// Whether it is the extended CONNECT that asks for a stream to be made a WebSocket (RFC 8441).
fn is_websocket_of_http_2(parts: &Parts) -> bool {
    parts.method == Method::CONNECT
        && parts.extensions.get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// The answer that makes a connection, or a stream of one, a WebSocket, which runs from then on.
fn switch(
    worker: Rc<Worker>,
    finish: Finish,
    response: Response<AnswerBody>,
    switched: Box<Switched>,
    is_connect: bool,
    aside: &Aside,
) -> Response<FinishedBody> {
    let (mut head, body) = response.into_parts();
    if is_connect {
        websocket::translate_consent(&mut head.status, &mut head.headers);
    } else {
        websocket::say_upgrade(&mut head.headers);
    }
    let (response, rest, activity) = finish.switch(Response::from_parts(head, body));
    // A connection that speaks HTTP no more has nothing under way; a stream of one that goes on has.
    aside.hand_over(Tunnel::new(worker, switched, rest, activity.filter(|_| is_connect)));
    response
}

/// How long the body of a request that is refused may still come.
const DISCARDING: std::time::Duration = std::time::Duration::from_secs(5);

/// The answer to one request, or why there is none.
#[expect(clippy::too_many_arguments, reason = "what is known of a request, each used on its way")]
pub(super) async fn answer(
    worker: &Rc<Worker>,
    current: &Current,
    conn: &ConnInfo,
    parts: &mut Parts,
    body: &mut Option<ClientBody>,
    is_connect: bool,
    now: Timestamp,
    noted: &RefCell<Noted>,
    aside: &Aside,
) -> Result<Response<AnswerBody>, Refusal> {
    let (shared, snapshot) = (&worker.shared, &*current.snapshot);
    let client = client_of(conn, parts, snapshot);
    noted.borrow_mut().client = Some(client);
    let facts = facts_of(conn, parts, snapshot, client)?;
    // By the host that the connection serves, and that finds the route.
    let tenant = noted.borrow_mut().at(snapshot.tenant(&facts.host));
    worker.admit(snapshot, client).map_err(|exceeded| Refusal::TooMany("address_limit", exceeded))?;
    check_expectation(parts)?;
    if portal::is_ours(&facts.path.matched) || parked::sent(tenant, parts).is_some() {
        noted.borrow_mut().destination = Destination::OwnPage;
        // Boxed like everything rare here, so that the future of an ordinary request stays small: it is moved about.
        return match Box::pin(own_page::answer(worker, current, tenant, &facts, parts, body, now)).await? {
            Step::Answer(response) => Ok(response),
            Step::Send(kept) => {
                Box::pin(own_page::send(worker, current, tenant, conn, kept, parts, body, now, noted, aside)).await
            }
        };
    }
    let is_websocket = check_form(parts, body.as_ref())? || is_connect;
    let (place, route) = snapshot.routes.find_place(&facts.host, &facts.path.matched).ok_or(Refusal::NoRoute)?;
    noted.borrow_mut().destination = Destination::Route(place);
    let form = form_token::look(snapshot, &route.policy, &tenant.cookie, &facts, body, &worker.deadlines, now).await?;
    let facts = Facts { is_websocket, form_token: form.token(), ..facts };
    let authorized = authorize(shared, tenant, &route.policy, &facts, &parts.headers, now);
    let Authorized { verdict, live, mut cookies, too_many } = authorized.await.map_err(|_| Refusal::Store)?;
    if let Some(exceeded) = too_many {
        let refusal = Refusal::TooMany(COOKIE_LIMIT, *exceeded);
        return Ok(refused_with_cookies(worker, tenant, &refusal, parts, noted, cookies));
    }
    let (grant, live) = match verdict {
        Verdict::Allow(grant) => (grant, live),
        Verdict::AllowWithNewSession(grant) => {
            let made = Box::pin(stranger(shared, tenant, &facts, now)).await?;
            cookies.push(made.cookie);
            (grant, Some(made.live))
        }
        Verdict::Challenge(reason) => {
            let asked = Challenged { parts, facts: &facts, route: &route.policy, live: live.as_deref(), reason, now };
            return Ok(Box::pin(challenged(worker, tenant, &asked, body, noted, cookies)).await);
        }
        Verdict::Deny(reason) => {
            noted.borrow_mut().session(live.as_deref());
            return Ok(refused_with_cookies(worker, tenant, &Refusal::Forbidden(reason), parts, noted, cookies));
        }
    };
    noted.borrow_mut().subject(grant.subject());
    let under_way = admit(&tenant.limits, tenant.id, route, grant.subject(), live.as_ref(), client)?;
    let (changed_path, authority) = (facts.path.changed(), facts.authority.to_owned());
    let sent = Sent { now, client, authority, changed_path, route, is_websocket, under_way, aside };
    form.say_length(parts);
    let passed = pass(worker, current, conn, grant, live, parts, body, sent).await;
    let mut response = match passed {
        // The session that was made for it is kept by its client all the same.
        Err(refusal) if !cookies.is_empty() => refused_in_passing(worker, tenant, &refusal, parts, noted),
        passed => passed?,
    };
    cookies.write(shared, tenant, response.headers_mut());
    Ok(response)
}

/// The session of a stranger whose route gives them one.
async fn stranger(shared: &Shared, tenant: &Tenant, facts: &Facts<'_>, now: Timestamp) -> Result<Established, Refusal> {
    let made = establish::anonymous(shared, tenant, Place::of(facts), now).await.map_err(|_| Refusal::Store)?;
    made.ok_or(Refusal::TooMany("anonymous_sessions", FULL_OF_STRANGERS))
}

/// The answer to a request that somebody must sign in for. A form that they sent is kept meanwhile.
async fn challenged(
    worker: &Worker,
    tenant: &Tenant,
    asked: &Challenged<'_>,
    body: &mut Option<ClientBody>,
    noted: &RefCell<Noted>,
    mut cookies: AnswerCookies,
) -> Response<AnswerBody> {
    noted.borrow_mut().session(asked.live);
    noted.borrow_mut().reason = Some(asked.reason.name());
    let navigation = Navigation::of(asked.facts);
    let mut outcome = Outcome::NoForm;
    if navigation != Navigation::None && asked.parts.method == Method::POST {
        let (shared, body) = (&worker.shared, body.as_mut());
        outcome = Box::pin(parking::park(shared, tenant, asked, body, &worker.deadlines, &mut cookies)).await;
    }
    let mut response = challenge(&worker.shared, tenant, asked, navigation, outcome);
    if outcome != Outcome::NoForm {
        response.extensions_mut().insert(AskedToSignIn);
    }
    cookies.write(&worker.shared, tenant, response.headers_mut());
    response
}

/// Refuses what is expected and not known here (RFC 9110 section 10.1.1): its sender would not learn otherwise that it
/// does not happen, because applications are not told what is expected.
fn check_expectation(parts: &Parts) -> Result<(), Refusal> {
    if expectation(&parts.headers) == Expectation::Unknown { Err(Refusal::Expectation) } else { Ok(()) }
}

/// What applications are asked by.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Refuses what would not mean the same to everybody on the way: a body in a coding that we would have to pass on unread,
/// one where a WebSocket is to begin, and TRACE, which shows a client what it never sent. Whether it asks for a WebSocket.
fn check_form(parts: &Parts, body: Option<&ClientBody>) -> Result<bool, Refusal> {
    if parts.method == Method::TRACE {
        return Err(Refusal::Method(METHODS));
    }
    let is_understood = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    let has_body = body.is_some_and(|body| !body.is_end_stream());
    if has_body && !parts.headers.get_all(header::TRANSFER_ENCODING).iter().all(is_understood) {
        return Err(Refusal::Malformed(BadRequest::TransferCoding));
    }
    websocket::is_asked_for(parts, has_body).map_err(|_| Refusal::Malformed(BadRequest::UpgradeWithBody))
}

/// The answer to a refusal that still has cookies to hand out.
pub(super) fn refused_in_passing(
    worker: &Worker,
    tenant: &Tenant,
    refusal: &Refusal,
    parts: &Parts,
    noted: &RefCell<Noted>,
) -> Response<AnswerBody> {
    noted.borrow_mut().reason = Some(refusal.name());
    count(worker, refusal);
    let person = is_for_person(&parts.headers).then_some(&tenant.look);
    framed::refused_to(refusal, person, parts)
}

/// The same, together with them.
fn refused_with_cookies(
    worker: &Worker,
    tenant: &Tenant,
    refusal: &Refusal,
    parts: &Parts,
    noted: &RefCell<Noted>,
    cookies: AnswerCookies,
) -> Response<AnswerBody> {
    let mut response = refused_in_passing(worker, tenant, refusal, parts, noted);
    cookies.write(&worker.shared, tenant, response.headers_mut());
    response
}

/// What a stranger is told whose address has all the sessions it may have: they end by themselves, nobody knows when.
const FULL_OF_STRANGERS: Exceeded = Exceeded {
    retry_after: std::time::Duration::from_secs(60),
    allowed: Allowed::Sessions(MAX_ANONYMOUS_PER_ADDRESS as u32),
};

/// What the request's facts say of how it is sent on, once its head is taken apart.
struct Sent<'a> {
    now: Timestamp,
    client: IpAddr,
    authority: String,
    changed_path: Option<String>,
    route: &'a Route,
    is_websocket: bool,
    under_way: Option<UnderWay>,
    aside: &'a Aside,
}

/// Sends a permitted request to its application, for as long as its session lasts.
#[expect(clippy::too_many_arguments, reason = "a request's parts, each used once, at the end of its way")]
async fn pass(
    worker: &Rc<Worker>,
    current: &Current,
    conn: &ConnInfo,
    grant: Grant,
    live: Option<Arc<Live>>,
    parts: &mut Parts,
    body: &mut Option<ClientBody>,
    mut sent: Sent<'_>,
) -> Result<Response<AnswerBody>, Refusal> {
    let pool = current.pools.get(sent.route.upstream).ok_or(Refusal::Internal)?;
    let told = &current.snapshot.rewriting;
    let (version, expects) = (parts.version, expectation(&parts.headers) == Expectation::Continue);
    // By the fields as the client sent them: our own cookie is one that counts.
    let compression = compression::of_answer(&sent.route.compress, &parts.headers);
    address(&grant, live.as_deref(), parts, worker, current, conn, &mut sent)?;
    let lease =
        || live.as_ref().map(|live| Lease::new(worker.shared.leases.clone(), Arc::clone(live), grant.principal()));
    let is_over = || live.as_ref().is_some_and(|live| !live.is_open());
    let announce = |interim: Response<()>| {
        // HTTP/1.0 does not know of it (RFC 9110 section 15.2).
        if version >= Version::HTTP_11 && !is_over() {
            sent.aside.announce(interim);
        }
    };
    let (deadlines, body_rate, is_websocket) = (&worker.deadlines, worker.limits.get().body_rate, sent.is_websocket);
    let (is_over, announce) = (&is_over, &announce);
    let way = Way { pool, deadlines, now: sent.now, is_websocket, is_over, body_rate, announce };
    let mut upload = match body.take().filter(|body| !body.is_end_stream()) {
        None => None,
        Some(body) => {
            if expects && version == Version::HTTP_2 {
                // hyper says so by itself, over HTTP/1.1.
                sent.aside.announce(continues());
            }
            let mut upload = Upload::new(Leased::new(body, lease()), worker.clock(), &told.identity);
            (!upload.is_empty().await).then_some(upload)
        }
    };
    let answered = forward(&grant, parts, &mut upload, way, &told.cookies).await;
    // What the application has not taken is still the client's to send, or to be told not to.
    *body = upload.map(|upload| upload.into_inner().into_inner());
    if let Some(reason) = live.as_ref().filter(|live| !live.is_open()).map(|live| why_over(live, &current.snapshot)) {
        // It ended while the application was thinking: its answer is for nobody. Or while something was uploaded: that
        // was cut off here, and is no fault of the application's.
        return Err(Refusal::Unauthenticated(reason));
    }
    let mut response = answered?;
    if sent.is_websocket && version == Version::HTTP_2 {
        opens_or_fails(response.status(), pool)?;
    }
    let lease = || lease().map(|lease| lease.holding(sent.under_way));
    if let Some(changes) = &sent.route.rewriting {
        let asked = Asked::with(&parts.headers, &sent.authority, &pool.upstream().settings.servers);
        rewriting::outward(changes, asked, response.headers_mut());
    }
    let (mut head, mut body) = response.into_parts();
    if let Some(link) = body.take_switched() {
        let silence = sent.route.websocket_timeout;
        let body = AnswerBody::Switched(Some(Box::new(Switched { link, lease: lease(), silence })));
        return Ok(Response::from_parts(head, body));
    }
    // Of the answer to a HEAD, the head alone is changed.
    let is_head = parts.method == Method::HEAD || body.is_end_stream();
    let body = match prepare(&mut head, &parts.headers, compression, || worker.compressors.take()) {
        Some((coding, place)) if !is_head => AnswerBody::compressed(body, coding, place, lease()),
        Some(_) | None => AnswerBody::Upstream(Leased::new(body, lease())),
    };
    Ok(Response::from_parts(head, body))
}

/// Refuses an answer to who asks for a WebSocket by HTTP/2 that opens none and is a success: there, any success says that
/// the stream is a tunnel from now on (RFC 9113 section 8.5).
fn opens_or_fails(status: StatusCode, pool: &Pool) -> Result<(), Refusal> {
    if !status.is_success() {
        return Ok(());
    }
    let (server, source) = (pool.upstream().settings.name.clone(), Broken::NoWebSocket(status));
    Err(Refusal::Upstream(UpstreamError::Exchange { server, source }))
}

/// Makes a request the one that its application is sent.
fn address(
    grant: &Grant,
    live: Option<&Live>,
    parts: &mut Parts,
    worker: &Worker,
    current: &Current,
    conn: &ConnInfo,
    sent: &mut Sent<'_>,
) -> Result<(), Refusal> {
    let (peer, may_forward) = (conn.peer.ip(), conn.may_forward);
    let side = ClientSide { peer, may_forward, client: sent.client, authority: &sent.authority };
    rewrite(grant, parts, sent.changed_path.take(), side, &current.snapshot.rewriting, &conn.known_fields);
    if let (Some(name), Some(id)) = (&current.snapshot.request_id, correlation::current()) {
        parts.headers.insert(name, id);
    }
    if let (Some(names), Some(live)) = (&current.snapshot.csrf_token, live) {
        let token = HeaderValue::try_from(csrf_token::token(live.seed(), &worker.shared.random));
        parts.headers.insert(&names.header, token.map_err(|_| Refusal::Internal)?);
    }
    if let Some(changes) = &sent.route.rewriting {
        rewriting::inward(changes, parts).map_err(|_| Refusal::Internal)?;
    }
    if sent.is_websocket {
        websocket::say_upgrade(&mut parts.headers);
    }
    Ok(())
}

/// What a client waits for that would rather not send a body in vain (RFC 9110 section 10.1.1).
fn continues() -> Response<()> {
    let mut interim = Response::new(());
    *interim.status_mut() = StatusCode::CONTINUE;
    interim
}

/// Counts what is counted of refusals.
pub(super) fn count(worker: &Worker, refusal: &Refusal) {
    let metrics = &worker.shared.metrics;
    if let Refusal::TooMany(what, _) = refusal {
        Metrics::count(&metrics.limited, what);
    } else if let Refusal::Upstream(error) = refusal {
        Metrics::count(&metrics.upstream_errors, error.name());
        tracing::warn!("{}: {error}", error.name());
    }
}
