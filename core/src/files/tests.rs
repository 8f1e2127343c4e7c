//! The cases V1 to V16 and parameters, through a tree as a session sees it.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use core::task::Poll;
use std::string::{String, ToString};
use std::vec::Vec;

use embassy_futures::{block_on, poll_once};

use super::*;
use crate::vfs::{
    Dir, Error, Handle, Name, OpenMode, Path, Result, SetAttr, StaticTree, Text, Vfs, file,
};

type Tree = StaticTree<4, 64>;

fn inode(tree: &Tree, name: &str) -> Path {
    block_on(tree.lookup(&tree.root(), Name::new(name.as_bytes()).unwrap())).unwrap()
}

fn open(tree: &Tree, name: &str, mode: OpenMode) -> Handle {
    block_on(tree.open(&inode(tree, name), mode)).unwrap()
}

/// `None` while the read waits.
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

/// As `cat` does it.
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

/// As `printf TEXT > NAME` does it.
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

fn why<T: core::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn v1_a_blob_only_reads() {
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
fn v2_a_gap_is_filled_with_zeros() {
    static F: Bytes<16> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "f", OpenMode::READ_WRITE);
    assert_eq!(block_on(tree.write(&f, 3, b"xy")), Ok(2));
    assert_eq!(read(&tree, f, 0, 10), text("\0\0\0xy"));
    assert_eq!(F.get().bytes(), b"\0\0\0xy");
    // A write never shortens.
    F.set(b"hello").unwrap();
    assert_eq!(block_on(tree.write(&f, 0, b"hi")), Ok(2));
    assert_eq!(F.get().bytes(), b"hillo");
    assert_eq!(block_on(tree.write(&f, 15, b"xy")), Err(Error::TooLarge));
    assert_eq!(F.get().bytes(), b"hillo");
}

#[test]
fn v3_bytes_are_neither_executable_nor_removed() {
    static F: Bytes<16> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    assert_eq!(chmod(&tree, "f", 0o664), Ok(()));
    assert_eq!(why(chmod(&tree, "f", 0o775)), "Can't chmod special file");
    assert_eq!(remove(&tree, "f"), Err(Error::ReadOnlyFile));
}

#[test]
fn v4_negative_numbers_are_named() {
    static F: Bytes<16> = Bytes::new();
    static ROOT: Dir = Dir::new(&[file("f", &F)]);
    let tree = Tree::new(&ROOT);
    let f = open(&tree, "f", OpenMode::READ_WRITE);
    assert_eq!(why(block_on(tree.write(&f, -2i64 as u64, b"x"))), "Bad write offset -2");
    assert_eq!(why(truncate(&tree, "f", -1)), "Negative offset -1");
    assert_eq!(why(read(&tree, f, -1i64 as u64, 1).unwrap()), "Negative offset -1");
}

#[test]
fn v5_a_read_is_checked_against_the_length() {
    static ROOT: Dir = Dir::new(&[file("f", &Blob::new("hello")), file("doc", &Doc::new("four"))]);
    let tree = Tree::new(&ROOT);
    for name in ["f", "doc"] {
        let f = open(&tree, name, OpenMode::READ);
        assert_eq!(read(&tree, f, 0, 0), text(""));
        assert_eq!(read(&tree, f, 5, 9), text(""));
        assert_eq!(why(read(&tree, f, 6, 9).unwrap()), "Offset 6 beyond end-of-file (len = 5)");
    }
    assert_eq!(cat(&tree, "doc"), "four\n");
}

