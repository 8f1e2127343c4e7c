//! The files of core in this tree: a device's file served by a desktop, unchanged.

use std::fmt;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use datakit_core::vfs::{File, FileStat, OpenFile, OpenMode, Position, Result, Text};

use super::{Leaf, OpenLeaf, Wait, ready};
use crate::locked;

/// Any [`File`] of core as a [`Leaf`].
#[derive(Clone)]
pub struct Core(Held);

#[derive(Clone)]
enum Held {
    Shared(Arc<dyn File + Send + Sync>),
    Fixed(&'static (dyn File + Send + Sync)),
}

impl Core {
    /// The tree's own file.
    pub fn new(file: impl File + Send + Sync + 'static) -> Core {
        Core(Held::Shared(Arc::new(file)))
    }

    /// A file of a static table.
    #[must_use]
    pub fn fixed(file: &'static (dyn File + Send + Sync)) -> Core {
        Core(Held::Fixed(file))
    }
}

impl From<Arc<dyn File + Send + Sync>> for Core {
    fn from(file: Arc<dyn File + Send + Sync>) -> Core {
        Core(Held::Shared(file))
    }
}

impl From<Box<dyn File + Send + Sync>> for Core {
    fn from(file: Box<dyn File + Send + Sync>) -> Core {
        Core(Held::Shared(file.into()))
    }
}

impl Deref for Held {
    type Target = dyn File + Send + Sync;

    fn deref(&self) -> &Self::Target {
        match self {
            Held::Shared(file) => &**file,
            Held::Fixed(file) => *file,
        }
    }
}

impl Leaf for Core {
    fn stat(&self) -> Wait<'_, FileStat> {
        ready(Ok(self.0.stat()))
    }

    fn open(&self, mode: OpenMode) -> Wait<'_, Box<dyn OpenLeaf>> {
        let opened = Opened { file: self.0.clone(), state: Mutex::default() };
        let done = opened.with(|file, open| file.open(open, mode));
        ready(done.map(|()| Box::new(opened) as Box<dyn OpenLeaf>))
    }

    fn truncate(&self, length: u64) -> Wait<'_, ()> {
        ready(self.0.truncate(length))
    }

    fn chmod(&self, mode: u32) -> Wait<'_, ()> {
        ready(self.0.chmod(mode))
    }

    fn remove(&self) -> Wait<'_, ()> {
        ready(self.0.remove())
    }
}

struct Opened {
    file: Held,
    state: Mutex<(Growing, Position)>,
}

impl Opened {
    fn with<R>(&self, call: impl FnOnce(&dyn File, &mut OpenFile<'_>) -> R) -> R {
        let (text, at) = &mut *locked::lock(&self.state);
        call(&*self.file, &mut OpenFile { text, at })
    }
}

impl OpenLeaf for Opened {
    fn waits(&self) -> bool {
        self.with(|file, _| file.waits())
    }

    fn read<'a>(&'a self, offset: u64, buf: &'a mut [u8]) -> Wait<'a, usize> {
        Box::pin(poll_fn(move |cx| self.with(|file, open| file.poll_read(open, cx, offset, buf))))
    }

    fn write<'a>(&'a self, offset: u64, data: &'a [u8]) -> Wait<'a, usize> {
        Box::pin(async move { self.with(|file, open| file.write(open, offset, data)) })
    }

    fn close(&self) {
        self.with(|file, open| file.close(open));
    }
}

/// A text that takes what comes.
#[derive(Default)]
struct Growing(Vec<u8>);

impl Text for Growing {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

impl fmt::Write for Growing {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.0.extend_from_slice(s.as_bytes());
        Ok(())
    }
}
