//! The rule packs of the markets, as `decisioning` activated and retired them.
//!
//! The one in force at an instant is the latest that took effect by then, unless it was retired by then: an earlier
//! one does not come back.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, TimerOp, Timestamp, Tx, View, values};
use futures::future::BoxFuture;
use prost::Message as _;
use rapport_proto::decisioning::v1::{
    Inherited, RulePack, RulePackActivated, rule_pack_event::Event,
};

/// What fires when a rule pack begins or ends: everybody in its market is looked at.
pub(crate) const JUDGE: &str = "segment.judge";

/// The view of a consumer of `decisioning`.
pub(crate) struct Packs;

impl View for Packs {
    fn name(&self) -> &'static str {
        "packs"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["pack", "pack_revision"]
    }

    fn reads(&self, type_name: &str) -> bool {
        matches!(
            type_name,
            "rapport.decisioning.v1.RulePackActivated" | "rapport.decisioning.v1.RulePackRetired"
        )
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(apply(tx, events))
    }

    /// The work that follows for segments, due at once.
    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        if event.aggregate() != "rule_pack" {
            return Ok(Vec::new());
        }
        let Some(Event::Activated(_) | Event::Retired(_)) = event.decode()? else {
            return Ok(Vec::new());
        };
        let stream = event.envelope.stream.clone();
        let id = format!("{stream}/{}", event.position);
        Ok(vec![TimerOp::Set { id, kind: JUDGE, stream, due_at: event.recorded_at() }])
    }
}

/// Tenant, market and version.
type Key = (String, String, u32);

struct Activated {
    effective_at: Timestamp,
    document: Vec<u8>,
}

async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    let (mut activated, mut retired) = (BTreeMap::new(), BTreeMap::new());
    let mut revisions = BTreeMap::new();
    for event in events.iter().filter(|event| event.aggregate() == "rule_pack") {
        revisions.insert(event.envelope.tenant.clone(), event.position);
        let key =
            |version| -> Key { (event.envelope.tenant.clone(), event.id().to_owned(), version) };
        match event.decode()? {
            Some(Event::Activated(it)) => {
                let effective_at = super::instant(it.effective_at.as_ref());
                let key = key(it.version);
                let effective_at = effective_at.unwrap_or_else(|| event.recorded_at());
                let document = consent_only(it).encode_to_vec();
                retired.remove(&key);
                activated.insert(key, Activated { effective_at, document });
            }
            Some(Event::Retired(it)) => {
                retired.insert(key(it.version), event.recorded_at());
            }
            Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => {}
        }
    }
    write(tx, activated, retired).await?;
    let rows = revisions.into_iter().map(|(tenant, position)| values![tenant, position]).collect();
    tx.insert_many(
        "INSERT INTO pack_revision (tenant, position)",
        rows,
        "ON CONFLICT (tenant) DO UPDATE SET position = excluded.position",
    )
    .await
    .map(drop)
}

/// What is evaluated here: a pack is the whole file of a country.
fn consent_only(pack: RulePackActivated) -> RulePackActivated {
    let reduced = |it: RulePack| RulePack {
        rule_pack: it.rule_pack,
        consent: it.consent,
        ..RulePack::default()
    };
    let inherited = pack.inherited.into_iter();
    RulePackActivated {
        market: pack.market,
        version: pack.version,
        document: pack.document.map(reduced),
        inherited: inherited
            .map(|it| Inherited { document: it.document.map(reduced), ..it })
            .collect(),
        ..RulePackActivated::default()
    }
}

async fn write(
    tx: &mut Tx,
    activated: BTreeMap<Key, Activated>,
    retired: BTreeMap<Key, Timestamp>,
) -> Result<(), Error> {
    let rows = (activated.into_iter())
        .map(|((tenant, market, version), it)| {
            values![tenant, market, version, it.effective_at, Timestamp::MAX, it.document]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO pack (tenant, market, version, effective_at, retired_at, document)",
        rows,
        "ON CONFLICT (tenant, market, version) DO UPDATE SET effective_at = excluded.effective_at,
             retired_at = excluded.retired_at, document = excluded.document",
    )
    .await?;
    // Few packs are ever retired.
    for ((tenant, market, version), at) in retired {
        tx.exec(
            "UPDATE pack SET retired_at = $4 WHERE tenant = $1 AND market = $2 AND version = $3",
            values![tenant, market, version, at],
        )
        .await?;
    }
    Ok(())
}

/// A pack, from when it counts and until when.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dated {
    pub(crate) effective_at: Timestamp,
    /// The greatest instant while it is in force.
    pub(crate) retired_at: Timestamp,
    pub(crate) pack: RulePackActivated,
}

/// The packs of a market from an instant on, in the order in which they take effect: the one that did last, and those
/// that will.
pub(crate) async fn from(
    database: &Database,
    tenant: &str,
    market: &str,
    at: Timestamp,
) -> Result<Vec<Dated>, Error> {
    let rows = database
        .query(
            "SELECT effective_at, retired_at, document
             FROM pack
             WHERE tenant = $1 AND market = $2 AND effective_at >= COALESCE(
                 (SELECT MAX(effective_at) FROM pack
                  WHERE tenant = $1 AND market = $2 AND effective_at <= $3), $3)
             ORDER BY effective_at, version",
            values![tenant, market, at],
        )
        .await?;
    let read = |row: &eventstore::Row| {
        let pack = RulePackActivated::decode(row.blob(2)?)
            .map_err(|error| Error::corrupt(format!("the pack of {market}: {error}")))?;
        Ok(Dated { effective_at: row.time(0)?, retired_at: row.time(1)?, pack })
    };
    rows.iter().map(read).collect()
}
