//! Tests for text files, status files, commands and values.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use datakit_core::files;
use datakit_core::vfs::{Error, File, FileStat, OpenFile, OpenMode, SetAttr, Vfs};

use super::tests::{Done, read, read_at, tree_of, walk, write};
use super::*;

fn size(size: u64) -> SetAttr {
    SetAttr { size: Some(size), ..SetAttr::default() }
}

fn mode(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

#[tokio::test]
async fn v1_a_constant_text_refuses_changes() -> Done {
    let tree = tree_of(ReadOnlyText::new("abc"));
    let f = walk(&tree, "f").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    assert_eq!(read_at(&tree, &open, 3, 10).await?, "");
    assert_eq!(read_at(&tree, &open, 1, 10).await?, "bc");
    assert_eq!(tree.write(&open, 0, b"x").await, Err(Error::ReadOnlyFile));
    assert_eq!(tree.set_attr(&f, size(0)).await, Err(Error::ReadOnlyFile));
    assert_eq!(tree.set_attr(&f, mode(0o664)).await, Err(Error::ReadOnlyFile));
    assert_eq!(tree.remove(&f).await, Err(Error::ReadOnlyFile));
    let attr = tree.stat(&f).await?;
    assert_eq!(attr.mode, 0o444, "a read-only file shows no write bits");
    let age = crate::clock::now().sec - attr.mtime.sec;
    assert!((0..600).contains(&age), "the time is the start of the program, {age} s ago");
    Ok(())
}

#[tokio::test]
async fn v2_a_write_past_the_end_fills_the_gap_with_zeros() -> Done {
    let text = Text::new("");
    let tree = tree_of(text.clone());
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::WRITE).await?;
    tree.write(&open, 3, b"xy").await?;
    assert_eq!(
        (read(&tree, "f").await?.as_str(), text.get().as_slice()),
        ("\0\0\0xy", &b"\0\0\0xy"[..])
    );
    text.set("hello");
    tree.write(&open, 0, b"hi").await?;
    assert_eq!(read(&tree, "f").await?, "hillo");
    assert_eq!(
        tree.write(&open, u64::MAX - 1, b"hi").await.unwrap_err().to_string(),
        "Bad write offset -2"
    );
    assert_eq!(tree.write(&open, 1 << 40, b"hi").await, Err(Error::TooLarge));
    assert_eq!(read(&tree, "f").await?, "hillo");
    Ok(())
}

#[tokio::test]
async fn v3_a_text_cannot_be_made_executable() -> Done {
    let tree = tree_of(Text::new("hello"));
    let f = walk(&tree, "f").await?;
    tree.set_attr(&f, mode(0o664)).await?;
    assert_eq!(
        tree.set_attr(&f, mode(0o775)).await.unwrap_err().to_string(),
        "Can't chmod special file"
    );
    assert_eq!(tree.remove(&f).await, Err(Error::ReadOnlyFile));
    tree.set_attr(&f, size(7)).await?;
    assert_eq!(read(&tree, "f").await?, "hello\0\0");
    assert_eq!(
        tree.set_attr(&f, size(u64::MAX)).await.unwrap_err().to_string(),
        "Negative offset -1"
    );
    tree.open(&f, OpenMode { truncate: true, ..OpenMode::WRITE }).await?;
    assert_eq!(read(&tree, "f").await?, "");
    Ok(())
}

#[tokio::test]
async fn v6_appends_do_not_change_earlier_snapshots() -> Done {
    let text = Text::new("");
    let tree = tree_of(text.clone());
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::WRITE).await?;
    let (mut whole, mut versions) = (Vec::new(), Vec::new());
    for i in 0..100u8 {
        let part = vec![i; usize::from(i) * 7 % 13];
        tree.write(&open, whole.len() as u64, &part).await?;
        whole.extend(part);
        versions.push((text.get(), whole.clone()));
    }
    assert!(versions.iter().all(|(kept, then)| **kept == *then));
    Ok(())
}

