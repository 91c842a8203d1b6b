//! `vestibule sessions`: the sessions of a running gateway, seen and ended.

use std::io::{self, BufRead as _, IsTerminal as _, Write};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use crate::admin::sessions::MOST;
use crate::base::units;
use crate::cli::operator::{Gateway, Operator};
use crate::cli::table::{aligned, counted, moment, span, text};
use crate::cli::{Failed, print};
use crate::session::handle::SessionHandle;
use crate::session::tenant::DEFAULT_TENANT;

/// See and end the sessions of a running gateway
#[derive(Debug, Args)]
pub(super) struct SessionsCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List sessions, the last active first
    #[command(
        after_help = "Examples:\n  vestibule sessions list --user alice\n  vestibule sessions list --address 192.0.2.0/24 --older 8h"
    )]
    List(ListArgs),
    /// Show everything that is known of one session
    Show {
        /// The session, as "list" and the logs name it
        #[arg(allow_hyphen_values = true)]
        handle: SessionHandle,
        #[command(flatten)]
        output: Output,
    },
    /// End one session, those of a person, or all of them: at once, with their open streams
    #[command(
        after_help = "Exit status: 0 when they have ended, 3 when they have ended and that is not on the disk yet, 1 when they have not.\n\nExamples:\n  vestibule sessions end DvlvGhxp-vIHxZVhHGYxzw\n  vestibule sessions end --user alice"
    )]
    End(EndArgs),
    /// Seal everything stored anew under the first of the keys, so that the others can be taken away
    Reseal(Output),
}

#[derive(Debug, Args)]
struct Output {
    #[command(flatten)]
    gateway: Gateway,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Of this tenant; "default" is whoever comes by a host of no tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Of this person
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Made at this address, or in this network
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Begun this long ago, or longer: 30m, 8h, 7d
    #[arg(long, value_name = "AGE", value_parser = age)]
    older: Option<String>,
    /// Begun this long ago, or less
    #[arg(long, value_name = "AGE", value_parser = age)]
    newer: Option<String>,
    /// Those that have ended and are still remembered, with the reason, in place of those that last
    #[arg(long)]
    ended: bool,
    /// How many at the most
    #[arg(long, value_name = "COUNT", default_value_t = MOST, value_parser = count)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
struct EndArgs {
    #[command(flatten)]
    whose: Whose,
    /// With --user or --all: of this tenant; "default" is whoever comes by a host of no tenant
    #[arg(long, value_name = "NAME", conflicts_with = "handle")]
    tenant: Option<String>,
    /// With --all: do not ask
    #[arg(long, requires = "all")]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// The session, as "list" and the logs name it
    #[arg(allow_hyphen_values = true)]
    handle: Option<SessionHandle>,
    /// Every session of this person
    #[arg(long, value_name = "NAME", value_parser = name)]
    user: Option<String>,
    /// Every session there is: everybody is signed out
    #[arg(long)]
    all: bool,
}

/// Does what was asked for.
///
/// # Errors
/// A text for the terminal.
pub(super) fn run(command: SessionsCommand) -> Result<(), Failed> {
    let out: &mut dyn Write = &mut io::stdout().lock();
    match command.action {
        Action::List(arguments) => list(&arguments, out)?,
        Action::Show { handle, output } => {
            let session = output.gateway.find()?.ask(Method::GET, &format!("/sessions/{handle}"))?.body;
            print(out, &if output.json { format!("{session:#}") } else { in_full(&session) })?;
        }
        Action::End(arguments) => end(&arguments, out)?,
        Action::Reseal(output) => {
            let said = output.gateway.find()?.ask(Method::POST, "/sessions/reseal")?.body;
            let count = said["resealed"].as_u64().unwrap_or_default();
            print(
                out,
                &if output.json { format!("{said:#}") } else { format!("{} sealed anew", counted(count, "session")) },
            )?;
        }
    }
    Ok(())
}

/// How many are wanted.
fn count(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "write a number from 1 on".to_owned())
}

/// The name of somebody.
fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty; write the name of a user".to_owned()) } else { Ok(text.to_owned()) }
}

/// An age that the gateway will understand.
fn age(text: &str) -> Result<String, String> {
    units::duration(text).map(|_| text.to_owned())
}

fn list(arguments: &ListArgs, out: &mut dyn Write) -> Result<(), String> {
    let operator = arguments.output.gateway.find()?;
    let (mut sessions, has_more) = collect(&operator, arguments)?;
    sessions.sort_by_key(|session| session["idle_seconds"].as_u64());
    if arguments.output.json {
        return print(out, &format!("{:#}", Value::Array(sessions)));
    }
    print(out, &in_short(&sessions, arguments.ended))?;
    if has_more {
        eprintln!("There are more than these {}: write a filter, or a higher --limit.", sessions.len());
    }
    Ok(())
}

/// Asks for page after page. Whether there are more than were wanted.
fn collect(operator: &Operator, arguments: &ListArgs) -> Result<(Vec<Value>, bool), String> {
    let ListArgs { tenant, user, address, older, newer, ended, limit, output: _ } = arguments;
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("tenant", tenant), ("user", user), ("address", address), ("older", older), ("newer", newer)]
    {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.append_pair("state", if *ended { "ended" } else { "active" });
    query.append_pair("limit", &(*limit).clamp(1, MOST).to_string());
    let mut next = Some(format!("/sessions?{}", query.finish()));
    let mut sessions: Vec<Value> = Vec::new();
    while let Some(target) = next {
        if sessions.len() >= *limit {
            return Ok((sessions, true));
        }
        let answer = operator.ask(Method::GET, &target)?;
        let Value::Array(page) = answer.body else { return Err("the gateway answers no list".to_owned()) };
        sessions.extend(page);
        next = answer.next;
    }
    let has_more = sessions.len() > *limit;
    sessions.truncate(*limit);
    Ok((sessions, has_more))
}

