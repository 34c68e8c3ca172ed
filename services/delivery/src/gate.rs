//! The send gate: ten checks in one order over facts that were gathered before, as one pure function. The eleventh is
//! the provider's answer.
//!
//! The first check that fails decides; what stands behind it is not reached. Every verdict carries what proves it:
//!
//! | step | fails with | proof |
//! |---|---|---|
//! | 1 live | `stale`, `exited`; `deferred` while its journey is paused | instance, version of its stream, exit rule |
//! | 2 recipient | `suppressed` | suppression, or the position read; pack, when a kind is not enabled |
//! | 3 contact point | `missing_identifier` | contact point |
//! | 4 consent | `consent` | consent, or the regime's rule and the position up to which nobody objected |
//! | 5 country rule | `country_rule` | pack, version, line |
//! | 6 content | `content_not_approved`, `content_expired`, `content_withdrawn` | content hashes, signatures |
//! | 7 holdout | `holdout` | holdout, arm |
//! | 8 cap | `cap` | reservations; when there is a free place again |
//! | 9 quiet hours | `deferred` | zone, rule, until when |
//! | 10 render | `render_error`, `fair_balance` | hash of the rendered bytes |
//!
//! SAFETY_COMMUNICATION is exempt from 7, 8 and 9, SERVICE from 7: a PASS with rule `exempt`. What was not found out is
//! never a yes. Two cases have no better answer than these: content that no version was ever approved of has no class,
//! so that consent and country rule cannot be asked for; they are not reached and step 6 fails. And where quiet hours
//! hold but no zone is known, neither the party's nor the market's, no instant is known to be allowed: the touch is
//! skipped with reason `deferred`, detail `zone_unknown`.

pub(crate) mod caps;
pub(crate) mod rules;

use std::sync::Arc;

use authored::calendar::Zone;
use eventstore::Timestamp;
use rapport_proto::content::v1::RenderResponse;
use rapport_proto::decisioning::v1::{Arm, CheckOutboundResponse, OutboundEffect};
use rapport_proto::delivery::v1::{
    ContentPart, GateStep, RecipientSuppressed, Sender, TouchReady, TouchRequested, Verdict,
    VerdictOutcome,
};
use rapport_proto::journeys::v1::CheckInstanceResponse;
use rapport_proto::profiles::v1::ResolveRecipientResponse;
use rapport_proto::purpose_of;
use rapport_proto::types::{Channel, ContentClass, Regime};

use crate::domain::pressure::Contact;
use crate::domain::touch::not_reached;
use crate::domain::{instant, is_task, recipient};
use caps::{Policy, Seen};

/// Everything the checks look at. What is absent was not found out, and fails the check that needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) request: TouchRequested,
    /// Only for touches that a journey asked for.
    pub(crate) instance: Option<CheckInstanceResponse>,
    pub(crate) recipient: Option<ResolveRecipientResponse>,
    pub(crate) content: Option<RenderResponse>,
    pub(crate) outbound: Option<CheckOutboundResponse>,
    /// The pack in force in the party's market.
    pub(crate) pack: Option<Arc<rules::Pack>>,
    /// The live policy; absent: there is none, and no line limits anything.
    pub(crate) policy: Option<Arc<Policy>>,
    /// Suppressions of the party, and of its contact point under any party.
    pub(crate) suppressions: Vec<RecipientSuppressed>,
    /// Touches of the party that count.
    pub(crate) contacts: Vec<Contact>,
    /// Interactions of the party that lines count.
    pub(crate) interactions: Vec<Seen>,
    pub(crate) sender: Option<Sender>,
    /// Position of `delivery` up to which suppressions and reservations were read.
    pub(crate) position: u64,
}

/// What the gate found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    /// All eleven, in order.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) outcome: Outcome,
}

/// What follows from it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Ready(Box<TouchReady>),
    Skip { reason: String, content: Vec<ContentPart> },
    Defer { until: Timestamp, time_zone: String },
}

/// What one check found.
enum Found {
    Pass(Verdict),
    Fail(Verdict),
    Defer {
        verdict: Verdict,
        until: Timestamp,
        time_zone: String,
    },
    /// It cannot be asked; a later check fails for the same reason.
    Open(Verdict),
}

