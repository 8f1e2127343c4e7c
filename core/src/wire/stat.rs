//! File attributes in 9P2000 and 9P2000.u, as specified in stat(5). Rstat and Twstat contain one
//! record, and reading a directory returns a sequence of records.

use core::fmt;

use super::{Dialect, Field, Full, Malformed, Qid, Reader, Str, Writer};

/// The [`Stat::mode`] bit of a directory.
pub const DMDIR: u32 = 0x8000_0000;
/// The [`Stat::mode`] bit of a file to which all writes are appended.
pub const DMAPPEND: u32 = 0x4000_0000;
/// The [`Stat::mode`] bit of a file that only one client can have open at a time.
pub const DMEXCL: u32 = 0x2000_0000;
/// The [`Stat::mode`] bit of a mounted channel.
pub const DMMOUNT: u32 = 0x1000_0000;
/// The [`Stat::mode`] bit of an authentication file.
pub const DMAUTH: u32 = 0x0800_0000;
/// The [`Stat::mode`] bit of a file that is excluded from backups.
pub const DMTMP: u32 = 0x0400_0000;
/// The [`Stat::mode`] bit of a symbolic link (9P2000.u).
pub const DMSYMLINK: u32 = 0x0200_0000;
/// The bit that requests a hard link in Tcreate (9P2000.u).
pub const DMLINK: u32 = 0x0100_0000;
/// The [`Stat::mode`] bit of a device (9P2000.u).
pub const DMDEVICE: u32 = 0x0080_0000;
/// The [`Stat::mode`] bit of a named pipe (9P2000.u).
pub const DMNAMEDPIPE: u32 = 0x0020_0000;
/// The [`Stat::mode`] bit of a socket (9P2000.u).
pub const DMSOCKET: u32 = 0x0010_0000;
/// The set-user-ID bit of [`Stat::mode`] (9P2000.u), which is the Linux bit shifted left by 8.
pub const DMSETUID: u32 = 0o4000 << 8;
/// The set-group-ID bit of [`Stat::mode`] (9P2000.u), which is the Linux bit shifted left by 8.
pub const DMSETGID: u32 = 0o2000 << 8;
/// The sticky bit of [`Stat::mode`] (9P2000.u), which is the Linux bit shifted left by 7.
pub const DMSETVTX: u32 = 0o1000 << 7;

/// The attributes of a file. In Twstat, all-ones values and empty strings mean "do not change".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stat<'a> {
    /// Reserved for use by the client's kernel. Servers send 0. The protocol calls this field
    /// `type`.
    pub kind: u16,
    /// Reserved for use by the client's kernel. Servers send 0.
    pub dev: u32,
    /// The qid of the file.
    pub qid: Qid,
    /// Permissions, with the qid's kind in the top byte.
    pub mode: u32,
    /// Time of the last read, in seconds since 1970.
    pub atime: u32,
    /// Time of the last write, in seconds since 1970.
    pub mtime: u32,
    /// Length in bytes, or 0 for a directory.
    pub length: u64,
    /// The final component of the path, or `/` for the root.
    pub name: Str<'a>,
    /// The owner's name.
    pub uid: Str<'a>,
    /// The group's name.
    pub gid: Str<'a>,
    /// The name of the user who last modified the file.
    pub muid: Str<'a>,
    /// The fields that 9P2000.u adds. These fields decode as `None` if the record is too short, as
    /// in Twstat requests from some clients. `None` encodes as the default values. Other dialects
    /// neither decode nor encode these fields.
    pub unix: Option<StatUnix<'a>>,
}

/// The fields that 9P2000.u adds to a [`Stat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StatUnix<'a> {
    /// The target of a symbolic link, or a device's type and its major and minor numbers, as in
    /// `b 8 1` or `c 1 3`.
    pub extension: Str<'a>,
    /// Numeric ID of the owner. A value of all ones means "none" or "do not change".
    pub n_uid: u32,
    /// Numeric ID of the group. A value of all ones means "none" or "do not change".
    pub n_gid: u32,
    /// Numeric ID of the user who last modified the file. A value of all ones means "none" or "do
    /// not change".
    pub n_muid: u32,
}

