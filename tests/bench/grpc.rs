//! Commands through gRPC: authenticated, decided, durable, visible, answered.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chassis::testing::{AUDIENCE, OidcIssuer};
use rapport_proto::profiles::v1::consent_service_client::ConsentServiceClient;
use rapport_proto::profiles::v1::party_service_client::PartyServiceClient;
use rapport_proto::profiles::v1::{
    ConsentKey, RecordConsentRequest, RegisterPartyRequest, consent,
};
use rapport_proto::types::{Channel as By, PartyKind, Purpose, Regime};
use tempfile::TempDir;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

use crate::Bench;
use crate::child::Server;
use crate::measure::{Client, drive, in_turn, rate};
use crate::party::TENANT;
use crate::raw;
use crate::report::{Report, Row};

const CLIENTS: usize = 64;
/// Instead of gathering what waits, each command is a transaction of its own.
const ALONE: &str = "commit.max_units=1";

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if bench.wants("grpc-postgres") {
        report.add(beside_raw(bench).await?);
    }
    if bench.wants("grpc-group") {
        let together = Site::on_postgres(bench, &[]).await?;
        let alone = Site::on_postgres(bench, &[ALONE]).await?;
        let what = format!(
            "commands through gRPC on PostgreSQL, {CLIENTS} clients, group commit; reference: the same server with \
             batches of 1"
        );
        report.add(grouped(bench, "grpc-group", what, together, alone).await?);
    }
    if bench.wants("grpc-sqlite") {
        let together = Site::on_sqlite(&[]).await?;
        let alone = Site::on_sqlite(&[ALONE]).await?;
        let what = format!(
            "commands through gRPC on embedded SQLite, synchronous=FULL, {CLIENTS} clients; reference: one \
             transaction per event; the disk makes {:.0} fdatasync/s",
            syncs_per_second(together.folder.path())?
        );
        report.add(grouped(bench, "grpc-sqlite", what, together, alone).await?);
    }
    Ok(())
}

async fn beside_raw(bench: &Bench) -> Result<Row> {
    let site = Site::on_postgres(bench, &[]).await?;
    let mut clients = site.clients().await?;
    drive(&mut clients, bench.plan.time / 10).await?;
    let raw = raw::database(&bench.servers, profiles::schema()).await?;
    let mut singles = raw::Single::several(&raw, CLIENTS, &vec![7; 700]).await?;
    let time = bench.plan.time;
    let compared = in_turn(
        bench.plan,
        async || drive(&mut clients, time).await,
        async || drive(&mut singles, time).await,
    )
    .await?;
    site.stop().await?;
    let what = format!(
        "commands through gRPC (RecordConsent), {CLIENTS} clients, one event each, durable, with authentication, \
         decide and views, on PostgreSQL; reference: raw sqlx BEGIN; INSERT; COMMIT, {CLIENTS} tasks, no gRPC"
    );
    Ok(Row::compared("grpc-postgres", what, &compared, 0.5))
}

async fn grouped(
    bench: &Bench,
    id: &str,
    what: String,
    together: Site,
    alone: Site,
) -> Result<Row> {
    let (mut ours, mut theirs) = (together.clients().await?, alone.clients().await?);
    let time = bench.plan.time;
    let compared = in_turn(
        bench.plan,
        async || drive(&mut ours, time).await,
        async || drive(&mut theirs, time).await,
    )
    .await?;
    together.stop().await?;
    alone.stop().await?;
    Ok(Row::compared(id, what, &compared, 1.5))
}

