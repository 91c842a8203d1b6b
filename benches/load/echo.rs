//! The application behind the `ws` case: a WebSocket server that says every message back.
//!
//! It is a process of its own, so that it can be pinned, and does nothing but read, take the mask off, and write: it
//! shares a core with the load generator. `/.count` tells how many messages it has had, as nginx tells of its requests.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tungstenite::handshake::derive_accept_key;

use crate::frames::{self, Kind};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Longest head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// How much is read at once.
const PIECE: usize = 4096;

/// The process itself: `PORT`. It serves until killed.
pub(crate) fn main(args: &[String]) -> Result<(), String> {
    let [port] = args else { return Err("usage: echo PORT".to_owned()) };
    let port: u16 = port.parse().map_err(|error| format!("{port}: {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    LocalSet::new().block_on(&runtime, serve(port))
}

/// Accepts for ever.
async fn serve(port: u16) -> Result<(), String> {
    let listener = listen(port).map_err(|error| format!("port {port}: {error}"))?;
    let messages = Rc::new(Cell::new(0));
    loop {
        let (stream, _) = listener.accept().await.map_err(|error| format!("accept: {error}"))?;
        let messages = Rc::clone(&messages);
        tokio::task::spawn_local(async move {
            // What ends a connection is for its other end to complain about.
            if let Err(error) = answer(stream, &messages).await {
                eprintln!("echo: {error}");
            }
        });
    }
}

/// A socket on loopback.
fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

/// Reads the head of a request, and becomes a WebSocket or tells the count.
async fn answer(mut stream: TcpStream, messages: &Cell<u64>) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    stream.set_nodelay(true).map_err(broken)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > MAX_HEAD {
            return Err("a head that is too long".to_owned());
        }
        if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head);
    if head.starts_with("GET /.count ") {
        messages.set(messages.get() + 1);
        let said = format!("HTTP/1.0 200 OK\r\n\r\nserver accepts handled requests\n 1 1 {} \n", messages.get());
        return stream.write_all(said.as_bytes()).await.map_err(broken);
    }
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let Some(key) = key else { return stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.map_err(broken) };
    let agreed = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    stream.write_all(agreed.as_bytes()).await.map_err(broken)?;
    say_back(stream, messages).await
}

/// Says every message back, until one is the last.
async fn say_back(mut stream: TcpStream, messages: &Cell<u64>) -> Result<(), String> {
    let broken = |error: std::io::Error| error.to_string();
    let (mut input, mut output) = (Vec::with_capacity(PIECE), Vec::with_capacity(PIECE));
    loop {
        if stream.read_buf(&mut input).await.map_err(broken)? == 0 {
            return Ok(());
        }
        let mut at = 0;
        let mut is_over = false;
        while let Some(frame) = frames::first(input.get(at..).unwrap_or_default())? {
            if !frame.is_masked() {
                return Err("a frame that no client has masked".to_owned());
            }
            let content = frame.content(input.get_mut(at..).unwrap_or_default());
            frames::write(&mut output, frame.kind, content, false)?;
            match frame.kind {
                Kind::Text => messages.set(messages.get() + 1),
                Kind::Close => is_over = true,
            }
            at += frame.end;
        }
        input.drain(..at);
        stream.write_all(&output).await.map_err(broken)?;
        output.clear();
        if is_over {
            return Ok(());
        }
    }
}
