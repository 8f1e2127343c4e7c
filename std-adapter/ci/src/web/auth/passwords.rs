//! The local users and their passwords, which are stored in `passwords.json`.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use super::secret_file;
use super::session_id::random_token;
use super::user::{ADMIN, User};

/// The name of the file in the secrets directory.
const FILE: &str = "passwords.json";

/// The maximum number of local users.
const MAX_USERS: usize = 1000;

/// The minimum length of a password, in characters.
pub(super) const MIN_LENGTH: usize = 10;

/// The maximum length of a password, in bytes.
pub(super) const MAX_LENGTH: usize = 1024;

/// The local users.
#[derive(Debug)]
pub(super) struct Passwords {
    path: PathBuf,
    users: RwLock<BTreeMap<String, PasswordEntry>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordFile {
    users: BTreeMap<String, PasswordEntry>,
}

/// A local user's password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordEntry {
    /// The hash, in the PHC string format.
    pub(super) hash: String,
    /// A random string that changes with the password. Sessions that were started with another
    /// version are ended.
    pub(super) version: String,
}

impl std::fmt::Debug for PasswordEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordEntry").finish_non_exhaustive()
    }
}

impl Passwords {
    /// Reads the file. If the file does not exist, there are no users.
    ///
    /// # Errors
    /// Returns an error if the file is malformed or if other users of the system can read it.
    pub(super) fn open(directory: &std::path::Path) -> io::Result<Passwords> {
        let path = directory.join(FILE);
        let users = match secret_file::read(&path)? {
            None => BTreeMap::new(),
            Some(text) => {
                let file: Result<PasswordFile, _> = serde_json::from_str(&text);
                file.map_err(|error| secret_file::named(&path, error.into()))?.users
            }
        };
        if let Some(name) = users.keys().find(|name| User::local(name).is_none()) {
            let message = format!("{}: invalid username {name:?}", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Passwords { path, users: RwLock::new(users) })
    }

    pub(super) fn get(&self, name: &str) -> Option<PasswordEntry> {
        self.users.read().get(name).cloned()
    }

    pub(super) fn has_admin(&self) -> bool {
        self.users.read().contains_key(ADMIN)
    }

    /// Returns the names of all users.
    pub(super) fn names(&self) -> Vec<String> {
        self.users.read().keys().cloned().collect()
    }

    /// Stores the hash of a user's password and returns its version. If `must_be_new` is `true`,
    /// the user must not exist yet.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written. In this case, the old password remains
    /// valid.
    pub(super) fn set(&self, user: &User, hash: String, must_be_new: bool) -> io::Result<String> {
        let version = random_token()?;
        let entry = PasswordEntry { hash, version: version.clone() };
        self.change(|users| {
            let exists = users.contains_key(user.name());
            if exists && must_be_new {
                let message = format!("the user {user} already exists");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
            }
            if !exists && users.len() >= MAX_USERS {
                return Err(io::Error::other(format!("there are already {MAX_USERS} users")));
            }
            users.insert(user.name().to_owned(), entry);
            Ok(())
        })?;
        Ok(version)
    }

    /// Removes a user. The user's sessions end.
    ///
    /// # Errors
    /// Returns an error if the user is `admin` or the file cannot be written.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        if name == ADMIN {
            return Err(io::Error::other("the user admin cannot be removed"));
        }
        self.change(|users| {
            users.remove(name);
            Ok(())
        })
    }

    /// Modifies a copy of the users, writes it to the file, and then replaces the users.
    fn change(
        &self,
        edit: impl FnOnce(&mut BTreeMap<String, PasswordEntry>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut users = self.users.write();
        let mut changed = users.clone();
        edit(&mut changed)?;
        let file = PasswordFile { users: changed };
        secret_file::write(&self.path, &serde_json::to_vec_pretty(&file)?)?;
        *users = file.users;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn users_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let passwords = Passwords::open(dir.path()).unwrap();
        assert!(!passwords.has_admin());
        let admin = User::local("admin").unwrap();
        let first = passwords.set(&admin, "hash".into(), true).unwrap();
        assert!(passwords.set(&admin, "other".into(), true).is_err());
        let second = passwords.set(&admin, "hash2".into(), false).unwrap();
        assert_ne!(first, second);
        passwords.set(&User::local("bob").unwrap(), "h".into(), true).unwrap();
        let reopened = Passwords::open(dir.path()).unwrap();
        assert_eq!(reopened.get("admin").unwrap().hash, "hash2");
        assert_eq!(reopened.get("admin").unwrap().version, second);
        assert_eq!(reopened.names(), ["admin", "bob"]);
        reopened.remove("bob").unwrap();
        assert!(reopened.remove("admin").is_err());
        assert_eq!(Passwords::open(dir.path()).unwrap().names(), ["admin"]);
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"users\":{\"a/b\":{\"hash\":\"\",\"version\":\"\"}}}", "[]"] {
            secret_file::write(&dir.path().join(FILE), text.as_bytes()).unwrap();
            let error = Passwords::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(FILE), "{error}");
        }
    }

    #[test]
    fn if_the_file_cannot_be_written_the_old_password_remains() {
        let dir = tempfile::tempdir().unwrap();
        let passwords = Passwords::open(dir.path()).unwrap();
        let admin = User::local("admin").unwrap();
        passwords.set(&admin, "old".into(), true).unwrap();
        // Remove the directory so that writing fails even for root.
        dir.close().unwrap();
        assert!(passwords.set(&admin, "new".into(), false).is_err());
        assert_eq!(passwords.get("admin").unwrap().hash, "old");
    }
}
