//! What a target may do on the log and in databases, tried by who has taken one over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use eventstore::{Database, DatabaseOptions, imported_api};
use rapport::targets::TARGETS;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use serde_json::{Value, json};
use support::{Platform, Topology};
use tokio::time::Instant;

use crate::NODE;

#[tokio::test]
async fn a_target_writes_its_own_history_and_no_other() {
    let mut platform = Platform::new(Topology::Distributed, NODE).await;
    platform.start(None);
    let request = RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..Default::default()
    };
    let registered = platform.client("acme").parties.register_party(request).await;
    let position = registered.expect("registered").into_inner().position;
    let log = platform.log().await.expect("there is one");
    let tail = || async { log.tail("profiles").await.expect("told").map_or(0, |it| it.last) };
    while tail().await < position {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // `mirror` reads `profiles`.
    let mirror = User::of(&platform, "mirror").await;
    let prefix = platform.prefix();
    let forbidden = [
        format!("{prefix}.profiles.party.party_registered"),
        format!("{prefix}-poke.profiles"),
        format!("$JS.API.STREAM.DELETE.{prefix}-profiles"),
        format!("$JS.API.STREAM.PURGE.{prefix}-profiles"),
        format!("$JS.API.STREAM.UPDATE.{prefix}-profiles"),
        format!("$JS.API.STREAM.MSG.DELETE.{prefix}-profiles"),
        format!("$JS.API.STREAM.CREATE.{prefix}-profiles"),
        format!("$JS.API.STREAM.DELETE.{prefix}-mirror"),
        format!("$JS.API.STREAM.CREATE.{prefix}-another"),
        "$JS.API.STREAM.NAMES".to_owned(),
    ];
    let unheard =
        [format!("{prefix}.>"), "_INBOX_profiles.>".to_owned(), "_INBOX.>".to_owned(), ">".into()];
    mirror.is_refused(&forbidden, &unheard).await;
    assert_eq!(tail().await, position, "somebody else wrote to the source");

    // Its role has no way into the database of another target.
    has_no_way_into(&platform, "mirror", "profiles").await;
    platform.stop();
}

/// Whose events a target reads, and nobody else's. Written down here again, so that a change of it is seen.
const READS: [(&str, &[&str]); 9] = [
    ("audit", &["content", "decisioning", "delivery", "feedback", "journeys", "kpis", "profiles"]),
    ("content", &["decisioning", "journeys"]),
    ("decisioning", &["content", "delivery", "profiles"]),
    ("delivery", &["content", "decisioning", "feedback", "journeys", "profiles"]),
    ("feedback", &["content", "delivery", "journeys", "profiles"]),
    ("gateway", &[]),
    ("journeys", &["decisioning", "delivery", "feedback", "profiles"]),
    ("kpis", &["content", "decisioning", "delivery", "feedback", "journeys", "profiles"]),
    ("profiles", &["decisioning", "delivery", "journeys"]),
];

