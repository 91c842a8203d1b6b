//! The application behind `--files` and `--slow`: it gives and takes files of any size, which are on no disk.
//!
//! - `GET /bytes/N` gives a file of N bytes, `POST /bytes/N` takes one and says whether it came as it was sent.
//! - Any other `POST` takes what comes, any other `GET` gives the small document.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpListener;

use crate::cases::SMALL;
use crate::content::{Generated, Pattern};
use crate::lab;

/// Where the files are.
pub(crate) const FILES: &str = "/bytes/";

/// How much of an answer that is not taken its system holds, in bytes. Left to itself, it would take two megabytes for each:
/// an application has a machine of its own for that, or a share of this one's memory for connections, but here it would
/// have nearly all.
const UNSENT: usize = 128 * 1024;

/// What it says of a file that came as it was sent.
pub(crate) const AS_SENT: &str = "as it was sent";

/// The process itself: `PORT`. It serves until killed.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [port] = args else { return Err("usage: origin PORT".to_owned()) };
    let port: u16 = port.parse().map_err(|error| format!("{port}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("runtime: {error}"))?.block_on(serve(port))
}

/// Accepts for ever.
async fn serve(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.map_err(|error| format!("port {port}: {error}"))?;
    let (pattern, small) = (Pattern::new(), Bytes::from(lab::body(SMALL)));
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| format!("accept: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        SockRef::from(&stream).set_send_buffer_size(UNSENT).map_err(|error| error.to_string())?;
        let (pattern, small) = (pattern.clone(), small.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, pattern.clone(), small.clone()));
            // What ends a connection is for its other end to complain about.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Gives or takes.
async fn answer(
    request: Request<Incoming>,
    pattern: Pattern,
    small: Bytes,
) -> Result<Response<Either<Full<Bytes>, Generated>>, Infallible> {
    // Below `/public` as well.
    let size = request.uri().path().split_once(FILES).and_then(|(_, size)| size.parse::<u64>().ok());
    let is_post = request.method() == Method::POST;
    let said = match size {
        Some(size) if is_post => match pattern.compare(request.into_body(), size).await {
            Ok(()) => Ok(Bytes::from_static(AS_SENT.as_bytes())),
            Err(error) => Err(error),
        },
        Some(size) => return Ok(Response::new(Either::Right(pattern.file(size)))),
        None if is_post => {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.frame().await {}
            Ok(small)
        }
        None => Ok(small),
    };
    let (status, words) = match said {
        Ok(words) => (StatusCode::OK, words),
        Err(error) => (StatusCode::BAD_REQUEST, error.into()),
    };
    let mut response = Response::new(Either::Left(Full::new(words)));
    *response.status_mut() = status;
    Ok(response)
}
