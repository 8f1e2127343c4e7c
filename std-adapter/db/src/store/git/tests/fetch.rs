//! Tests for fetches from local paths and over `ssh`. The repository's settings make `git` run a
//! script instead of `ssh`.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::channel;
use std::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(300);

fn master() -> BranchName {
    BranchName::new("master").unwrap()
}

fn limits_with_timeout(timeout: Option<Duration>) -> FetchLimits {
    FetchLimits::default().with_timeout(timeout)
}

fn timed_out(timeout: Duration) -> std::result::Result<Id, FetchError> {
    Err(FetchError::Git(GitError::TimedOut(timeout)))
}

#[test]
fn a_branch_is_fetched_from_a_path() {
    let (here, there) = (TempRepository::new("here"), TempRepository::new("there"));
    let (store, other) = (GitStore::open(&here.0).unwrap(), GitStore::open(&there.0).unwrap());
    let id = write_commit(&other, "far");
    assert!(set_branch(&other, "master", None, Some(id)));
    let url = there.0.display().to_string();
    assert_eq!(store.fetch("r", &url, &master()), Ok(id));
    let missing = BranchName::new("no").unwrap();
    assert_eq!(store.fetch("r", &url, &missing), Err(FetchError::NoSuchBranch));
    assert!(matches!(
        store.fetch("r", "/nowhere", &master()),
        Err(FetchError::Git(GitError::Failed(text))) if text.contains("/nowhere")
    ));
    assert_eq!(
        (store.read(id).unwrap().unwrap().kind, store.heads().unwrap()),
        (ObjectKind::Commit, vec![])
    );
    assert_eq!(here.git(&["for-each-ref", "--format=%(refname)"]), "refs/remotes/r/master");
    store.forget_remote("r").unwrap();
    assert_eq!(here.git(&["for-each-ref"]), "");
}

#[test]
fn remotes_of_a_killed_server_are_forgotten() {
    let repository = TempRepository::new("left");
    let store = GitStore::open(&repository.0).unwrap();
    let id = write_commit(&store, "a").to_string();
    drop(store);
    for remote in [
        "datakit-1-22/master",
        "datakit-1-22/nested/one",
        "datakit-x/master",
        "datakit-1/master",
        "origin/master",
    ] {
        repository.git(&["update-ref", &format!("refs/remotes/{remote}"), &id]);
    }
    repository.git(&["pack-refs", "--all"]);
    let _store = GitStore::open(&repository.0).unwrap();
    let left = repository.git(&["for-each-ref", "--format=%(refname:lstrip=2)"]);
    assert_eq!(left, "datakit-1/master\ndatakit-x/master\norigin/master");
}

#[test]
fn a_silent_server_times_out() {
    let here = TempRepository::new("silent");
    let store =
        GitStore::open(&here.0).unwrap().with_fetch_limits(limits_with_timeout(Some(SHORT)));
    // The kernel accepts connections even though no thread calls `accept`.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["git", "http", "https"] {
        let url = format!("{scheme}://{address}/x");
        assert_eq!(store.fetch("r", &url, &master()), timed_out(SHORT), "{url}");
    }
}

#[test]
fn a_refused_connection_fails_at_once() {
    let here = TempRepository::new("nobody");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for timeout in [None, Some(TIMEOUT)] {
        let limits = limits_with_timeout(timeout);
        let store = GitStore::open(&here.0).unwrap().with_fetch_limits(limits);
        for scheme in ["git", "http"] {
            let url = format!("{scheme}://{address}/x");
            let failed = store.fetch("r", &url, &master());
            assert!(
                matches!(&failed, Err(FetchError::Git(GitError::Failed(why))) if why.contains("refused") || why.contains("connect")),
                "{url}: {failed:?}"
            );
        }
    }
}

/// A pair of repositories. In the first repository, `git` runs a script instead of `ssh`. In the
/// second repository, the `master` branch is at commit `far`.
struct SshPair {
    here: TempRepository,
    there: TempRepository,
    far: Id,
}

impl SshPair {
    /// Creates the repositories. The script can refer to the paths of the repositories as `$here`
    /// and `$there`.
    fn new(name: &str, script: &str) -> SshPair {
        let here = TempRepository::new(&format!("{name}-here"));
        let there = TempRepository::new(&format!("{name}-there"));
        let other = GitStore::open(&there.0).unwrap();
        let far = write_commit(&other, "far");
        assert!(set_branch(&other, "master", None, Some(far)));
        here.git(&["init", "-q"]);
        let path = here.0.join("ssh");
        let variables = format!("here={} there={}", here.0.display(), there.0.display());
        write_script(&path, &format!("{variables}\n{script}"));
        here.git(&["config", "core.sshCommand", &format!("'{}' -x", path.display())]);
        SshPair { here, there, far }
    }

