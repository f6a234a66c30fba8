//! Duplicates: pairs of people who may be one, with what speaks for it. One operation a file; the view is shared.

pub mod dismiss;
pub mod list;
pub mod scan;
pub mod view;
