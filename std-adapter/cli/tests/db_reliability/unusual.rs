//! Tests for unusual names, entries and repositories.

use datakit_client::ByteString;
use datakit_client::db::{Change, Error, Path};

use crate::setup::{Server, TempRepository, commit};

fn path(text: impl AsRef<[u8]>) -> Path {
    Path::parse(text).unwrap()
}

/// A name that is not valid UTF-8 and contains a control character.
const ODD: &[u8] = b"\xff\xfe\x07 odd";

/// Creates a repository whose branch contains every kind of tree entry.
fn odd_repository() -> TempRepository {
    let long = "l".repeat(255);
    let mut commands =
        b"commit refs/heads/master\ncommitter a <a@b> 1700000000 +0000\ndata 1\nx\n".to_vec();
    commands.extend(format!("M 644 inline {long}\ndata 4\nlong\n").bytes());
    // The name is quoted as `git fast-import` requires.
    commands.extend(b"M 755 inline \"d/\\377\\376\\007 odd\"\ndata 3\nodd\n");
    commands.extend(b"M 120000 inline d/link\ndata 7\n../else\n");
    commands.extend(b"M 160000 1234567890123456789012345678901234567890 d/module\n");
    TempRepository::imported("odd", &commands)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_names_links_and_submodules_are_preserved() {
    let repository = odd_repository();
    let server = Server::start(&repository.0);
    let db = server.connect().await;
    let master = db.branch("master").await.unwrap();
    let before = master.head().await.unwrap().unwrap();
    let tree = before.tree();
    let (long, longer, odd) = ("l".repeat(255), "m".repeat(255), path("d").join(ODD).unwrap());
    assert_eq!(tree.read_dir(&Path::ROOT).await.unwrap(), ["d", &long]);
    // The server hides the submodule.
    assert_eq!(
        tree.read_dir(&path("d")).await.unwrap(),
        [ByteString::from(b"link".as_slice()), ByteString::from(ODD)]
    );
    assert_eq!(tree.read(&path("d/module")).await, Err(Error::NotFound));
    assert_eq!(tree.read_file(&path(&long)).await.unwrap(), b"long");
    assert_eq!(tree.read_file(&odd).await.unwrap(), b"odd");
    assert_eq!(tree.read_link(&path("d/link")).await.unwrap().as_bytes(), b"../else");

    let transaction = master.transaction().await.unwrap();
    let other = path("d").join(b"\x80").unwrap();
    transaction.create_file(&path(&longer), b"too", false).await.unwrap();
    transaction.create_file(&other, b"other", false).await.unwrap();
    transaction.create_or_replace_file(&odd, b"changed").await.unwrap();
    transaction.create_symlink(&path("d/new"), ODD).await.unwrap();
    let after = transaction.commit("Odd").await.unwrap();
    let added = [other.clone(), path("d/new")].map(Change::Added);
    let expected =
        [added[1].clone(), added[0].clone(), Change::Updated(odd), Change::Added(path(&longer))];
    assert_eq!(after.diff(&before).await.unwrap(), expected);

    let listed = repository.git(&["ls-tree", "-r", "master"]);
    for line in [
        "160000 commit 1234567890123456789012345678901234567890\td/module",
        "\td/link",
        "\t\"d/\\200\"",
        "\t\"d/\\377\\376\\a odd\"",
    ] {
        assert!(listed.contains(line), "{line} in {listed}");
    }
    assert!(listed.contains(&long) && listed.contains(&longer) && listed.contains("100755"));
    repository.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_trees_are_read_and_not_written() {
    let repository = TempRepository::imported("empty", b"");
    let empty = repository.git_fed(&["mktree"], b"");
    let blob = repository.git_fed(&["hash-object", "-w", "--stdin"], b"x");
    let nested =
        repository.git_fed(&["mktree"], format!("040000 tree {empty}\tempty\n").as_bytes());
    let top = format!("040000 tree {nested}\td\n040000 tree {empty}\te\n100644 blob {blob}\tf\n");
    let top = repository.git_fed(&["mktree"], top.as_bytes());
    for (branch, tree) in [("nothing", &empty), ("master", &top)] {
        let commit = repository.git(&["commit-tree", tree, "-m", branch]);
        repository.git(&["update-ref", &format!("refs/heads/{branch}"), &commit]);
    }
    let server = Server::start(&repository.0);
    let db = server.connect().await;
    let [master, nothing] =
        [db.branch("master").await.unwrap(), db.branch("nothing").await.unwrap()];
    let head = master.head().await.unwrap().unwrap();
    assert_eq!(head.tree().read_dir(&Path::ROOT).await.unwrap(), ["d", "e", "f"]);
    assert!(head.tree().read_dir(&path("d/empty")).await.unwrap().is_empty());
    let bare = nothing.head().await.unwrap().unwrap();
    assert!(bare.tree().read_dir(&Path::ROOT).await.unwrap().is_empty());
    assert_eq!(head.diff(&bare).await.unwrap(), [Change::Added(path("f"))]);

    commit(&db, "nothing", "f", "x").await.unwrap();
    commit(&db, "master", "d/g", "y").await.unwrap();
    assert_eq!(repository.git(&["ls-tree", "-r", "-t", "--name-only", "master"]), "d\nd/g\nf");
    // Removing the last file leaves an empty tree.
    let transaction = nothing.transaction().await.unwrap();
    transaction.remove(&path("f")).await.unwrap();
    transaction.commit("Nothing again").await.unwrap();
    assert_eq!(repository.git(&["rev-parse", "nothing^{tree}"]), empty);
    repository.assert_sound();
}

/// Creates a linear history in which each commit adds one file.
fn linear_history(name: &str, count: usize) -> TempRepository {
    let mut commands = String::new();
    for number in 0..count {
        commands +=
            &format!("commit refs/heads/master\ncommitter a <a@b> {number} +0000\ndata 1\nx\n");
        commands += &format!("M 644 inline f{number}\ndata 1\nx\n");
    }
    TempRepository::imported(name, commands.as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shallow_clone_can_be_read_and_changed() {
    let whole = linear_history("whole", 20);
    let shallow = TempRepository::new("shallow");
    shallow.git(&["clone", "-q", "--depth", "3", &format!("file://{}", whole.0.display()), "."]);
    let server = Server::start(&shallow.0);
    let db = server.connect().await;
    let master = db.branch("master").await.unwrap();
    let head = master.head().await.unwrap().unwrap();
    assert_eq!(head.tree().read_dir(&Path::ROOT).await.unwrap().len(), 20);

    // The history ends at the shallow boundary.
    let mut last = head.clone();
    let mut seen = 1;
    while let Some(parent) = last.parents().await.unwrap().pop() {
        match parent.details().await {
            Ok(_) => (last, seen) = (parent, seen + 1),
            Err(Error::NotFound) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(seen, 3);
    assert_eq!(
        head.diff(&last).await.unwrap(),
        [Change::Added(path("f18")), Change::Added(path("f19"))]
    );

    // Merge two branches whose merge base is at the shallow boundary.
    let old = db.branch("old").await.unwrap();
    old.fast_forward(&last).await.unwrap();
    commit(&db, "old", "theirs", "x").await.unwrap();
    let transaction = master.transaction().await.unwrap();
    assert_eq!(transaction.merge(&old.head().await.unwrap().unwrap()).await.unwrap().conflicts, []);
    transaction.commit("Merge").await.unwrap();
    commit(&db, "master", "after", "x").await.unwrap();
    shallow.assert_sound();
    // Fetch the rest of the history, so that the repository is no longer shallow.
    shallow.git(&["fetch", "-q", "--unshallow"]);
    assert_eq!(shallow.git(&["rev-list", "--count", "master"]), "23");
    shallow.assert_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packed_repository_can_be_read_and_changed() {
    let repository = linear_history("packed", 20);
    repository.git(&["gc", "-q", "--prune=now"]);
    assert_eq!(repository.count_loose(), 0);
    assert!(!repository.0.join(".git/refs/heads/master").exists());
    let server = Server::start(&repository.0);
    let db = server.connect().await;
    for number in 0..3 {
        commit(&db, "master", &format!("new{number}"), "x").await.unwrap();
        // Replace the pack file that the server has open.
        repository.git(&["gc", "-q", "--prune=now"]);
    }
    let tree = db.branch("master").await.unwrap().head().await.unwrap().unwrap().tree();
    assert_eq!(tree.read_dir(&Path::ROOT).await.unwrap().len(), 23);
    assert_eq!(tree.read_file(&path("f0")).await.unwrap(), b"x");
    db.remove_branch("master").await.unwrap();
    assert_eq!(repository.git(&["for-each-ref"]), "");
    repository.assert_sound();
}
