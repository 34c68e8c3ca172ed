//! The network of the cluster: a bridge in a network namespace of its own, to which the pods and this process are
//! connected, and forwarders that stand for Services. It goes with this process, however that ends, and the pods with it: the
//! namespaces hold everything, and the kernel kills who holds them.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventstore::Ids;
use eventstore::testing::mounting_is_permitted;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::controllers::{endpoints, target_port};
use super::objects::{NAMESPACE, Objects, name};
use crate::chart::objects::items;

/// How long it takes until a change of a Service's pods has reached every node.
pub(super) const PROPAGATION: Duration = Duration::from_millis(500);

pub(super) struct Network {
    /// The first three numbers of every address.
    subnet: [u8; 3],
    /// Name of this process's end of the connection to the bridge.
    link: String,
    node: Holder,
    next_pod: AtomicU8,
    services: Mutex<BTreeMap<String, Service>>,
    next_service: AtomicU8,
    /// Names that are not of Services.
    external: Mutex<Vec<(String, Service)>>,
    /// Holds the file `hosts`, the DNS of the pods.
    pub(super) names: PathBuf,
}

/// A process that does nothing but hold a network namespace, and one of processes: all of them end with it.
pub(super) struct Holder(Child);

/// A pod's network namespace and its address.
pub(super) struct Sandbox {
    pub(super) holder: Holder,
    pub(super) address: Ipv4Addr,
}

/// An address whose connections are given to others.
struct Service {
    address: Ipv4Addr,
    ends: Ends,
    /// What was last seen, which is in force a little later.
    seen: BTreeMap<u16, Vec<SocketAddr>>,
    tasks: JoinSet<()>,
}

/// Where connections to each port go.
type Ends = Arc<Mutex<BTreeMap<u16, Vec<SocketAddr>>>>;

/// Whether this process may do here what a cluster needs: namespaces, devices, mounts.
pub(super) fn is_permitted() -> bool {
    let mut bridge = Program::new("unshare");
    bridge.args(["--net", "ip", "link", "add", "x", "type", "bridge"]);
    eventstore::testing::is_permitted("a network of one's own", &mut bridge)
        && mounting_is_permitted()
}

