//! What holds of the watch for floods, whatever comes on a connection of HTTP/2.

use vestibule::base::clock::Timestamp;
use vestibule::server::frames::FrameWatch;

/// What begins a connection.
const PREFACE: usize = 24;

/// What is sent at least before it is a flood: resets without a payload, which count twice, and the head of the longest
/// frame, which counts for seventeen.
const LEAST: usize = 9 * (2000 - 16) / 2;

/// Checks it for these bytes behind the preface.
pub(crate) fn check(data: &[u8]) {
    let whole = shown([data]);
    // However they arrive, they are the same frames.
    assert_eq!(shown(data.chunks(1)), whole, "a byte at a time");
    let at = data.first().map_or(0, |byte| usize::from(*byte) % (data.len() + 1));
    assert_eq!(shown([&data[..at], &data[at..]]), whole, "cut at {at}");
    assert!(!whole.1 || data.len() > LEAST, "a flood is long");
}

/// What the watch knows behind these bytes, and whether they are a flood.
fn shown<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, bool) {
    let mut watch = FrameWatch::new(Timestamp::default());
    watch.received(&[0; PREFACE], Timestamp::default());
    pieces.into_iter().for_each(|piece| watch.received(piece, Timestamp::default()));
    (format!("{watch:?}"), watch.is_flood())
}
