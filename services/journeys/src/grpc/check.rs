//! The check that asks: which traits and segments exist, which content may be used where, what countries forbid.

use std::collections::{BTreeMap, BTreeSet};

use chassis::name;
use futures::{StreamExt as _, TryStreamExt as _};
use rapport_proto::content::v1::CheckUsableRequest;
use rapport_proto::content::v1::module_service_client::ModuleServiceClient;
use rapport_proto::decisioning::v1::decision_service_client::DecisionServiceClient;
use rapport_proto::decisioning::v1::{CheckOutboundRequest, OutboundEffect};
use rapport_proto::journeys::v1 as proto;
use rapport_proto::profiles::v1::CheckNamesRequest;
use rapport_proto::profiles::v1::facts_service_client::FactsServiceClient;
use rapport_proto::types::{Audience, Channel, ClearKind, ContentClass, Finding};
use tonic::Status;

use super::{Api, unknown};
use crate::domain::journey::State;
use crate::facts;
use crate::graph::{
    CONTENT_NOT_USABLE, COUNTRY_RULE, Findings, Graph, Names, UNKNOWN_SEGMENT, UNKNOWN_TRAIT,
};
use crate::refusal;

/// Questions asked at the same time.
const AT_ONCE: usize = 16;

/// What a check came to.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    /// Positions of the services that were asked.
    pub(super) positions: BTreeMap<String, u64>,
}

/// One thing that would be said to somebody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    node: String,
    module: String,
    channel: Channel,
    market: String,
    audience: Audience,
}

impl Api {
    /// Checks a version that was saved.
    pub(super) async fn check(
        &self,
        tenant: &str,
        state: &State,
        version: u32,
        positions: &BTreeMap<String, u64>,
    ) -> Result<Checked, Status> {
        let definition = state.definitions.get(&version).ok_or_else(|| unknown("version"))?;
        let graph = match Graph::compile(definition, &Names::default()) {
            Ok(graph) => graph,
            Err(findings) => return Ok(Checked { findings, ..Checked::default() }),
        };
        let mut checked = self.check_names(tenant, definition, &graph, positions).await?;
        let uses = uses(&graph);
        let asked: Vec<_> = uses.iter().map(|it| self.check_use(tenant, it, positions)).collect();
        let found: Vec<_> = futures::stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        for (findings, read) in found {
            checked.findings.extend(findings.0);
            for (source, position) in read {
                let known = checked.positions.entry(source).or_insert(0);
                *known = position.max(*known);
            }
        }
        Ok(checked)
    }

    /// Names that belong to `profiles`, and the types of rules that use them.
    async fn check_names(
        &self,
        tenant: &str,
        definition: &proto::Journey,
        graph: &Graph,
        positions: &BTreeMap<String, u64>,
    ) -> Result<Checked, Status> {
        let (traits, segments) = (graph.traits(), graph.segments());
        if traits.is_empty() && segments.is_empty() {
            return Ok(Checked::default());
        }
        let request = CheckNamesRequest {
            parent: name::print(tenant, &[]),
            traits: traits.iter().cloned().collect(),
            segments: segments.iter().cloned().collect(),
            min_positions: facts::of_profiles(positions),
        };
        let mut profiles = FactsServiceClient::new(self.deps.peers.to(facts::PROFILES));
        let reply = profiles.check_names(request).await.map_err(refusal::of_peer)?.into_inner();
        let mut findings = Findings::default();
        for id in traits.iter().filter(|id| !reply.traits.contains_key(*id)) {
            let text =
                format!("The trait {id} is not live: activate it, or take it out of the rules.");
            findings.note(place_of(definition, &format!("traits.{id}")), UNKNOWN_TRAIT, text);
        }
        for id in segments.iter().filter(|id| !reply.segments.contains_key(*id)) {
            let text = format!("The segment {id} is not live: activate it, or name another one.");
            findings.note(place_of(definition, id), UNKNOWN_SEGMENT, text);
        }
        let kind = |kind: i32| ClearKind::try_from(kind).unwrap_or_default();
        let known = reply.traits.iter().map(|(id, it)| (id.clone(), kind(*it))).collect();
        if findings.0.is_empty() {
            let typed = Graph::compile(definition, &Names { traits: Some(known) });
            findings.0.extend(typed.err().unwrap_or_default());
        }
        Ok(Checked { findings: findings.0, positions: reply.positions.into_iter().collect() })
    }

