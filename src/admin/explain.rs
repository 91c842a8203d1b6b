//! What would be decided on a request with a session that is there, by the configuration in force. It is only looked at:
//! the session does not notice, and nothing of its secret is told.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::admin::api::{ok, wrong};
use crate::admin::query::Query;
use crate::enforce::explain::{Asked, Ground, Who, explain, header, request};
use crate::enforce::shared::Shared;
use crate::session::handle::SessionHandle;
use crate::session::store::Lookup;

/// The words it takes: the request, the handle of a session, the address that the request comes from, and its headers, one
/// a line.
const WORDS: [&str; 4] = ["request", "session", "address", "headers"];

/// Answers one request.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) async fn answer<B>(shared: &Shared, asked: &Request<B>) -> Result<Response<Full<Bytes>>, String> {
    let query = Query::of(asked.uri().query(), &WORDS)?;
    if *asked.method() != Method::GET {
        return Ok(wrong(StatusCode::METHOD_NOT_ALLOWED, "write GET"));
    }
    let handle = query.read("session", str::parse::<SessionHandle>)?;
    let client = query.read("address", |text| text.parse().map_err(|_| format!("\"{text}\" is no address")))?;
    let lines = query.get("headers").unwrap_or_default().lines();
    let headers = lines.map(header).collect::<Result<Vec<(HeaderName, HeaderValue)>, String>>()?;
    let parts = request(query.get("request").ok_or("say which request: request=GET https://…")?, &headers)?;
    let live = match handle.map(|handle| shared.store.lookup(handle)) {
        None => None,
        Some(Lookup::Hit(live)) => Some(live),
        Some(Lookup::Miss) => None,
        Some(Lookup::Later(later)) => match shared.asked("lookup", later).await {
            Ok(found) => found,
            Err(error) => return Ok(wrong(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())),
        },
    };
    if handle.is_some() && live.is_none() {
        return Ok(wrong(StatusCode::NOT_FOUND, "there is no such session"));
    }
    let snapshot = shared.snapshot.load_full();
    let upstreams: Vec<Box<str>> = snapshot.upstreams.iter().map(|upstream| upstream.settings.name.clone()).collect();
    let ground = Ground {
        routes: &snapshot.routes,
        rules: &|host| &snapshot.tenant(host).rules,
        identity: &snapshot.rewriting.identity,
        upstreams: &upstreams,
        written: &snapshot.written,
    };
    let who = live.as_ref().map_or(Who::Stranger, |live| Who::Session(live.view()));
    let told = explain(&ground, &Asked { parts: &parts, client, who, now: shared.clock.now() });
    Ok(ok(&json!(told)))
}
