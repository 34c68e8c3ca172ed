//! `rapport backup` and `rapport restore`: a database is lost after its backup, and nothing else is.

use rapport::remote::{Remote, told};
use rapport_proto::profiles::v1::{
    AddIdentifierRequest, Identifier, LookupPartyRequest, Party, RegisterPartyRequest,
};
use rapport_proto::types::PartyKind;

use super::deployment::Deployment;
use super::operators::status;
use super::{fails, succeeds};

fn identifier(value: &str) -> Identifier {
    Identifier { system: "crm".into(), value: value.into(), ..Identifier::default() }
}

async fn register(remote: &Remote, value: &str) -> Party {
    let request = RegisterPartyRequest {
        parent: remote.parent.clone(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        identifiers: vec![identifier(value)],
        request_id: format!("register-{value}"),
        ..RegisterPartyRequest::default()
    };
    let reply = told(remote.parties.clone().register_party(request).await).expect("registered");
    reply.party.expect("a party")
}

async fn also_known_as(remote: &Remote, party: &Party, value: &str) {
    let request = AddIdentifierRequest {
        name: party.name.clone(),
        identifier: Some(identifier(value)),
        request_id: format!("add-{value}"),
    };
    told(remote.parties.clone().add_identifier(request).await).expect("added");
}

async fn look_up(remote: &Remote, value: &str) -> Party {
    let request = LookupPartyRequest {
        parent: remote.parent.clone(),
        system: "crm".into(),
        value: value.into(),
        ..LookupPartyRequest::default()
    };
    told(remote.parties.clone().lookup_party(request).await).expect("found").party.expect("a party")
}

/// Waits until everything of `profiles` is on the log; its position.
async fn all_on_the_log(deployment: &Deployment) -> u64 {
    for _ in 0..300 {
        let (_, json) = status(deployment.here(), &deployment.set, false);
        let profiles = &json["targets"][0];
        if profiles["outbox"] == 0 && profiles["log"] == profiles["position"] {
            return profiles["position"].as_u64().expect("a position");
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("not on the log within 30 s");
}

async fn a_lost_database_comes_back_from_a_backup_and_the_log(postgres: bool) {
    let deployment = Deployment::new(postgres).await;
    let here = deployment.here();
    let run = |arguments: &[&str]| succeeds(here, &deployment.with(arguments));
    let server = deployment.serve();
    let remote = deployment.remote(&server);
    let party = register(&remote, "before").await;
    // Beside the running service.
    let told = run(&["backup", "copies"]);
    let taken = told.lines().next().expect("a line for profiles").to_owned();
    assert!(taken.starts_with("profiles: 2 events, chain "), "{told}");
    let again = fails(here, &deployment.with(&["backup", "copies"]));
    assert!(again.contains("copies/profiles.backup is there already"), "{again}");
    assert!(!std::fs::read(here.join("copies/profiles.backup")).expect("read").is_empty());

    for number in 0..5 {
        also_known_as(&remote, &party, &format!("after-{number}")).await;
    }
    let position = all_on_the_log(&deployment).await;
    assert_eq!(position, 7);
    drop(server);
    let (verified, before) = (run(&["store", "verify"]), {
        let server = deployment.serve();
        look_up(&deployment.remote(&server), "before").await
    });
    deployment.lose("profiles");

    let full = fails(here, &deployment.with(&["--target", "audit", "restore", "copies"]));
    assert!(full.contains("restored into an empty store"), "{full}");
    assert_eq!(run(&["--target", "profiles", "restore", "copies"]).lines().next(), Some(&*taken));
    let (behind, _) = status(here, &deployment.set, true);
    let behind = behind.replace("\n  ", " ");
    assert!(behind.contains("the store ends at 2, the log at 7: it lost events"), "{behind}");
    let server = deployment.serve();
    let remote = deployment.remote(&server);
    for value in ["before", "after-0", "after-4"] {
        assert_eq!(look_up(&remote, value).await, before, "{value}");
    }
    // The same requests again have their answers, whether they came before the backup or after it.
    assert_eq!(register(&remote, "before").await.party_id, party.party_id);
    also_known_as(&remote, &party, "after-4").await;
    assert_eq!(all_on_the_log(&deployment).await, position);
    drop(server);
    assert_eq!(run(&["store", "verify"]), verified);
    assert_eq!(run(&["rebuild", "profiles"]), "profiles: 7 events replayed\n");
    let server = deployment.serve();
    assert_eq!(look_up(&deployment.remote(&server), "after-4").await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_file_comes_back_from_a_backup_and_the_log() {
    a_lost_database_comes_back_from_a_backup_and_the_log(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_postgres_database_comes_back_from_a_backup_and_the_log() {
    a_lost_database_comes_back_from_a_backup_and_the_log(true).await;
}
