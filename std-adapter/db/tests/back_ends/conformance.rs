//! Runs the cases in the conformance table, which is shared by the clients in all languages.

use std::collections::HashMap;

use datakit_client::Dialect;
use datakit_client::db::prelude::*;
use datakit_client::db::{
    Change, Content, EntryKind, Error, MergeResult, Path, PathValue, Result, Stat, Watch,
};
use serde_json::{Value, json};

use crate::suite::{self, Fixture, TIMEOUT, names};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bindings/conformance.json");

/// Runs each case on a new database. Skips cases that require `missing`, a feature that the
/// database lacks.
async fn run_all<D: Database>(missing: &str, open: impl AsyncFn() -> Fixture<D>) {
    let table: Value = serde_json::from_slice(&std::fs::read(TABLE).unwrap()).unwrap();
    let cases = table["cases"].as_array().unwrap().iter();
    let cases: Vec<_> = cases
        .filter(|case| !case["needs"].as_array().into_iter().flatten().any(|need| need == missing))
        .collect();
    assert!(cases.len() > 20);
    for case in cases {
        let fixture = open().await;
        let mut runner = Runner::new(fixture.db.clone());
        for step in case["steps"].as_array().unwrap() {
            let name = case["name"].as_str().unwrap();
            let result = tokio::time::timeout(TIMEOUT, runner.run(step)).await;
            let result = result.unwrap_or_else(|_| panic!("{name}: no result of {step}"));
            if let Err(wrong) = runner.check(step, result) {
                panic!("{name}: {step}: {wrong}");
            }
        }
    }
}

#[tokio::test]
async fn table_on_a_server() {
    run_all("nothing", suite::server).await;
}

#[tokio::test]
async fn table_on_a_server_in_9p2000() {
    run_all("symlinks", async || suite::server_in(Dialect::Legacy).await).await;
}

#[tokio::test]
async fn table_on_a_server_in_9p2000_l() {
    run_all("error_texts", async || suite::server_in(Dialect::Linux).await).await;
}

#[tokio::test]
async fn table_in_a_repository() {
    run_all("nothing", suite::repository).await;
}

#[tokio::test]
async fn table_in_memory() {
    run_all("nothing", suite::memory).await;
}

enum AnyWatch<D: Database> {
    Head(Watch<Option<D::Commit>>),
    Path(Watch<Option<PathValue<D::Tree>>>),
}

/// The state of a running case.
struct Runner<D: Database> {
    db: D,
    bound: HashMap<String, Value>,
    transactions: HashMap<String, D::Transaction>,
    merges: HashMap<String, MergeResult<D::Tree>>,
    watches: HashMap<String, AnyWatch<D>>,
}

impl<D: Database> Runner<D> {
    fn new(db: D) -> Runner<D> {
        Runner {
            db,
            bound: HashMap::new(),
            transactions: HashMap::new(),
            merges: HashMap::new(),
            watches: HashMap::new(),
        }
    }

    /// Compares the result of a step with the expected result.
    fn check(&mut self, step: &Value, result: Result<Value>) -> std::result::Result<(), String> {
        let result = match (result, step["error"].as_str()) {
            (Err(error), Some(kind)) if kind_of(&error) == kind => return Ok(()),
            (Err(error), _) => return Err(format!("{error} ({error:?})")),
            (Ok(result), Some(_)) => return Err(format!("it succeeded with {result}")),
            (Ok(result), None) => result,
        };
        if let Some(expected) = step.get("expect") {
            let expected = self.resolve(expected);
            if result != expected {
                return Err(format!("the result is {result}, not {expected}"));
            }
        }
        if let Some(name) = step["bind"].as_str() {
            self.bound.insert(name.to_owned(), result);
        }
        Ok(())
    }

