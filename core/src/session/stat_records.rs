//! Handlers that send 9P2000 and 9P2000.u stat records: Tstat, and Tread of a directory.

use core::fmt::Write;
use core::ops::ControlFlow;

use super::dispatch::{Call, check_end, fields};
use super::fids::{Cookie, FidState};
use super::open_files::{read_data, read_error};
use super::reply::{COUNTED_HEADER, finish_counted, message_too_large};
use super::{FidTable, Session};
use crate::Decimal;
use crate::vfs::{Attr, Error, FidRecord, FileType, Result, Time, TreeKind, Vfs};
use crate::wire::{self, DMDEVICE, DMDIR, DMNAMEDPIPE, DMSETGID, DMSETUID, DMSETVTX, DMSOCKET};
use crate::wire::{DMSYMLINK, Dialect, Stat, StatUnix, Str, Tmessage as T};

/// The bits for set-user-ID and set-group-ID in the mode of a stat record.
pub(super) const DMSETID: u32 = DMSETUID | DMSETGID;

const ENOENT: u16 = 2;
const ESTALE: u16 = 116;

/// The combined length of the numeric IDs of the owner, group and last writer. In a 9P2000.u stat
/// record, the numeric IDs follow the `extension` field.
const NUMERIC_IDS: usize = 12;
/// The maximum length of a device's `extension` field, which consists of a letter and the major and
/// minor numbers.
const DEVICE_MAX: usize = 24;

/// The result of adding a directory entry to a listing.
pub(super) enum ListedRecord {
    /// The record was written. The value is its length in bytes.
    Written(usize),
    /// The record does not fit into the buffer.
    TooLarge,
    /// The entry was removed after the directory was opened.
    Removed,
}

