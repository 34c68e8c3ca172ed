//! The touch that carries an invitation: asked for by `feedback`, through the gate like any other, with a personal link
//! that stands in the message and nowhere else.

use std::convert::Infallible;

use chassis::service::Service;
use chassis::token;
use eventstore::{About, Decider, Schema};
use rapport_proto::feedback::v1::InvitationIssued;
use rapport_proto::feedback::v1::invitation_event::Event;
use rapport_proto::types::ContentClass;

use super::*;
use crate::link::PLACEHOLDER;

const FEEDBACK: Target =
    Target { name: "feedback", schema: Schema::default, reasons: &[], service: |_| Service::new() };

/// `feedback` issues what it is told to.
enum Invitation {}

impl Decider for Invitation {
    const AGGREGATE: &'static str = "invitation";
    type Command = Vec<Event>;
    type State = ();
    type Event = Event;
    type Refusal = Infallible;

    fn decide(_: &(), command: Vec<Event>, _: Timestamp) -> Result<Vec<Event>, Infallible> {
        Ok(command)
    }

    fn evolve(_: (), _: &Event) {}

    fn about(_: &str, _: &(), _: &Event) -> About {
        About { party_id: PARTY.into(), ..About::default() }
    }
}

/// With a module that asks, and `feedback` beside the other peers.
async fn asking(change: impl FnOnce(&mut Settings)) -> World {
    let [profiles, content, decisioning, journeys] = peers::TARGETS;
    let targets = [profiles, content, decisioning, journeys, FEEDBACK, TARGET];
    let harness = Harness::with(&targets, change).await;
    let script = peers::script_of(harness.deps("delivery"));
    script.lock().content.content_class = ContentClass::Survey.into();
    script.lock().content.text = format!("How was it? {PLACEHOLDER}");
    script.lock().content.html = format!("<a href=\"{PLACEHOLDER}\">How was it?</a>");
    let world = World { harness, script };
    world.api().register_sender(sender()).await.expect("registered");
    world
}

async fn issue(world: &World) -> &'static str {
    let issued = Event::Issued(InvitationIssued {
        invitation_id: "inv_1".into(),
        survey: "order-nps".into(),
        party_id: PARTY.into(),
        module: "ask-nps".into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        instance_id: "ins_1".into(),
        journey_id: "win-back".into(),
        touch_id: "tch_1".into(),
        expires_at: time(world.harness.clock.now().plus(Duration::from_secs(86_400))),
        ..InvitationIssued::default()
    });
    peers::write::<Invitation>(&world.store("feedback"), "inv_1", issued).await;
    "tch_1"
}

#[tokio::test]
async fn an_invitation_leaves_with_its_personal_link_and_the_link_is_nowhere_else() {
    let world = asking(|it| it.delivery.survey_url = "https://northwind.example/".into()).await;
    let touch_id = issue(&world).await;
    until(async || world.find(touch_id).await).await.expect("a touch");
    let touch = world.reaches(touch_id, State::Sent).await;
    let request = touch.request.clone().expect("what was asked for");
    assert_eq!(request.cause(), proto::TouchCause::Invitation);
    assert_eq!((request.invitation_id.as_str(), request.instance_id.as_str()), ("inv_1", ""));
    let mail = std::fs::read_to_string(world.outbox().join("tch_1.eml")).expect("a file");
    let mail = mail.replace("=\r\n", "").replace("=3D", "=");
    // Minted here as `feedback` opens it: both have the key that targets share.
    let keys = &world.harness.deps("feedback").service_keys;
    let token = token::mint(keys, ACME, token::SURVEY, "inv_1");
    let link = format!("https://northwind.example/f/{token}");
    assert_eq!(mail.matches(&link).count(), 2, "in the text and in the page: {mail}");
    assert!(!mail.contains(PLACEHOLDER));
    let proof = token.rsplit('.').next().expect("a proof").as_bytes().to_vec();
    let events = world.store("delivery").read(0, 1_000).await.expect("read");
    let holds = |it: &[u8]| it.windows(proof.len()).any(|at| at == proof);
    assert!(!events.iter().any(|it| holds(&it.envelope)), "not on the log");
    assert_eq!(touch.render_hash, "ab".repeat(32), "and not in the hash");
}

#[tokio::test]
async fn without_anything_said_the_form_is_reached_at_this_process() {
    let world = asking(|it| it.grpc.address = "127.0.0.1:8099".parse().expect("an address")).await;
    let touch_id = issue(&world).await;
    until(async || world.find(touch_id).await).await.expect("a touch");
    world.reaches(touch_id, State::Sent).await;
    let mail = std::fs::read_to_string(world.outbox().join("tch_1.eml")).expect("a file");
    assert!(mail.contains("http://127.0.0.1:8099/f/acme.inv_1."), "{mail}");
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_not_asked() {
    let world = asking(|_| ()).await;
    world.script.lock().content.text = "How was it?".into();
    let touch_id = issue(&world).await;
    until(async || world.find(touch_id).await).await.expect("a touch");
    let touch = world.reaches(touch_id, State::Failed).await;
    assert_eq!(touch.reason, "survey_link");
    assert_eq!(world.files(), [""; 0]);
}

#[tokio::test]
async fn the_gate_stops_an_invitation_as_it_stops_everything() {
    let world = asking(|_| ()).await;
    let consent = world.script.lock().recipient.consent.clone().expect("a verdict");
    let denied = rapport_proto::profiles::v1::ConsentVerdict {
        allowed: false,
        detail: "withdrawn".into(),
        ..consent
    };
    world.script.lock().recipient.consent = Some(denied);
    let touch_id = issue(&world).await;
    until(async || world.find(touch_id).await).await.expect("a touch");
    let touch = world.reaches(touch_id, State::Skipped).await;
    assert_eq!(touch.reason, "consent");
}

impl World {
    /// The touch, if it was opened.
    async fn find(&self, touch_id: &str) -> Option<proto::Touch> {
        let request = proto::GetTouchRequest { name: touch_name(touch_id), ..Default::default() };
        self.api().get_touch(request).await.ok()?.into_inner().touch
    }
}
