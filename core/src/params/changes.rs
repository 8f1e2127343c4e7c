//! The stream of all parameter changes.

use core::cell::Cell;
use core::fmt::{self, Write};
use core::task::{Context, Poll};

use critical_section::Mutex;

use super::client_name::ClientName;
use super::{Event, Observer, ParamSet, Parameter};
use crate::decimal::write_decimal;
use crate::files::{End, Flags, Missed, StreamSource, poll_stream, value_waiters};
use crate::vfs::{
    Client, File, FilePath, FileStat, OpenFile, OpenMode, Result, Text, Waiters, Window,
};

/// A stream with a `SEQ WHO PATH VALUE` line for each parameter change, for example `17
/// 10.0.2.2:4711 blink/period 500`. The stream contains every change made after the file is opened.
///
/// - `SEQ` is the number of the change, modulo 2^32. The first change after the program starts is
///   number 0.
/// - `WHO` is the client's [name](ParamSet::client_name) at the time of the change, or `program`.
/// - `PATH` is the parameter's path.
/// - `VALUE` is the value. The value of a write-only parameter is shown as `*`.
///
/// The stream keeps the lines of the last `N` changes. A line that would be longer than `LINE` bytes
/// is truncated and ends with `...`, so `LINE` must be large enough for the number, the longest name
/// and the longest path. If a reader is too slow, it reads a line such as `lost 3` in place of the
/// changes that were dropped. If a value changes twice before the first change has been recorded,
/// both lines show the second value.
///
/// The stream receives changes only after its entry has been passed to [`observe`](super::observe).
/// A value can be set from an interrupt handler.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::params::{ChangeMemory, Changes, ObserverEntry, ParamSet, observe};
/// use datakit_core::vfs::{Dir, file};
/// static GAIN: Value<u8> = Value::new(1);
/// static MEMORY: ChangeMemory<16> = ChangeMemory::new();
/// static CHANGES: Changes<16> = Changes::new(&SET, &MEMORY);
/// static PARAMS: Dir = Dir::new(&[file("changes", &CHANGES), file("gain", &Param::new(&GAIN))]);
/// static SET: ParamSet = ParamSet::new(&PARAMS);
/// static OBSERVER: ObserverEntry = ObserverEntry::new(&CHANGES);
/// observe(&OBSERVER);
/// ```
pub struct Changes<const N: usize, const LINE: usize = 64> {
    set: &'static ParamSet,
    memory: &'static ChangeMemory<N, LINE>,
}

/// The memory for [`Changes`], with room for `N` changes, each with a line of at most `LINE` bytes.
/// It is a separate item that initially contains only zeros, so it takes up no flash.
pub struct ChangeMemory<const N: usize, const LINE: usize = 64> {
    end: Mutex<End>,
    lines: [Mutex<Cell<Line<LINE>>>; N],
}

/// The line for a parameter change.
#[derive(Clone, Copy)]
struct Line<const LINE: usize> {
    len: u8,
    bytes: [u8; LINE],
}

impl<const LINE: usize> Line<LINE> {
    const EMPTY: Self = Line { len: 0, bytes: [0; LINE] };

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

impl<const N: usize, const LINE: usize> ChangeMemory<N, LINE> {
    /// Creates memory that contains no changes. `LINE` must be between 4 and 255.
    #[must_use]
    pub const fn new() -> ChangeMemory<N, LINE> {
        const { assert!(LINE >= 4 && LINE <= 255, "LINE must be between 4 and 255") };
        let lines = [const { Mutex::new(Cell::new(Line::EMPTY)) }; N];
        ChangeMemory { end: Mutex::new(End::new(0)), lines }
    }

    /// Returns the number of the next change.
    fn next_number(&self) -> u32 {
        critical_section::with(|cs| self.end.borrow(cs).start(false))
    }

    /// Appends the line for the change with this number. Returns `false` if another change already
    /// has the number.
    fn push(&self, number: u32, line: &Line<LINE>) -> bool {
        critical_section::with(|cs| {
            let end = self.end.borrow(cs);
            let is_next = end.start(false) == number;
            if is_next && let Some(oldest) = self.lines.get(end.push(N)) {
                oldest.borrow(cs).set(*line);
            }
            is_next
        })
    }
}

impl<const N: usize, const LINE: usize> Default for ChangeMemory<N, LINE> {
    fn default() -> Self {
        ChangeMemory::new()
    }
}

impl<const N: usize, const LINE: usize> fmt::Debug for ChangeMemory<N, LINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeMemory").field("capacity", &N).finish_non_exhaustive()
    }
}

