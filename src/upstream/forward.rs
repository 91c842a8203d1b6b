//! Sending a permitted request to its application.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::base::clock::Timestamp;
use crate::base::deadline::Deadlines;
use crate::base::net::TrustedProxies;
use crate::policy::client_address::ForwardedHeader;
use crate::policy::verdict::{Grant, Subject};
use crate::session::principal::Principal;
use crate::upstream::headers::{self, Believed, ClientFields, ClientSide};
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
pub struct Way<'a, B> {
    /// The connections to its upstream.
    pub pool: &'a Rc<Pool<B>>,
    /// This worker's deadlines.
    pub deadlines: &'a Rc<Deadlines>,
    /// When the request came.
    pub now: Timestamp,
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
    let trusts = !rewriting.trusted.is_empty() && rewriting.trusted.trusts(side.peer);
    let believed = trusts.then(|| Believed::from(fields, side.peer, &rewriting.trusted, rewriting.forwarded_header));
    // First what the client names in `Connection` and everything that is ours, then what we say: so nothing of ours can
    // be named away. `Expect` we answer ourselves, when the application begins to read the body. Trailers come behind
    // everything that is checked here, and some servers merge them into the headers: unannounced, they are not sent on.
    headers::remove_hop_by_hop(fields, |name| {
        matches!(name, "expect" | "trailer") || rewriting.identity.is_ours(name.as_bytes())
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
    way: Way<'_, Upload<B>>,
    names: &[Box<str>],
) -> Result<Response<UpstreamBody<Upload<B>>>, UpstreamError>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + 'static,
{
    let settings = way.pool.settings();
    let now = way.now;
    let deadline = way.deadlines.set(None);
    let progress = body.progress();
    let mut request = Request::from_parts(parts, body);
    loop {
        let mut connection = way.pool.connection(&deadline, now.plus(settings.connect_timeout)).await?;
        let was_new = connection.is_new();
        let Some(sender) = connection.sender() else { return Err(UpstreamError::Exhausted) };
        deadline.move_to(Some(now.plus(settings.first_byte_timeout)));
        let mut sending = pin!(sender.try_send_request(request));
        let sent = loop {
            let sent = deadline.limit(sending.as_mut()).await;
            // The application has its time from the moment it has everything: a long upload is no late answer.
            let late = progress.as_ref().map(|moved| moved.get().plus(settings.first_byte_timeout));
            match late {
                Some(late) if sent.is_err() && late > way.deadlines.recent() => deadline.move_to(Some(late)),
                Some(_) | None => break sent,
            }
        };
        match sent {
            // The client's wish to switch is not passed on, so behind this head comes nothing that we could read.
            Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(UpstreamError::Switched { server: connection.server() });
            }
            Ok(Ok(response)) => return Ok(answer(response, connection, names)),
            Ok(Err(mut failed)) => match failed.take_message() {
                // The connection was closed while it was idle and nothing of the request has left: any may be tried
                // again, on the next one.
                Some(unsent) if !was_new => request = unsent,
                Some(_) | None => {
                    return Err(UpstreamError::Exchange { server: connection.server(), source: failed.into_error() });
                }
            },
            Err(_) => return Err(UpstreamError::FirstByteTimeout { server: connection.server() }),
        }
    }
}

fn answer<B>(response: Response<Incoming>, connection: Connection<B>, names: &[Box<str>]) -> Response<UpstreamBody<B>> {
    let (mut parts, incoming) = response.into_parts();
    let names: [&str; 2] = std::array::from_fn(|at| names.get(at).map_or("", |name| &**name));
    headers::guard_answer(&mut parts.headers, &names);
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, UpstreamBody { incoming, _connection: connection })
}

/// The body of an answer. The connection goes back to its pool when it is dropped.
pub struct UpstreamBody<B> {
    incoming: Incoming,
    _connection: Connection<B>,
}

impl<B: Unpin> Body for UpstreamBody<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
