//! Limits the rate of failed logins per address and per user.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The number of failures that an address can have in a burst.
const BURST_OF_ADDRESS: u32 = 10;

/// The number of failures that a user can have in a burst, counted over all addresses.
const BURST_OF_USER: u32 = 30;

/// How long it takes until one failure is forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// The maximum number of entries in each of the two tables of failures, one for addresses and one
/// for users. When a table is full, all further addresses or users are counted together.
const MAX_ENTRIES: usize = 10_000;

/// The maximum number of (user, address) pairs to remember.
const MAX_TRUSTED: usize = 1000;

/// Counts failed logins.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle(Arc<Mutex<Tables>>);

#[derive(Debug, Default)]
struct Tables {
    addresses: Buckets<IpAddr>,
    users: Buckets<String>,
    /// The pairs of a user and an address from which the user has logged in, each with the time of
    /// the last login. Many failures from other addresses do not lock these users out.
    trusted: HashMap<(String, IpAddr), Instant>,
}

/// An attempt that counts as a failure until [`succeeded`](Attempt::succeeded) is called. This also
/// limits concurrent attempts.
#[derive(Debug)]
#[must_use]
pub(super) struct Attempt {
    throttle: Throttle,
    address: Option<IpAddr>,
    user: Option<String>,
}

impl Throttle {
    /// Starts an attempt.
    ///
    /// # Errors
    /// Returns the time to wait if there were too many failures.
    pub(super) fn start(
        &self,
        address: Option<IpAddr>,
        user: Option<&str>,
    ) -> Result<Attempt, Duration> {
        let address = address.map(network);
        let mut tables = self.0.lock();
        let tables = &mut *tables;
        let trusted = address.zip(user).is_some_and(|(address, user)| {
            tables.trusted.contains_key(&(user.to_owned(), address))
        });
        let user = user.map(str::to_owned);
        if let Some(address) = address {
            tables.addresses.check(&address, BURST_OF_ADDRESS)?;
        }
        if let Some(user) = user.as_ref().filter(|_| !trusted) {
            tables.users.check(user, BURST_OF_USER)?;
        }
        if let Some(address) = address {
            tables.addresses.add(address);
        }
        if let Some(user) = user.clone().filter(|_| !trusted) {
            tables.users.add(user);
        }
        let user = user.filter(|_| !trusted);
        Ok(Attempt { throttle: self.clone(), address, user })
    }
}

impl Attempt {
    /// Removes the failure after a successful login.
    pub(super) fn succeeded(self, user: &str) {
        let mut tables = self.throttle.0.lock();
        if let Some(name) = &self.user {
            tables.users.subtract(name);
        }
        if let Some(address) = self.address {
            tables.addresses.subtract(&address);
            tables.trust((user.to_owned(), address));
        }
    }
}

impl Tables {
    fn trust(&mut self, pair: (String, IpAddr)) {
        if self.trusted.len() >= MAX_TRUSTED && !self.trusted.contains_key(&pair) {
            let oldest = self.trusted.iter().min_by_key(|(_, time)| **time);
            if let Some(pair) = oldest.map(|(pair, _)| pair.clone()) {
                self.trusted.remove(&pair);
            }
        }
        self.trusted.insert(pair, Instant::now());
    }
}

/// Failures by key. Each failure is stored as the time at which it is forgotten.
#[derive(Debug)]
struct Buckets<K> {
    entries: HashMap<K, Instant>,
    /// Counts failures for keys that do not fit in the table.
    overflow: Option<Instant>,
}

impl<K> Default for Buckets<K> {
    fn default() -> Buckets<K> {
        Buckets { entries: HashMap::new(), overflow: None }
    }
}

impl<K: Hash + Eq> Buckets<K> {
    /// Returns the time at which all failures of a key are forgotten.
    fn forgotten(&self, key: &K) -> Option<Instant> {
        let full = self.entries.len() >= MAX_ENTRIES;
        self.entries.get(key).copied().or(self.overflow.filter(|_| full))
    }

    /// # Errors
    /// Returns the time to wait if the key has `burst` failures.
    fn check(&self, key: &K, burst: u32) -> Result<(), Duration> {
        let remaining = self.forgotten(key).unwrap_or_else(Instant::now) - Instant::now();
        let room = FORGET * burst.saturating_sub(1);
        if remaining > room { Err(remaining - room) } else { Ok(()) }
    }

