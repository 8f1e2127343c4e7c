//! Logins through GitHub.

mod api;
mod config;
mod login;
mod state;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::Semaphore;

use super::secret_file;
use crate::https_client::HttpsClient;

pub(super) use config::GithubConfig;
pub(super) use login::routes;

/// The name of the file in the secrets directory.
const FILE: &str = "github.json";

/// The maximum number of logins that can wait for GitHub at the same time.
const PARALLEL: usize = 16;

/// The settings for logging in through GitHub, and the client for calling GitHub.
pub(super) struct Github {
    path: PathBuf,
    config: RwLock<Option<Arc<GithubConfig>>>,
    /// The client. It is created on first login, because it cannot be created on a system without
    /// root certificates.
    client: OnceLock<HttpsClient>,
    logins: Semaphore,
}

impl Github {
    /// Reads the settings. If the file does not exist, users cannot log in through GitHub.
    ///
    /// # Errors
    /// Returns an error if the file is malformed or if other users of the system can read it.
    pub(super) fn open(directory: &Path) -> io::Result<Github> {
        let path = directory.join(FILE);
        let config = match secret_file::read(&path)? {
            None => None,
            Some(text) => Some(Arc::new(GithubConfig::parse(&text).map_err(|reason| {
                let message = format!("{}: {reason}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?)),
        };
        Ok(Github {
            path,
            config: RwLock::new(config),
            client: OnceLock::new(),
            logins: Semaphore::new(PARALLEL),
        })
    }

    pub(super) fn is_configured(&self) -> bool {
        self.config.read().is_some()
    }

    pub(super) fn config(&self) -> Option<Arc<GithubConfig>> {
        self.config.read().clone()
    }

    /// Replaces or removes the settings.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written. In this case, the old settings remain in
    /// use.
    pub(super) fn set(&self, config: Option<GithubConfig>) -> io::Result<()> {
        let mut current = self.config.write();
        match &config {
            Some(config) => secret_file::write(&self.path, &serde_json::to_vec_pretty(config)?)?,
            None => match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(secret_file::named(&self.path, error));
                }
                _ => {}
            },
        }
        *current = config.map(Arc::new);
        Ok(())
    }

    fn client(&self) -> io::Result<&HttpsClient> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = HttpsClient::new()?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl std::fmt::Debug for Github {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Github").field("configured", &self.is_configured()).finish_non_exhaustive()
    }
}
