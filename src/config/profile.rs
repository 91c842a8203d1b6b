//! `profile`: a standard, whose numbers hold where nothing else is written, and which refuses what breaks it.
//!
//! A profile never makes anything looser: a default of ours that is tighter than the standard stays. And it is about
//! sessions alone. What NIST asks of how people sign in (a second factor at AAL2, one that withstands phishing at AAL3)
//! does not exist here, so a profile of NIST's starts and says that: the rules of sessions are worth having before the
//! factors are there, a configuration that does not start protects nobody, and the checklist never says that it is met.

use std::time::Duration;

use crate::base::units;
use crate::config::hsts::Hsts;
use crate::config::limits::LimitPlan;
use crate::config::log::LogPlan;
use crate::config::session::SessionPlan;
use crate::config::standards::{few, is_bare, tells_what_is_behind};
use crate::config::tenants::Read;
use crate::reader::Section;
use crate::reader::mistake::Mistake;
use crate::route::table::Route;
use crate::session::cookie::{CookieSettings, SameSite};
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

/// What a profile judges.
pub(super) struct Judged<'a> {
    pub(super) root: &'a Section<'a>,
    pub(super) session: &'a SessionPlan,
    pub(super) tenants: &'a [Read<'a>],
    pub(super) routes: &'a [Route],
    /// The section of each of them.
    pub(super) route_sections: &'a [Section<'a>],
    pub(super) csrf_is_enforced: bool,
    pub(super) hsts: Option<Hsts>,
    pub(super) limits: &'a LimitPlan,
    pub(super) log: &'a LogPlan,
}

/// Refuses what is written and breaks the profile, at the top and at every tenant: all that its checklist could say is not
/// met, but for what no configuration can change.
pub(super) fn refuse(profile: Option<Profile>, judged: &Judged<'_>) {
    let Some(profile) = profile else { return };
    let or_without = format!("or remove profile = \"{}\"", profile.name());
    limits(profile, judged, &or_without);
    shield(profile, judged, &or_without);
    if profile != Profile::AsvsL2 {
        return;
    }
    let top = judged.root.section_or_empty("session");
    let lifetimes = &judged.session.rules.lifetimes;
    idle_counts(&top.section_or_empty("lifetime"), lifetimes.all, "", &or_without);
    if let Some(remembered) = lifetimes.remembered {
        idle_counts(&top.section_or_empty("remember_me"), remembered, "", &or_without);
    }
    cookie(&top.section_or_empty("cookie"), &judged.session.cookie, "", &or_without);
    for Read { plan, section } in judged.tenants {
        let (at, own) = (format!("at the tenant \"{}\" ", plan.id.name()), section.section_or_empty("session"));
        let lifetime = own.section_or_empty("lifetime");
        if lifetime.has("idle") || lifetime.has("absolute") {
            idle_counts(&lifetime, plan.rules.lifetimes.all, &at, &or_without);
        }
        let kept = own.section_or_empty("remember_me");
        if let Some(remembered) = plan.rules.lifetimes.remembered.filter(|_| kept.has("idle") || kept.has("absolute")) {
            idle_counts(&kept, remembered, &at, &or_without);
        }
        let written = own.section_or_empty("cookie");
        cookie(&written, &plan.cookie, &at, &or_without);
        if !written.has("name") && is_needlessly_wide(&plan.cookie) && !is_needlessly_wide(&judged.session.cookie) {
            let message = format!(
                "{at}the cookie has the name that [session.cookie] says, and none of the domain: one that is not shared across \
                 hosts has a name that begins with __Host- (ASVS 5.0, 3.3.3)"
            );
            let help = format!("add [tenant.session.cookie] with name = \"__Host-session\" or a domain, {or_without}");
            section.mistake_at("name", message, help);
        }
    }
    rest_of_asvs(judged, &or_without);
}

/// The limits at the top: a tenant's are no longer.
fn limits(profile: Profile, judged: &Judged<'_>, or_without: &str) {
    let (name, longest, lifetimes) = (profile.name(), profile.longest(), &judged.session.rules.lifetimes);
    let session = judged.root.section_or_empty("session");
    let tables = [
        ("lifetime", Some(lifetimes.all), ""),
        ("remember_me", lifetimes.remembered, "remove [session.remember_me], or "),
    ];
    for (table, limits, otherwise) in tables {
        let (Some(limits), section) = (limits, session.section_or_empty(table)) else { continue };
        for (key, is, most) in [("idle", limits.idle, longest.idle), ("absolute", limits.absolute, longest.absolute)] {
            if is > most {
                let most = units::shown(most);
                let message = format!("profile \"{name}\" allows at most \"{most}\" ({})", profile.says_so());
                section.mistake_at(key, message, format!("{otherwise}write {key} = \"{most}\" or less, {or_without}"));
            }
        }
    }
}

