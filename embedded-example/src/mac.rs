//! The Stellaris Ethernet MAC as an `embassy-net` driver.
//!
//! The FIFO is 32 bits wide and the first half word of a frame is its length, so a buffer here is
//! that half word followed by the frame, moved four bytes at a time.

use core::task::Context;

use datakit_firmware::facts;
use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState};
use embassy_sync::waitqueue::AtomicWaker;

use crate::reg::registers;

/// The MAC's interrupt.
pub const IRQ: u16 = 42;

/// The longest frame without its checksum: 1500 bytes and the Ethernet header.
const FRAME: usize = 1514;
/// A length half word, a frame, its checksum, in whole words.
const BUFFER: usize = (2 + FRAME + 4usize).next_multiple_of(4);

registers! {
    RCGC2 = 0x400F_E108;
    /// Interrupts that are raised; writing 1 acknowledges.
    RIS = 0x4004_8000;
    /// Interrupts that are let through.
    IM = 0x4004_8004;
    RCTL = 0x4004_8008;
    TCTL = 0x4004_800C;
    DATA = 0x4004_8010;
    IA0 = 0x4004_8014;
    IA1 = 0x4004_8018;
    /// Frames that wait to be read.
    NP = 0x4004_8034;
    TR = 0x4004_8038;
}

/// [`RIS`] and [`IM`]: a frame came in.
const RX: u32 = 1;

/// Wakes the network stack when the MAC has a frame.
static BELL: AtomicWaker = AtomicWaker::new();

/// The memory that the driver moves frames through: 3 KiB.
pub struct Buffers {
    receive: [u8; BUFFER],
    transmit: [u8; BUFFER],
}

impl Buffers {
    /// Nothing received, nothing to send.
    pub const fn new() -> Buffers {
        Buffers { receive: [0; BUFFER], transmit: [0; BUFFER] }
    }
}

/// The MAC, running.
pub struct Mac {
    buffers: &'static mut Buffers,
    /// What the board was made with.
    address: [u8; 6],
}

impl Mac {
    /// Resets the receiver and lets frames in. The interrupt stays masked until the stack first
    /// asks for a frame.
    pub fn start(buffers: &'static mut Buffers) -> Mac {
        RCGC2.set(1 << 28 | 1 << 30);
        IM.write(0);
        RCTL.write(0x10); // Receive FIFO reset.
        RCTL.write(0x1 | 0x2 | 0x8); // Receive, multicast too, but nothing with a bad checksum.
        TCTL.write(0x1 | 0x2 | 0x4 | 0x8); // Transmit, padded, with a checksum, full duplex.
        let [a, b, c, d] = IA0.read().to_le_bytes();
        let [e, f, ..] = IA1.read().to_le_bytes();
        let address = [a, b, c, d, e, f];
        facts::MAC.set(address);
        Mac { buffers, address }
    }
}

/// The interrupt: masks it, since a frame that nobody has read keeps it raised, and wakes the
/// stack.
pub fn on_interrupt() {
    IM.write(0);
    BELL.wake();
}

/// Whether a frame waits. If not, `cx` is woken when one comes.
///
/// The raised bit says "some frame came", not how many. So it is acknowledged and let through
/// first, and the count is looked at once more: a frame that came in between would otherwise sit
/// there until the next one.
fn frame_waits(cx: &Context<'_>) -> bool {
    if NP.read() > 0 {
        return true;
    }
    BELL.register(cx.waker());
    RIS.write(RX);
    IM.write(RX);
    NP.read() > 0
}

/// Moves one frame out of the FIFO: the range of it in `buffer`. `None`: dropped, since it was
/// longer than any frame may be.
fn pull(buffer: &mut [u8; BUFFER]) -> Option<&mut [u8]> {
    let first = DATA.read().to_le_bytes();
    let [low, high, ..] = first;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let mut words = buffer.chunks_exact_mut(4);
    if let Some(word) = words.next() {
        word.copy_from_slice(&first);
    }
    // Exactly as many words as the frame has: one too few or too many, and every later frame starts
    // at the wrong place.
    for _ in 1..length.div_ceil(4) {
        let word = DATA.read().to_le_bytes();
        if let Some(to) = words.next() {
            to.copy_from_slice(&word);
        }
    }
    buffer.get_mut(2..length.checked_sub(4)?)
}

impl Driver for Mac {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Transmit<'a>;

    fn receive(&mut self, cx: &mut Context<'_>) -> Option<(Received<'_>, Transmit<'_>)> {
        let Buffers { receive, transmit } = &mut *self.buffers;
        if !frame_waits(cx) {
            return None;
        }
        let Some(frame) = pull(receive) else {
            facts::FRAMES_DROPPED.add();
            // There may be more behind it, and only the stack comes back to ask.
            cx.waker().wake_by_ref();
            return None;
        };
        facts::FRAMES_IN.add();
        Some((Received(frame), Transmit(transmit)))
    }

    fn transmit(&mut self, _: &mut Context<'_>) -> Option<Transmit<'_>> {
        // Sending is done when `TR` has been written: there is always room.
        Some(Transmit(&mut self.buffers.transmit))
    }

    fn link_state(&mut self, _: &mut Context<'_>) -> LinkState {
        // QEMU has no PHY to ask.
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = FRAME;
        // Not answered before the next is read: there is one transmit buffer.
        capabilities.max_burst_size = Some(1);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.address)
    }
}

/// A frame that came in.
pub struct Received<'a>(&'a mut [u8]);

impl embassy_net_driver::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a frame to go out.
pub struct Transmit<'a>(&'a mut [u8; BUFFER]);

impl embassy_net_driver::TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        // Bounded by `max_transmission_unit`, which the stack keeps to.
        let length = length.min(FRAME);
        let (head, frame) = self.0.split_at_mut(2);
        let (frame, _) = frame.split_at_mut(length);
        let result = f(frame);
        // The length of the payload, without the 14 bytes of header.
        let payload = u16::try_from(length.saturating_sub(14)).unwrap_or(0);
        head.copy_from_slice(&payload.to_le_bytes());
        for word in self.0.chunks_exact(4).take((2 + length).div_ceil(4)) {
            if let Ok(word) = word.try_into() {
                DATA.write(u32::from_le_bytes(word));
            }
        }
        TR.write(1);
        facts::FRAMES_OUT.add();
        result
    }
}
