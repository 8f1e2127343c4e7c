//! Tests for trees that Git can read but would never write.

use datakit_client::FileType;
use datakit_tests::db::{Repository, TestDb, refused};

const LONG: [u8; 256] = [b'n'; 256];

/// Writes a tree with the given entries in the given order. The content of each blob is its name in
/// the tree.
fn tree(repository: &Repository, entries: &[(&str, &[u8])]) -> String {
    let mut data = Vec::new();
    for (mode, name) in entries {
        let (kind, content) =
            if mode.ends_with("40000") { ("tree", b"".as_slice()) } else { ("blob", *name) };
        let id = match mode.ends_with("40000") {
            true => {
                let blob = repository.object("blob", b"below");
                repository.object(kind, &[b"100644 below\0", &bytes(&blob)[..]].concat())
            }
            false => repository.object(kind, content),
        };
        data.extend([mode.as_bytes(), b" ", name, b"\0", &bytes(&id)].concat());
    }
    repository.object("tree", &data)
}

fn bytes(id: &str) -> Vec<u8> {
    (0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Serves a repository in which the head of `master` has a tree with the given entries.
fn served(entries: &[(&str, &[u8])]) -> TestDb {
    let repository = Repository::bare();
    let tree = tree(&repository, entries);
    let commit =
        repository.object("commit", format!("tree {tree}\nauthor a <a> 1 +0000\n\nodd").as_bytes());
    repository.point("master", &commit);
    TestDb::on(repository)
}

#[test]
fn unsorted_trees_are_read_and_written_sorted() {
    let db = served(&[("100644", b"z"), ("040000", b"d"), ("100644", b"a"), ("100644", b"d.c")]);
    let connection = db.connect();
    let master = connection.master();
    assert_eq!(connection.names("branch/master/ro"), "a d d.c z");
    for file in ["a", "z", "d.c"] {
        assert_eq!(master.read(&format!("ro/{file}")), file);
    }
    assert_eq!(master.read("ro/d/below"), "below");
    let transaction = master.transaction();
    assert_eq!(transaction.names(""), "a d d.c z");
    transaction.write("m", "new");
    transaction.commit("sorted").unwrap();
    let repository = db.repository();
    let names = repository.git(&["ls-tree", "--name-only", "master"]);
    assert_eq!(names, "a\nd.c\nd\nm\nz");
    let (_, complaints) = repository.try_git(&["fsck", "--strict", "master"]);
    assert!(!complaints.contains(&repository.git(&["rev-parse", "master^{tree}"])), "{complaints}");
}

#[test]
fn names_that_lead_out_of_the_directory_never_reach_a_client() {
    for bad in [&b""[..], b".", b"..", b"x/y", b"/etc/passwd"] {
        let db = served(&[("100644", bad), ("40000", b"d"), ("100644", b"f")]);
        let connection = db.connect();
        let master = connection.master();
        assert_eq!(connection.names("branch/master/ro"), "d f", "{bad:?}");
        assert_eq!(master.read("ro/f"), "f");
        // Writing a changed directory would lose the entry with the invalid name, so the server
        // refuses the change.
        let transaction = master.transaction();
        assert_eq!(transaction.names(""), "d f");
        for path in ["new", "d/new"] {
            assert!(
                refused(connection.create(&transaction.rw(path), 0o644, ""))
                    .contains("repair it with Git")
            );
        }
        assert_eq!(transaction.names(""), "d f");
    }
}

#[test]
fn the_first_of_two_entries_of_one_name_is_shown() {
    let db = served(&[
        ("100644", b"a"),
        ("100644", b"a"),
        ("100644", b"b"),
        ("100644", b"b.c"),
        ("40000", b"b"),
    ]);
    let connection = db.connect();
    let names = connection.try_names("branch/master/ro").unwrap();
    assert_eq!(names, ["a", "b", "b.c"]);
    assert_eq!(connection.stat("branch/master/ro/b").unwrap().kind, FileType::File);
}

#[test]
fn directories_are_listed_in_the_order_of_their_names() {
    // In Git's order, `a.c` comes before the directory `a`, which sorts as `a/`.
    let db = served(&[("100644", b"a.c"), ("40000", b"a"), ("100644", b"a0")]);
    let names = db.connect().try_names("branch/master/ro").unwrap();
    assert_eq!(names, ["a", "a.c", "a0"]);
}

#[test]
fn names_too_long_for_clients_are_kept_and_hide_no_others() {
    let db = served(&[("100644", b"a"), ("100644", &LONG), ("100644", b"z")]);
    let connection = db.connect();
    let master = connection.master();
    assert_eq!(connection.names("branch/master/ro"), "a z");
    assert_eq!(connection.names("branch/master/watch"), "a.node tree.live z.node");
    let transaction = master.transaction();
    assert_eq!(transaction.names(""), "a z");
    transaction.write("m", "new");
    transaction.commit("with the long one").unwrap();
    let names = db.repository().git(&["ls-tree", "--name-only", "master"]);
    assert_eq!(names.lines().map(str::len).collect::<Vec<_>>(), [1, 1, 256, 1]);
}

#[test]
fn unusual_modes_are_shown_as_git_interprets_them() {
    let entries: [(&str, &[u8]); 7] = [
        ("100600", b"a"),
        ("100664", b"b"),
        ("100775", b"c"),
        ("0100755", b"d"),
        ("040000", b"e"),
        ("10644", b"f"),
        ("120777", b"g"),
    ];
    let db = served(&entries);
    let connection = db.connect();
    assert_eq!(connection.names("branch/master/ro"), "a b c d e g");
    let program = |name: &str| {
        connection.stat(&format!("branch/master/ro/{name}")).unwrap().mode & 0o100 != 0
    };
    assert_eq!(["a", "b", "c", "d"].map(program), [false, false, true, true]);
    assert_eq!(connection.stat("branch/master/ro/g").unwrap().kind, FileType::Symlink);
    let master = connection.master();
    master.commit(&[("new", "1")]);
    let modes = db.repository().git(&["ls-tree", "--format=%(objectmode)", "master"]);
    assert_eq!(modes, "100644\n100644\n100755\n100755\n040000\n160000\n120000\n100644");
}
