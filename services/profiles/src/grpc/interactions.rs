//! Recording interactions in bulk: each exactly once by (source, message id), with a verdict per item.
//!
//! A message's stream is derived from source and message id, and its record is the stream's first event, so the
//! expected version of an empty stream makes it exactly once, for ever, whoever races. What cannot be recorded is kept
//! in a stream of its own, named by its digest: a corrected message with the same id is then recorded like any other.

use std::collections::BTreeMap;

use chassis::status::{CONFLICT, Problem, REQUEST_ID_REUSED};
use eventstore::{AsOf, Decider as _, Loaded, Metadata, Outcome, UnitError, hex};
use prost::Message as _;
use rapport_proto::profiles::v1::record_interactions_response::{
    Verdict, verdict::Outcome as Told,
};
use rapport_proto::profiles::v1::{
    NewInteraction, RecordInteractionsResponse, interaction_event::Event,
};

use super::Api;
use crate::convert::source::{self as parse, Rejected, Report, Who};
use crate::domain::interaction::{Code, Command, Interaction, State};
use crate::domain::source::{Source, Status};
use crate::refusal::{self, PARTY_ERASED, SOURCE_DISABLED};
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
}

/// A stream the unit may touch: as it stands, and what is added to it.
struct Stream {
    version: u64,
    before: State,
    state: State,
    added: Vec<Event>,
}

