//! A table of the configuration, asked for its keys one by one.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mistake::Mistake;
use super::suggest::{either, meant, nearest};
use super::syntax::line_at;
use super::tree::{Entry, Kind, Node, Table};
use super::{Document, Located, join};
use crate::base::units::{self, Rate};

mod secrets;

/// A table: `[server]`, one `[[route]]`, or one that is not written and therefore empty.
///
/// Every method that takes a key makes it known. A value of the wrong type is noted as a mistake, and is then absent.
#[derive(Clone)]
pub struct Section<'a> {
    document: &'a Document,
    /// `None` when it is not written.
    table: Option<&'a Table>,
    /// The kind of table, for all of its kind: `route[]`, `roles.*`.
    kind: String,
    /// The name of this one as its header has it: `route`, `roles.admin`.
    name: String,
}

impl<'a> Section<'a> {
    pub(super) fn new(document: &'a Document, table: &'a Table, kind: String, name: String) -> Self {
        document.notes.borrow_mut().opened.insert(table.id, kind.clone());
        Self { document, table: Some(table), kind, name }
    }

    /// The document this is a part of.
    pub const fn document(&self) -> &'a Document {
        self.document
    }

    /// The dotted path of this kind of section, as in [`Document::known_keys`].
    pub fn path(&self) -> &str {
        &self.kind
    }

    /// The place of the section's header; `None` for the root and for a section that is not written.
    pub fn span(&self) -> Option<Range<usize>> {
        self.table.filter(|table| table.id != 0).map(|table| table.span.clone())
    }

    /// The place of a key's value, or of the section if it is not set. Does not make the key known.
    pub fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.peek(key).map(|entry| entry.value.span.clone()).or_else(|| self.span())
    }

    /// Whether the key is set, to anything. Makes it known.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Makes keys known without reading them: when it cannot be told whether they mean something here.
    pub fn know(&self, keys: &[&str]) -> &Self {
        for key in keys {
            self.get(key);
        }
        self
    }

    /// Makes keys known that mean something beside another value, but nothing here: each that is set is a mistake.
    pub fn unused(&self, keys: &[&str]) -> &Self {
        let mut notes = self.document.notes.borrow_mut();
        notes.known.entry(self.kind.clone()).or_default().extend(keys.iter().map(|key| (*key).to_owned()));
        self
    }

    /// Notes that `key` is missing, if it is. `example` is the line to add, like `path = "/admin"`, or the lines of a whole
    /// table with its header.
    pub fn require(&self, key: &str, example: &str) -> &Self {
        if self.get(key).is_some() || !self.document.is_whole() {
            return self;
        }
        let table = example.lines().next().filter(|line| line.starts_with('['));
        let message = table.map_or_else(|| self.missing(key), |table| format!("{table} is missing"));
        // A whole table may stand anywhere but between the lines of another, so the end of the file is always right.
        let lines = match self.header() {
            Some(header) if !self.has_place() => Some(format!("{header}\n{example}")),
            Some(_) | None => table.map(|_| example.to_owned()),
        };
        let mistake = |help: &str| Mistake::new(self.span(), message, help);
        self.document.note(match lines {
            Some(lines) => mistake("add at the end of the file:").with_lines(lines),
            None => mistake(&format!("add {example}")),
        });
        self
    }

    /// Whether a line can be added to the section where it is written. A table that is not written, or only there because
    /// of the header of a table in it, has no such place.
    fn has_place(&self) -> bool {
        let Some(table) = self.table else { return false };
        let source = &self.document.source;
        let at = table.span.start.min(source.len());
        let is_own = source[at..].starts_with(['[', '{']);
        is_own || !source[line_at(source, at)].trim_start().starts_with('[')
    }

    /// The header of the section as it is written; `None` for the root.
    fn header(&self) -> Option<String> {
        let name = &self.name;
        (!name.is_empty()).then(|| if self.kind.ends_with("[]") { format!("[[{name}]]") } else { format!("[{name}]") })
    }

    fn missing(&self, key: &str) -> String {
        let place = self.header().map(|header| format!(" in {header}"));
        format!("\"{key}\" is missing{}", place.unwrap_or_default())
    }

    /// Notes a mistake at `span`. An empty `help` is none.
    pub fn mistake(&self, span: &Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        self.document.mistake(Some(span.clone()), message, help);
    }

    /// Notes a mistake at a key's value, or at the section if it is not set.
    pub fn mistake_at(&self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        self.document.mistake(self.span_of(key), message, help);
    }

    /// A text.
    pub fn str(&self, key: &str) -> Option<String> {
        self.text(key, "a text", "").map(|(text, _)| text.to_owned())
    }

    /// A text and its place.
    pub fn located(&self, key: &str) -> Option<Located<String>> {
        self.text(key, "a text", "").map(|(text, span)| Located { value: text.to_owned(), span })
    }

    /// A path; a relative one is meant from the folder of the file.
    pub fn path_to(&self, key: &str) -> Option<PathBuf> {
        self.parsed(key, |text| {
            if text.is_empty() {
                Err("the path is empty; write the path of a file".to_owned())
            } else {
                let path = self.document.folder().join(text);
                // Shown as it is written, where that is the same.
                Ok(if path == Path::new(".").join(text) { text.into() } else { path })
            }
        })
    }

    /// `true` or `false`.
    pub fn bool(&self, key: &str) -> Option<bool> {
        let value = &self.get(key)?.value;
        let (said, end) = match &value.kind {
            Kind::Bool(value) => return Some(*value),
            Kind::Text(text) => (meant(text), " without quotes"),
            Kind::Integer(_) => (meant(self.written(value)), ""),
            Kind::Float | Kind::Date | Kind::List(_) | Kind::Tables(_) | Kind::Table(_) => (None, ""),
        };
        let said = said.map_or("true or false", |said| if said { "true" } else { "false" });
        self.wrong(key, value, "true or false", format!("write {said}{end}"))
    }

    /// A whole number within `range`, both ends included.
    pub fn integer<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.number(key, &range, "")
    }

    /// The same, or nought for none.
    pub fn integer_or_none<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.number(key, &range, ", or 0 for none")
    }

    /// A whole number within `range`; where nought stands for none, `or_none` says so.
    fn number<T>(&self, key: &str, range: &RangeInclusive<T>, or_none: &str) -> Option<T>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let value = &self.get(key)?.value;
        let bounds = format!("write a whole number from {} to {}{or_none}", range.start(), range.end());
        let Kind::Integer(number) = &value.kind else {
            let help = match &value.kind {
                Kind::Text(text) if text.parse::<i128>().is_ok() => "write it without quotes".to_owned(),
                Kind::Text(text) if !or_none.is_empty() && meant(text) == Some(false) => "write 0".to_owned(),
                Kind::Bool(false) if !or_none.is_empty() => "write 0".to_owned(),
                Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => bounds,
                Kind::List(_) | Kind::Tables(_) | Kind::Table(_) => bounds,
            };
            return self.wrong(key, value, "a whole number", help);
        };
        let fits = number.and_then(|number| {
            let is_none = number == 0 && !or_none.is_empty();
            T::try_from(number).ok().filter(|value| is_none || range.contains(value))
        });
        if fits.is_none() {
            self.mistake(&value.span, format!("{} is out of range", self.written(value)), bounds);
        }
        fits
    }

    /// A duration, like `"30m"`.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        const HELP: &str = "write a number and a unit in quotes, like \"90s\", \"30m\", \"12h\" or \"7d\"";
        self.converted(key, "a duration", HELP, units::duration)
    }

    /// A size in bytes, like `"64KiB"`.
    pub fn size(&self, key: &str) -> Option<u64> {
        const HELP: &str = "write a number and a unit in quotes, like \"512B\", \"64KiB\" or \"10MiB\"";
        self.converted(key, "a size", HELP, units::size)
    }

    /// A rate, like `"100/s"`; the inner `None` is `"off"`.
    pub fn rate(&self, key: &str) -> Option<Option<Rate>> {
        self.converted(key, "a rate", "write it in quotes, like \"100/s\", \"10/m\" or \"off\"", units::rate)
    }

    /// One of a few words.
    pub fn one_of<T: Clone>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let words = || choices.iter().map(|(word, _)| *word);
        let all = either(words());
        let (text, span) = self.text(key, "a text", &format!("write {all}"))?;
        let found = choices.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let help = match nearest(text, words()) {
                Some(near) if choices.len() > 1 => format!("did you mean \"{near}\"? It can be {all}"),
                Some(_) | None => format!("write {all}"),
            };
            self.mistake(&span, format!("\"{key}\" cannot be \"{text}\""), help);
        }
        found.map(|(_, value)| value.clone())
    }

    /// A text that `read` makes something of. Its error is a sentence; what follows its last semicolon is the help.
    pub fn parsed<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.converted(key, "a text", "", read)
    }

    /// As [`Section::parsed`], with the place.
    pub fn parsed_located<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Located<T>> {
        let value = self.parsed(key, read)?;
        Some(Located { value, span: self.span_of(key)? })
    }

    /// A list of texts, each with its place. Elements that are no text are left out.
    pub fn strings(&self, key: &str) -> Option<Vec<Located<String>>> {
        self.parsed_list(key, |text| Ok(text.to_owned()))
    }

    /// Whether the key is set to a list that is written without anything in it. One whose every entry was refused is
    /// not: what is wrong with it has been said. Does not make the key known.
    pub fn is_written_empty(&self, key: &str) -> bool {
        self.peek(key).is_some_and(|entry| matches!(&entry.value.kind, Kind::List(items) if items.is_empty()))
    }

    /// A list of texts that `read` makes something of, each with its place. What it refuses is left out.
    pub fn parsed_list<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<Located<T>>> {
        self.parsed_list_or_none(key, "", read)
    }

    /// The same, of a list that may be empty: `example` is one that is not.
    pub fn parsed_list_or_none<T>(
        &self,
        key: &str,
        example: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Located<T>>> {
        let value = &self.get(key)?.value;
        let Kind::List(items) = &value.kind else {
            let may_be_empty = !example.is_empty();
            let help = match &value.kind {
                Kind::Text(text) if !may_be_empty || read(text).is_ok() => format!("write [{}]", self.written(value)),
                Kind::Text(text) if meant(text) == Some(false) => "write []".to_owned(),
                Kind::Bool(false) if may_be_empty => "write []".to_owned(),
                Kind::Tables(_) | Kind::Table(_) => format!("write {key} = [\"…\"]"),
                Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) => {
                    if may_be_empty {
                        format!("write {example}, or [] for none")
                    } else {
                        String::new()
                    }
                }
            };
            return self.wrong(key, value, "a list of texts", help);
        };
        let read_item = |item: &Node| {
            let Kind::Text(text) = &item.kind else {
                return self.wrong(key, item, "a list of texts", self.in_quotes(item));
            };
            let value = self.convert(&item.span, text, &read)?;
            Some(Located { value, span: item.span.clone() })
        };
        Some(items.iter().filter_map(read_item).collect())
    }

    /// A text that `read` makes something of and that is never shown, as [`Document::conceal`] has it. `help` is what to do
    /// when it is missing or wrong; the error of `read` says why, and must not repeat the text.
    pub fn concealed<T>(&self, key: &str, help: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let Some(entry) = self.get(key) else {
            if self.document.is_whole() {
                self.document.mistake(self.span(), self.missing(key), help);
            }
            return None;
        };
        entry.value.all_spans(&mut self.document.notes.borrow_mut().hidden);
        let Kind::Text(text) = &entry.value.kind else {
            return self.wrong(key, &entry.value, "a text", help.to_owned());
        };
        read(text).map_err(|message| self.mistake(&entry.value.span, message, help)).ok()
    }

    /// A section in this one; `None` when it is not written.
    pub fn section(&self, key: &str) -> Option<Self> {
        self.document.notes.borrow_mut().known.entry(join(&self.kind, key)).or_default();
        let value = &self.get(key)?.value;
        let name = join(&self.name, key);
        let help = match &value.kind {
            Kind::Table(table) => return Some(Self::new(self.document, table, join(&self.kind, key), name)),
            Kind::Tables(_) => format!("write [{name}] once, with single brackets"),
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) => {
                format!("write [{name}] on a line of its own, and its keys below")
            }
        };
        self.wrong(key, value, "a table", help)
    }

    /// A section in this one, empty when it is not written; its keys are made known either way.
    pub fn section_or_empty(&self, key: &str) -> Self {
        let empty = || Self { table: None, kind: join(&self.kind, key), name: join(&self.name, key), ..self.clone() };
        self.section(key).unwrap_or_else(empty)
    }

    /// All the `[[key]]` sections in this one, in their order.
    pub fn sections(&self, key: &str) -> Vec<Self> {
        let name = join(&self.name, key);
        let kind = format!("{}[]", join(&self.kind, key));
        // Known to be a kind of table, even when there is none.
        self.document.notes.borrow_mut().known.entry(kind.clone()).or_default();
        let Some(entry) = self.get(key) else { return Vec::new() };
        let open = |table| Self::new(self.document, table, kind.clone(), name.clone());
        let help = match &entry.value.kind {
            Kind::Tables(tables) => return tables.iter().map(open).collect(),
            Kind::List(items) => {
                let tables: Option<Vec<_>> = items.iter().map(Node::as_table).collect();
                match tables {
                    Some(tables) => return tables.into_iter().map(open).collect(),
                    None => format!("write [[{name}]] on a line of its own, once for each"),
                }
            }
            Kind::Table(_) => format!("write [[{name}]], with double brackets"),
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => {
                format!("write [[{name}]] on a line of its own, once for each")
            }
        };
        self.wrong::<()>(key, &entry.value, "a list of tables", help);
        Vec::new()
    }

    /// The `[key.NAME]` sections in this one, by name: their names are free.
    pub fn named_sections(&self, key: &str) -> Vec<(Located<String>, Self)> {
        let Some(parent) = self.section(key) else { return Vec::new() };
        let entries = parent.free_entries();
        let open = |(name, entry): (&'a String, &'a Entry)| {
            let full = join(&parent.name, name);
            let Kind::Table(table) = &entry.value.kind else {
                return self.wrong(name, &entry.value, "a table", format!("write [{full}], and its keys below"));
            };
            let section = Self::new(self.document, table, join(&parent.kind, "*"), full);
            Some((Located { value: name.clone(), span: entry.key.clone() }, section))
        };
        entries.into_iter().filter_map(open).collect()
    }

    /// A table whose keys are free and whose values are texts, in the order of the file; empty when it is not written.
    pub fn string_map(&self, key: &str) -> Vec<(Located<String>, Located<String>)> {
        let Some(table) = self.section(key) else { return Vec::new() };
        let read = |(name, entry): (&'a String, &'a Entry)| {
            let Kind::Text(text) = &entry.value.kind else {
                return self.wrong(name, &entry.value, "a text", self.in_quotes(&entry.value));
            };
            let name = Located { value: name.clone(), span: entry.key.clone() };
            Some((name, Located { value: text.clone(), span: entry.value.span.clone() }))
        };
        table.free_entries().into_iter().filter_map(read).collect()
    }

    /// Leaves what was not asked for alone, whatever it is: for a reader of one part of a file that others read whole.
    pub fn leave_the_rest(&self) {
        let _ = self.free_entries();
    }

    /// All entries in the order of the file, every one of them known.
    fn free_entries(&self) -> Vec<(&'a String, &'a Entry)> {
        let mut notes = self.document.notes.borrow_mut();
        notes.known.entry(self.kind.clone()).or_default().insert("*".to_owned());
        let Some(table) = self.table else { return Vec::new() };
        notes.asked.extend(table.entries.keys().map(|name| (table.id, name.clone())));
        let mut entries: Vec<_> = table.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.key.start);
        entries
    }

    fn peek(&self, key: &str) -> Option<&'a Entry> {
        self.table?.entries.get(key)
    }

    fn get(&self, key: &str) -> Option<&'a Entry> {
        let mut notes = self.document.notes.borrow_mut();
        notes.known.entry(self.kind.clone()).or_default().insert(key.to_owned());
        let table = self.table?;
        notes.asked.insert((table.id, key.to_owned()));
        table.entries.get(key)
    }

    fn text(&self, key: &str, expected: &str, help: &str) -> Option<(&'a str, Range<usize>)> {
        let value = &self.get(key)?.value;
        match &value.kind {
            Kind::Text(text) => Some((text, value.span.clone())),
            Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) if help.is_empty() => {
                self.wrong(key, value, expected, self.in_quotes(value))
            }
            Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) => {
                self.wrong(key, value, expected, help.to_owned())
            }
            Kind::Tables(_) | Kind::Table(_) => self.wrong(key, value, expected, format!("write {key} = \"…\"")),
        }
    }

    /// A text that `read` makes something of; `help` is what to do about what is not `expected`.
    pub fn converted<T>(
        &self,
        key: &str,
        expected: &str,
        help: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (text, span) = self.text(key, expected, help)?;
        self.convert(&span, text, &read)
    }

    fn convert<T>(&self, span: &Range<usize>, text: &str, read: &impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let note = |sentence: String| {
            let (message, help) = sentence.rsplit_once("; ").unwrap_or((&sentence, ""));
            self.mistake(span, message, help);
        };
        read(text).map_err(note).ok()
    }

    /// Notes a value of the wrong type.
    fn wrong<T>(&self, key: &str, value: &Node, expected: &str, help: String) -> Option<T> {
        let found = value.kind.name();
        self.mistake(&value.span, format!("\"{key}\" must be {expected}, and this is {found}"), help);
        None
    }

    /// A value as it stands in the file.
    fn written(&self, value: &Node) -> &'a str {
        self.document.source.get(value.span.clone()).unwrap_or_default()
    }

    fn in_quotes(&self, value: &Node) -> String {
        match value.kind {
            Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => format!("write \"{}\"", self.written(value)),
            Kind::Text(_) | Kind::List(_) | Kind::Tables(_) | Kind::Table(_) => String::new(),
        }
    }
}
