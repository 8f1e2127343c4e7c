//! Tests for `datakit params`. The tests run against the `settings` example of `datakit-server`,
//! which has files for the schema, changes and transactions, and against servers that lack some of
//! these files.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod device;
#[allow(dead_code)]
#[path = "../../../server/examples/settings.rs"]
mod settings;

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use common::{Client, PROGRAM, Scratch, Server, TIMEOUT, end, lines};
use datakit_client::params::{Error, Params};
use datakit_client::{Client as Connection, Options};
use datakit_server::{Limits, Server as SettingsServer};
use serde_json::{Value, json};

/// A server for parameters. The parameters are static, so only one test at a time can use them.
struct Settings {
    address: &'static str,
    _turn: MutexGuard<'static, ()>,
}

/// Serves the settings and resets them to their defaults.
fn settings() -> Settings {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    take_turn(&ADDRESS, async |server| settings::serve(server, std::future::pending()).await)
}

/// Waits until no other test uses the parameters and resets them to their defaults. Starts the
/// server with `serve` unless it has an address.
fn take_turn(
    address: &'static OnceLock<String>,
    serve: impl AsyncFnOnce(SettingsServer) -> std::io::Result<()> + Send + 'static,
) -> Settings {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Settings { address: address.get_or_init(|| start(serve)), _turn: turn };
    settings.client().run(&["params", "reset", "/"]);
    settings
}

/// Starts a server in another thread and returns its address.
fn start(
    serve: impl AsyncFnOnce(SettingsServer) -> std::io::Result<()> + Send + 'static,
) -> String {
    let (sender, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let url = "tcp://127.0.0.1:0".parse().unwrap();
            let server = SettingsServer::bind(&[url], Limits::default().threads(1)).await.unwrap();
            sender.send(server.urls()[0].to_string()).unwrap();
            serve(server).await.unwrap();
        });
    });
    address.recv_timeout(TIMEOUT).unwrap()
}

impl Settings {
    fn client(&self) -> Client<'_> {
        Client { address: self.address, dialect: "" }
    }

    async fn params(&self) -> Params {
        let url = self.address.parse().unwrap();
        Params::new(Connection::connect(&url, Options::default()).await.unwrap(), "/params")
    }
}

/// Runs `datakit params` with the given arguments.
fn run(client: &Client<'_>, arguments: &str) -> String {
    client.run(&words(arguments))
}

/// Runs a command, which must fail, and returns its standard error.
fn fail(client: &Client<'_>, arguments: &str) -> String {
    client.fail(&words(arguments))
}

