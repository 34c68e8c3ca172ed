//! Either side can refill the other: what to do when the end of the store and the end of the log differ.
//!
//! | store | log | then |
//! |---|---|---|
//! | ahead | shorter, same chain | the relay publishes |
//! | behind | longer, same chain | the missing tail is imported before the next write, if it consists of whole units and every subject key it names exists |
//! | any | another chain | the head is fenced: nobody writes, both branches and the position of the fork are printed |

use std::collections::{HashMap, HashSet};

use crate::commit;
use crate::error::Error;
use crate::event::{Head, Recorded, Stored};
use crate::log::{self, Tail};
use crate::sql::Database;
use crate::store::{Inner, Store};
use crate::timers;
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
    let head = commit::lock_head(&mut tx).await?;
    let known = known_database(&mut tx).await?;
    let actual = store.database.identity(&mut tx).await?;
    tx.rollback().await?;
    let another = known != actual && store.log.is_remote();
    if another || !continues(store, &head) {
        let seen = *store.head.borrow();
        let head = compare(&Store(store.clone())).await?;
        if head.position < seen.position {
            tracing::error!(
                source = store.source,
                from = head.position + 1,
                to = seen.position,
                "events were acknowledged and are neither in the store nor on the log"
            );
        }
        store.head.send_replace(head);
        let mut tx = store.database.begin().await?;
        tx.exec("UPDATE head SET database_id = $1 WHERE one = 1", values![actual]).await?;
        tx.commit().await?;
    }
    *checked = Some(generation);
    Ok(())
}

/// Whether the head under its lock is what this process saw last, or later: a store that went backwards
/// was restored, whatever its database calls itself.
pub(crate) fn continues(store: &Inner, head: &Head) -> bool {
    let seen = store.head.borrow();
    head.position > seen.position || *head == *seen
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
    // Who reads a fenced store beside its log, to decide, may open it; nobody may write.
    if !store.log().is_remote() {
        return Ok(head);
    }
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

/// Imports the events that the log has and the store lost: all of them, or none if a rule forbids one.
async fn import(store: &Store, head: Head, tail: &Tail) -> Result<(), Error> {
    let mut end = head;
    while end.position < tail.last {
        let page = missing(store, end, tail).await?;
        refuse_lost_keys(store, &page).await?;
        end = page.end;
    }
    tracing::warn!(
        source = store.source(),
        from = head.position + 1,
        to = tail.last,
        "the store lost its tail; importing it from the log"
    );
    let mut end = head;
    while end.position < tail.last {
        let page = missing(store, end, tail).await?;
        let mut tx = store.database().begin().await?;
        if commit::lock_head(&mut tx).await? != end {
            return Err(Error::unavailable("another replica is importing the missing tail"));
        }
        write(store, &mut tx, &page).await?;
        end = page.end;
        tx.exec(
            "UPDATE head SET position = $1, chain = $2 WHERE one = 1",
            values![end.position, end.chain],
        )
        .await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Whole units that follow on an end of the store, never none.
struct Page {
    stored: Vec<Stored>,
    recorded: Vec<Recorded>,
    end: Head,
}

/// Reads the next whole units that the store lost. Each event must follow the chain.
async fn missing(store: &Store, from: Head, tail: &Tail) -> Result<Page, Error> {
    let mut stored = store.log().read(store.source(), from.position, PAGE).await?;
    stored.retain(|it| it.position <= tail.last);
    let mut end = from;
    for event in &stored {
        if event.position != end.position + 1 {
            return Err(gone(from, end.position + 1, tail));
        }
        if !event.follows(end.position, &end.chain) {
            return Err(fence(store, event.position)
                .await
                .err()
                .unwrap_or_else(|| gone(from, event.position, tail)));
        }
        end = Head { position: event.position, chain: event.chain };
    }
    let mut recorded = store.recorded(stored.clone()).await?;
    let Some(last) = recorded.last() else { return Err(gone(from, end.position + 1, tail)) };
    let whole = recorded.iter().rposition(ends_unit).map_or(0, |it| it + 1);
    if whole < recorded.len() && last.position == tail.last {
        return Err(half_unit(last));
    }
    stored.truncate(whole);
    recorded.truncate(whole);
    let Some(last) = stored.last() else { return Err(gone(from, end.position + 1, tail)) };
    end = Head { position: last.position, chain: last.chain };
    Ok(Page { stored, recorded, end })
}

fn ends_unit(event: &Recorded) -> bool {
    event.envelope.unit_index + 1 == event.envelope.unit_size
}

fn gone(from: Head, position: u64, tail: &Tail) -> Error {
    Error::Fenced(format!(
        "the log took events up to {}, the store ends at {}, and event {position} is gone from both",
        tail.last, from.position
    ))
}

fn half_unit(last: &Recorded) -> Error {
    Error::Fenced(format!(
        "the log ends inside a unit: event {} of party {:?} is {} of {}",
        last.position,
        last.envelope.party_id,
        last.envelope.unit_index + 1,
        last.envelope.unit_size
    ))
}

/// Asks the database, not the keys in memory: a running service still holds what its store has lost.
async fn refuse_lost_keys(store: &Store, page: &Page) -> Result<(), Error> {
    let named = |it: &&Recorded| !it.envelope.subject_key_id.is_empty();
    let name = |it: &Recorded| (it.envelope.tenant.clone(), it.envelope.subject_key_id.clone());
    let wanted: HashSet<_> = page.recorded.iter().filter(named).map(name).collect();
    let wanted: Vec<_> = wanted.into_iter().map(|(tenant, key)| values![tenant, key]).collect();
    let held = store
        .database()
        .query_keys(
            "k(tenant, key_id)",
            &wanted,
            "SELECT s.tenant, s.key_id FROM k
             JOIN subject_key s ON s.tenant = k.tenant AND s.key_id = k.key_id",
        )
        .await?
        .iter()
        .map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned())))
        .collect::<Result<HashSet<_>, Error>>()?;
    let lost = page.recorded.iter().filter(named).find(|it| !held.contains(&name(it)));
    lost.map_or(Ok(()), |it| {
        Err(Error::Fenced(format!(
            "event {} of party {:?} names key {}, which the restored store does not hold",
            it.position, it.envelope.party_id, it.envelope.subject_key_id
        )))
    })
}

