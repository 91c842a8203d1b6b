//! `--slow`: what slow attacks do to others.
//!
//! slowhttptest holds hundreds of connections open by three tricks: heads that never end, bodies that drip, answers that
//! are hardly read. The latter two pass through a public route to the application itself, so that they hold what there
//! is to be held. Meanwhile ordinary visitors measure: their p99 must not be more than twice what it was in the same
//! round without an attack.
//!
//! They come when the attacker has opened all that it could: opening a thousand connections, and filling the kernel's
//! buffers for each, is a load like any other. And slowhttptest spins while it waits, which takes a core: on a machine
//! with two, visitors on the same core would measure that. So once the attack stands, it runs for a moment every few
//! seconds only, in which it drips what is due on every connection. Its connections stay open all the time.

use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::cases::SMALL;
use crate::configs::{Behind, Room};
use crate::contestants::{self, Contestant, GatewayStart};
use crate::lab::{self, Lab};
use crate::options::{GatewayBinary, Options};
use crate::origin::FILES;
use crate::process::Process;
use crate::report::median;
use crate::run;
use crate::tools::Tools;
use crate::visitors::{self, Felt};

/// How many connections an attack opens a second. This, how many it opens in all unless told otherwise, and the figures of
/// each attack are of its manual's examples.
const PER_SECOND: usize = 200;
/// An attack that holds less than this share of them has not taken place.
const LEAST_HELD: f64 = 0.1;
/// How much longer an attack may last than the visitors stay, in seconds. It is ended when they leave.
const REMAINDER: u64 = 120;
/// An attack stands when for so long it has opened nothing more, and has kept the gateway busy for less than a tenth of
/// the time, looked at so often; and how long that may take.
const STANDS: Duration = Duration::from_millis(1500);
const LOOK: Duration = Duration::from_millis(250);
const STANDS_LIMIT: Duration = Duration::from_secs(60);
/// How often it then runs, and for how long: for less than one request in a hundred.
const DRIP_EVERY: Duration = Duration::from_secs(5);
const DRIP: Duration = Duration::from_millis(30);
/// How much longer than asked for the visitors may take.
const OVERTIME: Duration = Duration::from_secs(30);
/// The most that the p99 may grow.
const MOST: f64 = 2.0;
/// What is asked for and hardly read, in bytes: more than any buffer on the way.
const HARDLY_READ: usize = 4 << 20;

/// A way to be slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attack {
    Head,
    Body,
    Read,
}

/// All of them.
const ATTACKS: [Attack; 3] = [Attack::Head, Attack::Body, Attack::Read];

/// One attack in one round, beside the quiet before it.
struct Row {
    attack: Attack,
    binary: String,
    before: Felt,
    during: Felt,
    /// How many more files the gateway had open when the attack stood; each connection is one.
    held: usize,
    /// The most memory it used at any moment.
    memory: u64,
}

/// Attacks every gateway that takes part, in every way, in every round, and prints a table.
pub(crate) fn run(options: &Options, tools: &Tools) -> Result<(), String> {
    let lab = Lab::new()?;
    run::tidy_up_on_interrupt(lab.dir().to_owned())?;
    let gateways = contestants::gateways(options)?;
    let mut rows = Vec::new();
    for round in 0..options.rounds {
        for binary in &gateways {
            for attack in ATTACKS {
                let row = measure(attack, binary, options, tools, &lab)
                    .map_err(|error| format!("round {}, {}, {}: {error}", round + 1, binary.label, attack.title()))?;
                let [kept, new] = row.ratios();
                let (label, title) = (&binary.label, attack.title());
                eprintln!("round {}, {label}, {title}: p99 {kept:.2} kept, {new:.2} new", round + 1);
                rows.push(row);
            }
        }
    }
    let labels: Vec<&str> = gateways.iter().map(|gateway| gateway.label.as_str()).collect();
    let (text, worst) = table(&labels, &rows);
    print!("{text}");
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json(&rows)).map_err(|error| error.to_string())?;
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if worst > MOST { Err(format!("the p99 of others grew by {worst:.2}, and {MOST} is allowed")) } else { Ok(()) }
}

/// Lets visitors come to a fresh gateway, first in peace and then while it is attacked.
fn measure(attack: Attack, binary: &GatewayBinary, options: &Options, tools: &Tools, lab: &Lab) -> Result<Row, String> {
    let ports = lab::free_ports(2)?;
    let [port, application] = ports.as_slice() else { return Err("no free ports".to_owned()) };
    let _application = contestants::start_part("origin", *application, options.load_core, tools, lab)?;
    let behind = Behind { application: *application, echo: *application };
    let (room, core) = (Room::Loopback, options.server_core);
    let what = GatewayStart { binary, port: *port, behind, room, sessions: options.sessions, core };
    let mut target = contestants::start_gateway(&what, tools, lab)?;
    // The first of all warm it up.
    watch(&mut target, 1, None, options, tools, lab)?;
    let before = watch(&mut target, options.seconds, None, options, tools, lab)?;
    let alone = target.process.open_files()?;
    let command = attack.command(&target, options, tools);
    let mut attacker = Process::start(attack.key(), command, lab.dir())?;
    let most = stands(&mut attacker, &target)?;
    attacker.set_stopped(true)?;
    let during = watch(&mut target, options.seconds, Some(&attacker), options, tools, lab)?;
    drop(attacker);
    let (held, memory) = (most.saturating_sub(alone), target.process.peak_memory()?);
    if (held as f64) < LEAST_HELD * options.attackers as f64 {
        return Err(format!("slowhttptest held {held} connections: that is no attack"));
    }
    Ok(Row { attack, binary: binary.label.clone(), before, during, held, memory })
}

