//! The configuration read again while the gateway runs: when it is asked to (SIGHUP, the operator's API) and when one of
//! the files has changed that it was read from.
//!
//! A reading is taken whole or not at all: what is wrong with it is said in the words of `check`, and the configuration
//! before stays in force. What is alive goes on in the new one: sessions, limits that stay as they are, upstreams that stay
//! as they are with their connections and what is known of their health. What cannot change while the gateway runs stays
//! as it is and is told; it does not keep the rest from being taken, so that somebody who is disabled does not stay in
//! until the next restart. For the same reason, a users file that is good is taken also while another file is not.
//!
//! Files are looked at now and then ([`crate::base::stamp`]). A file that is seen changed is read once it has rested: it
//! may be half written, and half a users file is one that many people are not in.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;
use tokio::task::spawn_blocking;

use crate::admin::listen::Place;
use crate::app::{self, Kit, Running, files, keep_up};
use crate::base::clock::Timestamp;
use crate::base::stamp::Seen;
use crate::config::{CertificatePlan, LocalUsers, Plan};
use crate::crypto::keyring::{KeyRing, shown};
use crate::enforce::people::{self, Followed};
use crate::enforce::reloads::{Asker, Cause, Outcome, Reloaded};
use crate::enforce::shared::Shared;
use crate::enforce::snapshot::Snapshot;
use crate::login::users::Users;
use crate::observe::audit::{AuditEvent, AuditFields};
use crate::observe::metrics::Metrics;

/// How often the files are looked at; a change is taken when two looks have seen it, so within a second.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How often files that were no good are read again although they have not changed: what is wrong may be elsewhere, as a
/// certificate that is being renewed. The largest users file takes a fraction of a second to read.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// How often files that change while they are read are read once more when somebody has asked for it.
const RE_READINGS: usize = 3;

/// Reads `config` again from now on, as long as `running` does: when somebody asks for it, and when it or a file that it
/// names has changed.
pub fn start(running: &mut Running, config: &Path) {
    let Some(kit) = running.kit() else { return };
    let Some(asked) = kit.shared.reloads.attend() else { return };
    let runtime = kit.runtime.clone();
    let reloader = Arc::new(Mutex::new((Reloader::new(kit, config), asked)));
    runtime.spawn(keep_up("reading the configuration again", move || run(Arc::clone(&reloader))));
}

async fn run(reloader: Arc<Mutex<(Reloader, Receiver<Asker>)>>) {
    let mut both = reloader.lock().await;
    let (reloader, asked) = &mut *both;
    let clock = reloader.kit.shared.clock.clone();
    loop {
        // Nothing is waited for in here that must not be left half done.
        tokio::select! {
            asker = asked.recv() => {
                let Some(asker) = asker else { return };
                let (mut cause, mut waiting) = (asker.cause, vec![asker.outcome]);
                while let Ok(another) = asked.try_recv() {
                    cause = cause.and(&another.cause);
                    waiting.push(another.outcome);
                }
                let outcome = reloader.asked(&cause).await;
                // Who does not wait for it has it in the log.
                waiting.into_iter().for_each(|waiting| drop(waiting.send(outcome.clone())));
            }
            () = clock.sleep(LOOK_EVERY) => reloader.look().await,
        }
    }
}

/// What a reading brought.
struct Read {
    /// The configuration, or what is wrong with it.
    plan: Result<Plan, String>,
    /// The files that it was read from, each as it was before.
    files: Vec<Seen>,
    /// Whether they were still so afterwards: otherwise, what was read may be half of one and half of another.
    is_at_rest: bool,
}

/// Reads a configuration again.
struct Reloader {
    config: PathBuf,
    kit: Kit,
    /// The files as they were at the last reading.
    seen: Vec<Seen>,
    /// The files as they were at the last look, if they have changed since the last reading.
    resting: Option<Vec<Seen>>,
    /// When the last reading was refused, if it was.
    refused_at: Option<Timestamp>,
    /// Why, as far as that was told.
    told: Option<String>,
}

