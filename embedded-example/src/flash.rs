//! A NOR flash whose content is a file on the host. The board accesses the file through
//! semihosting, because QEMU does not emulate writable flash.
//!
//! The flash is the `flash.bin` file in the directory where QEMU was started. If the file does not
//! exist, or if neither QEMU nor a debugger handles semihosting calls, every access fails.

use datakit_persist::{Blocking, Region};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use semihosting::fs::{File, OpenOptions};
use semihosting::io::{Read, Seek, SeekFrom, Write};

use crate::fault;

const PAGE: usize = 1024;
const PAGES: usize = datakit_firmware::saving::BLOCKS as usize;

/// The flash region that contains the parameters. The region covers the whole flash.
pub const REGION: Region =
    Region::new::<Blocking<FileFlash>>(0..(PAGES * PAGE) as u32, PAGE as u32);

/// A flash with four 1 KiB pages.
pub struct FileFlash {
    file: Option<File>,
}

impl FileFlash {
    /// Opens the file.
    pub fn open() -> FileFlash {
        let open = || OpenOptions::new().read(true).write(true).open(c"flash.bin");
        FileFlash { file: fault::try_semihosting(open).ok() }
    }

    /// Returns the file, after moving its position to `offset`.
    fn at(&mut self, offset: u32) -> Result<&mut File, NorFlashErrorKind> {
        let file = self.file.as_mut().ok_or(NorFlashErrorKind::Other)?;
        file.seek(SeekFrom::Start(offset.into())).map_err(|_| NorFlashErrorKind::Other)?;
        Ok(file)
    }
}

impl ErrorType for FileFlash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for FileFlash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let file = self.at(offset)?;
        // Bytes beyond the end of the file are treated as erased, so an empty file represents an
        // erased flash.
        bytes.fill(0xff);
        let mut rest = bytes;
        while !rest.is_empty() {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
                Err(_) => return Err(NorFlashErrorKind::Other),
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        PAGES * PAGE
    }
}

impl NorFlash for FileFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let file = self.at(from)?;
        for _ in 0..(to - from) / 64 {
            file.write_all(&[0xff; 64]).map_err(|_| NorFlashErrorKind::Other)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        self.at(offset)?.write_all(bytes).map_err(|_| NorFlashErrorKind::Other)
    }
}
