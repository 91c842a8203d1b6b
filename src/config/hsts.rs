//! `[server] hsts…`: what browsers are told of https (RFC 6797).

use std::time::Duration;

use http::HeaderValue;

use crate::base::units;
use crate::reader::Section;

/// How long a policy must last that browsers carry with them: a year, as hstspreload.org asks.
const SHORTEST_PRELOADED: Duration = Duration::from_secs(365 * 86_400);

/// A policy of strict transport security.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hsts {
    /// How long browsers keep to it; zero makes them forget it (RFC 6797 section 6.1.1).
    max_age: Duration,
    /// Whether it holds for all hosts below as well (RFC 6797 section 6.1.2).
    subdomains: bool,
    /// Whether browsers may have it before they come.
    preload: bool,
}

impl Hsts {
    /// How long browsers keep to it.
    pub const fn max_age(self) -> Duration {
        self.max_age
    }

    /// The value of `Strict-Transport-Security`.
    pub fn header(self) -> HeaderValue {
        let subdomains = if self.subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        let text = format!("max-age={}{subdomains}{preload}", self.max_age.as_secs());
        // Made of digits and our own words.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("max-age=0"))
    }
}

/// Reads the keys of `[server]` that begin with `hsts`; `default` holds where nothing is written.
pub(super) fn read(section: &Section<'_>, default: Option<Duration>) -> Option<Hsts> {
    let max_age = section.parsed("hsts", |text| if text == "off" { Ok(None) } else { max_age(text).map(Some) });
    let is_wrong = section.has("hsts") && max_age.is_none();
    let (subdomains, preload) = (section.bool("hsts_subdomains"), section.bool("hsts_preload"));
    let (subdomains, preload) = (subdomains.unwrap_or(false), preload.unwrap_or(false));
    let max_age = if section.has("hsts") { max_age.flatten() } else { default };
    let Some(max_age) = max_age else {
        for (key, is_on) in [("hsts_subdomains", subdomains), ("hsts_preload", preload)] {
            if is_on && !is_wrong {
                section.mistake_at(key, "this says nothing while hsts is \"off\"", "add hsts = \"365d\"");
            }
        }
        return None;
    };
    if preload && !subdomains {
        let message = "browsers carry no policy with them that leaves out the hosts below";
        section.mistake_at("hsts_preload", message, "add hsts_subdomains = true, or remove this line");
    }
    if preload && max_age < SHORTEST_PRELOADED {
        let message = "browsers carry no policy with them that lasts for less than a year";
        section.mistake_at("hsts", message, "write hsts = \"365d\" or more, or remove hsts_preload");
    }
    Some(Hsts { max_age, subdomains, preload })
}

fn max_age(text: &str) -> Result<Duration, String> {
    let max_age = units::duration(text).map_err(|sentence| format!("{sentence}, or \"off\""))?;
    if max_age.subsec_nanos() == 0 {
        Ok(max_age)
    } else {
        Err(format!("\"{text}\" is no whole number of seconds; write one like \"365d\""))
    }
}
