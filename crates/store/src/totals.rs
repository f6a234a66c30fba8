//! How many rows a list has, for readers who ask for the exact `total`: one statement, over the rows that the list walks.

use people_domain::id::{ProfileId, RecordId, WorkspaceId};
use uuid::Uuid;

use crate::{AuditQuestion, DeliveryStatus, Span, Store, StoreError, audit, jobs::JobStatus, rejected, statement::sql};

/// A list whose rows stand in a table. What it leaves open is `None`.
#[derive(Clone, Debug)]
pub enum Listed {
    ApiKeys,
    AuditLog(AuditQuestion),
    ConsentLedger {
        profile: ProfileId,
        channel: String,
    },
    Deliveries {
        webhook: Uuid,
        status: Option<DeliveryStatus>,
    },
    History {
        profile: ProfileId,
        field: Option<String>,
    },
    JobErrors(RecordId),
    Jobs {
        kind: Option<String>,
        status: Option<JobStatus>,
    },
    Labels,
    Merges(ProfileId),
    Rejected,
    /// Of a session, in whomever's timeline it stands.
    SessionEvents(RecordId),
    Sessions {
        profile: ProfileId,
        channel: Option<String>,
    },
    Suppressions,
    Timeline {
        profile: ProfileId,
        span: Span,
    },
    Webhooks,
}

impl Store {
    /// The exact number of rows.
    pub async fn total(&self, workspace: WorkspaceId, of: Listed) -> Result<i64, StoreError> {
        let counting = match of {
            Listed::Timeline { profile, span } => return self.timeline_total(workspace, Some(profile), span).await,
            Listed::SessionEvents(session) => {
                let span = Span { session: Some(session), ..Span::default() };
                return self.timeline_total(workspace, None, span).await;
            }
            Listed::AuditLog(question) => audit::counting(workspace, question),
            Listed::Rejected => rejected::counting(workspace, self.now()),
            // Below, what is asked of a column is text, and no column holds the empty one where it may be left open.
            Listed::ApiKeys => sql("SELECT count(*) FROM api_keys WHERE workspace_id = $1 AND revoked_at IS NULL").bind(workspace),
            Listed::ConsentLedger { profile, channel } => {
                sql("SELECT count(*) FROM consent_ledger WHERE workspace_id = $1 AND profile_id = $2 AND channel = $3")
                    .bind(workspace)
                    .bind(profile)
                    .bind(channel)
            }
            Listed::Deliveries { webhook, status } => {
                sql("SELECT count(*) FROM webhook_deliveries WHERE workspace_id = $1 AND webhook_id = $2 AND ($3 = '' OR status = $3)")
                    .bind(workspace)
                    .bind(webhook)
                    .bind(status.map_or("", DeliveryStatus::as_str))
            }
            Listed::History { profile, field } => sql("SELECT count(*) FROM profile_history
                 WHERE workspace_id = $1 AND profile_id = $2 AND ($3 = '' OR {position}(fields, $3) > 0)")
            .bind(workspace)
            .bind(profile)
            .bind(field.map_or_else(String::new, |field| format!("\n{field}\n"))),
            Listed::JobErrors(job) => {
                sql("SELECT count(*) FROM job_errors WHERE workspace_id = $1 AND job_id = $2").bind(workspace).bind(job)
            }
            Listed::Jobs { kind, status } => {
                sql("SELECT count(*) FROM jobs WHERE workspace_id = $1 AND ($2 = '' OR kind = $2) AND ($3 = '' OR status = $3)")
                    .bind(workspace)
                    .bind(kind.unwrap_or_default())
                    .bind(status.map_or("", |status| status.as_str()))
            }
            Listed::Merges(profile) => {
                sql("SELECT count(*) FROM merges WHERE workspace_id = $1 AND (profile_id = $2 OR returned_profile_id = $2)")
                    .bind(workspace)
                    .bind(profile)
            }
            Listed::Sessions { profile, channel } => {
                sql("SELECT count(*) FROM sessions WHERE workspace_id = $1 AND profile_id = $2 AND ($3 = '' OR channel = $3)")
                    .bind(workspace)
                    .bind(profile)
                    .bind(channel.unwrap_or_default())
            }
            Listed::Suppressions => sql("SELECT count(*) FROM suppressions WHERE workspace_id = $1").bind(workspace),
            Listed::Webhooks => sql("SELECT count(*) FROM webhooks WHERE workspace_id = $1").bind(workspace),
            Listed::Labels => sql("SELECT count(*) FROM labels WHERE workspace_id = $1").bind(workspace),
        };
        let counted: Option<(i64,)> = self.pools.one(counting).await?;
        Ok(counted.map_or(0, |(total,)| total))
    }
}
