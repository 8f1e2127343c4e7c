//! The `datakit tree`, `datakit find` and `datakit du` commands, which traverse a directory tree.

use std::ffi::OsString;

use datakit_client::{ByteString, Client, Error, FileType, Listing, Metadata};
use serde_json::Value;

use super::metadata::{sort_by_name, to_json, with_name};
use crate::args::FindType;
use crate::byte_count;
use crate::error::{CliError, CliResult, at};
use crate::operand::ServerPath;
use crate::parallel::check_depth;
use crate::stdio::{self, name_bytes, report_all};

/// The maximum number of files in a tree. The limit is needed because the whole tree is built in
/// memory before it is printed.
const MAX_TREE: usize = 1 << 20;

/// Lists the files in a directory, sorted by name. Adds errors reported by the server to
/// `failures`.
///
/// # Errors
/// Returns an error if the connection is lost.
async fn list_sorted(
    client: &Client,
    path: &ServerPath,
    failures: &mut Vec<CliError>,
) -> CliResult<Vec<Metadata>> {
    check_depth(path)?;
    let mut files = match client.list_all(path).await {
        Ok(Listing { files, failed, .. }) => {
            failures.extend(failed.into_iter().map(|(name, error)| at(&path.join(&name))(error)));
            files
        }
        Err(error @ Error::Server { .. }) => {
            failures.push(at(path)(error));
            Vec::new()
        }
        Err(error) => return Err(at(path)(error)),
    };
    sort_by_name(&mut files);
    Ok(files)
}

/// A file or a directory, including everything below it.
struct TreeNode {
    metadata: Metadata,
    children: Vec<TreeNode>,
}

/// Prints a tree.
pub(super) async fn tree(client: &Client, path: &ServerPath, json: bool) -> CliResult {
    let metadata = with_name(client.stat(path).await.map_err(at(path))?, path);
    let mut builder = TreeBuilder { client, failures: Vec::new(), count: 0 };
    let root = builder.build(path, metadata).await?;
    if json {
        stdio::print_json(&root.to_json())?;
    } else {
        stdio::print(&root.to_text())?;
    }
    report_all(builder.failures)
}

struct TreeBuilder<'c> {
    client: &'c Client,
    failures: Vec<CliError>,
    count: usize,
}

impl TreeBuilder<'_> {
    async fn build(&mut self, path: &ServerPath, metadata: Metadata) -> CliResult<TreeNode> {
        let mut children = Vec::new();
        if metadata.is_dir() {
            let files = list_sorted(self.client, path, &mut self.failures).await?;
            self.count = self.count.saturating_add(files.len());
            if self.count > MAX_TREE {
                return Err(at(path)(format!("more than {MAX_TREE} files in the tree")));
            }
            for file in files {
                let path = path.join(&file.name);
                children.push(Box::pin(self.build(&path, file)).await?);
            }
        }
        Ok(TreeNode { metadata, children })
    }
}

impl TreeNode {
    fn to_json(&self) -> Value {
        let mut value = to_json(&self.metadata);
        if let (true, Some(object)) = (self.metadata.is_dir(), value.as_object_mut()) {
            object.insert("entries".to_owned(), self.children.iter().map(Self::to_json).collect());
        }
        value
    }

    fn to_text(&self) -> Vec<u8> {
        let mut text = [&*name_bytes(&self.metadata.name), b"\n"].concat();
        self.add_children(&mut text, "");
        text
    }

    fn add_children(&self, text: &mut Vec<u8>, indent: &str) {
        let count = self.children.len();
        for (index, child) in self.children.iter().enumerate() {
            let (branch, more) =
                if index + 1 == count { ("└── ", "    ") } else { ("├── ", "│   ") };
            let name = name_bytes(&child.metadata.name);
            let slash: &[u8] = if child.metadata.is_dir() { b"/" } else { b"" };
            text.extend([indent.as_bytes(), branch.as_bytes(), &name, slash, b"\n"].concat());
            child.add_children(text, &format!("{indent}{more}"));
        }
    }
}

/// The `datakit find` command.
pub(super) struct Find<'c> {
    client: &'c Client,
    name: Option<Vec<u8>>,
    kind: Option<FindType>,
    max_depth: usize,
}

