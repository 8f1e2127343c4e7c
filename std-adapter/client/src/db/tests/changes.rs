//! Tests for operations on transactions, branches and watches.

use std::time::Duration;

use super::super::{Branch, Change, Commit, Error, PathValue, Transaction, Watch};
use super::{Served, TIMEOUT, path};
use crate::Dialect;

async fn put(branch: &Branch, file: &str, content: &str) -> Commit {
    let tx = branch.transaction().await.unwrap();
    tx.make_dirs(&path(file).parent()).await.unwrap();
    tx.create_or_replace_file(&path(file), content.as_bytes()).await.unwrap();
    tx.commit(&format!("Put {file}")).await.unwrap()
}

async fn text(tx: &Transaction, file: &str) -> String {
    String::from_utf8(tx.tree().read_file(&path(file)).await.unwrap()).unwrap()
}

async fn next<T: Send + 'static>(watch: &mut Watch<T>) -> T {
    tokio::time::timeout(TIMEOUT, watch.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test]
async fn transactions_create_change_and_remove_files() {
    let served = Served::start().await;
    for dialect in [Dialect::Unix, Dialect::Linux, Dialect::Legacy] {
        let master = served.in_dialect(dialect).await.branch(dialect.version()).await.unwrap();
        let tx = master.transaction().await.unwrap();
        tx.create_file(&path("f"), b"what another file replaces", false).await.unwrap();
        tx.create_file(&path("f"), b"long content", true).await.unwrap();
        assert_eq!(text(&tx, "f").await, "long content");
        tx.replace_file(&path("f"), b"short").await.unwrap();
        assert_eq!(text(&tx, "f").await, "short");
        tx.create_or_replace_file(&path("f"), b"shorter").await.unwrap();
        assert!(format!("{:?}", tx.tree().stat(&path("f")).await).contains("Exec"));
        tx.set_executable(&path("f"), false).await.unwrap();
        assert!(format!("{:?}", tx.tree().stat(&path("f")).await).contains("File"));
        tx.truncate(&path("f"), 2).await.unwrap();
        assert_eq!(text(&tx, "f").await, "sh");

        tx.make_dirs(&path("a/b/c")).await.unwrap();
        tx.make_dirs(&path("a/b/c")).await.unwrap();
        tx.make_dirs(&path("a/b/d/e")).await.unwrap();
        assert_eq!(tx.make_dirs(&path("f")).await, Err(Error::NotDirectory));
        assert_eq!(tx.make_dirs(&path("f/x")).await, Err(Error::NotDirectory));
        assert_eq!(tx.create_dir(&path("a")).await, Err(Error::Exists));
        assert_eq!(tx.create_file(&path("a"), b"", false).await, Err(Error::IsDirectory));
        assert_eq!(tx.create_dir(&path("none/x")).await, Err(Error::NotFound));
        assert_eq!(tx.replace_file(&path("a"), b"").await, Err(Error::IsDirectory));
        assert_eq!(tx.create_or_replace_file(&path("a"), b"").await, Err(Error::IsDirectory));
        assert_eq!(tx.truncate(&path("a"), 0).await, Err(Error::IsDirectory));
        assert_eq!(tx.set_executable(&path("a"), true).await, Err(Error::IsDirectory));
        tx.remove(&path("a")).await.unwrap();
        assert_eq!(tx.tree().read_dir(&super::Path::ROOT).await.unwrap(), ["f"]);

        for root in [tx.create_dir(&super::Path::ROOT).await, tx.remove(&super::Path::ROOT).await] {
            assert!(matches!(root, Err(Error::InvalidPath { .. })));
        }
        if dialect != Dialect::Legacy {
            for target in ["replaced", "f"] {
                tx.create_symlink(&path("l"), target).await.unwrap();
            }
            tx.create_file(&path("l"), b"file", false).await.unwrap();
            tx.create_symlink(&path("l"), "f").await.unwrap();
            assert_eq!(tx.create_symlink(&path("0"), "f").await, Ok(()));
            tx.remove(&path("0")).await.unwrap();
            tx.set_executable(&path("l"), true).await.unwrap();
            assert_eq!(text(&tx, "l").await, "f");
        }
        let deep: Vec<String> = (0..30).map(|n| format!("{n}")).collect();
        let deep = super::Path::from_names(deep).unwrap();
        tx.make_dirs(&deep.parent()).await.unwrap();
        tx.create_file(&deep, &vec![b'x'; 300_000], false).await.unwrap();
        let head = tx.commit("Several things\n\nand a body").await.unwrap();
        assert_eq!(head.tree().read_file(&deep).await.unwrap().len(), 300_000);
        assert_eq!(head.message().await.unwrap(), "Several things\n\nand a body");
    }
}