impl Holder {
    fn start() -> Self {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--net", "--pid", "--fork", "--kill-child"])
            .args(["sleep", "infinity"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("tests/setup installs what is needed");
        let holder = Self(child);
        let own = fs::read_link("/proc/self/ns/net").expect("this process has one");
        // The second is there once a first process is.
        let there = || {
            let new = fs::read_link(holder.namespace()).is_ok_and(|it| it != own);
            new && fs::read_link(holder.processes()).is_ok()
        };
        while !there() {
            std::thread::sleep(Duration::from_millis(1));
        }
        holder
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id().expect("nobody else waits for it")
    }

    pub(super) fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    pub(super) fn processes(&self) -> String {
        format!("/proc/{}/ns/pid_for_children", self.pid())
    }

    fn run(&self, script: &str) {
        run(Program::new("nsenter")
            .arg(format!("--net={}", self.namespace()))
            .args(["sh", "-ec", script]));
    }
}

fn run(command: &mut Program) {
    let output = command.output().expect("iproute2 and util-linux are installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}

impl Network {
    pub(super) fn start(folder: &Path) -> Self {
        // A part of the private addresses that is not in use.
        let subnet = loop {
            let [a, b] = Ids::system().bytes::<2>();
            let subnet = [10, a, b];
            let address = format!("10.{a}.{b}.1");
            let used = used_by(Program::new("ip").args(["route", "show", "to", "match", &address]));
            if !used.lines().any(|it| !it.starts_with("default")) {
                break subnet;
            }
        };
        let node = Holder::start();
        let [_, a, b] = subnet;
        let link = format!("rapport-{a:02x}{b:02x}");
        node.run("ip link add pods type bridge; ip link set pods up");
        let pid = node.pid();
        let script = format!(
            "ip link add {link} type veth peer name outside netns {pid}
             ip address add 10.{a}.{b}.1/24 dev {link}
             ip link set {link} up"
        );
        run(Program::new("sh").args(["-ec", &script]));
        node.run("ip link set outside master pods up");
        let names = folder.join("names");
        fs::create_dir(&names).expect("a folder");
        let network = Self {
            subnet,
            link,
            node,
            next_pod: AtomicU8::new(2),
            services: Mutex::default(),
            next_service: AtomicU8::new(200),
            external: Mutex::default(),
            names,
        };
        network.tell_names(&[]);
        network
    }

    fn address(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.subnet;
        Ipv4Addr::new(a, b, c, last)
    }

    /// Connects a new network namespace.
    pub(super) fn sandbox(&self) -> Sandbox {
        let number = self.next_pod.fetch_add(1, Ordering::Relaxed);
        assert!(number < 200, "addresses of pods are given once, and all are");
        let (holder, address) = (Holder::start(), self.address(number));
        let pid = holder.pid();
        self.node.run(&format!(
            "ip link add pod{number} type veth peer name eth0 netns {pid}
             ip link set pod{number} master pods up"
        ));
        holder.run(&format!(
            "ip link set lo up; ip address add {address}/24 dev eth0; ip link set eth0 up"
        ));
        Sandbox { holder, address }
    }

    /// A name under which pods reach a server of this machine.
    pub(super) async fn add_external(&self, name: &str, port: u16, to: SocketAddr) {
        let service = self.service(&[port]).await;
        lock(&service.ends).insert(port, vec![to]);
        lock(&self.external).push((name.to_owned(), service));
        self.tell_names(&[]);
    }

    /// Address of a Service.
    pub(super) fn address_of(&self, service: &str) -> Option<Ipv4Addr> {
        lock(&self.services).get(service).map(|it| it.address)
    }

    /// Gives each Service an address and its ready pods; takes the addresses of those that are gone back.
    pub(super) async fn follow(&self, objects: &Objects) {
        let all = objects.list("services");
        let (headless, own): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|it| it["spec"]["clusterIP"] == "None");
        let gone = |it: &String| !own.iter().any(|of| name(of) == it);
        let names: Vec<_> = lock(&self.services).keys().cloned().collect();
        for name in names.into_iter().filter(gone) {
            lock(&self.services).remove(&name).expect("seen before").end(&self.link);
        }
        for service in &own {
            if self.address_of(name(service)).is_none() {
                let port = |it: &Value| it["port"].as_u64().and_then(|it| u16::try_from(it).ok());
                let ports: Vec<_> =
                    items(&service["spec"]["ports"]).iter().filter_map(port).collect();
                let made = self.service(&ports).await;
                let address = made.address.to_string();
                lock(&self.services).insert(name(service).to_owned(), made);
                objects
                    .edit("services", name(service), |it| it["spec"]["clusterIP"] = address.into());
            }
            let pods = endpoints(objects, service);
            if let Some(it) = lock(&self.services).get_mut(name(service)) {
                it.lead_to(items(&service["spec"]["ports"]), &pods);
            }
        }
        let addresses = |it: &Value| {
            let pods = endpoints(objects, it).into_iter();
            (name(it).to_owned(), pods.filter_map(|it| address(&it)).collect())
        };
        let headless: Vec<(String, Vec<Ipv4Addr>)> = headless.iter().map(addresses).collect();
        self.tell_names(&headless);
    }

    async fn service(&self, ports: &[u16]) -> Service {
        let last = self.next_service.fetch_add(1, Ordering::Relaxed);
        assert!(last < 255, "addresses of Services are given once, and all are");
        let address = self.address(last);
        run(Program::new("ip").args([
            "address",
            "add",
            &format!("{address}/32"),
            "dev",
            &self.link,
        ]));
        let (ends, mut tasks) = (Ends::default(), JoinSet::new());
        for port in ports {
            let listener = TcpListener::bind((address, *port)).await.expect("a port of its own");
            tasks.spawn(forward(listener, *port, ends.clone()));
        }
        Service { address, ends, seen: BTreeMap::new(), tasks }
    }

    fn tell_names(&self, headless: &[(String, Vec<Ipv4Addr>)]) {
        let mut text = String::from("127.0.0.1 localhost\n");
        let mut tell = |address: &Ipv4Addr, name: &str| {
            let long = format!("{name}.{NAMESPACE}");
            text.push_str(&format!(
                "{address} {name} {long} {long}.svc {long}.svc.cluster.local\n"
            ));
        };
        lock(&self.external).iter().for_each(|(name, it)| tell(&it.address, name));
        lock(&self.services).iter().for_each(|(name, it)| tell(&it.address, name));
        for (name, addresses) in headless {
            addresses.iter().for_each(|it| tell(it, name));
        }
        let (file, new) = (self.names.join("hosts"), self.names.join("new"));
        if fs::read_to_string(&file).is_ok_and(|it| it == text) {
            return;
        }
        // Whoever reads it reads all of it.
        let told = fs::write(&new, text).and_then(|()| fs::rename(new, file));
        // When the test is over its folder is gone.
        assert!(told.is_ok() || !self.names.exists(), "{told:?}");
    }
}

fn used_by(command: &mut Program) -> String {
    let output = command.output().expect("iproute2 is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn address(pod: &Value) -> Option<Ipv4Addr> {
    pod["status"]["podIP"].as_str()?.parse().ok()
}

fn lock<T>(it: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Service {
    fn lead_to(&mut self, ports: &[Value], pods: &[Value]) {
        let number = |it: u64| u16::try_from(it).ok();
        let of = |port: &Value| {
            let end = |it: &Value| {
                Some(SocketAddr::from((address(it)?, number(target_port(it, port)?)?)))
            };
            Some((number(port["port"].as_u64()?)?, pods.iter().filter_map(end).collect()))
        };
        let seen: BTreeMap<u16, Vec<SocketAddr>> = ports.iter().filter_map(of).collect();
        if seen == self.seen {
            return;
        }
        self.seen.clone_from(&seen);
        let ends = self.ends.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(PROPAGATION).await;
            *lock(&ends) = seen;
        });
    }

    fn end(mut self, link: &str) {
        self.tasks.abort_all();
        run(Program::new("ip").args([
            "address",
            "del",
            &format!("{}/32", self.address),
            "dev",
            link,
        ]));
    }
}

/// Gives each connection to one of the ends by turns; without any it is reset.
async fn forward(listener: TcpListener, port: u16, ends: Ends) {
    let (mut connections, mut turn) = (JoinSet::new(), 0);
    while let Ok((mut from, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        turn += 1;
        let end = lock(&ends).get(&port).and_then(|it| it.get(turn % it.len().max(1)).copied());
        connections.spawn(async move {
            let to = match end {
                Some(end) => TcpStream::connect(end).await.ok(),
                None => None,
            };
            let Some(mut to) = to else {
                let _ = from.set_zero_linger();
                return;
            };
            let _ = (from.set_nodelay(true), to.set_nodelay(true));
            // A connection that breaks is the affair of those who hold it.
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        });
    }
}
