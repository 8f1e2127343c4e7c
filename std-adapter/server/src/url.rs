//! The endpoints that servers listen on and clients connect to.

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

/// An endpoint, parsed from text.
///
/// | text | endpoint |
/// |---|---|
/// | `tcp://HOST[:PORT]`, `tcp:HOST[:PORT]`, `HOST[:PORT]` | TCP; the port defaults to 5640 |
/// | `unix://PATH`, `file://PATH`, `/PATH`, `./PATH`, `../PATH` | a Unix socket |
/// | `fd://N` | an inherited listening socket, as passed by inetd and systemd |
/// | `\\.\pipe\NAME` | a Windows named pipe |
/// | `hyperv-connect://VMID[/SERVICE]`, `hyperv-accept://VMID[/SERVICE]` | a Hyper-V socket |
///
/// An IPv6 address must be enclosed in brackets: `[::1]:5640`. A name without a slash always
/// denotes a host, so the socket `x.sock` in the working directory must be written as `./x.sock`.
///
/// [`Display`] formats the endpoint as a URL. The URL of a TCP endpoint always includes the port.
///
/// ```
/// use datakit_server::Url;
///
/// let url: Url = "localhost".parse()?;
/// assert_eq!(url.to_string(), "tcp://localhost:5640");
/// let url: Url = "/run/datakit.sock".parse()?;
/// assert_eq!(url.to_string(), "unix:///run/datakit.sock");
/// # Ok::<(), datakit_server::InvalidUrl>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Url {
    /// A TCP endpoint.
    Tcp {
        /// A host name, an IPv4 address, or an IPv6 address without its brackets.
        host: String,
        /// The port number. If a server binds to port 0, the system assigns a free port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
    /// A Unix socket, written in the older form `file://PATH`.
    File(PathBuf),
    /// The file descriptor of an inherited listening socket.
    Fd(u32),
    /// The full name of a Windows named pipe, including `\\.\pipe\`.
    Pipe(String),
    /// A Hyper-V socket to which a client connects.
    HypervConnect(Hyperv),
    /// A Hyper-V socket on which a server listens.
    HypervAccept(Hyperv),
}

impl Url {
    /// The port to use if an address does not specify one.
    pub const DEFAULT_PORT: u16 = 5640;
}

/// A service on a Hyper-V virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Hyperv {
    /// The virtual machine.
    pub vmid: String,
    /// The service, if the URL specifies one.
    pub service: Option<String>,
}

impl Hyperv {
    /// The service to use if a URL does not specify one.
    pub const DEFAULT_SERVICE: &str = "C378280D-DA14-42C8-A24E-0DE92A1028E2";

    /// Returns the service, or [`DEFAULT_SERVICE`](Hyperv::DEFAULT_SERVICE) if the URL does not
    /// specify one.
    #[must_use]
    pub fn service(&self) -> &str {
        self.service.as_deref().unwrap_or(Hyperv::DEFAULT_SERVICE)
    }
}

/// The error returned for a string that is not a valid [`Url`]. The error message describes the
/// mistake and shows the correct form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidUrl {
    text: String,
    reason: UrlErrorReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UrlErrorReason {
    Form,
    Scheme,
    Path,
    Hyperv,
    Host,
    Port,
    Brackets,
    Fd,
}

impl Display for InvalidUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let InvalidUrl { text, reason } = self;
        if let UrlErrorReason::Fd = reason {
            let number = text.trim_start_matches("fd://");
            return write!(
                f,
                "Failed to parse command-line argument [{number}]: use fd://N, for example fd://3"
            );
        }
        write!(f, "invalid endpoint `{text}`: ")?;
        f.write_str(match reason {
            UrlErrorReason::Form => "use host:port, tcp://host:port, unix://path, /path or ./path",
            UrlErrorReason::Scheme => {
                "unknown scheme, use tcp, unix, file, fd, hyperv-connect or hyperv-accept"
            }
            UrlErrorReason::Path => "no path, use unix:///run/name.sock",
            UrlErrorReason::Hyperv => "use hyperv-connect://vmid or hyperv-connect://vmid/service",
            UrlErrorReason::Host => "no valid host name, use tcp://host:port",
            UrlErrorReason::Port => "the port must be a number up to 65535, use tcp://host:port",
            UrlErrorReason::Brackets => "an IPv6 address needs brackets, use tcp://[::1]:5640",
            UrlErrorReason::Fd => "",
        })
    }
}

impl std::error::Error for InvalidUrl {}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Url, InvalidUrl> {
        parse(text).map_err(|reason| InvalidUrl { text: text.to_owned(), reason })
    }
}

fn parse(text: &str) -> Result<Url, UrlErrorReason> {
    if text.starts_with(r"\\") {
        return Ok(Url::Pipe(text.to_owned()));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return match scheme {
            "tcp" => parse_tcp(rest),
            "fd" => rest.parse().map(Url::Fd).map_err(|_| UrlErrorReason::Fd),
            "unix" | "file" if rest.is_empty() => Err(UrlErrorReason::Path),
            "unix" => Ok(Url::Unix(rest.into())),
            "file" => Ok(Url::File(rest.into())),
            "hyperv-connect" => parse_hyperv(rest).map(Url::HypervConnect),
            "hyperv-accept" => parse_hyperv(rest).map(Url::HypervAccept),
            _ => Err(UrlErrorReason::Scheme),
        };
    }
    if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
        return Ok(Url::Unix(text.into()));
    }
    match text.strip_prefix("tcp:") {
        Some(rest) => parse_tcp(rest),
        None if text.is_empty() || text.contains('/') => Err(UrlErrorReason::Form),
        None => parse_tcp(text),
    }
}

