//! A mistake in a configuration file, and how all of them are shown at once: place, line, caret, what to write instead.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How many mistakes are written out. More than this many are one mistake made often; the count line still tells.
const MAX_SHOWN: usize = 50;

/// How much of a source line is shown, in characters, around the place that is meant.
const MAX_LINE_CHARS: usize = 120;

/// How much of a line is looked at on either side, in bytes: enough for [`MAX_LINE_CHARS`] of any characters.
const WINDOW_BYTES: usize = 4 * MAX_LINE_CHARS;

/// How many characters stay in view before the place that is meant, when a line is too long to show whole.
const LEAD_CHARS: usize = 40;

/// The longest message or help that is shown, in characters: they may quote what the file says.
const MAX_MESSAGE_CHARS: usize = 400;

/// What is shown in place of a tab. The column counts it as one character, as editors do.
const TAB: &str = "    ";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, as a range of bytes in the source; `None` when it is about the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Lines of TOML to be pasted, which the help speaks of.
    pub lines: Option<String>,
}

impl Mistake {
    /// A mistake at `span`. An empty `help` is none.
    pub fn new(span: Option<Range<usize>>, message: impl Into<String>, help: impl Into<String>) -> Self {
        let help = help.into();
        Self { span, message: message.into(), help: (!help.is_empty()).then_some(help), lines: None }
    }

    /// The same mistake, with lines of TOML below its help. They are shown as they are, so that they can be pasted.
    pub fn with_lines(mut self, lines: impl Into<String>) -> Self {
        self.lines = Some(lines.into());
        self
    }
}

/// All mistakes of one file, in the order of their places, and those of other files that it names; never empty when it is
/// returned as an error.
#[derive(Clone)]
pub struct Mistakes {
    file: PathBuf,
    source: String,
    list: Vec<Mistake>,
    hidden: Vec<Range<usize>>,
    others: Vec<Self>,
}

impl Mistakes {
    /// The mistakes in `source`, which was read from `file`. They are sorted, and the same one is kept once.
    pub fn new(file: impl Into<PathBuf>, source: impl Into<String>, mut list: Vec<Mistake>) -> Self {
        list.sort_by_key(|mistake| mistake.span.as_ref().map_or((usize::MAX, 0), |span| (span.start, span.end)));
        let mut seen = std::collections::HashSet::new();
        list.retain(|mistake| seen.insert((mistake.span.clone(), mistake.message.clone())));
        Self { file: file.into(), source: source.into(), list, hidden: Vec::new(), others: Vec::new() }
    }

    /// One mistake about the file as a whole.
    pub fn whole_file(file: impl Into<PathBuf>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(file, "", vec![Mistake::new(None, message, help)])
    }

    /// The same mistakes, with these ranges of bytes of the source never shown: secrets that were written in place.
    pub fn hiding(mut self, hidden: Vec<Range<usize>>) -> Self {
        self.hidden = hidden;
        self
    }

    /// The same mistakes, and below them those of other files.
    pub fn with_others(mut self, others: Vec<Self>) -> Self {
        self.others = others;
        self
    }

    /// The mistake, if there is only one and it is about the file as a whole: nothing in it could be read.
    pub fn about_the_file(&self) -> Option<&Mistake> {
        self.list.first().filter(|mistake| self.list.len() == 1 && mistake.span.is_none())
    }

    /// The file as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The mistakes, in the order of their places; those about the file as a whole come last.
    pub fn list(&self) -> &[Mistake] {
        &self.list
    }

    /// The line and the column of `mistake`, both counted from 1, the column in characters.
    pub fn position(&self, mistake: &Mistake) -> Option<(usize, usize)> {
        let place = self.place(mistake.span.as_ref()?);
        Some((place.number, place.column))
    }

