//! The history of a target.

use std::collections::BTreeMap;
use std::time::SystemTime;

use datakit_client::db::{
    BranchOps, CommitOps, Database, Error, Path, Result, TransactionExt, TransactionOps, TreeExt,
    TreeOps,
};
use datakit_github::{FILE_MAX, Hash};
use jiff::Timestamp;

use super::{JobResult, history_branch};
use crate::Target;
use crate::concurrent::{Concurrent, boxed};

/// The file that contains the result of a job.
const OUTPUT: &str = "output";
/// The file that contains the time at which a job reached its status, in RFC 3339 format.
const SINCE: &str = "since";

/// The state of a target at one point in time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The commit under test, or `None` if the target has no history.
    pub source: Option<Hash>,
    /// The job results, keyed by test name.
    pub jobs: BTreeMap<String, JobResult>,
}

impl Record {
    /// Reads the state from the tree of a history commit. Results that cannot be parsed are
    /// skipped.
    ///
    /// # Errors
    /// Returns any error that the database reports.
    pub async fn read<T: TreeOps>(tree: &T) -> Result<Record> {
        let (source_file, dir) = (Path::from_names(["source-commit"])?, Path::from_names(["job"])?);
        let (source, tests) =
            tokio::join!(boxed(read_optional(tree, &source_file)), boxed(tree.read_dir(&dir)));
        let source = source?.and_then(|text| Hash::parse(text.trim_ascii()).ok());
        let tests = match tests {
            Err(error) if is_no_file(&error) => Vec::new(),
            tests => tests?,
        };
        let mut reads = Concurrent::new();
        for dir in tests.iter().filter_map(|name| name.to_str()) {
            let file = Path::from_names(["job", dir, OUTPUT])?;
            reads.push(async move {
                Ok::<_, Error>((test_of_dir(dir), read_optional(tree, &file).await?))
            });
        }
        let mut jobs = BTreeMap::new();
        for (test, output) in reads.try_all().await? {
            match output.map(|output| JobResult::from_json(&output)) {
                Some(Ok(result)) => drop(jobs.insert(test, result)),
                Some(Err(error)) => tracing::warn!(test, %error, "result ignored"),
                None => {}
            }
        }
        Ok(Record { source, jobs })
    }
}

/// The branch that contains the history of a target.
#[derive(Debug)]
pub struct History<D: Database> {
    branch: D::Branch,
    /// The state in the head commit of the branch.
    last: Record,
    /// The times at which the jobs in `last` reached their status, keyed by test name.
    since: BTreeMap<String, SystemTime>,
    /// The commit that was the head when the history was opened.
    opened: Option<D::Commit>,
}

impl<D: Database> History<D> {
    /// Opens the history of a target and reads its last state. Results that cannot be parsed are
    /// skipped.
    ///
    /// # Errors
    /// Returns any error that the database reports.
    pub async fn open(db: &D, target: &Target) -> Result<History<D>> {
        let branch = db.branch(history_branch(target)).await?;
        let opened = branch.head().await?;
        let (last, since) = match &opened {
            Some(head) => {
                let last = Record::read(&head.tree()).await?;
                let since = read_times(head, &last).await?;
                (last, since)
            }
            None => Default::default(),
        };
        Ok(History { branch, last, since, opened })
    }

    /// Returns the commit that was the head when the history was opened.
    pub(crate) fn opened(&self) -> Option<&D::Commit> {
        self.opened.as_ref()
    }

    /// Returns the last state.
    #[must_use]
    pub fn last(&self) -> &Record {
        &self.last
    }

    /// Returns the times at which the jobs in the last state reached their status, keyed by test
    /// name.
    #[must_use]
    pub fn since(&self) -> &BTreeMap<String, SystemTime> {
        &self.since
    }

