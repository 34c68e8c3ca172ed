//! Every figure of the metrics that come with the platform equals what DuckDB computes from an export of the log, and what
//! `kpis` computes again from nothing.

pub(crate) mod oracle;

use std::time::Duration;

use eventstore::{consumer, draw};
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use rapport::remote::told;
use rapport_proto::decisioning::v1::DecideRequest;
use rapport_proto::delivery::v1::{
    AcceptTaskRequest, DismissReason, DismissTaskRequest, ProviderEvent, ProviderEventKind,
    RecordProviderEventsRequest,
};
use rapport_proto::feedback::v1::{
    CaseType, NewAnswer, OpenCaseRequest, PauseCaseRequest, ReopenCaseRequest,
    RequestInvitationRequest, ResolveCaseRequest, ResumeCaseRequest, SubmitResponseRequest,
    submit_response_request,
};
use rapport_proto::profiles::v1::{
    ClearField, NewInteraction, RecordInteractionsRequest, RegisterSourceRequest, new_interaction,
};
use rapport_proto::types::{Channel, ClearKind, PartyKind};

use crate::in_both_topologies;
use crate::stage::{LETTER, Stage};
use crate::surveys::{agree, asking};

in_both_topologies!(what_is_served_is_what_duckdb_computes);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const PARTIES: usize = 12;
const ORDERS: usize = 60;
const CASES: usize = 9;

const SURVEY: &str = "survey: order-all
family: all
module: ask-nps
questions:
  - {id: recommend, kind: NPS, text: {en: How likely are you to recommend us?}}
  - {id: satisfied, kind: CSAT, text: {en: How satisfied are you?}}
  - {id: easy, kind: CES, text: {en: How easy was it?}}
";

