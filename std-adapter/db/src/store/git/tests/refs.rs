//! Checks that the store and `git` agree on which branch names are valid and which names conflict
//! with each other.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{TempRepository, set_branch, write_commit};
use crate::store::{GitStore, MemoryStore, RefUpdate, Store};
use crate::{BranchName, Error, Id};

fn git(repository: &TempRepository, args: &[&str]) -> Output {
    Command::new("git").arg("-C").arg(&repository.0).args(args).output().unwrap()
}

fn name(text: &str) -> BranchName {
    BranchName::new(text).unwrap()
}

fn names(store: &dyn Store) -> Vec<String> {
    store.heads().unwrap().iter().map(|(name, _)| name.to_string()).collect()
}

/// Returns unusual branch names, about half of which `git` rejects.
fn odd_names() -> Vec<String> {
    let mut odd: Vec<String> = (1..=127).map(|byte| format!("a{}b", char::from(byte))).collect();
    let parts =
        ["a", "@", ".", "..", "-", "HEAD", ".lock", "a.lock", "@{", "{", "a.", ".a", "", "\u{e4}"];
    odd.extend(parts.iter().map(|part| (*part).to_owned()));
    odd.extend(parts.iter().flat_map(|a| parts.map(|b| format!("{a}/{b}"))));
    odd.extend(
        [
            "a@{b",
            "@a",
            "a@",
            "a.lock.b",
            "a.LOCK",
            "head",
            "refs/heads/x",
            "--",
            "-a/b",
            "a/-b",
            "FETCH_HEAD",
        ]
        .map(str::to_owned),
    );
    odd
}

#[test]
fn branch_names_are_valid_if_git_accepts_them() {
    let repository = TempRepository::new("odd-names");
    repository.git(&["init", "-q", "."]);
    for odd in odd_names() {
        let theirs = git(&repository, &["check-ref-format", "--branch", &odd]).status.success();
        assert_eq!(BranchName::new(&odd).is_ok(), theirs, "{odd:?}");
    }
    // If a component were longer, the name of the lock file would exceed the maximum file name
    // length.
    BranchName::new("x".repeat(250)).unwrap();
    assert!(BranchName::new(format!("a/{}", "x".repeat(251))).is_err());
}

const PAIRS: [&str; 7] = ["a", "a/b", "a/b/c", "a-b", "ab", "a/c", "b"];

/// How the first branch is stored when the second one is created.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Loose,
    Packed,
}

#[test]
fn branches_conflict_if_they_conflict_in_git() {
    let repository = TempRepository::new("beside");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    for (form, old, new) in [Form::Loose, Form::Packed]
        .into_iter()
        .flat_map(|form| PAIRS.into_iter().flat_map(move |old| PAIRS.map(|new| (form, old, new))))
        .filter(|(_, old, new)| old != new)
    {
        let theirs = {
            repository.git(&["branch", old, &id.to_string()]);
            if form == Form::Packed {
                repository.git(&["pack-refs", "--all"]);
            }
            let made = git(&repository, &["branch", new, &id.to_string()]).status.success();
            repository.git(&["branch", "-q", "-D", old]);
            made && git(&repository, &["branch", "-q", "-D", new]).status.success()
        };
        let memory = MemoryStore::new();
        for store in [&store as &dyn Store, &memory] {
            let create = |name: &BranchName| {
                store.update(&[], &[RefUpdate { branch: name, from: None, to: Some(id) }])
            };
            assert_eq!(create(&name(old)), Ok(true));
            if form == Form::Packed {
                repository.git(&["pack-refs", "--all"]);
            }
            let expected = if theirs {
                Ok(true)
            } else {
                Err(Error::BranchConflict { branch: new.to_owned(), other: old.to_owned() })
            };
            let conflict = store.conflicting_branch(&name(new)).unwrap();
            assert_eq!(conflict, (!theirs).then(|| old.to_owned()), "{new} beside {old}, {form:?}");
            assert_eq!(create(&name(new)), expected, "{new} beside {old}, {form:?}");
            for branch in [old, new].map(name) {
                let from = store.head(&branch).unwrap();
                assert!(
                    store.update(&[], &[RefUpdate { branch: &branch, from, to: None }]).unwrap()
                );
            }
            assert_eq!(names(store), [] as [&str; 0]);
        }
    }
    assert_eq!(repository.git(&["for-each-ref"]), "");
}

