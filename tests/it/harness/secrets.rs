//! Whatever secret a client was given or sent is in nothing that a gateway writes: its logs, what it tells the operator,
//! the files in its folder. Looked for at the end of every gateway, so the whole suite is one test of it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{ALICE, BOB, CAROL};

/// Every secret there was.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What gateways in this process have told the operator since it was last looked at.
static TOLD: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// How much of a secret's beginning or end is looked for. What is shorter is found in other words, too.
const PART: usize = 16;

/// Notes a secret.
pub fn note_secret(secret: &str) {
    if secret.len() >= PART && secret.is_ascii() && parts(secret).into_iter().all(is_telling) {
        SECRETS.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }
}

/// What of a secret is looked for.
fn parts(secret: &str) -> [&str; 2] {
    [&secret[..PART], &secret[secret.len() - PART..]]
}

/// Whether it is not one and the same letter again and again, as some tests send it, and certificates have it.
fn is_telling(part: &str) -> bool {
    part.bytes().collect::<BTreeSet<u8>>().len() > 4
}

/// Notes what is secret in a form.
pub fn note_form(fields: &[(&str, &str)]) {
    for (name, value) in fields {
        // The second one is no password, but what a form may be sent with.
        if ["password", "attempt"].contains(name) {
            note_secret(value);
        }
    }
}

/// Collects what gateways in this process tell the operator from now on, down to what nobody asks for in operation.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let ours = Targets::new().with_target("vestibule", LevelFilter::TRACE);
        let told = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false);
        told.with_writer(|| Told).finish().with(ours).init();
    });
}

struct Told;

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        TOLD.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asserts that no secret is in any of these texts, in what was told, or in a file of `folder`, whole or in part.
pub fn assert_kept(texts: &[(&str, &str)], folder: Option<&Path>) {
    let told = std::mem::take(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner));
    let told = String::from_utf8_lossy(&told);
    let mut files = Vec::new();
    if let Some(folder) = folder {
        collect(folder, &mut files);
    }
    let texts = texts.iter().map(|(name, text)| (*name, *text)).chain([("what it told", &*told)]);
    let all: Vec<_> = texts.chain(files.iter().map(|(name, text)| (&**name, &**text))).collect();
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    for secret in
        secrets.iter().flat_map(|secret| parts(secret)).chain([ALICE, BOB, CAROL].map(|(_, password)| password))
    {
        for (name, text) in &all {
            if let Some(line) = text.lines().find(|line| line.contains(secret)) {
                panic!("a secret is in {name}: {line}");
            }
        }
    }
}

/// Every file below a folder, with what is in it.
fn collect(folder: &Path, all: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, all);
        } else if path.is_file() {
            let content = fs::read(&path).unwrap_or_default();
            all.push((path.display().to_string(), String::from_utf8_lossy(&content).into_owned()));
        }
    }
}