    /// Commits a new state. `changed` contains the times at which jobs reached their new status,
    /// for all jobs whose status or commit differs from the last state. Returns the commit, or
    /// `None` if the state did not change.
    ///
    /// If the future is dropped, it is unspecified whether the state has been committed.
    ///
    /// # Errors
    /// Returns any error that the database reports.
    pub async fn add(
        &mut self,
        new: Record,
        changed: &BTreeMap<String, SystemTime>,
        metadata: &str,
    ) -> Result<Option<D::Commit>> {
        if new == self.last {
            return Ok(None);
        }
        let new = Update { since: self.times(&new, changed), record: new, metadata };
        let committed = match self.commit(&self.last, &new).await {
            // Another client has replaced files with directories, or vice versa.
            Err(error) if is_no_file(&error) || error == Error::Exists => {
                tracing::warn!(branch = %self.branch.name(), %error, "the history is replaced");
                self.commit(&Record::default(), &new).await
            }
            committed => committed,
        };
        let commit = committed?;
        (self.last, self.since) = (new.record, new.since);
        Ok(Some(commit))
    }

    /// Returns the times at which the jobs in `new` reached their status.
    fn times(
        &self,
        new: &Record,
        changed: &BTreeMap<String, SystemTime>,
    ) -> BTreeMap<String, SystemTime> {
        let time = |(test, result): (&String, &JobResult)| {
            let last = self.last.jobs.get(test).filter(|_| self.last.source == new.source);
            let known = match last {
                Some(last) if last.status == result.status => self.since.get(test),
                _ => changed.get(test),
            };
            (test.clone(), known.copied().unwrap_or_else(SystemTime::now))
        };
        new.jobs.iter().map(time).collect()
    }

    /// Commits a new state. If `old` is empty, all files are replaced.
    async fn commit(&self, old: &Record, new: &Update<'_>) -> Result<D::Commit> {
        let transaction = self.branch.transaction().await?;
        let committed = async {
            if *old == Record::default() {
                let [source, metadata, jobs] = ["source-commit", "metadata-commit", "job"]
                    .map(|name| Path::from_names([name]));
                let (source, metadata, jobs) = (source?, metadata?, jobs?);
                tokio::try_join!(
                    transaction.remove_if_present(&source),
                    transaction.remove_if_present(&metadata),
                    transaction.remove_if_present(&jobs),
                )?;
            }
            write(&transaction, old, new, &self.since).await?;
            transaction.commit(&message(&self.last, &new.record)).await
        };
        let committed = committed.await;
        if committed.is_err() {
            transaction.abort().await;
        }
        committed
    }
}

/// A new state.
struct Update<'u> {
    record: Record,
    since: BTreeMap<String, SystemTime>,
    /// The hash of the metadata commit.
    metadata: &'u str,
}

/// Reads the times at which the jobs reached their status. A history written by the original CI
/// does not contain these times. The time of its last commit is used instead, because no job has
/// changed since then.
async fn read_times<C: CommitOps>(
    head: &C,
    record: &Record,
) -> Result<BTreeMap<String, SystemTime>> {
    let (mut since, mut reads) = (BTreeMap::new(), Concurrent::new());
    for test in record.jobs.keys() {
        let (tree, file) = (head.tree(), file_of_job(test, SINCE)?);
        reads.push(Box::pin(
            async move { Ok::<_, Error>((test, read_optional(&tree, &file).await?)) },
        ));
    }
    for (test, stored) in reads.try_all().await? {
        if let Some(time) = stored.and_then(|text| parse_time(&String::from_utf8_lossy(&text))) {
            since.insert(test.clone(), time);
        }
    }
    if since.len() < record.jobs.len()
        && let Some(time) = parse_time(&head.details().await?.date)
    {
        for test in record.jobs.keys() {
            since.entry(test.clone()).or_insert(time);
        }
    }
    Ok(since)
}

fn parse_time(text: &str) -> Option<SystemTime> {
    text.trim().parse::<Timestamp>().ok().map(SystemTime::from)
}

/// Describes the difference between two states in one line.
fn message(old: &Record, new: &Record) -> String {
    if old.source != new.source {
        return match new.source {
            Some(source) => format!("New head: {source}"),
            None => "No head".to_owned(),
        };
    }
    let changed = new.jobs.iter().filter(|(name, job)| old.jobs.get(*name) != Some(job));
    let changed: Vec<_> = changed.collect();
    match changed.as_slice() {
        [(name, job)] => format!("{name}: {} {}", job.status.as_str(), first_line(&job.text)),
        jobs => format!("{} jobs changed", jobs.len()),
    }
}

