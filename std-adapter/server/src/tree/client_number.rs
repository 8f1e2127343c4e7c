//! The numbers of connections. The files of core identify a client by its number.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datakit_core::params::client_left;
use datakit_core::vfs::{Client, Error, Result};
use parking_lot::Mutex;

/// The names of all connections that have a number, keyed by the number. All trees in the process
/// share the numbers, because the parameters of core are shared as well.
static NAMES: Mutex<BTreeMap<u8, Arc<str>>> = Mutex::new(BTreeMap::new());

/// The number by which files of core identify a connection. Clones refer to the same connection.
///
/// A connection gets a number when it first opens a file of core, so connections that use no such
/// file do not count towards the maximum of 255 numbers. When the last clone is dropped, the end of
/// the connection is reported to the observers of parameters, and another connection can get the
/// number.
#[derive(Clone, Default)]
pub struct ClientNumber(Option<Arc<Connection>>);

struct Connection {
    name: Arc<str>,
    number: Mutex<Option<Client>>,
}

impl ClientNumber {
    /// Creates the number of a connection. `name` identifies the connection to other clients, for
    /// example by its address. White space in the name is replaced with `_`.
    #[must_use]
    pub fn new(name: &str) -> ClientNumber {
        let name = name.replace(char::is_whitespace, "_").into();
        ClientNumber(Some(Arc::new(Connection { name, number: Mutex::new(None) })))
    }

    /// Returns the number, or [`Client::PROGRAM`] for the default of this type.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the connection has no number yet and all 255 numbers are in use.
    pub fn get(&self) -> Result<Client> {
        let Some(connection) = &self.0 else { return Ok(Client::PROGRAM) };
        let mut number = connection.number.lock();
        if let Some(number) = *number {
            return Ok(number);
        }
        let mut names = NAMES.lock();
        let free = (0..Client::PROGRAM.0).find(|number| !names.contains_key(number));
        let free = free.ok_or_else(|| {
            Error::Busy.with_message("255 connections use these files, which is the maximum")
        })?;
        names.insert(free, connection.name.clone());
        *number = Some(Client(free));
        Ok(Client(free))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(client) = *self.number.get_mut() {
            // The number must stay in use until all observers know about the end of the connection.
            client_left(client);
            NAMES.lock().remove(&client.0);
        }
    }
}

impl fmt::Debug for ClientNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.0.as_deref();
        f.debug_struct("ClientNumber")
            .field("name", &connection.map(|connection| &*connection.name))
            .field("number", &connection.and_then(|connection| *connection.number.lock()))
            .finish()
    }
}

/// Writes the name of the connection with this number. Pass this function to
/// [`ParamSet::name_clients`](datakit_core::params::ParamSet::name_clients). Writes nothing if no
/// connection has this number.
///
/// # Errors
/// Returns the error of `out`.
pub fn client_name(client: Client, out: &mut dyn fmt::Write) -> fmt::Result {
    let name = NAMES.lock().get(&client.0).cloned();
    name.map_or(Ok(()), |name| out.write_str(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_of(client: Client) -> String {
        let mut name = String::new();
        client_name(client, &mut name).unwrap();
        name
    }

    #[test]
    fn a_number_is_assigned_on_first_use_and_released_with_the_last_clone() {
        let number = ClientNumber::new("10.0.0.1:4711 (a b)");
        let clone = number.clone();
        let client = number.get().unwrap();
        assert_ne!(client, Client::PROGRAM);
        assert_eq!(clone.get(), Ok(client));
        assert_eq!(name_of(client), "10.0.0.1:4711_(a_b)");
        drop(number);
        assert_eq!(name_of(client), "10.0.0.1:4711_(a_b)");
        drop(clone);
        assert_ne!(name_of(client), "10.0.0.1:4711_(a_b)");
        assert_eq!(ClientNumber::default().get(), Ok(Client::PROGRAM));
        assert_eq!(name_of(Client::PROGRAM), "");
    }
}
