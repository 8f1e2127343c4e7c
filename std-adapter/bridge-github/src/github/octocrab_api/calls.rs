//! Implements the methods of [`Api`].

use datakit_github::{Commit, Hash, Pr, PrId, Ref, RefId, RefName, Repo, Status};
use http::Method;
use serde_json::json;

use super::{MAX_PAGES, OctocrabApi, PER_PAGE};
use crate::github::json::{Combined, GitRef, HookJson, Pull, object};
use crate::github::{Api, ApiError, Hook, PagedList, PrChange, Result};

/// The events that a webhook delivers.
const EVENTS: [&str; 6] = ["create", "delete", "issue_comment", "pull_request", "push", "status"];

/// Percent-encodes a ref name for use in a URL path.
fn encode(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn full_name(name: &RefName) -> Result<String> {
    String::from_utf8([&b"refs/"[..], &name.to_bytes()].concat()).map_err(|_| ApiError::Refused {
        call: format!("write {name}"),
        status: 422,
        message: "GitHub's API accepts only names in UTF-8".to_owned(),
    })
}

impl Api for OctocrabApi {
    async fn open_prs(&self, repo: &Repo) -> Result<PagedList<Pr>> {
        let path = "/pulls?state=open&sort=created&direction=asc&";
        let pulls: PagedList<Pull> = self.list(repo, path).await?;
        let mut prs = Vec::with_capacity(pulls.items.len());
        for pull in &pulls.items {
            prs.extend(self.with_comments(repo, pull).await?);
        }
        Ok(PagedList { items: prs, pages: pulls.pages })
    }

    async fn pr(&self, id: &PrId) -> Result<Option<Pr>> {
        let pull = self.get(&id.repo, &format!("/pulls/{}", id.number)).await;
        let pull: Option<Pull> = self.optional(&id.repo, pull).await?;
        match pull {
            Some(pull) => self.with_comments(&id.repo, &pull).await,
            None => Ok(None),
        }
    }

    async fn refs(&self, repo: &Repo) -> Result<PagedList<Ref>> {
        let found = self.all_refs(repo).await?;
        let mut refs = Vec::with_capacity(found.items.len());
        for reference in &found.items {
            refs.extend(self.to_ref(repo, reference).await?);
        }
        Ok(PagedList { items: refs, pages: found.pages })
    }

    async fn reference(&self, id: &RefId) -> Result<Option<Ref>> {
        let path = format!("/git/ref/{}", encode(&id.name.to_bytes()));
        let found = self.get(&id.repo, &path).await;
        let found: Option<GitRef> = self.optional(&id.repo, found).await?;
        match found {
            Some(found) => self.to_ref(&id.repo, &found).await,
            None => Ok(None),
        }
    }

    async fn statuses(&self, commit: &Commit) -> Result<Vec<Status>> {
        let mut statuses = Vec::new();
        let mut read = 0;
        for page in 1..=MAX_PAGES {
            let path = format!("/commits/{}/status?per_page={PER_PAGE}&page={page}", commit.hash);
            let found: Combined = self.get(&commit.repo, &path).await?;
            statuses.extend(found.statuses.iter().filter_map(|status| status.to_status(commit)));
            read += found.statuses.len();
            if found.statuses.is_empty() || read >= found.total_count {
                break;
            }
        }
        statuses.extend(self.check_runs(commit).await?);
        Ok(statuses)
    }

    async fn set_pr(&self, change: &PrChange) -> Result<Pr> {
        let PrChange { id, title, state, base } = change;
        let body = object([
            ("title", title.as_deref().map(|title| json!(title))),
            ("state", state.map(|state| json!(state.as_str()))),
            ("base", base.as_deref().map(|base| json!(base))),
        ]);
        let path = format!("/pulls/{}", id.number);
        let pull: Pull = self.call(Method::PATCH, &id.repo, &path, Some(&body)).await?;
        let invalid = || ApiError::failed(format!("PATCH {path}"), "the head is not a hash");
        self.with_comments(&id.repo, &pull).await?.ok_or_else(invalid)
    }

    async fn create_ref(&self, reference: &Ref) -> Result<()> {
        let Ref { id, head } = reference;
        let body = json!({ "ref": full_name(&id.name)?, "sha": head.to_string() });
        self.act(Method::POST, &id.repo, "/git/refs", Some(&body)).await
    }

    async fn move_ref(&self, id: &RefId, head: Hash) -> Result<()> {
        let body = json!({ "sha": head.to_string(), "force": true });
        let path = format!("/git/refs/{}", encode(&id.name.to_bytes()));
        self.act(Method::PATCH, &id.repo, &path, Some(&body)).await
    }

    async fn delete_ref(&self, id: &RefId) -> Result<()> {
        let path = format!("/git/refs/{}", encode(&id.name.to_bytes()));
        self.act(Method::DELETE, &id.repo, &path, None).await
    }

    async fn set_status(&self, status: &Status) -> Result<()> {
        if self.set_check_run(status).await? {
            return Ok(());
        }
        let Status { id, state, description, target_url } = status;
        let body = object([
            ("state", Some(json!(state.as_str()))),
            ("context", Some(json!(id.context.as_str()))),
            ("description", description.as_deref().map(|text| json!(text))),
            ("target_url", target_url.as_deref().map(|url| json!(url))),
        ]);
        let path = format!("/statuses/{}", id.commit.hash);
        self.act(Method::POST, &id.commit.repo, &path, Some(&body)).await
    }

    async fn ensure_hook(&self, repo: &Repo, hook: &Hook) -> Result<()> {
        let hooks: PagedList<HookJson> = self.list(repo, "/hooks?").await?;
        let body = json!({
            "name": "web",
            "active": true,
            "events": EVENTS,
            "config": {
                "url": hook.url, "content_type": "json", "secret": hook.secret.expose(),
            },
        });
        let is_ours = |found: &&HookJson| found.config.url.as_deref() == Some(&*hook.url);
        match hooks.items.iter().find(is_ours) {
            // GitHub does not reveal the current secret, so it is set on every update.
            Some(found) => {
                let path = format!("/hooks/{}", found.id);
                self.act(Method::PATCH, repo, &path, Some(&body)).await
            }
            None => self.act(Method::POST, repo, "/hooks", Some(&body)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_refs_are_encoded() {
        let name = RefName::parse("heads/fix/c++#1@é%").unwrap();
        assert_eq!(encode(&name.to_bytes()), "heads/fix/c%2B%2B%231%40%C3%A9%25");
    }
}
