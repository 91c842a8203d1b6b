//! The gateway as a process of its machine: the sockets it is given, whose rights it has, how many files it may open.

use std::ffi::CString;
use std::net::TcpListener;

use listenfd::ListenFd;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, geteuid, initgroups, setgid, setuid};

use crate::config::{Plan, ServiceUser};

/// Files that are open beside connections: logs, the store, certificates being read, the operator's listeners and
/// connections, and what each worker's runtime needs.
const OTHER_FILES: usize = 256;

/// The sockets that whoever started the process has passed to it (`LISTEN_FDS`, sd_listen_fds(3)).
///
/// # Errors
/// When one of them is nothing that clients can connect to.
pub(super) fn given_sockets() -> Result<Vec<TcpListener>, String> {
    let mut given = ListenFd::from_env();
    let count = given.len();
    let one = |at| {
        given.take_tcp_listener(at).map_err(|_| {
            format!(
                "socket {} that was passed to the gateway is no listening TCP socket; take it out of the socket unit",
                at + 1
            )
        })
    };
    let all: Result<Vec<_>, String> = (0..count).map(one).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// Lets the process open as many files as its machine allows. Gives what is to be said when that is too few.
pub(super) fn raise_file_limit(plan: &Plan) -> Option<String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let is_raised = soft >= hard || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok();
    let most = if is_raised { hard } else { soft };
    let (clients, applications) =
        (plan.server.max_connections, plan.upstreams.iter().map(|upstream| upstream.max_connections).sum::<usize>());
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

/// Gives root's rights away for good. No other thread may have been started.
///
/// # Errors
/// A sentence that says why it cannot be done; then nothing must be served.
pub(super) fn become_user(user: &ServiceUser) -> Result<(), String> {
    let ServiceUser { name, uid, gid } = user;
    if geteuid() == *uid {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(format!(
            "only root can become \"{name}\", which is \"user\" in [server]; start the gateway as root or as \"{name}\", or \
             remove that line"
        ));
    }
    let failed = |error: nix::Error| format!("the gateway cannot become \"{name}\": {error}");
    let shown = CString::new(&**name).map_err(|_| format!("\"{name}\" is not a name of a user"))?;
    initgroups(&shown, *gid).map_err(failed)?;
    setgid(*gid).map_err(failed)?;
    setuid(*uid).map_err(failed)?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("the gateway became \"{name}\", and could become root again"));
    }
    Ok(())
}

/// Says that root's rights are more than a gateway needs.
pub(super) fn warn_of_root() {
    if geteuid().is_root() {
        tracing::warn!(
            "running as root, which no gateway needs: write user = \"NAME\" in [server], or start it as another user with \
             the capability CAP_NET_BIND_SERVICE"
        );
    }
}
