//! Who is signed in, told to the application in headers that nobody else can write.
//!
//! Every header that the gateway may send is first deleted from the client's request, in every spelling that some
//! application reads as the same name: CGI makes `X-Forwarded-User`, `X_Forwarded_User` and `x.forwarded.user` one
//! variable.

use http::{HeaderName, HeaderValue};

use crate::session::principal::Principal;

/// A named set of headers (see `identity.preset` in the reference configuration).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preset {
    /// `X-Forwarded-User`, `-Email`, `-Groups`, `-Roles`: the default.
    #[default]
    XForwarded,
    /// `Remote-User`, `-Email`, `-Groups`, `-Name`, as Authelia sends them.
    RemoteUser,
    /// `X-Auth-Request-User`, `-Email`, `-Groups`, as oauth2-proxy does.
    XAuthRequest,
    /// `X-authentik-username`, `-email`, `-groups`, with `|` between groups.
    Authentik,
    /// None: only the names that are configured.
    None,
}

impl Preset {
    const ALL: [Self; 4] = [Self::XForwarded, Self::RemoteUser, Self::XAuthRequest, Self::Authentik];

    /// Names and templates.
    const fn fields(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::XForwarded => &[
                ("x-forwarded-user", "{user}"),
                ("x-forwarded-email", "{email}"),
                ("x-forwarded-groups", "{groups}"),
                ("x-forwarded-roles", "{roles}"),
            ],
            Self::RemoteUser => &[
                ("remote-user", "{user}"),
                ("remote-email", "{email}"),
                ("remote-groups", "{groups}"),
                ("remote-name", "{user}"),
            ],
            Self::XAuthRequest => &[
                ("x-auth-request-user", "{user}"),
                ("x-auth-request-email", "{email}"),
                ("x-auth-request-groups", "{groups}"),
            ],
            Self::Authentik => &[
                ("x-authentik-username", "{user}"),
                ("x-authentik-email", "{email}"),
                ("x-authentik-groups", "{groups|}"),
            ],
            Self::None => &[],
        }
    }
}

/// Names that peers send beside those of our presets. An application that was behind one of them may still read them.
const OTHER_NAMES: &[&str] = &[
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-auth-request-preferred-username",
    "x-auth-request-access-token",
    "x-authentik-entitlements",
    "x-authentik-name",
    "x-authentik-uid",
    "x-remote-user",
    LEVEL,
];

/// What says the level of a session, unless another header is configured to.
const LEVEL: &str = "x-session-level";

/// Names of what the gateway says of the connection.
const CONNECTION_NAMES: &[&str] =
    &["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"];

/// A part of a header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    User,
    Email,
    Groups(char),
    Roles(char),
    Level,
}

/// A header's value with what varies: `{user}`, `{email}`, `{level}`, `{groups}`, `{roles}`; the last two take another separator
/// than a comma, as in `{groups|}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, after) = rest.split_at(open);
            let (name, after) =
                after[1..].split_once('}').ok_or_else(|| format!("\"{text}\" has a {{ without a }}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let separator = name.chars().last().filter(|last| !last.is_ascii_alphanumeric());
            let plain = name.trim_end_matches(|last| Some(last) == separator);
            parts.push(match (plain, separator) {
                ("user", None) => Part::User,
                ("email", None) => Part::Email,
                ("level", None) => Part::Level,
                ("groups", other) => Part::Groups(other.unwrap_or(',')),
                ("roles", other) => Part::Roles(other.unwrap_or(',')),
                _ => {
                    return Err(format!(
                        "{{{name}}} is not known; write {{user}}, {{email}}, {{groups}}, {{roles}} or {{level}}"
                    ));
                }
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("\"{text}\" has a }} without a {{"));
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        if text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            Ok(Self(parts))
        } else {
            Err(format!("\"{text}\" has a character that a header cannot carry; write visible ASCII"))
        }
    }

    /// The value for `principal`; `None` when it would be empty.
    fn value(&self, principal: &Principal, level: Option<&str>) -> Option<HeaderValue> {
        if let [Part::User] = self.0.as_slice() {
            return HeaderValue::from_str(&principal.user).ok();
        }
        let mut value = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => value.push_str(text),
                Part::User => value.push_str(&principal.user),
                Part::Email => value.push_str(principal.email.as_deref().unwrap_or_default()),
                Part::Level => value.push_str(level.unwrap_or_default()),
                Part::Groups(separator) => push_list(&mut value, &principal.groups, *separator),
                Part::Roles(separator) => push_list(&mut value, &principal.roles, *separator),
            }
        }
        if value.is_empty() { None } else { HeaderValue::try_from(value).ok() }
    }
}

