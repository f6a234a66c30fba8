//! Many rows in one statement: `INSERT … SELECT … FROM {rows} AS r`.
//!
//! PostgreSQL gets a typed array per column (`unnest`), SQLite one JSON array (`json_each`). The text depends on the
//! columns only, never on how many rows there are, so each statement is prepared once. Of a statement that writes each row by itself
//! SQLite gets many rows in pieces of a fixed size, as bound values ([`Rows::take_pieces`]). A table is joined to them by
//! `FROM {rows} AS r CROSS JOIN t WHERE …`: SQLite then keeps this order and looks up, where it would otherwise scan. It is
//! changed by `UPDATE t SET … FROM (SELECT $1 AS workspace_id, s.* FROM {rows} AS s {fence}) AS r WHERE {aside}t.workspace_id = $1
//! AND t.workspace_id = r.workspace_id AND …`, each row once: `SET c = (SELECT … FROM {rows})` goes through all rows for each (to move
//! the events of 2,500 people took SQLite 6.7 s so, and 45 ms this way).

use std::fmt::Write as _;

use people_domain::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::{dialect::Engine, statement::Arg};

/// Rows of a piece. A bound value costs SQLite a fifth of one that is read out of JSON; what is prepared for a piece keeps some
/// 200 KB, and is carried out in a millisecond or so.
pub(crate) const PIECE: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Text,
    /// A text of some length, such as a document.
    Long,
    Uuid,
    Time,
    Json,
}

impl Kind {
    /// Whether SQLite is given it beside the rows: written as a string of JSON, each quotation mark in it would be escaped
    /// here and read back there.
    const fn is_beside(self) -> bool {
        matches!(self, Self::Long | Self::Json)
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Bool(bool),
    Int(Option<i64>),
    Text(Option<String>),
    Uuid(Option<Uuid>),
    Time(Option<Timestamp>),
}

/// As SQLite is given it: truth and instants as numbers, ids as hexadecimal digits.
impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(v) => serializer.serialize_u8(u8::from(*v)),
            Self::Int(v) => v.serialize(serializer),
            Self::Text(v) => v.serialize(serializer),
            Self::Uuid(Some(v)) => serializer.serialize_str(v.simple().encode_lower(&mut [0; uuid::fmt::Simple::LENGTH])),
            Self::Uuid(None) => serializer.serialize_none(),
            Self::Time(v) => v.map(Timestamp::micros).serialize(serializer),
        }
    }
}

/// As a value of its own.
impl From<Cell> for Arg {
    fn from(cell: Cell) -> Self {
        match cell {
            Cell::Bool(v) => Self::Bool(v),
            Cell::Int(v) => Self::Int(v),
            Cell::Text(v) => Self::Text(v),
            Cell::Uuid(v) => Self::Uuid(v),
            Cell::Time(v) => Self::Time(v),
        }
    }
}

macro_rules! into_cell {
    ($($from:ty => |$value:ident| $into:expr),+ $(,)?) => {$(
        impl From<$from> for Cell {
            fn from($value: $from) -> Self { $into }
        }
    )+};
}

into_cell! {
    bool => |v| Self::Bool(v),
    i64 => |v| Self::Int(Some(v)),
    Option<i64> => |v| Self::Int(v),
    &str => |v| Self::Text(Some(v.to_owned())),
    String => |v| Self::Text(Some(v)),
    Option<String> => |v| Self::Text(v),
    Option<&str> => |v| Self::Text(v.map(str::to_owned)),
    Uuid => |v| Self::Uuid(Some(v)),
    Option<Uuid> => |v| Self::Uuid(v),
    Timestamp => |v| Self::Time(Some(v)),
    Option<Timestamp> => |v| Self::Time(v),
    people_domain::id::ProfileId => |v| Self::Uuid(Some(v.0)),
    people_domain::id::RecordId => |v| Self::Uuid(Some(v.0)),
}

#[derive(Clone, Debug)]
pub(crate) struct Rows {
    columns: &'static [(&'static str, Kind)],
    cells: Vec<Vec<Cell>>,
}

