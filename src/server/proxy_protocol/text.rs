//! Version 1: a line of text (section 2.1 of the specification).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::server::proxy_protocol::{Fault, Header};

const BEGINNING: &[u8] = b"PROXY ";

/// The longest line, its end included, in bytes.
pub(super) const MAX_LINE: usize = 107;

/// As [`super::parse`], for what begins with a `P`.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let compared = bytes.len().min(BEGINNING.len());
    if bytes[..compared] != BEGINNING[..compared] {
        return Err(Fault::Missing);
    }
    let line = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = line.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if line.len() == MAX_LINE { Err(Fault::TooLong) } else { Ok(None) };
    };
    match &line[end..] {
        [b'\r', b'\n', ..] => Ok(Some((said(&line[BEGINNING.len()..end])?, end + 2))),
        [b'\r'] if line.len() < MAX_LINE => Ok(None),
        [b'\r'] => Err(Fault::TooLong),
        // A line ends with both or not at all.
        _ => Err(Fault::Line),
    }
}

/// What the line says behind its first word.
fn said(words: &[u8]) -> Result<Header, Fault> {
    if words == b"UNKNOWN" || words.starts_with(b"UNKNOWN ") {
        // Whatever is said besides is to be ignored.
        return Ok(Header::Unspecified);
    }
    let words = str::from_utf8(words).map_err(|_| Fault::Line)?;
    let mut words = words.split(' ');
    let mut next = || words.next().ok_or(Fault::Line);
    let (family, source, destination) = (next()?, next()?, next()?);
    let (source_port, destination_port) = (port(next()?)?, port(next()?)?);
    if words.next().is_some() {
        return Err(Fault::Line);
    }
    Ok(Header::Relayed {
        source: SocketAddr::new(address(family, source)?, source_port),
        destination: SocketAddr::new(address(family, destination)?, destination_port),
    })
}

fn address(family: &str, text: &str) -> Result<IpAddr, Fault> {
    let read = match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::from),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::from),
        _ => return Err(Fault::Kind),
    };
    read.map_err(|_| Fault::Line)
}

/// Digits alone, without zeroes before them: the standard library would also take "+80" and "080".
fn port(text: &str) -> Result<u16, Fault> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().map_err(|_| Fault::Line) } else { Err(Fault::Line) }
}
