//! Writes the samples of the golden corpus that are missing; it never overwrites one, because a sample is what was
//! released. Run it after adding an event: `cargo run -p kpis --example golden`.
//!
//! What a sample is, `eventstore::testing::golden` says.

use eventstore::testing::golden::{Sample, write_missing};
use prost_types::Timestamp;
use rapport_proto::EventSet;
use rapport_proto::kpis::v1::experiment::AssignedBy;
use rapport_proto::kpis::v1::{
    AlertCleared, AlertRaised, Bucket, Experiment, ExperimentClosed, ExperimentStarted, Measure,
    Metric, MetricVersionActivated, MetricVersionApproved, MetricVersionDrafted,
    MetricVersionRetired, Quantile, Ratio, Selection, Span, Target, TargetJudged, TargetSet, Unit,
    experiment_event, measure, metric_event,
};

fn main() -> std::io::Result<()> {
    let samples = [metrics(), measures(), targets(), experiments()];
    write_missing(env!("CARGO_MANIFEST_DIR"), samples.into_iter().flatten())
}

fn sample<E: EventSet + std::fmt::Debug>(number: u32, fact: &E) -> Sample {
    Sample::of(number, fact)
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 250_000_000 })
}

fn hash() -> Vec<u8> {
    (0..32).collect()
}

fn positions() -> std::collections::BTreeMap<String, u64> {
    [("feedback".to_owned(), 7), ("profiles".to_owned(), 12)].into()
}

fn selection() -> Selection {
    Selection {
        source: "feedback".into(),
        event: "rapport.feedback.v1.ResponseSubmitted".into(),
        each: "answers".into(),
        filter: "item.kind == 'NPS'".into(),
        ..Selection::default()
    }
}

fn metric(measure: measure::Measure) -> Metric {
    let Selection { source, event, each, filter, also } = selection();
    Metric {
        metric: "nps-de".into(),
        description: "Recommendation in Germany".into(),
        unit: Unit::Points.into(),
        source,
        event,
        each,
        filter,
        measure: Some(Measure { measure: Some(measure) }),
        dimensions: [("survey".to_owned(), "event.survey".to_owned())].into(),
        bucket: Bucket::Week.into(),
        time_zone: "Europe/Berlin".into(),
        suppress_below: [("PATIENT".to_owned(), 5)].into(),
        also,
    }
}

fn metrics() -> Vec<Sample> {
    use metric_event::Event;
    let document = Some(metric(measure::Measure::Mean("item.score".into())));
    let (by, at) = ("ada".to_owned(), time(1));
    let drafted = MetricVersionDrafted {
        version: 2,
        document: document.clone(),
        hash: hash(),
        by: by.clone(),
        at,
    };
    let approved = MetricVersionApproved {
        version: 2,
        hash: hash(),
        comment: "Counts what it says.".into(),
        by: "bea".into(),
        at,
    };
    let activated =
        MetricVersionActivated { version: 2, document, hash: hash(), by: by.clone(), at };
    let retired = MetricVersionRetired { version: 2, reason: "replaced".into(), by, at };
    vec![
        sample(1, &Event::Drafted(drafted)),
        sample(1, &Event::Approved(approved)),
        sample(1, &Event::Activated(activated)),
        sample(1, &Event::Retired(retired)),
    ]
}

/// A draft for each other measure.
fn measures() -> Vec<Sample> {
    let key = || vec!["id".to_owned(), "item.question".to_owned()];
    let ratio = Ratio { per: Some(selection()), key: key(), per_key: key() };
    let span = Span {
        until: Some(selection()),
        key: key(),
        until_key: key(),
        q: 0.5,
        seconds: "recorded_at - occurred_at".into(),
        ..Span::default()
    };
    let measures = [
        measure::Measure::Count(true),
        measure::Measure::Distinct("party_id".into()),
        measure::Measure::Sum("item.score".into()),
        measure::Measure::Ratio(ratio),
        measure::Measure::Quantile(Quantile { value: "item.score".into(), q: 0.9 }),
        measure::Measure::Span(span),
    ];
    let drafted = |it| MetricVersionDrafted {
        version: 1,
        document: Some(metric(it)),
        hash: hash(),
        ..Default::default()
    };
    (2..)
        .zip(measures)
        .map(|(number, it)| sample(number, &metric_event::Event::Drafted(drafted(it))))
        .collect()
}

fn targets() -> Vec<Sample> {
    use metric_event::Event;
    let target = Target {
        target: "floor".into(),
        dimensions: [("market".to_owned(), "DE".to_owned())].into(),
        at_least: Some(20.0),
        at_most: Some(90.0),
        change_at_most: Some(0.5),
        n_at_least: 30,
        owner: "ada".into(),
    };
    let set = TargetSet { target: Some(target.clone()), removed: false, judge_at: time(300) };
    let removed = TargetSet { target: Some(target), removed: true, judge_at: None };
    let judged = TargetJudged {
        target: "floor".into(),
        bucket: time(0),
        cause: "below".into(),
        value: Some(12.5),
        n: 40,
        definition_hash: hash(),
        positions: positions(),
        judge_at: time(600),
        silent: false,
    };
    let raised = AlertRaised {
        alert_id: "alt_0123456789abcdefghjkmnpqrs".into(),
        target: "floor".into(),
        cause: "below".into(),
        bucket: time(0),
        value: Some(12.5),
        n: 40,
        definition_hash: hash(),
        positions: positions(),
    };
    let cleared = AlertCleared {
        alert_id: "alt_0123456789abcdefghjkmnpqrs".into(),
        target: "floor".into(),
        cause: "met".into(),
    };
    vec![
        sample(1, &Event::TargetSet(set)),
        sample(2, &Event::TargetSet(removed)),
        sample(1, &Event::TargetJudged(judged)),
        sample(1, &Event::AlertRaised(raised)),
        sample(1, &Event::AlertCleared(cleared)),
    ]
}

fn experiments() -> Vec<Sample> {
    use experiment_event::Event;
    let experiment = Experiment {
        experiment: "winback".into(),
        assigned_by: Some(AssignedBy::Holdout("q1".into())),
        outcome: "Order Completed".into(),
        value: "event.clear.revenue".into(),
        window: "30d".into(),
        control_share: 0.1,
        control_arm: String::new(),
        from: time(0),
        until: time(86_400),
    };
    let split = Experiment {
        assigned_by: Some(AssignedBy::Split("winback/choose".into())),
        control_arm: "nothing".into(),
        ..experiment.clone()
    };
    let closed =
        ExperimentClosed { reason: "over".into(), positions: positions(), as_of: time(86_400) };
    vec![
        sample(1, &Event::Started(ExperimentStarted { experiment: Some(experiment) })),
        sample(2, &Event::Started(ExperimentStarted { experiment: Some(split) })),
        sample(1, &Event::Closed(closed)),
    ]
}
