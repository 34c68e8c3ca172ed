//! What a target may do on the log and in databases, tried by who has taken one over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use eventstore::{Database, DatabaseOptions};
use rapport::targets::TARGETS;
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
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
    for (own, reads) in READS {
        let user = User::of(&platform, own).await;
        let (mut forbidden, mut unheard) = (Vec::new(), vec![format!("{prefix}.>")]);
        for other in names.iter().filter(|it| **it != own) {
            let api = |what: &str| format!("$JS.API.{what}.{prefix}-{other}");
            forbidden.push(format!("{prefix}.{other}.party.party_registered"));
            forbidden.push(format!("{prefix}-poke.{other}"));
            forbidden.extend(["STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE"].map(api));
            forbidden.extend(["STREAM.PURGE", "STREAM.MSG.DELETE"].map(api));
            if !reads.contains(other) {
                forbidden.extend(["STREAM.INFO", "STREAM.MSG.GET", "CONSUMER.CREATE"].map(api));
            }
            unheard.push(format!("{prefix}-poke.{other}"));
            unheard.push(format!("_INBOX_{other}.>"));
            has_no_way_into(&platform, own, other).await;
        }
        user.is_refused(&forbidden, &unheard).await;
        // What it may is not refused.
        let may = reads.iter().map(|it| format!("$JS.API.STREAM.MSG.GET.{prefix}-{it}"));
        let may: Vec<_> = may.chain([format!("{prefix}.{own}.party.party_registered")]).collect();
        user.publish(&may).await;
        user.is_refused(&[], &["another.subject".to_owned()]).await;
        assert_eq!(may.iter().find(|it| user.was_refused(it)), None, "{own}");
        changes_no_fact(&platform, own).await;
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
        Self { client: connect.connect(server).await.expect("it has a user"), told }
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
