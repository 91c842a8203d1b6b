//! Which answers can be compressed, and what their heads say then.

use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::policy::compression::{Coding, Compression, forbids_transform};

/// The length below which it is not worth it: what fits into one packet is there as soon when it is shorter.
const SMALLEST: u64 = 1024;

/// Makes the head of an answer what its body will be, and says how that is to be compressed, if it is. `place` is asked
/// for only then, and without one the answer goes out as it is. `asked` are the fields of the request.
pub fn prepare<P>(
    head: &mut Parts,
    asked: &HeaderMap,
    compression: Compression,
    place: impl FnOnce() -> Option<P>,
) -> Option<(Coding, P)> {
    if compression == Compression::Untouched {
        return None;
    }
    if head.status == StatusCode::NOT_MODIFIED {
        keep_weak(&mut head.headers, asked);
        return None;
    }
    if !is_eligible(head.status, &head.headers) {
        return None;
    }
    say_vary(&mut head.headers);
    let Compression::By(coding) = compression else { return None };
    let place = place()?;
    let headers = &mut head.headers;
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    // The application counts in bytes that nobody sees.
    headers.remove(header::ACCEPT_RANGES);
    weaken(headers);
    Some((coding, place))
}

/// Whether an answer is one that gets shorter, and that we may change. Only a whole one: a part is one of bytes that are
/// counted, an error is short, and what other successes have is not the page itself.
fn is_eligible(status: StatusCode, headers: &HeaderMap) -> bool {
    // A checksum would no longer be of what is sent.
    let is_bound = [header::CONTENT_ENCODING, header::CONTENT_RANGE, CONTENT_DIGEST, REPR_DIGEST, DIGEST, CONTENT_MD5]
        .iter()
        .any(|name| headers.contains_key(name));
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let is_text = match (types.next().and_then(|value| value.to_str().ok()), types.next()) {
        (Some(only), None) => is_compressible(only),
        _ => false,
    };
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    status == StatusCode::OK
        && !is_bound
        && is_text
        && length.is_none_or(|length| length >= SMALLEST)
        && !forbids_transform(headers)
}

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// Types that are text, or as repetitive, and not compressed by themselves.
const COMPRESSIBLE: &[&str] = &[
    "application/ecmascript",
    "application/javascript",
    "application/json",
    "application/rtf",
    "application/vnd.ms-fontobject",
    "application/wasm",
    "application/x-javascript",
    "application/x-ndjson",
    "application/xml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/vnd.microsoft.icon",
    "image/x-icon",
];

/// Whether what has this type gets shorter. Events (`text/event-stream`) are text too, but come a few bytes at a time, for
/// hours: each would have to be flushed by itself, and gain little.
fn is_compressible(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.split_once('/') {
        Some(("text", "event-stream")) | None => false,
        Some(("text", _)) => true,
        Some((_, subtype)) => {
            COMPRESSIBLE.contains(&kind.as_str())
                || (!subtype.starts_with("grpc") && (subtype.ends_with("+json") || subtype.ends_with("+xml")))
        }
    }
}