impl<const N: usize, const LINE: usize> Changes<N, LINE> {
    /// Creates a stream of the changes to the parameters in `set`. The changes are kept in
    /// `memory`.
    #[must_use]
    pub const fn new(
        set: &'static ParamSet,
        memory: &'static ChangeMemory<N, LINE>,
    ) -> Changes<N, LINE> {
        Changes { set, memory }
    }

    /// Returns the number of changes that readers have lost so far, summed over all readers.
    pub fn overruns(&self) -> u32 {
        critical_section::with(|cs| self.memory.end.borrow(cs).overruns())
    }
}

/// Writes the line for a change to `line` and returns its length. A line that does not fit is
/// truncated.
fn render_line(
    number: u32,
    who: ClientName,
    path: &FilePath<'_>,
    parameter: &dyn Parameter,
    line: &mut [u8],
) -> u8 {
    let mut window = Window::new(0, line);
    let mut render = || {
        write_decimal(number, &mut window)?;
        window.put(b' ')?;
        who.write(&mut window)?;
        window.put(b' ')?;
        path.write(&mut window)?;
        window.put(b' ')?;
        match parameter.flags().contains(Flags::WRITE_ONLY) {
            true => window.put(b'*'),
            false => parameter.render(&mut window),
        }?;
        window.put(b'\n')
    };
    let rendered = render();
    let len = window.length();
    // The cast is lossless, because the line is at most 255 bytes long.
    (if rendered.is_ok() { len } else { cut(line) }) as u8
}

/// Replaces the last characters of a line with `...` and returns the length of the line.
fn cut(line: &mut [u8]) -> usize {
    const MARK: &[u8; 4] = b"...\n";
    let mut len = line.len().saturating_sub(MARK.len());
    while line.get(len).is_some_and(|byte| byte & 0xc0 == 0x80) {
        len -= 1;
    }
    if let Some(end) = line.get_mut(len..).and_then(<[u8]>::first_chunk_mut) {
        *end = *MARK;
    }
    len.saturating_add(MARK.len())
}

impl<const N: usize, const LINE: usize> StreamSource for Changes<N, LINE> {
    fn next(&self, at: &mut u32, text: &mut dyn Text) -> core::result::Result<(), Missed> {
        text.truncate(0);
        critical_section::with(|cs| {
            // The line is copied straight to the text, because a second copy would take up flash
            // and stack.
            let index = self.memory.end.borrow(cs).advance(N, at, false)?;
            let line = self.memory.lines.get(index).ok_or(Missed::NOTHING)?.borrow(cs).get();
            text.extend(line.bytes()).map_err(|_| Missed::TOO_LONG)
        })
    }

    fn waiters(&self) -> &Waiters {
        // After each change, the readers of parameters are woken, once the observers have been
        // notified.
        value_waiters()
    }
}

impl<const N: usize, const LINE: usize> Changes<N, LINE> {
    /// Records that `client` has changed a parameter.
    fn record(&self, client: Client, path: &FilePath<'_>, parameter: &dyn Parameter) {
        let mut line = Line::EMPTY;
        // The line is rendered outside the critical section, because rendering may take a long
        // time. If another change is recorded in the meantime, the line is rendered again.
        // Otherwise, an old value could be recorded after a newer one.
        loop {
            let number = self.memory.next_number();
            let who = self.set.client_name(client);
            line.len = render_line(number, who, path, parameter, &mut line.bytes);
            if self.memory.push(number, &line) {
                return;
            }
        }
    }
}

impl<const N: usize, const LINE: usize> Observer for Changes<N, LINE> {
    fn notify(&self, event: &Event<'_>) {
        let &Event::Changed { address, client } = event else { return };
        let _ = self.set.visit(move |_, path, parameter| {
            if parameter.address() != address {
                return Ok(());
            }
            self.record(client, path, parameter);
            Err(fmt::Error)
        });
    }
}

impl<const N: usize, const LINE: usize> File for Changes<N, LINE> {
    fn stat(&self) -> FileStat {
        FileStat::new(0).read_only()
    }

    fn open(&self, open: &mut OpenFile<'_>, _: OpenMode) -> Result<()> {
        open.state.next = self.memory.next_number();
        Ok(())
    }

    fn may_block(&self) -> bool {
        true
    }

