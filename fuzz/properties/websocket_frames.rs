//! What holds of the places between frames that are found in a WebSocket, whatever is said on it.

use vestibule::upstream::websocket::Frames;

/// Checks it for these bytes.
pub(crate) fn check(data: &[u8]) {
    let ends = ends(data);
    let mut frames = Frames::default();
    assert!(frames.is_between(), "nothing has begun");
    for (at, byte) in data.iter().enumerate() {
        let missing = frames.missing();
        // They are in order; looking through all of them for every byte would take the time for other inputs.
        let next = ends.get(ends.partition_point(|end| *end <= at));
        assert!(missing > 0 && !next.is_some_and(|end| *end < at + missing && missing > 1), "no end in it");
        frames.pass(&[*byte]);
        assert_eq!(frames.is_between(), ends.binary_search(&(at + 1)).is_ok(), "behind byte {at}");
    }
    // However they arrive, they are the same frames.
    let at = data.first().map_or(0, |byte| usize::from(*byte) % (data.len() + 1));
    let mut cut = Frames::default();
    cut.pass(&data[..at]);
    cut.pass(&data[at..]);
    assert_eq!((cut.is_between(), cut.missing()), (frames.is_between(), frames.missing()), "cut at {at}");
}

/// Where frames end, read as RFC 6455 section 5.2 draws them.
fn ends(data: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0_u64);
    let byte = |at: u64| usize::try_from(at).ok().and_then(|at| data.get(at)).copied();
    while let Some(second) = byte(at + 1) {
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mut length = if extended == 0 { u64::from(second & 0x7f) } else { 0 };
        for place in 0..extended {
            let Some(more) = byte(at + 2 + place) else { return ends };
            length = length << 8 | u64::from(more);
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let Some(end) = (at + 2 + extended + mask).checked_add(length) else { return ends };
        at = end;
        match usize::try_from(at) {
            Ok(end) if end <= data.len() => ends.push(end),
            _ => return ends,
        }
    }
    ends
}
