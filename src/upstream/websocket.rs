//! WebSockets on their way through (RFC 6455; over HTTP/2, RFC 8441): how one is asked for, where its frames end, and how
//! it is closed by us. What the two sides say to each other, subprotocols and extensions included, is theirs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use crate::base::random::Random;

/// A request asks for a WebSocket in a way that cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadUpgrade;

/// Whether a request asks for a WebSocket. Other protocols are not spoken: the wish for one is left out, as RFC 9110
/// section 7.8 lets a server do.
///
/// # Errors
/// When it does, and has a body too: what would then be its first frames is a question with two answers.
pub fn is_asked_for(parts: &Parts, has_body: bool) -> Result<bool, BadUpgrade> {
    if parts.version != Version::HTTP_11 || !parts.headers.contains_key(header::UPGRADE) {
        return Ok(false);
    }
    let is_one = parts.method == Method::GET
        && has_token(&parts.headers, &header::CONNECTION, b"upgrade")
        && has_token(&parts.headers, &header::UPGRADE, b"websocket");
    if is_one && has_body { Err(BadUpgrade) } else { Ok(is_one) }
}

/// Makes the extended CONNECT of HTTP/2 (RFC 8441 section 4) the GET that HTTP/1.1 asks with (RFC 6455 section 4.1).
pub fn translate_connect(parts: &mut Parts, random: &Random) {
    parts.method = Method::GET;
    let nonce: [u8; 16] = random.bytes();
    if let Ok(key) = HeaderValue::try_from(STANDARD.encode(nonce)) {
        parts.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    }
}

/// Makes an application's consent the one that HTTP/2 gives (RFC 8441 section 5).
pub fn translate_consent(status: &mut StatusCode, headers: &mut HeaderMap) {
    *status = StatusCode::OK;
    headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    headers.remove(header::CONNECTION);
    headers.remove(header::UPGRADE);
}

/// Whether a list in `headers` has a token.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|found| found.trim_ascii().eq_ignore_ascii_case(token))
}

/// Says in a head that the connection is to become a WebSocket.
pub fn say_upgrade(headers: &mut HeaderMap) {
    // What else was said of this connection has no meaning for what it becomes.
    headers.remove(header::TE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// The longest head of a frame: two bytes, a length of eight, a mask of four (RFC 6455 section 5.2).
const MAX_FRAME_HEAD: usize = 14;

/// Where in its frames one direction of a WebSocket is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    head: [u8; MAX_FRAME_HEAD],
    have: usize,
    left: u64,
}

impl Frames {
    /// Takes note of bytes that pass.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let of_frame = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= of_frame as u64;
                bytes = &bytes[of_frame..];
                continue;
            }
            if let (Some(place), [byte, rest @ ..]) = (self.head.get_mut(self.have), bytes) {
                *place = *byte;
                self.have += 1;
                bytes = rest;
            }
            if let Some(length) = self.whole_head() {
                (self.left, self.have) = (length, 0);
            }
        }
    }

    /// The length of the frame's content, once its head is whole.
    fn whole_head(&self) -> Option<u64> {
        let [_, second, rest @ ..] = self.head;
        let (extended, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 + extended + mask {
            return None;
        }
        Some(rest.iter().take(extended).fold(short, |length, byte| length << 8 | u64::from(*byte)))
    }

    /// How many of the next bytes certainly belong to the frame that is under way.
    pub fn missing(&self) -> usize {
        if self.left > 0 { usize::try_from(self.left).unwrap_or(usize::MAX) } else { 1 }
    }

    /// Whether a frame has just ended, or none has begun: here another may be put in.
    pub const fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

/// Why we close one (RFC 6455 section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The gateway stops.
    GoingAway,
    /// Nobody has said anything for too long.
    Silence,
    /// The session has ended.
    SessionEnded,
}

/// A close frame from a server, or from a client: those are masked, here by nothing (RFC 6455 section 5.3).
pub fn close_frame(reason: CloseReason, is_from_client: bool) -> Vec<u8> {
    let (code, words): (u16, &[u8]) = match reason {
        CloseReason::GoingAway => (1001, b"the gateway restarts"),
        CloseReason::Silence => (1001, b"nothing was said for too long"),
        CloseReason::SessionEnded => (1008, b"the session has ended"),
    };
    let length = (words.len() + 2) as u8;
    let mut frame = vec![0x88, if is_from_client { length | 0x80 } else { length }];
    if is_from_client {
        frame.extend([0; 4]);
    }
    frame.extend(code.to_be_bytes());
    frame.extend(words);
    frame
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let mut wire = Vec::new();
        let mut ends = vec![0];
        for (length, is_masked) in
            [(0_usize, false), (5, true), (125, false), (126, true), (300, false), (70_000, true)]
        {
            wire.push(0x82);
            let mask = if is_masked { 0x80 } else { 0 };
            match length {
                0..=125 => wire.push(mask | length as u8),
                126..=0xffff => {
                    wire.push(mask | 126);
                    wire.extend((length as u16).to_be_bytes());
                }
                _ => {
                    wire.push(mask | 127);
                    wire.extend((length as u64).to_be_bytes());
                }
            }
            if is_masked {
                wire.extend([1, 2, 3, 4]);
            }
            wire.extend(std::iter::repeat_n(7, length));
            ends.push(wire.len());
        }
        wire.extend(close_frame(CloseReason::SessionEnded, true));
        ends.push(wire.len());
        for step in [1, 2, 3, 7, 100, wire.len()] {
            let mut frames = Frames::default();
            let mut at = 0;
            for piece in wire.chunks(step) {
                assert_eq!(frames.is_between(), ends.contains(&at), "at {at} by {step}");
                frames.pass(piece);
                at += piece.len();
            }
            assert!(frames.is_between());
        }
    }

    #[test]
    fn a_websocket_is_asked_for_in_one_way() {
        let asked = |method: &str, fields: &[(&str, &str)], has_body| {
            let mut request = Request::builder().method(method).uri("/");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            is_asked_for(&request.body(()).expect("a request").into_parts().0, has_body)
        };
        let good = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert_eq!(asked("GET", &good, false), Ok(true));
        assert_eq!(asked("GET", &good, true), Err(BadUpgrade));
        assert_eq!(asked("POST", &good, true), Ok(false));
        assert_eq!(asked("GET", &[("connection", "upgrade"), ("upgrade", "h2c")], false), Ok(false));
        assert_eq!(asked("GET", &[("upgrade", "websocket")], false), Ok(false));
        assert_eq!(asked("GET", &[("connection", "upgrade")], false), Ok(false));
    }
}