/// A customer: the party, and its market.
type Customer = (String, &'static str);

async fn what_is_served_is_what_duckdb_computes(stage: &mut Stage) {
    asking(stage).await;
    stage.cast.put_survey_live(SURVEY).await.expect("a live survey");
    let talk = LETTER.replace("channel: EMAIL", "channel: FIELD_TASK");
    stage.cast.approve_module("talk", &talk).await.expect("approved");
    let customers = customers(stage).await;
    interactions(stage, &customers).await;
    touches(stage, &customers).await;
    tasks(stage, &customers).await;
    answers(stage, &customers).await;
    decisions(stage, &customers).await;
    cases(stage, &customers).await;
    // Later some orders are old news, and the rewards of decisions are closed.
    stage.pass(DAY * 16).await;
    orders(stage, &customers, "late", ORDERS / 3).await;
    stage.settle().await;

    let folder = stage.platform.folder().to_owned();
    let served = oracle::agreed(&stage.remote, &folder).await;
    for metric in [
        "nps",
        "csat",
        "ces",
        "time-to-resolution",
        "orders",
        "order-value",
        "ordering-parties",
        "touches-skipped",
        "delivery-rate",
        "open-rate",
        "click-rate",
        "response-rate",
        "review-cycle-time",
        "suggestion-acceptance",
        "decision-acceptance",
        "unsubscribes",
        "consent-withdrawal-time",
        "portal-time",
    ] {
        assert!(served.keys().any(|it| it.0 == metric), "nothing was compared of {metric}");
    }
    // What was sent and what was stopped is told by market.
    for (metric, market) in
        [("touches-sent", "DE"), ("touches-skipped", "DE"), ("touches-sent", "US")]
    {
        let of = |it: &&oracle::Place| it.0 == metric && it.3.contains(&format!("market={market}"));
        assert!(served.keys().any(|it| of(&it)), "{metric} {market}: {served:#?}");
    }

    forget(stage).await;
    assert_eq!(oracle::agreed(&stage.remote, &folder).await, served, "from nothing");
}

/// Empties what `kpis` has read while it is away; it reads everything again.
async fn forget(stage: &mut Stage) {
    stage.platform.stop();
    let store = stage.platform.store("kpis").await;
    consumer::reset(&store, &kpis::consumer()).await.expect("emptied");
    store.close().await;
    stage.platform.start(None);
    stage.meet();
    let now = stage.now;
    stage.time.set(now).await.expect("time goes on");
    stage.settle().await;
}

/// Chance that is the same in every run.
fn chance(of: &str, number: usize) -> f64 {
    draw(&format!("figures/{of}"), &number.to_string())
}

/// One of so many.
fn pick(of: &str, number: usize, among: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to among")]
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let picked = (chance(of, number) * among as f64) as usize;
    picked.min(among - 1)
}

/// Two thirds in Germany, of whom some never agreed to anything.
async fn customers(stage: &mut Stage) -> Vec<Customer> {
    let mut customers = Vec::new();
    for number in 0..PARTIES {
        let market = if number % 3 == 2 { "US" } else { "DE" };
        let name = format!("customer{number}");
        let party = stage.party(&name, PartyKind::Hcp, market, "").await;
        if market == "DE" && !number.is_multiple_of(4) {
            stage.grant(&party, market).await;
        }
        if market == "DE" {
            agree(stage, &party).await;
        }
        customers.push((party, market));
    }
    stage.settle().await;
    customers
}

async fn interactions(stage: &mut Stage, customers: &[Customer]) {
    let field = |name: &str, kind: ClearKind| ClearField { name: name.into(), kind: kind.into() };
    let request = RegisterSourceRequest {
        parent: stage.remote.parent.clone(),
        source_id: "web".into(),
        owner: "shop team".into(),
        clear_fields: vec![
            field("revenue", ClearKind::Money),
            field("duration_seconds", ClearKind::Number),
        ],
        ..Default::default()
    };
    told(stage.remote.sources.clone().register_source(request).await).expect("a source");
    orders(stage, customers, "order", ORDERS).await;
    let visit = |number: usize| {
        let seconds = Kind::NumberValue((chance("visit", number) * 900.0).round());
        let fields = [("duration_seconds", seconds)];
        // Some tell no time.
        let fields = if number.is_multiple_of(5) { &[][..] } else { &fields[..] };
        new_interaction(
            stage,
            customers,
            "Portal Visited",
            &format!("visit-{number}"),
            number,
            fields,
        )
    };
    record(stage, (0..30).map(visit).collect()).await;
}

/// Orders of the three weeks before, some of them without a price.
async fn orders(stage: &Stage, customers: &[Customer], name: &str, count: usize) {
    let order = |number: usize| {
        let cents = 1 + pick(name, number, 100_000);
        let market = customers[number % customers.len()].1;
        let text = |it: &str| Value { kind: Some(Kind::StringValue(it.to_owned())) };
        let money = Struct {
            fields: [
                ("currency_code".to_owned(), text(if market == "US" { "USD" } else { "EUR" })),
                ("amount".to_owned(), text(&format!("{}.{:02}", cents / 100, cents % 100))),
            ]
            .into(),
        };
        let fields = [("revenue", Kind::StructValue(money))];
        let fields = if number.is_multiple_of(7) { &[][..] } else { &fields[..] };
        let id = format!("{name}-{number}");
        new_interaction(stage, customers, "Order Completed", &id, number, fields)
    };
    record(stage, (0..count).map(order).collect()).await;
}

fn new_interaction(
    stage: &Stage,
    customers: &[Customer],
    name: &str,
    id: &str,
    number: usize,
    fields: &[(&str, Kind)],
) -> NewInteraction {
    let ago = DAY.mul_f64(chance(id, number) * 21.0);
    let fields =
        fields.iter().map(|(name, kind)| ((*name).to_owned(), Value { kind: Some(kind.clone()) }));
    NewInteraction {
        message_id: id.into(),
        name: name.into(),
        occurred_time: Some(stage.now.minus(ago).to_proto()),
        party: Some(new_interaction::Party::PartyId(customers[number % customers.len()].0.clone())),
        properties: Some(Struct { fields: fields.collect() }),
        ..NewInteraction::default()
    }
}

async fn record(stage: &Stage, interactions: Vec<NewInteraction>) {
    let request = RecordInteractionsRequest {
        parent: stage.remote.name("sources", "web"),
        interactions,
        ..Default::default()
    };
    told(stage.remote.sources.clone().record_interactions(request).await).expect("recorded");
}

/// Letters to everybody, twice; what providers report of them.
async fn touches(stage: &mut Stage, customers: &[Customer]) {
    let abroad = stage.party("abroad", PartyKind::Hcp, "FR", "").await;
    let parties = customers.iter().map(|it| it.0.as_str()).chain([abroad.as_str()]);
    let parties: Vec<_> = parties.map(str::to_owned).collect();
    let mut sent = Vec::new();
    for _ in 0..4 {
        for party in &parties {
            sent.push(stage.ask_for_touch(party, "letter").await);
        }
        stage.settle().await;
        stage.pass(HOUR).await;
    }
    let mut events = Vec::new();
    for (number, touch_id) in sent.iter().enumerate() {
        let left = stage.touch(touch_id).await.send_time.is_some();
        let mut report = |kind: ProviderEventKind, agent: &str| {
            events.push(ProviderEvent {
                provider: "relay".into(),
                provider_event_id: format!("e-{}", events.len()),
                kind: kind.into(),
                touch_id: touch_id.clone(),
                user_agent: agent.into(),
                ..ProviderEvent::default()
            });
        };
        if !left {
            continue;
        }
        match pick("report", number, 6) {
            0 => {}
            1 => report(ProviderEventKind::Delivered, ""),
            2 => report(ProviderEventKind::Opened, "GoogleImageProxy"),
            3 => {
                report(ProviderEventKind::Delivered, "");
                report(ProviderEventKind::Opened, "Thunderbird/128.0");
                report(ProviderEventKind::Clicked, "Thunderbird/128.0");
            }
            4 => report(ProviderEventKind::Clicked, "python-requests/2"),
            _ => {
                report(ProviderEventKind::Opened, "Thunderbird/128.0");
                report(ProviderEventKind::Opened, "Thunderbird/128.0");
            }
        }
        if number % 11 == 1 {
            report(ProviderEventKind::Unsubscribed, "");
        }
    }
    let request = RecordProviderEventsRequest {
        parent: stage.remote.parent.clone(),
        events,
        ..Default::default()
    };
    told(stage.remote.delivery.clone().record_provider_events(request).await).expect("taken in");
    stage.settle().await;
}

/// Suggestions to field users, of which some are taken on and one is dismissed.
async fn tasks(stage: &mut Stage, customers: &[Customer]) {
    let mut tasks = Vec::new();
    for (party, _) in customers.iter().filter(|it| it.1 == "DE").take(5) {
        tasks.push(stage.ask_for_touch_by(Channel::FieldTask, party, "talk").await);
    }
    stage.settle().await;
    let name = |task: &str| stage.remote.name("touches", task);
    for task in &tasks[..2] {
        let request = AcceptTaskRequest { name: name(task), ..Default::default() };
        told(stage.remote.delivery.clone().accept_task(request).await).expect("accepted");
    }
    let reason = DismissReason::WrongTime.into();
    let request = DismissTaskRequest { name: name(&tasks[2]), reason, ..Default::default() };
    told(stage.remote.delivery.clone().dismiss_task(request).await).expect("dismissed");
}

/// Who is asked, and what they answer, if anything.
async fn answers(stage: &mut Stage, customers: &[Customer]) {
    let mut asked = Vec::new();
    for (party, _) in customers {
        let request = RequestInvitationRequest {
            parent: stage.remote.parent.clone(),
            survey: "order-all".into(),
            party_id: party.clone(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            ..Default::default()
        };
        let reply = told(stage.remote.feedback.clone().request_invitation(request).await);
        asked.push(reply.expect("taken on").invitation.expect("an invitation").name);
    }
    stage.settle().await;
    for (number, name) in asked.iter().enumerate() {
        let sent = crate::surveys::invitation(stage, name).await;
        if sent.state() != rapport_proto::feedback::v1::invitation::State::Sent || number % 6 == 5 {
            continue;
        }
        let score = |question: &str, least: usize, of: usize| NewAnswer {
            question: question.into(),
            score: Some(i32::try_from(least + pick(question, number, of)).expect("small")),
            ..Default::default()
        };
        let mut answers = vec![score("recommend", 0, 11), score("satisfied", 1, 5)];
        if number.is_multiple_of(2) {
            answers.push(score("easy", 1, 7));
        }
        let id = name.rsplit('/').next().unwrap_or_default().to_owned();
        let request = SubmitResponseRequest {
            parent: stage.remote.parent.clone(),
            invitation: Some(submit_response_request::Invitation::InvitationId(id)),
            answers,
            generated: number.is_multiple_of(3),
            ..Default::default()
        };
        told(stage.remote.feedback.clone().submit_response(request).await).expect("answered");
    }
    stage.settle().await;
}

async fn decisions(stage: &mut Stage, customers: &[Customer]) {
    for (party, _) in customers {
        let request = DecideRequest {
            parent: stage.remote.name("parties", party),
            sender_id: "northwind".into(),
            channels: vec![Channel::Email.into()],
            k: 1,
            groups: vec!["win-back".into()],
            ..Default::default()
        };
        told(stage.remote.decisions.clone().decide(request).await).expect("decided");
    }
    stage.settle().await;
}

/// Cases that are resolved after hours or days, one of them twice, one after a pause; some stay open.
async fn cases(stage: &mut Stage, customers: &[Customer]) {
    let types = [CaseType::Service, CaseType::ProductQuality];
    let mut open = Vec::new();
    for number in 0..CASES {
        let request = OpenCaseRequest {
            parent: stage.remote.parent.clone(),
            r#type: types[number % 2].into(),
            party_id: customers[number].0.clone(),
            ..Default::default()
        };
        let opened = told(stage.remote.cases.clone().open_case(request).await).expect("opened");
        open.push(opened.case.expect("a case").name);
        stage.pass(HOUR).await;
    }
    let cases = stage.remote.cases.clone();
    let (reason, resume) = ("waits_for_customer".to_owned(), open[1].clone());
    let pause = PauseCaseRequest { name: open[1].clone(), reason, ..Default::default() };
    told(cases.clone().pause_case(pause).await).expect("paused");
    for (number, name) in open.iter().enumerate().take(6) {
        stage.pass(HOUR * u32::try_from(1 + number * number).expect("small")).await;
        if number == 1 {
            let resume = ResumeCaseRequest { name: resume.clone(), ..Default::default() };
            told(cases.clone().resume_case(resume).await).expect("goes on");
        }
        resolve(stage, name).await;
    }
    let reason = "not_solved".to_owned();
    let again = ReopenCaseRequest { name: open[0].clone(), reason, ..Default::default() };
    told(cases.clone().reopen_case(again).await).expect("opened again");
    stage.pass(DAY).await;
    resolve(stage, &open[0]).await;
}

async fn resolve(stage: &Stage, name: &str) {
    let outcome = "explained".to_owned();
    let request = ResolveCaseRequest { name: name.into(), outcome, ..Default::default() };
    told(stage.remote.cases.clone().resolve_case(request).await).expect("resolved");
}
