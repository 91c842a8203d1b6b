//! Whether what should be flat is flat.
//!
//! The first third of the run is for settling. Then the median of the last third is held against that of the second. By
//! design something does grow: an ended session is remembered for a day, so that its person can be told why. What that
//! takes is allowed for, by a fixed number of bytes for each, so that nothing else can hide behind it.

use crate::soak::sample::Sample;

/// How much larger the last third's median may be than the second's: what readings differ by anyway.
const MAY_GROW: f64 = 1.05;
/// And how many more files may be open besides: so many connections more or less are there by chance. One that was left
/// behind by each visit would be a thousand.
const FILES_BY_CHANCE: f64 = 8.0;
/// Bytes of memory that a remembered session may take: its record and indexes in tables that double, and its row in what
/// the store keeps of the file in memory. From 3600 to 7200 sessions it was 1.1 KiB each.
const MEMORY_EACH: f64 = 2048.0;
/// Bytes of the file that it may take: a sealed row, and the free part of its page. 7200 of them took 582 each.
const STORE_EACH: f64 = 600.0;
/// Bytes of the file when nothing is in it.
const STORE_EMPTY: f64 = 131_072.0;
/// The session store's file is doubled when it is full, so it may be so many times as large as what is in it.
const STORE_STEP: f64 = 2.0;

/// What came of one kind of reading.
pub(super) struct Flatness {
    what: &'static str,
    second: f64,
    last: f64,
    allowed: f64,
}

/// Judges all kinds.
pub(super) fn judge(samples: &[Sample]) -> Vec<Flatness> {
    let third = samples.len() / 3;
    let (second, last) =
        (samples.get(third..2 * third).unwrap_or_default(), samples.get(2 * third..).unwrap_or_default());
    let of = |read: fn(&Sample) -> u64| (median(second, read), median(last, read));
    let (remembered_before, remembered) = of(|sample| sample.remembered);
    let more = (remembered - remembered_before).max(0.0);
    let mib = f64::from(1 << 20);
    let (memory_before, memory) = of(|sample| sample.memory);
    let (files_before, files) = of(|sample| sample.files);
    let (store_before, store) = of(|sample| sample.store);
    // A doubling is explained by what is in the file, all of it.
    let in_file = STORE_STEP * (STORE_EMPTY + STORE_EACH * (remembered + median(last, |sample| sample.active)));
    vec![
        Flatness {
            what: "memory, MiB",
            second: memory_before / mib,
            last: memory / mib,
            allowed: (memory_before * MAY_GROW + more * MEMORY_EACH) / mib,
        },
        Flatness {
            what: "open files",
            second: files_before,
            last: files,
            allowed: files_before * MAY_GROW + FILES_BY_CHANCE,
        },
        Flatness {
            what: "session store, MiB",
            second: store_before / mib,
            last: store / mib,
            allowed: (store_before * MAY_GROW + more * STORE_EACH).max(in_file) / mib,
        },
    ]
}

/// The table.
pub(super) fn table(all: &[Flatness]) -> String {
    let mut text = "\n| median of | second third | last third | at most |\n|---|--:|--:|--:|\n".to_owned();
    for Flatness { what, second, last, allowed } in all {
        text += &format!("| {what} | {second:.1} | {last:.1} | {allowed:.1} |\n");
    }
    text
}

/// An error if one of them is not flat.
pub(super) fn all_flat(all: &[Flatness]) -> Result<(), String> {
    match all.iter().find(|one| one.last > one.allowed) {
        Some(Flatness { what, second, last, allowed }) => {
            Err(format!("{what}: {last:.1} after {second:.1}, and at most {allowed:.1} is explained"))
        }
        None => Ok(()),
    }
}

/// The median of a reading.
pub(super) fn median(samples: &[Sample], read: fn(&Sample) -> u64) -> f64 {
    let mut values: Vec<u64> = samples.iter().map(read).collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0) as f64
}
