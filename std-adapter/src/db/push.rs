//! Branches that are pushed to another repository as they move.

mod git;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

pub use git::GitProgram;

use super::{BranchName, Database, Id, Result};

/// How long branches gather before they are pushed.
pub const GATHER: Duration = Duration::from_secs(2);

/// The longest wait after pushes that failed.
const LONGEST: Duration = Duration::from_secs(60);

/// Who can push branches to another repository.
pub trait Push: Send + Sync + 'static {
    /// Has each branch there be where it is here, whatever it was there; those that are at `None` are removed. Waits for the network.
    ///
    /// # Errors
    /// What the other side or the way there has against it; some of the branches may have been pushed.
    fn push(&self, url: &str, branches: &[(BranchName, Option<Id>)]) -> Result<()>;
}

/// Pushes every branch to `url`, and from then on each that moves, `gather` after the first that did; `told` is told how long each push
/// took. What fails is logged and tried again, at longer and longer intervals. Does not end; dropping it leaves a push that is under way
/// to itself.
pub async fn auto_push(
    database: Database,
    push: Arc<dyn Push>,
    url: String,
    gather: Duration,
    told: impl Fn(Duration),
) {
    // Before the first look: nothing moves unseen.
    let mut moves = database.moves();
    let mut pushed = BTreeMap::new();
    let mut wait = gather;
    loop {
        let begun = std::time::Instant::now();
        match round(&database, &push, &url, &mut pushed).await {
            Ok(pushed) => {
                if pushed {
                    told(begun.elapsed());
                }
                wait = gather;
                moved(&mut moves).await;
                tokio::time::sleep(gather).await;
            }
            Err(error) => {
                tracing::warn!("cannot push to {url}, next try in {wait:?}: {error}");
                tokio::time::sleep(wait).await;
                wait = wait.saturating_mul(2).min(LONGEST);
            }
        }
        // Whatever moved meanwhile is seen by the next look.
        moves = moves.resubscribe();
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

/// Pushes what is not where it was pushed last. False: that was nothing.
async fn round(
    database: &Database,
    push: &Arc<dyn Push>,
    url: &str,
    pushed: &mut BTreeMap<BranchName, Id>,
) -> Result<bool> {
    let heads: BTreeMap<_, _> = database.run(Database::heads).await?.into_iter().collect();
    let names: BTreeSet<_> = heads.keys().chain(pushed.keys()).collect();
    let other = |name: &&&BranchName| heads.get(**name) != pushed.get(**name);
    let branches: Vec<_> =
        names.iter().filter(other).map(|name| ((*name).clone(), heads.get(*name).copied())).collect();
    let any = !branches.is_empty();
    if any {
        let (push, url) = (push.clone(), url.to_owned());
        database.run_apart(move |_| push.push(&url, &branches)).await?;
    }
    *pushed = heads;
    Ok(any)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;
    use crate::db::object::{Commit, encode_tree};
    use crate::db::store::{Git, Memory, Store};

    /// A directory that goes with the test.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let path = std::env::temp_dir().join(format!("datakit-push-{}-{name}", std::process::id()));
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
            if git(there, &["for-each-ref", "--format=%(refname:short)"]).replace('\n', " ") == wanted {
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
        let pushing =
            auto_push(database.clone(), Arc::new(GitProgram::new(dir)), url, Duration::from_millis(20), |_| {});
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
    async fn nothing_is_not_pushed() {
        let database = Database::new(Arc::new(Memory::new())).unwrap();
        let push: Arc<dyn Push> = Arc::new(GitProgram::new(PathBuf::from("/nowhere")));
        assert_eq!(round(&database, &push, "/nowhere", &mut BTreeMap::new()).await, Ok(false));
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
