//! Limits: what the same machine does, in the same minute, when nothing but the core of a work is done.
//!
//! A figure on a shared machine says little by itself; beside its limit it says how much the server costs. [`http`] holds
//! reads, [`search`] the two raw plans of a search, [`insert`] durable writes, [`bitmap`] counts in memory.

pub mod bitmap;
pub mod http;
pub mod insert;
pub mod search;
