//! The promises of the API, one story each, told over HTTP on both engines. The modules mirror the URLs: what
//! `POST /v1/profiles/upsert` promises stands in `profiles/upsert.rs`.
//!
//! `tests/with-postgres cargo test -p people-tests` runs everything; a story's name, everything about it.

mod api_keys;
mod audit_log;
mod backup;
mod bulk;
mod cast;
mod cdnow;
mod changes;
mod citus;
mod cli;
mod connections;
mod cors;
mod document;
mod duplicates;
mod erasures;
mod events;
mod febrl;
mod find;
mod hostile;
mod idempotency;
mod imports;
mod isolation;
mod jobs;
mod kill;
mod labels;
mod leaving;
mod limits;
mod living;
mod logs;
mod long_timelines;
mod merges;
mod metrics;
mod profiles;
mod properties;
mod races;
mod readme;
mod registry;
mod rejected_events;
mod scrub;
mod suppressions;
mod tracking;
mod webhooks;
mod workspace;
