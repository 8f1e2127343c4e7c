//! Repositories of every form.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Place, at, commit, go};
use crate::Error;
use crate::store::{Git, Store};

fn refusal(path: &Path) -> String {
    match Git::open(path) {
        Err(Error::Store(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} is served", path.display()),
    }
}

#[test]
fn repositories_of_another_format_are_refused_with_the_reason() {
    for (case, config, why) in [
        ("v2", &["core.repositoryFormatVersion=2"][..], "has format version 2; only 0 and 1"),
        ("odd", &["core.repositoryFormatVersion=x"], "core.repositoryFormatVersion is \"x\""),
        (
            "unknown",
            &["core.repositoryFormatVersion=1", "extensions.New=true"],
            "has extensions.new, which is not known",
        ),
        (
            "sha256",
            &["core.repositoryFormatVersion=1", "extensions.objectFormat=sha256"],
            "names its objects by sha256",
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
        let place = Place::new(&format!("form-{case}"));
        place.git(&["init", "-q", "."]);
        for line in config {
            let (key, value) = line.split_once('=').unwrap();
            place.git(&["config", "-f", ".git/config", key, value]);
        }
        let text = refusal(&place.0);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn reftable_and_sha256_repositories_of_git_are_refused() {
    for (option, why) in
        [("--ref-format=reftable", "reftable"), ("--object-format=sha256", "sha256")]
    {
        let place = Place::new(&format!("form-of-git-{why}"));
        place.git(&["init", "-q", option, "."]);
        let text = refusal(&place.0);
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn known_extensions_and_what_git_ignores_are_served() {
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
        // Git does not look at it in this version.
        ("ignored", &["core.repositoryFormatVersion=0", "extensions.new=true"]),
    ] {
        let place = Place::new(&format!("form-{case}"));
        place.git(&["init", "-q", "--bare", ".git"]);
        for line in config {
            let (key, value) = line.split_once('=').unwrap();
            place.git(&["config", key, value]);
        }
        let store = Git::open(&place.0).unwrap();
        let id = commit(&store, "x");
        assert!(go(&store, "b", None, Some(id)));
        assert_eq!(place.git(&["rev-parse", "b"]), id.to_string());
    }
}

#[test]
fn a_linked_work_tree_and_its_repository_are_one_server() {
    let place = Place::new("form-linked");
    place.git(&["init", "-q", "-b", "master", "."]);
    place.git(&[
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
    let dir = place.0.join("linked");
    place.git(&["worktree", "add", "-q", dir.to_str().unwrap(), "-b", "dev"]);
    for path in [dir.clone(), place.0.join(".git/worktrees/linked"), place.0.join(".git")] {
        let store = Git::open(&path).unwrap();
        assert_eq!(
            fs::canonicalize(store.dir()).unwrap(),
            fs::canonicalize(place.0.join(".git")).unwrap()
        );
        assert_eq!(store.heads().unwrap().len(), 2);
        assert!(
            matches!(Git::open(&place.0), Err(Error::Store(text)) if text.contains("another datakit"))
        );
    }
}

#[test]
fn a_git_file_is_followed_or_refused() {
    let (place, apart) = (Place::new("form-file"), Place::new("form-apart"));
    place.git(&["init", "-q", "--separate-git-dir", apart.0.join("repo").to_str().unwrap(), "."]);
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    assert!(go(&store, "b", None, Some(id)));
    assert_eq!(place.git(&["rev-parse", "b"]), id.to_string());
    drop(store);
    for (text, why) in [
        ("gitdir: /nowhere\n", "leads to /nowhere"),
        ("nonsense", "names no directory"),
        ("gitdir: .", "no HEAD"),
    ] {
        fs::write(place.0.join(".git"), text).unwrap();
        let refused = refusal(&place.0);
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

/// What a server makes in a repository: branches, a rename, a removal, objects.
fn fill(store: &Git) {
    let (a, b) = (commit(store, "a"), commit(store, "b"));
    for branch in ["deep/er/one", "deep/er/two", "three"] {
        assert!(go(store, branch, None, Some(a)));
    }
    assert!(go(store, "three", Some(a), Some(b)) && go(store, "deep/er/two", Some(a), None));
    let name = |text| crate::BranchName::new(text).unwrap();
    assert!(store.rename(&name("three"), &name("new/three"), b).unwrap());
    assert_eq!(at(store, "new/three"), Some(b));
}

#[test]
fn a_shared_repository_stays_one() {
    for (shared, file, object, dir) in [
        ("group", 0o664, 0o444, 0o2775),
        ("all", 0o664, 0o444, 0o2775),
        ("0660", 0o660, 0o440, 0o2770),
        ("0640", 0o640, 0o440, 0o2750),
        ("umask", 0o644, 0o444, 0o755),
    ] {
        let place = Place::new(&format!("form-shared-{shared}"));
        place.git(&["init", "-q", "--bare", ".git"]);
        place.git(&["config", "core.sharedRepository", shared]);
        let store = Git::open(&place.0).unwrap();
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
fn what_root_makes_belongs_to_the_owner_of_the_repository() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root, so there is nothing to be seen");
        return;
    }
    let place = Place::new("form-owner");
    place.git(&["init", "-q", "-b", "master", "."]);
    for path in all_below(&place.0).into_iter().chain([place.0.clone()]) {
        chown(path, Some(12345), Some(23456)).unwrap();
    }
    let store = Git::open(&place.0).unwrap();
    fill(&store);
    // The work tree as well.
    assert!(go(&store, "master", None, at(&store, "new/three")));
    drop(store);
    for path in all_below(&place.0) {
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (12345, 23456), "{}", path.display());
    }
    // To whom git does not complain of somebody else's repository.
    let mut git = Command::new("git");
    std::os::unix::process::CommandExt::uid(&mut git, 12345);
    git.arg("-C").arg(&place.0).args(["fsck", "--strict"]).env("HOME", "/nonexistent");
    assert!(git.status().unwrap().success());
}

#[test]
fn what_is_said_of_the_main_work_tree_alone_counts() {
    let place = Place::new("form-worktree-config");
    place.git(&["init", "-q", "-b", "master", "."]);
    // As `git sparse-checkout` in a linked work tree of a bare repository does it.
    place.git(&["config", "core.repositoryFormatVersion", "1"]);
    place.git(&["config", "extensions.worktreeConfig", "true"]);
    place.git(&["config", "--unset", "core.bare"]);
    place.git(&["config", "--worktree", "core.bare", "true"]);
    let store = Git::open(&place.0).unwrap();
    let (a, b) = (commit(&store, "a"), commit(&store, "b"));
    assert!(go(&store, "master", None, Some(a)) && go(&store, "master", Some(a), Some(b)));
}
