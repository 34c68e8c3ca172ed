//! What providers report: counted once, told apart from machines, and a "no" holds at once and for as long as it was not
//! taken back.

use std::time::Duration;

use rapport::remote::told;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::delivery::v1::{
    GateStep, ListSuppressionsRequest, ProviderEvent, ProviderEventKind, RecipientSuppressed,
    RecordProviderEventsRequest, SuppressionCause, Touch,
};
use rapport_proto::profiles::v1::CheckConsentRequest;
use rapport_proto::types::{Channel, PartyKind};

use crate::in_both_topologies;
use crate::stage::{Stage, assert_stopped, consent_key, verdict};

in_both_topologies!(
    what_is_read_and_by_whom,
    who_unsubscribes_is_left_alone,
    a_dead_address_is_dead_for_all
);

async fn what_is_read_and_by_whom(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    let touch = sent(stage, &party).await;
    stage.pass(Duration::from_secs(60)).await;
    let of = |id: &str, kind: ProviderEventKind| event(&touch, id, kind);
    let by =
        |agent: &str, event: ProviderEvent| ProviderEvent { user_agent: agent.into(), ..event };
    let proxy = "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)";
    let person = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.0";
    let events = [
        of("e-1", ProviderEventKind::Delivered),
        by(proxy, of("e-2", ProviderEventKind::Opened)),
        by(person, of("e-3", ProviderEventKind::Opened)),
        by(person, of("e-4", ProviderEventKind::Clicked)),
    ];
    assert_eq!(report(stage, &events).await, ["recorded"; 4]);
    // Providers repeat themselves: in another batch, in another order, twice in one.
    assert_eq!(report(stage, &events[2..]).await, ["repeated"; 2]);
    let twice = [events[1].clone(), of("e-5", ProviderEventKind::Opened), events[1].clone()];
    assert_eq!(report(stage, &twice).await, ["repeated", "recorded", "repeated"]);
    let touch = stage.touch(&id(&touch)).await;
    assert_eq!(touch.state(), State::Sent, "a report moves nothing that was sent");
    let counted = (touch.delivered, touch.opens, touch.clicks, touch.machine_events);
    assert_eq!(counted, (true, 2, 1, 1), "{touch:#?}");
}

async fn who_unsubscribes_is_left_alone(stage: &mut Stage) {
    let party = stage.physician("vogel", "DE").await;
    let touch = sent(stage, &party).await;
    stage.pass(Duration::from_secs(60)).await;
    let unsubscribed = event(&touch, "e-1", ProviderEventKind::Unsubscribed);
    assert_eq!(report(stage, std::slice::from_ref(&unsubscribed)).await, ["recorded"]);
    // Its own commit says so: nobody else has to have read it.
    let held = suppressions(stage).await;
    assert_eq!(held.len(), 1, "{held:#?}");
    assert_eq!(held[0].cause(), SuppressionCause::Unsubscribed);
    let next = stage.ask_for_touch(&party, "letter").await;
    stage.settle().await;
    let next = stage.touch(&next).await;
    assert_stopped(&next, GateStep::Recipient, "suppressed");
    assert_eq!(verdict(&next, GateStep::Recipient).proof_ids, [held[0].suppression_id.clone()]);
    assert_eq!(consent(stage, &party).await, (false, "withdrawn".to_owned()));

    // A repeat, and a consent of before, change nothing.
    assert_eq!(report(stage, &[unsubscribed]).await, ["repeated"]);
    assert_eq!(suppressions(stage).await.len(), 1);
    stage.pass(Duration::from_secs(60)).await;
    stage.grant(&party, "DE").await;
    stage.settle().await;
    assert_eq!(suppressions(stage).await, []);
    assert_eq!(consent(stage, &party).await, (true, String::new()));
    sent(stage, &party).await;
    assert_eq!(stage.outbox().len(), 2);
}

async fn a_dead_address_is_dead_for_all(stage: &mut Stage) {
    let party = stage.physician("office", "DE").await;
    let touch = sent(stage, &party).await;
    // A practice of two, with one mailbox, written another way.
    let address = (Channel::Email, "Office@Example.org".to_owned());
    let other = stage.party_at("colleague", PartyKind::Hcp, "DE", "", address).await;
    stage.grant(&other, "DE").await;
    stage.settle().await;
    let soft = event(&touch, "e-1", ProviderEventKind::Bounced);
    assert_eq!(report(stage, &[soft]).await, ["recorded"]);
    sent(stage, &other).await;

    let hard = ProviderEvent {
        hard: true,
        code: "5.1.1".into(),
        ..event(&touch, "e-2", ProviderEventKind::Bounced)
    };
    assert_eq!(report(stage, &[hard]).await, ["recorded"]);
    for party in [&party, &other] {
        let stopped = stage.ask_for_touch(party, "letter").await;
        stage.settle().await;
        let stopped = stage.touch(&stopped).await;
        assert_stopped(&stopped, GateStep::Recipient, "suppressed");
        assert_eq!(verdict(&stopped, GateStep::Recipient).detail, "bounced");
    }
    // A consent does not bring an address back to life.
    stage.pass(Duration::from_secs(60)).await;
    stage.grant(&party, "DE").await;
    stage.settle().await;
    assert_eq!(suppressions(stage).await.len(), 1);
    assert_eq!(stage.outbox().len(), 2);
}

/// A letter that was sent.
async fn sent(stage: &mut Stage, party: &str) -> Touch {
    let touch = stage.ask_for_touch(party, "letter").await;
    stage.settle().await;
    let touch = stage.touch(&touch).await;
    assert_eq!(touch.state(), State::Sent, "{touch:#?}");
    touch
}

fn id(touch: &Touch) -> String {
    touch.request.clone().unwrap_or_default().touch_id
}

fn event(touch: &Touch, event_id: &str, kind: ProviderEventKind) -> ProviderEvent {
    ProviderEvent {
        provider: "relay".into(),
        provider_event_id: event_id.into(),
        kind: kind.into(),
        touch_id: id(touch),
        ..ProviderEvent::default()
    }
}

/// Reports events; what became of each.
async fn report(stage: &Stage, events: &[ProviderEvent]) -> Vec<String> {
    let request = RecordProviderEventsRequest {
        parent: stage.remote.parent.clone(),
        events: events.to_vec(),
        ..Default::default()
    };
    let reply = told(stage.remote.delivery.clone().record_provider_events(request).await);
    reply.expect("taken in").results.into_iter().map(|it| it.outcome).collect()
}

async fn suppressions(stage: &Stage) -> Vec<RecipientSuppressed> {
    let request =
        ListSuppressionsRequest { parent: stage.remote.parent.clone(), ..Default::default() };
    let reply = told(stage.remote.delivery.clone().list_suppressions(request).await);
    reply.expect("suppressions").suppressions
}

/// Whether `profiles` allows a letter, and why not.
async fn consent(stage: &Stage, party: &str) -> (bool, String) {
    let request = CheckConsentRequest {
        parent: stage.remote.parent.clone(),
        key: Some(consent_key(party, "DE")),
        ..Default::default()
    };
    let reply = told(stage.remote.consents.clone().check_consent(request).await);
    let reply = reply.expect("a verdict");
    (reply.allowed, reply.detail)
}
