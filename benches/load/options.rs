//! The command line.

use std::path::PathBuf;

use crate::cases::{self, Case};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
usage: cargo bench --bench load -- [flags]

  --only A,B                  contestants to run: nginx, haproxy, vestibule, and labels of --gateway-binary (all)
  --cases A,B                 cases to run: h1-1k, h2-1k, h1-64k, hs, many, ws (all)
  --rounds N                  how often each case is measured for each contestant (3)
  --seconds N                 length of one measurement (5)
  --quick                     one round of two seconds, unless said otherwise: to see that it works
  --sessions N                live sessions in the gateway (100000; with --memory 1000000)
  --gateway-binary LABEL=PATH another build of this benchmark as a further contestant (repeatable)
  --json FILE                 write every measurement there, too
  --server-core N             where the contestants run (0)
  --load-core N               where the load generator and the application run (1)

instead of the load, one of:
  --memory                    bytes of memory a live session
  --idle N                    bytes of memory an idle connection: so many are opened at once, from many addresses ...
  --websockets N              ... and a WebSocket: so many signed-in ones beside them. All are used once more, then
                              closed; a second crowd must find the memory of the first
  --files N                   a file of N GiB down and up through the gateway, over HTTP/1.1 and HTTP/2, every byte
                              compared: its memory must stay under 100 MiB
  --slow                      slowhttptest's slow heads, slow bodies and slow reads: what they do to the p99 of others,
                              which must not double. --rounds and --seconds are those of each attack (3 of 10)
  --restart N                 CPU time to start again with N sessions on disk, after kill -9: 1.5 s for a million at most
  --attackers N               connections that each of these attacks opens (1000)";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// CPU time under load.
    Load,
    /// Memory of sessions.
    Memory,
    /// Memory of connections.
    Crowd(Crowd),
    /// Files of so many GiB.
    Files(usize),
    /// Slow attacks.
    Slow,
    /// Starting again with sessions on disk.
    Restart,
    /// Mixed load for so many minutes.
    Soak(u64),
}

/// The longest mixed load, in minutes: half of the day for which ended sessions are remembered, so that how many of them
/// there are is how many have ended.
const LONGEST_SOAK: u64 = 12 * 60;

/// The shortest: a visit takes half a minute, and then a session that was left must have ended.
const SHORTEST_SOAK: u64 = 2;

/// How many connections are open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowd {
    /// Idle ones.
    pub(crate) idle: usize,
    /// WebSockets.
    pub(crate) websockets: usize,
}

/// A gateway built elsewhere: another build of this very binary.
#[derive(Debug, Clone)]
pub(crate) struct GatewayBinary {
    /// Its name in the tables.
    pub(crate) label: String,
    /// The executable.
    pub(crate) path: PathBuf,
    /// Whether it keeps its sessions on disk, too.
    pub(crate) on_disk: bool,
}

/// What to run, as meant.
#[derive(Debug)]
pub(crate) struct Options {
    /// Names of the contestants to run; empty for all.
    pub(crate) only: Vec<String>,
    /// The cases to run, in the order of the tables.
    pub(crate) cases: Vec<Case>,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Length of one measurement.
    pub(crate) seconds: u64,
    /// Live sessions in a gateway.
    pub(crate) sessions: usize,
    /// Further gateways.
    pub(crate) binaries: Vec<GatewayBinary>,
    /// Where to write the measurements.
    pub(crate) json: Option<PathBuf>,
    /// Where to write every sample of a soak, too.
    pub(crate) csv: Option<PathBuf>,
    /// Where to draw them.
    pub(crate) plot: Option<PathBuf>,
    /// What is measured.
    pub(crate) mode: Mode,
    /// Connections of an attack.
    pub(crate) attackers: usize,
    /// Core of the contestants.
    pub(crate) server_core: usize,
    /// Core of everything else.
    pub(crate) load_core: usize,
}

impl Options {
    /// Whether the contestant of this name takes part.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A run.
    Run(Box<Options>),
    /// The help text.
    Help,
}

/// The flags as typed; what was left out is decided when all are known.
#[derive(Default)]
struct Typed {
    only: Vec<String>,
    cases: Vec<String>,
    rounds: Option<usize>,
    seconds: Option<u64>,
    sessions: Option<usize>,
    binaries: Vec<GatewayBinary>,
    json: Option<PathBuf>,
    quick: bool,
    memory: bool,
    idle: Option<usize>,
    websockets: Option<usize>,
    files: Option<usize>,
    slow: bool,
    restart: Option<usize>,
    soak: Option<u64>,
    csv: Option<PathBuf>,
    plot: Option<PathBuf>,
    attackers: Option<usize>,
    server_core: usize,
    load_core: Option<usize>,
}

