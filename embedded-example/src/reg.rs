//! One memory-mapped register: the drivers' only way to the hardware.

/// A 32-bit register at a fixed address.
#[derive(Clone, Copy)]
pub struct Reg(*mut u32);

// SAFETY: a register is a place outside of memory, at the same address in every context. What an
// access to it does to the peripheral is for its driver to order; on the one core of this chip
// there is nothing that could tear one access.
unsafe impl Sync for Reg {}

impl Reg {
    /// The register at `address`.
    ///
    /// # Safety
    /// `address` is that of a 32-bit register of this chip, and no access to it changes memory.
    pub const unsafe fn new(address: usize) -> Reg {
        Reg(core::ptr::without_provenance_mut(address))
    }

    /// What is in it. Reading some registers changes them, a FIFO for one.
    pub fn read(&self) -> u32 {
        // SAFETY: promised to `new`: it is a register, aligned and always readable.
        unsafe { self.0.read_volatile() }
    }

    /// Puts `value` into it.
    pub fn write(&self, value: u32) {
        // SAFETY: promised to `new`: it is a register, and writing it changes no memory.
        unsafe { self.0.write_volatile(value) }
    }

    /// Sets bits that are already 1, too; only for registers that nothing else changes meanwhile.
    pub fn set(&self, bits: u32) {
        self.write(self.read() | bits);
    }
}

/// The peripherals' registers, by the names of the data sheet. Its `unsafe` is the promise that
/// these addresses are right.
macro_rules! registers {
    ($($(#[$doc:meta])* $name:ident = $address:expr;)*) => {
        $($(#[$doc])* static $name: $crate::reg::Reg =
            // SAFETY: an address from the LM3S6965's data sheet, of a 32-bit register that masters
            // no bus.
            unsafe { $crate::reg::Reg::new($address) };)*
    };
}
pub(crate) use registers;
