//! What an unknown name was probably meant to be.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Kind;

/// At most so many keys are listed when nothing is near.
const MAX_LISTED: usize = 12;

/// At most so many other places of a misplaced key are named.
const MAX_PLACES: usize = 3;

/// The candidate that `word` was probably meant to be: one slip of the fingers for every three letters, whatever the
/// case, and `-` for `_`.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    // A word much longer than any name is none; comparing it would only cost time.
    let length = word.chars().take(100).count();
    let scored = candidates.into_iter().filter(|candidate| candidate.chars().count().abs_diff(length) <= 3);
    let scored = scored.map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate));
    let allowed = (length / 3).clamp(1, 3);
    scored.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance).map(|(_, found)| found)
}

/// Whether a word that stands where `true`, `false`, a number or a list should means yes or no, as other programs write it.
pub(super) fn meant(word: &str) -> Option<bool> {
    match word.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" | "1" | "enable" | "enabled" => Some(true),
        "false" | "no" | "off" | "n" | "0" | "disable" | "disabled" | "none" | "never" | "" => Some(false),
        _ => None,
    }
}

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub fn either<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    join_words(words, "or", |word| format!("\"{word}\""))
}

fn join_words<'w>(
    words: impl IntoIterator<Item = &'w str>,
    conjunction: &str,
    form: impl Fn(&'w str) -> String,
) -> String {
    let mut words: Vec<String> = words.into_iter().map(form).collect();
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} {conjunction} {last}", words.join(", ")) }
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `key = …`
    Key,
    /// `[key]`
    Table,
    /// `[[key]]`
    Tables,
}

impl Form {
    /// How this value is written.
    pub(super) const fn of(value: &Kind) -> Self {
        match value {
            Kind::Table(_) => Self::Table,
            Kind::Tables(_) => Self::Tables,
            Kind::Text(_) | Kind::Integer(_) | Kind::Float | Kind::Bool(_) | Kind::Date | Kind::List(_) => Self::Key,
        }
    }

    /// `key` in a table of `kind`, as it is written in this form.
    fn show(self, kind: &str, key: &str) -> String {
        match self {
            Self::Key => format!("\"{key}\""),
            Self::Table => header(&super::join(kind, key)),
            Self::Tables => header(&format!("{}[]", super::join(kind, key))),
        }
    }
}

/// The keys that were asked for, by the kind of their table. Every kind of table is in it, also without keys.
type Known = BTreeMap<String, BTreeSet<String>>;

/// The form of `key` in a table of `kind`.
fn known_form(known: &Known, kind: &str, key: &str) -> Form {
    let full = super::join(kind, key);
    if known.contains_key(&format!("{full}[]")) {
        Form::Tables
    } else if known.contains_key(&full) {
        Form::Table
    } else {
        Form::Key
    }
}

/// How a kind of table is written: `route[]` as `[[route]]`, `roles.*` as `[roles.NAME]`.
fn header(kind: &str) -> String {
    let name = kind.replace("[]", "").replace('*', "NAME");
    if kind.ends_with("[]") { format!("[[{name}]]") } else { format!("[{name}]") }
}

/// The message for `key` in a table of `kind`, which is planned.
pub(super) fn planned(kind: &str, key: &str, form: Form) -> String {
    format!("{} does not exist in this version yet", form.show(kind, key))
}

/// Message and help for `key`, which nobody asked for in a table of `kind`.
pub(super) fn unknown(known: &Known, kind: &str, key: &str, form: Form) -> (String, String) {
    let none = BTreeSet::new();
    let here = known.get(kind).unwrap_or(&none);
    if here.contains(key) {
        return (format!("\"{key}\" has no effect here"), "remove it".to_owned());
    }
    let shown = form.show(kind, key);
    let message = match (form, kind) {
        (Form::Table | Form::Tables, _) => format!("there is no table {shown}"),
        (Form::Key, "") => format!("there is no key {shown} at the top of the file"),
        (Form::Key, _) => format!("there is no key {shown} in {}", header(kind)),
    };
    let named: Vec<&str> = here.iter().map(String::as_str).filter(|name| *name != "*").collect();
    // A table is not meant to be a key; a key may have been meant to be a table.
    let fits = |name: &&str| form == Form::Key || known_form(known, kind, name) != Form::Key;
    let help = if let Some(near) = nearest(key, named.iter().copied().filter(fits)) {
        let near_form = if form == Form::Key { form } else { known_form(known, kind, near) };
        format!("did you mean {}?", near_form.show(kind, near))
    } else if let Some(places) = elsewhere(known, kind, key, form) {
        places
    } else if !named.is_empty() && named.len() <= MAX_LISTED {
        format!("it can have {}", join_words(named, "and", |word| format!("\"{word}\"")))
    } else {
        String::new()
    };
    (message, help)
}

/// Where else a key of that name belongs; tables within this one are preferred.
fn elsewhere(known: &Known, kind: &str, key: &str, form: Form) -> Option<String> {
    let is_table = form != Form::Key;
    let all = known.iter().filter(|(_, keys)| keys.contains(key)).map(|(place, _)| place.as_str());
    let all: Vec<&str> = all.filter(|place| !is_table || known_form(known, place, key) != Form::Key).collect();
    let within: Vec<&str> = all.iter().copied().filter(|place| !kind.is_empty() && place.starts_with(kind)).collect();
    let places = if within.is_empty() { all } else { within };
    if places.is_empty() || places.len() > MAX_PLACES {
        return None;
    }
    if is_table {
        let show = |place| known_form(known, place, key).show(place, key);
        return Some(format!("did you mean {}?", join_words(places, "or", show)));
    }
    let place = |place| {
        if str::is_empty(place) { "at the top of the file, before any [table]".to_owned() } else { header(place) }
    };
    let preposition = if places.first() == Some(&"") { "" } else { "in " };
    Some(format!("\"{key}\" belongs {preposition}{}", join_words(places, "or", place)))
}
