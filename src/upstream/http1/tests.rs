//! What is read of answers, however they are cut, and what is refused.

use bytes::BytesMut;
use http::{HeaderMap, Method, Request, StatusCode};
use proptest::prelude::*;

use super::Broken;
use super::body::{Framing, MAX_CHUNK_LINE, MAX_TRAILERS, Piece};
use super::head::{AnswerHead, MAX_ANSWER_HEAD, RequestLength, read_answer, write_request};

fn head(bytes: &str, method: &Method) -> Result<AnswerHead, Broken> {
    let read = read_answer(&mut BytesMut::from(bytes), method)?;
    Ok(read.expect("a whole head"))
}

fn get(bytes: &str) -> Result<AnswerHead, Broken> {
    head(bytes, &Method::GET)
}

/// What a body comes to when its bytes arrive in these pieces.
fn read(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, HeaderMap, bool), Broken> {
    let (mut input, mut body, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match framing.take(&mut input)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(fields) => trailers = fields,
                Piece::Missing | Piece::End => break,
            }
        }
    }
    Ok((body, trailers, framing == Framing::Ended && input.is_empty()))
}

fn chunks() -> Framing {
    Framing::Chunks(Default::default())
}

proptest! {
    #[test]
    fn a_chunked_body_is_the_same_however_it_arrives(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        has_extension in any::<bool>(),
        has_trailer in any::<bool>(),
    ) {
        let mut wire = Vec::new();
        for part in &parts {
            let extension = if has_extension { ";name=\"value\"" } else { "" };
            wire.extend_from_slice(format!("{:X}{extension}\r\n", part.len()).as_bytes());
            wire.extend_from_slice(part);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(if has_trailer { b"0\r\nx-sum: 1\r\n\r\n" } else { b"0\r\n\r\n" });
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
        let (body, trailers, is_over) = read(chunks(), &pieces).expect("it is well-formed");
        prop_assert_eq!(body, parts.concat());
        prop_assert_eq!(trailers.contains_key("x-sum"), has_trailer);
        prop_assert!(is_over);
    }

    #[test]
    fn nothing_that_a_server_says_brings_the_reader_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_answer(&mut BytesMut::from(&bytes[..]), &Method::GET);
        let _ = read(chunks(), &[&bytes]);
    }
}

#[test]
fn chunks_that_are_not_as_they_must_be_are_refused() {
    for wire in [
        "\r\nhello\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\nhello\r\n",
        "-5\r\nhello\r\n",
        "+5\r\nhello\r\n",
        "0x5\r\nhello\r\n",
        " 5\r\nhello\r\n",
        "5 5\r\nhello\r\n",
        "11111111111111111\r\n",
        "5;\n\r\nhello\r\n0\r\nx y: z\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
    ] {
        assert!(matches!(read(chunks(), &[wire.as_bytes()]), Err(Broken::NotHttp(_))), "{wire:?}");
    }
    let endless = format!("5;{}", "x".repeat(5000));
    assert!(read(chunks(), &[endless.as_bytes()]).is_err());
    let endless = format!("0\r\n{}", "x: y\r\n".repeat(5000));
    assert!(read(chunks(), &[endless.as_bytes()]).is_err());
}

#[test]
fn what_is_too_long_is_refused_however_it_arrives() {
    let long_line = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(MAX_CHUNK_LINE));
    let long_trailer = format!("0\r\nx: {}\r\n\r\n", "y".repeat(MAX_TRAILERS));
    for wire in [long_line, long_trailer] {
        let bytewise: Vec<&[u8]> = wire.as_bytes().chunks(1).collect();
        assert!(read(chunks(), &bytewise).is_err(), "a byte at a time");
        assert!(read(chunks(), &[wire.as_bytes()]).is_err(), "at once");
    }
}

#[test]
fn a_body_that_is_delimited_by_its_length_leaves_what_follows_it() {
    let (mut framing, mut input) = (Framing::Exactly(5), BytesMut::from("helloHTTP/1.1"));
    assert!(matches!(framing.take(&mut input), Ok(Piece::Data(data)) if data == "hello"));
    assert!(matches!(framing.take(&mut input), Ok(Piece::End)));
    assert_eq!(input, "HTTP/1.1");
}

