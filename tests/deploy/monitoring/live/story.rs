//! A real run, in which nearly everything happens that a dashboard shows: every target is a process of its own, on
//! PostgreSQL and nats-server. A second replica of the gateway is the program as it is shipped, and speaks TLS.

use std::cell::Cell;
use std::process::Command;
use std::time::{Duration, Instant};

use chassis::testing::Authority;
use eventstore::testing::free_port;
use eventstore::{Ids, Timestamp};
use rapport::demo::Cast;
use rapport::remote::{Remote, told};
use rapport::targets::TARGETS;
use rapport_proto::content::v1::{AddReferenceRequest, Product, Reference, RegisterProductRequest};
use rapport_proto::delivery::v1::{RegisterSenderRequest, RequestTouchRequest, Sender};
use rapport_proto::journeys::v1::{
    ListInstancesRequest, PauseJourneyRequest, ResumeJourneyRequest, TimerMode,
};
use rapport_proto::profiles::v1::{
    ConsentKey, ContactPoint, NewInteraction, RecordConsentRequest, RecordInteractionsRequest,
    RegisterPartyRequest, RegisterSourceRequest, SetAttributesRequest, SuppressPartyRequest,
    Verification, WithdrawConsentRequest, consent, new_interaction,
};
use rapport_proto::types::{Channel, PartyKind, Purpose, Regime};
use support::{Platform, Topology};
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::prometheus::{Running, Scraped, get};
use crate::PROGRAM;
use crate::monitoring::run;

const NODE: &str = env!("CARGO_BIN_EXE_node");
const SIMULATED: &str = "clock.mode=simulated";
/// Streams that a process holds open at most.
const STREAMS: usize = 4;
/// Callers that change one party at once.
const AT_ONCE: usize = 16;

const PACK: &str = include_str!("../../../scenarios/stage/us.yaml");
const CLAIM: &str = include_str!("../../../scenarios/stage/claim.yaml");
const SAFETY: &str = include_str!("../../../scenarios/stage/safety.yaml");
const LETTER: &str = include_str!("../../../scenarios/stage/letter.yaml");
const POLICY: &str = include_str!("../../../scenarios/stage/policy.yaml");
const JOURNEY: &str = r#"
journey: NAME
sender: northwind
markets: [US]
audiences: [HCP]
entry: {event: {event: Started NAME}}
reentry: never
goals: [{name: ordered, event: Order Completed, within: 30d}]
start: choose
nodes:
  choose: {decide: {slot: {channels: [EMAIL]}, groups: [win-back], chosen: write, nothing: pause, unavailable: out}}
  write: {touch: {decision: choose, sent: pause, skipped: out, failed: out}}
  pause: {wait: {for: 1s, next: watch}}
  watch: {wait_event: {any: [{event: Order Completed, next: out}], timeout: 1h, timed_out: out}}
  out: {exit: {outcome: out}}
"#;

/// The run; it ends when it is dropped.
pub(super) struct Run {
    pub(super) platform: Platform,
    cast: Cast,
    remote: Remote,
    /// Acts so far: what they make is named after it.
    act: Cell<u32>,
    second: String,
    _second: Running,
}

impl Run {
    /// Starts it, with everything in force that a message needs but a policy and a journey.
    pub(super) async fn start() -> Self {
        let mut platform = Platform::whole(Topology::Distributed, NODE).await;
        platform.extra.push(format!("grpc.max_streams={STREAMS}"));
        let outbox = platform.folder().join("outbox").display().to_string();
        platform.extra.push(format!("delivery.outbox={outbox}"));
        furnish(&mut platform).await;
        // Nobody is there to take traces.
        platform.extra.push(format!("telemetry.otlp_endpoint=http://127.0.0.1:{}", free_port()));
        platform.start(None);
        let cast = platform.cast();
        let second = format!("127.0.0.1:{}", free_port());
        let _second = second_gateway(&platform, &second);
        Self { remote: cast.author.clone(), platform, cast, act: Cell::new(0), second, _second }
    }

    /// Every process.
    pub(super) fn scraped(&self) -> Vec<Scraped> {
        let targets = TARGETS.iter().zip(self.platform.nodes());
        let mut all: Vec<_> =
            targets.map(|(it, node)| Scraped { job: it.name, admin: node.admin.clone() }).collect();
        all.push(Scraped { job: "gateway", admin: self.second.clone() });
        all
    }

    /// The outbox cannot be written: a touch has to wait for its second attempt.
    pub(super) async fn a_touch_waits(&self) {
        let outbox = self.platform.folder().join("outbox");
        std::fs::write(&outbox, "in the way").expect("a file");
        let party_id = self.party("first").await;
        self.ask_for_touch(&party_id).await;
        self.counted("delivery", "TouchRetryScheduled").await;
        std::fs::remove_file(&outbox).expect("removed");
    }

