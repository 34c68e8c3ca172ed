//! Callers who go on calling, whatever operators do.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::status::reason;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use support::Client;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use super::cluster::Cluster;

const CALLERS: usize = 4;
/// As the policy for callers has it: what is UNAVAILABLE is called again with the same request id.
const ATTEMPTS: usize = 8;

pub(super) struct Load {
    told: Arc<Told>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    stop: AtomicBool,
    /// The parties of calls that were answered.
    done: Mutex<Vec<String>>,
    again: AtomicUsize,
    /// Those among them that were told UNAVAILABLE by a pod that ends; the connection of the others broke, or a machine with
    /// too much to do kept the database waiting.
    unavailable: AtomicUsize,
}

impl Load {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let told = Arc::new(Told::default());
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let address = cluster.address("profiles").to_string();
            let client = Client::new(&address, &cluster.token());
            callers.spawn(call(client, caller, told.clone()));
        }
        Self { told, callers }
    }

    /// Waits until each caller was answered some more.
    pub(super) async fn goes_on(&self) {
        let wanted = self.told.done().len() + 5 * CALLERS;
        let give_up = Instant::now() + Duration::from_secs(300);
        while self.told.done().len() < wanted {
            assert!(Instant::now() < give_up && self.callers.len() == CALLERS, "nobody answers");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many calls were told UNAVAILABLE so far.
    pub(super) fn unavailable(&self) -> usize {
        self.told.unavailable.load(Ordering::Relaxed)
    }

    /// Ends; what was registered, and how many calls were made again.
    pub(super) async fn end(self) -> (Vec<String>, usize) {
        self.told.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
        let again = self.told.again.load(Ordering::Relaxed);
        (std::mem::take(&mut *self.told.done()), again)
    }
}

impl Told {
    fn done(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody says so, or the connection broke.
fn may_be_repeated(status: &Status) -> bool {
    status.code() == Code::Unavailable || broke(status)
}

/// tonic has no code for it.
fn broke(status: &Status) -> bool {
    status.source().is_some_and(<dyn std::error::Error>::is::<tonic::transport::Error>)
}

async fn call(client: Client, caller: usize, told: Arc<Told>) {
    let mut number = 0;
    while !told.stop.load(Ordering::Relaxed) {
        number += 1;
        let request = RegisterPartyRequest {
            parent: "tenants/default".into(),
            kind: PartyKind::Hcp.into(),
            market: "DE".into(),
            request_id: format!("load-{caller}-{number}-0000"),
            ..RegisterPartyRequest::default()
        };
        let mut attempt = 1;
        let party = loop {
            match client.parties.clone().register_party(request.clone()).await {
                Ok(answer) => break answer.into_inner().party.unwrap_or_default().party_id,
                Err(status) if may_be_repeated(&status) && attempt < ATTEMPTS => {
                    attempt += 1;
                    told.again.fetch_add(1, Ordering::Relaxed);
                    let busy = reason(&status).as_deref() == Some("STORE_UNAVAILABLE");
                    let ended = !broke(&status) && !busy;
                    told.unavailable.fetch_add(usize::from(ended), Ordering::Relaxed);
                    support::tell(&format!("called again: {status:?}"));
                    sleep(Duration::from_millis(100) * (1 << attempt)).await;
                }
                Err(status) => panic!("after {attempt} attempts: {status:?}"),
            }
        };
        told.done().push(party);
        sleep(Duration::from_millis(50)).await;
    }
}
