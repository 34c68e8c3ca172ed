//! What a party allowed for one purpose, channel, sender and market.
//!
//! Every statement is kept. Which one counts at an instant is computed from all of them, so the order in which they
//! arrive does not matter: a form that comes late by post is a statement like any other.

use eventstore::{About, Decider, Timestamp};
use rapport_proto::Personal;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::consent_event::Event;
use rapport_proto::types::{Channel, Purpose, Regime};

use super::code::Code;
use super::place::{Language, Market};

mod terms;
pub(crate) use terms::Terms;

/// How far ahead of the clock a statement may have been captured: clocks of other systems differ.
pub(crate) const AHEAD_MAX: Timestamp = Timestamp(5 * 60 * 1_000_000);

/// The aggregate; stream `consent/<con id>`, one for each key.
pub(crate) enum Consent {}

/// What a consent is about: an exact match, no wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) party_id: String,
    pub(crate) purpose: Purpose,
    pub(crate) channel: Channel,
    pub(crate) sender_id: String,
    pub(crate) market: Market,
}

impl Key {
    /// The consent's id: everything the key consists of, and the tenant, so that the same key is the same stream.
    pub(crate) fn consent_id(&self, tenant: &str) -> String {
        let parts = [
            tenant,
            "con",
            &self.party_id,
            self.purpose.as_str_name(),
            self.channel.as_str_name(),
            &self.sender_id,
            self.market.as_str(),
        ];
        eventstore::derive_id("con", &parts)
    }

    fn to_proto(&self) -> proto::ConsentKey {
        proto::ConsentKey {
            party_id: self.party_id.clone(),
            purpose: self.purpose.into(),
            channel: self.channel.into(),
            sender_id: self.sender_id.clone(),
            market: self.market.as_str().to_owned(),
        }
    }
}

/// What can be wished of a consent.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Record a grant.
    Grant { key: Key, proof: Proof, expires_at: Option<Timestamp> },
    /// Record a refusal.
    Deny { key: Key, proof: Proof },
    /// Record a withdrawal, or an objection where nothing was granted.
    Withdraw { key: Key, proof: Proof, reason: Code },
    /// Note that the grant effective since then ran out.
    Expire { granted_at: Timestamp },
}

/// What shows that a statement was made.
#[derive(Clone)]
pub(crate) struct Proof {
    pub(crate) regime_shown: Regime,
    pub(crate) source: Code,
    pub(crate) evidence: Option<String>,
    pub(crate) text_version: Option<Code>,
    pub(crate) language: Option<Language>,
    /// Absent: now.
    pub(crate) captured_at: Option<Timestamp>,
    /// Absent: when captured.
    pub(crate) effective_at: Option<Timestamp>,
}

/// The evidence may name a person: it is not printed.
impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proof({:?} from {:?})", self.regime_shown, self.source)
    }
}

/// Why a wish was not granted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the statement was captured in the future")]
    InFuture,
    #[error("the statement counts before it was captured")]
    BeforeCapture,
    #[error("the grant runs out before it counts")]
    ExpiresFirst,
    #[error("a grant names the version of the text that the party saw")]
    NoText,
    #[error("the consent has no such grant")]
    NoGrant,
}

/// What a statement says. The order is that of restriction: at a tie the greater one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Granted,
    Denied,
    Withdrawn,
}

/// One statement about the key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Statement {
    pub(crate) kind: Kind,
    pub(crate) regime_shown: Regime,
    pub(crate) source: String,
    pub(crate) evidence: Option<Personal>,
    pub(crate) text_version: String,
    pub(crate) language: String,
    pub(crate) captured_at: Timestamp,
    pub(crate) effective_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) reason: String,
}

/// What the facts add up to: every statement, in the order recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) statements: Vec<Statement>,
    /// The `effective_at` of the grants whose end was noted.
    pub(crate) expired: Vec<Timestamp>,
    /// What it is about, as the first statement said.
    pub(crate) key: Option<proto::ConsentKey>,
}

impl State {
    /// The statement that counts at an instant.
    pub(crate) fn counting(&self, at: Timestamp) -> Option<&Statement> {
        counting(&self.statements, at)
    }
}

/// The statement with the latest `effective_at ≤ at`; at a tie the more restrictive one, and of two grants the one
/// that runs out first.
pub(crate) fn counting(statements: &[Statement], at: Timestamp) -> Option<&Statement> {
    let restriction = |it: &Statement| {
        (it.effective_at, it.kind, std::cmp::Reverse(it.expires_at.unwrap_or(Timestamp(i64::MAX))))
    };
    statements.iter().filter(|it| it.effective_at <= at).max_by_key(|it| restriction(it))
}

