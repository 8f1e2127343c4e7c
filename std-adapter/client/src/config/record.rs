//! A typed configuration with defaults, stored in multiple branches.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::field::{AnyField, Assignment, Field, FieldType};
use super::layout::Layout;
use super::session::{Session, fill_in, write};
use super::{Connect, RETRY_INTERVAL};
use crate::db::{BackendError, Error, Path, Result};

/// A program's configuration, which consists of typed fields. A record has a list of lookup
/// branches, and each field takes its value from the first of these branches that contains the
/// field's key. Clones refer to the same record.
///
/// A program declares fields and their defaults. The defaults are written to a branch so that users
/// can see all keys. Both users and the program can override a default by writing a value to the
/// first lookup branch. Whenever the record is read, the effective values are written to a third
/// branch.
///
/// ```no_run
/// use datakit_client::Url;
/// use datakit_client::config::{Layout, Record};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let url: Url = "tcp://127.0.0.1:5640".parse()?;
/// let record = Record::open(url, Layout::new("app".parse()?)).await?;
/// let mtu = record.field("net/mtu", 1500).await?;
/// let proxy = record.field("net/proxy", None::<String>).await?;
/// record.seal().await?;
/// let (value, version) = mtu.get();
/// println!("MTU {value}, proxy {:?}", proxy.get().0);
/// loop {
///     record.wait().await?;
///     if mtu.has_changed(version) {
///         println!("MTU {}", mtu.get().0);
///     }
/// }
/// # }
/// ```
///
/// If the connection is lost, [`wait`](Record::wait) reconnects, provided that the record was
/// opened with a [connector](Connect) that can reconnect. Any other call returns an error if the
/// connection is lost. The next call reconnects.
pub struct Record<C: Connect>(Arc<RecordInner<C>>);

struct RecordInner<C: Connect> {
    connector: C,
    layout: Layout,
    schema_version: Field<i64>,
    fields: Mutex<Vec<Arc<dyn AnyField>>>,
    /// The record's version, which is the number of times the record has been read.
    version: AtomicU64,
    session: tokio::sync::Mutex<Option<Arc<Session<C::Database>>>>,
    /// A lock held while the record is being read, so that all values with the same version come
    /// from the same read.
    reading: tokio::sync::Mutex<()>,
}

impl<C: Connect> Record<C> {
    /// Opens a record, creating any missing branches. Declares the `schema-version` field, whose
    /// default is 1.
    ///
    /// # Errors
    /// Returns an error if the database cannot be used or if the layout has no lookup branch.
    pub async fn open(connector: C, layout: Layout) -> Result<Record<C>> {
        if layout.lookup.is_empty() {
            let reason = "a record needs at least one lookup branch, for example `master`";
            return Err(Error::Backend(BackendError::new(reason)));
        }
        let path = layout.dir.clone().join("schema-version")?;
        let schema_version = Field::new(path, 1);
        let record = Record(Arc::new(RecordInner {
            connector,
            layout,
            fields: Mutex::new(Vec::new()),
            version: AtomicU64::new(0),
            session: tokio::sync::Mutex::new(None),
            reading: tokio::sync::Mutex::new(()),
            schema_version: schema_version.clone(),
        }));
        record.declare(schema_version.shared()).await?;
        Ok(record)
    }

    /// Declares a field. The key may contain slashes. Writes the default to the defaults branch if
    /// the key does not exist there, or removes the key from that branch if the default is `None`.
    ///
    /// # Errors
    /// Returns [`Error::InvalidPath`] if the key is not a valid path, or another error if the
    /// database cannot be used.
    pub async fn field<T: FieldType>(&self, key: &str, default: T) -> Result<Field<T>> {
        let path = self.0.layout.dir.clone().concat(&key.parse()?);
        let field = Field::new(path, default);
        self.declare(field.shared()).await?;
        Ok(field)
    }

    async fn declare(&self, field: Arc<dyn AnyField>) -> Result<()> {
        let session = self.session().await?;
        let declared = async {
            fill_in(&session.defaults, &[field.default()]).await?;
            let texts = session.read(&[field.path().clone()]).await?;
            let text = texts.into_iter().next().flatten();
            field.update(text.as_deref(), self.0.version.load(Relaxed));
            Ok(())
        };
        self.finish(&session, declared.await).await?;
        self.0.fields.lock().push(field);
        Ok(())
    }

    /// Writes a new value for a field to the first lookup branch. [`Field::get`] returns the new
    /// value after the next [`wait`](Record::wait) or [`seal`](Record::seal).
    ///
    /// # Errors
    /// Returns an error if the value cannot be written.
    pub async fn set<T: FieldType>(
        &self,
        description: &str,
        field: &Field<T>,
        value: T,
    ) -> Result<()> {
        self.set_multiple(description, [field.assign(value)]).await
    }

    /// Writes new values for multiple fields to the first lookup branch in one commit.
    ///
    /// # Errors
    /// Returns an error if the values cannot be written.
    pub async fn set_multiple(
        &self,
        description: &str,
        assignments: impl IntoIterator<Item = Assignment>,
    ) -> Result<()> {
        let assignments: Vec<_> = assignments.into_iter().collect();
        let keys: Vec<_> =
            assignments.iter().map(|assignment| self.key(&assignment.path)).collect();
        let message = format!("Unconditionally set [{}]: {description}", keys.join(" "));
        let session = self.session().await?;
        let Some(first) = session.lookup.first() else { return Ok(()) };
        let written = write(first, &assignments, &message).await;
        self.finish(&session, written).await
    }

