//! Ids: UUIDv7 (RFC 9562), so that they sort by the time they were made and insert at the end of every index.
//!
//! A newtype for each thing that has one: a profile id cannot be passed where a workspace id is meant. Randomness comes
//! in as bytes from the caller.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

ids! {
    /// A tenant: everything belongs to one.
    WorkspaceId,
    /// One person.
    ProfileId,
    /// A segment's definition.
    SegmentId,
    /// An entry of the audit trail, a receipt, a key: whatever needs no type of its own.
    RecordId,
}

/// Where new ids come from: the time is given, the rest is the source's.
pub trait IdSource {
    /// The next number of a counter; ids of one microsecond sort by it.
    fn count(&mut self) -> u32;

    /// Four random bytes.
    fn random(&mut self) -> [u8; 4];

    /// UUIDv7 (RFC 9562 section 6.2, methods 1 and 3): milliseconds, then microseconds, then a counter, then randomness.
    fn next(&mut self, at: Timestamp) -> Uuid {
        let micros = u16::try_from(at.micros().rem_euclid(1_000)).unwrap_or(0) << 2;
        let [a, b] = micros.to_be_bytes();
        // Two bits of the counter's first byte become the variant.
        let [c, d, e, f] = (self.count() & 0x3FFF_FFFF).to_be_bytes();
        let [g, h, i, j] = self.random();
        uuid::Builder::from_unix_timestamp_millis(at.unix_millis(), &[a, b, c, d, e, f, g, h, i, j]).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::IdSource;
    use crate::Timestamp;

    struct Steps(u32);

    impl IdSource for Steps {
        fn count(&mut self) -> u32 {
            self.0 += 1;
            self.0
        }
        fn random(&mut self) -> [u8; 4] {
            [0xFF - u8::try_from(self.0 % 256).unwrap_or(0); 4]
        }
    }

    #[test]
    fn ids_sort_by_the_time_and_then_by_the_order_they_were_made_in() {
        let mut source = Steps(0);
        let at = |micros: i64| Timestamp::from_micros(1_790_000_000_000_000 + micros).unwrap_or(Timestamp::MIN);
        let ids: Vec<_> = [0, 0, 1, 1, 999, 1_000, 1_001].map(|m| source.next(at(m))).into();
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }
}
