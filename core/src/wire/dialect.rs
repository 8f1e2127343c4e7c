//! The three dialects, their version strings, and which rows of the table each of them has.

use super::Str;

/// What client and server agreed to speak. A dialect is a column of the table of messages, not a
/// second set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dialect {
    /// `9P2000`: errors are text, users are names.
    Legacy,
    /// `9P2000.u`: adds numeric ids and errors, symlinks and devices.
    Unix,
    /// `9P2000.L`: the Linux file calls; only there without feature `linux` so that a `match` reads
    /// the same.
    Linux,
}

impl Dialect {
    /// What Tversion and Rversion call it.
    pub const fn version(self) -> &'static str {
        match self {
            Dialect::Legacy => "9P2000",
            Dialect::Unix => "9P2000.u",
            Dialect::Linux => "9P2000.L",
        }
    }

    /// The dialect to answer an offered version with; `None` for one that is to be answered
    /// `unknown`.
    ///
    /// version(5): the client's string may have a suffix after a period, and "if the server does
    /// not understand the client's version string" it may answer without it: `9P2000.x` becomes
    /// [`Legacy`](Dialect::Legacy), as does `.L` without feature `linux`.
    pub fn offered(version: Str<'_>) -> Option<Self> {
        let suffix = version.as_bytes().strip_prefix(b"9P2000")?;
        match suffix {
            // A suffix of .L itself, `9P2000.L.Google.7`, is one more that may be dropped.
            #[cfg(feature = "linux")]
            b".L" | [b'.', b'L', b'.', ..] => Some(Dialect::Linux),
            b".u" => Some(Dialect::Unix),
            b"" | [b'.', ..] => Some(Dialect::Legacy),
            _ => None,
        }
    }
}

/// The column of the table: who has a row.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// All three dialects.
    All,
    /// 9P2000 and .u; .L replaced them.
    Classic,
    /// .L only.
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
