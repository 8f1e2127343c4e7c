//! Branches beside branches, compared with those of `git`.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Place, commit, go};
use crate::store::{Git, Memory, RefUpdate, Store};
use crate::{BranchName, Error, Id};

fn git(place: &Place, args: &[&str]) -> Output {
    Command::new("git").arg("-C").arg(&place.0).args(args).output().unwrap()
}

fn name(text: &str) -> BranchName {
    BranchName::new(text).unwrap()
}

fn names(store: &dyn Store) -> Vec<String> {
    store.heads().unwrap().iter().map(|(name, _)| name.to_string()).collect()
}

/// Names of which git refuses about half.
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
fn a_branch_name_is_refused_exactly_if_git_refuses_it() {
    let place = Place::new("odd-names");
    place.git(&["init", "-q", "."]);
    for odd in odd_names() {
        let theirs = git(&place, &["check-ref-format", "--branch", &odd]).status.success();
        assert_eq!(BranchName::new(&odd).is_ok(), theirs, "{odd:?}");
    }
    // Git makes no such file.
    BranchName::new("x".repeat(250)).unwrap();
    assert!(BranchName::new(format!("a/{}", "x".repeat(251))).is_err());
}

const PAIRS: [&str; 7] = ["a", "a/b", "a/b/c", "a-b", "ab", "a/c", "b"];

/// Where a branch is before another one is made.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Loose,
    Packed,
}

#[test]
fn a_branch_is_made_beside_another_one_exactly_if_git_makes_it() {
    let place = Place::new("beside");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    for (form, old, new) in [Form::Loose, Form::Packed]
        .into_iter()
        .flat_map(|form| PAIRS.into_iter().flat_map(move |old| PAIRS.map(|new| (form, old, new))))
        .filter(|(_, old, new)| old != new)
    {
        let theirs = {
            place.git(&["branch", old, &id.to_string()]);
            if form == Form::Packed {
                place.git(&["pack-refs", "--all"]);
            }
            let made = git(&place, &["branch", new, &id.to_string()]).status.success();
            place.git(&["branch", "-q", "-D", old]);
            made && git(&place, &["branch", "-q", "-D", new]).status.success()
        };
        let memory = Memory::new();
        for store in [&store as &dyn Store, &memory] {
            let make = |name: &BranchName| {
                store.update(&[], &[RefUpdate { branch: name, from: None, to: Some(id) }])
            };
            assert_eq!(make(&name(old)), Ok(true));
            if form == Form::Packed {
                place.git(&["pack-refs", "--all"]);
            }
            let expected = if theirs {
                Ok(true)
            } else {
                Err(Error::InTheWay { branch: new.to_owned(), other: old.to_owned() })
            };
            let in_the_way = store.conflicting_branch(&name(new)).unwrap();
            assert_eq!(
                in_the_way,
                (!theirs).then(|| old.to_owned()),
                "{new} beside {old}, {form:?}"
            );
            assert_eq!(make(&name(new)), expected, "{new} beside {old}, {form:?}");
            for branch in [old, new].map(name) {
                let from = store.head(&branch).unwrap();
                assert!(
                    store.update(&[], &[RefUpdate { branch: &branch, from, to: None }]).unwrap()
                );
            }
            assert_eq!(names(store), [] as [&str; 0]);
        }
    }
    assert_eq!(place.git(&["for-each-ref"]), "");
}

#[test]
fn a_branch_is_renamed_exactly_if_git_renames_it() {
    let place = Place::new("renames");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    for (old, new) in PAIRS
        .into_iter()
        .flat_map(|old| PAIRS.map(|new| (old, new)))
        .filter(|(old, new)| old != new)
    {
        for (form, third) in [(Form::Loose, "z"), (Form::Packed, "a/z"), (Form::Packed, "z")] {
            let make =
                |branch: &str| git(&place, &["branch", branch, &id.to_string()]).status.success();
            let start = || {
                let third = make(old) && make(third);
                if form == Form::Packed {
                    place.git(&["pack-refs", "--all"]);
                }
                third
            };
            let remove_all = || {
                for branch in names(&store) {
                    place.git(&["branch", "-q", "-D", &branch]);
                }
            };
            let has_third = start();
            let theirs = git(&place, &["branch", "-m", old, new]).status.success();
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
                place.git(&["for-each-ref", "--format=%(refname:short)"]),
                names(&store).join("\n")
            );
            place.git(&["fsck", "--strict"]);
            remove_all();

            let memory = Memory::new();
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
fn a_renamed_branch_takes_its_log_with_it_and_is_always_there_once() {
    let place = Place::new("once");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    place.git(&["-c", "core.logAllRefUpdates=always", "branch", "a", &id.to_string()]);
    // It is in one file from here on.
    place.git(&["pack-refs", "--all"]);
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
            let seen = place.git(&["for-each-ref", "--format=%(refname)"]);
            assert_eq!(seen.lines().count(), 1, "{seen}");
        }
    });
    assert_eq!(place.git(&["reflog", "a"]).lines().count(), 1 + 4 * 30);
}

