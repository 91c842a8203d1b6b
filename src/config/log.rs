//! `[log]`: what is written to standard output, and how.

use crate::observe::sink::LogFormat;
use crate::reader::Section;

/// What `[log]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// For people or for programs.
    pub format: LogFormat,
    /// Whether every request gets a line.
    pub access: bool,
}

/// Reads `[log]`.
pub(super) fn read(root: &Section<'_>) -> LogPlan {
    let section = root.section_or_empty("log");
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    LogPlan {
        format: section.one_of("format", &formats).unwrap_or_default(),
        access: section.bool("access").unwrap_or(true),
    }
}
