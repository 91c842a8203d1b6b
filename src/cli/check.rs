//! `vestibule check`: what would keep a gateway from starting here, said without starting one and without making anything.

use std::path::Path;

use nix::unistd::geteuid;

use crate::app::look;
use crate::cli::{Failed, counted, process, say};
use crate::config::standards::{Item, State, checklist};
use crate::config::{Plan, Profile};
use crate::reader::either;

/// What the exit status says.
pub(super) const EXIT_STATUS: &str = "Exit status: 0 when it is good, 1 when it is not. With --profile: 0 when everything is met \
that must be, but for what is outside the gateway; 3 when something is not, also where no configuration could meet it; 1 \
when the file cannot be taken.\n\nExamples:\n  vestibule check --config next.toml\n  vestibule check --profile asvs-l2";

/// The longest line of a checklist, in characters.
const WIDTH: usize = 110;

/// A profile by its name.
pub(super) fn profile(text: &str) -> Result<Profile, String> {
    let names = Profile::ALL.map(Profile::name);
    Profile::ALL
        .into_iter()
        .find(|profile| profile.name() == text)
        .ok_or_else(|| format!("write {}", either(names.into_iter())))
}

/// Prints the checklist of a standard for a configuration.
///
/// # Errors
/// What is wrong with the file, or that something is not met.
pub(super) fn standard(config: &Path, profile: Profile) -> Result<(), Failed> {
    let plan = Plan::load(config).map_err(|mistakes| mistakes.to_string())?;
    let list = checklist(&plan, profile);
    let count = |state: State, is_advice: bool| {
        list.iter().filter(|item| (item.state, item.is_advice) == (state, is_advice)).count()
    };
    let mut text = format!("{}: {}\n", config.display(), profile.title());
    if plan.profile != Some(profile) {
        text += &format!("The file does not say profile = \"{}\", so nothing keeps it to this.\n", profile.name());
    }
    for item in &list {
        text += &shown(item);
    }
    let (unmet, unfollowed) = (count(State::NotMet, false), count(State::NotMet, true));
    let met = count(State::Met, false) + count(State::Met, true);
    let outside = count(State::Outside, false) + count(State::Outside, true);
    text += &format!(
        "\n{met} met, {unmet} not met, {unfollowed} advised and not followed, {outside} outside the gateway: yours or the \
         application's"
    );
    say(&text)?;
    if unmet == 0 {
        return Ok(());
    }
    let what = if unmet == 1 { "1 requirement is".to_owned() } else { format!("{unmet} requirements are") };
    Err(Failed { message: format!("{what} not met"), code: Failed::NOT_MET })
}

/// A requirement, on lines of its own.
fn shown(item: &Item) -> String {
    let advice = if item.is_advice { " (advice)" } else { "" };
    let head = format!("\n{:<8} {} {}{advice}: {}\n", item.state.name(), item.document, item.section, item.asks);
    let mut text = head;
    let mut line = String::new();
    for word in item.by.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH - 9 {
            text += &format!("         {line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    text + &format!("         {line}\n")
}

/// Reads the configuration and all that it names, and looks at what a start would open, as the user whom it would be opened
/// by.
///
/// # Errors
/// Everything that is wrong, in the words of the start.
pub(super) fn run(config: &Path) -> Result<(), String> {
    let plan = Plan::load(config).map_err(|mistakes| mistakes.to_string())?;
    let (routes, upstreams) = (counted(plan.routes.len(), "route"), counted(plan.upstreams.len(), "upstream"));
    let shown = config.display();
    if let Some(user) = plan.server.user.as_ref().filter(|user| !geteuid().is_root() && geteuid() != user.uid) {
        return say(&format!(
            "{shown}: good as far as this user can look: {routes} to {upstreams}\nnot looked at: what \"{name}\", which is \
             \"user\" in [server], may read and write, and the session store. Only root can, and only root can start this \
             gateway: run this as root, or as \"{name}\"",
            name = user.name
        ));
    }
    // As the start does it: ports that people come to while there may be more rights, and everything else later.
    let mut said: Vec<String> = plan.remarks();
    said.extend(look::people(&plan)?);
    said.extend(look::rest(&process::as_its_user(config, plan)?)?);
    let good = format!("{shown}: good: {routes} to {upstreams}");
    say(&std::iter::once(good).chain(said).collect::<Vec<_>>().join("\n"))
}
