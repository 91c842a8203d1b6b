//! `[admin]`: the operator's listeners.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::admin::api::MAX_SOCKET_PATH;
use crate::base::net::canonical;
use crate::base::shell;
use crate::config::server;
use crate::reader::{Located, Section};

/// A good value of `listen`, quotes included.
const EXAMPLE: &str = "\"unix:/run/vestibule.sock\"";

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
    let listen = section.parsed("listen", socket);
    if let Some((message, help)) = listen.as_deref().and_then(no_place) {
        section.mistake_at("listen", message, help);
    }
    AdminPlan { listen, metrics }
}

/// Why no socket can be made at `path`, and what to do. Whether a gateway answers there is not asked: it may be the one
/// whose next configuration this is.
fn no_place(path: &Path) -> Option<(String, String)> {
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH {
        let message = format!("this path has {bytes} bytes, and the path of a Unix socket can have {MAX_SOCKET_PATH}");
        return Some((message, format!("write a shorter one, like {EXAMPLE}")));
    }
    let folder = path.parent().unwrap_or(path);
    let shown = folder.display();
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Some((format!("{shown} is not a folder"), format!("write another path, like {EXAMPLE}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let help = format!("write another path, or make it with: mkdir -p {}", shell::quoted(folder));
            return Some((format!("there is no folder {shown}"), help));
        }
        Err(error) => {
            return Some((format!("the folder {shown} cannot be used: {error}"), "write another path".to_owned()));
        }
    }
    let found = fs::symlink_metadata(path).ok().filter(|found| !found.file_type().is_socket());
    found.map(|_| {
        (
            format!("there is another file at {}", path.display()),
            "write another path, or take that file away".to_owned(),
        )
    })
}

fn socket(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') && !path.ends_with('/') => Ok(path.into()),
        Some(_) | None => Err(format!("\"{text}\" is not a Unix socket; write its whole path, like {EXAMPLE}")),
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
