//! The protocol test cases that do not modify files. The tests run over a socket.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::Arc;

use datakit_core::wire::{
    DMDIR, DMSYMLINK, Data, Dialect, Dirent, Fid, Qid, Rmessage as R, Stat, Tag, Tmessage as T,
};
use datakit_server::Limits;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Entry, ListDir, Live, ReadOnlyText, Text, Tree};
use datakit_tests::wire_client::{Refusal, WireClient};
use datakit_tests::{Served, serve};

const ALL: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];
const WITHOUT_LINUX: [Dialect; 2] = [Dialect::Legacy, Dialect::Unix];

/// Creates a tree with `branch/master/{head,run,link}`, `live`, `many/entry{0000..0999}`, `text`,
/// and a path with 20 components.
fn tree() -> (Live<u32>, Tree) {
    let live = Live::new(0);
    let master: Dir = [
        Entry::file("head", ReadOnlyText::new("abc\n")),
        Entry::file("run", ReadOnlyText::new("#!/bin/sh\n").executable()),
        Entry::symlink("link", "head"),
    ]
    .into_iter()
    .collect();
    let branch: Dir = [Entry::dir("master", master)].into_iter().collect();
    let many: Arc<[Entry]> =
        (0..1000).map(|n| Entry::file(format!("entry{n:04}"), ReadOnlyText::new(""))).collect();
    let mut deep = Entry::file("bottom", ReadOnlyText::new("deep"));
    for level in (1..20).rev() {
        let dir: Dir = [deep].into_iter().collect();
        deep = Entry::dir(format!("d{level}"), dir);
    }
    let root: Dir = [
        Entry::dir("branch", branch),
        Entry::file("live", live.file(|n| format!("{n}\n"))),
        Entry::dir("many", ListDir::new(move || many.to_vec())),
        Entry::file("text", Text::new("x".repeat(100_000))),
        deep,
    ]
    .into_iter()
    .collect();
    (live, Tree::new(root))
}

fn served() -> (Live<u32>, Served) {
    let (live, tree) = tree();
    (live, serve(Limits::default(), move |_| tree.clone()))
}

fn text<X: std::fmt::Debug>(result: Result<X, Refusal>) -> String {
    result.unwrap_err().0
}

fn kinds(qids: &[Qid]) -> Vec<u8> {
    qids.iter().map(|qid| qid.kind).collect()
}

#[test]
fn p1_versions_are_negotiated() {
    let (_, served) = served();
    let mut client = WireClient::connect(served.addr);
    let expected = [
        ("9P2000.u", "9P2000.u"),
        ("9P2000", "9P2000"),
        ("9P2000.L", "9P2000.L"),
        ("9P2000.zz", "9P2000"),
        ("foo", "unknown"),
        ("9P2000.u", "9P2000.u"),
    ];
    for (offered, version) in expected {
        assert_eq!(client.version(8192, offered), (8192, version.to_owned()));
    }
}

#[test]
fn p2_no_reply_is_larger_than_msize() {
    let (_, served) = served();
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8215);
        client.open_path(1, "text", 0);
        for count in [65536, u32::MAX, 8215, 8192] {
            let frame = client.rpc(&T::Read { fid: Fid(1), offset: 0, count }).unwrap();
            assert!((4096..=8215).contains(&frame.len()), "{} bytes for {count}", frame.len());
        }
    }
    let mut client = WireClient::connect(served.addr);
    let max = Limits::default().msize;
    assert_eq!(client.version(u32::MAX, "9P2000").0, max);
}

#[test]
fn p3_a_walk_returns_the_qid_of_each_step() {
    let (_, served) = served();
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        assert_eq!(
            kinds(&client.walk(0, 1, "branch/master/head").unwrap()),
            [Qid::DIR, Qid::DIR, Qid::FILE]
        );
    }
}

#[test]
fn p4_dotdot_stops_at_the_root() {
    let (_, served) = served();
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        let down = client.walk(0, 1, "branch/master").unwrap();
        let root = client.walk(1, 2, "../..").unwrap()[1];
        assert_eq!(client.walk(2, 3, "../../..").unwrap(), [root; 3]);
        assert_eq!(client.walk(3, 4, "branch/master").unwrap(), down);
    }
}

#[test]
fn p5_a_failed_walk_creates_no_fid() {
    let (_, served) = served();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        assert_eq!(text(client.walk(0, 5, ".")), "'.' is not valid in 9p");
        client.walk(0, 1, "branch/master/head").unwrap();
        assert_eq!(text(client.walk(1, 5, "x")), "Can't walk from a file");
        assert_eq!(text(client.walk(0, 5, "missing")), "No such file or directory");
        assert_eq!(text(client.clunk(5)), "Unknown fid 5");
        // A walk in a dynamic tree never succeeds partially.
        assert_eq!(text(client.walk(0, 5, "branch/missing")), "No such file or directory");
        assert_eq!(text(client.clunk(5)), "Unknown fid 5");
    }
}

