//! Whom an event of a party may concern.

use eventstore::{Database, Error, Row, Timestamp, values};

/// Ids with the versions they are about.
#[derive(Debug, Default)]
pub(crate) struct Concerned {
    /// Journeys that it lets the party into, with the version that is live.
    pub(crate) triggered: Vec<(String, u32)>,
    /// Entries that the party has asked for: journey, version that was live, version of the entry's stream that asked.
    pub(crate) asked: Vec<(String, u32, u64)>,
    /// Instances of the party that have not ended, with their journeys and versions.
    pub(crate) instances: Vec<(String, String, u32)>,
}

/// Everybody, in one statement that looks at three indexes. An empty trigger is none. As it is one, it sees of an entry
/// and the instance that comes of it one or the other, and never neither.
pub(crate) async fn by(
    database: &Database,
    tenant: &str,
    party_id: &str,
    trigger_key: &str,
) -> Result<Concerned, Error> {
    let rows = database
        .query(
            "SELECT 'triggered', t.journey_id, t.journey_id, t.version, t.version
             FROM entry_trigger t
             JOIN journey_version v
                 ON v.tenant = t.tenant AND v.journey_id = t.journey_id AND v.version = t.version
             WHERE t.tenant = $1 AND t.trigger_key = $2
                 AND v.enters = 1 AND v.retired = 0 AND v.timers = 0
             UNION ALL
             SELECT 'asked', journey_id, journey_id, version, request
             FROM entry_request
             WHERE tenant = $1 AND party_id = $3
             UNION ALL
             SELECT 'instance', instance_id, journey_id, version, version
             FROM instance
             WHERE tenant = $1 AND party_id = $3 AND ended_at = $4
             ORDER BY 1, 2, 5",
            values![tenant, trigger_key, party_id, Timestamp::MAX],
        )
        .await?;
    let mut concerned = Concerned::default();
    for row in &rows {
        let (journey_id, version) = (row.text(2)?.to_owned(), version(row)?);
        match row.text(0)? {
            "triggered" => concerned.triggered.push((journey_id, version)),
            "asked" => concerned.asked.push((journey_id, version, row.count(4)?)),
            _ => concerned.instances.push((row.text(1)?.to_owned(), journey_id, version)),
        }
    }
    Ok(concerned)
}

fn version(row: &Row) -> Result<u32, Error> {
    Ok(u32::try_from(row.count(3)?).unwrap_or(u32::MAX))
}
