mod checkout;
mod form;
mod http;
mod refs;
mod silent;
mod ssh;

use std::process::Command;

use super::*;
use crate::model::object::{Commit, Object, encode_tree};
use crate::remote::{GitError, TIMEOUT};

/// A directory that goes with the test.
pub(super) struct Place(pub(super) PathBuf);

impl Place {
    pub(super) fn new(name: &str) -> Place {
        let path = std::env::temp_dir().join(format!("datakit-git-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Place(path)
    }

    pub(super) fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git").arg("-C").arg(&self.0).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn commit(store: &Git, message: &str) -> Id {
    let (tree, empty) = encode_tree([]).unwrap();
    let (id, commit) = Commit::encode(tree, &[], message.as_bytes(), 1_700_000_000).unwrap();
    store.write(&[(tree, empty), (id, commit)]).unwrap();
    id
}

pub(super) fn go(store: &Git, branch: &str, from: Option<Id>, to: Option<Id>) -> bool {
    store.update(&[], &[RefUpdate { branch: &BranchName::new(branch).unwrap(), from, to }]).unwrap()
}

fn at(store: &Git, branch: &str) -> Option<Id> {
    store.head(&BranchName::new(branch).unwrap()).unwrap()
}

#[test]
fn history_is_walked_by_the_commit_graph_where_there_is_one() {
    let place = Place::new("commit-graph");
    let store = std::sync::Arc::new(Git::open(&place.0).unwrap());
    let tree = encode_tree([]).unwrap().0;
    let mut line = vec![commit(&store, "first")];
    for time in 1_700_000_001..1_700_000_006 {
        let parents = [*line.last().unwrap()];
        let (id, object) = Commit::encode(tree, &parents, b"", time).unwrap();
        store.write(&[(id, object)]).unwrap();
        line.push(id);
    }
    assert!(go(&store, "master", None, line.last().copied()));
    place.git(&["commit-graph", "write", "--reachable"]);
    // What the graph knows need not be read, so nobody misses this one.
    let middle = line[2].to_string();
    fs::remove_file(store.dir().join("objects").join(&middle[..2]).join(&middle[2..])).unwrap();
    let came_from = |ancestor: usize, of: usize| {
        let objects = crate::model::object_cache::ObjectCache::new(store.clone());
        crate::model::history::is_ancestor(&objects, line[ancestor], line[of])
    };
    assert_eq!((came_from(0, 5), came_from(5, 0)), (Ok(true), Ok(false)));
    fs::remove_file(store.dir().join("objects/info/commit-graph")).unwrap();
    assert!(came_from(0, 5).is_err());
}

#[test]
fn an_object_is_found_after_its_pack_could_not_be_read_once() {
    let place = Place::new("pack-unread");
    let id = commit(&Git::open(&place.0).unwrap(), "packed");
    let store = Git::open(&place.0).unwrap();
    assert!(go(&store, "master", None, Some(id)));
    place.git(&["repack", "-adq"]);
    let packs: Vec<_> = fs::read_dir(store.dir().join("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let index = packs.iter().find(|path| path.extension().is_some_and(|end| end == "idx")).unwrap();
    // The store has a list of packs now, and has opened none of them.
    let loose = commit(&store, "loose");
    assert!(store.read(loose).unwrap().is_some());
    fs::rename(index, index.with_extension("away")).unwrap();
    let then = fs::metadata(index.with_extension("away")).unwrap().modified().unwrap();
    fs::File::create(index).unwrap().set_modified(then).unwrap();
    assert_eq!(
        (store.read(id), store.header(id), store.exists(id)),
        (Ok(None), Ok(None), Ok(false))
    );
    fs::rename(index.with_extension("away"), index).unwrap();
    assert!(store.read(id).unwrap().is_some());
    assert!(store.header(id).unwrap().is_some());
    assert!(store.exists(id).unwrap());
}

#[test]
fn d54_git_accepts_it_from_the_first_moment() {
    let place = Place::new("fresh");
    let store = Git::open(&place.0).unwrap();
    assert_eq!(place.git(&["rev-parse", "--is-bare-repository"]), "true");
    place.git(&["fsck", "--strict"]);
    let id = commit(&store, "first");
    assert!(go(&store, "master", None, Some(id)));
    assert_eq!(
        place.git(&["log", "--format=%H %an <%ae> %s"]),
        format!("{id} datakit <datakit@mobyproject.org> first")
    );
    place.git(&["fsck", "--strict"]);
}

#[test]
fn d54_a_bare_repository_is_taken_as_it_is() {
    let place = Place::new("bare");
    place.git(&["init", "-q", "--bare", "."]);
    let store = Git::open(&place.0).unwrap();
    assert_eq!(fs::canonicalize(store.dir()).unwrap(), fs::canonicalize(&place.0).unwrap());
    assert_eq!(store.heads().unwrap(), []);
}

#[test]
fn packed_branches_are_found_moved_and_removed() {
    let place = Place::new("packed");
    let store = Git::open(&place.0).unwrap();
    let (a, b) = (commit(&store, "a"), commit(&store, "b"));
    for branch in ["master", "nested/one", "other"] {
        assert!(go(&store, branch, None, Some(a)));
    }
    place.git(&["pack-refs", "--all"]);
    assert_eq!((at(&store, "master"), store.heads().unwrap().len()), (Some(a), 3));
    assert!(!go(&store, "master", Some(b), Some(a)) && !go(&store, "master", None, Some(b)));
    assert!(go(&store, "master", Some(a), Some(b)));
    assert!(go(&store, "nested/one", Some(a), None));
    assert_eq!((at(&store, "master"), at(&store, "nested/one")), (Some(b), None));
    assert_eq!(
        place.git(&["for-each-ref", "--format=%(refname)"]),
        "refs/heads/master\nrefs/heads/other"
    );
    place.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(store.read(b).unwrap().unwrap().kind, ObjectKind::Commit);
    assert!(go(&store, "master", Some(b), Some(a)));
    place.git(&["fsck", "--strict"]);
}

#[test]
fn several_branches_move_or_none() {
    let place = Place::new("several");
    let store = Git::open(&place.0).unwrap();
    let (a, b) = (commit(&store, "a"), commit(&store, "b"));
    assert!(go(&store, "old", None, Some(a)));
    let (old, new) = (BranchName::new("old").unwrap(), BranchName::new("new").unwrap());
    let rename = |from| {
        store
            .update(
                &[],
                &[
                    RefUpdate { branch: &old, from, to: None },
                    RefUpdate { branch: &new, from: None, to: from },
                ],
            )
            .unwrap()
    };
    assert!(!rename(Some(b)));
    assert_eq!((at(&store, "old"), at(&store, "new")), (Some(a), None));
    assert!(rename(Some(a)));
    assert_eq!((at(&store, "old"), at(&store, "new")), (None, Some(a)));
}

#[test]
fn a_stray_lock_is_no_branch() {
    let place = Place::new("lock");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "a");
    assert!(go(&store, "master", None, Some(id)));
    fs::write(store.dir().join("refs/heads/x.lock"), "").unwrap();
    assert_eq!(store.heads().unwrap(), [(BranchName::new("master").unwrap(), id)]);
}

#[test]
fn a_lock_of_a_dead_program_is_not_in_the_way() {
    let place = Place::new("stale");
    let id = commit(&Git::open(&place.0).unwrap(), "a");
    let heads = place.0.join(".git/refs/heads");
    fs::create_dir_all(heads.join("nested")).unwrap();
    for lock in ["master.lock", "nested/one.lock"] {
        fs::write(heads.join(lock), "").unwrap();
    }
    let store = Git::open(&place.0).unwrap();
    assert!(go(&store, "master", None, Some(id)) && go(&store, "nested/one", None, Some(id)));
}

#[test]
fn another_repository_is_fetched_from() {
    let (here, there) = (Place::new("here"), Place::new("there"));
    let (store, other) = (Git::open(&here.0).unwrap(), Git::open(&there.0).unwrap());
    let id = commit(&other, "far");
    assert!(go(&other, "master", None, Some(id)));
    let url = there.0.display().to_string();
    let master = BranchName::new("master").unwrap();
    assert_eq!(store.fetch("r", &url, &master), Ok(id));
    assert_eq!(
        store.fetch("r", &url, &BranchName::new("no").unwrap()),
        Err(FetchError::NoSuchBranch)
    );
    assert!(matches!(
        store.fetch("r", "/nowhere", &master),
        Err(FetchError::Git(GitError::Failed(_)))
    ));
    assert_eq!(
        (store.read(id).unwrap().unwrap().kind, store.heads().unwrap()),
        (ObjectKind::Commit, vec![])
    );
    assert_eq!(here.git(&["for-each-ref", "--format=%(refname)"]), "refs/remotes/r/master");
    store.forget_remote("r").unwrap();
    assert_eq!(here.git(&["for-each-ref"]), "");
}

#[test]
fn what_a_killed_server_fetched_is_forgotten() {
    let place = Place::new("left");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "a").to_string();
    drop(store);
    for remote in [
        "datakit-1-22/master",
        "datakit-1-22/nested/one",
        "datakit-x/master",
        "datakit-1/master",
        "origin/master",
    ] {
        place.git(&["update-ref", &format!("refs/remotes/{remote}"), &id]);
    }
    place.git(&["pack-refs", "--all"]);
    let _store = Git::open(&place.0).unwrap();
    let left = place.git(&["for-each-ref", "--format=%(refname:lstrip=2)"]);
    assert_eq!(left, "datakit-1/master\ndatakit-x/master\norigin/master");
}

#[test]
fn what_others_do_is_told() {
    let place = Place::new("watch");
    let store = Git::open(&place.0).unwrap();
    let id = commit(&store, "a");
    assert!(go(&store, "master", None, Some(id)));
    let (tell, told) = std::sync::mpsc::channel();
    let tell = Mutex::new(tell);
    let watching =
        store.watch(Box::new(move |_| tell.lock().send(()).unwrap_or_default())).unwrap();
    for change in
        [&["branch", "dev", "master"][..], &["pack-refs", "--all"], &["branch", "-D", "dev"]]
    {
        while told.try_recv().is_ok() {}
        place.git(change);
        told.recv_timeout(std::time::Duration::from_secs(1)).unwrap();
    }
    drop(watching);
}

#[test]
fn what_a_repack_dropped_is_written_again() {
    let place = Place::new("dropped");
    let store = Git::open(&place.0).unwrap();
    let (kept, dropped) = (commit(&store, "kept"), commit(&store, "dropped"));
    assert!(go(&store, "master", None, Some(kept)) && go(&store, "other", None, Some(dropped)));
    place.git(&["repack", "-adq"]);
    // The store knows the pack from now on.
    assert!(store.read(dropped).unwrap().is_some());
    place.git(&["branch", "-D", "other"]);
    place.git(&["repack", "-adq"]);
    assert_eq!(commit(&store, "dropped"), dropped);
    assert!(go(&store, "other", None, Some(dropped)));
    assert_eq!(place.git(&["log", "--format=%s", "other"]), "dropped");
    place.git(&["fsck", "--strict"]);
}

#[test]
fn what_is_written_again_is_not_old() {
    let place = Place::new("old");
    let store = Git::open(&place.0).unwrap();
    let (fan, rest) = {
        let id = commit(&store, "a").to_string();
        (id[..2].to_owned(), id[2..].to_owned())
    };
    let path = store.dir().join("objects").join(fan).join(rest);
    fs::File::open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    commit(&store, "a");
    assert!(fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap().as_secs() < 60);
}

/// Directories in which objects wait for their place.
fn aside(store: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(store.join("objects")).unwrap().map(|entry| entry.unwrap().path());
    names
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tmp_objdir-"))
        .collect()
}

#[test]
fn what_waits_for_its_place_goes_with_the_store() {
    let place = Place::new("aside");
    let store = Git::open(&place.0).unwrap();
    let dir = store.dir();
    commit(&store, "a");
    let [waiting] = &aside(&dir)[..] else { panic!("one directory") };
    // As `git gc` does it when it is old.
    fs::remove_dir_all(waiting).unwrap();
    let id = commit(&store, "b");
    assert!(store.read(id).unwrap().is_some());
    drop(store);
    assert_eq!(aside(&dir), [] as [PathBuf; 0]);

    let killed = dir.join("objects/tmp_objdir-datakit-1-1/00");
    fs::create_dir_all(&killed).unwrap();
    fs::write(killed.join("half"), "").unwrap();
    let of_git = dir.join("objects/tmp_objdir-incoming-1");
    fs::create_dir(&of_git).unwrap();
    let _store = Git::open(&place.0).unwrap();
    assert_eq!(aside(&dir), [of_git]);
}

#[test]
fn objects_are_kept_before_a_branch_moves_whatever_is_synced() {
    for sync in [Fsync::All, Fsync::Files, Fsync::None] {
        let place = Place::new(&format!("{sync:?}"));
        let store = Git::open(&place.0).unwrap().with_fsync(sync);
        // More than are written at a time.
        let mut objects: Vec<_> =
            (0..50).map(|n: u8| Object::new(ObjectKind::Blob, [n]).unwrap()).collect();
        let (tree, empty) = encode_tree([]).unwrap();
        let (id, commit) = Commit::encode(tree, &[], b"all", 1_700_000_000).unwrap();
        objects.extend([(tree, empty), (id, commit)]);
        let branch = BranchName::new("master").unwrap();
        let moves = |from, to| [RefUpdate { branch: &branch, from, to: Some(to) }];
        assert!(store.update(&objects, &moves(None, id)).unwrap());
        assert!(!store.update(&objects, &moves(Some(tree), id)).unwrap());
        assert_eq!(place.git(&["log", "--format=%s", "master"]), "all");
        assert_eq!(place.git(&["count-objects"]).split(' ').next(), Some("52"));
        assert!(
            objects.iter().all(|(id, object)| store.read(*id).unwrap().as_ref() == Some(object))
        );
        place.git(&["fsck", "--strict"]);
    }
}
