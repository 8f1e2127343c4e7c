//! What a [fixed](Vfs::FIXED) tree is not asked: requests that only a tree that changes can serve.

use core::future::Future;
use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::apart::{Apart, apart};
use crate::vfs::{Error, Result, Vfs};
use crate::wire::{Fid, Tmessage as T};

/// The fid of a request that no fixed tree can serve, and the answer to it.
pub(super) fn refusal(message: &T<'_>) -> Option<(Fid, Error)> {
    match *message {
        T::Create { fid, .. } => Some((fid, Error::ReadOnlyDirectory)),
        #[cfg(feature = "linux")]
        T::Lcreate { fid, .. }
        | T::Mkdir { dfid: fid, .. }
        | T::Symlink { dfid: fid, .. }
        | T::Mknod { dfid: fid, .. }
        | T::Rename { fid, .. }
        | T::Renameat { olddirfid: fid, .. } => Some((fid, Error::ReadOnlyDirectory)),
        #[cfg(feature = "linux")]
        T::Link { fid, .. }
        | T::Xattrwalk { fid, .. }
        | T::Xattrcreate { fid, .. }
        | T::Lock { fid, .. }
        | T::Getlock { fid, .. } => Some((fid, Error::NotSupported)),
        #[cfg(feature = "linux")]
        T::Readlink { fid } => Some((fid, Error::Invalid)),
        _ => None,
    }
}

/// Refused already where it is not changeable: the compiler is to know as well.
pub(super) fn changeable<V: Vfs>() -> Result<()> {
    if V::FIXED { Err(Error::NotSupported) } else { Ok(()) }
}

pin_project! {
    /// A handler of such a request. Over a fixed tree it is never polled, and so not compiled.
    pub(super) struct Unfixed<V, F> {
        #[pin]
        future: F,
        vfs: PhantomData<V>,
    }
}

pub(super) fn unfixed<V: Vfs, F: Future>(future: F) -> Apart<Unfixed<V, F>> {
    apart(Unfixed { future, vfs: PhantomData })
}

impl<V: Vfs, F: Future> Future for Unfixed<V, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        if V::FIXED { Poll::Pending } else { self.project().future.poll(cx) }
    }
}
