//! What is wrong with a survey's document.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use authored::calendar;
use rapport_proto::feedback::v1 as proto;
use rapport_proto::feedback::v1::QuestionKind;

use super::super::Findings;
use super::super::promise::Promise;

const MOST_QUESTIONS: usize = 50;
const MOST_CHOICES: usize = 50;
const MOST_LANGUAGES: usize = 50;
const MOST_PRODUCTS: usize = 100;
const MOST_FOLLOW_UPS: usize = 20;
/// Characters of a text that people read.
const LONGEST: usize = 1_000;

const ID: &str = "Use 2 to 63 of a-z, 0-9 and -, starting with a letter.";

/// The scores a question takes; none for questions without a score.
pub(crate) fn scale(kind: QuestionKind) -> Option<RangeInclusive<i32>> {
    match kind {
        QuestionKind::Nps => Some(0..=10),
        QuestionKind::Csat => Some(1..=5),
        QuestionKind::Ces => Some(1..=7),
        QuestionKind::Text
        | QuestionKind::SingleChoice
        | QuestionKind::MultipleChoice
        | QuestionKind::Unspecified => None,
    }
}

/// Everything that is wrong with it.
pub(crate) fn check(survey: &proto::Survey) -> Findings {
    let mut found = Findings::default();
    let is_id = chassis::name::is_authored_id;
    found.require(is_id(&survey.survey), "survey", ID);
    found.require(is_id(&survey.family), "family", ID);
    found.require(is_id(&survey.module), "module", ID);
    let described = chassis::text::prose("", &survey.description, 0..=2_000).is_ok();
    found.require(described, "description", "Use at most 2,000 characters.");
    questions(&mut found, &survey.questions);
    let cooldown = survey.cooldown.clone().unwrap_or_default();
    duration(&mut found, "cooldown.family", &cooldown.family, 0);
    duration(&mut found, "cooldown.global", &cooldown.global, 0);
    duration(&mut found, "answer_within", &survey.answer_within, 1);
    let named = |it: &String| chassis::text::line("", it, 1..=100).is_ok();
    found.require(
        survey.products.len() <= MOST_PRODUCTS && survey.products.iter().all(named),
        "products",
        "Name at most 100 products, each with at most 100 characters.",
    );
    follow_ups(&mut found, survey);
    found
}

fn questions(found: &mut Findings, questions: &[proto::Question]) {
    let fits = (1..=MOST_QUESTIONS).contains(&questions.len());
    found.require(fits, "questions", "Ask 1 to 50 questions.");
    let mut ids = BTreeSet::new();
    for (number, question) in questions.iter().enumerate().take(MOST_QUESTIONS) {
        let place = |field: &str| format!("questions[{number}].{field}");
        found.require(chassis::name::is_authored_id(&question.id), &place("id"), ID);
        let new = ids.insert(&question.id);
        found.require(new, &place("id"), "Give each question its own id.");
        let free = !["survey", "generated"].contains(&question.id.as_str());
        let remedy = "Choose another id: this one names what every answer tells of itself.";
        found.require(free, &place("id"), remedy);
        let stated = question.kind() != QuestionKind::Unspecified;
        found.require(stated, &place("kind"), "Choose one of the kinds.");
        texts(found, &place("text"), &question.text);
        let chooses =
            matches!(question.kind(), QuestionKind::SingleChoice | QuestionKind::MultipleChoice);
        let count = question.choices.len();
        let fits = if chooses { (2..=MOST_CHOICES).contains(&count) } else { count == 0 };
        found.require(
            fits,
            &place("choices"),
            "Offer 2 to 50 choices to a single or multiple choice, and none otherwise.",
        );
        let mut codes = BTreeSet::new();
        for (index, choice) in question.choices.iter().enumerate().take(MOST_CHOICES) {
            let place = format!("questions[{number}].choices[{index}]");
            let remedy = "Use a code of its own: 1 to 63 of a-z, 0-9, _ and -.";
            let fits = is_choice(&choice.code) && codes.insert(&choice.code);
            found.require(fits, &format!("{place}.code"), remedy);
            texts(found, &format!("{place}.text"), &choice.text);
        }
    }
}

fn is_choice(code: &str) -> bool {
    (1..=63).contains(&code.len())
        && code.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && code
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

fn texts(found: &mut Findings, place: &str, texts: &std::collections::BTreeMap<String, String>) {
    let fits = (1..=MOST_LANGUAGES).contains(&texts.len());
    found.require(fits, place, "Give the text in at least one language.");
    for (language, text) in texts.iter().take(MOST_LANGUAGES) {
        let remedy = "Use BCP 47 languages, for example de or pt-BR.";
        found.require(is_language(language), place, remedy);
        let readable = chassis::text::prose("", text, 1..=LONGEST).is_ok();
        found.require(readable, place, "Use 1 to 1,000 characters, without control characters.");
    }
}

/// The shape of a BCP 47 language tag.
pub(crate) fn is_language(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().is_some_and(|it| {
        (2..=3).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphabetic())
    });
    let part =
        |it: &str| (1..=8).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphanumeric());
    first && text.len() <= 35 && parts.all(part)
}

/// A duration of at least so many seconds that may be left out.
fn duration(found: &mut Findings, place: &str, text: &str, least: i64) {
    if text.is_empty() {
        return;
    }
    if let Some(micros) = found.keep(place, calendar::duration(text)) {
        found.require(micros >= least * 1_000_000, place, "Use a duration of at least a second.");
    }
}

fn follow_ups(found: &mut Findings, survey: &proto::Survey) {
    let fits = survey.follow_ups.len() <= MOST_FOLLOW_UPS;
    found.require(fits, "follow_ups", "Give at most 20 follow-ups.");
    for (number, follow_up) in survey.follow_ups.iter().enumerate().take(MOST_FOLLOW_UPS) {
        let place = |field: &str| format!("follow_ups[{number}].{field}");
        let question = survey.questions.iter().find(|it| it.id == follow_up.question);
        found.require(question.is_some(), &place("question"), "Name a question of this survey.");
        let scale = question.and_then(|it| scale(it.kind()));
        match (follow_up.score_at_most, scale) {
            (Some(score), Some(scale)) => {
                let remedy = "Use a score of the question's scale.";
                found.require(scale.contains(&score), &place("score_at_most"), remedy);
            }
            (Some(_), None) => {
                let remedy = "Leave it out: the question has no score.";
                found.note(place("score_at_most"), remedy);
            }
            (None, _) => {}
        }
        let stated = follow_up.r#type() != proto::CaseType::Unspecified;
        found.require(stated, &place("type"), "Choose one of the types.");
        let promise = Promise::read(follow_up.calendar.as_ref(), follow_up.sla.as_ref());
        for wrong in promise.err().into_iter().flatten() {
            found.note(place(&wrong.place), wrong.remedy);
        }
    }
}
