//! Servers that are connected to and say nothing.

use std::net::TcpListener;
use std::time::Duration;

use super::*;

#[test]
fn who_says_nothing_is_given_up() {
    let here = Place::new("silent");
    let short = Duration::from_millis(200);
    let store = Git::open(&here.0)
        .unwrap()
        .with_fetch_limits(FetchLimits::default().with_timeout(Some(short)));
    // The system connects whoever comes.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, master) = (listener.local_addr().unwrap(), BranchName::new("master").unwrap());
    for scheme in ["git", "http", "https"] {
        let url = format!("{scheme}://{address}/x");
        assert_eq!(
            store.fetch("r", &url, &master),
            Err(FetchError::Git(GitError::TimedOut(short))),
            "{url}"
        );
    }
}

#[test]
fn who_is_not_there_is_not_waited_for() {
    let here = Place::new("nobody");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for patience in [None, Some(TIMEOUT)] {
        let store = Git::open(&here.0)
            .unwrap()
            .with_fetch_limits(FetchLimits::default().with_timeout(patience));
        for scheme in ["git", "http"] {
            let url = format!("{scheme}://{address}/x");
            let failed = store.fetch("r", &url, &BranchName::new("master").unwrap());
            assert!(
                matches!(&failed, Err(FetchError::Git(GitError::Failed(why))) if why.contains("refused") || why.contains("connect")),
                "{url}: {failed:?}"
            );
        }
    }
}
