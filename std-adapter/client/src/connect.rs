//! Connects to a server and negotiates the protocol version.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use datakit_core::wire::{Dialect, HEADER, Rmessage, Str, Tag, Tmessage};
use datakit_server::Url;
use datakit_server::enable_keep_alive;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tracing::{Span, debug};

use super::connection::Connection;
use super::error::{Disconnect, Error, Result};

/// Options for connecting to a server. Start from [`Options::default`] and chain methods to change
/// the defaults.
///
/// ```
/// use std::time::Duration;
///
/// use datakit_client::{Dialect, Options};
///
/// let options = Options::default().dialect(Dialect::Linux).timeout(Duration::from_secs(2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    dialects: Vec<Dialect>,
    msize: u32,
    uname: String,
    aname: String,
    n_uname: u32,
    pub(crate) gid: u32,
    pub(crate) timeout: Duration,
}

impl Default for Options {
    /// The default options offer 9P2000.u, 9P2000.L and 9P2000, in that order. A message can
    /// contain 128 KiB of data. The connection timeout is 10 seconds. The client attaches with the
    /// user id and group id of this process if the standard library can determine them.
    fn default() -> Options {
        let uname = std::env::var("USER")
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "nobody".into());
        let (n_uname, gid) = ids().unwrap_or((u32::MAX, 0));
        Options {
            dialects: vec![Dialect::Unix, Dialect::Linux, Dialect::Legacy],
            msize: (128 << 10) + 24,
            uname,
            aname: "/".into(),
            n_uname,
            gid,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// Offers and accepts only this dialect.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Options {
        self.dialects = vec![dialect];
        self
    }

    /// Offers this dialect first but still accepts the others.
    ///
    /// By default, 9P2000.u is offered first, because its error replies contain text. In 9P2000.L,
    /// error replies contain only numbers, but a rename can move a file to another directory and
    /// replace an existing file.
    #[must_use]
    pub fn prefer(mut self, dialect: Dialect) -> Options {
        self.dialects.retain(|other| *other != dialect);
        self.dialects.insert(0, dialect);
        self
    }

    /// Sets the maximum message length in bytes, including the header. Values below 256 are raised
    /// to 256. The server may choose a lower limit.
    #[must_use]
    pub fn msize(mut self, bytes: u32) -> Options {
        self.msize = bytes.max(MIN_MSIZE);
        self
    }

    /// Sets the user name.
    #[must_use]
    pub fn uname(mut self, name: impl Into<String>) -> Options {
        self.uname = name.into();
        self
    }

    /// Sets the name of the tree to attach to. Most servers have a single tree and ignore the name.
    #[must_use]
    pub fn aname(mut self, name: impl Into<String>) -> Options {
        self.aname = name.into();
        self
    }

    /// Sets the numeric user id, which is sent in 9P2000.u and 9P2000.L. If the id is `u32::MAX`,
    /// the server uses the name instead.
    #[must_use]
    pub fn n_uname(mut self, number: u32) -> Options {
        self.n_uname = number;
        self
    }

    /// Sets the numeric group id for new files, which is sent only in 9P2000.L.
    #[must_use]
    pub fn gid(mut self, number: u32) -> Options {
        self.gid = number;
        self
    }

    /// Sets the connection timeout, which covers everything from the address lookup to the
    /// completed attach. Subsequent requests have no timeout. For example, a read from a stream
    /// waits until the server replies.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Options {
        self.timeout = limit;
        self
    }

    pub(crate) fn user(&self) -> (&str, &str, u32) {
        (&self.uname, &self.aname, self.n_uname)
    }
}

/// Returns the user id and group id of this process if the standard library can determine them.
fn ids() -> Option<(u32, u32)> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").ok().map(|own| (own.uid(), own.gid()))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// The minimum msize in bytes. This size is large enough for Tversion and for most error replies.
const MIN_MSIZE: u32 = 256;