fn words(arguments: &str) -> Vec<&str> {
    ["params"].into_iter().chain(arguments.split(' ')).collect()
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

const DEFAULTS: &str = "pool/idle 2\npool/most 10\npool/timeout 30 s\nlog/level warning\n";

#[test]
fn list_and_get_print_values() {
    let settings = settings();
    let client = settings.client();
    let list = "pool/idle     2\npool/most     10\npool/timeout  30 s\nlog/level     warning\n";
    assert_eq!(run(&client, "list"), list);
    assert_eq!(run(&client, "list log pool/most log"), "log/level  warning\npool/most  10\n");
    assert_eq!(run(&client, "list --names pool"), "pool/idle\npool/most\npool/timeout\n");
    let long = "pool/most  10  a whole number from 1 to 100, default 10: Maximum number of \
                connections\n";
    assert_eq!(run(&client, "list -l pool/most"), long);
    assert_eq!(run(&client, "get pool/timeout"), "30 s\n");
    assert_eq!(run(&client, "get /params/pool/most"), "10\n");
    for all in ["get /", "get /params", "get pool log"] {
        assert_eq!(run(&client, all), DEFAULTS, "{all}");
    }
    let values = json!({ "pool/most": 10, "log/level": "warning" });
    assert_eq!(parse(&run(&client, "get --json pool/most log")), values);
    let listed = parse(&run(&client, "list --json pool/idle"));
    assert_eq!((&listed[0]["value"], &listed[0]["max"]), (&json!(2), &json!(100)));
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(
        fail(&client, "get pool/mast"),
        "datakit: pool/mast: there is no such parameter; a similar one is pool/most\n"
    );
    assert_eq!(fail(&client, "list x"), "datakit: x: there is no such parameter\n");
}

#[test]
fn schema_describes_every_parameter() {
    let settings = settings();
    let client = settings.client();
    let schema = parse(&run(&client, "schema"));
    let paths: Vec<&str> = schema["params"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["pool/idle", "pool/most", "pool/timeout", "log/level"]);
    let id = run(&client, "schema --id");
    assert_eq!(id, String::from_utf8(client.bytes(&["cat", "/params/schema-id"])).unwrap());
}

#[test]
fn several_values_are_set_together_or_not_at_all() {
    let settings = settings();
    let client = settings.client();
    run(&client, "set pool/most=20");
    run(&client, "set pool/idle=30 pool/most=40 log/level=info");
    assert_eq!(run(&client, "get pool/idle pool/most"), "pool/idle 30\npool/most 40\n");
    // The order of the values does not matter, because the rule is checked against the final
    // values.
    run(&client, "set pool/most=3 pool/idle=1");
    assert_eq!(run(&client, "get pool/idle pool/most"), "pool/idle 1\npool/most 3\n");
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let client = Client { dialect, ..settings.client() };
        let rule = "pool/idle must not be above pool/most";
        assert_eq!(
            fail(&client, "set pool/idle=60 pool/most=50"),
            format!("datakit: nothing was changed: pool/idle: {rule}\n"),
            "{dialect}"
        );
        assert_eq!(
            fail(&client, "set pool/idle=60"),
            format!("datakit: pool/idle: {rule}\n"),
            "{dialect}"
        );
    }
    assert_eq!(run(&client, "get pool/idle pool/most"), "pool/idle 1\npool/most 3\n");
    // One by one, a value that a rule refuses is sent again after the other values.
    run(&client, "set --one-by-one pool/idle=60 pool/most=70");
    assert_eq!(run(&client, "get pool/idle pool/most"), "pool/idle 60\npool/most 70\n");
    assert_eq!(
        fail(&client, "set --one-by-one pool/idle=90 pool/most=80 log/level=error"),
        "datakit: pool/idle: pool/idle must not be above pool/most\n"
    );
    assert_eq!(run(&client, "get pool/most log/level"), "pool/most 80\nlog/level error\n");
    run(&client, "set pool/idle=1 pool/most=3 log/level=info");
    client.run(&["params", "set", "pool/timeout=1.5 s", "--force", "pool/most=4"]);
    assert_eq!(run(&client, "get pool/timeout"), "1.5 s\n");
}

#[test]
fn invalid_values_are_refused_before_anything_is_sent() {
    let settings = settings();
    let client = settings.client();
    assert_eq!(
        fail(&client, "set pool/most=0 log/level=loud pool/idle=1 pool/mist=1 pool/idle=2"),
        "datakit: pool/most: \"0\" is not a whole number from 1 to 100\n\
         datakit: log/level: \"loud\" is not one of error warning info\n\
         datakit: pool/mist: there is no such parameter; a similar one is pool/most\n\
         datakit: pool/idle: given twice\n"
    );
    assert_eq!(
        client.fail(&["params", "set", "pool/timeout=1 day"]),
        "datakit: pool/timeout: \"1 day\" is not a duration such as 1.5 s or 250 ms, from 100 ms \
         to 600 s\n"
    );
    assert_eq!(
        client.fail(&["params", "set", "log/level=info\nerror"]),
        "datakit: log/level: a value is a single line\n"
    );
    for invalid in ["pool/most", "=1"] {
        let error = client.fail_with(2, &["params", "set", invalid]);
        assert!(error.contains("'='"), "{error}");
    }
    assert_eq!(run(&client, "get /"), DEFAULTS);
}

#[tokio::test]
async fn conflicts_name_the_parameter() {
    let settings = settings();
    let client = settings.client();
    let params = settings.params().await;
    let transaction = params.begin().await.unwrap();
    transaction.set("pool/most", "20").await.unwrap();
    assert_eq!(transaction.get("pool/most").await.unwrap(), "20");
    assert_eq!(transaction.state().await.unwrap(), "1 change");
    assert_eq!(run(&client, "get pool/most"), "10\n");
    run(&client, "set pool/most=30");
    let Error::Commit(reason) = transaction.commit().await.unwrap_err() else { panic!() };
    assert!(reason.starts_with("pool/most was changed by 127.0.0.1:"), "{reason}");
    assert!(reason.ends_with(" to 30"), "{reason}");

    let transaction = params.begin().await.unwrap();
    transaction.set("pool/most", "20").await.unwrap();
    run(&client, "set pool/most=40");
    transaction.commit_force().await.unwrap();
    assert_eq!(run(&client, "get pool/most"), "20\n");
    let refused = params.begin().await.unwrap().set("pool/most", "0").await.unwrap_err();
    let reason = "pool/most: \"0\" is not a whole number from 1 to 100";
    assert_eq!(refused.to_string(), reason);
}

