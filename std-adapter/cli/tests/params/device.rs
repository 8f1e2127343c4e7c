//! Tests with parameters that have the flags and types that the settings do not have, and with
//! transactions of only two values.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use datakit_core::files::{Fixed, Help, Millis, Param, Params, Value, fields::params};
use datakit_core::params::{
    ChangeMemory, Changes, Ctl, Modified, ObserverEntry, ParamSet, Replies, Schema,
    TransactionMemory, Transactions, observe,
};
use datakit_core::vfs::{self, file, table};
use datakit_server::Server;
use datakit_server::tree::{self, CoreDir, Dir, Entry, Tree};
use serde_json::json;

use super::common::{Client, PROGRAM, Scratch};
use super::{Settings, fail, parse, run, take_turn, words};

#[derive(Debug, Params)]
struct Blink {
    #[param(default = 10, flags(restart))]
    period: u16,
    #[param(default = 0.5, range = 0..=100)]
    duty: Fixed<2>,
    #[param(default = "30 s", range = "10 ms"..="60 s", step = "10 ms")]
    pause: Millis,
    #[param(default = 1, flags(write_only))]
    key: u32,
    #[param(flags(read_only))]
    uptime: u32,
}

static LEVELS: Value<[Option<u8>; 3]> = Value::new([None; 3]);
static BLINK: BlinkParams = BlinkParams::new();
static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(tree::client_name);
static CHANGE_MEMORY: ChangeMemory<64, 255> = ChangeMemory::new();
static CHANGES: Changes<64, 255> = Changes::new(&SET, &CHANGE_MEMORY);
static REPLIES: Replies<16> = Replies::new();
static MEMORY: TransactionMemory<1, 2, 64> = TransactionMemory::new();
static TRANSACTIONS: Transactions<1, 2, 64> = Transactions::new(&SET, &MEMORY);
static PARAMS: vfs::Dir = vfs::Dir::new(&[
    file("help", &Help::new(&PARAMS)),
    file("schema", &Schema::new(&SET)),
    file("modified", &Modified::new(&SET)),
    file("changes", &CHANGES),
    file("events", &CHANGES),
    file("ctl", &Ctl::new(&SET, &REPLIES)),
    table("transactions", &TRANSACTIONS, 1),
    const { params("blink", &BLINK) },
    file("levels", &Param::new(&LEVELS).default([None; 3])),
]);

/// Serves the parameters in the `params` directory.
async fn serve(server: Server) -> std::io::Result<()> {
    static OBSERVERS: [ObserverEntry; 3] = [
        ObserverEntry::new(&CHANGES),
        ObserverEntry::new(&REPLIES),
        ObserverEntry::new(&TRANSACTIONS),
    ];
    OBSERVERS.iter().for_each(observe);
    let root = Dir::new();
    root.insert(Entry::dir("params", CoreDir::new(&PARAMS)));
    let tree = Tree::new(root);
    server.serve_tree(move |peer| tree.for_client(&peer.name), std::future::pending()).await
}

/// Serves the parameters and resets them to their defaults.
fn device() -> Settings {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    take_turn(&ADDRESS, serve)
}

