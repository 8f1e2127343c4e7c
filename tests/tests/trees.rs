//! An acceptance suite for all three kinds of trees. The suite runs on each tree directly, and
//! through a server in each dialect.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datakit_client::{Client, Dialect, Options};
use datakit_core::files::Blob;
use datakit_core::vfs::{
    self, Create, CreateKind, Error, FileType, Name, OpenMode, Result, SetAttr, StaticTree, Vfs,
};
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Entry, ReadOnlyText, Tree};
use datakit_server::{Limits, Peer};
use datakit_tests::remote::Remote;
use datakit_tests::serve;
use embassy_futures::block_on;

const HELLO: &[u8] = b"hello, tree";
const NAMES: [&str; 5] = ["n0", "n1", "n2", "n3", "n4"];

static MANY: vfs::Dir = vfs::Dir::new(&[
    vfs::file("n0", &Blob::new("0")),
    vfs::file("n1", &Blob::new("1")),
    vfs::file("n2", &Blob::new("2")),
    vfs::file("n3", &Blob::new("3")),
    vfs::file("n4", &Blob::new("4")),
]);
static SUB: vfs::Dir = vfs::Dir::new(&[vfs::file("leaf", &Blob::new("leaf"))]);
static DIR: vfs::Dir = vfs::Dir::new(&[vfs::dir("sub", &SUB)]);
static ROOT: vfs::Dir = vfs::Dir::new(&[
    vfs::dir("dir", &DIR),
    vfs::file("hello", &Blob::new("hello, tree")),
    vfs::dir("many", &MANY),
]);

fn dynamic() -> Tree {
    let many: Dir = (0..)
        .zip(NAMES)
        .map(|(n, name)| Entry::file(name, ReadOnlyText::new(format!("{n}"))))
        .collect();
    let sub: Dir = [Entry::file("leaf", ReadOnlyText::new("leaf"))].into_iter().collect();
    let dir: Dir = [Entry::dir("sub", sub)].into_iter().collect();
    let hello = Entry::file("hello", ReadOnlyText::new(HELLO));
    Tree::new(
        [Entry::dir("dir", dir), hello, Entry::dir("many", many)].into_iter().collect::<Dir>(),
    )
}

fn scratch() -> Scratch {
    let tree = Scratch::new();
    block_on(async {
        let root = tree.root();
        let dir = make(&tree, &root, "dir", CreateKind::Dir).await.unwrap();
        let sub = make(&tree, &dir, "sub", CreateKind::Dir).await.unwrap();
        let many = make(&tree, &root, "many", CreateKind::Dir).await.unwrap();
        fill(&tree, &root, "hello", HELLO).await.unwrap();
        fill(&tree, &sub, "leaf", b"leaf").await.unwrap();
        for (n, called) in NAMES.iter().enumerate() {
            fill(&tree, &many, called, n.to_string().as_bytes()).await.unwrap();
        }
    });
    tree
}

#[test]
fn static_tree_passes() {
    block_on(suite(&StaticTree::<8, 64>::new(&ROOT), Can::HERE.only_read())).unwrap();
}

#[test]
fn dynamic_tree_passes() {
    block_on(suite(&dynamic(), Can::HERE.only_read())).unwrap();
}

#[test]
fn scratch_tree_passes() {
    block_on(suite(&scratch(), Can::HERE)).unwrap();
}

#[test]
fn static_tree_passes_through_a_server() {
    through_a_server(Can::only_read, || |_: &Peer| StaticTree::<8, 64>::new(&ROOT));
}

#[test]
fn dynamic_tree_passes_through_a_server() {
    through_a_server(Can::only_read, || {
        let tree = dynamic();
        move |_: &Peer| tree.clone()
    });
}

#[test]
fn scratch_tree_passes_through_a_server() {
    through_a_server(std::convert::identity, || {
        let tree = scratch();
        move |_: &Peer| tree.clone()
    });
}