impl Reloader {
    fn new(kit: Kit, config: &Path) -> Self {
        let mut seen = kit.plan.files.clone();
        // They may have been made when the gateway was started.
        let own = kit.plan.own_keys();
        seen.iter_mut().filter(|seen| own.as_ref() == Some(&seen.file)).for_each(|seen| *seen = Seen::now(&seen.file));
        Self { config: config.to_owned(), kit, seen, resting: None, refused_at: None, told: None }
    }

    /// Reads it because somebody says so.
    async fn asked(&mut self, cause: &Cause) -> Outcome {
        let mut read = self.read().await?;
        for _ in 0..RE_READINGS {
            if read.is_at_rest {
                break;
            }
            read = self.read().await?;
        }
        let Read { plan, files, .. } = read;
        self.told = None;
        self.settle(plan, files, cause).await
    }

    /// Looks whether files have changed, and reads them if they have.
    async fn look(&mut self) {
        let (before, now) = (self.seen.clone(), self.kit.shared.clock.now());
        let look = move || before.iter().map(|seen| Seen::now(&seen.file)).collect::<Vec<_>>();
        let Ok(found) = spawn_blocking(look).await else { return };
        let is_another_try = self.refused_at.is_some_and(|refused| now >= refused.plus(RETRY_EVERY));
        if found == self.seen && !is_another_try {
            self.resting = None;
            return;
        }
        if self.resting.as_ref() != Some(&found) {
            self.resting = Some(found);
            return;
        }
        let changed = found.iter().zip(&self.seen).find(|(now, before)| now != before);
        let cause = changed.map_or_else(Cause::another_try, |(now, _)| Cause::changed(&now.file));
        // Noted before, so that what makes a reading fail as a whole is not tried again and again.
        self.seen = found;
        if self.refused_at.is_some() {
            self.refused_at = Some(now);
        }
        let Ok(Read { plan, files, is_at_rest }) = self.read().await else { return };
        let has_rested = |file: &Seen| self.resting.as_ref().is_some_and(|resting| resting.contains(file));
        if !is_at_rest || !files.iter().all(has_rested) {
            // Another file counts now, or one has just changed again.
            self.seen.retain(|known| !files.iter().any(|file| file.file == known.file));
            self.seen.extend(files.into_iter().map(|file| Seen { stamp: None, ..file }));
            self.resting = None;
            return;
        }
        // Whoever wants to know is told in the log.
        let _ = self.settle(plan, files, &cause).await;
    }

    async fn read(&self) -> Result<Read, String> {
        let config = self.config.clone();
        let read = spawn_blocking(move || {
            let (read, files) = Plan::read(&config);
            let is_at_rest = files.iter().all(Seen::is_as_it_was);
            Read { plan: read.map_err(|mistakes| mistakes.to_string()), files, is_at_rest }
        });
        read.await.map_err(|error| format!("the configuration could not be read: {error}"))
    }

    /// Takes what was read, or tells why not.
    async fn settle(&mut self, read: Result<Plan, String>, files: Vec<Seen>, cause: &Cause) -> Outcome {
        let taken = match read {
            Ok(plan) => self.take(plan, cause, None).await,
            Err(mistakes) => Err(mistakes),
        };
        match taken {
            Ok(reloaded) => {
                self.seen.clone_from(&self.kit.plan.files);
                (self.resting, self.refused_at, self.told) = (None, None, None);
                self.kit.shared.reloads.note_taken();
                Ok(reloaded)
            }
            Err(mut words) => {
                self.refused(&words, cause);
                for file in self.take_users(cause).await {
                    words += &format!("\nthe users in {} have changed and were taken all the same", file.display());
                }
                let in_force = self.kit.plan.files.iter().filter(|known| !files.iter().any(|at| at.file == known.file));
                self.seen = files.iter().chain(in_force).cloned().collect();
                (self.resting, self.refused_at) = (None, Some(self.kit.shared.clock.now()));
                Err(words)
            }
        }
    }

