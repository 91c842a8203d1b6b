//! `[portal]`: how our own pages look.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::Arc;

use crate::enforce::pages::color::Color;
use crate::enforce::pages::logo::{Logo, MAX_LOGO};
use crate::enforce::pages::look::LookSettings;
use crate::reader::Section;

/// The longest title, in characters.
const MAX_TITLE: usize = 80;

/// The longest note, in characters: some three lines of a page.
const MAX_NOTE: usize = 200;

/// Reads `[portal]`. What it does not say is as in `otherwise`; what it says as `""` is nothing, whatever is said there.
pub(super) fn read(root: &Section<'_>, otherwise: &LookSettings) -> LookSettings {
    let section = root.section_or_empty("portal");
    let title = line(&section, "title", MAX_TITLE, "write a short name");
    let note = line(&section, "note", MAX_NOTE, "write one line, like \"Help desk: extension 4711\"");
    let color = section.parsed("color", |text| if text.is_empty() { Ok(None) } else { Color::parse(text).map(Some) });
    LookSettings {
        title: title.unwrap_or_else(|| otherwise.title.clone()),
        note: note.unwrap_or_else(|| otherwise.note.clone()),
        logo: logo(&section).unwrap_or_else(|| otherwise.logo.clone()),
        color: color.unwrap_or(otherwise.color),
    }
}

/// A line that people read.
fn line(section: &Section<'_>, key: &str, most: usize, help: &str) -> Option<Box<str>> {
    section.parsed(key, |text| {
        if text.chars().count() > most || text.chars().any(char::is_control) {
            Err(format!("the {key} has more than {most} characters or a line break; {help}"))
        } else {
            Ok(text.into())
        }
    })
}

/// The picture in a file. The file is looked at again while the gateway runs, as every file that a configuration names.
fn logo(section: &Section<'_>) -> Option<Option<Arc<Logo>>> {
    if section.str("logo")?.is_empty() {
        return Some(None);
    }
    let file = section.path_to("logo")?;
    section.document().reads(&file);
    match content(&file).and_then(|content| Logo::new(&content)) {
        Ok(logo) => Some(Some(Arc::new(logo))),
        Err((message, help)) => {
            section.mistake_at("logo", format!("the file {} {message}", file.display()), help);
            None
        }
    }
}

/// What is in a file, as far as it takes to see that it is too much.
fn content(file: &Path) -> Result<Vec<u8>, (String, &'static str)> {
    let read = || {
        // Only files end.
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::IsADirectory.into());
        }
        let mut content = Vec::new();
        File::open(file)?.take(MAX_LOGO as u64 + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    read().map_err(|error: std::io::Error| {
        let kind = error.kind();
        if kind == ErrorKind::NotFound || kind == ErrorKind::NotADirectory {
            ("does not exist".to_owned(), "write the path of an SVG or PNG, or remove this line")
        } else if kind == ErrorKind::IsADirectory {
            ("is no plain file".to_owned(), "write the path of an SVG or PNG")
        } else if kind == ErrorKind::PermissionDenied {
            let help = "let the user that this runs as read it, as with chmod a+r: everybody is shown it";
            ("may not be read".to_owned(), help)
        } else {
            (format!("cannot be read: {error}"), "write the path of an SVG or PNG")
        }
    })
}