/// Runs the suite on a new tree and server for each dialect and message size. An entire listing
/// fits into a message of the larger size. The smaller size is the minimum that a server accepts.
fn through_a_server<V, M>(limit: fn(Can) -> Can, make: impl Fn() -> M)
where
    V: Vfs + 'static,
    M: Fn(&Peer) -> V + Clone + Send + 'static,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (dialect, can) in
        [(Dialect::Legacy, Can::LEGACY), (Dialect::Unix, Can::UNIX), (Dialect::Linux, Can::LINUX)]
    {
        for msize in [256, 8192] {
            println!("{} in messages of {msize} bytes", dialect.version());
            let served = serve(Limits::default(), make());
            let url = format!("tcp://{}", served.addr).parse().unwrap();
            let options = Options::default().dialect(dialect).msize(msize);
            runtime.block_on(async {
                let client = Client::connect(&url, options).await.unwrap();
                assert_eq!((client.dialect(), client.msize()), (dialect, msize));
                suite(&Remote::new(&client).await.unwrap(), limit(can)).await.unwrap();
            });
        }
    }
}

/// The capabilities of a tree and of the connection to it.
#[derive(Clone, Copy)]
struct Can {
    /// Whether clients can change the tree.
    change: bool,
    /// Whether a file can be moved to another directory. In 9P2000 and 9P2000.u, clients rename
    /// files with Twstat, which cannot specify a directory.
    moves: bool,
    /// Whether the tree and the dialect support symbolic links. 9P2000 has no symbolic links.
    links: bool,
    /// Whether calls go through a server's session.
    remote: bool,
    errors: Errors,
}

/// The part of an error that an error reply contains in this dialect.
#[derive(Clone, Copy)]
enum Errors {
    /// The reply contains the entire error.
    All,
    /// The reply contains only the text. If a walk starts from a file, the session replaces the
    /// error text.
    Text,
    /// The reply contains only the number, because 9P2000.L error replies contain no text. The
    /// errors for read-only files and read-only directories have the same number.
    Number,
}

impl Can {
    const HERE: Can =
        Can { change: true, moves: true, links: true, remote: false, errors: Errors::All };
    const LEGACY: Can =
        Can { moves: false, links: false, remote: true, errors: Errors::Text, ..Can::HERE };
    const UNIX: Can = Can { links: true, ..Can::LEGACY };
    const LINUX: Can = Can { remote: true, errors: Errors::Number, ..Can::HERE };

    fn only_read(self) -> Can {
        Can { change: false, ..self }
    }

    /// Panics unless `result` is an error equal to `due`. Compares only the part of the error that
    /// an error reply contains in this dialect.
    #[track_caller]
    fn refused<T>(self, result: Result<T>, due: Error) {
        let Err(error) = result else { panic!("expected {due:?}") };
        match self.errors {
            Errors::Text
                if due == Error::NotDirectory && error.to_string() == "Can't walk from a file" => {}
            Errors::Number => assert_eq!(error.errno(), due.errno(), "{error:?}, {due:?}"),
            Errors::All | Errors::Text => assert_eq!(error, due),
        }
    }
}

/// Runs the suite on a tree that contains `hello`, `dir/sub/leaf` and `many/n0` to `many/n4`.
async fn suite<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    names(tree, can).await?;
    identities(tree).await?;
    reads(tree).await?;
    listings(tree).await?;
    closed_files_free_their_slots(tree).await?;
    open_modes_are_enforced(tree, can).await?;
    if can.change { changes(tree, can).await } else { refusals(tree, can).await }
}

/// Checks that the session itself enforces open modes.
async fn open_modes_are_enforced<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    if !can.remote {
        return Ok(());
    }
    let hello = walk(tree, "hello").await?;
    let open = tree.open(&hello, OpenMode::READ).await?;
    for data in [&b"x"[..], b""] {
        can.refused(tree.write(&open, 0, data).await, Error::BadFile);
    }
    tree.close(&open);
    let open = tree.open(&hello, OpenMode::WRITE).await?;
    can.refused(tree.read(&open, 0, &mut [0; 8]).await, Error::BadFile);
    // A write of zero bytes succeeds on every file.
    assert_eq!(tree.write(&open, 1000, b"").await?, 0);
    tree.close(&open);
    assert_eq!(content(tree, "hello").await?, HELLO);
    let dir = walk(tree, "dir").await?;
    for mode in
        [OpenMode::WRITE, OpenMode::READ_WRITE, OpenMode { truncate: true, ..OpenMode::READ }]
    {
        let Err(refused) = tree.open(&dir, mode).await else { panic!("{mode:?} of a directory") };
        can.refused::<()>(Err(refused), Error::IsDirectory);
    }
    Ok(())
}

