//! A client that keeps its connection, for modes with thousands of them: TLS 1.3 and HTTP/1.1, from any address of
//! loopback. Nothing in here has a limit of its own in time: whoever waits for it sets one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls_client::{self, Ask};

/// A connection.
pub(crate) type Tls = TlsStream<TcpStream>;

/// Longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// Opens a connection from this address.
pub(crate) async fn connect(config: &Arc<ClientConfig>, to: SocketAddr, from: Ipv4Addr) -> Result<Tls, String> {
    let connected = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let tcp = socket.connect(to).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
        TlsConnector::from(Arc::clone(config)).connect(name, tcp).await
    };
    connected.await.map_err(|error| format!("a connection from {from}: {error}"))
}

/// The address that the connection of this number comes from: a hundred come from each, as from an office.
pub(crate) fn source(number: usize) -> Ipv4Addr {
    let [_, _, third, fourth] = (number / 100 % 0x1_0000).to_be_bytes().last_chunk().copied().unwrap_or_default();
    Ipv4Addr::new(127, 1, third, fourth)
}

/// A connection on which one document is asked for, again and again.
pub(crate) struct Browser {
    stream: Tls,
    request: Vec<u8>,
    body: Arc<[u8]>,
}

impl Browser {
    /// A browser with a connection of its own. `body` is what it shall get.
    pub(crate) async fn open(
        config: &Arc<ClientConfig>,
        ask: &Ask,
        body: &Arc<[u8]>,
        from: Ipv4Addr,
    ) -> Result<Self, String> {
        let stream = connect(config, ask.address, from).await?;
        Ok(Self { stream, request: tls_client::request(ask), body: Arc::clone(body) })
    }

    /// Asks once, and compares the answer byte by byte.
    pub(crate) async fn get(&mut self) -> Result<(), String> {
        let broken = |error: std::io::Error| format!("a request: {error}");
        self.stream.write_all(&self.request).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let mut received = Vec::with_capacity(2048);
        let head = loop {
            if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if received.len() > MAX_HEAD || self.stream.read_buf(&mut received).await.map_err(broken)? == 0 {
                return Err(format!("no answer, but: {}", String::from_utf8_lossy(&received)));
            }
        };
        tls_client::check_head(received.get(..head).unwrap_or_default(), self.body.len() as u64)?;
        while received.len() < head + self.body.len() && self.stream.read_buf(&mut received).await.map_err(broken)? > 0
        {
        }
        if received.get(head..) == Some(&self.body[..]) {
            Ok(())
        } else {
            Err("an answer with another body".to_owned())
        }
    }
}
