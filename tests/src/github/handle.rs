//! A handle through which tests access the state, faults, limits and log of a fake server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::actor::Actor;
use super::faults::Fault;
use super::inner::FakeInner;
use super::log::Record;
use super::outbox::{Delivered, DeliveryFault};
use super::person::Repository;
use super::state::{App, Installation, Token, TokenOwner};
use super::{apps, server};
use crate::TIMEOUT;

/// The default login for tokens. This login has write access to every repository by default.
pub const BOT: &str = "datakit-bot";

/// A handle to a running fake server. Clones refer to the same server. The state remains readable
/// after the server has stopped.
#[derive(Clone)]
pub struct GitHub {
    pub(crate) shared: Arc<FakeInner>,
}

impl GitHub {
    /// Returns the root URL of the API, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// Returns the root URL of the API in the form used by an Enterprise server.
    pub fn enterprise_url(&self) -> String {
        format!("{}{}", self.url(), server::ENTERPRISE)
    }

    /// Returns the root URL of the control interface, through which other programs can use these
    /// methods.
    pub fn control_url(&self) -> String {
        format!("http://{}", self.shared.control)
    }

    /// Creates a token for [`BOT`].
    pub fn token(&self) -> String {
        self.token_of(BOT, None, false)
    }

    /// Creates a token for a person. The token expires after `life` and is read-only if `read_only`
    /// is set.
    pub fn token_of(&self, login: &str, life: Option<Duration>, read_only: bool) -> String {
        self.shared.change(|world| {
            let owner = TokenOwner::User(world.user(login));
            let expires = life.map(|life| world.now() + life.as_secs() as i64);
            apps::new_token(world, "ghp", Token { owner, expires, read_only })
        })
    }

    /// Revokes a token.
    pub fn revoke(&self, token: &str) {
        self.shared.change(|world| world.tokens.remove(token));
    }

    /// Creates a repository with the full name `OWNER/NAME`. The `master` branch contains one
    /// commit, and the owner and [`BOT`] have write access.
    pub fn create(&self, full_name: &str) -> Repository {
        let (owner, name) = full_name.split_once('/').expect("a name of the form OWNER/NAME");
        let id = self.shared.change(|world| world.create_repo(owner, name, BOT));
        Repository { shared: self.shared.clone(), id }
    }

    /// Finds a repository by its current or former name.
    pub fn repository(&self, full_name: &str) -> Option<Repository> {
        let (owner, name) = full_name.split_once('/')?;
        let id = self.shared.world.lock().find(owner, name)?.id;
        Some(Repository { shared: self.shared.clone(), id })
    }

    /// Registers a GitHub App with all permissions that the fake supports. Returns the app's id.
    /// [`GitHub::app_key`] returns the app's private key.
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

    /// Sets a permission of an app to `read` or `write`, or removes the permission.
    pub fn set_permission(&self, app: u64, name: &str, level: Option<&str>) {
        self.shared.change(|world| {
            let permissions = &mut world.apps.get_mut(&app).expect("an app").permissions;
            permissions.remove(name);
            permissions.extend(level.map(|level| (name.to_string(), level.to_string())));
        });
    }

    /// Sets an app's webhook and the events that the webhook receives.
    pub fn set_app_hook(&self, app: u64, url: &str, secret: &str, events: &[&str]) {
        self.shared.change(|world| {
            let app = world.apps.get_mut(&app).expect("an app");
            app.hook = Some((url.into(), secret.into()));
            app.events = events.iter().map(|event| event.to_string()).collect();
        });
    }

    /// Installs an app for some or all of an account's repositories. Returns the installation's id.
    pub fn install(&self, app: u64, account: &str, repos: Option<&[&Repository]>) -> u64 {
        let repos = repos.map(|repos| repos.iter().map(|repo| repo.id).collect());
        self.shared.change(|world| {
            let (id, created, account) = (world.id(), world.now(), world.user(account));
            world.installations.insert(id, Installation { id, app, account, repos, created });
            id
        })
    }

    /// Removes an installation and invalidates its tokens.
    pub fn uninstall(&self, installation: u64) {
        self.shared.change(|world| {
            world.installations.remove(&installation);
            let of_it = |token: &Token| matches!(token.owner, TokenOwner::Installation(id) if id == installation);
            world.tokens.retain(|_, token| !of_it(token));
        });
    }