    /// Finds the line `span` begins in. A span outside the source, or inside a character, is moved to the nearest place.
    fn place(&self, span: &Range<usize>) -> Place<'_> {
        let begin = char_boundary(&self.source, span.start);
        let line_start = self.source[..begin].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.source[begin..].find('\n').map_or(self.source.len(), |at| begin + at);
        let line = &self.source[line_start..line_end];
        let line = line.strip_suffix('\r').unwrap_or(line);
        let at = begin.min(line_start + line.len()) - line_start;
        let from = char_boundary(line, at.saturating_sub(WINDOW_BYTES));
        let to = char_boundary(line, at + WINDOW_BYTES);
        let number = self.source[..line_start].bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = self.source[line_start..begin].chars().count() + 1;
        let (cut_before, cut_after) = (from > 0, to < line.len());
        let line = &line[from..to];
        Place {
            number,
            column,
            start: line_start + from,
            line,
            cut_before,
            cut_after,
            span: begin..span.end.max(begin),
        }
    }

    fn write_one(&self, f: &mut fmt::Formatter<'_>, mistake: &Mistake) -> fmt::Result {
        let file = self.file.display();
        let message = printable(&mistake.message);
        let help = mistake.help.as_deref().map(printable);
        if let Some(span) = &mistake.span {
            let place = self.place(span);
            let (line, before, width) = self.shown(&place);
            writeln!(f, "{file}:{}:{}: {message}", place.number, place.column)?;
            writeln!(f, "{}", format!("{:>5} | {line}", place.number).trim_end())?;
            write!(f, "{:>5} | {:before$}{:^<width$}", "", "", "")?;
            match help {
                Some(help) => writeln!(f, " {help}")?,
                None => writeln!(f)?,
            }
        } else {
            writeln!(f, "{file}: {message}")?;
            if let Some(help) = help {
                writeln!(f, "{:>5} = {help}", "")?;
            }
        }
        // Nothing but spaces before them: TOML does not mind those.
        mistake
            .lines
            .iter()
            .flat_map(|lines| lines.lines())
            .try_for_each(|line| writeln!(f, "{:8}{}", "", printable(line)))
    }

    /// The line as it is shown, and where its caret underline begins and how wide it is, in characters.
    fn shown(&self, place: &Place<'_>) -> (String, usize, usize) {
        let end = place.start + place.line.len();
        let near = |range: &&Range<usize>| range.start < end && place.start < range.end;
        let near: Vec<&Range<usize>> = self.hidden.iter().filter(near).collect();
        let mut cells: Vec<char> = Vec::new();
        let (mut caret_start, mut caret_end) = (None, None);
        let mut in_hidden = false;
        for (offset, char) in place.line.char_indices() {
            let offset = place.start + offset;
            if offset >= place.span.start && caret_start.is_none() {
                caret_start = Some(cells.len());
            }
            if offset >= place.span.end && caret_end.is_none() {
                caret_end = Some(cells.len());
            }
            let hidden = near.iter().any(|range| range.contains(&offset));
            match (hidden, char) {
                (true, _) if in_hidden => {}
                (true, _) => cells.push('…'),
                (false, '\t') => cells.extend(TAB.chars()),
                (false, char) => cells.push(printable_char(char)),
            }
            in_hidden = hidden;
        }
        let start = caret_start.unwrap_or(cells.len());
        let end = caret_end.unwrap_or(cells.len()).max(start + 1);
        if cells.len() <= MAX_LINE_CHARS && !place.cut_before && !place.cut_after {
            return (cells.into_iter().collect(), start, end - start);
        }
        let from = start.saturating_sub(LEAD_CHARS);
        let to = cells.len().min(from + MAX_LINE_CHARS);
        let mut line = String::new();
        let begun = from > 0 || place.cut_before;
        if begun {
            line.push('…');
        }
        line.extend(&cells[from..to]);
        if to < cells.len() || place.cut_after {
            line.push('…');
        }
        (line, start - from + usize::from(begun), end.min(to.max(start + 1)) - start)
    }
}

