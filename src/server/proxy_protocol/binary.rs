//! Version 2: sixteen bytes that say how much follows, addresses, and whatever else the proxy has to say (section 2.2
//! of the specification).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::server::proxy_protocol::{Fault, Header, MAX_HEADER};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes before the addresses: the signature, version and command, family and transport, the length of the rest.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// What stands before the value of a piece of further information (TLV): its type, and its length in two bytes.
const TLV_HEAD: usize = 3;

/// `PP2_TYPE_CRC32C`: the checksum of the whole header.
const CRC32C: u8 = 0x03;

/// What a header's addresses are, by its 14th byte.
#[derive(Clone, Copy)]
enum Family {
    Tcp4,
    Tcp6,
    /// Unspecified, or one that no client of ours can have: read as unspecified, as the specification asks.
    Other,
}

/// As [`super::parse`], for what begins with a carriage return.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let compared = bytes.len().min(SIGNATURE.len());
    if bytes[..compared] != SIGNATURE[..compared] {
        return Err(Fault::Missing);
    }
    // Refused as early as it can be told, so that a sender that speaks something else is not waited for.
    let Some(command) = bytes.get(12) else { return Ok(None) };
    let is_local = match *command {
        LOCAL => true,
        PROXY => false,
        other if other >> 4 == 2 => return Err(Fault::Kind),
        _ => return Err(Fault::Version),
    };
    let Some(family) = bytes.get(13) else { return Ok(None) };
    let family = match *family {
        _ if is_local => Family::Other,
        0x11 => Family::Tcp4,
        0x21 => Family::Tcp6,
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Family::Other,
        _ => return Err(Fault::Kind),
    };
    let Some((length, _)) = bytes.get(14..).and_then(|rest| rest.split_first_chunk()) else { return Ok(None) };
    let end = FIXED + usize::from(u16::from_be_bytes(*length));
    if end > MAX_HEADER {
        return Err(Fault::TooLong);
    }
    let further = match family {
        Family::Tcp4 => FIXED + 2 * 4 + 2 * 2,
        Family::Tcp6 => FIXED + 2 * 16 + 2 * 2,
        // Nothing of the rest is used, so nothing of it is read.
        Family::Other => FIXED,
    };
    if end < further {
        return Err(Fault::Length);
    }
    let Some(header) = bytes.get(..end) else { return Ok(None) };
    let mut rest = &header[FIXED..];
    let said = match family {
        Family::Tcp4 => {
            let (source, destination) = (Ipv4Addr::from(take(&mut rest)?), Ipv4Addr::from(take(&mut rest)?));
            relayed(source.into(), destination.into(), &mut rest)?
        }
        Family::Tcp6 => {
            let (source, destination) = (Ipv6Addr::from(take(&mut rest)?), Ipv6Addr::from(take(&mut rest)?));
            relayed(source.into(), destination.into(), &mut rest)?
        }
        Family::Other => return Ok(Some((Header::Unspecified, end))),
    };
    check_further(header, further)?;
    Ok(Some((said, end)))
}

fn relayed(source: IpAddr, destination: IpAddr, ports: &mut &[u8]) -> Result<Header, Fault> {
    let mut port = || take(ports).map(u16::from_be_bytes);
    let (source_port, destination_port) = (port()?, port()?);
    Ok(Header::Relayed {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Fault> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(Fault::Length)?;
    *bytes = rest;
    Ok(*taken)
}

/// Skips what is said behind the addresses, from `at` on, and checks the checksum if it is there (section 2.2.3).
fn check_further(header: &[u8], mut at: usize) -> Result<(), Fault> {
    let mut checksum = None;
    while let Some([kind, high, low, ..]) = header.get(at..) {
        let value = at + TLV_HEAD;
        let end = value + usize::from(u16::from_be_bytes([*high, *low]));
        let Some(bytes) = header.get(value..end) else { return Err(Fault::Length) };
        if *kind == CRC32C {
            let bytes = bytes.try_into().map_err(|_| Fault::Length)?;
            // Two of them cannot both be made with the other one's bytes as they are.
            if checksum.replace((value, u32::from_be_bytes(bytes))).is_some() {
                return Err(Fault::Checksum);
            }
        }
        at = end;
    }
    if at != header.len() {
        return Err(Fault::Length);
    }
    match checksum {
        // Counted with zeroes in its own place.
        Some((at, expected)) if crc32c(&[&header[..at], &[0; 4], &header[at + 4..]]) != expected => {
            Err(Fault::Checksum)
        }
        Some(_) | None => Ok(()),
    }
}

/// CRC-32C (RFC 9260 appendix A), reflected, as everybody computes it.
pub(super) fn crc32c(pieces: &[&[u8]]) -> u32 {
    let bytes = pieces.iter().copied().flatten();
    !bytes.fold(u32::MAX, |crc, byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    /// The polynomial 0x1EDC6F41, its bits in reverse.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut table = [0; 256];
    let mut at = 0;
    while at < table.len() {
        let mut crc = at as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};
