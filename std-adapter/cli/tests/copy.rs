//! Tests that `datakit cp` leaves no partial files and never writes through a link.
// The Clippy configuration allows panics in tests, but not in helper functions.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::{Client, Scratch, Server, end, in_every_dialect, within};

/// Returns the names in a local directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Starts a copy. Waits until `cp` has sent part of the file and is waiting for the rest of its
/// input.
fn start_upload(client: &Client<'_>, dir: &Scratch) -> (Child, File) {
    let pipe = dir.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let copy =
        client.command(&["cp", &dir.path("pipe"), ":file"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut writer = File::options().write(true).open(&pipe).unwrap();
    writer.write_all(&[b'x'; 50_000]).unwrap();
    within("a part at the server", || client.run(&["ls", "-a", "/"]).contains(".part"));
    (copy, writer)
}

#[test]
fn an_interrupted_upload_leaves_no_part() {
    in_every_dialect(|client| {
        for signal in ["INT", "TERM", "HUP"] {
            let dir = Scratch::new(&format!("cp-{}-{signal}", client.dialect));
            client.run(&["write", "file", "before"]);
            let (mut copy, _writer) = start_upload(&client, &dir);
            assert_eq!(end(&mut copy, signal).code(), Some(1));
            assert_eq!(client.run(&["ls", "-a", "/"]), "file\n");
            assert_eq!(client.run(&["cat", "file"]), "before");
        }
    });
}

#[test]
fn a_killed_upload_leaves_the_part_under_its_own_name() {
    in_every_dialect(|client| {
        let dir = Scratch::new(&format!("cp-{}-kill", client.dialect));
        let (mut copy, _writer) = start_upload(&client, &dir);
        end(&mut copy, "KILL");
        let names = client.run(&["ls", "-a", "/"]);
        assert!(names.starts_with(".file.") && names.ends_with(".part\n"), "{names}");
    });
}

#[test]
fn an_upload_that_does_not_fit_keeps_the_old_file() {
    let (server, dir) = (
        Server::start("tcp://127.0.0.1:0", &["--scratch", "--scratch-memory", "1000000"]),
        Scratch::new("cp-full"),
    );
    let client = server.client();
    client.run(&["write", "old", "before"]);
    fs::write(dir.0.join("large"), vec![7; 3 << 20]).unwrap();
    for target in [":old", ":new"] {
        let text = client.fail(&["cp", &dir.path("large"), target]);
        assert_eq!(text, format!("datakit: {target}: No space left on device\n"));
    }
    assert_eq!(
        (client.run(&["ls", "-a", "/"]), client.run(&["cat", "old"])),
        ("old\n".into(), "before".into())
    );
}

#[test]
fn an_upload_replaces_the_file_and_keeps_its_mode() {
    let (server, dir) = (Server::scratch(), Scratch::new("cp-replace"));
    let client = server.client();
    fs::write(dir.0.join("one"), "one").unwrap();
    fs::write(dir.0.join("two"), vec![b'2'; 300_000]).unwrap();
    for (source, length) in [("one", 3), ("two", 300_000), ("one", 3)] {
        client.run(&["cp", &dir.path(source), ":file"]);
        assert_eq!(client.run(&["cat", "file"]).len(), length);
        assert_eq!(client.run(&["ls", "-a", "/"]), "file\n");
    }
}

#[test]
fn a_control_file_is_written_in_its_place() {
    let (server, dir) = (Server::start("tcp://127.0.0.1:0", &[]), Scratch::new("cp-control"));
    fs::write(dir.0.join("level"), "debug\n").unwrap();
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let client = Client { address: server.address(), dialect };
        client.run(&["write", "debug/src/server/level", "warning"]);
        client.run(&["cp", &dir.path("level"), ":debug/src/server/level"]);
        assert_eq!(client.run(&["cat", "debug/src/server/level"]), "debug\n");
    }
}

#[test]
fn cp_and_mv_give_the_reason_of_a_refusal_and_still_replace_files() {
    let (server, dir) = (Server::start("tcp://127.0.0.1:0", &["--scratch"]), Scratch::new("why"));
    let client = Client { address: server.address(), dialect: "" };
    fs::write(dir.0.join("text"), "new").unwrap();
    client.run(&["mkdir", "d"]);
    for target in ["old", "d/old", "moved", "d/moved"] {
        client.run(&["write", target, "old"]);
    }
    client.run(&["cp", &dir.path("text"), ":old", ":d"]);
    client.run(&["mv", "moved", "d/moved"]);
    client.run(&["mv", "d/moved", "d/old"]);
    assert_eq!(client.run(&["find", "d"]), "d\nd/old\nd/text\n");
    assert_eq!(client.run(&["cat", "d/text"]), "new");

    let (server, level) = (Server::start("tcp://127.0.0.1:0", &[]), ":debug/src/server/level");
    let client = Client { address: server.address(), dialect: "" };
    let text = client.fail(&["cp", &dir.path("text"), level]);
    assert!(text.starts_with(&format!("datakit: {level}: ")) && text.contains("debug"), "{text}");
}

#[test]
fn an_interrupted_download_keeps_the_old_file() {
    let (server, dir) = (Server::start("tcp://127.0.0.1:0", &[]), Scratch::new("cp-down"));
    let client = server.client();
    fs::write(dir.0.join("old"), "before").unwrap();
    for name in ["old", "new"] {
        let arguments = ["cp", ":debug/server/events", &dir.path(name)];
        let mut copy = client.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        within("a part", || names(&dir.0).iter().any(|name| name.ends_with(".part")));
        assert_eq!(end(&mut copy, "TERM").code(), Some(1));
        assert_eq!(
            (names(&dir.0), fs::read_to_string(dir.0.join("old")).unwrap()),
            (vec!["old".into()], "before".into())
        );
    }
}

#[test]
fn a_download_keeps_the_mode_of_the_file_that_it_replaces() {
    let (server, dir) = (Server::scratch(), Scratch::new("cp-mode"));
    server.client().run(&["write", "file", "content"]);
    let old = dir.0.join("old");
    fs::write(&old, "before and longer").unwrap();
    fs::set_permissions(&old, PermissionsExt::from_mode(0o640)).unwrap();
    server.client().run(&["cp", ":file", &dir.path("old")]);
    assert_eq!(fs::read_to_string(&old).unwrap(), "content");
    assert_eq!(fs::metadata(&old).unwrap().permissions().mode() & 0o777, 0o640);
    // Devices are written in place rather than replaced.
    server.client().run(&["cp", ":file", "/dev/null"]);
}

/// Creates the `to` directory and the `outside/secret` file. The file must never change.
fn with_secret(name: &str) -> Scratch {
    let dir = Scratch::new(name);
    fs::create_dir_all(dir.0.join("outside")).unwrap();
    fs::create_dir_all(dir.0.join("to")).unwrap();
    fs::write(dir.0.join("outside/secret"), "secret").unwrap();
    dir
}

fn assert_untouched(dir: &Scratch) {
    assert_eq!(names(&dir.0.join("outside")), ["secret"]);
    assert_eq!(fs::read_to_string(dir.0.join("outside/secret")).unwrap(), "secret");
}

#[test]
fn cp_refuses_every_link_in_the_target() {
    let (server, dir) = (Server::scratch(), with_secret("cp-links"));
    let client = server.client();
    client.run(&["mkdir", "d", "d/sub"]);
    client.run(&["write", "d/sub/f", "x"]);
    let refused = |from: &str, to: &str| {
        let mut command = client.command(&["cp", "-r", from, to]);
        let output = command.current_dir(&dir.0).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.ends_with(": will not copy through a link\n") && !output.status.success(),
            "{from} {to}: {text}"
        );
        assert_untouched(&dir);
    };
    for (target, place) in [
        (&*dir.path("outside/secret"), "file"),
        ("outside/secret", "relative-file"),
        ("outside/new", "dangling"),
        ("outside", "top"),
        (&*dir.path("outside"), "absolute-top"),
        ("..", "to/up"),
    ] {
        symlink(target, dir.0.join(place)).unwrap();
        for place in [place.to_owned(), dir.path(place), format!("./{place}"), format!("{place}/")]
        {
            refused(":d/sub/f", &place);
            refused(":d", &place);
        }
    }
    // Test a link in the middle of a relative path first, and then links below the target.
    refused(":d/sub/f", "to/up/outside/secret");
    fs::create_dir(dir.0.join("to/d")).unwrap();
    symlink("../../outside", dir.0.join("to/d/sub")).unwrap();
    refused(":d", "to");
    fs::remove_file(dir.0.join("to/d/sub")).unwrap();
    fs::create_dir(dir.0.join("to/d/sub")).unwrap();
    symlink("../../../outside/secret", dir.0.join("to/d/sub/f")).unwrap();
    refused(":d", "to");
}

