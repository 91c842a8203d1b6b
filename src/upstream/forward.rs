//! Sending a permitted request to its application.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadlines;
use crate::base::net::TrustedProxies;
use crate::policy::client_address::ForwardedHeader;
use crate::policy::verdict::{Grant, Subject};
use crate::session::principal::Principal;
use crate::upstream::headers::{self, Believed, ClientFields, ClientSide};
use crate::upstream::http1::Broken;
use crate::upstream::http1::exchange::{Exchange, Part};
use crate::upstream::http1::link::Link;
use crate::upstream::identity::IdentityHeaders;
use crate::upstream::pool::{Connection, Pool, UpstreamError};
use crate::upstream::upload::Upload;

/// How requests are changed on their way.
#[derive(Clone, Debug)]
pub struct Rewriting {
    /// What the application is told of who is signed in.
    pub identity: Arc<IdentityHeaders>,
    /// Whose word on the client is believed.
    pub trusted: TrustedProxies,
    /// In which headers they give it.
    pub forwarded_header: ForwardedHeader,
    /// The names of our cookies.
    pub cookies: Vec<Box<str>>,
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
}

/// How many fields are added to a request at most, beside identity headers of one's own.
const ADDED_FIELDS: usize = 12;

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
    values: Vec<(HeaderName, HeaderValue)>,
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
    let believed = trusts.then(|| Believed::from(fields, side.peer, &rewriting.trusted, rewriting.forwarded_header));
    // First what the client names in `Connection` and everything that is ours, then what we say: so nothing of ours can
    // be named away. `Expect` we answer ourselves, when the application begins to read the body. Trailers come behind
    // everything that is checked here, and some servers merge them into the headers: unannounced, they are not sent on.
    headers::remove_hop_by_hop(fields, |name| {
        matches!(name, "expect" | "trailer")
            || rewriting.identity.is_ours(name.as_bytes())
            || headers::is_made_up(name, trusts)
    });
    let names: [&str; 2] = std::array::from_fn(|at| rewriting.cookies.get(at).map_or("", |name| &**name));
    headers::remove_cookies(fields, &names);
    fields.reserve(ADDED_FIELDS);
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
        let fits = |known: &UserFields| {
            Arc::ptr_eq(&known.principal, principal) && Arc::ptr_eq(&known.identity, &rewriting.identity)
        };
        let user = match known.take().filter(fits) {
            Some(user) => user,
            None => UserFields {
                principal: Arc::clone(principal),
                identity: Arc::clone(&rewriting.identity),
                values: rewriting.identity.fields_of(principal),
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

/// Sends a request on its way and waits for the head of the answer.
///
/// # Errors
/// What went wrong with the upstream.
pub async fn forward<B>(
    _permission: &Grant,
    parts: Parts,
    body: Upload<B>,
    way: Way<'_>,
    names: &[Box<str>],
) -> Result<Response<UpstreamBody<Upload<B>>>, UpstreamError>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    let (pool, settings) = (way.pool, way.pool.settings());
    let deadline = way.deadlines.set(None);
    let progress = body.progress();
    let mut body = (!body.is_end_stream()).then_some(body);
    // RFC 9110 section 9.2.2: only what may be done twice is sent twice.
    let mut may_repeat = body.is_none() && parts.method.is_idempotent();
    let mut may_be_used = true;
    loop {
        let connect_by = way.now.plus(settings.connect_timeout);
        let Connection { link, server, is_used } = pool.connection(&deadline, connect_by, may_be_used).await?;
        let mut exchange = Box::new(Exchange::begin(link, &parts, body.take(), way.is_websocket));
        deadline.move_to(Some(way.now.plus(settings.first_byte_timeout)));
        let answered = loop {
            let answered = deadline.limit(exchange.answer()).await;
            // The application has its time from the moment it has everything: a long upload is no late answer.
            let late = progress.as_ref().map(|moved| moved.get().plus(settings.first_byte_timeout));
            match late {
                Some(late) if answered.is_err() && late > way.deadlines.recent() => deadline.move_to(Some(late)),
                Some(_) | None => break answered,
            }
        };
        match answered {
            Ok(Ok(response)) => {
                let (mut parts, ()) = response.into_parts();
                guard(&mut parts.headers, names);
                let (exchange, switched) = if parts.status == StatusCode::SWITCHING_PROTOCOLS {
                    (None, Some(exchange.into_switched()))
                } else {
                    (Some(exchange), None)
                };
                let body = UpstreamBody { exchange, switched, broken: None, pool: Rc::clone(pool), server };
                return Ok(Response::from_parts(parts, body.settled()));
            }
            // It was closed while it was idle, just before the request was sent.
            Ok(Err(broken)) if is_used && may_repeat && broken.is_silence() && !exchange.has_heard() => {
                (may_repeat, may_be_used) = (false, false);
            }
            Ok(Err(source)) => return Err(UpstreamError::Exchange { server: pool.server(server), source }),
            Err(_) => return Err(UpstreamError::FirstByteTimeout { server: pool.server(server) }),
        }
    }
}

fn guard(headers: &mut HeaderMap, names: &[Box<str>]) {
    let names: [&str; 2] = std::array::from_fn(|at| names.get(at).map_or("", |name| &**name));
    headers::guard_answer(headers, &names);
}

/// The body of an answer. When it is over, its connection goes back to the pool.
pub struct UpstreamBody<B> {
    /// Until then.
    exchange: Option<Box<Exchange<B>>>,
    /// The connection, when it is no longer one for HTTP.
    switched: Option<Box<Link>>,
    /// What it broke off with, until that is told.
    broken: Option<Broken>,
    pool: Rc<Pool>,
    server: usize,
}

impl<B> UpstreamBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    /// Gives the connection back as soon as nothing more is to be read from it.
    fn settle(&mut self) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.is_over())
            && let Some(link) = self.exchange.take().and_then(|exchange| exchange.into_link())
        {
            self.pool.keep(self.server, link);
        }
    }

    /// The connection, when the application has agreed to a WebSocket.
    pub const fn take_switched(&mut self) -> Option<Box<Link>> {
        self.switched.take()
    }

    fn settled(mut self) -> Self {
        self.settle();
        self
    }
}

impl<B> Body for UpstreamBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Some(exchange) = &mut self.exchange else { return Poll::Ready(None) };
        let part = ready!(exchange.poll_body(context));
        self.settle();
        Poll::Ready(match part {
            None => None,
            Some(Ok(Part::Data(data))) => Some(Ok(Frame::data(data))),
            Some(Ok(Part::Trailers(mut trailers))) => {
                headers::guard_trailers(&mut trailers);
                Some(Ok(Frame::trailers(trailers)))
            }
            Some(Err(broken)) => {
                // Told one turn later: an error takes what is not yet written with it, and the client may have what the
                // application has sent.
                (self.exchange, self.broken) = (None, Some(broken));
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.exchange, &self.broken) {
            (Some(exchange), _) => exchange.size_hint(),
            (None, Some(_)) => SizeHint::new(),
            (None, None) => SizeHint::with_exact(0),
        }
    }
}
