//! The house rules that no lint knows: floors, sizes, and where time, randomness and the environment are read.
//!
//! Every exception is named here with its reason. An exception that nothing needs any more is a failure too.

#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which floor a module of the crate is on. A file imports from lower floors, or from its own module.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("crypto", 1),
    ("observe", 1),
    ("reader", 1),
    ("session", 2),
    ("policy", 2),
    ("route", 2),
    ("store", 3),
    ("login", 3),
    ("limit", 3),
    ("upstream", 3),
    ("rewrite", 3),
    ("enforce", 4),
    ("portal", 5),
    ("admin", 5),
    ("server", 6),
    ("config", 7),
    ("cli", 8),
    ("app", 8),
    ("reload", 8),
    ("lib", 8),
    ("main", 8),
];

/// Floors on which a module may import the ones named before it.
const ORDERED: &[&[&str]] = &[&["session", "policy", "route"], &["app", "reload", "cli", "lib", "main"]];

/// The modules that decide and do not act: nothing in them waits, connects or writes a log.
const PURE: &[&str] = &["session", "policy", "route"];
const IMPURE: &[&str] = &["tokio", "hyper", "tracing", "observe"];

const MOST_LINES_OF_A_FILE: usize = 500;
const MOST_LINES_OF_A_FUNCTION: usize = 70;

/// What only some files may name: the words, the files, the reason.
const RESTRICTED: &[Restricted] = &[
    Restricted {
        what: "the clock",
        words: &["SystemTime::now", "Instant::now", "Utc::now"],
        inside: &["src/"],
        allowed: &[("src/base/clock.rs", "it is the clock")],
    },
    Restricted {
        what: "randomness",
        words: &["rand::", "getrandom", "OsRng"],
        inside: &["src/"],
        allowed: &[("src/base/random.rs", "it is the source of randomness")],
    },
    Restricted {
        what: "the environment",
        words: &["std::env", "env::var", "env::args", "env::temp_dir", "env::current_dir"],
        inside: &["src/"],
        allowed: &[
            ("src/reader/secret.rs", "secrets are written as env:NAME"),
            ("src/reader/tests.rs", "a secret is read from a variable that every machine has"),
            ("src/cli/", "the command line is the way in from the machine"),
        ],
    },
    Restricted {
        what: "waiting by the machine's time",
        words: &["thread::sleep", "time::sleep", "time::timeout", "time::interval"],
        inside: &["src/"],
        allowed: &[
            ("src/base/clock.rs", "it is the clock"),
            ("src/app.rs", "the log is flushed in real time, in which its readers live"),
            ("src/cli/serve.rs", "a process that stops looks for a second signal"),
        ],
    },
    Restricted {
        what: "sleeping in a test",
        words: &["thread::sleep", "time::sleep", "time::interval"],
        inside: &["tests/"],
        allowed: &[],
    },
    Restricted {
        what: "a test that is not run",
        words: &["#[ignore", "#![ignore"],
        inside: &["src/", "tests/", "benches/"],
        allowed: &[],
    },
    Restricted {
        what: "code that is not there",
        words: &["todo!", "unimplemented!", "dbg!"],
        inside: &["src/", "tests/", "benches/"],
        allowed: &[],
    },
    Restricted {
        what: "a lint switched off without noticing when it is not needed any more (write expect)",
        words: &["#[allow", "#![allow"],
        inside: &["src/", "benches/"],
        allowed: &[],
    },
];

struct Restricted {
    what: &'static str,
    words: &'static [&'static str],
    inside: &'static [&'static str],
    allowed: &'static [(&'static str, &'static str)],
}

/// A Rust file of the repository.
struct Source {
    /// Its path from the top, with slashes.
    path: String,
    text: String,
    /// The text with comments, strings and characters blanked out; every line is where it was.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blanked(text) }
    }

    /// The module below `src/`: `session` for `src/session/handle.rs`.
    fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split_once('/').map_or_else(|| rest.trim_end_matches(".rs"), |(module, _)| module))
    }
}

