//! Tests for creating files with new names and with existing names.

use std::sync::Barrier;

use datakit_core::wire::{
    DMAPPEND, DMAUTH, DMDEVICE, DMEXCL, DMLINK, DMMOUNT, DMNAMEDPIPE, DMSOCKET, DMTMP, Dialect,
    Extension, Fid, Tmessage as T,
};
use datakit_tests::db::TestDb;

use crate::*;

#[test]
fn create_without_truncate_keeps_the_content() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"kept");
    for (flags, due) in [
        (O_CREAT, &b"kept"[..]),
        (O_CREAT | O_WRONLY | O_APPEND, b"kept"),
        (O_RDWR, b"kept"),
        (O_CREAT | O_TRUNC | O_WRONLY, b""),
    ] {
        client.walk(0, 1, "").unwrap();
        client.lcreate(1, "f", flags, 0o600).unwrap();
        assert_eq!(
            client.getattr(1).unwrap().mode,
            0o100_644,
            "the mode is that of a new file only"
        );
        client.clunk(1).unwrap();
        assert_eq!(content(&mut client, "f"), due, "{flags:#o}");
    }
}

#[test]
fn concurrent_appends_lose_no_line() {
    let served = scratch();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let served = &served;
            scope.spawn(move || {
                let mut client = client(served, Dialect::Linux);
                for line in 0..100 {
                    client.walk(0, 1, "").unwrap();
                    client.lcreate(1, "log", O_CREAT | O_WRONLY | O_APPEND, 0o644).unwrap();
                    client.write(1, 0, format!("{writer}:{line}\n").as_bytes()).unwrap();
                    client.clunk(1).unwrap();
                }
            });
        }
    });
    let mut client = client(&served, Dialect::Linux);
    let log = String::from_utf8(content(&mut client, "log")).unwrap();
    assert_eq!(log.lines().count(), 200);
    for writer in 0..2 {
        let own: Vec<String> = log
            .lines()
            .filter(|line| line.starts_with(&format!("{writer}:")))
            .map(Into::into)
            .collect();
        assert!(own.into_iter().eq((0..100).map(|line| format!("{writer}:{line}"))));
    }
}

#[test]
fn only_one_client_wins_an_exclusive_create() {
    const CLIENTS: usize = 20;
    for dialect in ALL {
        let (served, start) = (scratch(), Barrier::new(CLIENTS));
        let won: usize = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut client = client(&served, dialect);
                        client.walk(0, 1, "").unwrap();
                        start.wait();
                        let made = match dialect {
                            Dialect::Linux => {
                                client.lcreate(1, "lock", O_CREAT | O_EXCL | O_WRONLY, 0o644)
                            }
                            _ => client.create(1, "lock", 0o644, None),
                        };
                        usize::from(made.is_ok())
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        assert_eq!(won, 1, "{dialect:?}");
    }
}

#[test]
fn create_of_an_existing_name_is_refused() {
    let served = scratch();
    for dialect in CLASSIC {
        let mut client = client(&served, dialect);
        let name = dialect.version();
        create_file(&mut client, name, b"kept");
        for perm in [0o644, DMDIR | 0o755] {
            client.walk(0, 1, "").unwrap();
            assert_eq!(client.create(1, name, perm, None).unwrap_err().0, "Already exists");
            // After the failed request, the fid still refers to the directory.
            client.walk(1, 2, name).unwrap();
            client.clunk(2).unwrap();
            client.clunk(1).unwrap();
        }
        assert_eq!(content(&mut client, name), b"kept");
    }
    let mut client = client(&served, Dialect::Linux);
    let name = Dialect::Legacy.version();
    let requests = [
        T::Mkdir { dfid: Fid(0), name: name.into(), mode: 0o755, gid: 0 },
        T::Symlink { dfid: Fid(0), name: name.into(), target: "x".into(), gid: 0 },
        T::Mknod { dfid: Fid(0), name: name.into(), mode: 0o100_644, major: 0, minor: 0, gid: 0 },
        T::Lcreate { fid: Fid(0), name: name.into(), flags: O_CREAT | O_EXCL, mode: 0o644, gid: 0 },
    ];
    for request in requests {
        assert_eq!(errno(client.rpc(&request)), EEXIST, "{request:?}");
    }
    assert_eq!(content(&mut client, name), b"kept");
}

