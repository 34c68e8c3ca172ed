//! Decisions of a party, and which interactions each waits for.

use eventstore::{Database, Error, Recorded, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::{Arm, Chosen, DecisionSummary};

use crate::domain::decision::rewards;
use crate::domain::policy::compiled::micros;
use crate::domain::{instant, later};

/// Newest first, in the order of the key; of those made at the same instant the last by id.
pub(crate) const AWAITING: &str = "SELECT decision_id FROM awaited
     WHERE tenant = $1 AND party_id = $2 AND event = $3 AND decided_at <= $4 AND until >= $4
     ORDER BY decided_at DESC, decision_id DESC
     LIMIT 1";

pub(crate) const LIST: &str =
    "SELECT decision_id, decided_at, action, treatment, pi, arm, requested_by, position
     FROM decision
     WHERE tenant = $1 AND party_id = $2 AND position < $3
     ORDER BY position DESC
     LIMIT $4";

/// What the tables keep of a record. It is read from the record's bytes: candidates and facts, which are most of them,
/// are skipped, because nobody else may commit while they would be read.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Kept {
    #[prost(string, tag = "2")]
    pub(super) party_id: String,
    #[prost(message, optional, tag = "3")]
    pub(super) decided_at: Option<prost_types::Timestamp>,
    #[prost(message, repeated, tag = "20")]
    pub(super) chosen: Vec<Chosen>,
    #[prost(enumeration = "Arm", tag = "22")]
    pub(super) arm: i32,
    #[prost(string, tag = "25")]
    pub(super) market: String,
    #[prost(string, tag = "26")]
    pub(super) requested_by: String,
    #[prost(message, optional, tag = "29")]
    pub(super) closes_at: Option<prost_types::Timestamp>,
}

impl Kept {
    /// Of a decision that was made; of another fact nothing.
    pub(super) fn of(event: &Recorded) -> Result<Option<Self>, Error> {
        if !event.envelope.r#type.ends_with(".DecisionMade") {
            return Ok(None);
        }
        let kept = Self::decode(&*event.envelope.payload);
        kept.map(Some).map_err(|it| Error::corrupt(format!("position {}: {it}", event.position)))
    }
}

pub(super) async fn apply(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let (mut decisions, mut awaited) = (Vec::new(), Vec::new());
    for event in events {
        let Some(made) = Kept::of(event)? else { continue };
        let tenant = &event.envelope.tenant;
        let decided_at = instant(made.decided_at.as_ref()).unwrap_or_default();
        for reward in rewards(&made.chosen) {
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
        "ON CONFLICT (tenant, party_id, event, decided_at, decision_id) DO NOTHING",
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
    let rows = database.query(AWAITING, values![tenant, party_id, event, at]).await?;
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
    let rows = database.query(LIST, values![tenant, party_id, before, limit]).await?;
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

#[cfg(test)]
mod tests {
    use rapport_proto::decisioning::v1::DecisionMade;

    use super::*;
    use crate::domain::decide::tests::fixture;

    #[test]
    fn what_is_kept_of_a_record_is_what_stands_in_it() {
        let made = DecisionMade {
            arm: Arm::HeldOut.into(),
            requested_by: "instance/1".to_owned(),
            ..fixture().decide()
        };
        let kept = Kept::decode(&*made.encode_to_vec()).expect("a record");
        let expected = Kept {
            party_id: made.party_id,
            decided_at: made.decided_at,
            chosen: made.chosen,
            arm: made.arm,
            market: made.market,
            requested_by: made.requested_by,
            closes_at: made.closes_at,
        };
        assert_eq!(kept, expected);
    }
}