impl Rows {
    pub(crate) fn new(columns: &'static [(&'static str, Kind)]) -> Self {
        Self { columns, cells: Vec::new() }
    }

    pub(crate) fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "cells and columns differ");
        self.cells.push(row.into());
    }

    /// A row with cells that not all statements of a kind have.
    pub(crate) fn push_with<const N: usize>(&mut self, row: [Cell; N], more: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().chain(more).collect();
        debug_assert_eq!(row.len(), self.columns.len(), "cells and columns differ");
        self.cells.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    /// The source to select from, and the values it needs from placeholder `first` on.
    pub(crate) fn render(self, engine: Engine, first: usize) -> (String, Vec<Arg>) {
        match engine {
            Engine::Sqlite => self.for_sqlite(first),
            Engine::Postgres => self.for_postgres(first),
        }
    }

    /// The first column as a list to be looked up by: `= ANY(…)`, `IN (…)`. PostgreSQL then has one table to plan for, and
    /// never another order of joining than ours.
    pub(crate) fn render_list(self, engine: Engine, first: usize) -> (String, Vec<Arg>) {
        match engine {
            Engine::Sqlite => {
                let name = self.name();
                let (source, args) = self.for_sqlite(first);
                (format!("IN (SELECT {name} FROM {source})"), args)
            }
            Engine::Postgres => self.any_of(first),
        }
    }

    /// The same for a column of an index that is not the table's own: what stands before the table, what follows the
    /// column, and the values. SQLite prefers to read a whole workspace to looking a list up in such an index, and is told
    /// the order by a join; nothing may be twice in the list.
    pub(crate) fn render_walk(self, engine: Engine, first: usize) -> (String, String, Vec<Arg>) {
        match engine {
            Engine::Sqlite => {
                let name = self.name();
                let (source, args) = self.for_sqlite(first);
                (format!("{source} AS walked CROSS JOIN"), format!("= walked.{name}"), args)
            }
            Engine::Postgres => {
                let (any, args) = self.any_of(first);
                (String::new(), any, args)
            }
        }
    }

    /// Takes the first rows, as many as fill pieces: the values of each piece, one row after the other.
    pub(crate) fn take_pieces(&mut self) -> Vec<Vec<Arg>> {
        let mut pieces = Vec::with_capacity(self.cells.len() / PIECE);
        let rest = self.cells.split_off(self.cells.len() / PIECE * PIECE);
        let mut rows = std::mem::replace(&mut self.cells, rest).into_iter();
        while rows.len() > 0 {
            let mut values = Vec::with_capacity(PIECE * self.columns.len());
            values.extend(rows.by_ref().take(PIECE).flatten().map(Arg::from));
            pieces.push(values);
        }
        pieces
    }

    /// The source of a piece, and how many values it has; they have no numbers, since SQLite looks for a number among all.
    pub(crate) fn render_piece(&self) -> (String, usize) {
        let mut text = String::from("(SELECT ");
        for (i, (name, _)) in self.columns.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}column{} AS {name}", i + 1);
        }
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        let _ = write!(text, " FROM (VALUES {}))", vec![row.as_str(); PIECE].join(", "));
        (text, PIECE * self.columns.len())
    }

    fn name(&self) -> &'static str {
        self.columns.first().map_or("", |(name, _)| *name)
    }

    fn any_of(self, first: usize) -> (String, Vec<Arg>) {
        let (_, args) = self.for_postgres(first);
        (format!("= ANY(${first})"), args)
    }

    fn for_sqlite(mut self, first: usize) -> (String, Vec<Arg>) {
        let mut text = String::from("(SELECT ");
        let beside = first + 1;
        let mut lengths = self.columns.len()..;
        for (i, (name, kind)) in self.columns.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            // Writing to a String does not fail.
            let _ = match kind {
                Kind::Uuid => write!(text, "{comma}unhex(value ->> {i}) AS {name}"),
                kind if kind.is_beside() => {
                    let length = lengths.next().unwrap_or_default();
                    write!(text, "{comma}CAST(substr(${beside}, value ->> {i}, value ->> {length}) AS TEXT) AS {name}")
                }
                _ => write!(text, "{comma}value ->> {i} AS {name}"),
            };
        }
        // jsonb_each hands each row on in binary: reading twenty columns of it parses nothing twice.
        let _ = write!(text, " FROM jsonb_each(${first}))");
        let bytes = self.set_beside();
        // Nothing in a cell can fail to be written; were it so, SQLite would refuse the empty text.
        let json = serde_json::to_string(&self.cells).unwrap_or_default();
        let mut args = vec![Arg::Json(json)];
        args.extend(bytes.map(Arg::Bytes));
        (text, args)
    }

    /// Puts the longer texts one after the other; in their places stands where each begins, and at the end of the row how
    /// many bytes it has. `None`: no column has such.
    fn set_beside(&mut self) -> Option<Vec<u8>> {
        let beside: Vec<usize> = (0..self.columns.len()).filter(|i| self.columns[*i].1.is_beside()).collect();
        let mut bytes = Vec::new();
        for row in &mut self.cells {
            for i in &beside {
                let Cell::Text(long) = std::mem::replace(&mut row[*i], Cell::Int(None)) else { continue };
                let length = long.map(|long| {
                    row[*i] = Cell::Int(i64::try_from(bytes.len() + 1).ok());
                    bytes.extend_from_slice(long.as_bytes());
                    i64::try_from(long.len()).unwrap_or(i64::MAX)
                });
                row.push(Cell::Int(length));
            }
        }
        (!beside.is_empty()).then_some(bytes)
    }

    fn for_postgres(self, first: usize) -> (String, Vec<Arg>) {
        let mut casts = String::new();
        let mut names = String::new();
        let mut select = String::new();
        let mut args: Vec<Arg> = Vec::with_capacity(self.columns.len());
        for (i, (name, kind)) in self.columns.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let n = first + i;
            let (cast, arg) = match kind {
                Kind::Bool => ("boolean", Arg::BoolList(Vec::new())),
                Kind::Int => ("bigint", Arg::IntList(Vec::new())),
                Kind::Text | Kind::Long | Kind::Json => ("text", Arg::TextList(Vec::new())),
                Kind::Uuid => ("uuid", Arg::UuidList(Vec::new())),
                Kind::Time => ("timestamptz", Arg::TimeList(Vec::new())),
            };
            args.push(arg);
            let _ = write!(casts, "{comma}${n}::{cast}[]");
            let _ = write!(names, "{comma}{name}");
            let _ = if *kind == Kind::Json { write!(select, "{comma}{name}::jsonb AS {name}") } else { write!(select, "{comma}{name}") };
        }
        for row in self.cells {
            for (arg, cell) in args.iter_mut().zip(row) {
                match (arg, cell) {
                    (Arg::BoolList(list), Cell::Bool(v)) => list.push(Some(v)),
                    (Arg::IntList(list), Cell::Int(v)) => list.push(v),
                    (Arg::TextList(list), Cell::Text(v)) => list.push(v),
                    (Arg::UuidList(list), Cell::Uuid(v)) => list.push(v),
                    (Arg::TimeList(list), Cell::Time(v)) => list.push(v),
                    (arg, cell) => debug_assert!(false, "a {cell:?} in {arg:?}"),
                }
            }
        }
        (format!("(SELECT {select} FROM unnest({casts}) AS u ({names}))"), args)
    }
}

