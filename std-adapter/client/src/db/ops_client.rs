//! Implements the database traits for a connection to a server.

use super::Db;
use super::branch::Branch;
use super::commit::{Change, Commit, Details};
use super::error::Result;
use super::id::Id;
use super::merge_result::MergeResult;
use super::ops::{BranchOps, CommitOps, Database, TransactionOps, TreeOps};
use super::path::Path;
use super::transaction::Transaction;
use super::tree::{Content, Stat, Tree};
use super::watch::{PathValue, Watch};
use crate::ByteString;

impl Database for Db {
    type Branch = Branch;
    type Commit = Commit;
    type Transaction = Transaction;
    type Tree = Tree;

    async fn branches(&self) -> Result<Vec<ByteString>> {
        Db::branches(self).await
    }

    async fn branch(&self, name: impl AsRef<[u8]> + Send) -> Result<Branch> {
        Db::branch(self, name).await
    }

    async fn remove_branch(&self, name: impl AsRef<[u8]> + Send) -> Result<()> {
        Db::remove_branch(self, name).await
    }

    async fn commit(&self, hash: impl AsRef<[u8]> + Send) -> Result<Commit> {
        Db::commit(self, hash).await
    }

    fn commit_with_id(&self, id: Id) -> Commit {
        Db::commit_with_id(self, id)
    }

    fn tree(&self, id: impl AsRef<[u8]>) -> Tree {
        Db::tree(self, id)
    }

    async fn fetch(&self, url: &str, branch: &str) -> Result<Commit> {
        Db::fetch(self, url, branch).await
    }

    async fn close(self) {
        Db::close(self).await;
    }
}

impl BranchOps for Branch {
    type Commit = Commit;
    type Transaction = Transaction;
    type Tree = Tree;

    fn name(&self) -> ByteString {
        Branch::name(self)
    }

    async fn head(&self) -> Result<Option<Commit>> {
        Branch::head(self).await
    }

    async fn remove(&self) -> Result<()> {
        Branch::remove(self).await
    }

    async fn fast_forward(&self, to: &Commit) -> Result<()> {
        Branch::fast_forward(self, to).await
    }

    async fn transaction(&self) -> Result<Transaction> {
        Branch::transaction(self).await
    }

    async fn watch_head(&self) -> Result<Watch<Option<Commit>>> {
        Branch::watch_head(self).await
    }

    async fn watch_path(&self, path: &Path) -> Result<Watch<Option<PathValue>>> {
        Branch::watch_path(self, path).await
    }

    async fn reflog(&self) -> Result<Watch<Option<Commit>>> {
        Branch::reflog(self).await
    }
}

impl CommitOps for Commit {
    type Tree = Tree;

    fn id(&self) -> Id {
        Commit::id(self)
    }

    fn tree(&self) -> Tree {
        Commit::tree(self)
    }

    async fn message(&self) -> Result<String> {
        Commit::message(self).await
    }

    async fn parents(&self) -> Result<Vec<Commit>> {
        Commit::parents(self).await
    }

    async fn diff(&self, old: &Commit) -> Result<Vec<Change>> {
        Commit::diff(self, old).await
    }

    async fn details(&self) -> Result<Details> {
        Commit::details(self).await
    }
}

impl TreeOps for Tree {
    async fn read(&self, path: &Path) -> Result<Content> {
        Tree::read(self, path).await
    }

    async fn read_up_to(&self, path: &Path, limit: u64) -> Result<Content> {
        Tree::read_up_to(self, path, limit).await
    }

    async fn read_file(&self, path: &Path) -> Result<Vec<u8>> {
        Tree::read_file(self, path).await
    }

    async fn read_file_range(&self, path: &Path, offset: u64, length: usize) -> Result<Vec<u8>> {
        Tree::read_file_range(self, path, offset, length).await
    }

    async fn read_dir(&self, path: &Path) -> Result<Vec<ByteString>> {
        Tree::read_dir(self, path).await
    }

    async fn read_link(&self, path: &Path) -> Result<ByteString> {
        Tree::read_link(self, path).await
    }

    async fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        Tree::stat(self, path).await
    }

    async fn exists(&self, path: &Path) -> Result<bool> {
        Tree::exists(self, path).await
    }

    async fn exists_file(&self, path: &Path) -> Result<bool> {
        Tree::exists_file(self, path).await
    }

    async fn exists_dir(&self, path: &Path) -> Result<bool> {
        Tree::exists_dir(self, path).await
    }
}

impl TransactionOps for Transaction {
    type Commit = Commit;
    type Tree = Tree;

    fn tree(&self) -> Tree {
        Transaction::tree(self)
    }

    async fn create_dir(&self, path: &Path) -> Result<()> {
        Transaction::create_dir(self, path).await
    }

    async fn make_dirs(&self, path: &Path) -> Result<()> {
        Transaction::make_dirs(self, path).await
    }

    async fn create_file(&self, path: &Path, content: &[u8], executable: bool) -> Result<()> {
        Transaction::create_file(self, path, content, executable).await
    }

    async fn create_symlink(&self, path: &Path, target: impl AsRef<[u8]> + Send) -> Result<()> {
        Transaction::create_symlink(self, path, target).await
    }

    async fn replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        Transaction::replace_file(self, path, content).await
    }

    async fn create_or_replace_file(&self, path: &Path, content: &[u8]) -> Result<()> {
        Transaction::create_or_replace_file(self, path, content).await
    }

    async fn set_executable(&self, path: &Path, executable: bool) -> Result<()> {
        Transaction::set_executable(self, path, executable).await
    }

    async fn remove(&self, path: &Path) -> Result<()> {
        Transaction::remove(self, path).await
    }

    async fn truncate(&self, path: &Path, length: u64) -> Result<()> {
        Transaction::truncate(self, path, length).await
    }

    async fn parents(&self) -> Result<Vec<Commit>> {
        Transaction::parents(self).await
    }

    async fn set_parents(&self, parents: &[Commit]) -> Result<()> {
        Transaction::set_parents(self, parents).await
    }

    async fn set_author(&self, author: &str) -> Result<()> {
        Transaction::set_author(self, author).await
    }

    async fn diff(&self, old: &Commit) -> Result<Vec<Change>> {
        Transaction::diff(self, old).await
    }

    async fn merge(&self, theirs: &Commit) -> Result<MergeResult> {
        Transaction::merge(self, theirs).await
    }

    async fn conflicts(&self) -> Result<Vec<Path>> {
        Transaction::conflicts(self).await
    }

    async fn commit(&self, message: &str) -> Result<Commit> {
        Transaction::commit(self, message).await
    }

    async fn commit_fast_forward(&self, message: &str) -> Result<Commit> {
        Transaction::commit_fast_forward(self, message).await
    }

    async fn abort(&self) {
        Transaction::abort(self).await;
    }

    fn closed(&self) -> bool {
        Transaction::closed(self)
    }
}
