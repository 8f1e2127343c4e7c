//! The address of an HTTP server, as given on the command line.

use std::fmt::{self, Display};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use datakit_server::listen_error;
use tokio::net::TcpListener;

/// An address to listen on: a host and a port, or a port on all interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAddress {
    /// A host name, an IPv4 address, or an IPv6 address without brackets. `None` means all
    /// interfaces.
    host: Option<String>,
    /// The port, or 0 to let the system choose a free one.
    port: u16,
}

impl HttpAddress {
    /// Listens on the address. Returns the socket and its address, which contains the port picked
    /// by the system if the given port is 0.
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound, for example because the port is in use or
    /// the name cannot be resolved. The error message includes `url`.
    pub async fn bind(&self, url: &str) -> io::Result<(TcpListener, HttpAddress)> {
        let HttpAddress { host, port } = self;
        let socket = match host {
            Some(host) => TcpListener::bind((host.as_str(), *port)).await,
            // The IPv6 socket also accepts IPv4 connections, but some systems do not support IPv6.
            None => {
                let any: [SocketAddr; 2] =
                    [(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()];
                TcpListener::bind(&any[..]).await
            }
        };
        let named = |error| listen_error(format_args!("{url}"), error);
        let socket = socket.map_err(named)?;
        let port = socket.local_addr().map_err(named)?.port();
        Ok((socket, HttpAddress { host: host.clone(), port }))
    }

    /// Returns the host and port for a URL that a program on this computer can open. The host is
    /// `127.0.0.1` if the address stands for all interfaces.
    #[must_use]
    pub fn local(&self) -> String {
        match &self.host {
            None => format!("127.0.0.1:{}", self.port),
            Some(_) => self.to_string(),
        }
    }
}

/// The error returned if a string is not a valid address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAddress;

impl Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("use PORT or HOST:PORT, for example 9090 or 127.0.0.1:9090")
    }
}

impl std::error::Error for InvalidAddress {}

impl FromStr for HttpAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<HttpAddress, InvalidAddress> {
        let (host, port) =
            text.rsplit_once(':').map_or((None, text), |(host, port)| (Some(host), port));
        let port = port.parse().map_err(|_| InvalidAddress)?;
        let host = match host {
            None | Some("*") => None,
            Some(host) => Some(parse_host(host).ok_or(InvalidAddress)?.to_owned()),
        };
        Ok(HttpAddress { host, port })
    }
}

/// Returns the host without brackets, or `None` if the host is invalid. An IPv6 address must be
/// enclosed in brackets.
fn parse_host(host: &str) -> Option<&str> {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':')),
        None => Some(host).filter(|host| !host.is_empty() && !host.contains([':', '/'])),
    }
}

impl Display for HttpAddress {
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
    fn a_printed_address_parses_to_itself() {
        for (text, printed) in [
            ("0", "*:0"),
            ("*:9090", "*:9090"),
            ("localhost:9090", "localhost:9090"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:65535", "[::1]:65535"),
        ] {
            let address: HttpAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), printed);
            assert_eq!(printed.parse(), Ok(address));
        }
    }

    #[test]
    fn an_invalid_address_is_refused() {
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
            assert_eq!(text.parse::<HttpAddress>(), Err(InvalidAddress), "{text}");
        }
    }
}
