//! From text to tree. What is not TOML becomes mistakes in our words, and the rest of the file is still read.
//!
//! The parser stops, or takes the following lines for something else, where a line or a bracket is broken. So the
//! first such place is reported and blanked, and the rest is parsed again: every mistake is found in one go, and none is
//! reported that is only the consequence of another.

use std::ops::Range;

use toml::de::DeTable;

use super::tree::{Kind, Node, Table};
use crate::reader::mistake::{Mistake, char_boundary};

/// How many broken places of a file are repaired to look for more. The whole file is parsed again for each.
const MAX_REPAIRS: usize = 50;

/// How many bytes are parsed again in all, so that a large and utterly broken file is not waited for.
const MAX_REPARSED_BYTES: usize = 8 << 20;

/// How many complaints of the parser are told. To tell one, the file is searched for what it is about.
const MAX_TOLD: usize = 200;

/// How the messages of the parser begin that mean it has lost its place.
const LOST: [&str; 19] = [
    "cannot recurse further",
    "extra `=`",
    "extra assignment",
    "extra comma",
    "invalid inline table element",
    "invalid key-value pair",
    "invalid multi-line",
    "key with no value",
    "missing array opening",
    "missing assignment",
    "missing comma",
    "missing inline table opening",
    "missing key",
    "missing table open",
    "unclosed",
    "unexpected `=`",
    "unexpected content",
    "unexpected key or value",
    "unquoted keys cannot be empty",
];

/// What the parser says, with its place.
struct Complaint {
    span: Range<usize>,
    text: String,
}

impl Complaint {
    fn lost(&self) -> bool {
        LOST.iter().any(|prefix| self.text.starts_with(prefix))
    }
}

/// Reads `source`. The tree holds whatever could be read; it is the whole file only if there are no mistakes.
pub(super) fn parse(source: &str) -> (Table, Vec<Mistake>) {
    let mut text = source.to_owned();
    let mut mistakes = Vec::new();
    let mut repairs = 0;
    let max_repairs = MAX_REPAIRS.min(MAX_REPARSED_BYTES / source.len().max(1));
    loop {
        let (tree, complaints) = parse_once(&text);
        let lost = complaints.iter().position(Complaint::lost).filter(|_| repairs < max_repairs);
        let Some(lost) = lost else {
            for complaint in complaints.iter().take(MAX_TOLD) {
                let mistake = describe(&text, &tree, complaint);
                if !mistakes.iter().any(|other| same_line(source, other, &mistake)) {
                    mistakes.push(mistake);
                }
            }
            return (tree, mistakes);
        };
        let (mistake, region) = repair(&text, &tree, &complaints, &complaints[lost]);
        mistakes.push(mistake);
        repairs = if blank(&mut text, region) { repairs + 1 } else { max_repairs };
    }
}

fn parse_once(text: &str) -> (Table, Vec<Complaint>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let complaint = |error: toml::de::Error| {
        let span = error.span().unwrap_or(text.len()..text.len());
        Complaint { span, text: error.message().to_owned() }
    };
    let mut complaints: Vec<Complaint> = errors.into_iter().map(complaint).collect();
    complaints.sort_by_key(|complaint| complaint.span.start);
    (Table::new(table.get_ref(), text), complaints)
}

fn same_line(source: &str, one: &Mistake, other: &Mistake) -> bool {
    let line = |mistake: &Mistake| mistake.span.as_ref().map(|span| line_at(source, span.start).start);
    line(one) == line(other)
}

/// What to report for a place where the parser got lost, and which lines to blank before it tries again.
fn repair(text: &str, tree: &Table, complaints: &[Complaint], lost: &Complaint) -> (Mistake, Range<usize>) {
    let line = line_at(text, lost.span.start);
    let enclosing = tree.values_at(lost.span.start).into_iter().find(|node| opens(node).is_some());
    if let Some(node) = enclosing {
        return repair_value(text, tree, complaints, lost, node);
    }
    let mistake = describe(text, tree, lost);
    if !text[line.clone()].trim_start().starts_with('[') {
        return (mistake, line);
    }
    // The keys below a broken header belong to nobody, and must not be read as the former table's.
    let next = lines_after(text, line.end).find(|range| is_header(&text[range.clone()]));
    (mistake, line.start..next.map_or(text.len(), |next| next.start))
}

/// The same for a place within a list, within braces, or in a text of several lines.
fn repair_value(
    text: &str,
    tree: &Table,
    complaints: &[Complaint],
    lost: &Complaint,
    node: &Node,
) -> (Mistake, Range<usize>) {
    let first = line_at(text, node.span.start);
    let last = line_at(text, node.span.end.max(lost.span.start));
    let next = lines_after(text, first.end)
        .take_while(|range| range.start < last.end)
        .find(|range| is_header(&text[range.clone()]) || is_assignment(&text[range.clone()]));
    let region = first.start..next.as_ref().map_or(last.end, |next| next.start);
    let earlier = complaints.iter().find(|one| one.span.start >= node.span.start && one.span.start < lost.span.start);
    if let Some(earlier) = earlier {
        return (describe(text, tree, earlier), region);
    }
    let unclosed = next.is_some_and(|next| next.start <= lost.span.start) || lost.span.start >= text.trim_end().len();
    match opens(node) {
        Some((what, open, close)) if unclosed => {
            let span = node.span.start..(node.span.start + open).min(text.len());
            (Mistake::new(Some(span), format!("{what} is not closed"), format!("close it with {close}")), region)
        }
        Some(_) | None => (describe(text, tree, lost), region),
    }
}

