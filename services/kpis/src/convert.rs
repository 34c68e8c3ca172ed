//! Between messages and domain values. Requests are parsed whole: every field that is wrong is told at once.

use std::collections::BTreeMap;

use authored::calendar::duration;
use chassis::name;
use chassis::status::Problem;
use chassis::text::Check;
use eventstore::{Timestamp, hex};
use rapport_proto::kpis::v1 as proto;
use rapport_proto::kpis::v1::experiment::AssignedBy;

use crate::domain::instant;
use crate::refusal::{self, EXPERIMENT_INVALID};
use crate::rollup::definition::{Definition, of_experiment};
use crate::rollup::experiment::{Compared, Plan};
use crate::rollup::figure::{Cell, Dimension, Number, Query};
use crate::view::figure::Read;

/// Times that arms may be drawn anew in one call.
const MOST_DRAWS: u32 = 1_000;

/// The document of a draft.
pub(crate) fn metric(
    definition: Option<&proto::draft_metric_request::Definition>,
) -> Result<proto::Metric, Problem> {
    use proto::draft_metric_request::Definition as D;
    match definition {
        Some(D::Metric(metric)) => Ok(metric.clone()),
        Some(D::Yaml(text)) => authored::document::parse(text).map_err(refusal::of_document),
        None => Err(Problem::field("metric", "Give the metric as a message or as YAML.")),
    }
}

/// The hash that an approver has read; none when the request names none.
pub(crate) fn hash(text: &str) -> Result<Option<[u8; 32]>, Problem> {
    let remedy = "Give 64 hexadecimal digits, or nothing.";
    let refused = || Problem::field("hash", remedy);
    if text.is_empty() {
        return Ok(None);
    }
    if text.len() != 64 || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return Err(refused());
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        let digits = text.get(index * 2..index * 2 + 2).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).map_err(|_| refused())?;
    }
    Ok(Some(hash))
}

/// A reason code.
pub(crate) fn reason(text: &str) -> Result<String, Problem> {
    let mut check = Check::default();
    let fits = (1..=128).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"_-.".contains(&it));
    check.require(fits, "reason", "Use a code of 1 to 128 letters, digits, '_', '-' and '.'.");
    check.finish()?;
    Ok(text.to_owned())
}

