//! What a [fixed](crate::vfs::FixedTree) tree is not asked: requests that only a tree that changes can serve.

use crate::vfs::{Error, Nature, Result, Vfs};
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
    if V::Nature::FIXED { Err(Error::NotSupported) } else { Ok(()) }
}
