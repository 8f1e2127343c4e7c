//! The repositories under test and their clones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datakit_ci::SharedDb;
use datakit_ci::git::{Repository, RepositoryOptions};
use datakit_ci::pipeline::{CheckoutRequest, GitCheckout, Source, SourceError};
use datakit_client::db::Db;
use datakit_github::{Commit, Repo, read_clone_url};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::AnyError;
use crate::chain;
use crate::config::ProjectConfig;

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
    /// needed, because the bridge might not have found its URL before then.
    pub(super) fn source(
        &self,
        repo: &Repo,
        given: &Given,
        db: &SharedDb<Db>,
        branch: &str,
    ) -> LazyClone {
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
    db: SharedDb<Db>,
    branch: String,
}

impl LazyClone {
    async fn repository(&self) -> Result<&Repository, SourceError> {
        let opened = self.clone.get_or_try_init(async || {
            let url = match &self.given.url {
                Some(url) => url.clone(),
                None => self.found_url().await.map_err(|error| {
                    SourceError::temporary(format!("database: {}", chain(&error)))
                })?,
            };
            let mut options = RepositoryOptions::default();
            options.authorization.clone_from(&self.given.authorization);
            Ok(Repository::open_with(&url, &self.dir, options).await?)
        });
        opened.await
    }

    /// Returns the URL that the bridge found, or the repository's GitHub URL.
    async fn found_url(&self) -> datakit_client::db::Result<String> {
        let found = self.db.retry(|db| async move {
            match db.branch(&self.branch).await?.head().await? {
                Some(head) => read_clone_url(&head.tree(), &self.repo).await,
                None => Ok(None),
            }
        });
        let found = found.await?;
        Ok(found.unwrap_or_else(|| format!("https://github.com/{}.git", self.repo)))
    }
}

impl Source for LazyClone {
    type Checkout = GitCheckout;

    async fn read_file(
        &self,
        request: &CheckoutRequest<'_>,
        path: &str,
        max: usize,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        Source::read_file(self.repository().await?, request, path, max).await
    }

    async fn changed_paths(
        &self,
        request: &CheckoutRequest<'_>,
        branch: &str,
        base: &Commit,
        max: usize,
    ) -> Result<Option<Vec<String>>, SourceError> {
        Source::changed_paths(self.repository().await?, request, branch, base, max).await
    }

    async fn checkout(&self, request: &CheckoutRequest<'_>) -> Result<GitCheckout, SourceError> {
        self.repository().await?.checkout(request).await
    }
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
}
