//! Whole streams, as commands read them: many in one statement.

use crate::error::Error;
use crate::event::Stored;
use crate::sql::Database;
use crate::store::stored;
use crate::together::Together;
use crate::values;

/// A stream: its tenant and its name.
pub(crate) type Wanted = (String, String);

/// Reads streams together.
pub(crate) fn of(database: &Database) -> Together<Wanted, Vec<Stored>> {
    Together::new(
        database.clone(),
        |database, wanted| async move { read(&database, &wanted).await },
    )
}

async fn read(database: &Database, wanted: &[Wanted]) -> Result<Vec<Vec<Stored>>, Error> {
    let key = |(n, (tenant, stream)): (u64, &Wanted)| values![n, tenant, stream];
    let keys: Vec<_> = (0_u64..).zip(wanted).map(key).collect();
    let rows = database
        .query_keys(
            "k(number, tenant, stream)",
            &keys,
            "SELECT e.position, e.chain, e.envelope, k.number FROM k
             JOIN event e ON e.tenant = k.tenant AND e.stream = k.stream",
        )
        .await?;
    let mut found = vec![Vec::new(); wanted.len()];
    for row in &rows {
        let number = usize::try_from(row.count(3)?).unwrap_or_default();
        if let Some(events) = found.get_mut(number) {
            events.push(stored(row)?);
        }
    }
    for events in &mut found {
        events.sort_by_key(|it: &Stored| it.position);
    }
    Ok(found)
}
