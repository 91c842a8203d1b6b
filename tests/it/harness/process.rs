//! Real processes: the gateway's binary, and servers that were installed. Each is ended by the test that started it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use super::{Log, eventually, patiently, secrets};

/// A process. Killed when dropped, if it has not ended by itself.
pub struct Process {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    /// The folder of a gateway, which keeps secrets.
    gateway: Option<PathBuf>,
    /// What it has written to standard output.
    pub stdout: Log,
    /// What it has written to standard error.
    pub stderr: Log,
}

/// What a process that has ended leaves.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit code; a process that a signal killed has none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// The gateway's binary, to be run in `folder`.
pub fn vestibule(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(arguments).current_dir(folder);
    command
}

/// Runs the gateway's binary in `folder` to its end, with `input` on standard input.
pub fn run(folder: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut process = Process::start(vestibule(folder, arguments).stdin(Stdio::piped()));
    if let Some(mut stdin) = process.child.stdin.take() {
        // Who asks for nothing may have ended already.
        let _ = stdin.write_all(input.as_bytes());
    }
    process.wait()
}

impl Process {
    /// Starts a command. Without another word about it, its standard input is empty.
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let (stdout, stderr) = (Log::default(), Log::default());
        let readers = vec![
            copy(child.stdout.take().expect("piped"), stdout.clone()),
            copy(child.stderr.take().expect("piped"), stderr.clone()),
        ];
        let is_serving = command.get_args().any(|argument| argument == "serve");
        let gateway = command.get_current_dir().filter(|_| is_serving).map(Path::to_owned);
        Self { child, readers, gateway, stdout, stderr }
    }

    /// Starts `vestibule serve` in `folder`, and waits until it listens.
    pub fn serve(folder: &Path) -> Self {
        let process = Self::start(vestibule(folder, &["serve"]).stdin(Stdio::null()));
        process.stderr.wait_for(&["sessions are kept in"]);
        process
    }

    /// The address that standard error says it listens on.
    pub fn address(&self) -> SocketAddr {
        address_after(&self.stderr.text(), "listening on https://")
    }

    /// The address of the metrics.
    pub fn metrics(&self) -> SocketAddr {
        address_after(&self.stderr.text(), "metrics on http://")
    }

    /// Sends it a signal: `TERM`, `INT` or `KILL`.
    pub fn signal(&self, name: &str) {
        // The shell's own command, which is there where no other is.
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status().expect("a shell");
        assert!(status.success(), "{line}");
    }

    /// The number that the system knows it by.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a process").is_some()
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> Ended {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().expect("a process");
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ended { status: status.expect("ended"), stdout: self.stdout.text(), stderr: self.stderr.text() }
    }

    /// Ends it by a signal, and waits.
    pub fn stop(self, signal: &str) -> Ended {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard output ---\n{}", self.stdout.text());
            eprintln!("--- standard error ---\n{}", self.stderr.text());
        } else if let Some(folder) = &self.gateway {
            for reader in self.readers.drain(..) {
                let _ = reader.join();
            }
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            secrets::assert_kept(&[("standard output", &stdout), ("standard error", &stderr)], Some(folder));
        }
    }
}

/// A server that was installed, on a port of its own. Killed when dropped.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says.
    pub process: Process,
}

impl Server {
    /// Starts what `command` makes of an address, and waits until it listens there.
    pub fn start(command: impl Fn(SocketAddr) -> Command) -> Self {
        // It cannot be asked for any free port, so it is given one that was free a moment ago.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = free.local_addr().expect("an address");
            drop(free);
            let mut process = Process::start(command(address).stdin(Stdio::null()));
            let mut is_there = false;
            patiently("the server listens, or ends because somebody else does", || {
                is_there = TcpStream::connect(address).is_ok();
                is_there || process.has_ended()
            });
            if is_there && !process.has_ended() {
                return Self { address, process };
            }
            eprintln!("it ended at once: {}{}", process.stdout.text(), process.stderr.text());
        }
        panic!("it found no port to listen on");
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Where tests/parts/install has put an application that is no Debian package. What `list` names is what must be there.
pub fn part(name: &str, list: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("parts").join(name);
    let wanted = super::top().join("tests/parts").join(name).join(list);
    let wanted = std::fs::read(&wanted).unwrap_or_else(|error| panic!("{}: {error}", wanted.display()));
    let is_there = std::fs::read(folder.join("installed")).is_ok_and(|installed| installed == wanted);
    assert!(
        is_there,
        "{name} is not installed, or another version of it; tests/run installs it, or: tests/parts/install"
    );
    folder
}

fn copy(mut from: impl Read + Send + 'static, mut to: Log) -> JoinHandle<()> {
    std::thread::spawn(move || {
        // It ends when the process does.
        let _ = std::io::copy(&mut from, &mut to);
    })
}

/// The address that follows `words` in `text`.
pub fn address_after(text: &str, words: &str) -> SocketAddr {
    let (_, after) = text.split_once(words).unwrap_or_else(|| panic!("no \"{words}\" in:\n{text}"));
    let end = after.find(['/', '\n', ' ']).unwrap_or(after.len());
    after[..end].parse().unwrap_or_else(|_| panic!("no address after \"{words}\" in:\n{text}"))
}

/// One request over a plain connection: the status and everything after the head.
pub fn plain(mut stream: impl Read + Write, method: &str, target: &str) -> (u16, String) {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no answer: {answer}")), body.to_owned())
}
