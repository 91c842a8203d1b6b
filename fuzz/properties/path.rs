//! What holds of every path that is read.

use vestibule::policy::path::{MAX_LENGTH, RequestPath};

/// Checks it for the path in `data`.
pub(crate) fn check(data: &[u8]) {
    let Ok(raw) = std::str::from_utf8(data) else { return };
    let Ok(path) = RequestPath::read(raw) else { return };
    let (matched, forwarded) = (&*path.matched, &*path.forwarded);
    assert!(forwarded.len() <= MAX_LENGTH && matched.len() <= forwarded.len(), "within bounds");

    // Whoever stands behind reads the same path, and finds nothing more to normalise.
    let again = RequestPath::read(forwarded).expect("it was accepted once");
    assert_eq!((&*again.matched, &*again.forwarded), (matched, forwarded), "normalising twice changes nothing");

    // What applications make of it who decode first, by another decoder: the same segments.
    let decoded: Vec<Vec<u8>> = forwarded.split('/').map(decoded_name).filter(|name| !name.is_empty()).collect();
    let seen: Vec<&[u8]> = matched.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    assert_eq!(decoded, seen, "policy sees what the application sees");
    assert!(!seen.iter().any(|name| matches!(*name, b"." | b"..")), "no dot segments");
    assert!(!matched.iter().any(|byte| matches!(byte, b'\\' | 0..=0x1f | 0x7f)), "nothing that separates or controls");
    assert!(matched.starts_with(b"/") && !matched.windows(2).any(|pair| pair == b"//"), "slashes are merged");
    assert!(forwarded.is_ascii() && !forwarded.contains("//"), "what is sent is as it must be");

    // The quick way for plain paths and the slow way for all others agree: a segment of parameters alone changes
    // nothing but the way.
    let slowly = format!("/;{raw}");
    if slowly.len() <= MAX_LENGTH {
        let slowly = RequestPath::read(&slowly).expect("the rest was accepted");
        assert_eq!(&*slowly.matched, matched, "both ways agree");
    }
}

/// A segment without its parameters, decoded.
fn decoded_name(segment: &str) -> Vec<u8> {
    let decoded: Vec<u8> = percent_encoding::percent_decode_str(segment).collect();
    decoded.split(|byte| *byte == b';').next().unwrap_or_default().to_vec()
}