type Check = fn(&Gathered, Timestamp) -> Found;

/// The checks in their order.
const CHECKS: [(GateStep, Check); 10] = [
    (GateStep::Live, live),
    (GateStep::Recipient, reachable),
    (GateStep::ContactPoint, contact_point),
    (GateStep::Consent, consent),
    (GateStep::CountryRule, country_rule),
    (GateStep::Content, content),
    (GateStep::Holdout, holdout),
    (GateStep::Cap, cap),
    (GateStep::QuietHours, quiet_hours),
    (GateStep::Render, render),
];

/// Judges a touch at an instant.
pub(crate) fn judge(gathered: &Gathered, at: Timestamp) -> Judgement {
    run(gathered, at, |step| is_exempt(gathered.class(), step).then_some("exempt"))
}

/// Judges a task that was placed once more, before it is taken on or done. Its arm, its place and its hour were settled
/// when it was placed.
pub(crate) fn judge_again(gathered: &Gathered, at: Timestamp) -> Judgement {
    run(gathered, at, |step| {
        let settled = matches!(step, GateStep::Holdout | GateStep::Cap | GateStep::QuietHours);
        settled.then_some("placed")
    })
}

/// Runs the checks; a step with a rule of its own passes by it.
fn run(
    gathered: &Gathered,
    at: Timestamp,
    passes_by: impl Fn(GateStep) -> Option<&'static str>,
) -> Judgement {
    let mut verdicts = Vec::with_capacity(CHECKS.len() + 1);
    let mut decided = None;
    for (step, check) in CHECKS {
        if decided.is_some() {
            verdicts.push(not_reached(step));
            continue;
        }
        let found = match passes_by(step) {
            Some(rule) => pass(Verdict { rule: rule.into(), ..Verdict::default() }),
            None => check(gathered, at),
        };
        let (outcome, found) = match found {
            Found::Pass(it) => (VerdictOutcome::Pass, it),
            Found::Open(it) => (VerdictOutcome::NotReached, it),
            Found::Fail(it) => {
                let reason = it.reason.clone();
                decided = Some(Outcome::Skip { reason, content: gathered.parts() });
                (VerdictOutcome::Fail, it)
            }
            Found::Defer { verdict, until, time_zone } => {
                decided = Some(Outcome::Defer { until, time_zone });
                (VerdictOutcome::Fail, verdict)
            }
        };
        verdicts.push(Verdict {
            step: step.into(),
            outcome: outcome.into(),
            checked_at: Some(at.to_proto()),
            ..found
        });
    }
    let outcome =
        decided.unwrap_or_else(|| Outcome::Ready(Box::new(ready(gathered, &verdicts, at))));
    verdicts.push(not_reached(GateStep::Provider));
    Judgement { verdicts, outcome }
}

/// Whether a class passes a step without a check.
fn is_exempt(class: ContentClass, step: GateStep) -> bool {
    match class {
        ContentClass::SafetyCommunication => {
            matches!(step, GateStep::Holdout | GateStep::Cap | GateStep::QuietHours)
        }
        ContentClass::Service => step == GateStep::Holdout,
        ContentClass::Unspecified
        | ContentClass::RxPromotional
        | ContentClass::DiseaseAwareness
        | ContentClass::MedicalInformation
        | ContentClass::Survey
        | ContentClass::Internal => false,
    }
}

fn ready(gathered: &Gathered, verdicts: &[Verdict], at: Timestamp) -> TouchReady {
    let recipient = gathered.recipient.clone().unwrap_or_default();
    let rendered = gathered.content.clone().unwrap_or_default();
    let counts = !is_exempt(gathered.class(), GateStep::Cap);
    let channel = gathered.channel();
    TouchReady {
        verdicts: verdicts.to_vec(),
        contact_point_id: recipient.contact_point_id,
        content: gathered.parts(),
        render_hash: rendered.render_hash,
        reserved: if counts { caps::reservations(gathered, at) } else { Vec::new() },
        content_class: rendered.content_class,
        product_id: rendered.product_id,
        topic: rendered.topic,
        market: recipient.market,
        assignee_party_id: match channel {
            // A portal shows its party's own tasks.
            Channel::FieldTask | Channel::Phone => recipient.assignee_party_id,
            Channel::Unspecified
            | Channel::Email
            | Channel::Sms
            | Channel::Webhook
            | Channel::Portal => String::new(),
        },
    }
}

