//! Implements the bridge's GitHub calls with octocrab.

mod calls;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use datakit_github::{Hash, Pr, Ref, RefId, RefName, Repo, StatusId};
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use octocrab::{AuthState, FromResponse, Octocrab, OctocrabBuilder, Page};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::gate::{Account, Gate, GateError};
use super::json::{GitObject, GitRef, GitTag, IssueComment, Pull};
use super::{ApiError, PagedList, Result};

/// The ids of this app's check runs.
type RunIds = Mutex<BTreeMap<StatusId, u64>>;

/// The number of items per page, which is the maximum that GitHub allows.
pub(super) const PER_PAGE: usize = 100;

/// The maximum number of pages in a list. Reading a longer list returns an error.
const MAX_PAGES: usize = 10_000;

/// The maximum length of a chain of tags that point to other tags.
const MAX_TAG_DEPTH: usize = 8;

/// The maximum number of annotated tags whose commits are remembered.
const MAX_TAGS: usize = 100_000;

/// The API of GitHub or a GitHub Enterprise server.
#[derive(Debug)]
pub(crate) struct OctocrabApi {
    octocrab: Octocrab,
    pub(super) gate: Gate,
    /// The root URL of the API, without a trailing slash.
    base: String,
    /// The commits to which annotated tags point, keyed by the hashes of the tags. Entries remain
    /// valid because an annotated tag never changes. The value is `None` for a tag that does not
    /// point to a commit.
    tags: Mutex<HashMap<String, Option<Hash>>>,
    pub(super) runs: RunIds,
}

impl OctocrabApi {
    /// Creates a client for the API at `base`. Spawns a task on the current tokio runtime.
    pub(crate) fn new(gate: Gate, base: &Uri) -> OctocrabApi {
        let builder = OctocrabBuilder::new_empty().with_service(gate.clone());
        let octocrab = match builder.with_auth(AuthState::None).build() {
            Ok(octocrab) => octocrab,
            Err(never) => match never {},
        };
        let base = base.to_string().trim_end_matches('/').to_owned();
        let (tags, runs) = (Mutex::default(), RunIds::default());
        OctocrabApi { octocrab, gate, base, tags, runs }
    }

