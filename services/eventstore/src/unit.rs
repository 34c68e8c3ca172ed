//! A commit unit: the events of one command, encoded before any lock, all or nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use rapport_proto::types::Envelope;
use rapport_proto::{EventSet as _, schema_of};

use crate::codec::{self, Draft};
use crate::decider::Decider;
use crate::error::Error;
use crate::event::{CheckpointMove, Hash, Metadata, Recorded, digest};
use crate::ids::Ids;
use crate::keys::{DataKey, KeyState, Keyring, NewKey, SubjectKeys, destroyed_key};
use crate::time::Timestamp;
use crate::timers::TimerKey;

/// Events a command may produce.
pub const MAX_EVENTS: usize = 256;
/// Bytes a payload may have.
pub const MAX_PAYLOAD: usize = 256 * 1024;
/// Bytes an envelope may have besides its payload.
pub const MAX_HEADERS: usize = 8 * 1024;

/// What a command wants to commit. Build it with [`Store::unit`](crate::Store::unit).
pub struct Unit {
    pub(crate) meta: Metadata,
    pub(crate) events: Vec<Encoded>,
    /// Streams with the version they must have.
    pub(crate) expects: Vec<(String, u64)>,
    pub(crate) new_keys: Vec<NewKey>,
    /// Stream and version from which a repeat folds its reply.
    pub(crate) replies: (String, u64),
}

/// An event ready to be appended.
pub(crate) struct Encoded {
    pub envelope: Envelope,
    pub bytes: Bytes,
    pub digest: Hash,
    pub key: KeyState,
}

impl Encoded {
    pub(crate) fn recorded(&self, position: u64, chain: Hash) -> Recorded {
        let (envelope, key) = (self.envelope.clone(), self.key.clone());
        Recorded { position, chain, envelope, key, hop: String::new() }
    }
}

impl Unit {
    /// Bytes of its envelopes.
    pub(crate) fn size(&self) -> usize {
        self.events.iter().map(|it| it.bytes.len()).sum()
    }

    pub(crate) fn fires(&self) -> Option<&TimerKey> {
        self.meta.fires.as_ref()
    }

    pub(crate) fn moves(&self) -> Option<&CheckpointMove> {
        self.meta.moves.as_ref()
    }
}

