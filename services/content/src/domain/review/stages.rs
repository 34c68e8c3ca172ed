//! How long a version stood where, and what each role let it wait.

use eventstore::Timestamp;

use super::{Stage, Version, role_name};
use crate::domain::instant;

/// A stay in a stage of the review; open while there is no end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stay {
    pub(super) stage: Stage,
    pub(super) from: Timestamp,
    pub(super) until: Option<Timestamp>,
}

/// Time in a stage, or the wait for a role's verdicts: several stays are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StageTime {
    pub(crate) stage: String,
    pub(crate) seconds: u64,
    pub(crate) open: bool,
}

pub(super) fn times(version: &Version, now: Timestamp) -> Vec<StageTime> {
    let stages = [Stage::Draft, Stage::InReview, Stage::ChangesRequested];
    let mut times: Vec<_> =
        stages.into_iter().filter_map(|it| in_stage(version, it, now)).collect();
    times.extend(version.roles.iter().filter_map(|role| {
        let verdict = |round: u32| {
            let given =
                (version.opinions.iter()).find(|(it, given)| *it == round && given.role == *role);
            given.and_then(|(_, it)| instant(it.signature.signed_at.as_ref()))
        };
        let reviews = version.stays.iter().filter(|it| it.stage == Stage::InReview);
        let waits: Vec<_> = reviews
            .zip(1..)
            .map(|(stay, round)| (stay.from, verdict(round).or(stay.until)))
            .collect();
        sum(role_name(*role), &waits, now)
    }));
    times
}

fn in_stage(version: &Version, stage: Stage, now: Timestamp) -> Option<StageTime> {
    let stays = version.stays.iter().filter(|it| it.stage == stage);
    let spans: Vec<_> = stays.map(|it| (it.from, it.until)).collect();
    sum(stage.name().to_owned(), &spans, now)
}

fn sum(
    stage: String,
    spans: &[(Timestamp, Option<Timestamp>)],
    now: Timestamp,
) -> Option<StageTime> {
    let open = spans.last()?.1.is_none();
    let seconds =
        spans.iter().map(|(from, until)| until.unwrap_or(now).since(*from).as_secs()).sum();
    Some(StageTime { stage, seconds, open })
}
