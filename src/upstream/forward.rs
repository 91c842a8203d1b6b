//! Sending a permitted request to its application.

use std::cell::RefCell;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version, header};
use http_body::Body;

use crate::base::clock::Timestamp;
use crate::base::deadline::{Deadline, Deadlines};
use crate::base::net::TrustedProxies;
use crate::policy::client_address::ForwardedHeader;
use crate::policy::verdict::{Grant, Subject};
use crate::session::level::Level;
use crate::session::principal::Principal;
use crate::upstream::answer::{Place, UpstreamBody};
use crate::upstream::headers::{self, Believed, ClientFields, ClientSide};
use crate::upstream::http1::Broken;
use crate::upstream::http1::exchange::Exchange;
use crate::upstream::http1::link::Link;
use crate::upstream::http2::{self, Shared};
use crate::upstream::identity::IdentityHeaders;
use crate::upstream::pool::{Connection, Line, Pool, UpstreamError, Wanted};
use crate::upstream::settings::Protocol;
use crate::upstream::trailers;
use crate::upstream::upload::{Progress, Upload};
use crate::upstream::websocket::has_token;

/// How requests are changed on their way.
#[derive(Clone, Debug)]
pub struct Rewriting {
    /// What the application is told of who is signed in.
    pub identity: Arc<IdentityHeaders>,
    /// Whose word on the client is believed.
    pub trusted: TrustedProxies,
    /// In which headers they give it.
    pub forwarded_header: ForwardedHeader,
    /// The names of our cookies, of every tenant: of sessions, of the login form, of browsers that are known.
    pub cookies: Box<[Box<str>]>,
}

/// Where and how a request is sent.
pub struct Way<'a> {
    /// The connections to its upstream.
    pub pool: &'a Rc<Pool>,
    /// This worker's deadlines.
    pub deadlines: &'a Rc<Deadlines>,
    /// When the request came.
    pub now: Timestamp,
    /// Whether it asks for a WebSocket.
    pub is_websocket: bool,
    /// Whether the session it belongs to has ended.
    pub is_over: &'a dyn Fn() -> bool,
    /// How many bytes a second the body must bring while it is waited for, if any.
    pub body_rate: Option<NonZeroU32>,
    /// Who is given what announces the answer (1xx).
    pub announce: &'a dyn Fn(Response<()>),
}

/// Goes with the head of a request whose sender must know, should it be given up, whether a server may have it.
#[derive(Clone, Debug, Default)]
pub struct Given(Arc<AtomicBool>);

impl Given {
    /// Whether a server may have anything of it.
    pub fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// From here on, a server may have the request with this head.
    fn note(parts: &Parts) {
        if let Some(given) = parts.extensions.get::<Self>() {
            given.0.store(true, Ordering::Relaxed);
        }
    }
}

/// How many fields are added to a request at most, beside identity headers of one's own.
const ADDED_FIELDS: usize = 15;

/// Fields that are the same for one request of a connection and the next, so that they are written once.
#[derive(Debug, Default)]
pub struct KnownFields {
    client: RefCell<Option<ClientFields>>,
    user: RefCell<Option<UserFields>>,
}

/// What the application was told of who is signed in.
#[derive(Debug)]
struct UserFields {
    principal: Arc<Principal>,
    identity: Arc<IdentityHeaders>,
    level: Option<Arc<Level>>,
    values: Vec<(HeaderName, HeaderValue)>,
}

impl UserFields {
    /// Whether they say just this.
    fn says(&self, principal: &Arc<Principal>, level: Option<&Arc<Level>>, identity: &Arc<IdentityHeaders>) -> bool {
        Arc::ptr_eq(&self.principal, principal)
            && Arc::ptr_eq(&self.identity, identity)
            && self.level.as_ref().map(Arc::as_ptr) == level.map(Arc::as_ptr)
    }
}