fn counter() -> (Arc<AtomicU32>, Status) {
    let count = Arc::new(AtomicU32::new(0));
    let evaluations = count.clone();
    (count, Status::new(move || Ok(format!("{}\n", evaluations.fetch_add(1, Ordering::Relaxed)))))
}

#[tokio::test]
async fn v7_each_open_evaluates_once() -> Done {
    let tree = tree_of(counter().1);
    let f = walk(&tree, "f").await?;
    let (one, two) = (tree.open(&f, OpenMode::READ).await?, tree.open(&f, OpenMode::READ).await?);
    assert_eq!(
        (read_at(&tree, &one, 0, 9).await?, read_at(&tree, &two, 0, 9).await?),
        ("0\n".into(), "1\n".into())
    );
    assert_eq!(read_at(&tree, &one, 0, 9).await?, "0\n");
    Ok(())
}

#[tokio::test]
async fn v8_a_long_status_is_read_to_its_end() -> Done {
    let text = "0123456789".repeat(1000);
    let tree = tree_of(Status::new_async({
        let text = text.clone();
        move || {
            let text = text.clone();
            async move {
                tokio::task::yield_now().await;
                Ok(text)
            }
        }
    }));
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::READ).await?;
    let mut all = String::new();
    loop {
        match read_at(&tree, &open, all.len() as u64, 999).await? {
            part if part.is_empty() => break,
            part => all += &part,
        }
    }
    assert_eq!(all, text);
    Ok(())
}

#[tokio::test]
async fn v9_stat_evaluates_unless_a_length_is_given() -> Done {
    let (count, status) = counter();
    let tree = tree_of(status);
    assert_eq!(tree.stat(&walk(&tree, "f").await?).await?.size, 2);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let (count, status) = counter();
    let tree = tree_of(status.with_length(|| 77));
    assert_eq!(tree.stat(&walk(&tree, "f").await?).await?.size, 77);
    assert_eq!(count.load(Ordering::Relaxed), 0);
    Ok(())
}

fn echo() -> Command {
    Command::new(|command| match command {
        "bad" => Err(Error::Invalid.with_message("bad command")),
        _ => Ok(format!("did {command}")),
    })
}

#[tokio::test]
async fn v10_a_reply_is_read_once_by_the_same_or_a_later_open() -> Done {
    let tree = tree_of(echo());
    let f = walk(&tree, "f").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    assert_eq!(tree.write(&open, 0, b" go \n").await?, 5);
    assert_eq!(tree.stat(&f).await?.size, 6);
    assert_eq!(read_at(&tree, &open, 5, 3).await?, "did");
    assert_eq!(read_at(&tree, &open, 4, 3).await, Err(Error::Seek));
    assert_eq!(read_at(&tree, &open, 8, 9).await?, " go");
    assert_eq!(read_at(&tree, &open, 11, 9).await?, "");
    write(&tree, "f", "again").await?;
    assert_eq!(
        (read(&tree, "f").await?, read(&tree, "f").await?),
        ("did again".into(), String::new())
    );
    Ok(())
}

#[tokio::test]
async fn v11_a_failed_command_keeps_the_reply() -> Done {
    let tree = tree_of(echo().with_reply("first"));
    let f = walk(&tree, "f").await?;
    assert_eq!(write(&tree, "f", "bad").await.unwrap_err().to_string(), "bad command");
    assert_eq!(read(&tree, "f").await?, "first");
    tree.set_attr(&f, size(0)).await?;
    assert_eq!(
        tree.set_attr(&f, size(5)).await.unwrap_err().to_string(),
        "Can't extend command file"
    );
    assert_eq!(tree.remove(&f).await, Err(Error::NotPermitted));
    assert_eq!(tree.set_attr(&f, mode(0o755)).await, Err(Error::ChmodSpecial));
    Ok(())
}

