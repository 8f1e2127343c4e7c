//! Saves and loads parameter values.

use core::fmt;
use core::ops::Range;

use datakit_core::params::{ParamSet, StoreAction, StoreRequest};
use embedded_storage_async::nor_flash::NorFlash;

use crate::Error;
use crate::backend::Backend;
use crate::image::{Image, check_size};
use crate::key::{has_default, is_known, is_saved, path_key, type_tag};
use crate::load::{Rejected, load_image};
use crate::log::Log;
use crate::record::{Header, RecordKind};
use crate::region::{Region, word};
#[cfg(feature = "sequential-storage")]
use crate::sequential::SequentialStorage;

/// How a store treats the stored values of parameters that do not exist in the firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Keeps the values, so that another version of the firmware can load them.
    Keep,
    /// Never loads the values. They are removed from flash by the next save that writes to it.
    Drop,
}

/// A store that saves the values of a parameter set to flash and loads them after a restart.
///
/// The store keeps a copy of all stored values in a buffer of `BUFFER` bytes. A value takes up 12
/// bytes plus the length of its text, rounded up to a multiple of the word size. The word size is
/// the larger of the read size and the write size of the flash. A parameter that has its default
/// value takes up no space.
///
/// `B` is the format of the values in flash, for example a [`Log`].
pub struct Store<B, const BUFFER: usize> {
    backend: B,
    set: &'static ParamSet,
    unknown: Unknown,
    /// Whether `image` holds the stored values.
    mounted: bool,
    /// Whether the last load failed. Saves are then refused, because they would replace values that
    /// have not been loaded.
    load_failed: bool,
    image: Image<BUFFER>,
}

impl<F: NorFlash, const BUFFER: usize> Store<Log<F>, BUFFER> {
    /// Creates a store for the parameters in `set`. The flash is not accessed until the first load
    /// or save.
    ///
    /// # Panics
    /// Panics if the buffer is smaller than one flash word plus 12 bytes or smaller than 16 bytes
    /// (both rounded up to a multiple of the word size), or is 64 KiB or larger.
    /// Also panics if a block is too small for the buffer plus 16 bytes (rounded up to a multiple
    /// of the word size). In a `const`, the panic is a compile error.
    #[must_use]
    pub const fn new(flash: F, region: Region, set: &'static ParamSet) -> Self {
        check_size(BUFFER, word::<F>());
        assert!(BUFFER <= Log::<F>::capacity(&region), "the buffer fits into a block");
        Store::with_backend(Log::new(flash, region), set, word::<F>())
    }
}

#[cfg(feature = "sequential-storage")]
impl<F: NorFlash, const BUFFER: usize> Store<SequentialStorage<F>, BUFFER> {
    /// Creates a store that keeps its values in a map of the `sequential-storage` crate. The
    /// differences from [`Store::new`] are listed in the crate's description. The blocks of
    /// `region` have no effect.
    ///
    /// # Panics
    /// Panics if the buffer is too small or too large for [`Store::new`], or if a page of the flash
    /// is too small for one item. In a `const`, the panic is a compile error.
    #[must_use]
    pub const fn with_sequential_storage(flash: F, region: Region, set: &'static ParamSet) -> Self {
        check_size(BUFFER, word::<F>());
        Store::with_backend(SequentialStorage::new(flash, region), set, word::<F>())
    }
}

impl<B: Backend, const BUFFER: usize> Store<B, BUFFER> {
    /// Creates a store whose buffer is divided into words of `word` bytes.
    pub(crate) const fn with_backend(backend: B, set: &'static ParamSet, word: usize) -> Self {
        let image = Image::new(word);
        Store { backend, set, unknown: Unknown::Keep, mounted: false, load_failed: false, image }
    }

