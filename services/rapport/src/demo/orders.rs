//! `rapport demo orders`: eighteen months of real orders through the whole platform, on a simulated clock.
//!
//! The story is told to a platform that somebody started: in this process by the command, one process per target by a
//! test. It uses nothing but the APIs that everybody has, and the clock.

mod history;
mod report;
mod setting;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use eventstore::Timestamp;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rapport_proto::eventlog::v1::ReadEventsRequest;
use rapport_proto::feedback::v1::{
    InvitationSent, NewAnswer, SubmitResponseRequest, submit_response_request,
};
use rapport_proto::types::Envelope;
use serde_json::json;

use super::Cast;
use super::time::Time;
use crate::remote::told;

use history::{History, Order};

pub use report::Report;

const DAY: Duration = Duration::from_secs(86_400);
/// After the last order, time goes on until every customer's 30 days are over.
const AFTERMATH: u32 = 45;
/// Calls at a time.
const AT_ONCE: usize = 64;

/// A platform to tell the story to.
pub struct Stage {
    pub cast: Cast,
    pub time: Time,
    /// Where the tracking API is, `http://HOST:PORT`.
    pub gateway: String,
}

/// How much of it, and how it is told.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// Share of the customers that take part, above 0 to 1.
    pub share: f64,
    /// Whether to show on standard error how far it is.
    pub progress: bool,
}

/// Tells the story and reports what became of it.
pub async fn tell(stage: &mut Stage, telling: Telling) -> anyhow::Result<Report> {
    let began = Instant::now();
    let history = History::read(telling.share)?;
    let key = setting::set(stage, &history).await.context("set the stage")?;
    let mut story = Story {
        tracking: Tracking { client: reqwest::Client::new(), url: stage.gateway.clone(), key },
        answered: Answered::default(),
    };
    let mut progress = Progress::new(telling.progress, history.orders());
    for (at, orders) in &history.days {
        stage.time.reach(*at).await?;
        story.tracking.send(orders).await?;
        stage.time.settle().await?;
        story.answered.answer(stage).await?;
        progress.passed(*at, orders.len());
    }
    let last = history.days.last().map_or(Timestamp::default(), |it| it.0);
    for day in 1..=AFTERMATH {
        stage.time.reach(last.plus(DAY * day)).await?;
        story.answered.answer(stage).await?;
    }
    stage.time.settle().await?;
    progress.done();
    report::of(stage, &history, began.elapsed()).await.context("report")
}

struct Story {
    tracking: Tracking,
    answered: Answered,
}

/// The tracking API, as a shop's server calls it.
struct Tracking {
    client: reqwest::Client,
    url: String,
    key: String,
}

impl Tracking {
    /// A day's orders in one batch, tried again while the platform says that it cannot take them now.
    async fn send(&self, orders: &[Order]) -> anyhow::Result<()> {
        let batch: Vec<_> = orders.iter().map(message).collect();
        let body = json!({ "batch": batch }).to_string();
        for attempt in 0..10 {
            let request = self
                .client
                .post(format!("{}/v1/batch", self.url))
                .basic_auth(&self.key, Some(""))
                .header("content-type", "application/json")
                .body(body.clone());
            match request.send().await {
                Ok(reply) if reply.status().is_success() => {
                    let reply: serde_json::Value = serde_json::from_str(&reply.text().await?)?;
                    let rejected = reply["rejected"].as_array().map_or(0, Vec::len);
                    if rejected > 0 {
                        bail!("the tracking API rejected {rejected} orders: {reply}");
                    }
                    return Ok(());
                }
                Ok(reply) if reply.status().as_u16() < 500 && reply.status().as_u16() != 429 => {
                    bail!("the tracking API answered {}: {}", reply.status(), reply.text().await?);
                }
                _ => tokio::time::sleep(Duration::from_millis(100 << attempt.min(5))).await,
            }
        }
        bail!("the tracking API at {} takes nothing", self.url)
    }
}

fn message(order: &Order) -> serde_json::Value {
    json!({
        "type": "track",
        "messageId": format!("cdnow-{}", order.row),
        "userId": order.customer,
        "event": "Order Completed",
        "timestamp": order.at.to_string(),
        "properties": {
            "revenue": {"currency_code": "USD", "amount": format!("{}.{:02}", order.cents / 100, order.cents % 100)},
            "quantity": order.items,
        },
    })
}

/// Answers to the invitations that were sent; generated, and marked as that.
#[derive(Default)]
struct Answered {
    /// Position of `feedback` up to which invitations were answered.
    position: u64,
}

impl Answered {
    async fn answer(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let mut sent = Vec::new();
        loop {
            let request = ReadEventsRequest {
                source: "feedback".into(),
                after_position: self.position,
                limit: 1_000,
            };
            let page = told(stage.cast.author.events.clone().read_events(request).await)?;
            if page.next_after_position == self.position {
                break;
            }
            self.position = page.next_after_position;
            for event in page.events {
                let envelope: Envelope = prost::Message::decode(event.envelope.as_slice())?;
                if envelope.r#type.ends_with(".InvitationSent") {
                    let it: InvitationSent = prost::Message::decode(envelope.payload.as_slice())?;
                    sent.push(it.invitation_id);
                }
            }
        }
        if sent.is_empty() {
            return Ok(());
        }
        let author = stage.cast.author.clone();
        let answers = stream::iter(sent).map(|invitation_id| {
            let author = author.clone();
            async move {
                let Some((recommend, satisfied)) = history::answer(&invitation_id) else {
                    return anyhow::Ok(());
                };
                let answer = |question: &str, score| NewAnswer {
                    question: question.into(),
                    score: Some(score),
                    ..Default::default()
                };
                let request = SubmitResponseRequest {
                    parent: author.parent.clone(),
                    request_id: format!("orders/answer/{invitation_id}"),
                    invitation: Some(submit_response_request::Invitation::InvitationId(
                        invitation_id,
                    )),
                    answers: vec![answer("recommend", recommend), answer("satisfied", satisfied)],
                    generated: true,
                    ..Default::default()
                };
                told(author.feedback.clone().submit_response(request).await)?;
                Ok(())
            }
        });
        answers.buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        stage.time.settle().await?;
        Ok(())
    }
}

/// How far the story is, on standard error.
struct Progress {
    shown: bool,
    orders: usize,
    passed: usize,
    /// Tenths of the whole that were told.
    tenths: usize,
}

impl Progress {
    fn new(shown: bool, orders: usize) -> Self {
        Self { shown, orders, passed: 0, tenths: 0 }
    }

    fn passed(&mut self, day: Timestamp, orders: usize) {
        use std::io::{IsTerminal as _, Write as _};
        self.passed += orders;
        let tenths = self.passed * 10 / self.orders.max(1);
        if !self.shown {
            return;
        }
        let mut out = std::io::stderr().lock();
        let text = day.to_string();
        let (day, percent) = (&text[..10], self.passed * 100 / self.orders.max(1));
        // Who cannot see is not in the way of the story.
        let _ = if out.is_terminal() {
            let bar = "#".repeat(percent * 40 / 100);
            write!(out, "\r{day} [{bar:<40}] {percent:>3} % {:>6} orders", self.passed)
        } else if tenths > self.tenths {
            writeln!(out, "{day} {percent} % {} orders", self.passed)
        } else {
            Ok(())
        };
        let _ = out.flush();
        self.tenths = tenths;
    }

    fn done(&self) {
        use std::io::IsTerminal as _;
        if self.shown && std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

/// Positions as a message says them.
fn positions(stage: &Stage) -> BTreeMap<String, u64> {
    stage.time.frontier().clone()
}
