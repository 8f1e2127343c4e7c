//! The `transactions/ID` directory.

use std::sync::{Arc, Weak};

use datakit_core::vfs::{Error, Name, Result};

use super::author::Author;
use super::branch_handle::BranchHandle;
use super::diff_dir::DiffDir;
use super::hash_text::{NO_REPLY, is_partial_hash, line};
use super::open_transactions::OpenTransactions;
use super::ro::{RoTree, TreeSource};
use super::rw::RwTree;
use crate::Id;
use crate::database::MAX_INLINE_BYTES;
use crate::integrate::MergePolicy;
use crate::model::identity::Identity;
use crate::model::tree::Tree;
use crate::transaction::{CommitOptions, MergeInputs, Transaction};
use datakit_server::tree::{
    BoxFuture, Command, CommandError, Directory, Entry, ReadOnlyText, Status, Text, ready,
};
use datakit_server::{inode_numbers, tree::is_prefix_of_any};

/// The directory of one transaction.
pub(super) struct TransactionDir {
    files: Arc<TransactionFiles>,
    /// All entries, sorted by name.
    entries: [(Entry, Shown); 12],
}

/// Specifies when an entry of a transaction's directory is visible.
#[derive(Clone, Copy)]
enum Shown {
    Always,
    /// After a merge, or after a commit that failed with a conflict.
    AfterConflict,
    AfterMerge,
}

/// The state shared by a transaction's files.
struct TransactionFiles {
    handle: Arc<BranchHandle>,
    /// The table of open transactions, which contains this transaction while it is open. The
    /// reference is weak, because the table owns the transaction's files.
    transactions: Weak<OpenTransactions>,
    transaction: Arc<Transaction>,
    rw: Arc<RwTree>,
    author: Author,
    message: Text,
    parents: Text,
}

impl TransactionDir {
    pub(super) fn new(
        handle: &Arc<BranchHandle>,
        transactions: &Arc<OpenTransactions>,
        transaction: Arc<Transaction>,
        head: Option<Id>,
        identity: Identity,
    ) -> TransactionDir {
        let database = handle.database.clone();
        let parents = head.map(|head| format!("{head}\n")).unwrap_or_default();
        let parents = Text::in_space(parents, &handle.quota.memory);
        let rw = RwTree::new(&database, transaction.clone(), head);
        let (handle, transactions) = (handle.clone(), Arc::downgrade(transactions));
        let (author, message) = (Author::new(identity), Text::in_space("", &handle.quota.memory));
        let files = Arc::new(TransactionFiles {
            handle,
            transactions,
            transaction,
            rw: rw.clone(),
            author,
            message,
            parents,
        });
        let number = inode_numbers::next();
        let tree: TreeSource = {
            let transaction = files.transaction.clone();
            Arc::new(move || Ok((transaction.tree()?, None)))
        };
        let entries = [
            (Entry::file("author", files.author.clone()), Shown::Always),
            (files.side("base", |sides| sides.base.clone()), Shown::AfterMerge),
            (Entry::file("conflicts", files.conflicts()), Shown::AfterConflict),
            (Entry::file("ctl", files.ctl()), Shown::Always),
            (Entry::dir("diff", DiffDir::new(&database, tree, number)), Shown::Always),
            (Entry::file("merge", files.merge()), Shown::Always),
            (Entry::file("msg", files.message.clone()), Shown::Always),
            (Entry::file("origin", ReadOnlyText::new("")), Shown::Always),
            (files.side("ours", |sides| sides.ours.clone()), Shown::AfterMerge),
            (Entry::file("parents", files.parents.clone()), Shown::Always),
            (rw.top(), Shown::Always),
            (files.side("theirs", |sides| sides.theirs.clone()), Shown::AfterMerge),
        ];
        TransactionDir { files, entries }
    }

