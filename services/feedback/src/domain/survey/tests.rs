use std::collections::BTreeMap;

use eventstore::testing::given;
use proptest::prelude::*;
use rapport_proto::feedback::v1::QuestionKind;

use super::*;

fn question(id: &str, kind: QuestionKind) -> proto::Question {
    proto::Question {
        id: id.into(),
        kind: kind.into(),
        text: BTreeMap::from([("en".to_owned(), "Well?".to_owned())]),
        ..Default::default()
    }
}

fn survey() -> proto::Survey {
    proto::Survey {
        survey: "order-nps".into(),
        family: "nps".into(),
        module: "ask".into(),
        questions: vec![question("score", QuestionKind::Nps), question("why", QuestionKind::Text)],
        ..Default::default()
    }
}

fn draft(actor: &str) -> Command {
    let hash = authored::document::hash(&survey());
    Command::Draft { document: Box::new(survey()), hash, actor: actor.into() }
}

fn drafted() -> Vec<Event> {
    given::<Survey>([]).when(draft("ada")).events()
}

fn approve(actor: &str) -> Command {
    let hash = Some(authored::document::hash(&survey()).to_vec());
    Command::Approve { version: 1, hash, comment: String::new(), actor: actor.into() }
}

#[test]
fn a_version_goes_live_with_a_second_person() {
    given::<Survey>(drafted())
        .when(approve("ada"))
        .refused(|it| *it == version::Refusal::AuthorMayNotApprove { version: 1 });
    let mut events = drafted();
    given::<Survey>(events.clone())
        .when(Command::Activate { version: 1 })
        .refused(|it| matches!(it, version::Refusal::WrongState { .. }));
    events.extend(given::<Survey>(events.clone()).when(approve("grace")).events());
    let state = given::<Survey>(events).when(Command::Activate { version: 1 }).state();
    assert_eq!(state.live(), Some((1, &survey())));
}

#[test]
fn drafting_the_same_again_is_harmless() {
    given::<Survey>(drafted()).when(draft("ada")).then([]);
}

#[test]
fn a_sound_survey_has_no_findings() {
    assert_eq!(check(&survey()).0, []);
}

#[test]
fn findings_name_the_place() {
    let places = |survey: &proto::Survey| -> Vec<String> {
        check(survey).0.into_iter().map(|it| it.place).collect()
    };
    let with = |change: fn(&mut proto::Survey)| {
        let mut survey = survey();
        change(&mut survey);
        places(&survey)
    };
    assert_eq!(with(|it| it.survey = "Order NPS".into()), ["survey"]);
    assert_eq!(with(|it| it.module.clear()), ["module"]);
    assert_eq!(with(|it| it.questions.clear()), ["questions"]);
    assert_eq!(with(|it| it.questions[1].id = "score".into()), ["questions[1].id"]);
    assert_eq!(with(|it| it.questions[1].id = "survey".into()), ["questions[1].id"]);
    assert_eq!(with(|it| it.questions[1].id = "generated".into()), ["questions[1].id"]);
    assert_eq!(with(|it| it.questions[0].kind = 0), ["questions[0].kind"]);
    assert_eq!(with(|it| it.questions[0].text.clear()), ["questions[0].text"]);
    let choice = |it: &mut proto::Survey| it.questions[0].kind = QuestionKind::SingleChoice.into();
    assert_eq!(with(choice), ["questions[0].choices"]);
    assert_eq!(with(|it| it.answer_within = "0s".into()), ["answer_within"]);
    let cooldown = |it: &mut proto::Survey| {
        it.cooldown = Some(proto::Cooldown { family: "soon".into(), global: "1h".into() });
    };
    assert_eq!(with(cooldown), ["cooldown.family"]);
    let follow_up = |it: &mut proto::Survey| {
        it.follow_ups = vec![proto::FollowUp {
            question: "why".into(),
            score_at_most: Some(6),
            sla: Some(proto::Sla { first_response: "0s".into(), resolution: String::new() }),
            ..Default::default()
        }];
    };
    assert_eq!(
        with(follow_up),
        ["follow_ups[0].score_at_most", "follow_ups[0].type", "follow_ups[0].sla.first_response"]
    );
}

#[test]
fn cooldowns_have_defaults() {
    let day = 24 * super::super::HOUR;
    assert_eq!(Gaps::of(&survey()), Gaps { family: 90 * day, global: 14 * day });
    assert_eq!(answer_within(&survey()), 14 * day);
}

proptest! {
    #[test]
    fn no_document_makes_the_check_panic(
        id in any::<String>(),
        duration in "[0-9]{0,20}[dhms]?",
        zone in any::<String>(),
        kinds in prop::collection::vec(-1_i32..9, 0..4),
    ) {
        let questions = kinds.iter().map(|kind| {
            let mut question = question(&id, QuestionKind::Text);
            question.kind = *kind;
            question
        });
        let follow_up = proto::FollowUp {
            question: id.clone(),
            calendar: Some(proto::BusinessCalendar {
                time_zone: zone,
                hours: vec![proto::WorkingHours { weekday: id.clone(), intervals: vec![duration.clone()] }],
                holidays: vec![duration.clone()],
            }),
            sla: Some(proto::Sla { first_response: duration.clone(), resolution: duration.clone() }),
            ..Default::default()
        };
        let survey = proto::Survey {
            survey: id.clone(),
            questions: questions.collect(),
            answer_within: duration,
            follow_ups: vec![follow_up],
            ..Default::default()
        };
        check(&survey);
    }
}
