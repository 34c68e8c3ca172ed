//! The chart's life: the real helm installs, tests, upgrades, rolls back and removes it, on a cluster that is as much of
//! Kubernetes as that takes, and the real program runs in the pods.
//!
//! What this cluster is: an API server that admits what the schemas and the restricted profile admit; controllers of
//! Deployments and Jobs; pods as processes in network and mount namespaces of their own, with volumes, variables, probes,
//! hooks and restarts as the manifests say; Services as forwarders to ready pods; names in `/etc/hosts`. What it is not: no
//! scheduler, no limits of CPU and memory, no RBAC, no NetworkPolicy, no ownership of fields, no autoscaler, no Ingress.
//! There is no release yet: what is upgraded is the same version, with other settings.

mod admission;
mod api;
mod cluster;
mod controllers;
mod kinds;
mod kubelet;
mod load;
mod network;
mod objects;

use rapport::targets::TARGETS;

use cluster::Cluster;
use kubelet::Ended;
use load::Load;

/// Two pods of each target, which are replaced and looked at more often than in real life.
const QUICK: &str = "
defaults:
  preStopSeconds: 2
  drainSeconds: 15
  terminationGracePeriodSeconds: 30
  minReadySeconds: 1
  probes:
    startup: {periodSeconds: 1}
    readiness: {periodSeconds: 1}
    liveness: {periodSeconds: 2, timeoutSeconds: 4, failureThreshold: 5}
