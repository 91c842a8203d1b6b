//! What holds of every form that is read: what is shown of it to its person, and the token that is taken out of it.

use bytes::Bytes;
use vestibule::enforce::form_token::taken_out;
use vestibule::enforce::pages::{Field, Shown};
use vestibule::policy::navigation::FormKind;
use vestibule::portal::parked::fields::{MAX_FIELDS, MAX_LINE, MAX_VALUE, read};

const BOUNDARY: &str = "----vestibule";
const TOKEN: &str = "the_token";

/// Checks it for `data` as a form of each kind, and for forms that have its pieces as values. The first line says what is
/// said of the content, where it is a form that says it itself.
pub(crate) fn check(data: &[u8]) {
    let (kind, content) =
        data.iter().position(|byte| *byte == b'\n').map_or((data, data), |at| (&data[..at], &data[at + 1..]));
    let multipart = format!("multipart/form-data; boundary={BOUNDARY}");
    for kind in
        [kind, b"application/x-www-form-urlencoded", b"text/plain", multipart.as_bytes(), b"multipart/form-data"]
    {
        assert_within_bounds(kind, content);
        assert_within_bounds(kind, data);
    }
    let pieces: Vec<&[u8]> = data.split(|byte| *byte == 0xff).take(MAX_FIELDS).collect();
    assert_parts_are_read(multipart.as_bytes(), &pieces);
    assert_files_are_not_shown(multipart.as_bytes(), &pieces);
    assert_pairs_are_read(&pieces);
    assert_lines_are_read(&pieces);
    assert_only_the_token_is_taken_out(data);
}

fn assert_within_bounds(kind: &[u8], content: &[u8]) {
    let read = read(kind, content);
    // Only of parts are there some that cannot be read, and they are counted.
    let is_all = read.left_out == 0 || read.fields.len() == MAX_FIELDS;
    assert!(read.fields.len() <= MAX_FIELDS && (is_all || FormKind::named(kind) == Some(FormKind::Multipart)));
    for Field { name, value } in &read.fields {
        assert_line(name);
        match value {
            Shown::Text(text, _) => {
                assert!(text.chars().count() <= MAX_VALUE && is_seen(text));
                let name = name.to_lowercase();
                assert!(!["pass", "token", "secret"].iter().any(|word| name.contains(word)), "{name} is not shown");
            }
            Shown::File(name, size) => {
                assert_line(name);
                assert_line(size);
            }
            Shown::Hidden | Shown::Empty => {}
        }
    }
}

fn assert_line(line: &str) {
    assert!(line.chars().count() <= MAX_LINE + 1 && is_seen(line), "{line:?}");
}

/// Whether somebody who looks at it sees all of it.
fn is_seen(text: &str) -> bool {
    !text.chars().any(|char| char.is_control() && !matches!(char, '\n' | '\r' | '\t'))
}

/// Whether a value is shown as one that was sent as these bytes.
fn is_shown(value: &Shown, bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    match value {
        Shown::Empty => bytes.is_empty(),
        Shown::Text(begin, more) => begin.chars().count() + more == text.chars().count(),
        Shown::Hidden | Shown::File(..) => false,
    }
}

fn assert_all_are_read(kind: &[u8], content: &[u8], values: &[&[u8]]) {
    let read = read(kind, content);
    assert_eq!((read.fields.len(), read.left_out), (values.len(), 0));
    for (at, (Field { name, value }, bytes)) in read.fields.iter().zip(values).enumerate() {
        assert!(*name == format!("f{at}") && is_shown(value, bytes), "{name}: {value:?} of {bytes:?}");
    }
}

/// A form as browsers write it has all its parts, whatever is in them but its boundary.
fn assert_parts_are_read(kind: &[u8], pieces: &[&[u8]]) {
    let delimiter = format!("\r\n--{BOUNDARY}");
    // Also where the line before the value ends: browsers choose a boundary that is in none.
    let has_none = |piece: &&&[u8]| {
        let line = [b"\r\n", **piece].concat();
        !line.windows(delimiter.len()).any(|window| window == delimiter.as_bytes())
    };
    let values: Vec<&[u8]> = pieces.iter().filter(has_none).copied().collect();
    let mut content = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f{at}\"\r\n\r\n");
        content.extend([head.as_bytes(), value, b"\r\n"].concat());
    }
    content.extend(format!("--{BOUNDARY}--\r\n").as_bytes());
    assert_all_are_read(kind, &content, &values);
}

/// Whatever a field and its file are called, what is in the file is not shown, and no part is missing without a word.
fn assert_files_are_not_shown(kind: &[u8], pieces: &[&[u8]]) {
    let mut content = String::new();
    for piece in pieces {
        // As browsers escape it.
        let mut name = String::from_utf8_lossy(piece).into_owned();
        for (from, to) in [("\n", "%0A"), ("\r", "%0D"), ("\"", "%22")] {
            name = name.replace(from, to);
        }
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\r\n");
        content.push_str(&format!("{head}Content-Type: text/plain\r\n\r\nwhat is in it\r\n"));
    }
    content.push_str(&format!("--{BOUNDARY}--\r\n"));
    let read = read(kind, content.as_bytes());
    assert_eq!(read.fields.len() + read.left_out, pieces.len());
    assert!(read.fields.iter().all(|field| matches!(field.value, Shown::File(..))));
}

fn assert_pairs_are_read(pieces: &[&[u8]]) {
    let values: Vec<String> = pieces.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
    let pairs = values.iter().enumerate().map(|(at, value)| (format!("f{at}"), value));
    let content = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
    assert_all_are_read(b"application/x-www-form-urlencoded", content.as_bytes(), &values);
}

/// Lines without a sign belong to the value before them.
fn assert_lines_are_read(pieces: &[&[u8]]) {
    let values: Vec<&[u8]> = pieces.iter().filter(|piece| !piece.contains(&b'=')).copied().collect();
    let lines = values.iter().enumerate().map(|(at, value)| [format!("f{at}=").as_bytes(), value, b"\r\n"].concat());
    assert_all_are_read(b"text/plain", &lines.collect::<Vec<_>>().concat(), &values);
}

fn assert_only_the_token_is_taken_out(content: &[u8]) {
    let pairs = |content: &[u8]| -> Vec<(String, String)> { form_urlencoded::parse(content).into_owned().collect() };
    // As it is, and with the token before, behind and between what it has.
    let half = content.len() / 2;
    let with = |token: &str| [&content[..half], b"&", token.as_bytes(), b"&", &content[half..]].concat();
    for content in [content.to_vec(), with("the_token=abc"), with("the%5ftoken=%61bc")] {
        let (token, rest) = taken_out(&Bytes::from(content.clone()), TOKEN);
        let before = pairs(&content);
        let tokens: Vec<_> = before.iter().filter(|(name, _)| name == TOKEN).map(|(_, value)| value).collect();
        assert_eq!(rest.is_some(), !tokens.is_empty());
        assert_eq!(token.as_ref(), tokens.first().copied().filter(|_| tokens.len() == 1));
        if let Some(rest) = rest {
            let others: Vec<_> = before.iter().filter(|(name, _)| name != TOKEN).cloned().collect();
            assert_eq!(pairs(&rest), others);
            let is_other = |pair: &&[u8]| pairs(pair).first().is_none_or(|(name, _)| name != TOKEN);
            let others: Vec<&[u8]> = content.split(|byte| *byte == b'&').filter(is_other).collect();
            assert_eq!(rest, others.join(&b'&'), "to the byte");
        }
    }
}
