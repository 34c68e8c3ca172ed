//! Asks `profiles` what rules may know about a party.

use std::collections::BTreeMap;

use authored::calendar::Zone;
use chassis::deps::Deps;
use chassis::name;
use eventstore::Timestamp;
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::profiles::v1::{ConsentQuestion, GetFactsRequest, GetFactsResponse, Names};
use tonic::{Code, Status};

use crate::domain::instance::reading::Reading;
use crate::graph::{Consent, Graph};
use crate::view;

/// The source of facts.
pub(crate) const PROFILES: &str = "profiles";

/// What is known about a party at an instant; `None` when there is no such party. `positions` are those of the events
/// that led here: the answer includes them.
pub(crate) async fn read(
    deps: &Deps,
    tenant: &str,
    party_id: &str,
    graph: &Graph,
    at: Timestamp,
    positions: &BTreeMap<String, u64>,
) -> Result<Option<Reading>, Status> {
    let (traits, consents) = (graph.traits(), graph.consents());
    let request = GetFactsRequest {
        name: name::print(tenant, &[("parties", party_id)]),
        time: Some(at.to_proto()),
        traits: Some(Names { ids: traits.into_iter().collect() }),
        // A rule that reads the segments reads them all.
        segments: (!graph.reads_segments()).then(Names::default),
        attributes: None,
        consents: consents.iter().map(question).collect(),
        min_positions: of_profiles(positions),
    };
    let mut profiles = FactsServiceClient::new(deps.peers.to(PROFILES));
    let facts = match profiles.get_facts(request).await {
        Ok(reply) => reply.into_inner(),
        Err(status) if status.code() == Code::NotFound => return Ok(None),
        Err(status) => return Err(status),
    };
    let zones =
        if graph.reads_clock() { zones(deps, tenant, &facts, at).await? } else { Vec::new() };
    Ok(Some(reading(facts, &consents, zones)))
}

/// The part of a position vector that `profiles` knows.
pub(crate) fn of_profiles(positions: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    positions.get(PROFILES).map(|it| (PROFILES.to_owned(), *it)).into_iter().collect()
}

fn question(consent: &Consent) -> ConsentQuestion {
    ConsentQuestion {
        purpose: consent.purpose.into(),
        channel: consent.channel.into(),
        sender_id: consent.sender_id.clone(),
    }
}

async fn zones(
    deps: &Deps,
    tenant: &str,
    facts: &GetFactsResponse,
    at: Timestamp,
) -> Result<Vec<Zone>, Status> {
    match Zone::parse(&facts.time_zone) {
        Ok(zone) => Ok(vec![zone]),
        Err(_) => {
            let zones = view::zone::of_market(deps.store.database(), tenant, &facts.market, at);
            Ok(zones.await.map_err(chassis::status::Problem::from)?)
        }
    }
}

fn reading(facts: GetFactsResponse, asked: &[Consent], zones: Vec<Zone>) -> Reading {
    let verdicts = asked.iter().zip(&facts.consents);
    Reading {
        kind: facts.kind(),
        consents: verdicts.map(|(it, verdict)| (it.key.clone(), verdict.allowed)).collect(),
        market: facts.market,
        language: facts.language,
        time_zone: facts.time_zone,
        state: facts.state,
        attributes: facts.attributes.into_iter().collect(),
        traits: facts.traits.into_iter().collect(),
        segments: facts.segments,
        zones,
        positions: facts.positions.into_iter().collect(),
    }
}
