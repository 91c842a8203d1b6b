//! Where a key is written, for whoever tells later what came of it. Only the text is kept; it is read again when somebody
//! asks, which is seldom.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::tree::{Entry, Kind, Table};
use super::{Document, join, syntax};
use crate::base::units;

/// The longest text of a line that is shown, in characters: what is longer is a list, and its beginning says which.
const LONGEST_SHOWN: usize = 100;

/// A file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Written {
    file: PathBuf,
    text: Arc<str>,
}

/// The text is a configuration's, and says nothing to whoever looks at the plan that was made of it.
impl Debug for Written {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Written")
    }
}

/// A key where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Which line that is, counted from 1.
    pub number: usize,
    /// The key and its value, or a table's header, on one line.
    pub text: String,
}

/// Every key of a file, by its path: `session.lifetime.idle`, `route[2].path` (counted from 0), `roles.admin.idle`. Tables
/// are there by theirs.
pub struct Lines<'a> {
    text: &'a str,
    spans: BTreeMap<String, Range<usize>>,
    /// The values that are texts.
    texts: BTreeMap<String, String>,
}

impl Written {
    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All that is written in it.
    pub fn lines(&self) -> Lines<'_> {
        let (root, _) = syntax::parse(&self.text);
        let mut lines = Lines { text: &self.text, spans: BTreeMap::new(), texts: BTreeMap::new() };
        lines.collect(&root, "");
        lines
    }
}

impl Lines<'_> {
    /// Which of the tables `[[kind]]` has this text under `key`, counted from 0.
    pub fn place_of(&self, kind: &str, key: &str, text: &str) -> Option<usize> {
        let is_there = |place: &usize| self.spans.contains_key(&format!("{kind}[{place}]"));
        let is_it = |place: &usize| self.texts.get(&format!("{kind}[{place}].{key}")).is_some_and(|own| own == text);
        (0..).take_while(is_there).find(is_it)
    }

    /// The first of these keys that is written and says this time: of several that may hold, the one that does.
    pub fn saying<'k>(&self, keys: &'k [String], span: Duration) -> Option<&'k str> {
        let says = |key: &&String| self.texts.get(*key).is_some_and(|text| units::duration(text) == Ok(span));
        keys.iter().find(says).map(String::as_str)
    }

    /// Where a key is written, if it is.
    pub fn find(&self, path: &str) -> Option<Line> {
        let span = self.spans.get(path)?;
        let before = self.text.as_bytes().get(..span.start)?;
        let number = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let whole = self.text.get(span.clone())?.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut text: String = whole.chars().take(LONGEST_SHOWN).collect();
        if text.len() < whole.len() {
            text.push('…');
        }
        Some(Line { number, text })
    }

    fn collect(&mut self, table: &Table, path: &str) {
        for (key, Entry { key: at, value }) in &table.entries {
            let path = join(path, key);
            match &value.kind {
                Kind::Table(inner) => {
                    self.spans.insert(path.clone(), value.span.clone());
                    self.collect(inner, &path);
                }
                Kind::Tables(all) => all.iter().enumerate().for_each(|(place, one)| {
                    let path = format!("{path}[{place}]");
                    self.spans.insert(path.clone(), one.span.clone());
                    self.collect(one, &path);
                }),
                Kind::List(items) if !items.is_empty() && items.iter().all(|item| item.as_table().is_some()) => {
                    items.iter().filter_map(|item| item.as_table()).enumerate().for_each(|(place, one)| {
                        let path = format!("{path}[{place}]");
                        self.spans.insert(path.clone(), one.span.clone());
                        self.collect(one, &path);
                    });
                }
                Kind::Text(text) => {
                    self.texts.insert(path.clone(), text.clone());
                    self.spans.insert(path, at.start..value.span.end.max(at.end));
                }
                Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) => {
                    self.spans.insert(path, at.start..value.span.end.max(at.end));
                }
            }
        }
    }
}

impl Document {
    /// The file as it was read, for whoever asks later where something is written.
    pub fn written(&self) -> Written {
        Written { file: self.file.clone(), text: self.source.as_str().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_where_it_is() {
        let text = "profile = \"x\" # why\n[session.lifetime]\nidle = \"5m\"\n[[route]]\npath = \"/\"\n[[route]]\n\
                    roles = [\n  \"a\",\n  \"b\",\n]\n[roles.admin]\nidle = \"1m\"\n[session]\ncookie = { path = \"/x\" }\n";
        let written = Document::parse("gateway.toml", text).written();
        let lines = written.lines();
        let found = |path: &str| lines.find(path).map(|Line { number, text }| (number, text));
        let at = |number: usize, text: &str| Some((number, text.to_owned()));
        assert_eq!(found("profile"), at(1, "profile = \"x\""));
        assert_eq!(found("session.lifetime"), at(2, "[session.lifetime]"));
        assert_eq!(found("session.lifetime.idle"), at(3, "idle = \"5m\""));
        assert_eq!(found("route[0].path"), at(5, "path = \"/\""));
        assert_eq!(found("route[1]"), at(6, "[[route]]"));
        assert_eq!(found("route[1].roles"), at(7, "roles = [ \"a\", \"b\", ]"));
        assert_eq!(found("roles.admin.idle"), at(12, "idle = \"1m\""));
        assert_eq!(found("session.cookie.path"), at(14, "path = \"/x\""));
        assert_eq!((found("route[2]"), found("session.lifetime.absolute")), (None, None));
        let text =
            "[[tenant]]\nname = \"a\"\n[tenant.session.lifetime]\nidle = \"90s\"\n[[tenant]]\nname = 'b'\nhosts = []\n";
        let written = Document::parse("gateway.toml", text).written();
        let lines = written.lines();
        let place = |name: &str| lines.place_of("tenant", "name", name);
        assert_eq!((place("a"), place("b"), place("c")), (Some(0), Some(1), None));
        let keys = ["tenant[1].session.lifetime.idle", "tenant[0].session.lifetime.idle"].map(str::to_owned);
        assert_eq!(lines.saying(&keys, Duration::from_secs(90)), Some("tenant[0].session.lifetime.idle"));
        assert_eq!(lines.saying(&keys, Duration::from_secs(91)), None);
        let long = format!("title = \"{}\"", "é".repeat(200));
        let written = Document::parse("gateway.toml", &long).written();
        let shown = written.lines().find("title").expect("it is there").text;
        assert!(shown.ends_with('…') && shown.chars().count() == LONGEST_SHOWN + 1, "{shown}");
    }
}
