//! An answer read from bytes that are there already, in pieces as a connection would bring them: for the fuzz target
//! and its test, which need no socket. What reads is what reads answers everywhere.

use bytes::BytesMut;
use http::{HeaderMap, Method, StatusCode};

use crate::upstream::http1::Broken;
use crate::upstream::http1::body::Piece;
use crate::upstream::http1::head::read_answer;

/// An answer, as far as it was there.
#[derive(Debug, PartialEq, Eq)]
pub struct Offline {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// The fields behind the body.
    pub trailers: HeaderMap,
    /// Whether its end was there, as it says itself.
    pub is_over: bool,
    /// Whether another answer may follow.
    pub keeps_alive: bool,
    /// How many bytes came behind its end.
    pub left: usize,
}

/// Reads the final answer to a request with `method`; `None` when its head is not all there.
///
/// # Errors
/// As a connection would break.
pub fn read<'a>(method: &Method, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Offline>, Broken> {
    let mut input = BytesMut::new();
    let mut answer: Option<(Offline, _)> = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        while answer.is_none() && !input.is_empty() {
            let Some(head) = read_answer(&mut input, method)? else { break };
            if head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Broken::Switched);
            }
            if head.status.is_informational() {
                continue;
            }
            let (status, headers, keeps_alive) = (head.status, head.headers, head.keeps_alive);
            let (body, trailers) = (Vec::new(), HeaderMap::new());
            let read = Offline { status, headers, body, trailers, is_over: false, keeps_alive, left: 0 };
            answer = Some((read, head.framing));
        }
        let Some((read, framing)) = &mut answer else { continue };
        loop {
            match framing.take(&mut input)? {
                Piece::Data(data) => read.body.extend_from_slice(&data),
                Piece::Trailers(trailers) => read.trailers = trailers,
                Piece::Missing => break,
                Piece::End => {
                    read.is_over = true;
                    break;
                }
            }
        }
    }
    Ok(answer.map(|(read, _)| Offline { left: input.len(), ..read }))
}