/// The folder of the repository that is tested, which need not be the one that was built: a target folder is shared.
fn top() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// Every Rust file in `src`, `tests`, `benches` and `fuzz`, but for what is built there.
fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz/fuzz_targets", "fuzz/properties"] {
        walk(&top().join(folder), &mut |path| {
            if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).expect("a source file");
                all.push(Source::new(&from_top(path), &text));
            }
        });
    }
    assert!(all.len() > 50, "the sources were found");
    all
}

fn from_top(path: &Path) -> String {
    path.strip_prefix(top()).expect("a path below the top").to_string_lossy().replace('\\', "/")
}

fn walk(folder: &Path, see: &mut dyn FnMut(&Path)) {
    let entries = fs::read_dir(folder).expect("a folder");
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() { walk(&path, see) } else { see(&path) }
    }
}

fn none(broken: &[String]) {
    assert!(broken.is_empty(), "house rules are broken:\n  {}\n", broken.join("\n  "));
}

#[test]
fn files_import_only_lower_floors() {
    none(&sources().iter().flat_map(floors_of).collect::<Vec<_>>());
}

fn floors_of(source: &Source) -> Vec<String> {
    let Some(module) = source.module() else { return Vec::new() };
    let floor = |name: &str| FLOORS.iter().find(|(known, _)| *known == name).map(|(_, floor)| *floor);
    let Some(own) = floor(module) else {
        return vec![format!("{}: no floor is known for \"{module}\"; name it in FLOORS", source.path)];
    };
    let mut broken = Vec::new();
    for (number, line) in numbered(&source.code) {
        for (at, _) in line.match_indices("crate::") {
            let after = &line[at + "crate::".len()..];
            let end = after.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(after.len());
            let other = &after[..end];
            let place = format!("{}:{number}", source.path);
            match floor(other) {
                _ if other == module => {}
                // Items of the crate's own root, as its macros would be, do not exist.
                None => broken.push(format!("{place}: \"crate::{after}\" names no module with a floor")),
                Some(lower) if lower < own => {}
                Some(same) if same == own && is_before(other, module) => {}
                Some(_) => broken.push(format!("{place}: \"{module}\" is not above \"{other}\"")),
            }
        }
        if line.contains("super::super::") {
            broken.push(format!("{}:{number}: super::super may lead out of the module; write crate::", source.path));
        }
    }
    broken
}

/// Whether `module` may import `other` although both are on one floor.
fn is_before(other: &str, module: &str) -> bool {
    ORDERED.iter().any(|order| {
        let place = |name: &str| order.iter().position(|known| *known == name);
        matches!((place(other), place(module)), (Some(other), Some(module)) if other < module)
    })
}

#[test]
fn what_decides_knows_nothing_that_acts() {
    let sources = sources();
    let pure = sources.iter().filter(|source| source.module().is_some_and(|module| PURE.contains(&module)));
    none(&pure.flat_map(impure_words).collect::<Vec<_>>());
}

fn impure_words(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    for (number, line) in numbered(&source.code) {
        for word in words(line).filter(|word| IMPURE.contains(word)) {
            broken.push(format!("{}:{number}: the pure floor names \"{word}\"", source.path));
        }
    }
    broken
}

#[test]
fn every_file_says_at_its_head_what_it_is() {
    let headless = |source: &Source| {
        let head = source.text.lines().next().unwrap_or_default();
        let says = head.strip_prefix("//! ").is_some_and(|words| words.len() >= 10);
        (!says).then(|| format!("{}: begin with a \"//! …\" that says what it is for", source.path))
    };
    none(&sources().iter().filter_map(headless).collect::<Vec<_>>());
}

