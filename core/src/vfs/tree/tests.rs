use core::ops::ControlFlow;
use std::string::String;
use std::vec::Vec;

use embassy_futures::block_on;

use super::*;
use crate::files::{Blob, Bytes, Command};
use crate::vfs::Text;

static CONNS: DynamicDir<3> = DynamicDir::new();
static ONE: Dir = Dir::new(&[file("state", &Blob::new("up"))]);
static NET: Dir = Dir::new(&[file("addr", &Blob::new("10.0.0.2")), dynamic_dir("conns", &CONNS)]);
static ROOT: Dir =
    Dir::new(&[file("name", &Blob::new("board")), dir("net", &NET), dir("empty", &EMPTY)]);
static EMPTY: Dir = Dir::new(&[]);

fn walk<const O: usize, const T: usize>(tree: &StaticTree<O, T>, path: &str) -> Result<PackedPath> {
    path.split('/')
        .try_fold(tree.root(), |dir, name| block_on(tree.lookup(&dir, Name::new(name.as_bytes())?)))
}

fn list<const O: usize, const T: usize>(
    tree: &StaticTree<O, T>,
    dir: PackedPath,
    cookie: u64,
    most: usize,
) -> Vec<(String, Id, u64)> {
    let open = block_on(tree.open(&dir, OpenMode::READ)).unwrap();
    let mut all = Vec::new();
    let mut each = |e: DirEntry<'_, PackedPath>| {
        assert_eq!(tree.id(&(e.inode)()), e.id);
        all.push((String::from_utf8(e.name.to_vec()).unwrap(), e.id, e.next));
        if all.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    block_on(tree.readdir(&open, cookie, &mut each)).unwrap();
    all
}

#[test]
fn inode_is_the_packed_path() {
    let tree = StaticTree::<2, 16>::new(&ROOT);
    let addr = walk(&tree, "net/addr").unwrap();
    assert_eq!(addr, PackedPath::new(0x0102));
    assert_eq!(tree.parent(&addr), walk(&tree, "net").unwrap());
    assert_eq!(
        (tree.parent(&tree.parent(&addr)), tree.parent(&tree.root())),
        (tree.root(), tree.root())
    );
    assert_eq!(tree.id(&tree.root()), Id { ino: 1, kind: FileType::Dir, version: 0 });
    assert_eq!(tree.id(&addr), Id { ino: 0x0103, kind: FileType::File, version: 0 });
    assert_eq!(
        (name_of(&tree, &addr), name_of(&tree, &tree.root())),
        (b"addr".to_vec(), b"/".to_vec())
    );
    assert_eq!(walk(&tree, "net/no"), Err(Error::NotFound));
    assert_eq!(walk(&tree, "name/no"), Err(Error::NotDirectory));
}

#[test]
fn directories_have_the_attributes_of_datakit() {
    let tree = StaticTree::<2, 16>::new(&ROOT);
    for dir in [tree.root(), walk(&tree, "net/conns").unwrap()] {
        let attr = block_on(tree.stat(&dir)).unwrap();
        assert_eq!((attr.mode, attr.size, attr.id.kind), (0o775, 0, FileType::Dir));
        let open = block_on(tree.open(&dir, OpenMode::READ)).unwrap();
        assert_eq!(block_on(tree.read(&open, 0, &mut [0; 8])), Err(Error::IsDirectory));
        assert_eq!(block_on(tree.remove(&dir)), Err(Error::ReadOnlyDirectory));
    }
}

#[test]
fn listing_resumes_at_a_cookie() {
    let tree = StaticTree::<2, 16>::new(&ROOT);
    let first = list(&tree, tree.root(), 0, 2);
    assert_eq!((first[0].0.as_str(), first[1].0.as_str()), ("name", "net"));
    let rest = list(&tree, tree.root(), first[1].2, 9);
    assert_eq!((rest.len(), rest[0].0.as_str()), (1, "empty"));
    assert!(
        list(&tree, tree.root(), rest[0].2, 9).is_empty()
            && list(&tree, tree.root(), u64::MAX, 9).is_empty()
    );
}

