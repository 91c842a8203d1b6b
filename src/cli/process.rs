//! The gateway as a process of its machine: the sockets it is given, and whose rights it has.

use std::ffi::CString;
use std::net::TcpListener;
use std::path::Path;

use listenfd::ListenFd;
use nix::unistd::{Uid, geteuid, initgroups, setgid, setuid};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::config::{Plan, ServiceUser};

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

/// Sees to it that no program could give this process rights that it does not have: a gateway starts none. No other thread
/// may have been started.
///
/// # Errors
/// A sentence that says why it cannot be done; then nothing must be served.
pub(super) fn gain_no_rights() -> Result<(), String> {
    set_no_new_privs(true).map_err(|error| format!("the gateway cannot bar itself from gaining rights: {error}"))
}

/// Becomes the user whom a plan names, if it names one, and reads the plan again: what this user may not read is a mistake
/// now, and not first when it is read again. No other thread may have been started.
///
/// # Errors
/// Why the process cannot be this user, or what is wrong with the configuration for this user.
pub(super) fn as_its_user(config: &Path, plan: Plan) -> Result<Plan, String> {
    let Some(user) = &plan.server.user else { return Ok(plan) };
    become_user(user)?;
    Plan::load(config).map_err(|mistakes| format!("as the user \"{}\":\n{mistakes}", user.name))
}

/// Gives root's rights away for good. No other thread may have been started.
///
/// # Errors
/// A sentence that says why it cannot be done; then nothing must be served.
fn become_user(user: &ServiceUser) -> Result<(), String> {
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
    let held = |error: Errno| format!("the gateway, as \"{name}\", would keep some of root's rights: {error}");
    bound_rights().map_err(held)?;
    setuid(*uid).map_err(failed)?;
    let none = CapabilitySet::empty();
    // What could be inherited is left by the change of user, and with it goes what is ambient.
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).map_err(held)?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(format!("the gateway became \"{name}\", and could become root again"));
    }
    Ok(())
}

/// Takes every right out of what this process and its children could ever have (the capability bounding set).
fn bound_rights() -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // This system knows no more of them.
            Err(Errno::INVAL) => break,
            // A container's root may lack the right to (CAP_SETPCAP). What bars from gaining rights holds without it.
            Err(Errno::PERM) => break,
            Err(error) => return Err(error),
        }
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
