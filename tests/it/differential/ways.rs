//! The ways a request takes to the application: straight, and through the gateway by HTTP/1.1 and by HTTP/2.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use super::generate::{Asked, Upload, cut};
use super::wire::{Fields, Wire};
use crate::harness::{Client, Version};

/// How long anything may take, in real time, before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer as its client read it.
#[derive(Clone, Debug)]
pub struct Answered {
    pub status: u16,
    /// The version in its first line; empty over HTTP/2.
    pub version: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// What announced it (1xx), but for the consent to a body; over HTTP/2, hyper keeps it to itself.
    pub announced: Vec<(u16, Fields)>,
    /// Whether the body went on until the connection was closed.
    pub is_until_closed: bool,
}

impl Answered {
    /// For people.
    pub fn shown(&self) -> String {
        let fields = |fields: &Fields| {
            let lines = fields.iter().map(|(name, value)| format!("{name}: {}\n", value.escape_ascii()));
            lines.collect::<String>()
        };
        let (head, trailers) = (fields(&self.fields), fields(&self.trailers));
        format!("answered {} {}\n{head}(body of {} bytes)\n{trailers}", self.version, self.status, self.body.len())
    }
}

/// One connection over HTTP/1.
pub struct Http1 {
    wire: Wire,
    /// Requests that were sent and are not answered.
    waiting: VecDeque<Asked>,
}

impl Http1 {
    /// Straight to the application.
    pub fn straight(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).expect("connected");
        tcp.set_read_timeout(Some(PATIENCE)).expect("set");
        tcp.set_nodelay(true).expect("set");
        Self { wire: Wire::new(tcp), waiting: VecDeque::new() }
    }

    /// To the gateway.
    pub fn to(client: &Client) -> Self {
        Self { wire: Wire::new(client.connect_raw()), waiting: VecDeque::new() }
    }

    /// Sends a request with `more` fields, as far as it may be sent without being asked for its body.
    pub fn send(&mut self, asked: &Asked, more: &Fields) {
        let mut bytes = asked.head(more);
        if !asked.expects {
            bytes.extend(asked.body.written());
        }
        self.wire.send_all(&cut(&bytes, &asked.cuts));
        self.waiting.push_back(asked.clone());
    }

    /// Reads the next answer; `None` when the connection ends before it does.
    pub fn answer(&mut self) -> Option<Answered> {
        let asked = self.waiting.pop_front().expect("something was asked");
        let (mut may_continue, mut announced) = (asked.expects, Vec::new());
        loop {
            let head = self.wire.head()?;
            let [version, status, _] = head.words();
            let status: u16 = status.parse().expect("a status");
            if status == 100 && std::mem::take(&mut may_continue) {
                self.wire.send(&asked.body.written());
            }
            if status < 200 {
                if status != 100 {
                    announced.push((status, head.fields));
                }
                continue;
            }
            let body = self.wire.answer_body(&head, status, &asked.method)?;
            let is_until_closed = body.delimited == super::wire::Delimited::UntilClosed;
            let (fields, body, trailers) = (head.fields, body.bytes, body.trailers);
            return Some(Answered { status, version, fields, body, trailers, announced, is_until_closed });
        }
    }

    /// Whether the other side has closed, without another word.
    pub fn is_at_end(&mut self) -> bool {
        self.wire.is_at_end()
    }

    /// What has come that nothing was asked for.
    pub fn left(&self) -> &[u8] {
        self.wire.left()
    }
}

/// One connection over HTTP/2, to the gateway.
pub struct Http2 {
    runtime: Runtime,
    sender: SendRequest<BoxBody<Bytes, Infallible>>,
}

impl Http2 {
    pub fn to(client: &Client) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let sender = runtime.block_on(async {
            let tls = client.connect(Version::H2).await;
            let mut builder = Builder::new(TokioExecutor::new());
            let handshake = builder.max_header_list_size(1 << 20).handshake(TokioIo::new(tls));
            let (sender, connection) = handshake.await.expect("HTTP/2");
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Sends requests, all at once, and reads their answers. `None` for one that HTTP/2 cannot say.
    pub fn ask<'a>(&self, all: impl IntoIterator<Item = &'a Asked>, more: &Fields) -> Vec<Option<Answered>> {
        self.runtime.block_on(join_all(all.into_iter().map(|asked| self.ask_one(asked, more))))
    }

    async fn ask_one(&self, asked: &Asked, more: &Fields) -> Option<Answered> {
        let request = request(asked, more)?;
        let mut sender = self.sender.clone();
        let answered = async {
            let response =
                sender.send_request(request).await.unwrap_or_else(|error| panic!("no answer to {asked:?}: {error:?}"));
            let (head, body) = response.into_parts();
            let shown = |fields: &http::HeaderMap| {
                fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect::<Fields>()
            };
            let body = whole(body).await;
            Answered {
                status: head.status.as_u16(),
                version: String::new(),
                fields: shown(&head.headers),
                trailers: body.trailers().map(shown).unwrap_or_default(),
                body: body.to_bytes().to_vec(),
                announced: Vec::new(),
                is_until_closed: false,
            }
        };
        Some(tokio::time::timeout(PATIENCE, answered).await.expect("an answer in time"))
    }
}

async fn whole(body: Incoming) -> http_body_util::Collected<Bytes> {
    body.collect().await.expect("a whole body")
}

/// No body, of which nobody says that its length is nought: hyper's client would, of its own accord.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// What is for one connection of HTTP/1 and no field of HTTP/2 (RFC 9113 section 8.2.2).
const OF_HTTP_1: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"];

fn is_of_http_1(name: &str) -> bool {
    OF_HTTP_1.contains(&&*name.to_ascii_lowercase())
}

/// A request as HTTP/2 has it; `None` when it cannot.
fn request(asked: &Asked, more: &Fields) -> Option<http::Request<BoxBody<Bytes, Infallible>>> {
    let uri = format!("https://{}{}", asked.authority, asked.target);
    let mut request = http::Request::builder().method(&*asked.method).uri(uri);
    for (name, value) in asked.fields.iter().chain(more) {
        if !is_of_http_1(name) {
            // White space around a value is not part of it.
            request = request.header(name, value.trim_ascii());
        }
    }
    let body = match &asked.body {
        Upload::None => Nothing.boxed(),
        Upload::Length(bytes) => {
            request = request.header("content-length", bytes.len());
            let pieces: Vec<_> =
                bytes.chunks(7000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            BodyExt::boxed(StreamBody::new(stream::iter(pieces)))
        }
        Upload::Chunks(chunks, trailers) => {
            let mut pieces: Vec<_> = chunks.iter().map(|chunk| Frame::data(Bytes::from(chunk.bytes.clone()))).collect();
            let mut fields = http::HeaderMap::new();
            for (name, value) in trailers.iter().filter(|(name, _)| !is_of_http_1(name)) {
                let name: http::HeaderName = name.parse().expect("a name");
                fields.append(name, http::HeaderValue::from_bytes(value).expect("a value"));
            }
            if !fields.is_empty() {
                pieces.push(Frame::trailers(fields));
            }
            BodyExt::boxed(StreamBody::new(stream::iter(pieces.into_iter().map(Ok))))
        }
    };
    request.body(body).ok()
}
