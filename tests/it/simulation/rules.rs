//! The rules of a run, in the model's words: what stays as it is, and what a reload of the configuration may change.

use std::net::IpAddr;

/// What a binding difference leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Log,
    StepUp,
    End,
}

/// How something is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Not,
    Exactly,
    Roughly,
}

/// What becomes of what other sites make browsers ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shield {
    Off,
    Report,
    Enforce,
}

/// The rules of one run. Times are milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How old a session is that has reached the level that some requests ask for, and by what pause it has lost it.
    pub level: (u64, Option<u64>),
    /// By which pause and which age some requests ask for the password again; and by which age of it, if they may change
    /// something.
    pub fresh: (Option<u64>, Option<u64>, Option<u64>),
    pub shield: Shield,
    pub every: Option<u64>,
    pub grace: u64,
    pub address: (Compared, Answer),
    pub agent: (Compared, Answer),
    /// Whether the store has to be waited for when a session is looked up.
    pub lookup_waits: bool,
}

/// How long the sessions of one tenant last, and how many one person may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub idle: u64,
    pub absolute: u64,
    /// What who asks to be remembered has in place of these two, where that is offered.
    pub offered: Option<(u64, u64)>,
    /// How long those of an admin last, if that is less.
    pub of_admins: Option<(u64, u64)>,
    /// Whether an admin is not remembered.
    pub forgets_admins: bool,
    /// Whether what is idle is locked.
    pub locks: bool,
    /// How many sessions one person may have, and whether the least recently used one ends for another.
    pub max: Option<(usize, bool)>,
    /// How many an admin may have, if that is less.
    pub max_of_admins: Option<usize>,
}

impl Limits {
    /// Whether somebody who asks for it is remembered.
    pub const fn remembers(&self, is_admin: bool) -> bool {
        self.offered.is_some() && !(self.forgets_admins && is_admin)
    }

    /// How long a session may be idle, and last.
    pub fn of(&self, is_remembered: bool, is_admin: bool) -> (u64, u64) {
        let base = self.offered.filter(|_| is_remembered && self.remembers(is_admin));
        let (idle, absolute) = base.unwrap_or((self.idle, self.absolute));
        match self.of_admins.filter(|_| is_admin) {
            Some((less_idle, less)) => (idle.min(less_idle), absolute.min(less)),
            None => (idle, absolute),
        }
    }

    /// How many sessions somebody may have.
    pub fn most(&self, is_admin: bool) -> Option<usize> {
        let (max, _) = self.max?;
        Some(self.max_of_admins.filter(|_| is_admin).map_or(max, |less| less.min(max)))
    }

    /// No session is older.
    pub fn longest(&self) -> u64 {
        self.offered.map_or(0, |(_, absolute)| absolute).max(self.absolute)
    }
}

/// Users; each of these names may be somebody at each tenant.
pub const USERS: [&str; 3] = ["alice", "bob", "root"];

/// Tenants. The first is whose all hosts are that are nobody else's.
pub const TENANTS: [&str; 3] = ["default", "acme", "globex"];

/// Their hosts.
pub const HOSTS: [&str; 3] = ["app.example.test", "acme.example.test", "globex.example.test"];

/// Somebody, as a users file has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub is_admin: bool,
    pub password: u8,
}

/// What one gateway's configuration says, and may say otherwise after the next reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// By tenant; `None` where it is not configured. The first always is.
    pub limits: [Option<Limits>; 3],
    /// By tenant and place in [`USERS`].
    pub users: [[Option<Entry>; 3]; 3],
}

impl Config {
    /// Whose a host is.
    pub const fn tenant_at(&self, host: usize) -> usize {
        if self.limits[host].is_some() { host } else { 0 }
    }

    /// What holds for a tenant's sessions, be it configured or not.
    pub fn limits(&self, tenant: usize) -> Limits {
        self.limits[tenant].or(self.limits[0]).expect("the first is always configured")
    }

    /// Who somebody is there, if anybody.
    pub fn user(&self, tenant: usize, name: &str) -> Option<Entry> {
        let at = USERS.iter().position(|user| *user == name).expect("a user");
        self.users[tenant][at].filter(|_| self.limits[tenant].is_some())
    }
}

pub fn same_address(one: &str, other: &str, compared: Compared) -> bool {
    let bytes = |text: &str| match text.parse::<IpAddr>().expect("an address") {
        IpAddr::V4(address) => (address.octets().to_vec(), 3),
        IpAddr::V6(address) => (address.octets().to_vec(), 7),
    };
    let ((one, rough), (other, _)) = (bytes(one), bytes(other));
    match compared {
        Compared::Not => true,
        Compared::Exactly => one == other,
        Compared::Roughly => one.len() == other.len() && one[..rough] == other[..rough],
    }
}

pub fn same_agent(one: &str, other: &str, compared: Compared) -> bool {
    let letters = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.' || c == '_', "");
    match compared {
        Compared::Not => true,
        Compared::Exactly => one == other,
        Compared::Roughly => letters(one) == letters(other),
    }
}
