//! What a store is made in before it is whole, and what is left of that when a start was killed in between.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::place;

/// How the name of such a file goes on behind the store's, before the number of the process.
const UNFINISHED: &str = "new-";

/// Where this process makes a new store for `path`.
pub(super) fn name(path: &Path) -> PathBuf {
    path.with_extension(format!("{UNFINISHED}{}", std::process::id()))
}

/// Removes what other starts have left beside `path`. Only whoever holds that store may: what is not finished then cannot
/// be put in its place any more. What cannot be removed is in nobody's way.
pub(super) fn remove(path: &Path) {
    let Ok(entries) = fs::read_dir(place::folder_of(path)) else { return };
    for left in entries.flatten().map(|entry| entry.path()).filter(|left| is_of(left, path)) {
        let _ = fs::remove_file(left);
    }
}

fn is_of(left: &Path, path: &Path) -> bool {
    let number = left.extension().and_then(|end| end.to_str()?.strip_prefix(UNFINISHED));
    let is_number = number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    is_number && left.file_stem() == path.file_stem()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_so_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions.redb");
        let ours = name(&path);
        let own = ours.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let kept =
            ["sessions.redb", "sessions.keys", "sessions.new-", "sessions.new-1x", "sessions.new", "a.new-1", "new-1"];
        for name in kept.iter().copied().chain([own.as_str(), "sessions.new-1", "sessions.new-4194304"]) {
            fs::write(folder.path().join(name), "half").expect("written");
        }
        remove(&path);
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        let mut kept = kept.map(str::to_owned);
        left.sort_unstable();
        kept.sort_unstable();
        assert_eq!(left, kept);
    }
}