fn push_list(value: &mut String, list: &str, separator: char) {
    value.extend(list.chars().map(|character| if character == ',' { separator } else { character }));
}

/// The identity headers that are sent, and all that are deleted first.
#[derive(Clone, Debug)]
pub struct IdentityHeaders {
    fields: Vec<(HeaderName, Template)>,
    /// The header that says the level of a session that has one, where no field of `fields` does.
    level: Option<HeaderName>,
    /// Names in folded form, sorted.
    deleted: Vec<Box<[u8]>>,
    /// Bit n is set when some deleted name is n bytes long: most names of a request are ruled out by their length.
    lengths: u64,
}

impl IdentityHeaders {
    /// The headers of `preset`, and `own` ones beside them.
    ///
    /// # Errors
    /// A sentence when one of the own names is one that the gateway writes for another purpose.
    pub fn new(preset: Preset, own: Vec<(HeaderName, Template)>) -> Result<Self, String> {
        let mut fields = Vec::new();
        for (name, template) in preset.fields() {
            fields.push((HeaderName::from_static(name), Template::parse(template)?));
        }
        for (name, template) in own {
            let folded = fold(name.as_str());
            let is_taken = CONNECTION_NAMES.iter().chain(RESERVED_NAMES).any(|taken| fold(taken) == folded);
            if is_taken {
                return Err(format!("the header \"{name}\" has another meaning; choose another name"));
            }
            if folded == fold(LEVEL) && !template.0.contains(&Part::Level) {
                return Err(format!(
                    "the header \"{name}\" tells the level of the session; write \"{{level}}\" or choose another name"
                ));
            }
            fields.retain(|(other, _)| fold(other.as_str()) != folded);
            fields.push((name, template));
        }
        let presets = Preset::ALL.iter().flat_map(|preset| preset.fields()).map(|(name, _)| *name);
        let names = presets.chain(OTHER_NAMES.iter().copied()).chain(CONNECTION_NAMES.iter().copied());
        let mut deleted: Vec<Box<[u8]>> = names.chain(fields.iter().map(|(name, _)| name.as_str())).map(fold).collect();
        deleted.sort();
        deleted.dedup();
        let lengths = deleted.iter().fold(0, |bits, name| bits | length_bit(name.len()));
        let says_level = |(_, template): &(HeaderName, Template)| template.0.contains(&Part::Level);
        let is_wanted = preset != Preset::None && !fields.iter().any(says_level);
        let level = is_wanted.then(|| HeaderName::from_static(LEVEL));
        Ok(Self { fields, level, deleted, lengths })
    }

    /// The same, and one more that is deleted: it is sent, but not of the person.
    ///
    /// # Errors
    /// A sentence when the name has another meaning already.
    pub fn deleting(mut self, name: &HeaderName) -> Result<Self, String> {
        let folded = fold(name.as_str());
        let reserved = RESERVED_NAMES.iter().any(|taken| fold(taken) == folded);
        if reserved || self.deleted.contains(&folded) {
            return Err(format!("the header \"{name}\" has another meaning; choose another name"));
        }
        self.lengths |= length_bit(folded.len());
        self.deleted.push(folded);
        self.deleted.sort();
        Ok(self)
    }

    /// Whether `name`, in whatever spelling, is one that the gateway may send.
    pub fn is_ours(&self, name: &[u8]) -> bool {
        if self.lengths & length_bit(name.len()) == 0 {
            return false;
        }
        let folded = name.iter().map(|byte| fold_byte(*byte));
        self.deleted.binary_search_by(|known| known.iter().copied().cmp(folded.clone())).is_ok()
    }

    /// The fields that say who is signed in. What has no value is not sent.
    pub fn fields_of(&self, principal: &Principal, level: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
        let field = |(name, template): &(HeaderName, Template)| Some((name.clone(), template.value(principal, level)?));
        let level = || Some((self.level.clone()?, HeaderValue::from_str(level?).ok()?));
        self.fields.iter().filter_map(field).chain(level()).collect()
    }
}

