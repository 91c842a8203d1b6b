//! What is in a form, for its person to read: names and values, bounded. Only for that: what is sent is what was sent.

use std::borrow::Cow;

use memchr::memmem;

use crate::enforce::pages::{Field, Shown};
use crate::policy::navigation::FormKind;

/// How many fields are shown.
pub const MAX_FIELDS: usize = 100;

/// How much of a value is shown, in characters: enough to know it by.
pub const MAX_VALUE: usize = 1000;

/// How much of a name is shown, in characters; and of what else is in one line.
pub const MAX_LINE: usize = 120;

/// How many bytes the heads of a part may have. Browsers write a few hundred.
const MAX_HEADS: usize = 4096;

/// What the names of fields have in them whose values are nobody's to read on a screen.
const SECRET: [&str; 9] = ["pass", "pwd", "secret", "kennwort", "contrase", "token", "csrf", "xsrf", "authenticity"];

/// And what their names are, as a whole.
const SECRET_NAMES: [&str; 6] = ["pin", "tan", "otp", "cvc", "cvv", "__viewstate"];

/// A form as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Its fields; none when they cannot be read.
    pub fields: Vec<Field>,
    /// How many more there are, also of those that cannot be read.
    pub left_out: usize,
}

/// Reads a form of this content type.
pub fn read(content_type: &[u8], content: &[u8]) -> Read {
    let mut read = Read::default();
    let mut add = |name: &str, value: &[u8], file: Option<&str>| {
        if read.fields.len() < MAX_FIELDS {
            read.fields.push(Field { name: shortened(name).into_owned(), value: shown(name, value, file) });
        } else {
            read.left_out += 1;
        }
    };
    let mut not_understood = 0;
    match FormKind::named(content_type) {
        Some(FormKind::Multipart) => {
            if let Some(boundary) = parameter(&String::from_utf8_lossy(content_type), "boundary") {
                not_understood = parts(content, boundary.as_bytes(), &mut add);
            }
        }
        Some(FormKind::Text) => lines(content, &mut add),
        Some(FormKind::Urlencoded) | None => {
            for (name, value) in form_urlencoded::parse(content) {
                add(&name, value.as_bytes(), None);
            }
        }
    }
    read.left_out += not_understood;
    read
}

/// A line that is not too long to be shown.
pub(super) fn shortened(line: &str) -> Cow<'_, str> {
    match line.char_indices().nth(MAX_LINE) {
        Some((at, _)) => Cow::Owned(format!("{}…", visible(&line[..at]))),
        None => visible(line),
    }
}

