//! What is learnt from closed rewards: a party's own counts, decayed lazily, and the sums behind the priors of groups.
//!
//! `d_i = 2^(−(t − t_i)/h)`: the decayed sums are kept as of an instant and scaled when they are read or added to
//! (`data.md` 1.4). The sums for groups are integers in millionths, so that the order of arrival does not show.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::decision_event::Event;
use rapport_proto::decisioning::v1::model_event;
use rapport_proto::types::Channel;

use crate::domain::model::{Group, Sums};
use crate::domain::normal::halved;
use crate::domain::{DO_NOTHING, instant};

/// What one decision is worth, in millionths.
const WHOLE: i64 = 1_000_000;

/// A party's own count for a channel, or a topic on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Count {
    pub(crate) channel: Channel,
    pub(crate) topic: String,
    /// Σ d_i y_i and Σ d_i as of an instant.
    pub(crate) positive: f64,
    pub(crate) total: f64,
    pub(crate) as_of: Timestamp,
}

impl Count {
    /// The two sums as of a later instant.
    pub(crate) fn at(&self, at: Timestamp, half_life: i64) -> (f64, f64) {
        let left = decay(self.as_of, at, half_life);
        (self.positive * left, self.total * left)
    }
}

/// How much of what happened at `from` is left at `to`.
#[expect(clippy::cast_precision_loss, reason = "a share of a half life")]
fn decay(from: Timestamp, to: Timestamp, half_life: i64) -> f64 {
    let age = to.0.saturating_sub(from.0).max(0);
    halved(age as f64 / half_life.max(1) as f64)
}

/// A row while it is folded.
#[derive(Clone, Debug, Default)]
struct Entry {
    market: String,
    positive: f64,
    total: f64,
    as_of: Timestamp,
    successes: i64,
    closed: i64,
}

type Key = (String, String, i64, String);

/// A decision that something is learnt from.
struct Learning {
    party_id: String,
    decided_at: Timestamp,
    market: String,
    action: String,
    channel: i64,
    topic: String,
    half_life: i64,
    learnt: i64,
}

/// Learns from rewards that were closed or corrected.
pub(super) async fn learn(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    let mut settled: Vec<(&Recorded, i64, bool)> = Vec::new();
    for event in events.iter().filter(|it| it.envelope.r#type.contains(".Reward")) {
        match event.decode()? {
            Some(Event::RewardClosed(it)) if !it.censored => {
                settled.push((event, millionths(it.reward), true));
            }
            Some(Event::RewardCorrected(it)) => {
                settled.push((event, millionths(it.reward), false));
            }
            Some(Event::RewardClosed(_) | Event::Made(_) | Event::OutcomeObserved(_)) | None => {}
        }
    }
    if settled.is_empty() {
        return Ok(());
    }
    let mut learning = decisions(tx, &settled).await?;
    let mut entries = BTreeMap::new();
    load(tx, &learning, &mut entries).await?;
    for (event, reward, first) in settled {
        let name = (event.envelope.tenant.clone(), event.id().to_owned());
        if let Some(decision) = learning.get_mut(&name) {
            add(&mut entries, &name.0, decision, reward, first);
        }
    }
    write(tx, learning, entries).await
}

#[expect(clippy::cast_possible_truncation, reason = "a reward lies between 0 and 1")]
fn millionths(reward: f64) -> i64 {
    (reward.clamp(0.0, 1.0) * 1e6).round() as i64
}

