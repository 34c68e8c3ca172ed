//! How a database answers a statement.

use crate::ids::hex;
use crate::sql::{Args, Database, Value, over};

/// Tells how a reading statement is answered, step by step. PostgreSQL answers by the plan that it makes once for all
/// values, as every store has it, and tells what it met. `keys` names a table of keys, of which the values are one, as
/// in [`Database::query_keys`]; it is empty for a statement that is not over keys.
pub async fn plan(database: &Database, keys: &str, sql: &str, values: Vec<Value>) -> String {
    let postgres = database.is_postgres();
    let (sql, args) = match keys {
        "" => (sql.to_owned(), Args::Values(values)),
        _ => over(postgres, keys, &[values], sql).expect("a table of keys").remove(0),
    };
    let mut tx = database.snapshot().await.expect("a snapshot");
    if !postgres {
        let explained = tx.query_text(format!("EXPLAIN QUERY PLAN {sql}"), args).await;
        let rows = explained.expect("explained");
        let lines: Vec<_> = rows.iter().map(|it| it.text(3).expect("a line")).collect();
        return lines.join("\n");
    }
    let (types, values): (Vec<_>, Vec<_>) = match args {
        Args::Values(row) => row.iter().map(literal).unzip(),
        Args::Columns(rows) => rows.iter().flatten().map(array).unzip(),
    };
    let none = || Args::Values(Vec::new());
    let prepare = format!("PREPARE asked ({}) AS {sql}", types.join(", "));
    tx.exec_text(prepare, none()).await.expect("prepared");
    let execute = match values.as_slice() {
        [] => "EXECUTE asked".to_owned(),
        values => format!("EXECUTE asked ({})", values.join(", ")),
    };
    let explain = format!("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) {execute}");
    let rows = tx.query_text(explain, none()).await.expect("answered");
    tx.exec_text("DEALLOCATE asked".to_owned(), none()).await.expect("forgotten");
    let lines: Vec<_> = rows.iter().map(|it| it.text(0).expect("a line")).collect();
    lines.join("\n")
}

/// The type of a value, and the value, as PostgreSQL reads them.
fn literal(value: &Value) -> (String, String) {
    let (kind, text) = match value {
        Value::Null => panic!("a NULL is never written"),
        Value::Int(it) => ("bigint", it.to_string()),
        Value::Text(it) => ("text", it.replace('\'', "''")),
        Value::Float(it) => ("double precision", it.to_string()),
        Value::Blob(it) => ("bytea", format!("\\x{}", hex(it))),
    };
    (kind.to_owned(), format!("'{text}'::{kind}"))
}

/// A column of one value.
fn array(value: &Value) -> (String, String) {
    let (kind, value) = literal(value);
    (format!("{kind}[]"), format!("ARRAY[{value}]"))
}