#[test]
fn create_over_a_directory_or_a_symlink_is_refused() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_dir(&mut client, "d");
    create_symlink(&mut client, "l", "nowhere").unwrap();
    for (name, flags, due) in [
        ("d", O_CREAT | O_WRONLY, EISDIR),
        ("d", O_CREAT | O_EXCL, EEXIST),
        ("l", O_CREAT | O_WRONLY, ELOOP),
        ("l", O_CREAT | O_EXCL | O_WRONLY, EEXIST),
        ("new", O_CREAT | O_DIRECTORY, EINVAL),
    ] {
        client.walk(0, 1, "").unwrap();
        assert_eq!(errno(client.lcreate(1, name, flags, 0o644)), due, "{name} with {flags:#o}");
        client.clunk(1).unwrap();
    }
    assert!(!exists(&mut client, "nowhere") && !exists(&mut client, "new"));
}

#[test]
fn a_mode_with_a_wrong_file_type_is_refused() {
    let served = scratch();
    let mut client = client(&served, Dialect::Unix);
    for perm in [DMDIR | DMSYMLINK, DMDIR | DMNAMEDPIPE, DMNAMEDPIPE | DMSOCKET] {
        client.walk(0, 1, "").unwrap();
        assert_eq!(errno(client.create(1, "new", perm | 0o644, Some("x"))), EINVAL, "{perm:#x}");
        client.clunk(1).unwrap();
    }
    assert!(!exists(&mut client, "new"));
    client.walk(0, 1, "").unwrap();
    client.create(1, "pipe", DMNAMEDPIPE | 0o644, None).unwrap();
    wstat(&mut client, 1, Stat { mode: DMNAMEDPIPE | 0o600, ..untouched() }).unwrap();
    assert_eq!(client.stat(1, |stat| stat.mode), DMNAMEDPIPE | 0o600);
    create_file(&mut client, "f", b"");
    client.walk(0, 2, "f").unwrap();
    for (fid, mode) in
        [(1, DMSOCKET), (1, DMDIR), (2, DMNAMEDPIPE), (2, DMDEVICE), (2, DMSYMLINK), (2, DMDIR)]
    {
        assert_eq!(
            errno(wstat(&mut client, fid, Stat { mode: mode | 0o644, ..untouched() })),
            EINVAL,
            "{mode:#x}"
        );
    }
}

/// Creating a transaction or a remote that already exists fails. Creating a branch that already
/// exists succeeds, because DataKit's clients rely on this behavior.
#[test]
fn create_of_an_existing_transaction_is_refused() {
    let place = TestDb::memory();
    for dialect in ALL {
        let mut client = place.raw(dialect);
        for (path, once) in
            [("branch", false), ("branch/new/transactions", true), ("remotes", true)]
        {
            let mut make = || {
                client.walk(0, 1, path).unwrap();
                let made = match dialect {
                    Dialect::Linux => client
                        .rpc(&T::Mkdir { dfid: Fid(1), name: "new".into(), mode: 0o755, gid: 0 })
                        .map(drop),
                    _ => client.create(1, "new", DMDIR | 0o755, None),
                };
                client.clunk(1).unwrap();
                made
            };
            make().unwrap();
            let again = make();
            assert_eq!(again.is_err(), once, "{path}");
            if let Err((text, number)) = again {
                assert!(
                    text == "Already exists" || number == EEXIST,
                    "{path} in {dialect:?}: {text} {number}"
                );
            }
        }
    }
}

