//! `/v1/profiles`: one person at a time, and many.

mod access;
mod batch;
mod consents;
mod create;
mod delete;
mod export;
mod history;
mod identities;
mod labels;
mod lookup;
mod patch;
mod read;
mod upsert;
