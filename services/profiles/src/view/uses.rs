//! Which journeys and policies name a trait or a segment: where-used, from the documents that are live.

use std::collections::BTreeSet;

use authored::rule::{Catalogue, Rule, Type};
use eventstore::{Database, Error, Recorded, Tx, View, values};
use futures::future::BoxFuture;
use prost::{Message, Name as _};
use rapport_proto::decisioning::v1::{Policy, policy_event};
use rapport_proto::journeys::v1::{Journey, entry, journey_event};
use rapport_proto::profiles::v1::Use;

use super::definition::Kind;

/// The view of a consumer of `journeys` and `decisioning`.
pub(crate) struct Uses;

/// Kind and id of what is used.
type Used = (&'static str, String);

impl View for Uses {
    fn name(&self) -> &'static str {
        "uses"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["segment_use"]
    }

    fn reads(&self, type_name: &str) -> bool {
        matches!(
            type_name,
            "rapport.journeys.v1.JourneyVersionActivated"
                | "rapport.journeys.v1.JourneyVersionRetired"
                | "rapport.decisioning.v1.PolicyVersionActivated"
                | "rapport.decisioning.v1.PolicyVersionRetired"
        )
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for event in events {
                match event.aggregate() {
                    "journey" => journey(tx, event).await?,
                    "policy" => policy(tx, event).await?,
                    _ => {}
                }
            }
            Ok(())
        })
    }
}

/// Versions of a journey go on side by side until each is over.
async fn journey(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    use journey_event::Event;
    match event.decode()? {
        Some(Event::Activated(it)) => {
            let journey = it.journey.unwrap_or_default();
            let mut used = names(&Journey::full_name(), &journey);
            if let Some(entry::By::Segment(by)) = journey.entry.and_then(|it| it.by) {
                used.insert((Kind::Segment.as_str(), by.segment));
            }
            add(tx, event, "journey", it.version, used).await
        }
        Some(Event::Retired(it)) => {
            tx.exec(
                "DELETE FROM segment_use WHERE tenant = $1 AND kind = 'journey' AND id = $2 AND version = $3",
                values![&event.envelope.tenant, event.id(), it.version],
            )
            .await
            .map(drop)
        }
        _ => Ok(()),
    }
}

/// A policy replaces the one before.
async fn policy(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    use policy_event::Event;
    let activated = match event.decode()? {
        Some(Event::Activated(it)) => Some(it),
        Some(Event::Retired(_)) => None,
        _ => return Ok(()),
    };
    tx.exec(
        "DELETE FROM segment_use WHERE tenant = $1 AND kind = 'policy' AND id = $2",
        values![&event.envelope.tenant, event.id()],
    )
    .await?;
    let Some(it) = activated else { return Ok(()) };
    let used = names(&Policy::full_name(), &it.policy.unwrap_or_default());
    add(tx, event, "policy", it.version, used).await
}

async fn add(
    tx: &mut Tx,
    event: &Recorded,
    kind: &str,
    version: u32,
    used: BTreeSet<Used>,
) -> Result<(), Error> {
    let (tenant, id) = (&event.envelope.tenant, event.id());
    let rows = used
        .into_iter()
        .map(|(used_kind, used_id)| values![tenant, used_kind, used_id, kind, id, version])
        .collect();
    tx.insert_many(
        "INSERT INTO segment_use (tenant, used_kind, used_id, kind, id, version)",
        rows,
        "ON CONFLICT DO NOTHING",
    )
    .await
    .map(drop)
}

/// The traits and segments named in the rules of a document. Every text of it is tried as a rule: what is none names
/// nothing, and a rule that is added to the contract is found too.
fn names<M: Message>(full_name: &str, document: &M) -> BTreeSet<Used> {
    let mut used = BTreeSet::new();
    if let Ok(json) = authored::document::to_json(full_name, &document.encode_to_vec()) {
        let names = everything();
        let mut rest = vec![&json];
        while let Some(value) = rest.pop() {
            if let Some(text) = value.as_str() {
                used.extend(of_rule(text, &names));
            }
            rest.extend(value.as_array().into_iter().flatten());
            rest.extend(value.as_object().into_iter().flat_map(|it| it.values()));
        }
    }
    used
}

/// Every name that any rule may use.
fn everything() -> Catalogue {
    let open = ["attributes", "traits", "consent", "entry", "event", "decision", "values"];
    let names = Catalogue::new().party().list("segments", Type::Text).value("now", Type::Time);
    open.into_iter().fold(names, Catalogue::open)
}

fn of_rule(text: &str, names: &Catalogue) -> BTreeSet<Used> {
    let Ok(rule) = Rule::compile(text, names, &Type::Any) else { return BTreeSet::new() };
    let mut used = BTreeSet::new();
    for name in rule.names() {
        match name.root() {
            "traits" => {
                used.insert((Kind::Trait.as_str(), name.key().to_owned()));
            }
            "segments" => {
                used.extend(quoted(text).map(|it| (Kind::Segment.as_str(), it.to_owned())));
            }
            _ => {}
        }
    }
    used
}

/// Texts in quotes that can be the id of a segment: a rule compares `segments` with nothing else.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split(['"', '\'']).skip(1).step_by(2).filter(|it| chassis::name::is_authored_id(it))
}

/// The live documents that name a thing.
pub(crate) async fn of(
    database: &Database,
    tenant: &str,
    kind: Kind,
    id: &str,
) -> Result<Vec<Use>, Error> {
    let rows = database
        .query(
            "SELECT kind, id, version
             FROM segment_use
             WHERE tenant = $1 AND used_kind = $2 AND used_id = $3
             ORDER BY kind, id, version",
            values![tenant, kind.as_str(), id],
        )
        .await?;
    (rows.iter())
        .map(|row| {
            Ok(Use {
                kind: row.text(0)?.to_owned(),
                id: row.text(1)?.to_owned(),
                version: u32::try_from(row.int(2)?).unwrap_or(u32::MAX),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_tells_what_it_names() {
        let rule = "traits.orders_90d >= 2 && ('lapsing' in segments || \"kol\" in segments)";
        let used = of_rule(rule, &everything());
        let expected = [("segment", "kol"), ("segment", "lapsing"), ("trait", "orders_90d")];
        assert_eq!(used, expected.map(|(kind, id)| (kind, id.to_owned())).into());
        assert!(of_rule("We write to you because of traits", &everything()).is_empty());
        assert!(of_rule("party.market == 'de'", &everything()).is_empty());
    }
}