#[test]
fn open_fails_when_the_pool_is_full() {
    let tree = StaticTree::<2, 16>::new(&ROOT);
    let name = walk(&tree, "name").unwrap();
    let open = || block_on(tree.open(&name, OpenMode::READ));
    let (a, _b) = (open().unwrap(), open().unwrap());
    assert_eq!(open(), Err(Error::TooManyOpen));
    assert!(
        block_on(tree.open(&tree.root(), OpenMode::READ)).is_ok(),
        "an open directory needs no slot"
    );
    tree.close(&a);
    let c = open().unwrap();
    // The closed handle does not give access to the file that now occupies its slot.
    tree.close(&a);
    assert_eq!(block_on(tree.read(&a, 0, &mut [0; 8])), Err(Error::BadFile));
    assert_eq!(block_on(tree.read(&c, 0, &mut [0; 8])), Ok(5));
}

#[test]
fn dynamic_entries_are_added_and_removed() {
    static ENTRIES: DynamicDir<3> = DynamicDir::new();
    static TOP: Dir = Dir::new(&[file("x", &Blob::new("")), dynamic_dir("conns", &ENTRIES)]);
    let tree = StaticTree::<2, 16>::new(&TOP);
    let conns = walk(&tree, "conns").unwrap();
    let keys = ["a", "b", "c"].map(|name| ENTRIES.insert(name, Node::Dir(&ONE)).unwrap());
    let state = walk(&tree, "conns/b/state").unwrap();
    let b = walk(&tree, "conns/b").unwrap();
    assert_eq!((tree.parent(&state), tree.parent(&b)), (b, conns));
    assert_eq!(name_of(&tree, &b), b"b");
    let open = block_on(tree.open(&state, OpenMode::READ)).unwrap();

    let first = list(&tree, conns, 0, 1);
    ENTRIES.remove(keys[0]).unwrap();
    ENTRIES.remove(keys[1]).unwrap();
    ENTRIES.insert("d", Node::Dir(&ONE)).unwrap();
    let rest: Vec<_> = list(&tree, conns, first[0].2, 9).into_iter().map(|entry| entry.0).collect();
    assert_eq!(
        rest,
        ["c"],
        "a listing shows `c`, which stayed, but not `d`, which took an earlier slot"
    );

    // After the removal, the open file stays usable, accesses to the removed inodes fail with
    // ESTALE, and their numbers are not reused.
    assert_eq!(block_on(tree.read(&open, 0, &mut [0; 8])), Ok(2));
    assert_eq!(block_on(tree.stat(&state)), Err(Error::Stale));
    assert_eq!((tree.parent(&state), tree.parent(&b)), (b, conns));
    ENTRIES.insert("b", Node::Dir(&ONE)).unwrap();
    assert_ne!(walk(&tree, "conns/b").unwrap(), b);
    assert_eq!(ENTRIES.insert("e", Node::Dir(&ONE)), Err(Error::NoSpace));
}

#[test]
fn tree_of_255_entries_and_eight_levels_works() {
    static LEAF: Dir = Dir::new(&[file("f", &Blob::new("deep"))]);
    static WIDE: DynamicDir<255> = DynamicDir::new();
    macro_rules! nest {
        ($($name:ident $below:ident)*) => { $(static $name: Dir = Dir::new(&[dir("d", &$below)]);)* };
    }
    nest! { D7 LEAF D6 D7 D5 D6 D4 D5 D3 D4 D2 D3 D1 D2 }
    static TOP: Dir = Dir::new(&[dynamic_dir("wide", &WIDE)]);
    let tree = StaticTree::<2, 16>::new(&D1);
    let deep = walk(&tree, "d/d/d/d/d/d/d/f").unwrap();
    assert_eq!(deep, PackedPath::new(0x0101_0101_0101_0101));
    let open = block_on(tree.open(&deep, OpenMode::READ)).unwrap();
    assert_eq!(block_on(tree.read(&open, 0, &mut [0; 8])), Ok(4));
    assert_eq!(tree.parent(&deep), walk(&tree, "d/d/d/d/d/d/d").unwrap());

    for i in 0..255 {
        WIDE.insert(&std::format!("{i}"), Node::File(&BLOB)).unwrap();
    }
    static BLOB: Blob = Blob::new("");
    let tree = StaticTree::<2, 16>::new(&TOP);
    let all = list(&tree, walk(&tree, "wide").unwrap(), 0, usize::MAX);
    assert_eq!((all.len(), all[254].0.as_str()), (255, "254"));
}

