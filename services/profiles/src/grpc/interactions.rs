//! Recording interactions in bulk: each exactly once by (source, message id), with a verdict per item.
//!
//! A message's stream is derived from source and message id, and its record is the stream's first event, so the
//! expected version of an empty stream makes it exactly once, for ever, whoever races. What cannot be recorded is kept
//! in a stream of its own, named by its digest: a corrected message with the same id is then recorded like any other.

use std::collections::{BTreeMap, BTreeSet};

use chassis::status::{CONFLICT, Problem, REQUEST_ID_REUSED};
use eventstore::{AsOf, Decider as _, Error, Loaded, Metadata, Outcome, UnitError, hex};
use prost::Message as _;
use rapport_proto::profiles::v1::record_interactions_response::{
    Verdict, verdict::Outcome as Told,
};
use rapport_proto::profiles::v1::{
    NewInteraction, RecordInteractionsResponse, interaction_event::Event,
};

use super::Api;
use crate::convert::source::{self as parse, Rejected, Report, Who};
use crate::domain::interaction::{Code, Command, Interaction, Message, State};
use crate::domain::source::{Source, Status};
use crate::refusal::{self, SOURCE_DISABLED};
use crate::view;

/// Interactions in a request.
const MOST: usize = 256;
/// How often a unit is decided again after somebody else recorded one of its messages first.
const ATTEMPTS: usize = 10;

/// A message on its way into its stream.
struct Item {
    interaction_id: String,
    message_id: String,
    party_id: String,
    command: Command,
    /// What would mend it; empty unless it is rejected.
    detail: String,
    /// Keyed digest of the message as it came.
    digest: Vec<u8>,
}

impl Item {
    fn recorded(tenant: &str, message: Message, party_id: String) -> Self {
        let parts = [tenant, "itx", &message.source_id, &message.message_id];
        Self {
            interaction_id: eventstore::derive_id("itx", &parts),
            message_id: message.message_id.clone(),
            party_id,
            digest: message.body_digest.clone(),
            command: Command::Record(Box::new(message)),
            detail: String::new(),
        }
    }

    fn rejected(tenant: &str, source_id: &str, rejected: Rejected, digest: Vec<u8>) -> Self {
        let Rejected { message_id, code, detail, raw } = rejected;
        let parts = [tenant, "itx", "rejected", source_id, code.as_str(), &hex(&digest)];
        Self {
            interaction_id: eventstore::derive_id("itx", &parts),
            message_id: message_id.clone(),
            party_id: String::new(),
            command: Command::Reject { source_id: source_id.to_owned(), message_id, code, raw },
            detail,
            digest,
        }
    }

    /// The same message, if nobody is known by the name of its party.
    fn of_nobody(self, tenant: &str) -> Self {
        match self.command {
            Command::Record(message) => {
                let source_id = message.source_id.clone();
                Self::rejected(tenant, &source_id, unknown_party(*message), self.digest)
            }
            Command::Reject { .. } => self,
        }
    }
}

fn unknown_party(message: Message) -> Rejected {
    Rejected {
        message_id: message.message_id,
        code: Code::UnknownParty,
        detail: "Name a registered party that is not erased, or leave it out.".into(),
        raw: message.raw,
    }
}

/// A stream the unit may touch: as it stands, and what is added to it.
struct Stream {
    version: u64,
    before: State,
    state: State,
    added: Vec<Event>,
}

impl Stream {
    fn of(loaded: Option<Loaded<State>>, item: &Item, market: String) -> Self {
        let (mut before, version) = loaded.map(|it| (it.state, it.version)).unwrap_or_default();
        before.party_id.clone_from(&item.party_id);
        before.market = market;
        Self { version, state: before.clone(), before, added: Vec::new() }
    }
}

impl Api {
    pub(super) async fn record(
        &self,
        meta: &Metadata,
        source_id: &str,
        stated: &[NewInteraction],
    ) -> Result<RecordInteractionsResponse, Problem> {
        if stated.is_empty() || stated.len() > MOST {
            return Err(Problem::field("interactions", "Send 1 to 256 interactions."));
        }
        let source = self.find::<Source>(&meta.tenant, source_id, "parent").await?.state;
        if source.status != Status::Active {
            self.unless_repeated(meta, Problem::of(SOURCE_DISABLED)).await?;
        }
        let reports: Vec<_> = (stated.iter())
            .map(|it| {
                let digest = |raw: &[u8]| self.deps.store.keys().request_digest(raw).to_vec();
                parse::report(source_id, &source, it, digest)
            })
            .collect();
        let who = self.resolve(&meta.tenant, &reports).await?;
        let items = (reports.into_iter().zip(stated))
            .map(|(report, stated)| self.item(&meta.tenant, source_id, report, stated, &who))
            .collect();
        self.commit(meta, items, &who.markets).await
    }

