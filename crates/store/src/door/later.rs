//! The larger statements of a group, written down on other threads while the database carries out what stands before them.
//!
//! What a statement says is decided before the first one runs, so only its place in the transaction has to be waited for.

use tokio::task::JoinHandle;

use crate::{
    StoreError, Tx,
    dialect::Engine,
    statement::{Spelt, Sql},
};

/// Rows from which another thread is worth its start.
const MANY: usize = 64;

/// What is being made, mostly a statement; `None`: there is nothing to do.
pub(super) enum Later<T = Option<Spelt>> {
    Here(Box<Result<T, StoreError>>),
    Elsewhere(JoinHandle<Result<T, StoreError>>),
}

impl<T: Send + 'static> Later<T> {
    /// Begins to make what is about so many people.
    pub(super) fn begin(people: usize, make: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Self {
        if people < MANY { Self::Here(Box::new(make())) } else { Self::Elsewhere(tokio::task::spawn_blocking(make)) }
    }

    /// Waits for it.
    pub(super) async fn made(self) -> Result<T, StoreError> {
        match self {
            Self::Here(made) => *made,
            Self::Elsewhere(making) => making.await.map_err(|_| StoreError::Stopped)?,
        }
    }
}

impl Later {
    /// Begins to write a statement about so many people.
    pub(super) fn of(engine: Engine, people: usize, make: impl FnOnce() -> Result<Option<Sql>, StoreError> + Send + 'static) -> Self {
        Self::begin(people, move || make()?.map(|sql| sql.spell(engine)).transpose())
    }

    /// Carries it out, in its place.
    pub(super) async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        match self.made().await? {
            Some(spelt) => tx.run_spelt(spelt).await.map(|_| ()),
            None => Ok(()),
        }
    }
}
