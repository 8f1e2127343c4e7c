//! Tests for item delivery, flush marks and blocking reads on streams.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};

use datakit_core::files;
use datakit_core::vfs::{Error, File, FileStat, OpenFile, OpenMode, Vfs};

use super::tests::{Done, read_at, tree_of, walk};
use super::*;

/// Polls a read once and then drops it, as happens on a Tflush. Returns `None` if the read is
/// pending.
fn poll(tree: &Tree, open: &Open, offset: u64) -> Option<Result<String>> {
    let read = pin!(read_at(tree, open, offset, 100));
    match read.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn text(text: &str) -> Option<Result<String>> {
    Some(Ok(text.to_owned()))
}

async fn open(tree: &Tree) -> Result<Open> {
    tree.open(&walk(tree, "f").await?, OpenMode::READ).await
}

fn numbers() -> (Live<u32>, Tree) {
    let live = Live::new(0);
    let tree = tree_of(live.file(|number| format!("{number}\n")));
    (live, tree)
}

#[tokio::test]
async fn v13_publications_reach_every_reader() -> Done {
    let (live, tree) = numbers();
    let readers = [open(&tree).await?, open(&tree).await?];
    for reader in &readers {
        assert_eq!((poll(&tree, reader, 0), poll(&tree, reader, 2)), (text("0\n"), text("")));
        assert_eq!(poll(&tree, reader, 2), None);
    }
    live.publish(1);
    assert_eq!((poll(&tree, &readers[0], 2), poll(&tree, &readers[0], 4)), (text("1\n"), text("")));
    let reader = &readers[1];
    assert_eq!(read_at(&tree, reader, 2, 1).await?, "1");
    // The next read continues with the rest of the current value, even though a newer value has
    // been published.
    live.publish(2);
    assert_eq!((poll(&tree, reader, 3), poll(&tree, reader, 4)), (text("\n"), text("")));
    assert_eq!(poll(&tree, reader, 4), text("2\n"));
    Ok(())
}

#[tokio::test]
async fn the_first_delivery_is_the_value_at_the_open() -> Done {
    let (live, tree) = numbers();
    let reader = open(&tree).await?;
    live.publish(5);
    live.publish(6);
    assert_eq!((poll(&tree, &reader, 0), poll(&tree, &reader, 2)), (text("0\n"), text("")));
    assert_eq!(poll(&tree, &reader, 2), text("6\n"));
    Ok(())
}

#[tokio::test]
async fn v14_equal_texts_are_delivered_once() -> Done {
    let (live, tree) = numbers();
    let reader = open(&tree).await?;
    assert_eq!((poll(&tree, &reader, 0), poll(&tree, &reader, 2)), (text("0\n"), text("")));
    live.publish(0);
    assert_eq!(poll(&tree, &reader, 2), None);
    live.publish(1);
    live.publish(0);
    assert_eq!(poll(&tree, &reader, 2), None);
    Ok(())
}

#[tokio::test]
async fn v15_a_read_at_a_wrong_offset_changes_nothing() -> Done {
    let (_live, tree) = numbers();
    let reader = open(&tree).await?;
    assert_eq!(poll(&tree, &reader, 1), Some(Err(Error::Seek)));
    assert_eq!(Error::Seek.to_string(), "Attempt to seek in stream");
    assert_eq!(poll(&tree, &reader, 0), text("0\n"));
    assert_eq!(poll(&tree, &reader, 0), Some(Err(Error::Seek)));
    assert_eq!(poll(&tree, &reader, 2), text(""));
    assert_eq!(tree.write(&reader, 0, b"x").await, Err(Error::ReadOnlyFile));
    Ok(())
}

#[tokio::test]
async fn v16_a_cancelled_read_loses_nothing() -> Done {
    let (live, tree) = numbers();
    let reader = open(&tree).await?;
    assert_eq!((poll(&tree, &reader, 0), poll(&tree, &reader, 2)), (text("0\n"), text("")));
    assert_eq!(poll(&tree, &reader, 2), None);
    live.publish(1);
    assert_eq!(poll(&tree, &reader, 2), text("1\n"));
    Ok(())
}

#[tokio::test]
async fn publishing_wakes_a_waiting_read() -> Done {
    let (live, tree) = numbers();
    let reader = open(&tree).await?;
    assert_eq!((poll(&tree, &reader, 0), poll(&tree, &reader, 2)), (text("0\n"), text("")));
    let waiting = tokio::spawn({
        let (tree, reader) = (tree.clone(), reader.clone());
        async move { read_at(&tree, &reader, 2, 9).await }
    });
    tokio::task::yield_now().await;
    live.publish(9);
    assert_eq!(waiting.await.unwrap()?, "9\n");
    Ok(())
}

#[tokio::test]
async fn an_empty_value_does_not_end_the_stream() -> Done {
    let live = Live::new(String::new());
    let tree = tree_of(live.file(Clone::clone));
    let reader = open(&tree).await?;
    assert_eq!(poll(&tree, &reader, 0), None);
    live.publish("a".into());
    assert_eq!((poll(&tree, &reader, 0), poll(&tree, &reader, 1)), (text("a"), text("")));
    live.publish(String::new());
    assert_eq!(poll(&tree, &reader, 1), None);
    live.publish("a".into());
    assert_eq!(poll(&tree, &reader, 1), text("a"));
    Ok(())
}

#[tokio::test]
async fn closing_a_stream_drops_its_receiver() -> Done {
    let (live, tree) = numbers();
    let reader = open(&tree).await?;
    assert_eq!(live.reader_count(), 1);
    tree.close(&reader);
    drop(reader);
    assert_eq!(live.reader_count(), 0);
    Ok(())
}

#[tokio::test]
async fn queues_deliver_in_order_and_report_lost_texts() -> Done {
    let queue = Queue::new(3);
    let tree = tree_of(queue.file());
    queue.push("before the open\n");
    let reader = open(&tree).await?;
    assert_eq!(poll(&tree, &reader, 0), None);
    queue.push("a\n");
    queue.push("a\n");
    assert_eq!((poll(&tree, &reader, 0), poll(&tree, &reader, 2)), (text("a\n"), text("")));
    assert_eq!((poll(&tree, &reader, 2), poll(&tree, &reader, 4)), (text("a\n"), text("")));
    assert_eq!(poll(&tree, &reader, 4), None);
    for i in 0..5 {
        queue.push(format!("{i}\n"));
    }
    assert_eq!((poll(&tree, &reader, 4), poll(&tree, &reader, 11)), (text("lost 2\n"), text("")));
    assert_eq!((poll(&tree, &reader, 11), poll(&tree, &reader, 13)), (text("2\n"), text("")));
    let waiting = tokio::spawn({
        let (tree, reader) = (tree.clone(), open(&tree).await?);
        async move { read_at(&tree, &reader, 0, 9).await }
    });
    tokio::task::yield_now().await;
    queue.push("new\n");
    assert_eq!(waiting.await.unwrap()?, "new\n");
    Ok(())
}

/// A `datakit-core` stream that counts how many times it is polled.
struct PollCounter {
    file: files::StreamFile<'static, u32>,
    polls: AtomicU32,
}

impl File for &'static PollCounter {
    fn stat(&self) -> FileStat {
        self.file.stat()
    }

    fn open(&self, open: &mut OpenFile<'_>, mode: OpenMode) -> Result<()> {
        self.file.open(open, mode)
    }

    fn may_block(&self) -> bool {
        true
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.file.poll_read(open, cx, offset, buf)
    }
}

