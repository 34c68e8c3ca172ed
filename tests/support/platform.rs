//! The platform in a topology.

use std::sync::LazyLock;
use std::time::Duration;

use chassis::testing::{AUDIENCE, OidcIssuer, TokenSpec};
use eventstore::testing::{NatsServer, Postgres, free_port, psql};
use eventstore::{Clock, DatabaseOptions, Ids, Log, Secret, Store, StoreOptions};
use prost::Message as _;
use rapport_proto::eventlog::v1::ReadEventsRequest;
use rapport_proto::eventlog::v1::event_log_service_client::EventLogServiceClient;
use rapport_proto::profiles::v1::consent_service_client::ConsentServiceClient;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::types::Envelope;
use tempfile::TempDir;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, ClientTlsConfig};
use tonic::{Request, Status};

use chassis::Target;
use chassis::auth::ServiceKeys;
use chassis::settings::{Settings, Sources, Tls};
use rapport::demo::Cast;
use rapport::reference;
use rapport::remote::{Addresses, Remote};

use crate::{Node, Time, mirror};

static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);
/// Password of every user of the log.
const SECRET: &str = "no secret!";
/// Who reads every source, as if it were a target.
pub const TESTER: &str = "tester";
const SECRET_IN_URL: &str = "no%20secret%21";

/// How the platform is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One process, SQLite, embedded log.
    Embedded,
    /// One process per target, PostgreSQL, NATS JetStream, OIDC; each with a role and a user of its own, which may do
    /// what serving needs and nothing else.
    Distributed,
}

/// What a platform of several processes stands on beside its own nodes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ground {
    /// Port of another PostgreSQL server than the one that every test uses.
    pub postgres: Option<u16>,
    /// Three nats-servers that hold the same instead of one.
    pub cluster: bool,
}

