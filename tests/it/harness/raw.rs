//! A connection for bytes as they are, where hyper's client would tidy them up first.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, StreamOwned, SupportedProtocolVersion};

use super::client::{PATIENCE, tls_config_noting};

/// How a raw connection shakes hands.
#[derive(Clone, Copy)]
pub struct Hello<'a> {
    /// The host that is named, if any.
    pub sni: Option<&'a str>,
    /// What is offered by ALPN.
    pub protocols: &'a [&'a [u8]],
    /// Which TLS.
    pub versions: &'a [&'static SupportedProtocolVersion],
    /// How much the kernel may hold of what was sent and is not read yet, in bytes, if not as much as it likes.
    pub receive_buffer: Option<usize>,
}

impl Default for Hello<'_> {
    fn default() -> Self {
        Self { sni: Some("localhost"), protocols: &[b"http/1.1"], versions: rustls::ALL_VERSIONS, receive_buffer: None }
    }
}

/// A TLS connection for raw bytes.
pub struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
    stapled: Arc<Mutex<Vec<u8>>>,
}

/// An answer as it was read.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Raw {
    /// A connection by HTTP/1.1 to `localhost`.
    pub fn to(address: SocketAddr) -> Self {
        Self::shaking(address, Hello::default()).expect("a handshake")
    }

    /// A connection that shakes hands as told.
    pub fn shaking(address: SocketAddr, hello: Hello<'_>) -> std::io::Result<Self> {
        let tcp = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
        if let Some(size) = hello.receive_buffer {
            tcp.set_recv_buffer_size(size)?;
        }
        tcp.connect(&address.into())?;
        Self::over(tcp.into(), b"", hello)
    }

    /// A connection over `tcp` that shakes hands as told. `before` is sent before TLS begins, in one piece with it.
    pub fn over(mut tcp: TcpStream, before: &[u8], hello: Hello<'_>) -> std::io::Result<Self> {
        // What is sent after something else is not to wait until that was acknowledged.
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let stapled = Arc::default();
        let mut config = tls_config_noting(Arc::clone(&stapled), aws_lc_rs::default_provider(), hello.versions);
        config.alpn_protocols = hello.protocols.iter().map(|protocol| protocol.to_vec()).collect();
        config.enable_sni = hello.sni.is_some();
        let name = ServerName::try_from(hello.sni.unwrap_or("localhost").to_owned()).expect("a name");
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
        let mut first = before.to_vec();
        tls.write_tls(&mut first)?;
        tcp.write_all(&first)?;
        let mut stream = StreamOwned::new(tls, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, read: Vec::new(), stapled })
    }

    /// What was agreed on by ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.stream.conn.alpn_protocol()
    }

    /// The certificate that was shown.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.stream.conn.peer_certificates().expect("certificates")[0].clone()
    }

    /// The OCSP response that came with it, empty when there was none.
    pub fn stapled(&self) -> Vec<u8> {
        self.stapled.lock().expect("a note").clone()
    }

    /// Sends bytes. Whether they arrive is seen by what comes back.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
        let _ = self.stream.flush();
    }

    /// Sends bytes; whether the other side still takes them.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Reads what has come, without waiting, and forgets it.
    pub fn read_what_is_there(&mut self) {
        self.stream.sock.set_nonblocking(true).expect("set");
        let mut buffer = [0; 64 * 1024];
        while matches!(self.stream.read(&mut buffer), Ok(1..)) {}
        self.stream.sock.set_nonblocking(false).expect("set");
    }

    /// How many bytes can be sent, up to `most`, before the other side has not taken more for half a second.
    pub fn flood(&mut self, most: usize) -> usize {
        // Where it cannot write, rustls tries to read.
        self.stream.sock.set_read_timeout(Some(Duration::from_millis(1))).expect("set");
        self.stream.sock.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
        let mut sent = 0;
        while sent < most {
            match self.stream.write(&[b'x'; 64 * 1024]) {
                Ok(more) => sent += more,
                Err(_) => break,
            }
        }
        self.stream.sock.set_read_timeout(Some(PATIENCE)).expect("set");
        self.stream.sock.set_write_timeout(Some(PATIENCE)).expect("set");
        sent
    }

    /// Takes the bytes that have been read and not used, or reads some; empty at the end.
    pub fn bytes(&mut self) -> Vec<u8> {
        if self.read.is_empty() {
            self.read_more();
        }
        std::mem::take(&mut self.read)
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
    }

    /// Reads one more piece; `false` at the end, however it came.
    fn read_more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                true
            }
            Err(error) => {
                let timed_out = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!timed_out, "nothing came, after {:?}", String::from_utf8_lossy(&self.read));
                false
            }
        }
    }

    /// Reads until `text` has come, and gives everything up to its end; `None` when the connection ends before.
    pub fn read_until(&mut self, text: &str) -> Option<String> {
        loop {
            let found = self.read.windows(text.len()).position(|window| window == text.as_bytes());
            if let Some(at) = found {
                let rest = self.read.split_off(at + text.len());
                let before = std::mem::replace(&mut self.read, rest);
                return Some(String::from_utf8_lossy(&before).into_owned());
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Reads one answer with its body, if it has a length; `None` when the connection ends before.
    pub fn answer(&mut self) -> Option<RawAnswer> {
        self.answer_to("GET")
    }

    /// Reads the answer to a request with `method`.
    pub fn answer_to(&mut self, method: &str) -> Option<RawAnswer> {
        let head = self.read_until("\r\n\r\n")?;
        let status: u16 = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("a length"))
        });
        let has_body = method != "HEAD" && !matches!(status, 100..=199 | 204 | 304);
        let length = if has_body { length.unwrap_or(0) } else { 0 };
        while self.read.len() < length {
            if !self.read_more() {
                return None;
            }
        }
        let rest = self.read.split_off(length);
        let body = std::mem::replace(&mut self.read, rest);
        Some(RawAnswer { status, head, body })
    }

    /// Reads to the end of the connection.
    pub fn rest(&mut self) -> String {
        while self.read_more() {}
        String::from_utf8_lossy(&std::mem::take(&mut self.read)).into_owned()
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Option<RawAnswer> {
        self.send(bytes);
        self.answer()
    }
}
