//! Texts that may tell of an adverse event, on their way to safety.

use super::*;

const HARM: &str = "Since Tuesday I have a rash on both arms.";

impl World {
    async fn candidate(&self, text: &str) -> proto::SafetyCandidate {
        let before = self.candidates().await.len();
        self.open(complaint(text)).await;
        self.has_candidates(before + 1).await.pop().expect("a candidate")
    }

    async fn level(&self, level: u32) {
        let reached = until(async || (self.candidates().await[0].level == level).then_some(()));
        reached.await.unwrap_or_else(|| panic!("not level {level}"));
    }

    /// What a case worker sees of a case.
    async fn seen(&self, name: &str) -> (String, String) {
        let permissions = ["feedback.cases.read", "feedback.texts.unseal"];
        let request = proto::GetCaseRequest { name: name.into(), ..Default::default() };
        let reply = self.cases_as(&permissions).get_case(request).await.expect("found");
        let case = reply.into_inner().case.expect("a case");
        (case.text, case.withheld)
    }
}

fn hand_off(name: &str, receipt: &str) -> proto::HandOffSafetyCandidateRequest {
    proto::HandOffSafetyCandidateRequest {
        name: name.into(),
        receipt: receipt.into(),
        ..Default::default()
    }
}

fn dismiss(name: &str) -> proto::DismissSafetyCandidateRequest {
    proto::DismissSafetyCandidateRequest {
        name: name.into(),
        reason: "no_event".into(),
        comment: "It is the name of the parcel service.".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_text_of_harm_is_a_candidate_and_only_safety_reads_it() {
    let world = World::start().await;
    let case = world.open(complaint(HARM)).await;
    let candidate = world.has_candidates(1).await.pop().expect("a candidate");
    assert_eq!(candidate.hits, ["event.skin", "health.body"]);
    assert_eq!(candidate.of, case.name);
    assert_eq!(candidate.due_time, Some(START.plus(DAY).to_proto()));
    assert_eq!(world.seen(&case.name).await, (String::new(), "candidate".into()));
    let get = proto::GetSafetyCandidateRequest { name: candidate.name, ..Default::default() };
    let reply = world.safety().get_safety_candidate(get.clone()).await.expect("found");
    assert_eq!(reply.into_inner().text, HARM);
    let reader =
        world.harness.person(ACME, "bob", &["feedback.safety.read", "feedback.texts.unseal"]);
    let status = SafetyServiceClient::new(reader).get_safety_candidate(get).await;
    assert_eq!(status.expect_err("not safety").code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_receipt_hands_it_off_and_a_number_reconciles_it() {
    let world = World::start().await;
    let case = world.open(complaint(HARM)).await;
    let name = world.has_candidates(1).await.pop().expect("a candidate").name;
    let status = world.safety().hand_off_safety_candidate(hand_off(&name, "")).await;
    let status = status.expect_err("no receipt");
    assert_eq!(told(&status), (Code::InvalidArgument, "RECEIPT_REQUIRED".into()));
    assert_eq!(fields(&status), ["receipt"]);
    for _ in 0..2 {
        let reply = world.safety().hand_off_safety_candidate(hand_off(&name, "PV-2026-7")).await;
        let candidate = reply.expect("handed off").into_inner().candidate.expect("a candidate");
        assert_eq!(candidate.state(), proto::safety_candidate::State::HandedOff);
    }
    assert_eq!(world.seen(&case.name).await, (HARM.into(), String::new()));
    let reconcile = proto::ReconcileSafetyCandidateRequest {
        name: name.clone(),
        case_number: "2026-000017".into(),
        ..Default::default()
    };
    let reply = world.safety().reconcile_safety_candidate(reconcile).await.expect("reconciled");
    let candidate = reply.into_inner().candidate.expect("a candidate");
    assert_eq!(candidate.case_number, "2026-000017");
    let status =
        world.safety().dismiss_safety_candidate(dismiss(&name)).await.expect_err("it is one");
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".into()));
    assert_eq!(world.candidates().await, [], "none is open");
}

#[tokio::test]
async fn not_a_case_needs_a_person_a_reason_and_a_comment() {
    let world = World::start().await;
    let case = world.open(complaint("The courier RASH lost the parcel.")).await;
    let name = world.has_candidates(1).await.pop().expect("a candidate").name;
    for (wrong, field) in [
        (
            proto::DismissSafetyCandidateRequest { reason: String::new(), ..dismiss(&name) },
            "reason",
        ),
        (proto::DismissSafetyCandidateRequest { comment: " ".into(), ..dismiss(&name) }, "comment"),
    ] {
        let status = world.safety().dismiss_safety_candidate(wrong).await.expect_err("refused");
        assert_eq!(fields(&status), [field]);
    }
    let reply = world.safety().dismiss_safety_candidate(dismiss(&name)).await.expect("dismissed");
    let candidate = reply.into_inner().candidate.expect("a candidate");
    assert_eq!(candidate.state(), proto::safety_candidate::State::NotACase);
    assert_eq!(world.seen(&case.name).await.0, "The courier RASH lost the parcel.");
    let get = proto::GetSafetyCandidateRequest { name, ..Default::default() };
    let reply = world.safety().get_safety_candidate(get).await.expect("found").into_inner();
    assert_eq!(reply.comment, "It is the name of the parcel service.");
    // The comment is sealed on the log.
    let events = world.store("feedback").read(0, 1_000).await.expect("read");
    let comment = b"parcel service";
    assert!(events.iter().all(|it| !it.envelope.windows(comment.len()).any(|at| at == comment)));
}

#[tokio::test]
async fn the_clock_of_the_wall_escalates_whatever_the_calendar() {
    let world = World::start().await;
    let name = world.candidate(HARM).await.name;
    world.advance(HOUR * 12 - Duration::from_micros(1));
    world.level(0).await;
    world.advance(Duration::from_micros(1));
    world.level(1).await;
    world.advance(HOUR * 6);
    world.level(2).await;
    world.advance(HOUR * 6);
    world.level(3).await;
    world.advance(Duration::from_micros(1));
    world.safety().hand_off_safety_candidate(hand_off(&name, "PV-1")).await.expect("late");
    let events = world.store("feedback").read_party(ACME, PARTY, 0, 100).await.expect("read");
    let late = events.iter().find_map(|it| {
        use rapport_proto::feedback::v1::text_event::Event;
        match it.decode::<Event>().expect("decoded") {
            Some(Event::HandedOff(it)) => Some(it.late),
            _ => None,
        }
    });
    assert_eq!(late, Some(true));
}

#[tokio::test]
async fn a_text_that_cannot_be_screened_escalates() {
    let world = World::start().await;
    let database = world.store("feedback").database().clone();
    let away = "ALTER TABLE product RENAME TO product_away";
    database.exec(away, vec![]).await.expect("the screening cannot read");
    let case = world.open(complaint(HARM)).await;
    world.advance(HOUR * 12);
    let candidate = world.has_candidates(1).await.pop().expect("a candidate");
    assert_eq!(candidate.level, 1);
    assert_eq!(world.seen(&case.name).await, (String::new(), "candidate".into()));
    world
        .safety()
        .hand_off_safety_candidate(hand_off(&candidate.name, "PV-1"))
        .await
        .expect("read");
}

#[tokio::test]
async fn what_safety_took_escalates_no_more() {
    let world = World::start().await;
    let taken = world.candidate(HARM).await;
    world.candidate("I threw up").await;
    let both = world.has_candidates(2).await;
    let left = both.into_iter().find(|it| it.name != taken.name).expect("two");
    world.safety().hand_off_safety_candidate(hand_off(&taken.name, "PV-1")).await.expect("taken");
    world.advance(DAY);
    world.level(3).await;
    assert_eq!(world.candidates().await[0].name, left.name);
    let get = proto::GetSafetyCandidateRequest { name: taken.name, ..Default::default() };
    let reply = world.safety().get_safety_candidate(get).await.expect("found").into_inner();
    assert_eq!(reply.candidate.expect("it").level, 0);
}

#[tokio::test]
async fn names_of_products_come_from_the_library_and_from_the_survey() {
    let world = World::start().await;
    world.product("cardiol", "Cardiol Forte").await;
    let candidate =
        world.candidate("Since my doctor gave me cardiol forte I am another person").await;
    assert_eq!(
        (candidate.products, candidate.hits),
        (vec!["cardiol".into()], vec!["health.care".into()])
    );
    world.live(&format!("{NPS}products: [Dermix]\n")).await;
    world.answered("pty_2", 9, "dermix came with my medication").await;
    let candidates = world.has_candidates(2).await;
    let found = candidates.iter().find(|it| it.party_id == "pty_2").expect("a candidate");
    assert_eq!(found.products, ["Dermix"]);
    // A survey about a product: what did not work is that.
    world.answered("pty_3", 2, "It did not work.").await;
    world.has_candidates(3).await;
}

#[tokio::test]
async fn nothing_is_clear_while_a_product_was_not_heard_of() {
    let service =
        |deps: &chassis::Deps| crate::deaf(deps).timers(&deps.store, crate::timers::Timers);
    let world = World::with(Target { service, ..TARGET }).await;
    world.unheard_product("cardiol", "Cardiol Forte").await;
    let text = "Since my doctor gave me cardiol forte I am another person";
    let case = world.open(complaint(text)).await;
    let screened = async || (world.store("feedback").firings().1 > 0).then_some(());
    until(screened).await.expect("it was looked at");
    assert_eq!(world.seen(&case.name).await, (String::new(), "unscreened".into()));
    // What tells of harm by itself waits for nothing.
    world.open(complaint(HARM)).await;
    assert_eq!(world.has_candidates(1).await[0].hits, ["event.skin", "health.body"]);
    let stop = tokio_util::sync::CancellationToken::new();
    let reader = chassis::event_log::Healer::new(world.harness.deps("feedback").peers.clone());
    let hearing = eventstore::consumer::run(
        world.store("feedback"),
        crate::consumers::products(),
        "content".into(),
        std::sync::Arc::new(reader),
        stop.clone(),
    );
    let found = async {
        let candidates = world.has_candidates(2).await;
        stop.cancel();
        candidates
    };
    let (candidates, ()) = futures::join!(found, hearing);
    let found = candidates.iter().find(|it| it.of == case.name).expect("a candidate");
    assert_eq!(found.products, ["cardiol"]);
    let events = world.store("feedback").read(0, 500).await.expect("read");
    let known =
        events.iter().filter_map(|it| match fact_of(&it.envelope().expect("an envelope")) {
            Some(proto::text_event::Event::Screened(it)) => Some(it.content_position),
            _ => None,
        });
    assert_eq!(known.collect::<Vec<_>>(), [0, 1]);
}

/// A fact about a text.
fn fact_of(envelope: &rapport_proto::types::Envelope) -> Option<proto::text_event::Event> {
    use rapport_proto::EventSet as _;
    proto::text_event::Event::decode(&envelope.r#type, &envelope.payload).ok().flatten()
}

#[tokio::test]
async fn what_is_clear_can_be_read_by_those_who_may() {
    let world = World::asking().await;
    let name = world.answered(PARTY, 9, "Fast and friendly").await;
    let clear = until(async || {
        let answer = world.response(&name).await.answers.pop().expect("an answer");
        (answer.withheld.is_empty()).then_some(answer.text)
    });
    assert_eq!(clear.await.as_deref(), Some("Fast and friendly"));
    let request = proto::GetResponseRequest { name, ..Default::default() };
    let mut reader = world.feedback_as(&["feedback.responses.read"]);
    let reply = reader.get_response(request).await.expect("found").into_inner();
    let answer = reply.response.expect("it").answers.pop().expect("an answer");
    assert_eq!((answer.text.as_str(), answer.withheld.as_str()), ("", "not_permitted"));
    assert_eq!(world.candidates().await, []);
}

#[tokio::test]
async fn with_the_party_s_key_its_texts_are_gone() {
    let world = World::asking().await;
    let name = world.answered(PARTY, 9, "Fast and friendly").await;
    let text = async || world.response(&name).await.answers.pop().expect("an answer").text;
    until(async || (!text().await.is_empty()).then_some(())).await.expect("clear");
    let store = world.store("feedback");
    store.keys().destroy(ACME, PARTY, "erased", world.now()).await.expect("destroyed");
    let answer = world.response(&name).await.answers.pop().expect("an answer");
    assert_eq!((answer.text.as_str(), answer.withheld.as_str()), ("", "erased"));
    world.party(PARTY, "DE", "de").await;
    let status = world.cases().open_case(complaint("Hello?")).await.expect_err("erased");
    assert_eq!(told(&status), (Code::FailedPrecondition, "PARTY_ERASED".into()));
    world.open(complaint("")).await;
}
