use super::*;
use crate::BranchName;
use crate::model::identity::Identity;
use crate::model::test_trees;
use crate::model::tree_entry::EntryMode;

/// Stores a commit that contains the given files and is not on any branch.
fn commit(database: &Database, files: &[(&str, &str)], parents: &[Id]) -> Id {
    let objects = database.objects();
    let tree =
        test_trees::write_tree(objects, &test_trees::edited(objects, &test_trees::files(files)));
    let (id, object) = Commit::encode(tree, parents, b"", 1).unwrap();
    objects.store().write(&[(id, object)]).unwrap();
    id
}

fn by() -> Authorship {
    Authorship::now(&Identity::default())
}

fn names(transaction: &Transaction, dir: &[u8]) -> Vec<String> {
    let objects = transaction.objects();
    let list = transaction.tree().unwrap().dir(objects, dir).unwrap().list(objects).unwrap();
    list.iter().map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect()
}

#[test]
fn transaction_can_be_read_but_not_changed_during_a_commit() {
    let database = Database::new(test_trees::objects().store().clone()).unwrap();
    let branch = database.branch(&BranchName::new("master").unwrap());
    let transaction = Transaction::begin(&database, None).unwrap();
    transaction.create(b"f", EntryMode::Normal, b"x").unwrap();
    let options = CommitOptions { policy: MergePolicy::Merge, if_changed: false };
    std::thread::scope(|scope| {
        let lock = branch.lock();
        let commit = scope.spawn(|| transaction.commit(&branch, &[], b"", &by(), options));
        // Retry until the commit has begun.
        while transaction.create(b"g", EntryMode::Normal, b"") != Err(Error::Busy) {
            std::thread::yield_now();
        }
        assert_eq!(transaction.remove(b"f"), Err(Error::Busy));
        assert_eq!(transaction.merge(Id::EMPTY_TREE, &[], b"", &by()), Err(Error::Busy));
        assert!(transaction.is_open() && transaction.get(b"f").is_ok());
        drop(lock);
        assert!(commit.join().unwrap().unwrap().head.is_some());
    });
    assert!(!transaction.is_open());
}

#[test]
fn rename_refuses_paths_that_are_too_deep() {
    let database = Database::new(test_trees::objects().store().clone()).unwrap();
    let transaction = Transaction::begin(&database, None).unwrap();
    let path = |name: &str, depth: usize| vec![name; depth].join("/").into_bytes();
    for (name, most) in [("a", 300), ("b", 300)] {
        (1..=most).for_each(|depth| transaction.mkdir(&path(name, depth)).unwrap());
    }
    let deep = |below: usize| [path("b", below), b"x".to_vec()].join(&b'/');
    assert_eq!(
        transaction.rename(b"a", &deep(300)),
        Err(Error::TooDeep(crate::model::tree::MAX_DEPTH))
    );
    assert_eq!(names(&transaction, b""), ["a", "b"]);
    assert_eq!(transaction.rename(b"a", &deep(200)), Ok(()));
    assert_eq!(names(&transaction, b""), ["b"]);
}

#[test]
fn merge_keeps_empty_directories_unless_a_file_replaces_them() {
    let database = Database::new(test_trees::objects().store().clone()).unwrap();
    let base = commit(&database, &[("a/f", "1"), ("gone/f", "1")], &[]);
    let theirs = commit(&database, &[("a/f", "2"), ("file", "3"), ("way", "4")], &[base]);
    let transaction = Transaction::begin(&database, Some(base)).unwrap();
    for dir in ["a/in", "a/in/deep", "empty", "gone/in", "file", "way", "way/down"] {
        transaction.mkdir(dir.as_bytes()).unwrap();
    }
    transaction.merge(theirs, &[base], b"", &by()).unwrap();
    assert_eq!(transaction.conflicts().unwrap().unwrap(), Vec::<Vec<u8>>::new());
    assert_eq!(names(&transaction, b""), ["a", "empty", "file", "gone", "way"]);
    assert_eq!(names(&transaction, b"a"), ["f", "in"]);
    assert_eq!(names(&transaction, b"a/in"), ["deep"]);
    assert_eq!(names(&transaction, b"gone"), ["in"]);
    assert_eq!(transaction.get(b"file").unwrap().mode(), EntryMode::Normal);

    let branch = database.branch(&crate::BranchName::new("master").unwrap());
    assert!(branch.advance(None, Some(base)).unwrap());
    let options = CommitOptions { policy: MergePolicy::Merge, if_changed: false };
    let head =
        transaction.commit(&branch, &[base, theirs], b"", &by(), options).unwrap().head.unwrap();
    let tree = database.objects().commit(head).unwrap().tree;
    assert_eq!(tree, database.objects().commit(theirs).unwrap().tree);
}
