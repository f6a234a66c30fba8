//! The store: one text of SQL, two engines.
//!
//! A handler gives [`Store`] commands or a question and gets domain values back. Inside, `engine` holds the only
//! choice between SQLite and PostgreSQL, `statement` binds values (a value can never become text), `dialect` lists
//! every spelling that differs, and `door` is the one way a profile is written. Each other file is one table's concern.
//!
//! To add a table: a migration in both folders under the same number, a file here, its name in [`registry`] if it
//! refers to a profile, and its rows in `door/save.rs` if they follow from a profile's state.

mod api_keys;
mod audit;
mod background;
mod backup;
mod by_type;
mod changes;
mod columns;
mod consents;
mod dialect;
mod disk;
mod door;
mod dossier;
mod duplicates;
mod engine;
mod erasures;
mod error;
mod filter_sql;
mod find;
mod history;
mod ids;
pub mod jobs;
mod kept;
mod labels;
mod living;
mod maintenance;
mod merges;
mod meters;
#[cfg(debug_assertions)]
mod plans;
mod profiles;
mod properties;
mod read_model;
pub mod registry;
mod rejected;
mod rows;
mod schema;
mod scrub;
mod statement;
mod suppressions;
mod time;
mod timeline;
mod totals;
mod webhooks;
mod workspaces;

pub use api_keys::{ApiKey, ApiKeyPatch, Made, NewApiKey, Trust};
pub use audit::{Act, AuditQuestion, Audited, CLI};
pub use background::Undisturbed;
pub use backup::{BackupError, backup};
pub use changes::{Change, Due, FeedPage, MergeOf};
pub use columns::Columns;
pub use consents::Recorded;
pub use door::{Group, Idempotency, Job, Pending, Reply, StoredAnswer};
pub use dossier::{Dossier, Piece};
pub use duplicates::{DUPLICATE_SCAN, Dismissed, DuplicateScan, RenderSuggestion, Suggestion, SuggestionPage, SuggestionStatus};
pub use engine::{Clock, Options, Store, SystemClock, Tx, unbroken};
pub use erasures::Receipt;
pub use error::StoreError;
pub use find::{Found, Question, Walk};
pub use history::Entry;
pub use labels::{Carried, GoingLabel, LABEL_REMOVAL, LABEL_RENAME, Label, LabelChange, LabelDone, LabelMade, LabelRefusal};
pub use living::{Breed, Defined as Definition, DefinitionRefusal, Redefined, RenderDefinition, Settle, Wording};
pub use merges::{Merged, Moves, Previewed, TakenBack};
pub use meters::{PoolSize, Standings};
pub use profiles::{Document, Lookup};
pub use properties::{Defined, PropertyChange, PropertyRefusal};
pub use scrub::{ScrubError, Scrubbed};
pub use suppressions::{Suppression, SuppressionKey};
pub use timeline::{Among, Happened, Moment, Span};
pub use totals::Listed;
pub use webhooks::{
    Attempt, Delivery, DeliveryStatus, Endpoint, KeepAnswer, MAX_WEBHOOKS, NewWebhook, Outcome, Outcomes, Repeat, SecretKey, Webhook,
    WebhookLease, WebhookMade, WebhookPatch, WebhookSecret,
};
pub use workspaces::{WorkspacePatch, WorkspaceRow};
