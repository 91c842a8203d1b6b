//! The units a person writes in `gateway.toml`: `"30m"`, `"64KiB"`, `"100/s"`.

use std::num::NonZeroU32;
use std::time::Duration;

/// How often something may happen: `count` times in `per`, and `burst` times at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many times.
    pub count: NonZeroU32,
    /// In which span of time.
    pub per: Duration,
    /// How many times at once, by whoever has done nothing for a while; `count` unless it is said.
    pub burst: NonZeroU32,
}

/// The longest that a burst may take to be there again: what is remembered of whoever used it is kept for as long.
pub const MAX_BURST_REFILL: Duration = Duration::from_secs(24 * 3600);

const DURATION_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads a duration: whole numbers with `ms`, `s`, `m`, `h` or `d`, one or several (`"90s"`, `"1h30m"`).
///
/// # Errors
/// A sentence that says what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("\"{text}\" is not a duration; write a number and a unit, like \"90s\", \"30m\", \"12h\" or \"7d\"");
    let mut rest = text;
    let mut millis = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let number: u64 = number.parse().map_err(|_| wrong())?;
        millis = number.checked_mul(*factor).and_then(|part| millis.checked_add(part)).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(millis)) }
}

/// A duration as [`duration`] reads it, in the largest unit that leaves nothing over.
pub fn shown(span: Duration) -> String {
    let millis = span.as_millis();
    let fits = DURATION_UNITS
        .iter()
        .rev()
        .find(|(_, factor)| millis >= u128::from(*factor) && millis.is_multiple_of(u128::from(*factor)));
    fits.map_or_else(|| "0s".to_owned(), |(unit, factor)| format!("{}{unit}", millis / u128::from(*factor)))
}

/// A duration in words for people: "30 minutes", "1 hour", "7 days".
pub fn in_words(span: Duration) -> String {
    const NAMES: [(&str, u64); 4] = [("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)];
    let seconds = span.as_secs();
    let fits = NAMES.iter().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    let (name, count) = fits.map_or(("second", seconds), |(name, unit)| (*name, seconds / unit));
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

/// Reads a size in bytes: a whole number with `B`, `KiB`, `MiB` or `GiB`.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("\"{text}\" is not a size; write a number and a unit, like \"512B\", \"64KiB\" or \"10MiB\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)
}

/// Reads a rate: a whole number, a slash and `s`, `m` or `h`, and possibly a burst (`"100/s burst 200"`); `"off"` is
/// `None`.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn rate(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || {
        format!(
            "\"{text}\" is not a rate; write a number, a slash and s, m or h, like \"100/s\" or \"10/m\", or \"off\""
        )
    };
    let (rate, burst) = text.split_once(' ').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
    let (number, unit) = rate.split_once('/').ok_or_else(wrong)?;
    let per = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(wrong()),
    };
    let count = number.parse::<NonZeroU32>().map_err(|_| wrong())?;
    let burst = burst.map_or(Ok(count), |burst| self::burst(text, rate, burst, per / count.get()))?;
    Ok(Some(Rate { count, per, burst }))
}

/// Reads the `burst 200` of a rate that lets one more through every `each`.
fn burst(text: &str, rate: &str, burst: &str, each: Duration) -> Result<NonZeroU32, String> {
    let number = burst.strip_prefix("burst ").and_then(|number| number.parse::<NonZeroU32>().ok());
    let number = number.ok_or_else(|| {
        format!("\"{text}\" says no burst; write how many may come at once after the rate, like \"{rate} burst 200\"")
    })?;
    if each.saturating_mul(number.get()) > MAX_BURST_REFILL {
        let most = MAX_BURST_REFILL.as_nanos() / each.as_nanos().max(1);
        return Err(format!("the burst of \"{text}\" takes more than a day to be there again; write at most {most}"));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_it_in_words() {
        for (text, words) in [
            ("30m", "30 minutes"),
            ("1h", "1 hour"),
            ("90m", "90 minutes"),
            ("24h", "1 day"),
            ("7d", "7 days"),
            ("1s", "1 second"),
            ("10ms", "0 seconds"),
        ] {
            assert_eq!(duration(text).map(in_words).as_deref(), Ok(words));
        }
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for text in ["250ms", "90s", "30m", "12h", "7d", "0s"] {
            assert_eq!(duration(text).map(shown).as_deref(), Ok(text));
        }
        assert_eq!(duration("1h30m").map(shown).as_deref(), Ok("90m"));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("0B"), Ok(0));
        assert_eq!(rate("off"), Ok(None));
        let hundred = rate("100/s").expect("a rate").expect("not off");
        assert_eq!((hundred.count.get(), hundred.per), (100, Duration::from_secs(1)));
        assert_eq!(hundred.burst, hundred.count);
        let with_burst = rate("10/m burst 200").expect("a rate").expect("not off");
        assert_eq!((with_burst.count.get(), with_burst.burst.get()), (10, 200));
    }

    #[test]
    fn refuses_the_rest_and_says_what_to_write() {
        for text in ["", "30", "m", "-5m", "5 m", "1.5h", "99999999999999999999s", "10w", "5mm"] {
            assert!(duration(text).expect_err(text).contains("\"30m\""), "{text}");
        }
        for text in ["", "64", "64KB", "-1B", "99999999999GiB", "KiB"] {
            assert!(size(text).expect_err(text).contains("\"64KiB\""), "{text}");
        }
        for text in ["", "0/s", "100", "100/d", "/s", "x/s", "100/s/s", "OFF"] {
            assert!(rate(text).expect_err(text).contains("\"100/s\""), "{text}");
        }
        for text in
            ["10/s ", "10/s 20", "10/s burst", "10/s burst 0", "10/s burst -1", "10/s  burst 1", "10/s, burst 1"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
        assert!(rate("10/s burst 0").expect_err("no burst").contains("\"10/s burst 200\""));
        assert!(rate("1/h burst 25").expect_err("a long one").contains("at most 24"));
        assert!(rate("1/h burst 24").is_ok() && rate("1000000000/s burst 4000000000").is_ok());
    }
}