    /// The parties the messages name, and their markets.
    async fn resolve(
        &self,
        tenant: &str,
        reports: &[Result<Report, Rejected>],
    ) -> Result<Resolved, Problem> {
        let named = || reports.iter().filter_map(|it| it.as_ref().ok()).map(|it| &it.who);
        let identifiers: Vec<_> = named()
            .filter_map(|who| match who {
                Who::Identifier(it) => Some(it.clone()),
                Who::Nobody | Who::Party(_) => None,
            })
            .collect();
        let holders = self.holders(tenant, &identifiers).await?;
        let by_identifier: Vec<_> = identifiers.into_iter().zip(holders).collect();
        let direct = named().filter_map(|who| match who {
            Who::Party(id) => Some(id.as_str()),
            Who::Nobody | Who::Identifier(_) => None,
        });
        let ids = direct.chain(by_identifier.iter().filter_map(|(_, id)| id.as_deref()));
        let markets = view::party::markets(self.deps.store.database(), tenant, ids).await?;
        Ok(Resolved { by_identifier, markets })
    }

    fn item(
        &self,
        tenant: &str,
        source_id: &str,
        report: Result<Report, Rejected>,
        stated: &NewInteraction,
        who: &Resolved,
    ) -> Item {
        let rejected = match report {
            Ok(report) => match who.party_of(&report.who) {
                Some(party_id) => return Item::recorded(tenant, report.message, party_id),
                None => unknown_party(report.message),
            },
            Err(rejected) => rejected,
        };
        let digest = self.deps.store.keys().request_digest(&stated.encode_to_vec());
        Item::rejected(tenant, source_id, rejected, digest.to_vec())
    }

    async fn commit(
        &self,
        meta: &Metadata,
        mut items: Vec<Item>,
        markets: &BTreeMap<String, String>,
    ) -> Result<RecordInteractionsResponse, Problem> {
        for _ in 0..ATTEMPTS {
            let (verdicts, streams) =
                decide(meta, &items, self.load_all(meta, &items).await?, markets);
            let outcome = match self.append(meta, streams).await? {
                Appended::Outcome(outcome) => outcome,
                Appended::Erased(party_id) => {
                    // Its messages are refused one by one; those of others are recorded.
                    let of_nobody = |item: Item| {
                        if item.party_id == party_id { item.of_nobody(&meta.tenant) } else { item }
                    };
                    items = items.into_iter().map(of_nobody).collect();
                    continue;
                }
            };
            match outcome {
                Outcome::Committed { position } => {
                    return Ok(RecordInteractionsResponse { verdicts, position });
                }
                Outcome::Repeated { position, .. } => {
                    let verdicts = self.first_verdicts(meta, &items, position, markets).await?;
                    return Ok(RecordInteractionsResponse { verdicts, position });
                }
                Outcome::Conflict => {}
                Outcome::RequestReused => {
                    let problem = Problem::of(REQUEST_ID_REUSED);
                    return Err(problem.violation("request_id", REQUEST_ID_REUSED.remedy));
                }
                Outcome::Superseded => return Err(Problem::of(CONFLICT)),
                Outcome::Refused(reason) => return Err(refusal::taken(&reason)),
                Outcome::Failed(error) => return Err(error.into()),
            }
        }
        Err(Problem::of(CONFLICT))
    }

    /// The streams of all items, each once.
    async fn load_all(&self, meta: &Metadata, items: &[Item]) -> Result<Streams, Problem> {
        let ids: BTreeSet<_> = items.iter().map(|it| it.interaction_id.clone()).collect();
        let ids: Vec<_> = ids.into_iter().collect();
        let loaded = self.deps.store.load_many::<Interaction>(&meta.tenant, &ids).await?;
        Ok(ids.into_iter().zip(loaded).collect())
    }

    async fn append(
        &self,
        meta: &Metadata,
        streams: Vec<(String, Stream)>,
    ) -> Result<Appended, Problem> {
        let mut unit = self.deps.store.unit(meta.clone());
        for (id, stream) in streams {
            let Stream { version, before, added, .. } = stream;
            match unit.push::<Interaction>(&id, version, &before, added).await {
                Ok(()) => {}
                // The keyring alone refuses here: the party's key is destroyed.
                Err(UnitError::Store(Error::Refused(_))) => {
                    return Ok(Appended::Erased(before.party_id));
                }
                Err(error) => return Err(refused_unit(error)),
            }
        }
        let unit = unit.finish().map_err(refused_unit)?;
        Ok(Appended::Outcome(self.deps.store.append(unit).await))
    }

