//! OCSP responses (RFC 6960) that are sent along with a certificate (RFC 6066 section 8): the word of its authority that
//! it is not revoked, so that no browser needs to ask. Their signature is the clients' to check; here it is only seen
//! to that what is sent says something of the certificate, and still does.

use std::path::Path;
use std::time::Duration;

use der::Decode as _;
use rustls::pki_types::CertificateDer;
use x509_ocsp::{BasicOcspResponse, CertStatus, OcspResponse, OcspResponseStatus, SingleResponse};

use crate::base::clock::Timestamp;
use crate::server::certificate::{Fault, Side, read_file};

/// The largest response, in bytes: they have one or two thousand, and every handshake carries one.
const MAX_RESPONSE: usize = 16 * 1024;

/// What to do when the file holds no response.
const FETCH: &str = "write the path of a response in DER, as openssl ocsp -respout writes it, or remove this line";

/// A response to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staple {
    /// The response, DER.
    pub response: Vec<u8>,
    /// When its authority will have said something newer: from then on clients take it for an attack.
    pub good_until: Option<Timestamp>,
}

impl Staple {
    /// Reads a response, which must be for `cert`, shown as `cert_file`, when that is known.
    ///
    /// # Errors
    /// What is wrong with it. That it is not good any more is not wrong with it.
    pub(super) fn read(file: &Path, cert: Option<&CertificateDer<'_>>, cert_file: &Path) -> Result<Self, Fault> {
        let fault = |message: String, help: &str| Fault { side: Side::Ocsp, message, help: help.to_owned() };
        let (shown, cert_file) = (file.display(), cert_file.display());
        let bytes = read_file(file, FETCH).map_err(|(message, help)| fault(message, help))?;
        if bytes.is_empty() {
            return Err(fault(format!("the file {shown} is empty"), FETCH));
        }
        if bytes.len() > MAX_RESPONSE {
            return Err(fault(format!("{shown} is larger than 16 KiB"), FETCH));
        }
        let response = OcspResponse::from_der(&bytes);
        let response = response.map_err(|_| fault(format!("there is no OCSP response in {shown}"), FETCH))?;
        if response.response_status != OcspResponseStatus::Successful {
            let message = format!("{shown} holds no word on a certificate, but that its authority has none");
            return Err(fault(message, "ask the authority again"));
        }
        let all = response.response_bytes.and_then(|inner| BasicOcspResponse::from_der(inner.response.as_bytes()).ok());
        let all = all.ok_or_else(|| fault(format!("there is no OCSP response in {shown}"), FETCH))?;
        let all = all.tbs_response_data.responses;
        let found = match cert.map(serial) {
            Some(serial) => all.iter().find(|one| is_of(one, &serial)),
            None => all.first(),
        };
        let Some(found) = found else {
            let message = format!("the OCSP response {shown} is not for the certificate {cert_file}");
            return Err(fault(message, "ask for one, as it must be done for every renewed certificate"));
        };
        match found.cert_status {
            CertStatus::Good(_) => {}
            CertStatus::Revoked(_) => {
                let message = format!("the OCSP response {shown} says that the certificate is revoked");
                return Err(fault(message, "get another certificate"));
            }
            CertStatus::Unknown(_) => {
                let message =
                    format!("the OCSP response {shown} says that its authority does not know the certificate");
                return Err(fault(message, "ask the authority that has signed it"));
            }
        }
        let good_until = found.next_update.map(|time| timestamp(time.0.to_unix_duration()));
        Ok(Self { response: bytes.to_vec(), good_until })
    }

    /// Whether it can be sent at `now`.
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.good_until.is_none_or(|until| now < until)
    }
}

fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::default().plus(since_1970)
}

/// A certificate's serial number, by which its authority knows it. Empty when it cannot be read.
fn serial(cert: &CertificateDer<'_>) -> Vec<u8> {
    let cert = webpki::EndEntityCert::try_from(cert);
    cert.map(|cert| without_zeros(cert.serial()).to_vec()).unwrap_or_default()
}

fn is_of(one: &SingleResponse, serial: &[u8]) -> bool {
    !serial.is_empty() && without_zeros(one.cert_id.serial_number.as_bytes()) == serial
}

/// The bytes of a number without the zeros before it.
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}
