//! Either side can refill the other: what to do when the end of the store and the end of the log differ.
//!
//! | store | log | then |
//! |---|---|---|
//! | ahead | shorter, same chain | the relay publishes |
//! | behind | longer, same chain | the missing tail is imported before the next write, if it consists of whole units and every subject key it names exists |
//! | any | another chain | the head is fenced: nobody writes, both branches and the position of the fork are printed |

use std::collections::HashMap;

use crate::commit;
use crate::error::Error;
use crate::event::{Head, Recorded, Stored};
use crate::log::{self, Tail};
use crate::store::{Inner, Store};
use crate::timers::{self, TIMER_METHOD, TimerKey};
use crate::values;

const PAGE: usize = 500;

/// Called before each append: a connection whose database was not looked at yet may be a restored one.
pub(crate) async fn before_append(
    store: &std::sync::Arc<Inner>,
    checked: &mut Option<u64>,
) -> Result<(), Error> {
    let generation = store.database.generation();
    if *checked == Some(generation) {
        return Ok(());
    }
    let mut tx = store.database.begin_append().await?;
    let generation = store.database.generation();
    commit::lock_head(&mut tx).await?;
    let known = known_database(&mut tx).await?;
    let actual = store.database.identity(&mut tx).await?;
    tx.rollback().await?;
    if known != actual && store.log.is_remote() {
        compare(&Store(store.clone())).await?;
        let mut tx = store.database.begin().await?;
        tx.exec("UPDATE head SET database_id = $1 WHERE one = 1", values![actual]).await?;
        tx.commit().await?;
    }
    *checked = Some(generation);
    Ok(())
}

async fn known_database(tx: &mut crate::Tx) -> Result<String, Error> {
    let rows = tx.query("SELECT database_id FROM head WHERE one = 1", vec![]).await?;
    rows.first().map_or_else(|| Ok(String::new()), |row| row.text(0).map(str::to_owned))
}

/// Compares the end of the store with the log's; imports what the store lost, fences a fork.
pub(crate) async fn compare(store: &Store) -> Result<Head, Error> {
    // The log first: an event is in the store before it is on the log, so a longer log means a loss.
    let tail = store.log().tail(store.source()).await?;
    let head = store.read_head().await?;
    refuse_fenced(store).await?;
    let Some(tail) = tail else { return Ok(head) };
    if tail.last > head.position {
        import(store, head, &tail).await?;
        return store.read_head().await;
    }
    if let Some(newest) = tail.newest {
        let ours = at(store, newest.position).await?;
        if !ours.is_some_and(|it| log::agree(&it, &newest)) {
            return fence(store, newest.position).await;
        }
    }
    Ok(head)
}

async fn refuse_fenced(store: &Store) -> Result<(), Error> {
    let rows = store.query("SELECT fenced FROM head WHERE one = 1", vec![]).await?;
    match rows.first().map(|it| it.text(0)).transpose()?.unwrap_or_default() {
        "" => Ok(()),
        fenced => Err(Error::Fenced(fenced.to_owned())),
    }
}

/// Position and chain of the store at a position.
async fn at(store: &Store, position: u64) -> Result<Option<Head>, Error> {
    let events = store.read(position.saturating_sub(1), 1).await?;
    Ok(events
        .first()
        .filter(|it| it.position == position)
        .map(|it| Head { position, chain: it.chain }))
}

