//! The aggregate that is measured where the domain does not matter: a party that registers and moves,
//! and a view with one row for each.

use std::collections::BTreeMap;

use eventstore::{
    About, Decider, Error, Metadata, Migration, Recorded, Schema, Timestamp, Tx, View, values,
};
use futures::future::BoxFuture;
use rapport_proto::profiles::v1::party_event::Event;
use rapport_proto::profiles::v1::{PartyMoved, PartyRegistered};
use rapport_proto::types::Actor;

/// The tenant of every row.
pub(crate) const TENANT: &str = "default";

pub(crate) enum Party {}

#[derive(Clone)]
pub(crate) enum Command {
    Register,
    Move(&'static str),
}

#[derive(Clone, Default)]
pub(crate) struct State {
    registered: bool,
    market: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("registered already")]
    Known,
    #[error("not registered")]
    Unknown,
}

/// A move whose payload has a number of bytes.
pub(crate) fn padded(bytes: usize) -> Event {
    // Field number and length take three bytes of a text between 128 and 16,383 long.
    let language = "abcdefgh".repeat(bytes.div_ceil(8))[..bytes - 3].to_owned();
    Event::Moved(PartyMoved { language, ..PartyMoved::default() })
}

impl Decider for Party {
    const AGGREGATE: &'static str = "party";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Register if state.registered => Err(Refusal::Known),
            Command::Register => {
                let market = "DE".to_owned();
                Ok(vec![Event::Registered(PartyRegistered { market, ..Default::default() })])
            }
            Command::Move(_) if !state.registered => Err(Refusal::Unknown),
            Command::Move(market) if market == state.market => Ok(Vec::new()),
            Command::Move(market) => {
                let market = market.to_owned();
                Ok(vec![Event::Moved(PartyMoved { market, ..Default::default() })])
            }
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        match event {
            Event::Registered(it) => {
                state.registered = true;
                state.market.clone_from(&it.market);
            }
            Event::Moved(it) => state.market.clone_from(&it.market),
            _ => {}
        }
        state
    }

    fn about(id: &str, state: &State, _: &Event) -> About {
        About { party_id: id.to_owned(), market: state.market.clone(), ..About::default() }
    }
}

/// Market and number of moves of each party: rows are loaded, folded and written back.
pub(crate) struct Places;

/// The tables and the view.
pub(crate) fn schema() -> Schema {
    Schema { migrations: vec![PLACES], views: vec![Box::new(Places)] }
}

const PLACES: Migration = Migration::portable(
    "bench/0001_place",
    "CREATE TABLE place (tenant TEXT NOT NULL, party_id TEXT NOT NULL, market TEXT NOT NULL,
         moves BIGINT NOT NULL, PRIMARY KEY (tenant, party_id));",
);

impl View for Places {
    fn name(&self) -> &'static str {
        "places"
    }

    fn tables(&self) -> &'static [&'static str] {
        &["place"]
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut Tx,
        events: &'a [Recorded],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut places = load(tx, events).await?;
            for event in events {
                let key = (event.envelope.tenant.clone(), event.id().to_owned());
                match event.decode::<Event>()? {
                    Some(Event::Registered(it)) => drop(places.insert(key, (it.market, 0))),
                    Some(Event::Moved(it)) => {
                        let place = places.entry(key).or_default();
                        *place = (it.market, place.1 + 1);
                    }
                    _ => {}
                }
            }
            let rows = places
                .into_iter()
                .map(|((tenant, id), (market, moves))| values![tenant, id, market, moves])
                .collect();
            tx.insert_many(
                "INSERT INTO place (tenant, party_id, market, moves)",
                rows,
                "ON CONFLICT (tenant, party_id)
                     DO UPDATE SET market = excluded.market, moves = excluded.moves",
            )
            .await
            .map(drop)
        })
    }
}

type Loaded = BTreeMap<(String, String), (String, i64)>;

async fn load(tx: &mut Tx, events: &[Recorded]) -> Result<Loaded, Error> {
    let known: Vec<_> = events
        .iter()
        .filter(|it| it.envelope.version > 1)
        .map(|it| values![&it.envelope.tenant, it.id()])
        .collect();
    tx.query_keys(
        "k(tenant, party_id)",
        &known,
        "SELECT p.tenant, p.party_id, p.market, p.moves FROM k
         JOIN place p ON p.tenant = k.tenant AND p.party_id = k.party_id",
    )
    .await?
    .iter()
    .map(|row| {
        let key = (row.text(0)?.to_owned(), row.text(1)?.to_owned());
        Ok((key, (row.text(2)?.to_owned(), row.int(3)?)))
    })
    .collect()
}

/// Metadata of a command, as an RPC would make it.
pub(crate) fn metadata(request_id: String) -> Metadata {
    Metadata {
        tenant: TENANT.into(),
        actor: Actor { subject: "bench".into(), ..Actor::default() },
        method: "/rapport.bench.v1.PartyService/MoveParty".into(),
        request_digest: vec![7; 32],
        correlation_id: request_id.clone(),
        request_id,
        at: Timestamp::real(),
        ..Metadata::default()
    }
}

/// An id as the domain makes them.
pub(crate) fn party_id(parts: [usize; 2]) -> String {
    eventstore::derive_id("pty", &[&parts[0].to_string(), &parts[1].to_string()])
}
