//! The three dialects, their version strings, and the sections of the message table that they use.

use super::Str;

/// A protocol version negotiated by client and server. All dialects share one message table and one
/// set of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Dialect {
    /// `9P2000`, which sends errors as text and identifies users by name. Without the `classic`
    /// feature, this variant and `Unix` exist but are never negotiated.
    Legacy,
    /// `9P2000.u`, which adds numeric IDs, error numbers, symbolic links and devices.
    Unix,
    /// `9P2000.L`, which mirrors the system calls of a Linux file system. Without the `linux`
    /// feature, this variant exists but is never negotiated.
    Linux,
}

impl Dialect {
    /// Returns the dialect's version string, as sent in Tversion and Rversion.
    pub const fn version(self) -> &'static str {
        match self {
            Dialect::Legacy => "9P2000",
            Dialect::Unix => "9P2000.u",
            Dialect::Linux => "9P2000.L",
        }
    }

    /// Returns the dialect to offer in reply to a client that requests `version`, or `None` if the
    /// server must reply with `unknown`.
    ///
    /// According to version(5), the client's version string may have a suffix after a period. A
    /// server that does not recognize the suffix may ignore it. For example, `9P2000.x` is treated
    /// as [`Legacy`](Dialect::Legacy). Without the `linux` feature, `9P2000.L` is also treated as
    /// `Legacy`. Without the `classic` feature, only `9P2000.L` is supported.
    pub fn offered(version: Str<'_>) -> Option<Self> {
        let suffix = version.as_bytes().strip_prefix(b"9P2000")?;
        match suffix {
            // A version such as `9P2000.L.Google.7` has a second suffix, which may also be ignored.
            #[cfg(feature = "linux")]
            b".L" | [b'.', b'L', b'.', ..] => Some(Dialect::Linux),
            #[cfg(feature = "classic")]
            b".u" => Some(Dialect::Unix),
            #[cfg(feature = "classic")]
            b"" | [b'.', ..] => Some(Dialect::Legacy),
            _ => None,
        }
    }
}

/// The dialects that use a section of the message table.
#[derive(Clone, Copy)]
pub(super) enum Rows {
    /// All three dialects use the section.
    All,
    /// Only 9P2000 and 9P2000.u use the section. 9P2000.L uses different messages instead.
    #[cfg(feature = "classic")]
    Classic,
    /// Only 9P2000.L uses the section.
    #[cfg(feature = "linux")]
    Linux,
}

impl Rows {
    #[inline(always)]
    pub(super) const fn has(self, dialect: Dialect) -> bool {
        match self {
            Rows::All => true,
            #[cfg(feature = "classic")]
            Rows::Classic => !matches!(dialect, Dialect::Linux),
            #[cfg(feature = "linux")]
            Rows::Linux => matches!(dialect, Dialect::Linux),
        }
    }
}