/// Nothing runs here but the servers, set up as an operator sets them up.
#[tokio::test]
async fn no_target_has_the_rights_of_another() {
    let platform = Platform::whole(Topology::Distributed, NODE).await;
    let prefix = platform.prefix();
    let names: Vec<_> = TARGETS.iter().map(|it| it.name).collect();
    assert_eq!(names.len(), READS.len());
    for own in &names {
        User::of(&platform, own).await.begins(prefix).await;
    }
    for (own, reads) in READS {
        let user = User::of(&platform, own).await;
        user.is_refused(&[], &[format!("{prefix}.>")]).await;
        let others = || names.iter().filter(|it| **it != own);
        for other in others() {
            let api = |what: &str| format!("$JS.API.{what}.{prefix}-{other}");
            let mut forbidden = vec![
                format!("{prefix}.{other}.party.party_registered"),
                format!("{prefix}-poke.{other}"),
            ];
            for api in ["$JS.API".to_owned(), imported_api(prefix, other)] {
                let stream = format!("{prefix}-{other}");
                let changes = ["CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE"];
                forbidden.extend(changes.map(|it| format!("{api}.STREAM.{it}.{stream}")));
            }
            let reading = ["STREAM.INFO", "STREAM.MSG.GET", "CONSUMER.CREATE"];
            forbidden.extend(reading.map(api));
            if !reads.contains(other) {
                let api = imported_api(prefix, other);
                forbidden.extend(reading.map(|it| format!("{api}.{it}.{prefix}-{other}")));
            }
            let unheard = [format!("{prefix}-poke.{other}"), format!("_INBOX_{other}.>")];
            user.is_refused(&forbidden, &unheard).await;
            has_no_way_into(&platform, own, other).await;
        }
        // What it may is not refused.
        let read = |it: &&str| format!("{}.STREAM.MSG.GET.{prefix}-{it}", imported_api(prefix, it));
        let may: Vec<_> = reads.iter().map(read).collect();
        user.publish(&may).await;
        user.is_refused(&[], &["another.subject".to_owned()]).await;
        assert_eq!(may.iter().find(|it| user.was_refused(it)), None, "{own}");
        for other in others() {
            user.sends_answers_to(prefix, own, other, reads.contains(other)).await;
        }
        changes_no_fact(&platform, own).await;
    }
    // Each stream has what its own target put there: at the beginning, and beside each of its attempts above.
    let log = platform.log().await.expect("there is one");
    for own in &names {
        let tail = log.tail(own).await;
        let last = tail.map_or_else(|error| panic!("{own}: {error}"), |it| it.map(|it| it.last));
        assert_eq!(last, Some(names.len() as u64), "{own}");
    }
}

/// Its role reads and appends in its own database; facts stay, and so do tables.
async fn changes_no_fact(platform: &Platform, target: &str) {
    let database = Database::open(&DatabaseOptions::new(platform.database_of(target))).await;
    let database = database.expect("its own database");
    database.query("SELECT position FROM event", Vec::new()).await.expect("it reads");
    for statement in [
        "UPDATE event SET position = 0",
        "DELETE FROM event",
        "TRUNCATE event",
        "DROP TABLE event",
        "ALTER TABLE event ADD COLUMN x BIGINT",
        "CREATE TABLE x (x BIGINT)",
        "UPDATE migration SET checksum = ''",
    ] {
        let done = database.exec(statement, Vec::new()).await;
        let why = done.err().map(|it| it.chain()).unwrap_or_default();
        let refused = why.contains("permission denied") || why.contains("must be owner");
        assert!(refused, "{target}: {statement}: {why}");
    }
    database.close().await;
}

async fn has_no_way_into(platform: &Platform, target: &str, other: &str) {
    let own = platform.database_of(target);
    let url = own.strip_suffix(target).map(|it| format!("{it}{other}")).expect("its database");
    let opened = Database::open(&DatabaseOptions::new(url)).await;
    let why = opened.err().map(|it| it.chain()).unwrap_or_default();
    assert!(why.contains("permission denied for database"), "{target} in {other}: {why}");
}

/// A user of the log, and what the server refused.
struct User {
    name: String,
    client: Client,
    told: Arc<Mutex<Vec<String>>>,
}

