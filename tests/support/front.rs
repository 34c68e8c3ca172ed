//! One address in front of several processes, as a Service of Kubernetes is: each new connection goes to one of those it
//! leads to now, in turn; connections that stand stay where they are, until either side closes them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running front; it and its connections end when it is dropped.
pub struct Front {
    to: Arc<Mutex<Backends>>,
    _working: JoinSet<()>,
}

#[derive(Default)]
struct Backends {
    addresses: Vec<String>,
    next: usize,
}

impl Front {
    /// Listens on a port of this machine, and leads nowhere yet.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let to = Arc::<Mutex<Backends>>::default();
        let (known, mut working) = (to.clone(), JoinSet::new());
        working.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // Where nobody is, the connection is closed again.
                let Some(address) = next(&known) else { continue };
                connections.spawn(carry(client, address));
            }
        });
        Self { to, _working: working }
    }

    /// Where new connections go from now on.
    pub fn lead_to(&self, addresses: Vec<String>) {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).addresses = addresses;
    }

    /// To how many it leads.
    pub fn leads_to(&self) -> usize {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).addresses.len()
    }
}

fn next(to: &Mutex<Backends>) -> Option<String> {
    let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
    to.next = to.next.wrapping_add(1);
    let turn = to.next.checked_rem(to.addresses.len())?;
    to.addresses.get(turn).cloned()
}

/// What breaks on one side breaks on the other.
async fn carry(mut client: TcpStream, address: String) {
    let Ok(mut backend) = TcpStream::connect(address).await else { return };
    let quick = client.set_nodelay(true).and(backend.set_nodelay(true));
    if quick.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut backend).await;
    }
}
