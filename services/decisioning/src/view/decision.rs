//! Decisions of a party, and which interactions each waits for.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use rapport_proto::decisioning::v1::decision_event::Event;
use rapport_proto::decisioning::v1::{Chosen, DecisionSummary};

use crate::domain::decision::rewards;
use crate::domain::policy::compiled::micros;
use crate::domain::{instant, later};

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let (mut decisions, mut awaited) = (Vec::new(), Vec::new());
    for event in events.iter().filter(|it| it.envelope.r#type.ends_with(".DecisionMade")) {
        let Some(Event::Made(made)) = event.decode()? else { continue };
        let tenant = &event.envelope.tenant;
        let decided_at = instant(made.decided_at.as_ref()).unwrap_or_default();
        for reward in rewards(&made) {
            let until = later(decided_at, micros(&reward.within));
            awaited.push(values![
                tenant,
                &made.party_id,
                &reward.event,
                event.id(),
                decided_at,
                until
            ]);
        }
        let nothing = Chosen::default();
        let first = made.chosen.first().unwrap_or(&nothing);
        decisions.push(values![
            tenant,
            event.id(),
            &made.party_id,
            event.position,
            decided_at,
            &made.market,
            &first.action,
            &first.treatment,
            &first.group,
            first.channel,
            &first.topic,
            first.pi,
            made.arm,
            &made.requested_by,
            -1_i64
        ]);
    }
    tx.insert_many(
        "INSERT INTO decision (tenant, decision_id, party_id, position, decided_at, market, action,
             treatment, action_group, channel, topic, pi, arm, requested_by, learnt)",
        decisions,
        "ON CONFLICT (tenant, decision_id) DO NOTHING",
    )
    .await?;
    tx.insert_many(
        "INSERT INTO awaited (tenant, party_id, event, decision_id, decided_at, until)",
        awaited,
        "ON CONFLICT (tenant, party_id, event, decision_id) DO NOTHING",
    )
    .await
    .map(drop)
}

/// The last decision of a party that waits for an event which happened at an instant.
pub(crate) async fn awaiting(
    database: &Database,
    tenant: &str,
    party_id: &str,
    event: &str,
    at: Timestamp,
) -> Result<Option<String>, Error> {
    let rows = database
        .query(
            "SELECT decision_id FROM awaited
             WHERE tenant = $1 AND party_id = $2 AND event = $3 AND decided_at <= $4 AND until >= $4
             ORDER BY decided_at DESC, decision_id
             LIMIT 1",
            values![tenant, party_id, event, at],
        )
        .await?;
    rows.first().map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// Decisions about a party before a position, newest first, each with its position.
pub(crate) async fn list(
    database: &Database,
    tenant: &str,
    party_id: &str,
    before: i64,
    limit: u32,
) -> Result<Vec<(DecisionSummary, i64)>, Error> {
    let rows = database
        .query(
            "SELECT decision_id, decided_at, action, treatment, pi, arm, requested_by, position
             FROM decision
             WHERE tenant = $1 AND party_id = $2 AND position < $3
             ORDER BY position DESC
             LIMIT $4",
            values![tenant, party_id, before, limit],
        )
        .await?;
    (rows.iter())
        .map(|row| {
            let summary = DecisionSummary {
                decision_id: row.text(0)?.to_owned(),
                decide_time: Some(row.time(1)?.to_proto()),
                action: row.text(2)?.to_owned(),
                treatment: row.text(3)?.to_owned(),
                pi: row.float(4)?,
                arm: i32::try_from(row.int(5)?).unwrap_or_default(),
                requested_by: row.text(6)?.to_owned(),
            };
            Ok((summary, row.int(7)?))
        })
        .collect()
}

/// Ids of a tenant's newest decisions.
pub(crate) async fn newest(
    database: &Database,
    tenant: &str,
    limit: u32,
) -> Result<Vec<String>, Error> {
    let rows = database
        .query(
            "SELECT decision_id FROM decision
             WHERE tenant = $1
             ORDER BY position DESC
             LIMIT $2",
            values![tenant, limit],
        )
        .await?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}