/// Names an own identity header must not take: they steer the connection or the message.
const RESERVED_NAMES: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-prefix",
];

const fn length_bit(length: usize) -> u64 {
    1 << (length % 64)
}

const fn fold_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'_' }
}

/// A header's name as CGI would make it a variable (RFC 3875 section 4.1.18), in lower case.
fn fold(name: &str) -> Box<[u8]> {
    name.bytes().map(fold_byte).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn principal() -> Principal {
        Principal::new("alice", Some("alice@example.test"), &["staff".into(), "night".into()], &["admin".into()])
    }

    fn own(name: &'static str, template: &str) -> (HeaderName, Template) {
        (HeaderName::from_static(name), Template::parse(template).expect("a template"))
    }

    #[test]
    fn knows_every_spelling_and_nothing_else() {
        let headers = IdentityHeaders::new(Preset::RemoteUser, vec![own("x-app-login", "{user}")]).expect("headers");
        for spelling in [
            "x-forwarded-user",
            "x_forwarded_user",
            "x.forwarded-user",
            "remote_user",
            "REMOTE-USER",
            "x-app_login",
            "X~APP^LOGIN",
            "x-real_ip",
            "Forwarded",
            "x-authentik-username",
        ] {
            assert!(headers.is_ours(spelling.as_bytes()), "{spelling}");
        }
        for other in
            ["user-agent", "x-forwarded-users", "xforwardeduser", "cookie", "", "authorization", "x-app-logins"]
        {
            assert!(!headers.is_ours(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn writes_the_preset_and_own_names() {
        let write = |preset, own| {
            let mut map = HeaderMap::new();
            map.extend(IdentityHeaders::new(preset, own).expect("headers").fields_of(&principal(), None));
            let mut shown: Vec<String> =
                map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
            shown.sort();
            shown
        };
        assert_eq!(
            write(Preset::XForwarded, vec![]),
            [
                "x-forwarded-email: alice@example.test",
                "x-forwarded-groups: staff,night",
                "x-forwarded-roles: admin",
                "x-forwarded-user: alice"
            ]
        );
        assert_eq!(write(Preset::Authentik, vec![])[1], "x-authentik-groups: staff|night");
        assert_eq!(write(Preset::None, vec![own("x-who", "<{user}@{roles;}>")]), ["x-who: <alice@admin>"]);
    }

    #[test]
    fn the_level_is_said_where_there_is_one_and_once() {
        let said = |preset, own, level| {
            let headers = IdentityHeaders::new(preset, own).expect("headers");
            let fields = headers.fields_of(&Principal::new("bob", None, &[], &[]), level).into_iter();
            fields.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect::<Vec<_>>()
        };
        let level = Some("known");
        assert_eq!(said(Preset::XForwarded, vec![], level), ["x-forwarded-user: bob", "x-session-level: known"]);
        assert_eq!(said(Preset::XForwarded, vec![], None), ["x-forwarded-user: bob"]);
        assert_eq!(said(Preset::None, vec![], level).len(), 0);
        let own_name = || vec![own("x-trust", "{level}")];
        assert_eq!(said(Preset::XForwarded, own_name(), level), ["x-forwarded-user: bob", "x-trust: known"]);
        assert_eq!(said(Preset::None, own_name(), None).len(), 0);
    }

    #[test]
    fn what_is_empty_is_not_sent() {
        let mut map = HeaderMap::new();
        let nobody = Principal::new("bob", None, &[], &[]);
        map.extend(IdentityHeaders::new(Preset::XForwarded, vec![]).expect("headers").fields_of(&nobody, None));
        assert_eq!(map.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-forwarded-user"]);
    }

    #[test]
    fn refuses_templates_and_names_that_cannot_work() {
        for wrong in ["{", "}", "{name}", "{user", "a\nb", "é", "{user|}", "{}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
        for name in ["cookie", "host", "x-forwarded-for", "content-length", "x_real_ip"] {
            assert!(IdentityHeaders::new(Preset::None, vec![own(name, "{user}")]).is_err(), "{name}");
        }
    }
}
