//! Tests for updating branches that are checked out in work trees.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{TempRepository, head_of};
use crate::model::commit::Commit;
use crate::model::object::{Object, ObjectKind};
use crate::model::tree_entry::{EntryMode, TreeEntry};
use crate::model::tree_text::encode_tree;
use crate::store::{GitStore, RefUpdate, Store};
use crate::{BranchName, Error, Id, Result};

/// Commits the given files to a branch.
fn advance(store: &GitStore, branch: &str, files: &[(&str, &str)]) -> Result<Id> {
    let branch = BranchName::new(branch).unwrap();
    let from = store.head(&branch).unwrap();
    let mut objects = Vec::new();
    let entries: Vec<_> = files
        .iter()
        .map(|(name, text)| {
            let (id, blob) = Object::new(ObjectKind::Blob, text.as_bytes()).unwrap();
            objects.push((id, blob));
            TreeEntry { name: name.as_bytes().into(), mode: EntryMode::Normal, id }
        })
        .collect();
    let (tree, object) = encode_tree(entries).unwrap();
    objects.push((tree, object));
    let parents: Vec<_> = from.into_iter().collect();
    let (id, commit) = Commit::encode(tree, &parents, b"ours", 1_700_000_000).unwrap();
    objects.push((id, commit));
    store.update(&objects, &[RefUpdate { branch: &branch, from, to: Some(id) }]).map(|moved| {
        assert!(moved);
        id
    })
}

