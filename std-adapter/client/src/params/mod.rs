//! The parameters of a device or program. A server provides the parameters as files in a directory.
//!
//! The `schema` file in this directory describes all parameters. A client can check values against
//! this description, set multiple parameters at once, and follow changes made by other clients. The
//! files are described in `core/docs/parameters.md` in the repository.
//!
//! ```no_run
//! use datakit_client::params::{Params, Setting};
//! use datakit_client::{Client, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(&"tcp://board.local:564".parse()?, Options::default()).await?;
//! let params = Params::new(client, "/params");
//! let schema = params.schema().await?;
//! for parameter in schema.parameters() {
//!     println!("{}: {parameter}", parameter.path);
//! }
//! let settings = [Setting::new("limits/low", "10"), Setting::new("limits/high", "20")];
//! for setting in &settings {
//!     schema.find(&setting.path)?.check(&setting.value)?;
//! }
//! params.set_all(&settings).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every path is relative to the parameter directory and has no leading slash.

mod changes;
mod check;
mod decimal;
mod error;
mod lines;
mod normalize;
mod schema;
mod transaction;

pub use self::changes::{Change, Changes, Event};
pub use self::error::{Error, Result};
pub use self::lines::{Setting, format_settings, parse_numbered, parse_settings};
pub use self::schema::{Kind, Parameter, Range, Schema};
pub use self::transaction::Transaction;
use crate::{Client, Dialect, File, FileType, OpenMode};

/// The names of the non-parameter entries in a parameter directory.
const RESERVED: [&str; 7] =
    ["schema", "schema-id", "changes", "modified", "ctl", "transactions", "help"];

/// A handle to a server's parameters. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Params {
    client: Client,
    dir: String,
}

impl Params {
    /// Creates a handle to the parameters in the server's `dir` directory, for example `/params`.
    /// This function does not send a request.
    pub fn new(client: Client, dir: impl Into<String>) -> Params {
        let dir = dir.into();
        Params { client, dir: dir.trim_end_matches('/').to_owned() }
    }

    /// Converts the path of a file in the parameter directory to a path on the server.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }

    /// Reads the description of all parameters.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server has no schema, or [`Error::InvalidSchema`] if the
    /// file is not a valid schema.
    pub async fn schema(&self) -> Result<Schema> {
        Schema::parse(&self.schema_text().await?)
    }

    /// Reads the description of all parameters as JSON.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server has no schema.
    pub async fn schema_text(&self) -> Result<String> {
        self.read_needed("schema", "describe the parameters").await
    }

    /// Reads the hash of the schema. A program that has stored the schema can compare this hash
    /// with the hash of its copy instead of reading the schema again.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server has no schema.
    pub async fn schema_id(&self) -> Result<String> {
        Ok(self.read_needed("schema-id", "identify the schema").await?.trim_end().to_owned())
    }

    /// Returns the paths of all files in the parameter directory that may be parameters. Use this
    /// method if the server has no schema. Entries with the name of a control file, such as
    /// `changes`, are left out at every level, because a directory below this one may be the
    /// parameter directory of another set.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses to list a directory.
    pub async fn walk(&self) -> Result<Vec<String>> {
        let (mut paths, mut rest) = (Vec::new(), vec![(String::new(), FileType::Dir)]);
        while let Some((path, kind)) = rest.pop() {
            if kind != FileType::Dir {
                paths.push(path);
                continue;
            }
            let dir = self.file(&path);
            let entries = self.client.read_dir(&dir).await;
            let mut entries = entries.map_err(|error| Error::Client { path: dir, error })?;
            entries.retain(|entry| !RESERVED.contains(&&*entry.name.to_string()));
            // The last element of `rest` is visited first.
            rest.extend(entries.into_iter().rev().map(|entry| {
                let separator = if path.is_empty() { "" } else { "/" };
                (format!("{path}{separator}{}", entry.name), entry.kind)
            }));
        }
        Ok(paths)
    }

    /// Reads the value of a parameter, without the trailing newline.
    ///
    /// # Errors
    /// Returns [`Error::UnknownParameter`] if there is no such file, or [`Error::Client`] if the
    /// server refuses the request.
    pub async fn get(&self, path: &str) -> Result<String> {
        match self.read(&self.file(path)).await {
            Err(Error::Client { error, .. }) if error.is_not_found() => {
                Err(Error::UnknownParameter { path: path.to_owned(), similar: None })
            }
            result => result,
        }
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// Returns [`Error::UnknownParameter`] if there is no such file, or [`Error::Refused`] with the
    /// server's reason if the server rejects the value.
    pub async fn set(&self, path: &str, value: &str) -> Result<()> {
        match self.write(&self.file(path), value).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_not_found() => {
                Err(Error::UnknownParameter { path: path.to_owned(), similar: None })
            }
            Err(error) => Err(self.refused(path, error, None).await),
        }
    }

