//! `rapport demo orders`: eighteen months of real orders through the whole platform, on a simulated clock.
//!
//! The story is told to a platform that somebody started: in this process by the command, one process per target by a
//! test. It uses nothing but the APIs that everybody has, and the clock.

mod command;
mod history;
mod progress;
mod report;
mod served;
mod setting;
mod survey;
mod tracking;

use std::time::Instant;

use anyhow::Context as _;
use eventstore::Timestamp;

use super::{Cast, Time};

use history::History;
use survey::Answers;
use tracking::Tracking;

pub(crate) use command::{Orders, run};
pub use report::Report;

/// Calls at a time.
const AT_ONCE: usize = 64;

/// A platform to tell the story to.
pub struct Stage {
    /// The people.
    pub cast: Cast,
    /// Its time.
    pub time: Time,
    /// Where the tracking API is, `http://HOST:PORT`.
    pub gateway: String,
}

/// Who follows the story.
pub trait Audience {
    /// Is told after each day how many of all orders were sent; the story goes on when it returns.
    fn passed(
        &mut self,
        day: Timestamp,
        orders: usize,
        of: usize,
    ) -> impl Future<Output = ()> + Send;
}

/// How much of the story is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Share of the customers, above 0 to 1.
    pub share: f64,
    /// Days from the first order.
    pub days: u32,
}

impl Part {
    /// All days, with a share of the customers.
    pub fn with(share: f64) -> Self {
        Self { share, days: u32::MAX }
    }
}

/// Tells the story, or a part of it, and reports what became of it.
pub async fn tell(
    stage: &mut Stage,
    part: Part,
    audience: &mut impl Audience,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let history = History::read(part)?;
    let customers = setting::set(stage, &history).await.context("set the stage")?;
    let tracking = Tracking::new(&stage.gateway, setting::WRITE_KEY)?;
    let mut answers = Answers::new(customers, stage.time.now());
    let mut told = 0;
    for (at, orders) in &history.days {
        stage.time.arrive(*at).await?;
        tracking.send(orders).await?;
        answers.give(stage).await?;
        stage.time.settle().await?;
        told += orders.len();
        audience.passed(*at, told, history.orders()).await;
    }
    stage.time.arrive(history.end()).await?;
    answers.give(stage).await?;
    stage.time.settle().await?;
    report::of(stage, &history, began).await.context("report")
}
