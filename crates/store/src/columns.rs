//! What the people of a workspace have more than their properties, so that a table of them has a column for it.

use people_domain::id::WorkspaceId;

use crate::{Store, StoreError, statement::sql};

/// Kinds of identities and channels of consent that somebody has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    pub kinds: Vec<String>,
    pub channels: Vec<String>,
}

impl Store {
    pub async fn columns(&self, workspace: WorkspaceId) -> Result<Columns, StoreError> {
        self.read(move |tx| {
            Box::pin(async move {
                // From one kind to the next: the index is not walked in between.
                let kinds: Vec<(String,)> = tx
                    .all(
                        sql("WITH RECURSIVE kinds (kind) AS (
                                 SELECT min(i.kind) FROM profile_identities AS i WHERE i.workspace_id = $1
                                 UNION ALL
                                 SELECT (SELECT min(i.kind) FROM profile_identities AS i WHERE i.workspace_id = $1 AND i.kind > k.kind)
                                 FROM kinds AS k WHERE k.kind IS NOT NULL
                             )
                             SELECT kind FROM kinds WHERE kind IS NOT NULL ORDER BY kind")
                        .bind(workspace),
                    )
                    .await?;
                // There is no index by channel: writes would pay for what exports alone read. This walks what is there once.
                let channels: Vec<(String,)> = tx
                    .all(sql("SELECT DISTINCT channel FROM profile_consents WHERE workspace_id = $1 ORDER BY channel").bind(workspace))
                    .await?;
                let texts = |rows: Vec<(String,)>| rows.into_iter().map(|(text,)| text).collect();
                Ok(Columns { kinds: texts(kinds), channels: texts(channels) })
            })
        })
        .await
    }
}
