//! The settings for the steps of a repository's pipelines.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use datakit_ci::command::Image;
use datakit_ci::pipeline::{Caches, Settings};
use datakit_github::Repo;

use super::server::Server;

/// The maximum size of a secret in bytes.
const SECRET_MAX: u64 = 64 << 10;

/// Returns the settings for a repository's steps. Secrets and caches that cannot be read are left
/// out, and the reason is logged.
pub(super) fn step_settings(server: &Server, repo: &Repo) -> Settings {
    let mut settings = Settings::default();
    settings.pools = server.pools.clone();
    settings.sandbox = server.sandbox.clone();
    let images = server.config.images.iter();
    let images = images.map(|(name, dir)| (name.clone(), Image::Directory(dir.0.clone())));
    settings.images = images.collect();
    settings.podman = Some(server.work_dir.join("images"));
    let untrusted = &server.config.untrusted;
    settings.untrusted_limits = untrusted.limits();
    settings.untrusted_timeout = untrusted.timeout().unwrap_or(settings.untrusted_timeout);
    settings.untrusted_network = untrusted.network;
    settings.env.clone_from(&server.config.env);
    settings.log = server.config.logs.limits();
    let secrets = server.secrets_dir.join("projects").join(repo.user()).join(repo.name());
    match read_secrets(&secrets) {
        Ok(secrets) => settings.secrets = secrets,
        Err(error) => {
            tracing::warn!(dir = %secrets.display(), %error, "the secrets cannot be read");
        }
    }
    let caches = server.work_dir.join("caches").join(repo.user()).join(repo.name());
    match Caches::open(&caches) {
        Ok(caches) => settings.caches = Some(caches),
        Err(error) => tracing::warn!(dir = %caches.display(), %error, "caches are not available"),
    }
    settings
}

/// Reads the secrets of a repository. Each file in the directory contains one secret.
fn read_secrets(dir: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut secrets = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(secrets),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = std::fs::metadata(entry.path())?;
        if !found.is_file() || name.starts_with('.') {
            continue;
        }
        if found.len() > SECRET_MAX {
            let text = format!("{name} has {} bytes; the limit is {SECRET_MAX}", found.len());
            return Err(io::Error::other(text));
        }
        let value = std::fs::read_to_string(entry.path())?;
        secrets.insert(name, value.trim_end_matches('\n').to_owned());
    }
    Ok(secrets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_a_secret() {
        let dir = tempfile::TempDir::new().unwrap();
        assert!(read_secrets(&dir.path().join("absent")).unwrap().is_empty());
        std::fs::write(dir.path().join("TOKEN"), "abc\n").unwrap();
        std::fs::write(dir.path().join(".hidden"), "x").unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        let secrets = read_secrets(dir.path()).unwrap();
        assert_eq!(secrets.into_iter().collect::<Vec<_>>(), [("TOKEN".into(), "abc".into())]);
        std::fs::write(dir.path().join("LARGE"), vec![b'x'; 70_000]).unwrap();
        let error = read_secrets(dir.path()).unwrap_err().to_string();
        assert_eq!(error, "LARGE has 70000 bytes; the limit is 65536");
    }
}
