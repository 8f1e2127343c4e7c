//! Tests for the cases V1 to V16, which are listed in `tests/README.md`. The tests call a tree's
//! functions in the same way as a session does.

#[cfg(feature = "params")]
mod follow;
mod params;
mod waiting;

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::task::Poll;
use std::string::{String, ToString};
use std::vec::Vec;

use embassy_futures::{block_on, poll_once};

use super::*;
use crate::vfs::{
    Dir, Error, Handle, Name, OpenMode, PackedPath, Result, SetAttr, StaticTree, Text, Vfs, file,
};

type Tree = StaticTree<4, 64>;

fn inode(tree: &Tree, name: &str) -> PackedPath {
    block_on(tree.lookup(&tree.root(), Name::new(name.as_bytes()).unwrap())).unwrap()
}

fn open(tree: &Tree, name: &str, mode: OpenMode) -> Handle {
    block_on(tree.open(&inode(tree, name), mode)).unwrap()
}

/// Polls a read once. Returns `None` if the read has to wait.
fn read(tree: &Tree, open: Handle, offset: u64, count: usize) -> Option<Result<String>> {
    let mut buf = std::vec![0; count];
    match poll_once(tree.read(&open, offset, &mut buf)) {
        Poll::Ready(count) => {
            Some(count.map(|count| String::from_utf8(buf[..count].to_vec()).unwrap()))
        }
        Poll::Pending => None,
    }
}

fn text(read: &str) -> Option<Result<String>> {
    Some(Ok(read.into()))
}

/// Reads a whole file, as `cat` does.
fn cat(tree: &Tree, name: &str) -> String {
    let open = open(tree, name, OpenMode::READ);
    let mut whole = String::new();
    loop {
        let part = read(tree, open, whole.len() as u64, 7).unwrap().unwrap();
        if part.is_empty() {
            tree.close(&open);
            return whole;
        }
        whole += &part;
    }
}

/// Writes a file, as `printf TEXT > NAME` does.
fn echo(tree: &Tree, text: &str, name: &str) -> Result<usize> {
    let open =
        block_on(tree.open(&inode(tree, name), OpenMode { truncate: true, ..OpenMode::WRITE }))?;
    let written = block_on(tree.write(&open, 0, text.as_bytes()));
    let finished = block_on(tree.flush(&open));
    tree.close(&open);
    finished.and(written)
}

fn size(tree: &Tree, name: &str) -> u64 {
    block_on(tree.stat(&inode(tree, name))).unwrap().size
}

fn truncate(tree: &Tree, name: &str, size: i64) -> Result<()> {
    let set = SetAttr { size: Some(size.cast_unsigned()), ..SetAttr::default() };
    block_on(tree.set_attr(&inode(tree, name), set))
}

fn chmod(tree: &Tree, name: &str, mode: u32) -> Result<()> {
    block_on(tree.set_attr(&inode(tree, name), SetAttr { mode: Some(mode), ..SetAttr::default() }))
}

fn remove(tree: &Tree, name: &str) -> Result<()> {
    block_on(tree.remove(&inode(tree, name)))
}

fn error_text<T: core::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn v1_blob_is_read_only() {
    static ROOT: Dir = Dir::new(&[file("f", &Blob::new("abc"))]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "f", OpenMode::READ_WRITE);
    assert_eq!(read(&tree, f, 3, 10), text(""));
    assert_eq!(read(&tree, f, 1, 10), text("bc"));
    assert_eq!(block_on(tree.write(&f, 0, b"x")), Err(Error::ReadOnlyFile));
    assert_eq!(truncate(&tree, "f", 0), Err(Error::ReadOnlyFile));
    assert_eq!(remove(&tree, "f"), Err(Error::ReadOnlyFile));
    assert_eq!(chmod(&tree, "f", 0o644), Err(Error::ReadOnlyFile));
    assert_eq!(size(&tree, "f"), 3);
}

#[test]
fn v2_write_after_the_end_fills_the_gap_with_zeros() {
    static F: Bytes<16> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "f", OpenMode::READ_WRITE);
    assert_eq!(block_on(tree.write(&f, 3, b"xy")), Ok(2));
    assert_eq!(read(&tree, f, 0, 10), text("\0\0\0xy"));
    assert_eq!(F.get().bytes(), b"\0\0\0xy");
    // A write never shortens the content.
    F.set(b"hello").unwrap();
    assert_eq!(block_on(tree.write(&f, 0, b"hi")), Ok(2));
    assert_eq!(F.get().bytes(), b"hillo");
    assert_eq!(block_on(tree.write(&f, 15, b"xy")), Err(Error::TooLarge));
    assert_eq!(F.get().bytes(), b"hillo");
}

