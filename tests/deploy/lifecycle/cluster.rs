//! The cluster, and the servers outside it.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chassis::testing::{AUDIENCE, Authority, OidcIssuer};
use eventstore::testing::{NatsServer, Postgres};
use rapport::targets::TARGETS;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::PROGRAM;
use crate::chart::helm::{chart, helm, outcome, succeeds, told};

use super::admission::Admission;
use super::api::{self, Api};
use super::controllers;
use super::kubelet::Kubelet;
use super::network::{self, Network};
use super::objects::{NAMESPACE, Objects, holds, name};

const RELEASE: &str = "r";
const PASSWORD: &str = "a-password-of-the-log";

/// Everything ends when it is dropped.
pub(super) struct Cluster {
    pub(super) objects: Arc<Objects>,
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) postgres: Postgres,
    network: Arc<Network>,
    folder: TempDir,
    issuer: OidcIssuer,
    _nats: NatsServer,
    /// Ends only when something here is wrong.
    work: Mutex<JoinSet<()>>,
}

impl Cluster {
    /// `None` where this process may not do what that takes.
    pub(super) async fn start() -> Option<Self> {
        if !network::is_permitted() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (objects, mut work) = (Arc::new(Objects::new()), JoinSet::new());
        let network = Arc::new(Network::start(folder.path()));
        let (postgres, nats) = (Postgres::start(), NatsServer::configured(&accounts()));
        let issuer = OidcIssuer::start().await;
        network.add_external("postgres", 5432, address(&postgres.url("postgres"))).await;
        network.add_external("nats", 4222, address(&nats.url())).await;
        network.add_external("issuer", 80, issuer.address()).await;

        let api = Api { objects: objects.clone(), admission: Admission::start() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let server = format!("http://{}", listener.local_addr().expect("bound"));
        work.spawn(async move {
            axum::serve(listener, api::router(api)).await.expect("serves");
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": server}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
        });
        fs::write(folder.path().join("kubeconfig"), config.to_string()).expect("written");

        let (image, pods) = (folder.path().join("image"), folder.path().join("pods"));
        fs::create_dir_all(image.join("etc/ssl/certs")).expect("a folder");
        fs::create_dir(&pods).expect("a folder");
        fs::copy(PROGRAM, image.join("rapport")).expect("copied");
        let authorities = "etc/ssl/certs/ca-certificates.crt";
        fs::copy(Path::new("/").join(authorities), image.join(authorities)).expect("copied");
        let kubelet = Arc::new(Kubelet {
            objects: objects.clone(),
            network: network.clone(),
            folder: pods,
            image,
            known: Default::default(),
        });
        work.spawn(run(objects.clone(), network.clone(), kubelet.clone()));
        let work = Mutex::new(work);
        let cluster =
            Self { objects, kubelet, postgres, network, folder, issuer, _nats: nats, work };
        cluster.prepare();
        Some(cluster)
    }

    /// What whoever installs has made before.
    fn prepare(&self) {
        for target in TARGETS {
            self.postgres.psql("postgres", &format!("CREATE DATABASE {}", target.name));
        }
        self.secret(
            "rapport",
            &[
                ("url", "postgres://postgres@postgres:5432/{service}"),
                ("kek", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="),
                ("service-key", "0123456789abcdef0123456789abcdef"),
                ("token", &self.token()),
            ],
        );
    }

    /// A role of the database and a user of the log for each target, which may do what serving needs; and who migrates.
    pub(super) fn rights(&self) {
        for target in TARGETS {
            let name = target.name;
            self.postgres.psql("postgres", &format!("CREATE ROLE \"{name}-serving\" LOGIN"));
            let url = format!("nats://{name}:{PASSWORD}@nats:4222");
            self.secret(&format!("nats-{name}"), &[("url", &url)]);
        }
        let edit = |it: &mut Value| {
            let url = "postgres://{service}-serving@postgres:5432/{service}";
            it["data"]["url"] = BASE64_STANDARD.encode(url).into();
        };
        self.objects.edit("secrets", "rapport", edit);
        let url = |database| format!("postgres://postgres@postgres:5432/{database}");
        self.secret("migrator", &[("url", &url("{service}"))]);
        self.secret("nowhere", &[("url", &url("nowhere"))]);
    }

    /// A certificate for every target, and who vouches for it.
    pub(super) fn certificates(&self) {
        let authority = Authority::new();
        let names = TARGETS.iter().map(|it| format!("{RELEASE}-rapport-{}", it.name));
        let (certificate, key) = authority.leaf_for(names.collect());
        let data = [("tls.crt", &*certificate), ("tls.key", &*key), ("ca.crt", authority.pem())];
        self.secret("certificates", &data);
    }

    fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let encoded = |it: &(&str, &str)| (it.0.to_owned(), BASE64_STANDARD.encode(it.1).into());
        let data: Map<_, _> = data.iter().map(encoded).collect();
        let own = json!({"name": name, "annotations": {"made": "before"}});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": own, "data": data});
        self.objects.put("secrets", secret);
    }

    pub(super) fn token(&self) -> String {
        self.issuer.token("default", "operator", &["*"])
    }

    /// Where a target is reached.
    pub(super) fn address(&self, target: &str) -> SocketAddr {
        let service = self.network.address_of(&format!("{RELEASE}-rapport-{target}"));
        (service.expect("a Service"), 8080).into()
    }

    /// The values of every installation here, and some more.
    fn values(&self, more: &str) -> Vec<PathBuf> {
        let own = format!(
            "auth: {{issuer: {:?}, jwksUrl: \"http://issuer/keys\", audience: {AUDIENCE:?}}}\nnats: {{replicas: 1}}\n",
            self.issuer.url()
        );
        let write = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        vec![chart().join("ci/minimal.yaml"), write("own.yaml", &own), write("more.yaml", more)]
    }

    pub(super) async fn install(&self, more: &str) {
        let told = self.try_install(more).await;
        told.unwrap_or_else(|told| panic!("{told}\n{}", self.state()));
    }

    pub(super) async fn try_install(&self, more: &str) -> Result<String, String> {
        self.apply("install", more, &[]).await
    }

    pub(super) async fn upgrade(&self, more: &str, flags: &[&str]) -> Result<String, String> {
        self.apply("upgrade", more, flags).await
    }

    async fn apply(&self, verb: &str, more: &str, flags: &[&str]) -> Result<String, String> {
        let chart = chart().display().to_string();
        let mut all = vec![chart, "--wait".to_owned(), "--timeout=400s".to_owned()];
        for file in self.values(more) {
            all.push(format!("--values={}", file.display()));
        }
        all.extend(flags.iter().map(|it| (*it).to_owned()));
        self.helm(verb, &all.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    /// helm, at work on the release; what it told.
    pub(super) async fn helm(&self, verb: &str, more: &[&str]) -> Result<String, String> {
        let mut command = helm();
        command.args([verb, RELEASE]).args(more).args(["--namespace", NAMESPACE]);
        command.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        let ended = tokio::task::spawn_blocking(move || {
            let output = outcome(&mut command);
            (output.status.success(), told(&output))
        });
        let since = Instant::now();
        let mut work = self.work.lock().await;
        let (good, said) = tokio::select! {
            ended = ended => ended.expect("it does not panic"),
            broken = work.join_next() => panic!("the cluster is broken: {broken:?}"),
        };
        let how = if good { "done" } else { "failed" };
        support::tell(&format!("helm {verb}: {how}, {:.0?}", since.elapsed()));
        if good { Ok(said) } else { Err(said) }
    }

    /// How pods stand, for who looks why something failed.
    fn state(&self) -> String {
        let mut text = String::new();
        for pod in self.objects.list("pods") {
            let log = self.folder.path().join("pods").join(name(&pod)).join("log");
            let log = fs::read_to_string(log).unwrap_or_default();
            let end: Vec<_> = log.lines().rev().take(15).collect();
            let end: Vec<_> = end.into_iter().rev().collect();
            text.push_str(&format!("{}: {}\n{}\n", name(&pod), pod["status"], end.join("\n")));
        }
        text
    }

    /// What pods complain of.
    pub(super) fn complaints(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for pod in self.objects.list("pods") {
            let log = self.folder.path().join("pods").join(name(&pod)).join("log");
            let log = fs::read_to_string(log).unwrap_or_default();
            let bad = |it: &&str| {
                ["warn", "error"].iter().any(|of| it.contains(&format!("\"level\":\"{of}\"")))
            };
            all.extend(log.lines().filter(bad).map(|it| format!("{}: {it}", name(&pod))));
        }
        all
    }

    /// The pods of Deployments that get traffic.
    pub(super) fn serving(&self) -> Vec<String> {
        let mut pods = self.objects.list("pods");
        pods.retain(|it| holds(it, "Ready") && !controllers::is_ending(it));
        pods.iter().map(|it| name(it).to_owned()).collect()
    }

    pub(super) fn pods_of(&self, target: &str) -> Vec<String> {
        let labels = json!({"app.kubernetes.io/component": target});
        let pods = self.objects.selected("pods", &labels);
        pods.iter().map(|it| name(it).to_owned()).collect()
    }

    /// How often containers were started again.
    pub(super) fn restarts(&self) -> u64 {
        let of = |it: &Value| it["status"]["containerStatuses"][0]["restartCount"].as_u64();
        self.objects.list("pods").iter().filter_map(of).sum()
    }

    /// When an object of a kind first was there, with a condition if one is named.
    pub(super) fn happened(&self, plural: &str, condition: &str) -> usize {
        let is = |it: &Value| condition.is_empty() || holds(it, condition);
        let all = self.objects.since(0);
        let first = all.iter().position(|it| it.plural == plural && is(&it.object));
        first.expect("it happened")
    }

    /// How many objects of a kind there ever were.
    pub(super) fn count(&self, plural: &str) -> usize {
        let all = self.objects.since(0);
        all.iter().filter(|it| it.plural == plural && it.verb == "ADDED").count()
    }

    /// What Helm leaves so that it can be looked at, removed as the documentation says.
    pub(super) async fn remove_failed_hooks(&self) {
        let mut kubectl = crate::tool("kubectl");
        kubectl.args(["delete", "job,configmap", "--namespace", NAMESPACE]);
        kubectl.arg(format!(
            "--selector=app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=migrate"
        ));
        kubectl.env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        let done = tokio::task::spawn_blocking(move || succeeds(&mut kubectl));
        done.await.expect("removed");
    }

    /// Waits until nothing is there but what was before.
    pub(super) async fn is_empty(&self) {
        let left = || {
            let mut all = self.objects.all();
            all.retain(|it| it["metadata"]["annotations"]["made"] != "before");
            all.iter().map(|it| format!("{} {}", it["kind"], name(it))).collect::<Vec<_>>()
        };
        self.eventually(&format!("nothing is left: {:?}", left()), || left().is_empty()).await;
    }

    pub(super) async fn eventually(&self, what: &str, condition: impl Fn() -> bool) {
        let give_up = Instant::now() + Duration::from_secs(300);
        while !condition() {
            assert!(Instant::now() < give_up, "not within 300 s: {what}\n{}", self.state());
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The accounts of the log, as the program tells them.
fn accounts() -> String {
    let mut program = std::process::Command::new(PROGRAM);
    let accounts = succeeds(program.args(["reference", "nats"]));
    let lines = accounts.lines().map(|line| match line.split_once("$RAPPORT_NATS_PASSWORD_") {
        Some((before, after)) => {
            let after = after.trim_start_matches(|it: char| it.is_ascii_uppercase());
            format!("{before}{PASSWORD:?}{after}\n")
        }
        None => format!("{line}\n"),
    });
    let accounts: String = lines.collect();
    // Who installs one pod has one account for all.
    let all = format!("{{ jetstream: enabled, users: [{{ user: all, password: {PASSWORD:?} }}] }}");
    accounts.replacen("accounts {\n", &format!("accounts {{\n  all: {all}\n"), 1)
        + "no_auth_user: all\n"
}

fn address(url: &str) -> SocketAddr {
    let place = url.split("://").nth(1).unwrap_or_default();
    let place = place.split('/').next().unwrap_or_default();
    place.rsplit('@').next().unwrap_or_default().parse().expect("an address")
}

/// Does what follows from what is there: at each change, and several times a second.
async fn run(objects: Arc<Objects>, network: Arc<Network>, kubelet: Arc<Kubelet>) {
    let mut changes = objects.changes();
    let (mut pods, mut known) = (JoinSet::new(), BTreeSet::new());
    loop {
        controllers::reconcile(&objects);
        network.follow(&objects).await;
        while let Some(ended) = pods.try_join_next() {
            assert!(!ended.is_err_and(|it| it.is_panic()), "a pod is run");
        }
        for pod in objects.list("pods") {
            let uid = pod["metadata"]["uid"].to_string();
            if known.insert(uid) {
                pods.spawn(kubelet.clone().run(pod));
            }
        }
        let _ = tokio::time::timeout(Duration::from_millis(200), changes.changed()).await;
    }
}