/// Makes a request the one that the application is sent. `path` is the path as it is forwarded, when that is not the
/// one in `parts`; `known` remembers what is said of the client from one request of a connection to the next.
pub fn rewrite(
    grant: &Grant,
    parts: &mut Parts,
    path: Option<String>,
    side: ClientSide<'_>,
    rewriting: &Rewriting,
    known: &KnownFields,
) {
    let fields = &mut parts.headers;
    let trusts = side.may_forward && !rewriting.trusted.is_empty() && rewriting.trusted.trusts(side.peer);
    let written = trusts.then_some(rewriting.forwarded_header);
    let believed = trusts.then(|| Believed::from(fields, side.peer, &rewriting.trusted, rewriting.forwarded_header));
    // First what the client names in `Connection` and everything that is ours, then what we say: so nothing of ours can
    // be named away. `Expect` we answer ourselves, when the application begins to read the body.
    let takes_trailers = fields.contains_key(header::TE) && has_token(fields, &header::TE, b"trailers");
    headers::remove_hop_by_hop(fields, |name| {
        name == "expect" || rewriting.identity.is_ours(name.as_bytes()) || headers::is_a_proxys_word(name, written)
    });
    trailers::announce_of_request(fields, &rewriting.identity);
    headers::remove_cookies(fields, &rewriting.cookies);
    fields.reserve(ADDED_FIELDS);
    if takes_trailers {
        headers::say_takes_trailers(fields);
    }
    if parts.uri.authority().is_some()
        && !fields.contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(side.authority)
    {
        fields.insert(header::HOST, host);
    }
    match believed {
        None => {
            let mut known = known.client.borrow_mut();
            if !known.as_ref().is_some_and(|known| known.fit(side.authority)) {
                *known = ClientFields::new(side, &Believed::default());
            }
            if let Some(known) = &*known {
                known.write(fields);
            }
        }
        Some(believed) => {
            if let Some(client) = ClientFields::new(side, &believed) {
                client.write(fields);
            }
        }
    }
    if let Subject::User(_, principal) = grant.subject() {
        let mut known = known.user.borrow_mut();
        let fits = |known: &UserFields| known.says(principal, grant.level(), &rewriting.identity);
        let user = match known.take().filter(fits) {
            Some(user) => user,
            None => UserFields {
                principal: Arc::clone(principal),
                identity: Arc::clone(&rewriting.identity),
                level: grant.level().cloned(),
                values: rewriting.identity.fields_of(principal, grant.level().map(|level| &*level.name)),
            },
        };
        for (name, value) in &user.values {
            fields.insert(name, value.clone());
        }
        *known = Some(user);
    }
    parts.version = Version::HTTP_11;
    if path.is_some() || parts.uri.authority().is_some() {
        parts.uri = origin_form(&parts.uri, path);
    }
}

/// Path and query alone (RFC 9112 section 3.2.1).
fn origin_form(uri: &Uri, path: Option<String>) -> Uri {
    let target = match (path, uri.query()) {
        (None, _) => uri.path_and_query().cloned(),
        (Some(path), None) => PathAndQuery::try_from(path).ok(),
        (Some(path), Some(query)) => PathAndQuery::try_from(format!("{path}?{query}")).ok(),
    };
    Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
}

/// How long a body is waited for before it must have brought anything: what Apache allows.
const BODY_GRACE: Duration = Duration::from_secs(20);

/// How often it is looked whether the session of a request that waits has ended.
const SESSION_CHECK: Duration = Duration::from_secs(1);

/// Sends a request on its way and waits for the head of the answer. What of `body` was not sent is left there.
///
/// # Errors
/// What went wrong with the upstream.
pub async fn forward<B>(
    permission: &Grant,
    parts: &Parts,
    body: &mut Option<Upload<B>>,
    mut way: Way<'_>,
    names: &[Box<str>],
) -> Result<Response<UpstreamBody<Upload<B>>>, UpstreamError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin> + Unpin + 'static,
{
    let (pool, upstream) = (way.pool, way.pool.upstream());
    let session = match permission.subject() {
        Subject::Nobody => None,
        Subject::Anonymous(handle) | Subject::User(handle, _) => Some(*handle),
    };
    let deadline = way.deadlines.set(None);
    if let Some(upload) = body.as_mut() {
        Box::pin(gather(&way, &deadline, upload)).await?;
        // Only from here on is anybody's time counted but the sender's.
        way.now = way.deadlines.recent();
    }
    // RFC 9110 section 9.2.2: only what may be done twice is sent twice.
    let mut may_repeat = body.is_none() && parts.method.is_idempotent();
    let mut attempts = 0;
    let mut wanted = Wanted { session, may_be_used: true, is_websocket: way.is_websocket, now: way.now };
    loop {
        let Connection { line, server, is_used } = pool.connection(&deadline, wanted).await?;
        let place = Place { pool: Rc::clone(pool), server, under_way: upstream.begin(server) };
        let answered = match line {
            Line::Http1(link) => over_http_1(&way, &deadline, link, place, parts, body, names).await,
            Line::Http2(shared) => Box::pin(over_http_2(&way, &deadline, shared, place, parts, body, names)).await,
        };
        match &answered {
            Ok(_) => upstream.reached(server),
            // Who takes connections and hangs up on them serves nobody either.
            Err(Failure::Broken { is_untouched: true, .. }) if !is_used => {
                upstream.not_reached(server, way.deadlines.recent());
            }
            Err(_) => {}
        }
        let server = || pool.server(server);
        return Err(match answered {
            Ok(response) => return Ok(response),
            // It was closed while it was idle, just before the request was sent.
            Err(Failure::Broken { is_untouched: true, .. }) if is_used && may_repeat => {
                may_repeat = false;
                wanted = Wanted { may_be_used: false, now: way.deadlines.recent(), ..wanted };
                continue;
            }
            // Nothing of it was sent, and this connection is not used again.
            Err(Failure::NotBegun(_)) if attempts < MAX_ATTEMPTS => {
                attempts += 1;
                wanted.now = way.deadlines.recent();
                continue;
            }
            Err(Failure::Broken { source, .. } | Failure::NotBegun(source)) => {
                UpstreamError::Exchange { server: server(), source }
            }
            Err(Failure::Late) => UpstreamError::FirstByteTimeout { server: server() },
            Err(Failure::NoRoom) => UpstreamError::Exhausted,
        });
    }
}

