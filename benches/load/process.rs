//! A child process that never outlives its guard, and what the kernel knows about its cost.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often a waiting loop looks again.
const POLL: Duration = Duration::from_millis(20);
/// How much of a program's own words an error repeats.
const TAIL_LINES: usize = 12;

/// A running child. Dropping it kills it, so errors and panics leave nothing behind.
///
/// Every program here stays in one process (nginx too: it is told to), so its pid is all there is to measure and kill.
#[derive(Debug)]
pub(crate) struct Process {
    /// For messages.
    name: String,
    /// The handle that is killed.
    child: Child,
    /// What it prints.
    stdout: PathBuf,
    /// What it complains about.
    stderr: PathBuf,
}

/// CPU time of a process, as its scheduler counts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTime {
    /// Nanoseconds on a core, in user and kernel mode.
    pub(crate) used_ns: u64,
    /// Nanoseconds it was ready to run while something else had the core: a sign that the machine is not quiet.
    pub(crate) waited_ns: u64,
}

impl Process {
    /// Starts a command; what it prints goes to two files in `dir` called after `name`.
    pub(crate) fn start(name: &str, mut command: Command, dir: &Path) -> Result<Self, String> {
        let (stdout, stderr) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let create = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// What it printed so far.
    pub(crate) fn output(&self) -> Result<String, String> {
        fs::read_to_string(&self.stdout).map_err(|error| format!("{}: {error}", self.stdout.display()))
    }

    /// An error if it has ended.
    pub(crate) fn check_running(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended early, {status}{}", self.name, self.last_words())),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Waits until `ready` says so, as long as the process lives.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut(&Self) -> Result<bool, String>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + limit;
        while !ready(self)? {
            self.check_running()?;
            if Instant::now() > deadline {
                return Err(format!("{} was not ready after {limit:?}{}", self.name, self.last_words()));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Waits for its end and returns what it printed; an error if it fails or takes too long.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<String, String> {
        let deadline = Instant::now() + limit;
        let status: ExitStatus = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
                Ok(None) => return Err(format!("{} did not end within {limit:?}", self.name)),
                Err(error) => return Err(format!("{}: {error}", self.name)),
            }
        };
        if status.success() { self.output() } else { Err(format!("{}: {status}{}", self.name, self.last_words())) }
    }

    /// CPU time of all its threads so far. Threads that have ended are not counted; servers keep theirs.
    pub(crate) fn cpu_time(&self) -> Result<CpuTime, String> {
        let mut sum = CpuTime { used_ns: 0, waited_ns: 0 };
        let tasks = format!("/proc/{}/task", self.child.id());
        let fail = |error: std::io::Error| format!("{}: {tasks}: {error}", self.name);
        for task in fs::read_dir(&tasks).map_err(fail)? {
            let text = match fs::read_to_string(task.map_err(fail)?.path().join("schedstat")) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            };
            let mut fields = text.split_ascii_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
            sum.used_ns += fields.next().unwrap_or(0);
            sum.waited_ns += fields.next().unwrap_or(0);
        }
        Ok(sum)
    }

    /// Bytes of memory it has in use (resident).
    pub(crate) fn memory(&self) -> Result<u64, String> {
        self.status("VmRSS:")
    }

    /// The most it ever had in use.
    pub(crate) fn peak_memory(&self) -> Result<u64, String> {
        self.status("VmHWM:")
    }

    /// Stops it, or lets it go on.
    pub(crate) fn set_stopped(&self, is_stopped: bool) -> Result<(), String> {
        self.signal(if is_stopped { "-STOP" } else { "-CONT" })
    }

    /// Sends it SIGHUP, if it has said that it wants to know of it; others would end. Whether it was sent.
    pub(crate) fn hang_up(&self) -> Result<bool, String> {
        let caught = self.status_field("SigCgt:")?;
        let caught = u64::from_str_radix(&caught, 16).map_err(|error| format!("{}: {caught}: {error}", self.name))?;
        // SIGHUP is number 1, and has the lowest bit.
        let is_caught = caught & 1 == 1;
        if is_caught {
            self.signal("-HUP")?;
        }
        Ok(is_caught)
    }

    fn signal(&self, signal: &str) -> Result<(), String> {
        // The shell has its own, so that nothing need be installed.
        let status =
            Command::new("sh").args(["-c", "kill \"$@\"", "sh", signal, &self.child.id().to_string()]).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{}: kill {signal}: {status}{}", self.name, self.last_words())),
            Err(error) => Err(format!("{}: kill {signal}: {error}", self.name)),
        }
    }

    /// How many files it has open; each connection is one.
    pub(crate) fn open_files(&self) -> Result<usize, String> {
        let path = format!("/proc/{}/fd", self.child.id());
        fs::read_dir(&path).map(Iterator::count).map_err(|error| format!("{}: {path}: {error}", self.name))
    }

    /// A line of what the kernel says of it, in bytes.
    fn status(&self, field: &str) -> Result<u64, String> {
        let value = self.status_field(field)?;
        let kib: Option<u64> = value.strip_suffix(" kB").and_then(|kib| kib.trim().parse().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| format!("{}: {field} {value}", self.name))
    }

    /// A line of what the kernel says of it.
    fn status_field(&self, field: &str) -> Result<String, String> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {path}: {error}", self.name))?;
        let value = text.lines().find_map(|line| line.strip_prefix(field));
        value.map(|value| value.trim().to_owned()).ok_or_else(|| format!("{path}: no {field}"))
    }

    /// The end of what it said on stderr, for an error message.
    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.stderr).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
        if tail.is_empty() { String::new() } else { format!("; it said:\n  {}", tail.join("\n  ")) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