#[test]
fn p6_a_walk_may_have_twenty_names() {
    let (_, served) = served();
    let path: String = (1..20).map(|level| format!("d{level}/")).collect::<String>() + "bottom";
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        assert_eq!(client.walk(0, 1, &path).unwrap().len(), 20);
        client.open(1, 0).unwrap();
        assert_eq!(client.read(1, 0, 100).unwrap(), b"deep");
    }
}

#[test]
fn p7_used_and_unknown_fids_are_refused() {
    let (_, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.walk(0, 5, "text").unwrap();
    assert_eq!(text(client.walk(0, 5, "branch")), "Fid 5 already in use");
    assert_eq!(text(client.attach(5)), "Fid 5 already in use");
    assert_eq!(client.refused(&T::Stat { fid: Fid(6) }), "Unknown fid 6");
    assert_eq!(text(client.walk(6, 7, "")), "Unknown fid 6");
}

#[test]
fn p8_requests_in_the_wrong_state_are_refused() {
    let (_, served) = served();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.walk(0, 1, "text").unwrap();
        assert_eq!(text(client.read(1, 0, 10)), "Can't read from unopened fid");
        assert_eq!(text(client.write(1, 0, b"x")), "Can't write to unopened fid");
        assert_eq!(text(client.create(1, "x", 0o644, None)), "\"text\" is not a directory");
        client.open(1, 0).unwrap();
        assert_eq!(text(client.open(1, 0)), "Already open");
        assert_eq!(text(client.create(1, "x", 0o644, None)), "Can't create in an opened fid");
        client.open_path(2, "branch", 0);
        assert_eq!(text(client.write(2, 0, b"x")), "Can't write to directories");
    }
}

#[test]
fn p9_a_read_only_file_opens_for_writing_and_refuses_writes() {
    let (_, served) = served();
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.open_path(1, "branch/master/head", 2);
        let (text, errno) = client.write(1, 0, b"x").unwrap_err();
        match dialect {
            Dialect::Linux => assert_eq!(errno, 30),
            _ => assert_eq!(text, "Read-only file"),
        }
        assert_eq!(client.read(1, 0, 100).unwrap(), b"abc\n");
    }
}

fn names(data: &[u8], dialect: Dialect) -> Vec<String> {
    Stat::decode_all(data, dialect).map(|stat| stat.unwrap().name.to_string()).collect()
}

#[test]
fn p10_a_listing_has_each_of_a_thousand_entries_once() {
    let (_, served) = served();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8215);
        client.open_path(1, "many", 0);
        let (mut offset, mut all) = (0u64, Vec::new());
        loop {
            let (_, errno) = client.read(1, offset, 10).unwrap_err();
            let at_end = all.len() == 1000;
            assert!(dialect == Dialect::Legacy || errno == 22);
            let data = client.read(1, offset, 8191).unwrap();
            if data.is_empty() {
                break;
            }
            assert!(!at_end);
            offset += data.len() as u64;
            all.extend(names(&data, dialect));
            if all.len() == 1000 {
                assert_eq!(client.read(1, offset, 8191).unwrap(), b"");
                break;
            }
        }
        assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>().len()), (1000, 1000));
    }
}

#[test]
fn p10_treaddir_lists_each_of_a_thousand_entries_once() {
    let (_, served) = served();
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8215);
    client.open_path(1, "many", 0);
    let (mut offset, mut all) = (0, Vec::new());
    loop {
        let frame = client.rpc(&T::Readdir { fid: Fid(1), offset, count: 8191 }).unwrap();
        let (_, R::Readdir { data: Data(data) }) = R::decode(&frame, Dialect::Linux).unwrap()
        else {
            panic!()
        };
        if data.is_empty() {
            break;
        }
        for entry in Dirent::decode_all(data) {
            let entry = entry.unwrap();
            offset = entry.offset;
            all.push(entry.name.to_string());
        }
    }
    all.retain(|name| name != "." && name != "..");
    assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>().len()), (1000, 1000));
}

#[test]
fn p11_directories_refuse_seeks() {
    let (_, served) = served();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.open_path(1, "many", 0);
        let first = client.read(1, 0, 1000).unwrap();
        assert_eq!(text(client.read(1, first.len() as u64 + 1, 1000)), "Can't seek in a directory");
        assert_eq!(client.read(1, 0, 1000).unwrap(), first);
        assert!(!client.read(1, first.len() as u64, 1000).unwrap().is_empty());
    }
}

