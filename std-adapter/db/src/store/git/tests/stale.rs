//! Tests in which packs, alternates, refs, or the list of shallow commits change while a store has
//! the repository open.

use super::*;

/// Sets the modification time of a file.
fn set_modified(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

fn modified(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn an_object_is_found_after_its_pack_could_not_be_read_once() {
    let repository = TempRepository::new("pack-unread");
    let id = write_commit(&GitStore::open(&repository.0).unwrap(), "packed");
    let store = GitStore::open(&repository.0).unwrap();
    assert!(set_branch(&store, "master", None, Some(id)));
    repository.git(&["repack", "-adq"]);
    let packs: Vec<_> = fs::read_dir(store.dir().join("objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let index = packs.iter().find(|path| path.extension().is_some_and(|end| end == "idx")).unwrap();
    // After this read, gix has listed the packs but has opened none of them.
    let loose = write_commit(&store, "loose");
    assert!(store.read(loose).unwrap().is_some());
    let away = index.with_extension("away");
    fs::rename(index, &away).unwrap();
    fs::File::create(index).unwrap().set_modified(modified(&away)).unwrap();
    assert_eq!(
        (store.read(id), store.header(id), store.exists(id)),
        (Ok(None), Ok(None), Ok(false))
    );
    fs::rename(away, index).unwrap();
    assert!(store.read(id).unwrap().is_some());
    assert!(store.header(id).unwrap().is_some());
    assert!(store.exists(id).unwrap());
}

#[test]
fn an_object_that_a_repack_dropped_is_written_again() {
    let repository = TempRepository::new("dropped");
    let store = GitStore::open(&repository.0).unwrap();
    let (kept, dropped) = (write_commit(&store, "kept"), write_commit(&store, "dropped"));
    assert!(set_branch(&store, "master", None, Some(kept)));
    assert!(set_branch(&store, "other", None, Some(dropped)));
    repository.git(&["repack", "-adq"]);
    // After this read, gix has opened the pack.
    assert!(store.read(dropped).unwrap().is_some());
    repository.git(&["branch", "-D", "other"]);
    repository.git(&["repack", "-adq"]);
    assert_eq!(write_commit(&store, "dropped"), dropped);
    assert!(set_branch(&store, "other", None, Some(dropped)));
    assert_eq!(repository.git(&["log", "--format=%s", "other"]), "dropped");
    repository.git(&["fsck", "--strict"]);
}

#[test]
fn objects_of_a_removed_alternate_do_not_exist() {
    let (repository, other) = (TempRepository::new("borrower"), TempRepository::new("lender"));
    let id = write_commit(&GitStore::open(&other.0).unwrap(), "borrowed");
    let store = GitStore::open(&repository.0).unwrap();
    let alternates = store.dir().join("objects/info/alternates");
    let old = SystemTime::now() - Duration::from_secs(60);
    for pack in [false, true] {
        if pack {
            other.git(&["update-ref", "refs/heads/master", &id.to_string()]);
            other.git(&["repack", "-adq"]);
        }
        assert!(!store.exists(id).unwrap());
        fs::write(&alternates, format!("{}\n", other.0.join(".git/objects").display())).unwrap();
        // Set old modification times, so that the change can be detected only by reading the list
        // of alternates.
        for path in [alternates.clone(), store.dir().join("objects/pack")] {
            set_modified(&path, old);
        }
        set_modified(&other.0.join(".git/objects/pack"), old);
        assert!(store.exists(id).unwrap() && store.read(id).unwrap().is_some());
        fs::remove_file(&alternates).unwrap();
        assert!(!store.exists(id).unwrap(), "packed: {pack}");
    }
}

#[test]
fn a_shallow_list_with_an_older_time_is_read() {
    let repository = TempRepository::new("shallow-list");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    let path = store.dir().join("shallow");
    let now = SystemTime::now();
    for (id, time) in [(a, now), (b, now), (a, now - Duration::from_secs(60))] {
        fs::write(&path, format!("{id}\n")).unwrap();
        set_modified(&path, time);
        assert_eq!(store.shallow_commits().unwrap(), HashSet::from([id]));
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(store.shallow_commits().unwrap(), HashSet::new());
}

#[test]
fn replacement_refs_never_change_what_is_read() {
    let repository = TempRepository::new("replaced");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    let message = |store: &GitStore| {
        let commit = store.read(a).unwrap().unwrap();
        Commit::decode(&commit.data).unwrap().message
    };
    repository.git(&["replace", &a.to_string(), &b.to_string()]);
    assert_eq!(message(&store), b"a");
    drop(store);
    let store = GitStore::open(&repository.0).unwrap();
    assert_eq!(message(&store), b"a");
    repository.git(&["replace", "-d", &a.to_string()]);
    assert_eq!(message(&store), b"a");
}

#[test]
fn packed_refs_of_the_same_size_and_time_are_read() {
    let repository = TempRepository::new("packed-again");
    let store = GitStore::open(&repository.0).unwrap();
    let (a, b) = (write_commit(&store, "a"), write_commit(&store, "b"));
    let path = store.dir().join("packed-refs");
    let now = SystemTime::now();
    for id in [a, b, a] {
        let new = path.with_extension("new");
        fs::write(&new, format!("# pack-refs with: sorted \n{id} refs/heads/master\n")).unwrap();
        set_modified(&new, now);
        fs::rename(&new, &path).unwrap();
        assert_eq!(head_of(&store, "master"), Some(id));
    }
}

#[test]
fn a_replaced_commit_graph_is_read() {
    let repository = TempRepository::new("graph-again");
    let store = GitStore::open(&repository.0).unwrap();
    let ids = ["a", "b"].map(|message| write_commit(&store, message));
    for (id, other) in [(ids[0], ids[1]), (ids[1], ids[0])] {
        fs::write(store.dir().join("refs/heads/master"), format!("{id}\n")).unwrap();
        repository.git(&["commit-graph", "write", "--reachable"]);
        set_modified(&store.dir().join("objects/info/commit-graph"), SystemTime::UNIX_EPOCH);
        let graph = store.commit_graph().unwrap();
        assert!(graph.commit(id).is_some() && graph.commit(other).is_none());
    }
}
