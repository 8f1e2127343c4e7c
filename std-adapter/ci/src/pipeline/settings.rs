//! The settings of the operator: what the steps of a pipeline may use.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::caches::Caches;
use super::plan::Task;
use super::trust::Trust;
use crate::build::LogLimits;
use crate::command::{Image, Sandbox};
use crate::pool::Pools;

/// The capacity of the pool for steps that name no pool.
const DEFAULT_CAPACITY: usize = 4;

/// The name of the pool for steps that name no pool.
pub const DEFAULT_POOL: &str = "steps";

/// What the steps of a pipeline may use.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The secrets by name. Only the steps of trusted commits receive them.
    pub secrets: BTreeMap<String, String>,
    /// The images by the names that pipelines use.
    pub images: BTreeMap<String, Image>,
    /// The directory for images that `podman` downloads. If it is set, pipelines may use any image.
    pub podman: Option<PathBuf>,
    /// Additional environment variables of all steps, for example `RUSTUP_HOME`. A step may replace
    /// them.
    pub env: BTreeMap<String, String>,
    /// The caches. If there are none, the caches of steps have no effect.
    pub caches: Option<Caches>,
    /// The pools. A step that names a pool which does not exist fails.
    pub pools: Pools,
    /// The sandbox of steps on the host. The image and the network are set for each step. Hide the
    /// directories that steps must not read, for example those with secrets. Without a sandbox, a
    /// step can read and change everything that this process can.
    pub sandbox: Sandbox,
    /// Whether the steps of commits that are not trusted may use the network. The network is the
    /// network of the host, so they can then reach services that only the host can reach.
    pub untrusted_network: bool,
    /// The limits of the log of a step.
    pub log: LogLimits,
}

impl Default for Settings {
    /// Returns settings with the sandbox and one pool of four places, and without anything else.
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
            untrusted_network: false,
            log: LogLimits::default(),
        }
    }
}

impl Settings {
    /// Returns the texts that must not occur in logs: the secrets, and each line of a secret that has
    /// several lines, because programs often print only one of them.
    pub(super) fn masked(&self) -> Vec<String> {
        let lines = self.secrets.values().flat_map(|secret| secret.lines());
        let lines = lines.filter(|line| line.len() >= 4).map(str::to_owned);
        self.secrets.values().cloned().chain(lines).collect()
    }

    /// Returns the values of the secrets that a task names.
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
