//! Where a key is written, for whoever tells later what came of it. Only the text is kept; it is read again when somebody
//! asks, which is seldom.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Entry, Kind, Table};
use super::{Document, join, syntax};

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
}

impl Written {
    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// All that is written in it.
    pub fn lines(&self) -> Lines<'_> {
        let (root, _) = syntax::parse(&self.text);
        let mut spans = BTreeMap::new();
        collect(&root, "", &mut spans);
        Lines { text: &self.text, spans }
    }
}

impl Lines<'_> {
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
}

impl Document {
    /// The file as it was read, for whoever asks later where something is written.
    pub fn written(&self) -> Written {
        Written { file: self.file.clone(), text: self.source.as_str().into() }
    }
}

fn collect(table: &Table, path: &str, spans: &mut BTreeMap<String, Range<usize>>) {
    for (key, Entry { key: at, value }) in &table.entries {
        let path = join(path, key);
        match &value.kind {
            Kind::Table(inner) => {
                spans.insert(path.clone(), value.span.clone());
                collect(inner, &path, spans);
            }
            Kind::Tables(all) => all.iter().enumerate().for_each(|(place, one)| {
                let path = format!("{path}[{place}]");
                spans.insert(path.clone(), one.span.clone());
                collect(one, &path, spans);
            }),
            Kind::List(items) if !items.is_empty() && items.iter().all(|item| item.as_table().is_some()) => {
                items.iter().filter_map(|item| item.as_table()).enumerate().for_each(|(place, one)| {
                    collect(one, &format!("{path}[{place}]"), spans);
                });
            }
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) => {
                spans.insert(path, at.start..value.span.end.max(at.end));
            }
        }
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
        let long = format!("title = \"{}\"", "é".repeat(200));
        let written = Document::parse("gateway.toml", &long).written();
        let shown = written.lines().find("title").expect("it is there").text;
        assert!(shown.ends_with('…') && shown.chars().count() == LONGEST_SHOWN + 1, "{shown}");
    }
}
