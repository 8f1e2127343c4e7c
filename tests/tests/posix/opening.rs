//! Tests for open modes and for the operations that each mode allows.

use datakit_core::wire::{Dialect, Fid, Tmessage as T};
use datakit_tests::db::TestDb;
use datakit_tests::within;

use crate::*;

#[test]
fn a_directory_opens_only_for_reading() {
    let (_live, dynamic) = dynamic();
    let scratch = scratch();
    for dialect in CLASSIC {
        for served in [&scratch, &dynamic] {
            let mut client = client(served, dialect);
            if std::ptr::eq(served, &scratch) && dialect == Dialect::Legacy {
                create_dir(&mut client, "dir");
            }
            for mode in [1, 2, OTRUNC, ORCLOSE, 1 | OTRUNC, 3 | ORCLOSE] {
                client.walk(0, 1, "dir").unwrap();
                assert_eq!(client.open(1, mode).unwrap_err().0, "Is a directory", "{mode:#x}");
                client.clunk(1).unwrap();
            }
            assert!(exists(&mut client, "dir"));
            // The `ninep` client opens directories with the mode byte 0x80.
            client.open_path(1, "dir", 0x80);
        }
    }
    for served in [&scratch, &dynamic] {
        let mut client = client(served, Dialect::Linux);
        for flags in [O_WRONLY, O_RDWR, O_TRUNC, O_TRUNC | O_DIRECTORY] {
            client.walk(0, 1, "dir").unwrap();
            assert_eq!(errno(client.lopen(1, flags)), EISDIR, "{flags:#o}");
            client.clunk(1).unwrap();
        }
    }
}

#[test]
fn create_of_a_directory_refuses_truncate_and_orclose() {
    let served = scratch();
    for dialect in CLASSIC {
        let mut client = client(&served, dialect);
        for mode in [OTRUNC, ORCLOSE] {
            client.walk(0, 1, "").unwrap();
            let extension = datakit_core::wire::Extension(None);
            let create =
                T::Create { fid: Fid(1), name: "d".into(), perm: DMDIR | 0o755, mode, extension };
            assert_eq!(client.refused(&create), "Is a directory");
            client.clunk(1).unwrap();
            assert!(!exists(&mut client, "d"));
        }
    }
}

#[test]
fn a_branch_opened_with_orclose_is_not_removed() {
    let place = TestDb::memory();
    let connection = place.connect();
    connection.master().commit(&[("a", "1")]);
    for dialect in CLASSIC {
        let mut client = place.raw(dialect);
        client.attach_as(1, "/branch/master", 0).unwrap();
        client.walk(0, 2, "branch/master").unwrap();
        for fid in [1, 2] {
            assert_eq!(client.open(fid, ORCLOSE).unwrap_err().0, "Is a directory");
        }
        // A client cannot remove the directory to which it attached.
        client.attach_as(3, "/branch/master", 0).unwrap();
        assert_eq!(client.remove(3).unwrap_err().0, "Device or resource busy");
        drop(client);
        let mut other = place.raw(dialect);
        assert!(exists(&mut other, "branch/master"));
    }
}

#[test]
fn the_root_of_an_attach_cannot_be_removed() {
    let served = scratch();
    for dialect in CLASSIC {
        let mut client = client(&served, dialect);
        if !exists(&mut client, "f") {
            create_file(&mut client, "f", b"");
        }
        client.attach_as(1, "/f", 0).unwrap();
        assert_eq!(client.open(1, ORCLOSE).unwrap_err().0, "Device or resource busy");
        assert_eq!(client.remove(1).unwrap_err().0, "Device or resource busy");
        assert!(exists(&mut client, "f"));
    }
}

#[test]
fn a_file_opened_with_orclose_is_removed_with_its_fid_or_connection() {
    let served = scratch();
    for dialect in CLASSIC {
        let mut client = client(&served, dialect);
        for name in ["clunked", "lost"] {
            create_file(&mut client, name, b"");
        }
        client.open_path(1, "clunked", ORCLOSE);
        client.clunk(1).unwrap();
        assert!(!exists(&mut client, "clunked"));
        client.open_path(1, "lost", ORCLOSE | 1);
        drop(client);
        let mut other = crate::client(&served, dialect);
        within(datakit_tests::TIMEOUT, "the file goes with its connection", || {
            !exists(&mut other, "lost")
        });
    }
}

