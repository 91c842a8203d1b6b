//! Telling whether a file was changed, by one system call and without reading it.
//!
//! Being told of changes by the system would miss what happens to files that people care for: certbot and Kubernetes
//! change a link somewhere above, editors put another file in its place, and a network's file system tells nobody.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What tells a file from what it was: device and inode, size, and the times of the last change of content and of
/// anything, as links lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp([u64; 3], [i64; 4]);

impl Stamp {
    /// `None` when there is no such file.
    pub fn of(file: &Path) -> Option<Self> {
        let found = fs::metadata(file).ok()?;
        let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
        Some(Self([found.dev(), found.ino(), found.size()], times))
    }
}

/// A file as it was before it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it is.
    pub file: PathBuf,
    /// What it was; `None` when there was none.
    pub stamp: Option<Stamp>,
}

impl Seen {
    /// The file as it is now.
    pub fn now(file: &Path) -> Self {
        Self { file: file.to_owned(), stamp: Stamp::of(file) }
    }

    /// Whether it is still what it was.
    pub fn is_as_it_was(&self) -> bool {
        Stamp::of(&self.file) == self.stamp
    }
}
