//! The load of the `ws` case: on each WebSocket a message is sent, and the next one when it has come back.
//!
//! Neither wrk nor h2load speaks WebSockets. It is a process of its own, so that it can be pinned, and looks at every
//! echo: each message has its number in it, so that not one can be lost, doubled or mixed up unnoticed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::{JoinSet, LocalSet};
use tungstenite::handshake::derive_accept_key;

use crate::cases::{Document, MESSAGE, USER_AGENT};
use crate::client::{self, Tls};
use crate::frames::{self, Kind, MAX_FRAME};
use crate::lab::Lab;
use crate::loads::{LoadPlan, Outcome, fields, percentile};
use crate::tls_client;
use crate::tools::Tools;

/// No load is longer than this on one connection, whatever it is asked for.
const MAX_MESSAGES_EACH: usize = 10_000_000;
/// Longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;
/// The client's key; a real one is random, which only caches that do not know WebSockets need.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The command that makes this load.
pub(crate) fn command(tools: &Tools, plan: &LoadPlan<'_>, lab: &Lab) -> Result<Command, String> {
    let certificate = lab.write("cert.der", &lab.certificate)?;
    let own = std::env::current_exe().map_err(|error| format!("own path: {error}"))?;
    let mut command = tools.pinned(plan.core, &own);
    let (address, seconds) = (plan.target.address.to_string(), plan.seconds.to_string());
    command.args(["websockets", &address, &seconds, &plan.case.connections.to_string()]);
    command.arg(certificate).arg(&plan.target.cookie);
    Ok(command)
}

/// What it printed, understood. It checks every echo itself, and prints nothing if one was wrong.
pub(crate) fn outcome(output: &str) -> Result<Outcome, String> {
    let fields = fields(output)?;
    let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("websockets did not print {name}"));
    Ok(Outcome { requests: field("messages")?, p50_us: field("p50")?, p99_us: field("p99")? })
}

/// The process itself: `ADDRESS SECONDS CONNECTIONS CERTIFICATE COOKIE`.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [address, seconds, connections, certificate, cookie] = args else {
        return Err("usage: websockets ADDRESS SECONDS CONNECTIONS CERTIFICATE COOKIE".to_owned());
    };
    let address: SocketAddr = address.parse().map_err(|error| format!("{address}: {error}"))?;
    let seconds: u64 = seconds.parse().map_err(|error| format!("{seconds}: {error}"))?;
    let connections: usize = connections.parse().map_err(|error| format!("{connections}: {error}"))?;
    let certificate = fs::read(certificate).map_err(|error| format!("{certificate}: {error}"))?;
    let config = tls_client::config(certificate)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    let latencies = LocalSet::new().block_on(&runtime, async move {
        let mut open = Vec::new();
        for _ in 0..connections {
            let stream = client::connect(&config, address, Ipv4Addr::LOCALHOST).await?;
            open.push(Socket::ask(stream, &address.to_string(), cookie).await?);
        }
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let mut talks = JoinSet::new();
        for socket in open {
            talks.spawn_local(talk(socket, deadline));
        }
        let mut latencies = Vec::new();
        while let Some(talk) = talks.join_next().await {
            latencies.extend(talk.map_err(|error| error.to_string())??);
        }
        Ok::<_, String>(latencies)
    });
    let mut latencies = latencies?;
    latencies.sort_unstable();
    println!("messages={} p50={} p99={}", latencies.len(), percentile(&latencies, 50), percentile(&latencies, 99));
    Ok(())
}

/// One message after the other until the deadline; microseconds each, there and back.
async fn talk(mut socket: Socket<Tls>, deadline: Instant) -> Result<Vec<u64>, String> {
    let mut latencies = Vec::new();
    while latencies.len() < MAX_MESSAGES_EACH {
        let begin = Instant::now();
        if begin >= deadline {
            break;
        }
        socket.echo(latencies.len() as u64).await?;
        latencies.push(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    socket.close().await?;
    Ok(latencies)
}

/// A WebSocket that was agreed to. Nothing in here has a limit of its own in time: whoever started it ends it.
pub(crate) struct Socket<S> {
    stream: S,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Asks for one on a connection.
    pub(crate) async fn ask(stream: S, host: &str, cookie: &str) -> Result<Self, String> {
        let Document { path, .. } = MESSAGE;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nCookie: {cookie}\r\nOrigin: https://{host}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        let mut socket = Self { stream, input: Vec::new(), output: request.into_bytes() };
        socket.send().await?;
        let head = loop {
            if let Some(end) = socket.input.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.input.len() > MAX_HEAD {
                return Err("a head that is too long".to_owned());
            }
            socket.receive().await?;
        };
        let said = String::from_utf8_lossy(socket.input.get(..head).unwrap_or_default()).into_owned();
        let accepts = format!("sec-websocket-accept: {}", derive_accept_key(KEY.as_bytes()).to_ascii_lowercase());
        if !said.starts_with("HTTP/1.1 101 ") || !said.lines().any(|line| line.eq_ignore_ascii_case(&accepts)) {
            return Err(format!("not a WebSocket:\n{}", said.trim_end()));
        }
        socket.input.drain(..head);
        Ok(socket)
    }

    /// Sends a message with this number, and waits for it to come back.
    pub(crate) async fn echo(&mut self, number: u64) -> Result<(), String> {
        let message = message(number);
        frames::write(&mut self.output, Kind::Text, &message, true)?;
        self.send().await?;
        if self.next().await? != (Kind::Text, message.to_vec()) {
            return Err(format!("what came back is not message {number}"));
        }
        Ok(())
    }

    /// Says that it is over, and waits for the other side to say so, too.
    pub(crate) async fn close(mut self) -> Result<(), String> {
        // 1000: all is well.
        frames::write(&mut self.output, Kind::Close, &1000_u16.to_be_bytes(), true)?;
        self.send().await?;
        match self.next().await? {
            (Kind::Close, _) => Ok(()),
            (Kind::Text, _) => Err("a message where the end should be".to_owned()),
        }
    }

    /// The next frame and its content.
    async fn next(&mut self) -> Result<(Kind, Vec<u8>), String> {
        loop {
            if let Some(frame) = frames::first(&self.input)? {
                let content = frame.content(&mut self.input).to_vec();
                self.input.drain(..frame.end);
                return Ok((frame.kind, content));
            }
            self.receive().await?;
        }
    }

    /// Writes what is to be written.
    async fn send(&mut self) -> Result<(), String> {
        let written = async {
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error: std::io::Error| format!("write: {error}"))?;
        self.output.clear();
        Ok(())
    }

    /// Reads what there is. The end is an error: nobody asks for more than must come.
    async fn receive(&mut self) -> Result<(), String> {
        self.input.reserve(MAX_FRAME);
        match self.stream.read_buf(&mut self.input).await.map_err(|error| format!("read: {error}"))? {
            0 => Err("read: the other side has closed the connection".to_owned()),
            _ => Ok(()),
        }
    }
}

/// The text of a message: its number, and enough to make it as long as it should be.
pub(crate) fn message(number: u64) -> [u8; MESSAGE.size as usize] {
    let mut text = [b'.'; MESSAGE.size as usize];
    for (place, digit) in text.iter_mut().zip(number.to_string().bytes()) {
        *place = digit;
    }
    text
}
