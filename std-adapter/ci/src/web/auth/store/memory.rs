//! Sessions in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::IDLE;
use crate::web::auth::user::{SessionData, User};

/// The maximum number of sessions. When the limit is reached, a new session replaces the least
/// recently used one.
const MAX_SESSIONS: usize = 10_000;

/// The maximum number of sessions per user. When the limit is reached, a new session replaces the
/// user's oldest one, so a user cannot end other users' sessions.
pub(super) const MAX_SESSIONS_PER_USER: usize = 50;

/// A bounded table of sessions.
#[derive(Debug, Default)]
pub(in crate::web::auth) struct MemorySessions(Mutex<SessionTable>);

#[derive(Debug, Default)]
struct SessionTable {
    sessions: HashMap<String, StoredSession>,
    /// The keys, from least to most recently used.
    by_use: BTreeMap<u64, String>,
    /// The keys of each user's sessions, oldest first.
    by_user: HashMap<User, VecDeque<String>>,
    /// The number of uses so far.
    uses: u64,
}

#[derive(Debug)]
struct StoredSession {
    data: SessionData,
    used: Instant,
    use_number: u64,
}

impl MemorySessions {
    pub(super) fn get(&self, key: &str) -> Option<SessionData> {
        let mut table = self.0.lock();
        table.remove_idle();
        table.touch(key)
    }

    pub(super) fn insert(&self, key: String, data: SessionData) {
        let mut table = self.0.lock();
        table.remove_idle();
        table.remove(&key);
        table.make_room(&data.user);
        table.insert(key, data);
    }

    pub(super) fn remove(&self, key: &str) {
        self.0.lock().remove(key);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let table = self.0.lock();
        assert_eq!(table.by_use.len(), table.sessions.len());
        assert_eq!(table.by_user.values().map(VecDeque::len).sum::<usize>(), table.sessions.len());
        table.sessions.len()
    }
}

impl SessionTable {
    fn touch(&mut self, key: &str) -> Option<SessionData> {
        let entry = self.sessions.get_mut(key)?;
        self.by_use.remove(&entry.use_number);
        self.uses += 1;
        (entry.used, entry.use_number) = (Instant::now(), self.uses);
        self.by_use.insert(self.uses, key.to_owned());
        Some(entry.data.clone())
    }

    fn insert(&mut self, key: String, data: SessionData) {
        self.uses += 1;
        self.by_use.insert(self.uses, key.clone());
        self.by_user.entry(data.user.clone()).or_default().push_back(key.clone());
        let entry = StoredSession { data, used: Instant::now(), use_number: self.uses };
        self.sessions.insert(key, entry);
    }

    fn remove(&mut self, key: &str) {
        let Some(entry) = self.sessions.remove(key) else { return };
        self.by_use.remove(&entry.use_number);
        if let Some(keys) = self.by_user.get_mut(&entry.data.user) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_user.remove(&entry.data.user);
            }
        }
    }

    /// Removes sessions that have been idle for too long.
    fn remove_idle(&mut self) {
        while let Some((_, key)) = self.by_use.first_key_value() {
            if self.sessions.get(key).is_some_and(|entry| entry.used.elapsed() < IDLE) {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn make_room(&mut self, user: &User) {
        let own = self.by_user.get(user);
        let own = own.filter(|keys| keys.len() >= MAX_SESSIONS_PER_USER);
        if let Some(key) = own.and_then(VecDeque::front).cloned() {
            self.remove(&key);
        }
        if self.sessions.len() >= MAX_SESSIONS
            && let Some((_, key)) = self.by_use.first_key_value()
        {
            let key = key.clone();
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> SessionData {
        SessionData {
            user: User::local(name).unwrap(),
            created: 0,
            password: None,
            rights: Default::default(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_if_it_is_not_used() {
        let memory = MemorySessions::default();
        memory.insert("used".into(), data("a"));
        memory.insert("idle".into(), data("b"));
        tokio::time::advance(IDLE / 2).await;
        assert!(memory.get("used").is_some());
        tokio::time::advance(IDLE / 2).await;
        assert!(memory.get("used").is_some());
        assert_eq!(memory.get("idle"), None);
        assert_eq!(memory.len(), 1);
    }

    #[tokio::test]
    async fn one_user_cannot_end_the_sessions_of_others() {
        let memory = MemorySessions::default();
        memory.insert("victim".into(), data("victim"));
        for number in 0..MAX_SESSIONS {
            memory.insert(number.to_string(), data("eager"));
        }
        assert_eq!(memory.len(), MAX_SESSIONS_PER_USER + 1);
        assert!(memory.get("victim").is_some());
        assert_eq!(memory.get("0"), None);
        assert!(memory.get(&(MAX_SESSIONS - 1).to_string()).is_some());
    }

    #[tokio::test]
    async fn a_full_table_drops_the_session_that_was_not_used_for_the_longest_time() {
        let memory = MemorySessions::default();
        for number in 0..MAX_SESSIONS {
            memory.insert(number.to_string(), data(&format!("user{number}")));
        }
        assert!(memory.get("0").is_some());
        memory.insert("new".into(), data("new"));
        assert_eq!(memory.len(), MAX_SESSIONS);
        assert!(memory.get("0").is_some());
        assert_eq!(memory.get("1"), None);
    }
}
