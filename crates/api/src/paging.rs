//! What lists have in common: their parameters, the exact total where it is asked for, and pages of rows that are read whole.

use people_domain::id::WorkspaceId;
use people_store::{Listed, Store};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{cursor, problem::ApiResult, profiles::list::limit};

/// What a list without filters is asked for.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// Rows of a page, 1 to 200; 50 by default.
    pub limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Tell the exact `total`.
    pub count: Option<bool>,
}

/// Some rows, where the next ones begin, and how many there are in all.
#[derive(Debug)]
pub struct Page<T> {
    pub data: Vec<T>,
    pub next_cursor: Option<String>,
    pub total: Option<i64>,
}

impl PageParams {
    /// A page of rows of which a workspace, or a person, never has many: all of them are here, and their keys differ.
    pub fn of<T>(&self, workspace: WorkspaceId, question: &str, mut rows: Vec<T>, key: impl Fn(&T) -> String) -> ApiResult<Page<T>> {
        let limit = limit(self.limit)?;
        let total = self.count.unwrap_or(false).then(|| i64::try_from(rows.len()).unwrap_or(i64::MAX));
        rows.sort_by_cached_key(&key);
        let after: Option<String> = self.cursor.as_deref().map(|cursor| cursor::read(workspace, question, cursor)).transpose()?;
        if let Some(after) = after {
            rows.retain(|row| key(row) > after);
        }
        let next_cursor = cursor::cut(workspace, question, &mut rows, limit, &key);
        Ok(Page { data: rows, next_cursor, total })
    }
}

/// The exact number of rows of a list, where it is asked for.
pub async fn totalled(store: &Store, workspace: WorkspaceId, count: Option<bool>, of: Listed) -> ApiResult<Option<i64>> {
    if count.unwrap_or(false) { Ok(Some(store.total(workspace, of).await?)) } else { Ok(None) }
}
