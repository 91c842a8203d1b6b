//! `[identity]`: what the application is told of who is signed in.

use http::HeaderName;

use crate::reader::Section;
use crate::upstream::identity::{IdentityHeaders, Preset, Template};

/// Reads `[identity]`.
pub(super) fn read(root: &Section<'_>) -> Option<IdentityHeaders> {
    let section = root.section_or_empty("identity");
    let presets = [
        ("x-forwarded", Preset::XForwarded),
        ("remote-user", Preset::RemoteUser),
        ("x-auth-request", Preset::XAuthRequest),
        ("authentik", Preset::Authentik),
        ("none", Preset::None),
    ];
    let preset = section.one_of("preset", &presets).unwrap_or_default();
    let mut own = Vec::new();
    for (name, template) in section.string_map("headers") {
        let parsed_name = HeaderName::from_bytes(name.value.to_ascii_lowercase().as_bytes());
        let parsed_template = Template::parse(&template.value);
        match (parsed_name, parsed_template) {
            (Ok(parsed_name), Ok(parsed_template)) => {
                // Tried alone first, so that the mistake points at its own line.
                match IdentityHeaders::new(Preset::None, vec![(parsed_name.clone(), parsed_template.clone())]) {
                    Ok(_) => own.push((parsed_name, parsed_template)),
                    Err(sentence) => {
                        let (message, help) = sentence.split_once("; ").unwrap_or((&sentence, "write another name"));
                        section.mistake(&name.span, message, help);
                    }
                }
            }
            (name_is, template_is) => {
                if name_is.is_err() {
                    let message = format!("\"{}\" is not a header name", name.value);
                    section.mistake(&name.span, message, "write letters, digits and hyphens, like X-Remote-User");
                }
                if let Err(sentence) = template_is {
                    let (message, help) = sentence.split_once("; ").unwrap_or((&sentence, "write it like \"{user}\""));
                    section.mistake(&template.span, message, help);
                }
            }
        }
    }
    match IdentityHeaders::new(preset, own) {
        Ok(headers) => Some(headers),
        Err(message) => {
            section.mistake_at("headers", message, "");
            None
        }
    }
}
