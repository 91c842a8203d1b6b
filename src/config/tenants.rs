//! `[[tenant]]`: whose hosts these are, and what holds there instead of the tables at the top of the file.
//!
//! A tenant's tables are those of the top, with the same keys. What a tenant does not say it takes from there, but for a
//! cookie's domain: sharing is said where it is meant. That the users are those of the top is told at the start. How long
//! sessions last and how many there may be can only be less there than at the top: that is the word of the operator, whose
//! machine it is.

use crate::base::units;
use crate::config::keys::{self, Keys};
use crate::config::limits::{self, LimitPlan};
use crate::config::login::{self, LocalUsers};
use crate::config::portal;
use crate::config::session::{self, SessionPlan};
use crate::enforce::pages::look::LookSettings;
use crate::policy::route_policy::SessionRules;
use crate::reader::Section;
use crate::route::pattern::HostPattern;
use crate::route::table::Route;
use crate::session::cookie::CookieSettings;
use crate::session::tenant::{DEFAULT_TENANT, TenantId};

/// The most tenants there may be: each has keys, users and a place in every list that is walked, and a label in the metrics.
const MAX_TENANTS: usize = 1000;

/// The longest name, in characters: it is in every line of the logs, and in every record.
const MAX_NAME: usize = 32;

/// One tenant.
#[derive(Clone, Debug)]
pub struct TenantPlan {
    /// Its name.
    pub id: TenantId,
    /// Its hosts.
    pub hosts: Vec<HostPattern>,
    /// What its cookies and tokens are sealed under, the active key first; `None` for the keys of all.
    pub keys: Option<Keys>,
    /// Its session cookie.
    pub cookie: CookieSettings,
    /// Rules of its sessions.
    pub rules: SessionRules,
    /// Its rates.
    pub limits: LimitPlan,
    /// Its local users.
    pub users: Option<LocalUsers>,
    /// How its pages look.
    pub look: LookSettings,
}

/// A tenant, its section, and the places of its hosts.
pub(super) struct Read<'a> {
    pub(super) plan: TenantPlan,
    pub(super) section: Section<'a>,
}

/// Reads every `[[tenant]]`. `session`, `limits`, `look` and `users` are those of the top; `users` is `None` where there are
/// none, or where they could not be read, which is told then.
pub(super) fn read<'a>(
    root: &Section<'a>,
    session: &SessionPlan,
    limits: &LimitPlan,
    look: &LookSettings,
    users: Option<&LocalUsers>,
) -> Vec<Read<'a>> {
    let sections = root.sections("tenant");
    if let Some(section) = sections.get(MAX_TENANTS) {
        let help = "spread them over several gateways";
        section.mistake_at("name", format!("there are more than {MAX_TENANTS} tenants"), help);
    }
    let mut all: Vec<Read<'a>> = Vec::new();
    for section in sections {
        let Some(plan) = read_one(&section, session, limits, look, users) else { continue };
        if all.iter().any(|other| other.plan.id == plan.id) {
            section.mistake_at(
                "name",
                format!("there are two tenants named \"{}\"", plan.id.name()),
                "rename one of them",
            );
        }
        let taken = all.iter().find_map(|other| {
            let twice = plan.hosts.iter().find(|host| other.plan.hosts.contains(host))?;
            Some((other, twice))
        });
        if let Some((other, host)) = taken {
            let message = format!("\"{host}\" is the tenant \"{}\"'s already", other.plan.id.name());
            section.mistake_at("hosts", message, "a host belongs to one tenant: take it out of one of the two");
        }
        all.push(Read { plan, section });
    }
    all
}

fn read_one(
    section: &Section<'_>,
    session: &SessionPlan,
    limits: &LimitPlan,
    look: &LookSettings,
    users: Option<&LocalUsers>,
) -> Option<TenantPlan> {
    section.require("name", r#"name = "acme""#).require("hosts", r#"hosts = ["acme.example.test"]"#);
    let id = section.parsed("name", name);
    let hosts = section.parsed_list("hosts", host);
    let keys = keys::read(section);
    let users = login::read(section).unwrap_or_else(|| users.cloned());
    let (limits, look) = (limits::of_tenant(section, limits), portal::read(section, look));
    let (cookie, rules) = session::of_tenant(section, session);
    let (id, hosts) = (id?, hosts?.into_iter().map(|host| host.value).collect());
    Some(TenantPlan { id, hosts, keys, cookie, rules: SessionRules { tenant: id, ..rules }, limits, users, look })
}

fn name(text: &str) -> Result<TenantId, String> {
    let is_good = !text.is_empty()
        && text.len() <= MAX_NAME
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !is_good {
        return Err(format!(
            "\"{text}\" is not a tenant's name; write at most {MAX_NAME} small letters, digits and -, like \"acme\""
        ));
    }
    if text == DEFAULT_TENANT {
        return Err(format!(
            "\"{text}\" is what everybody is called who comes by a host of no tenant; choose another name"
        ));
    }
    TenantId::of(text).ok_or_else(|| {
        format!("there have been too many tenants since the gateway started to take \"{text}\"; restart it")
    })
}

fn host(text: &str) -> Result<HostPattern, String> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Any) => Err(format!(
            "\"{text}\" is every host, and those of no tenant belong to the tables at the top of the file; name hosts like \
             \"acme.example.test\" or \"*.acme.example.test\""
        )),
        read => read,
    }
}

