//! Answers, held against the survey that asked.

use std::collections::BTreeSet;

use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::QuestionKind;

use super::survey::scale;
use super::{Findings, Wrong};

/// Characters of a text.
pub(crate) const LONGEST: usize = 4_000;

/// What was answered: clear answers in the survey's order, and the texts beside them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answered {
    pub(crate) answers: Vec<proto::Answer>,
    /// Question and text.
    pub(crate) texts: Vec<(String, String)>,
}

/// Reads answers; a place is that of a request with the field `answers`.
pub(crate) fn read(
    survey: &proto::Survey,
    given: &[proto::NewAnswer],
) -> Result<Answered, Vec<Wrong>> {
    let mut found = Findings::default();
    // A question has one answer: what is longer than the survey repeats one.
    found.require(given.len() <= survey.questions.len(), "answers", "Answer each question once.");
    let mut seen = BTreeSet::new();
    for (number, answer) in given.iter().enumerate().take(survey.questions.len()) {
        let place = format!("answers[{number}].question");
        let known = survey.questions.iter().any(|it| it.id == answer.question);
        found.require(known, &place, "Name a question of the survey.");
        found.require(seen.insert(&answer.question), &place, "Answer each question once.");
    }
    let mut answered = Answered::default();
    for question in &survey.questions {
        let given =
            given.iter().position(|it| it.question == question.id).map(|at| (at, &given[at]));
        match given.filter(|(_, it)| !is_empty(it)) {
            Some((number, answer)) => {
                let place = format!("answers[{number}]");
                take(&mut found, &mut answered, &place, question, answer);
            }
            None if question.required => {
                let remedy = format!("Answer the question {}: it is required.", question.id);
                found.note("answers", remedy);
            }
            None => {}
        }
    }
    if answered.answers.is_empty() && found.0.is_empty() {
        found.note("answers", "Answer at least one question.");
    }
    if found.0.is_empty() { Ok(answered) } else { Err(found.0) }
}

fn is_empty(answer: &proto::NewAnswer) -> bool {
    answer.score.is_none() && answer.choices.is_empty() && answer.text.trim().is_empty()
}

fn take(
    found: &mut Findings,
    answered: &mut Answered,
    place: &str,
    question: &proto::Question,
    given: &proto::NewAnswer,
) {
    let mut answer = proto::Answer {
        question: question.id.clone(),
        kind: question.kind,
        ..proto::Answer::default()
    };
    let (scored, chosen) = (given.score.is_some(), !given.choices.is_empty());
    let (fits, remedy) = match question.kind() {
        QuestionKind::Nps | QuestionKind::Csat | QuestionKind::Ces => {
            (scored && !chosen && given.text.is_empty(), "Give a score and nothing else.")
        }
        QuestionKind::SingleChoice | QuestionKind::MultipleChoice => {
            (chosen && !scored && given.text.is_empty(), "Give choices and nothing else.")
        }
        QuestionKind::Text => (!scored && !chosen, "Give a text and nothing else."),
        QuestionKind::Unspecified => (false, "The question takes no answer."),
    };
    found.require(fits, place, remedy);
    if let (Some(score), Some(scale)) = (given.score, scale(question.kind())) {
        let remedy = format!("Use a score from {} to {}.", scale.start(), scale.end());
        found.require(scale.contains(&score), &format!("{place}.score"), &remedy);
        answer.score = score;
    }
    choices(found, &format!("{place}.choices"), question, &given.choices);
    answer.choices.clone_from(&given.choices);
    if question.kind() == QuestionKind::Text {
        let text = cleaned(&given.text);
        let fits = text.chars().count() <= LONGEST;
        found.require(fits, &format!("{place}.text"), "Use at most 4,000 characters.");
        answered.texts.push((question.id.clone(), text));
    }
    answered.answers.push(answer);
}

fn choices(found: &mut Findings, place: &str, question: &proto::Question, chosen: &[String]) {
    let single = question.kind() == QuestionKind::SingleChoice;
    found.require(!single || chosen.len() <= 1, place, "Choose one.");
    let mut seen = BTreeSet::new();
    let offered = |code: &String| question.choices.iter().any(|it| it.code == *code);
    let fits = chosen.iter().all(|code| offered(code) && seen.insert(code));
    found.require(fits, place, "Choose codes of the question, each once.");
}

/// A customer's text as it is kept. What serves only to deceive or to break a reader is dropped, never a reason to
/// refuse: a text that may tell of harm must not get lost over an invisible character.
pub(crate) fn cleaned(text: &str) -> String {
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    lines
        .chars()
        .filter(|it| {
            *it == '\n' || *it == '\t' || chassis::text::line("", &it.to_string(), 0..=1).is_ok()
        })
        .collect()
}

#[cfg(test)]
mod tests;
