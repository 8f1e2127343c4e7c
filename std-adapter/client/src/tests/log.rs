//! Tests for a connection's tracing span and events.

use std::fmt::{Debug, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::*;

/// A subscriber that writes all fields to a string, using one line for each span and event.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<String>>);

impl Visit for Recorder {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0.lock(), "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("datakit_client")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        self.0.lock().push('\n');
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
        self.0.lock().push('\n');
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().push('\n');
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_connection_logs_its_peer_version_and_loss() {
    // If only one subscriber exists, `tracing` disables an event in all threads when another thread is
    // the first to log it. A second subscriber prevents this.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let recorder = Recorder::default();
    let _guard = tracing::subscriber::set_default(recorder.clone());
    let (client, peer) = connected("9P2000.u", Dialect::Unix).await;
    drop(peer);
    assert!(client.stat("a").await.is_err());
    let expected = "peer=\"stream\" \n\
        message=connected \n\
        dialect=\"9P2000.u\" \n\
        message=agreed on a version dialect=\"9P2000.u\" msize=8192 \n\
        message=lost the connection reason=the server closed the connection \n";
    assert_eq!(*recorder.0.lock(), expected);
}
