//! The file that runs commands on all parameters in a set.

use core::fmt::{self, Write};
use core::task::{Context, Poll};

use super::reply_file::{self, ReplyFile};
use super::{ParamSet, Replies, StoreAction, reset};
use crate::Decimal;
use crate::files::{PieceTarget, Plain, apply_piece, check_plain_mode, write_piece};
use crate::vfs::{Client, Error, File, FileStat, OpenFile, Result, Window};

/// The commands, as they appear in messages.
const COMMANDS: &str = "reset PATH, save, save PATH, load or erase";

/// A file that runs commands on the parameters in a set:
///
/// | command | effect |
/// |---|---|
/// | `reset PATH` | resets a parameter or all parameters in a directory to the default |
/// | `save` | stores the values of all parameters |
/// | `save PATH` | stores the value of a parameter or of all parameters in a directory |
/// | `load` | sets all parameters to their stored values |
/// | `erase` | erases all stored values |
///
/// The path `/` selects all parameters. A command is complete when a write ends with a newline,
/// when the file is read, or when the fid is clunked. A read returns the reply to the same client's
/// last command, or the text of the last refusal that this client received from any file in the
/// tree. A read after `save`, `load` or `erase` waits until the store has finished the request.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::params::{Ctl, ObserverEntry, ParamSet, Replies, observe};
/// use datakit_core::vfs::{Dir, file};
/// static GAIN: Value<u8> = Value::new(1);
/// static REPLIES: Replies<4> = Replies::new();
/// static PARAMS: Dir = Dir::new(&[
///     file("ctl", &Ctl::new(&SET, &REPLIES)),
///     file("gain", &Param::new(&GAIN).default(1)),
/// ]);
/// static SET: ParamSet = ParamSet::new(&PARAMS);
/// static OBSERVER: ObserverEntry = ObserverEntry::new(&REPLIES);
/// observe(&OBSERVER);
/// ```
#[derive(Debug)]
pub struct Ctl<const CLIENTS: usize> {
    set: &'static ParamSet,
    replies: &'static Replies<CLIENTS>,
}

impl<const CLIENTS: usize> Ctl<CLIENTS> {
    /// Creates a file that runs commands on the parameters in `set`. The replies are kept in
    /// `replies`.
    #[must_use]
    pub const fn new(set: &'static ParamSet, replies: &'static Replies<CLIENTS>) -> Ctl<CLIENTS> {
        Ctl { set, replies }
    }

    fn run(&self, client: Client, command: &[u8]) -> Result<()> {
        let end = command.iter().position(|byte| *byte == b' ').unwrap_or(command.len());
        let (word, path) = command.split_at_checked(end).unwrap_or_default();
        let path = path.trim_ascii();
        // A `match` on the word would compare it byte by byte, which takes up more flash.
        let is = |name: &[u8]| word == name;
        let action = if is(b"reset") {
            let count = reset::reset(self.set, path, client)?;
            let values = Plain(if count == 1 { "value" } else { "values" });
            self.replies.reply(client, &format_args!("reset {} {values}", Decimal::from(count)));
            return Ok(());
        } else if is(b"save") {
            StoreAction::Save(self.set.select(path)?)
        } else if is(b"load") && path.is_empty() {
            StoreAction::Load
        } else if is(b"erase") && path.is_empty() {
            StoreAction::Erase
        } else {
            return Err(reply_file::unknown_command(command, COMMANDS));
        };
        let store = self.set.param_store().ok_or_else(no_store)?;
        self.replies.request(store, action, client)
    }
}

#[cold]
fn no_store() -> Error {
    Error::NotSupported.with_message(Plain("this device does not store parameters"))
}

impl<const CLIENTS: usize> PieceTarget for Ctl<CLIENTS> {
    fn set(&self, client: Client, _: u64, command: &[u8]) -> Result<()> {
        self.run(client, command.trim_ascii())
    }
}

