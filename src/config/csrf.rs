//! `[csrf]`, and what a `[[route]]` says of it: what other sites may make people's browsers ask for.

use std::sync::Arc;

use http::HeaderName;

use crate::config::log;
use crate::policy::origin;
use crate::policy::route_policy::{Access, Shield, TokenNames};
use crate::reader::Section;
use crate::upstream::identity::{IdentityHeaders, Preset};

/// Default for `csrf.token_header`: no application has a header of this name, as it may have `X-CSRF-Token`.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-vestibule-csrf");

/// Default for `csrf.token_field`, for the same reason.
const TOKEN_FIELD: &str = "vestibule_csrf";

/// What is done about what another site caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing: it is not looked for.
    Off,
    /// It is counted and written down.
    Report,
    /// It is refused.
    Enforce,
}

/// What `[csrf]` says.
#[derive(Clone, Debug)]
pub(super) struct CsrfPlan {
    mode: Mode,
    token: Arc<TokenNames>,
}

impl CsrfPlan {
    /// Whether what is found is refused, where a route says nothing else.
    pub(super) fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }
}

/// Reads `[csrf]`. The default is to refuse: an application that nobody can change has no defence of its own.
pub(super) fn read(root: &Section<'_>) -> CsrfPlan {
    let section = root.section_or_empty("csrf");
    let modes = [("off", Mode::Off), ("report", Mode::Report), ("enforce", Mode::Enforce)];
    let mode = section.one_of("mode", &modes).unwrap_or(Mode::Enforce);
    let header = section.parsed("token_header", |text| {
        let name = HeaderName::from_bytes(text.to_ascii_lowercase().as_bytes()).ok();
        // What browsers and servers mean something by begins otherwise.
        let name = name.filter(|name| name.as_str().starts_with("x-"));
        let name =
            name.ok_or_else(|| format!("\"{text}\" is no name for this header; write one that begins with X-"))?;
        IdentityHeaders::new(Preset::None, Vec::new()).and_then(|none| none.deleting(&name)).map(|_| name)
    });
    let field = section.parsed("token_field", |text| {
        let is_good =
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
        if is_good {
            Ok(text.into())
        } else {
            Err(format!("\"{text}\" is not a field's name; write letters, digits, - and _"))
        }
    });
    let names =
        TokenNames { header: header.unwrap_or(TOKEN_HEADER), field: field.unwrap_or_else(|| TOKEN_FIELD.into()) };
    CsrfPlan { mode, token: Arc::new(names) }
}

/// What a route with this access says of it, `None` where it is off. A public route is only shielded where that is
/// written: nobody's session counts there, and it is where other sites have business, as with what they send back after a
/// payment.
pub(super) fn of_route(section: &Section<'_>, access: Access, plan: &CsrfPlan) -> Option<Box<Shield>> {
    let choices = [("off", (Mode::Off, false)), ("report", (Mode::Report, false)), ("enforce", (Mode::Enforce, false))];
    // Who asks for a token means it, unless everything is only to be tried out.
    let with_token = if plan.mode == Mode::Report { Mode::Report } else { Mode::Enforce };
    let choices = choices.into_iter().chain([("token", (with_token, true))]).collect::<Vec<_>>();
    let said = section.one_of("csrf", &choices);
    let default = if access == Access::Public { Mode::Off } else { plan.mode };
    let (mode, needs_token) = said.unwrap_or((default, false));
    if needs_token && access == Access::Public {
        let message = "the cookie of a public route is not read, so there is no session that a token could be of";
        section.mistake_at("csrf", message, "write csrf = \"enforce\", or another access");
    }
    let origins = section.parsed_list_or_none("websocket_origins", "[\"https://app.example.test\"]", origin::read);
    // A webhook is no WebSocket: those stay shielded where somebody's session counts.
    let is_for_sockets_alone = mode == Mode::Off && access != Access::Public;
    let mode = if is_for_sockets_alone { plan.mode } else { mode };
    let is_for_nothing = mode == Mode::Off && (said.is_some() || access == Access::Public);
    if is_for_nothing && origins.as_ref().is_some_and(|origins| !origins.is_empty()) {
        let message =
            "where a WebSocket comes from is not looked at on this route, so these origins allow nothing more";
        section.mistake_at("websocket_origins", message, "remove this line, or write csrf = \"enforce\"");
    }
    (mode != Mode::Off).then(|| {
        Box::new(Shield {
            is_enforced: mode == Mode::Enforce,
            is_for_sockets_alone,
            websocket_origins: origins.unwrap_or_default().into_iter().map(|origin| origin.value).collect(),
            token: needs_token.then(|| Arc::clone(&plan.token)),
        })
    })
}

/// What is deleted from what clients send, with the token's header where a route asks for one.
pub(super) fn with_token(
    root: &Section<'_>,
    identity: IdentityHeaders,
    token: Option<&TokenNames>,
) -> Option<IdentityHeaders> {
    let Some(token) = token else { return Some(identity) };
    let section = root.section_or_empty("csrf");
    if token.header == log::REQUEST_ID && !root.section_or_empty("log").has("request_id") {
        section.mistake_at("token_header", "this is the header with the id of a request", "choose another name");
    }
    match identity.deleting(&token.header) {
        Ok(identity) => Some(identity),
        Err(message) => {
            section.mistake_at("token_header", message, "");
            None
        }
    }
}
