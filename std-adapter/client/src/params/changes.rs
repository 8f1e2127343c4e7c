//! The stream of parameter changes.

use std::collections::VecDeque;

use super::error::{Error, Result};
use crate::Watch;

/// An event of [`Changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A parameter was set.
    Change(Change),
    /// This many changes were lost because the client read too slowly.
    Lost(u64),
}

/// A change to a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The sequence number of the change. Consecutive changes have consecutive numbers.
    pub sequence: u64,
    /// The name of the client that set the parameter, or `program` if the program itself set it.
    pub client: String,
    /// The path of the parameter, relative to the parameter directory.
    pub path: String,
    /// The new value, or `*` if the value is secret.
    pub value: String,
}

/// Changes to all parameters, beginning with the first change made after the stream was opened.
#[derive(Debug)]
pub struct Changes {
    path: String,
    watch: Watch,
    events: VecDeque<Event>,
    /// The beginning of a line whose end has not been received yet.
    partial: Vec<u8>,
}

impl Changes {
    pub(super) fn new(path: String, watch: Watch) -> Changes {
        Changes { path, watch, events: VecDeque::new(), partial: Vec::new() }
    }

    /// Waits for the next event. Returns `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future does not lose an event.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the connection is lost, or [`Error::Refused`] if the server
    /// sends a line that is not an event.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let delivery = self.watch.next().await;
            let delivery =
                delivery.map_err(|error| Error::Client { path: self.path.clone(), error })?;
            let Some(delivery) = delivery else { return Ok(None) };
            self.partial.extend_from_slice(&delivery);
            while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.partial.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let event = Event::parse(line.trim_end_matches('\n')).ok_or_else(|| {
                    let reason = format!("the server sent {line:?}, which is not a change");
                    Error::Refused { path: self.path.clone(), reason }
                })?;
                self.events.push_back(event);
            }
        }
    }

    /// Closes the stream and waits for the server's confirmation.
    ///
    /// # Errors
    /// Returns [`Error::Client`] if the server refuses to close the file.
    pub async fn close(self) -> Result<()> {
        let Changes { path, watch, .. } = self;
        watch.close().await.map_err(|error| Error::Client { path, error })
    }
}

impl Event {
    /// Parses a line of the form `SEQ CLIENT PATH VALUE` or `lost N`.
    fn parse(line: &str) -> Option<Event> {
        if let Some(count) = line.strip_prefix("lost ") {
            return count.parse().ok().map(Event::Lost);
        }
        let mut parts = line.splitn(4, ' ');
        let sequence = parts.next()?.parse().ok()?;
        let (client, path) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let value = parts.next().unwrap_or_default().to_owned();
        Some(Event::Change(Change { sequence, client, path, value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let change = |client: &str, path: &str, value: &str| {
            let (client, path, value) = (client.to_owned(), path.to_owned(), value.to_owned());
            Some(Event::Change(Change { sequence: 17, client, path, value }))
        };
        assert_eq!(
            Event::parse("17 10.0.2.2:4711 blink/period 500"),
            change("10.0.2.2:4711", "blink/period", "500")
        );
        assert_eq!(Event::parse("17 program name a b "), change("program", "name", "a b "));
        assert_eq!(Event::parse("17 program name "), change("program", "name", ""));
        assert_eq!(Event::parse("lost 3"), Some(Event::Lost(3)));
        for line in ["", "17", "x program a 1", "lost x", "17 program"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
