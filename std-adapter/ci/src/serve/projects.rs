//! The repositories under test: their clones and step settings.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datakit_ci::command::Image;
use datakit_ci::git::{Repository, RepositoryOptions};
use datakit_ci::pipeline::{Caches, GitCheckout, Request, Settings, Source};
use datakit_client::db::Db;
use datakit_github::{Commit, Repo, read_clone_url};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::AnyError;
use super::session::Server;
use crate::chain;
use crate::config::ProjectConfig;

/// The maximum size of a secret in bytes.
const SECRET_MAX: u64 = 64 << 10;

/// The clones of all repositories. They are kept when the database connection is lost.
#[derive(Default)]
pub(super) struct Clones {
    dir: PathBuf,
    open: Mutex<BTreeMap<Repo, Arc<OnceCell<Repository>>>>,
}

impl Clones {
    /// Stores the clones in subdirectories of `dir`.
    pub(super) fn new(dir: &Path) -> Clones {
        Clones { dir: dir.to_owned(), open: Mutex::default() }
    }

    /// Returns the source of a repository. The repository is cloned when its first commit is
    /// needed, because the bridge might not have found its URL before.
    pub(super) fn source(&self, repo: &Repo, given: &Given, db: &Db, branch: &str) -> LazyClone {
        LazyClone {
            clone: self.open.lock().entry(repo.clone()).or_default().clone(),
            dir: self.dir.join(repo.user()).join(repo.name()),
            repo: repo.clone(),
            given: given.clone(),
            db: db.clone(),
            branch: branch.to_owned(),
        }
    }
}

/// The location of a repository, as specified by the operator.
#[derive(Clone, Default)]
pub(super) struct Given {
    /// The path or URL.
    url: Option<String>,
    /// The `Authorization` header for requests to the URL.
    authorization: Option<String>,
}

impl Given {
    /// Reads the authorization file, if there is one.
    pub(super) fn new(
        repo: &Repo,
        config: &ProjectConfig,
        secrets_dir: &Path,
    ) -> Result<Given, AnyError> {
        let Some(file) = &config.authorization_file else {
            return Ok(Given { url: config.source.clone(), authorization: None });
        };
        if config.source.is_none() {
            // Otherwise, a client of the database could choose who receives the secret.
            let text = "authorization-file also requires source";
            return Err(format!("project {repo}: {text}").into());
        }
        let file = secrets_dir.join(file);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Given { url: config.source.clone(), authorization: Some(text.trim().to_owned()) })
    }
}

/// A repository that is cloned when its first commit is needed.
pub(super) struct LazyClone {
    clone: Arc<OnceCell<Repository>>,
    dir: PathBuf,
    repo: Repo,
    given: Given,
    db: Db,
    branch: String,
}

impl LazyClone {
    async fn repository(&self) -> Result<&Repository, String> {
        let opened = self.clone.get_or_try_init(async || {
            let url = match &self.given.url {
                Some(url) => url.clone(),
                None => self.found_url().await.map_err(|error| format!("database: {error}"))?,
            };
            let mut options = RepositoryOptions::default();
            options.authorization.clone_from(&self.given.authorization);
            let opened = Repository::open_with(&url, &self.dir, options).await;
            opened.map_err(|error| chain(&error))
        });
        opened.await
    }

    /// Returns the URL that the bridge found, or the repository's GitHub URL.
    async fn found_url(&self) -> datakit_client::db::Result<String> {
        let branch = self.db.branch(&self.branch).await?;
        let found = match branch.head().await? {
            Some(head) => read_clone_url(&head.tree(), &self.repo).await?,
            None => None,
        };
        Ok(found.unwrap_or_else(|| format!("https://github.com/{}.git", self.repo)))
    }
}

impl Source for LazyClone {
    type Checkout = GitCheckout;

    async fn read_file(
        &self,
        request: &Request<'_>,
        path: &str,
        max: usize,
    ) -> Result<Option<Vec<u8>>, String> {
        Source::read_file(self.repository().await?, request, path, max).await
    }

