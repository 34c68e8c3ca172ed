//! Candidates of safety cases by when they are due, and the texts they are about.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::feedback::v1::safety_candidate::State;
use rapport_proto::feedback::v1::text_event::Event;

use super::Place;
use crate::domain::instant;

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let (mut opened, mut turned) = (Vec::new(), BTreeMap::new());
    for event in events {
        let tenant = event.envelope.tenant.clone();
        let state = match event.decode::<Event>()? {
            Some(Event::Opened(it)) => {
                let due_at = instant(it.due_at.as_ref()).unwrap_or_default();
                let state = i32::from(State::Open);
                opened.push(values![tenant, it.candidate_id, it.text_id, state, due_at]);
                continue;
            }
            Some(Event::HandedOff(_)) => State::HandedOff,
            Some(Event::Reconciled(_)) => State::Reconciled,
            Some(Event::Dismissed(_)) => State::NotACase,
            Some(Event::Received(_) | Event::Screened(_) | Event::Escalated(_)) | None => continue,
        };
        turned.insert((tenant, event.id().to_owned()), i32::from(state));
    }
    tx.insert_many(
        "INSERT INTO candidate (tenant, candidate_id, text_id, state, due_at)",
        opened,
        "ON CONFLICT (tenant, candidate_id) DO NOTHING",
    )
    .await?;
    let rows: Vec<_> =
        turned.into_iter().map(|((tenant, id), state)| values![tenant, id, state]).collect();
    tx.exec_keys(
        "k(tenant, text_id, state)",
        &rows,
        "UPDATE candidate SET state = k.state FROM k
         WHERE candidate.tenant = k.tenant AND candidate.text_id = k.text_id",
    )
    .await
    .map(drop)
}

/// The text that a candidate is about.
pub(crate) async fn text_of(
    database: &Database,
    tenant: &str,
    candidate_id: &str,
) -> Result<Option<String>, Error> {
    let rows = database
        .query(
            "SELECT text_id FROM candidate WHERE tenant = $1 AND candidate_id = $2",
            values![tenant, candidate_id],
        )
        .await?;
    rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// Texts of candidates in a state after a place, by due time; ids are the candidates'.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    state: State,
    after: &Place,
    limit: u32,
) -> Result<Vec<(Place, String)>, Error> {
    let rows = database
        .query(
            "SELECT due_at, candidate_id, text_id FROM candidate
             WHERE tenant = $1 AND state = $2
                 AND (due_at > $3 OR (due_at = $3 AND candidate_id > $4))
             ORDER BY due_at, candidate_id LIMIT $5",
            values![tenant, i32::from(state), after.due_at, &after.id, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let place = Place { due_at: row.time(0)?, id: row.text(1)?.to_owned() };
            Ok((place, row.text(2)?.to_owned()))
        })
        .collect()
}
