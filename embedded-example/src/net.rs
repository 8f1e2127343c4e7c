//! The network stack over the MAC: one address, [`SOCKETS`] TCP sockets.

use datakit_firmware::facts;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use static_cell::{ConstStaticCell, StaticCell};

use crate::mac::{Buffers, Mac};

/// One more than the board serves at once: a client that comes back at once finds a socket that
/// listens.
pub const SOCKETS: usize = 4;

/// QEMU itself.
const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// Starts the driver and a stack over it. Called once. `seed` picks the first port and sequence
/// numbers.
pub fn start(seed: u64) -> (Stack<'static>, Runner<'static, Mac>) {
    // In place, not moved: these would cost their size in stack.
    static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let mac = Mac::start(BUFFERS.take());
    let [a, b, c, d] = facts::ADDRESS;
    let address = Ipv4Cidr::new(Ipv4Address::new(a, b, c, d), facts::PREFIX);
    let config =
        StaticConfigV4 { address, gateway: Some(GATEWAY), dns_servers: Default::default() };
    embassy_net::new(
        mac,
        Config::ipv4_static(config),
        RESOURCES.init_with(StackResources::new),
        seed,
    )
}
