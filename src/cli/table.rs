//! Columns and times for the terminal.

use serde_json::Value;

/// Rows, each column as wide as its widest cell.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A text without what would move the cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// A text from an answer, without what would move the cursor; a dash for none.
pub(super) fn text(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

/// A span of time, by its two largest units.
pub(super) fn span(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_u64() else { return "-".to_owned() };
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (0, hours, minutes, _) => format!("{hours}h {minutes:02}m"),
        (days, hours, ..) => format!("{days}d {hours:02}h"),
    }
}

/// A moment, by the second.
pub(super) fn moment(at: &Value) -> String {
    // 2026-11-29T14:54:37.123Z
    let text = text(at);
    match text.split_once('.') {
        Some((seconds, _)) => seconds.replace('T', " ") + " UTC",
        None => text,
    }
}

/// A number with its noun.
pub(super) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_shown_as_people_say_them() {
        for (seconds, shown) in
            [(0, "0s"), (59, "59s"), (60, "1m 00s"), (3661, "1h 01m"), (86_399, "23h 59m"), (90_000, "1d 01h")]
        {
            assert_eq!(span(&json!(seconds)), shown);
        }
        assert_eq!(span(&Value::Null), "-");
        assert_eq!(moment(&json!("2026-11-29T14:54:37.123Z")), "2026-11-29 14:54:37 UTC");
        assert_eq!(text(&json!("a\u{1b}[2Jb")), "a?[2Jb");
    }
}
