//! An adapter that lets a desktop server serve `datakit-core` directories.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datakit_core::vfs::{EntryTable, Error, FileType, Key, Mirror, Name, Node, Result};
use parking_lot::Mutex;

use super::directory::Directory;
use super::{BoxFuture, CoreFile, Entry, ready};

/// A [`Directory`] that shows all files and subdirectories of a `datakit-core` directory, such as a
/// directory that contains a program's parameters.
///
/// The `datakit-core` directory must be `'static`. A program that creates the directory at run time
/// can use [`Box::leak`] to obtain a `'static` reference.
///
/// Use [`Tree::for_client`](super::Tree::for_client) to serve the tree so that the files know which
/// connection opened them.
///
/// ```
/// use datakit_core::files::{Param, Value};
/// use datakit_core::params::{Modified, ParamSet};
/// use datakit_core::vfs::{Dir, file};
/// use datakit_server::tree::{self, CoreDir, Entry, Tree};
///
/// static THREADS: Value<u16> = Value::new(4);
/// static PARAMS: Dir = Dir::new(&[
///     file("modified", &Modified::new(&SET)),
///     file("threads", &Param::new(&THREADS).range(1, 64).default(4).doc("worker threads")),
/// ]);
/// static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(tree::client_name);
///
/// let root = tree::Dir::new();
/// root.insert(Entry::dir("params", CoreDir::new(&PARAMS)));
/// let tree = Tree::new(root);
/// // server.serve_tree(move |peer| tree.for_client(&peer.name), stop).await
/// # let _ = tree;
/// ```
pub struct CoreDir {
    table: &'static (dyn EntryTable + Sync),
    /// The mirror that contains the directory, if any.
    mirror: Option<&'static (dyn Mirror + Sync)>,
    /// The entries that clients have looked up or listed. The entries are stored because each new
    /// entry gets a new inode number.
    entries: Mutex<HashMap<KeyParts, Entry>>,
}

/// The index and generation in a [`Key`].
type KeyParts = (u8, u32);

impl CoreDir {
    /// Creates a directory that shows `table`, which is normally a [`Dir`](datakit_core::vfs::Dir)
    /// from `datakit-core`.
    #[must_use]
    pub fn new(table: &'static (dyn EntryTable + Sync)) -> CoreDir {
        CoreDir::with_mirror(table, None)
    }

    fn with_mirror(
        table: &'static (dyn EntryTable + Sync),
        mirror: Option<&'static (dyn Mirror + Sync)>,
    ) -> CoreDir {
        CoreDir { table, mirror, entries: Mutex::default() }
    }

    /// Returns the entry with the given key, or `None` if the entry was removed or is hidden.
    fn entry(&self, key: Key) -> Option<Entry> {
        let node = self.table.node(key)?;
        let node = self.mirror.map_or(Some(node), |mirror| mirror.show(node))?;
        let parts = (key.index()?, key.generation());
        if let Some(entry) = self.entries.lock().get(&parts) {
            return Some(entry.clone());
        }
        let mut name: Option<Arc<[u8]>> = None;
        self.table.name(key, &mut |found: &str| name = Some(found.as_bytes().into()));
        let name = name?;
        let entry = match node {
            Node::File(file) => Entry::file(name, CoreFile::from_static(file)),
            Node::Indexed(table, index) => Entry::file(name, CoreFile::from_table(table, index)),
            Node::Dir(dir) => Entry::dir(name, CoreDir::with_mirror(dir, self.mirror)),
            Node::Table(dir, _) | Node::DynamicDir(dir) => {
                Entry::dir(name, CoreDir::with_mirror(dir, self.mirror))
            }
            Node::Mirror(mirror, _) => Entry::dir(name, CoreDir::with_mirror(mirror, Some(mirror))),
        };
        Some(self.entries.lock().entry(parts).or_insert(entry).clone())
    }

