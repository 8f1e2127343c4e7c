//! Makes the user's programs visible in the sandbox.

use std::ffi::OsString;
use std::path::PathBuf;

use super::super::Settings;
use crate::command::Sandbox;

/// Makes the hidden directories in `PATH` and the rustup toolchains in the home directory visible.
/// Other files in the home directory remain hidden.
pub(super) fn share(
    mut settings: Settings,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Settings {
    let Sandbox::Isolated(mut isolation) = settings.sandbox else { return settings };
    let hidden = isolation.hidden.clone();
    // A directory must not become visible if it is or contains a hidden directory.
    let is_hidden = |path: &PathBuf| {
        hidden.iter().any(|dir| path.starts_with(dir))
            && !hidden.iter().any(|dir| dir.starts_with(path))
    };
    let path = variable("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&path).filter(|dir| is_hidden(dir) && dir.is_dir()) {
        isolation = isolation.read_only(dir);
    }
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".rustup"));
    let toolchains = variable("RUSTUP_HOME").map(PathBuf::from).or(home);
    if let Some(dir) = toolchains.filter(|dir| dir.is_dir()) {
        if let Some(text) = dir.to_str() {
            let env = settings.env.entry("RUSTUP_HOME".to_owned());
            env.or_insert_with(|| text.to_owned());
        }
        if is_hidden(&dir) {
            isolation = isolation.read_only(dir);
        }
    }
    settings.sandbox = isolation.into();
    settings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::command::Isolation;

    #[test]
    fn only_programs_of_the_home_directory_are_visible() {
        let home = tempfile::tempdir().unwrap();
        for dir in ["bin", ".rustup", ".ssh"] {
            fs::create_dir(home.path().join(dir)).unwrap();
        }
        let at = |name: &str| home.path().join(name);
        let settings = Settings {
            sandbox: Isolation::default().hide(home.path()).into(),
            ..Settings::default()
        };
        let path = std::env::join_paths([at("bin"), at("missing"), "/usr/bin".into(), at("")]);
        let settings = share(settings, |name| match name {
            "PATH" => path.as_ref().ok().cloned(),
            "HOME" => Some(home.path().into()),
            _ => None,
        });
        let Sandbox::Isolated(isolation) = settings.sandbox else { panic!("no sandbox") };
        let visible: Vec<PathBuf> = isolation.read_only.iter().map(|b| b.source.clone()).collect();
        assert_eq!(visible, [at("bin"), at(".rustup")]);
        assert_eq!(settings.env["RUSTUP_HOME"], at(".rustup").display().to_string());
    }
}
