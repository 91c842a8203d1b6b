//! `vestibule check`: what would keep a gateway from starting here, said without starting one and without making anything.

use std::path::Path;

use nix::unistd::geteuid;

use crate::app::look;
use crate::cli::{counted, process, say};
use crate::config::Plan;

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
    let mut said = look::people(&plan)?;
    said.extend(look::rest(&process::as_its_user(config, plan)?)?);
    let good = format!("{shown}: good: {routes} to {upstreams}");
    say(&std::iter::once(good).chain(said).collect::<Vec<_>>().join("\n"))
}
