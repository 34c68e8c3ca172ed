//! Consents.

use chassis::status::Problem;
use eventstore::Timestamp;
use rapport_proto::profiles::v1 as proto;
use rapport_proto::profiles::v1::consent;
use rapport_proto::types::Regime;

use super::party::shown;
use super::{authored_id, choice, choice_or_none, code, id, optional, required, time};
use crate::domain::Invalid;
use crate::domain::code::Code;
use crate::domain::consent::{Command, Key, Kind, Proof, State};
use crate::domain::place::{Language, Market};
use crate::refusal::Fields;

fn key(fields: &mut Fields, stated: &proto::ConsentKey) -> Option<Key> {
    let party_id = id(fields, "key.party_id", &stated.party_id);
    let purpose = choice(fields, "key.purpose", stated.purpose);
    let channel = choice(fields, "key.channel", stated.channel);
    let sender_id = authored_id(fields, "key.sender_id", &stated.sender_id);
    let market = fields.keep("key.market", Market::parse(&stated.market));
    Some(Key {
        party_id: party_id?,
        purpose: purpose?,
        channel: channel?,
        sender_id: sender_id?,
        market: market?,
    })
}

fn evidence(fields: &mut Fields, text: &str) -> Option<Option<String>> {
    let parsed = optional(text, |text| crate::domain::line(text, 1..=500).map(str::to_owned));
    fields.keep("evidence", parsed)
}

/// The key and the command of a grant or a refusal.
pub(crate) fn record(request: &proto::RecordConsentRequest) -> Result<(Key, Command), Problem> {
    let stated = required("key", request.key.as_ref())?;
    let mut fields = Fields::default();
    let key = key(&mut fields, stated);
    let regime_shown = choice(&mut fields, "regime_shown", request.regime_shown);
    let source = code(&mut fields, "source", &request.source);
    let evidence = evidence(&mut fields, &request.evidence);
    let text_version = fields.keep("text_version", Code::parse_optional(&request.text_version));
    let language = fields.keep("language", optional(&request.language, Language::parse));
    let captured_at = time(&mut fields, "captured_time", request.captured_time.as_ref());
    let effective_at = time(&mut fields, "effective_time", request.effective_time.as_ref());
    let expires_at = time(&mut fields, "expire_time", request.expire_time.as_ref());
    let state = match consent::State::try_from(request.state) {
        Ok(state @ (consent::State::Granted | consent::State::Denied)) => Ok(state),
        _ => Err(Invalid::value("Use STATE_GRANTED or STATE_DENIED.")),
    };
    let state = fields.keep("state", state);
    let whole = || {
        let proof = Proof {
            regime_shown: regime_shown?,
            source: source?,
            evidence: evidence?,
            text_version: text_version?,
            language: language?,
            captured_at: captured_at?,
            effective_at: effective_at?,
        };
        let (key, expires_at) = (key?, expires_at?);
        let command = match state? {
            consent::State::Granted => Command::Grant { key: key.clone(), proof, expires_at },
            _ => Command::Deny { key: key.clone(), proof },
        };
        Some((key, command))
    };
    fields.finish(whole())
}

/// The key and the command of a withdrawal.
pub(crate) fn withdraw(request: &proto::WithdrawConsentRequest) -> Result<(Key, Command), Problem> {
    let stated = required("key", request.key.as_ref())?;
    let mut fields = Fields::default();
    let key = key(&mut fields, stated);
    let reason = code(&mut fields, "reason", &request.reason);
    let source = code(&mut fields, "source", &request.source);
    let evidence = evidence(&mut fields, &request.evidence);
    let captured_at = time(&mut fields, "captured_time", request.captured_time.as_ref());
    let whole = || {
        let proof = Proof {
            // A withdrawal answers no text: no regime was shown.
            regime_shown: Regime::Unspecified,
            source: source?,
            evidence: evidence?,
            text_version: None,
            language: None,
            captured_at: captured_at?,
            effective_at: None,
        };
        let key = key?;
        Some((key.clone(), Command::Withdraw { key, proof, reason: reason? }))
    };
    fields.finish(whole())
}

/// What is asked: key, instant (absent: now) and regime.
pub(crate) fn check(
    request: &proto::CheckConsentRequest,
) -> Result<(Key, Option<Timestamp>, Regime), Problem> {
    let stated = required("key", request.key.as_ref())?;
    let mut fields = Fields::default();
    let key = key(&mut fields, stated);
    let at = time(&mut fields, "time", request.time.as_ref());
    let regime: Option<Regime> = choice_or_none(&mut fields, "regime", request.regime);
    let whole = || Some((key?, at?, regime?));
    fields.finish(whole())
}

/// The consent as it stands at an instant: the statement that counts, or the next one if none counts yet.
pub(crate) fn consent(
    consent_id: &str,
    state: &State,
    at: Timestamp,
    unsealed: bool,
) -> proto::Consent {
    let upcoming = || state.statements.iter().min_by_key(|it| it.effective_at);
    let mut shown_consent = proto::Consent {
        consent_id: consent_id.to_owned(),
        key: state.key.clone(),
        ..Default::default()
    };
    let Some(statement) = state.counting(at).or_else(upcoming) else {
        return shown_consent;
    };
    let named = match statement.kind {
        Kind::Granted if statement.has_expired(at) => consent::State::Expired,
        Kind::Granted => consent::State::Granted,
        Kind::Denied => consent::State::Denied,
        Kind::Withdrawn => consent::State::Withdrawn,
    };
    shown_consent.state = named.into();
    shown_consent.regime_shown = statement.regime_shown.into();
    shown_consent.source.clone_from(&statement.source);
    shown_consent.evidence =
        statement.evidence.as_ref().map(|it| shown(it, unsealed)).unwrap_or_default();
    shown_consent.text_version.clone_from(&statement.text_version);
    shown_consent.language.clone_from(&statement.language);
    shown_consent.captured_time = Some(statement.captured_at.to_proto());
    shown_consent.effective_time = Some(statement.effective_at.to_proto());
    shown_consent.expire_time = statement.expires_at.map(Timestamp::to_proto);
    shown_consent.reason.clone_from(&statement.reason);
    shown_consent
}
