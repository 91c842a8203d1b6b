//! The same for what a request is: whether whoever is asked to sign in is led to the login page (`window`), is shown the
//! way there in a frame (`frame`), or is answered 401 in JSON (`none`).
//!
//! A row is what a request says of itself; a column is its method, and what of forms it has as its content.

use vestibule::policy::navigation::{FormKind, Navigation, is_for_person};
use vestibule::policy::origin::{self, Source};

use super::*;

const TABLE: &str = "
| what it says                                                    | GET    | HEAD   | POST urlencoded | POST multipart | POST text | POST json | PUT urlencoded |
| --------------------------------------------------------------- | ------ | ------ | --------------- | -------------- | --------- | --------- | -------------- |
| mode navigate, dest document, site same-origin                  | window | window | window          | window         | window    | window    | window         |
| mode navigate, dest document, site none                         | window | window | window          | window         | window    | window    | window         |
| mode navigate, dest document, site cross-site                   | window | window | window          | window         | window    | window    | window         |
| mode navigate, dest document, wants anything, by script         | window | window | window          | window         | window    | window    | window         |
| mode navigate, dest iframe, site same-origin                    | frame  | frame  | frame           | frame          | frame     | frame     | frame          |
| mode navigate, dest frame, site same-origin                     | frame  | frame  | frame           | frame          | frame     | frame     | frame          |
| mode navigate, dest frame, site none                            | frame  | frame  | frame           | frame          | frame     | frame     | frame          |
| mode navigate, dest iframe, site same-site, origin own          | none   | none   | none            | none           | none      | none      | none           |
| mode navigate, dest iframe, site cross-site, wants html         | none   | none   | none            | none           | none      | none      | none           |
| mode navigate, dest iframe, wants html, origin own              | none   | none   | none            | none           | none      | none      | none           |
| mode navigate, dest object, site same-origin, wants html        | none   | none   | none            | none           | none      | none      | none           |
| mode navigate, dest embed, site same-origin, wants html         | none   | none   | none            | none           | none      | none      | none           |
| mode navigate, site same-origin, wants html                     | none   | none   | none            | none           | none      | none      | none           |
| dest document, site same-origin, wants html                     | none   | none   | none            | none           | none      | none      | none           |
| mode cors, dest empty, site same-origin, wants html, origin own | none   | none   | none            | none           | none      | none      | none           |
| mode cors, dest iframe, site same-origin, wants html            | none   | none   | none            | none           | none      | none      | none           |
| mode websocket, dest empty, site same-origin                    | none   | none   | none            | none           | none      | none      | none           |
| wants html                                                      | window | none   | none            | none           | none      | none      | none           |
| wants html, origin own                                          | window | none   | window          | window         | window    | none      | none           |
| wants html, referer own                                         | window | none   | window          | window         | window    | none      | none           |
| wants xhtml, origin own                                         | window | none   | window          | window         | window    | none      | none           |
| wants html, site same-origin                                    | window | none   | window          | window         | window    | none      | none           |
| wants html, site cross-site, origin own                         | window | none   | none            | none           | none      | none      | none           |
| wants html, origin evil                                         | window | none   | none            | none           | none      | none      | none           |
| wants html, origin evil, referer own                            | window | none   | none            | none           | none      | none      | none           |
| wants html, origin null                                         | window | none   | none            | none           | none      | none      | none           |
| wants html, origin own, origin own                              | window | none   | none            | none           | none      | none      | none           |
| wants html, referer evil                                        | window | none   | none            | none           | none      | none      | none           |
| wants html, origin own, by script                               | none   | none   | none            | none           | none      | none      | none           |
| wants anything, origin own                                      | none   | none   | none            | none           | none      | none      | none           |
| wants json, origin own                                          | none   | none   | none            | none           | none      | none      | none           |
| origin own                                                      | none   | none   | none            | none           | none      | none      | none           |
";

