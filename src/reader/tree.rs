//! The parsed file as a tree of our own: owned, with the place of every key and every value.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table: `[server]`, one `[[route]]`, or `{ … }`.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Tells tables of one document apart; the root is 0.
    pub(super) id: usize,
    /// The header, the braces and what is between them, or the key that brought the table about; empty for the root.
    pub(super) span: Range<usize>,
    /// Whether it is written in braces.
    pub(super) inline: bool,
    /// What is in it.
    pub(super) entries: BTreeMap<String, Entry>,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The place of the key.
    pub(super) key: Range<usize>,
    /// The value.
    pub(super) value: Node,
}

/// A value and its place.
#[derive(Debug)]
pub(super) struct Node {
    /// The place of the value; for tables, of the header.
    pub(super) span: Range<usize>,
    /// The value.
    pub(super) kind: Kind,
}

impl Node {
    /// The table that it is, if it is one.
    pub(super) fn as_table(&self) -> Option<&Table> {
        match &self.kind {
            Kind::Table(table) => Some(table),
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => None,
            Kind::List(_) | Kind::Tables(_) => None,
        }
    }
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A text in quotes.
    Text(String),
    /// A whole number; `None` beyond 128 bits.
    Integer(Option<i128>),
    /// A number with a fraction.
    Float,
    /// `true` or `false`.
    Bool(bool),
    /// A date or a time.
    Date,
    /// `[ … ]`.
    List(Vec<Node>),
    /// `[[name]]`, all of them.
    Tables(Vec<Table>),
    /// `[name]`, `{ … }` or a dotted key's beginning.
    Table(Table),
}

impl Kind {
    /// What it is called in a message.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) | Self::Float => "a number",
            Self::Bool(_) => "true or false",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Tables(_) => "a list of tables",
            Self::Table(_) => "a table",
        }
    }
}

impl Table {
    /// Copies the parser's tree. The depth is bounded by the parser's own limit on nesting.
    pub(super) fn new(root: &DeTable<'_>, source: &str) -> Self {
        Builder { source, next_id: 0 }.table(root, 0..0)
    }

    /// The values written at `offset`, the outermost first. Tables with a header are looked through, not counted.
    pub(super) fn values_at(&self, offset: usize) -> Vec<&Node> {
        let mut found = Vec::new();
        self.collect_at(offset, &mut found);
        found
    }

    fn collect_at<'a>(&'a self, offset: usize, found: &mut Vec<&'a Node>) {
        self.entries.values().for_each(|entry| entry.value.collect_at(offset, found));
    }

    /// The last place before `before` where `name` is written as a key outside of braces.
    pub(super) fn key_before(&self, name: &str, before: usize) -> Option<Range<usize>> {
        let mut best: Option<Range<usize>> = None;
        let mut consider = |span: Option<Range<usize>>| {
            if let Some(span) = span
                && span.start < before
                && best.as_ref().is_none_or(|best| best.start < span.start)
            {
                best = Some(span);
            }
        };
        for (key, entry) in &self.entries {
            consider((key == name).then(|| entry.key.clone()));
            match &entry.value.kind {
                Kind::Table(table) if !table.inline => consider(table.key_before(name, before)),
                Kind::Tables(tables) => tables.iter().for_each(|table| consider(table.key_before(name, before))),
                Kind::Table(_) | Kind::Text(_) | Kind::Integer(_) | Kind::Float => {}
                Kind::Bool(_) | Kind::Date | Kind::List(_) => {}
            }
        }
        best
    }
}

impl Node {
    fn collect_at<'a>(&'a self, offset: usize, found: &mut Vec<&'a Self>) {
        let inside = self.span.start <= offset && offset <= self.span.end;
        match &self.kind {
            Kind::Table(table) if !table.inline => table.collect_at(offset, found),
            Kind::Tables(tables) => tables.iter().for_each(|table| table.collect_at(offset, found)),
            Kind::Table(table) if inside => {
                found.push(self);
                table.collect_at(offset, found);
            }
            Kind::List(nodes) if inside => {
                found.push(self);
                nodes.iter().for_each(|node| node.collect_at(offset, found));
            }
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date if inside => found.push(self),
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => {}
            Kind::Table(_) | Kind::List(_) => {}
        }
    }

    /// The places of this value and of everything in it.
    pub(super) fn all_spans(&self, spans: &mut Vec<Range<usize>>) {
        match &self.kind {
            Kind::Table(table) => table.all_spans(spans),
            Kind::Tables(tables) => tables.iter().for_each(|table| table.all_spans(spans)),
            Kind::List(_) | Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date => {
                spans.push(self.span.clone());
            }
        }
    }
}

impl Table {
    fn all_spans(&self, spans: &mut Vec<Range<usize>>) {
        self.entries.values().for_each(|entry| entry.value.all_spans(spans));
    }
}

struct Builder<'s> {
    source: &'s str,
    next_id: usize,
}

impl Builder<'_> {
    fn table(&mut self, table: &DeTable<'_>, span: Range<usize>) -> Table {
        let id = self.next_id;
        self.next_id += 1;
        let inline = self.source.get(span.clone()).is_some_and(|text| text.starts_with('{'));
        let entries = table
            .iter()
            .map(|(key, value)| {
                let entry = Entry { key: key.span(), value: self.node(value, &key.span()) };
                (key.get_ref().to_string(), entry)
            })
            .collect();
        Table { id, span, inline, entries }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>, key: &Range<usize>) -> Node {
        let span = value.span();
        let kind = match value.get_ref() {
            DeValue::String(text) => Kind::Text(text.to_string()),
            DeValue::Integer(number) => Kind::Integer(i128::from_str_radix(number.as_str(), number.radix()).ok()),
            DeValue::Float(_) => Kind::Float,
            DeValue::Boolean(value) => Kind::Bool(*value),
            DeValue::Datetime(_) => Kind::Date,
            DeValue::Table(table) => Kind::Table(self.table(table, span.clone())),
            // A header holds its key, while a list stands after its key.
            DeValue::Array(items) if key.start >= span.start && key.end <= span.end => {
                let tables = items.iter().filter_map(|item| Some((item.get_ref().as_table()?, item.span())));
                Kind::Tables(tables.map(|(table, span)| self.table(table, span)).collect())
            }
            DeValue::Array(items) => Kind::List(items.iter().map(|item| self.node(item, key)).collect()),
        };
        Node { span, kind }
    }
}
