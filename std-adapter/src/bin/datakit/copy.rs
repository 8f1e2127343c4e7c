//! `datakit cp`: files and directories, between this machine and the server or within the server.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use bytes::{Bytes, BytesMut};
use datakit::client::{Chunks, Client, Dialect, Error, File, Kind, Open, Writes};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::commands::{Done, at, bounded, complaints};
use crate::path::Place;

/// Bytes in one read of a file of this machine.
const PIECE: usize = 1 << 17;

pub(crate) async fn cp(client: &Client, from: &Place, to: &Place, recursive: bool) -> Done {
    if matches!((from, to), (Place::Host(_), Place::Host(_))) {
        return Err("cp: neither path is on the server: write it as :PATH".to_owned());
    }
    let to = if is_dir(client, to).await { to.join(from.last()) } else { to.clone() };
    if !is_dir(client, from).await {
        return file(client, from, &to).await;
    }
    if !recursive {
        return Err(format!("{from}: Is a directory"));
    }
    not_into_itself(client, from, &to).await?;
    let mut later = Later::default();
    dir(client, from, &to, &mut later).await?;
    // Last, so that nothing is copied through a link that the other side chose.
    for (place, target) in later.links {
        link(client, &place, &target).await.map_err(at(&place))?;
    }
    complaints(later.failed)
}

async fn is_dir(client: &Client, place: &Place) -> bool {
    match place {
        Place::Host(path) => path.is_dir(),
        Place::Server(path) => client.stat(path).await.is_ok_and(|metadata| metadata.is_dir()),
    }
}

/// The copy would contain itself.
async fn not_into_itself(client: &Client, from: &Place, to: &Place) -> Done {
    let (Place::Server(source), Place::Server(target)) = (from, to) else { return Ok(()) };
    let source = client.walk(source).await.map_err(at(from))?.qid().path;
    let mut place = client.walk("/").await.map_err(at(to))?;
    for name in target.names() {
        let Ok(next) = place.walk(name).await else { return Ok(()) };
        place = next;
        if place.qid().path == source {
            return Err(format!("{from}: a directory is not copied into itself"));
        }
    }
    Ok(())
}

/// What is left when the files are copied.
#[derive(Default)]
struct Later {
    /// Links to be made, and where they point.
    links: Vec<(Place, Vec<u8>)>,
    /// What could not be read. The rest is copied all the same.
    failed: Vec<String>,
}

/// Copies what is in a directory to another, which is made if it is missing.
async fn dir(client: &Client, from: &Place, to: &Place, later: &mut Later) -> Done {
    bounded(from)?;
    make_dir(client, to).await.map_err(at(to))?;
    let found = match entries(client, from).await {
        Ok(found) => found,
        Err(unread) => return unread.go_on(from, later),
    };
    for Entry { name, kind, target } in found {
        let (from, to) = (from.join(&name), to.join(&name));
        if kind != Kind::Symlink {
            not_through_a_link(&to).await?;
        }
        match (kind, target) {
            (Kind::Dir, _) => Box::pin(dir(client, &from, &to, later)).await?,
            (Kind::File, _) => match open_source(client, &from).await {
                Ok(source) => file_from(client, source, &from, &to, later).await?,
                Err(unread) => unread.go_on(&from, later)?,
            },
            (Kind::Symlink, Some(target)) => later.links.push((to, target)),
            (Kind::Symlink, None) => match unread_link(client, &from).await {
                Some(unread) => unread.go_on(&from, later)?,
                None => later.failed.push(format!("{from}: 9P2000 does not tell where a link points")),
            },
            _ => later.failed.push(format!("{from}: neither a file nor a directory nor a link")),
        }
    }
    Ok(())
}

struct Entry {
    name: Vec<u8>,
    kind: Kind,
    target: Option<Vec<u8>>,
}

