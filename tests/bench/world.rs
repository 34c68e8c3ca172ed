//! A platform on which something may be decided and said: a country's rules in force, approved content, a sender,
//! customers who agreed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use eventstore::Timestamp;
use futures::{StreamExt as _, TryStreamExt as _};
use rapport::demo::Cast;
use rapport::remote::{Remote, told};
use rapport_proto::content::v1::{AddReferenceRequest, Product, Reference, RegisterProductRequest};
use rapport_proto::delivery::v1::{RegisterSenderRequest, Sender};
use rapport_proto::profiles::v1::{
    ConsentKey, ContactPoint, NewInteraction, RecordConsentRequest, RecordInteractionsRequest,
    RegisterPartyRequest, RegisterSourceRequest, Verification, consent, new_interaction,
};
use rapport_proto::types::{Channel, Clear, PartyKind, Purpose, Regime, clear};

use crate::Bench;
use crate::site::{On, Site};

/// In whose name everything is said.
pub(crate) const SENDER: &str = "northwind";
/// Clear attributes of a customer.
const ATTRIBUTES: usize = 20;
/// Calls on their way while it is furnished.
const AT_ONCE: usize = 32;
const HOUR: Duration = Duration::from_secs(3_600);

/// The platform and its people.
pub(crate) struct World {
    pub(crate) site: Site,
    pub(crate) cast: Cast,
}

impl World {
    /// Furnished with modules `letter-0`, `letter-1` … and a policy, on a simulated clock that stands an hour ago; then
    /// the real clock goes on with the same data.
    pub(crate) async fn open(bench: &Bench, on: On, modules: usize, policy: &str) -> Result<Self> {
        let site = Site::start(bench, on, &["clock.mode=simulated"]).await?;
        let cast = site.cast()?;
        let (mut time, start) = (site.time()?, Timestamp::real().minus(HOUR));
        time.set(start).await?;
        let in_force = start.plus(Duration::from_secs(120));
        cast.put_pack_in_force(include_str!("world/de.yaml"), Some(in_force)).await?;
        time.reach(in_force.plus(Duration::from_secs(60))).await?;
        library(&cast.author).await?;
        for (id, yaml) in [
            ("onset", include_str!("world/claim.yaml")),
            ("side-effects", include_str!("world/safety.yaml")),
        ] {
            cast.approve_claim(id, yaml).await.with_context(|| format!("claim {id}"))?;
        }
        for number in 0..modules {
            let yaml = include_str!("world/letter.yaml")
                .replace("TOPIC", &format!("topic-{}", number % 10));
            cast.approve_module(&format!("letter-{number}"), &yaml).await.context("a letter")?;
        }
        source_and_sender(&cast.author).await?;
        cast.save_trait(include_str!("world/trait.yaml")).await?;
        time.settle().await?;
        cast.put_policy_live(policy).await.context("the policy")?;
        time.settle().await?;
        let site = site.again(&[]).await?;
        let cast = site.cast()?;
        Ok(Self { site, cast })
    }

    /// Registers customers with [`ATTRIBUTES`] and five orders, who agreed to hear from the sender by e-mail.
    pub(crate) async fn physicians(&self, count: usize) -> Result<Vec<String>> {
        let remote = &self.cast.author;
        let registered = futures::stream::iter(0..count).map(|it| physician(remote, it));
        let ids: Vec<String> = registered.buffered(AT_ONCE).try_collect().await?;
        for (number, party_ids) in ids.chunks(50).enumerate() {
            orders(remote, number, party_ids).await?;
        }
        Ok(ids)
    }
}

