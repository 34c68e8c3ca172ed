//! The driver of a simulated clock: it owns the time of every process of a platform.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use eventstore::Timestamp;
use rapport_proto::simulation::v1::simulation_service_client::SimulationServiceClient;
use rapport_proto::simulation::v1::{SetTimeRequest, SettleRequest};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::remote::{Http, Token, told};

/// How long a process may take to settle.
const PATIENCE: Duration = Duration::from_secs(120);

/// The time of a platform.
#[derive(Clone)]
pub struct Time {
    processes: Vec<SimulationServiceClient<Http>>,
    frontier: BTreeMap<String, u64>,
}

impl Time {
    /// Over the admin addresses of all processes, `HOST:PORT`.
    pub fn new<'a>(
        admins: impl IntoIterator<Item = &'a str>,
        token: &str,
    ) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        for admin in admins {
            let endpoint = Channel::from_shared(format!("http://{admin}"))
                .with_context(|| format!("{admin:?} is no address HOST:PORT"))?;
            let channel = endpoint.timeout(PATIENCE).connect_lazy();
            let http = InterceptedService::new(channel, Token::new(token)?);
            processes.push(SimulationServiceClient::new(http));
        }
        Ok(Self { processes, frontier: BTreeMap::new() })
    }

    /// Sets the clock of every process.
    pub async fn set(&mut self, at: Timestamp) -> anyhow::Result<()> {
        for process in &mut self.processes {
            let request = SetTimeRequest { time: Some(at.to_proto()) };
            told(process.set_time(request).await).with_context(|| format!("set time to {at}"))?;
        }
        Ok(())
    }

    /// Lets everything happen that follows from what is there, until nothing moves; returns when a timer is due next.
    pub async fn settle(&mut self) -> anyhow::Result<Option<Timestamp>> {
        loop {
            let before = self.frontier.clone();
            let mut next: Option<Timestamp> = None;
            for process in &mut self.processes {
                let request = SettleRequest { frontier: self.frontier.clone() };
                let settled = told(process.settle(request).await).context("settle")?;
                let due = settled.next_due_time.as_ref().and_then(Timestamp::from_proto);
                next = next.into_iter().chain(due).min();
                self.frontier.extend(settled.heads);
            }
            if self.frontier == before {
                return Ok(next);
            }
        }
    }

    /// Moves the clock from timer to timer up to an instant; everything that falls due happens at its own time.
    pub async fn reach(&mut self, at: Timestamp) -> anyhow::Result<()> {
        while let Some(due) = self.settle().await?.filter(|due| *due <= at) {
            self.set(due).await?;
        }
        self.set(at).await?;
        self.settle().await?;
        Ok(())
    }

    /// Positions of every source, as of the last settling.
    pub fn frontier(&self) -> &BTreeMap<String, u64> {
        &self.frontier
    }
}
