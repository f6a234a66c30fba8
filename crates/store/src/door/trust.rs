//! What others than browsers have written, as the history of the people tells.

use std::collections::BTreeSet;

use people_domain::{
    directory::{BROWSER, Fields},
    id::{ProfileId, WorkspaceId},
};
use uuid::Uuid;

use crate::{StoreError, Tx, rows::ids, statement::sql};

/// Those of the fields that have an entry by somebody else than a browser: one statement, and none when no browser
/// would change anything. What a merge wrote came with entries of its own. Each entry is read once, however many fields are
/// asked about, and those that name the same fields count as one.
pub(super) async fn vouched(tx: &mut Tx, workspace: WorkspaceId, doubts: Fields) -> Result<Fields, StoreError> {
    if doubts.is_empty() {
        return Ok(Fields::new());
    }
    let found: Vec<(Uuid, String)> = tx
        .all(
            sql("SELECT DISTINCT h.profile_id, h.fields FROM {rows} AS r CROSS JOIN profile_history AS h
                 WHERE h.workspace_id = $1 AND h.profile_id = r.id AND h.source <> $2 AND h.action <> 'merged'")
            .bind(workspace)
            .bind(BROWSER)
            .rows(ids(doubts.keys().map(|id| id.0))),
        )
        .await?;
    let mut vouched = Fields::new();
    for (id, names) in found {
        let Some(asked) = doubts.get(&ProfileId(id)) else { continue };
        let written: BTreeSet<&str> = names.split('\n').filter(|name| asked.contains(*name)).collect();
        if !written.is_empty() {
            vouched.entry(ProfileId(id)).or_default().extend(written.into_iter().map(str::to_owned));
        }
    }
    Ok(vouched)
}