    /// Replaces each variable `$NAME` with the result that was bound to it, and normalizes file
    /// contents.
    fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => match text.strip_prefix('$') {
                Some(name) => self.bound[name].clone(),
                None => value.clone(),
            },
            Value::Array(values) => values.iter().map(|value| self.resolve(value)).collect(),
            Value::Object(members) => match bytes_of(value) {
                Some(bytes) => content(&bytes),
                None => {
                    let resolved = members.iter().map(|(key, value)| (key, self.resolve(value)));
                    json!(resolved.collect::<HashMap<_, _>>())
                }
            },
            other => other.clone(),
        }
    }

    fn text(&self, step: &Value, key: &str) -> String {
        self.resolve(&step[key]).as_str().unwrap_or_default().to_owned()
    }

    /// Returns a handle to the commit named by the `key` argument, without checking that the commit
    /// exists.
    fn commit_of(&self, step: &Value, key: &str) -> Result<D::Commit> {
        Ok(self.db.commit_with_id(self.text(step, key).parse()?))
    }

    async fn branch_of(&self, step: &Value) -> Result<D::Branch> {
        self.db.branch(self.text(step, "branch")).await
    }

    fn transaction(&self, step: &Value) -> &D::Transaction {
        &self.transactions[step["transaction"].as_str().unwrap()]
    }

    async fn tree(&self, step: &Value) -> Result<D::Tree> {
        if step.get("commit").is_some() {
            return Ok(self.commit_of(step, "commit")?.tree());
        }
        if step.get("tree").is_some() {
            return Ok(self.db.tree(self.text(step, "tree")));
        }
        Ok(match step["side"].as_str() {
            None => self.transaction(step).tree(),
            Some(side) => {
                let merge = &self.merges[step["transaction"].as_str().unwrap()];
                match side {
                    "ours" => merge.ours.clone(),
                    "theirs" => merge.theirs.clone(),
                    "base" => merge.base.clone(),
                    other => panic!("unknown side {other}"),
                }
            }
        })
    }

    async fn run(&mut self, step: &Value) -> Result<Value> {
        let op = step["op"].as_str().unwrap();
        match op {
            "branches" | "branch" | "remove_branch" | "head" | "fast_forward" | "commit_files"
            | "merge_branch" => self.run_branch(op, step).await,
            "commit" | "message" | "parents" | "diff" => self.run_commit(op, step).await,
            "begin"
            | "end_commit"
            | "abort"
            | "merge"
            | "conflicts"
            | "transaction_parents"
            | "set_parents" => self.run_transaction(op, step).await,
            "watch_head" | "watch_path" | "next" | "close_watch" => self.run_watch(op, step).await,
            op if op.starts_with("read") || op.starts_with("exists") => self.read(op, step).await,
            "stat" | "count_dir" => self.read(op, step).await,
            _ => self.change(op, step).await,
        }
    }

    async fn run_branch(&mut self, op: &str, step: &Value) -> Result<Value> {
        match op {
            "branches" => return Ok(json!(names(&self.db.branches().await?))),
            "remove_branch" => {
                self.db.remove_branch(self.text(step, "branch")).await?;
                return Ok(Value::Null);
            }
            _ => {}
        }
        let branch = self.branch_of(step).await?;
        Ok(match op {
            "head" => head_of(branch.head().await?),
            "fast_forward" => {
                branch.fast_forward(&self.commit_of(step, "commit")?).await?;
                Value::Null
            }
            "commit_files" => self.commit_files(&branch, step).await?,
            "merge_branch" => {
                let theirs = self.commit_of(step, "commit")?;
                let message = self.text(step, "message");
                let merge = branch.with_transaction(async |transaction| {
                    transaction.merge(&theirs).await?;
                    transaction.commit(&message).await
                });
                json!(merge.await?.id().to_string())
            }
            _ => Value::Null,
        })
    }

    async fn commit_files(&self, branch: &D::Branch, step: &Value) -> Result<Value> {
        let transaction = branch.transaction().await?;
        for removed in step["remove"].as_array().into_iter().flatten() {
            transaction.remove(&parse_path(removed)?).await?;
        }
        for file in step["files"].as_array().into_iter().flatten() {
            let path = parse_path(&file["path"])?;
            transaction.make_dirs(&path.parent()).await?;
            let executable = file["executable"].as_bool().unwrap_or(false);
            let bytes = bytes_of(&file["content"]).unwrap();
            transaction.create_file(&path, &bytes, executable).await?;
        }
        Ok(json!(transaction.commit(&self.text(step, "message")).await?.id().to_string()))
    }

    async fn run_commit(&self, op: &str, step: &Value) -> Result<Value> {
        Ok(match op {
            "commit" => json!(self.db.commit(self.text(step, "hash")).await?.id().to_string()),
            "message" => json!(self.commit_of(step, "commit")?.message().await?),
            "parents" => commits(&self.commit_of(step, "commit")?.parents().await?),
            _ => {
                let old = self.commit_of(step, "old")?;
                let changes = match step.get("new") {
                    Some(_) => self.commit_of(step, "new")?.diff(&old).await?,
                    None => self.transaction(step).diff(&old).await?,
                };
                let mut lines: Vec<_> = changes.iter().map(Change::to_string).collect();
                lines.sort();
                json!(lines)
            }
        })
    }

    async fn run_transaction(&mut self, op: &str, step: &Value) -> Result<Value> {
        Ok(match op {
            "begin" => {
                let transaction = self.branch_of(step).await?.transaction().await?;
                self.transactions.insert(self.text(step, "as"), transaction);
                Value::Null
            }
            "end_commit" => {
                let message = self.text(step, "message");
                json!(self.transaction(step).commit(&message).await?.id().to_string())
            }
            "abort" => {
                self.transaction(step).abort().await;
                Value::Null
            }
            "merge" => {
                let theirs = self.commit_of(step, "commit")?;
                let merge = self.transaction(step).merge(&theirs).await?;
                let conflicts = paths(&merge.conflicts);
                self.merges.insert(self.text(step, "transaction"), merge);
                conflicts
            }
            "conflicts" => paths(&self.transaction(step).conflicts().await?),
            "transaction_parents" => commits(&self.transaction(step).parents().await?),
            _ => {
                let parents = self.resolve(&step["parents"]);
                let parents =
                    parents.as_array().unwrap().iter().map(|parent| {
                        Ok(self.db.commit_with_id(parent.as_str().unwrap().parse()?))
                    });
                let parents = parents.collect::<Result<Vec<_>>>()?;
                self.transaction(step).set_parents(&parents).await?;
                Value::Null
            }
        })
    }

    async fn change(&self, op: &str, step: &Value) -> Result<Value> {
        let transaction = self.transaction(step);
        if op == "create_files" {
            let (prefix, bytes) = (self.text(step, "prefix"), bytes_of(&step["content"]).unwrap());
            let path = |number| Path::parse(format!("{prefix}{number}"));
            let files = (0..step["count"].as_u64().unwrap())
                .map(|number| Ok((path(number)?, Content::File(bytes.clone()))));
            transaction.write_files(&files.collect::<Result<_>>()?).await?;
            return Ok(Value::Null);
        }
        let (path, bytes) = (&parse_path(&step["path"])?, bytes_of(&step["content"]));
        let bytes = bytes.unwrap_or_default();
        let executable = step["executable"].as_bool().unwrap_or(false);
        match op {
            "create_dir" => transaction.create_dir(path).await?,
            "make_dirs" => transaction.make_dirs(path).await?,
            "create_file" => transaction.create_file(path, &bytes, executable).await?,
            "create_symlink" => {
                transaction.create_symlink(path, self.text(step, "target")).await?;
            }
            "replace_file" => transaction.replace_file(path, &bytes).await?,
            "create_or_replace_file" => transaction.create_or_replace_file(path, &bytes).await?,
            "set_executable" => transaction.set_executable(path, executable).await?,
            "truncate" => transaction.truncate(path, step["length"].as_u64().unwrap()).await?,
            "remove" => transaction.remove(path).await?,
            other => panic!("unknown operation {other}"),
        }
        Ok(Value::Null)
    }

    async fn read(&self, op: &str, step: &Value) -> Result<Value> {
        let (tree, path) = (self.tree(step).await?, &parse_path(&step["path"])?);
        Ok(match op {
            "read" => match tree.read(path).await? {
                Content::File(bytes) => json!({"file": content(&bytes)}),
                Content::Dir(listed) => json!({"dir": names(&listed)}),
                Content::Link(target) => json!({"link": target.to_string()}),
            },
            "read_file" => content(&tree.read_file(path).await?),
            "read_dir" => json!(names(&tree.read_dir(path).await?)),
            "count_dir" => json!(tree.read_dir(path).await?.len()),
            "read_link" => json!(tree.read_link(path).await?.to_string()),
            "exists" => json!(tree.exists(path).await?),
            "exists_file" => json!(tree.exists_file(path).await?),
            "exists_dir" => json!(tree.exists_dir(path).await?),
            "stat" => match tree.stat(path).await? {
                Some(Stat { kind, size }) => json!({"kind": name_of(kind), "size": size}),
                None => Value::Null,
            },
            other => panic!("unknown operation {other}"),
        })
    }

    async fn run_watch(&mut self, op: &str, step: &Value) -> Result<Value> {
        let watch = match op {
            "watch_head" => AnyWatch::Head(self.branch_of(step).await?.watch_head().await?),
            "watch_path" => {
                let path = parse_path(&step["path"])?;
                AnyWatch::Path(self.branch_of(step).await?.watch_path(&path).await?)
            }
            "close_watch" => {
                self.watches.remove(step["watch"].as_str().unwrap());
                return Ok(Value::Null);
            }
            _ => return next(self.watches.get_mut(step["watch"].as_str().unwrap()).unwrap()).await,
        };
        self.watches.insert(self.text(step, "as"), watch);
        Ok(Value::Null)
    }
}