    fn keys(&self) -> Vec<Key> {
        let (mut keys, mut from) = (Vec::new(), Some(0));
        while let Some(key) = from.and_then(|from| self.table.next(from)) {
            keys.push(key);
            from = key.index().and_then(|index| index.checked_add(1));
        }
        keys
    }

    fn remove_entry(&self, child: &Entry) -> Result<()> {
        let mut entries = self.entries.lock();
        let found = entries.iter().find(|(_, entry)| entry.is_same(child));
        let parts = found.map(|(parts, _)| *parts).ok_or(Error::NotFound)?;
        self.table.remove(Key::new(parts.0, parts.1))?;
        entries.remove(&parts);
        Ok(())
    }
}

impl Directory for CoreDir {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        let keys = self.keys();
        let is_listed = |parts: &KeyParts| keys.contains(&Key::new(parts.0, parts.1));
        self.entries.lock().retain(|parts, _| is_listed(parts));
        ready(Ok(keys.into_iter().filter_map(|key| self.entry(key)).collect()))
    }

    fn lookup<'a>(&'a self, name: Name<'a>) -> BoxFuture<'a, Entry> {
        let entry = self.table.find(name.as_bytes()).and_then(|key| self.entry(key));
        ready(entry.ok_or(Error::NotFound))
    }

    fn unlink<'a>(&'a self, child: &'a Entry) -> BoxFuture<'a, ()> {
        ready(match child.kind() {
            FileType::Symlink => Err(Error::ReadOnlyDirectory),
            _ => self.remove_entry(child),
        })
    }
}

