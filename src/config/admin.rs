//! `[admin]`: the operator's listeners.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use crate::admin::guard::{MIN_TOKEN_CHARS, check_token};
use crate::admin::listen::{MAX_SOCKET_PATH, Place};
use crate::base::net::canonical;
use crate::base::shell;
use crate::config::plan::MAX_CONFIG_BYTES;
use crate::config::server;
use crate::reader::mistake::Mistakes;
use crate::reader::{Document, Located, Section};

/// A good value of `listen`, quotes included.
const EXAMPLE: &str = "\"unix:/run/vestibule.sock\"";

/// What to write for a token.
const TOKEN: &str = "write token = \"file:admin.token\", and make that file with: openssl rand -hex 32";

/// What `[admin]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminPlan {
    /// Where to see and end sessions.
    pub listen: Option<Place>,
    /// Where `/ping`, `/ready` and `/metrics` are.
    pub metrics: Option<SocketAddr>,
}

impl AdminPlan {
    /// Reads `[admin]` alone, for a command that wants to know where a gateway listens to its operator. What else is in the
    /// file may need rights that whoever gives the command does not have.
    ///
    /// # Errors
    /// What is wrong with this part, or that the file cannot be read.
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        let document =
            Document::load(file, MAX_CONFIG_BYTES, "name another file with --config, or the place with --admin")?;
        let root = document.root();
        let plan = read(&root, &[]);
        root.leave_the_rest();
        document.finish()?;
        Ok(plan)
    }
}

/// What `listen` says.
enum Written {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Reads `[admin]`. `taken` is where the gateway listens otherwise.
pub(super) fn read(root: &Section<'_>, taken: &[Located<SocketAddr>]) -> AdminPlan {
    let section = root.section_or_empty("admin");
    let metrics = section.parsed_located("metrics", loopback);
    if let Some(metrics) = &metrics {
        not_taken(&section, "metrics", metrics.value, taken);
    }
    let listen = listen(&section, taken, metrics.as_ref());
    AdminPlan { listen, metrics: metrics.map(|metrics| metrics.value) }
}

fn not_taken(section: &Section<'_>, key: &str, address: SocketAddr, taken: &[Located<SocketAddr>]) {
    let Some((other, line)) = server::taken(section, address, taken) else { return };
    let message = if canonical(other.ip()).is_unspecified() {
        format!("line {line} takes this port on every address")
    } else {
        format!("line {line} takes this address already")
    };
    section.mistake_at(key, message, "write another port");
}

/// Reads `listen`, and what goes with an address.
fn listen(
    section: &Section<'_>,
    taken: &[Located<SocketAddr>],
    metrics: Option<&Located<SocketAddr>>,
) -> Option<Place> {
    let listen = section.parsed("listen", place);
    let token = section.secret("token");
    let hosts = section.parsed_list("hosts", host).unwrap_or_default();
    match listen? {
        Written::Unix(path) => {
            if let Some((message, help)) = no_place(&path) {
                section.mistake_at("listen", message, help);
            }
            for key in ["token", "hosts"].into_iter().filter(|key| section.has(key) && !section.is_written_empty(key)) {
                let message = format!("\"{key}\" means nothing to a Unix socket, which only its owner can open");
                section.mistake_at(key, message, "remove this line, or write a loopback address as \"listen\"");
            }
            Some(Place::Unix(path))
        }
        Written::Tcp(address) => {
            not_taken(section, "listen", address, taken);
            if let Some(metrics) = metrics {
                not_taken(section, "listen", address, std::slice::from_ref(metrics));
            }
            if !section.has("token") {
                let message =
                    "every user of this machine could see and end sessions by this address without a \"token\"";
                section.mistake_at("listen", message, TOKEN);
            }
            let token = token?;
            if let Err(message) = check_token(token.expose()) {
                let help = format!("it needs {MIN_TOKEN_CHARS} visible ASCII characters or more: openssl rand -hex 32");
                section.mistake_at("token", message, help);
            }
            let hosts = hosts.into_iter().map(|host| host.value).collect();
            Some(Place::Tcp { address, token, hosts })
        }
    }
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

fn place(text: &str) -> Result<Written, String> {
    match text.strip_prefix("unix:") {
        Some(path) if path.starts_with('/') && !path.ends_with('/') => Ok(Written::Unix(path.into())),
        Some(_) => Err(format!("\"{text}\" is not a Unix socket; write its whole path, like {EXAMPLE}")),
        None => match text.parse::<SocketAddr>() {
            Ok(address) if canonical(address.ip()).is_loopback() => Ok(Written::Tcp(address)),
            Ok(_) => Err(format!(
                "\"{text}\" can be reached from other machines, and the token would be sent to it in the clear; write a \
                 loopback address like \"127.0.0.1:9902\", and come to it by SSH or a proxy with TLS"
            )),
            Err(_) => Err(format!(
                "\"{text}\" is neither a Unix socket nor an address; write {EXAMPLE}, or a loopback address with a port"
            )),
        },
    }
}

/// A host as it is named in a request, without its port.
fn host(text: &str) -> Result<Box<str>, String> {
    let is_name = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        && !text.starts_with('.');
    if is_name {
        Ok(text.to_ascii_lowercase().into())
    } else {
        Err(format!("\"{text}\" is not a host; write a name without a port, like \"admin.example.test\""))
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