async fn next<D: Database>(watch: &mut AnyWatch<D>) -> Result<Value> {
    Ok(match watch {
        AnyWatch::Head(heads) => head_of(heads.next().await.unwrap()?),
        AnyWatch::Path(values) => match values.next().await.unwrap()? {
            None => Value::Null,
            Some(PathValue::File(bytes)) => json!({"file": content(&bytes)}),
            Some(PathValue::Exec(bytes)) => json!({"exec": content(&bytes)}),
            Some(PathValue::Link(target)) => json!({"link": target.to_string()}),
            Some(PathValue::Dir(tree)) => json!({"dir": names(&tree.read_dir(&Path::ROOT).await?)}),
            Some(other) => panic!("unknown value {other:?}"),
        },
    })
}

fn head_of<C: CommitOps>(head: Option<C>) -> Value {
    head.map_or(Value::Null, |head| json!(head.id().to_string()))
}

fn commits<C: CommitOps>(commits: &[C]) -> Value {
    json!(commits.iter().map(|commit| commit.id().to_string()).collect::<Vec<_>>())
}

fn paths(paths: &[Path]) -> Value {
    let mut paths: Vec<_> = paths.iter().map(Path::to_string).collect();
    paths.sort();
    json!(paths)
}

fn parse_path(value: &Value) -> Result<Path> {
    match value.as_str().unwrap() {
        "" => Ok(Path::ROOT),
        path => Path::parse(path),
    }
}