/// A list of ids as rows of one column, `id`.
pub(crate) fn ids(ids: impl IntoIterator<Item = Uuid>) -> Rows {
    let mut rows = Rows::new(&[("id", Kind::Uuid)]);
    for id in ids {
        rows.push([id.into()]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::{Cell, Kind, PIECE, Rows};
    use crate::{dialect::Engine, statement::Arg};

    #[test]
    fn longer_texts_stand_beside_the_rows() {
        let mut rows = Rows::new(&[("id", Kind::Int), ("document", Kind::Long), ("name", Kind::Text), ("tags", Kind::Json)]);
        rows.push([1.into(), "\u{e9}\"".into(), "a".into(), "[]".into()]);
        rows.push([2.into(), Option::<String>::None.into(), "b".into(), "{}".into()]);
        let (text, args) = rows.render(Engine::Sqlite, 4);
        assert!(text.contains("CAST(substr($5, value ->> 1, value ->> 4) AS TEXT) AS document"), "{text}");
        assert!(text.contains("CAST(substr($5, value ->> 3, value ->> 5) AS TEXT) AS tags"), "{text}");
        let [Arg::Json(json), Arg::Bytes(bytes)] = args.as_slice() else { panic!("{args:?}") };
        assert_eq!(json, r#"[[1,1,"a",4,3,2],[2,null,"b",6,null,2]]"#);
        assert_eq!(bytes, "\u{e9}\"[]{}".as_bytes());
    }

    #[test]
    fn pieces_are_full_and_the_rest_stays() {
        let mut rows = Rows::new(&[("n", Kind::Int), ("at", Kind::Time)]);
        (0..2 * PIECE as i64 + 1).for_each(|n| rows.push([n.into(), Option::<people_domain::Timestamp>::None.into()]));
        let pieces = rows.take_pieces();
        assert_eq!((pieces.len(), rows.len()), (2, 1));
        let (text, values) = rows.render_piece();
        assert_eq!(values, 2 * PIECE);
        assert_eq!((pieces[0].len(), pieces[1].len(), text.matches('?').count()), (values, values, values));
        assert!(text.starts_with("(SELECT column1 AS n, column2 AS at FROM (VALUES (?, ?), (?, ?), "), "{text}");
        assert!(matches!(pieces[1][..], [Arg::Int(Some(128)), Arg::Time(None), Arg::Int(Some(129)), ..]), "{:?}", pieces[1]);
        assert!(rows.take_pieces().is_empty(), "what is left fills none");
    }

    #[test]
    fn a_cell_is_written_as_sqlite_compares_it() {
        let id = uuid::Uuid::from_u128(0x0123_4567_89ab_cdef);
        let cells: [(Cell, &str); 7] = [
            (true.into(), "1"),
            ((-5_i64).into(), "-5"),
            (Option::<i64>::None.into(), "null"),
            ("a \"b\"".into(), r#""a \"b\"""#),
            (id.into(), "\"00000000000000000123456789abcdef\""),
            (Option::<uuid::Uuid>::None.into(), "null"),
            (people_domain::Timestamp::from_micros(1_000_001).into(), "1000001"),
        ];
        for (cell, expected) in cells {
            assert_eq!(serde_json::to_string(&cell).ok().as_deref(), Some(expected));
        }
    }
}