/// Tcreate truncates an existing file in a transaction, as in the original DataKit. Tlcreate
/// truncates an existing file only if the request's flags include O_TRUNC.
#[test]
fn tlcreate_in_a_transaction_obeys_its_flags() {
    let place = TestDb::memory();
    place.connect().master().commit(&[("f", "kept"), ("d/x", "")]);
    for dialect in ALL {
        let mut client = place.raw(dialect);
        client.walk(0, 1, "branch/master/transactions").unwrap();
        match dialect {
            Dialect::Linux => {
                client
                    .rpc(&T::Mkdir { dfid: Fid(1), name: "t".into(), mode: 0o755, gid: 0 })
                    .unwrap();
            }
            _ => client.create(1, "t", DMDIR | 0o755, None).unwrap(),
        }
        client.clunk(1).unwrap();
        let rw = "branch/master/transactions/t/rw";
        client.walk(0, 2, rw).unwrap();
        if dialect != Dialect::Linux {
            client.create(2, "f", 0o644, None).unwrap();
            assert_eq!(client.read(2, 0, 10).unwrap(), b"", "D21");
            continue;
        }
        for (name, flags, due) in [
            ("f", O_CREAT | O_EXCL | O_RDWR, EEXIST),
            ("d", O_CREAT | O_RDWR, EISDIR),
            ("f", O_CREAT | O_RDWR, 0),
        ] {
            let made = client.lcreate(2, name, flags, 0o644);
            assert_eq!(made.err().map_or(0, |refused| refused.1), due, "{name} with {flags:#o}");
        }
        assert_eq!(client.read(2, 0, 10).unwrap(), b"kept");
        for request in [
            T::Symlink { dfid: Fid(3), name: "f".into(), target: "x".into(), gid: 0 },
            T::Mknod {
                dfid: Fid(3),
                name: "f".into(),
                mode: 0o100_644,
                major: 0,
                minor: 0,
                gid: 0,
            },
        ] {
            client.walk(0, 3, rw).unwrap();
            assert_eq!(errno(client.rpc(&request)), EEXIST, "{request:?}");
            client.clunk(3).unwrap();
        }
        client.walk(0, 3, rw).unwrap();
        client.lcreate(3, "f", O_CREAT | O_TRUNC | O_RDWR, 0o644).unwrap();
        assert_eq!(client.read(3, 0, 10).unwrap(), b"");
    }
}

#[test]
fn unknown_permission_bits_are_refused() {
    let served = scratch();
    for dialect in CLASSIC {
        let mut client = client(&served, dialect);
        create_file(&mut client, dialect.version(), b"");
        let bits = [DMAPPEND, DMEXCL, DMMOUNT, DMAUTH, DMTMP];
        // DMLINK creates a hard link in 9P2000.u but is not supported in 9P2000.
        for bit in bits.into_iter().chain((dialect == Dialect::Legacy).then_some(DMLINK)) {
            client.walk(0, 1, "").unwrap();
            assert_eq!(
                client.create(1, "new", bit | 0o644, None).unwrap_err().0,
                "Operation not supported"
            );
            client.clunk(1).unwrap();
            assert!(!exists(&mut client, "new"));
            client.walk(0, 1, dialect.version()).unwrap();
            let refused = wstat(&mut client, 1, Stat { mode: bit | 0o600, ..untouched() });
            assert_eq!(refused.unwrap_err().0, "Operation not supported");
            assert_eq!(client.stat(1, |stat| (stat.mode, stat.qid.kind)), (0o644, 0));
            client.clunk(1).unwrap();
        }
    }
}

#[test]
fn empty_and_overlong_symlink_targets_are_refused() {
    let served = scratch();
    let longest = "t".repeat(4095);
    for dialect in [Dialect::Unix, Dialect::Linux] {
        let mut client = client(&served, dialect);
        let name = dialect.version();
        assert_eq!(errno(create_symlink(&mut client, name, "")), ENOENT);
        assert_eq!(errno(create_symlink(&mut client, name, &"t".repeat(4096))), ENAMETOOLONG);
        assert!(!exists(&mut client, name));
        create_symlink(&mut client, name, &longest).unwrap();
    }
    let mut client = client(&served, Dialect::Unix);
    client.walk(0, 1, "").unwrap();
    let extension = Extension(None);
    let create =
        T::Create { fid: Fid(1), name: "l".into(), perm: DMSYMLINK | 0o777, mode: 0, extension };
    assert_eq!(client.refused(&create), "Missing target for symlink!");
}
