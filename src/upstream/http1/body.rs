//! Where the body of an answer ends, and what of it is there (RFC 9112 sections 6 and 7).

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::upstream::http1::Broken;

/// The longest line that says how long a chunk is, extensions included, in bytes.
pub(super) const MAX_CHUNK_LINE: usize = 4 * 1024;

/// The most bytes of trailers, and how many fields there may be.
pub(super) const MAX_TRAILERS: usize = 16 * 1024;
const MAX_TRAILER_FIELDS: usize = 64;

/// How the body of an answer is delimited, and how much of it is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// It is over.
    Ended,
    /// So many bytes more.
    Exactly(u64),
    /// In chunks.
    Chunks(InChunks),
    /// Everything until the connection is closed.
    UntilClosed,
}

/// Where in a chunked body we are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum InChunks {
    /// Before the line that says how long the next chunk is.
    #[default]
    Size,
    /// In a chunk with so many bytes left.
    Data(u64),
    /// Before the line end behind a chunk.
    DataEnd,
    /// Behind the last chunk.
    Trailers,
}

/// What of a body is there.
#[derive(Debug)]
pub(super) enum Piece {
    /// Bytes of it.
    Data(Bytes),
    /// The fields behind it.
    Trailers(HeaderMap),
    /// Nothing until more is read.
    Missing,
    /// Nothing any more.
    End,
}

impl Framing {
    /// Takes what is there of the body out of `input`.
    ///
    /// # Errors
    /// When the chunks are not as they must be.
    pub(super) fn take(&mut self, input: &mut BytesMut) -> Result<Piece, Broken> {
        loop {
            match self {
                Self::Ended => return Ok(Piece::End),
                _ if input.is_empty() => return Ok(Piece::Missing),
                Self::UntilClosed => return Ok(Piece::Data(input.split().freeze())),
                Self::Exactly(left) => {
                    let data = take_up_to(input, left);
                    if *left == 0 {
                        *self = Self::Ended;
                    }
                    return Ok(Piece::Data(data));
                }
                Self::Chunks(InChunks::Size) => match chunk_size(input)? {
                    None => return Ok(Piece::Missing),
                    Some(0) => *self = Self::Chunks(InChunks::Trailers),
                    Some(size) => *self = Self::Chunks(InChunks::Data(size)),
                },
                Self::Chunks(InChunks::Data(left)) => {
                    let data = take_up_to(input, left);
                    if *left == 0 {
                        *self = Self::Chunks(InChunks::DataEnd);
                        // The end is mostly here already: then whoever gets these bytes need not ask for more.
                        if input.starts_with(LAST_CHUNK) {
                            input.advance(LAST_CHUNK.len());
                            *self = Self::Ended;
                        }
                    }
                    return Ok(Piece::Data(data));
                }
                Self::Chunks(InChunks::DataEnd) => match &**input {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = Self::Chunks(InChunks::Size);
                    }
                    [b'\r'] => return Ok(Piece::Missing),
                    _ => return Err(Broken::NotHttp("a chunk that is longer than it says")),
                },
                Self::Chunks(InChunks::Trailers) => {
                    let Some(trailers) = trailers(input)? else { return Ok(Piece::Missing) };
                    *self = Self::Ended;
                    return Ok(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) });
                }
            }
        }
    }
}

/// What follows the data of a last chunk when there are no trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

fn take_up_to(input: &mut BytesMut, left: &mut u64) -> Bytes {
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= length as u64;
    input.split_to(length).freeze()
}

/// The size of the next chunk, whose line is taken out of `input`.
fn chunk_size(input: &mut BytesMut) -> Result<Option<u64>, Broken> {
    const INVALID: Broken = Broken::NotHttp("a chunk whose size is not a number");
    // The parser takes an empty line for a size of nothing, which would be the end.
    if !input.first().is_some_and(u8::is_ascii_hexdigit) {
        return Err(INVALID);
    }
    match httparse::parse_chunk_size(input) {
        Ok(httparse::Status::Complete((length, size))) if length <= MAX_CHUNK_LINE => {
            input.advance(length);
            Ok(Some(size))
        }
        Ok(httparse::Status::Partial) if input.len() < MAX_CHUNK_LINE => Ok(None),
        // Also when it is all there: what is read must not depend on how it arrived.
        Ok(httparse::Status::Partial | httparse::Status::Complete(_)) | Err(_) => Err(INVALID),
    }
}

/// The fields behind the last chunk, taken out of `input` with the empty line that ends them.
fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Broken> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    match httparse::parse_headers(input, &mut fields)? {
        httparse::Status::Complete((length, fields)) if length <= MAX_TRAILERS => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| httparse::Error::HeaderValue)?;
                trailers.try_append(name, value).map_err(|_| httparse::Error::TooManyHeaders)?;
            }
            input.advance(length);
            Ok(Some(trailers))
        }
        httparse::Status::Partial if input.len() < MAX_TRAILERS => Ok(None),
        httparse::Status::Partial | httparse::Status::Complete(_) => Err(Broken::NotHttp("too many trailers")),
    }
}
