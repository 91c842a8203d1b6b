//! What a decision looked at. `explain` shows the steps of the very code that decides.

/// Follows a decision check by check.
pub trait Trace {
    /// A check and what it found.
    fn step(&mut self, check: &'static str, found: &'static str);
}

/// Follows nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    fn step(&mut self, _: &'static str, _: &'static str) {}
}

/// Keeps the steps, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps(pub Vec<(&'static str, &'static str)>);

impl Trace for Steps {
    fn step(&mut self, check: &'static str, found: &'static str) {
        self.0.push((check, found));
    }
}
