use rapport_proto::decisioning::v1::{
    Calendar, ContactLine, Policy as PolicyDocument, PolicyVersionActivated, QuietHours,
    RulePack as RulePackDocument, RulePackActivated, policy_event, rule_pack_event,
};
use rapport_proto::delivery::v1::{GateStep, VerdictOutcome};
use rapport_proto::journeys::v1::{
    CheckInstanceResponse, InstanceResumed, InstanceTouchRequested, instance_event,
};
use rapport_proto::profiles::v1::{InteractionRecorded, interaction_event};
use rapport_proto::types::ContentClass;

use super::peers::{Instance, Interaction, Policy, RulePack, write};
use super::*;

fn failed(touch: &proto::Touch) -> (GateStep, String) {
    let failed = touch.verdicts.iter().find(|it| it.outcome() == VerdictOutcome::Fail);
    failed.map(|it| (it.step(), it.detail.clone())).unwrap_or_default()
}

/// A consumer has read a source to its end.
async fn consumed(world: &World, consumer: &str, source: &str) {
    let (deps, end) = (world.harness.deps("delivery"), world.store(source).head().position);
    let caught_up = async || {
        let handled = deps.handled(consumer, source).await.expect("read");
        (handled >= end).then_some(())
    };
    until(caught_up).await.expect("consumed");
}

#[tokio::test]
async fn a_lawful_email_leaves_with_eleven_verdicts() {
    let world = World::start().await;
    let touch = world.email(State::Sent).await;
    assert_eq!(touch.verdicts.len(), 11);
    assert!(touch.verdicts.iter().all(|it| it.outcome() == VerdictOutcome::Pass), "{touch:#?}");
    assert_eq!((touch.attempts, touch.market.as_str()), (1, "DE"));
    assert_eq!(touch.content[0].signature_ids, ["sig_1"]);
    let touch_id = touch.request.expect("what was asked for").touch_id;
    assert_eq!(world.files(), [format!("{touch_id}.eml")]);
    let text =
        std::fs::read_to_string(world.outbox().join(format!("{touch_id}.eml"))).expect("a file");
    assert!(text.contains("To: ada@example.org\r\n") && text.contains("Hello Ada"), "{text}");
    // The class was guessed wrong at first: what depends on it was asked again, with the right one.
    let asked = world.script.lock().asked.clone();
    let outbound: Vec<_> = asked.iter().filter(|it| it.starts_with("CheckOutbound")).collect();
    assert!(
        outbound.last().expect("asked").contains("content_class: DiseaseAwareness"),
        "{outbound:#?}"
    );
    assert_eq!(world.store("delivery").next_due().await.expect("read"), None, "no timer is left");
    world.harness.stop().await;
}