#[tokio::test]
async fn an_explaining_command_shows_the_reason_until_the_next_command() -> Done {
    let tree = tree_of(Command::explaining(|command: String| async move {
        let error = Error::Busy.with_message("short");
        if command == "good" {
            Ok("reply")
        } else {
            Err(CommandError { error, text: "the reason in full".to_owned() })
        }
    }));
    assert_eq!(write(&tree, "f", "bad").await.unwrap_err().to_string(), "short");
    for _ in 0..2 {
        assert_eq!(read(&tree, "f").await?, "the reason in full");
    }
    let f = walk(&tree, "f").await?;
    assert_eq!(tree.stat(&f).await?.size, 18);
    // The kernel uses one position for both reads and writes on an open file.
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    assert!(tree.write(&open, 0, b"worse\n").await.is_err());
    assert_eq!(read_at(&tree, &open, 0, 10).await?, "the reason");
    assert_eq!(read_at(&tree, &open, 10, 20).await?, " in full");
    assert_eq!(read_at(&tree, &open, 18, 20).await?, "");
    write(&tree, "f", "good").await?;
    assert_eq!((read(&tree, "f").await?, read(&tree, "f").await?), ("reply".into(), String::new()));
    Ok(())
}

#[tokio::test]
async fn commands_on_one_open_file_run_in_order() -> Done {
    let log = Arc::new(Mutex::new(Vec::new()));
    let tree = tree_of(Command::new_async({
        let log = log.clone();
        move |command: String| {
            let log = log.clone();
            async move {
                for _ in 0..command.len() {
                    tokio::task::yield_now().await;
                }
                log.lock().push(command);
                Ok("")
            }
        }
    }));
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::WRITE).await?;
    let (one, two) =
        tokio::join!(tree.write(&open, 0, b"the longer one\n"), tree.write(&open, 0, b"short\n"));
    assert_eq!((one, two), (Ok(15), Ok(6)));
    assert_eq!(*log.lock(), ["the longer one", "short"]);
    Ok(())
}

#[derive(Clone, Default)]
struct Cell(Arc<Mutex<Option<Vec<u8>>>>);

impl Value for Cell {
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        ready(Ok(self.0.lock().clone()))
    }

    fn write(&self, value: Vec<u8>) -> BoxFuture<'_, ()> {
        *self.0.lock() = Some(value);
        ready(Ok(()))
    }
}

#[tokio::test]
async fn v12_an_absent_value_is_created_by_a_write() -> Done {
    let cell = Cell::default();
    let tree = tree_of(Kv::new(cell.clone()));
    let f = walk(&tree, "f").await?;
    assert_eq!(read(&tree, "f").await, Err(Error::NotFound));
    assert_eq!(tree.stat(&f).await, Err(Error::NotFound));
    write(&tree, "f", "value").await?;
    assert_eq!((read(&tree, "f").await?, tree.stat(&f).await?.size), ("value".into(), 5));
    tree.set_attr(&f, size(2)).await?;
    assert_eq!(read(&tree, "f").await?, "va");
    tree.set_attr(&f, size(0)).await?;
    assert_eq!(*cell.0.lock(), Some(Vec::new()));
    let read_only = tree_of(Kv::read_only(cell));
    assert_eq!(write(&read_only, "f", "x").await, Err(Error::ReadOnlyFile));
    let emptying = OpenMode { truncate: true, ..OpenMode::WRITE };
    assert!(read_only.open(&walk(&read_only, "f").await?, emptying).await.is_ok());
    assert_eq!(
        read_only.set_attr(&walk(&read_only, "f").await?, size(0)).await,
        Err(Error::ReadOnlyFile)
    );
    Ok(())
}

/// A file that implements the `File` trait of `datakit-core`.
struct Gain(Mutex<u32>);

