//! Resident memory of a process that serves all targets, after many events went through it.

use std::fs;

use anyhow::{Context as _, Result};
use rapport_proto::profiles::v1::source_service_client::SourceServiceClient;
use rapport_proto::profiles::v1::{
    NewInteraction, RecordInteractionsRequest, RegisterSourceRequest,
};
use rapport_proto::types::PartyKind;

use crate::Bench;
use crate::measure::{Client, rate};
use crate::report::{Report, Row};
use crate::site::{Authorised, On, Site};

const EVENTS: usize = 1_000_000;
/// Interactions in a request: the most there may be.
const BULK: usize = 256;
const CLIENTS: usize = 8;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> Result<()> {
    if !bench.wants("memory") && !bench.wants("intake") {
        return Ok(());
    }
    let site = Site::start(bench, On::Postgres, &[]).await?;
    let fresh = resident(site.server.id()?)?;
    let parties = site.register(PartyKind::Hcp, CLIENTS).await?;
    SourceServiceClient::new(site.connect())
        .register_source(RegisterSourceRequest {
            parent: Site::parent(),
            source_id: "bench".into(),
            owner: "bench".into(),
            ..RegisterSourceRequest::default()
        })
        .await?;
    let mut clients: Vec<_> = (parties.into_iter().enumerate())
        .map(|(number, party_id)| Reporter {
            client: SourceServiceClient::new(site.connect()),
            number,
            party_id,
            requests: 0,
        })
        .collect();
    let (start, events) = (std::time::Instant::now(), bench.plan.volume(EVENTS));
    let mut done = 0;
    while done < events as u64 {
        let steps = clients.iter_mut().map(Client::step);
        done += futures::future::try_join_all(steps).await?.iter().sum::<u64>();
    }
    let took = start.elapsed();
    let id = site.server.id()?;
    let what = format!(
        "resident memory of a process that serves all targets, after {done} interactions went through it \
         ({fresh:.0} MiB when it started)"
    );
    report.add(Row::reported("memory", what, resident(id)?, "MiB"));
    let what = format!(
        "interactions through gRPC into PostgreSQL, {BULK} to a request, {CLIENTS} clients"
    );
    report.add(Row::reported("intake", what, rate(done, took), "events/s"));
    site.stop().await
}

/// MiB.
fn resident(process: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    let kibibytes: f64 = line.context("VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes / 1_024.0)
}

/// A source that reports in bulk.
struct Reporter {
    client: SourceServiceClient<Authorised>,
    number: usize,
    party_id: String,
    requests: usize,
}

impl Client for Reporter {
    async fn step(&mut self) -> Result<u64> {
        use rapport_proto::profiles::v1::new_interaction::Party;
        let interactions = (0..BULK)
            .map(|it| NewInteraction {
                message_id: format!("message-{}-{}-{it}", self.number, self.requests),
                name: "Page Viewed".into(),
                occurred_time: Some(eventstore::Timestamp::real().to_proto()),
                party: Some(Party::PartyId(self.party_id.clone())),
                ..NewInteraction::default()
            })
            .collect();
        self.requests += 1;
        let request = RecordInteractionsRequest {
            parent: format!("{}/sources/bench", Site::parent()),
            interactions,
            request_id: String::new(),
        };
        let reply = self.client.record_interactions(request).await?.into_inner();
        Ok(reply.verdicts.len() as u64)
    }
}
