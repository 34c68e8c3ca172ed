//! Clients that are not ours drive the real binary on embedded defaults: one generated for Python
//! from the protos, two that ask the server for its protos (`buf curl`, grpcurl), and a browser's
//! gRPC-Web.

use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use prost::Message;
use rapport_proto::profiles::v1::{
    ListPartiesRequest, ListPartiesResponse, RegisterPartyRequest, RegisterPartyResponse,
};
use rapport_proto::types::PartyKind;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a server may take to print its addresses.
const START: Duration = Duration::from_secs(300);

#[test]
fn a_python_client_generated_from_the_protos_tells_its_story() {
    let server = Server::start();
    let mut python = Command::new(tool("TEST_PYTHON", "python/bin/python"));
    python.arg(root().join("tests/clients/client.py")).arg(root().join("proto"));
    run(python.args([&server.grpc, &server.token]));
}

#[test]
fn buf_curl_needs_no_protos() {
    let server = Server::start();
    let call = |method: &str, request: &Value| {
        let mut buf = server.buf_curl();
        let url = format!("http://{}/rapport.profiles.v1.PartyService/{method}", server.grpc);
        json_of(&run(buf.args(["--data", &request.to_string(), &url])))
    };
    let party = json!({"parent": "tenants/default", "kind": "PARTY_KIND_HCO", "market": "DE"});
    let registered = call("RegisterParty", &party);
    let listed = call("ListParties", &json!({"parent": "tenants/default"}));
    assert_eq!(listed["parties"][0]["name"], registered["party"]["name"]);
}

#[test]
fn buf_curl_lists_every_method_that_is_served() {
    let server = Server::start();
    let url = format!("http://{}", server.grpc);
    let listed = run(server.buf_curl().args(["--list-methods", &url]));
    for (path, _) in rapport_proto::ACCESS {
        let simulated_only = path.starts_with("/rapport.simulation.");
        assert_eq!(
            listed.contains(path.trim_start_matches('/')),
            !simulated_only,
            "{path}\n{listed}"
        );
    }
}

#[test]
fn grpcurl_needs_no_protos() {
    let server = Server::start();
    let grpcurl = |arguments: &[&str]| {
        let mut grpcurl = Command::new(tool("TEST_GRPCURL", "bin/grpcurl"));
        grpcurl.args(["-plaintext", "-H", &server.authorization()]);
        run(grpcurl.args(arguments))
    };
    assert!(grpcurl(&[&server.grpc, "list"]).contains("rapport.profiles.v1.PartyService"));
    let source = r#"{"parent": "tenants/default", "source_id": "web-shop", "owner": "commerce"}"#;
    let register = "rapport.profiles.v1.SourceService/RegisterSource";
    let registered = json_of(&grpcurl(&["-d", source, &server.grpc, register]));
    assert_eq!(registered["source"]["name"], "tenants/default/sources/web-shop");
}

#[test]
fn a_browser_speaks_grpc_web() {
    let server = Server::start();
    let parent = "tenants/default".to_owned();
    let request = RegisterPartyRequest {
        parent: parent.clone(),
        kind: PartyKind::Payer.into(),
        market: "US".into(),
        ..Default::default()
    };
    let path = "/rapport.profiles.v1.PartyService/RegisterParty";
    let (registered, trailers) = grpc_web::<RegisterPartyResponse>(&server, path, &request);
    assert!(trailers.contains("grpc-status:0"), "{trailers}");
    let request = ListPartiesRequest { parent, ..Default::default() };
    let path = "/rapport.profiles.v1.PartyService/ListParties";
    let (listed, _) = grpc_web::<ListPartiesResponse>(&server, path, &request);
    assert_eq!(listed.parties, Vec::from_iter(registered.party));
}

