//! All parameters of a program, as one set.
//!
//! A [`Param`](crate::files::Param) is the file of one parameter. This module finds all parameters
//! in a directory through the trait [`Parameter`] and reports their changes to an [`Observer`].

mod change_count;
mod client_name;
mod observer;
mod parameter;
mod store;

pub(crate) use change_count::count_change;
pub use client_name::{ClientName, NameClient, unnamed};
pub(crate) use observer::notify_observers;
pub use observer::{Observer, ObserverEntry, observe};
pub use parameter::{Parameter, visit_parameters};
pub use store::{ParamStore, StoreAction, StoreOutcomes, StoreRequest};