#[test]
fn no_example_is_left_unchecked() {
    let unchecked = ["```ignore", "```no_run", "```compile_fail"].map(|mark| mark.to_owned() + "\n");
    let found = |source: &&Source| unchecked.iter().any(|mark| source.text.contains(mark));
    let all = sources();
    none(
        &all.iter()
            .filter(found)
            .map(|source| format!("{}: an example that is not run", source.path))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn no_file_and_no_function_is_long() {
    let sources = sources();
    none(&sources.iter().filter(|source| source.path.starts_with("src/")).flat_map(too_long).collect::<Vec<_>>());
}

/// Files of tests alone may be long, and so may the functions in them.
fn too_long(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    if source.path.ends_with("/tests.rs") {
        return broken;
    }
    let lines = source.text.lines().count();
    if lines > MOST_LINES_OF_A_FILE {
        broken.push(format!("{}: {lines} lines; at most {MOST_LINES_OF_A_FILE}", source.path));
    }
    for function in functions(&source.code) {
        if function.lines > MOST_LINES_OF_A_FUNCTION && !function.is_test {
            let Function { name, line, lines, .. } = function;
            broken.push(format!(
                "{}:{line}: \"{name}\" has {lines} lines; at most {MOST_LINES_OF_A_FUNCTION}",
                source.path
            ));
        }
    }
    broken
}

#[test]
fn only_some_files_read_time_randomness_and_the_environment() {
    let used = RefCell::new(BTreeSet::new());
    let sources = sources();
    let mut broken: Vec<String> = sources.iter().flat_map(|source| restricted_words(source, &used)).collect();
    let used = used.into_inner();
    for rule in RESTRICTED {
        for (file, reason) in rule.allowed {
            if !used.contains(&(rule.what, *file)) {
                broken.push(format!("{file} may use {} because {reason}, and does not: take that away", rule.what));
            }
        }
    }
    none(&broken);
}

fn restricted_words(source: &Source, used: &RefCell<BTreeSet<(&'static str, &'static str)>>) -> Vec<String> {
    let mut broken = Vec::new();
    for rule in RESTRICTED.iter().filter(|rule| rule.inside.iter().any(|folder| source.path.starts_with(folder))) {
        for (number, line) in numbered(&source.code) {
            let Some(word) = rule.words.iter().find(|word| has_word(line, word)) else { continue };
            match rule.allowed.iter().find(|(file, _)| source.path.starts_with(file)) {
                Some((file, _)) => {
                    used.borrow_mut().insert((rule.what, *file));
                }
                None => broken.push(format!("{}:{number}: {word}: {}", source.path, rule.what)),
            }
        }
    }
    broken
}

#[test]
fn no_key_is_in_the_repository() {
    let marks = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY"];
    let marks = marks.map(|name| format!("-----BEGIN {name}-----"));
    let mut broken = Vec::new();
    for file in tracked() {
        let extension = Path::new(&file).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if ["pem", "key", "p12", "pfx", "jks", "der"].contains(&extension.to_lowercase().as_str()) {
            broken.push(format!("{file}: a key or a certificate by its name; tests make theirs on the spot"));
        }
        // A file that was deleted and is still tracked cannot hold anything.
        let content = fs::read(top().join(&file)).unwrap_or_default();
        let content = String::from_utf8_lossy(&content);
        if marks.iter().any(|mark| content.contains(mark.as_str())) {
            broken.push(format!("{file}: there is a private key in it"));
        }
    }
    none(&broken);
}

/// The files that git keeps; where there is no git, all but what a build and a run of the gateway leave behind.
fn tracked() -> Vec<String> {
    if top().join(".git").exists() {
        // Also where the files belong to another user, as in a container's mount.
        let arguments = ["-c", "safe.directory=*", "ls-files", "-z"];
        let listed = Command::new("git").args(arguments).current_dir(top()).output().expect("git");
        assert!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8(listed.stdout).expect("names in UTF-8");
        return listed.split_terminator('\0').map(str::to_owned).collect();
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(top()).expect("a folder") {
        let path = entry.expect("an entry").path();
        match from_top(&path).as_str() {
            "target" | "certs" => {}
            _ if path.is_dir() => walk(&path, &mut |file| all.push(from_top(file))),
            name => all.push(name.to_owned()),
        }
    }
    all
}

fn numbered(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// Whether `word` stands in `line` and is not the end of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !word.starts_with(char::is_alphanumeric) || !before.is_some_and(|char| char.is_alphanumeric() || char == '_')
    })
}

struct Function {
    name: String,
    /// Where it begins.
    line: usize,
    /// From its `fn` to its closing brace.
    lines: usize,
    /// Whether it is in a module of tests.
    is_test: bool,
}

/// The functions of a file that has been blanked. Braces are all that is counted, which is enough for formatted code.
fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut line = 1;
    // What waits for its opening brace, and what is open, each with the depth its closing brace leads back to.
    let mut announced: Option<(String, usize)> = None;
    let mut open: Vec<(usize, String, usize)> = Vec::new();
    let mut tests_from: Option<usize> = None;
    let mut is_test_next = false;
    let mut rest = code;
    while let Some(char) = rest.chars().next() {
        if rest.starts_with("#[cfg(test)]") {
            is_test_next = true;
        }
        let word_end = rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(rest.len());
        if word_end > 0 {
            if &rest[..word_end] == "fn" {
                let name = words(&rest[word_end..]).next().unwrap_or_default();
                // A function's type has no name: `fn(u8)`.
                if rest[word_end..].starts_with(' ') {
                    announced = Some((name.to_owned(), line));
                }
            }
            rest = &rest[word_end..];
            continue;
        }
        match char {
            '\n' => line += 1,
            '{' => {
                if is_test_next && tests_from.is_none() {
                    tests_from = Some(depth);
                }
                is_test_next = false;
                if let Some((name, at)) = announced.take() {
                    open.push((depth, name, at));
                }
                depth += 1;
            }
            '}' => {
                depth = depth.checked_sub(1).expect("balanced braces");
                if open.last().is_some_and(|(back, ..)| *back == depth)
                    && let Some((_, name, at)) = open.pop()
                {
                    found.push(Function { name, line: at, lines: line - at + 1, is_test: tests_from.is_some() });
                }
                if tests_from == Some(depth) {
                    tests_from = None;
                }
            }
            // A declaration without a body.
            ';' => {
                announced = announced.filter(|_| rest_is_in_brackets(code, code.len() - rest.len()));
                is_test_next = false;
            }
            _ => {}
        }
        rest = &rest[char.len_utf8()..];
    }
    assert_eq!(depth, 0, "balanced braces");
    found
}

