//! A workspace: one tenant, and the settings its rules depend on.

use serde::{Deserialize, Serialize};

use crate::id::WorkspaceId;

/// Settings every rule of a tenant is decided under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    pub id: WorkspaceId,
    pub name: String,
    /// Country that a phone number written nationally belongs to; `None` accepts international numbers only.
    pub default_country: Option<String>,
    /// Unknown custom attributes are refused instead of inferred.
    pub strict_attributes: bool,
    /// Inactivity that ends a session, in seconds.
    pub session_gap_seconds: i64,
    pub time_zone: String,
    /// Points from which two people are suggested as duplicates.
    pub duplicate_threshold: i64,
}
