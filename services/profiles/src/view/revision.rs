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

/// Over keys `k(number, tenant)`.
pub(crate) const READ: &str = "SELECT k.number,
     COALESCE((SELECT position FROM definition d WHERE d.tenant = k.tenant
               ORDER BY d.position DESC LIMIT 1), 0),
     COALESCE((SELECT position FROM pack_revision p WHERE p.tenant = k.tenant), 0)
     FROM k";

/// Where tenants stand, in their order.
pub(crate) async fn of(database: &Database, tenants: &[String]) -> Result<Vec<Revision>, Error> {
    let keys: Vec<_> = (0_u64..).zip(tenants).map(|(n, it)| values![n, it]).collect();
    let rows = database.query_keys("k(number, tenant)", &keys, READ).await?;
    let mut revisions = vec![Revision::default(); tenants.len()];
    for row in &rows {
        let number = usize::try_from(row.count(0)?).unwrap_or(usize::MAX);
        if let Some(revision) = revisions.get_mut(number) {
            *revision = Revision { definitions: row.count(1)?, packs: row.count(2)? };
        }
    }
    Ok(revisions)
}
