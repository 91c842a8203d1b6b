//! Reaching a server: its name looked up, a connection made, TLS begun.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

use crate::upstream::group::Upstream;
use crate::upstream::http1::link::Stream;
use crate::upstream::settings::ServerAddress;
use crate::upstream::tls::HTTP_2;

/// How much of an answer the system holds that was not read yet, in bytes. Left to itself it takes megabytes for a client
/// that does not read, and a thousand such clients have all the memory that it has for connections, everybody else's
/// included. A quarter of a megabyte is a gigabit a second over two milliseconds: applications are near.
const UNREAD: usize = 256 * 1024;

/// Whether a server is known by a name that may mean another address tomorrow.
pub fn has_name(server: &ServerAddress) -> bool {
    match server {
        ServerAddress::Tcp(address) | ServerAddress::Tls(address) => host_of(address).parse::<IpAddr>().is_err(),
        ServerAddress::Unix(_) => false,
    }
}

/// Where a server is now; nothing for what is on this machine.
///
/// # Errors
/// When nobody knows its name.
pub async fn look_up(server: &ServerAddress) -> io::Result<Vec<SocketAddr>> {
    match server {
        ServerAddress::Tcp(address) | ServerAddress::Tls(address) => {
            Ok(tokio::net::lookup_host(&**address).await?.collect())
        }
        ServerAddress::Unix(_) => Ok(Vec::new()),
    }
}

/// A stream of bytes to a server of `upstream` that was found at `addresses`. By TLS, it agrees to speak HTTP/2 if that
/// `is_http_2`.
///
/// # Errors
/// Why there is none.
pub async fn reach(
    upstream: &Upstream,
    server: usize,
    addresses: &[SocketAddr],
    is_http_2: bool,
) -> io::Result<Stream> {
    let settings = &upstream.settings;
    match settings.servers.get(server).ok_or(io::ErrorKind::NotFound)? {
        ServerAddress::Tcp(_) => tcp(addresses).await.map(Stream::Tcp),
        ServerAddress::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
        ServerAddress::Tls(address) => {
            let name = settings.tls.server_name.as_deref().unwrap_or_else(|| host_of(address));
            let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
            let tls = if is_http_2 { &upstream.tls_of_http_2 } else { &upstream.tls };
            let connector = tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
            let stream = connector.connect(name, tcp(addresses).await?).await?;
            if is_http_2 && stream.get_ref().1.alpn_protocol() != Some(HTTP_2) {
                return Err(io::Error::other("it does not speak HTTP/2"));
            }
            Ok(Stream::Tls(Box::new(stream)))
        }
    }
}

async fn tcp(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addresses).await?;
    // Where it cannot be said, it is as it was.
    let _ = SockRef::from(&stream).set_recv_buffer_size(UNREAD);
    stream.set_nodelay(true).map(|()| stream)
}

/// The host in `host:port`.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}
