//! Requests of our own to the servers of an upstream. Nobody came with them, so nobody had to be permitted: what they are
//! for is said instead. They carry nobody's identity, and what comes back is shown to nobody.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use http_body_util::Empty;

use crate::base::clock::{Clock, Timestamp};
use crate::upstream::group::Upstream;
use crate::upstream::http1::Broken;
use crate::upstream::http1::exchange::{Exchange, Part};
use crate::upstream::http1::link::{Link, Stream};
use crate::upstream::http2;
use crate::upstream::places::Places;
use crate::upstream::reach::{look_up, reach};
use crate::upstream::settings::Protocol;

/// What a request of our own is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To learn whether a server is well.
    HealthCheck,
}

impl Purpose {
    /// What the application sees as the user agent.
    const fn user_agent(self) -> &'static str {
        match self {
            Self::HealthCheck => "vestibule (health check)",
        }
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("{0}")]
    Exchange(#[from] Broken),
    /// It took too long.
    #[error("no answer in {:?}", .0)]
    Late(Duration),
}

/// How much of an answer is read and thrown away, in bytes: who is cut off in the middle of it may call that an error.
const MOST_READ: usize = 64 * 1024;

/// Sends a request without a body on a connection of its own, which is not one of those that the upstream is allowed, and
/// gives the status of what comes back within `patience`.
///
/// # Errors
/// Why nothing came.
pub async fn own_request(
    purpose: Purpose,
    upstream: &Upstream,
    server: usize,
    mut parts: Parts,
    clock: &Clock,
    patience: Duration,
) -> Result<StatusCode, Failed> {
    parts.headers.insert(header::USER_AGENT, HeaderValue::from_static(purpose.user_agent()));
    parts.headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    match select(pin!(ask(upstream, server, &parts)), pin!(clock.sleep(patience))).await {
        Either::Left((answered, _)) => answered,
        Either::Right(((), _)) => Err(Failed::Late(patience)),
    }
}

async fn ask(upstream: &Upstream, server: usize, parts: &Parts) -> Result<StatusCode, Failed> {
    let settings = &upstream.settings;
    let addresses = look_up(settings.servers.get(server).ok_or(io::Error::from(io::ErrorKind::NotFound))?).await?;
    let is_http_2 = settings.protocol == Protocol::Http2;
    let stream = reach(upstream, server, &addresses, is_http_2).await?;
    if is_http_2 {
        return Ok(ask_by_http_2(stream, parts).await?);
    }
    // A place that is nobody else's.
    let place = Places::new(1).take().ok_or(io::Error::from(io::ErrorKind::QuotaExceeded))?;
    let link = Link::new(stream, Timestamp::default(), place);
    let mut exchange = Exchange::begin(link, parts, None::<Empty<Bytes>>, false);
    let answer = poll_fn(|context| exchange.poll_answer(context, drop)).await?;
    let mut left = MOST_READ;
    // What it says has been said by its status: that this breaks off is no fault.
    while let Some(Ok(Part::Data(data))) = poll_fn(|context| exchange.poll_body(context)).await {
        match left.checked_sub(data.len()) {
            Some(less) => left = less,
            None => break,
        }
    }
    Ok(answer.status())
}

async fn ask_by_http_2(stream: Stream, parts: &Parts) -> Result<StatusCode, Broken> {
    let request = http2::request(http2::scheme(&stream), parts)?;
    let (sending, connection) = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(MOST_READ as u32)
        .handshake::<_, Bytes>(stream)
        .await?;
    let asked = async {
        let (answering, _) = sending.ready().await?.send_request(request, true)?;
        answering.await
    };
    match select(pin!(asked), pin!(connection)).await {
        Either::Left((answered, _)) => Ok(answered?.status()),
        Either::Right((ended, _)) => Err(ended.err().map_or(Broken::NoAnswer, Broken::from)),
    }
}
