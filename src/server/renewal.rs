//! Certificates read again when their files change, so that nobody restarts a gateway because one was renewed.
//!
//! The files are looked at now and then, which is one system call a file ([`crate::base::stamp`]).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;

use crate::base::clock::Timestamp;
use crate::base::stamp::Stamp;
use crate::server::certificate::{CertificateFiles, in_words};
use crate::server::ocsp::Staple;
use crate::server::tls::{Certificates, Tls};

/// How often the files are looked at. Certificates are renewed weeks before they end.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificates in use, and where they come from.
pub struct Renewal {
    in_use: Arc<ArcSwap<Tls>>,
    all: Mutex<Vec<Watched>>,
}

/// A certificate, and the files it was read from.
#[derive(Clone)]
struct Watched {
    cert: PathBuf,
    key: PathBuf,
    ocsp: Option<PathBuf>,
    /// The files when they were read last.
    seen: Stamps,
    /// The last that was good.
    pair: CertifiedKey,
    /// What its authority said of it last.
    staple: Option<Staple>,
    /// Whether that can still be sent.
    is_stapled: bool,
    /// What the operator was told is wrong with the files, until it is not any more.
    told: Option<String>,
}

impl Renewal {
    /// Loads the certificates, and makes those that are to be made.
    ///
    /// # Errors
    /// A sentence that says what is wrong with which file.
    pub fn load<'a>(all: impl IntoIterator<Item = CertificateFiles<'a>>, now: Timestamp) -> Result<Self, String> {
        let all = all.into_iter().map(|files| Watched::load(files, now)).collect::<Result<Vec<_>, String>>()?;
        let in_use = Arc::new(ArcSwap::from_pointee(Tls::new(certificates(&all)?)?));
        Ok(Self { in_use, all: Mutex::new(all) })
    }

    /// What connections are to be accepted with, whenever one comes.
    pub fn in_use(&self) -> &Arc<ArcSwap<Tls>> {
        &self.in_use
    }

    /// Uses these certificates from now on. What was known of those that stay is kept; those that are to be made are made.
    ///
    /// # Errors
    /// A sentence that says what is wrong with which file; then nothing has changed.
    pub fn exchange<'a>(
        &self,
        files: impl IntoIterator<Item = CertificateFiles<'a>>,
        now: Timestamp,
    ) -> Result<(), String> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let files: Vec<CertificateFiles<'_>> = files.into_iter().collect();
        if files.iter().map(paths).eq(all.iter().map(|watched| paths(&watched.files()))) {
            return Ok(());
        }
        let next = files.iter().map(|files| match all.iter().find(|known| paths(&known.files()) == paths(files)) {
            Some(known) => Ok(known.clone()),
            None => Watched::load(*files, now),
        });
        let next = next.collect::<Result<Vec<_>, String>>()?;
        self.in_use.store(Arc::new(self.in_use.load().with(certificates(&next)?)));
        *all = next;
        Ok(())
    }

    /// Looks whether files have changed, and uses what is in them from now on, if it is good: connections that are there
    /// already notice nothing. It reads files, and may wait for them.
    pub fn look(&self, now: Timestamp) {
        // What a panic has left behind is whole: a certificate is replaced in one step.
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = all.iter_mut().filter_map(|watched| watched.look(now).then_some(())).count();
        if changed > 0
            && let Ok(certificates) = certificates(&all)
        {
            self.in_use.store(Arc::new(self.in_use.load().with(certificates)));
        }
    }
}

/// What tells certificates apart.
const fn paths<'a>(files: &CertificateFiles<'a>) -> (&'a Path, &'a Path, Option<&'a Path>) {
    (files.cert, files.key, files.ocsp)
}

fn certificates(all: &[Watched]) -> Result<Certificates, String> {
    Certificates::of(all.iter().map(|watched| Arc::new(watched.certified())))
}

impl Watched {
    fn load(files: CertificateFiles<'_>, now: Timestamp) -> Result<Self, String> {
        // Taken before, so that what changes meanwhile is seen.
        let seen = Stamps::of(&files);
        let (pair, staple) = files.load()?;
        let (cert, key, ocsp) = (files.cert.to_owned(), files.key.to_owned(), files.ocsp.map(Path::to_owned));
        let mut watched = Self { cert, key, ocsp, seen, pair, staple, is_stapled: false, told: None };
        watched.check_staple(true, now);
        Ok(watched)
    }

