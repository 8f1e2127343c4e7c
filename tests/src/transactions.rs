//! Scenarios that test the board's transactions, both on the host and in QEMU.

use datakit_core::wire::Dialect;

use crate::wire_client::{Refusal, WireClient};
use crate::{TIMEOUT, within};

/// Opens a connection in the given dialect and attaches fid 0 to the root of the board's tree.
pub type Connect<'a> = &'a dyn Fn(Dialect) -> WireClient;

/// The fid of the `ctl` file.
const CTL: u32 = 1;
/// The fid of the file that is being read or written.
const FILE: u32 = 2;

/// Opens the `ctl` file of transaction 0 or 1.
fn begin(client: &mut WireClient, number: u8) -> Result<(), Refusal> {
    client.walk(0, CTL, &format!("params/transactions/{number}/ctl")).unwrap();
    let opened = client.open(CTL, 2);
    if opened.is_err() {
        client.clunk(CTL).unwrap();
    }
    opened
}

fn command(client: &mut WireClient, text: &str) -> Result<(), Refusal> {
    client.write(CTL, 0, text.as_bytes()).map(drop)
}

fn state(client: &mut WireClient) -> String {
    String::from_utf8(client.read(CTL, 0, 200).unwrap()).unwrap()
}

fn write(client: &mut WireClient, path: &str, text: &str) -> Result<(), Refusal> {
    client.open_path(FILE, &format!("params/{path}"), 1);
    let written = client.write(FILE, 0, text.as_bytes());
    let clunked = client.clunk(FILE);
    written.map(drop).and(clunked)
}

fn stage(client: &mut WireClient, number: u8, path: &str, text: &str) -> Result<(), Refusal> {
    write(client, &format!("transactions/{number}/{path}"), text)
}

fn read(client: &mut WireClient, path: &str) -> String {
    client.open_path(FILE, &format!("params/{path}"), 0);
    let text = client.read(FILE, 0, 100).unwrap();
    client.clunk(FILE).unwrap();
    String::from_utf8(text).unwrap()
}

#[track_caller]
fn assert_refused(result: Result<(), Refusal>, errno: u32, text: &str) {
    let (reason, number) = result.expect_err("the request must fail");
    assert!(number == errno && reason.contains(text), "{number}: {reason}");
}

/// A commit sets all values, or none if a rule rejects them.
pub fn commit_sets_all_values_or_none(connect: Connect<'_>) {
    let (mut a, mut b) = (connect(Dialect::Unix), connect(Dialect::Unix));
    begin(&mut a, 0).unwrap();
    // Without a transaction, the first of these changes would be rejected, because the lower limit
    // would exceed the upper one.
    stage(&mut a, 0, "limits/low", "200\n").unwrap();
    stage(&mut a, 0, "limits/high", "300").unwrap();
    assert_eq!(read(&mut b, "limits/high"), "90\n");
    assert_eq!(read(&mut a, "transactions/0/limits/high"), "300\n");
    assert_eq!(read(&mut b, "transactions/1/limits/high"), "90\n");
    assert_eq!(state(&mut a), "2 changes\n");
    assert_refused(stage(&mut a, 0, "blink/duty", "0"), 22, "from 1 to 99 %");
    command(&mut a, "commit\n").unwrap();
    let limits = [read(&mut b, "limits/low"), read(&mut b, "limits/high")];
    assert_eq!(limits, ["200\n", "300\n"]);

    stage(&mut a, 0, "blink/duty", "30").unwrap();
    stage(&mut a, 0, "limits/low", "300").unwrap();
    assert_refused(command(&mut a, "commit\n"), 22, "limits/");
    assert_eq!(read(&mut b, "blink/duty"), "50\n");
    command(&mut a, "abort\n").unwrap();
    stage(&mut a, 0, "limits/low", "-90").unwrap();
    stage(&mut a, 0, "limits/high", "90").unwrap();
    command(&mut a, "commit\n").unwrap();
    assert_eq!(read(&mut b, "limits/low"), "-90\n");
}

