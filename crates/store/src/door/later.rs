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

pub(super) enum Later {
    Here(Box<Result<Option<Spelt>, StoreError>>),
    Elsewhere(JoinHandle<Result<Option<Spelt>, StoreError>>),
}

impl Later {
    /// Begins to write a statement about so many people; `None`: there is nothing to do.
    pub(super) fn of(engine: Engine, people: usize, make: impl FnOnce() -> Result<Option<Sql>, StoreError> + Send + 'static) -> Self {
        let spell = move || make()?.map(|sql| sql.spell(engine)).transpose();
        if people < MANY { Self::Here(Box::new(spell())) } else { Self::Elsewhere(tokio::task::spawn_blocking(spell)) }
    }

    /// Carries it out, in its place.
    pub(super) async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let spelt = match self {
            Self::Here(spelt) => (*spelt)?,
            Self::Elsewhere(writing) => writing.await.map_err(|_| StoreError::Stopped)??,
        };
        match spelt {
            Some(spelt) => tx.run_spelt(spelt).await.map(|_| ()),
            None => Ok(()),
        }
    }
}
