//! Runs a pod: its volumes, its variables, its process in namespaces of its own, its probes, and its end.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::controllers::is_ending;
use super::network::{Network, Sandbox};
use super::objects::{Objects, name, now, state_condition};
use crate::chart::objects::items;

/// The first restart is at once; the second after this, each further one after twice as long, up to five minutes.
const BACK_OFF: Duration = Duration::from_secs(10);
const BACK_OFF_MOST: Duration = Duration::from_secs(300);

pub(super) struct Kubelet {
    pub(super) objects: Arc<Objects>,
    pub(super) network: Arc<Network>,
    /// Holds a folder for each pod.
    pub(super) folder: PathBuf,
    /// The files of the image, whatever its name; a tag `missing` cannot be pulled.
    pub(super) image: PathBuf,
    pub(super) known: Mutex<Known>,
}

/// What is known of containers.
#[derive(Default)]
pub(super) struct Known {
    /// First process of each pod that runs.
    pub(super) processes: BTreeMap<String, u32>,
    pub(super) ends: Vec<End>,
}

/// How a container ended.
pub(super) struct End {
    pub(super) pod: String,
    pub(super) why: Ended,
    /// 128 and more: by a signal.
    pub(super) code: i32,
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ended {
    ByItself,
    /// The pod is to end.
    Deleted,
    /// The liveness probe, or the startup probe, failed too often.
    Unhealthy,
}

impl Kubelet {
    /// Runs a pod to its end, and removes it when it was deleted.
    pub(super) async fn run(self: Arc<Self>, pod: Value) {
        let sandbox = self.network.sandbox();
        let folder = self.folder.join(name(&pod));
        let it = Running { kubelet: &self, pod: &pod, sandbox: &sandbox, folder };
        it.run().await;
        it.deleted().await;
        self.objects.remove("pods", name(&pod));
    }

    fn ended(&self, end: End) {
        let mut known = self.known();
        known.processes.remove(&end.pod);
        known.ends.push(end);
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal to the container of a pod.
    pub(super) fn signal(&self, pod: &str, signal: &str) {
        let pid = *self.known().processes.get(pod).expect("it runs");
        send(pid, signal);
    }
}

struct Running<'k> {
    kubelet: &'k Kubelet,
    pod: &'k Value,
    sandbox: &'k Sandbox,
    folder: PathBuf,
}

impl Running<'_> {
    async fn run(&self) {
        self.tell(|status| {
            status["phase"] = "Pending".into();
            status["startTime"] = now().into();
        });
        let (mut restarts, mut pause) = (0_u32, Duration::ZERO);
        while let Some(mut container) = self.started().await {
            let since = Instant::now();
            self.remember(&container.child).await;
            self.tell(|status| {
                status["phase"] = "Running".into();
                status["podIP"] = self.sandbox.address.to_string().into();
                let state = json!({"running": {"startedAt": now()}});
                let last = container_of(status)["state"].clone();
                status["containerStatuses"] = json!([{
                    "name": "rapport", "image": self.spec()["image"], "imageID": "", "ready": false,
                    "started": false, "restartCount": restarts, "state": state, "lastState": last,
                }]);
            });
            let ended = tokio::select! {
                _ = container.child.wait() => Ended::ByItself,
                () = self.deleted() => Ended::Deleted,
                () = self.probe() => Ended::Unhealthy,
            };
            let grace = self.pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
            let status = self.end(&mut container, ended, Duration::from_secs(grace)).await;
            let code = exit_code(status);
            println!("{}: {ended:?}, code {code}, {:.0?}", name(self.pod), since.elapsed());
            self.kubelet.ended(End { pod: name(self.pod).to_owned(), why: ended, code });
            let goes_on = ended != Ended::Deleted && self.pod["spec"]["restartPolicy"] != "Never";
            self.tell(|status| {
                if !goes_on {
                    status["phase"] = if code == 0 { "Succeeded" } else { "Failed" }.into();
                }
                let container = container_of(status);
                container["ready"] = false.into();
                container["state"] = json!({"terminated": {"exitCode": code, "finishedAt": now()}});
            });
            self.tell_ready(false, "ContainersNotReady");
            if !goes_on {
                return;
            }
            restarts += 1;
            if !pause.is_zero() {
                self.wait_because("CrashLoopBackOff");
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.deleted() => return,
            }
            pause = (pause * 2).clamp(BACK_OFF, BACK_OFF_MOST);
        }
    }

