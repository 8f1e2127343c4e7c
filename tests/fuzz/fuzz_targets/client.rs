//! Checks that a client can handle any reply from a server. Each call must return, and no listed
//! name may refer to a file outside the listed directory.
//!
//! The input consists of a byte that selects the dialect, followed by the replies to the client's
//! requests. Each reply has the form `length[2] mode[1] body[length]`. A mode below 128 means that
//! the reply has the type expected by the request. A mode of 128 or above specifies the type of the
//! reply. The server closes the connection after the last reply.
#![no_main]

use datakit_client::db::Db;
use datakit_client::{Client, OpenMode, Options};
use datakit_core::wire::{Dialect, Qid, Rmessage, Str, TATTACH, TVERSION, Tag};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const MSIZE: u32 = 2048;

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let dialect = [Dialect::Legacy, Dialect::Unix, Dialect::Linux][usize::from(first % 3)];
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let replies = rest.to_vec();
        let server = tokio::spawn(answer(far, dialect, replies));
        let options = Options::default().msize(MSIZE);
        if let Ok(client) = Client::from_stream(near, options).await {
            if first & 0x80 == 0 { files(&client).await } else { database(client).await }
        }
        server.abort();
    });
});

async fn files(client: &Client) {
    for name in client.read_dir("a").await.into_iter().flatten().map(|entry| entry.name) {
        let inside =
            !name.as_bytes().contains(&b'/') && !matches!(name.as_bytes(), b"" | b"." | b"..");
        assert!(inside, "{name:?} leads out of the directory");
    }
    let _ = client.list("a").await;
    let _ = client.read("a/b").await;
    let _ = client.stat("a").await.map(|metadata| format!("{metadata:?}"));
    let _ = client.read_link("a").await;
    let _ = client.write("a", &[7; 5000]).await;
    let _ = client.rename("a", "b").await;
    let _ = client.mkdir("a", 0o777).await;
    let _ = client.symlink("a", "b").await;
    if let Ok(file) = client.open("a", OpenMode::READ_WRITE).await {
        let _ = file.read_at(0, &mut [0; 9]).await;
        let _ = file.read_dir_at(0).await;
    }
    if let Ok(mut watch) = client.watch("a").await {
        while let Ok(Some(_)) = watch.next().await {}
    }
    let _ = client.remove("a").await;
}

async fn database(client: Client) {
    let db = Db::new(client);
    for name in db.branches().await.into_iter().flatten().take(3) {
        let _ = db.branch(name.as_bytes()).await;
    }
    let Ok(branch) = db.branch("b").await else { return };
    if let Ok(Some(head)) = branch.head().await {
        let _ = head.message().await;
        let _ = head.parents().await;
        let _ = head.diff(&head).await;
    }
    if let Ok(mut heads) = branch.watch_head().await {
        while let Some(Ok(_)) = heads.next().await {}
    }
    if let Ok(transaction) = branch.transaction().await {
        let _ = transaction
            .diff(&match branch.head().await {
                Ok(Some(head)) => head,
                _ => return,
            })
            .await;
        let _ = transaction.commit("m").await;
    }
}

/// Replies to each request with the next reply from the input.
async fn answer(mut stream: DuplexStream, dialect: Dialect, replies: Vec<u8>) {
    let mut replies = &*replies;
    loop {
        let Ok(size) = stream.read_u32_le().await else { return };
        let mut request = vec![0; (size as usize).saturating_sub(4)];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let (kind, tag) = (request[0], Tag(u16::from_le_bytes([request[1], request[2]])));
        let reply = match kind {
            TVERSION => known(
                Rmessage::Version { msize: MSIZE, version: Str(dialect.version().as_bytes()) },
                tag,
                dialect,
            ),
            TATTACH => known(
                Rmessage::Attach { qid: Qid { kind: Qid::DIR, version: 0, path: 1 } },
                tag,
                dialect,
            ),
            _ => {
                let Some((&[low, high, mode], rest)) = replies.split_first_chunk() else { return };
                let (body, rest) =
                    rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
                replies = rest;
                let kind = if mode < 128 { kind.wrapping_add(1) } else { mode };
                let size = (7 + body.len() as u32).to_le_bytes();
                [&size[..], &[kind], &tag.0.to_le_bytes(), body].concat()
            }
        };
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn known(reply: Rmessage<'_>, tag: Tag, dialect: Dialect) -> Vec<u8> {
    let mut frame = vec![0; 64];
    let length = reply.encode(tag, dialect, &mut frame).expect("64 bytes are enough");
    frame.truncate(length);
    frame
}
