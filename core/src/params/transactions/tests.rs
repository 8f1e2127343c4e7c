mod model;
mod threads;

use std::string::{String, ToString};
use std::vec::Vec;

use embassy_futures::block_on;

use super::*;
use crate::files::{Blob, Help, Param, ParamInfo, Proposed, Value};
use crate::params::test_tree::Tree;
use crate::params::{ObserverEntry, observe};
use crate::vfs::{Dir, Handle, Name, OpenMode, PackedPath, Vfs, dir, file, table};

/// The type that check functions return.
type Checked = core::result::Result<(), &'static str>;

/// Defines the parameters for one test, with two transactions of at most three values.
macro_rules! parameters {
    () => {
        static LOW: Value<i32> = Value::new(-10);
        static HIGH: Value<i32> = Value::new(10);
        static NAME: Value<heapless::String<32>> = Value::new(heapless::String::new());
        static NAME_FILE: Param<heapless::String<32>> = Param::new(&NAME);
        static SECRET: Value<u32> = Value::new(1);
        static FIXED: Value<u32> = Value::new(7);
        static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(|client, out| match client.0 {
            1 => out.write_str("10.0.2.2:4711"),
            _ => crate::params::unnamed(client, out),
        });
        static MEMORY: TransactionMemory<2, 3, 12> = TransactionMemory::new();
        static TRANSACTIONS: Transactions<2, 3, 12> = Transactions::new(&SET, &MEMORY);
        static OBSERVER: ObserverEntry = ObserverEntry::new(&TRANSACTIONS);
        static EMPTY: Dir = Dir::new(&[file("note", &Blob::new("no parameter"))]);
        static LIMITS: Dir = Dir::new(&[
            file("low", &Param::new(&LOW).range(-100, 100).check(below_high)),
            file("note", &Blob::new("no parameter")),
            file("high", &Param::new(&HIGH).range(-100, 100)),
        ]);
        static PARAMS: Dir = Dir::new(&[
            file("help", &Help::new(&PARAMS)),
            file("ctl", &Blob::new("not the ctl of a transaction")),
            table("transactions", &TRANSACTIONS, 3),
            dir("empty", &EMPTY),
            dir("limits", &LIMITS),
            file("name", &NAME_FILE),
            file("secret", &Param::with_info(&SECRET, ParamInfo::new().write_only())),
            file("fixed", &Param::new(&FIXED).read_only()),
        ]);
        fn below_high(low: &i32, proposed: &Proposed<'_>) -> Checked {
            if *low < proposed.get(&HIGH) { Ok(()) } else { Err("low must be below high") }
        }
        observe(&OBSERVER);
    };
}

fn walk(tree: &Tree, path: &str) -> Result<PackedPath> {
    path.split('/')
        .try_fold(tree.root(), |dir, name| block_on(tree.lookup(&dir, Name::new(name.as_bytes())?)))
}

fn open_as(tree: &Tree, client: Client, path: &str) -> Result<Handle> {
    tree.open_as(client, &walk(tree, path)?, OpenMode::READ_WRITE)
}

fn read(tree: &Tree, open: &Handle) -> String {
    let (mut text, mut buf) = (String::new(), [0; 7]);
    loop {
        let count = block_on(tree.read(open, text.len() as u64, &mut buf)).unwrap();
        if count == 0 {
            return text;
        }
        text.push_str(core::str::from_utf8(&buf[..count]).unwrap());
    }
}

fn cat(tree: &Tree, path: &str) -> String {
    let open = open_as(tree, Client::PROGRAM, path).unwrap();
    let text = read(tree, &open);
    tree.close(&open);
    text
}

fn write(tree: &Tree, client: Client, path: &str, text: &str) -> Result<()> {
    let open = open_as(tree, client, path)?;
    let written = block_on(tree.write(&open, 0, text.as_bytes()));
    let flushed = block_on(tree.flush(&open));
    tree.close(&open);
    written.and(flushed)
}

fn command(tree: &Tree, ctl: &Handle, text: &str) -> Result<()> {
    block_on(tree.write(ctl, 0, text.as_bytes()))?;
    block_on(tree.flush(ctl))
}

/// Returns an error's number and message.
fn refusal<T: fmt::Debug>(result: Result<T>) -> (u16, String) {
    let error = result.unwrap_err();
    (error.errno(), error.to_string())
}

