//! Everything held on one person, section by section as the registry lists them, for the access export.
//!
//! Rows are read in pages, so memory does not grow with what there is. A row becomes JSON here already: the alias of each
//! column says its name and what it holds, so a table joins the export by its line in the registry.

use std::fmt::Write as _;

use people_domain::{
    Timestamp,
    id::{ProfileId, WorkspaceId},
};
use sqlx::{Column as _, ColumnIndex, Decode, FromRow, Row, Type, postgres::PgRow, sqlite::SqliteRow};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    engine::Pools,
    registry::{EXPORTS, Export, Order, Section},
    statement::{Arg, Sql},
    time::At,
};

/// Rows read at a time.
const PAGE: i64 = 500;

/// A piece of the export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A section begins.
    Section(&'static str),
    /// Rows of the section, each a JSON object.
    Rows(Vec<String>),
}

/// The sections the registry has, in its order.
pub fn sections() -> impl Iterator<Item = &'static Section> {
    EXPORTS.iter().filter_map(|(_, export)| match export {
        Export::Section(section) => Some(section),
        Export::Elsewhere(_) => None,
    })
}

/// The walk through everything held on one person.
pub struct Dossier {
    pools: Pools,
    workspace: WorkspaceId,
    profile: ProfileId,
    /// What is left, last first.
    left: Vec<&'static Section>,
    /// The section whose rows come next, and after which one.
    within: Option<(&'static Section, Option<Place>)>,
}

impl std::fmt::Debug for Dossier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dossier({} sections left)", self.left.len())
    }
}

#[derive(Clone, Copy)]
struct Place {
    at: Option<Timestamp>,
    id: Uuid,
}

impl Store {
    pub fn dossier(&self, workspace: WorkspaceId, profile: ProfileId) -> Dossier {
        let mut left: Vec<&'static Section> = sections().collect();
        left.reverse();
        Dossier { pools: self.pools.clone(), workspace, profile, left, within: None }
    }
}

impl Dossier {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Piece>, StoreError> {
        let Some((section, after)) = self.within.take() else {
            return Ok(self.left.pop().map(|section| {
                self.within = Some((section, None));
                Piece::Section(section.name)
            }));
        };
        let rows: Vec<Record> = self.pools.all(page(section, self.workspace, self.profile, after)).await?;
        let whole = matches!(section.order, Order::Whole(_)) || i64::try_from(rows.len()).is_ok_and(|rows| rows < PAGE);
        if !whole {
            self.within = rows.last().map(|last| (section, Some(last.place)));
        }
        Ok(Some(Piece::Rows(rows.into_iter().map(|row| row.json).collect())))
    }
}

/// One page of a section, put together from the registry's static pieces.
fn page(section: &Section, workspace: WorkspaceId, profile: ProfileId, after: Option<Place>) -> Sql {
    let mut text = format!("{} WHERE t.workspace_id = $1 AND t.{} = $2", section.select, section.whose);
    let mut args: Vec<Arg> = vec![workspace.into(), profile.into()];
    let order = match (section.order, after) {
        (Order::Whole(order), _) => {
            text.push_str(" ORDER BY ");
            text.push_str(order);
            return Sql::composed(text, args);
        }
        (Order::Id(column), after) => {
            if let Some(after) = after {
                args.push(after.id.into());
                let _ = write!(text, " AND t.{column} > $3");
            }
            format!("t.{column}")
        }
        (Order::Time(column), after) => {
            if let Some(after) = after {
                args.extend([Arg::from(after.at), after.id.into()]);
                let _ = write!(text, " AND (t.{column}, t.id) > ($3, $4)");
            }
            format!("t.{column}, t.id")
        }
        (Order::Day(day, column), after) => {
            if let Some(after) = after {
                args.extend([Arg::from(after.at), after.id.into()]);
                let _ = write!(text, " AND t.{day} >= {{day(}}$3{{)day}} AND (t.{column}, t.id) > ($3, $4)");
            }
            format!("t.{day}, t.{column}, t.id")
        }
    };
    args.push(PAGE.into());
    let _ = write!(text, " ORDER BY {order} LIMIT ${}", args.len());
    Sql::composed(text, args)
}

/// A row as JSON, and where it stands: its first id, and its first time.
struct Record {
    json: String,
    place: Place,
}

/// Reads the columns by what their aliases say they hold.
fn record<'r, R>(row: &'r R) -> Result<Record, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
    Option<bool>: Decode<'r, R::Database> + Type<R::Database>,
    Option<Uuid>: Decode<'r, R::Database> + Type<R::Database>,
    Option<At>: Decode<'r, R::Database> + Type<R::Database>,
{
    let mut json = String::from("{");
    let mut place = Place { at: None, id: Uuid::nil() };
    for (i, column) in row.columns().iter().enumerate() {
        let (name, kind) = column.name().split_once(':').unwrap_or((column.name(), "text"));
        let value = match kind {
            "uuid" => {
                let id: Option<Uuid> = row.try_get(i)?;
                if place.id.is_nil() {
                    place.id = id.unwrap_or_default();
                }
                id.map(|id| format!("\"{id}\""))
            }
            "time" => {
                let at: Option<At> = row.try_get(i)?;
                place.at = place.at.or(at.map(|at| at.0));
                at.map(|at| format!("\"{}\"", at.0))
            }
            "int" => row.try_get::<Option<i64>, _>(i)?.map(|n| n.to_string()),
            "bool" => row.try_get::<Option<bool>, _>(i)?.map(|flag| flag.to_string()),
            "json" => row.try_get::<Option<String>, _>(i)?,
            _ => row.try_get::<Option<String>, _>(i)?.map(|text| serde_json::Value::from(text).to_string()),
        };
        let comma = if i == 0 { "" } else { "," };
        let _ = write!(json, "{comma}\"{name}\":{}", value.as_deref().unwrap_or("null"));
    }
    json.push('}');
    Ok(Record { json, place })
}

impl<'r> FromRow<'r, SqliteRow> for Record {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        record(row)
    }
}

impl<'r> FromRow<'r, PgRow> for Record {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        record(row)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Order, sections};

    #[test]
    fn sections_have_names_of_their_own_and_what_their_order_needs() {
        let names: BTreeSet<&str> = sections().map(|section| section.name).collect();
        assert_eq!(names.len(), sections().count());
        for section in sections() {
            // A page goes on after the first id and the first time of the last row: they must be those of the order.
            let first = |kind: &str| {
                let before = section.select.find(&format!(":{kind}\"")).map(|end| &section.select[..end]);
                before.and_then(|before| before.rsplit_once('"')).map(|(_, name)| name.to_owned())
            };
            match section.order {
                Order::Whole(_) => {}
                Order::Id(column) => assert_eq!(first("uuid").as_deref(), Some(column), "{}", section.name),
                Order::Time(column) | Order::Day(_, column) => {
                    assert_eq!((first("uuid").as_deref(), first("time").as_deref()), (Some("id"), Some(column)), "{}", section.name);
                }
            }
        }
    }
}
