//! Fetching by HTTP.

#[path = "../../../../tests/common/http_backend.rs"]
mod http_backend;

use http_backend::serve;

use super::*;

#[test]
fn a_branch_is_fetched_by_http() {
    let (here, there) = (Place::new("http-here"), Place::new("http-there"));
    let (store, other) = (Git::open(&here.0).unwrap(), Git::open(&there.0).unwrap());
    let id = commit(&other, "far");
    assert!(go(&other, "master", None, Some(id)));
    let address = serve(&there.0, true);
    let (url, master) = (format!("http://{address}/.git"), BranchName::new("master").unwrap());
    assert_eq!(store.fetch("r", &url, &master), Ok(id));
    assert_eq!(store.read(id).unwrap().unwrap().kind, ObjectKind::Commit);
    assert_eq!(here.git(&["for-each-ref", "--format=%(refname)"]), "refs/remotes/r/master");
    assert_eq!(
        store.fetch("r", &url, &BranchName::new("no").unwrap()),
        Err(FetchError::NoSuchBranch)
    );
    let failed = |url: &str| match store.fetch("r", url, &master) {
        Err(FetchError::Git(GitError::Failed(why))) => why,
        other => panic!("{url}: {other:?}"),
    };
    failed(&format!("http://{address}/nowhere"));
    // Who does not speak TLS is no disaster, and who wants a password does not get one.
    failed(&format!("https://{address}/.git"));
    failed(&format!("http://{}/.git", serve(&there.0, false)));
}
