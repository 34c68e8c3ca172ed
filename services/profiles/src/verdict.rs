//! What a party allows at an instant: its statements, judged by the rule pack of its market.

use eventstore::{Error, Store, Timestamp};
use rapport_proto::profiles::v1 as proto;
use rapport_proto::types::{Channel, Purpose, Regime};

use crate::domain::consent::{self, Consent, Key, Terms, Verdict};
use crate::domain::party::{State, Status};
use crate::domain::place::Market;
use crate::view;

/// Whether a party may be contacted for a purpose, by a channel, in a sender's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) purpose: Purpose,
    pub(crate) channel: Channel,
    pub(crate) sender_id: String,
    /// Regime the asker insists on; the stricter one counts. Unspecified: the pack's.
    pub(crate) regime: Regime,
}

/// The answer, with what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) terms: Terms,
    consent_id: String,
    /// Position up to which no objection is missed.
    pub(crate) position: u64,
}

impl Judgement {
    /// The consent that decided; empty when a rule or its absence did.
    pub(crate) fn consent_id(&self) -> &str {
        if self.verdict.by_statement() { &self.consent_id } else { "" }
    }

    pub(crate) fn into_proto(self, question: &Question) -> proto::ConsentVerdict {
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
            position: self.position,
        }
    }
}

/// Answers questions about a party in the market where it is now, in the order asked. Nobody who is erased allows
/// anything. A suppression is not looked at: whoever sends checks the party's state beside.
pub(crate) async fn judge(
    store: &Store,
    tenant: &str,
    (party_id, party): (&str, &State),
    questions: &[Question],
    at: Timestamp,
) -> Result<Vec<Judgement>, Error> {
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    // Read before the statements: no objection that stood before this position is missed.
    let position = store.head().position;
    let ids = consent_ids(tenant, party_id, &party.market, questions)?;
    let pack = view::pack::in_force(store.database(), tenant, &party.market, at);
    let consents = store.load_many::<Consent>(tenant, &ids);
    let (pack, consents) = futures::try_join!(pack, consents)?;
    let judge = |((question, consent_id), found): ((&Question, String), &consent::State)| {
        let terms = Terms::of(pack.as_ref(), question.purpose, question.channel);
        let terms = terms.tightened(question.regime);
        let verified = party.contact_point(question.channel).is_some_and(|(_, it)| it.verified);
        let verdict = match party.status {
            Status::Unknown | Status::Erased => Verdict::NoRecord,
            Status::Active | Status::Suppressed => {
                consent::verdict(&found.statements, at, &terms, verified)
            }
        };
        Judgement { verdict, terms, consent_id, position }
    };
    let found = consents.iter().map(|it| &it.state);
    Ok(questions.iter().zip(ids).zip(found).map(judge).collect())
}

fn consent_ids(
    tenant: &str,
    party_id: &str,
    market: &str,
    questions: &[Question],
) -> Result<Vec<String>, Error> {
    let known = Market::parse(market);
    let market = known.map_err(|_| Error::corrupt("a party is in no market there is"))?;
    let id = |question: &Question| {
        let key = Key {
            party_id: party_id.to_owned(),
            purpose: question.purpose,
            channel: question.channel,
            sender_id: question.sender_id.clone(),
            market,
        };
        key.consent_id(tenant)
    };
    Ok(questions.iter().map(id).collect())
}
