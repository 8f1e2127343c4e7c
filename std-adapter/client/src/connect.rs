//! From an address to an attached root: the transport, the version, the attach.

use std::sync::Arc;
use std::time::Duration;

use datakit_core::wire::{Dialect, HEADER, Rmessage, Str, Tag, Tmessage};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::error::{Error, Result};
use super::link::Link;
use datakit_server::keep_alive::keep_alive;
use datakit_server::url::Url;

/// What to ask the server for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The only dialect to accept. `None` asks for 9P2000.L and takes what the server answers.
    pub dialect: Option<Dialect>,
    /// The longest message to offer, in bytes, header included; the server may lower it. At least
    /// 256.
    pub msize: u32,
    /// The user's name.
    pub uname: String,
    /// Which tree of the server; most servers have one and ignore it.
    pub aname: String,
    /// The user's number, in .u and .L; `u32::MAX` is "none, take the name".
    pub n_uname: u32,
    /// The group of what is made, in .L.
    pub gid: u32,
    /// For all of connecting, from the name's address to the attach. No request has a limit
    /// afterwards: a stream waits for as long as it does.
    pub timeout: Duration,
}

impl Default for Options {
    /// Any dialect, 128 KiB of data per message, 10 s to connect in, the user and the group of this
    /// process where they are known.
    fn default() -> Options {
        let uname = std::env::var("USER")
            .ok()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "nobody".into());
        let (n_uname, gid) = ids().unwrap_or((u32::MAX, 0));
        Options {
            dialect: None,
            msize: (128 << 10) + 24,
            uname,
            aname: "/".into(),
            n_uname,
            gid,
            timeout: Duration::from_secs(10),
        }
    }
}

/// The user and the group of this process, as far as the standard library tells.
fn ids() -> Option<(u32, u32)> {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata("/proc/self").ok().map(|own| (own.uid(), own.gid()))
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// Too small for a Tversion and most errors.
const LEAST_MSIZE: u32 = 256;

pub(crate) async fn dial(url: &Url, options: &Options) -> Result<Arc<Link>> {
    match url {
        Url::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(Error::lost)?;
            // Requests are batched here already; waiting for more only adds latency.
            stream.set_nodelay(true).map_err(Error::lost)?;
            // A server that is switched off says nothing, and a stream may be silent for days.
            keep_alive(&stream).map_err(Error::lost)?;
            let (reader, writer) = stream.into_split();
            negotiate(reader, writer, options).await
        }
        #[cfg(unix)]
        Url::Unix(path) | Url::File(path) => {
            let (reader, writer) =
                tokio::net::UnixStream::connect(path).await.map_err(Error::lost)?.into_split();
            negotiate(reader, writer, options).await
        }
        #[cfg(windows)]
        Url::Pipe(name) => {
            let pipe = tokio::net::windows::named_pipe::ClientOptions::new()
                .open(name)
                .map_err(Error::lost)?;
            let (reader, writer) = tokio::io::split(pipe);
            negotiate(reader, writer, options).await
        }
        _ => Err(Error::Unsupported("a client cannot connect to this kind of endpoint")),
    }
}

/// Agrees on a dialect and an msize.
pub(crate) async fn negotiate<R, W>(
    mut reader: R,
    mut writer: W,
    options: &Options,
) -> Result<Arc<Link>>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let offers = match &options.dialect {
        Some(only) => std::slice::from_ref(only),
        None => &[Dialect::Linux, Dialect::Unix, Dialect::Legacy][..],
    };
    for offer in offers {
        let (msize, version) =
            ask(&mut reader, &mut writer, options.msize.max(LEAST_MSIZE), *offer).await?;
        let Some(dialect) = dialect_of(&version) else { continue };
        if options.dialect.is_some_and(|only| only != dialect) {
            return Err(Error::Unsupported(match dialect {
                Dialect::Legacy => "the server speaks 9P2000, not the dialect asked for",
                Dialect::Unix => "the server speaks 9P2000.u, not the dialect asked for",
                Dialect::Linux => "the server speaks 9P2000.L, not the dialect asked for",
            }));
        }
        return Ok(Link::start(reader, writer, dialect, msize, options.gid));
    }
    Err(Error::Unsupported("the server speaks no dialect of 9P that is known here"))
}

fn dialect_of(version: &[u8]) -> Option<Dialect> {
    [Dialect::Linux, Dialect::Unix, Dialect::Legacy]
        .into_iter()
        .find(|dialect| dialect.version().as_bytes() == version)
}

async fn ask<R, W>(
    reader: &mut R,
    writer: &mut W,
    msize: u32,
    dialect: Dialect,
) -> Result<(u32, Vec<u8>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut frame = vec![0; LEAST_MSIZE as usize];
    let message = Tmessage::Version { msize, version: Str(dialect.version().as_bytes()) };
    let length = message
        .encode(Tag::NONE, dialect, &mut frame)
        .map_err(|_| Error::protocol("Tversion does not fit"))?;
    writer.write_all(frame.get(..length).unwrap_or_default()).await.map_err(Error::lost)?;
    writer.flush().await.map_err(Error::lost)?;

    let size = reader.read_u32_le().await.map_err(not_9p)?;
    let rest =
        usize::try_from(size).ok().filter(|size| (HEADER..=LEAST_MSIZE as usize).contains(size));
    let rest = rest.ok_or_else(|| Error::protocol("the first reply is no Rversion"))? - 4;
    let mut reply = size.to_le_bytes().to_vec();
    reply.resize(4 + rest, 0);
    reader.read_exact(reply.get_mut(4..).unwrap_or_default()).await.map_err(not_9p)?;
    match Rmessage::decode(&reply, dialect) {
        Ok((_, Rmessage::Version { msize: agreed, version }))
            if (LEAST_MSIZE..=msize).contains(&agreed) =>
        {
            Ok((agreed, version.as_bytes().to_vec()))
        }
        Ok((_, Rmessage::Version { .. })) => {
            Err(Error::protocol("the server's msize is below 256 or above what was offered"))
        }
        _ => Err(Error::protocol("the first reply is no Rversion")),
    }
}

fn not_9p(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::lost("the server closed it instead of answering Tversion")
        }
        _ => Error::lost(error),
    }
}
