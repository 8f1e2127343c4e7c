//! Tests that count the allocations caused by requests. The tests pass requests directly to a
//! session on each kind of tree, without sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use allocation_counter::measure;
use datakit_core::files::Bytes;
use datakit_core::session::{FidArray, Limits, Session};
use datakit_core::vfs::{Dir, StaticTree, Vfs, dir, file};
use datakit_core::wire::{
    self, Data, Dialect, Fid, List, Numeric, Rmessage as R, Str, Tag, Tmessage as T,
};
use datakit_db::object::{Commit, encode_tree};
use datakit_db::store::{MemoryStore, RefUpdate, Store};
use datakit_db::{BranchName, Database, file_tree};
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Empty, Entry};
use embassy_futures::block_on;

const ROUNDS: u64 = 1000;
const MSIZE: u32 = 8192;
const LINUX: Dialect = Dialect::Linux;

/// The `O_RDWR` flag of `open(2)`.
const O_RDWR: u32 = 2;

/// The mask of the attributes returned by `stat(2)` (`P9_GETATTR_BASIC`).
const BASIC: u64 = 0x7ff;

/// The fid of the root. `OPEN` is the fid of the open file, and `PASSING` is the fid for files that
/// are clunked right after use.
const ROOT_FID: Fid = Fid(0);
const OPEN: Fid = Fid(1);
const PASSING: Fid = Fid(2);

const PATH: [Str<'static>; 2] = [Str(b"dir"), Str(b"file")];
const CONTENT: &[u8] = b"0123456789abcdef";

static FILE: Bytes<64> = Bytes::new();
static DIR: Dir = Dir::new(&[file("file", &FILE)]);
static ROOT: Dir = Dir::new(&[dir("dir", &DIR)]);

/// A session and a buffer for its messages.
struct Wired<'v, V: Vfs> {
    session: Session<'v, V, FidArray<V, 8>>,
    buf: Vec<u8>,
}

impl<'v, V: Vfs> Wired<'v, V> {
    /// Creates a 9P2000.L session and attaches to the root.
    fn attached(tree: &'v V) -> Self {
        let session = Session::new(tree, FidArray::new(), Limits::new(MSIZE));
        let mut wired = Wired { session, buf: vec![0; MSIZE as usize] };
        wired.ask(&T::Version { msize: MSIZE, version: LINUX.version().into() });
        let (uname, aname) = ("u".into(), "".into());
        wired.ask(&T::Attach { fid: ROOT_FID, afid: Fid::NONE, uname, aname, n_uname: Numeric(0) });
        wired
    }

    /// Sends a request, which must succeed.
    fn ask(&mut self, request: &T<'_>) {
        let len = request.encode(Tag(1), LINUX, &mut self.buf).unwrap();
        let kind = wire::kind(&self.buf);
        let reply = block_on(self.session.answer(&mut self.buf, len));
        assert_eq!((wire::kind(&self.buf), reply > 0), (kind + 1, true));
    }

    fn walk(&mut self, newfid: Fid, names: &[Str<'_>]) {
        self.ask(&T::Walk { fid: ROOT_FID, newfid, wnames: List::Slice(names) });
        let (_, R::Walk { wqids }) = R::decode(frame(&self.buf), LINUX).unwrap() else {
            panic!("no Rwalk")
        };
        assert_eq!(wqids.len(), names.len());
    }

    fn open(&mut self, fid: Fid) {
        self.walk(fid, &PATH);
        self.ask(&T::Lopen { fid, flags: O_RDWR });
    }

    fn read(&mut self) {
        self.ask(&T::Read { fid: OPEN, offset: 0, count: 64 });
        let (_, R::Read { data }) = R::decode(frame(&self.buf), LINUX).unwrap() else {
            panic!("no Rread")
        };
        assert_eq!(data.0, CONTENT);
    }

    fn write(&mut self) {
        self.ask(&T::Write { fid: OPEN, offset: 0, data: Data(CONTENT) });
    }

    /// Reads through `try_answer_now`. Does nothing if the tree needs a future to answer the
    /// request.
    fn try_read_now(&mut self) {
        let mut request = [0; 64];
        let len = T::Read { fid: OPEN, offset: 0, count: 64 }
            .encode(Tag(1), LINUX, &mut request)
            .unwrap();
        if let Some(reply) = self.session.try_answer_now(&request[..len], &mut self.buf) {
            assert_eq!(reply, wire::RREAD_HEADER + CONTENT.len());
        }
    }

    fn clunk(&mut self, fid: Fid) {
        self.ask(&T::Clunk { fid });
    }
}

/// Returns the message at the beginning of `buf`.
fn frame(buf: &[u8]) -> &[u8] {
    let size = u32::from_le_bytes(buf[..4].try_into().unwrap());
    &buf[..size as usize]
}

/// Returns the number of allocations in `ROUNDS` rounds of `requests`, after a few warm-up rounds.
fn allocations<'v, V: Vfs>(wired: &mut Wired<'v, V>, requests: impl Fn(&mut Wired<'v, V>)) -> u64 {
    (0..16).for_each(|_| requests(wired));
    measure(|| (0..ROUNDS).for_each(|_| requests(wired))).count_total
}

/// Checks that reads, writes and similar requests do not allocate. The tree must contain
/// `dir/file`.
fn steady<'v, V: Vfs>(tree: &'v V) {
    let mut wired = Wired::attached(tree);
    wired.open(OPEN);
    assert_eq!(allocations(&mut wired, Wired::write), 0, "write");
    assert_eq!(allocations(&mut wired, Wired::read), 0, "read");
    assert_eq!(allocations(&mut wired, Wired::try_read_now), 0, "read without a future");
    let getattr = |w: &mut Wired<'v, V>| w.ask(&T::Getattr { fid: OPEN, mask: BASIC });
    assert_eq!(allocations(&mut wired, getattr), 0, "getattr");
    let walk = |w: &mut Wired<'v, V>| {
        w.walk(PASSING, &PATH);
        w.clunk(PASSING);
    };
    assert_eq!(allocations(&mut wired, walk), 0, "walk and clunk");
    let open = |w: &mut Wired<'v, V>| {
        w.open(PASSING);
        w.clunk(PASSING);
    };
    assert_eq!(allocations(&mut wired, open), 0, "walk, open and clunk");
}

