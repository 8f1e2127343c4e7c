#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod build;
mod causes;
pub mod command;
mod concurrent;
mod engine;
pub mod git;
#[cfg(feature = "program")]
mod https_client;
pub mod lease;
mod metadata;
pub mod pipeline;
pub mod pool;
pub mod prune;
mod shared_db;
pub mod state;
mod target;
pub mod term;
#[cfg(test)]
mod tests;
#[cfg(feature = "program")]
pub mod web;
#[cfg(feature = "program")]
pub mod webhook;

pub use engine::{
    Counters, Engine, Job, JobId, JobView, Options, PIPELINE, Project, TargetView, TestInput,
    Tests, View,
};
pub use metadata::Metadata;
pub use shared_db::SharedDb;
pub use target::{InvalidTarget, Target};
