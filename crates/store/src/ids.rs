//! Where ids get their order and their randomness from.

use std::sync::{
    LazyLock,
    atomic::{AtomicU32, Ordering},
};

use people_domain::id::IdSource;
use uuid::Uuid;

/// One counter for the process, begun anywhere, so that two processes do not count alike.
static COUNTER: LazyLock<AtomicU32> = LazyLock::new(|| {
    let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
    AtomicU32::new(u32::from_be_bytes([a, b, c, d]))
});

/// Randomness comes from the generator of the `uuid` crate, which the operating system seeds, and not from a system call each time.
#[derive(Debug, Default)]
pub(crate) struct SystemIds;

impl IdSource for SystemIds {
    fn count(&mut self) -> u32 {
        COUNTER.fetch_add(1, Ordering::Relaxed)
    }

    fn random(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = Uuid::new_v4().into_bytes();
        [a, b, c, d]
    }
}

/// A new UUIDv7 for things made outside a batch of commands.
pub(crate) fn new_id(at: people_domain::Timestamp) -> Uuid {
    SystemIds.next(at)
}
