//! Journeys, what their versions let happen, and what lets parties in.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, values};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::journeys::v1::journey_event::Event;
use rapport_proto::journeys::v1::{Crossing, TimerMode, entry};

/// What a version lets happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Parties may enter, unless it is paused.
    pub(crate) enters: bool,
    pub(crate) retired: bool,
    /// What timers do in its pause; unspecified: it is not paused.
    pub(crate) timers: TimerMode,
    /// Reason of the pause or the end.
    pub(crate) reason: String,
    pub(crate) paused_at: Timestamp,
    /// Version of the journey's stream that said so.
    pub(crate) stream_version: u64,
}

impl Standing {
    pub(crate) fn is_paused(&self) -> bool {
        self.timers != TimerMode::Unspecified
    }

    /// Whether its instances move.
    pub(crate) fn moves(&self) -> bool {
        !self.is_paused() && !self.retired
    }
}

type Key = (String, String, u32);

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    insert_journeys(tx, events).await?;
    let mut standings = load(tx, events).await?;
    let mut triggers = BTreeMap::new();
    for event in events {
        if let Some(decoded) = event.decode::<Event>()? {
            fold(&mut standings, &mut triggers, event, &decoded);
        }
    }
    save(tx, &standings).await?;
    save_triggers(tx, &triggers).await
}

async fn insert_journeys(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let first = events.iter().filter(|event| event.envelope.version == 1);
    let rows = first.map(|event| values![&event.envelope.tenant, event.id()]).collect();
    let conflict = "ON CONFLICT (tenant, journey_id) DO NOTHING";
    tx.insert_many("INSERT INTO journey (tenant, journey_id)", rows, conflict).await.map(drop)
}

async fn load(tx: &mut Tx, events: &[&Recorded]) -> Result<BTreeMap<Key, Standing>, Error> {
    let journeys: BTreeSet<_> =
        events.iter().map(|event| (event.envelope.tenant.as_str(), event.id())).collect();
    let keys: Vec<_> = journeys.into_iter().map(|(tenant, id)| values![tenant, id]).collect();
    let rows = tx
        .query_keys(
            "k(tenant, journey_id)",
            &keys,
            "SELECT v.tenant, v.journey_id, v.version, v.enters, v.retired, v.timers, v.reason, v.paused_at, v.stream_version
             FROM k
             JOIN journey_version v ON v.tenant = k.tenant AND v.journey_id = k.journey_id",
        )
        .await?;
    rows.iter()
        .map(|row| {
            let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), small(row, 2)?);
            Ok((key, standing(row, 3)?))
        })
        .collect()
}

fn small(row: &Row, column: usize) -> Result<u32, Error> {
    Ok(u32::try_from(row.count(column)?).unwrap_or(u32::MAX))
}

fn standing(row: &Row, from: usize) -> Result<Standing, Error> {
    let timers = i32::try_from(row.int(from + 2)?).unwrap_or_default();
    Ok(Standing {
        enters: row.flag(from)?,
        retired: row.flag(from + 1)?,
        timers: TimerMode::try_from(timers).unwrap_or_default(),
        reason: row.text(from + 3)?.to_owned(),
        paused_at: row.time(from + 4)?,
        stream_version: row.count(from + 5)?,
    })
}

/// The version that went live last, with what lets parties in, by tenant and journey.
type Triggers = BTreeMap<(String, String), (u32, Option<String>)>;

