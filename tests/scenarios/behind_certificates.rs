//! A platform whose targets talk to each other and to the world by TLS alone, each showing its certificate, while the
//! certificates are replaced.

use chassis::testing::Authority;
use rapport::remote::{Addresses, Remote, told};
use rapport_proto::audit::v1::VerifyLogRequest;
use rapport_proto::profiles::v1::{GetPartyRequest, RegisterPartyRequest};
use rapport_proto::types::PartyKind;
use support::{Platform, Topology, eventually};
use tonic::transport::{Certificate, ClientTlsConfig};

use crate::NODE;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_shown_checked_and_replaced() {
    let mut platform = Platform::whole(Topology::Distributed, NODE).await;
    let before = Authority::new();
    platform.tls = Some(before.issue(platform.folder()));
    platform.start(None);

    // Through the gateway, which passes calls on to the others.
    let remote = through_the_gateway(&platform, platform.client_tls());
    let name = register(&remote, "before").await.expect("registered");
    indexed(&remote).await;

    // Who shows none, and who speaks in clear, gets nothing.
    let shows_none = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(before.pem()));
    let refused = register(&through_the_gateway(&platform, Some(shows_none)), "shows-none").await;
    assert!(refused.is_err(), "a caller without a certificate was answered");
    let refused = register(&through_the_gateway(&platform, None), "in-clear").await;
    assert!(refused.is_err(), "a caller in clear was answered");

    // Another authority, other certificates: nobody restarts.
    Authority::new().issue(platform.folder());
    let renewed = platform.client_tls();
    eventually("every target uses the new certificates", async || {
        let remote = through_the_gateway(&platform, renewed.clone());
        let asked = GetPartyRequest { name: name.clone(), ..GetPartyRequest::default() };
        told(remote.parties.clone().get_party(asked).await).is_ok()
    })
    .await;
    let remote = through_the_gateway(&platform, renewed);
    eventually("a write goes through", async || register(&remote, "after").await.is_ok()).await;
    indexed(&remote).await;
    platform.stop();
}

fn through_the_gateway(platform: &Platform, tls: Option<ClientTlsConfig>) -> Remote {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let all = format!("{scheme}://{}", platform.node("gateway").grpc);
    let token = platform.issuer.token("acme", "person", &["*"]);
    let addresses = Addresses { all, tls, ..Addresses::default() };
    Remote::new(&addresses, "acme", &token).expect("clients")
}

async fn register(remote: &Remote, request_id: &str) -> Result<String, rapport::remote::Refused> {
    let request = RegisterPartyRequest {
        parent: remote.parent.clone(),
        kind: PartyKind::Hcp.into(),
        market: "DE".into(),
        request_id: format!("register-{request_id}"),
        ..RegisterPartyRequest::default()
    };
    let reply = told(remote.parties.clone().register_party(request).await)?;
    Ok(reply.party.unwrap_or_default().name)
}

/// `audit` has read every source through the log, and asks every producer for the same again.
async fn indexed(remote: &Remote) {
    eventually("audit has verified every source", async || {
        let request =
            VerifyLogRequest { parent: remote.parent.clone(), ..VerifyLogRequest::default() };
        let Ok(mut answer) = told(remote.audit.clone().verify_log(request).await) else {
            return false;
        };
        let mut sources = 0;
        while let Ok(Some(found)) = answer.message().await {
            let found = found.source.unwrap_or_default();
            sources += usize::from(found.index_complete);
        }
        sources == audit_sources()
    })
    .await;
}

fn audit_sources() -> usize {
    // Those that write events: all but `audit` itself and the gateway.
    rapport::targets::TARGETS.len() - 2
}