fn refusal(error: Result<Id>) -> String {
    match error {
        Err(Error::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// Creates a repository with a work tree and no commits.
fn with_work_tree(name: &str) -> (TempRepository, GitStore) {
    let repository = TempRepository::new(name);
    repository.git(&["init", "-q", "-b", "master", "."]);
    for (key, value) in [("user.name", "git"), ("user.email", "git@localhost")] {
        repository.git(&["config", key, value]);
    }
    let store = GitStore::open(&repository.0).unwrap();
    (repository, store)
}

/// Creates a linked work tree next to a repository.
fn linked(repository: &TempRepository, branch: &str) -> TempRepository {
    let dir = PathBuf::from(format!("{}-linked", repository.0.display()));
    let _ = fs::remove_dir_all(&dir);
    repository.git(&["worktree", "add", "-q", dir.to_str().unwrap(), branch]);
    TempRepository(dir)
}

#[test]
fn a_clean_work_tree_is_updated_with_its_branch() {
    let (repository, store) = with_work_tree("follows");
    // Create the first commit on a branch that does not exist yet.
    advance(&store, "master", &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(
        (repository.git(&["status", "--porcelain"]), fs::read(repository.0.join("a")).unwrap()),
        (String::new(), b"1".to_vec())
    );
    fs::write(repository.0.join("untracked"), "mine").unwrap();
    let second = advance(&store, "master", &[("a", "2"), ("c", "1")]).unwrap();
    assert_eq!(repository.git(&["status", "--porcelain"]), "?? untracked");
    assert!(!repository.0.join("b").exists() && repository.0.join("c").exists());
    // A later commit in the work tree does not revert the update.
    repository.git(&["add", "untracked"]);
    repository.git(&["commit", "-q", "-m", "theirs"]);
    assert_eq!(repository.git(&["diff", "--name-only", &second.to_string(), "HEAD"]), "untracked");
    assert_eq!(repository.git(&["ls-tree", "--name-only", "master"]), "a\nc\nuntracked");
    // Updating a branch that is not checked out does not change the work tree.
    advance(&store, "other", &[("d", "1")]).unwrap();
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_linked_work_tree_is_updated_with_its_branch() {
    let (repository, store) = with_work_tree("linked");
    advance(&store, "master", &[("a", "1")]).unwrap();
    advance(&store, "dev", &[("a", "1")]).unwrap();
    let linked = linked(&repository, "dev");
    advance(&store, "dev", &[("a", "2")]).unwrap();
    assert_eq!(
        (linked.git(&["status", "--porcelain"]), fs::read(linked.0.join("a")).unwrap()),
        (String::new(), b"2".to_vec())
    );
    fs::write(linked.0.join("a"), "mine").unwrap();
    let refused = refusal(advance(&store, "dev", &[("a", "3")]));
    assert!(
        refused.starts_with("work tree of \"dev\": changes that are not committed (/"),
        "{refused}"
    );
    assert_eq!(fs::read(linked.0.join("a")).unwrap(), b"mine");
    // If a work tree was deleted manually, its branch can still be updated.
    fs::remove_dir_all(&linked.0).unwrap();
    advance(&store, "dev", &[("a", "4")]).unwrap();
}

#[test]
fn an_update_that_would_overwrite_changes_is_refused() {
    let (repository, store) = with_work_tree("dirty");
    let first = advance(&store, "master", &[("a", "1")]).unwrap();
    let not_committed = "work tree of \"master\": changes that are not committed (/";
    for (file, staged, why) in [
        ("a", false, not_committed),
        ("a", true, not_committed),
        ("new", true, not_committed),
        (
            "b",
            false,
            "work tree of \"master\": Untracked working tree file 'b' would be overwritten by merge. (/",
        ),
    ] {
        fs::write(repository.0.join(file), "mine").unwrap();
        if staged {
            repository.git(&["add", file]);
        }
        let before = repository.git(&["status", "--porcelain"]);
        let refused = refusal(advance(&store, "master", &[("a", "2"), ("b", "2")]));
        assert!(refused.starts_with(why), "{refused}");
        assert_eq!(
            (head_of(&store, "master"), repository.git(&["status", "--porcelain"])),
            (Some(first), before)
        );
        assert_eq!(fs::read(repository.0.join(file)).unwrap(), b"mine");
        repository.git(&["reset", "-q", "--hard"]);
        repository.git(&["clean", "-q", "-f"]);
    }
    advance(&store, "master", &[("a", "2"), ("b", "2")]).unwrap();
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_locked_index_blocks_the_update() {
    let (repository, store) = with_work_tree("held");
    let first = advance(&store, "master", &[("a", "1")]).unwrap();
    let lock = repository.0.join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let refused = refusal(advance(&store, "master", &[("a", "2")]));
    assert!(refused.contains("another git process holds index.lock"), "{refused}");
    assert_eq!(head_of(&store, "master"), Some(first));
    // The update waits for the lock on the index, and succeeds if the lock is released in time.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            fs::remove_file(&lock).unwrap();
        });
        advance(&store, "master", &[("a", "2")]).unwrap();
    });
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn branches_in_use_are_removed_and_renamed_if_git_does_it() {
    let remove = |store: &GitStore, branch: &str| {
        let (name, from) = (BranchName::new(branch).unwrap(), head_of(store, branch));
        store.update(&[], &[RefUpdate { branch: &name, from, to: None }])
    };
    let rename = |store: &GitStore, old: &str, new: &str| {
        store.rename(
            &BranchName::new(old).unwrap(),
            &BranchName::new(new).unwrap(),
            head_of(store, old).unwrap(),
        )
    };
    for (case, begin, why) in [
        ("checked-out", &["symbolic-ref", "HEAD", "refs/heads/dev"][..], "checked out"),
        (
            "rebased",
            &["-c", "sequence.editor=sed -i 1ibreak", "rebase", "-q", "-i", "--root", "dev"],
            "being rebased",
        ),
        ("bisected", &["bisect", "start", "dev", "dev~2"], "being bisected"),
        ("detached", &["checkout", "-q", "--detach", "dev"], ""),
    ] {
        let (repository, store) = with_work_tree(case);
        for text in ["1", "2", "3"] {
            advance(&store, "dev", &[("a", text)]).unwrap();
        }
        repository.git(&["checkout", "-q", "dev"]);
        repository.git(begin);
        let theirs = |args: &[&str]| {
            let copy = TempRepository::new(&format!("{case}-copy"));
            let from = format!("{}/.", repository.0.display());
            assert!(
                Command::new("cp").args(["-a", &from]).arg(&copy.0).status().unwrap().success()
            );
            let out = Command::new("git").arg("-C").arg(&copy.0).args(args).output().unwrap();
            (out.status.success(), fs::read_to_string(copy.0.join(".git/HEAD")).unwrap())
        };
        let (removed, renamed) =
            (theirs(&["branch", "-D", "dev"]), theirs(&["branch", "-m", "dev", "dev/new"]));
        if why.is_empty() {
            advance(&store, "dev", &[("a", "4")]).unwrap();
        } else if why != "checked out" {
            assert!(
                refusal(advance(&store, "dev", &[("a", "4")]))
                    .starts_with(&format!("branch \"dev\" is {why} in /"))
            );
        }
        let ours = rename(&store, "dev", "dev/new");
        assert_eq!(ours == Ok(true), renamed.0, "{case}: {ours:?}");
        assert_eq!(
            fs::read_to_string(repository.0.join(".git/HEAD")).unwrap(),
            renamed.1,
            "{case}"
        );
        if ours == Ok(true) {
            assert_eq!(rename(&store, "dev/new", "dev"), Ok(true));
        }
        let ours = remove(&store, "dev");
        assert_eq!(ours == Ok(true), removed.0, "{case}: {ours:?}");
        if let Err(error) = ours {
            assert!(
                error.to_string().starts_with(&format!("branch \"dev\" is {why} in /")),
                "{error}"
            );
        }
    }
}

#[test]
fn rename_to_an_unborn_branch_fills_its_work_tree() {
    let (repository, store) = with_work_tree("unborn");
    advance(&store, "dev", &[("a", "1")]).unwrap();
    let (dev, master) = (BranchName::new("dev").unwrap(), BranchName::new("master").unwrap());
    fs::write(repository.0.join("a"), "mine").unwrap();
    let head = head_of(&store, "dev").unwrap();
    assert!(matches!(store.rename(&dev, &master, head), Err(Error::Refused(_))));
    assert_eq!(head_of(&store, "dev"), Some(head));
    fs::remove_file(repository.0.join("a")).unwrap();
    assert_eq!(store.rename(&dev, &master, head), Ok(true));
    assert_eq!(
        (repository.git(&["status", "--porcelain"]), fs::read(repository.0.join("a")).unwrap()),
        (String::new(), b"1".to_vec())
    );
}

#[test]
fn a_work_tree_with_a_git_file_is_updated_with_its_branch() {
    let (repository, apart) =
        (TempRepository::new("file-work"), TempRepository::new("file-repository"));
    let dir = apart.0.join("repository");
    repository.git(&[
        "init",
        "-q",
        "-b",
        "master",
        "--separate-git-dir",
        dir.to_str().unwrap(),
        ".",
    ]);
    let store = GitStore::open(&repository.0).unwrap();
    advance(&store, "master", &[("a", "1")]).unwrap();
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert!(repository.0.join("a").exists());
    drop(store);
    // The Git directory does not record the location of the work tree.
    let store = GitStore::open(&dir).unwrap();
    let refused = refusal(advance(&store, "master", &[("a", "2")]));
    assert_eq!(
        refused,
        "branch \"master\" is checked out elsewhere: serve the directory with the .git file"
    );
    advance(&store, "other", &[("a", "2")]).unwrap();
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_submodule_is_updated_with_its_branch() {
    let (inner, outer) = (TempRepository::new("inner"), TempRepository::new("outer"));
    let who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always"];
    inner.git(&["init", "-q", "-b", "master", "."]);
    inner.git(&[&who[..], &["commit", "-q", "--allow-empty", "-m", "x"]].concat());
    outer.git(&["init", "-q", "."]);
    outer.git(
        &[&who[..], &["submodule", "--quiet", "add", inner.0.to_str().unwrap(), "sub"]].concat(),
    );
    let sub = TempRepository(outer.0.join("sub"));
    for path in [sub.0.clone(), outer.0.join(".git/modules/sub")] {
        let store = GitStore::open(&path).unwrap();
        let text = path.display().to_string();
        advance(&store, "master", &[("a", &text)]).unwrap();
        assert_eq!(
            (sub.git(&["status", "--porcelain"]), fs::read_to_string(sub.0.join("a")).unwrap()),
            (String::new(), text)
        );
    }
}

#[test]
fn rename_updates_head_of_a_linked_work_tree() {
    let (repository, store) = with_work_tree("linked-rename");
    advance(&store, "master", &[("a", "1")]).unwrap();
    advance(&store, "dev", &[("a", "1")]).unwrap();
    let linked = linked(&repository, "dev");
    let (dev, new) = (BranchName::new("dev").unwrap(), BranchName::new("dev/new").unwrap());
    assert_eq!(store.rename(&dev, &new, head_of(&store, "dev").unwrap()), Ok(true));
    assert_eq!(linked.git(&["symbolic-ref", "HEAD"]), "refs/heads/dev/new");
    assert_eq!(repository.git(&["symbolic-ref", "HEAD"]), "refs/heads/master");
    let refused = store
        .update(&[], &[RefUpdate { branch: &new, from: head_of(&store, "dev/new"), to: None }]);
    assert!(
        matches!(refused, Err(Error::Refused(text)) if text.starts_with("branch \"dev/new\" is checked out in /"))
    );
}
