//! What holds of the watch over heads of HTTP/1.1, whatever comes on a connection.

use vestibule::server::heads::HeadWatch;

/// Checks it for these bytes.
pub(crate) fn check(data: &[u8]) {
    let whole = passed([data]);
    assert_as_it_came(data, &whole);
    for size in [1, 2, 5, 61, 67] {
        let pieces = passed(data.chunks(size));
        assert_as_it_came(data, &pieces);
        // However they arrive, they are the same requests; but who speaks right behind a request for a WebSocket is only
        // found out when both come at once.
        let is_early = whole.1 && whole.0.ends_with(b"\n\r\0");
        assert!(pieces == whole || is_early || is_in_first_line(data, &whole, &pieces), "by {size}");
    }
}

/// A fragment is refused where it is seen, which is somewhere behind it in what came along.
fn is_in_first_line(data: &[u8], whole: &Passed, pieces: &Passed) -> bool {
    whole.1 && pieces.1 && data[..whole.0.len().max(pieces.0.len())].contains(&b'#')
}

/// What is gone on with, and whether the rest is not.
type Passed = (Vec<u8>, bool);

fn passed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Passed {
    let (mut watch, mut passed) = (HeadWatch::default(), Vec::new());
    for piece in pieces {
        let mut piece = piece.to_vec();
        let count = watch.received(&mut piece);
        passed.extend_from_slice(&piece[..count]);
    }
    (passed, watch.is_refused())
}

/// Whatever is not refused is as it came, and of what is, the last byte is spoilt.
fn assert_as_it_came(data: &[u8], (passed, is_refused): &Passed) {
    match passed.split_last() {
        Some((last, before)) if *is_refused => assert!(data.starts_with(before) && *last == 0),
        Some(_) | None => assert!(!is_refused && passed == data),
    }
}