#[test]
fn a_second_copy_does_not_follow_links_of_the_first() {
    let (server, dir) = (Server::scratch(), with_secret("cp-twice"));
    let (client, to) = (server.client(), dir.path("to"));
    fs::create_dir(dir.0.join("made")).unwrap();
    symlink("../../outside", dir.0.join("made/way")).unwrap();
    client.run(&["cp", "-r", &dir.path("made"), ":"]);
    client.run(&["cp", "-r", ":made", &to]);
    assert_eq!(names(&dir.0.join("to/made")), ["way"]);
    // Replace the link on the server with a directory.
    client.run(&["rm", "made/way"]);
    client.run(&["mkdir", "made/way"]);
    client.run(&["write", "made/way/secret", "overwritten"]);
    let text = client.fail(&["cp", "-r", ":made", &to]);
    assert!(text.ends_with("way: will not copy through a link\n"), "{text}");
    assert_untouched(&dir);
    // Replace the link on the server with a file.
    client.run(&["rm", "-r", "made/way"]);
    client.run(&["write", "made/way", "overwritten"]);
    client.fail(&["cp", "-r", ":made", &to]);
    assert_untouched(&dir);
}

/// Creates `dirs` nested directories with `files` files in each and returns the path of the
/// outermost directory.
fn create_tree(dir: &Scratch, dirs: usize, files: usize) -> String {
    let top = dir.0.join("tree");
    let mut path = top.clone();
    for depth in 0..dirs {
        path = path.join(format!("d{depth}"));
        fs::create_dir_all(path.join("sibling")).unwrap();
        for file in 0..files {
            fs::write(path.join(format!("f{file}")), format!("{depth} {file}\n")).unwrap();
            fs::write(path.join(format!("sibling/f{file}")), "").unwrap();
        }
    }
    top.to_str().unwrap().to_owned()
}

