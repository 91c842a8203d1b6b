//! A store's file that is read and never changed: what the database writes while it opens one, as after a crash, stays in
//! memory. So a file can be looked at by the very code that will open it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// What is kept of a write, at the least.
const PAGE: usize = 4096;

/// The file, and what would be in it instead. To open a database takes little of that: its own account of which pages are
/// free.
#[derive(Debug)]
pub(super) struct Untouched {
    file: File,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    len: u64,
    /// How much of the file counts; what is behind it reads as zeros.
    of_file: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
}

impl Untouched {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, written: Mutex::new(Written { len, of_file: len, pages: BTreeMap::new() }) })
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file has at `offset`.
    fn read_file(&self, of_file: u64, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(of_file.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (there, behind) = out.split_at_mut(there);
        behind.fill(0);
        self.file.read_exact_at(there, offset)
    }
}

/// The pages that `length` bytes at `offset` are on, each with its number, where in it they begin, and how many there are.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let (number, begin) = (at / PAGE as u64, (at % PAGE as u64) as usize);
        let count = (PAGE - begin).min(length - done);
        done += count;
        (count > 0).then_some((number, begin, count))
    })
}

impl StorageBackend for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.saturating_add(out.len() as u64) > written.len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.read_file(written.of_file, offset, out)?;
        let mut rest = out;
        for (number, begin, count) in parts(offset, rest.len()) {
            let (part, behind) = rest.split_at_mut(count);
            if let Some(page) = written.pages.get(&number) {
                part.copy_from_slice(&page[begin..begin + count]);
            }
            rest = behind;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut written = self.written();
        (written.len, written.of_file) = (len, written.of_file.min(len));
        written.pages.retain(|number, _| number * (PAGE as u64) < len);
        let (last, kept) = (len / PAGE as u64, (len % PAGE as u64) as usize);
        if let Some(page) = written.pages.get_mut(&last) {
            page[kept..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let Written { len, of_file, pages } = &mut *written;
        let mut rest = data;
        for (number, begin, count) in parts(offset, data.len()) {
            let (part, behind) = rest.split_at(count);
            let page = match pages.entry(number) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let mut page = Box::new([0; PAGE]);
                    self.read_file(*of_file, number * PAGE as u64, &mut *page)?;
                    place.insert(page)
                }
            };
            page[begin..begin + count].copy_from_slice(part);
            rest = behind;
        }
        *len = (*len).max(offset + data.len() as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestCaseError;

    use super::*;

    #[derive(Clone, Debug)]
    enum Deed {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let write = (0..20_000_u64, prop::collection::vec(any::<u8>(), 1..9_000));
        prop_oneof![write.prop_map(|(offset, data)| Deed::Write(offset, data)), (0..30_000_u64).prop_map(Deed::SetLen),]
    }

    proptest! {
        #[test]
        fn it_reads_as_a_file_would_and_the_file_stays(
            before in prop::collection::vec(any::<u8>(), 0..20_000),
            deeds in prop::collection::vec(deed(), 0..12),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("file");
            std::fs::write(&path, &before).expect("written");
            let backend = Untouched::new(File::open(&path).expect("opened")).expect("its length");
            let mut model = before.clone();
            for deed in deeds {
                match deed {
                    Deed::Write(offset, data) => {
                        let end = offset as usize + data.len();
                        model.resize(model.len().max(end), 0);
                        model[offset as usize..end].copy_from_slice(&data);
                        backend.write(offset, &data).expect("written");
                    }
                    Deed::SetLen(len) => {
                        model.resize(len as usize, 0);
                        backend.set_len(len).expect("set");
                    }
                }
                let mut read = vec![7; model.len()];
                backend.read(0, &mut read).map_err(|error| TestCaseError::fail(error.to_string()))?;
                prop_assert!(read == model);
                prop_assert_eq!(backend.len().expect("its length"), model.len() as u64);
                prop_assert!(backend.read(1, &mut read).is_err());
            }
            prop_assert_eq!(std::fs::read(&path).expect("read"), before);
        }
    }
}
