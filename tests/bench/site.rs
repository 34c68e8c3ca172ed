//! Rapport in a process of its own, and the people who call it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use chassis::testing::{AUDIENCE, OidcIssuer, TokenSpec};
use eventstore::{CommitOptions, Log, Store};
use prost::Message as _;
use rapport::demo::Cast;
use rapport::remote::{Addresses, Remote};
use rapport::targets::TARGETS;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::types::{Envelope, PartyKind};
use support::Time;
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::Bench;
use crate::child::Server;
use crate::party::TENANT;
use crate::servers::open;

/// Which database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Sqlite,
    Postgres,
}

impl On {
    pub(crate) const BOTH: [Self; 2] = [Self::Sqlite, Self::Postgres];

    /// The id of a row on it.
    pub(crate) fn row(self, id: &str) -> String {
        let name = match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        };
        format!("{id}-{name}")
    }

    pub(crate) fn told(self) -> &'static str {
        match self {
            Self::Sqlite => "embedded SQLite, synchronous=FULL",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// A server in a process of its own, with an issuer it trusts.
pub(crate) struct Site {
    pub(crate) server: Server,
    database: String,
    settings: Vec<String>,
    token: MetadataValue<Ascii>,
    issuer: OidcIssuer,
    folder: TempDir,
}

/// A transport that sends the token with every call.
pub(crate) type Authorised = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Site {
    /// Serves every target on databases or files of its own.
    pub(crate) async fn start(bench: &Bench, on: On, settings: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let database = match on {
            On::Sqlite => format!("sqlite://{}/{{service}}.db", folder.path().display()),
            On::Postgres => databases(bench),
        };
        let issuer = OidcIssuer::start().await;
        let token = format!("Bearer {}", issuer.token(TENANT, "bench", &["*"])).parse()?;
        let all = base(folder.path(), &database, &issuer)?;
        let server = Server::start(&with(&all, settings)).await?;
        Ok(Self { server, database, settings: all, token, issuer, folder })
    }

    /// Stops the server and starts it on the same data with other settings.
    pub(crate) async fn again(self, settings: &[&str]) -> Result<Self> {
        self.server.stop().await?;
        let server = Server::start(&with(&self.settings, settings)).await?;
        Ok(Self { server, ..self })
    }

    pub(crate) fn parent() -> String {
        format!("tenants/{TENANT}")
    }

    /// Where its files are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> Authorised {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.server.address))
            .expect("an address makes a URL");
        InterceptedService::new(
            endpoint.tcp_nodelay(true).connect_lazy(),
            Bearer(self.token.clone()),
        )
    }

    /// The people who write, approve and review.
    pub(crate) fn cast(&self) -> Result<Cast> {
        let all = format!("http://{}", self.server.address);
        let addresses = Addresses { all, ..Addresses::default() };
        Cast::new(|person, roles| {
            let token = TokenSpec::new(TENANT, person, &["*"]).roles(roles);
            Remote::new(&addresses, TENANT, &self.issuer.mint(token))
        })
    }

    /// Its time, when its clock is simulated.
    pub(crate) fn time(&self) -> Result<Time> {
        let token = self.issuer.token(TENANT, "clock", &["*"]);
        Time::new([self.server.admin.to_string().as_str()], &token)
    }

    /// Registers parties; returns their ids.
    pub(crate) async fn register(&self, kind: PartyKind, count: usize) -> Result<Vec<String>> {
        let mut client = PartyServiceClient::new(self.connect());
        let mut ids = Vec::new();
        for number in 0..count {
            let request = RegisterPartyRequest {
                parent: Self::parent(),
                kind: kind.into(),
                market: "DE".into(),
                request_id: format!("register-{}-{number}", kind.as_str_name()),
                ..RegisterPartyRequest::default()
            };
            let reply = client.register_party(request).await?.into_inner();
            ids.push(reply.party.context("a registered party")?.party_id);
        }
        Ok(ids)
    }

    /// Opens the store of a target beside its server.
    pub(crate) async fn store(&self, target: &str) -> Result<Store> {
        let url = self.database.replace("{service}", target);
        let row = TARGETS.iter().find(|it| it.name == target).context("a target")?;
        open(target, &url, (row.schema)(), Log::local(), CommitOptions::default()).await
    }

    /// Position of the last event of a target.
    pub(crate) async fn head(&self, target: &str) -> Result<u64> {
        let store = self.store(target).await?;
        let head = store.read_head().await?;
        store.close().await;
        Ok(head.position)
    }

    /// Looks at everything a target recorded after a position.
    pub(crate) async fn recorded(
        &self,
        target: &str,
        after: u64,
        mut look: impl FnMut(&Envelope),
    ) -> Result<()> {
        let store = self.store(target).await?;
        let mut after = after;
        loop {
            let page = store.read(after, 500).await?;
            let Some(last) = page.last() else { break };
            after = last.position;
            for event in &page {
                look(&Envelope::decode(&*event.envelope)?);
            }
        }
        store.close().await;
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }
}

/// A database for each target; their URL.
fn databases(bench: &Bench) -> String {
    let postgres = bench.servers.postgres();
    let prefix = eventstore::Ids::system().random("site");
    for target in TARGETS {
        postgres.psql("postgres", &format!("CREATE DATABASE {prefix}_{}", target.name));
    }
    postgres.url(&format!("{prefix}_{{service}}"))
}

fn base(folder: &Path, database: &str, issuer: &OidcIssuer) -> Result<Vec<String>> {
    let (kek, service_key) = (folder.join("kek"), folder.join("service-key"));
    // 32 bytes in base64.
    fs::write(&kek, "BwcH".repeat(10) + "Bwc=")?;
    fs::write(&service_key, "a key for the bench and for nothing else")?;
    Ok(vec![
        format!("tenants={TENANT}"),
        format!("database.url={database}"),
        "grpc.address=127.0.0.1:0".into(),
        "admin.address=127.0.0.1:0".into(),
        "auth.mode=oidc".into(),
        format!("auth.issuer={}", issuer.url()),
        format!("auth.audience={AUDIENCE}"),
        format!("auth.service_key_file={}", service_key.display()),
        format!("keys.kek_file={}", kek.display()),
        format!("delivery.outbox={}", folder.join("outbox").display()),
        "telemetry.log_level=warn".into(),
    ])
}

fn with(base: &[String], more: &[&str]) -> Vec<String> {
    base.iter().cloned().chain(more.iter().map(|it| (*it).to_owned())).collect()
}
