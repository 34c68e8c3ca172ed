//! NATS JetStream: one stream per source, whose sequence is the store's position.
//!
//! The relay is the only publisher of a source and states the expected last sequence with every event,
//! so the server refuses duplicates, gaps and reordering; the stream's last sequence is the cursor.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture, Yes};
use async_nats::jetstream::stream::{self, StorageType};
use async_nats::jetstream::{self, Context};
use async_nats::{ConnectOptions, HeaderMap, ServerAddr};
use futures::StreamExt as _;
use futures::future::join_all;
use percent_encoding::percent_decode_str;

use crate::error::Error;
use crate::event::{Hash, Stored};
use crate::failpoint;
use crate::ids::hex;
use crate::log::{Batch, Tail};
use crate::metrics;
use crate::trace;
use crate::unit::{MAX_HEADERS, MAX_PAYLOAD};

/// As the conventions of OpenTelemetry would name it: they have none for it.
pub(super) const SYSTEM: &str = "nats";

/// Where the server is and how streams are made.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// `nats://…`, several separated by commas.
    pub url: String,
    /// Credentials of the server's decentralised authorisation, `.creds`; empty: none.
    pub credentials_file: PathBuf,
    /// Authorities in PEM that vouch for the server, beside the public ones; empty: those alone.
    pub ca_file: PathBuf,
    /// First token of the subjects at which answers arrive.
    pub inbox: String,
    /// Source whose account on the servers this is: streams of others are reached by what the account imports. Empty:
    /// one account for all.
    pub account: String,
    /// First word of streams and subjects; keeps deployments on one server apart.
    pub prefix: String,
    /// Replicas of each stream.
    pub replicas: usize,
    /// Publishes on their way, at most.
    pub in_flight: usize,
    /// How long one request to the server may take.
    pub timeout: Duration,
}

impl NatsOptions {
    /// Options for a URL: prefix `rapport`, one replica, 512 in flight, 5 s.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            credentials_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            inbox: "_INBOX".into(),
            account: String::new(),
            prefix: "rapport".into(),
            replicas: 1,
            in_flight: 512,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The log on JetStream.
pub struct NatsLog {
    client: async_nats::Client,
    context: Context,
    /// Those of other accounts, by source.
    imported: Mutex<HashMap<String, Context>>,
    options: NatsOptions,
    /// The sources this process relays: they need no poke.
    relaying: RwLock<HashSet<String>>,
}

/// Subject of an event: `<prefix>.<source>.<aggregate>.<event>`; no ids in it.
pub fn subject_of(prefix: &str, source: &str, stream: &str, type_name: &str) -> String {
    let aggregate = stream.split('/').next().unwrap_or_default();
    let event = type_name.rsplit('.').next().unwrap_or_default();
    let mut subject = format!("{prefix}.{source}.{aggregate}.");
    for (index, letter) in event.char_indices() {
        if letter.is_uppercase() && index > 0 {
            subject.push('_');
        }
        subject.extend(letter.to_lowercase());
    }
    subject
}

/// What stands for `$JS.API` where an account imports the API of another account's stream: each target owns one account
/// and one stream, so that no answer of the server ends up in a stream of somebody else.
pub fn imported_api(prefix: &str, source: &str) -> String {
    format!("{prefix}-log.{source}")
}

/// How often the server is asked whether it is there; after three questions without an answer another one is tried. A
/// machine that is lost says nothing, and nobody should wait for it for minutes.
const PING: Duration = Duration::from_secs(3);

impl NatsLog {
    pub(super) async fn connect(options: NatsOptions) -> Result<Self, Error> {
        let servers: Result<Vec<ServerAddr>, _> =
            options.url.split(',').map(|it| it.trim().parse()).collect();
        let servers = servers.map_err(|it| Error::unavailable_because("read the log's URL", it))?;
        let mut connect = of_url(&servers);
        let servers = servers.into_iter().map(without_secrets).collect::<Result<Vec<_>, _>>()?;
        if !options.credentials_file.as_os_str().is_empty() {
            let with = connect.credentials_file(&options.credentials_file).await;
            connect = with.map_err(|it| {
                let file = options.credentials_file.display();
                Error::unavailable_because(format!("read the credentials {file}"), it)
            })?;
        }
        if !options.ca_file.as_os_str().is_empty() {
            connect = connect.add_root_certificates(options.ca_file.clone()).require_tls(true);
        }
        let client = connect
            .name("rapport")
            .custom_inbox_prefix(&options.inbox)
            .max_reconnects(None)
            .ping_interval(PING)
            .connection_timeout(options.timeout)
            .request_timeout(Some(options.timeout))
            .reconnect_delay_callback(|attempt| {
                Duration::from_millis(u64::try_from(attempt).unwrap_or(u64::MAX).saturating_mul(50))
                    .min(Duration::from_secs(2))
            })
            .connect(servers)
            .await
            .map_err(|it| Error::unavailable_because("connect to the log", it))?;
        let needed = MAX_PAYLOAD + 16 * 1024 + MAX_HEADERS;
        let offered = client.server_info().max_payload;
        if offered < needed {
            return Err(Error::unavailable(format!(
                "the log's max_payload is {offered} bytes and must be {needed} at least"
            )));
        }
        let context = context(&options).build(client.clone());
        let (imported, relaying) = (Mutex::default(), RwLock::default());
        Ok(Self { client, context, imported, options, relaying })
    }

