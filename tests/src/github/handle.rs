//! The state, the faults, the limits and the log, as tests use them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::actor::Actor;
use super::faults::Fault;
use super::log::Record;
use super::outbox::{Delivered, DeliveryFault};
use super::person::Repository;
use super::shared::Shared;
use super::state::{App, Installation, Token, TokenOwner};
use super::{apps, server};
use crate::TIMEOUT;

/// The login that tokens have and that may write to every repository, unless the test says
/// otherwise.
pub const BOT: &str = "datakit-bot";

/// Access to a running fake. Clones share its state. After the fake has stopped, the state can
/// still be read.
#[derive(Clone)]
pub struct GitHub {
    pub(crate) shared: Arc<Shared>,
}

impl GitHub {
    /// The root of the API, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// The root of the same API as an Enterprise server has it.
    pub fn enterprise_url(&self) -> String {
        format!("{}{}", self.url(), server::ENTERPRISE)
    }

    /// The root of the control interface, which offers these methods to other programs.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.shared.control)
    }

    /// A new token of [`BOT`].
    pub fn token(&self) -> String {
        self.token_of(BOT, None, false)
    }

    /// A new token of a person. It ends after `life`, and may only read if `read_only`.
    pub fn token_of(&self, login: &str, life: Option<Duration>, read_only: bool) -> String {
        self.shared.change(|world| {
            let owner = TokenOwner::User(world.user(login));
            let expires = life.map(|life| world.now() + life.as_secs() as i64);
            apps::new_token(world, "ghp", Token { owner, expires, read_only })
        })
    }

    /// Makes a token unusable.
    pub fn revoke(&self, token: &str) {
        self.shared.change(|world| world.tokens.remove(token));
    }

    /// Creates a repository with the full name `OWNER/NAME`. Its branch `master` has one commit,
    /// and its owner and [`BOT`] may write.
    pub fn create(&self, full_name: &str) -> Repository {
        let (owner, name) = full_name.split_once('/').expect("a name of the form OWNER/NAME");
        let id = self.shared.change(|world| world.create_repo(owner, name, BOT));
        Repository { shared: self.shared.clone(), id }
    }

    /// Finds a repository by its present or former name.
    pub fn repository(&self, full_name: &str) -> Option<Repository> {
        let (owner, name) = full_name.split_once('/')?;
        let id = self.shared.world.lock().find(owner, name)?.id;
        Some(Repository { shared: self.shared.clone(), id })
    }

    /// Registers a GitHub App that may read and write everything that the fake has. Returns its
    /// number. Its private key is [`GitHub::app_key`].
    pub fn create_app(&self, slug: &str) -> u64 {
        let all = [
            "administration",
            "checks",
            "contents",
            "issues",
            "pull_requests",
            "repository_hooks",
            "statuses",
        ];
        let mut permissions: BTreeMap<_, _> =
            all.map(|name| (name.to_string(), "write".to_string())).into();
        permissions.insert("metadata".into(), "read".into());
        self.shared.change(|world| {
            let (id, created) = (world.id(), world.now());
            let owner = world.user(BOT);
            let (key, events) = (apps::public_key(apps::KEY), Vec::new());
            let app =
                App { id, slug: slug.into(), owner, key, permissions, events, hook: None, created };
            world.apps.insert(id, app);
            id
        })
    }

    /// Sets one permission of an app to `read`, to `write`, or to nothing.
    pub fn set_permission(&self, app: u64, name: &str, level: Option<&str>) {
        self.shared.change(|world| {
            let permissions = &mut world.apps.get_mut(&app).expect("an app").permissions;
            permissions.remove(name);
            permissions.extend(level.map(|level| (name.to_string(), level.to_string())));
        });
    }

    /// Sets the webhook of an app and the events that it gets.
    pub fn set_app_hook(&self, app: u64, url: &str, secret: &str, events: &[&str]) {
        self.shared.change(|world| {
            let app = world.apps.get_mut(&app).expect("an app");
            app.hook = Some((url.into(), secret.into()));
            app.events = events.iter().map(|event| event.to_string()).collect();
        });
    }

    /// Installs an app for some repositories of an account, or for all. Returns the number of the
    /// installation.
    pub fn install(&self, app: u64, account: &str, repos: Option<&[&Repository]>) -> u64 {
        let repos = repos.map(|repos| repos.iter().map(|repo| repo.id).collect());
        self.shared.change(|world| {
            let (id, created, account) = (world.id(), world.now(), world.user(account));
            world.installations.insert(id, Installation { id, app, account, repos, created });
            id
        })
    }

    /// Removes an installation. Its tokens stop working.
    pub fn uninstall(&self, installation: u64) {
        self.shared.change(|world| {
            world.installations.remove(&installation);
            let of_it = |token: &Token| matches!(token.owner, TokenOwner::Installation(id) if id == installation);
            world.tokens.retain(|_, token| !of_it(token));
        });
    }

    /// The private key of every app, in the form of PEM.
    pub fn app_key(&self) -> &'static str {
        apps::KEY
    }

    /// Lets a fault hit the next `times` calls that match a pattern, in which `*` stands for any
    /// text. A call has the form `GET /repos/a/b/pulls?state=open`, also on an Enterprise server.
    pub fn fault(&self, pattern: &str, fault: Fault, times: u32) {
        self.fault_after(0, pattern, fault, times);
    }

    /// Like [`fault`](Self::fault), but first lets `skip` matching calls pass.
    pub fn fault_after(&self, skip: u32, pattern: &str, fault: Fault, times: u32) {
        self.shared.change(|world| world.faults.add(pattern, fault, skip, times));
    }

    /// Lets a fault hit the next `times` deliveries of an event, or of all events with `*`.
    pub fn fault_delivery(&self, event: &str, fault: DeliveryFault, times: u32) {
        self.shared.change(|world| world.outbox.fault(event, fault, times));
    }

    /// Ends all faults, and delivers the events that wait for a later one.
    pub fn heal(&self) {
        self.shared.change(|world| {
            world.faults.clear();
            world.outbox.clear_faults();
            let _ = world.outbox.release();
        });
    }

    /// Sets the primary limit in calls an hour of each token.
    pub fn limit(&self, hourly: u32) {
        self.shared.change(|world| world.limits.hourly = hourly);
    }

    /// Sets the secondary limit: points a minute, of which a change has 5. There is none at first.
    pub fn limit_points(&self, points: Option<u32>) {
        self.shared.change(|world| world.limits.points = points);
    }

    /// Uses up the primary limit of all tokens that have made a call, except `left` calls, for some
    /// time.
    pub fn exhaust(&self, left: u32, time: Duration) {
        self.shared.change(|world| {
            let now = world.now();
            world.limits.exhaust(left, now, time.as_secs() as i64);
        });
    }

    /// Moves the clock of the fake forward.
    pub fn advance(&self, time: Duration) {
        self.shared.change(|world| world.skew += time.as_secs() as i64);
    }

    /// The calls of [`BOT`] that the primary limit has counted in the current hour. An answer of
    /// 304 does not count.
    pub fn used(&self) -> u32 {
        let mut world = self.shared.world.lock();
        let now = world.now();
        let tokens = [Actor::User(BOT.into(), false), Actor::User(BOT.into(), true)];
        tokens.iter().map(|actor| world.limits.used(actor, now)).sum()
    }

    /// The calls since the last [`forget_calls`](Self::forget_calls). Keeps the last 10,000.
    pub fn calls(&self) -> Vec<Record> {
        self.shared.world.lock().log.records.iter().cloned().collect()
    }

    /// The number of calls of each route, such as `GET /repos/{owner}/{repo}/pulls`, since the last
    /// [`forget_calls`](Self::forget_calls).
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.shared.world.lock().log.counts.clone()
    }

    /// The most calls that were running at the same time, and the most of those with an effect.
    pub fn peaks(&self) -> (usize, usize) {
        let world = self.shared.world.lock();
        (world.log.peak, world.log.peak_writes)
    }

    /// Empties the log of calls and of deliveries.
    pub fn forget_calls(&self) {
        self.shared.change(|world| {
            world.log.clear();
            world.outbox.delivered.clear();
        });
    }

    /// The deliveries since the last [`forget_calls`](Self::forget_calls). Keeps the last 10,000.
    pub fn deliveries(&self) -> Vec<Delivered> {
        self.shared.world.lock().outbox.delivered.iter().cloned().collect()
    }

    /// The number of events that were lost because too many waited for their delivery. A test that
    /// expects all events checks that it is 0.
    pub fn lost(&self) -> u64 {
        self.shared.world.lock().outbox.lost
    }

    /// Waits until all events are delivered, including those that wait for a later event.
    pub async fn settle(&self) {
        self.until("all events are delivered", |github| {
            let mut world = github.shared.world.lock();
            if !world.outbox.settled() {
                return false;
            }
            let released = world.outbox.release();
            if released {
                github.shared.outgoing.notify_one();
            }
            !released
        })
        .await;
    }

    /// Waits until a condition holds. Checks it after each call, change and delivery. Fails the
    /// test after [`TIMEOUT`] with the message `what`.
    pub async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if is_so(self) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(TIMEOUT, wait).await;
        assert!(waited.is_ok(), "not within {TIMEOUT:?}: {what}");
    }

    /// Like [`until`](Self::until), for tests without a runtime.
    pub fn until_blocking(&self, what: &str, is_so: impl FnMut(&Self) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.until(what, is_so));
    }
}