/// Returns the bytes as a JSON string, or as a list of numbers if they are not valid UTF-8.
fn content(bytes: &[u8]) -> Value {
    str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text))
}

/// Returns the bytes that a JSON value describes, or `None` if the value does not describe file
/// content.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    if let Some(text) = value.get("base64") {
        return Some(decode_base64(text.as_str()?));
    }
    let times = usize::try_from(value.get("times")?.as_u64()?).ok()?;
    Some(value.get("repeat")?.as_str()?.repeat(times).into_bytes())
}

fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

fn name_of(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Exec => "exec",
        EntryKind::Link => "link",
        EntryKind::Dir => "dir",
    }
}

fn kind_of(error: &Error) -> &'static str {
    match error {
        Error::Exists => "already_exists",
        Error::NotFound => "does_not_exist",
        Error::IsDirectory => "is_dir",
        Error::NotDirectory => "not_dir",
        Error::NotFile => "not_file",
        Error::NotSymlink => "not_symlink",
        Error::Conflict(_) => "conflict",
        Error::OpenConflicts => "open_conflicts",
        Error::NotFastForward => "not_fast_forward",
        Error::InvalidHash(_) => "invalid_hash",
        Error::InvalidBranch(_) => "invalid_branch",
        Error::InvalidPath { .. } => "invalid_path",
        Error::TransactionEnded => "transaction_ended",
        _ => "another",
    }
}
