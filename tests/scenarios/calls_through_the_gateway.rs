//! A browser that knows one address calls every target through it with gRPC-Web, streams and errors included.

use rapport_proto::audit::v1::{ExportEventsRequest, ExportEventsResponse};
use rapport_proto::eventlog::v1::ReadEventsRequest;
use rapport_proto::profiles::v1::{GetPartyRequest, RegisterPartyRequest, RegisterPartyResponse};
use rapport_proto::types::PartyKind;
use support::{Platform, Topology, Web, eventually};

use crate::{NODE, in_both_topologies};

in_both_topologies!(through tell: a_browser_needs_one_address);

async fn tell(topology: Topology, story: impl AsyncFnOnce(&mut Platform)) {
    let mut platform = Platform::whole(topology, NODE).await;
    platform.start(None);
    story(&mut platform).await;
    platform.stop();
}

async fn a_browser_needs_one_address(platform: &mut Platform) {
    let browser = Browser {
        address: platform.node("gateway").grpc.clone(),
        token: platform.issuer.token("acme", "person", &["*"]),
    };
    let mut names = Vec::new();
    for number in 0..40 {
        let request = RegisterPartyRequest {
            parent: "tenants/acme".into(),
            kind: PartyKind::Payer.into(),
            market: "US".into(),
            request_id: format!("register-{number}"),
            ..Default::default()
        };
        let told = browser.call("profiles.v1.PartyService/RegisterParty", &request).await;
        assert_eq!(told.trailer("grpc-status"), Some("0"), "{told:?}");
        let [reply] = told.messages::<RegisterPartyResponse>().try_into().expect("one reply");
        names.push(reply.party.expect("a party").name);
    }

    // An error says why, also in what only a trailer can carry.
    let request =
        GetPartyRequest { name: "tenants/acme/parties/pty_1".into(), ..Default::default() };
    let told = browser.call("profiles.v1.PartyService/GetParty", &request).await;
    assert_eq!(told.trailer("grpc-status"), Some("5"), "{told:?}");
    assert!(told.trailer("grpc-message").is_some(), "{told:?}");
    assert!(told.trailer("grpc-status-details-bin").is_some_and(|it| it.len() > 20), "{told:?}");
    assert_eq!(told.frames.len(), 0);

    // A stream comes message by message. What the index does not have yet comes later.
    let request = ExportEventsRequest { parent: "tenants/acme".into(), ..Default::default() };
    eventually("every event is exported", async || {
        let told = browser.call("audit.v1.AuditService/ExportEvents", &request).await;
        assert_eq!(told.trailer("grpc-status"), Some("0"), "{told:?}");
        let messages = told.messages::<ExportEventsResponse>();
        let lines: String = messages.iter().map(|it| it.lines.as_str()).collect();
        lines.lines().filter(|it| it.contains("PartyRegistered")).count() == names.len()
    })
    .await;

    // The callee knows the caller by its own token: the gateway lends nobody its rights.
    let stranger = Browser { token: "none".into(), ..browser.clone() };
    let request = GetPartyRequest { name: names[0].clone(), ..Default::default() };
    let told = stranger.call("profiles.v1.PartyService/GetParty", &request).await;
    assert_eq!(told.trailer("grpc-status"), Some("16"), "{told:?}");
    let other = Browser { token: platform.issuer.token("umbrella", "spy", &["*"]), ..browser };
    let told = other.call("profiles.v1.PartyService/GetParty", &request).await;
    assert_eq!(told.trailer("grpc-status"), Some("5"), "{told:?}");
    if platform.topology == Topology::Distributed {
        // What every target serves of its own is not another's.
        let request = ReadEventsRequest { source: "profiles".into(), after_position: 0, limit: 1 };
        let told = other.call("eventlog.v1.EventLogService/ReadEvents", &request).await;
        assert_eq!(told.trailer("grpc-status"), Some("5"), "{told:?}");
    }
}

#[derive(Clone)]
struct Browser {
    address: String,
    token: String,
}

/// An answer as a browser sees it.
#[derive(Debug)]
struct Told {
    frames: Vec<Vec<u8>>,
    /// Lines of the last frame; of the head when there is none.
    trailers: Vec<(String, String)>,
}

impl Browser {
    /// A POST over HTTP/1.1, frames in the body, the trailers as the last frame.
    async fn call(&self, method: &str, request: &impl prost::Message) -> Told {
        let length = u32::try_from(request.encoded_len()).expect("a small message").to_be_bytes();
        let body = [&[0], &length[..], &request.encode_to_vec()].concat();
        let token = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", &*token),
            ("content-type", "application/grpc-web+proto"),
            ("x-grpc-web", "1"),
            ("origin", "https://app.example"),
        ];
        let mut web = Web::new(self.address.clone());
        let path = format!("/rapport.{method}");
        let answer = web.ask("POST", &path, &headers, &body).await.expect("an answer");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        assert!(exposed.contains("grpc-status-details-bin"), "{exposed}");
        let mut told = Told { frames: Vec::new(), trailers: answer.headers.clone() };
        let mut rest = answer.body.as_slice();
        while let [flags, a, b, c, d, after @ ..] = rest {
            let (frame, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            if flags & 0x80 == 0 {
                told.frames.push(frame.to_vec());
            } else {
                let text = String::from_utf8_lossy(frame).into_owned();
                let pair = |it: &str| {
                    it.split_once(':').map(|it| (it.0.to_lowercase(), it.1.trim().to_owned()))
                };
                told.trailers = text.lines().filter_map(pair).collect();
            }
            rest = next;
        }
        told
    }
}

impl Told {
    fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|it| it.0 == name).map(|it| it.1.as_str())
    }

    fn messages<M: prost::Message + Default>(&self) -> Vec<M> {
        self.frames.iter().map(|it| M::decode(&**it).expect("a message")).collect()
    }
}