/// Every route where somebody's session counts must refuse what other sites cause. One that other sites have to reach, as a
/// webhook, is a public one.
fn shield(profile: Profile, judged: &Judged<'_>, or_without: &str) {
    let said = if profile == Profile::AsvsL2 { "ASVS 5.0, 3.5.1" } else { "NIST SP 800-63B-4, section 5.1" };
    let mut by_mode = Vec::new();
    let bare = judged.routes.iter().zip(judged.route_sections).filter(|(route, _)| is_bare(&route.policy));
    for (route, section) in bare {
        let path = route.path.shown();
        if !section.has("csrf") {
            by_mode.push(format!("\"{path}\""));
            continue;
        }
        let message =
            format!("other sites could cause what changes something on \"{path}\" in people's names ({said})");
        let help = format!(
            "remove this line, or write access = \"public\" where nobody's session counts, as for a webhook, {or_without}"
        );
        section.mistake_at("csrf", message, help);
    }
    if !judged.csrf_is_enforced && !by_mode.is_empty() {
        let paths = few(by_mode);
        let message = format!("other sites could cause what changes something on {paths} in people's names ({said})");
        let help = format!("write mode = \"enforce\", or remove this line, {or_without}");
        judged.root.section_or_empty("csrf").mistake_at("mode", message, help);
    }
}

/// An idle limit that is as long as the absolute one ends nothing.
fn idle_counts(lifetime: &Section<'_>, limits: Lifetime, at: &str, or_without: &str) {
    if limits.idle != limits.absolute {
        return;
    }
    let key = if lifetime.has("idle") { "idle" } else { "absolute" };
    let span = units::shown(limits.absolute);
    let message = format!("{at}the idle limit is as long as the absolute one, so it never counts (ASVS 5.0, 7.3.1)");
    let help = format!("write an idle limit that is shorter than \"{span}\", {or_without}");
    lifetime.mistake_at(key, message, help);
}

/// Whether a cookie has a name as for several hosts, and is one host's.
fn is_needlessly_wide(cookie: &CookieSettings) -> bool {
    !cookie.name.starts_with("__Host-") && cookie.domain.is_none()
}

/// What ASVS and the cheat sheet ask of a cookie that is written here.
fn cookie(section: &Section<'_>, settings: &CookieSettings, at: &str, or_without: &str) {
    if is_needlessly_wide(settings) && (section.has("name") || at.is_empty()) {
        let message = format!(
            "{at}a cookie that is not shared across hosts has a name that begins with __Host- (ASVS 5.0, 3.3.3)"
        );
        section.mistake_at("name", message, format!("write name = \"__Host-session\", add a domain, {or_without}"));
    }
    if tells_what_is_behind(&settings.name) && section.has("name") {
        let message = format!("{at}the name of the cookie tells what is behind it (OWASP cheat sheet, ID name)");
        section.mistake_at("name", message, format!("write name = \"__Host-session\", {or_without}"));
    }
    if settings.same_site == SameSite::None && section.has("same_site") {
        let message = format!(
            "{at}a session that comes with every request of other sites needs another defence (ASVS 5.0, 3.3.2)"
        );
        section.mistake_at("same_site", message, format!("write \"Lax\" or \"Strict\", {or_without}"));
    }
}

/// What is asked of the gateway as a whole.
fn rest_of_asvs(judged: &Judged<'_>, or_without: &str) {
    let Judged { root, hsts, limits, log, .. } = judged;
    let server = root.section_or_empty("server");
    if server.has("hsts") && hsts.is_none_or(|strict| strict.max_age() < YEAR) {
        let message = "browsers must come back by https for a year at least (ASVS 5.0, 3.4.1)";
        server.mistake_at("hsts", message, format!("write hsts = \"365d\", {or_without}"));
    }
    let section = root.section_or_empty("limits");
    if limits.bad_cookies.is_none() && section.has("bad_cookies") {
        let message = "nobody would notice who tries out session cookies (OWASP cheat sheet, guessing)";
        section.mistake_at("bad_cookies", message, format!("write \"60/m\", or remove this line, {or_without}"));
    }
    if log.forgets_events() {
        let message = "beginning and end of a session must be logged somewhere (OWASP cheat sheet, logging)";
        let help = format!("write \"stdout\" or the path of a file, {or_without}");
        root.section_or_empty("log").mistake_at("audit", message, help);
    }
    let admin = root.section_or_empty("admin");
    if !admin.has("listen") && root.document().is_whole() {
        const LINE: &str = "listen = \"unix:/run/vestibule.sock\"";
        let message = "without \"listen\" in [admin], nobody could end anybody's session (ASVS 5.0, 7.4.5)";
        root.document().note(match admin.span() {
            Some(span) => Mistake::new(Some(span), message, format!("add {LINE}, {or_without}")),
            None => Mistake::new(
                None,
                message,
                format!("{or_without}, or add at the end of the file:").trim_start_matches("or "),
            )
            .with_lines(format!("[admin]\n{LINE}")),
        });
    }
}