/// A text with a mark in place of each character that nobody would see.
fn visible(text: &str) -> Cow<'_, str> {
    let is_unseen = |char: char| char.is_control() && !matches!(char, '\n' | '\r' | '\t');
    if text.contains(is_unseen) { Cow::Owned(text.replace(is_unseen, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// A size as people say it.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

fn shown(name: &str, value: &[u8], file: Option<&str>) -> Shown {
    if let Some(file) = file {
        // Browsers send a field for a file that nobody has chosen.
        let is_none = file.is_empty() && value.is_empty();
        return if is_none { Shown::Empty } else { Shown::File(shortened(file).into_owned(), size(value.len())) };
    }
    let name = name.to_lowercase();
    if SECRET.iter().any(|word| name.contains(word)) || SECRET_NAMES.contains(&&*name) {
        return if value.is_empty() { Shown::Empty } else { Shown::Hidden };
    }
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(MAX_VALUE) {
        _ if text.is_empty() => Shown::Empty,
        Some((at, _)) => Shown::Text(visible(&text[..at]).into_owned(), text[at..].chars().count()),
        None => Shown::Text(visible(&text).into_owned(), 0),
    }
}

/// The parts of a form as RFC 7578 has them: a line with the boundary before each, and one with two more hyphens at the end.
/// How many of them are not understood: each is one that its person is not shown.
fn parts(content: &[u8], boundary: &[u8], add: &mut impl FnMut(&str, &[u8], Option<&str>)) -> usize {
    let delimiter = [b"\r\n--", boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    // The first one stands at the beginning, where no line ends before it.
    let Some(mut rest) = content.strip_prefix(&delimiter[2..]) else { return 0 };
    let mut not_understood = 0;
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        // One that does not end is none of a browser's.
        let Some(end) = finder.find(part) else { return not_understood + 1 };
        match named(&part[..end]) {
            Some((name, file, value)) => add(&name, value, file.as_deref()),
            None => not_understood += 1,
        }
        rest = &part[end + delimiter.len()..];
    }
    if rest.starts_with(b"--") { not_understood } else { not_understood + 1 }
}

/// The name of a part, that of its file, if it is one, and its content.
fn named(part: &[u8]) -> Option<(String, Option<String>, &[u8])> {
    let head_end = memmem::find(&part[..part.len().min(MAX_HEADS)], b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&part[..head_end]);
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    Some((parameter(disposition, "name")?, parameter(disposition, "filename"), &part[head_end + 4..]))
}

/// The fields of a form of plain text: a line each, with a name, a sign and a value, and more lines where there are some in
/// the value. One of those that has such a sign in it cannot be told from a field.
fn lines(content: &[u8], add: &mut impl FnMut(&str, &[u8], Option<&str>)) {
    let content = content.strip_suffix(b"\r\n").unwrap_or(content);
    let mut add = |name: &[u8], value: &[u8]| add(&String::from_utf8_lossy(name), value, None);
    // A name, and where its value begins.
    let mut field: Option<(&[u8], usize)> = None;
    let mut start = 0;
    while start < content.len() {
        let end = memmem::find(&content[start..], b"\r\n").map_or(content.len(), |length| start + length);
        let sign = content[start..end].iter().position(|byte| *byte == b'=').map(|at| start + at);
        let begun = match sign {
            Some(sign) => field.replace((&content[start..sign], sign + 1)),
            None => {
                field = field.or(Some((&[], start)));
                None
            }
        };
        if let Some((name, value)) = begun {
            add(name, &content[value..start - 2]);
        }
        start = end + 2;
    }
    if let Some((name, value)) = field {
        add(name, &content[value..]);
    }
}

/// A parameter of a header's value, as browsers write them: bare, or in quotes, in which they escape quotes and line ends by
/// percent signs, and those of old did quotes by a backslash.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let end = end_of_quoted(quoted)?;
                (quoted[..end].replace("\\\"", "\""), &quoted[end + 1..])
            }
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        // What is left of a value that ends sooner than its browser meant is no part of the next name.
        if name.rsplit(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case(wanted)) {
            let readable = [("%22", "\""), ("%0D%0A", " "), ("%0A", " "), ("%0D", " ")];
            return Some(readable.iter().fold(value, |value, (from, to)| value.replace(from, to)));
        }
        rest = next.split_once(';')?.1;
    }
}