#[test]
fn directories_that_git_removes_meanwhile_stop_no_branch() {
    let place = Place::new("meanwhile");
    let store = Git::open(&place.0).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // It may find a branch locked.
                git(&place, &["pack-refs", "--all"]);
            }
        });
        let workers: Vec<_> = ["one", "two"]
            .into_iter()
            .map(|worker| {
                let store = &store;
                scope.spawn(move || {
                    for number in 0..100 {
                        let branch = format!("deep/{worker}/down");
                        // Never the same twice: git itself removes a branch that comes back to
                        // where it found it.
                        let [a, b] = ["a", "b"]
                            .map(|side| commit(store, &format!("{worker} {number} {side}")));
                        assert!(go(store, &branch, None, Some(a)), "{number}");
                        assert!(go(store, &branch, Some(a), Some(b)), "{number}");
                        assert!(go(store, &branch, Some(b), None), "{number}");
                    }
                })
            })
            .collect();
        let done: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(done.iter().all(Result::is_ok));
    });
    assert_eq!(place.git(&["for-each-ref"]), "");
}

#[test]
fn a_branch_is_made_only_if_it_is_not_there() {
    let place = Place::new("made-once");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    for store in [&store as &dyn Store, &Memory::new()] {
        let make = |from| {
            store.update(&[], &[RefUpdate { branch: &name("b"), from, to: Some(id) }]).unwrap()
        };
        // To the same commit as well.
        assert_eq!(
            [make(None), make(None), make(Some(Id::EMPTY_TREE)), make(Some(id))],
            [true, false, false, true]
        );
    }
}

#[test]
fn symbolic_branches_are_followed() {
    let place = Place::new("symbolic");
    let store = Git::open(&place.0).unwrap();
    let (a, b) = (commit(&store, "a"), commit(&store, "b"));
    place.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/real"]);
    place.git(&["symbolic-ref", "refs/heads/second", "refs/heads/alias"]);
    assert_eq!(names(&store), [] as [&str; 0]);
    assert!(go(&store, "second", None, Some(a)));
    assert_eq!(names(&store), ["alias", "real", "second"]);
    place.git(&["pack-refs", "--all"]);
    assert!(go(&store, "alias", Some(a), Some(b)) && !go(&store, "alias", Some(a), Some(b)));
    assert_eq!(place.git(&["rev-parse", "real", "second"]), format!("{b}\n{b}"));
    assert!(matches!(store.rename(&name("alias"), &name("x"), b), Err(Error::Refused(_))));
    // The name goes, what it leads to stays.
    assert!(go(&store, "alias", Some(b), None));
    assert_eq!(names(&store), ["real"]);
    place.git(&["symbolic-ref", "refs/heads/loop", "refs/heads/loop"]);
    std::fs::write(store.dir().join("refs/heads/out"), "ref: ../../../etc/passwd\n").unwrap();
    for bad in ["loop", "out"] {
        assert!(matches!(store.head(&name(bad)), Err(Error::Store(text)) if text.contains(bad)));
    }
    assert_eq!(names(&store), ["real"]);
}

#[test]
fn a_remote_that_renames_a_branch_into_a_directory_is_fetched_from() {
    let (here, there) = (Place::new("fetch-here"), Place::new("fetch-there"));
    let (store, other) = (Git::open(&here.0).unwrap(), Git::open(&there.0).unwrap());
    let url = there.0.display().to_string();
    let first = commit(&other, "first");
    assert!(go(&other, "a", None, Some(first)));
    assert_eq!(store.fetch("r", &url, &name("a")), Ok(first));
    assert!(other.rename(&name("a"), &name("a/b"), first).unwrap());
    let second = commit(&other, "second");
    assert!(go(&other, "a/b", Some(first), Some(second)));
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
fn the_settings_of_a_branch_go_with_it() {
    let place = Place::new("settings");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    assert!(go(&store, "a\"b", None, Some(id)));
    place.git(&["config", "branch.a\"b.merge", "refs/heads/theirs"]);
    assert!(store.rename(&name("a\"b"), &name("a/c"), id).unwrap());
    assert_eq!(
        place.git(&["config", "--get-regexp", "^branch"]),
        "branch.a/c.merge refs/heads/theirs"
    );
    assert!(go(&store, "a/c", Some(id), None));
    assert!(!git(&place, &["config", "--get-regexp", "^branch"]).status.success());
}

#[test]
fn a_damaged_repository_with_both_is_told_of_and_can_be_repaired() {
    let place = Place::new("damaged");
    let store = Git::open(&place.0).unwrap();
    let (a, b) = (commit(&store, "a"), commit(&store, "b"));
    assert!(go(&store, "a", None, Some(a)));
    place.git(&["pack-refs", "--all"]);
    let dir = store.dir().join("refs/heads/a");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("b"), format!("{b}\n")).unwrap();
    assert_eq!(names(&store), ["a", "a/b"]);
    let moved = store.update(&[], &[RefUpdate { branch: &name("a"), from: Some(a), to: Some(b) }]);
    assert_eq!(moved, Err(Error::InTheWay { branch: "a".to_owned(), other: "a/b".to_owned() }));
    assert!(go(&store, "a", Some(a), None));
    assert!(go(&store, "a/b", Some(b), Some(a)));
    assert_eq!(names(&store), ["a/b"]);
}

#[test]
fn a_branch_takes_no_name_of_a_symbolic_one_that_leads_nowhere() {
    let place = Place::new("dangling");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "x");
    assert!(go(&store, "a", None, Some(id)));
    place.git(&["symbolic-ref", "refs/heads/alias", "refs/heads/nowhere"]);
    assert!(matches!(store.rename(&name("a"), &name("alias"), id), Err(Error::Refused(_))));
    assert_eq!(names(&store), ["a"]);
}
