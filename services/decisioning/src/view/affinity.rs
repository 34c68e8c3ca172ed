//! What is learnt from closed rewards: a party's own counts, and the sums behind the priors of groups.
//!
//! `d_i = 2^(−(t − t_i)/h)` (`data.md` 1.4). A party's decisions are kept one by one and summed when they are read, in the
//! order in which they were made; the sums for groups are integers in millionths. So the order in which rewards are
//! closed does not show in any bit.

use std::collections::BTreeMap;

use eventstore::{Database, Error, Recorded, Row, Timestamp, Tx, values};
use prost::Message as _;
use rapport_proto::decisioning::v1::decision_event::Event;
use rapport_proto::decisioning::v1::model_event;
use rapport_proto::types::Channel;

use super::past::Asked;
use crate::domain::model::{Group, Sums};
use crate::domain::normal::halved;
use crate::domain::{DO_NOTHING, instant};

/// What one decision is worth, in millionths.
const WHOLE: i64 = 1_000_000;

/// Decisions of a party that are looked at, newest first: of what is older hardly anything is left.
const MOST: usize = 1_000;

/// What became of a party's decisions for a channel, or a topic on it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Count {
    pub(crate) channel: Channel,
    pub(crate) topic: String,
    /// When each was made and what it earned in millionths, in an order that follows from the decisions alone.
    earned: Vec<(Timestamp, i64)>,
}

impl Count {
    /// Σ d_i y_i and Σ d_i as of an instant.
    #[expect(clippy::cast_precision_loss, reason = "millionths of a reward")]
    pub(crate) fn at(&self, at: Timestamp, half_life: i64) -> (f64, f64) {
        self.earned.iter().fold((0.0, 0.0), |(positive, total), (decided_at, earned)| {
            let left = decay(*decided_at, at, half_life);
            (positive + *earned as f64 / 1e6 * left, total + left)
        })
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
    /// Of the decision that was made last.
    market: String,
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
                 d.channel, d.topic, d.learnt
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
            learnt: row.int(8)?,
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
            "SELECT a.tenant, a.party_id, a.channel, a.topic, a.market, a.as_of,
                 a.successes, a.closed
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
            as_of: row.time(5)?,
            successes: row.int(6)?,
            closed: row.int(7)?,
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
    fn add(&mut self, decision: &Learning, more: i64, whole: i64) {
        let last = (decision.decided_at, &decision.market);
        if self.closed == 0 || last > (self.as_of, &self.market) {
            self.as_of = decision.decided_at;
            self.market.clone_from(&decision.market);
        }
        self.successes += more;
        self.closed += whole;
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
            values![tenant, party_id, channel, topic, it.market, it.as_of, it.successes, it.closed]
        })
        .collect();
    tx.insert_many(
        "INSERT INTO affinity (tenant, party_id, channel, topic, market, as_of, successes, closed)",
        rows,
        "ON CONFLICT (tenant, party_id, channel, topic) DO UPDATE SET market = excluded.market,
         as_of = excluded.as_of, successes = excluded.successes, closed = excluded.closed",
    )
    .await
    .map(drop)
}

/// Not many more than the 1,000 newest are read; several may have been made at the instant of the last of them.
pub(crate) const LEARNT: &str =
    "SELECT k.number, d.channel, d.topic, d.decided_at, d.learnt, d.decision_id
     FROM k
     JOIN decision d ON d.tenant = k.tenant AND d.party_id = k.party_id AND d.learnt >= 0
         AND d.decided_at >= COALESCE(
             (SELECT x.decided_at FROM decision x
              WHERE x.tenant = k.tenant AND x.party_id = k.party_id AND x.learnt >= 0
              ORDER BY x.decided_at DESC LIMIT 1 OFFSET 999),
             k.since)";

/// A decision that something was learnt from: when it was made, its id, channel and topic, and what was learnt.
type Learnt = (Timestamp, String, i64, String, i64);

/// The own counts of each of several parties.
pub(super) async fn of_parties(
    database: &Database,
    asked: &[Asked],
) -> Result<Vec<Vec<Count>>, Error> {
    let key = |(number, it): (u64, &Asked)| values![number, &it.tenant, &it.party_id, i64::MIN];
    let keys: Vec<_> = (0_u64..).zip(asked).map(key).collect();
    let rows = database.query_keys("k(number, tenant, party_id, since)", &keys, LEARNT).await?;
    let mut learnt: Vec<Vec<Learnt>> = asked.iter().map(|_| Vec::new()).collect();
    for row in &rows {
        let number = usize::try_from(row.count(0)?).unwrap_or(usize::MAX);
        let (channel, topic) = (row.int(1)?, row.text(2)?.to_owned());
        let one = (row.time(3)?, row.text(5)?.to_owned(), channel, topic, row.int(4)?);
        if let Some(learnt) = learnt.get_mut(number) {
            learnt.push(one);
        }
    }
    Ok(learnt.into_iter().map(counts).collect())
}

fn counts(mut learnt: Vec<Learnt>) -> Vec<Count> {
    learnt.sort_unstable_by(|a, b| b.cmp(a));
    let mut counts: BTreeMap<(i64, String), Vec<(Timestamp, i64)>> = BTreeMap::new();
    for (decided_at, _, channel, topic, earned) in learnt.into_iter().take(MOST) {
        let earned = (decided_at, earned);
        if !topic.is_empty() {
            counts.entry((channel, topic)).or_default().push(earned);
        }
        counts.entry((channel, String::new())).or_default().push(earned);
    }
    let count = |((channel, topic), earned): ((i64, String), Vec<(Timestamp, i64)>)| {
        let channel = i32::try_from(channel).ok().and_then(|it| Channel::try_from(it).ok());
        Count { channel: channel.unwrap_or_default(), topic, earned }
    };
    counts.into_iter().map(count).collect()
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
