//! Tests for pipelined transfers, including short replies and cancellation.

use super::*;

const VERSIONED: Qid = Qid { kind: Qid::FILE, version: 1, path: 3 };

impl Peer {
    /// Answers a Tstat with the given file length.
    async fn answer_stat(&mut self, length: usize) {
        let (tag, message) = self.receive().await;
        assert!(matches!(message, T::Stat { .. }), "{message:?}");
        let stat = Stat { qid: VERSIONED, length: length as u64, ..Stat::default() };
        self.send(tag, R::Stat { stat }).await;
    }

    /// Receives a Tread and returns its tag, offset and count.
    pub(super) async fn receive_read(&mut self) -> (Tag, usize, usize) {
        let (tag, message) = self.receive().await;
        let T::Read { offset, count, .. } = message else { panic!("{message:?}") };
        (tag, offset as usize, count as usize)
    }

    /// Receives a Twrite and returns its tag, offset and data.
    async fn receive_write(&mut self) -> (Tag, usize, Vec<u8>) {
        let (tag, message) = self.receive().await;
        let T::Write { offset, data, .. } = message else { panic!("{message:?}") };
        (tag, offset as usize, data.0.to_vec())
    }
}

#[tokio::test]
async fn a_long_file_is_read_ahead_up_to_its_length() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let content: Vec<u8> = (0..4 * UNIT).map(|n| (n / 5) as u8).collect();
    let reading = tokio::spawn(async move { client.read("long").await });
    peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    let (tag, offset, count) = peer.receive_read().await;
    assert_eq!((offset, count), (0, UNIT));
    peer.send(tag, R::Read { data: Data(&content[..UNIT]) }).await;
    peer.answer_stat(content.len()).await;

    let mut asked =
        [peer.receive_read().await, peer.receive_read().await, peer.receive_read().await];
    assert_eq!(
        asked.map(|(_, offset, count)| (offset, count)),
        [1, 2, 3].map(|n| (n * UNIT, UNIT))
    );
    asked.reverse();
    for (tag, offset, count) in asked {
        // The second reply contains fewer bytes than requested.
        let count = if offset == 2 * UNIT { 100 } else { count };
        peer.send(tag, R::Read { data: Data(&content[offset..offset + count]) }).await;
    }
    let (tag, offset, count) = peer.receive_read().await;
    assert_eq!((offset, count), (2 * UNIT + 100, UNIT - 100));
    peer.send(tag, R::Read { data: Data(&content[offset..offset + count]) }).await;
    let (tag, offset, _) = peer.receive_read().await;
    assert_eq!(offset, content.len());
    peer.send(tag, R::Read { data: Data(b"") }).await;
    assert!(reading.await.unwrap().unwrap() == content);
}

#[tokio::test]
async fn a_file_without_a_length_is_read_in_order() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let content = [7; UNIT];
    let reading = tokio::spawn(async move { client.read("stream").await });
    peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    let (tag, ..) = peer.receive_read().await;
    peer.send(tag, R::Read { data: Data(&content) }).await;
    peer.answer_stat(0).await;
    for data in [&content[..], &b"end"[..], &b""[..]] {
        let (tag, ..) = peer.receive_read().await;
        // No further request is sent before the reply arrives.
        assert!(
            tokio::time::timeout(Duration::from_millis(1), peer.stream.read_u32_le())
                .await
                .is_err()
        );
        peer.send(tag, R::Read { data: Data(data) }).await;
    }
    assert_eq!(reading.await.unwrap().unwrap().len(), 2 * UNIT + 3);
}