#[tokio::test]
async fn transactions_end_with_their_connections() {
    let settings = settings();
    let client = settings.client();
    let params = settings.params().await;
    let mut transactions = Vec::new();
    for _ in 0..4 {
        transactions.push(params.begin().await.unwrap());
    }
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let client = Client { dialect, ..settings.client() };
        let error = fail(&client, "set pool/idle=3 pool/most=4");
        assert!(
            error.starts_with("datakit: all transactions are in use; 127.0.0.1:"),
            "the error names the client: {error}"
        );
        assert!(error.contains(" holds transaction 0; "), "{error}");
    }
    assert_eq!(run(&client, "get pool/idle"), "2\n");
    transactions.pop().unwrap().abort().await.unwrap();
    run(&client, "set pool/idle=3 pool/most=4");
    transactions[0].set("pool/most", "50").await.unwrap();
    drop((transactions, params));
    let params = settings.params().await;
    common::within("the end of three transactions", || {
        let output = client.command(&["params", "set", "pool/idle=1", "pool/most=9"]).output();
        output.unwrap().status.success()
    });
    assert_eq!(params.get("pool/most").await.unwrap(), "9");
}

#[test]
fn export_and_import_restore_the_values() {
    let settings = settings();
    let client = settings.client();
    let dir = Scratch::new("params");
    let file = dir.path("settings.txt");
    client.run(&["params", "set", "pool/most=20", "pool/timeout=1 s"]);
    assert_eq!(run(&client, "diff"), "pool/most 10 -> 20\npool/timeout 30 s -> 1 s\n");
    assert_eq!(run(&client, "modified"), "pool/most 20\npool/timeout 1 s\n");
    let modified = json!({ "pool/most": 20, "pool/timeout": "1 s" });
    assert_eq!(parse(&run(&client, "modified --json")), modified);
    assert_eq!(run(&client, &format!("export {file}")), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), run(&client, "export -"));
    run(&client, "reset /");
    run(&client, "set log/level=error");
    let differences = "pool/most 10 -> 20\npool/timeout 30 s -> 1 s\n";
    assert_eq!(run(&client, &format!("diff {file}")), differences);
    let rows = json!([
        { "path": "pool/most", "old": 10, "new": 20 },
        { "path": "pool/timeout", "old": "30 s", "new": "1 s" },
    ]);
    assert_eq!(parse(&run(&client, &format!("diff --json {file}"))), rows);
    let question = fail(&client, &format!("import {file}"));
    assert!(question.contains("use --yes"), "{question}");
    assert_eq!(run(&client, &format!("import --yes {file}")), differences);
    assert_eq!(run(&client, &format!("import --yes {file}")), "");
    assert_eq!(run(&client, "get log/level"), "error\n");
    assert_eq!(
        run(&client, &format!("import --yes --exact {file}")),
        "log/level error -> warning\n"
    );
    assert_eq!(run(&client, "modified"), "pool/most 20\npool/timeout 1 s\n");
}