    /// Tells that the configuration in force stays, and why, unless that was told already.
    fn refused(&mut self, words: &str, cause: &Cause) {
        self.kit.shared.reloads.note_refused(self.kit.shared.clock.now(), words);
        if self.told.as_deref() == Some(words) {
            return;
        }
        self.told = Some(words.to_owned());
        let shared = &self.kit.shared;
        let why = &cause.words;
        tracing::warn!(
            "the configuration was read again, {why}, and cannot be used; the one before stays in force:\n{words}"
        );
        Metrics::count(&shared.metrics.reloads, "refused");
        let fields = AuditFields { reason: words.lines().next(), ..asked_by(cause) };
        shared.audit(AuditEvent::ConfigurationRefused, fields);
    }

    /// Takes the users of the configuration in force that have changed for the good; from which files.
    async fn take_users(&mut self, cause: &Cause) -> Vec<PathBuf> {
        let mut taken = Vec::new();
        let mut files: Vec<PathBuf> = self.kit.plan.local_users().map(|(_, local)| local.file.clone()).collect();
        files.dedup();
        for file in files {
            if self.take_users_of(&file, cause).await {
                taken.push(file);
            }
        }
        taken
    }

    /// The same of one file, whosever it is.
    async fn take_users_of(&mut self, file: &Path, cause: &Cause) -> bool {
        let is_known = |seen: &Seen| seen.file == file;
        if self.kit.plan.files.iter().find(|seen| is_known(seen)).is_none_or(Seen::is_as_it_was) {
            return false;
        }
        let load = spawn_blocking({
            let file = file.to_owned();
            move || (Seen::now(&file), Users::load(&file))
        });
        let Ok((seen, Ok(users))) = load.await else { return false };
        let mut plan = self.kit.plan.clone();
        let mut has_changed = false;
        let users = Arc::new(users);
        for local in plan.local_users_mut().filter(|local| local.file == file) {
            has_changed |= local.users != users;
            local.users = Arc::clone(&users);
        }
        // What changes while it is read is looked at again.
        if !has_changed || !seen.is_as_it_was() {
            return false;
        }
        plan.files.iter_mut().filter(|seen| is_known(seen)).for_each(|known| *known = seen.clone());
        self.take(plan, cause, Some(file)).await.is_ok()
    }

    /// Puts a plan in force; `users` is the file of users that it was made for, where it is the one in force but for them.
    /// Until the first thing is changed, all that can fail has not.
    async fn take(&mut self, mut plan: Plan, cause: &Cause, users: Option<&Path>) -> Outcome {
        let shared = Arc::clone(&self.kit.shared);
        emptied(&self.kit.plan, &plan)?;
        let takes_restart = keep_what_takes_a_restart(&self.kit.plan, &mut plan);
        let (in_force, renewal, former) =
            (self.kit.plan.clone(), Arc::clone(&self.kit.renewal), shared.snapshot.load_full());
        let build = spawn_blocking({
            let (shared, former) = (Arc::clone(&shared), Arc::clone(&former));
            move || {
                let ring = ring(&plan, &in_force, &former.ring, &shared)?;
                let snapshot = app::snapshot(&plan, &ring, &shared.clock, Some((&in_force, &former)))?;
                renewal.exchange(plan.server.certificates.iter().map(CertificatePlan::files), shared.clock.now())?;
                Ok::<_, String>((plan, Arc::new(snapshot)))
            }
        });
        let built = build.await.unwrap_or_else(|error| Err(format!("the configuration could not be used: {error}")));
        let (plan, snapshot) = built?;
        let resealed =
            (!Arc::ptr_eq(&snapshot.ring, &former.ring)).then(|| shared.store.use_keys(Arc::clone(&snapshot.ring)));
        // Connections have a place to come to before they may come.
        let asks_for_more = files::asks_for_more(&plan, &self.kit.plan);
        let too_few_files = files::raise_limit(&plan).filter(|_| asks_for_more);
        shared.snapshot.store(Arc::clone(&snapshot));
        if users.is_none() {
            shared.reloads.note_takes_restart(&takes_restart);
        }
        snapshot.upstreams.iter().for_each(|upstream| upstream.bound());
        self.kit.plan = plan;
        let retired = self.kit.checkers.watch(&snapshot.upstreams);
        let now = shared.clock.now();
        let followed = people::follow(&shared, now).await;
        let Followed { ended, changed, failed } = followed.unwrap_or(Followed { failed: 1, ..Followed::default() });
        if failed > 0 {
            tracing::error!(
                "users have changed, and for {failed} sessions of theirs this could not be written down: it holds, and is \
                 tried again, but a restart before the session store works again would bring back what was; reload then"
            );
        }
        retired.stop(&shared.metrics).await;
        if let Some(Err(error)) = match resealed {
            Some(resealed) => Some(resealed.await),
            None => None,
        } {
            tracing::error!("{error}: keep the former keys until it works again and everybody has signed in anew");
        }
        let key_gone = key_gone(&former.ring, &snapshot.ring).or_else(|| key_gone_of_tenant(&former, &snapshot));
        let version = snapshot.version;
        let reloaded = Reloaded { version, takes_restart, ended, changed, unwritten: failed, too_few_files, key_gone };
        tell(&shared, &reloaded, cause, users);
        Ok(reloaded)
    }
}