/// Why a unit cannot be built: the command is too large, or a key is gone.
#[derive(Debug, thiserror::Error)]
pub enum UnitError {
    /// More than [`MAX_EVENTS`] events.
    #[error("a command may produce {MAX_EVENTS} events at most, not {0}")]
    TooManyEvents(usize),
    /// A payload above [`MAX_PAYLOAD`].
    #[error("an event may have {MAX_PAYLOAD} bytes at most, {type_name} has {bytes}")]
    TooLarge {
        /// The event.
        type_name: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// Metadata above [`MAX_HEADERS`].
    #[error("the metadata of an event may have {MAX_HEADERS} bytes at most, not {0}")]
    HeadersTooLarge(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Collects the events of a command.
pub struct UnitBuilder {
    source: String,
    meta: Metadata,
    ids: Ids,
    keys: Keyring,
    drafts: Vec<Draft>,
    expects: Vec<(String, u64)>,
    /// Keys of this unit's subjects, so that one is made at most once.
    subjects: SubjectKeys,
    new_keys: Vec<NewKey>,
    replies: Option<(String, u64)>,
}

impl UnitBuilder {
    pub(crate) fn new(source: &str, meta: Metadata, ids: Ids, keys: Keyring) -> Self {
        Self {
            source: source.to_owned(),
            meta,
            ids,
            keys,
            drafts: Vec::new(),
            expects: Vec::new(),
            subjects: SubjectKeys::new(),
            new_keys: Vec::new(),
            replies: None,
        }
    }

    /// Reads the keys of many subjects by one statement. Those of others are read when their events are added, one by
    /// one; one that is destroyed is refused only there.
    pub async fn subjects(&mut self, subjects: &BTreeSet<&str>) -> Result<(), Error> {
        let keys = self.keys.for_subjects(&self.meta.tenant, subjects).await?;
        for (subject, key) in keys {
            self.subjects.entry(subject).or_insert(key);
        }
        Ok(())
    }

    /// Adds the events of one stream, which must stand at `version`. The first stream added is the one
    /// a repeat's reply is folded from.
    pub async fn push<D: Decider>(
        &mut self,
        id: &str,
        version: u64,
        state: &D::State,
        events: Vec<D::Event>,
    ) -> Result<(), UnitError> {
        let stream = format!("{}/{id}", D::AGGREGATE);
        let last = version + events.len() as u64;
        self.replies.get_or_insert_with(|| (stream.clone(), last));
        self.expects.push((stream.clone(), version));
        let mut state = state.clone();
        for (event, version) in events.into_iter().zip(version + 1..) {
            state = D::evolve(state, &event);
            let about = D::about(id, &state, &event);
            self.draft::<D>(&stream, version, about, event).await?;
        }
        Ok(())
    }

    async fn draft<D: Decider>(
        &mut self,
        stream: &str,
        version: u64,
        about: crate::About,
        mut event: D::Event,
    ) -> Result<(), UnitError> {
        let id = self.ids.event_id(self.meta.at);
        let mut key = KeyState::Absent;
        if codec::has_personal(&mut event) {
            let subject = if about.subject.is_empty() { &about.party_id } else { &about.subject };
            let data_key = self.key_for(&subject.clone()).await?;
            codec::seal(&mut event, &id, &self.meta.tenant, &data_key, &self.ids)?;
            key = KeyState::Live(data_key);
        }
        let (type_name, payload) = (event.type_name(), event.encode());
        if payload.len() > MAX_PAYLOAD {
            return Err(UnitError::TooLarge { type_name, bytes: payload.len() });
        }
        let stream = stream.to_owned();
        self.drafts.push(Draft { id, stream, version, type_name, about, key, payload });
        Ok(())
    }

    async fn key_for(&mut self, subject: &str) -> Result<DataKey, Error> {
        if let Some(held) = self.subjects.get_mut(subject) {
            let (key, new) = held.as_mut().ok_or_else(destroyed_key)?;
            self.new_keys.extend(new.take());
            return Ok(key.clone());
        }
        let (key, new) = self.keys.for_subject(&self.meta.tenant, subject).await?;
        self.subjects.insert(subject.to_owned(), Some((key.clone(), None)));
        self.new_keys.extend(new);
        Ok(key)
    }

    /// Serialises the events, once and for ever.
    pub fn finish(self) -> Result<Unit, UnitError> {
        if self.drafts.len() > MAX_EVENTS {
            return Err(UnitError::TooManyEvents(self.drafts.len()));
        }
        let size = u32::try_from(self.drafts.len()).unwrap_or(u32::MAX);
        let mut events = Vec::with_capacity(self.drafts.len());
        for (index, draft) in (0..).zip(self.drafts) {
            let envelope = envelope(&self.source, &self.meta, &draft, index, size);
            let headers = envelope.encoded_len() - draft.payload.len();
            if headers > MAX_HEADERS {
                return Err(UnitError::HeadersTooLarge(headers));
            }
            let bytes = codec::serialise(&envelope);
            events.push(Encoded { digest: digest(&bytes), bytes, envelope, key: draft.key });
        }
        let replies = self.replies.unwrap_or_default();
        Ok(Unit {
            meta: self.meta,
            events,
            expects: self.expects,
            new_keys: self.new_keys,
            replies,
        })
    }
}

fn envelope(source: &str, meta: &Metadata, draft: &Draft, index: u32, size: u32) -> Envelope {
    let occurred_at = draft.about.occurred_at.or(meta.occurred_at).unwrap_or(meta.at);
    Envelope {
        id: draft.id.clone(),
        tenant: meta.tenant.clone(),
        source: source.to_owned(),
        stream: draft.stream.clone(),
        version: draft.version,
        r#type: draft.type_name.to_owned(),
        schema: schema_of(draft.type_name).to_owned(),
        occurred_at: Some(Timestamp::to_proto(occurred_at)),
        recorded_at: Some(meta.at.to_proto()),
        actor: Some(meta.actor.clone()),
        method: meta.method.clone(),
        request_id: meta.request_id.clone(),
        request_digest: meta.request_digest.clone(),
        unit_index: index,
        unit_size: size,
        correlation_id: meta.correlation_id.clone(),
        causation_id: meta.causation_id.clone(),
        traceparent: meta.traceparent.clone(),
        party_id: draft.about.party_id.clone(),
        subject_key_id: match &draft.key {
            KeyState::Live(key) => key.key_id.clone(),
            KeyState::Destroyed | KeyState::Absent => String::new(),
        },
        market: draft.about.market.clone(),
        purpose: draft.about.purpose.clone(),
        reason: meta.reason.clone(),
        payload: draft.payload.clone(),
    }
}
