//! Tests for transactions that change the firmware's parameters.

use datakit_tests::board::Board;
use datakit_tests::transactions::{self, Connect};

/// Boots a board and runs a scenario.
fn on_board(scenario: impl FnOnce(Connect<'_>)) {
    let board = Board::boot();
    scenario(&|dialect| board.wire_client(dialect));
}

#[test]
fn qemu_commit_sets_all_values_or_none() {
    on_board(|connect| transactions::commit_sets_all_values_or_none(connect));
}

#[test]
fn qemu_conflict_names_the_parameter() {
    on_board(|connect| transactions::conflict_names_the_parameter(connect));
}

#[test]
fn qemu_transaction_ends_with_its_connection() {
    on_board(|connect| transactions::transaction_ends_with_its_connection(connect));
}

#[test]
fn qemu_transaction_errors_name_the_capacity() {
    on_board(|connect| transactions::errors_name_the_capacity(connect));
}

#[test]
fn qemu_all_parameters_fit_into_a_transaction() {
    on_board(|connect| transactions::all_parameters_fit_into_a_transaction(connect));
}

#[test]
fn qemu_ctl_contains_the_last_refusal() {
    on_board(|connect| transactions::ctl_contains_the_last_refusal(connect));
}
