//! What an unknown name was probably meant to be.

use std::collections::{BTreeMap, BTreeSet};

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

/// `"a"`, `"a" or "b"`, `"a", "b" or "c"`.
pub(super) fn either<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
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

/// How a kind of table is written: `route[]` as `[[route]]`, `roles.*` as `[roles.NAME]`.
fn header(kind: &str) -> String {
    let name = kind.replace("[]", "").replace('*', "NAME");
    if kind.ends_with("[]") { format!("[[{name}]]") } else { format!("[{name}]") }
}

/// Message and help for `key`, which nobody asked for in a table of `kind`.
pub(super) fn unknown(
    known: &BTreeMap<String, BTreeSet<String>>,
    kind: &str,
    key: &str,
    is_table: bool,
) -> (String, String) {
    let none = BTreeSet::new();
    let here = known.get(kind).unwrap_or(&none);
    if here.contains(key) {
        return (format!("\"{key}\" has no effect here"), "remove it".to_owned());
    }
    let full = super::join(kind, key);
    let message = match (is_table, kind) {
        (true, _) => format!("there is no table {}", header(&full)),
        (false, "") => format!("there is no key \"{key}\" at the top of the file"),
        (false, _) => format!("there is no key \"{key}\" in {}", header(kind)),
    };
    let named: Vec<&str> = here.iter().map(String::as_str).filter(|name| *name != "*").collect();
    let help = if let Some(near) = nearest(key, named.iter().copied()) {
        format!("did you mean {}?", if is_table { header(&super::join(kind, near)) } else { format!("\"{near}\"") })
    } else if let Some(places) = elsewhere(known, kind, key, is_table) {
        places
    } else if !named.is_empty() && named.len() <= MAX_LISTED {
        format!("it can have {}", join_words(named, "and", |word| format!("\"{word}\"")))
    } else {
        String::new()
    };
    (message, help)
}

/// Where else a key of that name belongs; tables within this one are preferred.
fn elsewhere(known: &BTreeMap<String, BTreeSet<String>>, kind: &str, key: &str, is_table: bool) -> Option<String> {
    let all = known.iter().filter(|(_, keys)| keys.contains(key)).map(|(place, _)| place.as_str());
    let all: Vec<&str> = all.collect();
    let within: Vec<&str> = all.iter().copied().filter(|place| !kind.is_empty() && place.starts_with(kind)).collect();
    let places = if within.is_empty() { all } else { within };
    if places.is_empty() || places.len() > MAX_PLACES {
        return None;
    }
    if is_table {
        let full: Vec<String> = places.iter().map(|place| super::join(place, key)).collect();
        return Some(format!("did you mean {}?", join_words(full.iter().map(String::as_str), "or", header)));
    }
    let place = |place| {
        if str::is_empty(place) { "at the top of the file, before any [table]".to_owned() } else { header(place) }
    };
    let preposition = if places.first() == Some(&"") { "" } else { "in " };
    Some(format!("\"{key}\" belongs {preposition}{}", join_words(places, "or", place)))
}