#[tokio::test]
async fn the_second_touch_of_a_module_asks_each_peer_once() {
    let world = World::start().await;
    world.email(State::Sent).await;
    world.script.lock().asked.clear();
    world.email(State::Sent).await;
    let mut asked: Vec<_> = (world.script.lock().asked.iter())
        .map(|it| it.split(' ').next().unwrap_or_default().to_owned())
        .collect();
    asked.sort();
    assert_eq!(asked, ["CheckOutbound", "Render", "ResolveRecipient"]);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_is_not_allowed_stays_here() {
    let world = World::start().await;
    world.script.lock().recipient.consent.as_mut().expect("a verdict").allowed = false;
    world.script.lock().recipient.consent.as_mut().expect("a verdict").detail = "withdrawn".into();
    let touch = world.email(State::Skipped).await;
    assert_eq!(
        (touch.reason.as_str(), failed(&touch)),
        ("consent", (GateStep::Consent, "withdrawn".into()))
    );
    assert_eq!((touch.verdicts.len(), world.files()), (11, Vec::<String>::new()));
    assert_eq!(world.store("delivery").next_due().await.expect("read"), None);
    // The log says of which market, as it does of what was sent.
    assert_eq!(touch.market, "DE");
    let log = world.store("delivery").read(0, 100).await.expect("read");
    let last = log.last().expect("an event").envelope().expect("an envelope");
    assert!(last.r#type.ends_with(".TouchSkipped"), "{}", last.r#type);
    assert_eq!(last.market, "DE");
    world.harness.stop().await;
}

#[tokio::test]
async fn an_unreachable_peer_is_never_a_yes() {
    for down in ["ResolveRecipient", "Render", "CheckOutbound", "CheckInstance"] {
        let world = World::start().await;
        world.script.lock().down = down;
        let touch_id = ask_by_journey(&world).await;
        let asked =
            async || world.script.lock().asked.iter().any(|it| it.starts_with(down)).then_some(());
        until(asked).await.expect("asked");
        assert_eq!(world.get(&touch_id).await.state(), State::Requested);
        assert_eq!(world.files(), Vec::<String>::new());
        world.script.lock().down = "";
        world.reaches(&touch_id, State::Sent).await;
        world.harness.stop().await;
    }
}

/// An instance of a journey asks for a touch, as `journeys` writes it.
async fn ask_by_journey(world: &World) -> String {
    let touch_id = "tch_00000000000000000000000001";
    let asked = instance_event::Event::TouchRequested(InstanceTouchRequested {
        node: "write".into(),
        visit: 1,
        touch_id: touch_id.into(),
        party_id: PARTY.into(),
        module: "welcome".into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        expires_at: time(START.plus(Duration::from_secs(86_400))),
        instance_id: "ins_1".into(),
        journey_id: "win-back".into(),
        ..Default::default()
    });
    write::<Instance>(&world.store("journeys"), "ins_1", asked).await;
    consumed(world, crate::REACTIONS, "journeys").await;
    touch_id.into()
}

#[tokio::test]
async fn a_journey_asks_once_and_is_asked_whether_it_still_lives() {
    let world = World::start().await;
    world.script.lock().instance.live = false;
    world.script.lock().instance.rule = "party.state != 'ACTIVE'".into();
    let touch_id = ask_by_journey(&world).await;
    let touch = world.reaches(&touch_id, State::Skipped).await;
    assert_eq!(touch.reason, "exited");
    assert_eq!(touch.verdicts[0].rule, "party.state != 'ACTIVE'");
    // The same event again, as another event of the stream.
    ask_by_journey(&world).await;
    let listed = proto::ListTouchesRequest { parent: parent(), ..Default::default() };
    let listed = world.api().list_touches(listed).await.expect("listed").into_inner().touches;
    assert_eq!(listed.len(), 1);
    world.harness.stop().await;
}

#[tokio::test]
async fn what_a_paused_journey_says_is_judged_again_when_it_moves_again() {
    let world = World::start().await;
    let paused = CheckInstanceResponse { rule: "paused".into(), ..Default::default() };
    let live = std::mem::replace(&mut world.script.lock().instance, paused);
    let touch_id = ask_by_journey(&world).await;
    let touch = world.reaches(&touch_id, State::Deferred).await;
    assert_eq!(failed(&touch).0, GateStep::Live);
    assert_eq!(touch.next_time, touch.request.expect("what was asked for").expires_at);
    // Consent went meanwhile: what moves again is judged from the first step.
    world.script.lock().instance = live;
    world.script.lock().recipient.consent.as_mut().expect("a verdict").allowed = false;
    let resumed = InstanceResumed { touch_id: touch_id.clone(), ..Default::default() };
    let resumed = instance_event::Event::Resumed(resumed);
    world.harness.clock.advance(Duration::from_secs(1));
    write::<Instance>(&world.store("journeys"), "ins_1", resumed).await;
    let touch = world.reaches(&touch_id, State::Skipped).await;
    assert_eq!((touch.reason.as_str(), failed(&touch).0), ("consent", GateStep::Consent));
    world.harness.stop().await;
}

#[tokio::test]
async fn a_touch_out_of_date_is_stale_and_nobody_is_asked() {
    let world = World::start().await;
    world.script.lock().down = "Render";
    let request = proto::RequestTouchRequest {
        expire_time: time(START.plus(Duration::from_secs(60))),
        ..email()
    };
    let touch_id = world.request(request).await;
    let asked = async || (!world.script.lock().asked.is_empty()).then_some(());
    until(asked).await.expect("asked");
    world.harness.clock.advance(Duration::from_secs(60));
    let touch = world.reaches(&touch_id, State::Skipped).await;
    assert_eq!((touch.reason.as_str(), failed(&touch).0), ("stale", GateStep::Live));
    world.harness.stop().await;
}

async fn quiet_nights(world: &World) {
    let document = RulePackDocument {
        quiet_hours: Some(QuietHours {
            channels: vec![Channel::Email.into()],
            from: "20:00".into(),
            to: "08:00".into(),
            also: Vec::new(),
        }),
        calendar: Some(Calendar { time_zones: vec!["Europe/Berlin".into()], ..Default::default() }),
        ..Default::default()
    };
    let activated = rule_pack_event::Event::Activated(RulePackActivated {
        market: "DE".into(),
        version: 1,
        document: Some(document),
        effective_at: time(START),
        ..Default::default()
    });
    write::<RulePack>(&world.store("decisioning"), "DE", activated).await;
    world.script.lock().outbound.market_pack_version = 1;
    consumed(world, crate::RULES, "decisioning").await;
}

#[tokio::test]
async fn quiet_hours_put_off_and_the_gate_starts_again_at_step_one() {
    let world = World::start().await;
    quiet_nights(&world).await;
    // The harness's clock stands at 01:00 in Berlin.
    let touch = world.email(State::Deferred).await;
    let morning = START.plus(Duration::from_secs(7 * 3600));
    assert_eq!(touch.next_time, time(morning));
    let touch_id = touch.request.expect("what was asked for").touch_id;
    world.script.lock().recipient.consent.as_mut().expect("a verdict").allowed = false;
    world.harness.clock.set(morning);
    let touch = world.reaches(&touch_id, State::Skipped).await;
    assert_eq!(touch.reason, "consent", "what was true at night is not what counts in the morning");
    world.harness.stop().await;
}

#[tokio::test]
async fn safety_communication_leaves_at_night() {
    let world = World::start().await;
    quiet_nights(&world).await;
    world.script.lock().content.content_class = ContentClass::SafetyCommunication.into();
    let touch = world.email(State::Sent).await;
    assert_eq!(touch.verdicts[8].rule, "exempt");
    world.harness.stop().await;
}

async fn cap(world: &World, max: u32) {
    cap_of_version(world, 3, max).await;
}

/// A version of the policy with a cap goes live.
async fn cap_of_version(world: &World, version: u32, max: u32) {
    let line = ContactLine {
        id: "weekly".into(),
        counts: vec!["EMAIL".into(), "Call Completed".into()],
        window: "7d".into(),
        max,
        hard: true,
        ..Default::default()
    };
    let activated = policy_event::Event::Activated(PolicyVersionActivated {
        version,
        policy: Some(PolicyDocument { contact_policy: vec![line], ..Default::default() }),
        ..Default::default()
    });
    write::<Policy>(&world.store("decisioning"), "default", activated).await;
    world.script.lock().outbound.policy_version = version;
    consumed(world, crate::RULES, "decisioning").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_touches_at_once_never_exceed_a_cap() {
    let world = World::start().await;
    cap(&world, 3).await;
    // All of them wait for one peer, and go on together.
    world.script.lock().down = "Render";
    let ids = futures::future::join_all((0..16).map(|_| world.request(email()))).await;
    world.script.lock().down = "";
    let ended = async || {
        let mut states = Vec::new();
        for id in &ids {
            states.push(world.get(id).await.state());
        }
        let done = states.iter().all(|it| matches!(it, State::Sent | State::Skipped));
        done.then_some(states)
    };
    let states = until(ended).await.expect("all ended");
    assert_eq!(states.iter().filter(|it| **it == State::Sent).count(), 3);
    assert_eq!(world.files().len(), 3);
    for id in &ids {
        let touch = world.get(id).await;
        if touch.state() == State::Skipped {
            let verdict = &touch.verdicts[7];
            assert_eq!((touch.reason.as_str(), verdict.rule.as_str()), ("cap", "weekly"));
            assert_eq!(verdict.next_allowed_at, time(START.plus(Duration::from_secs(7 * 86_400))));
        }
    }
    world.harness.stop().await;
}

#[tokio::test]
async fn rules_that_have_not_arrived_let_nothing_pass() {
    let world = World::start().await;
    world.script.lock().outbound.policy_version = 3;
    let touch_id = world.request(email()).await;
    let outbound = |it: &String| it.starts_with("CheckOutbound");
    // The first module is asked about twice, once for its class; then the gate has run.
    let again = async || world.script.lock().asked.iter().filter(|it| outbound(it)).count() > 2;
    until(async || again().await.then_some(())).await.expect("tried again");
    assert_eq!(world.get(&touch_id).await.state(), State::Requested);
    cap(&world, 1).await;
    world.reaches(&touch_id, State::Sent).await;
    world.harness.stop().await;
}

#[tokio::test]
async fn each_answer_is_judged_by_the_rules_it_was_given_by() {
    let world = World::start().await;
    cap_of_version(&world, 3, 1).await;
    world.email(State::Sent).await;
    assert_eq!(world.email(State::Skipped).await.reason, "cap");
    // Another version goes live: what was read of the one before is not what counts.
    cap_of_version(&world, 4, 5).await;
    world.email(State::Sent).await;
    // An answer that was given before it went live is still judged by the one before.
    world.script.lock().outbound.policy_version = 3;
    let stopped = world.email(State::Skipped).await;
    let cap = &stopped.verdicts[7];
    assert_eq!((cap.detail.as_str(), cap.pack_version), ("2 of 1 in 7d", 3));
    world.harness.stop().await;
}

#[tokio::test]
async fn interactions_count_and_what_failed_gives_its_place_back() {
    let world = World::start().await;
    cap(&world, 2).await;
    let called = interaction_event::Event::Recorded(InteractionRecorded {
        name: "Call Completed".into(),
        occurred_at: time(START),
        ..Default::default()
    });
    write::<Interaction>(&world.store("profiles"), "itx_1", called).await;
    consumed(&world, crate::CONTACTS, "profiles").await;
    // A sender that cannot be an address is found out by the adapter: the touch fails.
    world.script.lock().recipient.address = "not an address".into();
    let touch = world.email(State::Failed).await;
    assert_eq!((touch.reason.as_str(), touch.verdicts.len()), ("address", 11));
    world.script.lock().recipient.address = "ada@example.org".into();
    world.email(State::Sent).await;
    assert_eq!(world.email(State::Skipped).await.reason, "cap");
    world.harness.stop().await;
}
