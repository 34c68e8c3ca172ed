//! PostgreSQL and nats-server that speak TLS alone, and a log that knows its users by credentials (`.creds`): a target
//! gets in with what its settings name, and nobody does who trusts another authority or has other credentials.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chassis::settings::Tls;
use chassis::testing::{AUDIENCE, Authority, OidcIssuer};
use eventstore::testing::{NatsServer, Postgres};
use eventstore::{Database, DatabaseOptions, Error, Log, NatsOptions};
use nkeys::{KeyPair, KeyPairType};
use rapport_proto::profiles::v1::RegisterPartyRequest;
use rapport_proto::types::PartyKind;
use serde_json::{Value, json};
use support::{Client, Node, eventually};

use crate::NODE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn are_reached_with_the_right_authority_and_credentials_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tls = ours.issue(folder.path());
    let others = folder.path().join("theirs.crt");
    fs::write(&others, theirs.pem()).expect("written");

    let database = encrypted(&tls);
    database.psql("postgres", "CREATE DATABASE profiles");
    let url = |authority: &Path| {
        let options = format!("sslmode=verify-full&sslrootcert={}", authority.display());
        format!("{}?{options}", database.url("profiles"))
    };
    let open = async |url: String| match Database::open(&DatabaseOptions::new(url)).await {
        Ok(it) => {
            it.close().await;
            String::new()
        }
        Err(it) => it.chain(),
    };
    assert_eq!(open(url(&tls.ca_file)).await, "");
    let refused = open(url(&others)).await;
    assert!(refused.contains("invalid peer certificate"), "another authority: {refused:?}");
    let refused = open(format!("{}?sslmode=disable", database.url("postgres"))).await;
    assert!(refused.contains("no encryption"), "in clear: {refused:?}");

    let accounts = Accounts::new();
    let log_server = NatsServer::configured(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\n{}",
        tls.cert_file,
        tls.key_file,
        accounts.configuration()
    ));
    let (credentials, foreign) =
        (folder.path().join("user.creds"), folder.path().join("other.creds"));
    fs::write(&credentials, accounts.credentials()).expect("written");
    fs::write(&foreign, Accounts::new().credentials()).expect("written");
    let log = |credentials: &Path, authority: PathBuf| {
        Log::nats(NatsOptions {
            credentials_file: credentials.to_owned(),
            ca_file: authority,
            ..NatsOptions::new(log_server.url())
        })
    };
    let why = |it: Result<Log, Error>| it.err().map(|it| it.chain()).unwrap_or_default();
    let refused = why(log(&foreign, tls.ca_file.clone()).await);
    assert!(refused.contains("authorization violation"), "other credentials: {refused:?}");
    let refused = why(log(&credentials, others).await);
    assert!(refused.contains("invalid peer certificate"), "another authority: {refused:?}");

    let issuer = OidcIssuer::start().await;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    };
    let kek = write("kek", &STANDARD.encode([7; 32]));
    let service_key = write("service", &"k".repeat(32));
    let settings = [
        "targets=profiles".to_owned(),
        "tenants=acme".to_owned(),
        "grpc.address=127.0.0.1:0".to_owned(),
        "admin.address=127.0.0.1:0".to_owned(),
        "auth.mode=oidc".to_owned(),
        format!("auth.issuer={}", issuer.url()),
        format!("auth.audience={AUDIENCE}"),
        format!("auth.service_key_file={service_key}"),
        format!("keys.kek_file={kek}"),
        format!("database.url={}", url(&tls.ca_file).replace("/profiles?", "/{service}?")),
        format!("log.url={}", log_server.url()),
        format!("log.credentials_file={}", credentials.display()),
        format!("log.ca_file={}", tls.ca_file.display()),
    ];
    let node = Node::start(NODE, &settings, &[]);
    let mut client = Client::new(&node.grpc, &issuer.token("acme", "tester", &["*"]));
    let request = RegisterPartyRequest {
        parent: "tenants/acme".into(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        ..Default::default()
    };
    let registered = client.parties.register_party(request).await.expect("registered");
    let position = registered.into_inner().position;
    let log = log(&credentials, tls.ca_file.clone()).await.expect("connected");
    eventually("it is on the log", async || {
        log.tail("profiles").await.expect("told").is_some_and(|it| it.last == position)
    })
    .await;
    assert!(node.stop(), "it ends well");
}

/// A server that refuses whoever comes over the network in clear.
fn encrypted(tls: &Tls) -> Postgres {
    let server = Postgres::start();
    let owner = fs::metadata(server.data()).expect("its folder");
    let give = |from: &Path, name: &str| {
        let path = server.data().join(name);
        fs::copy(from, &path).expect("copied");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its own");
        chown(&path, Some(owner.uid()), Some(owner.gid())).expect("its own");
    };
    give(&tls.cert_file, "server.crt");
    give(&tls.key_file, "server.key");
    server.psql("postgres", "ALTER SYSTEM SET ssl = on");
    let only = "hostssl all all 127.0.0.1/32 trust\n";
    fs::write(server.data().join("pg_hba.conf"), only).expect("written");
    server.psql("postgres", "SELECT pg_reload_conf()");
    server
}

/// An operator, an account and its user, as `nsc` would make them: each signs what is below it.
struct Accounts {
    operator: KeyPair,
    system: KeyPair,
    account: KeyPair,
    user: KeyPair,
}

impl Accounts {
    fn new() -> Self {
        let key = |kind| {
            let random = eventstore::Ids::system().bytes();
            KeyPair::new_from_raw(kind, random).expect("a key")
        };
        Self {
            operator: key(KeyPairType::Operator),
            system: key(KeyPairType::Account),
            account: key(KeyPairType::Account),
            user: key(KeyPairType::User),
        }
    }

    /// What the server is told.
    fn configuration(&self) -> String {
        let of_operator = json!({"type": "operator", "version": 2});
        let operator = signed(&self.operator, &self.operator, "operator", &of_operator);
        let limits = |storage: i64| {
            json!({"type": "account", "version": 2, "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1,
                "wildcards": true, "mem_storage": storage, "disk_storage": storage, "streams": storage,
                "consumer": storage,
            }})
        };
        let account = |key: &KeyPair, storage| {
            let token = signed(&self.operator, key, "account", &limits(storage));
            format!("{}: {token}", key.public_key())
        };
        format!(
            "operator: {operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n{}\n}}\n",
            self.system.public_key(),
            account(&self.system, 0),
            account(&self.account, -1),
        )
    }

    /// What the user is told.
    fn credentials(&self) -> String {
        let about = json!({
            "type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
        });
        let token = signed(&self.account, &self.user, "user", &about);
        let seed = self.user.seed().expect("a seed");
        format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// A token about a key, signed by another one.
fn signed(by: &KeyPair, about: &KeyPair, name: &str, nats: &Value) -> String {
    let encode = |it: &Value| URL_SAFE_NO_PAD.encode(it.to_string());
    let header = encode(&json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let claims = json!({
        "jti": "1", "iat": 1, "iss": by.public_key(), "name": name, "sub": about.public_key(), "nats": nats,
    });
    let signed = format!("{header}.{}", encode(&claims));
    let signature = by.sign(signed.as_bytes()).expect("a key that signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
