//! What holds of a platform after any fault: what it acknowledged is there and is answered again, every store is whole and
//! on the log, every consumer has read it, and nothing is fenced or parked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use eventstore::status::Tables;
use eventstore::{Database, DatabaseOptions, Store};
use rapport::remote::{Remote, told};
use rapport::targets::TARGETS;
use rapport_proto::audit::v1::{SearchEventsRequest, VerifyLogRequest};
use rapport_proto::delivery::v1::TouchSent;
use rapport_proto::profiles::v1::{
    ContactPoint, GetPartyRequest, RegisterPartyRequest, RegisterPartyResponse, Verification,
};
use rapport_proto::types::{Channel, PartyKind};
use support::{eventually, tell};
use tokio_util::sync::CancellationToken;

use super::Stage;
use super::crowd;

/// Events compared at once.
const PAGE: usize = 500;
/// How long a command is tried.
const PATIENCE: Duration = Duration::from_secs(600);
/// Pause between two commands.
const BREATH: Duration = Duration::from_millis(150);

/// One touch for whoever says so: what is timed to see how soon everything works again.
pub(crate) const PROBE: &str = r#"
journey: probe
sender: northwind
markets: [US]
audiences: [HCP]
entry: {event: {event: Probed}}
reentry: never
start: write
nodes:
  write: {touch: {module: letter, channel: EMAIL, sent: done, skipped: done, failed: done}}
  done: {exit: {outcome: done}}
"#;

/// Commands that were acknowledged.
#[derive(Default)]
pub(crate) struct Acknowledged {
    parties: Vec<(RegisterPartyRequest, RegisterPartyResponse)>,
    slowest: Duration,
}

impl Acknowledged {
    /// Registers parties, one after another, until told to stop; each is asked for again until it is acknowledged.
    pub(crate) async fn gather(&mut self, remote: &Remote, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let request = registration(remote, &format!("load-{}", self.parties.len()));
            let began = Instant::now();
            let reply = register(remote, &request).await;
            self.slowest = self.slowest.max(began.elapsed());
            self.parties.push((request, reply));
            tokio::time::sleep(BREATH).await;
        }
    }

    /// Checks that each is there, and is answered as it was when it is asked for again.
    pub(crate) async fn check(&self, remote: &Remote) {
        for (request, reply) in &self.parties {
            assert_eq!(&register(remote, request).await, reply, "asked for again");
            let party = reply.party.clone().expect("a party");
            let ask = GetPartyRequest { name: party.name.clone(), ..GetPartyRequest::default() };
            let found = told(remote.parties.clone().get_party(ask).await).expect("it is there");
            assert_eq!(found.party, Some(party));
        }
        let (count, slowest) = (self.parties.len(), self.slowest.as_secs_f64());
        tell(&format!("{count} registrations acknowledged, the slowest after {slowest:.1} s"));
    }
}

fn registration(remote: &Remote, name: &str) -> RegisterPartyRequest {
    RegisterPartyRequest {
        parent: remote.parent.clone(),
        kind: PartyKind::Hcp.into(),
        market: "US".into(),
        language: "en".into(),
        contact_points: vec![ContactPoint {
            channel: Channel::Email.into(),
            value: format!("{name}@example.org"),
            verification: Verification::Verified.into(),
            ..ContactPoint::default()
        }],
        request_id: format!("register-{name}"),
        ..RegisterPartyRequest::default()
    }
}