    /// Makes a call and returns the response if the call succeeded.
    async fn send(
        &self,
        method: Method,
        uri: &str,
        account: &str,
        body: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<Response<impl http_body::Body<Data = Bytes, Error = octocrab::Error> + Send>> {
        let path = uri.strip_prefix(&self.base).unwrap_or(uri);
        let call = format!("{method} {path}");
        let failed = |error| ApiError::failed(call.clone(), error);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(http::header::ACCEPT, "application/vnd.github+json")
            .extension(Account(Arc::from(account)));
        let request = self.octocrab.build_request(request, body).map_err(failed)?;
        let response = self.octocrab.execute(request).await.map_err(failed)?;
        octocrab::map_github_error(response).await.map_err(|error| classify(call, error))
    }

    /// Makes a call that applies to a repository. `path` is relative to the repository's API path.
    pub(super) async fn call<T: FromResponse>(
        &self,
        method: Method,
        repo: &Repo,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T> {
        let uri = self.uri(repo, path);
        let response = self.send(method.clone(), &uri, repo.user(), body).await?;
        let invalid = |error| ApiError::failed(format!("{method} {path}"), error);
        T::from_response(response).await.map_err(invalid)
    }

    /// Makes a call and discards the response.
    async fn act(
        &self,
        method: Method,
        repo: &Repo,
        path: &str,
        body: Option<&Value>,
    ) -> Result<()> {
        let uri = self.uri(repo, path);
        let response = self.send(method, &uri, repo.user(), body).await?;
        // The gate has already read the entire body, so collecting it neither blocks nor fails.
        let _ = response.into_body().collect().await;
        Ok(())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, repo: &Repo, path: &str) -> Result<T> {
        self.call(Method::GET, repo, path, None).await
    }

    /// Reads all pages of a list. `path` ends with `?` or `&`.
    async fn list<T: DeserializeOwned>(&self, repo: &Repo, path: &str) -> Result<PagedList<T>> {
        let mut page: Page<T> =
            self.call(Method::GET, repo, &format!("{path}per_page={PER_PAGE}"), None).await?;
        let mut list = PagedList { items: page.take_items(), pages: 1 };
        while let Some(next) = page.next.take() {
            let (call, next) = (format!("GET {}", next.path()), next.to_string());
            if list.pages >= MAX_PAGES {
                return Err(ApiError::failed(call, "the list has too many pages"));
            }
            let response = self.send(Method::GET, &next, repo.user(), None::<&Value>).await?;
            page = Page::from_response(response)
                .await
                .map_err(|error| ApiError::failed(call, error))?;
            list.items.extend(page.take_items());
            list.pages += 1;
        }
        Ok(list)
    }

    fn uri(&self, repo: &Repo, path: &str) -> String {
        format!("{}/repos/{}/{}{path}", self.base, repo.user(), repo.name())
    }

    /// Returns `Ok` if the repository is visible.
    async fn check_visible(&self, repo: &Repo) -> Result<()> {
        self.act(Method::GET, repo, "", None).await
    }

    /// Converts a "not found" error to `None`. Returns an error if the repository itself is not
    /// visible.
    async fn optional<T>(&self, repo: &Repo, found: Result<T>) -> Result<Option<T>> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(ApiError::NotFound { .. }) => {
                self.check_visible(repo).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn with_comments(&self, repo: &Repo, pull: &Pull) -> Result<Option<Pr>> {
        let comments: Vec<IssueComment> = if pull.may_have_comments() {
            self.list(repo, &format!("/issues/{}/comments?", pull.number)).await?.items
        } else {
            Vec::new()
        };
        Ok(pull.to_pr(repo, comments))
    }

    /// Returns the ref, or `None` if it is not a branch or tag that points to a commit.
    async fn to_ref(&self, repo: &Repo, found: &GitRef) -> Result<Option<Ref>> {
        let short = found.name.strip_prefix("refs/").unwrap_or(&found.name);
        if !short.starts_with("heads/") && !short.starts_with("tags/") {
            return Ok(None);
        }
        let Ok(name) = RefName::parse(short) else {
            tracing::warn!(%repo, name = short, "left out a ref with a name that is too long");
            return Ok(None);
        };
        let id = RefId { repo: repo.clone(), name };
        Ok(self.commit_of(repo, &found.object).await?.map(|head| Ref { id, head }))
    }

    /// Returns the commit to which a ref or an annotated tag points, or `None` if it points to
    /// another kind of object.
    async fn commit_of(&self, repo: &Repo, object: &GitObject) -> Result<Option<Hash>> {
        if let Some(known) = self.tags.lock().get(&object.sha) {
            return Ok(*known);
        }
        let mut current = object.clone();
        for _ in 0..MAX_TAG_DEPTH {
            if current.kind != "tag" {
                break;
            }
            let tag: GitTag = self.get(repo, &format!("/git/tags/{}", current.sha)).await?;
            current = tag.object;
        }
        let commit = Hash::parse(&current.sha).ok().filter(|_| current.kind == "commit");
        if object.kind == "tag" {
            let mut tags = self.tags.lock();
            if tags.len() >= MAX_TAGS {
                tags.clear();
            }
            tags.insert(object.sha.clone(), commit);
        }
        Ok(commit)
    }

    /// Reads the refs whose names start with `refs/` followed by `prefix`.
    async fn matching_refs(&self, repo: &Repo, prefix: &str) -> Result<PagedList<GitRef>> {
        self.list(repo, &format!("/git/matching-refs/{prefix}?")).await
    }

    /// Reads all branches and tags, with a single call if all refs fit on one page. Otherwise,
    /// reads branches and tags separately, because most refs in a large repository belong to pull
    /// requests.
    async fn all_refs(&self, repo: &Repo) -> Result<PagedList<GitRef>> {
        let path = format!("/git/matching-refs/?per_page={PER_PAGE}");
        let page: Result<Page<GitRef>> = self.call(Method::GET, repo, &path, None).await;
        match page {
            Ok(Page { items, next: None, .. }) => return Ok(PagedList { items, pages: 1 }),
            Ok(_) => {}
            Err(error) if is_too_long(&error) => {}
            Err(error) => return Err(error),
        }
        let mut heads = self.matching_refs(repo, "heads/").await?;
        let tags = self.matching_refs(repo, "tags/").await?;
        heads.items.extend(tags.items);
        heads.pages = heads.pages.max(tags.pages);
        Ok(heads)
    }
}

/// Returns `true` if the response body could not be read completely.
fn is_too_long(error: &ApiError) -> bool {
    let first: &dyn std::error::Error = error;
    let mut causes = std::iter::successors(Some(first), |error| error.source());
    causes.any(|cause| matches!(cause.downcast_ref(), Some(GateError::Body(_))))
}

fn classify(call: String, error: octocrab::Error) -> ApiError {
    let octocrab::Error::GitHub { source, .. } = &error else {
        return ApiError::failed(call, error);
    };
    let details = source.errors.iter().flatten().filter_map(|error| {
        error.get("message").or(error.get("field")).and_then(Value::as_str).map(str::to_owned)
    });
    let message = std::iter::once(one_line(&source.message)).chain(details);
    let message = message.collect::<Vec<String>>().join(": ");
    match source.status_code.as_u16() {
        404 | 410 => ApiError::NotFound { call },
        status @ (400 | 405 | 409 | 422) => ApiError::Refused { call, status, message },
        status => ApiError::failed(call, format!("GitHub answered {status}: {message}")),
    }
}

/// Shortens an error message to one line. A proxy may send an entire HTML page.
fn one_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    line.chars().take(200).collect()
}
