//! What is known of a client's connection. Frozen once the handshake is done.

use std::cell::RefCell;
use std::net::SocketAddr;

use crate::session::binding::TlsFingerprint;
use crate::upstream::forward::KnownFields;
use rustls::pki_types::{CertificateDer, ServerName};

/// A client's connection.
#[derive(Debug)]
pub struct ConnInfo {
    /// Who is connected: the address of the socket, or the one that a proxy says by the PROXY protocol.
    pub peer: SocketAddr,
    /// Where they were reached.
    pub local: SocketAddr,
    /// Whether the peer may be a proxy that says in its headers for whom it speaks. Not when a proxy relays the
    /// connection and does not say whose it is: then the address is the proxy's, and the words are anybody's.
    pub may_forward: bool,
    /// The fingerprint of their TLS. Unknown where a trusted proxy ends it: what it shows is the proxy.
    pub tls: TlsFingerprint,
    /// The host they named in the handshake, in lower case.
    pub sni: Option<Box<str>>,
    /// The certificate they were shown, when they named a host.
    pub shown: Option<CertificateDer<'static>>,
    /// The last other host that the certificate was found to cover, so that it is read once and not for every request.
    pub covered: RefCell<Option<Box<str>>>,
    /// What applications are told of the client and its user, from one request to the next.
    pub known_fields: KnownFields,
}

impl ConnInfo {
    /// Whether requests for `host` belong on this connection (RFC 9110 section 7.4): the host named in the handshake,
    /// or one that the certificate shown covers. Without a named host there is nothing to compare.
    pub fn serves(&self, host: &str) -> bool {
        let (Some(sni), Some(shown)) = (&self.sni, &self.shown) else { return true };
        if **sni == *host || self.covered.borrow().as_deref() == Some(host) {
            return true;
        }
        let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let covers = ServerName::try_from(name).is_ok_and(|name| {
            webpki::EndEntityCert::try_from(shown)
                .is_ok_and(|cert| cert.verify_is_valid_for_subject_name(&name).is_ok())
        });
        if covers {
            *self.covered.borrow_mut() = Some(host.into());
        }
        covers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_what_was_named_and_what_the_certificate_covers() {
        let names = ["app.test".to_owned(), "*.wild.test".to_owned(), "127.0.0.1".to_owned()];
        let cert = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let info = |sni: Option<&str>| ConnInfo {
            peer: address,
            local: address,
            may_forward: true,
            tls: TlsFingerprint::UNKNOWN,
            sni: sni.map(Into::into),
            shown: Some(cert.cert.der().clone()),
            covered: RefCell::default(),
            known_fields: KnownFields::default(),
        };
        let named = info(Some("app.test"));
        for host in ["app.test", "a.wild.test", "a.wild.test", "127.0.0.1"] {
            assert!(named.serves(host), "{host}");
        }
        for host in ["other.test", "a.b.wild.test", "wild.test", "::1", "", "[::1]", "*"] {
            assert!(!named.serves(host), "{host}");
        }
        assert!(info(None).serves("other.test"));
    }
}
