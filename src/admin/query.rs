//! What a request to the operator's API asks for behind the question mark. Whatever is not understood is refused: a filter
//! that is misspelt must not show, or end, everything.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::admin::sessions::MOST;
use crate::base::clock::Timestamp;
use crate::base::net::canonical;
use crate::base::units;
use crate::session::handle::SessionHandle;
use crate::session::live::SessionView;
use crate::session::tenant::TenantId;

/// The words that were given, each at most once.
pub(super) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads them; only `known` ones may be there.
    ///
    /// # Errors
    /// A sentence that says which may not.
    pub(super) fn of(query: Option<&'a str>, known: &[&str]) -> Result<Self, String> {
        let mut words: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let all = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
                return Err(format!("\"{name}\" is not understood here; what is: {all}"));
            }
            if words.iter().any(|(other, _)| *other == name) {
                return Err(format!("\"{name}\" is given twice"));
            }
            words.push((name, value));
        }
        Ok(Self(words))
    }

    /// The value of a word.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Where the same is asked for of what comes behind `after`.
    pub(super) fn next(&self, path: &str, after: SessionHandle) -> String {
        let mut written = form_urlencoded::Serializer::for_suffix(format!("{path}?"), path.len() + 1);
        written.extend_pairs(self.0.iter().filter(|(name, _)| name != "after"));
        written.append_pair("after", &after.to_string()).finish()
    }

    /// The tenant that is asked for, if it is said.
    ///
    /// # Errors
    /// When there is none of that name.
    pub(super) fn tenant(&self) -> Result<Option<TenantId>, String> {
        self.read("tenant", |name| {
            TenantId::find(name).ok_or_else(|| {
                format!("there is no tenant \"{name}\"; \"default\" is whoever comes by a host of no tenant")
            })
        })
    }

    /// What `read` makes of the value of a word, if it is given.
    ///
    /// # Errors
    /// What `read` says, behind the word.
    pub(super) fn read<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, String> {
        self.get(name).map(read).transpose().map_err(|why| format!("{name}: {why}"))
    }
}

/// Which sessions are meant by whether they have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Active,
    Ended,
    All,
}

/// Which sessions are asked for, and how many.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) tenant: Option<TenantId>,
    pub(super) user: Option<Box<str>>,
    network: Option<IpNet>,
    older: Option<Duration>,
    newer: Option<Duration>,
    pub(super) state: State,
    pub(super) limit: usize,
    pub(super) after: Option<SessionHandle>,
}

impl Wanted {
    /// The words it is made of.
    pub(super) const WORDS: [&'static str; 8] =
        ["tenant", "user", "address", "older", "newer", "state", "limit", "after"];

    /// Reads what is asked for.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn of(query: &Query<'_>) -> Result<Self, String> {
        let state = query.read("state", |text| match text {
            "active" => Ok(State::Active),
            "ended" => Ok(State::Ended),
            "all" => Ok(State::All),
            _ => Err("write active, ended or all".to_owned()),
        })?;
        let limit = query.read("limit", |text| {
            let number = text.parse::<usize>().ok().filter(|number| (1..=MOST).contains(number));
            number.ok_or_else(|| format!("write a number from 1 to {MOST}"))
        })?;
        Ok(Self {
            tenant: query.tenant()?,
            user: query.get("user").map(Into::into),
            network: query.read("address", network)?,
            older: query.read("older", units::duration)?,
            newer: query.read("newer", units::duration)?,
            state: state.unwrap_or(State::Active),
            limit: limit.unwrap_or(MOST),
            after: query.read("after", str::parse)?,
        })
    }

    /// Whether a session is one of them.
    pub(super) fn fits(&self, view: &SessionView<'_>, now: Timestamp) -> bool {
        let age = now.since(view.authenticated_at);
        let is_of = |user: &str| view.principal.is_some_and(|principal| *principal.user == *user);
        (match self.state {
            State::Active => view.ended.is_none(),
            State::Ended => view.ended.is_some(),
            State::All => true,
        }) && self.tenant.is_none_or(|tenant| view.tenant == tenant)
            && self.user.as_deref().is_none_or(is_of)
            && self.network.is_none_or(|network| network.contains(&view.bound.address))
            && self.older.is_none_or(|span| age >= span)
            && self.newer.is_none_or(|span| age <= span)
    }
}

/// An address, or a network in CIDR.
fn network(text: &str) -> Result<IpNet, String> {
    let wrong = || format!("\"{text}\" is no address; write one like 192.0.2.7, or a network like 192.0.2.0/24");
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(canonical(address).into()),
        Err(_) => text.parse().map_err(|_| wrong()),
    }
}
