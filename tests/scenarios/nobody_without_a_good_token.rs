//! Every RPC there is, asked with every kind of token that must not do: made up from the contract, so that a call that is
//! added tomorrow is asked too.

use chassis::auth::ServiceKeys;
use chassis::auth::edges;
use chassis::auth::service::Grant;
use chassis::testing::TokenSpec;
use prost_reflect::DescriptorPool;
use rapport::targets::TARGETS;
use rapport_proto::{ACCESS, BY_BRAND, BY_MARKET, FILE_DESCRIPTOR_SET};
use support::{Platform, Topology, Web};

use crate::NODE;

const PERMISSION_DENIED: &str = "7";
const UNIMPLEMENTED: &str = "12";
const UNAUTHENTICATED: &str = "16";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    in_topology(Topology::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn distributed() {
    in_topology(Topology::Distributed).await;
}

async fn in_topology(topology: Topology) {
    let mut platform = Platform::whole(topology, NODE).await;
    // Only read by a process that is asked to.
    platform.extra.push("auth.roles.clerk=profiles.parties.read".into());
    platform.start(None);
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the contract");
    let others = ServiceKeys::generate();
    let ours = platform.service_keys();
    let (mut asked, mut let_in, mut welcome) = (0, 0, 0);
    for (path, permission) in ACCESS {
        let method = path.trim_start_matches('/');
        let for_all = method.starts_with(edges::EVENT_LOG);
        for served in TARGETS.iter().map(|it| it.name).filter(|it| serves(it, path)) {
            let mut door = Door::at(&platform, served, path);
            for (what, token) in strangers(&platform) {
                let code = door.ask(token.as_deref()).await;
                assert_eq!(code, UNAUTHENTICATED, "{path} of {served}: {what}");
                asked += 1;
            }
            for (what, spec) in without(path, permission) {
                let token = platform.issuer.mint(spec);
                let code = door.ask(Some(&token)).await;
                assert_eq!(code, PERMISSION_DENIED, "{path} of {served}: {what}");
                asked += 1;
            }
            // Some streams never end.
            for (what, spec) in with(permission).into_iter().filter(|_| !streams(&pool, path)) {
                let token = platform.issuer.mint(spec);
                let code = door.ask(Some(&token)).await;
                let refused = [UNAUTHENTICATED, PERMISSION_DENIED].contains(&&*code);
                assert!(!refused, "{path} of {served}: {what}: {code}");
                welcome += 1;
            }
            for from in TARGETS.iter().map(|it| it.name) {
                let mint = |keys: &ServiceKeys, to| {
                    keys.mint(Grant { from, to, tenant: "acme", on_behalf_of: None })
                };
                let code = door.ask(Some(&mint(&ours, served))).await;
                let refused = [UNAUTHENTICATED, PERMISSION_DENIED].contains(&&*code);
                assert_eq!(!refused, edges::allows(from, method), "{from} calls {path}: {code}");
                let_in += usize::from(!refused);
                let code = door.ask(Some(&mint(&others, served))).await;
                assert_eq!(code, UNAUTHENTICATED, "{path}: a key that is not ours");
                // One process is every target: the log that all serve is then the same for each.
                let elsewhere = TARGETS.iter().map(|it| it.name).find(|it| *it != served);
                let elsewhere = elsewhere.filter(|_| topology == Topology::Distributed || !for_all);
                if let Some(to) = elsewhere {
                    let code = door.ask(Some(&mint(&ours, to))).await;
                    let refused = [UNAUTHENTICATED, PERMISSION_DENIED].contains(&&*code);
                    assert!(refused, "{path} of {served}: made for {to}, from {from}: {code}");
                }
                asked += 3;
            }
        }
    }
    // Nothing was asked in vain: whoever may call got further than the door.
    assert!(asked > 10 * ACCESS.len() && let_in > 0, "{asked} asked, {let_in} let in");
    assert!(welcome > ACCESS.len(), "{welcome} let in with just what they need");

    // What drives a simulated clock is not even there.
    let mut door =
        Door::at(&platform, "profiles", "/rapport.simulation.v1.SimulationService/SetTime");
    let root = platform.issuer.mint(TokenSpec::new("acme", "root", &["*"]));
    assert_eq!(door.ask(Some(&root)).await, UNIMPLEMENTED);
    if topology == Topology::Distributed {
        const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let mut door = Door::at(&platform, "profiles", REFLECTION);
        assert_eq!(door.ask(Some(&root)).await, UNIMPLEMENTED, "reflection beyond embedded mode");
    }
    platform.stop();
}

/// Nobody knows who they are.
fn strangers(platform: &Platform) -> Vec<(&'static str, Option<String>)> {
    let spec = || TokenSpec::new("acme", "root", &["*"]);
    let issuer = &platform.issuer;
    vec![
        ("no token", None),
        ("no such token", Some("dev-0".into())),
        ("expired", Some(issuer.mint(spec().expired()))),
        ("for another audience", Some(issuer.mint(spec().with("aud", "others".into())))),
        ("of another issuer", Some(issuer.mint(spec().with("iss", "http://127.0.0.1".into())))),
        ("signed by somebody else", Some(issuer.forge(spec()))),
        ("without an end", Some(issuer.mint(spec().with("exp", serde_json::Value::Null)))),
    ]
}

/// Somebody, who may do everything but this.
fn without(path: &str, permission: &str) -> Vec<(&'static str, TokenSpec)> {
    let rest: Vec<_> = ACCESS.iter().map(|it| it.1).filter(|it| *it != permission).collect();
    let role = |name: &str| TokenSpec::new("acme", "clerk", &[]).roles(&[name]);
    let mut some = vec![
        ("every other permission", TokenSpec::new("acme", "clerk", &rest)),
        ("no permission", TokenSpec::new("acme", "clerk", &[])),
        ("a role that nobody mapped", role("root")),
        ("a tenant that is not served", TokenSpec::new("elsewhere", "root", &["*"])),
    ];
    if permission != "profiles.parties.read" {
        some.push(("a role for something else", role("clerk")));
    }
    // What the others answer depends on whom they are asked about: `profiles` and `content` test that.
    if !BY_MARKET.contains(&path) {
        some.push(("another market", TokenSpec::new("acme", "clerk", &["*"]).markets(&["FR"])));
    }
    if !BY_BRAND.contains(&path) {
        some.push(("another brand", TokenSpec::new("acme", "clerk", &["*"]).brands(&["Other"])));
    }
    some
}

/// Somebody, who may do this and nothing else.
fn with(permission: &str) -> Vec<(&'static str, TokenSpec)> {
    let mut some = vec![("this permission", TokenSpec::new("acme", "clerk", &[permission]))];
    if permission == "profiles.parties.read" {
        some.push(("a role for it", TokenSpec::new("acme", "clerk", &[]).roles(&["clerk"])));
    }
    some
}

/// Whether a method answers with a stream.
fn streams(pool: &DescriptorPool, path: &str) -> bool {
    let (service, method) = path.trim_start_matches('/').split_once('/').expect("a full name");
    let service = pool.get_service_by_name(service).expect("it is described");
    let method = service.methods().find(|it| it.name() == method).expect("it is described");
    method.is_server_streaming()
}

/// Whether a target serves a method.
fn serves(target: &str, path: &str) -> bool {
    let service = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    service == edges::EVENT_LOG || edges::target_of(service) == Some(target)
}

/// A connection on which one method is asked for, with an empty request.
struct Door<'a> {
    web: Web,
    path: &'a str,
}

impl<'a> Door<'a> {
    fn at(platform: &Platform, target: &str, path: &'a str) -> Self {
        Self { web: Web::new(platform.node(target).grpc.clone()), path }
    }

    /// The `grpc-status` it is answered with.
    async fn ask(&mut self, token: Option<&str>) -> String {
        let bearer = token.map(|it| format!("Bearer {it}"));
        let mut headers = vec![("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
        headers.extend(bearer.as_deref().map(|it| ("authorization", it)));
        let answer = self.web.ask("POST", self.path, &headers, &[0; 5]).await;
        answer.unwrap_or_else(|error| panic!("{}: {error}", self.path)).grpc_status()
    }
}
