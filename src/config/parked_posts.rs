//! `[session.parked_posts]`: what is kept of forms that meet an ended session.

use std::time::Duration;

use crate::base::units;
use crate::enforce::parking::{DEFAULT_KEEP, DEFAULT_MAX_SIZE, DEFAULT_PER_USER, DEFAULT_TOTAL, ParkingSettings};
use crate::reader::Section;
use crate::session::kv::MAX_VALUE;

/// The least that `max_size` can be: less holds no form.
const LEAST_SIZE: u64 = 1 << 10;

/// The most that it can be: what a store takes, without what is written down beside it.
const MOST_SIZE: u64 = MAX_VALUE as u64 - (1 << 20);

/// The most that `total` can be. It is somebody's work of a few minutes, not an archive.
const MOST_TOTAL: u64 = 16 << 30;

/// The most that one person can have.
const MOST_PER_USER: usize = 100;

/// The shortest and the longest time: nobody signs in within seconds, and what is kept for longer than a day is no slip.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads it; `None` when nothing is kept.
pub(super) fn read(session: &Section<'_>) -> Option<ParkingSettings> {
    let section = session.section_or_empty("parked_posts");
    let keep = section.parsed("keep", |text| if text == "off" { Ok(None) } else { units::duration(text).map(Some) });
    if keep == Some(None) {
        section.unused(&["max_size", "per_user", "total"]);
        return None;
    }
    let settings = ParkingSettings {
        max_size: section.size("max_size").unwrap_or(DEFAULT_MAX_SIZE),
        per_user: section.integer("per_user", 1..=MOST_PER_USER).unwrap_or(DEFAULT_PER_USER),
        total: section.size("total").unwrap_or(DEFAULT_TOTAL),
        keep: keep.unwrap_or(Some(DEFAULT_KEEP)).unwrap_or_default(),
    };
    if !(LEAST_SIZE..=MOST_SIZE).contains(&settings.max_size) {
        section.mistake_at(
            "max_size",
            "a form has from 1 KiB to 15 MiB",
            "write a size between \"1KiB\" and \"15MiB\"",
        );
    }
    if !(SHORTEST..=LONGEST).contains(&settings.keep) {
        let help = "write a time between \"1m\" and \"24h\", or \"off\"";
        section.mistake_at("keep", "forms are kept from one minute to one day", help);
    }
    if settings.total > MOST_TOTAL {
        section.mistake_at("total", "this is a limit, and it limits nothing", "write at most \"16GiB\"");
    }
    if settings.total < settings.max_size.saturating_mul(2) {
        let key = if section.has("total") { "total" } else { "max_size" };
        let message = "all forms together may hardly take more than one of them";
        section.mistake_at(key, message, "write a total that is at least twice max_size");
    }
    Some(settings)
}
