//! Tests for a server and its clients over a simulated network.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod network;

use std::task::{Context, Poll};

use datakit_core::files::{Blob, Command, Live, Value};
use datakit_core::vfs::{Dir, File, FileStat, OpenFile, OpenMode, Result, file, read_at};
use datakit_core::wire::{Fid, Tmessage};
use datakit_embassy::{Config, Connections};
use embassy_time::{Duration, Instant, Timer};

use network::{CLIENTS, Client, Tasks, config, events, leak, simulate, simulate_in};

static LIVE: Live<u32> = Live::new(0);

/// A file whose content is the number of the client that opened it.
struct WhoAmI;

impl File for WhoAmI {
    fn stat(&self) -> FileStat {
        FileStat::new(0)
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        open.text.extend(&[b'0' + open.client.0])
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_at(open.text.bytes(), offset, buf))
    }
}

/// Defines a table of connections and a tree that shows it.
macro_rules! tree {
    ($connections:ident, $root:ident) => {
        static $connections: Connections<CLIENTS> = Connections::new();
        static KICK: Command<0> = Command::new(|command, _| $connections.kick_command(command));
        static $root: Dir = Dir::new(&[
            file("hello", &Blob::new("hello\n")),
            file("live", &LIVE.file(|value, out| writeln!(out, "{value}"))),
            file("me", &WhoAmI),
            file("connections", &$connections),
            file("kick", &KICK),
        ]);
    };
}

/// Starts a read of the stream. The read waits until a value is published.
async fn wait_for_value(client: &mut Client) {
    client.open(1, "live", 0).await;
    client.rpc(&Tmessage::Read { fid: Fid(1), offset: 0, count: 100 }).await;
    client.rpc(&Tmessage::Read { fid: Fid(1), offset: 2, count: 100 }).await;
    client.send(&Tmessage::Read { fid: Fid(1), offset: 2, count: 100 }).await;
}

#[test]
fn clients_read_files_and_hooks_are_called() {
    tree!(CONNECTIONS, ROOT);
    simulate(&ROOT, &CONNECTIONS, leak(config()), async |network| {
        let (mut first, mut second) = (network.attach().await, network.attach().await);
        assert_eq!(first.read("hello").await, "hello\n");
        assert_eq!((first.read("me").await, second.read("me").await), ("1".into(), "2".into()));
        assert_eq!(CONNECTIONS.len(), 2);
        first.close().await;
        assert_eq!(second.read("hello").await, "hello\n");
        assert_eq!(events(), ["1 connected", "2 connected", "1 disconnected: closed by the peer"]);
        assert_eq!(CONNECTIONS.len(), 1);
    });
}

#[test]
fn client_waits_for_a_slot_and_gets_it() {
    tree!(CONNECTIONS, ROOT);
    simulate(&ROOT, &CONNECTIONS, leak(config()), async |network| {
        let (first, mut second) = (network.attach().await, network.attach().await);
        let mut third = network.connect().await;
        Timer::after_millis(500).await;
        assert_eq!(CONNECTIONS.len(), 2, "there are only two slots");
        first.close().await;
        third.attach().await;
        assert_eq!((second.read("me").await, third.read("me").await), ("2".into(), "3".into()));
    });
}

#[test]
fn one_task_runs_the_whole_server() {
    tree!(CONNECTIONS, ROOT);
    simulate_in(Tasks::One, &ROOT, &CONNECTIONS, leak(config()), async |network| {
        let (first, mut second) = (network.attach().await, network.attach().await);
        let mut third = network.connect().await;
        first.close().await;
        third.attach().await;
        assert_eq!((second.read("me").await, third.read("me").await), ("2".into(), "3".into()));
        wait_for_value(&mut second).await;
        LIVE.publish(2);
        assert_eq!(second.reply().await, "2\n");
    });
}

#[test]
fn client_without_a_slot_is_refused_in_time() {
    tree!(CONNECTIONS, ROOT);
    let config = leak(config().slot_timeout(Duration::from_millis(200)));
    simulate(&ROOT, &CONNECTIONS, config, async |network| {
        let (first, _second) = (network.attach().await, network.attach().await);
        for _ in 0..5 {
            let waited = network.connect().await.closed().await.as_millis();
            assert!((190..=220).contains(&waited), "{waited} ms");
        }
        assert_eq!(events()[2..], ["refused"; 5]);
        first.close().await;
        network.attach().await;
    });
}

#[test]
fn idle_client_is_disconnected_and_a_waiting_one_is_not() {
    tree!(CONNECTIONS, ROOT);
    let config = leak(config().idle_timeout(|| Duration::from_secs(5)));
    simulate(&ROOT, &CONNECTIONS, config, async |network| {
        let (mut idle, mut waiting) = (network.attach().await, network.attach().await);
        wait_for_value(&mut waiting).await;
        Timer::after_secs(3).await;
        assert_eq!(idle.read("hello").await, "hello\n");
        let lifetime = idle.closed().await.as_millis();
        assert!((4990..5100).contains(&lifetime), "{lifetime} ms");
        Timer::after_secs(20).await;
        LIVE.publish(1);
        assert_eq!(waiting.reply().await, "1\n");
        assert_eq!(events().last().unwrap(), "1 disconnected: idle for too long");
    });
}

#[test]
fn slow_client_is_not_idle() {
    tree!(CONNECTIONS, ROOT);
    let config = leak(config().idle_timeout(|| Duration::from_secs(5)));
    simulate(&ROOT, &CONNECTIONS, config, async |network| {
        let mut client = network.attach().await;
        let request = Tmessage::Clunk { fid: Fid(7) };
        client.send_slowly(&request, Duration::from_secs(4)).await;
        assert!(client.reply().await.contains("Unknown fid 7"));
    });
}

