//! Tests for connections to servers that violate the protocol.

use super::*;

#[tokio::test]
async fn a_reply_of_the_wrong_type_is_a_protocol_error() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let other = client.clone();
    let removing = tokio::spawn(async move { other.remove("a").await });
    peer.answer_walk(1, FILE).await;
    let (tag, message) = peer.receive().await;
    assert!(matches!(message, T::Remove { .. }), "{message:?}");
    peer.send(tag, R::Write { count: 1 }).await;
    let error = removing.await.unwrap().unwrap_err();
    assert_eq!(error, ProtocolError::UnexpectedReply { request: 122, reply: 119 }.into());
    // The connection remains usable.
    let walking = tokio::spawn(async move { client.walk("b").await.map(drop) });
    peer.answer_walk(1, FILE).await;
    walking.await.unwrap().unwrap();
}

#[tokio::test]
async fn close_does_not_wait_for_a_stuck_server() {
    let (client, mut peer) = connected("9P2000", Dialect::Legacy).await;
    let file = file(&client, &mut peer, OpenMode::WRITE).await;
    // Write more data than the stream's buffer can hold.
    for _ in 0..20 {
        assert!(tokio::time::timeout(Duration::ZERO, file.write_at(0, &[1; UNIT])).await.is_err());
        tokio::task::yield_now().await;
    }
    drop(file);
    tokio::time::timeout(Duration::from_secs(10), client.close()).await.unwrap();
}

/// Returns the next pseudo-random number. The sequence depends only on the initial seed.
fn noise(seed: &mut u32) -> u32 {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *seed >> 16
}