/// Waits until the attacker has done what it can, and returns how many files the gateway has open then.
fn stands(attacker: &mut Process, target: &Contestant) -> Result<usize, String> {
    let (mut most, mut used, mut since) = (0, 0, Instant::now());
    attacker.wait_until(STANDS_LIMIT, |_| {
        thread::sleep(LOOK);
        let (files, cpu) = (target.process.open_files()?, target.process.cpu_time()?.used_ns);
        let is_busy = u128::from(cpu.saturating_sub(used)) > LOOK.as_nanos() / 10;
        if files > most || is_busy {
            since = Instant::now();
        }
        (most, used) = (most.max(files), cpu);
        Ok(since.elapsed() > STANDS)
    })?;
    Ok(most)
}

/// Lets visitors come for so long, and the attacker drip meanwhile. Nothing else is done: it would be felt.
fn watch(
    target: &mut Contestant,
    seconds: u64,
    attacker: Option<&Process>,
    options: &Options,
    tools: &Tools,
    lab: &Lab,
) -> Result<Felt, String> {
    let command = visitors::command(tools, options.load_core, target, seconds, lab)?;
    let mut visitors = Process::start("visitors", command, lab.dir())?;
    let mut dripped_at = Instant::now();
    let limit = Duration::from_secs(seconds) + OVERTIME;
    visitors.wait_until(limit, |visitors| {
        if let Some(attacker) = attacker.filter(|_| dripped_at.elapsed() > DRIP_EVERY) {
            attacker.set_stopped(false)?;
            thread::sleep(DRIP);
            attacker.set_stopped(true)?;
            dripped_at = Instant::now();
        }
        Ok(visitors.output()?.ends_with('\n'))
    })?;
    target.process.check_running()?;
    visitors::felt(&visitors.finish(OVERTIME)?)
}

impl Attack {
    const fn key(self) -> &'static str {
        match self {
            Self::Head => "slow-head",
            Self::Body => "slow-body",
            Self::Read => "slow-read",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Head => "slow heads",
            Self::Body => "slow bodies",
            Self::Read => "slow reads",
        }
    }

    /// slowhttptest, told to do that. It looks at no certificate.
    fn command(self, target: &Contestant, options: &Options, tools: &Tools) -> Command {
        let mut command = tools.pinned_idle(options.load_core, &tools.slowhttptest);
        command.args(["-c", &options.attackers.to_string(), "-r", &PER_SECOND.to_string()]);
        command.args(["-l", &(options.seconds + REMAINDER).to_string(), "-p", "5", "-v", "1"]);
        let path = match self {
            Self::Head => {
                // A header every ten seconds, and never the last.
                command.args(["-H", "-i", "10", "-x", "24"]);
                SMALL.path.to_owned()
            }
            Self::Body => {
                // A few bytes every ten seconds, of more than it will ever send.
                command.args(["-B", "-i", "10", "-x", "10", "-s", "8192"]);
                "/public/form".to_owned()
            }
            Self::Read => {
                // 32 bytes every five seconds, through a window that is hardly open.
                command.args(["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"]);
                format!("/public{FILES}{HARDLY_READ}")
            }
        };
        command.arg("-u").arg(format!("https://{}{path}", target.address));
        command
    }
}

impl Row {
    /// How much the p99 grew: on kept connections, and on new ones.
    fn ratios(&self) -> [f64; 2] {
        let (before, during) = (self.before, self.during);
        [during.kept_p99 / before.kept_p99.max(1.0), during.new_p99 / before.new_p99.max(1.0)]
    }
}

/// The table, and the worst of its ratios: each is the median of the rounds.
fn table(gateways: &[&str], rows: &[Row]) -> (String, f64) {
    let mut text = "| p99, µs | before | during | ratio | new connections, before | during | ratio | held | MiB |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    let mut worst: f64 = 0.0;
    for (gateway, attack) in gateways.iter().flat_map(|gateway| ATTACKS.map(|attack| (gateway, attack))) {
        let of: Vec<&Row> = rows.iter().filter(|row| row.attack == attack && row.binary == *gateway).collect();
        let middle =
            |value: &dyn Fn(&Row) -> f64| median(of.iter().map(|row| value(row)).collect()).unwrap_or(f64::NAN);
        let kept = middle(&|row| row.ratios()[0]);
        let new = middle(&|row| row.ratios()[1]);
        worst = worst.max(kept).max(new);
        text += &format!(
            "| {gateway}, {} | {:.0} | {:.0} | {kept:.2} | {:.0} | {:.0} | {new:.2} | {:.0} | {:.0} |\n",
            attack.title(),
            middle(&|row| row.before.kept_p99),
            middle(&|row| row.during.kept_p99),
            middle(&|row| row.before.new_p99),
            middle(&|row| row.during.new_p99),
            middle(&|row| row.held as f64),
            middle(&|row| row.memory as f64 / f64::from(1 << 20)),
        );
    }
    (text, worst)
}

/// The same for programs.
fn json(rows: &[Row]) -> serde_json::Value {
    let felt = |felt: Felt| {
        let Felt { kept_p99, kept_p50, new_p99, new_p50 } = felt;
        serde_json::json!({ "kept_p50_us": kept_p50, "kept_p99_us": kept_p99, "new_p50_us": new_p50,
            "new_p99_us": new_p99 })
    };
    let one = |row: &Row| {
        serde_json::json!({ "contestant": row.binary, "attack": row.attack.key(), "before": felt(row.before),
            "during": felt(row.during), "held_files": row.held, "peak_bytes": row.memory })
    };
    rows.iter().map(one).collect()
}