/// Connects to a server and negotiates the protocol version.
pub(crate) async fn dial(url: &Url, options: &Options, span: Span) -> Result<Arc<Connection>> {
    match url {
        Url::Tcp { host, port } => {
            let connecting = TcpStream::connect((host.as_str(), *port));
            let stream = connecting.await.map_err(Disconnect::from)?;
            // Requests are already batched, so Nagle's algorithm would only add latency.
            stream.set_nodelay(true).map_err(Disconnect::from)?;
            // A stream may be silent for days, so only keepalive probes can detect that the server
            // is unreachable.
            enable_keep_alive(&stream).map_err(Disconnect::from)?;
            let (reader, writer) = stream.into_split();
            negotiate(reader, writer, options, span).await
        }
        #[cfg(unix)]
        Url::Unix(path) | Url::File(path) => {
            let stream = UnixStream::connect(path).await.map_err(Disconnect::from)?;
            let (reader, writer) = stream.into_split();
            negotiate(reader, writer, options, span).await
        }
        #[cfg(windows)]
        Url::Pipe(name) => {
            let pipe = tokio::net::windows::named_pipe::ClientOptions::new()
                .open(name)
                .map_err(Disconnect::from)?;
            let (reader, writer) = tokio::io::split(pipe);
            negotiate(reader, writer, options, span).await
        }
        _ => Err(Error::Unsupported("a client cannot connect to this kind of address")),
    }
}

/// Negotiates the dialect and the msize, and starts the connection. Offers the next dialect if the
/// server replies with `unknown`. Records the dialect in `span`.
pub(crate) async fn negotiate<R, W>(
    mut reader: R,
    mut writer: W,
    options: &Options,
    span: Span,
) -> Result<Arc<Connection>>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    debug!("connected");
    for offer in &options.dialects {
        let (msize, version) =
            offer_version(&mut reader, &mut writer, options.msize, *offer).await?;
        let Some(dialect) = dialect_of(&version) else { continue };
        if !options.dialects.contains(&dialect) {
            return Err(Error::Unsupported(match dialect {
                Dialect::Legacy => "the server offers 9P2000, which the options do not allow",
                Dialect::Unix => "the server offers 9P2000.u, which the options do not allow",
                Dialect::Linux => "the server offers 9P2000.L, which the options do not allow",
            }));
        }
        span.record("dialect", dialect.version());
        debug!(dialect = dialect.version(), msize, "agreed on a version");
        return Ok(Connection::start(reader, writer, (dialect, msize), options.gid, span));
    }
    Err(Error::Unsupported("the server supports none of the dialects that the options allow"))
}

fn dialect_of(version: &[u8]) -> Option<Dialect> {
    [Dialect::Linux, Dialect::Unix, Dialect::Legacy]
        .into_iter()
        .find(|dialect| dialect.version().as_bytes() == version)
}

/// Sends one Tversion. Returns the msize and the version from the reply.
async fn offer_version<R, W>(
    reader: &mut R,
    writer: &mut W,
    msize: u32,
    dialect: Dialect,
) -> Result<(u32, Vec<u8>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut frame = vec![0; MIN_MSIZE as usize];
    let message = Tmessage::Version { msize, version: Str(dialect.version().as_bytes()) };
    let length = message
        .encode(Tag::NONE, dialect, &mut frame)
        .map_err(|_| Error::Unsupported("the version does not fit a Tversion"))?;
    writer.write_all(frame.get(..length).unwrap_or_default()).await.map_err(Disconnect::from)?;
    writer.flush().await.map_err(Disconnect::from)?;

    let not_version = || Error::invalid_reply("the first reply is not Rversion");
    let size = reader.read_u32_le().await.map_err(closed_early)?;
    let body = usize::try_from(size)
        .ok()
        .filter(|size| (HEADER..=MIN_MSIZE as usize).contains(size))
        .ok_or_else(not_version)?
        - 4;
    let mut reply = size.to_le_bytes().to_vec();
    reply.resize(4 + body, 0);
    reader.read_exact(reply.get_mut(4..).unwrap_or_default()).await.map_err(closed_early)?;
    match Rmessage::decode(&reply, dialect) {
        Ok((_, Rmessage::Version { msize: agreed, version }))
            if (MIN_MSIZE..=msize).contains(&agreed) =>
        {
            Ok((agreed, version.as_bytes().to_vec()))
        }
        Ok((_, Rmessage::Version { msize: agreed, .. })) => Err(Error::invalid_reply(format!(
            "the server's msize is {agreed}: it must be from {MIN_MSIZE} to the offered {msize}"
        ))),
        _ => Err(not_version()),
    }
}

fn closed_early(error: io::Error) -> Disconnect {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Disconnect::ClosedBeforeVersion,
        _ => error.into(),
    }
}
