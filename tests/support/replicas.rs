//! Two processes of every target of a platform, behind the address that the target had alone.

use std::sync::Arc;
use std::time::Duration;

use eventstore::testing::free_port;
use tokio::task::JoinSet;

use crate::{Front, Node, Platform, Web, eventually};

/// How many processes a target has.
pub const REPLICAS: usize = 2;
/// How often a process is asked whether it is ready, and how long it may take to say so.
const PERIOD: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(1);

/// Running replicas; killed when they are dropped.
pub struct Replicas {
    program: String,
    variables: Vec<(&'static str, String)>,
    targets: Vec<Replicated>,
    _probing: JoinSet<()>,
}

struct Replicated {
    name: &'static str,
    front: Arc<Front>,
    replicas: Vec<Replica>,
}

struct Replica {
    settings: Vec<String>,
    node: Option<Node>,
}

impl Replicas {
    /// Starts them on the data of a platform that is stopped; it knows their address already.
    pub async fn start(platform: &Platform) -> Self {
        let mut probing = JoinSet::new();
        let mut targets = Vec::new();
        for (name, port, settings) in platform.processes() {
            let front = Arc::new(Front::start(port).await);
            let (mut replicas, mut probed) = (Vec::new(), Vec::new());
            for _ in 0..REPLICAS {
                let address = || format!("127.0.0.1:{}", free_port());
                let (grpc, admin) = (address(), address());
                let own = [format!("grpc.address={grpc}"), format!("admin.address={admin}")];
                replicas.push(Replica { settings: [&settings[..], &own].concat(), node: None });
                probed.push((grpc, admin));
            }
            probing.spawn(probe(front.clone(), probed));
            targets.push(Replicated { name, front, replicas });
        }
        let (program, variables) = (platform.program().to_owned(), platform.variables.clone());
        let mut all = Self { program, variables, targets, _probing: probing };
        all.launch().await;
        eventually("every replica is ready", async || all.are_ready()).await;
        all
    }

    /// Starts those that do not run, side by side.
    async fn launch(&mut self) {
        let all = self.targets.iter_mut().flat_map(|it| &mut it.replicas);
        let starting = all.filter(|it| it.node.is_none()).map(async |replica| {
            let (program, settings) = (self.program.clone(), replica.settings.clone());
            let variables = self.variables.clone();
            let start = move || Node::start(&program, &settings, &variables);
            replica.node = Some(aside(start).await);
        });
        futures::future::join_all(starting).await;
    }

    /// Whether every replica gets connections.
    pub fn are_ready(&self) -> bool {
        self.targets.iter().all(|it| it.front.leads_to() == REPLICAS)
    }

    /// Kills a replica (SIGKILL) and starts it again.
    pub async fn kill(&mut self, target: &str, which: usize) {
        // Dropped, which kills it.
        self.replica(target, which).node = None;
        self.launch().await;
        self.ready_of(target).await;
    }

    /// Stops a replica in order (SIGTERM) and starts it again; panics if it did not end well.
    pub async fn drain(&mut self, target: &str, which: usize) {
        if let Some(node) = self.replica(target, which).node.take() {
            assert!(aside(|| node.stop()).await, "a replica of {target} did not end well");
        }
        self.launch().await;
        self.ready_of(target).await;
    }

    /// Stops a replica where it is (SIGSTOP): it answers nothing and holds what it has.
    pub fn pause(&mut self, target: &str, which: usize) {
        self.node(target, which).signal("-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&mut self, target: &str, which: usize) {
        self.node(target, which).signal("-CONT");
    }

    /// Stops every replica in order; panics if one does not end well.
    pub fn stop(&mut self) {
        for replica in self.targets.iter_mut().flat_map(|it| &mut it.replicas) {
            if let Some(node) = replica.node.take() {
                assert!(node.stop(), "a replica did not end well");
            }
        }
    }

    async fn ready_of(&self, target: &str) {
        let front = &self.targets[self.index(target)].front;
        eventually("the replica is ready", async || front.leads_to() == REPLICAS).await;
    }

    fn index(&self, target: &str) -> usize {
        self.targets.iter().position(|it| it.name == target).expect("a target of this platform")
    }

    fn replica(&mut self, target: &str, which: usize) -> &mut Replica {
        let index = self.index(target);
        &mut self.targets[index].replicas[which]
    }

    fn node(&mut self, target: &str, which: usize) -> &Node {
        self.replica(target, which).node.as_ref().expect("it runs")
    }
}

/// Does what blocks, while everything else goes on.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

/// Leads a front to the processes that say they are ready, as the kubelet does: each is asked on a connection of its own.
async fn probe(front: Arc<Front>, replicas: Vec<(String, String)>) {
    loop {
        let ready = replicas.iter().map(|(grpc, admin)| async move {
            let mut web = Web::new(admin.clone());
            let asked = tokio::time::timeout(PATIENCE, web.ask("GET", "/readyz", &[], &[])).await;
            asked.is_ok_and(|it| it.is_ok_and(|it| it.status() == 200)).then(|| grpc.clone())
        });
        let ready = futures::future::join_all(ready).await;
        front.lead_to(ready.into_iter().flatten().collect());
        tokio::time::sleep(PERIOD).await;
    }
}
