//! The keys that the gateway makes for itself, in a file that only its user may read.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::place;
use crate::base::random::Random;
use crate::base::secret::{Secret, is_exposed};
use crate::base::shell;
use crate::crypto::keyring::{MAX_KEYS, has_any, new_key, parse_keys};

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
    let text = text_unless(path, |about| about.permissions().mode() & 0o077 != 0)?;
    text.map(|text| keys_of(path, &text)).transpose()
}

/// The keys in the text of a file.
fn keys_of(path: &Path, text: &str) -> Result<Vec<Secret<[u8; 32]>>, String> {
    let shown = path.display();
    if !has_any(text) {
        let help = format!("vestibule keygen --into {}", shell::quoted(path));
        return Err(format!("the keys in {shown} cannot be used: there is none in it; {help} puts one there"));
    }
    parse_keys(text).map_err(|error| format!("the keys in {shown} cannot be used: {error}"))
}

/// Reads a file, unless that is one which must not be.
fn text_unless(path: &Path, is_refused: impl FnOnce(&Metadata) -> bool) -> Result<Option<Zeroizing<String>>, String> {
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
    (&mut file).take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| cannot(&error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(cannot(&io::Error::new(ErrorKind::FileTooLarge, "it is larger than 64 KiB")));
    }
    Ok(Some(text))
}

/// Puts a new key in front of those of a file, which keeps its owner and its mode, or makes it with one. How many there are
/// now.
///
/// # Errors
/// A sentence that says why there is no new one; the file is then as it was.
pub fn put_in_front(path: &Path, random: &Random) -> Result<usize, String> {
    let Some(old) = text_unless(path, is_exposed)? else { return make(path, random).map(|keys| keys.len()) };
    // One that says nothing yet, as somebody may have made it for this, or a full disk has left it, has none.
    let before = if has_any(&old) { keys_of(path, &old)?.len() } else { 0 };
    if before >= MAX_KEYS {
        return Err(format!("{} has {MAX_KEYS} keys already: take the oldest away first", path.display()));
    }
    let cannot = |error: io::Error| format!("the keys in {} cannot be changed: {error}", path.display());
    // Comments at the head stay there.
    let at = old.split_inclusive('\n').take_while(|line| line.starts_with('#')).map(str::len).sum();
    let (head, rest) = old.split_at(at);
    let end = if head.is_empty() || head.ends_with('\n') { "" } else { "\n" };
    let text = Zeroizing::new(format!("{head}{end}{}\n{rest}", *new_key(random)));
    // Written beside it and put in its place: there is no moment without keys.
    let next = beside(path);
    let write = || {
        let mut file = new_file(&next)?;
        keep_readers(&file, &fs::metadata(path)?)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, path)?;
        sync_folder(path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&next);
        cannot(error)
    })?;
    Ok(before + 1)
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
    // Made beside its place, and put there when it is whole: a full disk or a crash leaves no half of one, and a file that
    // has come to be there meanwhile stays.
    let next = beside(path);
    let write = || {
        let mut file = new_file(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&next, path)
    };
    let written = write();
    let _ = fs::remove_file(&next);
    // A session must not be on the disk before what opens it.
    written.and_then(|()| sync_folder(path)).map_err(|error| cannot_make(path, &error))?;
    parse_keys(&key)
}

/// Where a file is made before it is put in its place.
fn beside(path: &Path) -> PathBuf {
    path.with_extension(format!("keys-new-{}", std::process::id()))
}

/// A file for keys, empty. What a process of the same number has left there goes.
fn new_file(path: &Path) -> io::Result<File> {
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)
}

/// Has it on the disk that a file is in its folder.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(place::folder_of(path))?.sync_all()
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
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_with_no_key_in_it_is_given_its_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sessions.keys");
        for text in ["", "\n", "# for vestibule\n", "# for vestibule"] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(MODE)).expect("a mode");
            let error = read(&path).expect_err("no key");
            assert!(error.contains("vestibule keygen --into "), "{error}");
            assert_eq!(put_in_front(&path, &Random::System), Ok(1), "{text:?}");
            assert_eq!(read(&path).expect("it is read").map(|keys| keys.len()), Some(1));
        }
        fs::write(&path, "not a key\n").expect("written");
        let error = put_in_front(&path, &Random::System).expect_err("what is there is not lost");
        assert!(error.contains("line 1"), "{error}");
    }
}