#[test]
fn an_open_fid_allows_only_the_access_of_its_mode() {
    let (_live, dynamic) = dynamic();
    let scratch = scratch();
    for dialect in ALL {
        for served in [&scratch, &dynamic] {
            let mut client = client(served, dialect);
            if !exists(&mut client, "text") {
                create_file(&mut client, "text", b"text");
            }
            let bad = if dialect == Dialect::Linux { "" } else { "Bad file descriptor" };
            for (mode, reads, writes) in
                [(0, true, false), (1, false, true), (2, true, true), (3, true, false)]
            {
                client.open_path(1, "text", mode);
                let (read, write) = (client.read(1, 0, 10), client.write(1, 0, b"t"));
                assert_eq!((read.is_ok(), write.is_ok()), (reads, writes), "{mode}");
                // The server checks the open mode even if the count is 0.
                assert_eq!(
                    (client.read(1, 0, 0).is_ok(), client.write(1, 0, b"").is_ok()),
                    (reads, writes),
                    "{mode}"
                );
                for (text, number) in [read.err(), write.err()].into_iter().flatten() {
                    assert_eq!(
                        (text.as_str(), number),
                        (bad, if dialect == Dialect::Legacy { 0 } else { EBADF })
                    );
                }
                client.clunk(1).unwrap();
            }
        }
    }
    let served = serve_static();
    for dialect in ALL {
        let mut client = client(&served, dialect);
        client.open_path(1, "text", 1);
        assert!(client.read(1, 0, 10).is_err());
        client.open_path(2, "text", 0);
        assert!(client.write(2, 0, b"").is_err());
    }
}

#[test]
fn a_created_file_allows_only_the_access_of_its_mode() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    client.walk(0, 1, "").unwrap();
    client.lcreate(1, "r", O_CREAT, 0o644).unwrap();
    assert_eq!(errno(client.write(1, 0, b"x")), EBADF);
    client.walk(0, 2, "").unwrap();
    client.lcreate(2, "w", O_CREAT | O_WRONLY | O_APPEND, 0o644).unwrap();
    client.write(2, 7, b"x").unwrap();
    assert_eq!(errno(client.read(2, 0, 1)), EBADF);
    assert_eq!(content(&mut client, "w"), b"x");
}

#[test]
fn a_control_file_opens_for_reading_and_writing() {
    let place = TestDb::memory();
    place.connect().master().commit(&[("a", "1")]);
    for dialect in ALL {
        let mut client = place.raw(dialect);
        for path in ["branch/master/head", "branch/master/fast-forward"] {
            client.open_path(1, path, 2);
            client.clunk(1).unwrap();
        }
    }
}

#[test]
fn o_directory_and_o_nofollow_are_obeyed() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"");
    create_dir(&mut client, "d");
    create_symlink(&mut client, "l", "f").unwrap();
    for (path, flags, due) in [
        ("f", O_DIRECTORY, ENOTDIR),
        ("l", O_DIRECTORY, ENOTDIR),
        ("l", O_DIRECTORY | O_NOFOLLOW, ENOTDIR),
        ("l", O_NOFOLLOW, ELOOP),
        ("f", O_NOFOLLOW, 0),
        ("d", O_DIRECTORY | O_NOFOLLOW, 0),
    ] {
        client.walk(0, 1, path).unwrap();
        let opened = client.lopen(1, flags);
        assert_eq!(opened.err().map_or(0, |refused| refused.1), due, "{path} with {flags:#o}");
        client.clunk(1).unwrap();
    }
}

#[test]
fn tread_of_a_directory_is_refused_in_9p2000_l() {
    let (_live, dynamic) = dynamic();
    for served in [scratch(), dynamic, serve_static()] {
        let mut client = client(&served, Dialect::Linux);
        client.open_path(1, "", 0);
        assert_eq!(errno(client.read(1, 0, 4000)), EISDIR);
        client.rpc(&T::Readdir { fid: Fid(1), offset: 0, count: 4000 }).unwrap();
    }
}

static ROOT: datakit_core::vfs::Dir = datakit_core::vfs::Dir::new(&[datakit_core::vfs::file(
    "text",
    &datakit_core::files::Blob::new("text"),
)]);

fn serve_static() -> Served {
    serve(Limits::default(), |_| datakit_core::vfs::StaticTree::<8, 64>::new(&ROOT))
}
