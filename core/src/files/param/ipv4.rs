//! A parameter whose value is an IPv4 address.

use core::fmt;
use core::net::Ipv4Addr;

use super::ParamType;
use super::number::is_numeric;
use crate::Decimal;

/// An IPv4 address. Clients read and write the address as four decimal numbers, such as
/// `192.168.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Ipv4(pub [u8; 4]);

impl From<Ipv4Addr> for Ipv4 {
    fn from(address: Ipv4Addr) -> Ipv4 {
        Ipv4(address.octets())
    }
}

impl From<Ipv4> for Ipv4Addr {
    fn from(address: Ipv4) -> Ipv4Addr {
        address.0.into()
    }
}

impl Ipv4 {
    /// Creates an address from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 4]) -> Ipv4 {
        Ipv4(bytes)
    }
}

impl ParamType for Ipv4 {
    type Limits = ();
    const ANY: () = ();
    const ZERO: Ipv4 = Ipv4([0; 4]);

    fn parse(text: &[u8], (): &()) -> Option<Ipv4> {
        let mut address = [0; 4];
        let mut parts = text.split(|byte| *byte == b'.');
        for octet in &mut address {
            *octet = parse_octet(parts.next()?)?;
        }
        parts.next().is_none().then_some(Ipv4(address))
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        is_numeric(text)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        let mut separator = "";
        for octet in self.0 {
            out.write_str(separator)?;
            write!(out, "{}", Decimal::from(octet))?;
            separator = ".";
        }
        Ok(())
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("an IPv4 address such as 192.168.0.1")
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("\"type\":\"ipv4\"")
    }
}

/// Parses a decimal number. Rejects leading zeros, because some programs interpret numbers with
/// leading zeros as octal.
fn parse_octet(text: &[u8]) -> Option<u8> {
    match text {
        [] | [b'0', _, ..] => None,
        digits => digits.iter().try_fold(0u8, |value, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            value.checked_mul(10)?.checked_add(digit as u8)
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn addresses_are_read_as_in_the_core_library() {
        for text in [
            "0.0.0.0",
            "192.168.0.1",
            "255.255.255.255",
            "",
            "1.2.3",
            "1.2.3.4.",
            "1.2.3.4.5",
            "1..3.4",
            "256.0.0.1",
            "01.2.3.4",
            "00.0.0.0",
            "1.2.3.-4",
            "1.2.3.a",
            "1.2.3.4 ",
        ] {
            let ours = Ipv4::parse(text.as_bytes(), &()).map(Ipv4Addr::from);
            assert_eq!(ours, text.parse().ok(), "{text}");
            if let Some(address) = ours {
                let mut shown = String::new();
                Ipv4::from(address).render(&(), &mut shown).unwrap();
                assert_eq!(shown, text);
            }
        }
    }
}