async fn names<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    let root = tree.root();
    assert_eq!(name_of(tree, &root), b"/");
    let leaf = walk(tree, "dir/sub/leaf").await?;
    assert_eq!(name_of(tree, &leaf), b"leaf");
    let up = tree.parent(&tree.parent(&tree.parent(&leaf)));
    assert_eq!(tree.id(&up), tree.id(&root));
    assert_eq!(tree.id(&tree.parent(&root)), tree.id(&root));
    can.refused(walk(tree, "dir/no").await, Error::NotFound);
    can.refused(walk(tree, "hello/no").await, Error::NotDirectory);
    can.refused(walk(tree, "HELLO").await, Error::NotFound);
    can.refused(walk(tree, "hell").await, Error::NotFound);
    Ok(())
}

async fn identities<V: Vfs>(tree: &V) -> Result<()> {
    let mut seen = BTreeSet::from([tree.id(&tree.root()).ino]);
    for path in ["hello", "dir", "dir/sub", "dir/sub/leaf", "many", "many/n0", "many/n4"] {
        let (inode, again) = (walk(tree, path).await?, walk(tree, path).await?);
        let id = tree.id(&inode);
        assert_eq!(id, tree.id(&again), "{path}");
        let attr = tree.stat(&inode).await?;
        assert_eq!((attr.id.ino, attr.id.kind), (id.ino, id.kind), "{path}");
        assert!(seen.insert(id.ino), "{path} shares a number");
        let kind = if ["hello", "dir/sub/leaf", "many/n0", "many/n4"].contains(&path) {
            FileType::File
        } else {
            FileType::Dir
        };
        assert_eq!(id.kind, kind, "{path}");
    }
    assert_eq!(tree.id(&tree.root()).kind, FileType::Dir);
    assert_eq!(tree.stat(&walk(tree, "hello").await?).await?.size, HELLO.len() as u64);
    Ok(())
}

async fn reads<V: Vfs>(tree: &V) -> Result<()> {
    let open = tree.open(&walk(tree, "hello").await?, OpenMode::READ).await?;
    let mut buf = [0; 64];
    for offset in 0..=HELLO.len() {
        for count in [0, 1, 5, 64] {
            let n = tree.read(&open, offset as u64, &mut buf[..count]).await?;
            let rest = &HELLO[offset..];
            assert_eq!(&buf[..n], &rest[..rest.len().min(count)], "{count} at {offset}");
            if let Some(now) = tree.try_read_now(&open, offset as u64, &mut buf[..count]) {
                assert_eq!(now?, n, "both reads agree");
            }
        }
    }
    tree.close(&open);
    Ok(())
}

async fn listings<V: Vfs>(tree: &V) -> Result<()> {
    let many = walk(tree, "many").await?;
    let open = tree.open(&many, OpenMode::READ).await?;
    let whole = list(tree, &open, 0, usize::MAX).await?;
    assert_eq!(
        whole.iter().map(|(name, _)| name.as_str()).collect::<BTreeSet<_>>(),
        BTreeSet::from(NAMES)
    );
    assert_eq!(whole.len(), NAMES.len());
    // Each entry is listed exactly once, regardless of the number of entries per step.
    for step in 1..=NAMES.len() {
        let (mut cookie, mut all) = (0, Vec::new());
        loop {
            let part = list(tree, &open, cookie, step).await?;
            let Some((_, next)) = part.last() else { break };
            cookie = *next;
            all.extend(part);
            assert!(all.len() <= whole.len(), "a listing in steps of {step} does not end");
        }
        assert_eq!(all, whole, "in steps of {step}");
    }
    tree.close(&open);
    let hello = tree.open(&walk(tree, "hello").await?, OpenMode::READ).await?;
    assert!(list(tree, &hello, 0, 1).await.is_err());
    tree.close(&hello);
    Ok(())
}

