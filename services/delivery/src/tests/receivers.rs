//! Adapters against real receivers: an SMTP server and the reference verifier of Standard Webhooks, both from PyPI. Each
//! runs on a free port and is stopped by its own handle.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use chassis::settings::{EmailBy, SmtpTls, WebhookBy};
use eventstore::AsOf;
use rapport_proto::delivery::v1::ProviderEventKind as Kind;
use rapport_proto::delivery::v1::{GateStep, VerdictOutcome, touch_event};

use super::*;

pub(super) struct Receiver {
    process: Child,
    pub(super) port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(super) fn start(script: &str, arguments: &[&str]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/receivers");
        let mut process = Command::new(python())
            .arg(here.join(script))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let mut printed = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let port = printed.next().expect("a port").expect("text").parse().expect("a port");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in printed.map_while(Result::ok) {
                kept.lock().expect("nobody panics with it").push(line);
            }
        });
        Self { process, port, lines }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where the variable says, or where tests/setup puts it.
#[expect(clippy::disallowed_methods, reason = "tests are told where programs are")]
fn python() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/python/bin/python");
    let place = env::var_os("TEST_PYTHON").map_or(installed, PathBuf::from);
    assert!(place.is_file(), "{} is missing: run tests/setup", place.display());
    place
}

/// How long a receiver may take that is meant to answer, and one that is meant not to.
const ANSWERS: u64 = 50_000;
const HANGS: u64 = 15_000;

async fn over_smtp(port: u16) -> World {
    waiting_for_smtp(port, ANSWERS).await
}

async fn waiting_for_smtp(port: u16, milliseconds: u64) -> World {
    World::with(|settings| {
        settings.delivery.email = EmailBy::Smtp;
        settings.delivery.smtp_tls = SmtpTls::None;
        settings.delivery.smtp_url = format!("smtp://127.0.0.1:{port}");
        settings.delivery.smtp_timeout_ms = milliseconds;
    })
    .await
}

impl World {
    pub(super) fn address(&self, address: &str) {
        address.clone_into(&mut self.script.lock().recipient.address);
    }

    /// The touch once its attempt was refused for now.
    pub(super) async fn retries(&self, touch_id: &str, attempts: u32) -> proto::Touch {
        let found = until(async || {
            let touch = self.get(touch_id).await;
            (touch.state() == State::Requested && touch.attempts == attempts).then_some(touch)
        });
        found.await.expect("it is tried again")
    }

    /// The touch once a receiver has it and does not answer. One that was too slow to take it, on a slow machine, is
    /// tried again until it does.
    async fn hangs(&self, touch_id: &str) -> proto::Touch {
        let found = until(async || {
            let touch = self.get(touch_id).await;
            let waits = touch.state() == State::Requested && touch.attempts > 0;
            if touch.state() == State::Unknown || (waits && self.in_doubt(touch_id).await) {
                return Some(touch);
            }
            if waits {
                self.harness.clock.set(again_at(&touch));
            }
            None
        });
        found.await.expect("a receiver takes it")
    }

    /// A webhook that a receiver has taken and not answered.
    async fn taken(&self, receiver: &Receiver) -> (String, proto::Touch) {
        let touch_id = self.request(webhook()).await;
        let touch = self.hangs(&touch_id).await;
        let line = || receiver.lines().iter().any(|it| it.ends_with(&touch_id)).then_some(());
        until(async || line()).await.expect("it has arrived");
        (touch_id, touch)
    }

    /// Whether an attempt may have arrived.
    async fn in_doubt(&self, touch_id: &str) -> bool {
        let stream = format!("touch/{touch_id}");
        let events = self.store("delivery").read_stream(ACME, &stream, AsOf::Now).await;
        events.expect("read").iter().any(|it| {
            let fact = it.decode().expect("a fact");
            matches!(fact, Some(touch_event::Event::RetryScheduled(it)) if it.in_doubt)
        })
    }
}

/// When a touch is tried again.
fn again_at(touch: &proto::Touch) -> Timestamp {
    Timestamp::from_proto(&touch.next_time.expect("it is tried again")).expect("a time")
}

