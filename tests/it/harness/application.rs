//! The application behind the gateway: writes down what it received, and answers as its path says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// A request as the application received it.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// The value of a header that must be there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().expect("text"));
        assert!(values.next().is_none(), "{name} came twice: {:?}", self.headers);
        first
    }

    /// Whether any header's value holds `text`.
    pub fn mentions(&self, text: &str) -> bool {
        self.headers.iter().any(|(_, value)| String::from_utf8_lossy(value.as_bytes()).contains(text))
    }
}

/// The application. Ends when dropped.
pub struct Application {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    gate: Arc<Semaphore>,
    _runtime: Runtime,
}

impl Application {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        runtime.spawn(serve(listener, Arc::clone(&received), Arc::clone(&gate)));
        Self { address, received, gate, _runtime: runtime }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it has received, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest request, which must exist.
    pub fn last(&self) -> Received {
        self.received().pop().expect("the application received something")
    }

    /// Lets one request for `gate` go on.
    pub fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    /// Forgets what it has received.
    pub fn forget(&self) {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asserts that nothing has reached it since it last forgot.
    pub fn assert_untouched(&self) {
        let received = self.received();
        assert!(received.is_empty(), "the application received {received:?}");
    }
}

async fn serve(listener: TcpListener, received: Arc<Mutex<Vec<Received>>>, gate: Arc<Semaphore>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (received, gate) = (Arc::clone(&received), Arc::clone(&gate));
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &received, &gate));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Body = BoxBody<Bytes, Infallible>;

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed()
}

/// A page as of an application of old: a link, and two forms that are sent beside it.
const PAGE: &str = r#"<!doctype html>
<title>The application</title>
<link rel="icon" href="data:,">
<p>a page of the application, and <a href="here?x=1">another one</a>
<form method="post" action="plain">
<input name="amount" value="7"><button>Send plainly</button>
</form>
<form method="post" action="upload" enctype="multipart/form-data">
<input name="note"><input type="file" name="plan"><button>Send with a file</button>
</form>
"#;

/// The last segment of the path says how to answer: `echo` gives the body back, `stream` sends a piece and then waits
/// for ever, `slow` waits for ever, `gate` waits for the test, `cached` may be kept by anybody, `cookies` sets some, `page`
/// is a page with forms, `status-NNN` answers so, `close` closes the connection.
async fn answer(
    request: Request<Incoming>,
    received: &Mutex<Vec<Received>>,
    gate: &Semaphore,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let what = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let collected = body.collect().await.map(http_body_util::Collected::to_bytes);
    let body = collected.as_ref().map(Clone::clone).unwrap_or_default();
    let seen = Received { method: parts.method, uri: parts.uri, headers: parts.headers, body: body.clone() };
    // Browsers ask for it whenever they like, which is no test's concern.
    if what != "favicon.ico" {
        received.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
    let mut response = match what.as_str() {
        "echo" => Response::new(full(body)),
        "big" => Response::new(full(vec![b'x'; 1 << 20])),
        "close" => return Err("closed on purpose".into()),
        "slow" => {
            std::future::pending::<()>().await;
            return Err("never".into());
        }
        "gate" => {
            gate.acquire().await?.forget();
            Response::new(full("through the gate"))
        }
        "cached" => {
            let mut response = Response::new(full("cached"));
            response.headers_mut().insert("cache-control", HeaderValue::from_static("public, max-age=3600"));
            response
        }
        "stream" => Response::new(BodyExt::boxed(StreamBody::new(endless()))),
        "page" => {
            let mut response = Response::new(full(PAGE));
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
            response
        }
        "cookies" => {
            let mut response = Response::new(full("cookies"));
            for cookie in [
                "JSESSIONID=app; Path=/",
                "__Host-session=stolen; Path=/; Secure",
                "__host-SESSION=stolen",
                "=__Host-session=stolen",
                "__Host-login=stolen; Path=/; Secure",
            ] {
                response.headers_mut().append("set-cookie", HeaderValue::from_static(cookie));
            }
            response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cookies\""));
            response
        }
        _ => Response::new(full("hello from the application")),
    };
    if let Some(status) = what.strip_prefix("status-") {
        *response.status_mut() = status.parse()?;
    }
    response.headers_mut().insert("x-application", HeaderValue::from_static("yes"));
    Ok(response)
}

/// One piece at once, and then one every tenth of a second.
fn endless() -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync {
    futures_util::stream::unfold(0_u32, |at| async move {
        if at > 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some((Ok(Frame::data(Bytes::from(format!("piece {at}\n")))), at + 1))
    })
}