/// Whether a contact is allowed, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A statement allows it.
    Granted,
    /// The regime allows it as long as nobody objects, and nobody did.
    NoObjection,
    /// The regime asks for no consent.
    NotRequired,
    NoRecord,
    /// Nobody granted it, and no pack is in force that could do without.
    NoPack,
    Denied,
    Withdrawn,
    Expired,
}

impl Verdict {
    pub(crate) fn allows(self) -> bool {
        matches!(self, Self::Granted | Self::NoObjection | Self::NotRequired)
    }

    /// The detail code of a refusal; empty when allowed.
    pub(crate) fn detail(self) -> &'static str {
        match self {
            Self::Granted | Self::NoObjection | Self::NotRequired => "",
            Self::NoRecord => "no_record",
            Self::NoPack => "no_pack",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }

    /// Whether a statement decided, and not a rule or its absence.
    pub(crate) fn by_statement(self) -> bool {
        matches!(self, Self::Granted | Self::Denied | Self::Withdrawn | Self::Expired)
    }
}

/// Applies the terms to the statement that counts; `verified` tells whether the contact point to be used is. An
/// unspecified regime is opt-in: without a rule nothing is allowed that nobody granted.
pub(crate) fn verdict(
    statements: &[Statement],
    at: Timestamp,
    terms: &Terms,
    verified: bool,
) -> Verdict {
    let found = match counting(statements, at) {
        None => Verdict::NoRecord,
        Some(it) if it.kind == Kind::Denied => Verdict::Denied,
        Some(it) if it.kind == Kind::Withdrawn => Verdict::Withdrawn,
        Some(it) if it.has_expired(at) || terms.have_ended(it, at) => Verdict::Expired,
        Some(_) if terms.double_opt_in && !verified => Verdict::NoRecord,
        Some(_) => Verdict::Granted,
    };
    match (terms.regime, found) {
        (Regime::NotRequired, _) => Verdict::NotRequired,
        (Regime::OptOut, Verdict::NoRecord | Verdict::Expired) => Verdict::NoObjection,
        (_, Verdict::NoRecord) if !terms.has_pack => Verdict::NoPack,
        (Regime::OptOut | Regime::OptIn | Regime::Unspecified, found) => found,
    }
}

impl Statement {
    /// A grant counts up to, not including, its end.
    pub(crate) fn has_expired(&self, at: Timestamp) -> bool {
        self.kind == Kind::Granted && self.expires_at.is_some_and(|end| end <= at)
    }

    /// Whether a statement without a time of its own says nothing new.
    fn says_the_same(&self, other: &Self) -> bool {
        let timeless = |it: &Self| Self {
            captured_at: Timestamp(0),
            effective_at: Timestamp(0),
            ..it.clone()
        };
        timeless(self) == timeless(other)
    }
}

impl Decider for Consent {
    const AGGREGATE: &'static str = "consent";
    type Command = Command;
    type State = State;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: Command, at: Timestamp) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Grant { key, proof, expires_at } => {
                let stated = state_it(&proof, at)?;
                if proof.text_version.is_none() {
                    return Err(Refusal::NoText);
                }
                let effective_at = stated.effective_at.as_ref().and_then(super::instant);
                if expires_at.is_some_and(|end| effective_at.is_some_and(|start| end <= start)) {
                    return Err(Refusal::ExpiresFirst);
                }
                let granted = Event::Granted(proto::ConsentGranted {
                    key: Some(key.to_proto()),
                    proof: Some(stated),
                    expires_at: expires_at.map(Timestamp::to_proto),
                });
                Ok(unless_said(state, &proof, at, granted))
            }
            Command::Deny { key, proof } => {
                let stated = state_it(&proof, at)?;
                let denied = Event::Denied(proto::ConsentDenied {
                    key: Some(key.to_proto()),
                    proof: Some(stated),
                });
                Ok(unless_said(state, &proof, at, denied))
            }
            Command::Withdraw { key, proof, reason } => {
                let stated = state_it(&proof, at)?;
                let withdrawn = Event::Withdrawn(proto::ConsentWithdrawn {
                    key: Some(key.to_proto()),
                    proof: Some(stated),
                    reason: reason.as_str().to_owned(),
                });
                Ok(unless_said(state, &proof, at, withdrawn))
            }
            Command::Expire { granted_at } => expire(state, granted_at, at),
        }
    }

    fn evolve(mut state: State, event: &Event) -> State {
        let (key, statement) = match event {
            Event::Granted(it) => {
                (&it.key, statement(Kind::Granted, it.proof.as_ref(), it.expires_at.as_ref(), ""))
            }
            Event::Denied(it) => (&it.key, statement(Kind::Denied, it.proof.as_ref(), None, "")),
            Event::Withdrawn(it) => {
                (&it.key, statement(Kind::Withdrawn, it.proof.as_ref(), None, &it.reason))
            }
            Event::Expired(it) => {
                state.expired.extend(it.granted_at.as_ref().and_then(super::instant));
                return state;
            }
        };
        state.key = state.key.or_else(|| key.clone());
        state.statements.push(statement);
        state
    }

    fn about(_id: &str, state: &State, event: &Event) -> About {
        let key = state.key.clone().unwrap_or_default();
        let stated = match event {
            Event::Granted(it) => it.proof.as_ref(),
            Event::Denied(it) => it.proof.as_ref(),
            Event::Withdrawn(it) => it.proof.as_ref(),
            Event::Expired(_) => None,
        };
        About {
            purpose: key.purpose().as_str_name().trim_start_matches("PURPOSE_").to_owned(),
            occurred_at: stated.and_then(|it| it.captured_at.as_ref()).and_then(super::instant),
            party_id: key.party_id,
            market: key.market,
            ..About::default()
        }
    }
}

