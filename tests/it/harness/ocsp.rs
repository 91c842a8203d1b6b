//! OCSP responses as an authority gives them, but for the signature, which is nobody's.

use std::time::Duration;

use der::asn1::{BitString, GeneralizedTime, OctetString};
use der::{Decode, Encode};
use rustls::pki_types::CertificateDer;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspResponse, ResponseData, SingleResponse, Version,
};

use super::START;

/// A response that says `status` of a certificate, and is good for so many seconds from the beginning of the tests' time.
pub fn response(cert: &CertificateDer<'_>, status: CertStatus, good_for: Option<u64>) -> Vec<u8> {
    let time = |secs: u64| {
        let since_1970 = Duration::from_secs(START.as_secs() + secs);
        OcspGeneralizedTime(GeneralizedTime::from_unix_duration(since_1970).expect("a time"))
    };
    let nothing = || OctetString::new(vec![0; 20]).expect("bytes");
    let serial = webpki::EndEntityCert::try_from(cert).expect("a certificate").serial().to_vec();
    let serial = [&[2, serial.len() as u8][..], &serial].concat();
    // SHA-1, of nothing.
    let algorithm = [0x30, 7, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a];
    let single = SingleResponse {
        cert_id: CertId {
            hash_algorithm: Decode::from_der(&algorithm).expect("an algorithm"),
            issuer_name_hash: nothing(),
            issuer_key_hash: nothing(),
            serial_number: Decode::from_der(&serial).expect("a number"),
        },
        cert_status: status,
        this_update: time(0),
        next_update: good_for.map(time),
        single_extensions: None,
    };
    let basic = BasicOcspResponse {
        tbs_response_data: ResponseData {
            version: Version::V1,
            responder_id: x509_ocsp::ResponderId::ByKey(nothing()),
            produced_at: time(0),
            responses: vec![single],
            response_extensions: None,
        },
        signature_algorithm: Decode::from_der(&algorithm).expect("an algorithm"),
        signature: BitString::from_bytes(&[0; 64]).expect("bits"),
        certs: None,
    };
    OcspResponse::successful(basic).expect("a response").to_der().expect("DER")
}