/// Writes imported events with everything that follows from them: request ids, views, timers.
async fn write(store: &Store, tx: &mut crate::Tx, page: &Page) -> Result<(), Error> {
    let events = &page.recorded;
    let mut rows = Vec::with_capacity(events.len());
    for (event, stored) in events.iter().zip(&page.stored) {
        let head = Head { position: event.position, chain: event.chain };
        rows.push(commit::event_row(head, &event.envelope, event.recorded_at(), &stored.envelope));
    }
    commit::insert_events(tx, rows).await?;
    commit::insert_requests(tx, requests(events)).await?;
    commit::apply_views(&store.0, tx, events).await?;
    timers::apply(tx, &[], &commit::timer_operations(&store.0, events)?).await
}

/// Tenant, caller, method and request id.
type RequestName<'a> = (&'a str, &'a str, &'a str, &'a str);

/// One remembered request per unit: its first stream, at the version the unit left it at.
fn requests(events: &[Recorded]) -> Vec<Vec<crate::Value>> {
    let mut units: HashMap<RequestName<'_>, (&Recorded, u64, u64)> = HashMap::new();
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

/// Clears a fence, after a person chose a branch and put the other side right; returns whether there was
/// one. Store and log are compared again before the next write.
pub async fn unfence(database: &Database) -> Result<bool, Error> {
    let cleared =
        database.exec("UPDATE head SET fenced = '' WHERE one = 1 AND fenced <> ''", vec![]).await?;
    Ok(cleared > 0)
}

/// Finds where the histories part, fences the head under its lock, and says so.
async fn fence(store: &Store, differs: u64) -> Result<Head, Error> {
    let (mut same, mut differs) = (0, differs);
    while differs - same > 1 {
        let middle = same + (differs - same) / 2;
        // The event itself may be deleted from the log: the next one tells as well.
        let theirs = store.log().read(store.source(), middle - 1, 1).await?;
        let ours = match theirs.first() {
            Some(it) => at(store, it.position).await?,
            None => None,
        };
        match (ours, theirs.first()) {
            (Some(ours), Some(theirs)) if ours.chain == theirs.chain => {
                same = theirs.position.min(differs - 1);
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
