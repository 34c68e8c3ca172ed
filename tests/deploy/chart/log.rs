//! Accounts of the log in the release: what the program prints, for the prefix of the release, and what the graph says.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::helm::{chart, scenario, succeeds, template};
use super::objects::{items, name, of};
use super::yaml;
use crate::{PROGRAM, read, tool};

/// The configuration for nats-server in a scenario with another prefix than the usual one.
fn accounts() -> &'static str {
    let maps = of(&scenario("secrets-each").objects, "ConfigMap").into_iter();
    let map = maps.filter(|it| name(it) == "r-rapport-nats-accounts").collect::<Vec<_>>();
    map[0]["data"]["accounts.conf"].as_str().expect("a file")
}

#[test]
fn accounts_are_those_that_the_program_prints() {
    let mut program = Command::new(PROGRAM);
    let printed = succeeds(program.args(["reference", "nats", "--set=log.prefix=cx"]));
    assert!(accounts() == printed, "{}", accounts());
}

#[test]
fn accounts_may_be_where_the_servers_are() {
    let mut elsewhere = template(&scenario("secrets-each").files);
    elsewhere.arg("--set=nats.accounts.namespace=nats");
    let objects = yaml::documents(&succeeds(&mut elsewhere)).expect("YAML");
    let there = objects.iter().filter(|it| it["metadata"]["namespace"] == "nats");
    assert_eq!(there.map(name).collect::<Vec<_>>(), ["r-rapport-nats-accounts"]);
    // Nobody asked for them.
    let usual = &scenario("minimal").objects;
    assert!(!usual.iter().any(|it| name(it).ends_with("-nats-accounts")));
}

#[test]
fn a_server_takes_the_accounts() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("accounts.conf");
    fs::write(&file, accounts()).expect("written");
    let mut server = tool("nats-server");
    for (target, _) in permissions() {
        server.env(format!("RAPPORT_NATS_PASSWORD_{}", target.to_uppercase()), "p0");
    }
    succeeds(server.arg("-t").arg("-c").arg(&file));
}

#[test]
fn permissions_follow_from_the_graph() {
    let graph = yaml::document(&read(&chart().join("files/graph.yaml")));
    let graph = graph.as_object().expect("a map");
    let found = permissions();
    assert_eq!(found.len(), graph.len());
    for (target, publish) in &found {
        let target = *target;
        let reads = items(&graph[target]["reads"]).iter().filter_map(|it| it.as_str());
        let reads: BTreeSet<_> = reads.chain([target]).collect();
        let of = |before: &str, after: &str| -> BTreeSet<_> {
            let cut = publish.iter().filter_map(|it| it.strip_prefix(before)?.strip_suffix(after));
            cut.collect()
        };
        let imported = |source: &&str| {
            let subject = format!("cx-log.{source}.CONSUMER.MSG.NEXT.cx-{source}.>");
            publish.contains(&subject.as_str())
        };
        let all = found.iter().map(|it| it.0);
        let imported: BTreeSet<_> = all.filter(imported).chain([target]).collect();
        assert_eq!(imported, reads, "{target} reads");
        assert_eq!(of("$JS.API.CONSUMER.MSG.NEXT.cx-", ".>"), BTreeSet::from([target]));
        assert_eq!(of("cx.", ".>"), BTreeSet::from([target]), "{target} publishes");
        assert_eq!(of("$JS.API.STREAM.CREATE.cx-", ""), BTreeSet::from([target]), "{target} makes");
    }
}

/// Targets, and the subjects each may publish to.
fn permissions() -> Vec<(&'static str, Vec<&'static str>)> {
    let users = accounts().split("{ user: ").skip(1);
    let of = |user: &'static str| {
        let (target, rest) = user.split_once(',').expect("a name");
        let (_, rest) = rest.split_once("publish: { allow: [").expect("subjects");
        let (list, _) = rest.split_once(']').expect("an end");
        (target, list.split(", ").map(|it| it.trim_matches('"')).collect())
    };
    users.map(of).collect()
}
