//! Servers that take leave of a connection while a call is put on it.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;

use super::*;

const NO_ERROR: u8 = 0;
const INTERNAL_ERROR: u8 = 2;
const REFUSED_STREAM: u8 = 7;
const CANCEL: u8 = 8;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const MAX_CONCURRENT_STREAMS: u8 = 3;
/// The first call of a connection.
const CALL: u8 = 1;

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("small");
    [&[0, 0, length, kind, 0, 0, 0, 0, stream], payload].concat()
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, &[])
}

fn reset(error: u8) -> Vec<u8> {
    frame(RST_STREAM, CALL, &[0, 0, 0, error])
}

fn goaway(last: u8, error: u8) -> Vec<u8> {
    frame(GOAWAY, 0, &[0, 0, 0, last, 0, 0, 0, error])
}

/// The way to a server, whose first connection ends in a way of its own.
struct Door {
    url: String,
    calls_of_the_first: Arc<AtomicUsize>,
    _open: JoinSet<()>,
}

/// What the first connection says to each call; a call to `then` goes through.
async fn door(said: Vec<u8>, stays: bool, then: String) -> Door {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let calls_of_the_first = Arc::new(AtomicUsize::new(0));
    let (calls, mut open) = (calls_of_the_first.clone(), JoinSet::new());
    open.spawn(async move {
        let (first, _) = listener.accept().await.expect("somebody");
        take_leave(first, &said, stays, &calls).await;
        pass_on(&listener, &then).await;
    });
    Door { url, calls_of_the_first, _open: open }
}

async fn pass_on(listener: &TcpListener, url: &str) {
    let address = url.strip_prefix("http://").expect("a URL");
    loop {
        let (mut from, _) = listener.accept().await.expect("somebody");
        let mut to = TcpStream::connect(address).await.expect("served");
        // Ends with the connection or the test.
        let _ = copy_bidirectional(&mut from, &mut to).await;
    }
}

/// Reads frames; after the headers of a call says what is to be said, and goes unless it stays.
async fn take_leave(mut stream: TcpStream, said: &[u8], stays: bool, calls: &AtomicUsize) {
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.expect("a preface");
    stream.write_all(&settings()).await.expect("sent");
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, ..] = head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.expect("a payload");
        if kind == HEADERS {
            calls.fetch_add(1, Ordering::Relaxed);
            let mut said = said.to_vec();
            if stays {
                // Of this call, not of the first.
                said.splice(5..9, head[5..9].iter().copied());
            }
            stream.write_all(&said).await.expect("sent");
            if !stays {
                break;
            }
        }
    }
    // What was said is read before the end is.
    let _ = stream.shutdown().await;
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut Vec::new())).await;
}

