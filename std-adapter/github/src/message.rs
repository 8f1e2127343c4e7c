//! Commit messages.

use std::fmt::Write;

use crate::Diff;

/// The message for a commit that removes `.dirty` files.
pub const CLEAN_MESSAGE: &str = "Cleaning up .dirty files";

/// The maximum number of changed elements that a message lists, and the maximum length of that list
/// in bytes. The server rejects messages that are longer than 64 KiB.
const MAX_LISTED: usize = 100;
const MAX_LEN: usize = 32 << 10;

impl Diff {
    /// Returns a commit message that states how many metadata elements changed and lists up to 100
    /// of them.
    ///
    /// ```
    /// # use datakit_github::{Diff, Repo};
    /// let repo: Repo = "me/x".parse()?;
    /// let diff = Diff::new([repo.into()], []);
    /// assert_eq!(diff.message(), "1 item updated\n\nupdate me/x\n");
    /// # Ok::<(), datakit_github::InvalidRepo>(())
    /// ```
    #[must_use]
    pub fn message(&self) -> String {
        let (updates, removals) = (self.updates().len(), self.removals().len());
        let count = updates.saturating_add(removals);
        let change = match (updates, removals) {
            (_, 0) => "updated",
            (0, _) => "removed",
            _ => "modified",
        };
        let items = if count == 1 { "item" } else { "items" };
        let mut message = format!("{count} {items} {change}\n\n");
        let updates = self.updates().map(|element| ("update", element.id()));
        let removals = self.removals().map(|id| ("remove", id.clone()));
        for (listed, (verb, id)) in updates.chain(removals).enumerate() {
            let line = format!("{verb} {id}\n");
            if listed == MAX_LISTED || message.len().saturating_add(line.len()) > MAX_LEN {
                // Ignore the result because writing to a string cannot fail.
                let _ = writeln!(message, "... and {} more", count.saturating_sub(listed));
                break;
            }
            message.push_str(&line);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Element, ElementId, Repo};

    fn repos(count: usize) -> impl Iterator<Item = Repo> {
        (0..count).map(|number| format!("a/{number:03}").parse().unwrap())
    }

    #[test]
    fn messages_count_and_list_the_elements() {
        let message = |updates, removals: usize| {
            let removals = repos(removals.saturating_add(updates)).skip(updates);
            Diff::new(repos(updates).map(Element::from), removals.map(ElementId::from)).message()
        };
        assert_eq!(message(2, 0), "2 items updated\n\nupdate a/000\nupdate a/001\n");
        assert_eq!(message(0, 1), "1 item removed\n\nremove a/000\n");
        assert_eq!(message(0, 2), "2 items removed\n\nremove a/000\nremove a/001\n");
        assert_eq!(message(1, 1), "2 items modified\n\nupdate a/000\nremove a/001\n");
        let long = message(90, 12);
        assert!(long.ends_with("remove a/099\n... and 2 more\n"), "{long}");
        assert!(!message(50, 50).contains("more"));
        let name = "x/".repeat(1000) + "x";
        let long = (0..90u32).map(|number| {
            let name = format!("heads/{name}{number}").parse().unwrap();
            ElementId::from(crate::RefId { repo: "a/b".parse().unwrap(), name })
        });
        let long = Diff::new([], long).message();
        assert!(long.len() < MAX_LEN + 100 && long.ends_with(" more\n"), "{}", long.len());
    }
}