#[test]
fn where_an_answer_ends_is_read_as_the_standard_says() {
    let ok =
        |fields: &str| get(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).map(|head| (head.framing, head.keeps_alive));
    for (fields, framing, keeps_alive) in [
        ("content-length: 5\r\n", Framing::Exactly(5), true),
        ("content-length: 0\r\n", Framing::Ended, true),
        ("content-length: 5\r\ncontent-length: 5\r\n", Framing::Exactly(5), true),
        ("transfer-encoding: chunked\r\n", chunks(), true),
        ("Transfer-Encoding: CHUNKED\r\n", chunks(), true),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", chunks(), false),
        ("", Framing::UntilClosed, false),
        ("content-length: 5\r\nconnection: x, Close\r\n", Framing::Exactly(5), false),
    ] {
        assert_eq!(ok(fields).expect("an answer"), (framing, keeps_alive), "{fields}");
    }
    for fields in [
        "content-length: 5, 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: +5\r\n",
        "content-length: \r\n",
        "content-length: 99999999999999999999\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\n",
    ] {
        assert!(matches!(ok(fields), Err(Broken::NotHttp(_))), "{fields}");
    }
    let both = get("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n").expect("an answer");
    assert!(!both.headers.contains_key("content-length"));
    let twice = get("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n").expect("an answer");
    assert_eq!(twice.headers.get_all("content-length").iter().count(), 1);
}

#[test]
fn old_servers_and_answers_without_a_body() {
    let length = "content-length: 5\r\n\r\n";
    for (version, fields, keeps_alive) in
        [("1.0", "", false), ("1.0", "connection: keep-alive\r\n", true), ("1.1", "", true)]
    {
        let head = get(&format!("HTTP/{version} 200 OK\r\n{fields}{length}")).expect("an answer");
        assert_eq!(head.keeps_alive, keeps_alive, "{version} {fields}");
    }
    let chunked = get("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n").expect("it");
    assert_eq!((chunked.framing, chunked.keeps_alive), (chunks(), false));
    for status in ["204 No Content", "304 Not Modified"] {
        assert_eq!(get(&format!("HTTP/1.1 {status}\r\n{length}")).expect("it").framing, Framing::Ended, "{status}");
    }
    let asked = head(&format!("HTTP/1.1 200 OK\r\n{length}"), &Method::HEAD).expect("an answer");
    assert_eq!(asked.framing, Framing::Ended);
    assert_eq!(asked.headers["content-length"], "5");
    assert_eq!(get("HTTP/1.1 200\r\n\r\n").expect("a status without a reason").status, StatusCode::OK);
}

#[test]
fn how_long_a_server_keeps_its_connection_is_heeded() {
    let said = |value: &str| {
        let head = get(&format!("HTTP/1.1 200 OK\r\nkeep-alive: {value}\r\ncontent-length: 0\r\n\r\n"));
        head.expect("an answer").kept_for
    };
    assert_eq!(said("timeout=5, max=100"), Some(std::time::Duration::from_secs(5)));
    assert_eq!(said("max=100,timeout=7"), Some(std::time::Duration::from_secs(7)));
    for nothing in ["", "5", "timeout=", "timeout=-1", "timeout=x"] {
        assert_eq!(said(nothing), None, "{nothing}");
    }
}

#[test]
fn a_head_is_taken_when_it_is_whole_and_not_larger_than_allowed() {
    let whole = "HTTP/1.1 200 OK\r\nserver: x\r\nx-empty:\r\n\r\nbody";
    for cut in 0..whole.len() - "body".len() {
        assert!(read_answer(&mut BytesMut::from(&whole[..cut]), &Method::GET).expect("no fault").is_none(), "{cut}");
    }
    let mut input = BytesMut::from(whole);
    let head = read_answer(&mut input, &Method::GET).expect("no fault").expect("a head");
    assert_eq!(
        (&head.headers["server"], &head.headers["x-empty"]),
        (&"x".parse().expect("it"), &"".parse().expect("it"))
    );
    assert_eq!(input, "body");
    let large = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_ANSWER_HEAD));
    assert!(matches!(get(&large), Err(Broken::HeadTooLarge)));
    assert!(matches!(get(&format!("{large}\r\n\r\n")), Err(Broken::HeadTooLarge)));
}

#[test]
fn a_request_is_written_with_one_length() {
    let written = |method: Method, uri: &str, length| {
        let request = Request::builder().method(method).uri(uri).header("content-length", "7").header("x", "y");
        let mut output = Vec::new();
        write_request(&mut output, &request.body(()).expect("a request").into_parts().0, length);
        String::from_utf8(output).expect("text")
    };
    assert_eq!(
        written(Method::POST, "/a?b", RequestLength::Exactly(5)),
        "POST /a?b HTTP/1.1\r\nx: y\r\ncontent-length: 5\r\n\r\n"
    );
    assert_eq!(
        written(Method::POST, "https://localhost?b", RequestLength::Unknown),
        "POST /?b HTTP/1.1\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(written(Method::GET, "/", RequestLength::None), "GET / HTTP/1.1\r\nx: y\r\ncontent-length: 0\r\n\r\n");
    let bare = Request::put("/").body(()).expect("a request").into_parts().0;
    let mut output = Vec::new();
    write_request(&mut output, &bare, RequestLength::None);
    assert_eq!(output, b"PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
}