/// Returns whether two directories are equal according to diff(1).
fn is_equal(one: &str, other: &str) -> bool {
    Command::new("diff").args(["-r", one, other]).status().unwrap().success()
}

#[test]
fn many_files_are_copied_and_removed_in_every_dialect() {
    let dir = Scratch::new("cp-many");
    let tree = create_tree(&dir, 8, 40);
    in_every_dialect(|client| {
        let copy = dir.path(&format!("copy-{}", client.dialect));
        client.run(&["cp", "-r", &tree, ":tree"]);
        client.run(&["cp", "-r", ":tree", ":again"]);
        client.run(&["cp", "-r", ":again", &copy]);
        assert!(is_equal(&tree, &copy));
        // Copying a second time replaces the existing files.
        client.run(&["cp", "-r", &tree, ":/"]);
        client.run(&["cp", "-r", ":tree/d0", &copy]);
        assert!(is_equal(&tree, &copy));
        client.run(&["rm", "-r", "tree", "again"]);
        assert_eq!(client.run(&["ls", "-a"]), "");
    });
}

/// The server allows only 16 fids per connection, as an embedded board does.
#[test]
fn a_server_with_few_fids_is_copied_and_emptied() {
    let options = ["--scratch", "--max-fids", "16"];
    let (server, dir) = (Server::start("tcp://127.0.0.1:0", &options), Scratch::new("cp-fids"));
    let tree = create_tree(&dir, 3, 40);
    for dialect in ["9P2000", "9P2000.u", "9P2000.L"] {
        let (client, copy) = (Client { address: server.address(), dialect }, dir.path(dialect));
        client.run(&["cp", "-r", &tree, ":tree"]);
        client.run(&["cp", "-r", ":tree", &copy]);
        assert!(is_equal(&tree, &copy));
        client.run(&["rm", "-r", "tree"]);
        assert_eq!(client.run(&["find", "/"]), "/\n");
    }
}

#[test]
fn an_interrupted_recursive_copy_leaves_complete_files_only() {
    let (server, dir) = (Server::scratch(), Scratch::new("cp-interrupt"));
    let client = server.client();
    let tree = create_tree(&dir, 10, 100);
    let mut copy = client.command(&["cp", "-r", &tree, ":tree"]);
    let mut copy = copy.stderr(Stdio::null()).spawn().unwrap();
    within("the first file", || client.run(&["find", "/"]).contains("/f"));
    end(&mut copy, "INT");
    let files = client.run(&["find", "/", "-type", "f"]);
    assert!(!files.contains(".part"), "{files}");
    for file in files.lines().filter(|file| !file.contains("sibling")).take(20) {
        assert!(client.run(&["cat", file]).ends_with('\n'), "{file}");
    }
}