/// Where the quote is that ends it: one without a backslash before it, or behind which another parameter begins or nothing
/// is. To browsers, a backslash at the end of a name is a character as any other (WHATWG, "multipart/form-data encoding").
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().enumerate().find_map(|(at, byte)| {
        let behind = || text[at + 1..].trim_start();
        let ends = byte == b'"' && (!escaped || behind().is_empty() || behind().starts_with(';'));
        escaped = byte == b'\\' && !escaped;
        ends.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, value: &str) -> Field {
        Field { name: name.to_owned(), value: Shown::Text(value.to_owned(), 0) }
    }

    fn field(name: &str, value: Shown) -> Field {
        Field { name: name.to_owned(), value }
    }

    #[test]
    fn an_urlencoded_form_is_read() {
        let read = read(b"application/x-www-form-urlencoded", b"a=1&b+c=%C3%A9+x&d&New-Password=x&e=%ff&PIN=");
        let expected = [
            text("a", "1"),
            text("b c", "\u{e9} x"),
            field("d", Shown::Empty),
            field("New-Password", Shown::Hidden),
            text("e", "\u{fffd}"),
            field("PIN", Shown::Empty),
        ];
        assert_eq!((read.fields.as_slice(), read.left_out), (&expected[..], 0));
    }

    #[test]
    fn a_form_in_parts_is_read() {
        let content = b"--xYz\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nline 1\r\nline 2\r\n--xYz\r\n\
                        content-disposition: form-data; filename=\"x%22y.pdf\"; name=\"f\"\r\nContent-Type: application/pdf\r\n\
                        \r\n\x00\xff--xYz\r\n--xYz\r\nContent-Disposition: form-data; name=\"g\"; filename=\"\"\r\n\r\n\r\n--xYz\r\n\
                        Content-Disposition: form-data; name=\"passwort\"\r\n\r\nx\r\n--xYz--\r\n";
        let expected = [
            text("a", "line 1\r\nline 2"),
            field("f", Shown::File("x\"y.pdf".to_owned(), "7 bytes".to_owned())),
            field("g", Shown::Empty),
            field("passwort", Shown::Hidden),
        ];
        for kind in ["multipart/form-data; boundary=xYz", "multipart/form-data; charset=utf-8; boundary=\"xYz\""] {
            assert_eq!(read(kind.as_bytes(), content).fields, expected, "{kind}");
        }
        for length in 0..content.len() {
            let cut = read(b"multipart/form-data; boundary=xYz", &content[..length]);
            assert!(expected.starts_with(&cut.fields), "cut at {length}: {cut:?}");
        }
    }

    #[test]
    fn a_form_of_plain_text_is_read() {
        let content = b"a=1\r\nb c=two\r\nlines\r\n\r\npassword=x\r\ny\r\nd=\r\n";
        let expected = [
            text("a", "1"),
            text("b c", "two\r\nlines\r\n"),
            field("password", Shown::Hidden),
            field("d", Shown::Empty),
        ];
        assert_eq!(read(b"text/plain; charset=utf-8", content).fields, expected);
        for length in 0..content.len() {
            read(b"text/plain", &content[..length]);
        }
        assert_eq!(read(b"text/plain", b"no sign").fields, [text("", "no sign")]);
        assert!(read(b"text/plain", b"").fields.is_empty() && read(b"text/plain", b"\r\n").fields.is_empty());
        assert!(read(b"multipart/form-data", b"a=1").fields.is_empty(), "nobody says where its parts end");
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let many: String = (0..250).map(|at| format!("n{at}=v&")).collect();
        let read_many = read(b"application/x-www-form-urlencoded", many.as_bytes());
        assert_eq!((read_many.fields.len(), read_many.left_out), (100, 150));
        let long = format!("{}={}", "\u{e9}".repeat(200), "\u{e9}".repeat(1500));
        let field = &read(b"application/x-www-form-urlencoded", long.as_bytes()).fields[0];
        assert_eq!(field.name.chars().count(), 121);
        assert_eq!(field.value, Shown::Text("\u{e9}".repeat(1000), 500));
    }

    #[test]
    fn sizes_are_said_as_people_say_them() {
        let said = [0, 1, 1023, 1024, 1025, 307_200, 1_048_576, 1_600_000].map(size);
        assert_eq!(said, ["0 bytes", "1 byte", "1023 bytes", "1 KiB", "2 KiB", "300 KiB", "1.0 MiB", "1.5 MiB"]);
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_within_bounds(kind: Vec<u8>, content: Vec<u8>, head: String) {
            let read_any = |kind: &[u8], content: &[u8]| assert!(read(kind, content).fields.len() <= MAX_FIELDS);
            read_any(&kind, &content);
            read_any(b"text/plain", &content);
            let content = [b"--x\r\nContent-Disposition:", head.as_bytes(), b"\r\n\r\n", &content, b"\r\n--x--"].concat();
            read_any(b"multipart/form-data; boundary=x", &content);
            read_any(format!("multipart/form-data{head}").as_bytes(), &content);
        }
    }
}