/// A call through a door whose first connection says this: what it is told, and how often it was sent there.
async fn called(said: Vec<u8>, stays: bool, source: &str) -> (Result<(), String>, usize) {
    let (gate, keys, methods) = gate();
    let routes = gate.guard(Routes::new(EventLogServiceServer::new(Mirror)));
    let (url, _server) = serve(Server::builder(), routes).await;
    let door = door(said, stays, url).await;
    let directory = Directory::new(at(door.url.clone()), keys, methods, no_tls());
    let mut client = Client::new(directory.seen_from("kpis").to("profiles"));
    let answered = client.read_events(read(source)).await;
    let answered = answered.map(|_| ()).map_err(|status| told(&status).1);
    (answered, door.calls_of_the_first.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_call_that_nobody_saw_is_sent_again() {
    for (what, said) in [
        ("beyond the last", goaway(0, NO_ERROR)),
        ("refused", [reset(REFUSED_STREAM), goaway(CALL, NO_ERROR)].concat()),
    ] {
        assert_eq!(called(said, false, "").await, (Ok(()), 1), "{what}");
    }
}

#[tokio::test]
async fn a_call_that_somebody_may_have_seen_is_not() {
    for (what, said) in [
        ("gone", Vec::new()),
        ("gone, and the call was among the last", goaway(CALL, NO_ERROR)),
        ("defective", goaway(0, INTERNAL_ERROR)),
        ("reset", [reset(CANCEL), goaway(CALL, NO_ERROR)].concat()),
    ] {
        let unavailable = Err("PEER_UNAVAILABLE".to_owned());
        assert_eq!(called(said, false, "").await, (unavailable, 1), "{what}");
    }
}

#[tokio::test]
async fn who_refuses_every_call_is_left_in_peace() {
    let (answered, calls) = called(reset(REFUSED_STREAM), true, "").await;
    assert_eq!((answered, calls), (Err("PEER_UNAVAILABLE".into()), remote::ATTEMPTS));
}

#[tokio::test]
async fn a_large_call_arrives_whole_and_is_sent_once() {
    let (clients, _served) = every_way().await;
    for mut client in clients {
        let answer = client.read_events(read(&large())).await.expect("answered");
        assert_eq!(answer.get_ref().head_position, large().len() as u64);
    }
    let (answered, calls) = called(goaway(0, NO_ERROR), false, &large()).await;
    assert_eq!((answered, calls), (Err("PEER_UNAVAILABLE".into()), 1));
}

/// What a caller sends bit by bit is not waited for, so that the callee's deadline holds.
#[tokio::test]
async fn a_slow_call_arrives_whole_and_is_sent_once() {
    let (gate, keys, methods) = gate();
    let routes = gate.guard(Routes::new(EventLogServiceServer::new(Mirror)));
    let (url, _server) = serve(Server::builder(), routes).await;
    let door = door(goaway(0, NO_ERROR), false, url).await;
    let directory = Directory::new(at(door.url.clone()), keys, methods, no_tls());
    let call = async || {
        let rest = async {
            tokio::time::sleep(2 * remote::HELD_FOR).await;
            Ok(Frame::data(Bytes::from_static(&[0, 0, 0])))
        };
        // An empty message: its prefix says so.
        let first = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(&[0, 0])))]);
        let body = Body::new(StreamBody::new(first.chain(stream::once(rest))));
        let path = "http://profiles/rapport.eventlog.v1.EventLogService/ReadEvents";
        let mut request = http::Request::post(path).body(body).expect("a request");
        request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        let answer = directory.seen_from("kpis").to("profiles").oneshot(request).await;
        let answer = answer.map_err(|status| told(&status).1)?;
        let whole = answer.into_body().collect().await.map_err(|status| status.to_string())?;
        let trailers = whole.trailers().cloned().unwrap_or_default();
        Ok::<_, String>(crate::status::code_in(&trailers))
    };
    assert_eq!(call().await, Err("PEER_UNAVAILABLE".into()), "it is not sent again");
    assert_eq!(call().await, Ok(Some(0)));
    assert_eq!(door.calls_of_the_first.load(Ordering::Relaxed), 1);
}

fn large() -> String {
    "x".repeat(2 * remote::HELD_BYTES)
}

/// One call has the connection, a second has the next place on it; the others wait to be sent when it ends.
#[tokio::test]
async fn calls_that_wait_for_their_place_are_sent_elsewhere() {
    let (gate, keys, methods) = gate();
    let routes = gate.guard(Routes::new(EventLogServiceServer::new(Mirror)));
    let (through, _server) = serve(Server::builder(), routes).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let urls = at(format!("http://{}", listener.local_addr().expect("bound")));
    let directory = Directory::new(urls, keys, methods, no_tls());
    let calls = futures::future::join_all((0..4).map(async |call| {
        let mut client = Client::new(directory.seen_from("kpis").to("profiles"));
        if call > 0 {
            // The first knows by then that it is to be the only one.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        client.read_events(read("")).await.map_err(|status| told(&status).1)
    }));
    let server = async {
        let (mut first, _) = listener.accept().await.expect("somebody");
        first.write_all(&frame(SETTINGS, 0, &[0, MAX_CONCURRENT_STREAMS, 0, 0, 0, 1])).await?;
        tokio::time::sleep(Duration::from_millis(400)).await;
        first.write_all(&goaway(CALL, NO_ERROR)).await?;
        first.shutdown().await?;
        pass_on(&listener, &through).await;
        Ok::<_, std::io::Error>(())
    };
    let answered = tokio::select! {
        answered = calls => answered,
        ended = server => panic!("{ended:?}"),
    };
    let told: Vec<_> = answered.into_iter().map(|it| it.map(|_| ())).collect();
    assert_eq!(told.get(2..), Some(&[Ok(()), Ok(())][..]), "{told:?}");
}