#[tokio::test]
async fn details_match_the_commit() {
    let served = Served::start().await;
    let db = served.db().await;
    let master = db.branch("master").await.unwrap();
    let first = put(&master, "f", "1").await;
    let second = put(&master, "f", "2").await;
    assert_eq!(first.parents().await, Ok(vec![]));
    assert_eq!(second.parents().await, Ok(vec![first.clone()]));
    let details = second.details().await.unwrap();
    assert_eq!((details.id, details.parents), (second.id(), vec![first]));
    assert_eq!(details.author, "datakit <datakit@mobyproject.org>");
    assert_eq!((details.message.as_str(), details.date.get(..2)), ("Put f", Some("20")));
}

#[tokio::test]
async fn branches_can_be_listed_moved_and_removed() {
    let served = Served::start().await;
    let db = served.db().await;
    let master = db.branch("master").await.unwrap();
    let first = put(&master, "f", "1").await;
    let second = put(&master, "f", "2").await;
    let other = db.branch("feature/100%").await.unwrap();
    assert_eq!(other.name(), "feature/100%");
    other.fast_forward(&first).await.unwrap();
    other.fast_forward(&second).await.unwrap();
    assert_eq!(other.fast_forward(&first).await, Err(Error::NotFastForward));
    assert_eq!(other.head().await, Ok(Some(second)));
    assert_eq!(served.db().await.branches().await.unwrap(), ["feature/100%", "master"]);

    other.remove().await.unwrap();
    assert_eq!(db.branches().await.unwrap(), ["master"]);
    assert_eq!(db.remove_branch("none").await, Err(Error::NotFound));
    db.remove_branch("master").await.unwrap();
    assert_eq!(db.branches().await.unwrap(), <[&str; 0]>::default());
    for bad in ["", "..", "a b", "/x"] {
        assert!(matches!(db.branch(bad).await, Err(Error::InvalidBranch(_))), "{bad}");
    }
}

#[tokio::test]
async fn set_parents_replaces_the_parents() {
    let served = Served::start().await;
    let db = served.db().await;
    let head = put(&db.branch("master").await.unwrap(), "f", "1").await;
    let dev = db.branch("dev").await.unwrap();
    let tx = dev.transaction().await.unwrap();
    assert_eq!(tx.parents().await, Ok(vec![]));
    tx.set_parents(std::slice::from_ref(&head)).await.unwrap();
    assert_eq!(tx.parents().await, Ok(vec![head.clone()]));
    let made = tx.commit("x").await.unwrap();
    assert_eq!(made.parents().await, Ok(vec![head]));
}

#[tokio::test]
async fn watch_head_and_reflog_return_new_heads() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    let (mut heads, mut log) = (master.watch_head().await.unwrap(), master.reflog().await.unwrap());
    assert_eq!(next(&mut heads).await, None);
    // Dropping the future returned by `next` leaves the read in flight.
    assert!(tokio::time::timeout(Duration::from_millis(10), heads.next()).await.is_err());
    assert!(tokio::time::timeout(Duration::from_millis(10), log.next()).await.is_err());
    let first = put(&master, "f", "1").await;
    assert_eq!(next(&mut heads).await.as_ref(), Some(&first));
    let second = put(&master, "f", "2").await;
    master.remove().await.unwrap();
    assert_eq!(next(&mut log).await, Some(first));
    assert_eq!(next(&mut log).await, Some(second));
    assert_eq!(next(&mut log).await, None);
}

#[tokio::test]
async fn watch_path_is_a_stream() {
    use std::pin::pin;

    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    put(&master, "d/f", "1").await;
    let mut watch = pin!(master.watch_path(&path("d")).await.unwrap());
    let mut next = async || {
        let next = std::future::poll_fn(|cx| futures_core::Stream::poll_next(watch.as_mut(), cx));
        match tokio::time::timeout(TIMEOUT, next).await.unwrap().unwrap().unwrap() {
            Some(PathValue::Dir(tree)) => {
                format!("{:?}", tree.read_dir(&super::Path::ROOT).await.unwrap())
            }
            other => format!("{other:?}"),
        }
    };
    assert_eq!(next().await, "[\"f\"]");
    put(&master, "elsewhere", "1").await;
    put(&master, "d/g", "1").await;
    assert_eq!(next().await, "[\"f\", \"g\"]");
    let tx = master.transaction().await.unwrap();
    tx.remove(&path("d")).await.unwrap();
    tx.create_symlink(&path("d"), "f").await.unwrap();
    tx.commit("").await.unwrap();
    assert_eq!(next().await, "Some(Link(\"f\"))");
}

#[tokio::test]
async fn a_lost_connection_ends_a_watch() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let proxy = tokio::spawn({
        let served = Served::start().await;
        let address = served.url.to_string().replace("tcp://", "");
        async move {
            let mut far = far;
            let mut server = tokio::net::TcpStream::connect(address).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut far, &mut server).await;
        }
    });
    let db =
        super::Db::new(crate::Client::from_stream(near, crate::Options::default()).await.unwrap());
    let mut heads = db.branch("master").await.unwrap().watch_head().await.unwrap();
    assert_eq!(next(&mut heads).await, None);
    proxy.abort();
    assert!(matches!(heads.next().await, Some(Err(Error::Client(_)))));
    assert!(heads.next().await.is_none());
}