/// Imports the events that the log has and the store lost, all of them or none that a rule forbids.
async fn import(store: &Store, head: Head, tail: &Tail) -> Result<(), Error> {
    let missing = read_missing(store, head, tail).await?;
    let recorded = store.recorded(missing.clone()).await?;
    refuse_half_units(&recorded)?;
    refuse_lost_keys(store, &recorded).await?;
    tracing::warn!(
        source = store.source(),
        from = head.position + 1,
        to = tail.last,
        "the store lost its tail; importing it from the log"
    );
    let mut from = head;
    for (page, stored) in recorded.chunks(PAGE).zip(missing.chunks(PAGE)) {
        let mut tx = store.database().begin().await?;
        if commit::lock_head(&mut tx).await? != from {
            // Another replica imports the same tail.
            return Err(Error::unavailable("another replica is importing the missing tail"));
        }
        write(store, &mut tx, page, stored).await?;
        if let Some(last) = stored.last() {
            from = Head { position: last.position, chain: last.chain };
        }
        tx.exec(
            "UPDATE head SET position = $1, chain = $2 WHERE one = 1",
            values![from.position, from.chain],
        )
        .await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn read_missing(store: &Store, head: Head, tail: &Tail) -> Result<Vec<Stored>, Error> {
    let mut missing = Vec::new();
    let mut end = head;
    while end.position < tail.last {
        let page = store.log().read(store.source(), end.position, PAGE).await?;
        if page.is_empty() {
            return Err(Error::Fenced(format!(
                "the log took events up to {} and the store ends at {}, but event {} is gone from both",
                tail.last,
                head.position,
                end.position + 1
            )));
        }
        for event in page {
            if event.position != end.position + 1 {
                return Err(Error::Fenced(format!(
                    "the store ends at {} and event {} is gone from the log",
                    head.position,
                    end.position + 1
                )));
            }
            if !event.follows(end.position, &end.chain) {
                let position = end.position.max(1);
                return fence(store, position).await.map(|_| Vec::new());
            }
            end = Head { position: event.position, chain: event.chain };
            missing.push(event);
        }
    }
    Ok(missing)
}

fn refuse_half_units(events: &[Recorded]) -> Result<(), Error> {
    let Some(last) = events.last() else { return Ok(()) };
    if last.envelope.unit_index + 1 == last.envelope.unit_size {
        return Ok(());
    }
    Err(Error::Fenced(format!(
        "the log ends inside a unit: event {} of party {:?} is {} of {}",
        last.position,
        last.envelope.party_id,
        last.envelope.unit_index + 1,
        last.envelope.unit_size
    )))
}

async fn refuse_lost_keys(store: &Store, events: &[Recorded]) -> Result<(), Error> {
    let names = events
        .iter()
        .map(|it| (it.envelope.tenant.as_str(), it.envelope.subject_key_id.as_str()))
        .filter(|it| !it.1.is_empty())
        .collect();
    let keys = store.keys().open(names).await?;
    let lost = events.iter().find(|it| {
        let name = (it.envelope.tenant.clone(), it.envelope.subject_key_id.clone());
        !name.1.is_empty() && matches!(keys.get(&name), None | Some(crate::KeyState::Absent))
    });
    lost.map_or(Ok(()), |it| {
        Err(Error::Fenced(format!(
            "event {} of party {:?} names key {}, which the restored store does not hold",
            it.position, it.envelope.party_id, it.envelope.subject_key_id
        )))
    })
}

/// Writes imported events with everything that follows from them: request ids, views, timers.
async fn write(
    store: &Store,
    tx: &mut crate::Tx,
    events: &[Recorded],
    stored: &[Stored],
) -> Result<(), Error> {
    let mut rows = Vec::with_capacity(events.len());
    for (event, stored) in events.iter().zip(stored) {
        let head = Head { position: event.position, chain: event.chain };
        rows.push(commit::event_row(head, &event.envelope, event.recorded_at(), &stored.envelope));
    }
    commit::insert_events(tx, rows).await?;
    commit::insert_requests(tx, requests(events)).await?;
    commit::apply_views(&store.0, tx, events).await?;
    let fired: Vec<_> = events
        .iter()
        .filter(|it| it.envelope.method == TIMER_METHOD)
        .filter_map(|it| TimerKey::parse(&it.envelope.tenant, &it.envelope.request_id))
        .collect();
    let operations = commit::timer_operations(&store.0, events)?;
    timers::apply(tx, &fired.iter().collect::<Vec<_>>(), &operations).await
}

/// One remembered request per unit: its first stream, at the version the unit left it at.
fn requests(events: &[Recorded]) -> Vec<Vec<crate::Value>> {
    let mut units: HashMap<(&str, &str, &str, &str), (&Recorded, u64, u64)> = HashMap::new();
    for event in events {
        let it = &event.envelope;
        let caller = it.actor.as_ref().map_or("", |actor| actor.subject.as_str());
        let name = (it.tenant.as_str(), caller, it.method.as_str(), it.request_id.as_str());
        let unit = units.entry(name).or_insert((event, it.version, event.position));
        if unit.0.envelope.stream == it.stream {
            unit.1 = it.version;
        }
        unit.2 = event.position;
    }
    let now = crate::Timestamp::real();
    units
        .into_iter()
        .map(|((tenant, caller, method, id), (first, version, position))| {
            let digest = first.envelope.request_digest.clone();
            let stream = &first.envelope.stream;
            values![tenant, caller, method, id, digest, stream, version, position, now]
        })
        .collect()
}

/// Finds where the histories part, fences the head under its lock, and says so.
async fn fence(store: &Store, differs: u64) -> Result<Head, Error> {
    let (mut same, mut differs) = (0, differs);
    while differs - same > 1 {
        let middle = same + (differs - same) / 2;
        let ours = at(store, middle).await?;
        let theirs = store.log().read(store.source(), middle - 1, 1).await?;
        match (ours, theirs.first()) {
            (Some(ours), Some(theirs)) if theirs.position == middle && ours.chain == theirs.chain => {
                same = middle;
            }
            _ => differs = middle,
        }
    }
    let text = format!(
        "the store and the log part at position {differs}\nstore:\n{}log:\n{}",
        branch(&store.read(same, 5).await?),
        branch(&store.log().read(store.source(), same, 5).await?),
    );
    tracing::error!(source = store.source(), position = differs, "{text}");
    let mut tx = store.database().begin().await?;
    // Whoever is fenced already stays so, with the first account.
    if commit::lock_head(&mut tx).await.is_ok() {
        tx.exec("UPDATE head SET fenced = $1 WHERE one = 1", values![&text]).await?;
        tx.commit().await?;
    }
    Err(Error::Fenced(text))
}

fn branch(events: &[Stored]) -> String {
    events.iter().fold(String::new(), |text, event| {
        let what = event.envelope().map_or_else(
            |error| error.to_string(),
            |it| format!("{} {} v{} {}", it.id, it.stream, it.version, it.r#type),
        );
        format!("{text}  {} {what} chain {}\n", event.position, crate::ids::hex(&event.chain[..8]))
    })
}