/// A line of the source and what is meant in it.
struct Place<'a> {
    number: usize,
    column: usize,
    start: usize,
    /// The line, or what of it is near the span.
    line: &'a str,
    cut_before: bool,
    cut_after: bool,
    span: Range<usize>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = || std::iter::once(self).chain(&self.others).filter(|file| !file.list.is_empty());
        for file in files() {
            for mistake in file.list.iter().take(MAX_SHOWN) {
                file.write_one(f, mistake)?;
                f.write_char('\n')?;
            }
        }
        for (at, file) in files().enumerate() {
            let count = file.list.len();
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            let line_end = if at > 0 { "\n" } else { "" };
            write!(f, "{line_end}{count} {noun} in {}", file.file.display())?;
            if count > MAX_SHOWN {
                write!(f, "; the first {MAX_SHOWN} are shown")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Mistakes {
    /// As [`fmt::Display`], because the source as it is may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Mistakes {}

/// The offset of the character of `text` that `offset` is in, or its end.
pub(super) fn char_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// `text` as a terminal or a log may show it: on one line, bounded, without anything that moves the cursor.
fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_MESSAGE_CHARS).map(printable_char).collect();
    if text.chars().nth(MAX_MESSAGE_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Control characters, and those that reverse the direction of the text around them, become the replacement character.
fn printable_char(char: char) -> char {
    match char {
        '\n' | '\t' => ' ',
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => '\u{fffd}',
        char if char.is_control() => '\u{fffd}',
        char => char,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: &str, part: &str, message: &str, help: &str) -> Mistake {
        let start = source.find(part).expect("the part is in the source");
        Mistake::new(Some(start..start + part.len()), message, help)
    }

    #[test]
    fn shows_place_line_caret_and_help() {
        let source = "[session.lifetime]\nidle = \"30\"\n";
        let mistake = at(source, "\"30\"", "\"30\" is not a duration", "write \"30m\"");
        let shown = Mistakes::new("gateway.toml", source, vec![mistake]).to_string();
        let expected = r#"gateway.toml:2:8: "30" is not a duration
    2 | idle = "30"
      |        ^^^^ write "30m"

1 mistake in gateway.toml"#;
        assert_eq!(shown, expected);
    }

    #[test]
    fn sorts_counts_and_keeps_the_same_mistake_once() {
        let source = "a = 1\nb = 2\n";
        let list = vec![
            Mistake::new(None, "\"listen\" is missing", "add listen = [\"127.0.0.1:8443\"]"),
            at(source, "b", "second", ""),
            at(source, "a", "first", ""),
            at(source, "b", "second", ""),
        ];
        let expected = "g.toml:1:1: first\n    1 | a = 1\n      | ^\n\ng.toml:2:1: second\n    2 | b = 2\n      | ^\n\n\
                        g.toml: \"listen\" is missing\n      = add listen = [\"127.0.0.1:8443\"]\n\n3 mistakes in g.toml";
        assert_eq!(Mistakes::new("g.toml", source, list).to_string(), expected);
    }

    #[test]
    fn counts_characters_and_not_bytes_or_cells() {
        let source = "x = 1\r\n\tnäme = \"ü\" # é\r\n";
        let mistakes = Mistakes::new("g.toml", source, vec![at(source, "\"ü\"", "no", "")]);
        assert_eq!(mistakes.position(&mistakes.list()[0]), Some((2, 9)));
        let expected = "g.toml:2:9: no\n    2 |     näme = \"ü\" # é\n      |            ^^^\n";
        assert!(mistakes.to_string().starts_with(expected), "{mistakes}");
    }

    #[test]
    fn underlines_the_first_line_of_a_long_span_and_the_end_of_a_line() {
        let source = "a = [\n1]\nb";
        let list = vec![at(source, "[\n1]", "list", ""), Mistake::new(Some(10..10), "end", "write more")];
        let expected = "g:1:5: list\n    1 | a = [\n      |     ^\n\ng:3:2: end\n    3 | b\n      |  ^ write more\n";
        assert!(Mistakes::new("g", source, list).to_string().starts_with(expected));
        let outside = Mistake::new(Some(99..120), "outside", "");
        assert!(
            Mistakes::new("g", "a\n", vec![outside]).to_string().starts_with("g:2:1: outside\n    2 |\n      | ^\n")
        );
    }

    #[test]
    fn shows_a_window_of_a_long_line() {
        let source = format!("a = \"{}\" oops {}", "x".repeat(5000), "y".repeat(5000));
        let shown = Mistakes::new("g", source.clone(), vec![at(&source, "oops", "no", "")]).to_string();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[1].chars().count(), 8 + MAX_LINE_CHARS + 2);
        let column = lines[2].chars().position(|char| char == '^').expect("a caret");
        assert_eq!(lines[1].chars().skip(column).take(4).collect::<String>(), "oops");
        let wide = Mistakes::new("g", source, vec![Mistake::new(Some(4..9000), "no", "")]).to_string();
        assert!(wide.lines().all(|line| line.chars().count() < 200), "{wide}");
    }

    #[test]
    fn hides_secrets_and_control_characters() {
        let source = "key = \"hunter2\" # \u{1b}[31m\u{202e}";
        let mistake = at(source, "\"hunter2\"", "bad \u{1b}[2J\nvalue", "");
        let hidden = mistake.span.clone().expect("a span");
        let mistakes = Mistakes::new("g", source, vec![mistake]).hiding(vec![hidden]);
        let expected =
            "g:1:7: bad \u{fffd}[2J value\n    1 | key = … # \u{fffd}[31m\u{fffd}\n      |       ^\n\n1 mistake in g";
        assert_eq!(mistakes.to_string(), expected);
        assert_eq!(format!("{mistakes:?}"), expected);
    }

    #[test]
    fn shows_a_bounded_number() {
        let list = (0..80).map(|at| Mistake::new(Some(at..at), format!("m{at}"), "")).collect();
        let shown = Mistakes::new("g", "x".repeat(80), list).to_string();
        assert!(shown.ends_with("80 mistakes in g; the first 50 are shown"));
        assert_eq!(shown.matches("g:1:").count(), MAX_SHOWN);
    }
}