/// Reads the command line.
pub(crate) fn parse(args: &[String]) -> Result<Parsed, String> {
    let mut typed = Typed::default();
    let mut rest = args.iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{flag} needs a value"));
        match flag.as_str() {
            // cargo adds it to whatever the user typed.
            "--bench" => {}
            "--help" | "-h" => return Ok(Parsed::Help),
            "--quick" => typed.quick = true,
            "--memory" => typed.memory = true,
            "--slow" => typed.slow = true,
            "--restart" => typed.restart = Some(positive(flag, &value()?)?),
            "--soak" => typed.soak = Some(positive(flag, &value()?)? as u64),
            "--csv" => typed.csv = Some(PathBuf::from(value()?)),
            "--plot" => typed.plot = Some(PathBuf::from(value()?)),
            "--idle" => typed.idle = Some(positive(flag, &value()?)?),
            "--websockets" => typed.websockets = Some(positive(flag, &value()?)?),
            "--attackers" => typed.attackers = Some(positive(flag, &value()?)?),
            "--files" => typed.files = Some(positive(flag, &value()?)?),
            "--only" => typed.only.extend(value()?.split(',').map(str::to_owned)),
            "--cases" => typed.cases.extend(value()?.split(',').map(str::to_owned)),
            "--rounds" => typed.rounds = Some(positive(flag, &value()?)?),
            "--seconds" => typed.seconds = Some(positive(flag, &value()?)? as u64),
            "--sessions" => typed.sessions = Some(positive(flag, &value()?)?),
            "--server-core" => typed.server_core = number(flag, &value()?)?,
            "--load-core" => typed.load_core = Some(number(flag, &value()?)?),
            "--json" => typed.json = Some(PathBuf::from(value()?)),
            "--gateway-binary" => typed.binaries.push(gateway_binary(&value()?)?),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    meant(typed).map(|options| Parsed::Run(Box::new(options)))
}

/// From flags as typed to options as meant.
fn meant(typed: Typed) -> Result<Options, String> {
    let known: Vec<&str> = ["nginx", "haproxy", "vestibule", "disk"]
        .into_iter()
        .chain(typed.binaries.iter().map(|b| b.label.as_str()))
        .collect();
    if let Some(unknown) = typed.only.iter().find(|only| !known.contains(&only.as_str())) {
        return Err(format!("--only {unknown}: the contestants are {}", known.join(", ")));
    }
    for (at, name) in known.iter().enumerate() {
        if known.iter().skip(at + 1).any(|other| other == name) {
            return Err(format!("two contestants are called {name}"));
        }
    }
    let mode = mode(&typed)?;
    let (rounds, seconds, sessions) = match mode {
        Mode::Slow => (3, 10, 1),
        Mode::Memory => (3, 5, 1_000_000),
        Mode::Crowd(crowd) => (1, 5, crowd.websockets.max(1)),
        Mode::Restart => (3, 5, typed.restart.unwrap_or(1)),
        Mode::Load | Mode::Files(_) | Mode::Soak(_) => (3, 5, 100_000),
    };
    let (rounds, seconds) = if typed.quick { (1, 2) } else { (rounds, seconds) };
    let options = Options {
        cases: cases::select(&typed.cases)?,
        only: typed.only,
        rounds: typed.rounds.unwrap_or(rounds),
        seconds: typed.seconds.unwrap_or(seconds),
        sessions: typed.sessions.unwrap_or(sessions),
        binaries: typed.binaries,
        json: typed.json,
        csv: typed.csv,
        plot: typed.plot,
        mode,
        attackers: typed.attackers.unwrap_or(1000),
        server_core: typed.server_core,
        load_core: typed.load_core.unwrap_or(1),
    };
    if options.server_core == options.load_core {
        return Err("--server-core and --load-core must differ".to_owned());
    }
    Ok(options)
}

/// The one thing that is measured.
fn mode(typed: &Typed) -> Result<Mode, String> {
    let crowd = Crowd { idle: typed.idle.unwrap_or(0), websockets: typed.websockets.unwrap_or(0) };
    let asked = [
        typed.memory.then_some(Mode::Memory),
        (crowd.idle + crowd.websockets > 0).then_some(Mode::Crowd(crowd)),
        typed.files.map(Mode::Files),
        typed.slow.then_some(Mode::Slow),
        typed.restart.map(|_| Mode::Restart),
        typed.soak.map(Mode::Soak),
    ];
    let mut asked = asked.into_iter().flatten();
    match (asked.next(), asked.next()) {
        (Some(Mode::Soak(minutes)), None) if !(SHORTEST_SOAK..=LONGEST_SOAK).contains(&minutes) => {
            Err(format!("--soak {minutes}: at least {SHORTEST_SOAK} minutes, at most {LONGEST_SOAK}"))
        }
        (Some(Mode::Soak(_)), None) if typed.json.is_some() => Err("--soak writes --csv, not --json".to_owned()),
        (Some(soak @ Mode::Soak(_)), None) => Ok(soak),
        (_, None) if typed.csv.is_some() || typed.plot.is_some() => Err("--csv and --plot are for --soak".to_owned()),
        (mode, None) => Ok(mode.unwrap_or(Mode::Load)),
        (_, Some(_)) => Err("--memory, --idle with --websockets, --files, --slow, --restart and --soak are runs of \
                             their own"
            .to_owned()),
    }
}

/// A flag's number.
fn number(flag: &str, value: &str) -> Result<usize, String> {
    value.parse().map_err(|_| format!("{flag} {value}: not a number"))
}

/// A flag's number where 0 makes no sense.
fn positive(flag: &str, value: &str) -> Result<usize, String> {
    match number(flag, value)? {
        0 => Err(format!("{flag} must be at least 1")),
        number => Ok(number),
    }
}

/// `LABEL=PATH`. The label becomes part of file names.
fn gateway_binary(value: &str) -> Result<GatewayBinary, String> {
    match value.split_once('=') {
        Some((label, path)) if !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') => {
            Ok(GatewayBinary { label: label.to_owned(), path: PathBuf::from(path), on_disk: false })
        }
        _ => Err(format!("--gateway-binary {value}: write LABEL=PATH, the label of letters, digits and dashes")),
    }
}
