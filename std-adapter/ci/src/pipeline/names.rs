//! The names of the branches that contain the results of pipelines.

use datakit_github::Commit;
use sha2::{Digest, Sha256};

use super::trust::Trust;
use crate::Target;
use crate::state::{escape, target_suffix};

/// The maximum length of a name. Longer names are truncated and end with a hash.
const NAME_MAX: usize = 190;

/// Returns the branch that contains the result of a task: `step-USER-REPO-TASK-of-HASH`, followed
/// by `-for-TARGET` if the result is specific to a target, and by `-untrusted` if the commit is not
/// trusted. Characters are escaped in the same way as in the names of history branches.
pub(super) fn task_branch(
    task: &str,
    commit: &Commit,
    target: Option<&Target>,
    trust: Trust,
) -> String {
    let target = target.map(|target| format!("-for-{}", target_suffix(target)));
    let (task, target) = (part(task.as_bytes()), target.unwrap_or_default());
    limited(format!("step-{}-{task}-of-{}{target}{}", repo(commit), commit.hash, suffix(trust)))
}

/// Returns the branch that contains the pipeline of a commit: `pipeline-USER-REPO-of-HASH`. For a
/// pull request, `-into-BRANCH` is inserted before `-of-HASH`, because the branch contains the
/// changed paths.
pub(super) fn pipeline_branch(commit: &Commit, base: Option<&str>) -> String {
    let base = base.map(|base| format!("-into-{}", part(base.as_bytes()))).unwrap_or_default();
    let name = format!("pipeline-{}{base}", repo(commit));
    format!("{}-of-{}", limited(name), commit.hash)
}

fn suffix(trust: Trust) -> &'static str {
    match trust {
        Trust::Trusted => "",
        Trust::Untrusted => "-untrusted",
    }
}

fn repo(commit: &Commit) -> String {
    let (user, name) = (commit.repo.user(), commit.repo.name());
    format!("{}-{}", part(user.as_bytes()), part(name.as_bytes()))
}

/// Escapes a part of a name. Git does not allow two consecutive dots in a branch name.
pub(super) fn part(text: &[u8]) -> String {
    escape(text).replace("..", "_2e_2e")
}

/// Truncates a name that is too long for a file name.
fn limited(name: String) -> String {
    // `-for-TARGET` could contain two consecutive dots only if the ref name did, which Git does not
    // allow.
    if name.len() <= NAME_MAX {
        return name;
    }
    let hash = hex(&Sha256::digest(name.as_bytes()), 20);
    // Escaped names are ASCII.
    let start = name.get(..NAME_MAX - hash.len() - 1).unwrap_or_default();
    format!("{start}-{hash}")
}

/// Returns the first `length` hexadecimal digits of a hash.
pub(super) fn hex(hash: &[u8], length: usize) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use datakit_client::db::BranchName;
    use datakit_github::{Hash, RefId, RefName};

    use super::*;

    fn commit() -> Commit {
        let hash = Hash::parse("83a4d0f4dd5f8ab15c73bd53adb3ea0dd1fc5b3e").unwrap();
        Commit { repo: "me/my-app".parse().unwrap(), hash }
    }

    #[test]
    fn names_say_what_the_branch_contains() {
        let hash = "83a4d0f4dd5f8ab15c73bd53adb3ea0dd1fc5b3e";
        assert_eq!(
            task_branch("test:rust=1.88", &commit(), None, Trust::Trusted),
            format!("step-me-my_2dapp-test_3arust_3d1.88-of-{hash}")
        );
        let pr: Target = "me/my-app/prs/7".parse().unwrap();
        assert_eq!(
            task_branch("a", &commit(), Some(&pr), Trust::Untrusted),
            format!("step-me-my_2dapp-a-of-{hash}-for-pr-7-untrusted")
        );
        assert_eq!(
            pipeline_branch(&commit(), Some("fix/it")),
            format!("pipeline-me-my_2dapp-into-fix_2fit-of-{hash}")
        );
    }

    /// Every byte that Git allows in a ref name results in a valid and unique branch name.
    #[test]
    fn every_legal_character_gives_a_valid_branch() {
        let mut seen = std::collections::BTreeSet::new();
        for byte in 1..=255u8 {
            for name in [vec![b'a', byte, b'b'], vec![byte; 3], vec![byte; 240]] {
                let Ok(name) = RefName::new(datakit_github::RefKind::Heads, &name) else {
                    continue;
                };
                let target = Target::Ref(RefId { repo: commit().repo, name });
                let branch = task_branch("a", &commit(), Some(&target), Trust::Trusted);
                assert!(BranchName::new(&branch).is_ok() && branch.len() <= NAME_MAX, "{branch}");
                assert!(seen.insert(branch));
            }
        }
        assert!(seen.len() > 600);
        for base in ["a..b", "", "x.lock", "\u{fc}".repeat(200).as_str()] {
            let branch = pipeline_branch(&commit(), Some(base));
            assert!(BranchName::new(&branch).is_ok(), "{branch}");
        }
    }
}
