//! Tests for the tokio I/O trait implementations.

use std::io::{ErrorKind, SeekFrom};

use datakit_server::{Limits, Scratch, Server};
use futures_core::Stream;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::*;

async fn scratch() -> Client {
    let url = "tcp://127.0.0.1:0".parse().unwrap();
    let server = Server::bind(&[url], Limits::default()).await.unwrap();
    let url = server.urls().remove(0);
    let tree = Scratch::new();
    tokio::spawn(server.serve(move |_| tree.clone(), std::future::pending()));
    Client::connect(&url, Options::default()).await.unwrap()
}

#[tokio::test]
async fn a_long_file_is_written_and_read_by_traits() {
    let client = scratch().await;
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
    let mut file = client.create("f", 0o644, OpenMode::READ_WRITE).await.unwrap();
    assert_eq!(tokio::io::copy(&mut &content[..], &mut file).await.unwrap(), 3_000_000);
    file.flush().await.unwrap();
    assert_eq!(client.stat("f").await.unwrap().len, 3_000_000);

    let mut read = Vec::new();
    assert_eq!(file.read_to_end(&mut read).await.unwrap(), 0);
    file.rewind().await.unwrap();
    file.read_to_end(&mut read).await.unwrap();
    assert!(read == content);

    // Reads and writes share a single position.
    assert_eq!(file.seek(SeekFrom::End(-4)).await.unwrap(), 2_999_996);
    file.write_all(b"end of it").await.unwrap();
    assert_eq!(file.seek(SeekFrom::Current(-9)).await.unwrap(), 2_999_996);
    let mut two = [0; 2];
    file.read_exact(&mut two).await.unwrap();
    file.write_all(b"D").await.unwrap();
    file.shutdown().await.unwrap();
    assert!(client.read("f").await.unwrap().ends_with(b"enD of it"));
    assert_eq!(two, *b"en");
    assert!(file.seek(SeekFrom::Start(0)).await.is_ok());
    let before = file.seek(SeekFrom::Current(-1)).await.unwrap_err();
    assert_eq!(before.kind(), ErrorKind::InvalidInput);
    file.close().await.unwrap();
}

#[tokio::test]
async fn close_waits_for_pending_writes() {
    let client = scratch().await;
    let mut file = client.create("f", 0o644, OpenMode::WRITE).await.unwrap();
    file.write_all(&[7; 500_000]).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(client.read("f").await.unwrap(), [7; 500_000]);
}

#[tokio::test]
async fn dropped_reads_lose_no_data() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let mut file = file(&client, &mut peer, OpenMode::READ).await;
    let answering = tokio::spawn(async move {
        for (at, text) in [(0, "one "), (4, "two "), (8, "three"), (13, "")] {
            let (tag, message) = peer.receive().await;
            assert!(matches!(message, T::Read { offset, .. } if offset == at), "{message:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            peer.send(tag, R::Read { data: Data(text.as_bytes()) }).await;
        }
        peer
    });
    let (mut text, mut piece) = (Vec::new(), [0; 3]);
    loop {
        match tokio::time::timeout(Duration::from_millis(2), file.read(&mut piece)).await {
            Ok(Ok(0)) => break,
            Ok(read) => text.extend_from_slice(&piece[..read.unwrap()]),
            Err(_) => {}
        }
    }
    assert_eq!(text, b"one two three");
    answering.await.unwrap();
}

#[tokio::test]
async fn a_refused_write_fails_until_a_seek() {
    let (client, mut peer) = connected("9P2000.u", Dialect::Unix).await;
    let mut file = file(&client, &mut peer, OpenMode::WRITE).await;
    assert_eq!(file.write(b"abc").await.unwrap(), 3);
    let (tag, _) = peer.receive().await;
    peer.send(tag, R::Error { ename: Str(b"no space here"), errno: Errno(28) }).await;
    for _ in 0..2 {
        let error = file.flush().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::StorageFull, "no space here")
        );
        let source = error.get_ref().unwrap();
        assert_eq!(source.downcast_ref::<Error>().unwrap().errno(), Some(28));
        assert!(source.source().is_none());
    }
    assert_eq!(file.write(b"x").await.unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.rewind().await.unwrap_err().kind(), ErrorKind::StorageFull);
    // The error has been reported, so the next seek succeeds.
    file.rewind().await.unwrap();
    assert_eq!(file.write(b"x").await.unwrap(), 1);
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Write { offset: 0, .. }), "{message:?}");
    peer.send(tag, R::Write { count: 1 }).await;
    file.flush().await.unwrap();
}

#[tokio::test]
async fn entries_and_chunks_are_streams() {
    let client = scratch().await;
    for n in 0..300 {
        client.write(format!("file{n}"), b"content").await.unwrap();
    }
    let mut entries = client.entries("/").await.unwrap();
    let mut names = std::collections::BTreeSet::new();
    while let Some(entry) =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut entries).poll_next(cx)).await
    {
        names.insert(entry.unwrap().name);
    }
    assert_eq!(names.len(), 300);
    let file = client.open("file7", OpenMode::READ).await.unwrap();
    let mut chunks = file.chunks();
    let chunk = std::future::poll_fn(|cx| std::pin::Pin::new(&mut chunks).poll_next(cx)).await;
    assert_eq!(&chunk.unwrap().unwrap()[..], b"content");
}
