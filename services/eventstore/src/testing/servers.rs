//! Real servers for tests: each in a folder of its own, on a free port, stopped by its process id.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ids::Ids;

/// A free port below those that the system gives to connections: nobody takes it before its server listens, nor while
/// the server is started again.
pub fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> =
        LazyLock::new(|| AtomicU16::new(u16::from_be_bytes(Ids::system().bytes())));
    loop {
        let port = 20_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether a process may have mounts that only it sees, for example a small disk.
pub fn mounting_is_permitted() -> bool {
    is_permitted(
        "mounting",
        Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "x", "/mnt"]),
    )
}

/// Whether something may be done here: an attempt succeeds. Where it may not, tests that need it say so and are left out,
/// unless `TEST_PRIVILEGED` is `required`: then they fail.
#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says what must be there")]
pub fn is_permitted(what: &str, attempt: &mut Command) -> bool {
    let tried = attempt.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let permitted = tried.is_ok_and(|it| it.success());
    let required = std::env::var("TEST_PRIVILEGED").is_ok_and(|it| it == "required");
    assert!(
        permitted || !required,
        "{what} is not permitted here, and TEST_PRIVILEGED says it must be"
    );
    if !permitted {
        // Past cargo, which hides what tests print that pass.
        let _ = writeln!(std::io::stderr(), "LEFT OUT: {what} is not permitted here");
    }
    permitted
}

fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(120);
    while !ready() {
        assert!(Instant::now() < give_up, "{what} did not come up within 120 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Looks a program up: an environment variable, then well-known places.
#[expect(clippy::disallowed_methods, reason = "tests are told where servers are")]
fn program(variable: &str, places: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return PathBuf::from(path);
    }
    let found = places.iter().map(PathBuf::from).find(|it| it.exists());
    found.unwrap_or_else(|| panic!("set {variable}, or run `make test`, which installs it"))
}

/// A folder of this process; those of processes that are gone are swept away.
fn folder(kind: &str) -> TempDir {
    let temporary = std::env::temp_dir();
    let name = format!("rapport-{kind}-");
    for entry in fs::read_dir(&temporary).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let process = found.to_str().and_then(|it| it.strip_prefix(&name)?.split('-').next());
        if process.is_some_and(|it| !Path::new("/proc").join(it).exists()) {
            // Somebody else may sweep at the same time.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{name}{}-", std::process::id()))
        .tempdir_in(temporary)
        .expect("a temporary folder")
}

/// Starts a server that dies with this process, also when a static holds it. The kernel watches the
/// thread that started it, so that thread stays.
fn start(mut command: Command) -> Child {
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let started = send.send(command.spawn());
        while started.is_ok() {
            std::thread::park();
        }
    });
    receive.recv().expect("the thread answers").expect("the server starts")
}

fn with_parent(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

fn kill(child: &mut Child) {
    // It may have ended already; waiting reaps it either way.
    let _ = child.kill();
    let _ = child.wait();
}

fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|it| it.success()), "kill {signal} {pid}");
}

/// A PostgreSQL server.
pub struct Postgres {
    folder: TempDir,
    port: u16,
    server: Option<Child>,
    /// Bytes of a disk of its own, in a namespace only the server sees.
    disk: Option<u64>,
}

static DATABASES: AtomicU64 = AtomicU64::new(0);

impl Postgres {
    /// Starts a server with an empty cluster.
    pub fn start() -> Self {
        Self::with(None)
    }

    /// Starts a server that can put databases on a small disk; `None` where mounting is not permitted.
    pub fn with_small_disk(bytes: u64) -> Option<Self> {
        mounting_is_permitted().then(|| Self::with(Some(bytes)))
    }

