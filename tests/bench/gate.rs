//! Touches asked for over the API: through the whole gate, into the file outbox.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use eventstore::Timestamp;
use futures::{StreamExt as _, TryStreamExt as _};
use rapport::demo::until_within;
use rapport::remote::{Remote, told};
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::delivery::v1::{ListTouchesRequest, RequestTouchRequest};
use rapport_proto::types::Channel;

use crate::Bench;
use crate::measure::{LONGEST, alone, rate};
use crate::raw;
use crate::report::{Report, Row};
use crate::site::On;
use crate::world::{SENDER, World};

const CLIENTS: usize = 64;
const TOUCHES: usize = 2_000;
const PARTIES: usize = 1_000;

/// A hard cap that nobody reaches.
const POLICY: &str = "policy: default
groups:
  - {group: win-back}
actions:
  - action: write
    group: win-back
    description: Writes a letter
    value: 1
    treatments: [{treatment: letter, channel: EMAIL, module: letter-0}]
contact_policy:
  - {id: weekly, counts: [EMAIL], window: 7d, max: 100, hard: true}
";

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    for on in On::BOTH {
        let id = on.row("gate");
        if bench.wants(&id) {
            report.add(Box::pin(measured(bench, &id, on)).await?);
        }
    }
    Ok(())
}

async fn measured(bench: &Bench, id: &str, on: On) -> Result<Row> {
    let world = Box::pin(World::open(bench, on, 1, POLICY)).await?;
    let parties = world.physicians(bench.plan.volume(PARTIES)).await?;
    let (touches, mut asked) = (bench.plan.volume(TOUCHES), 0);
    let value = alone(bench.plan, async || {
        let before = world.site.head("delivery").await?;
        let ask = (asked..asked + touches).map(|it| (it, &parties[it % parties.len()]));
        asked += touches;
        futures::stream::iter(ask)
            .map(|(number, party_id)| request(&world.cast.author, number, party_id))
            .buffer_unordered(CLIENTS)
            .try_collect::<Vec<()>>()
            .await?;
        settled(&world).await?;
        sent_per_second(&world, before, touches).await
    })
    .await?;
    let row = Row::reported(id, told_of(on, touches), value, "touches/s");
    world.site.stop().await?;
    Ok(match on {
        On::Sqlite => row,
        On::Postgres => row.beside(raw::inserts(bench, CLIENTS, 700).await?),
    })
}

fn told_of(on: On, touches: usize) -> String {
    format!(
        "touches asked for over the API by {CLIENTS} clients on {}, {touches} at a time, through all eleven steps of \
         the gate with a hard cap, rendered, into the file outbox, until all are sent",
        on.told()
    )
}

async fn request(remote: &Remote, number: usize, party_id: &str) -> Result<()> {
    let request = RequestTouchRequest {
        parent: remote.name("parties", party_id),
        module: "letter-0".into(),
        channel: Channel::Email.into(),
        sender_id: SENDER.into(),
        request_id: format!("ask-touch-{number}"),
        ..Default::default()
    };
    told(remote.delivery.clone().request_touch(request).await)?;
    Ok(())
}

/// Waits until no touch is on its way.
async fn settled(world: &World) -> Result<()> {
    let under_way = [State::Requested, State::Deferred, State::Ready, State::Sending];
    until_within(LONGEST, "every touch is settled", async || {
        for state in under_way {
            if !in_state(&world.cast.author, state).await?.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// One touch in a state, and the reason for it.
async fn in_state(remote: &Remote, state: State) -> Result<Vec<String>> {
    let request = ListTouchesRequest {
        parent: remote.parent.clone(),
        page_size: 1,
        state: state.into(),
        ..Default::default()
    };
    let found = told(remote.delivery.clone().list_touches(request).await)?.touches;
    Ok(found.into_iter().map(|it| it.reason).collect())
}

/// From the first that was asked for to the last that was sent.
async fn sent_per_second(world: &World, before: u64, touches: usize) -> Result<f64> {
    let (mut first, mut last, mut sent) = (Timestamp::MAX, Timestamp(0), 0);
    world
        .site
        .recorded("delivery", before, |event| {
            let at = event.recorded_at.as_ref().and_then(Timestamp::from_proto).unwrap_or_default();
            first = first.min(at);
            if event.r#type.ends_with(".TouchSent") {
                (last, sent) = (last.max(at), sent + 1);
            }
        })
        .await?;
    if sent != touches {
        let skipped = in_state(&world.cast.author, State::Skipped).await?;
        bail!("{sent} of {touches} touches were sent; skipped for {skipped:?}");
    }
    let took = Some(last.since(first)).filter(|it| *it > Duration::ZERO);
    Ok(rate(sent as u64, took.context("no time passed")?))
}
