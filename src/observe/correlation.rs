//! What ties together everything that is written of one request, here and elsewhere: its id, which every line of it has,
//! the application is told and the client is answered with; and the id of the trace it belongs to, which others made.
//!
//! An id that comes with a request is taken from anybody, if it can be written down as it is. Whoever chooses one can only
//! choose that of a request of their own: those we make are random and nobody else has seen them. And some interfaces ask
//! for an id that the client chose, and expect it back.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::base::random::Random;

/// The longest id that is taken, in bytes. A UUID has 36, and a session cookie has no room in it.
const MAX_LENGTH: usize = 64;

/// How many random bytes an id of ours has, so that two are never the same and none can be guessed.
const RANDOM_BYTES: usize = 16;

thread_local! {
    /// The id of the request that this thread is at work for.
    static CURRENT: Cell<Option<HeaderValue>> = const { Cell::new(None) };
}

/// The id of a request: the one it came with as `name`, or a new one.
pub fn request_id(headers: &HeaderMap, name: &HeaderName, random: &Random) -> HeaderValue {
    let mut id = taken(headers, name).unwrap_or_else(|| made(random));
    // No two messages have the same: in the table of headers that a connection of HTTP/2 keeps (RFC 7541 section 2.3.2) it
    // would only push out others, and be compared with all that were there before.
    id.set_sensitive(true);
    id
}

/// An id that the request came with, if it is a single one, not long, and of characters that mean nothing to anybody.
fn taken(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let id = only(headers, name)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:=+/@".contains(byte);
    let bytes = id.as_bytes();
    ((1..=MAX_LENGTH).contains(&bytes.len()) && bytes.iter().all(is_plain)).then(|| id.clone())
}

/// 128 random bits as 32 hexadecimal digits, as nginx writes them.
fn made(random: &Random) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut shown = [0; RANDOM_BYTES * 2];
    for (pair, byte) in shown.chunks_exact_mut(2).zip(random.bytes::<RANDOM_BYTES>()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    // Kept in one place, however many messages and lines it goes into. Digits are a value that every header can have.
    HeaderValue::from_maybe_shared(Bytes::from_owner(shown)).unwrap_or(HeaderValue::from_static("-"))
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// How many digits the id of a trace has.
const TRACE_DIGITS: usize = 32;

/// The id of the trace that a request belongs to, by its `traceparent` (W3C Trace Context, section 3.2.2): who began it is
/// asked for nothing, since it only stands in a log.
pub fn trace_id(headers: &HeaderMap) -> Option<Box<str>> {
    let value = only(headers, &HeaderName::from_static("traceparent"))?.to_str().ok()?;
    let mut parts = value.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    // Later versions may have more behind the flags; the first has not, and there is no version ff.
    let ends_well = parts.next().is_none() || version != "00";
    let is_known = is_hex(version, 2) && version != "ff" && is_hex(parent, 16) && is_hex(flags, 2) && ends_well;
    let is_some = is_hex(trace, TRACE_DIGITS) && trace.bytes().any(|digit| digit != b'0');
    (is_known && is_some).then(|| trace.into())
}

/// Works for the request of this `id`: whatever is written meanwhile has it.
pub fn within<T>(id: &mut Option<HeaderValue>, work: impl FnOnce() -> T) -> T {
    let before = CURRENT.replace(id.take());
    let done = work();
    *id = CURRENT.replace(before);
    done
}

/// The same for work that waits, and may go on when the request is over.
pub async fn of<T>(mut id: Option<HeaderValue>, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|context| within(&mut id, || work.as_mut().poll(context))).await
}

/// The id of the request that is worked for; none where something else goes on.
pub fn current() -> Option<HeaderValue> {
    CURRENT.with(|current| {
        let id = current.take();
        current.set(id.clone());
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: HeaderName = HeaderName::from_static("x-request-id");

    fn with(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        headers
    }

    #[test]
    fn an_id_that_is_fit_to_be_written_is_taken() {
        let longest = "a".repeat(MAX_LENGTH);
        for id in ["1", "3e1d9a6c-41c8-4d6b-a2a5-5ee9b5b4f6b1", "Root=1-67891233-abcdef01", &longest] {
            assert_eq!(request_id(&with("x-request-id", &[id]), &NAME, &Random::System), id);
        }
        let too_long = "a".repeat(MAX_LENGTH + 1);
        for ids in [&[][..], &[""], &["a b"], &["a\"b"], &["a,b"], &["\u{e9}"], &["a;b"], &["a", "a"], &[&too_long]] {
            let made = request_id(&with("x-request-id", ids), &NAME, &Random::System);
            let shown = made.to_str().expect("digits");
            assert!(shown.len() == 32 && shown.bytes().all(|byte| byte.is_ascii_hexdigit()), "{ids:?}: {shown}");
        }
        let (one, two) = (made(&Random::System), made(&Random::System));
        assert_ne!(one, two);
        for id in ["", "1"] {
            let id = request_id(&with("x-request-id", &[id]), &NAME, &Random::System);
            assert!(id.is_sensitive(), "HTTP/2 keeps nothing of it");
        }
    }

    #[test]
    fn a_trace_is_known_by_its_parent() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let read = |values: &[&str]| trace_id(&with("traceparent", values));
        for good in ["00-T-00f067aa0ba902b7-01", "01-T-00f067aa0ba902b7-01", "cc-T-00f067aa0ba902b7-01-more"] {
            assert_eq!(read(&[&good.replace('T', trace)]).as_deref(), Some(trace), "{good}");
        }
        for bad in [
            "",
            "00",
            "ff-T-00f067aa0ba902b7-01",
            "00-T-00f067aa0ba902b7-01-more",
            "00-T-00f067aa0ba902b7",
            "00-T-00f067aa0ba902-01",
            "00-Tff-00f067aa0ba902b7-01",
            "0x-T-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(&[&bad.replace('T', trace)]), None, "{bad}");
        }
        assert_eq!(read(&["00-00000000000000000000000000000000-00f067aa0ba902b7-01"]), None);
        assert_eq!(read(&[&format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase())]), None);
        let twice = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(read(&[&twice, &twice]), None);
    }

    #[test]
    fn work_for_one_request_is_not_work_for_another() {
        let mut one = Some(HeaderValue::from_static("one"));
        within(&mut one, || {
            assert_eq!(current(), Some(HeaderValue::from_static("one")));
            let mut two = Some(HeaderValue::from_static("two"));
            within(&mut two, || assert_eq!(current(), Some(HeaderValue::from_static("two"))));
            assert_eq!(current(), Some(HeaderValue::from_static("one")));
        });
        assert_eq!((one, current()), (Some(HeaderValue::from_static("one")), None));
    }
}
