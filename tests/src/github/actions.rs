//! Changes repositories and emits the corresponding events. These methods are used by both the REST
//! API and the tests.

use ring::digest;

use super::events;
use super::reply::hex;
use super::repo::{Comment, Commit, Object, Pull, Repo, Status};
use super::state::{World, most};

/// The hash of Git's empty tree.
pub(crate) const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// Computes the hash of an object in the same way as Git.
fn git_hash(kind: &str, text: &str) -> String {
    let object = format!("{kind} {}\0{text}", text.len());
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, object.as_bytes()).as_ref())
}

fn person(login: &str, at: i64) -> String {
    format!("{login} <{login}@users.noreply.github.test> {at} +0000")
}

impl World {
    pub(crate) fn repo(&self, id: u64) -> &Repo {
        &self.repos[&id]
    }

    pub(crate) fn repo_mut(&mut self, id: u64) -> &mut Repo {
        self.repos.get_mut(&id).expect("the repository was removed")
    }

    /// Creates a repository whose default branch, `master`, has one commit.
    pub(crate) fn create_repo(&mut self, owner: &str, name: &str, member: &str) -> u64 {
        assert!(self.repos.len() < most::REPOS, "more than {} repositories", most::REPOS);
        let (owner, member) = (self.user(owner), self.user(member));
        let (id, now) = (self.id(), self.now());
        let repo = Repo {
            id,
            members: [owner.clone(), member].into(),
            owner: owner.clone(),
            name: name.into(),
            private: false,
            default_branch: "master".into(),
            created: now,
            pushed: now,
            commits: Default::default(),
            tags: Default::default(),
            refs: Default::default(),
            pulls: Default::default(),
            comments: Default::default(),
            statuses: Default::default(),
            suites: Default::default(),
            runs: Default::default(),
            hooks: Default::default(),
            next_number: 1,
        };
        self.names.insert(repo.full_name().to_lowercase(), id);
        self.repos.insert(id, repo);
        let sha = self.add_commit(id, Vec::new(), "Initial commit", &owner, EMPTY_TREE);
        self.repo_mut(id).refs.insert("refs/heads/master".into(), Object::commit(&sha));
        id
    }

    /// Adds a commit without changing any ref.
    pub(crate) fn add_commit(
        &mut self,
        repo: u64,
        parents: Vec<String>,
        message: &str,
        author: &str,
        tree: &str,
    ) -> String {
        let at = self.now();
        let repo = self.repo_mut(repo);
        assert!(repo.commits.len() < most::COMMITS, "more than {} commits", most::COMMITS);
        let lines: String = parents.iter().map(|sha| format!("parent {sha}\n")).collect();
        let who = person(author, at);
        let text = format!("tree {tree}\n{lines}author {who}\ncommitter {who}\n\n{message}");
        let sha = git_hash("commit", &text);
        let commit = Commit {
            sha: sha.clone(),
            tree: tree.into(),
            parents,
            message: message.into(),
            author: author.into(),
            at,
        };
        repo.commits.insert(sha.clone(), commit);
        sha
    }

    /// Adds an annotated tag without creating its ref.
    pub(crate) fn add_tag(
        &mut self,
        repo: u64,
        name: &str,
        object: Object,
        message: &str,
        tagger: &str,
    ) -> super::repo::Tag {
        let at = self.now();
        let text = format!(
            "object {}\ntype {}\ntag {name}\ntagger {}\n\n{message}",
            object.sha,
            object.kind,
            person(tagger, at)
        );
        let tag = super::repo::Tag {
            sha: git_hash("tag", &text),
            name: name.into(),
            message: message.into(),
            tagger: tagger.into(),
            object,
            at,
        };
        let tags = &mut self.repo_mut(repo).tags;
        assert!(tags.len() < most::REFS, "more than {} tags", most::REFS);
        tags.insert(tag.sha.clone(), tag.clone());
        tag
    }

    /// Creates or moves a ref, and updates its pull requests if the ref is a branch.
    pub(crate) fn set_ref(&mut self, id: u64, name: &str, object: Object, sender: &str) {
        let now = self.now();
        let repo = self.repo_mut(id);
        assert!(repo.refs.len() < most::REFS, "more than {} refs", most::REFS);
        let before = repo.refs.insert(name.into(), object.clone());
        if before.as_ref() == Some(&object) {
            return;
        }
        repo.pushed = now;
        if before.is_none() {
            events::create(self, id, name, sender);
        }
        events::push(self, id, name, before.as_ref(), Some(&object), sender);
        let Some(branch) = name.strip_prefix("refs/heads/") else { return };
        for number in self.pulls_from(id, branch) {
            let pull = self.repo_mut(id).pulls.get_mut(&number).expect("the number was just found");
            let before = std::mem::replace(&mut pull.head_sha, object.sha.clone());
            pull.updated = now;
            self.repo_mut(id).refs.insert(format!("refs/pull/{number}/head"), object.clone());
            events::synchronize(self, id, number, &before, sender);
        }
    }

