//! Tests for modes, times, sizes and link counts, and for the operations that change them.

use datakit_core::files::{Param, Value};
use datakit_core::vfs::{self, StaticTree};
use datakit_core::wire::{
    DMAPPEND, DMEXCL, DMSETGID, DMSETUID, DMSETVTX, DMTMP, Dialect, Fid, SetAttr, Time,
    Tmessage as T,
};

use crate::*;

fn set_mode(mode: u32) -> SetAttr {
    SetAttr { valid: SetAttr::MODE, mode, ..SetAttr::default() }
}

#[test]
fn special_mode_bits_are_set_and_reported() {
    let served = scratch();
    let bits = [
        (DMSETUID, 0o4000),
        (DMSETGID, 0o2000),
        (DMSETVTX, 0o1000),
        (DMSETUID | DMSETGID | DMSETVTX, 0o7000),
    ];
    for (n, (wire, mode)) in bits.into_iter().enumerate() {
        let (mut unix, mut linux) =
            (client(&served, Dialect::Unix), client(&served, Dialect::Linux));
        let (made, name) = (format!("made{n}"), format!("set{n}"));
        unix.walk(0, 1, "").unwrap();
        unix.create(1, &made, wire | 0o755, None).unwrap();
        create_file(&mut unix, &name, b"");
        unix.walk(0, 2, &name).unwrap();
        wstat(&mut unix, 2, Stat { mode: wire | 0o755, ..untouched() }).unwrap();
        for (fid, name) in [(1, &made), (2, &name)] {
            linux.walk(0, fid, name).unwrap();
            assert_eq!(linux.getattr(fid).unwrap().mode, 0o100_755 | mode);
            assert_eq!(unix.stat(fid, |stat| stat.mode), 0o755 | wire);
        }
        linux.setattr(1, set_mode(0o644)).unwrap();
        assert_eq!(unix.stat(1, |stat| stat.mode), 0o644);
    }
    let mut unix = client(&served, Dialect::Unix);
    unix.walk(0, 1, "").unwrap();
    unix.create(1, "tmp", DMDIR | DMSETVTX | 0o777, None).unwrap();
    assert_eq!(unix.stat(1, |stat| stat.mode), DMDIR | DMSETVTX | 0o777);
}

#[test]
fn a_write_by_a_user_clears_set_id_bits() {
    let served = scratch();
    for dialect in [Dialect::Unix, Dialect::Linux] {
        let (mut root, mut user) = (client(&served, Dialect::Linux), client(&served, dialect));
        user.attach_as(1, "", 1000).unwrap();
        for (before, after) in
            [(0o4777, 0o777), (0o6755, 0o755), (0o2766, 0o2766), (0o1777, 0o1777)]
        {
            let name = format!("{}{before:o}", dialect.version());
            create_file(&mut root, &name, b"content");
            root.walk(0, 2, &name).unwrap();
            let mut check = |what: &str, change: &mut dyn FnMut(&mut WireClient)| {
                root.setattr(2, set_mode(before)).unwrap();
                change(&mut user);
                assert_eq!(
                    root.getattr(2).unwrap().mode,
                    0o100_000 | after,
                    "{what} of {before:o}"
                );
            };
            check("write", &mut |user| {
                user.walk(1, 3, &name).unwrap();
                user.open(3, 1).unwrap();
                user.write(3, 0, b"").unwrap();
                user.write(3, 0, b"x").unwrap();
                user.clunk(3).unwrap();
            });
            check("open with truncation", &mut |user| {
                user.walk(1, 3, &name).unwrap();
                match dialect {
                    Dialect::Linux => user.lopen(3, O_TRUNC | O_WRONLY).unwrap(),
                    _ => user.open(3, OTRUNC | 1).unwrap(),
                }
                user.clunk(3).unwrap();
            });
            // Changing the length affects the mode in the same way as a write.
            root.setattr(2, set_mode(before)).unwrap();
            user.walk(1, 3, &name).unwrap();
            match dialect {
                Dialect::Linux => {
                    user.setattr(
                        3,
                        SetAttr { valid: SetAttr::SIZE, size: 1, ..SetAttr::default() },
                    )
                    .unwrap();
                }
                _ => wstat(&mut user, 3, Stat { length: 1, ..untouched() }).unwrap(),
            }
            user.clunk(3).unwrap();
            assert_eq!(
                root.getattr(2).unwrap().mode,
                0o100_000 | after,
                "truncation of {before:o}"
            );
            // Neither a user's reads nor root's writes clear the set-ID bits.
            root.setattr(2, set_mode(before)).unwrap();
            user.walk(1, 3, &name).unwrap();
            user.open(3, 0).unwrap();
            user.read(3, 0, 10).unwrap();
            user.clunk(3).unwrap();
            root.walk(0, 3, &name).unwrap();
            root.lopen(3, O_WRONLY).unwrap();
            root.write(3, 0, b"x").unwrap();
            root.clunk(3).unwrap();
            assert_eq!(root.getattr(2).unwrap().mode, 0o100_000 | before);
            root.clunk(2).unwrap();
        }
    }
}

