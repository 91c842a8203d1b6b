//! Whether a file could be made somewhere, without making it: what is said before is what would be met later.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::statfs::{PROC_SUPER_MAGIC, SYSFS_MAGIC, statfs};
use nix::unistd::{AccessFlags, access};

/// The folder that `path` is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a new file could be made at `path`.
///
/// # Errors
/// What the system would say if it was tried.
pub fn can_make(path: &Path) -> io::Result<()> {
    // A link that leads nowhere is in the way, too.
    if fs::symlink_metadata(path).is_ok() {
        return Err(Errno::EEXIST.into());
    }
    can_make_in(folder_of(path))
}

/// Whether something could be made, or taken away, in `folder`.
///
/// # Errors
/// As [`can_make`].
pub fn can_make_in(folder: &Path) -> io::Result<()> {
    if !fs::metadata(folder)?.is_dir() {
        return Err(Errno::ENOTDIR.into());
    }
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK)?;
    // There, the kernel shows what it has. Root has the right to make something, and cannot.
    let is_shown_only = statfs(folder).is_ok_and(|of| [PROC_SUPER_MAGIC, SYSFS_MAGIC].contains(&of.filesystem_type()));
    if is_shown_only { Err(Errno::ENOENT.into()) } else { Ok(()) }
}

/// How many links one after another lead to a file, at the most: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Whether two paths lead to one and the same regular file, by whatever names, or would if it was made.
pub fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino()),
        (Err(_), Err(_)) => place_of(one).is_some_and(|place| place_of(other) == Some(place)),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
    }
}

/// Where a file that is not there would be made: in which folder, by its one true name, and as what.
fn place_of(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => return Some(fs::canonicalize(folder_of(&path)).ok()?.join(path.file_name()?)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn what_is_said_is_what_the_system_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").expect("written");
        std::os::unix::fs::symlink(at("nowhere"), at("link")).expect("a link");
        assert!(can_make(Path::new("/proc/new")).is_err() && can_make(Path::new("/sys/new")).is_err());
        for name in ["file", "link", "file/below", "no-folder/below"] {
            let before = can_make(&at(name)).expect_err(name).to_string();
            let made = OpenOptions::new().write(true).create_new(true).open(at(name));
            assert_eq!(before, made.expect_err(name).to_string(), "{name}");
        }
        assert!(can_make(&at("new")).is_ok() && !at("new").exists());
        assert_eq!(folder_of(Path::new("new")), Path::new("."));
    }
}
