//! The numbers assigned to connections. `datakit-core` files identify a client by a number.

use std::fmt;
use std::sync::Arc;

use datakit_core::params::{client_left, unnamed};
use datakit_core::vfs::{Client, Error, Result};
use parking_lot::Mutex;

use crate::budget::{Budget, Reservation};

/// The number of bytes of text that the open files of a connection may keep in total. Such text is
/// a value or a command that is not complete yet, or the text that a client is reading. A client
/// may have 65536 open files, which could otherwise keep 64 KiB each.
const TEXT_LIMIT: u64 = 4 << 20;
/// The limit for all connections together if they use the same handle to the tree.
const SHARED_TEXT_LIMIT: u64 = 64 << 20;

/// All trees in the process share these numbers, because the parameters in `datakit-core` are
/// shared as well.
static NUMBERS: Mutex<Numbers> = Mutex::new(Numbers { owners: Vec::new(), next: 0 });

struct Numbers {
    /// The last connection to which each number was assigned, indexed by number. The list ends at
    /// the first number that has never been assigned.
    owners: Vec<Owner>,
    /// The number to try first for the next connection. Numbers are assigned in turn so that a
    /// connection's name remains available for some time after the connection has ended.
    next: u8,
}

struct Owner {
    name: Arc<str>,
    is_connected: bool,
}

/// The number by which `datakit-core` files identify a connection, and the limit on the texts of
/// the connection's open files. Clones refer to the same connection.
///
/// A connection is assigned a number when it first opens a `datakit-core` file. A connection that
/// never opens such a file does not use up any of the 255 numbers. When the last clone is dropped,
/// the parameter observers are notified that the connection has ended, and the number becomes
/// available to other connections.
#[derive(Clone, Default)]
pub struct ClientNumber {
    connection: Option<Arc<NamedConnection>>,
    /// The budget to which the texts of open files are charged, or `None` for no limit.
    texts: Option<Arc<Budget>>,
}

/// The program itself, whose texts are not limited.
pub(super) static PROGRAM: ClientNumber = ClientNumber { connection: None, texts: None };

struct NamedConnection {
    name: Arc<str>,
    number: Mutex<Option<Client>>,
}

impl ClientNumber {
    /// Creates a number for a connection. `name` identifies the connection to other clients, for
    /// example by its address. White space in the name is replaced with `_`.
    #[must_use]
    pub fn new(name: &str) -> ClientNumber {
        let name = name.replace(char::is_whitespace, "_").into();
        let connection = NamedConnection { name, number: Mutex::new(None) };
        ClientNumber { connection: Some(Arc::new(connection)), ..ClientNumber::for_connection() }
    }

    /// Creates a value for a connection without a number. The texts of the connection's open files
    /// are limited.
    pub(super) fn for_connection() -> ClientNumber {
        ClientNumber { connection: None, texts: Some(Budget::new(TEXT_LIMIT)) }
    }

    /// Creates a value for connections that are not told apart. The texts of all their open files
    /// are limited.
    pub(super) fn for_all_connections() -> ClientNumber {
        ClientNumber { connection: None, texts: Some(Budget::new(SHARED_TEXT_LIMIT)) }
    }

    /// Returns `true` if the connection has a name.
    pub(super) fn is_named(&self) -> bool {
        self.connection.is_some()
    }

    /// Returns the number, or [`Client::PROGRAM`] if the connection has no name.
    ///
    /// # Errors
    /// Returns [`Error::Busy`] if the connection does not have a number yet and all 255 numbers are
    /// in use.
    pub fn get(&self) -> Result<Client> {
        let Some(connection) = &self.connection else { return Ok(Client::PROGRAM) };
        let mut number = connection.number.lock();
        if let Some(number) = *number {
            return Ok(number);
        }
        let assigned = NUMBERS.lock().assign(connection.name.clone())?;
        *number = Some(assigned);
        Ok(assigned)
    }

    /// Creates an empty reservation for the text of an open file. Returns `None` if the texts are
    /// not limited.
    pub(super) fn text_reservation(&self) -> Option<Reservation> {
        self.texts.as_ref().map(Budget::empty_reservation)
    }
}