/// Says that another request may have another answer: also beside an answer that is not compressed and could have been.
fn say_vary(headers: &mut HeaderMap) {
    let is_said =
        headers.get_all(header::VARY).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).any(
            |name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"accept-encoding"),
        );
    if !is_said {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Makes a strong tag weak: what is sent is not the same byte for byte (RFC 9110 section 8.8.3.3).
fn weaken(headers: &mut HeaderMap) {
    let tag = headers.get(header::ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
    if let Some(weak) = tag.and_then(|tag| HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

/// Leaves the tag weak that a client knows as weak, when its answer is still good: or it would not find it by that tag.
fn keep_weak(headers: &mut HeaderMap, asked: &HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else { return };
    let weak = [b"W/", tag.as_bytes()].concat();
    let mut known =
        asked.get_all(header::IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|b| *b == b','));
    if known.any(|known| known.trim_ascii() == weak) {
        weaken(headers);
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn head(status: u16, fields: &[(&str, &str)]) -> Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).expect("an answer").into_parts().0
    }

    /// What becomes of a head whose answer is compressed if it can be.
    fn prepared(status: u16, fields: &[(&str, &str)]) -> (bool, Vec<String>) {
        let mut head = head(status, fields);
        let is = prepare(&mut head, &HeaderMap::new(), Compression::By(Coding::Gzip), || Some(())).is_some();
        let shown = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("text"));
        let mut all: Vec<String> = head.headers.iter().map(shown).collect();
        all.sort();
        (is, all)
    }

    #[test]
    fn the_head_says_what_the_body_is() {
        let fields = [
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", "1024"),
            ("accept-ranges", "bytes"),
            ("etag", "\"x\""),
            ("vary", "Cookie"),
            ("cache-control", "private"),
        ];
        let expected = [
            "cache-control: private",
            "content-encoding: gzip",
            "content-type: text/html; charset=utf-8",
            "etag: W/\"x\"",
            "vary: Accept-Encoding",
            "vary: Cookie",
        ];
        assert_eq!(prepared(200, &fields), (true, expected.map(str::to_owned).to_vec()));
        for vary in ["*", "accept-encoding", "Cookie, Accept-Encoding"] {
            let (_, all) = prepared(200, &[("content-type", "text/html"), ("vary", vary), ("etag", "W/\"x\"")]);
            assert!(all.contains(&format!("vary: {vary}")) && all.contains(&"etag: W/\"x\"".to_owned()), "{all:?}");
            assert_eq!(all.iter().filter(|field| field.starts_with("vary")).count(), 1);
        }
    }

    #[test]
    fn only_what_is_whole_gets_shorter_and_may_be_changed_is_touched() {
        let html = ("content-type", "text/html");
        for (status, fields) in [
            (206, vec![html]),
            (404, vec![html]),
            (201, vec![html]),
            (200, vec![html, ("content-length", "1023")]),
            (200, vec![html, ("content-encoding", "identity")]),
            (200, vec![html, ("content-range", "bytes 0-1/2")]),
            (200, vec![html, ("content-digest", "sha-256=:x:")]),
            (200, vec![html, ("repr-digest", "sha-256=:x:")]),
            (200, vec![html, ("cache-control", "public, no-transform")]),
            (200, vec![html, ("content-type", "text/plain")]),
            (200, vec![]),
            (200, vec![("content-type", "")]),
        ] {
            let (is, all) = prepared(status, &fields);
            assert!(!is && all.len() == fields.len(), "{status} {fields:?}: {all:?}");
        }
        for (kind, expected) in [
            ("TEXT/CSS", true),
            ("application/problem+json;x=y", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("font/ttf", true),
            ("text/event-stream; charset=utf-8", false),
            ("application/grpc+json", false),
            ("application/grpc-web-text", false),
            ("image/png", false),
            ("font/woff2", false),
            ("application/octet-stream", false),
            ("multipart/byteranges", false),
            ("text", false),
        ] {
            assert_eq!(prepared(200, &[("content-type", kind)]).0, expected, "{kind}");
        }
    }

    #[test]
    fn what_could_have_been_compressed_says_that_it_varies() {
        let fields = [("content-type", "text/html"), ("content-length", "2000"), ("etag", "\"x\"")];
        for (compression, place) in [(Compression::Not, Some(())), (Compression::By(Coding::Zstd), None)] {
            let mut head = head(200, &fields);
            assert_eq!(prepare(&mut head, &HeaderMap::new(), compression, || place), None);
            assert_eq!(head.headers["vary"], "Accept-Encoding");
            assert_eq!(head.headers["etag"], "\"x\"");
            assert_eq!(head.headers["content-length"], "2000");
        }
        let mut untouched = head(200, &fields);
        assert_eq!(prepare(&mut untouched, &HeaderMap::new(), Compression::Untouched, || Some(())), None);
        assert!(!untouched.headers.contains_key("vary"));
    }

    #[test]
    fn an_answer_is_found_again_by_the_tag_it_was_given() {
        let told = |known: &'static str| {
            let mut head = head(304, &[("etag", "\"x\"")]);
            let asked = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(known))]);
            assert_eq!(prepare(&mut head, &asked, Compression::By(Coding::Gzip), || Some(())), None);
            head.headers["etag"].to_str().expect("text").to_owned()
        };
        assert_eq!(told("\"y\", W/\"x\""), "W/\"x\"");
        assert_eq!(told("\"x\""), "\"x\"");
        assert_eq!(told("*"), "\"x\"");
    }
}
