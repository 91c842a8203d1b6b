//! `vestibule explain`: what would be decided on a request and why, by the code that decides.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use http::Method;
use http::header::{HOST, USER_AGENT};
use http::request::Parts;

use crate::base::clock::Clock;
use crate::base::random::Random;
use crate::base::units;
use crate::cli::operator::Gateway;
use crate::cli::say;
use crate::cli::table::plain;
use crate::config::{Plan, TenantPlan};
use crate::enforce::explain::{Asked, Behind, Explanation, Ground, Step, Who, explain, header, request};
use crate::login::users::User;
use crate::policy::facts::Facts;
use crate::reader::nearest;
use crate::route::hosts::HostTable;
use crate::route::table::RouteTable;
use crate::session::binding::Bound;
use crate::session::handle::SessionHandle;
use crate::session::live::Live;
use crate::session::record::{EndReason, Record};
use crate::session::tenant::TenantId;

/// Explain what would be decided on a request: check by check, with the lines of the configuration behind each
///
/// It asks the code that decides. Without --session it reads the configuration file and needs no gateway: the request is
/// that of somebody without a session, or with --user of somebody who has signed in. With --session it asks the running
/// gateway about a session that is there, by the configuration in force; the session does not notice.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 when it is explained, whatever would be decided.\n\nExamples:\n  vestibule explain --request 'GET https://app.example.com/admin'\n  vestibule explain --request 'GET https://app.example.com/admin' --user alice --age 3h --idle 40m\n  vestibule explain --request 'POST https://app.example.com/pay' --user alice --header 'Origin: https://evil.example'\n  vestibule explain --request 'GET https://app.example.com/' --session DvlvGhxp-vIHxZVhHGYxzw"
)]
pub(super) struct ExplainCommand {
    /// The request: method and address; the method left out is GET
    #[arg(long, value_name = "REQUEST")]
    request: String,
    /// It is that of a session of the running gateway, as "sessions list" and the logs name it
    #[arg(long, value_name = "HANDLE", allow_hyphen_values = true, conflicts_with = "user")]
    session: Option<SessionHandle>,
    /// It is that of this user, who has just signed in
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// With --user: they signed in this long ago: 90s, 30m, 8h
    #[arg(long, value_name = "AGE", requires = "user", conflicts_with = "session", value_parser = units::duration)]
    age: Option<Duration>,
    /// With --user: they were last active this long ago
    #[arg(long, value_name = "AGE", requires = "user", conflicts_with = "session", value_parser = units::duration)]
    idle: Option<Duration>,
    /// With --user: they asked to be remembered
    #[arg(long, requires = "user", conflicts_with = "session")]
    remembered: bool,
    /// It comes from this address; without it, from where they signed in
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// With --user: they signed in at this address; without it, where the request comes from
    #[arg(long, value_name = "ADDRESS", requires = "user", conflicts_with = "session")]
    signed_in_at: Option<IpAddr>,
    /// With --user: they signed in with this user agent; without it, with the one of the request
    #[arg(long, value_name = "USER-AGENT", requires = "user", conflicts_with = "session")]
    signed_in_with: Option<String>,
    /// It has this header, like 'Origin: https://app.example.com'; as often as there are headers
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    #[command(flatten)]
    gateway: Gateway,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Explains.
///
/// # Errors
/// A text for the terminal: why nothing can be explained.
pub(super) fn run(command: &ExplainCommand) -> Result<(), String> {
    // What is wrong with what was asked is told without asking anybody.
    let headers = command.headers.iter().map(|line| header(line)).collect::<Result<Vec<_>, _>>()?;
    let parts = request(&command.request, &headers)?;
    if command.signed_in_with.is_some() && !parts.headers.contains_key(USER_AGENT) {
        return Err("with --signed-in-with, say what the request comes with: --header 'User-Agent: …'".to_owned());
    }
    let told = match command.session {
        Some(handle) => of_gateway(command, handle)?,
        None => of_file(command, &parts)?,
    };
    if command.json {
        let told = serde_json::to_string_pretty(&told).map_err(|error| error.to_string())?;
        return say(&told);
    }
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    say(&shown(&told, host))
}

/// Asks the running gateway.
fn of_gateway(command: &ExplainCommand, handle: SessionHandle) -> Result<Explanation, String> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("request", &command.request).append_pair("session", &handle.to_string());
    if let Some(address) = command.address {
        query.append_pair("address", &address.to_string());
    }
    if !command.headers.is_empty() {
        query.append_pair("headers", &command.headers.join("\n"));
    }
    let answer = command.gateway.find()?.ask(Method::GET, &format!("/explain?{}", query.finish()))?;
    serde_json::from_value(answer.body).map_err(|error| format!("the gateway's answer cannot be read: {error}"))
}

