//! The ways a request takes to the application: straight, and through the gateway by HTTP/1.1 and by HTTP/2.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join, join_all};
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, Reason, SendStream};
use rustls::{ClientConnection, StreamOwned};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::generate::{Asked, Upload, cut};
use super::wire::{Body, Delimited, Fields, Wire};
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
    /// What announced it (1xx), but for the consent to a body.
    pub announced: Vec<(u16, Fields)>,
    /// How often it was consented to a body (100).
    pub consents: usize,
    /// Whether the body went on until the connection was closed.
    pub is_until_closed: bool,
    /// Whether all of it came.
    pub is_whole: bool,
    /// Over HTTP/2 alone: what the stream was reset with, while the answer was read or the body sent.
    pub reset: Option<Reason>,
}

impl Answered {
    /// None, not even the head of one.
    pub fn nothing() -> Self {
        Self {
            status: 0,
            version: String::new(),
            fields: Fields::new(),
            body: Vec::new(),
            trailers: Fields::new(),
            announced: Vec::new(),
            consents: 0,
            is_until_closed: false,
            is_whole: false,
            reset: None,
        }
    }

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

/// A client's TLS that reads what has come, also when it cannot send any more: an answer that breaks off ends the
/// connection, and who has asked for more by then is still to be given the answers before it. rustls by itself first
/// sends what is left to send.
struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let StreamOwned { conn, sock } = &mut self.0;
        loop {
            match conn.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if conn.is_handshaking() {
                conn.complete_io(sock)?;
                continue;
            }
            // At the end of the connection, the reader says whether its end was announced.
            conn.read_tls(sock)?;
            conn.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
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
        Self { wire: Wire::new(Tls(client.connect_raw())), waiting: VecDeque::new() }
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
        let (mut may_continue, mut announced, mut consents) = (asked.expects, Vec::new(), 0);
        loop {
            let head = self.wire.head()?;
            let [version, status, _] = head.words();
            let status: u16 = status.parse().expect("a status");
            if status == 100 && std::mem::take(&mut may_continue) {
                self.wire.send(&asked.body.written());
            }
            if status < 200 {
                if status == 100 {
                    consents += 1;
                } else {
                    announced.push((status, head.fields));
                }
                continue;
            }
            let body = self.wire.answer_body(&head, status, &asked.method);
            let (is_whole, body) = (body.is_some(), body.unwrap_or(Body::none(Delimited::Absent)));
            if !is_whole {
                // The connection has ended in the middle of it.
                self.wire.forget();
            }
            let is_until_closed = body.delimited == Delimited::UntilClosed;
            let (fields, body, trailers, reset) = (head.fields, body.bytes, body.trailers, None);
            return Some(Answered {
                status,
                version,
                fields,
                body,
                trailers,
                announced,
                consents,
                is_until_closed,
                is_whole,
                reset,
            });
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
    sender: SendRequest<Bytes>,
    ping: PingPong,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub fn to(client: &Client) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (sender, ping, connection) = runtime.block_on(async {
            let tls = client.connect(Version::H2).await;
            let mut builder = Builder::new();
            let handshake = builder.enable_push(false).max_header_list_size(1 << 20).handshake(tls);
            let (sender, mut connection) = handshake.await.expect("HTTP/2");
            let ping = connection.ping_pong().expect("nobody has taken it");
            (sender, ping, tokio::spawn(connection))
        });
        Self { runtime, sender, ping, connection }
    }

    /// Sends requests, all at once, and reads their answers. `None` for one that HTTP/2 cannot say.
    pub fn ask<'a>(&self, all: impl IntoIterator<Item = &'a Asked>, more: &Fields) -> Vec<Option<Answered>> {
        let one = |asked| async move {
            let asking = tokio::time::timeout(PATIENCE, self.ask_one(asked, more));
            asking.await.unwrap_or_else(|_| panic!("no answer in time to {asked:?}"))
        };
        self.runtime.block_on(join_all(all.into_iter().map(one)))
    }

    /// Whether the connection would take another request: it lives, and nobody has said that it ends (GOAWAY).
    pub fn is_usable(&mut self) -> bool {
        let (ping, sender) = (&mut self.ping, self.sender.clone());
        let asked = self.runtime.block_on(async {
            // What was said before the answer to this has been read behind it.
            let answered = tokio::time::timeout(PATIENCE, ping.ping(Ping::opaque())).await;
            answered.is_ok_and(|answered| answered.is_ok()) && sender.ready().await.is_ok()
        });
        asked && !self.connection.is_finished()
    }

