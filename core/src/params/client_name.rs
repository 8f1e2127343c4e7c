//! The names under which clients appear in files.

use core::fmt;

use crate::decimal::write_decimal;
use crate::vfs::Client;

/// A function that writes a client's name, such as its network address. The name must not be empty
/// or contain whitespace. For a client without a name, the function can call [`unnamed`].
pub type NameClient = fn(Client, &mut dyn fmt::Write) -> fmt::Result;

/// Writes `client-N`, where N is the client's number.
///
/// # Errors
/// Returns an error if writing to `out` fails.
pub fn unnamed(client: Client, out: &mut dyn fmt::Write) -> fmt::Result {
    out.write_str("client-")?;
    write_decimal(client.0.into(), out)
}

/// Displays a client's name, or `program` for [`Client::PROGRAM`].
#[derive(Clone, Copy)]
pub struct ClientName {
    /// The client.
    pub client: Client,
    /// The function that writes the client's name. By default, the name is `client-N`.
    pub name: Option<NameClient>,
}

impl ClientName {
    /// Writes the name.
    ///
    /// # Errors
    /// Returns an error if writing to `out` fails.
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        if self.client == Client::PROGRAM {
            return out.write_str("program");
        }
        self.name.unwrap_or(unnamed)(self.client, out)
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
            _ => unnamed(client, out),
        };
        let shown = |client| ClientName { client, name: Some(name) }.to_string();
        assert_eq!(shown(Client(1)), "10.0.2.2:4711");
        assert_eq!(shown(Client(2)), "client-2");
        assert_eq!(shown(Client::PROGRAM), "program");
    }
}