/// Reads the configuration.
fn of_file(command: &ExplainCommand, parts: &Parts) -> Result<Explanation, String> {
    let plan = Plan::load(command.gateway.config()).map_err(|mistakes| mistakes.to_string())?;
    let routes = RouteTable::new(plan.routes.clone());
    let mut tenants = HostTable::default();
    for (tenant, host) in plan.tenants.iter().flat_map(|tenant| tenant.hosts.iter().map(move |host| (tenant, host))) {
        tenants.entry(host, || tenant);
    }
    let upstreams: Vec<Box<str>> = plan.upstreams.iter().map(|upstream| upstream.name.clone()).collect();
    let ground = Ground {
        routes: &routes,
        rules: &|host| tenants.of(host).next().map_or(&plan.session.rules, |tenant| &tenant.rules),
        identity: &plan.identity,
        upstreams: &upstreams,
        written: &plan.written,
    };
    let Some(name) = &command.user else {
        let (who, now) = (Who::Stranger, Clock::System.now());
        return Ok(explain(&ground, &Asked { parts, client: command.address, who, now }));
    };
    let host = Facts::read(parts, IpAddr::from([127, 0, 0, 1])).map(|facts| facts.host.into_owned());
    let tenant = host.ok().and_then(|host| tenants.of(&host).next().copied());
    let user = user(&plan, tenant, name)?;
    let age = command.age.or(command.idle).unwrap_or_default();
    let idle = command.idle.unwrap_or_default();
    if idle > age {
        return Err(format!(
            "nobody is idle for longer ({}) than they have been signed in ({})",
            units::shown(idle),
            units::shown(age)
        ));
    }
    let live = session_of(command, tenant, user, parts, age - idle);
    let now = live.authenticated_at().plus(age);
    let who = Who::Session(live.view());
    let mut told = explain(&ground, &Asked { parts, client: command.address, who, now });
    if command.idle.is_none() && command.age.is_some() {
        told.assumed.insert(0, format!("{name} was active just now"));
    }
    Ok(told)
}

/// Somebody of the users file, of the tenant that the request goes to.
fn user<'plan>(plan: &'plan Plan, tenant: Option<&'plan TenantPlan>, name: &str) -> Result<&'plan User, String> {
    let Some(local) = tenant.map_or(&plan.users, |tenant| &tenant.users) else {
        return Err("nobody can sign in by this configuration: there is no [login.local] for this host".to_owned());
    };
    local.users.get(name).ok_or_else(|| {
        let near = nearest(name, local.users.iter().map(|user| user.name.as_str()));
        let near = near.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
        let whose = tenant.map(|tenant| format!(", where the users of the tenant \"{}\" are", tenant.id.name()));
        format!("there is no user \"{name}\" in {}{}{near}", local.file.display(), whose.unwrap_or_default())
    })
}

/// A session of theirs that was last active `active_after` it was made. Of whoever is disabled it has ended.
fn session_of(
    command: &ExplainCommand,
    tenant: Option<&TenantPlan>,
    user: &User,
    parts: &Parts,
    active_after: Duration,
) -> Live {
    let here = IpAddr::from([127, 0, 0, 1]);
    let address = command.signed_in_at.or(command.address).unwrap_or(here);
    let of_request = parts.headers.get(USER_AGENT).map_or(&[][..], |agent| agent.as_bytes());
    let agent = command.signed_in_with.as_ref().map_or(of_request, |agent| agent.as_bytes());
    let now = Clock::System.now();
    let principal = Arc::new(user.principal());
    let mut record = Record::new(&Random::System, Some(principal), Bound::of(address, agent), now);
    record.tenant = tenant.map_or(TenantId::DEFAULT, |tenant| tenant.id);
    record.active_at = now.plus(active_after);
    record.is_remembered = command.remembered;
    record.ended = user.disabled.then_some((EndReason::AccountDisabled, record.active_at));
    Live::new(record)
}