/// Fills in the `extension` field of a record if the file is a symbolic link or a device. An
/// immutable tree contains no symbolic links and no devices. This code is a macro rather than a
/// function, so that the `Future` for an immutable tree does not include the code that awaits a
/// link's target.
macro_rules! extend {
    ($session:ident, $inode:expr, $attr:expr, $free:expr, $len:expr) => {
        match ($attr).id.kind {
            FileType::File | FileType::Dir => Ok($len),
            _ if V::TreeKind::IMMUTABLE || $session.current_dialect() != Dialect::Unix => Ok($len),
            _ => V::TreeKind::handle(|| $session.extend($inode, $attr, $free, $len)).await,
        }
    };
}

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Answers a Tstat (stat(5)).
    pub(super) async fn stat(&self, call: &mut Call<'_>) -> Result<()> {
        let fid = fields!(self, call, TSTAT, Stat { fid });
        let Call { buf, tag, .. } = call;
        let tag = *tag;
        let inode = self.inode(fid)?;
        let room = buf.get_mut(COUNTED_HEADER..).unwrap_or_default();
        // Leave the `extension` field empty if the link's target does not fit into a message. If
        // Tstat returned an error, clients could not remove the link, because they stat a link
        // before removing it.
        let n = self.record(&inode, room, true).await?;
        let n = n.ok_or_else(|| message_too_large(room.len()))?;
        finish_counted(buf, wire::RSTAT, tag, n, n)
    }

    /// Writes a directory entry's record to the start of `free`. If `first` is `true` and the
    /// `extension` field does not fit, the field is left empty, because the next read would not
    /// have room for it either.
    ///
    /// An error for one entry does not cause the whole listing to fail. The entry is listed without
    /// attributes, and a Tstat for the entry returns the error.
    pub(super) async fn listed_record(
        &self,
        inode: &V::Inode,
        free: &mut [u8],
        first: bool,
    ) -> Result<ListedRecord> {
        let record = match self.record(inode, free, first).await {
            Err(error) if V::TreeKind::IMMUTABLE || matches!(error.errno(), ENOENT | ESTALE) => {
                return Ok(ListedRecord::Removed);
            }
            Err(_) => self.fill_record(inode, &Attr::new(self.vfs.id(inode), 0, 0), free),
            Ok(record) => record,
        };
        Ok(record.map_or(ListedRecord::TooLarge, ListedRecord::Written))
    }

    /// Writes the record of an inode to the start of `free`. Returns the length of the record, or
    /// `None` if the record does not fit. If `always` is `true` and only the `extension` field does
    /// not fit, the field is left empty.
    async fn record(
        &self,
        inode: &V::Inode,
        free: &mut [u8],
        always: bool,
    ) -> Result<Option<usize>> {
        let attr = self.vfs.stat(inode).await?;
        let Some(n) = self.fill_record(inode, &attr, free) else { return Ok(None) };
        match extend!(self, inode, &attr, free, n) {
            Err(Error::Range) => Ok(always.then_some(n)),
            extended => extended.map(Some),
        }
    }

    /// Writes the record of an inode, with an empty `extension` field, to the start of `free`.
    /// Returns the length of the record, or `None` if the record does not fit.
    fn fill_record(&self, inode: &V::Inode, attr: &Attr, free: &mut [u8]) -> Option<usize> {
        let mut owners = Owners::default();
        let mut made = Err(wire::Full);
        self.vfs.name(inode, &mut |name| {
            made = self.fields(attr, name, &mut owners).encode_into(free, self.current_dialect());
        });
        made.ok()
    }

    /// Fills in the `extension` field of the 9P2000.u record in the first `len` bytes of `free`.
    /// The field holds the target of a symbolic link, or a device's type and its major and minor
    /// numbers. Returns the new length of the record.
    ///
    /// # Errors
    /// Returns [`Error::Range`] if the contents of the field do not fit. If an error is returned,
    /// the record is unchanged.
    async fn extend(
        &self,
        inode: &V::Inode,
        attr: &Attr,
        free: &mut [u8],
        len: usize,
    ) -> Result<usize> {
        let at = len.saturating_sub(NUMERIC_IDS);
        let Some(&numbers) = free.get(at..).and_then(<[u8]>::first_chunk::<NUMERIC_IDS>) else {
            return Err(Error::Range);
        };
        let end = free.len().min(usize::from(u16::MAX)).saturating_sub(NUMERIC_IDS).max(at);
        let room = free.get_mut(at..end).unwrap_or_default();
        let extended = match attr.id.kind {
            FileType::Symlink => self.vfs.readlink(inode, room).await,
            FileType::Char { major, minor } => device(room, 'c', major, minor),
            FileType::Block { major, minor } => device(room, 'b', major, minor),
            _ => Ok(0),
        };
        let added = *extended.as_ref().unwrap_or(&0);
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = free.get_mut(at..at.saturating_add(bytes.len())) {
                to.copy_from_slice(bytes);
            }
        };
        // Both lengths are less than 64 KiB, so the cast does not truncate them.
        let length = |bytes: usize| (bytes as u16).to_le_bytes();
        put(at.saturating_add(added), &numbers);
        put(at.saturating_sub(2), &length(added));
        put(0, &length(len.saturating_add(added).saturating_sub(2)));
        extended.map(|added| len.saturating_add(added))
    }

    fn fields<'r>(&self, attr: &Attr, name: &'r [u8], owners: &'r mut Owners) -> Stat<'r> {
        // Only 9P2000.u encodes these fields.
        let unix = Some(StatUnix {
            extension: Str(b""),
            n_uid: owner_id::<V>(attr.uid),
            n_gid: owner_id::<V>(attr.gid),
            n_muid: 0,
        });
        Stat {
            kind: 0,
            dev: 0,
            qid: self.qid_of(attr.id),
            mode: mode::<V>(attr),
            atime: seconds::<V>(attr.atime),
            mtime: seconds::<V>(attr.mtime),
            length: attr.size,
            name: Str(name),
            uid: owner::<V>(attr.uid, &mut owners.uid),
            gid: owner::<V>(attr.gid, &mut owners.gid),
            muid: Str(b"none"),
            unix,
        }
    }

    /// Answers a Tread of a directory with whole stat records (read(5)). The read must start at
    /// offset 0 or at the offset where the previous read ended. A Tread of a fid that is not an
    /// open directory is refused.
    pub(super) async fn read_dir(&self, call: &mut Call<'_>) -> Result<()> {
        let (fid, offset, count) = fields!(self, call, TREAD, Read { fid, offset, count });
        let data = read_data(call.buf, self.data_limit(count));
        let (open, serial, mut cookie) = self.with_fid(fid, |found| match &found.state {
            _ if cfg!(feature = "linux") && self.current_dialect() == Dialect::Linux => {
                Err(read_error(&found.state))
            }
            FidState::Dir { open, .. } if offset == 0 => {
                Ok((open.clone(), found.record.serial(), 0))
            }
            FidState::Dir { open, offset: at, cookie } if u64::from(*at) == offset => {
                Ok((open.clone(), found.record.serial(), (*cookie).into()))
            }
            FidState::Dir { .. } => Err(Error::SeekDirectory),
            state => Err(read_error(state)),
        })?;
        let mut filled = 0usize;
        loop {
            let mut entry = None;
            self.vfs
                .readdir(&open, cookie, &mut |found| {
                    entry = Some(((found.inode)(), found.next));
                    ControlFlow::Break(())
                })
                .await?;
            let Some((inode, next)) = entry else { break };
            let free = data.get_mut(filled..).unwrap_or_default();
            match self.listed_record(&inode, free, filled == 0).await? {
                ListedRecord::Written(n) => filled = filled.saturating_add(n),
                ListedRecord::TooLarge if filled == 0 => return Err(Error::CountTooSmall),
                ListedRecord::TooLarge => break,
                ListedRecord::Removed => {}
            }
            cookie = next;
        }
        let cookie = Cookie::<V>::try_from(cookie).map_err(|_| Error::Range)?;
        self.update_fid(fid, serial, |fid| {
            if let FidState::Dir { offset: at, cookie: place, .. } = &mut fid.state {
                *at = u32::try_from(offset.saturating_add(filled as u64)).unwrap_or(u32::MAX);
                *place = cookie;
            }
        });
        wire::finish_read(call.buf, wire::RREAD, call.tag, filled);
        Ok(())
    }
}

