//! The protocol test cases that modify files. The tests run over a socket.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use datakit_core::wire::{
    DMDIR, DMSYMLINK, Dialect, Fid, Numeric, Qid, Rmessage as R, SetAttr, Stat, Str, Tag,
    Tmessage as T,
};
use datakit_server::Limits;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Entry, Text, Tree};
use datakit_tests::wire_client::{Refusal, WireClient, untouched};
use datakit_tests::{Served, serve};

const WITHOUT_LINUX: [Dialect; 2] = [Dialect::Legacy, Dialect::Unix];

fn scratch() -> Served {
    let tree = Scratch::new();
    serve(Limits::default(), move |_| tree.clone())
}

fn text<X: std::fmt::Debug>(result: Result<X, Refusal>) -> String {
    result.unwrap_err().0
}

fn wstat(client: &mut WireClient, fid: u32, stat: Stat<'_>) -> Result<(), Refusal> {
    client.rpc(&T::Wstat { fid: Fid(fid), stat }).map(drop)
}

#[test]
fn p12_a_symlink_needs_a_target() {
    let served = scratch();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.walk(0, 1, "").unwrap();
    assert_eq!(
        text(client.create(1, "l", DMSYMLINK | 0o777, Some(""))),
        "Missing target for symlink!"
    );
    client.create(1, "l", DMSYMLINK | 0o777, Some("there")).unwrap();
    let qids = client.walk(0, 2, "l").unwrap();
    assert_eq!(qids[0].kind, Qid::SYMLINK);
    assert_eq!(
        client.stat(2, |stat| stat.unix.map(|unix| unix.extension.to_string())).as_deref(),
        Some("there")
    );
}

#[test]
fn p13_a_wstat_sets_one_attribute() {
    let served = scratch();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.walk(0, 1, "").unwrap();
        client.create(1, dialect.version(), 0o644, None).unwrap();
        let both = Stat { name: "n".into(), length: 3, ..untouched() };
        assert_eq!(
            text(wstat(&mut client, 1, both)),
            "Can't rename/truncate/chmod at the same time"
        );
        wstat(&mut client, 1, untouched()).unwrap();
        wstat(&mut client, 1, Stat { mtime: 77, ..untouched() }).unwrap();
        assert_eq!(client.stat(1, |stat| (stat.mtime, stat.length)), (77, 0));
        wstat(&mut client, 1, Stat { length: 3, ..untouched() }).unwrap();
        assert_eq!(client.stat(1, |stat| stat.length), 3);
    }
}

#[test]
fn p13_tsetattr_sets_several_attributes() {
    let served = scratch();
    let mut client = WireClient::attached(served.addr, Dialect::Linux, 8192);
    client.walk(0, 1, "").unwrap();
    client
        .rpc(&T::Lcreate { fid: Fid(1), name: "f".into(), flags: 2, mode: 0o644, gid: 0 })
        .unwrap();
    let set = SetAttr {
        valid: SetAttr::MODE | SetAttr::SIZE,
        mode: 0o600,
        size: 3,
        ..SetAttr::default()
    };
    client.rpc(&T::Setattr { fid: Fid(1), set }).unwrap();
    let frame = client.rpc(&T::Getattr { fid: Fid(1), mask: 0x3fff }).unwrap();
    let (_, R::Getattr { attr }) = R::decode(&frame, Dialect::Linux).unwrap() else { panic!() };
    assert_eq!((attr.mode & 0o7777, attr.size), (0o600, 3));
}

#[test]
fn p14_a_wstat_may_omit_the_fields_of_9p2000_u() {
    let served = scratch();
    let mut client = WireClient::attached(served.addr, Dialect::Unix, 8192);
    client.walk(0, 1, "").unwrap();
    client.create(1, "f", 0o644, None).unwrap();
    // The body of a Twstat consists of a fid, the length of the stat record, and the stat record
    // itself, which starts with its own size.
    let mut record = [0; 256];
    let stat = Stat { length: 5, unix: None, ..untouched() };
    let len = stat.encode_into(&mut record, Dialect::Legacy).unwrap();
    let mut body = 1u32.to_le_bytes().to_vec();
    body.extend(u16::try_from(len).unwrap().to_le_bytes());
    body.extend(&record[..len]);
    client.send_raw(126, Tag(9), &body);
    assert!(client.reply().1.is_ok());
    assert_eq!(client.stat(1, |stat| stat.length), 5);
}

#[test]
fn p15_impossible_wstats_are_refused() {
    let served = scratch();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        assert_eq!(
            text(wstat(&mut client, 0, Stat { name: "n".into(), ..untouched() })),
            "Can't rename /"
        );
        wstat(&mut client, 0, Stat { length: 0, ..untouched() }).unwrap();
        let length = Stat { length: 1, ..untouched() };
        assert_eq!(text(wstat(&mut client, 0, length)), "Can't set length of a directory");
        client.walk(0, 1, "").unwrap();
        client.create(1, dialect.version(), 0o644, None).unwrap();
        let mode = Stat { mode: DMDIR | 0o755, ..untouched() };
        assert_eq!(text(wstat(&mut client, 1, mode)), "Incorrect is_directory flag for chmod");
    }
}

#[test]
fn p5_a_walk_that_fails_later_returns_the_qids_found() {
    let served = scratch();
    for dialect in WITHOUT_LINUX {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.walk(0, 1, "").unwrap();
        client.create(1, dialect.version(), DMDIR | 0o755, None).unwrap();
        let path = format!("{}/missing/x", dialect.version());
        assert_eq!(client.walk(0, 5, &path).unwrap().len(), 1);
        assert_eq!(text(client.clunk(5)), "Unknown fid 5");
    }
}

#[test]
fn p4_dotdot_stays_below_the_attached_directory() {
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        let tree = Scratch::new();
        let served = serve(Limits::default(), move |_| tree.clone());
        let mut owner = WireClient::attached(served.addr, Dialect::Legacy, 8192);
        for (fid, path, name) in [(1, "", "a"), (2, "a", "b"), (3, "a/b", "c")] {
            owner.walk(0, fid, path).unwrap();
            owner.create(fid, name, DMDIR | 0o755, None).unwrap();
        }
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        let (uname, aname) = (Str(b"u"), Str(b"/a"));
        let request =
            T::Attach { fid: Fid(1), afid: Fid::NONE, uname, aname, n_uname: Numeric::NONE };
        client.rpc(&request).unwrap();
        let top = client.walk(1, 2, "..").unwrap()[0];
        assert_eq!(client.walk(1, 3, "b/c/../../..").unwrap().last(), Some(&top));
        // A removed directory has no parent, so its `..` is the directory itself.
        let c = client.walk(1, 4, "b/c").unwrap()[1];
        client.walk(4, 5, "").unwrap();
        client.rpc(&T::Remove { fid: Fid(5) }).unwrap();
        assert_eq!(client.walk(4, 6, "..").unwrap(), [c]);
    }
}

#[test]
fn p19_a_forbidden_change_is_eperm() {
    let tree = Tree::new([Entry::file("text", Text::new("x"))].into_iter().collect::<Dir>());
    let served = serve(Limits::default(), move |_| tree.clone());
    for (dialect, errno) in WITHOUT_LINUX.into_iter().zip([0, 1]) {
        let mut client = WireClient::attached(served.addr, dialect, 8192);
        client.walk(0, 1, "text").unwrap();
        let refused = wstat(&mut client, 1, Stat { mode: 0o755, ..untouched() });
        assert_eq!(refused, Err(("Can't chmod special file".to_owned(), errno)));
    }
}
