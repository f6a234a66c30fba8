//! Instants as columns: `timestamptz` in PostgreSQL, integer microseconds in SQLite.

use people_domain::Timestamp;
use sqlx::{Decode, Postgres, Sqlite, Type, error::BoxDynError, postgres::PgValueRef, sqlite::SqliteValueRef};
use time::OffsetDateTime;

/// A [`Timestamp`] read from either engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At(pub(crate) Timestamp);

impl Type<Sqlite> for At {
    fn type_info() -> <Sqlite as sqlx::Database>::TypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }
    fn compatible(ty: &<Sqlite as sqlx::Database>::TypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl<'r> Decode<'r, Sqlite> for At {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        let micros = <i64 as Decode<Sqlite>>::decode(value)?;
        Timestamp::from_micros(micros).map(Self).ok_or_else(|| "instant out of range".into())
    }
}

impl Type<Postgres> for At {
    fn type_info() -> <Postgres as sqlx::Database>::TypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for At {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let at = <OffsetDateTime as Decode<Postgres>>::decode(value)?;
        Timestamp::from_offset(at).map(Self).ok_or_else(|| "instant out of range".into())
    }
}
