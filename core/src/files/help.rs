//! Texts for people, written straight into a reply: of any length, without RAM.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::write::{Count, Plain};
use crate::vfs::{Dir, File, FileStat, Node, OpenFile, Result, Window, beyond_end, read_at};

/// A file that lists a directory: name and [`File::describe`] of each file in it, and below it.
pub struct Help(&'static Dir);

/// A file that has one line.
pub struct Doc(&'static str);

impl Help {
    /// What is known of the files in `dir`, which may be the directory that has this file.
    #[must_use]
    pub const fn new(dir: &'static Dir) -> Help {
        Help(dir)
    }
}

impl Doc {
    /// The line, without its end.
    #[must_use]
    pub const fn new(line: &'static str) -> Doc {
        Doc(line)
    }
}

impl File for Help {
    fn stat(&self) -> FileStat {
        Count::stat(|count| list(self.0, None, count)).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_window(self.stat().length, offset, buf, |window| {
            list(self.0, None, window)
        }))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("this list")
    }
}

impl File for Doc {
    fn stat(&self) -> FileStat {
        FileStat::new(self.0.len() as u64 + 1).read_only()
    }

    fn poll_read(
        &self,
        _: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_window(self.stat().length, offset, buf, |window| {
            writeln!(window, "{}", Plain(self.0))
        }))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str(self.0)
    }
}

/// The directories that lead to a listed one, the innermost first. As deep as the tables are: eight
/// at most.
struct Above<'a> {
    name: &'static str,
    above: Option<&'a Above<'a>>,
}

impl fmt::Display for Above<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.above.map_or(Ok(()), |above| above.fmt(f))?;
        write!(f, "{}/", Plain(self.name))
    }
}

fn list(dir: &Dir, above: Option<&Above<'_>>, out: &mut dyn Write) -> fmt::Result {
    for entry in dir.entries() {
        if let Node::Dir(below) = entry.node() {
            list(below, Some(&Above { name: entry.name(), above }), out)?;
            continue;
        }
        if let Some(above) = above {
            write!(out, "{above}")?;
        }
        write!(out, "{}: ", Plain(entry.name()))?;
        match entry.node() {
            Node::File(file) => file.describe(out)?,
            Node::Slots(_) | Node::Dir(_) => {
                out.write_str("directory whose entries come and go")?
            }
        }
        out.write_str("\n")?;
    }
    Ok(())
}

/// [`read_at`] of a text that is written anew for each read.
fn read_window(
    length: u64,
    offset: u64,
    buf: &mut [u8],
    write: impl FnOnce(&mut Window<'_>) -> fmt::Result,
) -> Result<usize> {
    if offset.cast_signed() < 0 {
        return read_at(&[], offset, buf);
    }
    if offset > length {
        return Err(beyond_end(offset, length));
    }
    let mut window = Window::new(offset, buf);
    let _ = write(&mut window);
    Ok(window.filled())
}
