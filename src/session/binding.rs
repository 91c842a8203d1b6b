//! Binding a session to where it was made: the client's address and user agent.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::base::net;

/// What a session remembers of the request it was made by. Both readings of the user agent are kept, so that a change
/// of configuration applies to sessions that exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The client's address.
    pub address: IpAddr,
    /// The user agent, to the letter, as a hash.
    pub agent: u64,
    /// The user agent without its numbers, as a hash.
    pub agent_family: u64,
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
    /// Everything but the numbers: an update changes only these. The default.
    Family,
}

/// What happens on a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is reported, and the request goes on.
    Log,
    /// The person proves again who they are; the session waits.
    StepUp,
    /// The session ends.
    End,
}

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Factor {
    /// The client's address.
    Address,
    /// The user agent.
    UserAgent,
}

impl Factor {
    /// The name used in logs and configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "ip",
            Self::UserAgent => "user_agent",
        }
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
}

impl Default for BindingRules {
    fn default() -> Self {
        Self {
            address: AddressMode::Off,
            address_answer: Answer::End,
            agent: AgentMode::Family,
            agent_answer: Answer::End,
        }
    }
}

impl Bound {
    /// What a session made by this client remembers.
    pub fn of(address: IpAddr, user_agent: &[u8]) -> Self {
        Self { address: net::canonical(address), agent: exact(user_agent), agent_family: family(user_agent) }
    }

    /// The differences between what is remembered and a request, gravest answer first.
    pub fn difference(&self, rules: &BindingRules, address: IpAddr, user_agent: &[u8]) -> Option<(Factor, Answer)> {
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
        let address = (!same_address).then_some((Factor::Address, rules.address_answer));
        let agent = (!same_agent).then_some((Factor::UserAgent, rules.agent_answer));
        let rank = |found: &(Factor, Answer)| match found.1 {
            Answer::Log => 0,
            Answer::StepUp => 1,
            Answer::End => 2,
        };
        address.into_iter().chain(agent).max_by_key(rank)
    }
}

// Both hashes are the same on every machine and in every version, because they are kept in records. They need not resist
// anyone: who can choose a user agent can send the right one.

/// The hash of a user agent to the letter, eight bytes a step: each is multiplied into both halves of a wide product.
fn exact(user_agent: &[u8]) -> u64 {
    let mix = |hash: u64, word: [u8; 8]| {
        let product = u128::from(hash ^ u64::from_le_bytes(word)) * 0x9e37_79b9_7f4a_7c15_u128;
        (product as u64) ^ ((product >> 64) as u64)
    };
    let (words, rest) = user_agent.as_chunks();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let begin = 0xcbf2_9ce4_8422_2325 ^ user_agent.len() as u64;
    mix(words.iter().fold(begin, |hash, word| mix(hash, *word)), last)
}

/// The hash of a user agent without digits and the dots and underscores between them: `Chrome/130.0.0.0` and
/// `Chrome/131.0.1.2` are one family, on one platform. FNV-1a of what is left.
fn family(user_agent: &[u8]) -> u64 {
    let left = user_agent.iter().filter(|byte| !matches!(byte, b'0'..=b'9' | b'.' | b'_'));
    left.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
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

    #[test]
    fn an_update_is_the_same_family_and_another_browser_is_not() {
        let bound = Bound::of(ip("192.0.2.1"), CHROME);
        let family = BindingRules::default();
        let exact = BindingRules { agent: AgentMode::Exact, ..family };
        assert_eq!(bound.difference(&family, ip("192.0.2.1"), CHROME_UPDATED), None);
        assert_eq!(bound.difference(&exact, ip("192.0.2.1"), CHROME), None);
        assert_eq!(bound.difference(&exact, ip("192.0.2.1"), CHROME_UPDATED), Some((Factor::UserAgent, Answer::End)));
        assert_eq!(bound.difference(&family, ip("192.0.2.1"), FIREFOX), Some((Factor::UserAgent, Answer::End)));
        assert_eq!(bound.difference(&family, ip("192.0.2.1"), b""), Some((Factor::UserAgent, Answer::End)));
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
        assert_eq!(bound.difference(&rules, ip("192.0.2.200"), CHROME), None);
        assert_eq!(bound.difference(&rules, ip("192.0.3.1"), CHROME), Some((Factor::Address, Answer::Log)));
        assert_eq!(bound.difference(&rules, ip("192.0.3.1"), FIREFOX), Some((Factor::UserAgent, Answer::End)));
        let exact = BindingRules { address: AddressMode::Exact, ..rules };
        assert_eq!(bound.difference(&exact, ip("192.0.2.2"), CHROME), Some((Factor::Address, Answer::Log)));
        assert_eq!(bound.difference(&exact, ip("::ffff:192.0.2.1"), CHROME), None);
    }
}