/// A platform that can be started, killed and started again on the same data.
pub struct Platform {
    pub topology: Topology,
    pub issuer: OidcIssuer,
    /// Certificates of every node, which all of them show and ask for; none by default.
    pub tls: Option<Tls>,
    /// Further settings for every node.
    pub extra: Vec<String>,
    /// Further environment variables for every node.
    pub variables: Vec<(&'static str, String)>,
    program: String,
    folder: TempDir,
    /// Prefix of databases and streams: letters only.
    name: String,
    /// Targets with the ports of their nodes; in one process all have the first one's.
    targets: Vec<(&'static str, u16)>,
    /// The servers of the log, where there are several processes.
    pub nats: Vec<NatsServer>,
    ground: Ground,
    /// Admin ports of the nodes: who drives their time finds one that was started again.
    admins: Vec<u16>,
    nodes: Vec<Node>,
}

impl Platform {
    /// Prepares `profiles` and the target that reads it; `program` is the node binary.
    pub async fn new(topology: Topology, program: &str) -> Self {
        Self::of(topology, program, vec!["profiles", "mirror"], Ground::default()).await
    }

    /// Prepares some targets of the binary.
    pub async fn some(topology: Topology, program: &str, targets: &[&'static str]) -> Self {
        Self::of(topology, program, targets.to_vec(), Ground::default()).await
    }

    /// Prepares every target of the binary.
    pub async fn whole(topology: Topology, program: &str) -> Self {
        Self::whole_on(Ground::default(), topology, program).await
    }

    /// The same on other ground.
    pub async fn whole_on(ground: Ground, topology: Topology, program: &str) -> Self {
        let targets = rapport::targets::TARGETS.iter().map(|it| it.name).collect();
        Self::of(topology, program, targets, ground).await
    }

    async fn of(
        topology: Topology,
        program: &str,
        targets: Vec<&'static str>,
        ground: Ground,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let name = letters(&Ids::system().bytes::<12>());
        let write = |file: &str, text: &str| {
            std::fs::write(folder.path().join(file), text).expect("a file");
        };
        write("kek", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
        write("service", "0123456789abcdef0123456789abcdef\n");
        let platform = Self {
            topology,
            issuer: OidcIssuer::start().await,
            tls: None,
            extra: Vec::new(),
            variables: Vec::new(),
            program: program.to_owned(),
            folder,
            name,
            admins: targets.iter().map(|_| free_port()).collect(),
            targets: targets.into_iter().map(|it| (it, free_port())).collect(),
            nats: Vec::new(),
            ground,
            nodes: Vec::new(),
        };
        match topology {
            Topology::Embedded => platform,
            Topology::Distributed => Box::pin(platform.prepared()).await,
        }
    }

    /// Makes the log's server with a user for each target, and the databases, migrated, with a role for each.
    async fn prepared(self) -> Self {
        let rows = self.rows();
        let mut reads = reference::reads(&rows).await.expect("who reads whom");
        // Targets that are not here are read all the same.
        for source in reads.values().flatten().cloned().collect::<Vec<_>>() {
            reads.entry(source).or_default();
        }
        reads.insert(TESTER.to_owned(), rows.iter().map(|it| it.name.to_owned()).collect());
        let mut accounts = reference::nats_accounts(&self.name, &reads);
        for name in reads.keys() {
            let variable = format!("$RAPPORT_NATS_PASSWORD_{},", name.to_uppercase());
            accounts = accounts.replace(&variable, &format!("{SECRET:?},"));
            // A person who may do anything with the stream.
            let user = format!("{{ user: {name}, ");
            let operator =
                format!("{{ user: operator-{name}, password: {SECRET:?} }}\n      {user}");
            accounts = accounts.replace(&user, &operator);
        }
        let nats = match self.ground.cluster {
            true => NatsServer::cluster_configured(&accounts),
            false => vec![NatsServer::configured(&accounts)],
        };
        let platform = Self { nats, ..self };
        for (index, row) in rows.iter().enumerate() {
            let (name, target) = (&platform.name, row.name);
            for statement in [
                format!("CREATE DATABASE {name}_{target}"),
                format!("CREATE ROLE {name}_{target} LOGIN"),
                format!("REVOKE CONNECT ON DATABASE {name}_{target} FROM PUBLIC"),
                format!("GRANT CONNECT ON DATABASE {name}_{target} TO {name}_{target}"),
            ] {
                psql(&platform.postgres("postgres"), &statement);
            }
            let mut flags = platform.settings(index);
            flags.push(format!("database.url={}", platform.database("{service}")));
            flags.push(format!("database.runtime_role={name}_{{service}}"));
            // As the chart does it: what migrates needs no user of the log.
            flags.push("log.url=".into());
            let settings = Settings::load(&Sources { flags, ..Sources::default() });
            let settings = settings.expect("settings of a platform");
            let row = std::slice::from_ref(row);
            chassis::assembly::migrate(row, &settings).await.expect("migrated");
        }
        platform
    }

    /// The targets as they are built.
    fn rows(&self) -> Vec<Target> {
        let all = [rapport::targets::TARGETS, &[mirror::TARGET]].concat();
        let row = |name| all.iter().find(|it| it.name == name).copied().expect("a target");
        self.targets.iter().map(|(name, _)| row(*name)).collect()
    }

    /// Starts every node, one of them with a failpoint: the one that runs `profiles`, `mirror` for points inside a
    /// consumer, or `delivery` for points around the call of a provider.
    pub fn start(&mut self, failpoint: Option<&str>) {
        let parks = match failpoint.and_then(|it| it.split_once('_')) {
            Some(("consumer", _)) => "mirror",
            Some(("provider", _)) => "delivery",
            _ => "profiles",
        };
        let alone = self.topology == Topology::Embedded;
        let count = if alone { 1 } else { self.targets.len() };
        self.nodes = (0..count)
            .map(|index| {
                let here = alone || self.targets[index].0 == parks;
                let failpoint = failpoint.filter(|_| here).map(|it| ("FAILPOINT", it.to_owned()));
                let variables: Vec<_> = self.variables.iter().cloned().chain(failpoint).collect();
                Node::start(&self.program, &self.settings(index), &variables)
            })
            .collect();
    }

    /// Kills the node of a target (SIGKILL) and starts it again; in one process that is everything.
    pub fn restart(&mut self, target: &str) {
        let index = self.index(target);
        self.nodes[index].kill();
        self.nodes[index] = Node::start(&self.program, &self.settings(index), &self.variables);
    }

    /// Node that runs a target.
    fn index(&self, target: &str) -> usize {
        match self.topology {
            Topology::Embedded => 0,
            Topology::Distributed => self
                .targets
                .iter()
                .position(|it| it.0 == target)
                .expect("a target of this platform"),
        }
    }

    /// Where a target is called: by others, and by clients.
    pub fn address(&self, target: &str) -> String {
        format!("127.0.0.1:{}", self.targets[self.index(target)].1)
    }

    /// Name, port and settings of each process.
    pub fn processes(&self) -> impl Iterator<Item = (&'static str, u16, Vec<String>)> {
        let it = self.targets.iter().enumerate();
        it.map(|(index, (name, port))| (*name, *port, self.settings(index)))
    }

    /// The program that the nodes run.
    pub(crate) fn program(&self) -> &str {
        &self.program
    }

    fn settings(&self, index: usize) -> Vec<String> {
        let path = |file: &str| self.folder.path().join(file).display().to_string();
        let targets = match self.topology {
            Topology::Embedded => self.targets.iter().map(|it| it.0).collect::<Vec<_>>().join(","),
            Topology::Distributed => self.targets[index].0.to_owned(),
        };
        let mut settings = vec![
            format!("targets={targets}"),
            "tenants=acme,umbrella".into(),
            format!("grpc.address=127.0.0.1:{}", self.targets[index].1),
            format!("admin.address=127.0.0.1:{}", self.admins[index]),
            "auth.mode=oidc".into(),
            format!("auth.issuer={}", self.issuer.url()),
            format!("auth.audience={AUDIENCE}"),
            format!("auth.service_key_file={}", path("service")),
            format!("keys.kek_file={}", path("kek")),
            // On a slow machine, too.
            "grpc.request_timeout_ms=600000".into(),
        ];
        if self.topology == Topology::Embedded {
            settings.push(format!("database.url={}", self.database("{service}")));
        } else {
            settings.push(format!("database.url={}", self.database_of("{service}")));
            settings.push("database.migrate=false".into());
            settings.push(format!("log.url={}", self.nats_url(self.targets[index].0)));
            settings.push("log.accounts=true".into());
            settings.push(format!("log.prefix={}", self.name));
            settings.push(format!("log.replicas={}", self.nats.len()));
            let scheme = if self.tls.is_some() { "https" } else { "http" };
            let peer = |it: &(&str, u16)| format!("peers.{}={scheme}://127.0.0.1:{}", it.0, it.1);
            settings.extend(self.targets.iter().map(peer));
            // In one process that is where everything is.
            let gateway = self.targets.iter().find(|it| it.0 == "gateway");
            settings
                .extend(gateway.map(|it| format!("delivery.survey_url=http://127.0.0.1:{}", it.1)));
        }
        if let Some(tls) = &self.tls {
            settings.push(format!("tls.cert_file={}", tls.cert_file.display()));
            settings.push(format!("tls.key_file={}", tls.key_file.display()));
            settings.push(format!("tls.client_ca_file={}", tls.client_ca_file.display()));
            settings.push(format!("tls.ca_file={}", tls.ca_file.display()));
        }
        settings.extend(self.extra.iter().cloned());
        settings
    }

    /// What a caller trusts and shows, by the certificates as they are now.
    pub fn client_tls(&self) -> Option<ClientTlsConfig> {
        let files = self.tls.as_ref()?;
        Some(chassis::tls::Tls::read(files).expect("certificates").client())
    }

    /// The keys with which its targets sign what they ask of each other.
    pub fn service_keys(&self) -> ServiceKeys {
        ServiceKeys::read(&self.folder.path().join("service")).expect("written before")
    }

    /// Folder of this platform's own; gone with it.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Clients of every service, with the token of a person of a tenant.
    pub fn remote(&self, tenant: &str, person: &str) -> Remote {
        self.remote_in(tenant, person, &[])
    }

    /// The same for a person in roles.
    fn remote_in(&self, tenant: &str, person: &str, roles: &[&str]) -> Remote {
        let token = self.issuer.mint(TokenSpec::new(tenant, person, &["*"]).roles(roles));
        let url = |target: &str| format!("http://{}", self.address(target));
        let named = self.targets.iter().map(|it| (it.0.to_owned(), url(it.0)));
        let all = url(self.targets[0].0);
        let addresses = Addresses { all, named: named.collect(), ..Addresses::default() };
        Remote::new(&addresses, tenant, &token).expect("clients of a running platform")
    }

    /// The people who write, approve and review for `acme`.
    pub fn cast(&self) -> Cast {
        Cast::new(|person, roles| Ok(self.remote_in("acme", person, roles))).expect("people")
    }

    /// Takes over the time of a platform whose clock is simulated.
    pub fn time(&self) -> Time {
        let token = self.issuer.token("acme", "clock", &["*"]);
        Time::new(self.nodes.iter().map(|it| it.admin.as_str()), &token).expect("addresses")
    }

    /// First token of every subject of its log.
    pub fn prefix(&self) -> &str {
        &self.name
    }

    /// User, password and server of a target on the log.
    pub fn nats_user(&self, target: &str) -> (String, String, String) {
        let server = self.nats.first().expect("several processes have one").url();
        (target.to_owned(), SECRET.to_owned(), server)
    }

    /// The database of a target, as its own role.
    pub fn database_of(&self, target: &str) -> String {
        let role = format!("{}_{target}", self.name);
        self.database(target).replace("postgres@", &format!("{role}@"))
    }

    /// The log's servers, for a user of it.
    fn nats_url(&self, user: &str) -> String {
        let urls: Vec<_> = self.nats.iter().map(NatsServer::url).collect();
        urls.join(",").replace("nats://", &format!("nats://{user}:{SECRET_IN_URL}@"))
    }

    fn postgres(&self, database: &str) -> String {
        match self.ground.postgres {
            Some(port) => format!("postgres://postgres@127.0.0.1:{port}/{database}"),
            None => POSTGRES.url(database),
        }
    }

    fn database(&self, service: &str) -> String {
        match self.topology {
            Topology::Embedded => {
                format!("sqlite://{}/{service}.db", self.folder.path().display())
            }
            Topology::Distributed => self.postgres(&format!("{}_{service}", self.name)),
        }
    }

    /// The node that runs a target.
    pub fn node(&self, target: &str) -> &Node {
        &self.nodes[self.index(target)]
    }

    /// The nodes, `profiles` first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Whether a node parked at its failpoint.
    pub fn parked(&self) -> bool {
        self.nodes.iter().any(Node::parked)
    }

    /// Kills every node.
    pub fn kill(&mut self) {
        self.nodes.clear();
    }

    /// Stops every node in order; panics if one does not end well.
    pub fn stop(&mut self) {
        for node in self.nodes.drain(..) {
            // Who may not read the log heals from the producer, and nobody notices.
            let said = node.said();
            assert!(!said.contains("Permissions Violation"), "a right is missing: {said}");
            assert!(node.stop(), "a node did not end well");
        }
    }

    /// A client of `profiles` with a token of a tenant.
    pub fn client(&self, tenant: &str) -> Client {
        let token = self.issuer.token(tenant, "tester", &["*"]);
        Client::new(&self.address(self.targets[0].0), &token)
    }

    /// Opens the store of a target beside or after its node.
    pub async fn store(&self, target: &str) -> Store {
        let row = self.rows().into_iter().find(|it| it.name == target).expect("a target");
        let options = StoreOptions {
            source: target.to_owned(),
            database: DatabaseOptions::new(self.database(target)),
            migrate: true,
            commit: Default::default(),
            kms: Some(Secret::new([7; 32]).into()),
            clock: Clock::system(),
            ids: Ids::system(),
            log: Log::local(),
        };
        Store::open(options, (row.schema)()).await.expect("the store opens")
    }

    /// Everything that a target recorded for `acme`, by position, as an auditor reads it.
    pub async fn log_of(&self, target: &str) -> Vec<(u64, Envelope)> {
        let token = self.issuer.token("acme", "auditor", &["eventlog.events.read"]);
        let channel = Channel::from_shared(format!("http://{}", self.address(target)))
            .expect("an address")
            .timeout(Duration::from_secs(60))
            .connect_lazy();
        let mut client = EventLogServiceClient::with_interceptor(channel, Token::new(&token))
            .max_decoding_message_size(16 << 20);
        let (mut facts, mut after_position) = (Vec::new(), 0);
        loop {
            let request = ReadEventsRequest { source: target.into(), after_position, limit: 500 };
            let page = client.read_events(request).await.expect("events").into_inner();
            for it in &page.events {
                let envelope = Envelope::decode(&*it.envelope).expect("an envelope");
                facts.push((it.position, envelope));
            }
            if page.next_after_position <= after_position {
                return facts;
            }
            after_position = page.next_after_position;
        }
    }

    /// The log, when there is one beside the stores.
    pub async fn log(&self) -> Option<Log> {
        if self.topology == Topology::Embedded {
            return None;
        }
        let options = eventstore::NatsOptions {
            account: TESTER.to_owned(),
            inbox: format!("_INBOX_{TESTER}"),
            prefix: self.name.clone(),
            replicas: self.nats.len(),
            ..eventstore::NatsOptions::new(self.nats_url(TESTER))
        };
        Some(Log::nats(options).await.expect("the log answers"))
    }
}

fn letters(bytes: &[u8]) -> String {
    bytes.iter().map(|it| char::from(b'a' + it % 26)).collect()
}

/// Typed clients with a token.
#[derive(Clone)]
pub struct Client {
    pub parties: PartyServiceClient<InterceptedService<Channel, Token>>,
    pub consents: ConsentServiceClient<InterceptedService<Channel, Token>>,
    pub sources: SourceServiceClient<InterceptedService<Channel, Token>>,
}

/// Adds a bearer token.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    pub(crate) fn new(token: &str) -> Self {
        Self(token.to_owned())
    }
}

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = format!("Bearer {}", self.0).parse().expect("a token is ASCII");
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

impl Client {
    /// Clients of an address; they connect at the first call.
    pub fn new(address: &str, token: &str) -> Self {
        let channel = Channel::from_shared(format!("http://{address}"))
            .expect("an address")
            .timeout(Duration::from_secs(60))
            .connect_lazy();
        let token = Token(token.to_owned());
        Self {
            parties: PartyServiceClient::with_interceptor(channel.clone(), token.clone()),
            consents: ConsentServiceClient::with_interceptor(channel.clone(), token.clone()),
            sources: SourceServiceClient::with_interceptor(channel, token),
        }
    }
}

/// Waits for a condition, at most ten minutes.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(600);
    while !condition().await {
        assert!(tokio::time::Instant::now() < give_up, "not within 600 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