#[test]
fn v3_bytes_refuse_execute_bits_and_removal() {
    static F: Bytes<16> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    assert_eq!(chmod(&tree, "f", 0o664), Ok(()));
    assert_eq!(error_text(chmod(&tree, "f", 0o775)), "Can't chmod special file");
    assert_eq!(remove(&tree, "f"), Err(Error::ReadOnlyFile));
}

#[test]
fn v4_error_names_the_negative_offset() {
    static F: Bytes<16> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "f", OpenMode::READ_WRITE);
    assert_eq!(error_text(block_on(tree.write(&f, -2i64 as u64, b"x"))), "Bad write offset -2");
    assert_eq!(error_text(truncate(&tree, "f", -1)), "Negative offset -1");
    assert_eq!(error_text(read(&tree, f, -1i64 as u64, 1).unwrap()), "Negative offset -1");
}

#[test]
fn v5_reads_past_the_end_are_refused() {
    static ROOT: Dir = Dir::new(&[file("f", &Blob::new("hello")), file("doc", &Doc::new("four"))]);
    let tree = Tree::new(&ROOT);
    for name in ["f", "doc"] {
        let f = open(&tree, name, OpenMode::READ);
        assert_eq!(read(&tree, f, 0, 0), text(""));
        assert_eq!(read(&tree, f, 5, 9), text(""));
        assert_eq!(
            error_text(read(&tree, f, 6, 9).unwrap()),
            "Offset 6 beyond end-of-file (len = 5)"
        );
    }
    assert_eq!(cat(&tree, "doc"), "four\n");
}

#[test]
fn v6_appends_accumulate_and_leave_copies_unchanged() {
    static F: Bytes<512> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "f", OpenMode { append: true, ..OpenMode::WRITE });
    let (mut all, mut seed) = (Vec::new(), 1u32);
    for _ in 0..100 {
        let before = F.get();
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let data = std::vec![(seed >> 24) as u8; (seed >> 16) as usize % 5];
        assert_eq!(block_on(tree.write(&f, 0, &data)), Ok(data.len()));
        assert_eq!(before.bytes(), all);
        all.extend(data);
        assert_eq!(F.get().bytes(), all);
    }
}

#[test]
fn v7_status_renders_once_per_open() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static ROOT: Dir =
        Dir::new(&[file("s", &Status::new(|out| write!(out, "{}", COUNT.fetch_add(1, Relaxed))))]);
    let tree = Tree::new(&ROOT);
    let (a, b) = (open(&tree, "s", OpenMode::READ), open(&tree, "s", OpenMode::READ));
    assert_eq!(read(&tree, a, 0, 9), text("0"));
    assert_eq!(read(&tree, b, 0, 9), text("1"));
    assert_eq!(read(&tree, a, 0, 9), text("0"));
}

#[test]
fn v8_status_longer_than_a_read_is_complete() {
    static ROOT: Dir = Dir::new(&[
        file("s", &Status::new(|out| out.write_str("0123456789abcdefghijklmnopqrstuvwxyz"))),
        file("long", &Status::new(|out| write!(out, "{:65}", 1))),
    ]);
    let tree = Tree::new(&ROOT);
    assert_eq!(cat(&tree, "s"), "0123456789abcdefghijklmnopqrstuvwxyz");
    let long = block_on(tree.open(&inode(&tree, "long"), OpenMode::READ));
    assert_eq!(error_text(long), "the text is longer than an open file has room for");
}

#[test]
fn v9_stat_renders_the_status_for_its_length() {
    static COUNT: AtomicU32 = AtomicU32::new(9);
    static ROOT: Dir =
        Dir::new(&[file("s", &Status::new(|out| write!(out, "{}", COUNT.fetch_add(1, Relaxed))))]);
    let tree = Tree::new(&ROOT);
    assert_eq!((size(&tree, "s"), size(&tree, "s"), COUNT.load(Relaxed)), (1, 2, 11));
}