    /// The verdicts of a request that was made before: decided again over the streams as they stood then.
    async fn first_verdicts(
        &self,
        meta: &Metadata,
        items: &[Item],
        position: u64,
        markets: &BTreeMap<String, String>,
    ) -> Result<Vec<Verdict>, Problem> {
        let store = &self.deps.store;
        let last = store.read(position.saturating_sub(1), 1).await?;
        let envelope =
            last.first().map(eventstore::Stored::envelope).transpose()?.unwrap_or_default();
        let is_ours = envelope.tenant == meta.tenant
            && envelope.method == meta.method
            && envelope.request_id == meta.request_id
            && envelope.actor.as_ref() == Some(&meta.actor);
        // A request that recorded nothing left no event of its own.
        let before =
            if is_ours { position.saturating_sub(envelope.unit_size.into()) } else { position };
        let mut loaded = Streams::new();
        for item in items {
            let (id, as_of) = (&item.interaction_id, AsOf::Position(before));
            loaded.insert(id.clone(), store.load::<Interaction>(&meta.tenant, id, as_of).await?);
        }
        Ok(decide(meta, items, loaded, markets).0)
    }
}

struct Resolved {
    by_identifier: Vec<(crate::domain::identifier::Identifier, Option<String>)>,
    markets: BTreeMap<String, String>,
}

impl Resolved {
    /// The party a message names, empty when it names none; nothing when nobody is known by that name.
    fn party_of(&self, who: &Who) -> Option<String> {
        let id = match who {
            Who::Nobody => return Some(String::new()),
            Who::Party(id) => Some(id),
            Who::Identifier(identifier) => self
                .by_identifier
                .iter()
                .find(|(it, _)| it == identifier)
                .and_then(|(_, id)| id.as_ref()),
        };
        id.filter(|id| self.markets.contains_key(*id)).cloned()
    }
}

/// What became of a unit, or the party whose key is gone.
enum Appended {
    Outcome(Outcome),
    Erased(String),
}

/// Streams as they stand, by id.
type Streams = BTreeMap<String, Loaded<State>>;

/// Decides every item in order, each seeing what those before it added. Only streams
/// with something new are returned, in the order of the request.
fn decide(
    meta: &Metadata,
    items: &[Item],
    mut loaded: Streams,
    markets: &BTreeMap<String, String>,
) -> (Vec<Verdict>, Vec<(String, Stream)>) {
    let mut streams: BTreeMap<&str, Stream> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for item in items {
        let market = markets.get(&item.party_id).cloned().unwrap_or_default();
        let stream = streams.entry(&item.interaction_id).or_insert_with(|| {
            order.push(&item.interaction_id);
            Stream::of(loaded.remove(&item.interaction_id), item, market)
        });
        let known = stream.state.recorded.clone();
        let added = match Interaction::decide(&stream.state, item.command.clone(), meta.at) {
            Ok(added) => added,
            Err(never) => match never {},
        };
        let state = std::mem::take(&mut stream.state);
        stream.state = added.iter().fold(state, Interaction::evolve);
        stream.added.extend(added);
        verdicts.push(verdict(item, known.map(|it| it.body_digest)));
    }
    let touched = (order.into_iter())
        .filter_map(|id| streams.remove(id).map(|stream| (id.to_owned(), stream)))
        .filter(|(_, stream)| !stream.added.is_empty())
        .collect();
    (verdicts, touched)
}

/// What became of an item, given the digest that was recorded before it.
fn verdict(item: &Item, known: Option<Vec<u8>>) -> Verdict {
    let (outcome, code) = match &item.command {
        Command::Reject { code, .. } => (Told::Rejected, code.as_str()),
        Command::Record(message) => match known {
            None => (Told::Recorded, ""),
            Some(digest) if digest == message.body_digest => (Told::Duplicate, ""),
            Some(_) => (Told::Conflicted, ""),
        },
    };
    let refused = outcome == Told::Rejected;
    Verdict {
        message_id: item.message_id.clone(),
        outcome: outcome.into(),
        interaction_id: if refused { String::new() } else { item.interaction_id.clone() },
        code: code.to_owned(),
        detail: item.detail.clone(),
    }
}

fn refused_unit(error: UnitError) -> Problem {
    match error {
        UnitError::Store(error) => error.into(),
        other => Problem::field("interactions", other.to_string()),
    }
}
