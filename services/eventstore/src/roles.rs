//! Two roles in PostgreSQL: one migrates, another one serves. The one that serves reads, appends facts and writes views;
//! it changes no table and no fact, so a process that is taken over cannot rewrite history, guard or no guard.

use crate::error::Error;
use crate::sql::Database;
use crate::values;

/// Grants a role what serving needs, and takes away the rest; to be repeated after each migration.
pub async fn grant(database: &Database, role: &str) -> Result<(), Error> {
    let found = database.query("SELECT 1 FROM pg_roles WHERE rolname = $1", values![role]).await?;
    if found.is_empty() {
        return Err(Error::unavailable(format!(
            "there is no role {role}: create it, then run `rapport migrate` again"
        )));
    }
    let role = quoted(role);
    let mut tx = database.begin().await?;
    let rows = tx.query("SELECT CAST(current_schema() AS TEXT)", vec![]).await?;
    let schema = rows.first().map_or(Ok("public"), |it| it.text(0))?;
    let schema = quoted(schema);
    tx.script(&format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role};
         REVOKE CREATE ON SCHEMA {schema} FROM {role};
         GRANT USAGE ON SCHEMA {schema} TO {role};
         GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
         REVOKE UPDATE, DELETE ON event FROM {role};
         REVOKE INSERT, UPDATE, DELETE ON migration FROM {role}"
    ))
    .await?;
    tx.commit().await
}

/// A name as an identifier, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