    /// Returns the private key shared by all apps, in PEM format.
    pub fn app_key(&self) -> &'static str {
        apps::KEY
    }

    /// Applies a fault to the next `times` calls that match a pattern. In the pattern, `*` matches
    /// any text. The pattern is compared with text such as `GET /repos/a/b/pulls?state=open`, which
    /// does not include the base path of an Enterprise server.
    pub fn fault(&self, pattern: &str, fault: Fault, times: u32) {
        self.fault_after(0, pattern, fault, times);
    }

    /// Like [`fault`](Self::fault), but first skips `skip` matching calls.
    pub fn fault_after(&self, skip: u32, pattern: &str, fault: Fault, times: u32) {
        self.shared.change(|world| world.faults.add(pattern, fault, skip, times));
    }

    /// Applies a fault to the next `times` deliveries of an event, or of any event if `event` is
    /// `*`.
    pub fn fault_delivery(&self, event: &str, fault: DeliveryFault, times: u32) {
        self.shared.change(|world| world.outbox.fault(event, fault, times));
    }

    /// Removes all faults and delivers any events that are being held back.
    pub fn heal(&self) {
        self.shared.change(|world| {
            world.faults.clear();
            world.outbox.clear_faults();
            let _ = world.outbox.release();
        });
    }

    /// Sets the primary rate limit of each token, in calls per hour.
    pub fn limit(&self, hourly: u32) {
        self.shared.change(|world| world.limits.hourly = hourly);
    }

    /// Sets the secondary rate limit, in points per minute. A call that modifies data costs 5
    /// points. By default, there is no secondary limit.
    pub fn limit_points(&self, points: Option<u32>) {
        self.shared.change(|world| world.limits.points = points);
    }

    /// Uses up the primary rate limit of each token used so far, except for `left` calls. The limit
    /// resets after `time`.
    pub fn exhaust(&self, left: u32, time: Duration) {
        self.shared.change(|world| {
            let now = world.now();
            world.limits.exhaust(left, now, time.as_secs() as i64);
        });
    }

    /// Moves the fake's clock forward.
    pub fn advance(&self, time: Duration) {
        self.shared.change(|world| world.skew += time.as_secs() as i64);
    }

    /// Returns the number of calls by [`BOT`] that count against the primary rate limit in the
    /// current hour. Calls with response status 304 do not count.
    pub fn used(&self) -> u32 {
        let mut world = self.shared.world.lock();
        let now = world.now();
        let tokens = [Actor::User(BOT.into(), false), Actor::User(BOT.into(), true)];
        tokens.iter().map(|actor| world.limits.used(actor, now)).sum()
    }

    /// Returns the calls made since the last [`forget_calls`](Self::forget_calls), but at most the
    /// newest 10,000.
    pub fn calls(&self) -> Vec<Record> {
        self.shared.world.lock().log.records.iter().cloned().collect()
    }

    /// Returns the number of calls to each route since the last
    /// [`forget_calls`](Self::forget_calls). A route has the form `GET
    /// /repos/{owner}/{repo}/pulls`.
    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.shared.world.lock().log.counts.clone()
    }

    /// Returns the peak number of concurrent calls, and the peak number of concurrent calls that
    /// modify data.
    pub fn peaks(&self) -> (usize, usize) {
        let world = self.shared.world.lock();
        (world.log.peak, world.log.peak_writes)
    }

    /// Clears the logs of calls and deliveries.
    pub fn forget_calls(&self) {
        self.shared.change(|world| {
            world.log.clear();
            world.outbox.delivered.clear();
        });
    }

    /// Returns the deliveries made since the last [`forget_calls`](Self::forget_calls), but at most
    /// the newest 10,000.
    pub fn deliveries(&self) -> Vec<Delivered> {
        self.shared.world.lock().outbox.delivered.iter().cloned().collect()
    }

    /// Returns the number of events that were lost because the queue was full. A test that expects
    /// to receive all events should check that this number is 0.
    pub fn lost(&self) -> u64 {
        self.shared.world.lock().outbox.lost
    }

    /// Waits until all events have been delivered, including any events that are being held back.
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

    /// Waits until a condition holds. The condition is checked after each call, change and
    /// delivery. If the condition does not hold within [`TIMEOUT`], the test fails with the message
    /// `what`.
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

    /// Like [`until`](Self::until), but intended for tests without a runtime.
    pub fn until_blocking(&self, what: &str, is_so: impl FnMut(&Self) -> bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.until(what, is_so));
    }
}
