//! Events: what people did, as it comes in and as it is shown.

pub mod create;
pub mod read;
pub mod view;
