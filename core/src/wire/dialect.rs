//! The three dialects, their version strings, and the sections of the message table that each of
//! them uses.

use super::Str;

/// A protocol version negotiated by client and server. All dialects share one message table and one
/// set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dialect {
    /// `9P2000`, in which errors are text and users are names.
    Legacy,
    /// `9P2000.u`, which adds numeric IDs, error numbers, symbolic links and devices.
    Unix,
    /// `9P2000.L`, which mirrors the system calls of a Linux file system. This variant exists even
    /// without the `linux` feature, but is never negotiated then.
    Linux,
}

impl Dialect {
    /// Returns the version string in Tversion and Rversion.
    pub const fn version(self) -> &'static str {
        match self {
            Dialect::Legacy => "9P2000",
            Dialect::Unix => "9P2000.u",
            Dialect::Linux => "9P2000.L",
        }
    }

    /// Returns the dialect to reply with when a client offers this version, or `None` if the reply
    /// is `unknown`.
    ///
    /// According to version(5), the client's string may have a suffix after a period, and a server
    /// that does not know the suffix may drop it. Therefore `9P2000.x` becomes
    /// [`Legacy`](Dialect::Legacy), as does `9P2000.L` without the `linux` feature.
    pub fn offered(version: Str<'_>) -> Option<Self> {
        let suffix = version.as_bytes().strip_prefix(b"9P2000")?;
        match suffix {
            // `9P2000.L.Google.7` has a second suffix, which may be dropped as well.
            #[cfg(feature = "linux")]
            b".L" | [b'.', b'L', b'.', ..] => Some(Dialect::Linux),
            b".u" => Some(Dialect::Unix),
            b"" | [b'.', ..] => Some(Dialect::Legacy),
            _ => None,
        }
    }
}

/// The dialects that use a section of the message table.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// All three dialects.
    All,
    /// 9P2000 and 9P2000.u. In 9P2000.L, other messages replace these.
    Classic,
    /// Only 9P2000.L.
    #[cfg(feature = "linux")]
    Linux,
}

impl Rows {
    #[inline(always)]
    pub(super) const fn has(self, dialect: Dialect) -> bool {
        match self {
            Rows::All => true,
            Rows::Classic => !matches!(dialect, Dialect::Linux),
            #[cfg(feature = "linux")]
            Rows::Linux => matches!(dialect, Dialect::Linux),
        }
    }
}