    fn url(&self) -> String {
        format!("ssh://me@far:22{}/.git", self.there.0.display())
    }

    fn fetch(&self, timeout: Duration) -> std::result::Result<Id, FetchError> {
        self.fetch_from(&self.url(), timeout)
    }

    fn fetch_from(&self, url: &str, timeout: Duration) -> std::result::Result<Id, FetchError> {
        let limits = limits_with_timeout(Some(timeout));
        GitStore::open(&self.here.0).unwrap().with_fetch_limits(limits).fetch("r", url, &master())
    }

    /// Creates a FIFO that a script can keep open.
    fn fifo(&self) -> PathBuf {
        let fifo = self.here.0.join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        fifo
    }

    /// Checks that a failed fetch has left no refs, objects, or files behind.
    fn assert_clean(&self) {
        assert_eq!(self.here.git(&["for-each-ref"]), "");
        assert_eq!(self.here.git(&["count-objects"]), "0 objects, 0 kilobytes");
        let count = |dir: &str| fs::read_dir(self.here.0.join(dir)).unwrap().count();
        assert_eq!((count(".git/objects"), count(".git/objects/pack")), (2, 0));
        self.here.git(&["fsck", "--strict"]);
        self.here.git(&["gc", "--quiet"]);
    }
}

fn write_script(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_branch_is_fetched_over_ssh() {
    let pair = SshPair::new(
        "ssh",
        "echo \"$@\" >$here/asked; while [ $1 != me@far ]; do shift; done; shift; eval exec \"$@\"",
    );
    assert_eq!(pair.fetch(TIMEOUT), Ok(pair.far));
    let asked = fs::read_to_string(pair.here.0.join("asked")).unwrap();
    let path = format!("'{}/.git'", pair.there.0.display());
    assert_eq!(
        asked,
        format!(
            "-x -o BatchMode=yes -o SendEnv=GIT_PROTOCOL -p 22 me@far git-upload-pack {path}\n"
        )
    );
}

#[test]
fn settings_that_change_while_serving_apply_to_the_next_fetch() {
    let pair = SshPair::new("settings", "echo old >&2; exit 1");
    let store = GitStore::open(&pair.here.0).unwrap();
    fs::create_dir(pair.here.0.join("new")).unwrap();
    let new = pair.here.0.join("new/ssh");
    write_script(&new, "echo new >&2; exit 1");
    pair.here.git(&["config", "core.sshCommand", &new.display().to_string()]);
    let failed = store.fetch("r", &pair.url(), &master());
    assert!(
        matches!(&failed, Err(FetchError::Git(GitError::Failed(text))) if text.starts_with("new")),
        "{failed:?}"
    );
}

#[test]
fn options_in_urls_are_refused() {
    let pair = SshPair::new("option", "echo >$here/asked");
    for url in ["ssh://-oProxyCommand=x/y", "ssh://-oProxyCommand=x@far/y", "me@-far:y", "far:-y"] {
        let refused = pair.fetch_from(url, TIMEOUT);
        assert!(matches!(refused, Err(FetchError::Url(_))), "{url}: {refused:?}");
    }
    assert!(!pair.here.0.join("asked").exists());
}

#[test]
fn the_error_contains_what_ssh_reported() {
    let script = "echo 'me@far: Permission denied (publickey).' >&2; exit 255";
    let Err(FetchError::Git(GitError::Failed(text))) =
        SshPair::new("refused", script).fetch(TIMEOUT)
    else {
        panic!("the fetch was refused")
    };
    assert!(text.starts_with("me@far: Permission denied (publickey)."), "{text}");
}

#[test]
fn a_timeout_kills_everything_that_git_started() {
    let pair = SshPair::new("hanging", "exec 9>$here/fifo; sleep 1000 & wait");
    let fifo = pair.fifo();
    let (sender, receiver) = channel();
    // The read returns when all processes that inherited the FIFO have exited.
    std::thread::spawn(move || sender.send(fs::read(fifo).unwrap()));
    // The script must start before the timeout, because the read also waits for the script.
    let timeout = Duration::from_secs(3);
    assert_eq!(pair.fetch(timeout), timed_out(timeout));
    receiver.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn cancelling_kills_everything_that_git_started() {
    let pair = SshPair::new("cancelled", "exec 9>$here/fifo; sleep 1000 & wait");
    let fifo = pair.fifo();
    let store = GitStore::open(&pair.here.0).unwrap();
    let (cancel, url) = (CancelFlag::default(), pair.url());
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| store.fetch_cancellable("r", &url, &master(), &cancel));
        // Opening the FIFO blocks until the script has also opened it.
        let far = fs::File::open(&fifo).unwrap();
        cancel.cancel();
        assert_eq!(fetch.join().unwrap(), Err(FetchError::Git(GitError::Cancelled)));
        assert_eq!(std::io::read_to_string(far).unwrap(), "");
    });
}

