//! A parameter whose value is an Ethernet address.

use core::fmt;

use super::ParamType;
use super::hex::{parse_pairs, write_pairs};
use super::number::is_numeric;

/// An Ethernet (MAC) address. Clients read the address as `02:00:00:12:ab:ff`. Clients may also
/// write the address with hyphens, in uppercase, or without separators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Creates an address from its bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 6]) -> Mac {
        Mac(bytes)
    }
}

impl ParamType for Mac {
    type Limits = ();
    const ANY: () = ();
    const ZERO: Mac = Mac([0; 6]);

    fn parse(text: &[u8], (): &()) -> Option<Mac> {
        let mut address = [0; 6];
        let count = parse_pairs(text, &mut address)?;
        (count == address.len()).then_some(Mac(address))
    }

    fn may_continue(text: &[u8], (): &()) -> bool {
        is_numeric(text)
    }

    fn render(&self, (): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        write_pairs(&self.0, ":", out)
    }

    fn allowed((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("an Ethernet address such as 02:00:00:12:ab:ff")
    }

    fn schema((): &(), out: &mut dyn fmt::Write) -> fmt::Result {
        out.write_str("\"type\":\"mac\"")
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_separators() {
        let address = Mac([2, 0, 0, 0x12, 0xab, 0xff]);
        for text in ["02:00:00:12:ab:ff", "02-00-00-12-AB-FF", "02000012abff"] {
            assert_eq!(Mac::parse(text.as_bytes(), &()), Some(address), "{text}");
        }
        for text in ["", "02:00:00:12:ab", "02:00:00:12:ab:ff:00", "2:0:0:12:ab:ff", "0g0000000000"]
        {
            assert_eq!(Mac::parse(text.as_bytes(), &()), None, "{text}");
        }
        let mut shown = String::new();
        address.render(&(), &mut shown).unwrap();
        assert_eq!(shown, "02:00:00:12:ab:ff");
    }
}
