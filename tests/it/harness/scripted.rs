//! A server that does with its connections whatever a test says: what stands behind the gateway when it is not well.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A server. Its threads end with the test's process.
pub struct Scripted {
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
}

/// One connection of it.
pub struct Line {
    stream: TcpStream,
    received: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// Starts it; every connection is given to `script` in a thread of its own.
    pub fn start(script: impl Fn(Line) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (Arc::new(script), Arc::clone(&received));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, line) = (Arc::clone(&script), Line { stream, received: Arc::clone(&log) });
                std::thread::spawn(move || script(line));
            }
        });
        Self { address, received }
    }

    /// A server that gives `answer` to everything and closes.
    pub fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |mut line| {
            line.request();
            line.say(&answer);
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request it has read, as it came.
    pub fn received(&self) -> Vec<String> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Line {
    /// Reads one request with its body and writes it down; `None` at the end of the connection.
    pub fn request(&mut self) -> Option<String> {
        let mut read = self.head()?;
        let has = |name: &str, value: &str| {
            let lower = read.to_ascii_lowercase();
            lower.lines().any(|line| line.starts_with(name) && line.contains(value))
        };
        let length = read.to_ascii_lowercase().lines().find_map(|line| {
            line.strip_prefix("content-length:").map(|value| value.trim().parse::<usize>().expect("a length"))
        });
        if has("transfer-encoding:", "chunked") {
            let head = read.len();
            while !(read[head..].contains("0\r\n") && read.ends_with("\r\n\r\n")) {
                read.push_str(&self.byte()?);
            }
        }
        for _ in 0..length.unwrap_or(0) {
            read.push_str(&self.byte()?);
        }
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(read.clone());
        Some(read)
    }

    /// Reads the head of a request.
    pub fn head(&mut self) -> Option<String> {
        let mut read = String::new();
        while !read.ends_with("\r\n\r\n") {
            read.push_str(&self.byte()?);
        }
        Some(read)
    }

    /// Reads that many bytes.
    pub fn body(&mut self, length: usize) -> Option<String> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// A byte at a time: what a test sends is short.
    fn byte(&mut self) -> Option<String> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1) => Some(char::from(byte[0]).to_string()),
            Ok(_) | Err(_) => None,
        }
    }

    /// Sends bytes.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_say(bytes);
    }

    /// Sends bytes; whether the other side is still there.
    pub fn try_say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The connection itself, and where what is read of it is written down.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Says that nothing more is sent.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// How many bytes can be sent before the other side has not taken more for half a second.
    pub fn flood(&mut self) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
        let mut sent = 0;
        while let Ok(more) = self.stream.write(&[b'x'; 64 * 1024]) {
            sent += more;
        }
        self.stream.set_write_timeout(None).expect("set");
        sent
    }

    /// Waits until the other side closes.
    pub fn wait_for_close(&mut self) {
        while self.byte().is_some() {}
    }
}
