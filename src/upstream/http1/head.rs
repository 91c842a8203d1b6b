//! The heads: a request's as it is written, an answer's as it is read (RFC 9112 sections 2 to 6).

use std::mem::MaybeUninit;
use std::ops::Range;
use std::time::Duration;

use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::upstream::http1::Broken;
use crate::upstream::http1::body::Framing;

/// The largest head of an answer that is read, in bytes.
pub(in crate::upstream) const MAX_ANSWER_HEAD: usize = 64 * 1024;

/// How many header fields an answer may have.
const MAX_ANSWER_HEADERS: usize = 128;

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestLength {
    /// There is none.
    None,
    /// As many bytes.
    Exactly(u64),
    /// It is sent in chunks.
    Unknown,
}

/// Writes the head of a request. What says how long its body is, is ours to say.
pub(super) fn write_request(output: &mut Vec<u8>, parts: &Parts, length: RequestLength) {
    // A path that is empty is written as "/" (RFC 9112 section 3.2.1), also when a query follows it.
    let (mark, query) = parts.uri.query().map_or(("", ""), |query| ("?", query));
    for piece in [parts.method.as_str(), " ", parts.uri.path(), mark, query, " HTTP/1.1\r\n"] {
        output.extend_from_slice(piece.as_bytes());
    }
    let mut names_length = false;
    for (name, value) in &parts.headers {
        if name == header::CONTENT_LENGTH {
            names_length = true;
            continue;
        }
        output.extend_from_slice(name.as_str().as_bytes());
        output.extend_from_slice(b": ");
        output.extend_from_slice(value.as_bytes());
        output.extend_from_slice(b"\r\n");
    }
    match length {
        RequestLength::Exactly(length) => {
            output.extend_from_slice(b"content-length: ");
            output.extend_from_slice(length.to_string().as_bytes());
            output.extend_from_slice(b"\r\n");
        }
        RequestLength::Unknown => output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // RFC 9110 section 8.6: where a body would be expected, its absence is said. Old servers answer 411 otherwise.
        RequestLength::None if names_length || expects_body(&parts.method) => {
            output.extend_from_slice(b"content-length: 0\r\n");
        }
        RequestLength::None => {}
    }
    output.extend_from_slice(b"\r\n");
}

fn expects_body(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection can be used again when the body is over.
    pub(super) keeps_alive: bool,
    /// And for how long, if it says so.
    pub(super) kept_for: Option<Duration>,
}

/// Takes the head of an answer out of `input`; `None` while it is not all there.
///
/// # Errors
/// When it is not HTTP/1 or too large, or when it does not say for certain where the answer ends.
pub(super) fn read_answer(input: &mut BytesMut, method: &Method) -> Result<Option<AnswerHead>, Broken> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_ANSWER_HEADERS];
    let mut answer = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, &*input, &mut fields)?;
    let httparse::Status::Complete(length) = parsed else {
        return if input.len() >= MAX_ANSWER_HEAD { Err(Broken::HeadTooLarge) } else { Ok(None) };
    };
    if length > MAX_ANSWER_HEAD {
        return Err(Broken::HeadTooLarge);
    }
    let is_http_10 = answer.version == Some(0);
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Broken::NotHttp("the status is not three digits and a reason"))?;
    // Where each value is, so that the head can be taken out of the input as it is, and its values share its memory.
    let start = input.as_ptr().addr();
    let found = answer.headers.iter().map(|field| {
        let at = field.value.as_ptr().addr() - start;
        Ok((HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| TOO_LONG)?, at..at + field.value.len()))
    });
    let found: Vec<(HeaderName, Range<usize>)> = found.collect::<Result<_, Broken>>()?;
    let head = input.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(found.len());
    for (name, place) in found {
        let value = HeaderValue::from_maybe_shared(head.slice(place)).map_err(|_| httparse::Error::HeaderValue)?;
        headers.try_append(name, value).map_err(|_| httparse::Error::TooManyHeaders)?;
    }
    // What HTTP/1.0 does not know, or two lengths at once, is not to be relied on (RFC 9112 sections 6.1 and 6.3).
    // Neither are words on how what is not there is delimited (RFC 9112 section 6.1, RFC 9110 section 8.6).
    let (has_coding, has_length) =
        (headers.contains_key(header::TRANSFER_ENCODING), headers.contains_key(header::CONTENT_LENGTH));
    let is_doubtful =
        (has_coding && (is_http_10 || has_length)) || (status == StatusCode::NO_CONTENT && (has_coding || has_length));
    let framing = framing(&mut headers, status, method)?;
    let keeps_alive = keeps_alive(&headers, is_http_10) && framing != Framing::UntilClosed && !is_doubtful;
    let kept_for = kept_for(&headers);
    Ok(Some(AnswerHead { status, headers, framing, keeps_alive, kept_for }))
}

const TOO_LONG: Broken = Broken::NotHttp("a header's name is too long");

/// Where the answer ends (RFC 9112 section 6.3), and no second opinion of it left in its headers.
fn framing(headers: &mut HeaderMap, status: StatusCode, method: &Method) -> Result<Framing, Broken> {
    let is_empty = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = match (codings.next(), codings.next()) {
        (None, _) => false,
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ if is_empty => true,
        _ => return Err(Broken::NotHttp("a transfer coding that was not asked for")),
    };
    if chunked {
        // Two lengths: the one that counts is sent on, the other would be believed by somebody.
        headers.remove(header::CONTENT_LENGTH);
    }
    let length = content_length(headers)?;
    if let Some(length) = length {
        // Said once, however often it was said.
        if headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
    Ok(match (is_empty, chunked, length) {
        (true, ..) | (false, false, Some(0)) => Framing::Ended,
        (false, true, _) => Framing::Chunks(Default::default()),
        (false, false, Some(length)) => Framing::Exactly(length),
        (false, false, None) => Framing::UntilClosed,
    })
}

/// The one length that the headers name: digits, and the same each time.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Broken> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let parsed: u64 =
            digits.and_then(|digits| digits.parse().ok()).ok_or(Broken::NotHttp("a length that is not a number"))?;
        if length.is_some_and(|known| known != parsed) {
            return Err(Broken::NotHttp("two different lengths"));
        }
        length = Some(parsed);
    }
    Ok(length)
}

/// For how long the connection stays open when nothing is asked on it: the `timeout` of `Keep-Alive`, which no standard
/// has, and which many servers send.
fn kept_for(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("keep-alive")?.to_str().ok()?;
    let timeout = value.split(',').find_map(|parameter| parameter.trim().strip_prefix("timeout="))?;
    timeout.parse().ok().map(Duration::from_secs)
}

/// Whether the connection stays open (RFC 9112 section 9.3).
fn keeps_alive(headers: &HeaderMap, is_http_10: bool) -> bool {
    let names = |wanted: &[u8]| {
        let fields = headers.get_all(header::CONNECTION).iter();
        let mut options = fields.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    if is_http_10 { names(b"keep-alive") && !names(b"close") } else { !names(b"close") }
}
