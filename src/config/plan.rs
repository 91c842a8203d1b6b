//! The validated whole: what the composition root builds the gateway from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::admin::listen::Place;
use crate::base::stamp::Seen;
use crate::config::admin::{self, AdminPlan};
use crate::config::keys::{self, Keys};
use crate::config::limits::{self, LimitPlan};
use crate::config::log::{self, LogPlan};
use crate::config::login::{self, LocalUsers};
use crate::config::not_yet::NOT_YET;
use crate::config::profile::{self, Judged, Profile};
use crate::config::server::{self, CertificatePlan, ServerPlan};
use crate::config::session::{self, SessionPlan, StoreKind};
use crate::config::tenants::{self, TenantPlan};
use crate::config::{csrf, identity, portal, routes, upstreams};
use crate::enforce::pages::look::LookSettings;
use crate::policy::route_policy::TokenNames;
use crate::reader::mistake::Mistakes;
use crate::reader::{Document, Written};
use crate::route::table::Route;
use crate::session::tenant::TenantId;
use crate::upstream::identity::IdentityHeaders;
use crate::upstream::settings::UpstreamSettings;

/// The largest configuration file that is read, in bytes: 1 MiB, some ten thousand routes.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// How the file ends that has the gateway's own keys, beside the store and with its name.
const KEYS: &str = "keys";

/// A whole, valid configuration.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The standard that it keeps to, if one is named.
    pub profile: Option<Profile>,
    /// Listeners, certificates, workers, time-outs.
    pub server: ServerPlan,
    /// The operator's listeners.
    pub admin: AdminPlan,
    /// Store, cookie and rules of sessions.
    pub session: SessionPlan,
    /// What they are sealed under, the active key first; `None` when the gateway makes its own.
    pub keys: Option<Keys>,
    /// Rates.
    pub limits: LimitPlan,
    /// The local users, when that source is configured.
    pub users: Option<LocalUsers>,
    /// Who is told what.
    pub identity: IdentityHeaders,
    /// The applications.
    pub upstreams: Vec<UpstreamSettings>,
    /// What goes where.
    pub routes: Vec<Route>,
    /// How logs look.
    pub log: LogPlan,
    /// How our own pages look.
    pub look: LookSettings,
    /// What the synchroniser token is called, where some route asks for one.
    pub csrf_token: Option<Arc<TokenNames>>,
    /// The file itself, for whoever tells what a decision rests on.
    pub written: Written,
    /// Who has hosts of their own, and what holds there instead.
    pub tenants: Vec<TenantPlan>,
    /// The files that it was read from, but for certificates, each as it was before.
    pub files: Vec<Seen>,
}

impl Plan {
    /// Reads and validates a configuration file.
    ///
    /// # Errors
    /// As [`Plan::of`].
    pub fn load(file: &Path) -> Result<Self, Mistakes> {
        Self::read(file).0
    }

    /// As [`Plan::load`], and the files that were read, also where there are mistakes in them.
    pub fn read(file: &Path) -> (Result<Self, Mistakes>, Vec<Seen>) {
        let seen = Seen::now(file);
        match Document::load(file, MAX_CONFIG_BYTES, "name another file with --config") {
            Ok(document) => (Self::of(&document), document.files()),
            Err(mistakes) => (Err(mistakes), vec![seen]),
        }
    }

    /// What is worth saying of it although nothing is wrong, a line each.
    pub fn remarks(&self) -> Vec<String> {
        let lacks = self.profile.and_then(Profile::lacks).map(str::to_owned);
        let shared = self.users.iter().flat_map(|all| {
            let same = |tenant: &&TenantPlan| tenant.users.as_ref().is_some_and(|own| own.file == all.file);
            self.tenants.iter().filter(same).map(|tenant| {
                let (name, file) = (tenant.id.name(), all.file.display());
                format!(
                    "whoever is in {file} signs in at the tenant \"{name}\" as well, each time anew: users of its own are \
                     written in [tenant.login.local]"
                )
            })
        });
        let unknown = self.roles_nobody_has().into_iter().map(|role| {
            format!(
                "nobody has the role \"{role}\", so what is said of it holds for nobody: if that is a slip, mend it"
            )
        });
        lacks.into_iter().chain(shared).chain(unknown).collect()
    }

    /// The roles that routes ask for or tables are about, and that no user has, each once.
    fn roles_nobody_has(&self) -> BTreeSet<&str> {
        let of_routes = self.routes.iter().flat_map(|route| route.policy.roles.iter().map(|role| &**role));
        let rules = self.tenants.iter().map(|tenant| &tenant.rules).chain([&self.session.rules]);
        let of_tables = rules.flat_map(|rules| {
            let concurrency = rules.concurrency.iter().flat_map(|limits| limits.roles.iter().map(|(role, _)| &**role));
            rules.lifetimes.roles.iter().map(|own| &*own.role).chain(concurrency)
        });
        let mut named: BTreeSet<&str> = of_routes.chain(of_tables).collect();
        let users = self.local_users().flat_map(|(_, local)| local.users.iter());
        for role in users.flat_map(|user| &user.roles) {
            named.remove(&**role);
        }
        // Where there are no users yet, nothing is known of roles.
        let has_users = self.local_users().any(|(_, local)| local.users.iter().next().is_some());
        if has_users { named } else { BTreeSet::new() }
    }