impl File for Gain {
    fn stat(&self) -> FileStat {
        FileStat::new(0)
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> datakit_core::vfs::Result<()> {
        writeln!(open.text, "{}", self.0.lock()).map_err(|_| Error::NoMemory)
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<datakit_core::vfs::Result<usize>> {
        Poll::Ready(datakit_core::vfs::read_at(open.text.bytes(), offset, buf))
    }

    fn write(&self, _: &mut OpenFile<'_>, _: u64, data: &[u8]) -> datakit_core::vfs::Result<usize> {
        let number = str::from_utf8(data).ok().and_then(|text| text.trim().parse().ok());
        *self.0.lock() = number.ok_or(Error::Invalid)?;
        Ok(data.len())
    }

    fn close(&self, _: &mut OpenFile<'_>) {
        *self.0.lock() += 1000;
    }
}

#[tokio::test]
async fn core_files_are_served() -> Done {
    let tree = tree_of(CoreFile::new(Gain(Mutex::new(5))));
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::READ).await?;
    let other = tree.open(&walk(&tree, "f").await?, OpenMode::WRITE).await?;
    tree.write(&other, 0, b"7\n").await?;
    assert_eq!(
        (read_at(&tree, &open, 0, 9).await?, read(&tree, "f").await?),
        ("5\n".into(), "7\n".into())
    );
    tree.close(&open);
    assert_eq!(read(&tree, "f").await?, "1007\n");
    Ok(())
}

#[tokio::test]
async fn pieces_written_to_a_core_file_are_limited() -> Done {
    static LENGTH: AtomicUsize = AtomicUsize::new(0);
    let tree = tree_of(CoreFile::new(files::Command::<1>::new(|command, _| {
        LENGTH.store(command.len(), Ordering::Relaxed);
        Ok(())
    })));
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::WRITE).await?;
    let piece = [b'x'; 32_768];
    tree.write(&open, 0, &piece).await?;
    tree.write(&open, 32_768, &piece).await?;
    let refused = tree.write(&open, 65_536, b"\n").await.unwrap_err();
    assert_eq!(refused.to_string(), "a text has at most 65536 bytes");
    assert_eq!(refused.errno(), Error::TooLarge.errno());
    // The refused pieces are dropped, so the file accepts another command.
    tree.flush(&open).await?;
    assert_eq!(LENGTH.load(Ordering::Relaxed), 0);
    tree.write(&open, 0, &piece).await?;
    tree.write(&open, 32_768, b"yz\n").await?;
    assert_eq!(LENGTH.load(Ordering::Relaxed), 32_770);
    Ok(())
}

#[tokio::test]
async fn commands_may_arrive_in_several_writes() -> Done {
    let tree = tree_of(echo());
    let f = walk(&tree, "f").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    for (offset, piece) in [(0, "cal"), (3, ""), (3, "ibr"), (6, "ate"), (9, "")] {
        assert_eq!(tree.write(&open, offset, piece.as_bytes()).await, Ok(piece.len()));
        assert_eq!(tree.stat(&f).await?.size, 0, "nothing was run");
    }
    tree.flush(&open).await?;
    assert_eq!(read(&tree, "f").await?, "did calibrate");
    // A command is completed by a newline, a write that does not continue it, or a read.
    tree.write(&open, 0, b"on").await?;
    tree.write(&open, 2, b"e\n").await?;
    assert_eq!(read(&tree, "f").await?, "did one");
    tree.write(&open, 0, b"two").await?;
    tree.write(&open, 0, b"three").await?;
    assert_eq!(read(&tree, "f").await?, "did two");
    assert_eq!(read_at(&tree, &open, 0, 20).await?, "did three");
    // If a command fails, the request that completed it reports the error. A lost connection does
    // not complete a command.
    tree.write(&open, 0, b"ba").await?;
    assert_eq!(tree.write(&open, 2, b"d\n").await.unwrap_err().to_string(), "bad command");
    tree.write(&open, 0, b"bad").await?;
    assert_eq!(tree.flush(&open).await.unwrap_err().to_string(), "bad command");
    tree.write(&open, 0, b"four").await?;
    tree.close(&open);
    assert_eq!(read(&tree, "f").await?, "");
    // The length of an incomplete command is limited.
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    let piece = [b'x'; 40_000];
    tree.write(&open, 0, &piece).await?;
    assert_eq!(
        tree.write(&open, 40_000, &piece).await.unwrap_err().errno(),
        Error::TooLarge.errno()
    );
    tree.write(&open, 0, &[&piece[..], b"\n"].concat()).await?;
    assert_eq!(tree.stat(&f).await?.size, 40_004);
    Ok(())
}

