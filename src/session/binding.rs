//! Binding a session to where it was made: the client's address, its user agent, and how it speaks TLS.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::net;

/// What a session remembers of the request it was made by. All of it is kept, whatever is compared, so that a change of
/// configuration applies to sessions that exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The client's address.
    pub address: IpAddr,
    /// The user agent, to the letter, as a hash.
    pub agent: u64,
    /// The user agent without its versions and numbers, as a hash.
    pub agent_family: u64,
    /// The fingerprint of the client's TLS.
    pub tls: TlsFingerprint,
}

/// What the hello of a TLS connection (RFC 8446 section 4.1.2) shows of the program that sent it: its cipher suites, its
/// groups and its signature schemes, as a hash.
///
/// A browser has one, whatever it connects for: the three lists are the same when it resumes a session (which adds an
/// extension), when it speaks HTTP/1.1 for a WebSocket (another ALPN), and when it permutes its extensions, none of which
/// is looked at. They are taken in their order, which is the client's order of preference and has a meaning, other than
/// the order of extensions; nobody changes it from one connection to the next. What is changed on purpose are the values
/// that stand for nothing (GREASE, RFC 8701): these are left out.
///
/// An update of the browser may change it, and two people with the same browser share it: it tells a browser from a
/// script that says to be one, not one person from another. There are some thousands of them in the world, so that half of
/// the hash is enough; that half costs a session no memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TlsFingerprint(u32);

impl TlsFingerprint {
    /// Nothing is known: the session is older than fingerprints, or a trusted proxy ended its client's TLS.
    pub const UNKNOWN: Self = Self(0);

    /// The fingerprint of a hello with these, as their numbers at IANA.
    pub fn of(
        cipher_suites: impl IntoIterator<Item = u16>,
        groups: impl IntoIterator<Item = u16>,
        signature_schemes: impl IntoIterator<Item = u16>,
    ) -> Self {
        let list = |hash: u64, values: &mut dyn Iterator<Item = u16>| {
            let mut count = 0;
            let hash = values.filter(|value| !is_grease(*value)).fold(hash, |hash, value| {
                count += 1;
                mix(hash, u64::from(value))
            });
            // So that what ends one list is not what begins the next.
            mix(hash, count << 16)
        };
        let hash = list(BEGIN, &mut cipher_suites.into_iter());
        let hash = list(hash, &mut groups.into_iter());
        let hash = list(hash, &mut signature_schemes.into_iter());
        Self((hash as u32).max(1))
    }

    /// As an operator is shown it, if it is known: the same program has the same.
    pub fn shown(self) -> Option<String> {
        (self != Self::UNKNOWN).then(|| format!("{:08x}", self.0))
    }
}

/// Whether a value stands for nothing: two equal bytes that end in 0xa (RFC 8701 section 2).
const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// How the client's address is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressMode {
    /// Not at all: the default, because phones and laptops change networks many times a day.
    Off,
    /// The same address.
    Exact,
    /// The same leading bits.
    Prefix {
        /// Bits of an IPv4 address.
        v4: u8,
        /// Bits of an IPv6 address.
        v6: u8,
    },
}

/// How the user agent is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentMode {
    /// Not at all.
    Off,
    /// To the letter: a browser's update signs its user out.
    Exact,
    /// Everything but versions and other numbers: an update changes only these. The default.
    Family,
}

/// How the TLS fingerprint is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Not at all: the default, because an update of the browser may change it.
    Off,
    /// It is the same.
    Exact,
}

/// What happens on a difference, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// It is reported, and the request goes on.
    Log,
    /// The person proves again who they are; the session waits.
    StepUp,
    /// The session ends.
    End,
}

/// What was compared. It is kept in records by its place here, so that another one is added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Factor {
    /// The client's address.
    Address,
    /// The user agent.
    UserAgent,
    /// The TLS fingerprint.
    Tls,
}

impl Factor {
    /// The name used in logs and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "ip",
            Self::UserAgent => "user_agent",
            Self::Tls => "tls",
        }
    }
}

/// What differs from where a session was made, each with the answer to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// The TLS fingerprint.
    pub tls: Option<Answer>,
    /// The client's address.
    pub address: Option<Answer>,
    /// The user agent.
    pub agent: Option<Answer>,
}

impl Differences {
    /// All of them, the one last that says most to a person.
    pub fn all(self) -> impl Iterator<Item = (Factor, Answer)> {
        let all = [(Factor::Tls, self.tls), (Factor::Address, self.address), (Factor::UserAgent, self.agent)];
        all.into_iter().filter_map(|(factor, answer)| answer.map(|answer| (factor, answer)))
    }

