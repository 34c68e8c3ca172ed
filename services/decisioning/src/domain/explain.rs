//! A record in words and as data: why this, why not that, and when. Read from the record only and the same for ever.

use rapport_proto::decisioning::v1::{
    Arm, Candidate, CandidateReason, DecisionMade, ExplainDecisionResponse, FactorShare, Stage,
};

use super::{DO_NOTHING, instant, names, simulate};

/// Explains a decision.
pub(crate) fn explain(made: &DecisionMade) -> ExplainDecisionResponse {
    let runner_up = runner_up(made);
    let shares = match (first(made), runner_up) {
        (Some(one), Some(other)) => shares(one, other),
        _ => Vec::new(),
    };
    let mut sentences = vec![why_this(made)];
    sentences.extend(why_above(made, runner_up, &shares));
    sentences.extend(by_chance(made));
    sentences.extend(funnel(made));
    sentences.extend(holdout(made));
    ExplainDecisionResponse {
        sentences,
        candidates: made.candidates.iter().map(|it| reason(made, it)).collect(),
        runner_up: runner_up.map(label).unwrap_or_default(),
        shares,
    }
}

/// The candidate drawn first.
fn first(made: &DecisionMade) -> Option<&Candidate> {
    let chosen = made.chosen.first()?;
    let same = |it: &&Candidate| it.action == chosen.action && it.treatment == chosen.treatment;
    made.candidates.iter().find(same)
}

/// The survivors.
fn surviving(made: &DecisionMade) -> impl Iterator<Item = &Candidate> {
    made.candidates.iter().filter(|it| survived(it))
}

fn survived(candidate: &Candidate) -> bool {
    matches!(candidate.stage_failed(), Stage::Unspecified | Stage::Outscored | Stage::NotDrawn)
}

/// The best of the survivors other than the one drawn first.
fn runner_up(made: &DecisionMade) -> Option<&Candidate> {
    let first = first(made)?;
    best(surviving(made).filter(|it| !std::ptr::eq(*it, first)))
}

/// The highest score; of equal ones the first.
fn best<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Option<&'a Candidate> {
    candidates.reduce(|best, it| if it.score > best.score { it } else { best })
}

/// `ln(f_a / f_b) / ln(S_a / S_b)`: they sum to 1 (`data.md` 1.3). Nothing to share when the scores are equal or one
/// of them does nothing.
fn shares(one: &Candidate, other: &Candidate) -> Vec<FactorShare> {
    let whole = (one.score / other.score).ln();
    let acting = one.action != DO_NOTHING && other.action != DO_NOTHING;
    if !acting || !whole.is_finite() || whole.abs() < 1e-12 {
        return Vec::new();
    }
    [("P", one.p, other.p), ("C", one.c, other.c), ("V", one.v, other.v), ("L", one.l, other.l)]
        .into_iter()
        .map(|(factor, a, b)| FactorShare { factor: factor.into(), share: (a / b).ln() / whole })
        .collect()
}

fn why_this(made: &DecisionMade) -> String {
    let Some(first) = first(made) else {
        return "Nothing was drawn.".to_owned();
    };
    let among = surviving(made).count();
    let percent = percent(first.pi);
    if first.action == DO_NOTHING {
        return match among {
            1 => "Nothing is done: no action passed every check.".to_owned(),
            _ => format!("Nothing is done: it was drawn with probability {percent} among {among}."),
        };
    }
    format!(
        "{} was chosen: it passed every check and was drawn with probability {percent} among {among} candidates, \
         score {}.",
        label(first),
        number(first.score)
    )
}

fn why_above(
    made: &DecisionMade,
    runner_up: Option<&Candidate>,
    shares: &[FactorShare],
) -> Option<String> {
    let (one, other) = (first(made)?, runner_up?);
    let largest = shares.iter().reduce(|a, b| if b.share.abs() > a.share.abs() { b } else { a })?;
    let relation = if one.score > other.score { "above" } else { "below" };
    Some(format!(
        "It scores {relation} {} ({}), most of all by {}: {} against {}.",
        label(other),
        number(other.score),
        factor_name(&largest.factor),
        number(factor(one, &largest.factor)),
        number(factor(other, &largest.factor)),
    ))
}

fn by_chance(made: &DecisionMade) -> Option<String> {
    let (first, top) = (first(made)?, best(surviving(made))?);
    (top.score > first.score).then(|| {
        format!(
            "This was exploration: it was drawn with probability {}; the top-scored was {} ({}).",
            percent(first.pi),
            label(top),
            number(top.score)
        )
    })
}