async fn decisions(
    tx: &mut Tx,
    settled: &[(&Recorded, i64, bool)],
) -> Result<BTreeMap<(String, String), Learning>, Error> {
    let mut names: Vec<_> =
        settled.iter().map(|(it, ..)| (it.envelope.tenant.as_str(), it.id())).collect();
    names.sort_unstable();
    names.dedup();
    let keys: Vec<_> = names.into_iter().map(|(tenant, id)| values![tenant, id]).collect();
    let rows = tx
        .query_keys(
            "k(tenant, decision_id)",
            &keys,
            "SELECT d.tenant, d.decision_id, d.party_id, d.decided_at, d.market, d.action,
                 d.channel, d.topic, d.half_life, d.learnt
             FROM k
             JOIN decision d ON d.tenant = k.tenant AND d.decision_id = k.decision_id",
        )
        .await?;
    let read = |row: &Row| {
        let learning = Learning {
            party_id: row.text(2)?.to_owned(),
            decided_at: row.time(3)?,
            market: row.text(4)?.to_owned(),
            action: row.text(5)?.to_owned(),
            channel: row.int(6)?,
            topic: row.text(7)?.to_owned(),
            half_life: row.int(8)?,
            learnt: row.int(9)?,
        };
        Ok(((row.text(0)?.to_owned(), row.text(1)?.to_owned()), learning))
    };
    rows.iter().map(read).collect()
}

/// The channel as a whole, and the topic on it.
fn keys_of(tenant: &str, decision: &Learning) -> Vec<Key> {
    let key = |topic: &str| {
        (tenant.to_owned(), decision.party_id.clone(), decision.channel, topic.to_owned())
    };
    let mut keys = vec![key("")];
    if !decision.topic.is_empty() {
        keys.push(key(&decision.topic));
    }
    keys
}

