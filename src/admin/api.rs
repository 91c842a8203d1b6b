//! The operator's API, from a request to what answers it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::admin::guard::{Caller, Refused};
use crate::admin::metrics::{self, text};
use crate::admin::query::{Query, Wanted};
use crate::admin::{explain, reload, sessions, status};
use crate::enforce::shared::Shared;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::session::handle::SessionHandle;

/// Answers one request.
pub(super) async fn answer<B>(shared: &Arc<Shared>, request: &Request<B>, caller: Caller) -> Response<Full<Bytes>> {
    let answered = match request.uri().path() {
        "/sessions" => all(shared, request, caller).await,
        "/status" => look(request, || status::status(shared)),
        "/upstreams" => look(request, || status::upstreams(shared)),
        "/users" => look(request, || status::users(shared)),
        "/explain" => explain::answer(shared, request).await,
        "/sessions/reseal" => Ok(reseal(shared, request, caller).await),
        "/reload" => Ok(reload::answer(shared, request.method(), caller).await),
        path => match path.strip_prefix("/sessions/") {
            Some(handle) => one(shared, request, handle, caller).await,
            None => Ok(metrics::answer(shared, request)),
        },
    };
    answered.unwrap_or_else(|message| wrong(StatusCode::BAD_REQUEST, &message))
}

/// What is only looked at.
fn look<B>(request: &Request<B>, see: impl FnOnce() -> Value) -> Result<Response<Full<Bytes>>, String> {
    Query::of(request.uri().query(), &[])?;
    if *request.method() != Method::GET {
        return Ok(wrong(StatusCode::METHOD_NOT_ALLOWED, "write GET"));
    }
    Ok(ok(&see()))
}

async fn all<B>(shared: &Arc<Shared>, request: &Request<B>, caller: Caller) -> Result<Response<Full<Bytes>>, String> {
    let query = request.uri().query();
    match *request.method() {
        Method::GET => {
            let query = Query::of(query, &Wanted::WORDS)?;
            let wanted = Wanted::of(&query)?;
            Ok(sessions::list(shared, &query, &wanted).await)
        }
        Method::DELETE => {
            let query = Query::of(query, &["tenant", "user", "all"])?;
            let tenant = query.tenant()?;
            let user = query.get("user").filter(|user| !user.is_empty()).map(str::to_owned);
            let shared = Arc::clone(shared);
            match (user, query.get("all")) {
                (Some(user), None) => {
                    Ok(to_the_end(async move { sessions::end_of_user(&shared, tenant, &user, caller).await }).await)
                }
                (None, Some("true")) => {
                    Ok(to_the_end(async move { sessions::end_all(&shared, tenant, caller).await }).await)
                }
                (_, _) => Err("say whose: /sessions?user=NAME, or /sessions?all=true for everybody's".to_owned()),
            }
        }
        _ => Ok(wrong(StatusCode::METHOD_NOT_ALLOWED, "write GET or DELETE")),
    }
}

async fn one<B>(
    shared: &Arc<Shared>,
    request: &Request<B>,
    handle: &str,
    caller: Caller,
) -> Result<Response<Full<Bytes>>, String> {
    let handle: SessionHandle = handle.parse()?;
    Query::of(request.uri().query(), &[])?;
    let shared = Arc::clone(shared);
    match *request.method() {
        Method::GET => Ok(sessions::show(&shared, handle).await),
        Method::DELETE => Ok(to_the_end(async move { sessions::end_one(&shared, handle, caller).await }).await),
        _ => Ok(wrong(StatusCode::METHOD_NOT_ALLOWED, "write GET or DELETE")),
    }
}

async fn reseal<B>(shared: &Arc<Shared>, request: &Request<B>, caller: Caller) -> Response<Full<Bytes>> {
    if *request.method() != Method::POST {
        return wrong(StatusCode::METHOD_NOT_ALLOWED, "write POST");
    }
    let shared = Arc::clone(shared);
    to_the_end(async move { sessions::reseal(&shared, caller).await }).await
}

/// Does something to its end, and has it noted, also when whoever asked for it has hung up.
async fn to_the_end(work: impl Future<Output = Response<Full<Bytes>>> + Send + 'static) -> Response<Full<Bytes>> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|_| wrong(StatusCode::INTERNAL_SERVER_ERROR, "it failed; the log says why"))
}

/// The answer to somebody who is not let in, noted.
pub(super) fn refused(shared: &Shared, caller: Caller, refusal: Refused) -> Response<Full<Bytes>> {
    let fields = AuditFields { client: caller.address(), reason: Some(refusal.name()), ..AuditFields::default() };
    shared.audit(AuditEvent::AdminRefused, fields);
    match refusal {
        Refused::Host => {
            wrong(StatusCode::MISDIRECTED_REQUEST, "call it by a loopback address, or by one of \"hosts\" in [admin]")
        }
        Refused::Token => {
            let mut response =
                wrong(StatusCode::UNAUTHORIZED, "write \"Authorization: Bearer\" and the token of [admin]");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// What was asked for.
pub(super) fn ok(value: &Value) -> Response<Full<Bytes>> {
    private(text(StatusCode::OK, format!("{value}\n"), "application/json"))
}

/// Why it was not done.
pub(super) fn wrong(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    private(text(status, format!("{}\n", json!({ "error": message })), "application/json"))
}

/// It is about people, and kept by nobody.
pub(super) fn private(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
