//! The file that lists the parameters that differ from their defaults.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::{ParamSet, Parameter};
use crate::files::{Count, Flags, render};
use crate::vfs::{Error, File, FilePath, FileStat, OpenFile, Result, Window};

/// A file with a `PATH VALUE` line for each parameter whose value differs from its default.
/// Parameters without a default, read-only parameters and write-only parameters are left out, so
/// every line can be applied to another device with the same schema.
///
/// The length of the list is not limited, because the open file stores only the line that is being
/// read. A line never shows a mixture of two values. If a value changes while the list is being
/// read, the list contains either the old or the new value.
#[derive(Debug, Clone, Copy)]
pub struct Modified(&'static ParamSet);

impl Modified {
    /// Creates a file that lists the modified parameters in `set`.
    #[must_use]
    pub const fn new(set: &'static ParamSet) -> Modified {
        Modified(set)
    }
}

impl File for Modified {
    fn stat(&self) -> FileStat {
        Count::stat(|count| {
            self.0.visit(|_, path, parameter| match is_listed(parameter) {
                true => write_line(path, parameter, count),
                false => Ok(()),
            })
        })
        .read_only()
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        _: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        Poll::Ready(read_lines(self.0, open, offset, buf))
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("parameters that differ from their defaults")
    }
}

fn is_listed(parameter: &dyn Parameter) -> bool {
    let flags = parameter.flags();
    !flags.contains(Flags::WRITE_ONLY)
        && !flags.contains(Flags::READ_ONLY)
        && !parameter.is_default()
}

fn write_line(path: &FilePath<'_>, parameter: &dyn Parameter, out: &mut dyn Write) -> fmt::Result {
    path.write(out)?;
    out.write_str(" ")?;
    parameter.render(out)?;
    out.write_str("\n")
}

/// Reads the list from `offset`. In the state of the open file, `next` is the ordinal of the next
/// parameter, `text` is the current line, and `taken` is how many bytes of this line have been
/// returned.
fn read_lines(
    set: &ParamSet,
    open: &mut OpenFile<'_>,
    offset: u64,
    buf: &mut [u8],
) -> Result<usize> {
    if offset != open.state.delivered {
        // Render the list from the start and skip the lines before the offset.
        *open.state = Default::default();
        open.text.truncate(0);
    }
    let mut window = Window::new(offset.saturating_sub(open.state.delivered), buf);
    let mut result = Ok(());
    if deliver(open, &mut window) {
        let _ = set.visit(|ordinal, path, parameter| {
            if u32::from(ordinal) < open.state.next {
                return Ok(());
            }
            open.state.next = u32::from(ordinal).saturating_add(1);
            open.state.taken = 0;
            open.text.truncate(0);
            if !is_listed(parameter) {
                return Ok(());
            }
            result = render(open.text, |mut out| write_line(path, parameter, &mut out))
                .map_err(|_| line_too_long(path));
            if result.is_ok() && deliver(open, &mut window) { Ok(()) } else { Err(fmt::Error) }
        });
    }
    result?;
    window.finish(offset)
}

/// Copies the remainder of the current line to `window`. Returns `false` if only part of it fits.
fn deliver(open: &mut OpenFile<'_>, window: &mut Window<'_>) -> bool {
    let rest = open.text.bytes().get(usize::from(open.state.taken)..).unwrap_or_default();
    let count = rest.iter().take_while(|byte| window.put(**byte).is_ok()).count();
    let fits = count == rest.len();
    // The cast is lossless, because the text of an open file is at most 65535 bytes long.
    open.state.taken = open.state.taken.wrapping_add(count as u16);
    open.state.delivered = open.state.delivered.wrapping_add(count as u64);
    fits
}

/// Returns the error for a parameter whose line does not fit into the buffer of an open file.
#[cold]
fn line_too_long(path: &FilePath<'_>) -> Error {
    Error::TextTooLong.with_message(format_args!("the line of {path} is too long"))
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use heapless::String as Line;

    use super::*;
    use crate::files::{Param, ParamInfo, Value};
    use crate::params::test_tree::{Tree, read_all, read_with};
    use crate::vfs::{Dir, FixedText, OpenState, Waiter, dir, file};

    #[test]
    fn only_values_that_can_be_imported_are_listed() {
        static SAME: Value<u8> = Value::new(1);
        static DIFFERENT: Value<u8> = Value::new(2);
        static NO_DEFAULT: Value<u8> = Value::new(2);
        static SECRET: Value<u8> = Value::new(2);
        static FIXED: Value<u8> = Value::new(2);
        static NAME: Value<Line<8>> = Value::new(Line::new());
        static NAME_FILE: Param<Line<8>> = Param::new(&NAME).default(Line::new());
        static BELOW: Dir = Dir::new(&[
            file("different", &Param::new(&DIFFERENT).default(1)),
            file("name", &NAME_FILE),
        ]);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static PARAMS: Dir = Dir::new(&[
            file("modified", &Modified::new(&SET)),
            file("same", &Param::new(&SAME).default(1)),
            dir("below", &BELOW),
            file("no-default", &Param::new(&NO_DEFAULT)),
            file("secret", &Param::with_info(&SECRET, ParamInfo::new().default(1).write_only())),
            file("fixed", &Param::new(&FIXED).default(1).read_only()),
        ]);
        let tree = Tree::new(&PARAMS);
        assert_eq!(read_all(&tree, "modified", 64), "below/different 2\n");
        NAME.set("a b".try_into().unwrap());
        assert_eq!(read_all(&tree, "modified", 64), "below/different 2\nbelow/name a b\n");
        DIFFERENT.set(1);
        assert_eq!(read_all(&tree, "modified", 1), "below/name a b\n");
        NAME.set(Line::new());
        assert_eq!(read_all(&tree, "modified", 64), "");
    }

    #[test]
    fn a_line_shows_one_value_even_if_it_is_read_in_parts() {
        static VALUE: Value<u32> = Value::new(1111);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static PARAMS: Dir = Dir::new(&[file("v", &Param::new(&VALUE).default(0))]);
        let file = Modified::new(&SET);
        let (mut text, mut state) = (FixedText::<64>::new(), OpenState::default());
        let mut read = |offset, len| {
            let mut waiter = Waiter::new();
            let open = &mut OpenFile {
                text: &mut text,
                state: &mut state,
                waiter: &mut waiter,
                client: crate::vfs::Client::PROGRAM,
                follows: false,
            };
            let mut buf = std::vec![0; len];
            let count = read_lines(file.0, open, offset, &mut buf)?;
            buf.truncate(count);
            Ok::<_, crate::vfs::Error>(String::from_utf8(buf).unwrap())
        };
        assert_eq!(read(0, 3).unwrap(), "v 1");
        VALUE.set(2222);
        assert_eq!(read(3, 64).unwrap(), "111\n");
        assert_eq!(read(7, 64).unwrap(), "");
        // A read at any other offset renders the list again.
        assert_eq!(read(2, 64).unwrap(), "2222\n");
        assert_eq!(read(0, 64).unwrap(), "v 2222\n");
        assert_eq!(read(8, 64).unwrap_err().to_string(), "Offset 8 beyond end-of-file (len = 7)");
        assert_eq!(read(u64::MAX, 64).unwrap_err().to_string(), "Negative offset -1");
    }

    #[test]
    fn a_line_that_does_not_fit_is_refused_by_name() {
        static VALUE: Value<Line<64>> = Value::new(Line::new());
        static FILE: Param<Line<64>> = Param::new(&VALUE).default(Line::new());
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static PARAMS: Dir =
            Dir::new(&[file("modified", &Modified::new(&SET)), file("value", &FILE)]);
        VALUE.set("x".repeat(60).as_str().try_into().unwrap());
        let tree = Tree::new(&PARAMS);
        let error = read_with(&tree, "modified", async |tree, open| {
            use crate::vfs::Vfs;
            tree.read(open, 0, &mut [0; 8]).await.unwrap_err()
        });
        assert_eq!(error.to_string(), "the line of value is too long");
    }
}
