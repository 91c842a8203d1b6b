//! What a person knows a device of theirs by: "Firefox on Linux", in two bytes of a session.
//!
//! Taken from the user agent, which says whatever its sender likes: good for telling one's own sessions apart, and for
//! nothing else. What a session is bound to is in [`crate::session::binding`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of program. The places are written to the store: new ones go to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// None that is known.
    #[default]
    Unknown,
    /// Chrome, or one of the many that only give themselves out for it.
    Chrome,
    /// Edge.
    Edge,
    /// Firefox.
    Firefox,
    /// Opera.
    Opera,
    /// Safari.
    Safari,
    /// Samsung's browser.
    Samsung,
    /// curl.
    Curl,
}

/// A kind of operating system. The places are written to the store: new ones go to the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// None that is known.
    #[default]
    Unknown,
    /// Android.
    Android,
    /// ChromeOS.
    ChromeOs,
    /// iOS, of an iPad too.
    Ios,
    /// Linux, or another system with X11.
    Linux,
    /// macOS.
    MacOs,
    /// Windows.
    Windows,
}

/// A program on a system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The program.
    pub program: Program,
    /// The system it runs on.
    pub system: System,
}

/// Words of user agents. The first that is in one counts: browsers name those they are like, after or before themselves.
const PROGRAMS: [(&str, Program); 12] = [
    ("Edg/", Program::Edge),
    ("EdgA/", Program::Edge),
    ("EdgiOS/", Program::Edge),
    ("OPR/", Program::Opera),
    ("OPT/", Program::Opera),
    ("SamsungBrowser/", Program::Samsung),
    ("Firefox/", Program::Firefox),
    ("FxiOS/", Program::Firefox),
    ("CriOS/", Program::Chrome),
    ("Chrome/", Program::Chrome),
    ("Safari/", Program::Safari),
    ("curl/", Program::Curl),
];

const SYSTEMS: [(&str, System); 8] = [
    ("Android", System::Android),
    ("CrOS", System::ChromeOs),
    ("iPhone", System::Ios),
    ("iPad", System::Ios),
    ("Windows", System::Windows),
    ("Macintosh", System::MacOs),
    ("Linux", System::Linux),
    ("X11", System::Linux),
];

impl Device {
    /// What a user agent says.
    pub fn of(user_agent: &[u8]) -> Self {
        let has = |word: &str| user_agent.windows(word.len()).any(|window| window == word.as_bytes());
        let program = PROGRAMS.iter().find(|(word, _)| has(word)).map(|(_, program)| *program);
        let system = SYSTEMS.iter().find(|(word, _)| has(word)).map(|(_, system)| *system);
        Self { program: program.unwrap_or_default(), system: system.unwrap_or_default() }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = match self.program {
            Program::Unknown => "an unknown program",
            Program::Chrome => "Chrome",
            Program::Edge => "Edge",
            Program::Firefox => "Firefox",
            Program::Opera => "Opera",
            Program::Safari => "Safari",
            Program::Samsung => "Samsung Internet",
            Program::Curl => "curl",
        };
        let system = match self.system {
            System::Unknown => return formatter.write_str(program),
            System::Android => "Android",
            System::ChromeOs => "ChromeOS",
            System::Ios => "iOS",
            System::Linux => "Linux",
            System::MacOs => "macOS",
            System::Windows => "Windows",
        };
        write!(formatter, "{program} on {system}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_apart() {
        let webkit = "AppleWebKit/537.36 (KHTML, like Gecko)";
        for (agent, shown) in [
            (format!("Mozilla/5.0 (X11; Linux x86_64) {webkit} Chrome/130.0.0.0 Safari/537.36"), "Chrome on Linux"),
            (format!("Mozilla/5.0 (Windows NT 10.0) {webkit} Chrome/130.0 Safari/537.36 Edg/130.0"), "Edge on Windows"),
            (format!("Mozilla/5.0 (X11; CrOS x86_64) {webkit} Chrome/130.0 Safari/537.36"), "Chrome on ChromeOS"),
            (format!("Mozilla/5.0 (Windows NT 10.0) {webkit} Chrome/130.0 Safari/537.36 OPR/1"), "Opera on Windows"),
            (
                "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0".into(),
                "Firefox on Linux",
            ),
            ("Mozilla/5.0 (Android 14; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0".into(), "Firefox on Android"),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/18.0 Safari/605.1".into(), "Safari on macOS"),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1".into(), "Safari on iOS"),
            ("Mozilla/5.0 (iPad; CPU OS 18_0 like Mac OS X) CriOS/130.0 Mobile Safari/604.1".into(), "Chrome on iOS"),
            (
                "Mozilla/5.0 (Linux; Android 14) SamsungBrowser/26.0 Chrome/122.0 Safari/5".into(),
                "Samsung Internet on Android",
            ),
            ("curl/8.5.0".into(), "curl"),
            ("agent (FreeBSD)".into(), "an unknown program"),
            (String::new(), "an unknown program"),
        ] {
            assert_eq!(Device::of(agent.as_bytes()).to_string(), shown, "{agent}");
        }
    }
}