    fn with(disk: Option<u64>) -> Self {
        let folder = folder("pg");
        own(folder.path());
        let data = folder.path().join("data");
        let made = as_postgres(&bin().join("initdb"))
            .args(["--locale=C", "--encoding=UTF8", "--auth=trust", "--username=postgres", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.is_ok_and(|it| it.success()), "initdb");
        let mut server = Self { folder, port: free_port(), server: None, disk };
        server.launch();
        server
    }

    /// Starts a standby that is sent everything this server writes, over a port that leads to it.
    pub fn standby(&self, through: u16) -> Self {
        let folder = folder("pg");
        own(folder.path());
        let copied = as_postgres(&bin().join("pg_basebackup"))
            .args(["--host=127.0.0.1", "--username=postgres", "--checkpoint=fast"])
            .arg(format!("--port={through}"))
            .args(["--write-recovery-conf", "-D"])
            .arg(folder.path().join("data"))
            .status();
        assert!(copied.is_ok_and(|it| it.success()), "pg_basebackup");
        let mut server = Self { folder, port: free_port(), server: None, disk: None };
        server.launch();
        server
    }

    /// From now on a commit is acknowledged once a standby has it on its disk; returns when one follows.
    pub fn wait_for_standby(&self) {
        self.psql("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.psql("postgres", "SELECT pg_reload_conf()");
        let follows = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        wait_for("the standby", || self.psql("postgres", follows) == "1");
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        assert_eq!(self.psql("postgres", "SELECT pg_promote()"), "t", "promoted");
    }

    /// Starts the server again on the same port.
    pub fn launch(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log file");
        let mut command = match self.disk {
            None => as_postgres(&bin().join("postgres")),
            Some(bytes) => on_disk(bytes, &self.disk_folder(), &bin().join("postgres")),
        };
        command
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(self.folder.path())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=400"])
            .args(["-c", "shared_buffers=256MB", "-c", "max_wal_size=4GB"])
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(start(command));
        let socket = self.folder.path().to_owned();
        let port = self.port.to_string();
        wait_for("postgres", || {
            as_postgres(&bin().join("pg_isready"))
                .args(["-q", "-p", &port, "-h"])
                .arg(&socket)
                .status()
                .is_ok_and(|it| it.success())
        });
    }

    /// Stops the server at once, without a checkpoint, as a power cut would.
    pub fn stop_at_once(&mut self) {
        if let Some(mut child) = self.server.take() {
            signal(child.id(), "-QUIT");
            let _ = child.wait();
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// URL of the administrative database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Creates a fresh database and returns its URL.
    pub fn database(&self) -> String {
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Creates a fresh database on the small disk and returns its URL.
    pub fn database_on_small_disk(&self) -> String {
        let place = self.disk_folder();
        self.psql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", place.display()));
        self.psql("postgres", "CREATE DATABASE small TABLESPACE small");
        self.url("small")
    }

    /// Leaves no free block on the small disk, or gives them all back.
    pub fn fill_disk(&self, full: bool) {
        let server = self.server.as_ref().expect("the server runs");
        let seen = format!("/proc/{}/root{}", server.id(), self.disk_folder().display());
        let ballast = Path::new(&seen).join("ballast");
        if !full {
            fs::remove_file(ballast).expect("the ballast is there");
            return;
        }
        let mut file = fs::File::create(ballast).expect("the small disk is there");
        while std::io::Write::write_all(&mut file, &[0; 4_096]).is_ok() {}
    }

    fn disk_folder(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Runs SQL with psql; returns its output without decoration.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        psql(&self.url(database), sql)
    }
}

/// Runs SQL with psql at a URL; returns its output without decoration.
pub fn psql(url: &str, sql: &str) -> String {
    let output = Command::new(bin().join("psql"))
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql])
        .arg(url)
        .output()
        .expect("psql runs");
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop_at_once();
    }
}

fn bin() -> PathBuf {
    let places: Vec<String> =
        (12..=20).rev().map(|it| format!("/usr/lib/postgresql/{it}/bin")).collect();
    program("TEST_PG_BIN", &places.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The server refuses to run as root; as another user it runs as that user.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
    }
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command.current_dir("/");
    command
}

/// Like [`as_postgres`], with a small disk that vanishes with the process.
fn on_disk(bytes: u64, place: &Path, program: &Path) -> Command {
    const SCRIPT: &str = r#"mkdir -p "$0" && mount -t tmpfs -o size="$1" tmpfs "$0" &&
        chown --reference="$0/.." "$0" && shift && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", SCRIPT]).arg(place).arg(bytes.to_string());
    let inner = as_postgres(program);
    command.arg(inner.get_program()).args(inner.get_args()).current_dir("/");
    command
}

fn own(folder: &Path) {
    if is_root() {
        let done = Command::new("chown").arg("postgres:postgres").arg(folder).status();
        assert!(done.is_ok_and(|it| it.success()), "chown {}", folder.display());
    }
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|it| String::from_utf8_lossy(&it.stdout).trim() == "0")
}

const CURRENT: &[&str] = &[
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools/bin/nats-server"),
    "/usr/sbin/nats-server",
];

/// A nats-server with JetStream.
pub struct NatsServer {
    folder: TempDir,
    program: PathBuf,
    port: u16,
    extra: Vec<String>,
    server: Option<Child>,
}

impl NatsServer {
    /// Starts a current server.
    pub fn start() -> Self {
        Self::of(program("TEST_NATS", CURRENT), "", &[])
    }

