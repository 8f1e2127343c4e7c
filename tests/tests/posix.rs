//! Tests for the guarantees that the Plan 9 manual, POSIX and Linux make about files. The tests
//! send individual messages in each dialect that supports them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod posix {
    pub mod attributes;
    pub mod client;
    pub mod creating;
    pub mod links;
    pub mod opening;
    pub mod waiting;
    pub mod xattrs;
}

use datakit_core::wire::{DMDIR, DMSYMLINK, Dialect, Fid, Stat, Tmessage as T};
use datakit_server::Limits;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Entry, Live, Text, Tree};
use datakit_tests::wire_client::{Refusal, WireClient, untouched};
use datakit_tests::{Served, serve};

const ALL: [Dialect; 3] = [Dialect::Legacy, Dialect::Unix, Dialect::Linux];
const CLASSIC: [Dialect; 2] = [Dialect::Legacy, Dialect::Unix];

const OTRUNC: u8 = 0x10;
const ORCLOSE: u8 = 0x40;

const O_WRONLY: u32 = 1;
const O_RDWR: u32 = 2;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_APPEND: u32 = 0o2000;
const O_DIRECTORY: u32 = 0o200_000;
const O_NOFOLLOW: u32 = 0o400_000;

const EPERM: u32 = 1;
const ENOENT: u32 = 2;
const E2BIG: u32 = 7;
const EBADF: u32 = 9;
const EEXIST: u32 = 17;
const ENOTDIR: u32 = 20;
const EISDIR: u32 = 21;
const EINVAL: u32 = 22;
const ENAMETOOLONG: u32 = 36;
const ELOOP: u32 = 40;
const ENODATA: u32 = 61;

/// Serves an empty scratch tree.
fn scratch() -> Served {
    let tree = Scratch::new();
    serve(Limits::default(), move |_| tree.clone())
}

/// Serves a dynamic tree that contains the `text` file, the `dir` directory and the `live` stream.
fn dynamic() -> (Live<u32>, Served) {
    let live = Live::new(0);
    let entries = [
        Entry::file("text", Text::new("text")),
        Entry::dir("dir", Dir::new()),
        Entry::file("live", live.file(|n| format!("{n}\n"))),
    ];
    let tree = Tree::new(entries.into_iter().collect::<Dir>());
    (live, serve(Limits::default(), move |_| tree.clone()))
}

fn client(served: &Served, dialect: Dialect) -> WireClient {
    WireClient::attached(served.addr, dialect, 8192)
}

/// Returns the error number that a 9P2000.u or 9P2000.L client receives.
#[track_caller]
fn errno<X: std::fmt::Debug>(result: Result<X, Refusal>) -> u32 {
    result.expect_err("the request must fail").1
}

/// Creates a file with the given content and closes it.
fn create_file(client: &mut WireClient, name: &str, content: &[u8]) {
    client.walk(0, 90, "").unwrap();
    match client.dialect {
        Dialect::Linux => client.lcreate(90, name, O_CREAT | O_EXCL | O_RDWR, 0o644).unwrap(),
        _ => client.create(90, name, 0o644, None).unwrap(),
    }
    if !content.is_empty() {
        client.write(90, 0, content).unwrap();
    }
    client.clunk(90).unwrap();
}

fn create_dir(client: &mut WireClient, name: &str) {
    match client.dialect {
        Dialect::Linux => {
            client.rpc(&T::Mkdir { dfid: Fid(0), name: name.into(), mode: 0o755, gid: 0 }).unwrap();
        }
        _ => {
            client.walk(0, 90, "").unwrap();
            client.create(90, name, DMDIR | 0o755, None).unwrap();
            client.clunk(90).unwrap();
        }
    }
}

fn create_symlink(client: &mut WireClient, name: &str, target: &str) -> Result<(), Refusal> {
    if client.dialect == Dialect::Linux {
        return client
            .rpc(&T::Symlink { dfid: Fid(0), name: name.into(), target: target.into(), gid: 0 })
            .map(drop);
    }
    client.walk(0, 91, "").unwrap();
    let extension = datakit_core::wire::Extension(Some(target.into()));
    let request =
        T::Create { fid: Fid(91), name: name.into(), perm: DMSYMLINK | 0o777, mode: 0, extension };
    let made = client.rpc(&request).map(drop);
    client.clunk(91).unwrap();
    made
}

/// Reads a whole file.
fn content(client: &mut WireClient, path: &str) -> Vec<u8> {
    client.open_path(92, path, 0);
    let content = client.read(92, 0, 8000).unwrap();
    client.clunk(92).unwrap();
    content
}

fn exists(client: &mut WireClient, path: &str) -> bool {
    let found = client.walk(0, 93, path).is_ok();
    if found {
        client.clunk(93).unwrap();
    }
    found
}

fn wstat(client: &mut WireClient, fid: u32, stat: Stat<'_>) -> Result<(), Refusal> {
    client.rpc(&T::Wstat { fid: Fid(fid), stat }).map(drop)
}