    /// The log loses what `audit` has not read yet, and who wrote it is away: `audit` fails, and heals when it is back.
    pub(super) async fn the_log_loses_events(&mut self) {
        let (user, password, url) = self.platform.nats_user("operator-profiles");
        let options = async_nats::ConnectOptions::with_user_and_password(user, password);
        let client = options.connect(url).await.expect("the log's server");
        let name = format!("{}-profiles", self.platform.prefix());
        let log = async_nats::jetstream::new(client).get_stream(name).await.expect("a stream");
        let length = async || log.get_info().await.expect("told").state.messages;
        self.platform.node("audit").signal("-KILL");
        let before = length().await;
        self.party("lost").await;
        eventually("it is on the log", async || length().await > before).await;
        log.purge().await.expect("purged");
        self.party("kept").await;
        eventually("the next one is on the log", async || length().await > 0).await;
        self.platform.node("profiles").signal("-KILL");
        self.platform.restart("audit");
        self.metered("audit", "rapport_consumer_errors_total{").await;
        self.platform.restart("profiles");
        self.metered("audit", "rapport_consumer_healed_total{").await;
    }

    /// The log's server dies, and is started again: what waits for it is tried again.
    pub(super) async fn the_log_is_gone(&mut self) {
        self.platform.nats[0].kill();
        self.party("second").await;
        self.metered("profiles", "rapport_outbox_publish_failures_total{").await;
        self.platform.nats[0].launch();
        eventually("the log is reached, and nothing waits", async || {
            let told = self.metrics("profiles");
            told.contains("rapport_log_connected 1\n")
                && told.contains("rapport_outbox_pending{service=\"profiles\"} 0\n")
        })
        .await;
    }

    /// Everything happens once; what Prometheus shall see grow happens in more than one act.
    pub(super) async fn act(&self) {
        let act = self.act.get();
        self.act.set(act + 1);
        let policy = POLICY.replace("value: 1\n", &format!("value: {}\n", act + 1));
        eventually("a policy", async || self.cast.put_policy_live(&policy).await.is_ok()).await;
        // The country's rules change, in a minute.
        let days = ["[SUN, SAT]", "[SAT]"][act as usize % 2];
        let pack = PACK.replace("[SAT, SUN]", days);
        self.cast.put_pack_in_force(&pack, None).await.expect("a pack that will be in force");
        let name = format!("hardy-{act}");
        let journey = JOURNEY.replace("NAME", &name);
        eventually("a journey", async || self.cast.publish_journey(&journey).await.is_ok()).await;
        let parties =
            [self.party(&format!("ada-{act}")).await, self.party(&format!("ben-{act}")).await];
        self.interactions(&format!("Started {name}"), &parties).await;

        self.stopped_touches(act).await;
        self.writes_at_once(&parties[0], act).await;
        self.callers(act).await;

        // Everybody waits for an order, stands still, goes on, and orders.
        eventually("all wait", async || {
            let instances = self.instances(&name).await;
            instances.len() == parties.len() && instances.iter().all(|it| it == "watch")
        })
        .await;
        let journeys = || self.remote.journeys.clone();
        let name = self.remote.name("journeys", &name);
        let timers = TimerMode::Freeze.into();
        let reason = "incident".to_owned();
        let pause =
            PauseJourneyRequest { name: name.clone(), timers, reason, ..Default::default() };
        told(journeys().pause_journey(pause).await).expect("paused");
        self.counted("journeys", "InstancePaused").await;
        let resume = ResumeJourneyRequest { name, ..Default::default() };
        told(journeys().resume_journey(resume).await).expect("resumed");
        self.counted("journeys", "InstanceResumed").await;
        self.interactions("Order Completed", &parties).await;
        self.counted("journeys", "InstanceGoalReached").await;
        self.counted("decisioning", "OutcomeObserved").await;
        self.metered("profiles", "rapport_telemetry_export_failures_total{").await;
    }

