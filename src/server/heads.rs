//! What hyper takes in a request, as it may (RFC 9112 sections 2.2, 3.2 and 6.3), and what is refused here all the same,
//! because somebody else on the way may read it otherwise: a line that ends without a carriage return, in a head or
//! around chunks; a length beside an encoding, and an encoding said twice; their names with an underscore, which CGI reads
//! as a hyphen; a fragment in the target; and bytes behind a request for a WebSocket that nobody has granted yet.
//!
//! hyper keeps none of this for its caller. So the bytes are followed as they come in, from one head to the next, and in
//! a head that must not pass, a byte is made one that hyper does not take either.

use memchr::memchr;

/// How much of a line is kept whose end has not come yet, in bytes: a field's name and its value. What says how a request
/// is framed may not be longer: nobody writes a length in so many digits, and it must mean the same however it arrives.
const KEPT: usize = 256;

/// What takes the place of a byte: it may stand nowhere in a head (RFC 9110 section 5.5).
const UNREADABLE: u8 = 0;

/// Where in its requests a connection is.
#[derive(Debug, Default)]
pub struct HeadWatch {
    place: Place,
    head: Head,
    /// The beginning of a line whose end has not come yet, and how much of it has come.
    line: Vec<u8>,
    length: usize,
    /// Whether what has come of that line ends in a carriage return.
    has_return: bool,
    /// Whether that line is a head's first, and its method has come.
    is_in_target: bool,
    is_refused: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the end of a head's first line. Empty lines may come before it (RFC 9112 section 2.2).
    #[default]
    Start,
    /// In the fields of a head.
    Fields,
    /// So many bytes before the next head.
    Body(u64),
    /// In the line that says how long a chunk is, or in the empty one behind a chunk.
    ChunkLine,
    /// So many bytes before the end of a chunk.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
}

/// What was read of the head that is coming in.
#[derive(Debug, Default)]
struct Head {
    length: Option<u64>,
    is_encoded: bool,
    is_for_websocket: bool,
}

impl HeadWatch {
    /// Follows bytes that came in, and spoils one where a head must not pass. How many of them to go on with: of what is
    /// behind such a head, nothing is to be read.
    pub fn received(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && !self.is_refused {
            at += match self.place {
                Place::Body(left) => {
                    let count = least(left, bytes.len() - at);
                    self.place = if left == count as u64 { Place::Start } else { Place::Body(left - count as u64) };
                    count
                }
                Place::Chunk(left) => {
                    let count = least(left, bytes.len() - at);
                    self.place =
                        if left == count as u64 { Place::ChunkLine } else { Place::Chunk(left - count as u64) };
                    count
                }
                Place::Start | Place::Fields | Place::ChunkLine | Place::Trailers => self.read_line(&bytes[at..]),
            };
            let speaks_early = self.head.is_for_websocket && self.place == Place::Start && at < bytes.len();
            if speaks_early || self.is_refused {
                self.is_refused = true;
                bytes[at - 1] = UNREADABLE;
            }
        }
        // What comes later may have been said when the answer was there.
        self.head.is_for_websocket &= self.place != Place::Start;
        at
    }

    /// Whether a head must not pass.
    pub const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Reads a line that begins `bytes`, or goes on in them; how many of them are its.
    fn read_line(&mut self, bytes: &[u8]) -> usize {
        let end = memchr(b'\n', bytes);
        let piece = end.map_or(bytes, |end| &bytes[..end]);
        if let Some(last) = piece.last() {
            self.has_return = *last == b'\r';
        }
        if self.place == Place::Start {
            // A method may have one in its name.
            let target = if self.is_in_target { Some(0) } else { memchr(b' ', piece) };
            self.is_in_target = target.is_some() && end.is_none();
            self.is_refused |= target.is_some_and(|target| memchr(b'#', &piece[target..]).is_some());
        }
        self.length += piece.len();
        let Some(end) = end else {
            self.keep(piece);
            return bytes.len();
        };
        let may_pass = if self.line.is_empty() {
            self.line_ended(piece)
        } else {
            self.keep(piece);
            let line = std::mem::take(&mut self.line);
            self.line_ended(&line)
        };
        self.is_refused |= !may_pass;
        (self.has_return, self.length) = (false, 0);
        end + 1
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = KEPT - self.line.len();
        self.line.extend_from_slice(&piece[..room.min(piece.len())]);
    }