/// Whether whoever comes by a route of these hosts comes to a tenant that has users, so that they can sign in there.
pub(super) fn have_users(all: &[Read<'_>], hosts: &HostPattern) -> bool {
    all.iter().any(|tenant| tenant.section.has("login") && has(tenant, hosts))
}

/// Whether all these hosts are a tenant's.
fn has(tenant: &Read<'_>, hosts: &HostPattern) -> bool {
    tenant.plan.hosts.iter().any(|own| own == hosts || hosts.is_below(own))
}

/// Refuses a route of a tenant's hosts that asks for a level which none of the tenant's sessions gets old enough for.
pub(super) fn tell_of_levels(all: &[Read<'_>], routes: &[Route], sections: &[Section<'_>]) {
    for (route, section) in routes.iter().zip(sections) {
        let Some(level) = &route.policy.level else { continue };
        let longest = |tenant: &Read<'_>| tenant.plan.rules.lifetimes.longest().absolute;
        let too_short = all.iter().find(|tenant| has(tenant, &route.host) && level.after >= longest(tenant));
        let Some(tenant) = too_short else { continue };
        let (id, span) = (tenant.plan.id.name(), units::shown(longest(tenant)));
        let message = format!("no session at the tenant \"{id}\" gets as old, so nobody would ever pass");
        let help = format!("ask for a level that is reached in less than \"{span}\", or for none");
        section.mistake_at("level", message, help);
    }
}

/// Refuses what would hand the cookie of one tenant to another, and a domain whose cookie browsers would not take from
/// the tenant's hosts. That it would be worthless there is no reason to send it.
pub(super) fn tell_of_domains(root: &Section<'_>, session: &SessionPlan, all: &[Read<'_>], routes: &[Route]) {
    let top = root.section_or_empty("session").section_or_empty("cookie");
    if let Some(domain) = session.cookie.domain.as_deref() {
        tell_of_others(&top, domain, None, all);
    }
    for tenant in all {
        let Some(domain) = tenant.plan.cookie.domain.as_deref() else { continue };
        let section = tenant.section.section_or_empty("session").section_or_empty("cookie");
        if let Some(outside) = tenant.plan.hosts.iter().find(|host| !covers(domain, host)) {
            let message = format!("\"{outside}\" is not in this domain, so browsers would take no cookie from it");
            let help =
                format!("write a domain that all hosts of \"{}\" are in, or remove this line", tenant.plan.id.name());
            section.mistake_at("domain", message, help);
        }
        tell_of_others(&section, domain, Some(tenant), all);
        let strays = |route: &&Route| {
            meets(domain, &route.host)
                && route.host != HostPattern::Any
                && !all.iter().any(|tenant| has(tenant, &route.host))
        };
        if let Some(route) = routes.iter().find(strays) {
            let message = format!("\"{}\", which has a route and belongs to no tenant, is in this domain", route.host);
            let help = format!("add it to the hosts of \"{}\", or write a narrower domain", tenant.plan.id.name());
            section.mistake_at("domain", message, help);
        }
    }
}

/// Tells of the first host of another tenant that is in `domain`.
fn tell_of_others(section: &Section<'_>, domain: &str, own: Option<&Read<'_>>, all: &[Read<'_>]) {
    let others = all.iter().filter(|other| own.is_none_or(|own| !std::ptr::eq(own, *other)));
    let found = others.flat_map(|other| other.plan.hosts.iter().map(move |host| (other, host)));
    // What is more particularly ours is not theirs.
    let is_ours = |host: &HostPattern| {
        let shared = [HostPattern::Exact(domain.into()), HostPattern::Below(format!(".{domain}").into())];
        own.is_some_and(|own| shared.iter().all(|part| own.plan.hosts.contains(part))) && !covers(domain, host)
    };
    let Some((other, host)) = { found }.find(|(_, host)| meets(domain, host) && !is_ours(host)) else { return };
    let message = format!("\"{host}\" of the tenant \"{}\" is in this domain", other.plan.id.name());
    let help = "browsers would send the session's cookie to both: write a domain of this one's hosts alone, or none";
    section.mistake_at("domain", message, help);
}

/// Whether browsers send a cookie of `domain` to every host of a pattern.
fn covers(domain: &str, host: &HostPattern) -> bool {
    let is_in = |name: &str| name.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'));
    match host {
        HostPattern::Exact(name) => is_in(name),
        HostPattern::Below(suffix) => is_in(suffix.strip_prefix('.').unwrap_or(suffix)),
        HostPattern::Any => false,
    }
}

/// Whether they send it to any.
fn meets(domain: &str, host: &HostPattern) -> bool {
    covers(domain, host)
        || match host {
            HostPattern::Below(suffix) => domain.ends_with(&**suffix),
            HostPattern::Any => true,
            HostPattern::Exact(_) => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_itself_and_what_is_below_it() {
        let host = |text: &str| HostPattern::parse(text).expect("a host");
        for (text, is_covered, is_met) in [
            ("acme.test", true, true),
            ("a.acme.test", true, true),
            ("*.acme.test", true, true),
            ("*.a.acme.test", true, true),
            ("*.test", false, true),
            ("xacme.test", false, false),
            ("*.xacme.test", false, false),
            ("test", false, false),
            ("acme.test.evil.test", false, false),
        ] {
            assert_eq!(
                (covers("acme.test", &host(text)), meets("acme.test", &host(text))),
                (is_covered, is_met),
                "{text}"
            );
        }
    }
}
