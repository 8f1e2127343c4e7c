//! The `datakit cp` command, which copies files and directories between this machine and the
//! server, or within the server.

mod error;
mod parts;
mod target;
mod transfer;

use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use datakit_client::{Client, Dialect, FileType};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use self::error::CopyError;
use self::parts::{PartGuard, Parts};
use self::target::{CopyTarget, Destination, Staged, Staging, TargetDir, is_dir};
use self::transfer::{CopySource, Progress, transfer};
use crate::connect::CLOSE_TIMEOUT;
use crate::error::{CliError, CliResult, at, is_a_directory};
use crate::operand::Location;
use crate::parallel::{Batch, ConcurrencyLimits, WorkFuture, check_depth};
use crate::rename::Renames;
use crate::stdio::{for_each, print_file};

/// Copies `sources` to `to`. Removes incomplete files if copying fails or is interrupted.
pub(crate) async fn cp(
    client: &Client,
    renames: &Renames,
    sources: &[Location],
    to: &Location,
    recursive: bool,
) -> CliResult {
    let copier = Arc::new(Copier {
        client: client.clone(),
        renames: renames.clone(),
        limits: ConcurrencyLimits::new(),
        parts: Parts::default(),
        progress: Progress::new(),
        has_failed: AtomicBool::new(false),
    });
    let result = tokio::select! {
        result = copier.copy_all(sources, to, recursive) => result,
        () = interrupted() => Err(CliError::Failed("interrupted".to_owned())),
    };
    let clean_up = async {
        copier.limits.ended().await;
        copier.parts.remove_all(client).await;
    };
    let _ = timeout(CLOSE_TIMEOUT, clean_up).await;
    copier.progress.clear();
    result
}

/// Waits for SIGINT, SIGTERM or SIGHUP.
async fn interrupted() {
    let signals =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut int), Ok(mut term), Ok(mut hup)] = signals else {
        return std::future::pending().await;
    };
    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
}

/// The state of one `cp` command, shared by all of its tasks.
struct Copier {
    client: Client,
    renames: Renames,
    limits: ConcurrencyLimits,
    parts: Parts,
    progress: Progress,
    /// Whether any file was skipped.
    has_failed: AtomicBool,
}

impl Copier {
    async fn copy_all(
        self: &Arc<Self>,
        sources: &[Location],
        to: &Location,
        recursive: bool,
    ) -> CliResult {
        if sources.len() > 1 && !is_dir(&self.client, to).await {
            return Err(at(to)("not a directory: multiple files can only be copied to one"));
        }
        let result = for_each(sources, async |from| self.copy(from, to, recursive).await).await;
        if self.has_failed.load(Relaxed) { result.and(Err(CliError::Reported)) } else { result }
    }

    async fn copy(self: &Arc<Self>, from: &Location, to: &Location, recursive: bool) -> CliResult {
        match (from, to) {
            (Location::Server(_), _) | (_, Location::Server(_)) => {}
            _ => {
                let text = "cp: neither path is on the server: write it as :PATH";
                return Err(CliError::Failed(text.to_owned()));
            }
        }
        let is_dir = is_dir(&self.client, from).await;
        if is_dir && !recursive {
            return Err(is_a_directory(from));
        }
        if let (Location::Server(path), Location::Stdio) = (from, to) {
            return if is_dir {
                Err(is_a_directory(from))
            } else {
                print_file(&self.client, path).await
            };
        }
        let destination = Destination::new(&self.client, &self.limits, to, from.last()).await?;
        match (is_dir, destination) {
            (false, Destination::Name(target)) => self.copy_or_skip(from, &target).await,
            (false, Destination::Dir(_)) => Err(is_a_directory(to)),
            (true, Destination::Dir(dir)) => Arc::clone(self).copy_dir(from.clone(), dir).await,
            (true, Destination::Name(target)) => {
                self.check_not_inside(from, &target.location()).await?;
                let dir = self.create_dir(&target).await?;
                Arc::clone(self).copy_dir(from.clone(), dir).await
            }
        }
    }

