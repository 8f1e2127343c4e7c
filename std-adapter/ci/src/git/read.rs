//! Reads commits that have been fetched.

use datakit_github::{Commit, Hash};

use super::{Repository, RepositoryError};

/// The maximum length of a path in the output from `git`.
const PATH_MAX: usize = 4096;

/// The paths that differ between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedPaths {
    /// The paths, sorted bytewise. Invalid UTF-8 is replaced with U+FFFD.
    pub paths: Vec<String>,
    /// Whether there are more paths than the limit allows.
    pub truncated: bool,
}

impl Repository {
    /// Returns the content of a file in a commit, or `None` if the file does not exist.
    ///
    /// # Errors
    /// Returns [`RepositoryError::TooLarge`] if the file is larger than `max` bytes,
    /// [`RepositoryError::NotFile`] if the path is a directory, a symbolic link or a submodule, and
    /// another error if the commit has not been fetched.
    pub async fn read_file(
        &self,
        commit: &Commit,
        path: &str,
        max: usize,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        let (dir, hash) = (self.git_dir(), commit.hash.to_string());
        let path = path.trim_end_matches('/');
        let args = ["--literal-pathspecs", "ls-tree", "-z", "-l", "--full-tree", &hash, "--", path];
        let listed = self.local(&dir, 2 * PATH_MAX).run(&args).await?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        let Some(entry) = listed.split('\0').next().filter(|entry| !entry.is_empty()) else {
            return Ok(None);
        };
        // MODE TYPE HASH SIZE<tab>PATH
        let mut fields = entry.split('\t').next().unwrap_or_default().split_whitespace();
        let (mode, blob, size) = (fields.next(), fields.nth(1), fields.next());
        let unexpected = || RepositoryError::Unexpected {
            command: "ls-tree".to_owned(),
            output: entry.to_owned(),
        };
        let (mode, blob) = mode.zip(blob).ok_or_else(unexpected)?;
        if !mode.starts_with("100") {
            return Err(RepositoryError::NotFile { path: path.to_owned(), mode: mode.to_owned() });
        }
        let size: u64 = size.and_then(|size| size.parse().ok()).ok_or_else(unexpected)?;
        if size > max as u64 {
            return Err(RepositoryError::TooLarge { path: path.to_owned(), size, max });
        }
        let content = self.local(&dir, max).run(&["cat-file", "blob", blob]).await?;
        Ok(Some(content.stdout))
    }

    /// Returns at most `max` paths that differ between two commits. A renamed file counts as two
    /// paths.
    ///
    /// To get the changes in a pull request, pass its [`merge_base`](Repository::merge_base) as
    /// `base`.
    ///
    /// # Errors
    /// Returns an error if the commits have not been fetched.
    pub async fn changed_paths(
        &self,
        base: &Commit,
        head: &Commit,
        max: usize,
    ) -> Result<ChangedPaths, RepositoryError> {
        let (base, head) = (base.hash.to_string(), head.hash.to_string());
        let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", &base, &head, "--"];
        let limit = max.saturating_add(1).saturating_mul(PATH_MAX).min(1 << 26);
        let output = self.local(&self.git_dir(), limit).run(&args).await?;
        let mut paths = output.stdout.split(|byte| *byte == 0).collect::<Vec<_>>();
        // The last part is empty or, if the output is truncated, incomplete.
        paths.pop();
        let truncated = output.truncated || paths.len() > max;
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        Ok(ChangedPaths { paths: paths.into_iter().take(max).map(text).collect(), truncated })
    }

    /// Returns `true` if `commit` is `ancestor` or a descendant of `ancestor`.
    ///
    /// # Errors
    /// Returns an error if the commits have not been fetched.
    pub async fn is_after(
        &self,
        ancestor: &Commit,
        commit: &Commit,
    ) -> Result<bool, RepositoryError> {
        let (ancestor, commit) = (ancestor.hash.to_string(), commit.hash.to_string());
        let args = ["merge-base", "--is-ancestor", &ancestor, &commit];
        let git = self.git_dir();
        match self.local(&git, 0).status(&args).await?.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => self.local(&git, 0).run(&args).await.map(|_| true),
        }
    }

    /// Returns a best common ancestor of two commits, or `None` if they have no common ancestor.
    /// The difference between this commit and the head of a pull request is what the pull request
    /// changes.
    ///
    /// # Errors
    /// Returns an error if the commits have not been fetched.
    pub async fn merge_base(
        &self,
        base: &Commit,
        head: &Commit,
    ) -> Result<Option<Commit>, RepositoryError> {
        let args = ["merge-base", &base.hash.to_string(), &head.hash.to_string()].map(String::from);
        let git = self.git_dir();
        let output = self.local(&git, 200).status(&args).await?;
        match output.code {
            Some(0) => {}
            Some(1) => return Ok(None),
            _ => return self.local(&git, 0).run(&args).await.map(|_| None),
        }
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match Hash::parse(&text) {
            Ok(hash) => Ok(Some(Commit { repo: head.repo.clone(), hash })),
            Err(_) => {
                Err(RepositoryError::Unexpected { command: "merge-base".to_owned(), output: text })
            }
        }
    }
}
