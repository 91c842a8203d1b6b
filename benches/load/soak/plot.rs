//! The samples as a picture: a panel for each kind of reading, one above the other, all from zero on, so that flat looks
//! flat and nothing else does. Plain SVG, for light and dark pages.

use std::fmt::Write as _;

use crate::soak::sample::Sample;

/// The picture's width, and where the panels begin and end in it.
const WIDTH: f64 = 720.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 704.0;
/// A panel's height, and that of the room above it, where its title is.
const HEIGHT: f64 = 96.0;
const ABOVE: f64 = 34.0;
/// Room for the minutes, and their name.
const BELOW: f64 = 44.0;
/// About how many numbers an axis has.
const TICKS: f64 = 4.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#57606a}.t{fill:#24292f;font-weight:600}\
.g{stroke:#8c959f;stroke-opacity:.35}.l{fill:none;stroke:#0969da;stroke-width:1.5;stroke-linejoin:round}.m{stroke:#bc4c00}\
.n{fill:#bc4c00}.b{fill:#0969da}@media(prefers-color-scheme:dark){text{fill:#9198a1}.t{fill:#e6edf3}.l{stroke:#58a6ff}\
.m{stroke:#f0883e}.n{fill:#f0883e}.b{fill:#58a6ff}}";

/// One panel.
struct Panel {
    title: &'static str,
    lines: Vec<(&'static str, Read)>,
}

/// What is read of a sample.
type Read = fn(&Sample) -> f64;

/// All of them.
pub(super) fn svg(samples: &[Sample]) -> String {
    const MIB: f64 = (1 << 20) as f64;
    let panels = [
        Panel { title: "resident memory, MiB", lines: vec![("", |s| s.memory as f64 / MIB)] },
        Panel { title: "open file descriptors", lines: vec![("", |s| s.files as f64)] },
        Panel { title: "session store on disk, MiB", lines: vec![("", |s| s.store as f64 / MIB)] },
        Panel {
            title: "sessions",
            lines: vec![("active", |s| s.active as f64), ("ended and remembered", |s| s.remembered as f64)],
        },
    ];
    let minutes = samples.last().map_or(1.0, |last| last.seconds / 60.0);
    let height = panels.len() as f64 * (ABOVE + HEIGHT) + BELOW;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\"><title>Memory, open file descriptors, session store and sessions over {minutes:.0} \
         minutes</title><style>{STYLE}</style>\n"
    );
    let mut top = ABOVE;
    for panel in &panels {
        draw(&mut text, panel, samples, top, minutes);
        top += HEIGHT + ABOVE;
    }
    let bottom = top - ABOVE;
    for at in ticks(minutes, TICKS * 2.0) {
        let x = place(at, minutes, LEFT, RIGHT);
        put(&mut text, &format!("<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at}</text>", bottom + 16.0));
    }
    let middle = f64::midpoint(LEFT, RIGHT);
    put(&mut text, &format!("<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\">minutes</text>", bottom + 34.0));
    text + "</svg>\n"
}

fn draw(text: &mut String, panel: &Panel, samples: &[Sample], top: f64, minutes: f64) {
    let bottom = top + HEIGHT;
    let values = panel.lines.iter().flat_map(|(_, read)| samples.iter().map(read));
    let most = values.fold(0.0, f64::max).max(1.0) * 1.05;
    let mut title = format!("<text class=\"t\" x=\"{LEFT}\" y=\"{:.1}\">{}", top - 10.0, panel.title);
    for ((name, _), class) in panel.lines.iter().zip(["b", "n"]).filter(|((name, _), _)| !name.is_empty()) {
        title += &format!("<tspan class=\"{class}\" dx=\"14\">— {name}</tspan>");
    }
    put(text, &(title + "</text>"));
    for at in ticks(most, TICKS) {
        let y = place(at, most, bottom, top);
        put(text, &format!("<path class=\"g\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>"));
        put(text, &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{at}</text>", LEFT - 8.0, y + 4.0));
    }
    for ((_, read), class) in panel.lines.iter().zip(["l", "l m"]) {
        let points = samples.iter().map(|sample| {
            let x = place(sample.seconds / 60.0, minutes, LEFT, RIGHT);
            format!("{x:.1},{:.1}", place(read(sample), most, bottom, top))
        });
        let points: Vec<String> = points.collect();
        put(text, &format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" ")));
    }
}

/// Adds a line.
fn put(text: &mut String, line: &str) {
    // Writing into a string does not fail.
    let _ = writeln!(text, "{line}");
}

/// Where a value is between two ends of an axis that begins with zero.
fn place(value: f64, most: f64, from: f64, to: f64) -> f64 {
    from + (to - from) * (value / most)
}

/// Round numbers from zero up to `most`, about so many.
fn ticks(most: f64, count: f64) -> Vec<f64> {
    let rough = most / count;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= rough * 0.8);
    let step = step.unwrap_or(rough);
    // Without what binary fractions leave behind.
    let round = |value: f64| (value / power * 10.0).round() / 10.0 * power;
    let ticks = (0_u32..).map(|at| round(f64::from(at) * step)).take_while(|at| *at <= most);
    ticks.map(|at| (at * 1e6).round() / 1e6).collect()
}