#[test]
fn branches_can_be_renamed_if_git_can_rename_them() {
    let repository = TempRepository::new("renames");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    for (old, new) in PAIRS
        .into_iter()
        .flat_map(|old| PAIRS.map(|new| (old, new)))
        .filter(|(old, new)| old != new)
    {
        for (form, third) in [(Form::Loose, "z"), (Form::Packed, "a/z"), (Form::Packed, "z")] {
            let make = |branch: &str| {
                git(&repository, &["branch", branch, &id.to_string()]).status.success()
            };
            let start = || {
                let third = make(old) && make(third);
                if form == Form::Packed {
                    repository.git(&["pack-refs", "--all"]);
                }
                third
            };
            let remove_all = || {
                for branch in names(&store) {
                    repository.git(&["branch", "-q", "-D", &branch]);
                }
            };
            let has_third = start();
            let theirs = git(&repository, &["branch", "-m", old, new]).status.success();
            let their_names = names(&store);
            remove_all();

            start();
            let ours = store.rename(&name(old), &name(new), id);
            assert_eq!(
                (ours == Ok(true), names(&store)),
                (theirs, their_names),
                "{old} to {new} beside {third}: {ours:?}"
            );
            assert_eq!(
                repository.git(&["for-each-ref", "--format=%(refname:short)"]),
                names(&store).join("\n")
            );
            repository.git(&["fsck", "--strict"]);
            remove_all();

            let memory = MemoryStore::new();
            for branch in
                [Some(old), Some(third).filter(|_| has_third)].into_iter().flatten().map(name)
            {
                memory
                    .update(&[], &[RefUpdate { branch: &branch, from: None, to: Some(id) }])
                    .unwrap();
            }
            assert_eq!(
                memory.rename(&name(old), &name(new), id) == Ok(true),
                theirs,
                "{old} to {new} in memory"
            );
        }
    }
}

#[test]
fn a_rename_is_atomic_and_keeps_the_reflog() {
    let repository = TempRepository::new("once");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    repository.git(&["-c", "core.logAllRefUpdates=always", "branch", "a", &id.to_string()]);
    // All subsequent renames affect only `packed-refs`.
    repository.git(&["pack-refs", "--all"]);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..30 {
                for (old, new) in [("a", "a/b"), ("a/b", "a"), ("a", "c"), ("c", "a")] {
                    assert_eq!(store.rename(&name(old), &name(new), id), Ok(true));
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            let seen = repository.git(&["for-each-ref", "--format=%(refname)"]);
            assert_eq!(seen.lines().count(), 1, "{seen}");
        }
    });
    assert_eq!(repository.git(&["reflog", "a"]).lines().count(), 1 + 4 * 30);
}

#[test]
fn updates_succeed_while_git_removes_empty_directories() {
    let repository = TempRepository::new("meanwhile");
    let store = GitStore::open(&repository.0).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // `git pack-refs` fails if a branch is locked.
                git(&repository, &["pack-refs", "--all"]);
            }
        });
        let workers: Vec<_> = ["one", "two"]
            .into_iter()
            .map(|worker| {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..100 {
                        let branch = format!("deep/{worker}/down");
                        // Use new commits in every iteration. When `git pack-refs` has packed a
                        // branch, it removes the loose file if the file contains the packed commit.
                        // If a commit were reused, `git pack-refs` could remove a newer loose file.
                        let [a, b] = ["a", "b"]
                            .map(|side| write_commit(store, &format!("{worker} {number} {side}")));
                        assert!(set_branch(store, &branch, None, Some(a)), "{number}");
                        assert!(set_branch(store, &branch, Some(a), Some(b)), "{number}");
                        assert!(set_branch(store, &branch, Some(b), None), "{number}");
                    }
                })
            })
            .collect();
        let done: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(done.iter().all(Result::is_ok));
    });
    assert_eq!(repository.git(&["for-each-ref"]), "");
}

#[test]
fn create_fails_if_the_branch_exists() {
    let repository = TempRepository::new("made-once");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    for store in [&store as &dyn Store, &MemoryStore::new()] {
        let make = |from| {
            store.update(&[], &[RefUpdate { branch: &name("b"), from, to: Some(id) }]).unwrap()
        };
        // An existing branch cannot be created again, even with the same commit.
        assert_eq!(
            [make(None), make(None), make(Some(Id::EMPTY_TREE)), make(Some(id))],
            [true, false, false, true]
        );
    }
}

