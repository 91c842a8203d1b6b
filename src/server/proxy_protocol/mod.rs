//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): what a proxy that only relays TCP says before
//! the client's first byte, so that the client's address is not lost.
//!
//! Nothing of it is guessed: where it is configured, it must be there, from those alone who are trusted. A port that
//! takes it or leaves it would let any client bring its own (section 2 of the specification). What comes behind the
//! header is left in the socket, to the byte.

mod binary;
#[cfg(test)]
mod tests;
mod text;

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// The largest header that is read, in bytes: what nginx reads. Addresses take 52 at most; the rest is room for what
/// clouds add behind them.
pub const MAX_HEADER: usize = 4096;

/// How much is looked at in one go, in bytes: nearly every header, of which most have less than 120.
const LOOK: usize = 256;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is one over TCP from `source`, who reached the proxy at `destination`.
    Relayed {
        /// The client.
        source: SocketAddr,
        /// Where it was reached.
        destination: SocketAddr,
    },
    /// It does not say whose connection it is: the proxy's own, like a health check (`LOCAL`), or one that has no
    /// address as TCP has (`UNKNOWN`, `UNSPEC`, Unix sockets, datagrams). The socket's own address stands for it.
    Unspecified,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else came, TLS for example.
    #[error("it does not begin with a PROXY protocol header")]
    Missing,
    /// More than [`MAX_HEADER`], or than a line may have.
    #[error("its PROXY protocol header is too long")]
    TooLong,
    /// A line of version 1 that is not written as it must be.
    #[error("the line of its PROXY protocol header is malformed")]
    Line,
    /// Neither version 1 nor version 2.
    #[error("its PROXY protocol header is of an unknown version")]
    Version,
    /// A command or an address family that the specification does not have.
    #[error("its PROXY protocol header has an unknown command or address family")]
    Kind,
    /// Shorter than the addresses in it, or than what it says of what is behind them.
    #[error("the lengths in its PROXY protocol header do not fit")]
    Length,
    /// It was altered on its way.
    #[error("the checksum of its PROXY protocol header is wrong")]
    Checksum,
}

/// Reads the header that `bytes` begin with, and how long it is. `None` while it is not all there: then all of `bytes`
/// belongs to it.
///
/// # Errors
/// As soon as it cannot become a header any more.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => text::parse(bytes),
        Some(b'\r') => binary::parse(bytes),
        Some(_) => Err(Fault::Missing),
    }
}

/// Why no header was read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It is not as it must be.
    #[error(transparent)]
    Malformed(#[from] Fault),
    /// The connection broke or was closed before its end.
    #[error("it ended before its PROXY protocol header did")]
    Broken(#[from] io::Error),
}

/// Takes the header off the beginning of a connection, and not one byte more.
///
/// # Errors
/// When there is none, or a part of one.
pub async fn read_header(stream: &mut TcpStream) -> Result<Header, Unread> {
    let mut header = Vec::with_capacity(LOOK);
    loop {
        let known = header.len();
        header.resize(known + LOOK, 0);
        // Looked at first and taken then: where the header ends is known only when its end has been seen. All that is
        // not taken is the client's; all that does not end the header is taken, so that the next look waits for more.
        let seen = stream.peek(&mut header[known..]).await?;
        if seen == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        header.truncate(known + seen);
        let parsed = parse(&header)?;
        let end = parsed.map_or(header.len(), |(_, length)| length);
        header.truncate(end);
        stream.read_exact(&mut header[known..]).await?;
        if let Some((header, _)) = parsed {
            return Ok(header);
        }
    }
}