#[test]
fn files_that_do_not_answer_do_not_stop_the_others() {
    let device = device();
    let client = device.client();
    assert!(run(&client, "--dir / list --names").ends_with("params/levels\n"));
    // The server describes no parameters in its root directory.
    let output = client.command(&words("--dir / list")).output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let values: Vec<&str> = list.lines().map(str::trim_end).collect();
    assert_eq!(values[0], "params/events");
    assert!(values.contains(&"params/blink/period  10"), "{list}");
    let paths: Vec<&str> = values.iter().filter_map(|line| line.split(' ').next()).collect();
    assert!(!list.contains("changes") && !list.contains("ctl"), "{paths:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    let no_value = "datakit: params/events: no value within 2 s; it may be a stream\n";
    assert!(error.contains(no_value), "{error}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(fail(&client, "--dir / get params/events"), no_value);
}

#[test]
fn values_are_compared_and_secrets_are_hidden() {
    let device = device();
    let client = device.client();
    let dir = Scratch::new("params-compare");
    let file = dir.path("device.txt");
    let text = "blink/period 0xa\nblink/duty 0.50\nblink/pause 30s\nlevels none  none none\n";
    std::fs::write(&file, text).unwrap();
    assert_eq!(run(&client, &format!("diff {file}")), "");
    std::fs::write(&file, "blink/period 0xb\nblink/key 77\n").unwrap();
    assert_eq!(run(&client, &format!("diff {file}")), "blink/period 10 -> 0xb\nblink/key * -> *\n");
    let rows = json!([
        { "path": "blink/period", "old": 10, "new": 11 },
        { "path": "blink/key", "old": null, "new": null },
    ]);
    assert_eq!(parse(&run(&client, &format!("diff --json {file}"))), rows);
    // A write-only parameter keeps its value, because `export` cannot save it.
    std::fs::write(&file, "").unwrap();
    run(&client, "set blink/key=5");
    assert_eq!(run(&client, &format!("import --yes --exact {file}")), "");
    client.run(&["params", "set", "levels=none 0 255"]);
    run(&client, &format!("export {file}"));
    run(&client, "reset /");
    assert_eq!(
        run(&client, &format!("import --yes {file}")),
        "levels none none none -> none 0 255\n"
    );
    assert_eq!(parse(&run(&client, "get --json levels")), json!({ "levels": [null, 0, 255] }));
    assert_eq!(
        fail(&client, "set blink/duty=1e1 blink=1"),
        "datakit: blink/duty: \"1e1\" is not a multiple of 0.01 from 0 to 100\n\
         datakit: blink is a directory; its parameters are blink/period, blink/duty, blink/pause, \
         blink/key and 1 more\n"
    );
}

#[test]
fn a_transaction_without_room_names_the_option() {
    let device = device();
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let client = Client { dialect, ..device.client() };
        assert_eq!(
            fail(&client, "set blink/period=11 blink/duty=2 blink/key=3"),
            "datakit: nothing was changed: a transaction has room for 2 values of 64 bytes; \
             --one-by-one sets them one after another\n",
            "{dialect}"
        );
    }
    assert_eq!(run(&device.client(), "get blink/period"), "10\n");
}

#[test]
fn a_refused_reset_does_not_prevent_the_others() {
    let device = device();
    let client = device.client();
    run(&client, "set blink/duty=2");
    let unknown = "datakit: blnk: there is no such parameter\n";
    assert_eq!(fail(&client, "reset blink/duty blnk"), unknown);
    assert_eq!(run(&client, "get blink/duty"), "2\n");
    assert_eq!(
        fail(&client, "reset blink/uptime blink/duty"),
        "datakit: reset: \"blink/uptime\" is read-only or has no default\n"
    );
    assert_eq!(run(&client, "get blink/duty"), "0.5\n");
}

#[test]
fn a_change_after_a_restart_is_a_note() {
    let device = device();
    let client = device.client();
    let set = |value: &str| {
        let setting = format!("blink/period={value}");
        let output = client.command(&["params", "set", &setting]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(set("11"), "note: blink/period: the new value takes effect after a restart\n");
    assert_eq!(set("0xb"), "");
}

#[test]
fn a_refused_confirmation_changes_nothing() {
    let device = device();
    let dir = Scratch::new("params-confirm");
    let file = dir.path("device.txt");
    std::fs::write(&file, "blink/duty 2\n").unwrap();
    // The program asks only if its standard input is a terminal, which script(1) provides.
    let import = format!("{PROGRAM} params -a {} import {file}", device.address);
    let mut script = Command::new("script");
    script.args(["-qec", &import, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    script.stdin.take().unwrap().write_all(b"yikes\n").unwrap();
    let output = script.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("datakit: nothing was changed"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(run(&device.client(), "get blink/duty"), "0.5\n");
}
