//! Tests for the guarantees about files, using `datakit_client` in each dialect.

use std::time::{Duration, SystemTime};

use datakit_client::{Client, Dialect, OpenMode, Options};
use datakit_core::wire::{Dialect as WireDialect, SetAttr, Time};

use crate::*;

async fn connect(served: &Served, dialect: Dialect) -> Client {
    let url = format!("tcp://{}", served.addr).parse().unwrap();
    Client::connect(&url, Options::default().dialect(dialect)).await.unwrap()
}

#[tokio::test]
async fn concurrent_writes_to_a_missing_file_all_succeed() {
    for dialect in ALL {
        let served = scratch();
        let mut writing = Vec::new();
        for number in 0..8 {
            let client = connect(&served, dialect).await;
            writing.push(tokio::spawn(async move {
                client.write("shared", format!("{number}").as_bytes()).await
            }));
        }
        for written in writing {
            written.await.unwrap().unwrap();
        }
        assert_eq!(connect(&served, dialect).await.read("shared").await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn modes_have_the_bits_of_the_dialect() {
    let served = scratch();
    for (dialect, due) in
        [(Dialect::Legacy, 0o755), (Dialect::Unix, 0o7755), (Dialect::Linux, 0o7755)]
    {
        let client = connect(&served, dialect).await;
        let name = dialect.version();
        drop(client.create(name, 0o7755, OpenMode::WRITE).await.unwrap());
        let node = client.walk(name).await.unwrap();
        assert_eq!(node.stat().await.unwrap().mode, due);
        node.set_mode(0o644).await.unwrap();
        assert_eq!(node.stat().await.unwrap().mode, 0o644);
        node.set_mode(0o7755).await.unwrap();
        assert_eq!(node.stat().await.unwrap().mode, due);
    }
}

#[tokio::test]
async fn times_before_1970_are_negative() {
    let served = scratch();
    let mut wire = client(&served, WireDialect::Linux);
    create_file(&mut wire, "f", b"");
    wire.walk(0, 1, "f").unwrap();
    let mtime = Time { sec: (-10i64).cast_unsigned(), nsec: 500_000_000 };
    let valid = SetAttr::MTIME | SetAttr::MTIME_SET;
    wire.setattr(1, SetAttr { valid, mtime, ..SetAttr::default() }).unwrap();
    let linux = connect(&served, Dialect::Linux).await.stat("f").await.unwrap();
    assert_eq!(linux.modified, SystemTime::UNIX_EPOCH - Duration::from_millis(9500));
    let unix = connect(&served, Dialect::Unix).await.stat("f").await.unwrap();
    assert_eq!(unix.modified, SystemTime::UNIX_EPOCH);
}
