//! Finds the credentials in command-line options, environment variables and files.

use std::env;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Args;
use crate::github::{App, AppKey, Credentials};
use crate::secret::Secret;

/// The environment variable that contains the token.
const VARIABLE: &str = "GITHUB_TOKEN";

/// The name of the file that is written by `git jar`, a tool from the original program's GitHub
/// library.
const COOKIE: &str = "datakit-github-cookie";

/// The maximum size of a secret file.
const MAX_SIZE: u64 = 64 << 10;

/// Returns the credentials given on the command line, or the default credentials if none were
/// given.
///
/// # Errors
/// Returns an error message if no credentials are found, or if a file is invalid or readable by
/// others. The message never contains a secret.
pub(crate) fn find(args: &Args) -> Result<Credentials, String> {
    if let (Some(id), Some(file)) = (args.app_id, &args.app_key_file) {
        let pem = read(file)?;
        let key = AppKey::parse(id, pem.expose().as_bytes());
        let key = key.map_err(|reason| format!("{}: {reason}", file.display()))?;
        return Ok(Credentials::App(Box::new(App::new(key))));
    }
    if let Some(file) = &args.token_file {
        return token_of(file).map(Credentials::Token);
    }
    if let Some(token) = env::var(VARIABLE).ok().filter(|token| !token.trim().is_empty()) {
        return Ok(Credentials::Token(Secret::new(&token)));
    }
    let files = cookie_files();
    for file in &files {
        match file.try_exists() {
            Ok(false) => {}
            _ => return token_of(file).map(Credentials::Token),
        }
    }
    Err(missing(&files))
}

fn cookie_files() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".github/jar").join(COOKIE));
    home.into_iter().chain([Path::new("/run/secrets").join(COOKIE)]).collect()
}

fn missing(files: &[PathBuf]) -> String {
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let first = names.first().map_or(COOKIE, String::as_str);
    format!(
        "there is no token for GitHub: neither {VARIABLE} nor {} exists. Create a token with the \
         scope `repo` at https://github.com/settings/tokens and store it: \
         (umask 077; mkdir -p ~/.github/jar; cat >{first})",
        names.join(" nor ")
    )
}

/// A token in the format of the original program's GitHub library.
#[derive(Deserialize)]
struct Cookie {
    token: String,
}

fn token_of(file: &Path) -> Result<Secret, String> {
    let text = read(file)?;
    let token = if text.expose().starts_with('{') {
        let cookie = serde_json::from_str::<Cookie>(text.expose());
        // Drop the cause because its message could quote the file.
        let invalid = |_| format!("{}: the JSON object has no text `token`", file.display());
        Secret::new(&cookie.map_err(invalid)?.token)
    } else {
        text
    };
    if token.expose().is_empty() || token.expose().contains(|c: char| !c.is_ascii_graphic()) {
        let reason = "expected one token, or a JSON object with a token";
        return Err(format!("{}: {reason}", file.display()));
    }
    Ok(token)
}

/// Reads a file that only its owner and group may read.
///
/// # Errors
/// Returns an error message if the file cannot be read or if others may read it.
pub(crate) fn read(path: &Path) -> Result<Secret, String> {
    let named = |error: std::io::Error| match error.kind() {
        ErrorKind::InvalidData => format!("{}: the file is not text", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    let file = File::open(path).map_err(named)?;
    let mode = file.metadata().map_err(named)?.permissions().mode();
    // systemd credentials and Kubernetes secrets are group-readable.
    if mode & 0o007 != 0 {
        return Err(format!(
            "{}: other users may access the file (mode {:03o}): run `chmod 600` on it",
            path.display(),
            mode & 0o777
        ));
    }
    let mut text = String::new();
    file.take(MAX_SIZE).read_to_string(&mut text).map_err(named)?;
    Ok(Secret::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn written(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        (dir, file)
    }

    #[test]
    fn plain_tokens_and_cookies_are_read() {
        for content in ["ghp_1\n", r#"{"scopes":["repo"],"token":"ghp_1","app":{},"id":1}"#] {
            for mode in [0o400, 0o640] {
                let (_dir, file) = written(content, mode);
                assert_eq!(token_of(&file).unwrap().expose(), "ghp_1");
            }
        }
    }

    #[test]
    fn errors_do_not_contain_the_file() {
        for content in ["", "ghp_1 ghp_2", "{ghp_1", r#"{"token":{"ghp_1":1}}"#, "{\"token\":\"\"}"]
        {
            let (_dir, file) = written(content, 0o600);
            let error = token_of(&file).unwrap_err();
            assert!(!error.contains("ghp"), "{error}");
        }
        for mode in [0o604, 0o644, 0o602] {
            let (_dir, file) = written("ghp_1", mode);
            let error = token_of(&file).unwrap_err();
            assert!(error.contains("chmod 600") && !error.contains("ghp"), "{error}");
        }
    }

    #[test]
    fn a_missing_token_names_the_files() {
        let text = missing(&cookie_files());
        for part in [COOKIE, VARIABLE, "/run/secrets", "https://github.com/settings/tokens"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
