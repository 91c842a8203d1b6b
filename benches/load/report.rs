//! The tables, and the same as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cases::{Case, Shape};
use crate::contestants::Contestant;
use crate::measure::Measurement;
use crate::options::Options;

/// A contestant that waits for its core for more than this share of the time was not measured on a quiet machine.
const MAX_WAITED: f64 = 0.05;

/// All measurements of a run.
#[derive(Debug)]
pub(crate) struct Report {
    /// The contestants.
    rows: Vec<Row>,
    /// The columns.
    cases: Vec<Case>,
    /// Live sessions in a gateway.
    sessions: usize,
    /// Length of a measurement.
    seconds: u64,
}

/// A contestant and its measurements: for each case, one for each round.
#[derive(Debug)]
struct Row {
    name: String,
    title: String,
    is_gateway: bool,
    cells: Vec<Vec<Measurement>>,
}

/// A gateway's CPU time a request as a share of another's in the same round.
struct Ratio {
    median: f64,
    least: f64,
    most: f64,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(options: &Options, contestants: &[Contestant]) -> Self {
        let rows = contestants.iter().map(|contestant| Row {
            name: contestant.name.clone(),
            title: contestant.title.clone(),
            is_gateway: contestant.is_gateway,
            cells: vec![Vec::new(); options.cases.len()],
        });
        Self {
            rows: rows.collect(),
            cases: options.cases.clone(),
            sessions: options.sessions,
            seconds: options.seconds,
        }
    }

    /// Adds a measurement.
    pub(crate) fn add(&mut self, row: usize, column: usize, measured: Measurement) {
        if let Some(cell) = self.rows.get_mut(row).and_then(|row| row.cells.get_mut(column)) {
            cell.push(measured);
        }
    }

    /// The tables: CPU time and ratios first, then everything else.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        self.write_cpu(&mut text);
        text.push('\n');
        self.write_details(&mut text);
        let waited = self.rows.iter().flat_map(|row| row.cells.iter().flatten()).map(|m| m.waited).fold(0.0, f64::max);
        if waited > MAX_WAITED {
            let percent = waited * 100.0;
            line(
                &mut text,
                &format!("\nNot a quiet machine: once a contestant waited {percent:.0} % of the time for its core."),
            );
        }
        text
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Result<String, String> {
        let measured = |m: &Measurement| {
            json!({ "cpu_us": m.cpu_us, "requests_per_second": m.rate, "p50_us": m.p50_us, "p99_us": m.p99_us,
                "core": m.core, "waited": m.waited, "memory_bytes": m.memory })
        };
        let mut results = Vec::new();
        for row in &self.rows {
            for (case, cell) in self.cases.iter().zip(&row.cells) {
                let rounds: Vec<Value> = cell.iter().map(measured).collect();
                results.push(json!({ "contestant": row.name, "case": case.key, "rounds": rounds }));
            }
        }
        let mut ratios = Vec::new();
        for (one, other) in self.pairs() {
            for (column, case) in self.cases.iter().enumerate() {
                if let Some(ratio) = ratio(one, other, column) {
                    ratios.push(json!({ "contestant": one.name, "to": other.name, "case": case.key,
                        "median": ratio.median, "least": ratio.least, "most": ratio.most }));
                }
            }
        }
        let all = json!({ "seconds": self.seconds, "sessions": self.sessions, "results": results, "ratios": ratios });
        serde_json::to_string_pretty(&all).map_err(|error| error.to_string())
    }

    /// CPU time a request, then the ratios.
    fn write_cpu(&self, text: &mut String) {
        let titles: Vec<String> = self.cases.iter().map(|case| self.title(case)).collect();
        line(text, &format!("| µs CPU | {} |", titles.join(" | ")));
        line(text, &format!("|---|{}", "--:|".repeat(titles.len())));
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(|cell| number(median_of(cell, |m| m.cpu_us))).collect();
            line(text, &format!("| {} | {} |", row.title, cells.join(" | ")));
        }
        for (one, other) in self.pairs() {
            let cell = |column| match ratio(one, other, column) {
                Some(ratio) => format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most),
                None => String::new(),
            };
            let cells: Vec<String> = (0..self.cases.len()).map(cell).collect();
            line(text, &format!("| {} / {} | {} |", one.name, other.name, cells.join(" | ")));
        }
    }

    /// Everything else, a line a case and contestant.
    fn write_details(&self, text: &mut String) {
        line(text, "| case | contestant | requests/s | p50 µs | p99 µs | core % | waited % | RSS MiB |");
        line(text, "|---|---|--:|--:|--:|--:|--:|--:|");
        for (column, case) in self.cases.iter().enumerate() {
            for row in &self.rows {
                let Some(cell) = row.cells.get(column) else { continue };
                line(
                    text,
                    &format!(
                        "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} | {:.1} |",
                        self.title(case),
                        row.name,
                        median_of(cell, |m| m.rate),
                        median_of(cell, |m| m.p50_us as f64),
                        median_of(cell, |m| m.p99_us as f64),
                        median_of(cell, |m| m.core * 100.0),
                        median_of(cell, |m| m.waited * 100.0),
                        median_of(cell, |m| m.memory as f64 / f64::from(1 << 20)),
                    ),
                );
            }
        }
    }

    /// A case's name in the tables.
    fn title(&self, case: &Case) -> String {
        match case.shape {
            Shape::ManySessions => format!("1 KiB h1, {} sessions in turn", self.sessions),
            Shape::Http1 | Shape::Http2 | Shape::Handshakes | Shape::WebSockets => case.title.to_owned(),
        }
    }

    /// Which rows to compare: every gateway with every peer, and further gateways with the first.
    fn pairs(&self) -> Vec<(&Row, &Row)> {
        let first = self.rows.iter().find(|row| row.is_gateway).map(|row| row.name.as_str());
        let mut pairs = Vec::new();
        for one in self.rows.iter().filter(|row| row.is_gateway) {
            for other in &self.rows {
                if other.name != one.name && (!other.is_gateway || Some(other.name.as_str()) == first) {
                    pairs.push((one, other));
                }
            }
        }
        pairs
    }
}

/// The ratios round by round: each pair was measured within seconds, on the same machine in the same mood.
fn ratio(one: &Row, other: &Row, column: usize) -> Option<Ratio> {
    let (one, other) = (one.cells.get(column)?, other.cells.get(column)?);
    let ratios: Vec<f64> = one.iter().zip(other).map(|(one, other)| one.cpu_us / other.cpu_us).collect();
    Some(Ratio {
        median: median(ratios.clone())?,
        least: ratios.iter().copied().reduce(f64::min)?,
        most: ratios.iter().copied().reduce(f64::max)?,
    })
}

/// The median over a cell's rounds.
fn median_of(cell: &[Measurement], value: impl Fn(&Measurement) -> f64) -> f64 {
    median(cell.iter().map(value).collect()).unwrap_or(f64::NAN)
}

/// The median; of an even number of values, the middle of the middle two.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some(lower.midpoint(upper))
}

/// Three digits, which is more than repeats.
fn number(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Adds a line.
fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
