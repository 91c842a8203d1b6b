//! A small blocking HTTPS client: full TLS 1.3 handshakes only, one suite, one certificate.
//!
//! It makes the load of the `hs` case and the first request to every contestant, so it is strict: it takes an answer
//! only with status 200 and a body of exactly the expected length.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned};

use crate::cases::{Document, USER_AGENT};

/// Longest wait for any single read or write.
const IO_LIMIT: Duration = Duration::from_secs(10);
/// Longest head of an answer.
const MAX_HEAD: usize = 16 * 1024;

/// What to ask for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Whom.
    pub(crate) address: SocketAddr,
    /// What.
    pub(crate) document: Document,
    /// Value of the `Cookie:` header.
    pub(crate) cookie: String,
    /// Ask the server to close the connection after the answer, and wait until it has.
    pub(crate) close: bool,
}

/// A correct answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Bytes of head and body together.
    pub(crate) wire_bytes: u64,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// A TLS configuration that offers what h2load offers first, and never resumes.
pub(crate) fn config(certificate: Vec<u8>) -> Result<Arc<ClientConfig>, String> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(CertificateDer::from(certificate))))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One connection. The handshake comes with the first thing that is written.
pub(crate) fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let socket = TcpStream::connect_timeout(&address, IO_LIMIT).map_err(|error| format!("connect: {error}"))?;
    let set = |result: std::io::Result<()>| result.map_err(|error| error.to_string());
    set(socket.set_nodelay(true))?;
    set(socket.set_read_timeout(Some(IO_LIMIT)))?;
    set(socket.set_write_timeout(Some(IO_LIMIT)))?;
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, socket))
}

/// One connection, one full handshake, one request.
pub(crate) fn fetch(config: &Arc<ClientConfig>, ask: &Ask) -> Result<Answer, String> {
    let mut stream = connect(config, ask.address)?;
    stream.write_all(&request(ask)).map_err(|error| format!("write: {error}"))?;
    let answer = read_answer(&mut stream, ask)?;
    if stream.conn.handshake_kind() != Some(HandshakeKind::Full) {
        return Err(format!("the handshake was not a full one: {:?}", stream.conn.handshake_kind()));
    }
    Ok(answer)
}

/// What is sent to ask for it.
pub(crate) fn request(ask: &Ask) -> Vec<u8> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {USER_AGENT}\r\nCookie: {}\r\n{}\r\n",
        ask.document.path,
        ask.address,
        ask.cookie,
        if ask.close { "Connection: close\r\n" } else { "" }
    );
    request.into_bytes()
}

/// Reads one answer whole and checks it.
fn read_answer(stream: &mut impl Read, ask: &Ask) -> Result<Answer, String> {
    let mut received = Vec::with_capacity(4096);
    let head = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if received.len() > MAX_HEAD || read_more(stream, &mut received)? == 0 {
            return Err(format!("no answer, but: {}", String::from_utf8_lossy(&received)));
        }
    };
    let expected = head + usize::try_from(ask.document.size).map_err(|error| error.to_string())?;
    check_head(received.get(..head).unwrap_or_default(), ask.document.size)?;
    while received.len() < expected && read_more(stream, &mut received)? > 0 {}
    if ask.close {
        while received.len() <= expected && read_more(stream, &mut received)? > 0 {}
    }
    if received.len() != expected {
        return Err(format!("{} bytes where {expected} were expected", received.len()));
    }
    Ok(Answer { wire_bytes: expected as u64, body: received.split_off(head) })
}

/// Takes a 200 with the expected length, and nothing else.
pub(crate) fn check_head(head: &[u8], size: u64) -> Result<(), String> {
    let head = String::from_utf8_lossy(head);
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        if name.eq_ignore_ascii_case("content-length") { value.trim().parse::<u64>().ok() } else { None }
    });
    if !head.starts_with("HTTP/1.1 200 ") || length != Some(size) {
        return Err(format!("not a 200 of {size} bytes:\n{}", head.trim_end()));
    }
    Ok(())
}

/// Reads what there is; 0 at the end. Some servers close without TLS's own farewell, which harms nothing here:
/// the length is known.
fn read_more(stream: &mut impl Read, received: &mut Vec<u8>) -> Result<usize, String> {
    let mut chunk = [0_u8; 16 * 1024];
    match stream.read(&mut chunk) {
        Ok(length) => {
            received.extend_from_slice(chunk.get(..length).unwrap_or_default());
            Ok(length)
        }
        Err(error) if error.kind() == ErrorKind::UnexpectedEof || error.kind() == ErrorKind::ConnectionReset => Ok(0),
        Err(error) => Err(format!("read: {error}")),
    }
}

/// Takes the run's own certificate and no other. The signature of the handshake is not verified: the client shares a
/// core with the application, and a slow client would leave the contestants idle.
#[derive(Debug)]
struct Pinned(CertificateDer<'static>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.0.as_ref() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("not the certificate of this run".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
