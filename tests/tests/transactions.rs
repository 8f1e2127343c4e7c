//! Tests for transactions that change the parameters in the board's tree, which is served on the
//! host.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use datakit_core::vfs::{Client, StaticTree};
use datakit_firmware::board::ROOT;
use datakit_firmware::params;
use datakit_server::Limits;
use datakit_tests::transactions::Connect;
use datakit_tests::wire_client::WireClient;

/// The tests share the same parameters, so they run one after another.
static PARAMETERS: Mutex<()> = Mutex::new(());

/// Serves the tree, assigning a number to each connection, and runs a scenario.
fn on_host(scenario: impl FnOnce(Connect<'_>)) {
    let _guard = PARAMETERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    params::start();
    static CLIENTS: AtomicU8 = AtomicU8::new(0);
    let served = datakit_tests::serve(Limits::default(), |_| {
        let client = Client(CLIENTS.fetch_add(1, Ordering::Relaxed));
        StaticTree::<24, 96>::new(&ROOT).with_client(client)
    });
    scenario(&|dialect| WireClient::attached(served.addr, dialect, 4096));
}

#[test]
fn commit_sets_all_values_or_none() {
    on_host(|connect| datakit_tests::transactions::commit_sets_all_values_or_none(connect));
}

#[test]
fn conflict_names_the_parameter() {
    on_host(|connect| datakit_tests::transactions::conflict_names_the_parameter(connect));
}

#[test]
fn transaction_ends_with_its_connection() {
    on_host(|connect| datakit_tests::transactions::transaction_ends_with_its_connection(connect));
}

#[test]
fn errors_name_the_capacity() {
    on_host(|connect| datakit_tests::transactions::errors_name_the_capacity(connect));
}

#[test]
fn all_parameters_fit_into_a_transaction() {
    on_host(|connect| datakit_tests::transactions::all_parameters_fit_into_a_transaction(connect));
}

#[test]
fn ctl_contains_the_last_refusal() {
    on_host(|connect| datakit_tests::transactions::ctl_contains_the_last_refusal(connect));
}
