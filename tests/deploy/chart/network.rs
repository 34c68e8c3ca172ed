//! Network policies allow what the call graph of the code says, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use chassis::auth::edges::EDGES;
use serde_json::Value;

use super::helm::{chart, scenario, scenarios};
use super::objects::{items, of, selects, workloads};
use super::yaml;
use crate::read;

type Edges = BTreeSet<(String, String)>;

/// Who may reach whom, by the file that is generated from the code.
fn graph() -> Edges {
    let graph = yaml::document(&read(&chart().join("files/graph.yaml")));
    let mut edges = Edges::new();
    for (from, links) in graph.as_object().expect("a map") {
        for to in ["calls", "forwards", "reads"].iter().flat_map(|it| items(&links[it])) {
            let to = to.as_str().expect("a name");
            if to != from {
                edges.insert((from.clone(), to.to_owned()));
            }
        }
    }
    edges
}

/// The pods that the peers of a rule stand for; nothing when it is open to all.
fn named(peers: &Value, pods: &[(String, &Value)]) -> Option<BTreeSet<String>> {
    let peers = peers.as_array()?;
    let selectors = peers.iter().map(|it| &it["podSelector"]["matchLabels"]);
    let all = selectors.flat_map(|it| pods.iter().filter(|(_, labels)| selects(it, labels)));
    Some(all.map(|(name, _)| name.clone()).collect())
}

/// Edges that `direction` of the policies opens on the port of calls, and whose pods anybody may call.
fn opened(objects: &[Value], direction: &str) -> (Edges, BTreeSet<String>) {
    let found = workloads(objects);
    let pods: Vec<_> = found.iter().map(|it| (it.component().to_owned(), it.labels)).collect();
    let (mut edges, mut open) = (Edges::new(), BTreeSet::new());
    for policy in of(objects, "NetworkPolicy") {
        let mine = named(&serde_json::json!([policy["spec"]]), &pods).unwrap_or_default();
        let peers = if direction == "ingress" { "from" } else { "to" };
        for rule in items(&policy["spec"][direction]) {
            if !items(&rule["ports"]).iter().any(|it| it["port"] == "grpc") {
                continue;
            }
            let Some(others) = named(&rule[peers], &pods) else {
                open.extend(mine.clone());
                continue;
            };
            for (mine, other) in mine.iter().flat_map(|it| others.iter().map(move |to| (it, to))) {
                let (from, to) = if direction == "ingress" { (other, mine) } else { (mine, other) };
                edges.insert((from.clone(), to.clone()));
            }
        }
    }
    (edges, open)
}

#[test]
fn policies_allow_the_call_graph_and_no_more() {
    let mut wanted = graph();
    let (ingress, open) = opened(&scenario("minimal").objects, "ingress");
    assert_eq!(ingress, wanted, "who may come in");
    assert_eq!(open, BTreeSet::from(["gateway".to_owned()]), "only the gateway is open to all");

    let (ingress, open) = opened(&scenario("netpol-strict").objects, "ingress");
    wanted.insert(("smoke".into(), "gateway".into()));
    assert_eq!((ingress, open), (wanted.clone(), BTreeSet::new()), "nothing is open");
    let (egress, open) = opened(&scenario("netpol-strict").objects, "egress");
    assert_eq!((egress, open), (wanted, BTreeSet::new()), "who may go out");
}

/// What tokens between targets allow is that table of the code.
#[test]
fn the_graph_has_the_allowed_calls_and_no_others() {
    let graph = yaml::document(&read(&chart().join("files/graph.yaml")));
    let calls = |(from, links): (&String, &Value)| {
        let to = items(&links["calls"]).iter().filter_map(Value::as_str);
        to.map(|to| (from.clone(), to.to_owned())).collect::<Vec<_>>()
    };
    let found: Edges = graph.as_object().expect("a map").into_iter().flat_map(calls).collect();
    let allowed = EDGES.iter().map(|it| (it.from.to_owned(), it.to.to_owned()));
    assert_eq!(found, allowed.collect());
}

#[test]
fn every_pod_has_a_policy_for_both_directions() {
    for scenario in scenarios() {
        let policies = of(&scenario.objects, "NetworkPolicy");
        if policies.is_empty() {
            assert!(["dev", "pod-monitor"].contains(&scenario.name.as_str()), "{}", scenario.name);
            continue;
        }
        for workload in workloads(&scenario.objects) {
            let mut mine = policies.iter().filter(|it| {
                selects(&it["spec"]["podSelector"]["matchLabels"], workload.labels)
                    && it["spec"]["policyTypes"] == serde_json::json!(["Ingress", "Egress"])
            });
            assert!(mine.next().is_some(), "{} {}", scenario.name, workload.component());
        }
    }
}

#[test]
fn a_target_knows_where_those_are_that_it_may_reach() {
    let mut known: BTreeMap<_, Vec<String>> = BTreeMap::new();
    let objects = &scenario("minimal").objects;
    for map in of(objects, "ConfigMap") {
        let from = map["metadata"]["labels"]["app.kubernetes.io/component"].as_str();
        let text = map["data"]["rapport.toml"].as_str().unwrap_or_default();
        let peers = text.split_once("[peers]").map(|it| it.1).unwrap_or_default();
        let peers = peers.lines().skip(1).take_while(|it| !it.is_empty());
        let peers = peers.filter_map(|it| it.split_once(" = ")).map(|it| it.0.to_owned());
        known.insert(from.unwrap_or_default(), peers.collect());
    }
    let all =
        known.iter().flat_map(|(from, to)| to.iter().map(|it| ((*from).to_owned(), it.clone())));
    assert_eq!(all.collect::<Edges>(), graph());
}
