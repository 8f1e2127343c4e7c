//! The changes that a person can make on the website. Each change emits the same events as on
//! GitHub.

use std::sync::Arc;

use super::inner::FakeInner;
use super::repo::{Hook, Object, Pull, Repo, Status};
use super::{pulls, repos};

/// A repository on the fake GitHub.
#[derive(Clone)]
pub struct Repository {
    pub(crate) shared: Arc<FakeInner>,
    pub(crate) id: u64,
}

impl Repository {
    /// Returns a copy of the current state.
    pub fn state(&self) -> Repo {
        self.shared.world.lock().repo(self.id).clone()
    }

    /// Returns the full name, which consists of the owner and the name.
    pub fn full_name(&self) -> String {
        self.shared.world.lock().repo(self.id).full_name()
    }

    /// Returns the hash of the commit at the head of a branch.
    pub fn head(&self, branch: &str) -> Option<String> {
        self.shared.world.lock().repo(self.id).head(branch).map(String::from)
    }

    /// Creates a commit to which no ref points. Returns the hash of the commit.
    pub fn commit(&self, parents: &[&str], message: &str) -> String {
        let parents = parents.iter().map(|sha| sha.to_string()).collect();
        self.shared.change(|world| {
            let owner = world.repo(self.id).owner.clone();
            world.add_commit(self.id, parents, message, &owner, super::actions::EMPTY_TREE)
        })
    }

    /// Pushes a new commit to a branch. Creates the branch from the default branch if it does not
    /// exist. Returns the hash of the commit.
    pub fn push(&self, branch: &str, message: &str) -> String {
        let parent = self.head(branch).or_else(|| self.head(&self.state().default_branch));
        let sha = self.commit(&parent.iter().map(String::as_str).collect::<Vec<_>>(), message);
        self.set_branch(branch, &sha);
        sha
    }

    /// Sets a branch to any commit, creating the branch if necessary.
    pub fn set_branch(&self, branch: &str, sha: &str) {
        self.set_ref(&format!("refs/heads/{branch}"), Object::commit(sha));
    }

    /// Sets a ref to any object, creating the ref if necessary.
    pub fn set_ref(&self, name: &str, object: Object) {
        self.shared.change(|world| {
            let owner = world.repo(self.id).owner.clone();
            world.set_ref(self.id, name, object, &owner);
        });
    }

    /// Creates a branch or a tag without emitting an event.
    pub fn set_ref_silently(&self, name: &str, object: Object) {
        self.shared.change(|world| world.repo_mut(self.id).refs.insert(name.into(), object));
    }

    /// Deletes a ref, such as `refs/heads/topic`. Returns whether the ref existed.
    pub fn delete_ref(&self, name: &str) -> bool {
        self.shared.change(|world| {
            let owner = world.repo(self.id).owner.clone();
            world.delete_ref(self.id, name, &owner)
        })
    }

    /// Creates an annotated tag and its ref. Returns the hash of the tag.
    pub fn tag(&self, name: &str, object: Object, message: &str) -> String {
        let sha = self.shared.change(|world| {
            let owner = world.repo(self.id).owner.clone();
            world.add_tag(self.id, name, object, message, &owner).sha
        });
        self.set_ref(&format!("refs/tags/{name}"), Object { kind: "tag".into(), sha: sha.clone() });
        sha
    }

    /// Opens a pull request from a branch in this repository. Returns the pull request's number.
    pub fn open_pull(&self, user: &str, title: &str, branch: &str, base: &str) -> u64 {
        self.shared.change(|world| {
            let (user, now) = (world.user(user), world.now());
            let repo = world.repo(self.id);
            let head = repo.head(branch).expect("the branch exists");
            let base_sha = repo.head(base).expect("the base branch exists");
            let pull = pulls::new(repo, &user, title, branch, base, head, base_sha, now);
            world.open_pull(self.id, pull)
        })
    }

    /// Opens a pull request from a branch in a fork. Returns the pull request's number.
    pub fn open_pull_from_fork(&self, user: &str, title: &str, branch: &str, sha: &str) -> u64 {
        self.shared.change(|world| {
            let (user, now) = (world.user(user), world.now());
            let repo = world.repo(self.id);
            let base = repo.default_branch.clone();
            let base_sha = repo.head(&base).unwrap_or_default();
            let pull = pulls::new(repo, &user, title, branch, &base, sha, base_sha, now);
            world.open_pull(self.id, Pull { head_owner: user, ..pull })
        })
    }

