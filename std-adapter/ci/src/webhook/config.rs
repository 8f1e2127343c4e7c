//! The webhook receivers, which are configured in `webhooks.json`.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;

use datakit_github::Repo;
use hyper::Uri;
use serde::Deserialize;

use crate::web::auth::secret_file;

/// The name of the file in the secrets directory.
const FILE: &str = "webhooks.json";

/// The maximum number of receivers.
const MAX_RECEIVERS: usize = 32;

/// The minimum length of a secret, in bytes.
const MIN_SECRET: usize = 16;

/// A receiver of webhooks.
#[derive(Clone)]
pub(super) struct ReceiverConfig {
    pub(super) url: Uri,
    pub(super) host: String,
    pub(super) secret: String,
    /// The states about which the receiver is notified. If empty, it is notified about all states.
    pub(super) states: BTreeSet<String>,
    /// The projects about which the receiver is notified. If empty, it is notified about all
    /// projects.
    pub(super) projects: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiversFile {
    receivers: Vec<ReceiverEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiverEntry {
    url: String,
    secret: String,
    #[serde(default)]
    states: BTreeSet<String>,
    #[serde(default)]
    projects: BTreeSet<String>,
}

/// Reads the file. If it does not exist, there are no receivers.
///
/// # Errors
/// Returns an error if the file is malformed or if other users of the system can read it.
pub(super) fn open(directory: &Path) -> io::Result<Vec<ReceiverConfig>> {
    let path = directory.join(FILE);
    let Some(text) = secret_file::read(&path)? else { return Ok(Vec::new()) };
    parse(&text).map_err(|reason| {
        secret_file::named(&path, io::Error::new(io::ErrorKind::InvalidData, reason))
    })
}

fn parse(text: &str) -> Result<Vec<ReceiverConfig>, String> {
    let file: ReceiversFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let count = file.receivers.len();
    if count > MAX_RECEIVERS {
        return Err(format!("{count} receivers: at most {MAX_RECEIVERS} are allowed"));
    }
    let named = |(number, entry): (usize, ReceiverEntry)| {
        entry.check().map_err(|reason| format!("receiver {}: {reason}", number + 1))
    };
    file.receivers.into_iter().enumerate().map(named).collect()
}

impl ReceiverEntry {
    fn check(self) -> Result<ReceiverConfig, String> {
        let uri = self.url.parse::<Uri>().ok();
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("https" | "http")));
        // The URL is not shown, because it can contain a secret.
        let url = uri.ok_or("the URL does not start with https://HOST or http://HOST")?;
        let authority = url.authority().map(ToString::to_string).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            return Err(
                "the URL has no host, or it contains a username, which is not supported".to_owned()
            );
        }
        if self.secret.len() < MIN_SECRET {
            let length = self.secret.len();
            return Err(format!(
                "the secret has {length} bytes, at least {MIN_SECRET} are required"
            ));
        }
        const STATES: [&str; 4] = ["pending", "success", "failure", "error"];
        if let Some(state) = self.states.iter().find(|state| !STATES.contains(&state.as_str())) {
            return Err(format!("unknown state {state:?}: expected one of {}", STATES.join(", ")));
        }
        if let Some(project) = self.projects.iter().find(|text| text.parse::<Repo>().is_err()) {
            return Err(format!("invalid project {project:?}: expected USER/REPO"));
        }
        let ReceiverEntry { secret, states, projects, .. } = self;
        Ok(ReceiverConfig { url, host: authority, secret, states, projects })
    }
}

impl fmt::Debug for ReceiverConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiverConfig").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(receiver: &str) -> String {
        parse(&format!("{{\"receivers\":[{receiver}]}}")).unwrap_err()
    }

    #[test]
    fn receivers_are_read() {
        let text = r#"{"receivers":[{"url":"https://chat.example.org:8443/x?key=1",
            "secret":"0123456789abcdef","states":["failure"],"projects":["me/app"]}]}"#;
        let receivers = parse(text).unwrap();
        assert_eq!(receivers[0].host, "chat.example.org:8443");
        assert_eq!(
            format!("{:?}", receivers[0]),
            "ReceiverConfig { host: \"chat.example.org:8443\", .. }"
        );
        assert!(parse("{\"receivers\":[]}").unwrap().is_empty());
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_refused_with_the_reason() {
        let with = |url: &str, secret: &str, more: &str| {
            error(&format!("{{\"url\":\"{url}\",\"secret\":\"{secret}\"{more}}}"))
        };
        let secret = "0123456789abcdef";
        for url in ["", "chat.example.org", "ftp://x/", "/x", "https://me:pw@x/"] {
            let error = with(url, secret, "");
            assert!(error.starts_with("receiver 1: the URL "), "{error}");
            assert!(!error.contains("pw"), "{error}");
        }
        assert!(with("https://x", "short", "").contains("has 5 bytes, at least 16"));
        assert!(with("https://x", secret, ",\"states\":[\"ok\"]").contains("unknown state \"ok\""));
        assert!(with("https://x", secret, ",\"projects\":[\"app\"]").contains("invalid project"));
        assert!(with("https://x", secret, ",\"color\":1").contains("unknown field `color`"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        secret_file::write(&path, b"{\"receivers\":[]}").unwrap();
        assert!(open(dir.path()).unwrap().is_empty());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("chmod 600"));
        secret_file::write(&path, b"{").unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains(FILE));
    }
}
