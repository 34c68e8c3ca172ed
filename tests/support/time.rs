//! The driver of a simulated clock: it owns the time of every node.

use std::collections::BTreeMap;
use std::time::Duration;

use eventstore::Timestamp;
use rapport_proto::simulation::v1::simulation_service_client::SimulationServiceClient;
use rapport_proto::simulation::v1::{SetTimeRequest, SettleRequest};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::platform::Token;

/// How long a node may take to settle.
const PATIENCE: Duration = Duration::from_secs(60);

/// The time of a platform.
#[derive(Clone)]
pub struct Time {
    nodes: Vec<SimulationServiceClient<InterceptedService<Channel, Token>>>,
    frontier: BTreeMap<String, u64>,
}

impl Time {
    pub fn new<'a>(admins: impl Iterator<Item = &'a str>, token: &str) -> Self {
        let client = |admin: &str| {
            let endpoint = Channel::from_shared(format!("http://{admin}")).expect("an address");
            let channel = endpoint.timeout(PATIENCE).connect_lazy();
            SimulationServiceClient::with_interceptor(channel, Token::new(token))
        };
        Self { nodes: admins.map(client).collect(), frontier: BTreeMap::new() }
    }

    /// Sets the clock of every node.
    pub async fn set(&mut self, at: Timestamp) {
        for node in &mut self.nodes {
            let request = SetTimeRequest { time: Some(at.to_proto()) };
            node.set_time(request).await.expect("time goes forward");
        }
    }

    /// Lets everything happen that follows from what is there, until nothing moves; returns when a timer is due next.
    pub async fn settle(&mut self) -> Option<Timestamp> {
        loop {
            let before = self.frontier.clone();
            let mut next: Option<Timestamp> = None;
            for node in &mut self.nodes {
                let request = SettleRequest { frontier: self.frontier.clone() };
                let settled = node.settle(request).await.expect("the node settles").into_inner();
                let due = settled.next_due_time.as_ref().and_then(Timestamp::from_proto);
                next = next.into_iter().chain(due).min();
                self.frontier.extend(settled.heads);
            }
            if self.frontier == before {
                return next;
            }
        }
    }

    /// Moves the clock from timer to timer up to an instant; everything that falls due happens at its own time.
    pub async fn reach(&mut self, at: Timestamp) {
        while let Some(due) = self.settle().await.filter(|due| *due <= at) {
            self.set(due).await;
        }
        self.set(at).await;
        self.settle().await;
    }
}