/// How often the disk can make a page durable.
fn syncs_per_second(folder: &Path) -> Result<f64> {
    let mut file = fs::File::create(folder.join("sync"))?;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(2) {
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(rate(count, start.elapsed()))
}

/// A server in a process of its own, with an issuer it trusts.
pub(crate) struct Site {
    pub(crate) server: Server,
    token: MetadataValue<Ascii>,
    _issuer: OidcIssuer,
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
    /// On a database of its own.
    pub(crate) async fn on_postgres(bench: &Bench, settings: &[&str]) -> Result<Self> {
        let postgres = bench.servers.postgres();
        let prefix = eventstore::Ids::system().random("site");
        postgres.psql("postgres", &format!("CREATE DATABASE {prefix}_profiles"));
        Self::start(tempfile::tempdir()?, postgres.url(&format!("{prefix}_{{service}}")), settings)
            .await
    }

    /// On files of its own.
    async fn on_sqlite(settings: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = format!("sqlite://{}/{{service}}.db", folder.path().display());
        Self::start(folder, url, settings).await
    }

    async fn start(folder: TempDir, database: String, settings: &[&str]) -> Result<Self> {
        let issuer = OidcIssuer::start().await;
        let token = issuer.token(TENANT, "bench", &["*"]);
        let (kek, service_key) = (folder.path().join("kek"), folder.path().join("service-key"));
        // 32 bytes in base64.
        fs::write(&kek, "BwcH".repeat(10) + "Bwc=")?;
        fs::write(&service_key, "a key for the bench and for nothing else")?;
        let mut all = vec![
            format!("tenants={TENANT}"),
            format!("database.url={database}"),
            "grpc.address=127.0.0.1:0".into(),
            "admin.address=127.0.0.1:0".into(),
            "auth.mode=oidc".into(),
            format!("auth.issuer={}", issuer.url()),
            format!("auth.audience={AUDIENCE}"),
            format!("auth.service_key_file={}", service_key.display()),
            format!("keys.kek_file={}", kek.display()),
            "telemetry.log_level=warn".into(),
        ];
        all.extend(settings.iter().map(|it| (*it).to_owned()));
        let server = Server::start(&all).await?;
        let token = format!("Bearer {token}").parse()?;
        Ok(Self { server, token, _issuer: issuer, folder })
    }

    pub(crate) fn parent() -> String {
        format!("tenants/{TENANT}")
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

    /// Registers parties; returns their ids.
    pub(crate) async fn register_parties(&self, count: usize) -> Result<Vec<String>> {
        let mut client = PartyServiceClient::new(self.connect());
        let mut ids = Vec::new();
        for number in 0..count {
            let request = RegisterPartyRequest {
                parent: Self::parent(),
                kind: PartyKind::Hcp.into(),
                market: "DE".into(),
                request_id: format!("register-{number}"),
                ..RegisterPartyRequest::default()
            };
            let reply = client.register_party(request).await?.into_inner();
            ids.push(reply.party.context("a registered party")?.party_id);
        }
        Ok(ids)
    }

    async fn clients(&self) -> Result<Vec<Recorder>> {
        let parties = self.register_parties(CLIENTS).await?;
        let recorder = |party_id| Recorder {
            client: ConsentServiceClient::new(self.connect()),
            party_id,
            done: 0,
        };
        Ok(parties.into_iter().map(recorder).collect())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.server.stop().await
    }
}

/// Records one consent of its party after another, each for another sender.
struct Recorder {
    client: ConsentServiceClient<Authorised>,
    party_id: String,
    done: usize,
}

impl Client for Recorder {
    async fn step(&mut self) -> Result<u64> {
        self.done += 1;
        let key = ConsentKey {
            party_id: self.party_id.clone(),
            purpose: Purpose::Promotional.into(),
            channel: By::Email.into(),
            sender_id: format!("sender-{}", self.done),
            market: "DE".into(),
        };
        let request = RecordConsentRequest {
            parent: Site::parent(),
            key: Some(key),
            state: consent::State::Granted.into(),
            regime_shown: Regime::OptIn.into(),
            source: "paper-form".into(),
            text_version: "v1".into(),
            language: "de".into(),
            request_id: format!("consent-{}-{}", self.party_id, self.done),
            ..RecordConsentRequest::default()
        };
        self.client.record_consent(request).await?;
        Ok(1)
    }
}
