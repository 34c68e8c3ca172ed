//! An event as it is stored and as it is read.

use bytes::Bytes;
use prost::Message as _;
use rapport_proto::EventSet;
use rapport_proto::types::{Actor, Envelope};
use sha2::{Digest, Sha256};

use crate::codec;
use crate::error::Error;
use crate::keys::KeyState;
use crate::time::Timestamp;
use crate::timers::TimerKey;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The chain before the first event.
pub const ORIGIN: Hash = [0; 32];

/// `chain_n = SHA-256(chain_{n-1} ‖ n (u64, big endian) ‖ SHA-256(bytes_n))`.
pub fn next_chain(chain: &Hash, position: u64, digest: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(chain);
    hash.update(position.to_be_bytes());
    hash.update(digest);
    hash.finalize().into()
}

/// SHA-256 of envelope bytes.
pub fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// An event as it stands in a store and on the log: bytes, and what stands beside them.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Position in its source: 1, 2, 3 … without a gap.
    pub position: u64,
    /// Hash chain after this event.
    pub chain: Hash,
    /// Serialised envelope; never re-encoded.
    pub envelope: Bytes,
    /// Trace context of the hop that brought it; empty when it was read from a store.
    pub hop: String,
}

/// The same event, whichever way it came.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        (self.position, self.chain, &self.envelope)
            == (other.position, other.chain, &other.envelope)
    }
}

impl Eq for Stored {}

impl Stored {
    /// Decodes the envelope.
    pub fn envelope(&self) -> Result<Envelope, Error> {
        Envelope::decode(&*self.envelope)
            .map_err(|it| Error::corrupt(format!("envelope at position {}: {it}", self.position)))
    }

    /// Whether it is the event that follows a position and chain.
    pub fn follows(&self, position: u64, chain: &Hash) -> bool {
        self.position == position + 1
            && self.chain == next_chain(chain, self.position, &digest(&self.envelope))
    }
}

/// The end of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the last event; 0 when there is none.
    pub position: u64,
    /// Chain after it.
    pub chain: Hash,
}

/// Before the first event.
impl Default for Head {
    fn default() -> Self {
        Self { position: 0, chain: ORIGIN }
    }
}

/// An event that was read: its envelope decoded, old shapes lifted, its subject key at hand.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Position in its source.
    pub position: u64,
    /// Hash chain after it.
    pub chain: Hash,
    /// The envelope. Its payload is in today's shape, still sealed.
    pub envelope: Envelope,
    pub(crate) key: KeyState,
    pub(crate) hop: String,
}

impl Recorded {
    /// Decodes and unseals the payload; `None` when `E` has no such fact.
    pub fn decode<E: EventSet>(&self) -> Result<Option<E>, Error> {
        let mut event = E::decode(&self.envelope.r#type, &self.envelope.payload)
            .map_err(|it| Error::corrupt(format!("payload at position {}: {it}", self.position)))?;
        if let Some(event) = &mut event {
            codec::unseal(event, &self.envelope, &self.key)?;
        }
        Ok(event)
    }

    /// The aggregate its stream belongs to, for example `party`.
    pub fn aggregate(&self) -> &str {
        self.envelope.stream.split_once('/').map_or("", |it| it.0)
    }

    /// The id its stream is named by.
    pub fn id(&self) -> &str {
        self.envelope.stream.split_once('/').map_or("", |it| it.1)
    }

    /// When it was true in the world.
    pub fn occurred_at(&self) -> Timestamp {
        self.envelope.occurred_at.as_ref().and_then(Timestamp::from_proto).unwrap_or_default()
    }

    /// When it was recorded.
    pub fn recorded_at(&self) -> Timestamp {
        self.envelope.recorded_at.as_ref().and_then(Timestamp::from_proto).unwrap_or_default()
    }
}

/// What is known of a command beside its content: it becomes part of each of its events.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    /// Tenant whose data it touches.
    pub tenant: String,
    /// Who sent it.
    pub actor: Actor,
    /// RPC path or internal method.
    pub method: String,
    /// Unique per (tenant, actor subject, method); makes the command idempotent.
    pub request_id: String,
    /// HMAC of the request's body: tells a repeat from another request with the same id.
    pub request_digest: Vec<u8>,
    /// Shared by everything one outside cause led to.
    pub correlation_id: String,
    /// The event or request that caused it.
    pub causation_id: String,
    /// W3C trace context.
    pub traceparent: String,
    /// Reason code of a regulated change.
    pub reason: String,
    /// What the domain clock shows.
    pub at: Timestamp,
    /// When it was true in the world; absent: `at`.
    pub occurred_at: Option<Timestamp>,
    /// The timer this command fires: committed only while the timer still stands.
    pub fires: Option<TimerKey>,
    /// The checkpoint this command moves: committed only from the position it was read at.
    pub moves: Option<CheckpointMove>,
}

/// A reactor's step: its checkpoint moves in the unit of its effects, or neither happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointMove {
    /// Consumer.
    pub consumer: String,
    /// Source it reads.
    pub source: String,
    /// Where the checkpoint must stand.
    pub from: u64,
    /// Where it stands afterwards.
    pub to: Head,
}

/// What an event is about: the parts of the envelope that only the domain knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Party the fact is about; empty when it is about none.
    pub party_id: String,
    /// Whose key seals its personal fields: a party id, or for example `source/<id>`. Empty: the party.
    pub subject: String,
    /// Market of the party.
    pub market: String,
    /// Purpose of processing.
    pub purpose: String,
    /// When it was true in the world, if the event itself says so.
    pub occurred_at: Option<Timestamp>,
}
