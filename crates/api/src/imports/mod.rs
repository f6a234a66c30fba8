//! Files of people, taken in by a job.
//!
//! `create` receives the file: it is decoded and kept in pieces as the job's inputs while it streams in, its head is
//! looked at for the columns (`mapping`), and the job is put in the queue. `rows` turns bytes into commands; `work` is the
//! job, a thousand rows a step.

pub mod create;
pub mod mapping;
pub mod rows;
pub mod spool;
pub mod work;