    /// Sets how the store treats the stored values of parameters that do not exist. The default is
    /// [`Unknown::Keep`].
    #[must_use]
    pub const fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = unknown;
        self
    }

    /// Sets the parameters to their stored values and returns the number of loaded values. A
    /// parameter without a stored value is set to its default.
    ///
    /// If a value is outside its parameter's limits or was stored for a parameter of a different
    /// type, it is passed to `rejected` and the parameter is set to its default. After all values
    /// have been set, the parameters' check functions are called. If a check function rejects a
    /// value, the value is also passed to `rejected`, and the parameter is set to its default. A
    /// parameter without a default keeps its value instead.
    ///
    /// All values are set in one poll, so no other task on the same executor runs while only some
    /// of the values are set.
    ///
    /// # Errors
    /// Returns [`Error::Flash`] if the flash cannot be read, and [`Error::Full`] if the stored values
    /// do not fit into the buffer. In these cases, no values have been set, and saves are refused
    /// until a load or an erase succeeds.
    ///
    /// # Cancel safety
    /// If the future is dropped before it is ready, no values have been set.
    pub async fn load(&mut self, rejected: &mut dyn FnMut(&Rejected<'_>)) -> Result<u16, Error> {
        self.carry_out(&StoreRequest::new(StoreAction::Load), rejected).await
    }

    /// Saves the values of the parameters with these ordinals, and returns the number of values
    /// that differ from the stored ones. Load the stored values first, because this method replaces
    /// them. If none differ, nothing is written. Read-only and volatile
    /// parameters are not saved.
    ///
    /// A [`Log`] stores the values as one batch. If the power fails during the save, either all or
    /// none of the values are stored. All values are read in one poll, so no other task on the same
    /// executor can change a value between two reads. For a parameter that has its default value,
    /// the store records only that fact. Therefore, a firmware update that changes the default also
    /// changes the value.
    ///
    /// # Errors
    /// If an error is returned, a [`Log`] keeps the previously stored values.
    /// - Returns [`Error::Flash`] if the flash reports an error.
    /// - Returns [`Error::Full`] if the values of all parameters do not fit into the buffer.
    /// - Returns [`Error::NotLoaded`] if the last load failed.
    ///
    /// # Cancel safety
    /// If the future is dropped, a [`Log`] has stored either all or none of the values.
    pub async fn save(&mut self, ordinals: Range<u16>) -> Result<u16, Error> {
        self.carry_out(&StoreRequest::new(StoreAction::Save(ordinals)), &mut |_| ()).await
    }

    /// Erases all stored values and the whole flash region, and returns the number of erased
    /// values. The parameters keep their current values. If the power fails during the erase of a
    /// [`Log`], either all of the values are still stored or none are.
    ///
    /// # Errors
    /// Returns [`Error::Flash`] if the flash reports an error.
    ///
    /// # Cancel safety
    /// If the future is dropped, a [`Log`] still stores either all or none of the values. Values that
    /// are no longer stored may remain in flash, but they are never loaded.
    pub async fn erase(&mut self) -> Result<u16, Error> {
        self.carry_out(&StoreRequest::new(StoreAction::Erase), &mut |_| ()).await
    }

    /// Returns how many times a block of the flash has been erased since the flash was first used.
    /// A [`Log`] stores the number in flash, and this method returns 0 until the first request has
    /// read that number. Other formats count only the erases since the store was created. An erase is not counted if a power failure interrupts it.
    pub fn erases(&self) -> u32 {
        self.backend.erases()
    }

    /// Returns whether blocks have been erased and no values are stored.
    pub(crate) fn is_erased(&self) -> bool {
        self.erases() != 0 && self.image.all().is_empty()
    }

    /// Returns the number of blocks.
    pub(crate) fn blocks(&self) -> u32 {
        self.backend.blocks()
    }

    /// Carries out a request. Returns the number of values that have been loaded, saved or erased.
    /// All requests share this code, because each additional state machine would take up flash.
    pub(crate) async fn carry_out(
        &mut self,
        request: &StoreRequest,
        rejected: &mut dyn FnMut(&Rejected<'_>),
    ) -> Result<u16, Error> {
        let action = request.action();
        let is_save = matches!(action, StoreAction::Save(_));
        self.load_failed |= *action == StoreAction::Load;
        if !self.mounted {
            let mounted = self.backend.mount(&mut self.image).await;
            if let Err(error) = mounted
                && !(B::can_erase(error) && matches!(action, StoreAction::Erase))
            {
                return Err(error);
            }
            if self.unknown == Unknown::Drop {
                let used = self.image.all().len();
                B::remove(&mut self.image, &mut |header| !is_known(self.set, header.key));
                if self.image.all().len() != used {
                    // The buffer may be too small for both the dropped values and the new ones.
                    self.backend.require_rewrite();
                }
            }
        }
        if is_save && self.load_failed {
            return Err(Error::NotLoaded);
        }
        // If the request fails or the future is dropped, the image may differ from the flash.
        self.mounted = false;
        let (mut appends, mut rewrites) = (false, 0);
        let count = match action {
            StoreAction::Load => load_image(self.set, &self.image, request.client(), rejected),
            StoreAction::Save(ordinals) => {
                let count = self.update(ordinals)?;
                if count != 0 {
                    self.image.mark_last();
                    appends = self.backend.fits(self.image.new_records().len());
                    rewrites = u32::from(!appends);
                }
                count
            }
            StoreAction::Erase => {
                // In a log, the first empty block that is written invalidates the stored values, and
                // the following ones overwrite them.
                let mut count = 0;
                B::remove(&mut self.image, &mut |_| {
                    count += 1;
                    true
                });
                rewrites = if B::REPLACES_REMOVED { 1 } else { self.blocks() };
                count
            }
        };
        if appends {
            self.backend.append(&mut self.image).await?;
        }
        for _ in 0..rewrites {
            self.backend.rewrite(&mut self.image).await?;
        }
        // If nothing has been written, the records of removed values must be written later.
        if !B::REPLACES_REMOVED || appends || rewrites != 0 {
            self.image.set_stored();
        }
        self.mounted = true;
        self.load_failed = false;
        Ok(count)
    }

    /// Replaces the image's records for parameters that have changed, and returns how many were
    /// replaced.
    fn update(&mut self, ordinals: &Range<u16>) -> Result<u16, Error> {
        let (mut count, mut is_full) = (0, false);
        let _ = self.set.visit(|ordinal, path, parameter| {
            if ordinals.contains(&ordinal) && is_saved(parameter) {
                let is_default = has_default(parameter) && parameter.is_default();
                let kind = if is_default { RecordKind::Default } else { RecordKind::Value };
                let (key, tag) = (path_key(path), type_tag(parameter));
                let header = Header { kind, last: false, tag, length: 0, key };
                let replaced = self.image.replace(header, &mut |out| parameter.render(out));
                is_full |= replaced.is_none();
                count += u16::from(replaced == Some(true));
            }
            Ok(())
        });
        if is_full { Err(Error::Full { buffer: BUFFER as u16 }) } else { Ok(count) }
    }
}

impl<B, const BUFFER: usize> fmt::Debug for Store<B, BUFFER> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("unknown", &self.unknown).finish_non_exhaustive()
    }
}
