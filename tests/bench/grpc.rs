//! Commands through gRPC: authenticated, decided, durable, visible, answered.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use rapport_proto::profiles::v1::consent_service_client::ConsentServiceClient;
use rapport_proto::profiles::v1::{ConsentKey, RecordConsentRequest, consent};
use rapport_proto::types::{Channel as By, PartyKind, Purpose, Regime};

use crate::Bench;
use crate::measure::{Client, drive, in_turn, rate};
use crate::raw;
use crate::report::{Report, Row};
use crate::site::{Authorised, On, Site};

const CLIENTS: usize = 64;
/// Instead of gathering what waits, each command is a transaction of its own.
const ALONE: &str = "commit.max_units=1";

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if bench.wants("grpc-postgres") {
        report.add(beside_raw(bench).await?);
    }
    if bench.wants("grpc-group") {
        let together = Site::start(bench, On::Postgres, &[]).await?;
        let alone = Site::start(bench, On::Postgres, &[ALONE]).await?;
        let what = format!(
            "commands through gRPC on PostgreSQL, {CLIENTS} clients, group commit; reference: the same server with \
             batches of 1"
        );
        report.add(grouped(bench, "grpc-group", what, together, alone).await?);
    }
    if bench.wants("grpc-sqlite") {
        let together = Site::start(bench, On::Sqlite, &[]).await?;
        let alone = Site::start(bench, On::Sqlite, &[ALONE]).await?;
        let what = format!(
            "commands through gRPC on embedded SQLite, synchronous=FULL, {CLIENTS} clients; reference: one \
             transaction per event; the disk makes {:.0} fdatasync/s",
            syncs_per_second(together.folder())?
        );
        report.add(grouped(bench, "grpc-sqlite", what, together, alone).await?);
    }
    Ok(())
}

async fn beside_raw(bench: &Bench) -> Result<Row> {
    let site = Site::start(bench, On::Postgres, &[]).await?;
    let mut clients = clients(&site).await?;
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
    let (mut ours, mut theirs) = (clients(&together).await?, clients(&alone).await?);
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

async fn clients(site: &Site) -> Result<Vec<Recorder>> {
    let parties = site.register(PartyKind::Hcp, CLIENTS).await?;
    let recorder = |party_id| Recorder {
        client: ConsentServiceClient::new(site.connect()),
        party_id,
        done: 0,
    };
    Ok(parties.into_iter().map(recorder).collect())
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
