//! What is read of headers, however they are cut, and what is refused.

use std::net::SocketAddr;

use super::binary::crc32c;
use super::text::MAX_LINE;
use super::{Fault, Header, MAX_HEADER, parse};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// 192.0.2.1:56324 to 198.51.100.7:443.
const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 0xbb];

fn relayed(source: &str, destination: &str) -> Header {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Header::Relayed { source: address(source), destination: address(destination) }
}

fn v4() -> Header {
    relayed("192.0.2.1:56324", "198.51.100.7:443")
}

/// A header of version 2 with this command and family.
fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("a length").to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// 2001:db8::1 port 1 to 2001:db8::2 port 443.
fn v6() -> Vec<u8> {
    let mut bytes = vec![0; 36];
    for at in [0, 16] {
        bytes[at..at + 4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
    }
    (bytes[15], bytes[31]) = (1, 2);
    bytes[32..].copy_from_slice(&[0, 1, 1, 0xbb]);
    bytes
}

/// A header with a checksum between two others, `off` too high.
fn with_checksum(off: u32) -> Vec<u8> {
    let further = [V4, b"\x04\0\x02ab", b"\x03\0\x04\0\0\0\0", b"\x05\0\x01u"].concat();
    let mut header = binary(0x21, 0x11, &further);
    let sum = crc32c(&[&header]).wrapping_add(off).to_be_bytes();
    let at = 16 + V4.len() + 5 + 3;
    header[at..at + 4].copy_from_slice(&sum);
    header
}

#[test]
fn the_checksum_is_the_one_that_everybody_computes() {
    assert_eq!(crc32c(&[b"123456789"]), 0xE306_9283);
    // RFC 9260 appendix A by way of RFC 3720 appendix B.4.
    assert_eq!(crc32c(&[&[0; 32]]), 0x8A91_36AA);
    assert_eq!(crc32c(&[&[0xff; 16], &[0xff; 16]]), 0x62A8_AB43);
}

#[test]
fn reads_what_proxies_write() {
    let of_everything = format!("PROXY UNKNOWN {}\r\n", "\u{7f}".repeat(MAX_LINE - 16));
    for (bytes, expected) in [
        (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec(), v4()),
        (b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n".to_vec(), relayed("0.0.0.0:0", "255.255.255.255:65535")),
        (b"PROXY TCP6 2001:DB8::1 2001:db8::2 1 443\r\n".to_vec(), relayed("[2001:db8::1]:1", "[2001:db8::2]:443")),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), relayed("[::ffff:192.0.2.1]:1", "[::1]:2")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Unspecified),
        (b"PROXY UNKNOWN 192.0.2.1 \xff\0 any thing\r\n".to_vec(), Header::Unspecified),
        (of_everything.into_bytes(), Header::Unspecified),
        (binary(0x21, 0x11, V4), v4()),
        (binary(0x21, 0x21, &v6()), relayed("[2001:db8::1]:1", "[2001:db8::2]:443")),
        (binary(0x21, 0x11, &[V4, b"\x04\0\0\x02\0\x03abc\xea\0\x01x"].concat()), v4()),
        (binary(0x21, 0x11, &[V4, b"\x04\x0f\xe1", &[0; 0xfe1]].concat()), v4()),
        (with_checksum(0), v4()),
        // Of what is not said of TCP over IP, nothing is read.
        (binary(0x20, 0x00, b""), Header::Unspecified),
        (binary(0x20, 0x11, V4), Header::Unspecified),
        (binary(0x20, 0xff, b"anything"), Header::Unspecified),
        (binary(0x21, 0x00, b"anything"), Header::Unspecified),
        (binary(0x21, 0x12, V4), Header::Unspecified),
        (binary(0x21, 0x22, &v6()), Header::Unspecified),
        (binary(0x21, 0x31, &[b'/'; 216]), Header::Unspecified),
        (binary(0x21, 0x32, &[b'/'; 216]), Header::Unspecified),
    ] {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert!(bytes.len() <= MAX_HEADER, "{shown:?}");
        for behind in [&b""[..], b"\x16\x03\x01", b"\r\n", b"PROXY TCP4 6.6.6.6 6.6.6.6 1 1\r\n"] {
            let all = [&bytes, behind].concat();
            assert_eq!(parse(&all), Ok(Some((expected, bytes.len()))), "{shown:?} before {behind:?}");
        }
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "the first {end} bytes of {shown:?}");
        }
    }
}

