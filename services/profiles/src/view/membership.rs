//! Who is in which segment, and when to look again. A row is the folded state of a membership's stream.

use std::collections::BTreeMap;

use eventstore::{Database, Decider, Error, Recorded, Row, Timestamp, Tx, values};
use rapport_proto::profiles::v1::membership_event::Event;

use crate::domain::membership::{Membership, State, parts};

/// A membership with the version of its stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) state: State,
    pub(crate) stream_version: u64,
    /// Whether the timer that was stated last has not fired.
    pub(crate) timer_stands: bool,
}

/// Memberships by party and segment.
pub(crate) type Memberships = BTreeMap<(String, String), Held>;

/// Tenant, segment and party.
type Key = (String, String, String);

pub(super) async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    let events: Vec<_> = events.iter().filter(|it| it.aggregate() == "membership").collect();
    let key = |event: &Recorded| -> Result<Key, Error> {
        let (party, segment) =
            parts(event.id()).ok_or_else(|| Error::corrupt("a membership without a segment"))?;
        Ok((event.envelope.tenant.clone(), segment.to_owned(), party.to_owned()))
    };
    let mut held = BTreeMap::new();
    let known = events.iter().filter(|it| it.envelope.version > 1).map(|it| key(it));
    let known: Vec<_> = known.collect::<Result<_, _>>()?;
    let keys: Vec<_> = known.iter().map(|(tenant, s, p)| values![tenant, s, p]).collect();
    let rows = tx
        .query_keys(
            "k(tenant, segment_id, party_id)",
            &keys,
            "SELECT m.tenant, m.segment_id, m.party_id, m.inside, m.version, m.since, m.due_at, m.stream_version
             FROM k
             JOIN membership m ON m.tenant = k.tenant AND m.segment_id = k.segment_id
                 AND m.party_id = k.party_id",
        )
        .await?;
    for row in &rows {
        let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned(), row.text(2)?.to_owned());
        held.insert(key, read(row, 3)?);
    }
    let mut sizes: BTreeMap<(String, String), i64> = BTreeMap::new();
    for event in events {
        let Some(decoded) = event.decode()? else { continue };
        let key = key(event)?;
        let grown = match &decoded {
            Event::Entered(_) => 1,
            Event::Exited(_) => -1,
            Event::CrossingExpected(_) => 0,
        };
        *sizes.entry((key.0.clone(), key.1.clone())).or_default() += grown;
        let one = held.entry(key).or_insert_with(Held::default);
        one.state = Membership::evolve(std::mem::take(&mut one.state), &decoded);
        one.stream_version = event.envelope.version;
    }
    resize(tx, sizes).await?;
    let rows = (held.into_iter())
        .map(|((tenant, segment_id, party_id), Held { state, stream_version, .. })| {
            let due_at = state.due_at.unwrap_or(Timestamp::MAX);
            values![
                tenant,
                segment_id,
                party_id,
                state.inside,
                state.version,
                state.since,
                due_at,
                stream_version
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO membership (tenant, segment_id, party_id, inside, version, since, due_at, stream_version)",
        rows,
        "ON CONFLICT (tenant, segment_id, party_id) DO UPDATE SET inside = excluded.inside,
             version = excluded.version, since = excluded.since, due_at = excluded.due_at,
             stream_version = excluded.stream_version",
    )
    .await
    .map(drop)
}

fn read(row: &Row, from: usize) -> Result<Held, Error> {
    let due_at = row.time(from + 3)?;
    let state = State {
        inside: row.flag(from)?,
        version: u32::try_from(row.int(from + 1)?).unwrap_or(u32::MAX),
        since: row.time(from + 2)?,
        due_at: (due_at != Timestamp::MAX).then_some(due_at),
    };
    Ok(Held { state, stream_version: row.count(from + 4)?, timer_stands: false })
}

/// Over keys `k(tenant, party_id, segment_id)`.
pub(crate) const READ: &str =
    "SELECT m.party_id, m.segment_id, m.inside, m.version, m.since, m.due_at,
         m.stream_version, CASE WHEN t.id IS NULL THEN 0 ELSE 1 END
     FROM k
     JOIN membership m ON m.tenant = k.tenant AND m.segment_id = k.segment_id
         AND m.party_id = k.party_id
     LEFT JOIN timer t ON t.tenant = m.tenant AND t.due_at = m.due_at
         AND t.id = 'membership/' || m.party_id || '.' || m.segment_id";

/// Memberships by party and segment; who never crossed has none. Whether a timer stands is read in the same statement:
/// when it fires, the membership may move.
pub(crate) async fn of(
    database: &Database,
    tenant: &str,
    pairs: &[(&str, &str)],
) -> Result<Memberships, Error> {
    let keys: Vec<_> =
        pairs.iter().map(|(party_id, segment)| values![tenant, *party_id, *segment]).collect();
    let rows = database.query_keys("k(tenant, party_id, segment_id)", &keys, READ).await?;
    (rows.iter())
        .map(|row| {
            let held = Held { timer_stands: row.flag(7)?, ..read(row, 2)? };
            Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), held))
        })
        .collect()
}

pub(crate) const MEMBERS: &str = "SELECT party_id, inside, version, since, due_at, stream_version
     FROM membership
     WHERE tenant = $1 AND segment_id = $2 AND inside = 1 AND party_id > $3
     ORDER BY party_id
     LIMIT $4";

/// Members of a segment after a party, in the order of ids: since when, and by which version.
pub(crate) async fn members(
    database: &Database,
    tenant: &str,
    segment_id: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, State)>, Error> {
    let rows = database.query(MEMBERS, values![tenant, segment_id, after, limit]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), read(row, 1)?.state))).collect()
}

/// By how many each segment grew.
async fn resize(tx: &mut Tx, sizes: BTreeMap<(String, String), i64>) -> Result<(), Error> {
    let rows = sizes.into_iter();
    let rows = rows.map(|((tenant, segment), grown)| values![tenant, segment, grown]).collect();
    tx.insert_many(
        "INSERT INTO segment_size (tenant, segment_id, members)",
        rows,
        "ON CONFLICT (tenant, segment_id) DO UPDATE SET members = segment_size.members + excluded.members",
    )
    .await
    .map(drop)
}

/// How many are in.
pub(crate) async fn count(
    database: &Database,
    tenant: &str,
    segment_id: &str,
) -> Result<u64, Error> {
    let rows = database
        .query(
            "SELECT members FROM segment_size WHERE tenant = $1 AND segment_id = $2",
            values![tenant, segment_id],
        )
        .await?;
    rows.first().map_or(Ok(0), |row| row.count(0))
}