    fn is_shown(&self, shown: Shown) -> Result<bool> {
        let transaction = &self.files.transaction;
        Ok(match shown {
            Shown::Always => true,
            Shown::AfterConflict => transaction.conflicts()?.is_some(),
            Shown::AfterMerge => transaction.merged()?.is_some(),
        })
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::with_capacity(self.entries.len());
        for (entry, shown) in &self.entries {
            if self.is_shown(*shown)? {
                entries.push(entry.clone());
            }
        }
        Ok(entries)
    }
}

impl Directory for TransactionDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        ready(self.entries())
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        ready((|| {
            let order = |(entry, _): &(Entry, Shown)| (*entry.name()).cmp(name.as_bytes());
            let found = self.entries.binary_search_by(order).ok();
            let (entry, shown) =
                found.and_then(|at| self.entries.get(at)).ok_or(Error::NotFound)?;
            if self.is_shown(*shown)? { Ok(entry.clone()) } else { Err(Error::NotFound) }
        })())
    }

    /// Returns `true` for every entry except `rw`. Removing any entry other than `rw` succeeds
    /// without any effect, because `rm -r` must remove all entries before it can remove the
    /// directory.
    fn ignores_removal(&self, child: &Entry) -> bool {
        *child.name() != *b"rw"
    }

    /// Does nothing, so that `mkdir -m` succeeds even though Git does not store directory modes.
    fn chmod(&self, _: u32) -> BoxFuture<'_, ()> {
        ready(Ok(()))
    }

    /// Closes the transaction. This has the same effect as the `close` command.
    fn remove(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.files.close())
    }
}

impl TransactionFiles {
    /// Parses the hashes in the `parents` file.
    fn parents(&self) -> crate::Result<Vec<Id>> {
        let text = self.parents.get();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines.map(|line| Ok(Id::parse(line)?)).collect()
    }

    fn ctl(self: &Arc<TransactionFiles>) -> Command {
        let files = self.clone();
        Command::explaining(move |command| {
            let files = files.clone();
            async move { files.run_command(&command).await }
        })
        .complete_unless(is_partial_word)
    }

    async fn run_command(&self, command: &str) -> std::result::Result<String, CommandError> {
        let mut words = command.split_ascii_whitespace();
        match (words.next(), words.collect::<Vec<_>>().as_slice()) {
            (Some("close"), []) => self.close().await?,
            (Some("reset"), []) => self.reset().await?,
            (Some("commit"), words) => return self.commit(command, words).await,
            _ => return Err(unknown(command).into()),
        }
        Ok(NO_REPLY.to_owned())
    }

    /// Closes the transaction and waits until its memory has been freed.
    async fn close(&self) -> Result<()> {
        if self.transaction.weight() > MAX_INLINE_BYTES {
            let transaction = self.transaction.clone();
            let close = move |_: &crate::Database| {
                transaction.close();
                Ok(())
            };
            self.handle.database.run_blocking(close).await?;
        }
        self.transaction.close();
        self.remove_from_table();
        Ok(())
    }

    /// Removes the transaction from the table of open transactions.
    fn remove_from_table(&self) {
        if let Some(transactions) = self.transactions.upgrade() {
            self.handle.with_transactions(&transactions, |_| ());
        }
    }

    /// Runs the `commit` command, which accepts `ff-only`, `if-changed` and `id` in any order.
    async fn commit(
        &self,
        command: &str,
        words: &[&str],
    ) -> std::result::Result<String, CommandError> {
        let mut options = CommitOptions { policy: MergePolicy::Merge, if_changed: false };
        let mut tell = false;
        for word in words {
            match *word {
                "ff-only" => options.policy = MergePolicy::FastForward,
                "if-changed" => options.if_changed = true,
                "id" => tell = true,
                _ => return Err(unknown(command).into()),
            }
        }
        let (branch, transaction) = (self.handle.branch(), self.transaction.clone());
        let (parents, message, by) = (self.parents()?, self.message.get(), self.author.by()?);
        let weight = transaction.weight();
        let commit = move |_: &crate::Database| {
            transaction.commit(&branch, &parents, &message, &by, options)
        };
        let committed = self.handle.database.run_sized(weight, commit).await?;
        self.remove_from_table();
        Ok(if tell { line(committed.head) } else { NO_REPLY.to_owned() })
    }

