//! The sockets that clients connect to: opened here, or given by whoever has started the gateway and holds them open
//! meanwhile, as systemd does, so that a restart refuses nobody.

use std::io::ErrorKind::{AddrInUse, PermissionDenied};
use std::net::{SocketAddr, TcpListener};

use crate::server::listener;

/// The sockets of a gateway: of each address, one for each worker.
pub struct Sockets {
    /// With TLS.
    pub https: Vec<Vec<TcpListener>>,
    /// Without.
    pub http: Vec<Vec<TcpListener>>,
}

impl Sockets {
    /// Opens them, but for those that were `given`. It is all that may take root's rights.
    ///
    /// # Errors
    /// A sentence that says which address cannot be listened on, and why, or which socket was given in vain.
    pub fn open(
        https: &[SocketAddr],
        http: &[SocketAddr],
        workers: usize,
        mut given: Vec<TcpListener>,
    ) -> Result<Self, String> {
        let https = open(https, workers, &mut given)?;
        let http = open(http, workers, &mut given)?;
        let Some(left) = given.first().and_then(|left| left.local_addr().ok()) else { return Ok(Self { https, http }) };
        Err(format!(
            "a socket on {left} was passed to the gateway, and the configuration does not listen there; write \"{left}\" \
             in \"listen\" or \"redirect\" in [server], or take it out of the socket unit"
        ))
    }
}

/// A socket for each worker on each of the addresses: one of those that were `given`, which are taken out, or a new one.
fn open(
    addresses: &[SocketAddr],
    workers: usize,
    given: &mut Vec<TcpListener>,
) -> Result<Vec<Vec<TcpListener>>, String> {
    let open_one = |address: &SocketAddr| {
        let ours = |listener: &mut TcpListener| listener.local_addr().is_ok_and(|local| local == *address);
        let own: Vec<TcpListener> = given.extract_if(.., ours).collect();
        if own.is_empty() { bind(*address, workers) } else { share(*address, workers, &own) }
    };
    addresses.iter().map(open_one).collect()
}

/// Where they came to listen.
pub fn addresses_of(listeners: &[Vec<TcpListener>]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|of_workers| of_workers.first()?.local_addr().ok()).collect()
}

/// A socket for each worker. Whoever gives one only has all workers accept from it; of several on the same address
/// (SO_REUSEPORT) each worker has its own.
fn share(address: SocketAddr, workers: usize, own: &[TcpListener]) -> Result<Vec<TcpListener>, String> {
    if own.len() > workers {
        return Err(format!(
            "{} sockets on {address} were passed to the gateway, and it has {workers} workers, each with one of them; \
             write fewer in the socket unit, or workers = {} in [server]",
            own.len(),
            own.len()
        ));
    }
    let one = |at: usize| {
        let listener = own[at % own.len()].try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let all: std::io::Result<Vec<TcpListener>> = (0..workers).map(one).collect();
    all.map_err(|error| format!("the socket on {address} that was passed to the gateway cannot be used: {error}"))
}

/// New sockets on one address.
///
/// # Errors
/// A sentence that says why it cannot be listened on.
pub fn bind(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, String> {
    listener::bind(address, workers).map_err(|error| {
        let kind = error.kind();
        if kind == AddrInUse {
            format!("cannot listen on {address}: another process does")
        } else if kind == PermissionDenied {
            format!("cannot listen on {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE")
        } else {
            format!("cannot listen on {address}: {error}")
        }
    })
}

/// Looks whether [`bind`] could be done but for somebody who has the port, and opens none: the address with any port is
/// taken for a moment, and the port without being listened on, which is in the way of nobody who listens or is about to. The
/// port, if this user has not the right to it.
///
/// # Errors
/// As [`bind`], when this machine does not have the address.
pub fn can_be_bound(address: SocketAddr) -> Result<Option<u16>, String> {
    let mut anywhere = address;
    anywhere.set_port(0);
    listener::take(anywhere).map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let taken = listener::take(address);
    Ok(taken.is_err_and(|error| error.kind() == PermissionDenied).then_some(address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(listener: &TcpListener) -> String {
        use std::os::fd::AsRawFd as _;
        let link = format!("/proc/self/fd/{}", listener.as_raw_fd());
        std::fs::read_link(link).expect("an open file").display().to_string()
    }

    #[test]
    fn of_what_is_given_every_socket_is_used() {
        let given = listener::bind(([127, 0, 0, 1], 0).into(), 2).expect("a port");
        let address = given[0].local_addr().expect("an address");
        let copies = || given.iter().map(|one| one.try_clone().expect("a copy")).collect::<Vec<_>>();
        let open = |workers, given| {
            let opened = Sockets::open(&[], &[address], workers, given)?;
            Ok::<_, String>(opened.http[0].iter().map(inode).collect::<Vec<_>>())
        };
        let both = [inode(&given[0]), inode(&given[1])];
        assert_eq!(open(2, copies()).expect("sockets"), both);
        assert_eq!(open(3, copies()).expect("sockets")[..2], both);
        assert_eq!(
            open(2, vec![given[0].try_clone().expect("a copy")]).expect("sockets"),
            [both[0].clone(), both[0].clone()]
        );
        // One that no worker accepts from would leave its share of the people waiting.
        assert!(open(1, copies()).is_err_and(|said| said.contains("workers = 2")));
        let elsewhere = listener::bind(([127, 0, 0, 1], 0).into(), 1).expect("a port");
        assert!(
            open(2, copies().into_iter().chain(elsewhere).collect())
                .is_err_and(|said| said.contains("does not listen there"))
        );
    }
}
