//! `[admin]`: the operator's listeners.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::base::net::canonical;
use crate::config::server;
use crate::reader::{Located, Section};

/// What `[admin]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminPlan {
    /// The Unix socket to see and end sessions by.
    pub listen: Option<PathBuf>,
    /// Where `/ping`, `/ready` and `/metrics` are.
    pub metrics: Option<SocketAddr>,
}

/// Reads `[admin]`. `taken` is where the gateway listens otherwise.
pub(super) fn read(root: &Section<'_>, taken: &[Located<SocketAddr>]) -> AdminPlan {
    let section = root.section_or_empty("admin");
    let metrics = section.parsed("metrics", loopback);
    if let Some((other, line)) = metrics.and_then(|address| server::taken(&section, address, taken)) {
        let message = if canonical(other.ip()).is_unspecified() {
            format!("line {line} takes this port on every address")
        } else {
            format!("line {line} takes this address already")
        };
        section.mistake_at("metrics", message, "write another port");
    }
    AdminPlan { listen: section.parsed("listen", socket), metrics }
}

fn socket(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') => Ok(path.into()),
        Some(_) | None => {
            Err(format!("\"{text}\" is not a Unix socket; write its whole path, like \"unix:/run/vestibule.sock\""))
        }
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let example = "write a loopback address with a port, like \"127.0.0.1:9901\"";
    let address: SocketAddr =
        text.parse().map_err(|_| format!("\"{text}\" is not an address with a port; {example}"))?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(format!("\"{text}\" can be reached from other machines, and the metrics ask for no password; {example}"))
    }
}
