//! TLS towards the clients: 1.2 and 1.3 by rustls, certificates chosen by the host that is named.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::session::binding::TlsFingerprint;

/// How many tickets a client is given after a TLS 1.3 handshake: one for its next connection. Each costs an encryption
/// and 200 bytes.
const TICKETS: usize = 1;

/// Chooses a certificate by the host that the client names.
#[derive(Debug)]
pub struct Certificates {
    exact: HashMap<Box<str>, Arc<CertifiedKey>>,
    /// By what follows the asterisk's label: `example.test` for `*.example.test`.
    wildcard: HashMap<Box<str>, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl Certificates {
    /// Chooses among these; the first is shown to clients that name no known host.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(all: impl IntoIterator<Item = Arc<CertifiedKey>>) -> Result<Self, String> {
        let (mut exact, mut wildcard, mut first) = (HashMap::new(), HashMap::new(), None);
        for certified in all {
            for name in names(&certified) {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcard.entry(rest.into()).or_insert_with(|| Arc::clone(&certified)),
                    None => exact.entry(name.into()).or_insert_with(|| Arc::clone(&certified)),
                };
            }
            first.get_or_insert(certified);
        }
        let first = first.ok_or("there is no certificate")?;
        Ok(Self { exact, wildcard, first })
    }

    /// The certificate for a client that names `host`.
    fn find(&self, host: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(host) = host else { return &self.first };
        let by_wildcard = || host.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        self.exact.get(host).or_else(by_wildcard).unwrap_or(&self.first)
    }

    /// The certificate that such a client is shown, to be compared with the hosts it then asks for.
    pub fn shown(&self, host: Option<&str>) -> Option<CertificateDer<'static>> {
        self.find(host).cert.first().cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands out the name in lower case.
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

/// What connections are accepted with. Certificates that are renewed make another of these: a connection keeps the one
/// it began with, so that what it was shown is what its requests are compared with.
#[derive(Clone)]
pub struct Tls {
    /// The configuration.
    pub config: Arc<ServerConfig>,
    /// The certificates in it.
    pub certificates: Arc<Certificates>,
}

impl Tls {
    /// TLS with these certificates.
    ///
    /// # Errors
    /// When the crypto provider cannot do what is asked of it.
    pub fn new(certificates: Certificates) -> Result<Self, String> {
        let certificates = Arc::new(certificates);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).to_vec();
        config.send_tls13_tickets = TICKETS;
        config.ticketer =
            aws_lc_rs::Ticketer::new().map_err(|error| format!("TLS tickets cannot be set up: {error}"))?;
        // Early data can be replayed by whoever saw it, so none is taken.
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// The same with other certificates. Tickets stay good.
    #[must_use]
    pub fn with(&self, certificates: Certificates) -> Self {
        let certificates = Arc::new(certificates);
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::clone(&certificates) as _;
        Self { config: Arc::new(config), certificates }
    }
}

/// Shakes hands with a client. On the way its hello is seen, resumed or not, and its fingerprint taken.
///
/// # Errors
/// When they do not come to an end, or the connection breaks.
pub async fn shake_hands<S>(config: Arc<ServerConfig>, stream: S) -> io::Result<(TlsStream<S>, TlsFingerprint)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let begun = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let fingerprint = fingerprint(&begun.client_hello());
    Ok((begun.into_stream(config).await?, fingerprint))
}

/// What a hello shows of its client.
fn fingerprint(hello: &ClientHello<'_>) -> TlsFingerprint {
    let groups = hello.named_groups().unwrap_or_default();
    TlsFingerprint::of(
        hello.cipher_suites().iter().map(|suite| u16::from(*suite)),
        groups.iter().map(|group| u16::from(*group)),
        hello.signature_schemes().iter().map(|scheme| u16::from(*scheme)),
    )
}

/// The names that a certificate is for.
fn names(certified: &CertifiedKey) -> Vec<String> {
    let end_entity = certified.cert.first().and_then(|cert| webpki::EndEntityCert::try_from(cert).ok());
    end_entity.map(|cert| cert.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::server::certificate::CertificateFiles;

    fn made(folder: &Path, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(hosts).expect("a certificate");
        let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        fs::write(&cert, made.cert.pem()).expect("written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        (cert, key)
    }

    /// A number of two bytes for each.
    fn list(values: &[u16]) -> Vec<u8> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        with_length(&bytes)
    }

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat()
    }

    /// The fingerprint of a hello as a browser writes it (RFC 8446 section 4.1.2), with GREASE of its own and its
    /// extensions in an order of its own, that offers this by ALPN.
    fn of_hello(grease: u16, order: &[usize], protocols: &[u8], suites: &[u16]) -> TlsFingerprint {
        let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &with_length(body)].concat();
        let key_share = [&[0, 0x1d][..], &with_length(&[7; 32])].concat();
        let extensions = [
            extension(0x000a, &list(&[grease, 0x001d, 0x0017])),
            extension(0x000d, &list(&[0x0403, 0x0804])),
            extension(0x0010, &with_length(protocols)),
            extension(0x002b, &[4, 3, 4, 3, 3]),
            extension(0x0033, &with_length(&key_share)),
            extension(grease, b""),
        ];
        let extensions: Vec<u8> = order.iter().flat_map(|at| extensions[*at].clone()).collect();
        let suites = list(&[&[grease], suites].concat());
        let body = [&[3, 3][..], &[9; 32], &[0], &suites, &[1, 0], &with_length(&extensions)].concat();
        let message = [&[1, 0][..], &with_length(&body)].concat();
        let record = [&[22, 3, 1][..], &with_length(&message)].concat();
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &record[..]).expect("bytes");
        fingerprint(&acceptor.accept().ok().flatten().expect("a whole hello").client_hello())
    }

    #[test]
    fn what_a_browser_changes_by_itself_is_not_in_its_fingerprint() {
        let suites = [0x1301, 0x1302, 0xc02b];
        let usual = of_hello(0x2a2a, &[0, 1, 2, 3, 4, 5], b"\x02h2\x08http/1.1", &suites);
        assert_eq!(usual, TlsFingerprint::of(suites, [0x001d, 0x0017], [0x0403, 0x0804]));
        assert_eq!(usual, of_hello(0xeaea, &[5, 3, 1, 4, 0, 2], b"\x08http/1.1", &suites));
        assert_eq!(usual, of_hello(0x0a0a, &[4, 3, 1, 0], b"", &suites), "without ALPN");
        assert_ne!(usual, of_hello(0x2a2a, &[0, 1, 2, 3, 4, 5], b"\x02h2\x08http/1.1", &suites[..2]));
    }

    #[test]
    fn the_named_host_chooses_the_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [made(folder.path(), "a", &["a.test"]), made(folder.path(), "b", &["b.test", "*.b.test"])];
        let load =
            |(cert, key): &(PathBuf, PathBuf)| CertificateFiles { cert, key, generate: false, ocsp: None }.load();
        let all = files.iter().map(|files| Arc::new(load(files).expect("a certificate").0));
        let certificates = Certificates::of(all).expect("certificates");
        let is_b = |host| names(certificates.find(host)).contains(&"b.test".to_owned());
        assert!(is_b(Some("b.test")) && is_b(Some("x.b.test")));
        assert!(!is_b(Some("a.test")) && !is_b(Some("x.y.b.test")) && !is_b(None) && !is_b(Some("unknown")));
    }
}