    /// Notes the container's process, as soon as it is the program.
    async fn remember(&self, child: &Child) {
        while let Some(own) = child.id() {
            if let Some(pid) = first_process(own) {
                self.kubelet.known().processes.insert(name(self.pod).to_owned(), pid);
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts the container, as soon as what it needs is there; `None` when the pod is deleted before.
    async fn started(&self) -> Option<Container> {
        loop {
            let why = match Container::start(self) {
                Ok(container) => return Some(container),
                Err(why) => why,
            };
            self.wait_because(&why);
            tokio::select! {
                () = sleep(Duration::from_secs(1)) => {}
                () = self.deleted() => return None,
            }
        }
    }

    fn wait_because(&self, why: &str) {
        self.tell(|status| {
            container_of(status)["state"] = json!({"waiting": {"reason": why}});
        });
    }

    /// Asks until the container is not healthy.
    async fn probe(&self) {
        let probe = |it: &str| Probe::of(&self.spec()[it], self.sandbox, it == "startupProbe");
        if let Some(startup) = probe("startupProbe")
            && !startup.turns(true).await
        {
            return;
        }
        let (readiness, liveness) = (probe("readinessProbe"), probe("livenessProbe"));
        let follow = async {
            let mut ready = readiness.is_none();
            loop {
                self.tell_ready(ready, if ready { "" } else { "ContainersNotReady" });
                let Some(probe) = &readiness else { return std::future::pending().await };
                probe.turns(!ready).await;
                ready = !ready;
            }
        };
        let die = async {
            match liveness {
                Some(probe) => drop(probe.turns(false).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = follow => {}
            () = die => {}
        }
    }

    /// Waits until the pod is to end.
    async fn deleted(&self) {
        let mut changes = self.kubelet.objects.changes();
        let is_there =
            || self.kubelet.objects.get("pods", name(self.pod)).filter(|it| !is_ending(it));
        while is_there().is_some() && changes.changed().await.is_ok() {}
    }

    /// The hook before the end, SIGTERM, and SIGKILL when the time is over.
    async fn end(&self, container: &mut Container, ended: Ended, grace: Duration) -> ExitStatus {
        let child = &mut container.child;
        let until = Instant::now() + grace;
        if ended != Ended::ByItself {
            let pause = self.spec()["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64();
            let pause = Duration::from_secs(pause.unwrap_or_default());
            if timeout(pause, child.wait()).await.is_err() {
                signal(child, "TERM");
            }
            if tokio::time::timeout_at(until, child.wait()).await.is_err() {
                println!("{}: killed after {} s", name(self.pod), grace.as_secs());
                signal(child, "KILL");
                // Who waits for a process that was stopped has stopped with it.
                if let Some(pid) = child.id() {
                    send(pid, "CONT");
                }
            }
        }
        child.wait().await.expect("it can be waited for")
    }

    fn spec(&self) -> &Value {
        &self.pod["spec"]["containers"][0]
    }

    fn tell(&self, change: impl FnOnce(&mut Value)) {
        self.kubelet.objects.edit("pods", name(self.pod), |it| change(&mut it["status"]));
    }

    fn tell_ready(&self, ready: bool, reason: &str) {
        self.kubelet.objects.edit("pods", name(self.pod), |it| {
            container_of(&mut it["status"])["ready"] = ready.into();
            state_condition(it, "ContainersReady", ready, reason);
            state_condition(it, "Ready", ready, reason);
        });
    }
}

/// What a pod's status tells of its only container.
fn container_of(status: &mut Value) -> &mut Value {
    if status["containerStatuses"].is_null() {
        status["containerStatuses"] = json!([{"name": "rapport", "restartCount": 0}]);
    }
    &mut status["containerStatuses"][0]
}

/// Sends a signal to the first process of a container, which is the only child of what we started.
fn signal(child: &Child, signal: &str) {
    if let Some(pid) = child.id().and_then(first_process) {
        send(pid, signal);
    }
}

fn send(pid: u32, signal: &str) {
    // It may have ended just now.
    let _ = std::process::Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
}

fn first_process(parent: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A question, and how often it is asked.
struct Probe {
    end: Endpoint,
    service: String,
    patience: Duration,
    delay: Duration,
    period: Duration,
    failures: u64,
    successes: u64,
    /// Fails for good.
    once: bool,
}

impl Probe {
    fn of(probe: &Value, sandbox: &Sandbox, once: bool) -> Option<Self> {
        let number = |name: &str, default| probe[name].as_u64().unwrap_or(default);
        let seconds = |name: &str, default| Duration::from_secs(number(name, default));
        let port = probe["grpc"]["port"].as_u64()?;
        let end = Endpoint::from_shared(format!("http://{}:{port}", sandbox.address));
        Some(Self {
            end: end.expect("an address"),
            patience: seconds("timeoutSeconds", 1),
            service: probe["grpc"]["service"].as_str().unwrap_or_default().to_owned(),
            delay: seconds("initialDelaySeconds", 0),
            period: seconds("periodSeconds", 10),
            failures: number("failureThreshold", 3),
            successes: number("successThreshold", 1),
            once,
        })
    }

    /// Asks until the answer was the wanted one as often as it must be; false when it was the other one as often.
    async fn turns(&self, wanted: bool) -> bool {
        sleep(self.delay).await;
        let (mut good, mut bad) = (0, 0);
        let mut tick = tokio::time::interval(self.period);
        loop {
            tick.tick().await;
            (good, bad) = if self.asked().await { (good + 1, 0) } else { (0, bad + 1) };
            match wanted {
                true if good >= self.successes => return true,
                false if bad >= self.failures => return false,
                // A startup probe fails for good; readiness comes when it comes.
                true if self.once && bad >= self.failures => return false,
                _ => {}
            }
        }
    }

    async fn asked(&self) -> bool {
        let channel = self.end.connect_lazy();
        let request = HealthCheckRequest { service: self.service.clone() };
        let answer = timeout(self.patience, HealthClient::new(channel).check(request)).await;
        let answer = answer.map(|it| it.map(|it| it.into_inner().status()));
        matches!(answer, Ok(Ok(ServingStatus::Serving)))
    }
}

/// A process in namespaces of its own.
struct Container {
    child: Child,
}

/// Makes the root of a container and starts its program in it. `$1` root, `$2` image, `$3` names, `$4` ro or rw; then
/// pairs of what is mounted and where, `--`, and what is run.
const START: &str = r#"
root=$1 image=$2 names=$3 mode=$4; shift 4
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$root"
mkdir -p "$root/proc" "$root/dev" "$root/etc/names"
mount --rbind /proc "$root/proc"
for device in null urandom; do : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
for libraries in lib lib64 usr/lib; do
    if [ -d "/$libraries" ]; then mkdir -p "$root/$libraries"; mount --rbind -o ro "/$libraries" "$root/$libraries"; fi
done
mkdir -p "$root/etc/ssl"; mount --bind "$image/etc/ssl" "$root/etc/ssl"
: >"$root/rapport"; mount --bind "$image/rapport" "$root/rapport"
mount --bind "$names" "$root/etc/names"; ln -s names/hosts "$root/etc/hosts"
while [ "$1" != -- ]; do
    mkdir -p "$root$2"; mount --bind "$1" "$root$2"
    if [ "$3" = ro ]; then mount -o remount,bind,ro "$root$2"; fi
    shift 3
done
shift
if [ "$mode" = ro ]; then mount -o remount,ro "$root"; fi
exec env -i "$@"
"#;

impl Container {
    fn start(of: &Running<'_>) -> Result<Self, String> {
        let spec = of.spec();
        if spec["image"].as_str().is_some_and(|it| it.ends_with(":missing")) {
            return Err("ErrImagePull".into());
        }
        let root = of.folder.join("root");
        fs::create_dir_all(&root).expect("a folder");
        let mut mounts = Vec::new();
        for mount in items(&spec["volumeMounts"]) {
            let named = |it: &&Value| it["name"] == mount["name"];
            let volume = items(&of.pod["spec"]["volumes"]).iter().find(named);
            let volume = volume.ok_or("CreateContainerConfigError: no such volume")?;
            let place = of.volume(volume)?;
            let place = place.join(mount["subPath"].as_str().unwrap_or_default());
            let writable = volume["emptyDir"].is_object() && mount["readOnly"] != true;
            mounts.push(place.display().to_string());
            mounts.push(mount["mountPath"].as_str().unwrap_or_default().to_owned());
            mounts.push(if writable { "rw" } else { "ro" }.to_owned());
        }
        let log = fs::File::options().create(true).append(true).open(of.folder.join("log"));
        let log = log.expect("a file");
        let read_only = spec["securityContext"]["readOnlyRootFilesystem"] == true;
        let user = |it: &str| {
            let own = spec["securityContext"][it].as_u64();
            own.or_else(|| of.pod["spec"]["securityContext"][it].as_u64()).unwrap_or(65_532)
        };
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net={}", of.sandbox.holder.namespace()))
            .arg(format!("--pid={}", of.sandbox.holder.processes()))
            .args(["unshare", "--mount", "sh", "-ec", START, "sh"])
            .arg(&root)
            .arg(&of.kubelet.image)
            .arg(&of.kubelet.network.names)
            .arg(if read_only { "ro" } else { "rw" })
            .args(mounts)
            .arg("--")
            .args(of.variables()?)
            .args(["setpriv", "--no-new-privs", "/usr/sbin/chroot", "--groups="])
            .arg(format!("--userspec={}:{}", user("runAsUser"), user("runAsGroup")))
            .arg(&root);
        let words = |it: &str| items(&spec[it]).iter().filter_map(Value::as_str);
        match spec["command"].is_array() {
            true => command.args(words("command")),
            false => command.arg("/rapport"),
        };
        command.args(words("args")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log).kill_on_drop(true);
        Ok(Self { child: command.spawn().expect("util-linux is installed") })
    }
}

impl Running<'_> {
    /// The folder of a volume, filled.
    fn volume(&self, volume: &Value) -> Result<PathBuf, String> {
        let folder = self.folder.join("volumes").join(volume["name"].as_str().unwrap_or_default());
        fs::create_dir_all(&folder).expect("a folder");
        let group = self.pod["spec"]["securityContext"]["fsGroup"].as_u64();
        let group = group.and_then(|it| u32::try_from(it).ok());
        for kind in ["secret", "configMap"] {
            if volume[kind].is_object() {
                self.fill(&folder, kind, &volume[kind])?;
            }
        }
        for source in items(&volume["projected"]["sources"]) {
            for kind in ["secret", "configMap"] {
                if source[kind].is_object() {
                    self.fill(&folder, kind, &source[kind])?;
                }
            }
        }
        if volume["emptyDir"].is_object() {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o2777)).expect("its folder");
        }
        chown(&folder, None, group).expect("its folder");
        Ok(folder)
    }

    /// Writes what a Secret or ConfigMap holds into files.
    fn fill(&self, folder: &Path, kind: &str, source: &Value) -> Result<(), String> {
        let called = source["secretName"].as_str().or(source["name"].as_str()).unwrap_or_default();
        let all = match self.data(kind, called) {
            Err(_) if source["optional"] == true => return Ok(()),
            found => found?,
        };
        let pairs: Vec<(String, String)> = match source["items"].as_array() {
            None => all.iter().map(|(key, _)| (key.clone(), key.clone())).collect(),
            Some(items) => {
                let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
                items.iter().map(|it| (text(&it["key"]), text(&it["path"]))).collect()
            }
        };
        for (key, path) in pairs {
            let found = all.iter().find(|it| it.0 == key);
            let missing = || format!("CreateContainerConfigError: {called} has no {key}");
            let bytes = &found.ok_or_else(missing)?.1;
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("a folder");
            fs::write(&path, bytes).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("its file");
        }
        Ok(())
    }

    /// Keys and values of a Secret or ConfigMap.
    fn data(&self, kind: &str, called: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let plural = if kind == "secret" { "secrets" } else { "configmaps" };
        let missing = || format!("CreateContainerConfigError: {plural} {called} not found");
        let object = self.kubelet.objects.get(plural, called).ok_or_else(missing)?;
        let mut all = Vec::new();
        for (key, value) in object["data"].as_object().into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let bytes = match kind {
                "secret" => BASE64_STANDARD.decode(text).map_err(|it| it.to_string())?,
                _ => text.as_bytes().to_vec(),
            };
            all.push((key.clone(), bytes));
        }
        for (key, value) in object["stringData"].as_object().into_iter().flatten() {
            all.push((key.clone(), value.as_str().unwrap_or_default().into()));
        }
        Ok(all)
    }

    /// `NAME=value` for each variable.
    fn variables(&self) -> Result<Vec<String>, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = Vec::new();
        for source in items(&self.spec()["envFrom"]) {
            for (kind, from) in [("secret", "secretRef"), ("configMap", "configMapRef")] {
                let Some(called) = source[from]["name"].as_str() else { continue };
                match self.data(kind, called) {
                    Err(_) if source[from]["optional"] == true => {}
                    found => {
                        all.extend(found?.iter().map(|it| format!("{}={}", it.0, text(&it.1))))
                    }
                }
            }
        }
        for variable in items(&self.spec()["env"]) {
            let from = &variable["valueFrom"];
            let value = if let Some(path) = from["fieldRef"]["fieldPath"].as_str() {
                match path {
                    "status.podIP" => self.sandbox.address.to_string(),
                    "spec.nodeName" => "node".to_owned(),
                    path => {
                        let pointer = format!("/{}", path.replace('.', "/"));
                        let found = self.pod.pointer(&pointer).and_then(Value::as_str);
                        found
                            .ok_or_else(|| format!("CreateContainerConfigError: {path}"))?
                            .to_owned()
                    }
                }
            } else if from.is_object() {
                let (kind, from) = match from["secretKeyRef"].is_object() {
                    true => ("secret", &from["secretKeyRef"]),
                    false => ("configMap", &from["configMapKeyRef"]),
                };
                let all = self.data(kind, from["name"].as_str().unwrap_or_default())?;
                let found = all.iter().find(|it| from["key"] == it.0.as_str());
                text(&found.ok_or("CreateContainerConfigError: no such key")?.1)
            } else {
                variable["value"].as_str().unwrap_or_default().to_owned()
            };
            all.push(format!("{}={value}", variable["name"].as_str().unwrap_or_default()));
        }
        Ok(all)
    }
}