#[test]
fn updates_follow_symbolic_branches() {
    let repository = TempRepository::new("symbolic");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    repository.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/real"]);
    repository.git(&["symbolic-ref", "refs/heads/second", "refs/heads/alias"]);
    assert_eq!(names(&store), [] as [&str; 0]);
    assert!(set_branch(&store, "second", None, Some(a)));
    assert_eq!(names(&store), ["alias", "real", "second"]);
    repository.git(&["pack-refs", "--all"]);
    assert!(
        set_branch(&store, "alias", Some(a), Some(b))
            && !set_branch(&store, "alias", Some(a), Some(b))
    );
    assert_eq!(repository.git(&["rev-parse", "real", "second"]), format!("{b}\n{b}"));
    assert!(matches!(store.rename(&name("alias"), &name("x"), b), Err(Error::Refused(_))));
    // Removing a symbolic branch does not remove its target.
    assert!(set_branch(&store, "alias", Some(b), None));
    assert_eq!(names(&store), ["real"]);
    repository.git(&["symbolic-ref", "refs/heads/loop", "refs/heads/loop"]);
    std::fs::write(store.dir().join("refs/heads/out"), "ref: ../../../etc/passwd\n").unwrap();
    for bad in ["loop", "out"] {
        assert!(matches!(store.head(&name(bad)), Err(error) if error.to_string().contains(bad)));
    }
    assert_eq!(names(&store), ["real"]);
}

#[test]
fn a_remote_may_rename_a_branch_to_its_own_child() {
    let (here, there) = (TempRepository::new("fetch-here"), TempRepository::new("fetch-there"));
    let (store, other) = (GitStore::open(&here.0).unwrap(), GitStore::open(&there.0).unwrap());
    let url = there.0.display().to_string();
    let first = write_commit(&other, "first");
    assert!(set_branch(&other, "a", None, Some(first)));
    assert_eq!(store.fetch("r", &url, &name("a")), Ok(first));
    assert!(other.rename(&name("a"), &name("a/b"), first).unwrap());
    let second = write_commit(&other, "second");
    assert!(set_branch(&other, "a/b", Some(first), Some(second)));
    assert_eq!(store.fetch("r", &url, &name("a/b")), Ok(second));
    here.git(&["pack-refs", "--all"]);
    assert!(other.rename(&name("a/b"), &name("a"), second).unwrap());
    assert_eq!(store.fetch("r", &url, &name("a")), Ok(second));
    assert_eq!(here.git(&["for-each-ref"]).lines().count(), 2);
    store.forget_remote("other").unwrap();
    assert_eq!(here.git(&["for-each-ref"]).lines().count(), 2);
    store.forget_remote("r").unwrap();
    assert_eq!(here.git(&["for-each-ref"]), "");
}

#[test]
fn rename_and_remove_move_the_settings_of_a_branch() {
    let repository = TempRepository::new("settings");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    assert!(set_branch(&store, "a\"b", None, Some(id)));
    repository.git(&["config", "branch.a\"b.merge", "refs/heads/theirs"]);
    assert!(store.rename(&name("a\"b"), &name("a/c"), id).unwrap());
    assert_eq!(
        repository.git(&["config", "--get-regexp", "^branch"]),
        "branch.a/c.merge refs/heads/theirs"
    );
    assert!(set_branch(&store, "a/c", Some(id), None));
    assert!(!git(&repository, &["config", "--get-regexp", "^branch"]).status.success());
}

#[test]
fn a_repository_with_conflicting_branches_can_be_repaired() {
    let repository = TempRepository::new("damaged");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    assert!(set_branch(&store, "a", None, Some(a)));
    repository.git(&["pack-refs", "--all"]);
    let dir = store.dir().join("refs/heads/a");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("b"), format!("{b}\n")).unwrap();
    assert_eq!(names(&store), ["a", "a/b"]);
    let moved = store.update(&[], &[RefUpdate { branch: &name("a"), from: Some(a), to: Some(b) }]);
    assert_eq!(
        moved,
        Err(Error::BranchConflict { branch: "a".to_owned(), other: "a/b".to_owned() })
    );
    assert!(set_branch(&store, "a", Some(a), None));
    assert!(set_branch(&store, "a/b", Some(b), Some(a)));
    assert_eq!(names(&store), ["a/b"]);
}

#[test]
fn rename_to_a_dangling_symbolic_branch_is_refused() {
    let repository = TempRepository::new("dangling");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "x");
    assert!(set_branch(&store, "a", None, Some(id)));
    repository.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/nowhere"]);
    assert!(matches!(store.rename(&name("a"), &name("alias"), id), Err(Error::Refused(_))));
    assert_eq!(names(&store), ["a"]);
}
