//! What a [fixed](crate::vfs::ImmutableTree) tree is not asked: requests that only a tree that changes
//! can serve.

use crate::vfs::{Error, Result, TreeKind, Vfs};
use crate::wire::{self, Dialect, Fid};

/// The answer of a fixed tree to a request of this type.
// A table for the compiler: where the type is known, so is the answer.
#[inline(always)]
fn answer(kind: u8) -> Option<Error> {
    const TLCREATE: u8 = 14;
    const TSYMLINK: u8 = 16;
    const TMKNOD: u8 = 18;
    const TRENAME: u8 = 20;
    const TXATTRWALK: u8 = 30;
    const TXATTRCREATE: u8 = 32;
    const TLOCK: u8 = 52;
    const TLINK: u8 = 70;
    const TMKDIR: u8 = 72;
    const TRENAMEAT: u8 = 74;
    const TCREATE: u8 = 114;
    match kind {
        TCREATE | TLCREATE | TSYMLINK | TMKNOD | TRENAME | TMKDIR | TRENAMEAT => {
            Some(Error::ReadOnlyDirectory)
        }
        TXATTRWALK | TXATTRCREATE | TLOCK | wire::TGETLOCK | TLINK => Some(Error::NotSupported),
        wire::TREADLINK => Some(Error::Invalid),
        _ => None,
    }
}

/// Whether requests of this type are known to a session over such a tree.
#[inline(always)]
pub(super) fn knows<V: Vfs>(kind: u8) -> bool {
    !V::TreeKind::IMMUTABLE || answer(kind).is_none()
}

/// The fid of a request that no fixed tree can serve, the first field of all of them, and the
/// answer to it.
pub(super) fn refusal(frame: &[u8], dialect: Dialect) -> Option<(Fid, Error)> {
    let kind = wire::kind(frame);
    let there = (kind < wire::TVERSION) == (dialect == Dialect::Linux);
    let error = answer(kind).filter(|_| there)?;
    let fid = frame.get(wire::HEADER..)?.first_chunk()?;
    Some((Fid(u32::from_le_bytes(*fid)), error))
}

/// Refused already where it is not changeable: the compiler is to know as well.
pub(super) fn changeable<V: Vfs>() -> Result<()> {
    if V::TreeKind::IMMUTABLE { Err(Error::NotSupported) } else { Ok(()) }
}