pub(crate) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

async fn read_optional<T: TreeOps>(tree: &T, path: &Path) -> Result<Option<Vec<u8>>> {
    match tree.read_file_up_to(path, FILE_MAX).await {
        Ok(content) => Ok(Some(content)),
        Err(error @ Error::FileTooLong { .. }) => {
            tracing::warn!(%error, "the file is ignored");
            Ok(None)
        }
        Err(error) if is_no_file(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns `true` if a path does not exist, or is a directory where a file is expected, or vice
/// versa.
pub(crate) fn is_no_file(error: &Error) -> bool {
    error.is_absent() || matches!(error, Error::NotFile | Error::IsDirectory)
}

/// Same as [`is_no_file`], but also returns `true` if a file is too long to be read.
pub(crate) fn is_no_usable_file(error: &Error) -> bool {
    is_no_file(error) || matches!(error, Error::FileTooLong { .. })
}

/// Writes the difference between two states. `since` contains the times at which the jobs in the
/// old state reached their status.
async fn write<T: TransactionOps>(
    transaction: &T,
    old: &Record,
    new: &Update<'_>,
    since: &BTreeMap<String, SystemTime>,
) -> Result<()> {
    let Update { record, since: new_since, metadata } = new;
    let mut removed = Concurrent::new();
    for name in old.jobs.keys().filter(|name| !record.jobs.contains_key(*name)) {
        let path = job_path(name)?;
        removed.push(async move { transaction.remove(&path).await });
    }
    removed.try_all().await?;
    let source = record.source.map(|source| format!("{source}\n")).unwrap_or_default();
    let mut files = vec![
        (Path::from_names(["source-commit"])?, source),
        (Path::from_names(["metadata-commit"])?, format!("{metadata}\n")),
    ];
    let mut new_dirs = Concurrent::new();
    for (test, result) in &record.jobs {
        let last = old.jobs.get(test);
        if last.is_none() {
            let dir = job_path(test)?;
            new_dirs.push(async move { transaction.make_dirs(&dir).await });
        }
        if last != Some(result) {
            files.push((file_of_job(test, OUTPUT)?, result.to_json()));
        }
        if let Some(time) = new_since.get(test)
            && (last.is_none() || since.get(test) != Some(time))
        {
            let text = Timestamp::try_from(*time).map(|time| format!("{time}\n"));
            files.push((file_of_job(test, SINCE)?, text.unwrap_or_default()));
        }
    }
    new_dirs.try_all().await?;
    let mut written = Concurrent::new();
    for (path, text) in files {
        written
            .push(async move { transaction.create_or_replace_file(&path, text.as_bytes()).await });
    }
    written.try_all().await.map(drop)
}

fn job_path(test: &str) -> Result<Path> {
    Path::from_names(["job", &dir_of_test(test)])
}

fn file_of_job(test: &str, file: &str) -> Result<Path> {
    Path::from_names(["job", &dir_of_test(test), file])
}

/// Returns the name of a test's directory. A directory name cannot contain `/` and cannot be `.` or
/// `..`, so `%`, `/` and leading dots are percent-encoded.
fn dir_of_test(test: &str) -> String {
    let dir = test.replace('%', "%25").replace('/', "%2F");
    match dir.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => dir,
    }
}

/// Returns the test whose directory has the given name. Invalid escape sequences are copied
/// unchanged.
fn test_of_dir(dir: &str) -> String {
    dir.replace("%2E", ".").replace("%2F", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_name_has_a_directory() {
        for name in ["build", "a/b", "..", ".x", "100%", "a%2Fb", "lint: rust=1.88,image=a/b:c"] {
            let dir = dir_of_test(name);
            assert!(Path::from_names(["job", &dir]).is_ok(), "{dir}");
            assert_eq!(test_of_dir(&dir), name);
        }
        // The original does not encode names.
        assert_eq!(test_of_dir("50%"), "50%");
    }
}
