//! Where a server listens and a client connects: one text form for both.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

/// The port of `tcp://HOST`.
pub(crate) const PORT: u16 = 5640;

/// The Hyper-V service of an address that names none.
pub(crate) const HYPERV_SERVICE: &str = "C378280D-DA14-42C8-A24E-0DE92A1028E2";

/// An endpoint. [`FromStr`] reads it, [`Display`] prints it back with the port filled in.
///
/// ```
/// let url: datakit_server::Url = "tcp://localhost".parse()?;
/// assert_eq!(url.to_string(), "tcp://localhost:5640");
/// # Ok::<(), datakit_server::InvalidUrl>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Url {
    /// `tcp://HOST[:PORT]`: a name, an IPv4 address, or an IPv6 address in brackets, which are not
    /// part of `host`.
    Tcp {
        /// Name or address.
        host: String,
        /// Port; 0 asks the system for a free one.
        port: u16,
    },
    /// `unix://PATH`: a Unix socket.
    Unix(PathBuf),
    /// `file://PATH`: the older spelling of [`Url::Unix`].
    File(PathBuf),
    /// `fd://N`: an inherited socket that listens.
    Fd(u32),
    /// `\\.\pipe\NAME`: a Windows named pipe, kept whole.
    Pipe(String),
    /// `hyperv-connect://VMID[/SERVICE]`.
    HypervConnect(Hyperv),
    /// `hyperv-accept://VMID[/SERVICE]`.
    HypervAccept(Hyperv),
}

/// A virtual machine and a service of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hyperv {
    /// The virtual machine.
    pub vmid: String,
    /// The service as it was given; see [`Hyperv::service`].
    pub service: Option<String>,
}

impl Hyperv {
    /// The service to use: [`HYPERV_SERVICE`] when none was given.
    #[must_use]
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or(HYPERV_SERVICE)
    }
}

/// Why a text is not an endpoint. Its text is meant for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUrl {
    /// No form of endpoint starts like this.
    Endpoint,
    /// A `tcp://` without a host, or with a port that is no number up to 65535.
    Tcp,
    /// An `fd://` with something else than a descriptor's number.
    Fd(String),
}

impl Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidUrl::Endpoint => f.write_str("invalid endpoint"),
            InvalidUrl::Tcp => f.write_str("use tcp://host:port"),
            InvalidUrl::Fd(text) => write!(f, "Failed to parse command-line argument [{text}]"),
        }
    }
}

impl std::error::Error for InvalidUrl {}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Url, InvalidUrl> {
        if text.starts_with(r"\\") {
            return Ok(Url::Pipe(text.to_owned()));
        }
        let (scheme, rest) = text.split_once("://").ok_or(InvalidUrl::Endpoint)?;
        match scheme {
            "tcp" => tcp(rest),
            "fd" => rest.parse().map(Url::Fd).map_err(|_| InvalidUrl::Fd(rest.to_owned())),
            _ if rest.is_empty() => Err(InvalidUrl::Endpoint),
            "unix" => Ok(Url::Unix(rest.into())),
            "file" => Ok(Url::File(rest.into())),
            "hyperv-connect" => hyperv(rest).map(Url::HypervConnect),
            "hyperv-accept" => hyperv(rest).map(Url::HypervAccept),
            _ => Err(InvalidUrl::Endpoint),
        }
    }
}

fn tcp(rest: &str) -> Result<Url, InvalidUrl> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or(InvalidUrl::Tcp)?;
            (
                host,
                if after.is_empty() {
                    None
                } else {
                    Some(after.strip_prefix(':').ok_or(InvalidUrl::Tcp)?)
                },
            )
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| InvalidUrl::Tcp))?;
    if host.is_empty() || host.contains('/') {
        return Err(InvalidUrl::Tcp);
    }
    Ok(Url::Tcp { host: host.to_owned(), port })
}

fn hyperv(rest: &str) -> Result<Hyperv, InvalidUrl> {
    let (vmid, service) =
        rest.split_once('/').map_or((rest, None), |(vmid, service)| (vmid, Some(service)));
    if vmid.is_empty() || service.is_some_and(str::is_empty) {
        return Err(InvalidUrl::Endpoint);
    }
    Ok(Hyperv { vmid: vmid.to_owned(), service: service.map(str::to_owned) })
}

impl Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Url::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Url::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Url::Unix(path) => write!(f, "unix://{}", path.display()),
            Url::File(path) => write!(f, "file://{}", path.display()),
            Url::Fd(fd) => write!(f, "fd://{fd}"),
            Url::Pipe(name) => f.write_str(name),
            Url::HypervConnect(hyperv) => write!(f, "hyperv-connect://{hyperv}"),
            Url::HypervAccept(hyperv) => write!(f, "hyperv-accept://{hyperv}"),
        }
    }
}

impl Display for Hyperv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.vmid)?;
        self.service.as_ref().map_or(Ok(()), |service| write!(f, "/{service}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v21_endpoints_are_printed_as_they_were_written() {
        for text in [
            "tcp://localhost:1234",
            "tcp://[::1]:5640",
            "tcp://127.0.0.1:0",
            "file://foo/bar",
            "unix:///run/datakit.sock",
            r"\\file\on\win",
            r"\\.\pipe\datakit",
            "fd://42",
            "hyperv-connect://test",
            "hyperv-accept://test",
            "hyperv-accept://test/C378280D-DA14-42C8-A24E-0DE92A1028E3",
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn v21_the_port_and_the_service_have_defaults() {
        assert_eq!("tcp://localhost".parse::<Url>().unwrap().to_string(), "tcp://localhost:5640");
        assert_eq!(
            "tcp://[::1]".parse::<Url>().unwrap(),
            Url::Tcp { host: "::1".into(), port: PORT }
        );
        let Ok(Url::HypervAccept(hyperv)) = "hyperv-accept://test".parse() else {
            panic!("another kind")
        };
        assert_eq!((hyperv.vmid.as_str(), hyperv.service()), ("test", HYPERV_SERVICE));
    }

    #[test]
    fn v21_a_wrong_endpoint_says_what_is_wrong() {
        for (text, error) in [
            ("", "invalid endpoint"),
            ("localhost:5640", "invalid endpoint"),
            ("http://localhost", "invalid endpoint"),
            ("unix://", "invalid endpoint"),
            ("hyperv-accept://", "invalid endpoint"),
            ("tcp://localhost:port", "use tcp://host:port"),
            ("tcp://localhost:65536", "use tcp://host:port"),
            ("tcp://:1", "use tcp://host:port"),
            ("tcp://::1", "use tcp://host:port"),
            ("tcp://[::1]x", "use tcp://host:port"),
            ("fd://three", "Failed to parse command-line argument [three]"),
            ("fd://-1", "Failed to parse command-line argument [-1]"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap_err().to_string(), error, "{text}");
        }
    }
}
