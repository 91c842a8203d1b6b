//! Whether the file at the store's path is still the one that was opened. A file goes on taking what is written to it after
//! somebody has moved it away or removed it, and whatever was acknowledged then is on no disk that the next start reads.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The file that a store was opened as. It is held open, so that its number is given to no other while the store lasts.
#[derive(Debug)]
pub(super) struct Identity {
    _held: File,
    number: (u64, u64),
}

impl Identity {
    /// The file that is at `path` now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let held = File::open(path)?;
        let number = number_of(&held.metadata()?);
        Ok(Self { _held: held, number })
    }

    /// Whether it is at `path`, which takes a few microseconds.
    ///
    /// # Errors
    /// What is there instead, to go on from "the session store PATH cannot be written to: ".
    pub(super) fn is_still_at(&self, path: &Path) -> Result<(), String> {
        match fs::metadata(path) {
            Ok(found) if number_of(&found) == self.number => Ok(()),
            Ok(_) => Err("another file is in its place".to_owned()),
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
                Err("no file is at its place any more".to_owned())
            }
            Err(error) => Err(format!("what is at its place cannot be looked at ({error})")),
        }
    }
}

/// The file system, and the file's number in it.
fn number_of(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_file_is_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let [path, gone, other] = ["store", "gone", "other"].map(|name| folder.path().join(name));
        fs::write(&path, "a").expect("written");
        let identity = Identity::at(&path).expect("a file");
        assert_eq!(identity.is_still_at(&path), Ok(()));
        fs::rename(&path, &gone).expect("moved");
        assert!(identity.is_still_at(&path).is_err_and(|why| why.contains("no file")));
        fs::copy(&gone, &path).expect("copied");
        assert!(identity.is_still_at(&path).is_err_and(|why| why.contains("another file")));
        fs::rename(&gone, &path).expect("put back");
        assert_eq!(identity.is_still_at(&path), Ok(()));
        // A number that is free would be given to the next file.
        fs::remove_file(&path).expect("removed");
        for _ in 0..8 {
            fs::write(&other, "a").expect("written");
            fs::rename(&other, &path).expect("moved");
            assert!(identity.is_still_at(&path).is_err_and(|why| why.contains("another file")));
        }
        assert!(identity.is_still_at(&path.join("below")).is_err_and(|why| why.contains("no file")));
    }
}
