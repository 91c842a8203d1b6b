//! HTTP/1 read with no library's help, by the test's server as well as by its client: the same eyes on both sides of
//! the gateway.

use std::io::{ErrorKind, Read, Write};

/// Fields of a head in their order: names in lower case, values without the white space around them.
pub type Fields = Vec<(String, Vec<u8>)>;

/// A connection, of whatever kind.
pub trait Duplex: Read + Write + Send {}

impl<T: Read + Write + Send> Duplex for T {}

/// One side of a connection.
pub struct Wire {
    stream: Box<dyn Duplex>,
    read: Vec<u8>,
    /// How much of `read` has been taken.
    taken: usize,
}

/// The head of a request or an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its first line.
    pub start: Vec<u8>,
    pub fields: Fields,
}

/// How a body was delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delimited {
    /// There was none, and nothing said how long it is.
    Absent,
    Length,
    Chunks,
    UntilClosed,
}

/// A body as it was read.
#[derive(Clone, Debug)]
pub struct Body {
    pub bytes: Vec<u8>,
    pub trailers: Fields,
    pub delimited: Delimited,
}

impl Head {
    /// The values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_slice())
    }

    /// Whether a list has a word.
    pub fn says(&self, name: &str, word: &str) -> bool {
        let mut words = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        words.any(|found| found.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    }

    /// The length it names.
    pub fn length(&self) -> Option<usize> {
        let text = std::str::from_utf8(self.all("content-length").next()?).expect("text");
        Some(text.parse().unwrap_or_else(|_| panic!("a length: {text:?}")))
    }

    /// The three words of its first line: method, target and version, or version, status and reason.
    pub fn words(&self) -> [String; 3] {
        let text = String::from_utf8_lossy(&self.start);
        let mut words = text.splitn(3, ' ').map(str::to_owned);
        std::array::from_fn(|_| words.next().unwrap_or_default())
    }
}

impl Wire {
    pub fn new(stream: impl Duplex + 'static) -> Self {
        Self { stream: Box::new(stream), read: Vec::new(), taken: 0 }
    }

    /// Sends bytes; whether the other side still took them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// Sends pieces, each by itself.
    pub fn send_all(&mut self, pieces: &[Vec<u8>]) {
        for piece in pieces {
            self.send(piece);
        }
    }

    /// Reads more; `false` at the end, however it came.
    fn more(&mut self) -> bool {
        if self.taken > 64 * 1024 {
            self.read.drain(..self.taken);
            self.taken = 0;
        }
        let mut piece = [0; 32 * 1024];
        match self.stream.read(&mut piece) {
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                length > 0
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came, after {:?}", String::from_utf8_lossy(&self.read[self.taken..]));
            }
            Err(_) => false,
        }
    }

    /// Whether the other side has closed and left nothing.
    pub fn is_at_end(&mut self) -> bool {
        self.taken == self.read.len() && !self.more()
    }

    /// Throws away what has been read.
    pub fn forget(&mut self) {
        self.taken = self.read.len();
    }

    /// What has been read and belongs to nothing yet.
    pub fn left(&self) -> &[u8] {
        &self.read[self.taken..]
    }

    /// Takes everything up to the end of `mark`; `None` when the connection ends before.
    fn until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let mut looked = 0;
        loop {
            let left = &self.read[self.taken..];
            if let Some(at) = left[looked..].windows(mark.len()).position(|window| window == mark) {
                let found = left[..looked + at].to_vec();
                self.taken += found.len() + mark.len();
                return Some(found);
            }
            looked = left.len().saturating_sub(mark.len() - 1);
            if !self.more() {
                return None;
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() - self.taken < length {
            if !self.more() {
                return None;
            }
        }
        let bytes = self.read[self.taken..self.taken + length].to_vec();
        self.taken += length;
        Some(bytes)
    }

    /// Reads a head; `None` when the connection ends before it does.
    pub fn head(&mut self) -> Option<Head> {
        let bytes = self.until(b"\r\n\r\n")?;
        let mut lines = lines(&bytes);
        let start = lines.next()?.to_vec();
        Some(Head { start, fields: lines.map(field).collect() })
    }

    /// Reads the body of a request.
    pub fn request_body(&mut self, head: &Head) -> Option<Body> {
        if head.says("transfer-encoding", "chunked") {
            return self.chunks();
        }
        let Some(length) = head.length() else { return Some(Body::none(Delimited::Absent)) };
        Some(Body { bytes: self.exactly(length)?, ..Body::none(Delimited::Length) })
    }

    /// Reads the body of the answer to a request.
    pub fn answer_body(&mut self, head: &Head, status: u16, method: &str) -> Option<Body> {
        if method == "HEAD" || matches!(status, 100..=199 | 204 | 304) {
            return Some(Body::none(Delimited::Absent));
        }
        if head.says("transfer-encoding", "chunked") {
            return self.chunks();
        }
        if let Some(length) = head.length() {
            return Some(Body { bytes: self.exactly(length)?, ..Body::none(Delimited::Length) });
        }
        while self.more() {}
        let bytes = self.read.split_off(self.taken);
        Some(Body { bytes, ..Body::none(Delimited::UntilClosed) })
    }

    fn chunks(&mut self) -> Option<Body> {
        let mut body = Body::none(Delimited::Chunks);
        loop {
            let line = String::from_utf8(self.until(b"\r\n")?).expect("text");
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("the size of a chunk: {line:?}"));
            if size == 0 {
                break;
            }
            body.bytes.extend(self.exactly(size)?);
            assert_eq!(self.exactly(2)?, b"\r\n", "a chunk is as long as it says");
        }
        loop {
            let line = self.until(b"\r\n")?;
            if line.is_empty() {
                return Some(body);
            }
            body.trailers.push(field(&line));
        }
    }
}

impl Body {
    pub const fn none(delimited: Delimited) -> Self {
        Self { bytes: Vec::new(), trailers: Vec::new(), delimited }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let at = line.iter().position(|byte| *byte == b':');
    let at = at.unwrap_or_else(|| panic!("no field: {:?}", String::from_utf8_lossy(line)));
    let name = String::from_utf8(line[..at].to_vec()).expect("a name");
    (name.to_ascii_lowercase(), line[at + 1..].trim_ascii().to_vec())
}
