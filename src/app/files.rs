//! How many files the process may have open, which each connection is one of.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Plan;

/// Files that are open beside connections: logs, the store, certificates being read, the operator's listeners and
/// connections, and what each worker's runtime needs.
const OTHER_FILES: usize = 256;

/// How many files a plan asks for: a connection of a client, and one to an application, is one each.
fn needed(plan: &Plan) -> [usize; 2] {
    [plan.server.max_connections, plan.upstreams.iter().map(|upstream| upstream.max_connections).sum()]
}

/// Whether a plan asks for more files than another did.
pub(crate) fn asks_for_more(plan: &Plan, before: &Plan) -> bool {
    needed(plan).iter().sum::<usize>() > needed(before).iter().sum()
}

/// Lets the process open as many files as its machine allows. Gives what is to be said when that is too few.
pub(crate) fn raise_limit(plan: &Plan) -> Option<String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let is_raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let most = if is_raised { hard } else { soft };
    let [clients, applications] = needed(plan);
    let needed = clients + applications + OTHER_FILES;
    (most < needed as u64).then(|| {
        format!(
            "only {most} files may be open at once, and {needed} are needed: {clients} for connections of clients, \
             {applications} for those to applications, {OTHER_FILES} for logs, the store and the like. Beyond that, \
             connections fail. Write LimitNOFILE={needed} in the systemd unit, or ulimit -n {needed} in the shell, or less \
             as max_connections"
        )
    })
}