/// For a value that can run over several lines: what it is, the length of its opening, and its closing.
fn opens(node: &Node) -> Option<(&'static str, usize, &'static str)> {
    match &node.kind {
        Kind::List(_) => Some(("this list", 1, "\"]\"")),
        Kind::Table(_) => Some(("this table in braces", 1, "\"}\"")),
        Kind::Text(text) if text.contains('\n') => Some(("this text", 3, "three quotes, as it was opened")),
        Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::Tables(_) => None,
    }
}

/// Puts spaces in the place of `region`, so that all other places stay as they are. `false` if it was blank already.
fn blank(text: &mut String, region: Range<usize>) -> bool {
    if text[region.clone()].trim().is_empty() {
        return false;
    }
    let mut blanked = String::with_capacity(region.len());
    for char in text[region.clone()].chars() {
        let width = if char == '\n' { 0 } else { char.len_utf8() };
        blanked.extend(std::iter::repeat_n(' ', width));
        blanked.extend((char == '\n').then_some('\n'));
    }
    text.replace_range(region, &blanked);
    true
}

/// The line that holds `offset`, without its end.
pub(super) fn line_at(text: &str, offset: usize) -> Range<usize> {
    let offset = char_boundary(text, offset);
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    start..text[offset..].find('\n').map_or(text.len(), |at| offset + at)
}

/// The lines after the one that ends at `end`.
fn lines_after(text: &str, end: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = end;
    std::iter::from_fn(move || {
        let start = at + 1;
        (start < text.len()).then(|| {
            let line = start..text[start..].find('\n').map_or(text.len(), |length| start + length);
            at = line.end;
            line
        })
    })
}

fn is_bare_path(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-' | '.' | ' '))
}

/// Whether a line looks like `[server]` or `[[route]]`. A list of numbers does not.
fn is_header(line: &str) -> bool {
    let line = line.split('#').next().unwrap_or(line).trim();
    let inner = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let inner = inner.map(|inner| inner.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(inner));
    inner.is_some_and(|inner| is_bare_path(inner) && inner.starts_with(|char: char| char.is_ascii_alphabetic()))
}

/// Whether a line looks like `key = …`.
fn is_assignment(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, _)| is_bare_path(key.trim()))
}

/// A complaint of the parser in our words.
fn describe(text: &str, tree: &Table, complaint: &Complaint) -> Mistake {
    let at = complaint.span.start;
    let values = tree.values_at(at);
    let value = values.last().filter(|node| opens(node).is_none());
    let span = value.map_or(complaint.span.clone(), |node| node.span.clone());
    let written = text.get(span.clone()).unwrap_or_default();
    let says = |prefix: &str| complaint.text.starts_with(prefix);
    let here = |message: String, help: String| Mistake::new(Some(complaint.span.clone()), message, help);
    let whole = |message: String, help: String| Mistake::new(Some(span.clone()), message, help);
    if says("string values must be quoted") {
        return describe_unquoted(written, &span);
    }
    if says("duplicate key") || says("cannot extend") {
        return describe_duplicate(text, tree, complaint);
    }
    if says("invalid boolean") {
        let help = if written.starts_with(['t', 'T']) { "write true" } else { "write false" };
        return whole(format!("{written} is not true or false"), help.to_owned());
    }
    if value.is_some_and(|node| matches!(node.kind, Kind::Integer(_) | Kind::Float | Kind::Date)) && !complaint.lost() {
        let help = match () {
            () if says("unexpected leading zero") => "write it without the zero before it".to_owned(),
            () if says("`_`") => "write \"_\" between digits only".to_owned(),
            () => format!("for a text, write \"{written}\""),
        };
        return whole(format!("{written} is not a number"), help);
    }
    let (message, help) = if says("invalid unquoted key") || says("key with no value") {
        describe_key(&text[line_at(text, at)])
    } else {
        sentence(complaint, text.get(complaint.span.clone()).unwrap_or_default())
    };
    here(message, help)
}

fn describe_unquoted(written: &str, span: &Range<usize>) -> Mistake {
    let (message, help) = match written {
        "" => ("the value is missing".to_owned(), "write one after \"=\"".to_owned()),
        "yes" | "on" => (format!("{written} is not a value"), "write true".to_owned()),
        "no" => (format!("{written} is not a value"), "write false".to_owned()),
        _ => (format!("{written} needs quotes"), format!("write \"{written}\"")),
    };
    Mistake::new(Some(span.clone()), message, help)
}

