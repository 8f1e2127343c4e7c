//! `datakit cp`: files and directories, between this machine and the server or within the server.

mod target;

use parking_lot::Mutex;
use std::os::unix::ffi::OsStringExt;

use bytes::{Bytes, BytesMut};
use datakit_client::{Chunks, Client, Dialect, Error, File, FileType, OpenMode, Writes};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use self::target::{Dir, Staging, Target, Top, Unfinished};
use crate::commands::{Done, PATIENCE, at, bounded, complaints};
use crate::output;
use crate::path::Place;

/// Bytes in one read of a file of this machine.
const PIECE: usize = 1 << 17;
/// The most links and failures in one copy: both are kept until all files are there.
const MAX_LATER: usize = 1 << 20;

/// Copies, and removes a file that is only partly there when it fails or is interrupted.
pub(crate) async fn cp(client: &Client, from: &Place, to: &Place, recursive: bool) -> Done {
    let copying = Copying { client, unfinished: Mutex::new(None) };
    let done = tokio::select! {
        done = copying.run(from, to, recursive) => done,
        () = interrupted() => Err("interrupted".to_owned()),
    };
    copying.clean_up().await;
    done
}

/// Waits for SIGINT, SIGTERM or SIGHUP.
async fn interrupted() {
    let [int, term, hup] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let (Ok(mut int), Ok(mut term), Ok(mut hup)) = (int, term, hup) else {
        return std::future::pending().await;
    };
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
}

/// One copy and what it leaves behind so far.
struct Copying<'c> {
    client: &'c Client,
    /// To be removed unless the copy of this file is finished.
    unfinished: Mutex<Option<Unfinished>>,
}

impl Copying<'_> {
    async fn run(&self, from: &Place, to: &Place, recursive: bool) -> Done {
        if matches!((from, to), (Place::Host(_), Place::Host(_))) {
            return Err("cp: neither path is on the server: write it as :PATH".to_owned());
        }
        let top = Top::new(self.client, to, from.last()).await?;
        if !is_dir(self.client, from).await {
            return match top {
                Top::Name(target) => self.single(from, &target).await,
                Top::Dir(_) => Err(format!("{to}: Is a directory")),
            };
        }
        if !recursive {
            return Err(format!("{from}: Is a directory"));
        }
        let into = match top {
            Top::Dir(dir) => dir,
            Top::Name(target) => {
                not_into_itself(self.client, from, &target.place()).await?;
                target.make_dir(self.client).await.map_err(at(&target.place()))?
            }
        };
        let mut later = Later::default();
        self.dir(from, &into, &mut later).await?;
        // Last, so that nothing is copied through a link that the other side chose.
        for (target, to) in later.links {
            target.link(self.client, &to).await.map_err(at(&target.place()))?;
        }
        complaints(later.failed)
    }

    /// Copies one file alone.
    async fn single(&self, from: &Place, to: &Target) -> Done {
        let mut later = Later::default();
        self.file(from, to, &mut later).await?;
        complaints(later.failed)
    }

    /// Copies what is in a directory into another.
    async fn dir(&self, from: &Place, into: &Dir, later: &mut Later) -> Done {
        bounded(from)?;
        let found = match entries(self.client, from).await {
            Ok(found) => found,
            Err(unread) => return unread.go_on(from, later),
        };
        for Entry { name, kind, target } in found {
            let (from, to) = (from.join(&name), into.join(&name));
            if later.links.len() + later.failed.len() > MAX_LATER {
                return Err(format!("{from}: more than {MAX_LATER} links and failures"));
            }
            match (kind, target) {
                (FileType::Dir, _) => {
                    let into = to.make_dir(self.client).await.map_err(at(&to.place()))?;
                    Box::pin(self.dir(&from, &into, later)).await?;
                }
                (FileType::File, _) => self.file(&from, &to, later).await?,
                (FileType::Symlink, Some(target)) => later.links.push((to, target)),
                (FileType::Symlink, None) => match unread_link(self.client, &from).await {
                    Some(unread) => unread.go_on(&from, later)?,
                    None => later
                        .failed
                        .push(format!("{from}: 9P2000 does not tell where a link points")),
                },
                _ => {
                    later.failed.push(format!("{from}: neither a file nor a directory nor a link"))
                }
            }
        }
        Ok(())
    }

    /// Copies one file: under a temporary name, which is renamed when the file is whole.
    async fn file(&self, from: &Place, to: &Target, later: &mut Later) -> Done {
        let place = to.place();
        let source = match open_source(self.client, from).await {
            Ok(source) => source,
            Err(unread) => return unread.go_on(from, later),
        };
        self.not_onto_itself(&source.0, from, &place).await?;
        let (copy, staging) = target::open(self.client, to).await.map_err(at(&place))?;
        let renamed = matches!(staging, Staging::Renamed(_));
        self.keep(staging);
        if let Some(unread) = content(source, copy, &place).await? {
            self.clean_up().await;
            return unread.go_on(from, later);
        }
        match self.take() {
            Some(whole) if renamed => self.publish(whole, from, to, later).await,
            _ => Ok(()),
        }
    }

    /// Renames the whole file. A tree that does not do that gets it once more, in its place.
    async fn publish(
        &self,
        whole: Unfinished,
        from: &Place,
        to: &Target,
        later: &mut Later,
    ) -> Done {
        let place = to.place();
        let published = target::publish(self.client, &whole, to).await;
        if published != Ok(true) {
            whole.remove(self.client).await;
        }
        let (false, Target::Server(path)) = (published.map_err(at(&place))?, to) else {
            return Ok(());
        };
        let source =
            open_source(self.client, from).await.map_err(|unread| at(from)(unread.into_text()))?;
        let (copy, staging) = target::open_in_place(self.client, path).await.map_err(at(&place))?;
        self.keep(staging);
        if let Some(unread) = content(source, copy, &place).await? {
            self.clean_up().await;
            return unread.go_on(from, later);
        }
        self.take();
        Ok(())
    }

    fn keep(&self, staging: Staging) {
        let unfinished = match staging {
            Staging::Renamed(unfinished) => Some(unfinished),
            Staging::InPlace(unfinished) => unfinished,
        };
        *self.unfinished.lock() = unfinished;
    }

    fn take(&self) -> Option<Unfinished> {
        self.unfinished.lock().take()
    }

    /// Removes what is only partly there. A server that does not answer keeps it, under its
    /// temporary name.
    async fn clean_up(&self) {
        if let Some(unfinished) = self.take() {
            let _ = tokio::time::timeout(PATIENCE, unfinished.remove(self.client)).await;
        }
    }

    /// Emptying the one would empty the other.
    async fn not_onto_itself(&self, source: &End, from: &Place, to: &Place) -> Done {
        let (End::Server(source), Place::Server(target)) = (source, to) else { return Ok(()) };
        match self.client.walk(target).await {
            Ok(target) if target.qid().path == source.qid().path => {
                Err(format!("{from} and {to} are the same file"))
            }
            _ => Ok(()),
        }
    }
}