    /// One party has withdrawn its consent, one is suppressed.
    async fn stopped_touches(&self, act: u32) {
        let party_id = self.party(&format!("cyn-{act}")).await;
        let key = ConsentKey {
            party_id: party_id.clone(),
            purpose: Purpose::Promotional.into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            market: "US".into(),
        };
        let request = RecordConsentRequest {
            parent: self.remote.parent.clone(),
            key: Some(key.clone()),
            state: consent::State::Granted.into(),
            regime_shown: Regime::OptIn.into(),
            source: "form".into(),
            text_version: "v1".into(),
            ..Default::default()
        };
        told(self.remote.consents.clone().record_consent(request).await).expect("granted");
        let request = WithdrawConsentRequest {
            parent: self.remote.parent.clone(),
            key: Some(key),
            reason: "asked_to_stop".into(),
            source: "phone".into(),
            ..Default::default()
        };
        told(self.remote.consents.clone().withdraw_consent(request).await).expect("withdrawn");
        self.ask_for_touch(&party_id).await;
        let party_id = self.party(&format!("dan-{act}")).await;
        let name = self.remote.name("parties", &party_id);
        let reason = "asked_to_stop".to_owned();
        let request = SuppressPartyRequest { name, reason, ..Default::default() };
        told(self.remote.parties.clone().suppress_party(request).await).expect("suppressed");
        self.ask_for_touch(&party_id).await;
        self.metered("delivery", "verdict=\"consent\"").await;
        self.metered("delivery", "verdict=\"suppressed\"").await;
    }

    /// Several callers change one party until one of them comes too late, and one repeats what it asked.
    async fn writes_at_once(&self, party_id: &str, act: u32) {
        let name = self.remote.name("parties", party_id);
        eventually("a conflict", async || {
            let change = |number: usize| {
                let own = [(format!("note_{number}"), "a note".to_owned())];
                let request = SetAttributesRequest {
                    name: name.clone(),
                    personal_attributes: own.into(),
                    ..Default::default()
                };
                let mut parties = self.remote.parties.clone();
                // Whether it was done, or came too late too often.
                async move { parties.set_attributes(request).await.is_ok() }
            };
            let done = futures::future::join_all((0..AT_ONCE).map(change)).await;
            assert!(done.contains(&true), "no change was made");
            self.metrics("profiles").contains("rapport_append_conflicts_total{")
        })
        .await;
        // The same request id.
        assert_eq!(self.party(&format!("ada-{act}")).await, party_id);
    }

    /// Callers of all kinds: by plain HTTP and by the program, without a good token, and too many who stay.
    async fn callers(&self, act: u32) {
        let gateway = self.platform.address("gateway");
        // The second one is no link of anybody: `feedback` says so to the gateway.
        for path in ["/v1/batch", "/f/acme.nobody"] {
            get(&gateway, path).expect("the gateway answers");
        }
        let token = self.platform.issuer.token("acme", "operator", &["*"]);
        for (arguments, target, token, expected) in [
            (&["smoke", "--market", "US"][..], "gateway", token.as_str(), 0),
            (&["audit", "verify"], "gateway", &token, 0),
            (&["touch", "show", "tch_0"], "gateway", "forged", 1),
            // There is none, and there is nobody who would know.
            (&["touch", "show", "tch_0"], "gateway", &token, 1),
            (&["touch", "show", "tch_0"], "kpis", &token, 1),
        ] {
            let url = format!("http://{}", self.platform.address(target));
            let more = ["--url", &url, "--tenant", "acme", "--token", token];
            let mut program = Command::new(PROGRAM);
            let program = program.current_dir(self.platform.folder()).args(arguments).args(more);
            let (code, said) = run(program);
            assert_eq!(code, expected, "act {act}: {arguments:?}: {said}");
        }
        let to = format!("http://{}", self.platform.address("profiles"));
        let channel = Endpoint::from_shared(to).expect("an address").connect_lazy();
        let mut held = Vec::new();
        loop {
            let watch =
                HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await;
            match watch {
                Ok(stream) => held.push(stream),
                Err(refused) => {
                    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
                    return;
                }
            }
            assert!(held.len() <= STREAMS, "one stream too many is held");
        }
    }

    /// A physician with a verified e-mail address.
    async fn party(&self, name: &str) -> String {
        let request = RegisterPartyRequest {
            parent: self.remote.parent.clone(),
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
            ..Default::default()
        };
        let reply = told(self.remote.parties.clone().register_party(request).await);
        reply.expect("registered").party.expect("a party").party_id
    }

    async fn ask_for_touch(&self, party_id: &str) {
        let request = RequestTouchRequest {
            parent: self.remote.name("parties", party_id),
            module: "letter".into(),
            channel: Channel::Email.into(),
            sender_id: "northwind".into(),
            ..Default::default()
        };
        told(self.remote.delivery.clone().request_touch(request).await).expect("taken on");
    }

    async fn interactions(&self, name: &str, parties: &[String]) {
        let interaction = |party_id: &String| NewInteraction {
            message_id: Ids::system().random("message"),
            name: name.into(),
            occurred_time: Some(Timestamp::real().to_proto()),
            party: Some(new_interaction::Party::PartyId(party_id.clone())),
            ..NewInteraction::default()
        };
        let request = RecordInteractionsRequest {
            parent: self.remote.name("sources", "shop"),
            interactions: parties.iter().map(interaction).collect(),
            ..Default::default()
        };
        told(self.remote.sources.clone().record_interactions(request).await).expect("recorded");
    }

