//! What was seen, as a table by tenths of the run, and in full for programs.

use crate::soak::sample::Sample;
use crate::soak::tally::{DEEDS, Tally};
use crate::soak::verdict::median;

/// Into how many parts the run is divided.
const PARTS: usize = 10;

/// The table, and what was done.
pub(super) fn table(minutes: u64, samples: &[Sample], tally: &Tally, peak: u64) -> String {
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let mut text =
        "| minutes | requests a second | CPU, % of a core | memory, MiB | open files | session store, MiB | \
                    sessions, active | sessions, remembered | went wrong |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
    let mut before = Sample::default();
    for part in 0..PARTS {
        let range = samples.len() * part / PARTS..samples.len() * (part + 1) / PARTS;
        let Some((seen, last)) = samples.get(range).and_then(|seen| Some((seen, *seen.last()?))) else { continue };
        let seconds = last.seconds - before.seconds;
        text += &format!(
            "| {:.1}–{:.1} | {:.0} | {:.1} | {:.1} | {:.0} | {:.2} | {:.0} | {} | {} |\n",
            before.seconds / 60.0,
            last.seconds / 60.0,
            (last.requests - before.requests) as f64 / seconds,
            (last.cpu - before.cpu) / seconds * 100.0,
            mib(median(seen, |sample| sample.memory)),
            median(seen, |sample| sample.files),
            mib(median(seen, |sample| sample.store)),
            median(seen, |sample| sample.active),
            last.remembered,
            last.failed - before.failed,
        );
        before = last;
    }
    text += &format!("\nIn {minutes} minutes, {} requests:\n\n", tally.requests());
    for (deed, name) in DEEDS {
        text += &format!("- {}: {name}\n", tally.count(deed));
    }
    let Sample { rotations, reloads, .. } = samples.last().copied().unwrap_or_default();
    text += &format!("- {rotations}: cookies replaced by their successor\n");
    text + &format!(
        "- {reloads}: times the configuration was read again\n- memory at the peak: {:.1} MiB\n",
        mib(peak as f64)
    )
}

/// Every sample, a line each.
pub(super) fn csv(samples: &[Sample]) -> String {
    let mut text =
        "seconds,memory_bytes,open_files,store_bytes,sessions_active,sessions_remembered,cpu_seconds,requests,\
                    failed\n"
            .to_owned();
    for sample in samples {
        let Sample { seconds, memory, files, store, active, remembered, cpu, requests, failed, .. } = sample;
        text += &format!("{seconds:.1},{memory},{files},{store},{active},{remembered},{cpu:.2},{requests},{failed}\n");
    }
    text
}