impl Gathered {
    pub(crate) fn channel(&self) -> Channel {
        self.request.channel()
    }

    /// The instance is paused: nobody knows until when, but `journeys` tells when it moves again.
    pub(crate) fn stands_still(&self) -> bool {
        self.instance.as_ref().is_some_and(|it| !it.live && it.rule == "paused")
    }

    /// Unspecified when nothing says what kind of thing is said.
    pub(crate) fn class(&self) -> ContentClass {
        self.content.as_ref().map(RenderResponse::content_class).unwrap_or_default()
    }

    pub(crate) fn product_id(&self) -> &str {
        self.content.as_ref().map(|it| it.product_id.as_str()).unwrap_or_default()
    }

    fn parts(&self) -> Vec<ContentPart> {
        let parts = self.content.iter().flat_map(|it| &it.parts);
        parts
            .map(|it| ContentPart {
                kind: it.kind.clone(),
                id: it.id.clone(),
                version: it.version,
                content_hash: it.content_hash.clone(),
                signature_ids: it.signature_ids.clone(),
            })
            .collect()
    }
}

fn pass(verdict: Verdict) -> Found {
    Found::Pass(verdict)
}

fn fail(reason: &str, detail: impl Into<String>, proof: Verdict) -> Found {
    Found::Fail(Verdict { reason: reason.into(), detail: detail.into(), ..proof })
}

fn at_position(source: &str, position: u64) -> std::collections::BTreeMap<String, u64> {
    [(source.to_owned(), position)].into()
}

fn ids(id: &str) -> Vec<String> {
    if id.is_empty() { Vec::new() } else { vec![id.to_owned()] }
}

fn live(gathered: &Gathered, at: Timestamp) -> Found {
    let request = &gathered.request;
    if instant(request.expires_at.as_ref()) <= at {
        return fail("stale", "", Verdict::default());
    }
    if request.instance_id.is_empty() {
        return pass(Verdict::default());
    }
    let Some(told) = &gathered.instance else {
        return fail("exited", "not_asked", Verdict::default());
    };
    let proof = Verdict {
        rule: told.rule.clone(),
        proof_ids: vec![request.instance_id.clone()],
        positions: at_position("journeys", told.position),
        ..Verdict::default()
    };
    let version = format!("version {}", told.instance_version);
    match told.live {
        true => pass(Verdict { detail: version, ..proof }),
        false if gathered.stands_still() => Found::Defer {
            until: instant(request.expires_at.as_ref()),
            verdict: Verdict { reason: "deferred".into(), detail: version, ..proof },
            time_zone: String::new(),
        },
        false => fail("exited", version, proof),
    }
}

fn reachable(gathered: &Gathered, _at: Timestamp) -> Found {
    let Some(told) = gathered.recipient.as_ref().filter(|it| it.found) else {
        return fail("suppressed", "unknown_party", Verdict::default());
    };
    let mut positions = told.positions.clone();
    positions.insert("delivery".to_owned(), gathered.position);
    let proof = Verdict { positions, ..Verdict::default() };
    if told.state != "ACTIVE" {
        return fail("suppressed", told.state.to_ascii_lowercase(), proof);
    }
    if let Some(refused) = gathered.pack.as_ref().and_then(|it| it.kind_refused(told.kind())) {
        let (pack, pack_version) = (refused.pack.clone(), refused.version);
        return fail("suppressed", "kind_not_enabled", Verdict { pack, pack_version, ..proof });
    }
    let purpose = purpose_of(gathered.class());
    let stopping = gathered
        .suppressions
        .iter()
        .find(|it| recipient::stops(it, gathered.channel(), &gathered.request.sender_id, purpose));
    match stopping {
        None => pass(proof),
        Some(it) => {
            let cause = it.cause().as_str_name().trim_start_matches("SUPPRESSION_CAUSE_");
            let proof_ids = vec![it.suppression_id.clone()];
            fail("suppressed", cause.to_ascii_lowercase(), Verdict { proof_ids, ..proof })
        }
    }
}

