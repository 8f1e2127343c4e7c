//! Tests for the firmware's tree, served on the host. If a test fails in QEMU but not on the host,
//! the board is at fault, not the tree.

use datakit_client::{Client, Options};
use datakit_core::vfs::StaticTree;
use datakit_core::wire::Dialect;
use datakit_firmware::board::ROOT;
use datakit_server::{Limits, Server};
use datakit_tests::board::{PATHS, list_tree};

#[tokio::test]
async fn host_serves_the_tree_of_the_board() {
    let server =
        Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await.unwrap();
    let url = server.urls()[0].clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(|_| StaticTree::<24, 96>::new(&ROOT), async {
        let _ = stopped.await;
    }));
    for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
        let client = Client::connect(&url, Options::default().dialect(dialect)).await.unwrap();
        assert_eq!(list_tree(&client).await, PATHS);
        assert_eq!(client.read("board/name").await.unwrap().trim_ascii_end(), b"lm3s6965evb");
        assert_eq!(client.read("net/address").await.unwrap(), b"10.0.2.15/24\n");
        assert_eq!(client.read("params/blink/period").await.unwrap(), b"1000\n");
        assert_eq!(client.read("params/wave/shape").await.unwrap(), b"triangle\n");
    }
    drop(stop);
    serving.await.unwrap().unwrap();
}