fn funnel(made: &DecisionMade) -> Option<String> {
    let mut counts = std::collections::BTreeMap::<i32, usize>::new();
    for candidate in made.candidates.iter().filter(|it| !survived(it)) {
        *counts.entry(candidate.stage_failed).or_default() += 1;
    }
    let stopped: usize = counts.values().sum();
    let parts: Vec<String> = (counts.into_iter())
        .filter_map(|(stage, count)| {
            let stage = Stage::try_from(stage).ok().and_then(simulate::stage_name)?;
            Some(format!("{count} by {stage}"))
        })
        .collect();
    (stopped > 0).then(|| format!("{stopped} candidates were stopped: {}.", parts.join(", ")))
}

fn holdout(made: &DecisionMade) -> Option<String> {
    (made.arm() == Arm::HeldOut).then(|| {
        format!(
            "The party is held out by {}: the gate will let nothing of it leave.",
            made.holdout_id
        )
    })
}

fn reason(made: &DecisionMade, it: &Candidate) -> CandidateReason {
    let code = simulate::stage_name(it.stage_failed()).unwrap_or_else(|| "chosen".to_owned());
    CandidateReason {
        action: it.action.clone(),
        treatment: it.treatment.clone(),
        text: why(made, it),
        code,
        clause: it.clause.clone(),
        value: it.value.clone(),
        required: it.required.clone(),
        next_allowed_time: it.next_allowed_at,
        pi: it.pi,
    }
}

/// Why a candidate was chosen or not, as one sentence.
fn why(made: &DecisionMade, it: &Candidate) -> String {
    let name = label(it);
    let (clause, value, required) = (&it.clause, &it.value, &it.required);
    let unknown = value.strip_prefix("unknown:");
    match it.stage_failed() {
        Stage::Unspecified => format!("{name} was chosen, with probability {}.", percent(it.pi)),
        Stage::Consent if clause == "party.state" => {
            format!("{name} was not possible: the party must not be contacted ({value}).")
        }
        Stage::Consent => format!("{name} was not possible: no consent for {clause} ({value})."),
        Stage::Content => {
            format!("{name} was not possible: the module {clause} is {value}; needed: {required}.")
        }
        Stage::CountryRule => format!(
            "{name} was not possible: the rules of {} do not allow it ({clause}: {value}).",
            made.market
        ),
        Stage::Eligibility | Stage::Applicability | Stage::Suitability => {
            let what = match it.stage_failed() {
                Stage::Eligibility => "not eligible",
                Stage::Applicability => "not applicable now",
                _ => "not suitable",
            };
            match unknown {
                Some(fact) => {
                    format!("{name} is {what}: `{clause}` needs {fact}, which is unknown.")
                }
                None => format!("{name} is {what}: `{clause}` needs {required}, and {value}."),
            }
        }
        Stage::ContactPolicy => {
            let next = instant(it.next_allowed_at.as_ref());
            let next = next.map(|at| format!("; allowed again at {at}")).unwrap_or_default();
            format!("{name} would be too much: {clause} counts {value}, needed {required}{next}.")
        }
        Stage::Outscored => outscored(made, it, &name),
        Stage::NotDrawn => {
            format!(
                "{name} had the highest score and was not drawn; its probability was {}.",
                percent(it.pi)
            )
        }
    }
}

fn outscored(made: &DecisionMade, it: &Candidate, name: &str) -> String {
    let top = best(surviving(made));
    let above = top.map(|top| format!(" against {} of {}", number(top.score), label(top)));
    let largest = top.and_then(|top| {
        let shares = shares(top, it);
        shares.into_iter().reduce(|a, b| if b.share > a.share { b } else { a })
    });
    let by = largest.map(|it| format!(", most of all by {}", factor_name(&it.factor)));
    format!(
        "{name} was outscored: {}{}{}; it would have been drawn with probability {}.",
        number(it.score),
        above.unwrap_or_default(),
        by.unwrap_or_default(),
        percent(it.pi)
    )
}

/// `win-back by EMAIL (mail)`.
fn label(candidate: &Candidate) -> String {
    if candidate.action == DO_NOTHING {
        return "doing nothing".to_owned();
    }
    format!(
        "{} by {} ({})",
        candidate.action,
        names::channel(candidate.channel()),
        candidate.treatment
    )
}

fn factor(candidate: &Candidate, factor: &str) -> f64 {
    match factor {
        "P" => candidate.p,
        "C" => candidate.c,
        "V" => candidate.v,
        _ => candidate.l,
    }
}

fn factor_name(factor: &str) -> &'static str {
    match factor {
        "P" => "propensity",
        "C" => "context",
        "V" => "value",
        _ => "levers",
    }
}

fn number(value: f64) -> String {
    format!("{value:.4}")
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 1.0 { format!("{percent:.2} %") } else { format!("{percent:.1} %") }
}

#[cfg(test)]
mod tests;
