//! A simulated network that connects the server's stack to the clients' stack. The clock advances
//! only while all tasks are waiting, so a simulated minute takes a fraction of a second.

mod client;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

pub(crate) use client::Client;
use datakit_core::vfs::{Dir, StaticTree};
use datakit_embassy::{Config, Connections, Memory, Server};
use embassy_net::{Ipv4Address, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use embassy_net_driver_channel as channel;
use embassy_net_driver_channel::driver::{HardwareAddress, LinkState};
use embassy_time::{Duration, MockDriver};

/// The number of client slots in the tested server.
pub(crate) const CLIENTS: usize = 2;

pub(crate) type Tree = StaticTree<8, 96>;
pub(crate) type TestServer = Server<Tree, CLIENTS, 3, 512, 8>;

const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const CLIENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const MTU: usize = 1514;
/// The longest time, in milliseconds, that a script may take.
const LONGEST_MS: u32 = 600_000;

/// The network functions that a script can call.
pub(crate) struct Network {
    clients: Stack<'static>,
    wire: Cell<bool>,
}

impl Network {
    /// Opens a connection to the server without sending anything. Tries again if the server
    /// refuses the connection, because its listeners may still be recycling their sockets.
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.clients, SERVER).await
    }

    /// Opens a connection, negotiates a version and attaches fid 0 to the root.
    pub(crate) async fn attach(&self) -> Client {
        let mut client = self.connect().await;
        client.attach().await;
        client
    }

    /// Cuts the wire. Drops all frames from now on.
    pub(crate) fn cut(&self) {
        self.wire.set(false);
    }
}

/// The number of tasks in which the tested server runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tasks {
    /// One task for each socket and each client slot.
    Many,
    /// One task for the whole server.
    One,
}

/// Serves `root` in several tasks, and runs `script` until it ends.
///
/// # Panics
/// Panics if the script does not end within ten minutes of simulated time.
pub(crate) fn simulate(
    root: &'static Dir,
    connections: &'static Connections<CLIENTS>,
    config: &'static Config,
    script: impl AsyncFnOnce(&Network),
) {
    simulate_in(Tasks::Many, root, connections, config, script);
}

/// Serves `root` in one or more tasks, and runs `script` until it ends.
///
/// # Panics
/// Panics if the script does not end within ten minutes of simulated time.
pub(crate) fn simulate_in(
    tasks: Tasks,
    root: &'static Dir,
    connections: &'static Connections<CLIENTS>,
    config: &'static Config,
    script: impl AsyncFnOnce(&Network),
) {
    // All tests in a test binary share one clock.
    static CLOCK: Mutex<()> = Mutex::new(());
    let _clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    let (stack, mut server_runner, server_wire) = start_stack(SERVER);
    let (clients, mut clients_runner, clients_wire) = start_stack(CLIENT);
    let network = Network { clients, wire: Cell::new(true) };
    let server: &'static TestServer = leak(TestServer::new::<1460, 1460>(
        stack,
        leak(Tree::new(root)),
        connections,
        config,
        leak(Memory::new()),
    ));
    let (from_server, to_server) = server_wire.split_wire();
    let (from_clients, to_clients) = clients_wire.split_wire();
    let mut all: Vec<Task<'_>> = vec![
        Box::pin(script(&network)),
        Box::pin(async { server_runner.run().await }),
        Box::pin(async { clients_runner.run().await }),
        Box::pin(carry(from_server, to_clients, &network.wire)),
        Box::pin(carry(from_clients, to_server, &network.wire)),
    ];
    if tasks == Tasks::One {
        all.push(Box::pin(async { server.run().await }));
    } else {
        all.extend(
            (0..=CLIENTS).map(|_| -> Task<'_> { Box::pin(async { server.listen().await }) }),
        );
        all.extend((0..CLIENTS).map(|_| -> Task<'_> { Box::pin(async { server.serve().await }) }));
    }
    run(all);
}

type Device = channel::Device<'static, MTU>;

/// The network driver of one stack, which is one end of the wire.
struct Wire(channel::Runner<'static, MTU>);

impl Wire {
    fn split_wire(self) -> (channel::TxRunner<'static, MTU>, channel::RxRunner<'static, MTU>) {
        let (_, rx, tx) = self.0.split();
        (tx, rx)
    }
}

fn start_stack(address: Ipv4Address) -> (Stack<'static>, Runner<'static, Device>, Wire) {
    let [.., number] = address.octets();
    let state = leak(channel::State::<MTU, 4, 4>::new());
    let (mut runner, device) =
        channel::new(state, HardwareAddress::Ethernet([2, 0, 0, 0, 0, number]));
    runner.set_link_state(LinkState::Up);
    let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(address, 24),
        gateway: None,
        dns_servers: Default::default(),
    });
    let (stack, stack_runner) =
        embassy_net::new(device, config, leak(StackResources::<8>::new()), number.into());
    (stack, stack_runner, Wire(runner))
}

/// Carries frames in one direction.
async fn carry(
    mut from: channel::TxRunner<'static, MTU>,
    mut to: channel::RxRunner<'static, MTU>,
    wire: &Cell<bool>,
) {
    loop {
        let frame = from.tx_buf().await.to_vec();
        from.tx_done();
        if wire.get() {
            to.rx_buf().await[..frame.len()].copy_from_slice(&frame);
            to.rx_done(frame.len());
        }
    }
}

type Task<'t> = Pin<Box<dyn Future<Output = ()> + 't>>;

/// Runs the tasks until the first task in the list, which is the script, has ended. Advances the
/// clock by a millisecond whenever all tasks are waiting. Each task has its own waker, because the
/// network stack's task is woken whenever another task uses a socket.
fn run(tasks: Vec<Task<'_>>) {
    let mut tasks: Vec<_> =
        tasks.into_iter().map(|task| (task, Arc::new(Woken(AtomicBool::new(true))))).collect();
    for _ in 0..LONGEST_MS {
        while tasks.iter().any(|(_, woken)| woken.0.load(Ordering::Relaxed)) {
            for (number, (task, woken)) in tasks.iter_mut().enumerate() {
                let waker = Waker::from(woken.clone());
                if woken.0.swap(false, Ordering::Relaxed)
                    && task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
                {
                    assert_eq!(number, 0, "only the script ends");
                    return;
                }
            }
        }
        MockDriver::get().advance(Duration::from_millis(1));
    }
    panic!("the script does not end");
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns a reference that lives as long as the program.
pub(crate) fn leak<T>(value: T) -> &'static mut T {
    Box::leak(Box::new(value))
}

thread_local! {
    static EVENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Returns the events since the last call.
pub(crate) fn events() -> Vec<String> {
    EVENTS.take()
}

/// Returns settings that record an event for each hook call.
pub(crate) const fn config() -> Config {
    Config::new()
        .connected(|connection| event(format!("{} connected", connection.client.0)))
        .disconnected(|connection, reason| {
            event(format!("{} disconnected: {reason}", connection.client.0));
        })
        .refused(|_| event("refused".into()))
}

fn event(text: String) {
    EVENTS.with_borrow_mut(|events| events.push(text));
}