fn end(arguments: &EndArgs, out: &mut dyn Write) -> Result<(), Failed> {
    let EndArgs { whose: Whose { handle, user, all: _ }, tenant, yes, output } = arguments;
    let operator = output.gateway.find()?;
    let target = match (handle, user) {
        (Some(handle), _) => format!("/sessions/{handle}"),
        (None, Some(user)) => {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("user", user);
            query.extend_pairs(tenant.iter().map(|tenant| ("tenant", tenant)));
            format!("/sessions?{}", query.finish())
        }
        (None, None) => {
            if !yes {
                confirm(&operator, tenant.as_deref())?;
            }
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("all", "true");
            query.extend_pairs(tenant.iter().map(|tenant| ("tenant", tenant)));
            format!("/sessions?{}", query.finish())
        }
    };
    let answer = operator.ask_for(Method::DELETE, &target)?;
    let is_unwritten = answer.body["unwritten"].as_u64().is_some_and(|count| count > 0);
    let done = if is_unwritten { answer.body } else { answer.good()?.body };
    let count = done["ended"].as_u64().unwrap_or_default();
    let said = match (count, user) {
        (0, _) if is_unwritten => {
            let before = done["unwritten"].as_u64().unwrap_or_default();
            format!("{} had ended before.", counted(before, "session"))
        }
        (0, Some(user)) => format!("Nobody by the name of \"{user}\" has a session."),
        (count, _) => format!("Ended {}.", counted(count, "session")),
    };
    print(out, &if output.json { format!("{done:#}") } else { said })?;
    if is_unwritten {
        return Err(Failed { message: text(&done["error"]), code: Failed::UNWRITTEN });
    }
    Ok(())
}

/// Asks whether everybody is really to be signed out.
fn confirm(operator: &Operator, tenant: Option<&str>) -> Result<(), String> {
    if !io::stdin().is_terminal() {
        return Err("this would sign everybody out; write --yes if that is what you want".to_owned());
    }
    let active = operator.ask(Method::GET, "/status")?.body["sessions"]["active"].as_u64().unwrap_or_default();
    match tenant {
        None => eprint!("This ends {} and signs everybody out. Go on? [y/N] ", counted(active, "session")),
        Some(tenant) => eprint!("This ends every session of \"{tenant}\". Go on? [y/N] "),
    }
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|error| format!("cannot read the answer: {error}"))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err("nothing was ended".to_owned()),
    }
}

fn in_short(sessions: &[Value], ended: bool) -> String {
    if sessions.is_empty() {
        return if ended { "No session that has ended is remembered." } else { "There are no such sessions." }
            .to_owned();
    }
    let heads = ["HANDLE", "USER", "ADDRESS", "BEGUN", "ACTIVE", if ended { "ENDED BY" } else { "ROLES" }];
    let ago = |seconds: &Value| format!("{} ago", span(seconds));
    let row = |session: &Value| {
        let last = if ended { &session["ended"]["reason"] } else { &session["roles"] };
        [
            text(&session["handle"]),
            whose(session),
            text(&session["address"]),
            ago(&session["age_seconds"]),
            format!("{}{}", ago(&session["idle_seconds"]), if session["locked"] == true { ", locked" } else { "" }),
            text(last),
        ]
    };
    let rows: Vec<[String; 6]> = std::iter::once(heads.map(str::to_owned)).chain(sessions.iter().map(row)).collect();
    aligned(&rows)
}

/// Somebody, and at which tenant, where that is not the one that every gateway has.
fn whose(session: &Value) -> String {
    match session["tenant"].as_str().filter(|tenant| *tenant != DEFAULT_TENANT) {
        Some(tenant) => format!("{} ({tenant})", text(&session["user"])),
        None => text(&session["user"]),
    }
}

fn in_full(session: &Value) -> String {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let since = |at: &Value, seconds: &Value| format!("{} ({} ago)", moment(at), span(seconds));
    let agent = &session["user_agent"];
    let generation = text(&session["generation"]);
    let mut rows = vec![
        row("handle", text(&session["handle"])),
        row("tenant", text(&session["tenant"])),
        row("user", text(&session["user"])),
        row("email", text(&session["email"])),
        row("roles", text(&session["roles"])),
        row("groups", text(&session["groups"])),
        row("begun", since(&session["authenticated_at"], &session["age_seconds"])),
        row("last active", since(&session["active_at"], &session["idle_seconds"])),
        row(
            "locked",
            if session["locked"] == true { "until its person enters their password" } else { "-" }.to_owned(),
        ),
        row("remembered", if session["remembered"] == true { "as they asked" } else { "-" }.to_owned()),
        row("address", text(&session["address"])),
        row("device", text(&session["device"])),
        row("user agent", format!("hash {}, family {}", text(&agent["hash"]), text(&agent["family_hash"]))),
        row("tls", session["tls_fingerprint"].as_str().map_or("-".to_owned(), |hash| format!("fingerprint {hash}"))),
        row("generation", format!("{generation}, since {}", moment(&session["generation_since"]))),
        row("open streams", text(&session["open_streams"])),
    ];
    let (ends, ended) = (&session["ends"], &session["ended"]);
    if ended.is_null() {
        let (at, span) = (moment(&ends["at"]), span(&ends["in_seconds"]));
        rows.push(row("ends", format!("{at} (in {span}) by {}, if nothing happens", text(&ends["by"]))));
    } else {
        rows.push(row("ended", format!("{}, by {}", moment(&ended["at"]), text(&ended["reason"]))));
    }
    aligned(&rows)
}
