//! Selects the handler for each request. The handler decodes the request and encodes the reply.

use core::future::Future;

use super::{Aborts, FidTable, Session};
use crate::Decimal;
use crate::vfs::{Error, Result, TreeKind, Vfs, poll_now};
use crate::wire::{self, Dialect, Fid, Field, Malformed, Reader, Tag, Tmessage as T};

/// A request in a buffer. The reply is written to the same buffer and overwrites the request.
pub(super) struct Call<'b> {
    pub(super) buf: &'b mut [u8],
    /// The length of the request at the start of `buf`.
    pub(super) len: usize,
    pub(super) tag: Tag,
}

impl Call<'_> {
    /// Returns the request.
    pub(super) fn frame(&self) -> &[u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

/// Decodes the fields of a request whose type is known at compile time. Returns from the handler
/// with an error if the request is malformed.
macro_rules! fields {
    ($session:ident, $call:ident, $kind:ident, $name:ident { $($field:ident),* }) => {
        fields!($session.request(&$call), $kind, $name { $($field),* })
    };
    ($reader:expr, $kind:ident, $name:ident { $($field:ident),* }) => {{
        let mut reader = $reader;
        let Some(T::$name { $($field,)* .. }) = T::take::<{ wire::$kind }>(&mut reader) else {
            return Err(Error::NotSupported);
        };
        check_end(&reader)?;
        ($($field),*)
    }};
}
pub(super) use fields;

/// Selects the handler for a request of type `$kind`. Expands to `$handle!(name)`, or to
/// `$boxed!(name)` if the handler needs a lot of memory, where `name` is the name of the handler.
/// Expands to `$other` if the tree does not serve the request.
macro_rules! handlers {
    ($kind:ident, $handle:ident, $boxed:ident, $other:expr) => {
        match $kind {
            // `answer` answers these requests.
            wire::TWRITE | wire::TCLUNK if V::TreeKind::WRITES_WAIT => $other,
            wire::TVERSION => $handle!(version),
            wire::TAUTH => $handle!(auth),
            wire::TATTACH => $handle!(attach),
            wire::TFLUSH => $handle!(flush),
            wire::TWALK => $handle!(walk),
            // `answer` answers a Tread of a file.
            wire::TREAD => $boxed!(read_dir),
            wire::TWRITE => $handle!(write),
            wire::TCLUNK => $handle!(clunk),
            wire::TREMOVE => $handle!(remove),
            // Using a single arm for both requests avoids duplicating the handler's code.
            wire::TOPEN | wire::TLOPEN => $handle!(open),
            #[cfg(feature = "classic")]
            wire::TSTAT => $handle!(stat),
            #[cfg(feature = "classic")]
            wire::TWSTAT => $boxed!(wstat),
            #[cfg(feature = "linux")]
            wire::TSTATFS => $handle!(statfs),
            #[cfg(feature = "linux")]
            wire::TGETATTR => $handle!(getattr),
            #[cfg(feature = "linux")]
            wire::TSETATTR => $handle!(setattr),
            #[cfg(feature = "linux")]
            wire::TREADDIR => $handle!(readdir),
            #[cfg(feature = "linux")]
            wire::TFSYNC => $handle!(fsync),
            #[cfg(feature = "linux")]
            wire::TUNLINKAT => $handle!(unlinkat),
            // An immutable tree refuses the requests below.
            _ if V::TreeKind::IMMUTABLE => $other,
            #[cfg(feature = "classic")]
            wire::TCREATE => $handle!(create),
            #[cfg(feature = "linux")]
            wire::TLCREATE => $handle!(lcreate),
            #[cfg(feature = "linux")]
            wire::TSYMLINK => $handle!(symlink),
            #[cfg(feature = "linux")]
            wire::TMKNOD => $handle!(mknod),
            #[cfg(feature = "linux")]
            wire::TRENAME => $handle!(rename),
            #[cfg(feature = "linux")]
            wire::TREADLINK => $handle!(readlink),
            #[cfg(feature = "linux")]
            wire::TXATTRWALK => $handle!(xattrwalk),
            #[cfg(feature = "linux")]
            wire::TXATTRCREATE => $handle!(xattrcreate),
            #[cfg(feature = "linux")]
            wire::TLOCK => $handle!(lock),
            #[cfg(feature = "linux")]
            wire::TGETLOCK => $handle!(getlock),
            #[cfg(feature = "linux")]
            wire::TLINK => $handle!(link),
            #[cfg(feature = "linux")]
            wire::TMKDIR => $handle!(mkdir),
            #[cfg(feature = "linux")]
            wire::TRENAMEAT => $handle!(renameat),
            _ => $other,
        }
    };
}

impl<V: Vfs, F: FidTable<V>> Session<'_, V, F> {
    /// Returns the in-flight requests that the request in `frame` aborts.
    pub fn aborts(&self, frame: &[u8]) -> Aborts {
        match wire::kind(frame) {
            wire::TFLUSH => match self.decode::<{ wire::TFLUSH }>(frame) {
                Some(T::Flush { oldtag }) => Aborts::One(oldtag),
                _ => Aborts::None,
            },
            wire::TVERSION if self.decode::<{ wire::TVERSION }>(frame).is_some() => Aborts::All,
            _ => Aborts::None,
        }
    }

    /// Checks that a request is allowed in the connection's current state.
    pub(super) fn check_request(&self, call: &Call<'_>) -> Result<()> {
        if call.buf.len() < call.len {
            return Err(Error::Invalid);
        }
        let kind = wire::kind(call.frame());
        if self.dialect.get().is_none() && kind != wire::TVERSION {
            return Err(Error::TversionFirst);
        }
        let linux = self.current_dialect() == Dialect::Linux;
        // All message types below Tversion belong to 9P2000.L.
        let foreign = if kind < wire::TVERSION {
            !linux
        } else {
            linux && matches!(kind, wire::TOPEN | wire::TCREATE | wire::TSTAT | wire::TWSTAT)
        };
        // If the feature for the other dialect is disabled, there are no handlers for its messages.
        if cfg!(all(feature = "classic", feature = "linux")) && foreign {
            return Err(unknown_message(call));
        }
        Ok(())
    }

    /// Answers any request other than a Tread of a file.
    pub(super) fn dispatch<'c>(
        &'c self,
        call: &'c mut Call<'_>,
    ) -> impl Future<Output = Result<()>> {
        V::TreeKind::dispatch(
            call,
            |call| self.dispatch_now(call),
            |call| self.dispatch_later(call),
        )
    }

    /// Answers a Twrite or Tclunk that may have to wait.
    pub(super) async fn write_or_clunk(&self, call: &mut Call<'_>) -> Result<()> {
        match wire::kind(call.frame()) {
            wire::TWRITE => self.write(call).await,
            _ => self.clunk(call).await,
        }
    }

    /// Answers a request for an immutable tree. The request never waits.
    #[inline(never)]
    fn dispatch_now(&self, call: &mut Call<'_>) -> Result<()> {
        let kind = wire::kind(call.frame());
        type Handler<S> = fn(&S, &mut Call<'_>) -> Result<()>;
        macro_rules! handle {
            ($handler:ident) => {
                |session, call| poll_now(session.$handler(call))
            };
        }
        let handler: Handler<Self> =
            handlers!(kind, handle, handle, |session, call| session.refuse_change(call));
        handler(self, call)
    }

    /// Answers a request for a mutable tree.
    async fn dispatch_later(&self, call: &mut Call<'_>) -> Result<()> {
        let kind = wire::kind(call.frame());
        macro_rules! handle {
            ($handler:ident) => {
                V::TreeKind::handle(move || self.$handler(call)).await
            };
        }
        macro_rules! boxed {
            ($handler:ident) => {
                V::TreeKind::boxed(move || self.$handler(call)).await
            };
        }
        handlers!(kind, handle, boxed, Err(unknown_message(call)))
    }

    /// Answers a Tauth (auth(5)).
    async fn auth(&self, _: &mut Call<'_>) -> Result<()> {
        Err(Error::NoAuthentication)
    }

    /// Answers a request that every immutable tree refuses. The fid is the first field of every
    /// such request.
    fn refuse_change(&self, call: &mut Call<'_>) -> Result<()> {
        let error = match wire::kind(call.frame()) {
            ..wire::TVERSION if cfg!(not(feature = "linux")) => return Err(unknown_message(call)),
            wire::TREADLINK => Error::Invalid,
            wire::TXATTRWALK | wire::TXATTRCREATE | wire::TLOCK | wire::TGETLOCK | wire::TLINK => {
                Error::NotSupported
            }
            wire::TCREATE if cfg!(feature = "classic") => Error::ReadOnlyDirectory,
            wire::TLCREATE
            | wire::TSYMLINK
            | wire::TMKNOD
            | wire::TRENAME
            | wire::TMKDIR
            | wire::TRENAMEAT => Error::ReadOnlyDirectory,
            _ => return Err(unknown_message(call)),
        };
        let mut reader = self.request(call);
        let fid = Fid::decode(&mut reader);
        reader.check().map_err(malformed_request)?;
        self.with_fid(fid, |_| Ok(()))?;
        if error == Error::ReadOnlyDirectory {
            self.vfs.refused(&error);
        }
        Err(error)
    }

    /// Answers a Tflush (flush(5)). The server has already aborted the request with tag `oldtag`.
    async fn flush(&self, call: &mut Call<'_>) -> Result<()> {
        fields!(self, call, TFLUSH, Flush { oldtag });
        self.encode_empty(call)
    }

    /// Returns a reader for the body of the request in `frame`.
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub(super) fn reader<'f>(&self, frame: &'f [u8]) -> Reader<'f> {
        match Reader::open(frame, self.current_dialect()) {
            Ok((_, _, reader)) => reader,
            Err(malformed) => {
                let mut reader = Reader::new(&[], Dialect::Legacy);
                reader.fail(malformed);
                reader
            }
        }
    }

    /// Returns a reader for the body of a request.
    #[inline(never)]
    pub(super) fn request<'c>(&self, call: &'c Call<'_>) -> Reader<'c> {
        self.reader(call.frame())
    }

    /// Decodes a request of type `KIND`. Returns `None` if the request is malformed.
    pub(super) fn decode<'f, const KIND: u8>(&self, frame: &'f [u8]) -> Option<T<'f>> {
        let mut reader = self.reader(frame);
        let message = T::take::<KIND>(&mut reader);
        reader.finish().ok()?;
        message
    }

    /// Returns the negotiated dialect. Before negotiation, returns the dialect used for error
    /// replies.
    pub(super) fn current_dialect(&self) -> Dialect {
        if cfg!(feature = "classic") {
            self.dialect.get().unwrap_or(Dialect::Legacy)
        } else {
            Dialect::Linux
        }
    }
}

/// Checks that the fields of a request are well-formed and that no bytes follow them.
#[inline(never)]
pub(super) fn check_end(reader: &Reader<'_>) -> Result<()> {
    reader.finish().map_err(malformed_request)
}

/// Returns the error for a message that the dialect does not have or that the server does not
/// support.
#[cold]
#[inline(never)]
pub(super) fn unknown_message(call: &Call<'_>) -> Error {
    let kind = Decimal::from(wire::kind(call.frame()));
    Error::NotSupported.with_message(format_args!("unknown message type {kind}"))
}

fn malformed_request(malformed: Malformed) -> Error {
    match malformed {
        Malformed::Unknown(_) => Error::NotSupported,
        Malformed::Short => Error::MessageTooShort,
        Malformed::Trailing => Error::MessageTooLong,
        Malformed::Text => Error::NulInString,
    }
}
