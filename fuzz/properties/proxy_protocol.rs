//! What holds of every PROXY protocol header that is read.

use std::net::SocketAddr;

use vestibule::server::proxy_protocol::{Header, MAX_HEADER, parse};

/// Checks it for a connection that begins with `data`.
pub(crate) fn check(data: &[u8]) {
    let read = parse(data);
    match read {
        Ok(Some((header, length))) => {
            assert!(length <= data.len() && length <= MAX_HEADER, "within bounds");
            // However it arrives, it is not over before its end, and over there.
            for end in 0..length {
                assert_eq!(parse(&data[..end]), Ok(None), "its first {end} bytes");
            }
            assert_eq!(parse(&data[..length]), read, "alone");
            if let Header::Relayed { source, destination } = header {
                assert_eq!(source.is_ipv4(), destination.is_ipv4(), "one family");
                assert_written(&data[..length], source, destination);
            }
        }
        Ok(None) => assert!(data.len() < MAX_HEADER, "it is waited for no longer than that"),
        Err(_) => {}
    }
    // Nothing that follows makes anything else of what is decided.
    if read != Ok(None) {
        for behind in [&b"\r\n"[..], b"PROXY UNKNOWN\r\n", &[0; 64]] {
            assert_eq!(parse(&[data, behind].concat()), read, "before {behind:?}");
        }
    }
}

/// Asserts that the header is the one that a proxy writes who means these addresses.
fn assert_written(header: &[u8], source: SocketAddr, destination: SocketAddr) {
    let ports = [source.port(), destination.port()];
    if header.starts_with(b"PROXY ") {
        let text = str::from_utf8(header).expect("text");
        let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let words: Vec<&str> = text.trim_end_matches("\r\n").split(' ').collect();
        assert_eq!(words.len(), 6, "{text:?}");
        assert_eq!(words[1], family, "{text:?}");
        assert_eq!(words[4..], ports.map(|port| port.to_string()), "{text:?}");
        if source.is_ipv4() {
            assert_eq!(words[2..4], [source.ip().to_string(), destination.ip().to_string()], "{text:?}");
        }
        return;
    }
    let mut addresses = Vec::new();
    for address in [source, destination] {
        match address {
            SocketAddr::V4(address) => addresses.extend(address.ip().octets()),
            SocketAddr::V6(address) => addresses.extend(address.ip().octets()),
        }
    }
    addresses.extend(ports.into_iter().flat_map(u16::to_be_bytes));
    assert!(header[16..].starts_with(&addresses), "{header:?}");
}
