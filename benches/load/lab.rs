//! The directory a run works in: certificate, files, configurations, and what every program says.

use std::fs;
use std::io::{BufWriter, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cases::{Document, LARGE, SMALL};

/// Length of a made-up cookie's value: about that of a sealed one.
const COOKIE_VALUE_BYTES: usize = 128;

/// A run's directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Lab {
    /// The directory.
    dir: TempDir,
    /// The certificate in DER, which the benchmark's own client expects to see.
    pub(crate) certificate: Vec<u8>,
}

impl Lab {
    /// Makes the directory with certificate and files in it.
    pub(crate) fn new() -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("vestibule-load-").tempdir().map_err(|error| error.to_string())?;
        // rcgen's default key is ECDSA on P-256.
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| format!("certificate: {error}"))?;
        let lab = Self { dir, certificate: made.cert.der().to_vec() };
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        lab.write("cert.pem", certificate.as_bytes())?;
        lab.write("key.pem", key.as_bytes())?;
        // HAProxy wants both in one file.
        lab.write("both.pem", format!("{certificate}{key}").as_bytes())?;
        fs::create_dir(lab.path("www")).map_err(|error| error.to_string())?;
        for document in [SMALL, LARGE] {
            lab.write(&format!("www{}", document.path), &body(document))?;
        }
        Ok(lab)
    }

    /// The directory itself.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The path of a file in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, String> {
        let path = self.path(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// A file of cookies nobody made, one a line, for a run without a gateway: the peers must carry the same load.
    pub(crate) fn made_up_cookies(&self, count: usize) -> Result<PathBuf, String> {
        let path = self.path("made-up.cookies");
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(fs::File::create(&path)?);
            for at in 0..count {
                writeln!(file, "__Host-session={at:0>COOKIE_VALUE_BYTES$}")?;
            }
            file.flush()
        };
        write().map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }
}

/// The content of a file: text that does not repeat itself soon, and is the same in every run.
pub(crate) fn body(document: Document) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 24) as u8 % 26
    };
    (0..document.size).map(next).collect()
}

/// Ports on loopback that were free a moment ago. All are held until all are known, so that they differ.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>, String> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).map_err(|error| format!("no free port: {error}"));
    let held: Vec<TcpListener> = (0..count).map(|_| bind()).collect::<Result<_, _>>()?;
    held.iter().map(|l| l.local_addr().map(|a| a.port()).map_err(|error| error.to_string())).collect()
}
