//! Tests for the firmware's tree, served on the host. If a test fails in QEMU but not on the host,
//! the board is at fault, not the tree.

use std::time::Duration;

use datakit_client::{Client, Error, Options};
use datakit_core::vfs::StaticTree;
use datakit_core::wire::Dialect;
use datakit_firmware::board::ROOT;
use datakit_firmware::i2c::serve_sensor;
use datakit_server::{Limits, Server, Url};
use datakit_tests::board::{PATHS, list_tree};
use datakit_tests::schema;

/// The firmware's tree, served on the host until this value is dropped.
struct Host {
    url: Url,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Host {
    async fn serve() -> Host {
        let address = "tcp://127.0.0.1:0".parse().unwrap();
        let server = Server::bind(&[address], Limits::default()).await.unwrap();
        let url = server.urls()[0].clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let tree = |_: &_| StaticTree::<24, 128, _>::new_async(&ROOT);
        tokio::spawn(server.serve(tree, async {
            let _ = stopped.await;
        }));
        Host { url, _stop: stop }
    }

    /// Connects one client for each dialect.
    async fn clients(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for dialect in [Dialect::Legacy, Dialect::Unix, Dialect::Linux] {
            let options = Options::default().dialect(dialect);
            clients.push(Client::connect(&self.url, options).await.unwrap());
        }
        clients
    }
}

#[tokio::test]
async fn host_serves_the_tree_of_the_board() {
    let host = Host::serve().await;
    for client in host.clients().await {
        assert_eq!(list_tree(&client).await, PATHS);
        assert_eq!(client.read("board/name").await.unwrap().trim_ascii_end(), b"lm3s6965evb");
        assert_eq!(client.read("net/address").await.unwrap(), b"10.0.2.15/24\n");
        assert_eq!(client.read("params/blink/period").await.unwrap(), b"1000\n");
        assert_eq!(client.read("params/wave/shape").await.unwrap(), b"triangle\n");
    }
}

#[tokio::test]
async fn a_watched_parameter_delivers_each_new_value() {
    let host = Host::serve().await;
    for client in host.clients().await {
        let set = async |value: &[u8]| client.write("params/blink/duty", value).await.unwrap();
        set(b"50\n").await;
        let mut watch = client.watch("params/blink/duty").await.unwrap();
        assert_eq!(watch.next().await.unwrap().unwrap(), b"50\n");
        for value in [b"60\n", b"70\n", b"70\n"] {
            set(value).await;
            assert_eq!(watch.next().await.unwrap().unwrap(), value);
        }
        // If a client reads a file without watching it, the read stops at the end of the file.
        assert_eq!(client.read("params/blink/duty").await.unwrap(), b"70\n");
        watch.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_schema_of_the_board_conforms_to_its_json_schema() {
    let host = Host::serve().await;
    let client = &host.clients().await[0];
    let text = String::from_utf8(client.read("params/schema").await.unwrap()).unwrap();
    let params = schema::check(&text);
    assert!(params >= 20, "{text}");
    // The JSON Schema rejects documents that clients could not understand.
    for (old, new) in [
        ("\"saved\":", "\"saved\":0,\"kept\":"),
        ("\"type\":\"u32\"", "\"type\":\"u33\""),
        ("\"min\":10,", ""),
        ("\"path\":\"blink/", "\"path\":\"/blink/"),
        ("\"doc\":", "\"text\":"),
        ("\"version\":1", "\"version\":2"),
    ] {
        assert!(text.contains(old), "{old}");
        assert!(schema::validate(&text.replacen(old, new, 1)).is_err(), "{new}");
    }
}

#[tokio::test]
async fn sensor_is_read_and_written_by_its_task() {
    let host = Host::serve().await;
    let sensor =
        serve_sensor(async |ms| tokio::time::sleep(Duration::from_millis(ms.into())).await);
    let test = async {
        for client in host.clients().await {
            assert_eq!(client.read("i2c/0x48/temperature").await.unwrap(), b"21500\n");
            for high in ["80000", "-500"] {
                client.write("i2c/0x48/high", high.as_bytes()).await.unwrap();
                assert_eq!(
                    client.read("i2c/0x48/high").await.unwrap(),
                    format!("{high}\n").as_bytes()
                );
            }
            let refused = client.write("i2c/0x48/high", b"1").await;
            assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
            let refused = client.write("i2c/0x48/temperature", b"500").await;
            assert!(matches!(refused, Err(Error::Server { .. })), "{refused:?}");
            assert_eq!(client.read("i2c/0x48/high").await.unwrap(), b"-500\n");
        }
    };
    tokio::select! {
        never = sensor => never,
        () = test => {}
    }
}