#[test]
fn a_server_that_stops_in_the_middle_times_out() {
    let pair =
        SshPair::new("middle", "git upload-pack $there/.git | { head -c 50000; sleep 1000; }");
    // Generate random data, which cannot be compressed.
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    fs::write(pair.there.0.join("noise"), noise.take(200_000).collect::<Vec<_>>()).unwrap();
    pair.there.git(&["symbolic-ref", "HEAD", "refs/heads/master"]);
    pair.there.git(&["config", "core.bare", "false"]);
    pair.there.git(&["add", "noise"]);
    pair.there.git(&["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "noise"]);
    let timeout = Duration::from_secs(1);
    assert_eq!(pair.fetch(timeout), timed_out(timeout));
    let packs = fs::read_dir(pair.here.0.join(".git/objects/pack")).unwrap();
    assert_eq!(packs.count(), 0);
}

#[test]
fn a_slow_server_does_not_time_out() {
    let slowly =
        "while dd bs=64 count=1 2>$here/dd && ! grep -q '^0+0' $here/dd; do sleep 0.25; done";
    let pair = SshPair::new("slow", &format!("git upload-pack $there/.git | {{ {slowly}; }}"));
    let (timeout, start) = (Duration::from_secs(2), Instant::now());
    assert_eq!(pair.fetch(timeout), Ok(pair.far));
    assert!(start.elapsed() > timeout, "{:?}", start.elapsed());
}

/// A script that runs instead of `ssh`. The script makes the remote run `$here/hook` to create
/// packs.
const WITH_PACK_HOOK: &str = "git -c uploadpack.packObjectsHook=$here/hook upload-pack $there/.git";

/// Makes the remote send the output of `script` instead of a pack. Once a file named `good` exists,
/// the remote sends packs again.
fn replace_pack(pair: &SshPair, script: &str) {
    let good = pair.here.0.join("good");
    let script = format!("if [ -e {} ]; then exec \"$@\"; fi\n{script}", good.display());
    write_script(&pair.here.0.join("hook"), &script);
}

#[test]
fn an_incomplete_fetch_leaves_nothing_and_can_be_repeated() {
    let pair = SshPair::new("empty-pack", WITH_PACK_HOOK);
    replace_pack(&pair, "cat >/dev/null; exec git pack-objects -q --stdout </dev/null");
    let Err(FetchError::Git(GitError::Failed(text))) = pair.fetch(TIMEOUT) else {
        panic!("the pack was empty")
    };
    assert!(
        text.contains("did not send all necessary objects") || text.contains("bad object"),
        "{text}"
    );
    pair.assert_clean();
    fs::write(pair.here.0.join("good"), "").unwrap();
    assert_eq!(pair.fetch(TIMEOUT), Ok(pair.far));
}

#[test]
fn an_endless_pack_is_cut_off_at_the_limit() {
    let pair = SshPair::new("endless", WITH_PACK_HOOK);
    // Send a pack that contains a single, endless blob, which is stored without compression.
    let blob = "printf 'PACK\\0\\0\\0\\2\\0\\0\\0\\1\\277\\377\\377\\377\\377\\177\\170\\1'";
    let zeros = "while :; do printf '\\0\\377\\377\\0\\0'; head -c 65535 /dev/zero || exit; done";
    replace_pack(&pair, &format!("{blob}\n{zeros}"));
    let limits = FetchLimits::default().with_max_bytes(Some(3 << 20));
    let store = GitStore::open(&pair.here.0).unwrap().with_fetch_limits(limits);
    assert_eq!(store.fetch("r", &pair.url(), &master()), Err(FetchError::TooLarge(3 << 20)));
    pair.assert_clean();
}