/// The proof as an event has it, with its times filled in and checked.
fn state_it(proof: &Proof, at: Timestamp) -> Result<proto::ConsentProof, Refusal> {
    let captured_at = proof.captured_at.unwrap_or(at);
    let effective_at = proof.effective_at.unwrap_or(captured_at);
    if captured_at.0 > at.0.saturating_add(AHEAD_MAX.0) {
        return Err(Refusal::InFuture);
    }
    if effective_at < captured_at {
        return Err(Refusal::BeforeCapture);
    }
    Ok(proto::ConsentProof {
        regime_shown: proof.regime_shown.into(),
        source: proof.source.as_str().to_owned(),
        evidence: proof.evidence.as_ref().map(Personal::text),
        text_version: super::code::text(proof.text_version.as_ref()),
        language: proof.language.as_ref().map(|it| it.as_str().to_owned()).unwrap_or_default(),
        captured_at: Some(captured_at.to_proto()),
        effective_at: Some(effective_at.to_proto()),
    })
}

/// The fact, unless it was recorded before. One that states no time says nothing new while it counts already.
fn unless_said(state: &State, proof: &Proof, at: Timestamp, event: Event) -> Vec<Event> {
    let next = Consent::evolve(State::default(), &event);
    let Some(new) = next.statements.first() else {
        return vec![event];
    };
    let timeless = proof.captured_at.is_none() && proof.effective_at.is_none();
    let counts = state.counting(at).is_some_and(|it| !it.has_expired(at) && it.says_the_same(new));
    if state.statements.contains(new) || (timeless && counts) { Vec::new() } else { vec![event] }
}

/// The end of a grant is noted once, and only if that grant is what counted: nothing ran out that was withdrawn.
fn expire(state: &State, granted_at: Timestamp, at: Timestamp) -> Result<Vec<Event>, Refusal> {
    let is_it = |it: &&Statement| it.kind == Kind::Granted && it.effective_at == granted_at;
    if !state.statements.iter().any(|it| is_it(&it)) {
        return Err(Refusal::NoGrant);
    }
    let counting = state.counting(at).filter(is_it).filter(|it| it.has_expired(at));
    let Some(expires_at) = counting.and_then(|it| it.expires_at) else {
        return Ok(Vec::new());
    };
    if state.expired.contains(&granted_at) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::Expired(proto::ConsentExpired {
        key: state.key.clone(),
        granted_at: Some(granted_at.to_proto()),
        effective_at: Some(expires_at.to_proto()),
    })])
}

/// A time that a fact lacks is the beginning of time: the statement counts for less, never for more.
fn statement(
    kind: Kind,
    proof: Option<&proto::ConsentProof>,
    expires_at: Option<&prost_types::Timestamp>,
    reason: &str,
) -> Statement {
    let time = |stated: Option<&prost_types::Timestamp>| stated.and_then(super::instant);
    let proof = proof.cloned().unwrap_or_default();
    Statement {
        kind,
        regime_shown: proof.regime_shown(),
        captured_at: time(proof.captured_at.as_ref()).unwrap_or(Timestamp(i64::MIN)),
        effective_at: time(proof.effective_at.as_ref()).unwrap_or(Timestamp(i64::MIN)),
        expires_at: time(expires_at),
        source: proof.source,
        evidence: proof.evidence,
        text_version: proof.text_version,
        language: proof.language,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