#[test]
fn a_change_of_owner_clears_set_id_bits() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"");
    create_dir(&mut client, "d");
    for (path, before, after) in
        [("f", 0o106_755, 0o100_755), ("f", 0o102_644, 0o102_644), ("d", 0o043_755, 0o043_755)]
    {
        client.walk(0, 1, path).unwrap();
        for valid in [SetAttr::UID, SetAttr::GID] {
            client.setattr(1, set_mode(before)).unwrap();
            client.setattr(1, SetAttr { valid, uid: 7, gid: 8, ..SetAttr::default() }).unwrap();
            assert_eq!(client.getattr(1).unwrap().mode, after);
        }
        // If a request sets both the owner and the mode, the file has the given mode afterwards.
        let set = SetAttr {
            valid: SetAttr::UID | SetAttr::MODE,
            uid: 9,
            mode: before,
            ..SetAttr::default()
        };
        client.setattr(1, set).unwrap();
        assert_eq!(client.getattr(1).unwrap().mode, before);
        client.clunk(1).unwrap();
    }
}

#[test]
fn an_empty_write_changes_nothing() {
    let (_live, dynamic) = dynamic();
    let scratch = scratch();
    for served in [&scratch, &dynamic] {
        for dialect in ALL {
            let mut client = client(served, dialect);
            if !exists(&mut client, "text") {
                create_file(&mut client, "text", b"text");
            }
            let mut probe = crate::client(served, Dialect::Linux);
            probe.walk(0, 1, "text").unwrap();
            let before = probe.getattr(1).unwrap();
            client.open_path(1, "text", 2);
            for offset in [0, 4, 1000, u64::MAX] {
                assert_eq!(client.write(1, offset, b"").unwrap(), 0);
            }
            client.clunk(1).unwrap();
            let after = probe.getattr(1).unwrap();
            assert_eq!(
                (after.size, after.mtime, after.ctime, after.qid),
                (4, before.mtime, before.ctime, before.qid)
            );
        }
    }
}

#[test]
fn times_outside_of_the_dialects_range_are_clamped() {
    let served = scratch();
    let (mut linux, mut unix) = (client(&served, Dialect::Linux), client(&served, Dialect::Unix));
    create_file(&mut linux, "f", b"");
    linux.walk(0, 1, "f").unwrap();
    unix.walk(0, 1, "f").unwrap();
    let cases = [(-1i64, 0), (i64::MIN, 0), (1 << 32, u32::MAX), (i64::MAX, u32::MAX), (5, 5)];
    for (sec, due) in cases {
        let time = Time { sec: sec.cast_unsigned(), nsec: 0 };
        let valid = SetAttr::MTIME | SetAttr::MTIME_SET | SetAttr::ATIME | SetAttr::ATIME_SET;
        linux
            .setattr(1, SetAttr { valid, mtime: time, atime: time, ..SetAttr::default() })
            .unwrap();
        let attr = linux.getattr(1).unwrap();
        assert_eq!((attr.mtime, attr.atime), (time, time));
        assert_eq!(unix.stat(1, |stat| (stat.mtime, stat.atime)), (due, due), "{sec}");
    }
}

#[test]
fn holes_take_no_blocks() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"");
    client.walk(0, 1, "f").unwrap();
    client.lopen(1, O_RDWR).unwrap();
    assert_eq!(client.getattr(1).unwrap().blocks, 0);
    client
        .setattr(1, SetAttr { valid: SetAttr::SIZE, size: 1 << 40, ..SetAttr::default() })
        .unwrap();
    assert_eq!(client.getattr(1).unwrap().blocks, 0, "a hole takes nothing");
    client.write(1, 1 << 39, &[1; 4096]).unwrap();
    let attr = client.getattr(1).unwrap();
    assert!((8..1024).contains(&attr.blocks), "{}", attr.blocks);
    client.setattr(1, SetAttr { valid: SetAttr::SIZE, ..SetAttr::default() }).unwrap();
    assert_eq!(client.getattr(1).unwrap().blocks, 0);
}