/// A commit fails if another client has changed a parameter, unless the commit is forced.
pub fn conflict_names_the_parameter(connect: Connect<'_>) {
    let (mut a, mut b) = (connect(Dialect::Unix), connect(Dialect::Unix));
    begin(&mut a, 0).unwrap();
    begin(&mut b, 1).unwrap();
    stage(&mut a, 0, "blink/duty", "40").unwrap();
    stage(&mut a, 0, "blink/period", "500").unwrap();
    stage(&mut b, 1, "blink/period", "700").unwrap();
    command(&mut b, "commit\n").unwrap();
    let (reason, errno) = command(&mut a, "commit\n").unwrap_err();
    let (by, to) = reason.split_once(" to ").unwrap();
    assert_eq!((errno, to), (116, "700"));
    assert!(by.starts_with("blink/period was changed by "), "{reason}");
    assert_eq!(state(&mut a), format!("{reason}\n"));
    assert_eq!(read(&mut b, "blink/duty"), "50\n");
    command(&mut a, "commit force\n").unwrap();
    assert_eq!(read(&mut b, "blink/period"), "500\n");
    assert_eq!(read(&mut b, "blink/duty"), "40\n");
    write(&mut b, "blink/period", "1000").unwrap();
    write(&mut b, "blink/duty", "50").unwrap();
}

/// Only the client that began a transaction can use it, and a client that disconnects leaves
/// nothing behind.
pub fn transaction_ends_with_its_connection(connect: Connect<'_>) {
    let (mut a, mut b) = (connect(Dialect::Unix), connect(Dialect::Unix));
    begin(&mut a, 0).unwrap();
    assert_refused(begin(&mut b, 0), 16, "holds transaction 0");
    assert_refused(stage(&mut b, 0, "blink/period", "300"), 16, "holds transaction 0");
    assert_refused(stage(&mut b, 1, "blink/period", "300"), 1, "open ctl first");
    stage(&mut a, 0, "blink/period", "300").unwrap();
    drop(a);
    within(TIMEOUT, "the transaction ends", || begin(&mut b, 0).is_ok());
    assert_eq!(state(&mut b), "0 changes\n");
    assert_eq!(read(&mut b, "transactions/0/blink/period"), "1000\n");
    stage(&mut b, 0, "blink/period", "300").unwrap();
    b.clunk(CTL).unwrap();
    assert_eq!(read(&mut b, "blink/period"), "1000\n");
    begin(&mut b, 0).unwrap();
    assert_eq!(state(&mut b), "0 changes\n");
}

/// If there is no room left, the error states the capacity.
pub fn errors_name_the_capacity(connect: Connect<'_>) {
    let mut clients = [(); 3].map(|()| connect(Dialect::Unix));
    begin(&mut clients[0], 0).unwrap();
    begin(&mut clients[1], 1).unwrap();
    for number in 0..2 {
        assert_refused(begin(&mut clients[2], number), 16, "holds transaction");
    }
    let client = &mut clients[0];
    let room = "a transaction has room for 24 values of 24 bytes";
    assert_refused(stage(client, 0, "limits/high", &"0".repeat(25)), 28, room);
    stage(client, 0, "limits/high", &"0".repeat(24)).unwrap();
    assert_eq!(state(client), "1 change\n");
    command(client, "abort\n").unwrap();
    assert_eq!(state(client), "0 changes\n");
}

/// A transaction has room for all parameters, so that a client can import all of them at once.
pub fn all_parameters_fit_into_a_transaction(connect: Connect<'_>) {
    let mut client = connect(Dialect::Unix);
    client.open_path(FILE, "params/schema", 0);
    let mut schema = Vec::new();
    loop {
        let piece = client.read(FILE, schema.len() as u64, 400).unwrap();
        if piece.is_empty() {
            break;
        }
        schema.extend(piece);
    }
    client.clunk(FILE).unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&schema).unwrap();
    let parameters = schema["params"].as_array().unwrap();
    assert!(parameters.len() > 16, "{}", parameters.len());
    begin(&mut client, 0).unwrap();
    for parameter in parameters {
        let path = parameter["path"].as_str().unwrap();
        let value = read(&mut client, path);
        stage(&mut client, 0, path, &value).unwrap();
    }
    assert_eq!(state(&mut client), format!("{} changes\n", parameters.len()));
    command(&mut client, "commit\n").unwrap();
}

/// If error replies contain no text, a client can read the reason for the last refusal from `ctl`.
pub fn ctl_contains_the_last_refusal(connect: Connect<'_>) {
    let mut client = connect(Dialect::Linux);
    begin(&mut client, 0).unwrap();
    assert_refused(stage(&mut client, 0, "blink/duty", "0\n"), 22, "");
    assert_eq!(state(&mut client), "\"0\" is not a whole number from 1 to 99 %\n");
    stage(&mut client, 0, "blink/duty", "50\n").unwrap();
    assert_eq!(state(&mut client), "1 change\n");
    // The file `params/ctl` also contains refusals by directories.
    client.walk(0, FILE, "params").unwrap();
    assert_refused(client.lcreate(FILE, "new", 0, 0o644), 30, "");
    client.clunk(FILE).unwrap();
    assert_eq!(read(&mut client, "ctl"), "Directory is read-only\n");
}