database: {runtimeRole: \"{service}-serving\"}
migrations: {databaseSecret: migrator, backoffLimit: 0}
nats: {url: \"\", urlKey: url, accounts: {enabled: true}}
services:
";

fn quick() -> String {
    let secret = |it: &str| format!("  {it}: {{natsSecret: nats-{it}}}\n");
    QUICK.to_owned() + &TARGETS.iter().map(|it| secret(it.name)).collect::<String>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_pod_is_installed_tested_and_removed() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.install("mode: single\n").await;
    cluster.helm("test", &[]).await.expect("the smoke test");
    cluster.helm("uninstall", &["--wait"]).await.expect("removed");
    cluster.is_empty().await;
}

/// As tools install that know no hooks: pods start beside the Job that migrates, and are ready after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_that_show_certificates_are_migrated_by_a_job() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.rights();
    cluster.certificates();
    let values = quick().replace("defaults:\n", "defaults:\n  replicas: 1\n");
    let values = values.replace("migrations: {", "migrations: {mode: job, ");
    let values = values + "tls: {enabled: true, mutual: true, existingSecret: certificates}\n";
    cluster.install(&values).await;
    assert!(cluster.happened("jobs", "") < cluster.happened("pods", "Ready"), "order");
    assert_eq!((cluster.serving().len(), cluster.count("jobs")), (TARGETS.len(), 1));
    cluster.helm("test", &[]).await.expect("the smoke test");
    let before = cluster.serving();
    cluster.upgrade(&values, &["--set=log.level=warn"]).await.expect("an upgrade");
    // Nothing is to be migrated, so nobody waited for the pod that looks whether something is.
    cluster.eventually("the second Job ends", || cluster.serving().len() == 9).await;
    assert!(cluster.serving().iter().all(|it| !before.contains(it)), "{before:?}");
    assert_eq!(cluster.count("jobs"), 2, "one for each revision");
    cluster.helm("test", &[]).await.expect("the smoke test");
    cluster.helm("uninstall", &["--wait"]).await.expect("removed");
    cluster.is_empty().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_every_target_live_through_what_operators_do() {
    let Some(cluster) = Cluster::start().await else { return };
    cluster.rights();
    let values = quick();
    cluster.install(&values).await;
    assert!(cluster.happened("jobs", "Complete") < cluster.happened("deployments", ""), "order");
    assert_eq!(cluster.serving().len(), 2 * TARGETS.len());
    cluster.helm("test", &[]).await.expect("the smoke test");
    let before = cluster.complaints();
    let load = Load::start(&cluster);
    load.goes_on().await;
    let complaints = cluster.complaints();
    let complaints: Vec<_> = complaints.difference(&before).collect();
    assert!(complaints.is_empty(), "nothing is wrong yet: {complaints:#?}");

    // A process dies, and one hangs: both are started again where they are.
    let pods = cluster.pods_of("profiles");
    cluster.kubelet.signal(&pods[0], "KILL");
    let pods = cluster.pods_of("delivery");
    cluster.kubelet.signal(&pods[1], "STOP");
    cluster.eventually("both are started again", || cluster.restarts() == 2).await;
    cluster.eventually("all are ready again", || cluster.serving().len() == 18).await;
    load.goes_on().await;

    // Every pod is replaced, under load.
    let (before, unavailable) = (cluster.serving(), load.unavailable());
    cluster.upgrade(&values, &["--set=log.level=warn"]).await.expect("an upgrade");
    let after = cluster.serving();
    assert_eq!((after.len(), after.iter().filter(|it| before.contains(it)).count()), (18, 0));
    load.goes_on().await;
    assert_eq!(load.unavailable(), unavailable, "no pod that is drained says to call again");

    // What cannot be migrated is not served; what cannot be pulled takes nobody's place.
    let broken = ["--set=migrations.databaseSecret=nowhere", "--timeout=60s"];
    let told = cluster.upgrade(&values, &broken).await.expect_err("no such database");
    assert!(told.contains("pre-upgrade"), "{told}");
    assert_eq!(cluster.serving(), after);
    let missing = ["--set=image.tag=missing,migrations.enabled=false", "--timeout=8s"];
    cluster.upgrade(&values, &missing).await.expect_err("no such image");
    assert_eq!(cluster.serving(), after);
    load.goes_on().await;

    // Back to what was installed: all is replaced again, and nothing is migrated.
    let (migrations, before) = (cluster.count("jobs"), load.unavailable());
    cluster.helm("rollback", &["1", "--wait", "--timeout=400s"]).await.expect("a rollback");
    assert_eq!(cluster.count("jobs"), migrations, "it runs no hook");
    assert_eq!(cluster.serving().len(), 18);
    load.goes_on().await;
    assert_eq!(load.unavailable(), before, "nor did one now");
    let done = load.end().await;
    let known = cluster.postgres.psql("profiles", "SELECT DISTINCT stream FROM event");
    let known: Vec<_> = known.lines().filter_map(|it| it.trim().strip_prefix("party/")).collect();
    let lost: Vec<_> = done.iter().filter(|it| !known.contains(&it.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), done.len());
    assert_eq!(
        known.len(),
        done.len() + 1,
        "one more is of the smoke test, and none is there twice"
    );

    cluster.helm("uninstall", &["--wait"]).await.expect("removed");
    // What a failed hook leaves is there to be looked at.
    cluster.remove_failed_hooks().await;
    cluster.is_empty().await;
    let known = cluster.kubelet.known();
    let badly = |it: &&kubelet::End| it.why == Ended::Deleted && it.code != 0;
    let badly: Vec<_> = known.ends.iter().filter(badly).map(|it| (&it.pod, it.code)).collect();
    assert!(badly.is_empty(), "not within their time: {badly:?}");
    let drained = known.ends.iter().filter(|it| it.why == Ended::Deleted).count();
    assert_eq!(drained, 3 * 18, "those of two roll-outs, and of the end");
}

/// What is asserted of pods above is so because a cluster refuses other pods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_refuses_is_refused() {
    let Some(cluster) = Cluster::start().await else { return };
    let pod = |spec: &str| {
        format!(
            "mode: single\nextraObjects:\n  - apiVersion: v1\n    kind: Pod\n    metadata: {{name: x}}\n    spec: {spec}\n"
        )
    };
    for (spec, why) in [
        ("{containers: [{name: x, image: x}]}", "forbidden"),
        ("{containers: [{name: x, image: x, colour: red}]}", "colour"),
    ] {
        let told = cluster.try_install(&pod(spec)).await.expect_err("refused");
        assert!(told.contains(why), "{why}: {told}");
        cluster.helm("uninstall", &[]).await.expect("removed");
    }
}