impl<const CLIENTS: usize> ReplyFile for Ctl<CLIENTS> {
    fn render_reply(
        &self,
        open: &mut OpenFile<'_>,
        cx: &mut Context<'_>,
        out: &mut Window<'_>,
    ) -> bool {
        self.replies.render(open, cx, out)
    }
}

impl<const CLIENTS: usize> File for Ctl<CLIENTS> {
    /// The length of the reply depends on the client, so the file reports a length of 0.
    fn stat(&self) -> FileStat {
        FileStat::new(0)
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
        reply_file::poll_read(self, open, cx, offset, buf)
    }

    fn write(&self, open: &mut OpenFile<'_>, offset: u64, data: &[u8]) -> Result<usize> {
        open.state.taken = 0;
        write_piece(self, open, offset, data)
    }

    fn flush(&self, open: &mut OpenFile<'_>) -> Result<()> {
        apply_piece(self, open)
    }

    fn truncate(&self, length: u64) -> Result<()> {
        if length == 0 { Ok(()) } else { Err(Error::ExtendCommand) }
    }

    fn chmod(&self, mode: u32) -> Result<()> {
        check_plain_mode(mode)
    }

    fn remove(&self) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn describe(&self, out: &mut dyn Write) -> fmt::Result {
        reply_file::describe(COMMANDS, out)
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering;
    use std::string::ToString;
    use std::sync::{Arc, Mutex};
    use std::vec::Vec;

    use embassy_futures::block_on;

    use super::*;
    use crate::files::{Line, Param, ParamInfo, Proposed, Value};
    use crate::params::test_tree::{Tree, Woken, as_client, find, read_all_as, write_as};
    use crate::params::{
        Event, Observer, ObserverEntry, ParamStore, StoreRequest, client_left, observe,
    };
    use crate::vfs::{Dir, SetAttr, Vfs, dir, file};

    /// A store that keeps requests until the test finishes them.
    struct Store(Mutex<Vec<StoreRequest>>);

    impl ParamStore for Store {
        fn start(&self, request: StoreRequest) -> Result<()> {
            let mut requests = self.0.lock().unwrap();
            if requests.len() == 1 {
                return Err(Error::Busy.with_message("the store has a request"));
            }
            requests.push(request);
            Ok(())
        }
    }

    impl Store {
        const fn new() -> Store {
            Store(Mutex::new(Vec::new()))
        }

        fn next(&self) -> StoreRequest {
            self.0.lock().unwrap().remove(0)
        }
    }

    // All trees in a process share the observers, so each test uses different client numbers.
    const A: Client = Client(20);
    const B: Client = Client(21);
    const C: Client = Client(22);
    const D: Client = Client(23);

    fn below_high(low: &u32, proposed: &Proposed<'_>) -> core::result::Result<(), &'static str> {
        if *low < proposed.get(&HIGH) { Ok(()) } else { Err("low must be below high") }
    }

    static LOW: Value<u32> = Value::new(10);
    static HIGH: Value<u32> = Value::new(90);
    static FREE: Value<u32> = Value::new(7);
    static FIXED: Value<u32> = Value::new(7);
    static LIMITS: Dir = Dir::new(&[
        file("low", &Param::new(&LOW).default(10).check(below_high)),
        file("high", &Param::new(&HIGH).range(0, 1000).default(90)),
    ]);
    static SET: ParamSet = ParamSet::new(&PARAMS);
    static REPLIES: Replies<32> = Replies::new();
    static ENTRY: ObserverEntry = ObserverEntry::new(&REPLIES);
    static ODD: Value<u32> = Value::new(20);
    static LONG: Value<Line<300>> = Value::new(Line::new("short"));
    static LONG_FILE: Param<Line<300>> = Param::new(&LONG).default(Line::new(LONG_TEXT));
    const LONG_TEXT: &str = match core::str::from_utf8(&[b'x'; 256]) {
        Ok(text) => text,
        Err(_) => "",
    };
    static UNUSUAL: Dir = Dir::new(&[
        file("odd", &Param::with_info(&ODD, ParamInfo::new().step(10, 0).default(5))),
        file("long", &LONG_FILE),
    ]);
    static PARAMS: Dir = Dir::new(&[
        file("ctl", &Ctl::new(&SET, &REPLIES)),
        dir("limits", &LIMITS),
        dir("unusual", &UNUSUAL),
        file("free", &Param::new(&FREE)),
        file("fixed", &Param::new(&FIXED).default(1).read_only()),
    ]);

    /// A single test covers all commands, because separate tests would run in parallel in one
    /// process and share the values.
    #[test]
    fn values_are_reset_and_refusals_can_be_read() {
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        let ctl = |command: &str| write_as(&tree, A, "ctl", command);
        let reply = |client| read_all_as(&tree, client, "ctl", 16);
        assert_eq!(reply(A), "");

        HIGH.set(900);
        LOW.set(800);
        ctl("reset limits\n").unwrap();
        assert_eq!((LOW.get(), HIGH.get()), (10, 90));
        assert_eq!(reply(A), "reset 2 values\n");
        assert_eq!(reply(A), "reset 2 values\n", "a reply can be read again");
        HIGH.set(900);
        ctl("reset limits/high").unwrap();
        assert_eq!(reply(A), "reset 1 value\n");
        ctl("reset limits").unwrap();
        assert_eq!(reply(A), "reset 0 values\n");
        assert_eq!((FREE.get(), FIXED.get()), (7, 7));

        HIGH.set(900);
        LOW.set(800);
        for (command, refusal) in [
            ("reset limits/high", "limits/low: low must be below high"),
            ("reset unusual/odd", "unusual/odd cannot be reset to its default"),
            ("reset unusual/long", "unusual/long cannot be reset to its default"),
            ("reset free", "\"free\" is read-only or has no default"),
            ("reset fixed", "\"fixed\" is read-only or has no default"),
            ("reset ctl", "\"ctl\" is not the path of a parameter"),
            ("reset", "reset needs the path of a parameter or a directory; `reset /` resets all"),
            ("save", "this device does not store parameters"),
            ("load", "this device does not store parameters"),
            (
                "load x",
                "\"load x\" is not a command: use reset PATH, save, save PATH, load or erase",
            ),
            (
                "destroy everything now",
                "\"destroy everything n...\" is not a command: \
                 use reset PATH, save, save PATH, load or erase",
            ),
            (
                "\u{fc}",
                "\"\\xc3\\xbc\" is not a command: use reset PATH, save, save PATH, load or erase",
            ),
        ] {
            assert_eq!(ctl(command).unwrap_err().to_string(), refusal);
            assert_eq!(reply(A), refusal.to_string() + "\n");
        }
        assert_eq!((LOW.get(), HIGH.get()), (800, 900));
        as_client(&tree, A, "ctl", async |tree, open| {
            let error = tree.write(open, 0, b"\xff\n").await.unwrap_err();
            assert!(error.to_string().starts_with("\"\\xff\" is not a command"), "{error}");
        });

        // The reply to a client is the error message of its last refused request.
        write_as(&tree, A, "limits/high", "1001").unwrap_err();
        write_as(&tree, B, "fixed", "1").unwrap_err();
        assert_eq!(reply(A), "\"1001\" is not a whole number from 0 to 1000\n");
        assert_eq!(reply(B), "Read-only file\n");
        let tree_of_a = Tree::new(&PARAMS).with_client(A);
        let find = |path: &str| find(&tree_of_a, path);
        let empty = SetAttr { size: Some(0), ..SetAttr::default() };
        block_on(tree_of_a.set_attr(&find("fixed"), empty)).unwrap_err();
        assert_eq!(reply(A), "Read-only file\n");
        block_on(tree_of_a.remove(&find("limits"))).unwrap_err();
        assert_eq!(reply(A), "Directory is read-only\n");
        client_left(A);
        assert_eq!((reply(A).as_str(), reply(B).as_str()), ("", "Read-only file\n"));
    }

    #[test]
    fn a_reply_waits_for_the_store() {
        static X: Value<u32> = Value::new(0);
        static Y: Value<u32> = Value::new(0);
        static BELOW: Dir = Dir::new(&[file("y", &Param::new(&Y))]);
        static STORE: Store = Store::new();
        static SET: ParamSet = ParamSet::new(&PARAMS).store(&STORE);
        static REPLIES: Replies<32> = Replies::new();
        static ENTRY: ObserverEntry = ObserverEntry::new(&REPLIES);
        static PARAMS: Dir = Dir::new(&[
            file("ctl", &Ctl::new(&SET, &REPLIES)),
            file("x", &Param::new(&X)),
            dir("below", &BELOW),
        ]);
        observe(&ENTRY);
        let tree = Tree::new(&PARAMS);
        for (command, action) in [
            ("save", StoreAction::Save(0..2)),
            ("save below", StoreAction::Save(1..2)),
            ("load", StoreAction::Load),
            ("erase\n", StoreAction::Erase),
        ] {
            write_as(&tree, C, "ctl", command).unwrap();
            let request = STORE.next();
            assert_eq!((request.action(), request.client()), (&action, C));
            request.finish(Ok(&"done"));
            assert_eq!(read_all_as(&tree, C, "ctl", 64), "done\n");
        }
        // A refusal can be read before the store has finished.
        write_as(&tree, C, "ctl", "save").unwrap();
        let request = STORE.next();
        write_as(&tree, C, "x", "many").unwrap_err();
        let refusal = "\"many\" is not a whole number from 0 to 4294967295\n";
        assert_eq!(read_all_as(&tree, C, "ctl", 64), refusal);
        request.finish(Ok(&"done"));
        assert_eq!(read_all_as(&tree, C, "ctl", 64), "done\n");
        as_client(&tree, C, "ctl", async |tree, open| {
            tree.write(open, 0, b"save\n").await.unwrap();
            let woken = Arc::new(Woken::default());
            let waker = Arc::clone(&woken).into();
            let mut buf = [0; 64];
            let count = {
                let mut read = core::pin::pin!(tree.read(open, 5, &mut buf));
                assert!(read.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
                assert_eq!(read_all_as(tree, D, "ctl", 64), "", "other clients do not wait");
                STORE.next().finish(Err(Error::Io));
                assert!(woken.0.load(Ordering::Relaxed));
                read.await.unwrap()
            };
            assert_eq!(&buf[..count], b"Input/output error\n");
            let end = 5 + count as u64;
            assert_eq!(tree.read(open, end, &mut buf).await, Ok(0));
            assert_eq!(tree.read(open, 1, &mut buf).await, Err(Error::Seek));
        });

        // The next client with the same number does not receive the outcome, even if it waits for
        // the outcome of a request of its own.
        write_as(&tree, D, "ctl", "save").unwrap();
        client_left(D);
        write_as(&tree, D, "ctl", "load").unwrap();
        STORE.next().finish(Ok(&"saved 2 values"));
        STORE.next().finish(Ok(&"loaded 2 values"));
        assert_eq!(read_all_as(&tree, D, "ctl", 64), "loaded 2 values\n");
        write_as(&tree, D, "ctl", "load").unwrap();
        client_left(D);
        drop(STORE.next());
        assert_eq!(read_all_as(&tree, D, "ctl", 64), "");
    }

    #[test]
    fn clients_take_turns_at_using_the_store() {
        static STORE: Store = Store::new();
        static SET: ParamSet = ParamSet::new(&PARAMS).store(&STORE);
        static REPLIES: Replies<3> = Replies::new();
        static PARAMS: Dir = Dir::new(&[file("ctl", &Ctl::new(&SET, &REPLIES))]);
        let tree = Tree::new(&PARAMS);
        let load = |number| write_as(&tree, Client(number), "ctl", "load");
        let refusal = |number| load(number).unwrap_err().to_string();
        let next = || {
            let request = STORE.next();
            let client = request.client().0;
            request.finish(Ok(&client));
            client
        };
        for number in [110, 111, 112] {
            load(number).unwrap();
        }
        assert_eq!(refusal(111), "a request is already waiting");
        assert_eq!(refusal(113), "a request is already waiting", "the table is full");
        assert_eq!(next(), 110);
        load(110).unwrap();
        assert_eq!(next(), 111);
        load(111).unwrap();
        assert_eq!([next(), next(), next()], [112, 110, 111]);
        assert_eq!(read_all_as(&tree, Client(112), "ctl", 8), "112\n");
        // A request of a client that has left is processed, and its entry is then free.
        for number in [110, 113, 114] {
            load(number).unwrap();
        }
        REPLIES.notify(&Event::Left { client: Client(113) });
        assert_eq!(refusal(115), "a request is already waiting");
        assert_eq!([next(), next()], [110, Client::PROGRAM.0]);
        load(115).unwrap();
        assert_eq!([next(), next()], [114, 115]);
    }

    #[test]
    fn a_request_that_the_store_refuses_is_answered() {
        static STORE: Store = Store::new();
        static SET: ParamSet = ParamSet::new(&PARAMS).store(&STORE);
        static REPLIES: Replies<3> = Replies::new();
        static PARAMS: Dir = Dir::new(&[file("ctl", &Ctl::new(&SET, &REPLIES))]);
        let tree = Tree::new(&PARAMS);
        STORE.start(StoreRequest::new(StoreAction::Load)).unwrap();
        let refused = write_as(&tree, Client(120), "ctl", "load").unwrap_err();
        assert_eq!(refused.to_string(), "the store has a request");
        assert_eq!(read_all_as(&tree, Client(120), "ctl", 64), "the store has a request\n");
        STORE.next().finish(Ok(&"loaded 0 values"));
        for number in [121, 122] {
            write_as(&tree, Client(number), "ctl", "load").unwrap();
        }
        let request = STORE.next();
        STORE.start(StoreRequest::new(StoreAction::Load)).unwrap();
        request.finish(Ok(&"loaded 0 values"));
        assert_eq!(read_all_as(&tree, Client(122), "ctl", 64), "the store has a request\n");
    }

    #[test]
    fn without_room_another_reply_is_removed() {
        static REPLIES: Replies<2> = Replies::new();
        static PARAMS: Dir = Dir::new(&[file("ctl", &Ctl::new(&SET, &REPLIES))]);
        let tree = Tree::new(&PARAMS);
        let replies = || [100, 101, 102].map(|n| read_all_as(&tree, Client(n), "ctl", 8));
        for number in [100, 101, 100] {
            REPLIES.reply(Client(number), &Decimal::from(number));
        }
        assert_eq!(replies(), ["100\n", "101\n", ""]);
        REPLIES.reply(Client(102), &"102");
        assert_eq!(replies(), ["100\n", "", "102\n"]);
        REPLIES.reply(Client(101), &"101");
        assert_eq!(replies(), ["", "101\n", "102\n"]);
    }

    #[test]
    fn long_replies_are_cut() {
        static REPLIES: Replies<1> = Replies::new();
        static PARAMS: Dir = Dir::new(&[file("ctl", &Ctl::new(&SET, &REPLIES))]);
        REPLIES.reply(A, &"x".repeat(200));
        let tree = Tree::new(&PARAMS);
        assert_eq!(read_all_as(&tree, A, "ctl", 50), "x".repeat(105) + "...\n");
    }
}
