//! The names of the branches that contain the results of pipelines.

use datakit_github::Commit;

use super::trust::Trust;
use crate::Target;
use crate::state::{escape, limited, target_suffix};

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
/// pull request, `-into-BRANCH` is inserted before `-of-HASH`, because the changed paths are stored
/// with the pipeline and depend on the base branch.
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

#[cfg(test)]
mod tests {
    use datakit_client::db::BranchName;
    use datakit_github::{Hash, RefId, RefName};

    use super::*;
    use crate::state::NAME_MAX;

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

    /// Every ref name, whatever bytes it contains, is mapped to a unique, valid branch name.
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
