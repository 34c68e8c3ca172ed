//! The service through its API and its timers: typed clients, the real layers, SQLite, a clock that moves when told.
//! The peers of the gate are other services, which this crate may not depend on: here they answer what a test told
//! them to, over the same calls. `tests/scenarios` runs the gate with the real ones.

mod bad_input;
mod freshness;
mod gate;
mod golden;
mod invitations;
mod neighbours;
mod peers;
mod pressure;
mod provider;
mod receivers;
mod starttls;
mod tasks;
mod touches;

use std::time::Duration;

use chassis::assembly::Target;
use chassis::settings::Settings;
use chassis::status::{reason, violations};
use chassis::testing::{Connection, Harness, START, TENANTS};
use eventstore::{Store, Timestamp};
use rapport_proto::delivery::v1 as proto;
use rapport_proto::delivery::v1::delivery_service_client::DeliveryServiceClient;
use rapport_proto::delivery::v1::touch::State;
use rapport_proto::types::Channel;
use tonic::{Code, Status};

use peers::Script;

const ACME: &str = TENANTS[0];
const UMBRELLA: &str = TENANTS[1];
const PARTY: &str = "pty_1";
/// As long as a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks: who looks without a pause takes the time of what it waits for.
const GLANCE: Duration = Duration::from_millis(5);

const TARGET: Target = Target {
    name: "delivery",
    schema: crate::schema,
    reasons: crate::REASONS,
    service: crate::service,
};

struct World {
    harness: Harness,
    script: Script,
}

impl World {
    async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// With a registered sender, and peers that say yes to everything.
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let [profiles, content, decisioning, journeys] = peers::TARGETS;
        let targets = [profiles, content, decisioning, journeys, TARGET];
        let harness = Harness::with(&targets, change).await;
        let script = peers::script_of(harness.deps("delivery"));
        let world = Self { harness, script };
        world.api().register_sender(sender()).await.expect("registered");
        world
    }

    fn api(&self) -> DeliveryServiceClient<Connection> {
        DeliveryServiceClient::new(self.harness.admin())
    }

    fn store(&self, target: &str) -> Store {
        self.harness.deps(target).store.clone()
    }

    /// Where the log ends as the database has it: what is read may be a moment ahead of what the process knows.
    async fn head(&self) -> u64 {
        self.store("delivery").read_head().await.expect("read").position
    }

    fn outbox(&self) -> std::path::PathBuf {
        self.harness.deps("delivery").settings.delivery.outbox.clone()
    }

    async fn request(&self, request: proto::RequestTouchRequest) -> String {
        let reply = self.api().request_touch(request).await.expect("taken on").into_inner();
        reply.touch.expect("a touch").request.expect("what was asked for").touch_id
    }

    async fn get(&self, touch_id: &str) -> proto::Touch {
        let request = proto::GetTouchRequest { name: touch_name(touch_id), ..Default::default() };
        self.api().get_touch(request).await.expect("found").into_inner().touch.expect("a touch")
    }

    /// The touch once it is in a state.
    async fn reaches(&self, touch_id: &str, state: State) -> proto::Touch {
        let found = until(async || {
            let touch = self.get(touch_id).await;
            (touch.state() == state).then_some(touch)
        });
        match found.await {
            Some(touch) => touch,
            None => panic!("not {state:?}: {:#?}", self.get(touch_id).await),
        }
    }

    /// Asks for an e-mail and follows it to a state.
    async fn email(&self, state: State) -> proto::Touch {
        let touch_id = self.request(email()).await;
        self.reaches(&touch_id, state).await
    }

    async fn report(&self, event: proto::ProviderEvent) -> String {
        let request = provider_events(vec![event]);
        let reply =
            self.api().record_provider_events(request).await.expect("taken in").into_inner();
        reply.results[0].outcome.clone()
    }

    async fn suppressions(&self) -> Vec<proto::RecipientSuppressed> {
        let request = proto::ListSuppressionsRequest { parent: parent(), ..Default::default() };
        self.api().list_suppressions(request).await.expect("listed").into_inner().suppressions
    }

    fn files(&self) -> Vec<String> {
        let Ok(files) = std::fs::read_dir(self.outbox()) else {
            return Vec::new();
        };
        let mut names: Vec<_> = files
            .map(|it| it.expect("a file").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }
}

/// Waits for a condition.
async fn until<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let found = async {
        loop {
            if let Some(found) = condition().await {
                return found;
            }
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.ok()
}

fn parent() -> String {
    format!("tenants/{ACME}")
}

fn touch_name(touch_id: &str) -> String {
    format!("tenants/{ACME}/touches/{touch_id}")
}

fn sender() -> proto::RegisterSenderRequest {
    proto::RegisterSenderRequest {
        parent: parent(),
        sender: Some(proto::Sender {
            sender_id: "northwind".into(),
            legal_entity: "Northwind Pharma GmbH".into(),
            brand: "Cardiol".into(),
            from_address: "news@northwind.example".into(),
            from_name: "Northwind".into(),
            unsubscribe_url: "https://northwind.example/u/{token}".into(),
        }),
        ..Default::default()
    }
}

fn email() -> proto::RequestTouchRequest {
    proto::RequestTouchRequest {
        parent: format!("tenants/{ACME}/parties/{PARTY}"),
        module: "welcome".into(),
        channel: Channel::Email.into(),
        sender_id: "northwind".into(),
        ..Default::default()
    }
}

fn provider_events(events: Vec<proto::ProviderEvent>) -> proto::RecordProviderEventsRequest {
    proto::RecordProviderEventsRequest { parent: parent(), events, ..Default::default() }
}

fn event(id: &str, kind: proto::ProviderEventKind, touch: &proto::Touch) -> proto::ProviderEvent {
    proto::ProviderEvent {
        provider: "relay".into(),
        provider_event_id: id.into(),
        kind: kind.into(),
        touch_id: touch.request.clone().unwrap_or_default().touch_id,
        ..Default::default()
    }
}

fn time(at: Timestamp) -> Option<prost_types::Timestamp> {
    Some(at.to_proto())
}

/// Code and reason of a refusal.
fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status).unwrap_or_default())
}

fn fields(status: &Status) -> Vec<String> {
    violations(status).into_iter().map(|it| it.field).collect()
}