#[tokio::test]
async fn readers_of_a_core_file_do_not_wake_each_other() -> Done {
    static LIVE: files::Live<u32> = files::Live::new(0);
    static FILE: PollCounter = PollCounter {
        file: LIVE.file(|number, out| writeln!(out, "{number}")),
        polls: AtomicU32::new(0),
    };
    let tree = tree_of(CoreFile::new(&FILE));
    let mut reads = Vec::new();
    for _ in 0..10 {
        let open = open(&tree).await?;
        assert_eq!((poll(&tree, &open, 0), poll(&tree, &open, 2)), (text("0\n"), text("")));
        let tree = tree.clone();
        reads.push(tokio::spawn(async move { read_at(&tree, &open, 2, 100).await }));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let polls = FILE.polls.load(Ordering::Relaxed);
    assert!(polls <= 40, "{polls} polls by 10 readers");
    LIVE.publish(1);
    for read in reads {
        assert_eq!(read.await.unwrap()?, "1\n");
    }
    Ok(())
}

#[tokio::test]
async fn a_core_stream_refuses_a_text_that_is_too_long() -> Done {
    static LENGTH: files::Live<usize> = files::Live::new(3);
    static FILE: files::StreamFile<'static, usize> =
        LENGTH.file(|length, out| (0..*length).try_for_each(|_| out.write_char('x')));
    let tree = tree_of(CoreFile::from_static(&FILE));
    let open = open(&tree).await?;
    assert_eq!(read_at(&tree, &open, 0, 100).await?, "xxx");
    assert_eq!(read_at(&tree, &open, 3, 100).await?, "");
    LENGTH.publish(70_000);
    let refused = read_at(&tree, &open, 3, 100_000).await;
    assert_eq!(refused.map_err(|error| error.errno()), Err(Error::TooLarge.errno()));
    LENGTH.publish(2);
    assert_eq!(read_at(&tree, &open, 3, 100).await?, "xx");
    Ok(())
}

#[tokio::test]
async fn the_flush_mark_follows_the_last_byte_of_a_text() -> Done {
    let live = Live::new(7);
    let queue = Queue::new(9);
    for tree in
        [tree_of(live.file(|value| format!("line {value}\nand so on\n"))), tree_of(queue.file())]
    {
        let (bytes, parts) = (open(&tree).await?, open(&tree).await?);
        queue.push("line 7\nand so on\n");
        // A shell's `read` reads one byte at a time and must not receive EOF between two lines.
        let mut all = String::new();
        for value in [7, 8] {
            while all.len() < (value - 6) * 17 {
                all += &read_at(&tree, &bytes, all.len() as u64, 1).await?;
            }
            assert_eq!(poll(&tree, &bytes, all.len() as u64), None, "waits for the next text");
            live.publish(value + 1);
            queue.push("line 8\nand so on\n");
        }
        assert_eq!(all, "line 7\nand so on\nline 8\nand so on\n");
        // With a small buffer, `cat` receives the flush mark only after the last part of the text.
        let text =
            read_at(&tree, &parts, 0, 6).await? + "|" + &read_at(&tree, &parts, 6, 6).await?;
        assert_eq!(text, "line 7|\nand s");
        assert_eq!(read_at(&tree, &parts, 12, 6).await?, "o on\n");
        assert_eq!(read_at(&tree, &parts, 17, 6).await?, "");
    }
    // The kernel splits a read that does not fit in one message, so the mark must also follow a
    // large read that fills its buffer.
    let tree = tree_of(Live::new("x".repeat(4096)).file(Clone::clone));
    let large = open(&tree).await?;
    assert_eq!(read_at(&tree, &large, 0, 4096).await?.len(), 4096);
    assert_eq!(read_at(&tree, &large, 4096, 4096).await?, "");
    Ok(())
}