async fn register(remote: &Remote, request: &RegisterPartyRequest) -> RegisterPartyResponse {
    let give_up = Instant::now() + PATIENCE;
    loop {
        match told(remote.parties.clone().register_party(request.clone()).await) {
            Ok(reply) => return reply,
            Err(error) => assert!(Instant::now() < give_up, "not registered: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Stage {
    /// Tells how soon a new party's whole touch gets through after what happened: from registering the party to what
    /// `audit` has read of the message.
    pub(crate) async fn recovers(&self, what: &str, since: Instant) {
        let name = what.replace(' ', "-");
        let reply = register(&self.remote, &registration(&self.remote, &name)).await;
        let party_id = reply.party.unwrap_or_default().party_id;
        crowd::record(self, &[("Probed", &party_id)]).await;
        eventually("audit has read of the touch", async || {
            let request = SearchEventsRequest {
                parent: self.remote.parent.clone(),
                party_id: party_id.clone(),
                r#type: <TouchSent as prost::Name>::full_name(),
                ..SearchEventsRequest::default()
            };
            let found = told(self.remote.audit.clone().search_events(request).await);
            found.is_ok_and(|it| !it.events.is_empty())
        })
        .await;
        tell(&format!("{what}: a touch after {:.1} s", since.elapsed().as_secs_f64()));
    }

    /// Waits until everything is on the log and read by everybody, then compares it.
    pub(crate) async fn is_intact(&self) {
        eventually("everything is read", async || self.is_read().await).await;
        for target in TARGETS {
            let tables = self.tables(target.name).await;
            assert_eq!(tables.fenced, "", "{}", target.name);
            assert_eq!(tables.parked, [], "{}", target.name);
            assert_eq!(tables.timers_parked, 0, "{}", target.name);
            let store = self.platform.store(target.name).await;
            self.logged(&store).await;
            store.close().await;
        }
        self.verified().await;
    }

    /// Whether store, log and checkpoints end where each source ends.
    async fn is_read(&self) -> bool {
        let log = self.platform.log().await.expect("a log beside the stores");
        for target in TARGETS {
            let tables = self.tables(target.name).await;
            let end = log.end(target.name).await.unwrap_or_default();
            if end != tables.head.position {
                return false;
            }
            for it in &tables.checkpoints {
                if log.end(&it.source).await.ok() != Some(it.position) {
                    return false;
                }
            }
        }
        true
    }

    /// Where each store ends.
    pub(crate) async fn positions(&self) -> BTreeMap<&'static str, u64> {
        let mut ends = BTreeMap::new();
        for target in TARGETS {
            ends.insert(target.name, self.tables(target.name).await.head.position);
        }
        ends
    }

    async fn tables(&self, target: &str) -> Tables {
        let row = TARGETS.iter().find(|it| it.name == target).expect("a target");
        let options = DatabaseOptions {
            create: false,
            max_connections: 2,
            ..DatabaseOptions::new(self.platform.database_of(target))
        };
        let database = Database::open(&options).await.expect("the database opens");
        let status = eventstore::status::read(&database, &(row.schema)()).await.expect("read");
        database.close().await;
        status.tables.expect("the store's own tables")
    }

    /// The log has every event of the store, as the store has it.
    async fn logged(&self, store: &Store) {
        let log = self.platform.log().await.expect("a log beside the stores");
        let mut after = 0;
        loop {
            let ours = store.read(after, PAGE).await.expect("events");
            let Some(last) = ours.last().map(|it| it.position) else { return };
            let theirs = log.read(store.source(), after, ours.len()).await.expect("events");
            assert!(ours == theirs, "{} differs after {after}", store.source());
            after = last;
        }
    }

    /// `audit` has indexed every event, and every chain is whole.
    async fn verified(&self) {
        let parent = self.remote.parent.clone();
        let request = VerifyLogRequest { parent, ..VerifyLogRequest::default() };
        let mut found = told(self.remote.audit.clone().verify_log(request).await).expect("asked");
        let mut sources = 0;
        while let Some(it) = found.message().await.expect("an answer") {
            let it = it.source.unwrap_or_default();
            assert!(it.gap_free && it.chain_intact && it.index_complete, "{it:?}");
            sources += 1;
        }
        // Those that write events: all but `audit` itself and the gateway.
        assert_eq!(sources, TARGETS.len() - 2);
    }
}
