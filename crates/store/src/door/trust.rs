//! What others than browsers have written, as the history of the people tells.

use std::collections::BTreeSet;

use people_domain::{
    directory::BROWSER,
    id::{ProfileId, WorkspaceId},
};
use uuid::Uuid;

use crate::{
    StoreError, Tx,
    rows::{Kind, Rows},
    statement::sql,
};

/// Those of the fields that have an entry by somebody else than a browser: one statement, and none when no browser
/// would change anything. What a merge wrote came with entries of its own.
pub(super) async fn vouched(
    tx: &mut Tx,
    workspace: WorkspaceId,
    doubts: BTreeSet<(ProfileId, String)>,
) -> Result<Vec<(ProfileId, String)>, StoreError> {
    if doubts.is_empty() {
        return Ok(Vec::new());
    }
    let mut rows = Rows::new(&[("profile_id", Kind::Uuid), ("field", Kind::Text), ("line", Kind::Text)]);
    for (profile, field) in doubts {
        rows.push([profile.into(), field.as_str().into(), format!("\n{field}\n").into()]);
    }
    let found: Vec<(Uuid, String)> = tx
        .all(
            sql("SELECT DISTINCT r.profile_id, r.field FROM {rows} AS r CROSS JOIN profile_history AS h
                 WHERE h.workspace_id = $1 AND h.profile_id = r.profile_id AND h.source <> $2 AND h.action <> 'merged'
                   AND {position}(h.fields, r.line) > 0")
            .bind(workspace)
            .bind(BROWSER)
            .rows(rows),
        )
        .await?;
    Ok(found.into_iter().map(|(id, field)| (ProfileId(id), field)).collect())
}