fn fold(
    standings: &mut BTreeMap<Key, Standing>,
    triggers: &mut Triggers,
    event: &Recorded,
    decoded: &Event,
) {
    let journey = (event.envelope.tenant.clone(), event.id().to_owned());
    let of = |version: u32| (journey.0.clone(), journey.1.clone(), version);
    let mut change = |version: u32, change: &dyn Fn(&mut Standing)| {
        standings.entry(of(version)).and_modify(change);
    };
    match decoded {
        Event::Activated(it) => {
            let standing = Standing {
                enters: true,
                retired: false,
                timers: TimerMode::Unspecified,
                reason: String::new(),
                paused_at: Timestamp(0),
                stream_version: 0,
            };
            standings.insert(of(it.version), standing);
            triggers.insert(journey.clone(), (it.version, it.journey.as_ref().and_then(trigger)));
        }
        Event::Paused(it) => change(it.version, &|standing| {
            standing.timers = it.timers();
            standing.reason.clone_from(&it.reason);
            standing.paused_at = crate::domain::instant(it.paused_at.as_ref()).unwrap_or_default();
        }),
        Event::Resumed(it) => {
            change(it.version, &|standing| standing.timers = TimerMode::Unspecified);
        }
        Event::Draining(it) => change(it.version, &|standing| standing.enters = false),
        Event::Retired(it) => change(it.version, &|standing| {
            standing.enters = false;
            standing.retired = true;
            standing.reason.clone_from(&it.reason);
        }),
        Event::Drafted(_) | Event::Checked(_) | Event::Approved(_) => {}
    }
    let all = standings.iter_mut().filter(|(key, _)| key.0 == journey.0 && key.1 == journey.1);
    all.for_each(|(_, standing)| standing.stream_version = event.envelope.version);
}

/// What lets parties in; a call needs no look-up.
fn trigger(journey: &proto::Journey) -> Option<String> {
    match journey.entry.as_ref()?.by.as_ref()? {
        entry::By::Event(it) => Some(of_event(&it.event)),
        entry::By::Segment(it) => Some(of_segment(&it.segment, it.crossing())),
        entry::By::Api(_) => None,
    }
}

/// Key of the trigger by an interaction.
pub(crate) fn of_event(name: &str) -> String {
    format!("event/{name}")
}

/// Key of the trigger by a segment.
pub(crate) fn of_segment(segment: &str, crossing: Crossing) -> String {
    format!("segment/{segment}/{}", crossing.as_str_name().trim_start_matches("CROSSING_"))
}

async fn save(tx: &mut Tx, standings: &BTreeMap<Key, Standing>) -> Result<(), Error> {
    let rows = (standings.iter())
        .map(|((tenant, journey_id, version), it)| {
            values![
                tenant,
                journey_id,
                *version,
                it.enters,
                it.retired,
                it.timers as i32,
                &it.reason,
                it.paused_at,
                it.stream_version
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO journey_version
             (tenant, journey_id, version, enters, retired, timers, reason, paused_at, stream_version)",
        rows,
        "ON CONFLICT (tenant, journey_id, version) DO UPDATE SET enters = excluded.enters,
         retired = excluded.retired, timers = excluded.timers, reason = excluded.reason, paused_at = excluded.paused_at,
         stream_version = excluded.stream_version",
    )
    .await
    .map(drop)
}

/// A journey has the trigger of the version that went live last; whether that one lets parties in is asked there.
async fn save_triggers(tx: &mut Tx, triggers: &Triggers) -> Result<(), Error> {
    let gone: Vec<_> = triggers.keys().map(|(tenant, id)| values![tenant, id]).collect();
    tx.exec_keys(
        "k(tenant, journey_id)",
        &gone,
        "DELETE FROM entry_trigger WHERE (tenant, journey_id) IN (SELECT tenant, journey_id FROM k)",
    )
    .await?;
    let rows = (triggers.iter())
        .filter_map(|((tenant, id), (version, key))| {
            Some(values![tenant, key.as_ref()?, id, *version])
        })
        .collect();
    tx.insert_many(
        "INSERT INTO entry_trigger (tenant, trigger_key, journey_id, version)",
        rows,
        "ON CONFLICT (tenant, trigger_key, journey_id) DO UPDATE SET version = excluded.version",
    )
    .await
    .map(drop)
}

/// Every version that went live once, with what it lets happen.
pub(crate) async fn all(
    database: &Database,
    tenant: &str,
    journey_id: &str,
) -> Result<Vec<(u32, Standing)>, Error> {
    let rows = database
        .query(
            "SELECT version, enters, retired, timers, reason, paused_at, stream_version
             FROM journey_version
             WHERE tenant = $1 AND journey_id = $2
             ORDER BY version",
            values![tenant, journey_id],
        )
        .await?;
    rows.iter().map(|row| Ok((small(row, 0)?, standing(row, 1)?))).collect()
}

/// Ids of journeys after one, in their order.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT journey_id
             FROM journey
             WHERE tenant = $1 AND journey_id > $2
             ORDER BY journey_id
             LIMIT $3",
            values![tenant, after, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
