//! `profile`: a standard, whose numbers hold where nothing else is written, and which refuses what breaks it.
//!
//! A profile never makes anything looser: a default of ours that is tighter than the standard stays. And it is about
//! sessions alone. What NIST asks of how people sign in (a second factor at AAL2, one that withstands phishing at AAL3)
//! does not exist here, so a profile of NIST's starts and says that: the rules of sessions are worth having before the
//! factors are there, a configuration that does not start protects nobody, and the checklist never says that it is met.

use std::time::Duration;

use crate::base::units;
use crate::config::hsts::Hsts;
use crate::config::session::SessionPlan;
use crate::reader::Section;
use crate::session::cookie::SameSite;
use crate::session::timeouts::{DEFAULT_ABSOLUTE, DEFAULT_IDLE, Lifetime};

/// How long browsers come back by https only, at the least: ASVS 5.0, 3.4.1.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 86_400);

const HOUR: Duration = Duration::from_secs(3600);

/// A standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// OWASP Application Security Verification Standard 5.0, level 2.
    AsvsL2,
    /// NIST SP 800-63B-4 at authenticator assurance level 2.
    NistAal2,
    /// The same at level 3.
    NistAal3,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AsvsL2, Self::NistAal2, Self::NistAal3];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AsvsL2 => "asvs-l2",
            Self::NistAal2 => "nist-aal2",
            Self::NistAal3 => "nist-aal3",
        }
    }

    /// What it is, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::AsvsL2 => "OWASP ASVS 5.0 level 2, as far as it is about sessions (V7 and V3)",
            Self::NistAal2 => "NIST SP 800-63B-4 AAL2, as far as it is about sessions",
            Self::NistAal3 => "NIST SP 800-63B-4 AAL3, as far as it is about sessions",
        }
    }

    /// The longest limits of a session. ASVS leaves the numbers to whoever runs an application, who has to justify it when
    /// they are not NIST's: a profile can do that for nobody, so it holds to those of AAL2.
    pub const fn longest(self) -> Lifetime {
        match self {
            Self::AsvsL2 | Self::NistAal2 => Lifetime { idle: HOUR, absolute: Duration::from_secs(24 * 3600) },
            Self::NistAal3 => Lifetime { idle: Duration::from_secs(15 * 60), absolute: Duration::from_secs(12 * 3600) },
        }
    }

    /// Where the standard says so.
    const fn says_so(self) -> &'static str {
        match self {
            Self::AsvsL2 => "ASVS 5.0, 7.1.1: longer than NIST's AAL2 has to be justified, which no profile can do",
            Self::NistAal2 => "NIST SP 800-63B-4, section 2.2.3",
            Self::NistAal3 => "NIST SP 800-63B-4, section 2.3.3",
        }
    }

    /// What it asks for and no configuration gives, in words for whoever starts a gateway with it.
    pub const fn lacks(self) -> Option<&'static str> {
        match self {
            Self::AsvsL2 => None,
            Self::NistAal2 => Some(
                "profile = \"nist-aal2\" sets the rules of sessions alone: this is not AAL2, because people sign in with \
                 nothing but a password, which is AAL1",
            ),
            Self::NistAal3 => Some(
                "profile = \"nist-aal3\" sets the rules of sessions alone: this is not AAL3, because people sign in with \
                 nothing but a password, which is AAL1",
            ),
        }
    }
}

/// Reads `profile`.
pub(super) fn read(root: &Section<'_>) -> Option<Profile> {
    let choices = [
        ("asvs-l2", Some(Profile::AsvsL2)),
        ("nist-aal2", Some(Profile::NistAal2)),
        ("nist-aal3", Some(Profile::NistAal3)),
        ("none", None),
    ];
    root.one_of("profile", &choices).flatten()
}

/// How long sessions last where nothing is written.
pub(super) fn lifetime(profile: Option<Profile>) -> Lifetime {
    let longest = profile.map(Profile::longest);
    Lifetime {
        idle: longest.map_or(DEFAULT_IDLE, |longest| longest.idle.min(DEFAULT_IDLE)),
        absolute: longest.map_or(DEFAULT_ABSOLUTE, |longest| longest.absolute.min(DEFAULT_ABSOLUTE)),
    }
}