#[test]
fn a_removed_file_has_no_links_and_cannot_be_linked() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"");
    create_dir(&mut client, "d");
    for (path, flags) in [("f", 0), ("d", 0x200)] {
        client.walk(0, 1, path).unwrap();
        client.walk(0, 2, path).unwrap();
        client.lopen(2, 0).unwrap();
        client.rpc(&T::Unlinkat { dirfid: Fid(0), name: path.into(), flags }).unwrap();
        for fid in [1, 2] {
            assert_eq!(client.getattr(fid).unwrap().nlink, 0, "{path}");
        }
        let link = T::Link { dfid: Fid(0), fid: Fid(1), name: "again".into() };
        assert_eq!(errno(client.rpc(&link)), if path == "f" { ENOENT } else { EPERM });
        client.clunk(1).unwrap();
        client.clunk(2).unwrap();
    }
    // After a rename replaces a file, the replaced file has no links, and clients cannot create a
    // new link to it.
    for name in ["a", "b"] {
        create_file(&mut client, name, b"");
    }
    client.walk(0, 1, "b").unwrap();
    let (olddirfid, newdirfid) = (Fid(0), Fid(0));
    client
        .rpc(&T::Renameat { olddirfid, oldname: "a".into(), newdirfid, newname: "b".into() })
        .unwrap();
    assert_eq!(client.getattr(1).unwrap().nlink, 0);
    assert_eq!(
        errno(client.rpc(&T::Link { dfid: Fid(0), fid: Fid(1), name: "again".into() })),
        ENOENT
    );
    // While a file has at least one name, clients can create new links to it.
    client.walk(0, 2, "b").unwrap();
    client.rpc(&T::Link { dfid: Fid(0), fid: Fid(2), name: "c".into() }).unwrap();
    client.rpc(&T::Unlinkat { dirfid: Fid(0), name: "b".into(), flags: 0 }).unwrap();
    client.rpc(&T::Link { dfid: Fid(0), fid: Fid(2), name: "b".into() }).unwrap();
    assert_eq!(client.getattr(2).unwrap().nlink, 2);
}

#[test]
fn a_rename_updates_ctime() {
    let served = scratch();
    for dialect in ALL {
        let (mut client, mut probe) = (client(&served, dialect), client(&served, Dialect::Linux));
        let name = dialect.version();
        create_file(&mut client, name, b"");
        client.walk(0, 1, name).unwrap();
        probe.walk(0, 1, name).unwrap();
        let before = probe.getattr(1).unwrap();
        let new = format!("{name} renamed");
        match dialect {
            Dialect::Linux => {
                client
                    .rpc(&T::Rename { fid: Fid(1), dfid: Fid(0), name: new.as_str().into() })
                    .unwrap();
            }
            _ => wstat(&mut client, 1, Stat { name: new.as_str().into(), ..untouched() }).unwrap(),
        }
        let after = probe.getattr(1).unwrap();
        assert!((after.ctime.sec, after.ctime.nsec) > (before.ctime.sec, before.ctime.nsec));
        assert_eq!((after.mtime, after.qid), (before.mtime, before.qid));
    }
}

/// Tests the request that Linux sends when both IDs passed to `chown(2)` are -1.
#[test]
fn a_chown_that_changes_nothing_updates_ctime() {
    let served = scratch();
    let mut client = client(&served, Dialect::Linux);
    create_file(&mut client, "f", b"");
    client.walk(0, 1, "f").unwrap();
    let before = client.getattr(1).unwrap();
    client.setattr(1, SetAttr::default()).unwrap();
    assert_eq!(client.getattr(1).unwrap(), before);
    client.setattr(1, SetAttr { valid: SetAttr::CTIME, ..SetAttr::default() }).unwrap();
    let after = client.getattr(1).unwrap();
    assert!((after.ctime.sec, after.ctime.nsec) > (before.ctime.sec, before.ctime.nsec));
    assert_eq!((after.mtime, after.mode, after.uid), (before.mtime, before.mode, before.uid));
}

#[test]
fn a_parameter_refuses_a_change_of_mode() {
    static VALUE: Value<u32> = Value::new(1);
    static PARAM: Param<u32> = Param::new(&VALUE);
    static ROOT: vfs::Dir = vfs::Dir::new(&[vfs::file("param", &PARAM)]);
    let served = serve(Limits::default(), |_| StaticTree::<8, 64>::new(&ROOT));
    for dialect in CLASSIC {
        let mut client = client(&served, dialect);
        client.walk(0, 1, "param").unwrap();
        wstat(&mut client, 1, Stat { mode: 0o644, ..untouched() }).unwrap();
        for bit in [DMSETUID, DMAPPEND, DMEXCL, DMTMP] {
            assert!(
                wstat(&mut client, 1, Stat { mode: bit | 0o644, ..untouched() }).is_err(),
                "{bit:#x}"
            );
        }
        client.open(1, 2).unwrap();
        assert_eq!(client.write(1, 0, b"").unwrap(), 0);
        assert_eq!(client.read(1, 0, 10).unwrap(), b"1\n");
    }
}
