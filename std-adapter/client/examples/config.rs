//! A typed configuration in a Datakit database, with lookup branches, defaults and change
//! notifications. The example is modelled on the `Record` type of the original Go client.
//!
//! A field takes its value from the first lookup branch that contains its key. The program writes
//! the defaults to a separate branch, so that users can see all keys and override them in `master`:
//!
//! ```sh
//! datakit serve &
//! cargo run -p datakit-client --example config -- tcp://127.0.0.1:5640 &
//! echo 9000 | datakit db commit master -m 'Jumbo frames' app/net/mtu=-
//! ```

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use datakit_client::Url;
use datakit_client::db::{Branch, Db, Error, Path, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "tcp://127.0.0.1:5640".to_owned());
    let url: Url = url.parse()?;
    let config = Config::open(&url, &["master", "defaults"], "defaults", "app".parse()?).await?;
    let mut mtu = config.field("net/mtu", 1500).await?;
    let name = config.field("name", "unnamed".to_owned()).await?;
    let ipv6 = config.field("net/ipv6", true).await?;
    if let Some(value) = arguments.next() {
        mtu.set(&value.parse()?, "from the command line").await?;
    }
    println!("name {}, IPv6 {}", name.get().await?, ipv6.get().await?);
    loop {
        println!("MTU {}", mtu.next().await?);
    }
}

/// A directory of fields that are looked up in a list of branches.
pub(crate) struct Config(Arc<Inner>);

struct Inner {
    /// The branches in lookup order. New values are written to the first branch.
    lookup: Vec<Branch>,
    defaults: Branch,
    dir: Path,
    /// A channel that receives a notification whenever `dir` changes in one of the lookup branches.
    changes: watch::Receiver<()>,
    /// The tasks that watch the lookup branches. Dropping the set stops the tasks.
    _tasks: JoinSet<()>,
}

/// A configuration value. `T` is any type that can be formatted and parsed as text.
pub(crate) struct Field<T> {
    config: Arc<Inner>,
    path: Path,
    default: T,
    changes: watch::Receiver<()>,
    /// The last value that [`Field::next`] returned.
    last: Option<T>,
}

impl Config {
    /// Opens the directory `dir` in the `lookup` branches, creating missing branches.
    pub(crate) async fn open(
        url: &Url,
        lookup: &[&str],
        defaults: &str,
        dir: Path,
    ) -> Result<Config> {
        let db = Db::connect(url).await?;
        let (sender, changes) = watch::channel(());
        let (sender, mut tasks) = (Arc::new(sender), JoinSet::new());
        let mut branches = Vec::new();
        for name in lookup {
            let branch = existing_branch(&db, name).await?;
            let mut values = branch.watch_path(&dir).await?;
            let sender = Arc::clone(&sender);
            tasks.spawn(async move {
                while let Some(Ok(_)) = values.next().await {
                    sender.send_replace(());
                }
            });
            branches.push(branch);
        }
        let defaults = existing_branch(&db, defaults).await?;
        Ok(Config(Arc::new(Inner { lookup: branches, defaults, dir, changes, _tasks: tasks })))
    }

    /// Declares a field and writes its default to the defaults branch.
    pub(crate) async fn field<T>(&self, key: &str, default: T) -> Result<Field<T>>
    where
        T: FromStr + Display + Clone + PartialEq,
    {
        let path = self.0.dir.clone().concat(&key.parse()?);
        let text = default.to_string();
        if read(&self.0.defaults, &path).await?.as_deref() != Some(text.as_str()) {
            let message = format!("fill-in default for {path}");
            write(&self.0.defaults, &path, &text, &message).await?;
        }
        let (config, changes) = (Arc::clone(&self.0), self.0.changes.clone());
        Ok(Field { config, path, default, changes, last: None })
    }
}

impl<T: FromStr + Display + Clone + PartialEq> Field<T> {
    /// Returns the value from the first lookup branch that contains the key. Returns the default if
    /// no branch contains the key or the text cannot be parsed.
    pub(crate) async fn get(&self) -> Result<T> {
        for branch in &self.config.lookup {
            if let Some(text) = read(branch, &self.path).await? {
                return Ok(text.parse().unwrap_or_else(|_| self.default.clone()));
            }
        }
        Ok(self.default.clone())
    }

    /// Returns the current value on the first call. Later calls wait until the value changes.
    pub(crate) async fn next(&mut self) -> Result<T> {
        loop {
            self.changes.mark_unchanged();
            let value = self.get().await?;
            if self.last.as_ref() != Some(&value) {
                self.last = Some(value.clone());
                return Ok(value);
            }
            // If the connection is lost, all tasks that watch a branch return, and `changed` fails.
            self.changes.changed().await.map_err(|_| Error::StreamEnded)?;
        }
    }

    /// Writes the value to the first lookup branch.
    pub(crate) async fn set(&self, value: &T, description: &str) -> Result<()> {
        let Some(branch) = self.config.lookup.first() else { return Ok(()) };
        let message = format!("Unconditionally set {}: {description}", self.path);
        write(branch, &self.path, &value.to_string(), &message).await
    }
}

/// Returns a branch. A branch without commits receives a first commit, which makes the branch
/// visible to other clients.
async fn existing_branch(db: &Db, name: &str) -> Result<Branch> {
    let branch = db.branch(name).await?;
    if branch.head().await?.is_none() {
        write(&branch, &"branch-created".parse()?, "", "Creating branch").await?;
    }
    Ok(branch)
}

/// Reads the value of a key in a branch and trims whitespace. Returns `None` if the key does not
/// exist.
async fn read(branch: &Branch, path: &Path) -> Result<Option<String>> {
    let Some(head) = branch.head().await? else { return Ok(None) };
    match head.tree().read_file(path).await {
        Ok(text) => Ok(Some(String::from_utf8_lossy(&text).trim().to_owned())),
        Err(Error::NotFound | Error::NotDirectory | Error::NotFile) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write(branch: &Branch, path: &Path, text: &str, message: &str) -> Result<()> {
    branch
        .with_transaction(async |transaction| {
            transaction.make_dirs(&path.parent()).await?;
            transaction.create_or_replace_file(path, text.as_bytes()).await?;
            transaction.commit(message).await.map(drop)
        })
        .await
}
