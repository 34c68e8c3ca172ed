//! A proxy in front of a platform that treats requests badly: it refuses, resets connections before and after the
//! platform took the request, and delays. Each request gets through after two faults, whatever order its repeats come
//! in: which request it is follows from its body.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::web::{Message, Web};

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Answered with 503.
    Refused,
    /// Answered with 429 and when to come back.
    Slowed,
    /// The connection is reset before anybody took the request.
    LostRequest,
    /// The connection is reset after the platform took the request.
    LostAnswer,
    /// Answered late.
    Delayed,
    /// Answered.
    Passed,
}

const FAULTS: [Fate; 5] =
    [Fate::Refused, Fate::LostAnswer, Fate::Slowed, Fate::LostRequest, Fate::Delayed];
/// Attempts at a request that something happens to.
const FAULTY: usize = 2;
const DELAY: Duration = Duration::from_millis(200);

/// A running proxy; stopped when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    fates: Arc<Mutex<Fates>>,
    /// Everything it does ends with it.
    _working: JoinSet<()>,
}

#[derive(Default)]
struct Fates {
    /// Number and attempts of each request, by what it is known by.
    requests: BTreeMap<String, (usize, usize)>,
    /// How often each fate was met.
    met: BTreeMap<Fate, usize>,
}

impl Fates {
    fn next(&mut self, request: String) -> Fate {
        let number = self.requests.len();
        let (number, attempts) = self.requests.entry(request).or_insert((number, 0));
        let fate = match *attempts {
            attempt if attempt < FAULTY => FAULTS[(*number + attempt) % FAULTS.len()],
            _ => Fate::Passed,
        };
        // Late is not lost: nothing more comes of it.
        *attempts = if fate == Fate::Delayed { FAULTY } else { *attempts + 1 };
        *self.met.entry(fate).or_default() += 1;
        fate
    }
}

impl Proxy {
    /// Stands before an address; `known_by` tells requests apart, whatever their repeats say about the sending.
    pub async fn start(to: &str, known_by: fn(&Message) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (to, fates) = (to.to_owned(), Arc::<Mutex<Fates>>::default());
        let (held, mut working) = (fates.clone(), JoinSet::new());
        working.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (to, held) = (to.clone(), held.clone());
                clients.spawn(async move {
                    // What the client makes of a broken connection is what is tested.
                    let _ = serve(stream, Web::new(to), &held, known_by).await;
                });
            }
        });
        Self { address, fates, _working: working }
    }

    /// How often each fate was met.
    pub fn met(&self) -> BTreeMap<Fate, usize> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner).met.clone()
    }
}

async fn serve(
    stream: TcpStream,
    mut to: Web,
    fates: &Mutex<Fates>,
    known_by: fn(&Message) -> String,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = Message::read(&mut stream).await? {
        let request_is = known_by(&request);
        let fate = fates.lock().unwrap_or_else(PoisonError::into_inner).next(request_is);
        let answer = match fate {
            Fate::Refused => answer("503 Service Unavailable", &[]),
            Fate::Slowed => answer("429 Too Many Requests", &[("retry-after", "1")]),
            Fate::LostRequest => return stream.get_ref().set_zero_linger(),
            Fate::LostAnswer => {
                to.send(&request).await?;
                return stream.get_ref().set_zero_linger();
            }
            Fate::Delayed => {
                tokio::time::sleep(DELAY).await;
                to.send(&request).await?
            }
            Fate::Passed => to.send(&request).await?,
        };
        answer.write(stream.get_mut()).await?;
    }
    Ok(())
}

fn answer(status: &str, headers: &[(&str, &str)]) -> Message {
    let headers = headers.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect();
    Message { start: format!("HTTP/1.1 {status}"), headers, body: Vec::new() }
}