    /// Takes note of a line that has ended, or of its beginning if it is a long one. Whether it may pass.
    fn line_ended(&mut self, line: &[u8]) -> bool {
        let line = if self.has_return { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        match self.place {
            Place::Start if line.is_empty() => self.has_return,
            Place::Start => {
                (self.place, self.head) = (Place::Fields, Head::default());
                self.has_return
            }
            Place::Fields if line.is_empty() => {
                self.place = match self.head {
                    Head { is_encoded: true, .. } => Place::ChunkLine,
                    Head { length: Some(1..), .. } => Place::Body(self.head.length.unwrap_or_default()),
                    Head { length: Some(0) | None, .. } => Place::Start,
                };
                // With a body it opens none: who asks for one so is refused, and of others the wish is left out.
                self.head.is_for_websocket &= self.place == Place::Start;
                self.has_return && !(self.head.is_encoded && self.head.length.is_some())
            }
            Place::Fields => self.head.field(line, self.length) && self.has_return,
            Place::ChunkLine => {
                // What is no length at all, hyper refuses by itself.
                match chunk_length(line) {
                    Some(0) => self.place = Place::Trailers,
                    Some(length) => self.place = Place::Chunk(length),
                    None => {}
                }
                self.has_return && self.length <= KEPT
            }
            Place::Trailers => {
                if line.is_empty() {
                    self.place = Place::Start;
                }
                self.has_return
            }
            Place::Body(_) | Place::Chunk(_) => true,
        }
    }
}

impl Head {
    /// Takes note of a field, whose line has `length` bytes. Whether it may pass.
    fn field(&mut self, line: &[u8], length: usize) -> bool {
        let Some(at) = memchr(b':', line) else { return true };
        let (name, value) = (&line[..at], &line[at + 1..]);
        // By their length first: most fields are none of these.
        match name.len() {
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                let mut protocols = value.split(|byte| *byte == b',');
                self.is_for_websocket |=
                    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"websocket"));
                length <= KEPT
            }
            // A length that is none is refused by hyper.
            14 if is_read_as(name, b"content-length") => {
                self.length = Some(number(value.trim_ascii(), 10).unwrap_or_default());
                name[7] == b'-' && length <= KEPT
            }
            17 if is_read_as(name, b"transfer-encoding") => {
                let is_first = !std::mem::replace(&mut self.is_encoded, true);
                is_first && name[8] == b'-' && length <= KEPT
            }
            _ => true,
        }
    }
}

/// Whether somebody reads a name as `known`: CGI does not tell an underscore from a hyphen.
fn is_read_as(name: &[u8], known: &[u8]) -> bool {
    name.iter().zip(known).all(|(byte, known)| byte.eq_ignore_ascii_case(known) || (*known == b'-' && *byte == b'_'))
}

/// The length of a chunk, in a line that says it (RFC 9112 section 7.1).
fn chunk_length(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    number(&line[..digits], 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    std::str::from_utf8(digits).ok().and_then(|digits| u64::from_str_radix(digits, radix).ok())
}

fn least(left: u64, there: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is gone on with of `text`, arriving in pieces of `size`, and whether it was refused.
    fn passed(text: &[u8], size: usize) -> (Vec<u8>, bool) {
        let (mut watch, mut passed) = (HeadWatch::default(), Vec::new());
        for piece in text.chunks(size) {
            let mut piece = piece.to_vec();
            let count = watch.received(&mut piece);
            passed.extend_from_slice(&piece[..count]);
        }
        (passed, watch.is_refused())
    }

    const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n";

    #[test]
    fn what_means_one_thing_passes_as_it_is() {
        for text in [
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\ncontent-LENGTH: 7\r\n\r\na\nb#c\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\na\nb\n\n\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nReferer: https://h/#part\r\nX-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
            "A#B / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        ] {
            let whole = [text.as_bytes(), NEXT].concat();
            for size in [1, 2, 3, 7, 64, whole.len()] {
                assert_eq!(passed(&whole, size), (whole.clone(), false), "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn what_means_two_things_passes_no_further_than_it_can_be_read() {
        for text in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\n",
            "\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET /#part HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent_length: 5\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
            &format!("POST / HTTP/1.1\r\nContent-Length: {}1\r\n\r\nx", "0".repeat(KEPT)),
            &format!("POST / HTTP/1.1\r\nContent-Length: {}1\r\n\r\nx", " ".repeat(KEPT)),
            &format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}1\r\nx\r\n0\r\n\r\n", "0".repeat(KEPT)),
            &format!("GET / HTTP/1.1\r\nUpgrade:{}websocket\r\n\r\n", " ".repeat(KEPT)),
            "POST / HTTP/1.1\r\nTransfer-encoding : x\r\nTRANSFER-ENCODING: chunked\r\nContent-length: 0\r\n\r\n0\r\n\r\n",
        ] {
            let before = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n\n\n";
            let whole = [before, text.as_bytes(), NEXT].concat();
            for size in [1, 2, 3, 7, 64, whole.len()] {
                let (passed, is_refused) = passed(&whole, size);
                assert!(is_refused, "{text:?} by {size}");
                assert_eq!(passed.last(), Some(&UNREADABLE), "{text:?} by {size}");
                assert!(passed.len() <= before.len() + text.len(), "{text:?} by {size}");
                assert_eq!(passed[..passed.len() - 1], whole[..passed.len() - 1], "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn a_websocket_does_not_speak_before_it_is_answered() {
        let ask = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x, WebSocket\r\n\r\n";
        assert_eq!(passed(ask, ask.len()), (ask.to_vec(), false));
        assert!(passed(&[ask, &b"\x81"[..]].concat(), 1000).1);
        assert!(!passed(&[ask, &b"\x81"[..]].concat(), ask.len()).1);
    }
}