async fn library(remote: &Remote) -> Result<()> {
    let product = Product {
        product_id: "relievia".into(),
        brand: "Relievia".into(),
        indications: vec!["migraine".into()],
        markets: vec!["DE".into()],
    };
    let request = RegisterProductRequest {
        parent: remote.parent.clone(),
        product: Some(product),
        ..Default::default()
    };
    told(remote.library.clone().register_product(request).await)?;
    let reference = Reference {
        reference_id: "study".into(),
        citation: "An invented study".into(),
        ..Reference::default()
    };
    let request = AddReferenceRequest {
        parent: remote.parent.clone(),
        reference: Some(reference),
        ..Default::default()
    };
    told(remote.library.clone().add_reference(request).await)?;
    Ok(())
}

async fn source_and_sender(remote: &Remote) -> Result<()> {
    let sender = Sender {
        sender_id: SENDER.into(),
        legal_entity: "Northwind Pharma GmbH".into(),
        from_address: "news@northwind.example".into(),
        from_name: "Northwind".into(),
        ..Sender::default()
    };
    let request = RegisterSenderRequest {
        parent: remote.parent.clone(),
        sender: Some(sender),
        ..Default::default()
    };
    told(remote.delivery.clone().register_sender(request).await)?;
    let request = RegisterSourceRequest {
        parent: remote.parent.clone(),
        source_id: "shop".into(),
        owner: "bench".into(),
        ..Default::default()
    };
    told(remote.sources.clone().register_source(request).await)?;
    Ok(())
}

async fn physician(remote: &Remote, number: usize) -> Result<String> {
    let request = RegisterPartyRequest {
        parent: remote.parent.clone(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        language: "en".into(),
        time_zone: "Europe/Berlin".into(),
        attributes: attributes(number),
        contact_points: vec![ContactPoint {
            channel: Channel::Email.into(),
            value: format!("physician-{number}@example.org"),
            verification: Verification::Verified.into(),
            ..ContactPoint::default()
        }],
        request_id: format!("register-{number}"),
        ..Default::default()
    };
    let party = told(remote.parties.clone().register_party(request).await)?.party;
    let party_id = party.context("a party")?.party_id;
    let key = ConsentKey {
        party_id: party_id.clone(),
        purpose: Purpose::Promotional.into(),
        channel: Channel::Email.into(),
        sender_id: SENDER.into(),
        market: "DE".into(),
    };
    let request = RecordConsentRequest {
        parent: remote.parent.clone(),
        key: Some(key),
        state: consent::State::Granted.into(),
        regime_shown: Regime::OptIn.into(),
        source: "form".into(),
        text_version: "v1".into(),
        ..Default::default()
    };
    told(remote.consents.clone().record_consent(request).await)?;
    Ok(party_id)
}

/// Visits are 0 to 9, alike often.
fn attributes(number: usize) -> BTreeMap<String, Clear> {
    let clear = |value| Clear { value: Some(value) };
    let number_of = |it: usize| clear(clear::Value::Number(f64::from((it % 1_000) as u16)));
    let mut all: BTreeMap<_, _> =
        (3..ATTRIBUTES).map(|it| (format!("field_{it}"), number_of(number * it))).collect();
    all.insert("specialty".into(), clear(clear::Value::Code("oncology".into())));
    all.insert("digital".into(), clear(clear::Value::Flag(true)));
    all.insert("visits".into(), number_of(number % 10));
    all
}

async fn orders(remote: &Remote, batch: usize, party_ids: &[String]) -> Result<()> {
    let order = |(number, party_id): (usize, &String)| NewInteraction {
        message_id: format!("order-{batch}-{number}"),
        name: "Order Completed".into(),
        occurred_time: Some(Timestamp::real().to_proto()),
        party: Some(new_interaction::Party::PartyId(party_id.clone())),
        ..NewInteraction::default()
    };
    let interactions = party_ids.iter().cycle().take(5 * party_ids.len()).enumerate().map(order);
    let request = RecordInteractionsRequest {
        parent: remote.name("sources", "shop"),
        interactions: interactions.collect(),
        ..Default::default()
    };
    told(remote.sources.clone().record_interactions(request).await)?;
    Ok(())
}