#[test]
fn an_invalid_file_changes_nothing() {
    let settings = settings();
    let client = settings.client();
    let dir = Scratch::new("params-invalid");
    let file = dir.path("settings.txt");
    for (text, error) in [
        ("# one error\n\npool/most 200\n", ": line 3: pool/most: \"200\" is not a whole number"),
        ("pool/idle 2\nlog 1\n", ": line 2: log is a directory; its parameters are log/level\n"),
        ("pool/mast 1\n", ": line 1: pool/mast: there is no such parameter; a similar one is"),
        ("pool/idle=5\n", ": line 1: \"pool/idle=5\" is not of the form PATH VALUE"),
        ("pool/timeout=5 s\n", ": line 1: \"pool/timeout=5 s\" is not of the form PATH VALUE"),
        (" pool/most 2\n", "line 1: \" pool/most 2\" is not of the form PATH VALUE"),
        ("pool/most 2\npool/most 3\n", "pool/most: line 2 sets the parameter a second time"),
        ("pool/most 1\n", "pool/most: pool/idle must not be above pool/most"),
        ("\u{0}\u{1}", "there is no such parameter"),
    ] {
        std::fs::write(&file, text).unwrap();
        let printed = fail(&client, &format!("import --yes {file} --force"));
        assert!(printed.contains(error), "{text:?}: {printed}");
    }
    std::fs::write(&file, [0xff]).unwrap();
    assert!(fail(&client, &format!("import --yes {file}")).contains("is not UTF-8"));
    let missing = dir.path("missing");
    assert!(fail(&client, &format!("diff {missing}")).contains("No such file"));
    assert_eq!(run(&client, "get /"), DEFAULTS);
    let mut import = client.command(&["params", "import", "--yes", "-"]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(b"pool/most 7\n").unwrap();
    let output = import.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"pool/most 10 -> 7\n");
    std::fs::write(&file, "\u{feff}pool/most\t8\n").unwrap();
    assert_eq!(run(&client, &format!("import --yes {file}")), "pool/most 7 -> 8\n");
}

#[test]
fn reset_and_save_run_commands() {
    let settings = settings();
    let client = settings.client();
    run(&client, "set pool/idle=3 pool/most=4 log/level=info");
    run(&client, "reset pool/idle log");
    assert_eq!(run(&client, "modified"), "pool/most 4\n");
    assert!(fail(&client, "reset poll").contains("there is no such parameter"));
    for command in ["save", "save pool", "load", "erase"] {
        let error = fail(&client, command);
        assert_eq!(error, format!("datakit: {command}: this device does not store parameters\n"));
    }
}

