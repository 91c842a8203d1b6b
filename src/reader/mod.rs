//! Floor 1: reads a TOML file that people write so that all its mistakes come out in one go, each with its place and
//! what to write instead. What the keys mean is known further up: `gateway.toml` in [`crate::config`], the users file
//! in [`crate::login`].
//!
//! [`Document`] holds the file. [`Section`]s are asked for keys by name and type; what is wrong is noted and the answer is
//! then `None`, so that reading goes on. Whatever was never asked for is an unknown key: a section is read to its end
//! before anything is given up. [`Document::finish`] hands out what was noted.
//!
//! ```
//! # use std::time::Duration;
//! # use vestibule::reader::Document;
//! let document = Document::parse("gateway.toml", "[session.lifetime]\nidel = \"30m\"");
//! let lifetime = document.root().section_or_empty("session").section_or_empty("lifetime");
//! let idle = lifetime.duration("idle").unwrap_or(Duration::from_secs(1800));
//! let mistakes = document.finish().expect_err("a key that nobody asked for");
//! assert_eq!(mistakes.list()[0].help.as_deref(), Some("did you mean \"idle\"?"));
//! ```

pub mod mistake;

mod secret;
mod section;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod written;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use section::Section;
pub use suggest::{either, nearest};
pub use written::{Line, Lines, Written};

use crate::base::secret::Secret;
use crate::base::stamp::Seen;
use mistake::{Mistake, Mistakes};
use tree::{Kind, Node, Table};

/// How many mistakes are noted; of unknown keys, as many again. A file with more of them is something else.
const MAX_NOTED: usize = 1000;

/// A value and where it is written, for checks that compare it with something elsewhere in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its place, as a range of bytes in the file.
    pub span: Range<usize>,
}

/// A key or a table that is planned and does not exist yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotYet {
    /// The kind of table it belongs in, as in [`Document::known_keys`]; empty for the top of the file.
    pub table: &'static str,
    /// Its name.
    pub key: &'static str,
    /// What to do now.
    pub help: &'static str,
}

/// A file: what is written in it, and what was found wrong with it so far.
pub struct Document {
    file: PathBuf,
    source: String,
    root: Table,
    /// Mistakes of the TOML itself.
    syntax: Vec<Mistake>,
    notes: RefCell<Notes>,
}

/// What reading leaves behind.
#[derive(Default)]
struct Notes {
    mistakes: Vec<Mistake>,
    /// What is planned.
    not_yet: &'static [NotYet],
    /// Where secrets were written in place.
    hidden: Vec<Range<usize>>,
    /// The keys of secrets, by the kind of their table, each with what to do when one is not written as it should be.
    secrets: BTreeMap<(String, String), &'static str>,
    /// What is wrong with other files that this one names.
    others: Vec<Mistakes>,
    /// The files that were read, each as it was before.
    files: Vec<Seen>,
    /// The keys that were asked for, by their table's id.
    asked: HashSet<(usize, String)>,
    /// The keys that were asked for, by the kind of their table, like `route[]`.
    known: BTreeMap<String, BTreeSet<String>>,
    /// The kind of every table that was opened as a section, by the table's id.
    opened: HashMap<usize, String>,
}

impl Document {
    /// Reads and parses `file`. A broken file gives a document too; its mistakes come with [`Document::finish`]. `if_missing`
    /// is what to do when there is no such file.
    ///
    /// # Errors
    /// One mistake, when the file cannot be read at all: it is missing, above `most` bytes, or not UTF-8.
    pub fn load(file: &Path, most: u64, if_missing: &str) -> Result<Self, Mistakes> {
        let whole = |message: String, help: &str| Mistakes::whole_file(file, message, help);
        let seen = Seen::now(file);
        let mut bytes = Vec::new();
        File::open(file).and_then(|opened| opened.take(most + 1).read_to_end(&mut bytes)).map_err(|error| {
            let kind = error.kind();
            let help = if kind == ErrorKind::NotFound {
                if_missing
            } else if kind == ErrorKind::PermissionDenied {
                "let the user that this runs as read it: make it theirs with chown, or their group's with chgrp and chmod g+r"
            } else {
                ""
            };
            whole(format!("the file cannot be read: {error}"), help)
        })?;
        if bytes.len() as u64 > most {
            return Err(whole(format!("the file is larger than {} MiB", most >> 20), ""));
        }
        let source = String::from_utf8(bytes).map_err(|error| {
            let start = error.utf8_error().valid_up_to();
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let end = start + char::REPLACEMENT_CHARACTER.len_utf8();
            let mistake = Mistake::new(Some(start..end), "this byte is not UTF-8 text", "save the file as UTF-8");
            Mistakes::new(file, lossy, vec![mistake])
        })?;
        let document = Self::parse(file, &source);
        document.notes.borrow_mut().files.push(seen);
        Ok(document)
    }

