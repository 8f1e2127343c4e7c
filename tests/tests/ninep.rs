//! Tests that access the server with an independent 9P2000 client, the `ninep` crate.
//!
//! The `ninep` client opens every fid that it creates, including the fid for the root, and keeps it
//! open. The client reopens a file only after `clunk_path`, and never reopens the root. The client
//! also treats a partial walk as a success, so the tests look up missing names only in the root.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use datakit_server::Limits;
use datakit_server::scratch::Scratch;
use datakit_server::tree::{Dir, Entry, ReadOnlyText, Tree};
use datakit_tests::{Served, serve};
use ninep::fs::{FileType, Mode, Perm, Stat, WStat};
use ninep::sync::client::{Client, Error};

const DIR: Perm =
    Perm::DIRECTORY.union(Perm::OWNER_READ).union(Perm::OWNER_WRITE).union(Perm::OWNER_EXEC);
const FILE: Perm = Perm::OWNER_READ.union(Perm::OWNER_WRITE);

fn connect(served: &Served) -> Client {
    Client::new_tcp("glenda", served.addr, "").unwrap()
}

fn scratch() -> Served {
    let tree = Scratch::new();
    serve(Limits::default(), move |_| tree.clone())
}

fn text<X: std::fmt::Debug>(refused: Result<X, Error>) -> String {
    match refused.unwrap_err() {
        Error::Rerror { ename } => ename,
        other => panic!("not an error of the server: {other}"),
    }
}

fn names(stats: &[Stat]) -> BTreeSet<&str> {
    stats.iter().map(|stat| stat.name.as_str()).collect()
}

#[test]
fn ninep_lists_and_reads() {
    let long = "0123456789abcdef".repeat(20_000);
    let many: Dir =
        (0..2000).map(|n| Entry::file(format!("entry{n:04}"), ReadOnlyText::new(""))).collect();
    let entries = [
        Entry::dir("many", many),
        Entry::file("short", ReadOnlyText::new("one\ntwo\nthree")),
        Entry::file("long", ReadOnlyText::new(long.clone())),
    ];
    let tree = Tree::new(entries.into_iter().collect::<Dir>());
    let served = serve(Limits::default(), move |_| tree.clone());
    let client = connect(&served);
    assert_eq!(names(&client.read_dir("/").unwrap()), BTreeSet::from(["long", "many", "short"]));
    let many = client.read_dir("/many").unwrap();
    assert_eq!((many.len(), names(&many).len()), (2000, 2000));

    assert_eq!(client.read_str("/short").unwrap(), "one\ntwo\nthree");
    client.clunk_path("/short").unwrap();
    assert_eq!(client.read_from("/short", 4, 3).unwrap(), b"two");
    client.clunk_path("/short").unwrap();
    assert_eq!(client.iter_lines("/short").unwrap().collect::<Vec<_>>(), ["one", "two", "three"]);
    // The file does not fit into one message.
    assert_eq!(client.read("/long").unwrap(), long.as_bytes());
    client.clunk_path("/long").unwrap();
    assert_eq!(client.iter_chunks("/long").unwrap().flatten().collect::<Vec<_>>(), long.as_bytes());

    let stat = client.stat("/short").unwrap();
    assert_eq!((stat.name.as_str(), stat.n_bytes, stat.qid.ty), ("short", 13, FileType::FILE));
    assert_eq!(client.stat("/many").unwrap().qid.ty, FileType::DIRECTORY);
}

#[test]
fn ninep_receives_error_texts() {
    let tree =
        Tree::new([Entry::file("short", ReadOnlyText::new("text"))].into_iter().collect::<Dir>());
    let served = serve(Limits::default(), move |_| tree.clone());
    let client = connect(&served);
    assert_eq!(text(client.read("/no")), "No such file or directory");
    assert_eq!(text(client.write_str("/short", 0, "other")), "Read-only file");
    assert_eq!(text(client.create("/", "new", FILE, Mode::WRITE)), "Directory is read-only");
    // The client has kept the file open since the refused write.
    assert_eq!(text(client.read("/short")), "Already open");
    assert_eq!(text(client.remove("/short")), "Read-only file");
}

#[test]
fn ninep_creates_writes_renames_and_removes() {
    let served = scratch();
    let client = connect(&served);
    client.create("/", "dir", DIR, Mode::READ).unwrap();
    client.clunk_path("/dir").unwrap();
    client.create("/dir", "file", FILE, Mode::READ_WRITE).unwrap();
    client.clunk_path("/dir/file").unwrap();

    // The content does not fit into one message.
    let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    assert_eq!(client.write("/dir/file", 0, &content).unwrap(), content.len());
    client.clunk_path("/dir/file").unwrap();
    assert_eq!(client.write_str("/dir/file", 2, "xyz").unwrap(), 3);
    client.clunk_path("/dir/file").unwrap();
    let changed = [&content[..2], b"xyz", &content[5..]].concat();
    assert_eq!(client.read("/dir/file").unwrap(), changed);

    let qid = client.stat("/dir/file").unwrap().qid;
    client.write_stat("/dir/file", WStat::truncate(qid)).unwrap();
    assert_eq!(client.stat("/dir/file").unwrap().n_bytes, 0);
    let renamed = WStat { qid, name: Some("renamed".into()), ..WStat::default() };
    client.write_stat("/dir/file", renamed).unwrap();
    assert_eq!(names(&client.read_dir("/dir").unwrap()), BTreeSet::from(["renamed"]));

    let other = connect(&served);
    assert_eq!(text(other.remove("/dir")), "Directory not empty");
    // The failed removal clunked the directory's fid, as remove(5) requires, but the client still
    // uses the fid.
    assert!(text(other.clunk_path("/dir")).starts_with("Unknown fid"));
    let other = connect(&served);
    other.remove("/dir/renamed").unwrap();
    other.remove("/dir").unwrap();
    assert!(other.read_dir("/").unwrap().is_empty());
}