/// Refuses users who are all gone at once. Sessions follow the users, and an editor that empties a file before it writes it
/// would sign everybody out, should it take a second for that.
fn emptied(in_force: &Plan, next: &Plan) -> Result<(), String> {
    let before_of = |tenant| in_force.local_users().find(|(other, _)| *other == tenant).map(|(_, before)| before);
    let is_emptied = |tenant, now: &LocalUsers| {
        now.users.is_empty() && before_of(tenant).is_some_and(|before| !before.users.is_empty())
    };
    let Some((_, now)) = next.local_users().find(|(tenant, now)| is_emptied(*tenant, now)) else { return Ok(()) };
    let file = now.file.display();
    Err(format!(
        "{file}: nobody is in it any more, and everybody would be signed out; the users of before stay\n      = a file that is \
         just being written looks like this. If you mean it, put them back and disable them (vestibule user disable NAME \
         --users {file}), or restart the gateway, which takes a users file with nobody in it"
    ))
}

/// Who had it read again.
fn asked_by(cause: &Cause) -> AuditFields<'_> {
    AuditFields { client: cause.client, by: Some(&cause.by), ..AuditFields::default() }
}

fn tell(shared: &Shared, reloaded: &Reloaded, cause: &Cause, users: Option<&Path>) {
    let Reloaded { version, takes_restart, ended, changed, unwritten: _, too_few_files, key_gone } = reloaded;
    let reason = format!("version_{version}");
    let fields = AuditFields { reason: Some(&reason), ..asked_by(cause) };
    match users {
        None => {
            Metrics::count(&shared.metrics.reloads, "taken");
            shared.audit(AuditEvent::ConfigurationReloaded, fields);
            let why = &cause.words;
            tracing::info!("the configuration was read again, {why}, and is in force (version {version})");
        }
        Some(file) => {
            Metrics::count(&shared.metrics.reloads, "users_taken");
            shared.audit(AuditEvent::UsersReloaded, fields);
            let file = file.display();
            tracing::warn!(
                "the users in {file} have changed and were taken (version {version}); the configuration is still the one of \
                 before, because the one on disk cannot be used"
            );
        }
    }
    if ended + changed > 0 {
        tracing::info!("users have changed: sessions ended: {ended}, with other rights: {changed}");
    }
    if !takes_restart.is_empty() {
        tracing::warn!("these have changed, and take a restart: {}", takes_restart.join(", "));
    }
    for said in [too_few_files, key_gone].into_iter().flatten() {
        tracing::warn!("{said}");
    }
}

/// The keys of a plan. Those that the gateway has in memory alone stay, and so do those that have not changed.
fn ring(plan: &Plan, in_force: &Plan, former: &Arc<KeyRing>, shared: &Shared) -> Result<Arc<KeyRing>, String> {
    if plan.keys.is_none() && in_force.keys.is_none() && plan.own_keys().is_none() {
        return Ok(Arc::clone(former));
    }
    let ring = app::key_ring(plan, &shared.random, app::Moment::Reload)?;
    Ok(if ring.ids().eq(former.ids()) { Arc::clone(former) } else { Arc::new(ring) })
}