    /// Resets the tree to the tree of the first parent.
    async fn reset(&self) -> Result<()> {
        let to = *self
            .parents()?
            .first()
            .ok_or_else(|| Error::Invalid.with_message("parents is empty: nothing to reset to"))?;
        let rw = self.rw.clone();
        Ok(self.handle.database.run(move |_| rw.reset(to)).await?)
    }

    fn merge(self: &Arc<TransactionFiles>) -> Command {
        let files = self.clone();
        Command::explaining(move |text| {
            let files = files.clone();
            async move {
                let theirs = Id::parse(text.as_bytes()).map_err(crate::Error::from)?;
                let (parents, message, by) =
                    (files.parents()?, files.message.get(), files.author.by()?);
                let rw = files.rw.clone();
                let weight = files.transaction.weight();
                files
                    .handle
                    .database
                    .run_sized(weight, move |_| rw.merge(theirs, &parents, &message, &by))
                    .await?;
                files.add_parent(theirs);
                Ok("ok")
            }
        })
        .complete_unless(is_partial_hash)
    }

    fn add_parent(&self, parent: Id) {
        let mut text = self.parents.get().to_vec();
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend(format!("{parent}\n").as_bytes());
        self.parents.set(text);
    }

    fn conflicts(&self) -> Status {
        let transaction = self.transaction.clone();
        Status::new(move || {
            let conflicts = transaction.conflicts()?.ok_or(Error::NotFound)?;
            let mut text = Vec::new();
            for path in conflicts {
                text.extend(path);
                text.push(b'\n');
            }
            Ok(text)
        })
    }

    fn side(&self, name: &str, side: fn(&MergeInputs) -> Tree) -> Entry {
        let transaction = self.transaction.clone();
        let source: TreeSource = Arc::new(move || match transaction.merged()? {
            Some(sides) => Ok((side(&sides), None)),
            None => Err(crate::Error::NotFound),
        });
        RoTree::new(&self.handle.database, source, inode_numbers::next())
            .ignoring_removal()
            .top(name)
    }
}

/// Returns `true` if the last word of a command may be incomplete.
fn is_partial_word(command: &str) -> bool {
    let (first, last) =
        command.rsplit_once(|c: char| c.is_ascii_whitespace()).unwrap_or(("", command));
    if first.is_empty() {
        is_prefix_of_any(["close", "reset", "commit"], last)
    } else {
        is_prefix_of_any(["ff-only", "if-changed", "id"], last)
    }
}

fn unknown(command: &str) -> Error {
    Error::Invalid.with_message(format_args!("Unknown command {command:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::branch_table::BranchTable;
    use crate::files::open_transactions::OpenTransaction;
    use crate::files::quota::Quota;
    use crate::store::MemoryStore;
    use crate::{BranchName, Database};
    use datakit_server::tree::Empty;

    #[tokio::test]
    async fn ended_transactions_leave_the_table() {
        let database = Database::new(Arc::new(MemoryStore::new())).unwrap();
        let quota = Quota::new(&database);
        let handle =
            BranchTable::new(&database, &quota).handle(&BranchName::new("master").unwrap());
        for end in ["close", "commit", "remove"] {
            let transaction = Arc::new(Transaction::begin(&database, None).unwrap());
            let open = handle.transactions();
            let dir =
                TransactionDir::new(&handle, &open, transaction.clone(), None, Identity::default());
            open.0.lock().push(OpenTransaction {
                name: (*b"t").into(),
                entry: Entry::dir("t", Empty),
                transaction,
                _permit: quota.transactions.acquire().unwrap(),
            });
            match end {
                "remove" => dir.remove().await.unwrap(),
                word => drop(dir.files.run_command(word).await.unwrap()),
            }
            assert!(open.0.lock().is_empty(), "{end}");
        }
    }
}
