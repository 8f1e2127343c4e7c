//! Branches that are checked out.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{Place, at};
use crate::model::object::{Commit, EntryMode, Object, ObjectKind, TreeEntry, encode_tree};
use crate::store::{Git, RefUpdate, Store};
use crate::{BranchName, Error, Id, Result};

/// Moves a branch to a new commit of these files.
fn advance(store: &Git, branch: &str, files: &[(&str, &str)]) -> Result<Id> {
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

fn text(error: Result<Id>) -> String {
    match error {
        Err(Error::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

/// A repository with a work tree, which has no commit yet.
fn with_work_tree(name: &str) -> (Place, Git) {
    let place = Place::new(name);
    place.git(&["init", "-q", "-b", "master", "."]);
    for (key, value) in [("user.name", "git"), ("user.email", "git@localhost")] {
        place.git(&["config", key, value]);
    }
    let store = Git::open(&place.0).unwrap();
    (place, store)
}

/// Beside a place, and gone with it.
fn linked(place: &Place, branch: &str) -> Place {
    let dir = PathBuf::from(format!("{}-linked", place.0.display()));
    let _ = fs::remove_dir_all(&dir);
    place.git(&["worktree", "add", "-q", dir.to_str().unwrap(), branch]);
    Place(dir)
}

#[test]
fn a_clean_work_tree_follows_its_branch() {
    let (place, store) = with_work_tree("follows");
    // Before there is a commit as well.
    advance(&store, "master", &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(
        (place.git(&["status", "--porcelain"]), fs::read(place.0.join("a")).unwrap()),
        (String::new(), b"1".to_vec())
    );
    fs::write(place.0.join("untracked"), "mine").unwrap();
    let second = advance(&store, "master", &[("a", "2"), ("c", "1")]).unwrap();
    assert_eq!(place.git(&["status", "--porcelain"]), "?? untracked");
    assert!(!place.0.join("b").exists() && place.0.join("c").exists());
    // What the issue is about: the next commit there takes nothing back.
    place.git(&["add", "untracked"]);
    place.git(&["commit", "-q", "-m", "theirs"]);
    assert_eq!(place.git(&["diff", "--name-only", &second.to_string(), "HEAD"]), "untracked");
    assert_eq!(place.git(&["ls-tree", "--name-only", "master"]), "a\nc\nuntracked");
    // A branch that is not checked out leaves it alone.
    advance(&store, "other", &[("d", "1")]).unwrap();
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_linked_work_tree_follows_its_branch() {
    let (place, store) = with_work_tree("linked");
    advance(&store, "master", &[("a", "1")]).unwrap();
    advance(&store, "dev", &[("a", "1")]).unwrap();
    let linked = linked(&place, "dev");
    advance(&store, "dev", &[("a", "2")]).unwrap();
    assert_eq!(
        (linked.git(&["status", "--porcelain"]), fs::read(linked.0.join("a")).unwrap()),
        (String::new(), b"2".to_vec())
    );
    fs::write(linked.0.join("a"), "mine").unwrap();
    let refused = text(advance(&store, "dev", &[("a", "3")]));
    assert!(
        refused.starts_with("work tree of \"dev\": changes that are not committed (/"),
        "{refused}"
    );
    assert_eq!(fs::read(linked.0.join("a")).unwrap(), b"mine");
    // One that was removed without a word to git has nothing to lose.
    fs::remove_dir_all(&linked.0).unwrap();
    advance(&store, "dev", &[("a", "4")]).unwrap();
}

#[test]
fn nothing_moves_where_a_work_tree_would_lose_something() {
    let (place, store) = with_work_tree("dirty");
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
        fs::write(place.0.join(file), "mine").unwrap();
        if staged {
            place.git(&["add", file]);
        }
        let before = place.git(&["status", "--porcelain"]);
        let refused = text(advance(&store, "master", &[("a", "2"), ("b", "2")]));
        assert!(refused.starts_with(why), "{refused}");
        assert_eq!(
            (at(&store, "master"), place.git(&["status", "--porcelain"])),
            (Some(first), before)
        );
        assert_eq!(fs::read(place.0.join(file)).unwrap(), b"mine");
        place.git(&["reset", "-q", "--hard"]);
        place.git(&["clean", "-q", "-f"]);
    }
    advance(&store, "master", &[("a", "2"), ("b", "2")]).unwrap();
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_work_tree_in_which_a_commit_is_being_made_is_left_alone() {
    let (place, store) = with_work_tree("held");
    let first = advance(&store, "master", &[("a", "1")]).unwrap();
    let lock = place.0.join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    let refused = text(advance(&store, "master", &[("a", "2")]));
    assert!(refused.contains("another git holds index.lock"), "{refused}");
    assert_eq!(at(&store, "master"), Some(first));
    // One that is there for an instant is waited for.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            fs::remove_file(&lock).unwrap();
        });
        advance(&store, "master", &[("a", "2")]).unwrap();
    });
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_branch_in_use_is_removed_and_renamed_as_git_does_it() {
    let remove = |store: &Git, branch: &str| {
        let (name, from) = (BranchName::new(branch).unwrap(), at(store, branch));
        store.update(&[], &[RefUpdate { branch: &name, from, to: None }])
    };
    let rename = |store: &Git, old: &str, new: &str| {
        store.rename(
            &BranchName::new(old).unwrap(),
            &BranchName::new(new).unwrap(),
            at(store, old).unwrap(),
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
        let (place, store) = with_work_tree(case);
        for text in ["1", "2", "3"] {
            advance(&store, "dev", &[("a", text)]).unwrap();
        }
        place.git(&["checkout", "-q", "dev"]);
        place.git(begin);
        let theirs = |args: &[&str]| {
            let copy = Place::new(&format!("{case}-copy"));
            let from = format!("{}/.", place.0.display());
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
                text(advance(&store, "dev", &[("a", "4")]))
                    .starts_with(&format!("branch \"dev\" is {why} in /"))
            );
        }
        let ours = rename(&store, "dev", "dev/new");
        assert_eq!(ours == Ok(true), renamed.0, "{case}: {ours:?}");
        assert_eq!(fs::read_to_string(place.0.join(".git/HEAD")).unwrap(), renamed.1, "{case}");
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
fn a_branch_that_gets_the_name_of_an_unborn_one_fills_its_work_tree() {
    let (place, store) = with_work_tree("unborn");
    advance(&store, "dev", &[("a", "1")]).unwrap();
    let (dev, master) = (BranchName::new("dev").unwrap(), BranchName::new("master").unwrap());
    fs::write(place.0.join("a"), "mine").unwrap();
    let head = at(&store, "dev").unwrap();
    assert!(matches!(store.rename(&dev, &master, head), Err(Error::Refused(_))));
    assert_eq!(at(&store, "dev"), Some(head));
    fs::remove_file(place.0.join("a")).unwrap();
    assert_eq!(store.rename(&dev, &master, head), Ok(true));
    assert_eq!(
        (place.git(&["status", "--porcelain"]), fs::read(place.0.join("a")).unwrap()),
        (String::new(), b"1".to_vec())
    );
}

#[test]
fn a_work_tree_that_a_git_file_makes_follows_its_branch() {
    let (place, apart) = (Place::new("file-work"), Place::new("file-repository"));
    let dir = apart.0.join("repository");
    place.git(&["init", "-q", "-b", "master", "--separate-git-dir", dir.to_str().unwrap(), "."]);
    let store = Git::open(&place.0).unwrap();
    advance(&store, "master", &[("a", "1")]).unwrap();
    assert_eq!(place.git(&["status", "--porcelain"]), "");
    assert!(place.0.join("a").exists());
    drop(store);
    // From there nobody knows where the work tree is.
    let store = Git::open(&dir).unwrap();
    let refused = text(advance(&store, "master", &[("a", "2")]));
    assert_eq!(
        refused,
        "branch \"master\" is checked out elsewhere: serve the directory with the file .git"
    );
    advance(&store, "other", &[("a", "2")]).unwrap();
    assert_eq!(place.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_submodule_follows_its_branch() {
    let (inner, outer) = (Place::new("inner"), Place::new("outer"));
    let who = ["-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always"];
    inner.git(&["init", "-q", "-b", "master", "."]);
    inner.git(&[&who[..], &["commit", "-q", "--allow-empty", "-m", "x"]].concat());
    outer.git(&["init", "-q", "."]);
    outer.git(
        &[&who[..], &["submodule", "--quiet", "add", inner.0.to_str().unwrap(), "sub"]].concat(),
    );
    let sub = Place(outer.0.join("sub"));
    for path in [sub.0.clone(), outer.0.join(".git/modules/sub")] {
        let store = Git::open(&path).unwrap();
        let text = path.display().to_string();
        advance(&store, "master", &[("a", &text)]).unwrap();
        assert_eq!(
            (sub.git(&["status", "--porcelain"]), fs::read_to_string(sub.0.join("a")).unwrap()),
            (String::new(), text)
        );
    }
}

#[test]
fn a_linked_work_tree_goes_with_a_renamed_branch() {
    let (place, store) = with_work_tree("linked-rename");
    advance(&store, "master", &[("a", "1")]).unwrap();
    advance(&store, "dev", &[("a", "1")]).unwrap();
    let linked = linked(&place, "dev");
    let (dev, new) = (BranchName::new("dev").unwrap(), BranchName::new("dev/new").unwrap());
    assert_eq!(store.rename(&dev, &new, at(&store, "dev").unwrap()), Ok(true));
    assert_eq!(linked.git(&["symbolic-ref", "HEAD"]), "refs/heads/dev/new");
    assert_eq!(place.git(&["symbolic-ref", "HEAD"]), "refs/heads/master");
    let refused =
        store.update(&[], &[RefUpdate { branch: &new, from: at(&store, "dev/new"), to: None }]);
    assert!(
        matches!(refused, Err(Error::Refused(text)) if text.starts_with("branch \"dev/new\" is checked out in /"))
    );
}
