//! Temporary Git repositories, which tests modify by running `git`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A temporary directory that may contain a Git repository. Dropping this value removes the
/// directory.
pub struct Repository(PathBuf);

impl Repository {
    /// Creates an empty directory.
    #[must_use]
    pub fn none() -> Repository {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("datakit-db-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Repository(path)
    }

    /// Creates a bare repository with `git`.
    #[must_use]
    pub fn bare() -> Repository {
        let repository = Repository::none();
        repository.git(&["init", "--quiet", "--bare", "."]);
        repository
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the Git directory, which is the `.git` subdirectory if there is one and the
    /// directory itself otherwise.
    #[must_use]
    pub fn git_dir(&self) -> PathBuf {
        Some(self.0.join(".git")).filter(|dir| dir.exists()).unwrap_or_else(|| self.0.clone())
    }

    /// Runs `git`, which must succeed, and returns its output without the trailing newline.
    pub fn git(&self, arguments: &[&str]) -> String {
        let (succeeds, out) = self.try_git(arguments);
        assert!(succeeds, "git {arguments:?}: {out}");
        out
    }

    /// Runs `git` without the user and system configuration. Returns whether `git` succeeded, along
    /// with its output. If `git` failed, the output includes standard error.
    pub fn try_git(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.0).args(arguments).stdin(Stdio::null());
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CEILING_DIRECTORIES", "/");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "other")
                .env(format!("GIT_{who}_EMAIL"), "other@example.com");
        }
        let output = command.output().unwrap();
        let mut text = String::from_utf8(output.stdout).unwrap();
        if !output.status.success() {
            text += &String::from_utf8_lossy(&output.stderr);
        }
        (output.status.success(), text.trim_end_matches('\n').to_owned())
    }

    /// Writes an object with the content `data`, which may be malformed, and returns its hash.
    pub fn object(&self, kind: &str, data: &[u8]) -> String {
        let file = self.0.join("object-of-a-test");
        std::fs::write(&file, data).unwrap();
        let id =
            self.git(&["hash-object", "-t", kind, "--literally", "-w", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        id
    }

    /// Points a branch to an object without checking that the object exists or is a commit.
    pub fn point(&self, branch: &str, id: &str) {
        let path = self.git_dir().join("refs/heads").join(branch);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{id}\n")).unwrap();
    }

    /// Returns the path of a loose object.
    #[must_use]
    pub fn loose(&self, id: &str) -> PathBuf {
        let (fan, rest) = id.split_at(2);
        self.git_dir().join("objects").join(fan).join(rest)
    }

    /// Runs `git` to create a commit that adds one file to the tree of `parent`. Does not change
    /// any branch.
    pub fn commit(&self, parent: Option<&str>, name: &str, text: &str) -> String {
        let file = self.0.join("content-of-a-test");
        std::fs::write(&file, text).unwrap();
        let blob = self.git(&["hash-object", "-w", file.to_str().unwrap()]);
        std::fs::remove_file(&file).unwrap();
        let index = self.0.join("index-of-a-test");
        let set = format!("GIT_INDEX_FILE={}", index.display());
        let in_index = |arguments: &[&str]| {
            let (name, value) = set.split_once('=').unwrap();
            let mut command = Command::new("git");
            let output =
                command.arg("-C").arg(&self.0).args(arguments).env(name, value).output().unwrap();
            assert!(output.status.success(), "git {arguments:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        in_index(&parent.map_or(vec!["read-tree", "--empty"], |parent| vec!["read-tree", parent]));
        in_index(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{name}")]);
        let tree = in_index(&["write-tree"]);
        std::fs::remove_file(&index).unwrap();
        let mut arguments = vec!["commit-tree", "-m", "by others", &tree];
        arguments.extend(parent.iter().flat_map(|parent| ["-p", *parent]));
        self.git(&arguments)
    }
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
