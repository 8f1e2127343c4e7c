//! Fetching by `ssh`, in whose place the settings of the repository have a script.

use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::remote::CancelFlag;

/// A repository that has `script` for `ssh`, and another one, with a branch `master` at the commit.
struct Pair {
    here: Place,
    there: Place,
    far: Id,
}

impl Pair {
    /// `$there` is the other repository in the script, and `$here` ours.
    fn new(name: &str, script: &str) -> Pair {
        let (here, there) =
            (Place::new(&format!("{name}-here")), Place::new(&format!("{name}-there")));
        let other = Git::open(&there.0).unwrap();
        let far = commit(&other, "far");
        assert!(go(&other, "master", None, Some(far)));
        here.git(&["init", "-q"]);
        let path = here.0.join("ssh");
        let places = format!("here={} there={}", here.0.display(), there.0.display());
        fs::write(&path, format!("#!/bin/sh\n{places}\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        here.git(&["config", "core.sshCommand", &format!("'{}' -x", path.display())]);
        Pair { here, there, far }
    }

    fn fetch(&self, patience: Duration) -> std::result::Result<Id, FetchError> {
        self.fetch_from(&format!("ssh://me@far:22{}/.git", self.there.0.display()), patience)
    }

    fn fetch_from(&self, url: &str, patience: Duration) -> std::result::Result<Id, FetchError> {
        let store = Git::open(&self.here.0)
            .unwrap()
            .with_fetch_limits(FetchLimits::default().with_timeout(Some(patience)));
        store.fetch("r", url, &BranchName::new("master").unwrap())
    }
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_branch_is_fetched_by_ssh() {
    let pair = Pair::new(
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
fn nothing_in_a_url_is_an_option() {
    let pair = Pair::new("option", "echo >$here/asked");
    for url in ["ssh://-oProxyCommand=x/y", "ssh://-oProxyCommand=x@far/y", "me@-far:y", "far:-y"] {
        pair.fetch_from(url, TIMEOUT).unwrap_err();
    }
    assert!(!pair.here.0.join("asked").exists());
}

#[test]
fn the_reasons_of_ssh_are_told() {
    let pair = Pair::new("refused", "echo 'me@far: Permission denied (publickey).' >&2; exit 255");
    let Err(FetchError::Git(GitError::Failed(why))) = pair.fetch(TIMEOUT) else {
        panic!("it was refused")
    };
    assert!(why.starts_with("me@far: Permission denied (publickey)."), "{why}");
}

#[test]
fn a_silent_program_is_killed_with_all_that_it_started() {
    let pair = Pair::new("silent", "exec 9>$here/fifo; sleep 1000 & wait");
    let fifo = pair.here.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let (tell, told) = channel();
    // As long as one of them has it open.
    std::thread::spawn(move || tell.send(fs::read(fifo).unwrap()));
    assert_eq!(pair.fetch(SHORT), Err(FetchError::Git(GitError::TimedOut(SHORT))));
    told.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn who_stops_in_the_middle_is_given_up() {
    let pair = Pair::new("middle", "git upload-pack $there/.git | { head -c 50000; sleep 1000; }");
    // Nothing that could be packed smaller.
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
    let patience = Duration::from_secs(1);
    assert_eq!(pair.fetch(patience), Err(FetchError::Git(GitError::TimedOut(patience))));
    let packs = fs::read_dir(pair.here.0.join(".git/objects/pack")).unwrap();
    assert_eq!(packs.count(), 0);
}

#[test]
fn who_is_slow_is_not() {
    let slowly =
        "while dd bs=64 count=1 2>$here/dd && ! grep -q '^0+0' $here/dd; do sleep 0.25; done";
    let pair = Pair::new("slow", &format!("git upload-pack $there/.git | {{ {slowly}; }}"));
    let (patience, begun) = (Duration::from_secs(2), std::time::Instant::now());
    assert_eq!(pair.fetch(patience), Ok(pair.far));
    assert!(begun.elapsed() > patience, "{:?}", begun.elapsed());
}

/// What the other side sends in place of a pack.
fn pack(pair: &Pair, script: &str) {
    let hook = pair.here.0.join("hook");
    fs::write(
        &hook,
        format!(
            "#!/bin/sh\nif [ -e {0}/good ]; then exec \"$@\"; fi\n{script}\n",
            pair.here.0.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
}

const HOOKED: &str = "git -c uploadpack.packObjectsHook=$here/hook upload-pack $there/.git";

/// Nothing of a fetch is there.
fn is_clean(pair: &Pair) {
    assert_eq!(pair.here.git(&["for-each-ref"]), "");
    assert_eq!(pair.here.git(&["count-objects"]), "0 objects, 0 kilobytes");
    let left = |dir: &str| fs::read_dir(pair.here.0.join(dir)).unwrap().count();
    assert_eq!((left(".git/objects"), left(".git/objects/pack")), (2, 0));
    pair.here.git(&["fsck", "--strict"]);
    pair.here.git(&["gc", "--quiet"]);
}

#[test]
fn an_empty_pack_is_in_nobodys_way() {
    let pair = Pair::new("empty-pack", HOOKED);
    pack(&pair, "cat >/dev/null; exec git pack-objects -q --stdout </dev/null");
    let Err(FetchError::Git(GitError::Failed(why))) = pair.fetch(TIMEOUT) else {
        panic!("nothing came")
    };
    assert!(
        why.contains("did not send all necessary objects") || why.contains("bad object"),
        "{why}"
    );
    is_clean(&pair);
    fs::write(pair.here.0.join("good"), "").unwrap();
    assert_eq!(pair.fetch(TIMEOUT), Ok(pair.far));
}

#[test]
fn endless_answers_are_cut_off() {
    let pair = Pair::new("endless", HOOKED);
    // A pack of one blob, stored and not compressed, that never ends.
    let blob = "printf 'PACK\\0\\0\\0\\2\\0\\0\\0\\1\\277\\377\\377\\377\\377\\177\\170\\1'";
    pack(
        &pair,
        &format!(
            "{blob}\nwhile :; do printf '\\0\\377\\377\\0\\0'; head -c 65535 /dev/zero || exit; done"
        ),
    );
    let store = Git::open(&pair.here.0)
        .unwrap()
        .with_fetch_limits(FetchLimits::default().with_max_bytes(Some(3 << 20)));
    let url = format!("ssh://me@far{}/.git", pair.there.0.display());
    assert_eq!(
        store.fetch("r", &url, &BranchName::new("master").unwrap()),
        Err(FetchError::TooLarge(3 << 20))
    );
    is_clean(&pair);
}

#[test]
fn a_fetch_that_nobody_wants_any_more_is_ended_with_all_that_it_started() {
    let pair = Pair::new("unwanted", "exec 9>$here/fifo; sleep 1000 & wait");
    let fifo = pair.here.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let store = Git::open(&pair.here.0).unwrap();
    let (stop, url) =
        (CancelFlag::default(), format!("ssh://me@far{}/.git", pair.there.0.display()));
    std::thread::scope(|scope| {
        let fetch = scope.spawn(|| {
            store.fetch_cancellable("r", &url, &BranchName::new("master").unwrap(), &stop)
        });
        // It is there.
        let far = fs::File::open(&fifo).unwrap();
        stop.cancel();
        assert!(fetch.join().unwrap().is_err());
        // As long as one of them has it open.
        assert_eq!(std::io::read_to_string(far).unwrap(), "");
    });
}
