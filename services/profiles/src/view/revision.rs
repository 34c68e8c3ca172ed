//! What tells a replica that what it holds in memory is what the tables hold.

use eventstore::{Database, Error, values};

/// Positions of the events that were applied last. Whoever changes a definition or a rule pack changes one of them, on
/// whichever replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revision {
    /// Of this service: to traits and segments.
    pub(crate) definitions: u64,
    /// Of `decisioning`: to rule packs. Less than before when an event was parked and applied later.
    pub(crate) packs: u64,
}

pub(crate) const READ: &str = "SELECT
     COALESCE((SELECT position FROM definition WHERE tenant = $1 ORDER BY position DESC LIMIT 1), 0),
     COALESCE((SELECT position FROM pack_revision WHERE tenant = $1), 0)";

/// Where a tenant stands.
pub(crate) async fn of(database: &Database, tenant: &str) -> Result<Revision, Error> {
    let rows = database.query(READ, values![tenant]).await?;
    rows.first().map_or(Ok(Revision::default()), |row| {
        Ok(Revision { definitions: row.count(0)?, packs: row.count(1)? })
    })
}
