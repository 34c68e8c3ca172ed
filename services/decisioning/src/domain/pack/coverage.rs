//! Which combinations of audience, channel and content class have no rule.

use rapport_proto::decisioning::v1::CoverageLine;

use super::{Answer, Pack, Question, UNMAPPED};
use crate::domain::names::{AUDIENCES, CHANNELS, CLASSES};

/// Every question there is.
pub(crate) fn questions() -> impl Iterator<Item = Question> {
    AUDIENCES.into_iter().flat_map(|audience| {
        CHANNELS.into_iter().flat_map(move |channel| {
            CLASSES.into_iter().map(move |class| Question { class, audience, channel })
        })
    })
}

/// What a market's pack answers to every question, for parties in general.
pub(crate) fn report(market: &str, pack: Option<&Pack>) -> Vec<CoverageLine> {
    questions()
        .map(|question| {
            let answer = pack.map_or_else(Answer::no_pack, |pack| pack.answer(question, None));
            CoverageLine {
                market: market.to_owned(),
                audience: question.audience.into(),
                channel: question.channel.into(),
                content_class: question.class.into(),
                effect: answer.effect.into(),
                rule: answer.rule,
            }
        })
        .collect()
}

/// How many of the questions no line answers.
pub(crate) fn unmapped(pack: &Pack) -> u32 {
    let without = questions().filter(|it| pack.answer(*it, None).detail == UNMAPPED);
    u32::try_from(without.count()).unwrap_or(u32::MAX)
}
