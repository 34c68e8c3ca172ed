//! What own events lead to: definitions in force, alerts, experiments; and when targets are judged and histories read.
//! What other services said stands in [`outside`], written by the consumer.

use std::pin::Pin;

use eventstore::{Error, Recorded, TimerOp, Timestamp, Tx, View};
use rapport_proto::kpis::v1::{experiment_event, metric_event};

use crate::domain::instant;

pub(crate) mod alert;
pub(crate) mod experiment;
pub(crate) mod figure;
pub(crate) mod metric;
pub(crate) mod outside;
pub(crate) mod series;

/// What fires when a series is to read the past.
pub(crate) const FILL: &str = "series.fill";
/// What fires when a bucket has closed.
pub(crate) const JUDGE: &str = "target.judge";

/// The view of own events.
pub(crate) struct Kpis;

pub(crate) type Applied<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

impl View for Kpis {
    fn name(&self) -> &'static str {
        "kpis"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["metric", "live_metric", "alert", "experiment"]
    }

    fn apply<'a>(&'a self, tx: &'a mut Tx, events: &'a [Recorded]) -> Applied<'a> {
        Box::pin(async move {
            let of = |aggregate: &str| -> Vec<&Recorded> {
                events.iter().filter(|event| event.aggregate() == aggregate).collect()
            };
            let metrics = of("metric");
            metric::apply(tx, &metrics).await?;
            alert::apply(tx, &metrics).await?;
            experiment::apply(tx, &of("experiment")).await
        })
    }

    fn timers(&self, event: &Recorded) -> Result<Vec<TimerOp>, Error> {
        match event.aggregate() {
            "metric" => metric_timers(event),
            "experiment" => experiment_timers(event),
            _ => Ok(Vec::new()),
        }
    }
}

fn metric_timers(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use metric_event::Event;
    Ok(match event.decode()? {
        Some(Event::Activated(_) | Event::Retired(_)) => vec![fill(event)],
        Some(Event::TargetSet(it)) => {
            let target = it.target.unwrap_or_default().target;
            vec![judge(event, &target, instant(it.judge_at.as_ref()))]
        }
        Some(Event::TargetJudged(it)) => {
            vec![judge(event, &it.target, instant(it.judge_at.as_ref()))]
        }
        Some(
            Event::Drafted(_) | Event::Approved(_) | Event::AlertRaised(_) | Event::AlertCleared(_),
        )
        | None => Vec::new(),
    })
}

fn experiment_timers(event: &Recorded) -> Result<Vec<TimerOp>, Error> {
    use experiment_event::Event;
    Ok(match event.decode()? {
        Some(Event::Started(_)) => vec![fill(event)],
        Some(Event::Closed(_)) | None => Vec::new(),
    })
}

/// The past is read at once.
fn fill(event: &Recorded) -> TimerOp {
    let stream = event.envelope.stream.clone();
    TimerOp::Set { id: format!("{FILL}/{stream}"), kind: FILL, stream, due_at: event.recorded_at() }
}

fn judge(event: &Recorded, target: &str, at: Option<Timestamp>) -> TimerOp {
    let id = format!("{JUDGE}/{}/{target}", event.id());
    let stream = event.envelope.stream.clone();
    match at {
        Some(due_at) => TimerOp::Set { id, kind: JUDGE, stream, due_at },
        None => TimerOp::Cancel { id },
    }
}