    async fn changed_paths(
        &self,
        request: &Request<'_>,
        branch: &str,
        base: &Commit,
        max: usize,
    ) -> Result<Option<Vec<String>>, String> {
        Source::changed_paths(self.repository().await?, request, branch, base, max).await
    }

    async fn checkout(&self, request: &Request<'_>) -> Result<GitCheckout, String> {
        self.repository().await?.checkout(request).await
    }
}

/// Returns the settings for a repository's steps. Secrets and caches that cannot be read are left
/// out, and the reason is logged.
pub(super) fn step_settings(server: &Server, repo: &Repo) -> Settings {
    let mut settings = Settings::default();
    settings.pools = server.pools.clone();
    settings.sandbox = server.sandbox.clone();
    let images = server.config.images.iter();
    let images = images.map(|(name, dir)| (name.clone(), Image::Directory(dir.clone())));
    settings.images = images.collect();
    settings.podman = Some(server.work_dir.join("images"));
    settings.env.clone_from(&server.config.env);
    settings.log = server.config.logs.limits();
    let secrets = server.secrets_dir.join("projects").join(repo.user()).join(repo.name());
    match read_secrets(&secrets) {
        Ok(secrets) => settings.secrets = secrets,
        Err(error) => {
            tracing::warn!(dir = %secrets.display(), %error, "the secrets cannot be read");
        }
    }
    let caches = server.work_dir.join("caches").join(repo.user()).join(repo.name());
    match Caches::open(&caches) {
        Ok(caches) => settings.caches = Some(caches),
        Err(error) => tracing::warn!(dir = %caches.display(), %error, "caches are not available"),
    }
    settings
}

/// Reads the secrets of a repository. Each file in the directory contains one secret.
fn read_secrets(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut secrets = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(secrets),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = std::fs::metadata(entry.path())?;
        if !found.is_file() || name.starts_with('.') {
            continue;
        }
        if found.len() > SECRET_MAX {
            let text = format!("{name} has {} bytes; the limit is {SECRET_MAX}", found.len());
            return Err(io::Error::other(text));
        }
        let value = std::fs::read_to_string(entry.path())?;
        secrets.insert(name, value.trim_end_matches('\n').to_owned());
    }
    Ok(secrets)
}

/// Creates a directory that other users cannot read, unless it already exists.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    created.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", dir.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_requires_a_source() {
        let dir = tempfile::TempDir::new().unwrap();
        let repo: Repo = "me/app".parse().unwrap();
        let mut config =
            ProjectConfig { authorization_file: Some("token".into()), ..ProjectConfig::default() };
        let error = Given::new(&repo, &config, dir.path()).err().unwrap().to_string();
        assert_eq!(error, "project me/app: authorization-file also requires source");
        config.source = Some("https://git.example.org/me/app.git".to_owned());
        let error = Given::new(&repo, &config, dir.path()).err().unwrap().to_string();
        assert!(error.contains("token: No such file"), "{error}");
        std::fs::write(dir.path().join("token"), "Bearer abc\n").unwrap();
        let given = Given::new(&repo, &config, dir.path()).unwrap();
        assert_eq!(given.authorization.as_deref(), Some("Bearer abc"));
    }

    #[test]
    fn each_file_is_a_secret() {
        let dir = tempfile::TempDir::new().unwrap();
        assert!(read_secrets(&dir.path().join("absent")).unwrap().is_empty());
        std::fs::write(dir.path().join("TOKEN"), "abc\n").unwrap();
        std::fs::write(dir.path().join(".hidden"), "x").unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        let secrets = read_secrets(dir.path()).unwrap();
        assert_eq!(secrets.into_iter().collect::<Vec<_>>(), [("TOKEN".into(), "abc".into())]);
        std::fs::write(dir.path().join("LARGE"), vec![b'x'; 70_000]).unwrap();
        let error = read_secrets(dir.path()).unwrap_err().to_string();
        assert_eq!(error, "LARGE has 70000 bytes; the limit is 65536");
    }
}