    /// How the stream of a source is reached.
    fn context_of(&self, source: &str) -> Context {
        if self.options.account.is_empty() || self.options.account == source {
            return self.context.clone();
        }
        let mut imported = self.imported.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let api = imported_api(&self.options.prefix, source);
            context(&self.options).api_prefix(api).build(self.client.clone())
        };
        imported.entry(source.to_owned()).or_insert_with(made).clone()
    }

    /// Name of a source's stream.
    pub fn stream_name(&self, source: &str) -> String {
        format!("{}-{source}", self.options.prefix)
    }

    fn poke_subject(&self, source: &str) -> String {
        format!("{}-poke.{source}", self.options.prefix)
    }

    /// Whether the connection stands.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Notes whether this process relays a source.
    pub(crate) fn relays(&self, source: &str, yes: bool) {
        let mut relaying = self.relaying.write().unwrap_or_else(PoisonError::into_inner);
        if yes {
            relaying.insert(source.to_owned());
        } else {
            relaying.remove(source);
        }
    }

    pub(super) fn poke(&self, source: &str) {
        if self.relaying.read().unwrap_or_else(PoisonError::into_inner).contains(source) {
            return;
        }
        let (client, subject) = (self.client.clone(), self.poke_subject(source));
        // Lossy by design: a 100 ms poll stands behind it. The publish only fills a buffer.
        if let Some(sent) = futures::FutureExt::now_or_never(async move {
            client.publish(subject, bytes::Bytes::new()).await
        }) {
            drop(sent);
        }
    }

    /// Wakes when another replica has new events.
    pub(crate) async fn pokes(&self, source: &str) -> Result<async_nats::Subscriber, Error> {
        self.client
            .subscribe(self.poke_subject(source))
            .await
            .map_err(|it| Error::unavailable_because("subscribe to pokes", it))
    }

