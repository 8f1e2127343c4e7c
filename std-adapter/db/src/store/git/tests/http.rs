//! Tests for fetches over HTTP.

#[path = "../../../../tests/common/http_backend.rs"]
mod http_backend;

use http_backend::serve;

use super::*;

#[test]
fn a_branch_is_fetched_over_http() {
    let (here, there) = (TempRepository::new("http-here"), TempRepository::new("http-there"));
    let (store, other) = (GitStore::open(&here.0).unwrap(), GitStore::open(&there.0).unwrap());
    let id = write_commit(&other, "far");
    assert!(set_branch(&other, "master", None, Some(id)));
    let address = serve(&there.0, true);
    let (url, master) = (format!("http://{address}/.git"), BranchName::new("master").unwrap());
    assert_eq!(store.fetch("r", &url, &master), Ok(id));
    assert_eq!(store.read(id).unwrap().unwrap().kind, ObjectKind::Commit);
    assert_eq!(here.git(&["for-each-ref", "--format=%(refname)"]), "refs/remotes/r/master");
    let missing = BranchName::new("no").unwrap();
    assert_eq!(store.fetch("r", &url, &missing), Err(FetchError::NoSuchBranch));
    // Fetch from a path that does not exist, from an `https` URL on a server that does not support
    // TLS, and from a server that requires a password.
    for url in [
        format!("http://{address}/nowhere"),
        format!("https://{address}/.git"),
        format!("http://{}/.git", serve(&there.0, false)),
    ] {
        let failed = store.fetch("r", &url, &master);
        assert!(matches!(failed, Err(FetchError::Git(GitError::Failed(_)))), "{url}: {failed:?}");
    }
}
