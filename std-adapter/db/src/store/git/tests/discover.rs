//! Tests for opening repositories of every layout and format.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{TempRepository, head_of, set_branch, write_commit};
use crate::Error;
use crate::store::{GitStore, Store};

fn refusal(path: &Path) -> String {
    match GitStore::open(path) {
        Err(error @ (Error::Store(_) | Error::Io { .. })) => error.to_string(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} is served", path.display()),
    }
}

#[test]
fn unsupported_formats_are_refused_with_the_reason() {
    for (case, config, why) in [
        ("v2", &["core.repositoryFormatVersion=2"][..], "has format version 2; only 0 and 1"),
        ("odd", &["core.repositoryFormatVersion=x"], "core.repositoryFormatVersion is \"x\""),
        (
            "unknown",
            &["core.repositoryFormatVersion=1", "extensions.New=true"],
            "has extensions.new, which is not supported",
        ),
        (
            "sha256",
            &["core.repositoryFormatVersion=1", "extensions.objectFormat=sha256"],
            "has objects named by sha256",
        ),
        (
            "reftable",
            &["core.repositoryFormatVersion=1", "extensions.refStorage=reftable"],
            "git refs migrate --ref-format=files",
        ),
        (
            "compat",
            &["core.repositoryFormatVersion=1", "extensions.compatObjectFormat=sha256"],
            "compatobjectformat",
        ),
        ("v0", &["extensions.refStorage=files"], "must be 1 and is 0"),
    ] {
        let repository = TempRepository::new(&format!("form-{case}"));
        repository.git(&["init", "-q", "."]);
        for line in config {
            let (key, value) = line.split_once('=').unwrap();
            repository.git(&["config", "-f", ".git/config", key, value]);
        }
        let text = refusal(&repository.0);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn reftable_and_sha256_repositories_of_git_are_refused() {
    for (option, why) in
        [("--ref-format=reftable", "reftable"), ("--object-format=sha256", "sha256")]
    {
        let repository = TempRepository::new(&format!("form-of-git-{why}"));
        repository.git(&["init", "-q", option, "."]);
        let text = refusal(&repository.0);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn supported_and_ignored_extensions_are_accepted() {
    for (case, config) in [
        (
            "known",
            &[
                "core.repositoryFormatVersion=1",
                "extensions.worktreeConfig=true",
                "extensions.objectFormat=sha1",
            ][..],
        ),
        (
            "more",
            &[
                "core.repositoryFormatVersion=1",
                "extensions.preciousObjects=true",
                "extensions.noop=1",
            ],
        ),
        // In format version 0, Git ignores unknown extensions.
        ("ignored", &["core.repositoryFormatVersion=0", "extensions.new=true"]),
    ] {
        let repository = TempRepository::new(&format!("form-{case}"));
        repository.git(&["init", "-q", "--bare", ".git"]);
        for line in config {
            let (key, value) = line.split_once('=').unwrap();
            repository.git(&["config", key, value]);
        }
        let store = GitStore::open(&repository.0).unwrap();
        let id = write_commit(&store, "x");
        assert!(set_branch(&store, "b", None, Some(id)));
        assert_eq!(repository.git(&["rev-parse", "b"]), id.to_string());
    }
}

#[test]
fn a_linked_work_tree_opens_its_repository() {
    let repository = TempRepository::new("form-linked");
    repository.git(&["init", "-q", "-b", "master", "."]);
    repository.git(&[
        "-c",
        "user.name=x",
        "-c",
        "user.email=x@x",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    ]);
    let dir = repository.0.join("linked");
    repository.git(&["worktree", "add", "-q", dir.to_str().unwrap(), "-b", "dev"]);
    for path in [dir.clone(), repository.0.join(".git/worktrees/linked"), repository.0.join(".git")]
    {
        let store = GitStore::open(&path).unwrap();
        assert_eq!(
            fs::canonicalize(store.dir()).unwrap(),
            fs::canonicalize(repository.0.join(".git")).unwrap()
        );
        assert_eq!(store.heads().unwrap().len(), 2);
        assert!(
            matches!(GitStore::open(&repository.0), Err(error) if error.to_string().contains("another datakit"))
        );
    }
}

#[test]
fn a_git_file_leads_to_the_repository() {
    let (repository, apart) = (TempRepository::new("form-file"), TempRepository::new("form-apart"));
    repository.git(&[
        "init",
        "-q",
        "--separate-git-dir",
        apart.0.join("repo").to_str().unwrap(),
        ".",
    ]);
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    assert!(set_branch(&store, "b", None, Some(id)));
    assert_eq!(repository.git(&["rev-parse", "b"]), id.to_string());
    drop(store);
    for (text, why) in [
        ("gitdir: /nowhere\n", "leads to /nowhere"),
        ("nonsense", "names no directory"),
        ("gitdir: .", "no HEAD"),
    ] {
        fs::write(repository.0.join(".git"), text).unwrap();
        let refused = refusal(&repository.0);
        assert!(refused.contains(why), "{refused}");
    }
}

fn all_below(dir: &Path) -> Vec<PathBuf> {
    let (mut all, mut left) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            all.push(entry.path());
        }
    }
    all
}

/// Creates objects and branches, renames a branch, and removes a branch.
fn fill(store: &GitStore) {
    let (a, b) = (write_commit(store, "a"), write_commit(store, "b"));
    for branch in ["deep/er/one", "deep/er/two", "three"] {
        assert!(set_branch(store, branch, None, Some(a)));
    }
    assert!(
        set_branch(store, "three", Some(a), Some(b))
            && set_branch(store, "deep/er/two", Some(a), None)
    );
    let name = |text| crate::BranchName::new(text).unwrap();
    assert!(store.rename(&name("three"), &name("new/three"), b).unwrap());
    assert_eq!(head_of(store, "new/three"), Some(b));
}

#[test]
fn new_files_get_the_permissions_of_a_shared_repository() {
    for (shared, file, object, dir) in [
        ("group", 0o664, 0o444, 0o2775),
        ("all", 0o664, 0o444, 0o2775),
        ("0660", 0o660, 0o440, 0o2770),
        ("0640", 0o640, 0o440, 0o2750),
        ("umask", 0o644, 0o444, 0o755),
    ] {
        let repository = TempRepository::new(&format!("form-shared-{shared}"));
        repository.git(&["init", "-q", "--bare", ".git"]);
        repository.git(&["config", "core.sharedRepository", shared]);
        let store = GitStore::open(&repository.0).unwrap();
        let before = all_below(&store.dir());
        fill(&store);
        let made: Vec<_> =
            all_below(&store.dir()).into_iter().filter(|path| !before.contains(path)).collect();
        assert!(made.len() > 8, "{made:?}");
        for path in made.iter().filter(|path| !path.to_str().unwrap().contains("tmp_objdir")) {
            let found = fs::metadata(path).unwrap();
            let is_object = path.parent().unwrap().parent().unwrap().ends_with("objects");
            let expected = if found.is_dir() {
                dir
            } else if is_object {
                object
            } else {
                file
            };
            let mode = found.permissions().mode() & 0o7777;
            assert_eq!(
                format!("{mode:o}"),
                format!("{expected:o}"),
                "{} of {shared}",
                path.display()
            );
        }
    }
}

#[test]
fn files_created_by_root_belong_to_the_owner_of_the_repository() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let repository = TempRepository::new("form-owner");
    repository.git(&["init", "-q", "-b", "master", "."]);
    for path in all_below(&repository.0).into_iter().chain([repository.0.clone()]) {
        chown(path, Some(12345), Some(23456)).unwrap();
    }
    let store = GitStore::open(&repository.0).unwrap();
    fill(&store);
    // Creating the `master` branch also updates the work tree.
    assert!(set_branch(&store, "master", None, head_of(&store, "new/three")));
    drop(store);
    for path in all_below(&repository.0) {
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 23456), "{}", path.display());
    }
    // Run `git` as the repository's owner, because `git` refuses to use another user's repository.
    let mut git = Command::new("git");
    std::os::unix::process::CommandExt::uid(&mut git, 12345);
    git.arg("-C").arg(&repository.0).args(["fsck", "--strict"]).env("HOME", "/nonexistent");
    assert!(git.status().unwrap().success());
}

#[test]
fn config_worktree_applies_to_the_main_work_tree() {
    let repository = TempRepository::new("form-worktree-config");
    repository.git(&["init", "-q", "-b", "master", "."]);
    // `git sparse-checkout` writes these settings in a linked work tree of a bare repository.
    repository.git(&["config", "core.repositoryFormatVersion", "1"]);
    repository.git(&["config", "extensions.worktreeConfig", "true"]);
    repository.git(&["config", "--unset", "core.bare"]);
    repository.git(&["config", "--worktree", "core.bare", "true"]);
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    assert!(
        set_branch(&store, "master", None, Some(a))
            && set_branch(&store, "master", Some(a), Some(b))
    );
}