/// Which figures are asked for.
pub(crate) fn query(
    definition: &Definition,
    request: &proto::QueryFiguresRequest,
) -> Result<Query, Problem> {
    let mut check = Check::default();
    let series = &definition.series;
    let from = time(&mut check, "from", request.from.as_ref());
    let until = time(&mut check, "until", request.until.as_ref());
    let ordered = from.zip(until).is_none_or(|(from, until)| from < until);
    check.require(ordered, "until", "Use a time after `from`.");
    let from = from.and_then(|it| series.bucket(it));
    let mut group = Vec::new();
    for (index, name) in request.group_by.iter().enumerate() {
        let place = format!("group_by[{index}]");
        group.extend(dimension(&mut check, definition, &place, name));
    }
    let different = group.iter().enumerate().all(|(at, it)| !group[..at].contains(it));
    check.require(different, "group_by", "Name each dimension once.");
    let only = only(&mut check, definition, "where", &request.r#where);
    check.finish()?;
    Ok(Query { from, until, group, only, total: request.total })
}

/// Which bucket and values a figure has.
pub(crate) fn cell(
    definition: &Definition,
    request: &proto::ListFigureEventsRequest,
) -> Result<Query, Problem> {
    let mut check = Check::default();
    let series = &definition.series;
    let start = time(&mut check, "bucket_start", request.bucket_start.as_ref());
    let bucket = start.filter(|it| series.bucket(*it) == Some(*it));
    check.require(bucket.is_some(), "bucket_start", "Use the first instant of a bucket.");
    let only = only(&mut check, definition, "dimensions", &request.dimensions);
    check.finish()?;
    let until = bucket.and_then(|it| series.bucket_end(it));
    Ok(Query { from: bucket, until, only, ..Query::default() })
}

fn only(
    check: &mut Check,
    definition: &Definition,
    field: &str,
    values: &BTreeMap<String, String>,
) -> Vec<(Dimension, String)> {
    let mut only = Vec::new();
    for (name, value) in values {
        let place = format!("{field}.{}", name.escape_debug());
        if let Some(dimension) = dimension(check, definition, &place, name) {
            only.push((dimension, value.clone()));
        }
    }
    only
}

fn dimension(
    check: &mut Check,
    definition: &Definition,
    place: &str,
    name: &str,
) -> Option<Dimension> {
    let found = Dimension::find(&definition.series, name);
    let names = definition.series.dimensions.iter().map(String::as_str);
    let names: Vec<&str> = names.chain(["party_kind", "currency"]).collect();
    check.require(found.is_some(), place, format!("Name one of {}.", names.join(", ")));
    found
}

fn time(
    check: &mut Check,
    field: &str,
    time: Option<&prost_types::Timestamp>,
) -> Option<Timestamp> {
    let parsed = instant(time);
    check.require(time.is_none() || parsed.is_some(), field, "Use a time, or leave it empty.");
    parsed
}

/// Figures as the API shows them, by bucket, then dimensions.
pub(crate) fn figures(
    definition: &Definition,
    group_by: &[String],
    asked: &proto::QueryFiguresRequest,
    read: &Read,
) -> Vec<proto::Figure> {
    let shown = |(cell, number): (&Cell, &Number)| {
        let series = &definition.series;
        let (start, end) = if asked.total {
            (asked.from, asked.until)
        } else {
            let end = series.bucket_end(cell.bucket);
            (Some(cell.bucket.to_proto()), end.map(Timestamp::to_proto))
        };
        let figure = proto::Figure {
            metric: definition.metric.metric.clone(),
            version: definition.version,
            definition_hash: hex(&definition.hash),
            positions: read.positions.clone(),
            bucket_start: start,
            bucket_end: end,
            dimensions: group_by.iter().cloned().zip(cell.values.iter().cloned()).collect(),
            currency_code: cell.currency.clone(),
            ..proto::Figure::default()
        };
        if read.hidden.contains(cell) {
            return proto::Figure { suppressed: true, ..figure };
        }
        proto::Figure {
            value: number.value,
            n: number.n,
            lower: number.interval.map(|it| it.0),
            upper: number.interval.map(|it| it.1),
            small: number.small,
            censored: number.censored,
            ..figure
        }
    };
    read.figures.iter().map(shown).collect()
}

/// A target to set.
pub(crate) fn target(
    definition: Option<&Definition>,
    request: &proto::SetTargetRequest,
) -> Result<proto::Target, Problem> {
    let mut check = Check::default();
    let target = request.target.clone().unwrap_or_default();
    check.keep(name::authored_id("target.target", &target.target));
    check.text("target.owner", &target.owner, 0..=128);
    if let Some(definition) = definition {
        only(&mut check, definition, "target.dimensions", &target.dimensions);
    }
    let finite = |it: Option<f64>| it.is_none_or(f64::is_finite);
    check.require(finite(target.at_least), "target.at_least", "Use a number.");
    check.require(finite(target.at_most), "target.at_most", "Use a number.");
    let change = target.change_at_most.is_none_or(|it| it.is_finite() && it >= 0.0);
    check.require(change, "target.change_at_most", "Use a share of 0 or more, for example 0.2.");
    let judges = target.at_least.is_some()
        || target.at_most.is_some()
        || target.change_at_most.is_some()
        || target.n_at_least > 0;
    check.require(judges, "target", "Set at_least, at_most, change_at_most or n_at_least.");
    check.finish()?;
    Ok(target)
}

/// An experiment to start.
pub(crate) fn experiment(
    request: &proto::StartExperimentRequest,
) -> Result<proto::Experiment, Problem> {
    let mut check = Check::default();
    let it = request.experiment.clone().unwrap_or_default();
    check.keep(name::authored_id("experiment.experiment", &it.experiment));
    check.text("experiment.outcome", &it.outcome, 1..=256);
    match &it.assigned_by {
        Some(AssignedBy::Holdout(holdout)) => {
            check.keep(name::authored_id("experiment.holdout", holdout));
            let none = it.control_arm.is_empty();
            let remedy = "Leave it empty: the control arm of a holdout is the held-out one.";
            check.require(none, "experiment.control_arm", remedy);
        }
        Some(AssignedBy::Split(split)) => {
            let parts = split.split_once('/');
            let fits = parts.is_some_and(|(journey, node)| {
                name::is_authored_id(journey) && (1..=63).contains(&node.len())
            });
            check.require(fits, "experiment.split", "Use the form journey/node.");
            check.text("experiment.control_arm", &it.control_arm, 1..=63);
        }
        None => check.refuse("experiment.holdout", "Name a holdout or a split."),
    }
    let window = check.parse("experiment.window", duration(&it.window));
    check.require(window.is_none_or(|it| it > 0), "experiment.window", "Use a duration above 0.");
    let share = it.control_share > 0.0 && it.control_share < 1.0;
    check.require(share, "experiment.control_share", "Use a share above 0 and below 1.");
    let from = time(&mut check, "experiment.from", it.from.as_ref());
    let until = time(&mut check, "experiment.until", it.until.as_ref());
    let ordered = from.zip(until).is_none_or(|(from, until)| from < until);
    check.require(ordered, "experiment.until", "Use a time after `from`.");
    check.finish()?;
    if let Err(findings) = of_experiment(&it) {
        return Err(refusal::of_findings("experiment", EXPERIMENT_INVALID, &findings));
    }
    Ok(it)
}

/// How often arms are to be drawn anew.
pub(crate) fn draws(
    document: &proto::Experiment,
    request: &proto::GetExperimentRequest,
) -> Result<u32, Problem> {
    let mut check = Check::default();
    let holdout = matches!(document.assigned_by, Some(AssignedBy::Holdout(_)));
    let times = request.rerandomise;
    check.require(times == 0 || holdout, "rerandomise", "Only a holdout can be drawn anew; use 0.");
    check.require(times <= MOST_DRAWS, "rerandomise", "Use 1,000 at most.");
    check.text("seed", &request.seed, 0..=128);
    check.finish()?;
    Ok(times)
}

/// What an experiment compares; its document was checked when it started.
pub(crate) fn plan(document: &proto::Experiment) -> Plan {
    Plan {
        window: duration(&document.window).unwrap_or_default(),
        from: instant(document.from.as_ref()).unwrap_or(Timestamp(i64::MIN)),
        until: instant(document.until.as_ref()).unwrap_or(Timestamp::MAX),
        control_share: document.control_share,
        control_arm: document.control_arm.clone(),
        split: matches!(document.assigned_by, Some(AssignedBy::Split(_))),
        valued: !document.value.is_empty(),
    }
}

/// A comparison as the API shows it.
pub(crate) fn result(
    compared: &Compared,
    positions: BTreeMap<String, u64>,
) -> proto::ExperimentResult {
    proto::ExperimentResult {
        arms: compared.arms.clone(),
        difference: compared.difference.map(|it| it.value),
        lower: compared.difference.map(|it| it.lower),
        upper: compared.difference.map(|it| it.upper),
        sample_ratio_p: compared.sample_ratio_p,
        sample_ratio_mismatch: compared.mismatch,
        positions,
        withheld: compared.withheld.to_owned(),
    }
}