/// Answers each request with a frame of random type and content. Most sizes and tags are correct.
async fn babble(mut peer: Peer, mut seed: u32) {
    loop {
        let mut size = [0; 4];
        if peer.stream.read_exact(&mut size).await.is_err() {
            return;
        }
        let mut request = vec![0; u32::from_le_bytes(size) as usize - 4];
        if peer.stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let mut noise = || noise(&mut seed);
        let length = 7 + noise() % 60;
        let mut frame: Vec<u8> =
            (0..length).map(|_| (noise() % if length < 30 { 256 } else { 3 }) as u8).collect();
        let size = if noise() % 50 == 0 { noise() } else { length };
        frame[..4].copy_from_slice(&size.to_le_bytes());
        frame[4] = if noise() % 4 == 0 { noise() as u8 } else { request[0] + 1 };
        if noise() % 50 != 0 {
            frame[5..7].copy_from_slice(&request[1..3]);
        }
        if peer.stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn random_replies_cause_errors_only() {
    for seed in 0..90 {
        let (version, dialect) = [
            ("9P2000", Dialect::Legacy),
            ("9P2000.u", Dialect::Unix),
            ("9P2000.L", Dialect::Linux),
        ][seed % 3];
        let (client, peer) = connected(version, dialect).await;
        let server = tokio::spawn(babble(peer, seed as u32));
        let using = async {
            for _ in 0..20 {
                let _ = client.read("a/b").await.map(|data| data.len());
                let _ = client.list("a").await.map(|list| list.len());
                let _ = client.write("a", &[0; 10_000]).await;
                let _ = client.rename("a", "b").await;
                let _ = client.mkdir("a", 0o777).await;
                let _ = client.read_link("a").await;
                let _ = client.remove("a").await;
                let _ = tokio::time::timeout(Duration::ZERO, client.stat("a")).await;
            }
        };
        // Set a timeout, because the peer may send an endless listing.
        let _ = tokio::time::timeout(Duration::from_millis(200), using).await;
        tokio::time::timeout(Duration::from_secs(10), client.close()).await.unwrap();
        server.await.unwrap();
    }
}

/// Answers each Tread and Treaddir with the bytes that `data` returns for the requested offset and
/// count. All other requests succeed.
async fn deliver(mut peer: Peer, qid: Qid, data: impl Fn(u64, u32) -> Vec<u8>) {
    let dialect = peer.dialect;
    loop {
        let Ok(size) = peer.stream.read_u32_le().await else { return };
        let mut frame = size.to_le_bytes().to_vec();
        frame.resize(size as usize, 0);
        if peer.stream.read_exact(&mut frame[4..]).await.is_err() {
            return;
        }
        let (tag, message) = T::decode(&frame, dialect).unwrap();
        let bytes;
        let qids;
        let reply = match message {
            T::Walk { wnames, .. } => {
                qids = vec![qid; wnames.len()];
                R::Walk { wqids: List::from(qids.as_slice()) }
            }
            T::Open { .. } => R::Open { qid, iounit: 0 },
            T::Lopen { .. } => R::Lopen { qid, iounit: 0 },
            T::Stat { .. } => R::Stat { stat: Stat::default() },
            T::Clunk { .. } => R::Clunk {},
            T::Flush { .. } => R::Flush {},
            T::Read { offset, count, .. } => {
                bytes = data(offset, count);
                R::Read { data: Data(&bytes) }
            }
            T::Readdir { offset, count, .. } => {
                bytes = data(offset, count);
                R::Readdir { data: Data(&bytes) }
            }
            other => panic!("{other:?}"),
        };
        let mut frame = vec![0; 1 << 17];
        let length = reply.encode(tag, dialect, &mut frame).unwrap();
        if peer.stream.write_all(&frame[..length]).await.is_err() {
            return;
        }
    }
}

/// Encodes one record of an Rreaddir message.
fn dirent(next: u64, name: &[u8]) -> Vec<u8> {
    let length = u16::try_from(name.len()).unwrap().to_le_bytes();
    [&[0; 13][..], &next.to_le_bytes(), &[0], &length, name].concat()
}

#[tokio::test]
async fn a_cyclic_listing_is_an_error() {
    let (client, peer) = connected("9P2000.L", Dialect::Linux).await;
    tokio::spawn(deliver(peer, DIR, |offset, _| {
        dirent(if offset == 9 { 3 } else { offset + 3 }, b"name")
    }));
    let error = client.read_dir("a").await.unwrap_err();
    assert_eq!(error, Error::invalid_reply("the directory listing does not end"));
}

#[tokio::test]
async fn an_endless_listing_is_an_error() {
    let (client, peer) = connected("9P2000.L", Dialect::Linux).await;
    // Names that the listing omits also count toward the limit.
    let page = |offset, count| {
        (0..u64::from(count) / 26).flat_map(|record| dirent(offset + record + 1, b"..")).collect()
    };
    tokio::spawn(deliver(peer, DIR, page));
    assert!(matches!(client.read_dir("a").await, Err(Error::TooLong { what: "directory", .. })));
}

#[tokio::test]
async fn an_endless_delivery_is_an_error() {
    let (client, peer) = connected("9P2000", Dialect::Legacy).await;
    tokio::spawn(deliver(peer, FILE, |_, count| vec![b'x'; count as usize]));
    let mut watch = client.watch("a").await.unwrap();
    assert!(matches!(watch.next().await, Err(Error::TooLong { what: "delivery", .. })));
    assert_eq!(watch.next().await, Ok(None));
}

#[tokio::test]
async fn a_file_above_the_limit_is_an_error() {
    let (client, peer) = connected("9P2000", Dialect::Legacy).await;
    tokio::spawn(deliver(peer, FILE, |_, count| vec![b'x'; count as usize]));
    let file = client.open("a", OpenMode::READ).await.unwrap();
    assert_eq!(
        file.read_up_to(100_000).await,
        Err(Error::TooLong { what: "file", limit: 100_000 })
    );
}

#[tokio::test]
async fn more_data_than_requested_is_an_error() {
    for (version, dialect, qid) in
        [("9P2000", Dialect::Legacy, FILE), ("9P2000.L", Dialect::Linux, DIR)]
    {
        let (client, peer) = connected(version, dialect).await;
        tokio::spawn(deliver(peer, qid, |_, count| vec![0; count as usize + 1]));
        let more = Error::invalid_reply("the server sent more data than requested");
        if qid == DIR {
            assert_eq!(client.read_dir("a").await.unwrap_err(), more);
            continue;
        }
        let file = client.open("a", OpenMode::READ).await.unwrap();
        assert_eq!(file.read_at(0, &mut [0; 9]).await, Err(more.clone()));
        assert_eq!(file.read_all().await, Err(more.clone()));
        assert_eq!(file.watch().next().await, Err(more));
    }
}

#[tokio::test]
async fn names_that_lead_out_of_a_directory_are_an_error() {
    for name in [&b"../a"[..], b"/", b"a/b", b"", b"a\0b"] {
        let (client, peer) = connected("9P2000.L", Dialect::Linux).await;
        tokio::spawn(deliver(peer, DIR, move |_, _| dirent(1, name)));
        assert!(matches!(client.list("a").await, Err(Error::Protocol(_))), "{name:?}");
    }
}