const KINDS: [&str; 4] = [
    "application/x-www-form-urlencoded; charset=utf-8",
    "Multipart/form-data; boundary=x",
    "text/plain",
    "application/json",
];

/// The columns: a method, and a kind of content.
fn columns() -> [(Method, Option<&'static str>); 7] {
    let [urlencoded, multipart, text, json] = KINDS.map(Some);
    [
        (Method::GET, None),
        (Method::HEAD, None),
        (Method::POST, urlencoded),
        (Method::POST, multipart),
        (Method::POST, text),
        (Method::POST, json),
        (Method::PUT, urlencoded),
    ]
}

fn header(word: &str) -> (&'static str, String) {
    let place = |which: &str, after: &str| match which {
        "own" => format!("https://app.example.test{after}"),
        "evil" => format!("https://evil.test{after}"),
        other => other.to_owned(),
    };
    match word.split_once(' ').unwrap_or((word, "")) {
        ("mode", mode) => ("sec-fetch-mode", mode.to_owned()),
        ("dest", dest) => ("sec-fetch-dest", dest.to_owned()),
        ("site", site) => ("sec-fetch-site", site.to_owned()),
        ("wants", "html") => ("accept", "text/html, image/png;q=0.5".to_owned()),
        ("wants", "xhtml") => ("accept", "*/*;q=0.1, Application/XHTML+xml;q=0.9".to_owned()),
        ("wants", "anything") => ("accept", "*/*".to_owned()),
        ("wants", "json") => ("accept", "application/json".to_owned()),
        ("origin", which) => ("origin", place(which, "")),
        ("referer", which) => ("referer", place(which, "/form")),
        ("by", "script") => ("x-requested-with", "xmlhttprequest".to_owned()),
        ("by", other) => ("x-requested-with", other.to_owned()),
        _ => panic!("\"{word}\" says nothing"),
    }
}

fn request(method: &Method, kind: Option<&str>, headers: &[(&'static str, String)]) -> Parts {
    let mut parts = parts("a browser", method);
    let kind = kind.map(|kind| ("content-type", kind.to_owned()));
    for (name, value) in headers.iter().chain(&kind) {
        parts.headers.append(*name, value.parse().expect("a value"));
    }
    parts
}

fn facts(parts: &Parts) -> Facts<'_> {
    Facts::read(parts, [192, 0, 2, 1].into()).expect("a good request")
}

fn name(navigation: Navigation) -> &'static str {
    match navigation {
        Navigation::None => "none",
        Navigation::Window => "window",
        Navigation::Frame => "frame",
    }
}

#[test]
fn every_row_of_who_is_going_somewhere() {
    let rows: Vec<Vec<&str>> =
        TABLE.trim().lines().skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() * columns().len() > 200, "only {} rows", rows.len());
    for row in rows {
        let headers: Vec<_> = row[0].split(", ").map(header).collect();
        for (at, (method, kind)) in columns().iter().enumerate() {
            let parts = request(method, *kind, &headers);
            assert_eq!(name(Navigation::of(&facts(&parts))), row[at + 1], "{}: {method} {kind:?}", row[0]);
        }
    }
}

/// What else depends on it: whether somebody is told as a person why they are refused, and what becomes of them at one of our
/// own pages: it is shown, or the way to it out of a frame, or they are refused. A script is nobody in all three.
const PLACES: &str = "
| what it says                                              | led to | told    | our own page |
| --------------------------------------------------------- | ------ | ------- | ------------ |
| mode navigate, dest document                              | window | person  | window       |
| mode navigate, dest document, site cross-site             | window | person  | window       |
| mode navigate, dest document, by script                   | window | person  | none         |
| mode navigate, dest document, by its-name                 | window | person  | none         |
| mode navigate, dest iframe, site same-origin              | frame  | person  | frame        |
| mode navigate, dest frame, site none                      | frame  | person  | frame        |
| mode navigate, dest frame, site same-origin, by script    | frame  | person  | none         |
| mode navigate, dest iframe, site cross-site, wants html   | none   | program | none         |
| mode navigate, dest object, site same-origin, wants html  | none   | program | none         |
| mode navigate, wants html                                 | none   | program | none         |
| dest document, wants html                                 | none   | program | none         |
| dest iframe, site same-origin, wants html                 | none   | program | none         |
| mode cors, dest empty, wants html                         | none   | program | none         |
| wants html                                                | window | person  | window       |
| wants html, site cross-site                               | window | person  | window       |
| wants html, by script                                     | none   | program | none         |
| wants html, by its-name                                   | window | person  | none         |
| wants anything                                            | none   | program | window       |
| site same-origin                                          | none   | program | window       |
";

