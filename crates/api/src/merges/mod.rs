//! Merges: two people who are one. Look at a preview, carry it out, take it back.

pub mod create;
pub mod preview;
pub mod read;
pub mod revert;
pub mod view;
