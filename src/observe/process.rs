//! What the system says of this process, under the names that Prometheus gives it.

use std::fs;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Adds what is known to `registry`. What cannot be read is left out.
pub(super) fn register(registry: &mut Registry, started_at_millis: u64) {
    let whole = |value: u64| {
        let gauge = Gauge::<i64>::default();
        gauge.set(value as i64);
        gauge
    };
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        registry.register("process_open_fds", "Open file descriptors", whole(open.count().saturating_sub(1) as u64));
    }
    if let Some(most) = first_number("/proc/self/limits", "Max open files") {
        registry.register("process_max_fds", "The most file descriptors that may be open", whole(most));
    }
    if let Some(kib) = first_number("/proc/self/status", "VmRSS:") {
        let help = "Memory in use that is not swapped out";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, whole(kib << 10));
    }
    let started_at = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    started_at.set(started_at_millis as f64 / 1000.0);
    registry.register_with_unit("process_start_time", "When it started, since 1970", Unit::Seconds, started_at);
}

/// The first number of the line that begins with `label`.
fn first_number(file: &str, label: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_this_process() {
        let mut registry = Registry::default();
        register(&mut registry, 1_763_000_000_000);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        for name in ["process_open_fds ", "process_max_fds ", "process_resident_memory_bytes "] {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            assert!(value.is_some_and(|value| value.parse::<u64>().is_ok_and(|value| value > 2)), "{name} in:\n{text}");
        }
        assert!(text.contains("process_start_time_seconds 1763000000.0\n"), "{text}");
    }
}