const ONE: Client = Client(1);
const TWO: Client = Client(2);

#[test]
fn a_transaction_shows_only_parameters() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let list = |path: &str| {
        let open = open_as(&tree, ONE, path).unwrap();
        let mut names = Vec::new();
        let mut each = |entry: crate::vfs::DirEntry<'_, PackedPath>| {
            assert_eq!(tree.id(&(entry.inode)()), entry.id);
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            core::ops::ControlFlow::Continue(())
        };
        block_on(tree.readdir(&open, 0, &mut each)).unwrap();
        names
    };
    assert_eq!(list("transactions"), ["0", "1"]);
    assert_eq!(list("transactions/1"), ["limits", "name", "secret", "fixed", "ctl"]);
    assert_eq!(list("transactions/1/limits"), ["low", "high"]);
    for hidden in ["transactions", "help", "empty", "limits/note", "2", "ctl/x"] {
        let path = std::format!("transactions/0/{hidden}");
        let error = walk(&tree, &path).unwrap_err();
        assert!(matches!(error, Error::NotFound | Error::NotDirectory), "{path}");
    }
    for missing in ["2", "00", "", "+1"] {
        assert!(TRANSACTIONS.find(missing.as_bytes()).is_none(), "{missing}");
    }
    let low = walk(&tree, "transactions/1/limits/low").unwrap();
    assert_eq!(tree.parent(&low), walk(&tree, "transactions/1/limits").unwrap());
    assert_ne!(low, walk(&tree, "limits/low").unwrap());
    assert_eq!(block_on(tree.stat(&low)).unwrap().size, 4);
    let help = cat(&tree, "help");
    assert!(
        help.contains("transactions/1: a transaction: ctl and the staged parameters"),
        "{help}"
    );
    assert_eq!(SET.len(), 5);
}

#[test]
fn a_commit_sets_all_staged_values() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    assert_eq!(read(&tree, &ctl), "0 changes\n");
    write(&tree, ONE, "transactions/0/limits/low", "20\n").unwrap();
    assert_eq!(read(&tree, &ctl), "1 change\n");
    // At this point, `low` is not below `high`, which is allowed until the commit checks the rule.
    write(&tree, ONE, "transactions/0/limits/high", "25\n").unwrap();
    write(&tree, ONE, "transactions/0/limits/high", "30").unwrap();
    assert_eq!(read(&tree, &ctl), "2 changes\n");
    assert_eq!((LOW.get(), HIGH.get()), (-10, 10));
    assert_eq!(cat(&tree, "transactions/0/limits/high"), "30\n");
    assert_eq!(cat(&tree, "transactions/0/name"), "\n");
    assert_eq!(cat(&tree, "transactions/1/limits/high"), "10\n");
    let versions = [LOW.version(), HIGH.version()];
    command(&tree, &ctl, "commit").unwrap();
    assert_eq!((LOW.get(), HIGH.get()), (20, 30));
    assert_eq!([LOW.version(), HIGH.version()], versions.map(|version| version + 1));
    assert_eq!(read(&tree, &ctl), "0 changes\n");
    // The transaction has no staged values but has not ended.
    write(&tree, ONE, "transactions/0/limits/high", "40").unwrap();
    command(&tree, &ctl, "abort\n").unwrap();
    command(&tree, &ctl, "commit\n").unwrap();
    assert_eq!(HIGH.get(), 30);
}

#[test]
fn rules_are_checked_over_the_final_state() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    // Only `low` has a check function, but setting `high` can violate the rule.
    write(&tree, ONE, "transactions/0/limits/high", "-20").unwrap();
    write(&tree, ONE, "transactions/0/name", "new").unwrap();
    for commit in ["commit", "commit force"] {
        assert_eq!(
            refusal(command(&tree, &ctl, commit)),
            (22, "limits/low: low must be below high".into())
        );
        assert_eq!(read(&tree, &ctl), "limits/low: low must be below high\n");
        assert_eq!((LOW.get(), HIGH.get(), NAME.get().as_str()), (-10, 10, ""));
    }
    write(&tree, ONE, "transactions/0/limits/low", "-30").unwrap();
    assert_eq!(read(&tree, &ctl), "3 changes\n");
    command(&tree, &ctl, "commit").unwrap();
    assert_eq!((LOW.get(), HIGH.get(), NAME.get().as_str()), (-30, -20, "new"));
}