impl<'c> Find<'c> {
    pub(super) fn new(
        client: &'c Client,
        name: Option<OsString>,
        kind: Option<FindType>,
        max_depth: Option<usize>,
    ) -> Find<'c> {
        let name = name.map(OsString::into_encoded_bytes);
        Find { client, name, kind, max_depth: max_depth.unwrap_or(usize::MAX) }
    }

    /// Prints the matching paths at and below `path`.
    pub(super) async fn run(&self, path: &ServerPath) -> CliResult {
        let metadata = with_name(self.client.stat(path).await.map_err(at(path))?, path);
        let mut failures = Vec::new();
        self.visit(path, metadata, 0, &mut failures).await?;
        report_all(failures)
    }

    async fn visit(
        &self,
        path: &ServerPath,
        metadata: Metadata,
        depth: usize,
        failures: &mut Vec<CliError>,
    ) -> CliResult {
        if self.matches(&metadata) {
            let mut line = name_bytes(&ByteString::from(path.as_ref()));
            line.push(b'\n');
            stdio::print(&line)?;
        }
        if metadata.is_dir() && depth < self.max_depth {
            for file in list_sorted(self.client, path, failures).await? {
                let path = path.join(&file.name);
                Box::pin(self.visit(&path, file, depth + 1, failures)).await?;
            }
        }
        Ok(())
    }

    fn matches(&self, metadata: &Metadata) -> bool {
        let is_kind = match self.kind {
            None => true,
            Some(FindType::File) => metadata.kind == FileType::File,
            Some(FindType::Directory) => metadata.is_dir(),
            Some(FindType::Link) => metadata.kind == FileType::Symlink,
        };
        let pattern = self.name.as_ref();
        is_kind && pattern.is_none_or(|pattern| matches(pattern, metadata.name.as_bytes()))
    }
}

/// Returns whether a name matches a pattern that may contain `*` and `?`. Matching backtracks only
/// to the most recent `*`, so it runs in O(n·m) time for a name of length n and a pattern of length
/// m.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at_pattern, mut at_name, mut star) = (0, 0, None);
    while let Some(byte) = name.get(at_name) {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern, at_name));
                at_pattern += 1;
                continue;
            }
            Some(expected) if *expected == b'?' || expected == byte => at_pattern += 1,
            // Backtrack and let the most recent `*` match one more byte.
            _ => match &mut star {
                Some((pattern, name)) => {
                    *name += 1;
                    (at_pattern, at_name) = (*pattern + 1, *name);
                    continue;
                }
                None => return false,
            },
        }
        at_name += 1;
    }
    pattern.iter().skip(at_pattern).all(|byte| *byte == b'*')
}

/// The `datakit du` command.
pub(super) struct DiskUsage<'c> {
    pub(super) client: &'c Client,
    pub(super) summarize: bool,
    pub(super) human_readable: bool,
    pub(super) bytes: bool,
}

impl DiskUsage<'_> {
    /// Prints the sizes of `path` and of every directory below it.
    pub(super) async fn run(&self, path: &ServerPath) -> CliResult {
        let metadata = self.client.stat(path).await.map_err(at(path))?;
        let mut failures = Vec::new();
        let total = match metadata.is_dir() {
            true => self.sum(path, &mut failures).await?,
            false => metadata.len,
        };
        self.print(total, path)?;
        report_all(failures)
    }

    /// Prints the sizes of a directory's subdirectories and returns the total size of its contents.
    async fn sum(&self, path: &ServerPath, failures: &mut Vec<CliError>) -> CliResult<u64> {
        let mut total = 0u64;
        for file in list_sorted(self.client, path, failures).await? {
            let size = if file.is_dir() {
                let path = path.join(&file.name);
                let size = Box::pin(self.sum(&path, failures)).await?;
                if !self.summarize {
                    self.print(size, &path)?;
                }
                size
            } else {
                file.len
            };
            total = total.saturating_add(size);
        }
        Ok(total)
    }

    fn print(&self, size: u64, path: &ServerPath) -> CliResult {
        let size = match (self.human_readable, self.bytes) {
            (true, _) => byte_count::human(size),
            (_, true) => size.to_string(),
            _ => size.div_ceil(1024).to_string(),
        };
        let name = name_bytes(&ByteString::from(path.as_ref()));
        stdio::print(&[size.as_bytes(), b"\t", &name, b"\n"].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("*", "", true),
            ("*.rs", "main.rs", true),
            ("*.rs", "main.rs.bak", false),
            ("?.rs", "a.rs", true),
            ("?.rs", ".rs", false),
            ("a*b*c", "aXbbYc", true),
            ("a*b*c", "aXbbY", false),
            ("**a", "bba", true),
            ("main", "main.rs", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
