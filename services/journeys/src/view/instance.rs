//! Instances in the order in which they began, where they stand, and what they wait for.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, Value, values};
use rapport_proto::journeys::v1::instance_event::Event;

/// What look-ups need.
#[derive(Clone, Debug)]
struct Entry {
    journey_id: String,
    version: u32,
    party_id: String,
    node: String,
    /// Touch or invitation.
    awaits: String,
    paused: bool,
    started_at: Timestamp,
    started_position: u64,
    ended_at: Timestamp,
}

type Key = (String, String);

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let events: Vec<_> = events.iter().filter(|event| concerns(&event.envelope.r#type)).collect();
    let mut entries = load(tx, &events).await?;
    for event in events {
        if let Some(decoded) = event.decode::<Event>()? {
            fold(&mut entries, event, &decoded);
        }
    }
    let rows = (entries.into_iter())
        .map(|((tenant, instance_id), it)| {
            values![
                tenant,
                instance_id,
                it.journey_id,
                it.version,
                it.party_id,
                it.node,
                it.awaits,
                it.paused,
                it.started_at,
                it.started_position,
                it.ended_at
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO instance (tenant, instance_id, journey_id, version, party_id, node, awaits, paused,
             started_at, started_position, ended_at)",
        rows,
        "ON CONFLICT (tenant, instance_id) DO UPDATE SET version = excluded.version, node = excluded.node,
         awaits = excluded.awaits, paused = excluded.paused, ended_at = excluded.ended_at",
    )
    .await
    .map(drop)
}

/// What does not change where an instance stands needs neither decoding nor a row.
fn concerns(type_name: &str) -> bool {
    let name = type_name.rsplit('.').next().unwrap_or_default();
    !matches!(name, "InstanceWoken" | "InstanceGoalReached" | "InstanceBranched" | "InstanceSplit")
}

async fn load(tx: &mut Tx, events: &[&&Recorded]) -> Result<BTreeMap<Key, Entry>, Error> {
    let known: Vec<_> = events
        .iter()
        .filter(|event| event.envelope.version > 1)
        .map(|event| values![&event.envelope.tenant, event.id()])
        .collect();
    let rows = tx
        .query_keys(
            "k(tenant, instance_id)",
            &known,
            "SELECT i.tenant, i.instance_id, i.journey_id, i.version, i.party_id, i.node, i.awaits, i.paused,
                 i.started_at, i.started_position, i.ended_at
             FROM k
             JOIN instance i ON i.tenant = k.tenant AND i.instance_id = k.instance_id",
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<(Key, Entry), Error> {
    let entry = Entry {
        journey_id: row.text(2)?.to_owned(),
        version: u32::try_from(row.count(3)?).unwrap_or(u32::MAX),
        party_id: row.text(4)?.to_owned(),
        node: row.text(5)?.to_owned(),
        awaits: row.text(6)?.to_owned(),
        paused: row.flag(7)?,
        started_at: row.time(8)?,
        started_position: row.count(9)?,
        ended_at: row.time(10)?,
    };
    Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), entry))
}

fn fold(entries: &mut BTreeMap<Key, Entry>, event: &Recorded, decoded: &Event) {
    let key = (event.envelope.tenant.clone(), event.id().to_owned());
    if let Event::Started(it) = decoded {
        let entry = Entry {
            journey_id: it.journey_id.clone(),
            version: it.version,
            party_id: it.party_id.clone(),
            node: it.node.clone(),
            awaits: String::new(),
            paused: false,
            started_at: event.recorded_at(),
            started_position: event.position,
            ended_at: Timestamp::MAX,
        };
        entries.insert(key, entry);
        return;
    }
    let Some(entry) = entries.get_mut(&key) else { return };
    let mut stands = |node: &str, awaits: &str| {
        node.clone_into(&mut entry.node);
        awaits.clone_into(&mut entry.awaits);
    };
    match decoded {
        Event::WaitStarted(it) => stands(&it.node, ""),
        Event::DecisionRequested(it) => stands(&it.node, ""),
        Event::TouchRequested(it) => stands(&it.node, &it.touch_id),
        Event::FeedbackRequested(it) => stands(&it.node, &it.invitation_id),
        Event::TouchSettled(it) => stands(&it.node, ""),
        Event::FeedbackSettled(it) => stands(&it.node, ""),
        Event::Paused(_) => entry.paused = true,
        Event::Resumed(_) => entry.paused = false,
        Event::Migrated(it) => entry.version = it.to_version,
        Event::Completed(it) => {
            stands(&it.node, "");
            entry.ended_at = event.recorded_at();
        }
        Event::Exited(it) => {
            stands(&it.node, "");
            entry.ended_at = event.recorded_at();
        }
        Event::Ejected(it) => {
            stands(&it.node, "");
            entry.ended_at = event.recorded_at();
        }
        Event::Started(_)
        | Event::TimerFired(_)
        | Event::EventMatched(_)
        | Event::TimedOut(_)
        | Event::Branched(_)
        | Event::Split(_)
        | Event::Decided(_)
        | Event::AttributeSet(_)
        | Event::GoalReached(_)
        | Event::Woken(_) => {}
    }
}

/// A place in a list, newest first: position and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) instance_id: String,
}

impl Place {
    /// Before the newest.
    pub(crate) fn start() -> Self {
        Self { position: u64::try_from(i64::MAX).unwrap_or(u64::MAX), instance_id: String::new() }
    }

    /// Reads what `to_string` wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (position, instance_id) = text.split_once('/')?;
        Some(Self { position: position.parse().ok()?, instance_id: instance_id.to_owned() })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.position, self.instance_id)
    }
}