#[test]
fn watch_prints_the_client_and_the_value() {
    let settings = settings();
    let client = settings.client();
    let watch = |arguments: &[&str]| {
        let mut command = client.command(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = lines(child.stdout.take().unwrap());
        (child, output)
    };
    let (mut text, text_lines) = watch(&["params", "watch", "pool"]);
    let (mut json, json_lines) = watch(&["params", "watch", "--json", "pool/most"]);
    // The test cannot know when the streams start, so it keeps changing the value until both have
    // reported a change.
    let (mut first_text, mut first_json, mut value) = (None, None, 10);
    common::within("both streams report a change", || {
        value += 1;
        run(&client, &format!("set pool/most={value}"));
        run(&client, "set log/level=info");
        first_text = first_text.take().or_else(|| text_lines.try_recv().ok());
        first_json = first_json.take().or_else(|| json_lines.try_recv().ok());
        first_text.is_some() && first_json.is_some()
    });
    let words: Vec<String> = first_text.unwrap().split(' ').map(str::to_owned).collect();
    assert!(words[0].parse::<u32>().is_ok() && words[1].starts_with("127.0.0.1:"), "{words:?}");
    assert_eq!(words[2], "pool/most");
    let first = parse(&first_json.unwrap());
    assert_eq!(first["path"], "pool/most");
    assert!(first["value"].as_u64().is_some() && first["sequence"].is_number(), "{first}");
    // So far, the text stream has shown only changes to `pool/most`, because it does not show the
    // `log` directory.
    run(&client, "set pool/timeout=0.5s");
    let rest = std::iter::from_fn(|| text_lines.recv_timeout(TIMEOUT).ok());
    let last = rest.map(|line| line.split_once(' ').unwrap().1.to_owned());
    let mut last = last.map(|line| line.split_once(' ').unwrap().1.to_owned());
    let found = last.find(|line| !line.starts_with("pool/most "));
    assert_eq!(found.as_deref(), Some("pool/timeout 500 ms"));
    for child in [&mut text, &mut json] {
        assert!(end(child, "INT").success());
    }
    assert!(fail(&client, "watch poll").contains("there is no such parameter"));
}

#[test]
fn a_server_without_a_schema_works_as_far_as_possible() {
    let server = Server::scratch();
    let client = Client { address: server.address(), dialect: "" };
    assert_eq!(
        fail(&client, "list"),
        "datakit: /params: No such file or directory (--dir is the parameter directory)\n"
    );
    client.run(&["write", "/file", "x"]);
    for dir in ["/file", "/file/below"] {
        assert_eq!(
            fail(&client, &format!("--dir {dir} list")),
            format!("datakit: {dir}: Not a directory (--dir is the parameter directory)\n")
        );
    }
    client.run(&["mkdir", "-p", "/params/blink"]);
    client.run(&["write", "/params/blink/period", "500\n"]);
    client.run(&["write", "/params/name", "a b\n"]);
    client.run(&["write", "/params/help", "no parameter\n"]);
    assert_eq!(run(&client, "list --dir /params/"), "blink/period  500\nname          a b\n");
    assert_eq!(run(&client, "get blink/period"), "500\n");
    assert_eq!(run(&client, "--dir /params/blink get period"), "500\n");
    assert_eq!(
        parse(&run(&client, "list --json name")),
        json!([{ "path": "name", "value": "a b" }])
    );
    run(&client, "set blink/period=600");
    assert_eq!(run(&client, "get blink"), "blink/period 600\n");
    let needed = "the server has no such file, which is needed to";
    assert_eq!(
        fail(&client, "set blink/period=1 name=x"),
        format!(
            "datakit: /params/transactions: the server has no such directory, which is needed to \
             set several parameters at once; --one-by-one sets them one after another\n"
        )
    );
    assert_eq!(run(&client, "get blink/period"), "600\n");
    run(&client, "set --one-by-one blink/period=1 name=x");
    assert_eq!(run(&client, "get /"), "blink/period 1\nname x\n");
    assert_eq!(fail(&client, "set nane=x"), "datakit: nane: there is no such parameter\n");
    for (arguments, file) in [
        ("schema", "schema"),
        ("schema --id", "schema-id"),
        ("modified", "modified"),
        ("diff", "schema"),
        ("watch", "changes"),
        ("reset name", "ctl"),
        ("save", "ctl"),
    ] {
        let error = fail(&client, arguments);
        let start = format!("datakit: /params/{file}: {needed} ");
        assert!(error.starts_with(&start), "{arguments}: {error}");
    }
}

#[test]
fn an_invalid_schema_is_an_error() {
    let server = Server::scratch();
    let client = Client { address: server.address(), dialect: "" };
    client.run(&["mkdir", "/params"]);
    for (schema, reason) in [
        ("", "it is not a JSON object"),
        ("{\"version\":1", "it is not a JSON object"),
        ("{}", "it has no version"),
        (
            "{\"version\":2,\"params\":[]}",
            "it has version 2, but this client supports only version 1",
        ),
        ("{\"version\":1}", "it has no array `params`"),
        (
            "{\"version\":1,\"params\":[{\"path\":\"a\",\"type\":\"bool\"},{\"path\":\"b\"}]}",
            "element 1 of `params` does not describe a parameter",
        ),
    ] {
        client.run(&["write", "/params/schema", schema]);
        let error = format!("datakit: the server's schema is not valid: {reason}\n");
        assert_eq!(fail(&client, "list"), error, "{schema}");
    }
    // Only the server checks values of a type that this client does not know.
    let schema =
        "{\"version\":1,\"new\":[1,{}],\"params\":[{\"path\":\"a\",\"type\":\"complex\"}]}";
    client.run(&["write", "/params/schema", schema]);
    client.run(&["write", "/params/a", "1\n"]);
    run(&client, "set a=1+2i");
    assert_eq!(run(&client, "list -l"), "a  1+2i  a value of the type complex\n");
}

#[test]
fn bash_completes_paths_from_the_server() {
    let settings = settings();
    let dir = Scratch::new("params-completions");
    let script = dir.path("datakit.bash");
    let bash = Command::new(PROGRAM).args(["completions", "bash"]).output().unwrap();
    std::fs::write(&script, bash.stdout).unwrap();
    let complete = |line: &str| {
        let program_dir = std::path::Path::new(PROGRAM).parent().unwrap().display();
        let test = format!(
            "PATH={program_dir}:$PATH; source {script}; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}
             COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _datakit_params datakit \"${{COMP_WORDS[COMP_CWORD]}}\" ''; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &test]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let address = settings.address;
    assert_eq!(complete(&format!("datakit -a {address} params get pool/m")), "pool/most");
    assert_eq!(complete(&format!("datakit params --address={address} reset lo")), "log/level");
    assert_eq!(
        complete(&format!("datakit params -a {address} set pool/")),
        "pool/idle= pool/most= pool/timeout="
    );
    assert_eq!(complete("datakit params impo"), "import");
}