/// Opens and closes many more files than a tree can have open at the same time.
async fn closed_files_free_their_slots<V: Vfs>(tree: &V) -> Result<()> {
    let (file, dir) = (walk(tree, "hello").await?, walk(tree, "many").await?);
    for _ in 0..100 {
        let opens =
            [tree.open(&file, OpenMode::READ).await?, tree.open(&dir, OpenMode::READ).await?];
        opens.iter().for_each(|open| tree.close(open));
    }
    Ok(())
}

async fn refusals<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    let hello = walk(tree, "hello").await?;
    let open = tree.open(&hello, OpenMode::READ_WRITE).await?;
    can.refused(tree.write(&open, 0, b"x").await, Error::ReadOnlyFile);
    assert!(!matches!(tree.try_write_now(&open, 0, b"x"), Some(Ok(_))));
    tree.close(&open);
    let size = SetAttr { size: Some(0), ..SetAttr::default() };
    can.refused(tree.set_attr(&hello, size).await, Error::ReadOnlyFile);
    can.refused(tree.remove(&hello).await, Error::ReadOnlyFile);
    for new in [CreateKind::File, CreateKind::Dir] {
        can.refused(make(tree, &tree.root(), "new", new).await, Error::ReadOnlyDirectory);
    }
    let many = walk(tree, "many").await?;
    assert!(tree.remove(&many).await.is_err());
    can.refused(tree.rename(&hello, &tree.root(), name("other")).await, Error::ReadOnlyDirectory);
    assert_eq!(content(tree, "hello").await?, HELLO);
    can.refused(walk(tree, "new").await, Error::NotFound);
    Ok(())
}

async fn changes<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    let root = tree.root();
    let made = fill(tree, &root, "made", b"one").await?;
    assert_eq!(content(tree, "made").await?, b"one");
    let (dir, moved) =
        if can.moves { (walk(tree, "dir").await?, "dir/moved") } else { (tree.root(), "moved") };
    tree.rename(&made, &dir, name("moved")).await?;
    can.refused(walk(tree, "made").await, Error::NotFound);
    assert_eq!(tree.id(&walk(tree, moved).await?).ino, tree.id(&made).ino);
    assert_eq!(tree.id(&tree.parent(&made)).ino, tree.id(&dir).ino);
    assert_eq!(name_of(tree, &made), b"moved");
    tree.set_attr(&made, SetAttr { size: Some(5), ..SetAttr::default() }).await?;
    assert_eq!(content(tree, moved).await?, b"one\0\0");
    can.refused(tree.remove(&walk(tree, "dir").await?).await, Error::NotEmpty);
    // An open file remains usable after it is removed.
    let open = tree.open(&made, OpenMode::READ).await?;
    tree.remove(&made).await?;
    can.refused(walk(tree, moved).await, Error::NotFound);
    let mut buf = [0; 8];
    assert_eq!(tree.read(&open, 0, &mut buf).await?, 5);
    tree.close(&open);
    existing_names(tree, can).await?;
    if can.links {
        symbolic_links(tree, can).await?;
    }
    removed_while_listed(tree).await
}

/// Checks that creating a file with an existing name fails and leaves the existing file unchanged.
async fn existing_names<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    let root = tree.root();
    for called in ["hello", "dir"] {
        let before = tree.id(&walk(tree, called).await?);
        for new in [CreateKind::File, CreateKind::Dir, CreateKind::Symlink(b"x")] {
            if can.links || !matches!(new, CreateKind::Symlink(_)) {
                can.refused(make(tree, &root, called, new).await, Error::Exists);
            }
        }
        assert_eq!(tree.id(&walk(tree, called).await?), before);
    }
    assert_eq!(content(tree, "hello").await?, HELLO);
    Ok(())
}

