use proptest::prelude::*;

use super::*;

fn question(id: &str, kind: QuestionKind, required: bool) -> proto::Question {
    let choice = |code: &str| proto::Choice { code: code.into(), ..Default::default() };
    let chooses = matches!(kind, QuestionKind::SingleChoice | QuestionKind::MultipleChoice);
    proto::Question {
        id: id.into(),
        kind: kind.into(),
        required,
        choices: if chooses { ["a", "b", "c"].map(choice).to_vec() } else { vec![] },
        ..Default::default()
    }
}

fn survey() -> proto::Survey {
    proto::Survey {
        questions: vec![
            question("nps", QuestionKind::Nps, true),
            question("csat", QuestionKind::Csat, false),
            question("why", QuestionKind::Text, false),
            question("one", QuestionKind::SingleChoice, false),
            question("many", QuestionKind::MultipleChoice, false),
        ],
        ..Default::default()
    }
}

fn score(question: &str, score: i32) -> proto::NewAnswer {
    proto::NewAnswer { question: question.into(), score: Some(score), ..Default::default() }
}

fn text(text: &str) -> proto::NewAnswer {
    proto::NewAnswer { question: "why".into(), text: text.into(), ..Default::default() }
}

fn chosen(question: &str, codes: &[&str]) -> proto::NewAnswer {
    let choices = codes.iter().map(|it| (*it).to_owned()).collect();
    proto::NewAnswer { question: question.into(), choices, ..Default::default() }
}

fn places(given: &[proto::NewAnswer]) -> Vec<String> {
    let wrongs = read(&survey(), given).expect_err("refused");
    wrongs.into_iter().map(|it| it.place).collect()
}

#[test]
fn answers_come_out_in_the_survey_s_order_and_texts_beside_them() {
    let given = [text("Fine.\r\nReally."), chosen("many", &["c", "a"]), score("nps", 0)];
    let answered = read(&survey(), &given).expect("fits");
    let questions: Vec<_> = answered.answers.iter().map(|it| it.question.as_str()).collect();
    assert_eq!(questions, ["nps", "why", "many"]);
    assert_eq!(answered.texts, [("why".to_owned(), "Fine.\nReally.".to_owned())]);
    assert_eq!(answered.answers[2].choices, ["c", "a"]);
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    assert_eq!(places(&[]), ["answers"]);
    assert_eq!(places(&[score("nps", 11)]), ["answers[0].score"]);
    assert_eq!(places(&[score("nps", -1)]), ["answers[0].score"]);
    assert_eq!(places(&[score("nps", 5), score("csat", 0)]), ["answers[1].score"]);
    assert_eq!(places(&[score("nps", 5), score("nps", 6)]), ["answers[1].question"]);
    assert_eq!(places(&[score("nps", 5), score("other", 6)]), ["answers[1].question"]);
    assert_eq!(places(&[score("nps", 5), score("why", 6)]), ["answers[1]"]);
    assert_eq!(places(&[score("nps", 5), chosen("one", &["a", "b"])]), ["answers[1].choices"]);
    assert_eq!(places(&[score("nps", 5), chosen("many", &["a", "a"])]), ["answers[1].choices"]);
    assert_eq!(places(&[score("nps", 5), chosen("one", &["z"])]), ["answers[1].choices"]);
    assert_eq!(places(&[score("nps", 5), text(&"x".repeat(4_001))]), ["answers[1].text"]);
    assert_eq!(places(&[text("no score")]), ["answers"]);
}

#[test]
fn an_empty_text_is_no_answer() {
    let answered = read(&survey(), &[score("nps", 5), text(" \n ")]).expect("fits");
    assert_eq!((answered.answers.len(), answered.texts.len()), (1, 0));
}

#[test]
fn a_text_is_cleaned_and_never_refused_for_what_nobody_sees() {
    let hostile = "My\u{0} arm\u{202e} hurts\r\n\tsince\u{feff} Monday";
    assert_eq!(cleaned(hostile), "My arm hurts\n\tsince Monday");
    assert!(read(&survey(), &[score("nps", 5), text(hostile)]).is_ok());
}

proptest! {
    #[test]
    fn what_is_taken_fits_the_survey(
        given in prop::collection::vec(
            (
                prop_oneof!["nps", "csat", "why", "one", "many", ".{0,3}"],
                prop::option::of(-2_i32..13),
                prop::collection::vec("[a-d]", 0..4),
                ".{0,8}",
            ),
            0..8,
        ),
    ) {
        let given: Vec<_> = given
            .into_iter()
            .map(|(question, score, choices, text)| proto::NewAnswer { question, score, choices, text })
            .collect();
        let Ok(answered) = read(&survey(), &given) else { return Ok(()) };
        prop_assert_eq!(answered.answers.iter().filter(|it| it.question == "nps").count(), 1);
        for it in &answered.answers {
            match it.kind() {
                QuestionKind::Nps => prop_assert!((0..=10).contains(&it.score)),
                QuestionKind::Csat => prop_assert!((1..=5).contains(&it.score)),
                QuestionKind::SingleChoice => prop_assert_eq!(it.choices.len(), 1),
                _ => prop_assert_eq!(it.score, 0),
            }
        }
    }
}