    /// Sets multiple parameters at once: either all of them are set or none are. A single setting
    /// does not require a transaction.
    ///
    /// # Errors
    /// Returns any error from [`begin`](Params::begin), [`Transaction::set`] or
    /// [`Transaction::commit`], or from [`set`](Params::set) if there is only one setting.
    pub async fn set_all(&self, settings: &[Setting]) -> Result<()> {
        match settings {
            [] => Ok(()),
            [Setting { path, value }] => self.set(path, value).await,
            _ => {
                let transaction = self.begin().await?;
                for Setting { path, value } in settings {
                    transaction.set(path, value).await?;
                }
                transaction.commit().await
            }
        }
    }

    /// Begins a transaction that changes multiple parameters.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server has no transactions, or
    /// [`Error::NoFreeTransaction`] if other clients are using all of them.
    pub async fn begin(&self) -> Result<Transaction> {
        Transaction::begin(self).await
    }

    /// Reads the parameters that differ from their defaults.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server has no such list.
    pub async fn modified(&self) -> Result<Vec<Setting>> {
        parse_settings(&self.read_needed("modified", "list the modified parameters").await?)
    }

    /// Returns a stream of changes to all parameters, beginning with the next change.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server does not report changes.
    pub async fn changes(&self) -> Result<Changes> {
        let path = self.file("changes");
        let watch = self.client.watch(&path).await;
        let watch = watch.map_err(|error| self.missing(&path, error, "report changes"))?;
        Ok(Changes::new(path, watch))
    }

    /// Sends a command, such as `save` or `reset blink/period`, to the `ctl` file and returns the
    /// reply.
    ///
    /// # Errors
    /// Returns [`Error::Missing`] if the server has no such file, or [`Error::Refused`] with the
    /// server's reason if the server refuses the command.
    pub async fn command(&self, command: &str) -> Result<String> {
        let path = self.file("ctl");
        let needed = "reset and save parameters";
        let ctl = self.client.open(&path, OpenMode::READ_WRITE).await;
        let ctl = ctl.map_err(|error| self.missing(&path, error, needed))?;
        let line = format!("{command}\n");
        let reply = match ctl.write_all_at(0, line.as_bytes()).await {
            Ok(()) => ctl.read_all().await,
            Err(error) => Err(error),
        };
        let reply = match reply {
            Ok(reply) => Ok(without_newline(&reply)),
            Err(error) => Err(named_once(command, self.refused(command, error, Some(&ctl)).await)),
        };
        let closed = ctl.close().await.map_err(|error| Error::Client { path, error });
        reply.and_then(|reply| closed.map(|()| reply))
    }

    /// Reads a file on the server and removes the trailing newline.
    async fn read(&self, path: &str) -> Result<String> {
        let text = self.client.read(path).await;
        let text = text.map_err(|error| Error::Client { path: path.to_owned(), error })?;
        Ok(without_newline(&text))
    }

    /// Reads a file that some servers do not have.
    async fn read_needed(&self, name: &str, needed: &'static str) -> Result<String> {
        let path = self.file(name);
        let text = self.client.read(&path).await;
        let text = text.map_err(|error| self.missing(&path, error, needed))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Writes a value. The file must be truncated, because some servers store values in plain
    /// files.
    async fn write(&self, path: &str, value: &str) -> Result<(), crate::Error> {
        let file = self.client.open(path, OpenMode::WRITE.truncate()).await?;
        file.write_all_at(0, format!("{value}\n").as_bytes()).await?;
        file.close().await
    }

    fn missing(&self, path: &str, error: crate::Error, needed: &'static str) -> Error {
        let path = path.to_owned();
        match error.is_not_found() {
            true => Error::Missing { path, needed },
            false => Error::Client { path, error },
        }
    }

    /// Returns the error for a refused request. 9P2000.L error replies contain no text, so this
    /// function reads the reason from the transaction's `ctl` file. Without a transaction, it reads
    /// the `ctl` file in the parameter directory.
    async fn refused(&self, path: &str, error: crate::Error, ctl: Option<&File>) -> Error {
        let path = path.to_owned();
        if !matches!(error, crate::Error::Server { .. }) {
            return Error::Client { path, error };
        }
        if self.client.dialect() == Dialect::Linux {
            let text = match ctl {
                Some(ctl) => ctl.read_all().await,
                None => self.client.read(self.file("ctl")).await,
            };
            let reason = text.map(|text| without_newline(&text)).unwrap_or_default();
            if !reason.is_empty() {
                return Error::Refused { path, reason };
            }
        }
        Error::Refused { path, reason: error.to_string() }
    }
}

/// Leaves out the path of a command if the reason for the refusal begins with it, as in
/// `reset: "net/uptime" is read-only`.
fn named_once(command: &str, error: Error) -> Error {
    match (command.split_once(' '), error) {
        (Some((word, path)), Error::Refused { reason, .. })
            if reason.starts_with(&format!("{path:?}")) =>
        {
            Error::Refused { path: word.to_owned(), reason }
        }
        (_, error) => error,
    }
}

/// Returns the text without its trailing newline.
fn without_newline(text: &[u8]) -> String {
    String::from_utf8_lossy(text.strip_suffix(b"\n").unwrap_or(text)).into_owned()
}
