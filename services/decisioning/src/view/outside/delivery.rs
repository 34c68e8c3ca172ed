//! What became of touches: contacts, which count until they are given back, and outcomes.

use std::collections::{BTreeMap, BTreeSet};

use eventstore::{Error, Recorded, Timestamp, Tx, Value, values};
use rapport_proto::decisioning::v1::HappeningKind;
use rapport_proto::delivery::v1::{pressure_event, touch_event};
use rapport_proto::types::{Channel, ContentClass};

use super::touch::{self, Key, Touch};
use crate::consumers::outcome;
use crate::domain::{instant, names};

pub(super) const INSERT: &str = "INSERT INTO happening (tenant, happening_id, party_id, kind, name,
     happened_at, reason, product_id, decision_id, channel)";

const UPSERT: &str = "ON CONFLICT (tenant, happening_id) DO UPDATE SET
     happened_at = excluded.happened_at, name = excluded.name, product_id = excluded.product_id,
     channel = excluded.channel";

/// Whether an event of a type is a contact, gives one back, or is an outcome.
pub(super) fn reads(type_name: &str) -> bool {
    // What is put off gives its place back by ContactReleased, unless it may have gone out already.
    let contact = ["TouchRequested", "TouchReady", "TouchSkipped"];
    let contact = contact.into_iter().chain(["ContactReserved", "ContactReleased"]);
    outcome::is_one(type_name)
        || type_name
            .strip_prefix(outcome::DELIVERY)
            .is_some_and(|name| contact.into_iter().any(|it| it == name))
}

pub(super) async fn apply(tx: &mut Tx, events: &[Recorded]) -> Result<(), Error> {
    let touched: Vec<&Recorded> =
        events.iter().filter(|it| ["touch", "pressure"].contains(&it.aggregate())).collect();
    if touched.is_empty() {
        return Ok(());
    }
    let touches = touches(tx, &touched).await?;
    touch::write(tx, &touches).await?;
    let mut fold = Fold { touches, written: BTreeMap::new(), released: BTreeSet::new() };
    for event in touched {
        match event.aggregate() {
            "pressure" => fold.pressure(event)?,
            _ => fold.touch(event)?,
        }
    }
    let released = fold.released.into_iter().map(|(tenant, id)| values![tenant, id]);
    tx.exec_keys(
        "k(tenant, happening_id)",
        &released.collect::<Vec<_>>(),
        "DELETE FROM happening WHERE (tenant, happening_id) IN (SELECT tenant, happening_id FROM k)",
    )
    .await?;
    tx.insert_many(INSERT, fold.written.into_values().collect(), UPSERT).await.map(drop)
}

/// The touches that these events are about, those that they ask for included.
async fn touches(tx: &mut Tx, events: &[&Recorded]) -> Result<BTreeMap<Key, Touch>, Error> {
    let mut asked = BTreeMap::new();
    let mut known = BTreeSet::new();
    for event in events.iter().filter(|it| it.aggregate() == "touch") {
        let key = (event.envelope.tenant.clone(), event.id().to_owned());
        if !event.envelope.r#type.ends_with(".TouchRequested") {
            known.insert(key);
            continue;
        }
        if let Some(touch_event::Event::Requested(it)) = event.decode()? {
            let touch = Touch {
                party_id: it.party_id,
                decision_id: it.decision_id,
                channel: it.channel.into(),
            };
            asked.insert(key, touch);
        }
    }
    let keys: Vec<_> = (known.into_iter())
        .filter(|it| !asked.contains_key(it))
        .map(|(tenant, id)| values![tenant, id])
        .collect();
    asked.extend(touch::load(tx, &keys).await?);
    Ok(asked)
}

/// Rows to write and to remove; what is written after it was removed stays.
struct Fold {
    touches: BTreeMap<Key, Touch>,
    written: BTreeMap<Key, Vec<Value>>,
    released: BTreeSet<Key>,
}

impl Fold {
    fn pressure(&mut self, event: &Recorded) -> Result<(), Error> {
        let tenant = event.envelope.tenant.clone();
        match event.decode()? {
            Some(pressure_event::Event::Reserved(it)) => {
                let at = instant(it.reserved_at.as_ref()).unwrap_or_else(|| event.recorded_at());
                let channel = it.channel();
                self.contact((tenant, it.touch_id), event.id(), channel, &it.product_id, at);
            }
            Some(pressure_event::Event::Released(it)) => self.release((tenant, it.touch_id)),
            None => {}
        }
        Ok(())
    }

    fn touch(&mut self, event: &Recorded) -> Result<(), Error> {
        let key = (event.envelope.tenant.clone(), event.id().to_owned());
        let Some(fact) = event.decode::<touch_event::Event>()? else { return Ok(()) };
        let touch = self.touches.get(&key).cloned();
        if let (Some(seen), Some(touch)) = (outcome::seen(&fact, event), &touch) {
            let id = format!("{}/{}", event.envelope.source, event.position);
            let row = values![
                &key.0,
                &id,
                &touch.party_id,
                i32::from(HappeningKind::Outcome),
                seen.kind,
                seen.occurred_at,
                seen.reason,
                "",
                &touch.decision_id,
                touch.channel
            ];
            self.written.insert((key.0.clone(), id), row);
        }
        match (fact, touch) {
            // Safety communication is no pressure: it takes no place at delivery either.
            (touch_event::Event::Ready(it), _)
                if it.content_class() == ContentClass::SafetyCommunication => {}
            (touch_event::Event::Ready(it), Some(touch)) => {
                let channel = i32::try_from(touch.channel).ok();
                let channel = channel.and_then(|it| Channel::try_from(it).ok()).unwrap_or_default();
                let at = event.recorded_at();
                self.contact(key, &touch.party_id, channel, &it.product_id, at);
            }
            (
                touch_event::Event::Skipped(_)
                | touch_event::Event::Failed(_)
                | touch_event::Event::TaskExpired(_),
                _,
            ) => self.release(key),
            (touch_event::Event::Resolved(it), _) if !it.sent => self.release(key),
            (touch_event::Event::TaskWithdrawn(it), _) if !it.accepted => self.release(key),
            _ => {}
        }
        Ok(())
    }

    fn contact(&mut self, key: Key, party: &str, channel: Channel, product: &str, at: Timestamp) {
        let row = values![
            &key.0,
            &key.1,
            party,
            i32::from(HappeningKind::Contact),
            names::channel(channel),
            at,
            "",
            product,
            "",
            i32::from(channel)
        ];
        self.released.remove(&key);
        self.written.insert(key, row);
    }

    fn release(&mut self, key: Key) {
        self.written.remove(&key);
        self.released.insert(key);
    }
}