impl Stream {
    fn of(loaded: Loaded<State>, item: &Item, market: String) -> Self {
        let mut before = loaded.state;
        before.party_id.clone_from(&item.party_id);
        before.market = market;
        Self {
            version: loaded.version,
            state: before.clone(),
            before,
            added: Vec::new(),
        }
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
            return Err(Problem::field(
                "interactions",
                "Send 1 to 256 interactions.",
            ));
        }
        let source = self
            .find::<Source>(&meta.tenant, source_id, "parent")
            .await?
            .state;
        if source.status != Status::Active {
            self.unless_repeated(meta, Problem::of(SOURCE_DISABLED))
                .await?;
        }
        let reports: Vec<_> = (stated.iter())
            .map(|it| {
                let digest = |raw: &[u8]| self.deps.store.keys().request_digest(raw).to_vec();
                parse::report(source_id, &source, it, digest)
            })
            .collect();
        let who = self.resolve(&meta.tenant, &reports).await?;
        let items: Vec<_> = (reports.into_iter().zip(stated))
            .map(|(report, stated)| self.item(&meta.tenant, source_id, report, stated, &who))
            .collect();
        self.commit(meta, &items, &who.markets).await
    }

    /// The parties the messages name, and their markets.
    async fn resolve(
        &self,
        tenant: &str,
        reports: &[Result<Report, Rejected>],
    ) -> Result<Resolved, Problem> {
        let named = || {
            reports
                .iter()
                .filter_map(|it| it.as_ref().ok())
                .map(|it| &it.who)
        };
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
        Ok(Resolved {
            by_identifier,
            markets,
        })
    }

    fn item(
        &self,
        tenant: &str,
        source_id: &str,
        report: Result<Report, Rejected>,
        stated: &NewInteraction,
        who: &Resolved,
    ) -> Item {
        let report = report.and_then(|report| match who.party_of(&report.who) {
            Some(party_id) => Ok((report.message, party_id)),
            None => Err(Rejected {
                message_id: report.message.message_id,
                code: Code::UnknownParty,
                detail: "Register the party first, or leave it out.".into(),
                raw: report.message.raw,
            }),
        });
        match report {
            Ok((message, party_id)) => Item {
                interaction_id: interaction_id(tenant, source_id, &message.message_id),
                message_id: message.message_id.clone(),
                party_id,
                command: Command::Record(Box::new(message)),
                detail: String::new(),
            },
            Err(Rejected {
                message_id,
                code,
                detail,
                raw,
            }) => {
                let digest = self
                    .deps
                    .store
                    .keys()
                    .request_digest(&stated.encode_to_vec());
                let parts = [
                    tenant,
                    "itx",
                    "rejected",
                    source_id,
                    code.as_str(),
                    &hex(&digest),
                ];
                Item {
                    interaction_id: eventstore::derive_id("itx", &parts),
                    message_id: message_id.clone(),
                    party_id: String::new(),
                    command: Command::Reject {
                        source_id: source_id.to_owned(),
                        message_id,
                        code,
                        raw,
                    },
                    detail,
                }
            }
        }
    }

    async fn commit(
        &self,
        meta: &Metadata,
        items: &[Item],
        markets: &BTreeMap<String, String>,
    ) -> Result<RecordInteractionsResponse, Problem> {
        let ids: Vec<_> = items.iter().map(|it| it.interaction_id.clone()).collect();
        for _ in 0..ATTEMPTS {
            let loaded = self
                .deps
                .store
                .load_many::<Interaction>(&meta.tenant, &ids)
                .await?;
            let (verdicts, streams) = decide(meta, items, loaded, markets);
            match self.append(meta, streams).await? {
                Outcome::Committed { position } => {
                    return Ok(RecordInteractionsResponse { verdicts, position });
                }
                Outcome::Repeated { position, .. } => {
                    let verdicts = self.first_verdicts(meta, items, position, markets).await?;
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

    async fn append(
        &self,
        meta: &Metadata,
        streams: Vec<(String, Stream)>,
    ) -> Result<Outcome, Problem> {
        let mut unit = self.deps.store.unit(meta.clone());
        for (id, stream) in streams {
            let pushed =
                unit.push::<Interaction>(&id, stream.version, &stream.before, stream.added);
            pushed.await.map_err(refused_unit)?;
        }
        Ok(self
            .deps
            .store
            .append(unit.finish().map_err(refused_unit)?)
            .await)
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
        let envelope = last
            .first()
            .map(eventstore::Stored::envelope)
            .transpose()?
            .unwrap_or_default();
        let is_ours = envelope.tenant == meta.tenant
            && envelope.method == meta.method
            && envelope.request_id == meta.request_id
            && envelope.actor.as_ref() == Some(&meta.actor);
        // A request that recorded nothing left no event of its own.
        let before = if is_ours {
            position.saturating_sub(envelope.unit_size.into())
        } else {
            position
        };
        let mut loaded = Vec::with_capacity(items.len());
        for item in items {
            let as_of = AsOf::Position(before);
            loaded.push(
                store
                    .load::<Interaction>(&meta.tenant, &item.interaction_id, as_of)
                    .await?,
            );
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

fn interaction_id(tenant: &str, source_id: &str, message_id: &str) -> String {
    eventstore::derive_id("itx", &[tenant, "itx", source_id, message_id])
}

/// Decides every item in order, each seeing what those before it added. Only streams
/// with something new are returned, in the order of the request.
fn decide(
    meta: &Metadata,
    items: &[Item],
    loaded: Vec<Loaded<State>>,
    markets: &BTreeMap<String, String>,
) -> (Vec<Verdict>, Vec<(String, Stream)>) {
    let mut streams: BTreeMap<&str, Stream> = BTreeMap::new();
    let mut order: Vec<&str> = Vec::new();
    let mut verdicts = Vec::with_capacity(items.len());
    for (item, loaded) in items.iter().zip(loaded) {
        let market = markets.get(&item.party_id).cloned().unwrap_or_default();
        let stream = streams.entry(&item.interaction_id).or_insert_with(|| {
            order.push(&item.interaction_id);
            Stream::of(loaded, item, market)
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
        interaction_id: if refused {
            String::new()
        } else {
            item.interaction_id.clone()
        },
        code: code.to_owned(),
        detail: item.detail.clone(),
    }
}

fn refused_unit(error: UnitError) -> Problem {
    match error {
        UnitError::Store(eventstore::Error::Refused(_)) => Problem::of(PARTY_ERASED),
        UnitError::Store(error) => error.into(),
        other => Problem::field("interactions", other.to_string()),
    }
}
