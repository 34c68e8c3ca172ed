//! `SimulationService`: a driver owns the domain time of this process. Served in simulated mode only, on the admin
//! port, which then listens on loopback.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventstore::{Clock, Consumer, Timestamp, consumer};
use rapport_proto::simulation::v1::simulation_service_server::{
    SimulationService, SimulationServiceServer,
};
use rapport_proto::simulation::v1::{
    SetTimeRequest, SetTimeResponse, SettleRequest, SettleResponse,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::assembly::Assembly;
use crate::deps::Deps;
use crate::readiness::Readiness;
use crate::status::{NOT_SETTLED, Problem};

/// Pause between two looks at what is still due.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// How long a call waits for the process to come to rest; less than `grpc.request_timeout_ms` as it is by default.
const PATIENCE: Duration = Duration::from_secs(15);

/// The latch that a simulated clock holds until it was told the time.
const LATCH: &str = "simulated_time";

/// What a process that is not at rest has yet to do.
#[derive(Debug, thiserror::Error)]
enum Unsettled {
    #[error("a timer fires")]
    Firing,
    #[error("a timer due at {0} has not fired")]
    Due(Timestamp),
    #[error("consumer {target}.{consumer} has handled {of} up to {at} of {to}")]
    Behind { target: &'static str, consumer: String, of: String, at: u64, to: u64 },
}

/// Moves the clock and waits for what follows from it.
#[derive(Clone)]
pub struct Simulation {
    clock: Clock,
    deps: Arc<[Deps]>,
    consumers: Arc<[(Deps, Consumer)]>,
    readiness: Readiness,
    told: CancellationToken,
    /// When a timer of each store is due next, and as of when that is known.
    due: Arc<Mutex<Vec<Due>>>,
}

/// Where a store stood, how many of its timers had fired, and which was due next then.
type Due = Option<(u64, u64, Option<Timestamp>)>;

impl Simulation {
    /// Takes over the clock: the process is not ready, and does nothing, until it is told the time; `told` is
    /// cancelled then.
    pub fn new(
        clock: Clock,
        assembly: &Assembly,
        readiness: Readiness,
        told: CancellationToken,
    ) -> Self {
        readiness.need("", LATCH);
        Self {
            clock,
            told,
            due: Arc::new(Mutex::new(vec![None; assembly.deps.len()])),
            deps: assembly.deps.as_slice().into(),
            consumers: assembly.consumers.clone(),
            readiness,
        }
    }

    pub fn server(self) -> SimulationServiceServer<Self> {
        SimulationServiceServer::new(self)
    }

    /// The earliest instant at which a timer of any store is due.
    async fn next_due(&self) -> Result<Option<Timestamp>, Problem> {
        let mut next = None;
        for (index, deps) in self.deps.iter().enumerate() {
            // Until then timers change with commits and firings only; in simulated time all of them are this process's.
            let stands = (deps.store.head().position, deps.store.firings().1);
            let due = match self.known_due(index) {
                Some((head, fired, due))
                    if (head, fired) == stands && due.is_none_or(|it| it > self.clock.now()) =>
                {
                    due
                }
                _ => {
                    let due = deps.store.next_due().await?;
                    self.due.lock().unwrap_or_else(PoisonError::into_inner)[index] =
                        Some((stands.0, stands.1, due));
                    due
                }
            };
            next = next.into_iter().chain(due).min();
        }
        Ok(next)
    }

    fn known_due(&self, index: usize) -> Due {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)[index]
    }

    /// What was fired so far; `None` while something fires.
    fn fired(&self) -> Option<Vec<u64>> {
        let fired = |deps: &Deps| match deps.store.firings() {
            (called, returned) if called == returned => Some(called),
            _ => None,
        };
        self.deps.iter().map(fired).collect()
    }

    /// What has yet to happen: a timer is due or fires, or a consumer has not handled its part of the frontier.
    async fn unsettled(
        &self,
        frontier: &BTreeMap<String, u64>,
    ) -> Result<Option<Unsettled>, Problem> {
        let Some(fired) = self.fired() else { return Ok(Some(Unsettled::Firing)) };
        for (deps, consumer) in self.consumers.iter() {
            for source in &consumer.sources {
                let to = frontier.get(source).copied().unwrap_or_default();
                let at = consumer::reached(&deps.store, &consumer.name, source);
                if at < to {
                    let (target, consumer) = (deps.target, consumer.name.clone());
                    let of = source.clone();
                    return Ok(Some(Unsettled::Behind { target, consumer, of, at, to }));
                }
            }
        }
        // After the consumers: what one of them handled may have set a timer.
        if let Some(due) = self.next_due().await?.filter(|due| *due <= self.clock.now()) {
            return Ok(Some(Unsettled::Due(due)));
        }
        // What fired meanwhile may have led to more.
        Ok((self.fired() != Some(fired)).then_some(Unsettled::Firing))
    }

    async fn heads(&self) -> Result<BTreeMap<String, u64>, Problem> {
        let mut heads = BTreeMap::new();
        for deps in self.deps.iter() {
            let head = match deps.log.is_remote() {
                true => deps.store.read_head().await?,
                // All who append are in this process.
                false => deps.store.head(),
            };
            heads.insert(deps.target.to_owned(), head.position);
        }
        Ok(heads)
    }
}

#[tonic::async_trait]
impl SimulationService for Simulation {
    async fn set_time(
        &self,
        request: Request<SetTimeRequest>,
    ) -> Result<Response<SetTimeResponse>, Status> {
        let time = request.get_ref().time.as_ref().and_then(Timestamp::from_proto);
        let time = time.ok_or_else(|| Problem::field("time", "Give an instant."))?;
        if !self.clock.set(time) {
            return Err(Problem::field(
                "time",
                format!("Give {} or later; time never goes back.", self.clock.now()),
            )
            .into());
        }
        self.readiness.set("", LATCH, true);
        self.told.cancel();
        Ok(Response::new(SetTimeResponse { time: Some(self.clock.now().to_proto()) }))
    }

    async fn settle(
        &self,
        request: Request<SettleRequest>,
    ) -> Result<Response<SettleResponse>, Status> {
        // From here on the timers of this instant may fire; consumers run by themselves. This waits for both, and says
        // for which if one of them does not go on.
        self.clock.settle();
        let give_up = Instant::now() + PATIENCE;
        while let Some(unsettled) = self.unsettled(&request.get_ref().frontier).await? {
            if Instant::now() > give_up {
                let message = format!("the process did not come to rest: {unsettled}");
                return Err(Problem::new(NOT_SETTLED, message).into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(Response::new(SettleResponse {
            heads: self.heads().await?,
            next_due_time: self.next_due().await?.map(Timestamp::to_proto),
        }))
    }
}
