//! What a target may do on the log and in databases, tried by who has taken one over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use eventstore::{Database, DatabaseOptions};
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use support::{Platform, Topology};

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
    let (user, password, server) = platform.nats_user("mirror");
    let connect = connect.user_and_password(user, password).custom_inbox_prefix("_INBOX_mirror");
    let mirror = connect.connect(server).await.expect("it has a user");
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
    for subject in &forbidden {
        mirror.publish(subject.clone(), "forged".into()).await.expect("sent");
    }
    let unheard =
        [format!("{prefix}.>"), "_INBOX_profiles.>".to_owned(), "_INBOX.>".to_owned(), ">".into()];
    for subject in &unheard {
        drop(mirror.subscribe(subject.clone()).await.expect("sent"));
    }
    mirror.flush().await.expect("the server read it all");
    let refused = |subject: &String| {
        let told = told.lock().expect("nobody panics");
        told.iter().any(|it| it.contains(&format!("\"{}\"", subject.to_lowercase())))
    };
    let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
    for subject in forbidden.iter().chain(&unheard) {
        while !refused(subject) {
            assert!(tokio::time::Instant::now() < give_up, "{subject} was not refused: {told:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(tail().await, position, "somebody else wrote to the source");

    // Its role has no way into the database of another target.
    let own = platform.database_of("mirror");
    let url = own.strip_suffix("_mirror").map(|it| format!("{it}_profiles")).expect("its database");
    let opened = Database::open(&DatabaseOptions::new(url)).await;
    let why = opened.err().map(|it| it.chain()).unwrap_or_default();
    assert!(why.contains("permission denied for database"), "{why}");
    platform.stop();
}