#[test]
fn allocations_are_counted() {
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn a_static_tree_allocates_for_no_request() {
    steady(&StaticTree::<4, 64>::new(&ROOT));
}

#[test]
fn a_scratch_tree_allocates_for_no_request_that_changes_no_names() {
    let tree = Scratch::new();
    let mut wired = Wired::attached(&tree);
    wired.ask(&T::Mkdir { dfid: ROOT_FID, name: PATH[0], mode: 0o755, gid: 0 });
    wired.walk(PASSING, &PATH[..1]);
    wired.ask(&T::Lcreate { fid: PASSING, name: PATH[1], flags: O_RDWR, mode: 0o644, gid: 0 });
    steady(&tree);
}

/// Returns the number of bytes still allocated after the requests and the peak number of bytes
/// allocated during them.
fn bytes(requests: impl FnOnce()) -> (i64, u64) {
    let info = measure(requests);
    (info.bytes_current, info.bytes_max)
}

#[test]
fn listing_branches_allocates_at_most_300_bytes_each_until_the_clunk() {
    const BRANCHES: u16 = 1000;
    let store = MemoryStore::new();
    let (tree, empty) = encode_tree([]).unwrap();
    let (id, commit) = Commit::encode(tree, &[], b"x", 1).unwrap();
    store.write(&[(tree, empty), (id, commit)]).unwrap();
    let names: Vec<_> = (0..BRANCHES).map(|n| format!("feature-{n:04}")).collect();
    for name in &names {
        let branch = &BranchName::new(name).unwrap();
        assert!(store.update(&[], &[RefUpdate { branch, from: None, to: Some(id) }]).unwrap());
    }
    let database = Database::new(Arc::new(store)).unwrap();
    let tree = file_tree(&database, Entry::dir("debug", Empty));
    let mut wired = Wired::attached(&tree);
    let list = |wired: &mut Wired<'_, _>| {
        wired.walk(PASSING, &[Str(b"branch")]);
        wired.ask(&T::Lopen { fid: PASSING, flags: 0 });
        wired.ask(&T::Readdir { fid: PASSING, offset: 0, count: 4096 });
    };
    let look = |wired: &mut Wired<'_, _>| {
        for name in &names {
            wired.walk(OPEN, &[Str(b"branch"), name.as_str().into(), Str(b"head")]);
            wired.ask(&T::Lopen { fid: OPEN, flags: 0 });
            wired.clunk(OPEN);
        }
    };
    // The first listing is not measured, because it creates tables that remain allocated.
    list(&mut wired);
    wired.clunk(PASSING);
    let (open, most) = bytes(|| list(&mut wired));
    assert!(
        open > 0 && most <= 300 * u64::from(BRANCHES),
        "peak {most} bytes, {open} while the directory is open"
    );
    let (left, _) = bytes(|| wired.clunk(PASSING));
    assert_eq!(left, -open);
    let (left, most) = bytes(|| look(&mut wired));
    assert!(left <= 4096 && most < 65536, "{left} bytes still allocated, peak {most}");
}
