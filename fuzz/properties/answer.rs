//! What holds of every answer that is read from an application.

use http::{Method, header};
use vestibule::upstream::http1::offline::{Offline, read};

/// The most header fields that an answer may have, and the most bytes of its head.
const MAX_FIELDS: usize = 128;

/// Checks it for an answer of all bytes but the first, which chooses the request's method.
pub(crate) fn check(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let method = if choice % 2 == 0 { Method::GET } else { Method::HEAD };
    let whole = shown(&method, [bytes]);
    // However it arrives, it is the same answer, or broken all the same.
    assert_eq!(shown(&method, bytes.chunks(1)), whole, "a byte at a time");
    let at = usize::from(choice / 2) % (bytes.len() + 1);
    assert_eq!(shown(&method, [&bytes[..at], &bytes[at..]]), whole, "cut at {at}");

    let Ok(Some(answer)) = whole else { return };
    assert!(!answer.status.is_informational(), "an interim answer is none");
    assert!(answer.headers.len() <= MAX_FIELDS, "within bounds");
    assert!(answer.body.len() + answer.left <= bytes.len(), "no byte is made up");
    let lengths: Vec<_> = answer.headers.get_all(header::CONTENT_LENGTH).iter().collect();
    let is_chunked = answer.headers.contains_key(header::TRANSFER_ENCODING);
    assert!(lengths.len() <= 1, "one length");
    assert!(!is_chunked || lengths.is_empty(), "one way to tell where it ends");
    let has_no_body = method == Method::HEAD || matches!(answer.status.as_u16(), 204 | 304);
    if has_no_body {
        assert!(answer.body.is_empty() && answer.is_over, "nothing follows");
    } else if let [length] = *lengths {
        let length = length.to_str().expect("digits");
        assert!(length.bytes().all(|byte| byte.is_ascii_digit()), "digits: {length}");
        let length: u64 = length.parse().expect("a number");
        assert!(answer.body.len() as u64 <= length, "not longer than it says");
        assert_eq!(answer.is_over, answer.body.len() as u64 == length, "over when it says so");
    } else if !is_chunked {
        assert!(!answer.is_over && !answer.keeps_alive && answer.left == 0, "all that comes is its body");
    }
    assert!(answer.is_over || answer.left == 0 || is_chunked, "what is there is taken");
    assert!(answer.trailers.is_empty() || is_chunked && answer.is_over, "trailers come behind chunks");
}

/// The answer, or that there is none.
fn shown<'a>(method: &Method, pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Offline>, ()> {
    read(method, pieces).map_err(drop)
}
