//! Ways to another repository that end when it says nothing for too long.

use std::any::Any;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gix::bstr::ByteSlice;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::{Transport, connect, http};
use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};
use gix::url::Scheme;
use gix::{Error, Repository, Result, Url};

use super::program::{self, Words};
use crate::db::patient::Patient;

/// Connects to `url`. Whoever says nothing for as long as `patience` is given up: what waits fails as [`silent`] knows, and programs are
/// killed. Only the system's search for the address of a name takes as long as it takes; that ends by itself.
///
/// An HTTP connection has to be configured with [`options`].
pub(super) fn connect(
    repository: &Repository,
    url: Url,
    version: Protocol,
    patience: Option<Duration>,
    words: &Words,
) -> Result<Box<dyn Transport + Send>> {
    match url.scheme {
        Scheme::Git if url.user().is_none() => daemon(&url, version, patience),
        Scheme::Ssh => program::connect(program::ssh(repository, &url, version)?, &url, version, patience, words),
        Scheme::File if url.host().is_none() => {
            program::connect(program::local(&url, version), &url, version, patience, words)
        }
        // What is not understood is refused there.
        _ => connect::connect(url, connect::Options { version, ..Default::default() }),
    }
}

/// What a connection to `url` is to be configured with, if that is by HTTP.
pub(super) fn options(repository: &Repository, url: &Url, patience: Option<Duration>) -> Result<Option<Box<dyn Any>>> {
    let mut options = repository.transport_options(url.to_bstring().as_bstr(), None)?;
    if let Some(options) = options.as_mut().and_then(|options| options.downcast_mut::<http::Options>()) {
        // A machine may know no certificates, and no client can be made then, not even one that needs none.
        let bare = url.scheme == Scheme::Http && reqwest::Client::builder().build().is_err();
        let backend = http::reqwest::Options {
            configure_client: Some(Box::new(move |client| {
                let client = if bare { client.tls_certs_only([]) } else { client };
                // Of a client that blocks, the time-out is that of each wait, and not of a whole request.
                Ok(match patience {
                    Some(patience) => client.timeout(patience).connect_timeout(patience),
                    None => client.timeout(None),
                })
            })),
            ..Default::default()
        };
        options.backend = Some(Arc::new(Mutex::new(backend)));
    }
    Ok(options)
}

/// Whether it was because of the other side's silence that something failed.
pub(super) fn silent(error: &Error) -> bool {
    error.iter_errors().any(|error| {
        let io = error.downcast_ref::<io::Error>().map(|error| error.kind() == io::ErrorKind::TimedOut);
        let http = error.downcast_ref::<reqwest::Error>().map(reqwest::Error::is_timeout);
        io == Some(true) || http == Some(true)
    })
}

/// By `git://`.
fn daemon(url: &Url, version: Protocol, patience: Option<Duration>) -> Result<Box<dyn Transport + Send>> {
    let host = url.host().unwrap_or_default();
    let input = reach((host, url.port.unwrap_or(9418)), patience).map_err(Error::from_error)?;
    let output = input.try_clone().map_err(Error::from_error)?;
    let (input, output) = (Patient::new(input, patience), Patient::new(output, patience));
    let (path, host) = (url.path.clone(), Some((host, url.port)));
    let connection = Connection::new(input, output, version, path, host, ConnectMode::Daemon, false);
    Ok(Box::new(connection.custom_url(Some(url.to_bstring()))))
}

/// The first address of a host that answers.
fn reach(host: impl ToSocketAddrs, patience: Option<Duration>) -> io::Result<TcpStream> {
    let Some(patience) = patience else { return TcpStream::connect(host) };
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in host.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
