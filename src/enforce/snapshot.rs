//! One configuration, ready for use. A request holds one from beginning to end.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::base::clock::Timestamp;
use crate::crypto::keyring::KeyRing;
use crate::enforce::tenant::Tenant;
use crate::limit::connections::ConnectionLimits;
use crate::limit::guesses::CookieGuesses;
use crate::limit::rate::{PerAddress, PerClient, PerKey, PerSession};
use crate::limit::wrong_passwords::WrongPasswords;
use crate::policy::client_address::ForwardedHeader;
use crate::policy::route_policy::TokenNames;
use crate::reader::Written;
use crate::route::hosts::HostTable;
use crate::route::pattern::HostPattern;
use crate::route::table::RouteTable;
use crate::session::concurrency::Concurrency;
use crate::session::tenant::{ByTenant, TenantId};
use crate::session::timeouts::Lifetimes;
use crate::upstream::forward::Rewriting;
use crate::upstream::group::Upstream;

/// How many anonymous sessions one address may have: an office behind one address has visitors, a flood has more.
pub const MAX_ANONYMOUS_PER_ADDRESS: usize = 1000;

/// Where our own pages are.
pub const PREFIX: &str = "/.vestibule/";

/// The limits that are on. One that stays as it is goes on counting in the next configuration.
#[derive(Clone, Default)]
pub struct Limits {
    /// On each session.
    pub per_session: Option<Arc<PerSession>>,
    /// On each client address.
    pub per_address: Option<Arc<PerAddress>>,
    /// On each person, in all of their sessions.
    pub per_user: Option<Arc<PerClient>>,
    /// On requests of a session that are under way at once.
    pub parallel: Option<NonZeroU32>,
    /// On each client of a route, by the place that the route names.
    pub routes: Arc<[Arc<PerClient>]>,
    /// On sign-ins from each client address.
    pub login: Option<Arc<PerAddress>>,
    /// On wrong passwords for each name.
    pub wrong_passwords: Option<Arc<WrongPasswords>>,
    /// On bad cookies from each client address.
    pub bad_cookies: Option<Arc<CookieGuesses>>,
}

impl Limits {
    /// Everything that is remembered by key.
    fn keys(&self) -> impl Iterator<Item = &PerKey> {
        let addresses = self.per_address.iter().chain(&self.login).map(|limit| limit.keys());
        let clients = self.per_user.iter().chain(&*self.routes).map(|limit| limit.keys());
        let passwords = self.wrong_passwords.iter().flat_map(|limit| limit.keys());
        let cookies = self.bad_cookies.iter().flat_map(|limit| limit.keys());
        addresses.chain(clients).chain(passwords).chain(cookies)
    }
}

/// Who has hosts of their own.
#[derive(Default)]
pub struct Tenants {
    hosts: HostTable<Arc<Tenant>>,
    by_id: BTreeMap<TenantId, Arc<Tenant>>,
}

impl Tenants {
    /// Adds one with its hosts.
    pub fn add(&mut self, tenant: Arc<Tenant>, hosts: &[HostPattern]) {
        for host in hosts {
            self.hosts.entry(host, || Arc::clone(&tenant));
        }
        self.by_id.insert(tenant.id, tenant);
    }
}

/// Everything a request needs to know of the configuration.
pub struct Snapshot {
    /// Counts the configurations since the gateway started, from 1.
    pub version: u64,
    /// When it was loaded.
    pub loaded_at: Timestamp,
    /// The keys that records are sealed under, whatever tenant's they are.
    pub ring: Arc<KeyRing>,
    /// Times and bounds of client connections.
    pub connections: ConnectionLimits,
    /// Where requests go and what is asked of them.
    pub routes: RouteTable,
    /// Whose the hosts are that belong to nobody in particular: all of them, where there is no other tenant.
    pub default: Arc<Tenant>,
    /// The other tenants, if there are any.
    pub tenants: Option<Box<Tenants>>,
    /// Whether trusted proxies, and only they, begin connections with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Which header trusted proxies write.
    pub forwarded_header: ForwardedHeader,
    /// How requests are changed on their way.
    pub rewriting: Rewriting,
    /// The applications.
    pub upstreams: Vec<Arc<Upstream>>,
    /// The header that carries the id of a request, if there is one.
    pub request_id: Option<HeaderName>,
    /// What every answer by https says of https (RFC 6797), if anything.
    pub strict_transport_security: Option<HeaderValue>,
    /// What the synchroniser token is called, where some route asks for one.
    pub csrf_token: Option<Arc<TokenNames>>,
    /// The configuration as it is written, for whoever tells what a decision rests on.
    pub written: Written,
}

impl Snapshot {
    /// Whose `host` is (lower case, no port). Nothing is looked up where there is nobody but the default tenant.
    pub fn tenant(&self, host: &str) -> &Tenant {
        self.tenants.as_ref().and_then(|tenants| tenants.hosts.of(host).next()).unwrap_or(&self.default)
    }

    /// The tenant of this name, if there is one.
    pub fn tenant_named(&self, id: TenantId) -> Option<&Tenant> {
        if id == TenantId::DEFAULT {
            return Some(&self.default);
        }
        self.tenants.as_ref().and_then(|tenants| tenants.by_id.get(&id)).map(|tenant| &**tenant)
    }

    /// Every tenant, the default one first.
    pub fn tenants(&self) -> impl Iterator<Item = &Tenant> {
        let others = self.tenants.iter().flat_map(|tenants| tenants.by_id.values());
        std::iter::once(&self.default).chain(others).map(|tenant| &**tenant)
    }

    /// Forgets whoever has their whole allowance again.
    pub fn sweep_limits(&self) {
        // Most tenants count in the place of all.
        let mut swept = HashSet::new();
        for keys in self.tenants().flat_map(|tenant| tenant.limits.keys()) {
            if swept.insert(std::ptr::from_ref(keys).addr()) {
                keys.sweep();
            }
        }
    }

    /// How long the sessions of each tenant last.
    pub fn lifetimes(&self) -> ByTenant<Lifetimes> {
        let own = |tenant: &Tenant| (tenant.id, tenant.rules.lifetimes.clone());
        ByTenant::new(self.default.rules.lifetimes.clone(), self.tenants().skip(1).map(own))
    }

    /// How many sessions one person may have at each tenant; `None` where that is limited nowhere.
    pub fn concurrency(&self) -> Option<ByTenant<Option<Arc<Concurrency>>>> {
        let own = |tenant: &Tenant| (tenant.id, tenant.rules.concurrency.clone());
        let all = ByTenant::new(self.default.rules.concurrency.clone(), self.tenants().skip(1).map(own));
        let is_limited = all.all().any(Option::is_some);
        is_limited.then_some(all)
    }
}

/// Whether a path is one of our own pages.
pub fn is_ours(path: &[u8]) -> bool {
    path.starts_with(PREFIX.as_bytes()) || path == &PREFIX.as_bytes()[..PREFIX.len() - 1]
}