/// Returns the `master` and `pr` branches. The branches have a common ancestor, and each of them
/// has changed `file`.
async fn forked(db: &super::Db, ours: &str, theirs: &str) -> (Branch, Branch) {
    let (master, pr) = (db.branch("master").await.unwrap(), db.branch("pr").await.unwrap());
    let base = put(&master, "file", "base").await;
    pr.fast_forward(&base).await.unwrap();
    put(&pr, "file", theirs).await;
    put(&master, "file", ours).await;
    put(&master, "mine", "x").await;
    (master, pr)
}

#[tokio::test]
async fn a_merge_combines_both_sides() {
    let served = Served::start().await;
    let db = served.db().await;
    let (master, pr) = forked(&db, "base", "theirs").await;
    let (ours, theirs) = (master.head().await.unwrap().unwrap(), pr.head().await.unwrap().unwrap());
    let tx = master.transaction().await.unwrap();
    assert_eq!(tx.conflicts().await, Ok(vec![]));
    let merge = tx.merge(&theirs).await.unwrap();
    assert_eq!(merge.conflicts, []);
    assert_eq!(merge.ours.read_file(&path("mine")).await.unwrap(), b"x");
    assert_eq!(merge.theirs.read_file(&path("file")).await.unwrap(), b"theirs");
    assert_eq!(merge.base.read_file(&path("file")).await.unwrap(), b"base");
    assert_eq!(tx.diff(&ours).await.unwrap(), [Change::Updated(path("file"))]);
    let merged = tx.commit("merged").await.unwrap();
    assert_eq!(merged.parents().await.unwrap(), [ours.clone(), theirs.clone()]);
    assert_eq!(merged.diff(&theirs).await.unwrap(), [Change::Added(path("mine"))]);
    assert_eq!(theirs.diff(&merged).await.unwrap(), [Change::Removed(path("mine"))]);
    assert_eq!(merged.diff(&merged).await.unwrap(), []);
}

#[tokio::test]
async fn conflicts_must_be_resolved_before_the_commit() {
    let served = Served::start().await;
    let db = served.db().await;
    let (master, pr) = forked(&db, "ours", "theirs").await;
    let tx = master.transaction().await.unwrap();
    let theirs = pr.head().await.unwrap().unwrap();
    assert_eq!(tx.merge(&theirs).await.unwrap().conflicts, [path("file")]);
    assert_eq!(tx.conflicts().await.unwrap(), [path("file")]);
    assert_eq!(tx.commit("").await, Err(Error::OpenConflicts));
    assert_eq!(tx.merge(&theirs).await.map(drop), Err(Error::OpenConflicts));
    tx.replace_file(&path("file"), b"both").await.unwrap();
    assert_eq!(
        tx.commit("").await.unwrap().tree().read_file(&path("file")).await.unwrap(),
        b"both"
    );
}

#[tokio::test]
async fn a_conflict_at_the_commit_leaves_the_transaction_open() {
    let served = Served::start().await;
    let master = served.db().await.branch("master").await.unwrap();
    put(&master, "f", "base").await;
    let tx = master.transaction().await.unwrap();
    tx.replace_file(&path("f"), b"ours").await.unwrap();
    let head = put(&master, "f", "theirs").await;
    let conflict = tx.commit("a long message").await;
    assert!(matches!(&conflict, Err(Error::Conflict(why)) if why.contains('f')), "{conflict:?}");
    assert!(!tx.closed());
    tx.replace_file(&path("f"), b"theirs").await.unwrap();
    assert_ne!(tx.commit("short").await.unwrap(), head);
}

#[tokio::test]
async fn a_failed_fetch_reports_the_reason() {
    let served = Served::start().await;
    // In 9P2000.u, an error reply is too short to contain the whole reason. In 9P2000.L, an error
    // reply contains no text.
    for dialect in [Dialect::Unix, Dialect::Linux] {
        let db = served.in_dialect(dialect).await;
        let error = db.fetch("/nonexistent/repository", "master").await.unwrap_err().to_string();
        let start = "error: cannot fetch /nonexistent/repository: fatal: ";
        assert!(error.starts_with(start), "{error}");
        assert!(error.ends_with("and the repository exists."), "{error}");
        for branch in ["a..b", ""] {
            let fetch = db.fetch("/nonexistent/repository", branch);
            let error = tokio::time::timeout(TIMEOUT, fetch).await.unwrap().unwrap_err();
            assert!(matches!(error, Error::InvalidBranch(_)), "{error:?}");
        }
    }
    let remotes = || served.database.counters().remotes.value();
    super::within("the end of the remote", || remotes() == 0).await;
}
