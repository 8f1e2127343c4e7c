//! What the driver has to tell: nobody asks.

/// Takes what it is told.
pub struct Nothing;

/// Frames that came in.
pub static FRAMES_IN: Nothing = Nothing;
/// Frames that went out.
pub static FRAMES_OUT: Nothing = Nothing;
/// Frames that were dropped.
pub static FRAMES_DROPPED: Nothing = Nothing;
/// The Ethernet address.
pub static MAC: Nothing = Nothing;

impl Nothing {
    /// One more.
    pub fn add(&self) {}

    /// Another value.
    pub fn set(&self, _: [u8; 6]) {}
}
