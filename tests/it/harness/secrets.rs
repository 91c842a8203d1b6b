//! Whatever secret a client was given or sent is in nothing that a gateway writes: its logs, what it tells the operator,
//! the files in its folder. Looked for at the end of every gateway, so the whole suite is one test of it.

use std::collections::{BTreeSet, HashSet};
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
    let known = Known::new(secrets.iter().flat_map(|secret| parts(secret)));
    for (name, text) in all {
        let passwords = || [ALICE, BOB, CAROL].iter().find_map(|(_, password)| text.find(password));
        if let Some(at) = known.find(text).or_else(passwords) {
            let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
            panic!("a secret is in {name}: {}", text[begin..].lines().next().unwrap_or_default());
        }
    }
}

/// Parts of secrets, all of which are looked for at once: a long test has thousands.
struct Known<'a> {
    parts: HashSet<&'a [u8]>,
    /// Whether any begins with two bytes, by their number: most of what is looked at ends here.
    begins: Vec<bool>,
}

impl<'a> Known<'a> {
    fn new(parts: impl Iterator<Item = &'a str>) -> Self {
        let (parts, mut begins): (HashSet<&[u8]>, _) = (parts.map(str::as_bytes).collect(), vec![false; 1 << 16]);
        parts.iter().for_each(|part| begins[begin(part)] = true);
        Self { parts, begins }
    }

    /// Where the first of them is in a text.
    fn find(&self, text: &str) -> Option<usize> {
        let mut places = text.as_bytes().windows(PART);
        places.position(|place| self.begins[begin(place)] && self.parts.contains(place))
    }
}

fn begin(part: &[u8]) -> usize {
    usize::from(part[0]) << 8 | usize::from(part[1])
}

#[test]
fn secrets_are_found_wherever_they_are() {
    let secrets = ["AbCdEfGhIjKlMnOpQrStUvWx", "0123456789abcdefghij"];
    let known = Known::new(secrets.iter().flat_map(|secret| parts(secret)));
    for part in ["AbCdEfGhIjKlMnOp", "IjKlMnOpQrStUvWx", "0123456789abcdef", "456789abcdefghij"] {
        for before in ["", "A", "\u{e9} Ab\n", "AbCdEfGhIjKlMnO"] {
            assert_eq!(known.find(&format!("{before}{part}x")), Some(before.len()), "{before:?} {part}");
        }
    }
    assert_eq!(["", "Ab", "AbCdEfGhIjKlMnO", "bCdEfGhIjKlMnOpQ"].map(|text| known.find(text)), [None; 4]);
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