    /// The local users of every tenant, with its name.
    pub fn local_users(&self) -> impl Iterator<Item = (TenantId, &LocalUsers)> {
        let of_tenants = self.tenants.iter().map(|tenant| (tenant.id, tenant.users.as_ref()));
        let all = std::iter::once((TenantId::DEFAULT, self.users.as_ref())).chain(of_tenants);
        all.filter_map(|(tenant, local)| local.map(|local| (tenant, local)))
    }

    /// The same, to be changed.
    pub fn local_users_mut(&mut self) -> impl Iterator<Item = &mut LocalUsers> {
        self.users.iter_mut().chain(self.tenants.iter_mut().filter_map(|tenant| tenant.users.as_mut()))
    }

    /// The file of the keys that the gateway makes for itself, if it does: beside the sessions, so that they last as long.
    pub fn own_keys(&self) -> Option<PathBuf> {
        own_keys(self.keys.as_ref(), &self.session.store)
    }

    /// Validates a configuration that has been read, and with it the files it names. It makes none and opens no port:
    /// what only the system can tell when the gateway starts, as whether a port is free, is left to that.
    ///
    /// # Errors
    /// Every mistake in it and in those files.
    pub fn of(document: &Document) -> Result<Self, Mistakes> {
        document.not_yet(NOT_YET);
        let root = document.root();
        let profile = profile::read(&root);
        let (server, listen) = server::read(&root, profile);
        let admin = admin::read(&root, &listen);
        let session = session::read(&root, profile);
        let keys = keys::read(&root);
        let limits = limits::read(&root);
        let users = login::read(&root);
        let identity = identity::read(&root);
        let csrf = csrf::read(&root);
        let look = portal::read(&root, &LookSettings::default());
        let shared_users = users.as_ref().and_then(Option::as_ref);
        let tenants = tenants::read(&root, &session, &limits, &look, shared_users);
        let upstreams = upstreams::read(&root, &server);
        let sessions = (&session.rules.lifetimes, &*session.rules.levels);
        let can_sign_in = |host: &_| users.is_some() || tenants::have_users(&tenants, host);
        let (routes, route_sections) = routes::read(&root, &upstreams, &can_sign_in, sessions, &csrf);
        let csrf_token = routes.iter().find_map(|route| route.policy.csrf.as_ref()?.token.clone());
        let identity = identity.and_then(|identity| csrf::with_token(&root, identity, csrf_token.as_deref()));
        let log = log::read(&root, identity.as_ref());
        tenants::tell_of_domains(&root, &session, &tenants, &routes);
        tenants::tell_of_levels(&tenants, &routes, &route_sections);
        log::apart(&root, &log, &own_files(document, &server, &admin, &session, keys.as_ref()));
        let judged = Judged {
            root: &root,
            session: &session,
            tenants: &tenants,
            routes: &routes,
            route_sections: &route_sections,
            csrf_is_enforced: csrf.is_enforced(),
            hsts: server.hsts,
            limits: &limits,
            log: &log,
        };
        profile::refuse(profile, &judged);
        document.finish()?;
        let Some(identity) = identity else {
            // What could not be read has said why, so `finish` has returned already.
            return Err(Mistakes::whole_file(Path::new("gateway.toml"), "the configuration could not be read", ""));
        };
        let mut plan = Self {
            profile,
            server,
            admin,
            session,
            keys,
            limits,
            users: users.flatten(),
            identity,
            upstreams: upstreams.into_iter().map(|upstream| upstream.value).collect(),
            routes,
            log,
            look,
            csrf_token,
            written: document.written(),
            tenants: tenants.into_iter().map(|tenant| tenant.plan).collect(),
            files: Vec::new(),
        };
        if let Some(file) = plan.own_keys() {
            document.reads(&file);
        }
        plan.files = document.files();
        Ok(plan)
    }
}

fn own_keys(keys: Option<&Keys>, store: &StoreKind) -> Option<PathBuf> {
    match (keys, store) {
        (None, StoreKind::Disk(store)) => Some(store.with_extension(KEYS)),
        (Some(_), _) | (None, StoreKind::Memory) => None,
    }
}

/// The files that nobody else may write into, each with what it is.
fn own_files(
    document: &Document,
    server: &ServerPlan,
    admin: &AdminPlan,
    session: &SessionPlan,
    keys: Option<&Keys>,
) -> Vec<(&'static str, PathBuf)> {
    let mut own = Vec::new();
    if let StoreKind::Disk(store) = &session.store {
        own.push(("the session store", store.clone()));
        own.extend(own_keys(keys, &session.store).map(|keys| ("the keys of the session store", keys)));
    }
    for CertificatePlan { cert, key, generate: _, ocsp } in &server.certificates {
        own.extend([("a certificate", cert.clone()), ("the key of a certificate", key.clone())]);
        own.extend(ocsp.clone().map(|ocsp| ("the OCSP response of a certificate", ocsp)));
    }
    if let Some(Place::Unix(socket)) = &admin.listen {
        own.push(("the admin socket", socket.clone()));
    }
    own.extend(document.files().into_iter().map(|seen| ("a file that the gateway reads", seen.file)));
    own
}
