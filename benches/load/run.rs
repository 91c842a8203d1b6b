//! The run: contestants up, cases in turn, tables.

use std::fs;
use std::path::PathBuf;
use std::thread;

use crate::contestants;
use crate::lab::Lab;
use crate::measure::Bench;
use crate::options::Options;
use crate::report::Report;
use crate::tools::Tools;

/// Exit status after ctrl-C, as shells expect it.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs it all and prints the tables.
pub(crate) fn run(options: &Options, tools: &Tools) -> Result<(), String> {
    let lab = Lab::new()?;
    tidy_up_on_interrupt(lab.dir().to_owned())?;
    let mut field = contestants::start(options, tools, &lab)?;
    let bench = Bench { options, tools, lab: &lab, behind: field.behind };
    let mut report = Report::new(options, &field.contestants);
    for round in 0..options.rounds {
        for (column, case) in options.cases.iter().enumerate() {
            for turn in 0..field.contestants.len() {
                // Another one begins in each round: what the first one meets, all meet.
                let row = (turn + round) % field.contestants.len();
                let Some(target) = field.contestants.get_mut(row) else { continue };
                let what = format!("round {}, {}, {}", round + 1, case.key, target.name);
                let measured = bench.measure(case, target).map_err(|error| format!("{what}: {error}"))?;
                eprintln!("{what}: {:.1} µs CPU, {:.0} requests/s", measured.cpu_us, measured.rate);
                report.add(row, column, measured);
            }
        }
    }
    print!("{}", report.markdown());
    if let Some(path) = &options.json {
        fs::write(path, report.json()?).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Removes the run's directory on ctrl-C. The children need no care: the kernel ends them with this process.
pub(crate) fn tidy_up_on_interrupt(dir: PathBuf) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    thread::spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            // Nothing more can be done about a directory that does not go.
            let _ = fs::remove_dir_all(dir);
            std::process::exit(EXIT_INTERRUPTED);
        }
    });
    Ok(())
}
