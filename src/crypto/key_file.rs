//! The keys that the gateway makes for itself, in a file that only its user may read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::place;
use crate::base::random::Random;
use crate::base::secret::{Secret, is_exposed};
use crate::crypto::keyring::{MAX_KEYS, new_key, parse_keys};

/// The largest file that is read, in bytes: more than all keys of a ring with a comment each.
const MAX_BYTES: u64 = 64 << 10;

/// Who may read and write it: its user.
const MODE: u32 = 0o600;

/// Reads the keys of a file.
///
/// # Errors
/// A sentence that says what is wrong and what to do; `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<Secret<[u8; 32]>>>, String> {
    // It was made with its mode, so that another is somebody's doing.
    read_unless(path, |about| about.permissions().mode() & 0o077 != 0)
}

/// Reads the keys of a file, unless that is one which must not be.
fn read_unless(
    path: &Path,
    is_refused: impl FnOnce(&Metadata) -> bool,
) -> Result<Option<Vec<Secret<[u8; 32]>>>, String> {
    let shown = path.display();
    let cannot = |error: &io::Error| format!("the keys in {shown} cannot be read: {error}");
    let mut file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(cannot(&error)),
    };
    let about = file.metadata().map_err(|error| cannot(&error))?;
    if about.is_dir() {
        let within = path.join("sessions.keys");
        return Err(format!("{shown} is a folder; write the path of a file in it, like {}", within.display()));
    }
    if is_refused(&about) {
        return Err(format!(
            "the keys in {shown} may be read by others (mode {:04o}): chmod 600 {shown}, and have new ones made if \
             somebody has",
            about.permissions().mode() & 0o7777
        ));
    }
    let mut text = Zeroizing::new(String::with_capacity(4096));
    (&mut file).take(MAX_BYTES).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    parse_keys(&text).map(Some).map_err(|error| format!("the keys in {shown} cannot be used: {error}"))
}

/// Puts a new key in front of those of a file, which keeps its owner and its mode, or makes it with one. How many there are
/// now.
///
/// # Errors
/// A sentence that says why there is no new one; the file is then as it was.
pub fn put_in_front(path: &Path, random: &Random) -> Result<usize, String> {
    let Some(before) = read_unless(path, is_exposed)? else { return make(path, random).map(|keys| keys.len()) };
    if before.len() >= MAX_KEYS {
        return Err(format!("{} has {MAX_KEYS} keys already: take the oldest away first", path.display()));
    }
    let cannot = |error: io::Error| format!("the keys in {} cannot be changed: {error}", path.display());
    let old = Zeroizing::new(std::fs::read_to_string(path).map_err(cannot)?);
    // Comments at the head stay there.
    let at = old.split_inclusive('\n').take_while(|line| line.starts_with('#')).map(str::len).sum();
    let (head, rest) = old.split_at(at);
    let text = Zeroizing::new(format!("{head}{}\n{rest}", *new_key(random)));
    // Written beside it and put in its place: there is no moment without keys.
    let next = path.with_extension("keys-new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(&next)?;
        keep_readers(&file, &std::fs::metadata(path)?)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, path)
    };
    write().map_err(cannot)?;
    Ok(before.len() + 1)
}

/// Gives a file to whoever could read the one that it replaces: the gateway may run as another user than its administrator.
fn keep_readers(file: &File, former: &Metadata) -> io::Result<()> {
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (former.uid(), former.gid()) {
        fchown(file, Some(former.uid()), Some(former.gid()))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(former.mode() & 0o777))
}

/// Makes a file with one new key, where there is none, and returns the key.
///
/// # Errors
/// A sentence that says why there is none.
pub fn make(path: &Path, random: &Random) -> Result<Vec<Secret<[u8; 32]>>, String> {
    let key = new_key(random);
    let text =
        Zeroizing::new(format!("# The keys of vestibule's sessions: the first seals, all of them open.\n{}\n", *key));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
        file.write_all(text.as_bytes())?;
        // A session must not be on the disk before what opens it.
        file.sync_all()
    };
    write().map_err(|error| cannot_make(path, &error))?;
    parse_keys(&key)
}

/// Whether [`make`] could make the file.
///
/// # Errors
/// As [`make`].
pub fn can_be_made(path: &Path) -> Result<(), String> {
    place::can_make(path).map_err(|error| cannot_make(path, &error))
}

fn cannot_make(path: &Path, error: &io::Error) -> String {
    format!("the keys {} cannot be made: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_read_again_and_by_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions.keys");
        assert!(read(&path).expect("no file").is_none());
        let made = make(&path, &Random::System).expect("it is made");
        assert_eq!(read(&path).expect("it is read"), Some(made));
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, MODE);
        assert!(make(&path, &Random::System).is_err(), "one that is there stays");
        let one = read(&path).expect("it is read").expect("it is there");
        assert_eq!(put_in_front(&path, &Random::System), Ok(2));
        let two = read(&path).expect("it is read").expect("it is there");
        assert!(two.len() == 2 && two[1] == one[0] && two[0] != one[0]);
        assert!(std::fs::read_to_string(&path).expect("it is read").starts_with("# "));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("it is changed");
        let error = read(&path).expect_err("others may read it");
        assert!(error.contains("chmod 600"), "{error}");
    }
}