#[test]
fn every_row_of_what_somebody_who_is_going_somewhere_is_shown() {
    let rows: Vec<Vec<&str>> =
        PLACES.trim().lines().skip(2).map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect();
    assert!(rows.len() > 15, "only {} rows", rows.len());
    for row in rows {
        let headers: Vec<_> = row[0].split(", ").map(header).collect();
        let parts = request(&Method::GET, None, &headers);
        let told = if is_for_person(&parts.headers) { "person" } else { "program" };
        let found = [name(Navigation::of(&facts(&parts))), told, name(Navigation::to_own_page(&parts.headers))];
        assert_eq!(found, row[1..], "{}", row[0]);
    }
}

const WORDS: [&str; 23] = [
    "mode navigate",
    "mode cors",
    "dest document",
    "dest iframe",
    "dest frame",
    "dest object",
    "dest empty",
    "site same-origin",
    "site same-site",
    "site cross-site",
    "site none",
    "wants html",
    "wants xhtml",
    "wants anything",
    "wants json",
    "origin own",
    "origin evil",
    "origin null",
    "referer own",
    "referer evil",
    "by script",
    "by its-name",
    "mode websocket",
];

proptest! {
    #[test]
    fn what_is_led_somewhere_is_no_other_sites_doing_but_where_its_browser_says_so(
        words in proptest::collection::vec(select(&WORDS[..]), 0..8),
        (method, kind) in select(columns().to_vec()),
    ) {
        let headers: Vec<_> = words.iter().map(|word| header(word)).collect();
        let parts = request(&method, kind, &headers);
        let read = facts(&parts);
        let says = |name: &str, value: &str| parts.headers.get(name).is_some_and(|found| found == value);
        let navigation = Navigation::of(&read);
        if navigation == Navigation::Frame {
            prop_assert!(says("sec-fetch-mode", "navigate") && !says("sec-fetch-dest", "document"));
            prop_assert!(says("sec-fetch-site", "same-origin") || says("sec-fetch-site", "none"));
        }
        let is_said = parts.headers.contains_key("sec-fetch-mode") || parts.headers.contains_key("sec-fetch-dest");
        if navigation == Navigation::Window && !is_said && method != Method::GET {
            prop_assert_eq!(origin::source(&read), Source::Own);
            prop_assert!(FormKind::of(&parts.headers).is_some() && method == Method::POST);
        }
        // At our own pages, nobody is who says anything else, and who is led somewhere is a person everywhere.
        let own = Navigation::to_own_page(&parts.headers);
        let is_unsaid_or = |name: &str, value: &str| !parts.headers.contains_key(name) || says(name, value);
        if own == Navigation::Window {
            prop_assert!(is_unsaid_or("sec-fetch-mode", "navigate") && is_unsaid_or("sec-fetch-dest", "document"));
            prop_assert!(!parts.headers.contains_key("x-requested-with"));
        }
        prop_assert!(navigation == Navigation::None || is_for_person(&parts.headers));
        // What a script says of itself leads nowhere.
        if says("sec-fetch-mode", "cors") || (!is_said && says("x-requested-with", "xmlhttprequest")) {
            prop_assert_eq!(navigation, Navigation::None);
        }
    }
}
