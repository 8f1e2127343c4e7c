//! A simulated NOR flash whose power can be cut.
#![allow(dead_code, reason = "each test program uses a part of this module")]

pub(crate) mod params;

use embedded_storage::nor_flash as blocking;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// A small random number generator (xorshift).
#[derive(Debug, Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number from 0 to `end` - 1.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// The damage that a power cut causes in the flash when it interrupts an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// An interrupted erase has erased the first bytes of the page. No word is partly written.
    Prefix,
    /// An interrupted erase has erased the last bytes of the page. No word is partly written.
    Suffix,
    /// An interrupted erase has erased some of the bits, and an interrupted write has written some
    /// of the bits of one word.
    Bits,
    /// An interrupted erase leaves random bytes behind, and an interrupted write leaves one random
    /// word behind.
    Random,
}

impl Damage {
    pub(crate) const ALL: [Damage; 4] =
        [Damage::Prefix, Damage::Suffix, Damage::Bits, Damage::Random];
}

/// A NOR flash with `PAGES` pages of `PAGE` bytes each. Each word of `WORD` bytes can be written
/// only once after each erase.
#[derive(Debug, Clone)]
pub(crate) struct Flash<const PAGES: usize, const PAGE: usize, const WORD: usize> {
    pub(crate) bytes: Vec<u8>,
    written: Vec<bool>,
    /// The number of steps before the power is cut. A step writes a word or erases a page.
    pub(crate) steps_left: Option<u32>,
    /// The number of steps so far.
    pub(crate) steps: u32,
    pub(crate) damage: Damage,
    /// Whether the power is cut during the next erase.
    pub(crate) cuts_erase: bool,
    pub(crate) random: Random,
    /// The number of times that each page has been erased.
    pub(crate) erases: [u32; PAGES],
}

impl<const PAGES: usize, const PAGE: usize, const WORD: usize> Flash<PAGES, PAGE, WORD> {
    pub(crate) fn new() -> Self {
        Flash {
            bytes: vec![0xff; PAGES * PAGE],
            written: vec![false; PAGES * PAGE / WORD],
            steps_left: None,
            steps: 0,
            damage: Damage::Prefix,
            cuts_erase: false,
            random: Random(1),
            erases: [0; PAGES],
        }
    }

    /// Returns whether the power is cut during the next step.
    fn cut(&mut self) -> bool {
        self.steps += 1;
        match &mut self.steps_left {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn check(&self, from: u32, length: usize, unit: usize) -> Result<(), NorFlashErrorKind> {
        let from = from as usize;
        if !from.is_multiple_of(unit) || !length.is_multiple_of(unit) {
            return Err(NorFlashErrorKind::NotAligned);
        }
        if from + length > self.bytes.len() { Err(NorFlashErrorKind::OutOfBounds) } else { Ok(()) }
    }

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.check(offset, bytes.len(), WORD)?;
        if self.steps_left == Some(0) {
            return Err(NorFlashErrorKind::Other);
        }
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.check(from, (to - from) as usize, PAGE)?;
        for page in from as usize / PAGE..to as usize / PAGE {
            let cut = self.cut() || self.cuts_erase;
            self.written[page * PAGE / WORD..][..PAGE / WORD].fill(false);
            let bytes = &mut self.bytes[page * PAGE..][..PAGE];
            if cut {
                let boundary = self.random.below((PAGE / WORD) as u64) as usize * WORD;
                match self.damage {
                    Damage::Prefix => bytes[..boundary].fill(0xff),
                    Damage::Suffix => bytes[boundary..].fill(0xff),
                    Damage::Bits => bytes.iter_mut().for_each(|b| *b |= self.random.next() as u8),
                    Damage::Random => bytes.iter_mut().for_each(|b| *b = self.random.next() as u8),
                }
                return Err(NorFlashErrorKind::Other);
            }
            bytes.fill(0xff);
            self.erases[page] += 1;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.check(offset, bytes.len(), WORD)?;
        let alignment = WORD.min(4);
        assert!(bytes.as_ptr().addr().is_multiple_of(alignment), "the buffer is not aligned");
        for (at, word) in (offset as usize..).step_by(WORD).zip(bytes.chunks(WORD)) {
            let cut = self.cut();
            assert!(!self.written[at / WORD], "the word at {at} is written twice");
            let to = &mut self.bytes[at..][..WORD];
            match self.damage {
                _ if !cut => to.iter_mut().zip(word).for_each(|(to, from)| *to &= from),
                Damage::Prefix | Damage::Suffix => {}
                Damage::Bits => to
                    .iter_mut()
                    .zip(word)
                    .for_each(|(to, from)| *to &= from | self.random.next() as u8),
                Damage::Random => to.iter_mut().for_each(|to| *to = self.random.next() as u8),
            }
            // If the write of a word was interrupted early, the word may still read as erased. A
            // flash whose words are single bytes has no error-correcting code, so writing 0xff has
            // no effect.
            let is_erased = to.iter().all(|byte| *byte == 0xff);
            self.written[at / WORD] = !is_erased || (!cut && WORD > 1);
            if cut {
                return Err(NorFlashErrorKind::Other);
            }
        }
        Ok(())
    }
}

impl<const PAGES: usize, const PAGE: usize, const WORD: usize> ErrorType
    for Flash<PAGES, PAGE, WORD>
{
    type Error = NorFlashErrorKind;
}

impl<const PAGES: usize, const PAGE: usize, const WORD: usize> ReadNorFlash
    for Flash<PAGES, PAGE, WORD>
{
    const READ_SIZE: usize = WORD;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        Flash::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const PAGES: usize, const PAGE: usize, const WORD: usize> NorFlash
    for Flash<PAGES, PAGE, WORD>
{
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        Flash::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        Flash::write(self, offset, bytes)
    }
}

impl<const PAGES: usize, const PAGE: usize, const WORD: usize> blocking::ReadNorFlash
    for Flash<PAGES, PAGE, WORD>
{
    const READ_SIZE: usize = WORD;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        Flash::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const PAGES: usize, const PAGE: usize, const WORD: usize> blocking::NorFlash
    for Flash<PAGES, PAGE, WORD>
{
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        Flash::erase(self, from, to)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        Flash::write(self, offset, bytes)
    }
}