    /// The one with the gravest answer.
    pub fn gravest(self) -> Option<(Factor, Answer)> {
        self.all().max_by_key(|(_, answer)| *answer)
    }
}

/// A difference as it is reported: once a session, however many requests it comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// What differs.
    pub factor: Factor,
    /// The answer to it.
    pub answer: Answer,
    /// Whether it is not carried out.
    pub is_shadow: bool,
}

impl Report {
    /// What came of it, in logs and metrics.
    pub const fn outcome(self) -> &'static str {
        match (self.answer, self.is_shadow) {
            (Answer::Log, _) => "log",
            (Answer::StepUp, false) => "step_up",
            (Answer::StepUp, true) => "would_step_up",
            (Answer::End, false) => "end",
            (Answer::End, true) => "would_end",
        }
    }

    /// A bit of its own, by which a session remembers that it was made.
    pub const fn bit(self) -> u32 {
        1 << (((self.factor as u32) * 3 + self.answer as u32) * 2 + self.is_shadow as u32)
    }
}

/// Which differences count, and what follows from each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingRules {
    /// The client's address.
    pub address: AddressMode,
    /// What a different address leads to.
    pub address_answer: Answer,
    /// The user agent.
    pub agent: AgentMode,
    /// What a different user agent leads to.
    pub agent_answer: Answer,
    /// The TLS fingerprint.
    pub tls: TlsMode,
    /// What a different TLS fingerprint leads to.
    pub tls_answer: Answer,
    /// Nothing follows but a report of what would have.
    pub is_shadow: bool,
}

impl Default for BindingRules {
    fn default() -> Self {
        Self {
            address: AddressMode::Off,
            address_answer: Answer::End,
            agent: AgentMode::Family,
            agent_answer: Answer::End,
            tls: TlsMode::Off,
            tls_answer: Answer::StepUp,
            is_shadow: false,
        }
    }
}

impl Bound {
    /// What a session made by this client remembers, its TLS aside.
    pub fn of(address: IpAddr, user_agent: &[u8]) -> Self {
        Self {
            address: net::canonical(address),
            agent: exact(user_agent),
            agent_family: family(user_agent),
            tls: TlsFingerprint::UNKNOWN,
        }
    }

    /// What is compared and differs between what is remembered and a request.
    pub fn differences(
        &self,
        rules: &BindingRules,
        address: IpAddr,
        user_agent: &[u8],
        tls: TlsFingerprint,
    ) -> Differences {
        let same_address = match rules.address {
            AddressMode::Off => true,
            AddressMode::Exact => net::canonical(address) == self.address,
            AddressMode::Prefix { v4, v6 } => net::prefix(address, v4, v6) == net::prefix(self.address, v4, v6),
        };
        let same_agent = match rules.agent {
            AgentMode::Off => true,
            AgentMode::Exact => exact(user_agent) == self.agent,
            // Nearly always it is the same to the letter, and that is quicker to see.
            AgentMode::Family => exact(user_agent) == self.agent || family(user_agent) == self.agent_family,
        };
        let same_tls = match rules.tls {
            TlsMode::Off => true,
            // What is not known of a session cannot differ. A request of which it is not known does: a thief could
            // otherwise come through a proxy.
            TlsMode::Exact => self.tls == TlsFingerprint::UNKNOWN || tls == self.tls,
        };
        Differences {
            tls: (!same_tls).then_some(rules.tls_answer),
            address: (!same_address).then_some(rules.address_answer),
            agent: (!same_agent).then_some(rules.agent_answer),
        }
    }
}

// The hashes are the same on every machine and in every version, because they are kept in records. They need not resist
// anyone: who can choose a user agent or a hello can send the right one.

const BEGIN: u64 = 0xcbf2_9ce4_8422_2325;

/// Multiplies a word into both halves of a wide product.
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * 0x9e37_79b9_7f4a_7c15_u128;
    (product as u64) ^ ((product >> 64) as u64)
}

/// The hash of a user agent to the letter, eight bytes a step.
fn exact(user_agent: &[u8]) -> u64 {
    let (words, rest) = user_agent.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let begin = BEGIN ^ user_agent.len() as u64;
    mix(words.iter().fold(begin, |hash, word| mix(hash, u64::from_le_bytes(*word))), u64::from_le_bytes(last))
}

