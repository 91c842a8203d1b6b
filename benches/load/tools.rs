//! The programs of others that the benchmark needs, and how they are started.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::options::{Mode, Options};

/// What installs all of them.
const INSTALL: &str = "apt-get install nginx-light haproxy nghttp2-client wrk slowhttptest util-linux";

/// Where each program is.
#[derive(Debug)]
pub(crate) struct Tools {
    /// The application behind the contestants, and a contestant.
    pub(crate) nginx: PathBuf,
    /// A contestant.
    pub(crate) haproxy: PathBuf,
    /// Load over HTTP/1.1 and HTTP/2 with one cookie.
    pub(crate) h2load: PathBuf,
    /// Load with many cookies.
    pub(crate) wrk: PathBuf,
    /// Slow attacks.
    pub(crate) slowhttptest: PathBuf,
    /// Sets limits.
    pub(crate) prlimit: PathBuf,
    /// Lets others go first.
    chrt: PathBuf,
    /// Pins to a core.
    taskset: PathBuf,
    /// Ties a child to its parent.
    setpriv: PathBuf,
}

/// Finds them all, or says what to install.
pub(crate) fn find(options: &Options) -> Result<Tools, String> {
    let mut missing = Vec::new();
    let mut need = |name: &'static str, needed: bool| match lookup(name) {
        Some(path) => path,
        None => {
            if needed {
                missing.push(name);
            }
            PathBuf::from(name)
        }
    };
    let load = options.mode == Mode::Load;
    let crowd = matches!(options.mode, Mode::Crowd(_));
    let slow = options.mode == Mode::Slow;
    let tools = Tools {
        nginx: need("nginx", load || crowd || slow),
        haproxy: need("haproxy", load),
        h2load: need("h2load", load),
        wrk: need("wrk", load),
        slowhttptest: need("slowhttptest", slow),
        prlimit: need("prlimit", crowd),
        chrt: need("chrt", slow),
        taskset: need("taskset", true),
        setpriv: need("setpriv", true),
    };
    if missing.is_empty() { Ok(tools) } else { Err(format!("missing: {}. Run: {INSTALL}", missing.join(", "))) }
}

impl Tools {
    /// A command that runs on one core only, and that the kernel ends when this process ends, however it ends.
    ///
    /// All helpers replace themselves by the program, so the child's pid is the program's.
    pub(crate) fn pinned(&self, core: usize, program: &Path) -> Command {
        let mut command = self.tied(core);
        command.arg(program);
        command
    }

    /// The same, but it runs only when nothing else wants to.
    pub(crate) fn pinned_idle(&self, core: usize, program: &Path) -> Command {
        let mut command = self.tied(core);
        command.arg(&self.chrt).args(["--idle", "0"]).arg(program);
        command
    }

    fn tied(&self, core: usize) -> Command {
        let mut command = Command::new(&self.taskset);
        command.arg("-c").arg(core.to_string());
        command.arg(&self.setpriv).args(["--pdeathsig", "KILL"]);
        command
    }
}

/// The program of this name. Debian keeps servers in `sbin`, which is not in every user's path.
fn lookup(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    places.map(|place| place.join(name)).find(|candidate| candidate.is_file())
}
