//! Branches that are pushed to another repository as they move.

mod git;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

pub use git::GitProgram;

use crate::remote::said;
use crate::{BranchName, Database, Id, Result};

/// How long branches gather before they are pushed.
pub const GATHER: Duration = Duration::from_secs(2);

/// The longest wait after pushes that failed.
const LONGEST: Duration = Duration::from_secs(60);

/// Who can push branches to another repository.
pub trait Push: Send + Sync + 'static {
    /// Has each branch there be where it is here, whatever it was there; those that are at `None`
    /// are removed. Waits for the network.
    ///
    /// # Errors
    /// What the other side or the way there has against it; some of the branches may have been
    /// pushed.
    fn push(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<()>;
}

/// Pushes every branch to `url`, and from then on each that moves, `gather` after the first that
/// did; `told` is told how long each push took. What fails is logged and tried again, each branch
/// at longer and longer intervals of its own: one that the other side refuses delays no other. Does
/// not end; dropping it leaves a push that is under way to itself.
pub async fn auto_push(
    database: Database,
    push: Arc<dyn Push>,
    url: String,
    gather: Duration,
    told: impl Fn(Duration),
) {
    // Before the first look: nothing moves unseen.
    let mut moves = database.moves();
    let mut pushing =
        Pushing { database: database.clone(), push, url, gather, branches: BTreeMap::new() };
    loop {
        let begun = std::time::Instant::now();
        match pushing.round().await {
            Ok(true) => told(begun.elapsed()),
            Ok(false) => {}
            Err(error) => tracing::warn!("cannot push: {error}"),
        }
        let due = pushing.next_try();
        tokio::select! {
            () = moved(&mut moves) => {
                // Branches that fail gather in their own time.
                tokio::time::sleep(gather).await;
            }
            () = sleep_until(due) => {}
        }
        // Whatever moved meanwhile is seen by the next look.
        moves = moves.resubscribe();
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Waits until a branch moves, or may have.
async fn moved(moves: &mut Receiver<Option<BranchName>>) {
    match moves.recv().await {
        Ok(_) | Err(RecvError::Lagged(_)) => {}
        // The database is held, so that this is not reached.
        Err(RecvError::Closed) => std::future::pending().await,
    }
}

/// What was pushed, and what is to be tried again.
struct Pushing {
    database: Database,
    push: Arc<dyn Push>,
    url: String,
    gather: Duration,
    branches: BTreeMap<BranchName, Pushed>,
}

/// A branch that was pushed, or could not be.
#[derive(Default)]
struct Pushed {
    /// Where it is there, as far as it is known.
    at: Option<Id>,
    failed: Option<Failed>,
}

/// A push that failed.
struct Failed {
    next: Instant,
    /// The wait before that, which is doubled by the next failure.
    wait: Duration,
}

impl Pushing {
    /// Pushes what is not where it was pushed last and is due. False: that was nothing, or all of
    /// it failed.
    async fn round(&mut self) -> Result<bool> {
        let heads: BTreeMap<_, _> = self.database.run(Database::heads).await?.into_iter().collect();
        // Those that are gone here and there are forgotten.
        self.branches.retain(|name, pushed| {
            heads.contains_key(name) || pushed.at.is_some() || pushed.failed.is_some()
        });
        let names: BTreeSet<_> = heads.keys().chain(self.branches.keys()).cloned().collect();
        let now = Instant::now();
        let due: Vec<_> = names
            .into_iter()
            .filter(|name| {
                let (head, pushed) = (heads.get(name).copied(), self.branches.get(name));
                let there = pushed.and_then(|pushed| pushed.at);
                let failed = pushed.and_then(|pushed| pushed.failed.as_ref());
                failed.map_or(head != there, |failed| failed.next <= now)
            })
            .map(|name| {
                let head = heads.get(&name).copied();
                (name, head)
            })
            .collect();
        if due.is_empty() {
            return Ok(false);
        }
        // Those that failed before do not keep the others waiting.
        let (again, new): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|(name, _)| self.has_failed(name));
        Ok(self.push(new).await? | self.push(again).await?)
    }

    fn has_failed(&self, name: &BranchName) -> bool {
        self.branches.get(name).is_some_and(|pushed| pushed.failed.is_some())
    }

    /// Pushes branches in one go. Where the other side refuses some, halves are tried until it is
    /// known which. False: none was pushed.
    async fn push(&mut self, branches: Vec<(BranchName, Option<Id>)>) -> Result<bool> {
        let (mut any, mut left) = (false, vec![branches]);
        while let Some(mut part) = left.pop().filter(|part| !part.is_empty()) {
            match self.try_push(&part).await? {
                None => {
                    any = true;
                    self.branches.extend(
                        part.into_iter().map(|(name, at)| (name, Pushed { at, failed: None })),
                    );
                }
                Some(error) if part.len() > 1 && error.contains(REFUSED) => {
                    let half = part.split_off(part.len() / 2);
                    left.extend([half, part]);
                }
                Some(error) => self.failed(&part, &error),
            }
        }
        Ok(any)
    }

    /// What the push has against it.
    async fn try_push(&self, branches: &[(BranchName, Option<Id>)]) -> Result<Option<String>> {
        let (push, url, branches) = (self.push.clone(), self.url.clone(), branches.to_vec());
        let pushed = self.database.run_apart(move |_| Ok(push.push(&url, &branches))).await?;
        Ok(pushed.err().map(|error| error.to_string()))
    }

    fn failed(&mut self, branches: &[(BranchName, Option<Id>)], error: &str) {
        let waits: Vec<_> = branches.iter().map(|(name, _)| self.delay(name)).collect();
        let (Some((name, _)), Some(wait)) = (branches.first(), waits.into_iter().min()) else {
            return;
        };
        let others = branches.len() - 1;
        let others = if others > 0 { format!(" and {others} others") } else { String::new() };
        tracing::warn!(
            "cannot push to {}, next try in {wait:?}: {error} ({name}{others})",
            said::address(&self.url)
        );
    }

    /// How long a branch waits for the next try.
    fn delay(&mut self, name: &BranchName) -> Duration {
        let gather = self.gather;
        let pushed = self.branches.entry(name.clone()).or_default();
        let wait = pushed
            .failed
            .as_ref()
            .map_or(gather, |failed| failed.wait.saturating_mul(2).min(LONGEST));
        pushed.failed = Some(Failed { next: Instant::now() + wait, wait });
        wait
    }

    /// When the next branch is due that failed.
    fn next_try(&self) -> Option<Instant> {
        self.branches
            .values()
            .filter_map(|pushed| pushed.failed.as_ref().map(|failed| failed.next))
            .min()
    }
}

/// Of a branch that the other side, or a hook there, does not take.
const REFUSED: &str = "rejected]";

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use crate::model::object::{Commit, encode_tree};
    use crate::store::{Git, Memory, Store};

    /// A directory that goes with the test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path =
                std::env::temp_dir().join(format!("datakit-push-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            Place(path)
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn git(dir: &Path, args: &[&str]) -> String {
        let output = Command::new("git").arg("-C").arg(dir).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    async fn until(there: &Path, wanted: &str) {
        for _ in 0..500 {
            if git(there, &["for-each-ref", "--format=%(refname:short)"]).replace('\n', " ")
                == wanted
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not there: {wanted:?}");
    }

    #[tokio::test]
    async fn d60_the_other_side_follows() {
        let (here, there) = (Place::new("here"), Place::new("there"));
        let store = Git::open(&here.0).unwrap();
        let dir = store.dir();
        let database = Database::new(Arc::new(store)).unwrap();
        let (tree, empty) = encode_tree([]).unwrap();
        let (id, commit) = Commit::encode(tree, &[], b"x", 1).unwrap();
        database.objects().store().write(&[(tree, empty), (id, commit)]).unwrap();
        let go = |name: &str, from, to| {
            database.branch(&BranchName::new(name).unwrap()).advance(from, to).unwrap();
        };
        go("before", None, Some(id));
        std::fs::write(dir.join("refs/heads/x.lock"), "").unwrap();
        let url = there.0.display().to_string();
        let pushing = auto_push(
            database.clone(),
            Arc::new(GitProgram::new(dir)),
            url,
            Duration::from_millis(20),
            |_| {},
        );
        let pushing = tokio::spawn(pushing);
        // The remote is not there at first.
        tokio::time::sleep(Duration::from_millis(50)).await;
        std::fs::create_dir_all(&there.0).unwrap();
        git(&there.0, &["init", "-q", "--bare", "."]);
        until(&there.0, "before").await;
        go("new", None, Some(id));
        go("nested/one", None, Some(id));
        until(&there.0, "before nested/one new").await;
        go("before", Some(id), None);
        until(&there.0, "nested/one new").await;
        // One that somebody else has removed there is in nobody's way.
        git(&there.0, &["update-ref", "-d", "refs/heads/new"]);
        go("new", Some(id), None);
        go("late", None, Some(id));
        until(&there.0, "late nested/one").await;
        // Nor is one that the other side does not let go: the others come all the same.
        git(&there.0, &["symbolic-ref", "HEAD", "refs/heads/late"]);
        git(&there.0, &["config", "receive.denyDeleteCurrent", "refuse"]);
        go("late", Some(id), None);
        go("last", None, Some(id));
        until(&there.0, "last late nested/one").await;
        git(&there.0, &["config", "receive.denyDeleteCurrent", "ignore"]);
        until(&there.0, "last nested/one").await;
        pushing.abort();
    }

    #[tokio::test]
    async fn a_branch_that_is_refused_delays_no_other() {
        let (here, there) = (Place::new("refused-here"), Place::new("refused-there"));
        std::fs::create_dir_all(&there.0).unwrap();
        git(&there.0, &["init", "-q", "--bare", "."]);
        let hook = there.0.join("hooks/update");
        std::fs::create_dir_all(there.0.join("hooks")).unwrap();
        std::fs::write(&hook, "#!/bin/sh\necho $1 >>tried\n[ $1 != refs/heads/bad ]\n").unwrap();
        std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let store = Git::open(&here.0).unwrap();
        let dir = store.dir();
        let database = Database::new(Arc::new(store)).unwrap();
        let (tree, empty) = encode_tree([]).unwrap();
        database.objects().store().write(&[(tree, empty)]).unwrap();
        let mut last = None;
        let mut go = |name: &str| {
            let parents: Vec<_> = last.into_iter().collect();
            let (id, commit) = Commit::encode(tree, &parents, name.as_bytes(), 1).unwrap();
            database.objects().store().write(&[(id, commit)]).unwrap();
            let branch = database.branch(&BranchName::new(name).unwrap());
            branch.advance(branch.head().unwrap(), Some(id)).unwrap();
            last = Some(id);
            id
        };
        go("bad");
        go("good");
        // Long enough that a branch which had to wait for the other would be late.
        let gather = Duration::from_millis(200);
        let program = Arc::new(GitProgram::new(dir));
        let pushing = tokio::spawn(auto_push(
            database.clone(),
            program,
            there.0.display().to_string(),
            gather,
            |_| {},
        ));
        until(&there.0, "good").await;
        for round in 0..8 {
            let id = go("good");
            let begun = std::time::Instant::now();
            while git(&there.0, &["rev-parse", "good"]) != id.to_string() {
                assert!(begun.elapsed() < Duration::from_secs(10), "round {round}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // It was not tried each time that the other moved: its pauses grow.
        let tried = std::fs::read_to_string(there.0.join("tried")).unwrap();
        let (bad, good) = (tried.matches("heads/bad").count(), tried.matches("heads/good").count());
        assert!(bad < good, "{tried}");
        pushing.abort();
    }

    #[tokio::test]
    async fn nothing_is_not_pushed() {
        let database = Database::new(Arc::new(Memory::new())).unwrap();
        let push: Arc<dyn Push> = Arc::new(GitProgram::new(PathBuf::from("/nowhere")));
        let (url, branches) = ("/nowhere".to_owned(), BTreeMap::new());
        let mut pushing = Pushing { database, push, url, gather: GATHER, branches };
        assert_eq!(pushing.round().await, Ok(false));
    }

    #[test]
    fn many_branches_are_pushed_in_parts() {
        let (here, there) = (Place::new("many-here"), Place::new("many-there"));
        let store = Git::open(&here.0).unwrap();
        std::fs::create_dir_all(&there.0).unwrap();
        git(&there.0, &["init", "-q", "--bare", "."]);
        let (tree, empty) = encode_tree([]).unwrap();
        let (id, commit) = Commit::encode(tree, &[], b"x", 1).unwrap();
        store.write(&[(tree, empty), (id, commit)]).unwrap();
        // Together they are longer than Linux lets a command be.
        let dir = format!("{}/", "d".repeat(250)).repeat(9);
        let name = |n| BranchName::new(format!("{dir}{n}")).unwrap();
        let branches: Vec<_> = (0..1000).map(|n| (name(n), Some(id))).collect();
        GitProgram::new(store.dir()).push(&there.0.display().to_string(), &branches).unwrap();
        assert_eq!(git(&there.0, &["for-each-ref", "--format=x"]).lines().count(), branches.len());
    }
}
