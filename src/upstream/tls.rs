//! TLS towards servers: whose certificates are believed, and what we show them.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::upstream::settings::TlsSettings;

/// The names of what is spoken over TLS, in ALPN (RFC 7301 section 6, RFC 9113 section 3.2).
pub const HTTP_1: &[u8] = b"http/1.1";
/// HTTP/2.
pub const HTTP_2: &[u8] = b"h2";

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key that names the file.
    pub key: &'static str,
    /// What is wrong, with the file's name.
    pub message: String,
}

/// What connects to servers by TLS, to speak `protocol` (its name in ALPN).
///
/// # Errors
/// What is wrong with the files.
pub fn connector(settings: &TlsSettings, protocol: &[u8]) -> Result<TlsConnector, Fault> {
    let fault = |key: &'static str| move |message: String| Fault { key, message };
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &settings.ca {
        for certificate in certificates(ca).map_err(fault("ca"))? {
            let added = roots.add(certificate);
            added.map_err(|error| fault("ca")(format!("{}: a certificate cannot be used: {error}", ca.display())))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| fault("ca")(format!("TLS to servers cannot be set up: {error}")))?
        .with_root_certificates(roots);
    let mut config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert).map_err(fault("client_cert"))?;
            let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                fault("client_key")(format!("{}: the private key cannot be read: {}", key.display(), told(&error)))
            })?;
            builder.with_client_auth_cert(chain, private).map_err(|error| {
                let (cert, key) = (cert.display(), key.display());
                fault("client_key")(format!("{key}: it cannot be used with {cert}: {error}"))
            })?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: the certificates cannot be read: {}", path.display(), told(&error)))?;
    if all.is_empty() { Err(format!("{}: there is no certificate in it", path.display())) } else { Ok(all) }
}

/// What was wrong with a file, in words.
fn told(error: &pem::Error) -> String {
    if let pem::Error::Io(error) = error {
        return error.to_string();
    }
    if matches!(error, pem::Error::NoItemsFound) { "there is none in it".to_owned() } else { error.to_string() }
}
