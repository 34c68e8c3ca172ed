//! Cases by what is due next.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::case_event::Event;

use super::Place;
use crate::domain::case::{FIRST_RESPONSE, Status};
use crate::domain::instant;

/// A row without its key.
#[derive(Clone, Debug)]
struct Row {
    party_id: String,
    type_: i64,
    state: i64,
    respond_by: Timestamp,
    resolve_by: Timestamp,
}

type Key = (String, String);

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut rows = read(tx, events).await?;
    for event in events {
        let key = (event.envelope.tenant.clone(), event.id().to_owned());
        if let Some(fact) = event.decode::<Event>()? {
            fold(rows.entry(key).or_insert(Row::NEW), &fact);
        }
    }
    let rows = (rows.into_iter())
        .map(|((tenant, id), it)| {
            let due_at = it.respond_by.min(it.resolve_by);
            values![
                tenant,
                id,
                it.party_id,
                it.type_,
                it.state,
                it.respond_by,
                it.resolve_by,
                due_at
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO customer_case (tenant, case_id, party_id, type, state, respond_by, resolve_by, due_at)",
        rows,
        "ON CONFLICT (tenant, case_id) DO UPDATE SET state = excluded.state,
             respond_by = excluded.respond_by, resolve_by = excluded.resolve_by, due_at = excluded.due_at",
    )
    .await
    .map(drop)
}

impl Row {
    const NEW: Self = Self {
        party_id: String::new(),
        type_: 0,
        state: 0,
        respond_by: Timestamp::MAX,
        resolve_by: Timestamp::MAX,
    };
}

fn fold(row: &mut Row, event: &Event) {
    let due = |at: &Option<prost_types::Timestamp>| instant(at.as_ref()).unwrap_or(Timestamp::MAX);
    let as_stored = |state: Status| i64::from(i32::from(state));
    match event {
        Event::Opened(it) => {
            row.state = as_stored(Status::Open);
            row.party_id.clone_from(&it.party_id);
            row.type_ = it.r#type.into();
            (row.respond_by, row.resolve_by) = (due(&it.respond_by), due(&it.resolve_by));
        }
        Event::Responded(_) => {
            if row.state == as_stored(Status::Open) {
                row.state = as_stored(Status::Responded);
            }
            row.respond_by = Timestamp::MAX;
        }
        Event::Paused(_) => (row.respond_by, row.resolve_by) = (Timestamp::MAX, Timestamp::MAX),
        Event::Resumed(it) => {
            (row.respond_by, row.resolve_by) = (due(&it.respond_by), due(&it.resolve_by));
        }
        Event::Resolved(_) => {
            row.state = as_stored(Status::Resolved);
            (row.respond_by, row.resolve_by) = (Timestamp::MAX, Timestamp::MAX);
        }
        Event::Reopened(it) => {
            row.state = as_stored(Status::Reopened);
            row.resolve_by = due(&it.resolve_by);
        }
        // What was missed stays due: it comes first until it is done.
        Event::Breached(it) => {
            let missed = due(&it.due_at);
            match it.target.as_str() {
                FIRST_RESPONSE => row.respond_by = missed,
                _ => row.resolve_by = missed,
            }
        }
    }
}

async fn read(tx: &mut Tx, events: &[&Recorded]) -> Result<BTreeMap<Key, Row>, Error> {
    let known: BTreeMap<_, _> = (events.iter())
        .filter(|it| it.envelope.version > 1)
        .map(|it| ((&it.envelope.tenant, it.id()), values![&it.envelope.tenant, it.id()]))
        .collect();
    let keys: Vec<_> = known.into_values().collect();
    let rows = tx
        .query_keys(
            "k(tenant, case_id)",
            &keys,
            "SELECT c.tenant, c.case_id, c.party_id, c.type, c.state, c.respond_by, c.resolve_by FROM k
             JOIN customer_case c ON c.tenant = k.tenant AND c.case_id = k.case_id",
        )
        .await?;
    rows.iter()
        .map(|row| {
            let it = Row {
                party_id: row.text(2)?.to_owned(),
                type_: row.int(3)?,
                state: row.int(4)?,
                respond_by: row.time(5)?,
                resolve_by: row.time(6)?,
            };
            Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), it))
        })
        .collect()
}

/// Which cases are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filter<'a> {
    /// Unspecified: all that are not resolved.
    pub(crate) state: Status,
    /// Unspecified: any.
    pub(crate) type_: proto::CaseType,
    /// Empty: any.
    pub(crate) party_id: &'a str,
}

/// Cases after a place, by due time.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    filter: Filter<'_>,
    after: &Place,
    limit: u32,
) -> Result<Vec<Place>, Error> {
    let rows = database
        .query(
            "SELECT due_at, case_id FROM customer_case
             WHERE tenant = $1 AND (state = $2 OR ($2 = 0 AND state <> $3))
                 AND ($4 = 0 OR type = $4) AND ($5 = '' OR party_id = $5)
                 AND (due_at > $6 OR (due_at = $6 AND case_id > $7))
             ORDER BY due_at, case_id LIMIT $8",
            values![
                tenant,
                i32::from(filter.state),
                i32::from(Status::Resolved),
                i32::from(filter.type_),
                filter.party_id,
                after.due_at,
                &after.id,
                limit
            ],
        )
        .await?;
    rows.iter().map(|row| Ok(Place { due_at: row.time(0)?, id: row.text(1)?.to_owned() })).collect()
}