fn parse_tcp(address: &str) -> Result<Url, UrlErrorReason> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => match rest.split_once(']').ok_or(UrlErrorReason::Brackets)? {
            (host, "") => (host, None),
            (host, port) => (host, Some(port.strip_prefix(':').ok_or(UrlErrorReason::Port)?)),
        },
        None => match address.split_once(':') {
            Some((_, rest)) if rest.contains(':') => return Err(UrlErrorReason::Brackets),
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    // The system would interpret a bare number as an IPv4 address.
    let is_number = host.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || host.contains(|c: char| c.is_whitespace() || r"/\@?#[]".contains(c)) {
        return Err(UrlErrorReason::Host);
    }
    let port = match port {
        Some(port) => port.parse().map_err(|_| UrlErrorReason::Port)?,
        None => Url::DEFAULT_PORT,
    };
    Ok(Url::Tcp { host: host.to_owned(), port })
}

fn parse_hyperv(rest: &str) -> Result<Hyperv, UrlErrorReason> {
    let (vmid, service) =
        rest.split_once('/').map_or((rest, None), |(vmid, service)| (vmid, Some(service)));
    if vmid.is_empty() || service.is_some_and(str::is_empty) {
        return Err(UrlErrorReason::Hyperv);
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
    fn v21_urls_print_as_they_were_written() {
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
    fn short_addresses_print_as_urls() {
        for (text, url) in [
            ("localhost", "tcp://localhost:5640"),
            ("localhost:564", "tcp://localhost:564"),
            ("build-host.example:0", "tcp://build-host.example:0"),
            ("127.0.0.1:1", "tcp://127.0.0.1:1"),
            ("[::1]", "tcp://[::1]:5640"),
            ("[fe80::1%eth0]:564", "tcp://[fe80::1%eth0]:564"),
            ("tcp:localhost:1234", "tcp://localhost:1234"),
            ("tcp:localhost", "tcp://localhost:5640"),
            ("tcp:[::1]:1", "tcp://[::1]:1"),
            ("/run/x.sock", "unix:///run/x.sock"),
            ("./x.sock", "unix://./x.sock"),
            ("../run/a:b", "unix://../run/a:b"),
            // A name without a slash denotes a host.
            ("x.sock", "tcp://x.sock:5640"),
        ] {
            let parsed = text.parse::<Url>().unwrap();
            assert_eq!(parsed.to_string(), url, "{text}");
            assert_eq!(url.parse(), Ok(parsed), "{text}");
        }
    }

    #[test]
    fn v21_port_and_service_have_defaults() {
        assert_eq!("tcp://localhost".parse::<Url>().unwrap().to_string(), "tcp://localhost:5640");
        assert_eq!(
            "tcp://[::1]".parse::<Url>().unwrap(),
            Url::Tcp { host: "::1".into(), port: Url::DEFAULT_PORT }
        );
        let Ok(Url::HypervAccept(hyperv)) = "hyperv-accept://test".parse() else {
            panic!("expected a Hyper-V endpoint")
        };
        assert_eq!((hyperv.vmid.as_str(), hyperv.service()), ("test", Hyperv::DEFAULT_SERVICE));
    }

    #[test]
    fn v21_errors_name_the_mistake_and_the_right_form() {
        for (text, expected) in [
            ("", "use host:port, tcp://host:port, unix://path"),
            ("run/x.sock", "/path or ./path"),
            ("unix:/run/x.sock", "unix://path"),
            ("http://localhost", "unknown scheme"),
            ("unix://", "no path"),
            ("hyperv-accept://", "hyperv-connect://vmid"),
            ("hyperv-accept://x/", "hyperv-connect://vmid"),
            ("localhost:port", "the port must be a number up to 65535, use tcp://host:port"),
            ("localhost:", "the port must be"),
            ("tcp://localhost:65536", "the port must be"),
            ("tcp://localhost:-1", "the port must be"),
            ("tcp://[::1]x", "the port must be"),
            ("tcp://[::1]:x", "the port must be"),
            ("tcp://::1", "an IPv6 address needs brackets, use tcp://[::1]:5640"),
            ("::1:5640", "brackets"),
            ("name:with:colons", "brackets"),
            ("tcp://[::1", "brackets"),
            (":5640", "no valid host name, use tcp://host:port"),
            ("5640", "no valid host name"),
            ("tcp:5640", "no valid host name"),
            ("tcp://a/b:1", "no valid host name"),
            ("user@host:1", "no valid host name"),
            ("two words", "no valid host name"),
        ] {
            let error = text.parse::<Url>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid endpoint `{text}`: ")), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        for number in ["three", "-1", ""] {
            assert_eq!(
                format!("fd://{number}").parse::<Url>().unwrap_err().to_string(),
                format!(
                    "Failed to parse command-line argument [{number}]: use fd://N, for example fd://3"
                )
            );
        }
    }
}