/// One unary call as a browser makes it: a POST over HTTP/1.1, frames in the body, the trailers as
/// the last frame.
fn grpc_web<R: Message + Default>(
    server: &Server,
    path: &str,
    request: &impl Message,
) -> (R, String) {
    let mut body = vec![0];
    body.extend_from_slice(&(request.encoded_len() as u32).to_be_bytes());
    body.extend_from_slice(&request.encode_to_vec());
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\n{}\r\ncontent-type: application/grpc-web+proto\r\n\
         x-grpc-web: 1\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        server.grpc,
        server.authorization(),
        body.len(),
    );
    let mut connection = TcpStream::connect(&server.grpc).expect("the server listens");
    connection.write_all(head.as_bytes()).expect("the server reads");
    connection.write_all(&body).expect("the server reads");
    let mut reply = Vec::new();
    connection.read_to_end(&mut reply).expect("the server answers and closes");

    let (head, body) = split_head(&reply);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let body =
        if head.contains("transfer-encoding: chunked") { join_chunks(body) } else { body.to_vec() };
    let (mut message, mut trailers) = (R::default(), head);
    let mut rest = body.as_slice();
    while let [flags, a, b, c, d, after @ ..] = rest {
        let (frame, next) = after.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        if flags & 0x80 == 0 {
            message = R::decode(frame).expect("a data frame is a message");
        } else {
            trailers = String::from_utf8_lossy(frame).into_owned();
        }
        rest = next;
    }
    (message, trailers)
}

fn split_head(reply: &[u8]) -> (String, &[u8]) {
    let end = reply.windows(4).position(|it| it == b"\r\n\r\n").expect("a reply has a head");
    (
        String::from_utf8_lossy(&reply[..end]).to_lowercase().replace("http/", "HTTP/"),
        &reply[end + 4..],
    )
}

fn join_chunks(mut body: &[u8]) -> Vec<u8> {
    let mut joined = Vec::new();
    while let Some(line) = body.windows(2).position(|it| it == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..line]);
        let size = usize::from_str_radix(&size, 16).expect("a chunk begins with its size");
        if size == 0 {
            break;
        }
        joined.extend_from_slice(&body[line + 2..line + 2 + size]);
        body = &body[line + 2 + size + 2..];
    }
    joined
}

/// A server of its own for each test: free ports, an empty folder, stopped at the end.
struct Server {
    process: Child,
    grpc: String,
    token: String,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut process = Command::new(binary())
            .arg("serve")
            .env("RAPPORT_GRPC_ADDRESS", "127.0.0.1:0")
            .env("RAPPORT_ADMIN_ADDRESS", "127.0.0.1:0")
            .env(
                "RAPPORT_DATABASE_URL",
                format!("sqlite://{}/{{service}}.db", folder.path().display()),
            )
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = lines(&mut process);
        let (mut grpc, mut token) = (None, None);
        while grpc.is_none() || token.is_none() {
            let line =
                lines.recv_timeout(START).expect("the server prints its token and addresses");
            match line.trim().split_once(": ") {
                Some(("grpc", address)) => grpc = Some(address.to_owned()),
                Some(("development token", text)) => token = Some(text.to_owned()),
                _ => {}
            }
        }
        let (grpc, token) = (grpc.unwrap_or_default(), token.unwrap_or_default());
        Self { process, grpc, token, _folder: folder }
    }

    fn authorization(&self) -> String {
        format!("authorization: Bearer {}", self.token)
    }

    fn buf_curl(&self) -> Command {
        let mut buf = Command::new(tool("TEST_BUF", "bin/buf"));
        buf.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge"]);
        buf.args(["--header", &self.authorization()]);
        buf
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the process prints, for as long as it runs: a pipe that nobody reads would stop it.
fn lines(process: &mut Child) -> Receiver<String> {
    let printed = BufReader::new(process.stdout.take().expect("stdout is piped"));
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in printed.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

/// The binary as this workspace builds it now. Cargo builds it for the tests of its own package only.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--workspace", "--all-features", "--bin", "rapport"]);
        let printed = run(cargo.args(["--message-format", "json"]).current_dir(root()));
        let artifacts = printed.lines().map(json_of);
        let mut executable =
            artifacts.filter_map(|it| it["executable"].as_str().map(PathBuf::from));
        executable.next_back().expect("cargo names the binary")
    })
}

/// A third-party program: where the variable says, or where tests/setup puts it.
#[expect(clippy::disallowed_methods, reason = "tests are told where programs are")]
fn tool(variable: &str, installed: &str) -> PathBuf {
    let place = env::var_os(variable).map(PathBuf::from);
    let place = place.unwrap_or_else(|| root().join(".tools").join(installed));
    assert!(place.is_file(), "{} is missing: run tests/setup, or set {variable}", place.display());
    place
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{printed}\n{complained}", output.status);
    printed
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the crate stands in it")
}
