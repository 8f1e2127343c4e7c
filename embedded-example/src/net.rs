//! The network stack, which uses the MAC driver and has one address.

use datakit_firmware::state;
use embassy_net::{Config, Ipv4Address, Ipv4Cidr, Runner, Stack, StackResources, StaticConfigV4};
use static_cell::{ConstStaticCell, StaticCell};

use crate::mac::{Buffers, Mac};

/// The number of TCP sockets. There is one more socket than there are clients, so that one socket
/// is always listening.
pub const SOCKETS: usize = state::CLIENTS + 1;

/// The address of the host in QEMU's user network.
const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);

/// Starts the driver and the network stack. Call this function only once. `seed` determines the
/// initial port and sequence numbers.
pub fn start(seed: u64) -> (Stack<'static>, Runner<'static, Mac>) {
    // The buffers are constructed in place, because moving them would take up as much stack space
    // as the buffers themselves.
    static BUFFERS: ConstStaticCell<Buffers> = ConstStaticCell::new(Buffers::new());
    static RESOURCES: StaticCell<StackResources<SOCKETS>> = StaticCell::new();
    let mac = Mac::start(BUFFERS.take());
    let [a, b, c, d] = state::ADDRESS;
    let address = Ipv4Cidr::new(Ipv4Address::new(a, b, c, d), state::PREFIX);
    let config =
        StaticConfigV4 { address, gateway: Some(GATEWAY), dns_servers: Default::default() };
    embassy_net::new(
        mac,
        Config::ipv4_static(config),
        RESOURCES.init_with(StackResources::new),
        seed,
    )
}
