//! The application behind the gateway: writes down what it received, and answers as its path says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
use tokio::sync::{Semaphore, watch};

use super::{Stream, note_secret};

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
    inside: Arc<Inside>,
    _runtime: Runtime,
}

/// What those who answer share with the test.
struct Inside {
    received: Mutex<Vec<Received>>,
    gate: Semaphore,
    /// The number of the newest piece that the test has asked for.
    pieces: watch::Sender<u64>,
}

impl Application {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        let inside = Inside { received: Mutex::default(), gate: Semaphore::new(0), pieces: watch::Sender::new(0) };
        let inside = Arc::new(inside);
        runtime.spawn(serve(listener, Arc::clone(&inside)));
        Self { address, inside, _runtime: runtime }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it has received, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.inside.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest request, which must exist.
    pub fn last(&self) -> Received {
        self.received().pop().expect("the application received something")
    }

    /// Lets one request for `gate` go on.
    pub fn open_gate(&self) {
        self.inside.gate.add_permits(1);
    }

    /// Has all streams say one more piece, and reads this one until it has come: whether it still goes on.
    pub fn goes_on(&self, stream: &mut Stream<'_>) -> bool {
        let mut number = 0;
        self.inside.pieces.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        let piece = piece(number);
        let mut read = Vec::new();
        while !read.ends_with(&piece) {
            match stream.next() {
                Some(Ok(more)) => read.extend_from_slice(&more),
                Some(Err(_)) | None => return false,
            }
        }
        true
    }

    /// Forgets what it has received.
    pub fn forget(&self) {
        self.inside.received.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asserts that nothing has reached it since it last forgot.
    pub fn assert_untouched(&self) {
        let received = self.received();
        assert!(received.is_empty(), "the application received {received:?}");
    }
}

async fn serve(listener: TcpListener, inside: Arc<Inside>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let inside = Arc::clone(&inside);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &inside));
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
<form method="post" action="/.vestibule/logout"><a href="/.vestibule/logout">Leave</a> <button>Leave at once</button></form>
"#;

/// A page around another one, and one that is nothing but two others.
const FRAMES: &str = "<!doctype html><title>Frames</title><p>around it</p><iframe src=\"page\" width=\"600\" \
                      height=\"500\"></iframe>";
const FRAMESET: &str = "<html><title>Frames</title><frameset cols=\"50%,50%\"><frame src=\"page\"><frame src=\"page\">\
                        </frameset></html>";

/// The last segment of the path says how to answer: `echo` gives the body back, `stream` sends a piece and then one
/// whenever the test asks for it, `slow` waits for ever, `gate` waits for the test, `cached` may be kept by anybody,
/// `cookies` sets some, `page` is a page with forms, `token` one whose form has the token, `frames` and `frameset` have one
/// in a frame, `status-NNN` answers so, `close` closes the connection.
async fn answer(
    request: Request<Incoming>,
    inside: &Inside,
) -> Result<Response<Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let what = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    let collected = body.collect().await.map(http_body_util::Collected::to_bytes);
    let body = collected.as_ref().map(Clone::clone).unwrap_or_default();
    let seen = Received { method: parts.method, uri: parts.uri, headers: parts.headers, body: body.clone() };
    let token = seen.headers.get(TOKEN).and_then(|token| token.to_str().ok()).unwrap_or_default().to_owned();
    // Browsers ask for it whenever they like, which is no test's concern.
    if what != "favicon.ico" {
        inside.received.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
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
            inside.gate.acquire().await?.forget();
            Response::new(full("through the gate"))
        }
        "cached" => {
            let mut response = Response::new(full("cached"));
            response.headers_mut().insert("cache-control", HeaderValue::from_static("public, max-age=3600"));
            response
        }
        "stream" => Response::new(BodyExt::boxed(StreamBody::new(endless(inside.pieces.subscribe())))),
        "page" => page(PAGE.to_owned()),
        "frames" => page(FRAMES.to_owned()),
        "frameset" => page(FRAMESET.to_owned()),
        "token" => {
            note_secret(&token);
            let field = format!("<input type=\"hidden\" name=\"vestibule_csrf\" value=\"{token}\">");
            page(PAGE.replace("<button>Send plainly", &format!("{field}<button>Send plainly")))
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

/// The header by which an application is told the token of a session.
const TOKEN: &str = "x-vestibule-csrf";

fn page(text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn piece(number: u64) -> Vec<u8> {
    format!("piece {number}\n").into_bytes()
}

/// One piece at once, and then every one that the test asks for.
fn endless(
    newest: watch::Receiver<u64>,
) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + Sync {
    let first = *newest.borrow();
    futures_util::stream::unfold((first, newest), |(at, mut newest)| async move {
        newest.wait_for(|newest| *newest >= at).await.ok()?;
        Some((Ok(Frame::data(Bytes::from(piece(at)))), (at + 1, newest)))
    })
}
