//! Whom an event of a party may concern.

use eventstore::{Database, Error, Row, Timestamp, Together, values};

/// Ids with the versions they are about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Concerned {
    /// Journeys that it lets the party into, with the version that is live.
    pub(crate) triggered: Vec<(String, u32)>,
    /// Entries that the party has asked for: journey, version that was live, version of the entry's stream that asked.
    pub(crate) asked: Vec<(String, u32, u64)>,
    /// Instances of the party that have not ended, with their journeys and versions.
    pub(crate) instances: Vec<(String, String, u32)>,
}

/// What happened, and to whom. An empty trigger is none.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) tenant: String,
    pub(crate) party_id: String,
    pub(crate) trigger_key: String,
}

/// Finds everybody, for many events at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Everybody(Together<Happened, Concerned>);

impl Everybody {
    pub(crate) fn of(database: &Database) -> Self {
        Self(Together::new(database.clone(), |database, happened: Vec<Happened>| async move {
            by(&database, &happened).await
        }))
    }

    pub(crate) async fn by(&self, happened: Happened) -> Result<Concerned, Error> {
        self.0.read(happened).await
    }
}

/// One statement looks at three indexes: it sees of an entry and the instance that comes of it one or the other, and
/// never neither.
async fn by(database: &Database, happened: &[Happened]) -> Result<Vec<Concerned>, Error> {
    let keys: Vec<_> = (happened.iter().enumerate())
        .map(|(number, it)| {
            values![number as u64, &it.tenant, &it.party_id, &it.trigger_key, Timestamp::MAX]
        })
        .collect();
    let rows = database
        .query_keys(
            "k(number, tenant, party_id, trigger_key, open)",
            &keys,
            "SELECT k.number, 'triggered', t.journey_id, t.journey_id, t.version, t.version
             FROM k
             JOIN entry_trigger t ON t.tenant = k.tenant AND t.trigger_key = k.trigger_key
             JOIN journey_version v
                 ON v.tenant = t.tenant AND v.journey_id = t.journey_id AND v.version = t.version
             WHERE v.enters = 1 AND v.retired = 0 AND v.timers = 0
             UNION ALL
             SELECT k.number, 'asked', e.journey_id, e.journey_id, e.version, e.request
             FROM k JOIN entry_request e ON e.tenant = k.tenant AND e.party_id = k.party_id
             UNION ALL
             SELECT k.number, 'instance', i.instance_id, i.journey_id, i.version, i.version
             FROM k
             JOIN instance i
                 ON i.tenant = k.tenant AND i.party_id = k.party_id AND i.ended_at = k.open
             ORDER BY 1, 2, 3, 6",
        )
        .await?;
    let mut everybody = vec![Concerned::default(); happened.len()];
    for row in &rows {
        let concerned = usize::try_from(row.count(0)?).ok().and_then(|it| everybody.get_mut(it));
        let concerned = concerned.ok_or_else(|| Error::corrupt("nobody asked for this"))?;
        let (journey_id, version) = (row.text(3)?.to_owned(), version(row)?);
        match row.text(1)? {
            "triggered" => concerned.triggered.push((journey_id, version)),
            "asked" => concerned.asked.push((journey_id, version, row.count(5)?)),
            _ => concerned.instances.push((row.text(2)?.to_owned(), journey_id, version)),
        }
    }
    Ok(everybody)
}

fn version(row: &Row) -> Result<u32, Error> {
    Ok(u32::try_from(row.count(4)?).unwrap_or(u32::MAX))
}
