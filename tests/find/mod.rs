//! Finding people: search, filters, counts and the lists they share.

mod agreement;
mod by_sql;
mod count;
mod filter;
mod lists;
mod search;
mod shared;