    /// Returns a copy of a pull request.
    pub fn pull(&self, number: u64) -> Option<Pull> {
        self.shared.world.lock().repo(self.id).pulls.get(&number).cloned()
    }

    /// Changes the title of a pull request.
    pub fn set_title(&self, number: u64, title: &str) {
        let title = Some(title.to_string());
        self.by_owner(|world, id, owner| world.edit_pull(id, number, title, None, None, owner));
    }

    /// Changes the description of a pull request.
    pub fn set_body(&self, number: u64, body: &str) {
        let body = Some(body.to_string());
        self.by_owner(|world, id, owner| world.edit_pull(id, number, None, body, None, owner));
    }

    /// Changes the base branch of a pull request.
    pub fn set_base(&self, number: u64, base: &str) {
        let base = Some(base.to_string());
        self.by_owner(|world, id, owner| world.edit_pull(id, number, None, None, base, owner));
    }

    /// Closes a pull request without merging it.
    pub fn close_pull(&self, number: u64) {
        self.by_owner(|world, id, owner| world.close(id, number, false, owner));
    }

    /// Reopens a closed pull request.
    pub fn reopen_pull(&self, number: u64) {
        self.by_owner(|world, id, owner| world.reopen(id, number, owner));
    }

    /// Merges a pull request by creating a merge commit. Returns the hash of the merge commit.
    pub fn merge_pull(&self, number: u64) -> String {
        let pull = self.pull(number).expect("the pull request exists");
        let base = self.head(&pull.base).expect("the base branch exists");
        let sha = self.commit(&[&base, &pull.head_sha], &format!("Merge pull request #{number}"));
        self.set_branch(&pull.base, &sha);
        self.by_owner(|world, id, owner| world.close(id, number, true, owner));
        sha
    }

    fn by_owner<R>(&self, change: impl FnOnce(&mut super::state::World, u64, &str) -> R) -> R {
        self.shared.change(|world| {
            let owner = world.repo(self.id).owner.clone();
            change(world, self.id, &owner)
        })
    }

    /// Comments on a pull request. Returns the comment's id.
    pub fn comment(&self, number: u64, user: &str, body: &str) -> u64 {
        self.shared.change(|world| world.comment(self.id, number, user, body))
    }

    /// Sets a status on behalf of another CI system. Returns the status's id.
    pub fn set_status(
        &self,
        sha: &str,
        context: &str,
        state: &str,
        description: Option<&str>,
        url: Option<&str>,
    ) -> u64 {
        let status = Status {
            id: 0,
            state: state.into(),
            context: context.into(),
            description: description.map(String::from),
            target_url: url.map(String::from),
            creator: "other-ci".into(),
            at: 0,
        };
        self.shared.change(|world| {
            world.user(&status.creator);
            world.add_status(self.id, sha, status).id
        })
    }

    /// Returns all statuses of a commit, oldest first.
    pub fn statuses(&self, sha: &str) -> Vec<Status> {
        self.shared.world.lock().repo(self.id).statuses.get(sha).cloned().unwrap_or_default()
    }

    /// Returns the webhooks.
    pub fn hooks(&self) -> Vec<Hook> {
        self.shared.world.lock().repo(self.id).hooks.values().cloned().collect()
    }

    /// Renames the repository. Requests that use the old name are redirected.
    pub fn rename(&self, name: &str) {
        let renamed = self.shared.change(|world| repos::rename(world, self.id, name));
        assert!(renamed.is_ok(), "`{name}` is not a free and legal name");
    }

    /// Sets whether the repository is private. A private repository is visible only to its members.
    pub fn set_private(&self, private: bool) {
        self.shared.change(|world| world.repo_mut(self.id).private = private);
    }

    /// Grants or revokes a person's write access.
    pub fn set_member(&self, login: &str, member: bool) {
        self.shared.change(|world| {
            let login = world.user(login);
            let members = &mut world.repo_mut(self.id).members;
            if member { members.insert(login) } else { members.remove(&login) }
        });
    }

    /// Adds this repository to an installation that is limited to selected repositories, or removes
    /// it from the installation.
    pub fn set_installed(&self, installation: u64, installed: bool) {
        self.shared.change(|world| {
            let repos =
                world.installations.get_mut(&installation).and_then(|found| found.repos.as_mut());
            let repos = repos.expect("an installation with selected repositories");
            if installed { repos.insert(self.id) } else { repos.remove(&self.id) }
        });
    }

    /// Removes the repository. After this call, the methods of all clones of this value panic.
    pub fn remove(self) {
        self.shared.change(|world| repos::remove(world, self.id));
    }
}
