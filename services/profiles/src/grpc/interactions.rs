//! Recording interactions in bulk: each exactly once by (source, message id), with a verdict per item.
//!
//! A message's stream is derived from source and message id, and its record is the stream's first event, so the
//! expected version of an empty stream makes it exactly once, for ever, whoever races. What cannot be recorded is kept
//! in a stream of its own, named by its digest: a corrected message with the same id is then recorded like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chassis::status::{CONFLICT, Problem, REQUEST_ID_REUSED};
use eventstore::{Decider as _, Error, Loaded, Metadata, Outcome, Timestamp, UnitError, hex};
use prost::Message as _;
use rapport_proto::profiles::v1::record_interactions_response::{
    Verdict, verdict::Outcome as Told,
};
use rapport_proto::profiles::v1::{
    NewInteraction, RecordInteractionsResponse, interaction_event::Event,
};

use super::Api;
use crate::convert::source::{self as parse, Rejected, Report, Who};
use crate::domain::identifier::Identifier;
use crate::domain::interaction::{Code, Command, Interaction, Message, State};
use crate::domain::source::{Source, Status};
use crate::refusal::{self, SOURCE_DISABLED};
use crate::view;

mod repeat;

/// Interactions in a request.
const MOST: usize = 256;
/// How often a unit is decided again after somebody else recorded one of its messages first.
const ATTEMPTS: usize = 10;
/// A duplicate of a message that was recorded longer ago is late: requests of that time may be forgotten (a store
/// remembers them for 72 hours), so what follows from the message must not be asked for again.
const LATE: Duration = Duration::from_secs(48 * 3_600);
/// Code of such a duplicate.
const LATE_CODE: &str = "late";

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
        Self {
            interaction_id: interaction_id(tenant, &message.source_id, &message.message_id),
            message_id: message.message_id.clone(),
            party_id,
            digest: message.body_digest.clone(),
            command: Command::Record(Box::new(message)),
            detail: String::new(),
        }
    }

    fn rejected(tenant: &str, source_id: &str, rejected: Rejected, digest: Vec<u8>) -> Self {
        let Rejected { message_id, code, detail, raw } = rejected;
        Self {
            interaction_id: rejected_id(tenant, source_id, code, &digest),
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

/// The stream of a message, whatever its body.
fn interaction_id(tenant: &str, source_id: &str, message_id: &str) -> String {
    eventstore::derive_id("itx", &[tenant, "itx", source_id, message_id])
}

/// The stream of a message that was refused.
fn rejected_id(tenant: &str, source_id: &str, code: Code, digest: &[u8]) -> String {
    let parts = [tenant, "itx", "rejected", source_id, code.as_str(), &hex(digest)];
    eventstore::derive_id("itx", &parts)
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
    /// When its first event was recorded; absent while it is empty.
    began: Option<Timestamp>,
    before: State,
    state: State,
    added: Vec<Event>,
}

impl Stream {
    fn of(loaded: Option<Loaded<State>>, item: &Item, market: String) -> Self {
        let began = loaded.as_ref().filter(|it| it.version > 0).map(|it| it.created_at);
        let (mut before, version) = loaded.map(|it| (it.state, it.version)).unwrap_or_default();
        before.party_id.clone_from(&item.party_id);
        before.market = market;
        Self { version, began, state: before.clone(), before, added: Vec::new() }
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
        let source = self.deps.find::<Source>(&meta.tenant, source_id, "parent").await?.state;
        if source.status != Status::Active {
            self.deps.unless_repeated(meta, Problem::of(SOURCE_DISABLED)).await?;
        }
        let reports: Vec<_> = (stated.iter())
            .map(|it| {
                let digest = self.digest(&meta.tenant, source_id, it);
                (parse::report(source_id, &source, it, digest.clone()), digest)
            })
            .collect();
        let who = self.resolve(&meta.tenant, &reports).await?;
        let items = (reports.into_iter())
            .map(|(report, digest)| item(&meta.tenant, source_id, report, digest, &who))
            .collect();
        let (verdicts, position) = match self.commit(meta, items, &who.markets).await? {
            Done::Now(verdicts, position) => (verdicts, position),
            Done::Before(position) => {
                (self.first_verdicts(meta, source_id, stated, position).await?, position)
            }
        };
        Ok(RecordInteractionsResponse { verdicts, position })
    }

    /// Keyed digest of a message. Equal bodies have different digests in other messages, sources and tenants: it
    /// tells a repeat from a conflict and links nothing else.
    fn digest(&self, tenant: &str, source_id: &str, stated: &NewInteraction) -> Vec<u8> {
        let body = match &stated.sender_digest[..] {
            [] => hex(&eventstore::digest(&stated.encode_to_vec())),
            given => hex(given),
        };
        let parts = ["interaction body", source_id, &stated.message_id, &body];
        self.deps.store.keys().blind_index(tenant, &parts).to_vec()
    }

    /// The parties the messages name, and their markets.
    async fn resolve(
        &self,
        tenant: &str,
        reports: &[(Result<Report, Rejected>, Vec<u8>)],
    ) -> Result<Resolved, Problem> {
        let named = || reports.iter().filter_map(|it| it.0.as_ref().ok()).map(|it| &it.who);
        let identifiers: BTreeSet<_> = named()
            .filter_map(|who| match who {
                Who::Identifier(it) | Who::Perhaps(it) => Some(it.clone()),
                Who::Nobody | Who::Party(_) => None,
            })
            .collect();
        let identifiers = Vec::from_iter(identifiers);
        let holders = self.named(tenant, &identifiers).await?;
        let held = identifiers.into_iter().zip(holders);
        let by_identifier: BTreeMap<_, _> = held.filter_map(|(it, id)| Some((it, id?))).collect();
        let direct = named().filter_map(|who| match who {
            Who::Party(id) => Some(id.as_str()),
            Who::Nobody | Who::Identifier(_) | Who::Perhaps(_) => None,
        });
        // Each is asked for once.
        let ids: BTreeSet<_> = direct.chain(by_identifier.values().map(String::as_str)).collect();
        let database = self.deps.store.database();
        let markets = view::party::markets(database, tenant, ids.into_iter()).await?;
        Ok(Resolved { by_identifier, markets })
    }

    async fn commit(
        &self,
        meta: &Metadata,
        mut items: Vec<Item>,
        markets: &BTreeMap<String, String>,
    ) -> Result<Done, Problem> {
        for _ in 0..ATTEMPTS {
            let (verdicts, streams) =
                decide(meta, &items, self.load_all(meta, &items).await?, markets);
            let outcome = match self.append(meta, streams).await? {
                Appended::Outcome(outcome) => outcome,
                Appended::Erased(party_ids) => {
                    // Their messages are refused one by one; those of others are recorded.
                    let of_nobody = |item: Item| match party_ids.contains(&item.party_id) {
                        true => item.of_nobody(&meta.tenant),
                        false => item,
                    };
                    items = items.into_iter().map(of_nobody).collect();
                    continue;
                }
            };
            match outcome {
                Outcome::Committed { position } => {
                    return Ok(Done::Now(verdicts, position));
                }
                Outcome::Repeated { position, .. } => return Ok(Done::Before(position)),
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
        let (mut unit, mut erased) = (self.deps.store.unit(meta.clone()), BTreeSet::new());
        let parties = streams.iter().map(|(_, it)| it.before.party_id.as_str());
        unit.subjects(&parties.filter(|it| !it.is_empty()).collect()).await?;
        for (id, stream) in streams {
            let Stream { version, before, added, .. } = stream;
            match unit.push::<Interaction>(&id, version, &before, added).await {
                Ok(()) => {}
                // The keyring alone refuses here: the party's key is destroyed.
                Err(UnitError::Store(Error::Refused(_))) => {
                    erased.insert(before.party_id);
                }
                Err(error) => return Err(refused_unit(error)),
            }
        }
        if !erased.is_empty() {
            return Ok(Appended::Erased(erased));
        }
        let unit = unit.finish().map_err(refused_unit)?;
        Ok(Appended::Outcome(self.deps.store.append(unit).await))
    }
}

fn item(
    tenant: &str,
    source_id: &str,
    report: Result<Report, Rejected>,
    digest: Vec<u8>,
    who: &Resolved,
) -> Item {
    let rejected = match report {
        Ok(report) => match who.party_of(&report.who) {
            Some(party_id) => return Item::recorded(tenant, report.message, party_id),
            None => unknown_party(report.message),
        },
        Err(rejected) => rejected,
    };
    Item::rejected(tenant, source_id, rejected, digest)
}

struct Resolved {
    by_identifier: BTreeMap<Identifier, String>,
    markets: BTreeMap<String, String>,
}

impl Resolved {
    /// The party a message names, empty when it names none; nothing when nobody is known by that name.
    fn party_of(&self, who: &Who) -> Option<String> {
        let id = match who {
            Who::Nobody => return Some(String::new()),
            Who::Party(id) => Some(id),
            Who::Identifier(it) => self.by_identifier.get(it),
            Who::Perhaps(it) => match self.by_identifier.get(it) {
                Some(id) => Some(id),
                None => return Some(String::new()),
            },
        };
        id.filter(|id| self.markets.contains_key(*id)).cloned()
    }
}

/// What became of a request: verdicts and their position, or the position at which it was granted before.
enum Done {
    Now(Vec<Verdict>, u64),
    Before(u64),
}

/// What became of a unit, or the parties whose keys are gone.
enum Appended {
    Outcome(Outcome),
    Erased(BTreeSet<String>),
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
        let mut verdict = verdict(item, known.map(|it| it.body_digest));
        let is_late = stream.began.is_some_and(|began| began < meta.at.minus(LATE));
        if is_late && verdict.outcome() == Told::Duplicate {
            LATE_CODE.clone_into(&mut verdict.code);
        }
        verdicts.push(verdict);
    }
    let touched = (order.into_iter())
        .filter_map(|id| streams.remove(id).map(|stream| (id.to_owned(), stream)))
        .filter(|(_, stream)| !stream.added.is_empty())
        .collect();
    (verdicts, touched)
}

/// What became of an item, given the digest that was recorded before it.
fn verdict(item: &Item, known: Option<Vec<u8>>) -> Verdict {
    let outcome = match &item.command {
        Command::Reject { code, .. } => return refused(&item.message_id, *code, &item.detail),
        Command::Record(message) => match known {
            None => Told::Recorded,
            Some(digest) if digest == message.body_digest => Told::Duplicate,
            Some(_) => Told::Conflicted,
        },
    };
    taken(&item.message_id, &item.interaction_id, outcome)
}

fn taken(message_id: &str, interaction_id: &str, outcome: Told) -> Verdict {
    Verdict {
        message_id: message_id.to_owned(),
        outcome: outcome.into(),
        interaction_id: interaction_id.to_owned(),
        ..Verdict::default()
    }
}

fn refused(message_id: &str, code: Code, detail: &str) -> Verdict {
    Verdict {
        message_id: message_id.to_owned(),
        outcome: Told::Rejected.into(),
        code: code.as_str().to_owned(),
        detail: detail.to_owned(),
        ..Verdict::default()
    }
}

fn refused_unit(error: UnitError) -> Problem {
    match error {
        UnitError::Store(error) => error.into(),
        other => Problem::field("interactions", other.to_string()),
    }
}