/// Opens the `live` stream as fid 1 and reads until the next read would block.
fn client_at_end_of_live(served: &Served, dialect: Dialect) -> WireClient {
    let mut client = WireClient::attached(served.addr, dialect, 8192);
    client.open_path(1, "live", 0);
    assert_eq!(client.read(1, 0, 100).unwrap(), b"0\n");
    assert_eq!(client.read(1, 2, 100).unwrap(), b"");
    client
}

#[test]
fn p16_a_flush_cancels_a_waiting_read() {
    for dialect in ALL {
        let (live, served) = served();
        let mut client = client_at_end_of_live(&served, dialect);
        client.send(Tag(20), &T::Read { fid: Fid(1), offset: 2, count: 100 });
        client.walk(0, 2, "text").unwrap();
        client.send(Tag(21), &T::Flush { oldtag: Tag(20) });
        let (tag, reply) = client.reply();
        assert!(tag == Tag(21) && reply.is_ok());
        live.publish(7);
        // The flushed read gets no reply, and the next read returns the value.
        assert_eq!(client.read(1, 2, 100).unwrap(), b"7\n");
        client.rpc(&T::Flush { oldtag: Tag(999) }).unwrap();
    }
}

#[test]
fn p17_a_waiting_read_does_not_block_other_requests() {
    let (live, served) = served();
    for dialect in ALL {
        live.publish(0);
        let mut client = client_at_end_of_live(&served, dialect);
        client.send(Tag(500), &T::Read { fid: Fid(1), offset: 2, count: 100 });
        for _ in 0..100 {
            client.walk(0, 2, "branch/master").unwrap();
            client.clunk(2).unwrap();
        }
        live.publish(9);
        let (tag, reply) = client.reply();
        assert_eq!((tag, &reply.unwrap()[11..]), (Tag(500), &b"9\n"[..]));
    }
}

#[test]
fn p18_a_failed_remove_clunks_the_fid() {
    let (_, served) = served();
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.walk(0, 1, "branch/master/head").unwrap();
        assert!(client.rpc(&T::Remove { fid: Fid(1) }).is_err());
        client.walk(0, 1, "branch/master/head").unwrap();
    }
}

#[test]
fn p19_errors_carry_numbers_where_the_dialect_has_them() {
    let tree = Scratch::new();
    let served = serve(Limits::default(), move |_| tree.clone());
    let mut linux = WireClient::attached(served.addr, Dialect::Linux, 8192);
    linux.rpc(&T::Mkdir { dfid: Fid(0), name: "d".into(), mode: 0o755, gid: 0 }).unwrap();
    let (_, dynamic) = self::served();
    for dialect in ALL {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        let mut other = WireClient::attached(dynamic.addr, dialect, 8192);
        other.open_path(1, "branch/master/head", 2);
        other.walk(0, 2, "text").unwrap();
        client.open_path(1, "d", 0);
        let found = [
            client.walk(0, 9, "no").unwrap_err().1,
            other.walk(2, 9, "x").unwrap_err().1,
            other.write(1, 0, b"x").unwrap_err().1,
        ];
        assert_eq!(found, if dialect == Dialect::Legacy { [0; 3] } else { [2, 20, 30] });
        if dialect != Dialect::Linux {
            let number = client.write(1, 0, b"x").unwrap_err().1;
            assert_eq!(number, if dialect == Dialect::Legacy { 0 } else { 21 });
        }
    }
    assert_eq!(
        linux.rpc(&T::Mkdir { dfid: Fid(0), name: "d".into(), mode: 0o755, gid: 0 }).unwrap_err().1,
        17
    );
}

#[test]
fn p21_stat_returns_the_modes_of_programs_links_and_directories() {
    let (_, served) = served();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        let expected = [
            ("branch/master/head", 0o444),
            ("branch/master/run", 0o555),
            ("branch/master/link", DMSYMLINK),
            ("branch/master", DMDIR | 0o775),
        ];
        for (fid, (path, mode)) in (1..).zip(expected) {
            client.walk(0, fid, path).unwrap();
            client.walk(0, fid + 100, path).unwrap();
            let (found, extension, qid) = client.stat(fid, |stat| {
                (stat.mode, stat.unix.map(|unix| unix.extension.to_string()), stat.qid)
            });
            let mask = if mode == DMSYMLINK { DMSYMLINK | DMDIR } else { u32::MAX };
            assert_eq!(found & mask, mode, "{path}: {found:o}");
            if dialect == Dialect::Unix {
                assert_eq!(extension.unwrap(), if mode == DMSYMLINK { "head" } else { "" });
            }
            assert_eq!(client.stat(fid + 100, |stat| stat.qid), qid);
        }
    }
}
