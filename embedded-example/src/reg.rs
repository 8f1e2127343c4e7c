//! Memory-mapped registers, which all drivers use to access the hardware.

/// A 32-bit register at a fixed address.
#[derive(Clone, Copy)]
pub struct Reg(*mut u32);

// SAFETY: a register is not memory and has the same address in every context. Accesses cannot tear,
// because the chip has a single core. Each driver is responsible for ordering its accesses.
unsafe impl Sync for Reg {}

impl Reg {
    /// Creates the register at `address`.
    ///
    /// # Safety
    /// `address` must be the address of one of this chip's 32-bit registers. Accesses to the
    /// register must not change memory.
    pub const unsafe fn new(address: usize) -> Reg {
        Reg(core::ptr::without_provenance_mut(address))
    }

    /// Reads the register. Reading some registers, such as the data register of a FIFO, has side
    /// effects.
    pub fn read(&self) -> u32 {
        // SAFETY: the caller of `new` guarantees that this is the address of a register. Every
        // register is aligned and readable.
        unsafe { self.0.read_volatile() }
    }

    /// Writes the register.
    pub fn write(&self, value: u32) {
        // SAFETY: the caller of `new` guarantees that this is the address of a register and that
        // writing to the register does not change memory.
        unsafe { self.0.write_volatile(value) }
    }

    /// Sets `bits` and leaves the other bits unchanged. The read and the write are separate
    /// accesses, so use this method only for registers that no other code changes at the same time.
    pub fn set(&self, bits: u32) {
        self.write(self.read() | bits);
    }
}

/// Defines registers with the names used in the data sheet. The caller guarantees that the
/// addresses are correct.
macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $address:expr;)*) => {
        $($(#[$doc])* static $name: $crate::reg::Reg =
            // SAFETY: the LM3S6965 data sheet lists a 32-bit register at this address. None of
            // these registers starts a DMA transfer.
            unsafe { $crate::reg::Reg::new($address) };)*
    };
}
pub(crate) use registers;