    /// Copies the files and subdirectories in a directory concurrently and then creates its links.
    fn copy_dir(self: Arc<Self>, from: Location, into: TargetDir) -> WorkFuture {
        Box::pin(async move {
            check_depth(&from)?;
            let entries = match self.limits.run(|| self.entries(&from)).await {
                Ok(entries) => entries,
                Err(error) => return self.skip(error),
            };
            let mut batch = Batch::new(&self.limits);
            let mut links = Vec::new();
            for SourceEntry { name, kind, link } in entries {
                let (copier, from, to) = (Arc::clone(&self), from.join(&name), into.join(&name));
                match (kind, link) {
                    (FileType::Dir, _) => {
                        let copy = async move {
                            let dir = copier.create_dir(&to).await?;
                            copier.copy_dir(from, dir).await
                        };
                        batch.add_dir(Box::pin(copy)).await?;
                    }
                    (FileType::File, _) => {
                        batch
                            .add_file(async move { copier.copy_or_skip(&from, &to).await })
                            .await?;
                    }
                    (FileType::Symlink, link) => links.push((from, to, link)),
                    _ => {
                        self.skip(CopyError::skippable(at(&from)("not a file, directory or link")))?
                    }
                }
            }
            batch.finish().await?;
            // Create the links last, so that no file in this directory is written through a link.
            for (from, to, link) in links {
                match self.limits.run(|| self.link_target(&from, link.clone())).await {
                    Ok(link) => to.create_link(&self.client, &link).await?,
                    Err(error) => self.skip(error)?,
                }
            }
            Ok(())
        })
    }

    /// Copies one file. Prints an error instead of returning it if the other files can still be
    /// copied.
    async fn copy_or_skip(&self, from: &Location, to: &CopyTarget) -> CliResult {
        let result = self.limits.run(|| self.copy_file(from, to)).await;
        result.or_else(|error| self.skip(error))
    }

    async fn create_dir(&self, target: &CopyTarget) -> CliResult<TargetDir> {
        let created = self.limits.run(|| target.create_dir(&self.client, &self.limits)).await;
        created.map_err(|error| error.error)
    }

    fn skip(&self, error: CopyError) -> CliResult {
        if !error.is_skippable {
            return Err(error.error);
        }
        self.has_failed.store(true, Relaxed);
        self.progress.complain(&error.error);
        Ok(())
    }

    /// Copies one file under a temporary name and renames the copy when it is complete.
    async fn copy_file(&self, from: &Location, to: &CopyTarget) -> Result<(), CopyError> {
        let source = CopySource::open(&self.client, from, &self.progress).await?;
        self.check_not_same(&source, from, to).await?;
        let Staged { sink, staging } = to.open(&self.client, &self.parts).await?;
        let place = to.location();
        let sink = match transfer(source, from, sink, &place, &self.progress).await {
            Ok(sink) => sink,
            Err(error) => {
                staging.into_part().remove(&self.client).await;
                return Err(error);
            }
        };
        match staging {
            Staging::InPlace(part) => finish(sink.close(&place).await, part, &self.client).await?,
            Staging::Renamed(part) => {
                // Rename the file before closing it. In 9P2000.u, renaming a file that has been
                // closed requires another walk.
                let renamed = to.publish(&self.client, &self.renames, &sink, part.part()).await?;
                sink.close(&place).await?;
                if renamed {
                    part.complete();
                } else {
                    part.remove(&self.client).await;
                    self.copy_in_place(from, to).await?;
                }
            }
        }
        Ok(())
    }

    /// Copies a file in place after the server has refused to rename a temporary file.
    async fn copy_in_place(&self, from: &Location, to: &CopyTarget) -> Result<(), CopyError> {
        if matches!(from, Location::Stdio) {
            let text = "the server cannot rename, and standard input cannot be read again";
            return Err(at(&to.location())(text).into());
        }
        let source = CopySource::open(&self.client, from, &self.progress).await?;
        let Staged { sink, staging } = to.open_in_place(&self.client, &self.parts).await?;
        let part = staging.into_part();
        let place = to.location();
        let copied = match transfer(source, from, sink, &place, &self.progress).await {
            Ok(sink) => sink.close(&place).await,
            Err(error) => Err(error),
        };
        finish(copied, part, &self.client).await
    }