/// Changes the size of a reservation for the text of an open file. A text that is longer than the
/// limit is charged as if it were as long as the limit, so a client can still open such a file as
/// its only one.
///
/// # Errors
/// Returns [`Error::NoSpace`] with a message if the limit is reached.
pub(super) fn resize_text(reservation: &mut Reservation, bytes: usize) -> Result<()> {
    let limit = reservation.limit();
    reservation.resize(limit.min(bytes as u64)).map_err(|error| {
        error.with_message(format_args!(
            "the open files may have at most {limit} bytes of text; close some of them"
        ))
    })
}

impl Numbers {
    fn assign(&mut self, name: Arc<str>) -> Result<Client> {
        let is_free = |number: &u8| self.owner(*number).is_none_or(|owner| !owner.is_connected);
        let mut numbers = (self.next..Client::PROGRAM.0).chain(0..self.next);
        let free = numbers.find(is_free).ok_or_else(|| {
            Error::Busy.with_message("255 connections use these files, which is the maximum")
        })?;
        let owner = Owner { name, is_connected: true };
        match self.owners.get_mut(usize::from(free)) {
            Some(last) => *last = owner,
            None => self.owners.push(owner),
        }
        self.next = free.saturating_add(1);
        Ok(Client(free))
    }

    fn release(&mut self, client: Client) {
        if let Some(owner) = self.owners.get_mut(usize::from(client.0)) {
            owner.is_connected = false;
        }
    }

    fn owner(&self, number: u8) -> Option<&Owner> {
        self.owners.get(usize::from(number))
    }
}

impl Drop for NamedConnection {
    fn drop(&mut self) {
        if let Some(client) = *self.number.get_mut() {
            // The number must remain in use until all observers have been notified that the
            // connection has ended.
            client_left(client);
            NUMBERS.lock().release(client);
        }
    }
}

impl fmt::Debug for ClientNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection.as_deref();
        f.debug_struct("ClientNumber")
            .field("name", &connection.map(|connection| &*connection.name))
            .field("number", &connection.and_then(|connection| *connection.number.lock()))
            .finish()
    }
}

/// Writes the name of the last connection that had this number. Pass this function to
/// [`ParamSet::name_clients`](datakit_core::params::ParamSet::name_clients). Writes `client-N` if
/// no connection has had this number.
///
/// # Errors
/// Returns an error if writing to `out` fails.
pub fn client_name(client: Client, out: &mut dyn fmt::Write) -> fmt::Result {
    let name = NUMBERS.lock().owner(client.0).map(|owner| owner.name.clone());
    match name {
        Some(name) => out.write_str(&name),
        None => unnamed(client, out),
    }
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
        let is_connected = || NUMBERS.lock().owner(client.0).unwrap().is_connected;
        assert_ne!(client, Client::PROGRAM);
        assert_eq!(clone.get(), Ok(client));
        drop(number);
        assert!(is_connected());
        drop(clone);
        assert!(!is_connected());
        assert_eq!(name_of(client), "10.0.0.1:4711_(a_b)");
        assert_eq!(ClientNumber::default().get(), Ok(Client::PROGRAM));
        assert_eq!(name_of(Client::PROGRAM), "client-255");
    }

    #[test]
    fn numbers_are_assigned_in_turn_until_all_are_in_use() {
        let mut numbers = Numbers { owners: Vec::new(), next: 0 };
        let assign = |numbers: &mut Numbers| numbers.assign("a".into());
        for number in 0..254 {
            assert_eq!(assign(&mut numbers), Ok(Client(number)));
        }
        numbers.release(Client(3));
        assert_eq!(assign(&mut numbers), Ok(Client(254)));
        assert_eq!(assign(&mut numbers), Ok(Client(3)));
        let error = assign(&mut numbers).unwrap_err();
        assert_eq!(error.to_string(), "255 connections use these files, which is the maximum");
        numbers.release(Client(9));
        assert_eq!(assign(&mut numbers), Ok(Client(9)));
    }
}