#[test]
fn v10_command_keeps_its_reply_until_it_is_read() {
    static C: Command<32> =
        Command::new(|text, out| write!(out, "<{text}>").map_err(|_| Error::TooLarge));
    static ROOT: Dir = Dir::new(&[file("c", &C)]);
    let tree = Tree::new(&ROOT);
    let c = open(&tree, "c", OpenMode::READ_WRITE);
    assert_eq!(block_on(tree.write(&c, 0, b" go \n")), Ok(5));
    assert_eq!(size(&tree, "c"), 4);
    assert_eq!(read(&tree, c, 5, 2), text("<g"));
    assert_eq!(read(&tree, c, 7, 9), text("o>"));
    assert_eq!(read(&tree, c, 9, 9), text(""));
    assert_eq!(read(&tree, c, 3, 9), Some(Err(Error::Seek)));
    // A shell writes to the file, closes it, reopens it and reads at offset 0.
    assert_eq!(echo(&tree, "stop\n", "c"), Ok(5));
    assert_eq!(cat(&tree, "c"), "<stop>");
    assert_eq!(cat(&tree, "c"), "");
}

#[test]
fn v11_failed_command_keeps_the_last_reply() {
    static C: Command<32> = Command::new(|text, out| match text {
        "go" => write!(out, "gone").map_err(|_| Error::TooLarge),
        _ => Err(Error::Invalid.with_message(format_args!("{text} is no command"))),
    });
    static ROOT: Dir = Dir::new(&[file("c", &C)]);
    let tree = Tree::new(&ROOT);
    echo(&tree, "go", "c").unwrap();
    assert_eq!(error_text(echo(&tree, "fly", "c")), "fly is no command");
    assert_eq!(cat(&tree, "c"), "gone");
    assert_eq!(truncate(&tree, "c", 0), Ok(()));
    assert_eq!(error_text(truncate(&tree, "c", 5)), "Can't extend command file");
    assert_eq!(remove(&tree, "c"), Err(Error::NotPermitted));
}

#[test]
fn v12_write_creates_a_missing_value() {
    static STORE: std::sync::Mutex<Option<Vec<u8>>> = std::sync::Mutex::new(None);
    static ROOT: Dir = Dir::new(&[file(
        "k",
        &Kv::<16, _, _>::new(
            |text| text.extend(STORE.lock().unwrap().as_ref().ok_or(Error::NotFound)?),
            |data| {
                *STORE.lock().unwrap() = Some(data.to_vec());
                Ok(())
            },
        ),
    )]);
    let tree = Tree::new(&ROOT);
    let k = open(&tree, "k", OpenMode::READ_WRITE);
    assert_eq!(read(&tree, k, 0, 9), Some(Err(Error::NotFound)));
    assert_eq!(block_on(tree.write(&k, 0, b"hello")), Ok(5));
    assert_eq!(block_on(tree.write(&k, 1, b"a")), Ok(1));
    assert_eq!(read(&tree, k, 0, 9), text("hallo"));
    assert_eq!((truncate(&tree, "k", 7), size(&tree, "k")), (Ok(()), 7));
    assert_eq!((truncate(&tree, "k", 0), size(&tree, "k")), (Ok(()), 0));
    assert_eq!(STORE.lock().unwrap().as_deref(), Some(&b""[..]));
}

