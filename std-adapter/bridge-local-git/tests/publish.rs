//! Tests that the bridge publishes the branches that `git` lists.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use common::{BRIDGE, Repository, Server, TIMEOUT, bridge, commits, published, wait_for};
use datakit_client::db::Path;

#[tokio::test]
async fn changes_of_branches_are_followed() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let _bridge = source.bridge(&server.address);
    let branch = server.branch().await;
    let head = wait_for(&branch, &source.heads()).await;
    let master = source.heads().into_values().next().unwrap();
    let message = head.message().await.unwrap();
    assert_eq!(message.trim(), format!("Tracking new branch me/x heads/master {master}"));
    // The history consists of the branch's initial commit and this commit. The bridge does not mark
    // the repository as monitored.
    assert_eq!(commits(&head).await, 2);
    assert!(!head.tree().exists(&"me/x/.monitor".parse().unwrap()).await.unwrap());
    // CI clones the repository from this URL.
    let url = head.tree().read_file(&"me/x/.clone-url".parse().unwrap()).await.unwrap();
    let url = String::from_utf8(url).unwrap();
    let path = url.trim_end().strip_prefix("file://").expect("a file URL");
    let refs = Command::new("git").args(["ls-remote", "--heads", path]).output().unwrap();
    assert!(String::from_utf8_lossy(&refs.stdout).contains(&master.to_string()), "{url}");

    let names: [&[u8]; 7] =
        [b"c++", b"fix/#12", b"user@home", b"-x", b"\xc3\xa4/%2F", b"caf\xe9/head", b"a/b/c/d"];
    for name in names {
        source.commit(OsStr::from_bytes(name), "second");
    }
    assert_eq!(source.heads().len(), 8);
    wait_for(&branch, &source.heads()).await;

    let second = source.commit("c++", "third");
    let head = wait_for(&branch, &source.heads()).await;
    let message = head.message().await.unwrap();
    assert_eq!(message.trim(), format!("Updating existing branch to me/x heads/c++ {second}"));

    source.git(&["branch", "-qD", "c++"]);
    let head = wait_for(&branch, &source.heads()).await;
    assert_eq!(head.message().await.unwrap().trim(), "Removing deleted branch me/x heads/c++");

    // Create a branch whose name was previously used by a directory of branches.
    source.git(&["update-ref", "-d", "refs/heads/a/b/c/d"]);
    source.commit("a/b", "fourth");
    let head = wait_for(&branch, &source.heads()).await;

    // Creating a tag, packing refs and changing the index do not cause commits.
    let before = commits(&head).await;
    source.git(&["tag", "v1", &second]);
    source.git(&["pack-refs", "--all"]);
    source.git(&["read-tree", "master"]);
    source.commit("last", "fifth");
    let head = wait_for(&branch, &source.heads()).await;
    assert_eq!(commits(&head).await, before + 1);
}

#[tokio::test]
async fn every_form_of_repository_is_read() {
    let server = Server::in_memory();
    let branch = server.branch().await;
    let main = Repository::new(&[]);
    main.commit("topic/x", "second");
    main.git(&["pack-refs", "--all"]);
    // The `master` branch is now stored both in a file and in `packed-refs`.
    main.commit("master", "third");
    let work_tree = tempfile::TempDir::new().unwrap();
    let path = work_tree.path().join("work");
    main.git(&[
        "worktree".as_ref(),
        "add".as_ref(),
        "-q".as_ref(),
        path.as_os_str(),
        "topic/x".as_ref(),
    ]);
    let bare = Repository::new(&["--bare"]);
    let sha256 = Repository::new(&["--object-format=sha256"]);
    // The bridge needs only the refs of each repository.
    for (path, heads) in
        [(&*path, main.heads()), (bare.path(), bare.heads()), (sha256.path(), sha256.heads())]
    {
        let _bridge = common::Process::start(bridge(&server.address, path));
        wait_for(&branch, &heads).await;
    }
}

#[tokio::test]
async fn reftables_are_read_with_git() {
    let version = Command::new("git").args(["init", "-h"]).output().unwrap();
    if !String::from_utf8_lossy(&version.stdout).contains("--ref-format") {
        println!("skipped: this git is too old for reftables");
        return;
    }
    let (server, source) = (Server::in_memory(), Repository::new(&["--ref-format=reftable"]));
    let _bridge = source.bridge(&server.address);
    let branch = server.branch().await;
    wait_for(&branch, &source.heads()).await;
    source.commit("c++", "second");
    wait_for(&branch, &source.heads()).await;
}

#[tokio::test]
async fn symbolic_branches_are_followed() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let second = source.commit("other", "second");
    source.git(&["update-ref", "refs/remotes/origin/x", &second]);
    for (name, target) in [
        ("one", "refs/heads/master"),
        ("two", "refs/heads/one"),
        ("remote", "refs/remotes/origin/x"),
        ("dangling", "refs/heads/missing"),
        ("circle", "refs/heads/circle"),
    ] {
        // Write the files directly because `git` refuses to create some of these refs.
        let file = source.path().join(".git/refs/heads").join(name);
        std::fs::write(file, format!("ref: {target}\n")).unwrap();
    }
    // Old versions of Git used symbolic links as symbolic refs.
    let link = source.path().join(".git/refs/heads/link");
    std::os::unix::fs::symlink("master", link).unwrap();
    let heads = source.heads();
    assert_eq!(heads.len(), 6);
    // A FIFO is not a branch. `git` would block on this FIFO, so create it after `git` has listed
    // the branches.
    let fifo = source.path().join(".git/refs/heads/fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let _bridge = source.bridge(&server.address);
    let branch = server.branch().await;
    wait_for(&branch, &heads).await;
    std::fs::remove_file(fifo).unwrap();
    source.commit("master", "third");
    wait_for(&branch, &source.heads()).await;
}