/// Sorted by name.
async fn entries(client: &Client, place: &Place) -> Result<Vec<Entry>, Unread> {
    let mut all = match place {
        Place::Host(path) => host_entries(path).await.map_err(Unread::from)?,
        Place::Server(path) => {
            // What cannot be looked at is found out again when it is read.
            let list = client.list_all(path).await?.files;
            let bytes = |text: &datakit::client::Text| text.as_bytes().to_vec();
            list.iter()
                .map(|file| Entry { name: bytes(&file.name), kind: file.kind, target: file.target.as_ref().map(bytes) })
                .collect()
        }
    };
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

async fn host_entries(path: &std::path::Path) -> std::io::Result<Vec<Entry>> {
    let (mut all, mut dir) = (Vec::new(), fs::read_dir(path).await?);
    while let Some(entry) = dir.next_entry().await? {
        let kind = match entry.file_type().await? {
            kind if kind.is_dir() => Kind::Dir,
            kind if kind.is_file() => Kind::File,
            kind if kind.is_symlink() => Kind::Symlink,
            _ => Kind::Special,
        };
        let target = match kind {
            Kind::Symlink => Some(fs::read_link(entry.path()).await?.into_os_string().into_vec()),
            _ => None,
        };
        all.push(Entry { name: entry.file_name().into_vec(), kind, target });
    }
    Ok(all)
}

async fn make_dir(client: &Client, place: &Place) -> Done {
    let made = match place {
        Place::Host(path) => fs::create_dir(path).await.map_err(|error| reason(&error)),
        Place::Server(path) => client.mkdir(path, 0o777).await.map_err(|error| error.to_string()),
    };
    match made {
        Err(_) if is_dir(client, place).await => Ok(()),
        other => other,
    }
}

/// A link below the target may be one that the server sent before.
async fn not_through_a_link(place: &Place) -> Done {
    let Place::Host(path) = place else { return Ok(()) };
    match fs::symlink_metadata(path).await {
        Ok(found) if found.is_symlink() => Err(format!("{place}: nothing is copied through a link")),
        _ => Ok(()),
    }
}

async fn link(client: &Client, place: &Place, target: &[u8]) -> Done {
    let (made, there) = match place {
        Place::Host(path) => (
            fs::symlink(OsStr::from_bytes(target), path).await.map_err(|error| reason(&error)),
            fs::read_link(path).await.ok().map(|target| target.into_os_string().into_vec()),
        ),
        Place::Server(path) => (
            client.symlink(path, target).await.map_err(|error| error.to_string()),
            client.read_link(path).await.ok().map(|target| target.as_bytes().to_vec()),
        ),
    };
    if there.as_deref() == Some(target) { Ok(()) } else { made }
}

/// Why something was not read.
enum Unread {
    /// It alone.
    Refused(String),
    /// Nothing can be read any more.
    Lost(String),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Unread {
        match error {
            Error::Server { .. } => Unread::Refused(error.to_string()),
            other => Unread::Lost(other.to_string()),
        }
    }
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Unread {
        Unread::Refused(reason(&error))
    }
}

impl Unread {
    /// Notes it where the rest can be copied.
    fn go_on(self, from: &Place, later: &mut Later) -> Done {
        match self {
            Unread::Refused(text) => later.failed.push(at(from)(text)),
            Unread::Lost(text) => return Err(at(from)(text)),
        }
        Ok(())
    }

    fn into_text(self) -> String {
        match self {
            Unread::Refused(text) | Unread::Lost(text) => text,
        }
    }
}

/// Why a link cannot be read, in a dialect in which others can.
async fn unread_link(client: &Client, place: &Place) -> Option<Unread> {
    let Place::Server(path) = place else { return None };
    let looked = async { client.walk(path).await?.stat().await }.await;
    match looked {
        Err(error) => Some(error.into()),
        Ok(_) if client.dialect() == Dialect::Legacy => None,
        Ok(_) => client.read_link(path).await.err().map(Unread::from),
    }
}

/// Copies one file.
async fn file(client: &Client, from: &Place, to: &Place) -> Done {
    let source = open_source(client, from).await.map_err(|unread| at(from)(unread.into_text()))?;
    let mut later = Later::default();
    file_from(client, source, from, to, &mut later).await?;
    complaints(later.failed)
}

async fn file_from(client: &Client, source: (End, u64), from: &Place, to: &Place, later: &mut Later) -> Done {
    let (mut source, length) = source;
    // Emptying the one would empty the other.
    if let (End::Server(file), Place::Server(path)) = (&source, to)
        && client.walk(path).await.is_ok_and(|target| target.qid().path == file.qid().path)
    {
        return Err(format!("{from} and {to} are the same file"));
    }
    let mut copy = open_target(client, to).await.map_err(at(to))?;
    let bar = progress(length, to);
    let (mut pieces, mut sink) = (source.pieces(), copy.sink());
    loop {
        let data = match pieces.next().await {
            Ok(Some(data)) => data,
            Ok(None) => break,
            Err(unread) => {
                unread.go_on(from, later)?;
                break;
            }
        };
        bar.inc(data.len() as u64);
        sink.write(data).await.map_err(at(to))?;
    }
    sink.finish().await.map_err(at(to))?;
    bar.finish_and_clear();
    copy.close().await.map_err(at(to))
}

/// An open file.
enum End {
    Host(fs::File),
    Server(File),
}

impl End {
    fn pieces(&mut self) -> Pieces<'_> {
        match self {
            End::Host(file) => Pieces::Host(file),
            End::Server(file) => Pieces::Server(file.chunks()),
        }
    }

    fn sink(&mut self) -> Sink<'_> {
        match self {
            End::Host(file) => Sink::Host(file),
            End::Server(file) => Sink::Server(file.writes_at(0)),
        }
    }

    async fn close(self) -> Done {
        match self {
            End::Host(_) => Ok(()),
            End::Server(file) => file.close().await.map_err(|error| error.to_string()),
        }
    }
}

