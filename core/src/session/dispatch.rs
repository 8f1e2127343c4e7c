//! Decodes each request, selects its handler and encodes the reply.

use super::{Aborts, FidTable, Session};
use crate::Decimal;
use crate::vfs::{Error, Result, TreeKind, Vfs, outlined};
use crate::wire::{self, Dialect, Fid, Malformed, Rmessage as R, Tag, Tmessage as T};

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Returns the in-flight requests that the request in `frame` aborts.
    pub fn aborts(&self, frame: &[u8]) -> Aborts {
        if !matches!(wire::kind(frame), wire::TFLUSH | wire::TVERSION) {
            return Aborts::None;
        }
        match self.message(frame) {
            Ok((_, T::Flush { oldtag })) => Aborts::One(oldtag),
            Ok((_, T::Version { .. })) => Aborts::All,
            _ => Aborts::None,
        }
    }

    /// Answers the request in `buf[..len]` in place and returns the length of the reply.
    pub(super) async fn dispatch(&self, buf: &mut [u8], len: usize, tag: Tag) -> Result<usize> {
        let buf = self.within_msize(buf);
        let frame = buf.get(..len).ok_or(Error::Invalid)?;
        let kind = wire::kind(frame);
        if self.dialect.get().is_none() && kind != wire::TVERSION {
            return Err(Error::TversionFirst);
        }
        // Only reads can wait in an immutable tree, so this future does not store the state of
        // other handlers.
        if kind == wire::TREAD {
            let T::Read { fid, offset, count } = self.decode(frame)? else {
                return Err(Error::NotSupported);
            };
            return outlined(self.read(buf, tag, fid, offset, count)).await;
        }
        #[cfg(feature = "linux")]
        if kind < wire::TVERSION {
            return V::TreeKind::handle(move || self.dispatch_linux(buf, len, tag)).await;
        }
        V::TreeKind::handle(move || self.dispatch_9p2000(buf, len, tag)).await
    }

    /// Answers any 9P2000 request other than Tread.
    async fn dispatch_9p2000(&self, buf: &mut [u8], len: usize, tag: Tag) -> Result<usize> {
        let (frame, rest) = buf.split_at_mut_checked(len).ok_or(Error::Invalid)?;
        macro_rules! done {
            ($handler:expr) => {
                V::TreeKind::handle(move || $handler).await?
            };
            ($handler:expr, $reply:expr) => {{
                V::TreeKind::handle(move || $handler).await?;
                $reply
            }};
        }
        // Decode the request before the `match`, because temporaries in the scrutinee would live
        // until the handlers finish.
        let message = self.decode(frame)?;
        let reply = match message {
            T::Stat { fid } => return V::TreeKind::handle(move || self.stat(buf, tag, fid)).await,
            T::Walk { fid, newfid, wnames } => {
                let count = done!(self.walk(fid, newfid, wnames, rest));
                return self.encode_walk(buf, len, tag, count);
            }
            T::Version { msize, version } => {
                let (msize, version) = done!(self.version(msize, version));
                R::Version { msize, version }
            }
            T::Auth { .. } => return Err(Error::NoAuthentication),
            T::Attach { fid, uname, aname, n_uname, .. } => {
                R::Attach { qid: done!(self.attach(fid, uname, aname, n_uname)) }
            }
            // The server has already aborted the request with tag `oldtag`.
            T::Flush { .. } => R::Flush,
            T::Open { fid, mode } => {
                R::Open { qid: done!(self.open(fid, mode)), iounit: self.iounit() }
            }
            T::Create { fid, name, perm, mode, extension } => {
                require_mutable::<V>()?;
                let (qid, iounit) = done!(self.create(fid, name, perm, mode, extension.0));
                R::Create { qid, iounit }
            }
            T::Write { fid, offset, data } => {
                R::Write { count: done!(self.write(fid, offset, data.0)) }
            }
            T::Clunk { fid } => done!(self.clunk(fid), R::Clunk),
            T::Remove { fid } => done!(self.remove(fid), R::Remove),
            T::Wstat { fid, stat } => {
                V::TreeKind::boxed(move || self.wstat(fid, stat)).await?;
                R::Wstat
            }
            _ => return Err(Error::NotSupported),
        };
        self.encode(buf, tag, &reply)
    }

    /// Decodes a request, or returns the error for the reply.
    pub(super) fn decode<'f>(&self, frame: &'f [u8]) -> Result<T<'f>> {
        if V::TreeKind::IMMUTABLE
            && let Some((fid, error)) = refused_by_immutable_tree(frame, self.current_dialect())
        {
            return self.with_fid(fid, |_| Err(error));
        }
        match self.message(frame) {
            Ok((_, message)) => Ok(message),
            Err(malformed) => Err(malformed_request(frame.len(), malformed)),
        }
    }

    pub(super) fn message<'f>(
        &self,
        frame: &'f [u8],
    ) -> core::result::Result<(Tag, T<'f>), Malformed> {
        T::decode_known(frame, self.current_dialect(), is_served::<V>)
    }

    /// Returns the negotiated dialect, or 9P2000 before negotiation.
    pub(super) fn current_dialect(&self) -> Dialect {
        self.dialect.get().unwrap_or(Dialect::Legacy)
    }
}

#[cold]
#[inline(never)]
fn malformed_request(size: usize, malformed: Malformed) -> Error {
    match malformed {
        Malformed::Unknown(_) => Error::NotSupported.with_message(malformed),
        other => Error::Invalid.with_message(format_args!(
            "malformed message of {} bytes: {other}",
            Decimal::from(size)
        )),
    }
}

/// Returns whether a session over `V` decodes and serves requests of this type. An immutable tree
/// does not serve requests that would change it.
#[inline(always)]
pub(super) fn is_served<V: Vfs>(kind: u8) -> bool {
    !V::TreeKind::IMMUTABLE || immutable_tree_error(kind).is_none()
}

/// Returns an error if the tree is immutable. In handlers for an immutable tree, the compiler
/// removes the code that follows the call.
pub(super) fn require_mutable<V: Vfs>() -> Result<()> {
    if V::TreeKind::IMMUTABLE { Err(Error::NotSupported) } else { Ok(()) }
}

/// Returns the request's fid and the error to send in reply if every immutable tree refuses the
/// request in `frame`. The fid is the first field of every request that an immutable tree refuses.
fn refused_by_immutable_tree(frame: &[u8], dialect: Dialect) -> Option<(Fid, Error)> {
    let kind = wire::kind(frame);
    let in_dialect = (kind < wire::TVERSION) == (dialect == Dialect::Linux);
    let error = immutable_tree_error(kind).filter(|_| in_dialect)?;
    let fid = frame.get(wire::HEADER..)?.first_chunk()?;
    Some((Fid(u32::from_le_bytes(*fid)), error))
}

/// Returns the error with which an immutable tree refuses requests of this type.
// This function is inlined so that the compiler can evaluate it wherever `kind` is a constant.
#[inline(always)]
fn immutable_tree_error(kind: u8) -> Option<Error> {
    match kind {
        wire::TCREATE
        | wire::TLCREATE
        | wire::TSYMLINK
        | wire::TMKNOD
        | wire::TRENAME
        | wire::TMKDIR
        | wire::TRENAMEAT => Some(Error::ReadOnlyDirectory),
        wire::TXATTRWALK | wire::TXATTRCREATE | wire::TLOCK | wire::TGETLOCK | wire::TLINK => {
            Some(Error::NotSupported)
        }
        wire::TREADLINK => Some(Error::Invalid),
        _ => None,
    }
}