/// Instances before a place, newest first; an empty journey or party is any.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    journey_id: &str,
    party_id: &str,
    before: &Place,
    limit: u32,
) -> Result<Vec<Place>, Error> {
    // One statement for each index.
    let (sql, wanted) = match (journey_id, party_id) {
        ("", "") => (
            "SELECT started_position, instance_id
             FROM instance
             WHERE tenant = $1 AND (started_position, instance_id) < ($2, $3) AND $5 = ''
             ORDER BY started_position DESC, instance_id DESC
             LIMIT $4",
            "",
        ),
        (journey_id, "") => (
            "SELECT started_position, instance_id
             FROM instance
             WHERE tenant = $1 AND (started_position, instance_id) < ($2, $3) AND journey_id = $5
             ORDER BY started_position DESC, instance_id DESC
             LIMIT $4",
            journey_id,
        ),
        (_, party_id) => (
            "SELECT started_position, instance_id
             FROM instance
             WHERE tenant = $1 AND (started_position, instance_id) < ($2, $3) AND party_id = $5
                 AND ($6 = '' OR journey_id = $6)
             ORDER BY started_position DESC, instance_id DESC
             LIMIT $4",
            party_id,
        ),
    };
    let mut args: Vec<Value> = values![tenant, before.position, &before.instance_id, limit, wanted];
    if !party_id.is_empty() {
        args.push(Value::from(journey_id));
    }
    let rows = database.query(sql, args).await?;
    rows.iter()
        .map(|row| Ok(Place { position: row.count(0)?, instance_id: row.text(1)?.to_owned() }))
        .collect()
}

/// The instance that waits for a touch or an invitation.
pub(crate) async fn waiting_for(
    database: &Database,
    tenant: &str,
    awaited: &str,
) -> Result<Option<String>, Error> {
    let rows = database
        .query(
            "SELECT instance_id FROM instance WHERE tenant = $1 AND awaits = $2 LIMIT 1",
            values![tenant, awaited],
        )
        .await?;
    Ok(ids(&rows)?.pop())
}

/// Instances of a version that have not ended, paused or not, after one.
pub(crate) async fn running(
    database: &Database,
    tenant: &str,
    (journey_id, version): (&str, u32),
    paused: bool,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT instance_id
             FROM instance
             WHERE tenant = $1 AND journey_id = $2 AND version = $3 AND ended_at = $4 AND paused = $5
                 AND instance_id > $6
             ORDER BY instance_id
             LIMIT $7",
            values![tenant, journey_id, version, Timestamp::MAX, paused, after, limit],
        )
        .await?;
    ids(&rows)
}

fn ids(rows: &[Row]) -> Result<Vec<String>, Error> {
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// How many instances stand at each node of each version.
pub(crate) async fn by_node(
    database: &Database,
    tenant: &str,
    journey_id: &str,
) -> Result<Vec<(u32, String, u64)>, Error> {
    let rows = database
        .query(
            "SELECT version, node, COUNT(*)
             FROM instance
             WHERE tenant = $1 AND journey_id = $2 AND ended_at = $3
             GROUP BY version, node
             ORDER BY version, node",
            values![tenant, journey_id, Timestamp::MAX],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let version = u32::try_from(row.count(0)?).unwrap_or(u32::MAX);
            Ok((version, row.text(1)?.to_owned(), row.count(2)?))
        })
        .collect()
}
