//! The names under which clients appear in files.

use core::fmt;

use crate::Decimal;
use crate::vfs::Client;

/// A function that writes a client's name, such as its network address. The name must not contain
/// whitespace. If the function writes nothing, the name is `client-N`, where N is the client's
/// number.
pub type NameClient = fn(Client, &mut dyn fmt::Write) -> fmt::Result;

/// Writes nothing, so each client's name is `client-N`.
///
/// # Errors
/// Returns no error.
pub fn unnamed(_: Client, _: &mut dyn fmt::Write) -> fmt::Result {
    Ok(())
}

/// Displays a client's name, or `program` for [`Client::PROGRAM`].
#[derive(Clone, Copy)]
pub struct ClientName {
    /// The client.
    pub client: Client,
    /// The function that writes the client's name.
    pub name: NameClient,
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.client == Client::PROGRAM {
            return f.write_str("program");
        }
        let mut out = Wrote { out: f, any: false };
        (self.name)(self.client, &mut out)?;
        let any = out.any;
        if any { Ok(()) } else { write!(f, "client-{}", Decimal::from(self.client.0)) }
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A writer that records whether any text has been written to it.
struct Wrote<'a, 'f> {
    out: &'a mut fmt::Formatter<'f>,
    any: bool,
}

impl fmt::Write for Wrote<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.any |= !s.is_empty();
        self.out.write_str(s)
    }

    fn write_char(&mut self, character: char) -> fmt::Result {
        crate::vfs::write_char(self, character)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn clients_without_a_name_show_their_number() {
        let name: NameClient = |client, out| match client.0 {
            1 => out.write_str("10.0.2.2:4711"),
            _ => Ok(()),
        };
        let shown = |client| ClientName { client, name }.to_string();
        assert_eq!(shown(Client(1)), "10.0.2.2:4711");
        assert_eq!(shown(Client(2)), "client-2");
        assert_eq!(shown(Client::PROGRAM), "program");
    }
}
