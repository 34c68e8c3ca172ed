//! What must be there before the first order: rules, approved content, who the customers are and what they allowed,
//! how the next best action is decided, whom nothing is said to, and what is measured.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use rapport_proto::content::v1::{AddReferenceRequest, Product, Reference, RegisterProductRequest};
use rapport_proto::decisioning::v1::{HoldoutStarted, StartHoldoutRequest};
use rapport_proto::delivery::v1::{RegisterSenderRequest, Sender};
use rapport_proto::kpis::v1::{Experiment, StartExperimentRequest, experiment};
use rapport_proto::profiles::v1::{
    ClearField, ConsentKey, ContactPoint, Identifier, RecordConsentRequest, RegisterPartyRequest,
    RegisterSourceRequest, Verification, consent,
};
use rapport_proto::types::{Channel, ClearKind, ContentClass, PartyKind, Purpose, Regime};

use super::history::{self, History, START, Said};
use super::{AT_ONCE, Stage};
use crate::remote::{Remote, told};

macro_rules! document {
    ($name:literal) => {
        include_str!(concat!("../../../demo/orders/", $name))
    };
}

/// The holdout, and the experiment that compares its arms.
pub(super) const HOLDOUT: &str = "win-back-holdout";
pub(super) const EXPERIMENT: &str = "win-back-effect";
/// Share of the customers to whom nothing promotional is said.
pub(super) const HELD_OUT: f64 = 0.2;
/// The 30 days in which orders count.
const WINDOW: Duration = Duration::from_secs(30 * 86_400);
const SENDER: &str = "northwind";
const SOURCE: &str = "shop";
/// The shop's key; the platform that it opens is this machine's.
pub(super) const WRITE_KEY: &str = "demo-orders-write-key";

/// Sets everything up; returns the numbers of the customers by party id.
pub(super) async fn set(
    stage: &mut Stage,
    history: &History,
) -> anyhow::Result<BTreeMap<String, String>> {
    stage.time.set(START).await?;
    let cast = stage.cast.clone();
    let in_force = START.plus(Duration::from_secs(120));
    for pack in [document!("us.yaml"), document!("de.yaml")] {
        cast.put_pack_in_force(pack, Some(in_force)).await?;
    }
    library(&cast.author).await?;
    stage.time.reach(in_force.plus(Duration::from_secs(1))).await?;

    cast.approve_claim("supply", document!("claim.yaml")).await?;
    cast.approve_claim("side-effects", document!("safety.yaml")).await?;
    for (module, yaml) in [
        ("offer", document!("offer.yaml")),
        ("news", document!("news.yaml")),
        ("order-survey", document!("invitation.yaml")),
    ] {
        cast.approve_module(module, yaml).await?;
    }
    for yaml in [document!("orders.yaml"), document!("days.yaml")] {
        cast.save_trait(yaml).await?;
    }
    cast.save_segment(document!("lapsing.yaml")).await?;
    sender_and_source(&cast.author).await?;
    stage.time.settle().await?;

    cast.put_policy_live(document!("policy.yaml")).await?;
    cast.put_survey_live(document!("survey.yaml")).await?;
    for yaml in document!("metrics.yaml").split("---\n") {
        cast.put_metric_live(yaml).await?;
    }
    holdout(&cast.author, history).await?;
    stage.time.settle().await?;
    cast.publish_journey(document!("journey.yaml")).await?;
    let customers = customers(&cast.author, history).await?;
    stage.time.settle().await?;
    Ok(customers)
}

async fn library(author: &Remote) -> anyhow::Result<()> {
    let product = Product {
        product_id: "relievia".into(),
        brand: "Relievia".into(),
        indications: vec!["migraine".into()],
        markets: vec!["US".into(), "DE".into()],
    };
    let request = RegisterProductRequest {
        parent: author.parent.clone(),
        product: Some(product),
        ..Default::default()
    };
    told(author.library.clone().register_product(request).await)?;
    let reference = Reference {
        reference_id: "supply-study".into(),
        citation: "Supply study, data on file (an invented example)".into(),
        ..Default::default()
    };
    let request = AddReferenceRequest {
        parent: author.parent.clone(),
        reference: Some(reference),
        ..Default::default()
    };
    told(author.library.clone().add_reference(request).await)?;
    Ok(())
}