/// How long browsers come back by https only where nothing is written.
pub(super) fn hsts(profile: Option<Profile>) -> Option<Duration> {
    match profile {
        // Browsers keep to none that comes with a certificate they do not trust (RFC 6797 section 8.1), so it locks nobody out
        // who only tries.
        Some(Profile::AsvsL2) => Some(YEAR),
        Some(Profile::NistAal2 | Profile::NistAal3) | None => None,
    }
}

/// Refuses what is written and breaks the profile.
pub(super) fn refuse(
    profile: Option<Profile>,
    root: &Section<'_>,
    session: Option<&SessionPlan>,
    strict: Option<Hsts>,
    is_shielded: bool,
) {
    let Some(profile) = profile else { return };
    let name = profile.name();
    let or_without = format!("or remove profile = \"{name}\"");
    let sections = root.section_or_empty("session");
    let (lifetime, cookie) = (sections.section_or_empty("lifetime"), sections.section_or_empty("cookie"));
    if let Some(session) = session {
        let (all, longest) = (session.rules.lifetimes.all, profile.longest());
        for (key, is, most) in [("idle", all.idle, longest.idle), ("absolute", all.absolute, longest.absolute)] {
            if is > most {
                let most = units::shown(most);
                let message = format!("profile \"{name}\" allows at most \"{most}\" ({})", profile.says_so());
                lifetime.mistake_at(key, message, format!("write {key} = \"{most}\" or less, {or_without}"));
            }
        }
    }
    if let Some(remembered) = session.and_then(|session| session.rules.lifetimes.remembered) {
        let (section, longest) = (sections.section_or_empty("remember_me"), profile.longest());
        for (key, is, most) in
            [("idle", remembered.idle, longest.idle), ("absolute", remembered.absolute, longest.absolute)]
        {
            if is > most {
                let most = units::shown(most);
                let message = format!("profile \"{name}\" allows at most \"{most}\" ({})", profile.says_so());
                let help = format!("remove [session.remember_me], or write {key} = \"{most}\" or less, {or_without}");
                section.mistake_at(key, message, help);
            }
        }
    }
    if !is_shielded {
        let said = if profile == Profile::AsvsL2 { "ASVS 5.0, 3.5.1" } else { "NIST SP 800-63B-4, section 5.1" };
        let message = format!("other sites could cause what changes something in people's names ({said})");
        let help = format!("write mode = \"enforce\", or remove this line, {or_without}");
        root.section_or_empty("csrf").mistake_at("mode", message, help);
    }
    if profile != Profile::AsvsL2 {
        return;
    }
    if let Some(session) = session {
        let (all, settings) = (session.rules.lifetimes.all, &session.cookie);
        if all.idle == all.absolute {
            let message = "the idle limit is as long as the absolute one, so it never counts (ASVS 5.0, 7.3.1)";
            lifetime.mistake_at("idle", message, format!("write a shorter one, like idle = \"30m\", {or_without}"));
        }
        if !settings.name.starts_with("__Host-") && settings.domain.is_none() {
            let message =
                "a cookie that is not shared across hosts has a name that begins with __Host- (ASVS 5.0, 3.3.3)";
            cookie.mistake_at("name", message, format!("write name = \"__Host-session\", add a domain, {or_without}"));
        }
        if settings.same_site == SameSite::None {
            let message =
                "a session that comes with every request of other sites needs another defence (ASVS 5.0, 3.3.2)";
            cookie.mistake_at("same_site", message, format!("write \"Lax\" or \"Strict\", {or_without}"));
        }
    }
    let server = root.section_or_empty("server");
    if server.has("hsts") && strict.is_none_or(|strict| strict.max_age() < YEAR) {
        let message = "browsers must come back by https for a year at least (ASVS 5.0, 3.4.1)";
        server.mistake_at("hsts", message, format!("write hsts = \"365d\", {or_without}"));
    }
}
