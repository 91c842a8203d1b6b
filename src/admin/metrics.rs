//! `/ping`, `/ready` and `/metrics`, in plain HTTP on a loopback address, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::admin::guard::Names;
use crate::enforce::shared::Shared;

/// How many connections are served at once: a scraper and a few health checks.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may last, which is one request: whoever only holds it keeps nobody out for longer.
pub(super) const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// How long accepting pauses when it fails for want of something, like file descriptors.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves them for as long as it is run.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            shared.clock.sleep(PAUSE).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                // A page could make a browser on this machine ask by a name of the page's own, and read the answer.
                let is_ours = Names::is_called_nothing(&request) || Names::default().are_called_by(&request);
                let answer = if is_ours { answer(&shared, &request) } else { by_another_name() };
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            let connection = http.keep_alive(false).header_read_timeout(None);
            tokio::select! {
                // A scraper that goes away in the middle is its own affair.
                _ = connection.serve_connection(TokioIo::new(stream), service) => {}
                () = shared.clock.sleep(CONNECTION_TIME) => {}
            }
            drop(place);
        });
    }
}

fn by_another_name() -> Response<Full<Bytes>> {
    let words = "call it by a loopback address, or localhost\n".to_owned();
    text(StatusCode::MISDIRECTED_REQUEST, words, "text/plain; charset=utf-8")
}

/// Answers one request. Shared with the Unix socket, which has the same pages.
pub fn answer<B>(shared: &Shared, request: &Request<B>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "write GET\n".to_owned(), "text/plain; charset=utf-8");
    }
    let plain = "text/plain; charset=utf-8";
    match request.uri().path() {
        "/ping" => text(StatusCode::OK, "pong\n".to_owned(), plain),
        "/ready" if shared.is_ready() => text(StatusCode::OK, "ready\n".to_owned(), plain),
        "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned(), plain),
        "/metrics" => text(StatusCode::OK, shared.render_metrics(), OPEN_METRICS),
        _ => text(StatusCode::NOT_FOUND, "there is /ping, /ready and /metrics\n".to_owned(), plain),
    }
}

/// A short answer.
pub(super) fn text(status: StatusCode, body: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
