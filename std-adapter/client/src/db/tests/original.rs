//! Tests against a mock server that imitates a few of the original server's files. The dialect is
//! 9P2000, which does not send error numbers.

use parking_lot::Mutex;
use std::sync::Arc;

use datakit_core::vfs::{Create, Error as Refused, Name};

use super::super::{Content, Db, EntryKind, Error};
use super::{path, within};
use crate::{Client, Dialect, Options};
use datakit_server::tree::{
    BoxFuture, Command, Dir, Directory, Entry, ListDir, ReadOnlyText, Text, Tree, ready,
};
use datakit_server::{Limits, Server};

const HASH: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

type Make = dyn Fn(&[u8]) -> Entry + Send + Sync;

/// A directory in which any file can be created but no file can be removed.
struct Making(Dir, Box<Make>);

impl Making {
    fn new(make: impl Fn(&[u8]) -> Entry + Send + Sync + 'static) -> Making {
        Making(Dir::new(), Box::new(make))
    }
}

impl Directory for Making {
    fn list(&self) -> BoxFuture<'_, Vec<Entry>> {
        self.0.list()
    }

    fn create<'a>(&'a self, name: Name<'a>, _: Create<'a>) -> BoxFuture<'a, Entry> {
        let made = self.0.get(name.as_bytes()).unwrap_or_else(|| (self.1)(name.as_bytes()));
        self.0.insert(made.clone());
        ready(Ok(made))
    }
}

fn dir(name: impl AsRef<[u8]>, entries: impl IntoIterator<Item = Entry>) -> Entry {
    Entry::dir(name, entries.into_iter().collect::<Dir>())
}

fn file(name: &str, text: &str) -> Entry {
    Entry::file(name, ReadOnlyText::new(text))
}

type Log = Arc<Mutex<Vec<String>>>;

fn command(name: &str, words: &'static [&str], log: &Log) -> Entry {
    let log = log.clone();
    let obey = move |word: &str| match words.contains(&word) {
        true => {
            log.lock().push(word.to_owned());
            Ok("")
        }
        false => Err(Refused::Invalid.with_message(format_args!("Unknown command {word:?}"))),
    };
    Entry::file(name, Command::new(obey))
}

fn branch(name: &[u8], log: &Log) -> Entry {
    let transactions = {
        let log = log.clone();
        move |name: &[u8]| {
            dir(
                name,
                [command("ctl", &["commit", "close"], &log), Entry::file("msg", Text::default())],
            )
        }
    };
    let head = {
        let (log, text) = (log.clone(), Text::new("\n"));
        move || {
            if log.lock().iter().any(|word| word == "commit") {
                text.set(format!("{HASH}\n"));
            }
            vec![Entry::file("head", text.clone())]
        }
    };
    let transactions = Entry::dir("transactions", Making::new(transactions));
    Entry::dir(
        name,
        ListDir::new(move || {
            let mut entries = head();
            entries.push(transactions.clone());
            entries
        }),
    )
}

fn root(log: &Log) -> Tree {
    let branches = {
        let log = log.clone();
        move |name: &[u8]| branch(name, &log)
    };
    let remotes = {
        let log = log.clone();
        move |name: &[u8]| {
            let url = Entry::file("url", Text::default());
            dir(
                name,
                [url, command("fetch", &["master"], &log), file("head", &format!("{HASH}\n"))],
            )
        }
    };
    let ro = dir("ro", [Entry::symlink("link", "to/somewhere"), file("file", "text")]);
    let snapshot = dir(HASH, [file("msg", "Hello\n"), file("parents", &format!("{HASH}\n")), ro]);
    Tree::with_root(dir(
        "/",
        [
            Entry::dir("branch", Making::new(branches)),
            dir("commits", [file(HASH, "{\"hash\":1}")]),
            Entry::dir("remotes", Making::new(remotes)),
            dir("snapshots", [snapshot]),
        ],
    ))
}

#[tokio::test]
async fn works_with_the_original_server() {
    let log = Log::default();
    let server =
        Server::bind(&["tcp://127.0.0.1:0".parse().unwrap()], Limits::default()).await.unwrap();
    let url = server.urls().remove(0);
    let served = log.clone();
    tokio::spawn(server.serve(move |_| root(&served), std::future::pending()));
    let options = Options::default().dialect(Dialect::Legacy);
    let db = Db::new(Client::connect(&url, options).await.unwrap());

    // The original server's reply to `commit` is empty.
    let master = db.branch("master").await.unwrap();
    assert_eq!(master.head().await, Ok(None));
    let tx = master.transaction().await.unwrap();
    let head = tx.commit("Hello").await.unwrap();
    assert!(tx.closed());
    assert_eq!(
        (head.id().to_string().as_str(), log.lock().as_slice()),
        (HASH, &["commit".to_owned()][..])
    );

    let details = head.details().await.unwrap();
    assert_eq!((details.message.as_str(), details.author.as_str()), ("Hello", ""));
    assert_eq!(details.parents, std::slice::from_ref(&head));

    // The original server does not set the link bit in a link's qid, and its error replies contain
    // no number.
    let tree = head.tree();
    assert_eq!(tree.stat(&path("link")).await.unwrap().unwrap().kind, EntryKind::Link);
    assert_eq!(tree.read(&path("link")).await, Ok(Content::Link("to/somewhere".into())));
    assert_eq!(tree.read_file(&path("none")).await, Err(Error::NotFound));
    assert_eq!(tree.exists(&path("file/none")).await, Ok(false));

    // The fetch succeeds even though the original server does not allow the remote to be removed.
    assert_eq!(db.fetch("somewhere", "master").await, Ok(head));

    drop(master.transaction().await.unwrap());
    within("the abort", || log.lock().last().is_some_and(|word| word == "close")).await;
}