fn id_of(touch: &proto::Touch) -> String {
    touch.request.clone().expect("what was asked for").touch_id
}

#[tokio::test]
async fn an_smtp_server_accepts() {
    let receiver = Receiver::start("smtp.py", &[]);
    let world = over_smtp(receiver.port).await;
    world.address("accept@example.org");
    let touch = world.email(State::Sent).await;
    assert_eq!(touch.provider_id, "2.0.0 queued as 7");
    let line = format!("accept@example.org <{}@northwind.example>", id_of(&touch));
    assert_eq!(receiver.lines(), [line]);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_smtp_server_that_defers_is_asked_again_later() {
    let receiver = Receiver::start("smtp.py", &[]);
    let world = over_smtp(receiver.port).await;
    world.address("defer@example.org");
    let touch_id = world.request(email()).await;
    let touch = world.retries(&touch_id, 1).await;
    assert_eq!(touch.next_time, time(START.plus(Duration::from_secs(60))));
    world.harness.clock.advance(Duration::from_secs(60));
    let touch = world.retries(&touch_id, 2).await;
    assert_eq!(touch.next_time, time(START.plus(Duration::from_secs(180))));
    world.address("accept@example.org");
    world.harness.clock.advance(Duration::from_secs(120));
    assert_eq!(world.reaches(&touch_id, State::Sent).await.attempts, 3);
    assert_eq!(receiver.lines().len(), 3);
    world.harness.stop().await;
}

#[tokio::test]
async fn an_smtp_server_that_rejects_ends_the_touch() {
    let receiver = Receiver::start("smtp.py", &[]);
    let world = over_smtp(receiver.port).await;
    world.address("reject@example.org");
    let touch = world.email(State::Failed).await;
    assert_eq!(touch.reason, "550");
    let last = touch.verdicts.last().expect("eleven verdicts");
    assert_eq!((last.step(), last.outcome()), (GateStep::Provider, VerdictOutcome::Fail));
    assert_eq!(
        (last.reason.as_str(), last.proof_ids.as_slice()),
        ("provider_rejected", &["550".to_owned()][..])
    );
    assert!(receiver.lines().is_empty());
    world.harness.stop().await;
}

#[tokio::test]
async fn an_smtp_server_that_cannot_be_reached_was_sent_nothing() {
    let port = eventstore::testing::free_port();
    let world = over_smtp(port).await;
    let touch_id = world.request(email()).await;
    let touch = world.retries(&touch_id, 1).await;
    assert!(touch.next_time.is_some());
    world.harness.stop().await;
}

#[tokio::test]
async fn what_an_smtp_server_that_hangs_or_dies_did_is_unknown_and_not_sent_again() {
    for (address, expected, milliseconds) in
        [("hang@example.org", "timeout", HANGS), ("die@example.org", "connection_lost", ANSWERS)]
    {
        let receiver = Receiver::start("smtp.py", &[]);
        let world = waiting_for_smtp(receiver.port, milliseconds).await;
        world.address(address);
        let touch_id = world.request(email()).await;
        let touch = world.hangs(&touch_id).await;
        assert_eq!((touch.state(), touch.reason.as_str()), (State::Unknown, expected));
        let day = Duration::from_secs(86_400);
        let counts_as_sent = world.harness.clock.now().plus(day);
        assert_eq!(touch.next_time, time(counts_as_sent));
        // It is found by its state.
        let list = proto::ListTouchesRequest {
            parent: parent(),
            state: State::Unknown.into(),
            ..Default::default()
        };
        let listed = world.api().list_touches(list).await.expect("listed").into_inner().touches;
        assert_eq!(listed.len(), 1);
        // Nobody tells: after a day it counts as sent.
        world.harness.clock.set(counts_as_sent);
        let sent = world.reaches(&touch_id, State::Sent).await;
        assert_eq!((sent.verdicts.len(), sent.verdicts[10].rule.as_str()), (11, "elapsed"));
        assert_eq!((sent.attempts, receiver.lines().len()), (touch.attempts, 1), "one message");
        world.harness.stop().await;
    }
}

#[tokio::test]
async fn an_unknown_outcome_is_settled_by_a_person_or_the_provider() {
    let receiver = Receiver::start("smtp.py", &[]);
    let world = over_smtp(receiver.port).await;
    world.address("die@example.org");
    let (first, second) = (world.email(State::Unknown).await, world.email(State::Unknown).await);
    let settle = proto::SettleTouchRequest {
        name: first.name.clone(),
        sent: false,
        reason: "asked-provider".into(),
        request_id: "settle-0001".into(),
    };
    for _ in 0..2 {
        let settled = world.api().settle_touch(settle.clone()).await.expect("settled").into_inner();
        let touch = settled.touch.expect("a touch");
        assert_eq!((touch.state(), touch.reason.as_str()), (State::Failed, "asked-provider"));
    }
    assert_eq!(world.report(event("e-1", Kind::Delivered, &second)).await, "recorded");
    let touch = world.get(&id_of(&second)).await;
    assert_eq!((touch.state(), touch.delivered), (State::Sent, true));
    assert_eq!(touch.verdicts[10].rule, "provider");
    world.harness.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_batch_may_settle_and_suppress_with_every_report() {
    let receiver = Receiver::start("smtp.py", &[]);
    let world = over_smtp(receiver.port).await;
    world.address("die@example.org");
    let requests = (0..100).map(|number| {
        let parent = format!("tenants/{ACME}/parties/pty_{number}");
        world.request(proto::RequestTouchRequest { parent, ..email() })
    });
    let ids = futures::future::join_all(requests).await;
    let mut events = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let touch = world.reaches(id, State::Unknown).await;
        events.push(event(&format!("e-{number}"), Kind::Unsubscribed, &touch));
    }
    let request = proto::RecordProviderEventsRequest {
        request_id: "batch-0001".into(),
        ..provider_events(events)
    };
    let first = world.api().record_provider_events(request.clone()).await.expect("taken in");
    let first = first.into_inner();
    assert_eq!(first.results.len(), 100);
    for (result, id) in first.results.iter().zip(&ids) {
        assert_eq!((result.outcome.as_str(), &result.touch_id), ("recorded", id));
        assert_eq!(world.get(id).await.state(), State::Sent);
    }
    let list =
        proto::ListSuppressionsRequest { parent: parent(), page_size: 500, ..Default::default() };
    let held = world.api().list_suppressions(list).await.expect("listed").into_inner();
    assert_eq!(held.suppressions.len(), 100);
    // A repeat gets the same answer and adds nothing.
    let head = world.head().await;
    let again = world.api().record_provider_events(request).await.expect("taken in").into_inner();
    assert_eq!((&again, world.head().await), (&first, head));
    world.harness.stop().await;
}

/// A world whose webhooks go to a receiver, and that receiver.
async fn over_http(change: impl FnOnce(&mut Settings)) -> (World, Receiver) {
    let world = World::with(|settings| {
        settings.delivery.webhook = WebhookBy::Http;
        settings.delivery.webhook_private = true;
        settings.delivery.webhook_timeout_ms = ANSWERS;
        change(settings);
    })
    .await;
    let request =
        proto::GetWebhookSecretRequest { parent: parent(), contact_point_id: "cpt_1".into() };
    let secret = world.api().get_webhook_secret(request).await.expect("a secret").into_inner();
    let receiver = Receiver::start("webhook.py", &[&secret.secret]);
    (world, receiver)
}

fn webhook() -> proto::RequestTouchRequest {
    proto::RequestTouchRequest { channel: Channel::Webhook.into(), ..email() }
}

#[tokio::test]
async fn standard_webhooks_verifies_what_we_send() {
    let (world, receiver) = over_http(|_| ()).await;
    world.address(&format!("http://127.0.0.1:{}/ok", receiver.port));
    let touch_id = world.request(webhook()).await;
    world.reaches(&touch_id, State::Sent).await;
    assert_eq!(receiver.lines(), [format!("/ok verified {touch_id}")]);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_webhook_is_repeated_with_the_same_id() {
    let (world, receiver) = over_http(|_| ()).await;
    world.address(&format!("http://127.0.0.1:{}/busy", receiver.port));
    let touch_id = world.request(webhook()).await;
    world.retries(&touch_id, 1).await;
    world.address(&format!("http://127.0.0.1:{}/ok", receiver.port));
    world.harness.clock.advance(Duration::from_secs(60));
    world.reaches(&touch_id, State::Sent).await;
    let expected = ["/busy", "/ok"].map(|path| format!("{path} verified {touch_id}"));
    assert_eq!(receiver.lines(), expected);
    world.harness.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_elsewhere_ends_the_touch() {
    let (world, receiver) = over_http(|_| ()).await;
    for (path, code) in [("gone", "410"), ("redirect", "302")] {
        world.address(&format!("http://127.0.0.1:{}/{path}", receiver.port));
        let touch_id = world.request(webhook()).await;
        assert_eq!(world.reaches(&touch_id, State::Failed).await.reason, code);
    }
    assert_eq!(receiver.lines().len(), 2, "no redirect is followed");
    world.harness.stop().await;
}

#[tokio::test]
async fn a_slow_receiver_may_have_taken_it_and_is_only_ever_repeated() {
    let (world, receiver) =
        over_http(|settings| settings.delivery.webhook_timeout_ms = HANGS).await;
    world.address(&format!("http://127.0.0.1:{}/slow", receiver.port));
    let (touch_id, touch) = world.taken(&receiver).await;
    // Meanwhile consent is withdrawn: it must not be sent again, and may have arrived.
    world.script.lock().recipient.consent.as_mut().expect("a verdict").allowed = false;
    world.harness.clock.set(again_at(&touch));
    world.reaches(&touch_id, State::Unknown).await;
    world.harness.stop().await;
    assert_eq!(receiver.lines(), [format!("/slow verified {touch_id}")]);
}

#[tokio::test]
async fn what_one_receiver_may_have_taken_is_not_repeated_to_another() {
    let (world, receiver) =
        over_http(|settings| settings.delivery.webhook_timeout_ms = HANGS).await;
    world.address(&format!("http://127.0.0.1:{}/slow", receiver.port));
    let (touch_id, slow) = world.taken(&receiver).await;
    world.script.lock().recipient.contact_point_id = "cpt_2".into();
    world.address(&format!("http://127.0.0.1:{}/ok", receiver.port));
    world.harness.clock.set(again_at(&slow));
    let touch = world.reaches(&touch_id, State::Unknown).await;
    assert_eq!((touch.reason.as_str(), touch.attempts), ("recipient_changed", slow.attempts));
    world.harness.stop().await;
    assert_eq!(receiver.lines(), [format!("/slow verified {touch_id}")]);
}

#[tokio::test]
async fn a_webhook_goes_nowhere_inside() {
    let (world, receiver) = over_http(|settings| settings.delivery.webhook_private = false).await;
    let port = receiver.port;
    let cases = [
        (format!("http://127.0.0.1:{port}/ok"), "url"),
        (format!("https://127.0.0.1:{port}/ok"), "private_address"),
        (format!("https://localhost:{port}/ok"), "private_address"),
        (format!("https://[::1]:{port}/ok"), "private_address"),
        (format!("https://[::ffff:127.0.0.1]:{port}/ok"), "private_address"),
        (format!("https://2130706433:{port}/ok"), "private_address"),
        (format!("https://0x7f.1:{port}/ok"), "private_address"),
        ("https://169.254.169.254/latest/meta-data".to_owned(), "private_address"),
        ("https://user:secret@example.org/".to_owned(), "url"),
        ("file:///etc/passwd".to_owned(), "url"),
        ("gopher://127.0.0.1/".to_owned(), "url"),
    ];
    for (address, code) in cases {
        world.address(&address);
        let touch_id = world.request(webhook()).await;
        let touch = world.reaches(&touch_id, State::Failed).await;
        assert_eq!(touch.reason, code, "{address}");
    }
    assert!(receiver.lines().is_empty());
    world.harness.stop().await;
}
