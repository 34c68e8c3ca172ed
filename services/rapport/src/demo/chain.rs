//! `rapport demo chain`: from nothing to a delivered message, each step with the command that shows it.

use std::time::Duration;

use anyhow::Context as _;
use chassis::settings::Settings;
use eventstore::{Ids, Timestamp};
use rapport_proto::content::v1::{AddReferenceRequest, Product, Reference, RegisterProductRequest};
use rapport_proto::delivery::v1::{ListTouchesRequest, RegisterSenderRequest, Sender, Touch};
use rapport_proto::journeys::v1::ListInstancesRequest;
use rapport_proto::profiles::v1::{
    ConsentKey, ContactPoint, Identifier, IdentifierRef, NewInteraction, RecordConsentRequest,
    RecordInteractionsRequest, RegisterPartyRequest, RegisterSourceRequest, Verification, consent,
    new_interaction,
};
use rapport_proto::types::{Channel, PartyKind, Purpose, Regime};

use super::{Cast, LOOK_AGAIN, PATIENCE, until};
use crate::cli::{print, program};
use crate::people::{RemoteArgs, show_touch};
use crate::remote::{Remote, told};

/// Runs the story.
pub(crate) async fn chain(args: &RemoteArgs, settings: &Settings) -> anyhow::Result<()> {
    // A development token has every role.
    let cast = Cast::new(|person, _| args.connect_as(settings, person))?;
    let mut story = Story::new(&cast.author);
    let mut steps = Steps { number: 0, program: program() };

    steps
        .say("Rules of a country: DE inherits eu-strict. Drafted by ada, tested, approved by ben.");
    cast.put_pack_in_force(include_str!("../../demo/eu-strict.yaml"), None).await?;
    let from = cast.put_pack_in_force(include_str!("../../demo/de.yaml"), None).await?;
    steps.show("events export decisioning");

    steps.say("A product, and a reference that claims about it can cite.");
    story.library().await?;
    if let Some(from) = from {
        wait_until(from).await;
    }
    steps.say("Two claims and a module that prints them, each signed by three people: the roles that DE requires.");
    cast.approve_claim(&story.claim, &story.fill(include_str!("../../demo/claim.yaml"))).await?;
    cast.approve_claim(&story.safety, &story.fill(include_str!("../../demo/safety.yaml"))).await?;
    let module = story.fill(include_str!("../../demo/module.yaml"));
    let (version, hash) = cast.approve_module(&story.module, &module).await?;
    print(&format!("   {} version {version}, signed content hash {hash}\n", story.module));
    steps.show(&format!("content review {}", story.module));

    steps.say("A trait, a segment, a policy and a journey.");
    cast.save_trait(include_str!("../../demo/trait.yaml")).await?;
    cast.save_segment(include_str!("../../demo/segment.yaml")).await?;
    story.sender().await?;
    story.policy_and_journey(&cast).await?;
    steps.show(&format!("journey show {}", story.journey));

    let (party_id, touch) = loop {
        steps.say("A physician, reachable by e-mail, who agreed to hear from this sender.");
        let party_id = story.physician().await?;
        steps.show(&format!("customer show {party_id}"));
        steps.say("The physician visits the booth: the segment is entered, the journey begins, the next best action is decided, and the touch passes the gate.");
        story.visit().await?;
        if let Some(touch) = story.told(&party_id).await? {
            break (party_id, touch);
        }
        print(
            "   Doing nothing was drawn: it is a candidate as any other. Another physician, then.\n",
        );
        steps.show(&format!("why {party_id} {}", story.journey));
        story.customers += 1;
    };
    print(&format!("\n{}\n", show_touch(&touch)));
    let request = touch.request.clone().unwrap_or_default();
    steps.show(&format!("why {party_id} {}", story.journey));
    steps.show(&format!("decision explain {}", request.decision_id));
    steps.show(&format!("touch show {}", request.touch_id));
    steps.show(&format!("audit timeline {party_id}"));
    steps.show("audit verify");

    steps.say("Withdraw the module, and nothing of it leaves any more.");
    steps.show(&format!("content withdraw {} --reason outdated", story.module));
    Ok(())
}