    /// Deletes a ref, and closes its open pull requests if the ref is a branch.
    pub(crate) fn delete_ref(&mut self, id: u64, name: &str, sender: &str) -> bool {
        let Some(before) = self.repo_mut(id).refs.remove(name) else { return false };
        events::delete(self, id, name, sender);
        events::push(self, id, name, Some(&before), None, sender);
        if let Some(branch) = name.strip_prefix("refs/heads/") {
            let onto = self.repo(id).pulls.values().filter(|pull| pull.open && pull.base == branch);
            let mut numbers: Vec<u64> = onto.map(|pull| pull.number).collect();
            numbers.extend(self.pulls_from(id, branch));
            numbers.iter().for_each(|number| self.close(id, *number, false, sender));
        }
        true
    }

    /// Returns the numbers of the open pull requests from a branch in this repository.
    fn pulls_from(&self, id: u64, branch: &str) -> Vec<u64> {
        let repo = self.repo(id);
        let from =
            |pull: &&Pull| pull.open && pull.head_owner == repo.owner && pull.head_ref == branch;
        repo.pulls.values().filter(from).map(|pull| pull.number).collect()
    }

    pub(crate) fn open_pull(&mut self, id: u64, mut pull: Pull) -> u64 {
        pull.id = self.id();
        let user = self.user(&pull.user);
        let repo = self.repo_mut(id);
        assert!(repo.pulls.len() < most::PULLS, "more than {} pull requests", most::PULLS);
        let number = repo.next_number;
        repo.next_number += 1;
        repo.refs.insert(format!("refs/pull/{number}/head"), Object::commit(&pull.head_sha));
        repo.pulls.insert(number, Pull { number, ..pull });
        events::pull(self, id, number, "opened", &user);
        number
    }

    pub(crate) fn close(&mut self, id: u64, number: u64, merged: bool, sender: &str) {
        let now = self.now();
        let Some(pull) = self.repo_mut(id).pulls.get_mut(&number).filter(|pull| pull.open) else {
            return;
        };
        (pull.open, pull.merged) = (false, merged);
        (pull.closed, pull.updated) = (Some(now), now);
        events::pull(self, id, number, "closed", sender);
    }

    pub(crate) fn reopen(&mut self, id: u64, number: u64, sender: &str) {
        let now = self.now();
        let Some(pull) = self.repo_mut(id).pulls.get_mut(&number) else { return };
        if pull.open || pull.merged {
            return;
        }
        (pull.open, pull.closed, pull.updated) = (true, None, now);
        events::pull(self, id, number, "reopened", sender);
    }

    /// Changes the title, description or base branch of a pull request.
    pub(crate) fn edit_pull(
        &mut self,
        id: u64,
        number: u64,
        title: Option<String>,
        body: Option<String>,
        base: Option<String>,
        sender: &str,
    ) {
        let now = self.now();
        let head = base.as_ref().and_then(|base| self.repo(id).head(base)).map(str::to_string);
        let Some(pull) = self.repo_mut(id).pulls.get_mut(&number) else { return };
        let before = pull.clone();
        pull.title = title.unwrap_or(pull.title.clone());
        pull.body = body.or(pull.body.take());
        if let (Some(base), Some(head)) = (base, head) {
            (pull.base, pull.base_sha) = (base, head);
        }
        if (&pull.title, &pull.body, &pull.base) != (&before.title, &before.body, &before.base) {
            pull.updated = now;
            events::edited(self, id, &before, sender);
        }
    }

    pub(crate) fn comment(&mut self, id: u64, number: u64, user: &str, body: &str) -> u64 {
        let (comment, now, user) = (self.id(), self.now(), self.user(user));
        let repo = self.repo_mut(id);
        assert!(repo.comments.len() < most::COMMENTS, "more than {} comments", most::COMMENTS);
        if let Some(pull) = repo.pulls.get_mut(&number) {
            pull.updated = now;
        }
        let new = Comment {
            id: comment,
            number,
            user: user.clone(),
            body: body.into(),
            created: now,
            updated: now,
        };
        repo.comments.insert(comment, new.clone());
        events::comment(self, id, &new, "created", &user);
        comment
    }

    /// Adds a status. The caller must have checked the limit on the number of statuses per context.
    pub(crate) fn add_status(&mut self, id: u64, sha: &str, mut status: Status) -> Status {
        (status.id, status.at) = (self.id(), self.now());
        self.repo_mut(id).statuses.entry(sha.into()).or_default().push(status.clone());
        events::status(self, id, sha, &status);
        status
    }
}
