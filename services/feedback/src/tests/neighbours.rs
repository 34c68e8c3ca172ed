//! The services whose facts flow into this one: only their stores, and what they would say.

use std::convert::Infallible;

use eventstore::{About, Decider, Metadata, Schema};
use rapport_proto::EventSet;
use rapport_proto::content::v1 as content;
use rapport_proto::delivery::v1 as delivery;
use rapport_proto::delivery::v1::touch_event::Event as Ended;
use rapport_proto::journeys::v1 as journeys;
use rapport_proto::profiles::v1 as profiles;
use rapport_proto::types::ContentClass;

use super::*;

pub(super) fn neighbour(name: &'static str) -> Target {
    let service = |_: &chassis::deps::Deps| chassis::service::Service::new();
    Target { name, schema: Schema::default, reasons: &[], service }
}

/// An aggregate of a neighbour, which says what it is told to.
trait Aggregate: 'static {
    const SOURCE: &'static str;
    const NAME: &'static str;
    type Event: EventSet;
}

/// The neighbour decides nothing.
struct Said<A>(std::marker::PhantomData<A>);

impl<A: Aggregate> Decider for Said<A> {
    const AGGREGATE: &'static str = A::NAME;
    type Command = Vec<A::Event>;
    type State = ();
    type Event = A::Event;
    type Refusal = Infallible;

    fn decide(_: &(), command: Vec<A::Event>, _: Timestamp) -> Result<Vec<A::Event>, Infallible> {
        Ok(command)
    }

    fn evolve(_: (), _: &A::Event) {}

    fn about(_: &str, _: &(), _: &A::Event) -> About {
        About { market: "DE".into(), ..About::default() }
    }
}

macro_rules! aggregates {
    ($($aggregate:ident: $source:literal, $name:literal, $event:ty;)*) => {$(
        enum $aggregate {}
        impl Aggregate for $aggregate {
            const SOURCE: &'static str = $source;
            const NAME: &'static str = $name;
            type Event = $event;
        }
    )*};
}

aggregates! {
    Product: "content", "product", content::product_event::Event;
    Module: "content", "module", content::module_event::Event;
    Touch: "delivery", "touch", delivery::touch_event::Event;
    Instance: "journeys", "instance", journeys::instance_event::Event;
    Party: "profiles", "party", profiles::party_event::Event;
}

impl World {
    /// A neighbour says something; waits until it was heard.
    async fn said<A: Aggregate>(&self, id: &str, event: A::Event) {
        let position = self.says::<A>(id, event).await;
        let feeding = crate::consumers::FEEDS.iter().find(|(source, _)| *source == A::SOURCE);
        let (source, consumer) = feeding.expect("it is listened to");
        let heard = until(async || {
            let handled = self.harness.deps("feedback").handled(consumer, source).await;
            (handled.expect("read") >= position).then_some(())
        });
        heard.await.expect("heard");
    }

    /// A neighbour says something, whether it is heard or not; the position.
    async fn says<A: Aggregate>(&self, id: &str, event: A::Event) -> u64 {
        let store = self.store(A::SOURCE);
        let meta = Metadata {
            tenant: ACME.into(),
            method: "test".into(),
            request_id: format!("said-{}", store.head().position),
            at: self.now(),
            ..Metadata::default()
        };
        store.execute::<Said<A>>(id, &meta, vec![event]).await.expect("written").position
    }

    /// `journeys` asks; the invitation's name.
    pub(super) async fn journey_asks(&self, party_id: &str) -> String {
        let invitation_id = format!("inv_{party_id}");
        let event = journeys::InstanceFeedbackRequested {
            node: "listen".into(),
            visit: 1,
            invitation_id: invitation_id.clone(),
            party_id: party_id.into(),
            survey: "order-nps".into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            expires_at: Some(self.now().plus(DAY).to_proto()),
            about_touch_id: "tch_about".into(),
            instance_id: "ins_1".into(),
            journey_id: "win-back".into(),
        };
        let event = journeys::instance_event::Event::FeedbackRequested(event);
        self.said::<Instance>("ins_1", event).await;
        format!("tenants/{ACME}/invitations/{invitation_id}")
    }

    pub(super) async fn touch_ends(&self, touch_id: &str, how: Ended) {
        self.said::<Touch>(touch_id, how).await;
    }

    pub(super) async fn product(&self, product_id: &str, brand: &str) {
        self.said::<Product>(product_id, registered(product_id, brand)).await;
    }

    /// `content` registers a product, of which nothing is heard here for now.
    pub(super) async fn unheard_product(&self, product_id: &str, brand: &str) {
        self.says::<Product>(product_id, registered(product_id, brand)).await;
    }

    /// `content` approves a module.
    pub(super) async fn approved(&self, module_id: &str, class: ContentClass) {
        let event = content::ModuleApproved { content_class: class.into(), ..Default::default() };
        self.said::<Module>(module_id, content::module_event::Event::Approved(event)).await;
    }

    /// Registers a party that is not known yet.
    pub(super) async fn known(&self, party_id: &str) {
        let database = self.store("feedback").database().clone();
        let found = crate::view::party::look_up(&database, ACME, party_id).await.expect("read");
        if found.is_none() {
            self.party(party_id, "DE", "de").await;
        }
    }

    pub(super) async fn party(&self, party_id: &str, market: &str, language: &str) {
        let event = profiles::PartyRegistered {
            market: market.into(),
            language: language.into(),
            ..Default::default()
        };
        self.said::<Party>(party_id, profiles::party_event::Event::Registered(event)).await;
    }
}

pub(super) fn sent() -> Ended {
    Ended::Sent(delivery::TouchSent::default())
}

pub(super) fn skipped(reason: &str) -> Ended {
    Ended::Skipped(delivery::TouchSkipped { reason: reason.into(), ..Default::default() })
}

pub(super) fn failed(code: &str) -> Ended {
    Ended::Failed(delivery::TouchFailed { code: code.into(), ..Default::default() })
}

fn registered(product_id: &str, brand: &str) -> content::product_event::Event {
    let product = content::Product {
        product_id: product_id.into(),
        brand: brand.into(),
        ..Default::default()
    };
    let event = content::ProductRegistered { product: Some(product) };
    content::product_event::Event::Registered(event)
}