/// The hash of a user agent without what an update changes: the versions of products, which follow a slash (RFC 9110
/// section 10.1.5) and may have letters in them (`Build/UP1A.231105.003`, `Mobile/15E148`), and all other digits, with the
/// dots and underscores between them. `Chrome/130.0.0.0` and `Chrome/131.0.1.2` are one family, on one platform. FNV-1a
/// of what is left.
fn family(user_agent: &[u8]) -> u64 {
    let mut is_version = false;
    let left = user_agent.iter().filter(|byte| match byte {
        b'0'..=b'9' | b'.' | b'_' => false,
        b'/' => {
            is_version = true;
            true
        }
        b' ' | b';' | b',' | b')' | b']' => {
            is_version = false;
            true
        }
        _ => !is_version,
    });
    left.fold(BEGIN, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &[u8] =
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
    const CHROME_UPDATED: &[u8] =
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.2.11 Safari/537.36";
    const FIREFOX: &[u8] = b"Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn gravest(bound: &Bound, rules: &BindingRules, address: &str, user_agent: &[u8]) -> Option<(Factor, Answer)> {
        bound.differences(rules, ip(address), user_agent, TlsFingerprint::UNKNOWN).gravest()
    }

    #[test]
    fn an_update_is_the_same_family_and_another_browser_is_not() {
        let bound = Bound::of(ip("192.0.2.1"), CHROME);
        let family = BindingRules::default();
        let exact = BindingRules { agent: AgentMode::Exact, ..family };
        assert_eq!(gravest(&bound, &family, "192.0.2.1", CHROME_UPDATED), None);
        assert_eq!(gravest(&bound, &exact, "192.0.2.1", CHROME), None);
        assert_eq!(gravest(&bound, &exact, "192.0.2.1", CHROME_UPDATED), Some((Factor::UserAgent, Answer::End)));
        assert_eq!(gravest(&bound, &family, "192.0.2.1", FIREFOX), Some((Factor::UserAgent, Answer::End)));
        assert_eq!(gravest(&bound, &family, "192.0.2.1", b""), Some((Factor::UserAgent, Answer::End)));
    }

    #[test]
    fn a_family_is_what_no_update_changes() {
        let android: &[u8] = b"Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A.230901.001; wv) Chrome/117.0 Mobile";
        for same in [
            &b"Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UP1A.231105.003; wv) Chrome/124.0.1.2 Mobile"[..],
            b"Mozilla/6.x (Linux; Android 14; Pixel 7 Build/; wv) Chrome/canary Mobile",
        ] {
            assert_eq!(family(android), family(same), "{}", String::from_utf8_lossy(same));
        }
        for other in [
            &b"Mozilla/5.0 (Linux; Android 13; Nexus 7 Build/TQ3A.230901.001; wv) Chrome/117.0 Mobile"[..],
            b"Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A.230901.001; wv) Firefox/117.0 Mobile",
            b"Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A.230901.001; wv) Chrome/117.0",
            b"Mozilla/5.0 (Linux; Android 13; Pixel 7 Build/TQ3A.230901.001) Chrome/117.0 Mobile",
            b"Mozilla",
            b"curl/8.5.0",
            b"",
        ] {
            assert_ne!(family(android), family(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn one_byte_more_less_or_other_is_another_browser() {
        for length in 0..=CHROME.len() {
            assert_ne!(exact(&CHROME[..length]), exact(&[&CHROME[..length], b"\0"].concat()), "{length}");
        }
        for at in 0..CHROME.len() {
            let mut other = CHROME.to_vec();
            other[at] ^= 1;
            assert_ne!(exact(CHROME), exact(&other), "{at}");
        }
    }

    #[test]
    fn addresses_are_compared_as_asked_and_the_graver_answer_wins() {
        let bound = Bound::of(ip("192.0.2.1"), CHROME);
        let rules = BindingRules {
            address: AddressMode::Prefix { v4: 24, v6: 56 },
            address_answer: Answer::Log,
            ..BindingRules::default()
        };
        assert_eq!(gravest(&bound, &rules, "192.0.2.200", CHROME), None);
        assert_eq!(gravest(&bound, &rules, "192.0.3.1", CHROME), Some((Factor::Address, Answer::Log)));
        assert_eq!(gravest(&bound, &rules, "192.0.3.1", FIREFOX), Some((Factor::UserAgent, Answer::End)));
        let exact = BindingRules { address: AddressMode::Exact, ..rules };
        assert_eq!(gravest(&bound, &exact, "192.0.2.2", CHROME), Some((Factor::Address, Answer::Log)));
        assert_eq!(gravest(&bound, &exact, "::ffff:192.0.2.1", CHROME), None);
    }

    const SUITES: [u16; 3] = [0x1301, 0x1302, 0xc02b];
    const GROUPS: [u16; 2] = [0x001d, 0x0017];
    const SCHEMES: [u16; 2] = [0x0403, 0x0804];

    #[test]
    fn a_fingerprint_is_of_three_lists_in_their_order() {
        let plain = TlsFingerprint::of(SUITES, GROUPS, SCHEMES);
        assert_ne!(plain, TlsFingerprint::UNKNOWN);
        for other in [
            TlsFingerprint::of([0x1302, 0x1301, 0xc02b], GROUPS, SCHEMES),
            TlsFingerprint::of([0x1301, 0x1302], GROUPS, SCHEMES),
            TlsFingerprint::of(SUITES, [0x11ec, 0x001d, 0x0017], SCHEMES),
            TlsFingerprint::of(SUITES, GROUPS, [0x0403]),
            // The same numbers, in other lists.
            TlsFingerprint::of([0x1301, 0x1302], [0xc02b, 0x001d, 0x0017], SCHEMES),
            TlsFingerprint::of(SUITES, [0x001d, 0x0017, 0x0403], [0x0804]),
            TlsFingerprint::of(SUITES, [], [0x001d, 0x0017, 0x0403, 0x0804]),
        ] {
            assert_ne!(plain, other);
        }
        assert_ne!(TlsFingerprint::of([], [], []), TlsFingerprint::UNKNOWN);
    }

    #[test]
    fn values_that_stand_for_nothing_are_left_out() {
        let plain = TlsFingerprint::of(SUITES, GROUPS, SCHEMES);
        // All sixteen of RFC 8701 section 2.
        for high in 0..16_u16 {
            let grease = (high << 12 | 0x0a00) | (high << 4 | 0x0a);
            let suites = [&[grease], &SUITES[..]].concat();
            let groups = [&[grease], &GROUPS[..]].concat();
            let schemes = [&SCHEMES[..], &[grease]].concat();
            assert_eq!(TlsFingerprint::of(suites, groups, schemes), plain, "{grease:#06x}");
        }
        for other in [0x0a1a, 0x1a0a, 0x0a0b, 0x1b1b, 0x00ff] {
            assert_ne!(TlsFingerprint::of(SUITES.into_iter().chain([other]), GROUPS, SCHEMES), plain, "{other:#06x}");
        }
    }

    #[test]
    fn a_fingerprint_that_was_never_taken_does_not_differ_and_one_that_is_missing_does() {
        let (one, other) = (TlsFingerprint::of(SUITES, GROUPS, SCHEMES), TlsFingerprint::of([1], GROUPS, SCHEMES));
        let off = BindingRules { tls_answer: Answer::End, ..BindingRules::default() };
        let exact = BindingRules { tls: TlsMode::Exact, ..off };
        let old = Bound::of(ip("192.0.2.1"), CHROME);
        let new = Bound { tls: one, ..old };
        let differs = |bound: Bound, rules, tls| bound.differences(rules, ip("192.0.2.1"), CHROME, tls).gravest();
        for tls in [one, other, TlsFingerprint::UNKNOWN] {
            assert_eq!(differs(old, &exact, tls), None);
            assert_eq!(differs(new, &off, tls), None);
        }
        assert_eq!(differs(new, &exact, one), None);
        assert_eq!(differs(new, &exact, other), Some((Factor::Tls, Answer::End)));
        assert_eq!(differs(new, &exact, TlsFingerprint::UNKNOWN), Some((Factor::Tls, Answer::End)));
    }

    #[test]
    fn of_equal_answers_the_one_is_named_that_says_most() {
        let differences = |tls, address, agent| Differences { tls, address, agent }.gravest();
        let end = Some(Answer::End);
        assert_eq!(differences(end, end, end), Some((Factor::UserAgent, Answer::End)));
        assert_eq!(differences(end, end, None), Some((Factor::Address, Answer::End)));
        assert_eq!(differences(end, Some(Answer::StepUp), Some(Answer::Log)), Some((Factor::Tls, Answer::End)));
        assert_eq!(Differences::default().gravest(), None);
    }

    #[test]
    fn every_report_has_a_bit_of_its_own() {
        let mut bits = 0_u32;
        for factor in [Factor::Address, Factor::UserAgent, Factor::Tls] {
            for answer in [Answer::Log, Answer::StepUp, Answer::End] {
                for is_shadow in [false, true] {
                    let bit = Report { factor, answer, is_shadow }.bit();
                    assert_eq!((bit.count_ones(), bits & bit), (1, 0));
                    bits |= bit;
                }
            }
        }
    }
}