/// Leaves where the operator is listened to as it is, and says which key of it was to change.
fn keep_door(running: Option<&Place>, next: &mut Option<Place>, kept: &mut Vec<&'static str>) {
    let (before, after) = (running, next.as_ref());
    if before == after {
        return;
    }
    match (before, after) {
        (
            Some(Place::Tcp { address, token, hosts }),
            Some(Place::Tcp { address: next_address, token: next_token, hosts: next_hosts }),
        ) => {
            let changed = [
                (address != next_address, "admin.listen"),
                (token != next_token, "admin.token"),
                (hosts != next_hosts, "admin.hosts"),
            ];
            kept.extend(changed.into_iter().filter_map(|(has_changed, key)| has_changed.then_some(key)));
        }
        (None | Some(Place::Unix(_) | Place::Tcp { .. }), None | Some(Place::Unix(_) | Place::Tcp { .. })) => {
            kept.push("admin.listen");
        }
    }
    *next = running.cloned();
}

/// What is to be said when the key that sealed until now is gone, as it is once somebody has put another file in the place
/// of the keys instead of a key in front of them.
fn key_gone(former: &KeyRing, now: &KeyRing) -> Option<String> {
    let sealed = former.active();
    (!now.ids().any(|id| id == sealed)).then(|| {
        format!(
            "the key that sealed until now is not among the keys any more (its id: {}): no cookie of before opens, so that \
             everybody signs in again. If that is not what you want, put it back behind the new one and reload: the stored \
             sessions are kept, sealed anew under the new key. \"vestibule keygen --into FILE\" puts a key in front of those \
             that are there",
            shown(sealed)
        )
    })
}

/// The same of the keys that a tenant has of its own.
fn key_gone_of_tenant(former: &Snapshot, now: &Snapshot) -> Option<String> {
    let own = now.tenants().filter(|tenant| !Arc::ptr_eq(&tenant.ring, &now.ring));
    own.into_iter().find_map(|tenant| {
        let said = key_gone(&former.tenant_named(tenant.id)?.ring, &tenant.ring)?;
        Some(format!("at the tenant \"{}\": {said}", tenant.id.name()))
    })
}

/// Leaves what cannot change while the gateway runs as it is, and says what that was: ports are open already, threads
/// run, files are held.
fn keep_what_takes_a_restart(running: &Plan, next: &mut Plan) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(running: &T, next: &mut T, key: &'static str, kept: &mut Vec<&'static str>) {
        if running != next {
            next.clone_from(running);
            kept.push(key);
        }
    }
    let mut kept = Vec::new();
    keep(&running.server.listen, &mut next.server.listen, "server.listen", &mut kept);
    keep(&running.server.redirect, &mut next.server.redirect, "server.redirect", &mut kept);
    keep(&running.server.acme_challenges, &mut next.server.acme_challenges, "server.acme_challenges", &mut kept);
    keep(&running.server.workers, &mut next.server.workers, "server.workers", &mut kept);
    keep(&running.server.user, &mut next.server.user, "server.user", &mut kept);
    keep_door(running.admin.listen.as_ref(), &mut next.admin.listen, &mut kept);
    keep(&running.admin.metrics, &mut next.admin.metrics, "admin.metrics", &mut kept);
    keep(&running.session.store, &mut next.session.store, "session.store", &mut kept);
    keep(&running.log.format, &mut next.log.format, "log.format", &mut kept);
    keep(&running.log.access, &mut next.log.access, "log.access", &mut kept);
    keep(&running.log.audit, &mut next.log.audit, "log.audit", &mut kept);
    // By the store that is in use.
    let known: HashSet<PathBuf> = next.files.iter().map(|seen| seen.file.clone()).collect();
    next.files.extend(next.own_keys().filter(|own| !known.contains(own)).map(|own| Seen::now(&own)));
    kept
}
