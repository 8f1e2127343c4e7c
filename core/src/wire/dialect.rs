//! The three dialects, their version strings, and the sections of the message table that each uses.

use super::Str;

/// A protocol version that client and server have negotiated. All dialects share one message table
/// and one set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dialect {
    /// `9P2000`, where errors are text and users are names.
    Legacy,
    /// `9P2000.u`, which adds numeric IDs and errors, symbolic links and devices.
    Unix,
    /// `9P2000.L`, the system calls of a Linux file system. The variant exists without the feature
    /// `linux`, too, but is never negotiated.
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

    /// Returns the dialect that answers an offered version, or `None` if the answer is `unknown`.
    ///
    /// version(5): the client's string may have a suffix after a period, which a server that does
    /// not know it may drop. So `9P2000.x` becomes [`Legacy`](Dialect::Legacy), and so does `.L`
    /// without the feature `linux`.
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

/// The dialects that have the rows of a section of the message table.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// All three dialects.
    All,
    /// 9P2000 and .u. In .L other messages replace these.
    Classic,
    /// Only .L.
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
