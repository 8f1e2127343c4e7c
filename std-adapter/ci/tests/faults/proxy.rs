//! A TCP proxy that interferes with the connection between the CI and the database.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// Selects how the proxy interferes with the replies of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Every reply is delayed by this duration.
    Delay(Duration),
    /// Replies are held back until the mode changes.
    Hold,
    /// On each connection, only the first bytes of the next reply are forwarded.
    Half,
    /// All existing connections are closed, and new ones are closed immediately.
    Cut,
}

pub(crate) struct Proxy {
    mode: Arc<watch::Sender<Mode>>,
    rounds: Rounds,
    pub(crate) address: String,
}

/// Counts sequential round trips while replies are delayed.
///
/// A reply begins a new round trip if at least the delay has passed since the previous round trip
/// began. Replies to concurrent requests belong to the same round trip. Periods without requests
/// are not counted.
#[derive(Clone, Default)]
struct Rounds(Arc<Mutex<(usize, Option<Instant>)>>);

impl Rounds {
    fn add_reply(&self, delay: Duration) {
        let mut rounds = self.0.lock();
        if rounds.1.is_none_or(|began| began.elapsed() >= delay) {
            *rounds = (rounds.0 + 1, Some(Instant::now()));
        }
    }
}

impl Proxy {
    /// Listens on a port chosen by the system.
    pub(crate) async fn start(database: &str, mode: Mode) -> Proxy {
        let database = database.strip_prefix("tcp://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        let mode = Arc::new(watch::Sender::new(mode));
        let (modes, rounds) = (mode.clone(), Rounds::default());
        let counted = rounds.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(
                    client,
                    database.clone(),
                    modes.subscribe(),
                    counted.clone(),
                ));
            }
        });
        Proxy { mode, rounds, address }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Returns the number of sequential round trips in [`Mode::Delay`].
    pub(crate) fn round_trips(&self) -> usize {
        self.rounds.0.lock().0
    }
}

async fn connection(
    client: TcpStream,
    database: String,
    mut modes: watch::Receiver<Mode>,
    rounds: Rounds,
) {
    if *modes.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(database).await else { return };
    // Nagle's algorithm would add further delays.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let replies = forward_replies(from_server, to_client, modes.clone(), rounds);
    tokio::select! {
        () = forward_requests(from_client, to_server) => {}
        () = replies => {}
        // Dropping the halves closes both connections.
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn forward_requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn forward_replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    rounds: Rounds,
) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(1000);
    let receive = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let send = async {
        while let Some((received, chunk)) = chunks.recv().await {
            let mode = *modes.wait_for(|mode| *mode != Mode::Hold).await.unwrap();
            match mode {
                Mode::Delay(delay) => {
                    sleep_until(received + delay).await;
                    rounds.add_reply(delay);
                }
                Mode::Half => {
                    let _ = to.write_all(&chunk[..chunk.len().min(5)]).await;
                    std::future::pending().await
                }
                Mode::Pass | Mode::Hold | Mode::Cut => {}
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = receive => {}
        () = send => {}
    }
}