#[tokio::test]
async fn refs_of_others_are_kept_and_own_ones_restored() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let branch = server.branch().await;
    let foreign: Vec<Path> = ["me/y/ref/heads/a/head", "me/x/ref/tags/t/head", "me/x/pr/1/title"]
        .map(|path| path.parse().unwrap())
        .to_vec();
    let hash = source.heads().into_values().next().unwrap();
    let put = async |path: &Path, content: &str| {
        let transaction = branch.transaction().await.unwrap();
        transaction.make_dirs(&path.parent()).await.unwrap();
        transaction.create_file(path, content.as_bytes(), false).await.unwrap();
        transaction.commit("Change a file").await.unwrap()
    };
    for path in &foreign {
        put(path, &hash).await;
    }
    let _bridge = source.bridge(&server.address);
    let mut expected = source.heads();
    expected.insert("tags/t".parse().unwrap(), hash.clone());
    let head = wait_for(&branch, &expected).await;
    for path in &foreign {
        assert!(head.tree().exists(path).await.unwrap(), "{path}");
    }
    // The bridge reverts changes that other clients make to the repository's branches.
    put(&"me/x/ref/heads/stray/head".parse().unwrap(), &hash).await;
    wait_for(&branch, &expected).await;
    put(&"me/x/ref/heads/master/head".parse().unwrap(), &"0".repeat(40)).await;
    wait_for(&branch, &expected).await;
    server.db().await.remove_branch(common::BRANCH).await.unwrap();
    wait_for(&server.branch().await, &source.heads()).await;
}

#[tokio::test]
async fn random_changes_converge() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let _bridge = source.bridge(&server.address);
    let branch = server.branch().await;
    // This linear congruential generator returns the same numbers on every run.
    let mut state = 1u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for round in 0..20 {
        for _ in 0..random(6) {
            let name = ["a", "b", "b2", "c/d", "c/e", "f+#@"][random(6) as usize];
            match random(4) {
                0 => drop(source.git(&["update-ref", "-d", &format!("refs/heads/{name}")])),
                1 => drop(source.git(&["pack-refs", "--all", "--prune"])),
                _ => drop(source.commit(name, &format!("{round} {}", random(1000)))),
            }
        }
        wait_for(&branch, &source.heads()).await;
    }
}

#[tokio::test]
async fn repositories_may_be_on_a_read_only_mount() {
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let mount = tempfile::TempDir::new().unwrap();
    let bridge = bridge(&server.address, mount.path());
    // When the bridge exits, the kernel removes its mount namespace and the mount inside it.
    let script = "mount --bind \"$1\" \"$2\" && mount -o remount,bind,ro \"$2\" || exit 77
        ! touch \"$2/file\" 2>/dev/null || exit 78
        echo mounted; shift 2; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(source.path()).arg(mount.path());
    command.arg(BRIDGE).args(bridge.get_args());
    let mut process = common::Process::start(command);
    let is_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    if !is_root && process.child.wait().unwrap().code() != Some(0) {
        println!("skipped: only root may mount");
        return;
    }
    assert_eq!(process.line(), "mounted");
    let branch = server.branch().await;
    wait_for(&branch, &source.heads()).await;
    source.commit("c++", "second");
    wait_for(&branch, &source.heads()).await;
}

#[tokio::test]
async fn metrics_show_the_branches() {
    use std::io::{Read, Write};
    let (server, source) = (Server::in_memory(), Repository::new(&[]));
    let mut command = bridge(&server.address, source.path());
    command.args(["--listen-prometheus", "127.0.0.1:0"]);
    let process = common::Process::start(command);
    let url = process.line();
    let address = url.strip_prefix("metrics on http://").unwrap().strip_suffix("/metrics").unwrap();
    wait_for(&server.branch().await, &source.heads()).await;
    let end = std::time::Instant::now() + TIMEOUT;
    // Poll because the counters are updated shortly after the commit.
    loop {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let lines = [
            "datakit_bridge_local_git_connected 1",
            "datakit_bridge_local_git_commits_total 1",
            "datakit_bridge_local_git_changes_total 1",
            "datakit_bridge_local_git_branches{repo=\"me/x\"} 1",
        ];
        if lines.iter().all(|line| text.lines().any(|found| found == *line)) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{text}");
    }
}

#[test]
fn mistakes_are_explained() {
    let empty = tempfile::TempDir::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    for (arguments, status, text) in [
        (&["x:/srv"][..], 2, "Bad repository name \"x\" (format should be user/project)"),
        (&[&format!("a/b:{empty}")], 1, "not a Git repository"),
        (&["a/b:/missing/x"], 1, "/missing/x: No such file or directory"),
        (&[], 2, "<USER/REPO:PATH>"),
    ] {
        let output = Command::new(BRIDGE).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{error}");
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn several_repositories_are_published() {
    let server = Server::in_memory();
    let (first, second) = (Repository::new(&[]), Repository::new(&["--bare"]));
    let mut command = bridge(&server.address, first.path());
    command.arg(format!("me/y:{}", second.path().display()));
    let _bridge = common::Process::start(command);
    let head = wait_for(&server.branch().await, &first.heads()).await;
    let refs = datakit_github::read_refs(&head.tree(), &"me/y".parse().unwrap()).await.unwrap();
    assert_eq!(refs.len(), 1);
    assert_eq!(published(&head).await.len(), 1);
}