#[test]
fn refuses_what_the_specification_does_not_have() {
    let too_long = [V4, b"\x04\x0f\xe2", &[0; 0xfe2]].concat();
    for (bytes, fault) in [
        (&b"\x16\x03\x01\x02\0"[..], Fault::Missing),
        (b"GET / HTTP/1.1\r\n", Fault::Missing),
        (b" PROXY", Fault::Missing),
        (b"\nPROXY", Fault::Missing),
        (b"\r\n\r\n\r\n", Fault::Missing),
        (b"Proxy TCP4", Fault::Missing),
        (b"PROXY\r\n", Fault::Missing),
        (b"PROXY\tTCP4", Fault::Missing),
        (b"PRI * HTTP/2.0\r\n", Fault::Missing),
        (b"PROXY \r\n", Fault::Line),
        (b"PROXY TCP4\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", Fault::Line),
        (b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", Fault::Line),
        (b"PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY UNKNOWN\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\0\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1/32 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 \xb9.0.2.1 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Fault::Line),
        (b"PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n", Fault::Line),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Fault::Line),
        (b"PROXY TCP6 [2001:db8::1] ::1 1 2\r\n", Fault::Line),
        (b"PROXY TCP6 fe80::1%1 ::1 1 2\r\n", Fault::Line),
        (b"PROXY TCP6 1::2::3 ::1 1 2\r\n", Fault::Line),
        (b"PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2\r\n", Fault::Line),
        (b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", Fault::Kind),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", Fault::Kind),
        (b"PROXY UNKNOWNX a b 1 2\r\n", Fault::Kind),
        (format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_LINE - 15)).as_bytes(), Fault::TooLong),
        ("PROXY TCP4 ".repeat(10).as_bytes(), Fault::TooLong),
        (&binary(0x11, 0x11, V4), Fault::Version),
        (&binary(0x01, 0x11, V4), Fault::Version),
        (&binary(0x31, 0x11, V4), Fault::Version),
        (&binary(0x22, 0x11, V4), Fault::Kind),
        (&binary(0x2f, 0x11, V4), Fault::Kind),
        (&binary(0x21, 0x10, V4), Fault::Kind),
        (&binary(0x21, 0x13, V4), Fault::Kind),
        (&binary(0x21, 0x01, V4), Fault::Kind),
        (&binary(0x21, 0x41, V4), Fault::Kind),
        (&binary(0x21, 0x11, b""), Fault::Length),
        (&binary(0x21, 0x11, &V4[..11]), Fault::Length),
        (&binary(0x21, 0x21, V4), Fault::Length),
        (&binary(0x21, 0x11, &[V4, b"\x04"].concat()), Fault::Length),
        (&binary(0x21, 0x11, &[V4, b"\x04\0"].concat()), Fault::Length),
        (&binary(0x21, 0x11, &[V4, b"\x04\0\x01"].concat()), Fault::Length),
        (&binary(0x21, 0x11, &[V4, b"\x04\0\x01a\x05"].concat()), Fault::Length),
        (&binary(0x21, 0x11, &[V4, b"\x03\0\x03abc"].concat()), Fault::Length),
        (&binary(0x21, 0x11, &[V4, b"\x03\0\x04abcd"].concat()), Fault::Checksum),
        (&binary(0x21, 0x11, &[V4, b"\x03\0\x04abcd\x03\0\x04abcd"].concat()), Fault::Checksum),
        (&with_checksum(1), Fault::Checksum),
        (&binary(0x21, 0x11, &too_long), Fault::TooLong),
        (&binary(0x20, 0x00, &[0; 0xffff]), Fault::TooLong),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
        assert_eq!(parse(bytes), Err(fault), "{shown:?}");
        // Once it is refused, nothing that follows makes it good.
        assert_eq!(parse(&[bytes, b"\r\n"].concat()), Err(fault), "{shown:?}");
    }
}

#[test]
fn what_is_too_long_is_refused_before_it_is_there() {
    assert_eq!(parse(&[b'P'; 2]), Err(Fault::Missing));
    assert_eq!(parse(&binary(0x20, 0x00, &[0; 0xffff])[..16]), Err(Fault::TooLong));
    assert_eq!(parse(&binary(0x21, 0x11, b"")[..16]), Err(Fault::Length));
    let line = [&b"PROXY UNKNOWN"[..], &[b'x'; MAX_LINE]].concat();
    assert_eq!(parse(&line[..MAX_LINE - 1]), Ok(None));
    assert_eq!(parse(&line[..MAX_LINE]), Err(Fault::TooLong));
}

#[test]
fn no_changed_address_passes_a_checksum() {
    let header = with_checksum(0);
    for at in 16 * 8..(16 + V4.len()) * 8 {
        let mut changed = header.clone();
        changed[at / 8] ^= 1 << (at % 8);
        assert_eq!(parse(&changed), Err(Fault::Checksum), "bit {at}");
    }
}
