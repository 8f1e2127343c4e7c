//! Where metrics are asked for: `[HOST:]PORT`.

use std::fmt::{self, Display};
use std::str::FromStr;

/// A host and a port, or a port of all interfaces.
///
/// ```
/// use crate::metrics::Address;
///
/// assert_eq!("9090".parse::<Address>()?.to_string(), "*:9090");
/// assert_eq!("[::1]:9090".parse::<Address>()?.host.as_deref(), Some("::1"));
/// # Ok::<(), crate::metrics::InvalidAddress>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or address, that of IPv6 without its brackets; `None` for all interfaces.
    pub host: Option<String>,
    /// Port; 0 asks the system for a free one.
    pub port: u16,
}

/// Why a text is no address. Its text is meant for the person who typed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InvalidAddress;

impl Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("use port or host:port")
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Address, InvalidAddress> {
        let (host, port) =
            text.rsplit_once(':').map_or((None, text), |(host, port)| (Some(host), port));
        let port = port.parse().map_err(|_| InvalidAddress)?;
        let host = match host {
            None | Some("*") => None,
            Some(host) => Some(name(host).ok_or(InvalidAddress)?.to_owned()),
        };
        Ok(Address { host, port })
    }
}

/// The name in it: one with colons is an address of IPv6 and needs its brackets.
fn name(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':')),
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', '/'])),
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            None => write!(f, "*:{}", self.port),
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Some(host) => write!(f, "{host}:{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed() {
        for (text, printed) in [
            ("0", "*:0"),
            ("*:9090", "*:9090"),
            ("localhost:9090", "localhost:9090"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:65535", "[::1]:65535"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
        }
    }

    #[test]
    fn what_is_no_address() {
        for text in [
            "",
            "x",
            "65536",
            "-1",
            "localhost",
            ":9090",
            "localhost:",
            "::1:9090",
            "[]:1",
            "http://a:1",
        ] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text}");
        }
    }
}