    fn poll_read(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        offset: u64,
        buf: &mut [u8],
    ) -> Poll<Result<usize>> {
        poll_stream(self, open, cx, offset, buf)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_str("stream of every change")
    }
}

impl<const N: usize, const LINE: usize> fmt::Debug for Changes<N, LINE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("capacity", &N).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;
    use std::string::{String, ToString};
    use std::sync::Arc;
    use std::vec::Vec;

    use embassy_futures::poll_once;
    use heapless::String as Line;

    use super::*;
    use crate::files::{Param, ParamInfo, Value};
    use crate::params::test_tree::{Tree, Woken, read_with, write_as};
    use crate::params::{ObserverEntry, client_left, observe, unnamed};
    use crate::vfs::{Dir, Vfs, dir, file};

    fn name_client(client: Client, out: &mut dyn Write) -> fmt::Result {
        if client.0 == 1 { out.write_str("10.0.2.2:4711") } else { unnamed(client, out) }
    }

    /// Reads the next line. Returns `None` if the stream has to wait.
    fn next_line(tree: &Tree, open: &<Tree as Vfs>::Open, at: &mut u64) -> Option<String> {
        let mut buf = [0; 128];
        for _ in 0..2 {
            let Poll::Ready(read) = poll_once(tree.read(open, *at, &mut buf)) else {
                return None;
            };
            let count = read.unwrap();
            *at += count as u64;
            if count > 0 {
                return Some(String::from_utf8(buf[..count].into()).unwrap());
            }
        }
        panic!("two empty reads in a row");
    }

    #[test]
    fn a_line_names_the_client_the_parameter_and_the_value() {
        static PERIOD: Value<u32> = Value::new(1000);
        static SECRET: Value<u32> = Value::new(1000);
        static OTHER: Value<u32> = Value::new(0);
        static BLINK: Dir = Dir::new(&[file("period", &Param::new(&PERIOD))]);
        static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(name_client);
        static MEMORY: ChangeMemory<4> = ChangeMemory::new();
        static CHANGES: Changes<4> = Changes::new(&SET, &MEMORY);
        static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
        static PARAMS: Dir = Dir::new(&[
            file("changes", &CHANGES),
            dir("blink", &BLINK),
            file("secret", &Param::with_info(&SECRET, ParamInfo::new().write_only())),
        ]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        PERIOD.set(1);
        read_with(&tree, "changes", async |tree, open| {
            let mut at = 0;
            let mut line = || next_line(tree, open, &mut at);
            assert_eq!(line(), None, "the change before the open is not delivered");
            write_as(tree, Client(1), "blink/period", "500\n").unwrap();
            write_as(tree, Client(2), "blink/period", "0x10").unwrap();
            write_as(tree, Client(2), "secret", "7").unwrap();
            write_as(tree, Client(2), "secret", "seven").unwrap_err();
            OTHER.set(1);
            assert_eq!(line().unwrap(), "1 10.0.2.2:4711 blink/period 500\n");
            assert_eq!(line().unwrap(), "2 client-2 blink/period 16\n");
            assert_eq!(line().unwrap(), "3 client-2 secret *\n");
            assert_eq!(line(), None);
            write_as(tree, Client(1), "blink/period", "600").unwrap();
            PERIOD.set(700);
            client_left(Client(1));
            assert_eq!(line().unwrap(), "4 10.0.2.2:4711 blink/period 600\n");
            assert_eq!(line().unwrap(), "5 program blink/period 700\n");
        });
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        static TEXT: Value<Line<32>> = Value::new(Line::new());
        static FILE: Param<Line<32>> = Param::new(&TEXT);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static MEMORY: ChangeMemory<4, 24> = ChangeMemory::new();
        static CHANGES: Changes<4, 24> = Changes::new(&SET, &MEMORY);
        static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
        static PARAMS: Dir = Dir::new(&[file("changes", &CHANGES), file("text", &FILE)]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        read_with(&tree, "changes", async |tree, open| {
            let cases = [
                ("12345678", "12345678"),
                ("123456789", "12345..."),
                ("1234\u{fc}56789", "1234..."),
            ];
            let mut at = 0;
            for (number, (text, shown)) in cases.into_iter().enumerate() {
                TEXT.set(text.try_into().unwrap());
                let line = next_line(tree, open, &mut at).unwrap();
                assert_eq!(line, std::format!("{number} program text {shown}\n"));
            }
        });
    }

    #[test]
    fn slow_readers_learn_how_many_changes_they_lost() {
        static VALUE: Value<u8> = Value::new(0);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static MEMORY: ChangeMemory<2> = ChangeMemory::new();
        static CHANGES: Changes<2> = Changes::new(&SET, &MEMORY);
        static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
        static PARAMS: Dir = Dir::new(&[file("changes", &CHANGES), file("v", &Param::new(&VALUE))]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        read_with(&tree, "changes", async |tree, open| {
            (1..=5).for_each(|value| VALUE.set(value));
            let (mut lines, mut at) = (String::new(), 0);
            while let Some(line) = next_line(tree, open, &mut at) {
                lines += &line;
            }
            assert_eq!(lines, "lost 3\n3 program v 4\n4 program v 5\n");
            assert_eq!(CHANGES.overruns(), 3);
        });
    }

    #[test]
    fn a_line_that_does_not_fit_is_refused_and_skipped() {
        static VALUE: Value<Line<60>> = Value::new(Line::new());
        static FILE: Param<Line<60>> = Param::new(&VALUE);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static MEMORY: ChangeMemory<2, 80> = ChangeMemory::new();
        static CHANGES: Changes<2, 80> = Changes::new(&SET, &MEMORY);
        static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
        static PARAMS: Dir = Dir::new(&[file("changes", &CHANGES), file("text", &FILE)]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        read_with(&tree, "changes", async |tree, open| {
            VALUE.set("x".repeat(60).as_str().try_into().unwrap());
            VALUE.set("x".try_into().unwrap());
            let error = tree.read(open, 0, &mut [0; 64]).await.unwrap_err();
            assert_eq!(error.to_string(), "the text is longer than an open file has room for");
            assert_eq!(next_line(tree, open, &mut 0).unwrap(), "1 program text x\n");
        });
    }

    #[test]
    fn changes_of_several_threads_are_recorded_in_order() {
        const THREADS: u32 = 4;
        const SETS: u32 = 50;
        static VALUES: [Value<u32>; 2] = [const { Value::new(0) }; 2];
        static FILE_A: Param<u32> = Param::new(&VALUES[0]);
        static FILE_B: Param<u32> = Param::new(&VALUES[1]);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static MEMORY: ChangeMemory<256> = ChangeMemory::new();
        static CHANGES: Changes<256> = Changes::new(&SET, &MEMORY);
        static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
        static PARAMS: Dir =
            Dir::new(&[file("changes", &CHANGES), file("a", &FILE_A), file("b", &FILE_B)]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        let lines = read_with(&tree, "changes", async |tree, open| {
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    scope.spawn(move || {
                        for number in 0..SETS {
                            VALUES[(number % 2) as usize].set(thread * SETS + number);
                        }
                    });
                }
            });
            let (mut lines, mut at) = (Vec::new(), 0);
            while let Some(line) = next_line(tree, open, &mut at) {
                lines.push(line);
            }
            lines
        });
        assert_eq!(lines.len(), (THREADS * SETS) as usize);
        for (number, line) in lines.iter().enumerate() {
            assert!(line.starts_with(&std::format!("{number} program ")), "{number}: {line}");
        }
        // The last line for each parameter shows its final value.
        for (path, value) in [(" a ", VALUES[0].get()), (" b ", VALUES[1].get())] {
            let last = lines.iter().rfind(|line| line.contains(path)).unwrap();
            assert!(last.ends_with(&std::format!("{path}{value}\n")), "{last}");
        }
        assert_eq!(CHANGES.overruns(), 0);
    }

    #[test]
    fn a_waiting_reader_is_woken_by_a_change() {
        static VALUE: Value<u8> = Value::new(0);
        static SET: ParamSet = ParamSet::new(&PARAMS);
        static MEMORY: ChangeMemory<2> = ChangeMemory::new();
        static CHANGES: Changes<2> = Changes::new(&SET, &MEMORY);
        static ENTRY: ObserverEntry = ObserverEntry::new(&CHANGES);
        static PARAMS: Dir = Dir::new(&[file("changes", &CHANGES), file("v", &Param::new(&VALUE))]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        read_with(&tree, "changes", async |tree, open| {
            let woken = Arc::new(Woken::default());
            let waker = Arc::clone(&woken).into();
            let mut buf = [0; 64];
            let count = {
                let mut read = core::pin::pin!(tree.read(open, 0, &mut buf));
                assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                VALUE.set(9);
                assert!(woken.0.load(Ordering::Relaxed));
                read.await.unwrap()
            };
            assert_eq!(&buf[..count], b"0 program v 9\n");
        });
    }
}
