//! The HTTP API of the directory.
//!
//! A request passes [`edge`] (request id, one span, problems completed), is [`auth`]enticated, read by [`extract`] into
//! a typed body, turned into a domain command or question by its handler, and answered. One operation is one file under
//! its resource; [`routes`] is the table of them, which feeds the router and the OpenAPI document alike.
//!
//! To add an operation: a file under its resource with parameters, handler and document in that order, and a line in
//! `routes.rs`; then `make openapi`.

pub mod api_keys;
pub mod app;
pub mod audit_log;
pub mod auth;
pub mod bulk;
pub mod cells;
pub mod changes;
pub mod cli;
pub mod client;
pub mod config;
pub mod connections;
pub mod cors;
pub mod cursor;
pub mod duplicates;
pub mod edge;
pub mod erasures;
pub mod events;
pub mod extract;
pub mod imports;
pub mod jobs;
pub mod json;
pub mod label_rules;
pub mod labels;
pub mod lanes;
pub mod leaving;
pub mod limits;
pub mod merges;
pub mod metrics;
pub mod openapi;
pub mod operations;
pub mod paging;
pub mod problem;
pub mod profiles;
pub mod properties;
pub mod rates;
pub mod rejected_events;
pub mod routes;
pub mod segments;
pub mod sessions;
pub mod suppressions;
pub mod telemetry;
pub mod tracking;
pub mod webhooks;
pub mod workspace;
pub mod writes;