async fn symbolic_links<V: Vfs>(tree: &V, can: Can) -> Result<()> {
    let dir = walk(tree, "dir").await?;
    // Both links must be listed, even though their targets do not both fit into a message of the
    // smallest size.
    for called in ["long0", "long1"] {
        make(tree, &dir, called, CreateKind::Symlink(&[b't'; 120])).await?;
    }
    let open = tree.open(&dir, OpenMode::READ).await?;
    let listed: BTreeSet<String> =
        list(tree, &open, 0, usize::MAX).await?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, ["long0", "long1", "sub"].map(String::from).into());
    tree.close(&open);
    for called in ["dir/long0", "dir/long1"] {
        let link = walk(tree, called).await?;
        let mut buf = [0; 120];
        assert_eq!((tree.readlink(&link, &mut buf).await?, buf), (120, [b't'; 120]));
        if !can.remote {
            assert_eq!(tree.readlink(&link, &mut buf[..119]).await, Err(Error::Range));
        }
        tree.remove(&link).await?;
    }

    let link =
        make(tree, &walk(tree, "dir").await?, "link", CreateKind::Symlink(b"sub/leaf")).await?;
    assert_eq!(tree.id(&link).kind, FileType::Symlink);
    let mut buf = [0; 64];
    let n = tree.readlink(&link, &mut buf).await?;
    assert_eq!(&buf[..n], b"sub/leaf");
    assert!(tree.readlink(&walk(tree, "hello").await?, &mut buf).await.is_err());
    tree.remove(&link).await
}

async fn removed_while_listed<V: Vfs>(tree: &V) -> Result<()> {
    let open = tree.open(&walk(tree, "many").await?, OpenMode::READ).await?;
    let first = list(tree, &open, 0, 2).await?;
    tree.remove(&walk(tree, &format!("many/{}", first[0].0)).await?).await?;
    let rest = list(tree, &open, first[1].1, usize::MAX).await?;
    let all: BTreeSet<&str> = first.iter().chain(&rest).map(|(name, _)| name.as_str()).collect();
    assert_eq!((first.len() + rest.len(), all), (NAMES.len(), BTreeSet::from(NAMES)));
    tree.close(&open);
    Ok(())
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

async fn walk<V: Vfs>(tree: &V, path: &str) -> Result<V::Inode> {
    let mut inode = tree.root();
    for part in path.split('/') {
        inode = tree.lookup(&inode, name(part)).await?;
    }
    Ok(inode)
}

async fn make<V: Vfs>(
    tree: &V,
    dir: &V::Inode,
    called: &str,
    new: CreateKind<'_>,
) -> Result<V::Inode> {
    let mode = if new == CreateKind::Dir { 0o755 } else { 0o644 };
    tree.create(dir, name(called), Create { kind: new, mode, uid: 0, gid: 0, exclusive: true })
        .await
}

async fn fill<V: Vfs>(tree: &V, dir: &V::Inode, called: &str, content: &[u8]) -> Result<V::Inode> {
    let inode = make(tree, dir, called, CreateKind::File).await?;
    let open = tree.open(&inode, OpenMode::WRITE).await?;
    assert_eq!(tree.write(&open, 0, content).await?, content.len());
    tree.flush(&open).await?;
    tree.close(&open);
    Ok(inode)
}

async fn content<V: Vfs>(tree: &V, path: &str) -> Result<Vec<u8>> {
    let open = tree.open(&walk(tree, path).await?, OpenMode::READ).await?;
    let mut buf = vec![0; 256];
    let n = tree.read(&open, 0, &mut buf).await?;
    tree.close(&open);
    buf.truncate(n);
    Ok(buf)
}

/// Lists at most `most` entries, starting at `cookie`. Returns the name of each entry and the
/// cookie of the entry that follows it.
async fn list<V: Vfs>(
    tree: &V,
    open: &V::Open,
    cookie: u64,
    most: usize,
) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    let mut each = |entry: vfs::DirEntry<'_, V::Inode>| {
        assert_eq!(tree.id(&(entry.inode)()).ino, entry.id.ino);
        all.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.next));
        if all.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    tree.readdir(open, cookie, &mut each).await?;
    Ok(all)
}

fn name_of<V: Vfs>(tree: &V, inode: &V::Inode) -> Vec<u8> {
    let mut found = Vec::new();
    tree.name(inode, &mut |name| found = name.to_vec());
    found
}
