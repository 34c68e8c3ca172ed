//! Over real connections: who is let in, who is trusted, and what a renewal changes.

use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::assembly::Target;
use crate::lifecycle::Shutdown;
use crate::service::Service;
use crate::testing::{Authority, embedded};

const QUIET: Target = Target {
    name: "profiles",
    schema: eventstore::Schema::default,
    reasons: &[],
    service: |_| Service::new(),
};

/// Serves health with these certificates; tells where.
#[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
async fn served(tls: &Arc<Tls>) -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = Box::pin(tls.clone().incoming(TcpIncoming::from(listener)));
    tokio::spawn(Server::builder().add_service(health).serve_with_incoming(incoming));
    format!("https://{address}")
}

/// Whether a call over a new connection is answered.
async fn answers(url: &str, tls: Option<ClientTlsConfig>) -> bool {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("a URL");
    let endpoint = tls.into_iter().try_fold(endpoint, Endpoint::tls_config).expect("TLS");
    let channel: Channel = endpoint.connect_lazy();
    HealthClient::new(channel).check(HealthCheckRequest::default()).await.is_ok()
}

fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.pem()))
}

fn with_certificate_of(authority: &Authority, client: ClientTlsConfig) -> ClientTlsConfig {
    let (certificate, key) = authority.leaf();
    client.identity(Identity::from_pem(certificate, key))
}

#[tokio::test]
async fn a_process_speaks_tls_to_who_trusts_it_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let mut settings = embedded(&folder);
    settings.tls = ours.issue(folder.path());
    settings.tls.client_ca_file = "".into();
    let process = crate::run::start(&[QUIET], settings, Shutdown::new()).await.expect("started");
    let url = format!("https://{}", process.grpc);
    assert!(answers(&url, Some(trusting(&ours))).await);
    assert!(!answers(&url, Some(trusting(&theirs))).await, "it is trusted by who should not");
    assert!(!answers(&url.replace("https", "http"), None).await, "it speaks in clear");
    let admin = format!("http://{}", process.admin);
    assert!(answers(&admin, None).await, "probes need no certificate");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let metrics = reqwest::get(format!("{admin}/metrics")).await.expect("answered");
    let metrics = metrics.text().await.expect("text");
    let ends = "rapport_certificate_expires_seconds{";
    assert!(metrics.lines().any(|it| it.starts_with(ends) && !it.ends_with(" 0")), "{metrics}");
    process.stop().await.expect("stopped");
}

#[tokio::test]
async fn callers_show_a_certificate_when_they_must() {
    let folder = tempfile::tempdir().expect("folder");
    let (ours, theirs) = (Authority::new(), Authority::new());
    let tls = Tls::read(&ours.issue(folder.path())).expect("read");
    let url = served(&tls).await;
    assert!(answers(&url, Some(tls.client())).await, "another target");
    assert!(answers(&url, Some(with_certificate_of(&ours, trusting(&ours)))).await);
    assert!(!answers(&url, Some(with_certificate_of(&theirs, trusting(&ours)))).await);
    assert!(!answers(&url, Some(trusting(&ours))).await);
}

#[tokio::test]
async fn a_renewal_needs_no_restart_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let (old, new) = (Authority::new(), Authority::new());
    let tls = Tls::read(&old.issue(folder.path())).expect("read");
    let url = served(&tls).await;
    let before = tls.client();
    assert!(!tls.look().expect("as before"));

    let files = new.issue(folder.path());
    assert!(tls.look().expect("renewed"));
    assert_eq!(tls.generation(), 1);
    assert!(answers(&url, Some(tls.client())).await);
    assert!(!answers(&url, Some(before)).await, "the old authority still counts");

    for (file, text) in [
        (&files.cert_file, "no certificate".to_owned()),
        (&files.ca_file, String::new()),
        (&files.key_file, new.leaf().1),
    ] {
        let whole = std::fs::read(file).expect("there");
        std::fs::write(file, text).expect("written");
        let told = tls.look().expect_err("broken").to_string();
        assert!(told.contains(&shown(file)), "{told}");
        assert!(answers(&url, Some(tls.client())).await, "{told}");
        std::fs::write(file, whole).expect("written");
    }
    assert!(!tls.look().expect("as before"));
}

#[test]
fn a_missing_file_is_named() {
    let named = |path: &str| settings::Tls { ca_file: path.into(), ..Default::default() };
    let told = Tls::read(&named("/nowhere/ca.crt")).expect_err("missing").to_string();
    assert_eq!(told, "read /nowhere/ca.crt");
}
