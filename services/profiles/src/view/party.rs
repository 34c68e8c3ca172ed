//! Parties in the order in which they were registered.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Row, Tx, Value, values};
use rapport_proto::profiles::v1::{party, party_event::Event};
use rapport_proto::types::PartyKind;

/// What a list can filter by.
#[derive(Clone, Debug)]
struct Entry {
    kind: i64,
    state: party::State,
    market: String,
    registered_position: u64,
}

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let events: Vec<_> = events.iter().filter(|event| concerns(&event.envelope.r#type)).collect();
    let mut entries = load(tx, &events).await?;
    for event in events {
        let Some(decoded) = event.decode::<Event>()? else {
            continue;
        };
        let key = (event.envelope.tenant.clone(), event.id().to_owned());
        fold(entries.entry(key), event.position, &decoded);
    }
    let rows = (entries.into_iter())
        .map(|((tenant, party_id), it)| {
            values![
                tenant,
                party_id,
                it.kind,
                i64::from(it.state as i32),
                it.market,
                it.registered_position
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO party (tenant, party_id, kind, state, market, registered_position)",
        rows,
        "ON CONFLICT (tenant, party_id) DO UPDATE SET state = excluded.state, market = excluded.market",
    )
    .await
    .map(drop)
}

/// Most facts about a party change nothing here: they need neither decoding nor a row.
fn concerns(type_name: &str) -> bool {
    let name = type_name.rsplit('.').next().unwrap_or_default();
    matches!(name, "PartyRegistered" | "PartyMoved" | "PartySuppressed" | "PartyReleased")
}

async fn load(
    tx: &mut Tx,
    events: &[&&Recorded],
) -> Result<BTreeMap<(String, String), Entry>, Error> {
    let known: Vec<_> = events
        .iter()
        .filter(|event| event.envelope.version > 1)
        .map(|event| values![&event.envelope.tenant, event.id()])
        .collect();
    let rows = tx
        .query_keys(
            "k(tenant, party_id)",
            &known,
            "SELECT p.tenant, p.party_id, p.kind, p.state, p.market, p.registered_position
             FROM k
             JOIN party p ON p.tenant = k.tenant AND p.party_id = k.party_id",
        )
        .await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<((String, String), Entry), Error> {
    let state = i32::try_from(row.int(3)?).unwrap_or_default();
    let entry = Entry {
        kind: row.int(2)?,
        state: party::State::try_from(state).unwrap_or_default(),
        market: row.text(4)?.to_owned(),
        registered_position: row.count(5)?,
    };
    Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), entry))
}

type Slot<'a> = std::collections::btree_map::Entry<'a, (String, String), Entry>;

fn fold(slot: Slot<'_>, position: u64, event: &Event) {
    match event {
        Event::Registered(it) => {
            slot.insert_entry(Entry {
                kind: it.kind.into(),
                state: party::State::Active,
                market: it.market.clone(),
                registered_position: position,
            });
        }
        Event::Moved(it) => {
            slot.and_modify(|entry| entry.market.clone_from(&it.market));
        }
        Event::Suppressed(_) => {
            slot.and_modify(|entry| entry.state = party::State::Suppressed);
        }
        Event::Released(_) => {
            slot.and_modify(|entry| entry.state = party::State::Active);
        }
        Event::AttributesSet(_)
        | Event::IdentifierAdded(_)
        | Event::IdentifierRemoved(_)
        | Event::ContactPointAdded(_)
        | Event::ContactPointVerified(_)
        | Event::ContactPointRemoved(_)
        | Event::PreferenceStated(_) => {}
    }
}

/// What a list asks for; an unspecified part asks for all.
pub(crate) struct Filter<'a> {
    pub(crate) kind: PartyKind,
    pub(crate) market: &'a str,
    pub(crate) state: party::State,
}

impl Filter<'_> {
    pub(crate) const EVERYBODY: Self =
        Self { kind: PartyKind::Unspecified, market: "", state: party::State::Unspecified };
}

const LIST: &str = "SELECT party_id, registered_position
     FROM party
     WHERE tenant = $1 AND registered_position > $2
         AND ($3 = 0 OR kind = $3) AND ($4 = 0 OR state = $4)
     ORDER BY registered_position
     LIMIT $5";

pub(crate) const LIST_IN_MARKET: &str = "SELECT party_id, registered_position
     FROM party
     WHERE tenant = $1 AND market = $6 AND registered_position > $2
         AND ($3 = 0 OR kind = $3) AND ($4 = 0 OR state = $4)
     ORDER BY registered_position
     LIMIT $5";

/// Ids and positions of the parties registered after a position, oldest first.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    filter: &Filter<'_>,
    after: i64,
    limit: u32,
) -> Result<Vec<(String, i64)>, Error> {
    let (kind, state) = (i32::from(filter.kind), filter.state as i32);
    let mut wanted = values![tenant, after, kind, state, limit];
    let rows = if filter.market.is_empty() {
        database.query(LIST, wanted).await?
    } else {
        wanted.push(filter.market.into());
        database.query(LIST_IN_MARKET, wanted).await?
    };
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
}

/// Market of parties, by id; what is not there is not known.
pub(crate) async fn markets(
    database: &Database,
    tenant: &str,
    party_ids: impl Iterator<Item = &str>,
) -> Result<BTreeMap<String, String>, Error> {
    let keys: Vec<Vec<Value>> = party_ids.map(|id| values![tenant, id]).collect();
    let rows = database
        .query_keys(
            "k(tenant, party_id)",
            &keys,
            "SELECT p.party_id, p.market
             FROM k
             JOIN party p ON p.tenant = k.tenant AND p.party_id = k.party_id",
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}