    /// Refuses to copy a file onto itself, because writing the target could truncate the source.
    async fn check_not_same(
        &self,
        source: &CopySource,
        from: &Location,
        to: &CopyTarget,
    ) -> CliResult {
        let (CopySource::Server(source), CopyTarget::Server { path, .. }) = (source, to) else {
            return Ok(());
        };
        match self.client.walk(path).await {
            Ok(target) if target.qid().path == source.qid().path => {
                let to = to.location();
                Err(CliError::Failed(format!("{from} and {to} are the same file")))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to copy a directory into itself, because the recursion would never terminate.
    async fn check_not_inside(&self, from: &Location, to: &Location) -> CliResult {
        let (Location::Server(source), Location::Server(target)) = (from, to) else {
            return Ok(());
        };
        let source = self.client.walk(source).await.map_err(at(from))?.qid().path;
        let mut fid = self.client.walk("/").await.map_err(at(to))?;
        for name in target.names() {
            let Ok(next) = fid.walk(name).await else { return Ok(()) };
            fid = next;
            if fid.qid().path == source {
                return Err(at(from)("cannot copy a directory into itself"));
            }
        }
        Ok(())
    }

    /// Returns the entries in a directory.
    async fn entries(&self, from: &Location) -> Result<Vec<SourceEntry>, CopyError> {
        match from {
            Location::Host(path) => {
                host_entries(path).map_err(|error| CopyError::of_host_source(from, &error))
            }
            Location::Server(path) => {
                let entries = self.client.read_dir(path).await;
                let entries = entries.map_err(|error| CopyError::of_source(from, &error))?;
                let entry = |entry: datakit_client::DirEntry| SourceEntry {
                    name: entry.name.as_bytes().to_vec(),
                    kind: entry.kind,
                    link: entry
                        .metadata
                        .and_then(|metadata| metadata.target)
                        .map(|target| target.as_bytes().to_vec()),
                };
                Ok(entries.into_iter().map(entry).collect())
            }
            Location::Stdio => Ok(Vec::new()),
        }
    }

    /// Returns the target of a link. Asks the server for the target if `known` is `None`.
    async fn link_target(
        &self,
        from: &Location,
        known: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, CopyError> {
        let (None, Location::Server(path)) = (&known, from) else {
            return Ok(known.unwrap_or_default());
        };
        let read = async {
            if self.client.dialect() == Dialect::Legacy {
                // The 9P2000 dialect cannot read links. Call `stat` first, because it returns a
                // more specific error if the link is damaged.
                self.client.stat(path).await?;
            }
            self.client.read_link(path).await
        };
        let target = read.await.map_err(|error| CopyError::of_source(from, &error))?;
        Ok(target.as_bytes().to_vec())
    }
}

/// Completes `part` if the copy succeeded, or removes it if the copy failed.
async fn finish(
    copied: Result<(), CopyError>,
    part: PartGuard,
    client: &Client,
) -> Result<(), CopyError> {
    match copied {
        Ok(()) => part.complete(),
        Err(_) => part.remove(client).await,
    }
    copied
}

/// An entry in a source directory.
struct SourceEntry {
    name: Vec<u8>,
    kind: FileType,
    /// The target of a link, or `None` if the target is not known yet.
    link: Option<Vec<u8>>,
}

fn host_entries(path: &std::path::Path) -> std::io::Result<Vec<SourceEntry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = match entry.file_type()? {
            kind if kind.is_dir() => FileType::Dir,
            kind if kind.is_file() => FileType::File,
            kind if kind.is_symlink() => FileType::Symlink,
            _ => FileType::Special,
        };
        let link = match kind {
            FileType::Symlink => {
                Some(std::fs::read_link(entry.path())?.into_os_string().into_vec())
            }
            _ => None,
        };
        entries.push(SourceEntry { name: entry.file_name().into_vec(), kind, link });
    }
    Ok(entries)
}