    /// Returns the key of the field at `path`.
    fn key(&self, path: &Path) -> String {
        let names = path.names().skip(self.0.layout.dir.names().len());
        Path::from_names(names).unwrap_or_default().to_string()
    }

    /// Reads all fields immediately and writes their values to the state branch. Returns the new
    /// version.
    ///
    /// # Errors
    /// Returns an error if the database cannot be used.
    pub async fn seal(&self) -> Result<u64> {
        let session = self.session().await?;
        let read = self.read(&session).await;
        Ok(self.finish(&session, read).await?.0)
    }

    /// Waits until the record's directory changes in a lookup branch, then reads all fields and
    /// writes their values to the state branch. Returns the new version.
    ///
    /// If the connection is lost, this method tries to reconnect every [`RETRY_INTERVAL`]. Returns
    /// immediately after reconnecting if a field has changed in the meantime.
    ///
    /// # Cancel safety
    /// If the future is dropped while it is reading a change, the next call might not report that
    /// change. The fields keep any values that have already been read.
    ///
    /// # Errors
    /// Returns an error if the connection is lost and the connector cannot reconnect, or if any
    /// other database error occurs.
    pub async fn wait(&self) -> Result<u64> {
        loop {
            match self.wait_once().await {
                Ok(Some(version)) => return Ok(version),
                Ok(None) => {}
                // After the stream of a watch ends, a new watch can be opened on the same
                // connection.
                Err(Error::StreamEnded) => {}
                Err(error) if C::RECONNECTS && error.is_lost() => {
                    tracing::debug!("configuration: connecting again: {error}");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a change without retrying after an error. Returns `None` if the session is new and
    /// no field has changed.
    async fn wait_once(&self) -> Result<Option<u64>> {
        let session = self.session().await?;
        let waited = async {
            let is_unread = session.is_unread.load(Relaxed);
            if !is_unread {
                session.changed().await?;
            }
            let (version, changed) = self.read(&session).await?;
            Ok((changed || !is_unread).then_some(version))
        };
        let waited = waited.await;
        self.finish(&session, waited).await
    }

    /// Upgrades the record if `version` is greater than the value of the `schema-version` field. An
    /// upgrade writes `version` and the defaults of all fields to the defaults branch in one
    /// commit, and then reads all fields. Returns whether an upgrade was needed. The first lookup
    /// branch is left unchanged, so users keep their settings.
    ///
    /// # Errors
    /// Returns an error if the database cannot be used.
    pub async fn upgrade(&self, version: i64) -> Result<bool> {
        if version <= self.0.schema_version.get().0 {
            return Ok(false);
        }
        let schema = self.0.schema_version.assign(version);
        let mut defaults: Vec<_> =
            self.0.fields.lock().iter().map(|field| field.default()).collect();
        defaults.retain(|default| default.path != schema.path);
        defaults.push(schema);
        let message = format!("Upgrade to schema version {version}");
        let session = self.session().await?;
        let upgraded = async {
            write(&session.defaults, &defaults, &message).await?;
            self.read(&session).await
        };
        let upgraded = upgraded.await;
        self.finish(&session, upgraded).await?;
        Ok(true)
    }

    /// Reads all fields and writes their values to the state branch. Returns the new version and
    /// whether a field has changed.
    async fn read(&self, session: &Session<C::Database>) -> Result<(u64, bool)> {
        let _reading = self.0.reading.lock().await;
        let fields = self.0.fields.lock().clone();
        let paths: Vec<_> = fields.iter().map(|field| field.path().clone()).collect();
        let texts = session.read(&paths).await?;
        let version = self.0.version.fetch_add(1, Relaxed).saturating_add(1);
        let mut changed = false;
        for (field, text) in fields.iter().zip(&texts) {
            changed |= field.update(text.as_deref(), version);
        }
        session.is_unread.store(false, Relaxed);
        let values: Vec<_> = fields.iter().map(|field| field.current()).collect();
        write(&session.state, &values, "Updating state branch").await?;
        Ok((version, changed))
    }

    /// Returns the current session, or connects and opens a new session.
    async fn session(&self) -> Result<Arc<Session<C::Database>>> {
        let mut session = self.0.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let db = self.0.connector.connect().await?;
        let opened = Arc::new(Session::open(&db, &self.0.layout).await?);
        // Write the defaults again because the new database may be empty.
        let defaults: Vec<_> = self.0.fields.lock().iter().map(|field| field.default()).collect();
        fill_in(&opened.defaults, &defaults).await?;
        Ok(Arc::clone(session.insert(opened)))
    }

    /// Discards the session if `result` indicates that the connection was lost or that a watch
    /// ended.
    async fn finish<T>(&self, session: &Arc<Session<C::Database>>, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(|error| error.is_lost() || *error == Error::StreamEnded) {
            let mut current = self.0.session.lock().await;
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
                *current = None;
            }
        }
        result
    }
}

impl<C: Connect> Clone for Record<C> {
    fn clone(&self) -> Record<C> {
        Record(Arc::clone(&self.0))
    }
}

impl<C: Connect> Debug for Record<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("layout", &self.0.layout).finish_non_exhaustive()
    }
}
