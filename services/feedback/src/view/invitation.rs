//! Invitations in the order in which they were asked for, by party, survey and touch.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Tx, values};
use rapport_proto::feedback::v1::invitation_event::Event;

use crate::domain::invitation::NOT_SENT;

/// A row without its key.
#[derive(Clone, Debug, Default)]
struct Row {
    survey_id: String,
    party_id: String,
    touch_id: String,
    requested_position: u64,
}

/// An invitation that counts from now on, or no longer.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) tenant: String,
    pub(super) survey_id: String,
    /// Under which quota.
    pub(super) quota: u32,
    pub(super) by: i64,
}

type Key = (String, String);

/// Writes the rows; returns what counts against quotas, in order.
pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<Vec<Counted>, Error> {
    let mut rows = read(tx, events).await?;
    let mut counted = Vec::new();
    for event in events {
        let key = (event.envelope.tenant.clone(), event.id().to_owned());
        let row = rows.entry(key).or_default();
        let mut count = |survey_id: &str, quota, by| {
            let (tenant, survey_id) = (event.envelope.tenant.clone(), survey_id.to_owned());
            counted.push(Counted { tenant, survey_id, quota, by });
        };
        match event.decode::<Event>()? {
            Some(Event::Requested(it)) => {
                row.survey_id = it.survey;
                row.party_id = it.party_id;
                row.requested_position = event.position;
            }
            Some(Event::Issued(it)) => {
                row.touch_id = it.touch_id;
                count(&it.survey, it.quota, 1);
            }
            Some(Event::Declined(it)) if it.reason == NOT_SENT => count(&row.survey_id, 0, -1),
            Some(Event::Declined(_) | Event::Sent(_) | Event::Answered(_) | Event::Expired(_))
            | None => {}
        }
    }
    let rows = (rows.into_iter())
        .map(|((tenant, id), it)| {
            values![tenant, id, it.survey_id, it.party_id, it.touch_id, it.requested_position]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO invitation (tenant, invitation_id, survey_id, party_id, touch_id, requested_position)",
        rows,
        "ON CONFLICT (tenant, invitation_id) DO UPDATE SET touch_id = excluded.touch_id",
    )
    .await?;
    Ok(counted)
}

async fn read(tx: &mut Tx, events: &[&Recorded]) -> Result<BTreeMap<Key, Row>, Error> {
    let known: BTreeMap<_, _> = (events.iter())
        .filter(|it| it.envelope.version > 1)
        .map(|it| ((&it.envelope.tenant, it.id()), values![&it.envelope.tenant, it.id()]))
        .collect();
    let keys: Vec<_> = known.into_values().collect();
    let rows = tx
        .query_keys(
            "k(tenant, invitation_id)",
            &keys,
            "SELECT i.tenant, i.invitation_id, i.survey_id, i.party_id, i.touch_id, i.requested_position
             FROM k
             JOIN invitation i ON i.tenant = k.tenant AND i.invitation_id = k.invitation_id",
        )
        .await?;
    rows.iter()
        .map(|row| {
            let it = Row {
                survey_id: row.text(2)?.to_owned(),
                party_id: row.text(3)?.to_owned(),
                touch_id: row.text(4)?.to_owned(),
                requested_position: row.count(5)?,
            };
            Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), it))
        })
        .collect()
}

/// The invitation that a touch carries.
pub(crate) async fn of_touch(
    database: &Database,
    tenant: &str,
    touch_id: &str,
) -> Result<Option<String>, Error> {
    let rows = database
        .query(
            "SELECT invitation_id FROM invitation WHERE tenant = $1 AND touch_id = $2",
            values![tenant, touch_id],
        )
        .await?;
    rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// Ids and positions before a position, newest first; an empty survey or party is any.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    (survey_id, party_id): (&str, &str),
    before: i64,
    limit: u32,
) -> Result<Vec<(String, i64)>, Error> {
    let rows = database
        .query(
            "SELECT invitation_id, requested_position FROM invitation
             WHERE tenant = $1 AND ($2 = '' OR survey_id = $2) AND ($3 = '' OR party_id = $3)
                 AND requested_position < $4
             ORDER BY requested_position DESC LIMIT $5",
            values![tenant, survey_id, party_id, before, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
}
