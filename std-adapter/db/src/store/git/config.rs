//! Reads Git settings.

use std::env;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use gix_config::file::Metadata;
use gix_config::file::includes::{Options as Includes, conditional};
use gix_config::file::init::Options;
use gix_config::path::interpolate;
use gix_config::{File, Source};
use gix_error::Result;
use gix_ref::FullName;

/// Reads the settings of the repository at `dir`.
///
/// The user's and the system's settings are ignored, so that the server behaves the same for all
/// users and on all machines. Files included by the repository's settings are ignored too.
pub(super) fn of_repository(dir: &Path) -> Result<File> {
    let mut config = read([(Source::Local, dir.join("config"))])?;
    if is_set(&config, "extensions.worktreeConfig", false) {
        config.append(read([(Source::Worktree, dir.join("config.worktree"))])?)?;
    }
    Ok(config)
}

/// Reads the system, user, repository and environment settings that `git` uses in the repository at
/// `dir`.
pub(super) fn of_user(dir: &Path) -> Result<File> {
    let location = |source: Source| source.storage_location(&mut |name| env::var_os(name));
    let sources = [Source::System, Source::Git, Source::User];
    let mut config =
        read(sources.into_iter().filter_map(|source| Some((source, location(source)?))))?;
    config.append(of_repository(dir)?)?;
    let (home, branch) = (env::home_dir(), checked_out(dir));
    let interpolate =
        interpolate::Context { home_dir: home.as_deref(), ..interpolate::Context::default() };
    let conditional = conditional::Context {
        git_dir: Some(dir),
        branch_name: branch.as_ref().map(|branch| branch.as_ref()),
    };
    let options = Options { includes: Includes::follow(interpolate, conditional), ..options() };
    config.resolve_includes(options)?;
    config.append(File::from_env(options)?.unwrap_or_default())?;
    Ok(config)
}

/// Returns the value of a boolean setting, or `default` if the setting is missing or invalid.
pub(super) fn is_set(config: &File, key: &str, default: bool) -> bool {
    config.boolean(key).ok().flatten().unwrap_or(default)
}

/// Reads configuration files, which must be in ascending order of precedence. Ignores files that
/// are missing or cannot be read.
fn read(files: impl IntoIterator<Item = (Source, PathBuf)>) -> Result<File> {
    let mut files = files.into_iter().map(|(source, path)| Metadata::from(source).at(path));
    let found = File::from_paths_metadata_buf(&mut files, &mut Vec::new(), false, options())?;
    Ok(found.unwrap_or_default())
}

/// Returns options for reading configuration files without following their includes.
fn options() -> Options<'static> {
    Options { ignore_io_errors: true, ..Options::default() }
}

/// Returns the full name of the branch to which `HEAD` points.
fn checked_out(dir: &Path) -> Option<FullName> {
    let head = std::fs::read(dir.join("HEAD")).ok()?;
    FullName::try_from(head.strip_prefix(b"ref:")?.trim().as_bstr()).ok()
}