/// The things of one run; their ids are new, so that the story can be told again.
struct Story {
    remote: Remote,
    product: String,
    reference: String,
    claim: String,
    safety: String,
    module: String,
    sender: String,
    source: String,
    journey: String,
    customer: String,
    /// Physicians before this one.
    customers: u32,
}

impl Story {
    fn new(remote: &Remote) -> Self {
        let run: String =
            Ids::system().bytes::<6>().iter().map(|it| char::from(b'a' + it % 26)).collect();
        let id = |what: &str| format!("{what}-{run}");
        Self {
            remote: remote.clone(),
            product: id("relievia"),
            reference: id("pivotal-study"),
            claim: id("fast-onset"),
            safety: id("side-effects"),
            module: id("after-congress"),
            sender: id("northwind"),
            source: id("booth"),
            journey: id("congress-follow-up"),
            customer: id("physician"),
            customers: 0,
        }
    }

    /// A document of the demo with this run's ids.
    fn fill(&self, yaml: &str) -> String {
        [
            ("PRODUCT", &self.product),
            ("REFERENCE", &self.reference),
            ("of: CLAIM,", &format!("of: {},", self.claim)),
            ("of: SAFETY,", &format!("of: {},", self.safety)),
            ("claim_id: SAFETY", &format!("claim_id: {}", self.safety)),
            ("module: MODULE", &format!("module: {}", self.module)),
            ("JOURNEY", &self.journey),
            ("SENDER", &self.sender),
        ]
        .iter()
        .fold(yaml.to_owned(), |text, (name, id)| text.replace(name, id))
    }

    async fn library(&self) -> anyhow::Result<()> {
        let product = Product {
            product_id: self.product.clone(),
            brand: "Relievia".into(),
            indications: vec!["migraine".into()],
            markets: vec!["DE".into()],
        };
        let request = RegisterProductRequest {
            parent: self.remote.parent.clone(),
            product: Some(product),
            ..Default::default()
        };
        told(self.remote.library.clone().register_product(request).await)?;
        let reference = Reference {
            reference_id: self.reference.clone(),
            citation: "Pivotal study, data on file (an invented example)".into(),
            ..Default::default()
        };
        let request = AddReferenceRequest {
            parent: self.remote.parent.clone(),
            reference: Some(reference),
            ..Default::default()
        };
        told(self.remote.library.clone().add_reference(request).await)?;
        Ok(())
    }

    async fn sender(&self) -> anyhow::Result<()> {
        let sender = Sender {
            sender_id: self.sender.clone(),
            legal_entity: "Northwind Pharma GmbH".into(),
            brand: "Relievia".into(),
            from_address: "news@northwind.example".into(),
            from_name: "Northwind Pharma".into(),
            ..Default::default()
        };
        let request = RegisterSenderRequest {
            parent: self.remote.parent.clone(),
            sender: Some(sender),
            ..Default::default()
        };
        told(self.remote.delivery.clone().register_sender(request).await)?;
        Ok(())
    }

    /// Decisioning hears of an approved module from the log, so the policy that names it may have to wait a moment.
    async fn policy_and_journey(&self, cast: &Cast) -> anyhow::Result<()> {
        let policy = self.fill(include_str!("../../demo/policy.yaml"));
        retry("put the policy live", async || cast.put_policy_live(&policy).await).await?;
        let journey = self.fill(include_str!("../../demo/journey.yaml"));
        retry("publish the journey", async || cast.publish_journey(&journey).await).await?;
        Ok(())
    }

    /// The physician's id in the CRM.
    fn crm_id(&self) -> String {
        format!("{}-{}", self.customer, self.customers)
    }