    async fn ask_one(&self, asked: &Asked, more: &Fields) -> Option<Answered> {
        let request = request(asked, more)?;
        let mut sender = self.sender.clone().ready().await.expect("a connection that takes requests");
        let (answering, mut sending) =
            sender.send_request(request, matches!(asked.body, Upload::None)).expect("a request");
        let go_on = Notify::new();
        if !asked.expects {
            go_on.notify_one();
        }
        let upload = async {
            go_on.notified().await;
            upload(&mut sending, &asked.body).await
        };
        let (reset, mut answered) = join(upload, read(answering, &go_on)).await;
        answered.reset = answered.reset.or(reset);
        Some(answered)
    }
}

/// Reads an answer; tells `go_on` when it has consented to the body, or is there without.
async fn read(mut answering: ResponseFuture, go_on: &Notify) -> Answered {
    let shown = |fields: &http::HeaderMap| {
        fields.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect::<Fields>()
    };
    let mut answered = Answered::nothing();
    while let Some(Ok(interim)) = poll_fn(|context| answering.poll_informational(context)).await {
        if interim.status() == http::StatusCode::CONTINUE {
            answered.consents += 1;
            go_on.notify_one();
        } else {
            answered.announced.push((interim.status().as_u16(), shown(interim.headers())));
        }
    }
    let response = answering.await;
    go_on.notify_one();
    let (head, mut body) = match response {
        Ok(response) => response.into_parts(),
        Err(error) => return Answered { reset: error.reason(), ..answered },
    };
    (answered.status, answered.fields) = (head.status.as_u16(), shown(&head.headers));
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                answered.body.extend_from_slice(&data);
                let _ = body.flow_control().release_capacity(data.len());
            }
            Err(error) => return Answered { reset: error.reason(), ..answered },
        }
    }
    match body.trailers().await {
        Ok(trailers) => {
            answered.trailers = trailers.as_ref().map(shown).unwrap_or_default();
            answered.is_whole = true;
        }
        Err(error) => answered.reset = error.reason(),
    }
    answered
}

/// Sends a body, and what follows it; what the stream was reset with, if it was.
async fn upload(stream: &mut SendStream<Bytes>, body: &Upload) -> Option<Reason> {
    let (pieces, trailers) = match body {
        Upload::None => return None,
        Upload::Length(bytes) => (bytes.chunks(7000).map(Bytes::copy_from_slice).collect(), None),
        Upload::Chunks(chunks, trailers) => {
            let pieces: Vec<_> = chunks.iter().map(|chunk| Bytes::from(chunk.bytes.clone())).collect();
            let mut fields = http::HeaderMap::new();
            for (name, value) in trailers.iter().filter(|(name, _)| !is_of_http_1(name)) {
                let name: http::HeaderName = name.parse().expect("a name");
                fields.append(name, http::HeaderValue::from_bytes(value).expect("a value"));
            }
            (pieces, Some(fields).filter(|fields| !fields.is_empty()))
        }
    };
    for mut piece in pieces {
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else {
                return reset(stream).await;
            };
            if stream.send_data(piece.split_to(room.min(piece.len())), false).is_err() {
                return reset(stream).await;
            }
        }
    }
    let sent = match trailers {
        Some(fields) => stream.send_trailers(fields),
        None => stream.send_data(Bytes::new(), true),
    };
    if sent.is_err() { reset(stream).await } else { None }
}

/// What a stream was reset with, as far as that is known.
async fn reset(stream: &mut SendStream<Bytes>) -> Option<Reason> {
    poll_fn(|context| match stream.poll_reset(context) {
        Poll::Ready(Ok(reason)) => Poll::Ready(Some(reason)),
        Poll::Ready(Err(error)) => Poll::Ready(error.reason()),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What is for one connection of HTTP/1 and no field of HTTP/2 (RFC 9113 section 8.2.2).
const OF_HTTP_1: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings"];

fn is_of_http_1(name: &str) -> bool {
    OF_HTTP_1.contains(&&*name.to_ascii_lowercase())
}

/// The head of a request as HTTP/2 has it; `None` when it cannot.
fn request(asked: &Asked, more: &Fields) -> Option<http::Request<()>> {
    let uri = format!("https://{}{}", asked.authority, asked.target);
    let mut request = http::Request::builder().method(&*asked.method).uri(uri);
    for (name, value) in asked.fields.iter().chain(more) {
        if !is_of_http_1(name) {
            // White space around a value is not part of it.
            request = request.header(name, value.trim_ascii());
        }
    }
    if let Upload::Length(bytes) = &asked.body {
        request = request.header("content-length", bytes.len());
    }
    request.body(()).ok()
}