#[test]
fn v6_appends_add_up_and_leave_copies_alone() {
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
fn v7_each_open_has_a_status_of_its_own() {
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
fn v8_a_status_longer_than_a_read_is_complete() {
    static ROOT: Dir = Dir::new(&[
        file("s", &Status::new(|out| out.write_str("0123456789abcdefghijklmnopqrstuvwxyz"))),
        file("long", &Status::new(|out| write!(out, "{:65}", 1))),
    ]);
    let tree = Tree::new(&ROOT);
    assert_eq!(cat(&tree, "s"), "0123456789abcdefghijklmnopqrstuvwxyz");
    let long = block_on(tree.open(&inode(&tree, "long"), OpenMode::READ));
    assert_eq!(why(long), "the text is longer than an open file has room for");
}

#[test]
fn v9_a_status_is_measured() {
    static COUNT: AtomicU32 = AtomicU32::new(9);
    static ROOT: Dir =
        Dir::new(&[file("s", &Status::new(|out| write!(out, "{}", COUNT.fetch_add(1, Relaxed))))]);
    let tree = Tree::new(&ROOT);
    assert_eq!((size(&tree, "s"), size(&tree, "s"), COUNT.load(Relaxed)), (1, 2, 11));
}

#[test]
fn v10_a_command_gets_its_text_and_keeps_its_reply() {
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
    // As a shell does it: write, close, open, read at 0.
    assert_eq!(echo(&tree, "stop\n", "c"), Ok(5));
    assert_eq!(cat(&tree, "c"), "<stop>");
    assert_eq!(cat(&tree, "c"), "");
}

#[test]
fn v11_a_failed_command_leaves_the_reply_alone() {
    static C: Command<32> = Command::new(|text, out| match text {
        "go" => write!(out, "gone").map_err(|_| Error::TooLarge),
        _ => Err(Error::Invalid.with_message(format_args!("{text} is no command"))),
    });
    static ROOT: Dir = Dir::new(&[file("c", &C)]);
    let tree = Tree::new(&ROOT);
    echo(&tree, "go", "c").unwrap();
    assert_eq!(why(echo(&tree, "fly", "c")), "fly is no command");
    assert_eq!(cat(&tree, "c"), "gone");
    assert_eq!(truncate(&tree, "c", 0), Ok(()));
    assert_eq!(why(truncate(&tree, "c", 5)), "Can't extend command file");
    assert_eq!(remove(&tree, "c"), Err(Error::NotPermitted));
}

#[test]
fn v12_an_absent_value_is_made_by_a_write() {
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
fn v12_a_value_that_is_only_read_opens_to_be_emptied_as_well() {
    static ROOT: Dir = Dir::new(&[file(
        "k",
        &Kv::<16, _, _>::new(|text| text.extend(b"1"), |_| Err(Error::ReadOnlyFile)),
    )]);
    let tree = Tree::new(&ROOT);
    assert_eq!(echo(&tree, "2", "k"), Err(Error::ReadOnlyFile));
    let k = open(&tree, "k", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    assert_eq!(read(&tree, k, 0, 9), text("1"));
}

macro_rules! ints {
    ($live:ident, $tree:ident) => {
        static $live: Live<u32> = Live::new(0, |value, out| writeln!(out, "{value}"));
        static ROOT: Dir = Dir::new(&[file("s", &$live)]);
        let $tree = Tree::new(&ROOT);
    };
}

#[test]
fn v13_all_readers_of_a_stream_see_a_change() {
    ints!(LIVE, tree);
    let (a, b) = (open(&tree, "s", OpenMode::READ), open(&tree, "s", OpenMode::READ));
    for s in [a, b] {
        assert_eq!(read(&tree, s, 0, 9), text("0\n"));
        assert_eq!(read(&tree, s, 2, 9), text(""));
        assert_eq!(read(&tree, s, 2, 9), None);
    }
    LIVE.publish(1);
    assert_eq!(read(&tree, a, 2, 9), text("1\n"));
    // Byte by byte there is no mark: a shell would take it for the end.
    for (offset, part) in [(2, "1"), (3, "\n")] {
        assert_eq!(read(&tree, b, offset, 1), text(part));
    }
    assert_eq!(read(&tree, b, 4, 1), None);
    // Of the values between two reads only the last one.
    (2..9).for_each(|value| LIVE.publish(value));
    assert_eq!(read(&tree, b, 4, 9), text("8\n"));
}

#[test]
fn v13_a_publish_wakes_who_waits() {
    ints!(LIVE, tree);
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
fn v14_an_equal_value_is_no_news() {
    ints!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    LIVE.publish(0);
    assert_eq!(read(&tree, s, 2, 9), None);
    LIVE.publish(5);
    LIVE.publish(0);
    assert_eq!(read(&tree, s, 2, 9), None);
}

#[test]
fn v15_a_stream_is_read_in_order() {
    ints!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    LIVE.publish(3);
    assert_eq!(why(read(&tree, s, 1, 9).unwrap()), "Attempt to seek in stream");
    // What it was when it was opened, then what it is.
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    assert_eq!(read(&tree, s, 0, 9), Some(Err(Error::Seek)));
    assert_eq!(read(&tree, s, 2, 9), text("3\n"));
}

#[test]
fn v16_a_cancelled_read_loses_nothing() {
    ints!(LIVE, tree);
    let s = open(&tree, "s", OpenMode::READ);
    assert_eq!((read(&tree, s, 0, 9), read(&tree, s, 2, 9)), (text("0\n"), text("")));
    for _ in 0..3 {
        // Polled once and dropped.
        assert_eq!(read(&tree, s, 2, 9), None);
    }
    LIVE.publish(1);
    // Never polled.
    drop(tree.read(&s, 2, &mut [0; 9]));
    assert_eq!(read(&tree, s, 2, 9), text("1\n"));
}

#[test]
fn a_queue_delivers_all_and_says_what_is_lost() {
    static QUEUE: Queue<u32, 3> = Queue::new(|value, out| writeln!(out, "{value}"));
    static ROOT: Dir = Dir::new(&[file("q", &QUEUE)]);
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

static GAIN: Value<f32> = Value::new(1.0);
static MODE: Value<Choice> = Value::new(Choice(0));
static HOST: Value<heapless::String<8>> = Value::new(heapless::String::new());
static LED: Value<bool> = Value::new(false);
static PORT: Value<u16> = Value::new(564);
static EVEN: Value<i8> = Value::new(0);
static OFFSET: Value<f32> = Value::new(0.0);
static UPTIME: Value<u64> = Value::new(1 << 40);
fn even(value: i8) -> core::result::Result<(), &'static str> {
    if value % 2 == 0 { Ok(()) } else { Err("even numbers only") }
}
// That this compiles is a test: every file here is a constant.
static ROOT: Dir = Dir::new(&[
    file("gain", &Param::new(&GAIN).range(0.0, 10.0).unit("dB").doc("front-end gain")),
    file("mode", &Param::new(&MODE).names(&["auto", "manual"])),
    file("host", &Param::new(&HOST)),
    file("led", &Param::new(&LED)),
    file("port", &Param::new(&PORT).range(1, 1024)),
    file("even", &Param::new(&EVEN).hook(even)),
    file("offset", &Param::new(&OFFSET).unit("Hz")),
    file("uptime", &Param::new(&UPTIME).unit("s").read_only()),
    file("help", &Help::new(&ROOT)),
]);

#[test]
fn a_parameter_reads_parses_and_says_what_is_allowed() {
    let tree = Tree::new(&ROOT);
    assert_eq!(cat(&tree, "gain"), "1\n");
    assert_eq!(echo(&tree, " 2.5 \n", "gain"), Ok(6));
    assert_eq!((GAIN.get(), cat(&tree, "gain"), size(&tree, "gain")), (2.5, "2.5\n".into(), 4));
    for (text, name, reason) in [
        ("abc\n", "gain", "\"abc\" is not a number from 0 to 10 dB"),
        ("10.5", "gain", "\"10.5\" is not a number from 0 to 10 dB"),
        ("NaN", "gain", "\"NaN\" is not a number from 0 to 10 dB"),
        ("1e99", "offset", "\"1e99\" is not a number Hz"),
        (" ", "gain", "\"\" is not a number from 0 to 10 dB"),
        ("12", "gain", "\"12\" is not a number from 0 to 10 dB"),
        ("0", "port", "\"0\" is not a whole number from 1 to 1024"),
        ("-129", "even", "\"-129\" is not a whole number from -128 to 127"),
        ("3", "even", "even numbers only"),
        ("fast", "mode", "\"fast\" is not one of auto manual"),
        ("maybe", "led", "\"maybe\" is not on or off"),
        ("123456789", "host", "\"123456789\" is not a line of at most 8 bytes"),
        (
            "0123456789012345678901234567",
            "port",
            "\"01234567890123456789...\" is not a whole number from 1 to 1024",
        ),
        ("1", "uptime", "Read-only file"),
    ] {
        assert_eq!(why(echo(&tree, text, name)), reason);
    }
    assert_eq!((GAIN.get(), PORT.get(), EVEN.get(), HOST.get().as_str()), (2.5, 564, 0, ""));
    for (text, name) in
        [("manual", "mode"), ("on", "led"), ("1024", "port"), ("-2", "even"), ("board", "host")]
    {
        echo(&tree, text, name).unwrap();
        assert_eq!(cat(&tree, name).trim_end(), text);
    }
    assert_eq!((truncate(&tree, "gain", 0), GAIN.get()), (Ok(()), 2.5));
    let open = open(&tree, "help", OpenMode::READ);
    let help = read(&tree, open, 0, 500).unwrap().unwrap();
    assert_eq!(help.len() as u64, size(&tree, "help"));
    assert!(
        help.starts_with(
            "gain: a number from 0 to 10 dB: front-end gain\nmode: one of auto manual\n"
        ),
        "{help}"
    );
}

#[test]
fn a_parameter_is_never_read_half_and_half() {
    static V: Value<u32> = Value::new(1111);
    static ROOT: Dir = Dir::new(&[file("v", &Param::new(&V))]);
    let tree = Tree::new(&ROOT);
    let v = open(&tree, "v", OpenMode::READ);
    assert_eq!(read(&tree, v, 0, 2), text("11"));
    V.set(2222);
    assert_eq!(read(&tree, v, 2, 9), text("11\n"));
    assert_eq!(read(&tree, v, 0, 9), text("2222\n"));
}

#[test]
fn a_change_of_a_value_can_be_awaited() {
    static V: Value<u32> = Value::new(0);
    let seen = V.version();
    let setting = async {
        embassy_futures::yield_now().await;
        V.set(5);
    };
    assert_eq!(block_on(embassy_futures::join::join(V.changed(seen), setting)).0, 1);
    assert_eq!(V.get(), 5);
}

#[test]
fn a_level_is_set_by_name() {
    static LEVEL: Value<Level> = Value::new(Level::Warning);
    static ROOT: Dir =
        Dir::new(&[file("doc", &Doc::new("the radio")), file("level", &LevelFile::new(&LEVEL))]);
    let tree = Tree::new(&ROOT);
    assert_eq!(cat(&tree, "level"), "warning\n");
    assert_eq!(why(echo(&tree, "loud\n", "level")), "unknown level \"loud\"");
    assert_eq!(LEVEL.get(), Level::Warning);
    let level = open(&tree, "level", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    assert_eq!((read(&tree, level, 0, 9), LEVEL.get()), (text(""), Level::Warning));
    assert_eq!(block_on(tree.write(&level, 0, b"info\n")), Ok(5));
    assert_eq!((read(&tree, level, 0, 9), LEVEL.get()), (text("info\n"), Level::Info));
    assert_eq!(truncate(&tree, "level", 4), Ok(()));
    assert!(truncate(&tree, "level", 3).is_err() && truncate(&tree, "level", 9).is_err());
    assert_eq!(
        (remove(&tree, "level"), chmod(&tree, "level", 0o644)),
        (Err(Error::NotPermitted), Err(Error::NotPermitted))
    );
}

static PERIOD: Value<u32> = Value::new(1000);
static SHAPE: Value<Choice> = Value::new(Choice(0));
static PIECES: Dir = Dir::new(&[
    file("period", &Param::new(&PERIOD).range(100, 5000)),
    file("shape", &Param::new(&SHAPE).names(&["saw", "sawtooth", "sine"])),
]);

fn write(tree: &Tree, open: Handle, offset: u64, data: &str) -> Result<usize> {
    block_on(tree.write(&open, offset, data.as_bytes()))
}

#[test]
fn a_value_in_pieces_is_one_value() {
    let tree = Tree::new(&PIECES);
    let period = open(&tree, "period", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    // 12 alone would be refused, and is not set meanwhile.
    assert_eq!((write(&tree, period, 0, "12"), PERIOD.get()), (Ok(2), 1000));
    assert_eq!((write(&tree, period, 2, "34"), PERIOD.get()), (Ok(2), 1000));
    // A write of no bytes is no value and ends none: libixp ends each of its writes with one.
    assert_eq!((write(&tree, period, 4, ""), PERIOD.get()), (Ok(0), 1000));
    assert_eq!((block_on(tree.flush(&period)), PERIOD.get()), (Ok(()), 1234));
    // By a newline, by a write at 0, by a read.
    assert_eq!(
        (write(&tree, period, 0, "2"), write(&tree, period, 1, "00\n"), PERIOD.get()),
        (Ok(1), Ok(3), 200)
    );
    assert_eq!((write(&tree, period, 4, "300\n"), PERIOD.get()), (Ok(4), 300));
    assert_eq!(
        (write(&tree, period, 0, "400"), write(&tree, period, 0, "500"), PERIOD.get()),
        (Ok(3), Ok(3), 400)
    );
    assert_eq!((read(&tree, period, 0, 9), PERIOD.get()), (text("500\n"), 500));
    // A connection that is lost sets nothing.
    assert_eq!(write(&tree, period, 0, "600"), Ok(3));
    tree.close(&period);
    assert_eq!(PERIOD.get(), 500);
}

#[test]
fn a_value_is_refused_by_the_request_that_ends_it() {
    let tree = Tree::new(&PIECES);
    let period = open(&tree, "period", OpenMode { truncate: true, ..OpenMode::READ_WRITE });
    let refused = "\"12\" is not a whole number from 100 to 5000";
    assert_eq!(write(&tree, period, 0, "1"), Ok(1));
    assert_eq!(why(write(&tree, period, 1, "2\n")), refused);
    assert_eq!(write(&tree, period, 0, "12"), Ok(2));
    assert_eq!(why(block_on(tree.flush(&period))), refused);
    assert_eq!(write(&tree, period, 0, "12"), Ok(2));
    assert_eq!(why(read(&tree, period, 0, 9).unwrap()), refused);
    assert_eq!(why(write(&tree, period, 0, "12\n")), refused);
    // At once where nothing could make it right.
    assert_eq!(
        why(write(&tree, period, 0, "soon")),
        "\"soon\" is not a whole number from 100 to 5000"
    );
    // Nothing is left of any.
    assert_eq!((write(&tree, period, 9, "150\n"), PERIOD.get()), (Ok(4), 150));
    PERIOD.set(1000);
}

#[test]
fn a_word_that_nothing_can_follow_is_set_at_once() {
    let tree = Tree::new(&PIECES);
    let shape = open(&tree, "shape", OpenMode { truncate: true, ..OpenMode::WRITE });
    assert_eq!(
        (write(&tree, shape, 0, "s"), write(&tree, shape, 1, "ine"), SHAPE.get()),
        (Ok(1), Ok(3), Choice(2))
    );
    // The newline that comes late is no value without a name.
    assert_eq!((write(&tree, shape, 4, "\n"), SHAPE.get()), (Ok(1), Choice(2)));
    assert_eq!(why(write(&tree, shape, 0, "\n")), "\"\" is not one of saw sawtooth sine");
    assert_eq!((write(&tree, shape, 0, "saw"), SHAPE.get()), (Ok(3), Choice(2)));
    assert_eq!((write(&tree, shape, 3, "tooth"), SHAPE.get()), (Ok(5), Choice(1)));
    assert_eq!(why(write(&tree, shape, 0, "circle")), "\"circle\" is not one of saw sawtooth sine");
    // Appended pieces are where the last one ended, wherever the file's end is.
    let appending = open(&tree, "shape", OpenMode { append: true, ..OpenMode::WRITE });
    assert_eq!(
        (write(&tree, appending, 9, "sa"), write(&tree, appending, 9, "w\n"), SHAPE.get()),
        (Ok(2), Ok(2), Choice(0))
    );
}

#[test]
fn commands_and_stored_values_may_come_in_pieces() {
    static C: Command<32> =
        Command::new(|text, out| write!(out, "<{text}>").map_err(|_| Error::TooLarge));
    static WRITES: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
    static ROOT: Dir = Dir::new(&[
        file("c", &C),
        file(
            "k",
            &Kv::<200, _, _>::new(
                |text| {
                    WRITES
                        .lock()
                        .unwrap()
                        .last()
                        .map_or(Ok(()), |last| text.extend(last.as_bytes()))
                },
                |data| {
                    WRITES.lock().unwrap().push(String::from_utf8(data.to_vec()).unwrap());
                    Ok(())
                },
            ),
        ),
    ]);
    let tree = Tree::new(&ROOT);
    let c = open(&tree, "c", OpenMode::READ_WRITE);
    for (offset, piece) in [(0, "cal"), (3, "ibr"), (6, "ate")] {
        assert_eq!((write(&tree, c, offset, piece), size(&tree, "c")), (Ok(3), 0));
    }
    assert_eq!(write(&tree, c, 9, ""), Ok(0));
    assert_eq!(read(&tree, c, 9, 20), text("<calibrate>"));
    // One write is not bounded by what pieces are.
    assert_eq!(why(write(&tree, c, 0, &("x".repeat(100) + "\n"))), "File too large");
    assert_eq!(write(&tree, c, 0, &"x".repeat(60)), Ok(60));
    assert_eq!(write(&tree, c, 60, "xxxxx"), Err(Error::TooLarge));

    let k = open(&tree, "k", OpenMode::WRITE);
    for (offset, piece) in [(0, "on"), (2, "e"), (3, ""), (3, " line\n")] {
        assert_eq!(write(&tree, k, offset, piece), Ok(piece.len()));
    }
    assert_eq!(*WRITES.lock().unwrap(), ["one line\n"]);
    // Longer than the open file has room for: in steps.
    for offset in (0..180).step_by(30) {
        assert_eq!(write(&tree, k, offset, &"y".repeat(30)), Ok(30));
    }
    assert_eq!(block_on(tree.flush(&k)), Ok(()));
    assert_eq!(WRITES.lock().unwrap().last(), Some(&"y".repeat(180)));
    assert_eq!(write(&tree, k, 195, "123456"), Err(Error::TooLarge));
}

#[test]
fn the_mark_of_a_stream_comes_when_its_text_is_used_up() {
    static LINES: Live<u32> = Live::new(7, |value, out| write!(out, "line {value}\nand so on\n"));
    static ROOT: Dir = Dir::new(&[file("s", &LINES)]);
    let tree = Tree::new(&ROOT);
    // As `read` of a shell: byte by byte, and no end between two lines or two deliveries.
    let bytes = open(&tree, "s", OpenMode::READ);
    let mut offset = 0;
    for value in 7..9 {
        for byte in std::format!("line {value}\nand so on\n").chars() {
            assert_eq!(read(&tree, bytes, offset, 1), text(&String::from(byte)));
            offset += 1;
        }
        assert_eq!(read(&tree, bytes, offset, 1), None, "it waits for the next value");
        LINES.publish(value + 1);
    }
    // As `cat` with a small buffer: nothing between the parts, the mark at the end.
    let parts = open(&tree, "s", OpenMode::READ);
    for (offset, part) in [(0, "line 9"), (6, "\nand s"), (12, "o on\n"), (17, "")] {
        assert_eq!(read(&tree, parts, offset, 6), text(part));
    }
    assert_eq!(read(&tree, parts, 17, 6), None);
}

#[test]
fn what_refuses_every_write_shows_no_write_bit() {
    let tree = Tree::new(&ROOT);
    for (name, mode) in [("gain", 0o664), ("uptime", 0o444), ("help", 0o444)] {
        assert_eq!(block_on(tree.stat(&inode(&tree, name))).unwrap().mode, mode, "{name}");
    }
    {
        ints!(LIVE, tree);
        assert_eq!(block_on(tree.stat(&inode(&tree, "s"))).unwrap().mode, 0o444);
    }
}