fn contact_point(gathered: &Gathered, _at: Timestamp) -> Found {
    let told = gathered.recipient.clone().unwrap_or_default();
    let proof = Verdict { proof_ids: ids(&told.contact_point_id), ..Verdict::default() };
    if is_task(gathered.channel()) {
        return pass(Verdict { rule: "not_needed".into(), ..proof });
    }
    if told.contact_point_id.is_empty() || told.address.is_empty() {
        return fail("missing_identifier", "", proof);
    }
    if told.address.chars().any(char::is_control) {
        return fail("missing_identifier", "invalid", proof);
    }
    pass(proof)
}

fn consent(gathered: &Gathered, _at: Timestamp) -> Found {
    if gathered.class() == ContentClass::Unspecified {
        return Found::Open(Verdict { detail: "no_content_class".into(), ..Verdict::default() });
    }
    let Some(told) = gathered.recipient.as_ref().and_then(|it| it.consent.as_ref()) else {
        return fail("consent", "no_record", Verdict::default());
    };
    let regime = told.regime().as_str_name().trim_start_matches("REGIME_");
    let proof = Verdict {
        rule: regime.to_owned(),
        pack: told.pack.clone(),
        pack_version: told.pack_version,
        proof_ids: ids(&told.consent_id),
        positions: at_position("profiles", told.position),
        ..Verdict::default()
    };
    if !told.allowed {
        return fail("consent", told.detail.clone(), proof);
    }
    // A yes without what proves it is none: a consent, or a rule of a pack and the position it was looked up at.
    let by_rule = matches!(told.regime(), Regime::OptOut | Regime::NotRequired)
        && !told.pack.is_empty()
        && told.position > 0;
    match by_rule || !told.consent_id.is_empty() {
        true => pass(proof),
        false => fail("consent", "no_record", proof),
    }
}

fn country_rule(gathered: &Gathered, _at: Timestamp) -> Found {
    if gathered.class() == ContentClass::Unspecified {
        return Found::Open(Verdict { detail: "no_content_class".into(), ..Verdict::default() });
    }
    let Some(told) = &gathered.outbound else {
        return fail("country_rule", "not_asked", Verdict::default());
    };
    let proof = Verdict {
        rule: told.rule.clone(),
        pack: told.pack.clone(),
        pack_version: told.pack_version,
        positions: at_position("decisioning", told.position),
        ..Verdict::default()
    };
    match told.effect() {
        OutboundEffect::Allow => pass(proof),
        OutboundEffect::Deny | OutboundEffect::Conditional | OutboundEffect::Unspecified => {
            let denied = if told.detail.is_empty() { "denied" } else { told.detail.as_str() };
            fail("country_rule", denied, proof)
        }
    }
}

fn content(gathered: &Gathered, _at: Timestamp) -> Found {
    let Some(told) = &gathered.content else {
        return fail("content_not_approved", "not_asked", Verdict::default());
    };
    let hashes = told.parts.iter().map(|it| it.content_hash.clone());
    let signatures = told.parts.iter().flat_map(|it| it.signature_ids.iter().cloned());
    let proof = Verdict {
        proof_ids: hashes.chain(signatures).filter(|it| !it.is_empty()).collect(),
        positions: at_position("content", told.position),
        ..Verdict::default()
    };
    if !told.content_reason.is_empty() {
        return fail(&told.content_reason, told.content_detail.clone(), proof);
    }
    let signed =
        told.parts.iter().all(|it| !it.content_hash.is_empty() && !it.signature_ids.is_empty());
    if told.parts.is_empty() || !signed || gathered.class() == ContentClass::Unspecified {
        return fail("content_not_approved", "unsigned", proof);
    }
    // Consent and country rule were asked for by the content's class: another one than it was meant for is no question.
    let asks = !gathered.request.invitation_id.is_empty();
    if asks && gathered.class() != ContentClass::Survey {
        return fail("content_not_approved", "not_survey", proof);
    }
    pass(proof)
}