/// Whether the place is inside of `[T; N]`, whose semicolon ends nothing.
fn rest_is_in_brackets(code: &str, at: usize) -> bool {
    let before = &code[..at];
    let from = before.rfind([';', '{', '}']).map_or(0, |at| at + 1);
    before[from..].matches('[').count() > before[from..].matches(']').count()
}

/// `text` with comments, strings and characters made blank.
fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let length = comment(rest).or_else(|| string(rest, code.as_bytes())).or_else(|| character(rest));
        match length {
            Some(length) => {
                code.extend(text[at..at + length].chars().map(|char| if char == '\n' { '\n' } else { ' ' }));
                at += length;
            }
            None => {
                let char = rest.chars().next().expect("a character");
                code.push(char);
                at += char.len_utf8();
            }
        }
    }
    code
}

/// The length of the comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    let mut at = rest.strip_prefix("/*").map(|_| 2)?;
    let mut depth = 1;
    while depth > 0 && at < rest.len() {
        let here = &rest.as_bytes()[at..];
        let step = if here.starts_with(b"*/") {
            depth -= 1;
            2
        } else if here.starts_with(b"/*") {
            depth += 1;
            2
        } else {
            1
        };
        at += step;
    }
    Some(at)
}

/// The length of the string that `rest` begins with, its prefix included. `before` is what was written until now.
fn string(rest: &str, before: &[u8]) -> Option<usize> {
    if before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let prefix = rest.len() - rest.trim_start_matches(['b', 'c', 'r']).len();
    let prefix = if prefix <= 2 { prefix } else { return None };
    let after = &rest[prefix..];
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') || (hashes > 0 && !rest[..prefix].ends_with('r')) {
        return None;
    }
    let start = prefix + hashes + 1;
    if rest[..prefix].ends_with('r') {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()));
    }
    let mut is_escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(start) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// The length of the character literal that `rest` begins with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let skipped = escaped.chars().next().map_or(0, char::len_utf8);
        return escaped[skipped..].find('\'').map(|at| 2 + skipped + at + 1);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].starts_with('\'').then_some(1 + first.len_utf8() + 1)
}