/// It, for people. `host` is the one that is asked for, with its port.
fn shown(told: &Explanation, host: &str) -> String {
    let mut text = format!("{}\nby {}\n", plain(&told.request), plain(&told.who));
    for assumed in &told.assumed {
        let _ = writeln!(text, "  taken to be so: {}", plain(assumed));
    }
    text.push('\n');
    let width = told.steps.iter().map(|step| step.check.chars().count()).max().unwrap_or_default();
    for step in &told.steps {
        push_step(&mut text, step, width);
    }
    if !told.steps.is_empty() {
        text.push('\n');
    }
    push_outcome(&mut text, told);
    if told.reason.as_deref() == Some("no_origin") {
        // Nothing is taken to be so that decides: who asks about a form most often means one of the application's own.
        let _ = writeln!(
            text,
            "A browser says which page a request is from. To explain one from a page of this site, add:\n  --header 'Origin: \
             https://{}'",
            plain(host)
        );
    }
    text.trim_end().to_owned()
}

fn push_step(text: &mut String, step: &Step, width: usize) {
    let from = step.from.as_ref().map(|from| format!(": {from}")).unwrap_or_default();
    let _ = writeln!(text, "{:width$}  {}{}", step.check, plain(&step.found), plain(&from));
    let place = |line: &Behind| line.at.clone().unwrap_or_else(|| "default".to_owned());
    let places = step.lines.iter().map(|line| place(line).chars().count()).max().unwrap_or_default();
    for line in &step.lines {
        // Of several keys by one name, the whole name says which it is; a route's are all of the route that is told first, and
        // whose the tenant's are is told before it.
        let shown = match line.text.split_once('=') {
            Some((_, value)) if !line.key.starts_with("route[") => {
                format!("{} = {}", without_place(&line.key), value.trim())
            }
            Some(_) | None => line.text.clone(),
        };
        let _ = writeln!(text, "{:width$}    {:places$}  {}", "", place(line), plain(&shown));
    }
}

/// A key of a tenant as its table is written: which of them that is in the file says nothing to people.
fn without_place(key: &str) -> String {
    match key.strip_prefix("tenant[").and_then(|rest| rest.split_once(']')) {
        Some((_, rest)) => format!("tenant{rest}"),
        None => key.to_owned(),
    }
}

fn push_outcome(text: &mut String, told: &Explanation) {
    let reason = told.reason.as_deref().unwrap_or_default();
    let upstream = told.upstream.as_deref().unwrap_or("the application");
    match (told.verdict.as_str(), reason) {
        ("allow", "signed_in") => {
            let _ = writeln!(text, "It may pass: \"{upstream}\" is asked, and told who it is:");
            for (name, value) in &told.headers {
                let _ = writeln!(text, "  {name}: {}", plain(value));
            }
        }
        ("allow", "new_session") => {
            let _ =
                writeln!(text, "It may pass, with a stranger's session that is made for it: \"{upstream}\" is asked.");
        }
        ("allow", _) => {
            let _ = writeln!(text, "It may pass as nobody: \"{upstream}\" is asked, and told of nobody.");
        }
        ("own_page", _) => text.push_str("This is one of the gateway's own pages, which decides by itself.\n"),
        ("sign_in", reason) => {
            let _ = writeln!(text, "They are asked to sign in ({reason}).");
        }
        ("malformed", _) => text.push_str("The request is refused before anything is decided.\n"),
        ("refuse", "no_route") => text.push_str("The request is refused: no route leads anywhere (no_route).\n"),
        (_, reason) => {
            let _ = writeln!(text, "The request is refused ({reason}).");
        }
    }
    if let Some(message) = &told.message {
        let _ = writeln!(text, "They are told: {message}");
    }
    if let Some(reason) = &told.ends {
        let _ = writeln!(text, "The session ends by it ({reason}).");
    }
    if let Some(status) = told.status {
        let _ = match status.navigation {
            302 | 303 => writeln!(
                text,
                "A person who goes there gets {}, to the login page; a script gets {} and the reason as JSON.",
                status.navigation, status.script
            ),
            _ => writeln!(
                text,
                "A person who goes there gets {}, a page; a script gets {}.",
                status.navigation, status.script
            ),
        };
    } else if told.verdict == "allow" {
        text.push_str(
            "Not looked at: how much has been asked of late ([limits]), and whether the application answers.\n",
        );
    }
}