/// Buffers for the names of the owner and group. 9P2000 uses names instead of numeric IDs.
#[derive(Default)]
struct Owners {
    uid: heapless::String<10>,
    gid: heapless::String<10>,
}

/// Returns the name of a file's owner. User 0, who owns every file in an immutable tree, is called
/// `root`. The name of any other user is the user number in decimal, which is written to `room`.
fn owner<V: Vfs>(id: u32, room: &mut heapless::String<10>) -> Str<'_> {
    if V::TreeKind::IMMUTABLE || id == 0 {
        return Str(b"root");
    }
    room.clear();
    // A `u32` has at most ten digits.
    let _ = write!(room, "{}", Decimal::from(id));
    Str(room.as_bytes())
}

fn device(buf: &mut [u8], letter: char, major: u32, minor: u32) -> Result<usize> {
    if buf.len() < DEVICE_MAX {
        return Err(Error::Range);
    }
    let mut window = crate::vfs::Window::new(0, buf);
    // The text fits, because the length of `buf` is at least `DEVICE_MAX`.
    let _ = write!(window, "{letter} {} {}", Decimal::from(major), Decimal::from(minor));
    Ok(window.filled())
}

pub(super) fn kind_bits(kind: FileType) -> u32 {
    match kind {
        FileType::File => 0,
        FileType::Dir => DMDIR,
        FileType::Symlink => DMSYMLINK,
        FileType::Fifo => DMNAMEDPIPE,
        FileType::Socket => DMSOCKET,
        FileType::Char { .. } | FileType::Block { .. } => DMDEVICE,
    }
}

fn mode<V: Vfs>(attr: &Attr) -> u32 {
    if V::TreeKind::IMMUTABLE {
        let dir = if attr.id.kind.is_dir() { DMDIR } else { 0 };
        return dir | attr.mode & 0o777;
    }
    kind_bits(attr.id.kind)
        | attr.mode << 8 & DMSETID
        | attr.mode << 7 & DMSETVTX
        | attr.mode & 0o777
}

/// Returns the user number of a file's owner. User 0 owns every file in an immutable tree.
pub(super) fn owner_id<V: Vfs>(id: u32) -> u32 {
    if V::TreeKind::IMMUTABLE { 0 } else { id }
}

/// Returns the time in seconds since 1970, clamped to 32 bits. The result is exact for times
/// between 1970 and 2106. An immutable tree stores no times.
fn seconds<V: Vfs>(time: Time) -> u32 {
    if V::TreeKind::IMMUTABLE {
        return 0;
    }
    u32::try_from(time.sec.max(0)).unwrap_or(u32::MAX)
}