    /// Whether a module may be used there, and whether the country lets it be said.
    async fn check_use(
        &self,
        tenant: &str,
        it: &Use,
        positions: &BTreeMap<String, u64>,
    ) -> Result<(Findings, BTreeMap<String, u64>), Status> {
        let of = |source: &str| -> BTreeMap<String, u64> {
            positions.get(source).map(|at| (source.to_owned(), *at)).into_iter().collect()
        };
        let Use { node, module, channel, market, audience } = it;
        let (place, mut findings) = (format!("nodes.{node}.touch.module"), Findings::default());
        let whom = format!(
            "{} in {market} by {}",
            short(audience.as_str_name()),
            short(channel.as_str_name())
        );
        let mut content = ModuleServiceClient::new(self.deps.peers.to("content"));
        let usable = content.check_usable(CheckUsableRequest {
            name: name::print(tenant, &[("modules", module)]),
            market: market.clone(),
            audience: (*audience).into(),
            channel: (*channel).into(),
            min_positions: of("content"),
            ..Default::default()
        });
        let usable = match usable.await {
            Ok(reply) => reply.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => {
                let text = format!("There is no module {module}: name one that is approved.");
                findings.note(place, CONTENT_NOT_USABLE, text);
                return Ok((findings, BTreeMap::new()));
            }
            Err(status) => return Err(refusal::of_peer(status)),
        };
        let mut read = BTreeMap::from([("content".to_owned(), usable.position)]);
        if !usable.usable {
            let why = [usable.reason.as_str(), usable.detail.as_str()].join(" ");
            let text = format!("{module} may not be used for {whom}: {}.", why.trim());
            findings.note(place, CONTENT_NOT_USABLE, text);
            return Ok((findings, read));
        }
        if usable.content_class() == ContentClass::Unspecified {
            return Ok((findings, read));
        }
        let mut decisioning = DecisionServiceClient::new(self.deps.peers.to("decisioning"));
        let outbound = decisioning.check_outbound(CheckOutboundRequest {
            parent: name::print(tenant, &[]),
            audience: (*audience).into(),
            market: market.clone(),
            channel: (*channel).into(),
            content_class: usable.content_class,
            min_positions: of("decisioning"),
            ..Default::default()
        });
        let outbound = outbound.await.map_err(refusal::of_peer)?.into_inner();
        read.insert("decisioning".to_owned(), outbound.position);
        if outbound.effect() == OutboundEffect::Deny {
            let why = if outbound.rule.is_empty() { &outbound.detail } else { &outbound.rule };
            let class = short(usable.content_class().as_str_name());
            let text = format!("{class} may not be said to {whom}: {why}.");
            findings.note(place, COUNTRY_RULE, text);
        }
        Ok((findings, read))
    }
}

/// Everything that touch nodes with a module would say, to whom the journey is for.
fn uses(graph: &Graph) -> BTreeSet<Use> {
    let mut uses = BTreeSet::new();
    for (node, module, channel) in graph.modules() {
        for market in &graph.markets {
            for audience in &graph.audiences {
                uses.insert(Use {
                    node: node.to_owned(),
                    module: module.to_owned(),
                    channel,
                    market: market.clone(),
                    audience: *audience,
                });
            }
        }
    }
    uses
}

/// The part of the document whose text has a name in it.
fn place_of(definition: &proto::Journey, name: &str) -> String {
    let node = definition.nodes.iter().find(|(_, node)| format!("{node:?}").contains(name));
    match node {
        Some((id, _)) => format!("nodes.{id}"),
        None if definition.exit_when.iter().any(|rule| rule.contains(name)) => {
            "exit_when".to_owned()
        }
        None => "entry".to_owned(),
    }
}

/// An enum's value without its prefix.
fn short(name: &'static str) -> &'static str {
    ["AUDIENCE_", "CHANNEL_", "CONTENT_CLASS_"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}