#[tokio::test]
async fn a_file_that_shows_its_length_is_written_ahead() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let content: Vec<u8> = (0..4 * UNIT).map(|n| (n / 5) as u8).collect();
    let data = content.clone();
    let writing = tokio::spawn(async move { client.write("long", &data).await });
    peer.answer_walk(1, FILE).await;
    peer.answer_open().await;
    let (tag, _, data) = peer.receive_write().await;
    assert_eq!(data.len(), UNIT);
    peer.send(tag, R::Write { count: UNIT as u32 }).await;
    peer.answer_stat(UNIT).await;

    let mut file = data;
    file.resize(content.len(), 0);
    let mut sent =
        vec![peer.receive_write().await, peer.receive_write().await, peer.receive_write().await];
    sent.reverse();
    for (tag, offset, data) in sent {
        let count = if offset == 2 * UNIT { 100 } else { data.len() };
        file[offset..offset + count].copy_from_slice(&data[..count]);
        peer.send(tag, R::Write { count: count as u32 }).await;
    }
    let (tag, offset, data) = peer.receive_write().await;
    assert_eq!((offset, data.len()), (2 * UNIT + 100, UNIT - 100));
    file[offset..offset + data.len()].copy_from_slice(&data);
    peer.send(tag, R::Write { count: data.len() as u32 }).await;
    let (tag, _) = peer.next().await.unwrap();
    peer.send(tag, R::Clunk {}).await;
    writing.await.unwrap().unwrap();
    assert!(file == content);
}

#[tokio::test]
async fn dropping_next_loses_no_data() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, OpenMode::READ).await;
    let content: Vec<u8> = (0..2 * UNIT).map(|n| (n / 5) as u8).collect();
    let mut chunks = file.chunks();
    let mut read = Vec::new();
    let reading = async {
        // If no chunk arrives within two milliseconds, drop the future and try again.
        while read.len() < content.len() {
            if let Ok(chunk) = tokio::time::timeout(Duration::from_millis(2), chunks.next()).await {
                read.extend_from_slice(&chunk.unwrap().unwrap());
            }
        }
    };
    let answering = async {
        let (tag, ..) = peer.receive_read().await;
        peer.send(tag, R::Read { data: Data(&content[..UNIT]) }).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        loop {
            let (tag, message) = peer.receive().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            match message {
                T::Read { offset, count, .. } => {
                    let from = offset as usize;
                    let data =
                        &content[from..(from + count as usize).min(from + 5000).min(content.len())];
                    peer.send(tag, R::Read { data: Data(data) }).await;
                }
                T::Flush { .. } => peer.send(tag, R::Flush {}).await,
                _ => {
                    let stat =
                        Stat { qid: VERSIONED, length: content.len() as u64, ..Stat::default() };
                    peer.send(tag, R::Stat { stat }).await;
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = answering => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("timed out"),
    }
    assert!(read == content);
}

#[tokio::test]
async fn a_refused_read_is_repeated_at_the_same_offset() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, OpenMode::READ).await;
    let mut chunks = file.chunks();
    let answering = async {
        for (at, text) in [(0, "a"), (1, ""), (1, "b")] {
            let (tag, offset, _) = peer.receive_read().await;
            assert_eq!(offset, at);
            match text {
                "" => peer.send(tag, R::Error { ename: Str(b"not now"), errno: Errno(0) }).await,
                text => peer.send(tag, R::Read { data: Data(text.as_bytes()) }).await,
            }
        }
    };
    let reading = async { [chunks.next().await, chunks.next().await, chunks.next().await] };
    let (read, ()) = tokio::join!(reading, answering);
    assert!(
        matches!(&read, [Ok(Some(a)), Err(Error::Server { .. }), Ok(Some(b))] if a == "a" && b == "b"),
        "{read:?}"
    );
}

#[tokio::test]
async fn later_calls_report_a_refused_write() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, OpenMode::WRITE).await;
    let mut writes = file.writes_at(0);
    writes.write("a".into()).await.unwrap();
    let answering = async {
        let (tag, ..) = peer.receive_write().await;
        peer.send(tag, R::Error { ename: Str(b"no room"), errno: Errno(0) }).await;
    };
    let (refused, ()) = tokio::join!(writes.write("b".into()), answering);
    let no_room = Err(Error::Server { errno: 0, text: "no room".into() });
    assert_eq!(refused, no_room);
    assert_eq!(writes.finish().await, no_room);
}
