//! The benchmark: a generated directory, a load, and a measure of each kind of work beside the limit it is held against.
//!
//! Flow: [`people`] makes the data → [`server`] starts the real binary on a [`database`] of its own → [`work`] measures
//! over the [`client`], and right after each work its limit from [`limits`] → [`report`] writes table, JSON and chart.
//! To add a row: a function in `work/` that returns [`report::Row`]s, called from [`run`].

pub mod client;
pub mod database;
pub mod demo;
pub mod limits;
pub mod people;
pub mod report;
pub mod run;
pub mod server;
pub mod work;

/// Anything that stops a run, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Failure>;

/// Says on standard error what is going on; standard output is the report's.
#[expect(clippy::print_stderr, reason = "progress of a command-line tool")]
pub fn progress(text: impl std::fmt::Display) {
    eprintln!("bench: {text}");
}
