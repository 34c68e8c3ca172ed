//! The driver of a simulated clock: it owns the time of every process of a platform.
//!
//! A process may be killed and started again at any moment. It knows no time then and does nothing, and others wait for
//! it: so every process is told the time again and again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use eventstore::Timestamp;
use futures::future::{join_all, try_join_all};
use rapport_proto::simulation::v1::simulation_service_client::SimulationServiceClient;
use rapport_proto::simulation::v1::{SetTimeRequest, SettleRequest, SettleResponse};
use tokio::sync::watch;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::again;
use crate::remote::{Http, Refused, Token, told};

/// How long a call to a process may take; it gives up itself before that.
const CALL: Duration = Duration::from_secs(60);

/// Pause between two rounds in which every process is told the time again.
const REMIND: Duration = Duration::from_millis(500);

/// The time of a platform.
#[derive(Clone)]
pub struct Time {
    processes: Vec<SimulationServiceClient<Http>>,
    now: watch::Sender<Timestamp>,
    frontier: BTreeMap<String, u64>,
}

impl Time {
    /// Over the admin addresses of all processes, `HOST:PORT`. To be called where tasks can be spawned.
    pub fn new<'a>(admins: impl IntoIterator<Item = &'a str>, token: &str) -> anyhow::Result<Self> {
        let mut processes = Vec::new();
        for admin in admins {
            let endpoint = Channel::from_shared(format!("http://{admin}"))
                .with_context(|| format!("{admin:?} is no address HOST:PORT"))?;
            let channel = endpoint.timeout(CALL).connect_lazy();
            let http = InterceptedService::new(channel, Token::new(token)?);
            processes.push(SimulationServiceClient::new(http));
        }
        let (now, shown) = watch::channel(Timestamp::default());
        #[expect(clippy::disallowed_methods, reason = "it ends with its last owner")]
        tokio::spawn(remind(processes.clone(), shown));
        Ok(Self { processes, now, frontier: BTreeMap::new() })
    }

    /// Sets the clock of every process.
    pub async fn set(&mut self, at: Timestamp) -> anyhow::Result<()> {
        self.now.send_replace(at);
        for process in &self.processes {
            again(&format!("set the time to {at}"), async || tell(process, at).await).await?;
        }
        Ok(())
    }

    /// Lets everything happen that follows from what is there, until nothing moves; returns when a timer is due next.
    pub async fn settle(&mut self) -> anyhow::Result<Option<Timestamp>> {
        loop {
            let before = self.frontier.clone();
            let settling = self.processes.iter().map(|process| self.settle_one(process));
            let mut next: Option<Timestamp> = None;
            for settled in try_join_all(settling).await? {
                let due = settled.next_due_time.as_ref().and_then(Timestamp::from_proto);
                next = next.into_iter().chain(due).min();
                self.frontier.extend(settled.heads);
            }
            if self.frontier == before {
                return Ok(next);
            }
        }
    }

    async fn settle_one(
        &self,
        process: &SimulationServiceClient<Http>,
    ) -> anyhow::Result<SettleResponse> {
        let request = SettleRequest { frontier: self.frontier.clone() };
        let settle = async || told(process.clone().settle(request.clone()).await);
        again(&format!("settle at {}", self.now()), settle).await
    }

    /// Moves the clock to an instant. Everything that falls due before it happens at its own time; what is due at that
    /// instant happens with the next settling, after what is told meanwhile.
    pub async fn arrive(&mut self, at: Timestamp) -> anyhow::Result<()> {
        while let Some(due) = self.settle().await?.filter(|due| *due < at) {
            self.set(due).await?;
        }
        self.set(at).await
    }

    /// Moves the clock to an instant, and lets everything happen up to there.
    pub async fn reach(&mut self, at: Timestamp) -> anyhow::Result<()> {
        self.arrive(at).await?;
        self.settle().await?;
        Ok(())
    }

    /// What every clock shows.
    pub fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    /// Positions of every source, as of the last settling.
    pub fn frontier(&self) -> &BTreeMap<String, u64> {
        &self.frontier
    }
}

/// Tells every process the time from time to time, as long as somebody owns it.
async fn remind(processes: Vec<SimulationServiceClient<Http>>, now: watch::Receiver<Timestamp>) {
    // `has_changed` fails when the owner is gone.
    while now.has_changed().is_ok() {
        tokio::time::sleep(REMIND).await;
        let at = *now.borrow();
        if at > Timestamp::default() {
            // Who cannot be reached, or knows a later time by now, needs no answer.
            let telling = processes.iter().map(|it| tokio::time::timeout(REMIND, tell(it, at)));
            join_all(telling).await;
        }
    }
}

async fn tell(process: &SimulationServiceClient<Http>, at: Timestamp) -> Result<(), Refused> {
    let request = SetTimeRequest { time: Some(at.to_proto()) };
    told(process.clone().set_time(request).await).map(drop)
}