async fn sender_and_source(author: &Remote) -> anyhow::Result<()> {
    let sender = Sender {
        sender_id: SENDER.into(),
        legal_entity: "Northwind Pharma GmbH".into(),
        brand: "Relievia".into(),
        from_address: "news@northwind.example".into(),
        from_name: "Northwind Pharma".into(),
        ..Default::default()
    };
    let request = RegisterSenderRequest {
        parent: author.parent.clone(),
        sender: Some(sender),
        ..Default::default()
    };
    told(author.delivery.clone().register_sender(request).await)?;
    let field = |name: &str, kind: ClearKind| ClearField { name: name.into(), kind: kind.into() };
    let request = RegisterSourceRequest {
        parent: author.parent.clone(),
        source_id: SOURCE.into(),
        owner: "shop team".into(),
        clear_fields: vec![
            field("revenue", ClearKind::Money),
            field("quantity", ClearKind::Number),
        ],
        write_key: WRITE_KEY.into(),
        ..Default::default()
    };
    told(author.sources.clone().register_source(request).await)?;
    Ok(())
}

async fn holdout(author: &Remote, history: &History) -> anyhow::Result<()> {
    let holdout = HoldoutStarted {
        holdout_id: HOLDOUT.into(),
        salt: "cdnow".into(),
        share: HELD_OUT,
        content_classes: vec![ContentClass::RxPromotional.into()],
        period: "1997".into(),
    };
    let request = StartHoldoutRequest {
        parent: author.parent.clone(),
        holdout: Some(holdout),
        ..Default::default()
    };
    told(author.decisions.clone().start_holdout(request).await)?;
    let experiment = Experiment {
        experiment: EXPERIMENT.into(),
        assigned_by: Some(experiment::AssignedBy::Holdout(HOLDOUT.into())),
        outcome: "Order Completed".into(),
        window: "30d".into(),
        control_share: HELD_OUT,
        // Whoever is reached later has no 30 days of orders left.
        until: Some(history.end().minus(WINDOW).to_proto()),
        ..Default::default()
    };
    let request = StartExperimentRequest {
        parent: author.parent.clone(),
        experiment: Some(experiment),
        ..Default::default()
    };
    told(author.experiments.clone().start_experiment(request).await)?;
    Ok(())
}

/// Who the customers are, as a CRM would tell it, and what they said to e-mail.
async fn customers(author: &Remote, history: &History) -> anyhow::Result<BTreeMap<String, String>> {
    let all = stream::iter(&history.customers).map(|customer| async move {
        let party_id = register(author, customer).await?;
        for purpose in [Purpose::Promotional, Purpose::Research] {
            record_consent(author, customer, &party_id, purpose).await?;
        }
        anyhow::Ok((party_id, customer.clone()))
    });
    all.buffer_unordered(AT_ONCE).try_collect().await
}

async fn register(author: &Remote, customer: &str) -> anyhow::Result<String> {
    let market = history::market(customer);
    let time_zone = if market == "DE" { "Europe/Berlin" } else { "America/New_York" };
    let salutation = format!("Dear pharmacist {customer}");
    let request = RegisterPartyRequest {
        parent: author.parent.clone(),
        kind: PartyKind::Pharmacist.into(),
        market: market.into(),
        language: "en".into(),
        time_zone: time_zone.into(),
        personal_attributes: [("salutation".to_owned(), salutation)].into(),
        identifiers: vec![Identifier {
            system: "user-id".into(),
            value: customer.into(),
            ..Default::default()
        }],
        contact_points: vec![ContactPoint {
            channel: Channel::Email.into(),
            value: format!("pharmacist-{customer}@example.org"),
            verification: Verification::Verified.into(),
            ..Default::default()
        }],
        request_id: format!("orders/party/{customer}"),
        ..Default::default()
    };
    let party = told(author.parties.clone().register_party(request).await)?.party;
    Ok(party.unwrap_or_default().party_id)
}

async fn record_consent(
    author: &Remote,
    customer: &str,
    party_id: &str,
    purpose: Purpose,
) -> anyhow::Result<()> {
    let (state, text_version) = match history::said(customer) {
        Said::Nothing => return Ok(()),
        Said::Yes => (consent::State::Granted, "1996-12"),
        Said::No => (consent::State::Denied, ""),
    };
    let market = history::market(customer);
    let regime = if market == "DE" { Regime::OptIn } else { Regime::OptOut };
    let request = RecordConsentRequest {
        parent: author.parent.clone(),
        key: Some(ConsentKey {
            party_id: party_id.into(),
            purpose: purpose.into(),
            channel: Channel::Email.into(),
            sender_id: SENDER.into(),
            market: market.into(),
        }),
        state: state.into(),
        regime_shown: regime.into(),
        source: "assigned-by-hash".into(),
        text_version: text_version.into(),
        language: "en".into(),
        request_id: format!("orders/consent/{customer}/{}", purpose.as_str_name()),
        ..Default::default()
    };
    told(author.consents.clone().record_consent(request).await)?;
    Ok(())
}