#[test]
fn v12_read_only_value_can_be_opened_with_truncate() {
    static ROOT: Dir = Dir::new(&[file(
        "k",
        &Kv::<16, _, _>::new(|text| text.extend(b"1"), |_| Err(Error::ReadOnlyFile)),
    )]);
    let tree = Tree::new(&ROOT);
    assert_eq!(echo(&tree, "2", "k"), Err(Error::ReadOnlyFile));
    let k = open(&tree, "k", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    assert_eq!(read(&tree, k, 0, 9), text("1"));
}

/// Defines a stream of integers and a tree that contains it as a file named `s`.
macro_rules! int_stream {
    ($live:ident, $tree:ident) => {
        static $live: Live<u32> = Live::new(0);
        static ROOT: Dir =
            Dir::new(&[file("s", &$live.file(|value, out| writeln!(out, "{value}")))]);
        let $tree = Tree::new(&ROOT);
    };
}

#[test]
fn v13_every_reader_of_a_stream_gets_a_change() {
    int_stream!(LIVE, tree);
    let (a, b) = (open(&tree, "s", OpenMode::READ), open(&tree, "s", OpenMode::READ));
    for s in [a, b] {
        assert_eq!(read(&tree, s, 0, 9), text("0\n"));
        assert_eq!(read(&tree, s, 2, 9), text(""));
        assert_eq!(read(&tree, s, 2, 9), None);
    }
    LIVE.publish(1);
    assert_eq!(read(&tree, a, 2, 9), text("1\n"));
    // No empty read follows a single-byte read, because a shell would mistake the empty read for
    // the end of the file.
    for (offset, part) in [(2, "1"), (3, "\n")] {
        assert_eq!(read(&tree, b, offset, 1), text(part));
    }
    assert_eq!(read(&tree, b, 4, 1), None);
    // Of the values published between two reads, only the last one is returned.
    (2..9).for_each(|value| LIVE.publish(value));
    assert_eq!(read(&tree, b, 4, 9), text("8\n"));
}

#[test]
fn v13_publish_wakes_a_waiting_reader() {
    int_stream!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    let mut buf = [0; 9];
    let waiting = async { tree.read(&s, 2, &mut buf).await };
    let publishing = async {
        embassy_futures::yield_now().await;
        LIVE.publish(7);
    };
    assert_eq!(block_on(embassy_futures::join::join(waiting, publishing)).0, Ok(2));
    assert_eq!(&buf[..2], b"7\n");
}

#[test]
fn v14_equal_value_is_not_delivered() {
    int_stream!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    LIVE.publish(0);
    assert_eq!(read(&tree, s, 2, 9), None);
    LIVE.publish(5);
    LIVE.publish(0);
    assert_eq!(read(&tree, s, 2, 9), None);
}

#[test]
fn v15_stream_refuses_seeks() {
    int_stream!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    LIVE.publish(3);
    assert_eq!(error_text(read(&tree, s, 1, 9).unwrap()), "Attempt to seek in stream");
    // The first read returns the value that was current when the file was opened. A later read
    // returns the latest value.
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    assert_eq!(read(&tree, s, 0, 9), Some(Err(Error::Seek)));
    assert_eq!(read(&tree, s, 2, 9), text("3\n"));
}

#[test]
fn v16_cancelled_read_loses_nothing() {
    int_stream!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    for _ in 0..3 {
        // Poll the read once and drop it.
        assert_eq!(read(&tree, s, 2, 9), None);
    }
    LIVE.publish(1);
    // Drop a read that has never been polled.
    drop(tree.read(&s, 2, &mut [0; 9]));
    assert_eq!(read(&tree, s, 2, 9), text("1\n"));
}

#[test]
fn queue_delivers_every_value_and_counts_lost_ones() {
    static QUEUE: Queue<u32, 3> = Queue::new();
    static ROOT: Dir = Dir::new(&[file("q", &QUEUE.file(|value, out| writeln!(out, "{value}")))]);
    let tree = Tree::new(&ROOT);
    QUEUE.publish(9);
    let q = open(&tree, "q", OpenMode::READ);
    assert_eq!(read(&tree, q, 0, 9), None);
    (0..3).for_each(|value| QUEUE.publish(value));
    assert_eq!((read(&tree, q, 0, 9), read(&tree, q, 2, 9)), (text("0\n"), text("")));
    (3..6).for_each(|value| QUEUE.publish(value));
    for (offset, line) in [(2, "lost 2\n"), (9, "3\n"), (11, "4\n"), (13, "5\n")] {
        assert_eq!(read(&tree, q, offset, 9), text(line));
        assert_eq!(read(&tree, q, offset + line.len() as u64, 9), text(""));
    }
    assert_eq!((read(&tree, q, 15, 9), QUEUE.overruns()), (None, 2));
}

#[test]
fn mark_follows_the_last_byte_of_a_text() {
    static LINES: Live<u32> = Live::new(7);
    static ROOT: Dir =
        Dir::new(&[file("s", &LINES.file(|value, out| write!(out, "line {value}\nand so on\n")))]);
    let tree = Tree::new(&ROOT);
    // A shell's `read` command reads one byte at a time, so no empty reads occur between the lines
    // of a value or between values.
    let bytes = open(&tree, "s", OpenMode::READ);
    let mut offset = 0;
    for value in 7..9 {
        for byte in std::format!("line {value}\nand so on\n").chars() {
            assert_eq!(read(&tree, bytes, offset, 1), text(&String::from(byte)));
            offset += 1;
        }
        assert_eq!(read(&tree, bytes, offset, 1), None, "the read waits for the next value");
        LINES.publish(value + 1);
    }
    // When `cat` reads with a small buffer, an empty read occurs only at the end of the text.
    let parts = open(&tree, "s", OpenMode::READ);
    for (offset, part) in [(0, "line 9"), (6, "\nand s"), (12, "o on\n"), (17, "")] {
        assert_eq!(read(&tree, parts, offset, 6), text(part));
    }
    assert_eq!(read(&tree, parts, 17, 6), None);
}