    async fn stream(&self, source: &str) -> Result<Option<stream::Stream>, Error> {
        match self.context_of(source).get_stream(self.stream_name(source)).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match error.kind() {
                async_nats::jetstream::context::GetStreamErrorKind::JetStream(it)
                    if it.error_code() == async_nats::jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(Error::unavailable_because("look up a stream", error)),
            },
        }
    }

    /// Makes sure the stream of a source is there.
    pub(crate) async fn ensure_stream(&self, source: &str) -> Result<(), Error> {
        if self.stream(source).await?.is_some() {
            return Ok(());
        }
        let config = stream::Config {
            name: self.stream_name(source),
            subjects: vec![format!("{}.{source}.>", self.options.prefix)],
            storage: StorageType::File,
            num_replicas: self.options.replicas,
            description: Some(format!("Events of {source}; sequence = position")),
            ..stream::Config::default()
        };
        let made = self
            .context
            .get_or_create_stream(config)
            .await
            .map_err(|it| Error::unavailable_because("create a stream", it))?;
        tracing::info!(source, first = made.cached_info().state.first_sequence, "stream created");
        Ok(())
    }

    pub(super) async fn tail(&self, source: &str) -> Result<Option<Tail>, Error> {
        let Some(stream) = self.stream(source).await? else { return Ok(None) };
        let state = &stream.cached_info().state;
        let (last, messages) = (state.last_sequence, state.messages);
        if messages == 0 {
            return Ok(Some(Tail { last, newest: None }));
        }
        let subject = format!("{}.{source}.>", self.options.prefix);
        let message = stream
            .get_last_raw_message_by_subject(&subject)
            .await
            .map_err(|it| Error::unavailable_because("read the last event of a stream", it))?;
        let newest = stored(message.sequence, Some(&message.headers), message.payload)?;
        Ok(Some(Tail { last: last.max(newest.position), newest: Some(newest) }))
    }

    pub(super) async fn read(
        &self,
        source: &str,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Stored>, Error> {
        let newest = self.tail(source).await?.and_then(|it| it.newest);
        let last = newest.map_or(0, |it| it.position);
        let mut found = Vec::new();
        if after >= last {
            return Ok(found);
        }
        let mut reader = self.reader(source, after).await?;
        while found.len() < limit && found.last().is_none_or(|it: &Stored| it.position < last) {
            match reader.next(limit - found.len(), self.options.timeout).await? {
                Batch::Events(events) => found.extend(events),
                // There is more, so an empty page would tell of a loss that is none.
                _ if found.is_empty() => {
                    return Err(Error::unavailable("the log does not deliver what it holds"));
                }
                Batch::Idle | Batch::Stalled { .. } => break,
            }
        }
        Ok(found)
    }

    pub(super) async fn reader(&self, source: &str, after: u64) -> Result<Reader, Error> {
        Ok(Reader {
            context: self.context_of(source),
            name: self.stream_name(source),
            position: after,
            messages: None,
            read_at: Instant::now(),
            quiet_since: Instant::now(),
            suspicious: false,
        })
    }

    /// Publishes events one after another, each only after its predecessor; returns when all are
    /// acknowledged, or with the first failure once nothing is on its way any more.
    pub(crate) async fn publish(&self, source: &str, events: &[Stored]) -> Result<(), Error> {
        let mut acks: VecDeque<PublishAckFuture> = VecDeque::new();
        let mut result = Ok(());
        for event in events {
            if acks.len() >= self.options.in_flight {
                result = acknowledged(acks.pop_front()).await;
            }
            if result.is_err() {
                break;
            }
            acks.push_back(self.send(source, event).await?);
            failpoint::reach("mid_publish").await;
        }
        // Together: a server that is gone lets each of them run out of time.
        for ack in join_all(acks.into_iter().map(|it| acknowledged(Some(it)))).await {
            result = result.and(ack);
        }
        failpoint::reach("after_publish").await;
        if result.is_ok() {
            metrics::SENT.add(events.len() as u64, [SYSTEM, &self.stream_name(source)]);
        }
        result
    }

    async fn send(&self, source: &str, event: &Stored) -> Result<PublishAckFuture, Error> {
        let envelope = event.envelope()?;
        let subject = subject_of(&self.options.prefix, source, &envelope.stream, &envelope.r#type);
        let span = trace::send_span(SYSTEM, &subject, &envelope, event.position);
        let mut headers = cloud_event(source, event, &envelope);
        headers.insert("traceparent", span.traceparent(&envelope.traceparent));
        let sent = self
            .context
            .publish_with_headers(subject, headers, event.envelope.clone())
            .await
            .map_err(|it| Error::unavailable_because("publish an event", it));
        span.end(sent.is_ok());
        sent
    }
}

fn context(options: &NatsOptions) -> ContextBuilder<Yes> {
    jetstream::ContextBuilder::new()
        .timeout(options.timeout)
        .ack_timeout(options.timeout)
        // `publish` bounds each source. A bound over all of them would let each wait for what the others hold.
        .max_ack_inflight(tokio::sync::Semaphore::MAX_PERMITS)
}

async fn acknowledged(ack: Option<PublishAckFuture>) -> Result<(), Error> {
    let Some(ack) = ack else { return Ok(()) };
    ack.await.map(drop).map_err(|it| Error::unavailable_because("publish an event", it))
}

/// What the first URL with a user says: a user with a password, or a token. The client does not look there itself.
fn of_url(servers: &[ServerAddr]) -> ConnectOptions {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let Some((user, server)) = servers.iter().find_map(|it| Some((it.username()?, it))) else {
        return ConnectOptions::new();
    };
    match server.password() {
        Some(password) => ConnectOptions::with_user_and_password(decoded(user), decoded(password)),
        None => ConnectOptions::with_token(decoded(user)),
    }
}

/// The client writes the addresses it connects to into the log.
fn without_secrets(server: ServerAddr) -> Result<ServerAddr, Error> {
    let mut url = server.into_inner();
    // Neither can fail where there is a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    ServerAddr::from_url(url).map_err(|it| Error::unavailable_because("read the log's URL", it))
}

/// CloudEvents 1.0, binary mode (NATS protocol binding): any CloudEvents consumer can read it.
fn cloud_event(
    source: &str,
    event: &Stored,
    envelope: &rapport_proto::types::Envelope,
) -> HeaderMap {
    let time = envelope.recorded_at.as_ref().and_then(crate::Timestamp::from_proto);
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: &str| {
        if !value.is_empty() {
            headers.insert(name, escaped(value));
        }
    };
    put("Nats-Expected-Last-Sequence", &(event.position - 1).to_string());
    put("rapport-chain", &hex(&event.chain));
    put("ce-specversion", "1.0");
    put("ce-id", &envelope.id);
    put("ce-source", &format!("/rapport/{source}"));
    put("ce-type", &envelope.r#type);
    put("ce-subject", &envelope.stream);
    put("ce-time", &time.unwrap_or_default().to_string());
    put("ce-datacontenttype", "application/protobuf");
    put("ce-dataschema", "urn:schema:rapport.type.v1.Envelope");
    put("ce-sequence", &format!("{:020}", event.position));
    put("ce-tenant", &envelope.tenant);
    put("ce-correlationid", &envelope.correlation_id);
    put("ce-causationid", &envelope.causation_id);
    put("ce-traceparent", &envelope.traceparent);
    headers
}

/// Percent-encodes what a header cannot carry (CloudEvents HTTP binding, 3.1.3.2).
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if (0x21..=0x7e).contains(&byte) && byte != b'"' && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn stored(
    position: u64,
    headers: Option<&HeaderMap>,
    payload: bytes::Bytes,
) -> Result<Stored, Error> {
    let chain = headers
        .and_then(|it| it.get("rapport-chain"))
        .and_then(|it| parse_hash(it.as_str()))
        .ok_or_else(|| Error::corrupt(format!("event {position} on the log has no chain")))?;
    let hop = headers.and_then(|it| it.get("traceparent")).map(ToString::to_string);
    Ok(Stored { position, chain, envelope: payload, hop: hop.unwrap_or_default() })
}

fn parse_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

/// How long a reader may be quiet before it asks whether it misses something.
const QUIET: Duration = Duration::from_secs(1);
/// At least this long between two pages: what comes alone is read at once, what comes in numbers together.
const GATHER: Duration = Duration::from_millis(20);

/// An ordered consumer that starts over when the stream it reads is gone, replaced or silent.
pub struct Reader {
    context: Context,
    name: String,
    position: u64,
    messages: Option<Ordered>,
    /// When the last page was read.
    read_at: Instant,
    quiet_since: Instant,
    /// The stream had more than was delivered when it was last looked at, and a fresh consumer was asked.
    suspicious: bool,
}

impl Reader {
    pub(super) fn skip_to(&mut self, position: u64) {
        self.position = self.position.max(position);
    }

    pub(super) async fn next(&mut self, max: usize, patience: Duration) -> Result<Batch, Error> {
        let mut deadline = Instant::now() + patience;
        let mut events: Vec<Stored> = Vec::new();
        while events.len() < max {
            let Some(event) = self.one(deadline).await? else { break };
            if events.is_empty() {
                // What is there already is taken too.
                deadline = Instant::now().max(self.read_at + GATHER);
            }
            events.push(event);
        }
        if !events.is_empty() {
            metrics::CONSUMED.add(events.len() as u64, [SYSTEM, &self.name]);
            self.read_at = Instant::now();
            self.quiet_since = self.read_at;
            self.suspicious = false;
            return Ok(Batch::Events(events));
        }
        if self.quiet_since.elapsed() < QUIET {
            return Ok(Batch::Idle);
        }
        self.quiet_since = Instant::now();
        self.look().await
    }

    /// After a silence: does the stream hold, or did it hold, events beyond what was read? An event may
    /// be on its way just now, so a fresh consumer is asked before anything is healed.
    async fn look(&mut self) -> Result<Batch, Error> {
        let Ok(stream) = self.context.get_stream(&self.name).await else {
            self.messages = None;
            return Ok(Batch::Idle);
        };
        let last = stream.cached_info().state.last_sequence;
        if last <= self.position {
            self.suspicious = false;
            return Ok(Batch::Idle);
        }
        self.messages = None;
        let stalled = std::mem::replace(&mut self.suspicious, true);
        Ok(if stalled { Batch::Stalled { last } } else { Batch::Idle })
    }

    /// The next event after the position, or `None` at the deadline.
    async fn one(&mut self, deadline: Instant) -> Result<Option<Stored>, Error> {
        loop {
            let Some(messages) = &mut self.messages else {
                if !self.open(deadline).await? {
                    return Ok(None);
                }
                continue;
            };
            let next = tokio::time::timeout_at(deadline.into(), messages.next()).await;
            let message = match next {
                Err(_) => return Ok(None),
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => {
                    tracing::debug!(stream = self.name, %error, "reader starts over");
                    self.messages = None;
                    continue;
                }
                Ok(None) => {
                    self.messages = None;
                    continue;
                }
            };
            let position = message
                .info()
                .map_err(|it| Error::unavailable_because("read a message's position", it))?
                .stream_sequence;
            // A replaced stream or a consumer beyond the end starts at 1 again: known events are skipped.
            if position <= self.position {
                continue;
            }
            let event = stored(position, message.headers.as_ref(), message.payload.clone())?;
            self.position = position;
            return Ok(Some(event));
        }
    }

    async fn open(&mut self, deadline: Instant) -> Result<bool, Error> {
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: self.position + 1 },
            replay_policy: ReplayPolicy::Instant,
            max_batch: 500,
            max_expires: Duration::from_secs(5),
            ..OrderedConfig::default()
        };
        let made = async {
            let stream = self.context.get_stream(&self.name).await.ok()?;
            let consumer = stream.create_consumer(config).await.ok()?;
            consumer.messages().await.ok()
        };
        // Right after a node died the creation can hang once: a short time-out, then again.
        match tokio::time::timeout(Duration::from_secs(2), made).await {
            Ok(Some(messages)) => {
                self.messages = Some(messages);
                Ok(true)
            }
            _ if Instant::now() >= deadline => Ok(false),
            _ => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(true)
            }
        }
    }
}