/// Copies all bytes, and closes the copy. What cannot be read leaves a part.
async fn content(source: (End, u64), mut copy: End, to: &Place) -> Done<Option<Unread>> {
    let (mut source, length) = source;
    let bar = progress(length, to);
    let (mut pieces, mut sink) = (source.pieces(), copy.sink());
    loop {
        let data = match pieces.next().await {
            Ok(Some(data)) => data,
            Ok(None) => break,
            Err(unread) => return Ok(Some(unread)),
        };
        bar.inc(data.len() as u64);
        sink.write(data).await.map_err(at(to))?;
    }
    sink.finish().await.map_err(at(to))?;
    bar.finish_and_clear();
    copy.close().await.map_err(at(to))?;
    Ok(None)
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
    links: Vec<(Target, Vec<u8>)>,
    /// What could not be read. The rest is copied all the same.
    failed: Vec<String>,
}

struct Entry {
    name: Vec<u8>,
    kind: FileType,
    target: Option<Vec<u8>>,
}

/// Sorted by name.
async fn entries(client: &Client, place: &Place) -> Result<Vec<Entry>, Unread> {
    let mut all = match place {
        Place::Host(path) => host_entries(path).await.map_err(Unread::from)?,
        Place::Server(path) => {
            // What cannot be looked at is found out again when it is read.
            let list = client.list_all(path).await?.files;
            let bytes = |text: &datakit_client::ByteString| text.as_bytes().to_vec();
            list.iter()
                .map(|file| Entry {
                    name: bytes(&file.name),
                    kind: file.kind,
                    target: file.target.as_ref().map(bytes),
                })
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
            kind if kind.is_dir() => FileType::Dir,
            kind if kind.is_file() => FileType::File,
            kind if kind.is_symlink() => FileType::Symlink,
            _ => FileType::Special,
        };
        let target = match kind {
            FileType::Symlink => {
                Some(fs::read_link(entry.path()).await?.into_os_string().into_vec())
            }
            _ => None,
        };
        all.push(Entry { name: entry.file_name().into_vec(), kind, target });
    }
    Ok(all)
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

/// An open file.
pub(crate) enum End {
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
            Ok((End::Server(node.open(OpenMode::READ).await?), length))
        }
    }
}

/// A bar on a terminal, nothing elsewhere. A length of 0 is "not known": streams say so.
fn progress(length: u64, to: &Place) -> ProgressBar {
    if length == 0 {
        return ProgressBar::new_spinner();
    }
    let style = ProgressStyle::with_template(
        "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let bar =
        ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.with_prefix(output::printable(&to.to_string()))
}
