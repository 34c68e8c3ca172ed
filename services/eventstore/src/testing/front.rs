//! One address in front of several processes, as a Service of Kubernetes is: each new connection goes to one of those it
//! leads to now, in turn; connections that stand stay where they are, until either side closes them.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A running front; it and its connections end when it is dropped.
pub struct Front {
    to: Arc<Mutex<Backends>>,
    silent: watch::Sender<()>,
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
        let silent = watch::Sender::new(());
        let silenced = silent.clone();
        working.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                // Where nobody is, the connection is closed again.
                let Some(address) = next(&known) else { continue };
                connections.spawn(carry(client, address, silenced.subscribe()));
            }
        });
        Self { to, silent, _working: working }
    }

    /// Where new connections go from now on.
    pub fn lead_to(&self, addresses: Vec<String>) {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).addresses = addresses;
    }

    /// Carries nothing any more on connections that stand, and leaves them open: as if the machine behind were gone.
    pub fn fall_silent(&self) {
        self.silent.send_replace(());
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
async fn carry(mut client: TcpStream, address: String, mut silent: watch::Receiver<()>) {
    let Ok(mut backend) = TcpStream::connect(address).await else { return };
    if client.set_nodelay(true).and(backend.set_nodelay(true)).is_err() {
        return;
    }
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut backend) => {}
        Ok(()) = silent.changed() => std::future::pending().await,
    }
}
