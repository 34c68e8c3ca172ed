//! What a party allows at an instant: its statements, judged by the rule pack of its market.

use std::collections::HashMap;
use std::sync::Arc;

use eventstore::{Decider as _, Error, Store, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::consent_event;
use rapport_proto::types::Regime;

use crate::domain::consent::{self, Consent, Key, Statement, Terms, Verdict};
use crate::domain::party::{State, Status};
use crate::domain::place::Market;
use crate::domain::segment::Question;
use crate::segments::Live;
use crate::view::pack::Dated;

/// The answer to a question, with what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) terms: Terms,
    consent_id: String,
}

impl Judgement {
    /// The consent that decided; empty when a rule or its absence did.
    fn consent_id(&self) -> &str {
        if self.verdict.by_statement() { &self.consent_id } else { "" }
    }

    /// `position`: up to it no objection is missed.
    pub(crate) fn into_proto(self, question: &Question, position: u64) -> proto::ConsentVerdict {
        proto::ConsentVerdict {
            question: Some(proto::ConsentQuestion {
                purpose: question.purpose.into(),
                channel: question.channel.into(),
                sender_id: question.sender_id.clone(),
            }),
            allowed: self.verdict.allows(),
            regime: self.terms.regime.into(),
            consent_id: self.consent_id().to_owned(),
            detail: self.verdict.detail().to_owned(),
            pack: self.terms.pack,
            pack_version: self.terms.pack_version,
            position,
        }
    }
}

/// What a party said about a question, and by what it is judged.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    consent_id: String,
    statements: Vec<Statement>,
    /// What counts from when on, in that order; before that nothing is known.
    terms: Vec<(Timestamp, Terms)>,
    /// Whether the contact point of the channel is verified.
    verified: bool,
    /// Whether there is anybody who can allow something.
    there: bool,
}

impl Said {
    /// Answers at an instant; of the regime stated and that of the pack the stricter one counts. A suppression is not
    /// looked at: whoever sends checks the party's state beside.
    pub(crate) fn judge(&self, stated: Regime, at: Timestamp) -> Judgement {
        let known = self.terms.iter().rfind(|(from, _)| *from <= at).map(|(_, it)| it.clone());
        let terms = known.unwrap_or_default().tightened(stated);
        let verdict = match self.there {
            true => consent::verdict(&self.statements, at, &terms, self.verified),
            false => Verdict::NoRecord,
        };
        Judgement { verdict, terms, consent_id: self.consent_id.clone() }
    }

    /// Every instant at which a statement or a pack begins or ceases to count.
    pub(crate) fn turns(&self) -> impl Iterator<Item = Timestamp> {
        let spans = self.terms.iter().filter_map(|(_, it)| it.expires_after);
        let stated = self.statements.iter().flat_map(move |it| {
            let lasts = |after: i64| Timestamp(it.effective_at.0.saturating_add(after));
            let ends = spans.clone().map(lasts);
            [Some(it.effective_at), it.expires_at].into_iter().flatten().chain(ends)
        });
        stated.chain(self.terms.iter().map(|(from, _)| *from))
    }
}

/// The terms of a question as packs take effect and are retired. An earlier pack does not come back.
fn terms(dated: &[Dated], question: &Question) -> Vec<(Timestamp, Terms)> {
    let mut terms = Vec::new();
    for (index, it) in dated.iter().enumerate() {
        let of = |pack| Terms::of(pack, question.purpose, question.channel);
        terms.push((it.effective_at, of(Some(&it.pack))));
        let replaced_at = dated.get(index + 1).map_or(Timestamp::MAX, |it| it.effective_at);
        if it.retired_at < replaced_at {
            terms.push((it.retired_at.max(it.effective_at), of(None)));
        }
    }
    terms
}

/// What parties said, as it was read.
#[derive(Debug, Default)]
pub(crate) struct Consents {
    tenant: String,
    stated: HashMap<String, consent::State>,
    /// By market.
    packs: HashMap<String, Arc<[Dated]>>,
}

/// A question about a party in a market.
pub(crate) type Asked<'a> = (&'a str, &'a str, &'a Question);

impl Consents {
    /// Reads what was said about questions and recorded up to a position, for instants from `from` on.
    pub(crate) async fn read(
        store: &Store,
        live: &Live,
        tenant: &str,
        asked: &[Asked<'_>],
        (from, until): (Timestamp, u64),
    ) -> Result<Self, Error> {
        let mut read = Self { tenant: tenant.to_owned(), ..Self::default() };
        let mut ids = Vec::new();
        for &(party_id, market, question) in asked {
            let Some(consent_id) = consent_id(tenant, party_id, market, question) else { continue };
            ids.push(consent_id);
            if !read.packs.contains_key(market) {
                let packs = live.packs(store.database(), tenant, market, from).await?;
                read.packs.insert(market.to_owned(), packs);
            }
        }
        let loaded = store.load_many_until::<Consent>(tenant, &ids, until).await?;
        read.stated = ids.into_iter().zip(loaded.into_iter().map(|it| it.state)).collect();
        Ok(read)
    }

    /// What a party said about a question in the market where it is; nothing of a party that is in none.
    pub(crate) fn said(&self, party_id: &str, party: &State, question: &Question) -> Option<Said> {
        let consent_id = consent_id(&self.tenant, party_id, &party.market, question)?;
        let stated = self.stated.get(&consent_id);
        Some(Said {
            statements: stated.map(|it| it.statements.clone()).unwrap_or_default(),
            terms: self.packs.get(&party.market).map(|it| terms(it, question)).unwrap_or_default(),
            verified: party.contact_point(question.channel).is_some_and(|(_, it)| it.verified),
            there: matches!(party.status, Status::Active | Status::Suppressed),
            consent_id,
        })
    }

    /// Takes one more statement.
    pub(crate) fn note(&mut self, consent_id: &str, event: &consent_event::Event) {
        let state = self.stated.remove(consent_id).unwrap_or_default();
        self.stated.insert(consent_id.to_owned(), Consent::evolve(state, event));
    }
}

fn consent_id(tenant: &str, party_id: &str, market: &str, question: &Question) -> Option<String> {
    let Question { purpose, channel, sender_id } = question.clone();
    let market = Market::parse(market).ok()?;
    let key = Key { party_id: party_id.to_owned(), purpose, channel, sender_id, market };
    Some(key.consent_id(tenant))
}

/// Answers a question about a party in the market where it is now.
pub(crate) async fn judge(
    store: &Store,
    live: &Live,
    tenant: &str,
    (party_id, party): (&str, &State),
    question: &Question,
    (stated, at): (Regime, Timestamp),
) -> Result<Judgement, Error> {
    let asked = [(party_id, party.market.as_str(), question)];
    let consents = Consents::read(store, live, tenant, &asked, (at, u64::MAX)).await?;
    let said = consents.said(party_id, party, question).ok_or_else(nowhere)?;
    Ok(said.judge(stated, at))
}

pub(crate) fn nowhere() -> Error {
    Error::corrupt("a party is in no market there is")
}