#[test]
fn invalid_values_are_refused_at_once() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    let stage = |path: &str, text| write(&tree, ONE, &std::format!("transactions/0/{path}"), text);
    let range = "\"101\" is not a whole number from -100 to 100";
    assert_eq!(refusal(stage("limits/low", "101")), (22, range.into()));
    assert_eq!(read(&tree, &ctl), std::format!("{range}\n"));
    assert_eq!(
        refusal(stage("name", "thirteen byte")),
        (28, "a transaction has room for 3 values of 12 bytes".into())
    );
    assert_eq!(stage("fixed", "1"), Err(Error::ReadOnlyFile));
    stage("limits/low", "1").unwrap();
    stage("limits/high", "2").unwrap();
    stage("secret", "3").unwrap();
    assert_eq!(
        refusal(stage("name", "x")),
        (28, "a transaction has room for 3 values of 12 bytes".into())
    );
    stage("limits/high", "4").unwrap();
    assert_eq!(cat(&tree, "transactions/0/secret"), "");
    assert_eq!(
        refusal(command(&tree, &ctl, "push")),
        (22, "\"push\" is not a command: use commit, commit force or abort".into())
    );
    command(&tree, &ctl, "commit").unwrap();
    assert_eq!((LOW.get(), HIGH.get(), SECRET.get()), (1, 4, 3));
}

#[test]
fn a_transaction_belongs_to_the_client_that_opened_ctl() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let low = "transactions/0/limits/low";
    let not_begun = (1, "open ctl first, which begins transaction 0".to_string());
    assert_eq!(refusal(write(&tree, ONE, low, "1")), not_begun);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    let held = (16, "10.0.2.2:4711 holds transaction 0".to_string());
    assert_eq!(refusal(write(&tree, TWO, low, "1")), held);
    assert_eq!(refusal(open_as(&tree, TWO, "transactions/0/ctl")), held);
    assert_eq!(refusal(open_as(&tree, ONE, "transactions/0/ctl")), held);
    let other = open_as(&tree, TWO, "transactions/1/ctl").unwrap();
    assert_eq!(
        refusal(open_as(&tree, ONE, "transactions/1/ctl")),
        (16, "client-2 holds transaction 1".into())
    );
    write(&tree, ONE, low, "1").unwrap();
    assert_eq!(read(&tree, &ctl), "1 change\n");
    assert_eq!(read(&tree, &other), "0 changes\n");
    // The connection is lost, so the file is closed without a flush.
    block_on(tree.write(&ctl, 0, b"commit")).unwrap();
    let staged = open_as(&tree, ONE, low).unwrap();
    block_on(tree.write(&staged, 0, b"2")).unwrap();
    tree.close(&ctl);
    assert_eq!(refusal(block_on(tree.flush(&staged))), not_begun);
    tree.close(&staged);
    assert_eq!(LOW.get(), -10);
    assert_eq!(cat(&tree, low), "-10\n");
    let ctl = open_as(&tree, TWO, "transactions/0/ctl").unwrap();
    assert_eq!(read(&tree, &ctl), "0 changes\n");
}

#[test]
fn a_conflict_names_the_parameter_and_the_client() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, TWO, "transactions/0/ctl").unwrap();
    let stage = |path: &str, text| write(&tree, TWO, &std::format!("transactions/0/{path}"), text);
    stage("limits/low", "1").unwrap();
    stage("secret", "2").unwrap();
    write(&tree, ONE, "limits/low", "5\n").unwrap();
    let conflict = "limits/low was changed by 10.0.2.2:4711 to 5";
    assert_eq!(refusal(command(&tree, &ctl, "commit")), (116, conflict.into()));
    assert_eq!(read(&tree, &ctl), std::format!("{conflict}\n"));
    assert_eq!((LOW.get(), SECRET.get()), (5, 1));
    // Staging the value again accepts the change.
    stage("limits/low", "2").unwrap();
    SECRET.set(9);
    assert_eq!(
        refusal(command(&tree, &ctl, "commit")),
        (116, "secret was changed by program to *".into())
    );
    let _ = HIGH.replace(20);
    stage("limits/high", "30").unwrap();
    let _ = HIGH.replace(21);
    assert_eq!(
        refusal(command(&tree, &ctl, "commit")),
        (116, "limits/high was changed to 21".into())
    );
    command(&tree, &ctl, "commit force").unwrap();
    assert_eq!((LOW.get(), HIGH.get(), SECRET.get()), (2, 30, 2));
}