/// What is read, in order.
enum Pieces<'f> {
    Host(&'f mut fs::File),
    Server(Chunks<'f>),
}

impl Pieces<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, Unread> {
        match self {
            Pieces::Host(file) => {
                let mut piece = BytesMut::with_capacity(PIECE);
                let count = file.read_buf(&mut piece).await?;
                Ok(Some(piece.freeze()).filter(|_| count > 0))
            }
            Pieces::Server(chunks) => Ok(chunks.next().await?),
        }
    }
}

/// What is written, in order.
enum Sink<'f> {
    Host(&'f mut fs::File),
    Server(Writes<'f>),
}

impl Sink<'_> {
    async fn write(&mut self, data: Bytes) -> Done {
        match self {
            Sink::Host(file) => file.write_all(&data).await.map_err(|error| reason(&error)),
            Sink::Server(writes) => writes.write(data).await.map_err(|error| error.to_string()),
        }
    }

    async fn finish(self) -> Done {
        match self {
            Sink::Host(file) => file.flush().await.map_err(|error| reason(&error)),
            Sink::Server(writes) => writes.finish().await.map_err(|error| error.to_string()),
        }
    }
}

/// The system's text without its number, as for the server's errors.
fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Opens a file; also its length in bytes, 0 where it is not known.
async fn open_source(client: &Client, place: &Place) -> Result<(End, u64), Unread> {
    match place {
        Place::Host(path) => {
            let file = fs::File::open(path).await?;
            let metadata = file.metadata().await?;
            Ok((End::Host(file), metadata.len()))
        }
        Place::Server(path) => {
            let node = client.walk(path).await?;
            let length = node.stat().await?.len;
            Ok((End::Server(node.open(Open::READ).await?), length))
        }
    }
}

async fn open_target(client: &Client, place: &Place) -> Done<End> {
    match place {
        Place::Host(path) => fs::File::create(path).await.map(End::Host).map_err(|error| reason(&error)),
        Place::Server(path) => client.open_to_write(path).await.map(End::Server).map_err(|error| error.to_string()),
    }
}

/// A bar on a terminal, nothing elsewhere. A length of 0 is "not known": streams say so.
fn progress(length: u64, to: &Place) -> ProgressBar {
    if length == 0 {
        return ProgressBar::new_spinner();
    }
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_prefix(to.to_string().replace(char::is_control, "?"))
}
