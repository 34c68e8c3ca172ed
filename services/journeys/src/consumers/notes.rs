//! What one event leads to, committed whole however much it is.
//!
//! The last unit moves the checkpoint of the consumer. What does not fit into it is committed before: an entry and an
//! instance hear of an event once, so whoever handles the event again goes on where the last one stopped.

use eventstore::{Error, Loaded, Metadata, Outcome, Store, Unit, UnitBuilder, UnitError};
use rapport_proto::journeys::v1::{entry_event, instance_event};

use crate::domain::entry::{self, Entry};
use crate::domain::instance::{self, Instance};

/// Events of one unit; a note has few.
const MOST_EVENTS: usize = 200;

/// What is written down in one stream.
pub(super) enum Note {
    Entry {
        stream: String,
        loaded: Box<Loaded<entry::State>>,
        events: Vec<entry_event::Event>,
    },
    Instance {
        instance_id: String,
        loaded: Box<Loaded<instance::State>>,
        events: Vec<instance_event::Event>,
    },
}

impl Note {
    fn id(&self) -> &str {
        match self {
            Self::Entry { stream, .. } => stream,
            Self::Instance { instance_id, .. } => instance_id,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Entry { events, .. } => events.len(),
            Self::Instance { events, .. } => events.len(),
        }
    }

    async fn push(self, unit: &mut UnitBuilder) -> Result<(), UnitError> {
        match self {
            Self::Entry { stream, loaded, events } => {
                unit.push::<Entry>(&stream, loaded.version, &loaded.state, events).await
            }
            Self::Instance { instance_id, loaded, events } => {
                unit.push::<Instance>(&instance_id, loaded.version, &loaded.state, events).await
            }
        }
    }
}

/// The unit that finishes an event; `None` when nothing is left to write down.
pub(super) async fn unit(
    store: &Store,
    meta: Metadata,
    notes: Vec<Note>,
) -> Result<Option<Unit>, Error> {
    let (mut some, mut events) = (Vec::new(), 0);
    for note in notes {
        if events + note.len() > MOST_EVENTS {
            commit(store, &meta, std::mem::take(&mut some)).await?;
            events = 0;
        }
        events += note.len();
        some.push(note);
    }
    match some.is_empty() {
        true => Ok(None),
        false => build(store, meta, some).await.map(Some),
    }
}

/// Commits notes ahead of the unit that moves the checkpoint.
async fn commit(store: &Store, meta: &Metadata, notes: Vec<Note>) -> Result<(), Error> {
    let first = notes.first().map(Note::id).unwrap_or_default();
    // Once committed this stream has heard of the event, so no other unit of the event begins with it.
    let request_id = format!("{}/{first}", meta.request_id);
    let meta = Metadata { request_id, moves: None, ..meta.clone() };
    match store.append(build(store, meta, notes).await?).await {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Refused(why) => Err(Error::refused(why)),
        Outcome::Failed(error) => Err(error),
        Outcome::Conflict
        | Outcome::Superseded
        | Outcome::Repeated { .. }
        | Outcome::RequestReused => {
            Err(Error::unavailable("what an event leads to changed meanwhile"))
        }
    }
}

async fn build(store: &Store, meta: Metadata, notes: Vec<Note>) -> Result<Unit, Error> {
    let mut unit = store.unit(meta);
    for note in notes {
        note.push(&mut unit).await.map_err(unit_error)?;
    }
    unit.finish().map_err(unit_error)
}

fn unit_error(error: UnitError) -> Error {
    match error {
        UnitError::Store(error) => error,
        other => Error::corrupt(other.to_string()),
    }
}
