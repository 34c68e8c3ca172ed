//! Which modules the live policy and the journeys name.

use eventstore::{Error, Recorded, Tx, Value, values};
use rapport_proto::decisioning::v1::{Policy, policy_event};
use rapport_proto::journeys::v1::{Journey, journey_event, node};

pub(crate) async fn apply_policy(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    use policy_event::Event;
    match event.decode()? {
        Some(Event::Activated(it)) => {
            // One version is live; it takes the place of the one before.
            forget(tx, event, "policy", 0).await?;
            let places = places_of_policy(&it.policy.unwrap_or_default());
            insert(tx, event, "policy", it.version, places).await
        }
        Some(Event::Retired(it)) => forget(tx, event, "policy", it.version).await,
        Some(Event::Drafted(_) | Event::Simulated(_) | Event::Approved(_)) | None => Ok(()),
    }
}

pub(crate) async fn apply_journey(tx: &mut Tx, event: &Recorded) -> Result<(), Error> {
    use journey_event::Event;
    match event.decode()? {
        // The version before drains: its instances still say what it names.
        Some(Event::Activated(it)) => {
            let places = places_of_journey(&it.journey.unwrap_or_default());
            insert(tx, event, "journey", it.version, places).await
        }
        Some(Event::Retired(it)) => forget(tx, event, "journey", it.version).await,
        Some(
            Event::Drafted(_)
            | Event::Checked(_)
            | Event::Approved(_)
            | Event::Paused(_)
            | Event::Resumed(_)
            | Event::Draining(_),
        )
        | None => Ok(()),
    }
}

/// Module and place.
type Place = (String, String);

fn places_of_policy(policy: &Policy) -> Vec<Place> {
    let of_action = policy.actions.iter().flat_map(|action| {
        action.treatments.iter().map(|treatment| {
            let place = format!("actions.{}.{}", action.action, treatment.treatment);
            (treatment.module.clone(), place)
        })
    });
    of_action.collect()
}

fn places_of_journey(journey: &Journey) -> Vec<Place> {
    let of_node = journey.nodes.iter().filter_map(|(id, node)| match &node.step {
        Some(node::Step::Touch(touch)) if !touch.module.is_empty() => {
            Some((touch.module.clone(), format!("nodes.{id}")))
        }
        _ => None,
    });
    of_node.collect()
}

async fn insert(
    tx: &mut Tx,
    event: &Recorded,
    kind: &str,
    version: u32,
    places: Vec<Place>,
) -> Result<(), Error> {
    let row = |(module, place): Place| -> Vec<Value> {
        values![
            &event.envelope.tenant,
            format!("module/{module}"),
            kind,
            event.id(),
            version,
            place
        ]
    };
    tx.insert_many(
        "INSERT INTO plan_use (tenant, part, kind, id, version, place)",
        places.into_iter().map(row).collect(),
        "ON CONFLICT (tenant, part, kind, id, version, place) DO NOTHING",
    )
    .await
    .map(drop)
}

async fn forget(tx: &mut Tx, event: &Recorded, kind: &str, version: u32) -> Result<(), Error> {
    tx.exec(
        "DELETE FROM plan_use WHERE tenant = $1 AND kind = $2 AND id = $3 AND ($4 = 0 OR version = $4)",
        values![&event.envelope.tenant, kind, event.id(), version],
    )
    .await
    .map(drop)
}