impl User {
    async fn of(platform: &Platform, target: &str) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = told.clone();
        let connect = ConnectOptions::new().event_callback(move |event| {
            let heard = heard.clone();
            async move {
                if let Event::ServerError(error) = event {
                    heard.lock().expect("nobody panics").push(error.to_string().to_lowercase());
                }
            }
        });
        let (user, password, server) = platform.nats_user(target);
        let inbox = format!("_INBOX_{target}");
        let connect = connect.user_and_password(user, password).custom_inbox_prefix(inbox);
        let client = connect.connect(server).await.expect("it has a user");
        Self { name: target.to_owned(), client, told }
    }

    /// Asks for something of the API, and waits for the answer.
    async fn ask(&self, subject: String, body: Value) -> String {
        let answer = self.client.request(subject, body.to_string().into()).await.expect("answered");
        String::from_utf8_lossy(&answer.payload).into_owned()
    }

    /// Makes its stream, with an event in it.
    async fn begins(&self, prefix: &str) {
        let own = &self.name;
        let config =
            json!({"name": format!("{prefix}-{own}"), "subjects": [format!("{prefix}.{own}.>")]});
        let made = self.ask(format!("$JS.API.STREAM.CREATE.{prefix}-{own}"), config).await;
        assert!(made.contains("did_create"), "{own}: {made}");
        self.puts(prefix, "").await;
    }

    /// Puts an event into its own stream; whoever acknowledges it answers there, if it says where.
    async fn puts(&self, prefix: &str, answer: &str) {
        let subject = format!("{prefix}.{}.party.party_registered", self.name);
        let mut headers = HeaderMap::new();
        headers.insert("rapport-chain", "0".repeat(64));
        let (client, body) = (&self.client, "an event".into());
        if answer.is_empty() {
            client.request_with_headers(subject, headers, body).await.expect("acknowledged");
        } else {
            let answer = answer.to_owned();
            let sent = client.publish_with_reply_and_headers(subject, answer, headers, body);
            sent.await.expect("sent");
        }
    }

    /// The server answers wherever somebody says: into the stream of another target, if it were in the same account. For
    /// answers nobody's permissions are looked at.
    async fn sends_answers_to(&self, prefix: &str, own: &str, other: &str, reads: bool) {
        let there = format!("{prefix}.{other}.party.party_registered");
        self.puts(prefix, &there).await;
        let mut apis = vec![("$JS.API".to_owned(), format!("{prefix}-{own}"))];
        if reads {
            apis.push((imported_api(prefix, other), format!("{prefix}-{other}")));
        }
        for (api, stream) in apis {
            // One that hands out when it is asked, and one that sends by itself.
            let pulled = json!({"stream_name": stream, "config": {
                "name": "x", "ack_policy": "none", "mem_storage": true, "inactive_threshold": 60_000_000_000_u64,
            }});
            let made = self.ask(format!("{api}.CONSUMER.CREATE.{stream}.x"), pulled.clone()).await;
            assert!(made.contains("\"created\""), "{own} reads {stream}: {made}");
            let mut pushed = pulled;
            pushed["config"]["name"] = "y".into();
            pushed["config"]["deliver_subject"] = there.clone().into();
            let made = self.ask(format!("{api}.CONSUMER.CREATE.{stream}.y"), pushed).await;
            assert!(api == "$JS.API" || made.contains("error"), "{own}: {made}");
            for asked in ["STREAM.INFO", "CONSUMER.MSG.NEXT"] {
                let of = if asked == "STREAM.INFO" { "" } else { ".x" };
                let asked = format!("{api}.{asked}.{stream}{of}");
                let sent = self.client.publish_with_reply(asked, there.clone(), "".into());
                sent.await.expect("sent");
            }
        }
        self.client.flush().await.expect("the server read it all");
    }

    async fn publish(&self, subjects: &[String]) {
        for subject in subjects {
            self.client.publish(subject.clone(), "forged".into()).await.expect("sent");
        }
        self.client.flush().await.expect("the server read it all");
    }

    fn was_refused(&self, subject: &str) -> bool {
        let told = self.told.lock().expect("nobody panics");
        told.iter().any(|it| it.contains(&format!("\"{}\"", subject.to_lowercase())))
    }

    /// The server refuses to publish there, and to subscribe there.
    async fn is_refused(&self, publish: &[String], subscribe: &[String]) {
        self.publish(publish).await;
        for subject in subscribe {
            drop(self.client.subscribe(subject.clone()).await.expect("sent"));
        }
        self.client.flush().await.expect("the server read it all");
        let give_up = Instant::now() + Duration::from_secs(30);
        for subject in publish.iter().chain(subscribe) {
            while !self.was_refused(subject) {
                assert!(Instant::now() < give_up, "{subject} was not refused: {:?}", self.told);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}
