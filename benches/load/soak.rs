//! `--soak MINUTES`: mixed load for long, and what of the gateway grows with it.
//!
//! Visitors sign in by the real form, read, upload, talk over WebSockets, break off in the middle, send cookies that are
//! no good, and sign out or just leave ([`visitor`]). Meanwhile the gateway's memory, open files and session store are
//! looked at every ten seconds ([`sample`]). They must be flat ([`verdict`]), but for what is kept by design: an ended
//! session is remembered for a day.
//!
//! The load is paced, some 300 requests a second, so that the machine stays of use meanwhile, and ends by itself.

mod browser;
mod plot;
mod report;
mod sample;
mod tally;
mod verdict;
mod visitor;

use std::fs;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use vestibule::login::users::hash_password;

use crate::configs::{self, Behind, Room, Soak};
use crate::content::Pattern;
use crate::contestants::{self, Contestant, GatewayStart, loopback};
use crate::lab::{self, Lab};
use crate::options::Options;
use crate::process::Process;
use crate::run;
use crate::soak::sample::{Glances, Sample, Sampler};
use crate::soak::tally::Tally;
use crate::soak::visitor::{Person, VISITORS, Visitor, Visits};
use crate::tls_client;
use crate::tools::Tools;

/// How often the gateway is looked at, and how often at what goes up and down in between.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const GLANCE_EVERY: Duration = Duration::from_secs(1);
/// How often it is told to read its configuration again.
const RELOAD_EVERY: Duration = Duration::from_secs(60);
/// How many people there are; each is signed in several times at once.
const PEOPLE: u8 = 8;
/// Sessions that nobody uses end after a tenth of the run, so that also a short one sees them end, but after two minutes
/// at the most, and ten seconds, the shortest limit there is, at the least.
const IDLE_PART: u64 = 10;
const IDLE: RangeInclusive<u64> = 10..=120;
/// From so many minutes on it is judged: what is taken at first, as by allocators and caches, takes some to settle.
const JUDGED_FROM: u64 = 15;

/// The gateway under load, and what is behind it.
struct Field {
    gateway: Contestant,
    sampler: Sampler,
    /// Never read: held so that they live as long as the gateway.
    _application: [Process; 2],
}

/// Makes the load, prints a table, and judges.
pub(crate) fn run(options: &Options, minutes: u64, tools: &Tools) -> Result<(), String> {
    let lab = Lab::new()?;
    run::tidy_up_on_interrupt(lab.dir().to_owned())?;
    let length = Duration::from_secs(minutes * 60);
    let idle = Duration::from_secs((length.as_secs() / IDLE_PART).clamp(*IDLE.start(), *IDLE.end()));
    let people = people(&lab)?;
    let mut field = start(options, idle, tools, &lab)?;
    let tally = Arc::new(Tally::default());
    let visits = Arc::new(Visits {
        to: field.gateway.address,
        http1: client_config(&lab, b"http/1.1")?,
        http2: client_config(&lab, b"h2")?,
        pattern: Pattern::new(),
        people,
        idle,
        tally: Arc::clone(&tally),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    let (samples, reloads) = runtime.block_on(load(&visits, &mut field, length))?;
    let peak = field.gateway.process.peak_memory()?;
    print!("{}", report::table(minutes, &samples, &tally, peak));
    let write = |path: &PathBuf, text: String| fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()));
    options.csv.as_ref().map(|path| write(path, report::csv(&samples))).transpose()?;
    options.plot.as_ref().map(|path| write(path, plot::svg(&samples))).transpose()?;
    let flat = verdict::judge(&samples);
    print!("{}", verdict::table(&flat));
    tally.verdict()?;
    let taken = samples.last().map_or(0, |last| last.reloads);
    if taken < reloads {
        return Err(format!(
            "told {reloads} times to read its configuration again, the gateway has done so {taken} times"
        ));
    }
    if minutes < JUDGED_FROM {
        println!(
            "\nA run of less than {JUDGED_FROM} minutes shows that it works; whether anything grows is not judged."
        );
        return Ok(());
    }
    verdict::all_flat(&flat)
}

/// Lets everybody come until the time is up, and looks at the gateway meanwhile. How often it was told to read its
/// configuration again is the second of the two.
async fn load(visits: &Arc<Visits>, field: &mut Field, length: Duration) -> Result<(Vec<Sample>, u64), String> {
    let begin = Instant::now();
    let end = begin + length;
    let mut visitors = JoinSet::new();
    for number in 0..VISITORS {
        let visits = Arc::clone(visits);
        visitors.spawn(Visitor::new(number, visits).come_until(begin, end));
    }
    let (mut samples, mut reloads, mut next_reload) = (Vec::new(), 0, begin + RELOAD_EVERY);
    let mut next = begin + LOOK_EVERY;
    let mut glances = Glances::default();
    while next <= end {
        sleep_until(next.min(Instant::now() + GLANCE_EVERY)).await;
        let process = &mut field.gateway.process;
        process.check_running()?;
        glances.glance(process)?;
        if Instant::now() < next {
            continue;
        }
        next += LOOK_EVERY;
        samples.push(field.sampler.look(process, std::mem::take(&mut glances), &visits.tally, begin).await?);
        // Not at the very end: nobody would look whether it was taken.
        if Instant::now() >= next_reload && next <= end {
            next_reload += RELOAD_EVERY;
            reloads += u64::from(process.hang_up()?);
        }
    }
    while let Some(visitor) = visitors.join_next().await {
        visitor.map_err(|error| format!("a visitor: {error}"))?;
    }
    Ok((samples, reloads))
}

/// The application and the gateway in front of it.
fn start(options: &Options, idle: Duration, tools: &Tools, lab: &Lab) -> Result<Field, String> {
    let ports = lab::free_ports(4)?;
    let [port, metrics, application, echo] = ports.as_slice() else { return Err("no free ports".to_owned()) };
    let (core, behind) = (options.server_core, Behind { application: *application, echo: *echo });
    let part = |name, port| contestants::start_part(name, port, options.load_core, tools, lab);
    let _application = [part("origin", *application)?, part("echo", *echo)?];
    let binary = contestants::own("soak", true)?;
    let store = contestants::store_of(&binary, lab);
    let soak = Soak { metrics: *metrics, idle: idle.as_secs() };
    let config = configs::soak(lab.dir(), *port, behind, &store, soak);
    let what = GatewayStart { binary: &binary, port: *port, behind, room: Room::Load, sessions: 0, core };
    let gateway = contestants::start_configured(&what, &config, tools, lab)?;
    Ok(Field { gateway, sampler: Sampler { metrics: loopback(*metrics), store }, _application })
}

/// Makes people with passwords, and the file that the gateway knows them by.
fn people(lab: &Lab) -> Result<Vec<Person>, String> {
    let mut file = String::new();
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        let person = Person { name: format!("user-{number}"), password: format!("a long password {number}") };
        let hash = hash_password(&person.password, [number; 16]).map_err(|error| error.to_string())?;
        file += &format!("[[user]]\nname = \"{}\"\npassword = \"{hash}\"\nroles = [\"staff\"]\n", person.name);
        people.push(person);
    }
    lab.write("users.toml", file.as_bytes())?;
    Ok(people)
}

/// TLS for clients that speak this protocol only.
fn client_config(lab: &Lab, protocol: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let mut config = ClientConfig::clone(&*tls_client::config(lab.certificate.clone())?);
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(config))
}
