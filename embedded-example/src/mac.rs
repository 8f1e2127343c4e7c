//! An `embassy-net` driver for the Stellaris Ethernet MAC.
//!
//! The FIFO is 32 bits wide, and each frame is preceded by a halfword that contains the frame's
//! length. A buffer holds the halfword and then the frame, and is transferred four bytes at a time.

use core::task::Context;

use datakit_firmware::state;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;

use crate::reg::registers;

/// The MAC's interrupt.
pub const IRQ: u16 = 42;

/// The maximum length of a frame without its checksum: 1500 bytes plus the Ethernet header.
const FRAME_MAX: usize = 1514;
/// The size of a buffer for the length halfword, the frame and its checksum, rounded up to a whole
/// number of words.
const BUFFER: usize = (2 + FRAME_MAX + 4usize).next_multiple_of(4);

registers! {
    RCGC2 = 0x400F_E108;
    /// The register that shows which interrupts are pending. Writing a 1 to a bit acknowledges the
    /// corresponding interrupt.
    RIS = 0x4004_8000;
    /// The register that controls which interrupts are enabled.
    IM = 0x4004_8004;
    RCTL = 0x4004_8008;
    TCTL = 0x4004_800C;
    DATA = 0x4004_8010;
    IA0 = 0x4004_8014;
    IA1 = 0x4004_8018;
    /// The register that contains the number of frames in the receive FIFO.
    NP = 0x4004_8034;
    TR = 0x4004_8038;
}

/// The receive interrupt in [`RIS`] and [`IM`].
const RX: u32 = 1;

/// Wakes the network stack when the MAC has received a frame.
static WAKER: AtomicWaker = AtomicWaker::new();

/// The driver's buffers, 3 KiB in total.
pub struct Buffers {
    receive: [u8; BUFFER],
    transmit: [u8; BUFFER],
}

impl Buffers {
    /// Creates empty buffers.
    pub const fn new() -> Buffers {
        Buffers { receive: [0; BUFFER], transmit: [0; BUFFER] }
    }
}

/// The running Ethernet MAC.
pub struct Mac {
    buffers: &'static mut Buffers,
    /// The factory-assigned Ethernet address.
    address: [u8; 6],
}

impl Mac {
    /// Resets and enables the receiver, and enables the transmitter. The interrupt stays masked
    /// until the network stack requests a frame.
    pub fn start(buffers: &'static mut Buffers) -> Mac {
        RCGC2.set(1 << 28 | 1 << 30);
        IM.write(0);
        RCTL.write(0x10); // Receive FIFO reset.
        RCTL.write(0x1 | 0x2 | 0x8); // Enable, accept multicast, reject bad checksums.
        TCTL.write(0x1 | 0x2 | 0x4 | 0x8); // Enable, pad, append the checksum, full duplex.
        let [a, b, c, d] = IA0.read().to_le_bytes();
        let [e, f, ..] = IA1.read().to_le_bytes();
        let address = [a, b, c, d, e, f];
        state::MAC.set(address);
        Mac { buffers, address }
    }
}

/// Handles the interrupt: wakes the network stack and masks the interrupt, which stays pending
/// until the frame is read.
pub fn on_interrupt() {
    IM.write(0);
    WAKER.wake();
}

/// Returns whether there is a frame in the FIFO. If the FIFO is empty, the task of `cx` is woken
/// when a frame arrives.
///
/// The interrupt is acknowledged and enabled before the number of frames is checked again. If the
/// order were reversed, a frame that arrived between the two steps would stay in the FIFO until the
/// next frame arrived.
fn has_frame(cx: &Context<'_>) -> bool {
    if NP.read() > 0 {
        return true;
    }
    WAKER.register(cx.waker());
    RIS.write(RX);
    IM.write(RX);
    NP.read() > 0
}

/// Reads one frame from the FIFO and returns it as a slice of `buffer`. Returns `None` if the frame
/// was dropped because its length was invalid.
fn read_frame(buffer: &mut [u8; BUFFER]) -> Option<&mut [u8]> {
    let first = DATA.read().to_le_bytes();
    let [low, high, ..] = first;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let mut words = buffer.chunks_exact_mut(4);
    if let Some(word) = words.next() {
        word.copy_from_slice(&first);
    }
    // The number of words read must match the frame's length. Reading one word too many or too few
    // would misalign all subsequent frames.
    for _ in 1..length.div_ceil(4) {
        let word = DATA.read().to_le_bytes();
        if let Some(to) = words.next() {
            to.copy_from_slice(&word);
        }
    }
    buffer.get_mut(2..length.checked_sub(4)?)
}

impl Driver for Mac {
    type RxToken<'a> = RxFrame<'a>;
    type TxToken<'a> = TxBuffer<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(RxFrame<'_>, TxBuffer<'_>)> {
        let Buffers { receive, transmit } = &mut *self.buffers;
        if !has_frame(cx) {
            return None;
        }
        let Some(frame) = read_frame(receive) else {
            state::FRAMES_DROPPED.increment();
            // Ask the network stack to poll again, because another frame may follow.
            cx.waker().wake_by_ref();
            return None;
        };
        state::FRAMES_IN.increment();
        Some((RxFrame(frame), TxBuffer(transmit)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<TxBuffer<'_>> {
        // The buffer is always free, because the write to `TR` returns only after the frame has
        // been sent.
        Some(TxBuffer(&mut self.buffers.transmit))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        // The link is always reported as up, because QEMU does not emulate the PHY.
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME_MAX;
        // The burst size is 1 because there is only one transmit buffer.
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// A received frame.
pub struct RxFrame<'a>(&'a mut [u8]);

impl embassy_net_driver::RxToken for RxFrame<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// The buffer for an outgoing frame.
pub struct TxBuffer<'a>(&'a mut [u8; BUFFER]);

impl embassy_net_driver::TxToken for TxBuffer<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        // No frame is truncated, because the network stack respects `max_transmission_unit`.
        let length = length.min(FRAME_MAX);
        let (head, frame) = self.0.split_at_mut(2);
        let (frame, _) = frame.split_at_mut(length);
        let result = f(frame);
        // The MAC expects the payload length, excluding the 14-byte header.
        let payload = u16::try_from(length.saturating_sub(14)).unwrap_or(0);
        head.copy_from_slice(&payload.to_le_bytes());
        for word in self.0.chunks_exact(4).take((2 + length).div_ceil(4)) {
            if let Ok(word) = word.try_into() {
                DATA.write(u32::from_le_bytes(word));
            }
        }
        TR.write(1);
        state::FRAMES_OUT.increment();
        result
    }
}