impl Default for StatUnix<'_> {
    fn default() -> Self {
        Self { extension: Str::default(), n_uid: !0, n_gid: !0, n_muid: !0 }
    }
}

impl<'a> Stat<'a> {
    /// Writes the record's size and the record to the start of `buf`, and returns the total length
    /// in bytes. A directory's data consists of records in this format.
    ///
    /// # Errors
    /// Returns [`Full`] and leaves the contents of `buf` unspecified if the record does not fit.
    pub fn encode_into(&self, buf: &mut [u8], dialect: Dialect) -> Result<usize, Full> {
        let mut writer = Writer::new(buf, dialect);
        self.encode_record(&mut writer);
        writer.finish()
    }

    /// Returns an iterator over the records in a directory's data.
    pub fn decode_all(data: &'a [u8], dialect: Dialect) -> Stats<'a> {
        Stats(Reader::new(data, dialect))
    }

    fn decode_record(reader: &mut Reader<'a>) -> Self {
        reader.sized(|r| Self {
            kind: Field::decode(r),
            dev: Field::decode(r),
            qid: Field::decode(r),
            mode: Field::decode(r),
            atime: Field::decode(r),
            mtime: Field::decode(r),
            length: Field::decode(r),
            name: Field::decode(r),
            uid: Field::decode(r),
            gid: Field::decode(r),
            muid: Field::decode(r),
            unix: (r.dialect() == Dialect::Unix && !r.is_empty()).then(|| StatUnix::decode(r)),
        })
    }

    fn encode_record(&self, writer: &mut Writer<'_>) {
        writer.sized(|w| {
            self.kind.encode(w);
            self.dev.encode(w);
            self.qid.encode(w);
            self.mode.encode(w);
            self.atime.encode(w);
            self.mtime.encode(w);
            self.length.encode(w);
            self.name.encode(w);
            self.uid.encode(w);
            self.gid.encode(w);
            self.muid.encode(w);
            if w.dialect() == Dialect::Unix {
                self.unix.unwrap_or_default().encode(w);
            }
        });
    }
}

/// A message contains the length of the record twice, because `stat[n]` begins with its own count.
impl<'a> Field<'a> for Stat<'a> {
    fn decode(reader: &mut Reader<'a>) -> Self {
        reader.sized(Self::decode_record)
    }

    fn encode(&self, writer: &mut Writer<'_>) {
        writer.sized(|w| self.encode_record(w));
    }

    fn trace(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ name ")?;
        self.name.trace(f)?;
        write!(
            f,
            " qid {} mode {:o} length {} mtime {} uid ",
            self.qid, self.mode, self.length, self.mtime
        )?;
        self.uid.trace(f)?;
        f.write_str(" gid ")?;
        self.gid.trace(f)?;
        if let Some(unix) = &self.unix {
            f.write_str(" extension ")?;
            unix.extension.trace(f)?;
            write!(f, " n_uid {} n_gid {}", unix.n_uid, unix.n_gid)?;
        }
        f.write_str(" }")
    }
}

impl<'a> StatUnix<'a> {
    fn decode(r: &mut Reader<'a>) -> Self {
        let extension = Field::decode(r);
        Self {
            extension,
            n_uid: Field::decode(r),
            n_gid: Field::decode(r),
            n_muid: Field::decode(r),
        }
    }

    fn encode(&self, w: &mut Writer<'_>) {
        self.extension.encode(w);
        self.n_uid.encode(w);
        self.n_gid.encode(w);
        self.n_muid.encode(w);
    }
}

/// An iterator over the records in a directory's data. The iterator stops at the first malformed
/// record.
#[derive(Clone, Debug)]
pub struct Stats<'a>(Reader<'a>);

impl<'a> Iterator for Stats<'a> {
    type Item = Result<Stat<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let stat = Stat::decode_record(&mut self.0);
        Some(self.0.check().map(|()| stat))
    }
}