    /// Where the instances of a journey stand.
    async fn instances(&self, journey_id: &str) -> Vec<String> {
        let request = ListInstancesRequest {
            parent: self.remote.parent.clone(),
            journey_id: journey_id.into(),
            ..Default::default()
        };
        let listed = told(self.remote.journeys.clone().list_instances(request).await);
        listed.expect("instances").instances.into_iter().map(|it| it.node).collect()
    }

    /// What a target tells on its admin port.
    fn metrics(&self, target: &str) -> String {
        get(&self.platform.node(target).admin, "/metrics").expect("metrics")
    }

    /// Waits until a target has appended an event of a type.
    async fn counted(&self, target: &str, event: &str) {
        self.metered(target, &format!(".{event}\"")).await;
    }

    /// Waits until a target tells of something.
    async fn metered(&self, target: &str, part: &str) {
        eventually(part, async || self.metrics(target).contains(part)).await;
    }
}

/// Puts in force before today what takes a minute on a real clock: a country's rules, content, a sender.
async fn furnish(platform: &mut Platform) {
    platform.extra.push(SIMULATED.into());
    platform.start(None);
    let (mut time, cast) = (platform.time(), platform.cast());
    let (seconds, author) = (Duration::from_secs, &cast.author);
    let began = Timestamp(1_767_600_000_000_000);
    time.set(began).await.expect("a time");
    let effective = began.plus(seconds(120));
    cast.put_pack_in_force(PACK, Some(effective)).await.expect("a pack in force");
    time.reach(effective.plus(seconds(60))).await.expect("time goes on");
    let product = Product {
        product_id: "relievia".into(),
        brand: "Relievia".into(),
        indications: vec!["migraine".into()],
        markets: vec!["US".into()],
    };
    let parent = author.parent.clone();
    let request = RegisterProductRequest { parent, product: Some(product), ..Default::default() };
    told(author.library.clone().register_product(request).await).expect("a product");
    let reference = Reference {
        reference_id: "study".into(),
        citation: "An invented study".into(),
        ..Reference::default()
    };
    let parent = author.parent.clone();
    let request = AddReferenceRequest { parent, reference: Some(reference), ..Default::default() };
    told(author.library.clone().add_reference(request).await).expect("a reference");
    // Only one country has rules here.
    let here = |yaml: &str| {
        let yaml = yaml.replace("[DE, US]", "[US]").replace("[DE, US, FR]", "[US]");
        yaml.replace("{DE: en, US: en, FR: en}", "{US: en}")
    };
    for (id, yaml) in [("onset", CLAIM), ("side-effects", SAFETY)] {
        cast.approve_claim(id, &here(yaml)).await.expect("an approved claim");
    }
    cast.approve_module("letter", &here(LETTER)).await.expect("an approved module");
    let sender = Sender {
        sender_id: "northwind".into(),
        legal_entity: "Northwind Pharma Inc".into(),
        from_address: "news@northwind.example".into(),
        from_name: "Northwind".into(),
        unsubscribe_url: "https://northwind.example/u/acme/{token}".into(),
        ..Sender::default()
    };
    let parent = author.parent.clone();
    let request = RegisterSenderRequest { parent, sender: Some(sender), ..Default::default() };
    told(author.delivery.clone().register_sender(request).await).expect("a sender");
    let request = RegisterSourceRequest {
        parent: author.parent.clone(),
        source_id: "shop".into(),
        owner: "shop team".into(),
        ..Default::default()
    };
    told(author.sources.clone().register_source(request).await).expect("a source");
    time.settle().await.expect("time goes on");
    drop(time);
    platform.stop();
    platform.extra.retain(|it| it != SIMULATED);
}

/// Another replica of the gateway: the program itself, with a certificate.
fn second_gateway(platform: &Platform, admin: &str) -> Running {
    let (_, _, mut settings) =
        platform.processes().find(|it| it.0 == "gateway").expect("a gateway");
    let tls = Authority::new().issue(platform.folder());
    settings.push(format!("grpc.address=127.0.0.1:{}", free_port()));
    settings.push(format!("admin.address={admin}"));
    settings.push(format!("tls.cert_file={}", tls.cert_file.display()));
    settings.push(format!("tls.key_file={}", tls.key_file.display()));
    let mut program = Command::new(PROGRAM);
    program.current_dir(platform.folder()).arg("serve");
    Running::start(program.args(settings.iter().flat_map(|it| ["--set", it])))
}

/// Waits for a condition, two minutes at most.
pub(super) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut condition: impl FnMut() -> F,
) {
    let give_up = Instant::now() + Duration::from_secs(120);
    while !condition().await {
        assert!(Instant::now() < give_up, "not within two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