#[tokio::test]
async fn a_complete_command_runs_without_a_newline() -> Done {
    let tree = tree_of(
        echo().complete_unless(|text| "go far".len() > text.len() && "go far".starts_with(text)),
    );
    let open = tree.open(&walk(&tree, "f").await?, OpenMode::WRITE).await?;
    tree.write(&open, 0, b"go far").await?;
    assert_eq!(read(&tree, "f").await?, "did go far");
    assert!(tree.write(&open, 0, b"bad").await.is_err());
    // A valid command that has arrived in multiple writes may be the beginning of a longer command.
    tree.write(&open, 0, b"go ").await?;
    tree.write(&open, 3, b"far").await?;
    assert_eq!(read(&tree, "f").await?, "");
    tree.write(&open, 6, b" away\n").await?;
    assert_eq!(read(&tree, "f").await?, "did go far away");
    Ok(())
}

/// A value that records the text of every write.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<String>>>);

impl Value for Written {
    fn read(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        ready(Ok(self.0.lock().last().map(|last| last.clone().into_bytes())))
    }

    fn write(&self, value: Vec<u8>) -> BoxFuture<'_, ()> {
        self.0.lock().push(String::from_utf8_lossy(&value).into_owned());
        ready(Ok(()))
    }
}

#[tokio::test]
async fn a_value_in_several_writes_is_stored_once() -> Done {
    let written = Written::default();
    let tree = tree_of(Kv::new(written.clone()));
    let f = walk(&tree, "f").await?;
    let open = tree.open(&f, OpenMode::READ_WRITE).await?;
    for (offset, piece) in [(0, "12"), (2, ""), (2, "34"), (4, "")] {
        assert_eq!(tree.write(&open, offset, piece.as_bytes()).await, Ok(piece.len()));
    }
    assert!(written.0.lock().is_empty());
    tree.flush(&open).await?;
    assert_eq!(*written.0.lock(), ["1234"]);
    tree.write(&open, 1, b"x").await?;
    assert_eq!(read_at(&tree, &open, 0, 9).await?, "1x34");
    let appending = tree.open(&f, OpenMode { append: true, ..OpenMode::WRITE }).await?;
    tree.write(&appending, 0, b"5").await?;
    tree.write(&appending, 0, b"6\n").await?;
    assert_eq!(written.0.lock()[2..], ["1x3456\n"]);
    Ok(())
}

#[tokio::test]
async fn a_log_level_in_several_writes_is_set_once() -> Done {
    let sources = log::LogSources::new();
    let source = sources.register("radio", "the radio", log::Level::Warning);
    let tree = Tree::new(sources.dir());
    let level = tree.open(&walk(&tree, "src/radio/level").await?, OpenMode::WRITE).await?;
    assert_eq!(tree.write(&level, 0, b"in").await, Ok(2));
    assert_eq!((tree.write(&level, 2, b"").await, source.level()), (Ok(0), log::Level::Warning));
    assert_eq!((tree.write(&level, 2, b"fo").await, source.level()), (Ok(2), log::Level::Info));
    // A newline that arrives after a complete level name is ignored, but a newline on its own is
    // rejected as an unknown level.
    assert_eq!(tree.write(&level, 4, b"\n").await, Ok(1));
    assert_eq!(tree.write(&level, 0, b"\n").await.map_err(|error| error.errno()), Err(22));
    assert_eq!(source.level(), log::Level::Info);
    Ok(())
}
