//! That people were handed out, in the audit log: before the first byte, and how many there were once it is over.

use std::sync::Arc;

use people_domain::{
    directory::Cause,
    id::{RecordId, WorkspaceId},
};
use people_store::{Act, Store};
use serde_json::json;

use crate::problem::ApiResult;

/// An export under way. When it is let go of before its end, what had been sent by then is noted all the same.
#[derive(Debug)]
pub struct Noted {
    store: Store,
    workspace: WorkspaceId,
    cause: Arc<Cause>,
    id: RecordId,
    people: u64,
    over: bool,
}

impl Noted {
    /// Notes that an export begins. E: it is not noted, and must not begin.
    pub async fn begin(store: &Store, workspace: WorkspaceId, cause: Arc<Cause>, format: &'static str) -> ApiResult<Self> {
        let id = store.new_record_id();
        let act = Act::of("profiles.exported", "export", id).with(json!({"format": format}));
        store.audit(workspace, Arc::clone(&cause), act).await?;
        Ok(Self { store: store.clone(), workspace, cause, id, people: 0, over: false })
    }

    /// So many more people were handed over.
    pub fn sent(&mut self, people: usize) {
        self.people += u64::try_from(people).unwrap_or(0);
    }

    /// It is over, and whole.
    pub async fn end(mut self) -> ApiResult<()> {
        self.over = true;
        let cause = self.now();
        Ok(self.store.audit(self.workspace, cause, self.act(true)).await?)
    }

    fn act(&self, complete: bool) -> Act {
        Act::of("profiles.export_ended", "export", self.id).with(json!({"count": self.people, "complete": complete}))
    }

    /// The same caller, now.
    fn now(&self) -> Arc<Cause> {
        Arc::new(Cause { at: self.store.now(), ..(*self.cause).clone() })
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (store, workspace, cause, act) = (self.store.clone(), self.workspace, self.now(), self.act(false));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if store.audit(workspace, cause, act).await.is_err() {
                    tracing::warn!("the end of an export that broke off could not be noted");
                }
            });
        }
    }
}
