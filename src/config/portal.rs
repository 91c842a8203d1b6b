//! `[portal]`: our own pages.

use crate::reader::Section;

/// The longest title, in characters.
const MAX_TITLE: usize = 80;

/// Reads `[portal]`: what the pages call the service, if anything.
pub(super) fn read(root: &Section<'_>) -> Option<Box<str>> {
    let section = root.section_or_empty("portal");
    let title = section.parsed("title", |text| {
        if text.chars().count() > MAX_TITLE || text.chars().any(char::is_control) {
            Err(format!("the title has more than {MAX_TITLE} characters or a line break; write a short name"))
        } else {
            Ok(text.to_owned())
        }
    });
    title.map(Into::into)
}