impl fmt::Debug for CoreDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoreDir").field("entries", &self.keys().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use datakit_core::files::{Field, Param, ParamFile, ParamInfo, Value};
    use datakit_core::params::{Event, Modified, Observer, ObserverEntry, ParamSet, observe};
    use datakit_core::vfs::{
        Client, Dir, DynamicDir, FileTable, OpenMode, Vfs, WithFile, dir, dynamic_dir, file,
    };

    use super::super::tests::{Done, list, read, walk, write};
    use super::super::{Tree, client_name};
    use super::*;

    static GAIN: Value<u8> = Value::new(1);
    static GAIN_FILE: Param<u8> = Param::new(&GAIN).range(0, 10).default(1);
    static RADIO: Dir = Dir::new(&[file("gain", &GAIN_FILE)]);
    static PLUGINS: DynamicDir<2> = DynamicDir::new();
    static PARAMS: Dir = Dir::new(&[
        file("modified", &Modified::new(&SET)),
        dir("radio", &RADIO),
        dynamic_dir("plugins", &PLUGINS),
    ]);
    static SET: ParamSet = ParamSet::new(&PARAMS).name_clients(client_name);

    #[tokio::test]
    async fn directories_of_core_are_listed_and_their_files_are_set() -> Done {
        let tree = Tree::new(CoreDir::new(&PARAMS));
        assert_eq!(list(&tree, &tree.root()).await?, ["modified", "radio", "plugins"]);
        assert_eq!(read(&tree, "radio/gain").await?, "1\n");
        write(&tree, "radio/gain", "7\n").await?;
        assert_eq!(read(&tree, "modified").await?, "radio/gain 7\n");
        let refused = write(&tree, "radio/gain", "11\n").await.unwrap_err();
        assert_eq!(refused.to_string(), "\"11\" is not a whole number from 0 to 10");
        let (first, second) = (walk(&tree, "radio/gain").await?, walk(&tree, "radio/gain").await?);
        assert_eq!(tree.id(&first), tree.id(&second));
        assert_eq!(tree.remove(&walk(&tree, "radio").await?).await, Err(Error::ReadOnlyDirectory));
        assert_eq!(walk(&tree, "radio/none").await.unwrap_err(), Error::NotFound);
        Ok(())
    }

    /// A table of two parameters.
    struct Pair([Value<u8>; 2]);

    impl FileTable for Pair {
        fn with_file(&self, index: u16, with: &mut WithFile<'_>) {
            static INFO: ParamInfo<u8> = ParamInfo::new();
            if let Some(value) = self.0.get(usize::from(index)) {
                with.call(&ParamFile::new(&Field::new(value, &INFO)));
            }
        }
    }

    #[tokio::test]
    async fn entries_of_a_dynamic_directory_come_and_go() -> Done {
        static PAIR: Pair = Pair([Value::new(3), Value::new(4)]);
        static REMOVED: DynamicDir<2> = DynamicDir::new();
        let tree = Tree::new(CoreDir::new(&REMOVED));
        let second = REMOVED.insert("second", Node::Indexed(&PAIR, 1))?;
        let lost = REMOVED.insert("lost", Node::Indexed(&PAIR, 2))?;
        assert_eq!(list(&tree, &tree.root()).await?, ["second", "lost"]);
        write(&tree, "second", "9\n").await?;
        assert_eq!(PAIR.0[1].get(), 9);
        let lost_file = walk(&tree, "lost").await?;
        assert_eq!(tree.open(&lost_file, OpenMode::READ).await.unwrap_err(), Error::BadFile);
        let old = walk(&tree, "second").await?;
        assert_eq!(tree.remove(&old).await, Err(Error::ReadOnlyFile));
        REMOVED.remove(second)?;
        REMOVED.remove(lost)?;
        REMOVED.insert("second", Node::Indexed(&PAIR, 0))?;
        assert_eq!(list(&tree, &tree.root()).await?, ["second"]);
        assert_eq!(read(&tree, "second").await?, "3\n");
        assert_ne!(tree.id(&walk(&tree, "second").await?), tree.id(&old));
        Ok(())
    }

    /// An observer that records changes, refused requests and closed connections.
    struct Log(Mutex<Vec<String>>);

    impl Log {
        fn push(&self, what: &str, client: Client) {
            let name = SET.client_name(client).to_string();
            // Ignore clients from other tests in this process.
            if name.starts_with("log-") {
                self.0.lock().push(format!("{what} {name}"));
            }
        }
    }

    impl Observer for Log {
        fn notify(&self, event: &Event<'_>) {
            match *event {
                Event::Changed { client, .. } => self.push("changed", client),
                Event::Refused { client, .. } => self.push("refused", client),
                Event::Left { client } => self.push("left", client),
                _ => {}
            }
        }
    }

    #[tokio::test]
    async fn files_know_the_connection_until_it_ends() -> Done {
        static SHARED: Value<u8> = Value::new(1);
        static DIR: Dir = Dir::new(&[file("shared", &Param::new(&SHARED).range(0, 10))]);
        static LOG: Log = Log(Mutex::new(Vec::new()));
        static ENTRY: ObserverEntry = ObserverEntry::new(&LOG);
        observe(&ENTRY);
        let tree = Tree::new(CoreDir::new(&DIR));
        let (one, two) = (tree.for_client("log-one"), tree.for_client("log-two"));
        write(&one, "shared", "2\n").await?;
        write(&two, "shared", "3\n").await?;
        write(&tree, "shared", "4\n").await?;
        write(&two, "shared", "11\n").await.unwrap_err();
        drop(two);
        write(&one, "shared", "5\n").await?;
        let open = one.open(&walk(&one, "shared").await?, OpenMode::READ).await?;
        drop(one);
        open_is_counted(&LOG);
        drop(open);
        let expected = [
            "changed log-one",
            "changed log-two",
            "refused log-two",
            "left log-two",
            "changed log-one",
            "left log-one",
        ];
        assert_eq!(*LOG.0.lock(), expected);
        Ok(())
    }

    /// Checks that the connection's number remains in use while the file is open.
    fn open_is_counted(log: &Log) {
        assert_eq!(log.0.lock().last().unwrap(), "changed log-one");
    }
}
