//! The rules of the directory, as pure functions.
//!
//! Nothing here waits, reads a clock, draws randomness, or knows of a database or of HTTP: time and ids come in as
//! arguments. A write flows `parse → directory::decide → history::diff`; a question flows
//! `filter::parse → filter::eval` (or, in the store, the same tree turned into SQL).
//!
//! To add a rule: find the noun it is about, put the function beside it, give it a property test, and let
//! [`directory`] call it.

pub mod activity;
pub mod change;
pub mod clock;
pub mod consent;
pub mod country;
pub mod directory;
pub mod duplicate;
pub mod event;
pub mod filter;
pub mod history;
pub mod id;
pub mod identity;
pub mod label;
pub mod living;
pub mod merge;
pub mod page;
pub mod profile;
pub mod property;
pub mod refusal;
pub mod resolve;
pub mod search;
pub mod session;
pub mod text;
pub mod webhook;
pub mod workspace;

pub use clock::Timestamp;
pub use refusal::{Code, Issue, Refusal};