/// How much of a body must be here before its application is spoken to, in bytes, when its length was said.
const GATHERED: usize = 64 * 1024;

/// Waits for the beginning of a body, or for all of a small one: a few hundred clients that send theirs by drops would
/// have all the connections that the application can serve. One without a length may be half of a conversation.
async fn gather<B>(way: &Way<'_>, deadline: &Deadline, upload: &mut Upload<B>) -> Result<(), UpstreamError>
where
    B: Body<Data = Bytes, Error: Unpin> + Unpin,
{
    if upload.size_hint().exact().is_none() {
        return Ok(());
    }
    let progress = upload.progress();
    let gathered = poll_fn(|context| upload.poll_gather(context, GATHERED));
    let gathered = in_time(way, deadline, progress.as_deref(), gathered).await;
    let server = || way.pool.upstream().settings.name.clone();
    gathered.ok_or_else(|| UpstreamError::Exchange { server: server(), source: Broken::SlowUpload })
}

/// How many connections that turn out to carry no more requests are tried for one.
const MAX_ATTEMPTS: usize = 3;

/// Why no answer came on a connection.
enum Failure {
    /// Something broke; whether before the server can have done anything about the request.
    Broken { source: Broken, is_untouched: bool },
    /// The connection carries no more requests, and this one is not on it.
    NotBegun(Broken),
    /// It did not come in time.
    Late,
    /// The connection carries as many requests as it may, for too long.
    NoRoom,
}

impl Failure {
    /// The time is over; whose fault that is.
    fn late(waits_for_sender: bool) -> Self {
        if waits_for_sender {
            return Self::Broken { source: Broken::SlowUpload, is_untouched: false };
        }
        Self::Late
    }
}

/// Sends a request over HTTP/1.1 and waits for the head of the answer. What of `body` was not sent is left there.
async fn over_http_1<B>(
    way: &Way<'_>,
    deadline: &Deadline,
    link: Box<Link>,
    place: Place,
    parts: &Parts,
    body: &mut Option<Upload<B>>,
    names: &[Box<str>],
) -> Result<Response<UpstreamBody<Upload<B>>>, Failure>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin> + Unpin + 'static,
{
    let progress = body.as_ref().and_then(Upload::progress);
    Given::note(parts);
    // Made where it stays: it is not small, and its two halves may come to be asked by two tasks.
    let exchange = Rc::new(RefCell::new(Exchange::begin(link, parts, body.take(), way.is_websocket)));
    let announce = |interim| way.announce(interim, names);
    let answer = poll_fn(|context| exchange.borrow_mut().poll_answer(context, announce));
    let failure = match in_time(way, deadline, progress.as_deref(), answer).await {
        Some(Ok(mut response)) => {
            guard(response.headers_mut(), names);
            return Ok(if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                response.map(|()| UpstreamBody::switched(exchange, place))
            } else {
                response.map(|()| UpstreamBody::new(exchange, place, progress))
            });
        }
        Some(Err(source)) => {
            let is_untouched = source.is_silence() && !exchange.borrow().has_heard();
            Failure::Broken { source, is_untouched }
        }
        None => Failure::late(exchange.borrow().waits_for_sender()),
    };
    *body = exchange.borrow_mut().take_rest();
    Err(failure)
}

