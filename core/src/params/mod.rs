//! All of a program's parameters, as one set.
//!
//! A [`Param`](crate::files::Param) is the file for one parameter. A [`ParamSet`] finds all
//! parameters in a directory through the [`Parameter`] trait. The following files show and change
//! the parameters in a set:
//!
//! | file | a read returns | a write |
//! |---|---|---|
//! | [`Schema`] | the description of all parameters in JSON | is refused |
//! | [`Schema::id`] | a hash of the schema | is refused |
//! | [`Modified`] | the parameters that differ from their defaults | is refused |
//! | [`Changes`] | every change since the file was opened; further reads wait | is refused |
//! | [`Ctl`] | the reply to the client's last command | resets or stores parameters |
//!
//! [`Transactions`] change several parameters at once. An [`Observer`] is notified of changes to
//! all parameters.

mod change;
mod changes;
mod client_name;
mod ctl;
mod modified;
mod observer;
mod replies;
mod reply_file;
mod reset;
mod schema;
mod set;
mod store;
#[cfg(test)]
mod test_tree;
mod transactions;
mod visit;

pub use crate::files::Parameter;
pub use changes::{ChangeMemory, Changes};
pub use client_name::{ClientName, NameClient, unnamed};
pub use ctl::Ctl;
pub use modified::Modified;
pub(crate) use observer::notify_observers;
pub use observer::{Event, Observer, ObserverEntry, client_left, notify_refusal, observe};
pub use replies::Replies;
pub use schema::{Schema, schema_id};
pub use set::ParamSet;
pub use store::{ParamStore, StoreAction, StoreOutcomes, StoreRequest};
pub use transactions::{TransactionMemory, Transactions};
pub use visit::visit_parameters;
