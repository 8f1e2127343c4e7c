//! Stubs for the state that the firmware's drivers write. The stubs ignore every value.

/// A stub that ignores all writes.
pub struct Ignored;

/// Received Ethernet frames.
pub static FRAMES_IN: Ignored = Ignored;
/// Transmitted Ethernet frames.
pub static FRAMES_OUT: Ignored = Ignored;
/// Ethernet frames that were received but dropped.
pub static FRAMES_DROPPED: Ignored = Ignored;
/// The Ethernet address.
pub static MAC: Ignored = Ignored;

impl Ignored {
    /// Ignores an increment.
    pub fn increment(&self) {}

    /// Ignores a value.
    pub fn set(&self, _: [u8; 6]) {}
}