async fn load(
    tx: &mut Tx,
    learning: &BTreeMap<(String, String), Learning>,
    entries: &mut BTreeMap<Key, Entry>,
) -> Result<(), Error> {
    let mut wanted: Vec<Key> =
        learning.iter().flat_map(|((tenant, _), it)| keys_of(tenant, it)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let keys: Vec<_> = (wanted.into_iter())
        .map(|(tenant, party, channel, topic)| values![tenant, party, channel, topic])
        .collect();
    let rows = tx
        .query_keys(
            "k(tenant, party_id, channel, topic)",
            &keys,
            "SELECT a.tenant, a.party_id, a.channel, a.topic, a.market, a.positive, a.total,
                 a.as_of, a.successes, a.closed
             FROM k
             JOIN affinity a ON a.tenant = k.tenant AND a.party_id = k.party_id
                 AND a.channel = k.channel AND a.topic = k.topic",
        )
        .await?;
    for row in rows {
        let key = (
            row.text(0)?.to_owned(),
            row.text(1)?.to_owned(),
            row.int(2)?,
            row.text(3)?.to_owned(),
        );
        let entry = Entry {
            market: row.text(4)?.to_owned(),
            positive: row.float(5)?,
            total: row.float(6)?,
            as_of: row.time(7)?,
            successes: row.int(8)?,
            closed: row.int(9)?,
        };
        entries.insert(key, entry);
    }
    Ok(())
}

fn add(
    entries: &mut BTreeMap<Key, Entry>,
    tenant: &str,
    decision: &mut Learning,
    reward: i64,
    first: bool,
) {
    let nothing = decision.action.is_empty() || decision.action == DO_NOTHING;
    // What was censored is not corrected: nothing was learnt from it.
    if nothing || first == (decision.learnt >= 0) {
        return;
    }
    let more = if first { reward } else { reward - decision.learnt };
    let whole = if first { WHOLE } else { 0 };
    decision.learnt = reward;
    for key in keys_of(tenant, decision) {
        entries.entry(key).or_default().add(decision, more, whole);
    }
}

impl Entry {
    #[expect(clippy::cast_precision_loss, reason = "millionths of a reward")]
    fn add(&mut self, decision: &Learning, more: i64, whole: i64) {
        let as_of = if self.closed == 0 { decision.decided_at } else { self.as_of };
        let now = as_of.max(decision.decided_at);
        let (before, new) = (
            decay(as_of, now, decision.half_life),
            decay(decision.decided_at, now, decision.half_life),
        );
        self.positive = (self.positive * before + more as f64 / 1e6 * new).max(0.0);
        self.total = self.total * before + whole as f64 / 1e6 * new;
        self.as_of = now;
        self.successes += more;
        self.closed += whole;
        self.market.clone_from(&decision.market);
    }
}

async fn write(
    tx: &mut Tx,
    learning: BTreeMap<(String, String), Learning>,
    entries: BTreeMap<Key, Entry>,
) -> Result<(), Error> {
    let rows: Vec<_> =
        learning.into_iter().map(|((tenant, id), it)| values![tenant, id, it.learnt]).collect();
    tx.exec_keys(
        "k(tenant, decision_id, learnt)",
        &rows,
        "UPDATE decision SET learnt = k.learnt FROM k
         WHERE decision.tenant = k.tenant AND decision.decision_id = k.decision_id",
    )
    .await?;
    let rows = (entries.into_iter())
        .map(|((tenant, party_id, channel, topic), it)| {
            values![
                tenant,
                party_id,
                channel,
                topic,
                it.market,
                it.positive,
                it.total,
                it.as_of,
                it.successes,
                it.closed
            ]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO affinity (tenant, party_id, channel, topic, market, positive, total, as_of,
             successes, closed)",
        rows,
        "ON CONFLICT (tenant, party_id, channel, topic) DO UPDATE SET market = excluded.market,
         positive = excluded.positive, total = excluded.total, as_of = excluded.as_of,
         successes = excluded.successes, closed = excluded.closed",
    )
    .await
    .map(drop)
}

/// A party's own counts.
pub(crate) async fn of_party(
    database: &Database,
    tenant: &str,
    party_id: &str,
) -> Result<Vec<Count>, Error> {
    let rows = database
        .query(
            "SELECT channel, topic, positive, total, as_of FROM affinity
             WHERE tenant = $1 AND party_id = $2",
            values![tenant, party_id],
        )
        .await?;
    rows.iter().map(count).collect()
}

fn count(row: &Row) -> Result<Count, Error> {
    let channel = i32::try_from(row.int(0)?).ok().and_then(|it| Channel::try_from(it).ok());
    Ok(Count {
        channel: channel.unwrap_or_default(),
        topic: row.text(1)?.to_owned(),
        positive: row.float(2)?,
        total: row.float(3)?,
        as_of: row.time(4)?,
    })
}

/// What all closed rewards of each group add up to.
pub(crate) async fn groups(
    database: &Database,
    tenant: &str,
) -> Result<BTreeMap<Group, Sums>, Error> {
    // A rate in millionths is at most 10^6, its square over 10^6 too: sums of a billion parties fit.
    let rows = database
        .query(
            "SELECT market, channel, topic, COUNT(*), CAST(SUM(successes) AS BIGINT),
                 CAST(SUM(closed) AS BIGINT), CAST(SUM(rate) AS BIGINT),
                 CAST(SUM(rate * rate / 1000000) AS BIGINT)
             FROM (
                 SELECT market, channel, topic, successes, closed,
                     successes * 1000000 / closed AS rate
                 FROM affinity WHERE tenant = $1 AND closed > 0
             ) one
             GROUP BY market, channel, topic",
            values![tenant],
        )
        .await?;
    (rows.iter())
        .map(|row| {
            let channel = i32::try_from(row.int(1)?).unwrap_or_default();
            let group = (row.text(0)?.to_owned(), channel, row.text(2)?.to_owned());
            let sums = Sums {
                parties: row.int(3)?,
                successes: row.int(4)?,
                total: row.int(5)?,
                rates: row.int(6)?,
                squares: row.int(7)?,
            };
            Ok((group, sums))
        })
        .collect()
}

pub(super) async fn apply_snapshots(tx: &mut Tx, events: &[&Recorded]) -> Result<(), Error> {
    for event in events {
        let Some(model_event::Event::Published(it)) = event.decode()? else { continue };
        let as_of = instant(it.as_of.as_ref()).unwrap_or_default();
        let published = it.encode_to_vec();
        tx.insert_many(
            "INSERT INTO prior_snapshot (tenant, as_of, hash, published)",
            vec![values![&event.envelope.tenant, as_of, it.hash, published]],
            "ON CONFLICT (tenant) DO UPDATE SET as_of = excluded.as_of, hash = excluded.hash,
             published = excluded.published",
        )
        .await?;
    }
    Ok(())
}
