//! Tests for the last refusal of a connection, which can be read from `params/ctl`.

use datakit_core::files::{FileRequests, Param, TaskFile, Value};
use datakit_core::params::{
    Ctl, ObserverEntry, ParamSet, Replies, TransactionMemory, Transactions, observe,
};
use datakit_core::vfs::{CreateKind, Error, OpenMode, SetAttr, Vfs, async_file, file, table};

use super::tests::{Done, name, new, read, read_at, walk, write};
use super::*;

static GAIN: Value<u8> = Value::new(1);
static VOLTAGE: Value<u8> = Value::new(5);
static REQUESTS: FileRequests<1, 8> = FileRequests::new();
static MOTOR: TaskFile<1, 8> = REQUESTS.file(0);
/// Tests that run at the same time are refused requests too, so the table has room for many
/// clients.
static REPLIES: Replies<64> = Replies::new();
static MEMORY: TransactionMemory<1, 2, 8> = TransactionMemory::new();
static TRANSACTIONS: Transactions<1, 2, 8> = Transactions::new(&SET, &MEMORY);
static PARAMS: datakit_core::vfs::Dir = datakit_core::vfs::Dir::new(&[
    file("ctl", &Ctl::new(&SET, &REPLIES)),
    table("transactions", &TRANSACTIONS, 2),
    async_file("motor", &MOTOR),
    file("gain", &Param::new(&GAIN).range(0, 10)),
    file("voltage", &Param::new(&VOLTAGE).read_only()),
]);
static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(client_name);
static OBSERVER: ObserverEntry = ObserverEntry::new(&REPLIES);

/// Returns a tree for a new connection.
fn connect(client: &str) -> Tree {
    observe(&OBSERVER);
    let root = Dir::new();
    root.insert(Entry::dir("params", CoreDir::new(&PARAMS)));
    root.insert(Entry::dir("locked", ReadOnly(CoreDir::new(&PARAMS))));
    root.insert(Entry::file("motd", ReadOnlyText::new("hello\n")));
    Tree::new(root).for_client(client)
}

/// Checks that `params/ctl` contains the text of a refusal, and returns that text.
async fn refusal<T>(tree: &Tree, result: Result<T>) -> Result<String> {
    let error = result.err().expect("the request is refused");
    let text = read(tree, "params/ctl").await?;
    assert_eq!(text, format!("{error}\n"));
    Ok(text)
}

#[tokio::test]
async fn a_refusal_by_a_read_can_be_read_from_ctl() -> Done {
    let tree = connect("refused-read");
    let gain = tree.open(&walk(&tree, "params/gain").await?, OpenMode::READ_WRITE).await?;
    tree.write(&gain, 0, b"1").await?;
    tree.write(&gain, 1, b"1").await?;
    let text = refusal(&tree, read_at(&tree, &gain, 0, 9).await).await?;
    assert_eq!(text, "\"11\" is not a whole number from 0 to 10\n");
    Ok(())
}

#[tokio::test]
async fn a_conflict_found_by_a_read_can_be_read_from_ctl() -> Done {
    let tree = connect("refused-commit");
    let ctl = walk(&tree, "params/transactions/0/ctl").await?;
    let ctl = tree.open(&ctl, OpenMode::READ_WRITE).await?;
    write(&tree, "params/transactions/0/gain", "4\n").await?;
    write(&tree, "params/gain", "3\n").await?;
    tree.write(&ctl, 0, b"commit").await?;
    let text = refusal(&tree, read_at(&tree, &ctl, 0, 99).await).await?;
    assert_eq!(text, "gain was changed to 3\n");
    tree.close(&ctl);
    Ok(())
}

#[tokio::test]
async fn refused_changes_of_a_file_can_be_read_from_ctl() -> Done {
    let tree = connect("refused-change");
    let voltage = walk(&tree, "params/voltage").await?;
    let empty = SetAttr { size: Some(0), ..SetAttr::default() };
    let text = refusal(&tree, tree.set_attr(&voltage, empty).await).await?;
    assert_eq!(text, "Read-only file\n");
    let executable = SetAttr { mode: Some(0o777), ..SetAttr::default() };
    let text = refusal(&tree, tree.set_attr(&voltage, executable).await).await?;
    assert_eq!(text, "Can't chmod special file\n");
    let text = refusal(&tree, tree.remove(&voltage).await).await?;
    assert_eq!(text, "Read-only file\n");
    let text = refusal(&tree, tree.rename(&voltage, &tree.root(), name("v")).await).await?;
    assert_eq!(text, "Invalid cross-device link\n");
    Ok(())
}

#[tokio::test]
async fn refused_changes_of_a_directory_can_be_read_from_ctl() -> Done {
    let tree = connect("refused-mkdir");
    let dir = walk(&tree, "params/transactions").await?;
    let text = refusal(&tree, tree.create(&dir, name("x"), new(CreateKind::Dir)).await).await?;
    assert_eq!(text, "Directory is read-only\n");
    let mode = SetAttr { mode: Some(0o700), ..SetAttr::default() };
    let text = refusal(&tree, tree.set_attr(&dir, mode).await).await?;
    assert_eq!(text, "Operation not permitted\n");
    let text = refusal(&tree, tree.remove(&dir).await).await?;
    assert_eq!(text, "Directory is read-only\n");
    Ok(())
}

#[tokio::test]
async fn refusals_by_other_files_can_be_read_from_ctl() -> Done {
    let tree = connect("refused-elsewhere");
    let locked = walk(&tree, "locked").await?;
    let text = refusal(&tree, tree.create(&locked, name("x"), new(CreateKind::Dir)).await).await?;
    assert_eq!(text, "Directory is read-only\n");
    let text = refusal(&tree, write(&tree, "motd", "goodbye\n").await).await?;
    assert_eq!(text, "Read-only file\n");
    Ok(())
}

#[tokio::test]
async fn a_refusal_by_a_task_can_be_read_from_ctl() -> Done {
    let tree = connect("refused-task");
    let motor = tree.open(&walk(&tree, "params/motor").await?, OpenMode::READ_WRITE).await?;
    let answer = async {
        let error = Error::TimedOut.with_message("the motor does not answer");
        REQUESTS.next().await.finish(Err(error));
    };
    let (read, ()) = tokio::join!(read_at(&tree, &motor, 0, 9), answer);
    assert_eq!(refusal(&tree, read).await?, "the motor does not answer\n");
    Ok(())
}
