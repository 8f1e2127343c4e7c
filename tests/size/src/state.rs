//! Stubs for the state updated by the firmware's drivers. The stubs ignore all updates.

/// A stub that ignores all writes.
pub struct Ignored;

/// The number of received Ethernet frames.
pub static FRAMES_IN: Ignored = Ignored;
/// The number of transmitted Ethernet frames.
pub static FRAMES_OUT: Ignored = Ignored;
/// The number of received Ethernet frames that were dropped.
pub static FRAMES_DROPPED: Ignored = Ignored;
/// The Ethernet address.
pub static MAC: Ignored = Ignored;

impl Ignored {
    /// Ignores an increment.
    pub fn increment(&self) {}

    /// Ignores a value.
    pub fn set(&self, _: [u8; 6]) {}
}
