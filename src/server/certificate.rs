//! The files of a certificate: checked, read, and made for development when there are none.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use zeroize::Zeroizing;

use crate::base::{place, shell};
use crate::server::ocsp::Staple;

/// The names of a certificate made for development.
const DEVELOPMENT_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The largest file that is read, in bytes: 1 MiB, some hundreds of certificates.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// What stands in the first line of a key with a passphrase.
const LOCKED: &[u8] = b" ENCRYPTED PRIVATE KEY-----";

/// A certificate, its files, and whether it may be made.
#[derive(Clone, Copy, Debug)]
pub struct CertificateFiles<'a> {
    /// The chain, PEM.
    pub cert: &'a Path,
    /// The private key, PEM.
    pub key: &'a Path,
    /// Whether a self-signed one is made when neither file exists.
    pub generate: bool,
    /// An OCSP response for it, DER.
    pub ocsp: Option<&'a Path>,
}

/// What the files hold.
#[derive(Debug)]
pub struct Loaded {
    /// Chain and key.
    pub pair: CertifiedKey,
    /// The OCSP response, if there is to be one, or what is wrong with it.
    pub staple: Result<Option<Staple>, Fault>,
}

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The chain's.
    Cert,
    /// The private key's.
    Key,
    /// The OCSP response's.
    Ocsp,
}

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// With which.
    pub side: Side,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// Faults as sentences, one a line.
pub fn in_words(faults: &[Fault]) -> String {
    let told = |fault: &Fault| format!("{}; {}", fault.message, fault.help);
    faults.iter().map(told).collect::<Vec<_>>().join("\n")
}

