//! Computes the files that the branch must contain for a repository on the fake GitHub.

use std::collections::{BTreeMap, BTreeSet};

use datakit_tests::github::{GitHub, Repo, Repository};

/// Returns the files for a repository: all refs, all open pull requests, and the statuses of their
/// heads.
pub(crate) fn files(repository: &Repository) -> BTreeMap<String, String> {
    let repo = repository.state();
    let name = format!("{}/{}", repo.owner, repo.name);
    let mut files = BTreeMap::from([(format!("{name}/.monitor"), String::new())]);
    let mut heads = BTreeSet::new();
    for (full, object) in &repo.refs {
        let short = full.strip_prefix("refs/").unwrap();
        let is_known = short.starts_with("heads/") || short.starts_with("tags/");
        if let Some(commit) = commit_of(&repo, &object.kind, &object.sha).filter(|_| is_known) {
            files.insert(format!("{name}/ref/{short}/head"), line(&commit));
            heads.insert(commit);
        }
    }
    for pull in repo.pulls.values().filter(|pull| pull.open) {
        let dir = format!("{name}/pr/{}", pull.number);
        for (file, value) in [
            ("head", &*pull.head_sha),
            ("title", &*pull.title),
            ("owner", &*pull.user),
            ("base", &*pull.base),
            ("state", "open"),
        ] {
            files.insert(format!("{dir}/{file}"), line(value));
        }
        let description = (0, pull.user.clone(), pull.body.clone().unwrap_or_default());
        let comments = repo.comments.values().filter(|comment| comment.number == pull.number);
        let comments =
            comments.map(|comment| (comment.id, comment.user.clone(), comment.body.clone()));
        for (index, (id, user, body)) in std::iter::once(description).chain(comments).enumerate() {
            let dir = format!("{dir}/comments/{index}");
            files.insert(format!("{dir}/id"), line(&id.to_string()));
            files.insert(format!("{dir}/user"), line(&user));
            files.insert(format!("{dir}/body"), body);
        }
        heads.insert(pull.head_sha.clone());
    }
    for head in heads {
        // A later status replaces an earlier status with the same context.
        for status in repo.statuses.get(&head).into_iter().flatten() {
            let dir = format!("{name}/commit/{head}/status/{}", status.context);
            files.insert(format!("{dir}/state"), line(&status.state));
            for (file, value) in
                [("description", &status.description), ("target_url", &status.target_url)]
            {
                match value {
                    Some(value) => files.insert(format!("{dir}/{file}"), line(value)),
                    None => files.remove(&format!("{dir}/{file}")),
                };
            }
        }
    }
    files
}

fn commit_of(repo: &Repo, kind: &str, sha: &str) -> Option<String> {
    match kind {
        "commit" => Some(sha.to_owned()),
        "tag" => {
            let object = &repo.tags.get(sha)?.object;
            commit_of(repo, &object.kind, &object.sha)
        }
        _ => None,
    }
}

fn line(text: &str) -> String {
    format!("{text}\n")
}

/// Returns all calls to the fake GitHub except reads.
pub(crate) fn writes(github: &GitHub) -> Vec<String> {
    let calls = github.calls().into_iter().filter(|call| !call.route.starts_with("GET "));
    calls.map(|call| format!("{} {}", call.route, call.body)).collect()
}
