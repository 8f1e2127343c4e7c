//! Tests for the settings of new and existing repositories.

use std::fs;

use super::TempRepository;
use crate::store::GitStore;

#[test]
fn git_accepts_a_new_repository() {
    let repository = TempRepository::new("config-new");
    drop(GitStore::open(&repository.0).unwrap());
    for (args, expected) in [
        (&["rev-parse", "--is-bare-repository"][..], "true"),
        (&["symbolic-ref", "HEAD"], "refs/heads/master"),
        (&["config", "core.repositoryFormatVersion"], "0"),
        (&["config", "--type=bool", "core.fileMode"], "true"),
        (&["config", "--type=bool", "core.logAllRefUpdates"], "false"),
        (&["fsck", "--strict"], ""),
    ] {
        assert_eq!(repository.git(args), expected, "{args:?}");
    }
    drop(GitStore::open(&repository.0).unwrap());
}

#[test]
fn the_identity_comes_from_the_repository_and_its_included_files() {
    let repository = TempRepository::new("config-identity");
    let identity = || {
        let identity = GitStore::open(&repository.0).unwrap().configured_identity();
        identity.unwrap().to_string()
    };
    repository.git(&["init", "-q", "-b", "master", "."]);
    repository.git(&["config", "user.name", "A B"]);
    repository.git(&["config", "user.email", "a@b"]);
    assert_eq!(identity(), "A B <a@b>");
    for (key, file, expected) in [
        ("include.path", "always", "A B <always@x>"),
        ("includeIf.onbranch:other.path", "never", "A B <always@x>"),
        ("includeIf.onbranch:master.path", "branch", "A B <branch@x>"),
        ("includeIf.gitdir:.git.path", "dir", "A B <dir@x>"),
    ] {
        let text = format!("[user]\n\temail = {file}@x\n");
        fs::write(repository.0.join(".git").join(file), text).unwrap();
        repository.git(&["config", "--add", key, file]);
        assert_eq!(identity(), expected, "{key}");
        assert!(expected.contains(&repository.git(&["config", "user.email"])), "{key}");
    }
}

#[test]
fn included_files_do_not_change_how_a_repository_is_served() {
    let repository = TempRepository::new("config-included");
    repository.git(&["init", "-q", "--bare", ".git"]);
    let included = "[extensions]\n\tpartialClone = origin\n";
    fs::write(repository.0.join(".git/included"), included).unwrap();
    repository.git(&["config", "include.path", "included"]);
    assert!(!GitStore::open(&repository.0).unwrap().is_partial_clone());
    repository.git(&["config", "extensions.partialClone", "origin"]);
    assert!(GitStore::open(&repository.0).unwrap().is_partial_clone());
}

#[test]
fn malformed_settings_are_refused() {
    let repository = TempRepository::new("config-malformed");
    repository.git(&["init", "-q", "--bare", ".git"]);
    fs::write(repository.0.join(".git/config"), "[core\n").unwrap();
    let error = GitStore::open(&repository.0).unwrap_err().to_string();
    assert!(error.contains("config cannot be read"), "{error}");
}