    fn files(&self) -> CertificateFiles<'_> {
        CertificateFiles { cert: &self.cert, key: &self.key, generate: false, ocsp: self.ocsp.as_deref() }
    }

    /// What handshakes are made with.
    fn certified(&self) -> CertifiedKey {
        let staple = self.staple.as_ref().filter(|_| self.is_stapled);
        CertifiedKey { ocsp: staple.map(|staple| staple.response.clone()), ..self.pair.clone() }
    }

    /// Whether something else is to be used from now on.
    fn look(&mut self, now: Timestamp) -> bool {
        let is_new = self.read_again();
        let was_stapled = self.is_stapled;
        self.check_staple(is_new, now);
        is_new || was_stapled != self.is_stapled
    }

    /// Sees whether the OCSP response can be sent. An old one is worse than none: clients refuse the connection.
    fn check_staple(&mut self, is_new: bool, now: Timestamp) {
        let Some(staple) = &self.staple else {
            self.is_stapled = false;
            return;
        };
        let is_good = staple.is_good(now);
        if let (Some(until), Some(file), false) = (staple.good_until, &self.ocsp, is_good)
            && (is_new || self.is_stapled)
        {
            tracing::warn!("the OCSP response {} was good until {until}, and is sent to nobody", file.display());
        }
        self.is_stapled = is_good;
    }

    /// Reads the files again if they have changed, or were bad: then a change may have been missed that came together
    /// with the one before. Whether there is something new.
    fn read_again(&mut self) -> bool {
        let now = Stamps::of(&self.files());
        if now == self.seen && self.told.is_none() {
            return false;
        }
        let read = self.files().read();
        let is_good = read.as_ref().is_ok_and(|loaded| loaded.staple.is_ok());
        if !is_good && Stamps::of(&self.files()) != now {
            // Somebody is at it: at the next look they will be done.
            return false;
        }
        self.seen = now;
        let cert = self.cert.display().to_string();
        match read {
            Ok(loaded) => {
                let is_other = loaded.pair.cert != self.pair.cert;
                let staple = match loaded.staple {
                    Ok(staple) => {
                        self.told = None;
                        staple
                    }
                    Err(fault) => {
                        self.tell(&format!("the OCSP response for {cert} is not used: {}", in_words(&[fault])));
                        // What was said of another certificate is no word on this one.
                        self.staple.clone().filter(|_| !is_other)
                    }
                };
                let has_news = staple != self.staple;
                if is_other {
                    tracing::info!("the certificate {cert} was renewed, and is used from now on");
                } else if has_news {
                    tracing::info!("the OCSP response for {cert} was renewed, and is sent from now on");
                }
                (self.pair, self.staple) = (loaded.pair, staple);
                is_other || has_news
            }
            Err(faults) => {
                self.tell(&format!("the certificate {cert} stays the one it was: {}", in_words(&faults)));
                false
            }
        }
    }

    /// Tells the operator what is wrong, once.
    fn tell(&mut self, words: &str) {
        if self.told.as_deref() != Some(words) {
            tracing::warn!("{words}");
            self.told = Some(words.to_owned());
        }
    }
}

/// What tells the files from what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamps([Option<Stamp>; 3]);

impl Stamps {
    fn of(files: &CertificateFiles<'_>) -> Self {
        Self([Stamp::of(files.cert), Stamp::of(files.key), files.ocsp.and_then(Stamp::of)])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(0);

    /// What the operator is told while `act` runs.
    fn told(act: impl FnOnce()) -> String {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, act);
        let bytes = log.0.lock().expect("a log").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a log").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A certificate and its key, PEM.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_bad_pair_is_told_once_in_the_words_of_check_and_the_good_one_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
        let ((old_cert, old_key), (new_cert, new_key)) = (made(), made());
        fs::write(&cert, &old_cert).expect("written");
        fs::write(&key, &old_key).expect("written");
        let files = CertificateFiles { cert: &cert, key: &key, generate: true, ocsp: None };
        let renewal = Renewal::load([files], NOW).expect("certificates");
        let shown = || renewal.in_use().load().certificates.shown(None).expect("a certificate");
        let first = shown();
        assert_eq!(told(|| renewal.look(NOW)), "", "nothing has changed");
        let in_check = |files: CertificateFiles<'_>| in_words(&files.faults());
        for (bad_cert, bad_key) in [
            (Some(new_cert.as_str()), Some(old_key.as_str())),
            (Some(&old_cert[..300]), Some(&old_key)),
            (Some(""), Some(&old_key)),
            (Some(&new_cert), Some(&new_key[..90])),
            (None, Some(&old_key)),
            // Gone for a moment: none is made in its place, as it is at the start.
            (None, None),
        ] {
            for (path, text) in [(&cert, bad_cert), (&key, bad_key)] {
                match text {
                    Some(text) => fs::write(path, text).expect("written"),
                    None => fs::remove_file(path).unwrap_or_default(),
                }
            }
            let words = in_check(CertificateFiles { generate: false, ..files });
            let line = told(|| renewal.look(NOW));
            assert!(line.contains("WARN") && line.contains(&words) && !words.is_empty(), "{line}\n{words}");
            assert_eq!(told(|| (0..3).for_each(|_| renewal.look(NOW))), "", "told once");
            assert_eq!(shown(), first);
        }
        assert!(!cert.exists() && !key.exists());
        fs::write(&key, &new_key).expect("written");
        fs::write(&cert, &new_cert).expect("written");
        let line = told(|| renewal.look(NOW));
        assert!(line.contains("INFO") && line.contains("a.crt was renewed"), "{line}");
        assert_ne!(shown(), first);
        assert_eq!(told(|| renewal.look(NOW)), "");
    }

    #[test]
    fn one_that_is_bad_keeps_no_other_from_being_renewed() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = ["a.crt", "a.key", "b.crt", "b.key"].map(|name| folder.path().join(name));
        let write = |at: usize, text: &str| fs::write(&paths[at], text).expect("written");
        for at in [0, 2] {
            let (cert, key) = made();
            write(at, &cert);
            write(at + 1, &key);
        }
        let files = |at: usize| CertificateFiles { cert: &paths[at], key: &paths[at + 1], generate: false, ocsp: None };
        let renewal = Renewal::load([files(0), files(2)], NOW).expect("certificates");
        write(0, "bad");
        let (cert, key) = made();
        write(2, &cert);
        write(3, &key);
        let line = told(|| renewal.look(NOW));
        assert!(line.contains("a.crt stays the one it was") && line.contains("b.crt was renewed"), "{line}");
        assert_eq!(told(|| renewal.look(NOW)), "");
    }
}