    async fn physician(&self) -> anyhow::Result<String> {
        let request = RegisterPartyRequest {
            parent: self.remote.parent.clone(),
            kind: PartyKind::Hcp.into(),
            market: "DE".into(),
            language: "en".into(),
            time_zone: "Europe/Berlin".into(),
            personal_attributes: [("salutation".to_owned(), "Dear Dr Vogel".to_owned())].into(),
            identifiers: vec![Identifier {
                system: "crm".into(),
                value: self.crm_id(),
                ..Default::default()
            }],
            contact_points: vec![ContactPoint {
                channel: Channel::Email.into(),
                value: format!("{}@example.org", self.crm_id()),
                verification: Verification::Verified.into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let party = told(self.remote.parties.clone().register_party(request).await)?.party;
        let party_id = party.unwrap_or_default().party_id;
        let request = RecordConsentRequest {
            parent: self.remote.parent.clone(),
            key: Some(ConsentKey {
                party_id: party_id.clone(),
                purpose: Purpose::Promotional.into(),
                channel: Channel::Email.into(),
                sender_id: self.sender.clone(),
                market: "DE".into(),
            }),
            state: consent::State::Granted.into(),
            regime_shown: Regime::OptIn.into(),
            source: "congress-form".into(),
            text_version: "2026-01".into(),
            language: "en".into(),
            ..Default::default()
        };
        told(self.remote.consents.clone().record_consent(request).await)?;
        Ok(party_id)
    }

    async fn visit(&self) -> anyhow::Result<()> {
        let request = RegisterSourceRequest {
            parent: self.remote.parent.clone(),
            source_id: self.source.clone(),
            owner: "events team".into(),
            ..Default::default()
        };
        if self.customers == 0 {
            told(self.remote.sources.clone().register_source(request).await)?;
        }
        let identifier = IdentifierRef { system: "crm".into(), value: self.crm_id() };
        let request = RecordInteractionsRequest {
            parent: self.remote.name("sources", &self.source),
            interactions: vec![NewInteraction {
                message_id: format!("visit-{}", self.customers),
                name: "Congress Visited".into(),
                occurred_time: Some(Timestamp::real().to_proto()),
                party: Some(new_interaction::Party::Identifier(identifier)),
                ..Default::default()
            }],
            ..Default::default()
        };
        told(self.remote.sources.clone().record_interactions(request).await)?;
        Ok(())
    }

    /// Waits until the journey has ended; returns the touch, or nothing when nothing was to be said.
    async fn told(&self, party_id: &str) -> anyhow::Result<Option<Touch>> {
        until("the journey ends", async || {
            let request = ListInstancesRequest {
                parent: self.remote.parent.clone(),
                journey_id: self.journey.clone(),
                party_id: party_id.into(),
                ..Default::default()
            };
            let reply = told(self.remote.journeys.clone().list_instances(request).await)?;
            Ok(reply.instances.into_iter().find(|it| it.end_time.is_some()))
        })
        .await?;
        let request = ListTouchesRequest {
            parent: self.remote.parent.clone(),
            party_id: party_id.into(),
            ..Default::default()
        };
        let touches = told(self.remote.delivery.clone().list_touches(request).await)?.touches;
        Ok(touches.into_iter().next())
    }
}

/// Tries again while a name is not known yet, and tells the last reason when that does not end.
async fn retry<T>(
    what: &str,
    mut step: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let give_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        match step().await {
            Err(_) if tokio::time::Instant::now() < give_up => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            done => return done.with_context(|| what.to_owned()),
        }
    }
}

/// A new pack is in force a minute after it was activated, so that every service has it by then.
async fn wait_until(instant: Timestamp) {
    print("   The rules are in force in a minute, so that every service has them by then. Waiting");
    while Timestamp::real() <= instant {
        print(".");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    print("\n");
}

struct Steps {
    number: u32,
    program: String,
}

impl Steps {
    fn say(&mut self, text: &str) {
        self.number += 1;
        print(&format!("\n{}. {text}\n", self.number));
    }

    fn show(&self, command: &str) {
        print(&format!("   see it: {} {command}\n", self.program));
    }
}
