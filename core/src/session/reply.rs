//! Encodes replies and estimates the space that they need.

use super::dispatch::Call;
use super::fids::FidState;
use super::{FidEntry, FidTable, MAX_BLOCKING_READ, Session};
use crate::Decimal;
use crate::vfs::{Error, NAME_MAX, Result, Vfs};
use crate::wire::{self, Dialect, Field, Qid, Rmessage as R, Tag, Tmessage as T, Writer};

/// The maximum length of an Rstat or Rreadlink, given Linux's limits on the lengths of names and
/// link targets.
const LINK_REPLY_MAX: usize = 4096 + 512;

/// The combined length of all Rerror fields except the text.
const ERROR_FIELDS: usize = COUNTED_HEADER + 4;

/// The combined length of `size[4] type[1] tag[2] count[2]`.
pub(super) const COUNTED_HEADER: usize = wire::HEADER + 2;

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Returns a buffer size, in bytes, that is sufficient for answering the request in `frame`.
    /// The size includes the request itself.
    pub fn buffer_size(&self, frame: &[u8]) -> usize {
        let wanted = match wire::kind(frame) {
            wire::TREAD => match self.decode::<{ wire::TREAD }>(frame) {
                Some(T::Read { fid, count, .. }) => self.read_size(fid, count),
                _ => 0,
            },
            #[cfg(feature = "linux")]
            wire::TREADDIR => match self.decode::<{ wire::TREADDIR }>(frame) {
                Some(T::Readdir { count, .. }) => self.data_size(count),
                _ => 0,
            },
            // Until the walk is complete, the qids are stored in the space after the request.
            wire::TWALK => match self.decode::<{ wire::TWALK }>(frame) {
                Some(T::Walk { wnames, .. }) => {
                    frame.len().saturating_add(wnames.len().saturating_mul(Qid::SIZE))
                }
                _ => 0,
            },
            wire::TSTAT | wire::TREADLINK => LINK_REPLY_MAX,
            // The reply is built in the space after the request. The reply names the client that
            // holds the lock, so leave room for the longest possible name.
            wire::TGETLOCK => frame.len().saturating_add(64 + NAME_MAX),
            _ => 0,
        };
        let wanted = wanted.max(frame.len().saturating_add(192));
        wanted.min(self.msize.get() as usize).max(frame.len())
    }

    /// Returns the maximum size of the reply to a Tread. The size is limited for files that may
    /// block, so that a blocked read does not hold a large buffer.
    fn read_size(&self, fid: wire::Fid, count: u32) -> usize {
        let blocks = match self.fids.borrow().get(fid.0) {
            Some(FidEntry { state: FidState::File { open, .. }, .. }) => self.vfs.may_block(open),
            _ => false,
        };
        let size = self.data_size(count);
        if blocks { size.min(MAX_BLOCKING_READ + wire::RREAD_HEADER) } else { size }
    }

    fn data_size(&self, count: u32) -> usize {
        self.data_limit(count).saturating_add(wire::RREAD_HEADER)
    }

    /// Returns the maximum number of bytes that a read of `count` bytes may return.
    pub(super) fn data_limit(&self, count: u32) -> usize {
        let most = self.msize.get().saturating_sub(wire::RREAD_HEADER as u32);
        let most = if self.limits.iounit == 0 { most } else { most.min(self.limits.iounit) };
        count.min(most) as usize
    }

    pub(super) fn iounit(&self) -> u32 {
        self.limits.iounit.min(self.msize.get().saturating_sub(24))
    }

    pub(super) fn within_msize<'b>(&self, buf: &'b mut [u8]) -> &'b mut [u8] {
        let len = buf.len().min(self.msize.get() as usize);
        buf.get_mut(..len).unwrap_or_default()
    }

    /// Encodes the reply to a request of type `REQUEST` and returns its length.
    #[inline(always)]
    pub(super) fn encode<const REQUEST: u8>(
        &self,
        call: &mut Call<'_>,
        reply: R<'_>,
    ) -> Result<()> {
        let mut writer = self.start_reply(call.buf, REQUEST + 1, call.tag);
        reply.put::<REQUEST>(&mut writer);
        finish_reply(writer)
    }

    /// Encodes the reply to a request of any type. `fields` appends the fields.
    #[inline(always)]
    pub(super) fn encode_kind(
        &self,
        call: &mut Call<'_>,
        fields: impl FnOnce(&mut Writer<'_>),
    ) -> Result<()> {
        let kind = wire::kind(call.frame()).wrapping_add(1);
        let mut writer = self.start_reply(call.buf, kind, call.tag);
        fields(&mut writer);
        finish_reply(writer)
    }

    /// Encodes a reply without fields.
    #[inline(never)]
    pub(super) fn encode_empty(&self, call: &mut Call<'_>) -> Result<()> {
        self.encode_kind(call, |_| {})
    }

    /// Writes the header of a reply.
    #[inline(never)]
    fn start_reply<'b>(&self, buf: &'b mut [u8], kind: u8, tag: Tag) -> Writer<'b> {
        let mut writer = Writer::new(buf, self.current_dialect());
        writer.open(kind, tag);
        writer
    }

    pub(super) fn try_encode<const REQUEST: u8>(
        &self,
        reply: &R<'_>,
        tag: Tag,
        buf: &mut [u8],
    ) -> core::result::Result<usize, wire::Full> {
        let mut writer = self.start_reply(buf, REQUEST + 1, tag);
        reply.put::<REQUEST>(&mut writer);
        writer.close()
    }

    /// Builds an Rwalk from the `count` qids that follow the request of `len` bytes in `buf`. The
    /// reply overwrites the request.
    pub(super) fn encode_walk(
        &self,
        buf: &mut [u8],
        len: usize,
        tag: Tag,
        count: usize,
    ) -> Result<()> {
        let qids = count.saturating_mul(Qid::SIZE);
        // A Twalk is longer than the header of an Rwalk, so the qids move toward the start of the
        // buffer.
        buf.copy_within(len..len.saturating_add(qids), COUNTED_HEADER);
        finish_counted(buf, wire::RWALK, tag, count, qids)
    }

    /// Encodes an error reply in the current dialect and returns its length.
    pub(super) fn encode_error(&self, buf: &mut [u8], tag: Tag, error: &Error) -> usize {
        let errno = u32::from(error.errno());
        let buf = self.within_msize(buf);
        if cfg!(feature = "linux") && self.current_dialect() == Dialect::Linux {
            let mut writer = self.start_reply(buf, wire::RLERROR, tag);
            errno.encode(&mut writer);
            return writer.close().unwrap_or(0);
        }
        // The text can be too long only if frames are very small, as on embedded boards. Truncated
        // text always fits.
        let room = buf.len().saturating_sub(ERROR_FIELDS);
        let mut writer = self.start_reply(buf, wire::RERROR, tag);
        error.read_message(|message| {
            let message = message.as_bytes();
            wire::Str(message.get(..room).unwrap_or(message)).encode(&mut writer);
        });
        wire::Errno(errno).encode(&mut writer);
        writer.close().unwrap_or(0)
    }
}

/// Fills in the size of a reply.
#[inline(never)]
fn finish_reply(writer: Writer<'_>) -> Result<()> {
    let room = writer.room();
    match writer.close() {
        Ok(_) => Ok(()),
        Err(_) => Err(message_too_large(room)),
    }
}

/// Writes the header of a reply whose `len` bytes of content are already in place. Returns the
/// length of the message.
#[inline(never)]
pub(super) fn finish_counted(
    buf: &mut [u8],
    kind: u8,
    tag: Tag,
    count: usize,
    len: usize,
) -> Result<()> {
    let mut writer = Writer::new(buf, Dialect::Legacy);
    writer.open(kind, tag);
    writer.count(count);
    writer.skip(len);
    finish_reply(writer)
}

/// Returns the error for a request or a reply that does not fit into a buffer.
#[cold]
#[inline(never)]
pub(crate) fn message_too_large(room: usize) -> Error {
    Error::TooLarge
        .with_message(format_args!("the message does not fit in {} bytes", Decimal::from(room)))
}
