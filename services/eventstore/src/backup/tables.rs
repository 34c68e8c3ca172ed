//! Any table of a store: its rows in the order of its key, page by page.

use super::frame;
use crate::error::Error;
use crate::sql::{Args, Tx, Value};
use crate::values;

/// Rows of a page.
const PAGE: usize = 200;

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
    /// Places of its primary key's columns, in the key's order.
    key: Vec<usize>,
}

impl Table {
    pub(super) fn of(it: frame::Table) -> Self {
        Self { name: it.name, columns: it.columns, key: Vec::new() }
    }

    pub(super) fn is_like(&self, other: &Self) -> bool {
        let sorted = |it: &Self| {
            let mut columns = it.columns.clone();
            columns.sort();
            columns
        };
        self.name == other.name && sorted(self) == sorted(other)
    }

    pub(super) fn cell<'r>(&self, row: &'r [Value], column: &str) -> Option<&'r Value> {
        row.get(self.columns.iter().position(|it| it == column)?)
    }
}

/// Every table of the store, by name.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<Table>, Error> {
    let postgres = tx.is_postgres();
    let names = match postgres {
        true => {
            "SELECT CAST(c.relname AS TEXT) FROM pg_class c
             JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind = 'r' AND n.nspname = current_schema() ORDER BY 1"
        }
        false => {
            "SELECT name FROM sqlite_master
             WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        }
    };
    let columns = match postgres {
        true => {
            "SELECT CAST(a.attname AS TEXT),
                 CAST(COALESCE(array_position(CAST(i.indkey AS int2[]), a.attnum) + 1, 0) AS BIGINT)
             FROM pg_attribute a
             LEFT JOIN pg_index i ON i.indrelid = a.attrelid AND i.indisprimary
             WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
             ORDER BY a.attnum"
        }
        false => "SELECT name, pk FROM pragma_table_info($1) ORDER BY cid",
    };
    let mut tables = Vec::new();
    for row in tx.query(names, vec![]).await? {
        let mut table = Table { name: row.text(0)?.to_owned(), ..Table::default() };
        let mut key = Vec::new();
        for (place, row) in tx.query(columns, values![&table.name]).await?.iter().enumerate() {
            table.columns.push(row.text(0)?.to_owned());
            match row.int(1)? {
                0 => {}
                number => key.push((number, place)),
            }
        }
        key.sort_unstable();
        table.key = key.into_iter().map(|it| it.1).collect();
        if table.key.is_empty() {
            return Err(Error::corrupt(format!("table {} has no key", table.name)));
        }
        tables.push(table);
    }
    Ok(tables)
}

/// The rows after a row, in the order of the key.
pub(super) async fn page(
    tx: &mut Tx,
    table: &Table,
    after: Option<&[Value]>,
) -> Result<Vec<Vec<Value>>, Error> {
    let key: Vec<_> = table.key.iter().map(|it| table.columns[*it].as_str()).collect();
    let key = key.join(", ");
    let (mut behind, mut args) = (String::new(), Vec::new());
    if let Some(row) = after {
        args.extend(table.key.iter().map(|it| row[*it].clone()));
        let places: Vec<_> = (1..=args.len()).map(|it| format!("${it}")).collect();
        behind = format!("WHERE ({key}) > ({})", places.join(", "));
    }
    let (columns, name) = (table.columns.join(", "), &table.name);
    let sql = format!("SELECT {columns} FROM {name} {behind} ORDER BY {key} LIMIT {PAGE}");
    let rows = tx.query_text(sql, Args::Values(args)).await?;
    Ok(rows.into_iter().map(crate::Row::into_values).collect())
}

/// Writes rows of a table.
pub(super) async fn insert(tx: &mut Tx, table: &Table, rows: Vec<Vec<Value>>) -> Result<(), Error> {
    if rows.iter().any(|it| it.len() != table.columns.len()) {
        return Err(Error::corrupt(format!("a row of {} is of another width", table.name)));
    }
    let insert = format!("INSERT INTO {} ({})", table.name, table.columns.join(", "));
    tx.insert_rows(&insert, rows, "").await.map(drop)
}