#[test]
fn changed_idle_timeout_applies_to_new_connections() {
    static SECONDS: Value<u32> = Value::new(10);
    tree!(CONNECTIONS, ROOT);
    let config = leak(config().idle_timeout(|| Duration::from_secs(SECONDS.get().into())));
    simulate(&ROOT, &CONNECTIONS, config, async |network| {
        let mut old = network.attach().await;
        SECONDS.set(3);
        let (new, old) = (network.attach().await.closed().await, old.closed().await);
        assert!((2990..3100).contains(&new.as_millis()), "{new:?}");
        assert!((6900..7100).contains(&old.as_millis()), "{old:?}");
    });
}

#[test]
fn vanished_client_loses_its_slot_while_it_waits() {
    tree!(CONNECTIONS, ROOT);
    let config = leak(config().idle_timeout(|| Duration::from_secs(8)));
    simulate(&ROOT, &CONNECTIONS, config, async |network| {
        let mut waiting = network.attach().await;
        wait_for_value(&mut waiting).await;
        Timer::after_secs(30).await;
        assert_eq!(CONNECTIONS.len(), 1, "keep-alive probes are answered");
        network.cut();
        Timer::after_secs(9).await;
        assert!(CONNECTIONS.is_empty());
        assert!(events()[1].starts_with("1 disconnected: receive:"));
    });
}

#[test]
fn table_shows_peers_and_idle_times() {
    tree!(CONNECTIONS, ROOT);
    simulate(&ROOT, &CONNECTIONS, leak(config()), async |network| {
        let _idle = network.attach().await;
        Timer::after_secs(12).await;
        let mut client = network.attach().await;
        let table = client.read("connections").await;
        let lines: Vec<_> = table.lines().map(|line| line.split_ascii_whitespace()).collect();
        let [mut idle, mut own] = <[_; 2]>::try_from(lines).unwrap();
        assert!(idle.next() == Some("1") && idle.next().unwrap().starts_with("10.0.0.2:"));
        assert_eq!((idle.next(), own.next(), own.nth(1)), (Some("12"), Some("2"), Some("0")));
        assert_eq!((table.len(), table.find('\n')), (64, Some(31)), "{table:?}");
        // A read can start anywhere in the table.
        client.open(1, "connections", 0).await;
        let end = client.rpc(&Tmessage::Read { fid: Fid(1), offset: 32, count: 400 }).await;
        assert_eq!(end, table[32..]);
        let beyond = client.rpc(&Tmessage::Read { fid: Fid(1), offset: 96, count: 400 }).await;
        assert_eq!(beyond, "");
    });
}

#[test]
fn kick_closes_one_connection() {
    tree!(CONNECTIONS, ROOT);
    simulate(&ROOT, &CONNECTIONS, leak(config()), async |network| {
        let (mut kicked, mut client) = (network.attach().await, network.attach().await);
        wait_for_value(&mut kicked).await;
        for (command, reason) in [
            ("3\n", "there is no connection with the number 3"),
            ("0\n", "there is no connection with the number 0"),
            ("256\n", "write the number of a connection, which is from 1 to 254"),
        ] {
            let reply = client.write("kick", command).await;
            assert!(reply.contains(reason), "{reply}");
        }
        assert!(client.write("kick", "1\n").await.starts_with("Rwrite"));
        assert!(kicked.closed().await < Duration::from_millis(10));
        assert_eq!(events()[2..], ["1 disconnected: closed by a command"]);
        // The next client in the slot is not kicked, and has a different number.
        let mut next = network.attach().await;
        assert_eq!(next.read("me").await, "3");
    });
}

#[test]
fn shutdown_closes_all_connections_and_refuses_new_ones() {
    tree!(CONNECTIONS, ROOT);
    simulate(&ROOT, &CONNECTIONS, leak(config()), async |network| {
        let (mut first, mut second) = (network.attach().await, network.attach().await);
        wait_for_value(&mut second).await;
        let start = Instant::now();
        CONNECTIONS.shut_down(Duration::from_secs(1)).await;
        assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
        assert!(CONNECTIONS.is_empty());
        assert!(first.closed().await + second.closed().await < Duration::from_millis(10));
        assert!(events()[2..].iter().all(|event| event.ends_with("the server shuts down")));
        network.connect().await.closed().await;
        assert_eq!(events(), [""; 0]);
    });
}

#[test]
fn client_leaves_reserved_files_to_others() {
    tree!(CONNECTIONS, ROOT);
    let config: &Config = leak(config().reserved_files(3));
    simulate(&ROOT, &CONNECTIONS, config, async |network| {
        let (mut greedy, mut modest) = (network.attach().await, network.attach().await);
        for fid in 1..=5 {
            assert!(greedy.open(fid, "hello", 0).await.starts_with("Ropen"));
        }
        let refused = greedy.open(6, "hello", 0).await;
        assert!(refused.contains("this connection has 5 open files"), "{refused}");
        for fid in 1..=3 {
            assert!(modest.open(fid, "hello", 0).await.starts_with("Ropen"));
        }
        greedy.close().await;
        assert!(modest.open(4, "hello", 0).await.starts_with("Ropen"));
    });
}

#[test]
fn slot_keeps_no_state_of_its_last_client() {
    tree!(CONNECTIONS, ROOT);
    simulate(&ROOT, &CONNECTIONS, leak(config()), async |network| {
        for _ in 0..10 {
            let mut client = network.attach().await;
            wait_for_value(&mut client).await;
            client.close().await;
        }
        assert!(CONNECTIONS.is_empty());
    });
}
