//! `[log]`: what is written of requests and events, where, and how.

use std::path::{Path, PathBuf};

use http::HeaderName;

use crate::base::place;
use crate::observe::sink::{self, Destination, LogFormat};
use crate::reader::Section;
use crate::upstream::identity::{IdentityHeaders, Preset, Template};

/// Default: what proxies and applications call it.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What `[log]` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// For people or for programs.
    pub format: LogFormat,
    /// Where every request gets a line, if anywhere.
    pub access: Option<Destination>,
    /// Where audit events are written.
    pub audit: Destination,
    /// The header that carries a request's id, if there is one.
    pub request_id: Option<HeaderName>,
}

impl LogPlan {
    /// Whether events of security are written to where nobody reads them.
    pub(super) fn forgets_events(&self) -> bool {
        matches!(&self.audit, Destination::File(file) if file == Path::new("/dev/null"))
    }
}

/// Reads `[log]`. `identity` is what the application is told of who is signed in.
pub(super) fn read(root: &Section<'_>, identity: Option<&IdentityHeaders>) -> LogPlan {
    let section = root.section_or_empty("log");
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    LogPlan {
        format: section.one_of("format", &formats).unwrap_or_default(),
        access: destination(&section, "access", true),
        audit: destination(&section, "audit", false).unwrap_or_default(),
        request_id: request_id(&section, identity),
    }
}

/// Where a log goes, standard output by default; `None` if it is not written.
fn destination(section: &Section<'_>, key: &str, may_be_off: bool) -> Option<Destination> {
    let help = if may_be_off {
        "write \"stdout\", the path of a file, or \"off\""
    } else {
        "write \"stdout\" or the path of a file"
    };
    match section.converted(key, "a text", help, |text| Ok(text.to_owned())).as_deref() {
        None | Some("stdout") => Some(Destination::Stdout),
        Some("off") if may_be_off => None,
        Some("off") => {
            section.mistake_at(key, "events of security are always written", help);
            None
        }
        Some(_) => {
            let path = section.path_to(key)?;
            if let Some((message, help)) = sink::no_place(&path) {
                section.mistake_at(key, message, help);
            }
            Some(Destination::File(path))
        }
    }
}

/// Notes a log that would be written into a file which is the gateway's already, each given with what it is, and two logs
/// in one file: a flood of requests would drown the events, and neither could be kept for longer than the other.
pub(super) fn apart(root: &Section<'_>, log: &LogPlan, own: &[(&str, PathBuf)]) {
    let section = root.section_or_empty("log");
    let access = log.access.as_ref().and_then(file_of);
    for (key, path) in [("access", access), ("audit", file_of(&log.audit))] {
        let Some(path) = path else { continue };
        let shown = path.display();
        if let Some((what, _)) = own.iter().find(|(_, own)| place::is_same(own, path)) {
            let message = format!("{shown} is {what}, and would be destroyed by a log");
            section.mistake_at(key, message, "write the path of a file of its own");
        } else if key == "audit" && access.is_some_and(|access| place::is_same(access, path)) {
            let message = format!("the access log is written there, and this one would be drowned in it: {shown}");
            section.mistake_at(key, message, "write the path of another file");
        }
    }
}

fn file_of(destination: &Destination) -> Option<&Path> {
    match destination {
        Destination::File(path) => Some(path),
        Destination::Stdout => None,
    }
}

fn request_id(section: &Section<'_>, identity: Option<&IdentityHeaders>) -> Option<HeaderName> {
    let name = section.parsed("request_id", |text| {
        if text == "off" {
            return Ok(None);
        }
        let example = "write a name like \"X-Request-Id\", or \"off\"";
        let name = HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes())
            .map_err(|_| format!("\"{text}\" is not a header name; {example}"))?;
        // What no header of one's own may be called, this one may not be called either.
        let is_free = IdentityHeaders::new(Preset::None, vec![(name.clone(), Template::parse("id")?)]).is_ok();
        if is_free && !identity.is_some_and(|identity| identity.is_ours(name.as_str().as_bytes())) {
            Ok(Some(name))
        } else {
            Err(format!("the header \"{text}\" has another meaning; {example}"))
        }
    });
    name.unwrap_or(Some(REQUEST_ID))
}