#[test]
fn a_change_during_the_check_is_a_conflict() {
    static FIRST: Value<u8> = Value::new(0);
    static SECOND: Value<u8> = Value::new(0);
    static OTHER: Value<u8> = Value::new(0);
    static CALLS: Value<u8> = Value::new(0);
    // The check function changes a value, as an interrupt handler could during the commit.
    fn interrupt(_: &u8, _: &Proposed<'_>) -> Checked {
        let _ = CALLS.replace(CALLS.get() + 1);
        match CALLS.get() {
            1 => OTHER.set(1),
            3 => FIRST.set(3),
            _ => {}
        }
        Ok(())
    }
    static SET: ParamSet = ParamSet::new(&PARAMS);
    static MEMORY: TransactionMemory<1, 2, 4> = TransactionMemory::new();
    static TRANSACTIONS: Transactions<1, 2, 4> = Transactions::new(&SET, &MEMORY);
    static PARAMS: Dir = Dir::new(&[
        table("transactions", &TRANSACTIONS, 2),
        file("first", &Param::new(&FIRST)),
        file("second", &Param::new(&SECOND).check(interrupt)),
    ]);
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    let stage = || {
        write(&tree, ONE, "transactions/0/first", "1").unwrap();
        write(&tree, ONE, "transactions/0/second", "2").unwrap();
    };
    stage();
    command(&tree, &ctl, "commit").unwrap();
    assert_eq!((FIRST.get(), SECOND.get(), CALLS.get()), (1, 2, 2), "the check was repeated");
    stage();
    assert_eq!(refusal(command(&tree, &ctl, "commit")), (116, "first was changed to 3".into()));
    assert_eq!((FIRST.get(), SECOND.get()), (3, 2), "nothing was set");
}

#[test]
fn observers_learn_of_each_change_after_the_commit() {
    use std::sync::Mutex;
    parameters!();
    struct Log(Mutex<Vec<(usize, Client, i32, i32)>>);
    impl Observer for Log {
        fn notify(&self, event: &Event<'_>) {
            let &Event::Changed { address, client } = event else { return };
            if [LOW.address(), HIGH.address()].contains(&address) {
                self.0.lock().unwrap().push((address, client, LOW.get(), HIGH.get()));
            }
        }
    }
    static LOG: Log = Log(Mutex::new(Vec::new()));
    static LOG_ENTRY: ObserverEntry = ObserverEntry::new(&LOG);
    observe(&LOG_ENTRY);
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    write(&tree, ONE, "transactions/0/limits/high", "40").unwrap();
    write(&tree, ONE, "transactions/0/limits/low", "30").unwrap();
    command(&tree, &ctl, "commit").unwrap();
    let changes = [(LOW.address(), ONE, 30, 40), (HIGH.address(), ONE, 30, 40)];
    assert_eq!(*LOG.0.lock().unwrap(), changes);
}

#[test]
fn ctl_is_read_where_the_last_command_ended() {
    parameters!();
    let tree = Tree::new(&PARAMS);
    let ctl = open_as(&tree, ONE, "transactions/0/ctl").unwrap();
    // A shell uses the same offset for reads and writes.
    block_on(tree.write(&ctl, 0, b"abort\n")).unwrap();
    let mut buf = [0; 64];
    let read = |offset, buf: &mut [u8]| block_on(tree.read(&ctl, offset, buf));
    assert_eq!(read(6, &mut buf[..4]), Ok(4));
    assert_eq!(read(10, &mut buf[4..]), Ok(6));
    assert_eq!(&buf[..10], b"0 changes\n");
    assert_eq!(read(16, &mut buf), Ok(0));
    assert_eq!(read(3, &mut buf), Err(Error::Seek));
    block_on(tree.write(&ctl, 16, b"commit\n")).unwrap();
    assert_eq!(read(23, &mut buf), Ok(10));
    assert_eq!(read(0, &mut buf), Ok(10));
    assert_eq!(read(10, &mut buf), Ok(0));
}