/// The rules find what they are for: a checker that never fails checks nothing.
mod checked {
    use super::*;

    #[test]
    fn what_is_said_is_not_code() {
        let text = "a // b {\n/* c /* d */ { */ e \"f { \\\" g\" r#\"h \" {\"# 'i' '\\'' b'{' b\"{\" 'life: &'a str\n";
        let code = blanked(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(words(&code).collect::<Vec<_>>(), ["a", "e", "b", "life", "a", "str"]);
        assert!(!code.contains('{'));
    }

    #[test]
    fn floors_hold() {
        let broken = |path: &str, text: &str| floors_of(&Source::new(path, text)).len();
        assert_eq!(broken("src/policy/a.rs", "use crate::base::x;\nuse crate::session::y;\nuse crate::policy::z;"), 0);
        assert_eq!(broken("src/policy/a.rs", "use crate::route::x;"), 1);
        assert_eq!(broken("src/session/a.rs", "fn f() { crate::policy::x(); crate::store::y() }"), 2);
        assert_eq!(broken("src/store/a.rs", "use crate::login::x; // crate::config"), 1);
        assert_eq!(broken("src/store/a.rs", "use crate::{base, config};"), 1);
        assert_eq!(broken("src/store/deep/a.rs", "use super::super::x;"), 1);
        assert_eq!(broken("src/cli/a.rs", "use crate::app::x;"), 0);
        assert_eq!(broken("src/app.rs", "use crate::cli::x;"), 1);
        assert_eq!(broken("src/other.rs", ""), 1);
        assert_eq!(impure_words(&Source::new("src/policy/a.rs", "use tokio::x; // hyper\nuse hyper_x;")).len(), 1);
    }

    #[test]
    fn long_functions_are_found() {
        let body = "    let _ = [0; 4];\n".repeat(MOST_LINES_OF_A_FUNCTION - 1);
        let long = format!("impl X {{\n    fn g(a: [u8; 2], f: fn(u8)) -> u8 {{\n{body}    }}\n}}\n");
        let found = too_long(&Source::new("src/a.rs", &long));
        assert_eq!(found, ["src/a.rs:2: \"g\" has 71 lines; at most 70"]);
        assert_eq!(too_long(&Source::new("src/a.rs", &long.replacen("    let _ = [0; 4];\n", "", 1))).len(), 0);
        assert_eq!(too_long(&Source::new("src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}\n"))).len(), 0);
        assert_eq!(too_long(&Source::new("src/a.rs", &format!("#[cfg(test)]\nuse x;\n{long}"))).len(), 1);
        assert_eq!(too_long(&Source::new("src/a.rs", &"\n".repeat(501))).len(), 1);
        let nested = "fn a() {\n fn b();\n let c = || {\n };\n fn d() { }\n}";
        let names: Vec<_> = functions(nested).into_iter().map(|function| (function.name, function.lines)).collect();
        assert_eq!(names, [("d".to_owned(), 1), ("a".to_owned(), 6)]);
    }

    #[test]
    fn forbidden_words_are_found() {
        let broken = |path: &str, text: &str| restricted_words(&Source::new(path, text), &RefCell::default()).len();
        assert_eq!(broken("src/policy/a.rs", "let now = SystemTime::now();"), 1);
        assert_eq!(broken("src/base/clock.rs", "let now = SystemTime::now();"), 0);
        assert_eq!(broken("src/a.rs", "let x = \"SystemTime::now\"; operand::x(); // OsRng"), 0);
        assert_eq!(broken("src/a.rs", "let x: u8 = rand::random();"), 1);
        assert_eq!(broken("tests/it/a.rs", "std::thread::sleep(x);"), 1);
        assert_eq!(broken("tests/it/a.rs", "#[ignore = \"later\"]\nfn a() { todo!() }"), 2);
    }
}
