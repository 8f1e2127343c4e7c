//! stat(5): the attributes of 9P2000 and .u, alone in Rstat and Twstat, one after the other in the
//! data of a directory.

use core::fmt;

use super::{Dialect, Field, Full, Malformed, Qid, Reader, Str, Writer};

/// The attributes of a file. In Twstat, all ones and empty strings mean "leave alone".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stat<'a> {
    /// `type`, the client kernel's business; servers send 0.
    pub kind: u16,
    /// The client kernel's business; servers send 0.
    pub dev: u32,
    /// Which file.
    pub qid: Qid,
    /// Permissions, and the qid's kind in the top byte.
    pub mode: u32,
    /// Last read, seconds since 1970.
    pub atime: u32,
    /// Last write, seconds since 1970.
    pub mtime: u32,
    /// Bytes; 0 for a directory.
    pub length: u64,
    /// Last element of its path, `/` for the root.
    pub name: Str<'a>,
    /// Owner.
    pub uid: Str<'a>,
    /// Group.
    pub gid: Str<'a>,
    /// Who wrote last.
    pub muid: Str<'a>,
    /// What .u adds. Decoded in .u if the record's size leaves room for it (some clients send the
    /// short form in Twstat); always encoded in .u, `None` as the default; never there in other
    /// dialects.
    pub unix: Option<StatUnix<'a>>,
}

/// What .u adds to a stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StatUnix<'a> {
    /// Target of a symbolic link; `b 8 1` or `c 1 3` of a device.
    pub extension: Str<'a>,
    /// Owner, all ones for "none" or "leave alone".
    pub n_uid: u32,
    /// Group, the same.
    pub n_gid: u32,
    /// Who wrote last, the same.
    pub n_muid: u32,
}

impl Default for StatUnix<'_> {
    fn default() -> Self {
        Self { extension: Str::default(), n_uid: !0, n_gid: !0, n_muid: !0 }
    }
}

impl<'a> Stat<'a> {
    /// Writes one record with its own size in front at the start of `buf`, as in the data of a
    /// directory. Returns its length in bytes.
    ///
    /// # Errors
    /// `Full` if `buf` has no room for all of it; its bytes are then of no use.
    pub fn encode_into(&self, buf: &mut [u8], dialect: Dialect) -> Result<usize, Full> {
        let mut writer = Writer::new(buf, dialect);
        self.encode_record(&mut writer);
        writer.finish()
    }

    /// The records in the data of a directory.
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

/// In a message the record's length stands twice: `stat[n]` has a count of its own in front.
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

/// The records of a directory; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Stats<'a>(Reader<'a>);

impl<'a> Iterator for Stats<'a> {
    type Item = Result<Stat<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let stat = Stat::decode_record(&mut self.0);
        Some(self.0.sound().map(|()| stat))
    }
}