fn describe_key(line: &str) -> (String, String) {
    let colon = line.find(':').filter(|colon| line.find('=').is_none_or(|equals| *colon < equals));
    if colon.is_some() {
        return ("a colon does not set a value".to_owned(), "write key = value".to_owned());
    }
    if line.contains('=') {
        let help = "a key holds letters, digits, \"_\" and \"-\"; anything else goes in quotes".to_owned();
        return ("this is not a key".to_owned(), help);
    }
    ("this line sets nothing".to_owned(), "write key = value, or # before a comment".to_owned())
}

fn describe_duplicate(text: &str, tree: &Table, complaint: &Complaint) -> Mistake {
    let span = complaint.span.clone();
    let name = text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\'']);
    let line = line_at(text, span.start);
    let plain = |line: &str| line.split('#').next().unwrap_or(line).trim().to_owned();
    let header = plain(&text[line.clone()]);
    let number = |offset: usize| text[..offset].matches('\n').count() + 1;
    let mistake = |message: String, help: String| Mistake::new(Some(span.clone()), message, help);
    if complaint.text.starts_with("cannot extend") {
        let help = "keep either the value or the table";
        return mistake(format!("\"{name}\" has a value already and cannot be a table too"), help.to_owned());
    }
    if !header.starts_with('[') {
        // Beyond a header, the same name is another key.
        let same_table = |first: &Range<usize>| {
            !lines_after(text, first.end)
                .take_while(|range| range.start < line.start)
                .any(|range| is_header(&text[range]))
        };
        let first = tree.key_before(name, span.start).filter(same_table).map(|first| number(first.start));
        let help = first.map_or("keep one of them".to_owned(), |first| format!("it is set in line {first} already"));
        return mistake(format!("\"{name}\" is set twice"), help);
    }
    let find = |wanted: &str| {
        let mut at = 0;
        text[..line.start].split('\n').find_map(|line| {
            let start = at;
            at += line.len() + 1;
            (plain(line) == wanted).then_some(number(start))
        })
    };
    let single = header.strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]"));
    if let Some(single) = single {
        let help = find(&format!("[{single}]"))
            .map(|first| format!("line {first} must be {header} too, or this a [{single}]"));
        return mistake(format!("{header} is a single table already"), help.unwrap_or_default());
    }
    if find(&format!("[{header}]")).is_some() {
        return mistake(
            format!("{header} stands for one of several"),
            format!("write [{header}], with double brackets"),
        );
    }
    let help = find(&header).map(|first| format!("put its keys below line {first}, where it is first"));
    mistake(format!("{header} is there twice"), help.unwrap_or_default())
}

/// The remaining complaints: message and help.
fn sentence(complaint: &Complaint, written: &str) -> (String, String) {
    const SENTENCES: [(&str, &str, &str); 19] = [
        ("unclosed array table", "this header is not closed", "close it with \"]]\""),
        ("unclosed table", "this header is not closed", "close it with \"]\""),
        ("unclosed array", "this list is not closed", "close it with \"]\""),
        ("unclosed inline", "this table in braces is not closed", "close it with \"}\""),
        ("missing comma", "a comma is missing here", "write a comma between two values"),
        ("extra comma", "this comma has no value before it", "remove it"),
        ("unexpected `=`", "a list holds values and no keys", "close the list with \"]\" before the next key"),
        ("missing assignment", "the value is missing", "write key = value, with commas in between"),
        ("missing key", "a key is missing here", "write key = value"),
        ("unquoted keys cannot be empty", "a key is missing here", "write a name"),
        (
            "unexpected key or value",
            "the line goes on after its value",
            "begin a new line, or write # before a comment",
        ),
        ("invalid multi-line", "this text is not closed", "close it with three quotes, as it was opened"),
        (
            "missing escaped value",
            "this is not an escape",
            "write \\\\ for a backslash, or put the text in single quotes",
        ),
        ("too few unicode", "this escape is too short", "write \\\\ for a backslash, or put the text in single quotes"),
        ("carriage return", "a carriage return stands alone here", "end lines with a line feed"),
        ("invalid comment", "a control character is in this comment", "remove it"),
        ("cannot recurse", "the brackets are nested too deep", ""),
        ("recursion limit", "this key has too many parts", ""),
        ("extra `=`", "there is one \"=\" too many", "remove it"),
    ];
    let found = SENTENCES.iter().find(|(prefix, _, _)| complaint.text.starts_with(prefix));
    if let Some((_, message, help)) = found {
        return ((*message).to_owned(), (*help).to_owned());
    }
    let quote = if complaint.text.contains("literal") { "'" } else { "\"" };
    if complaint.text.contains(" string") {
        return if written.is_empty() {
            ("this text is not closed".to_owned(), format!("close it with {quote}"))
        } else {
            ("a control character is in this text".to_owned(), "write it as an escape, like \"\\u0007\"".to_owned())
        };
    }
    (format!("this is not TOML ({})", complaint.text), String::new())
}
