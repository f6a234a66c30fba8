//! One change of many people: previewed, confirmed, carried out by a job.
//!
//! A preview walks the selection once and answers with a token that holds how many there are and a hash over who they
//! are and in which version. The execution walks it again: another hash is another selection, and nothing happens. The
//! people of that second walk are kept as the job's inputs, so the job changes exactly those that were confirmed.

pub mod action;
pub mod execute;
pub mod preview;
pub mod selection;
pub mod work;