/// The same over HTTP/2, where `body` is sent by a task of its own.
async fn over_http_2<B>(
    way: &Way<'_>,
    deadline: &Deadline,
    shared: Rc<Shared>,
    place: Place,
    parts: &Parts,
    body: &mut Option<Upload<B>>,
    names: &[Box<str>],
) -> Result<Response<UpstreamBody<Upload<B>>>, Failure>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>> + Unpin> + Unpin + 'static,
{
    let broken = |source: Broken| Failure::Broken { is_untouched: source.is_silence(), source };
    let progress = body.as_ref().and_then(Upload::progress);
    let upstream = way.pool.upstream();
    let waiting = if shared.is_full() { Some(upstream.queue().ok_or(Failure::NoRoom)?) } else { None };
    deadline.move_to(Some(way.deadlines.recent().plus(upstream.settings.connect_timeout)));
    let begun = deadline.limit(http2::Exchange::begin(&shared, way.deadlines, parts, body)).await;
    let mut exchange = begun.map_err(|_| Failure::NoRoom)?.map_err(Failure::NotBegun)?;
    // Nothing has been waited for since it was sent.
    Given::note(parts);
    drop(waiting);
    let announce = |interim| way.announce(interim, names);
    let answer = poll_fn(|context| exchange.poll_answer(context, announce));
    match in_time(way, deadline, progress.as_deref(), answer).await {
        Some(Ok(mut response)) => {
            guard(response.headers_mut(), names);
            let (head, stream) = response.into_parts();
            let answer = exchange.into_body(stream, &head.headers);
            Ok(Response::from_parts(head, UpstreamBody::of_http_2(answer, place)))
        }
        Some(Err(source)) => Err(broken(source)),
        None => {
            let waits_for_sender = progress.is_some_and(|progress| progress.is_awaited());
            if !waits_for_sender && !(way.is_over)() {
                // It may be the connection that is dead.
                shared.retire();
            }
            Err(Failure::late(waits_for_sender))
        }
    }
}

impl Way<'_> {
    /// Whether a body that was waited for so long has brought too little.
    fn is_too_slow(&self, progress: &Progress, awaited: Duration) -> bool {
        let enough = |rate: NonZeroU32| Duration::from_secs(progress.bytes() / u64::from(rate.get()));
        // Over HTTP/2, it may be half of a conversation, in which the application has not spoken yet.
        let is_conversation = !progress.has_length() && self.pool.upstream().settings.protocol == Protocol::Http2;
        !is_conversation && self.body_rate.is_some_and(|rate| awaited > BODY_GRACE + enough(rate))
    }

    fn announce(&self, mut interim: Response<()>, names: &[Box<str>]) {
        let headers = interim.headers_mut();
        guard(headers, names);
        // Nothing follows it that these could be about (RFC 9110 section 8.6).
        for name in [header::CONTENT_LENGTH, header::TRAILER] {
            headers.remove(name);
        }
        (self.announce)(interim);
    }
}

/// What `answer` comes to, unless the application takes too long, or the session ends that the request belongs to.
async fn in_time<T>(
    way: &Way<'_>,
    deadline: &Deadline,
    progress: Option<&Progress>,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let patience = way.pool.upstream().settings.first_byte_timeout;
    let mut answer = pin!(answer);
    // The application has its time from the moment it has everything: a long upload is no late answer.
    let late = || progress.map_or(way.now, Progress::moved_at).plus(patience);
    let next = |now: Timestamp| late().min(now.plus(SESSION_CHECK));
    let (mut looked_at, mut awaited) = (way.now, Duration::ZERO);
    deadline.move_to(Some(next(way.now)));
    loop {
        if let Ok(answered) = deadline.limit(answer.as_mut()).await {
            return Some(answered);
        }
        let now = way.deadlines.recent();
        if let Some(progress) = progress.filter(|progress| progress.is_awaited()) {
            awaited += now.since(looked_at);
            if way.is_too_slow(progress, awaited) {
                return None;
            }
        }
        looked_at = now;
        if now >= late() || (way.is_over)() {
            return None;
        }
        deadline.move_to(Some(next(now)));
    }
}

fn guard(headers: &mut HeaderMap, names: &[Box<str>]) {
    headers::guard_answer(headers, names);
    trailers::announce_of_answer(headers);
}