fn holdout(gathered: &Gathered, _at: Timestamp) -> Found {
    let told = gathered.outbound.clone().unwrap_or_default();
    let arm = told.arm().as_str_name().trim_start_matches("ARM_");
    let proof = Verdict {
        proof_ids: ids(&told.holdout_id),
        positions: at_position("decisioning", told.position),
        ..Verdict::default()
    };
    match told.arm() {
        Arm::HeldOut => fail("holdout", arm, proof),
        Arm::Treated => pass(Verdict { detail: arm.to_owned(), ..proof }),
        Arm::Unspecified => pass(proof),
    }
}

fn cap(gathered: &Gathered, at: Timestamp) -> Found {
    let positions = at_position("delivery", gathered.position);
    match caps::first_full(gathered, at) {
        Err(unreadable) => {
            let proof = Verdict { rule: unreadable, positions, ..Verdict::default() };
            fail("cap", "line_invalid", proof)
        }
        Ok(None) => {
            let reserved = caps::reservations(gathered, at);
            let proof_ids = reserved.into_iter().map(|it| it.reservation_id).collect();
            pass(Verdict { proof_ids, positions, ..Verdict::default() })
        }
        Ok(Some(full)) => fail(
            "cap",
            format!("{} of {} in {}", full.count, full.max, full.window),
            Verdict {
                rule: full.line,
                pack_version: gathered.policy.as_ref().map_or(0, |it| it.version),
                next_allowed_at: Some(full.next_allowed_at.to_proto()),
                positions,
                ..Verdict::default()
            },
        ),
    }
}

fn quiet_hours(gathered: &Gathered, at: Timestamp) -> Found {
    let told = gathered.recipient.clone().unwrap_or_default();
    let quiet = gathered.pack.as_ref().and_then(|it| it.quiet_hours(gathered.channel()));
    let Some(quiet) = quiet else {
        return pass(Verdict { rule: "none".into(), ..Verdict::default() });
    };
    let proof = Verdict {
        pack: quiet.pack.clone(),
        pack_version: quiet.version,
        detail: told.time_zone.clone(),
        ..Verdict::default()
    };
    let Some((hours, calendar)) = &quiet.parsed else {
        return fail("deferred", "calendar_invalid", proof);
    };
    // Without a zone of its own, the party may be in any zone of its market: all of them must allow.
    let own: Vec<Zone> = Zone::parse(&told.time_zone).into_iter().collect();
    let zones = if own.is_empty() { &calendar.zones } else { &own };
    match hours.next_allowed(calendar, zones, at) {
        None => fail("deferred", "zone_unknown", proof),
        Some(allowed) => match allowed.held {
            None => pass(proof),
            Some(held) => Found::Defer {
                until: allowed.at,
                verdict: Verdict {
                    reason: "deferred".into(),
                    detail: held.zone.clone(),
                    rule: held.rule.to_string(),
                    next_allowed_at: Some(allowed.at.to_proto()),
                    ..proof
                },
                time_zone: held.zone,
            },
        },
    }
}

fn render(gathered: &Gathered, _at: Timestamp) -> Found {
    let told = gathered.content.clone().unwrap_or_default();
    let proof = Verdict { proof_ids: ids(&told.render_hash), ..Verdict::default() };
    if !told.render_reason.is_empty() {
        return fail(&told.render_reason, told.render_detail, proof);
    }
    if told.render_hash.is_empty() {
        return fail("render_error", "no_hash", proof);
    }
    if told.subject.chars().any(char::is_control) {
        return fail("render_error", "subject", proof);
    }
    // Only e-mail is sent from an address; whoever speaks must still be known.
    let from = gathered.sender.as_ref().map(|it| it.from_address.as_str());
    match (from, gathered.channel()) {
        (None, _) => fail("render_error", "unknown_sender", proof),
        (Some(""), Channel::Email) => fail("render_error", "no_from_address", proof),
        _ => pass(proof),
    }
}

#[cfg(test)]
mod tests;