    fn add(&mut self, key: K) {
        let now = Instant::now();
        if self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key) {
            self.entries.retain(|_, forgotten| *forgotten > now);
        }
        let full = self.entries.len() >= MAX_ENTRIES && !self.entries.contains_key(&key);
        let forgotten = if full {
            self.overflow.get_or_insert(now)
        } else {
            self.entries.entry(key).or_insert(now)
        };
        *forgotten = (*forgotten).max(now) + FORGET;
    }

    fn subtract(&mut self, key: &K) {
        let now = Instant::now();
        let forgotten = match self.entries.get_mut(key) {
            Some(forgotten) => forgotten,
            None => match &mut self.overflow {
                Some(forgotten) => forgotten,
                None => return,
            },
        };
        let earlier = forgotten.checked_sub(FORGET);
        *forgotten = earlier.map_or(now, |earlier| earlier.max(now));
        if self.entries.get(key).is_some_and(|forgotten| *forgotten <= now) {
            self.entries.remove(key);
        }
    }
}

/// Returns the network of a single customer: an IPv4 address or an IPv6 /64 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from(number.to_be_bytes()))
    }

    fn fail(throttle: &Throttle, from: Option<IpAddr>, user: &str) -> bool {
        throttle.start(from, Some(user)).map(drop).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_a_burst_and_then_a_rate() {
        let throttle = Throttle::default();
        let failures = (0..1000).filter(|n| fail(&throttle, address(1), &n.to_string())).count();
        assert_eq!(failures, BURST_OF_ADDRESS as usize);
        assert!(fail(&throttle, address(2), "x"));
        let wait = throttle.start(address(1), Some("x")).unwrap_err();
        assert_eq!(wait, FORGET);
        tokio::time::advance(wait).await;
        assert!(fail(&throttle, address(1), "x"));
        assert!(!fail(&throttle, address(1), "x"));
        tokio::time::advance(FORGET * 100).await;
        let failures = (0..1000).filter(|n| fail(&throttle, address(1), &n.to_string())).count();
        assert_eq!(failures, BURST_OF_ADDRESS as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn many_addresses_cannot_guess_the_password_of_one_user() {
        let throttle = Throttle::default();
        let failures = (0..1000).filter(|n| fail(&throttle, address(*n), "admin")).count();
        assert_eq!(failures, BURST_OF_USER as usize);
        assert!(fail(&throttle, address(5000), "other"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_is_not_locked_out_of_the_usual_address() {
        let throttle = Throttle::default();
        throttle.start(address(7), Some("admin")).unwrap().succeeded("admin");
        let failures = (100..1000).filter(|n| fail(&throttle, address(*n), "admin")).count();
        assert_eq!(failures, BURST_OF_USER as usize);
        assert!(fail(&throttle, address(7), "admin"));
    }

    #[tokio::test(start_paused = true)]
    async fn successes_do_not_count() {
        let throttle = Throttle::default();
        for _ in 0..1000 {
            throttle.start(address(1), Some("a")).unwrap().succeeded("a");
        }
        let tables = throttle.0.lock();
        assert!(tables.addresses.entries.is_empty());
        assert!(tables.users.entries.is_empty());
        assert_eq!(tables.trusted.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_tables_are_bounded_and_a_full_table_still_limits() {
        let throttle = Throttle::default();
        for number in 0..MAX_ENTRIES as u32 {
            assert!(fail(&throttle, address(number), &format!("user{number}")));
        }
        let further = (0..1000).map(|number| 1_000_000 + number);
        let failures =
            further.filter(|n| fail(&throttle, address(*n), &format!("user{n}"))).count();
        assert_eq!(failures, BURST_OF_ADDRESS as usize);
        assert_eq!(throttle.0.lock().addresses.entries.len(), MAX_ENTRIES);
        assert_eq!(throttle.0.lock().users.entries.len(), MAX_ENTRIES);
        tokio::time::advance(FORGET).await;
        assert!(fail(&throttle, address(1_000_000), "new"));
        assert_eq!(throttle.0.lock().addresses.entries.len(), 1);
        for number in 0..2 * MAX_TRUSTED as u32 {
            throttle.start(address(number), Some("a")).unwrap().succeeded("a");
        }
        assert_eq!(throttle.0.lock().trusted.len(), MAX_TRUSTED);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let parse = |text: &str| network(text.parse().unwrap());
        assert_eq!(parse("2001:db8::1"), parse("2001:db8::ffff:1"));
        assert_ne!(parse("2001:db8::1"), parse("2001:db8:0:1::1"));
        assert_eq!(parse("::ffff:1.2.3.4"), parse("1.2.3.4"));
    }
}