impl CertificateFiles<'_> {
    /// Whether both files are to be made: that is asked for, and neither is there.
    pub fn are_to_be_made(&self) -> bool {
        self.generate && !is_there(self.cert) && !is_there(self.key)
    }

    /// Everything that is wrong with the files. None of them is made.
    pub fn faults(&self) -> Vec<Fault> {
        if self.are_to_be_made() {
            return self.obstacles();
        }
        match self.read() {
            Ok(loaded) => loaded.staple.err().into_iter().collect(),
            Err(faults) => faults,
        }
    }

    /// Reads the files, and makes them before if they are to be made.
    ///
    /// # Errors
    /// What is wrong with them, a sentence a line.
    pub fn load(&self) -> Result<(CertifiedKey, Option<Staple>), String> {
        if self.are_to_be_made() {
            generate(self.cert, self.key)?;
        }
        let Loaded { pair, staple } = self.read().map_err(|faults| in_words(&faults))?;
        Ok((pair, staple.map_err(|fault| in_words(&[fault]))?))
    }

    /// Why the files cannot be made.
    fn obstacles(&self) -> Vec<Fault> {
        if self.cert == self.key {
            let message = "a certificate that is made needs another file for its key".to_owned();
            return vec![Fault { side: Side::Key, message, help: "write another path".to_owned() }];
        }
        if self.ocsp.is_some() {
            let message = "a certificate that is made here has no authority that could say anything of it".to_owned();
            return vec![Fault { side: Side::Ocsp, message, help: "remove this line".to_owned() }];
        }
        let sides = [(Side::Cert, self.cert), (Side::Key, self.key)];
        let obstacle = |(side, path): (Side, &Path)| {
            // The folders above are made as well, so what is there already must be one.
            let found = path.ancestors().skip(1).find(|above| is_there(above)).unwrap_or(Path::new("."));
            let error = place::can_make_in(found).err()?;
            let (shown, kind) = (found.display(), error.kind());
            let message = if kind == ErrorKind::NotADirectory {
                format!("{shown} is not a folder, so nothing can be made in it")
            } else if kind == ErrorKind::PermissionDenied {
                format!("this user may not write in the folder {shown}, where this is to be made")
            } else {
                format!("nothing can be made in the folder {shown}: {error}")
            };
            Some(Fault { side, message, help: "write another path".to_owned() })
        };
        sides.into_iter().filter_map(obstacle).collect()
    }

    /// Reads the files, and makes none.
    ///
    /// # Errors
    /// Everything that is wrong with them, when chain and key are no good.
    pub fn read(&self) -> Result<Loaded, Vec<Fault>> {
        let staple = |cert: Option<&CertificateDer<'_>>| match self.ocsp {
            Some(file) => Staple::read(file, cert, self.cert).map(Some),
            None => Ok(None),
        };
        let read = self.read_pair();
        match read {
            Ok(pair) => Ok(Loaded { staple: staple(pair.cert.first()), pair }),
            Err(faults) => Err(faults.into_iter().chain(staple(None).err()).collect()),
        }
    }

    fn read_pair(&self) -> Result<CertifiedKey, Vec<Fault>> {
        if let Some(fault) = self.only_one() {
            return Err(vec![fault]);
        }
        let (chain, key) = match (read_chain(self), read_key(self.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        self.pair(chain, key).map_err(|fault| vec![fault])
    }

    /// Where a certificate may be made, one file without the other is most likely a slip in a path.
    fn only_one(&self) -> Option<Fault> {
        let fault = |side, message: String, own: &str, other: &Path| {
            let other = shell::quoted(other);
            let help = format!("write the path of {own}, or have both made anew after: mv {other} {other}.old");
            Some(Fault { side, message, help })
        };
        let (cert, key) = (self.cert.display(), self.key.display());
        match (is_there(self.cert), is_there(self.key)) {
            (true, false) if self.generate => {
                fault(Side::Key, format!("there is no key {key}, but a certificate {cert}"), "its key", self.cert)
            }
            (false, true) if self.generate => fault(
                Side::Cert,
                format!("there is no certificate {cert}, but a key {key}"),
                "its certificate",
                self.key,
            ),
            _ => None,
        }
    }

    fn pair(&self, chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, Fault> {
        let (cert_file, key_file) = (self.cert.display(), self.key.display());
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).map_err(|_| Fault {
            side: Side::Key,
            message: format!("the private key in {key_file} cannot be used"),
            help: "use an RSA key of 2048 to 8192 bits, an ECDSA or an Ed25519 key".to_owned(),
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // Of some keys the public one cannot be told.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
            Err(Error::InconsistentKeys(_)) => {
                let fits = |cert: &CertificateDer<'static>| {
                    CertifiedKey::new(vec![cert.clone()], certified.key.clone()).keys_match().is_ok()
                };
                Err(if certified.cert.iter().any(fits) {
                    let message = format!("the server's own certificate is not the first in {cert_file}");
                    Fault { side: Side::Cert, message, help: "move it to the beginning of that file".to_owned() }
                } else {
                    let message = format!("the key {key_file} does not belong to the certificate {cert_file}");
                    let help = "write the key that the certificate was made with".to_owned();
                    Fault { side: Side::Key, message, help }
                })
            }
            Err(_) => {
                let message = format!("the first certificate in {cert_file} cannot be read");
                Err(Fault { side: Side::Cert, message, help: "copy the file here again".to_owned() })
            }
        }
    }
}

/// Whether there is a file of that name, whatever it is: a link that leads nowhere is in the way, too.
fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn read_chain(files: &CertificateFiles<'_>) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let shown = files.cert.display();
    let fault = |message: String, help: &str| Fault { side: Side::Cert, message, help: help.to_owned() };
    let missing = "write the path of a PEM file, or generate = true for a self-signed certificate";
    let pem = read_file(files.cert, missing).map_err(|(message, help)| fault(message, help))?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| fault(damaged(files.cert), "copy the file here again"))?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    Err(if PrivateKeyDer::from_pem_slice(&pem).is_ok() {
        fault(format!("{shown} holds a private key and no certificate"), "write the certificate's path here")
    } else {
        fault(format!("there is no certificate in {shown}"), "it must be PEM, with the server's own certificate first")
    })
}

fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let shown = file.display();
    let fault = |message: String, help: &str| Fault { side: Side::Key, message, help: help.to_owned() };
    let pem = read_file(file, "write the path of a PEM file").map_err(|(message, help)| fault(message, help))?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) if pem.windows(LOCKED.len()).any(|window| window == LOCKED) => {
            let message = format!("the key in {shown} is locked, and nobody is there to type its passphrase");
            let help = format!("write a key without one, made by: openssl pkey -in {} -out FILE", shell::quoted(file));
            Err(fault(message, &help))
        }
        Err(pem::Error::NoItemsFound) if CertificateDer::from_pem_slice(&pem).is_ok() => {
            Err(fault(format!("{shown} holds a certificate and no private key"), "write the private key's path here"))
        }
        Err(pem::Error::NoItemsFound) => {
            Err(fault(format!("there is no private key in {shown}"), "it must be PEM, without a passphrase"))
        }
        Err(_) => Err(fault(damaged(file), "copy the file here again")),
    }
}

fn damaged(file: &Path) -> String {
    format!("{} is damaged: a part of it has no end, or is not Base64", file.display())
}

/// Reads a file whole. The error is a message and what to do; `missing` is what to do when there is no such file.
pub(super) fn read_file<'h>(path: &Path, missing: &'h str) -> Result<Zeroizing<Vec<u8>>, (String, &'h str)> {
    let shown = path.display();
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes));
    match read.map_err(|error| (error.kind(), error)) {
        Ok(_) if bytes.len() as u64 > MAX_PEM_BYTES => Err((format!("{shown} is larger than 1 MiB"), missing)),
        Ok(_) => Ok(bytes),
        Err((ErrorKind::NotFound, _)) => Err((format!("the file {shown} does not exist"), missing)),
        Err((ErrorKind::PermissionDenied, error)) => {
            Err((format!("{shown} cannot be read: {error}"), "let the user read it that the gateway runs as"))
        }
        Err((_, error)) => Err((format!("{shown} cannot be read: {error}"), missing)),
    }
}

/// Makes a self-signed certificate for development: ECDSA P-256, for this machine's own names.
fn generate(cert_file: &Path, key_file: &Path) -> Result<(), String> {
    let failed = |error: rcgen::Error| format!("a certificate cannot be made: {error}");
    let mut params = CertificateParams::new(DEVELOPMENT_NAMES.map(str::to_owned)).map_err(failed)?;
    params.distinguished_name.push(DnType::CommonName, "vestibule development");
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.self_signed(&key).map_err(failed)?;
    write_new(key_file, key.serialize_pem().as_bytes(), 0o600)?;
    write_new(cert_file, cert.pem().as_bytes(), 0o644)
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: cannot be written: {error}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    file.write_all(content).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn makes_a_certificate_once_and_keeps_its_key_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = (folder.path().join("certs/dev.crt"), folder.path().join("certs/dev.key"));
        let files = CertificateFiles { cert: &cert, key: &key, generate: true, ocsp: None };
        assert_eq!((files.faults(), files.are_to_be_made()), (Vec::new(), true));
        let first = files.load().expect("made");
        assert_eq!(fs::metadata(&key).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!((files.faults(), files.are_to_be_made()), (Vec::new(), false));
        assert_eq!(files.load().expect("read").0.cert, first.0.cert);
    }

    #[test]
    fn says_what_is_wrong_with_which_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing");
        let told = CertificateFiles { cert: &missing, key: &missing, generate: false, ocsp: None };
        let told = told.load().expect_err("no file");
        let shown = missing.display();
        assert_eq!(
            told,
            format!(
                "the file {shown} does not exist; write the path of a PEM file, or generate = true for a self-signed \
                 certificate\nthe file {shown} does not exist; write the path of a PEM file"
            )
        );
    }
}
