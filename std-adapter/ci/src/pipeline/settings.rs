//! The operator's settings: what the steps of a pipeline can use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::caches::Caches;
use super::encodings::encodings;
use super::plan::Task;
use super::trust::Trust;
use crate::build::LogLimits;
use crate::command::{Image, Limits, Sandbox};
use crate::pool::Pools;

/// The capacity of the default pool.
const DEFAULT_CAPACITY: usize = 4;

/// The name of the default pool, for steps that do not set a pool.
pub const DEFAULT_POOL: &str = "steps";

/// The resources that the steps of a pipeline can use.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The secrets, keyed by name. Only the steps of trusted commits receive them.
    pub secrets: BTreeMap<String, String>,
    /// The images, keyed by the names that pipelines use.
    pub images: BTreeMap<String, Image>,
    /// The directory for images downloaded by `podman`. If this is set, pipelines can use any
    /// image.
    pub podman: Option<PathBuf>,
    /// Additional environment variables for all steps, for example `RUSTUP_HOME`. A step can
    /// override them.
    pub env: BTreeMap<String, String>,
    /// The caches. If this is `None`, step caches have no effect.
    pub caches: Option<Caches>,
    /// The pools. A step that names a nonexistent pool fails.
    pub pools: Pools,
    /// The sandbox for steps on the host. The image and network access are set for each step. Hide
    /// directories that steps must not read, for example those that contain secrets. Without a
    /// sandbox, a step can read and change everything that this process can.
    pub sandbox: Sandbox,
    /// The upper limits on the resources of steps of untrusted commits. Without them, anybody could
    /// exhaust the host's memory and processing power, because a pull request can change the
    /// pipeline.
    pub untrusted_limits: Limits,
    /// The maximum time limit for steps of untrusted commits.
    pub untrusted_timeout: Duration,
    /// Whether steps of untrusted commits can use the network. This is the host's network, so the
    /// steps can then reach services that are accessible only from the host.
    pub untrusted_network: bool,
    /// The limits for a step's log.
    pub log: LogLimits,
}

impl Default for Settings {
    /// Returns settings that contain only a sandbox and the default pool.
    fn default() -> Settings {
        let pools = Pools::new();
        let _ = pools.get_or_add(DEFAULT_POOL, DEFAULT_CAPACITY);
        Settings {
            secrets: BTreeMap::new(),
            images: BTreeMap::new(),
            env: BTreeMap::new(),
            caches: None,
            pools,
            podman: None,
            sandbox: Sandbox::default(),
            untrusted_limits: Limits::default(),
            untrusted_timeout: Duration::from_secs(3600),
            untrusted_network: false,
            log: LogLimits::default(),
        }
    }
}

impl Settings {
    /// Returns the strings that must not occur in logs: the secrets, their usual encodings, and
    /// each line of a multi-line secret, because programs often print a single line.
    pub(super) fn masked(&self) -> Vec<String> {
        let lines = self.secrets.values().flat_map(|secret| secret.lines());
        let lines = lines.filter(|line| line.len() >= 4).map(str::to_owned);
        let encoded = self.secrets.values().flat_map(|secret| encodings(secret));
        self.secrets.values().cloned().chain(lines).chain(encoded).collect()
    }

    /// Returns the values of the secrets named by a task.
    ///
    /// # Errors
    /// Returns a message that names a missing secret.
    pub(super) fn secrets_of(
        &self,
        task: &Task,
        trust: Trust,
    ) -> Result<Vec<(String, String)>, String> {
        if trust == Trust::Untrusted {
            return Ok(Vec::new());
        }
        let value = |name: &String| match self.secrets.get(name) {
            Some(value) => Ok((name.clone(), value.clone())),
            None => Err(format!("the secret `{name}` is not defined on this server")),
        };
        task.step.secrets.iter().map(value).collect()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("secrets", &self.secrets.keys())
            .field("images", &self.images.keys())
            .field("sandbox", &self.sandbox)
            .finish_non_exhaustive()
    }
}
