//! A directory of a program's log sources. For each source, the `src/<name>/doc` file contains a
//! description and the `src/<name>/level` file contains the log level.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

pub use datakit_core::files::Level;
use datakit_core::vfs::{Error, FileStat, OpenMode, Result, read_at};
use parking_lot::RwLock;

use super::client_number::PROGRAM;
use super::pieces::{Piece, Pieces, is_prefix_of_any};
use super::text::resize;
use super::{BoxFuture, ClientNumber, Dir, Directory, Entry, Leaf, ListDir, OpenLeaf};
use super::{ReadOnly, ReadOnlyText, ready};

/// A part of the program that has its own log level. Clones refer to the same source.
#[derive(Debug, Clone)]
pub struct LogSource(Arc<AtomicU8>);

impl LogSource {
    /// Returns the level.
    #[must_use]
    pub fn level(&self) -> Level {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        Level::ALL.get(number).copied().unwrap_or(Level::Debug)
    }

    /// Sets the level, which takes effect immediately.
    pub fn set_level(&self, level: Level) {
        self.0.store(level as u8, Ordering::Relaxed);
    }

    /// Returns `true` if messages of this level are logged.
    #[must_use]
    pub fn enables(&self, level: Level) -> bool {
        level <= self.level()
    }
}

/// A program's log sources. Clones refer to the same set of sources.
#[derive(Debug, Clone, Default)]
pub struct LogSources(Arc<RwLock<Vec<Entry>>>);

impl LogSources {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> LogSources {
        LogSources::default()
    }

    /// Adds a source, which then appears in directory listings.
    pub fn register(&self, name: &str, doc: &str, level: Level) -> LogSource {
        let source = LogSource(Arc::new(AtomicU8::new(level as u8)));
        let doc = Entry::file("doc", ReadOnlyText::new(format!("{doc}\n")));
        let dir: Dir = [doc, Entry::file("level", LevelFile(source.clone()))].into_iter().collect();
        self.0.write().push(Entry::dir(name, ReadOnly(dir)));
        source
    }

    /// Returns a directory that contains `src/`.
    #[must_use]
    pub fn dir(&self) -> impl Directory + use<> {
        ReadOnly([self.entry()].into_iter().collect::<Dir>())
    }

    /// Returns the `src/` entry itself, which can be added to a directory alongside other entries.
    #[must_use]
    pub fn entry(&self) -> Entry {
        let sources = self.0.clone();
        Entry::dir("src", ReadOnly(ListDir::new(move || sources.read().clone())))
    }
}

struct LevelFile(LogSource);

impl LevelFile {
    fn text(&self) -> Vec<u8> {
        format!("{}\n", self.0.level()).into_bytes()
    }

    fn set(&self, text: &[u8]) -> Result<()> {
        let level = String::from_utf8_lossy(text.trim_ascii()).parse()?;
        self.0.set_level(level);
        Ok(())
    }
}

impl Leaf for LevelFile {
    fn stat(&self) -> BoxFuture<'_, FileStat> {
        ready(Ok(FileStat::new(self.text().len() as u64)))
    }

    fn open(&self, mode: OpenMode) -> BoxFuture<'_, Box<dyn OpenLeaf>> {
        self.open_by(mode, &PROGRAM)
    }

    fn open_by<'a>(
        &'a self,
        mode: OpenMode,
        client: &'a ClientNumber,
    ) -> BoxFuture<'a, Box<dyn OpenLeaf>> {
        let (file, pieces) = (LevelFile(self.0.clone()), Pieces::new(client));
        let emptied = AtomicBool::new(mode.truncate);
        ready(Ok(Box::new(OpenLevel { file, pieces, emptied })))
    }

    /// Truncates the file. Truncation to length 0 does not change the level, because a shell
    /// truncates the file before writing to it.
    fn truncate(&self, length: u64) -> BoxFuture<'_, ()> {
        if length == 0 {
            return ready(Ok(()));
        }
        let mut text = self.text();
        ready(resize(&mut text, length).and_then(|()| self.set(&text)))
    }

    fn chmod(&self, _: u32) -> BoxFuture<'_, ()> {
        ready(Err(Error::NotPermitted))
    }

    fn remove(&self) -> BoxFuture<'_, ()> {
        ready(Err(Error::NotPermitted))
    }
}

struct OpenLevel {
    file: LevelFile,
    pieces: Pieces,
    /// Whether the file was truncated on open and has not been written to since. Until the first
    /// write, reads return no data.
    emptied: AtomicBool,
}

impl OpenLevel {
    fn set(&self, name: Option<Piece>) -> Result<()> {
        if let Some(name) = name {
            self.file.set(name.text())?;
            self.emptied.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl OpenLeaf for OpenLevel {
    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> BoxFuture<'a, usize> {
        ready(self.set(self.pieces.finish()).and_then(|()| {
            let text =
                if self.emptied.load(Ordering::Relaxed) { Vec::new() } else { self.file.text() };
            read_at(&text, offset, buf)
        }))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            if data.is_empty() {
                return Ok(0);
            }
            self.set(self.pieces.finish_before(offset, 0))?;
            let may_continue = |text: &[u8], _| {
                let names = Level::accepted_names();
                str::from_utf8(text).is_ok_and(|text| is_prefix_of_any(names, text.trim_start()))
            };
            self.set(self.pieces.add(offset, data, may_continue)?)?;
            Ok(data.len())
        })
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        ready(self.set(self.pieces.finish()))
    }
}
