mod config;
mod discover;
mod fetch;
mod http;
mod refs;
mod stale;
mod work_trees;

use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;
use crate::model::commit::Commit;
use crate::model::object::Object;
use crate::model::tree_text::encode_tree;
use crate::remote::{GitError, TIMEOUT};

/// A temporary directory for a repository, which is removed at the end of the test.
pub(super) struct TempRepository(pub(super) PathBuf);

impl TempRepository {
    pub(super) fn new(name: &str) -> TempRepository {
        let path = std::env::temp_dir().join(format!("datakit-git-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        TempRepository(path)
    }

    /// Runs `git` in the directory and returns its output. Panics if `git` fails.
    pub(super) fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git").arg("-C").arg(&self.0).args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for TempRepository {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a commit whose tree is empty.
pub(super) fn write_commit(store: &GitStore, message: &str) -> Id {
    let (tree, empty) = encode_tree([]).unwrap();
    let (id, commit) = Commit::encode(tree, &[], message.as_bytes(), 1_700_000_000).unwrap();
    store.write(&[(tree, empty), (id, commit)]).unwrap();
    id
}

pub(super) fn set_branch(store: &GitStore, branch: &str, from: Option<Id>, to: Option<Id>) -> bool {
    let branch = BranchName::new(branch).unwrap();
    store.update(&[], &[RefUpdate { branch: &branch, from, to }]).unwrap()
}

fn head_of(store: &GitStore, branch: &str) -> Option<Id> {
    store.head(&BranchName::new(branch).unwrap()).unwrap()
}

#[test]
fn a_walk_uses_the_commit_graph_if_there_is_one() {
    let repository = TempRepository::new("commit-graph");
    let store = std::sync::Arc::new(GitStore::open(&repository.0).unwrap());
    let tree = encode_tree([]).unwrap().0;
    let mut line = vec![write_commit(&store, "first")];
    for time in 1_700_000_001..1_700_000_006 {
        let parents = [*line.last().unwrap()];
        let (id, object) = Commit::encode(tree, &parents, b"", time).unwrap();
        store.write(&[(id, object)]).unwrap();
        line.push(id);
    }
    assert!(set_branch(&store, "master", None, line.last().copied()));
    repository.git(&["commit-graph", "write", "--reachable"]);
    // The history is read from the commit graph, which still contains the removed commit.
    let middle = line[2].to_string();
    fs::remove_file(store.dir().join("objects").join(&middle[..2]).join(&middle[2..])).unwrap();
    let is_ancestor = |ancestor: usize, of: usize| {
        let objects = crate::model::object_cache::ObjectCache::new(store.clone());
        crate::model::history::is_ancestor(&objects, line[ancestor], line[of])
    };
    assert_eq!((is_ancestor(0, 5), is_ancestor(5, 0)), (Ok(true), Ok(false)));
    fs::remove_file(store.dir().join("objects/info/commit-graph")).unwrap();
    assert!(is_ancestor(0, 5).is_err());
}

#[test]
fn d54_git_accepts_a_new_repository() {
    let repository = TempRepository::new("fresh");
    let store = GitStore::open(&repository.0).unwrap();
    assert_eq!(repository.git(&["rev-parse", "--is-bare-repository"]), "true");
    repository.git(&["fsck", "--strict"]);
    let id = write_commit(&store, "first");
    assert!(set_branch(&store, "master", None, Some(id)));
    assert_eq!(
        repository.git(&["log", "--format=%H %an <%ae> %s"]),
        format!("{id} datakit <datakit@mobyproject.org> first")
    );
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn d54_a_bare_repository_is_opened_in_place() {
    let repository = TempRepository::new("bare");
    repository.git(&["init", "-q", "--bare", "."]);
    let store = GitStore::open(&repository.0).unwrap();
    assert_eq!(fs::canonicalize(store.dir()).unwrap(), fs::canonicalize(&repository.0).unwrap());
    assert_eq!(store.heads().unwrap(), []);
}

#[test]
fn packed_branches_are_read_updated_and_removed() {
    let repository = TempRepository::new("packed");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    for branch in ["master", "nested/one", "other"] {
        assert!(set_branch(&store, branch, None, Some(a)));
    }
    repository.git(&["pack-refs", "--all"]);
    assert_eq!((head_of(&store, "master"), store.heads().unwrap().len()), (Some(a), 3));
    assert!(!set_branch(&store, "master", Some(b), Some(a)));
    assert!(!set_branch(&store, "master", None, Some(b)));
    assert!(set_branch(&store, "master", Some(a), Some(b)));
    assert!(set_branch(&store, "nested/one", Some(a), None));
    assert_eq!((head_of(&store, "master"), head_of(&store, "nested/one")), (Some(b), None));
    assert_eq!(
        repository.git(&["for-each-ref", "--format=%(refname)"]),
        "refs/heads/master\nrefs/heads/other"
    );
    repository.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(store.read(b).unwrap().unwrap().kind, ObjectKind::Commit);
    assert!(set_branch(&store, "master", Some(b), Some(a)));
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn several_updates_are_made_together_or_not_at_all() {
    let repository = TempRepository::new("several");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    assert!(set_branch(&store, "old", None, Some(a)));
    let (old, new) = (BranchName::new("old").unwrap(), BranchName::new("new").unwrap());
    let rename = |from| {
        let remove = RefUpdate { branch: &old, from, to: None };
        let create = RefUpdate { branch: &new, from: None, to: from };
        store.update(&[], &[remove, create]).unwrap()
    };
    assert!(!rename(Some(b)));
    assert_eq!((head_of(&store, "old"), head_of(&store, "new")), (Some(a), None));
    assert!(rename(Some(a)));
    assert_eq!((head_of(&store, "old"), head_of(&store, "new")), (None, Some(a)));
}

#[test]
fn lock_files_are_not_listed_as_branches() {
    let repository = TempRepository::new("lock");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "a");
    assert!(set_branch(&store, "master", None, Some(id)));
    fs::write(store.dir().join("refs/heads/x.lock"), "").unwrap();
    assert_eq!(store.heads().unwrap(), [(BranchName::new("master").unwrap(), id)]);
}

#[test]
fn locks_of_a_killed_program_do_not_block_a_new_server() {
    let repository = TempRepository::new("stale");
    let id = write_commit(&GitStore::open(&repository.0).unwrap(), "a");
    let heads = repository.0.join(".git/refs/heads");
    fs::create_dir_all(heads.join("nested")).unwrap();
    for lock in ["master.lock", "nested/one.lock"] {
        fs::write(heads.join(lock), "").unwrap();
    }
    let store = GitStore::open(&repository.0).unwrap();
    assert!(set_branch(&store, "master", None, Some(id)));
    assert!(set_branch(&store, "nested/one", None, Some(id)));
}

#[test]
fn changes_by_other_programs_are_reported() {
    let repository = TempRepository::new("watch");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "a");
    assert!(set_branch(&store, "master", None, Some(id)));
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = parking_lot::Mutex::new(sender);
    // Ignore polls, because the store also polls when nothing has changed.
    let report = move |changes: &RefChanges| match changes {
        RefChanges::Poll => {}
        _ => sender.lock().send(()).unwrap_or_default(),
    };
    let guard = store.watch(Box::new(report)).unwrap();
    for command in
        [&["branch", "dev", "master"][..], &["pack-refs", "--all"], &["branch", "-D", "dev"]]
    {
        while receiver.try_recv().is_ok() {}
        repository.git(command);
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    drop(guard);
}

#[test]
fn existing_objects_get_a_new_modification_time() {
    let repository = TempRepository::new("old");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "a").to_string();
    let path = store.dir().join("objects").join(&id[..2]).join(&id[2..]);
    fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    write_commit(&store, "a");
    assert!(fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap().as_secs() < 60);
}

/// Returns the staging directories for new objects.
fn staging_dirs(repository: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(repository.join("objects")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tmp_objdir-"))
        .collect()
}

#[test]
fn staging_directories_are_created_and_removed_as_needed() {
    let repository = TempRepository::new("staging");
    let store = GitStore::open(&repository.0).unwrap();
    let dir = store.dir();
    write_commit(&store, "a");
    let [staging] = &staging_dirs(&dir)[..] else { panic!("one directory") };
    // Remove the staging directory, as `git gc` does if the directory is old.
    fs::remove_dir_all(staging).unwrap();
    let id = write_commit(&store, "b");
    assert!(store.read(id).unwrap().is_some());
    drop(store);
    assert_eq!(staging_dirs(&dir), [] as [PathBuf; 0]);

    let killed = dir.join("objects/tmp_objdir-datakit-1-1/00");
    fs::create_dir_all(&killed).unwrap();
    fs::write(killed.join("half"), "").unwrap();
    let of_git = dir.join("objects/tmp_objdir-incoming-1");
    fs::create_dir(&of_git).unwrap();
    let _store = GitStore::open(&repository.0).unwrap();
    assert_eq!(staging_dirs(&dir), [of_git]);
}

#[test]
fn every_fsync_level_writes_objects_before_the_branch() {
    for fsync in [Fsync::All, Fsync::Files, Fsync::None] {
        let repository = TempRepository::new(&format!("{fsync:?}"));
        let store = GitStore::open(&repository.0).unwrap().with_fsync(fsync);
        // Write more objects than fit into one batch.
        let mut objects: Vec<_> =
            (0..50).map(|n: u8| Object::new(ObjectKind::Blob, [n]).unwrap()).collect();
        let (tree, empty) = encode_tree([]).unwrap();
        let (id, commit) = Commit::encode(tree, &[], b"all", 1_700_000_000).unwrap();
        objects.extend([(tree, empty), (id, commit)]);
        let branch = BranchName::new("master").unwrap();
        let update = |from, to| [RefUpdate { branch: &branch, from, to: Some(to) }];
        assert!(store.update(&objects, &update(None, id)).unwrap());
        assert!(!store.update(&objects, &update(Some(tree), id)).unwrap());
        assert_eq!(repository.git(&["log", "--format=%s", "master"]), "all");
        assert_eq!(repository.git(&["count-objects"]).split(' ').next(), Some("52"));
        assert!(
            objects.iter().all(|(id, object)| store.read(*id).unwrap().as_ref() == Some(object))
        );
        repository.git(&["fsck", "--strict"]);
    }
}