    /// Starts a 2.9 server.
    pub fn start_2_9() -> Self {
        let places = ["/usr/sbin/nats-server", "/usr/bin/nats-server"];
        Self::of(program("TEST_NATS_2_9", &places), "", &[])
    }

    /// Starts a current server with a configuration file.
    pub fn configured(config: &str) -> Self {
        Self::of(program("TEST_NATS", CURRENT), config, &[])
    }

    /// Starts a three-node cluster.
    pub fn cluster() -> Vec<Self> {
        Self::cluster_configured("")
    }

    /// The same, each node with this configuration file.
    pub fn cluster_configured(config: &str) -> Vec<Self> {
        let program = program("TEST_NATS", CURRENT);
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all: Vec<String> =
            routes.iter().map(|it| format!("nats-route://127.0.0.1:{it}")).collect();
        routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let extra = [
                    "--server_name".to_owned(),
                    format!("node-{index}"),
                    "--cluster_name".to_owned(),
                    "test".to_owned(),
                    "--cluster".to_owned(),
                    format!("nats://127.0.0.1:{route}"),
                    "--routes".to_owned(),
                    all.join(","),
                ];
                Self::of(program.clone(), config, &extra)
            })
            .collect()
    }

    /// Its configuration file lies in its folder, so it can be launched again.
    fn of(program: PathBuf, config: &str, extra: &[String]) -> Self {
        let folder = folder("nats");
        let file = folder.path().join("nats.conf");
        fs::write(&file, config).expect("a configuration file");
        let own = ["-c".to_owned(), file.display().to_string()];
        let (port, extra) = (free_port(), [&own, extra].concat());
        let mut server = Self { folder, program, port, extra, server: None };
        server.launch();
        server
    }

    /// Starts the server again on the same port and folder.
    pub fn launch(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("a log file");
        let mut command = with_parent(&self.program);
        command
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(self.storage())
            .args(&self.extra)
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(start(command));
        let port = self.port;
        wait_for("nats-server", || listens(port));
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.server.take() {
            kill(&mut child);
        }
    }

    /// Stops it where it is (SIGSTOP): it answers nothing, and its connections stand.
    pub fn pause(&self) {
        signal(self.server.as_ref().expect("the server runs").id(), "-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        signal(self.server.as_ref().expect("the server runs").id(), "-CONT");
    }

    /// Its JetStream folder.
    pub fn storage(&self) -> PathBuf {
        self.folder.path().join("js")
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}