#[test]
fn invalid_tables_are_refused() {
    let refused =
        |entries: &'static [Entry]| std::thread::spawn(move || Dir::new(entries)).join().is_err();
    static F: Blob = Blob::new("");
    assert!(refused(std::vec![file("a", &F), file("a", &F)].leak()));
    for name in ["", "a/b", ".", "..", "a\0"] {
        assert!(refused(std::vec![file(name, &F)].leak()), "{name:?}");
    }
    assert!(refused(std::vec![file("a", &F); 256].leak()));
    static S: DynamicDir<1> = DynamicDir::new();
    static D1: Dir = Dir::new(&[dynamic_dir("s", &S)]);
    static D2: Dir = Dir::new(&[dir("d", &D1)]);
    assert!(refused(std::vec![dir("d", &D2)].leak()));
}

#[test]
fn remove_and_set_attr_ask_the_file() {
    static KEPT: Bytes<8> = Bytes::new();
    static TOP: Dir = Dir::new(&[file("kept", &KEPT)]);
    let tree = StaticTree::<2, 16>::new(&TOP).with_strict_walk();
    assert!(tree.strict_walk());
    let kept = walk(&tree, "kept").unwrap();
    let both =
        |mode, size| {
            block_on(tree.set_attr(
                &kept,
                SetAttr { mode: Some(mode), size: Some(size), ..SetAttr::default() },
            ))
        };
    assert_eq!((both(0o664, 3), KEPT.get().bytes()), (Ok(()), &[0, 0, 0][..]));
    assert_eq!(both(0o775, 1), Err(Error::ChmodSpecial));
    assert_eq!(KEPT.get().bytes().len(), 3, "a refused change leaves everything as it was");
    assert_eq!(
        block_on(tree.set_attr(&tree.root(), SetAttr { size: Some(0), ..SetAttr::default() })),
        Ok(())
    );
    let open = block_on(tree.open(&kept, OpenMode { truncate: true, ..OpenMode::WRITE })).unwrap();
    assert_eq!(KEPT.get().bytes().len(), 0);
    assert_eq!(block_on(tree.write(&open, 0, b"now")), Ok(3));
    assert_eq!(block_on(tree.remove(&kept)), Err(Error::ReadOnlyFile));
}

#[test]
fn file_that_calls_into_its_own_tree_gets_busy() {
    std::thread_local!(static TREE: &'static StaticTree<2, 16> = std::boxed::Box::leak(std::boxed::Box::new(StaticTree::new(&TOP))));
    static AGAIN: Command<16> = Command::new(|_, _| {
        TREE.with(|tree| block_on(tree.open(&walk(tree, "again")?, OpenMode::READ))).map(|_| ())
    });
    static TOP: Dir = Dir::new(&[file("again", &AGAIN)]);
    TREE.with(|tree| {
        let open = block_on(tree.open(&walk(tree, "again").unwrap(), OpenMode::WRITE)).unwrap();
        assert_eq!(block_on(tree.write(&open, 0, b"go\n")), Err(Error::Busy));
    });
}

fn name_of<V: Vfs>(tree: &V, inode: &V::Inode) -> Vec<u8> {
    let mut names = Vec::new();
    tree.name(inode, &mut |name| names = name.to_vec());
    names
}