    /// Parses `source` as if it had been read from `file`, which need not exist. How long it may be is for the caller to say.
    pub fn parse(file: impl Into<PathBuf>, source: &str) -> Self {
        // A byte order mark is not a part of the text.
        let source = source.strip_prefix('\u{feff}').unwrap_or(source).to_owned();
        let (root, syntax) = syntax::parse(&source);
        let notes = Notes { opened: HashMap::from([(root.id, String::new())]), ..Notes::default() };
        Self { file: file.into(), source, root, syntax, notes: RefCell::new(notes) }
    }

    /// The section of everything before the first `[header]`, in which all other sections are.
    pub fn root(&self) -> Section<'_> {
        Section::new(self, &self.root, String::new(), String::new())
    }

    /// The folder of the file; relative paths in it are meant from here.
    pub fn folder(&self) -> &Path {
        self.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// The line that a place is in, counted from 1, for a mistake that has to do with another place.
    pub fn line(&self, span: &Range<usize>) -> usize {
        let before = &self.source.as_bytes()[..span.start.min(self.source.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// Whether all of the file is TOML. If not, something may be absent only because its line could not be read, and a
    /// check that something is there should be left out.
    pub const fn is_whole(&self) -> bool {
        self.syntax.is_empty()
    }

    /// Notes a mistake at `span`, or about the file as a whole. An empty `help` is none.
    pub fn mistake(&self, span: Option<Range<usize>>, message: impl Into<String>, help: impl Into<String>) {
        self.note(Mistake::new(span, message, help));
    }

    /// Notes a mistake that was made elsewhere.
    pub fn note(&self, mistake: Mistake) {
        let mut notes = self.notes.borrow_mut();
        if notes.mistakes.len() < MAX_NOTED {
            notes.mistakes.push(mistake);
        }
    }

    /// Notes what is wrong with another file that this one names, be it several times.
    pub fn other_file(&self, mistakes: Mistakes) {
        let others = &mut self.notes.borrow_mut().others;
        if others.iter().all(|other| other.file() != mistakes.file()) {
            others.push(mistakes);
        }
    }

    /// Notes that another file is read because of this one, as it is now: to be called before it is read.
    pub fn reads(&self, file: &Path) {
        self.notes.borrow_mut().files.push(Seen::now(file));
    }

    /// The files that were read, this one among them if it was, each as it was before.
    pub fn files(&self) -> Vec<Seen> {
        self.notes.borrow().files.clone()
    }

    /// Makes `key` in tables of `kind` a secret's: what is written behind it is never shown, also where it is in the wrong
    /// place or no TOML. `help` is what to do then.
    pub fn conceal(&self, kind: &str, key: &str, help: &'static str) {
        self.notes.borrow_mut().secrets.insert((kind.to_owned(), key.to_owned()), help);
    }

    /// Keys and tables that are told from misspelt ones, should they be written.
    pub fn not_yet(&self, planned: &'static [NotYet]) {
        self.notes.borrow_mut().not_yet = planned;
    }

    /// Every key that was asked for, with its path: `server.listen`, `route[].path`, `roles.*.idle`.
    pub fn known_keys(&self) -> BTreeSet<String> {
        let notes = self.notes.borrow();
        notes.known.iter().flat_map(|(kind, keys)| keys.iter().map(|key| join(kind, key))).collect()
    }

    /// Every key that is written in the sections that were opened, in the form of [`Document::known_keys`].
    pub fn written_keys(&self) -> BTreeSet<String> {
        let notes = self.notes.borrow();
        let mut written = BTreeSet::new();
        self.root.for_each(&mut |table| {
            let Some(kind) = notes.opened.get(&table.id) else { return };
            let free = notes.known.get(kind).is_some_and(|keys| keys.contains("*"));
            written.extend(table.entries.keys().map(|key| join(kind, if free { "*" } else { key })));
        });
        written
    }

    /// Ends the reading: every key that was never asked for becomes a mistake as well.
    ///
    /// # Errors
    /// All mistakes of the file, if there are any. Consequences of a line that is not TOML are left out.
    pub fn finish(&self) -> Result<(), Mistakes> {
        let mut notes = self.notes.borrow_mut();
        let unknown = self.unknown_keys(&mut notes);
        let line = |mistake: &Mistake| mistake.span.as_ref().map(|span| syntax::line_at(&self.source, span.start));
        let broken: HashSet<_> = self.syntax.iter().map(line).collect();
        let syntax: Vec<Mistake> = self.syntax.iter().map(|mistake| self.discreet(mistake, &mut notes)).collect();
        let read = notes.mistakes.iter().cloned().chain(unknown);
        let read = read.filter(|mistake| mistake.span.is_none() || !broken.contains(&line(mistake)));
        let list: Vec<Mistake> = syntax.into_iter().chain(read).collect();
        if list.is_empty() && notes.others.is_empty() {
            return Ok(());
        }
        let own = Mistakes::new(self.file.clone(), self.source.clone(), list).hiding(notes.hidden.clone());
        Err(own.with_others(notes.others.clone()))
    }

    /// `mistake`, or one that quotes nothing when its line holds what may be a secret. Such a line may not even be a key
    /// and a value, so whatever follows the name of a secret is hidden.
    fn discreet(&self, mistake: &Mistake, notes: &mut Notes) -> Mistake {
        let Some(span) = &mistake.span else { return mistake.clone() };
        let line = syntax::line_at(&self.source, span.start);
        let text = &self.source[line.clone()];
        let names = notes.secrets.iter().map(|((_, key), help)| (key.as_str(), *help));
        let found = names.filter_map(|(key, help)| text.find(key).map(|at| (at + key.len(), help)));
        let found = found.min_by_key(|(after, _)| *after);
        if let Some((after, _)) = found {
            notes.hidden.push(line.start + after..line.end);
        }
        let meets = |hidden: &Range<usize>| hidden.start <= span.end && span.start <= hidden.end;
        if notes.hidden.iter().any(meets) {
            let help = found.map(|(_, help)| help).or_else(|| notes.secrets.values().next().copied());
            let message = "this secret is not written as it should be";
            return Mistake::new(Some(span.clone()), message, help.unwrap_or_default());
        }
        mistake.clone()
    }

    fn unknown_keys(&self, notes: &mut Notes) -> Vec<Mistake> {
        let mut unknown = Vec::new();
        let mut hidden = Vec::new();
        self.root.for_each(&mut |table| {
            let Some(kind) = notes.opened.get(&table.id) else { return };
            for (key, entry) in &table.entries {
                if unknown.len() >= MAX_NOTED || notes.asked.contains(&(table.id, key.clone())) {
                    continue;
                }
                if notes.may_be_secret(kind, key) {
                    entry.value.all_spans(&mut hidden);
                }
                let form = suggest::Form::of(&entry.value.kind);
                let planned = notes.not_yet.iter().find(|planned| planned.table == kind && planned.key == key);
                let (message, help) = match planned {
                    Some(planned) => (suggest::planned(kind, key, form), planned.help.to_owned()),
                    None => suggest::unknown(&notes.known, kind, key, form),
                };
                unknown.push(Mistake::new(Some(entry.key.clone()), message, help));
            }
        });
        notes.hidden.extend(hidden);
        unknown
    }
}

impl Notes {
    /// Whether an unknown key may be a secret's: misspelt, in the wrong place, or beside one.
    fn may_be_secret(&self, kind: &str, key: &str) -> bool {
        let names = self.secrets.keys().map(|(_, name)| name.as_str());
        self.secrets.keys().any(|(place, _)| place == kind) || suggest::nearest(key, names).is_some()
    }
}

impl Table {
    /// Calls `see` with this table and every table in it.
    fn for_each(&self, see: &mut dyn FnMut(&Self)) {
        see(self);
        self.entries.values().for_each(|entry| entry.value.for_each(see));
    }
}

impl Node {
    fn for_each(&self, see: &mut dyn FnMut(&Table)) {
        match &self.kind {
            Kind::Table(table) => table.for_each(see),
            Kind::Tables(tables) => tables.iter().for_each(|table| table.for_each(see)),
            Kind::List(nodes) => nodes.iter().for_each(|node| node.for_each(see)),
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => {}
        }
    }
}

/// The secret that `reference` leads to, which is `env:NAME` or `file:PATH`, from `folder`.
///
/// # Errors
/// A sentence that says what to do. The reference itself is not repeated: it may be the secret.
pub fn secret_of(reference: &str, folder: &Path) -> Result<Secret<String>, String> {
    secret::resolve(reference, folder).map_err(|refusal| match refusal {
        secret::Refusal::NotAReference => format!("this must not be the secret itself: {}", secret::HOW),
        secret::Refusal::Unresolved(message, help) if help.is_empty() => message,
        secret::Refusal::Unresolved(message, _) if reference.starts_with("env:") => {
            format!("{message}; set it where this command is run")
        }
        secret::Refusal::Unresolved(message, help) => format!("{message}; {help}"),
    })
}

/// `path.key`, or `key` alone at the root.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
